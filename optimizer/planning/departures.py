"""How long drivers stay of what they stated, learnt from stays that have ended."""

from __future__ import annotations

from collections import deque

import numpy as np

from optimizer.domain.session import Session, TargetSource
from optimizer.planning.needs import believed_targets

StayCurve = tuple[tuple[float, float], ...]
"""Share of the stated stay passed, and the share of drivers still there then."""

STATED_BY = (TargetSource.API, TargetSource.RESERVATION, TargetSource.VEHICLE)
"""Sources of departures that somebody stated; what was learnt or assumed says nothing of drivers' word."""

SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Shares of the stated stay at which the curve is learnt."""

FIRST_GUESS_STAYS = 20.0
"""Stays that the first guess counts as: about as many as move the curve by no more than a tenth each way by chance."""

REMEMBERED_STAYS = 1000
"""Latest stays that count, so that a site's habits may change."""


class DepartureRecord:
    """Stays that have ended, and the curve they draw.

    Args:
        first_guess: The curve to begin with; the fewer stays have ended, the more it counts.
    """

    def __init__(self, first_guess: StayCurve) -> None:
        self._guess = first_guess
        self._shares: deque[float] = deque(maxlen=REMEMBERED_STAYS)

    @property
    def count(self) -> int:
        """Number of stays that count."""
        return len(self._shares)

    def note(self, session: Session) -> None:
        """Take notice of a stay; one that lasts, or whose driver stated no departure, says nothing."""
        stated = [target.depart_at for target in believed_targets(session) if target.source in STATED_BY]
        if session.unplugged_at is None or not stated or stated[-1] <= session.plugged_in_at:
            return
        begun = session.plugged_in_at
        self._shares.append((session.unplugged_at - begun) / (stated[-1] - begun))

    def curve(self) -> StayCurve:
        """Share of drivers still there after a share of their stated stay: the first guess where nothing is known.

        A mean of what was seen and the first guess, which counts as ``FIRST_GUESS_STAYS`` stays (the posterior mean of
        a beta distribution for each share).
        """
        if not self._shares:
            return self._guess
        passed, chances = zip(*self._guess, strict=True)
        guess = np.interp(SHARES, passed, chances)
        seen = np.array(self._shares)
        still_there = [float(np.count_nonzero(seen >= share)) for share in SHARES]
        learnt = (np.array(still_there) + FIRST_GUESS_STAYS * guess) / (self.count + FIRST_GUESS_STAYS)
        return tuple(zip(SHARES, learnt.tolist(), strict=True))
