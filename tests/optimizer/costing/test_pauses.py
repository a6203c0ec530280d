from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from optimizer.costing.pauses import paused_h, setpoint_pauses
from optimizer.domain.charger import LimitPeriod, LimitState, Setpoint
from optimizer.domain.ids import EvseId
from optimizer.domain.moment import Interval

START = datetime(2026, 6, 1, 10, tzinfo=UTC)
SPAN = Interval(START, START + timedelta(hours=2))


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def sent(
    minute: float, *limits: tuple[float, float], state: LimitState = LimitState.ACCEPTED, answer: float = 0
) -> Setpoint:
    periods = tuple(LimitPeriod(at(start), limit_kw) for start, limit_kw in limits)
    return Setpoint(EvseId("E1"), periods, state, at(minute), answered_at=at(minute + answer))


@pytest.mark.parametrize(
    ("history", "pauses"),
    [
        ([], []),
        ([sent(0, (0, 7.0))], []),
        ([sent(0, (0, 7.0)), sent(30, (30, 0.0)), sent(60, (60, 7.0))], [(30, 60)]),
        ([sent(0, (0, 7.0)), sent(60, (60, 7.0)), sent(30, (30, 0.0))], [(30, 60)]),
        ([sent(-30, (-30, 0.0)), sent(10, (10, 7.0))], [(0, 10)]),
        ([sent(100, (100, 0.0))], [(100, 120)]),
        ([sent(0, (0, 7.0), (20, 0.0), (40, 7.0))], [(20, 40)]),
        ([sent(0, (0, 0.0), (60, 7.0)), sent(30, (30, 7.0))], [(0, 30)]),
        ([sent(0, (0, 7.0)), sent(30, (30, 0.0), state=LimitState.REJECTED)], []),
        ([sent(0, (0, 0.0)), sent(30, (30, 7.0), state=LimitState.UNANSWERED)], [(0, 120)]),
        ([sent(0, (0, 7.0)), sent(30, (30, 0.0), answer=2), sent(60, (60, 7.0), answer=1)], [(32, 61)]),
        ([sent(150, (150, 0.0))], []),
    ],
    ids=[
        "nothing sent",
        "never paused",
        "paused and resumed",
        "history out of order",
        "paused before plug-in",
        "paused until plug-out",
        "a period of zero inside a profile",
        "profile replaced before its pause ended",
        "rejected pause",
        "resumption never answered",
        "in force from the answer on",
        "paused after plug-out",
    ],
)
def test_time_at_a_limit_of_zero(history: list[Setpoint], pauses: list[tuple[float, float]]) -> None:
    found = setpoint_pauses(history, SPAN)
    assert list(found) == [Interval(at(start), at(end)) for start, end in pauses]
    assert float(paused_h(found, SPAN)) == pytest.approx(sum(end - start for start, end in pauses) / 60, abs=1e-4)


@pytest.mark.parametrize(
    ("pauses", "hours"),
    [
        ([], "0.0000"),
        ([(0, 30), (60, 90)], "1.0000"),
        ([(0, 60), (30, 90)], "1.5000"),
        ([(60, 90), (0, 30)], "1.0000"),
        ([(-60, 30), (90, 300)], "1.0000"),
        ([(-60, -30)], "0.0000"),
    ],
    ids=["none", "two", "overlapping count once", "any order", "clipped to the session", "before it"],
)
def test_pauses_are_counted_inside_the_session(pauses: list[tuple[float, float]], hours: str) -> None:
    assert str(paused_h([Interval(at(start), at(end)) for start, end in pauses], SPAN)) == hours
