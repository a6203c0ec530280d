"""All of control for one site, put together: book of sessions, loop, guard and the way to the stations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from optimizer.control.demand import DemandReader
from optimizer.control.guard import GuardDecision
from optimizer.control.habits import no_habit
from optimizer.control.ledger import LedgerListeners, SessionLedger
from optimizer.control.loop import Assembler, ControlLoop, Planner, Recording
from optimizer.control.observe import Sources
from optimizer.control.send import LimitSender
from optimizer.control.settings import ControlSettings
from optimizer.control.watch import SiteWatch
from optimizer.domain.ids import StationId, TokenId
from optimizer.domain.plan import PlanOutcome
from optimizer.domain.session import DepartureTarget, Session
from optimizer.domain.site import Site
from optimizer.ports import ChargerGateway, Clock, ForecastSource, Stores, TariffSource


async def _nobody(_: Session) -> None:
    """Nobody is told."""


def any_token(_: TokenId) -> bool:
    """Every token may charge."""
    return True


class SiteController:
    """Runs one site: the service calls `run`, the simulator `step` and `guard_step`.

    Args:
        site: Which site.
        stores: Everything kept.
        gateway: The stations.
        clock: Time.
        tariffs: What energy costs.
        forecasts: What building and PV are expected to do.
        assembler: States the problem of a snapshot.
        planner: Solves it.
        settings: Choices about control.
        on_session_ended: Told of each vehicle that has left, and again when its transaction was reported late.
        knows_token: Whether a token may charge at all.
        habit: What is to be expected of a driver who says nothing, by earlier stays.
        watch_of: Makes the guard's watch over what the sender sends; ``None``: a plain one.
        recording: Tells what is kept with each plan so that it can be made again; ``None``: nothing.

    Raises:
        InvalidConfiguration: The site cannot be safe when every station is blind.
    """

    def __init__(
        self,
        site: Site,
        stores: Stores,
        gateway: ChargerGateway,
        clock: Clock,
        tariffs: TariffSource,
        forecasts: ForecastSource,
        assembler: Assembler,
        planner: Planner,
        settings: ControlSettings,
        *,
        on_session_ended: Callable[[Session], Awaitable[None]] = _nobody,
        knows_token: Callable[[TokenId], bool] = any_token,
        habit: Callable[[Session], DepartureTarget | None] = no_habit,
        watch_of: Callable[[LimitSender], SiteWatch] | None = None,
        recording: Recording | None = None,
    ) -> None:
        listeners = LedgerListeners(self.plan_soon, self.guard_soon, on_session_ended, self._distrust)
        self.ledger = SessionLedger(site, stores, clock, settings, listeners, knows_token, habit)
        self.sender = LimitSender(
            site, stores, gateway, clock, settings, self.ledger.note_pauses, self.ledger.note_phases_switched
        )
        self.watch = (
            SiteWatch(site, stores, clock, self.sender, settings) if watch_of is None else watch_of(self.sender)
        )
        sources = Sources(tariffs, forecasts, DemandReader(settings.peak_hint_kw, settings.past_days))
        self.loop = ControlLoop(
            site, stores, gateway, clock, sources, assembler, planner, self.sender, self.watch, settings, recording
        )

    def plan_soon(self, trigger: str) -> None:
        """Plan anew soon; ``trigger`` is kept with the plan."""
        self.loop.request_replan(trigger)

    def guard_soon(self) -> None:
        """Let the guard look now instead of at its next tick."""
        self.watch.look_soon()

    async def step(self, trigger: str) -> PlanOutcome:
        """One control step, at once."""
        return await self.loop.step(trigger)

    async def guard_step(self) -> GuardDecision:
        """One look of the guard, at once."""
        return await self.watch.guard_step()

    async def run(self) -> None:
        """Keep loop and guard going until cancelled."""
        try:
            await self.loop.run()
        finally:
            await self.sender.close()

    async def _distrust(self, station_id: StationId) -> None:
        await self.sender.distrust(station_id)
