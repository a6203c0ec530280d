"""Who is plugged in where, and how every EVSE of a site stands: read every second, and read as far as it has changed.

look 1      A B C D E      all rows
look 2      . B . . .      the rows of which something was committed since
...
look 60     A B C D E      all rows again, for somebody else may have written
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import is_not

from sqlalchemy import Connection, select

from connectors.storage.codec import SAMPLE_JSON, SESSION_JSON, SETPOINT_JSON
from connectors.storage.decoded import DecodedRows
from connectors.storage.tables import CONNECTOR_STATUS, EVSE_STATE, SESSION
from connectors.storage.topology import Topology
from connectors.storage.transactions import Transactions
from optimizer.domain.charger import Connector, ConnectorStatus, Setpoint
from optimizer.domain.evolving import Evolving
from optimizer.domain.ids import EvseId, SessionId, SiteId, StationId
from optimizer.domain.metering import MeterSample
from optimizer.domain.session import Session
from optimizer.domain.site import Evse
from optimizer.domain.snapshot import Occupancy

MOST_NAMED = 500
"""EVSEs that a query names; of more all rows are read, which is quicker than to name them, and has no limit."""

LOOKS_BETWEEN_WHOLE_ONES = 60
"""Looks after which all rows are read again: what another process writes, or an operator by hand, is seen then."""


_State = tuple[str, SessionId | None, str | None, float | None, str | None]
"""Status, session, setpoint, safe default [kW] and last sample of an EVSE, as stored."""


_Stored = tuple[str | None, float | None, str | None]
"""Setpoint as JSON, safe default [kW] and last sample as JSON of an EVSE."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the database holds of some EVSEs."""

    statuses: Mapping[tuple[StationId, int], str]
    """Last reported state of each EVSE number at its station."""
    sessions: Mapping[EvseId, Sequence[tuple[SessionId, str]]]
    """Vehicles that are there, each with its session's JSON, in the order of plug-in."""
    states: Mapping[EvseId, _Stored]
    """What is known of each EVSE besides."""


class SiteOccupancy:
    """What the database holds of one site's EVSEs and of the vehicles at them.

    Args:
        transactions: The way to the database; it tells what was written.
        site_id: Which site.
        evses: Its EVSEs.
    """

    def __init__(self, transactions: Transactions, site_id: SiteId, evses: Iterable[Evse]) -> None:
        self._transactions = transactions
        self._site_id = site_id
        self._evses = {evse.id: evse for evse in evses}
        self._written = transactions.follow()
        self._turn = asyncio.Lock()
        self._being_read: Collection[EvseId] = ()
        self._looks_left = 0
        self._known = _Known(self._evses)

    async def now(self) -> Occupancy:
        """What is committed; within `together`, with the block's own writes."""
        if self._transactions.in_block:
            apart = _Known(self._evses)
            apart.take(await self._read(None), None)
            return apart.occupancy
        async with self._turn:
            looks_left, self._looks_left = self._looks_left, 0
            self._being_read = self._written.take()
            if looks_left == 0 or len(self._being_read) > MOST_NAMED:
                self._known.take(await self._read(None), None)
                looks_left = LOOKS_BETWEEN_WHOLE_ONES
            elif self._being_read:
                self._known.take(await self._read(self._being_read), self._being_read)
            # Only now: where reading fails, all is read the next time, and till then nothing is thought to be known.
            self._looks_left, self._being_read = looks_left - 1, ()
            return self._known.occupancy

    async def connector(self, evse: Evse) -> Connector:
        """One EVSE; it is not read where it was read since it was last written."""
        if self._is_current(evse.id):
            return self._known.occupancy.connectors[evse.id]
        return _Known({evse.id: evse}).connector(evse, await self._read([evse.id]))

    def session(self, session_id: SessionId) -> Session | None:
        """A vehicle that is there, where that is known without reading."""
        session = self._known.sessions.get(session_id)
        return session if session is not None and self._is_current(session.evse_id) else None

    def _is_current(self, evse_id: EvseId) -> bool:
        """Whether what is known of an EVSE is all that was committed."""
        if self._looks_left == 0 or self._transactions.in_block:
            return False
        return evse_id not in self._being_read and evse_id not in self._written

    async def _read(self, evse_ids: Collection[EvseId] | None) -> _Rows:
        named = self._evses if evse_ids is None else evse_ids
        evses = [self._evses[one] for one in named if one in self._evses]
        return await self._transactions.read(partial(_rows, site_id=self._site_id, evses=evses, evse_ids=evse_ids))


