"""The one input of laws, heuristics and checker: read-only arrays over sessions, modes, circuits and slots.

Axes, in this order wherever they occur: sessions ``s``, modes ``m``, targets ``k``, circuits ``c``, phases ``p``
(L1, L2, L3), slots ``t``, boundaries ``b`` (one more than slots). A mode is one way in which a session can draw power:
nearly every session has one; where phases are switchable it has a three-phase and a one-phase mode.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.domain.ids import CircuitId, EvseId, SessionId, SiteId
from optimizer.domain.moment import require_utc
from optimizer.domain.site import LimitSource
from optimizer.errors import InvalidInput
from optimizer.planning.arrays import axes_of, freeze

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

LIMIT_SOURCES = tuple(LimitSource)
"""A limit's source is stored as its place in this tuple."""

SQRT3_LESS_1 = 3.0**0.5 - 1.0
"""Slope of the two facets that keep the sum of currents at +30 and -30 degrees within a circle, from inside."""

NO_NEED_KWH = 1e-6
"""Need that counts as none: it is below what a solver tells from zero [kWh]."""

WHOLE_SLOT_H = 1e-6
"""A vehicle that is plugged in for all of a slot but this counts as there all the time; rounding takes as much [h]."""

LATER_SHARE = 0.5
"""Share of a vehicle's full power that it is taken to get after the horizon, where others will want power as well."""


@dataclass(frozen=True, eq=False)
class SessionArrays:
    """Vehicles present and reserved ones to come."""

    ids: tuple[SessionId, ...]
    """Which session; a reservation's id for a vehicle still to come."""
    evse_ids: tuple[EvseId, ...]
    """At which EVSE."""
    circuit: IntArray = field(metadata=axes_of("s"))
    """Index of the circuit that feeds the EVSE."""
    tier: IntArray = field(metadata=axes_of("s"))
    """Priority tier; smaller goes first."""
    arrive_h: FloatArray = field(metadata=axes_of("s"))
    """When it came or will come, from now; negative in the past [h]."""
    plugged_h: FloatArray = field(metadata=axes_of("st", low=0.0))
    """Part of the slot for which the vehicle is there [h]."""
    most_kwh: FloatArray = field(metadata=axes_of("s", low=0.0))
    """Greatest energy to plan from now on, at the meter [kWh]."""
    delivered_kwh: FloatArray = field(metadata=axes_of("s", low=0.0))
    """Metered energy since plug-in [kWh]."""
    stay_chance: FloatArray = field(metadata=axes_of("st", low=0.0, high=1.0))
    """Chance that the vehicle is still there in the slot; 1 where the stated departure is trusted."""
    guaranteed_kw: FloatArray = field(metadata=axes_of("s", low=0.0))
    """Power promised from plug-in until the promised energy is delivered [kW]; 0: none."""
    guaranteed_kwh: FloatArray = field(metadata=axes_of("s", low=0.0))
    """Energy for which the power is promised, from now on [kWh]."""
    stored_kwh: FloatArray = field(metadata=axes_of("s", low=0.0))
    """Energy in the vehicle's battery now [kWh]; 0 where it is not modelled."""
    capacity_kwh: FloatArray = field(metadata=axes_of("s", low=0.0))
    """Usable energy of the vehicle's battery [kWh]; 0 where it is not modelled."""
    charge_efficiency: FloatArray = field(metadata=axes_of("s", low=0.01, high=1.0))
    """Stored over metered energy."""
    knee_kwh: FloatArray = field(metadata=axes_of("s", low=0.0, endless=True))
    """Content above which acceptance falls linearly to zero at capacity [kWh]; +inf: no taper."""
    knee_kw: FloatArray = field(metadata=axes_of("s", low=0.0))
    """Power accepted at the knee, at the meter [kW]."""
    most_discharge_kw: FloatArray = field(metadata=axes_of("s", low=0.0))
    """Greatest discharging power with the driver's consent, at the meter [kW]; 0: none."""
    discharge_efficiency: FloatArray = field(metadata=axes_of("s", low=0.01, high=1.0))
    """Metered over drawn energy when discharging."""
    discharge_floor_kwh: FloatArray = field(metadata=axes_of("s", low=0.0))
    """Content below which it is never discharged [kWh]."""
    discharge_wear_per_kwh: FloatArray = field(metadata=axes_of("s", low=0.0))
    """Price of wear for each kWh discharged [currency/kWh]."""
    charging_now: BoolArray = field(metadata=axes_of("s"))
    """Whether it is charging at this instant."""
    run_so_far_h: FloatArray = field(metadata=axes_of("s", low=0.0))
    """How long it has been charging without a pause [h]."""
    starts_left: IntArray = field(metadata=axes_of("s"))
    """Starts still permitted in the horizon; a vehicle that does not wake after a pause has few."""
    previous_kw: FloatArray = field(metadata=axes_of("st"))
    """Power of the plan in force [kW]; 0 where there is none."""
    has_previous: BoolArray = field(metadata=axes_of("st"))
    """Where the plan in force says something."""

    @property
    def count(self) -> int:
        """Number of sessions."""
        return len(self.ids)

    @cached_property
    def has_state(self) -> BoolArray:
        """Sessions whose stored energy is followed slot by slot: taper or discharging, shape (sessions,)."""
        return np.asarray((self.capacity_kwh > 0) & (np.isfinite(self.knee_kwh) | (self.most_discharge_kw > 0)))


