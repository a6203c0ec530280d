"""Laws of one vehicle: its power, its energy, its targets, its battery, what was promised to it."""

from __future__ import annotations

from itertools import product
from math import expm1
from typing import Any

from pyomo.environ import Binary, Constraint, Var

from optimizer.planning.laws.vehicle import FAIRNESS_STEPS
from optimizer.planning.reference.given import Given, GivenScope
from optimizer.planning.reference.terms import charging, discharging, total


def power_limit(model: Any, given: Given, scope: GivenScope) -> None:
    """State that charging and discharging stay within EVSE, cable, vehicle and time-varying limits."""
    max_kw, most_discharge_kw = given.modes.max_kw, given.sessions.most_discharge_kw
    model.power_kw = Var(list(given.usable), bounds=lambda _, m, t: (0.0, max_kw[m, t]))
    model.discharge_kw = Var(given.may_discharge, bounds=lambda _, s, *_t: (0.0, most_discharge_kw[s]))

    several = [s for s in given.sessions if len(given.modes_of[s]) > 1]
    shared = [
        (s, t) for s, t in product(several, given.slots) if any((m, t) in given.usable for m in given.modes_of[s])
    ]

    def one_mode(model: Any, s: str, t: int) -> Any:
        usable = [m for m in given.modes_of[s] if (m, t) in given.usable]
        return total(1.0 / max_kw[m, t] * model.power_kw[m, t] for m in usable) <= 1.0

    model.one_mode = Constraint(shared, rule=one_mode)

    one_way = [key for key in given.may_discharge if key in scope.one_way_vehicle]
    model.vehicle_charging = Var(one_way, domain=Binary)

    def discharge_way(model: Any, s: str, t: int) -> Any:
        most = most_discharge_kw[s]
        return total([model.discharge_kw[s, t], most * model.vehicle_charging[s, t]]) <= most

    def charge_way(model: Any, m: str, t: int) -> Any:
        way = model.vehicle_charging[given.session_of[m], t]
        return total([model.power_kw[m, t], -max_kw[m, t] * way]) <= 0.0

    model.discharge_way = Constraint(one_way, rule=discharge_way)
    held = [(m, t) for m, t in given.usable if (given.session_of[m], t) in model.vehicle_charging]
    model.charge_way = Constraint(held, rule=charge_way)


def energy_balance(model: Any, given: Given, scope: GivenScope) -> None:
    """State that stored energy changes by what is charged and discharged, and stays within what is wanted."""
    del scope
    sessions = given.sessions

    def wanted(model: Any, s: str) -> Any:
        charged = charging(model, given, s, {t: sessions.plugged_h[s, t] for t in given.slots})
        drawn = discharging(model, s, {t: -sessions.plugged_h[s, t] * given.net_loss[s] for t in given.slots})
        return total(charged, drawn) <= sessions.most_kwh[s]

    model.energy_balance = Constraint(list(sessions), rule=wanted)

    followed = {s: followed_boundaries(given, s) for s in sessions}
    contents = [(s, b) for s in sessions for b in followed[s]]
    model.stored_kwh = Var(contents, bounds=lambda _, s, b: content_bounds(given, s, b))

    def stored_energy(model: Any, s: str, b: int) -> Any:
        before = max((earlier for earlier in followed[s] if earlier < b), default=None)
        hours = {t: sessions.plugged_h[s, t] for t in given.slots if (before or 0) <= t < b}
        gained = charging(model, given, s, {t: -sessions.charge_efficiency[s] * h for t, h in hours.items()})
        drawn = discharging(model, s, {t: h / sessions.discharge_efficiency[s] for t, h in hours.items()})
        content_before = [] if before is None else [-1.0 * model.stored_kwh[s, before]]
        known_kwh = sessions.stored_kwh[s] if before is None else 0.0
        return total([model.stored_kwh[s, b]], content_before, gained, drawn) == known_kwh

    model.stored_energy = Constraint([(s, b) for s, b in contents if b > 0], rule=stored_energy)


def followed_boundaries(given: Given, s: str) -> list[int]:
    """Boundaries at which a vehicle's content must be known: with discharging all of its stay, with taper alone some.

    A vehicle that tapers is followed at the starts of the slots in which it may pass its knee.
    """
    plugged_h = given.sessions.plugged_h
    followed = {t for t, tapers in enumerate(may_taper(given, s)) if tapers}
    if s in given.discharging:
        followed |= {b for t in given.slots if plugged_h[s, t] > 0 for b in (t, t + 1)}
    return sorted(followed)


def may_taper(given: Given, s: str) -> list[bool]:
    """Where a vehicle may pass its knee by the end of the slot, one a slot."""
    sessions, most_kw = given.sessions, given.modes.max_kw
    gained_kwh, tapers = 0.0, []
    for t in given.slots:
        gained_kwh += max(most_kw[m, t] for m in given.modes_of[s]) * sessions.plugged_h[s, t]
        passes = sessions.stored_kwh[s] + gained_kwh * sessions.charge_efficiency[s] > sessions.knee_kwh[s]
        tapers.append(passes and sessions.plugged_h[s, t] > 0 and sessions.knee_kwh[s] < sessions.capacity_kwh[s])
    return tapers


