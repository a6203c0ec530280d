"""Takes out of a solution what costs something and does nothing.

In the preference stage the cost is only a row. Up to its bound nothing keeps a kWh from being counted as missed that is
delivered, power from being imported and exported at once, or a peak from being billed that nobody causes. The decision
is the same without it, and its cost the true one.
"""

from __future__ import annotations

import numpy as np

from optimizer.planning.laws.vehicle import FAIRNESS_STEPS
from optimizer.planning.model import LinearModel
from optimizer.planning.problem import ChargingProblem, FloatArray
from optimizer.planning.solving import Found


def without_slack(problem: ChargingProblem, found: Found) -> Found:
    """Return the same decision at what it costs."""
    values = np.array(found.values)
    _net_exchange(problem, found.model, values)
    activity = found.model.product(values)
    _true_unserved(found.model, values, activity)
    _true_peaks(problem, found.model, values, activity)
    return Found(found.staged, values)


def _net_exchange(problem: ChargingProblem, model: LinearModel, values: FloatArray) -> None:
    """Import or export, but not both where that costs more than it earns."""
    supply, block = problem.supply, model.columns["grid_export_kw"]
    (slot,) = block.keys
    paid = supply.import_price_per_kwh + problem.carbon_price_per_kg * supply.carbon_kg_per_kwh
    imports = model.columns["grid_import_kw"].indices[slot]
    both = np.where(paid[slot] >= supply.export_price_per_kwh[slot], np.minimum(values[imports], values[block.span]), 0)
    values[imports] -= np.maximum(both, 0.0)
    values[block.span] -= np.maximum(both, 0.0)


def _true_unserved(model: LinearModel, values: FloatArray, activity: FloatArray) -> None:
    """Unserved energy no more than what the target lacks, its first parts first."""
    if "unserved_kwh" not in model.columns:
        return
    rows, block = model.rows["departure_target"], model.columns["unserved_kwh"]
    parts = values[block.span].reshape(rows.count, FAIRNESS_STEPS)
    size = model.upper[block.span].reshape(rows.count, FAIRNESS_STEPS)
    surplus = np.maximum(activity[rows.span] - model.row_lower[rows.span], 0.0)
    left = np.maximum(parts.sum(axis=1) - surplus, 0.0)
    before = np.cumsum(size, axis=1) - size
    values[block.span] = np.clip(left[:, None] - before, 0.0, size).ravel()


def _true_peaks(problem: ChargingProblem, model: LinearModel, values: FloatArray, activity: FloatArray) -> None:
    """Peaks no higher than the highest metering interval or what is reached."""
    if "peak_kw" not in model.columns:
        return
    rows, block = model.rows["demand_peak"], model.columns["peak_kw"]
    spare = np.full(block.count, np.inf)
    np.minimum.at(spare, problem.demand.charge, activity[rows.span] - model.row_lower[rows.span])
    lowered = values[block.span] - np.maximum(spare, 0.0)
    values[block.span] = np.maximum(lowered, model.lower[block.span])
