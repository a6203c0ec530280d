"""What the site owes for a window, from its own meters and the tariff.

Lines, each rounded once to the currency's minor unit, half to even:

    grid_energy      one line a tariff band that occurs in the window: energy from the grid times the price in force,
                     market price included. Without bands one line under the market's name.
    pv_energy        PV used at the site (production less export): costs nothing; the export revenue it forgoes is told.
    export_revenue   energy to the grid times the export price, negative.
    demand_charge    one line a charge and billing month: price times the greatest mean import, over the charge's own
                     interval, of those intervals that begin in its window, times the share of the month's local days
                     that the bill's window covers:

                         amount = price_per_kw * peak_kw * days covered / days in the month

                     A whole month pays the whole price; a day of a 31-day month pays 1/31 of it, so bills of
                     consecutive windows of equal peak add up to the month's. Only intervals that lie whole inside the
                     window count towards the peak.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal, localcontext
from itertools import pairwise

from optimizer.costing.billing_time import SETTLEMENT_MINUTES, costing_grid, days_in, equal_steps
from optimizer.costing.intervals import SiteInterval
from optimizer.costing.money import EXACT, minor_unit, rounded
from optimizer.domain.cost import CostComponent, CostLine, SiteBill
from optimizer.domain.ids import SiteId
from optimizer.domain.moment import Interval
from optimizer.domain.tariff import DemandCharge, Tariff
from optimizer.errors import InvalidInput

PEAK_SET_TOLERANCE = Decimal("0.01")
"""Intervals within this share of the peak make the peak together: a planned peak is flat, and chargers keep their
limits to about one percent."""

QUANTITY_UNIT = Decimal("0.001")
"""Quantities on lines are whole watt-hours and watts [kWh, kW]."""

_TICKS_IN_HOUR = timedelta(hours=1) // timedelta(microseconds=1)

PV_LABEL = "pv"
EXPORT_LABEL = "export"
MARKET_LABEL = "market"

LineKey = tuple[CostComponent, str]
"""What identifies a line: component and label."""


@dataclass(slots=True)
class ExactLine:
    """A line before it is rounded; adds up what is put in."""

    quantity: Decimal = field(default=Decimal(0))
    amount: Decimal = field(default=Decimal(0))
    opportunity_amount: Decimal = field(default=Decimal(0))
    returned_quantity: Decimal = field(default=Decimal(0))

    def add(self, quantity: Decimal, amount: Decimal, opportunity_amount: Decimal = Decimal(0)) -> None:
        """Add to quantity and amounts."""
        self.quantity += quantity
        self.amount += amount
        self.opportunity_amount += opportunity_amount

    def rounded(self, key: LineKey, unit: Decimal) -> CostLine:
        """The line with amounts in whole ``unit``s."""
        component, label = key
        return CostLine(
            component,
            label,
            rounded(self.quantity, QUANTITY_UNIT),
            rounded(self.amount, unit),
            rounded(self.opportunity_amount, unit),
            rounded(self.returned_quantity, QUANTITY_UNIT),
        )


Ledger = defaultdict[LineKey, ExactLine]
"""Lines that are still being added up."""


def new_ledger() -> Ledger:
    """A ledger without lines."""
    return defaultdict(ExactLine)


def rounded_lines(ledger: Ledger, currency: str) -> tuple[CostLine, ...]:
    """The lines of a ledger in the order of components and labels, each rounded once."""
    unit = minor_unit(currency)
    return tuple(ledger[key].rounded(key, unit) for key in sorted(ledger, key=line_order))


def line_order(key: LineKey) -> tuple[int, str]:
    """Where a line stands on a bill: by component, then by label."""
    component, label = key
    return list(CostComponent).index(component), label


@dataclass(frozen=True, slots=True)
class SiteStep:
    """A step of the grid with its prices and the mix of its energy."""

    site: SiteInterval
    """What the meters counted."""
    band: str
    """Label of its energy line."""
    price_per_kwh: Decimal
    """Price of import, market price included [currency/kWh]."""
    pv_used_kwh: Decimal
    """PV used at the site: production less export, never below zero [kWh]."""

    @property
    def used_kwh(self) -> Decimal:
        """Energy used at the site, from the grid and from PV [kWh]."""
        return self.site.import_kwh + self.pv_used_kwh

    @property
    def grid_share(self) -> Decimal:
        """Share of the used energy that came from the grid; 1 where the site's meters saw no energy at all."""
        return EXACT.divide(self.site.import_kwh, self.used_kwh) if self.used_kwh else Decimal(1)


