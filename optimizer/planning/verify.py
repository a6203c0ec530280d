"""An independent check of any plan: a few lines a law, written from the physics and not from the builders.

It reads the problem and the plan only. A limit that the uncontrolled load already exceeds may not be made worse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, exp, isfinite, pi

import numpy as np
from numpy.typing import NDArray

from optimizer.domain.plan import Plan
from optimizer.planning.problem import ChargingProblem, FloatArray, IntArray

TOLERANCE_KW = 1e-5
"""A hundredth of a watt; the solver's own tolerance on a row is 1e-7 of its scale."""
TOLERANCE_KWH = 1e-5
TOLERANCE_A = 1e-4


@dataclass(frozen=True, slots=True)
class Violation:
    """One law that a plan breaks."""

    law: str
    """Which law."""
    place: str
    """Session, circuit or phase."""
    slot: int
    """In which slot, or at which boundary."""
    value: float
    """What the plan does."""
    permitted: float
    """What would be permitted."""

    def __str__(self) -> str:
        return f"{self.law}: {self.place} in slot {self.slot}: {self.value:.6g}, permitted {self.permitted:.6g}"


def violations(problem: ChargingProblem, plan: Plan, *, minimum_current: bool = True) -> tuple[Violation, ...]:
    """Return every violation of a law by ``plan``; empty when it keeps them all.

    Args:
        problem: What was to be planned.
        plan: Any plan for it.
        minimum_current: Whether the minimum current is checked; a plain LP does not keep it.
    """
    checks = [
        _vehicle_power(problem, plan),
        _vehicle_energy(problem, plan),
        _vehicle_content(problem, plan),
        _battery(problem, plan),
        _balance(problem, plan),
        _power_limits(problem, plan),
        _current_limits(problem, plan),
    ]
    if minimum_current:
        checks.append(_minimum(problem, plan))
    return tuple(violation for check in checks for violation in check)


def unsafe(problem: ChargingProblem, plan: Plan) -> tuple[Violation, ...]:
    """Return the violations that would overload something: what is looked at before a plan is sent."""
    checks = (
        _vehicle_power(problem, plan),
        _battery(problem, plan),
        _power_limits(problem, plan),
        _current_limits(problem, plan),
    )
    return tuple(violation for check in checks for violation in check)


def _net_kw(plan: Plan) -> FloatArray:
    return np.array([session.power_kw for session in plan.sessions]).reshape(
        len(plan.sessions), len(plan.grid_import_kw)
    )


def _modes_used(problem: ChargingProblem, plan: Plan) -> IntArray:
    """The mode in use: the one whose number of phases the plan names, else the first, shape (sessions, slots)."""
    owners = problem.modes.session.tolist()
    phase_count = problem.modes.on_phase.sum(axis=1).tolist()
    named = {(owner, phase_count[mode]): mode for mode, owner in reversed(list(enumerate(owners)))}
    first = {owner: mode for mode, owner in reversed(list(enumerate(owners)))}
    used = np.zeros((len(plan.sessions), problem.slot_count), dtype=np.int64)
    for index, session in enumerate(plan.sessions):
        used[index] = first[index]
        for slot, phases in enumerate(session.phases_used):
            used[index, slot] = named[index, phases] if phases else first[index]
    return used


def _vehicle_power(problem: ChargingProblem, plan: Plan) -> Iterator[Violation]:
    there = problem.sessions.plugged_h > 0
    net, slots = _net_kw(plan), np.arange(problem.slot_count)
    most = np.where(there, problem.modes.max_kw[_modes_used(problem, plan), slots], 0.0)
    # What one that leaves earlier gives relieves no limit in the rest of the slot.
    stays = problem.sessions.plugged_h >= problem.slot_h - 1e-6
    least = np.where(stays, -problem.sessions.most_discharge_kw[:, None], 0.0)
    for permitted, wrong in ((most, net > most + TOLERANCE_KW), (least, net < least - TOLERANCE_KW)):
        for index, slot in np.argwhere(wrong).tolist():
            place = plan.sessions[index].session_id
            yield Violation("power_limit", place, slot, float(net[index, slot]), float(permitted[index, slot]))


