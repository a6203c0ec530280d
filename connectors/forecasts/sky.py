"""What the sun sends: its path, and irradiance under a clear sky or from a weather file. By pvlib."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
import pvlib
from numpy.typing import NDArray

from connectors.forecasts.time_grid import FloatArray, moment_text
from connectors.forecasts.weather_files import Weather
from optimizer.errors import SourceUnavailable

LINKE_TURBIDITY = 3.0
"""Clear air over land in temperate climate; 2 in cold or high places, 4 to 5 in humid summers and cities."""

AIR_TEMPERATURE_C = 20.0
"""Assumed with a clear sky; ten degrees more lower PV power by about 3.5 %."""

WIND_M_PER_S = 1.0
"""Assumed where no wind is known; little, so that modules are rather thought too warm."""


@dataclass(frozen=True)
class SunPath:
    """Where the sun stands at some instants over one place."""

    times: pd.DatetimeIndex
    """Instants [UTC]."""
    zenith_deg: FloatArray
    """Angle from straight up, refraction included [degrees]."""
    azimuth_deg: FloatArray
    """Clockwise from north [degrees]."""
    extraterrestrial_w_per_m2: FloatArray
    """Irradiance above the air [W/m2]."""

    @classmethod
    def over(cls, times: pd.DatetimeIndex, latitude_deg: float, longitude_deg: float) -> SunPath:
        """The path over a place at ``times``."""
        position = pvlib.solarposition.get_solarposition(times, latitude_deg, longitude_deg)
        return cls(
            times,
            position["apparent_zenith"].to_numpy(),
            position["azimuth"].to_numpy(),
            np.asarray(pvlib.irradiance.get_extra_radiation(_day_of_year(times))),
        )


@dataclass(frozen=True)
class SkyConditions:
    """Irradiance and air at the instants of a `SunPath`."""

    global_w_per_m2: FloatArray
    """On a horizontal plane [W/m2]."""
    direct_w_per_m2: FloatArray
    """From the sun's disc, on a plane facing it [W/m2]."""
    diffuse_w_per_m2: FloatArray
    """From the rest of the sky, on a horizontal plane [W/m2]."""
    air_temperature_c: FloatArray
    """[degrees Celsius]"""
    wind_m_per_s: FloatArray
    """[m/s]"""


class Sky(Protocol):
    """Gives the conditions along a sun's path."""

    def conditions(self, sun: SunPath) -> SkyConditions:
        """Conditions at the instants of ``sun``; beyond what is known the nearest known ones."""
        ...

    def check_known(self, start_s: float, end_s: float) -> None:
        """See that conditions are known from ``start_s`` to ``end_s`` [s since 1970, UTC].

        Raises:
            SourceUnavailable: They are not.
        """
        ...


class ClearSky:
    """A cloudless sky after Ineichen and Perez (doi:10.1016/S0038-092X(02)00045-2); looks nothing up.

    Args:
        altitude_m: Height of the place above the sea [m].
        linke_turbidity: How much haze weakens the sun, in thicknesses of clean dry air.
        air_temperature_c: Assumed air temperature [degrees Celsius].
    """

    def __init__(
        self,
        *,
        altitude_m: float = 0.0,
        linke_turbidity: float = LINKE_TURBIDITY,
        air_temperature_c: float = AIR_TEMPERATURE_C,
    ) -> None:
        self._altitude_m = altitude_m
        self._linke_turbidity = linke_turbidity
        self._air_temperature_c = air_temperature_c

    def conditions(self, sun: SunPath) -> SkyConditions:
        """Conditions at the instants of ``sun``."""
        pressure_pa = pvlib.atmosphere.alt2pres(self._altitude_m)
        airmass = pvlib.atmosphere.get_absolute_airmass(
            pvlib.atmosphere.get_relative_airmass(sun.zenith_deg), pressure_pa
        )
        with np.errstate(divide="ignore", invalid="ignore"):  # below the horizon pvlib divides by zero
            irradiance = pvlib.clearsky.ineichen(
                sun.zenith_deg, airmass, self._linke_turbidity, self._altitude_m, sun.extraterrestrial_w_per_m2
            )
        return SkyConditions(
            np.nan_to_num(irradiance["ghi"]),
            np.nan_to_num(irradiance["dni"]),
            np.nan_to_num(irradiance["dhi"]),
            np.full(len(sun.times), self._air_temperature_c),
            np.full(len(sun.times), WIND_M_PER_S),
        )

    def check_known(self, start_s: float, end_s: float) -> None:
        """A clear sky is known for all time."""


class WeatherSky:
    """A sky as a weather file tells it; what the file leaves out is derived.

    Direct irradiance from global and diffuse by geometry, or from global alone after Erbs, Klein and Duffie
    (doi:10.1016/0038-092X(82)90302-4).

    Args:
        weather: The file's content.
    """

    def __init__(self, weather: Weather) -> None:
        self._weather = weather

    def conditions(self, sun: SunPath) -> SkyConditions:
        """Conditions at the instants of ``sun``, each from the interval it lies in or is nearest to."""
        weather = self._weather
        rows = weather.rows_at(sun.times)
        global_w_per_m2 = weather.global_w_per_m2[rows]
        diffuse, direct = self._split(sun, rows, global_w_per_m2)
        return SkyConditions(
            global_w_per_m2,
            direct,
            diffuse,
            _or_default(weather.air_temperature_c, rows, AIR_TEMPERATURE_C),
            _or_default(weather.wind_m_per_s, rows, WIND_M_PER_S),
        )

    def check_known(self, start_s: float, end_s: float) -> None:
        """See that the file covers ``start_s`` to ``end_s`` [s since 1970, UTC].

        Raises:
            SourceUnavailable: It does not.
        """
        weather = self._weather
        if start_s < weather.start_s or end_s > weather.end_s:
            known = f"from {moment_text(weather.start_s)} to {moment_text(weather.end_s)}"
            wanted = f"from {moment_text(start_s)} to {moment_text(end_s)}"
            known = f"from {moment_text(weather.start_s)} to {moment_text(weather.end_s)}"
            wanted = f"from {moment_text(start_s)} to {moment_text(end_s)}"
            raise SourceUnavailable(f"{weather.source} tells the weather {known}, not {wanted}")

    def _split(
        self, sun: SunPath, rows: NDArray[np.intp], global_w_per_m2: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Diffuse and direct irradiance."""
        weather = self._weather
        if weather.diffuse_w_per_m2 is None:
            split = pvlib.irradiance.erbs(global_w_per_m2, sun.zenith_deg, _day_of_year(sun.times))
            return np.asarray(split["dhi"]), np.asarray(split["dni"])
        diffuse = weather.diffuse_w_per_m2[rows]
        if weather.direct_w_per_m2 is not None:
            return diffuse, weather.direct_w_per_m2[rows]
        direct = pvlib.irradiance.dni(global_w_per_m2, diffuse, sun.zenith_deg)
        return diffuse, np.nan_to_num(direct)


def _day_of_year(times: pd.DatetimeIndex) -> FloatArray:
    """Days since New Year; given to pvlib as numbers, since with an index it asks pandas for a deprecated field."""
    return times.day_of_year.to_numpy(dtype=np.float64)


def _or_default(values: FloatArray | None, rows: NDArray[np.intp], default: float) -> FloatArray:
    return np.full(len(rows), default) if values is None else values[rows]
