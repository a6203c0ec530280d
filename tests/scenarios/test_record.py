"""What a service saw and decided: the same settings give the same plans to the last bit, others tell the difference."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from recorded_steps import MOST, recorded_morning

from connectors.storage.plan_store import RecordedStep
from optimizer.domain.plan import Fallback
from optimizer.errors import InvalidDataFile, InvalidInput, StorageFailed
from optimizer.planning.assemble import problem_from_snapshot
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.solve import checked_plan
from scenarios.record import (
    PlannedOn,
    changed_settings,
    ground_of,
    ground_text,
    plan_again,
    read_record,
    steps_in,
    write_record,
)


@pytest.fixture(scope="module")
def steps() -> tuple[RecordedStep, ...]:
    return recorded_morning()


@pytest.fixture
def record(steps: tuple[RecordedStep, ...], tmp_path: Path) -> Path:
    path = tmp_path / "morning.jsonl.gz"
    assert write_record(path, steps) == len(steps) >= MOST
    return path


def test_a_record_reads_back_equal(record: Path, steps: tuple[RecordedStep, ...]) -> None:
    assert tuple(read_record(record)) == steps
    assert steps_in(record) == len(steps)


def test_a_record_of_later_steps_holds_the_plan_before_them(steps: tuple[RecordedStep, ...], tmp_path: Path) -> None:
    path = tmp_path / "later.jsonl.gz"
    write_record(path, steps[5:7])
    assert tuple(read_record(path)) == steps[5:7]
    assert steps[5].seen.snapshot.previous_plan is not None


def test_what_steps_share_stands_once(record: Path) -> None:
    kinds = [json.loads(line).get("kind") for line in gzip.decompress(record.read_bytes()).splitlines()]
    assert kinds.count("ground") == 1
    assert kinds.count("plan") == 0  # the first step had none before it, every other one's is in the file


def test_the_same_settings_give_the_same_plans_to_the_last_bit(record: Path) -> None:
    comparisons = [plan_again(step) for step in read_record(record)]
    assert [one.is_same for one in comparisons] == [True] * MOST
    assert not any(one.is_changed for one in comparisons)
    assert {one.first_power_difference_kw for one in comparisons} == {0.0}


def settings_of(step: RecordedStep, **changes: float) -> PlannedOn:
    return PlannedOn(step.seen.snapshot, changed_settings(ground_of(step.seen).settings, changes))


def test_other_settings_tell_the_difference(steps: tuple[RecordedStep, ...]) -> None:
    comparisons = [plan_again(step, settings_of(step, default_energy_kwh=3.0, departure_care=1.0)) for step in steps]
    assert all(one.is_changed for one in comparisons)
    different = [one for one in comparisons if not one.is_same]
    assert different
    assert any(abs(one.cost_difference) > 0.01 for one in different)
    row = different[-1].as_json()
    assert row["cost_difference"] == pytest.approx(different[-1].again.plan.money - row["cost"])


def test_settings_are_those_in_force_then(steps: tuple[RecordedStep, ...]) -> None:
    """Not those of today: a record of other settings is planned with them."""
    step = steps[-1]
    settings = replace(ground_of(step.seen).settings, near_slots=1, default_energy_kwh=4.0)
    problem = problem_from_snapshot(step.seen.snapshot, settings, fixed_kw=step.seen.fixed_kw)
    seen = replace(step.seen, ground=ground_text(settings))
    other = RecordedStep(seen, checked_plan(problem, settings), step.trigger)
    assert plan_again(other).is_same
    assert not plan_again(other).is_changed


def test_one_other_digit_is_seen(steps: tuple[RecordedStep, ...]) -> None:
    step = steps[-1]
    first, *others = step.outcome.plan.sessions
    nudged = replace(first, power_kw=(first.power_kw[0] + 1e-12, *first.power_kw[1:]))
    outcome = replace(step.outcome, plan=replace(step.outcome.plan, sessions=(nudged, *others)))
    assert not plan_again(replace(step, outcome=outcome)).is_same


NO_GAP = {"relative_gap": 0.0, "preference_cost_share": 0.0, "preference_cost_floor": 0.0}
HASTY = {
    "for everything": {"time_limit_s": 1e-3},
    "for the proof": {"proof_time_s": 1e-3, "reopen_time_s": 1e-3, **NO_GAP},
}


@pytest.mark.parametrize("limits", HASTY, ids=str)
def test_what_a_time_limit_cut_short_is_in_the_record(
    limits: str, steps: tuple[RecordedStep, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scenarios.record.PATIENCE", 1e3)
    step = steps[9]
    hasty = replace(ground_of(step.seen).settings, **HASTY[limits])
    problem = problem_from_snapshot(step.seen.snapshot, hasty, fixed_kw=step.seen.fixed_kw)
    outcome = checked_plan(problem, hasty)
    assert outcome.figures.cut_short > 0
    assert isinstance(outcome, Fallback) == (limits == "for everything")
    write_record(
        tmp_path / "hasty.jsonl.gz", [RecordedStep(replace(step.seen, ground=ground_text(hasty)), outcome, "t")]
    )
    (read,) = read_record(tmp_path / "hasty.jsonl.gz")
    again = plan_again(read)
    assert again.was_cut_short
    assert again.is_same
    # Without what was found by then, the patient solver finds another plan.
    figures = replace(outcome.figures, tape="")
    assert not plan_again(replace(read, outcome=replace(outcome, figures=figures))).is_same


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        ({"near_slot": 1}, "name one of slot_rules"),
        ({"near_slots": -1}, "from 0 up"),
        ({"near_slots": "many"}, "valid integer"),
    ],
    ids=["no such setting", "out of range", "no number"],
)
def test_settings_are_checked(changes: dict[str, object], fix: str) -> None:
    with pytest.raises(InvalidInput, match=f"(?s)planning.near_slot.*{fix}"):
        changed_settings(PlanningSettings(), changes)


def _text_file(path: Path) -> None:
    path.write_text("a letter")


def _other_json(path: Path) -> None:
    path.write_bytes(gzip.compress(b'{"format": "something else"}\n'))


def _cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _missing_plan(path: Path) -> None:
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join([*lines[:2], *lines[3:]])))


@pytest.mark.parametrize("harm", [_text_file, _other_json, _cut_off, _missing_plan], ids=lambda harm: harm.__name__)
def test_what_is_no_whole_record_is_refused(record: Path, harm: Callable[[Path], None]) -> None:
    harm(record)
    with pytest.raises(InvalidDataFile, match=r"morning\.jsonl\.gz"):
        list(read_record(record))


def test_settings_that_this_version_does_not_know_are_told(steps: tuple[RecordedStep, ...]) -> None:
    with pytest.raises(StorageFailed, match="settings of the plan at 2019-08-05"):
        plan_again(replace(steps[0], seen=replace(steps[0].seen, ground='{"version": "0"}')))
