"""How far a station's clock is from ours."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

OBSERVATIONS = 3
"""Observations that must agree before a skew is believed: stored messages, replayed in a burst, do not agree."""


class SkewMeter:
    """Estimates a station's skew from the time stamps that it sends.

    A stamp that lies ahead of ours can only come from a wrong clock. One that lies behind may be an old message, so
    only stamps of values that are sent as they are taken count for that.

    Args:
        threshold: Smaller skews are taken as none.
        agreement: How far observations may lie apart and still agree; delays on the way set it.
    """

    def __init__(self, threshold: timedelta, agreement: timedelta) -> None:
        self._threshold = threshold
        self._agreement = agreement
        self._ahead: deque[timedelta] = deque(maxlen=OBSERVATIONS)
        self.skew = timedelta(0)
        """By how much the station's clock is ahead of ours; zero while it is not known, or small."""

    def recall(self, skew: timedelta) -> None:
        """Believe what was found before the service started, until three observations say otherwise."""
        self.skew = skew

    def observe(self, stamp: datetime, received_at: datetime, *, fresh: bool) -> None:
        """Take note of one time stamp.

        Args:
            stamp: As sent [UTC].
            received_at: When it came, by our clock [UTC].
            fresh: Whether it was sent as soon as it was taken.
        """
        ahead = stamp - received_at
        if not fresh and ahead < self._threshold:
            return
        self._ahead.append(ahead)
        if len(self._ahead) < OBSERVATIONS or max(self._ahead) - min(self._ahead) > self._agreement:
            return
        # The least delayed observation is the truest.
        truest = max(self._ahead)
        self.skew = truest if abs(truest) >= self._threshold else timedelta(0)

    def corrected(self, stamp: datetime | None, received_at: datetime) -> datetime:
        """The time on our clock of what a station stamped; never in the future.

        Args:
            stamp: As sent; ``None``: not told.
            received_at: When it came [UTC].
        """
        if stamp is None:
            return received_at
        at = stamp - self.skew
        return received_at if at > received_at + self._threshold else at
