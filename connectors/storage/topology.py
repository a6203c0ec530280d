"""Which station and EVSE stand at which site, as far as the stores need to know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from optimizer.domain.ids import EvseId, SiteId, StationId
from optimizer.domain.site import Evse, Site
from optimizer.errors import InvalidConfiguration, NotFound


class Topology:
    """The sites of one database.

    Args:
        sites: The sites; station and EVSE ids are unique over all of them.

    Raises:
        InvalidConfiguration: A site, station or EVSE id occurs twice.
    """

    def __init__(self, sites: Sequence[Site]) -> None:
        _check_unique("sites.id", [site.id for site in sites])
        _check_unique("stations.id", [station.id for site in sites for station in site.stations])
        _check_unique("evses.id", [evse_id for site in sites for evse_id in site.evses])
        self._sites = {site.id: site for site in sites}
        self._evse_at = {
            (evse.station_id, evse.ocpp_evse_id): evse.id for site in sites for evse in site.evses.values()
        }
        self._site_of_station = {station.id: site.id for site in sites for station in site.stations}

    def evses(self, site_id: SiteId) -> tuple[Evse, ...]:
        """The EVSEs of a site in the order of its stations.

        Raises:
            NotFound: The site is unknown.
        """
        return tuple(self._site(site_id).evses.values())

    def evse(self, site_id: SiteId, evse_id: EvseId) -> Evse:
        """One EVSE of a site.

        Raises:
            NotFound: The site is unknown, or has no such EVSE.
        """
        evse = self._site(site_id).evses.get(evse_id)
        if evse is None:
            raise NotFound("EVSE", evse_id)
        return evse

    def evse_at(self, station_id: StationId, ocpp_evse_id: int) -> EvseId | None:
        """The EVSE of a number at a station; ``None`` where there is none."""
        return self._evse_at.get((station_id, ocpp_evse_id))

    def site_of(self, station_id: StationId) -> SiteId | None:
        """The site that a station stands at; ``None`` for an unknown station."""
        return self._site_of_station.get(station_id)

    def _site(self, site_id: SiteId) -> Site:
        if site_id not in self._sites:
            raise NotFound("site", site_id)
        return self._sites[site_id]


def _check_unique(field: str, identifiers: Sequence[str]) -> None:
    repeated = sorted(identifier for identifier, count in Counter(identifiers).items() if count > 1)
    if repeated:
        raise InvalidConfiguration(field, repeated, "give each its own id over all sites of the database")
