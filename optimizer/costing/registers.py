"""From the readings of a register to the energy it counted between any two instants.

Energy is always a difference of registers, never a sum of power samples. Between two readings it is taken to flow
evenly; a value taken there is rounded down to whole milliwatt-hours, and because every interval is a difference of two
such values the intervals add up to the register difference exactly, however they are cut.

What a register may not do is handled without guessing energy, and told as a `MeterFinding`:

    register                       counted                                   finding
    12.0  12.4 !950.0  12.6        one reading far up is set aside: 0.6      spike
    12.0  12.4 !0.0    12.6        so is one far down,                       dip
    12.0  12.4 !12.38  12.41       and a step back below 0.1: 0.41           dip
    12.0  12.4 | 0.0   0.3         a lasting step back is a new start; what  reset
                                   flowed across it is not known: 0.4 + 0.3
    12.0 | 5000.0  5000.2          so is a rise that no power explains: 0.2  jump
    12.0  (3 h)  14.0              counted, spread evenly                    gap
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from itertools import pairwise

from optimizer.costing.money import EXACT
from optimizer.domain.metering import MeteredInterval
from optimizer.domain.moment import Interval

RESOLUTION_KWH = Decimal("0.000001")
"""Interpolated values are whole multiples of this; a milliwatt-hour is finer than any billing register [kWh]."""

GREATEST_DIP_KWH = Decimal("0.1")
"""A smaller step back is the register's rounding, not a new start: the coarsest registers count tenths [kWh]."""

LONGEST_STEP = timedelta(hours=1)
"""Readings further apart are told as a gap: an hour is the coarsest interval at which meters are usually read."""

_TICK = timedelta(microseconds=1)


class FindingKind(StrEnum):
    """What was wrong with a meter's readings."""

    SET_ASIDE = "set_aside"
    """Marked suspect or stale when it arrived; not used."""
    SPIKE = "spike"
    """One reading above the next; not used."""
    DIP = "dip"
    """One reading too low, or a small step back; not used."""
    RESET = "reset"
    """The register began anew; energy across the step is not counted."""
    JUMP = "jump"
    """More than can have flowed: another meter, or another count; energy across the step is not counted."""
    GAP = "gap"
    """Readings far apart; energy between them is spread evenly."""
    UNCOVERED = "uncovered"
    """No readings; energy counts as zero."""


@dataclass(frozen=True, slots=True)
class MeterFinding:
    """Something wrong with a meter's readings, and where."""

    kind: FindingKind
    """What."""
    meter: str
    """Which meter."""
    at: datetime
    """When it begins [UTC]."""
    detail: str
    """The values, for people."""


@dataclass(frozen=True)
class RegisterCurve:
    """Energy that a register counted since its first reading; it never falls."""

    times: tuple[datetime, ...]
    """Instants of the readings in use, rising [UTC]."""
    counted_kwh: tuple[Decimal, ...]
    """Energy since the first of them [kWh]."""
    findings: tuple[MeterFinding, ...] = ()
    """What was wrong."""

    @property
    def total_kwh(self) -> Decimal:
        """Energy from the first reading to the last [kWh]."""
        return self.counted_kwh[-1] if self.counted_kwh else Decimal(0)

    def counted_at(self, instant: datetime) -> tuple[Decimal, bool]:
        """Energy counted until ``instant`` [kWh], and whether that is interpolated between differing readings."""
        after = bisect_left(self.times, instant)
        if after == len(self.times):
            return self.total_kwh, False
        if after == 0 or self.times[after] == instant:
            return self.counted_kwh[after], False
        earlier, later = self.counted_kwh[after - 1], self.counted_kwh[after]
        if earlier == later:
            return earlier, False
        passed = (instant - self.times[after - 1]) // _TICK
        whole = (self.times[after] - self.times[after - 1]) // _TICK
        share = EXACT.divide(EXACT.multiply(later - earlier, Decimal(passed)), Decimal(whole))
        return earlier + share.quantize(RESOLUTION_KWH, ROUND_DOWN, EXACT), True

    def intervals(self, boundaries: Sequence[datetime]) -> tuple[MeteredInterval, ...]:
        """The energy of each step between ``boundaries``; outside the readings it is zero."""
        counted = [self.counted_at(boundary) for boundary in boundaries]
        return tuple(
            MeteredInterval(Interval(start, end), until - since, interpolated_start or interpolated_end)
            for (start, end), ((since, interpolated_start), (until, interpolated_end)) in zip(
                pairwise(boundaries), pairwise(counted), strict=True
            )
        )

    def cut(self, grid: Sequence[datetime]) -> tuple[MeteredInterval, ...]:
        """The energy of each step of ``grid`` from the first reading to the last, these two being cuts as well."""
        if len(self.times) < 2 or not grid:
            return ()
        start, end = max(self.times[0], grid[0]), min(self.times[-1], grid[-1])
        if start >= end:
            return ()
        return self.intervals((start, *grid[bisect_right(grid, start) : bisect_left(grid, end)], end))


