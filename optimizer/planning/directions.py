"""Lets energy flow one way at a time where a solver's tolerance left it flowing both ways.

Charging and discharging at once burns energy in the losses. Where that would pay, whole numbers forbid it; elsewhere it
costs, but a search that ends within its gap, or a cost that is only a row, may leave a little of it. A plan states the
difference only, and with less burnt a store would end up above its band.
"""

from __future__ import annotations

import numpy as np

from optimizer.planning.highs import SolverModel
from optimizer.planning.model import LinearModel
from optimizer.planning.problem import ChargingProblem, IntArray
from optimizer.planning.rounding import ZERO_KW
from optimizer.planning.solving import Found, Solving


def in_one_direction(solving: Solving, found: Found) -> Found:
    """Return a plan in which nothing flows both ways at once, all else as near to ``found`` as the laws permit.

    On and off, and the powers of vehicles that go one way, are held; the weaker direction is stopped, and the rest is
    solved again for the least cost. Where that has no solution, ``found`` is returned.
    """
    model, values = found.model, found.values
    pairs = np.concatenate((_battery_pairs(solving.problem, model), _vehicle_pairs(solving.problem, model)))
    both = pairs[values[pairs].min(axis=1) > ZERO_KW]
    if not len(both):
        return found
    solver = SolverModel(model, found.staged.cost)
    whole = np.flatnonzero(model.integer)
    solver.set_bounds(whole, np.round(values[whole]), np.round(values[whole]))
    powers = model.columns["power_kw"].indices
    one_way = powers[~np.isin(powers, both)]
    solver.set_bounds(one_way, values[one_way], values[one_way])
    stopped = np.where(values[both[:, 0]] >= values[both[:, 1]], both[:, 1], both[:, 0])
    solver.set_bounds(stopped, np.zeros(len(stopped)), np.zeros(len(stopped)))
    if "taper" in model.rows:
        # What is sent on near slots may be above what the vehicle takes, and is held.
        solver.free_rows(model.rows["taper"].indices)
    answer = solving.run(solver)
    return Found(found.staged, answer.values) if answer.has_values else found


def _battery_pairs(problem: ChargingProblem, model: LinearModel) -> IntArray:
    """Columns of the battery's two directions, slot by slot, shape (pairs, 2)."""
    if problem.battery is None:
        return np.zeros((0, 2), dtype=np.int64)
    names = ("battery_charge_kw", "battery_discharge_kw")
    return np.stack([model.columns[name].indices for name in names], axis=1)


def _vehicle_pairs(problem: ChargingProblem, model: LinearModel) -> IntArray:
    """Columns of charging and discharging of each mode and slot of vehicles that may do both, shape (pairs, 2)."""
    power, discharge = model.columns["power_kw"], model.columns["discharge_kw"]
    mode, slot = power.keys
    out = discharge.grid(problem.sessions.count, problem.slot_count)[problem.modes.session[mode], slot]
    return np.stack((power.indices[out >= 0], out[out >= 0]), axis=1)
