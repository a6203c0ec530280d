"""``chargehorizon scenario``: the scenarios that are shipped, the fields of such a file, and whether one is right."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli_replay import ScenarioFile, scenario_path


def register(cli: typer.Typer) -> None:
    """Add the commands."""
    scenario = typer.Typer(help="Scenario files: which there are, and what goes into one.", no_args_is_help=True)
    scenario.command("list")(list_scenarios)
    scenario.command("check")(check_scenario)
    scenario.command("fields")(print_fields)
    cli.add_typer(scenario, name="scenario")


def list_scenarios() -> None:
    """Name the scenarios that are shipped, with the file of each."""
    from scenarios.scenario_files import catalogue_names, catalogue_path, load_scenario

    for name in catalogue_names():
        scenario = load_scenario(catalogue_path(name))
        typer.echo(f"{name}\n    {scenario.name}: {scenario.description.strip()}\n    {catalogue_path(name)}")


def check_scenario(file: ScenarioFile) -> None:
    """Check a scenario file and the files that it names, and say what it holds."""
    from scenarios.recorded_scenario import is_record, load_recorded
    from scenarios.scenario_files import load_scenario

    path = scenario_path(file)
    if is_record(path):
        recorded = load_recorded(path)
        otherwise = ", ".join(f"{name} = {value}" for name, value in recorded.changed.items()) or "nothing"
        typer.echo(f"{path}: good. {recorded.step_count} recorded steps; otherwise than it was: {otherwise}.")
        return
    scenario = load_scenario(path)
    typer.echo(
        f"{path}: good. {len(scenario.stays)} stays at {len(scenario.site.evses)} EVSEs from "
        f"{scenario.start.isoformat()} to {scenario.end.isoformat()}, tariff {scenario.tariff.id!r}, "
        f"{len(scenario.reservations)} reservations, {len(scenario.grid_events)} grid events; "
        f"{len(scenario.set_aside)} rows of the recording were set aside."
    )
    for row in scenario.set_aside:
        typer.echo(f"  {row.where}: {row.session_id} {row.reason}")


def print_fields(
    *, short: Annotated[bool, typer.Option("--short", help="Leave the settings of control and planner out.")] = False
) -> None:
    """Print every field of a scenario file with its values, default and meaning, as Markdown."""
    from scenarios.scenario_reference import scenario_reference

    typer.echo(scenario_reference(with_settings=not short), nl=False)
