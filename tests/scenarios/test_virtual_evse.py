from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.domain.ids import CircuitId, EvseId, StationId
from optimizer.domain.series import PowerSeries
from optimizer.domain.site import Evse, Phase, Wiring
from optimizer.errors import InvalidInput
from scenarios.power_trace import PowerTrace, trace_of
from scenarios.vehicle_model import VehicleModel
from scenarios.virtual_evse import VirtualEvse

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
EVSE = Evse(EvseId("e"), StationId("s"), 1, CircuitId("c"), max_current_a=32.0)


def _at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


class _Limit:
    """Limits by minute."""

    def __init__(self, by_minute: dict[float, float]) -> None:
        self._steps = [(_at(minute), limit) for minute, limit in sorted(by_minute.items())]

    def limit_a(self, instant: datetime) -> float:
        return next((limit for when, limit in reversed(self._steps) if when <= instant), 32.0)

    def phases(self, instant: datetime) -> int | None:
        return None

    def next_change(self, instant: datetime) -> datetime | None:
        return next((when for when, _ in self._steps if when > instant), None)


def _charging(
    vehicle: VehicleModel, limits: dict[float, float] | None = None, leaves: float | None = None
) -> VirtualEvse:
    virtual = VirtualEvse(EVSE, NOON)
    virtual.plug_in(vehicle, None if leaves is None else _at(leaves))
    if limits:
        virtual.obey(_Limit(limits), NOON)
    virtual.switch(on=True, at=NOON)
    return virtual


def test_a_car_fills_up_and_stops_at_the_exact_instant() -> None:
    virtual = _charging(VehicleModel(takes_kwh=11.04))
    virtual.advance(_at(120))
    assert [(step.at, step.power_kw) for step in virtual.trace.steps] == [(NOON, 22.08), (_at(30), 0.0)]
    assert virtual.trace.register_kwh(_at(15)) == pytest.approx(5.52)
    assert virtual.trace.register_kwh(_at(120)) == pytest.approx(11.04)


def test_the_register_is_exact_at_instants_long_past() -> None:
    virtual = _charging(VehicleModel(takes_kwh=50.0), {0: 10.0, 10: 20.0, 20: 0.0, 30: 6.0})
    virtual.advance(_at(60))
    a_kw = 0.69
    expected = {5: 10 * 5 * a_kw, 10: 100 * a_kw, 15: 200 * a_kw, 25: 300 * a_kw, 40: 360 * a_kw}
    assert {m: virtual.trace.register_kwh(_at(m)) for m in expected} == pytest.approx(
        {minute: value / 60 for minute, value in expected.items()}
    )


OFFERS = {
    "whole amperes only": (10.9, 10.0),
    "a whole ampere that went through watts": (16.0 - 1e-12, 16.0),
    "below the least: a pause": (5.9, 0.0),
    "the least": (6.0, 6.0),
    "above the hardware": (99.0, 32.0),
}


@pytest.mark.parametrize(("limit_a", "offered_a"), OFFERS.values(), ids=OFFERS)
def test_offer(limit_a: float, offered_a: float) -> None:
    virtual = _charging(VehicleModel(takes_kwh=50.0), {0: limit_a})
    assert virtual.offered_a(NOON) == pytest.approx(offered_a)


def test_nothing_flows_before_the_contactor_closes_or_after_the_car_left() -> None:
    virtual = VirtualEvse(EVSE, NOON)
    virtual.plug_in(VehicleModel(takes_kwh=50.0), _at(30))
    virtual.advance(_at(10))
    virtual.switch(on=True, at=_at(10))
    virtual.advance(_at(60))
    steps = [(step.at, step.power_kw) for step in virtual.trace.steps]
    assert steps == [(NOON, 0.0), (_at(10), 22.08), (_at(30), 0.0)]


def test_a_departure_noticed_late_costs_nothing() -> None:
    virtual = _charging(VehicleModel(takes_kwh=50.0), leaves=15)
    virtual.advance(_at(20))
    virtual.unplug(_at(15))
    assert virtual.trace.register_kwh(_at(60)) == pytest.approx(5.52)
    assert virtual.vehicle is None


