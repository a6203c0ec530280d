"""A virtual charging station on a real WebSocket: an OCPP client for any central system.

`VirtualStation` joins a `StationCore`, which knows what stations do, with a connection that may be lost at any moment.
One call is on its way at a time; calls about transactions are sent again, with the same id, until they are answered.
Time inside the station is the injected clock's; waiting for the network is on the wall.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from socket import SHUT_RDWR
from socket import socket as Socket  # noqa: N812 - the name is taken by WebSockets here
from ssl import SSLContext
from uuid import uuid4

import structlog
from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, WSMsgType, hdrs

from optimizer.domain.ids import TokenId
from optimizer.ports import Clock
from scenarios.ocpp_frames import (
    BrokenFrame,
    Call,
    Failure,
    Result,
    call_text,
    check_call,
    failure_text,
    read_frame,
    result_problem,
    result_text,
)
from scenarios.outbox import OutgoingCall
from scenarios.station_core import StationCore
from scenarios.station_dialect import CallRefused, Dialect
from scenarios.station_settings import Misbehaviour, OcppVersion, StationSettings
from scenarios.station_state import StationWatchers, Visit
from scenarios.station_v16 import V16
from scenarios.station_v21 import V21
from scenarios.station_v201 import V201
from scenarios.vehicle_model import VehicleModel

DIALECTS: dict[OcppVersion, Callable[[StationCore], Dialect]] = {
    OcppVersion.V16: V16,
    OcppVersion.V201: V201,
    OcppVersion.V21: V21,
}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LinkTimings:
    """How patient a station is with its network, on the wall."""

    answer_within_s: float = 30.0
    """Wait for an answer [s]."""
    retry_after_s: float = 1.0
    """Before a call that was refused or not answered is sent again [s]."""
    reconnect_first_s: float = 0.5
    """Before the first attempt to connect again [s]; doubled each time."""
    reconnect_longest_s: float = 30.0
    """Longest wait between two attempts [s]."""


@dataclass(frozen=True, slots=True)
class CentralSystem:
    """Where a station connects to."""

    url: str
    """WebSocket address without the station's id, for example ws://127.0.0.1:9000/ocpp."""
    password: str = ""
    """For HTTP Basic authentication; empty: none."""
    tls: SSLContext | None = None
    """For wss: authorities that are trusted, and the station's certificate."""
    timings: LinkTimings = LinkTimings()
    """How patient the station is."""

    def with_password(self, password: str | None) -> CentralSystem:
        """The same for a station with a password of its own; ``None``: as it is."""
        return self if password is None else replace(self, password=password)

    def seen_by(self, password: str | None, tls: SSLContext | None) -> CentralSystem:
        """The same for a station with password or certificate of its own; ``None``: as it is."""
        return replace(self.with_password(password), tls=self.tls if tls is None else tls)


