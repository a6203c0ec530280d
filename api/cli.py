"""The command line. Further commands stand in modules `api.cli_<name>`, each with ``register(app)``."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

import api
from optimizer.errors import ChargeHorizonError, InvalidConfiguration, InvalidInput

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2

ConfigurationFile = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.", metavar="FILE")]


def main() -> None:
    """Run the command line; what a user can bring about ends with one clear message, never a traceback."""
    try:
        make_cli()()
    except InvalidInput as error:
        _complain(error)
        sys.exit(EXIT_BAD_INPUT)
    except ChargeHorizonError as error:
        _complain(error)
        sys.exit(EXIT_FAILED)


def make_cli() -> typer.Typer:
    """The command line with the commands of all modules `api.cli_<name>`."""
    cli = typer.Typer(
        name="chargehorizon",
        help="Runs the charging of electric vehicles at a site.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    cli.callback()(_options)
    cli.command()(serve)
    configuration = typer.Typer(help="The configuration file, and what goes into it.", no_args_is_help=True)
    configuration.command("check")(check_configuration)
    configuration.command("new-key")(make_key)
    configuration.command("new-password")(make_password)
    cli.add_typer(configuration, name="config")
    for module in sorted(pkgutil.iter_modules(api.__path__), key=lambda found: found.name):
        if module.name.startswith("cli_"):
            importlib.import_module(f"api.{module.name}").register(cli)
    return cli


def serve(
    config: ConfigurationFile,
    *,
    while_stdin_open: Annotated[
        bool, typer.Option("--while-stdin-open", help="End with the standard input, and so with whoever started it.")
    ] = False,
) -> None:
    """Run the service until it is told to stop (SIGTERM or Ctrl-C)."""
    # Imported here: `--help` and the small commands need neither solver nor database.
    from api.config import load_configuration
    from api.logs import configure_logging
    from api.serve import serve_until_stopped

    configuration = load_configuration(config)
    configure_logging(configuration.logging.level, configuration.logging.format)
    with _naming(config):
        code = serve_until_stopped(configuration, while_stdin_open=while_stdin_open)
    sys.exit(code)


def check_configuration(file: Annotated[Path, typer.Argument(help="The configuration file.", metavar="FILE")]) -> None:
    """Check a configuration file and the files it names, and say what it describes."""
    from api.composition import planned_site
    from api.config import load_configuration

    configuration = load_configuration(file)
    with _naming(file):
        site = planned_site(configuration)
    typer.echo(
        f"{file}: good. Site {site.id!r}: {len(site.stations)} stations with {len(site.evses)} EVSEs, "
        f"import up to {site.grid_connection.import_limit_kw:g} kW, tariff {site.tariff_id!r}."
    )


def make_key() -> None:
    """Make a new API key, and the hash of it that goes into the configuration."""
    from api.auth import hash_of, new_key

    key = new_key()
    typer.echo(f"key:    {key}\nsha256: {hash_of(key)}")


def make_password() -> None:
    """Make a new password for a station, and the hash of it that goes into the configuration."""
    from connectors.ocpp.security import hash_password, new_password

    password = new_password()
    typer.echo(f"password:      {password}\npassword_hash: {hash_password(password)}")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"chargehorizon {version('chargehorizon')}")
        raise typer.Exit


def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Take what stands before the command."""


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Let errors of the configuration that parts of the service find name the file, too."""
    try:
        yield
    except InvalidConfiguration as error:
        if error.where:
            raise
        raise InvalidConfiguration(error.field, error.value, error.fix, where=str(file)) from error


def _complain(error: ChargeHorizonError) -> None:
    typer.echo(f"error: {error}", err=True)
    for note in getattr(error, "__notes__", ()):
        typer.echo(f"error: {note}", err=True)
