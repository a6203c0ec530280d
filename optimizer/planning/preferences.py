"""What a plan is chosen by among those that cost the same: near the previous plan, few changes, sooner than later.

Preferences are solved for after money, under a bound on what they may cost. Put into the money objective as small
weights they would drown in the solver's tolerance; here they are the objective, and money is a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.planning.highs import AT_LOWER, AT_UPPER, BASIC, Basis
from optimizer.planning.model import LinearModel, ModelBuilder
from optimizer.planning.problem import BoolArray, ChargingProblem, FloatArray, IntArray
from optimizer.planning.settings import PlanningSettings

WORTH_OF_MONEY = 1000.0
"""Preference points of one unit of currency beyond the bound: so many that the bound is kept where it can be."""

SLOT_WEIGHT_H = 0.25
"""Points of one kW in one slot, whatever its length: it is commands that should stay, not energy [h]."""

FIRST_SLOT_WEIGHT = 4.0
"""How much more the first slot counts: it is the one that is sent."""

DISCHARGE_POINTS_PER_KWH = 0.1
"""Points of a kWh discharged: money is only a row here, and must not be burnt by charging and discharging at once."""

COST_POINTS = 1.0
"""Points of a unit of currency within the bound: among plans that are liked the same, the cheaper and sooner one."""

START_POINTS = 2.0
"""Points of one start, in parts of ``prefer_steady``."""


@dataclass(frozen=True, eq=False)
class PreferredModel:
    """A model with preferences as its objective and its cost as a row."""

    model: LinearModel
    """The model."""
    points: FloatArray
    """Preference points of each column, the objective."""
    moving_points: FloatArray
    """The same without rises: they would smear a vehicle's power over time, below what it can take."""
    cost: FloatArray
    """The cost that the row bounds, over all columns."""


def with_preferences(
    problem: ChargingProblem, settings: PlanningSettings, model: LinearModel, cost: FloatArray, cost_bound: float
) -> PreferredModel:
    """Return ``model`` with preferences as its objective.

    Columns ``moved_kw[s,t]`` (distance from the previous plan), ``raised_kw[s,t]`` (rise from the slot before),
    ``cost_excess``; rows ``moved_up``, ``moved_down``, ``raised[s,t]`` and ``cost_bound``: cost less ``cost_excess`` is
    at most the bound.

    Args:
        problem: The problem.
        settings: Weights and reach of the preferences.
        model: Its laws.
        cost: Objective of the money stage, one a column of ``model``.
        cost_bound: What the plan may cost.
    """
    build = ModelBuilder.extending(model)
    power = model.columns["power_kw"].grid(problem.modes.count, problem.slot_count)
    near = problem.slot_start_h < settings.preference_hours
    extra: list[FloatArray] = []
    points = _plain_points(problem, settings, model, near) + COST_POINTS * cost
    extra += _moved(build, problem, settings, power, near)
    extra += _raised(build, problem, settings, power, near)
    excess = build.add_columns("cost_excess", "o", (np.zeros(1, dtype=np.int64),), 0.0, np.inf)
    row = build.add_rows("cost_bound", "o", excess.keys, -np.inf, cost_bound)
    priced = np.flatnonzero(cost)
    build.add_entries(np.full(len(priced), row.first), priced, cost[priced])
    build.add_entries(np.array([row.first]), excess.indices, -1.0)
    whole = build.finish()
    points = np.concatenate((points, *extra, [WORTH_OF_MONEY]))
    moving = np.array(points)
    if "raised_kw" in whole.columns:
        moving[whole.columns["raised_kw"].span] = 0.0
    return PreferredModel(
        model=whole,
        points=points,
        moving_points=moving,
        cost=np.concatenate((cost, np.zeros(whole.column_count - len(cost)))),
    )


def _slot_weights(problem: ChargingProblem) -> FloatArray:
    weights = np.full(problem.slot_count, SLOT_WEIGHT_H)
    weights[0] *= FIRST_SLOT_WEIGHT
    return weights


def _plain_points(
    problem: ChargingProblem, settings: PlanningSettings, model: LinearModel, near: BoolArray
) -> FloatArray:
    """Points that need no column of their own: starts, and distance from a previous power of zero or full."""
    points = np.zeros(model.column_count)
    block = model.columns["power_kw"]
    mode, slot = block.keys
    plain_zero, plain_full, _ = _previous_kinds(problem, near)
    session = problem.modes.session[mode]
    direction = plain_zero[session, slot].astype(float) - plain_full[session, slot].astype(float)
    points[block.span] += settings.prefer_previous * _slot_weights(problem)[slot] * direction
    for name in ("battery_discharge_kw", "discharge_kw"):
        if name in model.columns:
            block = model.columns[name]
            points[block.span] = DISCHARGE_POINTS_PER_KWH * problem.slot_h[block.keys[-1]]
    if "start" in model.columns:
        points[model.columns["start"].span] = settings.prefer_steady * START_POINTS
    return points


