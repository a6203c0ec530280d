"""A first basis for the linear problem: every vehicle takes its cheapest slots, as if it were alone.

It costs a sort and spares the simplex method a third to two thirds of its steps. Nobody's cost can be lowered from
there without breaking a need, so the basis is dual feasible but for batteries; the dual method then only has to mend
what vehicles together exceed.
"""

from __future__ import annotations

import numpy as np

from optimizer.planning.highs import AT_LOWER, AT_UPPER, BASIC, Basis
from optimizer.planning.laws.vehicle import FAIRNESS_STEPS
from optimizer.planning.model import LinearModel
from optimizer.planning.problem import ChargingProblem, FloatArray, IntArray


def greedy_basis(problem: ChargingProblem, model: LinearModel, cost: FloatArray) -> Basis:
    """Return the basis of everyone's cheapest slots; it need not be one in the strict sense, the solver completes it.

    Args:
        problem: The problem.
        model: Its linear model.
        cost: Objective of each column of ``model``.
    """
    columns = np.full(model.column_count, AT_LOWER, dtype=np.int64)
    rows = np.full(model.row_count, BASIC, dtype=np.int64)
    # Balances hold by what follows from the others: exchange with the grid, contents.
    for law, follows in (
        ("site_balance", "grid_import_kw"),
        ("battery", "battery_kwh"),
        ("stored_energy", "stored_kwh"),
    ):
        if law in model.rows:
            block = model.columns[follows]
            later = block.keys[-1] > 0 if follows != "grid_import_kw" else np.ones(block.count, dtype=bool)
            columns[block.indices[later]] = BASIC
            rows[model.rows[law].span] = AT_LOWER
    if "pv_kw" in model.columns:
        columns[model.columns["pv_kw"].span] = AT_UPPER
    if "departure_target" in model.rows:
        _serve(problem, model, cost, (columns, rows))
    return Basis(columns, rows)


def _serve(problem: ChargingProblem, model: LinearModel, cost: FloatArray, statuses: tuple[IntArray, IntArray]) -> None:
    """Put each session's cheapest slots at their most, one between, and what cannot be had into unserved energy."""
    columns, rows = statuses
    need, target_row, target = _greatest_needs(problem, model)
    wanted = np.minimum(need, problem.sessions.most_kwh)
    power = model.columns["power_kw"]
    place, session, energy_kwh = _cheapest_first(problem, model, cost)
    taken = np.concatenate(([0.0], np.cumsum(energy_kwh)))
    begins = np.searchsorted(session, np.arange(problem.sessions.count + 1))
    with_it = taken[1:] - taken[begins[session]]
    whole = with_it <= wanted[session]
    between = ~whole & (with_it - energy_kwh < wanted[session]) & (target_row[session] >= 0)
    columns[power.indices[place[whole]]] = AT_UPPER
    columns[power.indices[place[between]]] = BASIC
    got = np.minimum(taken[begins[1:]] - taken[begins[:-1]], wanted)
    served = target_row >= 0
    rows[target_row[served]] = AT_LOWER
    short = served & (got < need - 1e-9)
    if "energy_balance" in model.rows:
        full = session[between & short[session]]
        rows[model.rows["energy_balance"].indices[full]] = AT_UPPER
    unserved = model.columns["unserved_kwh"].grid(len(problem.targets.due_kwh), FAIRNESS_STEPS)
    size = model.upper[unserved[target[short]]]
    step = (np.cumsum(size, axis=1) <= (need - got)[short, None]).sum(axis=1)
    step = np.minimum(step, (size > 0).sum(axis=1) - 1)
    for earlier in range(FAIRNESS_STEPS):
        columns[unserved[target[short][step > earlier], earlier]] = AT_UPPER
    columns[unserved[target[short], step]] = BASIC
    # Nobody is between two slots who has all of them: the row's own slack stays where nothing else is basic.
    lone = served & ~short
    lone[session[between]] = False
    rows[target_row[lone]] = BASIC


def _greatest_needs(problem: ChargingProblem, model: LinearModel) -> tuple[FloatArray, IntArray, IntArray]:
    """Of each session the greatest need [kWh], the row of that target, -1 for none, and its number."""
    block = model.rows["departure_target"]
    (target,) = block.keys
    order = np.argsort(problem.targets.due_kwh[target], kind="stable")
    session = problem.targets.session[target[order]]
    row = np.full(problem.sessions.count, -1, dtype=np.int64)
    number = np.zeros(problem.sessions.count, dtype=np.int64)
    need = np.zeros(problem.sessions.count)
    row[session], number[session] = block.indices[order], target[order]
    need[session] = problem.targets.due_kwh[target[order]]
    return need, row, number


def _cheapest_first(
    problem: ChargingProblem, model: LinearModel, cost: FloatArray
) -> tuple[IntArray, IntArray, FloatArray]:
    """Columns of power by session and price of their energy: their places, sessions and energies [kWh]."""
    block, supply = model.columns["power_kw"], problem.supply
    mode, slot = block.keys
    paid = supply.import_price_per_kwh + problem.carbon_price_per_kg * supply.carbon_kg_per_kwh
    energy_h = problem.energy_h[mode, slot]
    price = paid[slot] + cost[block.span] / energy_h
    session = problem.modes.session[mode]
    order = np.lexsort((price, session))
    return order, session[order], (energy_h * problem.modes.max_kw[mode, slot])[order]