def test_a_limit_is_obeyed_only_from_its_instant() -> None:
    virtual = _charging(VehicleModel(takes_kwh=50.0))
    virtual.obey(_Limit({0: 10.0}), _at(5))
    virtual.advance(_at(10))
    assert [(step.at, step.power_kw) for step in virtual.trace.steps] == [(NOON, 22.08), (_at(5), pytest.approx(6.9))]


def test_a_newer_limit_replaces_one_that_has_not_come_into_force() -> None:
    virtual = _charging(VehicleModel(takes_kwh=50.0))
    virtual.obey(_Limit({0: 10.0}), _at(5))
    virtual.obey(_Limit({0: 20.0}), _at(4))
    virtual.advance(_at(10))
    assert virtual.offered_a(_at(10)) == 20.0


PATHS = {
    "three-phase car": (EVSE, 3, 3),
    "two-phase car": (EVSE, 2, 2),
    "one-phase car": (EVSE, 1, 1),
    "three-phase car on one phase": (Evse(EvseId("e"), StationId("s"), 1, CircuitId("c"), 32.0, (Phase.L2,)), 3, 1),
    "between two phases": (
        Evse(EvseId("e"), StationId("s"), 1, CircuitId("c"), 32.0, (Phase.L1, Phase.L2), Wiring.LINE_TO_LINE, 208.0),
        3,
        1,
    ),
}


@pytest.mark.parametrize(("evse", "phases_used", "paths"), PATHS.values(), ids=PATHS)
def test_power_flows_on_the_phases_that_both_have(evse: Evse, phases_used: int, paths: int) -> None:
    virtual = VirtualEvse(evse, NOON)
    virtual.plug_in(VehicleModel(takes_kwh=50.0, phases_used=phases_used), None)
    virtual.switch(on=True, at=NOON)
    assert virtual.trace.power_kw(NOON) == pytest.approx(32.0 * evse.voltage_v * paths / 1000)
    assert virtual.trace.step_at(NOON).current_paths == paths


@given(
    st.dictionaries(st.integers(0, 120), st.sampled_from([0.0, 5.0, 6.0, 10.0, 16.0, 32.0]), max_size=8),
    st.floats(0.1, 30.0),
    st.floats(0.0, 10.0),
    st.lists(st.integers(0, 180), max_size=10),
)
def test_however_it_is_settled_the_energy_is_the_same(
    limits: dict[float, float], takes_kwh: float, taper_kwh: float, looks: list[int]
) -> None:
    vehicle = VehicleModel(takes_kwh=takes_kwh, taper_kwh=taper_kwh)
    at_once, in_pieces = _charging(vehicle, limits), _charging(vehicle, limits)
    at_once.advance(_at(180))
    for minute in sorted(looks):
        in_pieces.advance(_at(minute))
    in_pieces.advance(_at(180))
    assert in_pieces.trace.register_kwh(_at(180)) == pytest.approx(at_once.trace.register_kwh(_at(180)), abs=1e-5)
    assert at_once.trace.register_kwh(_at(180)) <= takes_kwh + 1e-5
    assert at_once.vehicle is not None
    assert at_once.vehicle.taken_kwh == pytest.approx(at_once.trace.register_kwh(_at(180)), abs=1e-5)
    limit = _Limit(limits)
    for step in at_once.trace.steps:
        assert step.power_kw <= EVSE.power_kw(limit.limit_a(step.at)) + 1e-9


def test_a_trace_does_not_change_the_past() -> None:
    trace = PowerTrace(NOON)
    trace.add(_at(10), 5.0)
    with pytest.raises(InvalidInput, match="before the last step"):
        trace.add(_at(9), 1.0)


def test_a_trace_of_a_series_holds_its_last_value() -> None:
    trace = trace_of(PowerSeries((NOON, _at(15), _at(30)), (4.0, 8.0)))
    assert trace.register_kwh(_at(30)) == pytest.approx(3.0)
    assert trace.power_kw(_at(99)) == 8.0
    assert [step.at for step in trace.steps_between(_at(1), _at(30))] == [_at(15)]
