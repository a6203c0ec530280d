"""What a session's energy cost the site, and the bill it is a share of. Money is Decimal, always."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from optimizer.domain.ids import RecordId, SessionId, SiteId, TariffId
from optimizer.domain.moment import Interval


class CostComponent(StrEnum):
    """Part of the cost that is kept apart."""

    GRID_ENERGY = "grid_energy"
    """Energy from the grid, one line a tariff band."""
    PV_ENERGY = "pv_energy"
    """Energy from PV, at no cash cost; the forgone export is told beside it."""
    DEMAND_CHARGE = "demand_charge"
    """Share of the demand charge, one line a charge."""
    EXPORT_REVENUE = "export_revenue"
    """Paid by the grid for export, negative; belongs to the building, which owns the PV."""


class RecordStatus(StrEnum):
    """Where a record stands; records are only ever added."""

    PROVISIONAL = "provisional"
    """Made at plug-out: energy parts are final, the demand share is accrued."""
    FINAL = "final"
    """Made when the billing window is closed."""
    ADJUSTMENT = "adjustment"
    """Difference between the final record and the provisional one."""


class Payer(StrEnum):
    """Who bears a share of the bill besides the sessions."""

    BUILDING = "building"
    LOSSES = "losses"
    UNASSIGNED = "unassigned"


@dataclass(frozen=True, slots=True)
class CostLine:
    """One line of a record or of a bill."""

    component: CostComponent
    """What it pays for."""
    label: str
    """Band or charge, as the tariff names it."""
    quantity: Decimal
    """[kWh], or [kW] for a demand charge."""
    amount: Decimal
    """[currency]; negative for revenue."""
    opportunity_amount: Decimal = Decimal(0)
    """Forgone export revenue of PV energy [currency]; told, not charged."""
    returned_quantity: Decimal = Decimal(0)
    """Energy that a vehicle gave back and that is taken off ``quantity`` [kWh]."""


@dataclass(frozen=True)
class SiteBill:
    """What the site owes for a window."""

    site_id: SiteId
    """Which site."""
    window: Interval
    """Which time."""
    currency: str
    """ISO 4217 code."""
    lines: tuple[CostLine, ...]
    """Components."""
    peak_kw: Decimal
    """Greatest mean import over the demand interval [kW]."""

    @property
    def total(self) -> Decimal:
        """Sum of all lines [currency]."""
        return sum((line.amount for line in self.lines), Decimal(0))


@dataclass(frozen=True)
class EnergyCostRecord:
    """What one session's energy cost the site, line by line; no mark-up inside."""

    id: RecordId
    """Unique; the same for the same session, status and window."""
    site_id: SiteId
    """Which site."""
    session_id: SessionId
    """Which session."""
    status: RecordStatus
    """Where it stands."""
    made_at: datetime
    """When [UTC]."""
    window: Interval
    """Metered time it covers."""
    currency: str
    """ISO 4217 code."""
    energy_kwh: Decimal
    """Metered energy [kWh]."""
    lines: tuple[CostLine, ...]
    """Components; for an adjustment the differences."""
    tariff_id: TariffId
    """Which tariff."""
    tariff_version: str
    """Which version of it."""
    method: str
    """Name and version of the allocation method."""
    input_hash: str
    """SHA-256 over the metered intervals and prices that went in."""
    optimizer_pause_h: Decimal = Decimal(0)
    """Time at a limit of zero that we caused; never parking time [h]."""
    returned_kwh: Decimal = Decimal(0)
    """Metered energy given back (V2G), credited in the lines [kWh]; no part of ``energy_kwh``."""
    corrects: RecordId | None = None
    """The record that an adjustment or final record follows."""

    @property
    def total(self) -> Decimal:
        """Sum of all lines [currency]."""
        return sum((line.amount for line in self.lines), Decimal(0))


@dataclass(frozen=True)
class CostAllocation:
    """A bill and who bears which part; the parts add up to the bill exactly, component by component."""

    bill: SiteBill
    """The whole."""
    session_lines: dict[SessionId, tuple[CostLine, ...]]
    """Share of each session."""
    other_lines: dict[Payer, tuple[CostLine, ...]]
    """Share of building, losses and unassigned energy."""
