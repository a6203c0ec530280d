"""Tasks that live together: a fault of one ends the block that needs them all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager


@asynccontextmanager
async def living(lives: Iterable[Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Run ``lives`` beside the block; a fault of one cancels the block and is raised, the block's end cancels them."""
    block = asyncio.current_task()
    failures: list[BaseException] = []

    def note_end(task: asyncio.Task[None]) -> None:
        failure = None if task.cancelled() else task.exception()
        if failure is not None and block is not None:
            failures.append(failure)
            block.cancel()

    tasks = [asyncio.create_task(life) for life in lives]
    for task in tasks:
        task.add_done_callback(note_end)
    try:
        yield
    except asyncio.CancelledError:
        if not failures or block is None:
            raise
        block.uncancel()
        raise failures[0] from None
    finally:
        for task in tasks:
            task.remove_done_callback(note_end)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
