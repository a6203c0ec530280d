"""Any number of virtual stations against any central system, with cars that come and go by chance.

The cars are those of the recorded garage day: each visit takes one of its stays and energies, at a time of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from ssl import SSLContext

from aiohttp import ClientSession

from optimizer.domain.ids import CircuitId, EvseId, StationId
from optimizer.domain.site import Evse, Station
from optimizer.errors import InvalidInput
from optimizer.ports import Clock
from scenarios.arrivals import RecordedSession, pseudonym
from scenarios.living import living
from scenarios.station_settings import Misbehaviour, OcppVersion, StationSettings
from scenarios.station_state import StationWatchers
from scenarios.vehicle_kinds import ANY_CAR, VehicleKind, drawn_kind, vehicle_of
from scenarios.virtual_station import CentralSystem, VirtualStation


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """Which stations there are."""

    count: int
    """How many."""
    versions: tuple[OcppVersion, ...] = (OcppVersion.V16, OcppVersion.V201)
    """Versions of the protocol, dealt out in turn."""
    prefix: str = "SIM-"
    """What their names begin with; a number follows."""
    names: tuple[str, ...] = ()
    """Their names one by one, as many as ``count``; none: by ``prefix`` and number."""
    misbehaviours: tuple[Misbehaviour, ...] = ()
    """Misbehaviours, dealt out in turn among those that misbehave."""
    misbehaving_share: float = 0.0
    """Share of stations that misbehave."""
    reading_interval_s: int = 60
    """Between two aligned readings [s]."""
    tells_each_phase: bool = True
    """Whether readings tell each phase: twelve values instead of six."""
    max_current_a: float = 32.0
    """Greatest current of each EVSE [A]."""
    gap_h: float = 2.0
    """Mean time from a car's leaving to the next one's coming [h]."""
    vehicle_kinds: tuple[VehicleKind, ...] = (ANY_CAR,)
    """Kinds of cars, dealt out by chance."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InvalidInput("count", self.count, "give a number from 1 up")
        if self.names and len(set(self.names)) != self.count:
            raise InvalidInput("names", self.names, f"give {self.count} different names")
        if not self.vehicle_kinds:
            raise InvalidInput("vehicle_kinds", self.vehicle_kinds, "name at least one")
        if not self.versions:
            raise InvalidInput("versions", self.versions, "name at least one")
        if not 0 <= self.misbehaving_share <= 1:
            raise InvalidInput("misbehaving_share", self.misbehaving_share, "give a number from 0 to 1")
        if self.misbehaving_share and not self.misbehaviours:
            raise InvalidInput("misbehaviours", self.misbehaviours, "name at least one")
        if not 0 < self.gap_h < float("inf"):
            raise InvalidInput("gap_h", self.gap_h, "give a number above 0")


@dataclass(slots=True)
class FleetCounts:
    """What has happened so far."""

    connected: int = 0
    """Stations connected now."""
    charging: int = 0
    """Cars that draw power now."""
    power_kw: float = 0.0
    """Power that they draw [kW]."""
    profiles: int = 0
    """Charging profiles that the stations hold now."""
    connections: int = 0
    """Connections so far."""
    connection_problem: str = ""
    """Why one of the stations that are not connected is not."""
    acknowledged: int = 0
    """Messages that the central system has answered."""
    unacknowledged: int = 0
    """Messages about transactions that wait for an answer."""
    visits: int = 0
    """Cars that came."""
    refused: int = 0
    """Cars that were not allowed to charge."""
    delivered_kwh: float = 0.0
    """Energy delivered [kWh]."""
    violations: dict[str, int] = field(default_factory=dict)
    """In which ways the central system broke the protocol, and how often."""


