"""`chargehorizon stations`: the configuration changed by commands, orders to stations of a running service, simulation."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from api.auth import hash_of
from api.cli import main, make_cli
from api.composition import running
from api.config import Secrets, load_configuration
from connectors.ocpp.security import password_fits

ROOT = Path(__file__).resolve().parents[2]
KEY = "a key for tests"
NO_SECRETS = Secrets.model_construct(entsoe_api_key=None, webhook_secret=None, storage_url=None)
CONFIGURATION = f"""\
site:                      # all of it
  id: depot
  time_zone: Europe/Berlin
  currency: EUR
  grid_connection: {{circuit_id: main, import_limit_kw: 69}}
  circuits:
    - {{id: main, limit_a: 100}}
  stations:
    - id: bay-1            # by the door
      evses: [{{circuit_id: main, max_current_a: 32}}]
  station_groups:
    - {{station_ids: [g-1], circuit_id: main, max_current_a: 16}}
tariff: {{file: tariff.yaml}}
ocpp: {{host: 127.0.0.1, port: 0, security_profile: 1, behaviour: {{settle_s: 0.2, after_boot_s: 0.0}}}}
http:
  port: 0
  api_keys:
    - {{name: operator, scopes: [admin], sha256: {hash_of(KEY)}}}
"""
TARIFF = {
    "id": "flat", "name": "Flat", "currency": "EUR", "time_zone": "Europe/Berlin",
    "energy_bands": [{"name": "all", "price_per_kwh": "0.25"}],
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "tariff.yaml").write_text(yaml.safe_dump(TARIFF))
    path = tmp_path / "site.yaml"
    path.write_text(CONFIGURATION)
    return path


@pytest.fixture
def open_config(config: Path) -> Path:
    config.write_text(CONFIGURATION.replace("security_profile: 1", "security_profile: 0"))
    return config


class Shell:
    """Runs commands as a user does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *arguments: object, code: int = 0) -> str:
        self._monkeypatch.setattr(sys, "argv", ["chargehorizon", "stations", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        told = self._capsys.readouterr()
        assert left.value.code == code, told
        return told.out if code == 0 else told.err + told.out

    def json(self, *arguments: object) -> Any:
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.setenv("COLUMNS", "200")
    return Shell(monkeypatch, capsys)


def kept_hash(config: Path, station_id: str) -> str:
    hashes: dict[str, str] = json.loads((config.parent / "chargehorizon.db.passwords.json").read_text())
    return hashes[station_id]


def test_a_new_station_is_put_into_the_configuration_and_its_password_shown_once(shell: Shell, config: Path) -> None:
    told = shell.json("add", "bay-2", "--config", config, "--circuit", "main", "--max-current-a", 32, "--evses", 2)
    assert told["url"] == "ws://127.0.0.1:0/ocpp"
    assert told["restart_needed"]
    assert password_fits(told["password"].encode(), kept_hash(config, "bay-2"))
    assert told["password"] not in config.read_text() + kept_hash(config, "bay-2")
    site = load_configuration(config, NO_SECRETS).site.to_site("flat")  # type: ignore[arg-type]
    assert [evse.id for evse in site.stations[1].evses] == ["bay-2-1", "bay-2-2"]
    assert "# by the door" in config.read_text()
    assert "# all of it" in config.read_text()
    listed = shell.json("list", "--config", config)["stations"]
    assert {one["id"]: one["has_password"] for one in listed} == {"bay-1": False, "bay-2": True, "g-1": False}
    assert "g-1: 1 EVSE, 11.0 kW; has no password" in shell.run("list", "--config", config)


@pytest.mark.parametrize("station_id", ["bay-1", "g-1"])
def test_a_station_that_stands_there_gets_a_password_and_the_file_stays(
    shell: Shell, config: Path, station_id: str
) -> None:
    told = shell.run("add", station_id, "--config", config)
    password = re.search(r"password: +(\w+)", told)
    assert password is not None
    assert password_fits(password[1].encode(), kept_hash(config, station_id))
    assert config.read_text() == CONFIGURATION
    assert "there already" in shell.run("add", station_id, "--config", config, code=1)
    by_hand = shell.json("rotate", station_id, "--by-hand", "--config", config)["password"]
    assert password_fits(by_hand.encode(), kept_hash(config, station_id))
    assert not password_fits(password[1].encode(), kept_hash(config, station_id))


@pytest.mark.parametrize("profile", [0, 3])
def test_profiles_without_passwords_make_none(shell: Shell, config: Path, profile: int) -> None:
    for name in ("cert.pem", "key.pem", "stations.pem"):
        (config.parent / name).write_text("(read by the service only)")
    tls = ", tls: {certificate: cert.pem, key: key.pem, client_ca: stations.pem}" if profile else ""
    config.write_text(CONFIGURATION.replace("security_profile: 1", f"security_profile: {profile}{tls}"))
    told = shell.run("add", "bay-2", "--config", config, "--circuit", "main", "--max-current-a", 16)
    assert "password:" not in told
    assert ("its common name must be bay-2" in told) == (profile == 3)
    assert "no passwords to rotate" in shell.run("rotate", "bay-2", "--by-hand", "--config", config, code=1)


def test_a_removed_station_is_gone_with_its_password(shell: Shell, config: Path) -> None:
    shell.run("add", "bay-2", "--config", config, "--circuit", "main", "--max-current-a", 32)
    assert "removed" in shell.run("remove", "bay-2", "--config", config)
    assert config.read_text() == CONFIGURATION
    assert json.loads((config.parent / "chargehorizon.db.passwords.json").read_text()) == {}


MISTAKES = {
    "an unknown circuit": (("add", "x", "--circuit", "roof", "--max-current-a", 16), 2, "name one of the circuits"),
    "no circuit": (("add", "x"), 2, "give --circuit and --max-current-a"),
    "a name that fits no URL": (("add", "a b", "--circuit", "main", "--max-current-a", 16), 2, "pattern"),
    "one of a group": (("remove", "g-1"), 2, "by hand"),
    "nobody": (("remove", "x"), 1, "no station 'x'"),
    "nobody's password": (("rotate", "x", "--by-hand"), 1, "no station 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES, ids=str)
def test_a_mistake_changes_nothing(shell: Shell, config: Path, case: str) -> None:
    arguments, code, text = MISTAKES[case]
    assert text in shell.run(*arguments, "--config", config, code=code)
    assert config.read_text() == CONFIGURATION
    assert not (config.parent / "chargehorizon.db.passwords.json").exists()


def test_a_service_that_is_not_there_is_told_at_once(shell: Shell) -> None:
    told = shell.run("show", "bay-1", "--key", "k", "--service", "http://127.0.0.1:9", code=1)
    assert "http://127.0.0.1:9 does not answer" in told


async def commanded(*arguments: object, env: dict[str, str] | None = None, code: int = 0) -> str:
    """Run one command beside the service; a process of its own for each would take a second each."""
    words = ["stations", *map(str, arguments)]
    done = await asyncio.to_thread(CliRunner().invoke, make_cli(), words, env={"COLUMNS": "200"} | (env or {}))
    assert done.exit_code == code, (done.output, done.exception)
    return done.output + (str(done.exception) if code else "")


@asynccontextmanager
async def simulated(url: str, passwords: dict[str, str], cwd: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Virtual stations in a process of their own; told to stop at the end."""
    (cwd / "passwords.json").write_text(json.dumps(passwords))
    names = [word for name in passwords for word in ("--name", name)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api", "stations", "simulate", url, *names, "--passwords", "passwords.json", "--gap-h",
        "100", "--json", cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.communicate()


ORDERS = [
    (("start", "bay-1", "driver"), "bay-1 agreed"),
    (("availability", "bay-1", "--out-of-service"), "bay-1 agreed"),
    (("availability", "bay-1", "--in-service", "--evse", "bay-1"), "bay-1 agreed"),
    (("unlock", "bay-1"), "bay-1 agreed: Unlocked"),
    (("trigger", "g-1", "status", "--evse", "g-1"), "g-1 agreed"),
    (("log", "g-1", "ftp://127.0.0.1/logs"), "g-1 agreed"),
    (("firmware", "g-1", "https://127.0.0.1/fw", "--at", "2030-01-01T00:00:00Z"), "g-1 agreed"),
    (("local-list", "g-1", "one", "two"), "g-1 agreed"),
    (("clear-cache", "g-1"), "g-1 agreed"),
    (("config", "set", "bay-1", "MeterValueSampleInterval", "17"), "bay-1 agreed"),
    (("config", "get", "bay-1", "MeterValueSampleInterval"), "MeterValueSampleInterval = 17"),
    (("limits", "bay-1", "--hours", "0.5"), "chargingSchedulePeriod"),
    (("certificates", "install", "g-1", ROOT / "tests/connectors/ocpp/certificates/authority.pem"), "g-1 agreed"),
    (("certificates", "list", "g-1"), "serial number"),
    (("certificates", "renew", "g-1"), "g-1"),
    (("rotate", "g-1"), "g-1 agreed"),
    (("show", "bay-1"), "OCPP 1.6"),
    (("list",), "chargehorizon virtual"),
    (("alerts",), "Nothing to look at."),
]


async def test_orders_reach_stations_that_the_command_line_added_and_simulates(config: Path) -> None:
    folder = config.parent
    passwords = {}
    for name in ("bay-1", "g-1"):
        told = await commanded("add", name, "--config", config, "--json")
        passwords[name] = json.loads(told)["password"]
    async with running(load_configuration(config, NO_SECRETS)) as started:
        env = {"CHARGEHORIZON_SERVICE": f"http://127.0.0.1:{started.http_port}", "CHARGEHORIZON_API_KEY": KEY}
        async with simulated(f"ws://127.0.0.1:{started.ocpp_port}/ocpp", passwords, folder):
            async with asyncio.timeout(30):
                while not all(  # noqa: ASYNC110 - two ends of a socket
                    started.service.reporter.report(name).model
                    for name in ("bay-1", "g-1")  # type: ignore[arg-type]
                ):
                    await asyncio.sleep(0.05)
            for arguments, text in ORDERS:
                assert text in await commanded(*arguments, env=env), arguments
            refused = await commanded("config", "set", "bay-1", "NoSuchKey", "1", env=env, code=1)
            assert "bay-1 refused: NotSupported" in refused
            unknown = await commanded("config", "get", "g-1", "No.Such", env=env, code=1)
            assert "g-1 does not tell No.Such" in unknown
            assert "HTTP 404" in await commanded("reset", "nobody", env=env, code=1)
            assert "bay-1 agreed" in await commanded("reset", "bay-1", "--hard", env=env)


async def test_the_simulation_tells_what_happened(open_config: Path) -> None:
    config = open_config
    async with running(load_configuration(config, NO_SECRETS)) as started:
        words = (
            f"simulate ws://127.0.0.1:{started.ocpp_port}/ocpp --name bay-1 --name g-1 --version 2.0.1 --misbehaviour slow "
            "--gap-h 0.01 --hours 1 --speed 1000 --seed 3 --json"
        ).split()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "api", "stations", *words, "--vehicle", "phases_used: 1, min_current_a: 8",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"},
        )  # fmt: skip
        told, _ = await process.communicate()
    summary = json.loads(told)
    assert summary["stations"] == 2
    assert summary["connections"] == 2
    assert summary["visits"] >= 1
    assert summary["delivered_kwh"] > 0
    assert summary["violations"] == {}


SIMULATION_MISTAKES = {
    "no websocket": (("simulate", "ftp://x"), "begin it with one of"),
    "no kind of car": (("simulate", "ws://x", "--vehicle", "phases_used: 4"), "phases_used"),
    "no YAML": (("simulate", "ws://x", "--vehicle", "{"), "give YAML"),
    "no time": (("simulate", "ws://x", "--start", "noon"), "UTC offset"),
    "no passwords": (("simulate", "ws://x", "--passwords", "gone.json"), "give a JSON file"),
    "no certificate": (("simulate", "ws://x", "--certificates", "gone"), "put certificate and key"),
    "too few names": (("simulate", "ws://x", "--name", "a", "--count", "2"), "give 2 different names"),
}


@pytest.mark.parametrize("case", SIMULATION_MISTAKES, ids=str)
def test_a_mistake_in_a_simulation_is_told(shell: Shell, case: str) -> None:
    arguments, text = SIMULATION_MISTAKES[case]
    assert text in shell.run(*arguments, code=2)
