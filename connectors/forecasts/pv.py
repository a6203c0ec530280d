"""Expected PV power: what the sun would give under the sky, times how clear it has just been.

    sky (clear, or a weather file)
      -> plane of each array -> cell temperature -> PVWatts DC -> inverter -> power of the day, cached
    recently measured / the same computed  = clearness now
    clearness at a later time              = long-term one + (now - long-term one) * exp(-age / fading time)
    forecast                               = computed power * clearness

Chosen on NREL SERF East, July and August 2016: over 8 h ahead a window of 1 to 3 h and a fading time of 3 to 10 h
differ by less than 2 % in mean error, so one value of each serves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pvlib

from connectors.forecasts.sky import Sky, SkyConditions, SunPath
from connectors.forecasts.time_grid import STEP_S, FloatArray, edges_between_s, mean_between
from optimizer.domain.series import PowerSeries
from optimizer.domain.site import PvArray

DAY_S = 86_400
STEPS_OF_DAY = DAY_S // STEP_S

CACHED_DAYS = 16
"""Enough for the longest horizon and the measured past before it."""

LONG_TERM_CLEARNESS = 0.7
"""Share of clear-sky energy that arrives over a year in temperate climate; where it is sunnier, state a larger one."""

CLEARNESS_WINDOW = timedelta(hours=2)
FADING_TIME = timedelta(hours=4)

GREATEST_CLEARNESS = 1.2
"""Sun between bright clouds, or modules better than their rating; more is a low sun behind a wrong horizon."""

LEAST_SHARE_OF_PEAK = 0.05
"""Mean computed power below which a ratio to it says nothing: night, dawn, dusk."""

TEMPERATURE_COEFFICIENT = -0.004
"""Relative change of DC power per degree of the cell, crystalline silicon."""

LOSSES = pvlib.pvsystem.pvwatts_losses() / 100
"""Soiling, wiring, mismatch and age after PVWatts version 5: about 14 %."""

INVERTER_EFFICIENCY = 0.96


class PvForecast:
    """Expected power of a site's PV arrays together.

    Args:
        arrays: The arrays.
        latitude_deg: Degrees north.
        longitude_deg: Degrees east.
        sky: Clear, or from a weather file.
        long_term_clearness: Ratio to the computed power that a measured one fades to; 1 with a weather file.
        window: How far back the clearness is measured.
        fading_time: Time after which a deviation from the long-term clearness has fallen to 37 %.
    """

    looks_back = True

    def __init__(
        self,
        arrays: Sequence[PvArray],
        latitude_deg: float,
        longitude_deg: float,
        sky: Sky,
        *,
        long_term_clearness: float = LONG_TERM_CLEARNESS,
        window: timedelta = CLEARNESS_WINDOW,
        fading_time: timedelta = FADING_TIME,
    ) -> None:
        self._arrays = tuple(arrays)
        self._latitude_deg = latitude_deg
        self._longitude_deg = longitude_deg
        self._sky = sky
        self._long_term_clearness = long_term_clearness
        self._window = window
        self._fading_s = fading_time.total_seconds()
        self._peak_kw = sum(array.peak_kw for array in arrays)
        self._power_of_day_kw: OrderedDict[int, FloatArray] = OrderedDict()

    def power(self, start: datetime, end: datetime, recent: PowerSeries | None) -> PowerSeries:
        """Expected mean power over ``[start, end)``, in quarter hours and what is left of them at the ends.

        Args:
            start: First instant [UTC].
            end: First instant after [UTC].
            recent: Measured PV power before ``start``; ``None``: unknown.

        Raises:
            SourceUnavailable: The weather file does not cover the time.
        """
        edges_s = edges_between_s(start.timestamp(), end.timestamp())
        clearness, measured_at_s = self._clearness(recent, start)
        age_s = np.maximum((edges_s[:-1] + edges_s[1:]) / 2 - measured_at_s, 0.0)
        factor = self._long_term_clearness + (clearness - self._long_term_clearness) * np.exp(-age_s / self._fading_s)
        power_kw = self.computed_kw(edges_s) * factor
        inner = [datetime.fromtimestamp(edge_s, UTC) for edge_s in edges_s[1:-1].tolist()]
        return PowerSeries((start, *inner, end), tuple(power_kw.tolist()))

    def computed_kw(self, edges_s: FloatArray) -> FloatArray:
        """Mean power between consecutive instants under the sky, before any correction [kW].

        Args:
            edges_s: Rising instants [s since 1970, UTC].

        Raises:
            SourceUnavailable: The weather file does not cover them.
        """
        self._sky.check_known(float(edges_s[0]), float(edges_s[-1]))
        first_day, last_day = int(edges_s[0] // DAY_S), int(np.ceil(edges_s[-1] / DAY_S))
        power_kw = np.concatenate([self._day_kw(day) for day in range(first_day, last_day)])
        grid_s = first_day * DAY_S + STEP_S * np.arange(len(power_kw) + 1, dtype=np.float64)
        return mean_between(grid_s, power_kw, edges_s)

    def _clearness(self, recent: PowerSeries | None, start: datetime) -> tuple[float, float]:
        """Measured over computed energy of the last while, and when that was [s since 1970, UTC]."""
        nothing_known = self._long_term_clearness, start.timestamp()
        if recent is None or recent.boundaries[-1] <= start - self._window:
            return nothing_known
        first = max(bisect_right(recent.boundaries, recent.boundaries[-1] - self._window) - 1, 0)
        edges_s = np.array([boundary.timestamp() for boundary in recent.boundaries[first:]])
        computed_kw = self.computed_kw(edges_s)
        duration_s = np.diff(edges_s)
        computed_mean_kw = float(np.average(computed_kw, weights=duration_s))
        if computed_mean_kw <= LEAST_SHARE_OF_PEAK * self._peak_kw:
            return nothing_known
        measured_mean_kw = float(np.average(recent.values_kw[first:], weights=duration_s))
        return min(max(measured_mean_kw / computed_mean_kw, 0.0), GREATEST_CLEARNESS), float(edges_s[-1])

    def _day_kw(self, day: int) -> FloatArray:
        """Computed power in each quarter hour of a UTC day, counted from 1970, taken at its middle [kW]."""
        if day in self._power_of_day_kw:
            self._power_of_day_kw.move_to_end(day)
            return self._power_of_day_kw[day]
        middles_s = day * DAY_S + STEP_S * np.arange(STEPS_OF_DAY) + STEP_S // 2
        times = pd.DatetimeIndex(pd.to_datetime(middles_s, unit="s", utc=True))
        sun = SunPath.over(times, self._latitude_deg, self._longitude_deg)
        conditions = self._sky.conditions(sun)
        power_kw: FloatArray = np.sum([array_power_kw(array, sun, conditions) for array in self._arrays], axis=0)
        self._power_of_day_kw[day] = power_kw
        if len(self._power_of_day_kw) > CACHED_DAYS:
            self._power_of_day_kw.popitem(last=False)
        return power_kw


def array_power_kw(array: PvArray, sun: SunPath, sky: SkyConditions) -> FloatArray:
    """AC power of one array at each instant of ``sun`` [kW].

    Transposed after Hay and Davies, reflection off the glass after Fresnel, cell temperature after Faiman, DC power and
    inverter after PVWatts version 5 (NREL/TP-6A20-62641).
    """
    plane = pvlib.irradiance.get_total_irradiance(
        array.tilt_deg,
        array.azimuth_deg,
        sun.zenith_deg,
        sun.azimuth_deg,
        sky.direct_w_per_m2,
        sky.global_w_per_m2,
        sky.diffuse_w_per_m2,
        dni_extra=sun.extraterrestrial_w_per_m2,
        model="haydavies",
    )
    incidence_deg = pvlib.irradiance.aoi(array.tilt_deg, array.azimuth_deg, sun.zenith_deg, sun.azimuth_deg)
    effective = plane["poa_direct"] * pvlib.iam.physical(incidence_deg) + plane["poa_diffuse"]
    effective = np.maximum(np.nan_to_num(effective), 0.0)
    cell_c = pvlib.temperature.faiman(np.nan_to_num(plane["poa_global"]), sky.air_temperature_c, sky.wind_m_per_s)
    dc_kw = pvlib.pvsystem.pvwatts_dc(effective, cell_c, array.peak_kw, TEMPERATURE_COEFFICIENT) * (1 - LOSSES)
    ac_kw = pvlib.inverter.pvwatts(dc_kw, array.inverter_kw / INVERTER_EFFICIENCY, INVERTER_EFFICIENCY)
    power_kw: FloatArray = np.maximum(np.nan_to_num(ac_kw), 0.0)
    return power_kw
