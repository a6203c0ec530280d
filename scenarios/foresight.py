"""What control can know of prices, building and PV at each moment of a replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np

from connectors.forecasts.emissions import STEP_S, MarginalEmissions
from connectors.forecasts.site_forecasts import NoPower, PowerForecast, SiteForecasts
from connectors.prices.book import TariffBook, TariffEntry
from connectors.prices.price_files import cut
from optimizer.domain.ids import SiteId
from optimizer.domain.series import PowerSeries, PriceSeries
from optimizer.domain.tariff import Tariff
from optimizer.errors import SourceUnavailable
from optimizer.planning.problem import FloatArray
from optimizer.ports import Clock, TariffSource
from scenarios.scenario import Foresight, Scenario

DAY = timedelta(days=1)


class KnownPower:
    """A `PowerForecast` that tells a series, whatever was measured; outside it, its first or last value.

    Args:
        series: What is told.
    """

    looks_back = False

    def __init__(self, series: PowerSeries) -> None:
        self._series = series

    def power(self, start: datetime, end: datetime, recent: PowerSeries | None) -> PowerSeries:  # noqa: ARG002
        """Power over ``[start, end)``."""
        inner = [boundary for boundary in self._series.boundaries if start < boundary < end]
        boundaries = (start, *inner, end)
        return PowerSeries(boundaries, tuple(self._series.mean_over_kw(*pair) for pair in pairwise(boundaries)))


class PersistentPower:
    """A `PowerForecast` that expects what was measured at the same time of the day before."""

    looks_back = True

    def power(self, start: datetime, end: datetime, recent: PowerSeries | None) -> PowerSeries:
        """Expected power over ``[start, end)``.

        Raises:
            SourceUnavailable: Nothing was measured yet.
        """
        if recent is None:
            raise SourceUnavailable("nothing was measured yet")
        days = 1
        while start - days * DAY >= recent.boundaries[-1]:
            days += 1
        pieces: list[tuple[datetime, float]] = []
        while (begin := start + (days - 1) * DAY) < end:
            shift = days * DAY
            until = min(end, start + days * DAY)
            inner = [edge + shift for edge in recent.boundaries if begin < edge + shift < until]
            for first, last in pairwise([begin, *inner, until]):
                pieces.append((first, recent.mean_over_kw(first - shift, last - shift)))
            days += 1
        return PowerSeries((*(first for first, _ in pieces), end), tuple(value_kw for _, value_kw in pieces))


def forecasts_of(scenario: Scenario) -> SiteForecasts:
    """What is expected of building and PV."""
    information, surroundings = scenario.information, scenario.surroundings
    return SiteForecasts(
        _forecast(information.pv, surroundings.pv, scenario.pv_forecast),
        _forecast(information.building, surroundings.building, scenario.building_forecast),
    )


def _forecast(foresight: Foresight, truth: PowerSeries, recorded: PowerSeries | None) -> PowerForecast:
    if not any(truth.values_kw):
        return NoPower()
    if foresight is Foresight.PERFECT:
        return KnownPower(truth)
    if foresight is Foresight.RECORDED and recorded is not None:
        return KnownPower(recorded)
    return PersistentPower()


class PublishedPrices:
    """A `PriceSource` that tells each day's prices only once they are published.

    Args:
        prices: All prices.
        published_hour: Local hour at which the next day's prices become known.
        zone: IANA zone of the market's days.
        clock: The replay's time.
    """

    def __init__(self, prices: PriceSeries, published_hour: int, zone: str, clock: Clock) -> None:
        self._prices = prices
        self._published_hour = published_hour
        self._zone = ZoneInfo(zone)
        self._clock = clock

    async def prices(self, start: datetime, end: datetime) -> PriceSeries:
        """Prices of ``[start, end)`` as far as they are published.

        Raises:
            SourceUnavailable: Those of ``start`` are not.
        """
        local = self._clock.now().astimezone(self._zone)
        days_known = 2 if local.hour >= self._published_hour else 1
        day = local.date() + timedelta(days=days_known)
        known_until = min(datetime.combine(day, time(0), self._zone), self._prices.span.end)
        if start >= known_until or start < self._prices.span.start:
            raise SourceUnavailable(f"no price is published for {start.isoformat()}")
        return cut(self._prices, start, min(end, known_until))


class KnownTariff:
    """A `TariffSource` that knows every price from the start.

    Args:
        tariff: The tariff, market prices of the whole time included.
    """

    def __init__(self, tariff: Tariff) -> None:
        self._tariff = tariff

    async def tariff(self, site_id: SiteId, start: datetime, end: datetime) -> Tariff:  # noqa: ARG002
        """The tariff with the prices of ``[start, end)``; beyond the last known price that one holds.

        Raises:
            SourceUnavailable: ``start`` lies outside all prices.
        """
        return priced_until(self._tariff, start, end)


def priced_until(tariff: Tariff, start: datetime, end: datetime) -> Tariff:
    """The tariff with the market prices of ``[start, end)``; beyond the last known price that one holds.

    Raises:
        SourceUnavailable: ``start`` lies outside all prices.
    """
    market = tariff.market
    if market is None:
        return tariff
    if not market.span.contains(start):
        raise SourceUnavailable(f"no price for {start.isoformat()}")
    part = cut(market, start, end)
    if part.boundaries[-1] < end:
        part = replace(part, boundaries=(*part.boundaries[:-1], end))
    return replace(tariff, market=part)


def tariffs_of(scenario: Scenario, clock: Clock) -> TariffSource:
    """The site's tariff as it is known at each moment."""
    market = scenario.market
    if market is None or not scenario.information.prices_published:
        return KnownTariff(scenario.tariff)
    source = PublishedPrices(market.prices, market.published_hour, scenario.tariff.time_zone, clock)
    plain = replace(scenario.tariff, market=None)
    return TariffBook({scenario.site.id: TariffEntry(plain, source)}, clock)


def carbon_outlook(
    emissions: MarginalEmissions, foresight: Foresight, at: datetime, boundaries: Sequence[datetime]
) -> FloatArray:
    """Marginal emissions expected at ``at`` for each slot [kg/kWh], shape (slots,)."""
    if foresight is Foresight.RECORDED:
        return np.array(emissions.expected(at, boundaries))
    shift = DAY if foresight is Foresight.PERSISTENCE else timedelta(0)
    return actual_emissions_kg_per_kwh(emissions, [boundary - shift for boundary in boundaries])


def actual_emissions_kg_per_kwh(emissions: MarginalEmissions, boundaries: Sequence[datetime]) -> FloatArray:
    """Marginal emissions in the middle of each slot; before and after all that is known, the nearest [kg/kWh]."""
    middles_s = [(start + (end - start) / 2).timestamp() for start, end in pairwise(boundaries)]
    places = ((np.array(middles_s) - emissions.start_s) // STEP_S).astype(np.int64)
    return np.asarray(emissions.outcome[np.clip(places, 0, len(emissions.outcome) - 1)])
