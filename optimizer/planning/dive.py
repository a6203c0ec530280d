"""Finds a better on and off where holding the linear optimum's support at once costs too much.

Where a peak is paid for or the price is flat, the linear optimum fills many slots with small pieces, and lifting or
dropping them all at once raises the peak. Diving settles a part of them, solves again so that everything else follows,
and goes on with the pieces that are left.
"""

from __future__ import annotations

import numpy as np

from optimizer.planning.heuristics import Wires
from optimizer.planning.highs import Simplex
from optimizer.planning.laws.pattern import least_power_kw
from optimizer.planning.model import LinearModel
from optimizer.planning.problem import BoolArray, ChargingProblem, FloatArray, IntArray
from optimizer.planning.rounding import ZERO_KW, fit_wires, nowhere, power_of
from optimizer.planning.solving import Held, Solving

MOST_DIVES = 150
"""Rounds for a small model: pieces come up anew as others are settled, but a round takes less than a millisecond."""

LEAST_DIVES = 8
"""Rounds for a large one."""

COLUMN_ROUNDS = 400_000
"""Columns times rounds between the two: a bound on work, not on time, so that the same problem gives the same plan."""

UP_SHARE = 0.6
"""Share of its minimum from which a piece is lifted."""

DOWN_SHARE = 0.2
"""Share of its minimum up to which a piece is dropped."""


def dived_power(solving: Solving, held: Held, wires: Wires) -> FloatArray | None:
    """Return powers that are zero or at least the minimum nearly everywhere [kW], shape (modes, slots).

    What the plan in force already says, as far as preferences look ahead, stays on or off.

    Args:
        solving: The run.
        held: The linear solution to dive from, and its solver, whose bounds are changed.
        wires: What vehicles share.

    Returns:
        The powers, ``None`` where the solver found none in time.
    """
    problem, solver, model = solving.problem, held.solver, held.found.model
    least = least_power_kw(problem, nowhere(problem))
    power = power_of(problem, model, held.found.values)
    on, off = _said_before(solving, power, least)
    solver.reset_bounds()
    solver.set_costs(held.found.staged.first_aim)
    solver.set_bounds(*_side_bounds(problem, model, on, off, least))
    result: FloatArray | None = None
    for _ in range(min(MOST_DIVES, max(LEAST_DIVES, COLUMN_ROUNDS // model.column_count))):
        answer = solving.run(solver, method=Simplex.DUAL)
        if not answer.has_values:
            return result
        result = power_of(problem, model, answer.values)
        pieces = problem.usable & ~on & ~off & (result > ZERO_KW) & (result < least - ZERO_KW)
        if not pieces.any():
            return result
        up, down = _sides(result, least, pieces)
        fitting = (up & _affordable(problem, least, on | up)) | on
        fit_wires(fitting, result, least, wires)
        up &= fitting
        if not up.any() and not down.any():
            down = pieces
        on, off = on | up, off | down
        solver.set_bounds(*_side_bounds(problem, model, up, down, least))
    return result


def _said_before(solving: Solving, power: FloatArray, least: FloatArray) -> tuple[BoolArray, BoolArray]:
    """Pairs that the plan in force has on and off near by, and that still are in the linear solution."""
    problem = solving.problem
    near = problem.slot_start_h < solving.settings.preference_hours
    known = (problem.sessions.has_previous & near[None, :])[problem.modes.session] & problem.usable
    before = problem.sessions.previous_kw[problem.modes.session]
    on = known & (before > ZERO_KW) & (power >= least - ZERO_KW) & (power > ZERO_KW)
    return on, known & (before <= ZERO_KW) & (power <= ZERO_KW)


def _side_bounds(
    problem: ChargingProblem, model: LinearModel, on: BoolArray, off: BoolArray, least: FloatArray
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Bounds of the pairs that are settled: column indices, lower and upper bounds."""
    block = model.columns["power_kw"]
    settled = (on | off)[block.keys]
    mode, slot = block.keys[0][settled], block.keys[1][settled]
    lower = np.where(on[mode, slot], least[mode, slot], 0.0)
    return block.indices[settled], lower, np.where(on[mode, slot], problem.modes.max_kw[mode, slot], 0.0)


def _sides(power: FloatArray, least: FloatArray, pieces: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Which pieces are lifted and which dropped in this round; those between wait, unless nothing is clear."""
    share = np.where(pieces, power / np.maximum(least, ZERO_KW), 0.5)
    up, down = pieces & (share >= UP_SHARE), pieces & (share <= DOWN_SHARE)
    if not up.any() and not down.any():
        middle = np.median(share[pieces])
        up, down = pieces & (share > middle), pieces & (share <= middle)
        if up.any():
            down = np.zeros_like(down)
    return up, down


def _affordable(problem: ChargingProblem, least: FloatArray, on: BoolArray) -> BoolArray:
    """Whose minimums, over all lifted slots, do not exceed what the session may take, shape (modes, 1)."""
    forced = np.zeros(problem.sessions.count)
    np.add.at(forced, problem.modes.session, (np.where(on, least, 0.0) * problem.energy_h).sum(axis=1))
    return np.asarray(forced <= problem.sessions.most_kwh + 1e-9)[problem.modes.session][:, None]
