"""Piecewise constant limits: reading, merging, shortening, comparing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import LimitPeriod, Setpoint
from optimizer.domain.session import Session

SAME_KW = 1e-6
"""Limits closer than this are the same number after rounding to ampere and back [kW]."""


def is_for(setpoint: Setpoint, session: Session) -> bool:
    """Whether a limit was sent for what runs now, not for an earlier vehicle or transaction."""
    return setpoint.sent_at >= (session.transaction_begun_at or session.plugged_in_at)


def period_at(periods: Sequence[LimitPeriod], instant: datetime) -> LimitPeriod:
    """The piece in force at ``instant``; before the first one that one holds already."""
    current = periods[0]
    for period in periods:
        if period.start > instant:
            break
        current = period
    return current


def limit_at_kw(periods: Sequence[LimitPeriod], instant: datetime) -> float:
    """Limit in force at ``instant`` [kW]."""
    return period_at(periods, instant).limit_kw


def greatest_between_kw(periods: Sequence[LimitPeriod], start: datetime, end: datetime) -> float:
    """Greatest limit in force at any instant of ``[start, end]`` [kW]."""
    greatest_kw = max(limit_at_kw(periods, start), 0.0)
    for period in periods:
        if period.limit_kw > greatest_kw and start < period.start <= end:
            greatest_kw = period.limit_kw
    return greatest_kw


def merged(periods: Sequence[LimitPeriod]) -> tuple[LimitPeriod, ...]:
    """The same limits with equal neighbours joined."""
    joined: list[LimitPeriod] = []
    for period in periods:
        if not joined or abs(joined[-1].net_kw - period.net_kw) > SAME_KW:
            joined.append(period)
    return tuple(joined)


def falling(periods: Sequence[LimitPeriod]) -> tuple[LimitPeriod, ...]:
    """The same limits without their rises.

        7 kW      ====
        4 kW  ====    ===            ->    4 kW  ===========
        2 kW             ====              2 kW             ====

    A rise that is already in a station cannot be taken back from one that has stopped listening, and what it would
    need may have gone to others. So an increase is sent when its time has come and there is room for it. The same holds
    for power that is given back.
    """
    pieces: list[LimitPeriod] = []
    for period in periods:
        pieces.append(period.joined_with(pieces[-1]) if pieces else period)
    return merged(pieces)


def clipped(periods: Sequence[LimitPeriod], limit_kw: float) -> tuple[LimitPeriod, ...]:
    """No piece but the last, the safe value, above ``limit_kw``.

    7 kW      ====                            7 kW
    5 kW  ====    ===            ->           4 kW  ===========
    2 kW             ====(safe)               2 kW             ====(safe)
    """
    *body, tail = periods
    if not body:
        body, tail = [tail], LimitPeriod(tail.start, min(tail.limit_kw, limit_kw))
        return (tail,)
    return merged([*(replace(period, limit_kw=min(period.limit_kw, limit_kw)) for period in body), tail])


def says_the_same(
    held: Sequence[LimitPeriod], wanted: Sequence[LimitPeriod], at: datetime, settings: ControlSettings
) -> bool:
    """Whether two profiles stay within the dead-band of each other until the next one would be due anyway.

    Zero and not zero are never the same, however small the difference; charging and giving back even less so.
    """
    end = at + timedelta(seconds=settings.refresh_margin_s)
    instants = {at} | {period.start for period in (*held, *wanted) if at < period.start <= end}
    for instant in instants:
        held_kw, wanted_kw = period_at(held, instant).net_kw, period_at(wanted, instant).net_kw
        if abs(held_kw - wanted_kw) > settings.dead_band_kw or _direction(held_kw) != _direction(wanted_kw):
            return False
    return True


def _direction(net_kw: float) -> int:
    return (net_kw > SAME_KW) - (net_kw < -SAME_KW)
