"""The page about scenario files tells what is checked, and the catalogue shows every field in use."""

from collections.abc import Iterator
from pathlib import Path

from connectors.sections import read_sections
from optimizer.errors import InvalidDataFile
from scenarios.scenario_files import catalogue_names, catalogue_path
from scenarios.scenario_reference import documented_fields, scenario_reference
from scenarios.scenario_sections import RecordFile
from scenarios.strategies import strategy_names

PAGE = Path(__file__).parents[2] / "docs" / "scenario_files.md"
SETTINGS = ("control.", "planning.")
"""Settings of the service itself, which scenarios may set one by one; the service's own tests cover each."""


ALIKE = {"building.": "power.", "pv.": "power.", "site.station_groups[].": "evse.", "site.stations[].evses[].": "evse."}
"""Sections that share their fields."""


def alike(place: str) -> str:
    return next((ALIKE[start] + place.removeprefix(start) for start in ALIKE if place.startswith(start)), place)


def used_fields(content: object, path: str = "") -> Iterator[str]:
    if isinstance(content, list):
        for one in content:
            yield from used_fields(one, f"{path}[]")
    elif isinstance(content, dict):
        for name, value in content.items():
            place = f"{path}.{name}" if path else str(name)
            yield place
            yield from used_fields(value, place)


def test_the_page_is_what_the_program_checks() -> None:
    fix = "run: chargehorizon scenario fields --short > docs/scenario_files.md"
    assert PAGE.read_text(encoding="utf-8") == scenario_reference(with_settings=False), fix


def test_every_field_has_a_meaning() -> None:
    rows = [line for line in scenario_reference().splitlines() if line.startswith("| `")]
    assert [line for line in rows if line.rstrip(" |").endswith("|")] == []
    assert len(rows) == len(documented_fields()) + len(RecordFile.model_fields)


def test_every_field_is_used_by_a_shipped_scenario() -> None:
    used: set[str] = set()
    for name in catalogue_names():
        used |= set(used_fields(read_sections(catalogue_path(name), InvalidDataFile, "")))
    known = {alike(field) for field in documented_fields() if not field.startswith(SETTINGS)}
    missing = known - {alike(field) for field in used}
    assert missing == set()


def test_the_page_names_every_strategy() -> None:
    row = next(line for line in scenario_reference().splitlines() if line.startswith("| `strategy`"))
    assert [name for name in strategy_names() if name not in row] == []
