"""What is known of a connector, what it is told, and what a station tells us."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from optimizer.domain.ids import EvseId, SessionId, StationId, TokenId, TransactionId
from optimizer.domain.metering import MeterSample
from optimizer.domain.moment import hours_between
from optimizer.errors import InvalidInput


class ConnectorStatus(StrEnum):
    """State of a connector, the union of OCPP 1.6 and 2.x in one form."""

    AVAILABLE = "available"
    PREPARING = "preparing"
    """Occupied, no energy asked for yet."""
    CHARGING = "charging"
    SUSPENDED_BY_EVSE = "suspended_by_evse"
    SUSPENDED_BY_VEHICLE = "suspended_by_vehicle"
    FINISHING = "finishing"
    RESERVED = "reserved"
    UNAVAILABLE = "unavailable"
    FAULTED = "faulted"
    UNKNOWN = "unknown"


class LimitState(StrEnum):
    """How far a limit has come."""

    SENT = "sent"
    ACCEPTED = "accepted"
    VERIFIED = "verified"
    """Seen to be kept in the meter."""
    REJECTED = "rejected"
    UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True)
class LimitPeriod:
    """One piece of a piecewise constant limit."""

    start: datetime
    """From when it holds, until the next period's start [UTC]."""
    limit_kw: float
    """Greatest power [kW]; 0 pauses."""
    discharge_kw: float = 0.0
    """Power that the vehicle is to give back, beside a limit of 0 [kW]; a station that cannot do it pauses."""

    def __post_init__(self) -> None:
        if self.discharge_kw and not (self.discharge_kw > 0.0 and self.limit_kw == 0.0):
            fix = f"give a number from 0 up, and above 0 only with a limit of 0, not of {self.limit_kw} kW"
            raise InvalidInput("discharge_kw", self.discharge_kw, fix)

    @property
    def net_kw(self) -> float:
        """The limit, or where the vehicle gives back that power, negative [kW]."""
        return self.limit_kw - self.discharge_kw

    def joined_with(self, other: LimitPeriod) -> LimitPeriod:
        """A piece from this one's start that permits no more than either, in both directions."""
        if self.limit_kw <= other.limit_kw and self.discharge_kw <= other.discharge_kw:
            return self
        limit_kw, discharge_kw = min(self.limit_kw, other.limit_kw), min(self.discharge_kw, other.discharge_kw)
        return LimitPeriod(self.start, limit_kw, discharge_kw)


def shortened(periods: Sequence[LimitPeriod], greatest_count: int) -> tuple[LimitPeriod, ...]:
    """At most ``greatest_count`` pieces that nowhere permit more than ``periods``.

    Neighbours are joined at the lesser limit, those first that give up the least energy. The first piece, which holds
    now, and the last, the safe value, stay as they are while there are others to join; then the first takes in the
    next: it lasts the shortest, and the plan is told anew within it.
    """
    pieces = list(periods)
    while len(pieces) > max(greatest_count, 1):
        losses_kwh = {index: _joining_loss_kwh(pieces, index) for index in range(1, len(pieces) - 2)}
        index = min(losses_kwh, key=losses_kwh.__getitem__) if losses_kwh else 0
        pieces[index : index + 2] = [pieces[index].joined_with(pieces[index + 1])]
    return tuple(pieces)


def _joining_loss_kwh(pieces: Sequence[LimitPeriod], index: int) -> float:
    """Energy given up when a piece and the next are joined at the lesser limit [kWh]."""
    first, second, third = pieces[index : index + 3]
    joined_kw = first.joined_with(second).net_kw
    first_h = hours_between(first.start, second.start)
    second_h = hours_between(second.start, third.start)
    return abs(first.net_kw - joined_kw) * first_h + abs(second.net_kw - joined_kw) * second_h


