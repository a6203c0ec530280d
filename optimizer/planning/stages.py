"""The stages of a solve: the linear bound, preferences, minimum currents, near slots, and the proof where it is due."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from optimizer.errors import PlanningFailed
from optimizer.planning.heuristics import wires_of
from optimizer.planning.highs import Simplex, SolverModel
from optimizer.planning.model import LinearModel
from optimizer.planning.near import pattern_faults, whole_steps
from optimizer.planning.preferences import basis_of
from optimizer.planning.problem import BoolArray, ChargingProblem, FloatArray, IntArray
from optimizer.planning.rounding import ZERO_KW, power_of, support_bounds, support_of, undecided_sessions
from optimizer.planning.runs import mended
from optimizer.planning.scope import near_scope, whole_scope
from optimizer.planning.solving import Found, Solving

MOST_OPENED = 30
"""Sessions with wrong runs that a model decides; where there are more, extra starts are accepted."""

PROOF_COLUMNS = 20_000
"""Columns of the linear model above which no proof is found in a time that a site has."""


@dataclass(frozen=True, eq=False)
class Held:
    """A point, and the solver that ended at it."""

    found: Found
    """The point."""
    solver: SolverModel
    """Where to go on from."""


def steered(solving: Solving, linear: Held) -> Found:
    """Choose by preferences among the plans that cost little more than the linear optimum, going on from its basis.

    Vehicles that are not there as far ahead as preferences look keep the linear optimum's powers.
    """
    if not solving.settings.preferences:
        return linear.found
    start, problem = linear.found, solving.problem
    staged = solving.prefer(start.staged, start.objective + solving.budget)
    solver = SolverModel(staged.model, staged.aim, linear.solver.unbroken())
    solver.start_at(basis_of(staged.model, linear.solver.basis(), start.values))
    near = problem.slot_start_h < solving.settings.preference_hours
    there = np.asarray((problem.sessions.plugged_h[:, near] > 0).any(axis=1))
    solver.set_bounds(*_held_bounds(problem, staged.model, start, ~there))
    answer = solving.run(solver)
    return Found(staged, answer.values) if answer.has_values else start


def rounded(solving: Solving, linear: Held, chosen: Found) -> Found:
    """Return a plan in which everyone draws nothing or the minimum, and whole steps on the near slots.

    The near slots are held as chosen, rounded; on the others the chosen on and off is held, and the linear problem
    solved again for the least cost.

    Args:
        solving: The run.
        linear: The linear optimum, and the solver to go on in.
        chosen: The linear solution that preferences chose.
    """
    problem, near_slots = solving.problem, solving.settings.near_slots
    power = power_of(problem, chosen.model, chosen.values)
    wires = wires_of(problem)
    support = mended(problem, support_of(problem, power, wires), power, wires, near_slots)
    stepped = _held(solving, linear, support, whole_steps(problem, power, support, wires, near_slots))
    if stepped is None:
        undecided = undecided_sessions(problem, power)
        return _decided(solving, linear, support, undecided, None) or _decided_for_all(solving, linear)
    power = power_of(problem, stepped.model, stepped.values)
    faults = pattern_faults(problem, power, near_slots)
    both_ways = _two_ways(problem, stepped)
    if not faults.any() and not both_ways:
        return stepped
    known = Held(stepped, linear.solver)
    too_many = faults.sum() > MOST_OPENED or solving.columns > PROOF_COLUMNS
    if too_many and not both_ways:
        return stepped
    decided = _decided(solving, known, power > ZERO_KW, faults, stepped)
    if decided is None and both_ways:
        return _decided_for_all(solving, known)
    if decided is None or (decided.objective > stepped.objective + solving.budget and not both_ways):
        return stepped
    return decided


def _held(solving: Solving, linear: Held, support: BoolArray, target_kw: FloatArray) -> Found | None:
    """Solve for the least cost with near slots at their target and the support held; ``None`` where it cannot be."""
    problem, near_slots = solving.problem, solving.settings.near_slots
    model, solver = linear.found.model, linear.solver
    solver.set_bounds(*support_bounds(problem, model, support, np.ones(support.shape, dtype=bool)))
    answer = solving.run(solver, method=Simplex.DUAL)
    block = model.columns["power_kw"]
    near = (block.keys[1] < near_slots) & (problem.modes.min_kw[block.keys] > 0)
    if near.any():
        wanted = target_kw[block.keys][near]
        solver.set_bounds(block.indices[near], wanted, wanted)
        if "taper" in model.rows:
            rows = model.rows["taper"]
            solver.free_rows(rows.indices[rows.keys[1] < near_slots])
        answer = solving.run(solver)
    return Found(linear.found.staged, answer.values) if answer.has_values else None


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
    solver.start_from(*whole_start(problem, staged.model, linear.found))
    most_s = np.inf if known is None else solving.settings.proof_time_s
    answer = solving.run(solver, gap=solving.points_gap(linear.found.aimed), most_s=most_s)
    return Found(staged, answer.values) if answer.has_values else None


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
    solver.start_from(*whole_start(problem, staged.model, found))
    answer = solving.run(solver, most_s=solving.settings.proof_time_s)
    bound = max(bound, answer.bound)
    if answer.has_values and answer.objective < found.objective:
        found = Found(staged, answer.values)
    return found, bound


def whole_start(problem: ChargingProblem, model: LinearModel, start: Found) -> tuple[IntArray, FloatArray]:
    """Columns and values of a start for the whole numbers of ``model``: powers rounded down to whole steps."""
    power = power_of(problem, start.model, start.values)
    columns: list[IntArray] = []
    values: list[FloatArray] = []
    if "on" in model.columns:
        block = model.columns["on"]
        columns.append(block.indices)
        values.append((power[block.keys] > ZERO_KW).astype(float))
    if "steps" in model.columns:
        block = model.columns["steps"]
        columns.append(block.indices)
        values.append(np.floor(power[block.keys] / problem.modes.step_kw[block.keys[0]] + 1e-6))
    if not columns:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    return np.concatenate(columns), np.concatenate(values)
