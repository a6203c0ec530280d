"""Every limit that the loads of a site must keep, and the sum of the loads under each.

Loads are stated as current at the plug [A], because that is what a station obeys. Each limit turns it into its own
measure: kW, or the current of one phase as a phasor. With phase L1 pointing to the right:

    line to neutral on L1          line to line L1-L2, seen on L1      the same current, seen on L2
    ------------> 0 degrees              / +30 degrees                        \\ -30 degrees

All angles lie within 60 degrees of one another, so adding load never lowers a sum, and a reduction is always safe.
The imbalance between phases is not a limit here: it is the planner's to keep, and a cut may well raise it.
"""

from __future__ import annotations

from cmath import rect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from math import floor, pi, sqrt
from types import MappingProxyType

from optimizer.domain.ids import CircuitId, EvseId
from optimizer.domain.site import ALL_PHASES, Evse, LimitSource, Phase, Site, Wiring

AMPERE_SLACK = 1e-6
"""Rounding of sums must not cost a whole ampere step [A]."""


@dataclass(frozen=True, slots=True)
class Feeder:
    """How the current at one EVSE's plug loads what feeds it."""

    evse: Evse
    """Which EVSE."""
    phases_used: int | None = None
    """Phases that the vehicle on it was seen to draw on; ``None``: all that the EVSE has."""
    learnt_least_a: float | None = None
    """Least current at which the vehicle was seen to charge, where above the EVSE's [A]."""
    takes_zero: bool = True
    """Whether the station takes a limit of zero; else its least current is as low as it goes."""

    @property
    def least_a(self) -> float:
        """Least current that is not zero [A]."""
        return max(self.evse.min_current_a, min(self.learnt_least_a or 0.0, self.evse.max_current_a))

    @property
    def floor_a(self) -> float:
        """The lowest limit that the station takes [A]."""
        return 0.0 if self.takes_zero else self.evse.min_current_a

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The supply phases in use."""
        if self.phases_used is None or self.evse.wiring is Wiring.LINE_TO_LINE:
            return self.evse.phases
        return self.evse.phases[: max(1, self.phases_used)]

    @property
    def kw_per_a(self) -> float:
        """Power drawn per ampere at the plug [kW]."""
        paths = 1 if self.evse.wiring is Wiring.LINE_TO_LINE else len(self.phases)
        return self.evse.voltage_v * paths / 1000.0

    def permitted_kw(self, limit_kw: float) -> float:
        """What the vehicle can draw under a limit that counts all of the EVSE's current paths [kW]."""
        return self.evse.current_a(limit_kw) * self.kw_per_a

    def limit_for_kw(self, power_kw: float) -> float:
        """The limit, counted over all of the EVSE's current paths, that just permits the vehicle's power [kW]."""
        return self.evse.power_kw(power_kw / self.kw_per_a)

    def direction(self, phase: Phase) -> complex:
        """Phasor of one ampere at the plug on ``phase``, relative to that phase's voltage; 0 where not in use."""
        return _directions(self.evse.wiring, self.phases)[ALL_PHASES.index(phase)]

    def stepped_a(self, current_a: float) -> float:
        """``current_a`` rounded down to the EVSE's step, and to zero below its least current [A].

        A station that takes no zero keeps the least current that the EVSE has.
        """
        step_a = self.evse.current_step_a
        kept_a = min(current_a, self.evse.max_current_a)
        if step_a > 0:
            kept_a = floor((kept_a + AMPERE_SLACK) / step_a) * step_a
        return kept_a if kept_a >= self.least_a - AMPERE_SLACK else self.floor_a


@dataclass(frozen=True, slots=True)
class PowerCeiling:
    """A greatest power of the loads below one circuit."""

    circuit_id: CircuitId
    """Where."""
    source: LimitSource
    """Who set it."""
    limit_kw: float
    """Greatest power [kW]."""
    base_kw: float
    """Load that nobody here steers, less what may relieve it [kW]."""
    shared: bool = False
    """Whether the building is part of it."""

    @property
    def base(self) -> complex:
        """Where the sum starts [kW]."""
        return complex(self.base_kw)

    def share(self, feeder: Feeder) -> complex:
        """What one ampere at the plug adds [kW/A]."""
        return complex(feeder.kw_per_a)

    def excess(self, total: complex, reserve: float) -> float:
        """How far ``total`` is above the limit less the ``reserve`` [kW]."""
        return total.real - self.limit_kw + reserve

    def room_a(self, others: complex, share: complex, reserve: float, kept_free_kw: float) -> float:
        """Greatest current of one more load [A]; negative where the others alone are too much."""
        return (self.limit_kw - reserve - kept_free_kw * self.shared - others.real) / share.real

    def __str__(self) -> str:
        return f"{self.limit_kw:g} kW of {self.source} at circuit {self.circuit_id}"


