"""A real morning as the control loop saw it: cars that come, statements, PV, a tariff with a demand charge."""

from __future__ import annotations

from datetime import timedelta
from functools import cache, partial

import pytest

from connectors.storage.plan_store import RecordedStep
from optimizer.control.controller import SiteController
from optimizer.domain.plan import PlanOutcome
from optimizer.domain.snapshot import SeenStep
from scenarios.memory_stores import MemoryPlanStore
from scenarios.record import ground_text
from scenarios.runner import run_course
from scenarios.scenario_files import catalogue_path, load_scenario


@cache
def recorded_morning() -> tuple[RecordedStep, ...]:
    """Every step of two hours, 5 August 2019 from seven o'clock."""
    scenario = load_scenario(catalogue_path("acn_caltech_2019_08"))
    start = scenario.start + timedelta(days=4, hours=7)
    scenario = scenario.between(start, start + timedelta(hours=2))
    steps: list[RecordedStep] = []
    save = MemoryPlanStore.save_outcome

    async def capture(store: MemoryPlanStore, outcome: PlanOutcome, trigger: str, seen: SeenStep | None = None) -> None:
        assert seen is not None
        steps.append(RecordedStep(seen, outcome, trigger))
        await save(store, outcome, trigger, seen)

    ground = ground_text(scenario.planning)
    recording = partial(SeenStep, ground=ground)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("scenarios.stepped_control.SiteController", partial(SiteController, recording=recording))
        patched.setattr(MemoryPlanStore, "save_outcome", capture)
        run_course(scenario, "milp", is_interrupted=lambda: len(steps) >= MOST)
    return tuple(steps)


MOST = 12
"""Enough to have plans that follow from plans."""
