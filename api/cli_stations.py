"""``chargehorizon stations``: stations of the configuration, their passwords, orders to them, virtual ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from api.config import Configuration, EndpointSection, load_configuration
from api.configuration_edits import one_line, with_item, without_item, write_configuration
from api.simulate_command import simulate
from api.station_commands import (
    DEFAULT_SERVICE,
    AsJson,
    ServiceUrl,
    StationArgument,
    ask,
    print_json,
    print_stations,
    register_commands,
    tell_answer,
)
from connectors.ocpp.passwords import FilePasswords
from connectors.ocpp.security import SecurityProfile, hash_password, new_password
from optimizer.domain.ids import StationId, TariffId
from optimizer.domain.site import CurrentType, Site
from optimizer.errors import Conflict, InvalidConfiguration, InvalidInput, NotFound

ConfigurationFile = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.", metavar="FILE")]
MaybeConfigurationFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration file.", metavar="FILE")
]
WITH_PASSWORD = (SecurityProfile.BASIC, SecurityProfile.TLS_BASIC)


def register(cli: typer.Typer) -> None:
    """Add the commands."""
    stations = typer.Typer(help="Charging stations: who may connect, how they fare, orders.", no_args_is_help=True)
    stations.command()(add)
    stations.command()(remove)
    stations.command()(rotate)
    stations.command("list")(list_stations)
    register_commands(stations)
    stations.command("simulate")(simulate)
    cli.add_typer(stations, name="stations")


def add(
    station_id: StationArgument,
    config: ConfigurationFile,
    circuit: Annotated[str | None, typer.Option(help="The circuit that feeds it.", metavar="ID")] = None,
    max_current_a: Annotated[
        float | None, typer.Option(help="Greatest current per phase of each EVSE, cable and fuse [A].", metavar="A")
    ] = None,
    evses: Annotated[int, typer.Option(help="How many EVSEs it has.", min=1, max=100)] = 1,
    current: Annotated[CurrentType, typer.Option(help="AC or DC.")] = CurrentType.AC,
    *,
    as_json: AsJson = False,
) -> None:
    """Let a station connect: put it into the configuration where it is missing, and make its password.

    The password is shown once; only its hash is kept.
    """
    configuration, site = _read(config)
    passwords = _passwords(configuration)
    known = station_id in {station.id for station in site.stations}
    if known and (passwords is None or StationId(station_id) in passwords.stations()):
        raise Conflict(f"station {station_id!r} is there already; for a new password: stations rotate {station_id}")
    if not known:
        if circuit is None or max_current_a is None:
            fix = f"give --circuit and --max-current-a: site {site.id!r} does not have this station yet"
            raise InvalidInput("station_id", station_id, fix)
        fields: dict[str, Any] = {"circuit_id": circuit, "max_current_a": max_current_a}
        if current is CurrentType.DC:
            fields["current_type"] = current.value
        item = one_line({"id": station_id, "evses": [fields] * evses})
        text = config.read_text(encoding="utf-8")
        write_configuration(config, with_item(text, ("site", "stations"), item))
    password = None
    if passwords is not None:
        password = new_password()
        passwords.keep(StationId(station_id), hash_password(password))
    _tell_settings(configuration, station_id, password, is_new=not known, as_json=as_json)


def remove(station_id: StationArgument, config: ConfigurationFile, *, as_json: AsJson = False) -> None:
    """Take a station out of the configuration, with its password; what it charged stays in the database."""
    configuration, site = _read(config)
    if station_id not in {station.id for station in site.stations}:
        raise NotFound("station", station_id)
    text = without_item(config.read_text(encoding="utf-8"), ("site", "stations"), "id", station_id)
    if text is None:
        fix = "it is one of a group: take it out of site.station_groups by hand"
        raise InvalidConfiguration("station_id", station_id, fix, where=str(config))
    without_hash = without_item(text, ("ocpp", "passwords"), "station_id", station_id)
    write_configuration(config, text if without_hash is None else without_hash)
    passwords = _passwords(configuration)
    if passwords is not None:
        passwords.forget(StationId(station_id))
    if as_json:
        return print_json({"station_id": station_id, "removed": True})
    typer.echo(f"{station_id} is removed; the service refuses it after its next start")
    return None


def rotate(
    station_id: StationArgument,
    key: Annotated[str, typer.Option("--key", envvar="CHARGEHORIZON_API_KEY", metavar="KEY", help="API key.")] = "",
    service: ServiceUrl = DEFAULT_SERVICE,
    config: MaybeConfigurationFile = None,
    *,
    by_hand: Annotated[
        bool, typer.Option("--by-hand", help="Do not tell the station: show a new password, good at once.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Give a station a new password: over its connection, or by hand where it does not take one.

    Over its connection, old and new are both good until it has come in with the new one; refused: the old one stays.
    """
    if not by_hand:
        return tell_answer(ask(service, key, "POST", f"/v1/stations/{station_id}/rotate-password"), as_json=as_json)
    if config is None:
        raise InvalidInput("--config", None, "name the configuration file; --by-hand works without the service")
    configuration, site = _read(config)
    if station_id not in {station.id for station in site.stations}:
        raise NotFound("station", station_id)
    passwords = _passwords(configuration)
    if passwords is None:
        profile = configuration.ocpp.security_profile
        raise Conflict(f"security profile {profile} has no passwords to rotate")
    password = new_password()
    passwords.keep(StationId(station_id), hash_password(password))
    _tell_settings(configuration, station_id, password, is_new=False, as_json=as_json)
    return None


