"""The fields of a scenario file.

A scenario is one YAML file; paths in it are relative to the file::

    name: office garage
    start: 2019-03-01T00:00:00-08:00     # first instant, with its UTC offset
    end: 2019-04-01T00:00:00-07:00       # stays that begin before it are followed to their end
    step_minutes: 5                      # distance of meter readings and control steps: 1, 5 or 15
    site: {...}                          # as in the configuration of the service
    tariff: {file: tariff.yaml}
    sessions: {file: sessions.csv, format: sustaingym}
    information: {targets: stated}       # what control is told; see below
    strategy: milp

Every section and field is described where it is defined below; docs/scenario_files.md and ``chargehorizon scenario
fields`` are made of it.
"""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BeforeValidator, Field, model_validator

from connectors.sections import ExistingFile, Section, fields_of
from connectors.site_section import Identifier, NotNegative, Positive, Share, SiteSection
from optimizer.control.settings import ControlSettings
from optimizer.domain.event import GridEventKind
from optimizer.planning.settings import PlanningSettings
from scenarios.arrivals import ColumnMap
from scenarios.scenario import Foresight, TargetPolicy, UnstatedPolicy
from scenarios.vehicle_model import WakeBehaviour


def _no_bare_date(given: Any) -> Any:
    """YAML reads 2019-03-01 as a date, whose midnight would be anybody's guess."""
    if isinstance(given, date) and not isinstance(given, datetime):
        raise ValueError(f"give time and UTC offset, for example {given}T00:00:00-08:00")  # noqa: TRY004 - pydantic's
    return given


Instant = Annotated[AwareDatetime, BeforeValidator(_no_bare_date)]
Control = Annotated[ControlSettings, BeforeValidator(fields_of(ControlSettings))]
Planning = Annotated[PlanningSettings, BeforeValidator(fields_of(PlanningSettings))]
Columns = Annotated[ColumnMap, BeforeValidator(fields_of(ColumnMap))]


class TariffSection(Section):
    """What the site pays."""

    file: ExistingFile
    """The tariff file: energy bands, demand charges, export price."""


class MarketSection(Section):
    """Day-ahead prices on top of the tariff's bands."""

    file: ExistingFile
    """The price file: Energinet, ERCOT or plain CSV."""
    zone: str | None = None
    """Bidding zone or settlement point, where the file holds several."""
    moved: bool = False
    """Whether the prices are of another year and moved to this scenario's time, weekday to weekday."""
    zone_of_day: str | None = None
    """IANA zone of the moved prices' days; left out: the site's."""
    published_hour: Annotated[int, Field(ge=0, le=23)] = 13
    """Local hour at which the next day's prices become known."""


class SessionSection(Section):
    """Recorded charging sessions; those of the weeks before the start are the past that control learns from."""

    file: ExistingFile
    """The file."""
    format: Literal["acn_sim", "sustaingym", "acn_api", "trondheim", "epfl", "columns"]
    """Whose form it has; ``columns``: as told by ``columns``."""
    columns: Columns | None = None
    """Which columns mean what."""
    places: Literal["by_name", "in_order", "any_free"] = "by_name"
    """Where each stands: at the EVSE of the post's name, posts in order of their names at EVSEs in order, or wherever
    one is free."""
    greatest_energy_kwh: Positive | None = None
    """Above this a row is set aside [kWh]; left out: what suits the format."""
    greatest_mean_kw: Positive | None = None
    """Above this mean power a row is set aside [kW]; left out: what suits the format."""

    @model_validator(mode="after")
    def _columns_where_needed(self) -> Self:
        if (self.format == "columns") != (self.columns is not None):
            raise ValueError("give columns with the format columns, and with no other")
        return self


