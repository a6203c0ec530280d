"""The matrix that HiGHS gets is the matrix that Pyomo states: entry by entry, names included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from generated_problems import rich_problem, scoped_problems
from hypothesis import HealthCheck, given, settings
from planning_cases import problem, request
from stated_models import StatedModel, differences, stated_by_matrix, stated_by_reference

from optimizer.planning.laws import LAWS
from optimizer.planning.matrix import build_model
from optimizer.planning.objectives import Weights, whole_objective
from optimizer.planning.preferences import with_preferences
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.reference import REFERENCE_LAWS, reference_model
from optimizer.planning.reference.preferences import state_preferences
from optimizer.planning.scope import ModelScope, linear_scope, whole_scope
from optimizer.planning.settings import PlanningSettings

COST_BOUND = 12.5
SETTINGS = PlanningSettings()


def _by_matrix(of: ChargingProblem, scope: ModelScope) -> tuple[StatedModel, StatedModel]:
    model = build_model(of, scope)
    cost = whole_objective(of, model, Weights(of))
    preferred = with_preferences(of, SETTINGS, model, cost, COST_BOUND)
    return stated_by_matrix(of, model, cost), stated_by_matrix(of, preferred.model, preferred.points)


def _by_reference(of: ChargingProblem, scope: ModelScope) -> tuple[StatedModel, StatedModel]:
    model = reference_model(of, SETTINGS, scope)
    for_money = stated_by_reference(model, model.objective)
    state_preferences(model, COST_BOUND)
    return for_money, stated_by_reference(model, model.preference_points)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(case=scoped_problems())
def test_both_builders_state_one_model(case: tuple[ChargingProblem, ModelScope]) -> None:
    for matrix, reference in zip(_by_matrix(*case), _by_reference(*case), strict=True):
        assert differences(matrix, reference) == []


def test_every_law_of_the_generated_problems_is_exercised() -> None:
    """Each law adds something to some generated problem, so that comparing them compares every law."""
    rows: set[str] = set()
    for seed in range(120):
        of = rich_problem(np.random.default_rng(seed))
        rows |= {name for name, block in build_model(of, whole_scope(of)).rows.items() if block.count}
    telling = {
        "one_mode", "least_power", "energy_balance", "stored_energy", "departure_target", "taper", "battery",
        "battery_charge_way", "site_balance", "setpoint", "import_limit", "export_limit", "circuit_kw", "circuit_feed",
        "circuit_limit", "circuit_outward", "phase_imbalance", "demand_peak", "import_way", "started", "most_starts",
        "shortest_run", "reservation_floor",
    }  # fmt: skip
    assert telling <= rows, telling - rows


@pytest.mark.parametrize(
    ("damage", "law"),
    [
        pytest.param(lambda of: replace(of, battery=None), "battery", id="a battery left out"),
        pytest.param(
            lambda of: replace(of, sessions=replace(of.sessions, most_kwh=of.sessions.most_kwh + 1e-6)),
            "energy_balance",
            id="a bound a millionth of a kWh off",
        ),
        pytest.param(
            lambda of: replace(of, modes=replace(of.modes, min_kw=of.modes.min_kw * (1 + 1e-8))),
            "least_power",
            id="a coefficient a hundred-millionth off",
        ),
    ],
)
def test_the_comparison_notices(damage: Callable[[ChargingProblem], ChargingProblem], law: str) -> None:
    of = next(
        case
        for seed in range(100)
        if (case := rich_problem(np.random.default_rng(seed))).battery is not None and case.sessions.count > 2
    )
    matrix, _ = _by_matrix(of, whole_scope(of))
    reference, _ = _by_reference(damage(of), whole_scope(of))
    assert any(law in difference for difference in differences(matrix, reference))


def test_an_empty_site_is_stated_alike() -> None:
    of = problem([], slots=2)
    for matrix, reference in zip(_by_matrix(of, whole_scope(of)), _by_reference(of, whole_scope(of)), strict=True):
        assert differences(matrix, reference) == []


def test_targets_at_one_instant_keep_names_of_their_own() -> None:
    twice = request("car", 4.0, 2.0)
    of = problem([replace(twice, needs=(*twice.needs, *twice.needs))], slots=2)
    matrix, _ = _by_matrix(of, linear_scope(of))
    assert len([name for name in matrix.rows if name.startswith("departure_target")]) == 2


def test_every_law_has_a_statement_in_both_builders() -> None:
    assert list(LAWS) == list(REFERENCE_LAWS)
    assert all(law.__name__ == name for laws in (LAWS, REFERENCE_LAWS) for name, law in laws.items())
