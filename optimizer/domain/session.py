"""A vehicle at an EVSE from plug-in to plug-out, and what it needs by when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from optimizer.domain.ids import EvseId, ReservationId, SessionId, SiteId, TokenId, TransactionId, VehicleId
from optimizer.domain.moment import Interval, require_utc
from optimizer.errors import InvalidInput


class PriorityTier(IntEnum):
    """Who is served first where not everybody can be; a smaller number goes first."""

    RESERVED = 0
    PAID_LEVEL = 1
    FLEET_DUTY = 2
    REGULAR = 3


class TargetSource(StrEnum):
    """Who stated a departure target; the first in this order that speaks is believed."""

    API = "api"
    RESERVATION = "reservation"
    VEHICLE = "vehicle"
    LEARNT = "learnt"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class DepartureTarget:
    """Energy or soc required by a time; soft, what is missed is reported as unserved energy."""

    depart_at: datetime
    """When it is needed [UTC]."""
    energy_kwh: float | None = None
    """Energy to have delivered since plug-in [kWh]; this or ``soc``."""
    soc: float | None = None
    """State of charge to have reached, 0..1; this or ``energy_kwh``."""
    source: TargetSource = TargetSource.API
    """Who stated it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "depart_at", require_utc("depart_at", self.depart_at))
        if (self.energy_kwh is None) == (self.soc is None):
            raise InvalidInput("energy_kwh", self.energy_kwh, "give exactly one of energy_kwh and soc")
        if self.energy_kwh is not None and not 0 <= self.energy_kwh < float("inf"):
            raise InvalidInput("energy_kwh", self.energy_kwh, "give a number from 0 up")
        if self.soc is not None and not 0 <= self.soc <= 1:
            raise InvalidInput("soc", self.soc, "give a number from 0 to 1")


@dataclass(frozen=True, slots=True)
class Vehicle:
    """What is known of a vehicle; ``None`` means unknown, never unlimited."""

    id: VehicleId | None = None
    """Fleet name or pseudonym."""
    battery_kwh: float | None = None
    """Usable battery energy [kWh]."""
    max_power_kw: float | None = None
    """Greatest charging power it takes [kW]."""
    phases_used: int | None = None
    """Phases it draws on, 1 to 3, as measured or stated."""
    min_current_a: float | None = None
    """Least current at which it charges [A], where learnt to be above the standard's 6 A."""
    charge_efficiency: float = 1.0
    """Stored over metered energy."""
    knee_soc: float | None = None
    """State of charge above which its acceptance falls linearly to zero at 1.0."""
    wakes_after_pause: bool = True
    """Whether it resumes after a pause at zero current."""
    discharge_consent: bool = False
    """Whether the driver permits discharging (V2G)."""
    max_discharge_kw: float = 0.0
    """Greatest discharging power [kW]."""
    discharge_floor_soc: float = 0.5
    """State of charge below which it is never discharged."""


@dataclass(frozen=True, slots=True)
class Session:
    """One stay of one vehicle at one EVSE."""

    id: SessionId
    """Unique for ever."""
    site_id: SiteId
    """Where."""
    evse_id: EvseId
    """At which EVSE."""
    plugged_in_at: datetime
    """When it began [UTC]."""
    token_id: TokenId | None = None
    """Pseudonymous token of the driver, where one was presented."""
    transaction_id: TransactionId | None = None
    """The OCPP transaction inside, while there is one."""
    reservation_id: ReservationId | None = None
    """The reservation it fulfils."""
    unplugged_at: datetime | None = None
    """When it ended [UTC]; ``None`` while it lasts."""
    vehicle: Vehicle = Vehicle()
    """What is known of the vehicle."""
    targets: tuple[DepartureTarget, ...] = ()
    """What is needed by when, soonest first."""
    tier: PriorityTier = PriorityTier.REGULAR
    """Who is served first."""
    energy_kwh: float = 0.0
    """Metered energy so far, less what the vehicle gave back [kWh]."""
    soc: float | None = None
    """State of charge as last reported, where the vehicle tells it, and carried on by what was metered since."""
    soc_at: datetime | None = None
    """When ``soc`` was reported [UTC]."""
    accepted_power_kw: float | None = None
    """Power the vehicle was last seen to stop at below its limit [kW]; 0 when full; ``None``: not seen to."""
    pauses: int = 0
    """Times that its charging was paused by us."""
    transaction_begun_at: datetime | None = None
    """When the transaction inside began [UTC]; limits sent earlier were for another one."""
    may_charge: bool = True
    """Whether its token may charge here; where not, it is given no power."""
    paused: tuple[Interval, ...] = ()
    """When its limit was zero because we set it so; such time is never parking time."""
    phase_switches: int = 0
    """Times that we had it change between one and three phases."""
    phases_switched_at: datetime | None = None
    """When the last such change was ordered [UTC]."""

    @property
    def is_active(self) -> bool:
        """Whether the vehicle is still plugged in."""
        return self.unplugged_at is None

    @property
    def depart_at(self) -> datetime | None:
        """Latest stated departure [UTC]."""
        return max((target.depart_at for target in self.targets), default=None)
