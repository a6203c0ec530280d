"""Whatever people, vehicles and meters bring about, there is a plan: never infeasible, never nothing when time is up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from generated_problems import rich_problem
from planning_cases import (
    NOW,
    ONE_PHASE,
    ROOT,
    SITE,
    THREE_PHASE,
    evse_of,
    hours,
    problem,
    request,
    session_of,
    snapshot,
)

from optimizer.domain.charger import ExternalLimit, LimitPeriod
from optimizer.domain.ids import CircuitId, ReservationId, TokenId
from optimizer.domain.moment import Interval
from optimizer.domain.plan import BindingKind, Fallback, FeasibleAtLimit, Plan, ProvenOptimal
from optimizer.domain.reservation import Reservation
from optimizer.domain.session import DepartureTarget, PriorityTier, Vehicle
from optimizer.domain.site import Circuit, LimitSource, Phase
from optimizer.planning.assemble import problem_from_snapshot
from optimizer.planning.fallback import LINEAR_OPTIMUM, PLAN_IN_FORCE
from optimizer.planning.heuristics import FALLBACK, HEURISTICS
from optimizer.planning.problem import BatteryState, ChargingProblem
from optimizer.planning.requests import EnergyNeed, LimitScope, PhaseMode, PowerLimit, VehicleBattery
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.solve import plan_charging
from optimizer.planning.solving import Solving
from optimizer.planning.verify import violations

ROW = CircuitId("row")
STORE = BatteryState(5.0, 10.0, 1.0, 9.0, 4.0, 4.0, wear_per_kwh=0.01)
GIVES_BACK = VehicleBattery(20.0, 50.0, max_discharge_kw=5.0, discharge_floor_soc=0.5)
CAR = request("car", 5.0, 2)


def energy_kwh(plan: Plan, vehicle: int = 0) -> float:
    session = plan.sessions[vehicle]
    return session.energy_kwh[-1] - session.energy_kwh[0]


def two_slots(**more: object) -> ChargingProblem:
    vehicles = more.pop("vehicles", [CAR])
    return problem(vehicles, slots=2, **more)  # type: ignore[arg-type]


CASES = {
    "a vehicle below its discharge floor": (
        lambda: two_slots(vehicles=[request("car", 0.0, 2, battery=GIVES_BACK)], prices=[1.0, 0.1]),
        lambda plan: min(plan.sessions[0].power_kw) >= 0.0,
    ),
    "a vehicle fuller than its battery": (
        lambda: two_slots(vehicles=[request("car", 5.0, 2, battery=VehicleBattery(51.0, 50.0, knee_soc=0.8))]),
        lambda plan: energy_kwh(plan) == 0.0 and len(plan.shortfalls) == 1,
    ),
    "a vehicle above its knee and told to be full": (
        lambda: two_slots(vehicles=[request("car", 9.0, 2, battery=VehicleBattery(45.0, 50.0, knee_soc=0.8))]),
        lambda plan: 0.0 < energy_kwh(plan) < 5.0 and len(plan.shortfalls) == 1,
    ),
    "a target out of reach": (
        lambda: two_slots(vehicles=[request("car", 90.0, 1)]),
        lambda plan: energy_kwh(plan) == pytest.approx(7.36) and plan.shortfalls[0].unserved_kwh > 80.0,
    ),
    "two targets that contradict each other": (
        lambda: two_slots(vehicles=[request("car", 0, 0, needs=(EnergyNeed(hours(1), 7.0), EnergyNeed(hours(2), 2.0)))]),
        lambda plan: energy_kwh(plan) == pytest.approx(7.0) and not plan.shortfalls,
    ),
    "a vehicle whose limit is below its minimum": (
        lambda: two_slots(vehicles=[request("car", 5.0, 2, PhaseMode(16, max_power_kw=2.0))], minutes=15),
        lambda plan: energy_kwh(plan) == 0.0,
    ),
    "a vehicle that comes after the horizon": (
        lambda: two_slots(vehicles=[request("car", 5.0, 9, arrive_at=hours(6))]),
        lambda plan: energy_kwh(plan) == 0.0 and not plan.shortfalls,
    ),
    "a base load above the contract": (
        lambda: two_slots(limit_kw=10.0, building_kw=[14.0, 4.0]),
        lambda plan: plan.sessions[0].power_kw[0] == 0.0 and energy_kwh(plan) == pytest.approx(5.0),
    ),
    "a base load above the fuse on one phase": (
        lambda: two_slots(
            circuits=[Circuit(ROOT, None, limit_a=40.0)],
            building_kw=[12.0, 3.0],
            building_phase_shares=(1.0, 0.0, 0.0),
        ),
        lambda plan: plan.sessions[0].power_kw[0] == 0.0 and energy_kwh(plan) == pytest.approx(5.0),
    ),
    "phases that the building alone unbalances": (
        lambda: two_slots(
            vehicles=[CAR, request("other", 5.0, 2, PhaseMode(32, (Phase.L2,)))],
            circuits=[Circuit(ROOT, None, imbalance_limit_a=20.0)],
            building_kw=[8.0, 8.0],
            building_phase_shares=(1.0, 0.0, 0.0),
        ),
        lambda plan: energy_kwh(plan) == 0.0 and energy_kwh(plan, 1) >= 5.0,
    ),
    "a limit of zero on the connection": (
        lambda: two_slots(limit_kw=0.0),
        lambda plan: energy_kwh(plan) == 0.0 and plan.shortfalls[0].unserved_kwh == pytest.approx(5.0),
    ),
    "a limit of zero on a circuit": (
        lambda: two_slots(
            vehicles=[request("car", 5.0, 2, circuit_id=ROW), request("other", 5.0, 2)],
            circuits=[Circuit(ROOT, None), Circuit(ROW, ROOT, limit_a=0.0)],
        ),
        lambda plan: energy_kwh(plan) == 0.0 and energy_kwh(plan, 1) == pytest.approx(5.0),
    ),
    "a grid event that permits nothing for an hour": (
        lambda: two_slots(
            limits=[PowerLimit(ROOT, 0.0, LimitSource.GRID_EVENT, LimitScope.CONTROLLABLE, Interval(NOW, hours(1)))]
        ),
        lambda plan: plan.sessions[0].power_kw[0] == 0.0 and energy_kwh(plan) == pytest.approx(5.0),
    ),
    "no export permitted, and PV that cannot be curtailed": (
        lambda: two_slots(
            vehicles=[],
            pv_kw=[9.0, 0.0],
            limits=[PowerLimit(ROOT, 0.0, LimitSource.CONTRACT, LimitScope.FEED)],
        ),
        lambda plan: plan.grid_export_kw == (9.0, 0.0),
    ),
    "a battery below its band": (
        lambda: two_slots(battery=replace(STORE, content_kwh=0.2), prices=[0.5, 0.1]),
        lambda plan: plan.battery_kw[0] >= 0.0,
    ),
    "a battery above its band": (
        lambda: two_slots(battery=replace(STORE, content_kwh=9.9), prices=[-0.1, 0.1]),
        lambda plan: plan.battery_kw[0] <= 0.0,
    ),
    "negative prices, and export that pays more than import": (
        lambda: two_slots(
            vehicles=[request("car", 5.0, 2, battery=replace(GIVES_BACK, stored_kwh=40.0))],
            prices=[-0.2, 0.1],
            export_price_per_kwh=[-0.1, 0.3],
            battery=STORE,
            pv_kw=[5.0, 5.0],
            limits=[PowerLimit(ROOT, 30.0, LimitSource.CONTRACT), PowerLimit(ROOT, 30.0, LimitSource.CONTRACT, LimitScope.FEED)],
        ),
        lambda plan: min(*map(min, zip(plan.grid_import_kw, plan.grid_export_kw, strict=True))) == 0.0,
    ),
    "export above import, and no limit on either": (
        lambda: two_slots(prices=[0.1, 0.1], export_price_per_kwh=[0.3, 0.3], battery=STORE),
        lambda plan: all(min(pair) == 0.0 for pair in zip(plan.grid_import_kw, plan.grid_export_kw, strict=True)),
    ),
    "a setpoint that nothing can reach": (
        lambda: two_slots(setpoint_kw=[-50.0, 200.0]),
        lambda plan: energy_kwh(plan) >= 5.0 - 1e-6,
    ),
    "a guaranteed power above the limit": (
        lambda: two_slots(vehicles=[request("car", 9.0, 2, guaranteed_kw=7.0, guaranteed_kwh=9.0)], limit_kw=3.0),
        lambda plan: energy_kwh(plan) == pytest.approx(6.0),
    ),
    "two guarantees on one fuse": (
        lambda: two_slots(
            vehicles=[request(name, 6.0, 1, guaranteed_kw=6.0, guaranteed_kwh=6.0) for name in ("one", "two")],
            circuits=[Circuit(ROOT, None, limit_a=32.0)],
        ),
        lambda plan: energy_kwh(plan) + energy_kwh(plan, 1) == pytest.approx(7.36, rel=0.02),
    ),
    "no start left, and its minimum does not fit at first": (
        lambda: two_slots(
            vehicles=[request("car", 5.0, 2, charging_now=True, starts_left=0)], limit_kw=4.0, building_kw=[4.0, 0.0]
        ),
        lambda plan: plan.sessions[0].power_kw[0] == 0.0,
    ),
    "a shortest run that a limit interrupts": (
        lambda: replace(
            two_slots(vehicles=[request("car", 2.0, 0.5)], minutes=15, limit_kw=4.0, building_kw=[0.0, 4.0]), min_run_h=0.5
        ),
        lambda plan: plan.sessions[0].power_kw[1] == 0.0,
    ),
    "nobody there": (lambda: two_slots(vehicles=[]), lambda plan: plan.sessions == ()),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_there_is_always_a_plan(name: str) -> None:
    stated, holds = CASES[name]
    of = stated()
    outcome = plan_charging(of)
    assert isinstance(outcome, ProvenOptimal), outcome
    assert [str(violation) for violation in violations(of, outcome.plan)] == []
    assert holds(outcome.plan), outcome.plan


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("heuristic", [name for name in HEURISTICS if name != "uncontrolled"])
def test_the_heuristics_have_one_too(name: str, heuristic: str) -> None:
    of = CASES[name][0]()
    assert [str(violation) for violation in violations(of, HEURISTICS[heuristic](of))] == []


# ---------------------------------------------------------------- what a service meets


def test_a_reservation_that_cannot_be_kept_is_kept_as_far_as_the_wires_carry_it() -> None:
    window = Interval(hours(1), hours(3))
    booked = Reservation(
        ReservationId("r1"), SITE, window, TokenId("driver"), guaranteed_power_kw=11.0, energy_kwh=22.0
    )
    of = problem_from_snapshot(snapshot([], reservations=(booked,), import_limit_kw=12.0), PlanningSettings())
    outcome = plan_charging(of)
    assert isinstance(outcome, ProvenOptimal)
    assert not violations(of, outcome.plan)
    assert outcome.plan.shortfalls[0].tier is PriorityTier.RESERVED
    assert energy_kwh(outcome.plan) == pytest.approx(2 * (12.0 - 5.0), rel=0.02)


def test_a_vehicle_that_should_have_left_is_still_planned_for() -> None:
    late = session_of("late", "e0", targets=(DepartureTarget(hours(-0.5), energy_kwh=30.0),))
    of = problem_from_snapshot(snapshot([late]), PlanningSettings())
    plan = plan_charging(of).plan
    assert energy_kwh(plan) == pytest.approx(evse_of("e0").max_power_kw, rel=0.02)


def test_a_vehicle_fuller_than_its_target_needs_nothing() -> None:
    full = session_of("full", "e0", energy_kwh=25.0, targets=(DepartureTarget(hours(2), energy_kwh=20.0),))
    plan = plan_charging(problem_from_snapshot(snapshot([full]), PlanningSettings())).plan
    assert energy_kwh(plan) == 0.0
    assert not plan.shortfalls


@pytest.mark.parametrize(("others_kw", "most_kw"), [(6.0, 6.0), (2.0, 0.0), (0.0, 0.0), (50.0, 11.04)])
def test_what_others_permit_at_a_station_bounds_the_plan(others_kw: float, most_kw: float) -> None:
    of = snapshot([session_of("car", "e0")])
    bounded = replace(of.connectors[0], external_limits=(ExternalLimit("SO", (LimitPeriod(NOW, others_kw),)),))
    plan = plan_charging(
        problem_from_snapshot(replace(of, connectors=(bounded, *of.connectors[1:])), PlanningSettings())
    ).plan
    (planned,) = plan.sessions
    assert max(planned.power_kw) <= most_kw + 1e-6
    assert (energy_kwh(plan) > 0.0) is (most_kw > 0.0)


@pytest.mark.parametrize(("phases_used", "most_kw"), [(3, 6.9), (1, 2.3)])
def test_what_others_permit_is_a_current_on_each_phase(phases_used: int, most_kw: float) -> None:
    """Ten amperes, told as power on all three phases: a car on one of them gets ten, not thirty."""
    of = snapshot([session_of("car", "e0", vehicle=Vehicle(phases_used=phases_used))])
    bounded = replace(of.connectors[0], external_limits=(ExternalLimit("EMS", (LimitPeriod(NOW, 6.9),)),))
    known = replace(of, connectors=(bounded, *of.connectors[1:]))
    (planned,) = plan_charging(problem_from_snapshot(known, PlanningSettings())).plan.sessions
    assert max(planned.power_kw) == pytest.approx(most_kw)
    at_most = planned.reasons[planned.power_kw.index(max(planned.power_kw))]
    assert (at_most.kind, at_most.source) == (BindingKind.CHARGER_LIMIT, LimitSource.STATION)


# ---------------------------------------------------------------- when time is up


def stop_after(monkeypatch: pytest.MonkeyPatch, solves: int) -> None:
    """Let the wall clock run out as soon as so many solver calls have been made."""
    monkeypatch.setattr(Solving, "time_left_s", property(lambda run: 60.0 if run.solves < solves else 0.0))


@pytest.mark.parametrize("solves", range(10))
def test_whenever_time_is_up_what_was_found_is_the_plan(monkeypatch: pytest.MonkeyPatch, solves: int) -> None:
    stop_after(monkeypatch, solves)
    found = set()
    for seed in range(900, 912):
        of = rich_problem(np.random.default_rng(seed))
        outcome = plan_charging(of, PlanningSettings(proof_time_s=0.2))
        assert [str(violation) for violation in violations(of, outcome.plan)] == [], seed
        found.add(outcome.heuristic if isinstance(outcome, Fallback) else type(outcome).__name__)
    assert (FALLBACK in found or PLAN_IN_FORCE in found) == (solves == 0)


def test_a_plan_that_is_not_proven_in_time_comes_with_its_gap_and_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(900, 940):
        of = rich_problem(np.random.default_rng(seed))
        stop_after(monkeypatch, 5)
        outcome = plan_charging(of, PlanningSettings(relative_gap=0.0))
        if isinstance(outcome, FeasibleAtLimit):
            break
    assert isinstance(outcome, FeasibleAtLimit)
    assert outcome.bound < outcome.objective
    assert outcome.gap == pytest.approx(
        (outcome.objective - outcome.bound) / max(abs(outcome.objective), abs(outcome.bound))
    )


def night_of_two_prices(**more: object) -> ChargingProblem:
    cars = [
        request("one", 10.0, 8, THREE_PHASE, **more),
        request("two", 8.0, 8, ONE_PHASE, **more),
    ]
    return problem(cars, slots=8, prices=[0.4] * 4 + [0.1] * 4, limit_kw=12.0)


def outcome_after(monkeypatch: pytest.MonkeyPatch, solves: int, of: ChargingProblem) -> Fallback:
    stop_after(monkeypatch, solves)
    outcome = plan_charging(of)
    assert isinstance(outcome, Fallback)
    assert not violations(of, outcome.plan)
    return outcome


def test_without_any_answer_least_laxity_plans_and_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = outcome_after(monkeypatch, 0, night_of_two_prices())
    assert outcome.heuristic == FALLBACK
    assert outcome.plan == HEURISTICS[FALLBACK](night_of_two_prices())
    assert outcome.reason == "the linear problem has no solution within the time limit (limit)"
    assert outcome.plan.money == pytest.approx(18.0 * 0.4, rel=0.01)


def test_without_any_answer_the_plan_in_force_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    of = night_of_two_prices(previous_kw=(0.0,) * 5 + (6.0, 6.0, 0.0))
    outcome = outcome_after(monkeypatch, 0, of)
    assert outcome.heuristic == PLAN_IN_FORCE
    assert not outcome.plan.shortfalls
    assert outcome.plan.money == pytest.approx(18.0 * 0.1, rel=0.01)


def test_where_the_plan_in_force_gives_too_little_the_rest_is_given_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    of = night_of_two_prices(previous_kw=(0.0,) * 8)
    outcome = outcome_after(monkeypatch, 0, of)
    assert not outcome.plan.shortfalls


def test_after_the_linear_optimum_it_is_followed_in_powers_that_can_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after(monkeypatch, 1)
    following = []
    for seed in range(900, 940):
        outcome = plan_charging(rich_problem(np.random.default_rng(seed)))
        following.append(isinstance(outcome, Fallback) and outcome.heuristic == LINEAR_OPTIMUM)
    assert sum(following) > 10


@pytest.mark.parametrize("share", [0.6, 0.2])
def test_what_is_below_the_minimum_is_saved_up(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """A course below the minimum current becomes a course of pauses and minimums with the same energy."""
    least_kw = ONE_PHASE.min_current_a * ONE_PHASE.kw_per_a
    planned = (share * least_kw,) * 16
    needed_kwh = sum(planned) / 4
    cars = [request("car", needed_kwh, 5, previous_kw=planned), request("other", 9.0, 4)]
    of = problem(cars, slots=16, minutes=15, limit_kw=8.8)
    outcome = outcome_after(monkeypatch, 0, of)
    given = outcome.plan.sessions[0].power_kw
    assert 0.0 in given
    assert all(least_kw - 1e-9 <= power_kw < 2 * least_kw for power_kw in given if power_kw > 0)
    assert energy_kwh(outcome.plan) == pytest.approx(needed_kwh, abs=least_kw / 4)


# ---------------------------------------------------------------- what a solver gets wrong


def test_a_model_that_presolve_wrongly_calls_infeasible_is_solved_all_the_same() -> None:
    of = rich_problem(np.random.default_rng(61488))
    settings = PlanningSettings(near_slots=4, preferences=False, proof_time_s=0.2)
    outcome = plan_charging(of, settings)
    assert not isinstance(outcome, Fallback)
    assert [str(violation) for violation in violations(of, outcome.plan)] == []


@pytest.mark.parametrize(("seed", "near_slots"), [(30239, 8), (33397, 4), (33048, 4)])
def test_nothing_is_burnt_by_flowing_both_ways_and_nothing_overfilled(seed: int, near_slots: int) -> None:
    """Problems in which a battery charged and discharged at once, or a full vehicle was sent its minimum."""
    of = rich_problem(np.random.default_rng(seed))
    settings = PlanningSettings(near_slots=near_slots, proof_time_s=0.2, preferences=seed != 33048)
    plan = plan_charging(of, settings).plan
    assert [str(violation) for violation in violations(of, plan)] == []
