"""What drivers usually need, for those who say nothing: what their own earlier stays came to."""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import timedelta

import numpy as np

from optimizer.domain.ids import TokenId
from optimizer.domain.moment import hours_between
from optimizer.domain.session import DepartureTarget, Session, TargetSource

REMEMBERED = 20
"""Stays of one token that are remembered, the newest: a month of working days."""

LEAST_STAYS = 3
"""Fewer stays than this are no habit."""

MOST_TOKENS = 20_000
"""Tokens that are remembered; those that were not seen for longest give way."""

STAY_QUANTILE = 0.25
"""Three of four stays are longer than what is assumed, so that a driver who leaves early is not left short."""

ENERGY_QUANTILE = 0.75
"""Three of four stays took less than what is assumed."""


class DriverHabits:
    """Learns stay and energy of each token from its stays that have ended."""

    def __init__(self) -> None:
        self._stays: OrderedDict[TokenId, deque[tuple[float, float]]] = OrderedDict()

    def note(self, session: Session) -> None:
        """A stay has ended; one without a token, or that took nothing, says nothing."""
        if session.token_id is None or session.unplugged_at is None or session.energy_kwh <= 0.0:
            return
        stays = self._stays.setdefault(session.token_id, deque(maxlen=REMEMBERED))
        stays.append((hours_between(session.plugged_in_at, session.unplugged_at), session.energy_kwh))
        self._stays.move_to_end(session.token_id)
        if len(self._stays) > MOST_TOKENS:
            self._stays.popitem(last=False)

    def target(self, session: Session) -> DepartureTarget | None:
        """What is to be expected of a stay by its driver's habit; ``None``: it has shown none."""
        stays = self._stays.get(session.token_id, ()) if session.token_id is not None else ()
        if len(stays) < LEAST_STAYS:
            return None
        stay_h = float(np.quantile([hours for hours, _ in stays], STAY_QUANTILE))
        energy_kwh = float(np.quantile([energy_kwh for _, energy_kwh in stays], ENERGY_QUANTILE))
        depart_at = session.plugged_in_at + timedelta(hours=stay_h)
        return DepartureTarget(depart_at, energy_kwh=energy_kwh, source=TargetSource.LEARNT)


def no_habit(_session: Session) -> DepartureTarget | None:
    """Expect nothing of anybody."""
    return None
