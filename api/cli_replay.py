"""``chargehorizon replay`` and ``chargehorizon compare``: what a scenario would have cost, peaked at and delivered."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console

from api.interrupts import interruptible
from optimizer.errors import InvalidInput

if TYPE_CHECKING:
    from scenarios.replay import Runner
    from scenarios.scenario import Scenario

EXIT_INTERRUPTED = 130
"""What a shell expects of a command that Ctrl-C ended."""
STATES = Path(".chargehorizon")
"""Folder below the working directory in which replays that are going on are kept."""
TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"]


class Over(StrEnum):
    """What lies between control and the site."""

    MEMORY = "memory"
    OCPP = "ocpp"


ScenarioFile = Annotated[
    str, typer.Argument(help="A scenario file, or the name of a scenario of the catalogue.", metavar="FILE")
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Another value of a field: site.limit_kw=60, planning.near_slots=1.", metavar="NAME=VALUE"
    ),
]
Start = Annotated[
    datetime | None, typer.Option("--start", help="First local day, or instant with its UTC offset.", formats=TIMES)
]
End = Annotated[datetime | None, typer.Option("--end", help="First local day after, or instant.", formats=TIMES)]
Seed = Annotated[int | None, typer.Option("--seed", help="For everything drawn by chance.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.", metavar="OUT")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what was interrupted.")]


def register(cli: typer.Typer) -> None:
    """Add the commands."""
    cli.command("replay")(replay_scenario)
    cli.command("compare")(compare_strategies)


def replay_scenario(
    file: ScenarioFile,
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="milp, a heuristic or uncontrolled; left out: what the file names.")
    ] = None,
    start: Start = None,
    end: End = None,
    seed: Seed = None,
    changes: Changes = None,
    json_path: JsonFile = None,
    csv_path: Annotated[
        Path | None, typer.Option("--csv", help="Write one row a step here, one a stay beside it.", metavar="OUT")
    ] = None,
    report_path: Annotated[
        Path | None, typer.Option("--report", help="Write a page for people to this file.", metavar="OUT.html")
    ] = None,
    over: Annotated[
        Over, typer.Option("--over", help="memory: in lock-step; ocpp: over real websockets, on a fast clock.")
    ] = Over.MEMORY,
    speed: Annotated[
        float | None, typer.Option("--speed", help="With --over ocpp: how many times faster than real time.")
    ] = None,
    *,
    resume: Resume = False,
) -> None:
    """Replay a scenario: the service's own control against a simulated site, on a virtual clock.

    What `record export` wrote is planned again from what the service saw: with the same version every plan comes out
    the same to the last bit, the exit code tells; with other settings, each step says what the plan would have been.
    """
    # Imported here: `--help` and the small commands need neither solver nor scenarios.
    from api.replay_tables import replay_table, write_stays_csv, write_steps_csv
    from scenarios.recorded_scenario import is_record
    from scenarios.replay import replay
    from scenarios.strategies import checked_strategy

    console = Console()
    if is_record(scenario_path(file)):
        over_other = None if over is Over.MEMORY else over.value
        _refuse({"--seed": seed, "--report": report_path, "--over": over_other, "--resume": resume or None})
        _replay_recorded(Path(file), changes, strategy, (start, end), console, json_path, csv_path)
        return
    scenario = _scenario(file, start, end, seed, console, changes)
    name = checked_strategy(strategy or scenario.strategy, "--strategy")
    _check_targets(json=json_path, csv=csv_path, report=report_path)
    state, runner = _state_file(scenario, name), _runner(over, speed)
    if resume and over is Over.MEMORY:
        _tell_what_is_kept(console, [state])
    with _progress(console) as (on_progress, is_interrupted):
        result = replay(
            scenario,
            name,
            on_progress=lambda share: on_progress(name, share),
            is_interrupted=is_interrupted,
            kept_in=state,
            resume=resume,
            runner=runner,
        )
    console.print(replay_table(result))
    if json_path is not None:
        json_path.write_text(json.dumps(result.as_json(), indent=2) + "\n", encoding="utf-8")
    if csv_path is not None:
        write_steps_csv(result, csv_path)
        write_stays_csv(result, csv_path.with_name(f"{csv_path.stem}_stays{csv_path.suffix}"))
    if report_path is not None:
        from scenarios.report import report_page

        report_path.write_text(report_page(result), encoding="utf-8")
    _end(console, [state] if over is Over.MEMORY else [], is_complete=result.course.is_complete)


def _refuse(given: Mapping[str, object]) -> None:
    """Refuse options that mean nothing for a record: everything in it has happened, and nothing is lived through."""
    for option, value in given.items():
        if value is not None:
            raise InvalidInput(option, value, "leave it out: a record is planned again, and nothing of it is simulated")


def _replay_recorded(
    path: Path,
    changes: list[str] | None,
    strategy: str | None,
    window: tuple[datetime | None, datetime | None],
    console: Console,
    json_path: Path | None,
    csv_path: Path | None,
) -> None:
    from api.record_replay import replay_recorded
    from scenarios.recorded_scenario import load_recorded
    from scenarios.strategies import checked_strategy
    from scenarios.variations import read_changes

    _check_targets(json=json_path, csv=csv_path)
    point = read_changes(changes or [])
    if strategy is not None:
        point["strategy"] = checked_strategy(strategy, "--strategy")
    scenario = load_recorded(path, point)
    zone = ZoneInfo(scenario.time_zone)
    first, last = (None if one is None else in_zone(one, zone) for one in window)
    is_complete = replay_recorded(scenario.between(first, last), console, json_path, csv_path)
    _end(console, [], is_complete=is_complete)


def _runner(over: Over, speed: float | None) -> Runner:
    """What lives through the scenario."""
    if over is Over.MEMORY:
        from scenarios.runner import run_course

        if speed is not None:
            raise InvalidInput("--speed", speed, "give it with --over ocpp; in lock-step nothing waits for a clock")
        return run_course
    from api.logs import configure_logging
    from scenarios.ocpp_replay import DEFAULT_SPEED, run_over_ocpp

    configure_logging("error", "console")
    return partial(run_over_ocpp, speed=DEFAULT_SPEED if speed is None else speed)


def compare_strategies(
    file: ScenarioFile,
    strategies: Annotated[
        str, typer.Option("--strategies", help="Which, separated by commas; left out: the MILP and every heuristic.")
    ] = "",
    start: Start = None,
    end: End = None,
    seed: Seed = None,
    changes: Changes = None,
    json_path: JsonFile = None,
    csv_path: Annotated[
        Path | None, typer.Option("--csv", help="Write one row a strategy to this file.", metavar="OUT")
    ] = None,
    *,
    resume: Resume = False,
) -> None:
    """Replay a scenario under several strategies, beside the offline optimum and no control at all."""
    from api.replay_tables import comparison_table, write_comparison_csv
    from scenarios.replay import compare
    from scenarios.strategies import checked_strategy, strategy_names

    console = Console()
    scenario = _scenario(file, start, end, seed, console, changes)
    names = [name.strip() for name in strategies.split(",") if name.strip()] or list(strategy_names())
    for name in names:
        checked_strategy(name, "--strategies")
    _check_targets(json=json_path, csv=csv_path)
    if resume:
        _tell_what_is_kept(console, [_state_file(scenario, name) for name in names])
    with _progress(console) as (on_progress, is_interrupted):
        results = compare(
            scenario,
            names,
            on_progress=on_progress,
            is_interrupted=is_interrupted,
            kept_in=lambda name: _state_file(scenario, name),
            resume=resume,
        )
    console.print(comparison_table(results))
    if json_path is not None:
        figures = {name: result.as_json() for name, result in results.items()}
        json_path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if csv_path is not None:
        write_comparison_csv(results, csv_path)
    is_complete = all(result.course.is_complete for result in results.values())
    _end(console, [_state_file(scenario, name) for name in names], is_complete=is_complete)


# ---------------------------------------------------------------------- what both need


def _scenario(
    file: str,
    start: datetime | None,
    end: datetime | None,
    seed: int | None,
    console: Console,
    texts: list[str] | None,
) -> Scenario:
    from scenarios.scenario_files import load_scenario
    from scenarios.variations import changes_of, read_changes

    path = scenario_path(file)
    changes = changes_of(path, read_changes(texts or []))
    if seed is not None:
        changes["seed"] = seed
    scenario = load_scenario(path, changes)
    if scenario.set_aside:
        console.print(_set_aside_text(scenario), highlight=False, soft_wrap=True)
    if start is None and end is None:
        return scenario
    return scenario.between(*replayed_window(start, end, scenario))


def scenario_path(file: str) -> Path:
    """The file of a scenario that is named by its path, or by its name in the catalogue."""
    from scenarios.scenario_files import catalogue_path

    path = Path(file)
    return catalogue_path(file) if not path.exists() and path.suffix == "" and len(path.parts) == 1 else path


def replayed_window(start: datetime | None, end: datetime | None, scenario: Scenario) -> tuple[datetime, datetime]:
    """First and last instant to replay [UTC].

    Raises:
        InvalidInput: They are outside the scenario, out of order, or between two steps.
    """
    first = _instant("--start", start, scenario) if start is not None else scenario.start
    last = _instant("--end", end, scenario) if end is not None else scenario.end
    if last <= first:
        raise InvalidInput("--end", last.isoformat(), f"must be after {first.isoformat()}")
    return first, last


def _set_aside_text(scenario: Scenario) -> str:
    reasons = [f"  {row.where}: {row.session_id} {row.reason}" for row in scenario.set_aside[:5]]
    more = [f"  and {len(scenario.set_aside) - 5} more"] if len(scenario.set_aside) > 5 else []
    return "\n".join([f"{len(scenario.set_aside)} rows of the recording were set aside:", *reasons, *more])


def _instant(option: str, given: datetime, scenario: Scenario) -> datetime:
    """A day begins at local midnight; an instant is taken as it stands [UTC]."""
    instant = in_zone(given, ZoneInfo(scenario.site.time_zone))
    if not scenario.start <= instant <= scenario.end:
        fix = f"the scenario goes from {scenario.start.isoformat()} to {scenario.end.isoformat()}"
        raise InvalidInput(option, given.isoformat(), fix)
    if (instant - scenario.start) % scenario.step:
        raise InvalidInput(option, given.isoformat(), f"give a whole step of {scenario.step} since the start")
    return instant


def in_zone(given: datetime, zone: ZoneInfo) -> datetime:
    """An instant as it was given, or where it was given without offset, that time at the site [UTC]."""
    return (given if given.tzinfo is not None else given.replace(tzinfo=zone)).astimezone(UTC)


def _tell_what_is_kept(console: Console, states: list[Path]) -> None:
    """Who asks to go on and cannot should know that it begins anew."""
    if not any(state.exists() for state in states):
        console.print("Nothing of this was interrupted here: it begins at the start.", highlight=False)


def _check_targets(*, json: Path | None, csv: Path | None, report: Path | None = None) -> None:
    from scenarios.targets import check_target

    for option, path in {"--json": json, "--csv": csv, "--report": report}.items():
        check_target(option, path)


def _state_file(scenario: Scenario, strategy: str) -> Path:
    span = f"{scenario.start:%Y%m%dT%H%M}-{scenario.end:%Y%m%dT%H%M}"
    return STATES / f"{scenario.fingerprint[:16]}-{span}-{strategy}.state"


@contextmanager
def _progress(console: Console) -> Iterator[tuple[Callable[[str, float], None], Callable[[], bool]]]:
    """A bar for each strategy with the time left, and Ctrl-C that ends the replay at its next step."""
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bars: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with interruptible() as is_interrupted, Progress(*columns, *times, console=console) as shown:

        def on_progress(strategy: str, share: float) -> None:
            if strategy not in bars:
                bars[strategy] = shown.add_task(strategy.replace("_", " "), total=1.0)
            shown.update(bars[strategy], completed=share)

        yield on_progress, is_interrupted


def _end(console: Console, states: list[Path], *, is_complete: bool) -> None:
    if not is_complete:
        goes_on = "; --resume goes on" if states else ""
        console.print(f"Interrupted: the figures are of what was replayed so far{goes_on}.", highlight=False)
        sys.exit(EXIT_INTERRUPTED)
    for state in states:
        state.unlink(missing_ok=True)