def fleet_settings(plan: FleetPlan) -> tuple[StationSettings, ...]:
    """The stations of a plan; which of them misbehave is spread evenly over all of them."""
    settings = []
    misbehaving = 0
    for number in range(plan.count):
        is_misbehaving = round((number + 1) * plan.misbehaving_share) > round(number * plan.misbehaving_share)
        wrongs: frozenset[Misbehaviour] = frozenset()
        if is_misbehaving:
            wrongs = frozenset({plan.misbehaviours[misbehaving % len(plan.misbehaviours)]})
            misbehaving += 1
        station_id = StationId(plan.names[number] if plan.names else f"{plan.prefix}{number + 1:04d}")
        evse = Evse(EvseId(f"{station_id}-1"), station_id, 1, CircuitId("fleet"), plan.max_current_a)
        settings.append(
            StationSettings(
                Station(station_id, (evse,)),
                plan.versions[number % len(plan.versions)],
                reading_interval_s=plan.reading_interval_s,
                tells_each_phase=plan.tells_each_phase,
                misbehaviours=wrongs,
            )
        )
    return tuple(settings)


class Fleet:
    """Stations that live by chance.

    Args:
        plan: Which stations there are.
        cars: Recorded sessions whose stays and energies are drawn from.
        central_system: Where they connect to.
        clock: Their time.
        http: Opens their connections; its connector must allow as many at once.
        seed: For everything that happens by chance.
        passwords: Passwords of stations that have one of their own.
        tls: TLS of stations that have a certificate of their own.
    """

    def __init__(
        self,
        plan: FleetPlan,
        cars: Sequence[RecordedSession],
        central_system: CentralSystem,
        clock: Clock,
        http: ClientSession,
        seed: int = 0,
        passwords: Mapping[StationId, str] | None = None,
        tls: Mapping[StationId, SSLContext] | None = None,
    ) -> None:
        if not cars:
            raise InvalidInput("cars", cars, "give at least one recorded session")
        self._plan = plan
        self._cars = cars
        self._clock = clock
        self._seed = seed
        self._counts = FleetCounts()
        self.stations = tuple(
            VirtualStation(
                settings,
                central_system.seen_by(
                    (passwords or {}).get(settings.station.id), (tls or {}).get(settings.station.id)
                ),
                clock,
                http,
                StationWatchers(),
                Random(f"{seed} {settings.station.id}"),
            )
            for settings in fleet_settings(plan)
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All stations and their cars live while the block runs."""
        lives = [life for station in self.stations for life in (station.run(), self._cars_come(station))]
        async with living(lives):
            yield

    def counts(self) -> FleetCounts:
        """What has happened so far."""
        counts = self._counts
        counts.connected = sum(station.core.is_online for station in self.stations)
        away = (one.connection_problem for one in self.stations if not one.core.is_online and one.connection_problem)
        counts.connection_problem = next(away, "")
        counts.connections = sum(station.connections for station in self.stations)
        counts.acknowledged = sum(station.core.outbox.acknowledged for station in self.stations)
        counts.unacknowledged = sum(station.core.outbox.durable_calls for station in self.stations)
        evses = [state for station in self.stations for state in station.core.evses.values()]
        powers_kw = [state.physics.trace.power_kw(state.physics.settled_at) for state in evses]
        counts.charging, counts.power_kw = sum(power_kw > 0 for power_kw in powers_kw), sum(powers_kw)
        counts.profiles = sum(len(station.core.held) for station in self.stations)
        counts.delivered_kwh = sum(
            state.physics.import_register_kwh(state.physics.settled_at)
            for station in self.stations
            for state in station.core.evses.values()
        )
        counts.violations = {}
        for station in self.stations:
            for problem in station.violations:
                counts.violations[problem] = counts.violations.get(problem, 0) + 1
        return counts

    async def _cars_come(self, station: VirtualStation) -> None:
        """Cars at one station, one after the other, for ever."""
        random = Random(f"{self._seed} cars {station.settings.station.id}")
        (evse,) = station.settings.station.evses
        while True:
            await self._clock.sleep(random.expovariate(1.0 / (3600.0 * self._plan.gap_h)))
            car = random.choice(self._cars)
            came_at = self._clock.now()
            leaves_at = came_at + timedelta(hours=car.stay_h)
            who = f"{station.settings.station.id} {self._counts.visits} {self._seed}"
            vehicle = vehicle_of(car, evse, drawn_kind(self._plan.vehicle_kinds, self._seed, who))
            visit = station.plug_in(evse.ocpp_evse_id, vehicle, pseudonym(who), came_at, leaves_at)
            self._counts.visits += 1
            await self._clock.sleep(3600.0 * car.stay_h)
            self._counts.refused += visit.refused
