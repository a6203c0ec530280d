"""From a linear optimum to a plan in which every vehicle draws nothing or at least its minimum.

The linear optimum already says nearly everywhere which vehicle is on in which slot. That support is fixed, and the same
model solved again with power between minimum and maximum there and zero elsewhere: the result is feasible for the
problem with minimum currents, and the linear optimum stays its proven lower bound.
"""

from __future__ import annotations

import numpy as np

from optimizer.planning.heuristics import Wires
from optimizer.planning.laws.pattern import least_power_kw
from optimizer.planning.model import LinearModel
from optimizer.planning.problem import BoolArray, ChargingProblem, FloatArray, IntArray

ON_SHARE = 0.1
"""Share of the minimum from which a pair counts as on."""

ZERO_KW = 1e-6
"""Power below which the solver means zero."""

ENOUGH_KWH = 1e-9
"""Energy that counts as none."""


def nowhere(problem: ChargingProblem) -> BoolArray:
    """No pair at all, shape (modes, slots)."""
    return np.zeros((problem.modes.count, problem.slot_count), dtype=bool)


def power_of(problem: ChargingProblem, model: LinearModel, values: FloatArray) -> FloatArray:
    """Charging power of a solution [kW], shape (modes, slots)."""
    if "power_kw" not in model.columns:
        return np.zeros((problem.modes.count, problem.slot_count))
    return model.columns["power_kw"].spread(values, problem.modes.count, problem.slot_count)


def support_of(problem: ChargingProblem, power_kw: FloatArray, wires: Wires) -> BoolArray:
    """Return which pairs of mode and slot are on, shape (modes, slots).

    A pair is on where it draws at least half its minimum, near full whatever it draws; of several modes the greatest
    whose minimum is met. A session that loses energy by this gets its largest dropped slots back, one whose minimums
    exceed what it may take loses its smallest; so do slots whose minimums the wires do not carry.
    """
    chosen = _one_mode_each(problem, power_kw)
    least_kw = least_power_kw(problem, nowhere(problem))
    support = (chosen >= ON_SHARE * least_kw) & (chosen > ZERO_KW)
    energy_h = problem.energy_h
    least_kwh, most_kwh = least_kw * energy_h, problem.modes.max_kw * energy_h
    wanted = _by_session(problem, power_kw * energy_h)
    reachable = _by_session(problem, np.where(support, most_kwh, 0.0))
    for session in np.flatnonzero(reachable < wanted - 1e-6).tolist():
        _regain(problem, session, chosen, support, most_kwh, float(wanted[session] - reachable[session]))
    _fill_slots(problem, support, chosen, least_kw)
    forced = _by_session(problem, np.where(support, least_kwh, 0.0))
    for session in np.flatnonzero(forced > problem.sessions.most_kwh + ENOUGH_KWH).tolist():
        _shed(problem, session, chosen, support, least_kwh, float(forced[session] - problem.sessions.most_kwh[session]))
    fit_wires(support, chosen, least_kw, wires)
    return np.asarray(support)


def _fill_slots(problem: ChargingProblem, support: BoolArray, power_kw: FloatArray, least_kw: FloatArray) -> None:
    """Turn dropped pairs on again in slots whose others could not draw the slot's total, if their minimums fit into it.

    Where a peak is paid for, every slot is used to the brim, and what one loses would have to go on top of another.
    """
    total = power_kw.sum(axis=0)
    most = np.where(support, problem.modes.max_kw, 0.0).sum(axis=0)
    least = np.where(support, least_kw, 0.0).sum(axis=0)
    for slot in np.flatnonzero(most < total - ZERO_KW).tolist():
        dropped = np.flatnonzero(~support[:, slot] & (power_kw[:, slot] > ZERO_KW))
        for mode in dropped[np.argsort(-power_kw[dropped, slot], kind="stable")].tolist():
            if least[slot] + least_kw[mode, slot] > total[slot]:
                continue
            support[mode, slot] = True
            least[slot] += least_kw[mode, slot]
            most[slot] += problem.modes.max_kw[mode, slot]
            if most[slot] >= total[slot]:
                break


def fit_wires(support: BoolArray, power_kw: FloatArray, least_kw: FloatArray, wires: Wires) -> None:
    """Turn off the smallest pairs of slots in which minimums take more than the wires carry and the optimum takes."""
    permitted = np.maximum(wires.room, wires.weight @ power_kw) + 1e-9
    taken = wires.weight @ np.where(support, least_kw, 0.0)
    for slot in np.flatnonzero((taken > permitted).any(axis=0)).tolist():
        for mode in np.argsort(power_kw[:, slot], kind="stable").tolist():
            over = taken[:, slot] > permitted[:, slot]
            if not over.any():
                break
            if support[mode, slot] and (wires.weight[over, mode] > 0).any():
                support[mode, slot] = False
                taken[:, slot] -= wires.weight[:, mode] * least_kw[mode, slot]


