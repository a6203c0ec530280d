"""``chargehorizon faults``: random runs in which everything goes wrong, judged by what truly flowed."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optimizer.errors import ChargeHorizonError, InvalidInput

if TYPE_CHECKING:
    from scenarios.faults.campaign import CampaignSummary

EXIT_FAILED = 1


class Over(StrEnum):
    """What stations and service talk over."""

    MEMORY = "memory"
    """A network in memory: quick, and the same run to the last frame each time."""
    SOCKETS = "sockets"
    """Real WebSockets, of which simulated time waits for every byte."""


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command()(faults)


def faults(
    runs: Annotated[int, typer.Option(help="How many runs.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the first run; the others follow.")] = 1,
    minutes: Annotated[float, typer.Option(help="How long things go wrong in each run, in simulated minutes.")] = 2.0,
    processes: Annotated[int, typer.Option(help="Runs at a time; 0: one for each core.")] = 0,
    over: Annotated[Over, typer.Option(help="What stations and service talk over.")] = Over.MEMORY,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write what came of it to this file.", metavar="FILE")
    ] = None,
) -> None:
    """Live through random faults of stations, network, meters, solver and service, and check that every limit holds."""
    for name, value in (("--runs", runs), ("--minutes", minutes)):
        if value <= 0:
            raise InvalidInput(name, value, "give a number above 0")
    # Imported here: `--help` needs no solver.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from scenarios.faults.campaign import runs_of, summary_of

    console = Console()
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    reports = []
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("runs", total=runs)
        cores = processes or os.cpu_count() or 1
        seeds, over_sockets = range(seed, seed + runs), over is Over.SOCKETS
        for report in runs_of(seeds, fault_minutes=minutes, processes=cores, over_sockets=over_sockets):
            reports.append(report)
            progress.advance(task)
            for failure in report.failures:
                console.print(f"seed {report.seed}: {failure}", highlight=False)
    summary = summary_of(reports)
    console.print(_text_of(summary), highlight=False)
    if json_path is not None:
        _write(json_path, summary)
    if summary.failed:
        sys.exit(EXIT_FAILED)


def _text_of(summary: CampaignSummary) -> str:
    lines = [f"{summary.runs} runs, {len(summary.failed)} failed, {summary.spent_s:.0f} s of processor time"]
    if summary.failed:
        lines.append("failed seeds: " + ", ".join(str(report.seed) for report in summary.failed))
    if summary.longest is not None:
        lines.append(
            f"longest time above a limit with something left to cut: {summary.longest.duration_s:.1f} s "
            f"of {summary.longest_allowed_s:.0f} s allowed ({summary.longest.what}, seed {summary.longest_seed})"
        )
    lines.append(f"increases that led above a limit: {summary.wrong_increases}")
    lines.append(f"transactions and energies lost, doubled or on the wrong session: {summary.book_faults}")
    lines.append(", ".join(f"{number} {name.replace('_', ' ')}" for name, number in sorted(summary.counts.items())))
    return "\n".join(lines)


def _write(path: Path, summary: CampaignSummary) -> None:
    try:
        path.write_text(json.dumps(asdict(summary), indent=1, default=str) + "\n", encoding="utf-8")
    except OSError as error:
        raise ChargeHorizonError(f"cannot write {path}: {error.strerror}") from error
