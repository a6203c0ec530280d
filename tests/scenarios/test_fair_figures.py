"""Nobody looks better than the offline optimum by delivering less or by emptying the battery."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache

import pytest

from scenarios.metrics import above_optimum_share, comparable_optimum_cost, figures_of, saved_share
from scenarios.offline_optimum import solve_offline
from scenarios.replay import Bounds, ReplayResult, bounds_of, replay
from scenarios.replay_bill import Pricing
from scenarios.scenario import Scenario
from scenarios.scenario_files import catalogue_path, load_scenario
from scenarios.strategies import MILP

START = datetime.fromisoformat("2022-06-06T12:00:00+02:00")


@cache
def noon() -> Scenario:
    """Three hours at two fast posts with a battery."""
    changes = {"planning.proof_time_s": 0, "planning.departure_care": 0, "replan.at_events": False}
    return load_scenario(catalogue_path("epfl_fast_2022_06"), changes).between(START, START + timedelta(hours=3))


@cache
def bounds() -> Bounds:
    return bounds_of(noon())


@cache
def lived(strategy: str) -> ReplayResult:
    return replay(noon(), strategy, bounds=bounds())


@pytest.mark.parametrize("strategy", [MILP, "first_come", "least_laxity"])
def test_nobody_is_below_the_offline_optimum(strategy: str) -> None:
    result = lived(strategy)
    assert above_optimum_share(result.figures, result.baselines) >= -1e-4
    assert above_optimum_share(result.baselines.uncontrolled, result.baselines) >= -1e-4


def test_who_delivers_less_is_held_against_the_optimum_of_that_energy() -> None:
    result = lived("first_come")
    assert result.figures.delivered_kwh < result.baselines.offline_optimum.delivered_kwh * 0.999
    comparable = comparable_optimum_cost(result.figures, result.baselines)
    assert comparable < result.baselines.offline_optimum.bill.total_cost
    told = result.as_json()
    assert told["same_energy_optimum_cost"] == float(comparable)
    assert told["above_offline_optimum_share"] == pytest.approx(told["total_cost"] / float(comparable) - 1, abs=1e-6)
    same = solve_offline(noon(), {stay.id: stay.delivered_kwh for stay in result.course.stays})
    assert sum(stay.delivered_kwh for stay in same.stays) == pytest.approx(result.figures.delivered_kwh, abs=1e-3)


def test_who_delivers_as_much_is_held_against_the_plain_optimum() -> None:
    best = bounds().baselines.offline_optimum
    assert best.same_energy_optimum_cost is None
    assert comparable_optimum_cost(best, bounds().baselines) == best.bill.total_cost


def test_an_emptied_battery_is_no_saving() -> None:
    course, scenario = lived("first_come").course, noon()
    worth_per_kwh = Pricing(scenario, course.series.count).stored_worth_per_kwh
    assert worth_per_kwh > 0
    full = figures_of(replace(course, battery_drained_kwh=0.0), scenario)
    drained = figures_of(replace(course, battery_drained_kwh=20.0), scenario)
    filled = figures_of(replace(course, battery_drained_kwh=-20.0), scenario)
    assert full.bill.battery_cost == 0
    cent = Decimal("0.011")
    assert drained.bill.total_cost - full.bill.total_cost == pytest.approx(Decimal(20 * worth_per_kwh), abs=cent)
    assert full.bill.total_cost - filled.bill.total_cost == pytest.approx(Decimal(20 * worth_per_kwh), abs=cent)
    assert saved_share(drained, bounds().baselines) < saved_share(full, bounds().baselines)


@pytest.mark.parametrize("strategy", [MILP, "first_come"])
def test_what_the_battery_holds_less_is_what_flowed_out_of_it(strategy: str) -> None:
    battery = noon().site.battery
    assert battery is not None
    course = lived(strategy).course
    out_kwh = -course.series.battery_kwh[course.series.battery_kwh < 0].sum() / battery.discharge_efficiency
    in_kwh = course.series.battery_kwh[course.series.battery_kwh > 0].sum() * battery.charge_efficiency
    # A step may hold both directions, which the sums of steps do not tell apart.
    assert course.battery_drained_kwh == pytest.approx(out_kwh - in_kwh, abs=0.5)
    assert lived(strategy).uncontrolled.battery_drained_kwh == 0.0
