"""What a plan makes of each thing that a site can have: small problems whose best answer can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planning_cases import NOW, ONE_PHASE, ROOT, SITE, THREE_PHASE, hours, problem, request

from optimizer.domain.moment import Interval
from optimizer.domain.plan import Plan, ProvenOptimal
from optimizer.domain.session import PriorityTier
from optimizer.domain.site import Circuit, LimitSource
from optimizer.planning.problem import BatteryState, ChargingProblem
from optimizer.planning.requests import (
    DemandTerm,
    EnergyNeed,
    LimitScope,
    PhaseMode,
    PowerLimit,
    SiteOutlook,
    VehicleBattery,
)
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.solve import plan_charging
from optimizer.planning.statement import charging_problem
from optimizer.planning.verify import violations

PLAIN = PlanningSettings(preferences=False)
STORE = BatteryState(0.0, 10.0, 0.0, 10.0, 5.0, 5.0, charge_efficiency=1.0, discharge_efficiency=1.0)
GIVES_BACK = VehicleBattery(
    40.0, 50.0, max_discharge_kw=5.0, discharge_efficiency=1.0, discharge_floor_soc=0.5, discharge_wear_per_kwh=0.05
)


def best(of: ChargingProblem) -> Plan:
    outcome = plan_charging(of, PLAIN)
    assert isinstance(outcome, ProvenOptimal)
    assert [str(violation) for violation in violations(of, outcome.plan)] == []
    return outcome.plan


def powers(plan: Plan, vehicle: int = 0) -> list[float]:
    return [round(power_kw, 2) for power_kw in plan.sessions[vehicle].power_kw]


def test_slots_of_unequal_length_are_weighed_by_their_length() -> None:
    """Five minutes, a quarter of an hour and an hour; the quarter is the cheapest and holds 1.84 kWh."""
    instants = [NOW, hours(1 / 12), hours(1 / 3), hours(4 / 3)]
    circuits = [Circuit(ROOT, None)]
    of = charging_problem(SITE, instants, [request("car", 5.0, 4 / 3)], circuits, SiteOutlook([0.3, 0.1, 0.2]))
    assert powers(best(of)) == [0.0, 7.36, 3.16]


def test_one_phase_is_chosen_where_three_would_need_too_much() -> None:
    """With 2.5 kW of sun three phases would import at least 1.64 kW; on one phase the sun is enough."""
    switchable = (THREE_PHASE, PhaseMode(16, ONE_PHASE.phases))
    car = request("car", 2.5, 1, modes=switchable)
    plan = best(problem([car], slots=4, minutes=15, pv_kw=[2.5] * 4, prices=[0.4] * 4))
    assert set(plan.sessions[0].phases_used) == {1}
    assert max(plan.grid_import_kw) == pytest.approx(0.0, abs=1e-6)


def test_three_phases_are_chosen_where_time_is_short() -> None:
    switchable = (THREE_PHASE, PhaseMode(16, ONE_PHASE.phases))
    plan = best(problem([request("car", 9.0, 1, modes=switchable)], slots=4, minutes=15))
    assert 3 in plan.sessions[0].phases_used
    assert not plan.shortfalls


@pytest.mark.parametrize(
    ("dear", "given_back_kwh"),
    [
        pytest.param(0.50, 5.0, id="0.30 more than it costs to charge again: worth the wear"),
        pytest.param(0.24, 0.0, id="0.04 more: less than the wear of 0.05"),
    ],
)
def test_a_vehicle_gives_back_where_that_pays_more_than_its_wear(dear: float, given_back_kwh: float) -> None:
    car = request("car", 5.0, 2, PhaseMode(16, min_current_a=0.0), battery=GIVES_BACK)
    plan = best(problem([car], slots=2, prices=[dear, 0.20], building_kw=[5.0, 0.0]))
    assert -sum(power_kw for power_kw in plan.sessions[0].power_kw if power_kw < 0) == pytest.approx(given_back_kwh)


def test_a_vehicle_is_not_emptied_below_its_floor() -> None:
    car = request("car", 0.0, 4, PhaseMode(16, min_current_a=0.0), battery=replace(GIVES_BACK, stored_kwh=28.0))
    plan = best(problem([car], prices=[0.9] * 4, building_kw=[5.0] * 4))
    assert sum(plan.sessions[0].power_kw) == pytest.approx(-3.0)


def test_a_vehicle_that_leaves_within_a_slot_gives_nothing_back_in_it() -> None:
    """What it gave in its part of the slot would not be there for the others in the rest."""
    car = request("car", 0.0, 1.5, PhaseMode(16, min_current_a=0.0), battery=GIVES_BACK)
    plan = best(problem([car], slots=2, prices=[0.8, 0.9], building_kw=[5.0, 5.0]))
    assert plan.sessions[0].power_kw == pytest.approx((-5.0, 0.0))


def test_a_battery_moves_energy_from_cheap_hours_to_dear_ones() -> None:
    plan = best(problem([], slots=2, prices=[0.1, 0.5], building_kw=[1.0, 4.0], battery=STORE))
    assert plan.battery_kw == pytest.approx((4.0, -4.0))


def test_a_battery_that_wears_more_than_the_prices_differ_rests() -> None:
    worn = replace(STORE, wear_per_kwh=0.5)
    plan = best(problem([], slots=2, prices=[0.1, 0.5], building_kw=[1.0, 4.0], battery=worn))
    assert plan.battery_kw == pytest.approx((0.0, 0.0), abs=1e-6)


@pytest.mark.parametrize(
    ("curtailable", "used_kw"), [pytest.param(True, 0.0, id="curtailed"), pytest.param(False, 5.0, id="it flows")]
)
def test_pv_is_curtailed_where_export_costs(curtailable: bool, used_kw: float) -> None:
    of = problem([], slots=1, pv_kw=[5.0], export_price_per_kwh=[-0.1], pv_curtailable=curtailable)
    assert best(of).pv_kw == pytest.approx((used_kw,), abs=1e-6)


def test_charging_follows_the_sun_that_would_be_sold_for_little() -> None:
    of = problem([request("car", 6.0, 4)], pv_kw=[0.0, 6.0, 0.0, 0.0], export_price_per_kwh=[0.05] * 4, minutes=60)
    assert powers(best(of)) == [0.0, 6.0, 0.0, 0.0]


def test_every_demand_charge_counts_in_its_own_window() -> None:
    """On peak a kW costs 20, all day 1: all is charged off peak, and there as flat as can be."""
    on_peak = DemandTerm("on peak", 20.0, intervals=(Interval(hours(0), hours(1)), Interval(hours(1), hours(2))))
    of = problem([request("car", 8.0, 4)], demand=[on_peak, DemandTerm("all day", 1.0)])
    assert powers(best(of)) == [0.0, 0.0, 4.0, 4.0]


def test_a_peak_that_is_reached_already_costs_nothing_more() -> None:
    of = problem([request("car", 8.0, 4)], prices=[0.4, 0.4, 0.4, 0.1], demand=[DemandTerm("peak", 20.0, 7.0)])
    assert powers(best(of))[3] == pytest.approx(7.0, abs=0.01)


def test_two_targets_of_one_vehicle_are_both_met() -> None:
    """80 % early and dear, the rest when it is cheap."""
    car = request("car", 0, 0, needs=(EnergyNeed(hours(1), 6.0), EnergyNeed(hours(4), 12.0)))
    assert powers(best(problem([car], prices=[0.5, 0.4, 0.3, 0.1]))) == [6.0, 0.0, 0.0, 6.0]


def test_a_reservation_to_come_shapes_the_plan_of_today() -> None:
    """The cheap hour is booked by another at full power, so the vehicle that is there charges before it."""
    booked = request(
        "booked", 7.36, 4, arrive_at=hours(3), tier=PriorityTier.RESERVED, guaranteed_kw=7.36, guaranteed_kwh=7.36
    )
    of = problem([request("car", 7.0, 4), booked], prices=[0.4, 0.3, 0.2, 0.1], limit_kw=7.36)
    plan = best(of)
    assert powers(plan) == [0.0, 0.0, 7.0, 0.0]
    assert powers(plan, 1) == [0.0, 0.0, 0.0, 7.36]


def test_a_grid_event_bounds_vehicles_and_battery_but_not_the_building() -> None:
    window = Interval(hours(0), hours(1))
    event = PowerLimit(ROOT, 4.2, LimitSource.GRID_EVENT, LimitScope.CONTROLLABLE, window)
    of = problem([request("car", 9.0, 2)], slots=2, prices=[0.1, 0.3], limits=[event], building_kw=[20.0, 20.0])
    assert powers(best(of)) == [4.2, 4.8]


def test_a_setpoint_is_kept_where_it_can_be() -> None:
    of = problem([request("car", 6.0, 2)], slots=2, prices=[0.1, 0.3], setpoint_kw=[None, 5.0], building_kw=[1.0, 1.0])
    assert best(of).grid_import_kw[1] == pytest.approx(5.0)


def test_carbon_has_a_price_beside_money() -> None:
    of = problem([request("car", 7.0, 2)], slots=2, prices=[0.20, 0.22], carbon_kg_per_kwh=[0.6, 0.1])
    assert powers(best(of)) == [7.0, 0.0]
    assert powers(best(replace(of, carbon_price_per_kg=0.1))) == [0.0, 7.0]