def _minimum(problem: ChargingProblem, plan: Plan) -> Iterator[Violation]:
    used = _modes_used(problem, plan)
    for index, session in enumerate(plan.sessions):
        if problem.sessions.has_state[index] and isfinite(problem.sessions.knee_kwh[index]):
            continue  # What it draws near full is its own choice; the limit it is given is what counts.
        for slot, power in enumerate(session.power_kw):
            least = float(problem.modes.min_kw[used[index, slot], slot])
            if TOLERANCE_KW < power < least - TOLERANCE_KW:
                yield Violation("minimum_current", session.session_id, slot, power, least)


def _vehicle_energy(problem: ChargingProblem, plan: Plan) -> Iterator[Violation]:
    for index, session in enumerate(plan.sessions):
        lost = 1.0 / float(problem.sessions.charge_efficiency[index] * problem.sessions.discharge_efficiency[index])
        net = 0.0
        for slot, power in enumerate(session.power_kw):
            hours = float(problem.sessions.plugged_h[index, slot])
            net += power * hours if power > 0 else power * hours * lost
            told = session.energy_kwh[slot + 1] - float(problem.sessions.delivered_kwh[index])
            if abs(net - told) > TOLERANCE_KWH:
                yield Violation("energy_balance", session.session_id, slot, told, net)
        most = float(problem.sessions.most_kwh[index])
        if net > most + TOLERANCE_KWH:
            yield Violation("energy_balance", session.session_id, len(session.power_kw), net, most)


def _vehicle_content(problem: ChargingProblem, plan: Plan) -> Iterator[Violation]:
    vehicles, used = problem.sessions, _modes_used(problem, plan)
    for index, session in enumerate(plan.sessions):
        capacity, floor = float(vehicles.capacity_kwh[index]), float(vehicles.discharge_floor_kwh[index])
        if capacity <= 0:
            continue
        content = float(vehicles.stored_kwh[index])
        highest = max(capacity, content)
        knee = float(vehicles.knee_kwh[index])
        for slot, power in enumerate(session.power_kw):
            hours = float(vehicles.plugged_h[index, slot])
            accepted = _mean_acceptance(
                float(vehicles.knee_kw[index]), knee, highest, content, hours, float(vehicles.charge_efficiency[index])
            )
            # What a station is told is never below the minimum; the vehicle takes what it takes.
            permitted = max(accepted, _least_sent_kw(problem, int(used[index, slot]), slot))
            if power > permitted + TOLERANCE_KW:
                yield Violation("taper", session.session_id, slot, power, permitted)
            before = content
            content += (
                power * hours * float(vehicles.charge_efficiency[index])
                if power > 0
                else (power * hours / float(vehicles.discharge_efficiency[index]))
            )
            if isfinite(knee) and content > highest + TOLERANCE_KWH:
                yield Violation("energy_balance", session.session_id, slot, content, highest)
            if power < -TOLERANCE_KW and content < min(floor, before) - TOLERANCE_KWH:
                yield Violation("energy_balance", session.session_id, slot, content, floor)


def _least_sent_kw(problem: ChargingProblem, mode: int, slot: int) -> float:
    """The least power that can be sent [kW]: the minimum, in whole steps."""
    least, step = float(problem.modes.min_kw[mode, slot]), float(problem.modes.step_kw[mode])
    return ceil(least / step - 1e-6) * step if step > 0 else least


def _mean_acceptance(
    knee_kw: float, knee_kwh: float, capacity_kwh: float, content_kwh: float, hours: float, efficiency: float
) -> float:
    """Mean power over ``hours`` of a vehicle that follows its acceptance line from the start [kW]."""
    if not isfinite(knee_kwh) or knee_kwh >= capacity_kwh or hours <= 0:
        return float("inf")
    fall_per_kwh = knee_kw / (capacity_kwh - knee_kwh)
    room_kwh = max(0.0, capacity_kwh - content_kwh)
    taken_kwh = room_kwh * (1.0 - exp(-fall_per_kwh * efficiency * hours))
    return taken_kwh / (efficiency * hours)


def _battery(problem: ChargingProblem, plan: Plan) -> Iterator[Violation]:
    battery = problem.battery
    if battery is None:
        if any(abs(power) > TOLERANCE_KW for power in plan.battery_kw):
            yield Violation("battery", "no battery", 0, max(map(abs, plan.battery_kw)), 0.0)
        return
    content = battery.content_kwh
    lowest, highest = min(battery.min_kwh, content), max(battery.max_kwh, content)
    for slot, power in enumerate(plan.battery_kw):
        if power > battery.max_charge_kw + TOLERANCE_KW:
            yield Violation("battery", "charge", slot, power, battery.max_charge_kw)
        if -power > battery.max_discharge_kw + TOLERANCE_KW:
            yield Violation("battery", "discharge", slot, -power, battery.max_discharge_kw)
        stored = power * battery.charge_efficiency if power > 0 else power / battery.discharge_efficiency
        content += stored * float(problem.slot_h[slot])
        if not lowest - TOLERANCE_KWH <= content <= highest + TOLERANCE_KWH:
            yield Violation("battery", "content", slot, content, lowest if content < lowest else highest)


