"""How much energy a vehicle can be given that draws nothing or at least its minimum.

A vehicle that was seen to be nearly full may charge at little more than its minimum. It takes whole slots then, and
what is planned for it is seldom a multiple of those: a linear model would fill the rest with a power that cannot be
sent.
"""

from __future__ import annotations

import numpy as np

from optimizer.planning.problem import BoolArray, FloatArray

SAME_KWH = 1e-9
"""Energies closer than this are one [kWh]."""


def takes_any_kwh(least_kwh: FloatArray, greatest_kwh: FloatArray, most_kwh: FloatArray) -> BoolArray:
    """Return which vehicles can be given exactly what is planned, or all that their slots hold.

    From the greatest minimum up, slots that can draw twice their minimum leave no gap between their sums.

    Args:
        least_kwh: Energy of each slot at the least power, shape (vehicles, slots) [kWh].
        greatest_kwh: Energy of each slot at the greatest power; 0 where it cannot charge, (vehicles, slots) [kWh].
        most_kwh: What is planned, shape (vehicles,) [kWh].
    """
    usable = greatest_kwh > SAME_KWH
    gapless = (~usable | (greatest_kwh >= 2.0 * least_kwh)).all(axis=1)
    return np.asarray(gapless & (most_kwh >= np.where(usable, least_kwh, 0.0).max(axis=1, initial=0.0)))


def attainable_kwh(least_kwh: FloatArray, greatest_kwh: FloatArray, most_kwh: float) -> float:
    """Return the greatest energy up to ``most_kwh`` that slots which are off, or on within their bounds, add up to.

    Args:
        least_kwh: Energy of each slot at the least power, shape (slots,) [kWh].
        greatest_kwh: Energy of each slot at the greatest power; 0 where it cannot charge, shape (slots,) [kWh].
        most_kwh: The bound [kWh].
    """
    usable = greatest_kwh > SAME_KWH
    least, greatest = least_kwh[usable], greatest_kwh[usable]
    if most_kwh >= float(greatest.sum()):
        return most_kwh
    if takes_any_kwh(least[np.newaxis], greatest[np.newaxis], np.array([most_kwh]))[0]:
        return most_kwh
    pairs = np.column_stack((least, greatest))
    _, places, counts = np.unique(np.round(pairs, 9), axis=0, return_index=True, return_counts=True)
    reached = np.zeros((1, 2))
    for (low, high), count in zip(pairs[places].tolist(), counts.tolist(), strict=True):
        number = np.arange(1 + min(count, int(most_kwh / max(low, SAME_KWH))))[:, None]
        steps = number * np.array([low, high])
        sums = (reached[None, :, :] + steps[:, None, :]).reshape(-1, 2)
        reached = _merged(sums[sums[:, 0] <= most_kwh + SAME_KWH])
    return min(most_kwh, float(reached[:, 1].max()))


def _merged(stretches: FloatArray) -> FloatArray:
    """The union of stretches of energy as few disjoint ones, shape (stretches, 2)."""
    ordered = stretches[np.argsort(stretches[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ordered[:, 1])
    begins = np.concatenate(([True], ordered[1:, 0] > reach[:-1] + SAME_KWH))
    ends = np.concatenate((np.flatnonzero(begins)[1:] - 1, [len(ordered) - 1]))
    return np.column_stack((ordered[begins, 0], reach[ends]))
