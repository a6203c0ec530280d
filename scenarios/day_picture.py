"""One picture of a day: what the site drew with control and without, against its limit and the price."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from optimizer.domain.series import PowerSeries, PriceSeries
from optimizer.errors import ChargeHorizonError
from scenarios.live_day import DayReport

SIZE_INCHES = (10.0, 5.6)
DOTS_PER_INCH = 110
CONTROLLED_COLOUR = "#1b7f5c"
UNCONTROLLED_COLOUR = "#b5443a"
PRICE_COLOUR = "#3b5b92"


def draw_day(report: DayReport, prices: PriceSeries, time_zone: str, path: Path) -> None:
    """Draw the day into an image file.

    Args:
        report: What happened.
        prices: Price of import over the day.
        time_zone: IANA zone of the time axis.
        path: Where to, as PNG, SVG or PDF by its ending.

    Raises:
        ChargeHorizonError: matplotlib is not installed.
    """
    try:
        from matplotlib import dates
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ChargeHorizonError("pictures need matplotlib: pip install 'chargehorizon[plots]'") from error
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    load, price = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    zone = ZoneInfo(time_zone)
    _draw_load(load, report)
    _draw_price(price, prices, report.grid_import.boundaries)
    price.xaxis.set_major_formatter(dates.DateFormatter("%H:%M", tz=zone))
    price.set_xlim(report.grid_import.boundaries[0], report.grid_import.boundaries[-1])
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _draw_load(axes: Any, report: DayReport) -> None:
    _step(axes, report.uncontrolled.grid_import, UNCONTROLLED_COLOUR, "site load, uncontrolled", linewidth=1.4)
    _step(axes, report.grid_import, CONTROLLED_COLOUR, "site load, controlled", linewidth=2.2)
    starts, values_kw = _steps(report.charging)
    axes.fill_between(
        starts, values_kw, step="post", color=CONTROLLED_COLOUR, alpha=0.18, linewidth=0, label="of it vehicles"
    )
    axes.axhline(report.import_limit_kw, color="black", linestyle="--", linewidth=1.2, label="site limit")
    event = report.grid_event["intervals"][-1]
    window = (datetime.fromisoformat(event["start"]), datetime.fromisoformat(event["end"]))
    axes.plot(window, (event["value"], event["value"]), color="black", linewidth=2.6, label="grid event")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("kW, mean of 15 min")
    axes.set_title(
        f"{report.sessions} cars, {report.delivered_kwh:.0f} of {report.wanted_kwh:.0f} kWh delivered:"
        f" {report.cost} {report.bill['currency']} instead of {report.uncontrolled_cost}",
        loc="left",
    )
    axes.legend(loc="upper right", frameon=False)


def _draw_price(axes: Any, prices: PriceSeries, span: Sequence[datetime]) -> None:
    as_series = PowerSeries(prices.boundaries, tuple(float(price) for price in prices.prices_per_kwh))
    _step(axes, as_series, PRICE_COLOUR, "price", linewidth=1.6)
    axes.set_ylabel(f"{prices.currency}/kWh")
    axes.set_xlim(span[0], span[-1])
    axes.set_ylim(bottom=min(0.0, *as_series.values_kw))


def _step(axes: Any, series: PowerSeries, colour: str, label: str, linewidth: float) -> None:
    starts, values = _steps(series)
    axes.step(starts, values, where="post", color=colour, label=label, linewidth=linewidth)


def _steps(series: PowerSeries) -> tuple[list[datetime], list[float]]:
    """Starts and values, the last value once more at the end."""
    return list(series.boundaries), [*series.values_kw, series.values_kw[-1]]
