"""A problem as a person writes it: what every field comes to, and how every mistake is told."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optimizer.domain.site import LimitSource
from optimizer.errors import InvalidDataFile
from optimizer.planning.problem import LIMIT_SOURCES, ChargingProblem
from scenarios.problem_files import StatedProblem, read_problem

EXAMPLES = Path(__file__).resolve().parents[2] / "scenarios" / "catalogue" / "examples"

SMALL: dict[str, Any] = {
    "start": "2026-03-02T08:00:00Z",
    "end": "2026-03-02T10:00:00Z",
    "slot_minutes": 60,
    "import_price_per_kwh": 0.3,
    "vehicles": [{"id": "car", "targets": [{"depart_at": "2026-03-02T10:00:00Z", "energy_kwh": 10}]}],
}


def stated(tmp_path: Path, changes: dict[str, Any], vehicle: dict[str, Any] | None = None) -> StatedProblem:
    path = tmp_path / "problem.json"
    content = deepcopy(SMALL) | changes
    content["vehicles"][0] |= vehicle or {}
    path.write_text(json.dumps(content))
    return read_problem(path)


def problem_with(tmp_path: Path, changes: dict[str, Any], vehicle: dict[str, Any] | None = None) -> ChargingProblem:
    return stated(tmp_path, changes, vehicle).problem


HALF_PAST = {"start": "2026-03-02T08:30:00Z", "value": 0.5}


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        pytest.param(0.2, [0.2, 0.2], id="one number"),
        pytest.param([0.1, 0.4], [0.1, 0.4], id="one number a slot"),
        pytest.param([{"start": "2026-03-02T09:00:00Z", "value": 0.5}], [0.5, 0.5], id="a step holds before it, too"),
        pytest.param(
            [{"start": "2026-03-02T08:00:00Z", "value": 0.1}, HALF_PAST],
            [0.3, 0.5],
            id="a step inside a slot: the mean",
        ),
        pytest.param({"values": [0.1, 0.4]}, [0.1, 0.4], id="written out"),
        pytest.param(
            [{"start": "2026-03-01T00:00:00+01:00", "value": 0.1}, {"start": "2026-03-03T00:00:00Z", "value": 9.0}],
            [0.1, 0.1],
            id="steps before and after the horizon",
        ),
    ],
)
def test_a_course_is_a_value_a_slot(tmp_path: Path, course: object, expected: list[float]) -> None:
    problem = problem_with(tmp_path, {"import_price_per_kwh": course})
    assert problem.supply.import_price_per_kwh.tolist() == pytest.approx(expected)


def test_a_small_file_says_what_it_looks_like(tmp_path: Path) -> None:
    problem = problem_with(tmp_path, {"import_limit_kw": 22})
    assert problem.boundaries == tuple(datetime(2026, 3, 2, hour, tzinfo=UTC) for hour in (8, 9, 10))
    assert problem.modes.max_kw.tolist() == [pytest.approx([11.04, 11.04])]
    assert problem.targets.need_kwh.tolist() == [10.0]
    assert problem.circuits.limit_kw.tolist() == [[22.0, 22.0]]
    assert problem.circuits.ids == ("site",)


def test_without_an_end_the_last_target_ends_the_horizon(tmp_path: Path) -> None:
    content = {name: value for name, value in SMALL.items() if name != "end"}
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(content))
    assert read_problem(path).problem.boundaries[-1] == datetime(2026, 3, 2, 10, tzinfo=UTC)


def test_the_first_slot_is_the_rest_of_the_running_one(tmp_path: Path) -> None:
    problem = problem_with(tmp_path, {"start": "2026-03-02T08:20:00Z"})
    assert problem.slot_h.tolist() == pytest.approx([2 / 3, 1.0])


def test_limits_bound_their_circuit_for_their_time_and_name_who_set_them(tmp_path: Path) -> None:
    event = {"limit_kw": 4.2, "scope": "controllable", "start": "2026-03-02T09:00:00Z"}
    row = {"circuit_id": "row", "limit_kw": 3, "source": "operator", "scope": "feed"}
    circuits = [
        {"id": "main", "limit_a": 63},
        {"id": "row", "parent_id": "main", "limit_a": 32, "imbalance_limit_a": 20},
    ]
    problem = problem_with(tmp_path, {"circuits": circuits, "limits": [event, row]})
    assert problem.circuits.ids == ("main", "row")
    assert problem.circuits.limit_a.tolist() == [63.0, 32.0]
    assert problem.circuits.imbalance_limit_a.tolist() == [np.inf, 20.0]
    assert problem.circuits.controllable_limit_kw[0].tolist() == [np.inf, 4.2]
    assert LIMIT_SOURCES[problem.circuits.controllable_source[0, 1]] is LimitSource.GRID_EVENT
    assert problem.circuits.feed_limit_kw[1].tolist() == [3.0, 3.0]


def test_loads_building_and_sun_stand_where_they_flow(tmp_path: Path) -> None:
    circuits = [{"id": "main", "limit_a": 63}, {"id": "row", "parent_id": "main", "limit_a": 32}]
    load = {"circuit_id": "row", "power_kw": [2.3, 0], "phases": ["L2"]}
    problem = problem_with(
        tmp_path,
        {"circuits": circuits, "loads": [load], "building_kw": 6.9, "pv_kw": [0, 4], "pv_curtailable": True},
    )
    assert problem.circuits.uncontrolled_kw.tolist() == [pytest.approx([9.2, 6.9]), pytest.approx([2.3, 0.0])]
    assert problem.circuits.uncontrolled_a[1, :, 0].tolist() == pytest.approx([0.0, 10.0, 0.0])
    assert problem.supply.pv_kw.tolist() == [0.0, 4.0]
    assert problem.supply.pv_curtailable


def test_a_setpoint_may_be_asked_for_at_times_only(tmp_path: Path) -> None:
    problem = problem_with(tmp_path, {"setpoint_kw": [None, 5.0]})
    assert problem.supply.has_setpoint.tolist() == [False, True]
    steps = [{"start": "2026-03-02T08:00:00Z", "value": 3.0}, {"start": "2026-03-02T09:00:00Z", "value": None}]
    assert problem_with(tmp_path, {"setpoint_kw": steps}).supply.has_setpoint.tolist() == [True, False]


def test_a_soc_target_is_energy_at_the_meter(tmp_path: Path) -> None:
    battery = {"capacity_kwh": 50, "soc": 0.4, "charge_efficiency": 0.8, "knee_soc": 0.9}
    targets = [{"depart_at": "2026-03-02T10:00:00Z", "soc": 0.8}]
    problem = problem_with(tmp_path, {}, {"battery": battery, "targets": targets})
    assert problem.targets.need_kwh.tolist() == pytest.approx([25.0])
    assert problem.sessions.stored_kwh.tolist() == pytest.approx([20.0])
    assert problem.sessions.knee_kwh.tolist() == pytest.approx([45.0])


def test_energy_delivered_already_counts(tmp_path: Path) -> None:
    problem = problem_with(tmp_path, {}, {"delivered_kwh": 4, "charging_now": True})
    assert problem.targets.need_kwh.tolist() == [6.0]
    assert problem.sessions.charging_now.tolist() == [True]


def test_a_vehicle_may_come_later_and_on_one_phase(tmp_path: Path) -> None:
    vehicle = {"arrive_at": "2026-03-02T09:30:00Z", "phases": ["L2"], "max_current_a": 32, "priority": 1}
    problem = problem_with(tmp_path, {}, vehicle)
    assert problem.sessions.plugged_h.tolist() == [[0.0, 0.5]]
    assert problem.modes.on_phase.tolist() == [[False, True, False]]
    assert problem.sessions.tier.tolist() == [1]


def test_a_switchable_evse_gives_two_modes(tmp_path: Path) -> None:
    problem = problem_with(tmp_path, {}, {"phase_switching": True})
    assert problem.modes.on_phase.sum(axis=1).tolist() == [3, 1]


def test_an_evse_limit_holds_for_its_time(tmp_path: Path) -> None:
    problem = problem_with(tmp_path, {}, {"power_limits": [{"limit_kw": 5, "end": "2026-03-02T09:00:00Z"}]})
    assert problem.modes.max_kw.tolist() == [pytest.approx([5.0, 11.04])]


def test_a_promise_of_a_reservation_lasts_for_its_energy(tmp_path: Path) -> None:
    problem = problem_with(tmp_path, {}, {"guaranteed_kw": 5})
    assert (problem.sessions.guaranteed_kw[0], problem.sessions.guaranteed_kwh[0]) == (5.0, 10.0)


def test_demand_charges_count_whole_metering_intervals(tmp_path: Path) -> None:
    charge = {"price_per_kw": 2.0, "reached_kw": 8, "interval_minutes": 30}
    problem = problem_with(tmp_path, {"start": "2026-03-02T08:15:00Z", "demand_charges": [charge]})
    assert problem.demand.slot_share.tolist() == [pytest.approx(row) for row in ([0.5, 0.0], [1.0, 0.0], [0.0, 1.0])]
    assert problem.demand.reached_kw.tolist() == [8.0]


def test_a_battery_and_the_plan_in_force(tmp_path: Path) -> None:
    battery = {"capacity_kwh": 20, "soc": 0.5, "max_charge_kw": 8, "max_discharge_kw": 6, "end_price_per_kwh": 0.1}
    problem = problem_with(tmp_path, {"battery": battery}, {"previous_kw": [4.2, None]})
    assert problem.battery is not None
    assert (problem.battery.content_kwh, problem.battery.min_kwh) == (10.0, 1.0)
    assert problem.sessions.has_previous.tolist() == [[True, False]]


def test_choices_of_planning_have_the_words_of_the_configuration(tmp_path: Path) -> None:
    read = stated(tmp_path, {"planning": {"near_slots": 0, "start_price": 0.02}})
    assert read.settings.near_slots == 0
    assert read.problem.start_price == 0.02


def test_yaml_will_do(tmp_path: Path) -> None:
    path = tmp_path / "problem.yaml"
    path.write_text("start: 2026-03-02T08:00:00Z\nimport_price_per_kwh: 0.3\nvehicles: [{id: car}]  # as ever\n")
    assert read_problem(path).problem.sessions.ids == ("car",)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_the_examples_can_be_read(path: Path) -> None:
    assert read_problem(path).problem.sessions.count


MISTAKES = {
    "a misspelt field": ({"import_limit": 22}, {}, "import_limit = 22: no such field; did you mean import_limit_kw?"),
    "no price": ({"import_price_per_kwh": None}, {}, "import_price_per_kwh"),
    "a time without offset": ({"start": "2026-03-02T08:00:00"}, {}, "start = '2026-03-02T08:00:00': give a UTC offset"),
    "an end before the start": ({"end": "2026-03-02T07:00:00Z"}, {}, "end must be after start"),
    "slots that divide no day": ({"slot_minutes": 7}, {}, "slot_minutes must divide a day"),
    "too few values": (
        {"building_kw": [1, 2, 3]},
        {},
        "building_kw = '3 numbers': give one number, 2 numbers (one a slot), or steps",
    ),
    "a hole in a price": ({"import_price_per_kwh": [0.1, None]}, {}, "import_price_per_kwh = None: give a number"),
    "steps out of order": (
        {"pv_kw": [HALF_PAST, {"start": "2026-03-02T08:00:00Z", "value": 1}]},
        {},
        "give every step a later start",
    ),
    "a negative power": ({}, {"max_power_kw": -1}, "vehicles[0].max_power_kw = -1: should be greater than 0"),
    "a target without energy": (
        {},
        {"targets": [{"depart_at": "2026-03-02T09:00:00Z"}]},
        "give exactly one of energy_kwh and soc",
    ),
    "a soc without a battery": (
        {},
        {"targets": [{"depart_at": "2026-03-02T09:00:00Z", "soc": 0.8}]},
        "vehicles[0].battery = None: give capacity_kwh and soc",
    ),
    "a circuit that is not there": ({}, {"circuit_id": "cellar"}, "'cellar': name one of the circuits ['site']"),
    "a minimum above the maximum": (
        {},
        {"min_current_a": 20},
        "vehicles[0].min_current_a = 20.0: must be in (0, 16.0]",
    ),
    "two phases to neutral": ({}, {"phases": ["L1", "L2"]}, "vehicles[0].phases"),
    "a fuse without a limit": ({"circuits": [{"id": "main"}]}, {}, "give limit_a, limit_kw or both"),
    "two roots": ({"circuits": [{"id": "a", "limit_a": 9}, {"id": "b", "limit_a": 9}]}, {}, "give one tree"),
    "an unknown choice of planning": ({"planning": {"near_slot": 1}}, {}, "planning.near_slot = 1: no such field"),
    "a choice out of range": ({"planning": {"near_slots": -1}}, {}, "planning.near_slots = -1"),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_names_file_field_value_and_fix(mistake: str, tmp_path: Path) -> None:
    changes, vehicle, message = MISTAKES[mistake]
    with pytest.raises(InvalidDataFile) as refused:
        stated(tmp_path, changes, vehicle)
    told = str(refused.value)
    assert str(tmp_path / "problem.json") in told
    assert message in told


def test_two_vehicles_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataFile, match="give every session its own id"):
        stated(tmp_path, {"vehicles": [{"id": "car"}, {"id": "car"}]})


def test_what_is_no_json_is_told_by_line(tmp_path: Path) -> None:
    path = tmp_path / "problem.json"
    path.write_text('{"start": "2026-03-02T08:00:00Z",\n "vehicles": [}')
    with pytest.raises(InvalidDataFile, match=r"problem\.json: line 2"):
        read_problem(path)
