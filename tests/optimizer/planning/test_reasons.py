"""What binds, for each vehicle and slot; what is short, and since when that could not be helped; what a kWh is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from planning_cases import NOW, ROOT, THREE_PHASE, hours, problem, request

from optimizer.domain.ids import CircuitId
from optimizer.domain.moment import Interval
from optimizer.domain.plan import BindingKind, BindingReason, Plan
from optimizer.domain.session import PriorityTier
from optimizer.domain.site import Circuit, LimitSource, Phase
from optimizer.planning.heuristics import HEURISTICS
from optimizer.planning.problem import BatteryState, ChargingProblem
from optimizer.planning.requests import DemandTerm, EnergyNeed, LimitScope, PhaseMode, PowerLimit, VehicleBattery
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.solve import plan_charging

ROW = CircuitId("row")
PLAIN = PlanningSettings(preferences=False)
FIRST_HOUR = Interval(NOW, hours(1))


def plan_of(of: ChargingProblem) -> Plan:
    return plan_charging(of, PLAIN).plan


def on_row(**limits: float) -> list[Circuit]:
    return [Circuit(ROOT, None), Circuit(ROW, ROOT, **limits)]


REASONS: dict[str, tuple[Callable[[], ChargingProblem], int, BindingReason]] = {
    "all that its EVSE gives": (
        lambda: problem([request("car", 30.0, 4)]),
        0,
        BindingReason(BindingKind.CHARGER_LIMIT, source=LimitSource.STATION),
    ),
    "all that the vehicle takes": (
        lambda: problem([request("car", 30.0, 4, PhaseMode(16, max_power_kw=5.0))]),
        0,
        BindingReason(BindingKind.VEHICLE_LIMIT, source=LimitSource.VEHICLE),
    ),
    "the contract of the site": (
        lambda: problem([request("car", 30.0, 4)], limits=[PowerLimit(ROOT, 5.0, LimitSource.CONTRACT)]),
        0,
        BindingReason(BindingKind.SITE_LIMIT, ROOT, None, LimitSource.CONTRACT),
    ),
    "the fuse of the site, on a phase": (
        lambda: problem([request("car", 30.0, 4)], circuits=[Circuit(ROOT, None, limit_a=20.0)]),
        0,
        BindingReason(BindingKind.SITE_LIMIT, ROOT, Phase.L1, LimitSource.FUSE),
    ),
    "the fuse of its circuit, on a phase": (
        lambda: problem([request("car", 30.0, 4, circuit_id=ROW)], circuits=on_row(limit_a=20.0)),
        0,
        BindingReason(BindingKind.CIRCUIT_LIMIT, ROW, Phase.L1, LimitSource.FUSE),
    ),
    "a power limit of its circuit": (
        lambda: problem([request("car", 30.0, 4, circuit_id=ROW)], circuits=on_row(limit_kw=5.0)),
        0,
        BindingReason(BindingKind.CIRCUIT_LIMIT, ROW, None, LimitSource.FUSE),
    ),
    "one phase too far from another": (
        lambda: problem(
            [request("car", 30.0, 4, PhaseMode(32, (Phase.L2,)))],
            circuits=[Circuit(ROOT, None, imbalance_limit_a=20.0)],
        ),
        0,
        BindingReason(BindingKind.PHASE_IMBALANCE, ROOT, Phase.L2, LimitSource.CONTRACT),
    ),
    "a grid event": (
        lambda: problem(
            [request("car", 30.0, 4)],
            limits=[PowerLimit(ROOT, 4.2, LimitSource.GRID_EVENT, LimitScope.CONTROLLABLE, FIRST_HOUR)],
        ),
        0,
        BindingReason(BindingKind.GRID_EVENT, ROOT, None, LimitSource.GRID_EVENT),
    ),
    "a cheaper hour to come": (
        lambda: problem([request("car", 7.0, 4)], prices=[0.4, 0.3, 0.2, 0.1]),
        0,
        BindingReason(BindingKind.PRICE),
    ),
    "a peak that would cost more": (
        lambda: problem([request("car", 8.0, 4)], demand=[DemandTerm("peak", 10.0)]),
        0,
        BindingReason(BindingKind.DEMAND_PEAK),
    ),
    "a vehicle of a higher tier": (
        lambda: problem(
            [
                request("car", 20.0, 4),
                request("duty", 28.0, 4, tier=PriorityTier.FLEET_DUTY),
            ],
            limit_kw=7.36,
        ),
        0,
        BindingReason(BindingKind.PRIORITY),
    ),
    "a battery nearly full": (
        lambda: problem([request("car", 4.0, 4, THREE_PHASE, battery=VehicleBattery(46.0, 50.0, knee_soc=0.8))]),
        0,
        BindingReason(BindingKind.TAPER),
    ),
    "less room than the least current": (
        lambda: problem([request("car", 2.0, 4)], minutes=15, limit_kw=1.0),
        0,
        BindingReason(BindingKind.MINIMUM_CURRENT),
    ),
    "sun to come": (
        lambda: problem(
            [request("car", 6.0, 4)],
            pv_kw=[0.0, 0.0, 7.0, 0.0],
            export_price_per_kwh=[0.05] * 4,
        ),
        0,
        BindingReason(BindingKind.WAITING_FOR_PV),
    ),
    "not there yet": (
        lambda: problem([request("car", 6.0, 4, arrive_at=hours(2))]),
        0,
        BindingReason(BindingKind.NOT_YET_THERE),
    ),
    "gone": (
        lambda: problem([request("car", 6.0, 2)]),
        3,
        BindingReason(BindingKind.DEPARTURE_REACHED),
    ),
    "has what it needs": (
        lambda: problem([request("car", 7.0, 4)], prices=[0.1, 0.4, 0.4, 0.4]),
        2,
        BindingReason(BindingKind.TARGET_REACHED),
    ),
}


@pytest.mark.parametrize("name", REASONS)
def test_what_binds_is_told(name: str) -> None:
    stated, slot, reason = REASONS[name]
    plan = plan_of(stated())
    assert plan.sessions[0].reasons[slot] == reason, plan.sessions[0]


def test_every_kind_of_reason_has_its_case() -> None:
    assert {reason.kind for _, _, reason in REASONS.values()} == set(BindingKind)


def test_a_heuristic_tells_its_reasons_too() -> None:
    of = problem([request("car", 30.0, 4)], limits=[PowerLimit(ROOT, 5.0, LimitSource.CONTRACT)])
    assert HEURISTICS["first_come"](of).sessions[0].reasons[0].kind is BindingKind.SITE_LIMIT


# ---------------------------------------------------------------- what is short


@pytest.mark.parametrize(
    ("energy_kwh", "missing_kwh", "unavoidable_kwh", "since_h"),
    [
        pytest.param(29.44, None, 0.0, None, id="exactly what full power gives: nothing is short"),
        pytest.param(32.0, 32.0 - 4 * 7.36, 32.0 - 4 * 7.36, 4 - 32 / 7.36, id="out of reach since before now"),
        pytest.param(60.0, 60.0 - 4 * 7.36, 60.0 - 4 * 7.36, 4 - 60 / 7.36, id="out of reach for hours"),
    ],
)
def test_energy_out_of_reach_is_told_with_the_instant_since_when(
    energy_kwh: float, missing_kwh: float | None, unavoidable_kwh: float, since_h: float | None
) -> None:
    shortfalls = plan_of(problem([request("car", energy_kwh, 4)])).shortfalls
    if missing_kwh is None:
        assert shortfalls == ()
        return
    (short,) = shortfalls
    assert short.unserved_kwh == pytest.approx(missing_kwh)
    assert short.unavoidable_kwh == pytest.approx(unavoidable_kwh)
    assert since_h is not None
    assert short.unavoidable_since is not None
    assert (short.unavoidable_since - NOW) / timedelta(hours=1) == pytest.approx(since_h, abs=1e-3)


def test_what_others_take_is_short_but_was_not_unavoidable() -> None:
    (short,) = plan_of(problem([request("car", 20.0, 4)], limit_kw=4.0)).shortfalls
    assert short.unserved_kwh == pytest.approx(4.0)
    assert short.unavoidable_kwh == 0.0
    assert short.unavoidable_since is None


def test_a_vehicle_that_can_take_nothing_is_short_from_now() -> None:
    blocked = request("car", 5.0, 2, power_limits_kw=((Interval(NOW, hours(4)), 0.0),))
    (short,) = plan_of(problem([blocked])).shortfalls
    assert short.unavoidable_since == NOW


def test_each_target_is_told_by_itself() -> None:
    car = request(
        "car", 0, 0, needs=(EnergyNeed(hours(1), 10.0), EnergyNeed(hours(2), 12.0), EnergyNeed(hours(3), 30.0))
    )
    shortfalls = plan_of(problem([car])).shortfalls
    assert [(short.depart_at, round(short.unserved_kwh, 2)) for short in shortfalls] == [
        (hours(1), 2.64),
        (hours(3), 7.92),
    ]


def test_a_target_after_the_horizon_is_not_missed_where_there_is_time_left() -> None:
    assert plan_of(problem([request("car", 40.0, 8)])).shortfalls == ()
    (short,) = plan_of(problem([request("car", 80.0, 8)])).shortfalls
    assert short.unavoidable_kwh == pytest.approx(80.0 - 8 * 7.36)


# ---------------------------------------------------------------- who goes first


def energies_kwh(plan: Plan) -> list[float]:
    return [session.energy_kwh[-1] - session.energy_kwh[0] for session in plan.sessions]


def test_tiers_are_served_one_after_the_other() -> None:
    cars = [request(f"car{tier}", 14.0, 2, tier=PriorityTier(tier)) for tier in (3, 1, 0, 2)]
    served = dict(zip((3, 1, 0, 2), energies_kwh(plan_of(problem(cars, slots=2, limit_kw=18.0))), strict=True))
    assert [served[tier] for tier in range(4)] == pytest.approx([14.0, 14.0, 8.0, 0.0], abs=0.02)


def test_equals_share_what_is_missing_and_nobody_starves() -> None:
    cars = [request(f"car{number}", 7.0, 2) for number in range(6)]
    served = energies_kwh(plan_of(problem(cars, slots=2, limit_kw=12.0)))
    assert sum(served) == pytest.approx(24.0, rel=0.01)
    assert min(served) >= 7.0 / 4


def test_over_a_day_of_scarce_power_everyone_gets_a_share() -> None:
    """A depot in which all need more than there is, hour by hour, each plan from where the last one ended."""
    delivered = [0.0] * 5
    for hour in range(8):
        cars = [
            request(f"car{number}", 20.0 - got, 8 - hour, delivered_kwh=got) for number, got in enumerate(delivered)
        ]
        plan = plan_of(problem(cars, slots=8 - hour, limit_kw=6.0))
        delivered = [got + session.power_kw[0] for got, session in zip(delivered, plan.sessions, strict=True)]
    assert sum(delivered) == pytest.approx(48.0, rel=0.02)
    assert min(delivered) >= 0.5 * 48.0 / 5


# ---------------------------------------------------------------- what one more kWh costs


def test_the_marginal_price_is_the_price_where_no_limit_binds() -> None:
    prices = [0.4, 0.1, 0.3, 0.2]
    plan = plan_of(problem([request("car", 8.0, 4)], prices=prices, building_kw=[1.0] * 4))
    assert plan.marginal_price_per_kwh == pytest.approx(prices, abs=1e-6)


def test_the_marginal_price_of_a_peak_includes_what_the_peak_costs() -> None:
    of = problem([], slots=2, building_kw=[9.0, 4.0], demand=[DemandTerm("peak", 5.0)])
    assert plan_of(of).marginal_price_per_kwh == pytest.approx([0.3 + 5.0, 0.3], abs=1e-6)


def test_the_marginal_price_of_sun_that_would_be_sold_is_what_it_earns() -> None:
    of = problem([], slots=2, pv_kw=[9.0, 0.0], export_price_per_kwh=[0.08, 0.08], building_kw=[1.0, 1.0])
    assert plan_of(of).marginal_price_per_kwh == pytest.approx([0.08, 0.3], abs=1e-6)


def test_the_marginal_price_beside_a_battery_is_what_its_energy_is_worth_later() -> None:
    store = BatteryState(5.0, 10.0, 0.0, 10.0, 4.0, 4.0, charge_efficiency=1.0, discharge_efficiency=1.0)
    of = problem([], slots=2, prices=[0.2, 0.5], building_kw=[1.0, 20.0], battery=replace(store, content_kwh=0.0))
    assert plan_of(of).marginal_price_per_kwh == pytest.approx([0.2, 0.5], abs=1e-6)
