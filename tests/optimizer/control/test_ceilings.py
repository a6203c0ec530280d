"""Limits in kW and per phase, line to neutral and line to line, and how much still fits under them."""

from __future__ import annotations

from math import sqrt

import pytest
from bench import ROOT, evse_at, site_with

from optimizer.control.ceilings import BaseLoad, Feeder, LoadPaths, LoadTally, standing_ceilings
from optimizer.domain.ids import CircuitId, EvseId
from optimizer.domain.site import Circuit, Evse, Phase, Site, Wiring

NO_LOAD = BaseLoad(0.0, 0.0, (0.0, 0.0, 0.0))
L1, L2, L3 = Phase.L1, Phase.L2, Phase.L3
LINES = Wiring.LINE_TO_LINE


def tally_of(site: Site, levels_a: dict[str, float], base: BaseLoad = NO_LOAD) -> LoadTally:
    feeders = {evse_id: Feeder(evse) for evse_id, evse in site.evses.items()}
    return LoadTally(
        LoadPaths.of(site, standing_ceilings(site, base), feeders), {EvseId(name): a for name, a in levels_a.items()}
    )


def currents_a(tally: LoadTally) -> list[float]:
    return [round(tally.total_of(ceiling), 3) for ceiling in tally.ceilings if " A " in str(ceiling)]


@pytest.mark.parametrize(
    ("case", "evses", "levels_a", "expected_a"),
    [
        ("one three-phase load", [evse_at("a")], {"a": 16.0}, [16.0, 16.0, 16.0]),
        ("single phase on L2", [evse_at("a", phases=(L2,))], {"a": 16.0}, [0.0, 16.0, 0.0]),
        ("one load between lines", [evse_at("a", phases=(L1, L2), wiring=LINES)], {"a": 10.0}, [10.0, 10.0, 0.0]),
        (
            "the order of the lines does not matter",
            [evse_at("a", phases=(L2, L1), wiring=LINES)],
            {"a": 10.0},
            [10.0, 10.0, 0.0],
        ),
        (
            "a balanced triangle: root three, not two",
            [
                evse_at("a", phases=(L1, L2), wiring=LINES),
                evse_at("b", phases=(L2, L3), wiring=LINES),
                evse_at("c", phases=(L3, L1), wiring=LINES),
            ],
            {"a": 10.0, "b": 10.0, "c": 10.0},
            [round(10.0 * sqrt(3.0), 3)] * 3,
        ),
        (
            "line to neutral beside line to line: 30 degrees apart",
            [evse_at("a", phases=(L1,)), evse_at("b", phases=(L1, L2), wiring=LINES)],
            {"a": 10.0, "b": 10.0},
            [round(sqrt(200.0 + 200.0 * sqrt(3.0) / 2.0), 3), 10.0, 0.0],
        ),
    ],
)
def test_currents_add_up_as_phasors(
    case: str, evses: list[Evse], levels_a: dict[str, float], expected_a: list[float]
) -> None:
    site = site_with(evses, circuits=[Circuit(ROOT, None, limit_a=100.0)])
    assert currents_a(tally_of(site, levels_a)) == expected_a, case


@pytest.mark.parametrize(
    ("case", "levels_a", "wanted", "fit_a"),
    [
        ("nothing else there", {}, "a", 32.0),
        ("the circuit's fuse leaves the rest", {"b": 25.0}, "a", 15.0),
        ("the other circuit does not count for a fuse", {"c": 30.0}, "a", 28.116),
        ("the connection's kW bind", {"b": 20.0, "c": 30.0}, "a", 8.116),
        ("nothing is left", {"b": 40.0, "c": 32.0}, "a", 0.0),
        ("an own level is not in its own way", {"a": 32.0, "b": 25.0}, "a", 15.0),
    ],
)
def test_what_still_fits(case: str, levels_a: dict[str, float], wanted: str, fit_a: float) -> None:
    circuits = [Circuit(ROOT, None, limit_a=63.0), Circuit(CircuitId("west"), ROOT, limit_a=40.0)]
    evses = [evse_at("a", "west"), evse_at("b", "west", max_current_a=40.0), evse_at("c")]
    site = site_with(evses, import_limit_kw=40.1, circuits=circuits)
    assert tally_of(site, levels_a).greatest_fit_a(EvseId(wanted)) == pytest.approx(fit_a, abs=1e-3), case


