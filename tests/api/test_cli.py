"""The command line: every mistake of a user ends with one message and exit code 2, never a traceback."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from api.auth import hash_of
from api.cli import main, make_cli
from connectors.ocpp.security import password_fits

EXAMPLE = Path(__file__).resolve().parents[2] / "api" / "example_site.yaml"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["chargehorizon", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert isinstance(left.value.code, int)
    return left.value.code


def test_the_example_is_good(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CHARGEHORIZON_ENTSOE_API_KEY", "key")
    assert run(monkeypatch, "config", "check", str(EXAMPLE)) == 0
    assert "Site 'office': 7 stations with 8 EVSEs, import up to 69 kW" in capsys.readouterr().out


MISTAKES = {
    "no such file": ("import_limit_kw: 69", None, "No such file or directory"),
    "a misspelt field": ("import_limit_kw: 69", "import_limit: 69", "site.grid_connection.import_limit = 69"),
    "a tariff in another currency": ("currency: EUR", "currency: DKK", "currency = 'EUR': must be DKK"),
    "a password of no station": ("station_id: south-01", "station_id: south-02", "name a station of site 'office'"),
    "one station where a list belongs": (
        "ocpp:\n",
        "ocpp:\n  behaviour: {stop_to_pause_stations: north-01}\n",
        "stop_to_pause_stations = 'north-01': give a list, for example [a, b]",
    ),
    "a pause at no station": (
        "ocpp:\n",
        "ocpp:\n  behaviour: {stop_to_pause_stations: [north-9]}\n",
        "name a station of site 'office'",
    ),
}


@pytest.mark.parametrize("command", [["config", "check"], ["serve", "--config"]], ids=" ".join)
@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_in_the_configuration_is_told_in_one_message(
    mistake: str,
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    right, wrong, message = MISTAKES[mistake]
    monkeypatch.setenv("CHARGEHORIZON_ENTSOE_API_KEY", "key")
    monkeypatch.setattr("api.logs.configure_logging", lambda *_: None)
    path = tmp_path / "site.yaml"
    (tmp_path / "example_tariff.yaml").write_text((EXAMPLE.parent / "example_tariff.yaml").read_text())
    if wrong is not None:
        path.write_text(EXAMPLE.read_text().replace(right, wrong))
    assert run(monkeypatch, *command, str(path)) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert str(path.parent) in told.err
    assert "Traceback" not in told.err + told.out


def test_a_taken_port_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "serve") == 2
    assert "--config" in capsys.readouterr().err


def test_the_version_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("chargehorizon ")


def test_a_new_key_fits_its_hash(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "config", "new-key") == 0
    shown = dict(line.split(":") for line in capsys.readouterr().out.splitlines())
    assert hash_of(shown["key"].strip()) == shown["sha256"].strip()


def test_a_new_password_fits_its_hash(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "config", "new-password") == 0
    shown = dict(line.split(":") for line in capsys.readouterr().out.splitlines())
    assert password_fits(shown["password"].strip().encode(), shown["password_hash"].strip())


def test_every_command_says_what_it_does() -> None:
    cli = typer.main.get_command(make_cli())
    assert {"serve", "config"} <= set(cli.commands)  # type: ignore[attr-defined]
    for name in cli.commands:  # type: ignore[attr-defined]
        shown = CliRunner().invoke(make_cli(), [name, "--help"])
        assert shown.exit_code == 0, name
        assert len(shown.output.splitlines()) > 4
