"""A linear model in named blocks of numpy arrays: what the laws write and the solver reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optimizer.planning.problem import BoolArray, ChargingProblem, FloatArray, IntArray

Labels = dict[str, tuple[str, ...]]
"""What stands in a name for each index of an axis, by the axis' letter."""


@dataclass(frozen=True, eq=False)
class Block:
    """Columns or rows of one name, one for each tuple of keys."""

    name: str
    """Name of the variable or law."""
    axes: str
    """Letter of each key; see ``problem`` for their meaning."""
    keys: tuple[IntArray, ...]
    """One array an axis, all of the block's length."""
    first: int
    """Index of the block's first column or row."""

    @property
    def count(self) -> int:
        """Number of columns or rows."""
        return len(self.keys[0])

    @property
    def span(self) -> slice:
        """Where the block stands."""
        return slice(self.first, self.first + self.count)

    @property
    def indices(self) -> IntArray:
        """Index of each column or row, shape (count,)."""
        return np.arange(self.first, self.first + self.count)

    def grid(self, *shape: int) -> IntArray:
        """Index by keys, -1 where there is none, of the given shape."""
        index = np.full(shape, -1, dtype=np.int64)
        index[self.keys] = self.indices
        return index

    def spread(self, values: FloatArray, *shape: int) -> FloatArray:
        """The block's part of ``values`` by keys, 0 where there is none, of the given shape."""
        result = np.zeros(shape)
        result[self.keys] = values[self.span]
        return result

    def names(self, labels: Labels) -> list[str]:
        """Name of each column or row, for example ``power_kw[car1,3]``."""
        parts = [np.array(labels[axis], dtype=object)[key] for axis, key in zip(self.axes, self.keys, strict=True)]
        return [f"{self.name}[{','.join(row)}]" for row in zip(*parts, strict=True)]


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Minimise ``cost @ x`` with ``row_lower <= A x <= row_upper``, ``lower <= x <= upper``; A by rows."""

    columns: dict[str, Block]
    """Blocks of columns by name."""
    rows: dict[str, Block]
    """Blocks of rows by name."""
    lower: FloatArray
    """Lower bound of each column."""
    upper: FloatArray
    """Upper bound of each column."""
    integer: BoolArray
    """Whether the column takes whole values only."""
    row_lower: FloatArray
    """Lower bound of each row."""
    row_upper: FloatArray
    """Upper bound of each row."""
    starts: NDArray[np.int32]
    """Where each row's entries start, and the number of entries at the end."""
    entry_columns: NDArray[np.int32]
    """Column of each entry."""
    entry_values: FloatArray
    """Value of each entry."""

    @property
    def column_count(self) -> int:
        """Number of columns."""
        return len(self.lower)

    @property
    def row_count(self) -> int:
        """Number of rows."""
        return len(self.row_lower)

    def product(self, values: FloatArray) -> FloatArray:
        """A x for column values, shape (rows,)."""
        sums = np.add.reduceat(
            np.append(self.entry_values * values[self.entry_columns], 0.0), self.starts[:-1].astype(np.int64)
        )
        return np.where(np.diff(self.starts) > 0, sums, 0.0)


