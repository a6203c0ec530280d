"""How many slots must be planned in powers that can be sent: recorded days lived through with each number.

A plan is sent for its first slot and a new one made before that ends, so later slots need not be in whole amperes. What
is near costs solver time and may cost money; what is not may be sent as something else than was planned. The days are
replayed with the service's own control, the stations in the loop; only the number differs.

    python -m scenarios.studies.near_slots --slots 0,1,2,4,8 --json near_slots.json
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from importlib.resources import files
from pathlib import Path
from time import process_time
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table

from scenarios.metrics import figures_of
from scenarios.runner import run_course
from scenarios.scenario import Scenario
from scenarios.scenario_files import load_scenario
from scenarios.strategies import MILP

COUNTS = (0, 1, 2, 4, 8)
"""Numbers of near slots that are compared."""

DAYS = (("acn_caltech_2019_03", date(2019, 3, 13)), ("trondheim_garage_2019_08", date(2019, 8, 28)))
"""Scenarios of the catalogue and a busy working day of each."""

NO_HURRY_S = 60.0
"""Time limit of a plan, so that what else the machine does decides nothing [s]."""


@dataclass(frozen=True, slots=True)
class StudyRow:
    """What a day came to with one number of near slots."""

    scenario: str
    """Which scenario."""
    day: date
    """Which local day."""
    near_slots: int
    """How many slots were near."""
    total_cost: float
    """The day's bill, demand charge included [currency]."""
    peak_kw: float
    """Highest import [kW]."""
    requested_kwh: float
    """Energy that the vehicles are known to take [kWh]."""
    unserved_kwh: float
    """Of that, what they did not get [kWh]."""
    setpoint_changes: int
    """Limits that stations were sent."""
    pauses: int
    """Times that a charging vehicle was interrupted."""
    limit_violations: int
    """Stretches above a limit."""
    plans: int
    """Plans made."""
    fallbacks: int
    """Plans that a heuristic had to make."""
    processor_s: float
    """Processor time of the whole replay: control, stations and physics cost the same with any number [s]."""


def studied(
    counts: Sequence[int] = COUNTS,
    days: Sequence[tuple[str, date]] | None = None,
    *,
    hours: float = 24.0,
    on_row: Callable[[StudyRow], None] = lambda _: None,
) -> Iterator[StudyRow]:
    """Live through each day with each number of near slots.

    Args:
        counts: Numbers of near slots.
        days: Names of scenarios of the catalogue, each with a local day; ``None``: those of the study.
        hours: How much of each day, from midnight [h].
        on_row: Is told each row.
    """
    for name, day in DAYS if days is None else days:
        scenario = _day_of(name, day, hours)
        for near_slots in counts:
            row = _lived(scenario, name, day, near_slots)
            on_row(row)
            yield row


def _day_of(name: str, day: date, hours: float) -> Scenario:
    folder = Path(str(files("scenarios"))) / "catalogue" / name
    scenario = load_scenario(folder / f"{name}.yaml")
    begin = datetime.combine(day, time(0), ZoneInfo(scenario.site.time_zone)).astimezone(UTC)
    return scenario.between(begin, begin + timedelta(hours=hours))


def _lived(scenario: Scenario, name: str, day: date, near_slots: int) -> StudyRow:
    # Proofs would hide what the fast way leaves, and take what time the machine has.
    planning = replace(scenario.planning, near_slots=near_slots, proof_time_s=0.0, time_limit_s=NO_HURRY_S)
    scenario = replace(scenario, planning=replace(planning, reopen_time_s=NO_HURRY_S))
    begun_s = process_time()
    course = run_course(scenario, MILP)
    processor_s = process_time() - begun_s
    figures = figures_of(course, scenario)
    return StudyRow(
        scenario=name,
        day=day,
        near_slots=near_slots,
        total_cost=float(figures.bill.total_cost),
        peak_kw=float(figures.bill.peak_kw),
        requested_kwh=figures.requested_kwh,
        unserved_kwh=figures.unserved_kwh,
        setpoint_changes=figures.setpoint_changes,
        pauses=figures.pauses,
        limit_violations=figures.limit_violations,
        plans=figures.solves,
        fallbacks=figures.fallbacks,
        processor_s=processor_s,
    )


HEADINGS = (
    "scenario", "day", "near slots", "cost", "peak kW", "unserved kWh", "limits sent", "pauses", "violations", "plans",
    "fallbacks", "ms a plan",
)  # fmt: skip


def table_of(rows: Sequence[StudyRow]) -> Table:
    """The rows for people."""
    table = Table(title="Near slots", title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in ("scenario", "day") else "right")
    for row in rows:
        table.add_row(
            row.scenario,
            row.day.isoformat(),
            str(row.near_slots),
            f"{row.total_cost:.2f}",
            f"{row.peak_kw:.1f}",
            f"{row.unserved_kwh:.1f} of {row.requested_kwh:.0f}",
            str(row.setpoint_changes),
            str(row.pauses),
            str(row.limit_violations),
            str(row.plans),
            str(row.fallbacks),
            f"{1000 * row.processor_s / max(row.plans, 1):.0f}",
        )
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the study and tell what came of it."""
    parser = ArgumentParser(description="Replay recorded days with several numbers of near slots.")
    parser.add_argument("--slots", default=",".join(map(str, COUNTS)), help="numbers of near slots, with commas")
    parser.add_argument("--hours", type=float, default=24.0, help="how much of each day [h]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    chosen = parser.parse_args(arguments)
    counts = [int(part) for part in chosen.slots.split(",")]
    console = Console()
    rows = list(
        studied(
            counts,
            hours=chosen.hours,
            on_row=lambda row: console.print(f"{row.scenario}, {row.near_slots} near slots: {row.total_cost:.2f}"),
        )
    )
    console.print(table_of(rows))
    if chosen.json is not None:
        content = [{**asdict(row), "day": row.day.isoformat()} for row in rows]
        chosen.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
