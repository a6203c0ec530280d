"""Booked EVSEs and booked power; states and words follow OCPI Bookings 1.1."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from optimizer.domain.ids import EvseId, ReservationId, SiteId, TokenId
from optimizer.domain.moment import Interval
from optimizer.domain.session import PriorityTier


class ReservationStatus(StrEnum):
    """State of a reservation (OCPI Bookings 1.1, BookingState)."""

    RESERVED = "RESERVED"
    FULFILLED = "FULFILLED"
    CANCELED = "CANCELED"
    NO_SHOW = "NO_SHOW"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class Reservation:
    """A booked EVSE, or a booked amount of power, for a window."""

    id: ReservationId
    """Unique."""
    site_id: SiteId
    """Where."""
    window: Interval
    """From the earliest arrival to the departure."""
    token_id: TokenId
    """Token the driver will present."""
    evse_id: EvseId | None = None
    """The booked EVSE; ``None``: any."""
    energy_kwh: float = 0.0
    """Energy expected to be needed by the window's end [kWh]."""
    guaranteed_power_kw: float = 0.0
    """Power promised from plug-in until the energy is delivered [kW] (OCPI: min_power)."""
    tier: PriorityTier = PriorityTier.RESERVED
    """Priority of the session that fulfils it."""
    status: ReservationStatus = ReservationStatus.RESERVED
    """State."""
    no_show_after_minutes: int = 30
    """Minutes after the window's start when an empty place is given up."""
    created_at: datetime | None = None
    """When it was made [UTC]."""
    version: int = 1
    """Rises by one with every change; the ETag of the HTTP API."""
