"""Measures the way of meter samples into the database: ``python tests/optimizer/control/measure_inbound.py``.

Every station sends one sample every ``--period`` seconds through the book of sessions into a SQLite file. Printed are
how long stations wait for their answer and what share of one processor it takes; then, with all of them sending as
fast as they are answered, how many samples a second go through.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from bench import evse_at, site_with

from connectors.clock import SystemClock
from connectors.storage.stores import DatabaseStores, open_stores
from optimizer.control.ledger import LedgerListeners, SessionLedger
from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import ConnectorReported, ConnectorStatus, TransactionBegun
from optimizer.domain.ids import StationId, TokenId, TransactionId
from optimizer.domain.metering import MeterSample
from optimizer.domain.session import Session
from optimizer.domain.site import Evse, Site


async def nobody(_: Session | StationId) -> None:
    """Nobody is told."""


class Car:
    """A vehicle that charges at 11 kW and meters a minute at every sample."""

    def __init__(self, ledger: SessionLedger, evse: Evse, begun_at: datetime) -> None:
        self._ledger = ledger
        self._evse = evse
        self._at = begun_at
        self._register_kwh = Decimal(100)
        self._transaction_id: TransactionId | None = None
        self.waits_s: list[float] = []

    async def plug_in(self) -> None:
        station_id = self._evse.station_id
        await self._ledger.connector_reported(ConnectorReported(station_id, 1, ConnectorStatus.CHARGING, self._at))
        begun = TransactionBegun(station_id, 1, self._at, TokenId("driver"), None, self._register_kwh)
        self._transaction_id = (await self._ledger.transaction_begun(begun)).transaction_id

    async def send(self) -> None:
        self._at += timedelta(minutes=1)
        self._register_kwh += Decimal("0.183")
        sample = MeterSample(
            self._evse.station_id,
            self._evse.id,
            self._at,
            self._transaction_id,
            register_kwh=self._register_kwh,
            power_kw=11.0,
            current_a=(16.0, 16.0, 16.0),
        )
        begun_s = time.perf_counter()
        await self._ledger.meter_sampled([sample])
        self.waits_s.append(time.perf_counter() - begun_s)

    async def drive(self, period_s: float, until_s: float, offset_s: float) -> None:
        due_s = time.monotonic() + offset_s
        while max(due_s, time.monotonic()) < until_s:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            await self.send()
            due_s += period_s


async def measured(site: Site, stores: DatabaseStores, period_s: float, seconds: float) -> str:
    listeners = LedgerListeners(lambda _: None, lambda: None, nobody, nobody)
    ledger = SessionLedger(site, stores, SystemClock(), ControlSettings(), listeners)
    begun_at = SystemClock().now() - timedelta(days=2)
    cars = [Car(ledger, evse, begun_at) for evse in site.evses.values()]
    for car in cars:
        await car.plug_in()
    processor_s, until_s = time.process_time(), time.monotonic() + seconds
    await asyncio.gather(*(car.drive(period_s, until_s, period_s * i / len(cars)) for i, car in enumerate(cars)))
    waits_s = [wait_s for car in cars for wait_s in car.waits_s]
    share = (time.process_time() - processor_s) / seconds
    return (
        f"{len(waits_s) / seconds:7.1f} samples/s, answered in {1e3 * statistics.median(waits_s):5.1f} ms"
        f" (longest {1e3 * max(waits_s):6.1f} ms), {100 * share:3.0f} % of a processor"
    )


async def in_new_database(stations: int, work: Callable[[Site, DatabaseStores], object]) -> None:
    site = site_with([evse_at(str(number)) for number in range(stations)])
    with tempfile.TemporaryDirectory() as folder:
        async with await open_stores(f"sqlite:///{Path(folder)}/measure.db", [site]) as stores:
            await work(site, stores)  # type: ignore[misc]


async def measure(stations: int, period_s: float, seconds: float) -> None:
    async def both(site: Site, stores: DatabaseStores) -> None:
        print(f"{stations:3d} stations every {period_s} s:", await measured(site, stores, period_s, seconds))

    async def flat_out(site: Site, stores: DatabaseStores) -> None:
        print(f"{stations:3d} stations at once:    ", await measured(site, stores, 0.0, seconds))

    await in_new_database(stations, both)
    await in_new_database(stations, flat_out)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--period", type=float, default=0.6)
    arguments.add_argument("--seconds", type=float, default=5.0)
    given = arguments.parse_args()
    for count in (8, 36):
        asyncio.run(measure(count, given.period, given.seconds))
