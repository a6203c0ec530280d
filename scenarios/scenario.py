"""A scenario: what happens at a site over a time, and what control is told of it and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from connectors.forecasts.emissions import MarginalEmissions
from optimizer.control.settings import ControlSettings
from optimizer.domain.event import GridEvent
from optimizer.domain.ids import EvseId
from optimizer.domain.reservation import Reservation
from optimizer.domain.series import PowerSeries, PriceSeries
from optimizer.domain.session import DepartureTarget, PriorityTier
from optimizer.domain.site import Site
from optimizer.domain.tariff import Tariff
from optimizer.planning.settings import PlanningSettings
from scenarios.arrivals import RecordedSession, SetAside
from scenarios.plant import Surroundings
from scenarios.vehicle_model import VehicleModel

LONGEST_RUN_OUT = timedelta(days=3)
"""Cars are followed this far beyond the scenario's end; who stays longer had time enough."""


class Foresight(StrEnum):
    """How far ahead something is seen."""

    PERFECT = "perfect"
    """As it will be."""
    PERSISTENCE = "persistence"
    """As it was a day before."""
    RECORDED = "recorded"
    """As a forecast recorded or computed beforehand expected it."""


class TargetPolicy(StrEnum):
    """What drivers tell of departure and energy."""

    RECORDED = "recorded"
    """The truth, at plug-in: for comparison with studies that assume so."""
    STATED = "stated"
    """What they really said, when they said it; often wrong."""
    NONE = "none"
    """Nothing."""


class UnstatedPolicy(StrEnum):
    """What is assumed of a stay whose driver says nothing."""

    LEARNT = "learnt"
    """What earlier stays at the site lead to expect."""
    DEFAULT = "default"
    """The same for everyone: control's ``default_stay_h`` and ``default_energy_kwh``."""


REMEMBERED = timedelta(days=38)
"""How far back control remembers: a demand charge looks back to the begin of the billing month, what a month's peak
will be is learnt from the days before."""


@dataclass(frozen=True, slots=True)
class Information:
    """What control is told."""

    targets: TargetPolicy = TargetPolicy.STATED
    """Departure and energy."""
    unstated: UnstatedPolicy = UnstatedPolicy.LEARNT
    """What is assumed where nothing is said."""
    building: Foresight = Foresight.PERSISTENCE
    """Load of the building."""
    pv: Foresight = Foresight.PERSISTENCE
    """PV power."""
    carbon: Foresight = Foresight.RECORDED
    """Marginal emissions."""
    prices_published: bool = True
    """Whether market prices are seen only once they are published."""


@dataclass(frozen=True, slots=True)
class ReplanRule:
    """When a new plan is made."""

    every: timedelta = timedelta(minutes=5)
    """At whole multiples of this since the start."""
    at_events: bool = True
    """Also at plug-in, plug-out, and when a driver or the grid operator says something."""


@dataclass(frozen=True, slots=True)
class Told:
    """Departure targets that become known at some moment."""

    at: datetime
    """When [UTC]."""
    targets: tuple[DepartureTarget, ...]
    """What is then known."""


@dataclass(frozen=True, slots=True)
class Stay:
    """One vehicle's stay: the truth, and what is told of it when."""

    session: RecordedSession
    """What was recorded."""
    evse_id: EvseId
    """Where it stands."""
    vehicle: VehicleModel
    """How the vehicle behaves."""
    told: tuple[Told, ...] = ()
    """What its driver tells, in order of time."""
    tier: PriorityTier = PriorityTier.REGULAR
    """Who is served first."""

    @property
    def id(self) -> str:
        """Name of the stay."""
        return self.session.id


@dataclass(frozen=True, slots=True)
class AnnouncedReservation:
    """A reservation and when it is made."""

    made_at: datetime
    """When it becomes known [UTC]."""
    reservation: Reservation
    """The reservation."""


@dataclass(frozen=True, slots=True)
class Market:
    """Day-ahead prices and when each day's are published."""

    prices: PriceSeries
    """All prices."""
    published_hour: int = 13
    """Local hour at which the next day's prices become known."""


@dataclass(frozen=True)
class Scenario:
    """Everything that one replay needs; nothing in it changes."""

    name: str
    """Short name."""
    start: datetime
    """First instant [UTC]."""
    end: datetime
    """First instant after; stays that began before it are followed to their end [UTC]."""
    step: timedelta
    """Distance of meter readings and control steps."""
    site: Site
    """What stands there."""
    tariff: Tariff
    """What the site pays, market prices of the whole time included."""
    stays: tuple[Stay, ...]
    """What happens, by plug-in."""
    surroundings: Surroundings
    """True building load and PV, and wiring losses."""
    set_aside: tuple[SetAside, ...] = ()
    """Rows of the recording that could not be used, each with the reason."""
    description: str = ""
    """For people."""
    path: Path | None = None
    """The file it was read from."""
    seed: int = 0
    """For everything drawn by chance."""
    information: Information = Information()
    """What control is told."""
    replan: ReplanRule = ReplanRule()
    """When it plans."""
    strategy: str = "milp"
    """What plans, unless the caller names another."""
    market: Market | None = None
    """Day-ahead prices, where the tariff has them."""
    building_forecast: PowerSeries | None = None
    """What was expected of the building, where recorded."""
    pv_forecast: PowerSeries | None = None
    """What was expected of the PV, where recorded."""
    emissions: MarginalEmissions | None = None
    """Marginal emissions of the grid."""
    reservations: tuple[AnnouncedReservation, ...] = ()
    """Bookings."""
    grid_events: tuple[GridEvent, ...] = ()
    """What the grid operator asks; ``received_at`` is when it becomes known."""
    battery_soc: float = 0.5
    """State of charge of the stationary battery at the start."""
    control: ControlSettings = field(default_factory=ControlSettings)
    """Choices of control."""
    planning: PlanningSettings = field(default_factory=PlanningSettings)
    """Choices of the planner."""
    earlier: tuple[Stay, ...] = ()
    """Stays of the weeks before the start, over by then: the past that control may learn from."""
    fingerprint: str = ""
    """SHA-256 over the file and all files it names; empty where not read from files."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Further facts for the reader of a report."""

    @property
    def requested_kwh(self) -> float:
        """Energy that the vehicles are known to take [kWh]."""
        return sum(stay.session.delivered_kwh for stay in self.stays)

    @property
    def last_departure(self) -> datetime:
        """When the last vehicle leaves, not before ``end`` [UTC]."""
        return max([self.end, *(stay.session.departed_at for stay in self.stays)])

    @property
    def followed_until(self) -> datetime:
        """How far every course is followed and billed, so that their costs can be compared [UTC]."""
        return min(self.last_departure, self.end + LONGEST_RUN_OUT)

    @property
    def has_surroundings(self) -> bool:
        """Whether anything but vehicles flows at the connection."""
        series = (self.surroundings.building, self.surroundings.pv)
        return self.site.battery is not None or any(value_kw for one in series for value_kw in one.values_kw)

    def between(self, start: datetime, end: datetime) -> Scenario:
        """The scenario of a part of the time: the stays that begin in it; those over before it are the past."""
        stays = tuple(stay for stay in self.stays if start <= stay.session.arrived_at < end)
        over = [stay for stay in (*self.earlier, *self.stays) if stay.session.departed_at < start]
        earlier = tuple(stay for stay in over if stay.session.arrived_at >= start - REMEMBERED)
        return replace(self, start=start, end=end, stays=stays, earlier=earlier)
