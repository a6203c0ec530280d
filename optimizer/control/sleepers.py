"""The last rungs of waking a vehicle that sleeps on after a pause of ours.

limit raised again ── 8 A ── 10 A ── message asked for ── transaction stopped ── and started ── told to the operator
`samples.woken`, in the meter book      here              here, where the operator permits it, once
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from optimizer.control.samples import NO_DRAW_KW, sleeps
from optimizer.control.settings import ControlSettings
from optimizer.control.track import TrackedEvse
from optimizer.domain.ids import SessionId
from optimizer.domain.operation import Trigger
from optimizer.domain.session import Session
from optimizer.domain.site import Evse, Site
from optimizer.errors import ChargerRefused, ChargerUnreachable
from optimizer.operator_ports import StationOperator
from optimizer.ports import Clock, Stores

_LOG = logging.getLogger(__name__)


class Rung(IntEnum):
    """How far one vehicle's waking has come."""

    ASKED = 1
    """Its station was asked for a message, which makes some look at the vehicle anew."""
    STOPPED = 2
    """Its transaction was stopped."""
    STARTED = 3
    """And started again; there is nothing left to try."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    rung: Rung
    at: datetime


class SleeperDesk:
    """Wakes the vehicles of one site that higher currents did not wake.

    Args:
        site: Which site.
        stores: Where sessions are kept.
        tracking: Tells how every EVSE follows its limit.
        operator: Asks, stops and starts.
        clock: Time.
        settings: Patience, and whether transactions may be restarted.
    """

    def __init__(
        self,
        site: Site,
        stores: Stores,
        tracking: Callable[[], Awaitable[tuple[TrackedEvse, ...]]],
        operator: StationOperator,
        clock: Clock,
        settings: ControlSettings,
    ) -> None:
        self._site = site
        self._stores = stores
        self._tracking = tracking
        self._operator = operator
        self._clock = clock
        self._settings = settings
        # Only spares doing it twice: after a restart of the service each rung may be tried once more.
        self._attempts: dict[SessionId, _Attempt] = {}

    async def look(self) -> None:
        """Go one rung further with every vehicle whose time has come."""
        there = {session.evse_id: session for session in await self._sleepy()}
        self._attempts = {
            session.id: self._attempts[session.id] for session in there.values() if session.id in self._attempts
        }
        if not there:
            return
        drawn_kw = {one.evse_id: one.drawn_kw for one in await self._tracking()}
        for evse_id, session in there.items():
            attempt = self._attempts.get(session.id)
            between = attempt is not None and attempt.rung is Rung.STOPPED
            if between or (drawn_kw.get(evse_id) or 0.0) < NO_DRAW_KW:
                await self._go_further(session, self._site.evses[evse_id], attempt)

    async def _sleepy(self) -> list[Session]:
        """Vehicles that currents did not wake, and that need to."""
        there = await self._stores.connectors.occupancy(self._site.id)
        return [
            one
            for one in there.sessions
            if not one.vehicle.wakes_after_pause and sleeps(one) and one.evse_id in self._site.evses
        ]

    async def _go_further(self, session: Session, evse: Evse, attempt: _Attempt | None) -> None:
        now = self._clock.now()
        if attempt is not None and now - attempt.at < timedelta(seconds=self._settings.wake_patience_s):
            return
        rung = _next_rung(session, attempt, may_restart=self._settings.restart_sleepers)
        if rung is None:
            return
        try:
            await self._climb(rung, session, evse)
        except (ChargerUnreachable, ChargerRefused) as error:
            _LOG.info("EVSE %s: the vehicle is not woken: %s", evse.id, error)
        self._attempts[session.id] = _Attempt(rung, now)

    async def _climb(self, rung: Rung, session: Session, evse: Evse) -> None:
        match rung:
            case Rung.ASKED:
                await self._operator.trigger(evse.station_id, Trigger.STATUS, evse.ocpp_evse_id)
            case Rung.STOPPED if session.transaction_id is not None:
                _LOG.warning("EVSE %s: the vehicle does not wake; its transaction is started anew", evse.id)
                await self._operator.stop(evse.station_id, session.transaction_id)
            case Rung.STARTED if session.token_id is not None:
                await self._operator.start(evse.station_id, evse.ocpp_evse_id, session.token_id)
            case _:
                pass


def _next_rung(session: Session, attempt: _Attempt | None, *, may_restart: bool) -> Rung | None:
    """The rung to try now; ``None``: none is left, or the one before is not done."""
    if attempt is None:
        return Rung.ASKED
    if attempt.rung is Rung.ASKED and may_restart and session.token_id is not None:
        return Rung.STOPPED if session.transaction_id is not None else None
    if attempt.rung is Rung.STOPPED and session.transaction_id is None:
        return Rung.STARTED
    return None
