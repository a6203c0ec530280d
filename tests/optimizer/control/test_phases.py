"""Changing between one and three phases: when it is ordered, and what counts before, while and after."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench import Bench, Habit, SimStation, evse_at, site_with
from views import NOW, sample_of, seconds, session_at, setpoint_of, view_of
from virtual_time import run_virtual

from optimizer.control.guard import decide
from optimizer.control.phases import next_phases, open_phases, phases_of, watched_phases
from optimizer.control.settings import ControlSettings
from optimizer.control.track import Tracking, tracked
from optimizer.domain.charger import (
    ConnectorStatus,
    LimitCommand,
    LimitPeriod,
    LimitState,
    PhaseOrder,
    Setpoint,
)
from optimizer.domain.ids import CircuitId, EvseId, StationId, TransactionId
from optimizer.domain.metering import MeterSample
from optimizer.domain.session import Session, Vehicle
from optimizer.domain.site import Circuit, Phase, Wiring
from optimizer.errors import InvalidConfiguration

A, B = EvseId("a"), EvseId("b")
SITE = site_with([evse_at("a", phase_switching=True)])
EVSE = SITE.evses[A]
SETTINGS = ControlSettings(phase_dwell_s=600.0, most_phase_switches=4)
SIX_A_KW, TEN_A_KW, SIXTEEN_A_KW = 4.14, 6.9, 11.04
"""Limits of 6, 10 and 16 A, stated on all three current paths."""


def order(phases: int, *, since_s: float = 100.0, seen_s: float | None = None) -> PhaseOrder:
    return PhaseOrder(phases, NOW - seconds(since_s), None if seen_s is None else NOW - seconds(seen_s))


def held(
    given: PhaseOrder | None, limit_kw: float = SIX_A_KW, *, obeys: bool | None = None, sent_s: float = -100.0
) -> Setpoint:
    setpoint = setpoint_of("a", LimitState.VERIFIED, (sent_s, limit_kw), sent_s=sent_s)
    return replace(setpoint, phase_order=given, obeys_phases=obeys)


def currents(first_a: float, others_a: float, *, age_s: float = 5.0, told: bool = True) -> MeterSample:
    sample = sample_of(SITE, "a", (first_a + 2 * others_a) * 0.23, age_s)
    return replace(sample, current_a=(first_a, others_a, others_a)) if told else sample


# --- what may be ordered -------------------------------------------------------------------------------------------

FRESH = session_at("a")
OPEN = [
    # case, session, setpoint, willing, numbers that are open
    ("never switched", FRESH, None, True, (3, 1)),
    ("on one phase for long", replace(FRESH, phase_switches=1, phases_switched_at=NOW - seconds(700)), held(order(1)), True, (1, 3)),
    ("switched a moment ago", replace(FRESH, phase_switches=1, phases_switched_at=NOW - seconds(60)), held(order(1)), True, (1,)),
    ("one left: not to one phase, for there would be no way back", replace(FRESH, phase_switches=3), held(order(3)), True, (3,)),
    ("one left: the way back", replace(FRESH, phase_switches=3), held(order(1)), True, (1, 3)),
    ("none left", replace(FRESH, phase_switches=4), held(order(1)), True, (1,)),
    ("the station says that it cannot", FRESH, None, False, (3,)),
    ("offline on one phase", FRESH, held(order(1)), False, (1,)),
    ("was told and not seen to obey", FRESH, held(order(1), obeys=False), True, (3,)),
    ("told in an earlier transaction", FRESH, held(order(1), sent_s=-4000.0), True, (3, 1)),
    ("no vehicle", None, None, True, None),
]  # fmt: skip


@pytest.mark.parametrize(("case", "session", "setpoint", "willing", "expected"), OPEN, ids=[case[0] for case in OPEN])
def test_which_numbers_are_open(
    case: str, session: Session | None, setpoint: Setpoint | None, willing: bool, expected: tuple[int, ...] | None
) -> None:
    connector = replace(view_of(SITE).connectors[A], setpoint=setpoint)
    assert open_phases(EVSE, session, connector, NOW, SETTINGS, willing=willing) == expected, case


@pytest.mark.parametrize(
    "evse",
    [
        pytest.param(evse_at("a"), id="cannot switch"),
        pytest.param(evse_at("a", phases=EVSE.phases[:1], phase_switching=True), id="has one phase"),
        pytest.param(evse_at("a", phases=EVSE.phases[:2], wiring=Wiring.LINE_TO_LINE, phase_switching=True), id="line to line"),
    ],
)  # fmt: skip
def test_elsewhere_nothing_is_said_of_phases(evse: object) -> None:
    connector = view_of(SITE).connectors[A]
    assert open_phases(evse, FRESH, connector, NOW, SETTINGS, willing=True) is None  # type: ignore[arg-type]


NEXT = [
    # case, open, planned on, planned power, the number to be on
    ("a share below three phases' least", (3, 1), 1, 2.5, 1),
    ("a share that three phases carry as well", (3, 1), 1, 5.0, 3),
    ("more than one phase is to give", (1, 3), 3, 8.0, 3),
    ("one phase goes on", (1, 3), 1, 5.0, 1),
    ("a pause is no reason", (1, 3), 0, 0.0, 1),
    ("not yet", (3,), 1, 2.5, 3),
    ("never", None, 1, 2.5, None),
]


@pytest.mark.parametrize(("case", "open_to", "planned", "power_kw", "expected"), NEXT, ids=[case[0] for case in NEXT])
def test_the_number_to_be_on(
    case: str, open_to: tuple[int, ...] | None, planned: int, power_kw: float, expected: int | None
) -> None:
    assert next_phases(open_to, planned, power_kw, EVSE.min_power_kw) == expected, case


# --- what the meter shows ------------------------------------------------------------------------------------------

WATCHED = [
    # case, order, known to obey, sample, status, seen, obeys
    ("one phase draws", order(1), None, currents(6.0, 0.0), "charging", True, True),
    ("all of them draw still", order(1), None, currents(6.0, 6.0), "charging", False, None),
    ("all of them draw for too long", order(1, since_s=200), None, currents(6.0, 6.0), "charging", False, False),
    ("the currents are not told", order(1), None, currents(6.0, 0.0, told=False), "charging", False, None),
    ("and are never told", order(1, since_s=200), None, currents(6.0, 0.0, told=False), "charging", False, False),
    ("a sample from before it settled", order(1, since_s=4), None, currents(6.0, 0.0), "charging", False, None),
    ("all draw again after one was seen", order(1, seen_s=50), True, currents(6.0, 6.0), "charging", False, True),
    ("and for too long", order(1, since_s=200, seen_s=50), True, currents(6.0, 6.0), "charging", False, False),
    ("nothing flows at an EVSE never seen to obey", order(1), None, currents(0.0, 0.0), "charging", False, None),
    ("nothing flows at one that did before", order(1), True, currents(0.0, 0.0), "charging", True, True),
    ("the same, a moment after the order", order(1, since_s=20), True, currents(0.0, 0.0), "charging", False, True),
    ("no sample at all, and asleep", order(1), True, None, "suspended_by_evse", True, True),
    ("no sample at all, and charging", order(1), True, None, "charging", False, True),
    ("three phases draw again", order(3), True, currents(6.0, 6.0), "charging", True, True),
    ("one draws where three are told", order(3, since_s=200), True, currents(6.0, 0.0), "charging", False, True),
]


@pytest.mark.parametrize(
    ("case", "given", "obeyed", "sample", "status", "seen", "obeys"), WATCHED, ids=[case[0] for case in WATCHED]
)
def test_what_the_meter_shows(
    case: str,
    given: PhaseOrder,
    obeyed: bool | None,
    sample: MeterSample | None,
    status: str,
    seen: bool,
    obeys: bool | None,
) -> None:
    setpoint = held(given, obeys=obeyed)
    connector = replace(view_of(SITE, sessions=(FRESH,)).connectors[A], status=ConnectorStatus(status))
    shown = watched_phases(setpoint, connector, EVSE, sample, NOW, SETTINGS)
    assert shown.phase_order is not None
    assert (shown.phase_order.seen_at is not None, shown.obeys_phases) == (seen, obeys), case


@pytest.mark.parametrize("state", [LimitState.SENT, LimitState.REJECTED, LimitState.UNANSWERED])
def test_what_was_not_accepted_is_not_seen(state: LimitState) -> None:
    setpoint = replace(held(order(1)), state=state)
    connector = view_of(SITE, sessions=(FRESH,)).connectors[A]
    assert watched_phases(setpoint, connector, EVSE, currents(6.0, 0.0), NOW, SETTINGS) is setpoint


COUNTED = [
    ("nothing was ordered", held(None), True, None),
    ("ordered, not seen", held(order(1)), True, None),
    ("seen", held(order(1, seen_s=10)), True, 1),
    ("seen, and then lost contact", held(order(1, seen_s=10)), False, None),
    ("back on three, not seen yet", held(order(3)), True, None),
    ("seen in an earlier transaction", held(order(1, seen_s=10), sent_s=-4000.0), True, None),
]


@pytest.mark.parametrize(("case", "setpoint", "online", "expected"), COUNTED, ids=[case[0] for case in COUNTED])
def test_the_greater_number_counts_until_the_lesser_is_seen(
    case: str, setpoint: Setpoint, online: bool, expected: int | None
) -> None:
    connector = replace(view_of(SITE).connectors[A], setpoint=setpoint, online=online)
    assert phases_of(FRESH, connector) == expected, case
    known = replace(FRESH, vehicle=Vehicle(phases_used=2))
    assert phases_of(known, connector) == (expected or 2), case


# --- what the guard lets through -----------------------------------------------------------------------------------


def wish_for(phases: int, limit_kw: float = SIX_A_KW) -> LimitCommand:
    periods = (LimitPeriod(NOW, limit_kw),)
    return LimitCommand(StationId("station-a"), A, TransactionId("7"), periods, "", phases)


ROOM = [
    # case, limit of the fuse on each phase [A], what the other vehicle draws [A], the wish is sent
    ("room on all phases", 16.0, 10.0, True),
    ("none on the second", 15.0, 10.0, False),
]


@pytest.mark.parametrize(("case", "fuse_a", "other_a", "sent"), ROOM, ids=[case[0] for case in ROOM])
def test_back_to_three_phases_only_where_the_others_leave_room(
    case: str, fuse_a: float, other_a: float, sent: bool
) -> None:
    """A is on L1 alone, B on L2: what A adds on L2 is an increase, though its current stays."""
    root = Circuit(CircuitId("main"), None, limit_a=fuse_a)
    site = site_with([evse_at("a", phase_switching=True), evse_at("b", phases=(Phase.L2,))], circuits=[root])
    other_kw = other_a * 0.23
    other = setpoint_of("b", LimitState.VERIFIED, (-100, other_kw), sent_s=-100)
    view = view_of(
        site,
        sessions=(session_at("a", depart_h=1), session_at("b", depart_h=2)),
        setpoints=(held(order(1, seen_s=50)), other),
        samples=(currents(5.0, 0.0), sample_of(site, "b", other_kw)),
    )
    settings = replace(SETTINGS, concurrent_starts=None)
    decision = decide(view, (wish_for(3),), settings)
    assert [command.phases for command in decision.increases] == ([3] if sent else []), case
    assert decision.reductions == (), "nobody is cut for it"
    assert decision.exceeded == ()


def test_a_cut_says_again_on_how_many_phases() -> None:
    """Else a station would take a limit without a number of phases for all of them."""
    site = site_with([evse_at("a", phase_switching=True)], import_limit_kw=1.6)
    setpoint = held(order(1, seen_s=50), TEN_A_KW)
    view = view_of(site, sessions=(session_at("a"),), setpoints=(setpoint,), samples=(currents(10.0, 0.0),))
    (cut,) = decide(view, (), replace(SETTINGS, concurrent_starts=None)).reductions
    assert (cut.phases, round(EVSE.current_a(cut.first_kw))) == (1, 6)


# --- all of it, over a site on the bench ----------------------------------------------------------------------------


async def switching_bench(*, import_limit_kw: float = 1000.0, habit: Habit = Habit.FOLLOWS, **more: object) -> Bench:
    """One vehicle on three phases at 16 A, samples every ten seconds."""
    site = site_with([evse_at("a", phase_switching=True)], import_limit_kw=import_limit_kw)
    settings = ControlSettings(
        least_interval_s=10.0, restore_margin_kw=0.0, concurrent_starts=None, phase_dwell_s=300.0, **more
    )  # type: ignore[arg-type]
    bench = Bench(site, settings, wishes=lambda _: (SIXTEEN_A_KW,) * 8)
    bench.stations[A].habit = habit
    await bench.control.guard_step()
    await bench.plug_in("a", car_kw=22.0)
    await bench.loop.step("start")
    await bench.pass_time(120)
    return bench


def share_falls(bench: Bench, power_kw: float, phases: int) -> None:
    bench.wishes = lambda _: (power_kw,) * 8
    bench.phases = lambda _: (phases,) * 8


def on_the_wire(station: SimStation) -> list[tuple[int | None, float]]:
    """Phases and current of each limit received."""
    return [(command.phases, round(station.evse.current_a(command.first_kw))) for command in station.received]


def test_a_share_below_three_phases_goes_to_one_and_back() -> None:
    async def story() -> None:
        bench = await switching_bench()
        station = bench.stations[A]
        assert station.draw_kw(bench.clock.now()) == pytest.approx(SIXTEEN_A_KW)
        share_falls(bench, 2.5, 1)
        await bench.loop.step("clouds")
        await bench.pass_time(120)
        assert station.draw_kw(bench.clock.now()) == pytest.approx(2.3), "10 A on one phase"
        share_falls(bench, 8.3, 3)
        await bench.loop.step("sun")
        await bench.pass_time(60)
        assert station.phases == 1, "not yet: the last change is not long ago"
        await bench.pass_time(300)
        await bench.loop.step("still sun")
        await bench.pass_time(60)
        assert station.draw_kw(bench.clock.now()) == pytest.approx(8.28), "12 A on three phases"
        assert on_the_wire(station)[-3:] == [(1, 32), (1, 12), (3, 12)], "down to what three are to have, then three"
        (session,) = await bench.stores.sessions.sessions(bench.site.id, active_only=True)
        assert session.phase_switches == 2
        assert session.vehicle.phases_used == 3, "that it was on one phase says nothing of the vehicle"

    run_virtual(story())


def test_a_limit_below_three_phases_pauses_first_and_goes_on_on_one_once_that_was_seen() -> None:
    async def story() -> None:
        bench = await switching_bench(import_limit_kw=20.0)
        station = bench.stations[A]
        share_falls(bench, 3.5, 1)
        await bench.loop.step("first seen with room")
        await bench.pass_time(60)
        share_falls(bench, SIXTEEN_A_KW, 3)
        await bench.pass_time(300)
        await bench.loop.step("back")
        await bench.pass_time(400)
        assert station.phases == 3
        bench.building_kw = 17.0
        await bench.pass_time(20)
        assert bench.true_kw() == 0.0, "3 kW are left: less than the least of three phases"
        share_falls(bench, 2.5, 1)
        await bench.loop.step("3 kW are left")
        over = []
        for _ in range(120):
            await bench.pass_time(1)
            over += [bench.true_kw()] if bench.true_kw() > 3.0 else []
        assert over == []
        assert station.draw_kw(bench.clock.now()) == pytest.approx(2.3)

    run_virtual(story())


@pytest.mark.parametrize(
    ("case", "habit", "tells_currents"),
    [("never changes", Habit.STUCK, True), ("changes, and its meter does not show it", Habit.FOLLOWS, False)],
)
def test_a_station_that_is_not_seen_to_switch_counts_on_all_and_is_told_so_again(
    case: str, habit: Habit, tells_currents: bool
) -> None:
    async def story() -> None:
        bench = await switching_bench(habit=habit)
        station = bench.stations[A]
        station.tells_currents = tells_currents
        share_falls(bench, 2.5, 1)
        await bench.loop.step("clouds")
        for _ in range(40):
            await bench.pass_time(10)
            view = await bench.control.sender.view()
            assert len(view.feeders[A].phases) == 3, "what is not seen does not count"
        (seen,) = tracked(view, bench.settings)
        assert seen.tracking is Tracking.NOT_SWITCHING
        assert station.received[-1].phases == 3, "told to stay on all phases"
        switches = len({phases for phases, _ in on_the_wire(station)})
        await bench.pass_time(600, plan=True)
        assert len({phases for phases, _ in on_the_wire(station)}) == switches, "and never asked again"

    run_virtual(story())


def test_the_number_of_switches_is_bounded_and_leaves_the_way_back() -> None:
    async def story() -> None:
        bench = await switching_bench(most_phase_switches=4)
        for turn in range(8):
            share_falls(bench, *((2.5, 1) if turn % 2 == 0 else (8.3, 3)))
            await bench.pass_time(400, plan=True)
        (session,) = await bench.stores.sessions.sessions(bench.site.id, active_only=True)
        assert session.phase_switches == 4
        assert bench.stations[A].phases == 3

    run_virtual(story())


def test_a_station_that_comes_back_counts_on_all_phases_until_it_is_seen() -> None:
    async def story() -> None:
        bench = await switching_bench()
        share_falls(bench, 2.5, 1)
        await bench.loop.step("clouds")
        await bench.pass_time(60)
        assert len((await bench.control.sender.view()).feeders[A].phases) == 1
        await bench.go_offline("a")
        assert len((await bench.control.sender.view()).feeders[A].phases) == 3
        await bench.come_online("a")
        assert len((await bench.control.sender.view()).feeders[A].phases) == 3
        await bench.pass_time(60)
        assert len((await bench.control.sender.view()).feeders[A].phases) == 1

    run_virtual(story())


def test_the_order_survives_a_restart_of_the_service() -> None:
    async def story() -> None:
        bench = await switching_bench()
        share_falls(bench, 2.5, 1)
        await bench.loop.step("clouds")
        await bench.pass_time(60)
        bench.start_control()
        share_falls(bench, 3.3, 1)
        await bench.loop.step("start")
        await bench.pass_time(60)
        assert on_the_wire(bench.stations[A])[-1] == (1, 14)
        assert bench.true_kw() == pytest.approx(3.22)

    run_virtual(story())


def test_the_next_vehicle_begins_on_all_phases() -> None:
    async def story() -> None:
        bench = await switching_bench()
        share_falls(bench, 2.5, 1)
        await bench.loop.step("clouds")
        await bench.pass_time(60)
        await bench.plug_out("a")
        await bench.pass_time(30)
        await bench.plug_in("a", token="next")
        view = await bench.control.sender.view()
        assert len(view.feeders[A].phases) == 3
        assert view.connectors[A].open_phases == (3, 1)

    run_virtual(story())


def test_a_refused_change_leaves_things_as_they_were() -> None:
    async def story() -> None:
        bench = await switching_bench()
        bench.stations[A].habit = Habit.REJECTS
        share_falls(bench, 2.5, 1)
        await bench.loop.step("clouds")
        await bench.pass_time(5)
        setpoint = (await bench.control.sender.view()).connectors[A].setpoint
        assert setpoint is not None
        assert (setpoint.state, setpoint.phase_order) == (LimitState.REJECTED, None)

    run_virtual(story())


@pytest.mark.parametrize("change", [{"phase_dwell_s": -1.0}, {"most_phase_switches": -1}])
def test_settings_of_phases_that_cannot_be(change: dict[str, float]) -> None:
    with pytest.raises(InvalidConfiguration, match=next(iter(change))):
        ControlSettings(**change)  # type: ignore[arg-type]
