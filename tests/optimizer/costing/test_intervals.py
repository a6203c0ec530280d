from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.costing.intervals import session_metering, site_intervals, unassigned_metering
from optimizer.costing.registers import FindingKind
from optimizer.domain.ids import EvseId, SessionId
from optimizer.domain.metering import SampleQuality

A, B = SessionId("A"), SessionId("B")


@pytest.fixture
def grid(build: Any) -> tuple[datetime, ...]:
    return tuple(build.at("10:00") + timedelta(minutes=15 * step) for step in range(5))


class TestSite:
    def test_registers_become_energy_of_each_step(self, build: Any, grid: tuple[datetime, ...]) -> None:
        readings = [
            build.reading(grid[0], "100", "7", "50", "30"),
            build.reading(grid[2], "104", "7", "52", "33"),
            build.reading(grid[4], "104", "9", "58", "34"),
        ]
        intervals, findings = site_intervals(readings, grid)
        assert [str(step.import_kwh) for step in intervals] == ["2.000000", "2.000000", "0", "0"]
        assert [step.export_kwh for step in intervals] == [0, 0, 1, 1]
        assert [step.pv_kwh for step in intervals] == [1, 1, 3, 3]
        assert [step.building_kwh for step in intervals] == [
            Decimal("1.5"),
            Decimal("1.5"),
            Decimal("0.5"),
            Decimal("0.5"),
        ]
        assert all(step.interpolated for step in intervals)
        assert findings == ()

    def test_readings_on_every_cut_are_not_interpolated(self, build: Any, grid: tuple[datetime, ...]) -> None:
        readings = [build.reading(at, str(index), "0") for index, at in enumerate(grid)]
        intervals, _ = site_intervals(readings, grid)
        assert [(step.import_kwh, step.interpolated) for step in intervals] == [(1, False)] * 4

    def test_meters_that_are_not_there_are_told_from_meters_that_stand_still(
        self, build: Any, grid: tuple[datetime, ...]
    ) -> None:
        without = [build.reading(at, "1", "1", None, None) for at in grid]
        still = [build.reading(at, "1", "1", "5", "5") for at in grid]
        assert [(step.pv_kwh, step.building_kwh) for step in site_intervals(without, grid)[0]] == [(None, None)] * 4
        assert [(step.pv_kwh, step.building_kwh) for step in site_intervals(still, grid)[0]] == [(0, 0)] * 4

    def test_building_meter_that_came_later_counts_from_then_on(self, build: Any, grid: tuple[datetime, ...]) -> None:
        readings = [build.reading(at, "1", "0", None, "5" if at >= grid[2] else None) for at in grid]
        assert [step.building_kwh for step in site_intervals(readings, grid)[0]] == [None, None, 0, 0]

    @pytest.mark.parametrize(
        ("read_from", "read_until", "uncovered_from"),
        [(0, 4, []), (1, 4, [0]), (0, 3, [3]), (2, 2, [0, 2]), (4, 0, [0])],
        ids=["all", "begins late", "ends early", "one reading", "none"],
    )
    def test_time_without_readings_is_zero_and_told(
        self, build: Any, grid: tuple[datetime, ...], read_from: int, read_until: int, uncovered_from: list[int]
    ) -> None:
        readings = [build.reading(grid[index], str(index), "0") for index in range(read_from, read_until + 1)]
        intervals, findings = site_intervals(readings, grid)
        assert sum(step.import_kwh for step in intervals) == max(read_until - read_from, 0)
        assert [finding.at for finding in findings] == [grid[index] for index in uncovered_from]
        assert {finding.kind for finding in findings} <= {FindingKind.UNCOVERED}

    def test_readings_around_the_grid_cut_its_ends(self, build: Any, grid: tuple[datetime, ...]) -> None:
        around = [
            build.reading(grid[0] - timedelta(minutes=15), "0", "0"),
            build.reading(grid[-1] + timedelta(minutes=15), "6", "0"),
        ]
        intervals, findings = site_intervals(around, grid)
        assert [step.import_kwh for step in intervals] == [1, 1, 1, 1]
        assert [finding.kind for finding in findings] == []


