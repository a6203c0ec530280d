"""Alembic's entry: runs the migrations on the connection that the caller hands over, in the caller's transaction."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import TypeDecorator

from connectors.storage.tables import METADATA


def plain_type(kind: str, item: Any, _autogenerating: object) -> str | Literal[False]:
    """Write a column type of ours as the SQL type under it: a migration stays as it is when our types change."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl!r}"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
    compare_type=True,
    compare_server_default=True,
    render_item=plain_type,
)
with context.begin_transaction():
    context.run_migrations()
