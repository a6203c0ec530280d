"""What planning returns: power per session and slot, how good it is, what is short and why."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from optimizer.domain.ids import CircuitId, EvseId, PlanId, SessionId, SiteId
from optimizer.domain.session import PriorityTier
from optimizer.domain.site import LimitSource, Phase


class BindingKind(StrEnum):
    """What keeps a session from charging faster in a slot."""

    CHARGER_LIMIT = "charger_limit"
    VEHICLE_LIMIT = "vehicle_limit"
    SITE_LIMIT = "site_limit"
    CIRCUIT_LIMIT = "circuit_limit"
    PHASE_IMBALANCE = "phase_imbalance"
    PRICE = "price"
    DEMAND_PEAK = "demand_peak"
    PRIORITY = "priority"
    TAPER = "taper"
    MINIMUM_CURRENT = "minimum_current"
    WAITING_FOR_PV = "waiting_for_pv"
    DEPARTURE_REACHED = "departure_reached"
    TARGET_REACHED = "target_reached"
    GRID_EVENT = "grid_event"
    NOT_YET_THERE = "not_yet_there"


@dataclass(frozen=True, slots=True)
class BindingReason:
    """Why a session's power is what it is in one slot."""

    kind: BindingKind
    """Which limit, price or target binds."""
    circuit_id: CircuitId | None = None
    """Which circuit, for circuit limits."""
    phase: Phase | None = None
    """Which phase, for limits in ampere."""
    source: LimitSource | None = None
    """Who set the limit."""


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """Planned power of one session."""

    session_id: SessionId
    """Which session; a reservation's id for a vehicle still to come."""
    evse_id: EvseId
    """At which EVSE."""
    power_kw: tuple[float, ...]
    """Net charging power, discharge negative, one a slot [kW]."""
    energy_kwh: tuple[float, ...]
    """Energy delivered since plug-in, one a boundary [kWh]."""
    reasons: tuple[BindingReason, ...]
    """What binds, one a slot."""
    phases_used: tuple[int, ...] = ()
    """Phases in use where they are switchable, one a slot; empty otherwise."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Target energy that the plan does not deliver."""

    session_id: SessionId
    """Which session."""
    depart_at: datetime
    """Which of its targets [UTC]."""
    tier: PriorityTier
    """Priority of the session."""
    unserved_kwh: float
    """Energy missing at that time [kWh]."""
    unavoidable_kwh: float = 0.0
    """Part that no plan could have delivered, at full power from now on [kWh]."""
    unavoidable_since: datetime | None = None
    """Since when that part was out of reach [UTC]."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Power per session over the horizon."""

    id: PlanId
    """Unique."""
    site_id: SiteId
    """Where."""
    made_at: datetime
    """When [UTC]."""
    boundaries: tuple[datetime, ...]
    """N+1 instants, the first is now [UTC]."""
    sessions: tuple[SessionPlan, ...]
    """One a session."""
    grid_import_kw: tuple[float, ...]
    """Import, one a slot [kW]."""
    grid_export_kw: tuple[float, ...]
    """Export, one a slot [kW]."""
    battery_kw: tuple[float, ...]
    """Battery charging, discharge negative, one a slot [kW]; zeros without a battery."""
    pv_kw: tuple[float, ...]
    """PV used or exported, one a slot [kW]."""
    building_kw: tuple[float, ...]
    """Expected building load, one a slot [kW]."""
    import_price_per_kwh: tuple[float, ...]
    """Price assumed, one a slot."""
    shortfalls: tuple[Shortfall, ...]
    """Targets that are missed."""
    marginal_price_per_kwh: tuple[float, ...] = ()
    """Cost of one more kWh in the slot, from the final LP; empty for a heuristic."""
    money: float = 0.0
    """Expected cost over the horizon [currency]."""

    def slot_at(self, instant: datetime) -> int | None:
        """The slot that holds an instant; ``None``: the plan has run out, or has not begun."""
        index = bisect_right(self.boundaries, instant) - 1
        return index if 0 <= index < len(self.boundaries) - 1 else None

    def session_plan(self, session_id: SessionId) -> SessionPlan | None:
        """The plan of one session."""
        return next((plan for plan in self.sessions if plan.session_id == session_id), None)


@dataclass(frozen=True, slots=True)
class SolveFigures:
    """How long planning took and how large it was."""

    build_s: float
    """Building the model [s]."""
    solve_s: float
    """Solver's own time [s]."""
    total_s: float
    """From problem to plan [s]."""
    rows: int
    """Rows of the model."""
    columns: int
    """Columns of the model."""
    solves: int = 1
    """Solver calls."""
    cut_short: int = 0
    """Solver calls that a time limit ended; where there is one, the plan depends on the speed of the machine."""
    tape: str = ""
    """What these calls gave, as text, with which the plan can be made again; empty where there are none."""


@dataclass(frozen=True, slots=True)
class ProvenOptimal:
    """The plan is optimal within the stated gap."""

    plan: Plan
    """The plan."""
    objective: float
    """Value of the money stage [currency]."""
    gap: float
    """Proven relative gap."""
    figures: SolveFigures
    """Time and size."""


@dataclass(frozen=True, slots=True)
class FeasibleAtLimit:
    """The time limit came first; the plan keeps every law but may not be the cheapest."""

    plan: Plan
    """The plan."""
    objective: float
    """Value of the money stage [currency]."""
    bound: float
    """Best proven lower bound [currency]."""
    gap: float
    """Relative gap between the two."""
    figures: SolveFigures
    """Time and size."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """A heuristic made the plan."""

    plan: Plan
    """The plan."""
    heuristic: str
    """Which heuristic."""
    reason: str
    """Why the solver's answer was not used."""
    figures: SolveFigures
    """Time and size."""


PlanOutcome = ProvenOptimal | FeasibleAtLimit | Fallback
