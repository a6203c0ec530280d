"""From a problem to a plan: a linear bound, then minimum currents, whole steps and preferences within a proven gap."""

from __future__ import annotations

import numpy as np

from optimizer.domain.plan import Fallback, FeasibleAtLimit, Plan, PlanOutcome, ProvenOptimal
from optimizer.errors import PlanningFailed
from optimizer.planning.decision import Decision, plan_of
from optimizer.planning.directions import in_one_direction
from optimizer.planning.explain import reasons_of
from optimizer.planning.fallback import fallback_of
from optimizer.planning.greedy import greedy_basis
from optimizer.planning.highs import INTERIOR_FROM_ROWS, SolverAnswer, SolverModel
from optimizer.planning.model import LinearModel, weighted_sum
from optimizer.planning.objectives import Weights, money, money_offset, shaping
from optimizer.planning.problem import ChargingProblem, FloatArray
from optimizer.planning.rounding import ZERO_KW, power_of
from optimizer.planning.scope import linear_scope, near_scope, whole_scope
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.solving import NEGLIGIBLE_MONEY, Found, Held, Solving
from optimizer.planning.stages import proven_further, rounded, steered
from optimizer.planning.tape import tape_of
from optimizer.planning.verify import unsafe
from optimizer.planning.warm import PlanMemory

__all__ = ["NEGLIGIBLE_MONEY", "checked_plan", "decision_of", "near_scope", "plan_charging"]


def plan_charging(
    problem: ChargingProblem,
    settings: PlanningSettings | None = None,
    memory: PlanMemory | None = None,
    tape: str = "",
) -> PlanOutcome:
    """Return the best plan found within the time limit; never raises for what a person, vehicle or meter brings.

    Args:
        problem: What is to be planned.
        settings: The operator's choices; the defaults where ``None``.
        memory: What the plan before left, and this one leaves for the next; ``None``: every plan from nothing.
        tape: What a time limit cut short in an earlier run on this problem, to make the same plan again.
    """
    chosen = settings if settings is not None else PlanningSettings()
    solving = Solving(problem, chosen, Weights(problem), tape=tape_of(tape))
    try:
        return _solved(solving, memory)
    except PlanningFailed as failure:
        return fallback_of(problem, str(failure), solving.figures(), solving.linear_kw)


def checked_plan(
    problem: ChargingProblem,
    settings: PlanningSettings | None = None,
    memory: PlanMemory | None = None,
    tape: str = "",
) -> PlanOutcome:
    """Return what `plan_charging` does, or the fallback's plan where the independent check finds that one unsafe.

    What is sent to stations comes from here: a mistake in a law or in the solver must not reach a fuse.
    """
    outcome = plan_charging(problem, settings, memory, tape)
    broken = unsafe(problem, outcome.plan)
    if not broken or isinstance(outcome, Fallback):
        return outcome
    reason = f"the solver's plan breaks a law: {broken[0]}"
    return fallback_of(problem, reason, outcome.figures)


def _solved(solving: Solving, memory: PlanMemory | None) -> PlanOutcome:
    problem = solving.problem
    staged = solving.build(linear_scope(problem))
    solver = SolverModel(staged.model, staged.aim)
    start = memory.basis_for(problem, staged.model) if memory is not None else None
    if start is not None:
        solver.start_at(start)
    elif staged.model.row_count < INTERIOR_FROM_ROWS:
        solver.start_at(greedy_basis(problem, staged.model, staged.aim), near=False)
    relaxed = solving.run(solver)
    if not relaxed.has_values:
        raise PlanningFailed(f"the linear problem has no solution within the time limit ({relaxed.end})")
    if memory is not None:
        memory.remember(problem, staged.model, solver.basis())
    linear = Found(staged, relaxed.values)
    solving.linear_kw = problem.over_modes(np.add, power_of(problem, staged.model, relaxed.values))
    solving.least_cost = linear.objective
    solving.money_scale = abs(weighted_sum(money(problem, staged.model), linear.values) + money_offset(problem))
    prices = _marginal_prices(problem, staged.model, relaxed)
    held = Held(linear, solver)
    chosen = steered(solving, held)
    if not solving.settings.minimum_current:
        return _outcome(solving, chosen.found, relaxed.bound, prices)
    found, bound = chosen.found, relaxed.bound
    if not whole_scope(problem).is_linear:
        found = rounded(solving, held, chosen)
        if not solving.is_close(found.objective, bound):
            found, bound = proven_further(solving, found, bound)
    return _outcome(solving, in_one_direction(solving, found), bound, prices)


def decision_of(problem: ChargingProblem, found: Found) -> Decision:
    """Read the decision out of a solution; powers that differ from zero or a bound by rounding are set there."""
    model, slots = found.model, problem.slot_count
    values = np.clip(found.values, model.lower, model.upper)
    power = power_of(problem, model, values)
    power[power < ZERO_KW] = 0.0
    per_slot = {
        name: model.columns[name].spread(values, slots)
        for name in ("battery_charge_kw", "battery_discharge_kw", "pv_kw")
        if name in model.columns
    }
    discharge = model.columns["discharge_kw"].spread(values, problem.sessions.count, slots)
    discharge[discharge < ZERO_KW] = 0.0
    none = np.zeros(slots)
    return Decision(
        power_kw=power,
        discharge_kw=discharge,
        battery_kw=per_slot.get("battery_charge_kw", none) - per_slot.get("battery_discharge_kw", none),
        pv_kw=per_slot.get("pv_kw", none) if problem.supply.pv_curtailable else np.array(problem.supply.pv_kw),
    )


def _marginal_prices(problem: ChargingProblem, model: LinearModel, answer: SolverAnswer) -> FloatArray:
    """Cost of one more kWh in each slot, from the duals of the site balance [currency/kWh], shape (slots,)."""
    return np.asarray(answer.row_duals[model.rows["site_balance"].span] / problem.slot_h)


def _outcome(solving: Solving, found: Found, bound: float, prices: FloatArray) -> PlanOutcome:
    problem = solving.problem
    decision = decision_of(problem, found)
    plan: Plan = plan_of(problem, decision, reasons_of(problem, decision), prices)
    priced = money(problem, found.model) + shaping(problem, found.model)
    objective = weighted_sum(priced, found.values[: len(priced)]) + money_offset(problem)
    distance = max(0.0, found.objective - bound)
    gap = distance / max(abs(objective), abs(objective - distance), NEGLIGIBLE_MONEY)
    if solving.is_close(found.objective, bound):
        return ProvenOptimal(plan, objective, gap, solving.figures())
    return FeasibleAtLimit(plan, objective, objective - distance, gap, solving.figures())
