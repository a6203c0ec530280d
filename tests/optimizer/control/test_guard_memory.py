"""What is remembered from look to look changes nothing but the time that a look takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from bench import evse_at, site_with
from hypothesis import given
from hypothesis import strategies as some
from test_guard_invariants import HONEST_HABITS, Garage, garage_after
from views import NOW, sample_of, seconds, session_at, setpoint_of, view_of

import optimizer.control.send as sending
from optimizer.control.bounds import bound_lasts_until, bound_of
from optimizer.control.dispatch import dispatch
from optimizer.control.guard import GuardDecision, all_bounds, decide
from optimizer.control.memory import FOR_EVER, ChangedEvses, GuardMemory, first_after
from optimizer.control.settings import ControlSettings
from optimizer.control.view import GuardView
from optimizer.domain.charger import LimitCommand, LimitState
from optimizer.domain.ids import EvseId
from optimizer.domain.plan import Plan

SETTINGS = ControlSettings()


def forgetful(view: GuardView) -> GuardView:
    return replace(view, memory=GuardMemory())


@pytest.mark.parametrize("seed", [3, 14, 56, 77])
def test_a_garage_is_told_the_same_as_without_memory(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def compared_dispatch(view: GuardView, plan: Plan | None, settings: ControlSettings) -> tuple[LimitCommand, ...]:
        commands = dispatch(view, plan, settings)
        assert commands == dispatch(forgetful(view), plan, settings)
        return commands

    def compared_decide(view: GuardView, wishes: Sequence[LimitCommand], settings: ControlSettings) -> GuardDecision:
        decision, fresh = decide(view, wishes, settings), decide(forgetful(view), wishes, settings)
        assert decision == fresh
        looks.append(len(decision.commands))
        return decision

    monkeypatch.setattr(sending, "dispatch", compared_dispatch)
    monkeypatch.setattr(sending, "decide", compared_decide)
    garage: Garage = garage_after(seed, HONEST_HABITS, happenings=15)
    assert not garage.wrong
    assert len(looks) > 100
    assert 0 < sum(count > 0 for count in looks) < len(looks), "some looks send something, and some nothing"


states = some.sampled_from(list(LimitState))
offsets_s = some.integers(-1200, 1200)


@given(
    state=states,
    sent_s=some.integers(-1200, 0),
    steps=some.lists(some.tuples(offsets_s, some.sampled_from([0.0, 4.14, 6.9, 11.04])), min_size=1, max_size=4),
    drawn=some.none() | some.tuples(some.floats(0.0, 12.0), some.integers(0, 400)),
    later_s=some.integers(0, 2000),
)
def test_a_bound_lasts_as_long_as_it_is_said_to(
    state: LimitState,
    sent_s: int,
    steps: list[tuple[int, float]],
    drawn: tuple[float, int] | None,
    later_s: int,
) -> None:
    site = site_with([evse_at("a")])
    setpoint = setpoint_of("a", state, *sorted(steps), sent_s=float(sent_s), before_kw=9.0)
    samples = () if drawn is None else (sample_of(site, "a", drawn[0], age_s=float(drawn[1])),)
    seen = view_of(site, sessions=(session_at("a"),), setpoints=(setpoint,), samples=samples)
    evse_id, later = EvseId("a"), NOW + seconds(later_s)
    until = bound_lasts_until(seen, evse_id, SETTINGS)
    assert until > NOW
    for instant in (later, until - timedelta.resolution):
        if instant < until and until != FOR_EVER:
            assert bound_of(replace(seen, at=instant), evse_id, SETTINGS) == bound_of(seen, evse_id, SETTINGS)


def test_only_what_has_changed_is_worked_out_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_with([evse_at(name) for name in "abcd"])
    seen = view_of(site, sessions=(session_at("a"), session_at("b")))
    counted: list[EvseId] = []

    def noting(view: GuardView, evse_id: EvseId, settings: ControlSettings, *, overloaded: bool) -> object:
        counted.append(evse_id)
        return bound_of(view, evse_id, settings, overloaded=overloaded)

    monkeypatch.setattr("optimizer.control.guard.bound_of", noting)
    all_bounds(seen, SETTINGS)
    assert counted == list("abcd")
    all_bounds(replace(seen, at=NOW + seconds(1)), SETTINGS)
    assert counted == list("abcd"), "nothing has changed"
    metered = replace(seen.connectors[EvseId("b")], last_sample=sample_of(site, "b", 3.0))
    all_bounds(replace(seen, at=NOW + seconds(2), connectors={**seen.connectors, EvseId("b"): metered}), SETTINGS)
    assert counted == [*"abcd", "b"], "one was metered"
    all_bounds(seen, SETTINGS)
    assert counted[5:] == list("abcd"), "time has gone back: nothing remembered counts"


def test_changes_are_told_by_the_objects_themselves() -> None:
    site = site_with([evse_at(name) for name in "abc"])
    seen, changed = view_of(site, sessions=(session_at("a"),)), ChangedEvses()
    assert changed.take(seen.connectors, seen.sessions) == list("abc")
    assert changed.take(seen.connectors, seen.sessions) == []
    assert changed.take(dict(seen.connectors), {}) == ["a"]


FIRST_AFTER = [
    ("nothing lies ahead", [-10.0, -1.0], FOR_EVER),
    ("the first of what lies ahead", [50.0, 20.0, -5.0], NOW + seconds(20)),
    ("now itself: just after it", [0.0, 30.0], NOW + timedelta.resolution),
]


@pytest.mark.parametrize(("case", "offsets", "expected"), FIRST_AFTER, ids=[case[0] for case in FIRST_AFTER])
def test_first_after(case: str, offsets: list[float], expected: datetime) -> None:
    assert first_after(NOW, [NOW + seconds(offset) for offset in offsets]) == expected, case
