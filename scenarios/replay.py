"""The way in: a scenario and a strategy in, a judged course out, with the two bounds that it is held against.

scenario = load_scenario(Path("garage.yaml"))
result = replay(scenario, "milp")
print(result.figures.bill.total_cost, result.baselines.offline_optimum.bill.total_cost)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from scenarios.metrics import Baselines, CourseFigures, as_json, figures_of
from scenarios.offline_optimum import solve_offline
from scenarios.outcomes import Course
from scenarios.runner import Progress, never, not_told, run_course
from scenarios.scenario import Scenario
from scenarios.strategies import OFFLINE_OPTIMUM, UNCONTROLLED

SAME_ENERGY_SHARE = 1e-3
"""Part of the energy that two courses may differ by and still be compared as they are."""
Runner = Callable[..., Course]
"""Lives through a scenario; see `run_course` for its arguments."""


@dataclass(frozen=True)
class ReplayResult:
    """A replay with its figures."""

    scenario: Scenario
    """What was replayed."""
    course: Course
    """What happened."""
    figures: CourseFigures
    """What it came to."""
    baselines: Baselines
    """What it is held against."""
    optimum: Course
    """The course of the offline optimum."""
    uncontrolled: Course
    """The course without control."""

    def as_json(self) -> dict[str, Any]:
        """The figures by name, with what was replayed."""
        return {
            "scenario": self.scenario.name,
            "start": self.scenario.start.isoformat(),
            "end": self.scenario.end.isoformat(),
            "replayed_until": self.course.until.isoformat(),
            "seed": self.scenario.seed,
            "set_aside": len(self.scenario.set_aside),
            **as_json(self.figures, self.baselines),
        }


@dataclass(frozen=True)
class Bounds:
    """The courses that every figure of a scenario is held against."""

    optimum: Course
    """With perfect foresight."""
    uncontrolled: Course
    """Without control."""
    baselines: Baselines
    """What they came to."""


def bounds_of(scenario: Scenario) -> Bounds:
    """Work out both bounds of a scenario."""
    optimum = solve_offline(scenario)
    uncontrolled = run_course(scenario, UNCONTROLLED)
    best = figures_of(optimum, scenario)
    return Bounds(optimum, uncontrolled, Baselines(best, _figures_beside(best, uncontrolled, scenario)))


def replay(
    scenario: Scenario,
    strategy: str | None = None,
    *,
    on_progress: Progress = not_told,
    is_interrupted: Callable[[], bool] = never,
    kept_in: Path | None = None,
    resume: bool = False,
    bounds: Bounds | None = None,
    runner: Runner = run_course,
) -> ReplayResult:
    """Replay a scenario and judge what happened.

    Args:
        scenario: What happens.
        strategy: What plans; ``None``: what the scenario names.
        on_progress: Is told which share of the time is replayed.
        is_interrupted: Asked at every instant; when true the replay ends with what it has.
        kept_in: File in which the state is kept now and then, and when interrupted; ``None``: nowhere.
        resume: Whether to go on from the state in that file, where there is one.
        bounds: Both bounds, where they are known already.
        runner: Lives through the scenario.

    Raises:
        InvalidInput: There is no such strategy, or the kept state is of something else.
    """
    course = runner(
        scenario,
        strategy or scenario.strategy,
        on_progress=on_progress,
        is_interrupted=is_interrupted,
        kept_in=kept_in,
        resume=resume,
    )
    if not course.is_complete:
        scenario = _as_if_it_ended(scenario, course)
        bounds = None
    return judged(scenario, course, bounds or bounds_of(scenario))


def judged(scenario: Scenario, course: Course, bounds: Bounds) -> ReplayResult:
    """A course with its figures beside those of the bounds."""
    figures = _figures_beside(bounds.baselines.offline_optimum, course, scenario)
    return ReplayResult(scenario, course, figures, bounds.baselines, bounds.optimum, bounds.uncontrolled)


def _figures_beside(optimum: CourseFigures, course: Course, scenario: Scenario) -> CourseFigures:
    """Figures that know what perfect foresight pays for the same energy: who delivers less is not better for that."""
    figures = figures_of(course, scenario)
    if figures.delivered_kwh >= optimum.delivered_kwh * (1.0 - SAME_ENERGY_SHARE):
        return figures
    same = solve_offline(scenario, {stay.id: stay.delivered_kwh for stay in course.stays})
    return replace(figures, same_energy_optimum_cost=figures_of(same, scenario).bill.total_cost)


def _as_if_it_ended(scenario: Scenario, course: Course) -> Scenario:
    """The part that an interrupted replay lived through, one step at least: who was still there left then."""
    steps = max(1, (min(course.until, scenario.end) - scenario.start) // scenario.step)
    end = scenario.start + steps * scenario.step
    left_at = max(end, course.until)
    part = scenario.between(scenario.start, end)
    stays = (
        stay
        if stay.session.departed_at <= left_at
        else replace(stay, session=replace(stay.session, departed_at=left_at))
        for stay in part.stays
    )
    return replace(part, stays=tuple(stays))


def compare(
    scenario: Scenario,
    strategies: Sequence[str],
    *,
    on_progress: Callable[[str, float], None] = lambda _, __: None,
    is_interrupted: Callable[[], bool] = never,
    kept_in: Callable[[str], Path | None] = lambda _: None,
    resume: bool = False,
) -> dict[str, ReplayResult]:
    """Replay a scenario under several strategies, the bounds among them.

    Args:
        scenario: What happens.
        strategies: What plans, one after the other.
        on_progress: Is told which share of the time is replayed, by strategy.
        is_interrupted: Asked at every instant; when true what is complete is returned.
        kept_in: Where the state of each strategy's replay is kept.
        resume: Whether to go on from kept states.

    Returns:
        Results by strategy, the offline optimum and uncontrolled first.
    """
    on_progress(OFFLINE_OPTIMUM, 0.0)
    bounds = bounds_of(scenario)
    results = {
        OFFLINE_OPTIMUM: judged(scenario, bounds.optimum, bounds),
        UNCONTROLLED: judged(scenario, bounds.uncontrolled, bounds),
    }
    on_progress(OFFLINE_OPTIMUM, 1.0)
    for name in strategies:
        if name in results:
            continue
        result = replay(
            scenario,
            name,
            on_progress=partial(on_progress, name),
            is_interrupted=is_interrupted,
            kept_in=kept_in(name),
            resume=resume,
            bounds=bounds,
        )
        results[name] = result
        if not result.course.is_complete:
            break
    return results