@dataclass(frozen=True, slots=True)
class LimitCommand:
    """The limit of one EVSE from now on, as one charging profile."""

    station_id: StationId
    """Which station."""
    evse_id: EvseId
    """Which EVSE."""
    transaction_id: TransactionId | None
    """The transaction it is for; ``None``: whatever runs at the EVSE."""
    periods: tuple[LimitPeriod, ...]
    """At least one; the last is the safe value that holds when nothing newer comes."""
    reason: str = ""
    """Which limit, price or target binds, for people."""
    phases: int | None = None
    """Phases that the station is to charge on from now, 1 or 3, where it can switch them; ``None``: as it does now.

    Limits stay stated on all of the EVSE's current paths, whichever of them are used."""

    @property
    def first_kw(self) -> float:
        """Limit in force at once [kW]."""
        return self.periods[0].limit_kw

    @property
    def greatest_kw(self) -> float:
        """Greatest limit of any period [kW]."""
        return max(period.limit_kw for period in self.periods)


@dataclass(frozen=True, slots=True)
class PhaseOrder:
    """On how many phases a station that can switch them was told to charge."""

    phases: int
    """1 or 3."""
    ordered_at: datetime
    """When it was first told so [UTC]."""
    seen_at: datetime | None = None
    """When the meter first showed it [UTC]; ``None``: not yet, so the greater number counts."""
    before: int | None = None
    """What it was told before, which goes on where the station refuses; ``None``: nothing."""


@dataclass(frozen=True, slots=True)
class Setpoint:
    """The limit in force at one EVSE, as far as we know; kept in the store over restarts."""

    evse_id: EvseId
    """Which EVSE."""
    periods: tuple[LimitPeriod, ...]
    """What was sent."""
    state: LimitState
    """How far it has come."""
    sent_at: datetime
    """When it was sent [UTC]."""
    answered_at: datetime | None = None
    """When the station answered [UTC]."""
    verified_at: datetime | None = None
    """When the meter was first seen within it [UTC]."""
    bound_before_kw: float = 0.0
    """What the EVSE may have drawn before; counts until this setpoint is verified [kW]."""
    reason: str = ""
    """Which limit, price or target binds."""
    drawn_before_kw: float | None = None
    """What was metered when it was sent [kW]; ``None``: nothing fresh."""
    takes_zero: bool = True
    """Whether the station takes a limit of zero, as far as it has shown."""
    phase_order: PhaseOrder | None = None
    """On how many phases it was told to charge; ``None``: nothing was said of them."""
    obeys_phases: bool | None = None
    """Whether the EVSE was seen to change its phases when told; ``None``: neither was seen."""

    def limit_at_kw(self, instant: datetime) -> float:
        """Limit in force at ``instant`` [kW]."""
        current = self.periods[0].limit_kw
        for period in self.periods:
            if period.start <= instant:
                current = period.limit_kw
        return current


@dataclass(frozen=True, slots=True)
class ExternalLimit:
    """A limit at an EVSE that is not ours: of the station's own energy manager, the grid operator, a switch."""

    source: str
    """Who set it, in OCPP's words: EMS, SO, CSO, Other."""
    periods: tuple[LimitPeriod, ...]
    """Its pieces in time order; none: told without figures."""

    def limit_at_kw(self, at: datetime) -> float | None:
        """Limit in force at ``at`` [kW]; ``None``: none is known."""
        in_force = [period.limit_kw for period in self.periods if period.start <= at]
        return in_force[-1] if in_force else None


@dataclass(frozen=True, slots=True)
class Connector:
    """One connector as last observed."""

    evse_id: EvseId
    """Which EVSE."""
    station_id: StationId
    """Which station."""
    online: bool
    """Whether the station is connected now."""
    status: ConnectorStatus
    """Last reported state."""
    session_id: SessionId | None = None
    """The session on it."""
    setpoint: Setpoint | None = None
    """The last limit sent."""
    safe_default_kw: float | None = None
    """Limit of the default profile known to be installed [kW]; ``None``: none."""
    last_sample: MeterSample | None = None
    """The newest usable meter sample."""
    external_limits: tuple[ExternalLimit, ...] = ()
    """Limits that others set at it; they bound what it can be given, and are no reason to count it at less."""
    open_phases: tuple[int, ...] | None = None
    """Numbers of phases that its vehicle may be planned on, the present one first; ``None``: all that it can."""

    def external_bound(self, at: datetime) -> tuple[float, str] | None:
        """The tightest limit of others at ``at`` [kW] and who set it; ``None``: none holds."""
        told = [(limit.limit_at_kw(at), limit.source) for limit in self.external_limits]
        return min(((limit_kw, source) for limit_kw, source in told if limit_kw is not None), default=None)


