"""Limits on their way: stored before they are sent, reductions first, slow stations wait for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from bench import Bench, Habit, evse_at, site_with
from virtual_time import START, run_virtual

from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import LimitCommand, LimitPeriod, LimitState, Setpoint
from optimizer.domain.ids import EvseId
from optimizer.domain.session import Session
from optimizer.errors import InvalidConfiguration, StorageFailed
from optimizer.ports import LimitReply

A, B = EvseId("a"), EvseId("b")
QUICK = ControlSettings(least_interval_s=5.0, concurrent_starts=0)


async def bench_with_two(limit_kw: float = 18.0, **choices: object) -> Bench:
    """Two vehicles, each at what the other leaves."""
    bench = Bench(site_with([evse_at("a"), evse_at("b")], import_limit_kw=limit_kw), QUICK, **choices)  # type: ignore[arg-type]
    await bench.pass_time(3)
    await bench.plug_in("a")
    await bench.plug_in("b")
    return bench


async def setpoint(bench: Bench, evse_id: EvseId) -> Setpoint:
    kept = (await bench.stores.connectors.connector(bench.site.id, evse_id)).setpoint
    assert kept is not None
    return kept


def powers(**kw: float) -> dict[str, tuple[float, ...]]:
    return {evse: (value,) * 8 for evse, value in kw.items()}


class Wishes:
    """A plan that can be changed."""

    def __init__(self, **kw: float) -> None:
        self.now = powers(**kw)

    def __call__(self, session: Session) -> tuple[float, ...]:
        return self.now[session.evse_id]


def seconds_of(bench: Bench, evse_id: EvseId) -> list[tuple[float, float]]:
    """What an EVSE was sent, as (second, kW)."""
    return [
        ((c.periods[0].start - START).total_seconds(), round(c.first_kw, 2)) for c in bench.stations[evse_id].received
    ]


def test_reductions_go_first_and_increases_follow_what_the_meter_shows() -> None:
    async def story() -> None:
        wishes = Wishes(a=11.04, b=4.14)
        bench = await bench_with_two(wishes=wishes)
        await bench.loop.step("plug-in")
        await bench.pass_time(30)
        wishes.now = powers(a=4.14, b=11.04)
        swap_s = (bench.clock.now() - START).total_seconds()
        await bench.loop.step("swap")
        assert seconds_of(bench, A)[-1] == (swap_s, 4.14)
        assert seconds_of(bench, B)[-1][1] == 6.9  # what is free beside 11 kW that may still flow
        await bench.pass_time(20)
        assert seconds_of(bench, B)[-1][1] == 11.04
        assert bench.exceeded() == []

    run_virtual(story())


def test_a_limit_is_in_the_store_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        bench = await bench_with_two()
        seen: list[LimitState] = []
        send = bench.gateway.set_limit

        async def look_first(command: LimitCommand) -> LimitReply:
            seen.append((await setpoint(bench, command.evse_id)).state)
            return await send(command)

        monkeypatch.setattr(bench.gateway, "set_limit", look_first)
        await bench.loop.step("plug-in")
        assert seen == [LimitState.SENT] * 2
        assert (await setpoint(bench, A)).state is LimitState.ACCEPTED
        assert (await setpoint(bench, A)).bound_before_kw == pytest.approx(4.14)
        await bench.pass_time(20)
        assert (await setpoint(bench, A)).state is LimitState.VERIFIED

    run_virtual(story())


@pytest.mark.parametrize(
    ("habit", "state"),
    [
        (Habit.FOLLOWS, LimitState.ACCEPTED),
        (Habit.SLOW, LimitState.SENT),
        (Habit.REJECTS, LimitState.REJECTED),
        (Habit.IGNORES, LimitState.ACCEPTED),
        (Habit.DEAF, LimitState.SENT),
    ],
)
def test_answers_are_kept_and_a_slow_station_holds_nobody_up(habit: Habit, state: LimitState) -> None:
    async def story() -> None:
        bench = await bench_with_two()
        bench.stations[A].habit = habit
        before = bench.clock.now()
        await bench.loop.step("plug-in")
        assert (bench.clock.now() - before).total_seconds() <= 2 * bench.settings.reply_patience_s
        assert (await setpoint(bench, A)).state is state
        assert (await setpoint(bench, B)).state is LimitState.ACCEPTED
        if habit is Habit.SLOW:
            await bench.clock.sleep(10.0)
            assert (await setpoint(bench, A)).state is LimitState.ACCEPTED
        if habit is Habit.DEAF:
            await bench.clock.sleep(30.0)
            assert (await setpoint(bench, A)).state is LimitState.UNANSWERED
        await bench.control.sender.close()

    run_virtual(story())


def test_a_late_answer_to_an_older_limit_says_nothing_of_the_newer_one() -> None:
    async def story() -> None:
        wishes = Wishes(a=6.9, b=4.14)
        bench = await bench_with_two(limit_kw=40.0, wishes=wishes)
        bench.stations[A].habit = Habit.DEAF
        await bench.loop.step("plug-in")
        await bench.pass_time(20)
        bench.stations[A].habit = Habit.FOLLOWS
        wishes.now = powers(a=4.14, b=4.14)
        await bench.loop.step("again")
        newer = await setpoint(bench, A)
        await bench.clock.sleep(20.0)
        assert await setpoint(bench, A) == newer

    run_virtual(story())


def test_a_station_that_comes_back_is_told_again() -> None:
    async def story() -> None:
        bench = await bench_with_two(limit_kw=40.0, wishes=Wishes(a=6.9, b=6.9))
        await bench.loop.step("plug-in")
        await bench.pass_time(20)
        bench.stations[A].forgets_offline = True
        await bench.go_offline("a")
        await bench.pass_time(5)
        sent = len(bench.stations[A].received)
        await bench.come_online("a")
        assert (await setpoint(bench, A)).state is LimitState.UNANSWERED
        await bench.pass_time(2)
        assert len(bench.stations[A].received) == sent + 1
        assert bench.stations[A].limit_kw(bench.clock.now()) == pytest.approx(6.9)

    run_virtual(story())


def test_safe_defaults_are_installed_once_and_after_a_refusal_much_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        bench = Bench(site_with([evse_at("a"), evse_at("b")], import_limit_kw=18.0), QUICK)
        asked: list[str] = []
        install = bench.gateway.set_safe_default

        async def counted(station_id: str, evse_id: EvseId, limit_kw: float) -> object:
            asked.append(evse_id)
            if evse_id == B:
                return type(await install(station_id, A, limit_kw))(LimitState.REJECTED, "not supported")  # type: ignore[arg-type]
            return await install(station_id, evse_id, limit_kw)  # type: ignore[arg-type]

        monkeypatch.setattr(bench.gateway, "set_safe_default", counted)
        await bench.pass_time(10)
        assert sorted(asked) == ["a", "b"]
        kept = await bench.stores.connectors.connectors(bench.site.id)
        assert [connector.safe_default_kw for connector in kept] == [pytest.approx(4.14), None]
        await bench.pass_time(bench.settings.rejected_retry_s)
        assert sorted(asked) == ["a", "b", "b"]

    run_virtual(story())


def test_safe_defaults_are_confirmed_after_every_contact_and_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        bench = Bench(site_with([evse_at("a"), evse_at("b")], import_limit_kw=18.0), QUICK)
        asked: list[str] = []
        install = bench.gateway.set_safe_default

        async def noted(station_id: str, evse_id: EvseId, limit_kw: float) -> LimitReply:
            asked.append(evse_id)
            return await install(station_id, evse_id, limit_kw)  # type: ignore[arg-type]

        async def asked_meanwhile() -> list[str]:
            asked.clear()
            await bench.pass_time(5)
            return sorted(asked)

        monkeypatch.setattr(bench.gateway, "set_safe_default", noted)
        assert await asked_meanwhile() == ["a", "b"]
        assert await asked_meanwhile() == []
        bench.stations[A].default_kw = None
        await bench.come_online("a")
        assert await asked_meanwhile() == ["a"], "it booted, and may have lost what it held"
        assert bench.stations[A].default_kw == pytest.approx(4.14)
        await bench.restart_control(asyncio.sleep(0), 1)
        assert await asked_meanwhile() == ["a", "b"], "the service knows only what it was told before it died"

    run_virtual(story())


def test_a_boot_in_the_middle_of_the_answer_is_not_taken_for_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        bench = Bench(site_with([evse_at("a")], import_limit_kw=40.0), QUICK)
        install = bench.gateway.set_safe_default
        boots = 1

        async def booting(station_id: str, evse_id: EvseId, limit_kw: float) -> LimitReply:
            nonlocal boots
            reply = await install(station_id, evse_id, limit_kw)  # type: ignore[arg-type]
            if boots:
                boots -= 1
                bench.stations[A].default_kw = None
                await bench.come_online("a")
            return reply

        monkeypatch.setattr(bench.gateway, "set_safe_default", booting)
        await bench.pass_time(5)
        assert bench.stations[A].default_kw == bench.control.sender.safe_kw[A]

    run_virtual(story())


def test_limits_are_refreshed_before_their_end_over_a_restart() -> None:
    async def story() -> None:
        wishes = Wishes(a=11.04, b=6.9)
        bench = await bench_with_two(limit_kw=18.0, wishes=wishes)
        await bench.loop.step("plug-in")
        await bench.pass_time(60, plan=True)
        await bench.restart_control(asyncio.sleep(0), 1)
        left_s: list[float] = []

        def look() -> None:
            now = bench.clock.now()
            ends = [station.profile[-1].start for station in bench.stations.values() if station.profile]
            left_s.extend((end - now).total_seconds() for end in ends)

        await bench.pass_time(bench.settings.profile_span_s + 60, plan=True, each=look)
        assert len(left_s) == 2 * (bench.settings.profile_span_s + 60)
        assert min(left_s) > bench.settings.refresh_margin_s / 2
        assert bench.limits_kw() == {"a": pytest.approx(11.04, abs=0.1), "b": pytest.approx(6.9, abs=0.1)}

    run_virtual(story())


def test_the_next_vehicle_starts_at_the_safe_default() -> None:
    async def story() -> None:
        bench = await bench_with_two(limit_kw=18.0)
        await bench.loop.step("plug-in")
        await bench.pass_time(20)
        station = bench.stations[A]
        transaction, station.transaction_id = station.transaction_id, None
        await bench.plug_out("a")
        station.profile = (await setpoint(bench, A)).periods  # a station that keeps the profile beyond its transaction
        assert transaction is not None
        await bench.pass_time(2)
        assert station.profile is None
        await bench.plug_in("a")
        assert station.limit_kw(bench.clock.now()) == pytest.approx(4.14)

    run_virtual(story())


def test_time_held_at_zero_is_noted_with_the_session() -> None:
    async def story() -> None:
        wishes = Wishes(a=0.0, b=4.14)
        bench = await bench_with_two(limit_kw=40.0, wishes=wishes)
        await bench.loop.step("plug-in")
        await bench.pass_time(60)
        wishes.now = powers(a=6.9, b=4.14)
        await bench.loop.step("cheaper now")
        session = next(one for one in await bench.stores.sessions.sessions(bench.site.id) if one.evse_id == A)
        (pause,) = session.paused
        assert (pause.end - pause.start).total_seconds() == pytest.approx(60.0, abs=1.0)
        assert session.pauses == 0  # it had not charged before: nothing was interrupted

    run_virtual(story())


def test_a_site_that_cannot_be_safe_blind_is_refused_at_start() -> None:
    async def story() -> None:
        with pytest.raises(InvalidConfiguration, match="greatest building load"):
            Bench(site_with([evse_at("a")], import_limit_kw=10.0, building_kw=12.0))

    run_virtual(story())


def test_nothing_is_written_while_nothing_changes() -> None:
    async def story() -> None:
        bench = await bench_with_two(limit_kw=40.0)
        await bench.loop.step("plug-in")
        sent = {evse_id: len(station.received) for evse_id, station in bench.stations.items()}
        await bench.pass_time(600, plan=True)
        assert {evse_id: len(station.received) for evse_id, station in bench.stations.items()} == sent

    run_virtual(story())


def test_a_profile_is_written_again_before_it_runs_out() -> None:
    async def story() -> None:
        settings = ControlSettings(profile_span_s=900.0, refresh_margin_s=300.0)
        bench = Bench(site_with([evse_at("a")], import_limit_kw=18.0), settings, wishes=lambda _: (11.04,) * 40)
        await bench.pass_time(3)
        await bench.plug_in("a")
        await bench.loop.step("plug-in")
        for _ in range(60):
            await bench.pass_time(60, plan=True)
            assert bench.stations[A].limit_kw(bench.clock.now()) == pytest.approx(11.04)
        assert 5 <= len(bench.stations[A].received) <= 8

    run_virtual(story())


def test_stations_that_come_back_at_once_are_doubted_together() -> None:
    async def story() -> None:
        bench = await bench_with_two()
        await bench.loop.step("plug-in")
        await bench.pass_time(20)
        sender, views = bench.control.sender, []
        view_of = sender.view

        async def counted() -> object:
            views.append(1)
            return await view_of()

        sender.view = counted  # type: ignore[method-assign,assignment]
        stations = [bench.stations[evse_id].evse.station_id for evse_id in (A, B)]

        async def doubted() -> list[object]:
            async with sender._turn:
                waiting = [asyncio.create_task(sender.distrust(station_id)) for station_id in stations]
                await asyncio.sleep(0)
            return await asyncio.gather(*waiting, return_exceptions=True)

        assert await doubted() == [None, None]
        assert len(views) == 1
        assert [(await setpoint(bench, evse_id)).state for evse_id in (A, B)] == [LimitState.UNANSWERED] * 2
        failing = iter([StorageFailed("once")])

        async def failed_once() -> object:
            for failure in failing:
                raise failure
            return await counted()

        sender.view = failed_once  # type: ignore[method-assign,assignment]
        assert [type(outcome) for outcome in await doubted()] == [StorageFailed, type(None)], (
            "the next one does it for both"
        )
        assert len(views) == 2

    run_virtual(story())


@pytest.mark.parametrize("fails", [False, True], ids=["kept at once", "the first write fails"])
def test_answers_that_come_at_once_are_kept_in_one_write(fails: bool) -> None:
    async def story() -> None:
        bench = await bench_with_two()
        await bench.loop.step("plug-in")
        await bench.pass_time(20)
        sender, stores = bench.control.sender, bench.stores.connectors
        sent = [replace(await setpoint(bench, one), state=LimitState.SENT, answered_at=None) for one in (A, B)]
        await stores.save_setpoints(sent)
        sender._newest.update({one.evse_id: one for one in sent})
        writes, save = [], stores.save_setpoints

        async def noted(setpoints: Sequence[Setpoint]) -> None:
            writes.append(len(setpoints))
            if fails and len(writes) == 1:
                raise StorageFailed("once")
            await save(setpoints)

        stores.save_setpoints = noted  # type: ignore[method-assign]
        async with sender._turn:
            answering = [asyncio.create_task(sender._record(one, LimitReply(LimitState.ACCEPTED))) for one in sent]
            await asyncio.sleep(0)
        outcomes = await asyncio.gather(*answering, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StorageFailed if fails else type(None), type(None)]
        assert writes == ([2, 2] if fails else [2])
        assert [(await setpoint(bench, one)).state for one in (A, B)] == [LimitState.ACCEPTED] * 2

    run_virtual(story())


def test_what_a_station_keeps_in_place_of_zero_is_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        wishes = Wishes(a=0.0, b=6.9)
        bench = await bench_with_two(limit_kw=40.0, wishes=wishes)
        send = bench.gateway.set_limit

        async def takes_no_zero(command: LimitCommand) -> LimitReply:
            if command.evse_id != A or all(period.limit_kw > 0.0 for period in command.periods):
                return await send(command)
            holds = tuple(replace(period, limit_kw=period.limit_kw or 4.14) for period in command.periods)
            await send(replace(command, periods=holds))
            return LimitReply(LimitState.REJECTED, "takes no limit of zero", holds)

        monkeypatch.setattr(bench.gateway, "set_limit", takes_no_zero)
        await bench.loop.step("plug-in")
        kept = await setpoint(bench, A)
        assert (kept.state, kept.periods[0].limit_kw, kept.takes_zero) == (LimitState.ACCEPTED, 4.14, False)
        await bench.pass_time(200)
        wishes.now = powers(a=0.0, b=11.04)
        await bench.loop.step("again")
        asked = [command for command in bench.stations[A].received if command.first_kw == 0.0]
        assert asked == [], "what it does not take is not asked again"
        assert (await setpoint(bench, A)).takes_zero is False

    run_virtual(story())


@pytest.mark.parametrize(
    ("case", "reply", "kept_kw"),
    [
        ("taken", LimitReply(LimitState.ACCEPTED), 4.14),
        ("refused: none is there", LimitReply(LimitState.REJECTED, "not supported"), None),
        ("the least current instead", LimitReply(LimitState.REJECTED, "no zero", (LimitPeriod(START, 6.9),)), 6.9),
    ],
)
def test_which_safe_default_is_known_to_be_installed(
    case: str, reply: LimitReply, kept_kw: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        bench = await bench_with_two(limit_kw=40.0)
        asked = 0

        async def answers(station_id: object, evse_id: object, limit_kw: float) -> LimitReply:
            nonlocal asked
            asked += 1
            return reply

        monkeypatch.setattr(bench.gateway, "set_safe_default", answers)
        await bench.control.sender.distrust(bench.site.evses[A].station_id)
        await bench.pass_time(30)
        connector = await bench.stores.connectors.connector(bench.site.id, A)
        assert connector.safe_default_kw == pytest.approx(kept_kw) if kept_kw else connector.safe_default_kw is None, (
            case
        )
        assert asked == 1, case

    run_virtual(story())


def test_a_transaction_is_ended_once_where_no_limit_is_low_enough() -> None:
    async def story() -> None:
        bench = await bench_with_two(limit_kw=40.0)
        view = await bench.control.sender.view()
        stop = bench.control.sender._stop
        await asyncio.gather(*stop((A,), view), *stop((A, B), view))
        assert bench.gateway.stopped == [view.sessions[A].transaction_id, view.sessions[B].transaction_id]

    run_virtual(story())
