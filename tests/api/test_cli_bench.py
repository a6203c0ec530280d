"""``chargehorizon bench``: a table, the same as JSON, and one message for every mistake."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from api.cli import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["chargehorizon", "bench", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_the_table_and_the_json_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "bench.json"
    options = ("--sizes", "4,6", "--cases", "lp,minimum_current", "--runs", "1", "--pyomo-up-to", "4", "--plans", "6")
    assert run(monkeypatch, *options, "--json", str(written)) == 0
    told = capsys.readouterr().out
    content = json.loads(written.read_text())
    assert [(row["case"], row["connectors"]) for row in content["rows"]] == [
        ("lp", 4), ("lp", 6), ("minimum_current", 4), ("minimum_current", 6),
    ]  # fmt: skip
    assert [row["pyomo_s"] is None for row in content["rows"]] == [False, True, False, True]
    assert content["memory"]["plans"] == 6
    for row in content["rows"]:
        assert f"{row['ratio']:.2f}" in told
        assert f"{1000 * row['total_s']:.1f}" in told
    assert "minimum current" in told
    assert "memory over 6 plans" in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            ["--sizes", "ten"], "--sizes = 'ten': give whole numbers from 2 up", id="a size that is no number"
        ),
        pytest.param(["--sizes", "1"], "--sizes = '1'", id="a site of one"),
        pytest.param(["--cases", "milp"], "--cases = 'milp': give some of lp, minimum_current", id="an unknown case"),
        pytest.param(["--runs", "0"], "--runs = 0: give a number from 1 up", id="no runs"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *options) == 2
    assert message in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--sizes", "3", "--cases", "lp", "--runs", "1", "--pyomo-up-to", "0")
    assert run(monkeypatch, *options, "--json", str(tmp_path / "nowhere" / "bench.json")) == 1
    assert "cannot write" in capsys.readouterr().err
