"""Laws of the wires: what the grid connection and each fuse carry.

A limit that the uncontrolled load alone already violates gets a column of excess, so that no meter reading can make
the problem infeasible; everywhere else the limit is hard. A row that no plan could violate is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.planning.model import Block, ModelBuilder
from optimizer.planning.problem import SQRT3_LESS_1, BoolArray, ChargingProblem, FloatArray, IntArray
from optimizer.planning.scope import ModelScope

PHASES = 3


def firm_pv_kw(problem: ChargingProblem) -> FloatArray:
    """PV that relieves limits without any plan, less what an export limit curtails then [kW], shape (slots,)."""
    kept = problem.supply.pv_kw
    if problem.supply.pv_curtailable:
        kept = np.minimum(
            kept, np.maximum(0.0, problem.circuits.uncontrolled_kw[0] + problem.circuits.feed_limit_kw[0])
        )
    return np.asarray(problem.supply.pv_firm_share * kept)


def load_rows(problem: ChargingProblem) -> BoolArray:
    """Where a circuit's power limit could be exceeded by some plan, shape (circuits, slots)."""
    most_kw = problem.greatest_vehicles_kw + problem.circuits.uncontrolled_kw
    if problem.battery:
        most_kw[0] += problem.battery.max_charge_kw
    return np.asarray(np.isfinite(problem.circuits.limit_kw) & (most_kw > problem.circuits.limit_kw))


def grid_limit(build: ModelBuilder, problem: ChargingProblem, scope: ModelScope) -> None:
    """State that import and export stay within connection, contract and grid-event limits.

    Row ``import_limit[t]``: vehicles and battery and uncontrolled load, less the firm share of PV, less
    ``import_excess_kw[t]``, are at most ``limit_kw[root,t]``. The power while plugged in counts, not its mean, so the
    limit holds at every instant.
    Row ``export_limit[t]``: ``grid_export_kw - export_excess_kw <= feed_limit_kw[root,t]``.
    Row ``controllable_limit[root,t]``: vehicles and battery are at most ``controllable_limit_kw[root,t]``.
    """
    del scope
    circuits = problem.circuits
    base_kw = circuits.uncontrolled_kw[0] - (0.0 if problem.supply.pv_curtailable else firm_pv_kw(problem))
    slots = np.flatnonzero(load_rows(problem)[0])
    rows = build.add_rows("import_limit", "t", (slots,), -np.inf, (circuits.limit_kw[0] - base_kw)[slots])
    row_of = _row_of_slot(rows, problem)
    _circuit_entries(build, problem, 0, row_of, out=True)
    if problem.supply.pv_curtailable and problem.supply.pv_firm_share > 0:
        _slot_entries(build, "pv_kw", row_of, -problem.supply.pv_firm_share)
    least_kw = circuits.uncontrolled_kw[0] - firm_pv_kw(problem)
    _excess(build, "import_excess_kw", rows, (least_kw - circuits.limit_kw[0])[slots], -1.0)
    _export_limit(build, problem)
    _controllable_limit(build, problem, np.array([0]), "controllable_limit")


def _export_limit(build: ModelBuilder, problem: ChargingProblem) -> None:
    (slot,) = build.columns["grid_export_kw"].keys
    feed_kw = problem.circuits.feed_limit_kw[0]
    bound = slot[feed_kw[slot] < np.inf]
    rows = build.add_rows("export_limit", "t", (bound,), -np.inf, feed_kw[bound])
    _slot_entries(build, "grid_export_kw", _row_of_slot(rows, problem), 1.0)
    fixed_pv_kw = 0.0 if problem.supply.pv_curtailable else problem.supply.pv_kw
    beyond_kw = fixed_pv_kw - problem.circuits.uncontrolled_kw[0] - feed_kw
    _excess(build, "export_excess_kw", rows, beyond_kw[bound], -1.0)


def _row_of_slot(rows: Block, problem: ChargingProblem) -> IntArray:
    return rows.grid(problem.slot_count)


