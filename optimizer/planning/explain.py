"""Why a vehicle's power is what it is: one binding reason for each session and slot, and the marginal prices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.domain.plan import BindingKind, BindingReason
from optimizer.domain.site import ALL_PHASES, LimitSource
from optimizer.planning.decision import (
    NEGLIGIBLE_KWH,
    Decision,
    delivered_kwh,
    net_import_kw,
    rows_of,
    session_power_kw,
    unserved_kwh,
)
from optimizer.planning.problem import LIMIT_SOURCES, BoolArray, ChargingProblem, FloatArray, IntArray

TIGHT_KW = 1e-3
"""Room below which a limit counts as binding: a watt."""
TIGHT_A = 0.01
"""The same for currents."""


APART = len(ALL_PHASES)
"""Number of the first phase among places of limits that bound a difference between phases."""
_PLACES = 2 * len(ALL_PHASES) + 1


@dataclass(frozen=True, eq=False)
class TightLimits:
    """Which limit binds for whom, by slot."""

    circuit: IntArray
    """Circuit of the binding limit, -1 for none, shape (sessions, slots)."""
    phase: IntArray
    """Its phase, -1 for a power limit, from ``APART`` one that is too far from another, shape (sessions, slots)."""
    source: IntArray
    """Who set it, a place in ``LIMIT_SOURCES``, shape (sessions, slots)."""
    room_kw: FloatArray
    """Power that the wires still carry for the session, shape (sessions, slots)."""


class ReasonTable:
    """Numbers reasons, so that arrays of numbers become tuples of shared reasons."""

    def __init__(self) -> None:
        self.reasons: list[BindingReason] = []
        self._number: dict[BindingReason, int] = {}

    def number(self, reason: BindingReason) -> int:
        """The number of a reason."""
        if reason not in self._number:
            self._number[reason] = len(self.reasons)
            self.reasons.append(reason)
        return self._number[reason]

    def rows(self, numbers: IntArray) -> tuple[tuple[BindingReason, ...], ...]:
        """The reasons of each session."""
        table = np.empty(len(self.reasons), dtype=object)
        table[:] = self.reasons
        return tuple(rows_of(table[numbers]))


def reasons_of(problem: ChargingProblem, decision: Decision) -> tuple[tuple[BindingReason, ...], ...]:
    """Return what binds, for each session one reason a slot.

    What is physical comes before what is chosen: not there, done, at a limit of its own, at a limit of the wires, below
    the minimum; then who goes first; then sun, peak and price.
    """
    table = ReasonTable()
    power = session_power_kw(problem, decision)
    tight = tight_limits(problem, decision)
    numbers = np.full(power.shape, table.number(BindingReason(BindingKind.PRICE)), dtype=np.int64)
    _mark(numbers, table, BindingKind.DEMAND_PEAK, _at_peak(problem, decision)[None, :])
    _mark(numbers, table, BindingKind.WAITING_FOR_PV, _waits_for_sun(problem, decision, power))
    _mark_tight(numbers, table, problem, tight)
    _mark(numbers, table, BindingKind.MINIMUM_CURRENT, _below_minimum(problem, decision, power, tight))
    _mark(numbers, table, BindingKind.PRIORITY, _after_others(problem, decision, power, tight))
    _mark(numbers, table, BindingKind.TAPER, _at_taper(problem, decision, power))
    at_most, by_vehicle = _at_own_limit(problem, power)
    _mark(numbers, table, BindingKind.CHARGER_LIMIT, at_most & ~by_vehicle, LimitSource.STATION)
    _mark(numbers, table, BindingKind.VEHICLE_LIMIT, at_most & by_vehicle, LimitSource.VEHICLE)
    _mark(numbers, table, BindingKind.TARGET_REACHED, _is_done(problem, decision) & (power <= TIGHT_KW))
    there = problem.sessions.plugged_h > 0
    _mark(numbers, table, BindingKind.NOT_YET_THERE, np.cumsum(there, axis=1) == 0)
    _mark(numbers, table, BindingKind.DEPARTURE_REACHED, ~there & (np.cumsum(there, axis=1) > 0))
    return table.rows(numbers)


def _mark(
    numbers: IntArray, table: ReasonTable, kind: BindingKind, where: BoolArray, source: LimitSource | None = None
) -> None:
    if where.any():
        numbers[np.broadcast_to(where, numbers.shape)] = table.number(BindingReason(kind, source=source))


def _mark_tight(numbers: IntArray, table: ReasonTable, problem: ChargingProblem, tight: TightLimits) -> None:
    # One number a kind of limit: telling rows of three apart takes far longer.
    kinds = (tight.circuit * _PLACES + tight.phase + 1) * len(LIMIT_SOURCES) + tight.source
    for number in np.unique(kinds[tight.circuit >= 0]).tolist():
        place, source = divmod(number, len(LIMIT_SOURCES))
        circuit, phase = place // _PLACES, place % _PLACES - 1
        origin = LIMIT_SOURCES[source]
        kind = BindingKind.SITE_LIMIT if circuit == 0 else BindingKind.CIRCUIT_LIMIT
        if origin is LimitSource.GRID_EVENT:
            kind = BindingKind.GRID_EVENT
        if phase >= APART:
            kind, phase = BindingKind.PHASE_IMBALANCE, phase - APART
        reason = BindingReason(kind, problem.circuits.ids[circuit], ALL_PHASES[phase] if phase >= 0 else None, origin)
        numbers[kinds == number] = table.number(reason)


def tight_limits(problem: ChargingProblem, decision: Decision) -> TightLimits:
    """Return for each session and slot the tightest limit of the wires above it, and the room it leaves."""
    shape = (problem.sessions.count, problem.slot_count)
    tight = TightLimits(np.full(shape, -1), np.full(shape, -1), np.zeros(shape, dtype=np.int64), np.full(shape, np.inf))
    circuits = problem.circuits
    net = session_power_kw(problem, decision) - decision.discharge_kw
    load_kw = problem.below_circuits(net)
    load_kw[0] += decision.battery_kw
    base_kw = np.array(circuits.uncontrolled_kw)
    base_kw[0] -= problem.supply.pv_firm_share * decision.pv_kw
    for circuit in range(circuits.count):
        below = circuits.above[circuit, problem.sessions.circuit]
        if np.isfinite(circuits.limit_kw[circuit]).any():
            room_kw = circuits.limit_kw[circuit] - base_kw[circuit] - load_kw[circuit]
            _tighten(tight, below, room_kw, (circuit, -1), circuits.limit_source[circuit], TIGHT_KW)
        if np.isfinite(circuits.controllable_limit_kw[circuit]).any():
            room_kw = circuits.controllable_limit_kw[circuit] - load_kw[circuit]
            _tighten(tight, below, room_kw, (circuit, -1), circuits.controllable_source[circuit], TIGHT_KW)
        if np.isfinite(circuits.limit_a[circuit]):
            _tighten_phases(problem, decision, tight, circuit)
        if np.isfinite(circuits.imbalance_limit_a[circuit]):
            _tighten_differences(problem, decision, tight, circuit)
    return tight


def _tighten_phases(problem: ChargingProblem, decision: Decision, tight: TightLimits, circuit: int) -> None:
    loading = np.flatnonzero(problem.mode_below[circuit])
    currents = np.einsum("mpa,mt->pat", problem.phase_current[loading], decision.power_kw[loading])
    below = problem.circuits.above[circuit, problem.sessions.circuit]
    fuse = np.full(problem.slot_count, LIMIT_SOURCES.index(LimitSource.FUSE))
    site_a = 1000.0 / (3.0 * problem.supply.phase_voltage_v) if circuit == 0 else 0.0
    for phase in range(3):
        lead, along, lag = currents[phase]
        along = along + problem.circuits.uncontrolled_a[circuit, phase]
        along = along + site_a * (decision.battery_kw - problem.supply.pv_firm_share * decision.pv_kw)
        magnitude = np.hypot(along + (lead + lag) * 0.75**0.5, (lead - lag) * 0.5)
        room_a = problem.circuits.limit_a[circuit] - magnitude
        session_a = problem.over_modes(np.maximum, problem.modes.on_phase[:, phase] * problem.modes.amps_per_kw)
        least_a = max(float(session_a[session_a > 0].min(initial=np.inf)), 1e-9)
        _tighten(tight, below & (session_a > 0), room_a / least_a, (circuit, phase), fuse, TIGHT_A / least_a)


def _tighten_differences(problem: ChargingProblem, decision: Decision, tight: TightLimits, circuit: int) -> None:
    """Note the room that the permitted difference between two phases leaves to those that would widen it."""
    loading, amps = np.flatnonzero(problem.mode_below[circuit]), problem.phase_current.sum(axis=2)
    total_a = problem.circuits.uncontrolled_a[circuit] + amps[loading].T @ decision.power_kw[loading]
    below = problem.circuits.above[circuit, problem.sessions.circuit]
    contract = np.full(problem.slot_count, LIMIT_SOURCES.index(LimitSource.CONTRACT))
    for phase in range(APART):
        following = (phase + 1) % APART
        for sign in (1.0, -1.0):
            widened_a = problem.over_modes(np.maximum, sign * (amps[:, phase] - amps[:, following]))
            least_a = float(widened_a[widened_a > 0].min(initial=np.inf))
            if not np.isfinite(least_a):
                continue
            room_a = problem.circuits.imbalance_limit_a[circuit] - sign * (total_a[phase] - total_a[following])
            place = (circuit, APART + (phase if sign > 0 else following))
            _tighten(tight, below & (widened_a > 0), room_a / least_a, place, contract, TIGHT_A / least_a)


def _tighten(
    tight: TightLimits, below: BoolArray, room_kw: FloatArray, place: tuple[int, int], source: IntArray, slack_kw: float
) -> None:
    """Note a limit's room for the sessions below it, and the limit itself where it binds."""
    rows = np.flatnonzero(below)
    held_kw = tight.room_kw[rows]
    closer = room_kw[None, :] < held_kw
    if not closer.any():
        return
    tight.room_kw[rows] = np.where(closer, room_kw[None, :], held_kw)
    binding = closer & (room_kw <= slack_kw)[None, :]
    if not binding.any():
        return
    for noted, value in ((tight.circuit, place[0]), (tight.phase, place[1]), (tight.source, source[None, :])):
        noted[rows] = np.where(binding, value, noted[rows])


