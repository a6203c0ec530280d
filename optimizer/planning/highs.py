"""HiGHS behind a small door: models in, values, duals and proven bounds out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from time import perf_counter
from typing import Any

import highspy
import numpy as np

from optimizer.errors import PlanningFailed
from optimizer.planning.model import LinearModel
from optimizer.planning.problem import BoolArray, FloatArray, IntArray

LAZY_ROWS = ("circuit_limit",)
"""Laws of which few rows bind: a fuse of a small circuit mostly has room."""

LAZY_FROM_ROWS = 2_000
"""Number of such rows from which they are held back until a solution breaks them."""

ROUNDS = 30
"""Most rounds of adding broken rows; each adds all that are broken, so a handful is usual."""

PRESOLVE_FROM_ROWS = 5_000
"""Below this, presolving these linear models takes longer than it saves."""

INTERIOR_FROM_ROWS = 40_000
"""From here on the interior point method is taken, which is slower than a good start but never slow."""

ROW_TOLERANCE = 1e-6
"""By how much a row that is held back must be broken to be added; the solver's own is 1e-7."""


class SolveEnd(StrEnum):
    """How a solve ended."""

    OPTIMAL = "optimal"
    LIMIT = "limit"
    INFEASIBLE = "infeasible"
    FAILED = "failed"


class Simplex(IntEnum):
    """HiGHS' numbers of the simplex methods."""

    DUAL = 1
    """On from a basis that is still dual feasible: after rows were added."""
    PRIMAL = 4
    """On from a basis that is still primal feasible: after costs changed."""


@dataclass(frozen=True, eq=False)
class Basis:
    """Status of each column and row, as HiGHS numbers them."""

    columns: IntArray
    """One a column."""
    rows: IntArray
    """One a row."""


@dataclass(frozen=True, eq=False)
class SolverAnswer:
    """What one solve gave."""

    end: SolveEnd
    """How it ended."""
    has_values: bool
    """Whether ``values`` is a feasible point."""
    values: FloatArray
    """Value of each column."""
    row_duals: FloatArray
    """Dual of each row; zeros for a model with whole numbers."""
    objective: float
    """Value of the objective."""
    bound: float
    """Proven lower bound of the objective."""
    solve_s: float
    """Time inside the solver [s]."""
    by_clock: bool = False
    """Whether the clock ended it: the same call may give another answer."""


