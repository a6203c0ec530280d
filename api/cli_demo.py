"""``chargehorizon demo``: the real service, virtual stations beside it, and a real day of a garage, in minutes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from api.config import AcceleratedClockSection, load_configuration
from api.demo_configuration import DemoFolder, remember, write_demo
from api.demo_report import as_json, print_report
from api.live_view import LiveView
from connectors.clock import AcceleratedClock, wall_time
from connectors.prices.price_files import FilePriceSource, read_prices
from connectors.prices.tariff_files import read_tariff
from optimizer.domain.site import Site
from optimizer.domain.tariff import Tariff
from optimizer.errors import ChargeHorizonError, InvalidInput
from scenarios.day_picture import draw_day
from scenarios.garage import DAY_END, DAY_START, GarageDay, garage_day
from scenarios.live_day import DayReport, LiveDay
from scenarios.service_client import ServiceClient

DEFAULT_SPEED = 480.0
FASTEST = 1500.0
# The service is up within a few seconds; the day begins when it is.
LEAD = timedelta(seconds=6)
READY_WITHIN_S = 60.0
LOOK_EVERY_S = 0.5
STOP_WITHIN_S = 10.0
LOG_LINES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose."""

    speed: float
    """Seconds of the day in one second of the wall."""
    stay: bool
    """Whether the service goes on after the day."""
    plot: Path | None
    """Where to draw the day."""
    json_path: Path | None
    """Where to write the figures."""


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command()(demo)


def demo(
    speed: Annotated[float, typer.Option(help="How many times faster than real time.")] = DEFAULT_SPEED,
    prices: Annotated[
        Path | None, typer.Option(help="Day-ahead prices (CSV) instead of the time-of-use tariff.", metavar="FILE")
    ] = None,
    zone: Annotated[str | None, typer.Option(help="Which zone of the price file, where it holds several.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Keep configuration, database and log here.", metavar="FOLDER")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the day into this file.", metavar="FILE")] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file.", metavar="FILE")
    ] = None,
    *,
    stay: Annotated[bool, typer.Option("--stay", help="Keep the service running after the day.")] = False,
) -> None:
    """Live through a real day of a garage with 36 charging stations and see what control saves."""
    if not 1 <= speed <= FASTEST:
        raise InvalidInput("--speed", speed, f"give a number from 1 to {FASTEST:g}")
    if prices is not None and not prices.is_file():
        raise InvalidInput("--prices", str(prices), "give a price file that exists")
    day = garage_day()
    options = Options(speed, stay, plot, json_path)
    with _folder(folder) as place:
        written = write_demo(
            place,
            day,
            speed=speed,
            wall_start=wall_time() + LEAD,
            ports=free_ports(),
            prices_file=prices,
            prices_zone=zone,
        )
        remember(written)
        failed = _run(_live(written, day, options, Console()))
    sys.exit(1 if failed else 0)


def _run(living: Coroutine[None, None, bool]) -> bool:
    """Run to the end, or until SIGTERM; either way the service is stopped in good order."""

    async def until_told() -> bool:
        task = asyncio.ensure_future(living)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await task

    try:
        return asyncio.run(until_told())
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)
    except ExceptionGroup as group:
        # Of the tasks that run side by side, the first that failed stopped the others.
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if isinstance(first, ChargeHorizonError):
            raise first from group
        raise


@contextmanager
def _folder(chosen: Path | None) -> Iterator[Path]:
    if chosen is None:
        with tempfile.TemporaryDirectory(prefix="chargehorizon-demo-") as made:
            yield Path(made)
        return
    if (chosen / "chargehorizon.sqlite").exists():
        raise InvalidInput("--folder", str(chosen), "name an empty or new folder: this one holds an earlier demo")
    yield chosen


def free_ports() -> tuple[int, int]:
    """Two ports of the loopback that nobody uses now."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


async def _live(written: DemoFolder, day: GarageDay, options: Options, console: Console) -> bool:
    """Run service, stations and picture; returns whether a check failed."""
    configuration = load_configuration(written.configuration)
    if not isinstance(configuration.clock, AcceleratedClockSection):
        raise ChargeHorizonError("the demo's configuration has no accelerated clock")
    clock = AcceleratedClock(
        configuration.clock.simulated_start, configuration.clock.wall_start, configuration.clock.speed
    )
    tariff = await _tariff(written)
    site = configuration.site.to_site(tariff.id)
    console.print(
        f"{site.name}: {len(day.sessions)} cars at {len(site.stations)} stations, half of them OCPP 1.6J, half 2.0.1.\n"
        f"The service answers at {written.http_url}; one second here is {options.speed / 60:g} minutes there.",
        highlight=False,
    )
    async with serving(written) as process, ServiceClient(written.http_url, written.api_key) as client:
        await until_ready(client, process, written)
        report = await _play(LivingDay(site, day, tariff, clock, client, written), process, options, console)
        failed = _tell(report, tariff, site, options, console)
        if options.stay:
            await _stay(written, process, console)
    return failed


@dataclass(frozen=True, slots=True)
class LivingDay:
    """All that the day needs."""

    site: Site
    """What stands there."""
    day: GarageDay
    """The recording."""
    tariff: Tariff
    """What the site pays."""
    clock: AcceleratedClock
    """The service's clock."""
    client: ServiceClient
    """Speaks to the service."""
    written: DemoFolder
    """Where everything is."""


