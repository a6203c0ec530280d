"""What a station can do and how it wants to be told, by vendor, model and firmware."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from optimizer.domain.site import CurrentType, Evse


class RateUnit(StrEnum):
    """Unit of a charging profile."""

    A = "A"
    W = "W"


@dataclass(frozen=True, slots=True)
class StationCapability:
    """How one kind of station takes charging profiles; the defaults suit most."""

    rate_unit: RateUnit | None = None
    """Unit it takes; ``None``: either, so A for AC and W for DC."""
    plan_purpose: str = "TxProfile"
    """Purpose under which it obeys a plan: TxProfile, or TxDefaultProfile where it ignores the other."""
    plan_stack_level: int = 0
    """Stack level of the plan's TxProfile."""
    safe_stack_level: int = 0
    """Stack level of the safe default."""
    absolute: bool = True
    """Whether schedules start at a stated time; else they are relative."""
    max_periods: int = 10
    """Greatest number of periods in a profile."""
    whole_amperes: bool = False
    """Whether it takes whole amperes only."""

    def unit_for(self, evse: Evse) -> RateUnit:
        """Unit for the limits of one EVSE."""
        if self.rate_unit is not None:
            return self.rate_unit
        return RateUnit.W if evse.current_type is CurrentType.DC else RateUnit.A
