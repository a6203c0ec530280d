"""Grid events and their proof, and what the guard does when meters, stations and buildings misbehave."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from bench import ROOT, Bench, Habit, evse_at, site_with
from views import NOW, event_of, reading_of, sample_of, seconds, session_at, setpoint_of, view_of
from virtual_time import START, run_virtual

from optimizer.control.settings import ControlSettings
from optimizer.control.track import Tracking, tracked
from optimizer.control.view import GuardView
from optimizer.control.watch import marked_event
from optimizer.domain.charger import LimitState
from optimizer.domain.event import GridEvent, GridEventInterval, GridEventKind, GridEventStatus
from optimizer.domain.ids import CircuitId, EvseId, GridEventId
from optimizer.domain.moment import Interval
from optimizer.domain.session import DepartureTarget, Session, TargetSource, Vehicle
from optimizer.domain.site import Circuit

A, B = EvseId("a"), EvseId("b")
SETTINGS = ControlSettings()
GARAGE = site_with(
    [evse_at("a"), evse_at("b", "east")],
    circuits=[Circuit(ROOT, None), Circuit(CircuitId("east"), ROOT, limit_kw=30.0)],
)
IMPORT, STEERED, PRICE = GridEventKind.IMPORT_LIMIT, GridEventKind.CONTROLLABLE_LIMIT, GridEventKind.PRICE
BOTH = (session_at("a"), session_at("b"))


def drawing(a_kw: float, b_kw: float, age_s: float = 2.0) -> GuardView:
    return view_of(
        GARAGE, sessions=BOTH, samples=(sample_of(GARAGE, "a", a_kw, age_s), sample_of(GARAGE, "b", b_kw, age_s))
    )


MARKS = [
    # case, event, view, (status, applied, confirmed)
    ("announced", event_of(IMPORT, 20.0, start_s=60), view_of(GARAGE), ("received", False, False)),
    ("begun", event_of(IMPORT, 20.0), view_of(GARAGE), ("active", True, False)),
    ("begun, the meter within it", event_of(IMPORT, 20.0), view_of(GARAGE, meter=reading_of(grid_kw=20.2)), ("active", True, True)),
    ("begun, the meter above it", event_of(IMPORT, 20.0), view_of(GARAGE, meter=reading_of(grid_kw=21.0)), ("active", True, False)),
    ("begun, the meter from before", event_of(IMPORT, 20.0), view_of(GARAGE, meter=reading_of(grid_kw=1.0, age_s=11)), ("active", True, False)),
    ("came in after the reading", event_of(IMPORT, 20.0, start_s=-99, received_s=0), view_of(GARAGE, meter=reading_of(grid_kw=1.0)), ("active", True, False)),
    ("a circuit's limit, its station within it", event_of(IMPORT, 8.0, circuit="east"), drawing(20.0, 7.0), ("active", True, True)),
    ("a circuit's limit, its station above it", event_of(IMPORT, 8.0, circuit="east"), drawing(2.0, 9.0), ("active", True, False)),
    ("all that is steered, within it", event_of(STEERED, 20.0), drawing(10.0, 9.0), ("active", True, True)),
    ("all that is steered, above it", event_of(STEERED, 20.0), drawing(10.0, 11.0), ("active", True, False)),
    ("all that is steered, not metered since", event_of(STEERED, 20.0), drawing(1.0, 1.0, age_s=12), ("active", True, False)),
    ("all that is steered, nobody there", event_of(STEERED, 20.0), view_of(GARAGE), ("active", True, True)),
    ("a price", event_of(PRICE, 0.5), view_of(GARAGE), ("active", True, True)),
    ("over", event_of(IMPORT, 20.0, end_s=-1), view_of(GARAGE), ("completed", True, False)),
]  # fmt: skip


@pytest.mark.parametrize(("case", "event", "view", "expected"), MARKS, ids=[case[0] for case in MARKS])
def test_marks(case: str, event: GridEvent, view: GuardView, expected: tuple[str, bool, bool]) -> None:
    marked = marked_event(event, view, SETTINGS)
    assert (str(marked.status), marked.applied_at is not None, marked.confirmed_at is not None) == expected
    assert marked.version == (event.version if marked is event else 2)


def test_marks_are_set_once() -> None:
    view = view_of(GARAGE, meter=reading_of(grid_kw=1.0))
    once = marked_event(event_of(IMPORT, 20.0), view, SETTINGS)
    assert marked_event(once, replace(view, at=NOW + seconds(9)), SETTINGS) is once


@pytest.mark.parametrize("status", [GridEventStatus.CANCELLED, GridEventStatus.COMPLETED])
def test_an_event_that_is_over_is_left_alone(status: GridEventStatus) -> None:
    event = replace(event_of(IMPORT, 20.0), status=status)
    assert marked_event(event, view_of(GARAGE), SETTINGS) is event


# --- the guard at a site that misbehaves ------------------------------------------------------------------------------


async def three_charging(
    *, limit_kw: float = 60.0, settings: ControlSettings = SETTINGS, sample_s: float = 10.0
) -> Bench:
    """Three vehicles at 16 A each."""
    site = site_with([evse_at(name) for name in "abc"], import_limit_kw=limit_kw, building_kw=30.0)
    bench = Bench(site, settings, wishes=lambda _: (11.04,) * 40, sample_period_s=sample_s)
    await bench.pass_time(3)
    for name in "abc":
        await bench.plug_in(name)
    await bench.loop.step("plug-in")
    await bench.pass_time(60, plan=True)
    assert bench.true_kw() == pytest.approx(33.12)
    return bench


def grid_event(limit_kw: float, start_s: float, lasts_s: float, now_s: float) -> GridEvent:
    start = START + timedelta(seconds=start_s)
    interval = Interval(start, start + timedelta(seconds=lasts_s))
    return GridEvent(
        GridEventId("dim"),
        GARAGE.id,
        STEERED,
        (GridEventInterval(interval, limit_kw),),
        START + timedelta(seconds=now_s),
    )


def test_a_grid_event_is_in_force_one_look_after_it_came_and_its_proof_is_kept() -> None:
    async def story() -> None:
        bench = await three_charging()
        now_s = (bench.clock.now() - START).total_seconds()
        await bench.stores.grid_events.save(grid_event(15.0, now_s, 120.0, now_s))
        await bench.pass_time(1)
        assert bench.true_kw() <= 15.0
        event = await bench.stores.grid_events.event(GridEventId("dim"))
        assert event.status is GridEventStatus.ACTIVE
        assert event.applied_at == bench.clock.now()
        await bench.pass_time(20)
        event = await bench.stores.grid_events.event(GridEventId("dim"))
        assert event.confirmed_at is not None
        await bench.pass_time(280, plan=True)
        event = await bench.stores.grid_events.event(GridEventId("dim"))
        assert event.status is GridEventStatus.COMPLETED
        assert bench.true_kw() == pytest.approx(33.12)

    run_virtual(story())


def test_an_announced_event_is_kept_from_its_first_second() -> None:
    async def story() -> None:
        bench = await three_charging()
        now_s = (bench.clock.now() - START).total_seconds()
        await bench.stores.grid_events.save(grid_event(15.0, now_s + 100, 120.0, now_s))
        await bench.pass_time(30)
        assert bench.true_kw() == pytest.approx(33.12)
        await bench.pass_time(70)
        for _ in range(20):
            assert bench.true_kw() <= 15.0
            await bench.pass_time(1)

    run_virtual(story())


def test_it_cuts_within_one_look_and_restores_slowly() -> None:
    async def story() -> None:
        bench = await three_charging()
        bench.building_kw = 40.0
        await bench.pass_time(1)
        assert bench.exceeded() == []
        bench.building_kw = 5.0
        await bench.pass_time(30)
        assert bench.true_kw() < 33.0
        await bench.pass_time(60, plan=True)
        assert bench.true_kw() == pytest.approx(33.12)

    run_virtual(story())


def test_a_meter_that_falls_silent_is_taken_for_the_greatest_load() -> None:
    async def story() -> None:
        bench = await three_charging()
        bench.meter_works = False
        bench.building_kw = 30.0
        await bench.pass_time(SETTINGS.meter_staleness_s + 2)
        assert bench.exceeded() == []
        assert bench.true_kw() <= 30.0

    run_virtual(story())


def test_a_station_that_draws_what_it_wants_makes_others_get_less() -> None:
    async def story() -> None:
        bench = await three_charging(limit_kw=40.0)
        bench.stations[A].habit = Habit.ROGUE
        over_s = 0
        for _ in range(120):
            await bench.pass_time(1)
            over_s = over_s + 1 if bench.exceeded() else 0
        assert over_s == 0
        assert bench.stations[A].draw_kw(bench.clock.now()) == pytest.approx(22.0)
        tracking = {one.evse_id: one for one in tracked(await bench.control.sender.view(), bench.settings)}
        assert tracking[A].tracking is Tracking.IGNORING
        assert tracking[A].counted_kw == pytest.approx(22.08)
        assert tracking[A].limit_kw < 21.0, "what it was told, and not what it counts at"
        assert tracking[B].tracking is Tracking.FOLLOWING

    run_virtual(story())


@pytest.mark.parametrize(
    ("case", "habit", "seconds_allowed"),
    [
        ("the rogue is metered every ten seconds", Habit.ROGUE, 12),
        ("the others obey after twenty seconds", Habit.LATE, 33),
        ("the others answer after six", Habit.SLOW, 20),
    ],
)
def test_a_limit_is_exceeded_no_longer_than_meter_and_stations_take(
    case: str, habit: Habit, seconds_allowed: int
) -> None:
    async def story() -> int:
        bench = await three_charging(limit_kw=40.0)
        bench.stations[A].habit = Habit.ROGUE
        for name in (B, EvseId("c")):
            bench.stations[name].habit = Habit.FOLLOWS if habit is Habit.ROGUE else habit
        longest = streak = 0
        for _ in range(200):
            await bench.pass_time(1)
            streak = streak + 1 if bench.exceeded() else 0
            longest = max(longest, streak)
        return longest

    assert run_virtual(story()) <= seconds_allowed, case


def test_a_load_that_no_station_reports_is_seen_by_the_site_meter() -> None:
    async def story() -> None:
        bench = await three_charging(limit_kw=40.0, sample_s=3600.0)
        bench.stations[A].habit = Habit.ROGUE
        await bench.pass_time(3)
        assert bench.exceeded() == []

    run_virtual(story())


def given_up(source: TargetSource) -> Session:
    target = DepartureTarget(NOW + timedelta(hours=2), energy_kwh=20.0, source=source)
    session = session_at("a", pauses=1, accepted_power_kw=0.0)
    return replace(session, targets=(target,), vehicle=Vehicle(wakes_after_pause=False))


TRACKS = [
    ("nobody there", view_of(GARAGE), Tracking.IDLE),
    ("plugged in, no sample yet", view_of(GARAGE, sessions=BOTH), Tracking.UNDER_WAY),
    ("charging at its default", drawing(4.0, 4.0), Tracking.FOLLOWING),
    ("takes less than it may", view_of(GARAGE, sessions=(session_at("a", accepted_power_kw=2.0),), samples=(sample_of(GARAGE, "a", 2.0),)), Tracking.LIMITED_BY_VEHICLE),
    ("above its limit once", replace(drawing(4.0, 4.0), overdraws={A: 1}), Tracking.ABOVE_LIMIT),
    ("above its limit again and again", replace(drawing(4.0, 4.0), overdraws={A: 3}), Tracking.IGNORING),
    ("offline", view_of(GARAGE, sessions=BOTH, offline=("a",)), Tracking.OFFLINE),
    ("a limit was sent and not seen yet", view_of(GARAGE, sessions=BOTH, setpoints=(setpoint_of("a", LimitState.ACCEPTED, (-5, 4.14), sent_s=-5.0, before_kw=9.0),), samples=(sample_of(GARAGE, "a", 8.0, age_s=8.0),)), Tracking.UNDER_WAY),
    ("seen, and at its limit", view_of(GARAGE, sessions=BOTH, setpoints=(setpoint_of("a", LimitState.VERIFIED, (-60, 4.14), sent_s=-60.0),), samples=(sample_of(GARAGE, "a", 4.1),)), Tracking.FOLLOWING),
    ("seen once, and silent since", view_of(GARAGE, sessions=BOTH, setpoints=(setpoint_of("a", LimitState.VERIFIED, (-900, 4.14), sent_s=-900.0),), samples=(sample_of(GARAGE, "a", 4.1, age_s=600.0),)), Tracking.STALE),
    ("rejects its limit", view_of(GARAGE, sessions=BOTH, setpoints=(setpoint_of("a", LimitState.REJECTED, (-5, 4.14), before_kw=9.0),)), Tracking.NOT_TAKEN),
    ("does not answer", view_of(GARAGE, sessions=BOTH, setpoints=(setpoint_of("a", LimitState.UNANSWERED, (-5, 4.14), before_kw=9.0),)), Tracking.NOT_TAKEN),
    ("doubted, since its station connected anew", view_of(GARAGE, sessions=BOTH, setpoints=(replace(setpoint_of("a", LimitState.UNANSWERED, (-5, 4.14), before_kw=9.0), answered_at=None),)), Tracking.UNDER_WAY),
    ("on its way when the service died", view_of(GARAGE, sessions=BOTH, setpoints=(setpoint_of("a", LimitState.SENT, (-90, 4.14), sent_s=-90.0, before_kw=9.0),)), Tracking.UNDER_WAY),
    ("was told one phase and is not seen on it", view_of(GARAGE, sessions=BOTH, setpoints=(replace(setpoint_of("a", LimitState.VERIFIED, (-60, 4.14), sent_s=-60.0), obeys_phases=False),), samples=(sample_of(GARAGE, "a", 4.1),)), Tracking.NOT_SWITCHING),
    ("nothing has woken it, and it is held at zero again", view_of(GARAGE, sessions=(given_up(TargetSource.API),), setpoints=(setpoint_of("a", LimitState.VERIFIED, (-60, 0.0), sent_s=-60.0),), samples=(sample_of(GARAGE, "a", 0.0),)), Tracking.NOT_WAKING),
    ("the same of one that said nothing: it may be full", view_of(GARAGE, sessions=(given_up(TargetSource.DEFAULT),), setpoints=(setpoint_of("a", LimitState.VERIFIED, (-60, 0.0), sent_s=-60.0),), samples=(sample_of(GARAGE, "a", 0.0),)), Tracking.FOLLOWING),
    ("does not wake", view_of(GARAGE, sessions=(session_at("a", pauses=1, paused=(Interval(NOW - seconds(600), NOW - seconds(100)),)),), samples=(sample_of(GARAGE, "a", 0.0),)), Tracking.NOT_WAKING),
]  # fmt: skip


@pytest.mark.parametrize(("case", "view", "expected"), TRACKS, ids=[case[0] for case in TRACKS])
def test_tracking(case: str, view: GuardView, expected: Tracking) -> None:
    assert tracked(view, SETTINGS)[0].tracking is expected
