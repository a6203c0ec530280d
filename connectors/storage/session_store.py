"""Sessions and the transactions inside them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from sqlalchemy import Connection, literal, select, tuple_, update

from connectors.storage.codec import SESSION_JSON
from connectors.storage.occupancy import OccupancyBook
from connectors.storage.statements import fetched, insert_new, upsert
from connectors.storage.tables import CHARGING_TRANSACTION, COUNTER, SESSION
from connectors.storage.transactions import Transactions
from optimizer.domain.charger import TransactionBegun, TransactionOpened
from optimizer.domain.ids import EvseId, SessionId, SiteId, StationId, TransactionId
from optimizer.domain.session import Session
from optimizer.errors import NotFound

_COUNTER_NAME = "transaction"
_COUNTED_FROM = datetime(2020, 1, 1, tzinfo=UTC)


def raise_transaction_counter(connection: Connection, opened_at: datetime) -> None:
    """Lift the counter of transaction ids to the seconds since 2020 at ``opened_at`` [UTC], never lower it.

    Done at every opening: then a database that was lost and made anew, or set back to an old backup, gives no id that
    a station still knows from before, unless more than one transaction a second had been opened on average. The
    numbers stay below 2**31, OCPP 1.6's integer, until the year 2088.
    """
    floor = max(0, int((opened_at - _COUNTED_FROM).total_seconds()))
    insert_new(connection, COUNTER, {"name": _COUNTER_NAME, "last_value": floor})
    connection.execute(
        update(COUNTER).where(COUNTER.c.name == _COUNTER_NAME, COUNTER.c.last_value < floor).values(last_value=floor)
    )


class DatabaseSessionStore:
    """Keeps sessions and the transactions inside them (port `SessionStore`)."""

    def __init__(self, transactions: Transactions, occupancy: OccupancyBook) -> None:
        self._transactions = transactions
        self._occupancy = occupancy

    async def session(self, session_id: SessionId) -> Session:
        """One session.

        Raises:
            NotFound: There is none of this id.
        """
        there = self._occupancy.session(session_id)
        if there is not None:
            return there
        return await self._transactions.read(partial(_session, session_id=session_id))

    async def sessions(
        self, site_id: SiteId, *, active_only: bool = False, after: SessionId | None = None, limit: int | None = None
    ) -> tuple[Session, ...]:
        """Sessions in the order of plug-in; a page after the session ``after``.

        Raises:
            NotFound: ``after`` is unknown.
        """
        return await self._transactions.read(
            partial(_sessions, site_id=site_id, active_only=active_only, after=after, limit=limit)
        )

    async def sessions_since(self, site_id: SiteId, start: datetime) -> tuple[Session, ...]:
        """Sessions that began at ``start`` or later, in the order of plug-in."""
        return await self._transactions.read(partial(_sessions_since, site_id=site_id, start=start))

    async def session_of_transaction(self, station_id: StationId, transaction_id: TransactionId) -> Session | None:
        """The session a transaction belongs to."""
        return await self._transactions.read(
            partial(_session_of_transaction, station_id=station_id, transaction_id=transaction_id)
        )

    async def active_session_at(self, evse_id: EvseId) -> Session | None:
        """The session that lasts at an EVSE, the newest where several do."""
        return await self._transactions.read(partial(_active_session_at, evse_id=evse_id))

    async def open_transaction(self, event: TransactionBegun, session: Session) -> TransactionOpened:
        """Store ``session`` with its transaction; a repeat of ``event`` returns the first answer and stores nothing.

        Events are the same where station and transaction id agree or, where the service gives the id, station, EVSE,
        token, register and time stamp.
        """
        return await self._transactions.write(
            partial(_open_transaction, event=event, session=session), [session.evse_id]
        )

    async def save_session(self, session: Session) -> None:
        """Replace a session's row, or add it."""
        await self._transactions.write(partial(save_session, session=session), [session.evse_id])


def _session(connection: Connection, session_id: SessionId) -> Session:
    body = connection.scalar(select(SESSION.c.body).where(SESSION.c.id == session_id))
    if body is None:
        raise NotFound("session", session_id)
    return SESSION_JSON.value(body)


