"""Whatever stations, cars, plans and our own process do: no limit is exceeded because of what we sent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random

import pytest
from bench import ROOT, Bench, Habit, evse_at, site_with
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from virtual_time import run_virtual

from optimizer.control.profile import greatest_between_kw
from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import LimitCommand
from optimizer.domain.ids import CircuitId, EvseId
from optimizer.domain.session import Session
from optimizer.domain.site import Circuit, Phase, Site, Wiring

QUICK = ControlSettings(
    least_interval_s=10.0,
    restore_margin_kw=0.0,
    lookahead_s=15.0,
    refresh_margin_s=60.0,
    profile_span_s=3600.0,
    unanswered_retry_s=30.0,
    rejected_retry_s=60.0,
)
"""Short times, so that profiles step, run out and are sent again within the minutes of a test."""

SLOWEST_REACTION_S = 75
"""Twenty seconds until the slowest station obeys, found out after reaction time and a sample, then the next one's [s]."""

OBEYS_AFTER_S = {Habit.SLOW: 6.0, Habit.LATE: 20.0, Habit.DEAF: 3600.0}
"""How long a limit that was sent may still come into force, as far as anybody else can know [s]."""

NAMES = tuple(EvseId(name) for name in "abcdef")

EVSE_KINDS: tuple[dict[str, object], ...] = (
    {},
    {},
    {"phases": (Phase.L1,)},
    {"phases": (Phase.L2,)},
    {"phases": (Phase.L2, Phase.L3, Phase.L1)},
    {"phases": (Phase.L1, Phase.L2), "wiring": Wiring.LINE_TO_LINE},
    {"phases": (Phase.L3, Phase.L1), "wiring": Wiring.LINE_TO_LINE, "current_step_a": 0.1},
)

HONEST_HABITS = (
    Habit.FOLLOWS,
    Habit.FOLLOWS,
    Habit.FOLLOWS,
    Habit.SLOW,
    Habit.LATE,
    Habit.REJECTS,
    Habit.IGNORES,
    Habit.MUTE,
    Habit.DEAF,
)
"""Habits of stations that keep some limit that we once sent, if not the last one."""

OBEYING_HABITS = (Habit.FOLLOWS, Habit.SLOW, Habit.LATE)
"""Habits of stations that sooner or later do what they are told."""

HAPPENINGS = ("plan",) * 5 + (
    "plug out",
    "plug in",
    "plug in",
    "offline",
    "online",
    "online",
    "kill in plan",
    "kill in guard",
)


@dataclass
class Garage:
    """One random garage on the bench, with a note of everything that went wrong."""

    seed: int
    forgetful: bool = False
    """Whether some stations lose their profile when they lose contact, and draw more by themselves."""
    concurrent_starts: int | None = None
    """Idle EVSEs that room is kept for; by default all, so that nothing is ever exceeded."""
    wrong: list[str] = field(default_factory=list)
    flowing: list[str] = field(default_factory=list)
    increases: int = 0
    under_way: dict[EvseId, tuple[datetime, float]] = field(default_factory=dict)
    """The most that each station was sent and may not obey yet: until when, and how much [kW]."""
    streak_s: int = 0
    longest_streak_s: int = 0

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)
        self.bench = Bench(
            self._site(), replace(QUICK, concurrent_starts=self.concurrent_starts), wishes=self._wishes, slot_minutes=1
        )
        self.bench.gateway.before_send = self._look

    def _site(self) -> Site:
        """Six EVSEs of mixed wiring, half of them behind a circuit of their own; limits that bind."""
        chance = self.chance
        evses = [
            evse_at(name, "main" if index < 3 else "east", **chance.choice(EVSE_KINDS))
            for index, name in enumerate(NAMES)
        ]
        circuits = (
            Circuit(ROOT, None, limit_a=chance.choice((40.0, 63.0, 100.0))),
            Circuit(CircuitId("east"), ROOT, limit_a=chance.choice((20.0, 40.0)), limit_kw=chance.choice((None, 14.0))),
        )
        return site_with(evses, import_limit_kw=chance.choice((20.0, 30.0, 45.0)), circuits=circuits)

    def _wishes(self, session: Session) -> tuple[float, ...]:
        """A plan that knows of no limit at all."""
        return tuple(self.chance.choice((0.0, 1.5, 3.7, 5.0, 7.4, 11.0, 22.0)) for _ in range(60))

    def _look(self, command: LimitCommand) -> None:
        """Note an increase for which there is no room beside what the others may truly draw."""
        now = self.bench.clock.now()
        near_kw = greatest_between_kw(command.periods, now, now + timedelta(seconds=30))
        station = self.bench.stations[command.evse_id]
        until, sent_kw = self.under_way.get(command.evse_id, (now, 0.0))
        obeys_at = now + timedelta(seconds=OBEYS_AFTER_S.get(station.habit, 0.0))
        counted_kw = sent_kw if now < until else 0.0
        self.under_way[command.evse_id] = (obeys_at, max(near_kw, counted_kw))
        if near_kw <= max(station.limit_kw(now), counted_kw) + 1e-6:
            return
        self.increases += 1
        levels = {
            evse_id: station.limit_kw(now) if station.transaction_id is not None else 0.0
            for evse_id, station in self.bench.stations.items()
        }
        levels[command.evse_id] = near_kw
        self.wrong += [
            f"{self._time()} sent {command.evse_id} {near_kw:.1f} kW: {text}" for text in self.bench.exceeded(levels)
        ]

    def _time(self) -> str:
        return f"{self.bench.clock.now():%H:%M:%S}"

    def look_at_draws(self) -> None:
        """Note a limit that is exceeded by what flows."""
        exceeded = self.bench.exceeded()
        self.streak_s = self.streak_s + 1 if exceeded else 0
        self.longest_streak_s = max(self.longest_streak_s, self.streak_s)
        self.flowing += [f"{self._time()} flows: {text}" for text in exceeded]

    async def open(self, habits: tuple[Habit, ...]) -> None:
        """Stations come up, take their safe defaults, and turn out to be what they are."""
        await self.bench.pass_time(3)
        for station in self.bench.stations.values():
            station.habit = self.chance.choice(habits)
            station.forgets_offline = self.forgetful and self.chance.random() < 0.5
        for name in NAMES:
            if self.chance.random() < 0.8:
                await self.bench.plug_in(name)

    async def happen(self) -> None:
        """Let one thing happen, if it can, and some time pass."""
        bench, name = self.bench, self.chance.choice(NAMES)
        station = bench.stations[name]
        match self.chance.choice(HAPPENINGS):
            case "plug in" if station.car_kw is None and station.online:
                await bench.plug_in(name, token=f"driver {self.chance.random()}")
            case "plug out" if station.car_kw is not None and station.online:
                await bench.plug_out(name)
            case "plan":
                await bench.loop.step("told")
            case "offline" if station.online:
                await bench.go_offline(name)
            case "online" if not station.online:
                await bench.come_online(name)
            case "kill in plan":
                await bench.restart_control(bench.loop.step("told"), self.chance.randrange(80))
            case "kill in guard":
                await bench.restart_control(bench.watch.guard_step(), self.chance.randrange(80))
            case _:
                pass
        await bench.pass_time(self.chance.choice((0, 1, 5, 12, 25, 45)), each=self.look_at_draws)