def list_stations(
    config: MaybeConfigurationFile = None,
    key: Annotated[str, typer.Option("--key", envvar="CHARGEHORIZON_API_KEY", metavar="KEY", help="API key.")] = "",
    service: ServiceUrl = DEFAULT_SERVICE,
    *,
    as_json: AsJson = False,
) -> None:
    """List stations: as they fare, from the running service; with --config, as they are configured."""
    if config is None:
        told = _all_stations(service, key)
        return print_json(told) if as_json else print_stations(told)
    configuration, site = _read(config)
    passwords = _passwords(configuration)
    with_password = passwords.stations() if passwords is not None else frozenset()
    rows: list[dict[str, Any]] = [
        {
            "id": station.id,
            "evses": [evse.id for evse in station.evses],
            "max_power_kw": sum(evse.max_power_kw for evse in station.evses),
            "has_password": station.id in with_password,
        }
        for station in site.stations
    ]
    if as_json:
        return print_json({"security_profile": configuration.ocpp.security_profile, "stations": rows})
    for row in rows:
        lacks = "" if passwords is None or row["has_password"] else "; has no password: stations add"
        typer.echo(f"{row['id']}: {len(row['evses'])} EVSE, {row['max_power_kw']:.1f} kW{lacks}")
    return None


def _all_stations(service: str, key: str) -> dict[str, Any]:
    """Every page of ``GET /v1/stations`` as one."""
    told = page = ask(service, key, "GET", "/v1/stations", query={"limit": "500"})
    while page["next_cursor"]:
        page = ask(service, key, "GET", "/v1/stations", query={"limit": "500", "cursor": page["next_cursor"]})
        told["stations"] += page["stations"]
    return {**told, "next_cursor": None}


def _read(config: Path) -> tuple[Configuration, Site]:
    configuration = load_configuration(config)
    return configuration, configuration.site.to_site(TariffId(""))


def _passwords(configuration: Configuration) -> FilePasswords | None:
    """Where passwords are kept; ``None``: no security profile has any.

    Raises:
        InvalidConfiguration: The profile has passwords, and there is no place for them.
    """
    endpoints = (configuration.ocpp, *configuration.ocpp.further)
    if not any(endpoint.security_profile in WITH_PASSWORD for endpoint in endpoints):
        return None
    if configuration.passwords_file is None:
        fix = "name a JSON file for the hashes: only beside a SQLite database it has a place of its own"
        raise InvalidConfiguration("ocpp.passwords_file", None, fix)
    given = {StationId(one.station_id): one.password_hash for one in configuration.ocpp.passwords}
    return FilePasswords(configuration.passwords_file, given)


def _tell_settings(
    configuration: Configuration, station_id: str, password: str | None, *, is_new: bool, as_json: bool
) -> None:
    """Say what is to be set at the station, for each port that it may use."""
    ports = [_address(endpoint) for endpoint in (configuration.ocpp, *configuration.ocpp.further)]
    if as_json:
        told = {"station_id": station_id, **ports[0], "further": ports[1:], "password": password}
        return print_json({**told, "restart_needed": is_new})
    for port in ports:
        url, profile = port["url"], port["security_profile"]
        typer.echo(f"central system:   {url}  (with the station's id: {url}/{station_id}), security profile {profile}")
        if profile == SecurityProfile.TLS_CLIENT_CERTIFICATE:
            typer.echo(f"certificate:      its common name must be {station_id}, signed by what client_ca trusts")
    typer.echo(f"identity:         {station_id}")
    if password is not None:
        typer.echo(f"password:         {password}")
        typer.echo("The password is not shown again: 1.6 calls it AuthorizationKey, 2.x BasicAuthPassword.")
    if is_new:
        typer.echo("The service lets it in after its next start.")
    return None


def _address(endpoint: EndpointSection) -> dict[str, Any]:
    """Where stations find a port of the service, and what it asks for."""
    scheme = "wss" if endpoint.security_profile >= SecurityProfile.TLS_BASIC else "ws"
    host = "HOST" if endpoint.host in ("0.0.0.0", "::") else endpoint.host
    return {"url": f"{scheme}://{host}:{endpoint.port}/ocpp", "security_profile": endpoint.security_profile}
