"""What stands at a site: circuits, stations and their EVSEs, PV, battery, grid connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from math import sqrt

from optimizer.domain.ids import CircuitId, EvseId, SiteId, StationId, TariffId
from optimizer.errors import InvalidInput


class Phase(StrEnum):
    """A line conductor of a three-phase supply."""

    L1 = "L1"
    L2 = "L2"
    L3 = "L3"


ALL_PHASES = (Phase.L1, Phase.L2, Phase.L3)


class LimitSource(StrEnum):
    """Who set a limit; every limit in an answer names one."""

    FUSE = "fuse"
    CONTRACT = "contract"
    GRID_EVENT = "grid_event"
    OPERATOR = "operator"
    STATION = "station"
    VEHICLE = "vehicle"
    RESERVATION = "reservation"
    SAFE_DEFAULT = "safe_default"


class Wiring(StrEnum):
    """Between which conductors an EVSE draws its current."""

    LINE_TO_NEUTRAL = "line_to_neutral"
    """One current path per phase, each against the neutral (Europe: 230 V)."""
    LINE_TO_LINE = "line_to_line"
    """One current path between two phases (North America: 208 V or 240 V)."""


class CurrentType(StrEnum):
    """Alternating or direct current at the plug."""

    AC = "AC"
    DC = "DC"


@dataclass(frozen=True, slots=True)
class Circuit:
    """A node in the tree of fuses; the root carries the grid connection."""

    id: CircuitId
    """Name, unique in the site."""
    parent_id: CircuitId | None
    """The circuit that feeds this one; ``None`` for the root."""
    limit_a: float | None = None
    """Greatest current on each phase [A]; ``None`` where only a power limit holds."""
    limit_kw: float | None = None
    """Greatest active power [kW]; ``None`` where only a current limit holds."""
    limit_source: LimitSource = LimitSource.FUSE
    """Who set the limit."""
    imbalance_limit_a: float | None = None
    """Greatest difference between any two phases [A]; ``None``: not limited."""

    def __post_init__(self) -> None:
        for name in ("limit_a", "limit_kw", "imbalance_limit_a"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise InvalidInput(f"circuits.{self.id}.{name}", value, "give a number from 0 up, or leave it out")


@dataclass(frozen=True)
class Evse:
    """Serves one vehicle at a time."""

    id: EvseId
    """Name, unique in the site."""
    station_id: StationId
    """The station that holds it."""
    ocpp_evse_id: int
    """Number that OCPP knows it by (1.6: connectorId), from 1."""
    circuit_id: CircuitId
    """The circuit that feeds it."""
    max_current_a: float
    """Greatest current per phase of EVSE, cable and its own fuse [A]."""
    phases: tuple[Phase, ...] = ALL_PHASES
    """The phases behind the plug's L1, L2, L3, in this order (the rotation)."""
    wiring: Wiring = Wiring.LINE_TO_NEUTRAL
    """Between which conductors the current flows."""
    voltage_v: float = 230.0
    """Voltage across one current path [V]: to neutral, or between the two lines."""
    min_current_a: float = 6.0
    """Least current that is not zero [A]; IEC 61851-1 gives 6 A."""
    current_step_a: float = 1.0
    """Granularity of the limits that the station obeys [A]."""
    current_type: CurrentType = CurrentType.AC
    """AC, or DC with the phases meant on the supply side."""
    phase_switching: bool = False
    """Whether the station can change between one and three phases in a session."""

    def __post_init__(self) -> None:
        place = f"evses.{self.id}"
        if self.wiring is Wiring.LINE_TO_LINE and len(self.phases) != 2:
            raise InvalidInput(f"{place}.phases", self.phases, "name exactly two phases for line_to_line wiring")
        if self.wiring is Wiring.LINE_TO_NEUTRAL and len(self.phases) not in (1, 3):
            raise InvalidInput(f"{place}.phases", self.phases, "name one or three phases for line_to_neutral wiring")
        if len(set(self.phases)) != len(self.phases):
            raise InvalidInput(f"{place}.phases", self.phases, "name each phase once")
        if not 0 < self.min_current_a <= self.max_current_a:
            raise InvalidInput(f"{place}.min_current_a", self.min_current_a, f"must be in (0, {self.max_current_a}]")
        if self.voltage_v <= 0:
            raise InvalidInput(f"{place}.voltage_v", self.voltage_v, "must be above 0")

    @cached_property
    def current_paths(self) -> int:
        """Number of equal current paths: power = paths * voltage * current."""
        return 1 if self.wiring is Wiring.LINE_TO_LINE else len(self.phases)

    def power_kw(self, current_a: float) -> float:
        """Active power at ``current_a`` per phase, at unity power factor [kW]."""
        return current_a * self.voltage_v * self.current_paths / 1000.0

    def current_a(self, power_kw: float) -> float:
        """Current per phase at ``power_kw``, at unity power factor [A]."""
        return power_kw * 1000.0 / (self.voltage_v * self.current_paths)

    @cached_property
    def max_power_kw(self) -> float:
        """Greatest power [kW]."""
        return self.power_kw(self.max_current_a)

    @cached_property
    def min_power_kw(self) -> float:
        """Least power that is not zero [kW]."""
        return self.power_kw(self.min_current_a)


