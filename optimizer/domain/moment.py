"""Instants and half-open intervals, always aware and in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from optimizer.errors import InvalidInput

_HOUR = timedelta(hours=1)


def require_utc(field: str, value: datetime) -> datetime:
    """Return ``value`` in UTC.

    Raises:
        InvalidInput: The datetime is naive.
    """
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None or value.utcoffset() is None:
        raise InvalidInput(field, value.isoformat(), "give a UTC offset, for example 2026-03-01T08:00:00Z")
    return value.astimezone(UTC)


def hours_between(start: datetime, end: datetime) -> float:
    """Length of ``[start, end)`` [h]."""
    return (end - start) / _HOUR


@dataclass(frozen=True, slots=True)
class Interval:
    """A half-open stretch of time, labelled by its start."""

    start: datetime
    """First instant inside [UTC]."""
    end: datetime
    """First instant after [UTC]."""

    def __post_init__(self) -> None:
        if self.start.tzinfo is not UTC or self.end.tzinfo is not UTC:
            object.__setattr__(self, "start", require_utc("start", self.start))
            object.__setattr__(self, "end", require_utc("end", self.end))
        if self.end <= self.start:
            raise InvalidInput("end", self.end.isoformat(), f"must be after start {self.start.isoformat()}")

    @property
    def duration_h(self) -> float:
        """Length [h]."""
        return hours_between(self.start, self.end)

    def contains(self, instant: datetime) -> bool:
        """Whether ``instant`` lies in the half-open interval."""
        return self.start <= instant < self.end

    def overlap_h(self, other: Interval) -> float:
        """Length of the common part [h]; zero where there is none."""
        return max(0.0, hours_between(max(self.start, other.start), min(self.end, other.end)))
