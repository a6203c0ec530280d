"""The near slots exactly: whole steps, shortest runs, permitted starts, one direction at a time.

Rounding the repaired powers to whole steps and solving the rest again is enough nearly always. Sessions whose starts or
runs that leaves wrong are then decided by a small model with whole numbers, everyone else's near slots held.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from optimizer.planning.heuristics import Wires
from optimizer.planning.objectives import SHORT_RUN_KWH, Weights
from optimizer.planning.problem import BoolArray, ChargingProblem, FloatArray, IntArray
from optimizer.planning.rounding import ZERO_KW

WHOLE = 1e-6
"""Distance from a whole number of steps that counts as none."""


def settled(
    problem: ChargingProblem, power_kw: FloatArray, support: BoolArray, wires: Wires, near_slots: int
) -> FloatArray:
    """Return powers that can be sent on the near slots [kW], shape (modes, slots).

    Every power is rounded down to whole steps, but not below the minimum. Then vehicles that could not make up for what
    they lost are rounded up where the wires carry it, and after them, largest remainder first, others as long as the
    slot's total stays what it was. Where a peak is paid for, what either adds to that total is taken from others that
    can make up for it later: a peak that creeps up by a step now and then is paid like any other.

    Args:
        problem: The problem.
        power_kw: Powers to settle, shape (modes, slots).
        support: Which pairs are on, shape (modes, slots).
        wires: What vehicles share.
        near_slots: How many slots to settle.
    """
    result = np.array(power_kw)
    room_kwh = np.where(support, problem.modes.max_kw - power_kw, 0.0) * problem.energy_h
    spare_kwh = np.zeros(problem.sessions.count)
    np.add.at(spare_kwh, problem.modes.session, room_kwh[:, near_slots:].sum(axis=1))
    before = problem.sessions.previous_kw[problem.modes.session, 0]
    content_kwh = np.array(problem.sessions.stored_kwh)
    for slot in range(min(near_slots, problem.slot_count)):
        settling = _Settling(problem, wires, spare_kwh, slot, before)
        settling.accepted_kw = accepted_kw(problem, content_kwh, slot)[problem.modes.session]
        before = settling.of(power_kw[:, slot], support[:, slot] & _minimum_fits(problem, content_kwh, slot))
        gained = np.zeros(problem.sessions.count)
        np.add.at(gained, problem.modes.session, before * problem.energy_h[:, slot])
        content_kwh += gained * problem.sessions.charge_efficiency
        result[:, slot] = before
    return result


def accepted_kw(problem: ChargingProblem, content_kwh: FloatArray, slot: int) -> FloatArray:
    """Mean power that each vehicle takes in a slot that it begins with a content [kW], shape (sessions,)."""
    sessions = problem.sessions
    knees = sessions.has_state & np.isfinite(sessions.knee_kwh) & (sessions.knee_kwh < sessions.capacity_kwh)
    capacity = np.maximum(sessions.capacity_kwh, sessions.stored_kwh)
    band = np.where(knees, sessions.capacity_kwh - np.where(knees, sessions.knee_kwh, 0.0), 1.0)
    slope = sessions.knee_kw / band
    reach = np.maximum(slope * sessions.charge_efficiency * sessions.plugged_h[:, slot], 1e-12)
    mean = slope * -np.expm1(-reach) / reach * (capacity - content_kwh)
    return np.where(knees, np.maximum(mean, 0.0), np.inf)


def _minimum_fits(problem: ChargingProblem, content_kwh: FloatArray, slot: int) -> BoolArray:
    """Where the least that can be sent over a slot fits into a vehicle that tapers, shape (modes,)."""
    sessions, modes = problem.sessions, problem.modes
    tapers = (sessions.has_state & np.isfinite(sessions.knee_kwh))[modes.session]
    least_kwh = _whole(modes.min_kw[:, slot], modes.step_kw, np.ceil) * problem.energy_h[:, slot]
    room_kwh = np.maximum(sessions.capacity_kwh, sessions.stored_kwh) - content_kwh
    gained_kwh = least_kwh * sessions.charge_efficiency[modes.session]
    return np.asarray(~tapers | (gained_kwh <= room_kwh[modes.session] + 1e-9))


class _Settling:
    """Settles the powers of one slot."""

    def __init__(
        self, problem: ChargingProblem, wires: Wires, spare_kwh: FloatArray, slot: int, before: FloatArray
    ) -> None:
        self.problem = problem
        self.slot = slot
        self.spare_kwh = spare_kwh
        self.weight, self.room = wires.weight, wires.room[:, slot]
        self.step_kw = problem.modes.step_kw
        self.before = before
        self.accepted_kw = np.full(problem.modes.count, np.inf)
        self.given = np.zeros(problem.modes.count)

    def of(self, power_kw: FloatArray, on: BoolArray) -> FloatArray:
        """The settled powers of all modes [kW]."""
        modes = np.flatnonzero(on & (power_kw > ZERO_KW))
        wanted = power_kw[modes]
        least, most = self._bounds(modes)
        self.given[modes] = np.clip(_whole(wanted, self.step_kw[modes], np.floor), least, most)
        _fit_minimums(self.given, modes, wanted, (self.weight, self.room))
        total = float(power_kw.sum())
        pays_peak = bool(self.problem.demand.price_per_kw.any())
        if pays_peak:
            self._take_back(modes, least, float(self.given.sum()) - total)
        self._give_more(modes, wanted, most, total - float(self.given.sum()))
        if pays_peak:
            self._take_back(modes, least, float(self.given.sum()) - total)
        return self.given

    def _bounds(self, modes: IntArray) -> tuple[FloatArray, FloatArray]:
        """Least and greatest power in whole steps [kW], shapes (modes,)."""
        step = self.step_kw[modes]
        most = np.minimum(self.problem.modes.max_kw[modes, self.slot], self.accepted_kw[modes])
        least = _whole(self.problem.modes.min_kw[modes, self.slot], step, np.ceil)
        return least, np.maximum(least, _whole(most, step, np.floor))

    def _take_back(self, modes: IntArray, least: FloatArray, over_kw: float) -> None:
        """Lower vehicles that can make up for it later, the one with most to spare first, by ``over_kw`` in total."""
        spare = self.spare_kwh[self.problem.modes.session[modes]]
        for place in np.argsort(-spare, kind="stable").tolist():
            mode, step = int(modes[place]), float(self.step_kw[modes[place]])
            most_kw = min(float(self.given[mode] - least[place]), over_kw)
            lowered = float(np.ceil(most_kw / step - WHOLE) * step) if step > 0 else most_kw
            lowered = min(lowered, float(self.given[mode] - least[place]))
            hours = float(self.problem.energy_h[mode, self.slot])
            if lowered > ZERO_KW and lowered * hours <= spare[place]:
                self.given[mode] -= lowered
                self.spare_kwh[self.problem.modes.session[mode]] -= lowered * hours
                over_kw -= lowered
            if over_kw <= ZERO_KW:
                return

    def _give_more(self, modes: IntArray, wanted: FloatArray, most: FloatArray, left_kw: float) -> None:
        """Round up: who could not make up for the loss where the wires carry it, others within ``left_kw``.

        Who had the higher step before is asked first, who had the lower one last, so that commands stay.
        """
        session = self.problem.modes.session[modes]
        lost = wanted - self.given[modes]
        pressed = lost * self.problem.energy_h[modes, self.slot] > self.spare_kwh[session] + 1e-9
        stays_up = np.abs(self.before[modes] - self.given[modes] - self.step_kw[modes]) < ZERO_KW
        stays_down = (np.abs(self.before[modes] - self.given[modes]) < ZERO_KW) & ~pressed
        left = self.room - self.weight @ self.given
        for place in np.lexsort((-lost, ~stays_up, ~pressed)).tolist():
            mode, step = int(modes[place]), float(self.step_kw[modes[place]])
            given = float(self.given[mode])
            small = lost[place] <= max(WHOLE * step, ZERO_KW) or stays_down[place]
            if small or given == 0 or given + step > most[place] + WHOLE:
                continue
            if not pressed[place] and not (stays_up[place] and left_kw > 0) and left_kw < step:
                continue
            if (self.weight[:, mode] * step > left + 1e-9)[self.weight[:, mode] > 0].any():
                continue
            self.given[mode] += step
            left -= self.weight[:, mode] * step
            left_kw -= step


def _whole(power_kw: FloatArray, step_kw: FloatArray, toward: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Powers in whole steps, where there are steps [kW]."""
    width = np.where(step_kw > 0, step_kw, 1.0)
    nudge = WHOLE if toward is np.floor else -WHOLE
    return np.where(step_kw > 0, toward(power_kw / width + nudge) * width, power_kw)


