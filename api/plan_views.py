"""What the HTTP API gives of plans."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from api.views import AnswerModel
from optimizer.domain.plan import (
    BindingKind,
    Fallback,
    FeasibleAtLimit,
    Plan,
    PlanOutcome,
    ProvenOptimal,
    SessionPlan,
    Shortfall,
)
from optimizer.domain.site import LimitSource, Phase


class ReasonView(AnswerModel):
    """Why a session's power is what it is."""

    kind: BindingKind
    """Which limit, price or target binds."""
    circuit_id: str | None
    """Which circuit."""
    phase: Phase | None
    """Which phase."""
    source: LimitSource | None
    """Who set the limit."""


class SessionPlanView(AnswerModel):
    """Planned power of one session."""

    session_id: str
    """Which session."""
    evse_id: str
    """At which EVSE."""
    power_kw: list[float]
    """One a slot, discharge negative [kW]."""
    energy_kwh: list[float]
    """Delivered since plug-in, one a boundary [kWh]."""
    reasons: list[ReasonView]
    """What binds, one a slot."""

    @classmethod
    def of(cls, plan: SessionPlan) -> Self:
        """The view of a session's plan."""
        return cls(
            session_id=plan.session_id,
            evse_id=plan.evse_id,
            power_kw=list(plan.power_kw),
            energy_kwh=list(plan.energy_kwh),
            reasons=[
                ReasonView(kind=one.kind, circuit_id=one.circuit_id, phase=one.phase, source=one.source)
                for one in plan.reasons
            ],
        )


class ShortfallView(AnswerModel):
    """Target energy that the plan does not deliver."""

    session_id: str
    """Which session."""
    depart_at: datetime
    """Which of its targets."""
    tier: int
    """Priority, 0 first."""
    unserved_kwh: float
    """Energy missing at that time [kWh]."""
    unavoidable_kwh: float
    """Part that no plan could have delivered [kWh]."""
    unavoidable_since: datetime | None
    """Since when that part was out of reach."""

    @classmethod
    def of(cls, shortfall: Shortfall) -> Self:
        """The view of a shortfall."""
        return cls(
            session_id=shortfall.session_id,
            depart_at=shortfall.depart_at,
            tier=shortfall.tier.value,
            unserved_kwh=shortfall.unserved_kwh,
            unavoidable_kwh=shortfall.unavoidable_kwh,
            unavoidable_since=shortfall.unavoidable_since,
        )


class OutcomeView(AnswerModel):
    """How a plan came about."""

    plan_id: str
    """Which plan."""
    made_at: datetime
    """When."""
    outcome: str
    """proven_optimal, feasible_at_limit or fallback."""
    gap: float | None
    """Relative gap to the proven bound; null for a heuristic."""
    heuristic: str | None
    """Which heuristic; null for a solver's plan."""
    reason: str | None
    """Why the solver's answer was not used."""
    build_s: float
    """Building the model [s]."""
    solve_s: float
    """Solver's own time [s]."""
    total_s: float
    """From problem to plan [s]."""
    money: float
    """Expected cost over the horizon [currency]."""
    unserved_kwh: float
    """Target energy that the plan does not deliver [kWh]."""

    @classmethod
    def of(cls, outcome: PlanOutcome) -> Self:
        """The view of an outcome."""
        fallback = outcome if isinstance(outcome, Fallback) else None
        return cls(
            plan_id=outcome.plan.id,
            made_at=outcome.plan.made_at,
            outcome=outcome_name(outcome),
            gap=None if isinstance(outcome, Fallback) else outcome.gap,
            heuristic=fallback.heuristic if fallback else None,
            reason=fallback.reason if fallback else None,
            build_s=outcome.figures.build_s,
            solve_s=outcome.figures.solve_s,
            total_s=outcome.figures.total_s,
            money=outcome.plan.money,
            unserved_kwh=sum(short.unserved_kwh for short in outcome.plan.shortfalls),
        )


def outcome_name(outcome: PlanOutcome) -> str:
    """Name of an outcome's kind in JSON and metrics."""
    match outcome:
        case ProvenOptimal():
            return "proven_optimal"
        case FeasibleAtLimit():
            return "feasible_at_limit"
        case Fallback():
            return "fallback"


class OutcomeListView(AnswerModel):
    """Outcomes, newest first."""

    plans: list[OutcomeView]
    """The outcomes."""


class PlanView(AnswerModel):
    """Power per session over the horizon: one value a slot, contents one a boundary."""

    id: str
    """Unique."""
    site_id: str
    """Where."""
    made_at: datetime
    """When."""
    boundaries: list[datetime]
    """N+1 instants, the first is when it was made."""
    sessions: list[SessionPlanView]
    """One a session."""
    grid_import_kw: list[float]
    """Import [kW]."""
    grid_export_kw: list[float]
    """Export [kW]."""
    battery_kw: list[float]
    """Battery charging, discharge negative [kW]."""
    pv_kw: list[float]
    """PV used or exported [kW]."""
    building_kw: list[float]
    """Expected building load [kW]."""
    import_price_per_kwh: list[float]
    """Price assumed [currency/kWh]."""
    marginal_price_per_kwh: list[float]
    """Cost of one more kWh [currency/kWh]; empty for a heuristic."""
    shortfalls: list[ShortfallView]
    """Targets that are missed."""
    money: float
    """Expected cost over the horizon [currency]."""
    currency: str
    """ISO 4217 code."""

    @classmethod
    def of(cls, plan: Plan, currency: str) -> Self:
        """The view of a plan."""
        return cls(
            id=plan.id,
            site_id=plan.site_id,
            made_at=plan.made_at,
            boundaries=list(plan.boundaries),
            sessions=[SessionPlanView.of(one) for one in plan.sessions],
            grid_import_kw=list(plan.grid_import_kw),
            grid_export_kw=list(plan.grid_export_kw),
            battery_kw=list(plan.battery_kw),
            pv_kw=list(plan.pv_kw),
            building_kw=list(plan.building_kw),
            import_price_per_kwh=list(plan.import_price_per_kwh),
            marginal_price_per_kwh=list(plan.marginal_price_per_kwh),
            shortfalls=[ShortfallView.of(one) for one in plan.shortfalls],
            money=plan.money,
            currency=currency,
        )
