"""The control step and its supervisor: observe, problem, plan, record, then limits as far as they are safe."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from optimizer.control.fixed_load import fixed_load_kw
from optimizer.control.observe import Sources, observe
from optimizer.control.send import LimitSender
from optimizer.control.settings import ControlSettings
from optimizer.control.watch import SiteWatch, first_of
from optimizer.domain.ids import EvseId
from optimizer.domain.plan import PlanOutcome
from optimizer.domain.reservation import Reservation, ReservationStatus
from optimizer.domain.site import Site
from optimizer.domain.snapshot import SeenStep, SiteSnapshot
from optimizer.errors import Conflict
from optimizer.planning.problem import ChargingProblem
from optimizer.ports import ChargerGateway, Clock, Stores

_LOG = logging.getLogger(__name__)

REST_PER_STEP = 3.0
"""Least time for which events are gathered after a control step, as a multiple of its length."""
LONGEST_REST_S = 30.0
"""It is no longer than this, however long a step took: events should not wait for a solver that hung [s]."""

Assembler = Callable[[SiteSnapshot, Mapping[EvseId, float]], Awaitable[ChargingProblem]]
"""States the problem of a snapshot, with the load of EVSEs that cannot be steered."""
Planner = Callable[[ChargingProblem], Awaitable[PlanOutcome]]
"""Solves a problem; as the assembler in a thread of its own in the service, inline in the simulator."""
Recording = Callable[[SiteSnapshot, Mapping[EvseId, float]], SeenStep]
"""Tells what the plan that has just been made follows from."""


class ControlLoop:
    """Plans for one site, again and again; what it needs of the past it reads from the stores.

    Args:
        site: Which site.
        stores: Everything kept.
        gateway: The stations.
        clock: Time.
        sources: Tariff, forecasts, peaks.
        assembler: States the problem.
        planner: Solves it.
        sender: Shared with the watch.
        watch: The guard, which this supervises.
        settings: Choices about control.
        recording: Tells what is kept with each plan so that it can be made again; ``None``: nothing.
    """

    def __init__(
        self,
        site: Site,
        stores: Stores,
        gateway: ChargerGateway,
        clock: Clock,
        sources: Sources,
        assembler: Assembler,
        planner: Planner,
        sender: LimitSender,
        watch: SiteWatch,
        settings: ControlSettings,
        recording: Recording | None = None,
    ) -> None:
        self._site = site
        self._stores = stores
        self._gateway = gateway
        self._clock = clock
        self._sources = sources
        self._assembler = assembler
        self._planner = planner
        self._sender = sender
        self._watch = watch
        self._settings = settings
        self._recording = recording
        self._one_at_a_time = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._reasons: dict[str, None] = {}

    def request_replan(self, reason: str) -> None:
        """Plan anew soon; requests that come together lead to one plan."""
        self._reasons[reason] = None
        self._wanted.set()
        self._watch.look_soon()

    async def step(self, trigger: str) -> PlanOutcome:
        """One control step.

        Args:
            trigger: What led to it; kept with the plan.

        Raises:
            PlanningFailed: No plan; the one before stays in force and the guard goes on.
        """
        async with self._one_at_a_time:
            now = self._clock.now()
            await self._give_up_no_shows(now)
            snapshot = await observe(
                self._site, self._stores, self._gateway, self._sources, now, self._settings, self._sender.memory
            )
            fixed_kw = fixed_load_kw(await self._sender.view(), self._settings)
            outcome = await self._planner(await self._assembler(snapshot, fixed_kw))
            seen = self._recording(snapshot, fixed_kw) if self._recording is not None else None
            await self._stores.plans.save_outcome(outcome, trigger, seen)
            self._sender.follow(outcome.plan)
            await self._sender.keep_limits()
            return outcome

    async def run(self) -> None:
        """Plan at start, every period and on request, and keep the guard going, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._plan_for_ever())
            group.create_task(self._guard_for_ever())

    async def _plan_for_ever(self) -> None:
        trigger = "start"
        while True:
            begun = self._clock.now()
            await self._supervised("control step", self.step(trigger))
            trigger = await self._next_trigger(REST_PER_STEP * (self._clock.now() - begun).total_seconds())

    async def _guard_for_ever(self) -> None:
        while True:
            await self._supervised("guard step", self._watch.guard_step())
            await self._watch.next_tick()

    async def _supervised(self, name: str, work: Awaitable[object]) -> None:
        """Do ``work``; whatever it raises is logged, and the next round comes all the same."""
        try:
            await work
        except Exception:  # noqa: BLE001
            _LOG.exception("site %s: the %s failed; going on with the next one", self._site.id, name)

    async def _next_trigger(self, rest_s: float) -> str:
        """Wait for the period's end or a request; requests of a while are gathered.

        Args:
            rest_s: Least time for that, so that planning leaves the processor to others [s].
        """
        if await first_of(self._wanted, self._clock, self._settings.replan_period_s):
            await self._clock.sleep(max(self._settings.replan_gather_s, min(rest_s, LONGEST_REST_S)))
        reasons, self._reasons = self._reasons, {}
        self._wanted.clear()
        return ", ".join(reasons) or "period"

    async def _give_up_no_shows(self, now: datetime) -> None:
        """Free the places of reservations whose drivers did not come."""
        earlier = now - timedelta(days=1)
        for held in await self._stores.reservations.reservations(self._site.id, earlier, now):
            if is_no_show(held, now):
                gone = replace(held, status=ReservationStatus.NO_SHOW, version=held.version + 1)
                try:
                    await self._stores.reservations.save(gone)
                except Conflict as error:
                    _LOG.info("reservation %s has just changed: %s", held.id, error)


def is_no_show(reservation: Reservation, now: datetime) -> bool:
    """Whether the time to come has passed for a reservation that nobody has claimed."""
    latest = reservation.window.start + timedelta(minutes=reservation.no_show_after_minutes)
    return reservation.status is ReservationStatus.RESERVED and now >= min(latest, reservation.window.end)
