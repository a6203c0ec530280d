"""Which decisions a model takes in whole numbers, and which pairs of mode and slot are on or off already."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from optimizer.planning.problem import BoolArray, ChargingProblem


@dataclass(frozen=True, eq=False)
class ModelScope:
    """What of the problem is stated with whole numbers; the rest of it is linear.

    The linear problem with nothing whole is a relaxation of every other scope, so its optimum is a lower bound.
    """

    switched: BoolArray
    """Pairs that draw nothing or at least their minimum, by a binary, shape (modes, slots)."""
    stepped: BoolArray
    """Switched pairs whose power is a whole number of steps, shape (modes, slots)."""
    patterned: BoolArray
    """Sessions whose starts are counted over their switched slots, shape (sessions,)."""
    one_way_grid: BoolArray
    """Slots that forbid import and export at once, by a binary, shape (slots,)."""
    one_way_battery: BoolArray
    """Slots that forbid charging and discharging the battery at once, by a binary, shape (slots,)."""
    one_way_vehicle: BoolArray
    """Where a vehicle may not charge and discharge at once, by a binary, shape (sessions, slots)."""

    @property
    def is_linear(self) -> bool:
        """Whether nothing is whole."""
        return not (
            self.switched.any() or self.one_way_grid.any() or self.one_way_battery.any() or self.one_way_vehicle.any()
        )


def linear_scope(problem: ChargingProblem) -> ModelScope:
    """The scope of the relaxation: nothing whole."""
    pairs = np.zeros((problem.modes.count, problem.slot_count), dtype=bool)
    slots = np.zeros(problem.slot_count, dtype=bool)
    return ModelScope(
        switched=pairs,
        stepped=pairs,
        patterned=np.zeros(problem.sessions.count, dtype=bool),
        one_way_grid=slots,
        one_way_battery=slots,
        one_way_vehicle=np.zeros((problem.sessions.count, problem.slot_count), dtype=bool),
    )


def whole_scope(problem: ChargingProblem) -> ModelScope:
    """The scope of the problem as stated: minimum current on all slots, every exclusive pair exclusive."""
    loose = linear_scope(problem)
    return ModelScope(
        switched=np.asarray(problem.usable & (problem.modes.min_kw > 0)),
        stepped=loose.stepped,
        patterned=np.ones(problem.sessions.count, dtype=bool),
        one_way_grid=arbitrage_slots(problem),
        one_way_battery=burning_slots(problem) if problem.battery else loose.one_way_battery,
        one_way_vehicle=np.asarray(
            burning_slots(problem)[None, :]
            & (problem.sessions.most_discharge_kw > 0)[:, None]
            & (problem.sessions.plugged_h > 0)
            & ~switched_sessions(problem)
        ),
    )


def near_scope(problem: ChargingProblem, near_slots: int, also: BoolArray) -> ModelScope:
    """Whole numbers on the near slots for everyone, and on all slots for the sessions ``also``."""
    whole = whole_scope(problem)
    near = np.arange(problem.slot_count) < near_slots
    open_pairs = whole.switched & (near[None, :] | also[problem.modes.session][:, None])
    return replace(whole, switched=open_pairs, stepped=open_pairs & near[None, :])


def switched_sessions(problem: ChargingProblem) -> BoolArray:
    """Where a session has a minimum, so that on or off already says which way it goes, shape (sessions, slots)."""
    has_minimum = np.zeros((problem.sessions.count, problem.slot_count), dtype=bool)
    np.logical_or.at(has_minimum, problem.modes.session, problem.usable & (problem.modes.min_kw > 0))
    return has_minimum


def arbitrage_slots(problem: ChargingProblem) -> BoolArray:
    """Slots in which importing and exporting at once would pay, shape (slots,)."""
    supply = problem.supply
    paid = supply.import_price_per_kwh + problem.carbon_price_per_kg * supply.carbon_kg_per_kwh
    return np.asarray(supply.export_price_per_kwh > paid)


def burning_slots(problem: ChargingProblem) -> BoolArray:
    """Slots in which wasting energy in a battery's losses would pay, shape (slots,).

    A marginal kWh has a negative price where import or export does, where a setpoint asks for more load, and where
    PV that cannot be curtailed meets an export limit.
    """
    supply = problem.supply
    paid = supply.import_price_per_kwh + problem.carbon_price_per_kg * supply.carbon_kg_per_kwh
    pressed = (supply.pv_kw > problem.circuits.feed_limit_kw[0]) & (not supply.pv_curtailable)
    return np.asarray((paid < 0) | (supply.export_price_per_kwh < 0) | supply.has_setpoint | pressed)
