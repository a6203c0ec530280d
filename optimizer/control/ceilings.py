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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from math import floor, pi, sqrt
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from optimizer.domain.ids import CircuitId, EvseId
from optimizer.domain.site import ALL_PHASES, Evse, LimitSource, Phase, Site, Wiring

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
ComplexArray = NDArray[np.complex128]

AMPERE_SLACK = 1e-6
"""Rounding of sums must not cost a whole ampere step [A]."""


@dataclass(frozen=True)
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

    @cached_property
    def least_a(self) -> float:
        """Least current that is not zero [A]."""
        return max(self.evse.min_current_a, min(self.learnt_least_a or 0.0, self.evse.max_current_a))

    @property
    def floor_a(self) -> float:
        """The lowest limit that the station takes [A]."""
        return 0.0 if self.takes_zero else self.evse.min_current_a

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """The supply phases in use."""
        if self.phases_used is None or self.evse.wiring is Wiring.LINE_TO_LINE:
            return self.evse.phases
        return self.evse.phases[: max(1, self.phases_used)]

    @cached_property
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
class CircuitLoad:
    """What flows through a circuit inside the site besides the EVSEs below it."""

    power_kw: float = 0.0
    """Power [kW]."""
    phase_a: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Current on L1, L2, L3 [A]."""


@dataclass(frozen=True, slots=True)
class BaseLoad:
    """What flows at the grid connection besides the EVSEs."""

    import_kw: float
    """Load that counts against limits on import [kW]; below zero where PV exceeds the building."""
    fuse_kw: float
    """Load that counts against the root's own limit: only firm PV relieves it [kW]."""
    phase_a: tuple[float, float, float]
    """The same on L1, L2, L3, never below zero [A]."""
    circuits: Mapping[CircuitId, CircuitLoad] = field(default_factory=dict)
    """What flows through circuits that have a meter of their own."""


def standing_ceilings(site: Site, base: BaseLoad) -> tuple[Ceiling, ...]:
    """The limits of fuses, circuits and grid connection, that hold always."""
    ceilings: list[Ceiling] = []
    root_id = site.grid_connection.circuit_id
    voltage_v = site.phase_voltage_v
    for circuit in site.circuits:
        at_root = circuit.id == root_id
        own = base.circuits.get(circuit.id, CircuitLoad())
        if circuit.limit_kw is not None:
            base_kw = base.fuse_kw if at_root else own.power_kw
            ceilings.append(PowerCeiling(circuit.id, circuit.limit_source, circuit.limit_kw, base_kw, at_root))
        if circuit.limit_a is not None:
            for phase, base_a in zip(ALL_PHASES, base.phase_a if at_root else own.phase_a, strict=True):
                ceilings.append(
                    CurrentCeiling(
                        circuit.id,
                        circuit.limit_source,
                        circuit.limit_a,
                        base_a,
                        phase,
                        voltage_v,
                        at_root,
                    )
                )
    connection = site.grid_connection
    ceilings.append(PowerCeiling(root_id, connection.source, connection.import_limit_kw, base.import_kw, shared=True))
    return tuple(ceilings)


