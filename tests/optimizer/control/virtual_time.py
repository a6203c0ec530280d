"""Virtual time for the tests of control: where it begins, and how to live it."""

from __future__ import annotations

from datetime import UTC, datetime

from scenarios.virtual_time import LoopClock
from scenarios.virtual_time import run_in_virtual_time as run_virtual

__all__ = ["START", "VirtualClock", "run_virtual"]

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


class VirtualClock(LoopClock):
    """The clock port on the running loop's virtual time."""

    def __init__(self) -> None:
        super().__init__(START)
