"""What a replay came to. A cost never stands alone: beside it stand the offline optimum and uncontrolled."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from scenarios.foresight import actual_emissions_kg_per_kwh
from scenarios.outcomes import Course
from scenarios.replay_bill import Pricing, ReplayBill
from scenarios.scenario import Scenario


@dataclass(frozen=True)
class CourseFigures:
    """What one course came to."""

    strategy: str
    """What planned."""
    is_complete: bool
    """Whether it came to the end."""
    sessions: int
    """Stays that ended."""
    requested_kwh: float
    """Energy that the cars are known to take [kWh]."""
    delivered_kwh: float
    """Energy that they got [kWh]."""
    given_back_kwh: float
    """Energy that they gave back in between, as metered [kWh]."""
    served_share: float
    """Share of stays that got what the car takes."""
    statements_met_share: float | None
    """Share of stated stays that got what their driver asked for, or the car takes; ``None``: nobody said anything."""
    charged_kwh: float
    """Sum of all EVSE meters, cars still there included [kWh]."""
    bill: ReplayBill
    """What the imports and exports cost."""
    emissions_kg: float | None
    """Marginal emissions of the imports [kg]; ``None``: not known."""
    limit_violations: int
    """Stretches above a limit."""
    setpoint_changes: int
    """Limits that stations were sent."""
    pauses: int
    """Times that a charging car was interrupted."""
    solves: int
    """Plans made."""
    solve_s_p50: float
    """Median time of a plan [s]."""
    solve_s_p99: float
    """Time that one of a hundred plans exceeds [s]."""
    fallbacks: int
    """Plans that a heuristic had to make in the solver's place."""
    wall_s: float
    """How long the replay took [s]."""
    processor_s: float
    """Processor time that it took [s]."""
    same_energy_optimum_cost: Decimal | None = None
    """What the offline optimum pays for no more energy than was delivered here; ``None``: as good as all was."""

    @property
    def unserved_kwh(self) -> float:
        """Energy that the cars would have taken and did not get [kWh]."""
        return max(0.0, self.requested_kwh - self.delivered_kwh)

    @property
    def delivered_share(self) -> float:
        """Part of the requested energy that was delivered."""
        return self.delivered_kwh / self.requested_kwh if self.requested_kwh else 1.0


@dataclass(frozen=True)
class Baselines:
    """What every figure is held against."""

    offline_optimum: CourseFigures
    """Perfect foresight: nobody can be cheaper and deliver as much."""
    uncontrolled: CourseFigures
    """Nobody controls."""


def figures_of(course: Course, scenario: Scenario) -> CourseFigures:
    """Judge a course."""
    series = course.series
    pricing = Pricing(scenario, series.count)
    emissions_kg = None
    if scenario.emissions is not None:
        factors = actual_emissions_kg_per_kwh(scenario.emissions, series.boundaries())
        emissions_kg = float(factors @ series.import_kwh)
    stated = [met for stay in course.stays if (met := stay.statement_is_met) is not None]
    solve_s = np.array(course.planning.solve_s or (0.0,))
    return CourseFigures(
        strategy=course.strategy,
        is_complete=course.is_complete,
        sessions=len(course.stays),
        requested_kwh=sum(stay.wanted_kwh for stay in course.stays),
        delivered_kwh=sum(stay.delivered_kwh for stay in course.stays),
        given_back_kwh=sum(stay.given_back_kwh for stay in course.stays),
        served_share=_share([stay.is_served for stay in course.stays], of_none=1.0),
        statements_met_share=_share(stated, of_none=1.0) if stated else None,
        charged_kwh=float(series.charging_kwh.sum()),
        bill=pricing.bill(series.import_kwh, series.export_kwh, course.battery_drained_kwh),
        emissions_kg=emissions_kg,
        limit_violations=len(course.violations),
        setpoint_changes=course.setpoint_changes,
        pauses=sum(stay.pauses for stay in course.stays),
        solves=len(course.planning.solve_s),
        solve_s_p50=float(np.quantile(solve_s, 0.5)),
        solve_s_p99=float(np.quantile(solve_s, 0.99)),
        fallbacks=course.planning.fallbacks,
        wall_s=course.spent.wall_s,
        processor_s=course.spent.processor_s,
    )


