"""formulation.md says what the code says: every law, every column, every row, and no more."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
from generated_problems import rich_problem
from golden_models import goldens
from test_golden_models import stated_by_each_law

import optimizer.planning
from optimizer.planning.laws import LAWS
from optimizer.planning.matrix import build_model
from optimizer.planning.model import axis_labels
from optimizer.planning.objectives import Weights, whole_objective
from optimizer.planning.preferences import with_preferences
from optimizer.planning.problem import (
    BatteryState,
    ChargingProblem,
    CircuitArrays,
    DemandArrays,
    ModeArrays,
    SessionArrays,
    SupplyArrays,
    TargetArrays,
)
from optimizer.planning.reference import REFERENCE_LAWS
from optimizer.planning.scope import whole_scope
from optimizer.planning.settings import PlanningSettings

PAGE = (Path(optimizer.planning.__file__).parent / "formulation.md").read_text(encoding="utf-8")
PARTS = (
    SessionArrays,
    ModeArrays,
    TargetArrays,
    CircuitArrays,
    SupplyArrays,
    DemandArrays,
    BatteryState,
    ChargingProblem,
)


def _section(heading: str) -> str:
    level = heading.split(" ", maxsplit=1)[0]
    following = re.split(rf"^{level} ", PAGE.split(f"\n{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)
    return following[0]


def _table(heading: str) -> list[list[str]]:
    """Cells of the rows of a section's first table, its head left out."""
    lines = [line for line in _section(heading).split("\n### ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def _quoted(cell: str) -> set[str]:
    return {name.split("[")[0] for name in re.findall(r"`([a-z_]+(?:\[[^`]*\])?)`", cell)}


LAW_TABLE = {row[0]: row for row in _table("## Laws")}


def test_the_table_of_laws_is_the_code() -> None:
    assert list(LAW_TABLE) == list(LAWS) == list(REFERENCE_LAWS)


def test_every_row_of_the_table_says_what_its_dual_means_and_where_the_law_comes_from() -> None:
    assert all(len(row) == 5 and all(row) for row in LAW_TABLE.values())


def test_the_table_names_the_columns_and_rows_of_each_law_and_the_golden_models_have_them_all() -> None:
    columns: dict[str, set[str]] = {law: set() for law in LAWS}
    rows: dict[str, set[str]] = {law: set() for law in LAWS}
    for golden in goldens().values():
        for law, stated in stated_by_each_law(golden.problem, golden.scope(golden.problem)).items():
            columns[law] |= stated[0]
            rows[law] |= stated[1]
    assert {law: _quoted(cells[1]) for law, cells in LAW_TABLE.items()} == columns
    assert {law: _quoted(cells[2]) for law, cells in LAW_TABLE.items()} == rows


def test_every_law_has_its_equations() -> None:
    for law, cells in LAW_TABLE.items():
        equations = "\n".join(line for line in _section(f"### {law}").splitlines() if line.startswith("    "))
        stated = set(re.findall(r"^    ([a-z_]+)\[[^\]]*\]:", equations, flags=re.MULTILINE))
        assert stated == _quoted(cells[2]), law


def test_every_decision_has_its_line() -> None:
    decided = {name for row in _table("## What is decided") for name in _quoted(row[0])}
    assert decided == {name for row in LAW_TABLE.values() for name in _quoted(row[1])}


def test_the_equations_use_only_names_that_exist() -> None:
    known = {item.name for part in PARTS for item in fields(part)}
    known |= {name for row in _table("## What is given") for name in _quoted(row[0])}
    known |= {name for row in LAW_TABLE.values() for cell in row[1:3] for name in _quoted(cell)}
    used = {
        name
        for law in LAWS
        for line in _section(f"### {law}").splitlines()
        if line.startswith("    ")
        for name in re.findall(r"([a-z_]{2,})\[", line)
    }
    assert used <= known, used - known


def test_the_table_of_preferences_is_the_code() -> None:
    columns, rows = set(), set()
    for seed in range(10):
        problem = rich_problem(np.random.default_rng(seed))
        model = build_model(problem, whole_scope(problem))
        cost = whole_objective(problem, model, Weights(problem))
        preferred = with_preferences(problem, PlanningSettings(), model, cost, 0.0).model
        columns |= preferred.columns.keys() - model.columns.keys()
        rows |= preferred.rows.keys() - model.rows.keys()
    table = [row for row in _table("## Objectives") if len(row) == 3]
    assert {name for row in table for name in _quoted(row[0])} == columns
    assert {name for row in table for name in _quoted(row[1])} == rows


def test_every_axis_of_the_names_is_a_set_of_the_page() -> None:
    letters = {letter for row in _table("## Sets") for letter in re.findall(r"`(\w)`", row[0])}
    axes = set(axis_labels(next(iter(goldens().values())).problem))
    assert axes - {"o"} <= letters
