"""Models as plain dictionaries by name, so that two builders can be compared and a model be written down."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isclose
from typing import Any

from pyomo.repn import generate_standard_repn

from optimizer.planning.model import Labels, LinearModel, axis_labels
from optimizer.planning.problem import ChargingProblem, FloatArray
from optimizer.planning.reference.model import columns_of, name_of, rows_of


@dataclass(frozen=True)
class StatedColumn:
    """One column: its bounds, cost and integrality."""

    lower: float
    upper: float
    integer: bool
    cost: float


@dataclass(frozen=True)
class StatedRow:
    """One row: its bounds and its coefficients by column."""

    lower: float
    upper: float
    entries: dict[str, float]


@dataclass(frozen=True)
class StatedModel:
    """A model by the names of its columns and rows."""

    columns: dict[str, StatedColumn]
    rows: dict[str, StatedRow]


def block_names(blocks: dict[str, Any], labels: Labels) -> list[str]:
    return [name for block in sorted(blocks.values(), key=lambda block: block.first) for name in block.names(labels)]


def stated_by_matrix(problem: ChargingProblem, model: LinearModel, cost: FloatArray) -> StatedModel:
    labels = axis_labels(problem)
    columns, rows = block_names(model.columns, labels), block_names(model.rows, labels)
    assert len(set(columns)) == model.column_count, "two columns share a name"
    assert len(set(rows)) == model.row_count, "two rows share a name"
    starts = model.starts.tolist()
    entries = [(columns[column], value) for column, value in zip(model.entry_columns, model.entry_values, strict=True)]
    bounds = zip(model.lower.tolist(), model.upper.tolist(), model.integer.tolist(), cost.tolist(), strict=True)
    return StatedModel(
        {name: StatedColumn(*column) for name, column in zip(columns, bounds, strict=True)},
        {
            name: StatedRow(
                float(model.row_lower[row]), float(model.row_upper[row]), dict(entries[starts[row] : starts[row + 1]])
            )
            for row, name in enumerate(rows)
        },
    )


def _linear(expression: Any) -> tuple[dict[str, float], float]:
    """Coefficients by column and the constant of a Pyomo expression."""
    parts = generate_standard_repn(expression, quadratic=False)
    pairs = zip(parts.linear_vars, parts.linear_coefs, strict=True)
    return {name_of(column): float(value) for column, value in pairs if value}, float(parts.constant)


def stated_by_reference(model: Any, objective: Any) -> StatedModel:
    cost, constant = _linear(objective.expr)
    assert constant == 0.0
    columns = {
        name_of(column): StatedColumn(
            -inf if column.lb is None else float(column.lb),
            inf if column.ub is None else float(column.ub),
            bool(column.is_integer()),
            cost.get(name_of(column), 0.0),
        )
        for column in columns_of(model)
    }
    rows = {}
    for row in rows_of(model):
        entries, constant = _linear(row.body)
        lower = -inf if row.lb is None else float(row.lb) - constant
        rows[name_of(row)] = StatedRow(lower, inf if row.ub is None else float(row.ub) - constant, entries)
    return StatedModel(columns, rows)


def differences(matrix: StatedModel, reference: StatedModel) -> list[str]:
    """Every difference between two models, entry by entry, as a readable line."""
    found = [f"only in the matrix: {name}" for name in sorted(_names(matrix) - _names(reference))]
    found += [f"only in the reference: {name}" for name in sorted(_names(reference) - _names(matrix))]
    for name in matrix.columns.keys() & reference.columns.keys():
        one, other = matrix.columns[name], reference.columns[name]
        same = all(
            _close(*pair) for pair in ((one.lower, other.lower), (one.upper, other.upper), (one.cost, other.cost))
        )
        if not same or one.integer != other.integer:
            found.append(f"column {name}: {one} and {other}")
    for name in matrix.rows.keys() & reference.rows.keys():
        row, row2 = matrix.rows[name], reference.rows[name]
        if row.entries.keys() != row2.entries.keys():
            found.append(f"row {name}: columns {sorted(row.entries.keys() ^ row2.entries.keys())} stand in one only")
        elif not all(_close(value, row2.entries[column]) for column, value in row.entries.items()):
            found.append(f"row {name}: {row.entries} and {row2.entries}")
        if not (_close(row.lower, row2.lower) and _close(row.upper, row2.upper)):
            found.append(f"row {name}: [{row.lower}, {row.upper}] and [{row2.lower}, {row2.upper}]")
    return found


def _names(model: StatedModel) -> set[str]:
    return {f"column {name}" for name in model.columns} | {f"row {name}" for name in model.rows}


def _close(one: float, other: float) -> bool:
    # Sums of the same numbers in another order differ in their last digits.
    return one == other or isclose(one, other, rel_tol=1e-10, abs_tol=1e-11)
