"""An event loop whose time jumps to the next timer when nobody has anything to do, and the clock that reads it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

Result = TypeVar("Result")

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing: the time that it is asked to wait is added to the loop's time."""

    passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits and no timer is set: the test would hang")
        if not ready and timeout is not None and timeout > 0:
            self.passed_s += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.passed_s


class VirtualClock:
    """The clock port on the running loop's virtual time."""

    def now(self) -> datetime:
        # Rounded to a grid, so that sums of floating seconds never fall just short of an instant.
        return START + timedelta(milliseconds=round(asyncio.get_running_loop().time() * 1000.0))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def wall_seconds(self, seconds: float) -> float:
        return seconds


def run_virtual(work: Coroutine[Any, Any, Result]) -> Result:
    """Run ``work`` to its end on a fresh loop with virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)
