"""What a plan is judged by, as expressions over the columns: safety, unserved energy, money, shaping."""

from __future__ import annotations

from typing import Any

from pyomo.environ import Expression, Objective, minimize

from optimizer.planning.objectives import (
    AMPERE_EXCESS,
    FAIRNESS_SLOPE,
    KW_EXCESS,
    SHORT_RUN_KWH,
    Weights,
)
from optimizer.planning.reference.given import Given
from optimizer.planning.reference.terms import total


def state_objectives(model: Any, given: Given) -> None:
    """Add the expressions ``safety_excess``, ``unserved_energy``, ``money``, ``shaping`` and their sum as objective."""
    weights = Weights(given.problem)
    model.safety_excess = Expression(expr=safety_excess(model, given, weights))
    model.unserved_energy = Expression(expr=unserved_energy(model, given, weights))
    model.money = Expression(expr=money(model, given))
    model.shaping = Expression(expr=shaping(model, given))
    objectives = (model.safety_excess, model.unserved_energy, model.money, model.shaping)
    model.objective = Objective(expr=total(*(term.expr.args for term in objectives)), sense=minimize)


def safety_excess(model: Any, given: Given, weights: Weights) -> Any:
    """What exceeds limits that the uncontrolled load violates already, as energy [kWh], times its weight."""
    terms = []
    for name in (*KW_EXCESS, *AMPERE_EXCESS):
        kw_each = given.supply.phase_voltage_v / 1000.0 if name in AMPERE_EXCESS else 1.0
        for key, column in getattr(model, name).items():
            t = _slot_of(key)
            terms.append(weights.safety_per_kwh * given.slot_h[t] * kw_each * column)
    return total(terms)


def _slot_of(key: Any) -> int:
    """The slot in a key, the only number there."""
    names = key if isinstance(key, tuple) else (key,)
    return next(name for name in names if isinstance(name, int))


def unserved_energy(model: Any, given: Given, weights: Weights) -> Any:
    """Unserved energy and missed guarantees [kWh], times the weights of the sessions' tiers."""
    weight_of = dict(zip(given.sessions, weights.of_session.tolist(), strict=True))
    terms = [
        weight_of[given.target_session[k]] * (1.0 + FAIRNESS_SLOPE * q) * column
        for (k, q), column in model.unserved_kwh.items()
    ]
    terms += [weight_of[s] * given.sessions.plugged_h[s, t] * column for (s, t), column in model.floor_gap_kw.items()]
    terms += [weight_of[s] * column for s, column in model.extra_starts.items()]
    terms += [weight_of[s] * SHORT_RUN_KWH * column for s, column in model.short_run.items()]
    return total(terms)


def money(model: Any, given: Given) -> Any:
    """What a plan costs: energy, export, demand, wear, carbon, events [currency]."""
    supply, slot_h, problem = given.supply, given.slot_h, given.problem
    terms = []
    for t in given.slots:
        price = supply.import_price_per_kwh[t] + problem.carbon_price_per_kg * supply.carbon_kg_per_kwh[t]
        terms.append(slot_h[t] * price * model.grid_import_kw[t])
    terms += [-slot_h[t] * supply.export_price_per_kwh[t] * column for t, column in model.grid_export_kw.items()]
    terms += [given.demand.price_per_kw[d] * column for d, column in model.peak_kw.items()]
    if given.battery is not None:
        wear = given.battery.wear_per_kwh
        terms += [slot_h[t] * wear * column for t, column in model.battery_discharge_kw.items()]
        terms.append(-given.battery.end_price_per_kwh * model.battery_kwh[len(given.slots)])
    for (s, t), column in model.discharge_kw.items():
        terms.append(given.sessions.discharge_wear_per_kwh[s] * given.sessions.plugged_h[s, t] * column)
    for missed in (model.setpoint_over_kw, model.setpoint_under_kw):
        terms += [problem.setpoint_price_per_kwh * slot_h[t] * column for t, column in missed.items()]
    return total(terms)


def shaping(model: Any, given: Given) -> Any:
    """What is weighed against money but not paid: departure risk, delay, starts [currency]."""
    problem, stay_chance = given.problem, given.sessions.stay_chance
    haste = dict(zip(given.sessions, problem.haste.tolist(), strict=True))
    terms = []
    for (m, t), hours in given.usable.items():
        s = given.session_of[m]
        risk = problem.energy_worth_per_kwh * (1.0 - stay_chance[s, t])
        delay = problem.delay_price_per_kwh_h * haste[s] * given.slot_start_h[t]
        terms.append((risk + delay) * hours * model.power_kw[m, t])
    terms += [problem.start_price * column for column in model.start.values()]
    return total(terms)
