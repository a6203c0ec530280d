"""What a mapping knows of those that it was made from."""

from __future__ import annotations

import pytest

from optimizer.domain.evolving import REMEMBERED, Evolving, changed_between, with_changes

FIRST = Evolving({"a": 1, "b": 1, "c": 1})
SECOND = FIRST.evolved({"b": 2})
THIRD = SECOND.evolved({"d": 3}, ["c"])
BESIDE = FIRST.evolved({"a": 9})

CASES: dict[str, tuple[Evolving[str, int], Evolving[str, int], set[str] | None]] = {
    "itself": (FIRST, FIRST, set()),
    "one step on": (FIRST, SECOND, {"b"}),
    "and back": (SECOND, FIRST, {"b"}),
    "two steps on, one come and one gone": (FIRST, THIRD, {"b", "c", "d"}),
    "side by side": (THIRD, BESIDE, {"a", "b", "c", "d"}),
    "strangers": (FIRST, Evolving({"a": 1}), None),
}


@pytest.mark.parametrize(("one", "other", "expected"), CASES.values(), ids=CASES.keys())
def test_where_two_differ(one: Evolving[str, int], other: Evolving[str, int], expected: set[str] | None) -> None:
    changed = changed_between(one, other)
    assert (None if changed is None else set(changed)) == expected


def test_those_before_stay_as_they_were() -> None:
    assert (FIRST, SECOND) == ({"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 2, "c": 1})
    assert THIRD == {"a": 1, "b": 2, "d": 3}


def test_one_without_changes_is_itself() -> None:
    assert FIRST.evolved({}) is FIRST
    assert FIRST.becoming({"a": 1, "b": 1, "c": 1}) is FIRST


def test_it_becomes_what_it_is_to_be() -> None:
    later = FIRST.becoming({"a": 1, "c": 5})
    assert later == {"a": 1, "c": 5}
    assert set(changed_between(FIRST, later) or ()) == {"b", "c"}


def test_a_plain_mapping_is_a_stranger_and_may_be_changed_all_the_same() -> None:
    changed = with_changes({"a": 1}, {"a": 2})
    assert changed == {"a": 2}
    assert changed_between({"a": 1}, changed) is None


def test_the_distant_past_is_let_go() -> None:
    steps = [FIRST]
    for number in range(REMEMBERED + 1):
        steps.append(steps[-1].evolved({"a": -number}))
    assert changed_between(steps[1], steps[-1]) is not None
    assert changed_between(steps[0], steps[-1]) is None
