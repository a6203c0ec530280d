"""How far the service's plans are from the best: problems of a recorded day, each searched long by whole numbers.

Some problems of a replayed day are planned again twice: the fast way without any proof, and with all binaries for a
time that no service has, begun from there. What the long search finds and proves tells what was lost, and how much of
the certified gap was only the bound's.

    python -m scenarios.studies.optimality --every 20 --proof-s 30
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.resources import files
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from optimizer.domain.plan import Fallback, PlanOutcome, ProvenOptimal
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.solve import plan_charging
from scenarios.runner import run_course
from scenarios.scenario_files import load_scenario
from scenarios.strategies import MILP

SCENARIO = "acn_caltech_2019_08_28"
"""The day of the demo: a crowded garage with PV, most drivers wrong about when they leave."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One problem of the day."""

    at: datetime
    """When it was planned [UTC]."""
    sessions: int
    """Vehicles in it."""
    is_proven: bool
    """Whether the fast way proved its plan within the gap that is sought."""
    gap: float
    """Gap that the fast way certified, missed energy at its weight included, relative to money."""
    gap_left: float
    """The same after the long search."""
    unserved_kwh: float
    """Energy that the fast way's plan misses [kWh]."""
    unserved_less_kwh: float
    """How much less of it the long search's plan misses [kWh]."""
    money: float
    """What the fast way's plan costs [currency]."""
    money_less: float
    """How much less the long search's plan costs [currency]."""
    fast_s: float
    """Time of the fast way [s]."""


def compared(every: int, proof_s: float, *, hours: float | None = None, name: str = SCENARIO) -> Iterator[Compared]:
    """Replay a day and compare some of its plans with what a long search finds.

    Args:
        every: Of how many problems one is compared.
        proof_s: Time of the long search [s].
        hours: How much of the scenario; ``None``: all [h].
        name: Scenario of the catalogue.
    """
    folder = Path(str(files("scenarios"))) / "catalogue" / name
    scenario = load_scenario(folder / f"{name}.yaml")
    if hours is not None:
        scenario = scenario.between(scenario.start, scenario.start + (scenario.end - scenario.start) * (hours / 24.0))
    settings = replace(scenario.planning, proof_time_s=0.0, time_limit_s=60.0, reopen_time_s=20.0)
    problems: list[ChargingProblem] = []

    def note(problem: ChargingProblem, _: PlanOutcome) -> None:
        problems.append(problem)

    run_course(replace(scenario, planning=settings), MILP, on_plan=note)
    for problem in problems[every // 2 :: every]:
        yield _compare(problem, settings, proof_s)


def _compare(problem: ChargingProblem, settings: PlanningSettings, proof_s: float) -> Compared:
    fast = plan_charging(problem, settings)
    best = fast
    if not isinstance(fast, ProvenOptimal):
        best = plan_charging(problem, replace(settings, proof_time_s=proof_s, time_limit_s=60.0 + 2.0 * proof_s))
    unserved, money = _missed_kwh(fast), fast.plan.money
    return Compared(
        at=problem.now,
        sessions=problem.sessions.count,
        is_proven=isinstance(fast, ProvenOptimal),
        gap=_gap_of(fast),
        gap_left=_gap_of(best),
        unserved_kwh=unserved,
        unserved_less_kwh=unserved - _missed_kwh(best),
        money=money,
        money_less=money - best.plan.money,
        fast_s=fast.figures.total_s,
    )


def _gap_of(outcome: PlanOutcome) -> float:
    return 1.0 if isinstance(outcome, Fallback) else outcome.gap


def _missed_kwh(outcome: PlanOutcome) -> float:
    return sum(short.unserved_kwh for short in outcome.plan.shortfalls)


def table_of(rows: Sequence[Compared]) -> Table:
    """The rows for people."""
    table = Table(title="Fast plans and long searches", title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            f"{row.at:%H:%M}",
            str(row.sessions),
            f"{1000 * row.fast_s:.0f}",
            f"{row.gap:.2%}",
            f"{row.gap_left:.2%}",
            f"{row.unserved_kwh:.2f}",
            f"{row.unserved_kwh - row.unserved_less_kwh:.2f}",
            f"{row.money:.2f}",
            f"{row.money - row.money_less:.2f}",
        )
    return table


HEADINGS = (
    "UTC", "vehicles", "fast ms", "gap, fast", "gap, long", "missed kWh, fast", "missed kWh, long", "cost, fast",
    "cost, long",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare and tell."""
    parser = ArgumentParser(description="Compare the plans of a recorded day with long searches.")
    parser.add_argument("--every", type=int, default=20, help="of how many problems one is compared")
    parser.add_argument("--proof-s", type=float, default=30.0, help="time of the long search [s]")
    parser.add_argument("--hours", type=float, help="how much of the day [h]")
    chosen = parser.parse_args(arguments)
    rows = list(compared(chosen.every, chosen.proof_s, hours=chosen.hours))
    console = Console()
    console.print(table_of(rows))
    if rows:
        better = sum(row.unserved_less_kwh for row in rows) / max(sum(row.unserved_kwh for row in rows), 1e-3)
        console.print(
            f"{len(rows)} problems; median certified gap {np.median([row.gap for row in rows]):.2%}, "
            f"after the long search {np.median([row.gap_left for row in rows]):.2%}; "
            f"the long search misses {better:.2%} less energy"
        )


if __name__ == "__main__":
    main()
