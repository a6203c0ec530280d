"""The true power of one thing over time, piecewise constant, so that its energy is exact at any instant."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from optimizer.domain.moment import hours_between
from optimizer.domain.series import PowerSeries
from optimizer.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class TraceStep:
    """From when a power holds."""

    at: datetime
    """From when [UTC]."""
    power_kw: float
    """What holds from then on [kW]."""
    register_kwh: float
    """Energy from the first step until ``at`` [kWh]."""
    current_paths: int
    """Current paths that carry it; 0 where none does."""


class PowerTrace:
    """Power since ``start``; only the future can be added to."""

    def __init__(self, start: datetime) -> None:
        self._steps = [TraceStep(start, 0.0, 0.0, 0)]
        self._instants = [start]

    @property
    def steps(self) -> Sequence[TraceStep]:
        """All steps by time; equal neighbours are merged."""
        return self._steps

    @property
    def newest_at(self) -> datetime:
        """When the last step began [UTC]."""
        return self._instants[-1]

    @property
    def newest_kw(self) -> float:
        """Power of the last step [kW]."""
        return self._steps[-1].power_kw

    def forget_before(self, instant: datetime) -> None:
        """Let go of the steps that ended before ``instant``."""
        first = max(0, bisect_right(self._instants, instant) - 1)
        del self._steps[:first], self._instants[:first]

    def add(self, at: datetime, power_kw: float, current_paths: int = 0) -> None:
        """From ``at`` on the power is ``power_kw``.

        Raises:
            InvalidInput: ``at`` lies before the last step.
        """
        last = self._steps[-1]
        if at < last.at:
            raise InvalidInput("at", at.isoformat(), f"must not be before the last step at {last.at.isoformat()}")
        if (power_kw, current_paths) == (last.power_kw, last.current_paths):
            return
        step = TraceStep(at, power_kw, self.register_kwh(at), current_paths)
        if at == last.at:
            self._steps[-1] = step
        else:
            self._steps.append(step)
            self._instants.append(at)

    def step_at(self, at: datetime) -> TraceStep:
        """The step that holds at ``at``; before the first one, the first."""
        return self._steps[max(0, bisect_right(self._instants, at) - 1)]

    def power_kw(self, at: datetime) -> float:
        """Power at ``at`` and just after [kW]."""
        return self.step_at(at).power_kw

    def register_kwh(self, at: datetime) -> float:
        """Energy until ``at`` [kWh]."""
        step = self.step_at(at)
        return step.register_kwh + step.power_kw * max(0.0, hours_between(step.at, at))

    def steps_between(self, start: datetime, end: datetime) -> Sequence[TraceStep]:
        """The steps in ``[start, end)``."""
        return self._steps[bisect_left(self._instants, start) : bisect_left(self._instants, end)]


def trace_of(series: PowerSeries) -> PowerTrace:
    """A series as a trace; after its end the last power holds."""
    trace = PowerTrace(series.boundaries[0])
    for start, power_kw in zip(series.boundaries, series.values_kw, strict=False):
        trace.add(start, power_kw)
    return trace
