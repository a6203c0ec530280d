"""The tariff of each site with market prices filled in, and what stands in for prices not yet published.

wanted [start, end) --> known prices? --no--> ask the source (at most every `refresh_s`)
                             |                        |
                             +----------<-------------+
                             v
          still missing? same hour of the last known day, else the stated fallback price
                             v
          the series says in `source` which part is a substitute; nothing left --> SourceUnavailable
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from optimizer.domain.ids import SiteId
from optimizer.domain.series import PriceSeries
from optimizer.domain.tariff import Tariff
from optimizer.errors import InvalidConfiguration, NotFound, SourceUnavailable
from optimizer.ports import Clock, PriceSource

LONGEST_LOOK_BACK_DAYS = 7
"""A substitute older than a week says little about tomorrow's prices."""


@dataclass(frozen=True)
class TariffEntry:
    """What a site pays and where its market prices come from."""

    tariff: Tariff
    """Bands, demand charges and export price, as read from a file."""
    market: PriceSource | None = None
    """Day-ahead prices on top of the bands; ``None``: there are none."""
    fallback_price_per_kwh: Decimal | None = None
    """Market price assumed where neither the source nor the past week tells one [currency/kWh]; ``None``: refuse."""


class TariffBook:
    """A `TariffSource` over the tariffs of all sites.

    Args:
        entries: Tariff and market of each site.
        clock: Tells when the source was last asked.
        refresh_s: Least time between two questions to a source for prices it did not have [s].

    Raises:
        InvalidConfiguration: A tariff is based on day-ahead prices, and nothing gives them.
    """

    def __init__(self, entries: Mapping[SiteId, TariffEntry], clock: Clock, *, refresh_s: float = 600.0) -> None:
        for site_id, entry in entries.items():
            if entry.tariff.market_priced and entry.market is None:
                fix = f"tariff {entry.tariff.id} is based on day-ahead prices; name a price source for it"
                raise InvalidConfiguration(f"tariffs.{site_id}.market", None, fix)
        self._tariffs = {site_id: entry.tariff for site_id, entry in entries.items()}
        self._markets = {
            site_id: _MarketPrices(entry, entry.market, clock, timedelta(seconds=refresh_s))
            for site_id, entry in entries.items()
            if entry.market is not None
        }

    async def tariff(self, site_id: SiteId, start: datetime, end: datetime) -> Tariff:
        """The tariff with the market prices of ``[start, end)``, substitutes named in their ``source``.

        Raises:
            NotFound: No tariff is kept for the site.
            SourceUnavailable: A part of the time has no price, not even a substitute.
        """
        if site_id not in self._tariffs:
            raise NotFound("tariff of site", site_id)
        market = self._markets.get(site_id)
        if market is None:
            return self._tariffs[site_id]
        return replace(self._tariffs[site_id], market=await market.prices(start, end))


@dataclass(frozen=True, slots=True)
class _Priced:
    """One known price."""

    end: datetime
    price_per_kwh: Decimal


