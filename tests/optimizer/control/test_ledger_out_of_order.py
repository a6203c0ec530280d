"""The book of sessions where stations tell late, out of order, what nobody knows, or nothing."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from ledger_book import AVAILABLE, CHARGING, MINUTE, PREPARING, STATION, Book, told
from virtual_time import START

from optimizer.domain.charger import (
    ConnectorReported,
    ConnectorStatus,
    StationBooted,
    StationHabits,
    TransactionBegun,
    TransactionFinished,
    VehicleNeeds,
)
from optimizer.domain.ids import EvseId
from optimizer.domain.metering import MeterSample, ReadingReason, SampleQuality
from optimizer.errors import NotFound


@pytest.mark.parametrize(
    ("case", "transaction", "power_kw", "status", "adopted"),
    [
        ("an unknown transaction that draws", "77", 6.0, None, "77"),
        ("an unknown transaction at an occupied connector", "77", 0.0, CHARGING, None),
        ("no transaction told, but it draws", None, 6.0, None, None),
        ("the id of no transaction, but it draws", "-1", 6.0, None, None),
        ("the id of no transaction, zero", "0", 6.0, None, None),
    ],
)
def test_adoption(
    case: str, transaction: str | None, power_kw: float, status: ConnectorStatus | None, adopted: str | None
) -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        if status is not None:
            await book.status(5, status)
            (plugged,) = await book.sessions()
            await book.stores.sessions.save_session(plugged)
        await book.sample(10, "100.0", power_kw, transaction)
        await book.sample(20, "101.0", power_kw, transaction)
        session = await book.the_session()
        assert session.transaction_id == (adopted or ("77" if transaction == "77" else None)), case
        assert session.energy_kwh == pytest.approx(1.0)
        assert [owner for _, owner in await book.samples()] == [session.id] * 2
        if transaction == "77":
            await book.finish(30, "77", "101.5", reason="EVDisconnected")
            assert (await book.the_session()).energy_kwh == pytest.approx(1.5)

    told(story)


@pytest.mark.parametrize(
    ("case", "transaction", "power_kw", "reason"),
    [
        ("nothing flows and nobody is there", None, 0.0, ReadingReason.PERIODIC),
        ("standby", None, 0.2, ReadingReason.CLOCK),
        ("the end of a transaction that is unknown", "77", None, ReadingReason.TRANSACTION_END),
    ],
)
def test_samples_without_a_vehicle_are_kept_unassigned(
    case: str, transaction: str | None, power_kw: float | None, reason: ReadingReason
) -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        await book.sample(10, "100.0", power_kw, transaction, reason=reason)
        assert await book.sessions() == (), case
        assert [owner for _, owner in await book.samples()] == [None]

    told(story)


def test_the_last_sample_after_the_stop_revives_nothing() -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        opened = await book.begin(2)
        await book.finish(30, opened.transaction_id, "102.5", reason="EVDisconnected")
        await book.sample(30.5, "102.5", 0.0, opened.transaction_id)
        session = await book.the_session()
        assert not session.is_active
        assert [owner for _, owner in await book.samples()] == [session.id] * 3

    told(story)


def test_samples_stored_while_offline_and_replayed_among_live_ones_add_nothing() -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        opened = await book.begin(2)
        await book.sample(12, "101.0", 6.0, opened.transaction_id)
        await book.sample(22, "102.0", 6.0, opened.transaction_id)
        await book.sample(15, "101.3", 6.0, opened.transaction_id)
        await book.sample(32, "103.0", 6.0, opened.transaction_id)
        qualities = {sample.at: sample.quality for sample, _ in await book.samples()}
        assert qualities[START + MINUTE * 15] is SampleQuality.STALE
        assert (await book.the_session()).energy_kwh == pytest.approx(3.0)

    told(story)


def test_a_stop_without_a_register_is_kept_as_the_end_of_its_samples() -> None:
    async def story(book: Book) -> None:
        await book.until(10)
        opened = await book.begin(2)
        stop = TransactionFinished(STATION, opened.transaction_id, START + MINUTE * 6, None, "EVDisconnected")
        await book.ledger.transaction_finished(stop)
        (ended,) = book.ended
        samples = await book.stores.meters.session_samples(ended.id)
        assert [sample.reason for sample in samples] == [ReadingReason.TRANSACTION_BEGIN, ReadingReason.TRANSACTION_END]

    told(story)


def test_a_stop_of_an_unknown_transaction_is_taken() -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        await book.finish(30, "4711", "55.0")
        assert await book.sessions() == ()

    told(story)


def test_a_stop_after_the_plug_out_still_brings_its_energy_and_is_told_again() -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        opened = await book.begin(2)
        await book.status(3, CHARGING)
        await book.status(30, AVAILABLE)
        await book.finish(29, opened.transaction_id, "102.5")
        session = await book.the_session()
        assert session.unplugged_at == START + MINUTE * 30
        assert session.energy_kwh == pytest.approx(2.5)
        assert [ended.energy_kwh for ended in book.ended] == pytest.approx([0.0, 2.5])

    told(story)


def test_a_whole_stay_told_later_is_a_session_of_its_own() -> None:
    async def story(book: Book) -> None:
        await book.until(200)
        await book.status(100, PREPARING)
        now = await book.begin(101, token="ben")
        past = await book.begin(2, token="anna", transaction="old-1", register="50.0")
        await book.finish(60, "old-1", "55.0")
        earlier, later = await book.sessions()
        assert (earlier.token_id, earlier.is_active, earlier.energy_kwh) == ("anna", False, pytest.approx(5.0))
        assert (later.token_id, later.is_active, later.transaction_id) == ("ben", True, now.transaction_id)
        assert past.session_id == earlier.id

    told(story)


def test_a_report_older_than_the_newest_changes_nothing() -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        await book.status(10, PREPARING)
        await book.status(5, AVAILABLE)
        assert (await book.the_session()).is_active
        await book.status(20, AVAILABLE)
        await book.status(15, CHARGING)
        session = await book.the_session()
        assert session.unplugged_at == START + MINUTE * 20

    told(story)


def test_samples_of_two_stays_in_one_message_are_counted_once_each() -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        first = await book.begin(2, token="anna", register="100.0")
        second = await book.begin(50, token="ben", register="103.0")
        readings = [(10, "101.0", first), (20, "102.0", first), (52, "103.1", second), (54, "103.3", second)]
        samples = [
            MeterSample(
                STATION,
                EvseId("a"),
                START + MINUTE * minute,
                opened.transaction_id,
                register_kwh=Decimal(register),
                power_kw=6.0,
            )
            for minute, register, opened in readings
        ]
        for _ in range(2):
            await book.ledger.meter_sampled(samples)
        before, after = await book.sessions()
        assert (before.energy_kwh, after.energy_kwh) == (pytest.approx(2.0), pytest.approx(0.3))

    told(story)


def test_a_connector_said_to_be_free_that_goes_on_charging_is_not_free() -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        opened = await book.begin(2)
        await book.status(3, CHARGING)
        await book.sample(12, "101.0", 6.0, opened.transaction_id)
        await book.status(11, AVAILABLE)
        assert (await book.the_session()).is_active

    told(story)


def test_another_token_while_the_first_is_thought_to_be_there_means_another_vehicle() -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        first = await book.begin(2, token="anna")
        await book.begin(50, token="ben", register="103.0")
        before, after = await book.sessions()
        assert (before.token_id, before.unplugged_at) == ("anna", START + MINUTE * 50)
        assert (after.token_id, after.is_active) == ("ben", True)
        assert [session.id for session in book.ended] == [before.id]
        await book.finish(49, first.transaction_id, "102.0")
        assert (await book.stores.sessions.session(before.id)).energy_kwh == pytest.approx(0.0, abs=2.01)

    told(story)


@pytest.mark.parametrize(
    ("status", "ends"), [("available", True), ("reserved", True), ("faulted", False), ("unavailable", False)]
)
def test_what_ends_a_stay(status: str, ends: bool) -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        await book.status(1, PREPARING)
        await book.status(9, ConnectorStatus(status))
        assert (await book.the_session()).is_active is not ends

    told(story)


def test_a_station_whose_clock_is_ahead_is_not_believed() -> None:
    async def story(book: Book) -> None:
        await book.until(10)
        await book.begin(500)
        session = await book.the_session()
        assert session.plugged_in_at == session.transaction_begun_at == START + MINUTE * 10

    told(story)


def test_an_evse_that_does_not_exist() -> None:
    async def story(book: Book) -> None:
        await book.ledger.connector_reported(ConnectorReported(STATION, 0, AVAILABLE, START))
        await book.ledger.connector_reported(ConnectorReported(STATION, 9, PREPARING, START))
        assert await book.sessions() == ()
        with pytest.raises(NotFound):
            await book.ledger.transaction_begun(TransactionBegun(STATION, 9, START, None, None))
        assert await book.ledger.vehicle_needs(VehicleNeeds(STATION, 9, START)) is False

    told(story)


def test_boots_and_losses_of_contact_are_told() -> None:
    async def story(book: Book) -> None:
        await book.ledger.station_booted(StationBooted(STATION, START, "2.0.1", "Acme"))
        await book.ledger.station_disconnected(STATION, START + MINUTE)
        assert (await book.stores.connectors.station_boots())[STATION].vendor == "Acme"

    book = told(story)
    assert book.reconnected == [STATION]
    assert book.changes == ["station station-a online", "station station-a offline"]


@pytest.mark.parametrize(("earlier_s", "sessions"), [(0.1, 1), (9.0, 1), (60.0, 2)])
def test_a_start_stamped_before_the_plug_in(earlier_s: float, sessions: int) -> None:
    """By a clock of which more was learnt in between it is of the same vehicle; long before, of one that has left."""

    async def story(book: Book) -> None:
        plugged_in_at = START - MINUTE
        await book.ledger.connector_reported(ConnectorReported(STATION, 1, PREPARING, plugged_in_at))
        begun_at = plugged_in_at - timedelta(seconds=earlier_s)
        opened = await book.ledger.transaction_begun(TransactionBegun(STATION, 1, begun_at, None, None))
        kept = await book.sessions()
        assert len(kept) == sessions
        (there,) = [session for session in kept if session.is_active]
        assert (there.transaction_id == opened.transaction_id) is (sessions == 1)

    told(story)


def test_what_is_learnt_of_a_station_is_kept_and_its_limits_stay_trusted() -> None:
    async def story(book: Book) -> None:
        habits = StationHabits(clock_ahead_s=-95.0)
        await book.ledger.station_known_better(StationBooted(STATION, START, "2.0.1", "Acme", habits=habits))
        assert (await book.stores.connectors.station_boots())[STATION].habits == habits

    book = told(story)
    assert (book.reconnected, book.changes) == ([], [])
