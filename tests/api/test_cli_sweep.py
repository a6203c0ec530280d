"""``chargehorizon sweep``: files, exit codes, and going on after an interrupt."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import sweep_works
from distributed import LocalCluster

from api.cli import main
from api.cli_sweep import EXIT_SOME_FAILED
from scenarios.runner import never
from scenarios.sweep import SweepRow, SweepTask, Workers, sweep

ONE_MORNING = ("--start", "2019-03-01", "--end", "2019-03-01T12:00:00-08:00", "--strategy", "offline_optimum")


class OneThread:
    width = 1
    is_interrupted = staticmethod(never)

    def open(self) -> Executor:
        return ThreadPoolExecutor(1)

    def interrupt(self) -> None:
        pass


@contextmanager
def one_thread(_count: int | None, _dask: str | None) -> Iterator[Workers]:
    yield OneThread()


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> int:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["chargehorizon", "sweep", "acn_caltech_2019_03", *ONE_MORNING, *arguments])
    try:
        main()
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def test_table_json_and_picture_come_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    varied = ("--vary", "site.limit_kw=12,60", "--vary", "battery.capacity_kwh=0,50")
    files = ("--table", "t.csv", "--json", "t.json", "--plot", "t.png")
    assert run(monkeypatch, tmp_path, *varied, *files, "--workers", "1") == 0
    table = pd.read_csv(tmp_path / "t.csv")
    figures = json.loads((tmp_path / "t.json").read_text())
    assert figures["varied"] == {"site.limit_kw": [12, 60], "battery.capacity_kwh": [0, 50]}
    assert table["total_cost"].tolist() == [row["total_cost"] for row in figures["rows"]]
    assert (tmp_path / "t.png").stat().st_size > 10_000
    assert list((tmp_path / ".chargehorizon").iterdir()) == []


def test_a_dask_cluster_does_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://", dashboard_address=":0"
    ) as cluster:
        varied = ("--vary", "site.limit_kw=12,60", "--table", "t.parquet")
        assert run(monkeypatch, tmp_path, *varied, "--dask", cluster.scheduler_address) == 0
    table = pd.read_parquet(tmp_path / "t.parquet")
    assert table["site.limit_kw"].tolist() == [12, 60]
    assert (table["total_cost"] == table["offline_optimum_cost"]).all()


def test_a_failed_task_is_told_by_the_exit_code_and_tried_again_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("api.cli_sweep._workers", one_thread)
    monkeypatch.setattr("scenarios.sweep.sweep", partial(sweep, work=sweep_works.second_never_works))
    varied = ("--vary", "site.limit_kw=12,60", "--table", "t.csv", "--tries", "2")
    # Figures of this work are too few for the terminal's table.
    monkeypatch.setattr("api.cli_sweep.SHOWN", {"total_cost": ("total", "{:.2f}")})
    assert run(monkeypatch, tmp_path, *varied) == EXIT_SOME_FAILED
    assert "failed after 2 tries: site.limit_kw=60: OSError" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "t.csv")["error"].isna().tolist() == [True, False]
    done: list[int] = []

    def note(tasks: Sequence[SweepTask], *arguments: object, **options: object) -> Iterator[SweepRow]:
        done.extend(task.number for task in tasks)
        return sweep(tasks, *arguments, **{**options, "work": sweep_works.answer})

    monkeypatch.setattr("scenarios.sweep.sweep", note)
    assert run(monkeypatch, tmp_path, *varied, "--resume") == 0
    assert done == [1]
    assert pd.read_csv(tmp_path / "t.csv")["total_cost"].tolist() == [0.0, 1.0]


def test_an_interrupted_sweep_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def first_only(tasks: Sequence[SweepTask], *_: object, **__: object) -> Iterator[SweepRow]:
        return sweep(tasks[:1], OneThread(), work=sweep_works.answer)

    monkeypatch.setattr("api.cli_sweep._workers", one_thread)
    monkeypatch.setattr("api.cli_sweep.SHOWN", {"total_cost": ("total", "{:.2f}")})
    monkeypatch.setattr("scenarios.sweep.sweep", first_only)
    varied = ("--vary", "site.limit_kw=12,60", "--table", "t.csv")
    assert run(monkeypatch, tmp_path, *varied) == 130
    assert "1 of 2 are missing; --resume goes on" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "t.csv")) == 1
    assert run(monkeypatch, tmp_path, *varied, "--resume") == 0
    assert len(pd.read_csv(tmp_path / "t.csv")) == 2


MISTAKES = {
    "a misspelt name": (("--vary", "site.limt_kw=60"), "nearest are site.limit_kw"),
    "a value that makes no site": (("--vary", "site.limit_kw=-1"), "of the combination site.limit_kw=-1"),
    "a table of an unknown kind": (("--vary", "seed=1", "--table", "t.xlsx"), "end the name with .csv or .parquet"),
    "processes and a cluster": (
        ("--vary", "seed=1", "--workers", "2", "--dask", "tcp://127.0.0.1:9"),
        "the cluster at --dask has workers of its own",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_mistakes_end_with_one_message(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = MISTAKES[mistake]
    assert run(monkeypatch, tmp_path, *arguments) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert "Traceback" not in told.err + told.out
