"""The independent check notices every law that a plan breaks, and what is unsafe is not sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from planning_cases import ONE_PHASE, ROOT, THREE_PHASE, problem, request

from optimizer.domain.plan import Fallback, Plan, ProvenOptimal
from optimizer.domain.site import Circuit, LimitSource
from optimizer.planning import solve
from optimizer.planning.heuristics import HEURISTICS
from optimizer.planning.problem import BatteryState, ChargingProblem
from optimizer.planning.requests import LimitScope, PowerLimit, VehicleBattery
from optimizer.planning.solve import checked_plan, plan_charging
from optimizer.planning.verify import Violation, unsafe, violations

STORE = BatteryState(5.0, 10.0, 1.0, 9.0, 4.0, 4.0)
NEARLY_FULL = VehicleBattery(46.0, 50.0, knee_soc=0.8)


def full_site() -> ChargingProblem:
    """Two vehicles, one on three phases that tapers, one on L1; a fuse, a contract, a battery, PV."""
    return problem(
        [
            request("one", 9.0, 3),
            request("three", 3.0, 4, THREE_PHASE, battery=NEARLY_FULL),
        ],
        circuits=[Circuit(ROOT, None, limit_a=45.0, imbalance_limit_a=40.0)],
        limit_kw=16.0,
        limits=[PowerLimit(ROOT, 5.0, LimitSource.CONTRACT, LimitScope.FEED)],
        building_kw=[2.0] * 4,
        pv_kw=[3.0] * 4,
        export_price_per_kwh=[0.05] * 4,
        battery=STORE,
    )


def with_power(plan: Plan, vehicle: int, power_kw: tuple[float, ...]) -> Plan:
    sessions = list(plan.sessions)
    sessions[vehicle] = replace(sessions[vehicle], power_kw=power_kw)
    return replace(plan, sessions=tuple(sessions))


def laws(found: tuple[Violation, ...]) -> set[str]:
    return {violation.law for violation in found}


@pytest.mark.parametrize(
    ("damage", "law"),
    [
        pytest.param(lambda plan: with_power(plan, 0, (9.0, 0, 0, 0)), "power_limit", id="above its EVSE"),
        pytest.param(lambda plan: with_power(plan, 0, (0, 0, 0, 7.0)), "power_limit", id="after it has left"),
        pytest.param(lambda plan: with_power(plan, 0, (-1.0, 0, 0, 0)), "power_limit", id="discharges unasked"),
        pytest.param(lambda plan: with_power(plan, 0, (0.2, 0, 0, 0)), "minimum_current", id="below the minimum"),
        pytest.param(lambda plan: with_power(plan, 0, (7.0, 7.0, 7.0, 0)), "energy_balance", id="more than is wanted"),
        pytest.param(lambda plan: with_power(plan, 1, (11.0, 0, 0, 0)), "taper", id="more than a full battery takes"),
        pytest.param(lambda plan: replace(plan, battery_kw=(5.0, 0, 0, 0)), "battery", id="battery above its power"),
        pytest.param(lambda plan: replace(plan, battery_kw=(-4.0,) * 4), "battery", id="battery below its band"),
        pytest.param(lambda plan: replace(plan, pv_kw=(1.0, 3.0, 3.0, 3.0)), "site_balance", id="PV that vanishes"),
        pytest.param(
            lambda plan: replace(plan, grid_import_kw=(1.0,) * 4, grid_export_kw=(1.0,) * 4),
            "no_arbitrage",
            id="both ways at once",
        ),
        pytest.param(
            lambda plan: replace(plan, grid_import_kw=(0.0,) * 4, grid_export_kw=(9.0,) * 4),
            "grid_limit",
            id="more export than permitted",
        ),
        pytest.param(lambda plan: with_power(plan, 1, (15.0, 0, 0, 0)), "grid_limit", id="more than the contract"),
        pytest.param(lambda plan: with_power(plan, 0, (12.0, 0, 0, 0)), "circuit_limit", id="more than the fuse on L1"),
        pytest.param(lambda plan: with_power(plan, 0, (9.5, 0, 0, 0)), "phase_imbalance", id="one phase too far"),
    ],
)
def test_a_broken_law_is_noticed(damage: Callable[[Plan], Plan], law: str) -> None:
    of = full_site()
    plan = plan_charging(of).plan
    assert violations(of, plan) == ()
    assert law in laws(violations(of, damage(plan)))


def test_a_limit_that_the_building_alone_exceeds_may_not_be_made_worse() -> None:
    of = problem([request("car", 5.0, 2)], slots=2, limit_kw=3.0, building_kw=[6.0, 1.0])
    idle = HEURISTICS["least_laxity"](of)
    assert violations(of, idle) == ()
    worse = with_power(idle, 0, (1.4, 0.0))
    assert laws(violations(of, worse)) >= {"grid_limit"}


def test_a_plan_that_would_overload_something_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    of = problem([request("car", 9.0, 3, ONE_PHASE)], limit_kw=4.0)
    sound = plan_charging(of)
    assert isinstance(sound, ProvenOptimal)
    wrong = replace(sound, plan=HEURISTICS["uncontrolled"](of))
    monkeypatch.setattr(solve, "plan_charging", lambda *_: wrong)
    outcome = checked_plan(of)
    assert isinstance(outcome, Fallback)
    assert "breaks a law: grid_limit: root in slot 0: 7.36, permitted 4" in outcome.reason
    assert unsafe(of, outcome.plan) == ()


def test_a_sound_plan_is_left_as_it_is() -> None:
    of = full_site()
    assert isinstance(checked_plan(of), ProvenOptimal)