def _sessions(
    connection: Connection, site_id: SiteId, *, active_only: bool, after: SessionId | None, limit: int | None
) -> tuple[Session, ...]:
    query = select(SESSION.c.body).where(SESSION.c.site_id == site_id)
    if active_only:
        query = query.where(SESSION.c.unplugged_at.is_(None))
    if after is not None:
        plugged_in_at = connection.scalar(select(SESSION.c.plugged_in_at).where(SESSION.c.id == after))
        if plugged_in_at is None:
            raise NotFound("session", after)
        last = tuple_(literal(plugged_in_at, SESSION.c.plugged_in_at.type), after)
        query = query.where(tuple_(SESSION.c.plugged_in_at, SESSION.c.id) > last)
    query = query.order_by(SESSION.c.plugged_in_at, SESSION.c.id).limit(limit)
    return fetched(connection, query, lambda row: SESSION_JSON.value(row.body))


def _sessions_since(connection: Connection, site_id: SiteId, start: datetime) -> tuple[Session, ...]:
    query = select(SESSION.c.body).where(SESSION.c.site_id == site_id, SESSION.c.plugged_in_at >= start)
    query = query.order_by(SESSION.c.plugged_in_at, SESSION.c.id)
    return fetched(connection, query, lambda row: SESSION_JSON.value(row.body))


def _session_of_transaction(
    connection: Connection, station_id: StationId, transaction_id: TransactionId
) -> Session | None:
    body = connection.scalar(
        select(SESSION.c.body)
        .join(CHARGING_TRANSACTION, CHARGING_TRANSACTION.c.session_id == SESSION.c.id)
        .where(CHARGING_TRANSACTION.c.station_id == station_id, CHARGING_TRANSACTION.c.transaction_id == transaction_id)
    )
    return None if body is None else SESSION_JSON.value(body)


def _active_session_at(connection: Connection, evse_id: EvseId) -> Session | None:
    query = select(SESSION.c.body).where(SESSION.c.evse_id == evse_id, SESSION.c.unplugged_at.is_(None))
    body = connection.scalar(query.order_by(SESSION.c.plugged_in_at.desc(), SESSION.c.id.desc()).limit(1))
    return None if body is None else SESSION_JSON.value(body)


def _open_transaction(connection: Connection, event: TransactionBegun, session: Session) -> TransactionOpened:
    begin_key = _begin_key(event)
    known = connection.execute(
        select(CHARGING_TRANSACTION.c.transaction_id, CHARGING_TRANSACTION.c.session_id).where(
            CHARGING_TRANSACTION.c.begin_key == begin_key
        )
    ).first()
    if known is not None:
        return TransactionOpened(TransactionId(known.transaction_id), SessionId(known.session_id), accepted=True)
    transaction_id = event.transaction_id or _next_transaction_id(connection)
    save_session(connection, replace(session, transaction_id=transaction_id))
    connection.execute(
        CHARGING_TRANSACTION.insert().values(
            station_id=event.station_id,
            transaction_id=transaction_id,
            begin_key=begin_key,
            session_id=session.id,
            begun_at=event.at,
        )
    )
    return TransactionOpened(transaction_id, session.id, accepted=True)


def _begin_key(event: TransactionBegun) -> str:
    """Text that is the same for repeats of one event, and for them alone."""
    fields: list[object] = [event.station_id, event.transaction_id]
    if event.transaction_id is None:
        register = None if event.register_kwh is None else format(event.register_kwh.normalize(), "f")
        stamped_at = event.stamped_at or event.at
        fields += [event.ocpp_evse_id, event.token_id, register, stamped_at.astimezone(UTC).isoformat()]
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


def _next_transaction_id(connection: Connection) -> TransactionId:
    """A number never given before; numbers that stations brought along from elsewhere are stepped over."""
    while True:
        number = connection.scalar(
            update(COUNTER)
            .where(COUNTER.c.name == _COUNTER_NAME)
            .values(last_value=COUNTER.c.last_value + 1)
            .returning(COUNTER.c.last_value)
        )
        transaction_id = TransactionId(str(number))
        taken = select(CHARGING_TRANSACTION.c.station_id).where(CHARGING_TRANSACTION.c.transaction_id == transaction_id)
        if connection.execute(taken.limit(1)).first() is None:
            return transaction_id


def save_session(connection: Connection, session: Session) -> None:
    """Replace a session's row, or add it."""
    row = {
        "id": session.id,
        "site_id": session.site_id,
        "evse_id": session.evse_id,
        "plugged_in_at": session.plugged_in_at,
        "unplugged_at": session.unplugged_at,
        "body": SESSION_JSON.text(session),
    }
    upsert(connection, SESSION, [row])
