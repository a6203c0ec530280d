"""The running control of one site: ledger, guard, loop and settlement wired to one another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from api.background import Background
from api.metrics import ServiceMetrics
from api.pace import GUARD_PERIOD_WALL_S
from api.readiness import Readiness
from api.spending import Spending
from optimizer.control.guard import GuardDecision
from optimizer.control.ledger import LedgerListeners, SessionLedger
from optimizer.control.loop import Assembler, ControlLoop, Planner
from optimizer.control.observe import Sources
from optimizer.control.send import LimitSender
from optimizer.control.settings import ControlSettings
from optimizer.control.settlement import Settlement, Waiting
from optimizer.control.view import GuardView
from optimizer.control.watch import SiteWatch
from optimizer.costing.balance import BalanceReport
from optimizer.domain.cost import SiteBill
from optimizer.domain.ids import GridEventId, SessionId, StationId
from optimizer.domain.moment import Interval
from optimizer.domain.plan import PlanOutcome
from optimizer.domain.session import DepartureTarget, Session
from optimizer.domain.site import Site
from optimizer.planning.problem import ChargingProblem
from optimizer.ports import ChargerGateway, Clock, Stores

RESPONSE_SPAN = timedelta(hours=1)
"""How far back the response to grid events is looked at."""

REST_PER_STEP = 3.0
"""Rest after a guard step that samples have asked for, as a multiple of its length, up to the guard's period."""

log = structlog.get_logger(__name__)


class CountedWatch(SiteWatch):
    """A watch that tells metrics and readiness of each step.

    Args:
        site: Which site.
        stores: Where grid events are kept.
        clock: Time.
        sender: Shared with the control loop.
        settings: Times and tolerances.
        intake: Held while requests change grid events, so that neither writes over the other.
        metrics: Counts.
        readiness: Is told of each step.
    """

    def __init__(
        self,
        site: Site,
        stores: Stores,
        clock: Clock,
        sender: LimitSender,
        settings: ControlSettings,
        intake: asyncio.Lock,
        metrics: ServiceMetrics,
        readiness: Readiness,
    ) -> None:
        super().__init__(site, stores, clock, sender, settings)
        self._intake = intake
        self._metrics = metrics
        self._readiness = readiness
        self._period_wall_s = clock.wall_seconds(settings.guard_period_s)
        self._begun_s = 0.0
        self._ended_s = 0.0

    async def next_tick(self) -> None:
        """Wait for the guard's period, or until somebody asks for a look, but leave the processor to others too."""
        await super().next_tick()
        spent_s = self._ended_s - self._begun_s
        rest_s = min(self._period_wall_s, max(GUARD_PERIOD_WALL_S, REST_PER_STEP * spent_s))
        await asyncio.sleep(max(0.0, self._ended_s + rest_s - time.monotonic()))

    async def _mark_grid_events(self, view: GuardView) -> None:
        async with self._intake:
            await super()._mark_grid_events(view)

    async def guard_step(self) -> GuardDecision:
        """Do one step and count it."""
        self._begun_s = self._ended_s = time.monotonic()
        try:
            decision = await super().guard_step()
        finally:
            self._ended_s = time.monotonic()
        self._metrics.guard_s.observe(self._ended_s - self._begun_s)
        if decision.exceeded:
            self._metrics.guard_cuts.inc(len(decision.reductions))
            log.warning(
                "guard cut",
                limits=[str(ceiling) for ceiling in decision.exceeded],
                evses=[command.evse_id for command in decision.reductions],
            )
        self._readiness.guarded()
        return decision


