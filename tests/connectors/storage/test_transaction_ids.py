"""Transaction ids for OCPP 1.6: unique for ever, over restarts, lost databases and old backups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connectors.storage import DatabaseStores, open_stores
from optimizer.domain.charger import TransactionBegun
from optimizer.domain.ids import EvseId, SessionId, SiteId, StationId, TransactionId
from optimizer.domain.session import Session

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
BEGUN = TransactionBegun(StationId("box"), 1, MARCH, None, None)


async def next_id(stores: DatabaseStores, number: int, given: TransactionId | None = None) -> int:
    at = MARCH + timedelta(seconds=number)
    session = Session(SessionId(f"s{number}"), SiteId("depot"), EvseId("box/1"), at)
    opened = await stores.sessions.open_transaction(replace(BEGUN, at=at, transaction_id=given), session)
    return int(opened.transaction_id)


class StoppedClock:
    def __init__(self, instant: datetime) -> None:
        self.instant = instant

    def now(self) -> datetime:
        return self.instant

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    def wall_seconds(self, seconds: float) -> float:
        return seconds


async def test_a_new_database_starts_at_the_seconds_since_2020(url: str) -> None:
    async with await open_stores(url, wall_clock=StoppedClock(MARCH)) as stores:
        first = await next_id(stores, 1)
        assert first == (MARCH - datetime(2020, 1, 1, tzinfo=UTC)).total_seconds() + 1
        assert await next_id(stores, 2) == first + 1


@pytest.mark.parametrize(
    "reopened_at",
    [MARCH, MARCH - timedelta(days=400), datetime(1970, 1, 1, tzinfo=UTC), MARCH + timedelta(days=1)],
    ids=["at once", "with a clock that lost a year", "with a clock without a battery", "a day later"],
)
async def test_ids_go_on_rising_after_a_restart(url: str, reopened_at: datetime) -> None:
    async with await open_stores(url, wall_clock=StoppedClock(MARCH)) as stores:
        before = [await next_id(stores, number) for number in range(5)]
    async with await open_stores(url, wall_clock=StoppedClock(reopened_at)) as stores:
        assert await next_id(stores, 9) > max(before)


def remove(database: Path, _backup: Path) -> None:
    for path in database.parent.glob(database.name + "*"):
        path.unlink()


def set_back(database: Path, backup: Path) -> None:
    remove(database, backup)
    backup.rename(database)


@pytest.mark.parametrize("accident", [remove, set_back], ids=["database lost", "old backup set back"])
async def test_no_id_comes_again_after_an_accident(
    url: str, tmp_path: Path, accident: Callable[[Path, Path], None]
) -> None:
    async with await open_stores(url, wall_clock=StoppedClock(MARCH)) as stores:
        await stores.back_up(tmp_path / "backup.sqlite")
        given = {await next_id(stores, number) for number in range(50)}
    accident(tmp_path / "service.sqlite", tmp_path / "backup.sqlite")
    async with await open_stores(url, wall_clock=StoppedClock(MARCH + timedelta(minutes=1))) as stores:
        assert await next_id(stores, 1) not in given


async def test_a_number_that_a_station_brought_along_is_not_given_again(url: str) -> None:
    async with await open_stores(url, wall_clock=StoppedClock(MARCH)) as stores:
        first = await next_id(stores, 1)
        assert await next_id(stores, 2, given=TransactionId(str(first + 1))) == first + 1
        assert await next_id(stores, 3) == first + 2


async def test_ids_fit_the_protocols_integer_until_2088(url: str) -> None:
    async with await open_stores(url, wall_clock=StoppedClock(datetime(2088, 1, 1, tzinfo=UTC))) as stores:
        assert await next_id(stores, 1) < 2**31