@dataclass(frozen=True, slots=True)
class Station:
    """An OCPP charging station (1.6: charge point)."""

    id: StationId
    """Identity in the OCPP connection URL."""
    evses: tuple[Evse, ...]
    """Its EVSEs."""


@dataclass(frozen=True, slots=True)
class PvArray:
    """A photovoltaic array behind the grid connection."""

    id: str
    """Name, unique in the site."""
    peak_kw: float
    """DC power at standard test conditions [kW]."""
    inverter_kw: float
    """AC rating of the inverter [kW]."""
    tilt_deg: float
    """Angle of the modules from horizontal [degrees]."""
    azimuth_deg: float
    """Direction the modules face, clockwise from north [degrees]."""
    curtailable: bool = False
    """Whether the service may reduce its output."""


@dataclass(frozen=True, slots=True)
class StationaryBattery:
    """A battery that belongs to the site."""

    id: str
    """Name, unique in the site."""
    capacity_kwh: float
    """Usable energy between 0 and 1 soc [kWh]."""
    max_charge_kw: float
    """Greatest charging power [kW]."""
    max_discharge_kw: float
    """Greatest discharging power [kW]."""
    charge_efficiency: float = 0.95
    """Stored over charged energy."""
    discharge_efficiency: float = 0.95
    """Delivered over drawn energy."""
    min_soc: float = 0.05
    """Lowest permitted state of charge."""
    max_soc: float = 1.0
    """Highest permitted state of charge."""
    wear_price_per_kwh: float = 0.0
    """Cost of wear per kWh discharged [currency of the site]."""


@dataclass(frozen=True, slots=True)
class GridConnection:
    """The one point where the site meets the grid."""

    circuit_id: CircuitId
    """The root circuit."""
    import_limit_kw: float
    """Greatest contracted import [kW]."""
    export_limit_kw: float = 0.0
    """Greatest permitted export [kW]."""
    source: LimitSource = LimitSource.CONTRACT
    """Who set these limits."""


