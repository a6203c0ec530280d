"""Expected power from what was measured and what is forecast. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from optimizer.domain.metering import SiteMeterReading
from optimizer.domain.moment import hours_between
from optimizer.domain.series import PowerSeries
from optimizer.ports import Quantity


def flat_series(start: datetime, end: datetime, value_kw: float) -> PowerSeries:
    """One value from ``start`` to ``end``."""
    return PowerSeries((start, end), (value_kw,))


def with_measured_start(forecast: PowerSeries, measured_kw: float, at: datetime, hold: timedelta) -> PowerSeries:
    """The forecast with the measured value in place of its first part.

    measured ====|
    forecast     |-----\\____/-----
             at  at + hold
    """
    until = at + hold
    later = [
        (max(start, until), value_kw)
        for (start, end), value_kw in zip(pairwise(forecast.boundaries), forecast.values_kw, strict=True)
        if end > until
    ]
    if hold <= timedelta(0):
        return forecast
    if not later:
        return flat_series(at, max(forecast.boundaries[-1], until), measured_kw)
    boundaries = (at, *(start for start, _ in later), forecast.boundaries[-1])
    return PowerSeries(boundaries, (measured_kw, *(value_kw for _, value_kw in later)))


def measured_series(readings: Sequence[SiteMeterReading], quantity: Quantity) -> PowerSeries | None:
    """Mean power between consecutive readings; ``None`` where it was not metered.

    Registers give the true mean; where there is none, the power at a reading stands for the time until the next.
    """
    boundaries: list[datetime] = []
    values_kw: list[float] = []
    for earlier, later in pairwise(readings):
        mean_kw = _mean_kw(earlier, later, quantity)
        if mean_kw is None or later.at <= earlier.at:
            boundaries, values_kw = [], []
            continue
        if not boundaries:
            boundaries.append(earlier.at)
        boundaries.append(later.at)
        values_kw.append(mean_kw)
    return PowerSeries(tuple(boundaries), tuple(values_kw)) if values_kw else None


def _mean_kw(earlier: SiteMeterReading, later: SiteMeterReading, quantity: Quantity) -> float | None:
    before_kwh, after_kwh = _register_kwh(earlier, quantity), _register_kwh(later, quantity)
    if before_kwh is not None and after_kwh is not None and later.at > earlier.at:
        return float(after_kwh - before_kwh) / hours_between(earlier.at, later.at)
    return earlier.pv_kw if quantity is Quantity.PV else earlier.building_kw


def _register_kwh(reading: SiteMeterReading, quantity: Quantity) -> Decimal | None:
    return reading.pv_register_kwh if quantity is Quantity.PV else reading.building_register_kwh
