"""What to expect of a driver who says nothing: what the stays that have ended at the site came to."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

import numpy as np

from optimizer.domain.session import DepartureTarget, TargetSource

REMEMBERED = 300
"""Stays that are remembered, a few weeks of a busy site."""
LEAST_STAYS = 10
"""Fewer stays than this say too little."""
STAY_QUANTILE = 0.25
"""Three of four drivers stay longer than what is assumed."""
ENERGY_QUANTILE = 0.95
"""Nineteen of twenty cars take less than what is assumed: too much costs little, since a full car stops by itself."""


class DefaultLearner:
    """Learns stay and energy from the stays that have ended.

    Args:
        unknown_kwh: What a car is taken to have wanted, at least, that left before it was full [kWh]: what it got was
            our own doing, and learning from it would give the next one less and less.
    """

    def __init__(self, unknown_kwh: float = 0.0) -> None:
        self._unknown_kwh = unknown_kwh
        self._stays_h: deque[float] = deque(maxlen=REMEMBERED)
        self._energies_kwh: deque[float] = deque(maxlen=REMEMBERED)

    def note(self, stay_h: float, energy_kwh: float, *, was_full: bool = True) -> None:
        """A stay has ended; ``was_full`` tells whether its car had stopped by itself."""
        self._stays_h.append(stay_h)
        self._energies_kwh.append(energy_kwh if was_full else max(energy_kwh, self._unknown_kwh))

    def target(self, plugged_in_at: datetime) -> DepartureTarget | None:
        """What is assumed of a stay that begins now; ``None`` while too little is known."""
        if len(self._stays_h) < LEAST_STAYS:
            return None
        stay = timedelta(hours=float(np.quantile(self._stays_h, STAY_QUANTILE)))
        energy_kwh = float(np.quantile(self._energies_kwh, ENERGY_QUANTILE))
        return DepartureTarget(plugged_in_at + stay, energy_kwh=energy_kwh, source=TargetSource.LEARNT)
