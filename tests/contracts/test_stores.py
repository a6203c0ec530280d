"""What every implementation of the stores must do: the databases of the service, and the memory of the replays."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta, timezone
from decimal import Decimal

import pytest
from store_cases import (
    DEPOT,
    FIGURES,
    FULL_SESSION,
    HELD,
    OFFICE,
    OTHER_EVSE,
    SETPOINT,
    STATION,
    asked,
    at,
    booked,
    fields_left_at_default,
    plan_of,
    reading_at,
    record_of,
    sample_at,
    session_of,
)

from optimizer.domain.charger import (
    TransactionBegun,
)
from optimizer.domain.ids import (
    EvseId,
    SessionId,
    StationId,
    TokenId,
    TransactionId,
)
from optimizer.domain.plan import (
    Fallback,
)
from optimizer.domain.session import Session
from optimizer.errors import Conflict, NotFound
from optimizer.ports import Stores


class TestSessions:
    @pytest.mark.parametrize(
        "session", [session_of("bare"), FULL_SESSION], ids=["nothing but a plug-in", "every field filled"]
    )
    async def test_a_saved_session_reads_back_equal(self, stores: Stores, session: Session) -> None:
        await stores.sessions.save_session(session)
        assert await stores.sessions.session(session.id) == session

    def test_the_full_session_is_full(self) -> None:
        assert fields_left_at_default(FULL_SESSION) == []
        assert fields_left_at_default(FULL_SESSION.vehicle) == []

    async def test_saving_again_replaces(self, stores: Stores) -> None:
        await stores.sessions.save_session(session_of("one"))
        later = replace(session_of("one"), energy_kwh=7.5, unplugged_at=at(9))
        await stores.sessions.save_session(later)
        assert await stores.sessions.sessions(DEPOT) == (later,)

    async def test_an_unknown_session_is_not_found(self, stores: Stores) -> None:
        with pytest.raises(NotFound, match="nobody"):
            await stores.sessions.session(SessionId("nobody"))
        with pytest.raises(NotFound, match="nobody"):
            await stores.sessions.sessions(DEPOT, after=SessionId("nobody"))

    async def test_sessions_since_a_moment(self, stores: Stores) -> None:
        early, late = session_of("early", plugged_in=7.0), session_of("late", plugged_in=9.0)
        for session in (late, early, session_of("elsewhere", plugged_in=9.5, site_id=OFFICE)):
            await stores.sessions.save_session(session)
        assert await stores.sessions.sessions_since(DEPOT, at(7)) == (early, late)
        assert await stores.sessions.sessions_since(DEPOT, at(7.5)) == (late,)
        assert await stores.sessions.sessions_since(DEPOT, at(9.1)) == ()

    async def test_sessions_come_in_the_order_of_plug_in_page_by_page(self, stores: Stores) -> None:
        late, early, tied = (
            session_of("a", plugged_in=10),
            session_of("c", plugged_in=8),
            session_of("b", plugged_in=10),
        )
        for session in (tied, late, early):
            await stores.sessions.save_session(session)
        assert await stores.sessions.sessions(DEPOT) == (early, late, tied)
        assert await stores.sessions.sessions(DEPOT, limit=2) == (early, late)
        assert await stores.sessions.sessions(DEPOT, after=late.id, limit=2) == (tied,)
        assert await stores.sessions.sessions(DEPOT, after=tied.id) == ()

    async def test_the_session_that_lasts_at_an_evse(self, stores: Stores) -> None:
        gone = replace(session_of("gone"), unplugged_at=at(9))
        there = session_of("there", plugged_in=9)
        for session in (gone, there, session_of("elsewhere", evse_id=EvseId("office-1/1"), site_id=OFFICE)):
            await stores.sessions.save_session(session)
        assert await stores.sessions.active_session_at(there.evse_id) == there
        await stores.sessions.save_session(replace(there, unplugged_at=at(10)))
        assert await stores.sessions.active_session_at(there.evse_id) is None
        assert await stores.sessions.active_session_at(EvseId("unknown")) is None

    async def test_active_ones_and_other_sites_are_told_apart(self, stores: Stores) -> None:
        gone = replace(session_of("gone"), unplugged_at=at(9))
        there = session_of("there", plugged_in=9)
        elsewhere = session_of("elsewhere", evse_id=EvseId("office-1/1"), site_id=OFFICE)
        for session in (gone, there, elsewhere):
            await stores.sessions.save_session(session)
        assert await stores.sessions.sessions(DEPOT, active_only=True) == (there,)
        assert await stores.sessions.sessions(OFFICE) == (elsewhere,)


BEGUN = TransactionBegun(STATION, 1, at(8), TokenId("token"), None, Decimal("1.50"))


class TestTransactions:
    async def test_the_service_gives_whole_digits_and_stores_the_session_with_them(self, stores: Stores) -> None:
        opened = await stores.sessions.open_transaction(BEGUN, session_of("one"))
        assert opened.session_id == "one"
        assert opened.transaction_id.isdecimal()
        assert 0 < int(opened.transaction_id) < 2**31
        stored = await stores.sessions.session_of_transaction(STATION, opened.transaction_id)
        assert stored == replace(session_of("one"), transaction_id=opened.transaction_id)

    @pytest.mark.parametrize(
        "repeat",
        [
            BEGUN,
            replace(BEGUN, register_kwh=Decimal("1.5")),
            replace(BEGUN, at=BEGUN.at.astimezone(timezone(timedelta(hours=1)))),
            replace(BEGUN, reservation_ref=7),
            replace(BEGUN, at=BEGUN.at + timedelta(seconds=95), stamped_at=BEGUN.at),
        ],
        ids=[
            "byte for byte",
            "register with fewer zeros",
            "same instant in another zone",
            "reservation told too",
            "sent with the same stamp, by a clock that is known better now",
        ],
    )
    async def test_a_repeat_gets_the_first_answer_and_opens_no_session(
        self, stores: Stores, repeat: TransactionBegun
    ) -> None:
        first = await stores.sessions.open_transaction(BEGUN, session_of("one"))
        assert await stores.sessions.open_transaction(repeat, session_of("two")) == first
        assert [session.id for session in await stores.sessions.sessions(DEPOT)] == ["one"]

    @pytest.mark.parametrize(
        "another",
        [
            replace(BEGUN, station_id=StationId("depot-2")),
            replace(BEGUN, ocpp_evse_id=2),
            replace(BEGUN, token_id=None),
            replace(BEGUN, register_kwh=Decimal("1.51")),
            replace(BEGUN, register_kwh=None),
            replace(BEGUN, at=at(8) + timedelta(microseconds=1)),
            replace(BEGUN, stamped_at=at(8) - timedelta(seconds=1)),
            replace(BEGUN, transaction_id=TransactionId("given")),
        ],
        ids=["station", "EVSE", "token", "register", "no register", "time", "time stamp", "id given by the station"],
    )
    async def test_what_differs_is_another_transaction(self, stores: Stores, another: TransactionBegun) -> None:
        first = await stores.sessions.open_transaction(BEGUN, session_of("one"))
        second = await stores.sessions.open_transaction(another, session_of("two"))
        assert second.session_id == "two"
        assert second.transaction_id != first.transaction_id

    async def test_an_id_given_by_the_station_is_kept_and_belongs_to_it(self, stores: Stores) -> None:
        given = replace(BEGUN, transaction_id=TransactionId("abc-1"))
        elsewhere = replace(given, station_id=StationId("depot-2"))
        assert (await stores.sessions.open_transaction(given, session_of("one"))).transaction_id == "abc-1"
        await stores.sessions.open_transaction(elsewhere, session_of("two", evse_id=OTHER_EVSE))
        repeated = replace(given, at=at(9), register_kwh=None)
        assert (await stores.sessions.open_transaction(repeated, session_of("three"))).session_id == "one"
        found = await stores.sessions.session_of_transaction(StationId("depot-2"), TransactionId("abc-1"))
        assert found is not None
        assert found.id == "two"

    async def test_many_at_once_get_different_ids(self, stores: Stores) -> None:
        events = [replace(BEGUN, at=at(8) + timedelta(seconds=number)) for number in range(30)]
        opened = await asyncio.gather(
            *(stores.sessions.open_transaction(event, session_of(f"s{n}")) for n, event in enumerate(events))
        )
        assert len({answer.transaction_id for answer in opened}) == 30

    async def test_it_is_found_after_the_session_has_ended(self, stores: Stores) -> None:
        opened = await stores.sessions.open_transaction(BEGUN, session_of("one"))
        ended = replace(session_of("one"), unplugged_at=at(9))
        await stores.sessions.save_session(ended)
        assert await stores.sessions.session_of_transaction(STATION, opened.transaction_id) == ended
        assert await stores.sessions.session_of_transaction(STATION, TransactionId("unknown")) is None


class TestTogether:
    async def test_all_of_a_block_is_stored(self, stores: Stores) -> None:
        async with stores.together():
            await stores.sessions.save_session(session_of("one"))
            await stores.records.add_record(record_of("r"))
        assert await stores.sessions.session(SessionId("one")) == session_of("one")
        assert await stores.records.records(DEPOT) == (record_of("r"),)

    async def test_nothing_of_a_block_that_fails_is_stored(self, stores: Stores) -> None:
        await stores.sessions.save_session(session_of("one"))
        with pytest.raises(LookupError, match="in the middle"):  # noqa: PT012 - the block is what fails
            async with stores.together():
                await stores.sessions.save_session(replace(session_of("one"), pauses=5))
                await stores.sessions.open_transaction(BEGUN, session_of("two"))
                await stores.meters.add_samples([sample_at(8)], [SessionId("one")])
                await stores.meters.add_site_reading(reading_at(8))
                await stores.connectors.save_setpoint(SETPOINT)
                await stores.plans.save_outcome(Fallback(plan_of("p", 8), "h", "r", FIGURES), "t")
                await stores.reservations.add(HELD)
                await stores.grid_events.save(asked("e", (9, 10)))
                await stores.records.add_record(record_of("r"))
                raise LookupError("in the middle")
        assert await stores.sessions.sessions(DEPOT) == (session_of("one"),)
        assert await stores.meters.station_samples(DEPOT, at(0), at(24)) == ()
        assert await stores.meters.latest_site_reading(DEPOT) is None
        assert (await stores.connectors.connectors(DEPOT))[0].setpoint is None
        assert (await stores.connectors.connectors(DEPOT))[0].last_sample is None
        assert await stores.plans.latest_plan(DEPOT) is None
        assert await stores.reservations.reservations(DEPOT, at(0), at(24)) == ()
        assert await stores.grid_events.events(DEPOT, at(0), at(24)) == ()
        assert await stores.records.records(DEPOT) == ()
        assert await stores.records.undelivered(at(24), 10) == ()

    async def test_after_a_failed_block_the_same_calls_work(self, stores: Stores) -> None:
        with pytest.raises(LookupError):  # noqa: PT012 - the block is what fails
            async with stores.together():
                await stores.sessions.open_transaction(BEGUN, session_of("one"))
                raise LookupError
        opened = await stores.sessions.open_transaction(BEGUN, session_of("two"))
        assert opened.session_id == "two"

    async def test_a_block_reads_what_it_wrote(self, stores: Stores) -> None:
        async with stores.together():
            await stores.sessions.save_session(session_of("one"))
            assert await stores.sessions.sessions(DEPOT, active_only=True) == (session_of("one"),)

    async def test_a_refused_call_leaves_the_rest_of_the_block(self, stores: Stores) -> None:
        await stores.reservations.add(HELD)
        async with stores.together():
            await stores.sessions.save_session(session_of("one"))
            with pytest.raises(Conflict):
                await stores.reservations.add(booked("new", 10, 12))
            await stores.sessions.save_session(session_of("two"))
        assert len(await stores.sessions.sessions(DEPOT)) == 2

    async def test_a_block_inside_another_is_part_of_it(self, stores: Stores) -> None:
        with pytest.raises(LookupError):  # noqa: PT012 - the block is what fails
            async with stores.together():
                async with stores.together():
                    await stores.sessions.save_session(session_of("one"))
                raise LookupError
        assert await stores.sessions.sessions(DEPOT) == ()

    async def test_other_tasks_are_not_undone_with_a_block(self, stores: Stores) -> None:
        opened, saved = asyncio.Event(), asyncio.Event()

        async def failing() -> None:
            async with stores.together():
                await stores.sessions.save_session(session_of("mine"))
                opened.set()
                await asyncio.sleep(0)
                raise LookupError

        async def saving() -> None:
            await opened.wait()
            await stores.sessions.save_session(session_of("theirs"))
            saved.set()

        await asyncio.gather(failing(), saving(), return_exceptions=True)
        assert saved.is_set()
        assert await stores.sessions.sessions(DEPOT) == (session_of("theirs"),)
