"""Learning from the sessions in the store: how far stated departures can be trusted, and what drivers usually need."""

from __future__ import annotations

from dataclasses import replace

from optimizer.control.habits import DriverHabits
from optimizer.domain.ids import SessionId, SiteId
from optimizer.planning.departures import DepartureRecord
from optimizer.planning.settings import PlanningSettings
from optimizer.ports import SessionStore

PAGE = 500
"""Sessions read at once."""


class DepartureLearner:
    """Keeps the planner's view of early departures, and drivers' habits, up to date; it reads the store again at start.

    Args:
        sessions: Where sessions are kept.
        site_id: Which site's drivers.
        settings: The operator's choices; their curve is the first guess.
    """

    def __init__(self, sessions: SessionStore, site_id: SiteId, settings: PlanningSettings) -> None:
        self._sessions = sessions
        self._site_id = site_id
        self._record = DepartureRecord(settings.stay_curve)
        self.habits = DriverHabits()
        self._settings = settings
        self._settled: SessionId | None = None
        self._noted: set[SessionId] = set()

    @property
    def settings(self) -> PlanningSettings:
        """The operator's choices with what was learnt."""
        return self._settings

    async def learn(self) -> None:
        """Take notice of the sessions that have ended since the last time."""
        after, all_ended = self._settled, True
        while page := await self._sessions.sessions(self._site_id, after=after, limit=PAGE):
            after = page[-1].id
            for session in page:
                if not session.is_active and session.id not in self._noted:
                    self._record.note(session)
                    self.habits.note(session)
                    self._noted.add(session.id)
                all_ended = all_ended and not session.is_active
                if all_ended:
                    # Everything up to here is over and need not be read again.
                    self._settled = session.id
                    self._noted.discard(session.id)
        if self._settings.departure_care > 0:
            self._settings = replace(self._settings, stay_curve=self._record.curve())
