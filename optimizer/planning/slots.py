"""The grid of slots: fine now, coarse later, the first one cut at now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from optimizer.planning.problem import FloatArray
from optimizer.planning.settings import SlotRule

SHORTEST_SLOT = timedelta(seconds=60)
"""A shorter rest is joined with the next slot: tiny energies would turn into a wrong on or off."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def slot_boundaries(now: datetime, rules: Iterable[SlotRule], cuts: Iterable[datetime] = ()) -> tuple[datetime, ...]:
    """Boundaries from ``now`` outward, on whole multiples of each rule's length [UTC].

    The first slot is the rest of the running one; a rest below a minute is joined with the next slot.

    Args:
        now: The first boundary.
        rules: Slot lengths from now outward.
        cuts: Further instants to cut at, such as the edges of grid events.
    """
    boundaries = [now]
    for rule in rules:
        length = timedelta(minutes=rule.length_minutes)
        until = now + timedelta(minutes=rule.until_minutes)
        following = _EPOCH + ((boundaries[-1] - _EPOCH) // length + 1) * length
        while boundaries[-1] < until:
            boundaries.append(following)
            following += length
    inside = sorted({cut for cut in cuts if now < cut < boundaries[-1]} | set(boundaries))
    kept = [inside[0]]
    for boundary in inside[1:]:
        if boundary - kept[-1] >= SHORTEST_SLOT or boundary == inside[-1]:
            kept.append(boundary)
    return tuple(kept)


def slot_means(
    known: Sequence[datetime], values: Sequence[float] | Sequence[Sequence[float]], boundaries: Sequence[datetime]
) -> FloatArray:
    """Mean over each slot of piecewise constant series; outside them their first or last value holds.

    Args:
        known: N+1 boundaries of the series.
        values: N values, or several rows of them.
        boundaries: M+1 boundaries of the slots.

    Returns:
        M means, or as many rows of them.
    """
    series = np.atleast_2d(np.array(values, dtype=np.float64))
    if not series.any():
        # No building, no PV, nothing paid for export: the common case at a site that only charges.
        return np.zeros((len(series), len(boundaries) - 1) if np.ndim(values) == 2 else len(boundaries) - 1)
    edges, slots = hours_from(boundaries[0], known), hours_from(boundaries[0], boundaries)
    low, high = min(edges[0], slots[0]) - 1.0, max(edges[-1], slots[-1]) + 1.0
    edges = np.concatenate(([low], edges, [high]))
    series = np.concatenate((series[:, :1], series, series[:, -1:]), axis=1)
    total = np.concatenate((np.zeros((len(series), 1)), np.cumsum(series * np.diff(edges), axis=1)), axis=1)
    before = np.searchsorted(edges, slots, side="right") - 1
    slope = np.diff(total, axis=1)[:, before] / np.diff(edges)[before]
    reached = total[:, before] + slope * (slots - edges[before])
    means = np.diff(reached, axis=1) / np.diff(slots)
    return np.asarray(means if np.ndim(values) == 2 else means[0])


def hours_from(origin: datetime, instants: Iterable[datetime]) -> FloatArray:
    """Hours from ``origin`` to each instant, shape (instants,) [h]."""
    since_epoch_s = np.fromiter(map(datetime.timestamp, instants), dtype=np.float64)
    return (since_epoch_s - origin.timestamp()) / 3600.0
