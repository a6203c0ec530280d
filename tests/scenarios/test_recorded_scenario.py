"""A service's past planned otherwise: another strategy, site or tariff, from what was seen then."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from recorded_steps import recorded_morning

from connectors.prices.tariff_files import read_tariff
from optimizer.errors import InvalidDataFile, InvalidInput
from scenarios.record import write_record
from scenarios.recorded_scenario import RecordedScenario, altered_site, is_record, load_recorded, priced_by
from scenarios.scenario_files import NOTHING_CHANGED, catalogue_path

STEPS = recorded_morning()[-3:]
SITE = STEPS[0].seen.snapshot.site
TARIFF = catalogue_path("acn_caltech_2019_08").parent / "tariff.yaml"
EVSE = SITE.stations[0].evses[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_record(tmp_path / "past.jsonl.gz", STEPS)
    return tmp_path


def loaded(folder: Path, changes: Mapping[str, Any] = NOTHING_CHANGED, **content: object) -> RecordedScenario:
    path = folder / "past.yaml"
    path.write_text(yaml.safe_dump({"name": "past", "recorded": "past.jsonl.gz", **content}))
    assert is_record(path)
    return load_recorded(path, changes)


def flat_tariff(currency: str, price_per_kwh: float) -> dict[str, Any]:
    band = {"name": "all", "price_per_kwh": price_per_kwh}
    return {"id": "flat", "name": "Flat", "currency": currency, "time_zone": SITE.time_zone, "energy_bands": [band]}


def test_what_is_not_otherwise_is_planned_as_it_was(folder: Path) -> None:
    scenario = loaded(folder, site={"time_zone": SITE.time_zone}, planning={"near_slots": 2}, strategy="milp")
    comparisons = list(scenario.comparisons())
    assert [one.is_same for one in comparisons] == [True] * len(STEPS)
    assert not any(one.is_changed for one in comparisons)


def test_the_tariff_of_then_changes_nothing(folder: Path) -> None:
    tariff = read_tariff(TARIFF)
    for step in STEPS:
        assert priced_by(step.seen.snapshot, tariff) == step.seen.snapshot
    assert all(one.is_same for one in loaded(folder, tariff={"file": str(TARIFF)}).comparisons())


def test_another_tariff_prices_the_same_plans_otherwise(folder: Path) -> None:
    (folder / "dear.yaml").write_text(yaml.safe_dump(flat_tariff("USD", 9.0)))
    for one in loaded(folder, tariff={"file": "dear.yaml"}).comparisons():
        assert one.is_changed
        assert one.cost_difference > 0


LIMITS = {
    "by the fields of a site": {"site": {"grid_connection": {"import_limit_kw": 12.0}}},
    "by the short name": {"changes": {"site.limit_kw": 12.0}},
    "by the id of an entry": {"site": {"circuits": [{"id": SITE.circuits[0].id, "limit_kw": 12.0}]}},
    "by the number of an entry": {"changes": {"site.circuits.0.limit_kw": 12.0}},
}


@pytest.mark.parametrize("way", LIMITS, ids=str)
def test_a_lower_limit_is_kept_by_every_plan(folder: Path, way: str) -> None:
    scenario = loaded(folder, **LIMITS[way])
    before = [max(step.outcome.plan.grid_import_kw) for step in STEPS]
    comparisons = list(scenario.comparisons())
    assert max(before) > 12.0
    assert all(max(one.again.plan.grid_import_kw) <= 12.0 + 1e-6 for one in comparisons)
    assert scenario.changed


def test_a_heuristic_plans_the_same_problem(folder: Path) -> None:
    scenario = loaded(folder, {"strategy": "first_come"})
    for one in scenario.comparisons():
        assert one.is_changed
        assert one.again.plan.boundaries == one.recorded.outcome.plan.boundaries
        assert one.cost_difference + 10 * one.unserved_difference_kwh >= -1e-6


def test_a_part_of_the_time(folder: Path) -> None:
    first, second, _ = (step.seen.snapshot.at for step in STEPS)
    part = loaded(folder).between(first + timedelta(seconds=1), second + timedelta(seconds=1))
    assert [step.seen.snapshot.at for step in part.steps()] == [second]
    written = loaded(folder, start=second.isoformat())
    assert len(list(written.steps())) == 2


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no such field": ({"site": {"circuit": []}}, "site.circuit = .*no such field; known here are id"),
    "no such entry": ({"site": {"circuits": [{"id": "attic"}]}}, "circuits.id = 'attic': name one of"),
    "no such number": ({"changes": {"site.circuits.77.limit_a": 1}}, "77 is not a section"),
    "no number": ({"site": {"grid_connection": {"import_limit_kw": "much"}}}, "import_limit_kw = 'much'"),
    "no tree": ({"site": {"circuits": [{"id": SITE.circuits[0].id, "parent_id": "x"}]}}, "parent_id = 'x'"),
    "a battery out of nothing": ({"changes": {"battery.capacity_kwh": 50}}, "nothing is known of its state"),
    "no such setting": ({"planning": {"near_slot": 1}}, "planning.near_slot = 1: name one of"),
    "no such strategy": ({"strategy": "magic"}, "name one of milp"),
    "prices of no tariff": ({"market_prices": {"file": "past.yaml"}}, "name the tariff that they come on top of"),
    "another currency": ({"tariff": {"file": "euro.yaml"}}, "give one in USD"),
    "a record that is not there": ({"recorded": "none.jsonl.gz"}, "recorded = .*no such file"),
    "a section of a scenario": ({"sessions": {}}, "sessions = {}: no such field"),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_what_cannot_be_otherwise_is_told_before_the_replay(folder: Path, mistake: str) -> None:
    content, message = MISTAKES[mistake]
    (folder / "euro.yaml").write_text(yaml.safe_dump(flat_tariff("EUR", 0.3)))
    with pytest.raises(InvalidInput, match=f"(?s){message}"):
        loaded(folder, **content)


def test_a_record_without_steps_is_refused(folder: Path) -> None:
    first_line, *_ = gzip.decompress((folder / "past.jsonl.gz").read_bytes()).splitlines(keepends=True)
    (folder / "past.jsonl.gz").write_bytes(gzip.compress(first_line))
    with pytest.raises(InvalidDataFile, match="give a record with at least one step"):
        loaded(folder)


def test_a_site_that_is_not_otherwise_is_the_same() -> None:
    assert altered_site(SITE, {}, {}, "file") == SITE
    lower = altered_site(
        SITE, {"stations": [{"id": EVSE.station_id, "evses": [{"id": EVSE.id, "max_current_a": 20}]}]}, {}, "f"
    )
    assert lower.evses[EVSE.id].max_current_a == 20
    assert [one.id for one in lower.stations] == [one.id for one in SITE.stations]
