"""``chargehorizon stations ...`` towards a running service: orders to stations, how they fare, alerts."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from optimizer.domain.operation import RootKind, Trigger
from optimizer.errors import InvalidInput
from scenarios.service_client import ServiceClient

EXIT_REFUSED = 1
ANSWER_WITHIN_S = 120.0
"""A station may answer slowly, and is asked twice."""

ServiceUrl = Annotated[
    str,
    typer.Option("--service", envvar="CHARGEHORIZON_SERVICE", help="Address of the running service.", metavar="URL"),
]
ApiKeyOption = Annotated[
    str,
    typer.Option(
        "--key", envvar="CHARGEHORIZON_API_KEY", help="API key with the scope operate or admin.", metavar="KEY"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
StationArgument = Annotated[str, typer.Argument(help="The station's id.", metavar="STATION_ID")]
EvseOption = Annotated[str | None, typer.Option("--evse", help="Which EVSE, where the station has several.")]
DEFAULT_SERVICE = "http://127.0.0.1:8080"

Json = dict[str, Any]


def register_commands(stations: typer.Typer) -> None:
    """Add the commands to the group ``stations``."""
    commands: dict[str, Callable[..., None]] = {
        "show": show,
        "alerts": alerts,
        "start": start,
        "stop": stop,
        "reset": reset,
        "unlock": unlock,
        "availability": availability,
        "trigger": trigger,
        "log": log,
        "firmware": firmware,
        "local-list": local_list,
        "clear-cache": clear_cache,
        "limits": limits,
    }
    for name, command in commands.items():
        stations.command(name)(command)
    settings = typer.Typer(help="The station's own settings.", no_args_is_help=True)
    settings.command("get")(get_settings)
    settings.command("set")(set_setting)
    stations.add_typer(settings, name="config")
    certificates = typer.Typer(help="Whom a station trusts, and its own certificate.", no_args_is_help=True)
    certificates.command("list")(list_certificates)
    certificates.command("install")(install_certificate)
    certificates.command("renew")(renew_certificate)
    stations.add_typer(certificates, name="certificates")


def order(what: str) -> Callable[[Callable[..., Json | None]], Callable[..., None]]:
    """Make a command of what writes the body of an order: it also takes the station, the service and how to print.

    Args:
        what: The order's name in the service's API.
    """

    def command_of(body_of: Callable[..., Json | None]) -> Callable[..., None]:
        @wraps(body_of)
        def command(station_id: str, key: str, service: str, *, as_json: bool, **own: Any) -> None:
            body = body_of(**own)
            given = None if body is None else {name: value for name, value in body.items() if value is not None}
            tell_answer(ask(service, key, "POST", f"/v1/stations/{station_id}/{what}", body=given), as_json=as_json)

        own = list(signature(body_of, eval_str=True).parameters.values())
        required = [one for one in own if one.default is Parameter.empty and one.kind is not Parameter.KEYWORD_ONLY]
        others = [one for one in own if one not in required]
        parameters = [_STATION, *required, _KEY, *others, _SERVICE, _AS_JSON]
        parameters.sort(key=lambda one: one.kind)
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        return command

    return command_of


_STATION = Parameter("station_id", Parameter.POSITIONAL_OR_KEYWORD, annotation=StationArgument)
_KEY = Parameter("key", Parameter.POSITIONAL_OR_KEYWORD, annotation=ApiKeyOption)
_SERVICE = Parameter("service", Parameter.POSITIONAL_OR_KEYWORD, default=DEFAULT_SERVICE, annotation=ServiceUrl)
_AS_JSON = Parameter("as_json", Parameter.KEYWORD_ONLY, default=False, annotation=AsJson)


@order("start")
def start(token: Annotated[str, typer.Argument(help="Token to charge with.")], evse: EvseOption = None) -> Json:
    """Start a transaction."""
    return {"token_id": token, "evse_id": evse}


@order("stop")
def stop(
    evse: EvseOption = None,
    transaction: Annotated[str | None, typer.Option(help="Which transaction; left out: the one that runs.")] = None,
) -> Json:
    """Stop a transaction."""
    return {"evse_id": evse, "transaction_id": transaction}


@order("reset")
def reset(*, hard: Annotated[bool, typer.Option("--hard", help="At once, even where cars charge.")] = False) -> Json:
    """Restart a station: when nothing charges, or at once."""
    return {"hard": hard}


@order("unlock")
def unlock(evse: EvseOption = None) -> Json:
    """Unlock the plug of an EVSE."""
    return {"evse_id": evse}


@order("availability")
def availability(
    evse: EvseOption = None,
    *,
    operative: Annotated[bool, typer.Option("--in-service/--out-of-service", help="Whether it may be used.")],
) -> Json:
    """Put a station or an EVSE in or out of service."""
    return {"evse_id": evse, "operative": operative}


@order("trigger")
def trigger(message: Annotated[Trigger, typer.Argument(help="What it is to tell.")], evse: EvseOption = None) -> Json:
    """Have a station tell something now."""
    return {"message": message.value, "evse_id": evse}


@order("log")
def log(
    url: Annotated[str, typer.Argument(help="Where the station uploads it, for example ftp://HOST/FOLDER.")],
) -> Json:
    """Have a station upload its log."""
    return {"url": url}


@order("firmware")
def firmware(
    url: Annotated[str, typer.Argument(help="Where the station fetches it.")],
    at: Annotated[str | None, typer.Option(help="When, for example 2026-03-01T02:00:00Z; left out: now.")] = None,
) -> Json:
    """Have a station fetch and install firmware."""
    return {"url": url, "fetch_at": at}


@order("local-list")
def local_list(
    tokens: Annotated[list[str] | None, typer.Argument(help="All tokens of the list; none empties it.")] = None,
    version: Annotated[int | None, typer.Option(help="Number of the list; left out: the time.")] = None,
) -> Json:
    """Replace the list of tokens that may charge while the station is offline."""
    return {"token_ids": tokens or [], "version": version}


@order("clear-cache")
def clear_cache() -> None:
    """Have a station forget the tokens that it has learnt."""


@order("configuration")
def set_setting(
    name: Annotated[str, typer.Argument(help="Key of OCPP 1.6, Component.Variable of 2.x.")],
    value: Annotated[str, typer.Argument(help="Its new value.")],
) -> Json:
    """Change a setting of a station."""
    return {"name": name, "value": value}


@order("certificates")
def install_certificate(
    file: Annotated[Path, typer.Argument(help="The authority's certificate in PEM.", metavar="FILE")],
    kind: Annotated[RootKind, typer.Option(help="Whose certificates it signs.")] = RootKind.CENTRAL_SYSTEM,
) -> Json:
    """Have a station trust an authority: before the server's certificate changes, or before profile 2."""
    try:
        text = file.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise InvalidInput("FILE", str(file), f"give a PEM file: {error}") from error
    return {"kind": kind.value, "certificate_pem": text}


