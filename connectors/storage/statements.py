"""Statements that SQLite and PostgreSQL both know but SQLAlchemy spells once for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Executable, Row, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.util import await_only

Value = TypeVar("Value")

ROWS_BETWEEN_BREATHS = 1000
"""Rows turned into objects before other tasks may run: some ten milliseconds."""


def insert_new(connection: Connection, table: Table, row: Mapping[str, object]) -> bool:
    """Insert ``row`` unless its key, or another unique value of it, is there; whether it was inserted."""
    statement = _insert_new_statement(connection.dialect.name, table).returning(*table.primary_key.columns)
    return connection.execute(statement, dict(row)).first() is not None


def insert_all_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert those of ``rows``, all of the same columns, whose keys are not there."""
    if rows:
        connection.execute(_insert_new_statement(connection.dialect.name, table), list(rows))


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
    if rows:
        statement = _upsert_statement(connection.dialect.name, table, tuple(rows[0]), unless_newer)
        connection.execute(statement, list(rows))


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


@lru_cache
def _insert_new_statement(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    return _insert(dialect, table).on_conflict_do_nothing()


@lru_cache
def _upsert_statement(
    dialect: str, table: Table, names: tuple[str, ...], unless_newer: Column[Any] | None
) -> sqlite.Insert | postgresql.Insert:
    # Building the statement takes as long as running it, so each is built once.
    insert = _insert(dialect, table)
    changed = {name: insert.excluded[name] for name in names if not table.columns[name].primary_key}
    condition = None
    if unless_newer is not None:
        condition = unless_newer.is_(None) | (unless_newer <= insert.excluded[unless_newer.name])
    keys = list(table.primary_key.columns)
    return insert.on_conflict_do_update(index_elements=keys, set_=changed, where=condition)


def _insert(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
