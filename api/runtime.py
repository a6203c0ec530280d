"""The running control of one site, with its settlement, as requests and jobs see it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from api.background import Background
from api.heap import give_back_memory
from api.metrics import ServiceMetrics
from api.pace import GUARD_PERIOD_WALL_S
from api.readiness import Readiness
from api.spending import Spending
from optimizer.control.controller import SiteController
from optimizer.control.guard import GuardDecision
from optimizer.control.habits import no_habit
from optimizer.control.ledger import SessionLedger
from optimizer.control.loop import Assembler, Planner, Recording
from optimizer.control.send import LimitSender
from optimizer.control.settings import ControlSettings
from optimizer.control.settlement import Settlement, Waiting
from optimizer.control.track import TrackedEvse, tracked
from optimizer.control.view import GuardView
from optimizer.control.watch import SiteWatch
from optimizer.costing.balance import BalanceReport
from optimizer.domain.cost import SiteBill
from optimizer.domain.ids import EvseId, GridEventId, SessionId, TokenId
from optimizer.domain.moment import Interval
from optimizer.domain.plan import PlanOutcome
from optimizer.domain.session import DepartureTarget, Session
from optimizer.domain.site import Site
from optimizer.errors import Conflict
from optimizer.planning.problem import ChargingProblem
from optimizer.ports import ChargerGateway, Clock, ForecastSource, Stores, TariffSource

RESPONSE_SPAN = timedelta(hours=1)
"""How far back the response to grid events is looked at."""

REST_PER_STEP = 9.0
"""Rest after a guard step that samples have asked for, as a multiple of its length, up to the guard's period."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class PlanningInputs:
    """What plans are made from."""

    tariffs: TariffSource
    """What energy costs."""
    forecasts: ForecastSource
    """What building and PV are expected to do."""
    assembler: Assembler
    """States the problem of a snapshot."""
    planner: Planner
    """Solves it."""
    recording: Recording
    """Tells what is kept so that the plan can be made again."""
    habit: Callable[[Session], DepartureTarget | None] = no_habit
    """What is to be expected of a driver who says nothing, by earlier stays."""


class CountedWatch(SiteWatch):
    """A watch that tells metrics and readiness of each step.

    Args:
        site: Which site.
        stores: Where grid events are kept.
        clock: Time.
        sender: Shared with the control loop.
        settings: Times and tolerances.
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
        metrics: ServiceMetrics,
        readiness: Readiness,
    ) -> None:
        super().__init__(site, stores, clock, sender, settings)
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
    """Everything that controls and settles one site (`api.service.SiteControl`), counted and watched.

    Args:
        site: Which site.
        stores: Everything kept.
        clock: The service's clock.
        settings: Choices about control.
        gateway: The way to the stations.
        inputs: What plans are made from.
        settlement: Makes records and bills.
        spending: The bill so far.
        metrics: Counts.
        readiness: Is told of each step.
        meters_kept: How long meter values are kept, and so how late a window may be closed again; ``None``: for ever.

    Raises:
        InvalidConfiguration: The site cannot be safe when every station is blind.
    """

    def __init__(
        self,
        site: Site,
        stores: Stores,
        clock: Clock,
        settings: ControlSettings,
        gateway: ChargerGateway,
        inputs: PlanningInputs,
        settlement: Settlement,
        spending: Spending,
        metrics: ServiceMetrics,
        readiness: Readiness,
        meters_kept: timedelta | None = None,
    ) -> None:
        self._site = site
        self._stores = stores
        self._clock = clock
        self._settings = settings
        self._planner = inputs.planner
        self._settlement = settlement
        self._spending = spending
        self._metrics = metrics
        self._readiness = readiness
        self._meters_kept = meters_kept
        self._background = Background()
        self._outcome: PlanOutcome | None = None
        self._tidied_after: PlanOutcome | None = None
        self._proven: set[GridEventId] = set()
        self._controller = SiteController(
            site,
            stores,
            gateway,
            clock,
            inputs.tariffs,
            inputs.forecasts,
            inputs.assembler,
            self._plan,
            settings,
            on_session_ended=self._session_ended,
            habit=inputs.habit,
            watch_of=lambda sender: CountedWatch(site, stores, clock, sender, settings, metrics, readiness),
            recording=inputs.recording,
        )

    @property
    def site(self) -> Site:
        """Which site."""
        return self._site

    @property
    def ledger(self) -> SessionLedger:
        """Takes what stations tell."""
        return self._controller.ledger

    async def run(self) -> None:
        """Guard and plan until cancelled."""
        await self._controller.run()

    async def close(self, patience_s: float) -> None:
        """Let what is under way end, or give it up; the stores hold all that matters.

        Args:
            patience_s: How long, on the wall [s].
        """
        await self._background.close(patience_s)

    async def _plan(self, problem: ChargingProblem) -> PlanOutcome:
        outcome = await self._planner(problem)
        self._outcome = outcome
        self._metrics.saw_outcome(outcome)
        self._readiness.planned()
        return outcome

    # --- what requests and stations ask ---------------------------------------------------------------------------

    def guard_soon(self) -> None:
        """Let the guard act now instead of at its next tick."""
        self._controller.guard_soon()

    def plan_soon(self, trigger: str) -> None:
        """Let the planner plan anew now; ``trigger`` is kept with the plan."""
        self._controller.plan_soon(trigger)

    async def set_targets(self, session_id: SessionId, targets: Sequence[DepartureTarget]) -> Session:
        """Give a session the targets that somebody asked for, and plan anew."""
        return await self.ledger.set_targets(session_id, targets)

    async def close_window(self, window: Interval) -> BalanceReport:
        """Make the site's bill of ``window`` and the final records of its sessions."""
        if self._meters_kept is not None and window.start < self._clock.now() - self._meters_kept:
            raise Conflict(f"meter values are kept for {self._meters_kept.days} days; the window began before that")
        return (await self._settlement.close_window(window)).report

    async def last_outcome(self) -> PlanOutcome | None:
        """How the plan in force came about; the store is asked after a restart only."""
        if self._outcome is None:
            self._outcome = next(iter(await self._stores.plans.outcomes(self._site.id, 1)), None)
        return self._outcome

    async def may_start(self, evse_id: EvseId, token_id: TokenId) -> bool:
        """Whether a token may begin to charge at an EVSE now: it is known, and the EVSE is kept for nobody else."""
        return await self.ledger.may_start(evse_id, token_id)

    async def tracking(self) -> tuple[TrackedEvse, ...]:
        """How every EVSE follows its limit."""
        return tracked(await self._controller.sender.view(), self._settings)

    async def guard_view(self) -> GuardView:
        """What the guard knows now."""
        return await self._controller.sender.view()

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

    async def give_back_memory(self) -> None:
        """Give back what keeping and telling the newest plan took, once for each plan."""
        if self._tidied_after is not self._outcome:
            self._tidied_after = self._outcome
            await asyncio.to_thread(give_back_memory)

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
