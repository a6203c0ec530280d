"""The grid of quarter hours that forecasts are told on, and means over it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEP_S = 900
"""A quarter hour [s]; every UTC offset in use is a whole number of them."""

FloatArray = NDArray[np.float64]


def edges_between_s(start_s: float, end_s: float) -> FloatArray:
    """``start_s``, the quarter hours between, and ``end_s`` [s since 1970, UTC]."""
    first_s = (start_s // STEP_S + 1) * STEP_S
    return np.concatenate(([start_s], np.arange(first_s, end_s, STEP_S), [end_s]))


def mean_between_kw(known_edges_s: FloatArray, power_kw: FloatArray, edges_s: FloatArray) -> FloatArray:
    """Mean between consecutive ``edges_s`` of a power that is constant between ``known_edges_s`` [kW].

    Args:
        known_edges_s: N+1 rising instants [s].
        power_kw: N values [kW].
        edges_s: Rising instants inside them [s].
    """
    energy_kws = np.concatenate(([0.0], np.cumsum(power_kw * np.diff(known_edges_s))))
    mean_kw: FloatArray = np.diff(np.interp(edges_s, known_edges_s, energy_kws)) / np.diff(edges_s)
    return mean_kw
