"""The demand charges as a plan sees them: which intervals count, what is reached already, and what is still to come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from optimizer.domain.moment import Interval
from optimizer.domain.snapshot import DemandState, SiteSnapshot
from optimizer.domain.tariff import TariffWindow
from optimizer.planning.problem import FloatArray
from optimizer.planning.requests import ChargingRequest, DemandTerm
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.slots import hours_from, slot_means

ALWAYS = TariffWindow()


def demand_terms(
    snapshot: SiteSnapshot,
    settings: PlanningSettings,
    boundaries: tuple[datetime, ...],
    requests: Sequence[ChargingRequest] = (),
) -> list[DemandTerm]:
    """Return the demand charges over the horizon; intervals of the next billing month form a charge of their own."""
    zone = ZoneInfo(snapshot.site.time_zone)
    needed_kw = 0.0
    if any(state.learnt_peak_kw is None for state in snapshot.demand):
        needed_kw = settings.peak_headroom_factor * pressing_kw(snapshot, boundaries, requests)
    terms = []
    for state in snapshot.demand:
        for month in _months(state, zone, boundaries):
            if month.intervals:
                term = _demand_term(state, month, settings, needed_kw)
                terms += _shared(term, boundaries[min(settings.near_slots, len(boundaries) - 1)], settings)
    return terms


def _shared(term: DemandTerm, near_until: datetime, settings: PlanningSettings) -> list[DemandTerm]:
    """Split a charge in two: what present vehicles reach by themselves, and what those still to come add to it.

    A peak raised now, for vehicles that may not come, is paid whole; what it is expected to spare later counts by its
    share only. So a plan moves energy out of the way of those to come long before it raises the peak for them. Who
    comes within the near slots leads to a new plan on arrival: until then the room is the present ones'.
    """
    share = settings.expected_demand_share
    expected_kw = [
        kw if interval.start >= near_until else 0.0
        for kw, interval in zip(term.expected_kw, term.intervals, strict=False)
    ]
    alone = replace(term, expected_kw=(), price_per_kw=term.price_per_kw * (1.0 - share))
    together = replace(term, expected_kw=expected_kw, price_per_kw=term.price_per_kw * share)
    if not any(expected_kw):
        return [replace(term, expected_kw=())]
    if share >= 1.0 or share <= 0.0:
        return [together if share > 0.0 else alone]
    return [alone, replace(together, name=f"{term.name} (with vehicles to come)")]


def pressing_kw(snapshot: SiteSnapshot, boundaries: tuple[datetime, ...], requests: Iterable[ChargingRequest]) -> float:
    """The least import at which all that present vehicles need is there in time, were their power not limited [kW].

    For every departure, what is due until then and the building's energy over the time until then; the greatest counts
    (the intensity of Yao, Demers and Shenker, FOCS 1995, with all jobs released).
    """
    now = boundaries[0]
    due = sorted((need.by, need.energy_kwh) for request in requests for need in request.needs[-1:] if need.by > now)
    if not due:
        return 0.0
    hours = hours_from(now, [by for by, _ in due])
    energy_kwh = np.cumsum([kwh for _, kwh in due])
    base_kw = np.array(
        [
            slot_means(snapshot.building.boundaries, snapshot.building.values_kw, (now, by))[0]
            - slot_means(snapshot.pv.boundaries, snapshot.pv.values_kw, (now, by))[0]
            for by, _ in due
        ]
    )
    return float(max(0.0, (energy_kwh / hours + base_kw).max()))


@dataclass(frozen=True, slots=True)
class _Month:
    """The metering intervals of one charge in one billing month."""

    number: int
    days_left: float
    intervals: tuple[Interval, ...]


def _months(state: DemandState, zone: ZoneInfo, boundaries: tuple[datetime, ...]) -> list[_Month]:
    """The running month and the ones that begin within the horizon."""
    length, counts_always = timedelta(minutes=state.charge.interval_minutes), state.charge.window == ALWAYS
    local_now = boundaries[0].astimezone(zone)
    midnight = local_now.replace(hour=0, minute=0, second=0, microsecond=0)
    start = boundaries[0] - (boundaries[0] - midnight) % length
    months = []
    year, number = local_now.year, local_now.month
    while start < boundaries[-1]:
        first = datetime(year, number, 1, tzinfo=zone)
        following = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=zone)
        until = min(boundaries[-1], following.astimezone(UTC))
        runs_now = (year, number) == (local_now.year, local_now.month)
        intervals = []
        while start < until:
            if counts_always or state.charge.window.applies_at(start.astimezone(zone)):
                intervals.append(Interval(start, start + length))
            start += length
        days = state.month_days_left if runs_now else (following - first) / timedelta(days=1)
        months.append(_Month(0 if runs_now else number, days, tuple(intervals)))
        year, number = following.year, following.month
    return months


def _demand_term(state: DemandState, month: _Month, settings: PlanningSettings, needed_kw: float) -> DemandTerm:
    price = float(state.charge.price_per_kw)
    days = max(1.0, month.days_left) if settings.spread_demand_price else 1.0
    hint_kw = state.peak_hint_kw if settings.use_peak_hint else 0.0
    sure_kw = needed_kw if state.learnt_peak_kw is None else state.learnt_peak_kw
    runs_now = month.number == 0
    return DemandTerm(
        name=state.charge.name if runs_now else f"{state.charge.name} (month {month.number})",
        price_per_kw=price / days,
        reached_kw=max(0.0, state.peak_so_far_kw if runs_now else 0.0, hint_kw, sure_kw),
        intervals=month.intervals,
        metered_kwh=max(0.0, state.interval_energy_kwh) if runs_now else 0.0,
        expected_kw=_expected_kw(state, month).tolist(),
    )


def _expected_kw(state: DemandState, month: _Month) -> FloatArray:
    """Mean power of vehicles still to come in each interval; beyond the known series none."""
    series = state.still_to_come
    if series is None or not month.intervals:
        return np.zeros(0)
    edges = hours_from(series.boundaries[0], series.boundaries)
    starts = hours_from(series.boundaries[0], [interval.start for interval in month.intervals])
    place = np.searchsorted(edges, starts, side="right") - 1
    inside = (place >= 0) & (place < len(series.values_kw))
    values = np.asarray(series.values_kw)
    return np.where(inside, values[np.clip(place, 0, len(values) - 1)], 0.0)
