"""Does the meter show that a station keeps the limits it accepts?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from optimizer.domain.charger import LimitPeriod
from optimizer.domain.ids import TransactionId
from optimizer.domain.metering import MeterSample, SampleQuality
from optimizer.domain.site import Evse

SAMPLES_TO_DOUBT = 3
"""Samples above the limit in a row that show a limit to be ignored."""

EXCESS_SHARE = 0.05
"""Share of a limit by which a meter may show more and the limit be kept: station and meter each err a little."""

EXCESS_A = 0.5
"""Current by which a meter may show more: a station's own standby and rounding [A]."""

TRACKED_SHARE = 0.85
"""Share of a limit from which a vehicle is seen to be held by it, not by itself."""

APART_A = 1.0
"""Limits that differ by more are two, and a vehicle held by both is held by what we say, not by chance [A]."""


class LimitWitness:
    """Watches one EVSE's meter for signs that its limits are kept, or that they are not.

    Args:
        evse: Whose meter.
        reaction: Time after which a limit should show.
    """

    def __init__(self, evse: Evse, reaction: timedelta) -> None:
        self._evse = evse
        self._reaction = reaction
        self._periods: tuple[LimitPeriod, ...] = ()
        self._accepted_at: datetime | None = None
        self._transaction_id: TransactionId | None = None
        self._above = 0
        self._held_at_a: list[float] = []

    def accepted(self, periods: Sequence[LimitPeriod], at: datetime, transaction_id: TransactionId | None) -> None:
        """The station accepted a limit for a transaction; for another one it says nothing."""
        self._periods, self._accepted_at, self._transaction_id = tuple(periods), at, transaction_id

    def look_away(self) -> None:
        """Which limit holds is not known from now on: one was sent and not accepted, or removed."""
        self._accepted_at = None
        self._above = 0

    def start_anew(self) -> None:
        """Limits are told in another way from now on: what was seen counts no more."""
        self._above = 0
        self._held_at_a.clear()

    @property
    def is_ignored(self) -> bool:
        """Whether the meter shows an accepted limit to be ignored."""
        return self._above >= SAMPLES_TO_DOUBT

    @property
    def is_proven(self) -> bool:
        """Whether the vehicle was held by two different limits."""
        return bool(self._held_at_a) and max(self._held_at_a) - min(self._held_at_a) > APART_A

    def observe(self, sample: MeterSample) -> None:
        """Take note of one sample."""
        limit_kw = self._limit_kw(sample.at) if sample.transaction_id == self._transaction_id else None
        usable = sample.quality in (SampleQuality.GOOD, SampleQuality.DERIVED)
        if limit_kw is None or not usable or (sample.current_a is None and sample.power_kw is None):
            return
        limit_a = self._evse.current_a(limit_kw)
        measured_a = self._measured_a(sample)
        if measured_a > limit_a * (1 + EXCESS_SHARE) + EXCESS_A:
            self._above += 1
            return
        self._above = 0
        if limit_a >= self._evse.min_current_a and measured_a >= TRACKED_SHARE * limit_a:
            self._held_at_a = [*self._held_at_a[-3:], limit_a]

    def _limit_kw(self, at: datetime) -> float | None:
        """The limit that should show at ``at``; ``None`` where none has been in force long enough [kW]."""
        if self._accepted_at is None or at < self._accepted_at + self._reaction:
            return None
        in_force = [period for period in self._periods if period.start <= at] or list(self._periods[:1])
        if at < in_force[-1].start + self._reaction:
            return None
        return in_force[-1].limit_kw

    def _measured_a(self, sample: MeterSample) -> float:
        """Greatest current of a phase, else the current that the power makes on all paths [A]."""
        if sample.current_a is not None:
            return max(sample.current_a)
        return self._evse.current_a(max(0.0, sample.power_kw or 0.0))
