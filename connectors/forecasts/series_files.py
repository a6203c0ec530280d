"""Files of power over time: measured building load and PV, or a forecast as it was issued.

The general form is a CSV with a time column (``timestamp``, ``start``, ``utc``, ``time`` or ``measured_on``: the
interval's start with its UTC offset) and a value column whose name ends in its unit: ``_kw``, ``_w``, or ``_kwh`` and
``_wh`` for the energy of each interval. Two data sets of other forms have readers of their own.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from connectors.documents import CsvRow, checked_step, csv_header, read_csv
from optimizer.domain.series import PowerSeries
from optimizer.errors import InvalidDataFile, SourceUnavailable

TIME_COLUMNS = ("timestamp", "start", "utc", "time", "measured_on")

KW_PER_UNIT = {"_kw": 1.0, "_w": 0.001}
KWH_PER_UNIT = {"_kwh": 1.0, "_wh": 0.001}

CITYLEARN_COLUMNS = ("month", "hour", "day_type", "non_shiftable_load")
STEEL_COLUMNS = ("date", "Usage_kWh")
STEEL_ZONE = ZoneInfo("Asia/Seoul")


class RecordedForecast:
    """A `PowerForecast` that tells what a file expects, whatever was measured.

    Args:
        series: The file's content.
        source: Its name, for messages.
    """

    looks_back = False

    def __init__(self, series: PowerSeries, source: str) -> None:
        self._series = series
        self._source = source

    def power(self, start: datetime, end: datetime, recent: PowerSeries | None) -> PowerSeries:  # noqa: ARG002
        """Expected mean power over ``[start, end)``.

        Raises:
            SourceUnavailable: The file does not cover the time.
        """
        span = self._series.span
        if start < span.start or end > span.end:
            raise SourceUnavailable(
                f"{self._source} goes from {span.start.isoformat()} to {span.end.isoformat()}, "
                f"not from {start.isoformat()} to {end.isoformat()}"
            )
        inner = (boundary for boundary in self._series.boundaries if start < boundary < end)
        boundaries = (start, *inner, end)
        values_kw = (self._series.mean_over_kw(*pair) for pair in pairwise(boundaries))
        return PowerSeries(boundaries, tuple(values_kw))


def read_power(path: Path, column: str | None = None, *, negative_is_zero: bool = False) -> PowerSeries:
    """Read a file of the general form.

    Args:
        path: The CSV file.
        column: The value column; may be left out where only one has a unit in its name.
        negative_is_zero: Whether values below zero are an inverter's own draw at night.

    Raises:
        InvalidDataFile: A column lacks or has no unit, or a row cannot be used, is missing or comes twice.
    """
    header = csv_header(path)
    time_column = next((name for name in TIME_COLUMNS if name in header), TIME_COLUMNS[0])
    with_unit = [name for name in header if name.lower().endswith((*KW_PER_UNIT, *KWH_PER_UNIT))]
    if column is None and len(with_unit) == 1:
        column = with_unit[0]
    if column not in with_unit:
        fix = f"choose one of {with_unit}; the name must end in _kw, _w, _kwh or _wh"
        raise InvalidDataFile("column", column, fix, where=str(path))
    rows = read_csv(path, (time_column, column))
    starts = [row.instant(time_column) for row in rows]
    step = checked_step(starts, rows)
    factor = _kw_factor(column, step)
    values_kw = [row.number(column) * factor for row in rows]
    if negative_is_zero:
        values_kw = [max(value_kw, 0.0) for value_kw in values_kw]
    return PowerSeries((*starts, starts[-1] + step), tuple(values_kw))


def read_citylearn_load(path: Path, first_day: datetime) -> PowerSeries:
    """Read a building of the CityLearn Challenge: one year in hours, which tell no date.

    Args:
        path: The CSV file.
        first_day: Instant of the first row's start, any year's 31 July 23:00 by the building's clock [UTC].

    Raises:
        InvalidDataFile: A row cannot be used, or the hours do not follow one another.
    """
    rows = read_csv(path, CITYLEARN_COLUMNS)
    hours = [_whole(row, "hour", 1, 24) for row in rows]
    for index, (row, hour) in enumerate(zip(rows, hours, strict=True)):
        expected = (hours[0] - 1 + index) % 24 + 1
        if hour != expected:
            raise row.refused("hour", f"hour {expected} must follow")
    starts = [first_day.astimezone(UTC) + timedelta(hours=index) for index in range(len(rows) + 1)]
    return PowerSeries(tuple(starts), tuple(row.number("non_shiftable_load") for row in rows))


def read_steel_load(path: Path) -> PowerSeries:
    """Read the steel plant of the UCI repository (data set 851): energy of quarter hours, labelled by their ends.

    The quarter hour that ends at midnight stands last in its day and carries that day's date, so stamps step back
    there; rows are taken in the order of the file, and each label is checked against the end it must have.

    Raises:
        InvalidDataFile: A row cannot be used, is missing or out of order.
    """
    rows = read_csv(path, STEEL_COLUMNS)
    first_end = _steel_stamp(rows[0])
    start = first_end - timedelta(minutes=15)
    boundaries = [start.astimezone(UTC)]
    for index, row in enumerate(rows):
        end = first_end + index * timedelta(minutes=15)
        label = end - timedelta(days=1) if end.hour == end.minute == 0 else end
        if _steel_stamp(row) != label:
            raise row.refused("date", f"{label:%d/%m/%Y} {label.hour}:{label:%M} must follow")
        boundaries.append(end.astimezone(UTC))
    return PowerSeries(tuple(boundaries), tuple(row.number("Usage_kWh") * 4 for row in rows))


def _kw_factor(column: str, step: timedelta) -> float:
    """What turns a value of ``column`` over one ``step`` into mean power [kW]."""
    lower = column.lower()
    for suffix, kwh in KWH_PER_UNIT.items():
        if lower.endswith(suffix):
            return kwh / (step / timedelta(hours=1))
    return next(kw for suffix, kw in KW_PER_UNIT.items() if lower.endswith(suffix))


def _whole(row: CsvRow, column: str, least: int, greatest: int) -> int:
    text = row.cells[column]
    if not text.isdecimal() or not least <= int(text) <= greatest:
        raise row.refused(column, f"give a whole number from {least} to {greatest}")
    return int(text)


def _steel_stamp(row: CsvRow) -> datetime:
    try:
        return datetime.strptime(row.cells["date"], "%d/%m/%Y %H:%M").replace(tzinfo=STEEL_ZONE)
    except ValueError as error:
        raise row.refused("date", "give DD/MM/YYYY HH:MM") from error
