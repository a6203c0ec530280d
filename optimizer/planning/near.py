"""The near slots exactly: whole steps, shortest runs, permitted starts, one direction at a time.

Rounding the repaired powers to whole steps and solving the rest again is enough nearly always. Sessions whose starts or
runs that leaves wrong are then decided by a small model with whole numbers, everyone else's near slots held.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from optimizer.planning.heuristics import Wires
from optimizer.planning.problem import BoolArray, ChargingProblem, FloatArray, IntArray
from optimizer.planning.rounding import ZERO_KW

WHOLE = 1e-6
"""Distance from a whole number of steps that counts as none."""


def whole_steps(
    problem: ChargingProblem, power_kw: FloatArray, support: BoolArray, wires: Wires, near_slots: int
) -> FloatArray:
    """Return powers with whole steps on the near slots [kW], shape (modes, slots).

    Every power is rounded down. Then vehicles that could not make up for it later are rounded up where the wires carry
    it, and after them, largest remainder first, others as long as the slot's total stays what it was.

    Args:
        problem: The problem.
        power_kw: Powers to round, shape (modes, slots).
        support: Which pairs are on, shape (modes, slots).
        wires: What vehicles share.
        near_slots: Number of slots to round.
    """
    rounded = np.array(power_kw)
    rounded[:, :near_slots] = np.where(support[:, :near_slots], power_kw[:, :near_slots], 0.0)
    spare_kwh = _spare_kwh(problem, power_kw, support, near_slots)
    for slot in range(min(near_slots, problem.slot_count)):
        _round_slot(problem, rounded, (wires, spare_kwh), support[:, slot], slot)
    return rounded


def _spare_kwh(problem: ChargingProblem, power_kw: FloatArray, support: BoolArray, near_slots: int) -> FloatArray:
    """Energy that each session could still take in its later slots that are on [kWh], shape (sessions,)."""
    room = np.where(support, problem.modes.max_kw - power_kw, 0.0) * problem.energy_h
    spare = np.zeros(problem.sessions.count)
    np.add.at(spare, problem.modes.session, room[:, near_slots:].sum(axis=1))
    return spare


def _round_slot(
    problem: ChargingProblem, rounded: FloatArray, shared: tuple[Wires, FloatArray], on: BoolArray, slot: int
) -> None:
    wires, spare_kwh = shared
    modes = np.flatnonzero(on & (rounded[:, slot] > ZERO_KW))
    step_kw, wanted_kw = problem.modes.step_kw[modes], rounded[modes, slot]
    down_kw, most_kw = _step_bounds(problem, modes, slot, wanted_kw)
    rounded[modes, slot] = down_kw
    _fit_minimums(rounded, modes, wanted_kw, wires, slot)
    lost_kw = wanted_kw - rounded[modes, slot]
    left = wires.room[:, slot] - wires.weight @ rounded[:, slot]
    total_left_kw = float(lost_kw.sum())
    hours = problem.energy_h[modes, slot]
    pressed = lost_kw * hours > spare_kwh[problem.modes.session[modes]] + 1e-9
    for place in np.lexsort((-lost_kw, ~pressed)).tolist():
        mode, step = int(modes[place]), float(step_kw[place])
        given_kw = float(rounded[mode, slot])
        if lost_kw[place] <= WHOLE * step or given_kw == 0 or given_kw + step > most_kw[place] + WHOLE:
            continue
        if not pressed[place] and total_left_kw < step:
            continue
        if (wires.weight[:, mode] * step > left + 1e-9)[wires.weight[:, mode] > 0].any():
            continue
        rounded[mode, slot] += step
        left -= wires.weight[:, mode] * step
        total_left_kw -= step


def _fit_minimums(rounded: FloatArray, modes: IntArray, wanted_kw: FloatArray, wires: Wires, slot: int) -> None:
    """Turn off the smallest of the vehicles that were raised to their minimum, until the wires carry the rest."""
    permitted = np.maximum(wires.room[:, slot], wires.weight[:, modes] @ wanted_kw) + 1e-9
    taken = wires.weight @ rounded[:, slot]
    for place in np.argsort(wanted_kw, kind="stable").tolist():
        mode = int(modes[place])
        over = taken > permitted
        if not over.any():
            return
        if rounded[mode, slot] > wanted_kw[place] and (wires.weight[over, mode] > 0).any():
            taken -= wires.weight[:, mode] * rounded[mode, slot]
            rounded[mode, slot] = 0.0


def _step_bounds(
    problem: ChargingProblem, modes: IntArray, slot: int, wanted_kw: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Whole steps at or below the wanted power, but for the minimum, and the most of them [kW], shapes (modes,).

    A vehicle that may taper is not rounded up: it would not take it.
    """
    step_kw = problem.modes.step_kw[modes]
    width = np.where(step_kw > 0, step_kw, 1.0)

    def whole(power_kw: FloatArray, toward: Callable[[FloatArray], FloatArray]) -> FloatArray:
        return np.where(step_kw > 0, toward(power_kw / width) * width, power_kw)

    least_kw = whole(problem.modes.min_kw[modes, slot], lambda steps: np.ceil(steps - WHOLE))
    most_kw = whole(problem.modes.max_kw[modes, slot], lambda steps: np.floor(steps + WHOLE))
    down_kw = whole(wanted_kw, lambda steps: np.floor(steps + WHOLE))
    down_kw = np.minimum(np.maximum(down_kw, least_kw), most_kw)
    knees = np.isfinite(problem.sessions.knee_kwh) & problem.sessions.has_state
    return down_kw, np.where(knees[problem.modes.session[modes]], down_kw, most_kw)


def pattern_faults(problem: ChargingProblem, power_kw: FloatArray, near_slots: int) -> BoolArray:
    """Sessions that start more often than permitted, or run shorter than they should on the near slots, (sessions,)."""
    on = np.zeros((problem.sessions.count, problem.slot_count), dtype=bool)
    np.logical_or.at(on, problem.modes.session, power_kw > ZERO_KW)
    before = np.zeros_like(on)
    before[:, 1:] = on[:, :-1]
    before[:, 0] = problem.sessions.charging_now
    starts = on & ~before
    faults = starts.sum(axis=1) > problem.sessions.starts_left
    if problem.min_run_h <= 0:
        return np.asarray(faults)
    able = np.zeros_like(on)
    np.logical_or.at(able, problem.modes.session, problem.usable & (problem.modes.min_kw > 0))
    begins = problem.slot_start_h
    running = problem.sessions.charging_now & (problem.sessions.run_so_far_h < problem.min_run_h)
    rest_h = np.where(running, problem.min_run_h - problem.sessions.run_so_far_h, 0.0)
    early = (begins[None, :] < rest_h[:, None] - 1e-9) & (np.arange(problem.slot_count) < near_slots)
    faults |= (early & able & ~on).any(axis=1)
    for slot in range(min(near_slots, problem.slot_count)):
        held = (begins > begins[slot]) & (begins < begins[slot] + problem.min_run_h - 1e-9)
        faults |= starts[:, slot] & (held[None, :] & able & ~on).any(axis=1)
    return np.asarray(faults)
