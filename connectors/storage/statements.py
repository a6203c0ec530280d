"""Statements that SQLite and PostgreSQL both know but SQLAlchemy spells once for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Executable, Row, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.util import await_only

Value = TypeVar("Value")

ROWS_BETWEEN_BREATHS = 1000
"""Rows turned into objects before other tasks may run: some ten milliseconds."""


def insert_new(connection: Connection, table: Table, row: Mapping[str, object]) -> bool:
    """Insert ``row`` unless its key, or another unique value of it, is there; whether it was inserted."""
    insert = _insert(connection, table).on_conflict_do_nothing().returning(*table.primary_key.columns)
    return connection.execute(insert, dict(row)).first() is not None


def insert_all_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert those of ``rows``, all of the same columns, whose keys are not there."""
    if rows:
        connection.execute(_insert(connection, table).on_conflict_do_nothing(), list(rows))


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, object]],
    *,
    unless_newer: Column[Any] | None = None,
) -> None:
    """Insert ``rows``, all of the same columns, or overwrite these columns of what is there.

    Args:
        connection: The writing connection.
        table: Where to.
        rows: Values by column name, the primary key among them.
        unless_newer: A column of instants: a row whose instant is newer than the given one stays as it is.
    """
    if not rows:
        return
    insert = _insert(connection, table)
    keys = list(table.primary_key.columns)
    changed = {name: insert.excluded[name] for name in rows[0] if not table.columns[name].primary_key}
    condition = None
    if unless_newer is not None:
        condition = unless_newer.is_(None) | (unless_newer <= insert.excluded[unless_newer.name])
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changed, where=condition), list(rows))


def fetched(connection: Connection, query: Executable, convert: Callable[[Row[Any]], Value]) -> tuple[Value, ...]:
    """All rows of ``query``, converted, with a breath for other tasks now and then where this is the event loop.

    A month of samples is millions of rows; the guard must not wait for them.
    """
    values: list[Value] = []
    for part in connection.execute(query).partitions(ROWS_BETWEEN_BREATHS):
        values.extend(convert(row) for row in part)
        if connection.dialect.is_async and len(part) == ROWS_BETWEEN_BREATHS:
            await_only(asyncio.sleep(0))
    return tuple(values)


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