def _fit_minimums(
    given: FloatArray, modes: IntArray, wanted: FloatArray, shared: tuple[FloatArray, FloatArray]
) -> None:
    """Turn off the smallest of the vehicles that were raised to their minimum, until the wires carry the rest."""
    weight, room = shared
    permitted = np.maximum(room, weight[:, modes] @ wanted) + 1e-9
    taken = weight @ given
    for place in np.argsort(wanted, kind="stable").tolist():
        mode = int(modes[place])
        over = taken > permitted
        if not over.any():
            return
        if given[mode] > wanted[place] and (weight[over, mode] > 0).any():
            taken -= weight[:, mode] * given[mode]
            given[mode] = 0.0


def pattern_faults(problem: ChargingProblem, power_kw: FloatArray, near_slots: int) -> BoolArray:
    """Sessions that start more often than permitted, or run shorter than they should on the near slots, (sessions,)."""
    return np.asarray((extra_starts(problem, power_kw) > 0) | short_runs(problem, power_kw, near_slots))


def pattern_cost(problem: ChargingProblem, weights: Weights, power_kw: FloatArray, near_slots: int) -> float:
    """What the starts cost, and what those too many and runs too short weigh [currency]."""
    starts = problem.start_price * float(_starts(problem, _on(problem, power_kw)).sum())
    wrong = extra_starts(problem, power_kw) + SHORT_RUN_KWH * short_runs(problem, power_kw, near_slots)
    return starts + float(weights.of_session @ wrong)