def _share(met: list[bool], *, of_none: float) -> float:
    return sum(met) / len(met) if met else of_none


def above_optimum_share(figures: CourseFigures, baselines: Baselines) -> float:
    """How much dearer than the offline optimum, as a part of it; where less was delivered, than for that energy."""
    optimum = float(comparable_optimum_cost(figures, baselines))
    return float(figures.bill.total_cost) / optimum - 1.0 if optimum > 0 else 0.0


def comparable_optimum_cost(figures: CourseFigures, baselines: Baselines) -> Decimal:
    """What perfect foresight pays for the energy that was delivered here [currency]."""
    if figures.same_energy_optimum_cost is not None:
        return figures.same_energy_optimum_cost
    return baselines.offline_optimum.bill.total_cost


def saved_share(figures: CourseFigures, baselines: Baselines) -> float:
    """What is saved against uncontrolled, as a part of it."""
    uncontrolled = float(baselines.uncontrolled.bill.total_cost)
    return 1.0 - float(figures.bill.total_cost) / uncontrolled if uncontrolled > 0 else 0.0


def as_json(figures: CourseFigures, baselines: Baselines) -> dict[str, Any]:
    """The figures by name; money in whole cents of ``currency``."""
    bill = figures.bill
    return {
        "strategy": figures.strategy,
        "complete": figures.is_complete,
        "currency": bill.currency,
        "sessions": figures.sessions,
        "requested_kwh": round(figures.requested_kwh, 6),
        "delivered_kwh": round(figures.delivered_kwh, 6),
        "unserved_kwh": round(figures.unserved_kwh, 6),
        "given_back_kwh": round(figures.given_back_kwh, 6),
        "delivered_share": round(figures.delivered_share, 6),
        "targets_met_share": round(figures.served_share, 6),
        "stated_targets_met_share": _rounded(figures.statements_met_share),
        "peak_kw": round(bill.peak_kw, 3),
        "energy_cost": _number(bill.energy_cost),
        "export_revenue": _number(bill.export_revenue),
        "demand_cost": _number(bill.demand_cost),
        "battery_cost": _number(bill.battery_cost),
        "total_cost": _number(bill.total_cost),
        "offline_optimum_cost": _number(baselines.offline_optimum.bill.total_cost),
        "same_energy_optimum_cost": _number(comparable_optimum_cost(figures, baselines)),
        "uncontrolled_cost": _number(baselines.uncontrolled.bill.total_cost),
        "above_offline_optimum_share": round(above_optimum_share(figures, baselines), 6),
        "saved_against_uncontrolled_share": round(saved_share(figures, baselines), 6),
        "offline_optimum_peak_kw": round(baselines.offline_optimum.bill.peak_kw, 3),
        "offline_optimum_delivered_share": round(baselines.offline_optimum.delivered_share, 6),
        "uncontrolled_peak_kw": round(baselines.uncontrolled.bill.peak_kw, 3),
        "emissions_kg": _rounded(figures.emissions_kg),
        "limit_violations": figures.limit_violations,
        "setpoint_changes": figures.setpoint_changes,
        "pauses": figures.pauses,
        "solves": figures.solves,
        "solve_s_p50": round(figures.solve_s_p50, 6),
        "solve_s_p99": round(figures.solve_s_p99, 6),
        "wall_s": round(figures.wall_s, 3),
        "processor_s": round(figures.processor_s, 3),
        "fallbacks": figures.fallbacks,
    }


def _number(amount: Decimal) -> float:
    return float(amount)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