class OccupancyBook:
    """The occupancy of every site of a database.

    Args:
        transactions: The way to the database.
        topology: The sites.
    """

    def __init__(self, transactions: Transactions, topology: Topology) -> None:
        self._transactions = transactions
        self._topology = topology
        self._sites: dict[SiteId, SiteOccupancy] = {}

    def of_site(self, site_id: SiteId) -> SiteOccupancy:
        """That of one site.

        Raises:
            NotFound: The site is unknown.
        """
        if site_id not in self._sites:
            self._sites[site_id] = SiteOccupancy(self._transactions, site_id, self._topology.evses(site_id))
        return self._sites[site_id]

    def session(self, session_id: SessionId) -> Session | None:
        """A vehicle that is there, where that is known without reading."""
        found = (site.session(session_id) for site in self._sites.values())
        return next((session for session in found if session is not None), None)


class _Known:
    """What was read so far; what has not changed stays the same object.

    Args:
        evses: The EVSEs by id.
    """

    def __init__(self, evses: Mapping[EvseId, Evse]) -> None:
        self._evses = evses
        self._there: dict[EvseId, tuple[Session, ...]] = {}
        self._decoded_sessions: DecodedRows[SessionId, str, Session] = DecodedRows()
        self._decoded_setpoints: DecodedRows[EvseId, str, Setpoint] = DecodedRows()
        self._decoded_samples: DecodedRows[EvseId, str, MeterSample] = DecodedRows()
        self._decoded: DecodedRows[EvseId, _State, Connector] = DecodedRows()
        self.sessions: dict[SessionId, Session] = {}
        """Vehicles that are there, in the order of plug-in."""
        self.occupancy = Occupancy((), Evolving(), Evolving())
        """The same, put together."""

    def take(self, rows: _Rows, evse_ids: Collection[EvseId] | None) -> None:
        """Put what was read in the place of what was known of these EVSEs; ``None``: of all."""
        before = self.occupancy
        changed = self._changed_stays(rows, {*self._there, *rows.sessions} if evse_ids is None else evse_ids)
        self._take_stays(changed)
        evses = [self._evses[one] for one in (self._evses if evse_ids is None else evse_ids) if one in self._evses]
        connectors = {evse.id: self.connector(evse, rows) for evse in evses}
        fresh = {one: connector for one, connector in connectors.items() if before.connectors.get(one) is not connector}
        newest = {evse_id: there[-1] for evse_id, there in changed.items() if there}
        vacated = [evse_id for evse_id, there in changed.items() if not there and evse_id in before.session_at]
        self.occupancy = Occupancy(
            tuple(self.sessions.values()) if changed else before.sessions,
            before.session_at.evolved(newest, vacated),
            before.connectors.evolved(fresh),
        )

    def _changed_stays(self, rows: _Rows, evse_ids: Iterable[EvseId]) -> dict[EvseId, tuple[Session, ...]]:
        """The vehicles at each of these EVSEs where they, or what is known of them, are others than before."""
        changed = {}
        for evse_id in evse_ids:
            there = tuple([self._session(*row) for row in rows.sessions.get(evse_id, ())])
            before = self._there.get(evse_id, ())
            if len(there) != len(before) or any(map(is_not, there, before)):
                changed[evse_id] = there
        return changed

    def _take_stays(self, changed: Mapping[EvseId, tuple[Session, ...]]) -> None:
        """Keep all vehicles in the order of plug-in; only where some come are they put in order again."""
        is_ordered = True
        for evse_id, there in changed.items():
            staying = {session.id for session in there}
            for session in self._there.get(evse_id, ()):
                if session.id not in staying:
                    del self.sessions[session.id]
            for session in there:
                held = self.sessions.get(session.id)
                is_ordered = is_ordered and held is not None and held.plugged_in_at == session.plugged_in_at
                self.sessions[session.id] = session
            self._there[evse_id] = there
        if not is_ordered:
            self.sessions = dict(sorted(self.sessions.items(), key=lambda item: (item[1].plugged_in_at, item[0])))
            self._decoded_sessions.keep_only(self.sessions)

    def _session(self, session_id: SessionId, body: str) -> Session:
        return self._decoded_sessions.value(session_id, body, SESSION_JSON.value)

    def connector(self, evse: Evse, rows: _Rows) -> Connector:
        """An EVSE as the rows tell it."""
        status = rows.statuses.get((evse.station_id, evse.ocpp_evse_id), ConnectorStatus.UNKNOWN.value)
        there = rows.sessions.get(evse.id)
        state = (status, there[-1][0] if there else None, *rows.states.get(evse.id, (None, None, None)))
        return self._decoded.value(evse.id, state, partial(self._made, evse))

    def _made(self, evse: Evse, state: _State) -> Connector:
        status, session_id, setpoint, safe_default_kw, sample = state
        return Connector(
            evse_id=evse.id,
            station_id=evse.station_id,
            online=False,
            status=ConnectorStatus(status),
            session_id=session_id,
            setpoint=self._decoded_setpoints.value(evse.id, setpoint, SETPOINT_JSON.value) if setpoint else None,
            safe_default_kw=safe_default_kw,
            last_sample=self._decoded_samples.value(evse.id, sample, SAMPLE_JSON.value) if sample else None,
        )


