"""The last known state of stations, connectors and setpoints."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Connection, select

from connectors.storage.codec import BOOT_JSON, SAMPLE_JSON, SETPOINT_JSON
from connectors.storage.statements import upsert
from connectors.storage.tables import CONNECTOR_STATUS, EVSE_STATE, SESSION, STATION
from connectors.storage.topology import Topology
from connectors.storage.transactions import Transactions
from optimizer.domain.charger import Connector, ConnectorReported, ConnectorStatus, Setpoint, StationBooted
from optimizer.domain.ids import EvseId, SessionId, SiteId, StationId
from optimizer.domain.site import Evse


class DatabaseConnectorStore:
    """Keeps the last known state of stations, connectors and setpoints (port `ConnectorStore`)."""

    def __init__(self, transactions: Transactions, topology: Topology) -> None:
        self._transactions = transactions
        self._topology = topology

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

    async def save_safe_default(self, evse_id: EvseId, limit_kw: float) -> None:
        """Keep which safe default is known to be installed [kW]."""
        row = {"evse_id": evse_id, "safe_default_kw": limit_kw}
        await self._transactions.write(partial(upsert, table=EVSE_STATE, rows=[row]))

    async def connectors(self, site_id: SiteId) -> tuple[Connector, ...]:
        """Every EVSE of the site as last known; ``online`` is False, for the caller to fill in.

        Raises:
            NotFound: The site is unknown.
        """
        evses = self._topology.evses(site_id)
        return await self._transactions.read(partial(_connectors, site_id=site_id, evses=evses))


def _station_boots(connection: Connection) -> dict[StationId, StationBooted]:
    rows = connection.execute(select(STATION))
    return {StationId(row.station_id): BOOT_JSON.value(row.booted) for row in rows}


def _connectors(connection: Connection, site_id: SiteId, evses: tuple[Evse, ...]) -> tuple[Connector, ...]:
    statuses = {
        (row.station_id, row.ocpp_evse_id): ConnectorStatus(row.status)
        for row in connection.execute(
            select(CONNECTOR_STATUS).where(CONNECTOR_STATUS.c.station_id.in_({evse.station_id for evse in evses}))
        )
    }
    # Where two sessions were left open at one EVSE, the one that came last is on it.
    active = select(SESSION.c.evse_id, SESSION.c.id).where(
        SESSION.c.site_id == site_id, SESSION.c.unplugged_at.is_(None)
    )
    sessions = {
        row.evse_id: SessionId(row.id)
        for row in connection.execute(active.order_by(SESSION.c.plugged_in_at, SESSION.c.id))
    }
    states = {
        row.evse_id: row
        for row in connection.execute(select(EVSE_STATE).where(EVSE_STATE.c.evse_id.in_([evse.id for evse in evses])))
    }
    connectors = []
    for evse in evses:
        state = states.get(evse.id)
        connectors.append(
            Connector(
                evse_id=evse.id,
                station_id=evse.station_id,
                online=False,
                status=statuses.get((evse.station_id, evse.ocpp_evse_id), ConnectorStatus.UNKNOWN),
                session_id=sessions.get(evse.id),
                setpoint=SETPOINT_JSON.value(state.setpoint) if state and state.setpoint else None,
                safe_default_kw=state.safe_default_kw if state else None,
                last_sample=SAMPLE_JSON.value(state.last_sample) if state and state.last_sample else None,
            )
        )
    return tuple(connectors)
