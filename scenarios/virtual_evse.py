"""The physics of one EVSE: a car, the limit that is offered to it, and a meter that is exact at any instant."""

from __future__ import annotations

from datetime import datetime
from math import floor
from typing import Protocol

from optimizer.domain.moment import hours_between
from optimizer.domain.site import Evse, Wiring
from scenarios.power_trace import PowerTrace
from scenarios.vehicle_model import PluggedVehicle, VehicleModel

STEP_TOLERANCE = 1e-9
"""A limit this share of a step below a whole step is that step: it went through a unit and back."""


class CurrentLimits(Protocol):
    """Tells the greatest current over time."""

    def limit_a(self, instant: datetime) -> float:
        """Greatest current per phase at ``instant``, or below zero what is to be given back [A]."""
        ...

    def next_change(self, instant: datetime) -> datetime | None:
        """The next instant after ``instant`` at which it may change."""
        ...

    def phases(self, instant: datetime) -> int | None:
        """Phases that are to be used at ``instant``; ``None``: all that there are."""
        ...


class HardwareLimit:
    """No limit but the EVSE's own."""

    def __init__(self, evse: Evse) -> None:
        self._evse = evse

    def limit_a(self, instant: datetime) -> float:  # noqa: ARG002 - always the same
        """The EVSE's greatest current [A]."""
        return self._evse.max_current_a

    def next_change(self, instant: datetime) -> datetime | None:  # noqa: ARG002 - always the same
        """It never changes."""
        return None

    def phases(self, instant: datetime) -> int | None:  # noqa: ARG002 - always the same
        """All that there are."""
        return None


class VirtualEvse:
    """One EVSE, settled up to some instant; time only goes forward."""

    def __init__(self, evse: Evse, start: datetime) -> None:
        self.evse = evse
        self.trace = PowerTrace(start)
        self.returned = PowerTrace(start)
        self.settled_at = start
        self.vehicle: PluggedVehicle | None = None
        self.departs_at: datetime | None = None
        self.is_energised = False
        self._limits: CurrentLimits = HardwareLimit(evse)
        self._to_come: list[tuple[datetime, CurrentLimits]] = []

    def plug_in(self, vehicle: VehicleModel, departs_at: datetime | None) -> PluggedVehicle:
        """A car is plugged in; it will be gone at ``departs_at``, whatever happens until then."""
        self.vehicle = PluggedVehicle(vehicle)
        self.departs_at = departs_at
        return self.vehicle

    def unplug(self, at: datetime) -> None:
        """The car is gone."""
        self.advance(at)
        self.vehicle = self.departs_at = None
        self.is_energised = False
        self._note_power(self.settled_at)

    def switch(self, *, on: bool, at: datetime) -> None:
        """Close or open the contactor."""
        self.advance(at)
        if on and not self.is_energised and self.vehicle is not None:
            self.vehicle.rouse()
        self.is_energised = on
        self._note_power(self.settled_at)

    def obey(self, limits: CurrentLimits, from_when: datetime) -> None:
        """Offer ``limits`` from an instant on."""
        self._to_come = [(when, what) for when, what in self._to_come if when < from_when]
        self._to_come.append((from_when, limits))
        self._note_power(self.settled_at)

    def offered_a(self, at: datetime) -> float:
        """Current per phase that the pilot signal offers: whole steps, and nothing below the least [A].

        Below zero it is what the car is asked to give back.
        """
        if not self.is_energised:
            return 0.0
        limit_a, step_a = self._limits_at(at).limit_a(at), self.evse.current_step_a
        if limit_a < 0.0:
            return max(limit_a, -self.evse.max_current_a)
        whole_a = floor(limit_a / step_a + STEP_TOLERANCE) * step_a
        return min(whole_a, self.evse.max_current_a) if whole_a >= self.evse.min_current_a else 0.0

    def taken_since_kwh(self, at: datetime) -> float:
        """Energy that flowed into the car since ``at``, as far as this EVSE is settled [kWh]."""
        return self.trace.register_kwh(max(at, self.settled_at)) - self.trace.register_kwh(at)

    def import_register_kwh(self, at: datetime) -> float:
        """Energy that was drawn until ``at``; what is given back does not lower it [kWh]."""
        return self.trace.register_kwh(at) + self.returned.register_kwh(at)

    @property
    def current_paths(self) -> int:
        """Current paths that the car uses."""
        if self.vehicle is None:
            return 0
        if self.evse.wiring is Wiring.LINE_TO_LINE:
            return 1
        return min(self.permitted_paths(self.settled_at), self.vehicle.model.phases_used)

    def permitted_paths(self, at: datetime) -> int:
        """Current paths that any car may use."""
        paths = self.evse.current_paths
        return min(paths, self._limits_at(at).phases(at) or paths)

    def advance(self, until: datetime) -> None:
        """Let everything happen that happens before ``until``."""
        if self.vehicle is None and not self._to_come and self.trace.newest_kw == 0.0:
            self.settled_at = max(self.settled_at, until)
            return
        while self.settled_at < until:
            self._take_up_limits()
            power_kw = self._note_power(self.settled_at)
            after = min(until, self.next_change() or until)
            if self.vehicle is not None and not self._is_gone(self.settled_at):
                self.vehicle.take(power_kw * hours_between(self.settled_at, after))
            self.settled_at = after
        self._take_up_limits()
        self._note_power(self.settled_at)

    def next_change(self) -> datetime | None:
        """The next instant at which the power may change by itself."""
        now = self.settled_at
        candidates = [self._limits_at(now).next_change(now), *(when for when, _ in self._to_come)]
        if self.departs_at is not None:
            candidates.append(self.departs_at)
        if self.vehicle is not None and self.is_energised:
            candidates.append(self.vehicle.next_step_at(now, self.trace.power_kw(now)))
        return min((instant for instant in candidates if instant is not None and instant > now), default=None)

    def _note_power(self, at: datetime) -> float:
        """Write the power that flows from ``at`` on into the trace and return it [kW]."""
        power_kw = 0.0
        paths = 0
        if self.vehicle is not None and self.is_energised and not self._is_gone(at):
            drawn_a = self.vehicle.offer(self.offered_a(at), at)
            paths = self.current_paths if drawn_a != 0 else 0
            power_kw = drawn_a * self.evse.voltage_v * paths / 1000.0
        self.trace.add(at, power_kw, paths)
        self.returned.add(at, max(0.0, -power_kw))
        return power_kw

    def _is_gone(self, at: datetime) -> bool:
        return self.departs_at is not None and at >= self.departs_at

    def _limits_at(self, at: datetime) -> CurrentLimits:
        if not self._to_come:
            return self._limits
        due = [limits for when, limits in self._to_come if when <= at]
        return due[-1] if due else self._limits

    def _take_up_limits(self) -> None:
        if not self._to_come:
            return
        self._limits = self._limits_at(self.settled_at)
        self._to_come = [(when, limits) for when, limits in self._to_come if when > self.settled_at]
