"""Work for a sweep's workers: importable in processes of their own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from optimizer.errors import InvalidInput, PlanningFailed
from scenarios.sweep import Asked, SweepTask


def _is_first_try(task: SweepTask) -> bool:
    """Whether this task leaves its mark for the first time; the folder travels in the point."""
    mark = Path(task.point["folder"]) / str(task.number)
    if mark.exists():
        return False
    mark.touch()
    return True


def answer(task: SweepTask, _is_interrupted: Asked) -> dict[str, Any]:
    return {"total_cost": float(task.number), "currency": "USD"}


def fails_once(task: SweepTask, is_interrupted: Asked) -> dict[str, Any]:
    if _is_first_try(task):
        raise PlanningFailed("no luck")
    return answer(task, is_interrupted)


def second_never_works(task: SweepTask, is_interrupted: Asked) -> dict[str, Any]:
    if task.number == 1:
        raise OSError(28, "No space left on device")
    return answer(task, is_interrupted)


def second_has_bad_input(task: SweepTask, is_interrupted: Asked) -> dict[str, Any]:
    if task.number == 1:
        raise InvalidInput("site.limit_kw", -1, "give a number from 0 up")
    return answer(task, is_interrupted)


def second_kills_its_process(task: SweepTask, is_interrupted: Asked) -> dict[str, Any]:
    if task.number == 1:
        os._exit(9)
    return answer(task, is_interrupted)


def waits_for_the_end(task: SweepTask, is_interrupted: Asked) -> dict[str, Any]:
    Path(task.point["folder"]).joinpath(f"begun-{task.number}").touch()
    while not is_interrupted():
        pass
    return answer(task, is_interrupted)
