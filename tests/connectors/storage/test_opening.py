"""Opening a database: what is refused with a clear text, what two processes do to each other, and backups."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.storage import DatabaseStores, open_stores
from connectors.storage.database import database_url
from connectors.storage.topology import Topology
from optimizer.domain.ids import EvseId, SessionId, SiteId, StationId
from optimizer.domain.session import Session
from optimizer.domain.site import Site
from optimizer.errors import InvalidConfiguration, InvalidInput, NotFound, StorageFailed

SESSION = Session(SessionId("one"), SiteId("depot"), EvseId("box/1"), datetime(2026, 3, 1, 8, tzinfo=UTC))


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "driver"),
        [
            ("sqlite:////tmp/service.sqlite", "sqlite+pysqlite"),
            ("sqlite+aiosqlite:///service.sqlite", "sqlite+pysqlite"),
            ("postgresql://user:secret@host/name", "postgresql+asyncpg"),
            ("postgresql+asyncpg://host/name", "postgresql+asyncpg"),
        ],
    )
    def test_the_driver_is_chosen(self, url: str, driver: str) -> None:
        assert database_url(url).drivername == driver

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("service.sqlite", "give sqlite:///path/to/file"),
            ("", "give sqlite:///path/to/file"),
            ("mysql://root:secret@host/name", "give sqlite:///path/to/file"),
            ("sqlite://", "name a file"),
            ("sqlite:///:memory:", "name a file"),
            ("sqlite:////nowhere/at/all/service.sqlite", "make the folder /nowhere/at/all first"),
        ],
        ids=["only a path", "nothing", "another database", "no file", "memory", "no folder"],
    )
    async def test_others_are_refused_with_what_to_do(self, url: str, said: str) -> None:
        with pytest.raises(InvalidConfiguration, match="database_url") as caught:
            await open_stores(url)
        assert said in str(caught.value)
        assert "secret" not in str(caught.value)

    async def test_a_server_that_is_not_there_is_named_without_the_password(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidConfiguration, match="cannot be opened") as caught:
            await open_stores(f"postgresql://user:secret@/name?host={tmp_path}")
        assert "secret" not in str(caught.value)

    async def test_a_file_of_something_else_is_refused_and_left_alone(self, url: str, tmp_path: Path) -> None:
        path = tmp_path / "service.sqlite"
        path.write_text("id,energy\n" * 1000)
        with pytest.raises(InvalidConfiguration, match="not a database"):
            await open_stores(url)
        assert path.read_text() == "id,energy\n" * 1000

    async def test_a_database_of_a_newer_version_is_refused(self, url: str, tmp_path: Path) -> None:
        async with await open_stores(url):
            pass
        with closing(sqlite3.connect(tmp_path / "service.sqlite")) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
            connection.commit()
        with pytest.raises(InvalidConfiguration, match="newer version"):
            await open_stores(url)

    async def test_at_least_one_plan_is_kept(self, url: str) -> None:
        with pytest.raises(InvalidConfiguration, match="kept_plans = 0"):
            await open_stores(url, kept_plans=0)


class TestSites:
    def test_an_id_used_twice_is_refused(self, depot: Site) -> None:
        def second(**fields: object) -> Site:
            return replace(depot, **fields)

        renamed = replace(depot.stations[0], id=StationId("other"))
        for sites, field in (
            ([depot, depot], "sites.id"),
            ([depot, second(id=SiteId("b"))], "stations.id"),
            ([depot, second(id=SiteId("b"), stations=(renamed,))], "evses.id"),
        ):
            with pytest.raises(InvalidConfiguration, match=field):
                Topology(sites)


class TestTwoProcesses:
    async def test_both_open_write_and_see_what_the_other_wrote(self, url: str, depot: Site) -> None:
        async with await open_stores(url, [depot]) as first, await open_stores(url, [depot]) as second:
            await first.sessions.save_session(SESSION)
            await second.sessions.save_session(replace(SESSION, pauses=1))
            assert (await first.sessions.session(SESSION.id)).pauses == 1

    async def test_a_block_of_one_holds_back_the_other_only_until_it_ends(self, url: str, tmp_path: Path) -> None:
        async with await open_stores(url) as stores:
            with closing(sqlite3.connect(tmp_path / "service.sqlite", timeout=0.01)) as other:
                async with stores.together():
                    await stores.sessions.save_session(SESSION)
                    with pytest.raises(sqlite3.OperationalError, match="locked"):
                        other.execute("UPDATE session SET evse_id = 'x'")
                other.execute("UPDATE session SET evse_id = 'x'")


class TestBackup:
    async def test_a_copy_of_the_running_database_can_be_put_in_its_place(
        self, stores: DatabaseStores, tmp_path: Path, depot: Site
    ) -> None:
        await stores.sessions.save_session(SESSION)
        await stores.back_up(tmp_path / "backup.sqlite")
        await stores.sessions.save_session(replace(SESSION, id=SessionId("after the backup")))
        async with await open_stores(f"sqlite:///{tmp_path / 'backup.sqlite'}", [depot]) as restored:
            assert await restored.sessions.sessions(depot.id) == (SESSION,)
            assert [connector.session_id for connector in await restored.connectors.connectors(depot.id)] == ["one"]
            with pytest.raises(NotFound):
                await restored.sessions.session(SessionId("after the backup"))
            await restored.sessions.save_session(replace(SESSION, pauses=3))

    async def test_an_existing_file_is_not_overwritten(self, stores: DatabaseStores, tmp_path: Path) -> None:
        target = tmp_path / "backup.sqlite"
        target.write_text("of yesterday")
        with pytest.raises(InvalidInput, match="does not exist yet"):
            await stores.back_up(target)
        assert target.read_text() == "of yesterday"

    async def test_a_folder_that_is_missing_is_named(self, stores: DatabaseStores, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="make the folder"):
            await stores.back_up(tmp_path / "missing" / "backup.sqlite")

    async def test_a_copy_that_fails_is_not_taken_for_one(self, stores: DatabaseStores, tmp_path: Path) -> None:
        (tmp_path / "backup.sqlite.part").mkdir()
        with pytest.raises(StorageFailed, match="could not be written"):
            await stores.back_up(tmp_path / "backup.sqlite")
        assert not (tmp_path / "backup.sqlite").exists()
