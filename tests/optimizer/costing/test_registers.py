from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.costing.registers import FindingKind, curve_through

START = datetime(2026, 6, 1, tzinfo=UTC)


def minutes(*offsets: float) -> tuple[datetime, ...]:
    return tuple(START + timedelta(minutes=offset) for offset in offsets)


def readings(*registers: str, every: float = 5) -> list[tuple[datetime, Decimal]]:
    return [(START + timedelta(minutes=every * index), Decimal(value)) for index, value in enumerate(registers)]


rising = st.lists(st.tuples(st.integers(1, 10_000), st.decimals(0, 50, places=4)), min_size=2, max_size=10).map(
    lambda steps: [
        (
            START + timedelta(seconds=sum(step[0] for step in steps[: index + 1])),
            sum((step[1] for step in steps[: index + 1]), Decimal(0)),
        )
        for index in range(len(steps))
    ]
)


class TestCounting:
    @pytest.mark.parametrize(
        ("registers", "counted", "found"),
        [
            (("12.0", "12.4", "12.6"), "0.6", []),
            (("12.0", "12.0", "12.0"), "0.0", []),
            (("12.0", "12.4", "950.0", "12.6"), "0.6", [FindingKind.SPIKE]),
            (("12.0", "12.4", "0.0", "12.6"), "0.6", [FindingKind.DIP]),
            (("12.0", "12.4", "12.38", "12.41"), "0.41", [FindingKind.DIP]),
            (("12.0", "12.4", "0.0", "0.3", "0.9"), "1.3", [FindingKind.RESET]),
            (("12.0", "12.4", "5.0"), "0.4", [FindingKind.RESET]),
            (("12.0", "5000.0", "5000.2"), "0.2", [FindingKind.JUMP]),
            (("950.0", "12.0", "12.6"), "0.6", [FindingKind.RESET]),
            (("12.0",), "0", []),
            ((), "0", []),
        ],
        ids=[
            "rising",
            "standing still",
            "one reading far up",
            "one reading far down",
            "a small step back",
            "begins anew at zero",
            "falls at the end",
            "more than can flow",
            "wrong at the start",
            "one reading",
            "no reading",
        ],
    )
    def test_registers(self, registers: tuple[str, ...], counted: str, found: list[FindingKind]) -> None:
        curve = curve_through("meter", readings(*registers), greatest_kw=22.0)
        assert curve.total_kwh == Decimal(counted)
        assert [finding.kind for finding in curve.findings] == found

    def test_any_rise_is_believed_where_the_power_is_not_known(self) -> None:
        assert curve_through("meter", readings("12.0", "5000.0")).total_kwh == Decimal("4988.0")

    def test_readings_far_apart_are_told(self) -> None:
        curve = curve_through("meter", readings("1", "2", every=180))
        (gap,) = curve.findings
        assert (gap.kind, gap.at, curve.total_kwh) == (FindingKind.GAP, START, Decimal(1))

    def test_order_and_repeats_do_not_matter(self) -> None:
        values = readings("1", "2", "3.5")
        assert curve_through("meter", [*reversed(values), *values]) == curve_through("meter", values)


class TestCutting:
    def test_a_reading_is_exact_and_between_two_it_is_interpolated(self) -> None:
        curve = curve_through("meter", readings("10", "11", "13"))
        cut = curve.intervals(minutes(0, 5, 7.5, 10))
        assert [(str(part.energy_kwh), part.interpolated) for part in cut] == [
            ("1", False),
            ("1.000000", True),
            ("1.000000", True),
        ]

    def test_standing_still_is_known_and_not_interpolated(self) -> None:
        cut = curve_through("meter", readings("10", "10")).intervals(minutes(0, 2, 5))
        assert [(part.energy_kwh, part.interpolated) for part in cut] == [(0, False), (0, False)]

    def test_outside_the_readings_there_is_no_energy(self) -> None:
        cut = curve_through("meter", readings("10", "11")).intervals(minutes(-10, 0, 5, 10))
        assert [part.energy_kwh for part in cut] == [0, 1, 0]

    def test_first_and_last_reading_are_cuts(self) -> None:
        curve = curve_through("meter", [(minutes(7)[0], Decimal(1)), (minutes(32)[0], Decimal(3))])
        cut = curve.cut(minutes(0, 15, 30, 45))
        assert [part.interval.start for part in cut] == list(minutes(7, 15, 30))
        assert cut[-1].interval.end == minutes(32)[0]

    @pytest.mark.parametrize(
        ("grid", "parts"),
        [((20, 40), 0), ((-40, 0), 0), ((), 0), ((-5, 5), 1)],
        ids=["after", "before", "none", "over"],
    )
    def test_grid_beside_the_readings(self, grid: tuple[float, ...], parts: int) -> None:
        assert len(curve_through("meter", readings("1", "2")).cut(minutes(*grid))) == parts

    @given(rising, st.lists(st.integers(-1000, 110_000), min_size=1, max_size=20, unique=True))
    @settings(deadline=None)
    def test_parts_add_up_to_the_register_difference(
        self, values: list[tuple[datetime, Decimal]], cuts: list[int]
    ) -> None:
        curve = curve_through("meter", values)
        boundaries = sorted({values[0][0], values[-1][0], *(START + timedelta(seconds=cut) for cut in cuts)})
        cut = curve.intervals(boundaries)
        assert sum(part.energy_kwh for part in cut) == values[-1][1] - values[0][1]
        assert all(part.energy_kwh >= 0 for part in cut)
        assert sum(part.energy_kwh for part in curve.cut(boundaries)) == curve.total_kwh

    @given(rising, st.integers(-1000, 110_000))
    @settings(deadline=None)
    def test_a_cut_is_the_same_from_the_readings_around_it_alone(
        self, values: list[tuple[datetime, Decimal]], cut: int
    ) -> None:
        at = min(max(START + timedelta(seconds=cut), values[0][0]), values[-1][0])
        whole = curve_through("meter", values)
        later = [value for value in values if value[0] >= at][:1]
        earlier = [value for value in values if value[0] <= at][-1:]
        near = curve_through("meter", [*earlier, *later])
        gained = whole.counted_at(at)[0] - whole.counted_at(earlier[0][0])[0]
        assert near.counted_at(at)[0] == gained
