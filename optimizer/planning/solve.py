"""From a problem to a plan: the linear bound, the minimum current on all slots, whole steps on the near ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from optimizer.domain.plan import Fallback, FeasibleAtLimit, Plan, PlanOutcome, ProvenOptimal, SolveFigures
from optimizer.errors import PlanningFailed
from optimizer.planning.decision import Decision, plan_of
from optimizer.planning.explain import reasons_of
from optimizer.planning.heuristics import FALLBACK, HEURISTICS
from optimizer.planning.highs import SolverAnswer, SolverModel
from optimizer.planning.matrix import build_model
from optimizer.planning.model import LinearModel
from optimizer.planning.objectives import Weights, money, money_offset, shaping, whole_objective
from optimizer.planning.preferences import PreferredModel, basis_of, with_preferences
from optimizer.planning.problem import BoolArray, ChargingProblem, FloatArray, IntArray
from optimizer.planning.rounding import ZERO_KW, power_of, support_bounds, support_of, undecided_sessions
from optimizer.planning.scope import ModelScope, linear_scope, whole_scope
from optimizer.planning.settings import PlanningSettings

NEGLIGIBLE_MONEY = 1e-3
"""A difference that nobody would pay a solver's time for [currency]."""


@dataclass(eq=False)
class Solving:
    """One planning run: its problem, its clock and what it has found so far."""

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
    rows: int = 0
    """Rows of the largest model."""
    columns: int = 0
    """Columns of the largest model."""
    money_scale: float = 0.0
    """Money of the linear optimum, which relative gaps refer to [currency]."""
    least_cost: float = 0.0
    """Objective of the linear optimum."""

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
        """Whether an objective is within the gap sought of its bound."""
        return objective - bound <= self.gap_sought

    def build(self, scope: ModelScope) -> tuple[LinearModel, FloatArray]:
        """Build the model of a scope and its objective."""
        begun = perf_counter()
        model = build_model(self.problem, scope)
        cost = whole_objective(self.problem, model, self.weights)
        self.build_s += perf_counter() - begun
        self._measure(model)
        return model, cost

    def prefer(self, model: LinearModel, cost: FloatArray, cost_bound: float) -> PreferredModel:
        """The model of the preference stage."""
        begun = perf_counter()
        preferred = with_preferences(self.problem, self.settings, model, cost, cost_bound)
        self.build_s += perf_counter() - begun
        self._measure(preferred.model)
        return preferred

    def _measure(self, model: LinearModel) -> None:
        self.rows, self.columns = max(self.rows, model.row_count), max(self.columns, model.column_count)

    def run(self, solver: SolverModel, *, most_s: float = np.inf) -> SolverAnswer:
        """Solve in the time that is left, at most ``most_s``, and count it."""
        answer = solver.solve(time_limit_s=min(self.time_left_s, most_s), absolute_gap=self.gap_sought)
        self.solve_s += answer.solve_s
        self.solves += 1
        return answer

    def figures(self) -> SolveFigures:
        """Time and size so far."""
        return SolveFigures(
            build_s=self.build_s,
            solve_s=self.solve_s,
            total_s=perf_counter() - self.begun_s,
            rows=self.rows,
            columns=self.columns,
            solves=self.solves,
        )


@dataclass(frozen=True, eq=False)
class Found:
    """A point that keeps every law of the problem as it is to be dispatched."""

    model: LinearModel
    """The model it is a point of."""
    cost: FloatArray
    """That model's objective."""
    values: FloatArray
    """Value of each column."""

    @property
    def objective(self) -> float:
        """Value of the objective."""
        return float(self.cost @ self.values)


def plan_charging(problem: ChargingProblem, settings: PlanningSettings | None = None) -> PlanOutcome:
    """Return the best plan found within the time limit; never raises for what a person, vehicle or meter brings.

    Args:
        problem: What is to be planned.
        settings: The operator's choices; the defaults where ``None``.
    """
    solving = Solving(problem, settings if settings is not None else PlanningSettings(), Weights(problem))
    try:
        return _solved(solving)
    except PlanningFailed as failure:
        return Fallback(HEURISTICS[FALLBACK](problem), FALLBACK, str(failure), solving.figures())


def _solved(solving: Solving) -> PlanOutcome:
    problem = solving.problem
    model, cost = solving.build(linear_scope(problem))
    solver = SolverModel(model, cost)
    relaxed = solving.run(solver)
    if not relaxed.has_values:
        raise PlanningFailed(f"the linear problem has no solution within the time limit ({relaxed.end})")
    prices = _marginal_prices(problem, model, relaxed)
    linear = Found(model, cost, relaxed.values)
    solving.least_cost = linear.objective
    solving.money_scale = abs(float(money(problem, model) @ relaxed.values) + money_offset(problem))
    steered = _steered(solving, linear, solver) if solving.settings.preferences else None
    found = steered.found if steered is not None else linear
    bound = relaxed.bound
    if whole_needed(solving):
        found = _rounded(solving, solver if steered is None else steered.solver, found)
        if not solving.is_close(found.objective, bound + solving.budget):
            found, bound = _proven_further(solving, found, bound)
    return _outcome(solving, found, bound, prices)


