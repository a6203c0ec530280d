"""What a plan is judged by: safety excess, unserved energy by tier, money, and what shapes ties before money does.

Each function returns the coefficients of one objective over all columns. Safety and unserved energy come first by
weights that are computed from the problem's own prices: one kWh unserved costs more than any kWh could ever save, one
kWh of a higher tier more than all kWh of a lower one that it can displace.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from optimizer.planning.laws.vehicle import FAIRNESS_STEPS
from optimizer.planning.model import LinearModel
from optimizer.planning.problem import SQRT3_LESS_1, ChargingProblem, FloatArray

FAIRNESS_SLOPE = 0.1
"""How much more each further part of a target's unserved energy weighs; enough to share, too little to waste."""

DOMINANCE = 2.0
"""Factor by which a weight exceeds what it must dominate."""

LEAST_WORTH = 1.0
"""Worth of a kWh where all prices are zero [currency/kWh]; only its being above zero matters."""


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights of unserved energy and safety excess, derived from one problem."""

    problem: ChargingProblem
    """The problem."""

    @cached_property
    def greatest_saving_per_kwh(self) -> float:
        """More than any plan can save by not charging one kWh [currency/kWh]."""
        problem, supply = self.problem, self.problem.supply
        paid = np.abs(supply.import_price_per_kwh) + problem.carbon_price_per_kg * supply.carbon_kg_per_kwh
        earned = np.abs(supply.export_price_per_kwh)
        peak = np.zeros(problem.slot_count)
        demand = problem.demand
        if len(demand.charge):
            per_slot = demand.slot_share * demand.price_per_kw[demand.charge][:, None]
            charges = np.zeros((demand.count, problem.slot_count))
            np.maximum.at(charges, demand.charge, per_slot)
            peak = charges.sum(axis=0) / problem.slot_h
        setpoint = problem.setpoint_price_per_kwh if supply.has_setpoint.any() else 0.0
        wear = problem.sessions.discharge_wear_per_kwh.max(initial=0.0)
        battery = problem.battery
        stored = abs(battery.end_price_per_kwh) + battery.wear_per_kwh if battery else 0.0
        horizon_h = float(problem.slot_h.sum())
        shaped = problem.energy_worth_per_kwh + 2.0 * problem.delay_price_per_kwh_h * horizon_h
        greatest = float((paid + earned + peak).max()) + setpoint + wear + stored + shaped
        return float(max(greatest, 0.0))

    @cached_property
    def displacement(self) -> float:
        """How many kWh of other vehicles one kWh may displace through the amperes of a phase, and losses."""
        amps = self.problem.modes.amps_per_kw
        running = amps[self.problem.usable.any(axis=1)]
        ratio = float(running.max() / running.min()) if running.size else 1.0
        if self.problem.modes.line_to_line.any():
            ratio /= float(SQRT3_LESS_1)
        sessions = self.problem.sessions
        losses = float((sessions.charge_efficiency * sessions.discharge_efficiency).min(initial=1.0))
        return ratio / losses

    @cached_property
    def of_tier(self) -> dict[int, float]:
        """Weight of an unserved kWh by tier [currency/kWh]."""
        weight = DOMINANCE * max(self.greatest_saving_per_kwh, LEAST_WORTH)
        step = DOMINANCE * (1.0 + FAIRNESS_SLOPE * FAIRNESS_STEPS) * self.displacement
        weights = {}
        for tier in sorted(set(self.problem.sessions.tier.tolist()), reverse=True):
            weights[tier] = weight
            weight *= step
        return weights

    @cached_property
    def safety_per_kwh(self) -> float:
        """Weight of exceeding a limit [currency/kWh]."""
        top = max(self.of_tier.values(), default=max(self.greatest_saving_per_kwh, LEAST_WORTH))
        return DOMINANCE * (1.0 + FAIRNESS_SLOPE * FAIRNESS_STEPS) * self.displacement * top

    @cached_property
    def of_session(self) -> FloatArray:
        """Weight of an unserved kWh of each session [currency/kWh], shape (sessions,)."""
        return np.array([self.of_tier[tier] for tier in self.problem.sessions.tier.tolist()])


KW_EXCESS = ("import_excess_kw", "export_excess_kw", "circuit_excess_kw", "feed_excess_kw")
AMPERE_EXCESS = ("phase_excess_a", "imbalance_over_a", "imbalance_under_a")


def safety_excess(problem: ChargingProblem, model: LinearModel, weights: Weights) -> FloatArray:
    """Coefficients of what exceeds limits that the problem violates already, shape (columns,)."""
    cost = np.zeros(model.column_count)
    for name in (*KW_EXCESS, *AMPERE_EXCESS):
        if name in model.columns:
            block = model.columns[name]
            slot = block.keys[block.axes.index("t")]
            kw_each = problem.supply.phase_voltage_v / 1000.0 if name in AMPERE_EXCESS else 1.0
            cost[block.span] = weights.safety_per_kwh * problem.slot_h[slot] * kw_each
    return cost


def unserved_energy(problem: ChargingProblem, model: LinearModel, weights: Weights) -> FloatArray:
    """Coefficients of unserved energy and missed guarantees, shape (columns,)."""
    cost = np.zeros(model.column_count)
    if "unserved_kwh" in model.columns:
        block = model.columns["unserved_kwh"]
        target, step = block.keys
        slope = 1.0 + FAIRNESS_SLOPE * step
        cost[block.span] = weights.of_session[problem.targets.session[target]] * slope
    if "floor_gap_kw" in model.columns:
        block = model.columns["floor_gap_kw"]
        session, slot = block.keys
        cost[block.span] = weights.of_session[session] * problem.sessions.plugged_h[session, slot]
    for name in ("extra_starts", "short_run"):
        if name in model.columns:
            block = model.columns[name]
            share = 1.0 if name == "extra_starts" else SHORT_RUN_KWH
            cost[block.span] = weights.of_session[block.keys[0]] * share
    return cost


SHORT_RUN_KWH = 0.01
"""Unserved energy that a run below the shortest length counts like [kWh]: avoided, but not at a driver's cost."""


