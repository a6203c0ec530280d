"""How long a session was held at a limit of zero by us. Such time is never parking time (OCPI PARKING_TIME)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from optimizer.domain.charger import LimitState, Setpoint
from optimizer.domain.moment import Interval

HOUR_UNIT = Decimal("0.0001")
"""Hours are told to a third of a second [h]."""

NOT_IN_FORCE = (LimitState.REJECTED, LimitState.UNANSWERED)
"""Limits that no station is known to have taken."""


def setpoint_pauses(setpoints: Iterable[Setpoint], span: Interval) -> tuple[Interval, ...]:
    """The parts of ``span`` in which the limit in force at one EVSE was zero.

    Args:
        setpoints: Everything that was sent to the EVSE, in any order. Each holds from the station's answer until the
            next one's; what was rejected or never answered changes nothing.
        span: The session.
    """
    taken = [setpoint for setpoint in setpoints if setpoint.state not in NOT_IN_FORCE]
    taken.sort(key=_in_force_from)
    changes: list[tuple[datetime, float]] = []
    for index, setpoint in enumerate(taken):
        start = _in_force_from(setpoint)
        until = _in_force_from(taken[index + 1]) if index + 1 < len(taken) else span.end
        changes.append((start, setpoint.limit_at_kw(start)))
        changes += [(period.start, period.limit_kw) for period in setpoint.periods if start < period.start < until]
    pauses = []
    for (start, limit_kw), (end, _) in pairwise([*changes, (span.end, 0.0)]):
        begin, stop = max(start, span.start), min(end, span.end)
        if limit_kw == 0 and begin < stop:
            pauses.append(Interval(begin, stop))
    return tuple(pauses)


def paused_h(pauses: Iterable[Interval], span: Interval) -> Decimal:
    """Time of ``pauses`` inside ``span``, counted once where they overlap [h]."""
    paused = timedelta(0)
    counted_until = span.start
    for pause in sorted(pauses, key=lambda each: each.start):
        start, end = max(pause.start, counted_until), min(pause.end, span.end)
        if start < end:
            paused += end - start
            counted_until = end
    ticks = paused // timedelta(microseconds=1)
    return (Decimal(ticks) / 3_600_000_000).quantize(HOUR_UNIT)


def _in_force_from(setpoint: Setpoint) -> datetime:
    return setpoint.answered_at or setpoint.sent_at
