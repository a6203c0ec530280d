"""Stores on a SQLite file of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from connectors.storage import DatabaseStores, open_stores
from optimizer.domain.ids import CircuitId, EvseId, SiteId, StationId, TariffId
from optimizer.domain.site import Circuit, Evse, GridConnection, Site, Station

DEPOT = Site(
    SiteId("depot"),
    "Depot",
    "UTC",
    "EUR",
    (Circuit(CircuitId("main"), parent_id=None),),
    (Station(StationId("box"), (Evse(EvseId("box/1"), StationId("box"), 1, CircuitId("main"), 32.0),)),),
    GridConnection(CircuitId("main"), 100.0),
    TariffId("flat"),
)


@pytest.fixture
def depot() -> Site:
    return DEPOT


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'service.sqlite'}"


@pytest.fixture
async def stores(url: str, depot: Site) -> AsyncIterator[DatabaseStores]:
    async with await open_stores(url, [depot]) as opened:
        yield opened
