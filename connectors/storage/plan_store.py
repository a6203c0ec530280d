"""Plans and how they came about."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Connection, delete, literal, select, tuple_

from connectors.storage.codec import outcome_text, outcome_value
from connectors.storage.statements import fetched, insert_new
from connectors.storage.tables import PLAN_OUTCOME
from connectors.storage.transactions import Transactions
from optimizer.domain.ids import SiteId
from optimizer.domain.plan import Plan, PlanOutcome

_NEWEST_FIRST = (PLAN_OUTCOME.c.made_at.desc(), PLAN_OUTCOME.c.sequence.desc())


class DatabasePlanStore:
    """Keeps the newest plans of each site (port `PlanStore`).

    Args:
        transactions: The way to the database.
        kept_plans: How many plans of a site are kept; older ones are deleted as new ones come.
    """

    def __init__(self, transactions: Transactions, kept_plans: int) -> None:
        self._transactions = transactions
        self._kept_plans = kept_plans

    async def save_outcome(self, outcome: PlanOutcome, trigger: str) -> None:
        """Keep a plan with its outcome and what triggered it; a repeat of the plan's id changes nothing."""
        kind, body = outcome_text(outcome)
        row = {
            "plan_id": outcome.plan.id,
            "site_id": outcome.plan.site_id,
            "made_at": outcome.plan.made_at,
            "kind": kind,
            "trigger": trigger,
            "body": body,
        }
        await self._transactions.write(partial(_save_outcome, row=row, kept_plans=self._kept_plans))

    async def latest_plan(self, site_id: SiteId) -> Plan | None:
        """The newest plan."""
        newest = await self.outcomes(site_id, 1)
        return newest[0].plan if newest else None

    async def outcomes(self, site_id: SiteId, limit: int) -> tuple[PlanOutcome, ...]:
        """The newest outcomes, newest first."""
        query = (
            select(PLAN_OUTCOME.c.kind, PLAN_OUTCOME.c.body)
            .where(PLAN_OUTCOME.c.site_id == site_id)
            .order_by(*_NEWEST_FIRST)
            .limit(limit)
        )
        return await self._transactions.read(
            partial(fetched, query=query, convert=lambda row: outcome_value(row.kind, row.body))
        )


def _save_outcome(connection: Connection, row: dict[str, object], kept_plans: int) -> None:
    insert_new(connection, PLAN_OUTCOME, row)
    of_site = PLAN_OUTCOME.c.site_id == row["site_id"]
    place = (PLAN_OUTCOME.c.made_at, PLAN_OUTCOME.c.sequence)
    oldest_kept = connection.execute(
        select(*place).where(of_site).order_by(*_NEWEST_FIRST).offset(kept_plans - 1).limit(1)
    ).first()
    if oldest_kept is not None:
        bound = tuple_(*(literal(value, column.type) for value, column in zip(oldest_kept, place, strict=True)))
        connection.execute(delete(PLAN_OUTCOME).where(of_site, tuple_(*place) < bound))
