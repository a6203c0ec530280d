"""A site with more chargers: the same posts once more, with the sessions of other weeks of the same recording."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from optimizer.domain.ids import EvseId, StationId
from optimizer.domain.site import Evse, Station
from optimizer.errors import InvalidInput
from scenarios.scenario import Scenario, Stay, Told

WEEK = timedelta(days=7)
"""Other weeks are moved by whole weeks, so that a Monday stays a Monday."""


def with_more_chargers(scenario: Scenario, start: datetime, end: datetime, times: int) -> Scenario:
    """The scenario of a part of the time, with ``times`` as many chargers and cars on the same circuits.

    The first group of posts lives through the time itself, the second through the same days a week later, and so on, at
    the same local times; after the recording's last week it goes on with its first. All are real stays, and no two
    groups have the same ones.

    Args:
        scenario: The whole recording.
        start: First instant [UTC].
        end: First instant after, a week later at most [UTC].
        times: How many groups of posts.

    Raises:
        InvalidInput: The recording is too short for as many groups.
    """
    weeks = _whole_weeks(scenario, start, end)
    if not 1 <= times <= len(weeks):
        raise InvalidInput("times", times, f"the recording has the same days in {len(weeks)} weeks")
    stations, stays = list(scenario.site.stations), list(scenario.between(start, end).stays)
    for group, week in enumerate(weeks[1:times], start=2):
        stations += [_copied_station(station, group) for station in scenario.site.stations]
        first, last = _moved(start, week, scenario), _moved(end, week, scenario)
        there = (stay for stay in scenario.stays if first <= stay.session.arrived_at < last)
        stays += [_moved_stay(stay, -week, group, scenario) for stay in there]
    stays.sort(key=lambda stay: (stay.session.arrived_at, stay.id))
    return replace(
        scenario,
        name=f"{scenario.name}, {times} times the chargers",
        start=start,
        end=end,
        site=replace(scenario.site, stations=tuple(stations)),
        stays=tuple(stays),
        fingerprint="",
    )


def _whole_weeks(scenario: Scenario, start: datetime, end: datetime) -> list[timedelta]:
    """By how much the window can be moved within the recording: not at all, then forwards, then backwards."""
    if end - start > WEEK:
        raise InvalidInput("end", end.isoformat(), f"give an instant until {(start + WEEK).isoformat()}")
    forwards = [WEEK * number for number in range(1, 60) if _moved(end, WEEK * number, scenario) <= scenario.end]
    backwards = [-WEEK * number for number in range(1, 60) if _moved(start, -WEEK * number, scenario) >= scenario.start]
    return [timedelta(0), *forwards, *reversed(backwards)]


def _moved(instant: datetime, by: timedelta, scenario: Scenario) -> datetime:
    """The same local time on another day: clocks may have changed in between [UTC]."""
    local = instant.astimezone(ZoneInfo(scenario.site.time_zone))
    return (local + by).astimezone(UTC)


def _copied_station(station: Station, group: int) -> Station:
    evses: list[Evse] = [
        replace(evse, id=EvseId(f"{evse.id}~{group}"), station_id=StationId(f"{station.id}~{group}"))
        for evse in station.evses
    ]
    return Station(StationId(f"{station.id}~{group}"), tuple(evses))


def _moved_stay(stay: Stay, by: timedelta, group: int, scenario: Scenario) -> Stay:
    def at(instant: datetime) -> datetime:
        return _moved(instant, by, scenario)

    said = stay.session.statements
    session = replace(
        stay.session,
        id=f"{stay.session.id}~{group}",
        arrived_at=at(stay.session.arrived_at),
        departed_at=at(stay.session.departed_at),
        statements=tuple(replace(one, stated_at=at(one.stated_at), depart_at=at(one.depart_at)) for one in said),
    )
    told = tuple(
        Told(at(one.at), tuple(replace(target, depart_at=at(target.depart_at)) for target in one.targets))
        for one in stay.told
    )
    return replace(stay, session=session, evse_id=EvseId(f"{stay.evse_id}~{group}"), told=told)
