"""What past days say about a month's peak: how high it will be anyway, and what the rest of today still needs.

Each past day gives a curve: what one more kW of peak would have saved on that day, from the linear problem of the day
solved at many peaks. Days of the month to come are drawn from past days of their kind, again and again; the curves of
one draw add up, and where their sum meets the price of a kW lies the peak that this month would end with. The peak
that most draws reach is as good as paid: it may be used from now on, so that vehicles charge early and leave
room for those that come later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.planning.highs import SolverModel
from optimizer.planning.model import LinearModel, ModelBuilder
from optimizer.planning.problem import BoolArray, FloatArray, IntArray

SLOT_H = 0.25
"""Length of the slots in which past days are looked at [h]."""
SPAN_SLOTS = 144
"""A day is followed into the next morning: 36 hours from midnight."""
LEVELS = 40
"""Peaks at which a day is solved."""
DRAWS = 64
"""Months that are drawn."""
SURE_SHARE = 0.8
"""A peak counts as good as paid when this share of the draws reaches it."""
SPREAD = 0.03
"""Relative deviation of a day from the one it is drawn from, with many past days."""
SPREAD_OF_ONE = 0.1
"""The same where only one day of a kind is known, less than days differ: a peak once used cannot be taken back."""
UNSERVED_PER_KWH = 1e3
"""Weight of a kWh that a day leaves out, in units of its greatest price: only its dominance matters."""
SOLVE_S = 5.0
"""Longest solve of one past day at one peak [s]."""


@dataclass(frozen=True, eq=False)
class PastDay:
    """The vehicles of one local day and what else the site drew."""

    arrive_h: FloatArray
    """Plug-in, from local midnight [h], shape (stays,)."""
    leave_h: FloatArray
    """Plug-out, from the same midnight [h], shape (stays,)."""
    energy_kwh: FloatArray
    """Energy taken [kWh], shape (stays,)."""
    max_kw: FloatArray
    """Greatest charging power [kW], shape (stays,)."""
    base_kw: FloatArray
    """Building load less PV [kW], shape (SPAN_SLOTS,)."""

    @property
    def greatest_kw(self) -> float:
        """Peak of the day had everybody charged at once [kW]; no more could be of use."""
        needed_h = np.minimum(self.energy_kwh / self.max_kw, self.leave_h - self.arrive_h)
        shares = _shares(self.arrive_h, self.arrive_h + needed_h)
        load_kw = self.base_kw + (shares * self.max_kw[:, None]).sum(axis=0)
        return float(max(load_kw.max(initial=0.0), 0.0))


@dataclass(frozen=True, eq=False)
class PeakWorth:
    """What one more kW of peak saves on a day, by the peak."""

    levels_kw: FloatArray
    """Rising peaks [kW], shape (LEVELS + 1,)."""
    saved_per_kw: FloatArray
    """What a kW saves between one level and the next [currency/kW], never rising, shape (LEVELS,)."""

    def at(self, peaks_kw: FloatArray) -> FloatArray:
        """What one more kW saves at some peaks [currency/kW]."""
        place = np.searchsorted(self.levels_kw, peaks_kw, side="right") - 1
        inside = (place >= 0) & (place < len(self.saved_per_kw))
        return np.where(inside, self.saved_per_kw[np.clip(place, 0, len(self.saved_per_kw) - 1)], 0.0)


def peak_worth(day: PastDay, price_per_kwh: FloatArray, counts: BoolArray, price_per_kw: float) -> PeakWorth:
    """What one more kW of peak saves on a day, at most the price of a kW: that is what it costs when it is needed.

    Args:
        day: The day.
        price_per_kwh: Price of import in each quarter of an hour from midnight, shape (SPAN_SLOTS,).
        counts: Whether the demand charge counts the quarter, shape (SPAN_SLOTS,).
        price_per_kw: Price of the peak [currency/kW].
    """
    levels = np.linspace(0.0, max(day.greatest_kw, 1e-3) * 1.001, LEVELS + 1)
    if not len(day.arrive_h):
        reaches = levels[1:] <= float(np.where(counts, day.base_kw, 0.0).max(initial=0.0))
        return PeakWorth(levels, np.where(reaches, price_per_kw, 0.0))
    model, cost, peak_rows = _day_model(day, price_per_kwh, counts)
    solver = SolverModel(model, cost)
    costs = np.full(LEVELS + 1, np.inf)
    least_kw = float(np.where(counts, day.base_kw, 0.0).max(initial=0.0))
    for place in range(LEVELS, -1, -1):
        if levels[place] < least_kw:
            break
        solver.set_bounds(peak_rows, levels[[place]], levels[[place]])
        answer = solver.solve(time_limit_s=SOLVE_S)
        if not answer.has_values:
            break
        costs[place] = answer.objective
    with np.errstate(invalid="ignore"):
        saved = (costs[:-1] - costs[1:]) / np.diff(levels)
    return PeakWorth(levels, np.clip(np.nan_to_num(saved, nan=price_per_kw, posinf=price_per_kw), 0.0, price_per_kw))


def _day_model(day: PastDay, price_per_kwh: FloatArray, counts: BoolArray) -> tuple[LinearModel, FloatArray, IntArray]:
    """The linear problem of a day: the energy each stay takes in each quarter, and the peak as a fixed column."""
    build = ModelBuilder()
    there = _shares(day.arrive_h, day.leave_h)
    stay, slot = np.nonzero(there > 1e-6)
    most_kwh = there[stay, slot] * SLOT_H * day.max_kw[stay]
    taken = build.add_columns("taken_kwh", "st", (stay, slot), 0.0, most_kwh)
    peak = build.add_columns("peak_kw", "d", (np.zeros(1, dtype=np.int64),), 0.0, 0.0)
    stays = np.arange(len(day.arrive_h))
    energy = build.add_rows("energy", "s", (stays,), -np.inf, day.energy_kwh)
    build.add_entries(energy.first + stay, taken.indices, 1.0)
    kept = np.flatnonzero(counts)
    place = np.full(SPAN_SLOTS, -1, dtype=np.int64)
    rows = build.add_rows("demand_peak", "t", (kept,), -np.inf, -day.base_kw[kept])
    place[kept] = rows.indices
    held = place[slot] >= 0
    build.add_entries(place[slot[held]], taken.indices[held], 1.0 / SLOT_H)
    build.add_entries(rows.indices, np.full(len(kept), peak.first), -1.0)
    model = build.finish()
    cost = np.zeros(model.column_count)
    weight = UNSERVED_PER_KWH * max(float(np.abs(price_per_kwh).max(initial=0.0)), 1.0)
    cost[taken.span] = price_per_kwh[slot] - weight
    return model, cost, peak.indices


def sure_peak_kw(
    kinds: Sequence[Sequence[PeakWorth]], days_to_come: Sequence[int], price_per_kw: float
) -> float | None:
    """The peak that four of five months drawn from the past reach anyway [kW].

    Args:
        kinds: Curves of past days, one group for each kind of day.
        days_to_come: How many days of each kind the month still has, today included.
        price_per_kw: Price of the peak [currency/kW].

    Returns:
        ``None`` while no day is known of the kind that most of the days to come are of.
    """
    commonest = max(range(len(kinds)), key=lambda kind: days_to_come[kind])
    if not kinds[commonest]:
        return None
    known = [(curves, days) for curves, days in zip(kinds, days_to_come, strict=True) if curves and days]
    generator = np.random.default_rng(1)
    top_kw = 1.5 * max(float(curve.levels_kw[-1]) for curves, _ in known for curve in curves)
    peaks_kw = np.linspace(0.0, top_kw, 3 * LEVELS + 1)
    reached_kw = np.empty(DRAWS)
    for draw in range(DRAWS):
        saved = np.zeros(len(peaks_kw))
        for curves, days in known:
            spread = float(np.hypot(SPREAD, SPREAD_OF_ONE / len(curves) ** 0.5))
            factors = np.exp(spread * generator.standard_normal(days))
            for place, factor in zip(generator.integers(len(curves), size=days), factors, strict=True):
                saved += curves[place].at(peaks_kw / factor)
        wanted = np.flatnonzero(saved >= price_per_kw)
        reached_kw[draw] = peaks_kw[wanted[-1]] if len(wanted) else 0.0
    return float(np.quantile(reached_kw, 1.0 - SURE_SHARE))


class StillToCome:
    """Mean power that the vehicles of past days needed who came later than some time of the day.

    Each vehicle's energy is spread over its stay, as if it could wait that long.

    Args:
        days: Past days of one kind.
    """

    def __init__(self, days: Sequence[PastDay]) -> None:
        arrive_h = np.concatenate([day.arrive_h for day in days] or [np.zeros(0)])
        leave_h = np.concatenate([day.leave_h for day in days] or [np.zeros(0)])
        energy_kwh = np.concatenate([day.energy_kwh for day in days] or [np.zeros(0)])
        max_kw = np.concatenate([day.max_kw for day in days] or [np.zeros(0)])
        order = np.argsort(arrive_h, kind="stable")
        self._arrive_h = arrive_h[order]
        mean_kw = np.minimum(energy_kwh / np.maximum(leave_h - arrive_h, 1e-6), max_kw)[order]
        powers_kw = _shares(self._arrive_h, leave_h[order]) * mean_kw[:, None] / max(1, len(days))
        later = np.cumsum(powers_kw[::-1], axis=0)[::-1]
        self._later_kw = np.concatenate([later, np.zeros((1, SPAN_SLOTS))])

    def after_kw(self, now_h: float) -> FloatArray:
        """Power of those who come later than ``now_h`` from midnight, one value a quarter [kW], shape (SPAN_SLOTS,)."""
        return np.asarray(self._later_kw[np.searchsorted(self._arrive_h, now_h, side="right")])


def _shares(begin_h: FloatArray, end_h: FloatArray) -> FloatArray:
    """Part of each quarter of an hour that each window covers, shape (windows, SPAN_SLOTS)."""
    slots = np.arange(SPAN_SLOTS)
    inside = np.minimum(slots + 1, end_h[:, None] / SLOT_H) - np.maximum(slots, begin_h[:, None] / SLOT_H)
    return np.asarray(np.clip(inside, 0.0, 1.0))