@dataclass(frozen=True, slots=True)
class StationHabits:
    """What a station was found to get wrong; kept, so that a service that has just started reads it rightly at once."""

    clock_ahead_s: float = 0.0
    """How far its clock is ahead of ours; below zero behind [s]."""
    tells_kwh_as_wh: bool = False
    """Whether its registers are in kWh where they say Wh."""
    register_offsets_kwh: Mapping[int, Decimal] = field(default_factory=dict)
    """What its registers are read lower by, by OCPP EVSE number, so that they go on from those that were told before it
    was found out [kWh]."""


NO_HABITS = StationHabits()
"""A station of which nothing is known."""


@dataclass(frozen=True, slots=True)
class StationBooted:
    """A station announced itself."""

    station_id: StationId
    """Which station."""
    at: datetime
    """When [UTC]."""
    ocpp_version: str
    """1.6, 2.0.1 or 2.1."""
    vendor: str = ""
    """Maker."""
    model: str = ""
    """Model."""
    firmware: str = ""
    """Firmware version."""
    habits: StationHabits = NO_HABITS
    """What it was found to get wrong."""


@dataclass(frozen=True, slots=True)
class ConnectorReported:
    """A connector's state changed."""

    station_id: StationId
    """Which station."""
    ocpp_evse_id: int
    """Which EVSE of it."""
    status: ConnectorStatus
    """Its state."""
    at: datetime
    """When [UTC]."""
    error_code: str = ""
    """Vendor's or OCPP's error code, empty where there is none."""


@dataclass(frozen=True, slots=True)
class TransactionBegun:
    """A transaction started at a station."""

    station_id: StationId
    """Which station."""
    ocpp_evse_id: int
    """Which EVSE of it."""
    at: datetime
    """When, by the station's time [UTC]."""
    token_id: TokenId | None
    """Token presented, where there is one."""
    transaction_id: TransactionId | None
    """Given by the station (2.x); ``None`` where the service gives it (1.6)."""
    register_kwh: Decimal | None = None
    """Register at the start [kWh]."""
    reservation_ref: int | None = None
    """OCPP reservationId, where told."""
    stamped_at: datetime | None = None
    """The time stamp as it was sent, by which repeats are known whatever is learnt of the clock [UTC]; ``None``: it is
    ``at``."""


@dataclass(frozen=True, slots=True)
class TransactionFinished:
    """A transaction ended at a station."""

    station_id: StationId
    """Which station."""
    transaction_id: TransactionId
    """Which transaction."""
    at: datetime
    """When, by the station's time [UTC]."""
    register_kwh: Decimal | None = None
    """Register at the end [kWh]."""
    reason: str = ""
    """OCPP reason."""


@dataclass(frozen=True, slots=True)
class TransactionOpened:
    """The service's answer to a begun transaction, persisted before it is given."""

    transaction_id: TransactionId
    """The id to use from now on; whole digits for OCPP 1.6."""
    session_id: SessionId
    """The session it belongs to."""
    accepted: bool
    """Whether the token may charge here and now."""


@dataclass(frozen=True, slots=True)
class VehicleNeeds:
    """What a vehicle said it needs (OCPP 2.x NotifyEVChargingNeeds)."""

    station_id: StationId
    """Which station."""
    ocpp_evse_id: int
    """Which EVSE of it."""
    at: datetime
    """When [UTC]."""
    depart_at: datetime | None = None
    """Stated departure [UTC]."""
    energy_kwh: float | None = None
    """Stated energy [kWh]."""
    soc: float | None = None
    """State of charge 0..1 (DC)."""
    max_power_kw: float | None = None
    """Greatest power the vehicle takes [kW]."""
    battery_kwh: float | None = None
    """Size of its battery [kWh] (DC)."""
    max_discharge_kw: float | None = None
    """Greatest power that it agrees to give back [kW] (2.1); ``None``: it says nothing of it."""
