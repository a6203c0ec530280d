"""Days of 92 and 100 quarter-hours in a replay with prices: energy, cost, steps and the axes of the report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import yaml

from scenarios.replay import ReplayResult, bounds_of, judged, replay
from scenarios.report import report_page, time_ticks
from scenarios.scenario import Scenario
from scenarios.scenario_files import load_scenario

ZONE = ZoneInfo("Europe/Berlin")
NIGHT, DAY, MARKET, CHEAP = 0.05, 0.10, 0.20, 0.02
PEAK_PRICE = 0.1


@dataclass(frozen=True)
class ClockChange:
    """A day on which the clocks are changed, and what is special of it."""

    day: date
    """The local day."""
    quarters: int
    """Quarter-hours that it has."""
    cheap_at: datetime
    """Begin of its one cheap hour: the second of two that are called 02:00, or the one right after the gap [UTC]."""
    night_h: float
    """Hours between local 00:00 and 06:00."""


CHANGES = {
    "clocks go forward": ClockChange(date(2019, 3, 31), 92, datetime(2019, 3, 31, 1, tzinfo=UTC), 5.0),
    "an ordinary day": ClockChange(date(2019, 5, 5), 96, datetime(2019, 5, 5, 1, tzinfo=UTC), 6.0),
    "clocks go back": ClockChange(date(2019, 10, 27), 100, datetime(2019, 10, 27, 1, tzinfo=UTC), 7.0),
}
DAYS = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


def local(change: ClockChange, days: int = 0) -> datetime:
    """Local midnight at the begin of the day, or some days later."""
    day = change.day + timedelta(days=days)
    return datetime(day.year, day.month, day.day, tzinfo=ZONE)


@cache
def scenario_of(change: ClockChange) -> Scenario:
    """One post; a car from midnight on that charges all night, and one in the evening."""
    start, end = local(change), local(change, days=1)
    with TemporaryDirectory() as name:
        folder = Path(name)
        hours = [start.astimezone(UTC) + timedelta(hours=count) for count in range(-24, 72)]
        prices = [f"{hour.isoformat()},{CHEAP if hour == change.cheap_at else MARKET}" for hour in hours]
        (folder / "prices.csv").write_text("\n".join(["timestamp,price_eur_per_kwh", *prices]))
        rows = [
            ("night", start, start.replace(hour=9), 50.0),
            ("evening", start.replace(hour=18), start.replace(hour=23), 5.0),
        ]
        lines = [f"{who},A,{came.isoformat()},{left.isoformat()},{kwh}" for who, came, left, kwh in rows]
        (folder / "sessions.csv").write_text("\n".join(["who,post,came,left,kwh", *lines]))
        window = {"start": "00:00", "end": "06:00"}
        tariff = {
            "id": "t", "name": "T", "currency": "EUR", "time_zone": ZONE.key, "market_priced": True,
            "energy_bands": [
                {"name": "night", "price_per_kwh": NIGHT, **window}, {"name": "day", "price_per_kwh": DAY},
            ],
            "demand_charges": [{"name": "night", "price_per_kw": PEAK_PRICE, "interval_minutes": 60, **window}],
        }  # fmt: skip
        (folder / "tariff.yaml").write_text(yaml.safe_dump(tariff))
        site = {
            "id": "s", "time_zone": ZONE.key, "currency": "EUR",
            "circuits": [{"id": "c", "limit_kw": 40}], "grid_connection": {"circuit_id": "c", "import_limit_kw": 40},
            "stations": [{"id": "A", "evses": [{"circuit_id": "c", "max_current_a": 16}]}],
        }  # fmt: skip
        columns = {"arrival": ["came"], "departure": ["left"], "energy": "kwh", "post": ["post"], "session": "who"}
        content = {
            "name": "one day", "start": start.isoformat(), "end": end.isoformat(), "step_minutes": 15, "site": site,
            "tariff": {"file": "tariff.yaml"}, "market_prices": {"file": "prices.csv"},
            "sessions": {"file": "sessions.csv", "format": "columns", "columns": columns},
            "vehicles": [{"taper_share": 0}], "information": {"targets": "recorded"},
            "building": {"constant_kw": 1.0}, "replan": {"every_minutes": 15},
        }  # fmt: skip
        (folder / "scenario.yaml").write_text(yaml.safe_dump(content))
        return load_scenario(folder / "scenario.yaml")


@cache
def without_control(change: ClockChange) -> ReplayResult:
    scenario = scenario_of(change)
    bounds = bounds_of(scenario)
    return judged(scenario, bounds.uncontrolled, bounds)


@DAYS
def test_the_day_has_its_quarters(change: ClockChange) -> None:
    scenario = scenario_of(change)
    assert (scenario.end - scenario.start) / timedelta(minutes=15) == change.quarters
    for course in (without_control(change).uncontrolled, without_control(change).optimum):
        assert course.series.count == change.quarters
        assert course.series.building_kwh == pytest.approx(np.full(change.quarters, 0.25))
        assert course.series.charging_kwh.sum() == pytest.approx(55.0, abs=1e-6)


@DAYS
def test_the_bill_is_that_of_each_quarter(change: ClockChange) -> None:
    """Worked out once more, quarter by quarter: 11.04 kW from midnight until 50 kWh are in, and the building."""
    result = without_control(change)
    start = local(change).astimezone(UTC)
    energy_cost, quarter_h = 0.0, 0.25
    for index in range(change.quarters):
        at = start + index * timedelta(minutes=15)
        band = NIGHT if at.astimezone(ZONE).hour < 6 else DAY
        market = CHEAP if change.cheap_at <= at < change.cheap_at + timedelta(hours=1) else MARKET
        charged_h = min(quarter_h, max(0.0, 50.0 / 11.04 - index * quarter_h))
        since_evening_h = (at - local(change).replace(hour=18).astimezone(UTC)) / timedelta(hours=1)
        if since_evening_h >= 0:
            charged_h = min(quarter_h, max(0.0, 5.0 / 11.04 - since_evening_h))
        energy_cost += (11.04 * charged_h + quarter_h) * (band + market)
    bill = result.figures.bill
    assert bill.energy_cost == pytest.approx(Decimal(energy_cost), abs=Decimal("0.006"))
    days = {3: 31, 5: 31, 10: 31}[change.day.month]
    assert bill.demand_cost == pytest.approx(Decimal(12.04 * PEAK_PRICE / days), abs=Decimal("0.006"))


@DAYS
def test_the_one_cheap_hour_is_used_in_full(change: ClockChange) -> None:
    """Of two hours with one name only the second is cheap: who mistakes one for the other pays the difference."""
    result = replay(scenario_of(change), "milp", bounds=bounds_of(scenario_of(change)))
    assert result.figures.delivered_kwh == pytest.approx(55.0, abs=0.2)
    assert result.figures.limit_violations == 0
    for course in (result.course, result.optimum):
        first = (change.cheap_at - course.series.start) // timedelta(minutes=15)
        power_kw = course.series.charging_kwh / 0.25
        assert power_kw[first : first + 4].mean() == pytest.approx(power_kw.max(), abs=0.1)
    optimum, uncontrolled = result.baselines.offline_optimum.bill, result.baselines.uncontrolled.bill
    assert optimum.total_cost <= result.figures.bill.total_cost + Decimal("0.05")
    assert result.figures.bill.total_cost < uncontrolled.total_cost


@DAYS
def test_the_axes_count_true_hours(change: ClockChange) -> None:
    start, hours = local(change).astimezone(UTC), change.quarters / 4
    ticks = list(time_ticks(start, 0.0, hours, ZONE))
    assert [text for _, text in ticks] == [f"{hour:02d}:00" for hour in range(0, 24, 3)] + ["00:00"]
    assert ticks[2] == (change.night_h, "06:00")
    assert ticks[-1] == (hours, "00:00")
    assert all(after > before for (before, _), (after, _) in pairwise(ticks))
    week = list(time_ticks(start, 0.0, hours + 6 * 24, ZONE))
    assert [place for place, _ in week[:3]] == [0.0, hours, hours + 24]
    page = report_page(without_control(change))
    assert page.count(">06:00<") >= 1
