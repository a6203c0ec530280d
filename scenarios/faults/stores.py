"""Stores that outlive the process which uses them: what was acknowledged stays, what was not is as if never asked.

write asked ──► time passes ──► durable ──► time passes ──► acknowledged
                     x killed here: lost        x killed here: kept, and the caller never learns it
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from random import Random
from typing import Any, cast

from optimizer.ports import Stores
from scenarios.memory_stores import MemoryStores

WRITES = (
    "add", "cancel", "close", "mark", "open", "remove", "replace", "save",
)  # fmt: skip
"""How the names of calls begin that change something."""
SLOW_COMMIT_S = 0.03
"""Longest time that one commit takes [s]."""
SLOW_SHARE = 0.05
"""Share of the commits that take time at all; the others are done at once."""


class ProcessStores:
    """All stores, as one process uses them until it is killed.

    One writer at a time, as in a database: writes of other tasks wait while a block of `together` is open.

    Args:
        kept: What outlives the process.
        random: Which commits take long.
        on_write: Told of each write, before and after it is durable; may kill the process.
    """

    def __init__(self, kept: MemoryStores, random: Random, on_write: Callable[[], None]) -> None:
        self._kept = kept
        self._random = random
        self._on_write = on_write
        self._writer = asyncio.Lock()
        self._inside: ContextVar[bool] = ContextVar("inside", default=False)
        self.is_dead = False
        for name in ("sessions", "meters", "connectors", "plans", "reservations", "grid_events", "records"):
            setattr(self, name, _Calls(getattr(kept, name), self))

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Within it all calls of this task commit together, or not at all."""
        if self._inside.get():
            yield
            return
        async with self._writer:
            token = self._inside.set(True)
            try:
                async with self._kept.together():
                    yield
                    await self._pass_time()
            finally:
                self._inside.reset(token)
        await self._pass_time()

    async def call(self, work: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Do one call, as long as the process lives."""
        await self._if_alive()
        if not work.__name__.startswith(WRITES):
            return await work(*args, **kwargs)
        if self._inside.get():
            return await work(*args, **kwargs)
        async with self._writer:
            await self._pass_time()
            async with self._kept.together():
                answer = await work(*args, **kwargs)
            await self._pass_time()
        return answer

    async def _pass_time(self) -> None:
        self._on_write()
        if self._random.random() < SLOW_SHARE:
            await asyncio.sleep(self._random.uniform(0.0, SLOW_COMMIT_S))
        await self._if_alive()

    async def _if_alive(self) -> None:
        if self.is_dead:
            # A dead process does nothing any more; its tasks are cancelled in a moment.
            await asyncio.get_running_loop().create_future()


class _Calls:
    """One store of a process."""

    def __init__(self, store: object, process: ProcessStores) -> None:
        self._store = store
        self._process = process

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        work = getattr(self._store, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._process.call(work, *args, **kwargs)

        setattr(self, name, call)
        return call


def stores_of_process(kept: MemoryStores, random: Random, on_write: Callable[[], None]) -> tuple[Stores, ProcessStores]:
    """Stores for one process, and the handle that ends them with it."""
    process = ProcessStores(kept, random, on_write)
    return cast("Stores", process), process