def curve_through(
    meter: str, readings: Iterable[tuple[datetime, Decimal]], greatest_kw: float | None = None
) -> RegisterCurve:
    """The energy that ``readings`` of one register tell, in any order; of several at one instant the greatest counts.

    Args:
        meter: What to call the meter in findings.
        readings: Instant [UTC] and register [kWh].
        greatest_kw: Greatest power through the meter [kW]; ``None``: any rise is believed.
    """
    greatest: dict[datetime, Decimal] = {}
    for at, register_kwh in readings:
        greatest[at] = max(register_kwh, greatest.get(at, register_kwh))
    if not greatest:
        return RegisterCurve((), ())
    ordered = sorted(greatest.items())
    last_at, held_kwh = ordered[0]
    times, counted_kwh = [last_at], [Decimal(0)]
    findings: list[MeterFinding] = []
    for index, (at, register_kwh) in enumerate(ordered[1:], start=1):
        following_kwh = ordered[min(index + 1, len(ordered) - 1)][1]
        step = _Step(at - last_at, held_kwh, register_kwh, following_kwh)
        kind = step.finding(greatest_kw)
        if kind is not None:
            start = last_at if kind is FindingKind.GAP else at
            findings.append(MeterFinding(kind, meter, start, f"{held_kwh} kWh, after {step.length} {register_kwh} kWh"))
        if kind in (FindingKind.SPIKE, FindingKind.DIP):
            continue
        counts = kind in (None, FindingKind.GAP)
        times.append(at)
        counted_kwh.append(counted_kwh[-1] + (register_kwh - held_kwh if counts else 0))
        last_at, held_kwh = at, register_kwh
    return RegisterCurve(tuple(times), tuple(counted_kwh), tuple(findings))


@dataclass(frozen=True, slots=True)
class _Step:
    """From the reading in use to the next one."""

    length: timedelta
    held_kwh: Decimal
    register_kwh: Decimal
    following_kwh: Decimal

    def finding(self, greatest_kw: float | None) -> FindingKind | None:
        """What is wrong with it."""
        if self.held_kwh - GREATEST_DIP_KWH < self.following_kwh <= self.register_kwh - GREATEST_DIP_KWH:
            return FindingKind.SPIKE
        rise_kwh = self.register_kwh - self.held_kwh
        if rise_kwh < 0:
            returns = self.following_kwh >= self.held_kwh or -rise_kwh < GREATEST_DIP_KWH
            return FindingKind.DIP if returns else FindingKind.RESET
        if greatest_kw is not None and rise_kwh > _plausible_kwh(greatest_kw, self.length):
            return FindingKind.JUMP
        return FindingKind.GAP if rise_kwh and self.length > LONGEST_STEP else None


def _plausible_kwh(greatest_kw: float, length: timedelta) -> Decimal:
    """Energy beyond which a rise is no consumption: twice what can flow, as stations' clocks err, and one kWh."""
    return Decimal(2 * greatest_kw * (length / timedelta(hours=1)) + 1)
