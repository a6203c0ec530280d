"""Piecewise limits, drawn as text: one character a minute, ``0`` to ``9`` in kW, the safe value after ``|``."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some
from virtual_time import START

from optimizer.control.profile import (
    clipped,
    falling,
    greatest_between_kw,
    limit_at_kw,
    merged,
    says_the_same,
)
from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import LimitPeriod, shortened
from optimizer.errors import InvalidInput

MINUTE = timedelta(minutes=1)


def drawn(text: str) -> tuple[LimitPeriod, ...]:
    body, _, tail = text.partition("|")
    digits = body + tail
    return merged([LimitPeriod(START + MINUTE * index, float(digit)) for index, digit in enumerate(digits)])


def as_text(periods: tuple[LimitPeriod, ...], minutes: int) -> str:
    return "".join(f"{limit_at_kw(periods, START + MINUTE * index):.0f}" for index in range(minutes))


@pytest.mark.parametrize(
    ("before", "limit_kw", "after"),
    [
        ("7755|2", 4.0, "4444|2"),
        ("7735|2", 4.0, "4434|2"),
        ("3333|5", 4.0, "3333|5"),
        ("7755|7", 0.0, "0000|7"),
    ],
)
def test_clipping_leaves_the_safe_value(before: str, limit_kw: float, after: str) -> None:
    assert clipped(drawn(before), limit_kw) == drawn(after)


def test_clipping_a_single_piece_clips_it() -> None:
    assert clipped(drawn("7"), 3.0) == drawn("3")


@pytest.mark.parametrize(
    ("before", "after"), [("4477", "4444"), ("7747", "7744"), ("0770", "0000"), ("7531", "7531"), ("5555", "5555")]
)
def test_a_profile_never_rises_by_itself(before: str, after: str) -> None:
    assert falling(drawn(before)) == drawn(after)


@pytest.mark.parametrize(
    ("case", "before", "count", "after"),
    [
        ("short enough already", "7755|2", 3, "7755|2"),
        ("the joints that lose least go", "9876665|2", 4, "9666665|2"),
        ("a long piece outlasts short ones", "9777765|2", 4, "9777755|2"),
        ("only first and safe value are left", "9753|2", 2, "3333|2"),
    ],
)
def test_shortening(case: str, before: str, count: int, after: str) -> None:
    shorter = merged(shortened(drawn(before), count))
    assert len(shorter) <= count, case
    assert as_text(shorter, len(before) - 1) == after.replace("|", ""), case


profiles = some.lists(some.integers(0, 9), min_size=3, max_size=24).map(
    lambda digits: merged([LimitPeriod(START + MINUTE * index, float(digit)) for index, digit in enumerate(digits)])
)


@given(periods=profiles, count=some.integers(2, 10))
def test_a_shortened_profile_is_never_above_the_original_and_ends_the_same(
    periods: tuple[LimitPeriod, ...], count: int
) -> None:
    shorter = shortened(periods, count)
    assert len(shorter) <= count
    assert shorter[0].start == periods[0].start
    assert shorter[-1].limit_kw == periods[-1].limit_kw
    for index in range(30):
        instant = START + MINUTE * index
        assert limit_at_kw(shorter, instant) <= limit_at_kw(periods, instant)


@given(periods=profiles, start=some.integers(-3, 25), length=some.integers(0, 25))
def test_the_greatest_limit_is_the_greatest_of_all_instants(
    periods: tuple[LimitPeriod, ...], start: int, length: int
) -> None:
    instants = [START + MINUTE * index for index in range(start, start + length + 1)]
    expected = max(limit_at_kw(periods, instant) for instant in instants)
    assert greatest_between_kw(periods, instants[0], instants[-1]) == expected


SETTINGS = ControlSettings(dead_band_kw=1.0, refresh_margin_s=180.0, profile_span_s=600.0)


@pytest.mark.parametrize(
    ("case", "held", "wanted", "same"),
    [
        ("equal", "7777777|2", "7777777|2", True),
        ("within the dead-band", "7777777|2", "6666666|2", True),
        ("beyond it", "7777777|2", "5555555|2", False),
        ("another value soon", "7755555|2", "7777777|2", False),
        ("another value when the next write would be due anyway", "7777711|2", "7777777|2", True),
        ("the safe value comes soon", "77|2222222", "7777777|2", False),
        ("zero is never the same as something", "0000000|2", "1111111|2", False),
        ("something is never the same as zero", "1111111|2", "0000000|2", False),
    ],
)
def test_what_is_worth_a_write(case: str, held: str, wanted: str, same: bool) -> None:
    assert says_the_same(drawn(held), drawn(wanted), START, SETTINGS) is same, case


@pytest.mark.parametrize(
    ("case", "held_kw", "wanted_kw", "same"),
    [
        ("within the dead-band", -5.0, -5.2, True),
        ("beyond it", -5.0, -5.5, False),
        ("a pause is no giving back, however little", 0.0, -0.1, False),
        ("charging is none either", 0.1, -0.1, False),
    ],
)
def test_what_is_worth_a_write_of_power_given_back(case: str, held_kw: float, wanted_kw: float, same: bool) -> None:
    held, wanted = ((LimitPeriod(START, max(net_kw, 0.0), max(-net_kw, 0.0)),) for net_kw in (held_kw, wanted_kw))
    assert says_the_same(held, wanted, START, ControlSettings(dead_band_kw=0.3)) is same, case


@pytest.mark.parametrize(
    "impossible", [{"limit_kw": 3.0, "discharge_kw": 1.0}, {"limit_kw": 0.0, "discharge_kw": -1.0}]
)
def test_a_piece_charges_or_gives_back(impossible: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match="discharge_kw"):
        LimitPeriod(START, **impossible)
