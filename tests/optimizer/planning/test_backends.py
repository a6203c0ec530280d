"""One problem by two builders and several solvers: the same plan's cost, the same laws, laws of one's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from generated_problems import rich_problem
from planning_cases import ONE_PHASE, THREE_PHASE, problem, request
from pyomo.environ import Constraint

from optimizer.domain.plan import Fallback, PlanOutcome, ProvenOptimal
from optimizer.errors import InvalidInput, PlanningFailed
from optimizer.planning import backends
from optimizer.planning.backends import plan_with
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.reference import reference_model, solve_reference
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.verify import violations

LINEAR = PlanningSettings(minimum_current=False, preferences=False)
SOLVERS = ("pyomo:appsi_highs", "pyomo:highs")


def two_cars() -> ChargingProblem:
    cars = [request("early", 8.0, 2, ONE_PHASE), request("late", 20.0, 4, THREE_PHASE)]
    return problem(cars, slots=4, prices=[0.4, 0.1, 0.3, 0.2], limit_kw=9.0)


def objective_of(outcome: PlanOutcome) -> float:
    assert isinstance(outcome, ProvenOptimal)
    return outcome.objective


@pytest.mark.parametrize("backend", SOLVERS)
@pytest.mark.parametrize("seed", range(8))
def test_the_linear_problem_costs_the_same_by_either_builder(backend: str, seed: int) -> None:
    of = rich_problem(np.random.default_rng(700 + seed))
    by_matrix, by_pyomo = plan_with(of, LINEAR), plan_with(of, LINEAR, backend)
    assert objective_of(by_pyomo) == pytest.approx(objective_of(by_matrix), rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("backend", SOLVERS)
def test_prices_of_the_margin_are_the_same_by_either_builder(backend: str) -> None:
    of = two_cars()
    prices = [plan_with(of, LINEAR, each).plan.marginal_price_per_kwh for each in (backends.MATRIX, backend)]
    assert prices[1] == pytest.approx(prices[0], abs=1e-7)


@pytest.mark.parametrize("seed", range(6))
def test_the_reference_keeps_every_law(seed: int) -> None:
    of = rich_problem(np.random.default_rng(800 + seed))
    plan = plan_with(of, PlanningSettings(), "pyomo:appsi_highs").plan
    assert [str(violation) for violation in violations(of, plan)] == []


def test_the_repaired_plan_is_within_the_gap_of_the_reference() -> None:
    """The reference has binaries on all slots; what the repair finds without them costs no more than its gap."""
    settings = PlanningSettings(near_slots=0, preferences=False, relative_gap=1e-3)
    for seed in range(4):
        of = replace(rich_problem(np.random.default_rng(820 + seed)), start_price=0.0, min_run_h=0.0)
        cost = objective_of(plan_with(of, settings))
        true_cost = objective_of(plan_with(of, settings, "pyomo:appsi_highs"))
        assert abs(cost - true_cost) <= 2e-3 * max(1.0, abs(true_cost))


def test_a_law_of_ones_own_shapes_the_plan() -> None:
    model = reference_model(two_cars(), LINEAR)
    without = solve_reference(model).plan
    model.quiet_hour = Constraint(expr=model.power_kw["early", 1] + model.power_kw["late", 1] <= 2.0)
    outcome = solve_reference(model)
    drawn_kw = sum(session.power_kw[1] for session in outcome.plan.sessions)
    assert drawn_kw == pytest.approx(2.0)
    assert sum(session.power_kw[1] for session in without.sessions) > 2.0
    assert outcome.plan.money > without.money


def test_a_law_of_ones_own_holds_in_the_preference_stage_and_solving_again_gives_the_same() -> None:
    model = reference_model(two_cars())
    model.quiet_hour = Constraint(expr=model.power_kw["early", 1] + model.power_kw["late", 1] <= 2.0)
    first, second = solve_reference(model), solve_reference(model)
    assert sum(session.power_kw[1] for session in first.plan.sessions) <= 2.0 + 1e-6
    assert [session.power_kw for session in second.plan.sessions] == [
        pytest.approx(session.power_kw, abs=1e-5) for session in first.plan.sessions
    ]


def test_a_law_that_nothing_can_keep_is_told() -> None:
    model = reference_model(two_cars())
    model.impossible = Constraint(expr=model.power_kw["early", 0] >= 100.0)
    with pytest.raises(PlanningFailed, match="appsi_highs gave no plan"):
        solve_reference(model)


def test_a_solver_that_fails_leaves_a_heuristics_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(model: object, solver: str) -> PlanOutcome:
        raise PlanningFailed(f"{solver} gave no plan: out of licences")

    monkeypatch.setattr("optimizer.planning.reference.solve_reference", failing)
    outcome = plan_with(two_cars(), backend="pyomo:appsi_highs")
    assert isinstance(outcome, Fallback)
    assert "out of licences" in outcome.reason
    assert not violations(two_cars(), outcome.plan)


@pytest.mark.parametrize(
    ("backend", "fix"),
    [
        pytest.param("pyomo:nosuch", "name a solver that Pyomo finds here", id="a solver that nobody knows"),
        pytest.param("pyomo:baron", "name a solver that Pyomo finds here", id="a solver that is not installed"),
        pytest.param("cplex", "give matrix or pyomo:<solver>", id="neither matrix nor pyomo"),
    ],
)
def test_an_unknown_backend_is_told(backend: str, fix: str) -> None:
    with pytest.raises(InvalidInput, match=fix):
        plan_with(two_cars(), backend=backend)
