"""Looks for alerts now and then, so that nobody has to ask: what comes and goes is logged and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import structlog

from api.service import Service
from api.station_alerts import OFFLINE_AFTER, AlertKind, Severity, StationAlert, station_alerts
from optimizer.domain.ids import EvseId
from optimizer.domain.site import Station

CONNECTING_WALL_S = 30.0
"""Time that a station has to connect again before it counts as offline [s]."""

log = structlog.get_logger(__name__)

_Key = tuple[AlertKind, str, EvseId | None]


async def alerts_at(service: Service, stations: Sequence[Station]) -> list[StationAlert]:
    """What an operator should look at now, at some stations of the site."""
    now = service.clock.now()
    # Connecting takes time on the wall, however fast the service's clock runs.
    patience = max(OFFLINE_AFTER, timedelta(seconds=CONNECTING_WALL_S / service.clock.wall_seconds(1.0)))
    tracking = {one.evse_id: one for one in await service.control.tracking()}
    connectors = {one.evse_id: one for one in await service.stores.connectors.connectors(service.site.id)}
    return [
        alert
        for station in stations
        for alert in station_alerts(station, service.reporter.report(station.id), connectors, tracking, now, patience)
    ]


class AlertWatch:
    """Tells of alerts when they come and when they go.

    Args:
        service: Whose stations are looked at.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._held: dict[_Key, StationAlert] = {}

    async def look(self) -> None:
        """Look at all stations once."""
        service = self._service
        found = await alerts_at(service, service.site.stations)
        alerts = {(alert.kind, alert.station_id, alert.evse_id): alert for alert in found}
        for key, alert in alerts.items():
            if key not in self._held:
                log.warning("station alert", **_told(alert))
        for key, alert in self._held.items():
            if key not in alerts:
                log.info("station alert is over", **_told(alert))
        self._held = alerts
        counts = Counter(alert.severity for alert in found)
        for severity in Severity:
            service.metrics.station_alerts.labels(severity.value).set(counts[severity])
        online = sum(service.gateway.is_online(station.id) for station in service.site.stations)
        service.metrics.stations_connected.set(online)


def _told(alert: StationAlert) -> dict[str, str | None]:
    return {
        "kind": alert.kind.value,
        "severity": alert.severity.value,
        "station_id": alert.station_id,
        "evse_id": alert.evse_id,
        "reason": alert.reason,
    }
