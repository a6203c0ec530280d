"""A central system on a real port, stations that say exactly what a test tells them to, and events kept in lists."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, web
from ocpp.messages import MessageType, get_validator

from connectors.ocpp.security import SecurityProfile, StationGate
from connectors.ocpp.server import OcppCentralSystem
from connectors.ocpp.settings import OcppSettings, Version
from optimizer.domain.charger import TransactionOpened
from optimizer.domain.ids import CircuitId, EvseId, SessionId, StationId, TransactionId
from optimizer.domain.site import CurrentType, Evse, Phase, Station, Wiring

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)

QUICK = OcppSettings(
    versions=(Version.V201, Version.V16, Version.V21),
    call_timeout_s=0.3,
    settle_s=0.1,
    after_boot_s=0.0,
    close_timeout_s=0.5,
    ping_interval_s=None,
    connects_per_minute=1000,
    frames_burst=1_000_000,
    contact_stations=False,
)


class HandClock:
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    def wall_seconds(self, seconds: float) -> float:
        return seconds

    def advance(self, **parts: float) -> None:
        self.at += timedelta(**parts)


@dataclass
class KeptEvents:
    """Keeps what stations tell; opens transactions 101, 102, ... as a store would."""

    happened: list[tuple[str, Any]] = field(default_factory=list)
    known_tokens: set[str] = field(default_factory=lambda: {"TAG-1", "TAG-2"})
    failures: dict[str, Exception] = field(default_factory=dict)
    delays_s: dict[str, float] = field(default_factory=dict)
    numbers: Any = field(default_factory=lambda: itertools.count(101))
    opened: dict[Any, TransactionOpened] = field(default_factory=dict)

    async def _keep(self, kind: str, event: Any) -> None:
        if kind in self.delays_s:
            await asyncio.sleep(self.delays_s[kind])
        if kind in self.failures:
            raise self.failures[kind]
        self.happened.append((kind, event))

    def of(self, kind: str) -> list[Any]:
        return [event for happened, event in self.happened if happened == kind]

    @property
    def samples(self) -> list[Any]:
        return [sample for batch in self.of("meter_sampled") for sample in batch]

    async def station_booted(self, event: Any) -> None:
        await self._keep("station_booted", event)

    async def station_known_better(self, event: Any) -> None:
        await self._keep("station_known_better", event)

    async def station_disconnected(self, station_id: Any, at: datetime) -> None:
        await self._keep("station_disconnected", station_id)

    async def connector_reported(self, event: Any) -> None:
        await self._keep("connector_reported", event)

    async def authorize(self, station_id: Any, token_id: Any, at: datetime) -> bool:
        await self._keep("authorize", token_id)
        return token_id in self.known_tokens

    async def transaction_begun(self, event: Any) -> TransactionOpened:
        await self._keep("transaction_begun", event)
        key = (event.station_id, event.transaction_id or (event.ocpp_evse_id, event.at, event.token_id))
        if key not in self.opened:
            number = next(self.numbers)
            accepted = event.token_id is None or event.token_id in self.known_tokens
            transaction_id = event.transaction_id or TransactionId(str(number))
            self.opened[key] = TransactionOpened(transaction_id, SessionId(f"session-{number}"), accepted)
        return self.opened[key]

    async def meter_sampled(self, samples: Any) -> None:
        await self._keep("meter_sampled", tuple(samples))

    async def transaction_finished(self, event: Any) -> None:
        await self._keep("transaction_finished", event)

    async def limits_told(self, station_id: Any) -> None:
        await self._keep("limits_told", station_id)

    async def vehicle_needs(self, event: Any) -> bool:
        await self._keep("vehicle_needs", event)
        return event.depart_at is not None


class ScriptedStation:
    """The station's end of a websocket: sends what it is told, answers calls by a table."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.call_ids: list[str] = []
        self.replies: dict[str, Any] = {}
        self.raw: asyncio.Queue[Any] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self._answers: dict[Any, asyncio.Future[list[Any]]] = {}
        self._arrived = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self.socket:
            if message.type is not WSMsgType.TEXT:
                continue
            frame = json.loads(message.data)
            if frame[0] == 2:
                await self._serve(frame)
            elif frame[1] in self._answers and not self._answers[frame[1]].done():
                self._answers[frame[1]].set_result(frame)
            else:
                self.raw.put_nowait(frame)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionError("closed"))

    async def _serve(self, frame: list[Any]) -> None:
        if frame[3]:
            self._check(MessageType.Call, frame[2], frame[3])
        reply = self.replies.get(frame[2], {"status": "Accepted"})
        if callable(reply):
            reply = reply(frame[3])
        async with self._arrived:
            self.calls.append((frame[2], frame[3]))
            self.call_ids.append(frame[1])
            self._arrived.notify_all()
        if isinstance(reply, str):
            await self.socket.send_str(json.dumps([4, frame[1], reply, "no", {}]))
        elif reply is not None:
            await self.socket.send_str(json.dumps([3, frame[1], reply]))

    async def say(self, text: str) -> None:
        """Send any text."""
        await self.socket.send_str(text)

    async def frame(self, action: str, payload: Any, message_id: Any = None) -> list[Any]:
        """Send a call and give the whole frame that answers it."""
        message_id = message_id if message_id is not None else f"m{next(self._numbers)}"
        self._answers[message_id] = asyncio.get_running_loop().create_future()
        await self.say(json.dumps([2, message_id, action, payload]))
        async with asyncio.timeout(5):
            answer = await self._answers[message_id]
        if answer[0] == 3:
            self._check(MessageType.CallResult, action, answer[2])
        return answer

    def _check(self, kind: int, action: str, payload: Any) -> None:
        """Whatever the central system says must be valid by the schemas."""
        version = (self.socket.protocol or "ocpp1.6").removeprefix("ocpp")
        get_validator(kind, action, version, parse_float=Decimal).validate(
            json.loads(json.dumps(payload), parse_float=Decimal)
        )

    async def call(self, action: str, payload: Any = None) -> Any:
        """Send a call that must be answered by a result; give the result."""
        answer = await self.frame(action, {} if payload is None else payload)
        assert answer[0] == 3, answer
        return answer[2]

    async def boot(self) -> Any:
        if self.socket.protocol == "ocpp1.6":
            told = {"chargePointVendor": "Maker", "chargePointModel": "One", "firmwareVersion": "1.0"}
        else:
            told = {
                "reason": "PowerUp",
                "chargingStation": {"vendorName": "Maker", "model": "Two", "firmwareVersion": "2.0"},
            }
        return await self.call("BootNotification", told)

    async def received(self, action: str, number: int = 1) -> dict[str, Any]:
        """Wait for the ``number``-th call of an action from the central system."""
        async with asyncio.timeout(5), self._arrived:
            await self._arrived.wait_for(lambda: len(self.payloads(action)) >= number)
        return self.payloads(action)[number - 1]

    def payloads(self, action: str) -> list[dict[str, Any]]:
        return [payload for called, payload in self.calls if called == action]

    async def close(self) -> None:
        await self.socket.close()
        await self._reader

    async def gone(self) -> int | None:
        """Wait until the central system has closed; its code."""
        async with asyncio.timeout(5):
            await asyncio.wait([self._reader])
        return self.socket.close_code


