"""Whether the service does its work: what /readyz answers."""

from __future__ import annotations

from datetime import datetime

from optimizer.domain.ids import SiteId
from optimizer.errors import ChargeHorizonError
from optimizer.ports import Clock, Stores


class Readiness:
    """Remembers when the periodic work was last done, and says what is late.

    Args:
        site_id: The site.
        stores: Asked whether the database answers.
        clock: The service's clock.
        greatest_guard_age_s: Age of the last guard step above which the service is not ready [s].
        greatest_plan_age_s: Age of the last plan above which the service is not ready [s].
    """

    def __init__(
        self,
        site_id: SiteId,
        stores: Stores,
        clock: Clock,
        *,
        greatest_guard_age_s: float,
        greatest_plan_age_s: float,
    ) -> None:
        self._site_id = site_id
        self._stores = stores
        self._clock = clock
        self._greatest_guard_age_s = greatest_guard_age_s
        self._greatest_plan_age_s = greatest_plan_age_s
        self.stopping = False
        self.guarded_at: datetime | None = None
        self.planned_at: datetime | None = None

    def guarded(self) -> None:
        """A guard step has been done just now."""
        self.guarded_at = self._clock.now()

    def planned(self) -> None:
        """A control step has been done just now."""
        self.planned_at = self._clock.now()

    async def shortcomings(self) -> tuple[str, ...]:
        """What keeps the service from being ready; empty when it is."""
        found = ["the service is stopping"] if self.stopping else []
        found += self._too_old("guard step", self.guarded_at, self._greatest_guard_age_s)
        found += self._too_old("plan", self.planned_at, self._greatest_plan_age_s)
        try:
            await self._stores.sessions.sessions(self._site_id, limit=1)
        except ChargeHorizonError as error:
            found.append(f"the database does not answer: {error}")
        return tuple(found)

    def _too_old(self, what: str, last: datetime | None, greatest_age_s: float) -> list[str]:
        if last is None:
            return [f"there has been no {what} yet"]
        age_s = (self._clock.now() - last).total_seconds()
        return [f"the last {what} is {age_s:.0f} s old"] if age_s > greatest_age_s else []
