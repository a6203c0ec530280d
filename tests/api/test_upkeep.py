"""Upkeep of the database: what is deleted when, and which copies there are."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from api.config import Secrets, StorageSection, load_configuration
from api.upkeep import DailyBackup, purge_meters
from connectors.storage.stores import DatabaseStores, open_stores
from optimizer.domain.cost import SiteBill
from optimizer.domain.ids import EvseId, SessionId, SiteId
from optimizer.domain.metering import SiteMeterReading
from optimizer.domain.moment import Interval
from optimizer.domain.session import Session

GARAGE = SiteId("garage")
KEPT = timedelta(days=40)
DAY = timedelta(days=1)


@pytest.fixture
async def stores(tmp_path: Path, site: Any, hand_clock: Any) -> AsyncIterator[DatabaseStores]:
    async with await open_stores(f"sqlite:///{tmp_path}/garage.db", [site], wall_clock=hand_clock) as opened:
        yield opened


async def read_daily(stores: DatabaseStores, clock: Any, days: int) -> None:
    for age in range(days):
        reading = SiteMeterReading(GARAGE, clock.now() - age * DAY, Decimal(1000 - age), Decimal(0))
        await stores.meters.add_site_reading(reading)


def bill_until(end: datetime) -> SiteBill:
    return SiteBill(GARAGE, Interval(end - 30 * DAY, end), "EUR", (), Decimal(0))


@pytest.mark.parametrize(
    ("billed_days_ago", "began_days_ago", "deleted"),
    [
        pytest.param(1, 60, 19, id="all billed: what is older than it is to be kept"),
        pytest.param(50, 60, 7, id="billed until 50 days ago: two days before that stay too"),
        pytest.param(None, 55, 2, id="nothing billed: all since the first session stays"),
        pytest.param(None, None, 19, id="no session at all: nothing will be billed"),
    ],
)
async def test_old_meter_values_are_deleted_once_they_are_billed(
    stores: DatabaseStores, hand_clock: Any, billed_days_ago: int | None, began_days_ago: int | None, deleted: int
) -> None:
    await read_daily(stores, hand_clock, 60)
    if began_days_ago is not None:
        began = hand_clock.now() - began_days_ago * DAY
        await stores.sessions.save_session(Session(SessionId("first"), GARAGE, EvseId("A"), began))
    if billed_days_ago is not None:
        await stores.records.save_bill(bill_until(hand_clock.now() - billed_days_ago * DAY))
    assert await purge_meters(stores, GARAGE, hand_clock, KEPT) == deleted


async def test_a_copy_a_day_is_made_and_the_oldest_deleted(
    stores: DatabaseStores, hand_clock: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "garage-of-my-own.db").touch()
    backup = DailyBackup(stores, hand_clock, folder, "garage", kept=2)
    for hours in (0, 1, 23, 24, 48):
        hand_clock.instant = datetime(2026, 3, 2, 9, tzinfo=UTC) + timedelta(hours=hours)
        await backup.run()
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["garage-20260303T090000Z.db", "garage-20260304T090000Z.db", "garage-of-my-own.db"]
    with sqlite3.connect(folder / names[0]) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    copy.close()


async def test_a_copy_from_ahead_of_the_clock_stops_no_other(
    stores: DatabaseStores, hand_clock: Any, tmp_path: Path
) -> None:
    (tmp_path / "garage-20990101T000000Z.db").touch()
    await DailyBackup(stores, hand_clock, tmp_path, "garage", kept=14).run()
    assert (tmp_path / "garage-20260302T090000Z.db").stat().st_size > 0


def test_only_sqlite_is_backed_up_here(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pg_dump"):
        StorageSection.model_validate({"url": "postgresql://u:p@host/name", "backup_folder": str(tmp_path)})


def test_the_address_from_the_environment_leaves_the_rest_of_the_section(tmp_path: Path) -> None:
    example = Path("api/example_site.yaml").resolve()
    for name in ("example_site.yaml", "example_tariff.yaml"):
        (tmp_path / name).write_text((example.parent / name).read_text())
    (tmp_path / "backups").mkdir()
    path = tmp_path / "example_site.yaml"
    path.write_text(path.read_text().replace("# backup_folder: backups ", "backup_folder: backups #"))
    secrets = Secrets.model_construct(
        entsoe_api_key=None, webhook_secret=None, storage_url=f"sqlite:///{tmp_path}/other.db"
    )
    storage = load_configuration(path, secrets).storage
    assert (storage.sqlite_file, storage.backup_folder) == (tmp_path / "other.db", tmp_path / "backups")
