"""Mappings that are replaced and never changed, and know in what they differ from those that they were made from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

REMEMBERED = 4
"""How many steps back a mapping knows in what it differs; who looks less often compares everything."""


class Evolving(dict[Key, Value]):
    """A mapping that is never changed; what changes stands in one that is made from it.

        first      A1 B1 C1
        second     A1 B2 C1      differs from the first in B
        third      A1 B2 C3      differs from the second in C, and so from the first in B and C

    Args:
        content: What stands in it.
    """

    def __init__(self, content: Mapping[Key, Value] | Iterable[tuple[Key, Value]] = ()) -> None:
        super().__init__(content)
        self._before: Evolving[Key, Value] | None = None
        self._differs_in: Collection[Key] = ()

    def evolved(self, changes: Mapping[Key, Value], gone: Collection[Key] = ()) -> Evolving[Key, Value]:
        """The mapping with ``changes``, and without the keys that are ``gone``; itself where there are none."""
        if not changes and not gone:
            return self
        later = Evolving(self)
        later.update(changes)
        for key in gone:
            del later[key]
        later._before, later._differs_in = self, (*changes, *gone)
        oldest = later
        for _ in range(REMEMBERED):
            if oldest._before is None:
                return later
            oldest = oldest._before
        oldest._before = None
        return later

    def becoming(self, content: Mapping[Key, Value]) -> Evolving[Key, Value]:
        """The mapping with what stands in ``content`` and nothing else; itself where these are the same objects."""
        gone = [key for key in self if key not in content]
        return self.evolved({key: value for key, value in content.items() if self.get(key) is not value}, gone)

    def _past(self) -> Iterator[tuple[Evolving[Key, Value], dict[Key, None]]]:
        """This mapping and those before it, each with the keys in which this one may differ from it."""
        at: Evolving[Key, Value] | None = self
        keys: dict[Key, None] = {}
        while at is not None:
            yield at, keys
            keys = keys | dict.fromkeys(at._differs_in)
            at = at._before


def with_changes(content: Mapping[Key, Value], changes: Mapping[Key, Value]) -> Evolving[Key, Value]:
    """A mapping with changes, made from ``content``."""
    return (content if isinstance(content, Evolving) else Evolving(content)).evolved(changes)


def changed_between(earlier: Mapping[Key, Value], later: Mapping[Key, Value]) -> Collection[Key] | None:
    """The keys in which two mappings may differ; ``None`` where neither knows of the other."""
    if earlier is later:
        return ()
    if not isinstance(earlier, Evolving) or not isinstance(later, Evolving):
        return None
    for past, keys in later._past():
        if past is earlier:
            return keys.keys()
    for past, keys in later._past():
        for other_past, other_keys in earlier._past():
            if past is other_past:
                return (keys | other_keys).keys()
    return None
