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
        self._held_between_a: tuple[float, float] | None = None
        self._last_a: float | None = None
        self._falls_since: datetime | None = None
        self.least_current_a: float | None = None
        """Least accepted limit under which energy was seen to flow [A]."""
        self.reaction_s: float | None = None
        """Longest time seen from accepting a reduction until the meter showed it; at most that long [s]."""

    def accepted(self, periods: Sequence[LimitPeriod], at: datetime, transaction_id: TransactionId | None) -> None:
        """The station accepted a limit for a transaction; for another one it says nothing."""
        self._periods, self._accepted_at, self._transaction_id = tuple(periods), at, transaction_id
        limit_a = self._evse.current_a(self._in_force(at).limit_kw)
        falls = self._last_a is not None and self._last_a > _greatest_within(limit_a)
        self._falls_since = at if falls else None

    def expect_reaction(self, reaction_s: float | None) -> None:
        """Give the station the time that it is known to need [s]."""
        if reaction_s is not None:
            self._reaction = max(self._reaction, timedelta(seconds=reaction_s))

    def look_away(self) -> None:
        """Which limit holds is not known from now on: one was sent and not accepted, or removed."""
        self._accepted_at = self._falls_since = None
        self._above = 0

    def start_anew(self) -> None:
        """Limits are told in another way from now on: what was seen counts no more."""
        self._above = 0
        self._held_between_a = None

    @property
    def is_ignored(self) -> bool:
        """Whether the meter shows an accepted limit to be ignored."""
        return self._above >= SAMPLES_TO_DOUBT

    @property
    def is_proven(self) -> bool:
        """Whether the vehicle was held by two different limits."""
        least_a, greatest_a = self._held_between_a or (0.0, 0.0)
        return greatest_a - least_a > APART_A

    def observe(self, sample: MeterSample) -> None:
        """Take note of one sample."""
        usable = sample.quality in (SampleQuality.GOOD, SampleQuality.DERIVED)
        if not usable or (sample.current_a is None and sample.power_kw is None):
            return
        self._last_a = measured_a = self._measured_a(sample)
        if sample.transaction_id != self._transaction_id:
            return
        self._time_reaction(sample.at, measured_a)
        limit_kw = self._limit_kw(sample.at)
        if limit_kw is None:
            return
        limit_a = self._evse.current_a(limit_kw)
        if measured_a > _greatest_within(limit_a):
            self._above += 1
            return
        self._above = 0
        if limit_a >= self._evse.min_current_a and measured_a >= TRACKED_SHARE * limit_a:
            least_a, greatest_a = self._held_between_a or (limit_a, limit_a)
            self._held_between_a = min(least_a, limit_a), max(greatest_a, limit_a)
            self.least_current_a = min(self.least_current_a or limit_a, limit_a)

    def _time_reaction(self, at: datetime, measured_a: float) -> None:
        """Note how long a reduction took to show."""
        if self._falls_since is None or at < self._falls_since:
            return
        if measured_a <= _greatest_within(self._evse.current_a(self._in_force(at).limit_kw)):
            took_s = float(round((at - self._falls_since).total_seconds()))
            self.reaction_s = max(self.reaction_s or took_s, took_s)
            self._falls_since = None

    def _in_force(self, at: datetime) -> LimitPeriod:
        return ([period for period in self._periods if period.start <= at] or list(self._periods[:1]))[-1]

    def _limit_kw(self, at: datetime) -> float | None:
        """The limit that should show at ``at``; ``None`` where none has been in force long enough [kW]."""
        if self._accepted_at is None or at < self._accepted_at + self._reaction:
            return None
        in_force = self._in_force(at)
        return None if at < in_force.start + self._reaction else in_force.limit_kw

    def _measured_a(self, sample: MeterSample) -> float:
        """Greatest current of a phase, else the current that the power makes on all paths [A]."""
        if sample.current_a is not None:
            return max(sample.current_a)
        return self._evse.current_a(max(0.0, sample.power_kw or 0.0))


def _greatest_within(limit_a: float) -> float:
    """The most that a meter may show of a limit that is kept [A]."""
    return limit_a * (1 + EXCESS_SHARE) + EXCESS_A
