"""Plans and how they came about."""

from __future__ import annotations

from api.auth import Scope
from api.operations import Call, Operation, Reply
from api.plan_views import OutcomeListView, OutcomeView, PlanView
from api.schemas import PlanFilter
from optimizer.errors import NotFound


async def plans(call: Call, query: PlanFilter) -> Reply[OutcomeListView]:
    """List the newest plans: how each came about, how good it is, what is short."""
    outcomes = await call.service.stores.plans.outcomes(call.service.site.id, query.limit)
    return Reply(OutcomeListView(plans=[OutcomeView.of(outcome) for outcome in outcomes]))


async def latest(call: Call) -> Reply[PlanView]:
    """Show the plan in force, slot by slot, with what binds in each."""
    plan = await call.service.stores.plans.latest_plan(call.service.site.id)
    if plan is None:
        raise NotFound("plan", "latest")
    return Reply(PlanView.of(plan, call.service.site.currency))


OPERATIONS = (
    Operation("GET", "/v1/plans", plans, Scope.READ),
    Operation("GET", "/v1/plans/latest", latest, Scope.READ),
)
