"""Password hashes of stations in a file, which the service and the command line change in turn."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from optimizer.domain.ids import StationId
from optimizer.errors import InvalidDataFile, StorageFailed

_Stamp = tuple[int, int, int]


class FilePasswords:
    """Password hashes in a JSON file that only its owner may read; what is not in it comes from the configuration.

    The file is read again when it has changed, so a password that the command line made is good at once.

    Args:
        path: The file; it need not exist yet.
        given: Hashes from the configuration; those of the file go before them.

    Raises:
        InvalidDataFile: The file is there and holds something else.
    """

    def __init__(self, path: Path, given: Mapping[StationId, str] | None = None) -> None:
        self._path = path
        self._given = dict(given or {})
        self._kept: dict[StationId, str] = {}
        self._stamp: _Stamp | None = None
        self._refresh()

    async def password_hash(self, station_id: StationId) -> str | None:
        """The hash in force of one station; ``None``: it has none."""
        self._refresh()
        return self._kept.get(station_id, self._given.get(station_id))

    async def replace_password(self, station_id: StationId, password_hash: str) -> None:
        """Replace the hash of one station; on disk when this returns.

        Raises:
            StorageFailed: The file cannot be written; the old hash holds.
        """
        await asyncio.to_thread(self.keep, station_id, password_hash)

    def stations(self) -> frozenset[StationId]:
        """The stations that have a password."""
        self._refresh()
        return frozenset({*self._kept, *self._given})

    def keep(self, station_id: StationId, password_hash: str) -> None:
        """Put the hash of one station into the file, on disk when this returns.

        Raises:
            StorageFailed: The file cannot be written.
        """

        def put(kept: dict[StationId, str]) -> None:
            kept[station_id] = password_hash

        self._change(put)

    def forget(self, station_id: StationId) -> None:
        """Take the hash of one station out of the file.

        Raises:
            StorageFailed: The file cannot be written.
        """

        def take(kept: dict[StationId, str]) -> None:
            kept.pop(station_id, None)

        self._change(take)

    def _change(self, change: Callable[[dict[StationId, str]], None]) -> None:
        try:
            with _taking_turns(self._path):
                kept = _read(self._path) if self._path.exists() else {}
                change(kept)
                _write(self._path, kept)
        except OSError as error:
            raise StorageFailed(f"the passwords in {self._path} could not be changed: {error}") from error

    def _refresh(self) -> None:
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._kept = _read(self._path) if stamp is not None else {}
            self._stamp = stamp


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(path: Path) -> dict[StationId, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidDataFile("(file)", str(error), "give what `stations add` wrote", where=str(path)) from error
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise InvalidDataFile("(file)", type(content).__name__, "give one hash for each station", where=str(path))
    return {StationId(name): value for name, value in content.items()}


def _write(path: Path, kept: Mapping[StationId, str]) -> None:
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(kept, file, indent=1, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


@contextmanager
def _taking_turns(path: Path) -> Iterator[None]:
    """Let one process at a time read, change and write the file."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
