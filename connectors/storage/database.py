"""Opening a database: its URL, the lanes to it, its schema, and a copy of it."""

from __future__ import annotations

import asyncio
import os
import threading
from importlib.util import find_spec
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from connectors.storage.lanes import AsyncLane, Lane, ThreadLane
from optimizer.errors import InvalidConfiguration, InvalidInput, StorageFailed

FIELD = "database_url"

READING_CONNECTIONS = 4
"""Connections that read at the same time; each of SQLite's is a thread."""

BUSY_LIMIT_S = 10.0
"""How long to wait for another process that holds SQLite's write lock [s]."""

COMMAND_LIMIT_S = 60.0
"""How long PostgreSQL may take for one statement [s]."""

_WRITER_LOCK = 0x0C4A76E5
"""Key of PostgreSQL's advisory lock that makes writers of several processes take turns."""

_ONE_MIGRATION = threading.Lock()
"""Alembic keeps its context in modules, so one process migrates one database at a time."""

# Written and synced to the disk before a commit returns: with NORMAL, commits of the last moments before a power cut
# would be lost. As many writes share one commit, FULL costs little.
_SQLITE_WRITER = ("journal_mode = WAL", "synchronous = FULL", "cache_size = -16000", "journal_size_limit = 67108864")


def database_url(text: str) -> URL:
    """The URL of a database with the driver that is used for it.

    Args:
        text: ``sqlite:///relative/path``, ``sqlite:////absolute/path`` or ``postgresql://user:password@host/name``.

    Raises:
        InvalidConfiguration: It is none of these, or its driver is not installed.
    """
    fix = "give sqlite:///path/to/file or postgresql://user:password@host/name"
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise InvalidConfiguration(FIELD, "(not a URL)", fix) from error
    match url.get_backend_name():
        case "sqlite":
            return _sqlite_url(url)
        case "postgresql" | "postgres":
            if find_spec("asyncpg") is None:
                raise InvalidConfiguration(FIELD, str(url), "install chargehorizon[postgresql] for this database")
            return url.set(drivername="postgresql+asyncpg")
        case _:
            raise InvalidConfiguration(FIELD, str(url), fix)


def writing_lane(url: URL) -> Lane:
    """A lane of one connection whose transactions take turns with all other writers of the database."""
    if is_sqlite(url):
        return ThreadLane(sqlite_engine(url, ("foreign_keys = ON", *_SQLITE_WRITER), "BEGIN IMMEDIATE"), 1)
    return AsyncLane(_postgresql_writer(url))


def reading_lane(url: URL) -> Lane:
    """A lane that cannot write, and whose transactions each see one consistent state."""
    if is_sqlite(url):
        return ThreadLane(sqlite_engine(url, ("query_only = ON",), "BEGIN"), READING_CONNECTIONS)
    engine = create_async_engine(
        url,
        pool_size=READING_CONNECTIONS,
        max_overflow=0,
        pool_pre_ping=True,
        isolation_level="REPEATABLE READ",
        execution_options={"postgresql_readonly": True},
        connect_args=_postgresql_arguments(),
    )
    return AsyncLane(engine)


def sqlite_engine(url: URL, pragmas: tuple[str, ...], begin: str) -> Engine:
    """An engine for SQLite that begins its transactions itself, with the statement ``begin``."""
    # isolation_level None keeps the driver from beginning transactions behind our back.
    arguments = {"isolation_level": None, "timeout": BUSY_LIMIT_S, "check_same_thread": False}
    engine = create_engine(url, poolclass=QueuePool, pool_size=READING_CONNECTIONS, connect_args=arguments)

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


async def upgrade(url: URL) -> None:
    """Bring the schema to the newest version, in one transaction; a new database gets all of it.

    Raises:
        InvalidConfiguration: The database cannot be opened, or is newer than this program.
        StorageFailed: The migration did not succeed; the database is as it was before.
    """
    try:
        await asyncio.to_thread(_upgrade_alone, url)
    except CommandError as error:
        fix = "was made by a newer version: install that version, or set back a backup"
        raise InvalidConfiguration(FIELD, str(url), f"{fix} ({error})") from error
    except (SQLAlchemyError, OSError) as error:
        raise InvalidConfiguration(FIELD, str(url), f"cannot be opened: {error}") from error


