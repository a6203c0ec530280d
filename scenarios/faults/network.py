"""A network in memory: what stations and the central system use of aiohttp's WebSockets, with faults by order.

    VirtualStation ──ws_connect──► MemoryNetwork ──► Link ──► OcppCentralSystem.converse
                    frames as text, in order, each after the link's delay

A link is lost in one of two ways: both ends know at once, or the central system goes on for a while believing in a
station that is gone. What was on its way is lost either way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Protocol, cast

from aiohttp import ClientConnectionError, ClientSession, WSMessage, WSMsgType

from connectors.ocpp.server import OcppCentralSystem
from connectors.ocpp.settings import Version
from optimizer.domain.ids import StationId

CLOSED = WSMessage(WSMsgType.CLOSED, None, None)
CLOSING_S = 0.1
"""Until both ends of a link that is closed in good order know it [s]."""

Accept = Callable[[StationId, Version, "ServerEnd", Callable[[], None]], None]
"""Begins to talk with a station, over an end and with what cuts it."""


class _End:
    """One end of a link: what has arrived at it, and whether it is still of use."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.closed = False
        self.peer: _End
        self._arrived: deque[WSMessage] = deque()
        self._on_way: deque[WSMessage] = deque()
        self._wanted: asyncio.Future[None] | None = None

    async def send_str(self, text: str, /) -> None:
        """Send one text.

        Raises:
            ConnectionResetError: The link is gone, as far as this end knows.
        """
        if self.closed:
            raise ConnectionResetError("the connection is gone")
        self.link.frames += 1
        if self.peer.closed or self.link.is_cut:
            return
        # Timers of one instant are in no order, so the texts are.
        self.peer._on_way.append(WSMessage(WSMsgType.TEXT, text, None))
        asyncio.get_running_loop().call_later(self.link.delay_s, self.peer._arrive)

    def _arrive(self) -> None:
        if self._on_way:
            self._put(self._on_way.popleft())

    def _put(self, message: WSMessage) -> None:
        self._arrived.append(message)
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    def finish(self) -> None:
        """The link is gone, and this end knows."""
        if not self.closed:
            self.closed = True
            self._on_way.clear()
            self._arrived.clear()
            self._put(CLOSED)

    async def receive(self, within_s: float | None = None, /) -> WSMessage:
        """The next message.

        Raises:
            TimeoutError: None came within that time.
        """
        async with asyncio.timeout(within_s):
            while not self._arrived:
                self._wanted = asyncio.get_running_loop().create_future()
                await self._wanted
        return CLOSED if self._arrived[0] is CLOSED else self._arrived.popleft()


class ServerEnd(_End):
    """The central system's end (`connectors.ocpp.transport.StationSocket`)."""

    async def close(self, *, code: int, message: bytes) -> bool:  # noqa: ARG002 - nobody reads why
        """End the link; a station that is gone without a word delays this."""
        if self.link.is_cut:
            await asyncio.sleep(self.link.closing_patience_s)
        else:
            await asyncio.sleep(CLOSING_S)
        self.link.end()
        return True


class ClientEnd(_End):
    """A station's end, as far as `VirtualStation` uses a `ClientWebSocketResponse`."""

    @property
    def protocol(self) -> str:
        """The sub-protocol that was agreed."""
        return self.link.version.value

    async def close(self) -> bool:
        """End the link."""
        self.link.end()
        return True

    def get_extra_info(self, name: str) -> ClientEnd:  # noqa: ARG002 - the socket is all that is asked for
        """What is under it: itself."""
        return self

    def shutdown(self, how: int) -> None:  # noqa: ARG002 - always both ways
        """Lose the link at once."""
        self.link.cut(unseen_s=0.0)

    def __aiter__(self) -> ClientEnd:
        return self

    async def __anext__(self) -> WSMessage:
        message = await self.receive()
        if message is CLOSED:
            raise StopAsyncIteration
        return message


class Link:
    """One connection of one station.

    Args:
        version: What is spoken over it.
        delay_s: From sending a text until it arrives [s].
        closing_patience_s: How long the central system waits for a peer that is gone to agree to the end [s].
    """

    def __init__(self, version: Version, delay_s: float, closing_patience_s: float) -> None:
        self.version = version
        self.delay_s = delay_s
        self.closing_patience_s = closing_patience_s
        self.frames = 0
        self.is_cut = False
        self.client, self.server = ClientEnd(self), ServerEnd(self)
        self.client.peer, self.server.peer = self.server, self.client

    def end(self) -> None:
        """Both ends know that it is gone."""
        self.is_cut = True
        self.client.finish()
        self.server.finish()

    def cut(self, unseen_s: float) -> None:
        """The station loses it now, the central system notices ``unseen_s`` later [s]."""
        self.is_cut = True
        self.client.finish()
        self.server._on_way.clear()
        if unseen_s > 0.0:
            asyncio.get_running_loop().call_later(unseen_s, self.server.finish)
        else:
            self.server.finish()


