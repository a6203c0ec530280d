"""The composed service over real sockets: stations charge, a grid event holds, a restart goes on, SIGTERM ends it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession, web
from modbus_device import device

from api.auth import hash_of
from api.composition import RunningService, running
from api.config import AcceleratedClockSection, Secrets, load_configuration
from connectors.clock import AcceleratedClock, wall_time
from connectors.ocpp.security import hash_password
from optimizer.domain.ids import TariffId, TokenId
from optimizer.domain.series import PowerSeries
from optimizer.domain.site import Site
from optimizer.errors import InvalidConfiguration
from optimizer.ports import Clock
from scenarios.plant import Plant, Surroundings
from scenarios.profiles import InstalledProfile, ProfilePurpose
from scenarios.station_settings import OcppVersion, StationSettings
from scenarios.station_state import StationWatchers
from scenarios.vehicle_model import VehicleModel
from scenarios.virtual_station import CentralSystem, LinkTimings, VirtualStation

SPEED = 60.0
KEY = "a key for tests"
PASSWORDS = {"A": "0123456789abcdef0123", "B": "fedcba98765432109876"}
NO_PASSWORDS: Mapping[str, str] = {}
NO_SECRETS = Secrets.model_construct(entsoe_api_key=None, webhook_secret=None, storage_url=None)
TARIFF: dict[str, Any] = {
    "id": "flat",
    "name": "Flat",
    "currency": "EUR",
    "time_zone": "Europe/Berlin",
    "energy_bands": [{"name": "all", "price_per_kwh": "0.25"}],
}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def written(folder: Path, **changes: Any) -> Path:
    """A configuration of two stations of 11 kW on 40 kW, with 15 kW of building."""
    (folder / "tariff.yaml").write_text(yaml.safe_dump(TARIFF))
    content: dict[str, Any] = {
        "site": {
            "id": "garage",
            "time_zone": "Europe/Berlin",
            "currency": "EUR",
            "grid_connection": {"circuit_id": "main", "import_limit_kw": 40},
            "greatest_building_kw": 15,
            "circuits": [{"id": "main", "limit_a": 63}],
            "station_groups": [{"station_ids": ["A", "B"], "circuit_id": "main", "max_current_a": 16}],
        },
        "tariff": {"file": "tariff.yaml"},
        "ocpp": {"host": "127.0.0.1", "port": free_port(), "security_profile": 0, "behaviour": {"settle_s": 0.2}},
        "http": {"port": 0, "api_keys": [{"name": "test", "sha256": hash_of(KEY), "scopes": ["admin"]}]},
        "clock": {
            "kind": "accelerated",
            "simulated_start": "2026-03-02T09:00:00Z",
            "wall_start": wall_time().isoformat(),
            "speed": SPEED,
        },
        "control": {"default_stay_h": 1.0, "default_energy_kwh": 11.0},
        "planning": {"time_limit_s": 2.0},
        "billing": {"patience_minutes": 0},
    }
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


class Api:
    """Asks the service that runs."""

    def __init__(self, http: ClientSession, port: int) -> None:
        self._http = http
        self._address = f"http://127.0.0.1:{port}"

    async def get(self, path: str) -> Any:
        async with self._http.get(self._address + path, headers={"X-API-Key": KEY}) as answer:
            return await answer.json(content_type=None)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        async with self._http.post(self._address + path, json=body, headers={"X-API-Key": KEY}) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def status(self) -> Any:
        return await self.get("/v1/sites/garage")


async def until(question: Callable[[], Awaitable[Any]], is_so: Callable[[Any], bool]) -> Any:
    """Ask until the answer is as wished; the limit only ends a test that has failed."""
    async with asyncio.timeout(30):
        while not is_so(answer := await question()):  # noqa: ASYNC110 - the service is asked over HTTP
            await asyncio.sleep(0.05)
    return answer


class Cars:
    """Two stations, one of each version, with the site's meter."""

    def __init__(
        self, clock: Clock, ocpp_port: int, http: ClientSession, site: Site, passwords: Mapping[str, str] = NO_PASSWORDS
    ) -> None:
        self._clock = clock
        central = CentralSystem(
            f"ws://127.0.0.1:{ocpp_port}/ocpp",
            timings=LinkTimings(retry_after_s=0.2, reconnect_first_s=0.1, reconnect_longest_s=0.2),
        )
        self.stations = [
            VirtualStation(
                StationSettings(station, version=version, reading_interval_s=30),
                central.with_password(passwords.get(station.id)),
                self._clock,
                http,
                StationWatchers(),
                Random(1),
            )
            for station, version in zip(site.stations, (OcppVersion.V16, OcppVersion.V201), strict=True)
        ]
        now = self._clock.now()
        evses = {
            state.physics.evse.id: state.physics for station in self.stations for state in station.core.evses.values()
        }
        flat = (now, now + timedelta(days=1))
        surroundings = Surroundings(building=PowerSeries(flat, (10.0,)), pv=PowerSeries(flat, (0.0,)))
        self.plant = Plant(site, evses, surroundings, now)

    def plug_in(self) -> None:
        now = self._clock.now()
        for number, station in enumerate(self.stations):
            station.plug_in(1, VehicleModel(takes_kwh=40.0), TokenId(f"driver-{number}"), now, None)

    def unplug(self) -> None:
        for station in self.stations:
            station.unplug(1, self._clock.now())

    async def push_meter(self, api: Api) -> None:
        while True:
            reading = self.plant.reading_at(self._clock.now())
            await api.post(
                "/v1/sites/garage/meter-readings",
                {
                    "readings": [
                        {
                            "at": reading.at.isoformat(),
                            "import_register_kwh": str(reading.import_register_kwh),
                            "building_register_kwh": str(reading.building_register_kwh),
                            "grid_kw": reading.grid_kw,
                            "building_kw": reading.building_kw,
                        }
                    ]
                },
            )
            await self._clock.sleep(10)


