"""What the site pays: time-of-use windows, demand charges, export. Local time lives here and nowhere deeper."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property, lru_cache
from zoneinfo import ZoneInfo

from optimizer.domain.ids import TariffId
from optimizer.domain.moment import Interval
from optimizer.domain.series import PriceSeries
from optimizer.errors import InvalidInput

EVERY_DAY = frozenset(range(7))
WEEKDAYS = frozenset(range(5))
WEEKEND = frozenset((5, 6))


@dataclass(frozen=True, slots=True)
class TariffWindow:
    """Days and local times at which something applies; ``end`` 00:00 means the end of the day."""

    first_day: tuple[int, int] = (1, 1)
    """Month and day from which it applies each year."""
    last_day: tuple[int, int] = (12, 31)
    """Month and day until which it applies, inclusive; before ``first_day`` it wraps over New Year."""
    weekdays: frozenset[int] = EVERY_DAY
    """Monday is 0."""
    start: time = time(0)
    """First local time inside."""
    end: time = time(0)
    """First local time after; 00:00 is the end of the day."""

    def __post_init__(self) -> None:
        if self.end != time(0) and self.end <= self.start:
            raise InvalidInput("end", self.end.isoformat(), f"must be after {self.start}, or split at midnight")

    def applies_on(self, day: date) -> bool:
        """Whether the local ``day`` is one of its days."""
        month_day = (day.month, day.day)
        if self.first_day <= self.last_day:
            in_season = self.first_day <= month_day <= self.last_day
        else:
            in_season = month_day >= self.first_day or month_day <= self.last_day
        return in_season and day.weekday() in self.weekdays

    def applies_at(self, local: datetime) -> bool:
        """Whether it applies at the ``local`` instant."""
        clock = local.time()
        return self.applies_on(local.date()) and self.start <= clock and (self.end == time(0) or clock < self.end)


@dataclass(frozen=True, slots=True)
class EnergyBand:
    """A price per kWh in a window."""

    name: str
    """Name on the bill, for example summer on-peak."""
    window: TariffWindow
    """When it applies."""
    price_per_kwh: Decimal
    """[currency/kWh]."""


@dataclass(frozen=True, slots=True)
class DemandCharge:
    """A price per kW of the greatest mean import of a billing month."""

    name: str
    """Name on the bill."""
    price_per_kw: Decimal
    """[currency/kW] for each billing month."""
    window: TariffWindow = TariffWindow()
    """Intervals that count."""
    interval_minutes: int = 15
    """Length over which the meter takes the mean."""


@dataclass(frozen=True)
class Tariff:
    """All that the site's energy costs, before any mark-up."""

    id: TariffId
    """Name, unique in the service."""
    name: str
    """Name on the bill."""
    currency: str
    """ISO 4217 code."""
    time_zone: str
    """IANA zone of the windows and billing days."""
    energy_bands: tuple[EnergyBand, ...] = ()
    """Time-of-use bands; the first that applies counts. Empty: energy is priced by ``market`` alone."""
    demand_charges: tuple[DemandCharge, ...] = ()
    """Demand charges, each with its own window."""
    export_price_per_kwh: Decimal = Decimal(0)
    """Paid to the site for export [currency/kWh]."""
    market: PriceSeries | None = None
    """Day-ahead prices that come on top of the bands."""
    version: str = ""
    """Date or number by which a record can name the tariff."""
    market_priced: bool = False
    """Whether day-ahead prices must come on top; without them no price is told."""

    def __post_init__(self) -> None:
        if not self.energy_bands and self.market is None:
            raise InvalidInput(f"tariffs.{self.id}.energy_bands", (), "give at least one band, or market prices")
        if self.market is not None and self.market.currency != self.currency:
            raise InvalidInput(
                f"tariffs.{self.id}.market.currency", self.market.currency, f"must be {self.currency}, as the tariff's"
            )

    @cached_property
    def zone(self) -> ZoneInfo:
        """Zone of the windows."""
        return ZoneInfo(self.time_zone)

    @cached_property
    def _clock_times(self) -> frozenset[time]:
        """Local times at which a window may begin or end."""
        windows = [band.window for band in self.energy_bands] + [charge.window for charge in self.demand_charges]
        return frozenset({time(0)}.union(*({window.start, window.end} for window in windows)))

    def band_at(self, instant: datetime) -> EnergyBand | None:
        """The time-of-use band that applies at ``instant``.

        Raises:
            InvalidInput: The tariff has bands but none applies then.
        """
        local = instant.astimezone(self.zone)
        for band in self.energy_bands:
            if band.window.applies_at(local):
                return band
        if self.energy_bands:
            raise InvalidInput(f"tariffs.{self.id}.energy_bands", local.isoformat(), "no band covers this time")
        return None

    def import_price_per_kwh_at(self, instant: datetime) -> Decimal:
        """Price of a kWh from the grid at ``instant``, without the demand charge.

        Raises:
            InvalidInput: No band or no market price covers ``instant``.
        """
        if self.market_priced and self.market is None:
            raise InvalidInput(f"tariffs.{self.id}.market", None, "give the day-ahead prices this tariff is based on")
        band = self.band_at(instant)
        price = band.price_per_kwh if band else Decimal(0)
        return price + self.market.price_per_kwh_at(instant) if self.market else price

    def import_prices(self, start: datetime, end: datetime) -> PriceSeries:
        """Prices of ``[start, end)``, one value for each stretch in which nothing changes."""
        boundaries = self.boundaries_between(start, end)
        prices = tuple(self.import_price_per_kwh_at(boundary) for boundary in boundaries[:-1])
        return PriceSeries(self.currency, boundaries, prices, source=self.name)

    def boundaries_between(self, start: datetime, end: datetime) -> tuple[datetime, ...]:
        """``start``, ``end`` and all instants between at which a price or window may change [UTC]."""
        instants = {start, end}
        day = start.astimezone(self.zone).date() - timedelta(days=1)
        while day <= end.astimezone(self.zone).date() + timedelta(days=1):
            instants |= _instants_of(day, self._clock_times, self.zone)
            day += timedelta(days=1)
        if self.market is not None:
            instants |= set(self.market.boundaries)
        return tuple(sorted(instant for instant in instants if start <= instant <= end))

    def billing_month(self, instant: datetime) -> Interval:
        """The local calendar month that ``instant`` falls in."""
        local = instant.astimezone(self.zone)
        first = datetime(local.year, local.month, 1, tzinfo=self.zone)
        following = datetime(local.year + local.month // 12, local.month % 12 + 1, 1, tzinfo=self.zone)
        return Interval(first, following)


@lru_cache(maxsize=1024)
def _instants_of(day: date, clock_times: frozenset[time], zone: ZoneInfo) -> frozenset[datetime]:
    """When the clocks show ``clock_times`` on a local day, and when they are set forward or back [UTC].

    On the day they are set back a time may come twice; on the day they are set forward it may not come at all, and what
    begins at such a time begins when the clocks are set.
    """
    start = datetime.combine(day, time(0), zone).astimezone(UTC)
    end = datetime.combine(day + timedelta(days=1), time(0), zone).astimezone(UTC)
    if start.astimezone(zone).utcoffset() == end.astimezone(zone).utcoffset():
        return frozenset(datetime.combine(day, clock, zone).astimezone(UTC) for clock in clock_times)
    instants = {
        datetime.combine(day, clock.replace(fold=fold), zone).astimezone(UTC)
        for clock in clock_times
        for fold in (0, 1)
    }
    kept = {instant for instant in instants if instant.astimezone(zone).time() in clock_times}
    return frozenset(kept | {_clock_change(start, end, zone)})


def _clock_change(start: datetime, end: datetime, zone: ZoneInfo) -> datetime:
    """The one instant between two at which the offset of ``zone`` changes [UTC]."""
    before, after = start, end
    while after - before > timedelta(seconds=1):
        middle = (before + (after - before) // 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == start.astimezone(zone).utcoffset():
            before = middle
        else:
            after = middle
    return after
