"""What a replay found: each stay, each step, each plan, and what all of it came to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from scenarios.limit_audit import Violation
from scenarios.stopwatch import Spent

FloatArray = NDArray[np.float64]

SHORT_BY_KWH = 0.1
"""A stay that lacks less than this got what it needed: less than a minute of charging."""


@dataclass(frozen=True, slots=True)
class StayOutcome:
    """What became of one stay."""

    id: str
    """Name of the stay."""
    evse_id: str
    """Where it stood."""
    arrived_at: datetime
    """Plug-in [UTC]."""
    departed_at: datetime
    """Plug-out [UTC]."""
    wanted_kwh: float
    """Energy that the car is known to take [kWh]."""
    delivered_kwh: float
    """Energy that it got, less what it gave back [kWh]."""
    stated_kwh: float | None
    """Energy that its driver last asked for [kWh]; ``None``: nothing was said."""
    stated_departure: datetime | None
    """Departure that its driver last announced [UTC]."""
    pauses: int
    """Times that we interrupted its charging."""
    given_back_kwh: float = 0.0
    """Energy that it gave back in between, as metered [kWh]."""

    @property
    def unserved_kwh(self) -> float:
        """Energy that the car would have taken and did not get [kWh]."""
        return max(0.0, self.wanted_kwh - self.delivered_kwh)

    @property
    def is_served(self) -> bool:
        """Whether it got what the car takes, all but a trifle."""
        return self.unserved_kwh <= SHORT_BY_KWH

    @property
    def statement_is_met(self) -> bool | None:
        """Whether it got what its driver asked for, or what the car takes where that is less; ``None``: not asked."""
        if self.stated_kwh is None:
            return None
        return self.delivered_kwh >= min(self.stated_kwh, self.wanted_kwh) - SHORT_BY_KWH


@dataclass(frozen=True, slots=True)
class PlanningLog:
    """How planning went, one value a plan."""

    at: tuple[datetime, ...] = ()
    """When each plan was made [UTC]."""
    solve_s: tuple[float, ...] = ()
    """From problem to plan [s]."""
    fallbacks: int = 0
    """Plans that a heuristic had to make in the solver's place."""
    time_limits: int = 0
    """Plans for which the time limit came first."""


@dataclass(frozen=True)
class StepSeries:
    """Energy of each step, from the true flows."""

    start: datetime
    """First boundary [UTC]."""
    step: timedelta
    """Length of a step."""
    charging_kwh: FloatArray
    """All cars, shape (steps,)."""
    import_kwh: FloatArray
    """From the grid, shape (steps,)."""
    export_kwh: FloatArray
    """To the grid, shape (steps,)."""
    battery_kwh: FloatArray
    """Into the stationary battery, discharge negative, shape (steps,)."""
    building_kwh: FloatArray
    """Building, shape (steps,)."""
    pv_kwh: FloatArray
    """PV, shape (steps,)."""

    @property
    def count(self) -> int:
        """Number of steps."""
        return len(self.charging_kwh)

    @property
    def step_h(self) -> float:
        """Length of a step [h]."""
        return self.step / timedelta(hours=1)

    def boundaries(self) -> list[datetime]:
        """N+1 instants [UTC]."""
        return [self.start + index * self.step for index in range(self.count + 1)]


@dataclass(frozen=True)
class Course:
    """Everything that happened in one replay, before it is judged."""

    strategy: str
    """What planned."""
    stays: tuple[StayOutcome, ...]
    """Every stay that has ended, or was ended by the replay's end, by plug-in."""
    series: StepSeries
    """True flows."""
    violations: tuple[Violation, ...]
    """Every stretch above a limit."""
    planning: PlanningLog
    """How planning went."""
    setpoint_changes: int
    """Limits that stations were sent."""
    spent: Spent
    """What it took."""
    until: datetime
    """How far it came [UTC]."""
    is_complete: bool
    """Whether it came to the end; where not, it was interrupted."""
    battery_drained_kwh: float = 0.0
    """What the stationary battery holds less at the end than at the start [kWh]; below zero where it holds more."""
