"""Plans and how they came about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from hashlib import sha256

from sqlalchemy import Connection, delete, literal, select, tuple_

from connectors.storage.codec import GROUND_JSON, StepGround, StoredStep, outcome_text, outcome_value, step_text
from connectors.storage.statements import fetched, insert_new
from connectors.storage.tables import CONTROL_GROUND, CONTROL_STEP, PLAN_OUTCOME
from connectors.storage.transactions import Transactions
from optimizer.domain.ids import PlanId, SiteId
from optimizer.domain.plan import Plan, PlanOutcome
from optimizer.domain.snapshot import SeenStep

_NEWEST_FIRST = (PLAN_OUTCOME.c.made_at.desc(), PLAN_OUTCOME.c.sequence.desc())


@dataclass(frozen=True)
class RecordedStep:
    """What one control step saw and decided."""

    seen: SeenStep
    """All that the plan follows from."""
    outcome: PlanOutcome
    """What it decided."""
    trigger: str
    """What led to it."""


class DatabasePlanStore:
    """Keeps the newest plans of each site (port `PlanStore`).

    Args:
        transactions: The way to the database.
        kept_plans: How many plans of a site are kept; older ones are deleted as new ones come.
    """

    def __init__(self, transactions: Transactions, kept_plans: int) -> None:
        self._transactions = transactions
        self._kept_plans = kept_plans
        self._saved: dict[SiteId, Plan] = {}

    async def save_outcome(self, outcome: PlanOutcome, trigger: str, seen: SeenStep | None = None) -> None:
        """Keep a plan with its outcome, trigger and what it follows from; a repeat of its id changes nothing."""
        kind, body = outcome_text(outcome)
        row = {
            "plan_id": outcome.plan.id,
            "site_id": outcome.plan.site_id,
            "made_at": outcome.plan.made_at,
            "kind": kind,
            "trigger": trigger,
            "body": body,
        }
        await self._transactions.write(partial(_save_outcome, row=row, seen=seen, kept_plans=self._kept_plans))
        self._saved[outcome.plan.site_id] = outcome.plan

    async def latest_plan(self, site_id: SiteId) -> Plan | None:
        """The newest plan; the one that was saved last is not read again, for it may hold thousands of vehicles."""
        saved = self._saved.get(site_id)
        newest_id = select(PLAN_OUTCOME.c.plan_id).where(PLAN_OUTCOME.c.site_id == site_id)
        newest_id = newest_id.order_by(*_NEWEST_FIRST).limit(1)
        if saved is not None and saved.id == await self._transactions.read(lambda lane: lane.scalar(newest_id)):
            return saved
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

    async def recorded_plans(self, site_id: SiteId, start: datetime, end: datetime) -> tuple[PlanId, ...]:
        """Plans made in ``[start, end)`` of which is known what they follow from, by time."""
        query = (
            select(CONTROL_STEP.c.plan_id)
            .join(PLAN_OUTCOME, PLAN_OUTCOME.c.plan_id == CONTROL_STEP.c.plan_id)
            .where(CONTROL_STEP.c.site_id == site_id, CONTROL_STEP.c.made_at >= start, CONTROL_STEP.c.made_at < end)
            .order_by(PLAN_OUTCOME.c.made_at, PLAN_OUTCOME.c.sequence)
        )
        return await self._transactions.read(partial(fetched, query=query, convert=lambda row: PlanId(row.plan_id)))

    async def recorded_step(self, plan_id: PlanId) -> RecordedStep | None:
        """A plan with what it follows from; ``None`` where that, or the plan before it, is not kept any more."""
        return await self._transactions.read(partial(_recorded_step, plan_id=plan_id))


def _recorded_step(connection: Connection, plan_id: PlanId) -> RecordedStep | None:
    query = (
        select(PLAN_OUTCOME.c.kind, PLAN_OUTCOME.c.trigger, PLAN_OUTCOME.c.body.label("outcome"))
        .add_columns(CONTROL_STEP.c.body.label("step"), CONTROL_GROUND.c.body.label("ground"))
        .join(CONTROL_STEP, CONTROL_STEP.c.plan_id == PLAN_OUTCOME.c.plan_id)
        .join(CONTROL_GROUND, CONTROL_GROUND.c.ground_hash == CONTROL_STEP.c.ground_hash)
        .where(PLAN_OUTCOME.c.plan_id == plan_id)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    body, previous = StoredStep.of(row.step), None
    if body.previous_plan_id is not None:
        before = select(PLAN_OUTCOME.c.kind, PLAN_OUTCOME.c.body).where(PLAN_OUTCOME.c.plan_id == body.previous_plan_id)
        kept = connection.execute(before).first()
        if kept is None:
            return None
        previous = outcome_value(kept.kind, kept.body).plan
    return RecordedStep(
        body.seen(GROUND_JSON.value(row.ground), previous), outcome_value(row.kind, row.outcome), row.trigger
    )


def _save_outcome(connection: Connection, row: dict[str, object], seen: SeenStep | None, kept_plans: int) -> None:
    is_new = insert_new(connection, PLAN_OUTCOME, row)
    if seen is not None and is_new:
        _save_seen(connection, row, seen)
    of_site = PLAN_OUTCOME.c.site_id == row["site_id"]
    place = (PLAN_OUTCOME.c.made_at, PLAN_OUTCOME.c.sequence)
    oldest_kept = connection.execute(
        select(*place).where(of_site).order_by(*_NEWEST_FIRST).offset(kept_plans - 1).limit(1)
    ).first()
    if oldest_kept is not None:
        bound = tuple_(*(literal(value, column.type) for value, column in zip(oldest_kept, place, strict=True)))
        connection.execute(delete(PLAN_OUTCOME).where(of_site, tuple_(*place) < bound))
        older = (CONTROL_STEP.c.site_id == row["site_id"]) & (CONTROL_STEP.c.made_at < oldest_kept.made_at)
        connection.execute(delete(CONTROL_STEP).where(older))


def _save_seen(connection: Connection, row: dict[str, object], seen: SeenStep) -> None:
    """Keep what a plan follows from; what many steps share is kept once, and let go with the last of them."""
    shared = GROUND_JSON.text(StepGround.of(seen))
    ground_hash = sha256(shared.encode()).hexdigest()
    step = {name: row[name] for name in ("plan_id", "site_id", "made_at")}
    step |= {"ground_hash": ground_hash, "body": step_text(seen)}
    insert_new(connection, CONTROL_STEP, step)
    if insert_new(connection, CONTROL_GROUND, {"ground_hash": ground_hash, "body": shared}):
        in_use = select(CONTROL_STEP.c.ground_hash)
        connection.execute(delete(CONTROL_GROUND).where(CONTROL_GROUND.c.ground_hash.not_in(in_use)))
