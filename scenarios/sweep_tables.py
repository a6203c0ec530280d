"""The rows of a sweep: kept as they come, written as a table, and drawn."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from optimizer.errors import ChargeHorizonError, InvalidDataFile, InvalidInput
from scenarios.sweep import SweepRow, SweepTask
from scenarios.targets import check_target
from scenarios.variations import Variation

TABLE_ENDINGS = (".csv", ".parquet")
PICTURE_ENDINGS = (".png", ".svg", ".pdf")
FORMAT = "chargehorizon sweep 1"
"""First line of a file of kept rows; another number cannot be read."""
SIZE_INCHES = (8.0, 8.4)
DOTS_PER_INCH = 110
PANELS = {
    "total_cost": ("total_cost", "offline_optimum_cost", "uncontrolled_cost"),
    "peak_kw": ("peak_kw", "offline_optimum_peak_kw", "uncontrolled_peak_kw"),
    "unserved_kwh": ("unserved_kwh", None, None),
}
"""What a picture shows: the figure, and the same of the two bounds."""


def checked_ending(path: Path, option: str, endings: Sequence[str]) -> Path:
    """``path``, if its ending says how to write it.

    Raises:
        InvalidInput: It does not, nothing can be written there, or what writes such a file is not installed.
    """
    if path.suffix not in endings:
        raise InvalidInput(option, str(path), f"end the name with {' or '.join(endings)}")
    check_target(option, path)
    library, extra = ("pyarrow", "parquet") if path.suffix == ".parquet" else ("matplotlib", "plots")
    if path.suffix != ".csv" and find_spec(library) is None:
        raise InvalidInput(option, str(path), f"first pip install 'chargehorizon[{extra}]'")
    return path


# ---------------------------------------------------------------------- kept while a sweep goes on


def keep_row(path: Path, row: SweepRow) -> None:
    """Append a finished row to a file of kept rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    with path.open("a", encoding="utf-8") as file:
        if is_new:
            file.write(json.dumps(FORMAT) + "\n")
        file.write(json.dumps({"key": row.key, "tries": row.tries, "figures": dict(row.figures)}) + "\n")


def kept_rows(path: Path, tasks: Iterable[SweepTask]) -> tuple[SweepRow, ...]:
    """The rows of these tasks that a file keeps; none where there is no file.

    Raises:
        InvalidDataFile: It is no such file.
    """
    if not path.exists():
        return ()
    try:
        form, *entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        if form != FORMAT:
            raise ValueError("another version wrote it")
        kept = {entry["key"]: entry for entry in entries}
        return tuple(
            SweepRow(task.number, task.point, task.key, kept[task.key]["figures"], kept[task.key]["tries"])
            for task in tasks
            if task.key in kept
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidDataFile("(file)", path.name, f"sweep without --resume: {error}", where=str(path)) from error


# ---------------------------------------------------------------------- the table


def table_of(rows: Iterable[SweepRow]) -> pd.DataFrame:
    """One row a combination, in the order of the sweep: what was varied, then the figures."""
    return pd.DataFrame([row.as_json() for row in sorted(rows, key=lambda row: row.number)])


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV or Parquet, by the file's ending.

    Raises:
        ChargeHorizonError: It cannot be written.
    """
    fresh = path.with_name(f"{path.name}.part")
    try:
        if path.suffix == ".parquet":
            table.map(_plain).convert_dtypes().to_parquet(fresh, index=False)
        else:
            table.to_csv(fresh, index=False)
        fresh.replace(path)
    except (OSError, ImportError, ValueError, TypeError) as error:
        raise ChargeHorizonError(f"cannot write {path}: {error}") from error


def _plain(value: Any) -> Any:
    """Lists and sections that were varied, as text: a column holds one kind of value."""
    return json.dumps(value) if isinstance(value, list | dict) else value


# ---------------------------------------------------------------------- the picture


def draw_sweep(rows: Sequence[SweepRow], variations: Sequence[Variation], path: Path) -> None:
    """Draw cost, peak and unserved energy over the first variation, a line for each value of the others.

    Args:
        rows: What came out.
        variations: What was varied.
        path: Where to, as PNG, SVG or PDF by its ending.

    Raises:
        ChargeHorizonError: matplotlib is not installed, or cannot write such a file.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ChargeHorizonError("pictures need matplotlib: pip install 'chargehorizon[plots]'") from error
    done = [row for row in sorted(rows, key=lambda row: row.number) if row.is_done]
    if not done:
        raise ChargeHorizonError("there is nothing to draw: no combination has figures")
    first = variations[0]
    lines: dict[str, list[SweepRow]] = {}
    for row in done:
        others = [f"{name.rpartition('.')[2]} {value}" for name, value in row.point.items() if name != first.name]
        lines.setdefault(", ".join(others), []).append(row)
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    palette = colormaps["tab10" if len(lines) <= 10 else "viridis"]
    panels = figure.subplots(len(PANELS), 1, sharex=True)
    for axes, (name, figures) in zip(panels, PANELS.items(), strict=True):
        for place, (label, line) in enumerate(lines.items()):
            colour = palette(place if len(lines) <= 10 else place / (len(lines) - 1))
            # The first one thickest: lines that lie on one another stay visible.
            width = max(1.2, 4.0 - place)
            _draw_line(
                axes, line, first, figures, {"color": colour, "linewidth": width, "markersize": 2.5 * width}, label
            )
        axes.set_ylabel(_label(name, done[0]))
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.grid(alpha=0.3)
    _explain(panels[0], named=len(lines) > 1)
    _mark_values(panels[-1], first)
    try:
        figure.savefig(path, dpi=DOTS_PER_INCH)
    except (OSError, ValueError) as error:
        raise ChargeHorizonError(f"cannot draw into {path}: {error}") from error


def _draw_line(
    axes: Any,
    line: list[SweepRow],
    first: Variation,
    figures: Sequence[str | None],
    look: Mapping[str, Any],
    label: str,
) -> None:
    places = _places(first)
    line = sorted(line, key=lambda row: places[repr(row.point[first.name])])
    across = [places[repr(row.point[first.name])] for row in line]
    for name, style in zip(figures, ("-o", "--", ":"), strict=True):
        if name is not None:
            values = [row.figures[name] for row in line]
            axes.plot(across, values, style, label=label if style == "-o" else None, **look)


def _places(variation: Variation) -> dict[str, float]:
    """Where each value stands: numbers to scale, anything else one after the other."""
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in variation.values)
    return {repr(value): float(value) if are_numbers else place for place, value in enumerate(variation.values)}


def _mark_values(axes: Any, first: Variation) -> None:
    places = _places(first)
    axes.set_xticks([places[repr(value)] for value in first.values], [str(value) for value in first.values])
    axes.set_xlabel(first.name)


def _label(name: str, row: SweepRow) -> str:
    return f"{name} [{row.figures['currency']}]" if name.endswith("cost") else name


def _explain(axes: Any, *, named: bool) -> None:
    """Say what the strokes mean, and which colour is which."""
    from matplotlib.lines import Line2D

    strokes = [
        Line2D([], [], color="black", linestyle="-", marker="o", markersize=4, label="replayed"),
        Line2D([], [], color="black", linestyle="--", label="offline optimum"),
        Line2D([], [], color="black", linestyle=":", label="uncontrolled"),
    ]
    colours = axes.get_legend_handles_labels()[0] if named else []
    axes.legend(
        handles=[*strokes, *colours], frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5)
    )
