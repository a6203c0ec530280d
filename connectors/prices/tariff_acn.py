"""Tariffs in the JSON form of ACN-Sim: seasons by month and day, hours and prices, one monthly demand charge."""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from connectors.documents import checked, read_json
from connectors.prices.tariff_windows import check_every_moment_has_a_band, checked_month_day, checked_zone
from optimizer.domain.ids import TariffId
from optimizer.domain.tariff import EVERY_DAY, WEEKDAYS, WEEKEND, DemandCharge, EnergyBand, Tariff, TariffWindow
from optimizer.errors import InvalidDataFile

DAYS = {"WEEKDAYS": WEEKDAYS, "WEEKENDS": WEEKEND, "ALL": EVERY_DAY}

DEMAND_INTERVAL_MINUTES = 15
"""The utilities of these files meter demand over quarter hours; the files do not say it."""


class AcnSchedule(BaseModel):
    """Prices of one season and kind of day."""

    id: str = Field(description="Name on the bill.")
    effective_start: str = Field(description="First day, MM-DD.", pattern=r"^\d{1,2}-\d{1,2}$")
    effective_end: str = Field(description="Last day, MM-DD, inclusive.", pattern=r"^\d{1,2}-\d{1,2}$")
    dow_mask: Literal["WEEKDAYS", "WEEKENDS", "ALL"] = Field(description="Days of the week.")
    times: list[Decimal] = Field(description="Local hours from which the prices hold, the first 0.", min_length=1)
    tariffs: list[Decimal] = Field(description="Price from each hour on [currency/kWh].", min_length=1)
    demand_charge: Decimal = Field(description="Price of the monthly peak [currency/kW].", ge=0)


class AcnTariffFile(BaseModel):
    """The whole file."""

    name: str = Field(description="Name of the tariff.")
    effective: str = Field(description="Date from which the utility applies it.")
    schedule: list[AcnSchedule] = Field(description="Seasons and kinds of day.", min_length=1)


def read_acn_tariff(
    path: Path,
    tariff_id: TariffId,
    time_zone: str,
    *,
    currency: str = "USD",
    export_price_per_kwh: Decimal = Decimal(0),
    demand_interval_minutes: int = DEMAND_INTERVAL_MINUTES,
) -> Tariff:
    """Read a tariff; hours with a fraction (8.5) are taken as they stand.

    Args:
        path: The JSON file.
        tariff_id: Name of the tariff in the service.
        time_zone: IANA zone of its hours, which the format does not tell.
        currency: ISO 4217 code, which the format does not tell.
        export_price_per_kwh: Paid to the site for export.
        demand_interval_minutes: Interval of the demand meter, which the format does not tell.

    Raises:
        InvalidDataFile: A field cannot be used, or a moment has no price or two.
    """
    document = checked(AcnTariffFile, read_json(path), path)
    bands = tuple(
        band for index, schedule in enumerate(document.schedule) for band in _bands(schedule, index, currency, path)
    )
    check_every_moment_has_a_band(bands, path, only_one=True)
    return Tariff(
        id=tariff_id,
        name=document.name,
        currency=currency,
        time_zone=checked_zone(time_zone, path),
        energy_bands=bands,
        demand_charges=_demand_charges(document.schedule, demand_interval_minutes, path),
        export_price_per_kwh=export_price_per_kwh,
        version=document.effective,
    )


def _bands(schedule: AcnSchedule, index: int, currency: str, path: Path) -> list[EnergyBand]:
    field = f"schedule.{index}"
    if len(schedule.times) != len(schedule.tariffs):
        fix = f"give as many tariffs as times ({len(schedule.times)})"
        raise InvalidDataFile(f"{field}.tariffs", schedule.tariffs, fix, where=str(path))
    if schedule.times[0] != 0 or any(later <= earlier for earlier, later in pairwise(schedule.times)):
        raise InvalidDataFile(f"{field}.times", schedule.times, "start with 0 and go up", where=str(path))
    first_day, last_day = _season(schedule, index, path)
    starts = [_clock_time(hour, f"{field}.times", path) for hour in schedule.times]
    return [
        EnergyBand(
            name=f"{schedule.id} {price} {currency}/kWh",
            window=TariffWindow(first_day, last_day, DAYS[schedule.dow_mask], start, end),
            price_per_kwh=price,
        )
        for start, end, price in zip(starts, [*starts[1:], time(0)], schedule.tariffs, strict=True)
    ]


def _season(schedule: AcnSchedule, index: int, path: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    return (
        _month_day(schedule.effective_start, f"schedule.{index}.effective_start", path),
        _month_day(schedule.effective_end, f"schedule.{index}.effective_end", path),
    )


def _month_day(text: str, field: str, path: Path) -> tuple[int, int]:
    month, day = (int(part) for part in text.split("-"))
    return checked_month_day(month, day, field, path)


def _clock_time(hour: Decimal, field: str, path: Path) -> time:
    minutes = hour * 60
    if not 0 <= hour < 24 or minutes != int(minutes):
        raise InvalidDataFile(field, hour, "give hours from 0 to below 24 that are whole minutes", where=str(path))
    return time(int(minutes) // 60, int(minutes) % 60)


def _demand_charges(schedules: list[AcnSchedule], interval_minutes: int, path: Path) -> tuple[DemandCharge, ...]:
    """One charge for the year where all seasons ask the same, else one a season."""
    if len({schedule.demand_charge for schedule in schedules}) == 1:
        charge = schedules[0].demand_charge
        return (DemandCharge("monthly peak", charge, interval_minutes=interval_minutes),) if charge else ()
    by_season: dict[tuple[tuple[int, int], tuple[int, int]], Decimal] = {}
    for index, schedule in enumerate(schedules):
        season = _season(schedule, index, path)
        field = f"schedule.{index}.demand_charge"
        if by_season.setdefault(season, schedule.demand_charge) != schedule.demand_charge:
            fix = "give all kinds of day of a season the same demand charge"
            raise InvalidDataFile(field, schedule.demand_charge, fix, where=str(path))
        if season[0][1] != 1:
            fix = "let the season start with a month: the peak is billed by month"
            raise InvalidDataFile(f"schedule.{index}.effective_start", schedule.effective_start, fix, where=str(path))
    return tuple(
        DemandCharge(
            f"monthly peak {first[0]:02}-{first[1]:02} to {last[0]:02}-{last[1]:02}",
            charge,
            TariffWindow(first, last),
            interval_minutes,
        )
        for (first, last), charge in by_season.items()
        if charge
    )
