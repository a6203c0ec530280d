"""Loads that share a circuit inside the site with EVSEs, seen by the circuit's own meter."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench import ROOT, Bench, evse_at, site_with
from views import reading_of, view_of
from virtual_time import run_virtual

from optimizer.control.settings import ControlSettings
from optimizer.control.view import circuit_loads, metered_import_exceeds
from optimizer.domain.ids import CircuitId, EvseId
from optimizer.domain.metering import CircuitReading, SiteMeterReading
from optimizer.domain.site import Circuit, Phase

HALL, YARD = CircuitId("hall"), CircuitId("yard")
A, B = EvseId("a"), EvseId("b")
SITE = site_with(
    [evse_at("a", "hall"), evse_at("b", "hall", phases=(Phase.L2,)), evse_at("c", "yard")],
    circuits=[Circuit(ROOT, None), Circuit(HALL, ROOT, limit_a=32.0, limit_kw=20.0), Circuit(YARD, ROOT, limit_a=32.0)],
)
SETTINGS = ControlSettings()
COUNTED_KW = {A: 6.9, B: 1.38, EvseId("c"): 11.04}
"""In the hall 6.9 + 1.38 kW, of which 16 A on L2 and 10 A on L1 and L3."""


def metered(power_kw: float | None, current_a: tuple[float, float, float] | None = None) -> SiteMeterReading:
    return replace(reading_of(20.0), circuits=(CircuitReading(HALL, power_kw, current_a),))


LOADS = [
    # case, reading, power and currents besides the EVSEs
    ("only the EVSEs", metered(8.28, (10.0, 16.0, 10.0)), 0.0, (0.0, 0.0, 0.0)),
    ("an oven besides", metered(14.28, (18.0, 25.0, 19.0)), 6.0, (8.0, 9.0, 9.0)),
    ("on one phase alone", metered(10.58, (20.0, 16.0, 10.0)), 2.3, (10.0, 0.0, 0.0)),
    ("the EVSEs draw less than they may", metered(3.0, (4.0, 6.0, 4.0)), 0.0, (0.0, 0.0, 0.0)),
    ("within what two meters differ by", metered(8.4, (10.5, 16.5, 10.5)), 0.0, (0.0, 0.0, 0.0)),
    ("power alone is told", metered(14.28), 6.0, (0.0, 0.0, 0.0)),
    ("currents alone are told", metered(None, (18.0, 16.0, 10.0)), 0.0, (8.0, 0.0, 0.0)),
]


@pytest.mark.parametrize(("case", "reading", "power_kw", "phase_a"), LOADS, ids=[case[0] for case in LOADS])
def test_what_else_flows_through_a_circuit(
    case: str, reading: SiteMeterReading, power_kw: float, phase_a: tuple[float, float, float]
) -> None:
    found = circuit_loads(view_of(SITE, meter=reading), COUNTED_KW, SETTINGS)
    assert list(found) == [HALL], case
    assert found[HALL].power_kw == pytest.approx(power_kw)
    assert found[HALL].phase_a == pytest.approx(phase_a)


@pytest.mark.parametrize(
    ("case", "reading"),
    [
        ("no meter", reading_of(20.0)),
        ("an old reading", replace(metered(14.28), at=reading_of(20.0, age_s=999.0).at)),
        ("a circuit that nobody knows", replace(reading_of(20.0), circuits=(CircuitReading(CircuitId("x"), 9.0),))),
    ],
)
def test_where_nothing_is_known_nothing_counts(case: str, reading: SiteMeterReading) -> None:
    assert circuit_loads(view_of(SITE, meter=reading), COUNTED_KW, SETTINGS) == {}, case


@pytest.mark.parametrize(
    ("case", "reading", "exceeds"),
    [
        ("within both limits", metered(19.0, (30.0, 31.0, 30.0)), False),
        ("above its power", metered(21.0, (30.0, 31.0, 30.0)), True),
        ("above its current on one phase", metered(19.0, (33.0, 20.0, 20.0)), True),
    ],
)
def test_an_exceeded_circuit_leaves_less_time(case: str, reading: SiteMeterReading, exceeds: bool) -> None:
    assert metered_import_exceeds(view_of(SITE, meter=reading), SETTINGS) is exceeds, case


def test_an_oven_that_is_switched_on_is_made_room_for_and_its_room_given_back() -> None:
    """A hall of 32 A a phase: one vehicle at 32 A, then an oven of 14 A beside it."""

    async def story() -> None:
        site = site_with([evse_at("a", "hall")], circuits=[Circuit(ROOT, None), Circuit(HALL, ROOT, limit_a=32.0)])
        bench = Bench(site, wishes=lambda _: (22.08,) * 8)
        oven_a = 0.0

        def hall_a() -> float:
            return oven_a + bench.true_kw() / 0.69

        bench.circuits = lambda: (CircuitReading(HALL, hall_a() * 0.69, (hall_a(),) * 3),)
        await bench.control.guard_step()
        await bench.plug_in("a", car_kw=22.08)
        await bench.loop.step("start")
        await bench.pass_time(60)
        assert hall_a() == pytest.approx(32.0)
        oven_a = 14.0
        over_s = 0
        for _ in range(60):
            bench.building_kw = oven_a * 0.69
            await bench.pass_time(1)
            over_s += hall_a() > 32.0 + 1e-6
        assert over_s <= 2
        assert hall_a() == pytest.approx(32.0), "18 A are left, and used"
        oven_a = bench.building_kw = 0.0
        await bench.pass_time(60)
        assert hall_a() == pytest.approx(32.0)

    run_virtual(story())
