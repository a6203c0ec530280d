"""Rules of thumb on the same problem, under the same limits: baselines, and the fallback when the solver fails.

Each goes slot by slot and hands out what the wires carry; they differ in who is asked first and how much is given at a
time. All but `uncontrolled` keep every limit. None looks at prices, discharges a vehicle or uses the battery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from optimizer.domain.plan import Plan
from optimizer.planning.decision import Decision, plan_of
from optimizer.planning.explain import reasons_of
from optimizer.planning.laws.limits import PHASES, amps_per_site_kw, facet_weights, firm_pv_kw
from optimizer.planning.laws.vehicle import promised_power_kw
from optimizer.planning.problem import ChargingProblem, FloatArray, IntArray

ENOUGH_KWH = 1e-6
"""Remaining need below which a vehicle is done."""
ENOUGH_KW = 1e-9
"""Room below which nothing more is handed out."""


@dataclass(frozen=True, eq=False)
class Wires:
    """Everything of limited size that vehicles share, as rows with a weight for each mode."""

    weight: FloatArray
    """How much of the row a kW of the mode takes, shape (rows, modes)."""
    room: FloatArray
    """What is left to vehicles in each slot, shape (rows, slots)."""


def wires_of(problem: ChargingProblem) -> Wires:
    """Return the limits of power, current and imbalance as rows."""
    circuits = problem.circuits
    below = problem.mode_below.astype(float)
    weights: list[FloatArray] = []
    rooms: list[FloatArray] = []
    load_kw = np.array(circuits.uncontrolled_kw)
    load_kw[0] -= firm_pv_kw(problem)
    for circuit in range(circuits.count):
        for limit_kw, base_kw in (
            (circuits.limit_kw[circuit], load_kw[circuit]),
            (circuits.controllable_limit_kw[circuit], np.zeros(problem.slot_count)),
        ):
            if np.isfinite(limit_kw).any():
                weights.append(below[circuit])
                rooms.append(limit_kw - base_kw)
        for phase in range(PHASES):
            _add_phase(problem, circuit, phase, (weights, rooms))
    slots = problem.slot_count
    if not weights:
        return Wires(np.zeros((0, problem.modes.count)), np.zeros((0, slots)))
    return Wires(np.array(weights), np.array(rooms))


def _add_phase(
    problem: ChargingProblem, circuit: int, phase: int, rows: tuple[list[FloatArray], list[FloatArray]]
) -> None:
    circuits = problem.circuits
    weights, rooms = rows
    base_a = circuits.uncontrolled_a[circuit]
    if np.isfinite(circuits.limit_a[circuit]):
        relief_a = firm_pv_kw(problem) * amps_per_site_kw(problem, circuit)
        for weight in facet_weights(problem, circuit, phase):
            weights.append(weight)
            rooms.append(circuits.limit_a[circuit] - np.maximum(0.0, base_a[phase] - relief_a))
    if np.isfinite(circuits.imbalance_limit_a[circuit]):
        amps = problem.phase_current.sum(axis=2) * problem.mode_below[circuit][:, None]
        for other in ((phase + 1) % PHASES, (phase + 2) % PHASES):
            weights.append(amps[:, phase] - amps[:, other])
            rooms.append(circuits.imbalance_limit_a[circuit] - base_a[phase] + base_a[other])


class Handout:
    """Power handed out so far, slot by slot, and what each vehicle still needs."""

    def __init__(self, problem: ChargingProblem, wires: Wires | None) -> None:
        self.problem = problem
        self.power_kw = np.zeros((problem.modes.count, problem.slot_count))
        self.needed_kwh = np.zeros(problem.sessions.count)
        np.maximum.at(self.needed_kwh, problem.targets.session, problem.targets.need_kwh)
        self.permitted_kwh = np.array(problem.sessions.most_kwh)
        self.content_kwh = np.array(problem.sessions.stored_kwh)
        self.slot = 0
        self.modes_of: list[list[int]] = [[] for _ in range(problem.sessions.count)]
        for mode, session in enumerate(problem.modes.session.tolist()):
            self.modes_of[session].append(mode)
        self._weight = wires.weight if wires is not None else np.zeros((0, problem.modes.count))
        self._room = wires.room if wires is not None else np.zeros((0, problem.slot_count))
        # Few of the wires carry one mode, and each is asked for alone: plain numbers are quicker than arrays.
        self._rows: list[list[tuple[int, float]]] = [[] for _ in range(problem.modes.count)]
        rows, modes = np.nonzero(self._weight)
        for row, mode, weight in zip(rows.tolist(), modes.tolist(), self._weight[rows, modes].tolist(), strict=True):
            self._rows[mode].append((row, weight))
        self._left: list[float] = []
        self._wanted_kw: dict[int, float] = {}

    @cached_property
    def promised_kw(self) -> FloatArray:
        """Power that reservations promise [kW], shape (sessions, slots)."""
        return promised_power_kw(self.problem)

    def begin(self, slot: int) -> list[int]:
        """Start a slot and return the sessions that are there and need energy."""
        self.slot = slot
        self._left, self._wanted_kw = self._room[:, slot].tolist(), {}
        there = self.problem.sessions.plugged_h[:, slot] > 0
        return np.flatnonzero(there & (self.needed_kwh > ENOUGH_KWH)).tolist()

    def end(self) -> None:
        """Finish the slot: count the energy."""
        energy = self.energy_kwh(self.slot)
        self.needed_kwh -= energy
        self.permitted_kwh -= energy
        self.content_kwh += energy * self.problem.sessions.charge_efficiency

    def energy_kwh(self, slot: int) -> FloatArray:
        """Energy handed out in a slot [kWh], shape (sessions,)."""
        power = np.zeros(self.problem.sessions.count)
        np.add.at(power, self.problem.modes.session, self.power_kw[:, slot])
        return np.asarray(power * self.problem.sessions.plugged_h[:, slot])

    def wanted_kw(self, session: int, mode: int) -> float:
        """Power that the vehicle would take in this slot and mode if it were alone [kW]; 0 where it cannot."""
        wanted_kw = self._wanted_kw.get(mode)
        if wanted_kw is None:
            wanted_kw = self._wanted_kw[mode] = self._wanted_alone_kw(session, mode)
        return wanted_kw

    def _wanted_alone_kw(self, session: int, mode: int) -> float:
        problem, slot = self.problem, self.slot
        hours = float(problem.sessions.plugged_h[session, slot])
        most_kw = min(float(problem.modes.max_kw[mode, slot]), self._accepted_kw(session, hours))
        wanted_kw = min(most_kw, float(self.needed_kwh[session]) / hours)
        least_kw = self.least_kw(session, mode)
        wanted_kw = max(self._stepped(mode, wanted_kw, up=True), least_kw)
        if wanted_kw > most_kw + ENOUGH_KW or wanted_kw * hours > float(self.permitted_kwh[session]) + ENOUGH_KWH:
            wanted_kw = self._stepped(mode, min(most_kw, float(self.permitted_kwh[session]) / hours), up=False)
        return wanted_kw if wanted_kw >= least_kw - ENOUGH_KW else 0.0

    def least_kw(self, session: int, mode: int) -> float:
        """Least power that is not zero [kW]; a vehicle that tapers may draw less by itself."""
        if np.isfinite(self.problem.sessions.knee_kwh[session]):
            return min(float(self.problem.modes.min_kw[mode, self.slot]), self._accepted_kw(session, 0.0))
        return float(self.problem.modes.min_kw[mode, self.slot])

    def _accepted_kw(self, session: int, hours: float) -> float:
        vehicles = self.problem.sessions
        knee = float(vehicles.knee_kwh[session])
        capacity = max(float(vehicles.capacity_kwh[session]), float(vehicles.stored_kwh[session]))
        if not np.isfinite(knee) or knee >= capacity:
            return np.inf
        slope = float(vehicles.knee_kw[session]) / (capacity - knee)
        reach = slope * float(vehicles.charge_efficiency[session]) * hours
        share = -np.expm1(-reach) / reach if reach > 0 else 1.0
        return max(0.0, slope * share * (capacity - float(self.content_kwh[session])))

    def _stepped(self, mode: int, power_kw: float, *, up: bool) -> float:
        step = float(self.problem.modes.step_kw[mode])
        if step <= 0:
            return power_kw
        return float((np.ceil(power_kw / step - 1e-6) if up else np.floor(power_kw / step + 1e-6)) * step)

    def room_kw(self, mode: int) -> float:
        """Further power that the wires carry for this mode [kW]."""
        left = self._left
        return max(0.0, min([left[row] / weight for row, weight in self._rows[mode] if weight > 0], default=np.inf))

    def common_room_kw(self, modes: list[int]) -> float:
        """Further power that the wires carry for each of several modes at once [kW]."""
        taken = self._weight[:, modes].sum(axis=1)
        rows = taken > 0
        return max(0.0, float((np.array(self._left)[rows] / taken[rows]).min(initial=np.inf)))

    def mend(self, modes: list[int]) -> None:
        """Take steps back until no wire is overdrawn: whole steps can unbalance phases that were within their limit."""
        while True:
            over = {row for row, left in enumerate(self._left) if left < -ENOUGH_KW}
            drawing = [
                mode
                for mode in modes
                if self.power_kw[mode, self.slot] > 0
                and any(row in over and weight > 0 for row, weight in self._rows[mode])
            ]
            if not drawing:
                return
            mode = max(drawing, key=lambda mode: float(self.power_kw[mode, self.slot]))
            given_kw = float(self.power_kw[mode, self.slot])
            lower_kw = given_kw - float(self.problem.modes.step_kw[mode])
            least_kw = self.least_kw(int(self.problem.modes.session[mode]), mode)
            self.give(mode, -given_kw if lower_kw >= given_kw or lower_kw < least_kw else lower_kw - given_kw)

    def give(self, mode: int, power_kw: float) -> None:
        """Hand out further power to a mode."""
        self.power_kw[mode, self.slot] += power_kw
        for row, weight in self._rows[mode]:
            self._left[row] -= weight * power_kw

    def serve(self, session: int, bound_kw: float = np.inf) -> None:
        """Give a vehicle in one of its modes what it wants, up to what the wires carry and ``bound_kw``."""
        for mode in self.modes_of[session]:
            wanted_kw = min(self.wanted_kw(session, mode), self.room_kw(mode), bound_kw)
            given_kw = self._stepped(mode, wanted_kw, up=False)
            if given_kw > ENOUGH_KW and given_kw >= self.least_kw(session, mode) - ENOUGH_KW:
                self.give(mode, given_kw)
                return

    def serve_minimum(self, session: int) -> int | None:
        """Give a vehicle its minimum where it fits; returns the mode, ``None`` where it gets nothing."""
        for mode in self.modes_of[session][::-1]:
            wanted_kw = self.wanted_kw(session, mode)
            least_kw = self._stepped(mode, self.least_kw(session, mode), up=True)
            if wanted_kw > ENOUGH_KW and min(wanted_kw, self.room_kw(mode)) >= least_kw - ENOUGH_KW:
                self.give(mode, least_kw)
                return mode
        return None


SortKey = Callable[[Handout, int], float]


def uncontrolled(problem: ChargingProblem) -> Plan:
    """Charge everyone at full power from plug-in, whatever the wires carry."""
    handout = Handout(problem, None)
    for slot in range(problem.slot_count):
        for session in handout.begin(slot):
            handout.serve(session)
        handout.end()
    return finished(handout)


def first_come(problem: ChargingProblem) -> Plan:
    """Serve in the order of arrival."""
    return _sorted_plan(problem, lambda _, session: float(problem.sessions.arrive_h[session]))


def earliest_departure(problem: ChargingProblem) -> Plan:
    """Serve in the order of departure."""
    leaves_h = _leaving_h(problem)
    return _sorted_plan(problem, lambda _, session: float(leaves_h[session]))


def least_laxity(problem: ChargingProblem) -> Plan:
    """Serve in the order of laxity: time to departure less time needed at full power."""
    return _sorted_plan(problem, laxity_key(problem))


def laxity_key(problem: ChargingProblem) -> SortKey:
    """Laxity of a session at the slot in hand: time to departure less time needed at full power [h]."""
    leaves_h = _leaving_h(problem)
    full_kw = np.zeros(problem.sessions.count)
    np.maximum.at(full_kw, problem.modes.session, problem.modes.max_kw.max(axis=1, initial=0.0))

    def laxity_h(handout: Handout, session: int) -> float:
        left_h = leaves_h[session] - problem.slot_start_h[handout.slot]
        return float(left_h - handout.needed_kwh[session] / max(full_kw[session], ENOUGH_KW))

    return laxity_h


def equal_share(problem: ChargingProblem) -> Plan:
    """Give everyone the same power as far as it can be used; who has least time is the first to get a minimum."""
    laxity = laxity_key(problem)
    handout = Handout(problem, wires_of(problem))
    for slot in range(problem.slot_count):
        active = handout.begin(slot)
        _serve_promises(handout, active)
        running = _serve_minimums(handout, ordered(handout, active, laxity))
        _raise_evenly(handout, running)
        handout.end()
    return finished(handout)


def round_robin(problem: ChargingProblem) -> Plan:
    """Give everyone one step more in turn until nothing fits."""
    handout = Handout(problem, wires_of(problem))
    for slot in range(problem.slot_count):
        active = handout.begin(slot)
        _serve_promises(handout, active)
        turn = slot % max(len(active), 1)
        queue = _serve_minimums(handout, active[turn:] + active[:turn])
        while queue:
            queue = [mode for mode in queue if _give_step(handout, mode)]
        handout.end()
    return finished(handout)


def _give_step(handout: Handout, mode: int) -> bool:
    """Give one step more where it is wanted and fits."""
    problem = handout.problem
    session = int(problem.modes.session[mode])
    step_kw = float(problem.modes.step_kw[mode]) or 1.0 / float(problem.modes.amps_per_kw[mode])
    given_kw = float(handout.power_kw[mode, handout.slot])
    if given_kw + step_kw > handout.wanted_kw(session, mode) + ENOUGH_KW or handout.room_kw(mode) + ENOUGH_KW < step_kw:
        return False
    handout.give(mode, step_kw)
    return True


def _serve_promises(handout: Handout, active: Iterable[int]) -> None:
    promised_kw = handout.promised_kw[:, handout.slot]
    for session in active:
        if promised_kw[session] > 0:
            handout.serve(session, float(promised_kw[session]))


def _serve_minimums(handout: Handout, active: Iterable[int]) -> list[int]:
    """Give each its minimum where it fits; returns the modes that run."""
    running = []
    for session in active:
        given = [mode for mode in handout.modes_of[session] if handout.power_kw[mode, handout.slot] > 0]
        mode = given[0] if given else handout.serve_minimum(session)
        if mode is not None:
            running.append(mode)
    return running


def _raise_evenly(handout: Handout, modes: list[int]) -> None:
    """Raise the power of all running modes together; who is at its bound or a full wire stays behind."""
    problem, slot = handout.problem, handout.slot
    rising = _able_to_rise(handout, modes)
    while rising:
        level_kw = min(float(handout.power_kw[mode, slot]) for mode in rising)
        lowest = [mode for mode in rising if handout.power_kw[mode, slot] <= level_kw + ENOUGH_KW]
        gaps_kw = [float(handout.power_kw[mode, slot]) - level_kw for mode in rising if mode not in lowest]
        heads_kw = [_headroom_kw(handout, mode) for mode in lowest]
        rise_kw = min([*gaps_kw, *heads_kw, handout.common_room_kw(lowest)])
        for mode in lowest:
            handout.give(mode, rise_kw)
        rising = _able_to_rise(handout, rising)
    for mode in modes:
        step_kw = float(problem.modes.step_kw[mode])
        if step_kw > 0:
            given_kw = float(handout.power_kw[mode, slot])
            handout.give(mode, np.floor(given_kw / step_kw + 1e-6) * step_kw - given_kw)
    handout.mend(modes)


def _able_to_rise(handout: Handout, modes: list[int]) -> list[int]:
    return [mode for mode in modes if min(_headroom_kw(handout, mode), handout.room_kw(mode)) > 1e-6]


def _headroom_kw(handout: Handout, mode: int) -> float:
    session = int(handout.problem.modes.session[mode])
    return handout.wanted_kw(session, mode) - float(handout.power_kw[mode, handout.slot])


def ordered(handout: Handout, active: Iterable[int], key: SortKey) -> list[int]:
    """Sessions by tier, and by ``key`` within it."""
    tiers = handout.problem.sessions.tier
    return sorted(active, key=lambda session: (int(tiers[session]), key(handout, session), session))


def _sorted_plan(problem: ChargingProblem, key: SortKey) -> Plan:
    handout = Handout(problem, wires_of(problem))
    for slot in range(problem.slot_count):
        for session in ordered(handout, handout.begin(slot), key):
            handout.serve(session)
        handout.end()
    return finished(handout)


def _leaving_h(problem: ChargingProblem) -> FloatArray:
    """When each session leaves, from now [h], shape (sessions,)."""
    there = problem.sessions.plugged_h > 0
    last: IntArray = problem.slot_count - 1 - there[:, ::-1].argmax(axis=1)
    leaves = problem.slot_start_h[last] + problem.sessions.plugged_h[np.arange(problem.sessions.count), last]
    for target, session in enumerate(problem.targets.session.tolist()):
        due_h = (problem.targets.depart_at[target] - problem.now).total_seconds() / 3600.0
        leaves[session] = min(leaves[session], due_h)
    return np.asarray(leaves)


def finished(handout: Handout) -> Plan:
    """The plan that follows from what was handed out."""
    problem = handout.problem
    decision = Decision(
        power_kw=handout.power_kw,
        discharge_kw=np.zeros((problem.sessions.count, problem.slot_count)),
        battery_kw=np.zeros(problem.slot_count),
        pv_kw=_pv_kw(problem, handout.power_kw),
    )
    return plan_of(problem, decision, reasons_of(problem, decision))


def _pv_kw(problem: ChargingProblem, power_kw: FloatArray) -> FloatArray:
    """PV less what has to be curtailed to keep the export limit [kW], shape (slots,)."""
    pv_kw = np.array(problem.supply.pv_kw)
    if not problem.supply.pv_curtailable:
        return pv_kw
    share = problem.sessions.plugged_h / problem.slot_h
    load_kw = problem.circuits.uncontrolled_kw[0] + (power_kw * share[problem.modes.session]).sum(axis=0)
    return np.asarray(np.minimum(pv_kw, np.maximum(0.0, load_kw + problem.circuits.feed_limit_kw[0])))


HEURISTICS: dict[str, Callable[[ChargingProblem], Plan]] = {
    "uncontrolled": uncontrolled,
    "equal_share": equal_share,
    "round_robin": round_robin,
    "first_come": first_come,
    "earliest_departure": earliest_departure,
    "least_laxity": least_laxity,
}
"""Every heuristic by name; the last is the fallback."""

FALLBACK = "least_laxity"
"""The heuristic that stands in for the solver."""
