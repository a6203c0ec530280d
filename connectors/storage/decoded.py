"""Objects that were read before: a row that has not changed gives the same object again, without being decoded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Content = TypeVar("Content")
Domain = TypeVar("Domain")


class DecodedRows(Generic[Key, Content, Domain]):
    """Remembers what rows were decoded to; only what a row holds now decides, so nothing remembered is ever stale."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[Content, Domain]] = {}

    def value(self, key: Key, content: Content, decode: Callable[[Content], Domain]) -> Domain:
        """What a row holds.

        Args:
            key: Which row.
            content: What it holds now.
            decode: Makes the object of it.
        """
        known = self._known.get(key)
        if known is not None and known[0] == content:
            return known[1]
        value = decode(content)
        self._known[key] = (content, value)
        return value

    def keep_only(self, keys: Collection[Key]) -> None:
        """Forget all rows but these."""
        if len(self._known) > len(keys):
            self._known = {key: self._known[key] for key in keys if key in self._known}
