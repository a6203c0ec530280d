"""The stationary battery of a simulated site: it follows the plan as far as its content and its limits allow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from optimizer.domain.moment import hours_between
from optimizer.domain.site import StationaryBattery
from scenarios.power_trace import PowerTrace

FULL_WITHIN_KWH = 1e-6
"""This close to a bound of its content it is there; instants are whole microseconds."""


class BatteryModel:
    """A battery, settled up to some instant; time only goes forward.

    Args:
        battery: What stands there.
        start: From when on [UTC].
        soc: State of charge at the start, 0..1; taken into the permitted band.
    """

    def __init__(self, battery: StationaryBattery, start: datetime, soc: float) -> None:
        self.battery = battery
        self.trace = PowerTrace(start)
        self.settled_at = start
        self.content_kwh = min(max(soc, battery.min_soc), battery.max_soc) * battery.capacity_kwh
        self.lost_kwh = 0.0
        self._began_with_kwh = self.content_kwh
        self._planned: list[tuple[datetime, float]] = []

    @property
    def soc(self) -> float:
        """State of charge, 0..1."""
        return self.content_kwh / self.battery.capacity_kwh

    @property
    def drained_kwh(self) -> float:
        """What it holds less than at the start [kWh]; below zero where it holds more."""
        return self._began_with_kwh - self.content_kwh

    def follow(self, boundaries: Sequence[datetime], powers_kw: Sequence[float]) -> None:
        """Charge (positive) or discharge as planned; after the last boundary it rests."""
        self._planned = [
            (start, power_kw)
            for (start, end), power_kw in zip(pairwise(boundaries), powers_kw, strict=True)
            if end > self.settled_at
        ]
        self._planned.append((boundaries[-1], 0.0))
        self._note_power()

    def advance(self, until: datetime) -> None:
        """Let everything happen that happens before ``until``."""
        while self.settled_at < until:
            power_kw = self._note_power()
            after = min([until, *self._changes(power_kw)])
            self._take(power_kw, hours_between(self.settled_at, after))
            self.settled_at = after
        self._note_power()

    def next_change(self) -> datetime | None:
        """When it next changes its power by itself: its plan does, or it is full or empty; ``None``: not by itself."""
        return min(self._changes(self._note_power()), default=None)

    def _changes(self, power_kw: float) -> list[datetime]:
        """When the plan changes next, and when the content reaches its bound at ``power_kw``."""
        ahead = [start for start, _ in self._planned if start > self.settled_at]
        changes = ahead[:1]
        if power_kw:
            hours = self._room_kwh(power_kw) / abs(power_kw)
            if hours < 1e6:
                changes.append(self.settled_at + max(timedelta(hours=hours), timedelta.resolution))
        return changes

    def _room_kwh(self, power_kw: float) -> float:
        """Energy at the battery's terminals until it is full or empty [kWh]."""
        battery = self.battery
        if power_kw > 0:
            return max(0.0, battery.max_soc * battery.capacity_kwh - self.content_kwh) / battery.charge_efficiency
        return max(0.0, self.content_kwh - battery.min_soc * battery.capacity_kwh) * battery.discharge_efficiency

    def _note_power(self) -> float:
        planned_kw = 0.0
        for start, power_kw in self._planned:
            if start <= self.settled_at:
                planned_kw = power_kw
        planned_kw = min(max(planned_kw, -self.battery.max_discharge_kw), self.battery.max_charge_kw)
        if planned_kw and self._room_kwh(planned_kw) <= FULL_WITHIN_KWH:
            planned_kw = 0.0
        self.trace.add(self.settled_at, planned_kw)
        return planned_kw

    def _take(self, power_kw: float, hours: float) -> None:
        battery, energy_kwh = self.battery, power_kw * hours
        gained_kwh = (
            energy_kwh * battery.charge_efficiency if power_kw > 0 else energy_kwh / battery.discharge_efficiency
        )
        self.content_kwh += gained_kwh
        self.lost_kwh += energy_kwh - gained_kwh
