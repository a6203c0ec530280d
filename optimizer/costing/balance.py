"""The check that what sessions, building, losses and unassigned energy bear is the site's bill, line by line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from optimizer.costing.registers import MeterFinding
from optimizer.domain.cost import CostAllocation, CostComponent, CostLine, Payer
from optimizer.domain.ids import SiteId
from optimizer.domain.moment import Interval


@dataclass(frozen=True, slots=True)
class Balance:
    """One value of a bill and what its bearers' shares come to."""

    bill: Decimal
    """On the bill."""
    sessions: Decimal
    """Sum of all sessions."""
    building: Decimal
    """Building."""
    losses: Decimal
    """Losses; negative where submeters count more than the site's meters."""
    unassigned: Decimal
    """Station energy on no session."""

    @property
    def difference(self) -> Decimal:
        """Bill less all shares; anything but zero is an error."""
        return self.bill - self.sessions - self.building - self.losses - self.unassigned


@dataclass(frozen=True, slots=True)
class BalanceLine:
    """The balance of one line of the bill."""

    component: CostComponent
    """What it pays for."""
    label: str
    """Band or charge, as the tariff names it."""
    quantity: Balance
    """[kWh], or [kW] for a demand charge."""
    amount: Balance
    """[currency]."""


@dataclass(frozen=True)
class BalanceReport:
    """The balance of a bill."""

    site_id: SiteId
    """Which site."""
    window: Interval
    """Which time."""
    currency: str
    """ISO 4217 code."""
    lines: tuple[BalanceLine, ...]
    """One for each line of the bill."""
    session_count: int
    """Sessions that bear a share, however small."""
    findings: tuple[MeterFinding, ...] = ()
    """What was wrong with the meters' readings."""

    @property
    def total(self) -> Balance:
        """All money [currency]."""
        return _summed(line.amount for line in self.lines)

    @property
    def energy_kwh(self) -> Balance:
        """All energy used, from the grid and from PV [kWh]."""
        used = (CostComponent.GRID_ENERGY, CostComponent.PV_ENERGY)
        return _summed(line.quantity for line in self.lines if line.component in used)

    @property
    def adds_up(self) -> bool:
        """Whether every line's shares come to the bill exactly."""
        return not any(line.quantity.difference or line.amount.difference for line in self.lines)


def balance_report(allocation: CostAllocation, findings: Iterable[MeterFinding] = ()) -> BalanceReport:
    """Add up the shares of a bill, line by line."""
    bill = allocation.bill
    session_lines = [line for lines in allocation.session_lines.values() for line in lines]
    lines = tuple(
        BalanceLine(
            line.component,
            line.label,
            _balance(allocation, session_lines, line, lambda each: each.quantity),
            _balance(allocation, session_lines, line, lambda each: each.amount),
        )
        for line in bill.lines
    )
    return BalanceReport(
        bill.site_id, bill.window, bill.currency, lines, len(allocation.session_lines), tuple(findings)
    )


def _balance(
    allocation: CostAllocation,
    session_lines: Iterable[CostLine],
    of: CostLine,
    value: Callable[[CostLine], Decimal],
) -> Balance:
    def share(lines: Iterable[CostLine]) -> Decimal:
        same = (each for each in lines if (each.component, each.label) == (of.component, of.label))
        return sum((value(each) for each in same), Decimal(0))

    others = {payer: share(allocation.other_lines.get(payer, ())) for payer in Payer}
    return Balance(
        value(of), share(session_lines), others[Payer.BUILDING], others[Payer.LOSSES], others[Payer.UNASSIGNED]
    )


def _summed(balances: Iterable[Balance]) -> Balance:
    columns = [(each.bill, each.sessions, each.building, each.losses, each.unassigned) for each in balances]
    return (
        Balance(*(sum(column, Decimal(0)) for column in zip(*columns, strict=True)))
        if columns
        else Balance(*(Decimal(0),) * 5)
    )
