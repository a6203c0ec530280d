"""What plans in a replay: the rolling MILP or a heuristic, both behind the control step of the service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

from optimizer.domain.plan import Fallback, PlanOutcome, SolveFigures
from optimizer.errors import InvalidInput
from optimizer.planning.heuristics import HEURISTICS
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.settings import PlanningSettings, SlotRule
from optimizer.planning.solve import checked_plan

MILP = "milp"
"""The rolling-horizon MILP."""
UNCONTROLLED = "uncontrolled"
"""Nobody controls: every car charges as fast as it can."""
OFFLINE_OPTIMUM = "offline_optimum"
"""One large problem that knows everything beforehand: a bound, no strategy that anybody could follow."""

Solver = Callable[[ChargingProblem], PlanOutcome]
Watcher = Callable[[ChargingProblem, PlanOutcome], None]
"""Is told each problem and what came of it."""


def nobody_watches(problem: ChargingProblem, outcome: PlanOutcome) -> None:
    """Nobody is told."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way to plan."""

    name: str
    """Its name."""
    settings: PlanningSettings
    """How problems are stated for it."""
    solve: Solver
    """Makes the plan."""
    looks_at_money: bool = True
    """Whether prices and peaks change its plans; where not, nothing need be learnt of them."""

    def watched(self, on_plan: Watcher) -> Strategy:
        """The same with somebody who is told of each plan."""

        def solve(problem: ChargingProblem) -> PlanOutcome:
            outcome = self.solve(problem)
            on_plan(problem, outcome)
            return outcome

        return replace(self, solve=solve)


def strategy_names() -> tuple[str, ...]:
    """Every strategy that a replay can follow."""
    return (MILP, *(name for name in HEURISTICS if name != UNCONTROLLED), UNCONTROLLED)


def checked_strategy(name: str, field: str) -> str:
    """``name``, if there is such a strategy.

    Raises:
        InvalidInput: There is none.
    """
    if name not in strategy_names():
        raise InvalidInput(field, name, f"name one of {', '.join(strategy_names())}")
    return name


def strategy_of(name: str, settings: PlanningSettings, step_minutes: int) -> Strategy:
    """The strategy of a name; not for the day without control, which nobody plans.

    Args:
        name: Its name.
        settings: The planner's choices.
        step_minutes: Distance of control steps: heuristics do not look further ahead than a few of them.

    Raises:
        InvalidInput: There is no such strategy.
    """
    if name == MILP:
        return Strategy(name, settings, lambda problem: checked_plan(problem, settings))
    if name == UNCONTROLLED or name not in HEURISTICS:
        raise InvalidInput("strategy", name, f"name one of {', '.join(strategy_names())}")
    near = replace(settings, slot_rules=(SlotRule(step_minutes, 3 * step_minutes), SlotRule(60, 180)))
    return Strategy(name, near, partial(heuristic_outcome, name), looks_at_money=False)


def heuristic_outcome(name: str, problem: ChargingProblem) -> PlanOutcome:
    """The plan of a heuristic, with the time that it took."""
    begun = perf_counter()
    plan = HEURISTICS[name](problem)
    spent_s = perf_counter() - begun
    return Fallback(plan, name, "the strategy", SolveFigures(0.0, spent_s, spent_s, 0, 0))