class Network(Protocol):
    """Where stations find the central system, in memory or on real sockets."""

    @property
    def http(self) -> ClientSession:
        """What stations connect with."""
        ...

    @property
    def frames(self) -> int:
        """Texts sent so far, by both sides."""
        ...

    async def begin(self) -> str:
        """Stations may come; gives the address that they put their id behind."""
        ...

    async def open(self, system: OcppCentralSystem, tasks: set[asyncio.Task[Any]]) -> None:
        """The central system listens; what serves its connections is among the process's tasks."""
        ...

    def shut(self) -> None:
        """The central system is gone, and every connection with it."""
        ...

    async def end(self) -> None:
        """Nobody comes any more."""
        ...

    def cut(self, station_id: StationId, unseen_s: float) -> None:
        """A station loses its connection; the central system notices later [s]."""
        ...

    def is_connected(self, station_id: StationId) -> bool:
        """Whether texts reach the station now."""
        ...


class MemoryNetwork:
    """Where stations find the central system (the part of aiohttp's `ClientSession` that `VirtualStation` uses).

    Args:
        random: Delays.
        closing_patience_s: How long the central system waits for a peer that is gone [s].
    """

    def __init__(self, random: Random, closing_patience_s: float) -> None:
        self._random = random
        self._closing_patience_s = closing_patience_s
        self._accept: Accept | None = None
        self._links: dict[StationId, list[Link]] = {}
        self.frames_before = 0

    @property
    def http(self) -> ClientSession:
        """What stations connect with: of a session they use no more than this has."""
        return cast("ClientSession", self)

    async def begin(self) -> str:
        """Stations may come; gives the address that they put their id behind."""
        return "ws://memory"

    async def open(self, system: OcppCentralSystem, tasks: set[asyncio.Task[Any]]) -> None:
        """The central system listens; what serves its connections is among the process's tasks."""

        def accept(station_id: StationId, version: Version, end: ServerEnd, abort: Callable[[], None]) -> None:
            task = asyncio.create_task(system.converse(station_id, version, end, abort, None))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        self.listen(accept)

    def listen(self, accept: Accept) -> None:
        """Somebody listens."""
        self._accept = accept

    async def end(self) -> None:
        """Nobody comes any more."""
        self.shut()

    def shut(self) -> None:
        """The central system is gone, and every connection with it."""
        self._accept = None
        for link in [link for links in self._links.values() for link in links]:
            link.end()

    @property
    def frames(self) -> int:
        """Texts sent so far, by both sides."""
        return self.frames_before + sum(link.frames for links in self._links.values() for link in links)

    async def ws_connect(
        self,
        url: str,
        *,
        protocols: tuple[str, ...],
        headers: object = None,  # noqa: ARG002 - nobody is refused here
        ssl: object = None,  # noqa: ARG002
        compress: int = 0,  # noqa: ARG002
    ) -> ClientEnd:
        """Connect a station.

        Raises:
            ClientConnectionError: Nobody listens.
        """
        delay_s = self._random.uniform(0.02, 0.3)
        await asyncio.sleep(delay_s)
        if self._accept is None:
            raise ClientConnectionError("nobody listens")
        station_id = StationId(url.rsplit("/", 1)[1])
        link = Link(Version(protocols[0]), delay_s, self._closing_patience_s)
        held = self._links.setdefault(station_id, [])
        self.frames_before += sum(one.frames for one in held if one.is_cut)
        self._links[station_id] = [*(one for one in held if not one.is_cut), link]
        self._accept(station_id, link.version, link.server, link.end)
        return link.client

    def cut(self, station_id: StationId, unseen_s: float) -> None:
        """A station loses its connection; the central system notices later [s]."""
        for link in self._links.get(station_id, ()):
            if not link.is_cut:
                link.cut(unseen_s)

    def is_connected(self, station_id: StationId) -> bool:
        """Whether texts reach the station now."""
        return any(not link.is_cut for link in self._links.get(station_id, ()))