@dataclass(frozen=True, eq=False)
class ModeArrays:
    """Ways in which sessions can draw power."""

    session: IntArray = field(metadata=axes_of("m"))
    """Index of the session, rising."""
    on_phase: BoolArray = field(metadata=axes_of("mp"))
    """Supply phases it loads."""
    line_to_line: BoolArray = field(metadata=axes_of("m"))
    """Whether it draws between two lines rather than against the neutral."""
    amps_per_kw: FloatArray = field(metadata=axes_of("m", low=0.0))
    """Current in each loaded conductor per kW [A/kW]."""
    min_kw: FloatArray = field(metadata=axes_of("mt", low=0.0))
    """Least mean power of the slot that is not zero [kW]."""
    max_kw: FloatArray = field(metadata=axes_of("mt", low=0.0))
    """Greatest power [kW]; 0 where the mode cannot run."""
    step_kw: FloatArray = field(metadata=axes_of("m", low=0.0))
    """Granularity of the power that the station obeys [kW]; 0: continuous."""
    vehicle_bound: BoolArray = field(metadata=axes_of("mt"))
    """Whether the vehicle, not the EVSE, sets ``max_kw``."""

    @property
    def count(self) -> int:
        """Number of modes."""
        return len(self.session)


@dataclass(frozen=True, eq=False)
class TargetArrays:
    """Departure targets, all soft."""

    session: IntArray = field(metadata=axes_of("k"))
    """Index of the session."""
    depart_at: tuple[datetime, ...]
    """By when [UTC]."""
    need_kwh: FloatArray = field(metadata=axes_of("k", low=0.0))
    """Energy still needed by then, at the meter, from now on [kWh]."""
    later_kwh: FloatArray = field(metadata=axes_of("k", low=0.0))
    """Part of it that can wait until after the horizon [kWh]."""
    counted_h: FloatArray = field(metadata=axes_of("kt", low=0.0))
    """Part of the slot in which the vehicle is there and the target not yet due [h]."""

    @property
    def count(self) -> int:
        """Number of targets."""
        return len(self.depart_at)

    @cached_property
    def due_kwh(self) -> FloatArray:
        """Energy that this plan is to deliver [kWh], shape (targets,)."""
        due = self.need_kwh - self.later_kwh
        return np.where(due > NO_NEED_KWH, due, 0.0)