def content_bounds(given: Given, s: str, b: int) -> tuple[float, float]:
    """Least and greatest content of a vehicle's battery [kWh]; a content outside them now moves the bound there."""
    sessions, now = given.sessions, given.sessions.stored_kwh[s]
    if b == 0:
        return now, now
    floor = sessions.discharge_floor_kwh[s] if s in given.discharging else 0.0
    return min(floor, now), max(sessions.capacity_kwh[s], now)


def departure_target(model: Any, given: Given, scope: GivenScope) -> None:
    """State that energy is delivered by a time; what cannot be is ``unserved_kwh``."""
    del scope
    targets, steps = given.targets, range(FAIRNESS_STEPS)
    wanted = [k for k in targets if given.due_kwh[k] > 0]

    def part(_: Any, k: str, q: int) -> tuple[float, float]:
        equal_kwh = (given.sessions.delivered_kwh[given.target_session[k]] + given.due_kwh[k]) / FAIRNESS_STEPS
        return 0.0, min(max(given.due_kwh[k] - q * equal_kwh, 0.0), equal_kwh)

    model.unserved_kwh = Var(list(product(wanted, steps)), bounds=part)

    def met(model: Any, k: str) -> Any:
        s, counted_h = given.target_session[k], targets.counted_h
        delivered = charging(model, given, s, {t: counted_h[k, t] for t in given.slots})
        drawn = discharging(model, s, {t: -counted_h[k, t] * given.net_loss[s] for t in given.slots})
        missing = [model.unserved_kwh[k, q] for q in steps]
        return total(delivered, drawn, missing) >= given.due_kwh[k]

    model.departure_target = Constraint(wanted, rule=met)


def taper(model: Any, given: Given, scope: GivenScope) -> None:
    """State that above the knee a vehicle's acceptance falls linearly with its stored energy.

    What is sent on near slots is never below the minimum, even where the vehicle takes less: ``at_least`` says where.
    """
    sessions, modes = given.sessions, given.modes
    above_knee = dict.fromkeys((s, t) for s in sessions for t, tapers in enumerate(may_taper(given, s)) if tapers)
    sent = [(m, t) for m, t in given.usable if (m, t) in scope.stepped and (given.session_of[m], t) in above_knee]
    full_kwh = {s: max(sessions.capacity_kwh[s], sessions.stored_kwh[s]) for s in sessions}
    model.at_least = Var(sent, domain=Binary)

    def accepted(model: Any, s: str, t: int) -> Any:
        slope = sessions.knee_kw[s] / (sessions.capacity_kwh[s] - sessions.knee_kwh[s])
        reach = slope * sessions.charge_efficiency[s] * sessions.plugged_h[s, t]
        # The mean of exp(-x) over the slot: the vehicle follows its line while it fills.
        mean_slope = slope * -expm1(-reach) / max(reach, 1e-12)
        at_least = [-modes.min_kw[m, t] * model.at_least[m, t] for m in given.modes_of[s] if (m, t) in model.at_least]
        content = [mean_slope * model.stored_kwh[s, t]]
        return total(charging(model, given, s, {t: 1.0}), content, at_least) <= mean_slope * full_kwh[s]

    def taper_least(model: Any, m: str, t: int) -> Any:
        more_kw = modes.max_kw[m, t] - modes.min_kw[m, t]
        bound = [-modes.max_kw[m, t] * model.on[m, t], more_kw * model.at_least[m, t]]
        return total([model.power_kw[m, t]], bound) <= 0.0

    def taper_room(model: Any, m: str, t: int) -> Any:
        s = given.session_of[m]
        gained = sessions.charge_efficiency[s] * sessions.plugged_h[s, t] * model.power_kw[m, t]
        return total([gained, model.stored_kwh[s, t]]) <= full_kwh[s]

    model.taper = Constraint(list(above_knee), rule=accepted)
    model.taper_least = Constraint(sent, rule=taper_least)
    model.taper_room = Constraint(sent, rule=taper_room)


def reservation_floor(model: Any, given: Given, scope: GivenScope) -> None:
    """State that a reservation's guaranteed power is given from plug-in until the promised energy is delivered."""
    del scope
    promised = {(s, t): kw for s in given.sessions for t, kw in enumerate(_promised_kw(given, s)) if kw > 0}
    model.floor_gap_kw = Var(list(promised), bounds=lambda _, s, t: (0.0, promised[s, t]))

    def kept(model: Any, s: str, t: int) -> Any:
        return total(charging(model, given, s, {t: 1.0}), [model.floor_gap_kw[s, t]]) >= promised[s, t]

    model.reservation_floor = Constraint(list(promised), rule=kept)


def _promised_kw(given: Given, s: str) -> list[float]:
    """Power promised in each slot, as the mean over the time there [kW]."""
    sessions, promised_kw = given.sessions, []
    left_h = sessions.guaranteed_kwh[s] / sessions.guaranteed_kw[s] if sessions.guaranteed_kw[s] > 0 else 0.0
    for t in given.slots:
        there_h = sessions.plugged_h[s, t]
        held_h = min(max(left_h, 0.0), there_h)
        promised_kw.append(held_h / there_h * sessions.guaranteed_kw[s] if there_h > 0 else 0.0)
        left_h -= there_h
    return promised_kw
