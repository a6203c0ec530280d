"""Settings, targets and pauses."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta

import pytest
from bench import SITE
from virtual_time import START

from optimizer.control.pauses import with_pauses, zero_stretches
from optimizer.control.settings import ControlSettings
from optimizer.control.targets import with_targets
from optimizer.domain.charger import LimitPeriod, LimitState, Setpoint
from optimizer.domain.ids import EvseId, SessionId
from optimizer.domain.moment import Interval
from optimizer.domain.session import DepartureTarget, Session, TargetSource
from optimizer.errors import InvalidConfiguration

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"guard_period_s": 0.0}, "control.guard_period_s = 0.0: give a finite number above 0"),
        ({"dead_band_kw": -0.1}, "control.dead_band_kw = -0.1: give a finite number from 0 up"),
        ({"horizon_h": float("nan")}, "control.horizon_h = nan: give a finite number above 0"),
        ({"greatest_periods": 1}, "control.greatest_periods = 1: give at least 2"),
        ({"profile_span_s": 600.0}, "control.profile_span_s = 600.0: must be above refresh_margin_s 600.0"),
        ({"concurrent_starts": -1}, "control.concurrent_starts = -1"),
        ({"wake_steps_a": (8.0, -1.0)}, "control.wake_steps_a = (8.0, -1.0): give rising currents above 0"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidConfiguration) as refusal:
        ControlSettings(**change)  # type: ignore[arg-type]
    assert str(refusal.value).startswith(words)


@pytest.mark.parametrize("change", [{"concurrent_starts": None}, {"concurrent_starts": 0}, {"dead_band_kw": 0.0}])
def test_settings_that_can_be(change: dict[str, float]) -> None:
    assert ControlSettings(**change)  # type: ignore[arg-type]


def test_every_number_of_the_settings_is_checked() -> None:
    for item in fields(ControlSettings):
        if item.type in {"float", "int", "int | None"}:
            with pytest.raises(InvalidConfiguration):
                replace(ControlSettings(), **{item.name: -1})


def session(**more: object) -> Session:
    return Session(SessionId("s"), SITE, EvseId("a"), START, **more)  # type: ignore[arg-type]


def target(source: TargetSource, hour: float = 4.0) -> DepartureTarget:
    return DepartureTarget(START + timedelta(hours=hour), energy_kwh=10.0, source=source)


SOURCES = list(TargetSource)


@pytest.mark.parametrize("held", SOURCES)
@pytest.mark.parametrize("offered", SOURCES)
def test_who_is_believed(held: TargetSource, offered: TargetSource) -> None:
    before = session(targets=(target(held, 3.0),))
    after = with_targets(before, [target(offered)])
    assert (after != before) is (SOURCES.index(offered) <= SOURCES.index(held))


def test_targets_are_kept_soonest_first_and_none_changes_nothing() -> None:
    late, soon = target(TargetSource.API, 8.0), target(TargetSource.API, 2.0)
    assert with_targets(session(), [late, soon]).targets == (soon, late)
    assert with_targets(session(targets=(late,)), []).targets == (late,)


def minutes(*pairs: tuple[float, float]) -> tuple[Interval, ...]:
    return tuple(Interval(START + MINUTE * start, START + MINUTE * end) for start, end in pairs)


@pytest.mark.parametrize(
    ("case", "held", "further", "energy_kwh", "paused", "interruptions"),
    [
        ("waiting before the first energy", (), minutes((0, 10)), 0.0, minutes((0, 10)), 0),
        ("an interruption", (), minutes((20, 30)), 5.0, minutes((20, 30)), 1),
        ("a second one", minutes((20, 30)), minutes((50, 60)), 5.0, minutes((20, 30), (50, 60)), 1),
        ("the same one goes on", minutes((20, 30)), minutes((30.5, 40)), 5.0, minutes((20, 40)), 0),
        ("told twice", minutes((20, 30)), minutes((20, 30)), 5.0, minutes((20, 30)), 0),
    ],
)
def test_pauses_are_joined_and_counted(
    case: str,
    held: tuple[Interval, ...],
    further: tuple[Interval, ...],
    energy_kwh: float,
    paused: tuple[Interval, ...],
    interruptions: int,
) -> None:
    after = with_pauses(session(paused=held, energy_kwh=energy_kwh), further)
    assert (after.paused, after.pauses) == (paused, interruptions), case


def test_what_an_earlier_transaction_was_told_is_no_pause_of_this_one() -> None:
    zero = Setpoint(EvseId("a"), (LimitPeriod(START, 0.0),), LimitState.ACCEPTED, START, START)
    assert zero_stretches(zero, session(), START + MINUTE * 9) == minutes((0, 9))
    assert zero_stretches(zero, session(transaction_begun_at=START + MINUTE), START + MINUTE * 9) == ()
    assert zero_stretches(None, session(), START + MINUTE * 9) == ()
