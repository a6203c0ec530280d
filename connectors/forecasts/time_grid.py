"""The grid of quarter hours that forecasts are told on, means over any grid, and instants as text."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

STEP_S = 900
"""A quarter hour [s]; every UTC offset in use is a whole number of them."""

FloatArray = NDArray[np.float64]


def edges_between_s(start_s: float, end_s: float) -> FloatArray:
    """``start_s``, the quarter hours between, and ``end_s`` [s since 1970, UTC]."""
    first_s = (start_s // STEP_S + 1) * STEP_S
    return np.concatenate(([start_s], np.arange(first_s, end_s, STEP_S), [end_s]))


def mean_between(known_edges_s: FloatArray, values: FloatArray, edges_s: FloatArray) -> FloatArray:
    """Mean between consecutive ``edges_s`` of what is constant between ``known_edges_s``.

    Args:
        known_edges_s: N+1 rising instants [s].
        values: N values.
        edges_s: Rising instants inside them [s].
    """
    integral = np.concatenate(([0.0], np.cumsum(values * np.diff(known_edges_s))))
    means: FloatArray = np.diff(np.interp(edges_s, known_edges_s, integral)) / np.diff(edges_s)
    return means


def moment_text(instant_s: float) -> str:
    """An instant for people [s since 1970, UTC]."""
    return f"{datetime.fromtimestamp(instant_s, UTC):%Y-%m-%dT%H:%MZ}"
