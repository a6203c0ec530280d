"""Sums of columns as laws write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from pyomo.core.expr import LinearExpression
from pyomo.environ import Var, inequality

from optimizer.planning.reference.given import Given


def total(*parts: Iterable[Any]) -> Any:
    """The sum of all terms of all parts; an empty one is a sum, too, and not the number 0."""
    return LinearExpression([term for part in parts for term in part])


def between(lower: float, body: Any, upper: float) -> Any:
    """``lower <= body <= upper``, where an infinite bound is none."""
    if lower == upper:
        return body == lower
    return inequality(None if lower == -inf else lower, body, None if upper == inf else upper)


def of_slot(column: Any, t: int, weight: float = 1.0) -> list[Any]:
    """``weight * column[t]`` where there is such a column."""
    return [weight * column[t]] if t in column else []


def charging(model: Any, given: Given, s: str, weights: Mapping[int, float]) -> list[Any]:
    """A session's charging power in all its modes, each slot with its weight."""
    return [
        weight * model.power_kw[m, t]
        for t, weight in weights.items()
        for m in given.modes_of[s]
        if (m, t) in model.power_kw
    ]


def discharging(model: Any, s: str, weights: Mapping[int, float]) -> list[Any]:
    """A session's discharging power where it may discharge, each slot with its weight."""
    return [weight * model.discharge_kw[s, t] for t, weight in weights.items() if (s, t) in model.discharge_kw]


def circuit_load(
    model: Any,
    given: Given,
    c: str,
    t: int,
    *,
    weight: Mapping[str, float] | None = None,
    site_weight: float = 1.0,
    outward: bool = True,
) -> list[Any]:
    """The controllable load below a circuit: vehicles, and at the root the battery.

    Args:
        model: The model so far.
        given: The problem.
        c: Which circuit.
        t: Which slot.
        weight: Weight of each mode's power; ``None``: 1. Discharging counts with that of the session's first mode.
        site_weight: Weight of the battery's power.
        outward: Whether discharging counts against charging.
    """
    terms = []
    for s in given.sessions_below[c]:
        for m in given.modes_of[s]:
            if (m, t) in model.power_kw:
                terms.append((1.0 if weight is None else weight[m]) * model.power_kw[m, t])
        if outward:
            terms += discharging(model, s, {t: -1.0 if weight is None else -weight[given.modes_of[s][0]]})
    if c == given.root and given.battery is not None:
        terms.append(site_weight * model.battery_charge_kw[t])
        if outward:
            terms.append(-site_weight * model.battery_discharge_kw[t])
    return terms


def excess(bounds: Mapping[Any, float]) -> Any:
    """Columns for what exceeds a limit without any plan, each up to that excess; none where the limit is kept."""
    beyond = {key: bound for key, bound in bounds.items() if bound > 0}
    return Var(list(beyond), bounds=lambda _model, *key: (0.0, beyond[key if len(key) > 1 else key[0]]))


def excess_at(column: Any, key: Any, weight: float) -> list[Any]:
    """``weight`` times the excess column of a row, where it has one."""
    return [weight * column[key]] if key in column else []
