"""The implementations of the stores, each as a parameter: SQLite, PostgreSQL where its programs are, memory."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from connectors.storage import DatabaseStores, open_stores
from connectors.storage.tables import METADATA
from optimizer.domain.ids import CircuitId, EvseId, SiteId, StationId, TariffId
from optimizer.domain.site import Circuit, Evse, GridConnection, Site, Station
from optimizer.ports import Stores
from scenarios.memory_stores import MemoryStores

KEPT_PLANS = 3


def site_of(name: str, station_count: int) -> Site:
    """A site whose stations have one EVSE each: ``<name>-1/1`` at station ``<name>-1`` and so on."""
    root = CircuitId(f"{name}-main")
    stations = []
    for number in range(1, station_count + 1):
        station_id = StationId(f"{name}-{number}")
        evse = Evse(EvseId(f"{station_id}/1"), station_id, ocpp_evse_id=1, circuit_id=root, max_current_a=32.0)
        stations.append(Station(station_id, (evse,)))
    circuits = (Circuit(root, parent_id=None),)
    return Site(
        SiteId(name), name, "UTC", "EUR", circuits, tuple(stations), GridConnection(root, 100.0), TariffId("flat")
    )


class PostgresqlServer:
    """A server of its own for the tests, without safety against power cuts."""

    def __init__(self, programs: Path, folder: Path, account: tuple[str, ...]) -> None:
        self._programs = programs
        self._folder = folder
        self._account = account
        self._made = 0

    @property
    def shared_database(self) -> str:
        """The URL of the database that the server always has."""
        return self._url("postgres")

    def new_database(self) -> str:
        """Make an empty database; its URL."""
        self._made += 1
        name = f"new_{self._made}"
        self._run("createdb", "-h", str(self._folder), "-U", "tester", name)
        return self._url(name)

    def start(self) -> None:
        cluster = str(self._folder / "cluster")
        self._run("initdb", "-D", cluster, "-A", "trust", "-U", "tester", "-E", "UTF8", "--no-locale", "--no-sync")
        settings = f"-k {self._folder} -c listen_addresses='' -c fsync=off -c shared_buffers=16MB"
        self._run("pg_ctl", "-D", cluster, "-w", "-s", "-l", str(self._folder / "log"), "-o", settings, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "cluster"), "-w", "-s", "-m", "immediate", "stop")
        shutil.rmtree(self._folder)

    def _url(self, name: str) -> str:
        return f"postgresql://tester@/{name}?host={self._folder}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._account, str(self._programs / program), *arguments]
        subprocess.run(command, check=True, cwd=self._folder, stdout=subprocess.DEVNULL)


SITES = (site_of("depot", 2), site_of("office", 1))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A private PostgreSQL on a socket in a temporary folder."""
    initdb = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)
    if initdb is None:
        pytest.skip("no PostgreSQL server programs under /usr/lib/postgresql")
    folder = Path(tempfile.mkdtemp(prefix="storage-"))
    account: tuple[str, ...] = ()
    if os.geteuid() == 0:  # the server refuses to run as root
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            folder.rmdir()
            pytest.skip("PostgreSQL does not run as root, and there is no account postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        # It stands where a user's PATH need not lead.
        account = (
            shutil.which("runuser", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or "runuser",
            "-u",
            "postgres",
            "--",
        )
    server = PostgresqlServer(initdb.parent, folder, account)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database that nothing has ever been stored in."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'service.sqlite'}"
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    return server.new_database()


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def store_place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the stores of a test are: the URL of a database, or ``memory``."""
    return "memory" if request.param == "memory" else _used_database(request, tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def used_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database that other tests may have used before."""
    return _used_database(request, tmp_path)


@pytest.fixture
async def stores(store_place: str) -> AsyncIterator[Stores]:
    """Empty stores of two sites, the depot with two stations and the office with one."""
    if store_place == "memory":
        yield MemoryStores(SITES, kept_outcomes=KEPT_PLANS)
        return
    async with await _emptied(store_place) as opened:
        yield opened


@pytest.fixture
async def database_stores(used_database: str) -> AsyncIterator[DatabaseStores]:
    """As `stores`, in a database."""
    async with await _emptied(used_database) as opened:
        yield opened


def _used_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'service.sqlite'}"
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    return server.shared_database


async def _emptied(url: str) -> DatabaseStores:
    if url.startswith("postgresql"):
        await _remove_all_rows(url)
    return await open_stores(url, SITES, kept_plans=KEPT_PLANS)


async def _remove_all_rows(url: str) -> None:
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.begin() as connection:
        present = set((await connection.execute(text("SELECT tablename FROM pg_tables"))).scalars())
        deletions = "".join(f"DELETE FROM {name}; " for name in METADATA.tables if name in present)
        # As a replica, the server does not run the triggers that refuse to delete.
        await connection.execute(text(f"DO $$ BEGIN SET LOCAL session_replication_role = replica; {deletions} END $$"))
    await engine.dispose()