@dataclass
class Bench:
    """A running central system with what a test needs around it."""

    system: OcppCentralSystem
    events: KeptEvents
    clock: HandClock
    url: str
    client: ClientSession
    stations: list[ScriptedStation] = field(default_factory=list)
    runners: list[web.AppRunner] = field(default_factory=list)

    async def station(
        self, station_id: str = "S16", version: str | None = "ocpp1.6", **options: Any
    ) -> ScriptedStation:
        protocols = () if version is None else tuple(version.split(","))
        socket = await self.client.ws_connect(self.url + station_id, protocols=protocols, **options)
        station = ScriptedStation(socket)
        self.stations.append(station)
        return station

    async def booted(self, station_id: str = "S16", version: str = "ocpp1.6") -> ScriptedStation:
        station = await self.station(station_id, version)
        await station.boot()
        return station

    async def eventually(self, holds: Callable[[], bool]) -> None:
        """Let other tasks run until ``holds``."""
        async with asyncio.timeout(5):
            while not holds():  # noqa: ASYNC110 - what it waits for has no event
                await asyncio.sleep(0.005)


def evse(station_id: str, number: int, **changes: Any) -> Evse:
    plain = Evse(
        id=EvseId(f"{station_id}-{number}"),
        station_id=StationId(station_id),
        ocpp_evse_id=number,
        circuit_id=CircuitId("main"),
        max_current_a=32.0,
    )
    return replace(plain, **changes)


def stations() -> list[Station]:
    return [
        Station(StationId("S16"), (evse("S16", 1),)),
        Station(StationId("D16"), (evse("D16", 1), evse("D16", 2))),
        Station(StationId("S201"), (evse("S201", 1),)),
        Station(StationId("DC"), (evse("DC", 1, current_type=CurrentType.DC, max_current_a=200.0),)),
        Station(
            StationId("US"),
            (evse("US", 1, wiring=Wiring.LINE_TO_LINE, phases=(Phase.L1, Phase.L2), voltage_v=208.0),),
        ),
    ]


@pytest.fixture
def make_evse() -> Callable[..., Evse]:
    return evse


@pytest.fixture
def open_bench() -> Callable[..., Any]:
    """Starts a bench with settings of the test's own."""

    @asynccontextmanager
    async def opened(
        settings: OcppSettings = QUICK,
        gate: StationGate | None = None,
        sessions: Any = None,
        ssl: Any = None,
        **more: Any,
    ) -> AsyncIterator[Bench]:
        events, clock = KeptEvents(), HandClock()
        system = OcppCentralSystem(
            stations(), events, clock, settings, gate or StationGate(SecurityProfile.NONE), sessions, **more
        )
        runner = web.AppRunner(system.application(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl)
        await site.start()
        port = runner.addresses[0][1]
        async with ClientSession() as client:
            bench = Bench(system, events, clock, f"{'wss' if ssl else 'ws'}://127.0.0.1:{port}/ocpp/", client)
            try:
                yield bench
            finally:
                for station in bench.stations:
                    await station.close()
                for further in (*bench.runners, runner):
                    await further.cleanup()

    return opened


@pytest.fixture
async def bench(open_bench: Callable[..., Any]) -> AsyncIterator[Bench]:
    async with open_bench() as running:
        yield running


@pytest.fixture
def quick_settings() -> OcppSettings:
    return QUICK
