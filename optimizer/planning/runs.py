"""Mends the on and off of vehicles that would start too often or run too briefly, before any model has to decide it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from optimizer.planning.heuristics import Wires
from optimizer.planning.problem import BoolArray, ChargingProblem, FloatArray, IntArray

ENOUGH_KWH = 1e-9
"""Energy that counts as none."""


@dataclass(eq=False)
class Runs:
    """On and off of one session, slot by slot, with the mode it would run in and what the wires still carry."""

    problem: ChargingProblem
    """The problem."""
    session: int
    """Which session."""
    on: BoolArray
    """Whether it is on, shape (slots,)."""
    power_kw: FloatArray
    """Its power so far [kW], shape (slots,)."""
    mode: IntArray
    """Mode it runs in, or would run in, shape (slots,)."""
    room_kw: FloatArray
    """Further power that the wires carry for it [kW], shape (slots,)."""

    @property
    def tapers(self) -> bool:
        """Whether what it takes when nearly full is its own choice, so that a run cannot make up for another."""
        return bool(np.isfinite(self.problem.sessions.knee_kwh[self.session]))

    @property
    def least_kw(self) -> FloatArray:
        """Least power while on [kW], shape (slots,)."""
        slots = np.arange(len(self.on))
        return np.zeros(len(slots)) if self.tapers else np.asarray(self.problem.modes.min_kw[self.mode, slots])

    @property
    def hours(self) -> FloatArray:
        """Time for which it is there [h], shape (slots,)."""
        return np.asarray(self.problem.sessions.plugged_h[self.session])

    def blocks(self) -> list[tuple[int, int]]:
        """First slot and slot after the last of each run."""
        edges = np.flatnonzero(np.diff(np.concatenate(([False], self.on, [False])).astype(np.int8)))
        return [(int(first), int(after)) for first, after in zip(edges[::2], edges[1::2], strict=True)]

    def starts(self) -> int:
        """Number of starts; a run that goes on from now is none."""
        goes_on = bool(self.on[0] and self.problem.sessions.charging_now[self.session])
        return len(self.blocks()) - int(goes_on)

    def spare_kw(self, but: tuple[int, int]) -> FloatArray:
        """Further power that each slot of the other runs could take [kW], shape (slots,)."""
        slots = np.arange(len(self.on))
        most = self.problem.modes.max_kw[self.mode, slots]
        spare = np.where(self.on, np.minimum(most - self.power_kw, self.room_kw), 0.0)
        spare[but[0] : but[1]] = 0.0
        return np.maximum(spare, 0.0)

    def energy_kwh(self, block: tuple[int, int]) -> float:
        """Energy of a run [kWh]."""
        return float((self.power_kw * self.hours)[block[0] : block[1]].sum())

    def drop(self, block: tuple[int, int]) -> bool:
        """Turn a run off and give its energy to the others; whether they can take it all."""
        if self.tapers:
            return False
        energy, spare = self.energy_kwh(block), self.spare_kw(block)
        room_kwh = float((spare * self.hours).sum())
        if room_kwh < energy - ENOUGH_KWH:
            return False
        self.on[block[0] : block[1]] = False
        self.power_kw[block[0] : block[1]] = 0.0
        added = spare * (energy / room_kwh if room_kwh > 0 else 0.0)
        self.power_kw += added
        self.room_kw -= added
        return True

    def forced_kwh(self) -> float:
        """Energy of all runs at the minimum [kWh]."""
        return float((self.least_kw * self.hours)[self.on].sum())

    def can_run(self, first: int, after: int) -> bool:
        """Whether it could run at its minimum in all slots of a stretch."""
        slots = np.arange(first, after)
        carried = self.on[slots] | (self.room_kw[slots] >= self.least_kw[slots] - ENOUGH_KWH)
        return bool((self.problem.usable[self.mode[slots], slots] & carried).all())

    def turn_on(self, slots: IntArray) -> None:
        """Run at the minimum in slots where it is off."""
        new = slots[~self.on[slots]]
        least = self.least_kw[new]
        self.on[new] = True
        self.power_kw[new] = np.maximum(self.power_kw[new], least)
        self.room_kw[new] -= least

    def fits(self) -> bool:
        """Whether the minimums of all runs together are not more than it may take."""
        return self.forced_kwh() <= float(self.problem.sessions.most_kwh[self.session]) + ENOUGH_KWH


def mended(
    problem: ChargingProblem, support: BoolArray, power_kw: FloatArray, wires: Wires, near_slots: int
) -> BoolArray:
    """Return a support in which sessions start and run as they should, as far as that is easily had.

    A session with too many starts loses its smallest run where the others can take that energy, else its shortest pause
    is filled at the minimum, where the wires carry it. A run that begins on the near slots is drawn out to the shortest
    length. What cannot be mended so is left for the model that decides it.

    Args:
        problem: The problem.
        support: Which pairs are on, shape (modes, slots).
        power_kw: Powers of the linear optimum, shape (modes, slots).
        wires: What vehicles share.
        near_slots: Slots on which runs are drawn out.
    """
    result = np.array(support)
    left = wires.room - wires.weight @ power_kw
    for session in np.flatnonzero(_wrong(problem, support, near_slots)).tolist():
        own = np.flatnonzero(problem.modes.session == session)
        runs = _runs_of(problem, session, (support, power_kw), (wires, left))
        before = np.array(runs.power_kw)
        _draw_out(runs, near_slots)
        _limit_starts(runs)
        result[own] = (runs.mode[None, :] == own[:, None]) & runs.on[None, :]
        left -= wires.weight[:, runs.mode] * (runs.power_kw - before)
    return result


def _wrong(problem: ChargingProblem, support: BoolArray, near_slots: int) -> BoolArray:
    """Sessions that start too often, or begin or end a run on the near slots, shape (sessions,)."""
    on = np.zeros((problem.sessions.count, problem.slot_count), dtype=bool)
    np.logical_or.at(on, problem.modes.session, support)
    before = np.concatenate((problem.sessions.charging_now[:, None], on[:, :-1]), axis=1)
    wrong = (on & ~before).sum(axis=1) > problem.sessions.starts_left
    if problem.min_run_h > 0:
        wrong |= (on != before)[:, :near_slots].any(axis=1)
    return np.asarray(wrong)


def _runs_of(
    problem: ChargingProblem, session: int, linear: tuple[BoolArray, FloatArray], shared: tuple[Wires, FloatArray]
) -> Runs:
    support, power_kw = linear
    wires, left = shared
    own = np.flatnonzero(problem.modes.session == session)
    on = np.asarray(support[own].any(axis=0))
    mode = own[np.where(on, support[own].argmax(axis=0), len(own) - 1)]
    weight = wires.weight[:, mode]
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(weight > 0, left / weight, np.inf).min(axis=0, initial=np.inf)
    return Runs(problem, session, on, power_kw[own].sum(axis=0), mode, np.maximum(room, 0.0))


def _draw_out(runs: Runs, near_slots: int) -> None:
    """Keep a run that goes on at its shortest length; put off one that would begin too short, or else lengthen it."""
    problem, sessions = runs.problem, runs.problem.sessions
    begins, ends = problem.slot_start_h, problem.slot_start_h + problem.slot_h
    goes_on = bool(sessions.charging_now[runs.session])
    if goes_on:
        rest_h = problem.min_run_h - float(sessions.run_so_far_h[runs.session])
        _try_on(runs, np.flatnonzero(begins < rest_h - ENOUGH_KWH))
    for first, after in runs.blocks():
        long_enough = ends[after - 1] - begins[first] >= problem.min_run_h - 1e-9
        if first >= near_slots or long_enough or (first == 0 and goes_on) or runs.drop((first, after)):
            continue
        _try_on(runs, np.flatnonzero((begins >= begins[first]) & (begins < begins[first] + problem.min_run_h - 1e-9)))


def _try_on(runs: Runs, slots: IntArray) -> None:
    able = np.array([slot for slot in slots.tolist() if runs.can_run(slot, slot + 1)], dtype=np.int64)
    with _Attempt(runs) as attempt:
        runs.turn_on(able)
        attempt.kept = runs.fits()


def _limit_starts(runs: Runs) -> None:
    """Drop small runs and fill short pauses until no more starts are left than permitted."""
    permitted = int(runs.problem.sessions.starts_left[runs.session])
    for _ in range(runs.problem.slot_count):
        if runs.starts() <= permitted:
            return
        blocks = runs.blocks()
        dropped = len(blocks) > 1 and runs.drop(min(blocks, key=runs.energy_kwh))
        if not dropped and not _fill_shortest_pause(runs, blocks):
            return


def _fill_shortest_pause(runs: Runs, blocks: list[tuple[int, int]]) -> bool:
    """Fill the shortest pause that can be filled; whether there was one."""
    pauses = [(earlier[1], later[0]) for earlier, later in pairwise(blocks)]
    if runs.problem.sessions.charging_now[runs.session] and blocks[0][0] > 0:
        pauses.append((0, blocks[0][0]))
    begins = runs.problem.slot_start_h
    for first, after in sorted(pauses, key=lambda pause: float(begins[pause[1]] - begins[pause[0]])):
        if not runs.can_run(first, after):
            continue
        with _Attempt(runs) as attempt:
            runs.turn_on(np.arange(first, after))
            attempt.kept = _trimmed(runs)
        if attempt.kept:
            return True
    return False


class _Attempt:
    """Puts runs back as they were unless what was tried is kept."""

    def __init__(self, runs: Runs) -> None:
        self.kept = False
        self._runs = runs
        self._before = (np.array(runs.on), np.array(runs.power_kw), np.array(runs.room_kw))

    def __enter__(self) -> _Attempt:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.kept:
            self._runs.on, self._runs.power_kw, self._runs.room_kw = self._before


def _trimmed(runs: Runs) -> bool:
    """Take slots off the end until the minimums fit; whether something is left."""
    while not runs.fits():
        slots = np.flatnonzero(runs.on)
        if len(slots) <= 1:
            return False
        runs.on[slots[-1]] = False
    return True
