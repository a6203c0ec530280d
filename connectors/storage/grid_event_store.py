"""Grid events and the proof of response."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from sqlalchemy import Connection, select

from connectors.storage.codec import GRID_EVENT_JSON
from connectors.storage.statements import fetched, upsert
from connectors.storage.tables import GRID_EVENT
from connectors.storage.transactions import Transactions
from optimizer.domain.event import GridEvent
from optimizer.domain.ids import GridEventId, SiteId
from optimizer.errors import InvalidInput, NotFound


class DatabaseGridEventStore:
    """Keeps grid events and the proof of response (port `GridEventStore`)."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def save(self, event: GridEvent) -> None:
        """Add or replace one.

        Raises:
            InvalidInput: The event has no interval.
        """
        if not event.intervals:
            raise InvalidInput("intervals", event.intervals, "give at least one interval", where=event.id)
        row = {
            "id": event.id,
            "site_id": event.site_id,
            "start_at": event.span.start,
            "end_at": event.span.end,
            "body": GRID_EVENT_JSON.text(event),
        }
        await self._transactions.write(partial(upsert, table=GRID_EVENT, rows=[row]))

    async def event(self, event_id: GridEventId) -> GridEvent:
        """One event.

        Raises:
            NotFound: There is none of this id.
        """
        return await self._transactions.read(partial(_event, event_id=event_id))

    async def events(self, site_id: SiteId, start: datetime, end: datetime) -> tuple[GridEvent, ...]:
        """Those whose span overlaps ``[start, end)``, by start."""
        query = (
            select(GRID_EVENT.c.body)
            .where(GRID_EVENT.c.site_id == site_id, GRID_EVENT.c.start_at < end, GRID_EVENT.c.end_at > start)
            .order_by(GRID_EVENT.c.start_at, GRID_EVENT.c.id)
        )
        return await self._transactions.read(
            partial(fetched, query=query, convert=lambda row: GRID_EVENT_JSON.value(row.body))
        )


def _event(connection: Connection, event_id: GridEventId) -> GridEvent:
    body = connection.scalar(select(GRID_EVENT.c.body).where(GRID_EVENT.c.id == event_id))
    if body is None:
        raise NotFound("grid event", event_id)
    return GRID_EVENT_JSON.value(body)
