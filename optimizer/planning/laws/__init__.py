"""The laws of a charging plan, one function each; `LAWS` lists them in the order in which they are written."""

from __future__ import annotations

from collections.abc import Callable

from optimizer.planning.laws.limits import circuit_limit, grid_limit, phase_imbalance
from optimizer.planning.laws.pattern import minimum_current, run_pattern
from optimizer.planning.laws.site import battery, demand_peak, no_arbitrage, site_balance
from optimizer.planning.laws.vehicle import (
    departure_target,
    energy_balance,
    power_limit,
    reservation_floor,
    taper,
)
from optimizer.planning.model import ModelBuilder
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.scope import ModelScope

Law = Callable[[ModelBuilder, ChargingProblem, ModelScope], None]

LAWS: dict[str, Law] = {
    "power_limit": power_limit,
    "minimum_current": minimum_current,
    "energy_balance": energy_balance,
    "departure_target": departure_target,
    "taper": taper,
    "battery": battery,
    "site_balance": site_balance,
    "grid_limit": grid_limit,
    "circuit_limit": circuit_limit,
    "phase_imbalance": phase_imbalance,
    "demand_peak": demand_peak,
    "no_arbitrage": no_arbitrage,
    "run_pattern": run_pattern,
    "reservation_floor": reservation_floor,
}
"""Every law by name, in the order in which a model states them."""
