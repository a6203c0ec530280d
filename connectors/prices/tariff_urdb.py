"""Tariffs in the JSON form of the U.S. Utility Rate Database (OpenEI), version 7 of its rate format.

Taken: energy by hour and month, flat and time-of-use demand, one sell rate. Fixed and reactive-power charges do not
depend on what vehicles draw at which hour and are left out. What would change a session's cost but cannot be stated
as a `Tariff` is refused: tiers, ratchets, coincident peaks, other units, a demand period of several daily windows.
"""

from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path

from pydantic import BaseModel, Field

from connectors.documents import checked, read_json
from connectors.prices.tariff_windows import (
    Season,
    check_every_moment_has_a_band,
    checked_zone,
    hour_runs,
    seasons_of,
)
from optimizer.domain.ids import TariffId
from optimizer.domain.tariff import EVERY_DAY, WEEKDAYS, WEEKEND, DemandCharge, EnergyBand, Tariff, TariffWindow
from optimizer.errors import InvalidDataFile

HourRow = tuple[int, ...]
"""Period of each of 24 local hours."""


class UrdbTier(BaseModel):
    """Price of one period up to a consumption."""

    rate: Decimal = Field(default=Decimal(0), description="Price [currency/kWh or currency/kW].")
    adj: Decimal = Field(default=Decimal(0), description="Adjustment on top of the rate.")
    sell: Decimal | None = Field(default=None, description="Paid for export [currency/kWh].")
    unit: str | None = Field(default=None, description="Unit of the rate.")


Structure = list[list[UrdbTier]]
"""Tiers of each period."""


class UrdbRate(BaseModel):
    """One rate; fields that cost nothing per kWh or kW are not listed."""

    label: str = Field(description="Page of the rate in the database.")
    name: str = Field(description="Name on the bill.")
    utility: str = Field(default="", description="Who charges it.")
    startdate: int | None = Field(default=None, description="From when it applies [s since 1970].")
    energyratestructure: Structure = Field(description="Energy prices by period.", min_length=1)
    energyweekdayschedule: list[HourRow] = Field(description="12 months x 24 hours, periods.")
    energyweekendschedule: list[HourRow] = Field(description="12 months x 24 hours, periods.")
    energytoulabels: list[str] | None = Field(default=None, description="Names of the periods.")
    demandratestructure: Structure = Field(default=[], description="TOU demand prices by period.")
    demandweekdayschedule: list[HourRow] = Field(default=[], description="12 months x 24 hours, periods.")
    demandweekendschedule: list[HourRow] = Field(default=[], description="12 months x 24 hours, periods.")
    demandrateunit: str = Field(default="kW", description="Unit of the TOU demand prices.")
    demandwindow: Decimal | None = Field(default=None, description="Interval of the demand meter [minutes].")
    demandratchetpercentage: list[Decimal] = Field(default=[], description="Share of earlier peaks, by month.")
    flatdemandstructure: Structure = Field(default=[], description="Flat demand prices by period.")
    flatdemandmonths: list[int] = Field(default=[], description="Period of each month.")
    flatdemandunit: str = Field(default="kW", description="Unit of the flat demand prices.")
    coincidentratestructure: Structure = Field(default=[], description="Prices of the system's peak hours.")


class UrdbAnswer(BaseModel):
    """An answer of the database's interface, or a file saved in its form."""

    items: list[UrdbRate] = Field(description="Rates.", min_length=1)


