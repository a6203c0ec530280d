"""Booked EVSEs and booked power."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from sqlalchemy import Connection, select, update

from connectors.storage.codec import RESERVATION_JSON
from connectors.storage.statements import fetched, insert_new
from connectors.storage.tables import RESERVATION
from connectors.storage.transactions import Transactions
from optimizer.domain.ids import ReservationId, SiteId
from optimizer.domain.reservation import Reservation, ReservationStatus
from optimizer.errors import Conflict, NotFound


class DatabaseReservationStore:
    """Keeps reservations (port `ReservationStore`)."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def add(self, reservation: Reservation) -> None:
        """Add one.

        Raises:
            Conflict: The id is taken, or another reservation holds the EVSE in the window.
        """
        await self._transactions.write(partial(_add, reservation=reservation))

    async def save(self, reservation: Reservation) -> None:
        """Replace one.

        Raises:
            NotFound: There is none of this id.
            Conflict: The stored version is not one less, or another reservation holds the EVSE in the window.
        """
        await self._transactions.write(partial(_save, reservation=reservation))

    async def reservation(self, reservation_id: ReservationId) -> Reservation:
        """One reservation.

        Raises:
            NotFound: There is none of this id.
        """
        return await self._transactions.read(partial(_reservation, reservation_id=reservation_id))

    async def reservations(self, site_id: SiteId, start: datetime, end: datetime) -> tuple[Reservation, ...]:
        """Those whose window overlaps ``[start, end)``, by start."""
        query = (
            select(RESERVATION.c.body)
            .where(RESERVATION.c.site_id == site_id, RESERVATION.c.start_at < end, RESERVATION.c.end_at > start)
            .order_by(RESERVATION.c.start_at, RESERVATION.c.id)
        )
        return await self._transactions.read(
            partial(fetched, query=query, convert=lambda row: RESERVATION_JSON.value(row.body))
        )


def _add(connection: Connection, reservation: Reservation) -> None:
    _check_free(connection, reservation)
    if not insert_new(connection, RESERVATION, _row(reservation)):
        raise Conflict(f"reservation {reservation.id!r} is there already")


def _save(connection: Connection, reservation: Reservation) -> None:
    stored = connection.scalar(select(RESERVATION.c.version).where(RESERVATION.c.id == reservation.id))
    if stored is None:
        raise NotFound("reservation", reservation.id)
    if stored != reservation.version - 1:
        raise Conflict(
            f"reservation {reservation.id!r} is at version {stored}, so the next one is {stored + 1}, "
            f"not {reservation.version}: read it again"
        )
    _check_free(connection, reservation)
    connection.execute(update(RESERVATION).where(RESERVATION.c.id == reservation.id).values(_row(reservation)))


def _reservation(connection: Connection, reservation_id: ReservationId) -> Reservation:
    body = connection.scalar(select(RESERVATION.c.body).where(RESERVATION.c.id == reservation_id))
    if body is None:
        raise NotFound("reservation", reservation_id)
    return RESERVATION_JSON.value(body)


def _check_free(connection: Connection, reservation: Reservation) -> None:
    """Raise Conflict where another standing reservation holds the same EVSE at some time of the window."""
    if reservation.evse_id is None or reservation.status is not ReservationStatus.RESERVED:
        return
    other = connection.execute(
        select(RESERVATION.c.id, RESERVATION.c.start_at, RESERVATION.c.end_at)
        .where(
            RESERVATION.c.evse_id == reservation.evse_id,
            RESERVATION.c.end_at > reservation.window.start,
            RESERVATION.c.start_at < reservation.window.end,
            RESERVATION.c.status == ReservationStatus.RESERVED,
            RESERVATION.c.id != reservation.id,
        )
        .order_by(RESERVATION.c.start_at)
        .limit(1)
    ).first()
    if other is not None:
        raise Conflict(
            f"EVSE {reservation.evse_id!r} is held by reservation {other.id!r} from "
            f"{other.start_at.isoformat()} to {other.end_at.isoformat()}"
        )


def _row(reservation: Reservation) -> dict[str, object]:
    return {
        "id": reservation.id,
        "site_id": reservation.site_id,
        "evse_id": reservation.evse_id,
        "start_at": reservation.window.start,
        "end_at": reservation.window.end,
        "status": reservation.status,
        "version": reservation.version,
        "body": RESERVATION_JSON.text(reservation),
    }