def _slot_entries(build: ModelBuilder, name: str, row_of: IntArray, value: float) -> None:
    """Put ``value`` of each slot's column ``name`` into the slot's row."""
    block = build.columns.get(name)
    if block is None:
        return
    row = row_of[block.keys[0]]
    build.add_entries(row[row >= 0], block.indices[row >= 0], value)


def _excess(build: ModelBuilder, name: str, rows: Block, beyond: FloatArray, value: float) -> None:
    """Add an excess column to the rows that are violated without any plan, up to that violation."""
    needed = beyond > 0
    if not needed.any():
        return
    keys = tuple(key[needed] for key in rows.keys)
    excess = build.add_columns(name, rows.axes, keys, 0.0, beyond[needed])
    build.add_entries(rows.indices[needed], excess.indices, value)


def _circuit_entries(
    build: ModelBuilder,
    problem: ChargingProblem,
    circuit: int,
    row_of: IntArray,
    *,
    out: bool,
    weight: FloatArray | None = None,
    site_weight: float = 1.0,
) -> None:
    """Put the load below ``circuit`` into the rows by slot.

    Args:
        build: The model so far.
        problem: The problem.
        circuit: Which circuit.
        row_of: Row of each slot, -1 for none.
        out: Whether discharging counts against charging.
        weight: Coefficient of each mode; ``None``: 1.
        site_weight: Coefficient of the stationary battery at the root.
    """
    mode_weight = problem.mode_below[circuit] * (1.0 if weight is None else weight)
    power, discharge = build.columns["power_kw"], build.columns["discharge_kw"]
    mode, slot = power.keys
    row = row_of[slot]
    held = (row >= 0) & (mode_weight[mode] != 0)
    build.add_entries(row[held], power.indices[held], mode_weight[mode[held]])
    if out:
        vehicle, slot = discharge.keys
        row = row_of[slot]
        vehicle_weight = mode_weight[problem.first_mode][vehicle]
        held = (row >= 0) & (vehicle_weight != 0)
        build.add_entries(row[held], discharge.indices[held], -vehicle_weight[held])
    if circuit == 0:
        _slot_entries(build, "battery_charge_kw", row_of, site_weight)
        if out:
            _slot_entries(build, "battery_discharge_kw", row_of, -site_weight)


def _controllable_limit(build: ModelBuilder, problem: ChargingProblem, circuits: IntArray, name: str) -> None:
    limit_kw = problem.circuits.controllable_limit_kw
    most_kw = np.array(problem.greatest_vehicles_kw)
    if problem.battery:
        most_kw[0] += problem.battery.max_charge_kw
    where = np.isfinite(limit_kw) & (most_kw > limit_kw)
    chosen = np.zeros(problem.circuits.count, dtype=bool)
    chosen[circuits] = True
    circuit, slot = np.nonzero(where & chosen[:, None])
    if not len(slot):
        return
    rows = build.add_rows(name, "ct", (circuit, slot), -np.inf, limit_kw[circuit, slot])
    row_of = rows.grid(problem.circuits.count, problem.slot_count)
    for index in np.unique(circuit).tolist():
        _circuit_entries(build, problem, index, row_of[index], out=True)


def circuit_limit(build: ModelBuilder, problem: ChargingProblem, scope: ModelScope) -> None:
    """State that each fuse, on each phase, carries no more than its amperes, and each circuit no more than its power.

    Row ``circuit_kw[c,t]``: load below ``c``, uncontrolled load included, less ``circuit_excess_kw``, is at most
    ``limit_kw[c,t]``; row ``circuit_feed[c,t]``: what flows out is at most ``feed_limit_kw[c,t]``; row
    ``circuit_controllable[c,t]`` as at the root.
    Row ``circuit_limit[c,p,t,f]``: current on phase p, less ``phase_excess_a``, is at most ``limit_a[c]``. Loads
    between two lines are at +30 and -30 degrees to the phase; facet f takes one of them whole and the other with
    sqrt(3) - 1, so that both facets together lie inside the circle of the true sum, and touch it where both are equal.
    """
    del scope
    circuits = problem.circuits
    below_root = load_rows(problem)
    below_root[0] = False
    circuit, slot = np.nonzero(below_root)
    room_kw = circuits.limit_kw - circuits.uncontrolled_kw
    rows = build.add_rows("circuit_kw", "ct", (circuit, slot), -np.inf, room_kw[circuit, slot])
    row_of = rows.grid(circuits.count, problem.slot_count)
    for index in np.unique(circuit).tolist():
        _circuit_entries(build, problem, index, row_of[index], out=True)
    _excess(build, "circuit_excess_kw", rows, -room_kw[circuit, slot], -1.0)
    _circuit_feed(build, problem)
    _controllable_limit(build, problem, np.arange(1, circuits.count), "circuit_controllable")
    _current_rows(build, problem)