@dataclass(frozen=True, eq=False)
class CircuitArrays:
    """The tree of fuses; index 0 is the root, which carries the grid connection."""

    ids: tuple[CircuitId, ...]
    """Names."""
    parent: IntArray = field(metadata=axes_of("c"))
    """Index of the circuit above; -1 for the root; smaller than the own index."""
    limit_a: FloatArray = field(metadata=axes_of("c", low=0.0, endless=True))
    """Greatest current on each phase [A]; +inf: none."""
    imbalance_limit_a: FloatArray = field(metadata=axes_of("c", low=0.0, endless=True))
    """Greatest difference between any two phases [A]; +inf: none."""
    limit_kw: FloatArray = field(metadata=axes_of("ct", low=0.0, endless=True))
    """Greatest power into the circuit, uncontrolled load included [kW]; +inf: none."""
    limit_source: IntArray = field(metadata=axes_of("ct"))
    """Who set ``limit_kw``, a place in ``LIMIT_SOURCES``."""
    controllable_limit_kw: FloatArray = field(metadata=axes_of("ct", low=0.0, endless=True))
    """Greatest sum of vehicles and battery in the circuit [kW]; +inf: none."""
    controllable_source: IntArray = field(metadata=axes_of("ct"))
    """Who set ``controllable_limit_kw``."""
    feed_limit_kw: FloatArray = field(metadata=axes_of("ct", low=0.0, endless=True))
    """Greatest power out of the circuit, at the root the export [kW]; +inf: none."""
    feed_source: IntArray = field(metadata=axes_of("ct"))
    """Who set ``feed_limit_kw``."""
    uncontrolled_kw: FloatArray = field(metadata=axes_of("ct"))
    """Load on the circuit and below that the plan does not decide, building included, PV not [kW]."""
    uncontrolled_a: FloatArray = field(metadata=axes_of("cpt", low=0.0))
    """The same per phase [A]."""

    @property
    def count(self) -> int:
        """Number of circuits."""
        return len(self.ids)

    @cached_property
    def above(self) -> BoolArray:
        """Whether circuit ``c`` is circuit ``x`` or feeds it, shape (circuits c, circuits x)."""
        matrix = np.eye(self.count, dtype=bool)
        for index in range(1, self.count):
            matrix[:, index] |= matrix[:, self.parent[index]]
        return matrix


@dataclass(frozen=True, eq=False)
class SupplyArrays:
    """Building, PV, prices and what a grid event asks of the whole site."""

    building_kw: FloatArray = field(metadata=axes_of("t"))
    """Expected building load, part of the root's uncontrolled load [kW]."""
    pv_kw: FloatArray = field(metadata=axes_of("t", low=0.0))
    """Expected PV power [kW]."""
    import_price_per_kwh: FloatArray = field(metadata=axes_of("t"))
    """Price of import, grid-event prices included [currency/kWh]."""
    export_price_per_kwh: FloatArray = field(metadata=axes_of("t"))
    """Paid for export [currency/kWh]."""
    carbon_kg_per_kwh: FloatArray = field(metadata=axes_of("t"))
    """Marginal emissions of import [kg/kWh]."""
    setpoint_kw: FloatArray = field(metadata=axes_of("t"))
    """Net import to keep where ``has_setpoint`` [kW]."""
    has_setpoint: BoolArray = field(metadata=axes_of("t"))
    """Where a setpoint is asked for."""
    pv_curtailable: bool = False
    """Whether PV may be reduced."""
    pv_firm_share: float = 0.0
    """Share of the PV that may relieve limits."""
    phase_voltage_v: float = 230.0
    """Voltage to neutral at the connection, for loads that are known in kW only [V]."""


