"""Running the service until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import structlog

from api.composition import running
from api.config import Configuration

EXIT_FAILED = 1

LONGEST_TURN_S = 0.001
"""How long a thread goes on while others wait for the interpreter; each answer waits for a few turns [s]."""
COLLECTION_THRESHOLDS = (10_000, 20, 50)
"""Steps of the garbage collection: a message or a plan makes thousands of objects that go without it."""

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


def serve_until_stopped(configuration: Configuration, *, while_stdin_open: bool = False) -> int:
    """Run the service until SIGTERM or SIGINT; gives the exit code.

    Args:
        configuration: What to run.
        while_stdin_open: Whether it also ends with its standard input: a pipe that whoever started it holds closes
            even where that process is killed.

    Raises:
        InvalidInput: Something in the configuration, or in a file that it names, cannot be used.
    """
    return asyncio.run(_serve(configuration, while_stdin_open=while_stdin_open))


class CountedThreads(ThreadPoolExecutor):
    """Threads of the event loop that know whether they are at work."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="worker")
        self.pending: set[Future[Any]] = set()

    def submit(self, work: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Do ``work`` in a thread."""
        future = super().submit(work, *args, **kwargs)
        self.pending.add(future)
        future.add_done_callback(self.pending.discard)
        return future


def settle_interpreter() -> None:
    """Leave out of garbage collection what lasts as long as the service: modules, tables, messages' schemas.

    And let the event loop have its turn quickly while a thread plans or reads.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTION_THRESHOLDS)
    sys.setswitchinterval(LONGEST_TURN_S)


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        loop.remove_reader(sys.stdin)
        stop.set()


async def _serve(configuration: Configuration, *, while_stdin_open: bool) -> int:
    threads = CountedThreads()
    asyncio.get_running_loop().set_default_executor(threads)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if while_stdin_open:
        loop.add_reader(sys.stdin, _watch_stdin, loop, stop)
    async with running(configuration) as started:
        log.info(
            "serving",
            site=started.service.site.id,
            http=f"http://{configuration.http.host}:{started.http_port}",
            ocpp=f"{configuration.ocpp.host}:{started.ocpp_port}",
        )
        settle_interpreter()
        told_to_stop = asyncio.create_task(stop.wait())
        await asyncio.wait({told_to_stop, started.control}, return_when=asyncio.FIRST_COMPLETED)
        failed = not told_to_stop.done()
        told_to_stop.cancel()
        log.info("stopping")
    if failed:
        log.error("control has ended by itself", exc_info=started.control.exception())
    log.info("stopped")
    code = EXIT_FAILED if failed else 0
    if threads.pending:
        # A thread still solves, or waits for a server, and cannot be stopped; all that matters is in the store.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