class SiteRuntime:
    """Everything that controls and settles one site (`api.service.SiteControl`).

    Made in two steps, since stations talk to the ledger and the loop talks to stations: first this, then `connect`.

    Args:
        site: Which site.
        stores: Everything kept.
        clock: The service's clock.
        settings: Choices about control.
        settlement: Makes records and bills.
        spending: The bill so far.
        intake: Held while requests change what is kept.
        metrics: Counts.
        readiness: Is told of each step.
    """

    def __init__(
        self,
        site: Site,
        stores: Stores,
        clock: Clock,
        settings: ControlSettings,
        settlement: Settlement,
        spending: Spending,
        intake: asyncio.Lock,
        metrics: ServiceMetrics,
        readiness: Readiness,
    ) -> None:
        self._site = site
        self._stores = stores
        self._clock = clock
        self._settings = settings
        self._settlement = settlement
        self._spending = spending
        self._intake = intake
        self._metrics = metrics
        self._readiness = readiness
        self._background = Background()
        self._controllers: _Controllers | None = None
        self._outcome: PlanOutcome | None = None
        self._proven: set[GridEventId] = set()
        listeners = LedgerListeners(
            on_change=self.plan_soon,
            on_sample=self.guard_soon,
            on_session_ended=self._session_ended,
            on_reconnected=self._reconnected,
        )
        self.ledger = SessionLedger(site, stores, clock, settings, listeners)

    def connect(self, gateway: ChargerGateway, sources: Sources, assembler: Assembler, planner: Planner) -> None:
        """Take the way to the stations, and what plans are made with.

        Raises:
            InvalidConfiguration: The site cannot be safe when every station is blind.
        """
        sender = LimitSender(self._site, self._stores, gateway, self._clock, self._settings, self.ledger.note_pauses)
        watch = CountedWatch(
            self._site, self._stores, self._clock, sender, self._settings, self._intake, self._metrics, self._readiness
        )

        async def counted(problem: ChargingProblem) -> PlanOutcome:
            outcome = await planner(problem)
            self._outcome = outcome
            self._metrics.saw_outcome(outcome)
            self._readiness.planned()
            return outcome

        loop = ControlLoop(
            self._site,
            self._stores,
            gateway,
            self._clock,
            sources,
            assembler,
            counted,
            sender,
            watch,
            self._settings,
        )
        self._controllers = _Controllers(sender, watch, loop)

    async def run(self) -> None:
        """Guard and plan until cancelled."""
        if self._controllers is not None:
            await self._controllers.loop.run()

    async def close(self, patience_s: float) -> None:
        """Let what is under way end, or give it up; the stores hold all that matters.

        Args:
            patience_s: How long, on the wall [s].
        """
        await self._background.close(patience_s)
        if self._controllers is not None:
            await self._controllers.sender.close()

    # --- what requests and stations ask ---------------------------------------------------------------------------

    def guard_soon(self) -> None:
        """Let the guard act now instead of at its next tick."""
        if self._controllers is not None:
            self._controllers.watch.look_soon()

    def plan_soon(self, trigger: str) -> None:
        """Let the planner plan anew now; ``trigger`` is kept with the plan."""
        if self._controllers is not None:
            self._controllers.loop.request_replan(trigger)

    async def set_targets(self, session_id: SessionId, targets: Sequence[DepartureTarget]) -> Session:
        """Give a session the targets that somebody asked for, and plan anew."""
        return await self.ledger.set_targets(session_id, targets)

    async def close_window(self, window: Interval) -> BalanceReport:
        """Make the site's bill of ``window`` and the final records of its sessions."""
        return (await self._settlement.close_window(window)).report

    async def last_outcome(self) -> PlanOutcome | None:
        """How the plan in force came about; the store is asked after a restart only."""
        if self._outcome is None:
            self._outcome = next(iter(await self._stores.plans.outcomes(self._site.id, 1)), None)
        return self._outcome

    async def cost_so_far(self) -> SiteBill | None:
        """The bill of the running billing window so far."""
        return self._spending.bill

    # --- periodic work --------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Make the records of sessions that have ended, and the bills of windows that are over."""
        for outcome in await self._settlement.settle_unsettled():
            if isinstance(outcome, Waiting):
                log.debug("session waits for its record", session=outcome.session_id, reason=outcome.reason)
        for closed in await self._settlement.close_finished_windows():
            log.info(
                "billing window closed",
                start=closed.bill.window.start,
                end=closed.bill.window.end,
                total=str(closed.bill.total),
                adds_up=closed.report.adds_up,
            )

    async def count_responses(self) -> None:
        """Count how fast grid events came into force."""
        now = self._clock.now()
        events = await self._stores.grid_events.events(self._site.id, now - RESPONSE_SPAN, now)
        for event in events:
            if event.applied_at is not None and event.id not in self._proven:
                self._metrics.saw_response(event, event.applied_at)
        self._proven = {event.id for event in events if event.applied_at is not None}

    # --- what the ledger tells ------------------------------------------------------------------------------------

    async def _session_ended(self, session: Session) -> None:
        # The station waits for its answer meanwhile, so the record is made beside.
        self._background.start(f"settle {session.id}", self._settle_session(session))

    async def _settle_session(self, session: Session) -> None:
        outcome = await self._settlement.settle_session(session)
        if isinstance(outcome, Waiting):
            log.debug("session waits for its record", session=outcome.session_id, reason=outcome.reason)

    async def _reconnected(self, station_id: StationId) -> None:
        if self._controllers is not None:
            await self._controllers.sender.distrust(station_id)
            self._controllers.watch.look_soon()


@dataclass(frozen=True)
class _Controllers:
    """What exists once there is a way to the stations."""

    sender: LimitSender
    watch: CountedWatch
    loop: ControlLoop
