"""What the HTTP API gives of sessions, reservations and grid events: units in the names, times in UTC."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Self
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict

from optimizer.domain.event import GridEvent, GridEventKind, GridEventStatus
from optimizer.domain.reservation import Reservation, ReservationStatus
from optimizer.domain.session import Session, TargetSource
from optimizer.errors import InvalidRequest


class AnswerModel(BaseModel):
    """What every answer shares."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ReservationView(AnswerModel):
    """One reservation; its ETag is the version."""

    id: str
    """Unique."""
    site_id: str
    """Where."""
    start: datetime
    """Earliest arrival."""
    end: datetime
    """Departure."""
    token_id: str
    """Token the driver will present."""
    evse_id: str | None
    """The booked EVSE; null: any."""
    energy_kwh: float
    """Energy expected to be needed [kWh]."""
    guaranteed_power_kw: float
    """Power promised from plug-in on [kW]."""
    tier: int
    """Priority, 0 first."""
    status: ReservationStatus
    """State (OCPI Bookings 1.1)."""
    no_show_after_minutes: int
    """Minutes after the start when an empty place is given up."""
    created_at: datetime | None
    """When it was made."""
    version: int
    """Rises by one with every change."""

    @classmethod
    def of(cls, reservation: Reservation) -> Self:
        """The view of a reservation."""
        return cls(
            id=reservation.id,
            site_id=reservation.site_id,
            start=reservation.window.start,
            end=reservation.window.end,
            token_id=reservation.token_id,
            evse_id=reservation.evse_id,
            energy_kwh=reservation.energy_kwh,
            guaranteed_power_kw=reservation.guaranteed_power_kw,
            tier=reservation.tier.value,
            status=reservation.status,
            no_show_after_minutes=reservation.no_show_after_minutes,
            created_at=reservation.created_at,
            version=reservation.version,
        )


class ReservationListView(AnswerModel):
    """Reservations by start."""

    reservations: list[ReservationView]
    """The reservations."""


class GridEventIntervalView(AnswerModel):
    """One value for one stretch of time."""

    start: datetime
    """First instant inside."""
    end: datetime
    """First instant after."""
    value: float
    """[kW], or [currency/kWh] for a price."""


class GridEventView(AnswerModel):
    """One grid event with the proof of response."""

    id: str
    """Unique."""
    site_id: str
    """Where."""
    kind: GridEventKind
    """What the values mean."""
    intervals: list[GridEventIntervalView]
    """Values in time order."""
    circuit_id: str | None
    """The circuit it limits; null: the grid connection."""
    source: str
    """Who asked."""
    priority: int
    """Smaller goes first."""
    status: GridEventStatus
    """Where it stands."""
    received_at: datetime
    """When the service got it."""
    applied_at: datetime | None
    """When the first limits that keep it were sent."""
    confirmed_at: datetime | None
    """When the meter was first seen within the limit."""
    version: int
    """Rises by one with every change."""

    @classmethod
    def of(cls, event: GridEvent) -> Self:
        """The view of a grid event."""
        return cls(
            id=event.id,
            site_id=event.site_id,
            kind=event.kind,
            intervals=[
                GridEventIntervalView(start=part.interval.start, end=part.interval.end, value=part.value)
                for part in event.intervals
            ],
            circuit_id=event.circuit_id,
            source=event.source,
            priority=event.priority,
            status=event.status,
            received_at=event.received_at,
            applied_at=event.applied_at,
            confirmed_at=event.confirmed_at,
            version=event.version,
        )


class GridEventListView(AnswerModel):
    """Grid events by start."""

    grid_events: list[GridEventView]
    """The events."""


class DepartureTargetView(AnswerModel):
    """Energy or state of charge needed by a time."""

    depart_at: datetime
    """When it is needed."""
    energy_kwh: float | None
    """Energy to have delivered since plug-in [kWh]."""
    soc: float | None
    """State of charge to have reached, 0..1."""
    source: TargetSource
    """Who stated it."""


class SessionView(AnswerModel):
    """One stay of one vehicle at one EVSE."""

    id: str
    """Unique."""
    site_id: str
    """Where."""
    evse_id: str
    """At which EVSE."""
    token_id: str | None
    """Pseudonymous token of the driver."""
    transaction_id: str | None
    """The OCPP transaction inside."""
    reservation_id: str | None
    """The reservation it fulfils."""
    vehicle_id: str | None
    """Fleet name of the vehicle."""
    plugged_in_at: datetime
    """When it began."""
    unplugged_at: datetime | None
    """When it ended; null while it lasts."""
    energy_kwh: float
    """Metered energy so far [kWh]."""
    soc: float | None
    """Last reported state of charge, 0..1."""
    tier: int
    """Priority, 0 first."""
    targets: list[DepartureTargetView]
    """What is needed by when."""
    pauses: int
    """Times that its charging was paused by the service."""

    @classmethod
    def of(cls, session: Session) -> Self:
        """The view of a session."""
        return cls(
            id=session.id,
            site_id=session.site_id,
            evse_id=session.evse_id,
            token_id=session.token_id,
            transaction_id=session.transaction_id,
            reservation_id=session.reservation_id,
            vehicle_id=session.vehicle.id,
            plugged_in_at=session.plugged_in_at,
            unplugged_at=session.unplugged_at,
            energy_kwh=session.energy_kwh,
            soc=session.soc,
            tier=session.tier.value,
            targets=[
                DepartureTargetView(
                    depart_at=target.depart_at, energy_kwh=target.energy_kwh, soc=target.soc, source=target.source
                )
                for target in session.targets
            ],
            pauses=session.pauses,
        )


class SessionListView(AnswerModel):
    """Sessions in the order of plug-in."""

    sessions: list[SessionView]
    """The sessions."""
    next_cursor: str | None
    """Where the next page begins; null: this is the last one."""


class MeterReceiptView(AnswerModel):
    """What became of pushed readings."""

    stored: int
    """Readings that are now durable, repeated ones among them."""


def cursor_of(identifier: str) -> str:
    """An opaque cursor: the page after the thing of this id."""
    return base64.urlsafe_b64encode(identifier.encode()).decode()


def cursor_value(cursor: str | None) -> str | None:
    """The id of the thing that a cursor stands behind.

    Raises:
        InvalidRequest: It is no cursor of ours.
    """
    if cursor is None:
        return None
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidRequest("cursor", cursor, "give the next_cursor of an answer as it stands") from error


def next_page(path: str, query: BaseModel, next_cursor: str | None) -> dict[str, str]:
    """The header that leads to the next page of what ``query`` asked for (RFC 8288); none on the last page."""
    if next_cursor is None:
        return {}
    kept = query.model_dump(mode="json", exclude_none=True) | {"cursor": next_cursor}
    kept = {name: str(value).lower() if isinstance(value, bool) else value for name, value in kept.items()}
    return {"Link": f'<{path}?{urlencode(kept)}>; rel="next"'}
