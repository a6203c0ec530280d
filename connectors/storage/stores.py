"""All stores of one database, opened and closed as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import URL

from connectors.clock import SystemClock
from connectors.storage.audit_log import AuditLog
from connectors.storage.connector_store import DatabaseConnectorStore
from connectors.storage.database import (
    FIELD,
    back_up,
    database_url,
    is_sqlite,
    reading_lane,
    upgrade,
    writing_lane,
)
from connectors.storage.grid_event_store import DatabaseGridEventStore
from connectors.storage.meter_store import DatabaseMeterStore
from connectors.storage.occupancy import OccupancyBook
from connectors.storage.plan_store import DatabasePlanStore
from connectors.storage.record_store import DatabaseRecordStore
from connectors.storage.reservation_store import DatabaseReservationStore
from connectors.storage.session_store import DatabaseSessionStore, raise_transaction_counter
from connectors.storage.topology import Topology
from connectors.storage.transactions import Transactions
from optimizer.domain.site import Site
from optimizer.errors import InvalidConfiguration, StorageFailed
from optimizer.ports import Clock

KEPT_PLANS = 1000
"""Plans kept of each site: three and a half days at one every five minutes."""


class DatabaseStores:
    """The stores of one database (port `Stores`), made by `open_stores`.

    What a call has returned from is on the disk. An asynchronous context manager: leaving it closes the database.

    Args:
        url: The database, as `database_url` gives it, its schema up to date.
        topology: The sites.
        kept_plans: How many plans of each site are kept.
    """

    def __init__(self, url: URL, topology: Topology, kept_plans: int) -> None:
        self._url = url
        self._writer = writing_lane(url)
        self._reader = reading_lane(url)
        self._transactions = Transactions(self._writer, self._reader)
        occupancy = OccupancyBook(self._transactions, topology)
        self.sessions = DatabaseSessionStore(self._transactions, occupancy)
        self.meters = DatabaseMeterStore(self._transactions, topology)
        self.connectors = DatabaseConnectorStore(self._transactions, topology, occupancy)
        self.plans = DatabasePlanStore(self._transactions, kept_plans)
        self.reservations = DatabaseReservationStore(self._transactions)
        self.grid_events = DatabaseGridEventStore(self._transactions)
        self.records = DatabaseRecordStore(self._transactions)
        self.audit = AuditLog(self._transactions)

    def together(self) -> AbstractAsyncContextManager[None]:
        """Within it all calls of this task commit together, or not at all.

        All other writes wait meanwhile, so nothing but store calls belongs inside.
        """
        return self._transactions.together()

    async def lift_transaction_ids(self, clock: Clock) -> None:
        """See to it that no transaction id is given that an earlier database may have given."""
        await self._transactions.write(partial(raise_transaction_counter, opened_at=clock.now()))

    async def back_up(self, target: Path) -> None:
        """Copy the database, while it is in use, to the new file ``target``.

        Raises:
            InvalidInput: ``target`` exists, or the database is not SQLite's.
            StorageFailed: The copy could not be written.
        """
        await asyncio.to_thread(back_up, self._url, target)

    async def close(self) -> None:
        """Commit what waits, then let go of the database."""
        await self._transactions.close()
        await self._reader.close()
        await self._writer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


async def open_stores(
    url: str, sites: Sequence[Site] = (), *, kept_plans: int = KEPT_PLANS, wall_clock: Clock | None = None
) -> DatabaseStores:
    """Open a database, bring its schema up to date, and give its stores.

    Args:
        url: ``sqlite:///relative/path``, ``sqlite:////absolute/path`` or ``postgresql://user:password@host/name``.
        sites: The sites whose stations the service runs.
        kept_plans: How many plans of each site are kept; older ones are deleted.
        wall_clock: Gives the floor of new transaction ids; real time even where the service runs on another clock.

    Raises:
        InvalidConfiguration: The URL, the database or the sites cannot be used.
        StorageFailed: The schema could not be brought up to date.
    """
    if kept_plans < 1:
        raise InvalidConfiguration("kept_plans", kept_plans, "keep at least 1: the next plan follows from the last")
    topology = Topology(sites)
    resolved = database_url(url)
    await upgrade(resolved)
    stores = DatabaseStores(resolved, topology, kept_plans)
    try:
        await stores.lift_transaction_ids(wall_clock or SystemClock())
    except StorageFailed:
        await stores.close()
        raise
    return stores


@asynccontextmanager
async def plans_for_reading(url: str) -> AsyncIterator[DatabasePlanStore]:
    """The plans of a database that another process may be using; nothing is written.

    Args:
        url: As for `open_stores`.

    Raises:
        InvalidConfiguration: The URL cannot be used, or names no database.
    """
    resolved = database_url(url)
    _check_it_is_there(resolved)
    lane = reading_lane(resolved)
    transactions = Transactions(lane, lane)
    try:
        yield DatabasePlanStore(transactions, kept_plans=1)
    finally:
        await transactions.close()
        await lane.close()


def _check_it_is_there(url: URL) -> None:
    """SQLite would make an empty database of any name."""
    if is_sqlite(url) and not Path(url.database or "").is_file():
        raise InvalidConfiguration(FIELD, str(url), "name a database that a service has made")
