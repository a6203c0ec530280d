"""The load's own program, with a handful of stations: it must not rot between two large runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.study
@pytest.mark.parametrize("more", [[], ["--control"]], ids=["messages alone", "with control"])
def test_a_few_stations_are_measured(tmp_path: Path, more: list[str]) -> None:
    figures = tmp_path / "figures.json"
    words = ["--stations", "5", "--seconds", "2", "--interval", "2", "--json", str(figures), *more]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/load/measure_load.py"), *words], cwd=tmp_path, capture_output=True,
        text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert figures.exists(), done.stderr
    told = json.loads(figures.read_text())
    assert told["failures"] == 0
    assert told["steady_messages_per_s"] == pytest.approx(5.0, rel=0.5)
    assert told["memory_churn_end_mib"] > 0
