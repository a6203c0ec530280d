"""What judges the fault runs: whose fault an excess is, and what of the books nobody could have known."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest

from optimizer.domain.ids import CircuitId, EvseId, SiteId, StationId, TariffId, TokenId, TransactionId
from optimizer.domain.metering import MeterSample
from optimizer.domain.site import Circuit, Evse, GridConnection, Site, Station
from scenarios.faults.audit import FaultAudit, Sent
from scenarios.faults.books import TrueTransaction, faults_in_books, with_hidden_units
from scenarios.faults.draw import START
from scenarios.limit_audit import BaseFlow, Draw
from scenarios.memory_stores import MemoryStores
from scenarios.station_state import Transaction

STATION, EVSE = StationId("S"), EvseId("S-1")
SITE = Site(
    id=SiteId("site"),
    name="One station",
    time_zone="UTC",
    currency="EUR",
    circuits=(Circuit(CircuitId("grid"), None),),
    stations=(Station(STATION, (Evse(EVSE, STATION, 1, CircuitId("grid"), 32.0),)),),
    grid_connection=GridConnection(CircuitId("grid"), 20.0),
    tariff_id=TariffId("flat"),
)
AGE_S = 15.0


def building(kw: float) -> BaseFlow:
    return BaseFlow(kw, 0.0, 0.0, 0.0)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


@pytest.mark.parametrize(
    ("case", "switched_on_s", "raised_s", "is_wrong"),
    [
        ("the building after the raise", 40.0, 30.0, False),
        ("the building before the raise, no reading need show it yet", 20.0, 30.0, False),
        ("the building long before the raise", 5.0, 30.0, True),
    ],
)
def test_whose_fault_an_excess_is(case: str, switched_on_s: float, raised_s: float, is_wrong: bool) -> None:
    """A limit of 20 kW: 15 kW of building and 11 kW of vehicle are too much, either of them with little else is not."""
    audit = FaultAudit(SITE, lambda _: True, seconds(AGE_S))
    drawn_from_s = max(switched_on_s, raised_s) + 2.0
    was_raised = False
    for second in range(60):
        at, now_kw = START + seconds(second), 15.0 if second >= switched_on_s else 5.0
        if second >= raised_s and not was_raised:
            was_raised = True
            audit.note_increase(Sent(EVSE, at, {}, audit.least_base(at), 16.0))
        draws = {EVSE: Draw(11.04 if second >= drawn_from_s else 0.0, 3)}
        audit.note(at, at + seconds(1), draws, building(now_kw))
    assert bool(audit.wrong_increases) is is_wrong, case
    assert audit.longest is not None, "it is an excess all the same"


def transaction(name: str, start_s: float, end_s: float, kwh: str) -> TrueTransaction:
    """One at a station that tells kWh as Wh."""
    done = Transaction(TransactionId(name), TokenId("T"), START + seconds(start_s), Decimal(0))
    done.ended_at, done.end_register_kwh, done.is_acknowledged = START + seconds(end_s), Decimal(kwh), True
    return TrueTransaction(STATION, EVSE, done, "OCPP 2.1, kwh_as_wh", tells_kwh_as_wh=True)


@pytest.mark.parametrize(
    ("case", "powers_kw", "hidden"),
    [
        ("no power was ever told", {"a": [0.0, 0.0], "b": []}, ["a", "b"]),
        ("one value with power", {"a": [0.0, 11.0, 0.0], "b": []}, ["a", "b"]),
        ("found out in the second", {"a": [0.0, 11.0], "b": [11.0, 11.0]}, ["a"]),
        ("found out in the first, so known in the second", {"a": [11.0, 11.0], "b": [0.0]}, []),
    ],
)
def test_what_nobody_could_have_known(case: str, powers_kw: dict[str, list[float]], hidden: list[str]) -> None:
    async def story() -> list[TrueTransaction]:
        stores = MemoryStores([SITE])
        happened = [transaction("a", 0.0, 100.0, "0.05"), transaction("b", 200.0, 300.0, "0.05")]
        samples = [
            MeterSample(
                STATION, EVSE, one.transaction.started_at + seconds(10 * place), TransactionId(name), None, power
            )
            for one, (name, powers) in zip(happened, powers_kw.items(), strict=True)
            for place, power in enumerate(powers)
        ]
        await stores.meters.add_samples(samples, [None] * len(samples))
        return await with_hidden_units(SITE, stores, happened, START, START + timedelta(hours=1))

    found = asyncio.run(story())
    assert [one.transaction.id for one in found if one.hides_its_unit] == hidden, case


def test_a_transaction_that_is_in_no_book_is_told() -> None:
    async def story() -> list[str]:
        happened = [transaction("a", 0.0, 100.0, "0.05")]
        return await faults_in_books(SITE, MemoryStores([SITE]), happened, START, START + timedelta(hours=1))

    assert any("is lost" in fault for fault in asyncio.run(story()))
