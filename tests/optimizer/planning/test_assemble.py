"""From what one control step knows to the problem that is planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from planning_cases import NOW, evse_of, hours, session_of, snapshot

from optimizer.domain.charger import Connector, ConnectorStatus, LimitPeriod, LimitState, Setpoint
from optimizer.domain.ids import EvseId, SessionId
from optimizer.domain.plan import Plan
from optimizer.domain.session import DepartureTarget
from optimizer.domain.snapshot import SiteSnapshot
from optimizer.planning.assemble import previous_powers_kw, problem_from_snapshot
from optimizer.planning.heuristics import HEURISTICS
from optimizer.planning.needs import needs_of
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.settings import PlanningSettings

SETTINGS = PlanningSettings()
FULL_KW = evse_of("e0").max_power_kw


def stated(of: SiteSnapshot, fixed_kw: Mapping[str, float] | None = None) -> ChargingProblem:
    return problem_from_snapshot(of, SETTINGS, fixed_kw={EvseId(name): kw for name, kw in (fixed_kw or {}).items()})


def told(state: LimitState, *, before_kw: float = 0.0) -> Setpoint:
    sent_at = NOW - timedelta(minutes=3)
    return Setpoint(EvseId("e0"), (LimitPeriod(sent_at, 4.0),), state, sent_at, bound_before_kw=before_kw)


def with_connector(**changed: object) -> SiteSnapshot:
    of = snapshot([session_of("car", "e0")])
    first, *others = of.connectors
    connector: Connector = replace(first, **changed)  # type: ignore[arg-type]
    return replace(of, connectors=(connector, *others))


@pytest.mark.parametrize("state", LimitState)
def test_a_station_is_planned_for_whatever_became_of_its_last_limit(state: LimitState) -> None:
    assert stated(with_connector(setpoint=told(state, before_kw=FULL_KW))).sessions.ids == ("car",)


def test_what_control_cannot_steer_is_a_load_and_not_planned() -> None:
    of = stated(with_connector(setpoint=told(LimitState.REJECTED)), {"e0": 7.5})
    assert of.sessions.count == 0
    assert of.circuits.uncontrolled_kw[0, 0] == pytest.approx(5.0 + 7.5)


@pytest.mark.parametrize(
    ("changed", "counted_kw"),
    [
        pytest.param({"online": False}, FULL_KW, id="offline, nothing known: its fuse"),
        pytest.param({"online": False, "safe_default_kw": 1.4}, 1.4, id="offline with a safe default"),
        pytest.param({"online": False, "setpoint": told(LimitState.VERIFIED)}, 4.0, id="offline under a limit"),
        pytest.param(
            {"online": False, "setpoint": told(LimitState.SENT, before_kw=9.0)}, 9.0, id="offline, a limit on its way"
        ),
        pytest.param({"status": ConnectorStatus.FAULTED}, FULL_KW, id="faulted with a vehicle on it"),
        pytest.param({"status": ConnectorStatus.UNAVAILABLE, "session_id": None}, 0.0, id="out of order, empty"),
    ],
)
def test_a_connector_out_of_hand_counts_at_the_most_it_may_draw(changed: dict[str, object], counted_kw: float) -> None:
    of = stated(with_connector(**changed))
    assert of.sessions.count == 0
    assert of.circuits.uncontrolled_kw[0, 0] == pytest.approx(5.0 + counted_kw)


MADE = problem_from_snapshot(snapshot([session_of("car", "e0")]), SETTINGS)


def planned(*power_kw: float) -> Plan:
    """A plan of one vehicle over the coming hours, hour by hour."""
    instants = tuple(hours(count - 1) for count in range(len(power_kw) + 1))
    made = HEURISTICS["least_laxity"](MADE)
    session = replace(made.sessions[0], power_kw=power_kw)
    return replace(made, boundaries=instants, sessions=(session,))


@pytest.mark.parametrize(
    ("power_kw", "first_kw", "second_kw"),
    [
        pytest.param((7.0, 7.0, 0.0), 7.0, 7.0, id="goes on: the command and the plan say the same"),
        pytest.param((7.0, 4.0, 0.0), 7.0, 4.0, id="was to be lowered now: the command is what is in force"),
        pytest.param((7.0, 0.0, 5.0), 7.0, 0.0, id="was to stop now: the command is what is in force"),
        pytest.param((0.0, 7.0, 7.0), None, 7.0, id="is to start now: nothing speaks against it"),
        pytest.param((0.0, 0.0, 7.0), 0.0, 0.0, id="waits: it is told to wait"),
    ],
)
def test_what_the_plan_in_force_says(power_kw: tuple[float, ...], first_kw: float | None, second_kw: float) -> None:
    says = previous_powers_kw(planned(*power_kw), (NOW, hours(0.5), hours(1)))[SessionId("car")]
    assert says == (first_kw, second_kw)


@pytest.mark.parametrize(
    "plan",
    [pytest.param(None, id="no plan"), pytest.param(replace(planned(7.0, 7.0), sessions=()), id="a plan without it")],
)
def test_of_an_unknown_vehicle_a_plan_says_nothing(plan: Plan | None) -> None:
    assert previous_powers_kw(plan, (NOW, hours(1))) == {}


def test_beyond_its_end_a_plan_says_nothing() -> None:
    says = previous_powers_kw(planned(7.0, 7.0), (NOW, hours(1), hours(2)))
    assert says == {SessionId("car"): (7.0, None)}


@pytest.mark.parametrize(
    ("case", "energy_kwh", "early_minutes"),
    [
        ("time enough: ready ten minutes before", 10.0, 10),
        ("it needs all of its stay: until the end", FULL_KW * 5.95, 0),
        ("nothing to do", 0.0, 10),
    ],
)
def test_a_vehicle_is_ready_early_where_it_can_be(case: str, energy_kwh: float, early_minutes: int) -> None:
    leaves = NOW + timedelta(hours=6)
    session = session_of("car", "e0", targets=(DepartureTarget(leaves, energy_kwh=energy_kwh),))
    (need,) = needs_of(session, NOW, PlanningSettings(ready_early_minutes=10.0), FULL_KW)
    assert leaves - need.by == timedelta(minutes=early_minutes), case
