"""Metered intervals on the costing grid: all that a bill and its shares are computed from.

    registers of          site meter          EVSE, with a session         EVSE, without one
                              |                       |                            |
                       site_intervals()       session_metering()         unassigned_metering()
                              |                       |                            |
    cut at the grid    SiteInterval           SessionMetering              MeteredInterval

The grid is `billing_time.costing_grid`. A session's first and last interval are shorter where it begins or ends within
a step. Registers are read by `registers`; samples marked suspect or stale are not used.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from types import MappingProxyType

from optimizer.costing.money import EXACT
from optimizer.costing.registers import FindingKind, MeterFinding, RegisterCurve, curve_through
from optimizer.domain.ids import EvseId, SessionId
from optimizer.domain.metering import MeteredInterval, MeterSample, SampleQuality, SessionMetering, SiteMeterReading
from optimizer.domain.moment import Interval

USED_QUALITIES = (SampleQuality.GOOD, SampleQuality.DERIVED)

StationSample = tuple[MeterSample, SessionId | None]
"""A sample of a station and the session it is on."""


@dataclass(frozen=True, slots=True)
class SiteInterval:
    """What the site's own meters counted in one step of the grid."""

    interval: Interval
    """When."""
    import_kwh: Decimal
    """From the grid [kWh]."""
    export_kwh: Decimal
    """To the grid [kWh]."""
    pv_kwh: Decimal | None = None
    """Produced by PV [kWh]; ``None``: not metered."""
    building_kwh: Decimal | None = None
    """Used by the building [kWh]; ``None``: not metered."""
    interpolated: bool = False
    """Whether a boundary lay between two differing readings."""


def site_intervals(
    readings: Sequence[SiteMeterReading], grid: Sequence[datetime]
) -> tuple[tuple[SiteInterval, ...], tuple[MeterFinding, ...]]:
    """Cut the registers of the site's meters at ``grid``.

    Args:
        readings: Readings in any order, with the nearest before and after the grid where they exist.
        grid: Boundaries of the steps, rising [UTC].

    Returns:
        One interval for each step, and what was wrong with the readings. Steps without readings count as zero and are
        told as uncovered.
    """
    with localcontext(EXACT):
        grid_import = _site_curve("grid import", readings, lambda reading: reading.import_register_kwh)
        export = _site_curve("grid export", readings, lambda reading: reading.export_register_kwh)
        pv = _site_curve("pv", readings, lambda reading: reading.pv_register_kwh)
        building = _site_curve("building", readings, lambda reading: reading.building_register_kwh)
        cut = zip(*(curve.intervals(grid) for curve in (grid_import, export, pv, building)), strict=True)
    intervals = tuple(
        SiteInterval(
            imported.interval,
            imported.energy_kwh,
            exported.energy_kwh,
            produced.energy_kwh if _covers(pv, produced.interval) else None,
            used.energy_kwh if _covers(building, used.interval) else None,
            interpolated=any(part.interpolated for part in (imported, exported, produced, used)),
        )
        for imported, exported, produced, used in cut
    )
    findings = [finding for curve in (grid_import, export, pv, building) for finding in curve.findings]
    return intervals, (
        *(finding for finding in findings if _within(finding, grid)),
        *_uncovered(grid_import, grid),
    )


def session_metering(
    session_id: SessionId,
    samples: Iterable[MeterSample],
    grid: Sequence[datetime],
    greatest_kw: float | None = None,
) -> tuple[SessionMetering, tuple[MeterFinding, ...]]:
    """Cut the energy register of one session's samples at ``grid``.

    The energy is that from the session's first sample to its last one; nothing before, after or without samples. What
    the vehicle gave back is counted beside it, by a register of its own.

    Args:
        session_id: Whose samples.
        samples: All samples of the session, in any order.
        grid: Boundaries of the steps, rising [UTC].
        greatest_kw: Greatest power of its EVSE; what exceeds it by far is not counted [kW].
    """
    kept = list(samples)
    meter = f"session {session_id}"
    with localcontext(EXACT):
        curve = curve_through(meter, _registers_in_use(kept), greatest_kw)
        returned = curve_through(f"{meter}, given back", _export_registers_in_use(kept), greatest_kw)
        metering = SessionMetering(session_id, _with_returned(curve.cut(grid), returned, grid))
    set_aside = [
        MeterFinding(FindingKind.SET_ASIDE, meter, sample.at, f"{sample.register_kwh} kWh is {sample.quality}")
        for sample in kept
        if sample.register_kwh is not None and sample.quality not in USED_QUALITIES
    ]
    found = (*set_aside, *curve.findings, *returned.findings)
    findings = [finding for finding in found if _within(finding, grid)]
    if not curve.times and grid:
        findings.append(MeterFinding(FindingKind.UNCOVERED, meter, grid[0], "no register reading"))
    return metering, tuple(findings)


