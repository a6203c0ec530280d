"""What one plan is made of: measured first, forecast after, and substitutes where a source is silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from bench import SITE, FlatTariffs, SimGateway, SimStation, evse_at, plan_of, site_with
from views import event_of
from virtual_time import START, VirtualClock, run_virtual

from optimizer.control.demand import DemandReader
from optimizer.control.expectation import flat_series, measured_series, with_measured_start
from optimizer.control.memory import GuardMemory
from optimizer.control.observe import Sources, observe, observe_guard
from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import LimitPeriod, LimitState, Setpoint
from optimizer.domain.event import GridEventKind, GridEventStatus
from optimizer.domain.ids import EvseId, ReservationId, TokenId
from optimizer.domain.metering import MeterSample, SiteMeterReading
from optimizer.domain.moment import Interval
from optimizer.domain.plan import Fallback, SolveFigures
from optimizer.domain.reservation import Reservation, ReservationStatus
from optimizer.domain.series import PowerSeries
from optimizer.domain.session import Session
from optimizer.domain.site import PvArray
from optimizer.domain.snapshot import SiteSnapshot
from optimizer.domain.tariff import Tariff
from optimizer.errors import SourceUnavailable
from optimizer.ports import Measured, Quantity
from scenarios.memory_stores import MemoryStores

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SETTINGS = ControlSettings(horizon_h=12.0, measured_hold_s=900.0)
GARAGE = replace(
    site_with([evse_at("a"), evse_at("b")], building_kw=50.0), pv_arrays=(PvArray("roof", 30.0, 25.0, 30.0, 180.0),)
)


def series(*pairs: tuple[float, float], end_minute: float) -> PowerSeries:
    """Values from a minute on."""
    boundaries = (*(START + MINUTE * minute for minute, _ in pairs), START + MINUTE * end_minute)
    return PowerSeries(boundaries, tuple(value for _, value in pairs))


def as_pairs(found: PowerSeries) -> list[tuple[float, float]]:
    return [((at - START) / MINUTE, value) for at, value in zip(found.boundaries, found.values_kw, strict=False)]


@pytest.mark.parametrize(
    ("case", "forecast", "hold_minutes", "expected"),
    [
        ("measured, then forecast", series((0, 1.0), (30, 2.0), end_minute=60), 15, [(0, 9.0), (15, 1.0), (30, 2.0)]),
        ("measured over several values", series((0, 1.0), (5, 3.0), (30, 2.0), end_minute=60), 15, [(0, 9.0), (15, 3.0), (30, 2.0)]),
        ("up to a boundary", series((0, 1.0), (15, 2.0), end_minute=60), 15, [(0, 9.0), (15, 2.0)]),
        ("a forecast shorter than that", series((0, 1.0), end_minute=10), 15, [(0, 9.0)]),
        ("not at all", series((0, 1.0), end_minute=60), 0, [(0, 1.0)]),
    ],
)  # fmt: skip
def test_measured_values_come_first(
    case: str, forecast: PowerSeries, hold_minutes: float, expected: list[tuple[float, float]]
) -> None:
    assert as_pairs(with_measured_start(forecast, 9.0, START, MINUTE * hold_minutes)) == expected, case


def reading(minute: float, **more: object) -> SiteMeterReading:
    return SiteMeterReading(SITE, START + MINUTE * minute, Decimal(0), Decimal(0), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("case", "rows", "quantity", "expected"),
    [
        (
            "registers give the mean",
            [reading(0, building_register_kwh=Decimal(10)), reading(30, building_register_kwh=Decimal(14))],
            Quantity.BUILDING,
            [(0, 8.0)],
        ),
        ("power stands until the next reading", [reading(0, pv_kw=5.0), reading(30, pv_kw=6.0), reading(40, pv_kw=7.0)], Quantity.PV, [(0, 5.0), (30, 6.0)]),
        ("after a gap only what follows", [reading(0, pv_kw=5.0), reading(30), reading(40, pv_kw=7.0), reading(50)], Quantity.PV, [(40, 7.0)]),
        ("not metered", [reading(0), reading(30)], Quantity.PV, None),
        ("one reading is no time", [reading(0, pv_kw=5.0)], Quantity.PV, None),
    ],
)  # fmt: skip
def test_the_measured_past(
    case: str, rows: list[SiteMeterReading], quantity: Quantity, expected: list[tuple[float, float]] | None
) -> None:
    found = measured_series(rows, quantity)
    assert (found if found is None else as_pairs(found)) == expected, case


class Forecasts:
    """Three kW of either, or silence; notes what it was given."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self.given: dict[Quantity, PowerSeries | None] = {}

    async def forecast(self, quantity: Quantity, start: datetime, end: datetime, recent: Measured) -> PowerSeries:
        self.given[quantity] = recent()
        if self.silent:
            raise SourceUnavailable("no weather today")
        return flat_series(start, end, 3.0)


