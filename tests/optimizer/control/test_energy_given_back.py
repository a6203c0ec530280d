"""What a vehicle lent is not delivered: a target in kWh is met by what stays in the vehicle."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from test_ledger import CHARGING, MINUTE, START, Book, told

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
