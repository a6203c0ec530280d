from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from optimizer.costing.allocation import allocate
from optimizer.costing.balance import balance_report
from optimizer.costing.bill import site_bill
from optimizer.costing.registers import FindingKind, MeterFinding
from optimizer.domain.cost import CostAllocation, Payer
from optimizer.domain.ids import SessionId


def example(build: Any) -> CostAllocation:
    tariff = build.tariff(demand=[build.charge("demand", "30")], export="0.08")
    site = build.site(tariff, build.day(), {40: ("4", "0", "4", "2"), 50: ("0", "3", "5", "2")})
    sessions = [build.metering(name, site, {40: kwh}) for name, kwh in (("A", "3"), ("B", "2.5"))]
    idle = build.metering("idle", site, {40: "0.3"}).intervals
    return allocate(site_bill(build.site_id, site, tariff, build.day()), site, sessions, idle, tariff)


def test_each_line_and_the_whole_are_told(build: Any) -> None:
    report = balance_report(example(build))
    assert report.adds_up
    assert [line.label for line in report.lines] == ["energy", "pv", "demand", "export"]
    total = report.total
    assert total.bill == total.sessions + total.building + total.losses + total.unassigned == Decimal("16.96")
    energy = report.energy_kwh
    assert (energy.bill, energy.sessions, energy.building) == (10, Decimal("5.5"), 4)
    assert (energy.losses, energy.unassigned) == (Decimal("0.2"), Decimal("0.3"))
    assert report.session_count == 2


def test_share_that_went_astray_shows(build: Any) -> None:
    allocation = example(build)
    lost = replace(allocation, session_lines={SessionId("A"): allocation.session_lines[SessionId("A")]})
    report = balance_report(lost)
    assert not report.adds_up
    assert report.total.difference == sum(line.amount for line in allocation.session_lines[SessionId("B")])


def test_difference_that_cancels_over_lines_still_shows(build: Any) -> None:
    allocation = example(build)
    energy, pv, demand, export = allocation.other_lines[Payer.BUILDING]
    moved = (
        replace(energy, amount=energy.amount + 1),
        pv,
        replace(demand, amount=demand.amount - 1),
        export,
    )
    report = balance_report(replace(allocation, other_lines={**allocation.other_lines, Payer.BUILDING: moved}))
    assert report.total.difference == 0
    assert not report.adds_up


def test_empty_bill_adds_up(build: Any) -> None:
    tariff = build.tariff()
    site = build.site(tariff, build.day())
    bill = replace(site_bill(build.site_id, site, tariff, build.day()), lines=())
    report = balance_report(CostAllocation(bill, {}, {}))
    assert report.adds_up
    assert report.total.bill == 0


def test_findings_go_along(build: Any) -> None:
    finding = MeterFinding(FindingKind.GAP, "grid import", build.at("10:00"), "3 kWh in 2 h")
    assert balance_report(example(build), [finding]).findings == (finding,)
