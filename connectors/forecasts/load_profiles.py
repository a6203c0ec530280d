"""Load profiles of a building: what it is thought to draw at each local time of a workday, Saturday and Sunday.

As CSV, each row holding until the next one's time; Saturday and Sunday may be left out and are then like workdays::

    local_time,workday_kw,saturday_kw,sunday_kw
    00:00,12.0,11.0,11.0
    07:30,38.5,14.0,11.0

As YAML::

    workday_kw: {"00:00": 12.0, "07:30": 38.5}
    sunday_kw: {"00:00": 11.0}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from enum import IntEnum
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from connectors.documents import CsvRow, checked, csv_header, read_csv, read_yaml
from connectors.forecasts.time_grid import FloatArray
from optimizer.errors import InvalidDataFile

QUARTERS_OF_DAY = 96


class DayKind(IntEnum):
    """Days that are alike; a row of a profile."""

    WORKDAY = 0
    SATURDAY = 1
    SUNDAY = 2


@dataclass(frozen=True)
class LoadProfile:
    """Expected load by kind of day and quarter hour."""

    source: str
    """File it comes from."""
    power_kw: FloatArray
    """Shape (3, 96): `DayKind` x quarter hour of the local day [kW]."""


class LoadProfileFile(BaseModel):
    """The YAML form: local time to power, each holding until the next."""

    model_config = ConfigDict(extra="forbid")

    workday_kw: dict[time, float] = Field(description="Monday to Friday, HH:MM to kW.", min_length=1)
    saturday_kw: dict[time, float] | None = Field(default=None, description="Left out: like a workday.", min_length=1)
    sunday_kw: dict[time, float] | None = Field(default=None, description="Left out: like a Saturday.", min_length=1)


def read_load_profile(path: Path) -> LoadProfile:
    """Read a profile, CSV or YAML by the file's ending.

    Raises:
        InvalidDataFile: A time or power cannot be used, or the first time is not 00:00.
    """
    days = _yaml_days(path) if path.suffix in (".yaml", ".yml") else _csv_days(path)
    rows = [_quarters(power_from, name, path) for name, power_from in days.items()]
    return LoadProfile(path.name, np.array(rows))


def _yaml_days(path: Path) -> dict[str, Mapping[time, float]]:
    document = checked(LoadProfileFile, read_yaml(path), path)
    saturday = document.saturday_kw or document.workday_kw
    return {"workday_kw": document.workday_kw, "saturday_kw": saturday, "sunday_kw": document.sunday_kw or saturday}


def _csv_days(path: Path) -> dict[str, Mapping[time, float]]:
    header = csv_header(path)
    rows = read_csv(path, ("local_time", "workday_kw"))
    days: dict[str, Mapping[time, float]] = {}
    power_from: Mapping[time, float] = {}
    for column in ("workday_kw", "saturday_kw", "sunday_kw"):
        if column in header:
            power_from = {_clock_time(row): row.number(column) for row in rows}
        days[column] = power_from
    return days


def _clock_time(row: CsvRow) -> time:
    try:
        return time.fromisoformat(row.cells["local_time"])
    except ValueError as error:
        raise row.refused("local_time", "give HH:MM") from error


def _quarters(power_from: Mapping[time, float], day: str, path: Path) -> FloatArray:
    """Power in each quarter hour of the day [kW]."""
    power_kw = np.full(QUARTERS_OF_DAY, np.nan)
    for clock in sorted(power_from):
        value_kw = power_from[clock]
        if not 0 <= value_kw < float("inf"):
            fix = "give a power from 0 up [kW]"
            raise InvalidDataFile(f"{day}.{clock:%H:%M}", value_kw, fix, where=str(path))
        if clock.second or clock.minute % 15:
            fix = "give a quarter hour: HH:00, HH:15, HH:30 or HH:45"
            raise InvalidDataFile(day, clock.isoformat(), fix, where=str(path))
        power_kw[clock.hour * 4 + clock.minute // 15 :] = value_kw
    if np.isnan(power_kw[0]):
        first = min(power_from).isoformat("minutes")
        raise InvalidDataFile(day, first, "let the first time be 00:00", where=str(path))
    return power_kw
