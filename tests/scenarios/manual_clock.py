"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta


class ManualClock:
    """Time passes only through `advance`."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._sleepers: list[tuple[datetime, asyncio.Event]] = []

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        wake_at = self._now + timedelta(seconds=max(0.0, seconds))
        if wake_at <= self._now:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        self._sleepers.append((wake_at, woken))
        try:
            await woken.wait()
        finally:
            self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[1] is not woken]

    def wall_seconds(self, seconds: float) -> float:
        return seconds

    def advance(self, **amount: float) -> None:
        """Move on, for example ``minutes=5``, and wake who is due."""
        self._now += timedelta(**amount)
        for wake_at, woken in self._sleepers:
            if wake_at <= self._now:
                woken.set()