def _by_session(problem: ChargingProblem, values: FloatArray) -> FloatArray:
    sums = np.zeros(problem.sessions.count)
    np.add.at(sums, problem.modes.session, values.sum(axis=1))
    return sums


def _one_mode_each(problem: ChargingProblem, power_kw: FloatArray) -> FloatArray:
    """Power with each session's whole power in one mode a slot [kW], shape (modes, slots)."""
    if (problem.mode_count_of <= 1).all():
        return power_kw
    result = np.array(power_kw)
    for session in np.flatnonzero(problem.mode_count_of > 1).tolist():
        own = np.flatnonzero(problem.modes.session == session)
        total = power_kw[own].sum(axis=0)
        order = own[np.argsort(-problem.modes.min_kw[own, 0])]
        result[own] = 0.0
        left = total > ZERO_KW
        for mode in order.tolist():
            fits = left & problem.usable[mode] & (total >= problem.modes.min_kw[mode])
            if mode == order[-1]:
                fits = left & problem.usable[mode]
            result[mode, fits] = np.minimum(total, problem.modes.max_kw[mode])[fits]
            left &= ~fits
    return result


def _pairs(problem: ChargingProblem, session: int, where: BoolArray, by: FloatArray) -> list[tuple[int, int]]:
    """The session's pairs in ``where``, greatest ``by`` first."""
    own = np.flatnonzero(problem.modes.session == session)
    mode, slot = np.nonzero(where[own])
    order: IntArray = np.argsort(-by[own][mode, slot], kind="stable")
    return [(int(own[mode[place]]), int(slot[place])) for place in order]


def _regain(
    problem: ChargingProblem, session: int, chosen: FloatArray, support: BoolArray, most_kwh: FloatArray, short: float
) -> None:
    for mode, slot in _pairs(problem, session, ~support & (chosen > ZERO_KW), chosen):
        support[mode, slot] = True
        short -= float(most_kwh[mode, slot])
        if short <= ENOUGH_KWH:
            return


def _shed(
    problem: ChargingProblem, session: int, chosen: FloatArray, support: BoolArray, least_kwh: FloatArray, over: float
) -> None:
    for mode, slot in _pairs(problem, session, support, -chosen):
        support[mode, slot] = False
        over -= float(least_kwh[mode, slot])
        if over <= ENOUGH_KWH:
            return


def undecided_sessions(problem: ChargingProblem, power_kw: FloatArray) -> BoolArray:
    """Sessions that the linear optimum lets draw less than their minimum somewhere, shape (sessions,)."""
    below = (power_kw > ZERO_KW) & (power_kw < problem.modes.min_kw - ZERO_KW)
    undecided = np.zeros(problem.sessions.count, dtype=bool)
    undecided[problem.modes.session[below.any(axis=1)]] = True
    return undecided


def support_bounds(
    problem: ChargingProblem, model: LinearModel, support: BoolArray, held: BoolArray
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Bounds that hold a support on some pairs: column indices, lower and upper bounds.

    Args:
        problem: The problem.
        model: A model of it.
        support: Which pairs are on, shape (modes, slots).
        held: For which pairs the support is held, shape (modes, slots).

    A vehicle that is on does not discharge in that slot.
    """
    power, discharge = model.columns["power_kw"], model.columns["discharge_kw"]
    mode, slot = power.keys
    bound = held[mode, slot] & (problem.modes.min_kw[mode, slot] > 0)
    mode, slot, columns = mode[bound], slot[bound], power.indices[bound]
    on = support[mode, slot]
    least = least_power_kw(problem, nowhere(problem))[mode, slot]
    running = np.zeros((problem.sessions.count, problem.slot_count), dtype=bool)
    np.logical_or.at(running, problem.modes.session, support & held & (problem.modes.min_kw > 0))
    stopped = running[discharge.keys]
    return (
        np.concatenate((columns, discharge.indices[stopped])),
        np.concatenate((np.where(on, least, 0.0), np.zeros(int(stopped.sum())))),
        np.concatenate((np.where(on, problem.modes.max_kw[mode, slot], 0.0), np.zeros(int(stopped.sum())))),
    )


def whole_start(problem: ChargingProblem, model: LinearModel, power: FloatArray) -> tuple[IntArray, FloatArray]:
    """Columns and values of a start for the whole numbers of ``model``: powers [kW] rounded down to whole steps."""
    columns: list[IntArray] = []
    values: list[FloatArray] = []
    if "on" in model.columns:
        block = model.columns["on"]
        columns.append(block.indices)
        values.append((power[block.keys] > ZERO_KW).astype(float))
    if "steps" in model.columns:
        block = model.columns["steps"]
        columns.append(block.indices)
        values.append(np.floor(power[block.keys] / problem.modes.step_kw[block.keys[0]] + 1e-6))
    if not columns:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    return np.concatenate(columns), np.concatenate(values)
