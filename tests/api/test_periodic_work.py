"""Periodic and background work: done, failed, given up; times that an accelerated clock leaves to the wall."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from api.background import Background
from api.jobs import Jobs
from api.metrics import CountingGateway, ServiceMetrics
from api.pace import settings_at_pace
from api.readiness import Readiness
from api.runtime import CountedWatch
from api.spending import Spending
from connectors.clock import AcceleratedClock, SystemClock
from connectors.storage.stores import open_stores
from optimizer.control.send import LimitSender
from optimizer.control.settings import ControlSettings
from optimizer.costing.billing_time import billing_days
from optimizer.domain.charger import ExternalLimit, LimitCommand, LimitPeriod, LimitState
from optimizer.domain.event import GridEvent, GridEventInterval, GridEventKind, GridEventStatus
from optimizer.domain.ids import EvseId, GridEventId, SessionId, SiteId, StationId, TransactionId
from optimizer.domain.metering import SiteMeterReading
from optimizer.domain.moment import Interval
from optimizer.errors import SourceUnavailable
from optimizer.ports import LimitReply

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def fast_clock(speed: float) -> AcceleratedClock:
    return AcceleratedClock(START, SystemClock().now(), speed)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


async def test_a_job_goes_on_after_a_failure() -> None:
    metrics, done = ServiceMetrics(), asyncio.Event()
    runs: list[int] = []

    async def work() -> None:
        runs.append(len(runs))
        if len(runs) == 1:
            raise SourceUnavailable("no answer")
        if len(runs) == 2:
            raise RuntimeError("a fault of ours")
        done.set()

    jobs = Jobs(fast_clock(1000.0), metrics)
    jobs.every(1.0, "prices", work)
    jobs.start()
    async with asyncio.timeout(30):
        await done.wait()
    await jobs.stop(1.0)
    assert value(metrics.registry, "chargehorizon_job_failures_total", job="prices") == 2


async def test_a_job_that_does_not_end_is_given_up_at_the_stop() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    jobs = Jobs(SystemClock(), ServiceMetrics())
    jobs.every(1.0, "endless", work)
    jobs.start()
    async with asyncio.timeout(30):
        await begun.wait()
        await jobs.stop(0.01)
    assert ended.is_set()


async def test_jobs_that_were_never_started_stop_too() -> None:
    await Jobs(SystemClock(), ServiceMetrics()).stop(0.0)


async def test_background_work_is_waited_for_then_given_up(caplog: pytest.LogCaptureFixture) -> None:
    background, seen = Background(), []

    async def quick() -> None:
        seen.append("quick")

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("given up")

    async def broken() -> None:
        raise RuntimeError("broken")

    for name, work in (("quick", quick), ("endless", endless), ("broken", broken)):
        background.start(name, work())
    await background.close(0.01)
    assert seen == ["quick", "given up"]
    await background.close(0.01)


def test_real_time_changes_no_setting() -> None:
    assert settings_at_pace(ControlSettings(), SystemClock()) == ControlSettings()


def test_an_accelerated_clock_leaves_network_and_processor_their_time() -> None:
    settings = settings_at_pace(ControlSettings(), fast_clock(600.0))
    assert settings.guard_period_s == pytest.approx(30.0)
    assert settings.reply_patience_s == pytest.approx(150.0)
    untouched = {field.name for field in fields(settings)} - {
        "guard_period_s",
        "replan_gather_s",
        "reply_patience_s",
        "answer_timeout_s",
        "unanswered_retry_s",
    }
    assert all(getattr(settings, name) == getattr(ControlSettings(), name) for name in untouched)


def test_longer_settings_stay_as_they_are() -> None:
    chosen = ControlSettings(guard_period_s=60.0, answer_timeout_s=3600.0)
    settings = settings_at_pace(chosen, fast_clock(60.0))
    assert (settings.guard_period_s, settings.answer_timeout_s) == (60.0, 3600.0)


class Refusing:
    """A gateway to stations that refuse."""

    async def set_limit(self, command: LimitCommand) -> LimitReply:
        return LimitReply(LimitState.REJECTED)

    async def set_safe_default(self, station_id: StationId, evse_id: EvseId, limit_kw: float) -> LimitReply:
        return LimitReply(LimitState.ACCEPTED)

    async def clear_limit(self, station_id: StationId, evse_id: EvseId) -> LimitReply:
        return LimitReply(LimitState.UNANSWERED)

    async def stop_charging(self, station_id: StationId, transaction_id: TransactionId) -> LimitReply:
        return LimitReply(LimitState.ACCEPTED)

    def is_online(self, station_id: StationId) -> bool:
        return station_id == "A"

    def limits_of_others(self) -> Mapping[EvseId, tuple[ExternalLimit, ...]]:
        return {}

    def switches_phases(self, evse_id: EvseId) -> bool:
        return False


async def test_answers_of_stations_are_counted() -> None:
    metrics = ServiceMetrics()
    gateway = CountingGateway(metrics)
    gateway.connect(Refusing())
    command = LimitCommand(StationId("A"), EvseId("A"), None, (LimitPeriod(START, 5.0),))
    assert (await gateway.set_limit(command)).state is LimitState.REJECTED
    await gateway.set_safe_default(StationId("A"), EvseId("A"), 2.0)
    await gateway.clear_limit(StationId("A"), EvseId("A"))
    counted = {
        state: value(metrics.registry, "chargehorizon_limits_total", state=state)
        for state in ("accepted", "rejected", "unanswered")
    }
    assert counted == {"accepted": 1, "rejected": 1, "unanswered": 1}
    assert gateway.is_online(StationId("A"))
    assert not gateway.is_online(StationId("B"))


@pytest.mark.parametrize(
    ("received_at", "starts_at", "response_s"),
    [(START, START - timedelta(minutes=5), 2.0), (START - timedelta(hours=1), START, 2.0)],
    ids=["in force at once", "announced earlier"],
)
def test_the_response_to_a_grid_event_is_counted_from_when_it_was_due(
    received_at: datetime, starts_at: datetime, response_s: float
) -> None:
    metrics = ServiceMetrics()
    event = GridEvent(
        GridEventId("e"),
        SiteId("s"),
        GridEventKind.IMPORT_LIMIT,
        (GridEventInterval(Interval(starts_at, starts_at + timedelta(hours=1)), 5.0),),
        received_at,
    )
    metrics.saw_response(event, START + timedelta(seconds=2))
    assert value(metrics.registry, "chargehorizon_grid_event_response_seconds_sum") == response_s


@pytest.fixture
async def spending(tmp_path: Path, hand_clock: Any, flat_tariffs: Any, site: Any) -> Any:
    async with await open_stores(f"sqlite:///{tmp_path}/x.db", [site], wall_clock=hand_clock) as stores:
        yield Spending(site, stores, flat_tariffs, hand_clock, billing_days), stores, hand_clock


async def read_meter(stores: Any, at: datetime, register: str) -> None:
    await stores.meters.add_site_reading(SiteMeterReading(SiteId("garage"), at, Decimal(register), Decimal(0)))


async def test_nothing_is_spent_before_the_meter_has_spoken(spending: Any) -> None:
    so_far, stores, clock = spending
    await so_far.refresh()
    assert so_far.bill is None
    await read_meter(stores, clock.now(), "100")
    await so_far.refresh()
    assert so_far.bill is None, "one reading tells no energy"


async def test_the_running_window_is_billed_to_the_last_quarter_hour(spending: Any) -> None:
    so_far, stores, clock = spending
    for quarter in range(5):
        await read_meter(stores, clock.now() + timedelta(minutes=15 * quarter), str(100 + 4 * quarter))
    clock.instant += timedelta(minutes=50)
    await so_far.refresh()
    assert so_far.bill.window == Interval(START, START + timedelta(minutes=45))
    assert so_far.bill.total == Decimal("3.00"), "12 kWh at 0.25"


async def test_a_window_that_the_meter_saw_begin_is_billed_from_its_start(spending: Any) -> None:
    so_far, stores, clock = spending
    midnight = datetime(2026, 3, 1, 23, 0, tzinfo=UTC)
    await read_meter(stores, midnight - timedelta(hours=1), "90")
    await read_meter(stores, midnight + timedelta(hours=1), "110")
    await read_meter(stores, clock.now(), "110")
    await so_far.refresh()
    assert so_far.bill.window == Interval(midnight, START)
    assert so_far.bill.total == Decimal("2.50"), "half of 20 kWh lie after midnight"


async def test_a_new_window_begins_at_nothing(spending: Any) -> None:
    so_far, stores, clock = spending
    await read_meter(stores, clock.now(), "100")
    await read_meter(stores, clock.now() + timedelta(hours=2), "120")
    clock.instant += timedelta(hours=2)
    await so_far.refresh()
    assert so_far.bill is not None
    clock.instant = datetime(2026, 3, 2, 23, 5, tzinfo=UTC)
    await read_meter(stores, clock.now(), "140")
    await so_far.refresh()
    assert so_far.bill is None


async def unheard(session_id: SessionId, pauses: Sequence[Interval]) -> None:
    """Nobody wants to know of pauses here."""


async def test_the_guard_never_writes_over_a_cancellation(tmp_path: Path, hand_clock: Any, site: Any) -> None:
    now = hand_clock.now()
    part = GridEventInterval(Interval(now, now + timedelta(hours=1)), 20.0)
    event = GridEvent(GridEventId("e"), site.id, GridEventKind.IMPORT_LIMIT, (part,), now)
    async with await open_stores(f"sqlite:///{tmp_path}/x.db", [site], wall_clock=hand_clock) as stores:
        await stores.grid_events.save(event)
        settings = ControlSettings()
        sender = LimitSender(site, stores, Refusing(), hand_clock, settings, unheard, unheard)
        readiness = Readiness(site.id, stores, hand_clock, greatest_guard_age_s=3, greatest_plan_age_s=900)
        watch = CountedWatch(site, stores, hand_clock, sender, settings, ServiceMetrics(), readiness)
        async with stores.together():
            step = asyncio.create_task(watch.guard_step())
            await asyncio.wait({step}, timeout=0.2)
            assert not step.done()
            await stores.grid_events.save(replace(event, status=GridEventStatus.CANCELLED, version=2))
        await step
        assert (await stores.grid_events.event(event.id)).status is GridEventStatus.CANCELLED
        assert readiness.guarded_at == now