class NoTariffs:
    """A source that does not answer."""

    async def tariff(self, *_: object) -> Tariff:
        raise SourceUnavailable("no exchange today")


class Place:
    """Stores and sources of one site, an hour after the start."""

    def __init__(self, forecasts: Forecasts | None = None, tariffs: object | None = None) -> None:
        self.stores = MemoryStores([GARAGE])
        self.stations: Mapping[EvseId, SimStation] = {evse.id: SimStation(evse) for evse in GARAGE.evses.values()}
        self.gateway = SimGateway(VirtualClock(), self.stations)
        self.forecasts = forecasts or Forecasts()
        self.sources = Sources(tariffs or FlatTariffs(), self.forecasts, DemandReader())  # type: ignore[arg-type]

    async def snapshot(self) -> SiteSnapshot:
        return await observe(GARAGE, self.stores, self.gateway, self.sources, START + HOUR, SETTINGS)


def test_a_snapshot_holds_what_is_there_and_what_lies_ahead() -> None:
    async def story() -> None:
        place = Place()
        place.stations[EvseId("b")].online = False
        session = Session("s", SITE, EvseId("a"), START)  # type: ignore[arg-type]
        await place.stores.sessions.save_session(session)
        for name, hour, status in (("soon", 3, "RESERVED"), ("far", 40, "RESERVED"), ("gone", 3, "NO_SHOW")):
            window = Interval(START + HOUR * hour, START + HOUR * (hour + 2))
            held = Reservation(ReservationId(name), SITE, window, TokenId("t"), status=ReservationStatus(status))
            await place.stores.reservations.add(held)
        event = event_of(GridEventKind.IMPORT_LIMIT, 10.0)
        await place.stores.grid_events.save(event)
        await place.stores.grid_events.save(replace(event, id="x", status=GridEventStatus.CANCELLED))  # type: ignore[arg-type]
        snapshot = await place.snapshot()
        assert snapshot.sessions == (session,)
        assert [held.id for held in snapshot.reservations] == ["soon"]
        assert [held.id for held in snapshot.grid_events] == ["event"]
        assert [(one.evse_id, one.online, one.session_id) for one in snapshot.connectors] == [
            ("a", True, "s"),
            ("b", False, None),
        ]
        assert snapshot.import_prices.span == Interval(START + HOUR, START + HOUR * 13)
        assert snapshot.import_prices.price_per_kwh_at(START + HOUR) == Decimal("0.25")
        assert snapshot.previous_plan is None

    run_virtual(story())


@pytest.mark.parametrize(
    ("case", "age_minutes", "silent", "building", "pv"),
    [
        ("fresh meter", 0.5, False, [(60, 20.0), (75, 3.0)], [(60, 7.0), (75, 3.0)]),
        ("old meter", 30, False, [(60, 3.0)], [(60, 3.0)]),
        ("fresh meter, no forecast", 0.5, True, [(60, 20.0), (75, 20.0)], [(60, 7.0), (75, 7.0)]),
        ("old meter, no forecast: the greatest building, no sun", 30, True, [(60, 50.0)], [(60, 0.0)]),
    ],
)
def test_building_and_sun(
    case: str, age_minutes: float, silent: bool, building: list[tuple[float, float]], pv: list[tuple[float, float]]
) -> None:
    async def story() -> None:
        place = Place(Forecasts(silent=silent))
        for minute in (0.0, 60 - age_minutes):
            await place.stores.meters.add_site_reading(reading(minute, building_kw=20.0, pv_kw=7.0))
        snapshot = await place.snapshot()
        assert as_pairs(snapshot.building) == building, case
        assert as_pairs(snapshot.pv) == pv
        assert as_pairs(place.forecasts.given[Quantity.PV]) == [(0, 7.0)]  # type: ignore[arg-type]

    run_virtual(story())


