"""A booked place from the booking to the vehicle, or to nobody, over real WebSockets."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from governed import CONTROL, EVSE, Governed, governed, minutes
from meeting import STATION
from station_wire import TOKEN, V16, V201

from connectors.ocpp.operations import StationOperations
from connectors.ocpp.security import StaticCredentials
from optimizer.control.notices import ReservationNotices, reference_of
from optimizer.domain.charger import ConnectorStatus
from optimizer.domain.ids import ReservationId, TokenId
from optimizer.domain.moment import Interval
from optimizer.domain.reservation import Reservation, ReservationStatus
from scenarios.station_settings import OcppVersion
from scenarios.vehicle_model import VehicleModel

BOTH = pytest.mark.parametrize("version", [V16, V201])
STRANGER = TokenId("STRANGER")


class Booked:
    """A place booked from an hour on for two hours, and what the station hears of it."""

    def __init__(self, service: Governed) -> None:
        self.service = service
        operations = StationOperations(service.system.link, StaticCredentials({}))
        self.operations = operations
        self.notices = ReservationNotices(
            service.site, service.stores, service.controller.loop._gateway, operations, service.clock, CONTROL
        )
        start = service.clock.now() + minutes(60)
        self.reservation = Reservation(
            ReservationId("booked"), service.site.id, Interval(start, start + minutes(120)), TOKEN, EVSE
        )

    async def made(self) -> Booked:
        await self.service.stores.reservations.add(self.reservation)
        await self.look()
        return self

    async def look(self) -> None:
        await self.notices.tell()
        await self.service.told()

    async def wait(self, count: float) -> None:
        """Time passes, with a look every minute."""
        for _ in range(round(count)):
            await self.service.pass_time(60, step_s=60)
            await self.look()

    async def status(self) -> ReservationStatus:
        return (await self.service.stores.reservations.reservation(self.reservation.id)).status

    @property
    def held_for(self) -> TokenId | None:
        held = self.service.station.core.evses[1].reservation
        return held.token_id if held is not None else None

    def asked(self, action: str) -> list[dict[str, Any]]:
        return self.service.asked(action)


@BOTH
async def test_the_station_hears_of_it_close_to_the_arrival_and_not_before(version: OcppVersion) -> None:
    async with governed(version) as service:
        booked = await Booked(service).made()
        await booked.wait(29)
        assert booked.asked("ReserveNow") == [], "booking tells no station anything"
        await booked.wait(6)
        (told,) = booked.asked("ReserveNow")
        number = reference_of(booked.reservation.id)
        assert number in (told.get("reservationId"), told.get("id"))
        until = told.get("expiryDate") or told.get("expiryDateTime")
        assert datetime.fromisoformat(until) == booked.reservation.window.start + minutes(30), "until nobody came"
        assert booked.held_for == TOKEN
        connectors = await service.stores.connectors.connectors(service.site.id)
        assert connectors[0].status is ConnectorStatus.RESERVED


@BOTH
async def test_its_driver_charges_and_the_reservation_is_fulfilled(version: OcppVersion) -> None:
    async with governed(version) as service:
        booked = await Booked(service).made()
        await booked.wait(50)
        await service.plug_in()
        session = await service.session()
        assert (session.reservation_id, session.may_charge) == ("booked", True)
        assert await booked.status() is ReservationStatus.FULFILLED
        await booked.wait(3)
        assert service.power_kw > 0.0
        assert len(booked.asked("ReserveNow")) == 1


@BOTH
async def test_a_stranger_is_refused_at_authorize(version: OcppVersion) -> None:
    """Also where the station itself was not told, or takes no notice."""
    async with governed(version) as service:
        booked = await Booked(service).made()
        await service.pass_time(40 * 60, step_s=300)
        assert booked.held_for is None
        visit = service.station.plug_in(1, VehicleModel(20.0), STRANGER, service.clock.now(), None)
        await service.until(lambda: visit.refused)
        assert visit.transaction is None
        await service.pass_time(60)
        assert service.power_kw == 0.0


@BOTH
async def test_a_stranger_that_starts_all_the_same_gets_no_power(version: OcppVersion) -> None:
    """A station that asks nobody, as some do from a cache: the start is answered with no, and the limit is zero."""
    async with governed(version) as service:
        booked = await Booked(service).made()
        await service.pass_time(40 * 60, step_s=300)
        core = service.station.core
        core.dialect.read_authorize = lambda _: True  # type: ignore[method-assign]
        await service.plug_in(token_id=STRANGER)
        assert not (await service.session()).may_charge
        await service.pass_time(30, plan=True)
        assert service.power_kw == 0.0
        assert await booked.status() is ReservationStatus.RESERVED


@BOTH
async def test_a_remote_start_for_a_stranger_is_not_sent(version: OcppVersion) -> None:
    async with governed(version) as service:
        booked = await Booked(service).made()
        await booked.wait(40)
        ledger = service.controller.ledger
        assert not await ledger.may_start(EVSE, STRANGER)
        assert await ledger.may_start(EVSE, TOKEN)
        reply = await booked.operations.start(STATION, 1, TOKEN)
        assert reply.accepted


@BOTH
async def test_nobody_comes_and_the_place_is_free(version: OcppVersion) -> None:
    async with governed(version) as service:
        booked = await Booked(service).made()
        await booked.wait(40)
        assert booked.held_for == TOKEN
        # The station's clock is slow, or it forgets to let go by itself.
        state = service.station.core.evses[1]
        state.reservation = replace(state.reservation, expires_at=booked.reservation.window.end)
        await service.pass_time(51 * 60, step_s=180)
        await service.controller.step("period")
        assert await booked.status() is ReservationStatus.NO_SHOW
        await booked.look()
        assert [one["reservationId"] for one in booked.asked("CancelReservation")] == [
            reference_of(ReservationId("booked"))
        ]
        assert booked.held_for is None
        await booked.wait(2)
        assert len(booked.asked("CancelReservation")) == 1, "once is enough"
        await service.plug_in(token_id=STRANGER)
        assert (await service.session()).may_charge


@BOTH
async def test_a_cancelled_one_is_taken_back_also_after_a_restart_of_the_service(version: OcppVersion) -> None:
    async with governed(version) as service:
        booked = await Booked(service).made()
        await booked.wait(40)
        kept = await service.stores.reservations.reservation(booked.reservation.id)
        await service.stores.reservations.save(
            Reservation(
                kept.id, kept.site_id, kept.window, kept.token_id, kept.evse_id,
                status=ReservationStatus.CANCELED, version=kept.version + 1,
            )
        )  # fmt: skip
        await Booked(service).look()
        assert len(booked.asked("CancelReservation")) == 1
        assert booked.held_for is None


@BOTH
async def test_it_is_told_again_to_a_station_that_started_anew_and_after_a_vehicle_that_was_in_the_way(
    version: OcppVersion,
) -> None:
    async with governed(version, boots_on_reconnect=True) as service:
        booked = await Booked(service).made()
        await service.plug_in(token_id=STRANGER)
        await booked.wait(40)
        assert booked.asked("ReserveNow") == [], "there is a vehicle"
        service.station.unplug(1, service.clock.now())
        await service.told()
        await booked.wait(1)
        assert len(booked.asked("ReserveNow")) == 1
        await service.restart_station()
        await booked.wait(1)
        assert len(booked.asked("ReserveNow")) == 2
        assert booked.held_for == TOKEN
