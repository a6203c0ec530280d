"""The last known state of stations, connectors and setpoints."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection, select

from connectors.storage.codec import BOOT_JSON, SAMPLE_JSON, SETPOINT_JSON
from connectors.storage.decoded import DecodedRows
from connectors.storage.statements import upsert
from connectors.storage.tables import CONNECTOR_STATUS, EVSE_STATE, SESSION, STATION
from connectors.storage.topology import Topology
from connectors.storage.transactions import Transactions
from optimizer.domain.charger import Connector, ConnectorReported, ConnectorStatus, Setpoint, StationBooted
from optimizer.domain.ids import EvseId, SessionId, SiteId, StationId
from optimizer.domain.site import Evse

MOST_NAMED = 500
"""EVSEs that a query names; of more all rows are read, which is quicker than to name them, and has no limit."""

_State = tuple[str, str | None, str | None, float | None, str | None]
"""Status, session, setpoint, safe default [kW] and last sample of an EVSE, as stored."""


class DatabaseConnectorStore:
    """Keeps the last known state of stations, connectors and setpoints (port `ConnectorStore`)."""

    def __init__(self, transactions: Transactions, topology: Topology) -> None:
        self._transactions = transactions
        self._topology = topology
        self._decoded: DecodedRows[EvseId, _State, Connector] = DecodedRows()

    async def save_boot(self, event: StationBooted) -> None:
        """Keep what a station said of itself."""
        row = {"station_id": event.station_id, "booted": BOOT_JSON.text(event)}
        await self._transactions.write(partial(upsert, table=STATION, rows=[row]))

    async def station_boots(self) -> dict[StationId, StationBooted]:
        """What each station last said of itself."""
        return await self._transactions.read(_station_boots)

    async def save_status(self, event: ConnectorReported) -> None:
        """Keep a connector's state, unless a newer one is held; of two at one instant the later told counts."""
        row = {
            "station_id": event.station_id,
            "ocpp_evse_id": event.ocpp_evse_id,
            "status": event.status,
            "at": event.at,
            "error_code": event.error_code,
        }
        keep_newer = partial(upsert, table=CONNECTOR_STATUS, rows=[row], unless_newer=CONNECTOR_STATUS.c.at)
        await self._transactions.write(keep_newer)

    async def save_setpoint(self, setpoint: Setpoint) -> None:
        """Replace the setpoint of an EVSE."""
        row = {"evse_id": setpoint.evse_id, "setpoint": SETPOINT_JSON.text(setpoint)}
        await self._transactions.write(partial(upsert, table=EVSE_STATE, rows=[row]))

    async def save_safe_default(self, evse_id: EvseId, limit_kw: float | None) -> None:
        """Keep which safe default is known to be installed [kW]; ``None``: none is."""
        row = {"evse_id": evse_id, "safe_default_kw": limit_kw}
        await self._transactions.write(partial(upsert, table=EVSE_STATE, rows=[row]))

    async def connectors(self, site_id: SiteId) -> tuple[Connector, ...]:
        """Every EVSE of the site as last known; ``online`` is False, for the caller to fill in.

        Raises:
            NotFound: The site is unknown.
        """
        evses = self._topology.evses(site_id)
        return await self._transactions.read(partial(_connectors, evses=evses, decoded=self._decoded))

    async def connector(self, site_id: SiteId, evse_id: EvseId) -> Connector:
        """One EVSE of the site as last known.

        Raises:
            NotFound: The site is unknown, or has no such EVSE.
        """
        evse = self._topology.evse(site_id, evse_id)
        (found,) = await self._transactions.read(partial(_connectors, evses=(evse,), decoded=self._decoded))
        return found


def _station_boots(connection: Connection) -> dict[StationId, StationBooted]:
    rows = connection.execute(select(STATION))
    return {StationId(row.station_id): BOOT_JSON.value(row.booted) for row in rows}


def _connectors(
    connection: Connection, evses: tuple[Evse, ...], decoded: DecodedRows[EvseId, _State, Connector]
) -> tuple[Connector, ...]:
    statuses = _statuses(connection, {evse.station_id for evse in evses})
    evse_ids = [evse.id for evse in evses]
    sessions = _sessions(connection, evse_ids)
    states = _states(connection, evse_ids)
    unknown = (None, None, None)
    connectors = []
    for evse in evses:
        status = statuses.get((evse.station_id, evse.ocpp_evse_id), ConnectorStatus.UNKNOWN.value)
        state = (status, sessions.get(evse.id), *states.get(evse.id, unknown))
        connectors.append(decoded.value(evse.id, state, partial(_connector, evse)))
    return tuple(connectors)


def _connector(evse: Evse, state: _State) -> Connector:
    status, session_id, setpoint, safe_default_kw, last_sample = state
    return Connector(
        evse_id=evse.id,
        station_id=evse.station_id,
        online=False,
        status=ConnectorStatus(status),
        session_id=SessionId(session_id) if session_id is not None else None,
        setpoint=SETPOINT_JSON.value(setpoint) if setpoint else None,
        safe_default_kw=safe_default_kw,
        last_sample=SAMPLE_JSON.value(last_sample) if last_sample else None,
    )


def _statuses(connection: Connection, station_ids: set[StationId]) -> dict[tuple[StationId, int], str]:
    status = CONNECTOR_STATUS.c
    query = select(status.station_id, status.ocpp_evse_id, status.status)
    if len(station_ids) <= MOST_NAMED:
        query = query.where(status.station_id.in_(station_ids))
    return {(station_id, ocpp_evse_id): told for station_id, ocpp_evse_id, told in connection.execute(query)}


def _sessions(connection: Connection, evse_ids: Sequence[EvseId]) -> dict[EvseId, str]:
    """The session on each EVSE; where two were left open, the one that came last."""
    session = SESSION.c
    active = select(session.evse_id, session.id).where(session.unplugged_at.is_(None))
    if len(evse_ids) <= MOST_NAMED:
        active = active.where(session.evse_id.in_(evse_ids))
    rows = connection.execute(active.order_by(session.plugged_in_at, session.id))
    return {row.evse_id: row.id for row in rows}


def _states(
    connection: Connection, evse_ids: Sequence[EvseId]
) -> dict[EvseId, tuple[str | None, float | None, str | None]]:
    """Setpoint, safe default [kW] and last sample of each EVSE, as stored."""
    state = EVSE_STATE.c
    query = select(state.evse_id, state.setpoint, state.safe_default_kw, state.last_sample)
    if len(evse_ids) <= MOST_NAMED:
        query = query.where(state.evse_id.in_(evse_ids))
    return {
        evse_id: (setpoint, safe_default_kw, last_sample)
        for evse_id, setpoint, safe_default_kw, last_sample in connection.execute(query)
    }
