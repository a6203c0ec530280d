"""A virtual station at the project's own central system, over a real WebSocket, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import count
from random import Random
from typing import Any

from aiohttp import ClientSession, web
from manual_clock import ManualClock
from station_wire import NOON, TOKEN

from connectors.ocpp.capability import CapabilityStore
from connectors.ocpp.security import SecurityProfile, StationGate
from connectors.ocpp.server import OcppCentralSystem
from connectors.ocpp.settings import OcppSettings, Version
from optimizer.domain.charger import (
    ConnectorReported,
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
from scenarios.vehicle_model import VehicleModel
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

    async def station_known_better(self, event: StationBooted) -> None:
        """Nothing hangs on it here."""

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

    async def limits_told(self, station_id: StationId) -> None:
        """Nobody asks."""

    async def vehicle_needs(self, event: VehicleNeeds) -> bool:
        self.needs.append(event)
        return True


class Visited:
    """One station that lives, what it hears, and the central system that it talks to."""

    def __init__(self, system: OcppCentralSystem, station: VirtualStation, clock: ManualClock) -> None:
        self.system = system
        self.station = station
        self.clock = clock
        self.living: asyncio.Future[None] = asyncio.ensure_future(station.run())
        self.heard: list[tuple[str, dict[str, Any]]] = []
        answer = station.core.answer

        def listening(action: str, payload: Any, now: datetime) -> Any:
            self.heard.append((action, payload))
            return answer(action, payload, now)

        station.core.answer = listening  # type: ignore[method-assign]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - it depends on two ends of a socket
                await asyncio.sleep(0.001)

    async def told(self) -> None:
        await self.until(lambda: len(self.station.core.outbox) == 0)

    async def say(self, action: str, payload: dict[str, Any]) -> Any:
        """The station says something out of its turn; gives the answer."""
        answers: list[Any] = []
        self.station.core.tell((action, lambda: payload), answered=answers.append)
        self.station._wake()
        await self.until(lambda: answers)
        return answers[0]

    async def cut_off(self) -> None:
        """The connection is lost and none is made again."""
        self.living.cancel()
        await asyncio.gather(self.living, return_exceptions=True)
        await self.until(lambda: not self.system.is_online(STATION))

    def asked(self, action: str) -> list[dict[str, Any]]:
        """What the station was asked so, as it stood in JSON."""
        return [payload for name, payload in self.heard if name == action]

    @property
    def power_kw(self) -> float:
        return self.station.core.evses[1].physics.trace.power_kw(self.clock.now())


class Meeting(Visited):
    """One station at the central system, both on a clock that the test moves."""

    def __init__(self, system: OcppCentralSystem, station: VirtualStation, ledger: Ledger, clock: ManualClock) -> None:
        super().__init__(system, station, clock)
        self.ledger = ledger

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

    async def limit(self, *limits_kw: float, phases: int | None = None) -> LimitState:
        """Send a limit, one period an hour; below zero it is to be given back."""
        (opened,) = self.ledger.begun.values()
        periods = tuple(
            LimitPeriod(self.clock.now() + timedelta(hours=hour), max(0.0, limit_kw), max(0.0, -limit_kw))
            for hour, limit_kw in enumerate(limits_kw)
        )
        command = LimitCommand(STATION, EVSE, opened.transaction_id, periods, phases=phases)
        reply = await self.system.set_limit(command)
        self.station.core.advance(self.clock.now())
        return reply.state

    @property
    def profiles(self) -> list[dict[str, Any]]:
        """The profiles that the station was sent, as they stood in JSON."""
        return self.asked("SetChargingProfile")

    @property
    def usable(self) -> list[MeterSample]:
        good = (SampleQuality.GOOD, SampleQuality.DERIVED)
        return [sample for sample in self.ledger.samples if sample.quality in good]


@asynccontextmanager
async def station_at(
    system: OcppCentralSystem, settings: StationSettings, clock: ManualClock
) -> AsyncIterator[VirtualStation]:
    """A virtual station that can reach a central system on a port of its own, and breaks no rule of OCPP there."""
    runner = web.AppRunner(system.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/ocpp"
    timings = LinkTimings(reconnect_first_s=0.01, reconnect_longest_s=0.05, retry_after_s=0.01)
    async with ClientSession() as http:
        reached = CentralSystem(url, timings=timings)
        virtual = VirtualStation(settings, reached, clock, http, StationWatchers(), Random(1))
        try:
            yield virtual
        finally:
            await runner.cleanup()
    assert virtual.violations == []


@asynccontextmanager
async def meeting_of(
    version: OcppVersion,
    *misbehaviours: Misbehaviour,
    served: OcppSettings = SETTINGS,
    evse: dict[str, Any] | None = None,
    capabilities: CapabilityStore | None = None,
    **settings: Any,
) -> AsyncIterator[Meeting]:
    """A station of one EVSE, with other traits where they are named, and the central system that it has reached."""
    clock, ledger = ManualClock(NOON), Ledger()
    station = Station(STATION, (Evse(EVSE, STATION, 1, CircuitId("c"), max_current_a=32.0, **(evse or {})),))
    gate = StationGate(SecurityProfile.NONE)
    system = OcppCentralSystem([station], ledger, clock, served, gate, capabilities=capabilities)
    traits = StationSettings(station, version, misbehaviours=frozenset(misbehaviours), **settings)
    async with station_at(system, traits, clock) as virtual:
        meeting = Meeting(system, virtual, ledger, clock)
        try:
            yield meeting
        finally:
            meeting.living.cancel()
            await asyncio.gather(meeting.living, return_exceptions=True)
