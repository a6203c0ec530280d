"""What control learns from its own book of sessions, read once a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from bench import SITE, evse_at, site_with
from virtual_time import run_virtual

from optimizer.control.past_days import PastDays
from optimizer.domain.ids import EvseId, SessionId, TariffId
from optimizer.domain.session import DepartureTarget, Session
from optimizer.domain.tariff import DemandCharge, EnergyBand, Tariff, TariffWindow
from scenarios.memory_stores import MemoryStores

GARAGE = site_with([evse_at("a"), evse_at("b")])
CHARGE = DemandCharge("peak", Decimal(15))
TARIFF = Tariff(TariffId("t"), "t", "EUR", "UTC", (EnergyBand("all day", TariffWindow(), Decimal("0.2")),), (CHARGE,))
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def stay(day: int, begin_h: float, end_h: float, energy_kwh: float) -> Session:
    """A stay on a day counted from Monday."""
    start = MONDAY + timedelta(days=day)
    return Session(
        SessionId(f"{day} {begin_h}"),
        SITE,
        EvseId("a"),
        start + timedelta(hours=begin_h),
        unplugged_at=start + timedelta(hours=end_h),
        energy_kwh=energy_kwh,
    )


class CountingStores(MemoryStores):
    """Counts how often the past is read."""

    def __init__(self) -> None:
        super().__init__([GARAGE])
        self.reads = 0
        unchanged = self.sessions.sessions_since

        async def counted(site_id: object, start: datetime) -> tuple[Session, ...]:
            self.reads += 1
            return await unchanged(site_id, start)  # type: ignore[arg-type]

        self.sessions.sessions_since = counted  # type: ignore[method-assign,assignment]


def looked_back(stays: list[Session], at: datetime, past: PastDays | None = None) -> tuple[PastDays, CountingStores]:
    stores, past = CountingStores(), past or PastDays(35)

    async def scenario() -> None:
        for one in stays:
            await stores.sessions.save_session(one)
        await past.look_back(GARAGE, stores, TARIFF, at)
        await past.look_back(GARAGE, stores, TARIFF, at + timedelta(hours=3))

    run_virtual(scenario())
    return past, stores


@pytest.mark.parametrize(
    ("case", "stays", "at", "least_kw", "most_kw"),
    [
        ("no past", [], MONDAY, None, None),
        ("a weekend says nothing of working days", [stay(-1, 8, 12, 8)], MONDAY, None, None),
        ("one working day", [stay(0, 8, 12, 8)], MONDAY + timedelta(days=1), 2.0, 3.5),
        ("the last day of the month", [stay(28, 8, 12, 8)], MONDAY + timedelta(days=29), 1.4, 2.1),
    ],
)
def test_the_peak_is_learnt_from_days_of_the_kind_to_come(
    case: str, stays: list[Session], at: datetime, least_kw: float | None, most_kw: float | None
) -> None:
    past, stores = looked_back(stays, at)
    sure_kw = past.sure_peak_kw(CHARGE)
    if least_kw is None or most_kw is None:
        assert sure_kw is None, case
    else:
        assert sure_kw is not None
        assert least_kw <= sure_kw <= most_kw, case
    assert stores.reads == 1, case


def test_who_lasts_counts_as_stated_and_is_looked_at_again_when_gone() -> None:
    tuesday = MONDAY + timedelta(days=1)
    lasting = Session(
        SessionId("lasts"),
        SITE,
        EvseId("a"),
        MONDAY + timedelta(hours=20),
        targets=(DepartureTarget(MONDAY + timedelta(hours=32), energy_kwh=12.0),),
        energy_kwh=3.0,
    )
    past, _ = looked_back([lasting], tuesday)
    expected = past.still_to_come(TARIFF, tuesday)
    assert expected is not None
    assert max(expected.values_kw) == pytest.approx(1.0)
    gone = Session(
        lasting.id, SITE, lasting.evse_id, lasting.plugged_in_at,
        unplugged_at=MONDAY + timedelta(hours=26), energy_kwh=3.0,
    )  # fmt: skip
    wednesday = tuesday + timedelta(days=1)
    past, _ = looked_back([gone], wednesday, past)
    expected = past.still_to_come(TARIFF, wednesday)
    assert expected is not None
    assert max(expected.values_kw) == pytest.approx(0.25)


def test_nothing_is_learnt_where_no_past_is_wanted() -> None:
    past, stores = looked_back([stay(0, 8, 12, 8)], MONDAY + timedelta(days=1), PastDays(0))
    assert stores.reads == 0
    assert past.sure_peak_kw(CHARGE) is None
    assert past.still_to_come(TARIFF, MONDAY) is None
