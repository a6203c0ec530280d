from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from optimizer.costing.billing_time import (
    billing_days,
    billing_months,
    costing_grid,
    days_beginning,
    days_in,
    equal_steps,
    local_days,
    windows_from,
)
from optimizer.domain.moment import Interval
from optimizer.errors import InvalidInput

BERLIN = "Europe/Berlin"
DAYS = pytest.mark.parametrize(
    ("day", "quarters"),
    [("2026-03-29", 92), ("2026-06-01", 96), ("2026-10-25", 100)],
    ids=["clocks forward", "ordinary", "clocks back"],
)


class TestGrid:
    @DAYS
    def test_cuts_each_quarter_of_a_local_day(self, build: Any, day: str, quarters: int) -> None:
        grid = costing_grid(build.tariff(zone=BERLIN), build.day(day, BERLIN))
        assert len(grid) == quarters + 1
        assert {later - earlier for earlier, later in pairwise(grid)} == {timedelta(minutes=15)}

    def test_cuts_where_prices_change_between_quarters(self, build: Any) -> None:
        tariff = build.tariff(
            build.band("day", "1", start=datetime.min.time().replace(hour=6, minute=10)), build.band("night", "1")
        )
        assert build.at("06:10") in costing_grid(tariff, build.day())

    def test_cuts_intervals_of_every_demand_charge(self, build: Any) -> None:
        tariff = build.tariff(demand=[build.charge("ten", "1", 10), build.charge("hour", "1", 60)])
        minutes = {instant.minute for instant in costing_grid(tariff, build.day())}
        assert minutes == {0, 10, 15, 20, 30, 40, 45, 50}

    def test_holds_both_ends_of_an_uneven_span(self, build: Any) -> None:
        span = Interval(build.at("10:07"), build.at("10:31"))
        grid = costing_grid(build.tariff(), span)
        assert grid == tuple(build.at(clock) for clock in ("10:07", "10:15", "10:30", "10:31"))


class TestSteps:
    @DAYS
    def test_follow_the_local_clock(self, build: Any, day: str, quarters: int) -> None:
        steps = list(equal_steps(build.day(day, BERLIN), ZoneInfo(BERLIN), 60))
        assert len(steps) == quarters // 4
        assert all(step.start.astimezone(ZoneInfo(BERLIN)).minute == 0 for step in steps)

    def test_begin_on_the_local_hour_where_offsets_are_uneven(self) -> None:
        start = datetime(2026, 6, 1, tzinfo=ZoneInfo("Asia/Kathmandu"))
        first = next(iter(equal_steps(Interval(start, start + timedelta(days=1)), ZoneInfo("Asia/Kathmandu"), 60)))
        assert first.start == datetime(2026, 5, 31, 18, 15, tzinfo=UTC)

    def test_that_the_span_cuts_are_left_out(self, build: Any) -> None:
        span = Interval(build.at("10:07"), build.at("10:50"))
        assert [step.start for step in equal_steps(span, ZoneInfo("UTC"), 15)] == [build.at("10:15"), build.at("10:30")]

    def test_last_of_a_day_is_shorter_where_they_do_not_fill_it(self, build: Any) -> None:
        *_, last = equal_steps(build.day(), ZoneInfo("UTC"), 7)
        assert last.end - last.start == timedelta(minutes=5)


class TestDays:
    @pytest.mark.parametrize(
        ("start", "end", "days"),
        [
            ("2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00", Fraction(1)),
            ("2026-03-29T12:00+02:00", "2026-03-30T00:00+02:00", Fraction(12, 23)),
            ("2026-10-25T00:00+02:00", "2026-10-25T12:00+01:00", Fraction(13, 25)),
            ("2026-06-01T07:00+02:00", "2026-06-02T07:00+02:00", Fraction(1)),
            ("2026-03-01T00:00+01:00", "2026-04-01T00:00+02:00", Fraction(31)),
        ],
        ids=["short day counts one", "half a short day", "half a long day", "from seven to seven", "whole March"],
    )
    def test_are_local_ones(self, start: str, end: str, days: Fraction) -> None:
        span = Interval(datetime.fromisoformat(start), datetime.fromisoformat(end))
        assert days_in(span, ZoneInfo(BERLIN)) == days

    def test_touched_are_given_whole_and_join(self, build: Any) -> None:
        span = Interval(build.at("22:30", "2026-03-28"), build.at("01:00", "2026-03-30"))
        days = list(local_days(span, ZoneInfo(BERLIN)))
        assert [day.duration_h for day in days] == [24, 23, 24]
        assert all(earlier.end == later.start for earlier, later in pairwise(days))


class TestCalendars:
    def test_months_and_days_are_local(self, build: Any) -> None:
        tariff = build.tariff(zone="America/Los_Angeles")
        instant = datetime(2026, 9, 1, 6, tzinfo=UTC)
        assert billing_months(tariff, instant).start == datetime(2026, 8, 1, 7, tzinfo=UTC)
        assert billing_days(tariff, instant) == Interval(
            datetime(2026, 8, 31, 7, tzinfo=UTC), datetime(2026, 9, 1, 7, tzinfo=UTC)
        )

    @pytest.mark.parametrize(
        ("hour", "begin"), [(6, 31), (7, 31), (13, 31), (14, 32), (20, 32)], ids=lambda value: f"{value}"
    )
    def test_billing_days_may_begin_in_the_morning(self, build: Any, hour: int, begin: int) -> None:
        tariff = build.tariff(zone="America/Los_Angeles")
        window = days_beginning(time(7))(tariff, datetime(2026, 9, 1, hour, tzinfo=UTC))
        expected = datetime(2026, 8, 1, 14, tzinfo=UTC) + timedelta(days=begin - 1)
        assert window == Interval(expected, expected + timedelta(days=1))

    @DAYS
    def test_days_have_their_true_length(self, build: Any, day: str, quarters: int) -> None:
        window = billing_days(build.tariff(zone=BERLIN), build.at("12:00", day))
        assert window.duration_h == quarters / 4
        assert billing_days(build.tariff(zone=BERLIN), window.end).start == window.end

    @pytest.mark.parametrize(
        ("clock", "on", "start"),
        [
            ("07:00", "2026-06-01", "2026-06-01"),
            ("06:59", "2026-06-02", "2026-06-01"),
            ("07:00", "2026-06-02", "2026-06-02"),
            ("06:59", "2026-06-01", "2026-05-31"),
        ],
    )
    def test_equal_windows_follow_one_another(self, build: Any, clock: str, on: str, start: str) -> None:
        window_of = windows_from(build.at("07:00"), timedelta(days=1))
        window = window_of(build.tariff(), build.at(clock, on))
        assert window == Interval(build.at("07:00", start), build.at("07:00", start) + timedelta(days=1))

    def test_windows_without_length_are_refused(self, build: Any) -> None:
        with pytest.raises(InvalidInput, match="above zero"):
            windows_from(build.at("07:00"), timedelta(0))
