"""A site's live state in the terminal: a picture that refreshes, or plain lines where there is no terminal."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

BAR_WIDTH = 24
# Rows of EVSEs shown at once; the rest is counted in a last line.
MOST_ROWS = 26
HISTORY_LENGTH = 96
PLAIN_LINE_EVERY_MINUTES = 30
BLOCKS = " ▁▂▃▄▅▆▇█"
REFRESH_PER_S = 8

Json = dict[str, Any]


class LiveView:
    """Shows what `GET /v1/sites/{id}` says, again and again.

    Args:
        console: Where to; without a terminal behind it, plain lines are printed instead of a picture.
        caption: Line under the title.
    """

    def __init__(self, console: Console, caption: str) -> None:
        self._console = console
        self._caption = caption
        self._live = Live(console=console, refresh_per_second=REFRESH_PER_S) if console.is_terminal else None
        self._load_history_kw: deque[float] = deque(maxlen=HISTORY_LENGTH)
        self._notes: deque[str] = deque(maxlen=4)
        self._last_plain_minute = -PLAIN_LINE_EVERY_MINUTES
        self._last_sampled_at = ""

    def __enter__(self) -> LiveView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def note(self, text: str) -> None:
        """Tell something that happened."""
        self._notes.append(text)
        if self._live is None:
            self._console.print(text, highlight=False)

    def show(self, status: Json) -> None:
        """Show a site's state."""
        load = status["load"] or {}
        if load.get("metered_at", "") != self._last_sampled_at and load.get("grid_kw") is not None:
            self._last_sampled_at = load["metered_at"]
            self._load_history_kw.append(load["grid_kw"])
        if self._live is not None:
            self._live.update(self._picture(status))
            return
        local = local_time(status)
        minute = local.toordinal() * 24 * 60 + local.hour * 60 + local.minute
        if minute - self._last_plain_minute >= PLAIN_LINE_EVERY_MINUTES:
            self._last_plain_minute = minute
            self._console.print(plain_line(status), highlight=False, soft_wrap=True)

    def _picture(self, status: Json) -> RenderableType:
        notes = Text("\n".join(self._notes), style="dim")
        return Group(
            Panel(self._site_table(status), title=f"{status['name']}  {local_time(status):%a %H:%M}"),
            self._connector_table(status),
            Text(self._caption, style="dim"),
            notes,
        )

    def _site_table(self, status: Json) -> Table:
        load = status["load"] or {}
        grid_kw = load.get("grid_kw") or 0.0
        limit_kw = status["import_limit_now_kw"]
        source = status["import_limit_source"].replace("_", " ")
        table = Table.grid(padding=(0, 2))
        table.add_row(
            "site load",
            bar_of(grid_kw, limit_kw),
            f"{grid_kw:5.1f} kW of {limit_kw:.0f} kW ({source})",
            sparkline(self._load_history_kw, limit_kw),
        )
        table.add_row(
            "made of",
            "",
            f"vehicles {status['vehicles_kw']:.1f} + building {load.get('building_kw') or 0:.1f}"
            f" - PV {load.get('pv_kw') or 0:.1f} kW",
            f"{status['active_sessions']} sessions",
        )
        table.add_row("money", "", money_line(status), f"peak {Decimal(status['peak_kw'] or 0):.1f} kW")
        table.add_row("last plan", "", plan_line(status), "")
        return table

    def _connector_table(self, status: Json) -> Table:
        table = Table(box=None, padding=(0, 1), header_style="dim")
        for heading in ("EVSE", "state", "power / limit", "", "limit", "because of"):
            table.add_column(heading, no_wrap=True)
        busy = [connector for connector in status["connectors"] if connector["session_id"]]
        for connector in busy[:MOST_ROWS]:
            power_kw, limit_kw = connector["power_kw"] or 0.0, connector["limit_kw"]
            limit = "-" if limit_kw is None else f"{limit_kw:4.1f}"
            table.add_row(
                connector["evse_id"],
                connector["status"].replace("_", " "),
                bar_of(power_kw, limit_kw or 0.0),
                f"{power_kw:4.1f} / {limit} kW",
                connector["limit_state"] or "",
                connector["limit_reason"] or "",
            )
        if len(busy) > MOST_ROWS:
            table.add_row(f"and {len(busy) - MOST_ROWS} more")
        return table


def bar_of(value_kw: float, limit_kw: float) -> ProgressBar:
    """How much of a limit is used."""
    over = value_kw > limit_kw > 0
    return ProgressBar(
        total=max(limit_kw, 0.01),
        completed=min(max(value_kw, 0.0), max(limit_kw, 0.01)),
        width=BAR_WIDTH,
        complete_style="red" if over else "green",
        finished_style="red" if over else "yellow",
    )


def sparkline(values_kw: deque[float], limit_kw: float) -> Text:
    """The site's load so far, full height being the limit."""
    top = max(limit_kw, *values_kw, 0.01) if values_kw else 1.0
    heights = [BLOCKS[round(max(value, 0.0) / top * (len(BLOCKS) - 1))] for value in list(values_kw)[-40:]]
    return Text("".join(heights), style="cyan")


def local_time(status: Json) -> datetime:
    """The service's time in the site's zone."""
    return datetime.fromisoformat(status["at"]).astimezone(ZoneInfo(status["time_zone"]))


def money_line(status: Json) -> str:
    """Price now and cost so far."""
    currency = status["currency"]
    price = status["import_price_per_kwh"]
    cost = status["cost"]
    shown = f"{Decimal(cost['amount']):.2f} {cost['currency']}" if cost else "not metered yet"
    return f"{price} {currency}/kWh now, {shown} so far"


def plan_line(status: Json) -> str:
    """How the last plan came about and how long it took."""
    plan = status["last_plan"]
    if plan is None:
        return "none yet"
    gap = "" if plan["gap"] is None else f", gap {plan['gap']:.2%}"
    reason = f": {plan['reason']}" if plan["reason"] else ""
    return f"{plan['outcome'].replace('_', ' ')}{gap}{reason}, {plan['total_s'] * 1000:.0f} ms"


def plain_line(status: Json) -> str:
    """The state in one line."""
    load = status["load"] or {}
    return (
        f"{local_time(status):%H:%M}  site {load.get('grid_kw') or 0:6.1f} of {status['import_limit_now_kw']:.0f} kW"
        f"  vehicles {status['vehicles_kw']:5.1f} kW  {status['active_sessions']:2d} sessions"
        f"  {money_line(status)}  plan: {plan_line(status)}"
    )
