"""Every shipped scenario, under every strategy: energy balances, and no limit is exceeded but without control."""

from datetime import datetime, timedelta
from functools import cache

import numpy as np
import pytest

from scenarios.outcomes import Course
from scenarios.runner import run_course
from scenarios.scenario import Scenario
from scenarios.scenario_files import catalogue_names, catalogue_path, load_scenario
from scenarios.strategies import UNCONTROLLED, strategy_names

BALANCED_WITHIN_KWH = 1e-6

WINDOWS = {
    "acn_caltech_2019_03": ("2019-03-05T08:00:00-08:00", 0.5),
    "acn_caltech_2019_08": ("2019-08-05T11:00:00-07:00", 1),
    "acn_caltech_2019_08_28": ("2019-08-28T13:00:00-07:00", 2),
    "acn_jpl_2019_10": ("2019-10-02T07:00:00-07:00", 0.25),
    "depot_constructed_2024_06": ("2024-06-12T15:00:00+02:00", 1.5),
    "epfl_fast_2022_06": ("2022-06-06T12:00:00+02:00", 3),
    "trondheim_garage_2019_08": ("2019-08-12T12:00:00+02:00", 12),
    "v2g_depot_2024_06": ("2024-06-12T15:30:00+02:00", 1),
}
"""Busy hours of each: arrivals from when, for how long [h]; those who came are followed to their departure."""

FASTER = {"planning.proof_time_s": 0, "replan.every_minutes": 15, "replan.at_events": False}
"""Proving plans, and making one at every plug-in, take most of the time."""


def test_no_scenario_is_left_out() -> None:
    assert set(WINDOWS) == set(catalogue_names())


@cache
def busy_hours(name: str) -> Scenario:
    start, hours = WINDOWS[name]
    begin = datetime.fromisoformat(start)
    return load_scenario(catalogue_path(name), FASTER).between(begin, begin + timedelta(hours=hours))


@pytest.mark.parametrize("strategy", strategy_names())
@pytest.mark.parametrize("name", sorted(WINDOWS))
def test_energy_balances_and_limits_hold(name: str, strategy: str) -> None:
    assert_physical(busy_hours(name), strategy)


@pytest.mark.study
@pytest.mark.parametrize("strategy", strategy_names())
@pytest.mark.parametrize("name", sorted(WINDOWS))
def test_they_do_so_for_three_days_and_as_the_scenario_plans(name: str, strategy: str) -> None:
    scenario = load_scenario(catalogue_path(name), {"planning.proof_time_s": 0})
    begin = max(scenario.start, datetime.fromisoformat(WINDOWS[name][0]) - timedelta(hours=8))
    assert_physical(scenario.between(begin, min(begin + timedelta(days=3), scenario.end)), strategy)


def assert_physical(scenario: Scenario, strategy: str) -> Course:
    course = run_course(scenario, strategy)
    assert course.is_complete
    assert {stay.id for stay in course.stays} == {stay.id for stay in scenario.stays}
    assert_balanced(scenario, course)
    assert_nobody_takes_more_than_fits(scenario, course)
    if strategy != UNCONTROLLED:
        assert course.violations == ()
    return course


@pytest.mark.parametrize("name", ["acn_jpl_2019_10", "epfl_fast_2022_06", "depot_constructed_2024_06"])
def test_without_control_limits_would_be_exceeded(name: str) -> None:
    scenario = load_scenario(catalogue_path(name))
    assert run_course(scenario.between(scenario.start, scenario.start + timedelta(days=2)), UNCONTROLLED).violations


def assert_balanced(scenario: Scenario, course: Course) -> None:
    flows = course.series
    # No shipped scenario has losses and vehicles that give back; of those, losses are not in proportion to the sum.
    losses = 1.0 + scenario.surroundings.wiring_loss_share
    used_kwh = flows.building_kwh - flows.pv_kwh + flows.battery_kwh + flows.charging_kwh * losses
    np.testing.assert_allclose(flows.import_kwh - flows.export_kwh, used_kwh, rtol=0, atol=BALANCED_WITHIN_KWH)
    assert np.all(flows.import_kwh * flows.export_kwh == 0.0) or np.all(flows.import_kwh >= 0)
    lost_share = {stay.id: 1.0 / stay.vehicle.give_efficiency - 1.0 for stay in scenario.stays}
    taken_kwh = sum(stay.delivered_kwh + lost_share[stay.id] * stay.given_back_kwh for stay in course.stays)
    assert flows.charging_kwh.sum() == pytest.approx(taken_kwh, abs=BALANCED_WITHIN_KWH)


def assert_nobody_takes_more_than_fits(scenario: Scenario, course: Course) -> None:
    power_kw = {
        stay.id: scenario.site.evses[stay.evse_id].power_kw(stay.vehicle.max_current_a) for stay in scenario.stays
    }
    lends_kwh = {stay.id: stay.vehicle.gives_kwh for stay in scenario.stays}
    for stay in course.stays:
        there_h = (stay.departed_at - stay.arrived_at) / timedelta(hours=1)
        assert (
            -lends_kwh[stay.id]
            <= stay.delivered_kwh
            <= min(stay.wanted_kwh, power_kw[stay.id] * there_h) + BALANCED_WITHIN_KWH
        )


@pytest.mark.parametrize("strategy", ["milp", "least_laxity"])
def test_cars_of_one_and_of_three_phases_share_a_depot(strategy: str) -> None:
    """Seven cars on posts of three phases, four of which use one: nobody gets more than its phases carry."""
    mixed = {**FASTER, "vehicles": [{"phases_used": 1}, {"phases_used": 3}], "seed": 3}
    begin = datetime.fromisoformat("2024-06-12T15:30:00+02:00")
    scenario = load_scenario(catalogue_path("depot_constructed_2024_06"), mixed)
    scenario = scenario.between(begin, begin + timedelta(hours=1.5))
    assert {stay.vehicle.phases_used for stay in scenario.stays} == {1, 3}
    course = assert_physical(scenario, strategy)
    one_phase = {stay.id for stay in scenario.stays if stay.vehicle.phases_used == 1}
    for stay in course.stays:
        there_h = (stay.departed_at - stay.arrived_at) / timedelta(hours=1)
        if stay.id in one_phase:
            assert stay.delivered_kwh <= 16 * 0.23 * there_h + BALANCED_WITHIN_KWH
    assert sum(stay.delivered_kwh for stay in course.stays) > 0.98 * scenario.requested_kwh
