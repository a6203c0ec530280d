"""The stationary battery of a simulated site: it follows the plan within its bounds, and no energy comes from nowhere."""

from datetime import UTC, datetime, timedelta

import pytest

from optimizer.domain.site import StationaryBattery
from scenarios.battery_model import BatteryModel

NOON = datetime(2024, 6, 12, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
BATTERY = StationaryBattery(
    "cellar",
    capacity_kwh=50.0,
    max_charge_kw=25.0,
    max_discharge_kw=20.0,
    charge_efficiency=0.9,
    discharge_efficiency=0.8,
    min_soc=0.1,
    max_soc=0.9,
)


def battery_at(soc: float) -> BatteryModel:
    return BatteryModel(BATTERY, NOON, soc)


def hourly(count: int) -> list[datetime]:
    return [NOON + number * HOUR for number in range(count + 1)]


@pytest.mark.parametrize(
    ("soc", "planned_kw", "power_kw", "content_kwh"),
    [
        pytest.param(0.5, 10.0, 10.0, 34.0, id="charges, less its losses"),
        pytest.param(0.5, -8.0, -8.0, 15.0, id="discharges, and loses on top"),
        pytest.param(0.5, 40.0, 25.0, 45.0, id="no faster than it can, and no fuller than it may"),
        pytest.param(0.5, -40.0, -20.0, 5.0, id="no faster than it can, and no emptier than it may"),
        pytest.param(0.0, 0.0, 0.0, 5.0, id="a charge out of bounds is taken into them"),
    ],
)
def test_it_follows_the_plan_within_its_bounds(
    soc: float, planned_kw: float, power_kw: float, content_kwh: float
) -> None:
    battery = battery_at(soc)
    battery.follow(hourly(1), [planned_kw])
    assert battery.trace.power_kw(NOON + timedelta(seconds=1)) == pytest.approx(power_kw)
    battery.advance(NOON + HOUR)
    assert battery.content_kwh == pytest.approx(content_kwh, abs=1e-6)


def test_what_flows_in_is_kept_or_lost() -> None:
    battery = battery_at(0.5)
    first_kwh = battery.content_kwh
    for number in range(12):
        battery.follow(hourly(4), [20.0, -15.0, 5.0, -20.0])
        battery.advance(NOON + (number + 1) * HOUR / 3)
    flowed_kwh = battery.trace.register_kwh(battery.settled_at)
    assert flowed_kwh == pytest.approx(battery.content_kwh - first_kwh + battery.lost_kwh, abs=1e-9)
    assert battery.lost_kwh > 0


def test_after_the_plan_it_rests() -> None:
    battery = battery_at(0.5)
    battery.follow(hourly(1), [10.0])
    battery.advance(NOON + 2 * HOUR)
    assert battery.content_kwh == pytest.approx(34.0)
    assert battery.next_change() is None


@pytest.mark.parametrize(
    ("planned_kw", "after"),
    [
        pytest.param([10.0, -10.0], HOUR, id="the plan changes"),
        pytest.param([25.0, 25.0], HOUR * (20.0 / 0.9 / 25.0), id="it is full before"),
        pytest.param([-20.0, -20.0], HOUR * (20.0 * 0.8 / 20.0), id="it is empty before"),
    ],
)
def test_it_tells_when_its_power_changes_next(planned_kw: list[float], after: timedelta) -> None:
    battery = battery_at(0.5)
    battery.follow(hourly(2), planned_kw)
    change = battery.next_change()
    assert change is not None
    assert abs(change - (NOON + after)) < timedelta(milliseconds=1)
