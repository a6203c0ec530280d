"""What the databases do beyond the contract of all stores."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from connectors.storage import DatabaseStores, open_stores
from connectors.storage.database import database_url, writing_lane
from optimizer.domain.cost import EnergyCostRecord, RecordStatus
from optimizer.domain.event import GridEvent, GridEventKind
from optimizer.domain.ids import EvseId, GridEventId, RecordId, ReservationId, SessionId, SiteId, TariffId, TokenId
from optimizer.domain.moment import Interval
from optimizer.domain.reservation import Reservation, ReservationStatus
from optimizer.domain.session import Session
from optimizer.errors import Conflict, InvalidConfiguration, InvalidInput, NotFound

if TYPE_CHECKING:
    from conftest import PostgresqlServer

DEPOT = SiteId("depot")
DAY = datetime(2026, 3, 1, tzinfo=UTC)
RECORD = EnergyCostRecord(
    RecordId("r"), DEPOT, SessionId("s"), RecordStatus.FINAL, DAY, Interval(DAY, DAY + timedelta(hours=1)), "EUR",
    Decimal(1), (), TariffId("flat"), "1", "m", "0" * 64,
)  # fmt: skip


def booked(name: str, start: int, end: int, status: ReservationStatus = ReservationStatus.RESERVED) -> Reservation:
    window = Interval(DAY + timedelta(hours=start), DAY + timedelta(hours=end))
    return Reservation(ReservationId(name), DEPOT, window, TokenId("t"), EvseId("depot-1/1"), status=status)


class TestReservations:
    async def test_a_window_cannot_be_moved_onto_another(self, database_stores: DatabaseStores) -> None:
        reservations = database_stores.reservations
        await reservations.add(booked("first", 8, 10))
        await reservations.add(booked("second", 10, 12))
        with pytest.raises(Conflict, match="first"):
            await reservations.save(replace(booked("second", 9, 12), version=2))
        await reservations.save(replace(booked("second", 11, 13), version=2))
        assert await reservations.reservation(ReservationId("second")) == replace(booked("second", 11, 13), version=2)

    async def test_a_cancelled_one_does_not_come_back_where_another_is(self, database_stores: DatabaseStores) -> None:
        reservations = database_stores.reservations
        await reservations.add(booked("first", 8, 10))
        await reservations.save(replace(booked("first", 8, 10, ReservationStatus.CANCELED), version=2))
        await reservations.add(booked("second", 9, 11))
        with pytest.raises(Conflict, match="second"):
            await reservations.save(replace(booked("first", 8, 10), version=3))

    async def test_one_that_does_not_stand_needs_no_free_evse(self, database_stores: DatabaseStores) -> None:
        await database_stores.reservations.add(booked("first", 8, 10))
        await database_stores.reservations.add(booked("second", 8, 10, ReservationStatus.REJECTED))


class TestDelivery:
    async def test_a_record_that_does_not_exist_cannot_be_delivered(self, database_stores: DatabaseStores) -> None:
        with pytest.raises(NotFound, match="r"):
            await database_stores.records.mark_delivered(RECORD.id, DAY)
        with pytest.raises(NotFound, match="r"):
            await database_stores.records.mark_failed(RECORD.id, DAY, "refused")

    async def test_what_was_delivered_stays_delivered(self, database_stores: DatabaseStores) -> None:
        records = database_stores.records
        await records.add_record(RECORD)
        await records.mark_delivered(RECORD.id, DAY)
        await records.mark_failed(RECORD.id, DAY, "an answer that came late")
        await records.mark_delivered(RECORD.id, DAY)
        assert await records.undelivered(DAY + timedelta(days=1), 10) == ()


async def test_a_grid_event_without_intervals_is_refused(database_stores: DatabaseStores) -> None:
    with pytest.raises(InvalidInput, match="intervals"):
        await database_stores.grid_events.save(GridEvent(GridEventId("e"), DEPOT, GridEventKind.IMPORT_LIMIT, (), DAY))


async def test_the_connector_names_the_session_on_it(database_stores: DatabaseStores) -> None:
    gone = Session(SessionId("gone"), DEPOT, EvseId("depot-1/1"), DAY, unplugged_at=DAY + timedelta(hours=1))
    there = Session(SessionId("there"), DEPOT, EvseId("depot-1/1"), DAY + timedelta(hours=2))
    for session in (there, gone):
        await database_stores.sessions.save_session(session)
    connectors = await database_stores.connectors.connectors(DEPOT)
    assert [connector.session_id for connector in connectors] == ["there", None]


class TestPostgresql:
    async def test_connections_that_the_server_closed_are_replaced(self, postgresql_server: PostgresqlServer) -> None:
        url = postgresql_server.new_database()
        session = Session(SessionId("one"), DEPOT, EvseId("depot-1/1"), DAY)
        end_others = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        async with await open_stores(url) as stores:
            await stores.sessions.save_session(session)
            assert await stores.sessions.session(session.id) == session
            lane = writing_lane(database_url(url))
            await lane.run(lambda connection: connection.execute(end_others).all())
            await lane.close()
            await stores.sessions.save_session(replace(session, pauses=1))
            assert (await stores.sessions.session(session.id)).pauses == 1

    async def test_a_database_that_does_not_exist_is_named(self, postgresql_server: PostgresqlServer) -> None:
        url = postgresql_server.shared_database.replace("/postgres?", "/nothing?")
        with pytest.raises(InvalidConfiguration, match='database "nothing" does not exist'):
            await open_stores(url)

    async def test_without_the_driver_it_is_said_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("connectors.storage.database.find_spec", lambda _: None)
        with pytest.raises(InvalidConfiguration, match=r"install chargehorizon\[postgresql\]"):
            await open_stores("postgresql://user:secret@host/name")