@order("renew-certificate")
def renew_certificate() -> None:
    """Have a station make a new key and ask for its certificate."""


def get_settings(
    station_id: StationArgument,
    names: Annotated[list[str], typer.Argument(help="Keys of OCPP 1.6, Component.Variable of 2.x.")],
    key: ApiKeyOption,
    service: ServiceUrl = DEFAULT_SERVICE,
    *,
    as_json: AsJson = False,
) -> None:
    """Read settings of a station."""
    told = ask(service, key, "GET", f"/v1/stations/{station_id}/configuration", query={"names": ",".join(names)})
    if as_json:
        return print_json(told)
    for name, value in told["settings"].items():
        typer.echo(f"{name} = {value}")
    if told["unknown"]:
        typer.echo(f"{station_id} does not tell {', '.join(told['unknown'])}", err=True)
        sys.exit(EXIT_REFUSED)
    return None


def list_certificates(
    station_id: StationArgument,
    key: ApiKeyOption,
    kind: Annotated[RootKind, typer.Option(help="Whose certificates they sign.")] = RootKind.CENTRAL_SYSTEM,
    service: ServiceUrl = DEFAULT_SERVICE,
    *,
    as_json: AsJson = False,
) -> None:
    """List the authorities that a station trusts."""
    told = ask(service, key, "GET", f"/v1/stations/{station_id}/certificates", query={"kind": kind.value})
    if as_json:
        return print_json(told)
    for name in told["certificates"]:
        typer.echo(f"serial number {name['serial_number']}, issuer {name['issuer_name_hash']}")
    if not told["certificates"]:
        typer.echo(f"{station_id} trusts no authority of this kind")
    return None


