"""The tariff book: published prices once known, stated substitutes before, never a silent gap, and no needless questions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from manual_clock import ManualClock

from connectors.prices.book import TariffBook, TariffEntry
from connectors.prices.price_files import FilePriceSource
from optimizer.domain.ids import SiteId, TariffId
from optimizer.domain.series import PriceSeries
from optimizer.domain.tariff import EnergyBand, Tariff, TariffWindow
from optimizer.errors import InvalidConfiguration, NotFound, SourceUnavailable

SITE = SiteId("garage")
MIDNIGHT = datetime(2026, 3, 9, 23, tzinfo=UTC)  # 00:00 in Berlin on Tuesday 10 March
BERLIN = "Europe/Berlin"
HOUR = timedelta(hours=1)


def hourly(start: datetime, prices: list[int], currency: str = "EUR") -> PriceSeries:
    boundaries = tuple(start + index * HOUR for index in range(len(prices) + 1))
    return PriceSeries(currency, boundaries, tuple(Decimal(price) for price in prices), "exchange")


class Exchange:
    """A price source whose published prices and state the test sets."""

    def __init__(self, published: PriceSeries | None) -> None:
        self.published = published
        self.questions: list[tuple[datetime, datetime]] = []

    async def prices(self, start: datetime, end: datetime) -> PriceSeries:
        self.questions.append((start, end))
        if self.published is None:
            raise SourceUnavailable("exchange is down")
        return await FilePriceSource(self.published).prices(start, end)


def network_tariff(*, market_priced: bool = True, time_zone: str = BERLIN) -> Tariff:
    band = EnergyBand("network", TariffWindow(), Decimal("0.5"))
    return Tariff(TariffId("t"), "Depot", "EUR", time_zone, (band,), market_priced=market_priced)


def book_on(exchange: Exchange, clock: ManualClock | None = None, fallback: str | None = None) -> TariffBook:
    entry = TariffEntry(network_tariff(), exchange, Decimal(fallback) if fallback else None)
    return TariffBook({SITE: entry}, clock or ManualClock(MIDNIGHT), refresh_s=600)


async def prices_of(book: TariffBook, start: datetime, end: datetime) -> PriceSeries:
    tariff = await book.tariff(SITE, start, end)
    assert tariff.market is not None
    return tariff.market


async def test_published_prices_come_on_top_of_the_bands() -> None:
    book = book_on(Exchange(hourly(MIDNIGHT, list(range(24)))))
    tariff = await book.tariff(SITE, MIDNIGHT, MIDNIGHT + 24 * HOUR)
    assert tariff.import_price_per_kwh_at(MIDNIGHT + 7 * HOUR) == Decimal("7.5")
    assert tariff.market is not None
    assert tariff.market.source == "exchange"


async def test_the_market_covers_exactly_what_was_asked() -> None:
    start = MIDNIGHT + timedelta(minutes=7)
    series = await prices_of(book_on(Exchange(hourly(MIDNIGHT, [1, 2, 3]))), start, start + HOUR)
    assert series.boundaries == (start, MIDNIGHT + HOUR, start + HOUR)
    assert list(series.prices_per_kwh) == [1, 2]


async def test_what_is_known_is_not_asked_again() -> None:
    exchange = Exchange(hourly(MIDNIGHT, list(range(24))))
    book = book_on(exchange)
    for minutes in range(0, 600, 5):
        start = MIDNIGHT + timedelta(minutes=minutes)
        await prices_of(book, start, start + 2 * HOUR)
    assert len(exchange.questions) <= 12


async def test_an_unpublished_day_takes_the_same_hours_of_the_last_known_one_and_says_so() -> None:
    book = book_on(Exchange(hourly(MIDNIGHT, list(range(24)))))
    series = await prices_of(book, MIDNIGHT + 20 * HOUR, MIDNIGHT + 34 * HOUR)
    assert list(series.prices_per_kwh) == [20, 21, 22, 23, *range(10)]
    assert series.source == "exchange; from 2026-03-10T23:00Z not published: same hour of the last known day"


async def test_substitutes_reach_over_several_days() -> None:
    book = book_on(Exchange(hourly(MIDNIGHT, list(range(24)))))
    series = await prices_of(book, MIDNIGHT, MIDNIGHT + 24 * 7 * HOUR)
    assert list(series.prices_per_kwh) == list(range(24)) * 7


async def test_substitutes_give_way_once_the_day_is_published() -> None:
    exchange, clock = Exchange(hourly(MIDNIGHT, [1] * 24)), ManualClock(MIDNIGHT)
    book = book_on(exchange, clock)
    ask = (MIDNIGHT, MIDNIGHT + 48 * HOUR)
    assert set((await prices_of(book, *ask)).prices_per_kwh) == {1}
    exchange.published = hourly(MIDNIGHT, [1] * 24 + [2] * 24)
    clock.advance(minutes=9)
    assert set((await prices_of(book, *ask)).prices_per_kwh) == {1}
    clock.advance(minutes=1)
    series = await prices_of(book, *ask)
    assert list(series.prices_per_kwh) == [1] * 24 + [2] * 24
    assert series.source == "exchange"


async def test_an_unpublished_time_is_asked_for_once_in_a_while_though_the_horizon_moves_on() -> None:
    exchange, clock = Exchange(hourly(MIDNIGHT, [1] * 24)), ManualClock(MIDNIGHT)
    book = book_on(exchange, clock)
    for _ in range(12):
        await prices_of(book, clock.now(), clock.now() + 30 * HOUR)
        clock.advance(minutes=5)
    assert len(exchange.questions) == 6


async def test_a_question_in_vain_does_not_hold_up_an_earlier_time() -> None:
    exchange = Exchange(hourly(MIDNIGHT - 240 * HOUR, [3] * 264))
    book = book_on(exchange)
    await prices_of(book, MIDNIGHT, MIDNIGHT + 48 * HOUR)
    assert set((await prices_of(book, MIDNIGHT - 240 * HOUR, MIDNIGHT)).prices_per_kwh) == {3}
    assert len(exchange.questions) == 2


async def test_prices_known_before_an_outage_serve_on() -> None:
    exchange, clock = Exchange(hourly(MIDNIGHT, list(range(24)))), ManualClock(MIDNIGHT)
    book = book_on(exchange, clock)
    await prices_of(book, MIDNIGHT, MIDNIGHT + 24 * HOUR)
    exchange.published = None
    clock.advance(hours=23)
    series = await prices_of(book, MIDNIGHT + 23 * HOUR, MIDNIGHT + 26 * HOUR)
    assert list(series.prices_per_kwh) == [23, 0, 1]
    assert "not published" in series.source


async def test_without_any_price_the_reason_is_told() -> None:
    with pytest.raises(SourceUnavailable, match=r"no market price for 2026-03-09T23:00.*exchange is down"):
        await prices_of(book_on(Exchange(None)), MIDNIGHT, MIDNIGHT + HOUR)


async def test_prices_older_than_a_week_stand_in_for_nothing() -> None:
    book = book_on(Exchange(hourly(MIDNIGHT, [1] * 24)))
    await prices_of(book, MIDNIGHT, MIDNIGHT + HOUR)
    with pytest.raises(SourceUnavailable):
        await prices_of(book, MIDNIGHT + 24 * 9 * HOUR, MIDNIGHT + 24 * 9 * HOUR + HOUR)


async def test_the_stated_fallback_is_the_last_resort_and_is_named() -> None:
    series = await prices_of(book_on(Exchange(None), fallback="0.11"), MIDNIGHT, MIDNIGHT + 3 * HOUR)
    assert set(series.prices_per_kwh) == {Decimal("0.11")}
    assert series.source.startswith("no published price; from 2026-03-09T23:00Z not published")
    assert "0.11 EUR/kWh" in series.source


@pytest.mark.parametrize(
    ("known_day", "wanted_hours", "expected"),
    [
        pytest.param(datetime(2026, 3, 27, 23, tzinfo=UTC), 23, [0, 1, *range(3, 24)], id="23 h day after a 24 h day"),
        pytest.param(datetime(2026, 10, 23, 22, tzinfo=UTC), 25, [0, 1, 2, 2, *range(3, 24)], id="25 h day after a 24 h day"),
    ],
)  # fmt: skip
async def test_substitutes_keep_the_local_hour_when_clocks_change(
    known_day: datetime, wanted_hours: int, expected: list[int]
) -> None:
    book = book_on(Exchange(hourly(known_day, list(range(24)))), ManualClock(known_day))
    unpublished = known_day + 24 * HOUR
    series = await prices_of(book, known_day, unpublished + wanted_hours * HOUR)
    assert [series.price_per_kwh_at(unpublished + hour * HOUR) for hour in range(wanted_hours)] == expected


async def test_a_gap_between_known_prices_is_asked_for_and_stands_in_until_then() -> None:
    exchange = Exchange(hourly(MIDNIGHT, [1] * 24))
    book = book_on(exchange)
    await prices_of(book, MIDNIGHT, MIDNIGHT + 24 * HOUR)
    exchange.published = hourly(MIDNIGHT + 48 * HOUR, [2] * 24)
    await prices_of(book, MIDNIGHT + 48 * HOUR, MIDNIGHT + 72 * HOUR)
    series = await prices_of(book, MIDNIGHT, MIDNIGHT + 72 * HOUR)
    assert list(series.prices_per_kwh) == [1] * 48 + [2] * 24
    assert exchange.questions[-1] == (MIDNIGHT + 24 * HOUR, MIDNIGHT + 48 * HOUR)


async def test_a_tariff_without_market_is_given_as_it_is() -> None:
    tariff = network_tariff(market_priced=False)
    book = TariffBook({SITE: TariffEntry(tariff)}, ManualClock(MIDNIGHT))
    assert await book.tariff(SITE, MIDNIGHT, MIDNIGHT + HOUR) is tariff


async def test_an_unknown_site_is_named() -> None:
    with pytest.raises(NotFound, match="elsewhere"):
        await TariffBook({}, ManualClock(MIDNIGHT)).tariff(SiteId("elsewhere"), MIDNIGHT, MIDNIGHT + HOUR)


def test_a_tariff_on_day_ahead_prices_needs_a_source() -> None:
    with pytest.raises(InvalidConfiguration, match=r"tariffs\.garage\.market"):
        TariffBook({SITE: TariffEntry(network_tariff())}, ManualClock(MIDNIGHT))


async def test_prices_in_another_currency_are_refused() -> None:
    with pytest.raises(InvalidConfiguration, match=r"market\.currency = 'USD': must be EUR"):
        await prices_of(book_on(Exchange(hourly(MIDNIGHT, [1], "USD"))), MIDNIGHT, MIDNIGHT + HOUR)
