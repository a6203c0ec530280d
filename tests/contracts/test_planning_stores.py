"""What every store of plans, reservations, grid events and cost records must do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest
from store_cases import (
    DEPOT,
    FIGURES,
    HELD,
    OFFICE,
    OTHER_EVSE,
    asked,
    at,
    booked,
    plan_of,
    record_of,
)

from optimizer.domain.cost import CostComponent, CostLine, RecordStatus, SiteBill
from optimizer.domain.event import GridEventStatus
from optimizer.domain.ids import (
    CircuitId,
    GridEventId,
    RecordId,
    SessionId,
)
from optimizer.domain.moment import Interval
from optimizer.domain.plan import (
    Fallback,
    FeasibleAtLimit,
    PlanOutcome,
    ProvenOptimal,
)
from optimizer.domain.reservation import Reservation, ReservationStatus
from optimizer.errors import Conflict, NotFound
from optimizer.ports import Stores


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
