"""Writes without end and prints each value once the store has acknowledged it; the durability test kills it.

Arguments: the URL of the database and the number of the run.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from connectors.storage import DatabaseStores, open_stores
from optimizer.domain.charger import TransactionBegun
from optimizer.domain.ids import EvseId, SessionId, SiteId, StationId
from optimizer.domain.metering import MeterSample
from optimizer.domain.session import Session

DAY = datetime(2026, 3, 1, tzinfo=UTC)
SITE = SiteId("depot")
EVSE = EvseId("box/1")
STATION = StationId("box")


async def write_samples(stores: DatabaseStores, run: int, writer: int) -> None:
    number = 0
    while True:
        number += 1
        sample = MeterSample(STATION, EVSE, DAY + timedelta(seconds=number, microseconds=100 * run + writer))
        session_id = SessionId(f"s{run}-{writer}")
        await stores.meters.add_samples([replace(sample, register_kwh=Decimal(number))], [session_id])
        print("sample", session_id, number, flush=True)


async def open_transactions(stores: DatabaseStores, run: int) -> None:
    number = 0
    while True:
        number += 1
        at = DAY + timedelta(days=run, seconds=number)
        session = Session(SessionId(f"t{run}-{number}"), SITE, EVSE, at)
        opened = await stores.sessions.open_transaction(TransactionBegun(STATION, 1, at, None, None), session)
        print("transaction", session.id, opened.transaction_id, flush=True)


async def write_pairs(stores: DatabaseStores, run: int) -> None:
    number = 0
    while True:
        number += 1
        async with stores.together():
            for half in ("left", "right"):
                session = Session(SessionId(f"{half}{run}-{number}"), SITE, EVSE, DAY)
                await stores.sessions.save_session(session)
        print("pair", f"{run}-{number}", "-", flush=True)


async def main(url: str, run: int) -> None:
    async with await open_stores(url) as stores:
        await asyncio.gather(
            *(write_samples(stores, run, writer) for writer in range(5)),
            open_transactions(stores, run),
            write_pairs(stores, run),
        )


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
