"""The book of sessions: one stay from plug-in to plug-out, and what its samples tell of the vehicle."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from bench import SITE
from ledger_book import AVAILABLE, CHARGING, EVSE, FINISHING, MINUTE, PREPARING, Book, told
from virtual_time import START

from optimizer.domain.charger import (
    ConnectorStatus,
    LimitPeriod,
    LimitState,
    Setpoint,
)
from optimizer.domain.moment import Interval
from optimizer.domain.session import DepartureTarget


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


def test_only_a_report_that_changes_a_stay_holds_the_writer() -> None:
    """After a power cut thousands report what is known already: each of them is one write among others."""
    held: list[ConnectorStatus] = []

    async def story(book: Book) -> None:
        await book.until(100)
        together = book.stores.together
        faulted = ConnectorStatus.FAULTED
        reports = (AVAILABLE, faulted, AVAILABLE, PREPARING, PREPARING, CHARGING, CHARGING, faulted, AVAILABLE)
        for minute, status in enumerate((*reports, AVAILABLE), start=1):

            def noted(told: ConnectorStatus = status) -> Any:
                held.append(told)
                return together()

            book.stores.together = noted  # type: ignore[method-assign]
            await book.status(minute, status)
        (session,) = await book.sessions()
        assert (session.plugged_in_at, session.unplugged_at) == (START + MINUTE * 4, START + MINUTE * 9)
        assert (await book.stores.connectors.connector(SITE, EVSE)).status is AVAILABLE

    told(story)
    assert held == [PREPARING, AVAILABLE]


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
