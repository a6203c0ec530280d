"""Virtual stations and the project's own central system, over real WebSockets: what one side says the other understands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from random import Random

import pytest
from aiohttp import ClientSession, web
from manual_clock import ManualClock
from station_wire import NOON, TOKEN, V16, V21, V201, VERSIONS, at_minute

from connectors.ocpp.security import SecurityProfile, StationGate
from connectors.ocpp.server import OcppCentralSystem
from connectors.ocpp.settings import OcppSettings, Version
from optimizer.domain.charger import (
    ConnectorReported,
    ConnectorStatus,
    LimitCommand,
    LimitPeriod,
    LimitState,
    StationBooted,
    TransactionBegun,
    TransactionFinished,
    TransactionOpened,
    VehicleNeeds,
)
from optimizer.domain.ids import CircuitId, EvseId, SessionId, StationId, TokenId, TransactionId
from optimizer.domain.metering import MeterSample, SampleQuality
from optimizer.domain.site import Evse, Station
from scenarios.station_settings import Misbehaviour, OcppVersion, StationSettings
from scenarios.station_state import StationWatchers, Visit
from scenarios.vehicle_model import StatedNeeds, VehicleModel
from scenarios.virtual_station import CentralSystem, LinkTimings, VirtualStation

STATION, EVSE = StationId("S1"), EvseId("E1")
SETTINGS = OcppSettings(
    versions=(Version.V201, Version.V16, Version.V21),
    call_timeout_s=5.0, call_attempts=1, settle_s=0.05, after_boot_s=0.0, ping_interval_s=None, meter_interval_s=0,
    connects_per_minute=1000,
)  # fmt: skip


class Ledger:
    """Keeps what the central system makes of what stations tell."""

    def __init__(self) -> None:
        self.boots: list[StationBooted] = []
        self.reports: list[ConnectorReported] = []
        self.begun: dict[tuple[object, ...], TransactionOpened] = {}
        self.samples: list[MeterSample] = []
        self.finished: list[TransactionFinished] = []
        self.needs: list[VehicleNeeds] = []
        self._numbers = count(101)

    async def station_booted(self, event: StationBooted) -> None:
        self.boots.append(event)

    async def station_disconnected(self, station_id: StationId, at: datetime) -> None:
        """Nobody asks."""

    async def connector_reported(self, event: ConnectorReported) -> None:
        self.reports.append(event)

    async def authorize(self, station_id: StationId, token_id: TokenId, at: datetime) -> bool:
        return True

    async def transaction_begun(self, event: TransactionBegun) -> TransactionOpened:
        key = (event.station_id, event.transaction_id, event.ocpp_evse_id, event.at, event.register_kwh)
        if key not in self.begun:
            number = str(next(self._numbers))
            opened = TransactionOpened(event.transaction_id or TransactionId(number), SessionId(number), accepted=True)
            self.begun[key] = opened
        return self.begun[key]

    async def meter_sampled(self, samples: Sequence[MeterSample]) -> None:
        self.samples.extend(samples)

    async def transaction_finished(self, event: TransactionFinished) -> None:
        self.finished.append(event)

    async def vehicle_needs(self, event: VehicleNeeds) -> bool:
        self.needs.append(event)
        return True


class Meeting:
    """One station at the central system, both on a clock that the test moves."""

    def __init__(self, system: OcppCentralSystem, station: VirtualStation, ledger: Ledger, clock: ManualClock) -> None:
        self.system = system
        self.station = station
        self.ledger = ledger
        self.clock = clock

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - it depends on two ends of a socket
                await asyncio.sleep(0.001)

    async def told(self) -> None:
        await self.until(lambda: len(self.station.core.outbox) == 0)

    async def pass_minutes(self, minutes: int) -> None:
        for _ in range(minutes):
            self.clock.advance(minutes=1)
            self.station.core.advance(self.clock.now())
            self.station._wake()
            await self.told()

    async def charging(self, vehicle: VehicleModel | None = None) -> Visit:
        await self.until(lambda: self.system.is_online(STATION) and self.ledger.boots and self.ledger.reports)
        visit = self.station.plug_in(1, vehicle or VehicleModel(60.0), TOKEN, self.clock.now(), None)
        await self.until(lambda: visit.transaction is not None and visit.transaction.is_acknowledged)
        await self.told()
        return visit

    async def limit(self, *limits_kw: float) -> LimitState:
        """Send a limit, one period an hour."""
        (opened,) = self.ledger.begun.values()
        periods = tuple(
            LimitPeriod(self.clock.now() + timedelta(hours=hour), limit_kw) for hour, limit_kw in enumerate(limits_kw)
        )
        reply = await self.system.set_limit(LimitCommand(STATION, EVSE, opened.transaction_id, periods))
        self.station.core.advance(self.clock.now())
        return reply.state

    @property
    def power_kw(self) -> float:
        return self.station.core.evses[1].physics.trace.power_kw(self.clock.now())

    @property
    def usable(self) -> list[MeterSample]:
        good = (SampleQuality.GOOD, SampleQuality.DERIVED)
        return [sample for sample in self.ledger.samples if sample.quality in good]


@asynccontextmanager
async def _meeting(
    version: OcppVersion, *misbehaviours: Misbehaviour, served: OcppSettings = SETTINGS
) -> AsyncIterator[Meeting]:
    clock, ledger = ManualClock(NOON), Ledger()
    station = Station(STATION, (Evse(EVSE, STATION, 1, CircuitId("c"), max_current_a=32.0),))
    gate = StationGate(SecurityProfile.NONE)
    system = OcppCentralSystem([station], ledger, clock, served, gate)
    runner = web.AppRunner(system.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/ocpp"
    timings = LinkTimings(reconnect_first_s=0.01, reconnect_longest_s=0.05, retry_after_s=0.01)
    async with ClientSession() as http:
        virtual = VirtualStation(
            StationSettings(station, version, misbehaviours=frozenset(misbehaviours)),
            CentralSystem(url, timings=timings), clock, http, StationWatchers(), Random(1),
        )  # fmt: skip
        living = asyncio.create_task(virtual.run())
        try:
            yield Meeting(system, virtual, ledger, clock)
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
            await runner.cleanup()
    assert virtual.violations == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_limits_are_obeyed_and_metered(version: OcppVersion) -> None:
    async with _meeting(version) as meeting:
        visit = await meeting.charging()
        assert await meeting.limit(11.04, 4.83) is LimitState.ACCEPTED
        assert meeting.power_kw == pytest.approx(11.04)
        await meeting.pass_minutes(70)
        assert meeting.power_kw == pytest.approx(4.83)
        last = meeting.usable[-1]
        assert last.at == at_minute(70)
        assert last.power_kw == pytest.approx(4.83)
        assert float(last.register_kwh or 0) == pytest.approx(visit.vehicle.taken_kwh, abs=0.002)
        assert await meeting.limit(0.0) is LimitState.ACCEPTED
        assert meeting.power_kw == 0.0
        assert await meeting.limit(22.08) is LimitState.ACCEPTED
        assert meeting.power_kw == pytest.approx(22.08)


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_safe_default_holds_from_the_first_moment(version: OcppVersion) -> None:
    async with _meeting(version) as meeting:
        await meeting.until(lambda: meeting.ledger.boots and meeting.ledger.reports)
        assert (await meeting.system.set_safe_default(STATION, EVSE, 4.83)).state is LimitState.ACCEPTED
        await meeting.charging()
        assert meeting.power_kw == pytest.approx(4.83)
        assert await meeting.limit(11.04) is LimitState.ACCEPTED
        assert meeting.power_kw == pytest.approx(11.04)
        assert (await meeting.system.clear_limit(STATION, EVSE)).state is LimitState.ACCEPTED
        assert meeting.power_kw == pytest.approx(4.83)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_stay_with_an_outage_is_one_transaction(version: OcppVersion) -> None:
    async with _meeting(version) as meeting:
        visit = await meeting.charging()
        await meeting.limit(11.04)
        await meeting.pass_minutes(10)
        link = meeting.system.link(STATION)
        assert link is not None
        await link.connection.end(1011, "an outage")
        await meeting.until(lambda: meeting.system.is_online(STATION) and meeting.station.connections == 2)
        await meeting.pass_minutes(10)
        assert meeting.power_kw == pytest.approx(11.04)
        meeting.station.unplug(1, meeting.clock.now())
        await meeting.until(lambda: meeting.ledger.finished)
        await meeting.told()
        assert len(meeting.ledger.begun) == 1
        (finished,) = meeting.ledger.finished
        assert finished.at == at_minute(20)
        assert float(finished.register_kwh or 0) == pytest.approx(visit.vehicle.taken_kwh, abs=0.002)


@pytest.mark.parametrize("version", [V201, V21])
async def test_what_a_car_asks_for_arrives(version: OcppVersion) -> None:
    async with _meeting(version) as meeting:
        await meeting.charging(VehicleModel(60.0, needs=StatedNeeds(21.5, at_minute(300))))
        await meeting.until(lambda: meeting.ledger.needs)
        (needs,) = meeting.ledger.needs
        assert (needs.energy_kwh, needs.depart_at) == (21.5, at_minute(300))


HARMLESS_TO_METERING = {
    "slow": Misbehaviour.SLOW,
    "ignores": Misbehaviour.IGNORES,
    "replays old samples": Misbehaviour.REPLAYS_OLD_SAMPLES,
    "kWh as Wh": Misbehaviour.KWH_AS_WH,
    "transaction -1": Misbehaviour.TRANSACTION_MINUS_ONE,
    "skewed clock": Misbehaviour.SKEWED_CLOCK,
    "rejects amperes": Misbehaviour.REJECTS_AMPERES,
}


@pytest.mark.parametrize("version", [V16, V201])
@pytest.mark.parametrize("misbehaviour", HARMLESS_TO_METERING.values(), ids=HARMLESS_TO_METERING)
async def test_no_misbehaviour_bends_the_energy(misbehaviour: Misbehaviour, version: OcppVersion) -> None:
    async with _meeting(version, misbehaviour) as meeting:
        visit = await meeting.charging()
        await meeting.limit(11.04)
        await meeting.pass_minutes(40)
        registers = [sample.register_kwh for sample in meeting.usable if sample.register_kwh is not None]
        assert len(registers) >= 4
        assert registers == sorted(registers)
        assert float(registers[-1]) == pytest.approx(visit.vehicle.taken_kwh, abs=0.01)


async def test_a_station_that_takes_watts_only_is_learnt() -> None:
    async with _meeting(V16, Misbehaviour.REJECTS_AMPERES) as meeting:
        await meeting.charging()
        assert await meeting.limit(11.04) is LimitState.ACCEPTED
        assert meeting.power_kw == pytest.approx(11.04)


async def test_a_limit_in_the_time_of_a_skewed_clock() -> None:
    async with _meeting(V16, Misbehaviour.SKEWED_CLOCK) as meeting:
        await meeting.charging()
        await meeting.pass_minutes(15)
        assert await meeting.limit(11.04) is LimitState.ACCEPTED
        assert meeting.power_kw == pytest.approx(11.04)
        assert meeting.usable[-1].at == meeting.clock.now()


async def test_a_station_that_never_answers_is_told_as_such() -> None:
    impatient = replace(SETTINGS, call_timeout_s=0.1)
    async with _meeting(V16, Misbehaviour.NEVER_ANSWERS, served=impatient) as meeting:
        await meeting.charging()
        reply = asyncio.create_task(meeting.limit(11.04))
        assert await reply is LimitState.UNANSWERED
        assert meeting.power_kw == pytest.approx(22.08)


async def test_every_state_is_understood() -> None:
    async with _meeting(V16) as meeting:
        await meeting.charging()
        await meeting.limit(0.0)
        await meeting.told()
        meeting.station.unplug(1, meeting.clock.now())
        meeting.station._wake()
        await meeting.told()
        assert [report.status for report in meeting.ledger.reports][-4:] == [
            ConnectorStatus.PREPARING, ConnectorStatus.CHARGING, ConnectorStatus.SUSPENDED_BY_EVSE,
            ConnectorStatus.AVAILABLE,
        ]  # fmt: skip
