"""``chargehorizon sweep``: a scenario replayed with every combination of some values."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from api.cli_replay import (
    EXIT_INTERRUPTED,
    STATES,
    End,
    Resume,
    ScenarioFile,
    Seed,
    Start,
    replayed_window,
    scenario_path,
)
from api.interrupts import interruptible
from optimizer.errors import InvalidInput

if TYPE_CHECKING:
    from rich.progress import Progress

    from scenarios.sweep import SweepRow, SweepTask, Workers
    from scenarios.variations import Variation

EXIT_SOME_FAILED = 1
"""Some tasks failed; the others have figures."""
SHOWN = {
    "delivered_share": ("delivered", "{:.2%}"),
    "peak_kw": ("peak kW", "{:.1f}"),
    "total_cost": ("total", "{:,.2f}"),
    "above_offline_optimum_share": ("above optimum", "{:+.2%}"),
    "saved_against_uncontrolled_share": ("saved", "{:.1%}"),
}
"""Figures of the table in the terminal: heading and form."""


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command("sweep")(sweep_scenario)


def sweep_scenario(
    file: ScenarioFile,
    vary: Annotated[
        list[str],
        typer.Option(
            "--vary",
            help="What is varied, once for each name: site.limit_kw=60,80,100. Short names are site.limit_kw, "
            "battery.capacity_kwh, battery.power_kw and pv.peak_kw; any field of the file goes by its dotted name.",
            metavar="NAME=VALUE,VALUE",
        ),
    ],
    strategy: Annotated[
        str | None,
        typer.Option("--strategy", help="milp, a heuristic or offline_optimum; left out: what the file names."),
    ] = None,
    start: Start = None,
    end: End = None,
    seed: Seed = None,
    table_path: Annotated[
        Path | None,
        typer.Option("--table", help="Write one row a combination here, as CSV or Parquet.", metavar="OUT.csv|parquet"),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw cost, peak and unserved energy.", metavar="OUT.png|svg|pdf")
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file.", metavar="OUT")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes; left out: one a core.")] = None,
    dask: Annotated[
        str | None, typer.Option("--dask", help="Scheduler of a Dask cluster instead.", metavar="ADDRESS")
    ] = None,
    tries: Annotated[int, typer.Option("--tries", help="How often a task that fails is tried.", min=1)] = 3,
    *,
    resume: Resume = False,
) -> None:
    """Replay a scenario with every combination of some values, on all cores or on a Dask cluster."""
    # Imported here: `--help` and the small commands need neither solver nor scenarios.
    from scenarios.sweep import check_same_units, sweep, tasks_of
    from scenarios.sweep_tables import keep_row, kept_rows
    from scenarios.variations import read_variation

    console = Console()
    _check_targets(table_path, plot, json_path)
    variations = [read_variation(text) for text in vary]
    path = scenario_path(file)
    changes: dict[str, Any] = {} if seed is None else {"seed": seed}
    window = partial(replayed_window, start, end)
    tasks = tasks_of(path, variations, strategy=strategy, changes=changes, window=window)
    currency = check_same_units(tasks)
    kept = _state_file(path)
    rows = list(kept_rows(kept, tasks)) if resume else []
    if not resume:
        kept.unlink(missing_ok=True)
    open_tasks = [task for task in tasks if task.key not in {row.key for row in rows}]
    with _workers(workers, dask) as pool, _progress(console, len(tasks), len(rows)) as (shown, is_interrupted):
        for row in sweep(open_tasks, pool, tries=tries, is_interrupted=is_interrupted):
            rows.append(row)
            if row.is_done:
                keep_row(kept, row)
            shown.advance(shown.task_ids[0])
            _write(rows, variations, table_path, None, json_path)
    if rows:
        console.print(_shown_table(rows, variations, currency))
        _write(rows, variations, table_path, plot, json_path)
    _end(console, tasks, rows, kept)


def _check_targets(table_path: Path | None, plot: Path | None, json_path: Path | None) -> None:
    """Find out before a long sweep, not after it, that there is nowhere to write to."""
    from scenarios.sweep_tables import PICTURE_ENDINGS, TABLE_ENDINGS, checked_ending
    from scenarios.targets import check_target

    if table_path is not None:
        checked_ending(table_path, "--table", TABLE_ENDINGS)
    if plot is not None:
        checked_ending(plot, "--plot", PICTURE_ENDINGS)
    check_target("--json", json_path)


def _state_file(path: Path) -> Path:
    return STATES / f"{sha256(str(path.absolute()).encode()).hexdigest()[:16]}.sweep"


@contextmanager
def _workers(count: int | None, dask: str | None) -> Iterator[Workers]:
    from scenarios.sweep_workers import dask_workers, process_workers

    if dask is not None and count is not None:
        raise InvalidInput("--workers", count, "leave it out: the cluster at --dask has workers of its own")
    if dask is not None:
        with dask_workers(dask) as cluster:
            yield cluster
    else:
        with process_workers(count) as processes:
            yield processes


@contextmanager
def _progress(console: Console, total: int, done: int) -> Iterator[tuple[Progress, Any]]:
    """A bar over all tasks with the time left, and Ctrl-C that ends the sweep."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), "left", TimeRemainingColumn())
    with interruptible() as is_interrupted, Progress(*columns, console=console) as shown:
        shown.add_task("sweep", total=total, completed=done)
        yield shown, is_interrupted


