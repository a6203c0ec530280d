"""Expected building load: as at the same time of earlier days of the same kind, at the level it has just had.

base at a local time   = mean measured then on earlier days of its kind (workday, Saturday, Sunday)
                         else the configured profile, else measured then on any day, else the measured mean
deviation now          = mean measured in the last while - base of that while, as learnt before it
forecast               = base + deviation * exp(-age / fading time), never below zero
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectors.forecasts.load_profiles import QUARTERS_OF_DAY, DayKind, LoadProfile
from connectors.forecasts.time_grid import STEP_S, FloatArray, edges_between_s, mean_between
from optimizer.domain.series import PowerSeries
from optimizer.errors import SourceUnavailable

DEVIATION_WINDOW = timedelta(hours=2)
FADING_TIME = timedelta(hours=3)

IndexArray = NDArray[np.intp]
KIND_OF_WEEKDAY = np.array([DayKind.WORKDAY] * 5 + [DayKind.SATURDAY, DayKind.SUNDAY], dtype=np.intp)


class BuildingForecast:
    """Expected load of a building.

    Args:
        time_zone: IANA zone in which its days begin.
        profile: What to expect before anything is measured; ``None``: nothing.
        window: How far back the present deviation is measured.
        fading_time: Time after which a deviation has fallen to 37 %.
    """

    looks_back = True

    def __init__(
        self,
        time_zone: str,
        profile: LoadProfile | None = None,
        *,
        window: timedelta = DEVIATION_WINDOW,
        fading_time: timedelta = FADING_TIME,
    ) -> None:
        self._zone = ZoneInfo(time_zone)
        self._profile = profile
        self._window_s = window.total_seconds()
        self._fading_s = fading_time.total_seconds()

    def power(self, start: datetime, end: datetime, recent: PowerSeries | None) -> PowerSeries:
        """Expected mean load over ``[start, end)``, in quarter hours and what is left of them at the ends.

        Args:
            start: First instant [UTC].
            end: First instant after [UTC].
            recent: Measured load before ``start``; ``None``: unknown.

        Raises:
            SourceUnavailable: Nothing was measured and no profile is configured.
        """
        measured = self._measured_quarters(recent)
        if measured is None and self._profile is None:
            raise SourceUnavailable("no building load: nothing was measured yet and no load profile is configured")
        edges_s = edges_between_s(start.timestamp(), end.timestamp())
        power_kw = self._base_kw(measured)[self._slots(edges_s[:-1])]
        if measured is not None:
            age_s = np.maximum((edges_s[:-1] + edges_s[1:]) / 2 - measured.end_s, 0.0)
            power_kw = power_kw + self._deviation_kw(measured) * np.exp(-age_s / self._fading_s)
        inner = [datetime.fromtimestamp(edge_s, UTC) for edge_s in edges_s[1:-1].tolist()]
        return PowerSeries((start, *inner, end), tuple(np.maximum(power_kw, 0.0).tolist()))

    def _base_kw(self, measured: _Quarters | None) -> FloatArray:
        """Expected power of every kind of day and quarter hour, shape (3, 96) [kW]."""
        own_kind_kw = self._own_kind_kw(measured)
        if measured is None:
            return own_kind_kw
        sums_kw, counts = self._sums(measured)
        any_kind_kw = np.full(QUARTERS_OF_DAY, measured.power_kw.mean())
        seen = counts.sum(axis=0) > 0
        any_kind_kw[seen] = sums_kw.sum(axis=0)[seen] / counts.sum(axis=0)[seen]
        return np.where(np.isnan(own_kind_kw), any_kind_kw, own_kind_kw)

    def _own_kind_kw(self, measured: _Quarters | None) -> FloatArray:
        """The same, from days of the same kind or the profile only; NaN where neither tells."""
        power_kw = np.full((len(DayKind), QUARTERS_OF_DAY), np.nan)
        if self._profile is not None:
            power_kw = self._profile.power_kw.copy()
        if measured is not None:
            sums_kw, counts = self._sums(measured)
            power_kw[counts > 0] = sums_kw[counts > 0] / counts[counts > 0]
        return power_kw

    @staticmethod
    def _sums(measured: _Quarters) -> tuple[FloatArray, FloatArray]:
        """Sum of the measured means and their number, by kind of day and quarter hour."""
        sums_kw, counts = np.zeros((2, len(DayKind), QUARTERS_OF_DAY))
        np.add.at(sums_kw, (measured.kinds, measured.quarters), measured.power_kw)
        np.add.at(counts, (measured.kinds, measured.quarters), 1.0)
        return sums_kw, counts

    def _deviation_kw(self, measured: _Quarters) -> float:
        """Mean difference of the last while from what was to be expected before it; zero where nothing was."""
        lately = measured.starts_s >= measured.end_s - self._window_s
        earlier = None if lately.all() else measured.only(~lately)
        expected_kw = self._own_kind_kw(earlier)[measured.kinds[lately], measured.quarters[lately]]
        deviations_kw = measured.power_kw[lately] - expected_kw
        known = ~np.isnan(deviations_kw)
        return float(deviations_kw[known].mean()) if known.any() else 0.0

    def _measured_quarters(self, recent: PowerSeries | None) -> _Quarters | None:
        """Means over the whole quarter hours of a series; ``None`` where there is none."""
        if recent is None:
            return None
        edges_s = np.array([boundary.timestamp() for boundary in recent.boundaries])
        first_s, last_s = np.ceil(edges_s[0] / STEP_S) * STEP_S, np.floor(edges_s[-1] / STEP_S) * STEP_S
        if last_s <= first_s:
            return None
        grid_s = np.arange(first_s, last_s + STEP_S, STEP_S)
        power_kw = mean_between(edges_s, np.array(recent.values_kw), grid_s)
        return _Quarters(grid_s[:-1], power_kw, *self._slots(grid_s[:-1]))

    def _slots(self, starts_s: FloatArray) -> tuple[IndexArray, IndexArray]:
        """Kind of day and quarter hour of the local day of each instant."""
        local = pd.DatetimeIndex(pd.to_datetime(starts_s, unit="s", utc=True)).tz_convert(self._zone)
        quarters = local.hour.to_numpy() * 4 + local.minute.to_numpy() // 15
        return KIND_OF_WEEKDAY[local.day_of_week.to_numpy()], quarters.astype(np.intp)


@dataclass(frozen=True)
class _Quarters:
    """Measured means over whole quarter hours, with the row and column of each in a profile."""

    starts_s: FloatArray
    power_kw: FloatArray
    kinds: IndexArray
    quarters: IndexArray

    @property
    def end_s(self) -> float:
        return float(self.starts_s[-1]) + STEP_S

    def only(self, chosen: NDArray[np.bool_]) -> _Quarters:
        return _Quarters(self.starts_s[chosen], self.power_kw[chosen], self.kinds[chosen], self.quarters[chosen])
