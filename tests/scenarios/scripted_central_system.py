"""A small central system for tests of virtual stations: it answers, remembers, and does what a test tells it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from aiohttp import WSMsgType, web
from ocpp.messages import MessageType, get_validator


@dataclass
class Heard:
    """One call of a station."""

    station: str
    message_id: str
    action: str
    payload: dict[str, Any]
    connection: int


@dataclass
class ScriptedCentralSystem:
    """Answers 1.6 and 2.0.1 stations; `answers` replaces the usual answer of an action."""

    heartbeat_s: int = 100000
    answers: dict[str, Callable[[Heard], dict[str, Any] | None]] = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)
    schema_problems: list[str] = field(default_factory=list)
    sockets: dict[str, web.WebSocketResponse] = field(default_factory=dict)
    credentials: dict[str, str] = field(default_factory=dict)
    subprotocols: tuple[str, ...] = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")
    connections: int = 0
    refusals: int = 0
    url: str = ""

    def __post_init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[list[Any]]] = {}
        self._transactions: dict[tuple[str, str], int] = {}
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> ScriptedCentralSystem:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/{station}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def stop(self) -> None:
        for socket in list(self.sockets.values()):
            await socket.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def drop(self, station: str) -> None:
        """Close a station's connection."""
        await self.sockets.pop(station).close()

    async def call(self, station: str, action: str, payload: dict[str, Any], within_s: float = 5.0) -> list[Any]:
        """Send a call; returns the answering frame."""
        message_id = f"cs-{len(self._waiting)}"
        waiting = self._waiting[message_id] = asyncio.get_running_loop().create_future()
        await self.sockets[station].send_str(json.dumps([MessageType.Call, message_id, action, payload]))
        async with asyncio.timeout(within_s):
            return await waiting

    async def ask(self, station: str, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send a call; returns the result."""
        frame = await self.call(station, action, payload)
        assert frame[0] == MessageType.CallResult, frame
        version = (self.sockets[station].ws_protocol or "").removeprefix("ocpp")
        self._check(MessageType.CallResult, action, frame[2], version)
        return frame[2]

    def of(self, action: str, station: str | None = None) -> list[Heard]:
        """Calls heard so far."""
        return [one for one in self.heard if one.action == action and station in (None, one.station)]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        station = request.match_info["station"]
        if request.headers.get("Authorization") != self.credentials.get(station, request.headers.get("Authorization")):
            self.refusals += 1
            return web.Response(status=401)
        socket = web.WebSocketResponse(protocols=self.subprotocols)
        await socket.prepare(request)
        self.sockets[station] = socket
        self.connections += 1
        connection = self.connections
        version = (socket.ws_protocol or "").removeprefix("ocpp")
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await self._hear(socket, station, json.loads(message.data), version, connection)
        return socket

    async def _hear(self, socket: Any, station: str, frame: list[Any], version: str, connection: int) -> None:
        if frame[0] != MessageType.Call:
            waiting = self._waiting.get(frame[1])
            if waiting is not None and not waiting.done():
                waiting.set_result(frame)
            return
        call = Heard(station, frame[1], frame[2], frame[3], connection)
        self.heard.append(call)
        self._check(MessageType.Call, call.action, call.payload, version)
        answer = self.answers[call.action](call) if call.action in self.answers else self._usual(call, version)
        if answer is not None and not socket.closed:
            await socket.send_str(json.dumps([MessageType.CallResult, call.message_id, answer]))

    def _check(self, kind: int, action: str, payload: dict[str, Any], version: str) -> None:
        exact = (version, action, kind) == ("1.6", "GetCompositeSchedule", MessageType.CallResult)
        validator = get_validator(kind, action, version, parse_float=Decimal if exact else float)
        checked = json.loads(json.dumps(payload), parse_float=Decimal) if exact else payload
        for problem in validator.iter_errors(checked):
            self.schema_problems.append(f"{action}: {problem.message}")

    def _usual(self, call: Heard, version: str) -> dict[str, Any]:
        accepted = {"status": "Accepted"}
        match call.action:
            case "BootNotification":
                return {**accepted, "interval": self.heartbeat_s, "currentTime": "2019-08-28T14:00:00Z"}
            case "Heartbeat":
                return {"currentTime": "2019-08-28T14:00:00Z"}
            case "Authorize":
                return {"idTagInfo": accepted} if version == "1.6" else {"idTokenInfo": accepted}
            case "StartTransaction":
                key = (call.station, call.message_id)
                number = self._transactions.setdefault(key, 1000 + len(self._transactions))
                return {"transactionId": number, "idTagInfo": accepted}
            case "NotifyEVChargingNeeds":
                return accepted
            case _:
                return {}