def _circuit_feed(build: ModelBuilder, problem: ChargingProblem) -> None:
    """Rows for what flows out of a circuit below the root; only discharging vehicles can make it flow."""
    if not problem.sessions.most_discharge_kw.any():
        return
    most_out_kw = problem.circuits.above @ _discharge_by_circuit(problem)
    feed_kw, load_kw = problem.circuits.feed_limit_kw, problem.circuits.uncontrolled_kw
    where = np.isfinite(feed_kw) & (most_out_kw - load_kw > feed_kw)
    where[0] = False
    circuit, slot = np.nonzero(where)
    rows = build.add_rows("circuit_feed", "ct", (circuit, slot), -(feed_kw + load_kw)[circuit, slot], np.inf)
    row_of = rows.grid(problem.circuits.count, problem.slot_count)
    for index in np.unique(circuit).tolist():
        _circuit_entries(build, problem, index, row_of[index], out=True)
    _excess(build, "feed_excess_kw", rows, -(load_kw + feed_kw)[circuit, slot], 1.0)


def _discharge_by_circuit(problem: ChargingProblem) -> FloatArray:
    sessions = problem.sessions
    out_kw = np.zeros((problem.circuits.count, problem.slot_count))
    np.add.at(out_kw, sessions.circuit, np.where(sessions.plugged_h > 0, sessions.most_discharge_kw[:, None], 0.0))
    return out_kw


@dataclass(frozen=True, eq=False)
class Facet:
    """One linear bound on the current of one phase of one circuit."""

    circuit: int
    """Which circuit."""
    phase: int
    """Which phase."""
    number: int
    """0 takes leading currents whole, 1 lagging ones."""
    weight: FloatArray
    """Current that each mode counts with [A/kW]."""
    between_lines: bool
    """Whether loads between two lines are among them."""
    slots: IntArray
    """Slots in which it could be exceeded."""
    lower_a: FloatArray
    """Lower bound of the controllable current, one a slot [A]."""
    upper_a: FloatArray
    """Upper bound of the controllable current, one a slot [A]."""
    beyond_a: FloatArray
    """Current beyond the limit without any plan, one a slot; not above zero where it is kept [A]."""


def facet_weights(problem: ChargingProblem, circuit: int, phase: int) -> list[FloatArray]:
    """Coefficient of each mode in each facet of a phase [A/kW]; one facet where no load lies between two lines."""
    lead, along, lag = (problem.phase_current[:, phase, angle] * problem.mode_below[circuit] for angle in range(3))
    if not lead.any() and not lag.any():
        return [along]
    return [along + lead + SQRT3_LESS_1 * lag, along + SQRT3_LESS_1 * lead + lag]


def amps_per_site_kw(problem: ChargingProblem, circuit: int) -> float:
    """Current per phase of a kW of battery or PV, which hang at the root [A/kW]."""
    return 1000.0 / (PHASES * problem.supply.phase_voltage_v) if circuit == 0 else 0.0


def current_facets(problem: ChargingProblem) -> list[Facet]:
    """Every bound on a phase's current that some plan could exceed.

    A phase that carries the same vehicles as an earlier one and has no less room needs no rows of its own.
    """
    facets: list[Facet] = []
    for circuit in np.flatnonzero(np.isfinite(problem.circuits.limit_a)).tolist():
        told: list[tuple[list[FloatArray], FloatArray]] = []
        for phase in range(PHASES):
            weights = facet_weights(problem, circuit, phase)
            room_a, beyond_a = _phase_room(problem, circuit, phase, between_lines=len(weights) > 1)
            needed = _needed_slots(problem, circuit, np.add.reduce(weights), room_a) | (beyond_a > 0)
            for other_weights, other_room_a in told:
                same = len(weights) == len(other_weights)
                if same and all(np.array_equal(*pair) for pair in zip(weights, other_weights, strict=True)):
                    needed &= (room_a < other_room_a) | (beyond_a > 0)
            told.append((weights, room_a))
            facets += _facets_of(problem, (circuit, phase), weights, np.flatnonzero(needed), (room_a, beyond_a))
    return facets


