"""Who did what when, in a chain of hashes that shows a changed or removed entry."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, select

from connectors.storage.statements import fetched
from connectors.storage.tables import AUDIT_ENTRY
from connectors.storage.transactions import Transactions

_CHECKED_AT_ONCE = 1000
"""Entries read in one step of `AuditLog.first_broken`."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that was done."""

    at: datetime
    """When [UTC]."""
    actor: str
    """Who: name of a key, a station, or of a part of the service."""
    action: str
    """What was done, for example reservation.cancelled."""
    subject: str
    """What it was done to, by id."""
    detail: str = ""
    """Anything else that a reader must know; no secrets."""


@dataclass(frozen=True, slots=True)
class ChainedEntry:
    """An entry in its place in the log."""

    sequence: int
    """Number in the log; rises with every entry."""
    entry: AuditEntry
    """What was done."""
    entry_hash: str
    """SHA-256 over the entry and the hash before it; kept elsewhere, it vouches for all before."""


class AuditLog:
    """An append-only log; the database refuses to change or delete what it holds."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def add(self, entry: AuditEntry) -> ChainedEntry:
        """Append ``entry``; inside `together` it stands or falls with what it tells of."""
        return await self._transactions.write(partial(_add, entry=entry))

    async def entries(
        self, *, after: int = 0, limit: int = 100, subject: str | None = None
    ) -> tuple[ChainedEntry, ...]:
        """A page of entries after the sequence number ``after``, oldest first."""
        query = select(AUDIT_ENTRY).where(AUDIT_ENTRY.c.sequence > after)
        if subject is not None:
            query = query.where(AUDIT_ENTRY.c.subject == subject)
        query = query.order_by(AUDIT_ENTRY.c.sequence).limit(limit)
        return await self._transactions.read(partial(fetched, query=query, convert=_chained))

    async def first_broken(self) -> int | None:
        """Sequence number of the first entry that does not follow from the one before; ``None``: all do."""
        previous_hash, after = "", 0
        while page := await self.entries(after=after, limit=_CHECKED_AT_ONCE):
            for chained in page:
                if chained.entry_hash != _hash(previous_hash, chained.entry):
                    return chained.sequence
                previous_hash, after = chained.entry_hash, chained.sequence
        return None


def _add(connection: Connection, entry: AuditEntry) -> ChainedEntry:
    newest = select(AUDIT_ENTRY.c.entry_hash).order_by(AUDIT_ENTRY.c.sequence.desc()).limit(1)
    entry_hash = _hash(connection.scalar(newest) or "", entry)
    statement = AUDIT_ENTRY.insert().returning(AUDIT_ENTRY.c.sequence)
    sequence = connection.execute(
        statement,
        {
            "at": entry.at,
            "actor": entry.actor,
            "action": entry.action,
            "subject": entry.subject,
            "detail": entry.detail,
            "entry_hash": entry_hash,
        },
    ).scalar_one()
    return ChainedEntry(sequence, entry, entry_hash)


def _hash(previous_hash: str, entry: AuditEntry) -> str:
    at = entry.at.astimezone(UTC).isoformat(timespec="microseconds")
    fields = [previous_hash, at, entry.actor, entry.action, entry.subject, entry.detail]
    return hashlib.sha256(json.dumps(fields, ensure_ascii=True).encode()).hexdigest()


def _chained(row: Row[Any]) -> ChainedEntry:
    entry = AuditEntry(row.at, row.actor, row.action, row.subject, row.detail)
    return ChainedEntry(row.sequence, entry, row.entry_hash)
