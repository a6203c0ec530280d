"""Whether what truly flows keeps every limit of a site: power and current of each circuit, contract, grid events.

Currents add up as phasors. A load between two lines draws along the difference of their voltages; building, PV and
battery are taken to load the three phases evenly. The audit knows nothing of control: it judges it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import sqrt

from optimizer.domain.event import GridEvent, GridEventKind
from optimizer.domain.ids import CircuitId, EvseId
from optimizer.domain.site import ALL_PHASES, Evse, LimitSource, Phase, Site, Wiring

TOLERANCE_SHARE = 1e-6
"""A sum this share of a limit above it is the limit: binary fractions do not add up exactly."""

PHASE_ANGLES = {Phase.L1: 1.0 + 0.0j, Phase.L2: -0.5 - 1j * sqrt(0.75), Phase.L3: -0.5 + 1j * sqrt(0.75)}
"""Voltage of each phase to neutral, as a unit phasor."""

Phasors = tuple[complex, complex, complex]


@dataclass(frozen=True, slots=True)
class Violation:
    """A stretch in which a limit was exceeded."""

    what: str
    """Which limit, for people: circuit, quantity and source."""
    start: datetime
    """First instant above it [UTC]."""
    end: datetime
    """First instant within it again [UTC]."""
    greatest: float
    """Greatest value in it, in the unit of ``what``."""
    limit: float
    """The limit then, in the same unit."""

    @property
    def duration_s(self) -> float:
        """How long it lasted [s]."""
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True, slots=True)
class Draw:
    """What one EVSE draws."""

    power_kw: float
    """Power [kW]."""
    current_paths: int
    """Current paths that carry it."""


@dataclass(frozen=True, slots=True)
class BaseFlow:
    """What flows at the connection besides the EVSEs, all positive into the site but PV."""

    building_kw: float
    """Load of the building [kW]."""
    pv_kw: float
    """PV power [kW]."""
    battery_kw: float
    """Battery charging, discharging negative [kW]."""
    loss_share: float
    """Lost in the wiring, as a share of what flows through the EVSEs."""

    @property
    def net_kw(self) -> float:
        """Load less PV [kW]."""
        return self.building_kw - self.pv_kw + self.battery_kw


class LimitAudit:
    """Compares each stretch of constant flow with every limit.

    Args:
        site: What stands there.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._index = {circuit.id: index for index, circuit in enumerate(site.circuits)}
        self._root = self._index[site.grid_connection.circuit_id]
        self._above = {
            evse.id: tuple(self._index[circuit.id] for circuit in site.circuits_above(evse.circuit_id))
            for evse in site.evses.values()
        }
        self._unit_a_per_kw = {
            (evse.id, paths): unit_currents_a_per_kw(evse, paths)
            for evse in site.evses.values()
            for paths in range(1, evse.current_paths + 1)
        }
        self._base_a_per_kw = balanced_currents_a_per_kw(site)
        self._events: tuple[GridEvent, ...] = ()
        self._open: dict[str, Violation] = {}
        self._closed: list[Violation] = []
        self.greatest_current_a = 0.0

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Every stretch above a limit so far, by its start; those that last included."""
        return tuple(sorted([*self._closed, *self._open.values()], key=lambda one: one.start))

    def watch_event(self, event: GridEvent) -> None:
        """From now on hold the site to a grid event, too."""
        self._events = (*self._events, event)

    def note(self, at: datetime, after: datetime, draws: Mapping[EvseId, Draw], base: BaseFlow) -> None:
        """Judge ``[at, after)``, in which nothing changes."""
        self._keep(at, after, self.exceeded_by(at, draws, base))

    def exceeded_by(self, at: datetime, draws: Mapping[EvseId, Draw], base: BaseFlow) -> dict[str, tuple[float, float]]:
        """Every limit that these flows exceed at ``at``, with the value and the limit, in its unit."""
        powers_kw = [0.0] * len(self._site.circuits)
        currents_a: list[list[complex]] = [[0j, 0j, 0j] for _ in powers_kw]
        for evse_id, draw in draws.items():
            unit = self._unit_a_per_kw[evse_id, draw.current_paths]
            for circuit in self._above[evse_id]:
                powers_kw[circuit] += draw.power_kw
                phasors = currents_a[circuit]
                for phase in range(3):
                    phasors[phase] += unit[phase] * draw.power_kw
        ev_kw = powers_kw[self._root]
        lost_kw = base.loss_share * sum(abs(draw.power_kw) for draw in draws.values()) if base.loss_share else 0.0
        vehicles_a = max(map(abs, currents_a[self._root]))
        self.greatest_current_a = max(self.greatest_current_a, vehicles_a)
        powers_kw[self._root] += base.net_kw + lost_kw
        for phase in range(3):
            currents_a[self._root][phase] += self._base_a_per_kw[phase] * base.net_kw
        exceeded: dict[str, tuple[float, float]] = {}
        self._check_circuits(powers_kw, currents_a, exceeded)
        if self._events:
            self._check_events(at, powers_kw, ev_kw + max(0.0, base.battery_kw), exceeded)
        return exceeded

    def _check_circuits(
        self, powers_kw: list[float], currents_a: list[list[complex]], exceeded: dict[str, tuple[float, float]]
    ) -> None:
        connection = self._site.grid_connection
        _compare(exceeded, f"import, {connection.source} [kW]", powers_kw[self._root], connection.import_limit_kw)
        for circuit, power_kw, phasors in zip(self._site.circuits, powers_kw, currents_a, strict=True):
            if circuit.limit_kw is not None:
                _compare(exceeded, f"{circuit.id}, {circuit.limit_source} [kW]", power_kw, circuit.limit_kw)
            if circuit.limit_a is None and circuit.imbalance_limit_a is None:
                continue
            sizes_a = [abs(phasor) for phasor in phasors]
            if circuit.limit_a is not None:
                for phase, size_a in zip(ALL_PHASES, sizes_a, strict=True):
                    _compare(exceeded, f"{circuit.id} {phase}, {circuit.limit_source} [A]", size_a, circuit.limit_a)
            if circuit.imbalance_limit_a is not None:
                spread_a = max(sizes_a) - min(sizes_a)
                _compare(exceeded, f"{circuit.id}, imbalance [A]", spread_a, circuit.imbalance_limit_a)

    def _check_events(
        self, at: datetime, powers_kw: list[float], controllable_kw: float, exceeded: dict[str, tuple[float, float]]
    ) -> None:
        for event in self._events:
            limit = event.value_at(at)
            if limit is None:
                continue
            circuit = self._index[event.circuit_id or CircuitId(self._site.grid_connection.circuit_id)]
            name = f"grid event {event.id}, {LimitSource.GRID_EVENT} [kW]"
            if event.kind is GridEventKind.IMPORT_LIMIT:
                _compare(exceeded, name, powers_kw[circuit], max(0.0, limit))
            elif event.kind is GridEventKind.CONTROLLABLE_LIMIT:
                load_kw = controllable_kw if circuit == self._root else powers_kw[circuit]
                _compare(exceeded, name, load_kw, max(0.0, limit))

    def _keep(self, at: datetime, after: datetime, exceeded: Mapping[str, tuple[float, float]]) -> None:
        for what in [what for what in self._open if what not in exceeded]:
            self._closed.append(self._open.pop(what))
        for what, (value, limit) in exceeded.items():
            running = self._open.get(what)
            start, greatest = (running.start, running.greatest) if running else (at, value)
            self._open[what] = Violation(what, start, after, max(greatest, value), limit)


def _compare(exceeded: dict[str, tuple[float, float]], what: str, value: float, limit: float) -> None:
    if value > limit + TOLERANCE_SHARE * max(1.0, limit):
        exceeded[what] = (value, limit)


def unit_currents_a_per_kw(evse: Evse, paths: int) -> Phasors:
    """Current on L1, L2, L3 of the supply for each kW that an EVSE draws on some of its paths [A/kW]."""
    size = 1000.0 / (evse.voltage_v * paths)
    currents = dict.fromkeys(ALL_PHASES, 0j)
    if evse.wiring is Wiring.LINE_TO_NEUTRAL:
        for phase in evse.phases[:paths]:
            currents[phase] = PHASE_ANGLES[phase] * size
    else:
        first, second = evse.phases
        along = (PHASE_ANGLES[first] - PHASE_ANGLES[second]) / sqrt(3.0)
        currents[first], currents[second] = along * size, -along * size
    return currents[Phase.L1], currents[Phase.L2], currents[Phase.L3]


def balanced_currents_a_per_kw(site: Site) -> Phasors:
    """Current on L1, L2, L3 for each kW of a load on all three phases alike [A/kW]."""
    first = next(iter(site.evses.values()))
    to_neutral_v = first.voltage_v / sqrt(3.0) if first.wiring is Wiring.LINE_TO_LINE else first.voltage_v
    size = 1000.0 / (3.0 * to_neutral_v)
    return PHASE_ANGLES[Phase.L1] * size, PHASE_ANGLES[Phase.L2] * size, PHASE_ANGLES[Phase.L3] * size