def priced_steps(site: Sequence[SiteInterval], tariff: Tariff, window: Interval) -> tuple[SiteStep, ...]:
    """The steps of ``window`` with their prices.

    Raises:
        InvalidInput: The intervals do not fill the window, or are not cut where prices may change.
    """
    _check_cuts(site, tariff, window)
    market_label = (tariff.market.source if tariff.market else "") or MARKET_LABEL
    steps = []
    for interval in site:
        start = interval.interval.start
        band = tariff.band_at(start)
        surplus_kwh = (interval.pv_kwh or Decimal(0)) - interval.export_kwh
        steps.append(
            SiteStep(
                interval,
                band.name if band else market_label,
                tariff.import_price_per_kwh_at(start),
                max(surplus_kwh, Decimal(0)),
            )
        )
    return tuple(steps)


@dataclass(frozen=True, slots=True)
class DemandPeak:
    """What one demand charge costs for one billing month, and when the peak was."""

    label: str
    """Label of its line."""
    peak_kw: Decimal
    """Greatest mean import of the intervals that count [kW]."""
    amount: Decimal
    """Price times peak times days covered over days in the month, not yet rounded [currency]."""
    peak_set: tuple[tuple[Interval, Decimal], ...]
    """The intervals within `PEAK_SET_TOLERANCE` of the peak, each with its import [kWh]."""


def demand_peaks(site: Sequence[SiteInterval], tariff: Tariff, window: Interval) -> tuple[DemandPeak, ...]:
    """The peak of each demand charge in each billing month that ``window`` touches."""
    months = list(_billing_months(tariff, window))
    with localcontext(EXACT):
        peaks = [
            _demand_peak(site, tariff, charge, month, part, several_months=len(months) > 1)
            for charge in tariff.demand_charges
            for month, part in months
        ]
    return tuple(peak for peak in peaks if peak is not None)


def site_bill(site_id: SiteId, site: Sequence[SiteInterval], tariff: Tariff, window: Interval) -> SiteBill:
    """The bill of ``window``.

    Args:
        site_id: Whose bill.
        site: The site's metered intervals, which fill the window on the costing grid.
        tariff: What it pays.
        window: Which time.

    Raises:
        InvalidInput: The intervals do not fill the window, or are not cut where prices may change.
    """
    ledger = new_ledger()
    with localcontext(EXACT):
        for step in priced_steps(site, tariff, window):
            bought_kwh = step.site.import_kwh
            ledger[CostComponent.GRID_ENERGY, step.band].add(bought_kwh, bought_kwh * step.price_per_kwh)
            add_pv(ledger, step.pv_used_kwh, tariff)
            add_export(ledger, step.site.export_kwh, tariff)
        for peak in demand_peaks(site, tariff, window):
            ledger[CostComponent.DEMAND_CHARGE, peak.label].add(peak.peak_kw, peak.amount)
        lines = rounded_lines(ledger, tariff.currency)
        peak_kw = rounded(_greatest_mean_kw(site, tariff, window), QUANTITY_UNIT)
    return SiteBill(site_id, window, tariff.currency, lines, peak_kw)


def add_pv(ledger: Ledger, pv_kwh: Decimal, tariff: Tariff) -> None:
    """Add PV energy, at no cost and with the export revenue it forgoes."""
    if pv_kwh:
        ledger[CostComponent.PV_ENERGY, PV_LABEL].add(pv_kwh, Decimal(0), pv_kwh * tariff.export_price_per_kwh)


