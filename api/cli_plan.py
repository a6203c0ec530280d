"""``chargehorizon plan FILE``: plans one problem that a person has written down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from api.plan_views import OutcomeView, PlanView
from optimizer.domain.plan import BindingReason, Fallback, Plan, PlanOutcome, SessionPlan
from optimizer.errors import ChargeHorizonError, InvalidInput
from optimizer.planning.backends import MATRIX, plan_with
from scenarios.problem_files import StatedProblem, read_problem
from scenarios.problem_sections import ProblemFile

SHOWN_KW = 0.01
"""Powers that differ by less are shown as one run [kW]."""


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command()(plan)


def _show_schema(wanted: bool) -> None:
    if wanted:
        typer.echo(json.dumps(ProblemFile.model_json_schema(), indent=1))
        raise typer.Exit


def plan(
    file: Annotated[Path, typer.Argument(help="The problem, as JSON or YAML.", metavar="FILE")],
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write plan and outcome to this file.", metavar="FILE")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the plan into this file.", metavar="FILE")] = None,
    backend: Annotated[
        str, typer.Option(help="Who solves it: matrix, or pyomo:<solver> for any solver that Pyomo finds.")
    ] = MATRIX,
    time_limit: Annotated[
        float | None, typer.Option(help="Wall clock for the plan; left out: what the file says [s].")
    ] = None,
    *,
    _schema: Annotated[
        bool,
        typer.Option(
            "--schema", help="Print the JSON schema of such a file and leave.", is_eager=True, callback=_show_schema
        ),
    ] = False,
) -> None:
    """Plan the charging that a file describes, and say what each vehicle gets, when and why."""
    if time_limit is not None and not time_limit > 0:
        raise InvalidInput("--time-limit", time_limit, "give seconds above 0")
    stated = read_problem(file)
    settings = stated.settings if time_limit is None else replace(stated.settings, time_limit_s=time_limit)
    outcome = plan_with(stated.problem, settings, backend)
    console = Console()
    console.print(_charging(stated, outcome.plan))
    console.print(_missing(stated, outcome.plan) if outcome.plan.shortfalls else "Every target is met.")
    console.print(_summary(stated, outcome), highlight=False, soft_wrap=True)
    if json_path is not None:
        _write(json_path, stated, outcome)
    if plot is not None:
        # Imported here: a picture needs a library that a service does without.
        from scenarios.plan_picture import draw_plan

        draw_plan(stated, outcome.plan, plot)


@dataclass(frozen=True, slots=True)
class Run:
    """Slots in a row in which a vehicle draws the same, for the same reason."""

    start: datetime
    """From when [UTC]."""
    end: datetime
    """Until when [UTC]."""
    power_kw: float
    """Power [kW]."""
    energy_kwh: float
    """Energy [kWh]."""
    reason: BindingReason
    """What binds."""


def runs_of(session: SessionPlan, boundaries: tuple[datetime, ...]) -> Iterator[Run]:
    """The runs of a session's plan, one after the other."""
    first, slots = 0, len(session.power_kw)
    for slot in range(1, slots + 1):
        if slot < slots and _is_same(session, first, slot):
            continue
        energy_kwh = session.energy_kwh[slot] - session.energy_kwh[first]
        yield Run(boundaries[first], boundaries[slot], session.power_kw[first], energy_kwh, session.reasons[first])
        first = slot


def _is_same(session: SessionPlan, first: int, slot: int) -> bool:
    same_power = abs(session.power_kw[first] - session.power_kw[slot]) < SHOWN_KW
    return same_power and session.reasons[first] == session.reasons[slot]


def _charging(stated: StatedProblem, made: Plan) -> Table:
    table = Table(title="Charging", title_justify="left")
    for heading in ("vehicle", "from", "to", "kW", "kWh", "what binds"):
        table.add_column(heading, justify="right" if heading.startswith("kW") else "left")
    for session in made.sessions:
        for number, run in enumerate(runs_of(session, made.boundaries)):
            table.add_row(
                session.session_id if number == 0 else "",
                _clock(run.start, stated),
                _clock(run.end, stated),
                f"{run.power_kw:.2f}" if abs(run.power_kw) >= SHOWN_KW else "-",
                f"{run.energy_kwh:.2f}" if abs(run.power_kw) >= SHOWN_KW else "-",
                _told(run.reason),
            )
        table.add_section()
    return table


def _clock(instant: datetime, stated: StatedProblem) -> str:
    return f"{instant.astimezone(ZoneInfo(stated.time_zone)):%a %H:%M}"


def _told(reason: BindingReason) -> str:
    """A reason in words: what binds, where, and who set it."""
    text = reason.kind.value.replace("_", " ")
    place = ", ".join(str(part) for part in (reason.circuit_id, reason.phase) if part)
    source = f" ({reason.source.value.replace('_', ' ')})" if reason.source else ""
    return f"{text} {place}{source}".replace("  ", " ").strip()


def _missing(stated: StatedProblem, made: Plan) -> Table:
    table = Table(title="What is short", title_justify="left")
    for heading in ("vehicle", "by", "missing kWh", "of it unavoidable", "since"):
        table.add_column(heading, justify="right" if "kWh" in heading or "unavoidable" in heading else "left")
    for short in made.shortfalls:
        table.add_row(
            short.session_id,
            _clock(short.depart_at, stated),
            f"{short.unserved_kwh:.2f}",
            f"{short.unavoidable_kwh:.2f}",
            _clock(short.unavoidable_since, stated) if short.unavoidable_since else "",
        )
    return table


def _summary(stated: StatedProblem, outcome: PlanOutcome) -> str:
    made, figures = outcome.plan, outcome.figures
    lines = [f"cost {made.money:.2f} {stated.currency}, greatest import {max(made.grid_import_kw):.1f} kW"]
    if isinstance(outcome, Fallback):
        lines.append(f"made by the heuristic {outcome.heuristic}: {outcome.reason}")
    else:
        proven = "proven" if outcome.gap <= stated.settings.relative_gap else "time limit"
        lines.append(f"gap {outcome.gap:.3%} ({proven})")
    lines.append(
        f"{figures.rows} rows, {figures.columns} columns, {figures.solves} solves:"
        f" {figures.solve_s:.3f} s in the solver, {figures.total_s:.3f} s in all"
    )
    return "\n".join(lines)


def _write(path: Path, stated: StatedProblem, outcome: PlanOutcome) -> None:
    content = {
        "outcome": OutcomeView.of(outcome).model_dump(mode="json"),
        "plan": PlanView.of(outcome.plan, stated.currency).model_dump(mode="json"),
    }
    try:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ChargeHorizonError(f"cannot write {path}: {error.strerror}") from error