def _phase_room(
    problem: ChargingProblem, circuit: int, phase: int, *, between_lines: bool
) -> tuple[FloatArray, FloatArray]:
    """Current left to what is controllable, one a slot [A], and what is beyond the limit without any plan.

    PV that may be curtailed stands in the row as a variable. Between lines it is not opposite to the vehicles'
    currents, so there it relieves the uncontrolled load only, and not at all where it may be curtailed.
    """
    circuits, supply = problem.circuits, problem.supply
    base_a = circuits.uncontrolled_a[circuit, phase]
    relief_a = firm_pv_kw(problem) * amps_per_site_kw(problem, circuit)
    limit_a = circuits.limit_a[circuit]
    if between_lines:
        least_a = base_a if supply.pv_curtailable else np.maximum(0.0, base_a - relief_a)
        return limit_a - least_a, least_a - limit_a
    least_a = base_a - relief_a
    return limit_a - (base_a if supply.pv_curtailable else least_a), least_a - limit_a


def _feeds_out(problem: ChargingProblem, circuit: int) -> bool:
    """Whether power can flow out of what hangs below the circuit."""
    vehicles = problem.mode_below[circuit][problem.first_mode] & (problem.sessions.most_discharge_kw > 0)
    return bool(vehicles.any()) or (circuit == 0 and problem.battery is not None)


def _needed_slots(problem: ChargingProblem, circuit: int, weight: FloatArray, room_a: FloatArray) -> BoolArray:
    loading = np.flatnonzero(weight)
    most_a = (weight[loading, None] * problem.most_power_kw[loading]).sum(axis=0)
    if circuit == 0 and problem.battery:
        most_a = most_a + problem.battery.max_charge_kw * amps_per_site_kw(problem, circuit)
    return np.asarray((most_a > room_a) | _feeds_out(problem, circuit))


def _facets_of(
    problem: ChargingProblem,
    place: tuple[int, int],
    weights: list[FloatArray],
    slots: IntArray,
    room: tuple[FloatArray, FloatArray],
) -> list[Facet]:
    circuit, phase = place
    room_a, beyond_a = room
    limit_a = problem.circuits.limit_a[circuit]
    lower_a = np.full(len(slots), -np.inf)
    if len(weights) == 1 and _feeds_out(problem, circuit):
        # What flows out without any plan is not the plan's to mend.
        lower_a = np.minimum(0.0, room_a - 2.0 * limit_a)[slots]
    return [
        Facet(circuit, phase, number, weight, len(weights) > 1, slots, lower_a, room_a[slots], beyond_a[slots])
        for number, weight in enumerate(weights)
    ]


def _current_rows(build: ModelBuilder, problem: ChargingProblem) -> None:
    facets = [facet for facet in current_facets(problem) if len(facet.slots)]
    if not facets:
        return
    keys = tuple(
        np.concatenate([np.broadcast_to(getattr(facet, name), facet.slots.shape) for facet in facets])
        for name in ("circuit", "phase", "slots", "number")
    )
    lower_a = np.concatenate([facet.lower_a for facet in facets])
    upper_a = np.concatenate([facet.upper_a for facet in facets])
    rows = build.add_rows("circuit_limit", "cptf", keys, lower_a, upper_a)
    first = rows.first
    for facet in facets:
        row_of = np.full(problem.slot_count, -1, dtype=np.int64)
        row_of[facet.slots] = np.arange(first, first + len(facet.slots))
        first += len(facet.slots)
        _circuit_entries(
            build,
            problem,
            facet.circuit,
            row_of,
            out=not facet.between_lines,
            weight=facet.weight,
            site_weight=amps_per_site_kw(problem, facet.circuit),
        )
        varies = problem.supply.pv_curtailable and problem.supply.pv_firm_share > 0 and not facet.between_lines
        if varies and facet.circuit == 0:
            _slot_entries(build, "pv_kw", row_of, -problem.supply.pv_firm_share * amps_per_site_kw(problem, 0))
    _excess(build, "phase_excess_a", rows, np.concatenate([facet.beyond_a for facet in facets]), -1.0)
    _outward_rows(build, problem, [facet for facet in facets if facet.between_lines])


