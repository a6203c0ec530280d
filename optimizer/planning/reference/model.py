"""The charging problem as a Pyomo model: what one reads beside formulation.md, and extends with laws of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pyomo.environ import ConcreteModel, Constraint, Var

from optimizer.planning.problem import ChargingProblem
from optimizer.planning.reference.given import Given, GivenScope
from optimizer.planning.reference.objectives import state_objectives
from optimizer.planning.reference.pattern import minimum_current, run_pattern
from optimizer.planning.reference.site import battery, demand_peak, no_arbitrage, site_balance
from optimizer.planning.reference.vehicle import (
    departure_target,
    energy_balance,
    power_limit,
    reservation_floor,
    taper,
)
from optimizer.planning.reference.wires import circuit_limit, grid_limit, phase_imbalance
from optimizer.planning.scope import ModelScope, linear_scope, near_scope
from optimizer.planning.settings import PlanningSettings

ReferenceLaw = Callable[[Any, Given, GivenScope], None]

REFERENCE_LAWS: dict[str, ReferenceLaw] = {
    "power_limit": power_limit,
    "minimum_current": minimum_current,
    "energy_balance": energy_balance,
    "departure_target": departure_target,
    "taper": taper,
    "battery": battery,
    "site_balance": site_balance,
    "grid_limit": grid_limit,
    "circuit_limit": circuit_limit,
    "phase_imbalance": phase_imbalance,
    "demand_peak": demand_peak,
    "no_arbitrage": no_arbitrage,
    "run_pattern": run_pattern,
    "reservation_floor": reservation_floor,
}
"""Every law by name, in the order in which a model states them."""


def reference_model(
    problem: ChargingProblem, settings: PlanningSettings | None = None, scope: ModelScope | None = None
) -> ConcreteModel:
    """Return the problem as a Pyomo model, its money stage as the objective.

    Columns and rows are indexed by the names of vehicles, circuits and charges and the numbers of slots:
    ``model.power_kw["car1", 3]``. Add a law as any Pyomo constraint, then call `solve_reference`.

    Args:
        problem: What is to be planned.
        settings: The operator's choices; the defaults where ``None``.
        scope: What is decided in whole numbers; ``None``: the minimum current on all slots and whole steps on the near
            ones, or nothing where ``settings.minimum_current`` is off.
    """
    chosen = settings if settings is not None else PlanningSettings()
    given = Given(problem)
    model = ConcreteModel(name=str(problem.site_id))
    model.given, model.settings = given, chosen
    decided = GivenScope(given, scope if scope is not None else _scope(problem, chosen))
    for law in REFERENCE_LAWS.values():
        law(model, given, decided)
    state_objectives(model, given)
    return model


def _scope(problem: ChargingProblem, settings: PlanningSettings) -> ModelScope:
    if not settings.minimum_current:
        return linear_scope(problem)
    return near_scope(problem, settings.near_slots, np.ones(problem.sessions.count, dtype=bool))


def name_of(component: Any) -> str:
    """The name of a column or row as the matrix has it, for example ``power_kw[car1,3]``."""
    key = component.index()
    keys = key if isinstance(key, tuple) else (key,)
    return f"{component.parent_component().local_name}[{','.join(map(str, keys))}]"


def columns_of(model: Any) -> list[Any]:
    """All columns of a model."""
    return [column for block in model.component_objects(Var, active=True) for column in block.values()]


def rows_of(model: Any) -> list[Any]:
    """All rows of a model."""
    return [row for block in model.component_objects(Constraint, active=True) for row in block.values()]
