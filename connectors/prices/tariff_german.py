"""German price sheets in SpiceEV's JSON form: grid fee by voltage level and hours of use, levies, tax, feed-in.

The capacity charge is stated per year. A `Tariff` bills peaks by calendar month, so a twelfth of it is asked each
month for that month's peak; a site whose peak is the same in every month pays exactly the yearly charge, any other
pays less than under a yearly peak. The name of the charge says so on the bill.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from connectors.documents import checked, read_json
from optimizer.domain.ids import TariffId
from optimizer.domain.tariff import DemandCharge, EnergyBand, Tariff, TariffWindow
from optimizer.errors import InvalidDataFile

VoltageLevel = Literal["HV", "HV/MV", "MV", "MV/LV", "LV"]

MANY_HOURS = Decimal(2500)
"""Hours of use a year from which the second column of a grid fee applies (StromNEV section 17)."""

CT_PER_EUR = Decimal(100)
MICRO = Decimal("0.000001")


class GermanPriceSheetTerms(BaseModel):
    """What a price sheet leaves to the customer."""

    voltage_level: VoltageLevel = Field(default="LV", description="Level of the grid connection.")
    utilisation_h: Decimal | None = Field(
        default=None,
        ge=0,
        le=8784,
        description="Yearly energy over yearly peak [h]; nothing: a customer without load metering (SLP).",
    )
    market_priced: bool = Field(default=False, description="Whether energy is bought at the day-ahead price instead.")
    with_value_added_tax: bool = Field(default=False, description="Whether prices include value added tax.")
    pv_peak_kw: Decimal = Field(default=Decimal(0), ge=0, description="Size of the PV that feeds in [kW]; 0: none.")
    grid_operator: str = Field(default="default_grid_operator", description="Whose prices.")


class VoltagePrices(BaseModel):
    """One price for each voltage level."""

    HV: Decimal
    HV_MV: Decimal = Field(alias="HV/MV")
    MV: Decimal
    MV_LV: Decimal = Field(alias="MV/LV")
    LV: Decimal

    def at(self, level: VoltageLevel) -> Decimal:
        """The price at ``level``."""
        by_level = {"HV": self.HV, "HV/MV": self.HV_MV, "MV": self.MV, "MV/LV": self.MV_LV, "LV": self.LV}
        return by_level[level]


class MeteredGridFee(BaseModel):
    """Grid fee of a customer with load metering, for few or many hours of use."""

    capacity_eur_per_kw_year: VoltagePrices = Field(alias="capacity_charge_EUR/kW*a")
    commodity_ct_per_kwh: VoltagePrices = Field(alias="commodity_charge_ct/kWh")


class MeteredGridFees(BaseModel):
    """Grid fees of customers with load metering (RLM)."""

    few_hours: MeteredGridFee = Field(alias="<2500_h/a")
    many_hours: MeteredGridFee = Field(alias=">=2500_h/a")


class NetPrice(BaseModel):
    """A price without value added tax."""

    net_price: Decimal


class ProfileGridFee(BaseModel):
    """Grid fee of customers without load metering (SLP)."""

    commodity_ct_per_kwh: NetPrice = Field(alias="commodity_charge_ct/kWh")


class GridFee(BaseModel):
    """Grid fees."""

    SLP: ProfileGridFee
    RLM: MeteredGridFees


class Charge(BaseModel):
    """One charge [ct/kWh]."""

    charge: Decimal


class Levies(BaseModel):
    """Levies [ct/kWh]."""

    EEG_levy: Decimal = Decimal(0)
    chp_levy: Decimal = Decimal(0)
    individual_charge_levy: Decimal = Decimal(0)
    offshore_levy: Decimal = Decimal(0)
    interruptible_loads_levy: Decimal = Decimal(0)


class Taxes(BaseModel):
    """Value added tax [%] and tax on electricity [ct/kWh]."""

    value_added_tax: Decimal
    tax_on_electricity: Decimal


class PvRemuneration(BaseModel):
    """Feed-in payment by size of the plant."""

    sizes_kw: list[Decimal] = Field(alias="kWp")
    remuneration: list[Decimal]


class FeedIn(BaseModel):
    """Feed-in payments [ct/kWh]."""

    PV: PvRemuneration


class PriceSheet(BaseModel):
    """Prices of one grid operator."""

    grid_fee: GridFee
    power_procurement: Charge
    levies: Levies
    concession_fee: Charge
    taxes: Taxes
    feed_in: FeedIn = Field(alias="feed-in_remuneration")


def read_german_price_sheet(
    path: Path, tariff_id: TariffId, terms: GermanPriceSheetTerms, *, version: str = ""
) -> Tariff:
    """Read a price sheet for one customer.

    Args:
        path: The JSON file.
        tariff_id: Name of the tariff in the service.
        terms: Voltage level, hours of use and what else depends on the customer.
        version: Date or number by which a record can name the tariff; the sheet has none.

    Raises:
        InvalidDataFile: A field is missing or cannot be used.
    """
    content = read_json(path)
    if not isinstance(content, dict) or terms.grid_operator not in content:
        operators = sorted(content) if isinstance(content, dict) else []
        raise InvalidDataFile("grid_operator", terms.grid_operator, f"choose one of {operators}", where=str(path))
    sheet = checked(PriceSheet, content[terms.grid_operator], path)
    tax_factor = 1 + sheet.taxes.value_added_tax / 100 if terms.with_value_added_tax else Decimal(1)
    contents = "grid fee, levies, tax" if terms.market_priced else "procurement, grid fee, levies, tax"
    price = _energy_ct_per_kwh(sheet, terms) / CT_PER_EUR * tax_factor
    return Tariff(
        id=tariff_id,
        name=f"{terms.grid_operator} {terms.voltage_level}",
        currency="EUR",
        time_zone="Europe/Berlin",
        energy_bands=(EnergyBand(contents, TariffWindow(), price),),
        demand_charges=_capacity_charges(sheet, terms, tax_factor),
        export_price_per_kwh=_feed_in_ct_per_kwh(sheet.feed_in.PV, terms.pv_peak_kw, path) / CT_PER_EUR,
        version=version,
        market_priced=terms.market_priced,
    )


def _metered_fee(sheet: PriceSheet, terms: GermanPriceSheetTerms) -> MeteredGridFee | None:
    if terms.utilisation_h is None:
        return None
    fees = sheet.grid_fee.RLM
    return fees.many_hours if terms.utilisation_h >= MANY_HOURS else fees.few_hours


def _energy_ct_per_kwh(sheet: PriceSheet, terms: GermanPriceSheetTerms) -> Decimal:
    fee = _metered_fee(sheet, terms)
    grid = (
        fee.commodity_ct_per_kwh.at(terms.voltage_level) if fee else sheet.grid_fee.SLP.commodity_ct_per_kwh.net_price
    )
    levies = sum((getattr(sheet.levies, levy) for levy in Levies.model_fields), Decimal(0))
    procurement = Decimal(0) if terms.market_priced else sheet.power_procurement.charge
    return grid + levies + sheet.concession_fee.charge + sheet.taxes.tax_on_electricity + procurement


def _capacity_charges(sheet: PriceSheet, terms: GermanPriceSheetTerms, tax_factor: Decimal) -> tuple[DemandCharge, ...]:
    fee = _metered_fee(sheet, terms)
    if fee is None:
        return ()
    yearly = fee.capacity_eur_per_kw_year.at(terms.voltage_level) * tax_factor
    monthly = (yearly / 12).quantize(MICRO, ROUND_HALF_EVEN)
    return (DemandCharge(f"capacity, a twelfth of {yearly} EUR/kW a year", monthly, TariffWindow(), 15),)


def _feed_in_ct_per_kwh(payments: PvRemuneration, pv_peak_kw: Decimal, path: Path) -> Decimal:
    if not pv_peak_kw:
        return Decimal(0)
    for largest_kw, payment in sorted(zip(payments.sizes_kw, payments.remuneration, strict=False)):
        if pv_peak_kw <= largest_kw:
            return payment
    fix = f"the sheet pays for plants up to {max(payments.sizes_kw)} kW; leave it 0 and state the export price yourself"
    raise InvalidDataFile("pv_peak_kw", pv_peak_kw, fix, where=str(path))
