"""What keeps the database in order: old meter values are deleted, a copy is made each day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from connectors.storage.stores import DatabaseStores
from optimizer.domain.ids import SiteId
from optimizer.ports import Clock

BACKUP_PERIOD = timedelta(days=1)

BILLING_MARGIN = timedelta(days=2)
"""Meter values from before an open billing window that its first steps are worked out from."""

log = structlog.get_logger(__name__)


async def purge_meters(stores: DatabaseStores, site_id: SiteId, clock: Clock, kept: timedelta) -> int:
    """Delete meter values older than ``kept``, except those that are not billed yet.

    Args:
        stores: Where they are.
        site_id: The site of the service.
        clock: The service's clock.
        kept: How long they are kept.

    Returns:
        How many rows were deleted.
    """
    before = clock.now() - kept
    bills = await stores.records.bills(site_id)
    if bills:
        before = min(before, max(bill.window.end for bill in bills) - BILLING_MARGIN)
    else:
        first = await stores.sessions.sessions(site_id, limit=1)
        before = min([before, *(session.plugged_in_at - BILLING_MARGIN for session in first)])
    deleted = await stores.meters.purge(before)
    if deleted:
        log.info("old meter values deleted", rows=deleted, before=before.isoformat())
    return deleted


class DailyBackup:
    """Copies the database into a folder when the newest copy there is a day old.

    Args:
        stores: The database, a SQLite file.
        clock: The service's clock; the copies are named by its time.
        folder: Where copies are put.
        name: What their names begin with.
        kept: How many are kept.
    """

    def __init__(self, stores: DatabaseStores, clock: Clock, folder: Path, name: str, kept: int) -> None:
        self._stores = stores
        self._clock = clock
        self._folder = folder
        self._name = name
        self._kept = kept

    async def run(self) -> None:
        """Make a copy if it is time, and delete those that are too many.

        Raises:
            StorageFailed: The copy could not be written.
        """
        copies = self._copies()
        now = self._clock.now()
        newest = max(copies, default=None)
        # A copy from ahead of now was made by a clock that was set back since.
        if newest is not None and timedelta(0) <= now - newest < BACKUP_PERIOD:
            return
        target = self._folder / f"{self._name}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}.db"
        copies.pop(now.replace(microsecond=0), None)
        if not target.exists():
            await self._stores.back_up(target)
            log.info("database copied", file=str(target))
        for made_at in sorted(copies, reverse=True)[self._kept - 1 :]:
            copies[made_at].unlink(missing_ok=True)

    def _copies(self) -> dict[datetime, Path]:
        """The copies that are there, by the time they were made."""
        found = {}
        for path in self._folder.glob(f"{self._name}-*.db"):
            try:
                found[datetime.fromisoformat(path.stem.removeprefix(f"{self._name}-"))] = path
            except ValueError:
                continue
        return found