def _at_own_limit(problem: ChargingProblem, power: FloatArray) -> tuple[BoolArray, BoolArray]:
    """Where a session draws the most that EVSE and vehicle permit, and where the vehicle is the one."""
    most = problem.over_modes(np.maximum, problem.modes.max_kw)
    by_vehicle = problem.over_modes(np.logical_or, problem.modes.vehicle_bound)
    return np.asarray((problem.sessions.plugged_h > 0) & (power >= most - TIGHT_KW)), by_vehicle


def _is_done(problem: ChargingProblem, decision: Decision) -> BoolArray:
    """Where a session has all it needs at the slot's start, shape (sessions, slots)."""
    need = np.zeros(problem.sessions.count)
    np.maximum.at(need, problem.targets.session, problem.targets.need_kwh)
    return np.asarray(delivered_kwh(problem, decision)[:, :-1] >= need[:, None] - NEGLIGIBLE_KWH)


def _at_taper(problem: ChargingProblem, decision: Decision, power: FloatArray) -> BoolArray:
    """Where the acceptance above the knee is what limits, shape (sessions, slots)."""
    sessions = problem.sessions
    knees = np.isfinite(sessions.knee_kwh) & (sessions.knee_kwh < sessions.capacity_kwh)
    if not knees.any():
        return np.zeros(power.shape, dtype=bool)
    content = sessions.stored_kwh[:, None] + delivered_kwh(problem, decision) * sessions.charge_efficiency[:, None]
    band = np.where(knees, sessions.capacity_kwh - np.where(knees, sessions.knee_kwh, 0.0), 1.0)
    slope = sessions.knee_kw / band
    reach = np.maximum((slope * sessions.charge_efficiency)[:, None] * sessions.plugged_h, 1e-12)
    accepted = slope[:, None] * -np.expm1(-reach) / reach * (sessions.capacity_kwh[:, None] - content[:, :-1])
    return np.asarray(knees[:, None] & (sessions.plugged_h > 0) & (power >= accepted - TIGHT_KW))


