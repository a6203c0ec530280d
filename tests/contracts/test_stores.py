"""What every implementation of the stores must do: the databases of the service, and the memory of the replays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from optimizer.domain.charger import (
    ConnectorReported,
    ConnectorStatus,
    LimitPeriod,
    LimitState,
    Setpoint,
    StationBooted,
    StationHabits,
    TransactionBegun,
)
from optimizer.domain.cost import CostComponent, CostLine, EnergyCostRecord, RecordStatus, SiteBill
from optimizer.domain.event import GridEvent, GridEventInterval, GridEventKind, GridEventStatus
from optimizer.domain.evolving import changed_between
from optimizer.domain.ids import (
    CircuitId,
    EvseId,
    GridEventId,
    PlanId,
    RecordId,
    ReservationId,
    SessionId,
    SiteId,
    StationId,
    TariffId,
    TokenId,
    TransactionId,
    VehicleId,
)
from optimizer.domain.metering import CircuitReading, MeterSample, ReadingReason, SampleQuality, SiteMeterReading
from optimizer.domain.moment import Interval
from optimizer.domain.plan import (
    BindingKind,
    BindingReason,
    Fallback,
    FeasibleAtLimit,
    Plan,
    PlanOutcome,
    ProvenOptimal,
    SessionPlan,
    Shortfall,
    SolveFigures,
)
from optimizer.domain.reservation import Reservation, ReservationStatus
from optimizer.domain.session import DepartureTarget, PriorityTier, Session, TargetSource, Vehicle
from optimizer.domain.site import LimitSource, Phase
from optimizer.domain.snapshot import Occupancy
from optimizer.errors import Conflict, NotFound
from optimizer.ports import Stores

DEPOT = SiteId("depot")
OFFICE = SiteId("office")
STATION = StationId("depot-1")
EVSE = EvseId("depot-1/1")
OTHER_EVSE = EvseId("depot-2/1")
DAY = datetime(2026, 3, 1, tzinfo=UTC)
HUGE_REGISTER = Decimal("123456789.012345678901234567")


def at(hour: float) -> datetime:
    """``hour`` of the day, to the microsecond."""
    return DAY + timedelta(hours=hour)


def session_of(name: str, *, plugged_in: float = 8.0, evse_id: EvseId = EVSE, site_id: SiteId = DEPOT) -> Session:
    return Session(SessionId(name), site_id, evse_id, at(plugged_in))


FULL_SESSION = Session(
    SessionId("full"),
    DEPOT,
    EVSE,
    at(8.123456789),
    token_id=TokenId("token"),
    transaction_id=TransactionId("17"),
    reservation_id=ReservationId("booked"),
    unplugged_at=at(17),
    vehicle=Vehicle(VehicleId("van"), 62.5, 22.0, 3, 6.5, 0.93, 0.8, False, True, 10.0, 0.3),
    targets=(
        DepartureTarget(at(12), energy_kwh=0.1 + 0.2, source=TargetSource.VEHICLE),
        DepartureTarget(at(17), soc=0.9, source=TargetSource.RESERVATION),
    ),
    tier=PriorityTier.FLEET_DUTY,
    energy_kwh=1 / 3,
    soc=0.55,
    soc_at=at(9),
    accepted_power_kw=0.0,
    pauses=2,
    paused=(Interval(at(9), at(9.25)), Interval(at(10), at(10.5))),
    transaction_begun_at=at(8.2),
    may_charge=False,
    phase_switches=2,
    phases_switched_at=at(11),
)


def fields_left_at_default(value: object) -> list[str]:
    """Fields that a round trip says nothing of; one that is added to a domain type shows up here."""
    return [field.name for field in fields(value) if getattr(value, field.name) == field.default]  # type: ignore[arg-type]


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


def sample_at(
    hour: float, *, evse_id: EvseId = EVSE, transaction_id: str | None = "17", **fields: object
) -> MeterSample:
    station_id = StationId(evse_id.split("/")[0])
    given = None if transaction_id is None else TransactionId(transaction_id)
    return replace(MeterSample(station_id, evse_id, at(hour), given), **fields)


FULL_SAMPLE = MeterSample(
    STATION,
    EVSE,
    at(8.000000123),
    TransactionId("17"),
    HUGE_REGISTER,
    7.2 / 3,
    (10.1, 0.0, 9.9),
    229.95,
    0.512,
    ReadingReason.TRANSACTION_END,
    SampleQuality.DERIVED,
    "OCMF|{…}|žsigned",
    Decimal("0.250"),
)
FULL_READING = SiteMeterReading(
    DEPOT,
    at(8),
    HUGE_REGISTER,
    Decimal("0.00"),
    Decimal("5"),
    Decimal("7E+2"),
    -1.5,
    30.1,
    5.5,
    (1.0, -2.0, 3.0),
    0.4,
    (CircuitReading(CircuitId("hall"), 7.5, (1.0, 0.1 + 0.2, 3.0)), CircuitReading(CircuitId("yard"))),
)


class TestMeterSamples:
    @pytest.mark.parametrize(
        "sample", [sample_at(8, transaction_id=None), FULL_SAMPLE], ids=["bare", "every field filled"]
    )
    async def test_a_sample_reads_back_equal_in_every_digit(self, stores: Stores, sample: MeterSample) -> None:
        await stores.meters.add_samples([sample], [SessionId("one")])
        (stored,) = await stores.meters.session_samples(SessionId("one"))
        assert stored == sample
        assert str(stored.register_kwh) == str(sample.register_kwh)
        assert stored.at.utcoffset() == timedelta(0)

    def test_the_full_sample_is_full(self) -> None:
        assert fields_left_at_default(FULL_SAMPLE) == []

    async def test_sessions_that_samples_changed_are_saved_with_them(self, stores: Stores) -> None:
        before = Session(SessionId("one"), DEPOT, EvseId("depot-1/1"), at(7))
        await stores.sessions.save_session(before)
        after, other = replace(before, energy_kwh=1.5), replace(before, id=SessionId("two"), plugged_in_at=at(8))
        await stores.meters.add_samples([sample_at(8)], [before.id], [after, other])
        assert await stores.sessions.sessions(DEPOT) == (after, other)
        assert len(await stores.meters.session_samples(before.id)) == 1

    async def test_samples_come_by_time_whatever_the_order_of_arrival(self, stores: Stores) -> None:
        hours = [10.0, 8.0, 9.0, 8.5]
        for hour in hours[:2]:
            await stores.meters.add_samples([sample_at(hour)], [SessionId("one")])
        await stores.meters.add_samples([sample_at(hour) for hour in hours[2:]], [SessionId("one")] * 2)
        found = await stores.meters.session_samples(SessionId("one"))
        assert [sample.at for sample in found] == [at(hour) for hour in sorted(hours)]

    async def test_a_repeat_changes_nothing(self, stores: Stores) -> None:
        first = sample_at(8, register_kwh=Decimal("1.0"))
        await stores.meters.add_samples([first, first], [SessionId("one")] * 2)
        await stores.meters.add_samples([replace(first, register_kwh=Decimal("9.0"))], [None])
        no_transaction = sample_at(9, transaction_id=None)
        for _ in range(2):
            await stores.meters.add_samples([no_transaction], [None])
        found = await stores.meters.station_samples(DEPOT, at(0), at(24))
        assert found == ((first, SessionId("one")), (no_transaction, None))

    @pytest.mark.parametrize(
        "another",
        [
            sample_at(8 + 1e-9),
            sample_at(8, transaction_id="18"),
            sample_at(8, transaction_id=None),
            sample_at(8, reason=ReadingReason.CLOCK),
            sample_at(8, evse_id=OTHER_EVSE),
        ],
        ids=["a few microseconds later", "another transaction", "no transaction", "another reason", "another EVSE"],
    )
    async def test_what_differs_is_another_sample(self, stores: Stores, another: MeterSample) -> None:
        await stores.meters.add_samples([sample_at(8), another], [None, None])
        assert len(await stores.meters.station_samples(DEPOT, at(0), at(24))) == 2

    async def test_a_window_has_both_its_ends_and_no_other_site(self, stores: Stores) -> None:
        inside = [sample_at(8), sample_at(9, evse_id=OTHER_EVSE), sample_at(10)]
        outside = [sample_at(7.999), sample_at(10.001), sample_at(9, evse_id=EvseId("office-1/1"))]
        assigned = [SessionId("one"), None, SessionId("two")]
        await stores.meters.add_samples([*inside, *outside], [*assigned, None, None, None])
        found = await stores.meters.station_samples(DEPOT, at(8), at(10))
        assert found == tuple(zip(inside, assigned, strict=True))

    @pytest.mark.parametrize("most_named", [500, 0], ids=["few are named", "of many all are read"])
    async def test_samples_of_some_evses_are_told_apart(
        self, stores: Stores, most_named: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("connectors.storage.meter_store.MOST_NAMED", most_named)
        await stores.meters.add_samples([sample_at(8), sample_at(9, evse_id=OTHER_EVSE), sample_at(10)], [None] * 3)
        found = await stores.meters.station_samples(DEPOT, at(0), at(24), evse_ids={EVSE})
        assert [sample for sample, _ in found] == [sample_at(8), sample_at(10)]
        assert await stores.meters.station_samples(DEPOT, at(0), at(24), evse_ids=set()) == ()

    async def test_each_sample_needs_its_session_or_none(self, stores: Stores) -> None:
        with pytest.raises(ValueError, match="zip"):
            await stores.meters.add_samples([sample_at(8), sample_at(9)], [None])


def reading_at(hour: float, site_id: SiteId = DEPOT) -> SiteMeterReading:
    return SiteMeterReading(site_id, at(hour), Decimal(str(hour)), Decimal("0.10"))


class TestSiteReadings:
    async def test_a_reading_reads_back_equal_in_every_digit(self, stores: Stores) -> None:
        assert fields_left_at_default(FULL_READING) == []
        await stores.meters.add_site_reading(FULL_READING)
        stored = await stores.meters.latest_site_reading(DEPOT)
        assert stored == FULL_READING
        assert str(stored.import_register_kwh) == str(HUGE_REGISTER)

    async def test_a_repeat_changes_nothing_and_the_newest_is_known(self, stores: Stores) -> None:
        assert await stores.meters.latest_site_reading(DEPOT) is None
        for hour in (9, 8):
            await stores.meters.add_site_reading(reading_at(hour))
        await stores.meters.add_site_reading(replace(reading_at(9), import_register_kwh=Decimal(99)))
        await stores.meters.add_site_reading(reading_at(10, OFFICE))
        assert await stores.meters.latest_site_reading(DEPOT) == reading_at(9)

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            (8.5, 9.5, [8, 9, 10]),
            (8.0, 9.0, [7, 8, 9, 10]),
            (8.2, 8.8, [8, 9]),
            (5.0, 6.0, [7]),
            (5.0, 7.0, [7, 8]),
            (11.0, 12.0, [10]),
            (0.0, 24.0, [7, 8, 9, 10]),
        ],
        ids=[
            "  7   8 [ 9 ] 10  a neighbour each side",
            "  7  [8   9]  10  ends inside, and the neighbours",
            "  7   8 [] 9  10  nothing inside",
            "[] 7   8   9  10  only a later one",
            "[  7]  8   9  10  first one on the end",
            "  7   8   9  10 []  only an earlier one",
            "[ 7   8   9  10 ]  all",
        ],
    )
    async def test_a_window_brings_its_nearest_neighbours(
        self, stores: Stores, start: float, end: float, expected: list[int]
    ) -> None:
        for hour in (7, 8, 9, 10):
            await stores.meters.add_site_reading(reading_at(hour))
            await stores.meters.add_site_reading(reading_at(hour + 0.5, OFFICE))
        found = await stores.meters.site_readings(DEPOT, at(start), at(end))
        assert found == tuple(reading_at(hour) for hour in expected)

    async def test_without_readings_a_window_is_empty(self, stores: Stores) -> None:
        assert await stores.meters.site_readings(DEPOT, at(8), at(9)) == ()


SETPOINT = Setpoint(
    EVSE,
    (LimitPeriod(at(8), 11.0), LimitPeriod(at(9.000000123), 4.14)),
    LimitState.VERIFIED,
    at(8),
    at(8.001),
    at(8.1),
    bound_before_kw=22.08,
    reason="site limit",
)


CHARGING = ConnectorReported(STATION, 1, ConnectorStatus.CHARGING, at(8))
BEGINNING = TransactionBegun(STATION, 1, at(8), TokenId("token"), None, Decimal(1))

STEPS: dict[str, Callable[[Stores], Awaitable[object]]] = {
    "a vehicle comes": lambda stores: stores.sessions.save_session(session_of("one")),
    "it is reported": lambda stores: stores.connectors.save_status(CHARGING),
    "its transaction begins": lambda stores: stores.sessions.open_transaction(BEGINNING, session_of("one")),
    "it is told a limit": lambda stores: stores.connectors.save_setpoint(SETPOINT),
    "a safe default is installed": lambda stores: stores.connectors.save_safe_default(EVSE, 4.14),
    "it is metered": lambda stores: stores.meters.add_samples([sample_at(9)], [SessionId("one")]),
    "what was metered changes it": lambda stores: stores.meters.add_samples(
        [sample_at(10)], [SessionId("one")], [replace(session_of("one"), energy_kwh=2.0)]
    ),
    "another one is left open there": lambda stores: stores.sessions.save_session(session_of("two", plugged_in=9.0)),
    "one comes beside it that was plugged in before": lambda stores: stores.sessions.save_session(
        session_of("three", plugged_in=7.0, evse_id=OTHER_EVSE)
    ),
    "the other one leaves": lambda stores: stores.sessions.save_session(
        replace(session_of("two", plugged_in=9.0), unplugged_at=at(11))
    ),
    "it leaves": lambda stores: stores.sessions.save_session(replace(session_of("one"), unplugged_at=at(12))),
    "nothing new is said": lambda stores: stores.connectors.save_status(CHARGING),
}
"""What changes the occupancy of a site, one after the other."""


async def check_occupancy(stores: Stores) -> Occupancy:
    """The occupancy, when it was found to say the same as everything else."""
    found = await stores.connectors.occupancy(DEPOT)
    assert found.sessions == await stores.sessions.sessions(DEPOT, active_only=True)
    assert found.session_at == {session.evse_id: session for session in found.sessions}
    assert list(found.connectors) == [EVSE, OTHER_EVSE]
    for evse_id, connector in found.connectors.items():
        assert await stores.connectors.connector(DEPOT, evse_id) == connector
    for session in found.sessions:
        assert await stores.sessions.session(session.id) == session
    return found


class TestOccupancy:
    async def test_it_follows_every_write(self, stores: Stores) -> None:
        before = await check_occupancy(stores)
        for name, step in STEPS.items():
            await step(stores)
            after = await check_occupancy(stores)
            for told, known in ((after.connectors, before.connectors), (after.session_at, before.session_at)):
                differing = {key for key in {*told, *known} if told.get(key) is not known.get(key)}  # type: ignore[call-overload]
                assert differing == set(changed_between(known, told) or ()), name  # type: ignore[misc]
            assert (after != before) == (name != "nothing new is said"), name
            before = after

    async def test_all_that_is_written_between_two_looks_is_seen(self, stores: Stores) -> None:
        await check_occupancy(stores)
        for step in STEPS.values():
            await step(stores)
        found = await check_occupancy(stores)
        assert [session.id for session in found.sessions] == ["three"]
        assert found.connectors[EVSE].setpoint == SETPOINT

    async def test_a_block_sees_what_it_wrote_and_nobody_after_it_what_it_took_back(self, stores: Stores) -> None:
        await stores.sessions.save_session(session_of("one"))
        before = await check_occupancy(stores)

        async def take_back() -> None:
            async with stores.together():
                await stores.connectors.save_setpoint(SETPOINT)
                await stores.sessions.save_session(replace(session_of("one"), unplugged_at=at(9)))
                inside = await stores.connectors.occupancy(DEPOT)
                assert (inside.sessions, inside.connectors[EVSE].setpoint) == ((), SETPOINT)
                raise RuntimeError("never mind")

        with pytest.raises(RuntimeError, match="never mind"):
            await take_back()
        assert await check_occupancy(stores) == before

    async def test_an_unknown_site_is_not_found(self, stores: Stores) -> None:
        with pytest.raises(NotFound, match="nowhere"):
            await stores.connectors.occupancy(SiteId("nowhere"))


class TestConnectors:
    async def test_every_evse_of_the_site_is_told_before_it_reports(self, stores: Stores) -> None:
        connectors = await stores.connectors.connectors(DEPOT)
        assert [connector.evse_id for connector in connectors] == [EVSE, OTHER_EVSE]
        assert {connector.status for connector in connectors} == {ConnectorStatus.UNKNOWN}
        assert {connector.online for connector in connectors} == {False}
        assert {connector.setpoint for connector in connectors} == {None}

    async def test_one_evse_is_told_as_among_all(self, stores: Stores) -> None:
        await stores.connectors.save_status(ConnectorReported(STATION, 1, ConnectorStatus.CHARGING, at(8)))
        await stores.connectors.save_setpoint(SETPOINT)
        await stores.meters.add_samples([sample_at(8)], [None])
        first, second = await stores.connectors.connectors(DEPOT)
        assert await stores.connectors.connector(DEPOT, EVSE) == first
        assert await stores.connectors.connector(DEPOT, OTHER_EVSE) == second

    @pytest.mark.parametrize(
        ("site_id", "evse_id", "said"),
        [("depot", "depot-9/1", "depot-9/1"), ("office", EVSE, EVSE), ("nowhere", EVSE, "nowhere")],
        ids=["unknown EVSE", "EVSE of another site", "unknown site"],
    )
    async def test_an_evse_is_found_at_its_own_site_only(
        self, stores: Stores, site_id: str, evse_id: str, said: str
    ) -> None:
        with pytest.raises(NotFound, match=said):
            await stores.connectors.connector(SiteId(site_id), EvseId(evse_id))

    async def test_an_unknown_site_is_not_found(self, stores: Stores) -> None:
        with pytest.raises(NotFound, match="nowhere"):
            await stores.connectors.connectors(SiteId("nowhere"))

    @pytest.mark.parametrize(
        ("second_at", "expected"),
        [(9.0, ConnectorStatus.CHARGING), (8.0, ConnectorStatus.CHARGING), (7.999, ConnectorStatus.PREPARING)],
        ids=["newer", "same second, told later", "older, arrived late"],
    )
    async def test_the_newest_status_counts(self, stores: Stores, second_at: float, expected: ConnectorStatus) -> None:
        await stores.connectors.save_status(ConnectorReported(STATION, 1, ConnectorStatus.PREPARING, at(8)))
        await stores.connectors.save_status(
            ConnectorReported(STATION, 1, ConnectorStatus.CHARGING, at(second_at), "NoError")
        )
        first, second = await stores.connectors.connectors(DEPOT)
        assert first.status is expected
        assert second.status is ConnectorStatus.UNKNOWN

    async def test_setpoint_and_safe_default_are_kept_side_by_side(self, stores: Stores) -> None:
        await stores.connectors.save_safe_default(EVSE, 4.14)
        await stores.connectors.save_setpoint(replace(SETPOINT, state=LimitState.SENT, verified_at=None))
        await stores.connectors.save_setpoint(SETPOINT)
        await stores.connectors.save_safe_default(EVSE, None)
        assert (await stores.connectors.connector(DEPOT, EVSE)).safe_default_kw is None
        await stores.connectors.save_safe_default(EVSE, 0.0)
        first, second = await stores.connectors.connectors(DEPOT)
        assert (first.setpoint, first.safe_default_kw) == (SETPOINT, 0.0)
        assert (second.setpoint, second.safe_default_kw) == (None, None)

    async def test_the_newest_usable_sample_is_told(self, stores: Stores) -> None:
        newest = sample_at(10, register_kwh=Decimal("3.210"), quality=SampleQuality.DERIVED)
        samples = [
            sample_at(8),
            newest,
            sample_at(9),
            sample_at(11, quality=SampleQuality.SUSPECT),
            sample_at(12, quality=SampleQuality.STALE),
        ]
        await stores.meters.add_samples(samples, [None] * len(samples))
        await stores.meters.add_samples([sample_at(9.5)], [None])
        first, second = await stores.connectors.connectors(DEPOT)
        assert first.last_sample == newest
        assert second.last_sample is None

    async def test_the_last_boot_of_each_station_is_kept(self, stores: Stores) -> None:
        first = StationBooted(STATION, at(8), "1.6", "Maker", "Box", "1.0")
        habits = StationHabits(-95.25, tells_kwh_as_wh=True, register_offsets_kwh={2: Decimal("4995.0")})
        again = replace(first, at=at(9), firmware="1.1", habits=habits)
        other = StationBooted(StationId("depot-2"), at(8), "2.0.1")
        for event in (first, other, again):
            await stores.connectors.save_boot(event)
        assert await stores.connectors.station_boots() == {STATION: again, "depot-2": other}


FIGURES = SolveFigures(0.01, 0.2, 0.25, 1200, 3400, solves=2)


def plan_of(name: str, hour: float, site_id: SiteId = DEPOT) -> Plan:
    return Plan(
        PlanId(name),
        site_id,
        at(hour),
        (at(hour), at(hour + 0.25), at(hour + 1)),
        (
            SessionPlan(
                SessionId("one"),
                EVSE,
                (11.04, 0.0),
                (0.0, 2.76, 2.76),
                (
                    BindingReason(BindingKind.CIRCUIT_LIMIT, CircuitId("main"), Phase.L2, LimitSource.FUSE),
                    BindingReason(BindingKind.PRICE),
                ),
                (3, 1),
            ),
        ),
        (12.0, 0.1 + 0.2),
        (0.0, 1.5),
        (0.0, -2.0),
        (0.0, 3.0),
        (1.0, 1.0),
        (0.31, -0.02),
        (Shortfall(SessionId("one"), at(17), PriorityTier.RESERVED, 1.25, 0.5, at(8)),),
        (0.3, 0.1),
        money=-1e-17,
    )


class TestPlans:
    @pytest.mark.parametrize(
        "outcome",
        [
            ProvenOptimal(plan_of("p", 8), 12.5, 1e-4, FIGURES),
            FeasibleAtLimit(plan_of("p", 8), 12.5, 12.25, 0.02, FIGURES),
            FeasibleAtLimit(plan_of("p", 8), 12.5, float("-inf"), float("inf"), FIGURES),
            Fallback(plan_of("p", 8), "least laxity first", "the solver did not answer", FIGURES),
        ],
        ids=["optimal", "at the time limit", "no bound at the time limit", "heuristic"],
    )
    async def test_an_outcome_reads_back_equal(self, stores: Stores, outcome: PlanOutcome) -> None:
        await stores.plans.save_outcome(outcome, "every five minutes")
        assert await stores.plans.outcomes(DEPOT, 10) == (outcome,)
        assert await stores.plans.latest_plan(DEPOT) == outcome.plan

    async def test_a_site_without_plans_has_none(self, stores: Stores) -> None:
        await stores.plans.save_outcome(ProvenOptimal(plan_of("p", 8, OFFICE), 0.0, 0.0, FIGURES), "plug-in")
        assert await stores.plans.latest_plan(DEPOT) is None
        assert await stores.plans.outcomes(DEPOT, 10) == ()

    async def test_the_newest_come_first_and_old_ones_make_room(self, stores: Stores) -> None:
        outcomes = [ProvenOptimal(plan_of(f"p{hour}", hour), 0.0, 0.0, FIGURES) for hour in range(6)]
        elsewhere = ProvenOptimal(plan_of("q", 0, OFFICE), 0.0, 0.0, FIGURES)
        for outcome in (elsewhere, *outcomes):
            await stores.plans.save_outcome(outcome, "every hour")
        assert await stores.plans.outcomes(DEPOT, 2) == (outcomes[5], outcomes[4])
        assert await stores.plans.outcomes(DEPOT, 10) == (outcomes[5], outcomes[4], outcomes[3])
        assert await stores.plans.latest_plan(OFFICE) == elsewhere.plan


def booked(
    name: str, start: float, end: float, *, evse_id: EvseId | None = EVSE, status: str = "RESERVED", version: int = 1
) -> Reservation:
    return Reservation(
        ReservationId(name),
        DEPOT,
        Interval(at(start), at(end)),
        TokenId("token"),
        evse_id,
        energy_kwh=20.5,
        guaranteed_power_kw=4.14,
        status=ReservationStatus(status),
        created_at=at(1),
        version=version,
    )


HELD = booked("held", 9, 11)


class TestReservations:
    async def test_one_is_added_read_and_replaced_version_by_version(self, stores: Stores) -> None:
        await stores.reservations.add(HELD)
        assert await stores.reservations.reservation(HELD.id) == HELD
        fulfilled = replace(HELD, status=ReservationStatus.FULFILLED, version=2)
        await stores.reservations.save(fulfilled)
        assert await stores.reservations.reservation(HELD.id) == fulfilled

    @pytest.mark.parametrize("version", [1, 3], ids=["somebody else was first", "a version left out"])
    async def test_another_version_than_the_next_is_a_conflict(self, stores: Stores, version: int) -> None:
        await stores.reservations.add(HELD)
        with pytest.raises(Conflict, match="version"):
            await stores.reservations.save(replace(HELD, energy_kwh=1.0, version=version))
        assert await stores.reservations.reservation(HELD.id) == HELD

    async def test_an_unknown_one_is_not_found(self, stores: Stores) -> None:
        with pytest.raises(NotFound, match="held"):
            await stores.reservations.reservation(HELD.id)
        with pytest.raises(NotFound, match="held"):
            await stores.reservations.save(HELD)

    async def test_the_same_id_again_is_a_conflict(self, stores: Stores) -> None:
        await stores.reservations.add(HELD)
        with pytest.raises(Conflict, match="held"):
            await stores.reservations.add(replace(HELD, window=Interval(at(20), at(21))))

    @pytest.mark.parametrize(
        "other",
        [
            booked("new", 8, 9.5),
            booked("new", 10.5, 12),
            booked("new", 9.5, 10),
            booked("new", 8, 12),
            booked("new", 9, 11),
        ],
        ids=["[   (  ]   )", "(   [  )   ]", "(  [   ]   )", "[  (   )   ]", "the same window"],
    )
    async def test_an_evse_is_promised_once(self, stores: Stores, other: Reservation) -> None:
        await stores.reservations.add(HELD)
        with pytest.raises(Conflict, match="held"):
            await stores.reservations.add(other)
        assert await stores.reservations.reservations(DEPOT, at(0), at(24)) == (HELD,)

    @pytest.mark.parametrize(
        "other",
        [
            booked("new", 8, 9),
            booked("new", 11, 12),
            booked("new", 9, 11, evse_id=OTHER_EVSE),
            booked("new", 9, 11, evse_id=None),
        ],
        ids=["ends when the other begins", "begins when the other ends", "another EVSE", "any EVSE"],
    )
    async def test_what_does_not_collide_is_added(self, stores: Stores, other: Reservation) -> None:
        await stores.reservations.add(HELD)
        await stores.reservations.add(other)
        assert len(await stores.reservations.reservations(DEPOT, at(0), at(24))) == 2

    @pytest.mark.parametrize("status", ["CANCELED", "NO_SHOW", "FULFILLED", "REJECTED"])
    async def test_one_that_does_not_stand_any_more_holds_nothing(self, stores: Stores, status: str) -> None:
        await stores.reservations.add(HELD)
        await stores.reservations.save(replace(HELD, status=ReservationStatus(status), version=2))
        await stores.reservations.add(booked("new", 9, 11))

    async def test_of_two_at_the_same_moment_one_gets_the_evse(self, stores: Stores) -> None:
        answers = await asyncio.gather(
            *(stores.reservations.add(booked(f"r{number}", 9, 11)) for number in range(5)), return_exceptions=True
        )
        assert sum(answer is None for answer in answers) == 1
        assert sum(isinstance(answer, Conflict) for answer in answers) == 4

    async def test_those_that_overlap_a_window_come_by_start(self, stores: Stores) -> None:
        for reservation in (
            booked("c", 10, 12, evse_id=None),
            booked("a", 6, 8, evse_id=None),
            booked("b", 7, 9, evse_id=None),
            booked("d", 12, 13, evse_id=None),
        ):
            await stores.reservations.add(reservation)
        found = await stores.reservations.reservations(DEPOT, at(8), at(12))
        assert [reservation.id for reservation in found] == ["b", "c"]
        assert await stores.reservations.reservations(OFFICE, at(0), at(24)) == ()


def asked(name: str, *hours: tuple[float, float]) -> GridEvent:
    intervals = tuple(GridEventInterval(Interval(at(start), at(end)), 40.5) for start, end in hours)
    return GridEvent(GridEventId(name), DEPOT, GridEventKind.IMPORT_LIMIT, intervals, at(1))


class TestGridEvents:
    async def test_one_is_added_read_and_replaced(self, stores: Stores) -> None:
        event = replace(asked("e", (9, 10), (10, 11)), circuit_id=CircuitId("main"), source="oadr3", priority=2)
        await stores.grid_events.save(event)
        assert await stores.grid_events.event(event.id) == event
        kept = replace(event, status=GridEventStatus.ACTIVE, applied_at=at(9), confirmed_at=at(9.01), version=2)
        await stores.grid_events.save(kept)
        assert await stores.grid_events.events(DEPOT, at(0), at(24)) == (kept,)

    async def test_an_unknown_one_is_not_found(self, stores: Stores) -> None:
        with pytest.raises(NotFound, match="none"):
            await stores.grid_events.event(GridEventId("none"))

    async def test_those_that_overlap_a_window_come_by_start(self, stores: Stores) -> None:
        for event in (asked("c", (11, 12)), asked("a", (6, 8)), asked("b", (7, 7.5), (8.5, 9)), asked("d", (12, 13))):
            await stores.grid_events.save(event)
        found = await stores.grid_events.events(DEPOT, at(8), at(12))
        assert [event.id for event in found] == ["b", "c"]
        assert await stores.grid_events.events(OFFICE, at(0), at(24)) == ()


def record_of(name: str, hour: float = 17, **fields: object) -> EnergyCostRecord:
    record = EnergyCostRecord(
        RecordId(name),
        DEPOT,
        SessionId("one"),
        RecordStatus.PROVISIONAL,
        at(hour),
        Interval(at(8), at(17)),
        "EUR",
        Decimal("12.3450"),
        (
            CostLine(CostComponent.GRID_ENERGY, "summer on-peak", Decimal("10.0000001"), Decimal("3.10")),
            CostLine(CostComponent.PV_ENERGY, "sun", Decimal("2.3449999"), Decimal("0.00"), Decimal("-0.19")),
        ),
        TariffId("flat"),
        "2026-01",
        "per interval 1",
        "0" * 64,
    )
    return replace(record, **fields)


class TestRecords:
    async def test_a_record_reads_back_equal_in_every_digit(self, stores: Stores) -> None:
        record = record_of("r", corrects=RecordId("before"), optimizer_pause_h=Decimal("0.250"))
        assert await stores.records.add_record(record) is True
        (stored,) = await stores.records.records(DEPOT)
        assert stored == record
        assert [str(line.quantity) for line in stored.lines] == ["10.0000001", "2.3449999"]
        assert [str(line.amount) for line in stored.lines] == ["3.10", "0.00"]

    async def test_a_repeat_changes_nothing(self, stores: Stores) -> None:
        assert await stores.records.add_record(record_of("r")) is True
        assert await stores.records.add_record(record_of("r", energy_kwh=Decimal(99))) is False
        assert await stores.records.records(DEPOT) == (record_of("r"),)
        assert len(await stores.records.undelivered(at(24), 10)) == 1

    async def test_records_come_by_time_made_and_are_found_by_session_and_status(self, stores: Stores) -> None:
        late, early = record_of("a", 18), record_of("b", 17)
        final = record_of("c", 19, status=RecordStatus.FINAL, session_id=SessionId("two"))
        for record in (late, final, early, record_of("d", site_id=OFFICE)):
            await stores.records.add_record(record)
        assert await stores.records.records(DEPOT) == (early, late, final)
        assert await stores.records.records(DEPOT, session_id=SessionId("two")) == (final,)
        assert await stores.records.records(DEPOT, status=RecordStatus.PROVISIONAL) == (early, late)

    async def test_records_come_a_page_at_a_time(self, stores: Stores) -> None:
        late, early, tied = record_of("a", 18), record_of("b", 17), record_of("0", 18)
        final = record_of("c", 19, status=RecordStatus.FINAL)
        for record in (late, final, early, tied):
            await stores.records.add_record(record)
        assert await stores.records.records(DEPOT, limit=2) == (early, late)
        assert await stores.records.records(DEPOT, after=late.id, limit=1) == (tied,)
        assert await stores.records.records(DEPOT, after=early.id, status=RecordStatus.FINAL) == (final,)
        assert await stores.records.records(DEPOT, after=final.id) == ()
        with pytest.raises(NotFound):
            await stores.records.records(DEPOT, after=RecordId("nobody"))

    async def test_each_record_waits_for_billing_until_it_is_taken(self, stores: Stores) -> None:
        first, second = record_of("first", 17), record_of("second", 18)
        for record in (first, second):
            await stores.records.add_record(record)
        assert await stores.records.undelivered(at(18), 1) == ((first, 0),)
        await stores.records.mark_failed(first.id, at(19), "connection refused")
        assert await stores.records.undelivered(at(18.9), 10) == ((second, 0),)
        await stores.records.mark_delivered(second.id, at(18.9))
        assert await stores.records.undelivered(at(18.9), 10) == ()
        assert await stores.records.undelivered(at(19), 10) == ((first, 1),)
        await stores.records.mark_failed(first.id, at(20), "time-out")
        assert await stores.records.undelivered(at(20), 10) == ((first, 2),)

    async def test_bills_come_by_window_and_a_repeat_replaces(self, stores: Stores) -> None:
        lines = (CostLine(CostComponent.DEMAND_CHARGE, "month", Decimal("33.4"), Decimal("517.70")),)
        march = SiteBill(DEPOT, Interval(at(0), at(24)), "EUR", lines, Decimal("33.400"))
        february = replace(march, window=Interval(at(-24), at(0)), lines=())
        for bill in (march, february, replace(march, window=Interval(at(0), at(24)), peak_kw=Decimal("34.0"))):
            await stores.records.save_bill(bill)
        found = await stores.records.bills(DEPOT)
        assert found == (february, replace(march, peak_kw=Decimal("34.0")))
        assert found[1].total == Decimal("517.70")
        assert await stores.records.bills(OFFICE) == ()


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
