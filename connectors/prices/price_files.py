"""Files of market prices: Energinet's exports, ERCOT's report 13060, and a plain CSV. Prices stay exact.

The plain form has two columns and one row an interval, all intervals of one length, the header naming the unit::

    timestamp,price_eur_per_mwh
    2026-03-01T00:00:00Z,49.74
    2026-03-01T00:15:00Z,48.88

``timestamp`` is the interval's start with its UTC offset. The price column is ``price_<currency>_per_kwh`` or
``price_<currency>_per_mwh``; any ISO 4217 currency.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from connectors.documents import CsvRow, checked_step, csv_header, read_csv
from optimizer.domain.series import PriceSeries
from optimizer.errors import InvalidDataFile, InvalidInput, SourceUnavailable

KWH_PER_MWH = Decimal(1000)
CENT = Decimal("0.01")
DAYS_PER_YEAR = 365.2425
ENERGINET_LAYOUTS = {"HourUTC": "SpotPriceEUR", "TimeUTC": "DayAheadPriceEUR"}
"""Time column of the hourly and the quarter-hour data set, and its price column."""

ERCOT_ZONE = ZoneInfo("America/Chicago")
ERCOT_COLUMNS = ("Delivery Date", "Hour Ending", "Repeated Hour Flag", "Settlement Point", "Settlement Point Price")
PLAIN_PRICE_COLUMN = re.compile(r"price_([a-z]{3})_per_(kwh|mwh)")


def read_prices(path: Path, zone: str | None = None) -> PriceSeries:
    """Read a price file in whichever of the three forms its header shows.

    Args:
        path: The CSV file.
        zone: Bidding zone or settlement point; needed where the file holds several.

    Raises:
        InvalidDataFile: The header is none of the three, or a row cannot be used, is missing or comes twice.
    """
    header = csv_header(path)
    if set(ENERGINET_LAYOUTS) & set(header):
        return read_energinet(path, zone)
    if ERCOT_COLUMNS[0] in header:
        return read_ercot(path, zone)
    if "timestamp" in header:
        return read_plain(path)
    fix = "start with HourUTC or TimeUTC (Energinet), Delivery Date (ERCOT) or timestamp (plain form)"
    raise InvalidDataFile("header", ",".join(header), fix, where=str(path))


def read_energinet(path: Path, zone: str | None = None) -> PriceSeries:
    """Read Energinet's Elspotprices (hourly) or DayAheadPrices (quarter hours), rows in any order.

    The UTC column is the key: local hours repeat or skip on the days when clocks change. Energinet's own downloads
    carry the noise of 32-bit floats (66,900002); the exchange settles whole cents per MWh, so prices are rounded so.

    Raises:
        InvalidDataFile: A row cannot be used, is missing or comes twice, or several zones need a choice.
    """
    header = csv_header(path)
    time_column = next((column for column in ENERGINET_LAYOUTS if column in header), "HourUTC")
    price_column = ENERGINET_LAYOUTS[time_column]
    rows = _rows_of_zone(read_csv(path, (time_column, "PriceArea", price_column)), "PriceArea", zone)
    priced = [(_naive_utc(row, time_column), row.exact(price_column).quantize(CENT) / KWH_PER_MWH, row) for row in rows]
    return _series(sorted(priced, key=lambda entry: entry[0]), "EUR", f"Energinet {rows[0].cells['PriceArea']}")


def read_ercot(path: Path, settlement_point: str | None = None) -> PriceSeries:
    """Read ERCOT day-ahead settlement point prices: local time, labelled by the hour's end, the repeated hour flagged.

    Raises:
        InvalidDataFile: A row cannot be used, is missing or comes twice, or several points need a choice.
    """
    rows = _rows_of_zone(read_csv(path, ERCOT_COLUMNS), "Settlement Point", settlement_point)
    priced = [(_ercot_start(row), row.exact("Settlement Point Price") / KWH_PER_MWH, row) for row in rows]
    name = rows[0].cells["Settlement Point"]
    return _series(sorted(priced, key=lambda entry: entry[0]), "USD", f"ERCOT day-ahead {name}")


def read_plain(path: Path) -> PriceSeries:
    """Read the plain form described at the top of this module.

    Raises:
        InvalidDataFile: The header names no unit, or a row cannot be used, is missing or comes twice.
    """
    header = csv_header(path)
    found = [match for match in map(PLAIN_PRICE_COLUMN.fullmatch, header) if match]
    if len(found) != 1:
        fix = "name one price column with its unit, for example price_eur_per_mwh"
        raise InvalidDataFile("header", ",".join(header), fix, where=str(path))
    column, divisor = found[0].group(0), KWH_PER_MWH if found[0].group(2) == "mwh" else Decimal(1)
    rows = read_csv(path, ("timestamp", column))
    priced = [(row.instant("timestamp"), row.exact(column) / divisor, row) for row in rows]
    return _series(priced, found[0].group(1).upper(), path.stem)


class FilePriceSource:
    """A `PriceSource` that answers from prices already read.

    Args:
        series: All prices there are.
    """

    def __init__(self, series: PriceSeries) -> None:
        self._series = series

    async def prices(self, start: datetime, end: datetime) -> PriceSeries:
        """Prices of ``[start, end)`` as far as the file goes.

        Raises:
            SourceUnavailable: The file does not cover ``start``.
        """
        span = self._series.span
        if not span.contains(start):
            raise SourceUnavailable(
                f"{self._series.source}: no price for {start.isoformat()}; the file covers "
                f"{span.start.isoformat()} to {span.end.isoformat()}"
            )
        return cut(self._series, start, end)


def cut(series: PriceSeries, start: datetime, end: datetime) -> PriceSeries:
    """The whole intervals of ``series`` that touch ``[start, end)``; ``start`` must lie in it."""
    first = bisect_right(series.boundaries, start) - 1
    last = min(bisect_left(series.boundaries, end), len(series.prices_per_kwh))
    return PriceSeries(
        series.currency, series.boundaries[first : last + 1], series.prices_per_kwh[first:last], series.source
    )


def moved_to_cover(
    series: PriceSeries, start: datetime, end: datetime, site_zone: str, market_zone: str | None = None
) -> PriceSeries:
    """``series`` moved in time so that it covers ``[start, end)``, for trying prices of one year on a day of another.

    Noon in the market's zone becomes noon in the site's. The day taken is of the same weekday and season where the
    series has one, else of the same weekday, else any. The source names it.

    Args:
        series: The prices.
        start: First instant to cover [UTC].
        end: First instant after [UTC].
        site_zone: IANA zone of the site.
        market_zone: IANA zone of the prices; ``None``: the site's.

    Raises:
        InvalidInput: The series is shorter than ``[start, end)``.
    """
    local = start.astimezone(ZoneInfo(site_zone)).replace(tzinfo=ZoneInfo(market_zone or site_zone))
    for days in _moves_by_likeness(series, local):
        origin = (local + timedelta(days=days)).astimezone(UTC)
        if series.span.start <= origin and origin + (end - start) <= series.span.end:
            shift = start - origin
            boundaries = tuple(boundary + shift for boundary in series.boundaries)
            source = f"{series.source}, {origin:%Y-%m-%d} taken for {start:%Y-%m-%d}"
            return PriceSeries(series.currency, boundaries, series.prices_per_kwh, source)
    fix = f"the prices last from {series.span.start.isoformat()} to {series.span.end.isoformat()} only"
    raise InvalidInput("end", end.isoformat(), fix)


def _moves_by_likeness(series: PriceSeries, local: datetime) -> Iterator[int]:
    """Days to move ``local`` by into the series: to the same season and weekday first, then weekday, then any day."""
    years = range(series.span.start.year, series.span.end.year + 1)
    yield from (round((year - local.year) * DAYS_PER_YEAR / 7) * 7 for year in years)
    first = (series.span.start - local).days
    all_days = range(first, first + (series.span.end - series.span.start).days + 3)
    yield from (days for days in all_days if days % 7 == 0)
    yield from all_days


def _rows_of_zone(rows: list[CsvRow], column: str, zone: str | None) -> list[CsvRow]:
    zones = sorted({row.cells[column] for row in rows})
    if zone is None and len(zones) == 1:
        return rows
    if zone not in zones:
        raise InvalidDataFile(column, zone, f"choose one of {zones}", where=str(rows[0].path))
    return [row for row in rows if row.cells[column] == zone]


def _naive_utc(row: CsvRow, column: str) -> datetime:
    try:
        return datetime.fromisoformat(row.cells[column]).replace(tzinfo=UTC)
    except ValueError as error:
        raise row.refused(column, "give a UTC time, for example 2024-01-01 13:00:00") from error


def _ercot_start(row: CsvRow) -> datetime:
    try:
        day = datetime.strptime(row.cells["Delivery Date"], "%m/%d/%Y")  # noqa: DTZ007 - the zone is given below
    except ValueError as error:
        raise row.refused("Delivery Date", "give MM/DD/YYYY") from error
    match = re.fullmatch(r"(\d\d):00", row.cells["Hour Ending"])
    if match is None or not 1 <= int(match.group(1)) <= 24:
        raise row.refused("Hour Ending", "give 01:00 to 24:00")
    flag = row.cells["Repeated Hour Flag"]
    if flag not in ("Y", "N"):
        raise row.refused("Repeated Hour Flag", "give Y or N")
    local = (day + timedelta(hours=int(match.group(1)) - 1)).replace(tzinfo=ERCOT_ZONE, fold=int(flag == "Y"))
    instant = local.astimezone(UTC)
    if instant.astimezone(ERCOT_ZONE).replace(fold=0) != local.replace(fold=0):
        raise row.refused("Hour Ending", "this hour does not exist: clocks skip it")
    return instant


def _series(priced: list[tuple[datetime, Decimal, CsvRow]], currency: str, source: str) -> PriceSeries:
    """Rows in order of time as one series.

    Raises:
        InvalidDataFile: A row comes twice, out of order, or one is missing before it.
    """
    starts = [start for start, _, _ in priced]
    step = checked_step(starts, [row for _, _, row in priced])
    return PriceSeries(currency, (*starts, starts[-1] + step), tuple(price for _, price, _ in priced), source)
