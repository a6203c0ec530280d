"""Scenario files: what is wrong is told with file, field, value and fix; paths are relative; dotted changes change."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from optimizer.errors import InvalidDataFile, InvalidInput
from scenarios.scenario_files import catalogue_path, load_scenario

DEPOT = "depot_constructed_2024_06"
EVENT = {
    "id": "e",
    "announced_at": "2024-06-12T16:55:00+02:00",
    "start": "2024-06-12T17:00:00+02:00",
    "end": "2024-06-12T19:00:00+02:00",
    "value": 50,
}
BOOKING = {
    "id": "b",
    "made_at": "2024-06-11T00:00:00+02:00",
    "start": "2024-06-12T00:00:00+02:00",
    "end": "2024-06-13T00:00:00+02:00",
}


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        pytest.param("site.limit_kw", 60, "site.limit_kw = 60: no such field", id="unknown field"),
        pytest.param("stepminutes", 5, "stepminutes = 5: no such field; did you mean step_minutes?", id="misspelt"),
        pytest.param("step_minutes", 7, "step_minutes = 7: should be 1, 5 or 15", id="odd step"),
        pytest.param("start", "2024-06-10T00:00:00", "start = .*give a UTC offset", id="no offset"),
        pytest.param(
            "start", "2024-06-10T00:03:00+02:00", "start = .*whole multiple of step_minutes 5", id="odd start"
        ),
        pytest.param("end", "2024-06-01T00:00:00+02:00", "end must be after start", id="backwards"),
        pytest.param(
            "information.targets", "guess", "information.targets = 'guess': should be 'recorded'", id="policy"
        ),
        pytest.param("strategy", "magic", "strategy = 'magic': name one of milp, ", id="strategy"),
        pytest.param("seed", "x", "seed = 'x': should be a valid integer", id="a word for a number"),
        pytest.param("replan.every_minutes", 7, "replan.every_minutes = 7: give a whole multiple", id="odd replan"),
        pytest.param("tariff.file", "none.yaml", "tariff.file = .*none.yaml.*no such file", id="no tariff file"),
        pytest.param("site.currency", "USD", "site.currency = 'USD': must be EUR", id="other currency"),
        pytest.param("site.time_zone", "Mars/Base", "site.time_zone = 'Mars/Base': name a zone", id="no such zone"),
        pytest.param("site.circuits.1.parent_id", "x", "parent_id", id="a circuit that hangs nowhere"),
        pytest.param("market_prices", None, "market_prices = None: give the day-ahead prices", id="no prices"),
        pytest.param("market_prices.zone", "FR", r"FR.*choose one of \['DE'\]", id="a zone that is not there"),
        pytest.param("sessions.format", "trondheim", "give columns with the format columns", id="columns of no use"),
        pytest.param("sessions.columns.post", ["Platz"], "must have a column Platz", id="no such column"),
        pytest.param("sessions.columns.time_format", "%d/%m", "Ankunft.*write times as '%d/%m'", id="time format"),
        pytest.param("sessions.columns.time_zone", "Nowhere/Here", "Nowhere/Here.*IANA zone", id="zone of times"),
        pytest.param("vehicles", [{"share": 0}], r"vehicles\[0\].share = 0: should be greater than 0", id="no share"),
        pytest.param("building.file", "tariff.yaml", "give exactly one of file, constant_kw", id="two loads"),
        pytest.param(
            "building", {"constant_kw": -1}, "building.constant_kw = -1: should be greater", id="negative load"
        ),
        pytest.param("site.pv_arrays", [], "site.pv_arrays = .*describe the arrays", id="PV without arrays"),
        pytest.param("information.pv", "recorded", "information.pv = 'recorded': give pv.forecast_file", id="forecast"),
        pytest.param(
            "grid_events", [{**EVENT, "circuit_id": "attic"}], r"grid_events\[0\].circuit_id = 'attic'", id="no circuit"
        ),
        pytest.param(
            "grid_events", [{**EVENT, "end": EVENT["start"]}], "must follow one another", id="an event of no length"
        ),
        pytest.param(
            "reservations", [{**BOOKING, "session_id": "D999"}], r"session_id = 'D999': name a session", id="no driver"
        ),
        pytest.param("reservations", [{**BOOKING, "evse_id": "X"}], r"evse_id = 'X': name one of", id="no EVSE"),
        pytest.param("control.dead_band", 1, "control.dead_band = 1: no such field", id="unknown setting"),
        pytest.param("control.dead_band_kw", -1, "control.dead_band_kw = -1", id="bad setting"),
        pytest.param("planning.relative_gap", -1, "planning.relative_gap = -1", id="bad choice of the planner"),
        pytest.param("name.first", 1, "name.first = 1: .*not a", id="a field of what has none"),
    ],
)
def test_what_is_wrong_is_told_with_file_field_value_and_fix(field: str, value: Any, told: str) -> None:
    path = catalogue_path(DEPOT)
    with pytest.raises(InvalidInput, match=told) as caught:
        load_scenario(path, {field: value})
    assert str(path.parent) in str(caught.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidDataFile, match="step_minutes") as caught:
        load_scenario(catalogue_path(DEPOT), {"step_minutes": 7, "seed": "x"})
    assert any("seed = 'x'" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param("seed: 7", "seed: 7\nseed: 8", r"\(line \d+\) = 'seed stands twice'", id="a field twice"),
        pytest.param("site:", "site: [", "must be YAML", id="no YAML"),
        pytest.param("start: 2024-06-10T00:00:00+02:00", "start: 2024-06-10", "give time and UTC offset", id="a date"),
        pytest.param("tariff: {file: tariff.yaml}", "", "tariff = None: this field is required", id="a field missing"),
    ],
)
def test_a_text_that_cannot_be_used_is_told(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = copied(tmp_path)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InvalidDataFile, match=told):
        load_scenario(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataFile, match="give a file that can be read"):
        load_scenario(tmp_path / "none.yaml")


def test_a_scenario_lives_wherever_its_folder_is(tmp_path: Path) -> None:
    moved, shipped = load_scenario(copied(tmp_path)), load_scenario(catalogue_path(DEPOT))
    assert moved.stays == shipped.stays
    assert moved.tariff == shipped.tariff


def test_the_fingerprint_follows_every_file_and_change(tmp_path: Path) -> None:
    path = copied(tmp_path)
    first = load_scenario(path).fingerprint
    assert load_scenario(path).fingerprint == first
    assert load_scenario(path, {"seed": 8}).fingerprint != first
    sessions = path.parent / "sessions_constructed.csv"
    sessions.write_text(sessions.read_text(encoding="utf-8").replace("42993", "42994"), encoding="utf-8")
    assert load_scenario(path).fingerprint != first


def test_fields_may_be_taken_over_from_another_section() -> None:
    evses = load_scenario(catalogue_path("acn_jpl_2019_10")).site.evses
    assert {evse.voltage_v for evse in evses.values()} == {208.0}
    assert {evse.circuit_id for evse in evses.values()} == {
        "first_floor", "first_floor_sub_1", "first_floor_sub_2", "third_floor", "fourth_floor"
    }  # fmt: skip


def test_prices_of_another_year_keep_weekday_and_hour() -> None:
    scenario = load_scenario(catalogue_path("trondheim_garage_2019_08"))
    assert scenario.market is not None
    assert "2024-07-31 taken for 2019-07-31" in scenario.market.prices.source


def copied(tmp_path: Path) -> Path:
    shutil.copytree(catalogue_path(DEPOT).parent, tmp_path / DEPOT)
    return tmp_path / DEPOT / f"{DEPOT}.yaml"