class SolverModel:
    """One model held in HiGHS, whose bounds may change between solves; it keeps its basis.

    Args:
        model: The model.
        cost: Objective of each column.
        unbroken: Of each law with lazy rows, which rows an earlier solve did not break; ``None``: no earlier solve.
    """

    def __init__(self, model: LinearModel, cost: FloatArray, unbroken: dict[str, BoolArray] | None = None) -> None:
        self._highs: Any = highspy.Highs()  # type: ignore[no-untyped-call]
        self._highs.setOptionValue("output_flag", False)
        self._highs.setOptionValue("threads", 1)
        self._highs.setOptionValue("random_seed", 1)
        self._model = model
        self._solves = 0
        self._hot = False
        self._begun = False
        self._anew = False
        self._freed = np.zeros(0, dtype=np.int64)
        self._has_integers = bool(model.integer.any())
        self._held_back = _lazy_rows(model, unbroken)
        self._pass(cost)

    def _pass(self, cost: FloatArray) -> None:
        row_lower, row_upper = np.array(self._model.row_lower), np.array(self._model.row_upper)
        row_lower[self._held_back], row_upper[self._held_back] = -np.inf, np.inf
        pass_model(self._highs, replace(self._model, row_lower=row_lower, row_upper=row_upper), cost)

    def set_bounds(self, columns: IntArray, lower: FloatArray, upper: FloatArray) -> None:
        """Replace the bounds of columns."""
        if len(columns):
            self._highs.changeColsBounds(len(columns), columns.astype(np.int32), lower, upper)

    def reset_bounds(self) -> None:
        """Put back the model's own bounds of all columns, and of the rows that were freed."""
        self.set_bounds(np.arange(self._model.column_count), self._model.lower, self._model.upper)
        if len(self._freed):
            lower, upper = self._model.row_lower[self._freed], self._model.row_upper[self._freed]
            self._highs.changeRowsBounds(len(self._freed), self._freed.astype(np.int32), lower, upper)
        self._freed = np.zeros(0, dtype=np.int64)

    def set_costs(self, cost: FloatArray) -> None:
        """Replace the objective."""
        self._highs.changeColsCost(len(cost), np.arange(len(cost), dtype=np.int32), cost)

    def forget(self) -> None:
        """Let go of the basis: the next solve begins from nothing, with presolve."""
        self._highs.clearSolver()
        self._highs.setOptionValue("presolve", "on")
        self._highs.setOptionValue("solver", "simplex")
        self._highs.setOptionValue("simplex_strategy", int(Simplex.DUAL))
        self._highs.setOptionValue("dual_simplex_cost_perturbation_multiplier", 1.0)
        self._solves, self._hot, self._begun, self._anew = 0, False, False, True

    @property
    def steps(self) -> int:
        """Steps of the simplex method that the last solve took."""
        return int(self._highs.getInfo().simplex_iteration_count)

    def start_from(self, columns: IntArray, values: FloatArray) -> None:
        """Give values of whole-number columns to start from; the others are completed by the solver."""
        if len(columns):
            self._highs.setSolution(len(columns), columns.astype(np.int32), values)

    def unbroken(self) -> dict[str, BoolArray]:
        """Of each law with lazy rows, which rows no solve has broken so far."""
        held = np.zeros(self._model.row_count, dtype=bool)
        held[self._held_back] = True
        return {name: held[self._model.rows[name].span] for name in LAZY_ROWS if name in self._model.rows}

    def free_rows(self, rows: IntArray) -> None:
        """Take the bounds off rows."""
        if len(rows):
            endless = np.full(len(rows), np.inf)
            self._highs.changeRowsBounds(len(rows), rows.astype(np.int32), -endless, endless)
            self._freed = rows

    def basis(self) -> Basis:
        """The basis that the last solve ended at."""
        basis = self._highs.getBasis()
        return Basis(
            np.array([int(status) for status in basis.col_status], dtype=np.int64),
            np.array([int(status) for status in basis.row_status], dtype=np.int64),
        )

    def start_at(self, basis: Basis, *, near: bool = True) -> None:
        """Start the next solve at a basis; one that does not fit is mended by the solver.

        Args:
            basis: Where to start.
            near: Whether the optimum is near by; if not, the dual method goes there as from nothing.
        """
        given = highspy.HighsBasis()
        given.col_status = [_STATUSES[status] for status in basis.columns.tolist()]
        given.row_status = [_STATUSES[status] for status in basis.rows.tolist()]
        taken = self._highs.setBasis(given) == highspy.HighsStatus.kOk
        self._hot, self._begun = taken and near, taken and not near

    def solve(
        self,
        *,
        time_limit_s: float,
        absolute_gap: float = 1e-6,
        method: Simplex = Simplex.PRIMAL,
        most_nodes: int | None = None,
    ) -> SolverAnswer:
        """Solve what is held now; a later call goes on from the last basis.

        Args:
            time_limit_s: Wall clock for this call [s].
            absolute_gap: Distance to the bound at which a model with whole numbers counts as solved.
            method: How to go on from a basis.
            most_nodes: Nodes of the search for whole numbers at which it stops; ``None``: no such end.
        """
        begun = perf_counter()
        if time_limit_s <= 0:
            return self._nothing()
        if most_nodes is not None:
            self._search_briefly(most_nodes)
        for _ in range(ROUNDS):
            self._set_options(time_limit_s - (perf_counter() - begun), absolute_gap, method)
            self._highs.run()
            self._doubt_infeasible()
            self._solves += 1
            answer = self._answer(perf_counter() - begun)
            broken = self._broken_rows(answer)
            if not len(broken):
                return answer
            self._add_rows(broken)
            method = Simplex.DUAL
        return answer

    def _search_briefly(self, most_nodes: int) -> None:
        """End the search for whole numbers after some nodes, and leave out what only a long one pays for.

        On the searches of two March days at the Caltech garage these three took four tenths of the time, and what was
        found without them was no worse.
        """
        self._highs.setOptionValue("mip_max_nodes", most_nodes)
        self._highs.setOptionValue("mip_allow_restart", False)
        self._highs.setOptionValue("mip_heuristic_run_feasibility_jump", False)
        self._highs.setOptionValue("mip_heuristic_run_root_reduced_cost", False)

    def _doubt_infeasible(self) -> None:
        """Solve again without presolve what is said to have no solution: that of HiGHS 1.15 errs with whole numbers."""
        if self._has_integers and self._highs.getModelStatus() == highspy.HighsModelStatus.kInfeasible:
            self._highs.setOptionValue("presolve", "off")
            self._highs.run()

    def _nothing(self) -> SolverAnswer:
        """What there is when no time is left to begin."""
        columns, rows = np.zeros(self._model.column_count), np.zeros(self._model.row_count)
        return SolverAnswer(SolveEnd.LIMIT, False, columns, rows, 0.0, -np.inf, 0.0, by_clock=True)

    def _broken_rows(self, answer: SolverAnswer) -> IntArray:
        """Rows held back that the answer breaks."""
        if not answer.has_values or not len(self._held_back):
            return np.zeros(0, dtype=np.int64)
        rows = self._held_back
        activity = self._model.product(answer.values)[rows]
        over = activity > self._model.row_upper[rows] + ROW_TOLERANCE
        under = activity < self._model.row_lower[rows] - ROW_TOLERANCE
        return np.asarray(rows[over | under])

    def _add_rows(self, rows: IntArray) -> None:
        lower, upper = self._model.row_lower[rows], self._model.row_upper[rows]
        self._highs.changeRowsBounds(len(rows), rows.astype(np.int32), lower, upper)
        self._held_back = np.setdiff1d(self._held_back, rows, assume_unique=True)

    def _set_options(self, time_limit_s: float, absolute_gap: float, method: Simplex) -> None:
        options = self._highs
        # HiGHS counts its limit over all runs of one object.
        options.setOptionValue("time_limit", options.getRunTime() + max(time_limit_s, 0.0))
        if self._has_integers:
            # A relative gap would be one of the unserved energy's weights, not of money.
            options.setOptionValue("mip_rel_gap", 0.0)
            options.setOptionValue("mip_abs_gap", absolute_gap)
        elif self._hot or self._solves:
            # Near the optimum, the perturbations that help a cold start lead away from it.
            options.setOptionValue("solver", "simplex")
            options.setOptionValue("presolve", "off")
            options.setOptionValue("simplex_strategy", int(method))
            options.setOptionValue("dual_simplex_cost_perturbation_multiplier", 0.0)
            options.setOptionValue("primal_simplex_bound_perturbation_multiplier", 0.0)
        elif self._anew:
            self._anew = False
        elif self._begun:
            options.setOptionValue("solver", "simplex")
            options.setOptionValue("presolve", "off")
            options.setOptionValue("simplex_strategy", int(Simplex.DUAL))
        elif self._model.row_count >= INTERIOR_FROM_ROWS:
            options.setOptionValue("solver", "ipm")
        elif self._model.row_count < PRESOLVE_FROM_ROWS:
            options.setOptionValue("presolve", "off")

    def _answer(self, solve_s: float) -> SolverAnswer:
        highs, model = self._highs, self._model
        status, figures = highs.getModelStatus(), highs.getInfo()
        feasible = figures.primal_solution_status == int(highspy.SolutionStatus.kSolutionStatusFeasible)
        solution = highs.getSolution()
        optimal = status == highspy.HighsModelStatus.kOptimal
        bound = figures.mip_dual_bound if self._has_integers else figures.objective_function_value
        duals = bool(solution.dual_valid) and not self._has_integers
        return SolverAnswer(
            end=_ENDS.get(status, SolveEnd.FAILED),
            has_values=feasible,
            values=np.array(solution.col_value) if feasible else np.zeros(model.column_count),
            row_duals=np.array(solution.row_dual) if duals else np.zeros(model.row_count),
            objective=float(figures.objective_function_value),
            bound=float(bound) if self._has_integers or optimal else -np.inf,
            solve_s=solve_s,
            by_clock=status == highspy.HighsModelStatus.kTimeLimit,
        )


