"""Values that a station can send and a database cannot take: they fail alone, whatever they were written with."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from connectors.storage import DatabaseStores
from optimizer.domain.charger import ConnectorReported, ConnectorStatus, StationBooted, TransactionBegun
from optimizer.domain.ids import EvseId, SessionId, SiteId, StationId, TokenId
from optimizer.domain.metering import MeterSample
from optimizer.domain.session import Session
from optimizer.errors import StorageFailed

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATION = StationId("depot-1")
EVSE = EvseId("depot-1/1")
TEXTS = {
    "a NUL": "a\x00b",
    "half a character": "\ud800",
    "half a character and a NUL": "\x00\udfff",
    "SQL": "'; DROP TABLE session; --",
    "a megabyte": "x" * 1_000_000,
}


@pytest.mark.parametrize("hostile", TEXTS.values(), ids=TEXTS.keys())
async def test_a_text_is_kept_as_it_is_or_refused_alone(database_stores: DatabaseStores, hostile: str) -> None:
    stores = database_stores
    sample = MeterSample(STATION, EVSE, NOON, signed_value=hostile)
    session = Session(SessionId("one"), SiteId("depot"), EVSE, NOON, token_id=TokenId(hostile))
    begun = TransactionBegun(STATION, 1, NOON, TokenId(hostile), None)
    boot = StationBooted(STATION, NOON, "1.6", vendor=hostile)
    report = ConnectorReported(STATION, 1, ConnectorStatus.FAULTED, NOON, hostile)
    good = [MeterSample(STATION, EVSE, NOON.replace(minute=minute)) for minute in range(1, 11)]
    answers = await asyncio.gather(
        *(stores.meters.add_samples([one], [SessionId("good")]) for one in good[:5]),
        stores.meters.add_samples([sample], [SessionId("one")]),
        stores.sessions.open_transaction(begun, session),
        stores.connectors.save_boot(boot),
        stores.connectors.save_status(report),
        *(stores.meters.add_samples([one], [SessionId("good")]) for one in good[5:]),
        return_exceptions=True,
    )
    assert [*answers[:5], *answers[-5:]] == [None] * 10
    assert await stores.meters.session_samples(SessionId("good")) == tuple(good)
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert {type(answer) for answer in refused} <= {StorageFailed}
    if not isinstance(answers[5], BaseException):
        assert await stores.meters.session_samples(SessionId("one")) == (sample,)
    if not isinstance(answers[6], BaseException):
        assert (await stores.sessions.session(SessionId("one"))).token_id == hostile
    if not isinstance(answers[7], BaseException):
        assert await stores.connectors.station_boots() == {STATION: boot}


@pytest.mark.parametrize("number", [2**31, 2**63, 2**200, -(2**40)])
async def test_a_number_too_large_is_refused_alone(database_stores: DatabaseStores, number: int) -> None:
    report = ConnectorReported(STATION, number, ConnectorStatus.AVAILABLE, NOON)
    good = ConnectorReported(STATION, 1, ConnectorStatus.CHARGING, NOON)
    answers = await asyncio.gather(
        database_stores.connectors.save_status(report),
        database_stores.connectors.save_status(good),
        return_exceptions=True,
    )
    assert answers[1] is None
    assert isinstance(answers[0], StorageFailed | None)
    first, _ = await database_stores.connectors.connectors(SiteId("depot"))
    assert first.status is ConnectorStatus.CHARGING
