"""A whole site of virtual stations that lives through a recorded day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Protocol

from aiohttp import ClientSession

from optimizer.domain.ids import EvseId, StationId
from optimizer.domain.metering import SiteMeterReading
from optimizer.domain.site import Site, Station
from optimizer.ports import Clock
from scenarios.arrivals import RecordedSession
from scenarios.battery_model import BatteryModel
from scenarios.living import living
from scenarios.plant import Plant, Surroundings
from scenarios.station_readings import EPOCH
from scenarios.station_settings import OcppVersion, StationSettings
from scenarios.station_state import StationWatchers, Visit
from scenarios.vehicle_kinds import vehicle_of
from scenarios.virtual_station import CentralSystem, VirtualStation

DRAIN_POLL_S = 0.02
"""Between two looks whether everything was acknowledged, on the wall [s]."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A recorded session as it happens at a virtual station."""

    session: RecordedSession
    """What was recorded; what lies ahead of now is not to be told."""
    station_id: StationId
    """At which station."""
    evse_id: EvseId
    """At which EVSE."""
    visit: Visit
    """The stay, with its transaction."""


@dataclass(frozen=True, slots=True)
class SessionTotal:
    """What became of one session."""

    arrival: Arrival
    """The session."""
    delivered_kwh: float
    """Energy delivered [kWh]."""

    @property
    def wanted_kwh(self) -> float:
        """Energy that the car is known to take [kWh]."""
        return self.arrival.session.delivered_kwh


class DayHooks(Protocol):
    """Who acts for drivers and meters, for example by calling the service's HTTP API.

    What they raise ends the day.
    """

    async def driver_stated(self, arrival: Arrival) -> None:
        """A car is plugged in and its transaction is known; its driver says what ``arrival.session`` recorded."""
        ...

    async def car_left(self, total: SessionTotal) -> None:
        """A car has left."""
        ...

    async def site_metered(self, reading: SiteMeterReading) -> None:
        """The site meter was read; readings come in order, none is left out."""
        ...