async def _play(
    living: LivingDay, process: asyncio.subprocess.Process, options: Options, console: Console
) -> DayReport:
    caption = f"{options.speed:g} times faster than real time; the recording is of 2019, see NOTICE"
    with LiveView(console, caption) as view:
        day = LiveDay(living.site, living.day, living.tariff, living.clock, living.client, view.note)
        playing = asyncio.create_task(day.play(living.written.ocpp_url))
        showing = asyncio.create_task(_show(living, view))
        dying = asyncio.create_task(process.wait())
        try:
            await asyncio.wait({playing, dying, showing}, return_when=asyncio.FIRST_COMPLETED)
            if not playing.done() and dying.done():
                raise ChargeHorizonError(f"the service ended by itself:\n{_log_tail(living.written)}")
            if showing.done():
                showing.result()
            return await playing
        finally:
            for task in (playing, showing, dying):
                task.cancel()
            await asyncio.gather(playing, showing, dying, return_exceptions=True)


async def _show(living: LivingDay, view: LiveView) -> None:
    while True:
        view.show(await living.client.get(f"/v1/sites/{living.site.id}"))
        await asyncio.sleep(LOOK_EVERY_S)


def _tell(report: DayReport, tariff: Tariff, site: Site, options: Options, console: Console) -> bool:
    print_report(report, console)
    if options.json_path is not None:
        options.json_path.write_text(json.dumps(as_json(report), indent=2) + "\n", encoding="utf-8")
    if options.plot is not None:
        draw_day(report, tariff.import_prices(DAY_START, DAY_END), site.time_zone, options.plot)
        console.print(f"The picture of the day is in {options.plot}.", highlight=False)
    return bool(report.failed_checks())


async def _tariff(written: DemoFolder) -> Tariff:
    """The tariff as the service has it, market prices of the day included."""
    tariff = read_tariff(written.folder / "tariff.yaml")
    if not tariff.market_priced:
        return tariff
    source = FilePriceSource(read_prices(written.folder / "prices.csv"))
    return replace(tariff, market=await source.prices(DAY_START, DAY_END))


# ---------------------------------------------------------------------- the service's process


@asynccontextmanager
async def serving(written: DemoFolder) -> AsyncIterator[asyncio.subprocess.Process]:
    """The service in a process of its own; stopped in good order at the end."""
    process = await start_service(written)
    try:
        yield process
    finally:
        await stop_service(process)


async def start_service(written: DemoFolder) -> asyncio.subprocess.Process:
    """Start ``chargehorizon serve`` with the demo's configuration; its log goes into the folder.

    It ends with the pipe that this process holds, also where this process is killed.
    """
    with (written.folder / "service.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "api",
            "serve",
            "--config",
            str(written.configuration),
            "--while-stdin-open",
            stdin=asyncio.subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )


async def stop_service(process: asyncio.subprocess.Process) -> None:
    """Ask the service to stop, and insist after a while."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
    except TimeoutError:
        process.kill()
        await process.wait()


async def until_ready(client: ServiceClient, process: asyncio.subprocess.Process, written: DemoFolder) -> None:
    """Wait until the service has planned.

    Raises:
        ChargeHorizonError: It ended, or took too long; the end of its log says why.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + READY_WITHIN_S
    while not await client.is_ready():
        if process.returncode is not None or loop.time() > give_up_at:
            raise ChargeHorizonError(f"the service does not become ready:\n{_log_tail(written)}")
        await asyncio.sleep(0.1)


def _log_tail(written: DemoFolder) -> str:
    lines = (written.folder / "service.log").read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-LOG_LINES_SHOWN:])


async def _stay(written: DemoFolder, process: asyncio.subprocess.Process, console: Console) -> None:
    console.print(
        f"\nThe service keeps running at {written.http_url}; stop it with Ctrl-C. For example:\n"
        f"  curl -H 'Authorization: Bearer {written.api_key}' {written.http_url}/v1/energy-cost-records",
        highlight=False,
        soft_wrap=True,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    waiting = asyncio.create_task(stop.wait())
    dying = asyncio.create_task(process.wait())
    await asyncio.wait({waiting, dying}, return_when=asyncio.FIRST_COMPLETED)
    for task in (waiting, dying):
        task.cancel()