@asynccontextmanager
async def beside(*works: Any) -> AsyncIterator[None]:
    """Run ``works`` beside the block."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def limits(status: Any) -> list[Any]:
    return [connector["limit_state"] for connector in status["connectors"]]


@asynccontextmanager
async def billing_system() -> AsyncIterator[tuple[str, dict[str, str]]]:
    """A receiver of webhooks; gives its address and the signatures by record."""
    taken: dict[str, str] = {}

    async def take(request: web.Request) -> web.Response:
        taken[request.headers["webhook-id"]] = request.headers["webhook-signature"]
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/records", take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/records", taken
    finally:
        await runner.cleanup()


async def test_a_day_at_a_garage_with_a_restart(tmp_path: Path) -> None:
    async with ClientSession() as http, billing_system() as (address, taken):
        hook = {"url": address, "secret": f"whsec_{b64encode(bytes(32)).decode()}", "allow_private_address": True}
        configuration = load_configuration(written(tmp_path, billing_webhook=hook), NO_SECRETS)
        async with running(configuration) as started:
            service = started.service
            api, cars = Api(http, started.http_port), Cars(service.clock, started.ocpp_port, http, service.site)
            assert await status_of(http, f"http://127.0.0.1:{started.http_port}/healthz") == 200
            async with beside(*(station.run() for station in cars.stations), cars.push_meter(api)):
                safe = await until(api.status, lambda now: all(one["safe_default_kw"] for one in now["connectors"]))
                assert sum(one["safe_default_kw"] for one in safe["connectors"]) + 15 <= 40
                cars.plug_in()
                charging = await until(api.status, lambda now: now["vehicles_kw"] > 15)
                assert charging["active_sessions"] == 2
                assert {state for state in limits(charging) if state} <= {"sent", "accepted", "verified"}
                await grid_event_holds(api, cars, started)
                before = {session["id"] for session in (await api.get("/v1/sessions?active=true"))["sessions"]}
                plan = await api.get("/v1/plans/latest")
                assert {one["session_id"] for one in plan["sessions"]} == before
        async with running(configuration) as started:
            api = Api(http, started.http_port)
            after = {session["id"] for session in (await api.get("/v1/sessions?active=true"))["sessions"]}
            assert after == before, "the same sessions go on"
            async with beside(*(station.run() for station in cars.stations), cars.push_meter(api)):
                await until(api.status, lambda now: all(one["online"] for one in now["connectors"]))
                cars.unplug()
                made = await until(
                    lambda: api.get("/v1/energy-cost-records"), lambda now: len(now["energy_cost_records"]) == 2
                )
            records = made["energy_cost_records"]
            await until(lambda: list_of(taken), lambda ids: set(ids) >= {record["id"] for record in records})
    assert {record["session_id"] for record in records} == before
    assert all(float(record["total"]) > 0 for record in records)
    assert cars.plant.extremes.import_kw <= 40.0 + 1e-6


async def list_of(taken: dict[str, str]) -> list[str]:
    assert all(signature.startswith("v1,") for signature in taken.values())
    return list(taken)


async def grid_event_holds(api: Api, cars: Cars, started: RunningService) -> None:
    now = started.service.clock.now()
    made = await api.post(
        "/v1/grid-events", {"start": now.isoformat(), "end": (now + timedelta(minutes=5)).isoformat(), "value": 20}
    )
    proven = await until(lambda: api.get(f"/v1/grid-events/{made['id']}"), lambda event: event["confirmed_at"])
    assert proven["applied_at"] is not None
    status = await api.status()
    assert status["load"]["grid_kw"] <= 20.3
    text = (await until(api.status, lambda now: now["import_limit_now_kw"] == 40.0))["import_limit_source"]
    assert text == "contract"


def with_passwords(folder: Path, **changes: Any) -> Path:
    """The configuration of `written`, in which stations prove who they are."""
    hashes = [{"station_id": name, "password_hash": hash_password(password)} for name, password in PASSWORDS.items()]
    ocpp = {"host": "127.0.0.1", "port": free_port(), "security_profile": 1, "passwords": hashes}
    return written(folder, ocpp=ocpp | {"behaviour": {"settle_s": 0.2}}, **changes)


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A service of its own process, killed at the end like in a power cut."""
    service = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api", "serve", "--config", str(path), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield service
    finally:
        service.kill()
        await service.wait()


