"""``chargehorizon record``: from a service's database to a file, and from the file to the same plans."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from recorded_steps import MOST, recorded_morning

from api.auth import hash_of
from api.cli import main
from connectors.storage import open_stores
from connectors.storage.plan_store import RecordedStep
from scenarios.record import write_record


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["chargehorizon", *arguments])
    try:
        main()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 0
    return 0


def service_of(folder: Path, steps: tuple[RecordedStep, ...]) -> Path:
    """The configuration of a service whose database holds ``steps``."""
    tariff = {
        "id": "flat",
        "name": "Flat",
        "currency": "USD",
        "time_zone": "America/Los_Angeles",
        "energy_bands": [{"name": "all", "price_per_kwh": 0.2}],
    }
    (folder / "tariff.yaml").write_text(yaml.safe_dump(tariff))
    content = {
        "site": {
            "id": "caltech-garage",
            "time_zone": "America/Los_Angeles",
            "currency": "USD",
            "grid_connection": {"circuit_id": "main", "import_limit_kw": 150},
            "circuits": [{"id": "main", "limit_a": 400}],
            "stations": [{"id": "CA-212", "evses": [{"circuit_id": "main", "max_current_a": 32}]}],
        },
        "tariff": {"file": "tariff.yaml"},
        "storage": {"url": f"sqlite:///{folder / 'service.sqlite'}"},
        "ocpp": {"security_profile": 0},
        "http": {"api_keys": [{"name": "test", "sha256": hash_of("key"), "scopes": ["admin"]}]},
    }
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(content))

    async def fill() -> None:
        async with await open_stores(f"sqlite:///{folder / 'service.sqlite'}") as stores:
            for step in steps:
                await stores.plans.save_outcome(step.outcome, step.trigger, step.seen)

    asyncio.run(fill())
    return path


def record_of(folder: Path, steps: tuple[RecordedStep, ...], **content: object) -> str:
    """A scenario file that names a record of ``steps``."""
    write_record(folder / "past.jsonl.gz", steps)
    path = folder / "past.yaml"
    path.write_text(yaml.safe_dump({"name": "past", "recorded": "past.jsonl.gz", **content}))
    return str(path)


def test_from_the_database_to_the_same_plans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, record = service_of(tmp_path, recorded_morning()), tmp_path / "morning.yaml"
    assert run(monkeypatch, "record", "export", "--config", str(config), str(record)) == 0
    assert f"{MOST} steps from 2019-08-05 07:" in capsys.readouterr().out.replace("\n", " ")
    # The two files may be put anywhere, together.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("morning.yaml", "morning.jsonl.gz"):
        (tmp_path / name).rename(elsewhere / name)
    assert run(monkeypatch, "scenario", "check", str(elsewhere / "morning.yaml")) == 0
    assert f"good. {MOST} recorded steps; otherwise than it was: nothing" in capsys.readouterr().out
    out = ("--json", str(tmp_path / "r.json"), "--csv", str(tmp_path / "r.csv"))
    assert run(monkeypatch, "replay", str(elsewhere / "morning.yaml"), *out) == 0
    assert f"All {MOST} plans are the same as then, to the last bit" in capsys.readouterr().out
    summary = json.loads((tmp_path / "r.json").read_text())
    assert summary["steps_planned"] == summary["steps_same"] == MOST
    assert summary["changed"] == {}
    with (tmp_path / "r.csv").open() as file:
        assert [row["plan_id"] for row in csv.DictReader(file)] == [one.outcome.plan.id for one in recorded_morning()]


def test_a_part_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, record = service_of(tmp_path, recorded_morning()), tmp_path / "part.yaml"
    start = recorded_morning()[-2].seen.snapshot.at.isoformat(timespec="seconds")
    export = ("record", "export", "--config", str(config), "--start")
    assert run(monkeypatch, *export, start, str(record)) == 0
    assert ": 2 steps" in capsys.readouterr().out
    last = recorded_morning()[-1].seen.snapshot.at.isoformat(timespec="seconds")
    assert run(monkeypatch, "replay", str(record), "--end", last) == 0
    assert "All 1 plans are the same" in capsys.readouterr().out
    assert run(monkeypatch, *export, "2030-01-01", str(record)) == 1
    assert "caltech-garage" in capsys.readouterr().err


def test_other_settings_show_the_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = record_of(tmp_path, recorded_morning()[-2:])
    out = ("--json", str(tmp_path / "r.json"))
    assert run(monkeypatch, "replay", record, "--set", "planning.departure_care=1.0", *out) == 0
    summary = json.loads((tmp_path / "r.json").read_text())
    assert summary["changed"] == {"planning.departure_care": 1.0}
    assert summary["steps_same"] < summary["steps_planned"]
    assert "mean difference of the plan's cost" in capsys.readouterr().out


def test_another_plan_with_the_same_settings_is_told_by_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = recorded_morning()[-1]
    outcome = replace(step.outcome, plan=replace(step.outcome.plan, money=step.outcome.plan.money + 1e-9))
    ground = step.seen.ground.replace('"version":"', '"version":"0.0.')
    other = RecordedStep(replace(step.seen, ground=ground), outcome, "period")
    assert run(monkeypatch, "replay", record_of(tmp_path, (other,))) == 1
    told = capsys.readouterr().out
    assert "1 steps give another plan with the same settings" in told
    assert "The record was made with version 0.0." in told


MISTAKES = {
    "a setting that there is not": (("--set", "planning.near_slot=1"), "nearest are planning.near_slots"),
    "a setting of something else": (("--set", "vehicles.0.share=1"), "of a record these can be otherwise: strategy"),
    "a value that cannot be": (("--set", "planning.near_slots=-1"), "from 0 up"),
    "no such strategy": (("--strategy", "magic"), "name one of milp"),
    "nothing is drawn by chance": (("--seed", "1"), "--seed = 1: leave it out"),
    "nothing is simulated": (("--over", "ocpp"), "--over = 'ocpp': leave it out"),
    "no page": (("--report", "r.html"), "--report = PosixPath('r.html'): leave it out"),
    "nothing to go on with": (("--resume",), "--resume = True: leave it out"),
    "another time": (("--start", "2030-01-01"), "name a time in which the record has a step"),
    "nowhere to write to": (("--json", "no/such/folder/r.json"), "make the folder"),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_mistakes_end_with_one_message(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = MISTAKES[mistake]
    record = record_of(tmp_path, recorded_morning()[-1:])
    assert run(monkeypatch, "replay", record, *arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["replay", "compare", "sweep --vary site.limit_kw=60", "record export --config {}"])
def test_a_record_is_no_scenario_of_sessions_and_its_steps_are_no_scenario(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = record_of(tmp_path, recorded_morning()[-1:])
    words = command.format(tmp_path).split()
    file = str(tmp_path / "past.jsonl.gz") if words[0] in ("replay", "record") else record
    assert run(monkeypatch, *words, file) == 2
    told = capsys.readouterr()
    assert told.out == ""
    expected = {
        "replay": "give the scenario file that `chargehorizon record export` wrote beside it",
        "record": "name a scenario file, for example week.yaml",
    }
    assert expected.get(words[0], "plan it again with `chargehorizon replay`") in told.err


def test_a_service_that_never_ran_has_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = service_of(tmp_path, ())
    (tmp_path / "service.sqlite").unlink()
    assert run(monkeypatch, "record", "export", "--config", str(config), str(tmp_path / "r.yaml")) == 2
    assert "name a database that a service has made" in capsys.readouterr().err
    assert not (tmp_path / "service.sqlite").exists()
