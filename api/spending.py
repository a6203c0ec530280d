"""What the site owes for the running billing window so far, from its own meter."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from optimizer.costing.bill import site_bill
from optimizer.costing.billing_time import BillingCalendar, costing_grid
from optimizer.costing.intervals import site_intervals
from optimizer.domain.cost import SiteBill
from optimizer.domain.metering import SiteMeterReading
from optimizer.domain.moment import Interval
from optimizer.domain.site import Site
from optimizer.domain.tariff import Tariff
from optimizer.ports import Clock, Stores, TariffSource

_STEP = timedelta(minutes=15)


class Spending:
    """Remembers the bill of the running window; `refresh` makes it anew, now and then.

    Args:
        site: Whose bill.
        stores: Where the meter's readings are kept.
        tariffs: What energy costs.
        clock: The service's clock.
        calendar: Which billing windows follow one another.
    """

    def __init__(
        self, site: Site, stores: Stores, tariffs: TariffSource, clock: Clock, calendar: BillingCalendar
    ) -> None:
        self._site = site
        self._stores = stores
        self._tariffs = tariffs
        self._clock = clock
        self._calendar = calendar
        self.bill: SiteBill | None = None

    async def refresh(self) -> None:
        """Make the bill anew, up to the last quarter-hour that the meter has reached.

        Raises:
            SourceUnavailable: A part of the window has no price.
        """
        now = self._clock.now()
        newest = await self._stores.meters.latest_site_reading(self._site.id)
        if newest is None:
            return
        tariff = await self._tariffs.tariff(self._site.id, now, now + _STEP)
        window = self._calendar(tariff, now)
        reached = window.start + (min(newest.at, now) - window.start) // _STEP * _STEP
        first = await self._first_reading_at(window)
        if first is None or reached <= first:
            self.bill = None
            return
        so_far = Interval(window.start, reached)
        tariff = await self._tariffs.tariff(self._site.id, first, reached)
        readings = await self._stores.meters.site_readings(self._site.id, so_far.start, so_far.end)
        self.bill = await asyncio.to_thread(_bill, self._site, readings, tariff, Interval(first, reached))

    async def _first_reading_at(self, window: Interval) -> datetime | None:
        """The first quarter-hour of the window that the meter has seen: prices before it may never have been known."""
        earliest = await self._stores.meters.site_readings(self._site.id, window.start, window.start)
        after = [reading.at for reading in earliest if reading.at >= window.start]
        if not after or len(earliest) > len(after):
            return window.start if earliest else None
        return window.start + (after[0] - window.start) // _STEP * _STEP


def _bill(site: Site, readings: tuple[SiteMeterReading, ...], tariff: Tariff, so_far: Interval) -> SiteBill:
    intervals, _ = site_intervals(readings, costing_grid(tariff, so_far))
    return site_bill(site.id, intervals, tariff, so_far)
