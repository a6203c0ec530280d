"""Meter readings in one form, whatever sent them. Registers are Decimal, so energy is exact."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from optimizer.domain.ids import CircuitId, EvseId, SessionId, SiteId, StationId, TransactionId
from optimizer.domain.moment import Interval


class SampleQuality(StrEnum):
    """How far a value may be trusted."""

    GOOD = "good"
    DERIVED = "derived"
    """Computed from other measurands of the same sample."""
    SUSPECT = "suspect"
    """Outside what is physically possible, kept for the record, not used."""
    STALE = "stale"
    """Older than a sample already held."""


class ReadingReason(StrEnum):
    """Why a meter value was taken (OCPP ReadingContext)."""

    TRANSACTION_BEGIN = "Transaction.Begin"
    TRANSACTION_END = "Transaction.End"
    CLOCK = "Sample.Clock"
    PERIODIC = "Sample.Periodic"
    INTERRUPTION = "Interruption"
    TRIGGER = "Trigger"
    OTHER = "Other"


@dataclass(frozen=True, slots=True)
class MeterSample:
    """What one EVSE's meter said at one instant."""

    station_id: StationId
    """Which station."""
    evse_id: EvseId
    """Which EVSE."""
    at: datetime
    """The meter's own time stamp, corrected for known skew [UTC]."""
    transaction_id: TransactionId | None = None
    """The transaction it belongs to, where told."""
    register_kwh: Decimal | None = None
    """Energy import register [kWh]."""
    power_kw: float | None = None
    """Active power import, all phases [kW]."""
    current_a: tuple[float, float, float] | None = None
    """Current at the plug's L1, L2, L3 [A]."""
    voltage_v: float | None = None
    """Mean voltage to neutral, or between lines [V]."""
    soc: float | None = None
    """State of charge 0..1, where the vehicle tells it."""
    reason: ReadingReason = ReadingReason.PERIODIC
    """Why it was taken."""
    quality: SampleQuality = SampleQuality.GOOD
    """How far it may be trusted."""
    signed_value: str | None = None
    """Signed meter value, byte for byte as received."""
    export_register_kwh: Decimal | None = None
    """Register of the energy that vehicles gave back (V2G) [kWh]; ``None``: not told."""


@dataclass(frozen=True, slots=True)
class CircuitReading:
    """What the meter of a circuit inside the site said."""

    circuit_id: CircuitId
    """Which circuit."""
    power_kw: float | None = None
    """Power through it [kW]."""
    current_a: tuple[float, float, float] | None = None
    """Current through it on L1, L2, L3 [A]."""


@dataclass(frozen=True, slots=True)
class SiteMeterReading:
    """What the site's own meters said at one instant; registers only rise."""

    site_id: SiteId
    """Which site."""
    at: datetime
    """The meter's time stamp [UTC]."""
    import_register_kwh: Decimal
    """Energy taken from the grid [kWh]."""
    export_register_kwh: Decimal
    """Energy given to the grid [kWh]."""
    pv_register_kwh: Decimal | None = None
    """Energy produced by PV [kWh]; ``None``: not metered."""
    building_register_kwh: Decimal | None = None
    """Energy used by the building [kWh]; ``None``: not metered."""
    grid_kw: float | None = None
    """Power at the connection, import positive [kW]."""
    pv_kw: float | None = None
    """PV power [kW]."""
    building_kw: float | None = None
    """Building load [kW]."""
    current_a: tuple[float, float, float] | None = None
    """Current at the connection on L1, L2, L3 [A]."""
    battery_soc: float | None = None
    """State of charge of the stationary battery, 0..1."""
    circuits: tuple[CircuitReading, ...] = ()
    """What the meters of circuits inside the site said at the same time."""


@dataclass(frozen=True, slots=True)
class MeteredInterval:
    """Energy through one meter in one interval, the only input of costing."""

    interval: Interval
    """When."""
    energy_kwh: Decimal
    """Difference of the registers [kWh]."""
    interpolated: bool = False
    """Whether a boundary lay between two readings and was interpolated linearly."""
    returned_kwh: Decimal = Decimal(0)
    """Energy given back meanwhile, by a register of its own [kWh]; no part of ``energy_kwh``."""


@dataclass(frozen=True, slots=True)
class SessionMetering:
    """All metered intervals of one session."""

    session_id: SessionId
    """Which session."""
    intervals: tuple[MeteredInterval, ...]
    """In time order, cut at the costing grid."""