class VehicleKindSection(Section):
    """One kind of vehicle; each session's is drawn by the seed."""

    share: Annotated[float, Field(gt=0)] = 1.0
    """How frequent, relative to the other kinds."""
    max_power_kw: Positive | None = None
    """Greatest power it takes [kW]; left out: what was recorded, else what the EVSE gives."""
    min_current_a: Positive | None = None
    """Least current at which it charges [A]; left out: the EVSE's."""
    phases_used: Literal[1, 2, 3] = 3
    """Phases it draws on where there are as many."""
    taper_share: Share = 0.15
    """Share of its energy over which it slows down before it is full."""
    wake: WakeBehaviour = WakeBehaviour.WAKES
    """What it does after a pause."""
    wake_delay_s: NotNegative = 0.0
    """From an offer after a pause until it draws again [s]."""
    tier: Literal["reserved", "paid_level", "fleet_duty", "regular"] = "regular"
    """Who is served first."""
    battery_kwh: Positive | None = None
    """Battery where none was recorded [kWh]; what was recorded to be taken is then taken to fill it."""
    gives_back_kw: NotNegative = 0.0
    """Power that its driver agrees to give back at one of ``bidirectional_evses`` [kW]; 0: none."""
    discharge_floor_soc: Share = 0.5
    """State of charge below which its driver lends nothing."""

    @model_validator(mode="after")
    def _knows_what_it_lends(self) -> Self:
        if self.gives_back_kw > 0 and self.battery_kwh is None:
            raise ValueError("give battery_kwh with gives_back_kw: what can be lent depends on it")
        return self


class InformationSection(Section):
    """What control is told, and when."""

    targets: TargetPolicy = TargetPolicy.STATED
    """recorded (the truth at plug-in), stated (what drivers said, when they said it) or none."""
    unstated: UnstatedPolicy = UnstatedPolicy.LEARNT
    """learnt from earlier stays, or default, for stays whose driver says nothing."""
    building: Foresight = Foresight.PERSISTENCE
    """perfect, persistence or recorded."""
    pv: Foresight = Foresight.PERSISTENCE
    """perfect, persistence or recorded."""
    carbon: Foresight = Foresight.RECORDED
    """perfect, persistence or recorded."""
    prices: Literal["published", "perfect"] = "published"
    """Market prices once they are published, or all from the start."""


class PowerFileSection(Section):
    """Measured power, and what was expected of it."""

    file: ExistingFile | None = None
    """CSV of measured power; the first column with a unit counts, or ``column``."""
    column: str | None = None
    """Its value column."""
    factor: NotNegative = 1.0
    """Scales the values, for example to another size of array."""
    constant_kw: NotNegative | None = None
    """The same power all the time instead of a file [kW]."""
    weather_file: ExistingFile | None = None
    """PV only: power computed by pvlib from measured weather instead of a file."""
    forecast_file: ExistingFile | None = None
    """What was expected, for the foresight ``recorded``; for PV also a weather file."""
    forecast_column: str | None = None
    """Its value column."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [one for one in (self.file, self.constant_kw, self.weather_file) if one is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of file, constant_kw and weather_file")
        return self


class CarbonSection(Section):
    """Marginal emissions of the grid."""

    files: tuple[ExistingFile, ...] = Field(min_length=1)
    """Files of the SGIP signal that follow one another."""
    price_per_kg: NotNegative = 0.0
    """What the plan counts a kilogram at, beside money [currency/kg]."""


class ReservationSection(Section):
    """A booking; constructed, since no real record of reservations is known."""

    id: Identifier
    """Name."""
    made_at: Instant
    """When it becomes known."""
    start: Instant
    """Earliest arrival."""
    end: Instant
    """Departure."""
    session_id: str | None = None
    """Recorded session of the driver who booked; left out: nobody comes."""
    evse_id: Identifier | None = None
    """The booked EVSE; left out: any."""
    energy_kwh: NotNegative = 0.0
    """Energy needed by the end [kWh]."""
    guaranteed_power_kw: NotNegative = 0.0
    """Power promised until the energy is delivered [kW]."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.made_at <= self.start < self.end:
            raise ValueError("made_at, start and end must follow one another")
        return self