@dataclass(eq=False)
class ModelBuilder:
    """Collects the blocks that laws add; ``finish`` makes the model."""

    columns: dict[str, Block] = field(default_factory=dict)
    """Blocks of columns so far."""
    rows: dict[str, Block] = field(default_factory=dict)
    """Blocks of rows so far."""
    _column_parts: list[tuple[FloatArray, FloatArray, BoolArray]] = field(default_factory=list)
    _row_parts: list[tuple[FloatArray, FloatArray]] = field(default_factory=list)
    _entries: list[tuple[IntArray, IntArray, FloatArray]] = field(default_factory=list)
    _column_count: int = 0
    _row_count: int = 0

    def add_columns(
        self,
        name: str,
        axes: str,
        keys: tuple[IntArray, ...],
        lower: ArrayLike,
        upper: ArrayLike,
        *,
        integer: bool = False,
    ) -> Block:
        """Add a column for each tuple of keys and return the block."""
        block = Block(name, axes, keys, self._column_count)
        self.columns[name] = block
        whole = np.full(block.count, integer)
        self._column_parts.append((_full(lower, block.count), _full(upper, block.count), whole))
        self._column_count += block.count
        return block

    def add_rows(self, name: str, axes: str, keys: tuple[IntArray, ...], lower: ArrayLike, upper: ArrayLike) -> Block:
        """Add a row for each tuple of keys and return the block."""
        block = Block(name, axes, keys, self._row_count)
        self.rows[name] = block
        self._row_parts.append((_full(lower, block.count), _full(upper, block.count)))
        self._row_count += block.count
        return block

    def add_entries(self, rows: IntArray, columns: IntArray, values: ArrayLike) -> None:
        """Put ``values`` at ``(rows, columns)``; zero values are left out."""
        filled = _full(values, len(rows))
        kept = filled != 0.0
        if not kept.all():
            rows, columns, filled = rows[kept], columns[kept], filled[kept]
        if len(rows):
            self._entries.append((rows, columns, filled))

    @classmethod
    def extending(cls, model: LinearModel) -> ModelBuilder:
        """A builder that holds all of ``model`` already; what is added stands after it."""
        rows = np.repeat(np.arange(model.row_count), np.diff(model.starts))
        return cls(
            columns=dict(model.columns),
            rows=dict(model.rows),
            _column_parts=[(model.lower, model.upper, model.integer)],
            _row_parts=[(model.row_lower, model.row_upper)],
            _entries=[(rows, model.entry_columns.astype(np.int64), model.entry_values)],
            _column_count=model.column_count,
            _row_count=model.row_count,
        )

    def column_grid(self, name: str, *shape: int) -> IntArray:
        """Index of a block's columns by keys, -1 where there is none or no such block."""
        if name not in self.columns:
            return np.full(shape, -1, dtype=np.int64)
        return self.columns[name].grid(*shape)

    def finish(self) -> LinearModel:
        """The model of all blocks added, entries sorted by row."""
        rows = _joined([part[0] for part in self._entries], np.int64)
        columns = _joined([part[1] for part in self._entries], np.int64)
        values = _joined([part[2] for part in self._entries], np.float64)
        order = np.argsort(rows, kind="stable")
        starts = np.zeros(self._row_count + 1, dtype=np.int32)
        np.cumsum(np.bincount(rows, minlength=self._row_count), out=starts[1:])
        return LinearModel(
            columns=dict(self.columns),
            rows=dict(self.rows),
            lower=_joined([part[0] for part in self._column_parts], np.float64),
            upper=_joined([part[1] for part in self._column_parts], np.float64),
            integer=_joined([part[2] for part in self._column_parts], np.bool_),
            row_lower=_joined([part[0] for part in self._row_parts], np.float64),
            row_upper=_joined([part[1] for part in self._row_parts], np.float64),
            starts=starts,
            entry_columns=columns[order].astype(np.int32),
            entry_values=values[order],
        )


def _full(values: ArrayLike, count: int) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    return np.full(count, float(array)) if array.ndim == 0 else array


def _joined(parts: list[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)


def weighted_sum(weights: FloatArray, values: FloatArray) -> float:
    """Sum of the products of two long vectors; one thread does it sooner than BLAS starts its own."""
    return float((weights * values).sum())


def axis_labels(problem: ChargingProblem) -> Labels:
    """Labels of every axis; a session with several modes has one label each, for example ``car1:1ph``."""
    sessions, modes = problem.sessions, problem.modes
    mode_labels = []
    for index, session in enumerate(modes.session):
        label = str(sessions.ids[session])
        if problem.mode_count_of[session] > 1:
            label = f"{label}:{int(modes.on_phase[index].sum())}ph"
        mode_labels.append(label)
    return {
        "s": tuple(map(str, sessions.ids)),
        "m": _apart(mode_labels),
        "k": _apart(
            f"{sessions.ids[session]}@{depart_at:%Y-%m-%dT%H:%MZ}"
            for session, depart_at in zip(problem.targets.session, problem.targets.depart_at, strict=True)
        ),
        "q": tuple(str(index) for index in range(8)),
        "c": tuple(map(str, problem.circuits.ids)),
        "p": ("L1", "L2", "L3"),
        "f": ("lead", "lag"),
        "d": _apart(problem.demand.names),
        "i": tuple(str(index) for index in range(len(problem.demand.charge))),
        "t": tuple(str(index) for index in range(problem.slot_count)),
        "o": ("money",),
        "b": tuple(str(index) for index in range(problem.slot_count + 1)),
    }


def _apart(labels: Iterable[str]) -> tuple[str, ...]:
    """The labels with a number after those that occurred before, so that no two columns share a name."""
    seen: Counter[str] = Counter()
    names = []
    for label in labels:
        seen[label] += 1
        names.append(label if seen[label] == 1 else f"{label}#{seen[label]}")
    return tuple(names)
