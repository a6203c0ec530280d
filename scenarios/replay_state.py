"""What a replay is made of at one instant; kept in a file, it can be taken up again."""

from __future__ import annotations

import pickle
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from optimizer.domain.ids import SessionId
from optimizer.domain.series import PowerSeries
from optimizer.errors import InvalidDataFile
from optimizer.planning.departures import DepartureRecord
from optimizer.planning.slots import slot_means
from optimizer.ports import Clock
from scenarios.learnt_defaults import DefaultLearner
from scenarios.memory_stores import MemoryStores
from scenarios.outcomes import FloatArray, PlanningLog, StayOutcome, StepSeries
from scenarios.plant import Plant
from scenarios.power_trace import PowerTrace
from scenarios.scenario import Scenario, Stay
from scenarios.simulated_site import SimulatedSite
from scenarios.stopwatch import NOTHING_SPENT
from scenarios.vehicle_model import PluggedVehicle


class ReplayClock(Clock, Protocol):
    """A clock that the replay moves."""

    def move_to(self, instant: datetime) -> None:
        """It is now ``instant``."""
        ...


FORMAT = "chargehorizon replay 2"
"""First entry of a kept state; another number cannot be read."""


class StepRecorder:
    """True energy of each step, read from the plant's traces before they are let go.

    Args:
        start: First boundary [UTC].
        step: Length of a step.
    """

    def __init__(self, start: datetime, step: timedelta) -> None:
        self._start = start
        self._step = step
        self.until = start
        self._charging_kwh, self._import_kwh = array("d"), array("d")
        self._export_kwh, self._battery_kwh = array("d"), array("d")

    def take(self, plant: Plant, until: datetime) -> None:
        """Take all whole steps until ``until``, as far as the plant is settled."""
        boundaries = [self.until]
        while boundaries[-1] + self._step <= min(until, plant.settled_at):
            boundaries.append(boundaries[-1] + self._step)
        for kept, trace in (
            (self._charging_kwh, plant.charging),
            (self._import_kwh, plant.grid_import),
            (self._export_kwh, plant.grid_export),
            (self._battery_kwh, plant.battery.trace if plant.battery else None),
        ):
            kept.extend(_energies_kwh(trace, boundaries))
        self.until = boundaries[-1]

    def series(self, building: PowerSeries, pv: PowerSeries) -> StepSeries:
        """All steps so far."""
        count = len(self._charging_kwh)
        boundaries = [self._start + index * self._step for index in range(count + 1)]
        step_h = self._step / timedelta(hours=1)

        def energies_kwh(series: PowerSeries) -> FloatArray:
            means_kw = slot_means(series.boundaries, series.values_kw, boundaries) if count else np.zeros(0)
            return means_kw * step_h

        return StepSeries(
            self._start,
            self._step,
            np.array(self._charging_kwh),
            np.array(self._import_kwh),
            np.array(self._export_kwh),
            np.array(self._battery_kwh),
            energies_kwh(building),
            energies_kwh(pv),
        )


def _energies_kwh(trace: PowerTrace | None, boundaries: Sequence[datetime]) -> list[float]:
    if trace is None:
        return [0.0] * (len(boundaries) - 1)
    registers_kwh = [trace.register_kwh(boundary) for boundary in boundaries]
    return [after - before for before, after in pairwise(registers_kwh)]


@dataclass
class PresentCar:
    """A car that is plugged in."""

    stay: Stay
    """Its stay."""
    car: PluggedVehicle
    """What it has taken."""
    session_id: SessionId | None = None
    """The session that control made of it; ``None``: nobody controls."""


@dataclass
class RunningLog:
    """How planning went so far."""

    at: list[datetime] = field(default_factory=list)
    """When each plan was made [UTC]."""
    solve_s: list[float] = field(default_factory=list)
    """From problem to plan [s]."""
    fallbacks: int = 0
    """Plans made by a heuristic in the solver's place."""
    time_limits: int = 0
    """Plans for which the time limit came first."""

    def closed(self) -> PlanningLog:
        """The same, frozen."""
        return PlanningLog(tuple(self.at), tuple(self.solve_s), self.fallbacks, self.time_limits)


class ReplayState:
    """A replay at one instant.

    Args:
        scenario: What is replayed.
        strategy: Name of what plans.
        clock: Its time.
    """

    def __init__(self, scenario: Scenario, strategy: str, clock: ReplayClock) -> None:
        self.fingerprint = fingerprint_of(scenario, strategy)
        self.clock = clock
        self.site = SimulatedSite(scenario, clock)
        self.stores = MemoryStores([scenario.site], kept_outcomes=2)
        self.learner = DefaultLearner(scenario.control.default_energy_kwh)
        self.departures = DepartureRecord(scenario.planning.stay_curve)
        self.recorder = StepRecorder(scenario.start, scenario.step)
        self.log = RunningLog()
        self.present: dict[int, PresentCar] = {}
        self.outcomes: list[StayOutcome] = []
        self.next_place = 0
        self.look_again_at: datetime | None = None
        self.was_active = False
        self.next_step_at = scenario.start
        self.spent = NOTHING_SPENT
        self.is_over = False

    def save(self, path: Path) -> None:
        """Keep it in a file; a file that was there is replaced only when all is written."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(pickle.dumps((FORMAT, self)))
        fresh.replace(path)


def fingerprint_of(scenario: Scenario, strategy: str) -> str:
    """What a kept state must be of, to be taken up."""
    return f"{scenario.fingerprint or scenario.name} {scenario.start} {scenario.end} {strategy}"


def kept_state(path: Path, scenario: Scenario, strategy: str) -> ReplayState:
    """A state that was kept. Only files that this program wrote may be read: the form is Python's own.

    Raises:
        InvalidDataFile: The file cannot be read, or is of another scenario, strategy or version.
    """
    try:
        entries = pickle.loads(path.read_bytes())
    except (OSError, pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError) as error:
        raise InvalidDataFile("(file)", str(error), "replay without resuming", where=str(path)) from error
    if not isinstance(entries, tuple) or len(entries) != 2 or entries[0] != FORMAT:
        raise InvalidDataFile("(file)", path.name, "replay without resuming: another version wrote it", where=str(path))
    state = entries[1]
    if not isinstance(state, ReplayState) or state.fingerprint != fingerprint_of(scenario, strategy):
        fix = "replay without resuming: the scenario or a file that it names has changed since"
        raise InvalidDataFile("(file)", path.name, fix, where=str(path))
    return state
