"""What a virtual station knows of its EVSEs, transactions and reservations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_FLOOR, Decimal

from optimizer.domain.charger import ConnectorStatus
from optimizer.domain.ids import TokenId
from scenarios.profiles import ChargingProfile, TransactionFacts
from scenarios.vehicle_model import PluggedVehicle
from scenarios.virtual_evse import VirtualEvse

REGISTER_STEP_KWH = Decimal("0.001")
"""A meter's register counts whole watt-hours."""


def whole_register_kwh(energy_kwh: float) -> Decimal:
    """What a register shows after ``energy_kwh``: watt-hours that are complete [kWh]."""
    # Adding a millionth of a step undoes binary rounding just below a whole one.
    return (Decimal(repr(energy_kwh + 1e-9)) / REGISTER_STEP_KWH).to_integral_value(ROUND_FLOOR) * REGISTER_STEP_KWH


@dataclass(frozen=True, slots=True)
class EvseReading:
    """What the meter of an EVSE shows at one instant."""

    at: datetime
    """When [UTC]."""
    register_kwh: Decimal
    """Energy since ever [kWh]."""
    power_kw: float
    """Power [kW]."""
    current_a: float
    """Current on each path in use [A]."""
    current_paths: int
    """Paths in use, on the plug's L1, L2, L3 in this order."""
    voltage_v: float
    """Voltage across a path [V]."""
    soc: float | None
    """State of charge 0..1, where the car tells it."""
    export_register_kwh: Decimal | None = None
    """Energy given back since ever, where the EVSE can do that [kWh]."""


@dataclass(slots=True)
class Transaction:
    """A transaction as its station knows it."""

    id: str | None
    """Its id; in 1.6 unknown until the start is acknowledged."""
    token_id: TokenId
    """Who started it."""
    started_at: datetime
    """When [UTC]."""
    start_register_kwh: Decimal
    """Register at the start [kWh]."""
    reservation_id: int | None = None
    """The reservation it uses."""
    remote_start_id: int | None = None
    """The remote start that asked for it."""
    sequence: int = 0
    """Messages told of it so far (2.x seqNo)."""
    is_acknowledged: bool = False
    """Whether the central system has taken its start."""
    ended_at: datetime | None = None
    """When it ended [UTC]."""
    end_register_kwh: Decimal | None = None
    """Register at the end [kWh]."""
    next_sample_at: datetime | None = None
    """When it is metered next, counted from its start [UTC]."""

    @property
    def facts(self) -> TransactionFacts:
        """What profiles ask of it."""
        return TransactionFacts(self.id, self.started_at)

    def next_sequence(self) -> int:
        """Number of the next message about it."""
        self.sequence += 1
        return self.sequence - 1


@dataclass(slots=True)
class Visit:
    """One stay of a car at an EVSE, to be followed from outside."""

    evse_number: int
    """Which EVSE of the station."""
    token_id: TokenId
    """The driver's token."""
    plugged_in_at: datetime
    """When it began [UTC]."""
    vehicle: PluggedVehicle
    """The car."""
    transaction: Transaction | None = None
    """Its first transaction."""
    refused: bool = False
    """Whether the central system did not let it charge."""
    unplugged_at: datetime | None = None
    """When it ended [UTC]."""


@dataclass(frozen=True, slots=True)
class HeldReservation:
    """A reservation that the station was told of."""

    id: int
    """Its number."""
    token_id: TokenId
    """For whom."""
    expires_at: datetime
    """Until when [UTC]."""


@dataclass(slots=True)
class EvseState:
    """One EVSE of a station."""

    physics: VirtualEvse
    """Car, limit and meter."""
    visit: Visit | None = None
    """The car that is plugged in."""
    transaction: Transaction | None = None
    """The transaction that runs."""
    reservation: HeldReservation | None = None
    """For whom it is kept."""
    is_operative: bool = True
    """Whether it may be used."""
    token_waiting: TokenId | None = None
    """Token of a remote start that waits for a car."""
    remote_start_id: int | None = None
    """Number of that remote start."""
    profile_waiting: ChargingProfile | None = None
    """Charging profile that came with it."""
    reported: ConnectorStatus | None = None
    """The state last told; ``None``: none yet."""
    finished: bool = False
    """Whether the transaction of the car that is plugged in has ended."""
    charging_state: str = ""
    """The charging state last told (2.x)."""
    first_register_kwh: float = 0.0
    """What its meter had counted when it was put up here [kWh]."""

    @property
    def number(self) -> int:
        """Number that OCPP knows it by."""
        return self.physics.evse.ocpp_evse_id

    def status_at(self, at: datetime) -> ConnectorStatus:
        """Its state at ``at``, to which the physics is settled."""
        if self.transaction is not None:
            if self.physics.trace.power_kw(at) != 0:
                return ConnectorStatus.CHARGING
            if self.physics.offered_a(at) == 0:
                return ConnectorStatus.SUSPENDED_BY_EVSE
            return ConnectorStatus.SUSPENDED_BY_VEHICLE
        if self.visit is not None:
            return ConnectorStatus.FINISHING if self.finished else ConnectorStatus.PREPARING
        if not self.is_operative:
            return ConnectorStatus.UNAVAILABLE
        return ConnectorStatus.RESERVED if self.reservation else ConnectorStatus.AVAILABLE

    def reading_at(self, at: datetime) -> EvseReading:
        """What its meter shows at ``at``, now or in the past."""
        step = self.physics.trace.step_at(at)
        evse = self.physics.evse
        paths = step.current_paths
        vehicle = self.physics.vehicle
        returned = self.physics.returned
        return EvseReading(
            at=at,
            register_kwh=whole_register_kwh(self.first_register_kwh + self.physics.import_register_kwh(at)),
            power_kw=step.power_kw,
            current_a=step.power_kw * 1000.0 / (evse.voltage_v * paths) if paths else 0.0,
            current_paths=paths,
            voltage_v=evse.voltage_v,
            soc=vehicle.soc_before(self.physics.taken_since_kwh(at)) if vehicle else None,
            export_register_kwh=whole_register_kwh(returned.register_kwh(at)),
        )


@dataclass(slots=True)
class StationWatchers:
    """Who is told what happens at stations."""

    opened: list[Callable[[str, Visit], None]] = field(default_factory=list)
    """Called with the station's id when the central system has taken a transaction's start."""
    ended: list[Callable[[str, Visit], None]] = field(default_factory=list)
    """Called with the station's id when a car has left."""
    begun: list[Callable[[str, int, Transaction], None]] = field(default_factory=list)
    """Called with the station's id and the EVSE's number when a transaction begins, told or not."""