def held(station: VirtualStation, purpose: ProfilePurpose) -> list[InstalledProfile]:
    return [one for one in station.core.held if one.profile.purpose is purpose]


async def test_a_killed_service_has_safe_defaults_and_limits_confirmed_again(tmp_path: Path) -> None:
    http_section = {
        "port": free_port(),
        "api_keys": [{"name": "test", "sha256": hash_of(KEY), "scopes": ["admin"]}],
    }
    path = with_passwords(tmp_path, http=http_section)
    configuration = load_configuration(path, NO_SECRETS)
    site, section = configuration.site.to_site(TariffId("flat")), configuration.clock
    assert isinstance(section, AcceleratedClockSection)
    clock = AcceleratedClock(section.simulated_start, section.wall_start, section.speed)
    async with ClientSession() as http:
        cars = Cars(clock, configuration.ocpp.port, http, site, PASSWORDS)
        api = Api(http, configuration.http.port)
        async with beside(*(station.run() for station in cars.stations)):
            async with served(path):
                await until(lambda: installed(cars, ProfilePurpose.TX_DEFAULT), all)
                cars.plug_in()
                await until(lambda: installed(cars, ProfilePurpose.TX), all)
            for station in cars.stations:
                station.core.held = tuple(held(station, ProfilePurpose.TX))
            killed_at = clock.now()
            async with served(path):
                await until(lambda: installed(cars, ProfilePurpose.TX_DEFAULT), all)
                await until(lambda: installed(cars, ProfilePurpose.TX, since=killed_at), all)
                assert len((await api.get("/v1/sessions?active=true"))["sessions"]) == 2, "the same go on"


async def installed(cars: Cars, purpose: ProfilePurpose, since: datetime | None = None) -> list[bool]:
    return [
        any(since is None or one.installed_at >= since for one in held(station, purpose)) for station in cars.stations
    ]


