"""What a vehicle lent is not delivered: a target in kWh is met by what stays in the vehicle."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from ledger_book import CHARGING, MINUTE, START, Book, told

from optimizer.domain.session import DepartureTarget, TargetSource
from optimizer.planning.needs import needs_of
from optimizer.planning.settings import PlanningSettings


@pytest.mark.parametrize(
    ("case", "given_back_kwh", "delivered_kwh", "needed_kwh"),
    [
        ("nothing given back", ("0", "0"), 2.0, 8.0),
        ("half a kWh given back", ("7", "7.5"), 1.5, 8.5),
        ("more given back than taken", ("7", "10"), -1.0, 11.0),
        ("a meter that does not tell", (None, None), 2.0, 8.0),
        ("a meter that began to tell later", (None, "7.5"), 2.0, 8.0),
        ("a register that starts again at zero", ("7.5", "0"), 2.0, 8.0),
    ],
)
def test_what_was_given_back_is_still_needed(
    case: str, given_back_kwh: tuple[str | None, str | None], delivered_kwh: float, needed_kwh: float
) -> None:
    first, second = (None if kwh is None else Decimal(kwh) for kwh in given_back_kwh)

    async def story(book: Book) -> None:
        await book.until(100)
        opened = await book.begin(2)
        await book.status(2, CHARGING)
        await book.sample(12, "101.0", 6.0, opened.transaction_id, export_register_kwh=first)
        await book.sample(22, "102.0", 6.0, opened.transaction_id, export_register_kwh=second)
        session = await book.the_session()
        assert session.energy_kwh == pytest.approx(delivered_kwh), case
        target = DepartureTarget(START + MINUTE * 600, energy_kwh=10.0, source=TargetSource.API)
        (need,) = needs_of(replace(session, targets=(target,)), START + MINUTE * 22, PlanningSettings())
        assert need.energy_kwh == pytest.approx(needed_kwh), case

    told(story)


@pytest.mark.parametrize(
    ("case", "stated_soc", "battery_kwh", "given_back_kwh", "soc"),
    [
        ("it charged 2 kWh", 0.4, 50.0, "0", 0.436),
        ("it gave 4 kWh back meanwhile", 0.4, 50.0, "4", 0.4 - 2.0 / 0.9 / 50.0),
        ("it cannot be fuller than full", 0.999, 50.0, "0", 1.0),
        ("nor emptier than empty", 0.01, 50.0, "9", 0.0),
        ("the size of the battery is not known", 0.4, None, "0", 0.4),
        ("it stated nothing", None, 50.0, "0", None),
    ],
)
def test_a_stated_soc_goes_on_with_what_is_metered(
    case: str, stated_soc: float | None, battery_kwh: float | None, given_back_kwh: str, soc: float | None
) -> None:
    """AC meters tell no soc: a target in soc, and what may still be lent, would stand still."""

    async def story(book: Book) -> None:
        await book.until(100)
        opened = await book.begin(2)
        await book.status(2, CHARGING)
        await book.sample(12, "101.0", 6.0, opened.transaction_id, export_register_kwh=Decimal(0))
        session = await book.the_session()
        vehicle = replace(session.vehicle, battery_kwh=battery_kwh, charge_efficiency=0.9)
        await book.stores.sessions.save_session(replace(session, soc=stated_soc, vehicle=vehicle))
        exported = Decimal(given_back_kwh)
        await book.sample(32, "103.0", 6.0, opened.transaction_id, export_register_kwh=exported)
        session = await book.the_session()
        assert session.soc == (soc if soc is None else pytest.approx(soc)), case
        await book.sample(33, "103.1", 6.0, opened.transaction_id, soc=0.77)
        assert (await book.the_session()).soc == 0.77, "what is told goes before what is reckoned"

    told(story)