def unassigned_metering(
    station_samples: Iterable[StationSample],
    grid: Sequence[datetime],
    greatest_kw: Mapping[EvseId, float] = MappingProxyType({}),
) -> tuple[tuple[MeteredInterval, ...], tuple[MeterFinding, ...]]:
    """Energy that stations counted on no session, summed over all EVSEs, cut at ``grid``.

    At each EVSE that is what its register counted between the last sample of one session and the first one of the next,
    and before the first and after the last session. Steps without such energy are left out.

    Args:
        station_samples: All samples of a site's stations, in any order.
        grid: Boundaries of the steps, rising [UTC].
        greatest_kw: Greatest power of each EVSE; a rise far beyond it is a changed meter, and not counted [kW].
    """
    by_evse: dict[EvseId, list[StationSample]] = defaultdict(list)
    for sample, session_id in station_samples:
        if sample.register_kwh is not None and sample.quality in USED_QUALITIES:
            by_evse[sample.evse_id].append((sample, session_id))
    energy_kwh: dict[int, Decimal] = defaultdict(Decimal)
    interpolated: set[int] = set()
    findings: list[MeterFinding] = []
    with localcontext(EXACT):
        for evse_id in sorted(by_evse):
            for run in _idle_runs(by_evse[evse_id]):
                curve = curve_through(f"EVSE {evse_id}", _registers_in_use(run), greatest_kw.get(evse_id))
                findings += [finding for finding in curve.findings if _within(finding, grid)]
                for part in curve.cut(grid) if curve.total_kwh else ():
                    step = bisect_right(grid, part.interval.start) - 1
                    energy_kwh[step] += part.energy_kwh
                    if part.interpolated:
                        interpolated.add(step)
    intervals = tuple(
        MeteredInterval(Interval(grid[step], grid[step + 1]), energy_kwh[step], step in interpolated)
        for step in sorted(energy_kwh)
        if energy_kwh[step]
    )
    return intervals, tuple(findings)


def _site_curve(
    meter: str, readings: Iterable[SiteMeterReading], register: Callable[[SiteMeterReading], Decimal | None]
) -> RegisterCurve:
    values = ((reading.at, register(reading)) for reading in readings)
    return curve_through(meter, ((at, value) for at, value in values if value is not None))


def _registers_in_use(samples: Iterable[MeterSample]) -> list[tuple[datetime, Decimal]]:
    return [
        (sample.at, sample.register_kwh)
        for sample in samples
        if sample.register_kwh is not None and sample.quality in USED_QUALITIES
    ]


def _export_registers_in_use(samples: Iterable[MeterSample]) -> list[tuple[datetime, Decimal]]:
    return [
        (sample.at, sample.export_register_kwh)
        for sample in samples
        if sample.export_register_kwh is not None and sample.quality in USED_QUALITIES
    ]


def _with_returned(
    taken: Sequence[MeteredInterval], returned: RegisterCurve, grid: Sequence[datetime]
) -> tuple[MeteredInterval, ...]:
    """Intervals with the energy given back in the same step of the grid; a step in which only that flowed is added."""
    if not returned.total_kwh:
        return tuple(taken)
    by_step = {bisect_right(grid, part.interval.start): part for part in taken}
    for part in returned.cut(grid):
        step = bisect_right(grid, part.interval.start)
        held = by_step.get(step, MeteredInterval(part.interval, Decimal(0)))
        interpolated = held.interpolated or part.interpolated
        by_step[step] = MeteredInterval(held.interval, held.energy_kwh, interpolated, part.energy_kwh)
    return tuple(by_step[step] for step in sorted(by_step))


def _idle_runs(timeline: list[StationSample]) -> list[list[MeterSample]]:
    """The samples of one EVSE between sessions, each run with the sample that ends the one and begins the next.

        session    A   A   -   A   -   -   B   B   -
        runs                   A . . . . . B
                                               B . .

    A sample on no session between two of the same session is that session's.
    """
    timeline = sorted(timeline, key=lambda entry: (entry[0].at, entry[1] or ""))
    last_of = {session_id: index for index, (_, session_id) in enumerate(timeline) if session_id is not None}
    runs: list[list[MeterSample]] = []
    run: list[MeterSample] = []
    busy_until = -1
    for index, (sample, session_id) in enumerate(timeline):
        busy = index <= busy_until
        if session_id is not None:
            busy_until = max(busy_until, last_of[session_id])
        if not busy:
            run.append(sample)
        if session_id is not None and not busy:
            runs.append(run)
            run = []
        if session_id is not None and index == busy_until:
            run = [sample]
    return [each for each in (*runs, run) if len(each) > 1]


def _covers(curve: RegisterCurve, interval: Interval) -> bool:
    return bool(curve.times) and curve.times[0] < interval.end and interval.start < curve.times[-1]


def _within(finding: MeterFinding, grid: Sequence[datetime]) -> bool:
    return bool(grid) and grid[0] <= finding.at < grid[-1]


def _uncovered(curve: RegisterCurve, grid: Sequence[datetime]) -> list[MeterFinding]:
    """The parts of the grid before the first reading and after the last."""
    first, last = (curve.times[0], curve.times[-1]) if curve.times else (grid[-1], grid[-1])
    missing = ((grid[0], min(first, grid[-1])), (max(last, grid[0]), grid[-1]))
    return [
        MeterFinding(FindingKind.UNCOVERED, "grid import", start, f"no reading until {end.isoformat()}")
        for start, end in missing
        if start < end
    ]
