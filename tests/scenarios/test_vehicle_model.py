from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from optimizer.errors import InvalidInput
from scenarios.vehicle_model import PluggedVehicle, VehicleModel, WakeBehaviour

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_acceptance_falls_in_steps_before_full() -> None:
    car = VehicleModel(takes_kwh=10.0, max_current_a=16.0, taper_kwh=5.0)
    accepted = {taken: car.accepts_a(taken) for taken in (0.0, 4.9, 5.01, 5.51, 9.01, 9.99, 10.0)}
    assert accepted == {0.0: 16.0, 4.9: 16.0, 5.01: 15.0, 5.51: 14.0, 9.01: 7.0, 9.99: 6.0, 10.0: 0.0}


def test_without_taper_it_takes_all_until_full() -> None:
    car = VehicleModel(takes_kwh=10.0)
    assert (car.accepts_a(9.999), car.accepts_a(10.0)) == (32.0, 0.0)
    assert car.kwh_to_next_step(4.0) == pytest.approx(6.0)


def test_the_steps_lead_exactly_to_full() -> None:
    car = VehicleModel(takes_kwh=10.0, max_current_a=16.0, taper_kwh=5.0)
    taken, currents = 0.0, []
    while car.accepts_a(taken):
        currents.append(car.accepts_a(taken))
        taken += car.kwh_to_next_step(taken)
    assert taken == pytest.approx(10.0)
    assert currents == [16.0, *[float(current) for current in range(15, 5, -1)]]


def _car(**changes: object) -> PluggedVehicle:
    return PluggedVehicle(VehicleModel(takes_kwh=10.0, **changes))  # type: ignore[arg-type]


def test_it_draws_nothing_below_its_minimum() -> None:
    car = _car(min_current_a=8.0)
    assert [car.offer(offered, NOON) for offered in (7.9, 8.0, 20.0, 40.0)] == [0.0, 8.0, 20.0, 32.0]


WAKING = {
    "wakes": ({"wake": WakeBehaviour.WAKES}, [16, 0, 6], [16, 0, 6]),
    "sleeps after a pause": ({"wake": WakeBehaviour.SLEEPS}, [16, 0, 6, 32], [16, 0, 0, 0]),
    "needs more to wake": (
        {"wake": WakeBehaviour.NEEDS_MORE, "wake_current_a": 10.0},
        [16, 0, 6, 9.9, 10, 6],
        [16, 0, 0, 0, 10, 6],
    ),
    "a pause before it ever drew is none": ({"wake": WakeBehaviour.SLEEPS}, [0, 5, 16], [0, 0, 16]),
}


@pytest.mark.parametrize(("changes", "offers", "draws"), WAKING.values(), ids=WAKING)
def test_waking(changes: dict[str, object], offers: list[float], draws: list[float]) -> None:
    car = _car(**changes)
    assert [car.offer(offered, NOON) for offered in offers] == draws


def test_a_new_transaction_rouses_a_sleeper() -> None:
    car = _car(wake=WakeBehaviour.SLEEPS)
    assert [car.offer(16, NOON), car.offer(0, NOON), car.offer(16, NOON)] == [16, 0, 0]
    car.rouse()
    assert car.offer(16, NOON) == 16


def test_it_takes_its_time_to_wake() -> None:
    car = _car(wake_delay_s=30.0)
    assert [car.offer(16, NOON), car.offer(0, NOON)] == [16, 0]
    later = NOON + timedelta(seconds=10)
    assert car.offer(16, later) == 0
    assert car.next_step_at(later, 0.0) == later + timedelta(seconds=30)
    assert car.offer(16, later + timedelta(seconds=30)) == 16


def test_state_of_charge_is_known_where_the_battery_is() -> None:
    car = _car(battery_kwh=50.0, arrival_soc=0.2)
    car.take(5.0)
    assert car.soc_before() == pytest.approx(0.3)
    assert car.soc_before(2.5) == pytest.approx(0.25)
    assert _car().soc_before() is None


IMPOSSIBLE = {
    "negative energy": {"takes_kwh": -1.0},
    "infinite energy": {"takes_kwh": float("inf")},
    "minimum above maximum": {"takes_kwh": 1.0, "min_current_a": 40.0},
    "four phases": {"takes_kwh": 1.0, "phases_used": 4},
    "negative taper": {"takes_kwh": 1.0, "taper_kwh": -1.0},
}


@pytest.mark.parametrize("changes", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_impossible_cars_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        VehicleModel(**changes)  # type: ignore[arg-type]
