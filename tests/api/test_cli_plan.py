"""``chargehorizon plan``: the examples planned, shown, written and drawn; every mistake one message."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema
import pytest

from api.cli import main
from api.cli_plan import runs_of
from optimizer.domain.ids import EvseId, SessionId
from optimizer.domain.plan import BindingKind, BindingReason, SessionPlan
from optimizer.planning.backends import plan_with
from optimizer.planning.verify import violations
from scenarios.problem_files import read_problem

EXAMPLES = Path(__file__).resolve().parents[2] / "scenarios" / "catalogue" / "examples"
PNG = b"\x89PNG"
PRICE = BindingReason(BindingKind.PRICE)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["chargehorizon", "plan", *arguments])
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_two_cars_share_what_the_connection_gives_in_the_cheap_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written, drawn = tmp_path / "plan.json", tmp_path / "plan.png"
    code = run(monkeypatch, str(EXAMPLES / "two_cars.json"), "--json", str(written), "--plot", str(drawn))
    told = capsys.readouterr().out
    assert code == 0
    for text in ("van", "car", "site limit site (contract)", "Every target is met.", "(proven)"):
        assert text in told
    content = json.loads(written.read_text())
    assert content["outcome"]["outcome"] == "proven_optimal"
    assert content["plan"]["money"] == pytest.approx(60 * 0.22, rel=2e-3)
    assert max(content["plan"]["grid_import_kw"]) <= 11.0 + 1e-6
    assert drawn.read_bytes().startswith(PNG)


def test_what_is_short_is_told_with_the_instant_since_when(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(EXAMPLES / "depot_night.json"), "--time-limit", "5") == 0
    told = capsys.readouterr().out
    short = told.partition("What is short")[2]
    assert "visitor" in short
    assert "1.21" in short
    assert "Mon 17:00" in short


@pytest.mark.parametrize("name", ["two_cars", "depot_night"])
def test_the_plan_of_an_example_keeps_every_law(name: str) -> None:
    stated = read_problem(EXAMPLES / f"{name}.json")
    plan = plan_with(stated.problem, stated.settings).plan
    assert not violations(stated.problem, plan)


def test_another_backend_costs_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    money = []
    for backend in ("matrix", "pyomo:highs"):
        written = tmp_path / "plan.json"
        assert run(monkeypatch, str(EXAMPLES / "two_cars.json"), "--backend", backend, "--json", str(written)) == 0
        money.append(json.loads(written.read_text())["plan"]["money"])
    assert money[0] == pytest.approx(money[1], rel=2e-3)
    assert "van" in capsys.readouterr().out


def test_the_schema_is_printed_and_the_examples_follow_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--schema") == 0
    schema = json.loads(capsys.readouterr().out)
    for path in EXAMPLES.glob("*.json"):
        jsonschema.validate(json.loads(path.read_text()), schema)
    for course in ("dear", [], [{"start": "2026-03-02T08:00:00Z"}]):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"start": "2026-03-02T08:00:00Z", "import_price_per_kwh": course}, schema)


def test_every_field_of_the_schema_is_described(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "--schema")
    schema = json.loads(capsys.readouterr().out)
    sections = [schema, *(part for part in schema["$defs"].values() if "properties" in part)]
    bare = [
        f"{section['title']}.{name}"
        for section in sections
        for name, field in section["properties"].items()
        if "description" not in field
    ]
    assert bare == []


MISTAKES = {
    "no such file": (["nowhere.json"], "nowhere.json"),
    "no such backend": (["two_cars.json", "--backend", "cplex"], "backend = 'cplex': give matrix or pyomo:<solver>"),
    "no such solver": (["two_cars.json", "--backend", "pyomo:nosuch"], "name a solver that Pyomo finds here"),
    "no time": (["two_cars.json", "--time-limit", "0"], "--time-limit = 0.0: give seconds above 0"),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_is_one_message_and_exit_code_2(
    mistake: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (name, *options), message = MISTAKES[mistake]
    assert run(monkeypatch, str(EXAMPLES / name), *options) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told


def test_a_place_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for option, name in (("--json", "plan.json"), ("--plot", "plan.png"), ("--plot", "plan.xyz")):
        folder = tmp_path if name.endswith("xyz") else tmp_path / "nowhere"
        assert run(monkeypatch, str(EXAMPLES / "two_cars.json"), option, str(folder / name)) == 1
        assert "cannot" in capsys.readouterr().err


def test_slots_of_one_power_and_one_reason_are_one_run() -> None:
    stated = read_problem(EXAMPLES / "two_cars.json")
    instants = stated.problem.boundaries[:5]
    peak = BindingReason(BindingKind.DEMAND_PEAK)
    session = SessionPlan(
        SessionId("car"),
        EvseId("car"),
        power_kw=(4.0, 4.001, 4.001, 0.0),
        energy_kwh=(0.0, 1.0, 2.0, 3.0, 3.0),
        reasons=(PRICE, PRICE, peak, peak),
    )
    runs = [(run.start, run.end, run.power_kw, run.energy_kwh) for run in runs_of(session, instants)]
    assert runs == [
        (instants[0], instants[2], 4.0, 2.0),
        (instants[2], instants[3], 4.001, 1.0),
        (instants[3], instants[4], 0.0, 0.0),
    ]
