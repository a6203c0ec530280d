"""Weather files: irradiance and air temperature over consecutive intervals of one length.

A CSV with a time column and these, under our own name or one of those used by others:

    ===================  ==================================  ==========================================
    ours                 also taken                          meaning
    ===================  ==================================  ==========================================
    timestamp            start, utc, time, measured_on       start of the interval, with its UTC offset
    ghi_w_per_m2         ghi, global_irradiance              global horizontal irradiance
    dhi_w_per_m2         dhi, diffuse_irradiance             diffuse horizontal irradiance, optional
    dni_w_per_m2         dni, direct_normal_irradiance       direct normal irradiance, optional, needs diffuse
    air_temperature_c    temp_air(_deg_c), temperature       air temperature, optional
    wind_m_per_s         wind_speed                          wind speed, optional
    ===================  ==================================  ==========================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectors.documents import CsvRow, checked_step, csv_header, read_csv
from connectors.forecasts.time_grid import FloatArray
from optimizer.errors import InvalidDataFile

NAMES: Mapping[str, tuple[str, ...]] = {
    "timestamp": ("timestamp", "start", "utc", "time", "measured_on"),
    "ghi_w_per_m2": ("ghi_w_per_m2", "ghi", "global_irradiance"),
    "dhi_w_per_m2": ("dhi_w_per_m2", "dhi", "diffuse_irradiance"),
    "dni_w_per_m2": ("dni_w_per_m2", "dni", "direct_normal_irradiance"),
    "air_temperature_c": ("air_temperature_c", "temp_air", "temperature", "temp_air_deg_c"),
    "wind_m_per_s": ("wind_m_per_s", "wind_speed"),
}

GREATEST_IRRADIANCE_W_PER_M2 = 1600.0
"""Above what clouds at the edge of the sun ever reflect to the ground; more is a wrong unit or a broken sensor."""


@dataclass(frozen=True)
class Weather:
    """Weather over consecutive intervals."""

    source: str
    """File it comes from."""
    start_s: float
    """Start of the first interval [s since 1970, UTC]."""
    step_s: float
    """Length of each interval [s]."""
    global_w_per_m2: FloatArray
    """Global horizontal irradiance [W/m2]."""
    diffuse_w_per_m2: FloatArray | None
    """Diffuse horizontal irradiance [W/m2]; ``None``: not told."""
    direct_w_per_m2: FloatArray | None
    """Direct normal irradiance [W/m2]; ``None``: not told."""
    air_temperature_c: FloatArray | None
    """[degrees Celsius]; ``None``: not told."""
    wind_m_per_s: FloatArray | None
    """[m/s]; ``None``: not told."""

    @property
    def end_s(self) -> float:
        """End of the last interval [s since 1970, UTC]."""
        return self.start_s + self.step_s * len(self.global_w_per_m2)

    def rows_at(self, times: pd.DatetimeIndex) -> NDArray[np.intp]:
        """Row of the interval that each instant lies in, or is nearest to."""
        instants_s = times.as_unit("ns").asi8 / 1e9
        rows = np.floor((instants_s - self.start_s) / self.step_s).astype(np.intp)
        nearest: NDArray[np.intp] = np.clip(rows, 0, len(self.global_w_per_m2) - 1)
        return nearest


def read_weather(path: Path) -> Weather:
    """Read a weather file.

    Raises:
        InvalidDataFile: A column lacks, or a row cannot be used, is missing or comes twice.
    """
    header = csv_header(path)
    columns = {ours: next((name for name in names if name in header), None) for ours, names in NAMES.items()}
    time_column, global_column = columns["timestamp"], columns["ghi_w_per_m2"]
    if time_column is None or global_column is None:
        fix = "must have the columns timestamp and ghi_w_per_m2"
        raise InvalidDataFile("header", ",".join(header), fix, where=str(path))
    if columns["dni_w_per_m2"] and not columns["dhi_w_per_m2"]:
        raise InvalidDataFile("header", ",".join(header), "dni_w_per_m2 needs dhi_w_per_m2 beside it", where=str(path))
    rows = read_csv(path, (time_column, global_column))
    starts = [row.instant(time_column) for row in rows]
    step = checked_step(starts, rows)
    return Weather(
        source=path.name,
        start_s=starts[0].timestamp(),
        step_s=step.total_seconds(),
        global_w_per_m2=_irradiance(rows, global_column),
        diffuse_w_per_m2=_irradiance(rows, name) if (name := columns["dhi_w_per_m2"]) else None,
        direct_w_per_m2=_irradiance(rows, name) if (name := columns["dni_w_per_m2"]) else None,
        air_temperature_c=_numbers(rows, name) if (name := columns["air_temperature_c"]) else None,
        wind_m_per_s=_numbers(rows, name) if (name := columns["wind_m_per_s"]) else None,
    )


def _numbers(rows: list[CsvRow], column: str) -> FloatArray:
    return np.array([row.number(column) for row in rows])


def _irradiance(rows: list[CsvRow], column: str) -> FloatArray:
    """Values of an irradiance column; small negative ones are a sensor's night offset."""
    values = _numbers(rows, column)
    beyond = np.flatnonzero((values > GREATEST_IRRADIANCE_W_PER_M2) | (values < -20))
    if beyond.size:
        fix = f"give W/m2 from 0 to {GREATEST_IRRADIANCE_W_PER_M2:g}"
        raise rows[beyond[0]].refused(column, fix)
    return np.maximum(values, 0.0)
