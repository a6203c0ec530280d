"""The stores on SQLAlchemy: SQLite by default, PostgreSQL by URL."""

from connectors.storage.audit_log import AuditEntry, AuditLog, ChainedEntry
from connectors.storage.stores import DatabaseStores, open_stores

__all__ = ["AuditEntry", "AuditLog", "ChainedEntry", "DatabaseStores", "open_stores"]
