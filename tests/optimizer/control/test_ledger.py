"""The book of sessions: what stations tell, told twice, late, out of order, or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from bench import SITE, evse_at, site_with
from virtual_time import START, VirtualClock, run_virtual

from optimizer.control.ledger import LedgerListeners, SessionLedger
from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import (
    ConnectorReported,
    ConnectorStatus,
    LimitPeriod,
    LimitState,
    Setpoint,
    StationBooted,
    StationHabits,
    TransactionBegun,
    TransactionFinished,
    TransactionOpened,
    VehicleNeeds,
)
from optimizer.domain.ids import EvseId, ReservationId, SessionId, StationId, TokenId, TransactionId
from optimizer.domain.metering import MeterSample, ReadingReason, SampleQuality
from optimizer.domain.moment import Interval
from optimizer.domain.reservation import Reservation, ReservationStatus
from optimizer.domain.session import DepartureTarget, PriorityTier, Session, TargetSource
from optimizer.errors import NotFound
from scenarios.memory_stores import MemoryStores

STATION, EVSE = StationId("station-a"), EvseId("a")
MINUTE = timedelta(minutes=1)
GARAGE = site_with([evse_at("a"), evse_at("b")])
AVAILABLE, PREPARING, CHARGING = ConnectorStatus.AVAILABLE, ConnectorStatus.PREPARING, ConnectorStatus.CHARGING
FINISHING = ConnectorStatus.FINISHING


class Book:
    """A ledger over memory, with short ways to tell it things; times are minutes after the start."""

    def __init__(self, *, knows_token: Callable[[TokenId], bool] = lambda _: True) -> None:
        self.stores = MemoryStores([GARAGE])
        self.clock = VirtualClock()
        self.knows_token = knows_token
        self.changes: list[str] = []
        self.ended: list[Session] = []
        self.reconnected: list[str] = []
        self.open()

    def open(self) -> None:
        """The ledger as after a start of the service."""
        listeners = LedgerListeners(self.changes.append, lambda: None, self._note_end, self._note_reconnect)
        self.ledger = SessionLedger(GARAGE, self.stores, self.clock, ControlSettings(), listeners, self.knows_token)

    async def _note_end(self, session: Session) -> None:
        self.ended.append(session)

    async def _note_reconnect(self, station_id: StationId) -> None:
        self.reconnected.append(station_id)

    async def until(self, minute: float) -> None:
        """Let time pass up to ``minute``."""
        await self.clock.sleep(max(0.0, (START + MINUTE * minute - self.clock.now()).total_seconds()))

    async def status(self, minute: float, status: ConnectorStatus) -> None:
        await self.ledger.connector_reported(ConnectorReported(STATION, 1, status, START + MINUTE * minute))

    async def begin(
        self, minute: float, token: str | None = "anna", register: str | None = "100.0", transaction: str | None = None
    ) -> TransactionOpened:
        return await self.ledger.transaction_begun(
            TransactionBegun(
                STATION,
                1,
                START + MINUTE * minute,
                None if token is None else TokenId(token),
                None if transaction is None else TransactionId(transaction),
                None if register is None else Decimal(register),
            )
        )

    async def finish(self, minute: float, transaction: str, register: str | None = None, reason: str = "Local") -> None:
        await self.ledger.transaction_finished(
            TransactionFinished(
                STATION,
                TransactionId(transaction),
                START + MINUTE * minute,
                None if register is None else Decimal(register),
                reason,
            )
        )

    async def sample(
        self,
        minute: float,
        register: str | None = None,
        power_kw: float | None = None,
        transaction: str | None = None,
        **more: object,
    ) -> None:
        await self.ledger.meter_sampled(
            [
                MeterSample(
                    STATION,
                    EVSE,
                    START + MINUTE * minute,
                    None if transaction is None else TransactionId(transaction),
                    None if register is None else Decimal(register),
                    power_kw,
                    **more,  # type: ignore[arg-type]
                )
            ]
        )

    async def sessions(self) -> tuple[Session, ...]:
        return await self.stores.sessions.sessions(SITE)

    async def the_session(self) -> Session:
        (session,) = await self.sessions()
        return session

    async def samples(self) -> tuple[tuple[MeterSample, SessionId | None], ...]:
        return await self.stores.meters.station_samples(SITE, START - MINUTE, START + MINUTE * 9999)


def told(story: Callable[[Book], Awaitable[None]], **choices: object) -> Book:
    """A ledger that has been told a story."""

    async def work() -> Book:
        book = Book(**choices)  # type: ignore[arg-type]
        await story(book)
        return book

    return run_virtual(work())


# --- one stay -------------------------------------------------------------------------------------------------------


def test_a_stay_from_plug_in_to_plug_out() -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        await book.status(1, PREPARING)
        opened = await book.begin(2)
        await book.status(2, CHARGING)
        await book.sample(12, "101.0", 6.0, opened.transaction_id)
        await book.sample(22, "102.0", 6.0, opened.transaction_id, soc=0.6)
        await book.finish(30, opened.transaction_id, "102.5")
        await book.status(30, FINISHING)
        assert (await book.the_session()).is_active
        await book.status(33, AVAILABLE)
        session = await book.the_session()
        assert (session.plugged_in_at, session.unplugged_at) == (START + MINUTE, START + MINUTE * 33)
        assert session.energy_kwh == pytest.approx(2.5)
        assert (session.token_id, session.transaction_id, session.soc) == ("anna", None, 0.6)
        assert book.ended == [session]
        assert [owner for _, owner in await book.samples()] == [session.id] * 4

    book = told(story)
    assert book.changes == ["plug-in at a", "transaction at a", "transaction ended at a", "plug-out at a"]


def test_a_station_that_reports_no_plug_in_begins_its_session_with_the_transaction() -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        opened = await book.begin(2)
        await book.finish(30, opened.transaction_id, "102.5", reason="EVDisconnected")
        session = await book.the_session()
        assert (session.plugged_in_at, session.unplugged_at) == (START + MINUTE * 2, START + MINUTE * 30)
        assert session.energy_kwh == pytest.approx(2.5)

    told(story)


@pytest.mark.parametrize(
    ("limit_kw", "accepted_kw"),
    [(11.0, 0.0), (0.0, None), (None, 0.0)],
    ids=["may charge, takes nothing: full", "is paused by us: says nothing", "no limit sent: full"],
)
def test_a_vehicle_that_suspends_on_its_own_account_takes_nothing(
    limit_kw: float | None, accepted_kw: float | None
) -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        await book.status(1, PREPARING)
        await book.begin(2)
        await book.status(2, CHARGING)
        if limit_kw is not None:
            periods = (LimitPeriod(START + MINUTE * 3, limit_kw),)
            setpoint = Setpoint(EVSE, periods, LimitState.ACCEPTED, START + MINUTE * 3, START + MINUTE * 3)
            await book.stores.connectors.save_setpoint(setpoint)
        await book.status(20, ConnectorStatus.SUSPENDED_BY_VEHICLE)
        assert (await book.the_session()).accepted_power_kw == accepted_kw
        await book.status(40, CHARGING)
        assert (await book.the_session()).accepted_power_kw is None

    told(story)


def test_several_transactions_within_one_plug_in_are_one_session() -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        await book.status(1, PREPARING)
        first = await book.begin(2)
        await book.finish(10, first.transaction_id, "101.0")
        await book.status(10, FINISHING)
        second = await book.begin(20, register="101.0")
        await book.finish(30, second.transaction_id, "103.0")
        await book.status(31, AVAILABLE)
        session = await book.the_session()
        assert first.transaction_id != second.transaction_id
        assert session.energy_kwh == pytest.approx(3.0)
        assert session.transaction_begun_at == START + MINUTE * 20

    told(story)


def test_every_event_may_be_told_twice() -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        for _ in range(2):
            await book.status(1, PREPARING)
        first = await book.begin(2)
        assert await book.begin(2) == first
        for _ in range(2):
            await book.sample(12, "101.0", 6.0, first.transaction_id)
        for _ in range(2):
            await book.finish(30, first.transaction_id, "102.5")
        for _ in range(2):
            await book.status(33, AVAILABLE)
        session = await book.the_session()
        assert session.energy_kwh == pytest.approx(2.5)
        assert len(await book.samples()) == 3
        assert await book.begin(2) == first
        assert await book.the_session() == session

    told(story)


def test_the_session_survives_a_restart_in_the_middle() -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        await book.status(1, PREPARING)
        opened = await book.begin(2)
        await book.sample(12, "101.0", 6.0, opened.transaction_id)
        book.open()
        await book.sample(12, "101.0", 6.0, opened.transaction_id)
        await book.sample(22, "102.0", 6.0, opened.transaction_id)
        book.open()
        await book.finish(30, opened.transaction_id, "102.5")
        await book.status(33, AVAILABLE)
        session = await book.the_session()
        assert session.energy_kwh == pytest.approx(2.5)
        assert not session.is_active

    told(story)


def test_ids_of_transactions_are_not_used_again_after_a_restart() -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        first = await book.begin(2)
        await book.finish(3, first.transaction_id, reason="EVDisconnected")
        book.open()
        second = await book.begin(5)
        assert first.transaction_id.isdigit()
        assert second.transaction_id.isdigit()
        assert first.transaction_id != second.transaction_id

    told(story)


# --- late, unknown, out of order --------------------------------------------------------------------------------------


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


# --- what samples tell of the vehicle ---------------------------------------------------------------------------------


def test_phases_and_own_limit_of_a_vehicle_are_learnt() -> None:
    async def story(book: Book) -> None:
        await book.until(1)
        opened = await book.begin(1)
        periods = (LimitPeriod(START, 22.08),)
        await book.stores.connectors.save_setpoint(
            Setpoint(EVSE, periods, LimitState.VERIFIED, book.clock.now(), book.clock.now(), book.clock.now())
        )
        for minute in (2, 3, 4):
            await book.until(minute)
            await book.sample(minute, None, 3.6, opened.transaction_id, current_a=(15.7, 0.0, 0.0))
        session = await book.the_session()
        assert session.vehicle.phases_used == 1
        assert session.accepted_power_kw == pytest.approx(3.6)
        assert "vehicle at a takes 3.6 kW at most" in book.changes
        for minute in (5, 6, 7):
            await book.until(minute)
            await book.sample(minute, None, 0.0, opened.transaction_id)
        assert (await book.the_session()).accepted_power_kw == 0.0
        assert book.changes[-1] == "vehicle at a takes nothing"

    told(story)


def test_a_session_remembers_when_it_was_held_at_zero() -> None:
    async def story(book: Book) -> None:
        await book.until(1)
        opened = await book.begin(1)
        await book.sample(1, "100.5", 6.0, opened.transaction_id)
        await book.sample(1.5, "100.6", 6.0, opened.transaction_id)
        session = await book.the_session()
        await book.ledger.note_pauses(session.id, [Interval(START + MINUTE * 5, START + MINUTE * 9)])
        await book.until(20)
        at = START + MINUTE * 15
        await book.stores.connectors.save_setpoint(Setpoint(EVSE, (LimitPeriod(at, 0.0),), LimitState.ACCEPTED, at, at))
        await book.status(18, AVAILABLE)
        paused = (await book.the_session()).paused
        assert [(pause.start - START) / MINUTE for pause in paused] == [5.0, 15.0]
        assert [(pause.end - START) / MINUTE for pause in paused] == [9.0, 18.0]
        assert (await book.the_session()).pauses == 2

    told(story)


# --- needs ------------------------------------------------------------------------------------------------------------


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


# --- reservations -----------------------------------------------------------------------------------------------------


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


# --- all or nothing ---------------------------------------------------------------------------------------------------


def test_a_failure_on_the_way_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        opened = await book.begin(2)
        before = await book.the_session()

        async def fail(*_: object) -> None:
            raise OSError("disk full")

        with monkeypatch.context() as broken:
            broken.setattr(book.stores.sessions, "save_session", fail)
            with pytest.raises(OSError, match="disk full"):
                await book.sample(12, "101.0", 6.0, opened.transaction_id)
        assert await book.the_session() == before
        assert len(await book.samples()) == 1
        await book.sample(12, "101.0", 6.0, opened.transaction_id)
        assert (await book.the_session()).energy_kwh == pytest.approx(1.0)

    told(story)


def test_targets_from_outside_and_samples_do_not_overwrite_one_another() -> None:
    async def story(book: Book) -> None:
        await book.until(100)
        opened = await book.begin(2)
        session = await book.the_session()
        asked = DepartureTarget(START + timedelta(hours=5), energy_kwh=20.0)
        await book.stores.sessions.save_session(replace(session, targets=(asked,)))
        await book.sample(12, "101.0", 6.0, opened.transaction_id)
        session = await book.the_session()
        assert session.targets == (asked,)
        assert session.energy_kwh == pytest.approx(1.0)

    told(story)
