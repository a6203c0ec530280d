"""The study of near slots: the same morning lived through with each number, and told."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from scenarios.studies import near_slots
from scenarios.studies.near_slots import StudyRow, studied

MORNING = (("acn_caltech_2019_03", date(2019, 3, 13)),)


def test_each_number_lives_through_the_same_morning() -> None:
    told: list[StudyRow] = []
    rows = list(studied((0, 2), MORNING, hours=7.5, on_row=told.append))
    assert rows == told
    assert [row.near_slots for row in rows] == [0, 2]
    assert rows[0].requested_kwh == rows[1].requested_kwh > 0.0
    for row in rows:
        assert row.plans > 5
        assert row.fallbacks == row.limit_violations == 0
        assert row.unserved_kwh < 0.01 * row.requested_kwh
        assert row.processor_s > 0.0


def test_the_command_writes_what_it_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(near_slots, "DAYS", MORNING)
    monkeypatch.setenv("COLUMNS", "200")
    written = tmp_path / "near.json"
    near_slots.main(["--slots", "1", "--hours", "6.5", "--json", str(written)])
    (row,) = json.loads(written.read_text())
    assert row["near_slots"] == 1
    assert row["day"] == "2019-03-13"
    assert f"{row['total_cost']:.2f}" in capsys.readouterr().out
