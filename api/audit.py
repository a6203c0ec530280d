"""Who changed what over HTTP, and what happened at the stations' endpoint, in the audit log of the database."""

from __future__ import annotations

from connectors.storage.audit_log import AuditEntry, AuditLog
from optimizer.ports import Clock


class StoredAuditTrail:
    """An `AuditTrail`, and the `SecurityJournal` of the stations' endpoint, in the database's chained log.

    Args:
        log: The log.
        clock: The service's clock.
    """

    def __init__(self, log: AuditLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    async def note(self, actor: str, action: str, subject: str, detail: str = "") -> None:
        """Keep that ``actor`` did ``action`` to ``subject``, and what else a reader must know."""
        await self._log.add(AuditEntry(self._clock.now(), actor, action, subject, detail))
