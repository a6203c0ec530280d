"""What a replay takes: time on the wall, and of the processor, which does not count the other work of a machine."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter, process_time


@dataclass(frozen=True, slots=True)
class Spent:
    """Time that something took."""

    wall_s: float = 0.0
    """On the wall [s]."""
    processor_s: float = 0.0
    """Of the processor, all threads of the process [s]."""


NOTHING_SPENT = Spent()


class Stopwatch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._before = NOTHING_SPENT
        self._begun = Spent(perf_counter(), process_time())

    def go_on_from(self, before: Spent) -> None:
        """Count in what was spent earlier, in a run that was interrupted."""
        self._before = before

    @property
    def spent(self) -> Spent:
        """What has been spent until now."""
        wall_s, processor_s = perf_counter() - self._begun.wall_s, process_time() - self._begun.processor_s
        return Spent(self._before.wall_s + wall_s, self._before.processor_s + processor_s)
