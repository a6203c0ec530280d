"""``chargehorizon record``: what a service saw and decided, as a file, and planned again from it."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from api.cli_replay import TIMES
from optimizer.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from api.config import Configuration
    from connectors.storage.plan_store import RecordedStep
    from scenarios.record import StepComparison

EXIT_DIFFERENT = 1
"""The same settings gave another plan."""
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""What counts as no bound."""


def register(cli: typer.Typer) -> None:
    """Add the commands."""
    record = typer.Typer(help="What the service saw and decided, and what it would decide now.", no_args_is_help=True)
    record.command("export")(export_record)
    record.command("replay")(replay_record)
    cli.add_typer(record, name="record")


def export_record(
    config: Annotated[Path, typer.Option("--config", "-c", help="The service's configuration.", metavar="FILE")],
    out: Annotated[Path, typer.Argument(help="The record file to write; it is gzipped.", metavar="OUT.jsonl.gz")],
    start: Annotated[
        datetime | None, typer.Option("--start", help="First local day, or instant with its UTC offset.", formats=TIMES)
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--end", help="First local day after, or instant.", formats=TIMES)
    ] = None,
) -> None:
    """Write what the control loop saw and decided at each step; the service may be running."""
    # Imported here: `--help` and the small commands need neither solver nor database.
    from api.config import load_configuration
    from scenarios.record import write_record

    if not out.absolute().parent.is_dir():
        raise InvalidInput("OUT", str(out), f"make the folder {out.absolute().parent} first")
    configuration = load_configuration(config)
    zone = ZoneInfo(configuration.site.time_zone)
    at: list[datetime] = []
    missing = 0

    def usable() -> Iterator[RecordedStep]:
        nonlocal missing
        for step in _steps(configuration, _instant(start, zone, FIRST), _instant(end, zone, LAST)):
            if step is None:
                missing += 1
                continue
            at.append(step.seen.snapshot.at.astimezone(zone))
            yield step

    count = write_record(out, usable())
    if not count:
        raise NotFound("recorded step in this time of site", configuration.site.id)
    span = f"{at[0]:%Y-%m-%d %H:%M} to {at[-1]:%Y-%m-%d %H:%M}"
    typer.echo(f"{out}: {count} steps from {span}, {out.stat().st_size:,} bytes")
    if missing:
        typer.echo(f"{missing} older steps are left out: the plan before each of them is not kept any more")


def _instant(given: datetime | None, zone: ZoneInfo, otherwise: datetime) -> datetime:
    if given is None:
        return otherwise
    return (given if given.tzinfo is not None else given.replace(tzinfo=zone)).astimezone(UTC)


def _steps(configuration: Configuration, start: datetime, end: datetime) -> Iterator[RecordedStep | None]:
    """The recorded steps of a time, one after the other; ``None`` for one that cannot be planned again."""
    from connectors.storage.stores import plans_for_reading
    from optimizer.domain.ids import SiteId

    with asyncio.Runner() as runner:
        opened = AsyncExitStack()
        plans = runner.run(opened.enter_async_context(plans_for_reading(configuration.storage.url)))
        try:
            for plan_id in runner.run(plans.recorded_plans(SiteId(configuration.site.id), start, end)):
                yield runner.run(plans.recorded_step(plan_id))
        finally:
            runner.run(opened.aclose())


