"""Laws of the wires: what the grid connection and each fuse carry.

A limit that the uncontrolled load alone already violates gets a column of excess, so that no meter reading can make
the problem infeasible; everywhere else the limit is hard. A row that no plan could violate is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import inf
from typing import Any

from pyomo.environ import Constraint

from optimizer.planning.reference.given import PHASES, Given, GivenScope, Table
from optimizer.planning.reference.terms import between, circuit_load, discharging, excess, excess_at, of_slot, total

SQRT3_LESS_1 = 3.0**0.5 - 1.0
FACETS = ("lead", "lag")


def _greatest_load_kw(given: Given, c: str, t: int) -> float:
    """The most that vehicles and battery could draw through a circuit [kW]."""
    battery_kw = given.battery.max_charge_kw if given.battery is not None and c == given.root else 0.0
    return float(given.greatest_vehicles_kw[c, t] + battery_kw)


def firm_pv_kw(given: Given, t: int) -> float:
    """PV that relieves limits without any plan, less what an export limit curtails then [kW]."""
    supply, root = given.supply, (given.root, t)
    kept_kw = supply.pv_kw[t]
    if supply.pv_curtailable:
        kept_kw = min(kept_kw, max(0.0, given.circuits.uncontrolled_kw[root] + given.circuits.feed_limit_kw[root]))
    return float(supply.pv_firm_share * kept_kw)


def _can_exceed(given: Given, c: str, t: int) -> bool:
    """Whether some plan could exceed a circuit's power limit."""
    limit_kw: float = given.circuits.limit_kw[c, t]
    load_kw: float = given.circuits.uncontrolled_kw[c, t]
    return limit_kw < inf and _greatest_load_kw(given, c, t) + load_kw > limit_kw


def grid_limit(model: Any, given: Given, scope: GivenScope) -> None:
    """State that import and export stay within connection, contract and grid-event limits."""
    del scope
    circuits, supply, root = given.circuits, given.supply, given.root
    slots = [t for t in given.slots if _can_exceed(given, root, t)]
    varies = supply.pv_curtailable
    model.import_excess_kw = excess(
        {t: circuits.uncontrolled_kw[root, t] - firm_pv_kw(given, t) - circuits.limit_kw[root, t] for t in slots}
    )

    def import_limit(model: Any, t: int) -> Any:
        relief = of_slot(model.pv_kw, t, -supply.pv_firm_share)
        base_kw = circuits.uncontrolled_kw[root, t] - (0.0 if varies else firm_pv_kw(given, t))
        load = circuit_load(model, given, root, t)
        return total(load, relief, excess_at(model.import_excess_kw, t, -1.0)) <= circuits.limit_kw[root, t] - base_kw

    model.import_limit = Constraint(slots, rule=import_limit)

    feed_kw = {t: circuits.feed_limit_kw[root, t] for t in given.slots}
    bound = [t for t in model.grid_export_kw if feed_kw[t] < inf]
    fixed_pv_kw = {t: 0.0 if varies else supply.pv_kw[t] for t in bound}
    model.export_excess_kw = excess({t: fixed_pv_kw[t] - circuits.uncontrolled_kw[root, t] - feed_kw[t] for t in bound})

    def export_limit(model: Any, t: int) -> Any:
        return total([model.grid_export_kw[t]], excess_at(model.export_excess_kw, t, -1.0)) <= feed_kw[t]

    model.export_limit = Constraint(bound, rule=export_limit)
    model.controllable_limit = _controllable_limit(given, [root])


def _controllable_limit(given: Given, circuits: list[str]) -> Any:
    """Rows that bound vehicles and battery by themselves, without the uncontrolled load."""
    limit_kw = given.circuits.controllable_limit_kw

    def kept(model: Any, c: str, t: int) -> Any:
        return total(circuit_load(model, given, c, t)) <= limit_kw[c, t]

    bound = [(c, t) for c, t in product(circuits, given.slots) if _greatest_load_kw(given, c, t) > limit_kw[c, t]]
    return Constraint(bound, rule=kept)


def circuit_limit(model: Any, given: Given, scope: GivenScope) -> None:
    """State that each fuse, on each phase, carries no more than its amperes, each circuit no more than its power."""
    del scope
    circuits = given.circuits
    below_root = [c for c in circuits if c != given.root]
    pairs = [(c, t) for c, t in product(below_root, given.slots) if _can_exceed(given, c, t)]
    room_kw = {key: circuits.limit_kw[key] - circuits.uncontrolled_kw[key] for key in pairs}
    model.circuit_excess_kw = excess({key: -room for key, room in room_kw.items()})

    def circuit_kw(model: Any, c: str, t: int) -> Any:
        relief = excess_at(model.circuit_excess_kw, (c, t), -1.0)
        return total(circuit_load(model, given, c, t), relief) <= room_kw[c, t]

    model.circuit_kw = Constraint(pairs, rule=circuit_kw)
    _circuit_feed(model, given, below_root)
    model.circuit_controllable = _controllable_limit(given, below_root)
    _phase_currents(model, given)


