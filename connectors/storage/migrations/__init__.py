"""Alembic's migrations of the schema; `connectors.storage.database.upgrade` runs them when a database is opened."""