@dataclass(frozen=True, slots=True)
class BatteryState:
    """The stationary battery; a content outside its band is met by bending the band, never by refusing."""

    content_kwh: float
    """Energy in it now [kWh]."""
    capacity_kwh: float
    """Usable energy between 0 and 1 soc [kWh]."""
    min_kwh: float
    """Lowest permitted content [kWh]."""
    max_kwh: float
    """Highest permitted content [kWh]."""
    max_charge_kw: float
    """Greatest charging power [kW]."""
    max_discharge_kw: float
    """Greatest discharging power [kW]."""
    charge_efficiency: float = 0.95
    """Stored over charged energy."""
    discharge_efficiency: float = 0.95
    """Delivered over drawn energy."""
    wear_per_kwh: float = 0.0
    """Cost of wear per kWh discharged [currency/kWh]."""
    end_price_per_kwh: float = 0.0
    """Worth of energy left at the end [currency/kWh]."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0 <= value < np.inf and item.name != "end_price_per_kwh":
                raise InvalidInput(f"battery.{item.name}", value, "give a number from 0 up")
        for name in ("charge_efficiency", "discharge_efficiency"):
            if not 0 < getattr(self, name) <= 1:
                raise InvalidInput(f"battery.{name}", getattr(self, name), "give a number above 0, at most 1")
        if not self.min_kwh <= self.max_kwh <= self.capacity_kwh + 1e-9:
            raise InvalidInput("battery.max_kwh", self.max_kwh, f"must be in [{self.min_kwh}, {self.capacity_kwh}]")


@dataclass(frozen=True, eq=False)
class DemandArrays:
    """Demand charges and the metering intervals that count for them."""

    names: tuple[str, ...]
    """Name of each charge."""
    price_per_kw: FloatArray = field(metadata=axes_of("d", low=0.0))
    """What a further kW costs the plan [currency/kW]."""
    reached_kw: FloatArray = field(metadata=axes_of("d", low=0.0))
    """Peak so far, or the hint where it is greater; up to here a peak costs nothing more [kW]."""
    charge: IntArray = field(metadata=axes_of("i"))
    """Charge of each metering interval."""
    slot_share: FloatArray = field(metadata=axes_of("it", low=0.0))
    """Part of the metering interval that the slot's mean import fills."""
    metered_kw: FloatArray = field(metadata=axes_of("i", low=0.0))
    """Part of the interval's mean that is metered already, or expected of vehicles still to come [kW]."""

    @property
    def count(self) -> int:
        """Number of charges."""
        return len(self.names)


