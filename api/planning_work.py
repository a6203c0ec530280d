"""What states and solves the problems of the service's site, and what is recorded of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from api.heap import give_back_memory
from optimizer.domain.ids import EvseId
from optimizer.domain.plan import PlanOutcome
from optimizer.domain.snapshot import SeenStep, SiteSnapshot
from optimizer.planning.assemble import problem_from_snapshot
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.solve import checked_plan
from scenarios.record import ground_text


class PlanningWork:
    """Plans with the settings in force when a problem is stated, and tells them to the record.

    Args:
        settings: Gives the settings in force; what is learnt from past stays may change them between two plans.
    """

    def __init__(self, settings: Callable[[], PlanningSettings]) -> None:
        self._settings_now = settings
        self._settings = settings()

    async def assemble(self, snapshot: SiteSnapshot, fixed_kw: Mapping[EvseId, float]) -> ChargingProblem:
        """State the problem of a snapshot, with the load of EVSEs that cannot be steered; in a thread, too."""
        self._settings = self._settings_now()
        return await asyncio.to_thread(problem_from_snapshot, snapshot, self._settings, fixed_kw=fixed_kw)

    async def plan(self, problem: ChargingProblem) -> PlanOutcome:
        """Solve it in a thread, with the solver's own time limit."""
        return await asyncio.to_thread(_planned, problem, self._settings)

    def seen(self, snapshot: SiteSnapshot, fixed_kw: Mapping[EvseId, float]) -> SeenStep:
        """What the plan that has just been made follows from."""
        return SeenStep(snapshot, fixed_kw, ground_text(self._settings))


def _planned(problem: ChargingProblem, settings: PlanningSettings) -> PlanOutcome:
    """The plan, when the memory that it took to find it is given back."""
    try:
        return checked_plan(problem, settings)
    finally:
        give_back_memory()
