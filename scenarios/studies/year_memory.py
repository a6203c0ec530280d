"""What a replay of a year holds in memory, four weeks after four weeks.

The first four weeks of a catalogue scenario are lived through thirteen times on end, as one replay with one state: 364
days. What is told at the end of each four weeks is the memory of the process, garbage collected.

    python -m scenarios.studies.year_memory
    python -m scenarios.studies.year_memory --site acn_jpl_2019_10 --strategy equal_share --json memory.json
"""

from __future__ import annotations

import gc
import json
import resource
from argparse import ArgumentParser
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from time import process_time

from rich.console import Console
from rich.table import Table

from scenarios.runner import run_course
from scenarios.scenario import Scenario, Stay
from scenarios.scenario_files import catalogue_path, load_scenario

SITE = "acn_caltech_2019_03"
STRATEGY = "least_laxity"
ROUND = timedelta(days=28)
"""Whole weeks, so that working days stay working days."""
ROUNDS = 13


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """The process at the end of one round."""

    days: int
    """Days replayed so far."""
    memory_mib: float
    """Memory of the process, garbage collected [MiB]."""
    processor_s: float
    """Processor time of the round [s]."""


def repeated(scenario: Scenario, rounds: int) -> Scenario:
    """The first four weeks of a scenario, ``rounds`` times on end."""
    first = [stay for stay in scenario.stays if stay.session.arrived_at < scenario.start + ROUND]
    stays = [shifted(stay, number) for number in range(rounds) for stay in first]
    return replace(scenario, end=scenario.start + rounds * ROUND, stays=tuple(stays))


def shifted(stay: Stay, number: int) -> Stay:
    """A stay ``number`` rounds later."""
    later, session = number * ROUND, stay.session
    told = tuple(
        replace(
            one,
            at=one.at + later,
            targets=tuple(replace(target, depart_at=target.depart_at + later) for target in one.targets),
        )
        for one in stay.told
    )
    moved = replace(
        session,
        id=f"{session.id}-{number}",
        arrived_at=session.arrived_at + later,
        departed_at=session.departed_at + later,
    )
    return replace(stay, session=moved, told=told)


def memory_mib() -> float:
    """Memory of this process, garbage collected [MiB]."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def memory_over(scenario: Scenario, strategy: str, rounds: int) -> list[MemoryRow]:
    """Replay a scenario for some rounds and tell what the process held at the end of each."""
    rows: list[MemoryRow] = []
    begun_s = process_time()

    def look(share: float) -> None:
        nonlocal begun_s
        if share * rounds >= len(rows) + 1:
            held_mib = memory_mib()
            rows.append(MemoryRow((len(rows) + 1) * ROUND.days, held_mib, process_time() - begun_s))
            begun_s = process_time()

    run_course(repeated(scenario, rounds), strategy, on_progress=look)
    return rows


def main() -> None:
    """Replay and print."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--site", default=SITE, help="scenario of the catalogue")
    parser.add_argument("--strategy", default=STRATEGY)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="times four weeks")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    told = parser.parse_args()
    rows = memory_over(load_scenario(catalogue_path(told.site)), told.strategy, told.rounds)
    table = Table("days", "memory MiB", "processor s", title=f"{told.site}, {told.strategy}")
    for row in rows:
        table.add_row(str(row.days), f"{row.memory_mib:.1f}", f"{row.processor_s:.1f}")
    Console().print(table)
    if told.json:
        told.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
