from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from optimizer.domain.ids import CircuitId, EvseId, SiteId, StationId, TariffId
from optimizer.domain.series import PowerSeries
from optimizer.domain.site import Circuit, Evse, GridConnection, Phase, Site, Station, Wiring
from scenarios.garage import DAY_END, DAY_START, evse_of_post, garage_day, garage_site
from scenarios.plant import Plant, Surroundings
from scenarios.uncontrolled import quarter_hours, uncontrolled_day
from scenarios.vehicle_kinds import vehicle_of
from scenarios.vehicle_model import VehicleModel
from scenarios.virtual_evse import VirtualEvse

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def _at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def _flat(power_kw: float) -> PowerSeries:
    return PowerSeries((NOON, _at(600)), (power_kw,))


def _plant(
    count: int = 2,
    limit_kw: float = 40.0,
    building: PowerSeries | None = None,
    pv: PowerSeries | None = None,
    **evse: object,
) -> Plant:
    evses = [
        Evse(EvseId(f"e{number}"), StationId(f"s{number}"), 1, CircuitId("grid"), 32.0, **evse)  # type: ignore[arg-type]
        for number in range(count)
    ]
    site = Site(
        SiteId("site"), "A site", "UTC", "EUR", (Circuit(CircuitId("grid"), None, 100.0),),
        tuple(Station(evse.station_id, (evse,)) for evse in evses), GridConnection(CircuitId("grid"), limit_kw),
        TariffId("tariff"),
    )  # fmt: skip
    surroundings = Surroundings(building or _flat(0.0), pv or _flat(0.0), wiring_loss_share=0.01)
    return Plant(site, {evse.id: VirtualEvse(evse, NOON) for evse in evses}, surroundings, NOON)


def _charge(
    plant: Plant, evse_id: str, at: datetime, takes_kwh: float, leaves: datetime | None = None, phases: int = 3
) -> None:
    virtual = plant.evses[EvseId(evse_id)]
    virtual.advance(at)
    virtual.plug_in(VehicleModel(takes_kwh=takes_kwh, phases_used=phases), leaves)
    virtual.switch(on=True, at=at)


def test_the_greatest_sum_is_seen_however_short_it_was() -> None:
    plant = _plant()
    _charge(plant, "e0", NOON, 100.0, leaves=_at(10) + timedelta(microseconds=1))
    _charge(plant, "e1", _at(10), 100.0)
    plant.settle(_at(60))
    assert plant.extremes.charging_kw == pytest.approx(44.16)
    assert plant.extremes.charging_at == _at(10)
    assert plant.extremes.import_kw == pytest.approx(44.16 * 1.01)
    (excess,) = plant.excesses
    assert (excess.start, excess.end) == (_at(10), _at(10) + timedelta(microseconds=1))
    assert excess.greatest_kw == pytest.approx(44.6016)


def test_registers_at_an_instant_are_exact_though_asked_for_later() -> None:
    building = PowerSeries((NOON, _at(15), _at(30)), (10.0, 20.0))
    plant = _plant(building=building, pv=_flat(5.0))
    _charge(plant, "e0", _at(6), 100.0)
    plant.settle(_at(43))
    reading = plant.reading_at(_at(20))
    assert reading.building_register_kwh == Decimal("4.166")
    assert reading.pv_register_kwh == Decimal("1.666")
    charged = 22.08 * 14 / 60
    assert float(reading.import_register_kwh) == pytest.approx(4.1667 - 1.6667 + 1.01 * charged, abs=0.001)
    assert reading.export_register_kwh == 0
    assert reading.grid_kw == pytest.approx(20 - 5 + 1.01 * 22.08)
    assert plant.reading_at(_at(20)) == reading


def test_surplus_pv_is_exported_to_the_instant() -> None:
    plant = _plant(building=_flat(4.0), pv=_flat(10.0))
    _charge(plant, "e0", _at(30), 100.0)
    early, late = plant.reading_at(_at(30)), plant.reading_at(_at(60))
    assert (early.import_register_kwh, early.export_register_kwh) == (Decimal(0), Decimal(3))
    assert late.export_register_kwh == Decimal(3)
    assert float(late.import_register_kwh) == pytest.approx((22.08 * 1.01 - 6.0) / 2, abs=0.001)


def test_a_limit_that_falls_makes_an_excess_until_power_follows() -> None:
    plant = _plant(limit_kw=50.0)
    _charge(plant, "e0", NOON, 100.0)
    _charge(plant, "e1", NOON, 100.0, leaves=_at(31))
    plant.settle(_at(29))
    assert plant.excesses == ()
    plant.set_import_limit(30.0, _at(30))
    plant.settle(_at(40))
    (excess,) = plant.excesses
    assert (excess.start, excess.end, excess.limit_kw) == (_at(30), _at(31), 30.0)
    assert excess.duration_s == 60.0
    assert (plant.import_limit_kw(_at(29)), plant.import_limit_kw(_at(30))) == (50.0, 30.0)


