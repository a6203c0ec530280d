"""What a service saw and decided, step by step: written to a file, read back, and planned again.

    service's database ──> record file (JSON lines, gzipped) ──> each step's problem, planned again ──> differences

A scenario file beside the record names it, and what is to be otherwise (`scenarios.recorded_scenario`).

A plan follows from the snapshot, the load that could not be steered, and the planner's settings; all three are in the
record. The solver is deterministic, so the same version makes the same plan to the last bit. The one exception is what
a solver call had found when a time limit ended it; that is in the record, too, and is given instead of such a call.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from connectors.sections import section_errors
from connectors.storage.codec import GROUND_JSON, StepGround, StoredStep, outcome_text, outcome_value, step_text
from connectors.storage.plan_store import RecordedStep
from optimizer.domain.ids import PlanId
from optimizer.domain.plan import Fallback, Plan, PlanOutcome, SolveFigures
from optimizer.domain.snapshot import SeenStep, SiteSnapshot
from optimizer.errors import InvalidConfiguration, InvalidDataFile, InvalidInput, StorageFailed
from optimizer.planning.assemble import problem_from_snapshot
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.solve import checked_plan
from scenarios.strategies import MILP, heuristic_outcome

FORMAT = "chargehorizon record 1"
"""First entry of a record file; another number cannot be read."""
PATIENCE = 20.0
"""Multiple of the time limits in a second planning: a limit that was not reached must not be, on a slower machine."""


@dataclass(frozen=True)
class PlanningGround:
    """What a plan follows from besides what was seen."""

    version: str
    """Of this program."""
    solver: str
    """Of HiGHS."""
    settings: PlanningSettings
    """The planner's."""


_GROUND: TypeAdapter[PlanningGround] = TypeAdapter(PlanningGround)


def ground_text(settings: PlanningSettings) -> str:
    """The ground of a plan made now with ``settings``, as text."""
    return _GROUND.dump_json(PlanningGround(version("chargehorizon"), version("highspy"), settings)).decode()


def ground_of(seen: SeenStep) -> PlanningGround:
    """The ground that a step was planned on.

    Raises:
        StorageFailed: It is written in a way that this version does not know.
    """
    try:
        return _GROUND.validate_json(seen.ground)
    except (ValidationError, InvalidConfiguration) as error:
        raise StorageFailed(
            f"the settings of the plan at {seen.snapshot.at:%Y-%m-%d %H:%M} cannot be read: {error}"
        ) from error


# ---------------------------------------------------------------------- the file


def write_record(path: Path, steps: Iterable[RecordedStep]) -> int:
    """Write steps to a record file; what they share stands in it once.

    Args:
        path: The file; it is gzipped.
        steps: Steps of one site in the order of time.

    Returns:
        How many steps were written; no file is made of none.
    """
    count, grounds, plans = 0, dict[str, int](), set[PlanId]()
    fresh = path.with_name(f"{path.name}.part")
    with gzip.open(fresh, "wt", encoding="utf-8") as file:

        def write(entry: Mapping[str, Any]) -> None:
            file.write(json.dumps(entry) + "\n")

        write({"format": FORMAT})
        for step in steps:
            shared = GROUND_JSON.text(StepGround.of(step.seen))
            if shared not in grounds:
                grounds[shared] = len(grounds)
                write({"kind": "ground", "ground": json.loads(shared)})
            previous = step.seen.snapshot.previous_plan
            if previous is not None and previous.id not in plans:
                plans.add(previous.id)
                write({"kind": "plan", "outcome": _outcome_entry(_bare(previous))})
            plans.add(step.outcome.plan.id)
            body = json.loads(step_text(step.seen))
            decided = _outcome_entry(step.outcome)
            entry = {
                "kind": "step",
                "trigger": step.trigger,
                "ground": grounds[shared],
                "seen": body,
                "outcome": decided,
            }
            write(entry)
            count += 1
    if count:
        fresh.replace(path)
    else:
        fresh.unlink()
    return count