def _below_minimum(problem: ChargingProblem, decision: Decision, power: FloatArray, tight: TightLimits) -> BoolArray:
    """Where a session gets nothing because what the wires leave is less than its minimum."""
    del decision
    least = problem.over_modes(np.minimum, np.where(problem.usable, problem.modes.min_kw, np.inf))
    return np.asarray((power <= TIGHT_KW) & (tight.room_kw < least) & (tight.room_kw > TIGHT_KW) & np.isfinite(least))


def _after_others(problem: ChargingProblem, decision: Decision, power: FloatArray, tight: TightLimits) -> BoolArray:
    """Where a session misses energy, the wires are full, and a vehicle of a higher tier draws from them."""
    missing = np.zeros(problem.sessions.count, dtype=bool)
    missing[problem.targets.session[unserved_kwh(problem, decision) > NEGLIGIBLE_KWH]] = True
    if not missing.any():
        return np.zeros(power.shape, dtype=bool)
    tiers = problem.sessions.tier
    best = np.where(power > TIGHT_KW, tiers[:, None], np.iinfo(np.int64).max).min(axis=0)
    return np.asarray(missing[:, None] & (tight.circuit >= 0) & (best[None, :] < tiers[:, None]))


def _at_peak(problem: ChargingProblem, decision: Decision) -> BoolArray:
    """Slots whose metering interval sets the planned peak above what is reached, shape (slots,)."""
    demand = problem.demand
    if not demand.count:
        return np.zeros(problem.slot_count, dtype=bool)
    means = demand.slot_share @ np.maximum(net_import_kw(problem, decision), 0.0) + demand.metered_kw
    peak = np.array(demand.reached_kw)
    np.maximum.at(peak, demand.charge, means)
    at_peak = (means >= peak[demand.charge] - TIGHT_KW) & (demand.price_per_kw[demand.charge] > 0)
    return np.asarray((demand.slot_share[at_peak] > 0).any(axis=0))


def _waits_for_sun(problem: ChargingProblem, decision: Decision, power: FloatArray) -> BoolArray:
    """Where a session does not charge and its next charging falls into a slot with surplus or PV-covered load."""
    if not problem.supply.pv_kw.any():
        return np.zeros(power.shape, dtype=bool)
    sunny = decision.pv_kw >= problem.circuits.uncontrolled_kw[0] + TIGHT_KW
    runs = power > TIGHT_KW
    slots = np.arange(problem.slot_count)
    following = np.where(runs, slots, problem.slot_count)
    following = np.minimum.accumulate(following[:, ::-1], axis=1)[:, ::-1]
    next_sunny = np.append(sunny, False)[following]
    return np.asarray(~runs & next_sunny & ~sunny[None, :])