async def test_a_station_without_its_password_stays_outside_unless_a_port_asks_for_none(tmp_path: Path) -> None:
    path = with_passwords(tmp_path)
    content = yaml.safe_load(path.read_text())
    content["ocpp"]["further"] = [{"host": "127.0.0.1", "port": 0, "security_profile": 0}]
    path.write_text(yaml.safe_dump(content))
    async with ClientSession() as http, running(load_configuration(path, NO_SECRETS)) as started:
        service, passwords = started.service, PASSWORDS | {"B": PASSWORDS["A"]}
        cars = Cars(service.clock, started.ocpp_port, http, service.site, passwords)
        api = Api(http, started.http_port)
        async with beside(*(station.run() for station in cars.stations)):
            status = await until(api.status, lambda now: any(one["online"] for one in now["connectors"]))
        assert {one["evse_id"]: one["online"] for one in status["connectors"]} == {"A": True, "B": False}
        assert [station.connections for station in cars.stations] == [1, 0]
        (open_port,) = started.further_ocpp_ports
        others = Cars(service.clock, open_port, http, service.site, NO_PASSWORDS)
        async with beside(*(station.run() for station in others.stations)):
            await until(api.status, lambda now: all(one["online"] for one in now["connectors"]))


async def test_a_taken_port_is_told_and_nothing_stays_open(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        http = {
            "port": taken.getsockname()[1],
            "api_keys": [{"name": "test", "sha256": hash_of(KEY), "scopes": ["admin"]}],
        }
        configuration = load_configuration(written(tmp_path, http=http), NO_SECRETS)
        with pytest.raises(InvalidConfiguration, match=r"http\.port = '127\.0\.0\.1:"):
            async with running(configuration):
                pytest.fail("it must not run")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT, None], ids=["SIGTERM", "SIGINT", "starter gone"])
async def test_the_service_ends_in_good_order(tmp_path: Path, stop: signal.Signals | None) -> None:
    path = written(tmp_path, clock={"kind": "system"}, logging={"format": "json"})
    service = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api", "serve", "--config", str(path), "--while-stdin-open",
        stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    lines = []
    assert service.stderr is not None
    try:
        async with asyncio.timeout(60), ClientSession() as http:
            while not lines or lines[-1]["event"] != "serving":
                lines.append(json.loads(await service.stderr.readline()))
            address = lines[-1]["http"]
            ready = await until(
                lambda: status_of(http, f"{address}/readyz"),
                lambda status: status == 200,
            )
            assert ready == 200
            if stop is not None:
                service.send_signal(stop)
            else:
                # As when the process at the other end is killed: nobody is left to send a signal.
                assert service.stdin is not None
                service.stdin.close()
            rest = (await service.stderr.read()).decode().splitlines()
            assert await service.wait() == 0
    finally:
        if service.returncode is None:
            service.kill()
            await service.wait()
    assert [json.loads(line)["event"] for line in rest][-1] == "stopped"
    assert not [line for line in rest if json.loads(line)["level"] in ("error", "critical")]
    assert datetime.fromisoformat(lines[-1]["timestamp"]).tzinfo == UTC


async def status_of(http: ClientSession, address: str) -> int:
    async with http.get(address) as answer:
        return answer.status


async def test_the_battery_is_told_its_power_and_rests_at_the_end(tmp_path: Path) -> None:
    async with device() as inverter:
        told = {"host": "127.0.0.1", "port": inverter.port, "register_address": 40, "period_s": 30}
        path = written(tmp_path, battery_control=told)
        content = yaml.safe_load(path.read_text())
        content["site"]["battery"] = {"capacity_kwh": 40, "max_charge_kw": 20, "max_discharge_kw": 20}
        path.write_text(yaml.safe_dump(content))
        async with running(load_configuration(path, NO_SECRETS)):
            async with asyncio.timeout(30):
                while not inverter.units:  # noqa: ASYNC110 - it is another program's
                    await asyncio.sleep(0.01)
        assert inverter.words(40, 1) == [0]
