"""Local days, the costing grid, demand intervals and billing windows: where costing cuts time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from optimizer.domain.moment import Interval
from optimizer.domain.tariff import Tariff
from optimizer.errors import InvalidInput

SETTLEMENT_MINUTES = 15
"""Within this time energy from PV and grid is shared as one mix; the settlement interval of European grids."""

BillingCalendar = Callable[[Tariff, datetime], Interval]
"""Gives the billing window that an instant lies in; windows follow one another without gap."""


def billing_months(tariff: Tariff, instant: datetime) -> Interval:
    """The local calendar month of ``instant``."""
    return tariff.billing_month(instant)


def billing_days(tariff: Tariff, instant: datetime, begins: time = time(0)) -> Interval:
    """The billing day of ``instant``, from the local time ``begins`` of one day to that of the next."""
    day = instant.astimezone(tariff.zone).date()
    start = datetime.combine(day, begins, tariff.zone)
    if instant < start:
        start -= timedelta(days=1)
    return Interval(start, start + timedelta(days=1))


def days_beginning(at: time) -> BillingCalendar:
    """Billing days that begin at a local time of their own, for who closes the books when a shift ends."""

    def window_of(tariff: Tariff, instant: datetime) -> Interval:
        return billing_days(tariff, instant, at)

    return window_of


def windows_from(start: datetime, length: timedelta) -> BillingCalendar:
    """Windows of equal ``length``, one of which begins at ``start``.

    Raises:
        InvalidInput: ``length`` is not above zero.
    """
    if length <= timedelta(0):
        raise InvalidInput("length", length, "give a length above zero")

    def window_of(_tariff: Tariff, instant: datetime) -> Interval:
        begin = start + (instant - start) // length * length
        return Interval(begin, begin + length)

    return window_of


def local_days(span: Interval, zone: ZoneInfo) -> Iterator[Interval]:
    """The local days that ``span`` touches, whole."""
    day = span.start.astimezone(zone).date()
    start = _midnight(day, zone)
    while start < span.end:
        day += timedelta(days=1)
        end = _midnight(day, zone)
        yield Interval(start, end)
        start = end


def clipped(interval: Interval, to: Interval) -> Interval | None:
    """The part of ``interval`` inside ``to``; ``None`` where there is none."""
    start, end = max(interval.start, to.start), min(interval.end, to.end)
    return Interval(start, end) if start < end else None


def equal_steps(span: Interval, zone: ZoneInfo, minutes: int) -> Iterator[Interval]:
    """Steps of ``minutes`` from each local midnight on; the last of a day is shorter where they do not fill it.

    Steps that ``span`` cuts are left out.
    """
    step = timedelta(minutes=minutes)
    for day in local_days(span, zone):
        start = day.start
        while start < day.end:
            end = min(start + step, day.end)
            if span.start <= start and end <= span.end:
                yield Interval(start, end)
            start = end


def costing_grid(tariff: Tariff, span: Interval) -> tuple[datetime, ...]:
    """All instants in ``span`` at which metered energy is cut, both ends included [UTC].

    They are the instants at which a price may change, the quarter-hours of the local clock, and the boundaries of the
    intervals over which the demand charges take their means.
    """
    instants = set(tariff.boundaries_between(span.start, span.end))
    for minutes in {SETTLEMENT_MINUTES} | {charge.interval_minutes for charge in tariff.demand_charges}:
        for step in equal_steps(span, tariff.zone, minutes):
            instants |= {step.start, step.end}
    return tuple(sorted(instants))


def days_in(span: Interval, zone: ZoneInfo) -> Fraction:
    """Local days that ``span`` covers; a part of a day counts by its share of that day, be it 23 or 25 hours long."""
    days = Fraction(0)
    for day in local_days(span, zone):
        part = clipped(day, span)
        if part is not None:
            days += Fraction((part.end - part.start) // _TICK, (day.end - day.start) // _TICK)
    return days


_TICK = timedelta(microseconds=1)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(0), zone).astimezone(UTC)