def read_urdb_tariff(
    path: Path,
    tariff_id: TariffId,
    time_zone: str,
    *,
    currency: str = "USD",
    rate_label: str | None = None,
) -> Tariff:
    """Read a rate; its hours are local and follow daylight saving.

    Args:
        path: The JSON file, ``{"items": [...]}`` or one rate alone.
        tariff_id: Name of the tariff in the service.
        time_zone: IANA zone of its hours, which the format does not tell.
        currency: ISO 4217 code, which the format does not tell.
        rate_label: Which rate, where the file holds several.

    Raises:
        InvalidDataFile: A field cannot be used, or asks for what a tariff cannot state.
    """
    rate = _chosen_rate(path, rate_label)
    _refuse_what_cannot_be_stated(rate, path)
    energy_prices = _prices(rate.energyratestructure, "energyratestructure", path)
    bands = tuple(_energy_bands(rate, energy_prices, path))
    check_every_moment_has_a_band(bands, path, only_one=True)
    started = datetime.fromtimestamp(rate.startdate, UTC).date().isoformat() if rate.startdate else ""
    return Tariff(
        id=tariff_id,
        name=rate.name,
        currency=currency,
        time_zone=checked_zone(time_zone, path),
        energy_bands=bands,
        demand_charges=(*_flat_demand_charges(rate, path), *_tou_demand_charges(rate, path)),
        export_price_per_kwh=_sell_price(rate, path),
        version=started or rate.label,
    )


def _chosen_rate(path: Path, rate_label: str | None) -> UrdbRate:
    content = read_json(path)
    if isinstance(content, dict) and "items" not in content:
        content = {"items": [content]}
    rates = checked(UrdbAnswer, content, path).items
    if rate_label is not None:
        rates = [rate for rate in rates if rate.label == rate_label]
    if len(rates) != 1:
        labels = [rate.label for rate in checked(UrdbAnswer, content, path).items]
        raise InvalidDataFile("rate_label", rate_label, f"choose one of {labels}", where=str(path))
    return rates[0]


def _refuse_what_cannot_be_stated(rate: UrdbRate, path: Path) -> None:
    for field, unit in (("flatdemandunit", rate.flatdemandunit), ("demandrateunit", rate.demandrateunit)):
        if unit != "kW":
            raise InvalidDataFile(field, unit, "only demand in kW can be billed", where=str(path))
    if any(rate.demandratchetpercentage):
        fix = "a ratchet over earlier months cannot be billed; take it out knowingly"
        raise InvalidDataFile("demandratchetpercentage", rate.demandratchetpercentage, fix, where=str(path))
    if any(tier.rate + tier.adj for tiers in rate.coincidentratestructure for tier in tiers):
        fix = "a charge on the system's peak cannot be billed; take it out knowingly"
        raise InvalidDataFile("coincidentratestructure", "prices", fix, where=str(path))


def _prices(structure: Structure, field: str, path: Path) -> list[Decimal]:
    """Rate and adjustment of each period."""
    for period, tiers in enumerate(structure):
        if len(tiers) != 1:
            fix = "give one price a period: prices by consumed amount cannot be stated"
            raise InvalidDataFile(f"{field}.{period}", f"{len(tiers)} tiers", fix, where=str(path))
        if tiers[0].unit not in (None, "kWh"):
            raise InvalidDataFile(f"{field}.{period}.0.unit", tiers[0].unit, "must be kWh", where=str(path))
    return [tiers[0].rate + tiers[0].adj for tiers in structure]


def _checked_rows(rows: list[HourRow], periods: int, field: str, path: Path) -> list[HourRow]:
    if len(rows) != 12 or any(len(row) != 24 for row in rows):
        raise InvalidDataFile(field, f"{len(rows)} months", "give 12 months of 24 hours", where=str(path))
    for month, row in enumerate(rows):
        for hour, period in enumerate(row):
            if not 0 <= period < periods:
                fix = f"name a period from 0 to {periods - 1}"
                raise InvalidDataFile(f"{field}.{month}.{hour}", period, fix, where=str(path))
    return rows


def _seasons(
    weekday: list[HourRow], weekend: list[HourRow], periods: int, kind: str, path: Path
) -> list[Season[tuple[HourRow, HourRow]]]:
    weekday = _checked_rows(weekday, periods, f"{kind}weekdayschedule", path)
    weekend = _checked_rows(weekend, periods, f"{kind}weekendschedule", path)
    return seasons_of(list(zip(weekday, weekend, strict=True)))


