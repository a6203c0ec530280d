"""What a plan is chosen by among those that cost the same: near the previous plan, few changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyomo.environ import Constraint, NonNegativeReals, Objective, Var, minimize

from optimizer.planning.preferences import (
    COST_POINTS,
    DISCHARGE_POINTS_PER_KWH,
    FIRST_SLOT_WEIGHT,
    SLOT_WEIGHT_H,
    START_POINTS,
    WORTH_OF_MONEY,
)
from optimizer.planning.reference.given import Given
from optimizer.planning.reference.terms import charging, total

STAGE = ("moved_kw", "moved_up", "moved_down", "raised_kw", "raised", "cost_excess", "cost_bound", "preference_points")
"""What the preference stage adds to a model."""


def state_preferences(model: Any, cost_bound: float) -> None:
    """Make preferences the objective of a model and bound what the plan may cost; a stage stated before is replaced.

    Args:
        model: A model of `reference_model`.
        cost_bound: Greatest value of the money stage's objective [currency].
    """
    forget_preferences(model)
    given, settings = model.given, model.settings
    near = [t for t in given.slots if given.slot_start_h[t] < settings.preference_hours]
    points = _moved(model, given, near) + _raised(model, given, near)
    points += [settings.prefer_steady * START_POINTS * column for column in model.start.values()]
    points += [DISCHARGE_POINTS_PER_KWH * given.slot_h[t] * column for (_, t), column in model.discharge_kw.items()]
    if given.battery is not None:
        discharge = model.battery_discharge_kw
        points += [DISCHARGE_POINTS_PER_KWH * given.slot_h[t] * discharge[t] for t in given.slots]
    model.cost_excess = Var(["money"], domain=NonNegativeReals)
    paid = model.objective.expr.args
    model.cost_bound = Constraint(
        ["money"], rule=lambda model, only: total(paid, [-1.0 * model.cost_excess[only]]) <= cost_bound
    )
    model.objective.deactivate()
    points += [COST_POINTS * term for term in paid]
    points.append(WORTH_OF_MONEY * model.cost_excess["money"])
    model.preference_points = Objective(expr=total(points), sense=minimize)


def forget_preferences(model: Any) -> None:
    """Take the preference stage out of a model again."""
    for name in STAGE:
        if model.component(name) is not None:
            model.del_component(name)
    model.objective.activate()


def _slot_weight(t: int) -> float:
    """Points of one kW in a slot; the first is the one that is sent."""
    return SLOT_WEIGHT_H * (FIRST_SLOT_WEIGHT if t == 0 else 1.0)


def _moved(model: Any, given: Given, near: Iterable[int]) -> list[Any]:
    """Points of every kW away from the previous plan.

    A previous power of zero or of all that is possible needs no column: power can move one way only from there.
    """
    sessions, worth = given.sessions, model.settings.prefer_previous
    points, between = [], {}
    for s in sessions:
        modes = given.modes_of[s]
        for t in near:
            if not sessions.has_previous[s, t] or sessions.plugged_h[s, t] <= 0:
                continue
            previous_kw, most_kw = sessions.previous_kw[s, t], max(given.modes.max_kw[m, t] for m in modes)
            if previous_kw <= 1e-6:
                points += charging(model, given, s, {t: worth * _slot_weight(t)})
            elif len(modes) == 1 and previous_kw >= most_kw - 1e-6:
                points += charging(model, given, s, {t: -worth * _slot_weight(t)})
            elif most_kw > 0:
                between[s, t] = previous_kw
    model.moved_kw = Var(list(between), domain=NonNegativeReals)

    def moved_up(model: Any, s: str, t: int) -> Any:
        return total(charging(model, given, s, {t: 1.0}), [-1.0 * model.moved_kw[s, t]]) <= between[s, t]

    def moved_down(model: Any, s: str, t: int) -> Any:
        return total(charging(model, given, s, {t: -1.0}), [-1.0 * model.moved_kw[s, t]]) <= -between[s, t]

    model.moved_up = Constraint(list(between), rule=moved_up)
    model.moved_down = Constraint(list(between), rule=moved_down)
    return points + [worth * _slot_weight(t) * column for (_, t), column in model.moved_kw.items()]


def _raised(model: Any, given: Given, near: Iterable[int]) -> list[Any]:
    """Points of every rise of power: a run that starts later or a second time rises, one that ends does not."""
    plugged_h, worth = given.sessions.plugged_h, model.settings.prefer_steady
    pairs = [
        (s, t)
        for s in given.sessions
        for t in near
        if worth > 0 and t > 0 and plugged_h[s, t] > 0 and plugged_h[s, t - 1] > 0
    ]
    model.raised_kw = Var(pairs, domain=NonNegativeReals)

    def raised(model: Any, s: str, t: int) -> Any:
        return total(charging(model, given, s, {t: 1.0, t - 1: -1.0}), [-1.0 * model.raised_kw[s, t]]) <= 0.0

    model.raised = Constraint(pairs, rule=raised)
    return [worth * SLOT_WEIGHT_H * column for column in model.raised_kw.values()]