@dataclass(frozen=True, slots=True)
class CurrentCeiling:
    """A greatest current on one phase of one circuit."""

    circuit_id: CircuitId
    """Where."""
    source: LimitSource
    """Who set it."""
    limit_a: float
    """Greatest current [A]."""
    base_a: float
    """Current that nobody here steers, less what may relieve it [A]."""
    phase: Phase
    """On which phase."""
    phase_voltage_v: float
    """Voltage to neutral, to state kW in ampere [V]."""
    shared: bool = False
    """Whether the building is part of it."""

    @property
    def base(self) -> complex:
        """Where the sum starts [A]."""
        return complex(self.base_a)

    def share(self, feeder: Feeder) -> complex:
        """What one ampere at the plug adds, as a phasor [A/A]."""
        return feeder.direction(self.phase)

    def excess(self, total: complex, reserve: float) -> float:
        """How far ``total`` is above the limit less the ``reserve`` [A]."""
        return abs(total) - self.limit_a + reserve

    def room_a(self, others: complex, share: complex, reserve: float, kept_free_kw: float) -> float:
        """Greatest current of one more load [A]; negative where the others alone are too much."""
        kept_free_a = kept_free_kw * 1000.0 / (3.0 * self.phase_voltage_v) if self.shared else 0.0
        limit_a = self.limit_a - reserve - kept_free_a
        if limit_a < abs(others):
            return -1.0
        # |others + share * x| = limit, and |share| = 1.
        along = (others.conjugate() * share).real
        return -along + sqrt(along * along + limit_a * limit_a - abs(others) ** 2)

    def __str__(self) -> str:
        return f"{self.limit_a:g} A of {self.source} on {self.phase} at circuit {self.circuit_id}"


Ceiling = PowerCeiling | CurrentCeiling


@cache
def _directions(wiring: Wiring, phases: tuple[Phase, ...]) -> tuple[complex, ...]:
    """Phasors of one ampere at a plug on L1, L2, L3; asked for every EVSE and limit at every look of the guard."""

    def along(phase: Phase) -> complex:
        if phase not in phases:
            return 0j
        if wiring is Wiring.LINE_TO_NEUTRAL:
            return 1 + 0j
        following = ALL_PHASES[(ALL_PHASES.index(phase) + 1) % 3]
        return rect(1.0, pi / 6 if following in phases else -pi / 6)

    return tuple(along(phase) for phase in ALL_PHASES)


@dataclass(frozen=True, slots=True)
class BaseLoad:
    """What flows at the grid connection besides the EVSEs."""

    import_kw: float
    """Load that counts against limits on import [kW]; below zero where PV exceeds the building."""
    fuse_kw: float
    """Load that counts against the root's own limit: only firm PV relieves it [kW]."""
    phase_a: tuple[float, float, float]
    """The same on L1, L2, L3, never below zero [A]."""


def phase_voltage_v(site: Site) -> float:
    """Voltage to neutral, the lowest of any EVSE so that kW become the most ampere [V]."""
    to_neutral = [
        evse.voltage_v if evse.wiring is Wiring.LINE_TO_NEUTRAL else evse.voltage_v / sqrt(3.0)
        for evse in site.evses.values()
    ]
    return min(to_neutral, default=230.0)


def standing_ceilings(site: Site, base: BaseLoad) -> tuple[Ceiling, ...]:
    """The limits of fuses, circuits and grid connection, that hold always."""
    ceilings: list[Ceiling] = []
    root_id = site.grid_connection.circuit_id
    voltage_v = phase_voltage_v(site)
    for circuit in site.circuits:
        at_root = circuit.id == root_id
        if circuit.limit_kw is not None:
            base_kw = base.fuse_kw if at_root else 0.0
            ceilings.append(PowerCeiling(circuit.id, circuit.limit_source, circuit.limit_kw, base_kw, at_root))
        if circuit.limit_a is not None:
            for phase, base_a in zip(ALL_PHASES, base.phase_a, strict=True):
                ceilings.append(
                    CurrentCeiling(
                        circuit.id,
                        circuit.limit_source,
                        circuit.limit_a,
                        base_a if at_root else 0.0,
                        phase,
                        voltage_v,
                        at_root,
                    )
                )
    connection = site.grid_connection
    ceilings.append(PowerCeiling(root_id, connection.source, connection.import_limit_kw, base.import_kw, shared=True))
    return tuple(ceilings)


