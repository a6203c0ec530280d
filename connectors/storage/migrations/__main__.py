"""Writes a new version after a change of `connectors.storage.tables`, from the root of the repository.

    python -m connectors.storage.migrations "add the colour of a plug"

Read and complete what it wrote: it does not see triggers, and knows nothing of the rows.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from alembic import command
from sqlalchemy import Connection

from connectors.storage.database import database_url, migration_config, upgrade, writing_engine


async def write_version(message: str) -> None:
    """Compare the newest version with the tables, and write what is missing as the next version."""
    with tempfile.TemporaryDirectory() as folder:
        url = database_url(f"sqlite:///{Path(folder) / 'newest.sqlite'}")
        await upgrade(url)
        engine = writing_engine(url)
        async with engine.connect() as connection:
            await connection.run_sync(_write, message)
        await engine.dispose()


def _write(connection: Connection, message: str) -> None:
    config = migration_config()
    config.attributes["connection"] = connection
    command.revision(config, message, autogenerate=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    asyncio.run(write_version(sys.argv[1]))
