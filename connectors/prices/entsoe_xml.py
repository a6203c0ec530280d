"""Day-ahead prices in ENTSO-E's XML (document A44), read strictly and exactly.

entsoe-py's own parser is not used for reading: it makes floats, takes auctions of different sequence numbers for one,
and accepts positions that are out of order or outside their period. A test compares the two on true answers.

One answer may hold several auctions, told apart by ``classificationSequence``: 1 is the coupled European auction, whose
price is *the* day-ahead price; others are local auctions with other prices. Within one auction the same day may be
given in several resolutions; the finest is taken, and they are never mixed within a day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from connectors.documents import read_text
from optimizer.domain.moment import require_utc
from optimizer.domain.series import PriceSeries
from optimizer.errors import InvalidDataFile, InvalidInput

COUPLED_AUCTION = 1

RESOLUTIONS = {"PT15M": timedelta(minutes=15), "PT30M": timedelta(minutes=30), "PT60M": timedelta(hours=1)}

SHORTEST_DELIVERY_DAY = timedelta(hours=23)
"""On the day when clocks go forward; a period of a true answer is never shorter than its delivery day."""

KWH_PER_MWH = Decimal(1000)


@dataclass(frozen=True, slots=True)
class _PricedPeriod:
    """One delivery day in one resolution."""

    start: datetime
    end: datetime
    step: timedelta
    prices_per_kwh: tuple[Decimal, ...]

    def instants(self) -> list[datetime]:
        """Start of each interval."""
        return [self.start + index * self.step for index in range(len(self.prices_per_kwh))]


def read_entsoe_answer(path: Path, sequence: int = COUPLED_AUCTION) -> PriceSeries:
    """Read a recorded answer.

    Raises:
        InvalidDataFile: It is none, or is malformed, or does not hold this auction.
    """
    return parse_entsoe_answer(read_text(path), str(path), sequence)


def parse_entsoe_answer(xml_text: str, where: str, sequence: int = COUPLED_AUCTION) -> PriceSeries:
    """Parse an answer's text.

    Args:
        xml_text: The answer.
        where: File or request it came from, for messages.
        sequence: Which auction; time series without a number belong to every auction.

    Raises:
        InvalidDataFile: It is malformed, or does not hold this auction.
    """
    try:
        root = ElementTree.fromstring(xml_text)
    except ElementTree.ParseError as error:
        raise InvalidDataFile("document", xml_text[:40], f"must be XML ({error})", where=where) from error
    name = _local_name(root)
    if name == "Acknowledgement_MarketDocument":
        reason = root.findtext("{*}Reason/{*}text", default="no reason given")
        raise InvalidDataFile("Reason", reason, "ENTSO-E refused the request; ask for what it publishes", where=where)
    if name != "Publication_MarketDocument":
        raise InvalidDataFile("document", name, "must be a Publication_MarketDocument", where=where)
    chosen = _time_series(root, sequence, where)
    currency = _same_in_all(chosen, "currency_Unit.name", where)
    if _same_in_all(chosen, "price_Measure_Unit.name", where) != "MWH":
        raise InvalidDataFile("price_Measure_Unit.name", "", "must be MWH in all time series", where=where)
    periods = _finest(
        [_period(element, series, where) for series in chosen for element in series.findall("{*}Period")], where
    )
    for earlier, later in pairwise(periods):
        if earlier.end != later.start:
            fix = f"must follow the period that ends {earlier.end.isoformat()}"
            raise InvalidDataFile("Period.timeInterval.start", later.start.isoformat(), fix, where=where)
    return PriceSeries(
        currency,
        (*(instant for period in periods for instant in period.instants()), periods[-1].end),
        tuple(price for period in periods for price in period.prices_per_kwh),
        f"ENTSO-E {chosen[0].findtext('{*}in_Domain.mRID', default='')}".strip(),
    )


def _local_name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _time_series(root: Element, sequence: int, where: str) -> list[Element]:
    """The time series of one auction."""
    everything = root.findall("{*}TimeSeries")
    numbers = [
        series.findtext("{*}classificationSequence_AttributeInstanceComponent.position") for series in everything
    ]
    chosen = [series for series, number in zip(everything, numbers, strict=True) if number in (None, str(sequence))]
    if not chosen:
        raise InvalidDataFile("TimeSeries", numbers, f"must hold the auction of sequence {sequence}", where=where)
    return chosen


def _same_in_all(series: list[Element], tag: str, where: str) -> str:
    values = {element.findtext(f"{{*}}{tag}", default="") for element in series}
    if len(values) != 1 or not (value := values.pop()):
        raise InvalidDataFile(tag, sorted(values), "must be stated, and the same in all time series", where=where)
    return value


def _text(element: Element, path: str, where: str) -> str:
    text = element.findtext("/".join(f"{{*}}{tag}" for tag in path.split("/")))
    if text is None:
        raise InvalidDataFile(path.replace("/", "."), None, "must be stated", where=where)
    return text


def _instant(element: Element, path: str, where: str) -> datetime:
    text = _text(element, path, where)
    try:
        return require_utc(path, datetime.fromisoformat(text))
    except (ValueError, InvalidInput) as error:
        raise InvalidDataFile(path.replace("/", "."), text, "must be a UTC time", where=where) from error


def _period(element: Element, series: Element, where: str) -> _PricedPeriod:
    start = _instant(element, "timeInterval/start", where)
    end = _instant(element, "timeInterval/end", where)
    if end - start < SHORTEST_DELIVERY_DAY:
        fix = f"a day-ahead period lasts a whole delivery day; this one ends {end.isoformat()}"
        raise InvalidDataFile("Period.timeInterval.start", start.isoformat(), fix, where=where)
    resolution = _text(element, "resolution", where)
    step = RESOLUTIONS.get(resolution)
    if step is None:
        raise InvalidDataFile("Period.resolution", resolution, f"must be one of {sorted(RESOLUTIONS)}", where=where)
    omits_repetitions = series.findtext("{*}curveType") == "A03"
    points = list(_points(element, where))
    return _PricedPeriod(start, end, step, _filled(points, (end - start) // step, omits_repetitions, where))


def _points(period: Element, where: str) -> Iterator[tuple[int, Decimal]]:
    for point in period.findall("{*}Point"):
        position, amount = _text(point, "position", where), _text(point, "price.amount", where)
        if not position.isdecimal():
            raise InvalidDataFile("Point.position", position, "must be a whole number from 1", where=where)
        try:
            price = Decimal(amount) / KWH_PER_MWH
        except InvalidOperation as error:
            raise InvalidDataFile("Point.price.amount", amount, "must be a number", where=where) from error
        if not price.is_finite():
            raise InvalidDataFile("Point.price.amount", amount, "must be a finite number", where=where)
        yield int(position), price


def _filled(points: list[tuple[int, Decimal]], count: int, omits_repetitions: bool, where: str) -> tuple[Decimal, ...]:
    """Prices of all ``count`` positions; with curve type A03 an omitted position repeats the one before."""
    prices: list[Decimal] = []
    for position, price in points:
        missing = position - len(prices) - 1
        if missing < 0:
            raise InvalidDataFile("Point.position", position, "positions must rise within a period", where=where)
        if position > count:
            fix = f"the period has {count} positions only"
            raise InvalidDataFile("Point.position", position, fix, where=where)
        if missing and not (omits_repetitions and prices):
            fix = f"position {len(prices) + 1} is missing; only curve type A03 may omit positions, never the first"
            raise InvalidDataFile("Point.position", position, fix, where=where)
        prices.extend(prices[-1:] * missing)
        prices.append(price)
    if not prices or (len(prices) < count and not omits_repetitions):
        raise InvalidDataFile("Point", f"{len(prices)} points", f"must have {count} positions", where=where)
    prices.extend(prices[-1:] * (count - len(prices)))
    return tuple(prices)


def _finest(periods: list[_PricedPeriod], where: str) -> list[_PricedPeriod]:
    """One period for each delivery day, the finest, by time.

    Raises:
        InvalidDataFile: There is none, or two of the same resolution give the same time different prices.
    """
    if not periods:
        raise InvalidDataFile("Period", None, "must hold at least one", where=where)
    taken: list[_PricedPeriod] = []
    for period in sorted(periods, key=lambda period: (period.step, period.start)):
        rivals = [other for other in taken if other.start < period.end and period.start < other.end]
        if not rivals:
            taken.append(period)
        elif any(rival.step == period.step and rival != period for rival in rivals):
            fix = "two periods of one resolution give this time different prices"
            raise InvalidDataFile("Period.timeInterval.start", period.start.isoformat(), fix, where=where)
    return sorted(taken, key=lambda period: period.start)