@dataclass(frozen=True)
class LoadPaths:
    """Which ceilings each EVSE loads, and by how much per ampere at the plug."""

    ceilings: tuple[Ceiling, ...]
    """The limits to keep."""
    feeders: Mapping[EvseId, Feeder]
    """How each EVSE loads them."""
    shares: Mapping[EvseId, tuple[tuple[int, complex], ...]]
    """Index of each ceiling above an EVSE, with its share [kW/A or A/A]."""

    @classmethod
    def of(cls, site: Site, ceilings: Iterable[Ceiling], feeders: Mapping[EvseId, Feeder]) -> LoadPaths:
        """The paths of a site from its plugs to its ceilings."""
        listed = tuple(ceilings)
        above = {circuit.id: {one.id for one in site.circuits_above(circuit.id)} for circuit in site.circuits}
        shares = {}
        for evse_id, feeder in feeders.items():
            feeding = above[feeder.evse.circuit_id]
            pairs = [
                (index, ceiling.share(feeder)) for index, ceiling in enumerate(listed) if ceiling.circuit_id in feeding
            ]
            shares[evse_id] = tuple(pair for pair in pairs if pair[1] != 0)
        return cls(listed, feeders, shares)


class LoadTally:
    """The sum of loads under every ceiling, kept up to date while levels change.

    Args:
        paths: From plugs to ceilings.
        levels_a: Current counted at each plug [A].
        starting_a: Current at which vehicles could start at plugs that are idle now [A].
        starts: How many of them room is kept for under every ceiling: those that would weigh most.
    """

    def __init__(
        self,
        paths: LoadPaths,
        levels_a: Mapping[EvseId, float],
        starting_a: Mapping[EvseId, float] = MappingProxyType({}),
        starts: int = 0,
    ) -> None:
        self.ceilings = paths.ceilings
        self.feeders = paths.feeders
        self.levels_a: dict[EvseId, float] = dict.fromkeys(paths.feeders, 0.0)
        self._shares = paths.shares
        self._totals = [ceiling.base for ceiling in paths.ceilings]
        self._reserves = self._reserves_for(starting_a, starts)
        for evse_id, level_a in levels_a.items():
            self.set_level(evse_id, level_a)

    def _reserves_for(self, starting_a: Mapping[EvseId, float], starts: int) -> list[float]:
        """What is kept free under each ceiling, as if the greatest starts came in phase with the rest [kW or A]."""
        weights: list[list[float]] = [[] for _ in self.ceilings]
        if starts:
            for evse_id, level_a in starting_a.items():
                for index, share in self._shares[evse_id]:
                    weights[index].append(abs(share) * level_a)
        return [sum(sorted(weight, reverse=True)[:starts]) for weight in weights]

    def set_level(self, evse_id: EvseId, level_a: float) -> None:
        """Count ``evse_id`` at ``level_a`` from now on [A]."""
        change_a = level_a - self.levels_a[evse_id]
        if change_a != 0.0:
            for index, share in self._shares[evse_id]:
                self._totals[index] += share * change_a
            self.levels_a[evse_id] = level_a

    def greatest_fit_a(self, evse_id: EvseId, kept_free_kw: float = 0.0) -> float:
        """Greatest current of ``evse_id`` at which all its ceilings hold, the others as counted [A]; at least 0."""
        return self._fit_a(evse_id, self._shares[evse_id], kept_free_kw)

    def fit_under_a(self, evse_id: EvseId, ceiling: Ceiling) -> float | None:
        """The same under one ceiling alone [A]; ``None`` where the EVSE adds nothing to it."""
        shares = [item for item in self._shares[evse_id] if self.ceilings[item[0]] is ceiling]
        return self._fit_a(evse_id, shares, 0.0) if shares else None

    def _fit_a(self, evse_id: EvseId, shares: Iterable[tuple[int, complex]], kept_free_kw: float) -> float:
        level_a = self.levels_a[evse_id]
        room_a = self.feeders[evse_id].evse.max_current_a
        for index, share in shares:
            others = self._totals[index] - share * level_a
            room_a = min(room_a, self.ceilings[index].room_a(others, share, self._reserves[index], kept_free_kw))
        return max(0.0, room_a)

    def exceeded(self) -> list[Ceiling]:
        """The ceilings that the counted levels exceed."""
        rows = zip(self.ceilings, self._totals, self._reserves, strict=True)
        return [ceiling for ceiling, total, reserve in rows if ceiling.excess(total, reserve) > AMPERE_SLACK]

    def total_of(self, ceiling: Ceiling) -> float:
        """Counted load under ``ceiling`` [kW or A, as its limit]."""
        return (
            self._totals[self.ceilings.index(ceiling)].real
            if isinstance(ceiling, PowerCeiling)
            else abs(self._totals[self.ceilings.index(ceiling)])
        )
