"""What is read again of a site that was read before: what was written since, and now and then everything."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from connectors.storage import DatabaseStores, open_stores
from connectors.storage.occupancy import LOOKS_BETWEEN_WHOLE_ONES
from optimizer.domain.charger import LimitPeriod, LimitState, Setpoint
from optimizer.domain.ids import EvseId, SessionId, SiteId
from optimizer.domain.session import Session
from optimizer.domain.site import Site
from optimizer.errors import StorageFailed

DEPOT, BOX = SiteId("depot"), EvseId("box/1")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SESSION = Session(SessionId("one"), DEPOT, BOX, NOON)
SETPOINT = Setpoint(BOX, (LimitPeriod(NOON, 11.0),), LimitState.SENT, NOON)


def statements_of(stores: DatabaseStores, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The SQL of everything that is read from now on."""
    told: list[str] = []
    run = stores._reader.run

    async def noted(work: Any) -> Any:
        def with_notes(connection: Connection) -> Any:
            execute = connection.execute

            def tell(statement: Any, *rest: Any) -> Any:
                told.append(str(statement))
                return execute(statement, *rest)

            connection.execute = tell  # type: ignore[method-assign]
            return work(connection)

        return await run(with_notes)

    monkeypatch.setattr(stores._reader, "run", noted)
    return told


async def test_only_what_was_written_since_is_read_again(
    stores: DatabaseStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stores.connectors.occupancy(DEPOT)
    told = statements_of(stores, monkeypatch)
    await stores.connectors.occupancy(DEPOT)
    assert told == [], "nothing was written"
    await stores.connectors.save_setpoint(SETPOINT)
    assert (await stores.connectors.occupancy(DEPOT)).connectors[BOX].setpoint == SETPOINT
    assert len(told) == 3
    assert all(" IN (" in statement for statement in told)
    assert await stores.connectors.connector(DEPOT, BOX)
    assert len(told) == 3, "what was just read is not read again for one EVSE"


async def test_what_another_process_writes_is_seen_after_a_while(url: str, depot: Site) -> None:
    async with await open_stores(url, [depot]) as ours, await open_stores(url, [depot]) as theirs:
        await ours.connectors.occupancy(DEPOT)
        await theirs.sessions.save_session(SESSION)
        looks = [await ours.connectors.occupancy(DEPOT) for _ in range(LOOKS_BETWEEN_WHOLE_ONES)]
        assert looks[-1].sessions == (SESSION,)


async def test_where_reading_fails_nothing_is_thought_to_be_known(
    stores: DatabaseStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stores.connectors.occupancy(DEPOT)
    await stores.sessions.save_session(SESSION)

    async def fail(_: Any) -> Any:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(stores._reader, "run", fail)
        with pytest.raises(StorageFailed, match="gone"):
            await stores.connectors.occupancy(DEPOT)
        with pytest.raises(StorageFailed, match="gone"):
            await stores.connectors.connector(DEPOT, BOX)
    assert (await stores.connectors.connector(DEPOT, BOX)).session_id == SESSION.id
    assert (await stores.connectors.occupancy(DEPOT)).sessions == (SESSION,)


async def test_a_write_during_a_read_is_read_the_next_time(
    stores: DatabaseStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stores.connectors.occupancy(DEPOT)
    await stores.sessions.save_session(SESSION)
    run, reading, go_on = stores._reader.run, asyncio.Event(), asyncio.Event()

    async def slow(work: Any) -> Any:
        answer = await run(work)
        reading.set()
        await go_on.wait()
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(stores._reader, "run", slow)
        look = asyncio.create_task(stores.connectors.occupancy(DEPOT))
        await reading.wait()
    one = asyncio.create_task(stores.connectors.connector(DEPOT, BOX))
    assert (await one).session_id == SESSION.id, "what is only being read is not taken for known"
    await stores.connectors.save_setpoint(SETPOINT)
    go_on.set()
    assert (await look).connectors[BOX].setpoint is None
    assert (await stores.connectors.connector(DEPOT, BOX)).setpoint == SETPOINT
    assert (await stores.connectors.occupancy(DEPOT)).connectors[BOX].setpoint == SETPOINT


async def test_many_looks_at_once_and_many_writes_end_at_what_was_written_last(stores: DatabaseStores) -> None:
    async def write(number: int) -> None:
        await stores.connectors.save_safe_default(BOX, float(number))

    look = partial(stores.connectors.occupancy, DEPOT)
    for number in range(50):
        await asyncio.gather(look(), write(number), look(), write(number), look())
        assert (await look()).connectors[BOX].safe_default_kw == number
