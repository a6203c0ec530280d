"""The control step and what keeps it going."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from decimal import Decimal

import pytest
from bench import SITE, Bench, evse_at, site_with
from virtual_time import START, run_virtual

from optimizer.control.fixed_load import fixed_load_kw
from optimizer.control.loop import is_no_show
from optimizer.control.settings import ControlSettings
from optimizer.domain.ids import EvseId, ReservationId, TokenId
from optimizer.domain.moment import Interval
from optimizer.domain.plan import PlanOutcome
from optimizer.domain.reservation import Reservation, ReservationStatus
from optimizer.domain.snapshot import SeenStep
from optimizer.domain.tariff import Tariff
from optimizer.errors import PlanningFailed, SourceUnavailable

A, B = EvseId("a"), EvseId("b")
SETTINGS = ControlSettings(replan_period_s=300.0, replan_gather_s=2.0, concurrent_starts=0)


def two() -> Bench:
    return Bench(site_with([evse_at("a"), evse_at("b")], import_limit_kw=20.0), SETTINGS)


class Triggers:
    """Notes when the planner was asked, and for what."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[float, str]] = []
        self.bench = bench
        save = bench.stores.plans.save_outcome

        async def note(outcome: PlanOutcome, trigger: str, seen: SeenStep | None = None) -> None:
            self.seen.append(((bench.clock.now() - START).total_seconds(), trigger))
            await save(outcome, trigger, seen)

        monkeypatch.setattr(bench.stores.plans, "save_outcome", note)

    async def while_running(self, seconds: float) -> None:
        task = asyncio.create_task(self.bench.control.run())
        await self.bench.clock.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_step_plans_keeps_the_plan_and_sends_it() -> None:
    async def story() -> None:
        bench = two()
        await bench.pass_time(3)
        session = await bench.plug_in("a")
        outcome = await bench.loop.step("plug-in")
        assert outcome.plan.session_plan(session.id) is not None
        assert await bench.stores.plans.latest_plan(SITE) == outcome.plan
        assert bench.stations[A].limit_kw(bench.clock.now()) == pytest.approx(19.32)
        bench.start_control()
        await bench.watch.guard_step()
        assert len(bench.stations[A].received) == 1  # after a restart the plan is read from the store

    run_virtual(story())


