"""The schema on both databases: the migrations make what the tables say, and what must not change cannot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from alembic import command
from sqlalchemy import Connection, Double, inspect, text
from sqlalchemy.exc import DBAPIError

from connectors.storage import AuditEntry, open_stores
from connectors.storage.database import database_url, migration_config, upgrade, writing_lane
from connectors.storage.tables import METADATA, UtcInstant
from optimizer.domain.cost import EnergyCostRecord, RecordStatus
from optimizer.domain.ids import RecordId, SessionId, SiteId, TariffId
from optimizer.domain.moment import Interval

MAY_FLOAT = ("_kw", "_a", "_v", "soc")
DAY = datetime(2026, 3, 1, tzinfo=UTC)


async def run_on(url: str, work: Callable[[Connection], object]) -> object:
    lane = writing_lane(database_url(url))
    try:
        return await lane.run(work)
    finally:
        await lane.close()


def alembic(action: str, *arguments: str) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        config = migration_config()
        config.attributes["connection"] = connection
        getattr(command, action)(config, *arguments)

    return work


def present_tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


async def test_migrations_from_nothing_agree_with_the_tables(new_database: str) -> None:
    await upgrade(database_url(new_database))
    await run_on(new_database, alembic("check"))
    assert await run_on(new_database, present_tables) == set(METADATA.tables)


async def test_a_second_upgrade_changes_nothing(new_database: str) -> None:
    for _ in range(2):
        await upgrade(database_url(new_database))
    assert await run_on(new_database, present_tables) == set(METADATA.tables)


async def test_the_check_sees_a_difference(new_database: str) -> None:
    await upgrade(database_url(new_database))
    await run_on(new_database, lambda connection: connection.execute(text("ALTER TABLE session DROP COLUMN body")))
    with pytest.raises(Exception, match="New upgrade operations detected"):
        await run_on(new_database, alembic("check"))


async def test_every_version_can_be_taken_back(new_database: str) -> None:
    await upgrade(database_url(new_database))
    await run_on(new_database, alembic("downgrade", "base"))
    assert await run_on(new_database, present_tables) == set()
    await upgrade(database_url(new_database))
    await run_on(new_database, alembic("check"))


@pytest.mark.parametrize("table", METADATA.sorted_tables, ids=lambda table: table.name)
def test_only_physical_quantities_float(table: object) -> None:
    for column in table.columns:  # type: ignore[attr-defined]
        if isinstance(column.type, Double):
            assert column.name.endswith(MAY_FLOAT), column.name
        if column.name in {"at", "sampled_at"} or column.name.endswith("_at"):
            assert isinstance(column.type, UtcInstant), column.name


@pytest.mark.parametrize("table", ["energy_cost_record", "audit_entry"])
@pytest.mark.parametrize("change", ["UPDATE {table} SET {column} = 'changed'", "DELETE FROM {table}"])
async def test_the_database_refuses_to_change_what_is_only_ever_added(
    new_database: str, table: str, change: str
) -> None:
    record = EnergyCostRecord(
        RecordId("r"), SiteId("depot"), SessionId("s"), RecordStatus.FINAL, DAY, Interval(DAY, DAY + timedelta(hours=1)),
        "EUR", Decimal(1), (), TariffId("flat"), "1", "m", "0" * 64,
    )  # fmt: skip
    async with await open_stores(new_database) as stores:
        await stores.records.add_record(record)
        await stores.audit.add(AuditEntry(DAY, "a", "b", "c"))
    column = {"energy_cost_record": "body", "audit_entry": "actor"}[table]
    statement = text(change.format(table=table, column=column))
    with pytest.raises(DBAPIError, match=f"{table} is append-only"):
        await run_on(new_database, lambda connection: connection.execute(statement))
