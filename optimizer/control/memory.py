"""What the guard worked out at earlier looks, so that a look costs what has changed since and not what stands there.

Everything remembered follows from what a view holds, and counts only while that is the same: connectors and sessions
are frozen, so whatever was worked out from the same objects holds until the instant at which time alone changes it.
Without a memory every look comes to the same, only later.

    look 1      A B C D E      all are worked out; each says until when that holds
    look 2      . B . . .      B was metered
    look 3      . . . . .      nothing
    look 4      . . . D .      D's limit steps down now
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import compress
from operator import is_not
from typing import Any, TypeVar

from optimizer.domain.charger import Connector
from optimizer.domain.evolving import changed_between
from optimizer.domain.ids import EvseId
from optimizer.domain.session import Session

Part = TypeVar("Part")

FOR_EVER = datetime.max.replace(tzinfo=UTC)
"""End of what time alone does not change [UTC]."""


class GuardMemory:
    """One site's memory; every part of the guard keeps its own in it."""

    def __init__(self) -> None:
        self._parts: dict[type[Any], Any] = {}

    def part(self, kind: type[Part]) -> Part:
        """The part of a kind; an empty one at first."""
        found: Part | None = self._parts.get(kind)
        if found is None:
            found = self._parts[kind] = kind()
        return found


class ChangedEvses:
    """Tells of which EVSEs the connector or the session is another object than when it was asked before."""

    def __init__(self) -> None:
        self._connectors: Mapping[EvseId, Connector] = {}
        self._sessions: Mapping[EvseId, Session] = {}

    def take(self, connectors: Mapping[EvseId, Connector], sessions: Mapping[EvseId, Session]) -> list[EvseId]:
        """The EVSEs that have changed; all of them at first."""
        held, held_sessions = self._connectors, self._sessions
        if connectors is held and sessions is held_sessions:
            return []
        self._connectors, self._sessions = connectors, sessions
        known, known_sessions = changed_between(held, connectors), changed_between(held_sessions, sessions)
        if known is not None and known_sessions is not None:
            return [evse_id for evse_id in dict.fromkeys((*known, *known_sessions)) if evse_id in connectors]
        if list(held) != list(connectors):
            return list(connectors)
        changed = dict.fromkeys(compress(connectors, map(is_not, connectors.values(), held.values())))
        if sessions is not held_sessions:
            either = {**held_sessions, **sessions}
            others = [one for one in either if held_sessions.get(one) is not sessions.get(one)]
            changed.update((one, None) for one in others if one in connectors)
        return list(changed)


class KeptEvses:
    """The EVSEs of which something is true; only those are asked again of which something has changed."""

    def __init__(self) -> None:
        self._changed = ChangedEvses()
        self._evse_ids: dict[EvseId, None] = {}

    def those(
        self,
        connectors: Mapping[EvseId, Connector],
        sessions: Mapping[EvseId, Session],
        is_one: Callable[[EvseId], bool],
    ) -> Collection[EvseId]:
        """The EVSEs of which ``is_one`` is true; it must depend on connector and session alone."""
        for evse_id in self._changed.take(connectors, sessions):
            if is_one(evse_id):
                self._evse_ids[evse_id] = None
            else:
                self._evse_ids.pop(evse_id, None)
        return tuple(self._evse_ids)


def first_after(at: datetime, instants: Iterable[datetime]) -> datetime:
    """The first instant after ``at`` at which a comparison of time with one of ``instants`` may turn out otherwise."""
    first = FOR_EVER
    for instant in instants:
        if at <= instant < first:
            # At the instant itself, and just after it: comparisons may or may not include it.
            first = instant if instant > at else at + timedelta.resolution
    return first
