"""What a replay of a month takes: processor time of every strategy and of both bounds, one after the other.

Processor time does not count the other work of a machine, but is not independent of it: caches and memory are shared.

    python -m scenarios.studies.replay_speed
    python -m scenarios.studies.replay_speed --strategies milp,least_laxity --json speed.json
    python -m scenarios.studies.replay_speed --site acn_jpl_2019_10 --days 7
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scenarios.offline_optimum import solve_offline
from scenarios.outcomes import Course
from scenarios.runner import run_course
from scenarios.scenario import Scenario
from scenarios.scenario_files import catalogue_path, load_scenario
from scenarios.strategies import checked_strategy, strategy_names

SITE = "acn_caltech_2019_03"


@dataclass(frozen=True, slots=True)
class SpeedRow:
    """What one replay took."""

    strategy: str
    """What planned."""
    plans: int
    """Plans made."""
    processor_s: float
    """Processor time of all [s]."""
    wall_s: float
    """Time on the wall [s]."""
    plan_s: float
    """Part of it from problem to plan, on the wall [s]."""

    @classmethod
    def of(cls, course: Course) -> SpeedRow:
        """The times of a course."""
        spent, solve_s = course.spent, course.planning.solve_s
        return cls(course.strategy, len(solve_s), spent.processor_s, spent.wall_s, sum(solve_s))


def measured(scenario: Scenario, strategies: Sequence[str]) -> Iterator[SpeedRow]:
    """Solve the offline optimum, then live through the scenario under each strategy."""
    yield SpeedRow.of(solve_offline(scenario))
    for name in strategies:
        yield SpeedRow.of(run_course(scenario, name))


def table_of(rows: Sequence[SpeedRow]) -> Table:
    """The rows for people."""
    table = Table("strategy", "plans", "processor time", "on the wall", "of it planning")
    for row in rows:
        times = (f"{seconds:.2f} s" for seconds in (row.processor_s, row.wall_s, row.plan_s))
        table.add_row(row.strategy.replace("_", " "), f"{row.plans:,}", *times)
    return table


def main(given: Sequence[str] | None = None) -> None:
    """Run the study from the command line."""
    parser = ArgumentParser(prog="python -m scenarios.studies.replay_speed", description=__doc__)
    parser.add_argument("--site", default=SITE, help="scenario of the catalogue")
    parser.add_argument("--strategies", default=",".join(strategy_names()), help="which, separated by commas")
    parser.add_argument("--days", type=int, help="only so many days from the start")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    arguments = parser.parse_args(given)
    names = [checked_strategy(name, "--strategies") for name in arguments.strategies.split(",")]
    scenario = load_scenario(catalogue_path(arguments.site))
    if arguments.days is not None:
        end = min(scenario.end, scenario.start + timedelta(days=arguments.days))
        scenario = scenario.between(scenario.start, end)
    rows = []
    for row in measured(scenario, names):
        rows.append(row)
        if arguments.json is not None:
            arguments.json.write_text(json.dumps([asdict(one) for one in rows], indent=1) + "\n", encoding="utf-8")
    Console(width=120).print(table_of(rows))


if __name__ == "__main__":
    main()
