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
    monkeypatch.setattr(sys, "argv", ["chargehorizon", "record", *arguments])
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


def test_from_the_database_to_the_same_plans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, record = service_of(tmp_path, recorded_morning()), tmp_path / "morning.jsonl.gz"
    assert run(monkeypatch, "export", "--config", str(config), str(record)) == 0
    assert f"{MOST} steps from 2019-08-05 07:" in capsys.readouterr().out.replace("\n", " ")
    out = ("--json", str(tmp_path / "r.json"), "--csv", str(tmp_path / "r.csv"))
    assert run(monkeypatch, "replay", str(record), *out) == 0
    summary = json.loads((tmp_path / "r.json").read_text())
    assert summary["steps_planned"] == MOST
    assert summary["steps_same"] == MOST
    with (tmp_path / "r.csv").open() as file:
        assert [row["plan_id"] for row in csv.DictReader(file)] == [one.outcome.plan.id for one in recorded_morning()]


def test_a_part_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, record = service_of(tmp_path, recorded_morning()), tmp_path / "part.jsonl.gz"
    start = recorded_morning()[-2].seen.snapshot.at.isoformat(timespec="seconds")
    assert run(monkeypatch, "export", "--config", str(config), "--start", start, str(record)) == 0
    assert ": 2 steps" in capsys.readouterr().out
    assert run(monkeypatch, "export", "--config", str(config), "--start", "2030-01-01", str(record)) == 1
    assert "caltech-garage" in capsys.readouterr().err


def test_other_settings_show_the_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "last.jsonl.gz"
    write_record(record, recorded_morning()[-2:])
    out = ("--json", str(tmp_path / "r.json"))
    assert run(monkeypatch, "replay", str(record), "--set", "planning.departure_care=1.0", *out) == 0
    summary = json.loads((tmp_path / "r.json").read_text())
    assert summary["changed"] == {"departure_care": 1.0}
    assert summary["steps_same"] < summary["steps_planned"]
    assert "mean difference of the plan's cost" in capsys.readouterr().out


def test_another_plan_with_the_same_settings_is_told_by_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = recorded_morning()[-1]
    outcome = replace(step.outcome, plan=replace(step.outcome.plan, money=step.outcome.plan.money + 1e-9))
    ground = step.seen.ground.replace('"version":"', '"version":"0.0.')
    record = tmp_path / "other.jsonl.gz"
    write_record(record, [RecordedStep(replace(step.seen, ground=ground), outcome, "period")])
    assert run(monkeypatch, "replay", str(record)) == 1
    told = capsys.readouterr().out
    assert "1 steps give another plan with the same settings" in told
    assert "The record was made with version 0.0." in told


MISTAKES = {
    "a setting that there is not": (("--set", "planning.near_slot=1"), "name one of slot_rules"),
    "a setting of something else": (("--set", "control.near_slots=1"), "write planning.NAME=VALUE"),
    "nowhere to write to": (("--json", "no/such/folder/r.json"), "make the folder"),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_mistakes_end_with_one_message(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = MISTAKES[mistake]
    record = tmp_path / "last.jsonl.gz"
    write_record(record, recorded_morning()[-1:])
    assert run(monkeypatch, "replay", str(record), *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_service_that_never_ran_has_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = service_of(tmp_path, ())
    (tmp_path / "service.sqlite").unlink()
    assert run(monkeypatch, "export", "--config", str(config), str(tmp_path / "r.jsonl.gz")) == 2
    assert "name a database that a service has made" in capsys.readouterr().err
    assert not (tmp_path / "service.sqlite").exists()
