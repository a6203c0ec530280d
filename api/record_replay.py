"""A service's own past planned again: the same to the last bit, or the difference that other settings make."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from api.interrupts import interruptible
from optimizer.errors import InvalidInput
from scenarios.record import ground_of, ground_text
from scenarios.recorded_scenario import RecordedScenario

if TYPE_CHECKING:
    from rich.progress import Progress

    from connectors.storage.plan_store import RecordedStep

EXIT_DIFFERENT = 1
"""The same settings gave another plan."""


def replay_recorded(
    scenario: RecordedScenario, console: Console, json_path: Path | None, csv_path: Path | None
) -> bool:
    """Plan every step of a record once more, say what differs, and end the program where it may not.

    Returns:
        Whether it came to the end; where not, what was planned until then is told and written.
    """
    rows: list[dict[str, Any]] = []
    unexplained: list[RecordedStep] = []
    currency, is_complete = "", True
    with interruptible() as is_interrupted, _progress(console, scenario.step_count) as shown:
        for comparison in scenario.comparisons():
            rows.append(comparison.as_json())
            currency = comparison.recorded.seen.snapshot.site.currency
            if not comparison.is_same and not comparison.is_changed:
                unexplained = unexplained or [comparison.recorded]
            shown.advance(shown.task_ids[0])
            if is_interrupted():
                is_complete = False
                break
    if not rows:
        raise InvalidInput(
            "--start, --end", f"{scenario.start} to {scenario.end}", "name a time in which the record has a step"
        )
    console.print(_table(scenario, rows, currency))
    _write(scenario, rows, json_path, csv_path)
    if unexplained:
        _explain(console, unexplained[0], len(rows) - _summary(rows)["steps_same"])
        sys.exit(EXIT_DIFFERENT)
    if not scenario.changed:
        ground = f"version {version('chargehorizon')}, HiGHS {version('highspy')}"
        console.print(f"All {len(rows)} plans are the same as then, to the last bit ({ground}).", highlight=False)
    return is_complete


def _write(
    scenario: RecordedScenario, rows: list[dict[str, Any]], json_path: Path | None, csv_path: Path | None
) -> None:
    if json_path is not None:
        summary = {"scenario": scenario.name, **_summary(rows), "changed": scenario.changed, "steps": rows}
        json_path.write_text(json.dumps(summary, indent=2, default=str) + "\n", encoding="utf-8")
    if csv_path is not None:
        with csv_path.open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Progress]:
    """A bar over all steps with the time left."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), "steps", TimeElapsedColumn(), "left", TimeRemainingColumn())
    with Progress(*columns, console=console) as shown:
        shown.add_task("planned again", total=total)
        yield shown


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    differences = ("cost_difference", "peak_difference_kw", "unserved_difference_kwh", "first_power_difference_kw")
    return {
        "steps_planned": len(rows),
        "steps_same": sum(row["same"] for row in rows),
        "steps_cut_short": sum(row["cut_short"] for row in rows),
        **{f"mean_{name}": sum(row[name] for row in rows) / len(rows) for name in differences},
    }


def _table(scenario: RecordedScenario, rows: list[dict[str, Any]], currency: str) -> Table:
    summary = _summary(rows)
    table = Table(title=f"{scenario.name}: {rows[0]['at']:.16} to {rows[-1]['at']:.16} UTC", title_justify="left")
    table.add_column("planned again")
    table.add_column("", justify="right")
    for name, value in scenario.changed.items():
        table.add_row(name, str(value))
    if scenario.changed:
        table.add_section()
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
    recorded = ground_of(first.seen)
    now = json.loads(ground_text(recorded.settings))
    console.print(f"{count} steps give another plan with the same settings.", highlight=False)
    for name, then in (("version", recorded.version), ("solver", recorded.solver)):
        if now[name] != then:
            console.print(f"The record was made with {name} {then}; this is {now[name]}.", highlight=False)
