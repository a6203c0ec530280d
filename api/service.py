"""What the routes see of the running service: ports, and the few things they may ask of the control loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from api.auth import KeyRing
from api.metrics import ServiceMetrics
from api.readiness import Readiness
from optimizer.control.track import TrackedEvse
from optimizer.costing.balance import BalanceReport
from optimizer.domain.cost import SiteBill
from optimizer.domain.ids import EvseId, SessionId, TokenId
from optimizer.domain.moment import Interval
from optimizer.domain.plan import PlanOutcome
from optimizer.domain.session import DepartureTarget, Session
from optimizer.domain.site import Site
from optimizer.operator_ports import StationOperator, StationReporter
from optimizer.ports import ChargerGateway, Clock, Stores, TariffSource


class SiteControl(Protocol):
    """What a request may ask of the control loop. The two ``*_soon`` return at once."""

    def guard_soon(self) -> None:
        """Let the guard act now instead of at its next tick."""
        ...

    def plan_soon(self, trigger: str) -> None:
        """Let the planner plan anew now; ``trigger`` is kept with the plan."""
        ...

    async def set_targets(self, session_id: SessionId, targets: Sequence[DepartureTarget]) -> Session:
        """Give a session the targets that somebody asked for, and plan anew.

        Raises:
            NotFound: There is no such session.
        """
        ...

    async def close_window(self, window: Interval) -> BalanceReport:
        """Make the site's bill of ``window`` and the final records of its sessions.

        Raises:
            InvalidInput: It is not one of the billing windows.
            Conflict: The window cannot be closed yet.
        """
        ...

    async def last_outcome(self) -> PlanOutcome | None:
        """How the plan in force came about; ``None``: there is none yet."""
        ...

    async def may_start(self, evse_id: EvseId, token_id: TokenId) -> bool:
        """Whether a token may begin to charge at an EVSE now: it is known, and the EVSE is kept for nobody else."""
        ...

    async def tracking(self) -> tuple[TrackedEvse, ...]:
        """How every EVSE follows its limit."""
        ...

    async def cost_so_far(self) -> SiteBill | None:
        """The bill of the running billing window so far; ``None``: the site meter has said nothing yet."""
        ...


class AuditTrail(Protocol):
    """Keeps who changed what."""

    async def note(self, actor: str, action: str, subject: str) -> None:
        """Keep that ``actor`` did ``action`` to ``subject``."""
        ...


@dataclass(frozen=True)
class Service:
    """Everything that answers requests."""

    site: Site
    """What stands there."""
    clock: Clock
    """The service's time."""
    stores: Stores
    """Everything kept."""
    gateway: ChargerGateway
    """The stations."""
    operator: StationOperator
    """Carries out what operators ask of stations."""
    reporter: StationReporter
    """Tells how stations fare."""
    tariffs: TariffSource
    """What energy costs."""
    control: SiteControl
    """The control loop."""
    keys: KeyRing
    """Who may call."""
    audit: AuditTrail
    """Who changed what."""
    metrics: ServiceMetrics
    """What is counted."""
    readiness: Readiness
    """Whether the work is done in time."""