def _rows(connection: Connection, site_id: SiteId, evses: Sequence[Evse], evse_ids: Collection[EvseId] | None) -> _Rows:
    """What stands there of ``evses``, and of the vehicles at ``evse_ids``, or at all EVSEs of the site."""
    named = None if evse_ids is None or len(evse_ids) > MOST_NAMED else list(evse_ids)
    return _Rows(
        _statuses(connection, None if named is None else {evse.station_id for evse in evses}),
        _sessions(connection, site_id, named),
        _states(connection, named),
    )


def _statuses(connection: Connection, station_ids: Collection[StationId] | None) -> dict[tuple[StationId, int], str]:
    status = CONNECTOR_STATUS.c
    query = select(status.station_id, status.ocpp_evse_id, status.status)
    if station_ids is not None:
        query = query.where(status.station_id.in_(station_ids))
    return {(station_id, ocpp_evse_id): told for station_id, ocpp_evse_id, told in connection.execute(query)}


def _sessions(
    connection: Connection, site_id: SiteId, evse_ids: Sequence[EvseId] | None
) -> dict[EvseId, list[tuple[SessionId, str]]]:
    """The vehicles at each EVSE; where two sessions were left open, the one that came last is the last."""
    session = SESSION.c
    query = select(session.evse_id, session.id, session.body)
    query = query.where(session.site_id == site_id, session.unplugged_at.is_(None))
    if evse_ids is not None:
        query = query.where(session.evse_id.in_(evse_ids))
    found: defaultdict[EvseId, list[tuple[SessionId, str]]] = defaultdict(list)
    for evse_id, session_id, body in connection.execute(query.order_by(session.plugged_in_at, session.id)):
        found[evse_id].append((session_id, body))
    return found


def _states(connection: Connection, evse_ids: Sequence[EvseId] | None) -> dict[EvseId, _Stored]:
    """Setpoint, safe default [kW] and last sample of each EVSE, as stored."""
    state = EVSE_STATE.c
    query = select(state.evse_id, state.setpoint, state.safe_default_kw, state.last_sample)
    if evse_ids is not None:
        query = query.where(state.evse_id.in_(evse_ids))
    return {
        evse_id: (setpoint, safe_default_kw, last_sample)
        for evse_id, setpoint, safe_default_kw, last_sample in connection.execute(query)
    }
