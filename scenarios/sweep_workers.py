"""Where the tasks of a sweep are done: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizer.errors import ChargeHorizonError, InvalidInput
from scenarios.runner import never

if TYPE_CHECKING:
    from scenarios.sweep import Asked

DASK_PATIENCE_S = 10
"""How long a Dask scheduler may take to answer [s]."""
TASKS_PER_THREAD = 2
"""Tasks sent ahead to each thread of a cluster, so that none waits for the network."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class IsRemoved:
    """Whether a file is gone: a signal that reaches every process."""

    path: Path
    """The file."""

    def __call__(self) -> bool:
        """Look."""
        return not self.path.exists()


class ProcessWorkers:
    """Processes of this machine (`scenarios.sweep.Workers`), made by `process_workers`.

    Args:
        width: How many.
        going_on: A file that is there until tasks shall end early.
    """

    def __init__(self, width: int, going_on: Path) -> None:
        self._width = width
        self._going_on = going_on

    @property
    def width(self) -> int:
        """How many tasks are done at once."""
        return self._width

    @property
    def is_interrupted(self) -> Asked:
        """What a task asks at every step."""
        return IsRemoved(self._going_on)

    def open(self) -> Executor:
        """A pool of processes."""
        # Spawned, not forked: a copy of a process with threads may wait for ever.
        processes = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._width, mp_context=processes, initializer=leave_interrupts)

    def interrupt(self) -> None:
        """Let tasks that are going on end at their next step."""
        self._going_on.unlink(missing_ok=True)


def leave_interrupts() -> None:
    """Ctrl-C goes to all processes of a terminal, and only the first one may act on it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def process_workers(width: int | None = None) -> Iterator[ProcessWorkers]:
    """Processes of this machine.

    Args:
        width: How many; ``None``: one a core.

    Raises:
        InvalidInput: It is less than 1.
    """
    if width is not None and width < 1:
        raise InvalidInput("--workers", width, "give a number from 1 up")
    handle, name = tempfile.mkstemp(prefix="chargehorizon-sweep-")
    os.close(handle)
    workers = ProcessWorkers(width or cores(), Path(name))
    try:
        yield workers
    finally:
        workers.interrupt()


class DaskWorkers:
    """A Dask cluster (`scenarios.sweep.Workers`), made by `dask_workers`.

    Args:
        client: The connection to it.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    @property
    def width(self) -> int:
        """How many tasks are sent at once; follows a cluster that grows."""
        threads: int = sum(self._client.ncores().values())
        return max(1, TASKS_PER_THREAD * threads)

    @property
    def is_interrupted(self) -> Asked:
        """Nobody tells a worker elsewhere; its task is cancelled, or ends unheard."""
        return never

    def open(self) -> Executor:
        """The cluster as a pool; it starts a lost task again on another worker itself."""
        executor: Executor = self._client.get_executor(pure=False)
        return executor

    def interrupt(self) -> None:
        """Nothing to do: closing the pool cancels its tasks."""


@contextmanager
def dask_workers(address: str) -> Iterator[DaskWorkers]:
    """A Dask cluster whose workers have this package installed; data files go to them with the tasks.

    Args:
        address: Its scheduler: ``tcp://host:8786``.

    Raises:
        ChargeHorizonError: Dask is not installed, or the scheduler does not answer.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ChargeHorizonError("a Dask cluster needs distributed: pip install 'chargehorizon[dask]'") from error
    try:
        client = Client(address, timeout=DASK_PATIENCE_S, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError) as error:
        raise ChargeHorizonError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        yield DaskWorkers(client)
