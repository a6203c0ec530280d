"""When a virtual station reads its meters, and what it tells of a reading."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from scenarios.station_dialect import ALL_MEASURANDS, Sampled, sampled_values
from scenarios.station_settings import StationSettings
from scenarios.station_state import EvseReading, EvseState

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Aligned readings count from here."""
ALIGNED, SAMPLED = "Sample.Clock", "Sample.Periodic"
"""OCPP's contexts of the two kinds of readings that a central system can order."""


class ReadingPlan:
    """The orders that a central system may change.

    Args:
        settings: What holds until it does.
        start: When the station comes to life [UTC].
    """

    def __init__(self, settings: StationSettings, start: datetime) -> None:
        self.aligned_s = settings.reading_interval_s
        self.sampled_s = settings.sample_interval_s
        self.measurands: dict[str, tuple[str, ...]] = {ALIGNED: ALL_MEASURANDS, SAMPLED: ALL_MEASURANDS}
        self.next_at = start
        self._settings = settings
        self.align(start)

    def align(self, after: datetime) -> None:
        """Put the next aligned reading at the first aligned instant after ``after``."""
        interval = timedelta(seconds=self.aligned_s or 86400)
        self.next_at = EPOCH + interval * ((after - EPOCH) // interval + 1)

    def set_aligned(self, seconds: int, now: datetime) -> None:
        """Change the interval of aligned readings; 0: none [s]."""
        self.aligned_s = seconds
        self.align(now)

    def next_sample_after(self, at: datetime) -> datetime | None:
        """When a transaction metered at ``at`` is metered next; ``None``: never."""
        return at + timedelta(seconds=self.sampled_s) if self.sampled_s else None

    def choose(self, context: str, names: str) -> bool:
        """Choose what is told in a kind of readings; returns whether all of it is known."""
        wanted = tuple(name.strip() for name in names.split(",") if name.strip())
        if not set(wanted) <= set(ALL_MEASURANDS):
            return False
        self.measurands[context] = wanted
        return True

    def values(self, state: EvseState, reading: EvseReading, context: str) -> Iterator[Sampled]:
        """What is told of a reading."""
        wanted = self.measurands.get(context, ALL_MEASURANDS)
        return (value for value in sampled_values(self._settings, state, reading) if value.measurand in wanted)
