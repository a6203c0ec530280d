"""The forecasts of one site, PV and building, behind one port."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from optimizer.domain.series import PowerSeries
from optimizer.ports import Measured, Quantity


class PowerForecast(Protocol):
    """Expects one power from the time and what was measured; computes, never waits."""

    @property
    def looks_back(self) -> bool:
        """Whether what was measured lately changes what it expects."""
        ...

    def power(self, start: datetime, end: datetime, recent: PowerSeries | None) -> PowerSeries:
        """Expected mean power over ``[start, end)``.

        Raises:
            SourceUnavailable: There is nothing to expect it from.
        """
        ...


class NoPower:
    """The `PowerForecast` of what a site does not have."""

    looks_back = False

    def power(self, start: datetime, end: datetime, recent: PowerSeries | None) -> PowerSeries:  # noqa: ARG002
        """Zero over ``[start, end)``."""
        return PowerSeries((start, end), (0.0,))


class SiteForecasts:
    """A `ForecastSource` over both quantities of a site.

    Args:
        pv: Forecast of the PV arrays together; `NoPower` where there are none.
        building: Forecast of the building; `NoPower` where there is none.
    """

    def __init__(self, pv: PowerForecast, building: PowerForecast) -> None:
        self._of = {Quantity.PV: pv, Quantity.BUILDING: building}

    async def forecast(self, quantity: Quantity, start: datetime, end: datetime, recent: Measured) -> PowerSeries:
        """Expected mean power over ``[start, end)``, given what was ``recent``ly measured.

        Raises:
            SourceUnavailable: There is nothing to expect it from.
        """
        forecast = self._of[quantity]
        return forecast.power(start, end, recent() if forecast.looks_back else None)