def _balance(problem: ChargingProblem, plan: Plan) -> Iterator[Violation]:
    vehicles = (_net_kw(plan) * problem.sessions.plugged_h / problem.slot_h).sum(axis=0)
    for slot in range(problem.slot_count):
        drawn = float(problem.circuits.uncontrolled_kw[0, slot] + vehicles[slot])
        net = drawn + plan.battery_kw[slot] - plan.pv_kw[slot]
        told = plan.grid_import_kw[slot] - plan.grid_export_kw[slot]
        if abs(net - told) > TOLERANCE_KW:
            yield Violation("site_balance", "grid", slot, told, net)
        if min(plan.grid_import_kw[slot], plan.grid_export_kw[slot]) > TOLERANCE_KW:
            yield Violation("no_arbitrage", "grid", slot, min(plan.grid_import_kw[slot], plan.grid_export_kw[slot]), 0)
        most_pv = float(problem.supply.pv_kw[slot])
        least_pv = 0.0 if problem.supply.pv_curtailable else most_pv
        if not least_pv - TOLERANCE_KW <= plan.pv_kw[slot] <= most_pv + TOLERANCE_KW:
            yield Violation("site_balance", "pv", slot, plan.pv_kw[slot], most_pv)


def _chain(problem: ChargingProblem, circuit: int) -> list[int]:
    """The circuit and all that feed it."""
    chain = [circuit]
    while problem.circuits.parent[chain[-1]] >= 0:
        chain.append(int(problem.circuits.parent[chain[-1]]))
    return chain


def _power_limits(problem: ChargingProblem, plan: Plan) -> Iterator[Violation]:
    circuits, net = problem.circuits, _net_kw(plan)
    vehicles = np.zeros((circuits.count, problem.slot_count))
    for index, circuit in enumerate(problem.sessions.circuit.tolist()):
        for node in _chain(problem, circuit):
            vehicles[node] += net[index]
    vehicles[0] += np.array(plan.battery_kw)
    firm = np.zeros_like(vehicles)
    firm[0] = problem.supply.pv_firm_share * np.array(plan.pv_kw)
    for node, slot in np.argwhere(np.isfinite(circuits.limit_kw)).tolist():
        relief = _unplanned_pv_kw(problem, slot) if node == 0 else 0.0
        unplanned = float(circuits.uncontrolled_kw[node, slot]) - relief
        permitted = max(float(circuits.limit_kw[node, slot]), unplanned)
        load = float(circuits.uncontrolled_kw[node, slot] - firm[node, slot] + vehicles[node, slot])
        if load > permitted + TOLERANCE_KW:
            yield Violation("grid_limit" if node == 0 else "circuit_limit", circuits.ids[node], slot, load, permitted)
    for node, slot in np.argwhere(np.isfinite(circuits.controllable_limit_kw)).tolist():
        permitted = float(circuits.controllable_limit_kw[node, slot])
        if vehicles[node, slot] > permitted + TOLERANCE_KW:
            yield Violation("grid_limit", f"{circuits.ids[node]} controllable", slot, vehicles[node, slot], permitted)
    yield from _feed_limits(problem, plan, vehicles)


def _unplanned_pv_kw(problem: ChargingProblem, slot: int) -> float:
    """Firm PV that would flow without any plan: all, or what load and export limit leave of it [kW]."""
    supply, circuits = problem.supply, problem.circuits
    flows = float(supply.pv_kw[slot])
    if supply.pv_curtailable:
        flows = min(flows, max(0.0, float(circuits.uncontrolled_kw[0, slot] + circuits.feed_limit_kw[0, slot])))
    return supply.pv_firm_share * flows


