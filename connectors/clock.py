"""Clocks for the service: the time of day, and a faster one for demonstrations.

Only this module and the scenario runner supply a clock (port `optimizer.ports.Clock`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import isfinite

from optimizer.domain.moment import require_utc
from optimizer.errors import InvalidInput


def wall_time() -> datetime:
    """The time of day [UTC]."""
    return datetime.now(UTC)


class SystemClock:
    """The real time of day."""

    def now(self) -> datetime:
        """Now [UTC]."""
        return wall_time()

    async def sleep(self, seconds: float) -> None:
        """Wait for ``seconds``; none or a negative number lets other tasks run once [s]."""
        await asyncio.sleep(max(0.0, seconds))

    def wall_seconds(self, seconds: float) -> float:
        """How long ``seconds`` of this clock last on the wall: as long [s]."""
        return seconds


class AcceleratedClock:
    """A clock that runs ``speed`` times as fast as the wall's.

    ``now = simulated_start + (wall now - wall_start) * speed``. Processes that are given the same three values show the
    same time. The wall clock is read once, when the clock is made, and followed by the monotonic one from then on, so a
    correction of the computer's time never turns this clock back.

    Args:
        simulated_start: What this clock shows at ``wall_start`` [UTC].
        wall_start: The anchor in real time, in the past or the future [UTC].
        speed: Seconds of this clock in one second of the wall, above 0.
        read_wall: Gives the time of day.
        read_monotonic: Gives seconds that never step back.

    Raises:
        InvalidInput: ``speed`` is not a finite number above 0, an anchor has no UTC offset, or ``wall_start`` is so
            long ago that this clock would show no date.
    """

    def __init__(
        self,
        simulated_start: datetime,
        wall_start: datetime,
        speed: float,
        *,
        read_wall: Callable[[], datetime] = wall_time,
        read_monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not (isfinite(speed) and speed > 0):
            raise InvalidInput("speed", speed, "give a finite number above 0; 1 is real time")
        self.speed = speed
        since_anchor = read_wall() - require_utc("wall_start", wall_start)
        try:
            self._origin = require_utc("simulated_start", simulated_start) + since_anchor * speed
        except OverflowError as error:
            raise InvalidInput("wall_start", wall_start.isoformat(), "give a more recent anchor") from error
        self._read_monotonic = read_monotonic
        self._origin_s = read_monotonic()

    def now(self) -> datetime:
        """Now on this clock [UTC]."""
        return self._origin + timedelta(seconds=(self._read_monotonic() - self._origin_s) * self.speed)

    async def sleep(self, seconds: float) -> None:
        """Wait until this clock has advanced by at least ``seconds`` [s]."""
        wake_at = self.now() + timedelta(seconds=max(0.0, seconds))
        await asyncio.sleep(self.wall_seconds(max(0.0, seconds)))
        while (left := wake_at - self.now()) > timedelta(0):  # noqa: ASYNC110 - a timer may fire one tick early
            await asyncio.sleep(self.wall_seconds(left.total_seconds()))

    def wall_seconds(self, seconds: float) -> float:
        """How long ``seconds`` of this clock last on the wall [s]."""
        return seconds / self.speed