def limits(
    station_id: StationArgument,
    key: ApiKeyOption,
    evse: EvseOption = None,
    hours: Annotated[float, typer.Option(help="How far ahead.", min=0.01, max=24)] = 1.0,
    service: ServiceUrl = DEFAULT_SERVICE,
) -> None:
    """Ask a station which limits it believes to hold (GetCompositeSchedule)."""
    query = {"duration_s": str(round(3600 * hours))} | ({"evse_id": evse} if evse else {})
    print_json(ask(service, key, "GET", f"/v1/stations/{station_id}/composite-schedule", query=query)["answer"])


def alerts(key: ApiKeyOption, service: ServiceUrl = DEFAULT_SERVICE, *, as_json: AsJson = False) -> None:
    """List what an operator should look at, each with its reason."""
    told = ask(service, key, "GET", "/v1/station-alerts")
    if as_json:
        return print_json(told)
    for alert in told["alerts"]:
        typer.echo(f"{alert['severity']:8}  {alert['evse_id'] or alert['station_id']}: {alert['reason']}")
    if not told["alerts"]:
        typer.echo("Nothing to look at.")
    return None


def show(
    station_id: StationArgument, key: ApiKeyOption, service: ServiceUrl = DEFAULT_SERVICE, *, as_json: AsJson = False
) -> None:
    """Show how a station fares: connection, uptime, errors, notices, EVSEs, alerts."""
    told = ask(service, key, "GET", f"/v1/stations/{station_id}")
    if as_json:
        return print_json(told)
    state = f"online since {told['online_since']}" if told["online"] else f"offline, last seen {told['last_seen_at']}"
    typer.echo(f"{told['id']}: {state}; connected {100 * told['uptime_share']:.1f} % of the time since {told['since']}")
    kind = " ".join(part for part in (told["vendor"], told["model"], told["firmware"]) if part)
    typer.echo(f"{kind or 'of unknown make'}, OCPP {told['ocpp_version'] or '?'}, {told['messages']} messages")
    for connector in told["connectors"]:
        metered = "not metered" if connector["power_kw"] is None else f"{connector['power_kw']:.1f} kW"
        limit = "no limit" if connector["limit_kw"] is None else f"limit {connector['limit_kw']:.1f} kW"
        typer.echo(
            f"  {connector['evse_id']}: {connector['status']}, {metered}, {limit} {connector['limit_state'] or ''}"
        )
    for alert in told["alerts"]:
        typer.echo(f"  {alert['severity']}: {alert['reason']}")
    for kind, times in told["violations"].items():
        typer.echo(f"  protocol: {kind}, {times} times")
    for notice in told["notices"]:
        typer.echo(f"  {notice['at']}  {notice['kind']}: {notice['text']}")
    return None


def print_stations(told: Json) -> None:
    """Print the answer of ``GET /v1/stations`` as a table."""
    table = Table()
    for heading in ("station", "connected", "uptime", "OCPP", "maker, model, firmware", "alerts"):
        table.add_column(heading)
    for one in told["stations"]:
        table.add_row(
            one["id"],
            "yes" if one["online"] else "no",
            f"{100 * one['uptime_share']:.1f} %",
            one["ocpp_version"],
            " ".join(part for part in (one["vendor"], one["model"], one["firmware"]) if part),
            "; ".join(alert["reason"] for alert in one["alerts"]),
        )
    Console().print(table)
    for stranger in told["strangers"]:
        name, times = stranger["station_id"], stranger["times"]
        typer.echo(f"unknown station {name!r} tried to connect from {stranger['remote']}, {times} times")


def ask(
    service: str, key: str, method: str, path: str, *, body: Json | None = None, query: dict[str, str] | None = None
) -> Json:
    """The service's answer to one request.

    Raises:
        SourceUnavailable: The service does not answer, or refuses.
    """

    async def asked() -> Json:
        async with ServiceClient(service, key, patience_s=0.0, timeout_s=ANSWER_WITHIN_S) as client:
            return await (client.get(path, **(query or {})) if method == "GET" else client.post(path, body))

    return asyncio.run(asked())


def print_json(content: Any) -> None:
    """Print JSON for people and programs."""
    typer.echo(json.dumps(content, indent=1, ensure_ascii=False))


def tell_answer(answer: Json, *, as_json: bool) -> None:
    """Print a station's answer; a refusal ends the program with an exit code of its own."""
    if as_json:
        print_json(answer)
    else:
        word = "agreed" if answer["accepted"] else "refused"
        typer.echo(f"{answer['station_id']} {word}" + (f": {answer['status']}" if answer["status"] else ""))
    if not answer["accepted"]:
        sys.exit(EXIT_REFUSED)