class TestSession:
    def test_energy_given_back_is_counted_by_a_register_of_its_own(
        self, build: Any, grid: tuple[datetime, ...]
    ) -> None:
        """Import stands still while the vehicle gives back, and the other way round; a reset of either is no energy."""
        at = build.at
        rows = [
            ("10:00", "100", "7"),
            ("10:15", "102", "7"),
            ("10:30", "102", "8.5"),
            ("10:45", "103", "8.5"),
            ("11:00", "103", "0.5"),
        ]
        samples = [build.sample(at(clock), taken, export_register_kwh=Decimal(given)) for clock, taken, given in rows]
        metering, _ = session_metering(SessionId("s"), samples, grid)
        assert [(part.energy_kwh, part.returned_kwh) for part in metering.intervals] == [
            (Decimal(2), Decimal(0)), (Decimal(0), Decimal("1.5")), (Decimal(1), Decimal(0)), (Decimal(0), Decimal(0)),
        ]  # fmt: skip

    def test_first_and_last_interval_are_cut_at_its_own_readings(self, build: Any, grid: tuple[datetime, ...]) -> None:
        samples = [build.sample(build.at("10:05"), "7.0"), build.sample(build.at("10:35"), "10.0")]
        metering, _ = session_metering(A, samples, grid)
        parts = [(part.interval.start, part.interval.end, part.energy_kwh) for part in metering.intervals]
        assert parts == [
            (build.at("10:05"), grid[1], 1),
            (grid[1], grid[2], Decimal("1.5")),
            (grid[2], build.at("10:35"), Decimal("0.5")),
        ]

    @pytest.mark.parametrize("quality", [SampleQuality.SUSPECT, SampleQuality.STALE])
    def test_samples_not_to_be_trusted_are_not_used(
        self, build: Any, grid: tuple[datetime, ...], quality: SampleQuality
    ) -> None:
        samples = [
            build.sample(grid[0], "7"),
            build.sample(grid[1], "12", quality=quality),
            build.sample(grid[2], "8", quality=SampleQuality.DERIVED),
        ]
        metering, findings = session_metering(A, samples, grid)
        assert sum(part.energy_kwh for part in metering.intervals) == 1
        assert [(finding.kind, finding.at) for finding in findings] == [(FindingKind.SET_ASIDE, grid[1])]

    @pytest.mark.parametrize("register", [None, "suspect"], ids=["power only", "all suspect"])
    def test_session_without_a_usable_register_has_no_energy_and_it_is_told(
        self, build: Any, grid: tuple[datetime, ...], register: str | None
    ) -> None:
        quality = {"quality": SampleQuality.SUSPECT} if register else {}
        samples = [build.sample(at, "5" if register else None, power_kw=7.0, **quality) for at in grid]
        metering, findings = session_metering(A, samples, grid)
        assert metering.intervals == ()
        assert findings[-1].kind is FindingKind.UNCOVERED

    def test_what_no_power_explains_is_not_counted(self, build: Any, grid: tuple[datetime, ...]) -> None:
        samples = [build.sample(at, value) for at, value in zip(grid, ("1", "2", "9000", "9001"), strict=False)]
        metering, findings = session_metering(A, samples, grid, greatest_kw=11.0)
        assert sum(part.energy_kwh for part in metering.intervals) == 2
        assert [finding.kind for finding in findings] == [FindingKind.JUMP]

    def test_part_outside_the_grid_belongs_to_another_window(self, build: Any, grid: tuple[datetime, ...]) -> None:
        samples = [
            build.sample(grid[0] - timedelta(hours=1), "0"),
            build.sample(grid[0], "4"),
            build.sample(grid[4], "8"),
            build.sample(grid[4] + timedelta(hours=1), "9"),
        ]
        assert sum(part.energy_kwh for part in session_metering(A, samples, grid)[0].intervals) == 4


