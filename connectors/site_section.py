"""The section `site` of configurations and scenarios, and the domain's `Site` made of it."""

from __future__ import annotations

from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from connectors.sections import Section
from optimizer.domain.ids import CircuitId, EvseId, SiteId, StationId, TariffId
from optimizer.domain.site import (
    ALL_PHASES,
    Circuit,
    CurrentType,
    Evse,
    GridConnection,
    LimitSource,
    Phase,
    PvArray,
    Site,
    Station,
    StationaryBattery,
    Wiring,
)


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("name a zone of the IANA list, for example Europe/Berlin") from error
    return name


# What goes into URLs and OCPP paths as it stands.
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]{1,48}$")]
TimeZoneName = Annotated[str, AfterValidator(_known_zone)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class CircuitSection(Section):
    """One fuse or sub-distribution."""

    id: Identifier
    """Name, unique in the site."""
    parent_id: Identifier | None = None
    """The circuit that feeds it; left out for the root, which carries the grid connection."""
    limit_a: NotNegative | None = None
    """Greatest current on each phase [A]; left out where only a power limit holds."""
    limit_kw: NotNegative | None = None
    """Greatest active power [kW]; left out where only a current limit holds."""
    limit_source: LimitSource = LimitSource.FUSE
    """Who set the limit."""
    imbalance_limit_a: NotNegative | None = None
    """Greatest difference between two phases [A]; left out: not limited."""

    @model_validator(mode="after")
    def _limited(self) -> Self:
        if self.limit_a is None and self.limit_kw is None:
            raise ValueError("give limit_a, limit_kw or both")
        return self


class EvseFields(Section):
    """What is the same for an EVSE named one by one and for many equal ones."""

    circuit_id: Identifier
    """The circuit that feeds it."""
    max_current_a: Positive
    """Greatest current per phase of EVSE, cable and its own fuse [A]."""
    wiring: Wiring = Wiring.LINE_TO_NEUTRAL
    """line_to_neutral (230 V to neutral) or line_to_line (208 V or 240 V between two phases)."""
    voltage_v: Positive = 230.0
    """Voltage across one current path [V]."""
    min_current_a: Positive = 6.0
    """Least current that is not zero [A]."""
    current_step_a: Positive = 1.0
    """Granularity of the limits that the station obeys [A]."""
    current_type: CurrentType = CurrentType.AC
    """AC or DC."""
    phase_switching: bool = False
    """Whether the station can change between one and three phases in a session."""


class EvseSection(EvseFields):
    """One EVSE of a station."""

    id: Identifier | None = None
    """Name, unique in the site; left out: the station's id, with the EVSE's number where it has several."""
    ocpp_evse_id: Annotated[int, Field(ge=1)] | None = None
    """Number that OCPP knows it by, from 1 (1.6: connectorId); left out: its place in the list."""
    phases: tuple[Phase, ...] = ALL_PHASES
    """The phases behind the plug's L1, L2, L3, in this order."""


class StationSection(Section):
    """One charging station."""

    id: Identifier
    """Identity in the OCPP connection URL."""
    evses: tuple[EvseSection, ...] = Field(min_length=1)
    """Its EVSEs."""

    def to_station(self) -> Station:
        """The domain's station."""
        alone = len(self.evses) == 1
        return Station(
            StationId(self.id),
            tuple(
                _evse(section, self.id, section.ocpp_evse_id or number, section.id, section.phases, alone=alone)
                for number, section in enumerate(self.evses, start=1)
            ),
        )


class StationGroupSection(EvseFields):
    """Many equal stations in a few lines."""

    station_ids: tuple[Identifier, ...] = ()
    """Their ids one by one; or ``id_pattern`` with ``count``."""
    id_pattern: str | None = None
    """Pattern of their ids, the number in braces: ``CP-{number:02d}``."""
    count: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """How many stations."""
    first_number: Annotated[int, Field(ge=0)] = 1
    """Number of the first one."""
    evses_per_station: Annotated[int, Field(ge=1, le=100)] = 1
    """EVSEs of each station."""
    phases_in_turn: tuple[tuple[Phase, ...], ...] = (ALL_PHASES,)
    """Rotations of the EVSEs, one after the other and then from the start again."""

    @model_validator(mode="after")
    def _named_one_way(self) -> Self:
        by_pattern = self.id_pattern is not None and self.count is not None
        if by_pattern == bool(self.station_ids) or (self.id_pattern is None) != (self.count is None):
            raise ValueError("give station_ids, or id_pattern together with count")
        if not self.phases_in_turn:
            raise ValueError("phases_in_turn needs at least one rotation, for example [[L1, L2, L3]]")
        self.ids()
        return self

    def ids(self) -> tuple[str, ...]:
        """The ids of all stations of the group."""
        if self.id_pattern is None or self.count is None:
            return self.station_ids
        numbers = range(self.first_number, self.first_number + self.count)
        try:
            ids = tuple(self.id_pattern.format(number=number) for number in numbers)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError("id_pattern may hold {number} only, for example CP-{number:02d}") from error
        if len(set(ids)) != len(ids):
            raise ValueError("id_pattern must hold {number}, for example CP-{number:02d}")
        return ids

    def to_stations(self) -> tuple[Station, ...]:
        """The domain's stations."""
        stations = []
        place = 0
        for station_id in self.ids():
            evses = []
            for number in range(1, self.evses_per_station + 1):
                phases = self.phases_in_turn[place % len(self.phases_in_turn)]
                evses.append(_evse(self, station_id, number, None, phases, alone=self.evses_per_station == 1))
                place += 1
            stations.append(Station(StationId(station_id), tuple(evses)))
        return tuple(stations)


def _evse(
    section: EvseFields, station_id: str, number: int, evse_id: str | None, phases: tuple[Phase, ...], *, alone: bool
) -> Evse:
    return Evse(
        id=EvseId(evse_id or (station_id if alone else f"{station_id}-{number}")),
        station_id=StationId(station_id),
        ocpp_evse_id=number,
        circuit_id=CircuitId(section.circuit_id),
        max_current_a=section.max_current_a,
        phases=phases,
        wiring=section.wiring,
        voltage_v=section.voltage_v,
        min_current_a=section.min_current_a,
        current_step_a=section.current_step_a,
        current_type=section.current_type,
        phase_switching=section.phase_switching,
    )


class GridConnectionSection(Section):
    """The one point where the site meets the grid."""

    circuit_id: Identifier
    """The root circuit."""
    import_limit_kw: NotNegative
    """Greatest contracted import [kW]."""
    export_limit_kw: NotNegative = 0.0
    """Greatest permitted export [kW]."""


class PvArraySection(Section):
    """A photovoltaic array."""

    id: Identifier
    """Name, unique in the site."""
    peak_kw: Positive
    """DC power at standard test conditions [kW]."""
    inverter_kw: Positive
    """AC rating of the inverter [kW]."""
    tilt_deg: Annotated[float, Field(ge=0, le=90)]
    """Angle of the modules from horizontal [degrees]."""
    azimuth_deg: Annotated[float, Field(ge=0, le=360)]
    """Direction the modules face, clockwise from north; south is 180 [degrees]."""
    curtailable: bool = False
    """Whether the service may reduce its output."""


class BatterySection(Section):
    """A stationary battery."""

    id: Identifier = "battery"
    """Name."""
    capacity_kwh: Positive
    """Usable energy between 0 and 1 soc [kWh]."""
    max_charge_kw: NotNegative
    """Greatest charging power [kW]."""
    max_discharge_kw: NotNegative
    """Greatest discharging power [kW]."""
    charge_efficiency: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Stored over charged energy."""
    discharge_efficiency: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Delivered over drawn energy."""
    min_soc: Share = 0.05
    """Lowest permitted state of charge."""
    max_soc: Share = 1.0
    """Highest permitted state of charge."""
    wear_price_per_kwh: NotNegative = 0.0
    """Cost of wear per kWh discharged [currency]."""

    @model_validator(mode="after")
    def _band(self) -> Self:
        if self.min_soc >= self.max_soc:
            raise ValueError(f"max_soc must be above min_soc {self.min_soc}")
        return self


class SiteSection(Section):
    """The site: grid connection, fuses, stations, PV, battery."""

    id: Identifier
    """Name in the HTTP API."""
    name: str = ""
    """What people call it; left out: the id."""
    time_zone: TimeZoneName
    """IANA zone of tariff windows and billing days."""
    currency: Currency
    """ISO 4217 code."""
    latitude_deg: Annotated[float, Field(ge=-90, le=90)] = 0.0
    """Degrees north."""
    longitude_deg: Annotated[float, Field(ge=-180, le=180)] = 0.0
    """Degrees east."""
    grid_connection: GridConnectionSection
    """The connection to the grid."""
    circuits: tuple[CircuitSection, ...] = Field(min_length=1)
    """The tree of fuses."""
    stations: tuple[StationSection, ...] = ()
    """Stations one by one."""
    station_groups: tuple[StationGroupSection, ...] = ()
    """Many equal stations in a few lines."""
    pv_arrays: tuple[PvArraySection, ...] = ()
    """Photovoltaic arrays."""
    battery: BatterySection | None = None
    """Stationary battery, where there is one."""
    greatest_building_kw: NotNegative = 0.0
    """Greatest building load ever expected [kW]; bounds what blind stations may draw."""
    pv_firm_share: Share = 0.0
    """Share of forecast PV that may relieve a fuse limit; 0: the fuse holds without any PV."""

    @model_validator(mode="after")
    def _charges_somewhere(self) -> Self:
        if not self.stations and not self.station_groups:
            raise ValueError("give at least one station in stations or station_groups")
        return self

    def to_site(self, tariff_id: TariffId) -> Site:
        """The domain's site.

        Raises:
            InvalidInput: Circuits do not form a tree, an id stands twice, an EVSE's wiring does not fit its phases.
        """
        named = [section.to_station() for section in self.stations]
        grouped = [station for group in self.station_groups for station in group.to_stations()]
        return Site(
            id=SiteId(self.id),
            name=self.name or self.id,
            time_zone=self.time_zone,
            currency=self.currency,
            circuits=tuple(_circuit(section) for section in self.circuits),
            stations=(*named, *grouped),
            grid_connection=GridConnection(
                CircuitId(self.grid_connection.circuit_id),
                self.grid_connection.import_limit_kw,
                self.grid_connection.export_limit_kw,
            ),
            tariff_id=tariff_id,
            latitude_deg=self.latitude_deg,
            longitude_deg=self.longitude_deg,
            pv_arrays=tuple(PvArray(**section.model_dump()) for section in self.pv_arrays),
            battery=StationaryBattery(**self.battery.model_dump()) if self.battery else None,
            greatest_building_kw=self.greatest_building_kw,
            pv_firm_share=self.pv_firm_share,
        )


def _circuit(section: CircuitSection) -> Circuit:
    return Circuit(
        id=CircuitId(section.id),
        parent_id=CircuitId(section.parent_id) if section.parent_id else None,
        limit_a=section.limit_a,
        limit_kw=section.limit_kw,
        limit_source=section.limit_source,
        imbalance_limit_a=section.imbalance_limit_a,
    )