def _bare(plan: Plan) -> PlanOutcome:
    """A plan of which only itself is known."""
    return Fallback(plan, "", "", SolveFigures(0.0, 0.0, 0.0, 0, 0))


def _outcome_entry(outcome: PlanOutcome) -> list[Any]:
    kind, text = outcome_text(outcome)
    return [kind, json.loads(text)]


def read_record(path: Path) -> Iterator[RecordedStep]:
    """Read a record file, step by step.

    Raises:
        InvalidDataFile: It is no record file, or not a whole one.
    """
    with _lines(path) as lines:
        yield from _steps(lines)


def steps_in(path: Path) -> int:
    """How many steps a record file holds; reads it as far as is needed for that.

    Raises:
        InvalidDataFile: It is no record file, or not a whole one.
    """
    with _lines(path) as lines:
        return sum('"kind": "step"' in line[:40] for line in lines)


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[str]]:
    """The lines of a record file after the first, which says what it is."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            header = json.loads(file.readline() or "null")
            if not isinstance(header, dict) or header.get("format") != FORMAT:
                raise InvalidDataFile("(file)", path.name, f"give a file that says {FORMAT!r}", where=str(path))
            yield file
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, StorageFailed) as error:
        if isinstance(error, InvalidInput):
            raise
        fix = f"give a record that `chargehorizon record export` wrote: {error}"
        raise InvalidDataFile("(file)", path.name, fix, where=str(path)) from error


def _steps(lines: Iterable[str]) -> Iterator[RecordedStep]:
    grounds: list[StepGround] = []
    plans: dict[PlanId, Plan] = {}
    for line in lines:
        entry = json.loads(line)
        match entry["kind"]:
            case "ground":
                grounds.append(GROUND_JSON.value(json.dumps(entry["ground"])))
            case "plan":
                plan = _outcome(entry["outcome"]).plan
                plans[plan.id] = plan
            case _:
                body = StoredStep.of(json.dumps(entry["seen"]))
                previous = plans[body.previous_plan_id] if body.previous_plan_id is not None else None
                outcome = _outcome(entry["outcome"])
                # A step follows from the plan before it at most.
                plans = {outcome.plan.id: outcome.plan}
                yield RecordedStep(body.seen(grounds[entry["ground"]], previous), outcome, entry["trigger"])


def _outcome(entry: list[Any]) -> PlanOutcome:
    kind, body = entry
    return outcome_value(kind, json.dumps(body))


# ---------------------------------------------------------------------- planned again


@dataclass(frozen=True)
class StepComparison:
    """One step as it was decided, and as it is decided now."""

    recorded: RecordedStep
    """What the service saw and decided."""
    again: PlanOutcome
    """What is decided now."""
    is_changed: bool
    """Whether other settings were given."""

    @property
    def was_cut_short(self) -> bool:
        """Whether a time limit ended a solver call when the plan was made."""
        return self.recorded.outcome.figures.cut_short > 0

    @property
    def is_same(self) -> bool:
        """Whether plan and proof are equal to the last bit; how long they took does not count."""
        return _decision_text(self.recorded.outcome) == _decision_text(self.again)

    @property
    def cost_difference(self) -> float:
        """How much dearer the plan of now is expected to be [currency]."""
        return self.again.plan.money - self.recorded.outcome.plan.money

    @property
    def peak_difference_kw(self) -> float:
        """How much higher the greatest import of the plan of now is [kW]."""
        return max(self.again.plan.grid_import_kw) - max(self.recorded.outcome.plan.grid_import_kw)

    @property
    def unserved_difference_kwh(self) -> float:
        """How much more target energy the plan of now misses [kWh]."""
        return _unserved_kwh(self.again.plan) - _unserved_kwh(self.recorded.outcome.plan)

    @property
    def first_power_difference_kw(self) -> float:
        """Sum over vehicles by which the power that goes to stations at once differs [kW]."""
        before, now = _first_powers(self.recorded.outcome.plan), _first_powers(self.again.plan)
        return sum(abs(now.get(name, 0.0) - before.get(name, 0.0)) for name in {*before, *now})

    def as_json(self) -> dict[str, Any]:
        """The comparison by name."""
        return {
            "at": self.recorded.seen.snapshot.at.isoformat(),
            "trigger": self.recorded.trigger,
            "plan_id": self.recorded.outcome.plan.id,
            "outcome": type(self.recorded.outcome).__name__,
            "outcome_again": type(self.again).__name__,
            "same": self.is_same,
            "cut_short": self.was_cut_short,
            "cost": self.recorded.outcome.plan.money,
            "cost_difference": self.cost_difference,
            "peak_difference_kw": self.peak_difference_kw,
            "unserved_difference_kwh": self.unserved_difference_kwh,
            "first_power_difference_kw": self.first_power_difference_kw,
            "solve_s": self.recorded.outcome.figures.total_s,
            "solve_s_again": self.again.figures.total_s,
        }


@dataclass(frozen=True)
class PlannedOn:
    """What a recorded step is planned on now."""

    snapshot: SiteSnapshot
    """What was known, with what is to be otherwise."""
    settings: PlanningSettings
    """The planner's."""
    strategy: str = MILP
    """What plans."""


