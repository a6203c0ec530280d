"""The service of a run, process after process: what a kill leaves is the stores, and nothing else.

stations ──network──► OcppCentralSystem ──► SessionLedger ──► ProcessStores ──► MemoryStores
                          ▲                                        ▲
                          └── LimitSender ◄── guard, loop ◄────────┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any, cast

from connectors.forecasts.site_forecasts import NoPower, SiteForecasts
from connectors.ocpp.security import SecurityProfile, StationGate
from connectors.ocpp.server import OcppCentralSystem
from connectors.ocpp.settings import OcppSettings, Version
from optimizer.control.controller import SiteController
from optimizer.domain.charger import ExternalLimit, LimitCommand
from optimizer.domain.ids import EvseId, SiteId, StationId, TariffId, TransactionId
from optimizer.domain.metering import SiteMeterReading
from optimizer.domain.plan import Fallback, PlanOutcome, SolveFigures
from optimizer.domain.snapshot import SiteSnapshot
from optimizer.domain.tariff import EnergyBand, Tariff, TariffWindow
from optimizer.errors import PlanningFailed
from optimizer.planning.assemble import problem_from_snapshot
from optimizer.planning.heuristics import HEURISTICS
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.settings import PlanningSettings, SlotRule
from optimizer.planning.solve import checked_plan
from optimizer.ports import Clock, LimitReply
from scenarios.faults.draw import DrawnRun
from scenarios.faults.network import Network
from scenarios.faults.stores import ProcessStores, stores_of_process
from scenarios.memory_stores import MemoryStores

NEAR_SLOTS = PlanningSettings(
    slot_rules=(SlotRule(5, 30), SlotRule(30, 240)), proof_time_s=0.0, reopen_time_s=0.0, time_limit_s=60.0
)
"""A few steps ahead, and nothing that hangs on how fast the machine is: the same seed is to give the same run."""
NO_TIME_S = 1e-6
"""Time in which HiGHS finds nothing [s]."""
OCPP = OcppSettings(versions=tuple(Version), meter_interval_s=0)
"""Stations are asked to measure nothing that they do not measure of their own accord."""


class InjectedFailure(PlanningFailed):
    """The solver fails because the run says so."""


class FlatTariffs:
    """A `TariffSource` of one price."""

    async def tariff(self, site_id: SiteId, start: datetime, end: datetime) -> Tariff:  # noqa: ARG002 - always the same
        """The tariff."""
        band = EnergyBand("all day", TariffWindow(), Decimal("0.25"))
        return Tariff(TariffId("flat"), "flat", "EUR", "UTC", (band,))


class _WayToStations:
    """The gateway as control sees it; every limit that goes out is seen.

    Args:
        on_limit: Told of each limit before it is sent.
    """

    def __init__(self, on_limit: Callable[[LimitCommand], None]) -> None:
        self._on_limit = on_limit
        self.system: OcppCentralSystem

    async def set_limit(self, command: LimitCommand) -> LimitReply:
        """Send a limit."""
        self._on_limit(command)
        return await self.system.set_limit(command)

    async def set_safe_default(self, station_id: StationId, evse_id: EvseId, limit_kw: float) -> LimitReply:
        """Install a safe default."""
        return await self.system.set_safe_default(station_id, evse_id, limit_kw)

    async def clear_limit(self, station_id: StationId, evse_id: EvseId) -> LimitReply:
        """Take a limit back."""
        return await self.system.clear_limit(station_id, evse_id)

    async def stop_charging(self, station_id: StationId, transaction_id: TransactionId) -> LimitReply:
        """End a transaction."""
        return await self.system.stop_charging(station_id, transaction_id)

    def limits_of_others(self) -> Mapping[EvseId, tuple[ExternalLimit, ...]]:
        """The limits that others set, of EVSEs that have any."""
        return self.system.limits_of_others()

    def switches_phases(self, evse_id: EvseId) -> bool:
        """Whether an EVSE may be told to change its number of phases."""
        return self.system.switches_phases(evse_id)

    def is_online(self, station_id: StationId) -> bool:
        """Whether the station is connected, as far as the central system knows."""
        return self.system.is_online(station_id)


@dataclass
class _Process:
    """One life of the service."""

    controller: SiteController
    system: OcppCentralSystem
    stores: ProcessStores
    tasks: set[asyncio.Task[Any]]


class FaultyService:
    """The service of a run, alive or not.

    Args:
        run: What goes wrong.
        kept: What outlives each process.
        network: Where stations connect.
        clock: Time.
        on_limit: Told of each limit before it is sent.
    """

    def __init__(
        self,
        run: DrawnRun,
        kept: MemoryStores,
        network: Network,
        clock: Clock,
        on_limit: Callable[[LimitCommand], None],
    ) -> None:
        self._run = run
        self._kept = kept
        self._network = network
        self._clock = clock
        self._on_limit = on_limit
        self._random = Random(f"service {run.seed}")
        self._process: _Process | None = None
        self._dies_at_write: int | None = None
        self._died = asyncio.Event()
        self.alive = asyncio.Event()
        """Set while a process runs."""
        self.lives = 0
        self.plans: dict[str, int] = {}
        self.writes = 0
        self.calm = False

    # ------------------------------------------------------------------ life

    async def start(self) -> None:
        """A new process comes up; what it knows, it reads from the stores."""
        self.lives += 1
        stores, process_stores = stores_of_process(self._kept, self._random, self._note_write)
        way = _WayToStations(self._on_limit)
        controller = SiteController(
            self._run.site,
            stores,
            way,
            self._clock,
            FlatTariffs(),
            SiteForecasts(NoPower(), NoPower()),
            _problem,
            self._plan,
            self._run.control,
        )
        system = way.system = OcppCentralSystem(
            self._run.site.stations,
            controller.ledger,
            self._clock,
            OCPP,
            _open_gate(),
            stores.sessions,
            samples=stores.meters,
        )
        system.recall(await stores.connectors.station_boots())
        process = self._process = _Process(controller, system, process_stores, set())
        self.alive.set()
        self._spawn(controller.run())
        await self._network.open(system, process.tasks)

    @property
    def is_alive(self) -> bool:
        """Whether a process runs."""
        return self._process is not None and not self._process.stores.is_dead

    def kill_at_next_write(self) -> None:
        """Let the process die at one of its next writes, before or after it is durable."""
        self._dies_at_write = self.writes + self._random.randint(1, 20)

    async def killed(self) -> None:
        """Return when the process is gone, as `kill` or a write made it die."""
        await self._died.wait()
        self._died.clear()
        process, self._process = self._process, None
        if process is None:
            return
        while process.tasks:
            # What a dead process still begins to do while it is cleared away waits for ever, and is cancelled again.
            for task in process.tasks:
                task.cancel()
            await asyncio.wait(process.tasks, timeout=0.001)

    def kill(self) -> None:
        """The process is gone, at once: no goodbye, no clearing up."""
        if self._process is not None and not self._process.stores.is_dead:
            self._process.stores.is_dead = True
            self.alive.clear()
            self._dies_at_write = None
            self._network.shut()
            self._died.set()

    def _note_write(self) -> None:
        self.writes += 1
        if self._dies_at_write is not None and self.writes >= self._dies_at_write:
            self.kill()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        process = self._living()
        task = asyncio.create_task(work)
        process.tasks.add(task)
        task.add_done_callback(process.tasks.discard)

    def _living(self) -> _Process:
        if self._process is None:
            raise RuntimeError("no process of the service runs")
        return self._process

    # ------------------------------------------------------------------ what reaches it

    def take_site_reading(self, reading: SiteMeterReading) -> None:
        """The site meter's reading arrives, if there is anybody to take it."""
        if self.is_alive:
            process = self._living()
            self._spawn(self._take_reading(process, reading))

    async def _take_reading(self, process: _Process, reading: SiteMeterReading) -> None:
        await cast("MemoryStores", process.stores).meters.add_site_reading(reading)
        process.controller.guard_soon()

    def look_soon(self, trigger: str) -> None:
        """Something was stored from outside, as the HTTP API does; control is told."""
        if self.is_alive:
            self._living().controller.guard_soon()
            self._living().controller.plan_soon(trigger)

    def may_speak_to(self, station_id: StationId) -> bool:
        """Whether a limit sent now would leave for the station."""
        if not self.is_alive:
            return False
        link = self._living().system.link(station_id)
        return link is not None and link.connection.ready.is_set()

    # ------------------------------------------------------------------ the solver

    async def _plan(self, problem: ChargingProblem) -> PlanOutcome:
        chance = self._random.random()
        if not self.calm and chance < self._run.solver_failing_share:
            raise InjectedFailure("the solver failed")
        if not self.calm and chance < self._run.solver_failing_share + self._run.solver_hanging_share:
            await self._clock.sleep(self._random.uniform(30.0, 180.0))
            if self._random.random() < 0.5:
                raise InjectedFailure("the solver ran out of time")
        if self._run.plans_with_highs:
            return self._solved(problem)
        plan = HEURISTICS[self._run.heuristic](problem)
        return Fallback(plan, self._run.heuristic, "the run's way to plan", SolveFigures(0.0, 0.0, 0.0, 0, 0))

    def _solved(self, problem: ChargingProblem) -> PlanOutcome:
        """What the service's own planner makes of it, in time or not."""
        is_late = not self.calm and self._random.random() < self._run.solver_late_share
        outcome = checked_plan(problem, replace(NEAR_SLOTS, time_limit_s=NO_TIME_S) if is_late else NEAR_SLOTS)
        name = "fallback plans" if isinstance(outcome, Fallback) else "plans by HiGHS"
        self.plans[name] = self.plans.get(name, 0) + 1
        return outcome


async def _problem(snapshot: SiteSnapshot, fixed_kw: Mapping[EvseId, float]) -> ChargingProblem:
    return problem_from_snapshot(snapshot, NEAR_SLOTS, fixed_kw=fixed_kw)


def _open_gate() -> StationGate:
    """Nobody is refused: who may connect is tested elsewhere."""
    return StationGate(SecurityProfile.NONE)