def replay_record(
    file: Annotated[Path, typer.Argument(help="A record file.", metavar="FILE")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another setting of the planner: planning.near_slots=1.", metavar="NAME=VALUE"),
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write sum and steps to this file.", metavar="OUT")
    ] = None,
    csv_path: Annotated[Path | None, typer.Option("--csv", help="Write one row a step.", metavar="OUT")] = None,
) -> None:
    """Plan every step of a record once more, and say what differs.

    With the settings of then, every plan must come out the same to the last bit; the exit code tells. With other
    settings, each step says what the plan would have been from what was known then.
    """
    from scenarios.record import plan_again, read_record

    for path in (json_path, csv_path):
        if path is not None and not path.absolute().parent.is_dir():
            raise InvalidInput("OUT", str(path), f"make the folder {path.absolute().parent} first")
    console = Console()
    settings = _changes(changes or [])
    rows: list[dict[str, Any]] = []
    unexplained: list[RecordedStep] = []
    currency = ""
    for comparison in _shown(console, (plan_again(step, settings) for step in read_record(file))):
        rows.append(comparison.as_json())
        currency = comparison.recorded.seen.snapshot.site.currency
        if not comparison.is_same and not comparison.is_changed:
            unexplained = unexplained or [comparison.recorded]
    if not rows:
        raise InvalidInput("FILE", str(file), "give a record with at least one step")
    console.print(_table(rows, currency))
    if json_path is not None:
        summary = {**_summary(rows), "changed": settings, "steps": rows}
        json_path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    if csv_path is not None:
        with csv_path.open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    if unexplained:
        _explain(console, unexplained[0], len(rows) - _summary(rows)["steps_same"])
        sys.exit(EXIT_DIFFERENT)


def _changes(given: list[str]) -> dict[str, Any]:
    """``planning.near_slots=1`` as name and value; values are written as in YAML."""
    import yaml

    changes = {}
    for text in given:
        name, sign, value = text.partition("=")
        section, _, field = name.strip().partition(".")
        if not sign or section != "planning" or not field:
            raise InvalidInput("--set", text, "write planning.NAME=VALUE, for example planning.near_slots=1")
        try:
            changes[field] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InvalidInput("--set", text, "write the value as in YAML") from error
    return changes


def _shown(console: Console, comparisons: Iterable[StepComparison]) -> Iterator[StepComparison]:
    """Count them on the screen as they come; none is kept."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(SpinnerColumn(), TextColumn("{task.completed} steps"), TimeElapsedColumn(), console=console) as shown:
        task = shown.add_task("planned again", total=None)
        for comparison in comparisons:
            shown.advance(task)
            yield comparison


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    differences = ("cost_difference", "peak_difference_kw", "unserved_difference_kwh", "first_power_difference_kw")
    return {
        "steps_planned": len(rows),
        "steps_same": sum(row["same"] for row in rows),
        "steps_cut_short": sum(row["cut_short"] for row in rows),
        **{f"mean_{name}": sum(row[name] for row in rows) / len(rows) for name in differences},
    }


def _table(rows: list[dict[str, Any]], currency: str) -> Table:
    summary = _summary(rows)
    table = Table(title=f"{rows[0]['at']:.16} to {rows[-1]['at']:.16} UTC", title_justify="left")
    table.add_column("planned again")
    table.add_column("", justify="right")
    table.add_row("steps", str(summary["steps_planned"]))
    table.add_row("the same plan to the last bit", str(summary["steps_same"]))
    table.add_row("a time limit cut the solver short", str(summary["steps_cut_short"]))
    table.add_section()
    table.add_row("mean difference of the plan's cost", f"{summary['mean_cost_difference']:+.4f} {currency}")
    table.add_row("of its peak", f"{summary['mean_peak_difference_kw']:+.3f} kW")
    table.add_row("of what targets miss", f"{summary['mean_unserved_difference_kwh']:+.3f} kWh")
    table.add_row("vehicles' power at once, moved", f"{summary['mean_first_power_difference_kw']:.3f} kW")
    return table


def _explain(console: Console, first: RecordedStep, count: int) -> None:
    """Say what may be the reason where the same settings gave another plan."""
    from scenarios.record import ground_of, ground_text

    recorded = ground_of(first.seen)
    now = json.loads(ground_text(recorded.settings))
    console.print(f"{count} steps give another plan with the same settings.", highlight=False)
    for name, then in (("version", recorded.version), ("solver", recorded.solver)):
        if now[name] != then:
            console.print(f"The record was made with {name} {then}; this is {now[name]}.", highlight=False)
