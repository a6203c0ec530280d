"""``chargehorizon record``: what a service saw and decided, as a scenario that `chargehorizon replay` plans again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from api.cli_replay import TIMES, in_zone
from optimizer.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from api.config import Configuration
    from connectors.storage.plan_store import RecordedStep

FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""What counts as no bound."""


def register(cli: typer.Typer) -> None:
    """Add the commands."""
    record = typer.Typer(help="What the service saw and decided, as a scenario.", no_args_is_help=True)
    record.command("export")(export_record)
    cli.add_typer(record, name="record")


def export_record(
    config: Annotated[Path, typer.Option("--config", "-c", help="The service's configuration.", metavar="FILE")],
    out: Annotated[
        Path, typer.Argument(help="The scenario to write; the steps go beside it, gzipped.", metavar="OUT.yaml")
    ],
    start: Annotated[
        datetime | None, typer.Option("--start", help="First local day, or instant with its UTC offset.", formats=TIMES)
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--end", help="First local day after, or instant.", formats=TIMES)
    ] = None,
) -> None:
    """Write what the control loop saw and decided at each step, as a scenario to replay; the service may be running."""
    # Imported here: `--help` and the small commands need neither solver nor database.
    from api.config import load_configuration
    from scenarios.record import write_record
    from scenarios.recorded_scenario import write_scenario
    from scenarios.targets import check_target

    if out.suffix not in (".yaml", ".yml"):
        raise InvalidInput("OUT", str(out), "name a scenario file, for example week.yaml")
    check_target("OUT", out)
    configuration = load_configuration(config)
    zone = ZoneInfo(configuration.site.time_zone)
    first = FIRST if start is None else in_zone(start, zone)
    last = LAST if end is None else in_zone(end, zone)
    at: list[datetime] = []
    missing = 0

    def usable() -> Iterator[RecordedStep]:
        nonlocal missing
        for step in _steps(configuration, first, last):
            if step is None:
                missing += 1
                continue
            at.append(step.seen.snapshot.at.astimezone(zone))
            yield step

    steps_file = out.with_suffix(".jsonl.gz")
    count = write_record(steps_file, usable())
    if not count:
        raise NotFound("recorded step in this time of site", configuration.site.id)
    span = f"{at[0]:%Y-%m-%d %H:%M} to {at[-1]:%Y-%m-%d %H:%M}"
    write_scenario(out, steps_file, configuration.site.name or configuration.site.id, span)
    typer.echo(f"{out}: {count} steps from {span}, which stand in {steps_file} ({steps_file.stat().st_size:,} bytes)")
    if missing:
        typer.echo(f"{missing} older steps are left out: the plan before each of them is not kept any more")


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
