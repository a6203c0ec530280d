"""One run: the service and the stations of a draw, living through its faults in simulated time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from time import process_time
from typing import Any

import structlog

from optimizer.domain.charger import LimitCommand
from optimizer.domain.ids import EvseId, StationId
from optimizer.domain.metering import SiteMeterReading
from optimizer.domain.site import Evse
from scenarios.faults.audit import FaultAudit, Sent, WrongIncrease
from scenarios.faults.books import TrueTransaction, faults_in_books, with_hidden_units
from scenarios.faults.draw import DISOBEDIENT, START, DrawnRun, Fault, FaultKind, MeterKind, drawn_run
from scenarios.faults.network import MemoryNetwork, Network
from scenarios.faults.service import OCPP, FaultyService, InjectedFailure
from scenarios.faults.sockets import SocketNetwork
from scenarios.limit_audit import Draw, Violation
from scenarios.living import living
from scenarios.memory_stores import MemoryStores
from scenarios.plant import Plant
from scenarios.station_settings import Misbehaviour, OcppVersion
from scenarios.station_state import StationWatchers, Transaction
from scenarios.virtual_evse import VirtualEvse
from scenarios.virtual_station import CentralSystem, LinkTimings, VirtualStation
from scenarios.virtual_time import LoopClock, run_in_virtual_time

PATIENCE = LinkTimings(answer_within_s=30.0, retry_after_s=2.0, reconnect_first_s=1.0, reconnect_longest_s=20.0)
"""How patient stations are with their network."""
LAST_CARS_S = 31.0
"""After the last fault, by when every car has left [s]."""
DRAIN_LOOK_S = 5
"""Between two looks whether everything was told [s]."""
LONGEST_DRAIN_S = 600
"""How long stations have for telling what is left [s]."""
CLOCKS_WRONG_BY = timedelta(hours=1)
"""No clock of a station is as wrong as this."""
SAME_KW = 1e-6
"""Limits closer than this are one [kW]."""


@dataclass
class RunReport:
    """What came of one run."""

    seed: int
    """Its seed."""
    allowed_s: float
    """How long a limit may be exceeded while there is something to cut [s]."""
    longest: Violation | None
    """The longest excess of that kind."""
    wrong_increases: tuple[WrongIncrease, ...]
    """Increases that led above a limit by themselves."""
    book_faults: tuple[str, ...]
    """What the books have lost or doubled."""
    errors: tuple[str, ...]
    """What the service logged as an error of its own."""
    counts: dict[str, int] = field(default_factory=dict)
    """How much of everything there was."""
    spent_s: float = 0.0
    """Processor time [s]."""

    @property
    def failures(self) -> tuple[str, ...]:
        """Everything that is not as it must be, in words."""
        found = [
            f"{wrong.evse_id} was raised at {wrong.sent_at:%H:%M:%S}: "
            f"{wrong.what} at {wrong.value:.1f} of {wrong.limit:.1f}"
            for wrong in self.wrong_increases
        ]
        if self.longest is not None and self.longest.duration_s > self.allowed_s:
            one = self.longest
            found.append(
                f"{one.what} above {one.limit:.1f} for {one.duration_s:.1f} s from {one.start:%H:%M:%S}, "
                f"up to {one.greatest:.1f}; {self.allowed_s:.0f} s are allowed"
            )
        return (*found, *self.book_faults, *self.errors)


def run_faults(seed: int, *, over_sockets: bool = False, **drawn: Any) -> RunReport:
    """Live through the run of a seed.

    Args:
        seed: Which run.
        over_sockets: Whether stations and service talk over real WebSockets; else over a network in memory, which is
            quicker, and the same to the last frame each time.
        **drawn: As `drawn_run` takes it.
    """
    begun_s = process_time()
    run = drawn_run(seed, **drawn)
    with _errors_noted() as errors:
        report = run_in_virtual_time(_World(run, over_sockets=over_sockets).live(), with_sockets=over_sockets)
    report.errors = tuple(dict.fromkeys(errors))
    report.spent_s = process_time() - begun_s
    return report


class _World:
    """Everything of one run."""

    def __init__(self, run: DrawnRun, *, over_sockets: bool) -> None:
        self._run = run
        self._clock = LoopClock(START)
        self._random = Random(f"world {run.seed}")
        self._kept = MemoryStores([run.site])
        delays = Random(f"network {run.seed}")
        self._network: Network = SocketNetwork(delays) if over_sockets else MemoryNetwork(delays, OCPP.close_timeout_s)
        self._service = FaultyService(run, self._kept, self._network, self._clock, self._limit_sent)
        self._watchers = StationWatchers()
        self._happened: list[TrueTransaction] = []
        self._meter_silent_until_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._counts: dict[str, int] = {}

    async def live(self) -> RunReport:
        """Live through all of it."""
        run = self._run
        self._watchers.begun.append(self._transaction_begun)
        reached = CentralSystem(await self._network.begin(), timings=PATIENCE)
        self._stations = {
            station_id: VirtualStation(
                settings,
                reached,
                self._clock,
                self._network.http,
                self._watchers,
                Random(f"{run.seed} {station_id}"),
            )
            for station_id, settings in run.stations.items()
        }
        physics = {
            state.physics.evse.id: state.physics
            for station in self._stations.values()
            for state in station.core.evses.values()
        }
        self._plant = Plant(run.site, physics, run.surroundings, START)
        self._audit = self._plant.audit = FaultAudit(
            run.site, self._is_in_hand, timedelta(seconds=run.control.raise_reading_age_s)
        )
        service_life = asyncio.create_task(self._keep_service())
        await self._service.start()
        async with living(station.run() for station in self._stations.values()):
            metering = asyncio.create_task(self._meter())
            for fault in run.faults:
                await self._until(fault.at_s)
                self._happen(fault)
            await self._until(run.fault_s)
            # From here on nothing new goes wrong.
            self._service.calm = True
            await self._until(run.fault_s + LAST_CARS_S)
            await self._all_told()
            metering.cancel()
        self._service.kill()
        await asyncio.sleep(1.0)
        service_life.cancel()
        await self._network.end()
        self._plant.settle(self._clock.now())
        return await self._report()

    async def _report(self) -> RunReport:
        begin, end = START - CLOCKS_WRONG_BY, self._clock.now() + CLOCKS_WRONG_BY
        happened = await with_hidden_units(self._run.site, self._kept, self._happened, begin, end)
        hidden_wh = sum(int(1000 * one.energy_kwh) for one in happened if one.hides_its_unit)
        faults = await faults_in_books(self._run.site, self._kept, happened, begin, end)
        unacknowledged = sum(station.core.outbox.durable_calls for station in self._stations.values())
        if unacknowledged:
            faults.append(f"{unacknowledged} messages about transactions were never acknowledged")
        dropped = [call.action for station in self._stations.values() for call in station.core.outbox.dropped]
        faults += [f"{action} was refused for good" for action in dropped]
        faults += [f"{name}: {text}" for name, station in self._stations.items() for text in station.violations]
        self._counts |= {
            "stations": len(self._stations),
            "transactions": len(happened),
            "metered kWh": round(sum(one.energy_kwh for one in happened)),
            "units hidden": sum(one.hides_its_unit for one in happened),
            "Wh in hidden units": hidden_wh,
            "lives": self._service.lives,
            "frames": self._network.frames,
            "runs with HiGHS": int(self._run.plans_with_highs),
            **self._service.plans,
        }
        return RunReport(
            self._run.seed,
            self._allowed_s(),
            self._audit.longest,
            tuple(self._audit.wrong_increases),
            tuple(faults),
            (),
            self._counts,
        )

    def _allowed_s(self) -> float:
        silences_s = [fault.lasts_s for fault in self._run.faults if fault.kind is FaultKind.METER_STALE]
        return self._run.control.longest_reaction_s(max([self._run.meter_interval_s, *silences_s]))

    # ------------------------------------------------------------------ what happens

    def _happen(self, fault: Fault) -> None:
        self._counts[fault.kind] = self._counts.get(fault.kind, 0) + 1
        now = self._clock.now()
        station_id = tuple(self._stations)[fault.place % len(self._stations)]
        match fault.kind:
            case FaultKind.PLUG_IN:
                self._plug_in(fault.place)
            case FaultKind.DROP:
                self._cut(station_id, fault.lasts_s)
            case FaultKind.OUTAGE:
                for one in self._stations:
                    self._cut(one, fault.lasts_s)
            case FaultKind.RESTART:
                station = self._stations[station_id]
                station.core.advance(now)
                station.core.lose_power(now, profiles_kept=self._random.random() < 0.8)
                self._cut(station_id, fault.lasts_s)
            case FaultKind.KILL:
                self._settle()
                if fault.place % 2:
                    self._service.kill()
                else:
                    self._service.kill_at_next_write()
            case FaultKind.METER_STALE:
                self._meter_silent_until_s = asyncio.get_running_loop().time() + fault.lasts_s
            case FaultKind.SAMPLES_STALE:
                self._spawn(self._silence(station_id, fault.lasts_s))
            case FaultKind.GRID_EVENT:
                self._spawn(self._announce(fault.place))

    def _plug_in(self, place: int) -> None:
        visit, now = self._run.visits[place], self._clock.now()
        evse = self._run.site.evses[visit.evse_id]
        departs_at = now + timedelta(seconds=visit.stays_s)
        self._stations[evse.station_id].plug_in(evse.ocpp_evse_id, visit.vehicle, visit.token_id, now, departs_at)

    def _cut(self, station_id: StationId, unseen_s: float) -> None:
        self._settle()
        self._network.cut(station_id, unseen_s)

    async def _silence(self, station_id: StationId, lasts_s: float) -> None:
        core = self._stations[station_id].core
        core.set_sample_interval(0, self._clock.now())
        await asyncio.sleep(lasts_s)
        core.advance(self._clock.now())
        core.set_sample_interval(self._run.stations[station_id].sample_interval_s, self._clock.now())

    async def _announce(self, place: int) -> None:
        event = self._run.events[place]
        self._settle()
        self._audit.watch_event(event)
        # What sends events keeps them until they are taken: the service may be gone for a while.
        await self._service.alive.wait()
        await self._kept.grid_events.save(event)
        self._service.look_soon("grid event")

    async def _keep_service(self) -> None:
        """Whatever supervises the service starts it again."""
        while True:
            await self._service.killed()
            await asyncio.sleep(self._random.uniform(1.0, 30.0))
            self._settle()
            await self._service.start()

    async def _all_told(self) -> None:
        """Wait until every message about a transaction has arrived and nobody's state is unknown, for a while."""
        for _ in range(LONGEST_DRAIN_S // DRAIN_LOOK_S):
            await asyncio.sleep(DRAIN_LOOK_S)
            told = not any(len(station.core.outbox) for station in self._stations.values())
            if (
                told
                and self._service.is_alive
                and not await self._kept.sessions.sessions(self._run.site.id, active_only=True)
            ):
                return

    async def _meter(self) -> None:
        """The site meter is read again and again."""
        while True:
            await asyncio.sleep(self._run.meter_interval_s)
            reading = self._reading()
            if asyncio.get_running_loop().time() >= self._meter_silent_until_s:
                self._service.take_site_reading(reading)

    def _reading(self) -> SiteMeterReading:
        reading = self._plant.reading_at(self._clock.now())
        kind = self._run.meter
        if kind is not MeterKind.POWERS:
            reading = replace(reading, current_a=self._audit.root_currents_a())
        if kind is MeterKind.CONNECTION:
            reading = replace(reading, building_kw=None, building_register_kwh=None)
        return reading

    # ------------------------------------------------------------------ what is noted

    def _transaction_begun(self, station_id: str, number: int, transaction: Transaction) -> None:
        settings = self._run.stations[StationId(station_id)]
        evse = next(one for one in settings.station.evses if one.ocpp_evse_id == number)
        misbehaves = ", ".join(sorted(settings.misbehaviours))
        self._happened.append(
            TrueTransaction(
                StationId(station_id),
                evse.id,
                transaction,
                f"OCPP {settings.version}, {misbehaves}",
                tells_kwh_as_wh=settings.has(Misbehaviour.KWH_AS_WH) and settings.version is not OcppVersion.V16,
            )
        )

    def _limit_sent(self, command: LimitCommand) -> None:
        self._counts["limits"] = self._counts.get("limits", 0) + 1
        now, evse = self._clock.now(), self._run.site.evses[command.evse_id]
        self._settle()
        physics = self._physics(evse.id)
        adds_phases = command.phases is not None and command.phases > physics.permitted_paths(now)
        self._counts["limits that change phases"] = self._counts.get("limits that change phases", 0) + (
            command.phases is not None and command.phases != physics.permitted_paths(now)
        )
        if command.first_kw <= evse.power_kw(physics.offered_a(now)) + SAME_KW and not adds_phases:
            return
        draws = dict(self._audit.draws)
        for evse_id, other in self._run.site.evses.items():
            if self._obeys(other) and (permitted_kw := self._permitted_kw(evse_id)) > 0.0:
                paths = self._physics(evse_id).current_paths
                drawn = draws.get(evse_id)
                if drawn is None or drawn.power_kw < permitted_kw:
                    draws[evse_id] = Draw(permitted_kw, paths)
        permits_a = evse.current_a(command.first_kw)
        self._audit.note_increase(Sent(command.evse_id, now, draws, self._audit.least_base(now), permits_a))

    def _permitted_kw(self, evse_id: EvseId) -> float:
        physics = self._physics(evse_id)
        return physics.offered_a(self._clock.now()) * physics.evse.voltage_v * physics.current_paths / 1000.0

    def _physics(self, evse_id: EvseId) -> VirtualEvse:
        return self._plant.evses[evse_id]

    def _obeys(self, evse: Evse) -> bool:
        return not self._run.stations[evse.station_id].misbehaviours & DISOBEDIENT

    def _is_in_hand(self, evse_id: EvseId) -> bool:
        """Whether an EVSE that draws could be told now to draw less, and would do so."""
        evse = self._run.site.evses[evse_id]
        settings = self._run.stations[evse.station_id]
        if not self._obeys(evse) or not self._network.is_connected(evse.station_id):
            return False
        if not self._service.may_speak_to(evse.station_id):
            return False
        least_kw = 0.0
        if settings.has(Misbehaviour.REJECTS_ZERO):
            least_kw = evse.min_power_kw
        draw = self._audit.draws.get(evse_id)
        return draw is None or draw.power_kw > least_kw + SAME_KW

    def _settle(self) -> None:
        """Judge what flowed so far by how things stood."""
        self._plant.settle(self._clock.now())

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until(self, second: float) -> None:
        wait_s = second - asyncio.get_running_loop().time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)


class _ErrorNotes(logging.Handler):
    """Keeps what the service logs as an error, but for the failures that the run injects."""

    def __init__(self, kept: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, InjectedFailure):
            self._kept.append(f"{record.getMessage()}: {error!r}")


@contextmanager
def _errors_noted() -> Iterator[list[str]]:
    """Collect errors while the block runs, and say nothing of the rest."""
    errors: list[str] = []

    def keep(_logger: object, name: str, event: MutableMapping[str, Any]) -> str:
        if name in ("error", "exception", "critical"):
            errors.append(f"{event.get('event')}: {event}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.format_exc_info, keep],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.ReturnLoggerFactory(),
    )
    logger, handler = logging.getLogger("optimizer"), _ErrorNotes(errors)
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield errors
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates
        structlog.configure(**before)
