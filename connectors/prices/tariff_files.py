"""Tariff files: our own YAML form, and the forms of others that a YAML file adopts.

Own form::

    id: sce-tou-ev-4            # name in the service
    name: SCE TOU-EV-4          # name on the bill
    currency: USD
    time_zone: America/Los_Angeles
    version: "2019-03-01"       # names this state of the tariff in records
    export_price_per_kwh: 0
    market_priced: false        # true: day-ahead prices come on top of the bands
    energy_bands:               # the first that applies counts
      - name: summer on-peak
        price_per_kwh: 0.26668
        first_day: 06-01
        last_day: 09-30
        days: weekdays          # every day, weekdays, weekend, or a list: [mon, tue]
        start: 12:00
        end: 18:00
      - name: other hours
        price_per_kwh: 0.05623
    demand_charges:
      - name: monthly peak
        price_per_kw: 15.51
        interval_minutes: 15

Adopted form::

    id: sce-tou-ev-4
    format: acn                 # acn, urdb or german_price_sheet
    file: sce_tou_ev_4_march_2019.json
    time_zone: America/Los_Angeles
    currency: USD
"""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from connectors.documents import checked, read_yaml
from connectors.prices.tariff_acn import read_acn_tariff
from connectors.prices.tariff_german import GermanPriceSheetTerms, read_german_price_sheet
from connectors.prices.tariff_urdb import read_urdb_tariff
from connectors.prices.tariff_windows import check_every_moment_has_a_band, checked_month_day, checked_zone
from optimizer.domain.ids import TariffId
from optimizer.domain.tariff import EVERY_DAY, WEEKDAYS, WEEKEND, DemandCharge, EnergyBand, Tariff, TariffWindow
from optimizer.errors import InvalidDataFile

DAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DayName = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
KINDS_OF_DAY = {"every day": EVERY_DAY, "weekdays": WEEKDAYS, "weekend": WEEKEND}


def _midnight_at_the_end(value: object) -> object:
    return "00:00" if value == "24:00" else value


EndTime = Annotated[time, BeforeValidator(_midnight_at_the_end)]


class WindowFile(BaseModel):
    """Days and local times; what is left out means always."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="Name on the bill.", min_length=1)
    first_day: str = Field(default="01-01", description="First day of each year, MM-DD.", pattern=r"^\d\d-\d\d$")
    last_day: str = Field(default="12-31", description="Last day, inclusive, MM-DD.", pattern=r"^\d\d-\d\d$")
    days: Literal["every day", "weekdays", "weekend"] | list[DayName] = Field(
        default="every day", description="Days of the week."
    )
    start: time = Field(default=time(0), description="First local time inside, HH:MM.")
    end: EndTime = Field(default=time(0), description="First local time after, HH:MM; 24:00 ends the day.")

    def window(self, field: str, where: Path) -> TariffWindow:
        """The same as the domain states it.

        Raises:
            InvalidDataFile: A day or time cannot be used.
        """
        if self.end != time(0) and self.end <= self.start:
            fix = f"must be after start {self.start:%H:%M}; state a window over midnight as two"
            raise InvalidDataFile(f"{field}.end", f"{self.end:%H:%M}", fix, where=str(where))
        first, last = (
            checked_month_day(int(text[:2]), int(text[3:]), f"{field}.{name}", where)
            for name, text in (("first_day", self.first_day), ("last_day", self.last_day))
        )
        days = KINDS_OF_DAY[self.days] if isinstance(self.days, str) else frozenset(map(DAY_NAMES.index, self.days))
        return TariffWindow(first, last, days, self.start, self.end)


class EnergyBandFile(WindowFile):
    """A price per kWh."""

    price_per_kwh: Decimal = Field(description="[currency/kWh]", allow_inf_nan=False)


class DemandChargeFile(WindowFile):
    """A price per kW of the month's peak."""

    price_per_kw: Decimal = Field(description="[currency/kW] a month", ge=0, allow_inf_nan=False)
    interval_minutes: Literal["5", "10", "15", "20", "30", "60"] = Field(
        default="15", description="Interval of the demand meter [minutes]."
    )