def plan_again(step: RecordedStep, now: PlannedOn | None = None) -> StepComparison:
    """Plan a recorded step once more.

    Args:
        step: What was seen and decided.
        now: What it is planned on; ``None``: exactly what it was planned on.
    """
    then = PlannedOn(step.seen.snapshot, ground_of(step.seen).settings)
    now = now or then
    problem = problem_from_snapshot(now.snapshot, now.settings, fixed_kw=step.seen.fixed_kw)
    if now.strategy != MILP:
        return StepComparison(step, heuristic_outcome(now.strategy, problem), is_changed=True)
    if now != then:
        return StepComparison(step, checked_plan(problem, now.settings), is_changed=True)
    again = checked_plan(problem, _patient(now.settings), tape=step.outcome.figures.tape)
    return StepComparison(step, again, is_changed=False)


def _patient(settings: PlanningSettings) -> PlanningSettings:
    """With longer time limits: calls that were not cut short then must not be now."""
    limits = [one.name for one in fields(settings) if one.name == "time_limit_s" or one.name.endswith("_time_s")]
    return replace(settings, **{name: PATIENCE * getattr(settings, name) for name in limits})


def changed_settings(settings: PlanningSettings, changes: Mapping[str, Any]) -> PlanningSettings:
    """Settings with other values, checked as those of a configuration are.

    Raises:
        InvalidInput: There is no such setting, or it cannot have this value.
    """
    known = [one.name for one in fields(PlanningSettings)]
    for name, value in changes.items():
        if name not in known:
            raise InvalidInput(f"planning.{name}", value, f"name one of {', '.join(known)}")
    values = {name: value for name, value in asdict(settings).items() if name not in changes}
    try:
        return TypeAdapter(PlanningSettings).validate_python({**values, **changes})
    except ValidationError as error:
        wrong = section_errors(error, "planning", InvalidDataFile)[0]
        raise InvalidInput(f"planning.{wrong.field}", wrong.value, wrong.fix) from error


def _decision_text(outcome: PlanOutcome) -> str:
    """All that was decided and proven, every digit of it."""
    kind, text = outcome_text(outcome)
    (body,) = json.loads(text)
    body.pop("figures")
    return f"{kind} {json.dumps(body)}"


def _unserved_kwh(plan: Plan) -> float:
    return sum(short.unserved_kwh for short in plan.shortfalls)


def _first_powers(plan: Plan) -> dict[str, float]:
    return {str(one.session_id): one.power_kw[0] for one in plan.sessions}