def _feed_limits(problem: ChargingProblem, plan: Plan, vehicles: FloatArray) -> Iterator[Violation]:
    circuits = problem.circuits
    for node, slot in np.argwhere(np.isfinite(circuits.feed_limit_kw)).tolist():
        fixed_pv = float(problem.supply.pv_kw[slot]) if node == 0 and not problem.supply.pv_curtailable else 0.0
        base = fixed_pv - float(circuits.uncontrolled_kw[node, slot])
        permitted = max(float(circuits.feed_limit_kw[node, slot]), base)
        if node == 0:
            out = plan.grid_export_kw[slot] - plan.grid_import_kw[slot]
        else:
            out = -float(circuits.uncontrolled_kw[node, slot] + vehicles[node, slot])
        if out > permitted + TOLERANCE_KW:
            yield Violation("grid_limit", f"{circuits.ids[node]} export", slot, out, permitted)


def _current_limits(problem: ChargingProblem, plan: Plan) -> Iterator[Violation]:
    limited = np.isfinite(problem.circuits.limit_a) | np.isfinite(problem.circuits.imbalance_limit_a)
    turned, plain = _vehicle_currents_a(problem, plan)
    for node in np.flatnonzero(limited).tolist():
        below = [node in _chain(problem, circuit) for circuit in problem.sessions.circuit.tolist()]
        yield from _fuse(problem, plan, node, turned[:, below].sum(axis=1), any_between=_between(problem, below))
        yield from _imbalance(problem, node, plain[:, below].sum(axis=1))


def _vehicle_currents_a(problem: ChargingProblem, plan: Plan) -> tuple[NDArray[np.complex128], FloatArray]:
    """Current of each session as a phasor to the phase's voltage, and without its angle, (phases, sessions, slots)."""
    used = _modes_used(problem, plan)
    on_phase = np.moveaxis(problem.modes.on_phase[used], -1, 0)
    amps = np.asarray(on_phase * (_net_kw(plan) * problem.modes.amps_per_kw[used]))
    leads = np.roll(on_phase, -1, axis=0)  # A current from this phase to the next is 30 degrees ahead of its voltage.
    angle = np.where(problem.modes.line_to_line[used], np.where(leads, pi / 6.0, -pi / 6.0), 0.0)
    return np.asarray(amps * np.exp(1j * angle)), amps


def _between(problem: ChargingProblem, below: list[bool]) -> bool:
    """Whether any vehicle of some sessions can draw between two lines."""
    owners = zip(problem.modes.session.tolist(), problem.modes.line_to_line.tolist(), strict=True)
    return any(between and below[owner] for owner, between in owners)


def _fuse(
    problem: ChargingProblem, plan: Plan, node: int, vehicles_a: NDArray[np.complex128], *, any_between: bool
) -> Iterator[Violation]:
    amps_per_kw = 1000.0 / (3.0 * problem.supply.phase_voltage_v) if node == 0 else 0.0
    firm_kw = problem.supply.pv_firm_share * np.array(plan.pv_kw)
    base_a = problem.circuits.uncontrolled_a[node]
    current_a = np.abs(base_a + amps_per_kw * (np.array(plan.battery_kw) - firm_kw) + vehicles_a)
    unplanned_kw = np.array([_unplanned_pv_kw(problem, slot) for slot in range(problem.slot_count)])
    unplanned_a = np.abs(base_a - amps_per_kw * unplanned_kw)
    if any_between and problem.supply.pv_curtailable:
        unplanned_a = np.maximum(unplanned_a, base_a)  # Between lines, PV that may be curtailed is not counted upon.
    permitted_a = np.maximum(problem.circuits.limit_a[node], unplanned_a)
    for phase, slot in np.argwhere(current_a > permitted_a + TOLERANCE_A).tolist():
        place = f"{problem.circuits.ids[node]} L{phase + 1}"
        yield Violation("circuit_limit", place, slot, float(current_a[phase, slot]), float(permitted_a[phase, slot]))


def _imbalance(problem: ChargingProblem, node: int, vehicles_a: FloatArray) -> Iterator[Violation]:
    base_a = problem.circuits.uncontrolled_a[node]
    unplanned_a = np.abs(base_a - np.roll(base_a, -1, axis=0))
    total_a = base_a + vehicles_a
    gap_a = np.abs(total_a - np.roll(total_a, -1, axis=0))
    permitted_a = np.maximum(problem.circuits.imbalance_limit_a[node], unplanned_a)
    for phase, slot in np.argwhere(gap_a > permitted_a + TOLERANCE_A).tolist():
        place = f"{problem.circuits.ids[node]} L{phase + 1}-L{(phase + 1) % 3 + 1}"
        yield Violation("phase_imbalance", place, slot, float(gap_a[phase, slot]), float(permitted_a[phase, slot]))
