"""Undoes what was written to stores in memory while a block fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Journal:
    """Writes to mappings and lists, each with the step that undoes it while a block of `together` is open."""

    def __init__(self) -> None:
        self._open: ContextVar[list[Callable[[], None]] | None] = ContextVar("open_block", default=None)

    def __reduce__(self) -> tuple[type[Journal], tuple[()]]:
        """A copy of the stores begins with no block open."""
        return (Journal, ())

    def put(self, mapping: MutableMapping[Key, Value], key: Key, value: Value) -> None:
        """Set a key."""
        undo = self._open.get()
        if undo is not None:
            if key in mapping:
                before = mapping[key]
                undo.append(lambda: mapping.__setitem__(key, before))
            else:
                undo.append(lambda: mapping.__delitem__(key))
        mapping[key] = value

    def undo_with(self, step: Callable[[], None]) -> None:
        """Note how a write that has just been made is undone."""
        undo = self._open.get()
        if undo is not None:
            undo.append(step)

    @asynccontextmanager
    async def block(self) -> AsyncIterator[None]:
        """All of what is written inside, or nothing; an inner block is part of the outer one."""
        if self._open.get() is not None:
            yield
            return
        undo: list[Callable[[], None]] = []
        token = self._open.set(undo)
        try:
            yield
            undo.clear()
        finally:
            self._open.reset(token)
            for step in reversed(undo):
                step()
