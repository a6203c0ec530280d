"""Laws of on and off: the minimum current, whole steps, starts and pauses."""

from __future__ import annotations

from itertools import product
from math import floor, inf
from typing import Any

from pyomo.environ import Binary, Constraint, NonNegativeIntegers, NonNegativeReals, Var

from optimizer.planning.reference.given import Given, GivenScope
from optimizer.planning.reference.terms import total


def minimum_current(model: Any, given: Given, scope: GivenScope) -> None:
    """State that a vehicle draws nothing or at least its minimum, and near slots in whole steps."""
    modes, session_of = given.modes, given.session_of
    least_kw = {
        (m, t): modes.min_kw[m, t] if (m, t) in scope.stepped or not _tapers(given, session_of[m]) else 0.0
        for m, t in scope.switched
    }
    switched = [key for key in given.usable if key in scope.switched]
    model.on = Var(switched, domain=Binary)

    def least_power(model: Any, m: str, t: int) -> Any:
        return total([model.power_kw[m, t], -least_kw[m, t] * model.on[m, t]]) >= 0.0

    def most_power(model: Any, m: str, t: int) -> Any:
        return total([model.power_kw[m, t], -modes.max_kw[m, t] * model.on[m, t]]) <= 0.0

    def one_mode_on(model: Any, s: str, t: int) -> Any:
        return total(_on(model, given, s, t)) <= 1.0

    model.least_power = Constraint(switched, rule=least_power)
    model.most_power = Constraint(switched, rule=most_power)
    pairs = dict.fromkeys((session_of[m], t) for m, t in switched)
    model.one_mode_on = Constraint([(s, t) for s, t in pairs if len(given.modes_of[s]) > 1], rule=one_mode_on)

    stepped = [(m, t) for m, t in switched if (m, t) in scope.stepped and modes.step_kw[m] > 0]
    most_steps = {(m, t): floor(modes.max_kw[m, t] / modes.step_kw[m] + 1e-6) for m, t in stepped}
    model.steps = Var(stepped, domain=NonNegativeIntegers, bounds=lambda _, m, t: (0, most_steps[m, t]))

    def whole_steps(model: Any, m: str, t: int) -> Any:
        return total([model.power_kw[m, t], -modes.step_kw[m] * model.steps[m, t]]) == 0.0

    model.whole_steps = Constraint(stepped, rule=whole_steps)

    def discharge_while_on(model: Any, s: str, t: int) -> Any:
        most_kw = given.sessions.most_discharge_kw[s]
        return total([model.discharge_kw[s, t]], _on(model, given, s, t, most_kw)) <= most_kw

    model.discharge_while_on = Constraint([key for key in pairs if key in model.discharge_kw], rule=discharge_while_on)


def _tapers(given: Given, s: str) -> bool:
    """Whether a vehicle may draw less than its minimum by itself; what is sent on near slots is never below it."""
    return bool(given.sessions.capacity_kwh[s] > 0 and given.sessions.knee_kwh[s] < inf)


def _on(model: Any, given: Given, s: str, t: int, weight: float = 1.0) -> list[Any]:
    """``weight`` times the number of a session's modes that are on."""
    return [weight * model.on[m, t] for m in given.modes_of[s] if (m, t) in model.on]


def run_pattern(model: Any, given: Given, scope: GivenScope) -> None:
    """State how often and for how long a vehicle runs; both are soft, so that no limit can contradict them."""
    sessions = given.sessions
    counted = dict.fromkeys((given.session_of[m], t) for m, t in model.on)
    begins = [
        (s, t)
        for s, t in product(scope.patterned, given.slots)
        if (s, t) in counted and ((s, t - 1) in counted or t == _first_slot(given, s))
    ]
    model.start = Var(begins, bounds=(0.0, 1.0))

    def started(model: Any, s: str, t: int) -> Any:
        was_on = 1.0 if t == 0 and sessions.charging_now[s] else 0.0
        switch = [*_on(model, given, s, t, -1.0), *_on(model, given, s, t - 1)]
        return total([model.start[s, t]], switch) >= -was_on

    model.started = Constraint(begins, rule=started)

    of_session: dict[str, list[int]] = {}
    for s, t in begins:
        of_session.setdefault(s, []).append(t)
    bounded = [s for s, slots in of_session.items() if len(slots) > sessions.starts_left[s]]
    model.extra_starts = Var(bounded, domain=NonNegativeReals)

    def most_starts(model: Any, s: str) -> Any:
        starts = [model.start[s, t] for t in of_session[s]]
        return total(starts, [-1.0 * model.extra_starts[s]]) <= sessions.starts_left[s]

    model.most_starts = Constraint(bounded, rule=most_starts)
    _shortest_run(model, given, begins, list(counted))


def _first_slot(given: Given, s: str) -> int:
    """The slot in which a vehicle is there first."""
    return next((t for t in given.slots if given.sessions.plugged_h[s, t] > 0), -1)


def _shortest_run(model: Any, given: Given, begins: list[tuple[str, int]], counted: list[tuple[str, int]]) -> None:
    """Keep a run at its shortest length: what starts in t stays on in every slot u that begins within it."""
    sessions, start_h, least_h = given.sessions, given.slot_start_h, given.problem.min_run_h
    kept = [
        (s, t, u)
        for s, t in begins
        for u in given.slots
        if (s, u) in counted and start_h[t] < start_h[u] < start_h[t] + least_h - 1e-9
    ]
    # A run that goes on now and is too short yet; it has no start in the plan.
    running = [
        (s, u, u)
        for s, u in counted
        if begins and sessions.charging_now[s] and start_h[u] < least_h - sessions.run_so_far_h[s] - 1e-9
    ]
    model.short_run = Var(list(dict.fromkeys(s for s, _, _ in kept + running)), bounds=(0.0, 1.0))

    def shortest_run(model: Any, s: str, t: int, u: int) -> Any:
        started = [-1.0 * model.start[s, t]] if t < u else []
        return total(_on(model, given, s, u), [model.short_run[s]], started) >= (0.0 if t < u else 1.0)

    model.shortest_run = Constraint(kept + running, rule=shortest_run)