def test_an_excess_that_lasts_is_told_already() -> None:
    plant = _plant(limit_kw=20.0)
    _charge(plant, "e0", NOON, 100.0)
    plant.settle(_at(5))
    plant.settle(_at(10))
    (excess,) = plant.excesses
    assert (excess.start, excess.end) == (NOON, _at(10))


def test_the_limit_itself_is_no_excess() -> None:
    plant = _plant(count=1, limit_kw=22.08 * 1.01)
    _charge(plant, "e0", NOON, 100.0)
    plant.settle(_at(10))
    assert plant.excesses == ()


CURRENTS = {
    "three-phase: the same on each": ({}, 3, 32.0),
    "one-phase": ({}, 1, 32.0),
    "between two phases": (
        {"phases": (Phase.L1, Phase.L2), "wiring": Wiring.LINE_TO_LINE, "voltage_v": 208.0},
        1,
        32.0,
    ),
}


@pytest.mark.parametrize(("evse", "phases", "expected_a"), CURRENTS.values(), ids=CURRENTS)
def test_greatest_phase_current_of_one_car(evse: dict[str, object], phases: int, expected_a: float) -> None:
    plant = _plant(count=1, **evse)
    _charge(plant, "e0", NOON, 100.0, phases=phases)
    plant.settle(_at(1))
    assert plant.extremes.current_a == pytest.approx(expected_a)


def test_currents_between_different_pairs_add_as_phasors() -> None:
    pairs = ((Phase.L1, Phase.L2), (Phase.L2, Phase.L3), (Phase.L3, Phase.L1))
    evses = {
        EvseId(f"e{number}"): Evse(EvseId(f"e{number}"), StationId("s"), number + 1, CircuitId("grid"), 32.0, pair,
                                   Wiring.LINE_TO_LINE, 208.0)
        for number, pair in enumerate(pairs)
    }  # fmt: skip
    site = Site(
        SiteId("site"), "A site", "UTC", "USD", (Circuit(CircuitId("grid"), None, 100.0),),
        (Station(StationId("s"), tuple(evses.values())),), GridConnection(CircuitId("grid"), 100.0), TariffId("t"),
    )  # fmt: skip
    plant = Plant(site, {key: VirtualEvse(evse, NOON) for key, evse in evses.items()},
                  Surroundings(_flat(0.0), _flat(0.0)), NOON)  # fmt: skip
    for key in evses:
        _charge(plant, key, NOON, 100.0)
    plant.settle(_at(1))
    assert plant.extremes.current_a == pytest.approx(32.0 * 3**0.5)


def test_the_uncontrolled_garage_gives_every_car_what_it_took() -> None:
    day = garage_day()
    site = garage_site(day.sessions, import_limit_kw=80.0, pv_peak_kw=60.0)
    uncontrolled = uncontrolled_day(site, day.surroundings(60.0), day.sessions, evse_of_post(site), DAY_START, DAY_END)
    recorded = {session.id: session.delivered_kwh for session in day.sessions}
    assert uncontrolled.delivered_kwh == pytest.approx(recorded, abs=1e-5)
    assert len(uncontrolled.charging.values_kw) == 96
    assert sum(uncontrolled.charging.values_kw) / 4 == pytest.approx(sum(recorded.values()), abs=1e-4)
    assert max(uncontrolled.charging.values_kw) <= uncontrolled.peak_charging_kw
    assert 80.0 < uncontrolled.peak_import_kw < uncontrolled.peak_charging_kw + 60.0
    surroundings = day.surroundings(60.0)
    for index, (start, end) in enumerate(pairwise(uncontrolled.charging.boundaries)):
        net_kw = (
            surroundings.building.mean_over_kw(start, end)
            - surroundings.pv.mean_over_kw(start, end)
            + 1.01 * uncontrolled.charging.values_kw[index]
        )
        assert uncontrolled.grid_import.values_kw[index] - uncontrolled.grid_export.values_kw[index] == pytest.approx(
            net_kw
        )


def test_a_car_that_left_in_a_hurry_has_no_taper() -> None:
    day = garage_day()
    site = garage_site(day.sessions, 80.0, 60.0)
    posts = evse_of_post(site)
    cars = {session.id: vehicle_of(session, site.evses[posts[session.post]]) for session in day.sessions}
    hurried = {session.id for session in day.sessions if session.delivered_kwh / session.stay_h > 6.0}
    assert hurried
    assert {name for name, car in cars.items() if car.taper_kwh == 0.0} >= hurried
    assert sum(car.taper_kwh > 0.0 for car in cars.values()) > 30


def test_quarter_hours_end_with_the_piece_that_remains() -> None:
    plant = _plant()
    _charge(plant, "e0", NOON, 100.0)
    plant.settle(_at(20))
    series = quarter_hours(plant.charging, NOON, _at(20))
    assert series.boundaries == (NOON, _at(15), _at(20))
    assert series.values_kw == pytest.approx((22.08, 22.08))
