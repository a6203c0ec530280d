"""The study that tells what a replay takes, and the watch that it reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from optimizer.errors import InvalidInput
from scenarios.stopwatch import Spent, Stopwatch
from scenarios.studies.replay_speed import main


def test_tells_the_times_of_the_optimum_and_of_each_strategy(tmp_path: Path) -> None:
    main(["--days", "1", "--strategies", "least_laxity,uncontrolled", "--json", str(tmp_path / "speed.json")])
    rows = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert [row["strategy"] for row in rows] == ["offline_optimum", "least_laxity", "uncontrolled"]
    optimum, heuristic, uncontrolled = rows
    assert (optimum["plans"], uncontrolled["plans"]) == (1, 0)
    # A day of quarters of an hour, and whoever comes and goes.
    assert heuristic["plans"] > 50
    assert 0.0 < heuristic["plan_s"] < heuristic["wall_s"]
    assert all(row["processor_s"] > 0.0 for row in rows)


def test_refuses_a_strategy_that_there_is_not() -> None:
    with pytest.raises(InvalidInput, match="--strategies"):
        main(["--strategies", "guess"])


def test_watch_counts_in_what_an_interrupted_run_spent() -> None:
    watch = Stopwatch()
    watch.go_on_from(Spent(wall_s=3600.0, processor_s=1800.0))
    first, second = watch.spent, watch.spent
    assert 3600.0 <= first.wall_s <= second.wall_s
    assert 1800.0 <= first.processor_s <= second.processor_s < first.wall_s
