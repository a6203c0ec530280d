"""Vehicles that give back in a replay: from the plan to the power that flows, within what is lent, to the last Wh."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pytest

from optimizer.domain.ids import CircuitId, EvseId, StationId
from optimizer.domain.site import Evse
from optimizer.errors import InvalidDataFile
from scenarios.ocpp_replay import run_over_ocpp
from scenarios.outcomes import Course
from scenarios.power_trace import PowerTrace
from scenarios.replay import bounds_of, judged
from scenarios.report import report_page
from scenarios.runner import run_course
from scenarios.scenario import Scenario, Stay
from scenarios.scenario_files import catalogue_path, load_scenario
from scenarios.vehicle_model import PluggedVehicle, VehicleModel
from scenarios.virtual_evse import VirtualEvse

NOON = datetime(2024, 6, 12, 12, tzinfo=UTC)
BELOW_THE_BUILDING = {"grid_events.0.value": 10, "planning.proof_time_s": 0}
WITHIN_KWH = 1e-6


@cache
def evening(loss_share: float = 0.0) -> Scenario:
    """Two vans, and an event that permits less than the building draws: only what vans give back can keep it."""
    scenario = load_scenario(
        catalogue_path("v2g_depot_2024_06"), {**BELOW_THE_BUILDING, "wiring_loss_share": loss_share}
    )
    start = datetime(2024, 6, 12, 14, tzinfo=UTC)
    return scenario.between(start, start + timedelta(hours=2))


@cache
def lived(loss_share: float = 0.0) -> Course:
    return run_course(evening(loss_share), "milp")


def test_what_is_planned_is_given_back_and_keeps_the_event() -> None:
    course = lived()
    assert course.violations == ()
    assert sum(stay.given_back_kwh for stay in course.stays) > 30
    assert min(course.series.charging_kwh) < -1.0
    # They are filled again before they leave.
    assert all(stay.unserved_kwh < 0.05 * stay.wanted_kwh for stay in course.stays)


@pytest.mark.parametrize("loss_share", [0.0, 0.02])
def test_energy_balances_in_both_directions(loss_share: float) -> None:
    scenario, course = evening(loss_share), lived(loss_share)
    efficiency = {stay.id: stay.vehicle.give_efficiency for stay in scenario.stays}
    through_kwh = sum(stay.delivered_kwh + stay.given_back_kwh * (1 / efficiency[stay.id] - 1) for stay in course.stays)
    flows = course.series
    assert flows.charging_kwh.sum() == pytest.approx(through_kwh, abs=WITHIN_KWH)
    lost_kwh = (flows.import_kwh - flows.export_kwh) - flows.building_kwh - flows.charging_kwh
    both_ways_kwh = through_kwh + 2 * sum(stay.given_back_kwh for stay in course.stays)
    assert lost_kwh.sum() == pytest.approx(loss_share * both_ways_kwh, abs=WITHIN_KWH)
    assert np.all(lost_kwh >= -WITHIN_KWH)


def test_nobody_lends_more_than_agreed() -> None:
    for stay in evening().stays:
        vehicle = stay.vehicle
        floor_kwh = vehicle.soc_with(-vehicle.gives_kwh) if vehicle.gives_back else 0.2
        assert floor_kwh == pytest.approx(0.2)


def test_the_offline_optimum_lends_too_and_stays_a_bound() -> None:
    bounds = bounds_of(evening())
    figures = judged(evening(), lived(), bounds).figures
    optimum = bounds.baselines.offline_optimum
    assert optimum.given_back_kwh > 0
    assert optimum.delivered_kwh >= figures.delivered_kwh - WITHIN_KWH
    nobody = replace(evening(), stays=tuple(only_charging(stay) for stay in evening().stays))
    without = bounds_of(nobody).baselines.offline_optimum
    assert optimum.bill.total_cost < without.bill.total_cost
    assert optimum.delivered_kwh >= without.delivered_kwh - WITHIN_KWH


def test_the_report_shows_what_flows_in_both_directions() -> None:
    result = judged(evening(), lived(), bounds_of(evening()))
    page = report_page(result)
    assert "What cars gave back" in page
    assert f"gave back {result.figures.given_back_kwh:,.1f} kWh in between" in page
    assert "; gave back " in page.partition("Every stay")[2]
    nobody = replace(evening(), stays=tuple(only_charging(stay) for stay in evening().stays))
    bounds = bounds_of(nobody)
    assert "gave back" not in report_page(judged(nobody, bounds.uncontrolled, bounds))


def only_charging(stay: Stay) -> Stay:
    return replace(stay, vehicle=replace(stay.vehicle, gives_kwh=0.0))


@pytest.mark.study
def test_it_is_given_back_over_the_wire_too() -> None:
    # A second on the wall is four minutes here: what takes that long on the way shows as a step.
    course = run_over_ocpp(evening(), "milp", speed=240.0)
    assert sum(stay.given_back_kwh for stay in course.stays) > 20
    assert course.series.charging_kwh.min() < -1.0
    # Limits take a while on the way, and what is given back is told in whole tenths of an ampere.
    event = evening().grid_events[0].intervals[0].interval
    first, last = (round((at - course.series.start) / course.series.step) for at in (event.start, event.end))
    imports_kw = np.sort(12.0 * course.series.import_kwh[first + 2 : last])
    # A busy machine is late now and then; who has nothing left to give is missed for the rest of the event.
    assert imports_kw[-4] < 10.8
    assert imports_kw[-1] < 20.0


def test_nothing_is_given_back_where_no_evse_takes_it() -> None:
    scenario = load_scenario(catalogue_path("v2g_depot_2024_06"), {"bidirectional_evses": []})
    assert not any(stay.vehicle.gives_back for stay in scenario.stays)
    only_one = load_scenario(catalogue_path("v2g_depot_2024_06"), {"bidirectional_evses": ["VAN-04"]})
    assert {stay.evse_id for stay in only_one.stays if stay.vehicle.gives_back} == {EvseId("VAN-04")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bidirectional_evses": ["VAN-77"]}, "bidirectional_evses = 'VAN-77': name some of"),
        ({"vehicles": [{"gives_back_kw": 11}]}, "give battery_kwh with gives_back_kw"),
        ({"vehicles": [{"gives_back_kw": 11, "battery_kwh": 0}]}, "greater than 0"),
        ({"vehicles": [{"discharge_floor_soc": 20}]}, "less than or equal to 1"),
    ],
    ids=["no such EVSE", "a battery unknown", "no battery", "percent"],
)
def test_what_cannot_be_lent_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidDataFile, match=f"(?s){message}"):
        load_scenario(catalogue_path("v2g_depot_2024_06"), changes)


@pytest.mark.parametrize("phases_used", [1, 3])
def test_it_gives_back_the_power_that_is_asked_on_the_phases_it_uses(phases_used: int) -> None:
    from optimizer.domain.charger import LimitPeriod
    from scenarios.simulated_site import PeriodLimits

    evse = Evse(EvseId("e"), StationId("s"), 1, CircuitId("c"), 32.0)
    virtual = VirtualEvse(evse, NOON)
    model = VehicleModel(10.0, phases_used=phases_used, gives_kwh=9.5, gives_back_a=32.0, give_efficiency=0.95)
    car = virtual.plug_in(model, None)
    virtual.switch(on=True, at=NOON)
    periods = (LimitPeriod(NOON, 0.0, 4.0),)
    virtual.obey(PeriodLimits(evse, periods, None, virtual.current_paths), NOON)
    virtual.advance(NOON + timedelta(hours=1))
    assert virtual.trace.power_kw(NOON) == pytest.approx(-4.0)
    assert virtual.trace.step_at(NOON).current_paths == phases_used
    assert car.taken_kwh == pytest.approx(-4.0 / 0.95)
    virtual.advance(NOON + timedelta(hours=4))
    assert car.taken_kwh == pytest.approx(-9.5, abs=WITHIN_KWH)
    assert car.given_back_kwh == pytest.approx(9.5 * 0.95, abs=WITHIN_KWH)
    assert given_back_kwh(virtual.trace) == pytest.approx(car.given_back_kwh, abs=WITHIN_KWH)


def given_back_kwh(trace: PowerTrace) -> float:
    return -trace.register_kwh(NOON + timedelta(hours=4))


def test_a_car_that_lent_takes_it_back_with_what_was_lost() -> None:
    car = PluggedVehicle(VehicleModel(5.0, gives_kwh=5.0, give_efficiency=0.8))
    car.take(-4.0)
    assert (car.taken_kwh, car.given_back_kwh) == (-5.0, 4.0)
    assert not car.is_full
    car.take(10.0)
    assert car.is_full
    assert car.may_flow
