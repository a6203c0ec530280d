"""Plans by the builder and solver of one's choice."""

from __future__ import annotations

from optimizer.domain.plan import PlanOutcome, SolveFigures
from optimizer.errors import InvalidInput, PlanningFailed
from optimizer.planning.fallback import fallback_of
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.solve import plan_charging

MATRIX = "matrix"
"""Blocks of arrays straight into HiGHS: the fast way."""

PYOMO = "pyomo:"
"""Before a solver's name: the same laws stated in Pyomo."""


def plan_with(problem: ChargingProblem, settings: PlanningSettings | None = None, backend: str = MATRIX) -> PlanOutcome:
    """Return the best plan that a backend finds within the time limit.

    Args:
        problem: What is to be planned.
        settings: The operator's choices; the defaults where ``None``.
        backend: ``matrix``, or ``pyomo:<solver>`` for any solver that Pyomo finds.

    Raises:
        InvalidInput: There is no such backend.
    """
    if backend == MATRIX:
        return plan_charging(problem, settings)
    if not backend.startswith(PYOMO):
        raise InvalidInput("backend", backend, "give matrix or pyomo:<solver>, for example pyomo:appsi_highs")
    # Pyomo is large; whoever plans by the matrix never loads it.
    from optimizer.planning.reference import reference_model, solve_reference

    try:
        return solve_reference(reference_model(problem, settings), backend.removeprefix(PYOMO))
    except PlanningFailed as failure:
        figures = SolveFigures(build_s=0.0, solve_s=0.0, total_s=0.0, rows=0, columns=0, solves=0)
        return fallback_of(problem, str(failure), figures)
