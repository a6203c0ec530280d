"""Peaks of the billing month from the registers of the site meter, read once and not again."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import pytest
from bench import SITE, evse_at, site_with
from virtual_time import run_virtual

from optimizer.control.demand import DemandReader, days_left, greatest_mean_kw, imported_kwh, interval_start
from optimizer.domain.ids import TariffId
from optimizer.domain.metering import SiteMeterReading
from optimizer.domain.snapshot import DemandState
from optimizer.domain.tariff import DemandCharge, EnergyBand, Tariff, TariffWindow
from scenarios.memory_stores import MemoryStores

GARAGE = site_with([evse_at("a")])
ALL_DAY = DemandCharge("all day", Decimal(15))
EVENING = DemandCharge("evening", Decimal(5), TariffWindow(start=time(17), end=time(20)))
MONTH = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def tariff(*charges: DemandCharge, zone: str = "UTC") -> Tariff:
    band = EnergyBand("all day", TariffWindow(), Decimal("0.2"))
    return Tariff(TariffId("t"), "t", "EUR", zone, (band,), charges)


def readings(
    start: datetime, powers_kw: list[float], minutes: int = 15, first_kwh: float = 1000.0
) -> list[SiteMeterReading]:
    """Register readings of an import that holds each power for so many minutes."""
    rows, register = [], Decimal(str(first_kwh))
    for index, power in enumerate([*powers_kw, 0.0]):
        rows.append(SiteMeterReading(SITE, start + timedelta(minutes=minutes * index), register, Decimal(0)))
        register += Decimal(str(power)) * minutes / 60
    return rows


@pytest.mark.parametrize(
    ("case", "rows", "start_minute", "end_minute", "energy_kwh"),
    [
        ("between two readings", readings(MONTH, [40.0, 80.0]), 0, 15, 10.0),
        ("over a step", readings(MONTH, [40.0, 80.0]), 0, 30, 30.0),
        ("inside, interpolated", readings(MONTH, [40.0, 80.0]), 7.5, 22.5, 15.0),
        ("before the first reading nothing is known", readings(MONTH, [40.0]), -15, 15, 10.0),
        ("after the last reading nothing is known", readings(MONTH, [40.0]), 0, 60, 10.0),
        ("no reading", [], 0, 60, 0.0),
    ],
)
def test_imported_energy(
    case: str, rows: list[SiteMeterReading], start_minute: float, end_minute: float, energy_kwh: float
) -> None:
    start, end = MONTH + timedelta(minutes=start_minute), MONTH + timedelta(minutes=end_minute)
    assert imported_kwh(rows, start, end) == pytest.approx(energy_kwh), case


def test_the_peak_is_the_greatest_mean_of_an_interval_that_counts() -> None:
    rows = readings(MONTH + 16 * HOUR, [10.0, 90.0, 20.0, 30.0, 50.0, 40.0])
    end = MONTH + 18 * HOUR
    assert greatest_mean_kw(rows, ALL_DAY, tariff(ALL_DAY), MONTH, end) == pytest.approx(90.0)
    assert greatest_mean_kw(rows, EVENING, tariff(EVENING), MONTH, end) == pytest.approx(50.0)


def test_windows_are_local() -> None:
    rows = readings(MONTH + 15 * HOUR, [10.0, 10.0, 10.0, 10.0, 50.0, 20.0])
    new_york = tariff(EVENING, zone="America/New_York")
    assert greatest_mean_kw(rows, EVENING, new_york, MONTH, MONTH + 18 * HOUR) == 0.0
    berlin = tariff(EVENING, zone="Europe/Berlin")
    assert greatest_mean_kw(rows, EVENING, berlin, MONTH, MONTH + 18 * HOUR) == pytest.approx(50.0)


def test_intervals_are_counted_from_the_start_of_the_month() -> None:
    length = timedelta(minutes=15)
    assert interval_start(MONTH, length, MONTH + timedelta(minutes=44)) == MONTH + timedelta(minutes=30)
    assert interval_start(MONTH, length, MONTH + timedelta(minutes=45)) == MONTH + timedelta(minutes=45)


@pytest.mark.parametrize(
    ("case", "zone", "at", "days"),
    [
        ("the first of March", "UTC", MONTH, 31.0),
        ("the last evening", "UTC", datetime(2026, 3, 31, 23, 59, tzinfo=UTC), 1.0),
        ("still the last day over there", "America/Los_Angeles", datetime(2026, 4, 1, 3, tzinfo=UTC), 1.0),
        ("April already over here", "Europe/Berlin", datetime(2026, 3, 31, 22, 30, tzinfo=UTC), 30.0),
        ("the clock is put forward this month", "Europe/Berlin", datetime(2026, 3, 29, 12, tzinfo=UTC), 3.0),
    ],
)
def test_days_left(case: str, zone: str, at: datetime, days: float) -> None:
    local = tariff(ALL_DAY, zone=zone)
    assert days_left(local, local.billing_month(at).end, at) == days, case


class CountingStores(MemoryStores):
    """Memory stores that note how far back readings are read."""

    def __init__(self) -> None:
        super().__init__([GARAGE])
        self.starts: list[datetime] = []
        read = self.meters.site_readings

        async def noted(site_id: object, start: datetime, end: datetime) -> object:
            self.starts.append(start)
            return await read(SITE, start, end)

        self.meters.site_readings = noted  # type: ignore[method-assign, assignment]


def state_of(reader: DemandReader, stores: MemoryStores, at: datetime) -> DemandState:
    (state,) = run_virtual(reader.states(GARAGE, stores, tariff(ALL_DAY), at))
    return state


def fill(stores: MemoryStores, rows: list[SiteMeterReading]) -> None:
    for row in rows:
        run_virtual(stores.meters.add_site_reading(row))


def test_the_month_is_read_once() -> None:
    stores, reader = CountingStores(), DemandReader(peak_hint_kw=33.0)
    fill(stores, readings(MONTH, [20.0] * 40 + [70.0] + [20.0] * 55))
    at = MONTH + timedelta(hours=24, minutes=5)
    fill(stores, [SiteMeterReading(SITE, at, Decimal("1500"), Decimal(0))])
    state = state_of(reader, stores, at)
    assert state.peak_so_far_kw == pytest.approx(70.0)
    assert state.interval_energy_kwh == pytest.approx(1500 - 1000 - 480 - 12.5)
    assert (state.month_days_left, state.peak_hint_kw) == (30.0, 33.0)
    again = state_of(reader, stores, at + timedelta(minutes=5))
    assert again.peak_so_far_kw == pytest.approx(70.0)
    assert stores.starts == [MONTH, MONTH + timedelta(hours=22)]


def test_a_restart_finds_the_same_peak() -> None:
    stores = CountingStores()
    fill(stores, readings(MONTH, [20.0, 65.0, 10.0, 10.0] * 30))
    at = MONTH + timedelta(hours=30)
    assert state_of(DemandReader(), stores, at) == state_of(DemandReader(), stores, at)
    assert state_of(DemandReader(), stores, at).peak_so_far_kw == pytest.approx(65.0)


def test_readings_that_come_two_hours_late_still_count() -> None:
    stores, reader = CountingStores(), DemandReader()
    fill(stores, readings(MONTH, [10.0] * 4))
    at = MONTH + timedelta(hours=5)
    assert state_of(reader, stores, at).peak_so_far_kw == pytest.approx(10.0)
    fill(stores, readings(MONTH + HOUR, [10.0] * 10 + [80.0] + [10.0] * 5, first_kwh=1010.0)[1:])
    assert state_of(reader, stores, at).peak_so_far_kw == pytest.approx(80.0)


def test_a_new_month_begins_without_a_peak() -> None:
    stores, reader = CountingStores(), DemandReader()
    fill(stores, readings(MONTH, [50.0] * 4))
    assert state_of(reader, stores, MONTH + 2 * HOUR).peak_so_far_kw == pytest.approx(50.0)
    assert state_of(reader, stores, MONTH + timedelta(days=31, hours=2)).peak_so_far_kw == 0.0
