"""Who is plugged in where: remembered, and read anew only where the memory may be wrong."""

from __future__ import annotations

from optimizer.domain.ids import EvseId, SessionId, SiteId
from optimizer.domain.session import Session
from optimizer.ports import Stores


class Presence:
    """The active session of each EVSE of one site.

    Sessions begin and end with one who tells this alone, so an EVSE of which nothing is remembered is free: with
    thousands of them each plug-in would else read all vehicles that are there.

    Args:
        site_id: Where.
        stores: Where sessions are kept.
    """

    def __init__(self, site_id: SiteId, stores: Stores) -> None:
        self._site_id = site_id
        self._stores = stores
        self._active_id: dict[EvseId, SessionId] = {}
        self._is_surveyed = False
        self._doubtful: set[EvseId] = set()

    def note(self, evse_id: EvseId, session_id: SessionId) -> None:
        """A vehicle is plugged in."""
        self._active_id[evse_id] = session_id

    def left(self, evse_id: EvseId) -> None:
        """The vehicle has left."""
        self._active_id.pop(evse_id, None)

    def doubt(self, evse_id: EvseId) -> None:
        """What is remembered of an EVSE may be wrong."""
        self._active_id.pop(evse_id, None)
        self._doubtful.add(evse_id)

    async def active(self, evse_id: EvseId) -> Session | None:
        """The vehicle that is plugged in; the store is asked, since others write targets into it."""
        session_id = self._active_id.get(evse_id)
        if session_id is not None:
            session = await self._stores.sessions.session(session_id)
            if session.is_active:
                return session
            self.doubt(evse_id)
        if self._is_surveyed and evse_id not in self._doubtful:
            return None
        return await self._survey(evse_id)

    async def _survey(self, evse_id: EvseId) -> Session | None:
        """Read who is plugged in: everywhere at first, later only where what is remembered may be wrong."""
        found = await self._stores.sessions.sessions(self._site_id, active_only=True)
        if not self._is_surveyed:
            self._is_surveyed = True
            for session in found:
                self._active_id.setdefault(session.evse_id, session.id)
        self._doubtful.discard(evse_id)
        here = next((session for session in found if session.evse_id == evse_id), None)
        if here is not None:
            self._active_id[evse_id] = here.id
        return here
