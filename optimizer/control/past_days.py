"""Looks back on the site's own days, once a day, to tell what the month's peak will be and what today still needs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from optimizer.control.expectation import measured_series
from optimizer.domain.moment import hours_between
from optimizer.domain.series import PowerSeries
from optimizer.domain.session import Session
from optimizer.domain.site import Site
from optimizer.domain.tariff import DemandCharge, Tariff
from optimizer.planning.past_days import (
    SLOT_H,
    SPAN_SLOTS,
    PastDay,
    PeakWorth,
    StillToCome,
    peak_worth,
    sure_peak_kw,
)
from optimizer.planning.problem import FloatArray
from optimizer.planning.slots import slot_means
from optimizer.ports import Quantity, Stores

LEAST_STAY_H = 1 / 60
"""A shorter stay was no charging session [h]."""
LEAST_ENERGY_KWH = 0.05
"""Less energy is a connection that failed [kWh]."""
FIRST_REST_DAY = 5
"""Saturday and Sunday are days of another kind."""


@dataclass
class _Kept:
    """One day looked back on."""

    day: PastDay
    is_final: bool
    worth: dict[tuple[str, bytes], PeakWorth] = field(default_factory=dict)


@dataclass
class PastDays:
    """What the last days at one site teach; read from the stores, what is kept only spares reading anew."""

    days_back: int
    """How many days are looked back on; 0: none."""
    _today: date | None = None
    _kept: dict[date, _Kept] = field(default_factory=dict)
    _to_come: StillToCome | None = None
    _sure_kw: dict[str, float | None] = field(default_factory=dict)

    async def look_back(self, site: Site, stores: Stores, tariff: Tariff, at: datetime) -> None:
        """Read the days that have ended since the last look; does nothing a second time on one day."""
        today = at.astimezone(tariff.zone).date()
        if not self.days_back or today == self._today:
            return
        self._today, self._sure_kw = today, {}
        wanted = [today - timedelta(days=back) for back in range(self.days_back, 0, -1)]
        missing = [day for day in wanted if day not in self._kept or not self._kept[day].is_final]
        sessions = await stores.sessions.sessions_since(site.id, midnight(missing[0], tariff)) if missing else ()
        known_from = min([*self._kept, *(_local_day(one, tariff) for one in sessions[:1])], default=today)
        for day in missing:
            if day >= known_from:
                mine = [one for one in sessions if _local_day(one, tariff) == day]
                self._kept[day] = await _looked_at(day, mine, site, stores, tariff, at)
        self._kept = {day: kept for day, kept in sorted(self._kept.items()) if day >= wanted[0]}
        alike = [kept.day for day, kept in self._kept.items() if _is_rest_day(day) == _is_rest_day(today)]
        self._to_come = StillToCome(alike) if alike else None
        for charge in tariff.demand_charges:
            self._sure_kw[charge.name] = await self._reckoned_kw(charge, tariff, at)

    def sure_peak_kw(self, charge: DemandCharge) -> float | None:
        """The peak that this billing month will reach anyway [kW]; ``None`` while too little is known."""
        return self._sure_kw.get(charge.name)

    def still_to_come(self, tariff: Tariff, at: datetime) -> PowerSeries | None:
        """Mean power that vehicles need who are not there yet, until next morning; ``None`` while no day is known."""
        if self._to_come is None or self._today is None:
            return None
        start = midnight(self._today, tariff)
        boundaries = tuple(start + timedelta(hours=SLOT_H * slot) for slot in range(SPAN_SLOTS + 1))
        return PowerSeries(boundaries, tuple(self._to_come.after_kw(hours_between(start, at)).tolist()))

    async def _reckoned_kw(self, charge: DemandCharge, tariff: Tariff, at: datetime) -> float | None:
        kinds: tuple[list[PeakWorth], list[PeakWorth]] = ([], [])
        for day, kept in self._kept.items():
            kinds[_is_rest_day(day)].append(self._worth_of(day, kept, charge, tariff))
            # A day takes up to a tenth of a second; the guard must not wait for all of them.
            await asyncio.sleep(0)
        month_end = tariff.billing_month(at).end
        to_come = [0, 0]
        day = at.astimezone(tariff.zone).date()
        while midnight(day, tariff) < month_end:
            to_come[_is_rest_day(day)] += 1
            day += timedelta(days=1)
        return sure_peak_kw(kinds, to_come, float(charge.price_per_kw))

    def _worth_of(self, day: date, kept: _Kept, charge: DemandCharge, tariff: Tariff) -> PeakWorth:
        """What a kW of peak would have saved on a day at the prices of its weekday now."""
        start = midnight(self._same_weekday_now(day), tariff)
        edges = [start + timedelta(hours=SLOT_H * slot) for slot in range(SPAN_SLOTS + 1)]
        if tariff.market_priced or tariff.market is not None:
            # Day-ahead prices of other days say nothing of those to come: only what a peak must serve counts.
            price = np.zeros(SPAN_SLOTS)
        else:
            series = tariff.import_prices(edges[0], edges[-1])
            price = slot_means(series.boundaries, [float(value) for value in series.prices_per_kwh], edges)
        key = (charge.name, price.tobytes())
        if key not in kept.worth:
            counts = np.array([charge.window.applies_at(edge.astimezone(tariff.zone)) for edge in edges[:-1]])
            kept.worth = {key: peak_worth(kept.day, price, counts, float(charge.price_per_kw))} | {
                other: worth for other, worth in kept.worth.items() if other[0] != charge.name
            }
        return kept.worth[key]

    def _same_weekday_now(self, day: date) -> date:
        weeks = -(-((self._today or day) - day).days // 7)
        return day + timedelta(days=7 * weeks)


def midnight(day: date, tariff: Tariff) -> datetime:
    """When a local day begins [UTC]."""
    return datetime.combine(day, time(0), tariff.zone).astimezone(UTC)


def _is_rest_day(day: date) -> bool:
    return day.weekday() >= FIRST_REST_DAY


def _local_day(session: Session, tariff: Tariff) -> date:
    return session.plugged_in_at.astimezone(tariff.zone).date()


async def _looked_at(
    day: date, sessions: Sequence[Session], site: Site, stores: Stores, tariff: Tariff, at: datetime
) -> _Kept:
    start = midnight(day, tariff)
    stays = [stay for session in sessions if (stay := _stay(session, site, start, at)) is not None]
    columns = np.array(stays, dtype=np.float64).reshape(len(stays), 4).T
    base_kw = await _base_kw(site, stores, start, at)
    is_final = all(not session.is_active for session in sessions)
    return _Kept(PastDay(columns[0], columns[1], columns[2], columns[3], base_kw), is_final)


def _stay(session: Session, site: Site, start: datetime, at: datetime) -> tuple[float, float, float, float] | None:
    """Plug-in, plug-out, energy and greatest power of a stay; of one that lasts what is stated; ``None``: none."""
    evse = site.evses.get(session.evse_id)
    if evse is None:
        return None
    leaves = session.unplugged_at or max(at, session.depart_at or at)
    energy_kwh = session.energy_kwh
    if session.is_active:
        energy_kwh = max([energy_kwh, *(target.energy_kwh or 0.0 for target in session.targets)])
    arrive_h, leave_h = hours_between(start, session.plugged_in_at), hours_between(start, leaves)
    max_kw = min(evse.max_power_kw, session.vehicle.max_power_kw or evse.max_power_kw)
    if leave_h - arrive_h < LEAST_STAY_H or energy_kwh < LEAST_ENERGY_KWH or max_kw <= 0:
        return None
    return arrive_h, min(leave_h, SPAN_SLOTS * SLOT_H), energy_kwh, max_kw


async def _base_kw(site: Site, stores: Stores, start: datetime, at: datetime) -> FloatArray:
    """What the site drew besides vehicles, less PV, in each quarter of an hour [kW]."""
    base_kw = np.zeros(SPAN_SLOTS)
    if site.greatest_building_kw <= 0 and not site.pv_arrays:
        return base_kw
    edges = [start + timedelta(hours=SLOT_H * slot) for slot in range(SPAN_SLOTS + 1)]
    readings = await stores.meters.site_readings(site.id, start, min(edges[-1], at))
    for quantity, sign in ((Quantity.BUILDING, 1.0), (Quantity.PV, -1.0)):
        series = measured_series(readings, quantity)
        if series is not None:
            base_kw += sign * slot_means(series.boundaries, series.values_kw, edges)
    return base_kw