@dataclass(frozen=True, eq=False)
class LoadShares:
    """By how much each EVSE loads each ceiling per ampere at the plug, whatever the ceilings' limits are."""

    by_evse: Mapping[EvseId, tuple[tuple[int, complex], ...]]
    """Index of each ceiling above an EVSE, with its share [kW/A or A/A]."""
    evse: IntArray
    """Place of the EVSE of each share, shape (shares,)."""
    ceiling: IntArray
    """Index of its ceiling, shape (shares,)."""
    share: ComplexArray
    """The share itself [kW/A or A/A], shape (shares,)."""

    @classmethod
    def of(cls, site: Site, ceilings: Sequence[Ceiling], feeders: Mapping[EvseId, Feeder]) -> LoadShares:
        """The shares of a site's plugs in its ceilings."""
        above = {circuit.id: {one.id for one in site.circuits_above(circuit.id)} for circuit in site.circuits}
        feeding = {
            circuit_id: [(index, one) for index, one in enumerate(ceilings) if one.circuit_id in ids]
            for circuit_id, ids in above.items()
        }
        by_evse = {}
        for evse_id, feeder in feeders.items():
            pairs = [(index, ceiling.share(feeder)) for index, ceiling in feeding[feeder.evse.circuit_id]]
            by_evse[evse_id] = tuple(pair for pair in pairs if pair[1] != 0)
        triples = [(place, *pair) for place, pairs in enumerate(by_evse.values()) for pair in pairs]
        return cls(
            by_evse,
            np.array([place for place, _, _ in triples], dtype=np.int64),
            np.array([index for _, index, _ in triples], dtype=np.int64),
            np.array([share for _, _, share in triples], dtype=np.complex128),
        )

    def sums(self, levels_a: FloatArray, count: int) -> list[complex]:
        """What levels at the plugs add to each of ``count`` ceilings [kW or A].

        Args:
            levels_a: Current at each plug, in the order of the feeders [A], shape (EVSEs,).
            count: Number of ceilings.
        """
        parts = self.share * levels_a[self.evse]
        along = np.bincount(self.ceiling, weights=parts.real, minlength=count)
        across = np.bincount(self.ceiling, weights=parts.imag, minlength=count)
        return [complex(real, imag) for real, imag in zip(along.tolist(), across.tolist(), strict=True)]

    def reserves(self, starting_a: FloatArray, starts: int, count: int) -> FloatArray:
        """What is kept free under each ceiling, as if the greatest starts came in phase with the rest [kW or A].

        Args:
            starting_a: Current at which a vehicle could start at each plug; 0 where none could [A], shape (EVSEs,).
            starts: How many starts room is kept for under every ceiling: those that would weigh most.
            count: Number of ceilings.
        """
        weights = np.abs(self.share) * starting_a[self.evse]
        kept = np.zeros(count)
        if not starts or not weights.any():
            return kept
        if starts == 1:
            np.maximum.at(kept, self.ceiling, weights)
            return kept
        order = np.lexsort((-weights, self.ceiling))
        heads = np.split(weights[order], np.searchsorted(self.ceiling[order], np.arange(1, count)))
        return np.array([sum(head[:starts].tolist()) for head in heads], dtype=np.float64)


@dataclass(frozen=True)
class LoadPaths:
    """Which ceilings each EVSE loads, and by how much per ampere at the plug."""

    ceilings: tuple[Ceiling, ...]
    """The limits to keep."""
    feeders: Mapping[EvseId, Feeder]
    """How each EVSE loads them."""
    shares: LoadShares
    """By how much."""

    @classmethod
    def of(cls, site: Site, ceilings: Iterable[Ceiling], feeders: Mapping[EvseId, Feeder]) -> LoadPaths:
        """The paths of a site from its plugs to its ceilings."""
        listed = tuple(ceilings)
        return cls(listed, feeders, LoadShares.of(site, listed, feeders))

    def exceeded_by(self, levels_a: FloatArray, reserves: FloatArray) -> list[Ceiling]:
        """The ceilings that levels at the plugs exceed, with what is kept free under each [A], shape (EVSEs,)."""
        added = self.shares.sums(levels_a, len(self.ceilings))
        rows = zip(self.ceilings, added, reserves.tolist(), strict=True)
        return [one for one, load, reserve in rows if one.excess(one.base + load, reserve) > AMPERE_SLACK]


class LoadTally:
    """The sum of loads under every ceiling, kept up to date while levels change.

    Args:
        paths: From plugs to ceilings.
        levels_a: Current counted at each plug [A]; 0 where not named.
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
        levels = np.array([levels_a.get(evse_id, 0.0) for evse_id in paths.feeders], dtype=np.float64)
        starting = np.array([starting_a.get(evse_id, 0.0) for evse_id in paths.feeders], dtype=np.float64)
        self._count(paths, levels, paths.shares.reserves(starting, starts, len(paths.ceilings)))

    @classmethod
    def counted(cls, paths: LoadPaths, levels_a: FloatArray, reserves: FloatArray) -> LoadTally:
        """The same from arrays in the order of the feeders, with what is kept free already summed up."""
        tally = cls.__new__(cls)
        tally._count(paths, levels_a, reserves)
        return tally

    def _count(self, paths: LoadPaths, levels_a: FloatArray, reserves: FloatArray) -> None:
        self.ceilings = paths.ceilings
        self.feeders = paths.feeders
        self.levels_a: dict[EvseId, float] = dict(zip(paths.feeders, levels_a.tolist(), strict=True))
        self._shares = paths.shares.by_evse
        added = paths.shares.sums(levels_a, len(paths.ceilings))
        self._totals = [ceiling.base + load for ceiling, load in zip(paths.ceilings, added, strict=True)]
        self._reserves: list[float] = reserves.tolist()

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