class VirtualStation:
    """One station.

    Args:
        settings: What it is.
        central_system: Where it connects to.
        clock: Its time.
        http: Opens its connections.
        watchers: Who is told of its visits.
        random: For jitter and for misbehaviour by chance.
    """

    def __init__(
        self,
        settings: StationSettings,
        central_system: CentralSystem,
        clock: Clock,
        http: ClientSession,
        watchers: StationWatchers,
        random: Random,
    ) -> None:
        self.settings = settings
        self.core = StationCore(settings, clock.now(), DIALECTS[settings.version], lambda: str(uuid4()), watchers)
        self.violations: list[str] = []
        self.connections = 0
        self.connection_problem = ""
        """Why the last attempt to connect failed; empty: none has."""
        self._central_system = central_system
        self._password = central_system.password
        self._clock = clock
        self._http = http
        self._random = random
        self._nudge = asyncio.Event()
        self._to_send = asyncio.Event()
        self._answers: dict[str, asyncio.Future[Result | Failure]] = {}
        self._abandoned: ClientWebSocketResponse | None = None
        self._log = _log.bind(station=settings.station.id)

    # ------------------------------------------------------------------ cars

    def plug_in(
        self, evse_number: int, vehicle: VehicleModel, token_id: TokenId, at: datetime, departs_at: datetime | None
    ) -> Visit:
        """A car is plugged in; the station alone knows when it will leave."""
        self.core.advance(self._clock.now())
        visit = self.core.plug_in(evse_number, vehicle, token_id, at, departs_at)
        self._wake()
        return visit

    def unplug(self, evse_number: int, at: datetime) -> None:
        """A car leaves before its time."""
        self.core.unplug(evse_number, at)
        self._wake()

    # ------------------------------------------------------------------ life

    async def run(self) -> None:
        """Live until cancelled: keep time, and connect again whenever the connection is lost."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_time())
            tasks.create_task(self._stay_connected())

    async def _keep_time(self) -> None:
        while True:
            self._nudge.clear()
            self.core.advance(self._clock.now())
            self._to_send.set()
            wait_s = (self.core.next_due_at() - self._clock.now()).total_seconds()
            if wait_s > 0:
                await self._sleep_unless_nudged(wait_s)
            else:
                await asyncio.sleep(0)

    async def _sleep_unless_nudged(self, seconds: float) -> None:
        waits = [asyncio.create_task(self._clock.sleep(seconds)), asyncio.create_task(self._nudge.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _wake(self) -> None:
        self._nudge.set()
        self._to_send.set()

    async def _stay_connected(self) -> None:
        timings = self._central_system.timings
        wait_s = timings.reconnect_first_s
        while True:
            connected = self.connections
            try:
                await self._connect_once()
            except (ClientError, OSError, TimeoutError) as error:
                self.connection_problem = str(error) or type(error).__name__
                self._log.info("no connection", error=self.connection_problem)
            if self.connections > connected:
                wait_s = timings.reconnect_first_s
            await asyncio.sleep(wait_s * self._random.uniform(0.8, 1.2))
            wait_s = min(2 * wait_s, timings.reconnect_longest_s)

    async def _connect_once(self) -> None:
        system, station_id = self._central_system, self.settings.station.id
        socket = await self._http.ws_connect(
            f"{system.url.rstrip('/')}/{station_id}",
            protocols=(self.settings.version.subprotocol,),
            headers={hdrs.AUTHORIZATION: _basic(station_id, self._password)} if self._password else None,
            ssl=self.core.keys.context(system.tls) or True,
            compress=0,
        )
        abandoned = False
        try:
            if socket.protocol == self.settings.version.subprotocol:
                self.connections += 1
                abandoned = await self._serve(socket)
            else:
                self._log.warning("the central system speaks another version", protocol=socket.protocol)
        finally:
            await self._close(self._abandoned)
            self._abandoned = socket if abandoned else None
            if not abandoned:
                await self._close(socket)

    async def _serve(self, socket: ClientWebSocketResponse) -> bool:
        """Use a connection until it ends; returns whether it is to be left open, unused."""
        self.core.reset_wanted = False
        self.core.connected(self._clock.now())
        self._wake()
        fate = asyncio.create_task(self._await_fate(socket))
        tasks = {fate, asyncio.create_task(self._receive_all(socket)), asyncio.create_task(self._send_all(socket))}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            self._answers.clear()
            self.core.disconnected(self._clock.now())
            self._password = self.core.new_password or self._password
            self._wake()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return not fate.cancelled() and not socket.closed

    async def _await_fate(self, socket: ClientWebSocketResponse) -> None:
        """Wait for what goes wrong with a connection by itself: it is lost, or another one is opened beside it."""
        figures = self.settings.figures
        if self.settings.has(Misbehaviour.DROPS_AT_RANDOM):
            await self._clock.sleep(self._random.expovariate(1.0 / figures.drop_every_s))
            lost: Socket = socket.get_extra_info("socket")
            lost.shutdown(SHUT_RDWR)
            await asyncio.Event().wait()
        if self.settings.has(Misbehaviour.TWO_SOCKETS):
            await self._clock.sleep(figures.second_socket_every_s)
            return
        await asyncio.Event().wait()

    async def _close(self, socket: ClientWebSocketResponse | None) -> None:
        if socket is not None and not socket.closed:
            await socket.close()

    # ------------------------------------------------------------------ hears

    async def _receive_all(self, socket: ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            try:
                frame = read_frame(message.data)
            except BrokenFrame as error:
                self._note_violation(str(error))
                continue
            if isinstance(frame, Call):
                await self._answer(socket, frame)
            else:
                waiting = self._answers.pop(frame.message_id, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(frame)
            if self.core.reset_wanted:
                await socket.close()
                return

    async def _answer(self, socket: ClientWebSocketResponse, call: Call) -> None:
        version = self.settings.version.value
        if self.settings.has(Misbehaviour.NEVER_ANSWERS):
            return
        try:
            check_call(call, version)
            text = result_text(call.message_id, self.core.answer(call.action, call.payload, self._clock.now()))
        except CallRefused as refusal:
            if refusal.code == "FormatViolation":
                self._note_violation(f"{call.action}: {refusal.description}")
            text = failure_text(call.message_id, version, refusal)
        await socket.send_str(text)
        self._wake()

    def _note_violation(self, problem: str) -> None:
        self.violations.append(problem)
        self._log.warning("the central system broke the protocol", problem=problem)

    # ------------------------------------------------------------------ tells

    async def _send_all(self, socket: ClientWebSocketResponse) -> None:
        while True:
            call = self.core.outbox.head
            if call is None or not (self.core.is_booted or call.action == "BootNotification"):
                self._to_send.clear()
                await self._to_send.wait()
                continue
            if not await self._send_one(socket, call):
                await asyncio.sleep(self._central_system.timings.retry_after_s)

    async def _send_one(self, socket: ClientWebSocketResponse, call: OutgoingCall) -> bool:
        """Send a call and take its answer; returns whether to go on at once."""
        waiting: asyncio.Future[Result | Failure] = asyncio.get_running_loop().create_future()
        self._answers[call.message_id] = waiting
        call.attempts += 1
        await socket.send_str(call_text(call.message_id, call.action, call.payload))
        try:
            async with asyncio.timeout(self._central_system.timings.answer_within_s):
                frame = await waiting
        except TimeoutError:
            self.core.outbox.expire(call.message_id)
            return not call.is_durable
        self.core.advance(self._clock.now())
        if isinstance(frame, Failure):
            self._log.info("call refused", action=call.action, code=frame.code, description=frame.description)
            self.core.outbox.refuse(call.message_id, frame.code)
            return not call.is_durable
        return self._take_result(call, frame)

    def _take_result(self, call: OutgoingCall, result: Result) -> bool:
        problem = result_problem(call.action, result.payload, self.settings.version.value)
        if problem:
            self._note_violation(f"answer to {call.action}: {problem}")
            self.core.outbox.refuse(call.message_id, problem)
            return not call.is_durable
        self.core.outbox.acknowledge(call.message_id, result.payload)
        self._nudge.set()
        return True


def _basic(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()