def garage_after(seed: int, habits: tuple[Habit, ...], happenings: int, **choices: object) -> Garage:
    """A garage in which so many things have happened."""

    async def story() -> Garage:
        garage = Garage(seed, **choices)  # type: ignore[arg-type]
        await garage.open(habits)
        for _ in range(happenings):
            await garage.happen()
        await garage.bench.control.sender.close()
        return garage

    return run_virtual(story())


seeds = some.integers(0, 1_000_000)
few = settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("seed", [7, 14, 56, 1232, 1233])
def test_garages_that_once_went_wrong(seed: int) -> None:
    garage = garage_after(seed, HONEST_HABITS, happenings=25)
    assert not garage.wrong, garage.wrong[:3]
    assert garage.longest_streak_s <= SLOWEST_REACTION_S


@few
@given(seed=seeds)
def test_no_increase_of_ours_exceeds_a_limit(seed: int) -> None:
    garage = garage_after(seed, HONEST_HABITS, happenings=25)
    assert not garage.wrong, garage.wrong[:3]
    # What can still come by itself is a new vehicle where a paused one has just left.
    assert garage.longest_streak_s <= SLOWEST_REACTION_S


@pytest.mark.parametrize("seed", [3089, 3260])
def test_forgetful_garages_that_once_looked_wrong(seed: int) -> None:
    garage = garage_after(seed, HONEST_HABITS, happenings=25, forgetful=True)
    assert not garage.wrong, garage.wrong[:3]
    assert garage.longest_streak_s <= SLOWEST_REACTION_S


@few
@given(seed=seeds)
def test_stations_that_forget_their_profile_offline_are_made_room_for(seed: int) -> None:
    garage = garage_after(seed, HONEST_HABITS, happenings=25, forgetful=True)
    assert not garage.wrong, garage.wrong[:3]
    assert garage.longest_streak_s <= SLOWEST_REACTION_S


@few
@given(seed=seeds)
def test_vehicles_that_start_at_once_where_no_room_was_kept_are_made_room_for(seed: int) -> None:
    garage = garage_after(seed, OBEYING_HABITS, happenings=25, concurrent_starts=0)
    assert garage.longest_streak_s <= SLOWEST_REACTION_S


@pytest.mark.study
@pytest.mark.parametrize("forgetful", [False, True])
def test_hundreds_of_garages(forgetful: bool) -> None:
    for seed in range(3000, 3300):
        garage = garage_after(seed, HONEST_HABITS, happenings=25, forgetful=forgetful)
        assert not garage.wrong, (seed, garage.wrong[:3])
        assert garage.longest_streak_s <= SLOWEST_REACTION_S, seed


def test_the_random_garages_do_see_increases() -> None:
    assert sum(garage_after(seed, HONEST_HABITS, happenings=15).increases for seed in range(5)) > 20