def pass_model(highs: Any, model: LinearModel, cost: FloatArray) -> None:
    """Hand a model and its objective to a HiGHS object.

    Raises:
        PlanningFailed: HiGHS refuses it.
    """
    status = highs.passModel(
        model.column_count,
        model.row_count,
        len(model.entry_values),
        int(highspy.MatrixFormat.kRowwise),
        int(highspy.ObjSense.kMinimize),
        0.0,
        cost,
        model.lower,
        model.upper,
        model.row_lower,
        model.row_upper,
        model.starts,
        model.entry_columns,
        model.entry_values,
        model.integer.astype(np.int32),
    )
    if status == highspy.HighsStatus.kError:
        raise PlanningFailed("HiGHS refused the model: a bound or coefficient is not a number")


def _lazy_rows(model: LinearModel, unbroken: dict[str, BoolArray] | None) -> IntArray:
    """Rows that are held back at first: all lazy ones, or those that an earlier solve did not break."""
    lazy = {name: model.rows[name].indices for name in LAZY_ROWS if name in model.rows}
    if sum(map(len, lazy.values())) < LAZY_FROM_ROWS:
        return np.zeros(0, dtype=np.int64)
    if unbroken is not None:
        lazy = {name: rows[unbroken[name]] for name, rows in lazy.items() if name in unbroken}
    return np.concatenate(list(lazy.values())) if lazy else np.zeros(0, dtype=np.int64)


_STATUSES = {int(status): status for status in highspy.HighsBasisStatus.__members__.values()}

AT_LOWER = int(highspy.HighsBasisStatus.kLower)
BASIC = int(highspy.HighsBasisStatus.kBasic)
AT_UPPER = int(highspy.HighsBasisStatus.kUpper)

_ENDS = {
    highspy.HighsModelStatus.kOptimal: SolveEnd.OPTIMAL,
    highspy.HighsModelStatus.kModelEmpty: SolveEnd.OPTIMAL,
    highspy.HighsModelStatus.kTimeLimit: SolveEnd.LIMIT,
    highspy.HighsModelStatus.kIterationLimit: SolveEnd.LIMIT,
    highspy.HighsModelStatus.kSolutionLimit: SolveEnd.LIMIT,
    highspy.HighsModelStatus.kInterrupt: SolveEnd.LIMIT,
    highspy.HighsModelStatus.kInfeasible: SolveEnd.INFEASIBLE,
    highspy.HighsModelStatus.kUnboundedOrInfeasible: SolveEnd.INFEASIBLE,
}