class VirtualSite:
    """All stations of a site, and the plant under them.

    Args:
        site: What stands there.
        settings: Every station's.
        central_system: Where all of them connect to.
        clock: Their time.
        surroundings: Building, PV and losses.
        http: Opens their connections.
        seed: For everything that happens by chance.
        meters_begin: When the site's meters begin at zero, not after now; ``None``: now [UTC].
        battery: The stationary battery, where there is one; somebody else tells it what to do.
    """

    def __init__(
        self,
        site: Site,
        settings: Mapping[StationId, StationSettings],
        central_system: CentralSystem,
        clock: Clock,
        surroundings: Surroundings,
        http: ClientSession,
        seed: int = 0,
        meters_begin: datetime | None = None,
        battery: BatteryModel | None = None,
    ) -> None:
        self.site = site
        self.clock = clock
        self.watchers = StationWatchers()
        self.stations = {
            station.id: VirtualStation(
                settings[station.id], central_system, clock, http, self.watchers, Random(f"{seed} {station.id}")
            )
            for station in site.stations
        }
        evses = {
            state.physics.evse.id: state.physics
            for station in self.stations.values()
            for state in station.core.evses.values()
        }
        self.plant = Plant(site, evses, surroundings, meters_begin or clock.now(), battery)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All stations live while the block runs; a fault of one of them ends the block and is raised."""
        async with living(station.run() for station in self.stations.values()):
            yield

    async def drained(self, within_s: float) -> bool:
        """Wait until all that concerns transactions is acknowledged; False where that takes longer [s on the wall]."""
        try:
            async with asyncio.timeout(within_s):
                while self.unacknowledged:  # noqa: ASYNC110 - counts over all stations, at the end only
                    await asyncio.sleep(DRAIN_POLL_S)
        except TimeoutError:
            return False
        return True

    @property
    def unacknowledged(self) -> int:
        """Calls about transactions that the central system has not acknowledged."""
        return sum(station.core.outbox.durable_calls for station in self.stations.values())

    @property
    def violations(self) -> list[str]:
        """In which ways the central system broke the protocol."""
        return [f"{name}: {text}" for name, station in self.stations.items() for text in station.violations]


def alternating_settings(
    site: Site, make: Callable[[Station, OcppVersion], StationSettings] = StationSettings
) -> dict[StationId, StationSettings]:
    """Settings for all stations of a site, every other one speaking 2.0.1."""
    versions = (OcppVersion.V16, OcppVersion.V201)
    return {station.id: make(station, versions[number % 2]) for number, station in enumerate(site.stations)}


async def run_day(
    virtual: VirtualSite,
    sessions: Sequence[RecordedSession],
    evse_of_post: Mapping[str, EvseId],
    hooks: DayHooks,
    end: datetime,
    meter_interval_s: int = 60,
) -> tuple[SessionTotal, ...]:
    """Let recorded sessions happen at a running site until ``end``; returns what each one got, in order of arrival."""
    day = _Day(virtual, evse_of_post, hooks)
    virtual.watchers.opened.append(day.note_opened)
    virtual.watchers.ended.append(day.note_ended)
    try:
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(day.tell())
            metering = tasks.create_task(day.meter(meter_interval_s, end))
            await day.play(sessions, end)
            await metering
            await day.events.join()
            telling.cancel()
    finally:
        virtual.watchers.opened.remove(day.note_opened)
        virtual.watchers.ended.remove(day.note_ended)
    return tuple(SessionTotal(arrival, arrival.visit.vehicle.taken_kwh) for arrival in day.arrivals)


class _Day:
    """A recorded day that is happening."""

    def __init__(self, virtual: VirtualSite, evse_of_post: Mapping[str, EvseId], hooks: DayHooks) -> None:
        self._virtual = virtual
        self._evse_of_post = evse_of_post
        self._hooks = hooks
        self.arrivals: list[Arrival] = []
        self.events: asyncio.Queue[Arrival | SessionTotal] = asyncio.Queue()

    async def play(self, sessions: Sequence[RecordedSession], end: datetime) -> None:
        for session in sorted(sessions, key=lambda one: one.arrived_at):
            await self._sleep_until(session.arrived_at)
            self._plug_in(session)
        await self._sleep_until(end)
        for station in self._virtual.stations.values():
            station.core.advance(self._virtual.clock.now())
        self._virtual.plant.settle(end)

    def _plug_in(self, session: RecordedSession) -> None:
        evse = self._virtual.site.evses[self._evse_of_post[session.post]]
        visit = self._virtual.stations[evse.station_id].plug_in(
            evse.ocpp_evse_id, vehicle_of(session, evse), session.token_id, session.arrived_at, session.departed_at
        )
        self.arrivals.append(Arrival(session, evse.station_id, evse.id, visit))

    async def meter(self, interval_s: int, end: datetime) -> None:
        interval = timedelta(seconds=interval_s)
        reading_at = EPOCH + interval * ((self._virtual.clock.now() - EPOCH) // interval)
        while (reading_at := reading_at + interval) <= end:
            await self._sleep_until(reading_at)
            await self._hooks.site_metered(self._virtual.plant.reading_at(reading_at))

    async def tell(self) -> None:
        while True:
            event = await self.events.get()
            if isinstance(event, Arrival):
                await self._hooks.driver_stated(event)
            else:
                await self._hooks.car_left(event)
            self.events.task_done()

    def note_opened(self, _station_id: str, visit: Visit) -> None:
        arrival = self._arrival_of(visit)
        if arrival is not None:
            self.events.put_nowait(arrival)

    def note_ended(self, _station_id: str, visit: Visit) -> None:
        arrival = self._arrival_of(visit)
        if arrival is not None:
            self.events.put_nowait(SessionTotal(arrival, visit.vehicle.taken_kwh))

    def _arrival_of(self, visit: Visit) -> Arrival | None:
        return next((arrival for arrival in reversed(self.arrivals) if arrival.visit is visit), None)

    async def _sleep_until(self, instant: datetime) -> None:
        await self._virtual.clock.sleep((instant - self._virtual.clock.now()).total_seconds())
