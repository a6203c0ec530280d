"""When a vehicle was held at zero by us, and how often that interrupted its charging. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from optimizer.control.profile import is_for
from optimizer.costing.pauses import setpoint_pauses
from optimizer.domain.charger import Setpoint
from optimizer.domain.moment import Interval
from optimizer.domain.session import Session

SAME_PAUSE = timedelta(seconds=60)
"""Two stretches this close are one pause: between them a new limit of zero was on its way."""


def zero_stretches(setpoint: Setpoint | None, session: Session, until: datetime) -> tuple[Interval, ...]:
    """The parts of a session, up to ``until``, in which this setpoint of it was in force and zero."""
    if setpoint is None or not is_for(setpoint, session) or until <= session.plugged_in_at:
        return ()
    return setpoint_pauses((setpoint,), Interval(session.plugged_in_at, until))


def with_pauses(session: Session, pauses: Sequence[Interval]) -> Session:
    """The session with further pauses; those that follow on one another are joined.

    Waiting before the first energy is no interruption and is not counted as one.
    """
    joined = list(session.paused)
    interruptions = session.pauses
    for pause in pauses:
        if joined and pause.start <= joined[-1].end + SAME_PAUSE:
            if pause.end > joined[-1].end:
                joined[-1] = Interval(joined[-1].start, pause.end)
            continue
        joined.append(pause)
        interruptions += session.energy_kwh > 0.0
    return replace(session, paused=tuple(joined), pauses=interruptions)
