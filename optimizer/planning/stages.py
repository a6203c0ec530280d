"""The stages of a solve: the linear bound, preferences, minimum currents, near slots, and the proof where it is due."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from optimizer.errors import PlanningFailed
from optimizer.planning.dive import dived_power
from optimizer.planning.heuristics import Wires, wires_of
from optimizer.planning.highs import INTERIOR_FROM_ROWS, Simplex, SolverModel
from optimizer.planning.model import LinearModel
from optimizer.planning.near import pattern_faults, settled
from optimizer.planning.preferences import basis_of
from optimizer.planning.problem import BoolArray, ChargingProblem, FloatArray, IntArray
from optimizer.planning.reopen import plan_cost, reopened
from optimizer.planning.rounding import ZERO_KW, power_of, support_bounds, support_of, undecided_sessions, whole_start
from optimizer.planning.runs import mended
from optimizer.planning.scope import near_scope, whole_scope
from optimizer.planning.slack import without_slack
from optimizer.planning.solving import Found, Held, Solving

PROOF_COLUMNS = 20_000
"""Columns of the linear model above which no proof is found in a time that a site has."""


ANEW_FROM_ROWS = 2_500
"""From here on, with preferences, holding the support is solved from nothing: presolve takes out most columns, and
neither bounds nor objective are near those that the basis was optimal for."""


def steered(solving: Solving, linear: Held) -> Held:
    """Choose by preferences among the plans that cost little more than the linear optimum, going on from its basis.

    Vehicles that are not there as far ahead as preferences look keep the linear optimum's powers.
    """
    if not solving.settings.preferences:
        return linear
    start, problem = linear.found, solving.problem
    staged = solving.prefer(start.staged, start.objective + solving.budget)
    solver = SolverModel(staged.model, staged.first_aim, linear.solver.unbroken())
    solver.start_at(basis_of(staged.model, linear.solver.basis(), start.values))
    near = problem.slot_start_h < solving.settings.preference_hours
    there = np.asarray((problem.sessions.plugged_h[:, near] > 0).any(axis=1))
    solver.set_bounds(*_held_bounds(problem, staged.model, start, ~there))
    answer = solving.run(solver)
    return Held(Found(staged, answer.values), solver) if answer.has_values else linear


def rounded(solving: Solving, linear: Held, chosen: Held) -> Found:
    """Return a plan in which everyone draws nothing or the minimum, and whole steps on the near slots.

    The near slots are held as chosen, rounded; on the others the chosen on and off is held, and the linear problem
    solved again: by preferences, or for the least cost where it is large or preferences cost too much.

    Args:
        solving: The run.
        linear: The linear optimum, and its solver.
        chosen: What preferences chose, and its solver.
    """
    problem, near_slots = solving.problem, solving.settings.near_slots
    power = power_of(problem, chosen.found.model, chosen.found.values)
    wires = wires_of(problem)
    small = chosen.found.model.row_count < INTERIOR_FROM_ROWS
    stepped, support = _supported(solving, chosen if small else linear, power, wires)
    if stepped is None or not solving.is_close(stepped.objective, solving.least_cost):
        dived = dived_power(solving, chosen, wires) if small else power
        if dived is not None:
            other, _ = _supported(solving, chosen if small else linear, dived, wires)
            stepped = _cheaper(stepped, other)
    if stepped is None:
        undecided = undecided_sessions(problem, power)
        return _decided(solving, linear, support, undecided, None) or _decided_for_all(solving, linear)
    other = reopened(solving, linear.found, stepped)
    if other is not stepped:
        stepped = _refilled(solving, linear, other, wires)
    if not _two_ways(problem, stepped):
        return stepped
    power = power_of(problem, stepped.model, stepped.values)
    known, faults = Held(stepped, linear.solver), pattern_faults(problem, power, near_slots)
    return _decided(solving, known, power > ZERO_KW, faults, stepped) or _decided_for_all(solving, known)


def _cheaper(one: Found | None, other: Found | None) -> Found | None:
    if one is None or other is None:
        return one or other
    return one if one.objective <= other.objective else other


def _supported(solving: Solving, goes_on: Held, power: FloatArray, wires: Wires) -> tuple[Found | None, BoolArray]:
    """Hold the on and off of some powers, mended, with the near slots settled; also returns the support."""
    problem, near_slots = solving.problem, solving.settings.near_slots
    support = mended(problem, support_of(problem, power, wires), power, wires, near_slots)
    return _held(solving, goes_on, support, settled(problem, power, support, wires, near_slots)), support


def _held(solving: Solving, goes_on: Held, support: BoolArray, target_kw: FloatArray) -> Found | None:
    """Solve again with the near slots at their target and the support held; ``None`` where that cannot be."""
    problem, model, solver = solving.problem, goes_on.found.model, goes_on.solver
    solver.set_costs(goes_on.found.staged.aim)
    solver.set_bounds(*support_bounds(problem, model, support, np.ones(support.shape, dtype=bool)))
    if solving.settings.preferences and model.row_count >= ANEW_FROM_ROWS:
        solver.forget()
    answer = solving.run(solver, method=Simplex.DUAL)
    block = model.columns["power_kw"]
    near = (block.keys[1] < solving.settings.near_slots) & (problem.modes.min_kw[block.keys] > 0)
    if near.any():
        wanted = target_kw[block.keys][near]
        solver.set_bounds(block.indices[near], wanted, wanted)
        if "taper" in model.rows:
            rows = model.rows["taper"]
            solver.free_rows(rows.indices[rows.keys[1] < solving.settings.near_slots])
        answer = solving.run(solver)
    return without_slack(problem, Found(goes_on.found.staged, answer.values)) if answer.has_values else None


def _refilled(solving: Solving, linear: Held, found: Found, wires: Wires) -> Found:
    """Let everyone use what those who were decided anew no longer draw, where a peak is paid for.

    The on and off stays. Room under a peak that is left empty comes back as a higher one when others arrive.
    """
    problem, near_slots = solving.problem, solving.settings.near_slots
    if not problem.demand.price_per_kw.any():
        return found
    support = power_of(problem, found.model, found.values) > ZERO_KW
    solver = linear.solver
    solver.set_bounds(*support_bounds(problem, linear.found.model, support, np.ones(support.shape, dtype=bool)))
    answer = solving.run(solver, method=Simplex.DUAL)
    if not answer.has_values:
        return found
    power = power_of(problem, linear.found.model, answer.values)
    refilled = _held(solving, linear, support, settled(problem, power, support, wires, near_slots))
    if refilled is None or plan_cost(solving, refilled) > plan_cost(solving, found):
        return found
    return refilled


def everyone(problem: ChargingProblem) -> BoolArray:
    """All sessions, shape (sessions,)."""
    return np.ones(problem.sessions.count, dtype=bool)


def _two_ways(problem: ChargingProblem, found: Found) -> bool:
    """Whether anything flows both ways at once where that would pay."""
    whole, values, slots = whole_scope(problem), found.values, problem.slot_count
    columns = found.model.columns
    grid_import = columns["grid_import_kw"].spread(values, slots)
    grid_export = columns["grid_export_kw"].spread(values, slots)
    if (np.minimum(grid_import, grid_export)[whole.one_way_grid] > ZERO_KW).any():
        return True
    if problem.battery is not None:
        charge = columns["battery_charge_kw"].spread(values, slots)
        discharge = columns["battery_discharge_kw"].spread(values, slots)
        if (np.minimum(charge, discharge)[whole.one_way_battery] > ZERO_KW).any():
            return True
    power = np.zeros((problem.sessions.count, slots))
    np.add.at(power, problem.modes.session, power_of(problem, found.model, values))
    out = columns["discharge_kw"].spread(values, problem.sessions.count, slots)
    return bool((np.minimum(power, out)[whole.one_way_vehicle] > ZERO_KW).any())


def _decided(
    solving: Solving, linear: Held, support: BoolArray, opened: BoolArray, known: Found | None
) -> Found | None:
    """Decide the on and off of some sessions by whole numbers; ``None`` where no plan is found.

    Args:
        solving: The run.
        linear: The point to start from.
        support: Which pairs are on, for everyone else.
        opened: Sessions that are decided anew, on all slots.
        known: A plan by which everyone else's powers are held; ``None``: their near slots are decided too.
    """
    problem = solving.problem
    scope = near_scope(problem, solving.settings.near_slots, opened)
    if known is not None:
        mine = opened[problem.modes.session][:, None]
        scope = replace(scope, switched=scope.switched & mine, stepped=scope.stepped & mine)
    staged = solving.build(scope)
    spent = linear.found.objective
    staged = solving.prefer(staged, max(spent, solving.least_cost + solving.budget))
    solver = SolverModel(staged.model, staged.aim, linear.solver.unbroken())
    solver.set_bounds(*support_bounds(problem, staged.model, support, ~scope.switched))
    if known is not None:
        solver.set_bounds(*_held_bounds(problem, staged.model, known, ~opened))
    solver.start_from(*whole_start(problem, staged.model, power_of(problem, linear.found.model, linear.found.values)))
    most_s = np.inf if known is None else solving.settings.proof_time_s
    answer = solving.run(solver, gap=solving.points_gap(linear.found.aimed), most_s=most_s)
    return without_slack(problem, Found(staged, answer.values)) if answer.has_values else None


def _decided_for_all(solving: Solving, linear: Held) -> Found:
    """Decide everything by whole numbers, from a point that breaks a law.

    Raises:
        PlanningFailed: Nothing was found in the time that is left.
    """
    problem = solving.problem
    power = power_of(problem, linear.found.model, linear.found.values)
    decided = _decided(solving, linear, power > ZERO_KW, everyone(problem), None)
    if decided is None:
        raise PlanningFailed("no plan with minimum currents was found within the time limit")
    return decided


def _held_bounds(
    problem: ChargingProblem, model: LinearModel, known: Found, held: BoolArray
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Bounds that hold the powers of some sessions as they are known: column indices, lower and upper bounds."""
    power = power_of(problem, known.model, known.values)
    block = model.columns["power_kw"]
    mine = held[problem.modes.session[block.keys[0]]]
    wanted = power[block.keys][mine]
    return block.indices[mine], wanted, wanted


def proven_further(solving: Solving, found: Found, bound: float) -> tuple[Found, float]:
    """Solve with whole numbers on all slots from what is found, in the time set for it; returns the better of both."""
    problem = solving.problem
    if solving.columns > PROOF_COLUMNS or solving.settings.proof_time_s == 0:
        return found, bound
    staged = solving.build(near_scope(problem, solving.settings.near_slots, everyone(problem)))
    solver = SolverModel(staged.model, staged.aim)
    solver.start_from(*whole_start(problem, staged.model, power_of(problem, found.model, found.values)))
    answer = solving.run(solver, most_s=solving.settings.proof_time_s)
    bound = max(bound, answer.bound)
    # A plan that is cheaper by less would only put others' commands out of their way.
    if answer.has_values and answer.objective < found.objective - solving.gap_sought:
        found = Found(staged, answer.values)
    return found, bound
