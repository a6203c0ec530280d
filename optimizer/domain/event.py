"""Grid events: what a grid operator, aggregator or operator asks of the site for a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from optimizer.domain.ids import CircuitId, GridEventId, SiteId
from optimizer.domain.moment import Interval


class GridEventKind(StrEnum):
    """What an event's values mean."""

    IMPORT_LIMIT = "import_limit"
    """Greatest import of the target [kW]."""
    EXPORT_LIMIT = "export_limit"
    """Greatest export of the target [kW]."""
    CONTROLLABLE_LIMIT = "controllable_limit"
    """Greatest sum of all vehicles and the battery [kW] (German section 14a)."""
    SETPOINT = "setpoint"
    """Power to keep, deviation penalised [kW]."""
    PRICE = "price"
    """Price added to import for the window [currency/kWh]."""


class GridEventStatus(StrEnum):
    """Where an event stands."""

    RECEIVED = "received"
    ACTIVE = "active"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class GridEventInterval:
    """One value of an event for one stretch of time."""

    interval: Interval
    """When."""
    value: float
    """[kW], or [currency/kWh] for a price."""


@dataclass(frozen=True, slots=True)
class GridEvent:
    """One event with its values and the proof of response."""

    id: GridEventId
    """Unique."""
    site_id: SiteId
    """Where."""
    kind: GridEventKind
    """What the values mean."""
    intervals: tuple[GridEventInterval, ...]
    """Values in time order, not overlapping."""
    received_at: datetime
    """When the service got it [UTC]."""
    circuit_id: CircuitId | None = None
    """The circuit it limits; ``None``: the grid connection."""
    source: str = "api"
    """Who sent it: api, oadr2b, oadr3, ieee2030.5, eebus, relay."""
    priority: int = 0
    """Smaller goes first (OpenADR 3); equal and in conflict: the tighter limit holds."""
    status: GridEventStatus = GridEventStatus.RECEIVED
    """Where it stands."""
    applied_at: datetime | None = None
    """When the first limits that keep it were sent [UTC]."""
    confirmed_at: datetime | None = None
    """When the meter was first seen within the limit [UTC]."""
    version: int = 1
    """Rises by one with every change."""

    def value_at(self, instant: datetime) -> float | None:
        """Value in force at ``instant``; ``None`` outside all intervals or when cancelled."""
        if self.status is GridEventStatus.CANCELLED:
            return None
        for part in self.intervals:
            if part.interval.contains(instant):
                return part.value
        return None

    @property
    def span(self) -> Interval:
        """From the first interval's start to the last one's end."""
        return Interval(self.intervals[0].interval.start, self.intervals[-1].interval.end)
