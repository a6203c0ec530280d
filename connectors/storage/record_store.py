"""Energy-cost records, their delivery to billing, and site bills."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, Select, literal, select, tuple_, update

from connectors.storage.codec import BILL_JSON, RECORD_JSON
from connectors.storage.statements import fetched, insert_new, upsert
from connectors.storage.tables import BILLING_DELIVERY, ENERGY_COST_RECORD, SITE_BILL
from connectors.storage.transactions import Transactions
from optimizer.domain.cost import EnergyCostRecord, RecordStatus, SiteBill
from optimizer.domain.ids import RecordId, SessionId, SiteId
from optimizer.errors import NotFound


class DatabaseRecordStore:
    """Keeps energy-cost records, append-only, and queues each for billing (port `RecordStore`)."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def add_record(self, record: EnergyCostRecord) -> bool:
        """Add one and queue it for billing; a repeat of its id changes nothing and returns False."""
        return await self._transactions.write(partial(_add_record, record=record))

    async def records(
        self,
        site_id: SiteId,
        *,
        session_id: SessionId | None = None,
        status: RecordStatus | None = None,
        after: RecordId | None = None,
        limit: int | None = None,
    ) -> tuple[EnergyCostRecord, ...]:
        """Records by time made; a page after the record ``after``.

        Raises:
            NotFound: ``after`` is unknown.
        """
        query = select(ENERGY_COST_RECORD.c.body).where(ENERGY_COST_RECORD.c.site_id == site_id)
        if session_id is not None:
            query = query.where(ENERGY_COST_RECORD.c.session_id == session_id)
        if status is not None:
            query = query.where(ENERGY_COST_RECORD.c.status == status)
        return await self._transactions.read(partial(_page, query=query, after=after, limit=limit))

    async def undelivered(self, at: datetime, limit: int) -> tuple[tuple[EnergyCostRecord, int], ...]:
        """Queued records due for delivery at ``at``, longest due first, each with the number of attempts so far."""
        delivery = BILLING_DELIVERY.c
        query = (
            select(ENERGY_COST_RECORD.c.body, delivery.attempts)
            .join(BILLING_DELIVERY, delivery.record_sequence == ENERGY_COST_RECORD.c.sequence)
            .where(delivery.delivered_at.is_(None), delivery.next_attempt_at <= at)
            .order_by(delivery.next_attempt_at, delivery.record_sequence)
            .limit(limit)
        )
        return await self._transactions.read(
            partial(fetched, query=query, convert=lambda row: (RECORD_JSON.value(row.body), row.attempts))
        )

    async def mark_delivered(self, record_id: RecordId, at: datetime) -> None:
        """The billing system has taken it; telling it again changes nothing.

        Raises:
            NotFound: There is no such record.
        """
        await self._transactions.write(partial(_mark, record_id=record_id, outcome={"delivered_at": at}))

    async def mark_failed(self, record_id: RecordId, next_attempt_at: datetime, error: str) -> None:
        """Delivery failed; try again later. A delivered record stays delivered.

        Raises:
            NotFound: There is no such record.
        """
        await self._transactions.write(
            partial(_mark, record_id=record_id, outcome={"next_attempt_at": next_attempt_at, "error": error})
        )

    async def save_bill(self, bill: SiteBill) -> None:
        """Keep a site's bill of a window; a repeat replaces it."""
        row = {
            "site_id": bill.site_id,
            "start_at": bill.window.start,
            "end_at": bill.window.end,
            "body": BILL_JSON.text(bill),
        }
        await self._transactions.write(partial(upsert, table=SITE_BILL, rows=[row]))

    async def bills(self, site_id: SiteId) -> tuple[SiteBill, ...]:
        """Bills by window."""
        query = (
            select(SITE_BILL.c.body)
            .where(SITE_BILL.c.site_id == site_id)
            .order_by(SITE_BILL.c.start_at, SITE_BILL.c.end_at)
        )
        return await self._transactions.read(
            partial(fetched, query=query, convert=lambda row: BILL_JSON.value(row.body))
        )


def _page(
    connection: Connection, query: Select[tuple[str]], after: RecordId | None, limit: int | None
) -> tuple[EnergyCostRecord, ...]:
    order = (ENERGY_COST_RECORD.c.made_at, ENERGY_COST_RECORD.c.sequence)
    if after is not None:
        last = connection.execute(select(*order).where(ENERGY_COST_RECORD.c.id == after)).first()
        if last is None:
            raise NotFound("energy-cost record", after)
        begin = tuple_(*(literal(value, column.type) for value, column in zip(last, order, strict=True)))
        query = query.where(tuple_(*order) > begin)
    query = query.order_by(*order).limit(limit)
    return fetched(connection, query, lambda row: RECORD_JSON.value(row.body))


def _add_record(connection: Connection, record: EnergyCostRecord) -> bool:
    row = {
        "id": record.id,
        "site_id": record.site_id,
        "session_id": record.session_id,
        "status": record.status,
        "made_at": record.made_at,
        "body": RECORD_JSON.text(record),
    }
    if not insert_new(connection, ENERGY_COST_RECORD, row):
        return False
    sequence = connection.scalar(_sequence_of(record.id))
    connection.execute(
        BILLING_DELIVERY.insert(),
        {"record_sequence": sequence, "attempts": 0, "next_attempt_at": record.made_at, "error": ""},
    )
    return True


def _mark(connection: Connection, record_id: RecordId, outcome: Mapping[str, object]) -> None:
    """Count an attempt with its ``outcome``, unless the record was delivered before."""
    sequence = connection.scalar(_sequence_of(record_id))
    if sequence is None:
        raise NotFound("energy-cost record", record_id)
    connection.execute(
        update(BILLING_DELIVERY)
        .where(BILLING_DELIVERY.c.record_sequence == sequence, BILLING_DELIVERY.c.delivered_at.is_(None))
        .values(attempts=BILLING_DELIVERY.c.attempts + 1, **outcome)
    )


def _sequence_of(record_id: RecordId) -> Select[tuple[int]]:
    return select(ENERGY_COST_RECORD.c.sequence).where(ENERGY_COST_RECORD.c.id == record_id)
