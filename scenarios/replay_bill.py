"""What a course of imports costs under a scenario's tariff, fast enough to be asked for again and again.

It is the site's bill of `optimizer.costing` in arrays: energy by step and price, and for each demand charge and billing
month the greatest mean of the metering intervals that count, times price, times the share of the month that the
scenario covers. What cars draw after the scenario's end is billed, too; its peak belongs to the last billing month.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np

from optimizer.costing.billing_time import days_in
from optimizer.domain.moment import Interval
from optimizer.domain.tariff import DemandCharge, Tariff
from optimizer.planning.problem import FloatArray, IntArray
from optimizer.planning.slots import slot_means
from scenarios.scenario import Scenario

CENT = Decimal("0.01")


@dataclass(frozen=True, eq=False)
class DemandMonth:
    """One demand charge in one billing month."""

    name: str
    """Name on the bill, with the month."""
    price_per_kw: float
    """[currency/kW] of the whole month."""
    covered_share: float
    """Share of the month's days that the scenario covers."""
    interval_h: float
    """Length of the metering interval [h]."""
    interval_of: IntArray
    """Metering interval of each step, -1 where it does not count, shape (steps,)."""

    def peak_kw(self, import_kwh: FloatArray) -> float:
        """Greatest mean import of the intervals that count [kW]."""
        counted = self.interval_of >= 0
        if not counted.any():
            return 0.0
        return float(np.bincount(self.interval_of[counted], import_kwh[counted]).max() / self.interval_h)

    @property
    def weight_per_kw(self) -> float:
        """What a kW of its peak costs here [currency/kW]."""
        return self.price_per_kw * self.covered_share


@dataclass(frozen=True, slots=True)
class ReplayBill:
    """What the imports and exports of a replay cost."""

    currency: str
    """ISO 4217 code."""
    energy_cost: Decimal
    """Energy from the grid [currency]."""
    export_revenue: Decimal
    """Energy to the grid [currency]."""
    demand_cost: Decimal
    """Demand charges [currency]."""
    battery_cost: Decimal
    """Worth of what the stationary battery holds less at the end than at the start [currency]; below zero: more."""
    peak_kw: float
    """Greatest mean import over the shortest metering interval [kW]."""

    @property
    def total_cost(self) -> Decimal:
        """All of it [currency]."""
        return self.energy_cost - self.export_revenue + self.demand_cost + self.battery_cost


class Pricing:
    """Prices of a scenario on its steps, worked out once.

    Args:
        scenario: Its tariff and time.
        steps: Number of steps from the scenario's start on, those after its end included.
    """

    def __init__(self, scenario: Scenario, steps: int) -> None:
        self.currency = scenario.tariff.currency
        self.boundaries = [scenario.start + index * scenario.step for index in range(steps + 1)]
        self.import_price_per_kwh = step_prices_per_kwh(scenario.tariff, self.boundaries)
        self.export_price_per_kwh = float(scenario.tariff.export_price_per_kwh)
        battery, mean = scenario.site.battery, float(self.import_price_per_kwh.mean()) if steps else 0.0
        self.stored_worth_per_kwh = max(0.0, mean * battery.discharge_efficiency) if battery is not None else 0.0
        self.months = tuple(
            month
            for charge in scenario.tariff.demand_charges
            for month in demand_months(scenario, charge, self.boundaries)
        )
        shortest = min((charge.interval_minutes for charge in scenario.tariff.demand_charges), default=15)
        whole = DemandCharge("peak", Decimal(0), interval_minutes=shortest)
        self._all = demand_months(scenario, whole, self.boundaries)

    def bill(self, import_kwh: FloatArray, export_kwh: FloatArray, battery_drained_kwh: float = 0.0) -> ReplayBill:
        """The bill of energies by step.

        Args:
            import_kwh: From the grid, shape (steps,).
            export_kwh: To the grid, shape (steps,).
            battery_drained_kwh: What the stationary battery holds less at the end: who empties it has not saved that.
        """
        demand = sum(month.weight_per_kw * month.peak_kw(import_kwh) for month in self.months)
        return ReplayBill(
            self.currency,
            _money(float(self.import_price_per_kwh @ import_kwh)),
            _money(self.export_price_per_kwh * float(export_kwh.sum())),
            _money(demand),
            _money(battery_drained_kwh * self.stored_worth_per_kwh),
            max((month.peak_kw(import_kwh) for month in self._all), default=0.0),
        )


def _money(amount: float) -> Decimal:
    return Decimal(repr(amount)).quantize(CENT)


def step_prices_per_kwh(tariff: Tariff, boundaries: list[datetime]) -> FloatArray:
    """Price of import in each step [currency/kWh], shape (steps,)."""
    if len(boundaries) < 2:
        return np.zeros(0)
    prices = tariff.import_prices(boundaries[0], boundaries[-1])
    return slot_means(prices.boundaries, [float(price) for price in prices.prices_per_kwh], boundaries)


def demand_months(scenario: Scenario, charge: DemandCharge, boundaries: list[datetime]) -> tuple[DemandMonth, ...]:
    """A demand charge in every billing month that the scenario touches."""
    tariff = scenario.tariff
    length = timedelta(minutes=charge.interval_minutes)
    interval_of: dict[datetime, IntArray] = {}
    numbers: dict[datetime, int] = {}
    months: list[Interval] = []
    month = tariff.billing_month(scenario.start)
    for index, start in enumerate(boundaries[:-1]):
        if start >= month.end and start < scenario.end:
            month = tariff.billing_month(start)
        if not months or months[-1] is not month:
            months.append(month)
            interval_of[month.start] = np.full(len(boundaries) - 1, -1, dtype=np.int64)
        local = start.astimezone(tariff.zone)
        if not charge.window.applies_at(local):
            continue
        since_midnight = timedelta(hours=local.hour, minutes=local.minute)
        begun = start - since_midnight % length
        interval_of[month.start][index] = numbers.setdefault(begun, len(numbers))
    return tuple(_demand_month(scenario, charge, one, interval_of[one.start]) for one in months)


def _demand_month(scenario: Scenario, charge: DemandCharge, month: Interval, interval_of: IntArray) -> DemandMonth:
    part = Interval(max(month.start, scenario.start), min(month.end, scenario.end))
    covered: Fraction = days_in(part, scenario.tariff.zone) / days_in(month, scenario.tariff.zone)
    return DemandMonth(
        name=f"{charge.name} {month.start.astimezone(scenario.tariff.zone):%Y-%m}",
        price_per_kw=float(charge.price_per_kw),
        covered_share=float(covered),
        interval_h=max(charge.interval_minutes / 60.0, scenario.step / timedelta(hours=1)),
        interval_of=interval_of,
    )