def migrate(connection: Connection) -> bool:
    """Bring the schema behind ``connection`` to the newest version; whether that changed it."""
    config = migration_config()
    config.attributes["connection"] = connection
    before = MigrationContext.configure(connection).get_current_revision()
    command.upgrade(config, "head")
    return MigrationContext.configure(connection).get_current_revision() != before


def migration_config() -> Config:
    """Alembic's configuration for the migrations in this package."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def back_up(url: URL, target: Path) -> None:
    """Copy a SQLite database that is in use to the new file ``target``; the copy is one consistent state.

    To go back to it, stop the service, put the copy in the place of the database, remove the ``-wal`` and ``-shm``
    files beside it, and start the service.

    Raises:
        InvalidInput: ``target`` exists or has no folder, or the database is not SQLite's.
        StorageFailed: The copy could not be written; there is no file ``target``, perhaps a part of it as ``.part``.
    """
    if not is_sqlite(url):
        raise InvalidInput(FIELD, str(url), "back up PostgreSQL with pg_dump")
    if not target.parent.is_dir():
        raise InvalidInput("target", str(target), f"make the folder {target.parent} first")
    if target.exists():
        raise InvalidInput("target", str(target), "name a file that does not exist yet")
    unfinished = target.with_name(target.name + ".part")
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        unfinished.unlink(missing_ok=True)
        with engine.connect() as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (str(unfinished),))
        _put_on_disk(unfinished, target)
    except (SQLAlchemyError, OSError) as error:
        raise StorageFailed(f"the backup {target} could not be written: {error}") from error
    finally:
        engine.dispose()


def is_sqlite(url: URL) -> bool:
    """Whether the database is a SQLite file."""
    return url.get_backend_name() == "sqlite"


def _sqlite_url(url: URL) -> URL:
    path = url.database or ""
    if path in {"", ":memory:"} or path.startswith("file:"):
        raise InvalidConfiguration(FIELD, str(url), "name a file: a database in memory would not outlive the service")
    folder = Path(path).parent
    if not folder.is_dir():
        raise InvalidConfiguration(FIELD, str(url), f"make the folder {folder} first")
    return url.set(drivername="sqlite+pysqlite")


def _postgresql_writer(url: URL) -> AsyncEngine:
    engine = create_async_engine(
        url, pool_size=1, max_overflow=0, pool_pre_ping=True, connect_args=_postgresql_arguments()
    )

    @event.listens_for(engine.sync_engine, "begin")
    def take_turns(connection: Connection) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")

    return engine


def _postgresql_arguments() -> dict[str, object]:
    settings = {"application_name": "chargehorizon", "synchronous_commit": "on"}
    return {"server_settings": settings, "command_timeout": COMMAND_LIMIT_S}


def _upgrade_alone(url: URL) -> None:
    with _ONE_MIGRATION:
        if is_sqlite(url):
            _upgrade_sqlite(url)
        else:
            asyncio.run(_upgrade_postgresql(url))


def _upgrade_sqlite(url: URL) -> None:
    # Foreign keys are off, because SQLite changes a table by making it anew; they are checked at the end.
    engine = sqlite_engine(url, _SQLITE_WRITER, "BEGIN IMMEDIATE")
    try:
        with engine.begin() as connection:
            changed = migrate(connection)
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all() if changed else []
            if broken:
                raise StorageFailed(f"after the migration, rows refer to others that are missing: {broken[:5]}")
    finally:
        engine.dispose()


async def _upgrade_postgresql(url: URL) -> None:
    engine = _postgresql_writer(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


def _put_on_disk(unfinished: Path, target: Path) -> None:
    """Give the finished file its name once it is on the disk, so that no half of a copy is taken for one."""
    _sync(unfinished)
    unfinished.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
