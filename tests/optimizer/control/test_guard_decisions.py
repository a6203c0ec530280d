"""What may be sent: cuts at once and least urgent first, increases only into room that is really there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from bench import ROOT, evse_at, site_with
from views import (
    NOW,
    event_of,
    periods_of,
    reading_of,
    sample_of,
    session_at,
    setpoint_of,
    view_of,
)

from optimizer.control.guard import GuardDecision, decide
from optimizer.control.settings import ControlSettings
from optimizer.control.view import GuardView, base_load, tightest_event_limits
from optimizer.domain.charger import LimitCommand, LimitState
from optimizer.domain.event import GridEvent, GridEventKind, GridEventStatus
from optimizer.domain.ids import CircuitId, EvseId, TransactionId
from optimizer.domain.metering import SiteMeterReading
from optimizer.domain.session import PriorityTier
from optimizer.domain.site import Circuit, Phase, Site

SETTINGS = ControlSettings(concurrent_starts=None, restore_margin_kw=0.0)
ACCEPTED, VERIFIED, SENT = LimitState.ACCEPTED, LimitState.VERIFIED, LimitState.SENT
KW_16_A, KW_10_A, KW_6_A = 11.04, 6.9, 4.14


def wish(site: Site, evse: str, *pairs: tuple[float, float]) -> LimitCommand:
    return LimitCommand(site.evses[EvseId(evse)].station_id, EvseId(evse), TransactionId("7"), periods_of(*pairs))


def told(decision: GuardDecision) -> dict[str, float]:
    """What each EVSE is told now [kW]."""
    return {command.evse_id: round(command.first_kw, 2) for command in decision.commands}


def three_charging(
    limit_kw: float, *, now_kw: Mapping[str, float], state: LimitState = VERIFIED, **more: object
) -> GuardView:
    """Three vehicles: ``a`` reserved, ``b`` leaves in an hour, ``c`` in five."""
    site = site_with([evse_at(name) for name in "abc"], import_limit_kw=limit_kw, building_kw=30.0)
    sessions = (
        session_at("a", tier=PriorityTier.RESERVED, depart_h=3),
        session_at("b", depart_h=1),
        session_at("c", depart_h=5),
    )
    setpoints = tuple(setpoint_of(name, state, (-100, kw), (1800, 1.0), sent_s=-100) for name, kw in now_kw.items())
    return view_of(site, sessions=sessions, setpoints=setpoints, **more)  # type: ignore[arg-type]


ALL_16_A = {"a": KW_16_A, "b": KW_16_A, "c": KW_16_A}


@pytest.mark.parametrize(
    ("case", "building_kw", "expected"),
    [
        ("there is room", 6.8, {}),
        ("a little too much: the least urgent gives an ampere", 7.0, {"c": 10.35}),
        ("more: it goes down to its least current", 13.5, {"c": KW_6_A}),
        ("more still: the next one gives too", 16.0, {"b": 8.28, "c": KW_6_A}),
        ("both at their least", 20.6, {"b": KW_6_A, "c": KW_6_A}),
        ("all three at their least", 27.5, {"a": KW_6_A, "b": KW_6_A, "c": KW_6_A}),
        ("the least urgent stops", 30.0, {"a": KW_6_A, "b": KW_6_A, "c": 0.0}),
        ("only the reserved one goes on", 35.0, {"a": KW_6_A, "b": 0.0, "c": 0.0}),
        ("nothing is left", 39.0, {"a": 0.0, "b": 0.0, "c": 0.0}),
    ],
)
def test_cuts_when_the_building_rises(case: str, building_kw: float, expected: dict[str, float]) -> None:
    view = three_charging(40.0, now_kw=ALL_16_A, meter=reading_of(building_kw=building_kw))
    decision = decide(view, (), SETTINGS)
    assert told(decision) == expected, case
    assert not decision.increases


def test_where_a_station_takes_no_zero_the_next_one_stops() -> None:
    view = three_charging(40.0, now_kw=ALL_16_A, meter=reading_of(building_kw=30.0))
    stubborn = view.connectors[EvseId("c")]
    assert stubborn.setpoint is not None
    kept = replace(stubborn, setpoint=replace(stubborn.setpoint, takes_zero=False))
    decision = decide(replace(view, connectors={**view.connectors, EvseId("c"): kept}), (), SETTINGS)
    assert told(decision) == {"a": KW_6_A, "b": 0.0, "c": KW_6_A}


@pytest.mark.parametrize(
    ("case", "building_kw", "grid_kw", "stopped"),
    [
        ("the least currents fit", 27.5, 45.0, ()),
        ("they do not: the least urgent is stopped", 30.0, 45.0, ("c",)),
        ("two of them", 33.0, 45.0, ("c", "b")),
        ("nobody on suspicion: the meter shows no excess", 33.0, 39.0, ()),
    ],
)
def test_who_takes_no_zero_is_stopped_where_nothing_else_helps(
    case: str, building_kw: float, grid_kw: float, stopped: tuple[str, ...]
) -> None:
    view = three_charging(40.0, now_kw=ALL_16_A, meter=reading_of(building_kw=building_kw, grid_kw=grid_kw))
    connectors = {
        evse_id: replace(one, setpoint=replace(one.setpoint, takes_zero=False))
        for evse_id, one in view.connectors.items()
        if one.setpoint is not None
    }
    assert decide(replace(view, connectors=connectors), (), SETTINGS).stops == stopped, case


BREACH = reading_of(building_kw=30.0, grid_kw=45.0)
AT_ZERO = {"a": 0.0, "b": 0.0, "c": KW_16_A}


@pytest.mark.parametrize(
    ("case", "now_kw", "overdraws", "meter", "stopped"),
    [
        ("it ignores its limits, and the others are at zero", AT_ZERO, {"c": 3}, BREACH, ("c",)),
        ("first the others are cut", ALL_16_A, {"c": 3}, BREACH, ()),
        ("it was above its limit only once", AT_ZERO, {"c": 1}, BREACH, ()),
        ("the meter shows no excess", AT_ZERO, {"c": 3}, reading_of(building_kw=30.0, grid_kw=39.0), ()),
        ("the meter is silent", AT_ZERO, {"c": 3}, None, ()),
    ],
)
def test_who_keeps_no_limit_is_stopped_where_nothing_else_is_left(
    case: str, now_kw: dict[str, float], overdraws: dict[str, int], meter: SiteMeterReading | None,
    stopped: tuple[str, ...],
) -> None:  # fmt: skip
    view = three_charging(40.0, now_kw=now_kw, meter=meter, overdraws=overdraws)
    assert decide(view, (), SETTINGS).stops == stopped, case


@pytest.mark.parametrize(
    ("building_kw", "stopped"), [(15.0, ("c",)), (35.0, ("c", "b"))], ids=["one is enough", "both must"]
)
def test_the_least_urgent_of_those_that_keep_no_limit_is_stopped_first(
    building_kw: float, stopped: tuple[str, ...]
) -> None:
    now_kw, meter = {"a": 0.0, "b": KW_16_A, "c": KW_16_A}, reading_of(building_kw=building_kw, grid_kw=60.0)
    view = three_charging(40.0, now_kw=now_kw, meter=meter, overdraws={"b": 3, "c": 3})
    assert decide(view, (), SETTINGS).stops == stopped


@pytest.mark.parametrize(("state", "stopped"), [(LimitState.REJECTED, ("c",)), (LimitState.UNANSWERED, ())])
def test_who_rejects_every_limit_is_stopped_too_but_nobody_who_may_just_be_slow(
    state: LimitState, stopped: tuple[str, ...]
) -> None:
    view = three_charging(40.0, now_kw=AT_ZERO, meter=BREACH)
    stubborn = view.connectors[EvseId("c")]
    assert stubborn.setpoint is not None
    refused = replace(stubborn, setpoint=replace(stubborn.setpoint, state=state, bound_before_kw=KW_16_A))
    decision = decide(replace(view, connectors={**view.connectors, EvseId("c"): refused}), (), SETTINGS)
    assert decision.stops == stopped


def test_a_cut_keeps_the_safe_value_at_the_end_and_names_the_limit() -> None:
    view = three_charging(40.0, now_kw=ALL_16_A, meter=reading_of(building_kw=13.5))
    (command,) = decide(view, (), SETTINGS).reductions
    assert [(period.start - NOW).total_seconds() for period in command.periods] == [0.0, 1800.0]
    assert command.periods[-1].limit_kw == 1.0
    assert command.reason == "held at 4.1 kW by 40 kW of contract at circuit main"


def test_a_cut_of_a_constant_limit_ends_in_the_safe_default_all_the_same() -> None:
    site = site_with([evse_at("a")], import_limit_kw=5.0)
    view = view_of(site, sessions=(session_at("a"),), setpoints=(setpoint_of("a", VERIFIED, (-100, KW_10_A)),))
    (command,) = decide(view, (), SETTINGS).reductions
    assert [round(period.limit_kw, 2) for period in command.periods] == [4.83, 4.14]


@pytest.mark.parametrize(
    ("case", "meter", "cut"),
    [
        ("fresh", reading_of(building_kw=2.0), False),
        ("none: the greatest building load counts", None, True),
        ("stale: the same", reading_of(building_kw=2.0, age_s=600.0), True),
    ],
)
def test_a_stale_meter(case: str, meter: object, cut: bool) -> None:
    view = three_charging(40.0, now_kw=ALL_16_A, meter=meter)
    assert bool(decide(view, (), SETTINGS).reductions) is cut, case


ONE_LOW = {"a": KW_6_A, "b": KW_10_A, "c": KW_10_A}


@pytest.mark.parametrize(
    ("case", "building_kw", "age_s", "raised_kw"),
    [
        ("fresh: by the reading", 10.0, 3.0, 15.87),
        ("a while old: the greatest building load of 30 kW may flow by now", 10.0, 20.0, KW_6_A),
        ("a while old, and more than the greatest: by the reading", 35.0, 20.0, KW_6_A),
        ("stale: the greatest building load", 10.0, 600.0, KW_6_A),
    ],
)
def test_a_raise_needs_a_fresh_reading(case: str, building_kw: float, age_s: float, raised_kw: float) -> None:
    view = three_charging(40.0, now_kw=ONE_LOW, meter=reading_of(building_kw=building_kw, age_s=age_s))
    wishes = (wish(view.site, "a", (0, KW_16_A + KW_10_A), (3600, 1.0)),)
    decision = decide(view, wishes, SETTINGS)
    assert told(decision).get("a", KW_6_A) == raised_kw, case


def test_an_older_reading_still_cuts_nobody_for_a_building_that_may_have_risen() -> None:
    view = three_charging(40.0, now_kw=ALL_16_A, meter=reading_of(building_kw=2.0, age_s=20.0))
    assert told(decide(view, (), SETTINGS)) == {}


def test_a_raise_since_the_reading_explains_nothing_of_it() -> None:
    """Of 20 kW that nobody has told of, none may be given away because ``a`` now counts at more than it did then."""
    raised = setpoint_of("a", SENT, (-2, KW_16_A), sent_s=-2, before_kw=KW_6_A)
    setpoints = (raised, *(setpoint_of(name, VERIFIED, (-100, KW_6_A)) for name in "bc"))
    site = site_with([evse_at(name) for name in "abc"], import_limit_kw=40.0, building_kw=30.0)
    view = view_of(
        site,
        sessions=tuple(session_at(name) for name in "abc"),
        setpoints=setpoints,
        meter=reading_of(grid_kw=20.0 + 3 * KW_6_A, building_kw=0.0, age_s=5.0),
    )
    decision = decide(view, (wish(site, "b", (0, KW_16_A), (3600, 1.0)),), SETTINGS)
    assert told(decision) == {}


def test_a_cut_of_what_did_not_answer_is_no_increase() -> None:
    site = site_with([evse_at("a")], import_limit_kw=10.0)
    held = setpoint_of("a", LimitState.UNANSWERED, (-300, KW_6_A), sent_s=-300)
    silent = replace(held, bound_before_kw=KW_16_A, answered_at=None)
    view = view_of(site, sessions=(session_at("a"),), setpoints=(silent,))
    assert told(decide(view, (), SETTINGS)) == {"a": KW_6_A}, "it counts at 16 A, and 14 A would fit"


def test_what_is_under_way_is_not_cut_twice() -> None:
    setpoints = (
        setpoint_of("a", VERIFIED, (-100, KW_16_A)),
        setpoint_of("b", SENT, (-2, KW_6_A), sent_s=-2, before_kw=KW_16_A),
        setpoint_of("c", ACCEPTED, (-2, KW_6_A), sent_s=-2, before_kw=KW_16_A),
    )
    site = site_with([evse_at(name) for name in "abc"], import_limit_kw=20.0)
    view = view_of(site, sessions=tuple(session_at(name) for name in "abc"), setpoints=setpoints)
    assert told(decide(view, (), SETTINGS)) == {}


def test_others_are_cut_when_a_reduction_does_not_come() -> None:
    setpoints = (
        setpoint_of("a", VERIFIED, (-300, KW_10_A), sent_s=-300),
        setpoint_of("b", ACCEPTED, (-300, KW_6_A), sent_s=-300, before_kw=KW_16_A),
    )
    site = site_with([evse_at(name) for name in "ab"], import_limit_kw=16.0)
    view = view_of(site, sessions=(session_at("a"), session_at("b")), setpoints=setpoints)
    assert told(decide(view, (), SETTINGS)) == {"a": 4.83}


INCREASE_CASES = [
    # case, state of b's reduction, b before, wish of a, granted to a
    ("room enough", VERIFIED, 11.0, KW_10_A, KW_10_A),
    ("what b gave up, once seen", VERIFIED, 11.0, KW_16_A, KW_16_A),
    ("what b gave up, not seen yet", ACCEPTED, KW_16_A, KW_16_A, 8.97),
    ("what b gave up, sent only", SENT, KW_16_A, KW_16_A, 8.97),
    ("what b refuses to give up", LimitState.REJECTED, KW_16_A, KW_16_A, 8.97),
]


@pytest.mark.parametrize(
    ("case", "state", "before_kw", "wish_kw", "granted_kw"), INCREASE_CASES, ids=[case[0] for case in INCREASE_CASES]
)
def test_increases_use_only_room_that_is_there(
    case: str, state: LimitState, before_kw: float, wish_kw: float, granted_kw: float
) -> None:
    site = site_with([evse_at("a"), evse_at("b")], import_limit_kw=20.2)
    setpoints = (
        setpoint_of("a", VERIFIED, (-100, KW_6_A)),
        setpoint_of("b", state, (-5, KW_6_A), sent_s=-5, before_kw=before_kw),
    )
    view = view_of(site, sessions=(session_at("a"), session_at("b")), setpoints=setpoints)
    decision = decide(view, (wish(site, "a", (0, wish_kw), (3600, KW_6_A)),), SETTINGS)
    assert told(decision) == {"a": granted_kw}
    assert [command.evse_id for command in decision.increases] == ["a"]


def test_a_station_whose_reduction_is_not_seen_gets_no_increase_for_free() -> None:
    site = site_with([evse_at("a"), evse_at("b")], import_limit_kw=12.0)
    setpoints = (
        setpoint_of("a", ACCEPTED, (-5, KW_6_A), sent_s=-5, before_kw=KW_16_A),
        setpoint_of("b", VERIFIED, (-100, KW_6_A)),
    )
    view = view_of(site, sessions=(session_at("a"), session_at("b")), setpoints=setpoints)
    assert told(decide(view, (wish(site, "a", (0, KW_16_A), (3600, KW_6_A)),), SETTINGS)) == {"a": 7.59}


def test_idle_evses_keep_room_for_as_many_as_may_start_at_once() -> None:
    site = site_with([evse_at(name) for name in "abcd"], import_limit_kw=30.0)
    view = view_of(site, sessions=(session_at("a"),), setpoints=(setpoint_of("a", VERIFIED, (-100, KW_6_A)),))
    wishes = (wish(site, "a", (0, 22.08), (3600, KW_6_A)),)
    assert told(decide(view, wishes, ControlSettings(concurrent_starts=None))) == {"a": 17.25}
    assert told(decide(view, wishes, ControlSettings(concurrent_starts=2))) == {"a": 21.39}
    assert told(decide(view, wishes, ControlSettings(concurrent_starts=0))) == {"a": 22.08}


def test_reductions_and_increases_are_told_apart_and_releases_go_first() -> None:
    site = site_with([evse_at(name) for name in "abc"])
    setpoints = (setpoint_of("a", VERIFIED, (-100, KW_10_A)), setpoint_of("b", VERIFIED, (-100, KW_10_A)))
    view = view_of(site, sessions=(session_at("a"), session_at("b")), setpoints=setpoints)
    release = LimitCommand(site.evses[EvseId("c")].station_id, EvseId("c"), None, periods_of((0, KW_6_A)))
    wishes = (wish(site, "a", (0, KW_16_A), (99, 1.0)), wish(site, "b", (0, KW_6_A), (99, 1.0)), release)
    decision = decide(view, wishes, SETTINGS)
    assert [command.evse_id for command in decision.reductions] == ["c", "b"]
    assert [command.evse_id for command in decision.increases] == ["a"]


def test_a_full_phase_holds_up_only_those_on_it() -> None:
    evses = [evse_at("a", phases=(Phase.L1,)), evse_at("b", phases=(Phase.L1,)), evse_at("c", phases=(Phase.L2,))]
    site = site_with(evses, circuits=[Circuit(ROOT, None, limit_a=25.0)])
    sessions = tuple(session_at(name) for name in "abc")
    setpoints = tuple(setpoint_of(name, VERIFIED, (-100, 1.38)) for name in "abc")
    view = view_of(site, sessions=sessions, setpoints=setpoints, default_kw=1.38)
    wishes = tuple(wish(site, name, (0, 3.68), (3600, 1.38)) for name in "abc")
    assert told(decide(view, wishes, SETTINGS)) == {"a": 3.68, "b": 2.07, "c": 3.68}


# --- grid events ----------------------------------------------------------------------------------------------------

IMPORT, STEERED = GridEventKind.IMPORT_LIMIT, GridEventKind.CONTROLLABLE_LIMIT


@pytest.mark.parametrize(
    ("case", "event", "expected"),
    [
        ("a limit on import, the building included", event_of(IMPORT, 30.0), {"b": 7.59, "c": KW_6_A}),
        ("a limit on all that is steered", event_of(STEERED, 30.0), {"c": 7.59}),
        ("one that begins in a moment", event_of(STEERED, 30.0, start_s=40), {"c": 7.59}),
        ("one that begins later", event_of(STEERED, 30.0, start_s=400), {}),
        ("one that is over", event_of(STEERED, 30.0, start_s=-400, end_s=-1), {}),
        ("one below zero", event_of(STEERED, -5.0), {"a": 0.0, "b": 0.0, "c": 0.0}),
        ("a price", event_of(GridEventKind.PRICE, 30.0), {}),
        ("a circuit that nobody knows is the connection", event_of(STEERED, 30.0, circuit="nowhere"), {"c": 7.59}),
    ],
)
def test_grid_events_cut_at_once(case: str, event: GridEvent, expected: dict[str, float]) -> None:
    view = three_charging(100.0, now_kw=ALL_16_A, meter=reading_of(building_kw=7.0), events=(event,))
    assert told(decide(view, (), SETTINGS)) == expected, case


@pytest.mark.parametrize(
    ("case", "events", "limit_kw"),
    [
        ("the tighter of equals", [event_of(IMPORT, 30.0), event_of(IMPORT, 20.0)], 20.0),
        ("the one that goes first", [event_of(IMPORT, 30.0, priority=1), event_of(IMPORT, 20.0, priority=2)], 30.0),
        (
            "a tighter one that begins within the window",
            [event_of(IMPORT, 30.0), event_of(IMPORT, 20.0, start_s=30)],
            20.0,
        ),
    ],
)
def test_events_in_conflict(case: str, events: list[GridEvent], limit_kw: float) -> None:
    site = site_with([evse_at("a")])
    found = tightest_event_limits(tuple(events), site, NOW, NOW + (events[0].span.end - NOW) / 2)
    assert found == {(IMPORT, CircuitId("main")): limit_kw}, case


def test_cancelled_and_completed_events_limit_nothing() -> None:
    site = site_with([evse_at("a")])
    gone = [
        replace(event_of(IMPORT, 1.0), status=status)
        for status in (GridEventStatus.CANCELLED, GridEventStatus.COMPLETED)
    ]
    assert tightest_event_limits(tuple(gone), site, NOW, NOW) == {}


# --- the site meter -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "meter", "counted_kw", "import_kw", "fuse_kw"),
    [
        ("building alone", reading_of(building_kw=8.0), 5.0, 8.0, 8.0),
        ("PV relieves import, a fuse only by its firm share", reading_of(building_kw=8.0, pv_kw=10.0), 5.0, -2.0, 6.0),
        ("all explained", reading_of(grid_kw=13.0, building_kw=8.0), 5.0, 8.0, 8.0),
        ("two meters never agree to the watt", reading_of(grid_kw=13.2, building_kw=8.0), 5.0, 8.0, 8.0),
        ("a load that nobody counts", reading_of(grid_kw=20.0, building_kw=8.0), 5.0, 15.0, 15.0),
        (
            "less than counted: vehicles take less than they may",
            reading_of(grid_kw=9.0, building_kw=8.0),
            5.0,
            8.0,
            8.0,
        ),
        ("the connection alone: all of it may be building", reading_of(grid_kw=13.0), 5.0, 13.0, 13.0),
        ("the connection alone: never more than the greatest building", reading_of(grid_kw=60.0), 50.0, 30.0, 30.0),
        ("a reading that tells nothing", reading_of(), 5.0, 30.0, 30.0),
    ],
)
def test_base_load(case: str, meter: object, counted_kw: float, import_kw: float, fuse_kw: float) -> None:
    site = site_with([evse_at("a")], building_kw=30.0, pv_firm_share=0.2)
    base = base_load(view_of(site, meter=meter), counted_kw, SETTINGS)  # type: ignore[arg-type]
    assert (round(base.import_kw, 6), round(base.fuse_kw, 6)) == (import_kw, fuse_kw), case


def test_stations_metered_at_the_same_moment_are_not_taken_for_building() -> None:
    site = site_with([evse_at("a"), evse_at("b")], building_kw=30.0)
    samples = (sample_of(site, "a", 7.0, age_s=3.0), sample_of(site, "b", 4.0, age_s=30.0))
    base = base_load(view_of(site, meter=reading_of(grid_kw=20.0), samples=samples), 11.0, SETTINGS)
    assert base.import_kw == pytest.approx(13.0)


def test_a_phase_that_carries_more_than_is_explained_counts_as_metered() -> None:
    site = site_with([evse_at("a")], circuits=[Circuit(ROOT, None, limit_a=63.0)], building_kw=30.0)
    meter = reading_of(grid_kw=11.5, building_kw=6.9, current_a=(60.0, 20.0, 20.0))
    base = base_load(view_of(site, meter=meter), 4.6, SETTINGS)
    assert base.phase_a == pytest.approx((40.0, 10.0, 10.0))


def test_an_unexplained_load_is_cut_for() -> None:
    view = three_charging(45.0, now_kw=ALL_16_A, meter=reading_of(grid_kw=55.0, building_kw=6.0))
    assert told(decide(view, (), SETTINGS)) == {"b": 7.59, "c": KW_6_A}


def test_ripple_of_the_building_is_kept_clear_of() -> None:
    view = three_charging(45.0, now_kw={"a": KW_6_A, "b": KW_6_A, "c": KW_6_A}, meter=reading_of(building_kw=10.0))
    wishes = (wish(view.site, "a", (0, 22.08), (3600, 1.0)),)
    assert told(decide(view, wishes, ControlSettings(restore_margin_kw=0.0))) == {"a": 22.08}
    assert told(decide(view, wishes, ControlSettings(restore_margin_kw=6.0))) == {"a": 20.7}