def _circuit_feed(model: Any, given: Given, below_root: list[str]) -> None:
    """Rows for what flows out of a circuit below the root; only discharging vehicles can make it flow."""
    circuits, sessions = given.circuits, given.sessions

    def most_out_kw(c: str, t: int) -> float:
        there = [s for s in given.sessions_below[c] if sessions.plugged_h[s, t] > 0]
        return float(sum(sessions.most_discharge_kw[s] for s in there))

    least_kw = {
        (c, t): -(circuits.feed_limit_kw[c, t] + circuits.uncontrolled_kw[c, t])
        for c, t in product(below_root, given.slots if given.problem.sessions.most_discharge_kw.any() else ())
        if circuits.feed_limit_kw[c, t] < most_out_kw(c, t) - circuits.uncontrolled_kw[c, t]
    }
    model.feed_excess_kw = excess(least_kw)

    def circuit_feed(model: Any, c: str, t: int) -> Any:
        relief = excess_at(model.feed_excess_kw, (c, t), 1.0)
        return total(circuit_load(model, given, c, t), relief) >= least_kw[c, t]

    model.circuit_feed = Constraint(list(least_kw), rule=circuit_feed)


@dataclass(frozen=True, eq=False)
class PhaseLoad:
    """What one phase of one fuse carries."""

    circuit: str
    """Which circuit."""
    phase: str
    """Which phase."""
    weights: list[Table]
    """Current of each mode in each facet [A/kW]; one facet where no load lies between two lines."""
    site_a_per_kw: float
    """Current of the battery and of PV, which hang at the root on all phases [A/kW]."""
    room_a: list[float]
    """Current left to what is controllable, one a slot [A]."""
    beyond_a: list[float]
    """Current beyond the limit without any plan, one a slot; not above zero where it is kept [A]."""

    @property
    def between_lines(self) -> bool:
        """Whether a load lies between two lines."""
        return len(self.weights) > 1


def phase_weights(given: Given, c: str, p: int) -> list[Table]:
    """Current of each mode on a phase [A/kW], for each facet of the circle of currents.

    A load between two lines is at +30 degrees to the phase of its first line and at -30 degrees to that of its second.
    A facet counts the one whole and the other with sqrt(3) - 1: both facets lie inside the circle of the true sum.
    """
    on_phase, amps, lines = given.modes.on_phase, given.modes.amps_per_kw, given.modes.line_to_line
    phase, following = PHASES[p], PHASES[(p + 1) % 3]
    weights: list[Table] = [{}, {}]
    lies_between = False
    for m in given.modes_below[c]:
        current = amps[m] if on_phase[m, phase] else 0.0
        leads = on_phase[m, following]
        lies_between |= bool(current and lines[m])
        weights[0][m] = current * (SQRT3_LESS_1 if lines[m] and not leads else 1.0)
        weights[1][m] = current * (SQRT3_LESS_1 if lines[m] and leads else 1.0)
    return weights if lies_between else weights[:1]


def _phase_load(given: Given, c: str, p: int) -> PhaseLoad:
    circuits, supply = given.circuits, given.supply
    weights = phase_weights(given, c, p)
    site_a = 1000.0 / (3.0 * supply.phase_voltage_v) if c == given.root else 0.0
    room_a, beyond_a = [], []
    for t in given.slots:
        limit_a, base_a = circuits.limit_a[c], circuits.uncontrolled_a[c, PHASES[p], t]
        relieved_a = base_a - firm_pv_kw(given, t) * site_a
        if len(weights) > 1:
            # PV is not opposite to currents between lines: it relieves the uncontrolled load only.
            base_a = base_a if supply.pv_curtailable else max(0.0, relieved_a)
            relieved_a = base_a
        room_a.append(limit_a - (base_a if supply.pv_curtailable else relieved_a))
        beyond_a.append(relieved_a - limit_a)
    return PhaseLoad(c, PHASES[p], weights, site_a, room_a, beyond_a)


def feeds_out(given: Given, c: str) -> bool:
    """Whether power can flow out of what hangs below a circuit."""
    vehicles = any(given.sessions.most_discharge_kw[s] > 0 for s in given.sessions_below[c])
    return vehicles or (c == given.root and given.battery is not None)