class TariffFile(BaseModel):
    """Our own form."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(description="Name in the service.", min_length=1)
    name: str = Field(description="Name on the bill.", min_length=1)
    currency: str = Field(description="ISO 4217 code.", pattern=r"^[A-Z]{3}$")
    time_zone: str = Field(description="IANA zone of the local times.")
    version: str = Field(default="", description="Names this state of the tariff in records.")
    export_price_per_kwh: Decimal = Field(
        default=Decimal(0), description="Paid for export [currency/kWh].", allow_inf_nan=False
    )
    market_priced: bool = Field(default=False, description="Whether day-ahead prices come on top of the bands.")
    energy_bands: list[EnergyBandFile] = Field(default=[], description="Prices; the first that applies counts.")
    demand_charges: list[DemandChargeFile] = Field(default=[], description="Each billed by its own peak.")


class AdoptedTariffFile(BaseModel):
    """A file in the form of others, with what that form does not tell."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(description="Name in the service.", min_length=1)
    format: Literal["acn", "urdb", "german_price_sheet"] = Field(description="Whose form the file has.")
    file: Path = Field(description="The file, relative to this one.")
    time_zone: str | None = Field(default=None, description="IANA zone of its local times, acn and urdb.")
    currency: str = Field(default="USD", description="ISO 4217 code.", pattern=r"^[A-Z]{3}$")
    export_price_per_kwh: Decimal = Field(
        default=Decimal(0), description="Paid for export, acn only [currency/kWh].", allow_inf_nan=False
    )
    demand_interval_minutes: Literal["5", "10", "15", "20", "30", "60"] = Field(
        default="15", description="Interval of the demand meter, acn only [minutes]."
    )
    rate_label: str | None = Field(default=None, description="Which rate of several, urdb only.")
    version: str = Field(default="", description="Names this state of the tariff, german_price_sheet only.")
    terms: GermanPriceSheetTerms = Field(
        default=GermanPriceSheetTerms(), description="Of the customer, german_price_sheet only."
    )


def read_tariff(path: Path) -> Tariff:
    """Read a tariff from a YAML file, our own or one that adopts another.

    Raises:
        InvalidDataFile: A field cannot be used, or a moment of the year has no price.
    """
    content = read_yaml(path)
    if isinstance(content, dict) and "format" in content:
        return _adopted(checked(AdoptedTariffFile, content, path), path)
    return _own(checked(TariffFile, content, path), path)


def _adopted(document: AdoptedTariffFile, path: Path) -> Tariff:
    file, tariff_id, currency = path.parent / document.file, TariffId(document.id), document.currency
    if document.format == "german_price_sheet":
        return read_german_price_sheet(file, tariff_id, document.terms, version=document.version)
    if document.time_zone is None:
        fix = "name the IANA time zone of the tariff's hours"
        raise InvalidDataFile("time_zone", None, fix, where=str(path))
    if document.format == "urdb":
        return read_urdb_tariff(file, tariff_id, document.time_zone, currency=currency, rate_label=document.rate_label)
    return read_acn_tariff(
        file,
        tariff_id,
        document.time_zone,
        currency=currency,
        export_price_per_kwh=document.export_price_per_kwh,
        demand_interval_minutes=int(document.demand_interval_minutes),
    )


def _own(document: TariffFile, path: Path) -> Tariff:
    bands = tuple(
        EnergyBand(band.name, band.window(f"energy_bands.{index}", path), band.price_per_kwh)
        for index, band in enumerate(document.energy_bands)
    )
    if not bands and document.market_priced:
        bands = (EnergyBand("day-ahead energy", TariffWindow(), Decimal(0)),)
    if not bands:
        fix = "give at least one band, or market_priced: true"
        raise InvalidDataFile("energy_bands", [], fix, where=str(path))
    check_every_moment_has_a_band(bands, path, only_one=False)
    return Tariff(
        id=TariffId(document.id),
        name=document.name,
        currency=document.currency,
        time_zone=checked_zone(document.time_zone, path),
        energy_bands=bands,
        demand_charges=tuple(
            DemandCharge(
                charge.name,
                charge.price_per_kw,
                charge.window(f"demand_charges.{index}", path),
                int(charge.interval_minutes),
            )
            for index, charge in enumerate(document.demand_charges)
        ),
        export_price_per_kwh=document.export_price_per_kwh,
        version=document.version,
        market_priced=document.market_priced,
    )