def _energy_bands(rate: UrdbRate, prices: list[Decimal], path: Path) -> list[EnergyBand]:
    names = rate.energytoulabels or [f"energy period {period}" for period in range(len(prices))]
    if len(names) != len(prices):
        fix = f"give {len(prices)} names, one a period"
        raise InvalidDataFile("energytoulabels", rate.energytoulabels, fix, where=str(path))
    bands = []
    for season in _seasons(rate.energyweekdayschedule, rate.energyweekendschedule, len(prices), "energy", path):
        weekday, weekend = season.value
        kinds_of_day = [(EVERY_DAY, weekday)] if weekday == weekend else [(WEEKDAYS, weekday), (WEEKEND, weekend)]
        for days, row in kinds_of_day:
            for start, end, period in hour_runs(row):
                window = TariffWindow(season.first_day, season.last_day, days, start, end)
                bands.append(EnergyBand(names[period], window, prices[period]))
    return bands


def _sell_price(rate: UrdbRate, path: Path) -> Decimal:
    prices = {tier.sell or Decimal(0) for tiers in rate.energyratestructure for tier in tiers}
    if len(prices) > 1:
        fix = "give all periods one sell rate: export has one price in a tariff"
        raise InvalidDataFile("energyratestructure.sell", sorted(prices), fix, where=str(path))
    return prices.pop()


def _demand_interval_minutes(rate: UrdbRate, path: Path) -> int:
    if rate.demandwindow is None:
        return 15
    if rate.demandwindow not in (5, 10, 15, 20, 30, 60):
        raise InvalidDataFile("demandwindow", rate.demandwindow, "give 5, 10, 15, 20, 30 or 60", where=str(path))
    return int(rate.demandwindow)


def _flat_demand_charges(rate: UrdbRate, path: Path) -> list[DemandCharge]:
    if not rate.flatdemandstructure:
        return []
    prices = _prices(rate.flatdemandstructure, "flatdemandstructure", path)
    months = rate.flatdemandmonths or [0] * 12
    if len(months) != 12 or not set(months) <= set(range(len(prices))):
        fix = f"give 12 periods from 0 to {len(prices) - 1}"
        raise InvalidDataFile("flatdemandmonths", months, fix, where=str(path))
    interval_minutes = _demand_interval_minutes(rate, path)
    return [
        DemandCharge(
            "facilities demand" if len(set(months)) == 1 else f"facilities demand period {season.value}",
            prices[season.value],
            TariffWindow(season.first_day, season.last_day),
            interval_minutes,
        )
        for season in seasons_of(months)
        if prices[season.value]
    ]


def _tou_demand_charges(rate: UrdbRate, path: Path) -> list[DemandCharge]:
    if not rate.demandratestructure:
        return []
    prices = _prices(rate.demandratestructure, "demandratestructure", path)
    interval_minutes = _demand_interval_minutes(rate, path)
    charges = []
    for season in _seasons(rate.demandweekdayschedule, rate.demandweekendschedule, len(prices), "demand", path):
        weekday, weekend = season.value
        for period in sorted({*weekday, *weekend}):
            if not prices[period]:
                continue
            days, start, end = _only_window(period, weekday, weekend, path)
            window = TariffWindow(season.first_day, season.last_day, days, start, end)
            charges.append(
                DemandCharge(f"time-of-use demand period {period}", prices[period], window, interval_minutes)
            )
    return charges


def _only_window(period: int, weekday: HourRow, weekend: HourRow, path: Path) -> tuple[frozenset[int], time, time]:
    """The one daily window of a demand period; several would each be billed a peak of their own."""
    on_weekdays = [(start, end) for start, end, value in hour_runs(weekday) if value == period]
    on_weekends = [(start, end) for start, end, value in hour_runs(weekend) if value == period]
    if len(on_weekdays) == 1 and on_weekdays == on_weekends:
        return EVERY_DAY, *on_weekdays[0]
    if len(on_weekdays) == 1 and not on_weekends:
        return WEEKDAYS, *on_weekdays[0]
    if len(on_weekends) == 1 and not on_weekdays:
        return WEEKEND, *on_weekends[0]
    fix = "only one daily window a period can be billed, the same on all its days and within one day"
    raise InvalidDataFile("demandweekdayschedule", f"period {period}", fix, where=str(path))
