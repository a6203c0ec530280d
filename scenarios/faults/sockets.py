"""Real WebSockets between stations and central system, with the same faults by order as the network in memory.

    VirtualStation ══aiohttp══► _Crossing ══TCP══► OcppCentralSystem.application(), served by aiohttp
                                each piece of data waits for the link's delay, or is lost

Both ends are the libraries' own, on ports of this machine. A crossing stands for the network between them: it passes
on bytes, late, until it is cut; then the station knows at once, and the central system when it is told to.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMessage, WSMsgType, web

from connectors.ocpp.server import OcppCentralSystem
from optimizer.domain.ids import StationId

HOST = "127.0.0.1"
ASKED_PATH = re.compile(rb"^GET /ocpp/(\S+) HTTP")


class SocketNetwork:
    """Where stations find the central system, on real sockets.

    Args:
        random: Delays.
    """

    http: ClientSession
    """What stations connect with."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.frames = 0
        self.port: int | None = None
        """Where the central system listens; ``None``: nowhere."""
        self.crossings: set[_Crossing] = set()
        """Connections that are not over."""
        self._door: asyncio.Server | None = None
        self._listener: asyncio.Server | None = None

    async def begin(self) -> str:
        """Stations may come; gives the address that they put their id behind."""
        network = self

        class CountedSocket(ClientWebSocketResponse):
            """A station's end, of which every text counts."""

            async def send_str(self, data: str, compress: int | None = None) -> None:
                network.frames += 1
                await super().send_str(data, compress)

            async def receive(self, timeout: float | None = None) -> WSMessage:  # noqa: ASYNC109 - aiohttp's
                message: WSMessage = await super().receive(timeout)
                network.frames += message.type is WSMsgType.TEXT
                return message

        self.http = ClientSession(ws_response_class=CountedSocket)
        self._door = await asyncio.get_running_loop().create_server(lambda: _NearEnd(_Crossing(self)), HOST, 0)
        return f"http://{HOST}:{self._door.sockets[0].getsockname()[1]}/ocpp"

    async def open(self, system: OcppCentralSystem, tasks: set[asyncio.Task[Any]]) -> None:
        """The central system listens; what serves its connections is among the process's tasks."""

        @web.middleware
        async def kept(request: web.Request, handler: Any) -> web.StreamResponse:
            task = asyncio.current_task()
            if task is not None:
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            response: web.StreamResponse = await handler(request)
            return response

        application = system.application()
        application.middlewares.append(kept)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        server = runner.server
        if server is None:
            raise RuntimeError("aiohttp made no server")
        self._listener = await asyncio.get_running_loop().create_server(server, HOST, 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    def shut(self) -> None:
        """The central system is gone, and every connection with it."""
        self.port = None
        if self._listener is not None:
            self._listener.close()
        for crossing in tuple(self.crossings):
            crossing.cut(unseen_s=0.0)

    async def end(self) -> None:
        """Nobody comes any more."""
        self.shut()
        if self._door is not None:
            self._door.close()
        await self.http.close()

    def cut(self, station_id: StationId, unseen_s: float) -> None:
        """A station loses its connection; the central system notices later [s]."""
        for crossing in tuple(self.crossings):
            if crossing.station_id == station_id:
                crossing.cut(unseen_s)

    def is_connected(self, station_id: StationId) -> bool:
        """Whether texts reach the station now."""
        return any(one.station_id == station_id and one.is_whole for one in self.crossings)


class _Crossing:
    """The way of one connection: bytes in order, each after the link's delay."""

    def __init__(self, network: SocketNetwork) -> None:
        self.station_id: StationId | None = None
        self.near: asyncio.Transport | None = None
        self.far: asyncio.Transport | None = None
        self._network = network
        self._delay_s = network.random.uniform(0.02, 0.3)
        self._is_cut = False
        self._to_far: deque[bytes | None] = deque()
        self._to_near: deque[bytes | None] = deque()
        self._connecting: asyncio.Task[None] | None = None
        self._arrived_early = 0
        network.crossings.add(self)

    @property
    def is_whole(self) -> bool:
        """Whether bytes arrive at both ends."""
        return not self._is_cut and self.near is not None and self.far is not None

    def from_near(self, data: bytes | None) -> None:
        """The station sent bytes, or, with ``None``, closed its end."""
        if self.station_id is None and data is not None:
            asked = ASKED_PATH.match(data)
            self.station_id = StationId(asked[1].decode()) if asked else None
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
        self._send(self._to_far, data, self._arrive_far)

    def from_far(self, data: bytes | None) -> None:
        """The central system sent bytes, or, with ``None``, closed its end."""
        self._send(self._to_near, data, self._arrive_near)

    def _send(self, on_way: deque[bytes | None], data: bytes | None, arrive: Callable[[], None]) -> None:
        if not self._is_cut:
            # Timers of one instant are in no order, so the bytes are.
            on_way.append(data)
            asyncio.get_running_loop().call_later(self._delay_s, arrive)

    async def _connect(self) -> None:
        try:
            if self._network.port is None:
                raise ConnectionRefusedError("nobody listens")
            await asyncio.get_running_loop().create_connection(lambda: _FarEnd(self), HOST, self._network.port)
        except OSError:
            self.cut(unseen_s=0.0)

    def reached(self, far: asyncio.Transport) -> None:
        """The central system has taken the connection."""
        self.far = far
        if self._is_cut:
            far.abort()
        for _ in range(self._arrived_early):
            self._arrive_far()

    def _arrive_far(self) -> None:
        if self.far is None:
            self._arrived_early += 1
        elif self._to_far:
            _deliver(self._to_far.popleft(), self.far)

    def _arrive_near(self) -> None:
        if self.near is not None and self._to_near:
            _deliver(self._to_near.popleft(), self.near)

    def cut(self, unseen_s: float) -> None:
        """The station loses it now, the central system notices ``unseen_s`` later [s]; what is on its way is lost."""
        if self._is_cut:
            return
        self._is_cut = True
        self._network.crossings.discard(self)
        self._to_far.clear()
        self._to_near.clear()
        if self.near is not None:
            self.near.abort()
        if self.far is not None and unseen_s > 0.0:
            asyncio.get_running_loop().call_later(unseen_s, self.far.abort)
        elif self.far is not None:
            self.far.abort()

    def end_lost(self) -> None:
        """One end is gone for good: when the other has heard of it, too, nothing is left."""
        ends = (self.near, self.far)
        if all(end is None or end.is_closing() for end in ends):
            self.cut(unseen_s=0.0)


def _deliver(data: bytes | None, end: asyncio.Transport) -> None:
    if data is None:
        end.close()
    elif not end.is_closing():
        end.write(data)


class _NearEnd(asyncio.Protocol):
    """The end of a crossing that a station has reached."""

    def __init__(self, crossing: _Crossing) -> None:
        self._crossing = crossing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A station is here."""
        if isinstance(transport, asyncio.Transport):
            self._crossing.near = transport

    def data_received(self, data: bytes) -> None:
        """It says something."""
        self._crossing.from_near(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it went
        """It is gone."""
        self._crossing.from_near(None)
        self._crossing.end_lost()


class _FarEnd(asyncio.Protocol):
    """The end of a crossing that has reached the central system."""

    def __init__(self, crossing: _Crossing) -> None:
        self._crossing = crossing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The central system has taken the connection."""
        if isinstance(transport, asyncio.Transport):
            self._crossing.reached(transport)

    def data_received(self, data: bytes) -> None:
        """It says something."""
        self._crossing.from_far(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it went
        """It is gone."""
        self._crossing.from_far(None)
        self._crossing.end_lost()
