"""Of which EVSEs something was written: who remembers what stands in the database asks what to read again.

    writer     A     B A        C
    reader   |A----------|A B--------|C          each look takes what was committed since the look before

A write is noted when it is committed and before its caller goes on, so what a caller has written is read again by
whoever looks after it. What is noted without need is only read once more.
"""

from __future__ import annotations

from collections.abc import Iterable

from optimizer.domain.ids import EvseId


class WrittenEvses:
    """The EVSEs of which something was committed since a reader took them last."""

    def __init__(self) -> None:
        self._evse_ids: set[EvseId] = set()

    def note(self, evse_ids: Iterable[EvseId]) -> None:
        """Something was committed."""
        self._evse_ids.update(evse_ids)

    def take(self) -> set[EvseId]:
        """All that were noted since it was asked last."""
        taken, self._evse_ids = self._evse_ids, set()
        return taken

    def __contains__(self, evse_id: object) -> bool:
        return evse_id in self._evse_ids
