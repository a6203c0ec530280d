"""Pauses by the end of the transaction, at stations where no limit pauses a vehicle.

plan         7 kW |  0    0    0    0  | 7 kW          a short zero, or one that nothing follows, ends nothing
transaction  #####|                    |#####          the same stay, in two transactions
             stopped                started
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from optimizer.control.ledger import SessionLedger
from optimizer.control.samples import NO_DRAW_KW
from optimizer.control.settings import ControlSettings
from optimizer.domain.ids import SessionId, StationId
from optimizer.domain.metering import MeterSample
from optimizer.domain.moment import Interval
from optimizer.domain.plan import Plan
from optimizer.domain.session import Session
from optimizer.domain.site import Evse, Site
from optimizer.errors import ChargerRefused, ChargerUnreachable
from optimizer.operator_ports import StationOperator
from optimizer.ports import Clock, Stores

_LOG = logging.getLogger(__name__)

LEAST_PAUSE = timedelta(minutes=15)
"""A shorter pause is not worth the end of a transaction: it is left to the limit."""

A_MOMENT = timedelta(seconds=1)
"""Length of a pause that is only just ordered."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """The last order for a vehicle."""

    at: datetime
    stops: bool


class StopPauseDesk:
    """Stops and starts the transactions of one site's vehicles as the plan pauses and resumes them.

    A pause of this kind is kept with the session, so that a service that starts anew resumes it; a transaction that the
    driver ended is not started again.

    Args:
        site: Which site.
        stations: The stations that pause in this way.
        stores: Where sessions, samples and plans are kept.
        ledger: Keeps pauses.
        operator: Starts and stops.
        clock: Time.
        settings: How long a station has to follow an order before it is asked again.
    """

    def __init__(
        self,
        site: Site,
        stations: Collection[StationId],
        stores: Stores,
        ledger: SessionLedger,
        operator: StationOperator,
        clock: Clock,
        settings: ControlSettings,
    ) -> None:
        self._site = site
        self._stations = stations
        self._stores = stores
        self._ledger = ledger
        self._operator = operator
        self._clock = clock
        self._patience = timedelta(seconds=settings.wake_patience_s)
        self._asked: dict[SessionId, _Asked] = {}

    async def look(self) -> None:
        """Order what the plan in force asks of every vehicle at these stations."""
        now = self._clock.now()
        there = await self._stores.connectors.occupancy(self._site.id)
        plan = await self._stores.plans.latest_plan(self._site.id)
        self._asked = {one.id: self._asked[one.id] for one in there.sessions if one.id in self._asked}
        for session in there.sessions:
            evse = self._site.evses.get(session.evse_id)
            if evse is None or evse.station_id not in self._stations or plan is None:
                continue
            await self._follow(session, evse, plan, now)

    async def _follow(self, session: Session, evse: Evse, plan: Plan, now: datetime) -> None:
        between = session.transaction_id is None
        samples = await self._stores.meters.session_samples(session.id) if between else ()
        paused = was_stopped_by_us(session, samples)
        if paused and session.paused[-1].end < now:
            await self._ledger.note_pauses(session.id, [Interval(session.paused[-1].end, now)])
        asked = self._asked.get(session.id)
        if asked is not None and now - asked.at < self._patience:
            return
        try:
            if session.transaction_id is not None and is_long_pause(plan, session.id, now):
                # Kept before the order, so that a service that dies in between knows whose pause it is; an order that
                # is repeated belongs to the same pause.
                begun = asked.at if asked is not None and asked.stops else now
                self._asked[session.id] = _Asked(now, stops=True)
                await self._ledger.note_pauses(session.id, [Interval(begun, now + A_MOMENT)])
                await self._operator.stop(evse.station_id, session.transaction_id)
            elif paused and session.token_id is not None and is_to_charge(plan, session.id, now):
                self._asked[session.id] = _Asked(now, stops=False)
                await self._operator.start(evse.station_id, evse.ocpp_evse_id, session.token_id)
        except (ChargerUnreachable, ChargerRefused) as error:
            _LOG.warning("EVSE %s: not paused or resumed by its transaction: %s", evse.id, error)


def was_stopped_by_us(session: Session, samples: Sequence[MeterSample]) -> bool:
    """Whether the transaction of a stay was ended for a pause, and not by the driver, who ends one that charges.

    Args:
        session: The stay.
        samples: What was metered in it.
    """
    if session.transaction_id is not None or not session.paused or not session.may_charge:
        return False
    paused_until = session.paused[-1].end
    return not any(sample.at > paused_until and (sample.power_kw or 0.0) > NO_DRAW_KW for sample in samples)


def is_to_charge(plan: Plan, session_id: SessionId, now: datetime) -> bool:
    """Whether a plan gives a vehicle power now."""
    index, planned = plan.slot_at(now), plan.session_plan(session_id)
    return index is not None and planned is not None and planned.power_kw[index] > 0.0


def is_long_pause(plan: Plan, session_id: SessionId, now: datetime) -> bool:
    """Whether a plan gives a vehicle nothing for a while from now on, and power after it."""
    index, planned = plan.slot_at(now), plan.session_plan(session_id)
    if index is None or planned is None:
        return False
    following = [
        start for start, kw in zip(plan.boundaries, planned.power_kw, strict=False) if start > now and kw > 0.0
    ]
    return planned.power_kw[index] <= 0.0 and bool(following) and following[0] - now >= LEAST_PAUSE