class _MarketPrices:
    """Published prices of one market as far as they were ever fetched."""

    def __init__(self, entry: TariffEntry, source: PriceSource, clock: Clock, refresh: timedelta) -> None:
        self._entry = entry
        self._source = source
        self._clock = clock
        self._refresh = refresh
        self._zone = ZoneInfo(entry.tariff.time_zone)
        self._known: dict[datetime, _Priced] = {}
        self._starts: list[datetime] = []
        self._source_name = ""
        self._asked_in_vain: dict[datetime, datetime] = {}
        self._failure = ""
        self._asking = asyncio.Lock()

    async def prices(self, start: datetime, end: datetime) -> PriceSeries:
        """Prices covering the whole of ``[start, end)``."""
        async with self._asking:
            unpublished_from = await self._ask_if_missing(start, end)
            if unpublished_from is not None:
                day_before = unpublished_from.astimezone(self._zone) - timedelta(days=1)
                await self._ask_if_missing(day_before.astimezone(UTC), unpublished_from)
        return self._filled(start, end)

    async def _ask_if_missing(self, start: datetime, end: datetime) -> datetime | None:
        """Ask for what is not known of ``[start, end)``; the first instant that stays unknown."""
        missing = self._missing(start, end)
        if missing is None or not self._may_ask(missing[0]):
            return missing[0] if missing else None
        await self._ask(*missing)
        missing = self._missing(start, end)
        if missing is None:
            return None
        self._asked_in_vain[missing[0]] = self._clock.now()
        return missing[0]

    def _may_ask(self, first_missing: datetime) -> bool:
        """Whether no question in the last while showed that there is nothing from this time on."""
        now = self._clock.now()
        self._asked_in_vain = {
            since: asked_at for since, asked_at in self._asked_in_vain.items() if now - asked_at < self._refresh
        }
        return all(first_missing < since for since in self._asked_in_vain)

    async def _ask(self, start: datetime, end: datetime) -> None:
        try:
            answer = await self._source.prices(start, end)
        except SourceUnavailable as error:
            self._failure = str(error)
            return
        currency = self._entry.tariff.currency
        if answer.currency != currency:
            fix = f"must be {currency}, the currency of tariff {self._entry.tariff.id}; choose another price source"
            raise InvalidConfiguration("market.currency", answer.currency, fix)
        self._failure = ""
        self._source_name = answer.source
        for since, until, price in zip(answer.boundaries, answer.boundaries[1:], answer.prices_per_kwh, strict=False):
            self._known[since] = _Priced(until, price)
        self._starts = sorted(self._known)

    def _price_at(self, instant: datetime) -> _Priced | None:
        index = bisect_right(self._starts, instant) - 1
        if index < 0:
            return None
        priced = self._known[self._starts[index]]
        return priced if instant < priced.end else None

    def _missing(self, start: datetime, end: datetime) -> tuple[datetime, datetime] | None:
        """From the first to the last instant of ``[start, end)`` without a known price."""
        first: datetime | None = None
        last = start
        instant = start
        while instant < end:
            priced = self._price_at(instant)
            following = min(end, priced.end) if priced else self._next_known_start(instant, end)
            if priced is None:
                first, last = first or instant, following
            instant = following
        return None if first is None else (first, last)

    def _next_known_start(self, instant: datetime, latest: datetime) -> datetime:
        """Where the next known price begins, ``latest`` at the latest."""
        index = bisect_right(self._starts, instant)
        return min(self._starts[index], latest) if index < len(self._starts) else latest

    def _filled(self, start: datetime, end: datetime) -> PriceSeries:
        boundaries, prices, substitutes_since = [start], [], None
        fallback_used = False
        while (instant := boundaries[-1]) < end:
            priced = self._price_at(instant)
            if priced is None:
                substitutes_since = substitutes_since or instant
                priced = self._price_of_an_earlier_day(instant)
            if priced is None:
                priced, fallback_used = self._fallback(instant), True
            boundaries.append(min(priced.end, end))
            prices.append(priced.price_per_kwh)
        return PriceSeries(
            self._entry.tariff.currency,
            tuple(boundaries),
            tuple(prices),
            self._described(substitutes_since, fallback_used),
        )

    def _price_of_an_earlier_day(self, instant: datetime) -> _Priced | None:
        """Price of the same local time on the last day that has one, for as long as it held there."""
        local = instant.astimezone(self._zone)
        for days in range(1, LONGEST_LOOK_BACK_DAYS + 1):
            earlier = (local - timedelta(days=days)).astimezone(UTC)
            priced = self._price_at(earlier)
            if priced is not None:
                until = min(
                    instant + (priced.end - earlier), self._next_known_start(instant, datetime.max.replace(tzinfo=UTC))
                )
                return _Priced(until, priced.price_per_kwh)
        return None

    def _fallback(self, instant: datetime) -> _Priced:
        price = self._entry.fallback_price_per_kwh
        if price is None:
            reason = self._failure or "the source has no price for it"
            raise SourceUnavailable(f"no market price for {instant.isoformat()} or the week before it: {reason}")
        return _Priced(self._next_known_start(instant, instant + timedelta(hours=1)), price)

    def _described(self, substitutes_since: datetime | None, fallback_used: bool) -> str:
        if substitutes_since is None:
            return self._source_name
        substitute = "same hour of the last known day"
        if fallback_used:
            substitute = f"{substitute}, else {self._entry.fallback_price_per_kwh} {self._entry.tariff.currency}/kWh"
        name = self._source_name or "no published price"
        return f"{name}; from {substitutes_since:%Y-%m-%dT%H:%MZ} not published: {substitute}"
