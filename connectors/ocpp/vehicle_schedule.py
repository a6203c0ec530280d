"""The schedule that a vehicle made for itself (OCPP 2.x NotifyEVChargingSchedule), held against the plan it was told.

    plan  7 kW ======                      vehicle  7 kW     ######       it begins later: 7 kW less for a while
          4 kW       ======                         4 kW ####      ####

A vehicle may take less than it is offered; that it means to take more is worth a warning, though the station holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from connectors.ocpp.external import limits_of_schedules
from connectors.ocpp.frames import Json
from connectors.ocpp.translate import instant, parts
from optimizer.domain.charger import LimitPeriod
from optimizer.domain.site import Evse

NOTABLE_KW = 0.5
"""Difference of power that is more than rounding [kW]."""


@dataclass(frozen=True, slots=True)
class ScheduleDeviation:
    """Where a vehicle's schedule and its plan part."""

    above_kw: float
    """The most by which the vehicle means to exceed the plan [kW]."""
    below_kwh: float
    """Energy that the plan permits and the vehicle does not mean to take [kWh]."""
    parts_at: datetime | None
    """When they first part [UTC]; ``None``: never."""

    def __str__(self) -> str:
        if self.parts_at is None:
            return "as planned"
        at = f"from {self.parts_at:%H:%M} UTC"
        if self.above_kw > NOTABLE_KW:
            return f"up to {self.above_kw:.1f} kW above the plan {at}"
        return f"{self.below_kwh:.1f} kWh less than the plan permits, {at}"


def vehicle_schedule(payload: Json, evse: Evse, now: datetime, skew: timedelta) -> tuple[LimitPeriod, ...]:
    """The powers that a vehicle means to draw, in time order; none where nothing can be read.

    Args:
        payload: As received; its times count from ``timeBase``.
        evse: Turns A into kW.
        now: Start of a schedule that tells none [UTC].
        skew: By how much the station's clock is ahead of ours.
    """
    base = instant(payload.get("timeBase"))
    start = now if base is None else base - skew
    schedules = [
        {name: value for name, value in schedule.items() if name != "startSchedule"}
        for schedule in parts(payload, "chargingSchedule")
        if isinstance(schedule, dict)
    ]
    return limits_of_schedules(schedules, evse, start, timedelta(0))


def deviation(plan: Sequence[LimitPeriod], vehicle: Sequence[LimitPeriod], end: datetime) -> ScheduleDeviation:
    """Where a vehicle's schedule parts from its plan, from the schedule's start until ``end``.

    Args:
        plan: What it was told; at least one piece.
        vehicle: What it means to do; at least one piece.
        end: How far the two are compared: behind the last piece of the plan nothing is planned yet [UTC].
    """
    begin = vehicle[0].start
    instants = sorted({begin, *(piece.start for piece in (*plan, *vehicle) if begin < piece.start < end)})
    above_kw, below_kwh, parts_at = 0.0, 0.0, None
    for index, when in enumerate(instants):
        until = instants[index + 1] if index + 1 < len(instants) else max(end, when)
        excess_kw = _in_force_kw(vehicle, when) - _in_force_kw(plan, when)
        if abs(excess_kw) > NOTABLE_KW and parts_at is None:
            parts_at = when
        above_kw = max(above_kw, excess_kw)
        below_kwh += max(0.0, -excess_kw) * ((until - when) / timedelta(hours=1))
    return ScheduleDeviation(above_kw, below_kwh, parts_at)


def _in_force_kw(pieces: Sequence[LimitPeriod], at: datetime) -> float:
    begun = [piece for piece in pieces if piece.start <= at]
    return (begun[-1] if begun else pieces[0]).limit_kw
