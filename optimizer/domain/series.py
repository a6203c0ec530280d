"""Values over consecutive intervals: power, prices, emissions."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from math import isfinite
from operator import lt

from optimizer.domain.moment import Interval, hours_between, require_utc
from optimizer.errors import InvalidInput


def _checked_boundaries(boundaries: tuple[datetime, ...], value_count: int) -> tuple[datetime, ...]:
    if len(boundaries) != value_count + 1 or not value_count:
        raise InvalidInput("boundaries", len(boundaries), f"give {value_count + 1} boundaries for {value_count} values")
    utc = tuple([require_utc("boundaries", boundary) for boundary in boundaries])
    if all(map(lt, utc, utc[1:])):
        return utc
    for earlier, later in pairwise(utc):
        if later <= earlier:
            raise InvalidInput("boundaries", later.isoformat(), f"must be after {earlier.isoformat()}")
    return utc


@dataclass(frozen=True)
class PowerSeries:
    """Mean power over consecutive intervals of any length."""

    boundaries: tuple[datetime, ...]
    """N+1 instants [UTC]."""
    values_kw: tuple[float, ...]
    """N means [kW]."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "boundaries", _checked_boundaries(self.boundaries, len(self.values_kw)))
        if all(map(isfinite, self.values_kw)):
            return
        for index, value in enumerate(self.values_kw):
            if not isfinite(value):
                raise InvalidInput(f"values_kw[{index}]", value, "give a finite number")

    @property
    def span(self) -> Interval:
        """From the first boundary to the last."""
        return Interval(self.boundaries[0], self.boundaries[-1])

    def mean_over_kw(self, start: datetime, end: datetime) -> float:
        """Mean over ``[start, end)``; outside the series its first or last value holds [kW]."""
        total_kwh = 0.0
        instant = start
        while instant < end:
            index = min(max(bisect_right(self.boundaries, instant) - 1, 0), len(self.values_kw) - 1)
            after = self.boundaries[index + 1]
            if instant < self.boundaries[0]:
                after = self.boundaries[0]
            until = end if after <= instant else min(end, after)
            total_kwh += self.values_kw[index] * hours_between(instant, until)
            instant = until
        return total_kwh / hours_between(start, end)


@dataclass(frozen=True)
class PriceSeries:
    """Price of energy over consecutive intervals, exact."""

    currency: str
    """ISO 4217 code."""
    boundaries: tuple[datetime, ...]
    """N+1 instants [UTC]."""
    prices_per_kwh: tuple[Decimal, ...]
    """N prices [currency/kWh]; negative ones occur."""
    source: str = ""
    """Where the prices come from, for the reader of a bill."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "boundaries", _checked_boundaries(self.boundaries, len(self.prices_per_kwh)))
        for index, price in enumerate(self.prices_per_kwh):
            if not price.is_finite():
                raise InvalidInput(f"prices_per_kwh[{index}]", price, "give a finite number")

    @property
    def span(self) -> Interval:
        """From the first boundary to the last."""
        return Interval(self.boundaries[0], self.boundaries[-1])

    def price_per_kwh_at(self, instant: datetime) -> Decimal:
        """Price in force at ``instant``.

        Raises:
            InvalidInput: The instant lies outside the series.
        """
        index = bisect_right(self.boundaries, instant) - 1
        if not 0 <= index < len(self.prices_per_kwh):
            raise InvalidInput("instant", instant.isoformat(), f"prices are known for {self.span} only")
        return self.prices_per_kwh[index]

    def mean_over_per_kwh(self, start: datetime, end: datetime) -> float:
        """Time-weighted mean over ``[start, end)``; outside, the first or last price holds."""
        as_power = PowerSeries(self.boundaries, tuple(float(price) for price in self.prices_per_kwh))
        return as_power.mean_over_kw(start, end)
