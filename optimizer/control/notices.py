"""Stations are told of a reservation shortly before its vehicle is expected, and that it is over.

    booked ────────────── early arrival ──────────── start ──────────── no-show
                          ReserveNow                                    CancelReservation
                          or when the place has become free             also when cancelled or fulfilled elsewhere

The station only shows it, and may refuse a stranger by itself: who may charge is decided by the service
(`optimizer.control.claims`), whatever a station was told or makes of it. So nothing of this is kept: after a restart of
the service or of the station it is told again.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from hashlib import blake2b

from optimizer.control.settings import ControlSettings
from optimizer.control.stay_rules import VACANT
from optimizer.domain.charger import StationBooted
from optimizer.domain.ids import EvseId, ReservationId, StationId
from optimizer.domain.reservation import Reservation, ReservationStatus
from optimizer.domain.site import Site
from optimizer.errors import ChargerRefused, ChargerUnreachable, InvalidInput
from optimizer.operator_ports import StationReserver
from optimizer.ports import ChargerGateway, Clock, Stores

_LOG = logging.getLogger(__name__)

RETRY = timedelta(minutes=5)
"""Time before a station that said no is asked again: a vehicle may have been in the way."""


def reference_of(reservation_id: ReservationId) -> int:
    """The whole number by which OCPP knows a reservation, the same after every restart."""
    return int.from_bytes(blake2b(reservation_id.encode(), digest_size=4).digest()) >> 1


class ReservationNotices:
    """Tells the stations of one site whom their EVSEs are kept for.

    Args:
        site: Whose stations.
        stores: Where reservations and connectors are kept.
        gateway: Knows which stations are there.
        reserver: Tells them.
        clock: Time.
        settings: How early a vehicle may come.
    """

    def __init__(
        self,
        site: Site,
        stores: Stores,
        gateway: ChargerGateway,
        reserver: StationReserver,
        clock: Clock,
        settings: ControlSettings,
    ) -> None:
        self._site = site
        self._stores = stores
        self._gateway = gateway
        self._reserver = reserver
        self._clock = clock
        self._early = timedelta(minutes=settings.early_arrival_minutes)
        self._told: dict[ReservationId, tuple[EvseId, StationBooted | None]] = {}
        self._withdrawn: set[ReservationId] = set()
        self._again_at: dict[ReservationId, datetime] = {}

    async def tell(self) -> None:
        """Tell what is due: of places to be kept, and of those that are free again."""
        now = self._clock.now()
        earlier, until = now - timedelta(days=1), now + self._early + timedelta(microseconds=1)
        near = await self._stores.reservations.reservations(self._site.id, earlier, until)
        self._forget_but({held.id for held in near})
        if not near:
            return
        boots = await self._stores.connectors.station_boots()
        vacant = {
            connector.evse_id
            for connector in await self._stores.connectors.connectors(self._site.id)
            if connector.status in VACANT and connector.session_id is None
        }
        for held in near:
            evse_id = held.evse_id
            if evse_id not in self._site.evses:
                continue
            boot = boots.get(self._site.evses[evse_id].station_id)
            if _is_awaited(held, now):
                if evse_id in vacant and self._told.get(held.id) != (evse_id, boot):
                    await self._keep(held, evse_id, boot, now)
            elif _may_be_held(held, now) or held.id in self._told:
                await self._give_up(held.id, evse_id, now)

    async def _keep(self, held: Reservation, evse_id: EvseId, boot: StationBooted | None, now: datetime) -> None:
        evse = self._site.evses[evse_id]
        if not self._is_time(held.id, evse.station_id, now):
            return
        try:
            reply = await self._reserver.reserve(
                evse.station_id, reference_of(held.id), evse.ocpp_evse_id, held.token_id, _kept_until(held)
            )
        except ChargerUnreachable:
            return
        except (ChargerRefused, InvalidInput) as error:
            # It knows no reservations: it is not asked again before it starts anew.
            _LOG.info("EVSE %s shows no reservation: %s", evse_id, error)
            self._told[held.id] = (evse_id, boot)
            return
        if reply.accepted:
            self._told[held.id] = (evse_id, boot)
            self._withdrawn.discard(held.id)
        else:
            self._again_at[held.id] = now + RETRY

    async def _give_up(self, reservation_id: ReservationId, evse_id: EvseId, now: datetime) -> None:
        station_id = self._site.evses[evse_id].station_id
        if reservation_id in self._withdrawn or not self._is_time(reservation_id, station_id, now):
            return
        try:
            await self._reserver.cancel_reservation(station_id, reference_of(reservation_id))
        except ChargerUnreachable:
            return
        except ChargerRefused as error:
            _LOG.info("EVSE %s takes back no reservation: %s", evse_id, error)
        # A station that says no has none.
        self._withdrawn.add(reservation_id)
        self._told.pop(reservation_id, None)
        self._again_at.pop(reservation_id, None)

    def _forget_but(self, near: set[ReservationId]) -> None:
        for reservation_id in {*self._told, *self._withdrawn, *self._again_at} - near:
            self._told.pop(reservation_id, None)
            self._withdrawn.discard(reservation_id)
            self._again_at.pop(reservation_id, None)

    def _is_time(self, reservation_id: ReservationId, station_id: StationId, now: datetime) -> bool:
        return self._gateway.is_online(station_id) and now >= self._again_at.get(reservation_id, now)


def _kept_until(held: Reservation) -> datetime:
    """When a place is given up."""
    return min(held.window.end, held.window.start + timedelta(minutes=held.no_show_after_minutes))


def _is_awaited(held: Reservation, now: datetime) -> bool:
    return held.status is ReservationStatus.RESERVED and now < _kept_until(held)


def _may_be_held(held: Reservation, now: datetime) -> bool:
    """Whether a station may still keep a place that is given up, as it was told before the service started anew."""
    given_up = held.status in (ReservationStatus.CANCELED, ReservationStatus.NO_SHOW)
    return given_up and now < held.window.end
