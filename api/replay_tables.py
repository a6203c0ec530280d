"""The figures of replays as tables: for the terminal and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from scenarios.metrics import CourseFigures, above_optimum_share, comparable_optimum_cost, saved_share
from scenarios.replay import ReplayResult

COLUMNS = ("strategy", "delivered\n", "peak\nkW", "total\n", "above\noptimum", "saved\n", "limits\nexceeded", "wall\ns")
"""Heads of the comparison; they break here, figures never do."""


def replay_table(result: ReplayResult) -> Table:
    """One replay beside its bounds."""
    figures, bounds = result.figures, result.baselines
    columns = {
        figures.strategy.replace("_", " "): figures,
        "offline optimum": bounds.offline_optimum,
        "uncontrolled": bounds.uncontrolled,
    }
    currency = figures.bill.currency
    title = f"{result.scenario.name}: {figures.sessions} stays"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    rows: dict[str, Callable[[CourseFigures], str]] = {
        "energy delivered": lambda one: f"{one.delivered_kwh:,.1f} kWh ({one.delivered_share:.2%})",
        "of what the cars would have taken": lambda one: f"{one.requested_kwh:,.1f} kWh",
        "stays fully served": lambda one: f"{one.served_share:.1%}",
        "billed peak": lambda one: f"{one.bill.peak_kw:.1f} kW",
        "energy": lambda one: f"{one.bill.energy_cost:,.2f} {currency}",
        "demand charge": lambda one: f"{one.bill.demand_cost:,.2f} {currency}",
        "total": lambda one: f"{one.bill.total_cost:,.2f} {currency}",
        "above the offline optimum": lambda one: f"{above_optimum_share(one, bounds):+.2%}",
        "saved against uncontrolled": lambda one: f"{saved_share(one, bounds):.1%}",
        "limits exceeded": lambda one: str(one.limit_violations),
    }
    for name, text in rows.items():
        table.add_row(name, *(text(one) for one in columns.values()), style="bold" if name == "total" else None)
    if any(one.same_energy_optimum_cost is not None for one in columns.values()):
        cells = (f"{comparable_optimum_cost(one, bounds):,.2f} {currency}" for one in columns.values())
        table.add_row("which, for the energy delivered, pays", *cells)
    _add_optional(table, columns)
    table.add_section()
    table.add_row("limits sent, pauses", f"{figures.setpoint_changes:,}, {figures.pauses:,}")
    plans = f"{figures.solves:,}, {figures.solve_s_p50 * 1e3:.1f} ms, {figures.solve_s_p99 * 1e3:.1f} ms"
    table.add_row("plans; half and 99 % within", plans)
    table.add_row("made by a heuristic instead", str(figures.fallbacks))
    times = [f"{one.wall_s:.1f} s, {one.processor_s:.1f} s" for one in columns.values()]
    table.add_row("replayed in; processor time", *times)
    return table


def _add_optional(table: Table, columns: Mapping[str, CourseFigures]) -> None:
    figures = list(columns.values())
    if any(one.given_back_kwh for one in figures):
        table.add_row("given back in between", *(f"{one.given_back_kwh:,.1f} kWh" for one in figures))
    if any(one.bill.battery_cost for one in figures):
        table.add_row("in it: drained from the battery", *(f"{one.bill.battery_cost:,.2f}" for one in figures))
    if any(one.bill.export_revenue for one in figures):
        table.add_row("paid for export", *(f"{one.bill.export_revenue:,.2f}" for one in figures))
    if any(one.emissions_kg is not None for one in figures):
        table.add_row("marginal emissions", *(f"{one.emissions_kg or 0.0:,.0f} kg" for one in figures))
    if any(one.statements_met_share is not None for one in figures):
        table.add_row("statements met", *(f"{one.statements_met_share or 0.0:.1%}" for one in figures))


def comparison_table(results: Mapping[str, ReplayResult]) -> Table:
    """Strategies one below the other."""
    first = next(iter(results.values()))
    currency = first.figures.bill.currency
    title = f"{first.scenario.name}, costs in {currency}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, show_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "strategy" else "right", no_wrap=True)
    for name, result in results.items():
        figures, bounds = result.figures, result.baselines
        table.add_row(
            name.replace("_", " ") + ("" if figures.is_complete else " (part)"),
            f"{figures.delivered_share:.2%}",
            f"{figures.bill.peak_kw:.1f}",
            f"{figures.bill.total_cost:,.2f}",
            f"{above_optimum_share(figures, bounds):+.2%}",
            f"{saved_share(figures, bounds):.1%}",
            str(figures.limit_violations),
            f"{figures.wall_s:.1f}",
        )
    return table


def write_comparison_csv(results: Mapping[str, ReplayResult], path: Path) -> None:
    """One row a strategy, columns as the keys of the JSON form."""
    _write(path, [result.as_json() for result in results.values()])


def write_steps_csv(result: ReplayResult, path: Path) -> None:
    """One row a step: what truly flowed."""
    series, step_h = result.course.series, result.course.series.step_h
    columns = {
        "charging_kw": series.charging_kwh,
        "grid_import_kw": series.import_kwh,
        "grid_export_kw": series.export_kwh,
        "battery_kw": series.battery_kwh,
        "building_kw": series.building_kwh,
        "pv_kw": series.pv_kwh,
    }
    rows: list[dict[str, Any]] = [
        {"start": start.isoformat(), **{name: round(float(kwh[index]) / step_h, 6) for name, kwh in columns.items()}}
        for index, start in enumerate(series.boundaries()[:-1])
    ]
    _write(path, rows)


def write_stays_csv(result: ReplayResult, path: Path) -> None:
    """One row a stay."""
    rows = [
        {
            "session_id": stay.id,
            "evse_id": stay.evse_id,
            "arrived_at": stay.arrived_at.isoformat(),
            "departed_at": stay.departed_at.isoformat(),
            "requested_kwh": round(stay.wanted_kwh, 6),
            "delivered_kwh": round(stay.delivered_kwh, 6),
            "unserved_kwh": round(stay.unserved_kwh, 6),
            "given_back_kwh": round(stay.given_back_kwh, 6),
            "stated_kwh": stay.stated_kwh,
            "stated_departure": stay.stated_departure.isoformat() if stay.stated_departure else None,
            "pauses": stay.pauses,
        }
        for stay in result.course.stays
    ]
    _write(path, rows)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
