"""The whole demo day in simulated time: real service process, real websockets, real HTTP, real SQLite, real HiGHS."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from running_garage import Garage, running_garage

from api.cli_demo import start_service, stop_service
from api.config import load_configuration
from connectors.storage.plan_store import RecordedStep
from connectors.storage.stores import plans_for_reading
from scenarios.garage import DAY_START
from scenarios.live_day import DayReport, LiveDay
from scenarios.record import plan_again

SPEED = 800.0
PLANNED_AGAIN = 8


@pytest.mark.slow
async def test_a_day_of_the_garage(tmp_path: Path) -> None:
    told: list[str] = []
    async with running_garage(tmp_path / "demo", SPEED) as garage:
        report = await _live_day(garage, told).play(garage.written.ocpp_url)
        records = await _records(garage)
        steps = await _recorded_steps(garage)
    _assert_plans_can_be_made_again(steps)
    _assert_limit_was_sacred(report)
    _assert_everything_is_recorded_once(report, records)
    _assert_bill_is_shared_exactly(report, records)
    assert report.cost < report.uncontrolled_cost
    assert report.delivered_kwh > 0.85 * report.wanted_kwh
    event = report.grid_event
    assert datetime.fromisoformat(event["confirmed_at"]) < datetime.fromisoformat(event["intervals"][-1]["end"])
    assert report.grid_event_peak_kw <= event["intervals"][-1]["value"] + 1.0
    assert report.failed_checks() == ()
    assert any("booked" in text for text in told)
    assert any("utility" in text for text in told)


@pytest.mark.slow
async def test_a_day_with_two_power_cuts(tmp_path: Path) -> None:
    async with running_garage(tmp_path / "demo", SPEED) as garage:
        restarted: list[asyncio.subprocess.Process] = []

        async def cut_power() -> None:
            process = garage.process
            for hours in (2.6, 7.2):
                await garage.clock.sleep((DAY_START + timedelta(hours=hours) - garage.clock.now()).total_seconds())
                process.kill()
                await process.wait()
                process = await start_service(garage.written)
                restarted.append(process)

        cutting = asyncio.create_task(cut_power())
        try:
            report = await _live_day(garage, []).play(garage.written.ocpp_url)
            await cutting
            records = await _records(garage)
        finally:
            cutting.cancel()
            for process in restarted:
                await stop_service(process)
    assert len(restarted) == 2
    _assert_limit_was_sacred(report)
    _assert_everything_is_recorded_once(report, records)
    _assert_bill_is_shared_exactly(report, records)


def _live_day(garage: Garage, told: list[str]) -> LiveDay:
    return LiveDay(garage.site, garage.day, garage.tariff, garage.clock, garage.client, told.append)


async def _records(garage: Garage) -> list[dict[str, Any]]:
    answer = await garage.client.get("/v1/energy-cost-records", limit="500")
    records: list[dict[str, Any]] = answer["energy_cost_records"]
    return records


async def _recorded_steps(garage: Garage) -> list[RecordedStep]:
    """What the service saw and decided, read beside it from its database."""
    url = load_configuration(garage.written.configuration).storage.url
    async with plans_for_reading(url) as plans:
        ids = await plans.recorded_plans(garage.site.id, DAY_START, DAY_START + timedelta(days=1))
        found = [await plans.recorded_step(plan_id) for plan_id in ids]
    return [step for step in found if step is not None]


def _assert_plans_can_be_made_again(steps: list[RecordedStep]) -> None:
    """In another process than the service's, to the last bit, time limits that were reached then included."""
    assert len(steps) >= PLANNED_AGAIN
    comparisons = [plan_again(step) for step in steps[:: len(steps) // PLANNED_AGAIN]]
    assert [one.is_same for one in comparisons] == [True] * len(comparisons)
    assert sum(len(step.seen.snapshot.sessions) for step in steps) > len(steps)


def _assert_limit_was_sacred(report: DayReport) -> None:
    """The true sum at every instant, not only in samples."""
    assert report.excesses == ()
    assert report.extremes.import_kw <= report.import_limit_kw
    assert report.uncontrolled.peak_import_kw > report.import_limit_kw, "the limit must bind"


def _assert_everything_is_recorded_once(report: DayReport, records: list[dict[str, Any]]) -> None:
    assert report.unacknowledged == 0
    for status in ("provisional", "final"):
        of_status = [record["session_id"] for record in records if record["status"] == status]
        assert len(of_status) == len(set(of_status)) == report.sessions
    metered_kwh = sum(Decimal(record["energy_kwh"]) for record in records if record["status"] == "final")
    assert metered_kwh == report.metered_kwh


def _assert_bill_is_shared_exactly(report: DayReport, records: list[dict[str, Any]]) -> None:
    """Records + building + losses + unassigned = bill; provisional + adjustment = final, session by session."""
    finals = {record["session_id"]: Decimal(record["total"]) for record in records if record["status"] == "final"}
    shares = {bearer: Decimal(amount) for bearer, amount in report.balance["total"].items()}
    assert sum(finals.values()) == shares["sessions"]
    parts = ("sessions", "building", "losses", "unassigned")
    assert sum(shares[part] for part in parts) == shares["bill"] == Decimal(report.bill["total"])
    assert report.balance["adds_up"]
    billed = dict.fromkeys(finals, Decimal(0))
    for record in records:
        if record["status"] in ("provisional", "adjustment"):
            billed[record["session_id"]] += Decimal(record["total"])
    assert billed == finals