@dataclass(frozen=True, eq=False)
class ChargingProblem:
    """Everything that planning knows; see the module's text for the axes.

    Raises:
        InvalidInput: A shape, range or reference is wrong; the text names field, value and fix.
    """

    site_id: SiteId
    """Which site."""
    boundaries: tuple[datetime, ...]
    """N+1 instants, the first is now [UTC]."""
    sessions: SessionArrays
    """Vehicles."""
    modes: ModeArrays
    """Ways in which they draw power."""
    targets: TargetArrays
    """What they need."""
    circuits: CircuitArrays
    """The tree of fuses."""
    supply: SupplyArrays
    """Building, PV, prices."""
    demand: DemandArrays
    """Demand charges."""
    battery: BatteryState | None = None
    """Stationary battery, where there is one."""
    carbon_price_per_kg: float = 0.0
    """Price of emitted carbon dioxide beside money [currency/kg]."""
    setpoint_price_per_kwh: float = 1.0
    """Price of each kWh by which a setpoint is missed [currency/kWh]."""
    energy_worth_per_kwh: float = 0.0
    """What a kWh is worth to a driver who leaves early [currency/kWh]."""
    delay_price_per_kwh_h: float = 0.0
    """What an hour's delay of a kWh costs the plan [currency/kWh/h]."""
    start_price: float = 0.0
    """What one start of a vehicle costs the plan [currency]."""
    min_run_h: float = 0.0
    """Least time a vehicle charges once started, on near slots [h]."""

    def __post_init__(self) -> None:
        utc = tuple(require_utc("boundaries", boundary) for boundary in self.boundaries)
        object.__setattr__(self, "boundaries", utc)
        if len(utc) < 2 or any(later <= earlier for earlier, later in pairwise(utc)):
            raise InvalidInput("boundaries", len(utc), "give two or more rising instants")
        sizes = {
            "t": len(utc) - 1,
            "p": 3,
            "s": self.sessions.count,
            "m": self.modes.count,
            "k": self.targets.count,
            "c": self.circuits.count,
            "d": self.demand.count,
            "i": len(self.demand.charge),
        }
        for place in ("sessions", "modes", "targets", "circuits", "supply", "demand"):
            freeze(getattr(self, place), f"{place}.", sizes)
        _check_references(self)

    @property
    def slot_count(self) -> int:
        """Number of slots."""
        return len(self.boundaries) - 1

    @property
    def now(self) -> datetime:
        """The first boundary [UTC]."""
        return self.boundaries[0]

    @cached_property
    def slot_h(self) -> FloatArray:
        """Length of each slot [h], shape (slots,)."""
        return np.array([(later - earlier) / timedelta(hours=1) for earlier, later in pairwise(self.boundaries)])

    @cached_property
    def slot_start_h(self) -> FloatArray:
        """Distance of each slot's start from now [h], shape (slots,)."""
        return np.concatenate(([0.0], np.cumsum(self.slot_h)[:-1]))

    @cached_property
    def energy_h(self) -> FloatArray:
        """Hours of energy for each mode and slot, that of its session [h], shape (modes, slots)."""
        return np.asarray(self.sessions.plugged_h[self.modes.session])

    @cached_property
    def usable(self) -> BoolArray:
        """Where a mode can run at all, shape (modes, slots)."""
        return np.asarray((self.modes.max_kw > 0) & (self.energy_h > 0))

    @cached_property
    def mode_count_of(self) -> IntArray:
        """Number of modes of each session, shape (sessions,)."""
        return np.bincount(self.modes.session, minlength=self.sessions.count)

    @cached_property
    def first_mode(self) -> IntArray:
        """Index of each session's first mode, shape (sessions,)."""
        return np.searchsorted(self.modes.session, np.arange(self.sessions.count))

    def over_modes(self, combine: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
        """Combine the values of each session's modes, along the first axis, by ``np.add``, ``np.maximum`` and such."""
        if self.modes.count == self.sessions.count:
            return values
        return np.asarray(combine.reduceat(values, self.first_mode, axis=0))

    @cached_property
    def most_power_kw(self) -> FloatArray:
        """Greatest power of each mode, 0 where it cannot run [kW], shape (modes, slots)."""
        return np.where(self.usable, self.modes.max_kw, 0.0)

    @cached_property
    def greatest_vehicles_kw(self) -> FloatArray:
        """Sum of the greatest powers of all modes below each circuit [kW], shape (circuits, slots)."""
        return self.below_circuits(self.over_modes(np.add, self.most_power_kw))

    def below_circuits(self, values: FloatArray) -> FloatArray:
        """Sum of the values of all sessions below each circuit, (sessions, slots) to (circuits, slots)."""
        # By runs of equal circuits and from leaf to root: a matrix product would start BLAS' threads for it.
        order = np.argsort(self.sessions.circuit, kind="stable")
        feeders, starts = np.unique(self.sessions.circuit[order], return_index=True)
        sums = np.zeros((self.circuits.count, values.shape[1]))
        sums[feeders] = np.add.reduceat(values[order], starts, axis=0)
        for circuit in range(self.circuits.count - 1, 0, -1):
            sums[self.circuits.parent[circuit]] += sums[circuit]
        return sums

    @cached_property
    def haste(self) -> FloatArray:
        """How much a delay of each session weighs, from 1 to 2, who leaves first most, shape (sessions,).

        Equal weights would let vehicles that share a wire take turns at random, slot by slot; with an order each is
        served in one go.
        """
        there = self.sessions.plugged_h > 0
        last = self.slot_count - 1 - there[:, ::-1].argmax(axis=1) if self.sessions.count else np.zeros(0, dtype=int)
        leaves_h = self.slot_start_h[last] + self.sessions.plugged_h[np.arange(self.sessions.count), last]
        rank = np.empty(self.sessions.count)
        rank[np.argsort(leaves_h, kind="stable")] = np.arange(self.sessions.count)
        return 2.0 - rank / max(self.sessions.count, 1)

    @cached_property
    def phase_current(self) -> FloatArray:
        """Current per kW on each phase, split by its angle to that phase's voltage [A/kW].

        Shape (modes, phases, 3); last axis: at +30 degrees, in phase, at -30 degrees. A load between two lines leads
        on the first and lags on the second of L1-L2, L2-L3, L3-L1.
        """
        current = np.zeros((self.modes.count, 3, 3))
        for phase in range(3):
            on = self.modes.on_phase[:, phase]
            leads = on & self.modes.on_phase[:, (phase + 1) % 3]
            between = self.modes.line_to_line
            current[:, phase, 1] = np.where(on & ~between, self.modes.amps_per_kw, 0.0)
            current[:, phase, 0] = np.where(leads & between, self.modes.amps_per_kw, 0.0)
            current[:, phase, 2] = np.where(on & ~leads & between, self.modes.amps_per_kw, 0.0)
        return current

    @cached_property
    def mode_below(self) -> BoolArray:
        """Whether a mode's EVSE hangs below a circuit, shape (circuits, modes)."""
        return np.asarray(self.circuits.above[:, self.sessions.circuit[self.modes.session]])


def _check_references(problem: ChargingProblem) -> None:
    sessions, circuits = problem.sessions, problem.circuits
    if len(sessions.evse_ids) != sessions.count or len(set(sessions.ids)) != sessions.count:
        raise InvalidInput("sessions.ids", sessions.ids, "give every session its own id and one EVSE each")
    if not circuits.count or circuits.parent[0] != -1 or (circuits.parent[1:] >= np.arange(1, circuits.count)).any():
        raise InvalidInput(
            "circuits.parent", circuits.parent.tolist(), "put the root first and parents before children"
        )
    if (circuits.parent[1:] < 0).any():
        raise InvalidInput("circuits.parent", circuits.parent.tolist(), "only the first circuit has no parent")
    _check_index("sessions.circuit", sessions.circuit, circuits.count)
    _check_index("modes.session", problem.modes.session, sessions.count)
    _check_index("targets.session", problem.targets.session, sessions.count)
    _check_index("demand.charge", problem.demand.charge, problem.demand.count)
    for name in ("limit_source", "controllable_source", "feed_source"):
        _check_index(f"circuits.{name}", getattr(circuits, name), len(LIMIT_SOURCES))
    if (np.diff(problem.modes.session) < 0).any() or (problem.mode_count_of == 0).any():
        raise InvalidInput("modes.session", problem.modes.session.tolist(), "give each session a mode, in rising order")
    late = sessions.plugged_h > problem.slot_h + 1e-9
    if late.any():
        place = np.argwhere(late)[0]
        raise InvalidInput(
            f"sessions.plugged_h[{place[0]}, {place[1]}]",
            float(sessions.plugged_h[tuple(place)]),
            f"must not exceed the slot's {problem.slot_h[place[1]]:g} h",
        )
    if not 0 <= problem.supply.pv_firm_share <= 1:
        raise InvalidInput("supply.pv_firm_share", problem.supply.pv_firm_share, "give a number from 0 to 1")


def _check_index(name: str, values: IntArray, count: int) -> None:
    if values.size and (values.min() < 0 or values.max() >= count):
        raise InvalidInput(name, values.tolist(), f"give indices from 0 to {count - 1}")
