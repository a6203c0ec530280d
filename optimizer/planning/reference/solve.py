"""Solves the Pyomo model by any solver that Pyomo finds, and reads the plan out of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import WARNING
from math import inf, isfinite
from time import perf_counter
from typing import Any

import numpy as np
from pyomo.common.errors import ApplicationError, PyomoException
from pyomo.common.log import LoggingIntercept
from pyomo.environ import SolverFactory, Suffix, TransformationFactory, value

from optimizer.domain.plan import FeasibleAtLimit, PlanOutcome, ProvenOptimal, SolveFigures
from optimizer.errors import InvalidInput, PlanningFailed
from optimizer.planning.decision import Decision, plan_of
from optimizer.planning.explain import reasons_of
from optimizer.planning.objectives import money_offset
from optimizer.planning.problem import ChargingProblem, FloatArray
from optimizer.planning.reference.given import Given
from optimizer.planning.reference.model import columns_of, rows_of
from optimizer.planning.reference.preferences import forget_preferences, state_preferences
from optimizer.planning.rounding import ZERO_KW
from optimizer.planning.solving import NEGLIGIBLE_MONEY

HIGHS_SOLVERS = ("appsi_highs", "highs")
"""Pyomo's names for HiGHS, whose option for an absolute gap is known here."""


@dataclass(eq=False)
class _Run:
    """One run over the stages: its solver, its clock and what it has counted."""

    solver: Any
    name: str
    time_limit_s: float
    begun_s: float
    solve_s: float = 0.0
    solves: int = 0

    def solve(self, model: Any, absolute_gap: float) -> float:
        """Solve the active objective and return the proven bound, ``-inf`` where the solver tells none."""
        left_s = max(0.1, self.time_limit_s - (perf_counter() - self.begun_s))
        options = {"mip_rel_gap": 0.0, "mip_abs_gap": absolute_gap} if self.name in HIGHS_SOLVERS else {}
        begun = perf_counter()
        try:
            # What Pyomo warns of, a limit that came first or a missing solution, is in the outcome.
            with LoggingIntercept(module="pyomo", level=WARNING):
                results = self.solver.solve(model, timelimit=left_s, options=options)
        except (PyomoException, ApplicationError, RuntimeError, ValueError) as error:
            raise PlanningFailed(f"{self.name} gave no plan: {error}") from error
        finally:
            self.solve_s += perf_counter() - begun
            self.solves += 1
        bound = results.problem.lower_bound
        return float(bound) if isinstance(bound, int | float) and isfinite(bound) else -inf


def solve_reference(model: Any, solver: str = "appsi_highs") -> PlanOutcome:
    """Solve a model of `reference_model`, laws of your own included, and return the plan.

    The linear relaxation gives the bound and the marginal prices, the money stage the cost, the preference stage the
    plan that costs a little more at most.

    Args:
        model: A model of `reference_model`; afterwards it holds the solution, and the preference stage is its objective
            where the settings want one.
        solver: Any solver that Pyomo finds.

    Raises:
        InvalidInput: Pyomo does not find the solver.
        PlanningFailed: The solver found no feasible plan; without added laws there always is one.
    """
    begun_s = perf_counter()
    settings = model.settings
    run = _Run(_solver_of(solver), solver, settings.time_limit_s, begun_s)
    forget_preferences(model)
    bound, prices, scale = _relaxed(model, run)
    gap_sought = max(settings.relative_gap * scale, NEGLIGIBLE_MONEY)
    if any(column.is_integer() for column in columns_of(model)):
        bound = max(bound, run.solve(model, gap_sought))
    if settings.preferences:
        budget = max(settings.preference_cost_share * scale, settings.preference_cost_floor)
        state_preferences(model, value(model.objective.expr) + budget)
        run.solve(model, gap_sought)
    build_s = perf_counter() - begun_s - run.solve_s
    figures = SolveFigures(
        build_s=build_s,
        solve_s=run.solve_s,
        total_s=perf_counter() - begun_s,
        rows=len(rows_of(model)),
        columns=len(columns_of(model)),
        solves=run.solves,
    )
    return _outcome(model, bound, gap_sought, prices, figures)


def _solver_of(name: str) -> Any:
    if name in SolverFactory:
        solver = SolverFactory(name)
        if solver.available(exception_flag=False):
            return solver
    raise InvalidInput("backend", f"pyomo:{name}", "name a solver that Pyomo finds here, for example pyomo:appsi_highs")


def _relaxed(model: Any, run: _Run) -> tuple[float, FloatArray | None, float]:
    """Solve without whole numbers: a lower bound, the cost of a kWh in each slot, and the size of the money."""
    given: Given = model.given
    with _without_whole_numbers(model):
        model.dual = Suffix(direction=Suffix.IMPORT)
        run.solve(model, 0.0)
        duals = [model.dual.get(model.site_balance[t]) for t in given.slots]
        model.del_component("dual")
    prices = None if None in duals else np.array(duals) / np.array(given.slot_h)
    return value(model.objective.expr), prices, abs(value(model.money) + money_offset(given.problem))


@contextmanager
def _without_whole_numbers(model: Any) -> Iterator[None]:
    relax = TransformationFactory("core.relax_integer_vars")
    undo = relax.apply_to(model)
    try:
        yield
    finally:
        relax.apply_to(model, reverse=undo)


def decision_of(model: Any) -> Decision:
    """Read the decision out of a solved model; powers that differ from zero by rounding are set to it."""
    given: Given = model.given
    problem: ChargingProblem = given.problem
    slots = problem.slot_count
    none = np.zeros(slots)
    battery_kw = pv_kw = none
    if given.battery is not None:
        battery_kw = _values(model.battery_charge_kw, slots) - _values(model.battery_discharge_kw, slots)
    pv_kw = _values(model.pv_kw, slots) if problem.supply.pv_curtailable else np.array(problem.supply.pv_kw)
    return Decision(
        power_kw=_grid(model.power_kw, given.labels["m"], slots),
        discharge_kw=_grid(model.discharge_kw, given.labels["s"], slots),
        battery_kw=battery_kw,
        pv_kw=pv_kw,
    )


def _values(block: Any, slots: int) -> FloatArray:
    """Values of a block by slot within their bounds, 0 where there is no column, shape (slots,)."""
    values = np.zeros(slots)
    for t, column in block.items():
        values[t] = min(max(value(column), column.lb), column.ub)
    return values


def _grid(block: Any, names: tuple[str, ...], slots: int) -> FloatArray:
    """Powers of a block by name and slot within their bounds, shape (names, slots)."""
    place = {name: index for index, name in enumerate(names)}
    powers = np.zeros((len(names), slots))
    for (name, t), column in block.items():
        power_kw = min(max(value(column), column.lb), column.ub)
        powers[place[name], t] = power_kw if power_kw >= ZERO_KW else 0.0
    return powers


def _outcome(
    model: Any, bound: float, gap_sought: float, prices: FloatArray | None, figures: SolveFigures
) -> PlanOutcome:
    problem: ChargingProblem = model.given.problem
    decision = decision_of(model)
    plan = plan_of(problem, decision, reasons_of(problem, decision), prices)
    objective = value(model.money) + value(model.shaping) + money_offset(problem)
    distance = max(0.0, value(model.objective.expr) - bound)
    gap = distance / max(abs(objective), abs(objective - distance), NEGLIGIBLE_MONEY)
    if distance <= gap_sought:
        return ProvenOptimal(plan, objective, gap, figures)
    return FeasibleAtLimit(plan, objective, objective - distance, gap, figures)
