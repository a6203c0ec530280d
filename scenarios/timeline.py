"""The course of a scenario's events: what happens when, in the order in which it is taken up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from optimizer.domain.series import PowerSeries
from scenarios.scenario import Scenario


class HappeningKind(IntEnum):
    """What happens; of several at one instant the smaller number goes first."""

    DEPARTURE = 0
    """A car leaves."""
    ARRIVAL = 1
    """A car is plugged in."""
    STATEMENT = 2
    """A driver says what is needed by when."""
    RESERVATION = 3
    """A booking is made."""
    GRID_EVENT = 4
    """The grid operator announces something."""
    EDGE = 5
    """A grid event begins or ends."""
    LOOK = 6
    """Building or PV change: the guard has a look."""


@dataclass(frozen=True, slots=True, order=True)
class Happening:
    """One event of the course."""

    at: datetime
    """When [UTC]."""
    kind: HappeningKind
    """What."""
    place: int = 0
    """Which stay, reservation or grid event of the scenario."""
    number: int = 0
    """Which of its statements."""


def timeline_of(scenario: Scenario) -> tuple[Happening, ...]:
    """All that happens, in order."""
    return tuple(sorted({*_of_stays(scenario), *_of_others(scenario)}))


def _of_stays(scenario: Scenario) -> Iterator[Happening]:
    for place, stay in enumerate(scenario.stays):
        yield Happening(stay.session.arrived_at, HappeningKind.ARRIVAL, place)
        yield Happening(stay.session.departed_at, HappeningKind.DEPARTURE, place)
        for number, told in enumerate(stay.told):
            yield Happening(max(told.at, stay.session.arrived_at), HappeningKind.STATEMENT, place, number)


def _of_others(scenario: Scenario) -> Iterator[Happening]:
    for place, announced in enumerate(scenario.reservations):
        yield Happening(max(announced.made_at, scenario.start), HappeningKind.RESERVATION, place)
    for place, event in enumerate(scenario.grid_events):
        yield Happening(max(event.received_at, scenario.start), HappeningKind.GRID_EVENT, place)
        for part in event.intervals:
            for edge in (part.interval.start, part.interval.end):
                if edge > scenario.start:
                    yield Happening(edge, HappeningKind.EDGE, place)
    for series in (scenario.surroundings.building, scenario.surroundings.pv):
        yield from (Happening(at, HappeningKind.LOOK) for at in _changes(series) if at > scenario.start)


def _changes(series: PowerSeries) -> Iterator[datetime]:
    """The instants at which a series changes its value."""
    before_kw = series.values_kw[0]
    for at, value_kw in zip(series.boundaries, series.values_kw, strict=False):
        if value_kw != before_kw:
            yield at
        before_kw = value_kw
