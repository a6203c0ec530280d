"""The study of optimality: some problems of a morning planned fast and long, and told."""

from __future__ import annotations

import pytest

from scenarios.studies import optimality
from scenarios.studies.optimality import compared


def test_a_long_search_is_never_worse() -> None:
    rows = list(compared(8, 0.3, hours=1.3))
    assert rows
    for row in rows:
        assert row.sessions > 0
        assert 0.0 <= row.gap_left <= row.gap + 1e-9
        assert row.is_proven or row.gap > 0.0


def test_the_table_tells_every_problem(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    optimality.main(["--every", "6", "--proof-s", "0.1", "--hours", "1.2"])
    told = capsys.readouterr().out
    assert "missed kWh, long" in told
    assert "problems; median certified gap" in told
