"""The log that shows when somebody changed it."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from connectors.storage import AuditEntry, DatabaseStores, audit_log

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def entry(number: int) -> AuditEntry:
    zone = timezone(timedelta(hours=number % 3))
    return AuditEntry(
        (NOON + timedelta(minutes=number)).astimezone(zone), "key: fleet", "limit.set", f"evse-{number % 2}", "ü"
    )


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "_CHECKED_AT_ONCE", 2)


async def test_entries_are_found_in_order_by_page_and_subject(stores: DatabaseStores) -> None:
    added = [await stores.audit.add(entry(number)) for number in range(5)]
    assert [chained.entry for chained in await stores.audit.entries()] == [entry(number) for number in range(5)]
    assert await stores.audit.entries(after=added[1].sequence, limit=2) == tuple(added[2:4])
    assert await stores.audit.entries(subject="evse-1") == (added[1], added[3])


@pytest.mark.usefixtures("short_pages")
async def test_an_untouched_log_is_whole(stores: DatabaseStores) -> None:
    assert await stores.audit.first_broken() is None
    await asyncio.gather(*(stores.audit.add(entry(number)) for number in range(5)))
    assert await stores.audit.first_broken() is None


@pytest.mark.usefixtures("short_pages")
@pytest.mark.parametrize(
    ("tampering", "broken_at"),
    [
        ("UPDATE audit_entry SET actor = 'somebody else' WHERE sequence = 3", 3),
        ("UPDATE audit_entry SET at = at + 1 WHERE sequence = 1", 1),
        ("DELETE FROM audit_entry WHERE sequence = 2", 3),
        ("UPDATE audit_entry SET action = action || subject, subject = '' WHERE sequence = 4", 4),
    ],
    ids=["an actor changed", "a time changed", "an entry removed", "text moved between fields"],
)
async def test_tampering_shows(stores: DatabaseStores, tmp_path: Path, tampering: str, broken_at: int) -> None:
    for number in range(5):
        await stores.audit.add(entry(number))
    with closing(sqlite3.connect(tmp_path / "service.sqlite")) as connection:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(tampering)
        connection.execute("DROP TRIGGER audit_entry_no_update")
        connection.execute("DROP TRIGGER audit_entry_no_delete")
        connection.execute(tampering)
        connection.commit()
    assert await stores.audit.first_broken() == broken_at


async def test_an_entry_stands_or_falls_with_what_it_tells_of(stores: DatabaseStores) -> None:
    with pytest.raises(LookupError):  # noqa: PT012 - the block is what fails
        async with stores.together():
            await stores.audit.add(entry(1))
            raise LookupError
    assert await stores.audit.entries() == ()