def test_prices_of_the_plan_before_stand_in_for_silence() -> None:
    async def story() -> None:
        place = Place(tariffs=NoTariffs())
        plan = plan_of(START, GARAGE, {}, slot_minutes=90)
        priced = replace(plan, import_price_per_kwh=(0.31,))
        await place.stores.plans.save_outcome(
            Fallback(priced, "told", "test", SolveFigures(0.0, 0.0, 0.0, 0, 0)), "test"
        )
        snapshot = await place.snapshot()
        assert snapshot.import_prices.prices_per_kwh == (Decimal("0.31"),)
        assert snapshot.import_prices.source == "the prices of the plan before"
        assert snapshot.import_prices.span == Interval(START + HOUR, START + HOUR * 13)
        assert snapshot.demand == ()

    run_virtual(story())


@pytest.mark.parametrize(
    ("case", "powers_kw", "count"),
    [
        ("within its default", [4.0, 4.0, 4.0], None),
        ("above it once", [4.0, 4.0, 9.0], 1),
        ("above it three times", [9.0, 9.0, 9.0], 3),
        ("above it, but not any more", [9.0, 9.0, 4.0], None),
        ("above it again", [9.0, 4.0, 9.0], 1),
    ],
)
def test_how_often_in_a_row_more_was_drawn_than_permitted(case: str, powers_kw: list[float], count: int | None) -> None:
    async def story() -> None:
        place = Place()
        evse = GARAGE.evses[EvseId("a")]
        setpoint = Setpoint(evse.id, (LimitPeriod(START, 4.14),), LimitState.VERIFIED, START, START, START)
        await place.stores.connectors.save_setpoint(setpoint)
        samples = [
            MeterSample(evse.station_id, evse.id, START + HOUR - MINUTE * (3 - index), power_kw=power)
            for index, power in enumerate(powers_kw)
        ]
        await place.stores.meters.add_samples(samples, [None] * 3)
        view = await observe_guard(GARAGE, place.stores, place.gateway, START + HOUR, {}, SETTINGS)
        assert view.overdraws.get(evse.id) == count, case

    run_virtual(story())


def test_what_was_counted_is_kept_and_still_counts_as_anew() -> None:
    async def story() -> None:
        place, memory = Place(), GuardMemory()
        evse, other = (GARAGE.evses[EvseId(name)] for name in "ab")
        setpoint = Setpoint(evse.id, (LimitPeriod(START, 4.14),), LimitState.VERIFIED, START, START, START)
        await place.stores.connectors.save_setpoint(setpoint)
        asked: list[set[EvseId]] = []
        read = place.stores.meters.station_samples

        async def noting(*args: Any, evse_ids: set[EvseId]) -> Any:
            asked.append(set(evse_ids))
            return await read(*args, evse_ids=evse_ids)

        place.stores.meters.station_samples = noting  # type: ignore[method-assign]
        counts: list[int] = []
        for minute, power_kw in enumerate([4.0, 9.0, 9.0, None, 9.0, *[None] * 18, 4.0], start=10):
            at = START + MINUTE * minute
            powers_kw = {evse: power_kw, other: 9.0}
            samples = [MeterSample(one.station_id, one.id, at, power_kw=kw) for one, kw in powers_kw.items() if kw]
            await place.stores.meters.add_samples(samples, [None] * len(samples))
            asked.clear()
            view = await observe_guard(GARAGE, place.stores, place.gateway, at, {}, SETTINGS, memory)
            told = asked.copy()
            fresh = await observe_guard(GARAGE, place.stores, place.gateway, at, {}, SETTINGS)
            assert view.overdraws == fresh.overdraws
            counts.append(view.overdraws.get(evse.id, 0))
            if power_kw == 9.0:
                assert told == [{evse.id}], "samples of those in question only"
        assert counts[:5] == [0, 1, 2, 2, 3]
        assert counts[15:] == [3, 3, 2, 1, 1, 0, 0, 0, 0], "the window has passed them by"

    run_virtual(story())
