"""`chargehorizon faults`: what it tells, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli import make_cli


@pytest.mark.parametrize("over", ["memory", "sockets"])
def test_a_run_is_told_and_written(tmp_path: Path, over: str) -> None:
    path = tmp_path / "faults.json"
    words = f"faults --seed 5003 --runs 1 --minutes 0.2 --processes 1 --over {over} --json {path}".split()
    done = CliRunner().invoke(make_cli(), words)
    assert done.exit_code == 0, done.output
    assert "1 runs, 0 failed" in done.output
    assert "increases that led above a limit: 0" in done.output
    assert "transactions and energies lost, doubled or on the wrong session: 0" in done.output
    kept = json.loads(path.read_text())
    assert (kept["runs"], kept["failed"]) == (1, [])
    assert kept["counts"]["frames"] > 0


@pytest.mark.parametrize("option", ["--runs", "--minutes"])
def test_nothing_to_run_is_refused(option: str) -> None:
    done = CliRunner().invoke(make_cli(), ["faults", option, "0"])
    assert done.exit_code != 0
    assert "give a number above 0" in str(done.exception)