def _needed_slots(given: Given, load: PhaseLoad, told: list[PhaseLoad]) -> list[int]:
    """Slots in which some plan could exceed the current, and no phase told before says the same more tightly."""
    same = [other for other in told if other.weights == load.weights]
    needed = []
    for t in given.slots:
        usable = [m for m in given.modes_below[load.circuit] if (m, t) in given.usable]
        most_a = sum(weight[m] * given.modes.max_kw[m, t] for weight in load.weights for m in usable)
        if given.battery is not None:
            most_a += given.battery.max_charge_kw * load.site_a_per_kw
        exceeds = feeds_out(given, load.circuit) or most_a > load.room_a[t]
        if load.beyond_a[t] > 0 or (exceeds and all(load.room_a[t] < other.room_a[t] for other in same)):
            needed.append(t)
    return needed


def _phase_currents(model: Any, given: Given) -> None:
    """Rows of each phase of each fuse."""
    loads: dict[tuple[str, str, int, str], tuple[PhaseLoad, Table]] = {}
    for c in given.circuits:
        told: list[PhaseLoad] = []
        for p in range(3) if given.circuits.limit_a[c] < inf else ():
            load = _phase_load(given, c, p)
            slots = _needed_slots(given, load, told)
            told.append(load)
            for facet, weight in zip(FACETS, load.weights, strict=False):
                loads.update({(c, PHASES[p], t, facet): (load, weight) for t in slots})
    model.phase_excess_a = excess({key: load.beyond_a[key[2]] for key, (load, _) in loads.items()})

    def circuit_limit(model: Any, c: str, p: str, t: int, f: str) -> Any:
        load, weight = loads[c, p, t, f]
        outward = not load.between_lines
        site_a = load.site_a_per_kw
        flows = circuit_load(model, given, c, t, weight=weight, site_weight=site_a, outward=outward)
        relief = of_slot(model.pv_kw, t, -given.supply.pv_firm_share * site_a) if outward else []
        lower_a = -inf
        if outward and feeds_out(given, c):
            # What flows out without any plan is not the plan's to mend.
            lower_a = min(0.0, load.room_a[t] - 2.0 * given.circuits.limit_a[c])
        return between(
            lower_a, total(flows, relief, excess_at(model.phase_excess_a, (c, p, t, f), -1.0)), load.room_a[t]
        )

    model.circuit_limit = Constraint(list(loads), rule=circuit_limit)

    def circuit_outward(model: Any, c: str, p: str, t: int, f: str) -> Any:
        load, weight = loads[c, p, t, f]
        site_a = load.site_a_per_kw
        out = [discharging(model, s, {t: weight[given.modes_of[s][0]]}) for s in given.sessions_below[c]]
        if c == given.root and given.battery is not None:
            out.append([site_a * model.battery_discharge_kw[t]])
        flows_out_a = max(0.0, firm_pv_kw(given, t) * site_a - given.circuits.uncontrolled_a[c, p, t])
        return total(*out) <= max(0.0, given.circuits.limit_a[c] - flows_out_a)

    apart = [key for key, (load, _) in loads.items() if load.between_lines and feeds_out(given, load.circuit)]
    model.circuit_outward = Constraint(apart, rule=circuit_outward)


def phase_imbalance(model: Any, given: Given, scope: GivenScope) -> None:
    """State that the currents of two phases differ by no more than is permitted."""
    del scope
    circuits, following = given.circuits, dict(zip(PHASES, PHASES[1:] + PHASES[:1], strict=True))
    bounded = [c for c in circuits if circuits.imbalance_limit_a[c] < inf]
    keys = list(product(bounded, PHASES, given.slots))
    base_a = circuits.uncontrolled_a
    gap_a = {(c, p, t): base_a[c, p, t] - base_a[c, following[p], t] for c, p, t in keys}
    model.imbalance_over_a = excess({key: gap_a[key] - circuits.imbalance_limit_a[key[0]] for key in keys})
    model.imbalance_under_a = excess({key: -gap_a[key] - circuits.imbalance_limit_a[key[0]] for key in keys})

    def imbalance(model: Any, c: str, p: str, t: int) -> Any:
        on, amps = given.modes.on_phase, given.modes.amps_per_kw
        weight = {m: (on[m, p] - on[m, following[p]]) * amps[m] for m in given.modes_below[c]}
        flows = circuit_load(model, given, c, t, weight=weight, site_weight=0.0)
        over = excess_at(model.imbalance_over_a, (c, p, t), -1.0)
        under = excess_at(model.imbalance_under_a, (c, p, t), 1.0)
        limit_a, gap = circuits.imbalance_limit_a[c], gap_a[c, p, t]
        return between(-limit_a - gap, total(flows, over, under), limit_a - gap)

    model.phase_imbalance = Constraint(keys, rule=imbalance)
