"""What a lived day came to, for people and for machines."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table

from scenarios.live_day import DayReport

Json = dict[str, Any]


def print_report(report: DayReport, console: Console) -> None:
    """Show the figures and the checks."""
    console.print(_figures(report))
    console.print(_bearers(report))
    console.print(_proof(report), highlight=False)
    failed = report.failed_checks()
    if not failed:
        console.print("All checks hold.", style="green")
    for text in failed:
        console.print(f"FAILED: {text}", style="red", soft_wrap=True)


def as_json(report: DayReport) -> Json:
    """The figures with the same names as everywhere."""
    return {
        "sessions": report.sessions,
        "wanted_kwh": round(report.wanted_kwh, 3),
        "delivered_kwh": round(report.delivered_kwh, 3),
        "unserved_kwh": round(report.wanted_kwh - report.delivered_kwh, 3),
        "currency": report.bill["currency"],
        "total_cost": str(report.cost),
        "uncontrolled_cost": str(report.uncontrolled_cost),
        "saved": str(report.saved),
        "peak_kw": report.bill["peak_kw"],
        "uncontrolled_peak_kw": str(report.uncontrolled_bill.peak_kw),
        "greatest_import_kw": round(report.extremes.import_kw, 3),
        "import_limit_kw": report.import_limit_kw,
        "limit_violations": len(report.excesses),
        "records": report.records,
        "bill": report.bill,
        "balance": report.balance,
        "grid_event": report.grid_event,
        "grid_event_peak_kw": round(report.grid_event_peak_kw, 3),
        "reservation": report.reservation,
        "uncontrolled_lines": [
            {name: str(value) for name, value in asdict(line).items()} for line in report.uncontrolled_bill.lines
        ],
        "failed_checks": list(report.failed_checks()),
    }


def _figures(report: DayReport) -> Table:
    currency = report.bill["currency"]
    limit = f"{report.import_limit_kw:g} kW"
    table = Table(title="The day", title_justify="left")
    for heading in ("", "controlled", "uncontrolled", "difference"):
        table.add_column(heading, justify="left" if not heading else "right")
    delivered = sum(report.uncontrolled.delivered_kwh.values())
    table.add_row(
        "energy delivered",
        _of(report.delivered_kwh, report.wanted_kwh),
        _of(delivered, report.wanted_kwh),
        f"{report.delivered_kwh - delivered:+.1f} kWh",
    )
    controlled_lines, uncontrolled_lines = _by_component(report)
    for component, amount in controlled_lines.items():
        other = uncontrolled_lines.get(component, Decimal(0))
        table.add_row(component.replace("_", " "), f"{amount} {currency}", f"{other} {currency}", f"{amount - other:+}")
    table.add_row(
        "cost of the site",
        f"{report.cost} {currency}",
        f"{report.uncontrolled_cost} {currency}",
        f"{-report.saved:+}",
        style="bold",
    )
    peak_kw, uncontrolled_peak_kw = Decimal(report.bill["peak_kw"]), report.uncontrolled_bill.peak_kw
    table.add_row(
        "billed peak", f"{peak_kw:.1f} kW", f"{uncontrolled_peak_kw:.1f} kW", f"{peak_kw - uncontrolled_peak_kw:+.1f}"
    )
    table.add_row(
        f"greatest load (limit {limit})",
        f"{report.extremes.import_kw:.1f} kW",
        f"{report.uncontrolled.peak_import_kw:.1f} kW",
        f"{report.extremes.import_kw - report.uncontrolled.peak_import_kw:+.1f}",
    )
    return table


def _bearers(report: DayReport) -> Table:
    shares, energy_kwh = report.balance["total"], report.balance["energy_kwh"]
    table = Table(title="Who bears the bill", title_justify="left")
    table.add_column("")
    table.add_column("kWh", justify="right")
    table.add_column(report.bill["currency"], justify="right")
    names = {"sessions": f"{report.records} sessions", "building": "building", "losses": "losses"}
    names |= {"unassigned": "energy of no session", "bill": "the site's bill", "difference": "difference"}
    for field, name in names.items():
        style = "bold" if field == "bill" else ""
        table.add_row(name, energy_kwh[field], shares[field], style=style, end_section=field == "unassigned")
    return table


def _proof(report: DayReport) -> str:
    event = report.grid_event
    asked = datetime.fromisoformat(event["received_at"])
    steps = [
        f"{name} after {(datetime.fromisoformat(event[field]) - asked).total_seconds():.0f} s"
        for name, field in (("limits sent", "applied_at"), ("seen in the meter", "confirmed_at"))
        if event[field] is not None
    ]
    return (
        f"Grid event: {event['intervals'][-1]['value']:g} kW asked, {', '.join(steps)} of the day's time;"
        f" greatest load from then on {report.grid_event_peak_kw:.1f} kW.\n"
        f"Booking: {report.reservation['evse_id']} was {report.reservation['status'].lower()}."
    )


def _of(part_kwh: float, whole_kwh: float) -> str:
    return f"{part_kwh:.1f} of {whole_kwh:.1f} kWh ({part_kwh / whole_kwh:.1%})"


def _by_component(report: DayReport) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    controlled: dict[str, Decimal] = {}
    for line in report.bill["lines"]:
        controlled[line["component"]] = controlled.get(line["component"], Decimal(0)) + Decimal(line["amount"])
    uncontrolled: dict[str, Decimal] = {}
    for one in report.uncontrolled_bill.lines:
        uncontrolled[one.component.value] = uncontrolled.get(one.component.value, Decimal(0)) + one.amount
    return controlled, uncontrolled
