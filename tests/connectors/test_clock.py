"""The clocks: one time for several processes, never backwards, sleeping in their own time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from connectors.clock import AcceleratedClock, SystemClock, wall_time
from optimizer.errors import InvalidInput
from optimizer.ports import Clock

SIMULATED_START = datetime(2019, 9, 4, 12, tzinfo=UTC)
WALL_START = datetime(2026, 3, 1, 8, tzinfo=UTC)


class Wall:
    """A time of day and a monotonic counter that the test turns by hand."""

    def __init__(self, at: datetime) -> None:
        self.at = at
        self.counter_s = 1000.0

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.counter_s += seconds

    def read_wall(self) -> datetime:
        return self.at

    def read_monotonic(self) -> float:
        return self.counter_s


def clock_on(wall: Wall, speed: float = 480.0) -> AcceleratedClock:
    return AcceleratedClock(
        SIMULATED_START, WALL_START, speed, read_wall=wall.read_wall, read_monotonic=wall.read_monotonic
    )


def test_three_minutes_on_the_wall_are_a_day() -> None:
    wall = Wall(WALL_START)
    clock = clock_on(wall)
    assert clock.now() == SIMULATED_START
    wall.advance(180)
    assert clock.now() == SIMULATED_START + timedelta(days=1)


def test_a_process_that_starts_later_shows_the_same_time() -> None:
    wall = Wall(WALL_START)
    first = clock_on(wall)
    wall.advance(33)
    second = clock_on(wall)
    wall.advance(7)
    assert first.now() == second.now() == SIMULATED_START + timedelta(seconds=40 * 480)


def test_an_anchor_in_the_future_is_reached_later() -> None:
    wall = Wall(WALL_START - timedelta(seconds=5))
    assert clock_on(wall, speed=60).now() == SIMULATED_START - timedelta(minutes=5)


def test_a_corrected_time_of_day_does_not_turn_the_clock_back() -> None:
    wall = Wall(WALL_START)
    clock = clock_on(wall)
    wall.advance(10)
    before = clock.now()
    wall.at -= timedelta(minutes=5)
    wall.counter_s += 1
    assert clock.now() == before + timedelta(seconds=480)


def test_anchors_in_another_zone_are_taken_as_instants() -> None:
    east = timezone(timedelta(hours=2))
    wall = Wall(WALL_START)
    clock = AcceleratedClock(
        SIMULATED_START.astimezone(east),
        WALL_START.astimezone(east),
        2,
        read_wall=wall.read_wall,
        read_monotonic=wall.read_monotonic,
    )
    assert clock.now() == SIMULATED_START
    assert clock.now().tzinfo is UTC


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_a_speed_that_leads_nowhere_is_refused(speed: float) -> None:
    with pytest.raises(InvalidInput, match="speed"):
        AcceleratedClock(SIMULATED_START, WALL_START, speed)


def test_an_anchor_too_long_ago_is_refused() -> None:
    with pytest.raises(InvalidInput, match="wall_start"):
        AcceleratedClock(SIMULATED_START, datetime(1990, 1, 1, tzinfo=UTC), speed=1_000_000)


@pytest.mark.parametrize("field", ["simulated_start", "wall_start"])
def test_a_naive_anchor_is_refused(field: str) -> None:
    anchors = {"simulated_start": SIMULATED_START, "wall_start": WALL_START}
    anchors[field] = anchors[field].replace(tzinfo=None)
    with pytest.raises(InvalidInput, match=field):
        AcceleratedClock(anchors["simulated_start"], anchors["wall_start"], speed=1)


@pytest.mark.parametrize("seconds", [3600.0, 0.0, -5.0])
async def test_sleeping_lasts_at_least_as_long_on_the_accelerated_clock(seconds: float) -> None:
    clock = AcceleratedClock(SIMULATED_START, wall_time(), speed=1_000_000)
    before = clock.now()
    await clock.sleep(seconds)
    assert clock.now() - before >= timedelta(seconds=max(0.0, seconds))


def test_wall_seconds_are_shorter_by_the_speed() -> None:
    assert clock_on(Wall(WALL_START), speed=400).wall_seconds(1000) == 2.5
    assert SystemClock().wall_seconds(1000) == 1000


async def test_the_system_clock_is_aware_and_sleeps() -> None:
    clock: Clock = SystemClock()
    before = clock.now()
    await clock.sleep(-1)
    assert before.tzinfo is UTC
    assert clock.now() - before < timedelta(days=1)