class GridEventSection(Section):
    """What the grid operator asks for."""

    id: Identifier
    """Name."""
    announced_at: Instant
    """When it becomes known."""
    start: Instant
    """From when it holds."""
    end: Instant
    """Until when."""
    kind: GridEventKind = GridEventKind.IMPORT_LIMIT
    """What the value means."""
    value: float
    """[kW], or [currency/kWh] for a price."""
    circuit_id: Identifier | None = None
    """The circuit it limits; left out: the grid connection."""
    priority: int = 0
    """Smaller goes first."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.announced_at <= self.start < self.end:
            raise ValueError("announced_at, start and end must follow one another")
        return self


class ReplanSection(Section):
    """When a new plan is made."""

    every_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 5
    """At whole multiples of this since the start [minutes]."""
    at_events: bool = True
    """Also at plug-in, plug-out, and when a driver or the grid operator says something."""


class ScenarioFile(Section):
    """The whole file."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    """Short name."""
    description: str = ""
    """What it shows, for people."""
    start: Instant
    """First instant."""
    end: Instant
    """First instant after; stays that begin before it are followed to their end."""
    step_minutes: Literal[1, 5, 15] = 5
    """Distance of meter readings and control steps [minutes]."""
    seed: int = 0
    """For everything drawn by chance."""
    site: SiteSection
    """Circuits, stations, EVSEs, limits, PV arrays, battery."""
    battery_soc: Share = 0.5
    """State of charge of the stationary battery at the start."""
    wiring_loss_share: Share = 0.0
    """Lost between site meter and EVSE meters, as a share of what the EVSEs draw."""
    tariff: TariffSection
    """What the site pays."""
    market_prices: MarketSection | None = None
    """Day-ahead prices on top of the tariff."""
    sessions: SessionSection
    """Who came, when they left, what they took and what they said."""
    vehicles: tuple[VehicleKindSection, ...] = Field(default=(VehicleKindSection(),), min_length=1)
    """Kinds of vehicle."""
    bidirectional_evses: tuple[Identifier, ...] | Literal["all"] = ()
    """EVSEs at which a vehicle can give power back, by id, or ``all``."""
    information: InformationSection = InformationSection()
    """What control is told, and when."""
    building: PowerFileSection | None = None
    """Load of the building; left out: none."""
    pv: PowerFileSection | None = None
    """PV power; left out: none."""
    carbon: CarbonSection | None = None
    """Marginal emissions; left out: none."""
    reservations: tuple[ReservationSection, ...] = ()
    """Bookings."""
    grid_events: tuple[GridEventSection, ...] = ()
    """What the grid operator asks for."""
    strategy: str = "milp"
    """milp, or a heuristic: equal_share, round_robin, first_come, earliest_departure, least_laxity; or uncontrolled."""
    replan: ReplanSection = ReplanSection()
    """When a new plan is made."""
    control: Control = ControlSettings()
    """Choices of control, as in the configuration of the service."""
    planning: Planning = PlanningSettings()
    """Choices of the planner, as in the configuration of the service."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end <= self.start:
            raise ValueError("end must be after start")
        if self.building is not None and self.building.weather_file is not None:
            raise ValueError("building.weather_file: a building's load is not computed from weather; give file")
        return self

    def files(self) -> tuple[Path, ...]:
        """Every file that it names."""
        powers = [one for one in (self.building, self.pv) if one is not None]
        named = [self.tariff.file, self.sessions.file]
        named += [self.market_prices.file] if self.market_prices else []
        named += [path for one in powers for path in (one.file, one.weather_file, one.forecast_file) if path]
        return (*named, *(self.carbon.files if self.carbon else ()))


class RecordFile(Section):
    """What a service saw and decided, as ``chargehorizon record export`` writes it, and what is to be otherwise."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    """Short name."""
    description: str = ""
    """For people."""
    recorded: ExistingFile
    """The record of the steps."""
    start: Instant | None = None
    """First instant; left out: the record's first step."""
    end: Instant | None = None
    """First instant after; left out: after the record's last step."""
    strategy: str = "milp"
    """Another strategy than the rolling MILP that recorded: a heuristic, or uncontrolled."""
    planning: dict[str, Any] = Field(default_factory=dict)
    """Other choices of the planner, by name; all others are those in force then."""
    site: dict[str, Any] = Field(default_factory=dict)
    """What of the site is to be otherwise, named as in a configuration; entries of lists by their id."""
    tariff: TariffSection | None = None
    """Another tariff."""
    market_prices: MarketSection | None = None
    """Day-ahead prices on top of the other tariff."""
