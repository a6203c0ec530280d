"""The last known state of stations, connectors and setpoints."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection, select

from connectors.storage.codec import BOOT_JSON, SETPOINT_JSON
from connectors.storage.occupancy import OccupancyBook
from connectors.storage.statements import upsert
from connectors.storage.tables import CONNECTOR_STATUS, EVSE_STATE, STATION
from connectors.storage.topology import Topology
from connectors.storage.transactions import Transactions
from optimizer.domain.charger import Connector, ConnectorReported, Setpoint, StationBooted
from optimizer.domain.ids import EvseId, SiteId, StationId
from optimizer.domain.snapshot import Occupancy


class DatabaseConnectorStore:
    """Keeps the last known state of stations, connectors and setpoints (port `ConnectorStore`)."""

    def __init__(self, transactions: Transactions, topology: Topology, occupancy: OccupancyBook) -> None:
        self._transactions = transactions
        self._topology = topology
        self._occupancy = occupancy

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
        evse_id = self._topology.evse_at(event.station_id, event.ocpp_evse_id)
        await self._transactions.write(keep_newer, [evse_id] if evse_id is not None else [])

    async def save_setpoint(self, setpoint: Setpoint) -> None:
        """Replace the setpoint of an EVSE."""
        await self.save_setpoints([setpoint])

    async def save_setpoints(self, setpoints: Sequence[Setpoint]) -> None:
        """Replace the setpoints of several EVSEs in one write."""
        rows = [{"evse_id": one.evse_id, "setpoint": SETPOINT_JSON.text(one)} for one in setpoints]
        evse_ids = [one.evse_id for one in setpoints]
        await self._transactions.write(partial(upsert, table=EVSE_STATE, rows=rows), evse_ids)

    async def save_safe_default(self, evse_id: EvseId, limit_kw: float | None) -> None:
        """Keep which safe default is known to be installed [kW]; ``None``: none is."""
        row = {"evse_id": evse_id, "safe_default_kw": limit_kw}
        await self._transactions.write(partial(upsert, table=EVSE_STATE, rows=[row]), [evse_id])

    async def occupancy(self, site_id: SiteId) -> Occupancy:
        """Every EVSE of the site as last known and the vehicles at them, of one moment; ``online`` as below.

        Raises:
            NotFound: The site is unknown.
        """
        return await self._occupancy.of_site(site_id).now()

    async def connectors(self, site_id: SiteId) -> tuple[Connector, ...]:
        """Every EVSE of the site as last known; ``online`` is False, for the caller to fill in.

        Raises:
            NotFound: The site is unknown.
        """
        return tuple((await self.occupancy(site_id)).connectors.values())

    async def connector(self, site_id: SiteId, evse_id: EvseId) -> Connector:
        """One EVSE of the site as last known.

        Raises:
            NotFound: The site is unknown, or has no such EVSE.
        """
        evse = self._topology.evse(site_id, evse_id)
        return await self._occupancy.of_site(site_id).connector(evse)


def _station_boots(connection: Connection) -> dict[StationId, StationBooted]:
    rows = connection.execute(select(STATION))
    return {StationId(row.station_id): BOOT_JSON.value(row.booted) for row in rows}
