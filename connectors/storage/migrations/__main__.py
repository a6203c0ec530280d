"""Writes a new version after a change of `connectors.storage.tables`, from the root of the repository.

    python -m connectors.storage.migrations "add the colour of a plug"

Read and complete what it wrote: it does not see triggers, and knows nothing of the rows.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from connectors.storage.database import database_url, migrate, migration_config, sqlite_engine


def write_version(message: str) -> None:
    """Compare the newest version with the tables, and write what is missing as the next version."""
    with tempfile.TemporaryDirectory() as folder:
        url = database_url(f"sqlite:///{Path(folder) / 'newest.sqlite'}")
        engine = sqlite_engine(url, (), "BEGIN IMMEDIATE")
        with engine.begin() as connection:
            migrate(connection)
            config = migration_config()
            config.attributes["connection"] = connection
            command.revision(config, message, autogenerate=True)
        engine.dispose()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write_version(sys.argv[1])
