"""What is expected of drivers who say nothing: what their own earlier stays came to."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from ledger_book import EVSE, GARAGE, MINUTE, SITE, START, STATION, Book

from optimizer.control.habits import LEAST_STAYS, MOST_TOKENS, DriverHabits
from optimizer.control.ledger import LedgerListeners, SessionLedger
from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import ConnectorStatus, TransactionBegun
from optimizer.domain.ids import SessionId, TokenId, TransactionId
from optimizer.domain.session import DepartureTarget, Session, TargetSource


def stay(hours: float | None, energy_kwh: float, token: str | None = "anna", number: int = 0) -> Session:
    begun = START - timedelta(days=30) + timedelta(days=number)
    return Session(
        SessionId(f"s{number}"), SITE, EVSE, begun,
        token_id=None if token is None else TokenId(token),
        unplugged_at=None if hours is None else begun + timedelta(hours=hours),
        energy_kwh=energy_kwh,
    )  # fmt: skip


def known(*stays: Session) -> DriverHabits:
    habits = DriverHabits()
    for one in stays:
        habits.note(one)
    return habits


REGULAR = [stay(8.0 + 0.5 * number, 10.0 + number, number=number) for number in range(5)]


def test_a_regular_driver_is_expected_to_do_as_ever() -> None:
    target = known(*REGULAR).target(stay(None, 0.0))
    assert target is not None
    assert target.source is TargetSource.LEARNT
    assert target.depart_at == stay(None, 0.0).plugged_in_at + timedelta(hours=8.5), "the shorter quarter of the stays"
    assert target.energy_kwh == 13.0, "the greater quarter of the energies"


@pytest.mark.parametrize(
    ("case", "stays", "token"),
    [
        ("too few stays", REGULAR[: LEAST_STAYS - 1], "anna"),
        ("another driver", REGULAR, "bert"),
        ("no token", REGULAR, None),
        ("stays that took nothing", [stay(8.0, 0.0)] * 5, "anna"),
        ("stays that go on", [stay(None, 9.0)] * 5, "anna"),
    ],
)
def test_what_is_no_habit(case: str, stays: list[Session], token: str | None) -> None:
    assert known(*stays).target(stay(None, 0.0, token)) is None, case


def test_old_stays_and_old_tokens_give_way() -> None:
    habits = known(*[stay(9.0, 40.0)] * 30, *[stay(3.0, 5.0)] * 20)
    target = habits.target(stay(None, 0.0))
    assert target is not None
    assert target.energy_kwh == 5.0
    for number in range(MOST_TOKENS):
        habits.note(stay(1.0, 1.0, f"token {number}"))
    assert habits.target(stay(None, 0.0)) is None


class RegularBook(Book):
    """A ledger that knows what Anna usually needs."""

    def open(self) -> None:
        listeners = LedgerListeners(self.changes.append, lambda: None, self._note_end, self._note_reconnect)
        self.ledger = SessionLedger(
            GARAGE, self.stores, self.clock, ControlSettings(), listeners, self.knows_token, known(*REGULAR).target
        )  # fmt: skip


async def test_a_token_at_plug_in_brings_its_habit() -> None:
    book = RegularBook()
    await book.begin(0)
    (target,) = (await book.the_session()).targets
    assert (target.source, target.energy_kwh) == (TargetSource.LEARNT, 13.0)


async def test_so_does_one_that_comes_later() -> None:
    book = RegularBook()
    await book.status(0, ConnectorStatus.PREPARING)
    (assumed,) = (await book.the_session()).targets
    assert assumed.source is TargetSource.DEFAULT
    await book.begin(2)
    (target,) = (await book.the_session()).targets
    assert target.source is TargetSource.LEARNT


async def test_what_somebody_says_goes_before_it() -> None:
    book = RegularBook()
    await book.status(0, ConnectorStatus.PREPARING)
    stated = DepartureTarget(START + timedelta(hours=2), energy_kwh=30.0, source=TargetSource.API)
    await book.ledger.set_targets((await book.the_session()).id, (stated,))
    await book.begin(2)
    assert (await book.the_session()).targets == (stated,)


async def test_a_token_that_is_presented_after_the_transaction_began_is_the_sessions() -> None:
    book = RegularBook(knows_token=lambda token: token != TokenId("thief"))
    await book.begin(0, token=None, transaction="tx-1")
    assert (await book.the_session()).token_id is None
    await book.begin(3, token="anna", transaction="tx-1")
    session = await book.the_session()
    assert (session.token_id, session.may_charge) == (TokenId("anna"), True)
    assert session.targets[0].source is TargetSource.LEARNT
    assert session.transaction_begun_at == START
    event = TransactionBegun(STATION, 1, START + MINUTE * 4, TokenId("thief"), TransactionId("tx-1"), Decimal(100))
    await book.ledger.transaction_begun(event)
    assert (await book.the_session()).token_id == TokenId("anna"), "the first token is the driver's"


async def test_a_late_token_that_may_not_charge_gets_nothing() -> None:
    book = RegularBook(knows_token=lambda _: False)
    await book.begin(0, token=None, transaction="tx-1")
    opened = await book.begin(3, token="thief", transaction="tx-1")
    assert not opened.accepted
    assert not (await book.the_session()).may_charge