def add_export(ledger: Ledger, export_kwh: Decimal, tariff: Tariff) -> None:
    """Add energy sold to the grid."""
    if export_kwh:
        ledger[CostComponent.EXPORT_REVENUE, EXPORT_LABEL].add(export_kwh, -export_kwh * tariff.export_price_per_kwh)


def _check_cuts(site: Sequence[SiteInterval], tariff: Tariff, window: Interval) -> None:
    boundaries = [step.interval.start for step in site] + [step.interval.end for step in site[-1:]]
    joined = all(earlier.interval.end == later.interval.start for earlier, later in pairwise(site))
    if not joined or not boundaries or boundaries[0] != window.start or boundaries[-1] != window.end:
        raise InvalidInput("site", f"{len(site)} intervals", f"fill {window.start} to {window.end} without gaps")
    missing = set(costing_grid(tariff, window)) - set(boundaries)
    if missing:
        raise InvalidInput("site", min(missing).isoformat(), "cut the intervals at the costing grid, also here")


def _billing_months(tariff: Tariff, window: Interval) -> Iterator[tuple[Interval, Interval]]:
    """Each billing month that the window touches, and the part of it inside the window."""
    month = tariff.billing_month(window.start)
    while month.start < window.end:
        yield month, Interval(max(month.start, window.start), min(month.end, window.end))
        month = tariff.billing_month(month.end)


def _demand_peak(
    site: Sequence[SiteInterval],
    tariff: Tariff,
    charge: DemandCharge,
    month: Interval,
    part: Interval,
    *,
    several_months: bool,
) -> DemandPeak | None:
    """The peak of one charge in the ``part`` of a month; ``None`` where no interval counts."""
    counted = [
        (interval, import_kwh)
        for interval, import_kwh in _import_by_step(site, tariff, part, charge.interval_minutes)
        if charge.window.applies_at(interval.start.astimezone(tariff.zone))
    ]
    if not counted:
        return None
    means_kw = [mean_kw(interval, import_kwh) for interval, import_kwh in counted]
    peak_kw = max(means_kw)
    covered = days_in(part, tariff.zone) / days_in(month, tariff.zone)
    nearly_kw = peak_kw * (1 - PEAK_SET_TOLERANCE)
    return DemandPeak(
        f"{charge.name} {month.start.astimezone(tariff.zone):%Y-%m}" if several_months else charge.name,
        peak_kw,
        charge.price_per_kw * peak_kw * covered.numerator / covered.denominator,
        tuple(entry for entry, kw in zip(counted, means_kw, strict=True) if kw >= nearly_kw and kw > 0),
    )


def _import_by_step(
    site: Sequence[SiteInterval], tariff: Tariff, span: Interval, minutes: int
) -> Iterator[tuple[Interval, Decimal]]:
    """The import of each step of ``minutes`` that lies whole in ``span`` [kWh]."""
    until_kwh = {site[0].interval.start: Decimal(0)}
    counted_kwh = Decimal(0)
    for step in site:
        counted_kwh += step.import_kwh
        until_kwh[step.interval.end] = counted_kwh
    for interval in equal_steps(span, tariff.zone, minutes):
        yield interval, until_kwh[interval.end] - until_kwh[interval.start]


def mean_kw(interval: Interval, energy_kwh: Decimal) -> Decimal:
    """Mean power of ``energy_kwh`` over an interval, exact [kW]."""
    length = (interval.end - interval.start) // timedelta(microseconds=1)
    return EXACT.divide(energy_kwh * _TICKS_IN_HOUR, Decimal(length))


def _greatest_mean_kw(site: Sequence[SiteInterval], tariff: Tariff, window: Interval) -> Decimal:
    """Greatest mean import, over the shortest interval that any charge is taken over [kW]."""
    minutes = min((charge.interval_minutes for charge in tariff.demand_charges), default=SETTLEMENT_MINUTES)
    means_kw = [mean_kw(*entry) for entry in _import_by_step(site, tariff, window, minutes)]
    return max(means_kw, default=Decimal(0))