def _outward_rows(build: ModelBuilder, problem: ChargingProblem, facets: list[Facet]) -> None:
    """Bound what flows out by itself where loads lie between two lines: currents both ways do not cancel there.

    Firm PV that flows out without any plan takes its part of the limit, and is not the plan's to mend.
    """
    discharge = build.columns["discharge_kw"]
    facets = [facet for facet in facets if _feeds_out(problem, facet.circuit)]
    if not facets:
        return
    keys = tuple(
        np.concatenate([np.broadcast_to(getattr(facet, name), facet.slots.shape) for facet in facets])
        for name in ("circuit", "phase", "slots", "number")
    )
    room_a = np.concatenate([_outward_room_a(problem, facet) for facet in facets])
    rows = build.add_rows("circuit_outward", "cptf", keys, -np.inf, room_a)
    first = rows.first
    vehicle, slot = discharge.keys
    for facet in facets:
        row_of = np.full(problem.slot_count, -1, dtype=np.int64)
        row_of[facet.slots] = np.arange(first, first + len(facet.slots))
        first += len(facet.slots)
        weight = facet.weight[problem.first_mode][vehicle]
        held = (row_of[slot] >= 0) & (weight != 0)
        build.add_entries(row_of[slot[held]], discharge.indices[held], weight[held])
        if facet.circuit == 0:
            _slot_entries(build, "battery_discharge_kw", row_of, amps_per_site_kw(problem, 0))


def _outward_room_a(problem: ChargingProblem, facet: Facet) -> FloatArray:
    base_a = problem.circuits.uncontrolled_a[facet.circuit, facet.phase]
    flows_out_a = np.maximum(0.0, firm_pv_kw(problem) * amps_per_site_kw(problem, facet.circuit) - base_a)
    room_a = np.maximum(0.0, problem.circuits.limit_a[facet.circuit] - flows_out_a)
    return np.asarray(room_a[facet.slots])


def phase_imbalance(build: ModelBuilder, problem: ChargingProblem, scope: ModelScope) -> None:
    """State that the currents of two phases differ by no more than is permitted.

    Row ``phase_imbalance[c,p,t]`` for phase p and the next one: current on p less current on the next, less
    ``imbalance_excess_a`` in the direction that the uncontrolled load already exceeds, lies within
    ``imbalance_limit_a[c]`` both ways. Currents add as numbers here.
    """
    del scope
    circuits, slots = problem.circuits, problem.slot_count
    bounded = np.flatnonzero(np.isfinite(circuits.imbalance_limit_a))
    if not len(bounded):
        return
    shape = (len(bounded), PHASES, slots)
    place, phase, slot = (index.ravel() for index in np.indices(shape))
    circuit = bounded[place]
    base_a = circuits.uncontrolled_a[bounded]
    gap_a = (base_a - np.roll(base_a, -1, axis=1)).ravel()
    limit_a = circuits.imbalance_limit_a[circuit]
    rows = build.add_rows("phase_imbalance", "cpt", (circuit, phase, slot), -limit_a - gap_a, limit_a - gap_a)
    row_of = rows.grid(circuits.count, PHASES, slots)
    amps = problem.phase_current.sum(axis=2)
    for index in bounded.tolist():
        for first in range(PHASES):
            weight = amps[:, first] - amps[:, (first + 1) % PHASES]
            _circuit_entries(build, problem, index, row_of[index, first], out=True, weight=weight, site_weight=0.0)
    _excess(build, "imbalance_over_a", rows, gap_a - limit_a, -1.0)
    _excess(build, "imbalance_under_a", rows, -gap_a - limit_a, 1.0)
