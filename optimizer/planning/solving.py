"""One planning run: its clock, its models, what it has found, and how far that may be from the best."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from optimizer.domain.plan import SolveFigures
from optimizer.planning.highs import Simplex, SolverAnswer, SolverModel
from optimizer.planning.matrix import build_model
from optimizer.planning.model import LinearModel, weighted_sum
from optimizer.planning.objectives import Weights, whole_objective
from optimizer.planning.preferences import with_preferences
from optimizer.planning.problem import ChargingProblem, FloatArray
from optimizer.planning.scope import ModelScope
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.tape import Tape, tape_text

NEGLIGIBLE_MONEY = 1e-3
"""A difference that nobody would pay a solver's time for [currency]."""

NEGLIGIBLE_POINTS = 1.0
"""The same for preferences: one command of 4 kW that changes."""

POINTS_GAP = 0.01
"""Relative gap at which preferences count as solved."""


@dataclass(frozen=True, eq=False)
class StagedModel:
    """A model with what it costs, and what the running stage minimises."""

    model: LinearModel
    """The model."""
    cost: FloatArray
    """Its cost, over all columns."""
    aim: FloatArray
    """What is minimised: the cost, or preference points with the cost as a row."""
    first_aim: FloatArray
    """What is minimised while on and off are still open."""


@dataclass(frozen=True, eq=False)
class Found:
    """A point of a staged model."""

    staged: StagedModel
    """The model it is a point of."""
    values: FloatArray
    """Value of each column."""

    @property
    def model(self) -> LinearModel:
        """The model it is a point of."""
        return self.staged.model

    @property
    def objective(self) -> float:
        """What it costs, unserved energy and safety included."""
        return weighted_sum(self.staged.cost, self.values)

    @property
    def aimed(self) -> float:
        """Value of what the stage minimises."""
        return weighted_sum(self.staged.aim, self.values)


@dataclass(frozen=True, eq=False)
class Held:
    """A point, and the solver that ended at it."""

    found: Found
    """The point."""
    solver: SolverModel
    """Where to go on from."""


@dataclass(eq=False)
class Solving:
    """One planning run."""

    problem: ChargingProblem
    """What is planned."""
    settings: PlanningSettings
    """The operator's choices."""
    weights: Weights
    """Weights of unserved energy and safety."""
    begun_s: float = field(default_factory=perf_counter)
    """When it began, on the monotonic clock [s]."""
    build_s: float = 0.0
    """Spent on building models [s]."""
    solve_s: float = 0.0
    """Spent inside the solver [s]."""
    solves: int = 0
    """Solver calls."""
    cut_short: dict[int, SolverAnswer] = field(default_factory=dict)
    """Answers of solver calls that a time limit ended, by the number of the call."""
    tape: Tape = field(default_factory=dict)
    """Such answers of an earlier run on the same problem, given in place of these calls."""
    rows: int = 0
    """Rows of the largest model."""
    columns: int = 0
    """Columns of the largest model."""
    money_scale: float = 0.0
    """Money of the linear optimum, which relative gaps refer to [currency]."""
    least_cost: float = 0.0
    """Objective of the linear optimum."""
    linear_kw: FloatArray | None = None
    """Powers of the linear optimum [kW], shape (sessions, slots); ``None`` until it is found."""

    @property
    def time_left_s(self) -> float:
        """Wall clock left [s]."""
        return self.settings.time_limit_s - (perf_counter() - self.begun_s)

    @property
    def gap_sought(self) -> float:
        """Distance to the bound that counts as none [currency]."""
        return max(self.settings.relative_gap * self.money_scale, NEGLIGIBLE_MONEY)

    @property
    def budget(self) -> float:
        """What preferences may cost [currency]; 0 where they are not asked for."""
        if not self.settings.preferences:
            return 0.0
        return max(self.settings.preference_cost_share * self.money_scale, self.settings.preference_cost_floor)

    def is_close(self, objective: float, bound: float) -> bool:
        """Whether an objective is within the gap sought of its bound, preferences apart."""
        return objective - bound <= self.gap_sought + self.budget

    def build(self, scope: ModelScope) -> StagedModel:
        """Build the model of a scope for the money stage."""
        begun = perf_counter()
        model = build_model(self.problem, scope)
        cost = whole_objective(self.problem, model, self.weights)
        self.build_s += perf_counter() - begun
        self._measure(model)
        return StagedModel(model, cost, cost, cost)

    def prefer(self, staged: StagedModel, cost_bound: float) -> StagedModel:
        """The model of the preference stage; the same one where preferences are not asked for."""
        if not self.settings.preferences:
            return staged
        begun = perf_counter()
        preferred = with_preferences(self.problem, self.settings, staged.model, staged.cost, cost_bound)
        self.build_s += perf_counter() - begun
        self._measure(preferred.model)
        return StagedModel(preferred.model, preferred.cost, preferred.points, preferred.moving_points)

    def _measure(self, model: LinearModel) -> None:
        self.rows, self.columns = max(self.rows, model.row_count), max(self.columns, model.column_count)

    def run(
        self,
        solver: SolverModel,
        *,
        most_s: float = np.inf,
        gap: float = 0.0,
        method: Simplex = Simplex.PRIMAL,
        most_nodes: int | None = None,
    ) -> SolverAnswer:
        """Solve in the time that is left, at most ``most_s`` and ``most_nodes``, and count it."""
        answer = self.tape.get(self.solves) or solver.solve(
            time_limit_s=min(self.time_left_s, most_s),
            absolute_gap=gap or self.gap_sought,
            method=method,
            most_nodes=most_nodes,
        )
        if answer.by_clock:
            self.cut_short[self.solves] = answer
        self.solve_s += answer.solve_s
        self.solves += 1
        return answer

    def points_gap(self, points: float) -> float:
        """Gap at which the running stage counts as solved: in points with preferences, else in currency."""
        if not self.settings.preferences:
            return self.gap_sought
        return max(NEGLIGIBLE_POINTS, POINTS_GAP * abs(points))

    def figures(self) -> SolveFigures:
        """Time and size so far."""
        return SolveFigures(
            build_s=self.build_s,
            solve_s=self.solve_s,
            total_s=perf_counter() - self.begun_s,
            rows=self.rows,
            columns=self.columns,
            solves=self.solves,
            cut_short=len(self.cut_short),
            tape=tape_text(self.cut_short),
        )
