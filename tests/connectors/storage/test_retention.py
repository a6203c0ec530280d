"""What keeps the database from growing without bound."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from connectors.storage import DatabaseStores, meter_store
from optimizer.domain.ids import EvseId, SessionId, SiteId, StationId
from optimizer.domain.metering import MeterSample, SiteMeterReading
from optimizer.domain.session import Session
from optimizer.domain.site import Site

DAY = datetime(2026, 3, 1, tzinfo=UTC)
HOURS = tuple(range(24))


def sample(hour: int, station: str = "box") -> MeterSample:
    return MeterSample(StationId(station), EvseId(f"{station}/1"), DAY + timedelta(hours=hour), power_kw=float(hour))


def reading(hour: int) -> SiteMeterReading:
    return SiteMeterReading(SiteId("depot"), DAY + timedelta(hours=hour), Decimal(hour), Decimal(0))


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter_store, "_PURGED_AT_ONCE", 5)


@pytest.mark.usefixtures("small_steps")
async def test_what_is_older_than_the_limit_goes_and_the_rest_stays(stores: DatabaseStores, depot: Site) -> None:
    stranger = [sample(hour, "stranger") for hour in HOURS]
    await stores.meters.add_samples([sample(hour) for hour in HOURS] + stranger, [None] * 48)
    for hour in HOURS:
        await stores.meters.add_site_reading(reading(hour))
    assert await stores.meters.purge(DAY + timedelta(hours=12)) == 3 * 12
    kept = await stores.meters.station_samples(depot.id, DAY, DAY + timedelta(days=1))
    assert [found for found, _ in kept] == [sample(hour) for hour in HOURS[12:]]
    assert await stores.meters.site_readings(depot.id, DAY, DAY) == (reading(12),)
    assert await stores.meters.purge(DAY + timedelta(hours=12)) == 0


@pytest.mark.usefixtures("small_steps")
async def test_samples_of_a_session_that_lasts_stay_until_it_ends(stores: DatabaseStores) -> None:
    session = Session(SessionId("long"), SiteId("depot"), EvseId("box/1"), DAY)
    await stores.sessions.save_session(session)
    samples = [sample(hour) for hour in HOURS]
    await stores.meters.add_samples(samples, [session.id if hour % 2 else None for hour in HOURS])
    assert await stores.meters.purge(DAY + timedelta(days=1)) == 12
    assert await stores.meters.session_samples(session.id) == tuple(samples[1::2])
    await stores.sessions.save_session(replace(session, unplugged_at=DAY + timedelta(days=1)))
    assert await stores.meters.purge(DAY + timedelta(days=1)) == 12


async def test_the_last_sample_of_an_evse_is_known_after_a_purge(stores: DatabaseStores, depot: Site) -> None:
    await stores.meters.add_samples([sample(8)], [None])
    await stores.meters.purge(DAY + timedelta(days=1))
    (connector,) = await stores.connectors.connectors(depot.id)
    assert connector.last_sample == sample(8)
