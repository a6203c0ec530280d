"""Decides a few vehicles anew by whole numbers: those that lose energy by the support, or start or run wrongly.

The support is right for nearly everyone. Where it is not, a vehicle near its departure loses a slot, or one starts too
often. A small model opens the on and off of those alone; the others keep theirs, and what they are sent next.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from optimizer.planning.decision import NEGLIGIBLE_KWH
from optimizer.planning.highs import SolverModel
from optimizer.planning.model import LinearModel
from optimizer.planning.near import pattern_cost, pattern_faults
from optimizer.planning.problem import BoolArray, ChargingProblem, FloatArray, IntArray
from optimizer.planning.rounding import ZERO_KW, power_of, support_bounds, whole_start
from optimizer.planning.scope import near_scope
from optimizer.planning.solving import Found, Solving

MOST_REOPENED = 30
"""Vehicles that one model decides; where there are more, those that lose most."""

MOST_COLUMNS = 20_000
"""Columns of the linear model above which it takes too long."""

MOST_NODES = 30
"""Nodes of the search, so that nearly always work and not the clock ends it."""

PATTERN = ("start", "extra_starts", "short_run")
"""Columns that only a model with on and off has."""


def reopened(solving: Solving, linear: Found, found: Found) -> Found:
    """Return ``found``, or a plan that costs less by deciding anew vehicles that lose energy or run as they should not.

    Args:
        solving: The run.
        linear: The linear optimum.
        found: A plan with minimum currents, and whole steps on the near slots.
    """
    problem, near_slots = solving.problem, solving.settings.near_slots
    power = power_of(problem, found.model, found.values)
    opened = _most_wrong(problem, near_slots, power, _lost_kwh(problem, linear, found))
    if not opened.any() or solving.columns > MOST_COLUMNS or solving.settings.reopen_time_s == 0:
        return found
    scope = near_scope(problem, near_slots, opened)
    mine = opened[problem.modes.session][:, None]
    staged = solving.build(replace(scope, switched=scope.switched & mine, stepped=scope.stepped & mine))
    solver = SolverModel(staged.model, staged.cost)
    solver.set_bounds(*support_bounds(problem, staged.model, power > ZERO_KW, ~(scope.switched & mine)))
    solver.set_bounds(*_near_bounds(problem, staged.model, power, ~opened, near_slots))
    solver.start_from(*whole_start(problem, staged.model, power))
    answer = solving.run(solver, most_s=solving.settings.reopen_time_s, most_nodes=MOST_NODES)
    if not answer.has_values:
        return found
    other = Found(staged, answer.values)
    saved = plan_cost(solving, found) - plan_cost(solving, other)
    # A plan that is cheaper by less would only put others' commands out of their way.
    return other if saved > solving.gap_sought else found


def _lost_kwh(problem: ChargingProblem, linear: Found, found: Found) -> FloatArray:
    """Energy that each session misses beyond what the linear optimum lets it miss [kWh], shape (sessions,)."""
    lost = np.zeros(problem.sessions.count)
    for point, sign in ((found, 1.0), (linear, -1.0)):
        if "unserved_kwh" in point.model.columns:
            block = point.model.columns["unserved_kwh"]
            np.add.at(lost, problem.targets.session[block.keys[0]], sign * point.values[block.span])
    return lost


def _most_wrong(problem: ChargingProblem, near_slots: int, power: FloatArray, lost_kwh: FloatArray) -> BoolArray:
    """The sessions to open: those with wrong runs, then those that lose most, shape (sessions,)."""
    faults = pattern_faults(problem, power, near_slots)
    wrong = np.where(lost_kwh > NEGLIGIBLE_KWH, lost_kwh, 0.0)
    wrong[faults] = np.inf
    opened = wrong > 0
    opened[np.argsort(-wrong, kind="stable")[MOST_REOPENED:]] = False
    return np.asarray(opened)


def _near_bounds(
    problem: ChargingProblem, model: LinearModel, power: FloatArray, held: BoolArray, near_slots: int
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Bounds that hold what some sessions are sent on the near slots: column indices, lower and upper bounds."""
    block = model.columns["power_kw"]
    mode, slot = block.keys
    mine = held[problem.modes.session[mode]] & (slot < near_slots) & (problem.modes.min_kw[mode, slot] > 0)
    wanted = power[mode, slot][mine]
    return block.indices[mine], wanted, wanted


def plan_cost(solving: Solving, found: Found) -> float:
    """What a plan costs, its starts and runs included whether its model has them or not."""
    stated = sum(
        float(found.staged.cost[block.span] @ found.values[block.span])
        for name, block in found.model.columns.items()
        if name in PATTERN
    )
    power = power_of(solving.problem, found.model, found.values)
    return found.objective - stated + pattern_cost(solving.problem, solving.weights, power, solving.settings.near_slots)
