"""The whole service over real sockets with a station of 1.6 and one of 2.0.1, and what it takes to ask it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import yaml
from aiohttp import ClientSession

from api.auth import hash_of
from api.composition import RunningService, running
from api.config import Secrets, load_configuration
from connectors.ocpp.security import hash_password
from scenarios.station_settings import Misbehaviour, OcppVersion, StationSettings
from scenarios.station_state import StationWatchers
from scenarios.virtual_station import CentralSystem, LinkTimings, VirtualStation

KEY = "a key for tests"
PASSWORD = "0123456789abcdef0123"
NO_SECRETS = Secrets.model_construct(entsoe_api_key=None, webhook_secret=None, storage_url=None)
TARIFF = {
    "id": "flat", "name": "Flat", "currency": "EUR", "time_zone": "Europe/Berlin",
    "energy_bands": [{"name": "all", "price_per_kwh": "0.25"}],
}  # fmt: skip
VERSIONS = {"V16": OcppVersion.V16, "V201": OcppVersion.V201}


def written(folder: Path, profile: int = 0, speed: float | None = None) -> Path:
    """A site of one station for each version; with ``speed`` on a clock that runs faster than the wall's."""
    (folder / "tariff.yaml").write_text(yaml.safe_dump(TARIFF))
    hashes = [{"station_id": name, "password_hash": hash_password(PASSWORD)} for name in VERSIONS]
    content = {
        "site": {
            "id": "garage", "time_zone": "Europe/Berlin", "currency": "EUR",
            "grid_connection": {"circuit_id": "main", "import_limit_kw": 40},
            "circuits": [{"id": "main", "limit_a": 63}],
            "station_groups": [{"station_ids": list(VERSIONS), "circuit_id": "main", "max_current_a": 16}],
        },
        "tariff": {"file": "tariff.yaml"},
        "ocpp": {
            "host": "127.0.0.1", "port": 0, "security_profile": profile, "passwords": hashes if profile else [],
            "behaviour": {"settle_s": 0.2, "after_boot_s": 0.0, "call_timeout_s": 2.0, "call_attempts": 1},
        },
        "http": {"port": 0, "api_keys": [{"name": "test", "sha256": hash_of(KEY), "scopes": ["admin"]}]},
    }  # fmt: skip
    if speed is not None:
        anchors = {"simulated_start": "2026-03-02T09:00:00Z", "wall_start": datetime.now(UTC).isoformat()}
        content["clock"] = {"kind": "accelerated", "speed": speed, **anchors}
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


class Garage:
    """The service, its API and its stations."""

    def __init__(
        self,
        started: RunningService,
        http: ClientSession,
        password: str,
        misbehaviours: Mapping[str, Misbehaviour] | None = None,
    ) -> None:
        wrong = {name: frozenset({one}) for name, one in (misbehaviours or {}).items()}
        self.service = started.service
        self.http = http
        self.address = f"http://127.0.0.1:{started.http_port}"
        timings = LinkTimings(retry_after_s=0.05, reconnect_first_s=0.05, reconnect_longest_s=0.1)
        central = CentralSystem(f"ws://127.0.0.1:{started.ocpp_port}/ocpp", password, timings=timings)
        self.stations = {
            station.id: VirtualStation(
                StationSettings(
                    station, VERSIONS[station.id], sample_interval_s=30,
                    misbehaviours=wrong.get(station.id, frozenset()),
                ),
                central, started.service.clock, http, StationWatchers(), Random(1),
            )
            for station in started.service.site.stations
        }  # fmt: skip
        self._heard: dict[str, list[str]] = {name: [] for name in self.stations}
        for name, virtual in self.stations.items():
            virtual.core.answer = self._listening(virtual.core.answer, self._heard[name])  # type: ignore[method-assign]

    @staticmethod
    def _listening(answer: Callable[..., Any], heard: list[str]) -> Callable[..., Any]:
        def listened(action: str, payload: Any, now: datetime) -> Any:
            heard.append(action)
            return answer(action, payload, now)

        return listened

    def heard(self, station_id: str, *actions: str) -> int:
        """How often a station was asked any of these."""
        return sum(self._heard[station_id].count(action) for action in actions)

    def tell(self, station_id: str, action: str, payload: Mapping[str, Any]) -> None:
        """A station says something out of its turn."""
        virtual = self.stations[station_id]
        virtual.core.tell((action, lambda: payload))
        virtual._wake()

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        headers = {"X-API-Key": KEY}
        async with self.http.request(method, self.address + path, json=body, headers=headers) as answer:
            return answer.status, json.loads(await answer.text())

    async def order(self, station_id: str, what: str, body: Mapping[str, Any] | None = None) -> Any:
        status, answer = await self.ask("POST", f"/v1/stations/{station_id}/{what}", body)
        assert status == 200, answer
        return answer

    async def until(self, question: Callable[[], Awaitable[Any]], is_so: Callable[[Any], Any]) -> Any:
        async with asyncio.timeout(30):
            while not is_so(answer := await question()):  # noqa: ASYNC110 - two ends of a socket
                await asyncio.sleep(0.02)
        return answer

    async def station(self, station_id: str) -> Any:
        return (await self.ask("GET", f"/v1/stations/{station_id}"))[1]

    async def session_at(self, station_id: str) -> Any:
        sessions = (await self.ask("GET", f"/v1/sessions?active=true&evse_id={station_id}"))[1]["sessions"]
        return sessions[0] if sessions else None


@asynccontextmanager
async def garage_of(
    folder: Path, profile: int = 0, speed: float | None = None, misbehaviours: Mapping[str, Misbehaviour] | None = None
) -> AsyncIterator[Garage]:
    configuration = load_configuration(written(folder, profile, speed), NO_SECRETS)
    async with ClientSession() as http, running(configuration) as started:
        garage = Garage(started, http, PASSWORD if profile else "", misbehaviours)
        lives = [asyncio.create_task(station.run()) for station in garage.stations.values()]
        try:
            for station_id in VERSIONS:
                await garage.until(lambda name=station_id: garage.station(name), lambda seen: seen["model"])
            yield garage
        finally:
            for life in lives:
                life.cancel()
            await asyncio.gather(*lives, return_exceptions=True)
