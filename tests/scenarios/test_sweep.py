"""Sweeps: every combination has its row, whatever happens to tasks and workers on the way."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
import sweep_works
from distributed import LocalCluster

from optimizer.errors import ChargeHorizonError, InvalidDataFile, InvalidInput
from scenarios.scenario import Scenario
from scenarios.scenario_files import catalogue_path
from scenarios.sweep import SweepRow, SweepTask, check_same_units, run_task, sweep, tasks_of
from scenarios.sweep_tables import (
    PICTURE_ENDINGS,
    TABLE_ENDINGS,
    checked_ending,
    draw_sweep,
    keep_row,
    kept_rows,
    table_of,
    write_table,
)
from scenarios.sweep_workers import dask_workers, process_workers
from scenarios.variations import Variation

MARCH = catalogue_path("acn_caltech_2019_03")
LIMITS = Variation("site.limit_kw", (12, 60))
BATTERIES = Variation("battery.capacity_kwh", (0, 50))


def _first_morning(scenario: Scenario) -> tuple:
    return scenario.start, scenario.start + timedelta(hours=12)


@pytest.fixture(scope="module")
def tasks() -> tuple[SweepTask, ...]:
    return tasks_of(MARCH, [LIMITS, BATTERIES], strategy="offline_optimum", window=_first_morning)


@pytest.fixture(scope="module")
def rows(tasks: tuple[SweepTask, ...]) -> list[SweepRow]:
    return [SweepRow(task.number, task.point, task.key, run_task(task), 1) for task in tasks]


class ThreadWorkers:
    """Threads instead of processes, for what happens to tasks rather than to workers."""

    width = 2

    def __init__(self) -> None:
        self.stop = False

    def is_interrupted(self) -> bool:
        return self.stop

    def open(self) -> Executor:
        return ThreadPoolExecutor(self.width)

    def interrupt(self) -> None:
        self.stop = True


def _marked(tasks: tuple[SweepTask, ...], folder: Path) -> list[SweepTask]:
    return [replace(task, point={"folder": str(folder)}) for task in tasks]


# ---------------------------------------------------------------------- what comes out


def test_figures_follow_from_what_is_varied(rows: list[SweepRow]) -> None:
    figures = {tuple(row.point.values()): row.figures for row in rows}
    assert figures[12, 0]["peak_kw"] <= 12 < figures[60, 0]["peak_kw"] <= 60
    assert figures[60, 50]["total_cost"] < figures[60, 0]["total_cost"]
    assert figures[60, 0]["uncontrolled_cost"] == figures[60, 50]["uncontrolled_cost"]
    assert all(one["total_cost"] == one["offline_optimum_cost"] for one in figures.values())


def test_a_rule_of_thumb_is_replayed_too() -> None:
    (task,) = tasks_of(MARCH, [Variation("strategy", ("equal_share",))], window=_first_morning)
    figures = run_task(task)
    assert figures["strategy"] == "equal_share"
    assert figures["offline_optimum_cost"] < figures["total_cost"]


BAD_SWEEPS = {
    "a value that the model refuses": ([Variation("site.limit_kw", (60, -1))], None, "from 0 up"),
    "a strategy that there is not": ([LIMITS], "magic", "name one of milp"),
    "the strategy given and varied": ([Variation("strategy", ("milp",))], "milp", "leave it out"),
    "an entry that the list has not": ([Variation("site.circuits.7.limit_kw", (60,))], None, "7 is not a"),
    "a file that is not there": ([Variation("tariff.file", ("other.yaml",))], None, "no such file"),
}


@pytest.mark.parametrize("case", BAD_SWEEPS, ids=str)
def test_bad_input_is_told_before_anything_is_replayed(case: str) -> None:
    variations, strategy, fix = BAD_SWEEPS[case]
    with pytest.raises(InvalidInput, match=fix):
        tasks_of(MARCH, variations, strategy=strategy)


def test_a_bad_combination_is_named() -> None:
    with pytest.raises(InvalidInput) as raised:
        tasks_of(MARCH, [Variation("seed", (1,)), Variation("site.limit_kw", (60, -1))])
    assert raised.value.__notes__ == ["of the combination seed=1, site.limit_kw=-1"]


def test_costs_of_two_currencies_do_not_share_a_table(tasks: tuple[SweepTask, ...]) -> None:
    task = tasks[0]
    site = replace(task.scenario.site, currency="EUR")
    with pytest.raises(InvalidDataFile, match="one currency"):
        check_same_units([task, replace(task, scenario=replace(task.scenario, site=site))])


# ---------------------------------------------------------------------- tasks that fail


def test_a_task_that_fails_is_tried_again(tasks: tuple[SweepTask, ...], tmp_path: Path) -> None:
    found = list(sweep(_marked(tasks, tmp_path), ThreadWorkers(), work=sweep_works.fails_once))
    assert {row.number: (row.tries, row.error) for row in found} == dict.fromkeys(range(4), (2, ""))


@pytest.mark.parametrize(
    ("work", "tries", "error"),
    [
        (sweep_works.second_never_works, 3, "OSError: [Errno 28] No space left on device"),
        (sweep_works.second_has_bad_input, 1, "site.limit_kw = -1: give a number from 0 up"),
    ],
    ids=["fails every time", "bad input is not tried again"],
)
def test_a_task_that_keeps_failing_is_reported_and_the_rest_goes_on(
    tasks: tuple[SweepTask, ...], work: object, tries: int, error: str
) -> None:
    found = {row.number: row for row in sweep(tasks, ThreadWorkers(), work=work)}
    assert (found[1].is_done, found[1].tries, found[1].error) == (False, tries, error)
    assert [number for number, row in found.items() if row.is_done and row.tries == 1] == [
        number for number in found if number != 1
    ]
    assert len(found) == 4


def test_a_worker_that_dies_costs_only_the_task_that_killed_it(tasks: tuple[SweepTask, ...]) -> None:
    with process_workers(2) as workers:
        found = {
            row.number: row for row in sweep(tasks[:3], workers, tries=1, work=sweep_works.second_kills_its_process)
        }
    assert "worker process died" in found[1].error
    assert {number: row.figures["total_cost"] for number, row in found.items() if row.is_done} == {0: 0.0, 2: 2.0}


def test_an_interrupt_ends_tasks_and_keeps_rows(tasks: tuple[SweepTask, ...], tmp_path: Path) -> None:
    workers = ThreadWorkers()
    marked = _marked(tasks, tmp_path)
    asked = lambda: any(tmp_path.glob("begun-*"))  # noqa: E731
    assert list(sweep(marked, workers, is_interrupted=asked, work=sweep_works.waits_for_the_end)) == []
    assert workers.stop


# ---------------------------------------------------------------------- workers


def test_processes_give_the_same_rows(tasks: tuple[SweepTask, ...], rows: list[SweepRow]) -> None:
    with process_workers(1) as workers:
        found = sorted(sweep(tasks[:2], workers), key=lambda row: row.number)
    assert [_timeless(row) for row in found] == [_timeless(row) for row in rows[:2]]


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp://", dashboard_address=":0"
    ) as made:
        yield made


def test_a_dask_cluster_gives_the_same_rows(
    cluster: LocalCluster, tasks: tuple[SweepTask, ...], rows: list[SweepRow], tmp_path: Path
) -> None:
    with dask_workers(cluster.scheduler_address) as workers:
        assert workers.width == 4
        found = sorted(sweep(tasks, workers), key=lambda row: row.number)
        assert [_timeless(row) for row in found] == [_timeless(row) for row in rows]
        again = list(sweep(_marked(tasks, tmp_path), workers, work=sweep_works.fails_once))
        assert [row.tries for row in again] == [2] * 4


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenarios.sweep_workers.DASK_PATIENCE_S", 0.2)
    with pytest.raises(ChargeHorizonError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        dask_workers("tcp://127.0.0.1:9").__enter__()


def test_at_least_one_process() -> None:
    with pytest.raises(InvalidInput, match="--workers"):
        process_workers(0).__enter__()


def _timeless(row: SweepRow) -> dict[str, object]:
    timed = ("wall_s", "processor_s", "solve_s_p50", "solve_s_p99")
    return {name: value for name, value in row.as_json().items() if name not in timed}


# ---------------------------------------------------------------------- tables, kept rows, pictures


@pytest.mark.parametrize("ending", TABLE_ENDINGS)
def test_a_table_is_tidy(ending: str, rows: list[SweepRow], tmp_path: Path) -> None:
    failed = replace(rows[3], figures={}, error="no luck")
    path = tmp_path / f"table{ending}"
    write_table(table_of([*reversed(rows[:3]), failed]), path)
    read = pd.read_csv(path) if ending == ".csv" else pd.read_parquet(path)
    assert list(read.columns[:2]) == ["site.limit_kw", "battery.capacity_kwh"]
    assert read[["site.limit_kw", "battery.capacity_kwh"]].to_numpy().tolist() == [[12, 0], [12, 50], [60, 0], [60, 50]]
    assert read["total_cost"][:3].tolist() == [row.figures["total_cost"] for row in rows[:3]]
    assert read["total_cost"].isna().tolist() == [False, False, False, True]
    assert read["error"][3] == "no luck"


def test_kept_rows_come_back_for_the_same_tasks_only(
    tasks: tuple[SweepTask, ...], rows: list[SweepRow], tmp_path: Path
) -> None:
    path = tmp_path / "states" / "kept.sweep"
    keep_row(path, rows[2])
    keep_row(path, rows[0])
    assert kept_rows(path, tasks) == (rows[0], rows[2])
    elsewhere = [replace(task, strategy="milp") for task in tasks]
    assert kept_rows(path, elsewhere) == ()
    assert kept_rows(tmp_path / "none.sweep", tasks) == ()


@pytest.mark.parametrize("text", ["", "no json", '"another form"\n', '"chargehorizon sweep 1"\n{"tries": 1}\n'])
def test_a_file_of_something_else_is_refused(text: str, tasks: tuple[SweepTask, ...], tmp_path: Path) -> None:
    path = tmp_path / "kept.sweep"
    path.write_text(text)
    with pytest.raises(InvalidDataFile, match="sweep without --resume"):
        kept_rows(path, tasks)


@pytest.mark.parametrize("ending", [".png", ".svg"])
def test_a_picture_shows_every_line(ending: str, rows: list[SweepRow], tmp_path: Path) -> None:
    path = tmp_path / f"sweep{ending}"
    draw_sweep(rows, [LIMITS, BATTERIES], path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG" if ending == ".png" else b"<?xml")
    if ending == ".svg":
        assert b"capacity_kwh 50" in content


def test_nothing_to_draw_is_told(rows: list[SweepRow], tmp_path: Path) -> None:
    with pytest.raises(ChargeHorizonError, match="nothing to draw"):
        draw_sweep([replace(rows[0], figures={}, error="no luck")], [LIMITS], tmp_path / "sweep.png")


@pytest.mark.parametrize(
    ("name", "endings"), [("t.xlsx", TABLE_ENDINGS), ("t.csv", PICTURE_ENDINGS), ("no/folder/t.csv", TABLE_ENDINGS)]
)
def test_a_target_that_cannot_be_written_is_told_beforehand(
    name: str, endings: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="--table"):
        checked_ending(tmp_path / name, "--table", endings)