def extra_starts(problem: ChargingProblem, power_kw: FloatArray) -> IntArray:
    """Starts of each session beyond those permitted, shape (sessions,)."""
    starts = _starts(problem, _on(problem, power_kw)).sum(axis=1)
    return np.asarray(np.maximum(starts - problem.sessions.starts_left, 0))


def _on(problem: ChargingProblem, power_kw: FloatArray) -> BoolArray:
    on = np.zeros((problem.sessions.count, problem.slot_count), dtype=bool)
    np.logical_or.at(on, problem.modes.session, power_kw > ZERO_KW)
    return on


def _starts(problem: ChargingProblem, on: BoolArray) -> BoolArray:
    before = np.concatenate((problem.sessions.charging_now[:, None], on[:, :-1]), axis=1)
    return np.asarray(on & ~before)


def short_runs(problem: ChargingProblem, power_kw: FloatArray, near_slots: int) -> BoolArray:
    """Sessions that run shorter than they should on the near slots, shape (sessions,)."""
    on = _on(problem, power_kw)
    starts, short = _starts(problem, on), np.zeros(problem.sessions.count, dtype=bool)
    if problem.min_run_h <= 0:
        return short
    able = np.zeros_like(on)
    np.logical_or.at(able, problem.modes.session, problem.usable & (problem.modes.min_kw > 0))
    begins = problem.slot_start_h
    running = problem.sessions.charging_now & (problem.sessions.run_so_far_h < problem.min_run_h)
    rest_h = np.where(running, problem.min_run_h - problem.sessions.run_so_far_h, 0.0)
    early = (begins[None, :] < rest_h[:, None] - 1e-9) & (np.arange(problem.slot_count) < near_slots)
    short |= (early & able & ~on).any(axis=1)
    for slot in range(min(near_slots, problem.slot_count)):
        held = (begins > begins[slot]) & (begins < begins[slot] + problem.min_run_h - 1e-9)
        short |= starts[:, slot] & (held[None, :] & able & ~on).any(axis=1)
    return np.asarray(short)