def money(problem: ChargingProblem, model: LinearModel) -> FloatArray:
    """Coefficients of what a plan costs: energy, export, demand, wear, carbon, events [currency], shape (columns,)."""
    supply, cost = problem.supply, np.zeros(model.column_count)
    carbon = problem.carbon_price_per_kg * supply.carbon_kg_per_kwh
    cost[model.columns["grid_import_kw"].span] = problem.slot_h * (supply.import_price_per_kwh + carbon)
    if "grid_export_kw" in model.columns:
        block = model.columns["grid_export_kw"]
        (slot,) = block.keys
        cost[block.span] = -(problem.slot_h * supply.export_price_per_kwh)[slot]
    if "peak_kw" in model.columns:
        cost[model.columns["peak_kw"].span] = problem.demand.price_per_kw
    if problem.battery is not None:
        cost[model.columns["battery_discharge_kw"].span] = problem.slot_h * problem.battery.wear_per_kwh
        end = model.columns["battery_kwh"].indices[-1]
        cost[end] = -problem.battery.end_price_per_kwh
    if "discharge_kw" in model.columns:
        block = model.columns["discharge_kw"]
        session, slot = block.keys
        wear = problem.sessions.discharge_wear_per_kwh[session]
        cost[block.span] = wear * problem.sessions.plugged_h[session, slot]
    for name in ("setpoint_over_kw", "setpoint_under_kw"):
        if name in model.columns:
            block = model.columns[name]
            cost[block.span] = problem.setpoint_price_per_kwh * problem.slot_h[block.keys[0]]
    return cost


def money_offset(problem: ChargingProblem) -> float:
    """What no decision changes: the peak already reached and the worth of the battery's content now [currency]."""
    offset = -float(problem.demand.price_per_kw @ problem.demand.reached_kw)
    if problem.battery is not None:
        offset += problem.battery.end_price_per_kwh * problem.battery.content_kwh
    return offset


def shaping(problem: ChargingProblem, model: LinearModel) -> FloatArray:
    """Coefficients of what is weighed against money but not paid: departure risk, delay, starts, shape (columns,)."""
    cost = np.zeros(model.column_count)
    block = model.columns.get("power_kw")
    if block is not None:
        mode, slot = block.keys
        session = problem.modes.session[mode]
        risk = problem.energy_worth_per_kwh * (1.0 - problem.sessions.stay_chance[session, slot])
        delay = problem.delay_price_per_kwh_h * problem.haste[session] * problem.slot_start_h[slot]
        cost[block.span] = (risk + delay) * problem.energy_h[mode, slot]
    if "start" in model.columns:
        cost[model.columns["start"].span] = problem.start_price
    return cost


def whole_objective(problem: ChargingProblem, model: LinearModel, weights: Weights) -> FloatArray:
    """The sum of all objectives that one solve minimises, shape (columns,)."""
    return (
        safety_excess(problem, model, weights)
        + unserved_energy(problem, model, weights)
        + money(problem, model)
        + shaping(problem, model)
    )