def test_the_fit_is_exactly_at_the_limit_for_loads_at_an_angle() -> None:
    evses = [
        evse_at("a", phases=(L1, L2), wiring=LINES),
        evse_at("b", phases=(L3, L1), wiring=LINES, max_current_a=80.0),
    ]
    site = site_with(evses, circuits=[Circuit(ROOT, None, limit_a=30.0)])
    tally = tally_of(site, {"a": 20.0})
    fit_a = tally.greatest_fit_a(EvseId("b"))
    tally.set_level(EvseId("b"), fit_a)
    assert tally.exceeded() == []
    assert max(currents_a(tally)) == pytest.approx(30.0)
    tally.set_level(EvseId("b"), fit_a + 0.01)
    assert [str(ceiling) for ceiling in tally.exceeded()] == ["30 A of fuse on L1 at circuit main"]


def test_room_is_kept_under_each_ceiling_for_the_starts_that_would_weigh_most_there() -> None:
    evses = [
        evse_at("a", phases=(L1,)),
        evse_at("b", phases=(L1,)),
        evse_at("c", phases=(L2,)),
        evse_at("d"),
    ]
    site = site_with(evses, import_limit_kw=10.0, circuits=[Circuit(ROOT, None, limit_a=20.0)])
    feeders = {evse_id: Feeder(evse) for evse_id, evse in site.evses.items()}
    starting_a = {EvseId("b"): 6.0, EvseId("c"): 8.0, EvseId("d"): 6.0}

    def room_a(wanted: str, starts: int) -> float:
        tally = LoadTally(LoadPaths.of(site, standing_ceilings(site, NO_LOAD), feeders), {}, starting_a, starts)
        return tally.greatest_fit_a(EvseId(wanted))

    assert room_a("a", 0) == pytest.approx(20.0)
    assert room_a("a", 1) == pytest.approx(14.0)  # on L1 either b or d may start
    assert room_a("a", 2) == pytest.approx(8.0)
    assert room_a("d", 1) == pytest.approx((10.0 - 4.14) / 0.69)  # in kW the start of d itself weighs most


def test_pv_beyond_the_building_makes_room_for_more_than_the_connection() -> None:
    site = site_with([evse_at("a", max_current_a=80.0)], import_limit_kw=10.0)
    tally = tally_of(site, {}, BaseLoad(-20.0, 0.0, (0.0, 0.0, 0.0)))
    assert tally.greatest_fit_a(EvseId("a")) == pytest.approx(30000.0 / 690.0)


@pytest.mark.parametrize(
    ("case", "feeder", "wanted_a", "stepped_a"),
    [
        ("whole amperes, down", Feeder(evse_at("a")), 13.9, 13.0),
        ("rounding costs no step", Feeder(evse_at("a")), 12.999999999, 13.0),
        ("below the least current nothing", Feeder(evse_at("a")), 5.9, 0.0),
        ("never above the greatest", Feeder(evse_at("a")), 99.0, 32.0),
        ("tenths where the station knows them", Feeder(evse_at("a", current_step_a=0.1)), 7.27, 7.2),
        ("a vehicle that needs 8 A", Feeder(evse_at("a"), learnt_least_a=8.0), 7.0, 0.0),
        ("a step that its greatest is no multiple of", Feeder(evse_at("a", current_step_a=5.0)), 32.0, 30.0),
    ],
)
def test_steps(case: str, feeder: Feeder, wanted_a: float, stepped_a: float) -> None:
    assert feeder.stepped_a(wanted_a) == pytest.approx(stepped_a), case


def test_a_one_phase_vehicle_at_a_three_phase_evse_loads_the_first_phase_of_its_rotation() -> None:
    feeder = Feeder(evse_at("a", phases=(L2, L3, L1)), phases_used=1)
    assert feeder.phases == (L2,)
    assert feeder.kw_per_a == pytest.approx(0.23)
    assert feeder.permitted_kw(11.04) == pytest.approx(3.68)
    assert feeder.limit_for_kw(3.68) == pytest.approx(11.04)
