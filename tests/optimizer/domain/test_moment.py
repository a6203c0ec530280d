from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.domain.moment import Interval, hours_between, require_utc
from optimizer.errors import InvalidInput

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

ZONES = (UTC, BERLIN, ZoneInfo("America/Los_Angeles"), timezone(timedelta(hours=5, minutes=45)))
instants = st.builds(
    lambda second, zone: (datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=second)).astimezone(zone),
    st.integers(0, 10 * 365 * 86_400),
    st.sampled_from(ZONES),
)


class TestInstants:
    def test_naive_one_is_refused_and_the_message_says_how_to_write_it(self) -> None:
        with pytest.raises(InvalidInput, match=r"depart_at = '2026-03-01T12:00:00': give a UTC offset"):
            require_utc("depart_at", NOON.replace(tzinfo=None))

    @given(instants)
    def test_same_moment_whatever_the_zone(self, instant: datetime) -> None:
        utc = require_utc("at", instant)
        assert utc.tzinfo is UTC
        assert utc.timestamp() == pytest.approx(instant.timestamp(), abs=1e-6)

    def test_hour_that_comes_twice_keeps_its_two_moments_apart(self) -> None:
        first = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)
        assert require_utc("at", first.replace(fold=1)) - require_utc("at", first) == timedelta(hours=1)


class TestInterval:
    @pytest.mark.parametrize("length", [timedelta(0), timedelta(seconds=-1)], ids=["empty", "backwards"])
    def test_end_must_be_after_start(self, length: timedelta) -> None:
        with pytest.raises(InvalidInput, match="must be after start"):
            Interval(NOON, NOON + length)

    def test_naive_bounds_are_refused(self) -> None:
        with pytest.raises(InvalidInput, match=r"^start"):
            Interval(NOON.replace(tzinfo=None), NOON)

    def test_is_held_in_utc(self) -> None:
        local = Interval(datetime(2026, 7, 1, tzinfo=BERLIN), datetime(2026, 7, 2, tzinfo=BERLIN))
        assert local.start == datetime(2026, 6, 30, 22, tzinfo=UTC)
        assert local.start.tzinfo is UTC

    def test_is_half_open(self) -> None:
        hour = Interval(NOON, NOON + timedelta(hours=1))
        assert hour.contains(hour.start)
        assert not hour.contains(hour.end)
        assert hour.contains(hour.end - timedelta(microseconds=1))

    @pytest.mark.parametrize(
        ("day", "hours"),
        [((2026, 3, 29), 23.0), ((2026, 10, 25), 25.0), ((2026, 6, 1), 24.0)],
        ids=["clocks forward: 92 quarters", "clocks back: 100 quarters", "ordinary: 96 quarters"],
    )
    def test_local_day_has_its_true_length(self, day: tuple[int, int, int], hours: float) -> None:
        start = datetime(*day, tzinfo=BERLIN)
        assert Interval(start, start + timedelta(days=1)).duration_h == hours

    @pytest.mark.parametrize(
        ("start_h", "end_h", "common_h"),
        [(-2, -1, 0.0), (-1, 0, 0.0), (-1, 1, 1.0), (0.5, 1.5, 1.0), (1, 3, 1.0), (2, 3, 0.0), (-1, 3, 2.0)],
        ids=["before", "touching", "over the start", "inside", "over the end", "touching after", "around"],
    )
    def test_overlap(self, start_h: float, end_h: float, common_h: float) -> None:
        #        NOON        NOON+2h
        #          |-----------|
        here = Interval(NOON, NOON + timedelta(hours=2))
        other = Interval(NOON + timedelta(hours=start_h), NOON + timedelta(hours=end_h))
        assert here.overlap_h(other) == other.overlap_h(here) == common_h

    @given(instants, instants)
    def test_length_is_elapsed_time_not_clock_time(self, one: datetime, other: datetime) -> None:
        if require_utc("one", one) == require_utc("other", other):
            return
        start, end = sorted((one.astimezone(UTC), other.astimezone(UTC)))
        assert Interval(start, end).duration_h == pytest.approx((end.timestamp() - start.timestamp()) / 3600)
        assert hours_between(start, end) == Interval(start, end).duration_h
