"""Seasons, hours and days of tariff files, and the check that a tariff prices every moment of the year once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from pathlib import Path
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from optimizer.domain.tariff import EnergyBand, TariffWindow
from optimizer.errors import InvalidDataFile

Value = TypeVar("Value", bound=Hashable)

LAST_DAY_OF_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""February with its leap day: a window that ends on 02-29 ends with February in every year."""

CALENDAR_CYCLE_YEARS = range(2000, 2028)
"""28 years in which every month and day, 29 February too, falls on every weekday."""

END_OF_DAY_MINUTE = 24 * 60


@dataclass(frozen=True, slots=True)
class Season(Generic[Value]):
    """Consecutive months to which one value applies; it may wrap over New Year."""

    first_day: tuple[int, int]
    """Month and day from which it applies."""
    last_day: tuple[int, int]
    """Month and day until which it applies, inclusive."""
    value: Value
    """What applies."""


def seasons_of(months: Sequence[Value]) -> list[Season[Value]]:
    """Join equal neighbours of twelve monthly values, December and January being neighbours too."""
    if len(set(months)) == 1:
        return [Season((1, 1), (12, 31), months[0])]
    starts = [month for month in range(12) if months[month] != months[month - 1]]
    seasons = []
    for start, following in zip(starts, [*starts[1:], starts[0]], strict=True):
        last = (following - 1) % 12
        seasons.append(Season((start + 1, 1), (last + 1, LAST_DAY_OF_MONTH[last]), months[start]))
    return seasons


def hour_runs(hours: Sequence[Value]) -> list[tuple[time, time, Value]]:
    """Join equal neighbours of 24 hourly values to ``(start, end, value)``; ``end`` 00:00 is the end of the day."""
    starts = [hour for hour in range(24) if hour == 0 or hours[hour] != hours[hour - 1]]
    return [
        (time(start), time(following % 24), hours[start])
        for start, following in zip(starts, [*starts[1:], 24], strict=True)
    ]


def checked_zone(time_zone: str, where: Path) -> str:
    """Return ``time_zone``.

    Raises:
        InvalidDataFile: It is no IANA zone.
    """
    try:
        ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        fix = "name an IANA time zone, for example Europe/Berlin"
        raise InvalidDataFile("time_zone", time_zone, fix, where=str(where)) from error
    return time_zone


def checked_month_day(month: int, day: int, field: str, where: Path) -> tuple[int, int]:
    """Return ``(month, day)``.

    Raises:
        InvalidDataFile: No leap year has such a day.
    """
    if not (1 <= month <= 12 and 1 <= day <= LAST_DAY_OF_MONTH[month - 1]):
        raise InvalidDataFile(field, f"{month:02}-{day:02}", "give month and day as MM-DD", where=str(where))
    return month, day


def check_every_moment_has_a_band(bands: Sequence[EnergyBand], where: Path, *, only_one: bool) -> None:
    """Look at each kind of day that the windows tell apart.

    Args:
        bands: The energy bands of a tariff.
        where: The file they come from.
        only_one: Whether two bands at the same time are an error; otherwise the first counts.

    Raises:
        InvalidDataFile: A moment has no band, or two where only one may be.
    """
    for day in _telling_days(band.window for band in bands):
        covered_until = 0
        previous: EnergyBand | None = None
        for band in sorted((band for band in bands if band.window.applies_on(day)), key=lambda band: band.window.start):
            start, end = _minutes_of(band.window)
            if start > covered_until:
                raise _uncovered(day, covered_until, where)
            if only_one and previous is not None and start < covered_until:
                fix = f"it applies at the same time as {previous.name!r} on {day:%A %m-%d}; let only one apply"
                raise InvalidDataFile("energy band", band.name, fix, where=str(where))
            covered_until, previous = max(covered_until, end), band
        if covered_until < END_OF_DAY_MINUTE:
            raise _uncovered(day, covered_until, where)


def _uncovered(day: date, minute: int, where: Path) -> InvalidDataFile:
    moment = f"{day:%A %m-%d} {minute // 60:02}:{minute % 60:02}"
    return InvalidDataFile("energy bands", moment, "give a band that covers this local time", where=str(where))


def _minutes_of(window: TariffWindow) -> tuple[int, int]:
    end = window.end.hour * 60 + window.end.minute
    return window.start.hour * 60 + window.start.minute, end or END_OF_DAY_MINUTE


def _telling_days(windows: Iterable[TariffWindow]) -> list[date]:
    """One day of each weekday for the first day of each stretch of the year in which the same windows apply."""
    month_days = set()
    for window in windows:
        month_days.add(window.first_day)
        after = date(2024, *window.last_day) + timedelta(days=1)
        month_days.add((after.month, after.day))
    days: dict[tuple[tuple[int, int], int], date] = {}
    for month_day in sorted(month_days):
        for year in CALENDAR_CYCLE_YEARS:
            if month_day == (2, 29) and year % 4:
                continue
            day = date(year, *month_day)
            days.setdefault((month_day, day.weekday()), day)
    return list(days.values())