def _shown_table(rows: Sequence[SweepRow], variations: Sequence[Variation], currency: str) -> Table:
    table = Table(title=f"{len(rows)} replays, costs in {currency}", title_justify="left")
    for variation in variations:
        table.add_column(variation.name.replace(".", ".\n"), justify="right", overflow="fold")
    for heading, _ in SHOWN.values():
        table.add_column(heading, justify="right")
    for row in sorted(rows, key=lambda row: row.number):
        varied = [str(value) for value in row.point.values()]
        if row.is_done:
            table.add_row(*varied, *(form.format(row.figures[name]) for name, (_, form) in SHOWN.items()))
        else:
            table.add_row(*varied, *(["failed"] + [""] * (len(SHOWN) - 1)))
    return table


def _write(
    rows: Sequence[SweepRow],
    variations: Sequence[Variation],
    table_path: Path | None,
    plot: Path | None,
    json_path: Path | None,
) -> None:
    """Write what is done so far."""
    from scenarios.sweep_tables import draw_sweep, table_of, write_table

    if table_path is not None:
        write_table(table_of(rows), table_path)
    if json_path is not None:
        figures = [row.as_json() for row in sorted(rows, key=lambda row: row.number)]
        varied = {variation.name: list(variation.values) for variation in variations}
        text = json.dumps({"varied": varied, "rows": figures}, indent=2, default=str)
        json_path.write_text(f"{text}\n", encoding="utf-8")
    if plot is not None and any(row.is_done for row in rows):
        draw_sweep(rows, variations, plot)


def _end(console: Console, tasks: Sequence[SweepTask], rows: Sequence[SweepRow], kept: Path) -> None:
    """Say what is missing, and end with the code that tells."""
    from scenarios.sweep import point_text

    failed = [row for row in rows if not row.is_done]
    for row in failed:
        console.print(f"failed after {row.tries} tries: {point_text(row.point)}: {row.error}", highlight=False)
    if len(rows) < len(tasks):
        missing = len(tasks) - len(rows)
        console.print(f"Interrupted: {missing} of {len(tasks)} are missing; --resume goes on.", highlight=False)
        sys.exit(EXIT_INTERRUPTED)
    if failed:
        console.print(f"{len(failed)} of {len(tasks)} failed; --resume tries them again.", highlight=False)
        sys.exit(EXIT_SOME_FAILED)
    kept.unlink(missing_ok=True)
