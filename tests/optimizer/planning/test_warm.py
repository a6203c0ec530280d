"""Planning on from where the plan before ended: the same cost, whatever came or went in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from generated_problems import rich_problem
from planning_cases import NOW, ROOT, problem, request

from optimizer.domain.plan import Fallback
from optimizer.domain.site import Circuit
from optimizer.planning.highs import BASIC, SolverModel
from optimizer.planning.matrix import build_model
from optimizer.planning.model import LinearModel, axis_labels
from optimizer.planning.objectives import Weights, whole_objective
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.requests import ChargingRequest, SiteOutlook
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.solve import plan_charging
from optimizer.planning.statement import charging_problem
from optimizer.planning.verify import violations
from optimizer.planning.warm import PlanMemory, WarmStart, carried_basis
from scenarios.bench import BenchCase, bench_problem

LINEAR = PlanningSettings(minimum_current=False, preferences=False)


def linear_cost(of: ChargingProblem, memory: PlanMemory | None) -> float:
    outcome = plan_charging(of, LINEAR, memory)
    assert not isinstance(outcome, Fallback)
    return outcome.objective


def cars(*names: str) -> list[ChargingRequest]:
    return [request(name, 5.0 + 2.0 * number, 4.0) for number, name in enumerate(names)]


def test_the_basis_is_known_again_by_vehicle_and_instant() -> None:
    """A vehicle left, one came, a slot has passed: what stays keeps its status, what is new stays at its bound."""
    before = problem(cars("left", "stays"), slots=4, prices=[0.4, 0.1, 0.2, 0.3], limit_kw=8.0)
    model = build_model(before)
    solver = SolverModel(model, whole_objective(before, model, Weights(before)))
    solver.solve(time_limit_s=10.0)
    start = WarmStart(before, model, solver.basis())
    later = [NOW + timedelta(hours=count) for count in range(1, 5)]
    after = charging_problem(
        before.site_id, later, cars("stays", "new"), [Circuit(ROOT, None)], SiteOutlook([0.1, 0.2, 0.3])
    )
    next_model = build_model(after)
    carried = carried_basis(start, after, next_model)
    status = dict(zip(_names(after, next_model), carried.columns.tolist(), strict=True))
    known = dict(zip(_names(before, model), start.basis.columns.tolist(), strict=True))
    assert [status[f"power_kw[stays,{slot}]"] for slot in range(3)] == [
        known[f"power_kw[stays,{slot}]"] for slot in range(1, 4)
    ]
    assert BASIC not in [status[f"power_kw[new,{slot}]"] for slot in range(3)]


def _names(of: ChargingProblem, model: LinearModel) -> list[str]:
    labels = axis_labels(of)
    blocks = sorted(model.columns.values(), key=lambda block: block.first)
    return [name for block in blocks for name in block.names(labels)]


@pytest.mark.parametrize("seed", range(20))
def test_plans_one_after_the_other_cost_what_each_costs_alone(seed: int) -> None:
    """Problems that share nothing but a few names: a memory of another one is a bad start, never a wrong plan."""
    memory = PlanMemory()
    for number in range(4):
        of = rich_problem(np.random.default_rng([seed, number]))
        assert linear_cost(of, memory) == pytest.approx(linear_cost(of, None), rel=1e-6, abs=1e-5)


def test_a_whole_plan_made_with_memory_keeps_every_law() -> None:
    memory = PlanMemory()
    for present in (19, 20):
        of = bench_problem(BenchCase.EVERYTHING, 20, seed=3, present=present)
        plan = plan_charging(of, memory=memory).plan
        assert [str(violation) for violation in violations(of, plan)] == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda of: of, id="nothing changed"),
        pytest.param(
            lambda of: replace(
                of, supply=replace(of.supply, import_price_per_kwh=of.supply.import_price_per_kwh[::-1])
            ),
            id="prices the other way round",
        ),
        pytest.param(
            lambda of: replace(of, circuits=replace(of.circuits, limit_kw=of.circuits.limit_kw * 0.1)),
            id="a grid event takes nine tenths of the limit",
        ),
    ],
)
def test_what_changes_between_two_plans_changes_no_cost(
    change: Callable[[ChargingProblem], ChargingProblem],
) -> None:
    memory = PlanMemory()
    of = bench_problem(BenchCase.LP, 30, seed=1)
    linear_cost(of, memory)
    assert linear_cost(change(of), memory) == pytest.approx(linear_cost(change(of), None), rel=1e-7)


def test_the_first_plan_has_nothing_to_remember() -> None:
    of = problem(cars("car"), slots=4)
    memory = PlanMemory()
    assert memory.basis_for(of, build_model(of)) is None
    linear_cost(of, memory)
    assert memory.basis_for(of, build_model(of)) is not None
