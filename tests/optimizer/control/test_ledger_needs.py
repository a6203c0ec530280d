"""The book of sessions: who needs what by when, and who may charge where."""

from __future__ import annotations

from datetime import timedelta

import pytest
from bench import SITE
from ledger_book import MINUTE, STATION, Book, told
from virtual_time import START

from optimizer.domain.charger import (
    VehicleNeeds,
)
from optimizer.domain.ids import EvseId, ReservationId, StationId, TokenId
from optimizer.domain.moment import Interval
from optimizer.domain.reservation import Reservation, ReservationStatus
from optimizer.domain.session import DepartureTarget, PriorityTier, TargetSource


def needs(minute: float = 5.0, **more: object) -> VehicleNeeds:
    return VehicleNeeds(STATION, 1, START + MINUTE * minute, **more)  # type: ignore[arg-type]


def test_without_a_word_a_default_is_assumed() -> None:
    async def story(book: Book) -> None:
        await book.until(1)
        await book.begin(1)
        (target,) = (await book.the_session()).targets
        assert target == DepartureTarget(
            START + MINUTE + timedelta(hours=8), energy_kwh=15.0, source=TargetSource.DEFAULT
        )

    told(story)


def test_what_the_vehicle_says_counts_until_somebody_asks_by_the_api() -> None:
    async def story(book: Book) -> None:
        await book.until(1)
        await book.begin(1)
        depart_at = START + timedelta(hours=3)
        assert await book.ledger.vehicle_needs(needs(depart_at=depart_at, energy_kwh=9.0, soc=0.4, max_power_kw=11.0))
        session = await book.the_session()
        assert session.targets == (DepartureTarget(depart_at, energy_kwh=9.0, source=TargetSource.VEHICLE),)
        assert (session.soc, session.vehicle.max_power_kw) == (0.4, 11.0)
        asked = DepartureTarget(depart_at, energy_kwh=20.0)
        assert (await book.ledger.set_targets(session.id, [asked])).targets == (asked,)
        assert not await book.ledger.vehicle_needs(needs(6, depart_at=depart_at, energy_kwh=5.0))
        assert (await book.the_session()).targets == (asked,)

    told(story)


@pytest.mark.parametrize(
    ("case", "need", "taken"),
    [
        ("energy alone: the departure assumed before", needs(energy_kwh=9.0), True),
        ("a state of charge alone is no target", needs(soc=0.4), False),
    ],
)
def test_partial_needs(case: str, need: VehicleNeeds, taken: bool) -> None:
    async def story(book: Book) -> None:
        await book.until(1)
        await book.begin(1)
        assert await book.ledger.vehicle_needs(need) is taken, case
        assert (await book.the_session()).depart_at == START + MINUTE + timedelta(hours=8)

    told(story)


def test_needs_without_a_vehicle_are_not_taken() -> None:
    async def story(book: Book) -> None:
        assert await book.ledger.vehicle_needs(needs(energy_kwh=9.0)) is False

    told(story)


def booked(minute: float = 60, evse: str | None = "a", token: str = "anna", **more: object) -> Reservation:
    window = Interval(START + MINUTE * minute, START + MINUTE * (minute + 240))
    given = {"energy_kwh": 30.0, **more}
    return Reservation(
        ReservationId("r1"),
        SITE,
        window,
        TokenId(token),
        None if evse is None else EvseId(evse),
        **given,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("case", "reservation", "minute", "token", "accepted", "fulfilled"),
    [
        ("the driver who booked it", booked(), 65, "anna", True, True),
        ("a little early", booked(), 40, "anna", True, True),
        ("much too early", booked(), 5, "anna", True, False),
        ("somebody else", booked(), 65, "ben", False, False),
        ("somebody else, long before", booked(), 5, "ben", True, False),
        ("somebody else, when nobody came", booked(), 95, "ben", True, False),
        ("another EVSE is booked", booked(evse="b"), 65, "ben", True, False),
        ("the driver at another EVSE", booked(evse="b"), 65, "anna", True, False),
        ("any EVSE is booked: the driver", booked(evse=None), 65, "anna", True, True),
        ("any EVSE is booked: somebody else", booked(evse=None), 65, "ben", True, False),
        ("cancelled", booked(status=ReservationStatus.CANCELED), 65, "ben", True, False),
    ],
)
def test_reservations(
    case: str, reservation: Reservation, minute: float, token: str, accepted: bool, fulfilled: bool
) -> None:
    async def story(book: Book) -> None:
        await book.stores.reservations.add(reservation)
        await book.until(minute)
        opened = await book.begin(minute, token=token)
        session = await book.the_session()
        kept = await book.stores.reservations.reservation(reservation.id)
        assert opened.accepted is accepted, case
        assert session.may_charge is accepted
        assert (kept.status is ReservationStatus.FULFILLED) is fulfilled
        assert (session.reservation_id == "r1") is fulfilled
        assert (session.tier is PriorityTier.RESERVED) is fulfilled
        assert (session.targets[0].source is TargetSource.RESERVATION) is fulfilled
        assert await book.begin(minute, token=token) == opened

    told(story)


@pytest.mark.parametrize(("case", "token", "allowed"), [("its driver", "anna", True), ("somebody else", "ben", False)])
def test_authorisation_at_a_reserved_station(case: str, token: str, allowed: bool) -> None:
    async def story(book: Book) -> None:
        await book.stores.reservations.add(booked())
        at = START + MINUTE * 65
        assert await book.ledger.authorize(STATION, TokenId(token), at) is allowed, case
        assert await book.ledger.authorize(StationId("station-b"), TokenId(token), at)
        assert await book.ledger.authorize(STATION, TokenId(token), START)

    told(story)


def test_a_token_that_nobody_knows() -> None:
    async def story(book: Book) -> None:
        await book.until(1)
        assert not await book.ledger.authorize(STATION, TokenId("eve"), START)
        opened = await book.begin(1, token="eve")
        assert not opened.accepted
        assert not (await book.the_session()).may_charge

    told(story, knows_token=lambda token: token != "eve")
