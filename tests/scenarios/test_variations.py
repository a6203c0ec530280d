"""What a sweep may vary, and what short names make of a scenario file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from optimizer.errors import InvalidInput
from scenarios.scenario_files import catalogue_path, load_scenario
from scenarios.variations import Variation, changes_of, known_fields, points_of, read_variation

MARCH = catalogue_path("acn_caltech_2019_03")

READ = {
    "numbers": ("site.limit_kw=60,80.5", ("site.limit_kw", (60, 80.5))),
    "words": ("strategy=milp, least_laxity", ("strategy", ("milp", "least_laxity"))),
    "nothing and lists": (
        "site.battery=null,{capacity_kwh: 5, max_charge_kw: 1}",
        ("site.battery", (None, {"capacity_kwh": 5, "max_charge_kw": 1})),
    ),
    "an entry of a list": ("site.circuits[0].limit_a=100", ("site.circuits.0.limit_a", (100,))),
    "a field of the planner": ("planning.near_slots=1,2", ("planning.near_slots", (1, 2))),
}


@pytest.mark.parametrize("case", READ, ids=str)
def test_a_variation_is_read(case: str) -> None:
    text, (name, values) = READ[case]
    assert read_variation(text) == Variation(name, values)


REFUSED = {
    "no sign": ("site.limit_kw", "write NAME=VALUE,VALUE"),
    "no value": ("site.limit_kw=", "at least one value"),
    "a value twice": ("site.limit_kw=60,80,60", "each value once"),
    "not YAML": ("site.limit_kw=[60", "separate several by commas"),
    "a misspelt short name": ("site.limt_kw=60", "nearest are site.limit_kw"),
    "a misspelt field": ("planning.near_slot=1", "nearest are planning.near_slots"),
    "a field without its section": ("import_limit_kw=60", "site.grid_connection.import_limit_kw"),
    "a list without a number": ("site.circuits.limit_kw=60", "site.circuits.0.limit_kw"),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_cannot_be_varied_is_refused_with_the_nearest_names(case: str) -> None:
    text, fix = REFUSED[case]
    with pytest.raises(InvalidInput, match=f"(?s)--vary.*{fix}"):
        read_variation(text)


def test_every_combination_comes_once_the_last_name_fastest() -> None:
    points = points_of([Variation("site.limit_kw", (60, 80)), Variation("seed", (1, 2))])
    assert [tuple(point.values()) for point in points] == [(60, 1), (60, 2), (80, 1), (80, 2)]


def test_one_name_cannot_be_varied_twice() -> None:
    with pytest.raises(InvalidInput, match="all values of one name together"):
        points_of([Variation("seed", (1,)), Variation("seed", (2,))])


def test_known_fields_reach_into_lists_and_settings() -> None:
    assert {"site.circuits.#.limit_a", "planning.slot_rules.#.length_minutes", "vehicles.#.wake"} <= set(known_fields())


class TestShortNames:
    @pytest.mark.parametrize(
        ("limit_kw", "import_kw", "circuit_kw"), [(60, 60, 150), (300, 300, 300)], ids=["smaller", "larger"]
    )
    def test_a_larger_connection_has_a_larger_fuse(self, limit_kw: float, import_kw: float, circuit_kw: float) -> None:
        site = load_scenario(MARCH, changes_of(MARCH, {"site.limit_kw": limit_kw})).site
        assert site.grid_connection.import_limit_kw == import_kw
        assert site.circuits[0].limit_kw == pytest.approx(circuit_kw)
        assert site.circuits[0].limit_a == pytest.approx(416.4 * circuit_kw / 150)

    def test_a_battery_that_the_file_does_not_have(self) -> None:
        battery = load_scenario(MARCH, changes_of(MARCH, {"battery.capacity_kwh": 100})).site.battery
        assert battery is not None
        assert (battery.capacity_kwh, battery.max_charge_kw, battery.max_discharge_kw) == (100, 50, 50)

    @pytest.mark.parametrize(
        ("point", "expected"),
        [
            ({"battery.capacity_kwh": 0}, None),
            ({"battery.capacity_kwh": 0, "battery.power_kw": 20}, None),
            ({"battery.capacity_kwh": 80}, (80, 20, 40)),
            ({"battery.capacity_kwh": 80, "battery.power_kw": 30}, (80, 30, 30)),
            ({"battery.capacity_kwh": 80, "site.battery.max_charge_kw": 7}, (80, 7, 40)),
        ],
        ids=["none", "none, power given", "in proportion", "power given", "a field in full goes first"],
    )
    def test_a_battery_that_the_file_has(self, tmp_path: Path, point: dict[str, float], expected: object) -> None:
        path = _with_battery_and_pv(tmp_path)
        battery = load_scenario(path, changes_of(path, point)).site.battery
        assert (battery and (battery.capacity_kwh, battery.max_charge_kw, battery.max_discharge_kw)) == expected

    def test_pv_of_another_size_gives_power_in_proportion(self, tmp_path: Path) -> None:
        path = _with_battery_and_pv(tmp_path)
        scenario = load_scenario(path, changes_of(path, {"pv.peak_kw": 45}))
        assert [array.peak_kw for array in scenario.site.pv_arrays] == [30, 15]
        assert scenario.surroundings.pv.values_kw == (15.0,)

    def test_no_pv(self, tmp_path: Path) -> None:
        path = _with_battery_and_pv(tmp_path)
        scenario = load_scenario(path, changes_of(path, {"pv.peak_kw": 0}))
        assert scenario.site.pv_arrays == ()
        assert scenario.surroundings.pv.values_kw == (0.0,)

    def test_pv_of_which_the_file_says_nothing_cannot_be_scaled(self) -> None:
        with pytest.raises(InvalidInput, match=r"must have pv and site\.pv_arrays"):
            changes_of(MARCH, {"pv.peak_kw": 10})

    @pytest.mark.parametrize("value", ["much", -1, None, float("inf")], ids=str)
    def test_a_size_is_a_number(self, value: object) -> None:
        with pytest.raises(InvalidInput, match="give a number from 0 up"):
            changes_of(MARCH, {"battery.capacity_kwh": value})


def _with_battery_and_pv(folder: Path) -> Path:
    """The month's file with a battery and two arrays; its data stay where they are."""
    content = yaml.safe_load(MARCH.read_text())
    arrays = [
        {"id": "roof", "peak_kw": 20, "inverter_kw": 20, "tilt_deg": 10, "azimuth_deg": 180},
        {"id": "porch", "peak_kw": 10, "inverter_kw": 8, "tilt_deg": 10, "azimuth_deg": 180},
    ]
    content["site"]["battery"] = {"capacity_kwh": 40, "max_charge_kw": 10, "max_discharge_kw": 20}
    content["site"]["pv_arrays"] = arrays
    content["pv"] = {"constant_kw": 10}
    content["tariff"] = {"file": str(MARCH.parent / "tariff.yaml")}
    content["sessions"]["file"] = str(MARCH.parent / "sessions.csv")
    path = folder / "month.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