@dataclass(frozen=True)
class Site:
    """A place with one grid connection."""

    id: SiteId
    """Name, unique in the service."""
    name: str
    """What people call it."""
    time_zone: str
    """IANA zone of tariff windows and billing days."""
    currency: str
    """ISO 4217 code."""
    circuits: tuple[Circuit, ...]
    """The tree of fuses, the root among them."""
    stations: tuple[Station, ...]
    """The charging stations."""
    grid_connection: GridConnection
    """The connection to the grid."""
    tariff_id: TariffId
    """The tariff that the site pays."""
    latitude_deg: float = 0.0
    """Degrees north."""
    longitude_deg: float = 0.0
    """Degrees east."""
    pv_arrays: tuple[PvArray, ...] = ()
    """Photovoltaic arrays."""
    battery: StationaryBattery | None = None
    """Stationary battery, where there is one."""
    greatest_building_kw: float = 0.0
    """Greatest building load ever expected [kW]; bounds what blind stations may draw."""
    pv_firm_share: float = field(default=0.0)
    """Share of forecast PV that may relieve a fuse limit; 0: the fuse holds without any PV."""

    def __post_init__(self) -> None:
        _check_circuit_tree(self.circuits, self.grid_connection.circuit_id)
        known = {circuit.id for circuit in self.circuits}
        evses = [evse for station in self.stations for evse in station.evses]
        for evse in evses:
            if evse.circuit_id not in known:
                raise InvalidInput(
                    f"evses.{evse.id}.circuit_id", evse.circuit_id, f"name one of the circuits {sorted(known)}"
                )
        if len({evse.id for evse in evses}) != len(evses):
            raise InvalidInput("stations.evses", [evse.id for evse in evses], "give every EVSE its own id")
        if len({station.id for station in self.stations}) != len(self.stations):
            raise InvalidInput("stations", [station.id for station in self.stations], "give every station its own id")

    @cached_property
    def evses(self) -> dict[EvseId, Evse]:
        """All EVSEs by id, in the order of the stations."""
        return {evse.id: evse for station in self.stations for evse in station.evses}

    @cached_property
    def circuit_by_id(self) -> dict[CircuitId, Circuit]:
        """All circuits by id."""
        return {circuit.id: circuit for circuit in self.circuits}

    @cached_property
    def phase_voltage_v(self) -> float:
        """Voltage to neutral, the lowest of any EVSE so that kW become the most ampere [V]."""
        to_neutral = [
            evse.voltage_v if evse.wiring is Wiring.LINE_TO_NEUTRAL else evse.voltage_v / sqrt(3.0)
            for evse in self.evses.values()
        ]
        return min(to_neutral, default=230.0)

    @cached_property
    def evses_below(self) -> dict[CircuitId, tuple[EvseId, ...]]:
        """The EVSEs that each circuit feeds, itself or through others."""
        below: dict[CircuitId, list[EvseId]] = {circuit.id: [] for circuit in self.circuits}
        for evse in self.evses.values():
            for circuit in self.circuits_above(evse.circuit_id):
                below[circuit.id].append(evse.id)
        return {circuit_id: tuple(evse_ids) for circuit_id, evse_ids in below.items()}

    def circuits_above(self, circuit_id: CircuitId) -> tuple[Circuit, ...]:
        """The circuit itself and all that feed it, up to the root."""
        chain = [self.circuit_by_id[circuit_id]]
        while chain[-1].parent_id is not None:
            chain.append(self.circuit_by_id[chain[-1].parent_id])
        return tuple(chain)


def _check_circuit_tree(circuits: tuple[Circuit, ...], root_id: CircuitId) -> None:
    """Raise unless the circuits form one tree whose root is ``root_id``."""
    by_id = {circuit.id: circuit for circuit in circuits}
    if len(by_id) != len(circuits):
        raise InvalidInput("circuits", [circuit.id for circuit in circuits], "give every circuit its own id")
    if root_id not in by_id:
        raise InvalidInput("grid_connection.circuit_id", root_id, f"name one of the circuits {sorted(by_id)}")
    for circuit in circuits:
        seen = {circuit.id}
        node = circuit
        while node.parent_id is not None:
            if node.parent_id not in by_id:
                raise InvalidInput(
                    f"circuits.{node.id}.parent_id", node.parent_id, f"name one of the circuits {sorted(by_id)}"
                )
            if node.parent_id in seen:
                raise InvalidInput(f"circuits.{circuit.id}.parent_id", circuit.parent_id, "circuits must form a tree")
            node = by_id[node.parent_id]
            seen.add(node.id)
        if node.id != root_id:
            raise InvalidInput(f"circuits.{node.id}.parent_id", None, f"only the root {root_id!r} has no parent")
