"""One replay as one page: readable by someone who has never seen the project, whole in itself, without network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from math import ceil, floor
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from optimizer.domain.event import GridEventKind
from optimizer.planning.problem import FloatArray
from scenarios.metrics import CourseFigures, above_optimum_share, comparable_optimum_cost, saved_share
from scenarios.outcomes import Course, StayOutcome
from scenarios.replay import ReplayResult
from scenarios.replay_bill import step_prices_per_kwh
from scenarios.scenario import Foresight, TargetPolicy
from scenarios.svg_charts import (
    Axis,
    Line,
    Span,
    bar_chart,
    line_chart,
    round_step,
    schedule,
    stacked_rows,
    value_axis,
)

OURS, OPTIMUM, NOBODY, LIMIT, PRICE = "#1b7f5c", "#c98a1b", "#b5443a", "#444c56", "#3b5b92"
MISSED, SERVED = "#b5443a", "#1b7f5c"
LONGEST_DETAIL = timedelta(days=2)
"""Beyond this a replay is drawn in hours, with its heaviest day apart."""
LISTED = 15
"""How many stays with missing energy are listed."""

TOLD = {
    TargetPolicy.RECORDED: "Departure and energy of each car were known when it was plugged in, nothing before.",
    TargetPolicy.STATED: "Control knew what drivers said when they said it; many were wrong, and some said nothing.",
    TargetPolicy.NONE: "Nobody said anything; what to expect was learnt from the stays that had ended.",
}
FORESEEN = {
    Foresight.PERFECT: "as it came about",
    Foresight.PERSISTENCE: "as it was the day before",
    Foresight.RECORDED: "by a forecast made beforehand",
}

STYLE = """
:root{--ink:#1f2328;--soft:#57606a;--line:#d8dee4;--paper:#fff;--tint:#f6f8fa}
*{box-sizing:border-box}body{margin:0;color:var(--ink);background:var(--tint);font:16px/1.55 system-ui,sans-serif}
main{max-width:1060px;margin:0 auto;padding:28px 24px 64px;background:var(--paper)}
h1{font-size:1.7rem;margin:.2em 0}h2{font-size:1.2rem;margin:2.2em 0 .3em}p{max-width:46em;margin:.4em 0 .8em}
.soft{color:var(--soft);font-size:.92rem}figure{margin:0;overflow-x:auto}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:12px;margin:18px 0}
.card{border:1px solid var(--line);border-radius:8px;padding:12px 14px}.card b{display:block;font-size:1.45rem}
svg{width:100%;height:auto;display:block}text{font:12px system-ui,sans-serif;fill:var(--soft)}text.small{font-size:9px}
text.unit{font-style:italic}
.grid{stroke:var(--line);stroke-width:1}.axis{stroke:var(--soft)}
.stay{fill:none;stroke:#8c959f;stroke-width:.7}.legend{margin:6px 0 2px 62px;font-size:.9rem}
.key{margin-right:18px;white-space:nowrap}
.swatch{display:inline-block;width:22px;height:0;border-top:3px solid var(--c);
vertical-align:middle;margin-right:6px}.swatch.dashed{border-top-style:dashed}
table{border-collapse:collapse;margin:8px 0;font-size:.94rem}th,td{padding:4px 12px 4px 0;text-align:right}
th:first-child,td:first-child{text-align:left}thead th{border-bottom:2px solid var(--line)}
tbody td{border-bottom:1px solid var(--line);white-space:nowrap}
@media(max-width:700px){main{padding:14px 12px 40px}svg{min-width:780px}text{font-size:14px}text.small{font-size:10px}
.legend{margin-left:0}.cards{grid-template-columns:1fr 1fr;gap:8px}.card b{font-size:1.2rem}.wide::before{
content:"Wider than the screen: move it sideways.";color:var(--soft);font-size:.8rem}}
"""


def report_page(result: ReplayResult) -> str:
    """The page as HTML."""
    page = _Page(result)
    scenario = result.scenario
    title = f"{scenario.name}, {result.figures.strategy.replace('_', ' ')}"
    sections = (
        page.headline(),
        page.load_and_price(),
        page.heaviest_day(),
        page.giving_back(),
        page.stays(),
        page.missing_energy(),
        page.cost_split(),
        page.duration_curve(),
        page.planning(),
        page.small_print(),
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{''.join(sections)}</main></body></html>\n"
    )


@dataclass(frozen=True)
class _Page:
    """Builds the sections of one page."""

    result: ReplayResult

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.result.scenario.site.time_zone)

    @property
    def currency(self) -> str:
        return self.result.figures.bill.currency

    def courses(self) -> tuple[tuple[str, str, Course], ...]:
        """Name, colour and course of the replay and its bounds."""
        ours = self.result.figures.strategy.replace("_", " ")
        found = (
            (ours, OURS, self.result.course),
            ("offline optimum", OPTIMUM, self.result.optimum),
            ("uncontrolled", NOBODY, self.result.uncontrolled),
        )
        return found[:2] if ours == "uncontrolled" else found

    # ------------------------------------------------------------------ sections

    def headline(self) -> str:
        figures, bounds, scenario = self.result.figures, self.result.baselines, self.result.scenario
        first, last = scenario.start.astimezone(self.zone), scenario.end.astimezone(self.zone)
        span = f"{first:%-d %B %Y %H:%M} to {last:%-d %B %Y %H:%M}"
        interrupted = (
            "" if figures.is_complete else " <b>The replay was interrupted; what follows is the part until then.</b>"
        )
        foresight = "which knows the future"
        foresight += "" if figures.same_energy_optimum_cost is None else " and delivers no more here"
        cards = (
            (f"{figures.bill.total_cost:,.2f} {self.currency}", "what the site pays: energy and demand charge"),
            (
                f"{saved_share(figures, bounds):.1%} saved",
                f"uncontrolled it is {bounds.uncontrolled.bill.total_cost:,.2f}",
            ),
            (
                f"{above_optimum_share(figures, bounds):+.1%}",
                f"against the offline optimum of {comparable_optimum_cost(figures, bounds):,.2f}, {foresight}",
            ),
            (f"{figures.bill.peak_kw:.1f} kW", f"billed peak; uncontrolled {bounds.uncontrolled.bill.peak_kw:.1f} kW"),
            (
                f"{figures.delivered_share:.2%}",
                f"of {figures.requested_kwh:,.0f} kWh delivered; possible {bounds.offline_optimum.delivered_share:.2%}",
            ),
            (str(figures.limit_violations), "times a limit of fuse, contract or grid event was exceeded"),
        )
        boxes = "".join(f'<div class="card"><b>{escape(big)}</b>{escape(small)}</div>' for big, small in cards)
        return (
            f"<h1>{escape(scenario.name)}</h1><p>{escape(scenario.description)}</p>"
            f'<p class="soft">{figures.sessions} cars at {len(scenario.site.evses)} charging points of '
            f"{escape(scenario.site.name)}, {span} local time. "
            f"Planned by: {escape(figures.strategy.replace('_', ' '))}."
            f"{interrupted}</p><div class='cards'>{boxes}</div>"
        )

    def load_and_price(self) -> str:
        series = self.result.course.series
        per = max(1, timedelta(hours=1) // series.step) if series.count * series.step > LONGEST_DETAIL else 1
        text = (
            "What the site drew from the grid, with control and without, against its limit; the price of energy below. "
            + (f"Each point is the mean of {per * series.step_h:g} h. " if per > 1 else "")
            + "Where the price is low or the peak of the month is reached already, cars charge; elsewhere they wait."
        )
        return _section("Load against limit and price", text, self._load_chart(0, series.count, per))

    def heaviest_day(self) -> str:
        series = self.result.course.series
        if series.count * series.step <= LONGEST_DETAIL:
            return ""
        peak_at = int(np.argmax(series.import_kwh))
        local = series.boundaries()[peak_at].astimezone(self.zone)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        first = max(0, self._step_at(midnight))
        # The next local midnight: a day may have 23 or 25 hours.
        last = min(series.count, self._step_at(midnight + timedelta(days=1)))
        text = f"{midnight:%A, %-d %B}, the day that set the peak, in full detail."
        return _section("The heaviest day", text, self._load_chart(first, last, 1))

    def giving_back(self) -> str:
        lenders = [stay for stay in self.result.course.stays if stay.given_back_kwh > 0]
        best_kwh = self.result.baselines.offline_optimum.given_back_kwh
        if not lenders and not best_kwh:
            return ""
        given_kwh = self.result.figures.given_back_kwh
        text = (
            f"{len(lenders)} of {len(self.result.course.stays)} cars gave back {given_kwh:,.1f} kWh in between; the "
            f"offline optimum, which counts no wear of batteries, {best_kwh:,.1f} kWh. Above zero flows into the cars, "
            "below zero out of them."
        )
        series, lines, powers = self.result.course.series, [], []
        for name, colour, course in reversed(self.courses()):
            powers.append(course.series.charging_kwh / course.series.step_h)
            points = self._points(powers[-1], 0, 1, course)
            lines.append(Line(name, colour, points, dashed=name == "offline optimum"))
        low, high = min(float(power.min(initial=0.0)) for power in powers), max(float(power.max()) for power in powers)
        step_kw = round_step((high - low or 1.0) / 5)
        low = step_kw * floor(low / step_kw)
        up = value_axis(high, "kW", low, ceil((high - low) / step_kw))
        return _section("What cars gave back", text, line_chart(lines, self._time_axis(0, series.count), up))

    def stays(self) -> str:
        scenario, outcomes = self.result.scenario, self.result.course.stays
        used = [evse_id for evse_id in scenario.site.evses if any(stay.evse_id == evse_id for stay in outcomes)]
        row_of: dict[str, int] = {evse_id: row for row, evse_id in enumerate(used)}
        until = self.result.course.until
        spans = [
            Span(
                row_of[stay.evse_id],
                self._hour(stay.arrived_at),
                self._hour(min(stay.departed_at, until)),
                min(1.0, max(0.0, stay.delivered_kwh / stay.wanted_kwh)) if stay.wanted_kwh else 1.0,
                SERVED if stay.is_served else MISSED,
                self._stay_text(stay),
            )
            for stay in outcomes
        ]
        text = (
            "One row a charging point, one bar a car from plug-in to plug-out, filled as far as the car got what it "
            "would have taken; red where more than 0.1 kWh is missing. Point at a bar for its figures."
        )
        return _section("Every stay", text, schedule(used, spans, self._time_axis(0, self.result.course.series.count)))

    def missing_energy(self) -> str:
        short = sorted(
            (stay for stay in self.result.course.stays if not stay.is_served), key=lambda one: -one.unserved_kwh
        )
        best = {stay.id: stay.unserved_kwh for stay in self.result.optimum.stays}
        if not short:
            return _section("Missing energy", "Every car got what it would have taken.", "")
        rows = [
            (
                f"{stay.arrived_at.astimezone(self.zone):%-d %b %H:%M}, {stay.evse_id}",
                f"{stay.wanted_kwh:.2f}",
                f"{max(0.0, stay.delivered_kwh):.2f}",
                f"{stay.unserved_kwh:.2f}",
                f"{best.get(stay.id, 0.0):.2f}",
            )
            for stay in short[:LISTED]
        ]
        unavoidable_kwh = self.result.baselines.offline_optimum.unserved_kwh
        text = (
            f"{len(short)} of {len(self.result.course.stays)} cars lack "
            f"{self.result.figures.unserved_kwh:.1f} kWh in all; "
            f"{unavoidable_kwh:.1f} kWh of it nobody could have delivered in the time they stayed."
        )
        head = ("arrival", "would take kWh", "got kWh", "missing kWh", "of that unavoidable")
        return _section("Missing energy", text, _table(head, rows))

    def cost_split(self) -> str:
        bounds = self.result.baselines
        judged = {
            self.result.figures.strategy.replace("_", " "): self.result.figures,
            "offline optimum": bounds.offline_optimum,
            "uncontrolled": bounds.uncontrolled,
        }
        rows = [(name, self._cost_parts(figures)) for name, figures in judged.items()]
        high = max(float(figures.bill.total_cost) for figures in judged.values())
        head = ("", "energy", "export", "demand charge", "battery", "total", "peak kW", "kWh delivered", "kg CO2")
        cells = [
            (
                name,
                f"{one.bill.energy_cost:,.2f}",
                f"{-one.bill.export_revenue:,.2f}",
                f"{one.bill.demand_cost:,.2f}",
                f"{one.bill.battery_cost:,.2f}",
                f"{one.bill.total_cost:,.2f}",
                f"{one.bill.peak_kw:.1f}",
                f"{one.delivered_kwh:,.1f}",
                "not known" if one.emissions_kg is None else f"{one.emissions_kg:,.0f}",
            )
            for name, one in judged.items()
        ]
        text = (
            f"Energy (blue), less what is paid for export, and demand charge (ochre), in {self.currency}. What a "
            "battery holds less at the end than at the start counts as energy; CO2 is that of marginal plants."
        )
        return _section("What it costs", text, stacked_rows(rows, max(high, 1e-9), self.currency) + _table(head, cells))

    def duration_curve(self) -> str:
        lines = []
        highest = 1e-9
        hours = 0.0
        for name, colour, course in self.courses():
            power = np.sort(course.series.import_kwh / course.series.step_h)[::-1]
            kept = _thinned(power, 400)
            step_h = course.series.step_h * len(power) / max(1, len(kept))
            lines.append(
                Line(name, colour, [(index * step_h, float(value)) for index, value in enumerate(kept)], stepped=False)
            )
            highest, hours = max(highest, float(power.max(initial=0.0))), max(hours, len(power) * course.series.step_h)
        across = value_axis(hours, "hours with at least this load")
        text = "All loads by size: how long the site drew how much. A demand charge bills the left end."
        return _section("Duration curve", text, line_chart(lines, across, value_axis(highest, "kW")))

    def planning(self) -> str:
        solve_ms = np.array(self.result.course.planning.solve_s) * 1e3
        if not len(solve_ms):
            return ""
        edges = np.geomspace(max(0.1, float(solve_ms.min())), max(float(solve_ms.max()), 0.2) * 1.0001, 31)
        counts, _ = np.histogram(solve_ms, edges)
        places = np.log10(edges)
        bars = [
            (
                float(places[index]),
                float(places[index + 1]),
                float(count),
                PRICE,
                f"{edges[index]:.1f} to {edges[index + 1]:.1f} ms: {count} plans",
            )
            for index, count in enumerate(counts)
        ]
        ticks = [
            (float(np.log10(value)), f"{value:g}")
            for value in (0.1, 1, 10, 100, 1000, 10000)
            if edges[0] <= value <= edges[-1]
        ]
        across = Axis(float(places[0]), float(places[-1]), ticks, "milliseconds")
        figures = self.result.figures
        text = (
            f"{figures.solves:,} plans: half within {figures.solve_s_p50 * 1e3:.1f} ms, 99 of 100 within "
            f"{figures.solve_s_p99 * 1e3:.1f} ms; {figures.fallbacks} came from a heuristic because the solver had no "
            f"answer in time. Stations were sent {figures.setpoint_changes:,} limits; charging cars were interrupted "
            f"{figures.pauses:,} times."
        )
        return _section(
            "How long planning took", text, bar_chart(bars, across, value_axis(float(counts.max()), "plans"))
        )

    def small_print(self) -> str:
        scenario, information = self.result.scenario, self.result.scenario.information
        violations = "".join(
            f"<li>{escape(one.what)}: up to {one.greatest:.2f} over {one.limit:.2f} for {one.duration_s:.0f} s "
            f"at {one.start.astimezone(self.zone):%-d %b %H:%M}</li>"
            for one in self.result.course.violations[:LISTED]
        )
        aside = "".join(
            f"<li>{escape(Path(row.where).name)}: {escape(row.session_id)} {escape(row.reason)}</li>"
            for row in scenario.set_aside[:LISTED]
        )
        facts = (
            f"{TOLD[information.targets]} Building load was foreseen {FORESEEN[information.building]}, "
            f"PV {FORESEEN[information.pv]}. Seed {scenario.seed}. Replayed in {self.result.figures.wall_s:.1f} s. "
            "The offline optimum is a linear bound with perfect foresight, continuous power and no minimum current. "
            "Requested energy is what the cars were recorded to have taken, which is proven to fit."
        )
        parts = [f'<p class="soft">{escape(facts)}</p>']
        if violations:
            parts.append(f"<p>Limits exceeded:</p><ul>{violations}</ul>")
        if aside:
            parts.append(f"<p>{len(scenario.set_aside)} rows of the recording were set aside:</p><ul>{aside}</ul>")
        return "<h2>Small print</h2>" + "".join(parts)

    # ------------------------------------------------------------------ pieces

    def _load_chart(self, first: int, last: int, per: int) -> str:
        lines = []
        limits = self._limits_kw(first, last)
        highest = max((limit_kw for _, limit_kw in limits), default=0.0)
        for name, colour, course in reversed(self.courses()):
            power = _means(course.series.import_kwh[first:last] / course.series.step_h, per)
            highest = max(highest, float(power.max(initial=0.0)))
            lines.append(Line(name, colour, self._points(power, first, per, course), dashed=name == "offline optimum"))
        if limits:
            lines.append(Line("limit", LIMIT, limits, dashed=True))
        across = self._time_axis(first, last)
        load = line_chart(lines, across, value_axis(max(highest, 1e-9), "kW"))
        boundaries = self.result.course.series.boundaries()[first : last + 1]
        price = step_prices_per_kwh(self.result.scenario.tariff, boundaries)
        points = [(self._at(first + index), float(value)) for index, value in enumerate(price)]
        low = min(0.0, float(price.min(initial=0.0)))
        up = value_axis(float(price.max(initial=0.01)), f"{self.currency}/kWh", low)
        return load + line_chart([Line("price of energy", PRICE, points)], across, up, 130.0)

    def _points(self, power: FloatArray, first: int, per: int, course: Course) -> list[tuple[float, float]]:
        points = [(self._at(first + index * per), float(value)) for index, value in enumerate(power)]
        return (
            [*points, (self._at(min(first + len(power) * per, course.series.count)), points[-1][1])] if points else []
        )

    def _limits_kw(self, first: int, last: int) -> list[tuple[float, float]]:
        """What the site may import from each instant on: connection, fuse and grid events; empty without a limit."""
        scenario = self.result.scenario
        root = scenario.site.circuit_by_id[scenario.site.grid_connection.circuit_id]
        standing = [scenario.site.grid_connection.import_limit_kw]
        standing += [root.limit_kw] if root.limit_kw is not None else []
        events = [
            event
            for event in scenario.grid_events
            if event.kind is GridEventKind.IMPORT_LIMIT and event.circuit_id in (None, root.id)
        ]
        points: list[tuple[float, float]] = []
        for place, start in enumerate(self.result.course.series.boundaries()[first : last + 1], first):
            values = [value for event in events if (value := event.value_at(start)) is not None]
            limit_kw = min([*standing, *values])
            if not points or points[-1][1] != limit_kw or place == last:
                points.append((self._at(place), limit_kw))
        return points if min(standing) < float("inf") else []

    def _cost_parts(self, figures: CourseFigures) -> list[tuple[float, str, str]]:
        energy, demand = float(figures.bill.total_cost - figures.bill.demand_cost), float(figures.bill.demand_cost)
        return [
            (max(0.0, energy), PRICE, f"energy {energy:,.2f} {self.currency}"),
            (demand, OPTIMUM, f"demand charge {demand:,.2f} {self.currency}"),
        ]

    def _hour(self, instant: datetime) -> float:
        return (instant - self.result.course.series.start) / timedelta(hours=1)

    def _step_at(self, local: datetime) -> int:
        return round((local.astimezone(UTC) - self.result.course.series.start) / self.result.course.series.step)

    def _at(self, step: int) -> float:
        return step * self.result.course.series.step_h

    def _time_axis(self, first: int, last: int) -> Axis:
        low, high = self._at(first), self._at(last)
        ticks = list(time_ticks(self.result.course.series.start, low, high, self.zone))
        return Axis(low, high, ticks, "local time")

    def _stay_text(self, stay: StayOutcome) -> str:
        local = (stay.arrived_at.astimezone(self.zone), stay.departed_at.astimezone(self.zone))
        said = f"; asked for {stay.stated_kwh:.1f} kWh" if stay.stated_kwh is not None else ""
        lent = f"; gave back {stay.given_back_kwh:.1f} kWh in between" if stay.given_back_kwh > 0 else ""
        return (
            f"{stay.evse_id}: {local[0]:%-d %b %H:%M} to {local[1]:%-d %b %H:%M}, "
            f"{stay.delivered_kwh:.1f} of {stay.wanted_kwh:.1f} kWh{said}{lent}"
        )


def time_ticks(start: datetime, low: float, high: float, zone: ZoneInfo) -> Iterator[tuple[float, str]]:
    """Ticks at local midnights, or every three hours of a short time."""
    hours = high - low
    local = (start + timedelta(hours=low)).astimezone(zone).replace(minute=0, second=0, microsecond=0)
    every = 3 if hours <= 30 else 24 * max(1, round(hours / 24 / 12))
    moment = local if every == 3 else local.replace(hour=0)
    seen = 0
    while seen < 60:
        place = (moment.astimezone(start.tzinfo) - start) / timedelta(hours=1)
        if place > high:
            return
        if place >= low and (every != 3 or moment.hour % 3 == 0):
            yield place, f"{moment:%H:%M}" if every == 3 else f"{moment:%-d %b}"
            seen += 1
        moment = (moment + timedelta(hours=1 if every == 3 else every)).replace(fold=0)


def _means(values: FloatArray, per: int) -> FloatArray:
    if per == 1 or not len(values):
        return values
    whole = len(values) // per * per
    means = values[:whole].reshape(-1, per).mean(axis=1)
    return np.asarray(np.append(means, values[whole:].mean()) if whole < len(values) else means)


def _thinned(values: FloatArray, count: int) -> FloatArray:
    """At most about ``count`` of the values, first and last included."""
    if len(values) <= count:
        return values
    return np.asarray(values[np.linspace(0, len(values) - 1, count).astype(int)])


def _section(title: str, text: str, inside: str) -> str:
    return f"<h2>{escape(title)}</h2><p>{escape(text)}</p>" + (
        f'<figure class="wide">{inside}</figure>' if inside else ""
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cell: Callable[[str, str], str] = lambda kind, text: f"<{kind}>{escape(text)}</{kind}>"  # noqa: E731
    top = "".join(cell("th", text) for text in head)
    body = "".join(f"<tr>{''.join(cell('td', text) for text in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
