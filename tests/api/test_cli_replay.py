"""Replays from the command line: figures, files, interrupts, faults of whoever types, and the wire."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import api.cli_replay
from api.cli import make_cli
from optimizer.errors import InvalidInput

SCENARIO = "depot_constructed_2024_06"
WINDOW = ("--start", "2024-06-12T15:00:00+02:00", "--end", "2024-06-12T16:30:00+02:00")
KEYS = [
    "sessions",
    "requested_kwh",
    "delivered_kwh",
    "unserved_kwh",
    "targets_met_share",
    "peak_kw",
    "energy_cost",
    "demand_cost",
    "total_cost",
    "offline_optimum_cost",
    "uncontrolled_cost",
    "limit_violations",
    "setpoint_changes",
    "pauses",
    "solves",
    "solve_s_p50",
    "solve_s_p99",
    "wall_s",
    "processor_s",
    "fallbacks",
]
MEASURED = {"wall_s", "processor_s", "solve_s_p50", "solve_s_p99"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(make_cli(), arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def read(name: str) -> Any:
    return json.loads(Path(name).read_text(encoding="utf-8"))


def without_times(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in figures.items() if name not in MEASURED}


def test_a_replay_tells_its_figures_beside_both_bounds() -> None:
    result = run("replay", SCENARIO, "--strategy", "least_laxity", *WINDOW, "--json", "out.json", "--csv", "out.csv")
    assert "2 rows of the recording were set aside" in result.output
    assert "D901 energy of -60.8 kWh is negative" in " ".join(result.output.split())
    for text in ("offline optimum", "uncontrolled", "above the offline", "saved against"):
        assert text in result.output
    figures = read("out.json")
    assert [key for key in KEYS if key not in figures] == []
    assert figures["offline_optimum_cost"] <= figures["total_cost"]
    assert figures["above_offline_optimum_share"] == pytest.approx(
        figures["total_cost"] / figures["offline_optimum_cost"] - 1, abs=1e-6
    )
    with Path("out.csv").open(encoding="utf-8") as file:
        steps = list(csv.DictReader(file))
    with Path("out_stays.csv").open(encoding="utf-8") as file:
        stays = list(csv.DictReader(file))
    assert len(stays) == figures["sessions"]
    charged_kwh = sum(float(row["charging_kw"]) for row in steps) / 12
    assert charged_kwh == pytest.approx(figures["delivered_kwh"], abs=0.001)


def test_what_is_compared_stands_over_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    run(
        "compare",
        SCENARIO,
        "--strategies",
        "first_come,uncontrolled",
        *WINDOW,
        "--json",
        "out.json",
        "--csv",
        "out.csv",
    )
    compared = read("out.json")
    assert list(compared) == ["offline_optimum", "uncontrolled", "first_come"]
    assert all(key in figures for figures in compared.values() for key in KEYS)
    assert len({figures["replayed_until"] for figures in compared.values()}) <= 3
    # The same building and PV are billed to all: nobody who delivers as much is cheaper than the optimum.
    optimum = compared["offline_optimum"]
    for figures in compared.values():
        assert figures["delivered_kwh"] == pytest.approx(optimum["delivered_kwh"], abs=0.01)
        assert figures["total_cost"] >= optimum["total_cost"]
        assert figures["offline_optimum_cost"] == optimum["total_cost"]
        assert figures["uncontrolled_cost"] == compared["uncontrolled"]["total_cost"]


def interrupted_after(count: int) -> Callable[..., Any]:
    """In place of the progress bar: Ctrl-C at the ``count``-th instant."""

    @contextmanager
    def progress(_console: object) -> Iterator[tuple[Callable[[str, float], None], Callable[[], bool]]]:
        asked = iter(range(10**9))
        yield lambda _name, _share: None, lambda: next(asked) >= count

    return progress


def test_an_interrupted_replay_keeps_what_it_has_and_goes_on_to_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ("replay", SCENARIO, "--strategy", "least_laxity", *WINDOW, "--json")
    run(*arguments, "whole.json")
    with monkeypatch.context() as patched:
        patched.setattr(api.cli_replay, "_progress", interrupted_after(30))
        first = run(*arguments, "part.json")
        assert first.exit_code == api.cli_replay.EXIT_INTERRUPTED
        assert "--resume goes on" in first.output
        part = read("part.json")
        assert not part["complete"]
        assert 0 < part["delivered_kwh"] < read("whole.json")["delivered_kwh"]
        patched.setattr(api.cli_replay, "_progress", interrupted_after(60))
        assert run(*arguments, "part.json", "--resume").exit_code == api.cli_replay.EXIT_INTERRUPTED
        assert read("part.json")["delivered_kwh"] > part["delivered_kwh"]
    resumed = run(*arguments, "resumed.json", "--resume")
    assert resumed.exit_code == 0
    assert "it begins at the start" not in resumed.output
    assert without_times(read("resumed.json")) == without_times(read("whole.json"))
    assert list(api.cli_replay.STATES.glob("*.state")) == []


def test_another_value_of_a_field_is_replayed() -> None:
    arguments = ("replay", SCENARIO, "--strategy", "first_come", *WINDOW)
    # Nothing was interrupted, so there is nothing to go on with.
    assert "it begins at the start" in run(*arguments, "--resume", "--json", "as_it_is.json").output
    run(*arguments, "--set", "site.limit_kw=80", "--json", "less.json")
    assert read("as_it_is.json")["peak_kw"] > 80 >= read("less.json")["peak_kw"]


def test_the_same_seed_draws_the_same_vehicles() -> None:
    run("replay", SCENARIO, "--strategy", "first_come", *WINDOW, "--seed", "1", "--json", "one.json")
    run("replay", SCENARIO, "--strategy", "first_come", *WINDOW, "--seed", "1", "--json", "again.json")
    assert read("one.json")["seed"] == 1
    assert without_times(read("one.json")) == without_times(read("again.json"))


def test_a_day_of_23_hours_has_92_quarters() -> None:
    days = ("--start", "2019-03-10", "--end", "2019-03-11")
    run("replay", "acn_caltech_2019_03", "--strategy", "uncontrolled", *days, "--json", "out.json", "--csv", "out.csv")
    figures = read("out.json")
    assert (figures["start"], figures["end"]) == ("2019-03-10T08:00:00+00:00", "2019-03-11T07:00:00+00:00")
    with Path("out.csv").open(encoding="utf-8") as file:
        starts = [row["start"] for row in csv.DictReader(file)]
    assert starts.index("2019-03-11T07:00:00+00:00") == 92 * 3


def test_a_replay_over_websockets_delivers_as_much() -> None:
    window = ("--start", "2024-06-13T10:00:00+02:00", "--end", "2024-06-13T10:30:00+02:00")
    arguments = ("replay", SCENARIO, "--strategy", "least_laxity", *window, "--json")
    run(*arguments, "wire.json", "--over", "ocpp", "--speed", "1200")
    run(*arguments, "memory.json")
    wire, memory = read("wire.json"), read("memory.json")
    assert wire["complete"]
    assert wire["sessions"] == memory["sessions"] == 1
    assert wire["delivered_kwh"] == pytest.approx(memory["delivered_kwh"], abs=0.05)
    assert wire["setpoint_changes"] > 0
    assert wire["limit_violations"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("no_such",), "scenario = 'no_such': give a file, or a name of the catalogue", id="no scenario"),
        pytest.param((SCENARIO, "--strategy", "magic"), "--strategy = 'magic': name one of milp", id="no strategy"),
        pytest.param((SCENARIO, "--start", "2023-01-01"), "--start = '2023-01-01T00:00:00'", id="before its time"),
        pytest.param(
            (SCENARIO, "--start", "2024-06-13", "--end", "2024-06-12"), "--end = .*must be after", id="backwards"
        ),
        pytest.param(
            (SCENARIO, "--start", "2024-06-12T15:01:00+02:00"), "give a whole step of 0:05:00", id="between two steps"
        ),
        pytest.param(
            (SCENARIO, "--json", "none/out.json"), "--json = 'none/out.json': make the folder", id="no folder"
        ),
        pytest.param((SCENARIO, "--csv", "."), "--csv = '.': name a file; this is a folder", id="a folder"),
        pytest.param((SCENARIO, "--speed", "10"), "--speed = 10.0: give it with --over ocpp", id="speed of nothing"),
        pytest.param(
            (SCENARIO, "--over", "ocpp", "--speed", "0"), "--speed = 0.0: give a number from 1", id="no speed"
        ),
        pytest.param((SCENARIO, "--over", "ocpp", "--resume"), "connections cannot be taken up again", id="resume"),
        pytest.param(
            (SCENARIO, "--over", "ocpp", "--set", "replan.at_events=false"),
            "replan.at_events = False: set it true, or replay without --over ocpp",
            id="no events over OCPP",
        ),
        pytest.param((SCENARIO, "--set", "site.limt_kw=1"), "--set = 'site.limt_kw': .*site.limit_kw", id="no field"),
        pytest.param((SCENARIO, "--set", "site.limit_kw"), "write NAME=VALUE", id="no value"),
        pytest.param(
            (SCENARIO, "--set", "seed=1", "--set", "seed=2"), "--set = 'seed=2': give each name once", id="a name twice"
        ),
        pytest.param(
            (SCENARIO, "--over", "ocpp", "--strategy", "uncontrolled"), "nothing is sent over OCPP", id="no control"
        ),
    ],
)
def test_what_cannot_be_replayed_is_told_at_once(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        run("replay", *arguments)
