"""A recorded day over real WebSockets, as fast as its messages travel."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from aiohttp import ClientSession
from manual_clock import ManualClock
from scripted_central_system import Heard, ScriptedCentralSystem

from optimizer.domain.metering import SiteMeterReading
from scenarios.garage import DAY_START, evse_of_post, garage_day, garage_site
from scenarios.station_settings import OcppVersion
from scenarios.virtual_site import Arrival, SessionTotal, VirtualSite, alternating_settings, run_day
from scenarios.virtual_station import CentralSystem


class _Hooks:
    def __init__(self) -> None:
        self.stated: list[Arrival] = []
        self.left: list[SessionTotal] = []
        self.readings: list[SiteMeterReading] = []

    async def driver_stated(self, arrival: Arrival) -> None:
        assert arrival.visit.transaction is not None
        assert arrival.visit.transaction.is_acknowledged
        self.stated.append(arrival)

    async def car_left(self, total: SessionTotal) -> None:
        self.left.append(total)

    async def site_metered(self, reading: SiteMeterReading) -> None:
        self.readings.append(reading)


async def _all_told(virtual: VirtualSite) -> None:
    """Let every message travel."""
    quiet = 0
    while quiet < 3:
        await asyncio.sleep(0.0005)
        quiet = 0 if any(len(station.core.outbox) for station in virtual.stations.values()) else quiet + 1


async def test_a_recorded_morning_is_told_completely() -> None:
    day = garage_day()
    site = garage_site(day.sessions, import_limit_kw=80.0, pv_peak_kw=60.0)
    hooks = _Hooks()
    end = DAY_START + timedelta(hours=4)
    morning = tuple(session for session in day.sessions if session.arrived_at < end)
    settings = alternating_settings(site)
    assert [settings[station.id].version for station in site.stations[:3]] == [
        OcppVersion.V16, OcppVersion.V201, OcppVersion.V16,
    ]  # fmt: skip
    async with ScriptedCentralSystem() as system, ClientSession() as http:
        clock = ManualClock(DAY_START)
        virtual = VirtualSite(site, settings, CentralSystem(system.url), clock, day.surroundings(60.0), http)
        async with virtual.running():
            async with asyncio.timeout(60):
                playing = asyncio.create_task(run_day(virtual, morning, evse_of_post(site), hooks, end))
                while not playing.done():
                    await _all_told(virtual)
                    clock.advance(minutes=1)
                totals = await playing
            assert await virtual.drained(within_s=30.0)
        assert virtual.violations == []
        assert system.schema_problems == []
    assert [total.arrival.session.id for total in totals] == [session.id for session in morning]
    assert {arrival.session.id for arrival in hooks.stated} == {session.id for session in morning}
    gone = {session.id for session in morning if session.departed_at <= end}
    assert {total.arrival.session.id for total in hooks.left} >= gone
    assert len(system.of("StartTransaction")) + len(_started(system)) == len(morning)
    _check_meters(virtual, hooks)
    assert sum(total.delivered_kwh for total in totals) == pytest.approx(float(virtual.plant.charged_kwh()), abs=0.05)


def _started(system: ScriptedCentralSystem) -> list[Heard]:
    return [call for call in system.of("TransactionEvent") if call.payload["eventType"] == "Started"]


def _check_meters(virtual: VirtualSite, hooks: _Hooks) -> None:
    """Readings are complete, aligned and agree with one another at every instant."""
    stamps = [reading.at for reading in hooks.readings]
    assert stamps == [stamps[0] + timedelta(minutes=minute) for minute in range(len(stamps))]
    assert all(stamp.second == 0 for stamp in stamps)
    assert stamps[-1] == DAY_START + timedelta(hours=4)
    for reading in hooks.readings:
        charged_kwh = virtual.plant.charging.register_kwh(reading.at)
        assert reading.building_register_kwh is not None
        assert reading.pv_register_kwh is not None
        balance_kwh = (
            reading.import_register_kwh + reading.pv_register_kwh
            - reading.export_register_kwh - reading.building_register_kwh
        )  # fmt: skip
        assert float(balance_kwh) == pytest.approx(1.01 * charged_kwh, abs=0.004)


async def test_a_fault_of_one_station_ends_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    day = garage_day()
    site = garage_site(day.sessions, import_limit_kw=80.0, pv_peak_kw=60.0)
    async with ScriptedCentralSystem() as system, ClientSession() as http:
        clock = ManualClock(DAY_START)
        virtual = VirtualSite(
            site, alternating_settings(site), CentralSystem(system.url), clock, day.surroundings(60.0), http
        )
        station = next(iter(virtual.stations.values()))
        monkeypatch.setattr(station.core, "connected", lambda _now: 1 / 0)
        with pytest.raises(ExceptionGroup) as caught:
            async with virtual.running():
                await asyncio.Event().wait()
        assert caught.group_contains(ZeroDivisionError)
