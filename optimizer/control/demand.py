"""How far the demand charges of the running billing month have come, from the site meter's registers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from optimizer.control.past_days import PastDays
from optimizer.domain.ids import SiteId
from optimizer.domain.metering import SiteMeterReading
from optimizer.domain.moment import hours_between
from optimizer.domain.site import Site
from optimizer.domain.snapshot import DemandState
from optimizer.domain.tariff import DemandCharge, Tariff
from optimizer.ports import Stores

LATE_READINGS = timedelta(hours=2)
"""Readings may arrive this late; intervals younger than this are computed anew."""


@dataclass
class _Reached:
    """Peak over the intervals of one charge that are settled."""

    until: datetime
    peak_kw: float = 0.0


@dataclass
class DemandReader:
    """Finds peaks from registers; what it remembers only spares reading the month again."""

    peak_hint_kw: float = 0.0
    """Peak that the operator thinks unavoidable in every billing month [kW]."""
    days_back: int = 0
    """How many past days are looked back on to learn the peak; 0: none."""
    _past: dict[SiteId, PastDays] = field(default_factory=dict)
    _reached: dict[tuple[SiteId, str, datetime], _Reached] = field(default_factory=dict)

    async def states(self, site: Site, stores: Stores, tariff: Tariff, at: datetime) -> tuple[DemandState, ...]:
        """One state for each demand charge of the tariff."""
        month = tariff.billing_month(at)
        states = []
        past = self._past.setdefault(site.id, PastDays(self.days_back))
        if tariff.demand_charges:
            await past.look_back(site, stores, tariff, at)
        still_to_come = past.still_to_come(tariff, at)
        for charge in tariff.demand_charges:
            key = (site.id, charge.name, month.start)
            reached = self._reached.setdefault(key, _Reached(month.start))
            readings = await stores.meters.site_readings(site.id, reached.until, at)
            length = timedelta(minutes=charge.interval_minutes)
            running = interval_start(month.start, length, at)
            settled = interval_start(month.start, length, max(month.start, at - LATE_READINGS))
            old_kw = greatest_mean_kw(readings, charge, tariff, reached.until, settled)
            reached.peak_kw = max(reached.peak_kw, old_kw)
            reached.until = max(reached.until, settled)
            young_kw = greatest_mean_kw(readings, charge, tariff, settled, running)
            states.append(
                DemandState(
                    charge=charge,
                    peak_so_far_kw=max(reached.peak_kw, young_kw),
                    month_days_left=days_left(tariff, month.end, at),
                    interval_energy_kwh=max(0.0, imported_kwh(readings, running, at)),
                    peak_hint_kw=self.peak_hint_kw,
                    learnt_peak_kw=past.sure_peak_kw(charge),
                    still_to_come=still_to_come,
                )
            )
        self._forget_before(month.start)
        return tuple(states)

    def _forget_before(self, month_start: datetime) -> None:
        for key in [key for key in self._reached if key[2] < month_start - timedelta(days=2)]:
            del self._reached[key]


def interval_start(month_start: datetime, length: timedelta, instant: datetime) -> datetime:
    """Start of the metering interval that ``instant`` falls in."""
    return month_start + (instant - month_start) // length * length


def greatest_mean_kw(
    readings: Sequence[SiteMeterReading], charge: DemandCharge, tariff: Tariff, start: datetime, end: datetime
) -> float:
    """Greatest mean import of the metering intervals of ``[start, end)`` that count for ``charge`` [kW]."""
    length = timedelta(minutes=charge.interval_minutes)
    greatest_kw = 0.0
    while start < end:
        if charge.window.applies_at(start.astimezone(tariff.zone)):
            mean_kw = imported_kwh(readings, start, start + length) / hours_between(start, start + length)
            greatest_kw = max(greatest_kw, mean_kw)
        start += length
    return greatest_kw


def imported_kwh(readings: Sequence[SiteMeterReading], start: datetime, end: datetime) -> float:
    """Energy imported in ``[start, end)`` [kWh]; the register is interpolated between readings, held outside them."""
    if not readings:
        return 0.0
    return _register_kwh(readings, end) - _register_kwh(readings, start)


def _register_kwh(readings: Sequence[SiteMeterReading], instant: datetime) -> float:
    after = bisect_right(readings, instant, key=lambda reading: reading.at)
    if after == 0 or after == len(readings):
        return float(readings[min(after, len(readings) - 1)].import_register_kwh)
    earlier, later = readings[after - 1], readings[after]
    share = (instant - earlier.at) / (later.at - earlier.at)
    return float(earlier.import_register_kwh) + share * float(later.import_register_kwh - earlier.import_register_kwh)


def days_left(tariff: Tariff, month_end: datetime, at: datetime) -> float:
    """Local days left in the billing month, today included."""
    today = at.astimezone(tariff.zone).date()
    last = (month_end.astimezone(UTC) - timedelta(microseconds=1)).astimezone(tariff.zone).date()
    return float((last - today).days + 1)
