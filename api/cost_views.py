"""What the HTTP API gives of costs: money as decimal strings with a currency."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Self

from api.schemas import Exact
from api.views import AnswerModel
from optimizer.costing.balance import Balance, BalanceReport
from optimizer.costing.registers import FindingKind
from optimizer.domain.cost import (
    CostComponent,
    CostLine,
    EnergyCostRecord,
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
    returned_quantity: Exact
    """Energy that the vehicle gave back and that is taken off ``quantity`` [kWh]."""

    @classmethod
    def of(cls, line: CostLine) -> Self:
        """The view of a line."""
        return cls(
            component=line.component,
            label=line.label,
            quantity=line.quantity,
            amount=line.amount,
            opportunity_amount=line.opportunity_amount,
            returned_quantity=line.returned_quantity,
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
    returned_kwh: Exact
    """Metered energy given back (V2G), credited in the lines [kWh]."""
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
            returned_kwh=record.returned_kwh,
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
    next_cursor: str | None
    """Where the next page begins; null: this is the last one."""


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


class SharesView(AnswerModel):
    """One value of a bill and what its bearers' shares come to."""

    bill: Exact
    """On the bill."""
    sessions: Exact
    """Sum of all sessions."""
    building: Exact
    """Building."""
    losses: Exact
    """Losses; negative where submeters count more than the site's meters."""
    unassigned: Exact
    """Station energy on no session."""
    difference: Exact
    """Bill less all shares: zero."""

    @classmethod
    def of(cls, balance: Balance) -> Self:
        """The view of a balance."""
        return cls(
            bill=balance.bill,
            sessions=balance.sessions,
            building=balance.building,
            losses=balance.losses,
            unassigned=balance.unassigned,
            difference=balance.difference,
        )


class BalanceLineView(AnswerModel):
    """The balance of one line of a bill."""

    component: CostComponent
    """What it pays for."""
    label: str
    """Band or charge, as the tariff names it."""
    quantity: SharesView
    """[kWh], or [kW] for a demand charge."""
    amount: SharesView
    """[currency]."""


class FindingView(AnswerModel):
    """Something wrong with a meter's readings."""

    kind: FindingKind
    """What."""
    meter: str
    """Which meter."""
    at: datetime
    """When it begins."""
    detail: str
    """The values, for people."""


class BalanceView(AnswerModel):
    """A bill, who bears it, and the proof that the parts add up to the whole."""

    site_id: str
    """Which site."""
    start: datetime
    """From."""
    end: datetime
    """Until."""
    currency: str
    """ISO 4217 code."""
    adds_up: bool
    """Whether the shares of every line come to the bill exactly."""
    total: SharesView
    """All money [currency]."""
    energy_kwh: SharesView
    """All energy used, from the grid and from PV [kWh]."""
    lines: list[BalanceLineView]
    """One for each line of the bill."""
    session_count: int
    """Sessions that bear a share, however small."""
    findings: list[FindingView]
    """What was wrong with the meters' readings."""

    @classmethod
    def of(cls, report: BalanceReport) -> Self:
        """The view of a report."""
        return cls(
            site_id=report.site_id,
            start=report.window.start,
            end=report.window.end,
            currency=report.currency,
            adds_up=report.adds_up,
            total=SharesView.of(report.total),
            energy_kwh=SharesView.of(report.energy_kwh),
            lines=[
                BalanceLineView(
                    component=line.component,
                    label=line.label,
                    quantity=SharesView.of(line.quantity),
                    amount=SharesView.of(line.amount),
                )
                for line in report.lines
            ],
            session_count=report.session_count,
            findings=[
                FindingView(kind=one.kind, meter=one.meter, at=one.at, detail=one.detail) for one in report.findings
            ],
        )
