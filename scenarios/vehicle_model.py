"""A car at a plug: how much it takes, how fast, and what a pause does to it.

    accepts [A]
    max  ────────────────┐
                         └─┐  taper_kwh before full its acceptance
                           └─┐  falls in steps of about one ampere
    min                      └─┐
     0                         └── full
         0 ──── energy taken ──── takes_kwh

Between two events the power of a car is constant, so energy is a product and exact, and the instant of the next step is
known in advance.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import floor

from optimizer.errors import InvalidInput

FULL_WITHIN_KWH = 1e-6
"""A car this close to full is full: instants are whole microseconds, in which 50 kW move 1.4e-8 kWh."""


class WakeBehaviour(StrEnum):
    """What a car does when it may charge again after a pause."""

    WAKES = "wakes"
    NEEDS_MORE = "needs_more"
    """Wakes only when offered its ``wake_current_a``."""
    SLEEPS = "sleeps"
    """Sleeps until it is unplugged or a new transaction begins."""


@dataclass(frozen=True, slots=True)
class StatedNeeds:
    """What a car tells its station by ISO 15118."""

    energy_kwh: float
    """Energy asked for [kWh]."""
    depart_at: datetime | None = None
    """Departure announced [UTC], where it is."""


@dataclass(frozen=True, slots=True)
class VehicleModel:
    """What is true of a car for one stay."""

    takes_kwh: float
    """Energy until it is full, as metered at the plug [kWh]."""
    max_current_a: float = 32.0
    """Greatest current per phase that it draws [A]."""
    phases_used: int = 3
    """Phases that it draws on where there are as many."""
    min_current_a: float = 6.0
    """Below this offer it draws nothing [A]."""
    taper_kwh: float = 0.0
    """Energy before full over which its acceptance falls to its minimum [kWh]; 0: it does not fall."""
    battery_kwh: float | None = None
    """Battery [kWh]; with ``arrival_soc`` it can tell its state of charge."""
    arrival_soc: float | None = None
    """State of charge at plug-in, 0..1."""
    wake: WakeBehaviour = WakeBehaviour.WAKES
    """What it does after a pause."""
    wake_current_a: float = 8.0
    """Offer that wakes it where ``wake`` is NEEDS_MORE [A]."""
    wake_delay_s: float = 0.0
    """From an offer after a pause until it draws again [s]."""
    needs: StatedNeeds | None = None
    """What it tells its station; most cars tell nothing."""
    gives_kwh: float = 0.0
    """Energy that it gives back at most beyond what it took [kWh]; 0: it only charges."""
    gives_back_a: float = 16.0
    """Greatest current per phase at which it gives back [A]."""
    give_efficiency: float = 1.0
    """Metered energy given back over what leaves its battery."""
    discharge_floor_soc: float = 0.5
    """State of charge below which its driver lends nothing."""

    def __post_init__(self) -> None:
        if not 0 <= self.takes_kwh < float("inf"):
            raise InvalidInput("takes_kwh", self.takes_kwh, "give a number from 0 up")
        if not 0 <= self.taper_kwh < float("inf"):
            raise InvalidInput("taper_kwh", self.taper_kwh, "give a number from 0 up")
        if not 0 < self.min_current_a <= self.max_current_a:
            raise InvalidInput("min_current_a", self.min_current_a, f"must be in (0, {self.max_current_a}]")
        if self.phases_used not in (1, 2, 3):
            raise InvalidInput("phases_used", self.phases_used, "give 1, 2 or 3")
        if not 0 < self.give_efficiency <= 1:
            raise InvalidInput("give_efficiency", self.give_efficiency, "give a number above 0 up to 1")

    @property
    def gives_back(self) -> bool:
        """Whether it may be asked to give back."""
        return self.gives_kwh > 0.0

    def soc_with(self, energy_kwh: float) -> float | None:
        """State of charge once it holds ``energy_kwh`` more than at plug-in, 0..1, where it is known."""
        if self.battery_kwh is None or self.arrival_soc is None:
            return None
        return min(1.0, self.arrival_soc + energy_kwh / self.battery_kwh)

    @property
    def taper_steps(self) -> int:
        """Steps in which its acceptance falls, of about one ampere."""
        return max(1, round(self.max_current_a - self.min_current_a))

    def accepts_a(self, taken_kwh: float) -> float:
        """Greatest current it draws after having taken ``taken_kwh`` [A]."""
        left_kwh = self.takes_kwh - taken_kwh
        if left_kwh <= FULL_WITHIN_KWH:
            return 0.0
        if left_kwh > self.taper_kwh + FULL_WITHIN_KWH:
            return self.max_current_a
        step = floor(max(0.0, left_kwh - 2 * FULL_WITHIN_KWH) / self.taper_kwh * self.taper_steps)
        return self.min_current_a + (self.max_current_a - self.min_current_a) * step / self.taper_steps

    def kwh_to_next_step(self, taken_kwh: float) -> float:
        """Energy after which its acceptance falls next [kWh]."""
        left_kwh = self.takes_kwh - taken_kwh
        if left_kwh > self.taper_kwh + FULL_WITHIN_KWH:
            return left_kwh - self.taper_kwh
        width_kwh = self.taper_kwh / self.taper_steps
        if width_kwh <= FULL_WITHIN_KWH:
            return left_kwh
        steps_left = floor(max(0.0, left_kwh - 2 * FULL_WITHIN_KWH) / width_kwh)
        return left_kwh - steps_left * width_kwh


class PluggedVehicle:
    """A car during one stay: what it has taken, and whether it sleeps."""

    def __init__(self, model: VehicleModel) -> None:
        self.model = model
        self.taken_kwh = 0.0
        """What its battery holds more than at plug-in [kWh]."""
        self.given_back_kwh = 0.0
        """What it gave back, as metered [kWh]."""
        self._has_drawn = False
        self._paused = False
        self._asleep = False
        self._draws_from: datetime | None = None

    @property
    def is_full(self) -> bool:
        """Whether it has taken all it can."""
        return self.model.accepts_a(self.taken_kwh) == 0.0

    @property
    def may_flow(self) -> bool:
        """Whether it could draw or give back."""
        return not self.is_full or (self.model.gives_back and self._left_to_give_kwh > FULL_WITHIN_KWH)

    def soc_before(self, energy_kwh: float = 0.0) -> float | None:
        """State of charge before it took its last ``energy_kwh``, 0..1, where it is known."""
        return self.model.soc_with(self.taken_kwh - energy_kwh)

    def offer(self, offered_a: float, at: datetime) -> float:
        """The current it draws from ``at`` on when offered ``offered_a`` per phase [A]."""
        if offered_a < 0.0:
            has_any = self.model.gives_back and self._left_to_give_kwh > FULL_WITHIN_KWH
            return max(offered_a, -self.model.gives_back_a) if has_any else 0.0
        if offered_a < self.model.min_current_a:
            self._pause()
            return 0.0
        if self._paused and self._stays_asleep(offered_a):
            return 0.0
        if self._paused:
            self._paused = self._asleep = False
            self._draws_from = at + timedelta(seconds=self.model.wake_delay_s)
        if self._draws_from is not None and at < self._draws_from:
            return 0.0
        self._draws_from = None
        drawn_a = min(offered_a, self.model.accepts_a(self.taken_kwh))
        self._has_drawn = self._has_drawn or drawn_a > 0
        return drawn_a

    def next_step_at(self, at: datetime, power_kw: float) -> datetime | None:
        """When it changes its draw by itself if ``power_kw`` flows from ``at`` on; ``None``: not by itself."""
        if self._draws_from is not None and self._draws_from > at:
            return self._draws_from
        if power_kw < 0:
            seconds = self._left_to_give_kwh * self.model.give_efficiency / -power_kw * 3600.0
            return at + max(timedelta(seconds=seconds), timedelta.resolution)
        if power_kw == 0:
            return None
        seconds = self.model.kwh_to_next_step(self.taken_kwh) / power_kw * 3600.0
        return at + max(timedelta(seconds=seconds), timedelta.resolution)

    def take(self, energy_kwh: float) -> None:
        """It has been given ``energy_kwh``, or has given it back where that is below zero."""
        if energy_kwh < 0:
            self.given_back_kwh -= energy_kwh
            energy_kwh /= self.model.give_efficiency
        self.taken_kwh = max(-self.model.gives_kwh, min(self.model.takes_kwh, self.taken_kwh + energy_kwh))

    @property
    def _left_to_give_kwh(self) -> float:
        return self.taken_kwh + self.model.gives_kwh

    def rouse(self) -> None:
        """A new transaction begins: it listens afresh."""
        self._paused = self._asleep = self._has_drawn = False

    def _pause(self) -> None:
        self._draws_from = None
        if self._has_drawn:
            self._paused = True
            self._asleep = self.model.wake is not WakeBehaviour.WAKES

    def _stays_asleep(self, offered_a: float) -> bool:
        if not self._asleep:
            return False
        return self.model.wake is WakeBehaviour.SLEEPS or offered_a < self.model.wake_current_a
