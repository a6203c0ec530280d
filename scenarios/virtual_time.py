"""An event loop whose time jumps to the next timer when nobody has anything to do, and the clock that reads it.

Programs that wait by timers, as all of the service does, live hours in seconds and in the same order every time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

Result = TypeVar("Result")


SETTLE_WALL_S = 0.001
"""For bytes to come out at the other end of a socket of this machine [s on the wall]."""


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing: the time that it is asked to wait is added to the loop's time."""

    passed_s = 0.0
    settle_wall_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and self.settle_wall_s and timeout != 0:
            ready = super().select(self.settle_wall_s)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits and no timer is set")
        if not ready and timeout is not None and timeout > 0:
            self.passed_s += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time, which begins at zero.

    Args:
        with_sockets: Whether bytes may be on their way between sockets of this machine; time then stands until they
            have had the time to arrive.
    """

    def __init__(self, *, with_sockets: bool = False) -> None:
        self._jumping = _JumpingSelector()
        self._jumping.settle_wall_s = SETTLE_WALL_S if with_sockets else 0.0
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds since the loop began [s]."""
        return self._jumping.passed_s


class LoopClock:
    """The clock port on the running loop's time.

    Args:
        start: What it shows when the loop begins [UTC].
    """

    def __init__(self, start: datetime) -> None:
        self._start = start

    def now(self) -> datetime:
        """Now [UTC]."""
        # Rounded to a grid, so that sums of floating seconds never fall just short of an instant.
        return self._start + timedelta(milliseconds=round(asyncio.get_running_loop().time() * 1000.0))

    async def sleep(self, seconds: float) -> None:
        """Wait for ``seconds``."""
        await asyncio.sleep(seconds)

    def wall_seconds(self, seconds: float) -> float:
        """How long ``seconds`` last for timers of libraries: as long, since they wait by the same loop [s]."""
        return seconds


def run_in_virtual_time(work: Coroutine[Any, Any, Result], *, with_sockets: bool = False) -> Result:
    """Run ``work`` to its end on a fresh loop with virtual time.

    Args:
        work: What to run.
        with_sockets: Whether it uses sockets of this machine.
    """
    with asyncio.Runner(loop_factory=partial(VirtualTimeLoop, with_sockets=with_sockets)) as runner:
        return runner.run(work)
