"""What a call has returned from is there after the process was killed."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

from sqlalchemy import text

from connectors.storage import DatabaseStores, open_stores
from connectors.storage.database import database_url, writing_lane
from optimizer.domain.ids import SessionId, StationId, TransactionId
from optimizer.domain.site import Site
from optimizer.errors import NotFound

WRITER = Path(__file__).with_name("acknowledging_writer.py")
ROOT = Path(__file__).parents[3]
RUNS = 3
LINES_BEFORE_THE_KILL = 150


def acknowledged_until_killed(url: str, run: int) -> list[list[str]]:
    """Let the writer write, kill it in the middle, and give what it had told."""
    process = subprocess.Popen(
        [sys.executable, str(WRITER), url, str(run)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(LINES_BEFORE_THE_KILL)]
    process.kill()
    lines += process.stdout.readlines()
    process.stdout.close()
    assert process.wait() < 0
    return [line.split() for line in lines if line.endswith("\n")]


async def test_every_acknowledged_value_outlives_kills(url: str, depot: Site) -> None:
    told = [line for run in range(RUNS) for line in acknowledged_until_killed(url, run)]
    assert {kind for kind, *_ in told} == {"sample", "transaction", "pair"}
    registers: defaultdict[str, set[Decimal]] = defaultdict(set)
    async with await open_stores(url, [depot]) as stores:
        for kind, name, value in told:
            match kind:
                case "sample":
                    registers[name].add(Decimal(value))
                case "transaction":
                    session = await stores.sessions.session_of_transaction(StationId("box"), TransactionId(value))
                    assert session is not None
                    assert session.id == name
                case _:
                    assert await halves(stores, name) == 2
        for name, acknowledged in registers.items():
            stored = await stores.meters.session_samples(SessionId(name))
            assert acknowledged <= {sample.register_kwh for sample in stored}
    given = [value for kind, _, value in told if kind == "transaction"]
    assert len(set(given)) == len(given)


async def test_no_block_is_stored_by_half(url: str, depot: Site) -> None:
    told = acknowledged_until_killed(url, 0)
    pairs = max(int(name.split("-")[1]) for kind, name, _ in told if kind == "pair")
    async with await open_stores(url, [depot]) as stores:
        found = [await halves(stores, f"0-{number}") for number in range(1, pairs + 10)]
    assert set(found) <= {0, 2}
    assert found.count(2) >= pairs


async def test_a_commit_waits_for_the_disk(url: str) -> None:
    async with await open_stores(url):
        lane = writing_lane(database_url(url))
        settings = await lane.run(
            lambda connection: {
                name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
        )
        await lane.close()
    full = 2
    assert settings == {"journal_mode": "wal", "synchronous": full, "foreign_keys": 1, "busy_timeout": 10_000}


async def halves(stores: DatabaseStores, name: str) -> int:
    count = 0
    for half in ("left", "right"):
        try:
            await stores.sessions.session(SessionId(f"{half}{name}"))
            count += 1
        except NotFound:
            pass
    return count
