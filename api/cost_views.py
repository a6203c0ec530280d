"""What the HTTP API gives of costs: money as decimal strings with a currency."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Self

from api.schemas import Exact
from api.views import AnswerModel
from optimizer.domain.cost import (
    CostAllocation,
    CostComponent,
    CostLine,
    EnergyCostRecord,
    Payer,
    RecordStatus,
    SiteBill,
)


class MoneyView(AnswerModel):
    """An amount of money."""

    amount: Exact
    """As a decimal string."""
    currency: str
    """ISO 4217 code."""

    @classmethod
    def of(cls, amount: Decimal, currency: str) -> Self:
        """The view of an amount."""
        return cls(amount=amount, currency=currency)


class CostLineView(AnswerModel):
    """One line of a record or of a bill."""

    component: CostComponent
    """What it pays for."""
    label: str
    """Band or charge, as the tariff names it."""
    quantity: Exact
    """[kWh], or [kW] for a demand charge."""
    amount: Exact
    """[currency]; negative for revenue."""
    opportunity_amount: Exact
    """Forgone export revenue of PV energy [currency]; told, not charged."""

    @classmethod
    def of(cls, line: CostLine) -> Self:
        """The view of a line."""
        return cls(
            component=line.component,
            label=line.label,
            quantity=line.quantity,
            amount=line.amount,
            opportunity_amount=line.opportunity_amount,
        )


class EnergyCostRecordView(AnswerModel):
    """What one session's energy cost the site, line by line."""

    id: str
    """Unique."""
    site_id: str
    """Which site."""
    session_id: str
    """Which session."""
    status: RecordStatus
    """provisional, final or adjustment."""
    made_at: datetime
    """When."""
    start: datetime
    """Metered time it covers, from."""
    end: datetime
    """Metered time it covers, until."""
    currency: str
    """ISO 4217 code."""
    energy_kwh: Exact
    """Metered energy [kWh]."""
    total: Exact
    """Sum of all lines [currency]."""
    lines: list[CostLineView]
    """Components."""
    tariff_id: str
    """Which tariff."""
    tariff_version: str
    """Which version of it."""
    method: str
    """Name and version of the allocation method."""
    input_hash: str
    """SHA-256 over the metered intervals and prices that went in."""
    optimizer_pause_h: Exact
    """Time at a limit of zero that the service caused; never parking time [h]."""
    corrects: str | None
    """The record that this one follows."""

    @classmethod
    def of(cls, record: EnergyCostRecord) -> Self:
        """The view of a record."""
        return cls(
            id=record.id,
            site_id=record.site_id,
            session_id=record.session_id,
            status=record.status,
            made_at=record.made_at,
            start=record.window.start,
            end=record.window.end,
            currency=record.currency,
            energy_kwh=record.energy_kwh,
            total=record.total,
            lines=[CostLineView.of(line) for line in record.lines],
            tariff_id=record.tariff_id,
            tariff_version=record.tariff_version,
            method=record.method,
            input_hash=record.input_hash,
            optimizer_pause_h=record.optimizer_pause_h,
            corrects=record.corrects,
        )


class EnergyCostRecordListView(AnswerModel):
    """Energy-cost records by time made."""

    energy_cost_records: list[EnergyCostRecordView]
    """The records."""


class BillView(AnswerModel):
    """What the site owes for a window."""

    site_id: str
    """Which site."""
    start: datetime
    """From."""
    end: datetime
    """Until."""
    currency: str
    """ISO 4217 code."""
    total: Exact
    """Sum of all lines [currency]."""
    peak_kw: Exact
    """Greatest mean import over the demand interval [kW]."""
    lines: list[CostLineView]
    """Components."""

    @classmethod
    def of(cls, bill: SiteBill) -> Self:
        """The view of a bill."""
        return cls(
            site_id=bill.site_id,
            start=bill.window.start,
            end=bill.window.end,
            currency=bill.currency,
            total=bill.total,
            peak_kw=bill.peak_kw,
            lines=[CostLineView.of(line) for line in bill.lines],
        )


class BillListView(AnswerModel):
    """Bills by window."""

    bills: list[BillView]
    """The bills."""


class ShareView(AnswerModel):
    """Who bears which part of a bill."""

    payer: str
    """sessions, building, losses or unassigned."""
    amount: Exact
    """[currency]."""


class BalanceView(AnswerModel):
    """A bill, who bears it, and the proof that the parts add up to the whole."""

    bill: BillView
    """The whole."""
    shares: list[ShareView]
    """The parts."""
    difference: Exact
    """Bill less all parts [currency]: zero."""
    balanced: bool
    """Whether the parts add up to the bill in every component."""
    session_count: int
    """Sessions that bear a part."""

    @classmethod
    def of(cls, allocation: CostAllocation) -> Self:
        """The view of an allocation."""
        by_payer = {"sessions": _total(line for lines in allocation.session_lines.values() for line in lines)}
        by_payer |= {payer.value: _total(allocation.other_lines.get(payer, ())) for payer in Payer}
        return cls(
            bill=BillView.of(allocation.bill),
            shares=[ShareView(payer=payer, amount=amount) for payer, amount in by_payer.items()],
            difference=allocation.bill.total - sum(by_payer.values(), Decimal(0)),
            balanced=all(difference == 0 for difference in component_differences(allocation).values()),
            session_count=len(allocation.session_lines),
        )


def component_differences(allocation: CostAllocation) -> dict[CostComponent, Decimal]:
    """Bill less all parts, for each component [currency]."""
    differences = dict.fromkeys(CostComponent, Decimal(0))
    for line in allocation.bill.lines:
        differences[line.component] += line.amount
    for lines in (*allocation.session_lines.values(), *allocation.other_lines.values()):
        for line in lines:
            differences[line.component] -= line.amount
    return differences


def _total(lines: Iterable[CostLine]) -> Decimal:
    return sum((line.amount for line in lines), Decimal(0))
