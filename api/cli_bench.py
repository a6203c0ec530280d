"""``chargehorizon bench``: how fast this machine plans, by size, beside HiGHS alone and Pyomo."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from optimizer.errors import ChargeHorizonError, InvalidInput
from scenarios.bench import (
    PYOMO_UP_TO,
    SIZES,
    BenchCase,
    BenchRow,
    LeakReport,
    measured,
    memory_over_many_plans,
)

HEADINGS = (
    "case", "connectors", "rows", "columns", "build ms", "HiGHS ms", "total ms", "slowest ms", "HiGHS alone ms",
    "ratio", "hot / cold", "gap", "Pyomo ms", "memory MB",
)  # fmt: skip

FILE_WIDTH = 140
"""Characters of a line where the table goes to a file or a pipe: all columns fit."""


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command()(bench)


def bench(
    sizes: Annotated[str, typer.Option(help="Numbers of connectors, with commas.")] = ",".join(map(str, SIZES)),
    cases: Annotated[str, typer.Option(help="What is on: lp, minimum_current, everything, with commas.")] = ",".join(
        BenchCase
    ),
    runs: Annotated[int, typer.Option(help="How many problems of each case and size.")] = 5,
    pyomo_up_to: Annotated[int, typer.Option(help="Largest site that Pyomo plans, too; 0: none.")] = PYOMO_UP_TO,
    plans: Annotated[int, typer.Option(help="Then plan a small site so often, and watch the memory.")] = 0,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file.", metavar="FILE")
    ] = None,
) -> None:
    """Measure how long planning takes, by the size of the site and what of the problem is on."""
    chosen_sizes, chosen_cases = _sizes(sizes), _cases(cases)
    if runs < 1:
        raise InvalidInput("--runs", runs, "give a number from 1 up")
    console = Console()
    if not sys.stdout.isatty():
        console.width = max(console.width, FILE_WIDTH)
    rows = []
    with _progress(console) as progress:
        task = progress.add_task("planning", total=len(chosen_sizes) * len(chosen_cases) * runs)
        for row in measured(
            chosen_cases, chosen_sizes, runs=runs, pyomo_up_to=pyomo_up_to, on_step=lambda: progress.advance(task)
        ):
            rows.append(row)
            progress.update(task, description=f"{row.case.value}, {row.connectors} connectors")
        leak = _watched(progress, plans) if plans else None
    console.print(_table(rows))
    if leak is not None:
        console.print(
            f"memory over {leak.plans} plans with {leak.solves} solver calls: {leak.early_mb:.1f} MB after a tenth, "
            f"{leak.late_mb:.1f} MB after all"
        )
    if json_path is not None:
        _write(json_path, {"rows": [asdict(row) for row in rows], "memory": asdict(leak) if leak else None})


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _watched(progress: Progress, plans: int) -> LeakReport:
    task = progress.add_task("memory over many plans", total=plans)
    return memory_over_many_plans(plans, on_step=lambda: progress.advance(task))


def _sizes(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 1 for part in parts):
        raise InvalidInput("--sizes", text, "give whole numbers from 2 up with commas between, for example 10,100")
    return [int(part) for part in parts]


def _cases(text: str) -> list[BenchCase]:
    known = [case.value for case in BenchCase]
    parts = [part.strip() for part in text.split(",")]
    if not set(parts) <= set(known):
        raise InvalidInput("--cases", text, f"give some of {', '.join(known)} with commas between")
    return [BenchCase(part) for part in parts]


def _table(rows: list[BenchRow]) -> Table:
    table = Table(title="Planning, medians of one process, processor time", title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "case" else "right")
    for row in rows:
        table.add_row(
            row.case.value.replace("_", " "),
            str(row.connectors),
            str(row.rows),
            str(row.columns),
            *(
                f"{1000 * seconds:.1f}"
                for seconds in (row.build_s, row.solve_s, row.total_s, row.slowest_s, row.alone_s)
            ),
            f"{row.ratio:.2f}",
            f"{row.hot_ratio:.2f}",
            f"{row.gap:.3%}" if not row.fallbacks else f"{row.fallbacks} fallbacks",
            f"{1000 * row.pyomo_s:.0f}" if row.pyomo_s is not None else "",
            f"{row.memory_mb:.0f}",
        )
    return table


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ChargeHorizonError(f"cannot write {path}: {error.strerror}") from error