def test_it_plans_at_start_and_every_period(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> Triggers:
        triggers = Triggers(two(), monkeypatch)
        await triggers.while_running(650.0)
        return triggers

    assert run_virtual(story()).seen == [(0.0, "start"), (300.0, "period"), (600.0, "period")]


def test_requests_that_come_together_lead_to_one_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> Triggers:
        bench = two()
        triggers = Triggers(bench, monkeypatch)

        async def events() -> None:
            await bench.clock.sleep(100.0)
            bench.control.plan_soon("plug-in at a")
            bench.control.plan_soon("plug-in at a")
            await bench.clock.sleep(1.0)
            bench.control.plan_soon("grid event")

        happening = asyncio.create_task(events())
        await triggers.while_running(200.0)
        await happening
        return triggers

    assert run_virtual(story()).seen == [(0.0, "start"), (102.0, "plug-in at a, grid event")]


def test_one_step_at_a_time() -> None:
    async def story() -> None:
        bench = two()
        plan, running, most = bench._plan, 0, 0

        async def slow(problem: object) -> object:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await bench.clock.sleep(5.0)
            running -= 1
            return await plan(problem)

        bench.loop._planner = slow  # type: ignore[assignment]
        await asyncio.gather(bench.loop.step("one"), bench.loop.step("two"))
        assert most == 1
        assert (bench.clock.now() - START).total_seconds() == 10.0

    run_virtual(story())


def test_the_guard_goes_on_while_the_planner_is_busy() -> None:
    async def story() -> None:
        bench = two()
        await bench.pass_time(3)
        await bench.plug_in("a")
        await bench.loop.step("plug-in")
        await bench.pass_time(20)

        async def busy(problem: object) -> object:
            await bench.clock.sleep(1000.0)
            raise AssertionError("never gets here")

        bench.loop._planner = busy  # type: ignore[assignment]
        planning = asyncio.create_task(bench.loop.step("busy"))
        await bench.clock.sleep(1.0)
        bench.building_kw = 12.0
        await bench.pass_time(1)
        assert bench.exceeded() == []
        planning.cancel()
        await asyncio.gather(planning, return_exceptions=True)

    run_virtual(story())


def test_whatever_goes_wrong_the_next_round_comes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> Triggers:
        bench = two()
        triggers = Triggers(bench, monkeypatch)
        plan, failures = bench._plan, [PlanningFailed("no heuristic either"), ZeroDivisionError("a bug")]

        async def failing(problem: object) -> object:
            if failures:
                raise failures.pop(0)
            return await plan(problem)

        bench.loop._planner = failing  # type: ignore[assignment]
        await triggers.while_running(700.0)
        return triggers

    with caplog.at_level(logging.ERROR):
        assert run_virtual(story()).seen == [(600.0, "period")]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [PlanningFailed, ZeroDivisionError]
    assert "site garage: the control step failed; going on with the next one" in caplog.text


def test_the_guard_runs_every_second_and_at_once_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> list[float]:
        bench = two()
        looks: list[float] = []
        look = bench.watch.guard_step

        async def noted() -> object:
            looks.append((bench.clock.now() - START).total_seconds())
            return await look()

        monkeypatch.setattr(bench.watch, "guard_step", noted)
        task = asyncio.create_task(bench.control.run())
        await bench.clock.sleep(2.5)
        bench.control.guard_soon()
        await bench.clock.sleep(1.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return looks

    assert run_virtual(story()) == [0.0, 1.0, 2.0, 2.5, 3.5]


# --- sources that fail ------------------------------------------------------------------------------------------------


class Broken:
    """A tariff source that fails when told to."""

    def __init__(self, inner: object) -> None:
        self.inner = inner
        self.fails = False

    async def tariff(self, *arguments: object) -> Tariff:
        if self.fails:
            raise SourceUnavailable("the exchange does not answer")
        return await self.inner.tariff(*arguments)  # type: ignore[attr-defined, no-any-return]

    async def forecast(self, *arguments: object) -> object:
        if self.fails:
            raise SourceUnavailable("the weather does not answer")
        return await self.inner.forecast(*arguments)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("case", "planned_before"), [("with an earlier plan", True), ("without", False)])
def test_without_prices_it_plans_all_the_same(
    case: str, planned_before: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> list[Decimal]:
        bench = two()
        sources = bench.loop._sources
        tariffs = Broken(sources.tariffs)
        monkeypatch.setattr(type(sources), "__setattr__", object.__setattr__)
        sources.tariffs = tariffs  # type: ignore[misc]
        seen: list[Decimal] = []
        plan = bench._plan

        async def noting(problem: object) -> object:
            seen.append(problem.snapshot.import_prices.prices_per_kwh[0])  # type: ignore[attr-defined]
            return await plan(problem)

        bench.loop._planner = noting  # type: ignore[assignment]
        if planned_before:
            await bench.loop.step("before")
        tariffs.fails = True
        await bench.loop.step("now")
        return seen

    with caplog.at_level(logging.WARNING):
        seen = run_virtual(story())
    assert seen[-1] == Decimal(0), case
    assert "no prices (the exchange does not answer); planning with" in caplog.text


# --- reservations and fixed loads -------------------------------------------------------------------------------------


def reservation(minute: float, status: ReservationStatus = ReservationStatus.RESERVED) -> Reservation:
    start = START + timedelta(minutes=minute)
    return Reservation(
        ReservationId("r"), SITE, Interval(start, start + timedelta(hours=2)), TokenId("anna"), A, status=status
    )


@pytest.mark.parametrize(
    ("case", "held", "minute", "gone"),
    [
        ("not due yet", reservation(10), 5, False),
        ("due, and there is time to come", reservation(10), 39, False),
        ("nobody came", reservation(10), 40, True),
        ("fulfilled", reservation(10, ReservationStatus.FULFILLED), 100, False),
        ("cancelled", reservation(10, ReservationStatus.CANCELED), 100, False),
    ],
)
def test_no_show(case: str, held: Reservation, minute: float, gone: bool) -> None:
    assert is_no_show(held, START + timedelta(minutes=minute)) is gone, case


def test_a_step_gives_up_places_that_nobody_claimed() -> None:
    async def story() -> None:
        bench = two()
        await bench.stores.reservations.add(reservation(10))
        await bench.clock.sleep(40 * 60.0)
        await bench.loop.step("period")
        kept = await bench.stores.reservations.reservation(ReservationId("r"))
        assert (kept.status, kept.version) == (ReservationStatus.NO_SHOW, 2)

    run_virtual(story())


def test_what_cannot_be_steered_is_told_to_the_planner() -> None:
    async def story() -> None:
        bench = Bench(site_with([evse_at(name) for name in "abcd"], import_limit_kw=60.0), SETTINGS)
        await bench.pass_time(3)
        for name in "abc":
            await bench.plug_in(name)
        await bench.loop.step("plug-in")
        await bench.pass_time(20)
        await bench.go_offline("a")
        bench.stations[B].transaction_id = None
        fixed = fixed_load_kw(await bench.control.sender.view(), bench.settings)
        assert {evse_id: round(kw, 2) for evse_id, kw in fixed.items()} == {"a": 21.39}

    run_virtual(story())