@dataclass(frozen=True, eq=False)
class Steered:
    """A point that preferences chose, and the solver that holds it."""

    found: Found
    """The point."""
    solver: SolverModel
    """Where to go on from."""


def _steered(solving: Solving, start: Found, held: SolverModel) -> Steered | None:
    """Choose by preferences among the plans that cost little more than ``start``, going on from its basis."""
    preferred = solving.prefer(start.model, start.cost, start.objective + solving.budget)
    solver = SolverModel(preferred.model, preferred.points)
    solver.start_at(basis_of(preferred, held.basis(), start.values))
    answer = solving.run(solver)
    if not answer.has_values:
        return None
    return Steered(Found(preferred.model, preferred.cost, answer.values), solver)


def _rounded(solving: Solving, solver: SolverModel, linear: Found) -> Found:
    """Hold the support of a linear solution, then solve the near slots exactly."""
    problem = solving.problem
    support = support_of(problem, power_of(problem, linear.model, linear.values))
    everywhere = np.ones(support.shape, dtype=bool)
    solver.set_bounds(*support_bounds(problem, linear.model, support, everywhere))
    answer = solving.run(solver)
    repaired = Found(linear.model, linear.cost, answer.values) if answer.has_values else None
    if repaired is not None and solving.settings.near_slots == 0 and not exclusive_slots(problem):
        return repaired
    return _near_exact(solving, linear, repaired, support)


def whole_needed(solving: Solving) -> bool:
    """Whether anything of the problem takes whole numbers."""
    return solving.settings.minimum_current and not whole_scope(solving.problem).is_linear


def exclusive_slots(problem: ChargingProblem) -> bool:
    """Whether two directions must be kept apart anywhere, which no support does."""
    whole = whole_scope(problem)
    return bool(whole.one_way_grid.any() or whole.one_way_battery.any() or whole.one_way_vehicle.any())


def near_scope(problem: ChargingProblem, near_slots: int, also: BoolArray) -> ModelScope:
    """Whole numbers on the near slots for everyone, and on all slots for the sessions ``also``."""
    whole = whole_scope(problem)
    near = np.arange(problem.slot_count) < near_slots
    open_pairs = whole.switched & (near[None, :] | also[problem.modes.session][:, None])
    return replace(whole, switched=open_pairs, stepped=open_pairs & near[None, :])


def _near_exact(solving: Solving, linear: Found, repaired: Found | None, support: BoolArray) -> Found:
    """Solve with whole numbers on the near slots, the support elsewhere held; where that fails, all is left open."""
    problem = solving.problem
    nobody = np.zeros(problem.sessions.count, dtype=bool)
    undecided = undecided_sessions(problem, power_of(problem, linear.model, linear.values))
    tries = [undecided, ~nobody] if repaired is None else [nobody, undecided, ~nobody]
    for also in tries:
        scope = near_scope(problem, solving.settings.near_slots, also)
        model, cost = solving.build(scope)
        points = cost
        if solving.settings.preferences:
            spent = repaired.objective if repaired is not None else linear.objective
            preferred = solving.prefer(model, cost, max(spent, solving.least_cost + solving.budget))
            model, cost, points = preferred.model, preferred.cost, preferred.points
        solver = SolverModel(model, points)
        held = ~scope.switched & ~also[problem.modes.session][:, None]
        solver.set_bounds(*support_bounds(problem, model, support, held))
        if repaired is not None:
            solver.start_from(*whole_start(problem, model, repaired))
        answer = solving.run(solver)
        if answer.has_values:
            return Found(model, cost, answer.values)
        if solving.time_left_s <= 0:
            break
    raise PlanningFailed("no plan with minimum currents within the time limit")


def _proven_further(solving: Solving, found: Found, bound: float) -> tuple[Found, float]:
    """Solve with whole numbers on all slots from what is found, in the time set for it; returns the better of both."""
    problem = solving.problem
    everyone = np.ones(problem.sessions.count, dtype=bool)
    model, cost = solving.build(near_scope(problem, solving.settings.near_slots, everyone))
    solver = SolverModel(model, cost)
    solver.start_from(*whole_start(problem, model, found))
    answer = solving.run(solver, most_s=solving.settings.proof_time_s)
    bound = max(bound, answer.bound)
    if answer.has_values and answer.objective < found.objective:
        found = Found(model, cost, answer.values)
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
    discharge = np.zeros((problem.sessions.count, slots))
    if "discharge_kw" in model.columns:
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
    return answer.row_duals[model.rows["site_balance"].span] / problem.slot_h


def _outcome(solving: Solving, found: Found, bound: float, prices: FloatArray) -> PlanOutcome:
    problem = solving.problem
    decision = decision_of(problem, found)
    plan: Plan = plan_of(problem, decision, reasons_of(problem, decision), prices)
    offset = money_offset(problem)
    priced = money(problem, found.model) + shaping(problem, found.model)
    objective = float(priced @ found.values) + offset
    distance = max(0.0, found.objective - bound)
    gap = distance / max(abs(objective), abs(objective - distance), NEGLIGIBLE_MONEY)
    if solving.is_close(found.objective, bound + solving.budget):
        return ProvenOptimal(plan, objective, gap, solving.figures())
    return FeasibleAtLimit(plan, objective, objective - distance, gap, solving.figures())