class TestUnassigned:
    @pytest.fixture
    def timeline(self, build: Any, grid: tuple[datetime, ...]) -> Callable[..., list[Any]]:
        def made(*entries: tuple[int, str, SessionId | None], evse: str = "E1") -> list[Any]:
            return [
                (build.sample(grid[0] + timedelta(minutes=minute), register, evse), session)
                for minute, register, session in entries
            ]

        return made

    @pytest.mark.parametrize(
        ("entries", "energy"),
        [
            ([(0, "1", A), (15, "3", A)], {}),
            ([(0, "1", A), (15, "3", A), (30, "4", B), (45, "6", B)], {1: "1"}),
            (
                [(0, "1", None), (15, "2", None), (30, "4", A), (45, "9", A), (60, "9.5", None)],
                {0: "1", 1: "2", 3: "0.5"},
            ),
            ([(0, "1", A), (15, "2", None), (30, "3", A)], {}),
            ([(0, "1", A), (15, "3", B), (30, "4", A), (45, "5", B), (60, "6", None)], {3: "1"}),
            ([(0, "1", A), (15, "3", A), (30, "0", B), (45, "2", B)], {}),
            ([(0, "1", A), (15, "3", A), (30, "8000", B), (45, "8002", B)], {}),
            ([(0, "1", A)], {}),
            ([], {}),
        ],
        ids=[
            "one session",
            "between two sessions",
            "before and after",
            "a stray sample inside a session is the session's",
            "sessions that overlap",
            "register begins anew with each session",
            "another meter",
            "one sample",
            "nothing",
        ],
    )
    def test_is_what_was_counted_outside_sessions(
        self,
        grid: tuple[datetime, ...],
        timeline: Callable[..., list[Any]],
        entries: list[tuple[int, str, SessionId | None]],
        energy: dict[int, str],
    ) -> None:
        intervals, _ = unassigned_metering(timeline(*entries), grid, {EvseId("E1"): 11.0})
        assert {grid.index(part.interval.start): part.energy_kwh for part in intervals} == {
            step: Decimal(value) for step, value in energy.items()
        }

    def test_is_summed_over_evses(self, grid: tuple[datetime, ...], timeline: Callable[..., list[Any]]) -> None:
        samples = timeline((0, "1", None), (15, "2", None)) + timeline((0, "5", None), (15, "5.5", None), evse="E2")
        (part,), _ = unassigned_metering(samples, grid)
        assert part.energy_kwh == Decimal("1.5")

    @given(st.lists(st.tuples(st.integers(0, 3), st.decimals(0, 5, places=3)), min_size=1, max_size=14))
    @settings(deadline=None)
    def test_sessions_and_unassigned_together_are_the_register_difference(
        self, build: Any, entries: list[tuple[int, Decimal]]
    ) -> None:
        """Runs of a session come one after another at one EVSE, with idle samples (0) before, between and after."""
        grid = tuple(build.at("10:00") + timedelta(minutes=15 * step) for step in range(9))
        register = Decimal(100)
        samples, session_number, last = [], 0, 0
        for index, (kind, gained) in enumerate(entries):
            session_number += kind > 0 and (last == 0 or kind == 3)
            last = kind
            register += gained
            session = SessionId(f"s{session_number}") if kind else None
            samples.append((build.sample(grid[0] + timedelta(minutes=7 * index), str(register)), session))
        by_session = {session for _, session in samples if session}
        sessions_kwh = sum(
            part.energy_kwh
            for session in by_session
            for part in session_metering(session, [entry for entry, of in samples if of == session], grid)[0].intervals
        )
        unassigned_kwh = sum(part.energy_kwh for part in unassigned_metering(samples, grid)[0])
        assert sessions_kwh + unassigned_kwh == samples[-1][0].register_kwh - samples[0][0].register_kwh
