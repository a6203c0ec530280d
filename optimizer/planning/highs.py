"""HiGHS behind a small door: models in, values, duals and proven bounds out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from time import perf_counter
from typing import Any

import highspy
import numpy as np

from optimizer.errors import PlanningFailed
from optimizer.planning.model import LinearModel
from optimizer.planning.problem import FloatArray, IntArray

PRIMAL_SIMPLEX = 4
"""HiGHS' number of the primal simplex, the fastest way on from a near-by basis."""

LARGE_COLUMNS = 40_000
"""From about 500 vehicles on, an LP with a demand charge is solved faster and evenly by the interior point method."""


class SolveEnd(StrEnum):
    """How a solve ended."""

    OPTIMAL = "optimal"
    LIMIT = "limit"
    INFEASIBLE = "infeasible"
    FAILED = "failed"


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
    column_duals: FloatArray
    """Reduced cost of each column; zeros for a model with whole numbers."""
    objective: float
    """Value of the objective."""
    bound: float
    """Proven lower bound of the objective."""
    solve_s: float
    """Time inside the solver [s]."""


class SolverModel:
    """One model held in HiGHS, whose bounds and costs may change between solves; it keeps its basis."""

    def __init__(self, model: LinearModel, cost: FloatArray, *, threads: int = 1) -> None:
        self._highs: Any = highspy.Highs()  # type: ignore[no-untyped-call]
        self._highs.setOptionValue("output_flag", False)
        self._highs.setOptionValue("threads", threads)
        self._highs.setOptionValue("random_seed", 1)
        self._model = model
        self._solved = False
        self._has_integers = bool(model.integer.any())
        self._pass(model, cost)

    def _pass(self, model: LinearModel, cost: FloatArray) -> None:
        status = self._highs.passModel(
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

    def set_bounds(self, columns: IntArray, lower: FloatArray, upper: FloatArray) -> None:
        """Replace the bounds of columns."""
        self._highs.changeColsBounds(len(columns), columns.astype(np.int32), lower, upper)

    def set_costs(self, cost: FloatArray) -> None:
        """Replace all costs."""
        self._highs.changeColsCost(len(cost), np.arange(len(cost), dtype=np.int32), cost)

    def start_from(self, columns: IntArray, values: FloatArray) -> None:
        """Give values of whole-number columns to start from; the others are completed by the solver."""
        if len(columns):
            self._highs.setSolution(len(columns), columns.astype(np.int32), values)

    def solve(self, *, time_limit_s: float, absolute_gap: float = 1e-6) -> SolverAnswer:
        """Solve what is held now; a later call starts from the last basis."""
        self._set_options(time_limit_s, absolute_gap)
        begun = perf_counter()
        self._highs.run()
        spent_s = perf_counter() - begun
        self._solved = True
        return self._answer(spent_s)

    def _set_options(self, time_limit_s: float, absolute_gap: float) -> None:
        options = self._highs
        # HiGHS counts its limit over all runs of one object.
        options.setOptionValue("time_limit", options.getRunTime() + max(time_limit_s, 0.0))
        # A relative gap would be one of the unserved energy's weights, not of money.
        options.setOptionValue("mip_rel_gap", 0.0)
        options.setOptionValue("mip_abs_gap", absolute_gap)
        if self._has_integers:
            return
        if self._solved:
            options.setOptionValue("solver", "simplex")
            options.setOptionValue("simplex_strategy", PRIMAL_SIMPLEX)
            options.setOptionValue("presolve", "off")
        elif self._model.column_count >= LARGE_COLUMNS:
            options.setOptionValue("solver", "ipm")
        else:
            options.setOptionValue("presolve", "off")

    def _answer(self, solve_s: float) -> SolverAnswer:
        highs, model = self._highs, self._model
        status, details = highs.getModelStatus(), highs.getInfo()
        feasible = details.primal_solution_status == int(highspy.SolutionStatus.kSolutionStatusFeasible)
        solution = highs.getSolution()
        values = np.array(solution.col_value) if feasible else np.zeros(model.column_count)
        dual_valid = bool(solution.dual_valid) and not self._has_integers
        optimal = status == highspy.HighsModelStatus.kOptimal
        bound = details.mip_dual_bound if self._has_integers else details.objective_function_value
        return SolverAnswer(
            end=_end_of(status),
            has_values=feasible,
            values=values,
            row_duals=np.array(solution.row_dual) if dual_valid else np.zeros(model.row_count),
            column_duals=np.array(solution.col_dual) if dual_valid else np.zeros(model.column_count),
            objective=float(details.objective_function_value),
            bound=float(bound) if self._has_integers or optimal else -np.inf,
            solve_s=solve_s,
        )


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


def _end_of(status: highspy.HighsModelStatus) -> SolveEnd:
    return _ENDS.get(status, SolveEnd.FAILED)
