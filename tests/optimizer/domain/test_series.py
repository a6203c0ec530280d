from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.domain.series import PowerSeries, PriceSeries
from optimizer.errors import InvalidInput

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)


def hours(*offsets: float) -> tuple[datetime, ...]:
    return tuple(MIDNIGHT + timedelta(hours=offset) for offset in offsets)


class TestShape:
    @pytest.mark.parametrize(
        ("boundaries", "count"),
        [(hours(0, 1), 2), (hours(0), 0), (hours(0, 1, 1), 2), (hours(1, 0), 1)],
        ids=["one boundary too few", "no value", "two boundaries at once", "backwards"],
    )
    def test_wrong_boundaries_are_refused(self, boundaries: tuple[datetime, ...], count: int) -> None:
        with pytest.raises(InvalidInput, match=r"^boundaries"):
            PowerSeries(boundaries, (1.0,) * count)
        with pytest.raises(InvalidInput, match=r"^boundaries"):
            PriceSeries("EUR", boundaries, (Decimal(1),) * count)

    def test_naive_boundary_is_refused(self) -> None:
        naive = tuple(boundary.replace(tzinfo=None) for boundary in hours(0, 1))
        with pytest.raises(InvalidInput, match="UTC offset"):
            PowerSeries(naive, (1.0,))

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_value_that_is_no_number_is_refused_by_name(self, value: float) -> None:
        with pytest.raises(InvalidInput, match=r"values_kw\[1\]"):
            PowerSeries(hours(0, 1, 2), (1.0, value))
        with pytest.raises(InvalidInput, match=r"prices_per_kwh\[1\]"):
            PriceSeries("EUR", hours(0, 1, 2), (Decimal(1), Decimal(value)))

    def test_span_goes_from_end_to_end(self) -> None:
        assert PowerSeries(hours(0, 1, 5), (1.0, 2.0)).span.duration_h == 5.0


class TestMeanPower:
    series = PowerSeries(hours(0, 1, 3), (6.0, 12.0))

    @pytest.mark.parametrize(
        ("start_h", "end_h", "mean_kw"),
        [
            (0, 1, 6.0),
            (0, 3, 10.0),
            (0.5, 1.5, 9.0),
            (-1, 1, 6.0),
            (2, 5, 12.0),
            (-5, -4, 6.0),
            (7, 9, 12.0),
        ],
        ids=["one value", "all", "across a boundary", "from before", "to after", "all before", "all after"],
    )
    def test_is_weighted_by_time(self, start_h: float, end_h: float, mean_kw: float) -> None:
        assert self.series.mean_over_kw(*hours(start_h, end_h)) == pytest.approx(mean_kw)

    @given(st.lists(st.floats(-100, 100), min_size=1, max_size=6), st.floats(0.1, 0.9))
    def test_energy_of_the_parts_is_the_energy_of_the_whole(self, values: list[float], part: float) -> None:
        series = PowerSeries(hours(*range(len(values) + 1)), tuple(values))
        middle_h = part * len(values)
        left = series.mean_over_kw(*hours(0, middle_h)) * middle_h
        right = series.mean_over_kw(*hours(middle_h, len(values))) * (len(values) - middle_h)
        assert left + right == pytest.approx(sum(values), abs=1e-6)


class TestPrices:
    series = PriceSeries("EUR", hours(0, 1, 2), (Decimal("0.31"), Decimal("-0.05")))

    @pytest.mark.parametrize(("at_h", "price"), [(0, "0.31"), (0.99, "0.31"), (1, "-0.05"), (1.99, "-0.05")], ids=str)
    def test_holds_from_its_boundary_on(self, at_h: float, price: str) -> None:
        assert self.series.price_per_kwh_at(hours(at_h)[0]) == Decimal(price)

    @pytest.mark.parametrize("at_h", [-0.01, 2, 3], ids=["before", "at the end", "after"])
    def test_outside_there_is_no_price(self, at_h: float) -> None:
        with pytest.raises(InvalidInput, match="prices are known for"):
            self.series.price_per_kwh_at(hours(at_h)[0])

    def test_mean_is_weighted_by_time(self) -> None:
        assert self.series.mean_over_per_kwh(*hours(0.5, 2)) == pytest.approx((0.31 * 0.5 - 0.05) / 1.5)