def _previous_kinds(problem: ChargingProblem, near: BoolArray) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Where the previous plan says zero, full power, or something between, shapes (sessions, slots)."""
    known = problem.sessions.has_previous & near[None, :] & (problem.sessions.plugged_h > 0)
    most = np.zeros(known.shape)
    np.maximum.at(most, problem.modes.session, problem.modes.max_kw)
    zero = known & (problem.sessions.previous_kw <= 1e-6)
    single = (problem.mode_count_of == 1)[:, None]
    full = known & ~zero & single & (problem.sessions.previous_kw >= most - 1e-6)
    return zero, full, known & ~zero & ~full & (most > 0)


def _power_entries(
    build: ModelBuilder,
    problem: ChargingProblem,
    rows: IntArray,
    session: IntArray,
    power: IntArray,
    value: float,
    slot: IntArray,
) -> None:
    """Put ``value`` of the power of each row's session and slot, over all its modes, into the row."""
    for offset in range(int(problem.mode_count_of.max(initial=0))):
        held = problem.mode_count_of[session] > offset
        mode = np.searchsorted(problem.modes.session, session[held]) + offset
        column = power[mode, slot[held]]
        exists = column >= 0
        build.add_entries(rows[held][exists], column[exists], value)


def _moved(
    build: ModelBuilder, problem: ChargingProblem, settings: PlanningSettings, power: IntArray, near: BoolArray
) -> list[FloatArray]:
    _, _, between = _previous_kinds(problem, near)
    session, slot = np.nonzero(between)
    if not len(session):
        return []
    previous = problem.sessions.previous_kw[session, slot]
    moved = build.add_columns("moved_kw", "st", (session, slot), 0.0, np.inf)
    for name, sign in (("moved_up", 1.0), ("moved_down", -1.0)):
        rows = build.add_rows(name, "st", (session, slot), -np.inf, sign * previous)
        _power_entries(build, problem, rows.indices, session, power, sign, slot)
        build.add_entries(rows.indices, moved.indices, -1.0)
    return [settings.prefer_previous * _slot_weights(problem)[slot]]


def _raised(
    build: ModelBuilder, problem: ChargingProblem, settings: PlanningSettings, power: IntArray, near: BoolArray
) -> list[FloatArray]:
    """Points of every rise of power: a run that starts later or a second time rises, one that ends does not."""
    there = problem.sessions.plugged_h > 0
    pairs = there & near[None, :]
    pairs[:, 1:] &= there[:, :-1]
    pairs[:, 0] = False
    session, slot = np.nonzero(pairs)
    if not len(session) or settings.prefer_steady == 0:
        return []
    raised = build.add_columns("raised_kw", "st", (session, slot), 0.0, np.inf)
    rows = build.add_rows("raised", "st", (session, slot), -np.inf, 0.0)
    _power_entries(build, problem, rows.indices, session, power, 1.0, slot)
    _power_entries(build, problem, rows.indices, session, power, -1.0, slot - 1)
    build.add_entries(rows.indices, raised.indices, -1.0)
    return [np.full(len(session), settings.prefer_steady * SLOT_WEIGHT_H)]


def basis_of(model: LinearModel, basis: Basis, values: FloatArray) -> Basis:
    """Return a primal feasible basis of the preferred model from the one that its laws were solved to.

    Args:
        model: The laws with preferences.
        basis: Basis of its laws alone.
        values: Value of each column of its laws.
    """
    columns = np.full(model.column_count, AT_LOWER)
    columns[: len(basis.columns)] = basis.columns
    rows = np.full(model.row_count, BASIC)
    rows[: len(basis.rows)] = basis.rows
    padded = np.concatenate((values, np.zeros(model.column_count - len(values))))
    activity = model.product(padded)
    for row_name, column_name in (("raised", "raised_kw"), ("moved_up", "moved_kw"), ("moved_down", "moved_kw")):
        if row_name in model.rows:
            block, slack = model.rows[row_name], model.columns[column_name]
            beyond = activity[block.span] > model.row_upper[block.span]
            rows[block.indices[beyond]] = AT_UPPER
            columns[slack.indices[beyond]] = BASIC
    return Basis(columns, rows)
