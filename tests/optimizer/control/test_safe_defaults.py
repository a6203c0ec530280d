"""Every station blind at once: the sum of safe defaults keeps every limit, and a site that cannot be safe is refused."""

from __future__ import annotations

import pytest
from bench import ROOT, evse_at, site_with
from hypothesis import given
from hypothesis import strategies as some

from optimizer.control.ceilings import BaseLoad, Feeder, LoadPaths, LoadTally, standing_ceilings
from optimizer.control.safe_defaults import safe_defaults_kw
from optimizer.domain.ids import CircuitId
from optimizer.domain.site import Circuit, Evse, Phase, Site, Wiring
from optimizer.errors import InvalidConfiguration

EAST = CircuitId("east")


def amps(site: Site, **choices: bool) -> list[float]:
    return [round(site.evses[evse_id].current_a(kw), 3) for evse_id, kw in safe_defaults_kw(site, **choices).items()]


@pytest.mark.parametrize(
    ("case", "site", "deal_all", "expected_a"),
    [
        ("all fit at their greatest", site_with([evse_at("a"), evse_at("b")], import_limit_kw=60.0), False, [32, 32]),
        ("all fit at their least", site_with([evse_at("a"), evse_at("b")], import_limit_kw=40.0), False, [6, 6]),
        ("the rest dealt out, step by step", site_with([evse_at("a"), evse_at("b")], import_limit_kw=20.0), True, [14, 14]),
        ("an odd step goes to the first", site_with([evse_at("a"), evse_at("b")], import_limit_kw=20.1), True, [15, 14]),
        ("least currents do not fit for all", site_with([evse_at(n) for n in "abc"], import_limit_kw=9.0), False, [6, 6, 0]),
        ("the building takes its part", site_with([evse_at(n) for n in "abc"], import_limit_kw=30.0, building_kw=21.0), False, [6, 6, 0]),
        (
            "a sub-circuit binds",
            site_with(
                [evse_at("a", "east"), evse_at("b", "east"), evse_at("c")],
                circuits=[Circuit(ROOT, None), Circuit(EAST, ROOT, limit_a=10.0)],
            ),
            True,
            [10, 0, 32],
        ),
        (
            "one phase is full, another is not",
            site_with(
                [evse_at("a", phases=(Phase.L1,)), evse_at("b", phases=(Phase.L1,)), evse_at("c", phases=(Phase.L2,))],
                circuits=[Circuit(ROOT, None, limit_a=13.0)],
            ),
            True,
            [7, 6, 13],
        ),
    ],
)  # fmt: skip
def test_shares(case: str, site: Site, deal_all: bool, expected_a: list[float]) -> None:
    assert amps(site, deal_all=deal_all) == expected_a, case


@pytest.mark.parametrize(
    ("site", "words"),
    [
        (
            site_with([evse_at("a")], import_limit_kw=20.0, building_kw=25.0),
            ["circuits.main", "20 kW of contract", "25 kW"],
        ),
        (
            site_with([evse_at("a")], circuits=[Circuit(ROOT, None, limit_a=30.0)], building_kw=25.0),
            [
                "circuits.main",
                "30 A of fuse on L1",
                "36.2 A a phase",
                "raise the limit or correct greatest_building_kw",
            ],
        ),
    ],
)
def test_a_site_that_cannot_be_safe_is_refused(site: Site, words: list[str]) -> None:
    with pytest.raises(InvalidConfiguration) as refusal:
        safe_defaults_kw(site)
    for word in [*words, "site garage"]:
        assert word in str(refusal.value)


wirings = some.sampled_from(
    [
        {},
        {"phases": (Phase.L1,)},
        {"phases": (Phase.L3,), "current_step_a": 0.5},
        {"phases": (Phase.L1, Phase.L2), "wiring": Wiring.LINE_TO_LINE},
        {"phases": (Phase.L2, Phase.L3), "wiring": Wiring.LINE_TO_LINE, "min_current_a": 8.0},
    ]
)


@given(
    kinds=some.lists(some.tuples(wirings, some.sampled_from(["main", "east"])), min_size=1, max_size=9),
    root_a=some.floats(20.0, 300.0),
    east_a=some.floats(0.0, 100.0),
    import_kw=some.floats(12.0, 200.0),
    building_kw=some.floats(0.0, 10.0),
    deal_all=some.booleans(),
)
def test_the_sum_keeps_every_limit(
    kinds: list[tuple[dict[str, object], str]],
    root_a: float,
    east_a: float,
    import_kw: float,
    building_kw: float,
    deal_all: bool,
) -> None:
    evses: list[Evse] = [evse_at(f"e{index}", circuit, **kind) for index, (kind, circuit) in enumerate(kinds)]
    circuits = [Circuit(ROOT, None, limit_a=root_a), Circuit(EAST, ROOT, limit_a=east_a)]
    site = site_with(evses, import_limit_kw=import_kw, circuits=circuits, building_kw=building_kw)
    per_phase_a = building_kw * 1000.0 / (3.0 * site.phase_voltage_v)
    base = BaseLoad(building_kw, building_kw, (per_phase_a, per_phase_a, per_phase_a))
    if per_phase_a > root_a or building_kw > import_kw:
        return
    defaults_kw = safe_defaults_kw(site, deal_all=deal_all)
    levels_a = {evse_id: site.evses[evse_id].current_a(kw) for evse_id, kw in defaults_kw.items()}
    feeders = {evse_id: Feeder(evse) for evse_id, evse in site.evses.items()}
    assert LoadTally(LoadPaths.of(site, standing_ceilings(site, base), feeders), levels_a).exceeded() == []
    for evse_id, level_a in levels_a.items():
        assert level_a == 0.0 or level_a >= site.evses[evse_id].min_current_a - 1e-9
    assert defaults_kw == safe_defaults_kw(site, deal_all=deal_all)
