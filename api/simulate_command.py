"""``chargehorizon stations simulate``: virtual stations, with cars that come and go, at any central system."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import ssl
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from aiohttp import ClientSession, TCPConnector
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.live import Live
from rich.table import Table

from api.logs import configure_logging
from api.schemas import Instant
from connectors.clock import AcceleratedClock, wall_time
from connectors.sections import first_of, section_errors
from optimizer.domain.ids import StationId
from optimizer.errors import ChargeHorizonError, InvalidInput
from scenarios.fleet import Fleet, FleetCounts, FleetPlan, fleet_settings
from scenarios.garage import garage_day
from scenarios.scenario_sections import VehicleKindSection
from scenarios.station_settings import Misbehaviour, OcppVersion
from scenarios.vehicle_kinds import ANY_CAR, VehicleKind
from scenarios.virtual_station import CentralSystem

LOOK_EVERY_S = 0.5
_INSTANT: TypeAdapter[datetime] = TypeAdapter(Instant)
SCHEMES = ("ws://", "wss://", "http://", "https://")


@dataclass(frozen=True, slots=True)
class Keys:
    """How the stations prove who they are."""

    passwords: dict[StationId, str]
    """Passwords of stations that have one of their own."""
    password: str
    """Password of all others; empty: none."""
    tls: dict[StationId, ssl.SSLContext]
    """TLS of stations that have a certificate of their own."""
    trust: ssl.SSLContext | None
    """TLS of all others; ``None``: what the system trusts."""


def simulate(
    url: Annotated[
        str, typer.Argument(help="Central system without station id, for example ws://127.0.0.1:9000/ocpp.")
    ],
    count: Annotated[
        int | None, typer.Option(help="How many stations; left out: one for each --name, else 10.")
    ] = None,
    name: Annotated[list[str] | None, typer.Option(help="Name of a station; again for each.")] = None,
    prefix: Annotated[str, typer.Option(help="What names begin with that are not given.")] = "SIM-",
    version: Annotated[
        list[OcppVersion] | None, typer.Option(help="Version of OCPP; again for several, dealt out in turn.")
    ] = None,
    misbehaviour: Annotated[
        list[Misbehaviour] | None, typer.Option(help="Misbehaviour by name; again for several, dealt out in turn.")
    ] = None,
    misbehaving: Annotated[float, typer.Option(help="Share of stations that misbehave.", min=0, max=1)] = 1.0,
    vehicle: Annotated[
        list[str] | None,
        typer.Option(help="Kind of cars as YAML, for example 'phases_used: 1, min_current_a: 8'; again for several."),
    ] = None,
    gap_h: Annotated[float, typer.Option(help="Mean time from a car's leaving to the next one's coming [h].")] = 2.0,
    max_current_a: Annotated[float, typer.Option(help="Greatest current of each EVSE [A].")] = 32.0,
    reading_s: Annotated[int, typer.Option(help="Between two meter readings [s]; 0: none by itself.", min=0)] = 60,
    password: Annotated[str, typer.Option(envvar="CHARGEHORIZON_STATION_PASSWORD", help="Password of all.")] = "",
    passwords: Annotated[Path | None, typer.Option(help="JSON file of passwords by station.", metavar="FILE")] = None,
    ca: Annotated[
        Path | None, typer.Option(help="PEM of the authority that signed the central system's certificate.")
    ] = None,
    certificates: Annotated[
        Path | None,
        typer.Option(help="Folder with STATION_ID.pem: certificate and key of each station.", metavar="FOLDER"),
    ] = None,
    speed: Annotated[float, typer.Option(help="How many times faster than real time.")] = 1.0,
    start: Annotated[str | None, typer.Option(help="What the stations' clock shows at --wall-start.")] = None,
    wall_start: Annotated[
        str | None, typer.Option(help="Anchor of an accelerated clock, as in the service's configuration.")
    ] = None,
    hours: Annotated[float | None, typer.Option(help="For how long, by the stations' clock [h].")] = None,
    seed: Annotated[int, typer.Option(help="For all that happens by chance.")] = 0,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures at the end as JSON only.")] = False,
) -> None:
    """Run virtual stations, with cars that come and go, at any central system until Ctrl-C or for --hours."""
    if not url.startswith(SCHEMES):
        raise InvalidInput("url", url, f"begin it with one of {', '.join(SCHEMES)}")
    names = tuple(name or ())
    plan = FleetPlan(
        count if count is not None else len(names) or 10,
        versions=tuple(version or (OcppVersion.V16, OcppVersion.V201)),
        prefix=prefix,
        names=names,
        misbehaviours=tuple(misbehaviour or ()),
        misbehaving_share=misbehaving if misbehaviour else 0.0,
        reading_interval_s=reading_s,
        max_current_a=max_current_a,
        gap_h=gap_h,
        vehicle_kinds=_vehicle_kinds(vehicle or ()),
    )
    station_ids = [settings.station.id for settings in fleet_settings(plan)]
    keys = Keys(_passwords(passwords), password, _certificates(certificates, ca, station_ids), _trust(ca))
    clock = _clock(speed, start, wall_start)
    # Stations tell of every lost connection; what counts stands in the table, and standard output is for the figures.
    configure_logging("warning", "console")
    console = Console(stderr=as_json)
    counts = asyncio.run(_run(plan, url, keys, clock, hours, seed, console))
    summary = {"stations": plan.count, "clock": clock.now().isoformat(), **asdict(counts)}
    if as_json:
        typer.echo(json.dumps(summary, indent=1))


async def _run(
    plan: FleetPlan,
    url: str,
    keys: Keys,
    clock: AcceleratedClock,
    hours: float | None,
    seed: int,
    console: Console,
) -> FleetCounts:
    _allow_many_sockets(plan.count)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    central = CentralSystem(url, keys.password, keys.trust)
    async with ClientSession(connector=TCPConnector(limit=0)) as http:
        fleet = Fleet(plan, garage_day().sessions, central, clock, http, seed, keys.passwords, keys.tls)
        ending = asyncio.create_task(_end_after(clock, hours, stop))
        try:
            async with fleet.running():
                with Live(console=console, refresh_per_second=2) as live:
                    while not stop.is_set():
                        live.update(_table(plan, fleet.counts(), clock.now()))
                        await _wait(stop)
                    live.update(_table(plan, fleet.counts(), clock.now()))
                counts = fleet.counts()
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
    return counts


async def _wait(stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(LOOK_EVERY_S):
            await stop.wait()
    except TimeoutError:
        return


async def _end_after(clock: AcceleratedClock, hours: float | None, stop: asyncio.Event) -> None:
    if hours is not None:
        await clock.sleep(3600.0 * hours)
        stop.set()


def _table(plan: FleetPlan, counts: FleetCounts, now: datetime) -> Table:
    table = Table(title=f"{now:%Y-%m-%d %H:%M:%S} UTC by the stations' clock", title_justify="left")
    table.add_column("what")
    table.add_column("now", justify="right")
    rows = {
        "stations connected": f"{counts.connected} of {plan.count}",
        "connections so far": str(counts.connections),
        "cars charging": str(counts.charging),
        "power [kW]": f"{counts.power_kw:.1f}",
        "energy delivered [kWh]": f"{counts.delivered_kwh:.1f}",
        "cars so far": f"{counts.visits}, {counts.refused} refused",
        "charging profiles held": str(counts.profiles),
        "messages answered": str(counts.acknowledged),
        "messages about transactions that wait": str(counts.unacknowledged),
    }
    for what, value in rows.items():
        table.add_row(what, value)
    if counts.connection_problem:
        table.add_row("why a station is not connected", counts.connection_problem)
    for problem, times in counts.violations.items():
        table.add_row(f"wrong in the central system: {problem}", str(times))
    return table


def _vehicle_kinds(written: Sequence[str]) -> tuple[VehicleKind, ...]:
    kinds = []
    for text in written:
        try:
            section = VehicleKindSection.model_validate(yaml.safe_load("{" + text + "}"))
        except yaml.YAMLError as error:
            raise InvalidInput("--vehicle", text, "give YAML, for example 'phases_used: 1'") from error
        except ValidationError as error:
            raise first_of(section_errors(error, "--vehicle", InvalidInput)) from error
        kinds.append(VehicleKind(**section.model_dump(exclude={"tier"})))
    return tuple(kinds) or (ANY_CAR,)


def _passwords(file: Path | None) -> dict[StationId, str]:
    if file is None:
        return {}
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput("--passwords", str(file), f"give a JSON file: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise InvalidInput("--passwords", str(file), 'give {"STATION_ID": "password", ...}')
    return {StationId(station_id): password for station_id, password in content.items()}


def _trust(ca: Path | None) -> ssl.SSLContext | None:
    if ca is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput("--ca", str(ca), f"give a PEM file: {error}") from error


def _certificates(
    folder: Path | None, ca: Path | None, station_ids: Sequence[StationId]
) -> dict[StationId, ssl.SSLContext]:
    if folder is None:
        return {}
    contexts = {}
    for station_id in station_ids:
        file = folder / f"{station_id}.pem"
        context = _trust(ca) or ssl.create_default_context()
        try:
            context.load_cert_chain(file)
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput("--certificates", str(file), f"put certificate and key in this file: {error}") from error
        contexts[station_id] = context
    return contexts


def _clock(speed: float, start: str | None, wall_start: str | None) -> AcceleratedClock:
    now = wall_time()
    anchor = now if wall_start is None else _instant("--wall-start", wall_start)
    return AcceleratedClock(now if start is None else _instant("--start", start), anchor, speed)


def _instant(option: str, text: str) -> datetime:
    try:
        return _INSTANT.validate_python(text)
    except ValidationError as error:
        raise InvalidInput(option, text, "give a time with UTC offset, for example 2026-03-01T08:00:00Z") from error


def _allow_many_sockets(count: int) -> None:
    """Raise the number of files that may be open, where the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, max(soft, 2 * count + 200))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < count + 100:
        raise ChargeHorizonError(f"the system permits {wanted} open files, and {count} stations need more: ulimit -n")
