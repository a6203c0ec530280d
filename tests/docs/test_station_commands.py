"""What the README says of connecting stations is done here, in its order, with its files, against a running service."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from api.auth import hash_of
from api.cli import make_cli
from api.composition import RunningService, running
from api.config import Secrets, load_configuration

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README[README.index("## Connect a real station") : README.index("## Plan one problem yourself")]
FENCE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = [shlex.split(line, comments=True) for block in FENCE.findall(SECTION) for line in block.splitlines()]
KEY = "the-key-of-an-operator"
NO_SECRETS = Secrets.model_construct(entsoe_api_key=None, webhook_secret=None, storage_url=None)


def commands_of(*start: str) -> Iterator[list[str]]:
    return (words for words in COMMANDS if words[: len(start)] == list(start))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The README's own configuration, with its service on ports that are free and a key that the test knows."""
    content = yaml.safe_load(re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[0])
    del content["market_prices"]
    content["ocpp"] = {"host": "127.0.0.1", "port": 0, "security_profile": 1, "behaviour": {"settle_s": 0.2}}
    content["http"] = {"port": 0, "api_keys": [{"name": "operator", "scopes": ["admin"], "sha256": hash_of(KEY)}]}
    tariff = {"id": "flat", "name": "Flat", "currency": "EUR", "time_zone": "Europe/Berlin",
              "energy_bands": [{"name": "all", "price_per_kwh": "0.25"}]}  # fmt: skip
    (tmp_path / "tariff.yaml").write_text(yaml.safe_dump(tariff))
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def commanded(words: list[str], env: dict[str, str] | None = None) -> str:
    done = CliRunner().invoke(make_cli(), words, env=env or {})
    assert done.exit_code == 0, (words, done.output, done.exception)
    return done.output


def set_ocpp(folder: Path, **changes: Any) -> None:
    content = yaml.safe_load((folder / "site.yaml").read_text())
    content["ocpp"] |= changes
    (folder / "site.yaml").write_text(yaml.safe_dump(content))


@asynccontextmanager
async def serving(folder: Path, *words: str) -> AsyncIterator[RunningService]:
    """The service, with a virtual station bay-2 that ``words`` tell how to connect."""
    async with running(load_configuration(folder / "site.yaml", NO_SECRETS)) as started:
        line = next(commands_of("chargehorizon", "stations", "simulate"))
        scheme = "wss" if words and words[0] == "--ca" else "ws"
        url = f"{scheme}://127.0.0.1:{started.ocpp_port}/ocpp"
        arguments = [url if word.startswith("ws://") else word for word in line[1:]]
        arguments[arguments.index("--hours") + 1] = "100"
        arguments[arguments.index("--speed") + 1] = "1"
        station = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "api", *arguments, *words, stdout=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"},
        )  # fmt: skip
        try:
            async with asyncio.timeout(40):
                while not started.service.reporter.report("bay-2").model:  # type: ignore[arg-type]  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            yield started
        finally:
            if station.returncode is None:
                station.send_signal(signal.SIGTERM)
                await station.wait()


async def test_profile_1_the_commands_of_the_readme(folder: Path) -> None:
    (add,) = commands_of("chargehorizon", "stations", "add")
    password = json.loads(commanded([*add[1:], "--json"]))["password"]
    with_file = [words for words in commands_of("chargehorizon", "stations") if "--config" in words and words != add]
    towards_service = [
        words for words in commands_of("chargehorizon", "stations") if not {"--config", "simulate"} & set(words)
    ]
    assert len(towards_service) >= 8
    async with serving(folder, "--version", "1.6", "--password", password) as started:
        env = {"CHARGEHORIZON_SERVICE": f"http://127.0.0.1:{started.http_port}", "CHARGEHORIZON_API_KEY": KEY}
        for words in towards_service:
            assert "bay-2" in await asyncio.to_thread(commanded, words[1:], env) or words[2:] in (
                ["alerts"], ["config", "get", "bay-2", "MeterValueSampleInterval"], ["limits", "bay-2"],
            )  # fmt: skip
    for words in with_file:
        assert "bay-2" in commanded(words[1:])


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("profile", [2, 3])
async def test_profiles_2_and_3_with_the_certificates_of_the_readme(folder: Path, profile: int) -> None:
    for words in commands_of("openssl"):
        if words[1] != "s_client":
            given = [word.replace("192.0.2.10", "127.0.0.1").replace("3072", "2048") for word in words]
            subprocess.run(given, cwd=folder, check=True, capture_output=True)  # noqa: ASYNC221 - nothing runs beside
    tls = {"certificate": "server.pem", "key": "server.key"} | ({"client_ca": "authority.pem"} if profile == 3 else {})
    set_ocpp(folder, security_profile=profile, tls=tls)
    (add,) = commands_of("chargehorizon", "stations", "add")
    told = json.loads(commanded([*add[1:], "--json"]))
    assert told["url"].startswith("wss://")
    proof = ["--certificates", "pem"]
    if profile == 2:
        proof = ["--password", told["password"]]
    else:
        (folder / "pem").mkdir()
        (folder / "pem" / "bay-2.pem").write_text(
            (folder / "bay-2.pem").read_text() + (folder / "bay-2.key").read_text()
        )
    async with serving(folder, "--ca", "authority.pem", *proof) as started:
        assert started.service.reporter.report("bay-2").connections == 1  # type: ignore[arg-type]
