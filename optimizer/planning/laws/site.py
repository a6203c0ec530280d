"""Laws of the whole site: what flows through the connection, the battery, the peak."""

from __future__ import annotations

import numpy as np

from optimizer.planning.model import ModelBuilder
from optimizer.planning.problem import ChargingProblem, FloatArray
from optimizer.planning.scope import ModelScope


def battery(build: ModelBuilder, problem: ChargingProblem, scope: ModelScope) -> None:
    """State the stationary battery's dynamics and limits.

    Columns ``battery_charge_kw[t]``, ``battery_discharge_kw[t]``, ``battery_kwh[b]`` within its band, the start fixed.
    A content outside the band at the start moves the bound there, so nothing is infeasible and nothing gets worse.
    Row ``battery[t]``: ``battery_kwh[t+1] = battery_kwh[t] + charge_efficiency * slot_h * battery_charge_kw -
    slot_h * battery_discharge_kw / discharge_efficiency``.
    Where wasting energy would pay, ``battery_charging[t]`` is binary and rows ``battery_charge_way[t]``,
    ``battery_discharge_way[t]`` permit one direction at a time.
    """
    state = problem.battery
    if state is None:
        return
    slot = np.arange(problem.slot_count)
    charge = build.add_columns("battery_charge_kw", "t", (slot,), 0.0, state.max_charge_kw)
    discharge = build.add_columns("battery_discharge_kw", "t", (slot,), 0.0, state.max_discharge_kw)
    lower = np.full(problem.slot_count + 1, min(state.min_kwh, state.content_kwh))
    upper = np.full(problem.slot_count + 1, max(state.max_kwh, state.content_kwh))
    lower[0] = upper[0] = state.content_kwh
    content = build.add_columns("battery_kwh", "b", (np.arange(problem.slot_count + 1),), lower, upper)
    rows = build.add_rows("battery", "t", (slot,), 0.0, 0.0)
    build.add_entries(rows.indices, content.indices[1:], 1.0)
    build.add_entries(rows.indices, content.indices[:-1], -1.0)
    build.add_entries(rows.indices, charge.indices, -problem.slot_h * state.charge_efficiency)
    build.add_entries(rows.indices, discharge.indices, problem.slot_h / state.discharge_efficiency)
    held = np.flatnonzero(scope.one_way_battery)
    if len(held):
        way = build.add_columns("battery_charging", "t", (held,), 0.0, 1.0, integer=True)
        up = build.add_rows("battery_charge_way", "t", (held,), -np.inf, 0.0)
        build.add_entries(up.indices, charge.indices[held], 1.0)
        build.add_entries(up.indices, way.indices, -state.max_charge_kw)
        down = build.add_rows("battery_discharge_way", "t", (held,), -np.inf, state.max_discharge_kw)
        build.add_entries(down.indices, discharge.indices[held], 1.0)
        build.add_entries(down.indices, way.indices, state.max_discharge_kw)


def greatest_exchange_kw(problem: ChargingProblem) -> tuple[FloatArray, FloatArray]:
    """Greatest import and export that any plan could cause [kW], shapes (slots,)."""
    vehicles_kw = np.where(problem.usable, problem.modes.max_kw, 0.0).sum(axis=0)
    there = problem.sessions.plugged_h > 0
    discharge_kw = (there * problem.sessions.most_discharge_kw[:, None]).sum(axis=0)
    base_kw = problem.circuits.uncontrolled_kw[0]
    fixed_pv_kw = 0.0 if problem.supply.pv_curtailable else problem.supply.pv_kw
    battery_in, battery_out = 0.0, 0.0
    if problem.battery is not None:
        battery_in, battery_out = problem.battery.max_charge_kw, problem.battery.max_discharge_kw
    greatest_import = np.maximum(0.0, base_kw + vehicles_kw + battery_in - fixed_pv_kw)
    greatest_export = np.maximum(0.0, problem.supply.pv_kw + discharge_kw + battery_out - base_kw)
    return greatest_import, greatest_export


def site_balance(build: ModelBuilder, problem: ChargingProblem, scope: ModelScope) -> None:
    """State that import - export = uncontrolled load + vehicles + battery - PV, as means over the slot.

    Columns ``grid_import_kw[t]``, ``grid_export_kw[t]`` up to what any plan could cause, so that no price makes the
    model unbounded; ``pv_kw[t]`` in ``[0, pv_kw]`` where PV may be curtailed. Row ``site_balance[t]``.
    Where a grid event asks for a setpoint: columns ``setpoint_over_kw[t]``, ``setpoint_under_kw[t]`` and row
    ``setpoint[t]``: ``import - export - over + under = setpoint_kw``.
    """
    del scope
    supply, slot = problem.supply, np.arange(problem.slot_count)
    most_import, most_export = greatest_exchange_kw(problem)
    grid_import = build.add_columns("grid_import_kw", "t", (slot,), 0.0, most_import)
    exports = np.flatnonzero(most_export > 0)
    grid_export = build.add_columns("grid_export_kw", "t", (exports,), 0.0, most_export[exports])
    load_kw = problem.circuits.uncontrolled_kw[0]
    shines = np.flatnonzero(supply.pv_kw > 0) if supply.pv_curtailable else np.zeros(0, dtype=np.int64)
    fixed_kw = load_kw if supply.pv_curtailable else load_kw - supply.pv_kw
    rows = build.add_rows("site_balance", "t", (slot,), fixed_kw, fixed_kw)
    build.add_entries(rows.indices, grid_import.indices, 1.0)
    build.add_entries(rows.indices[exports], grid_export.indices, -1.0)
    if len(shines):
        pv = build.add_columns("pv_kw", "t", (shines,), 0.0, supply.pv_kw[shines])
        build.add_entries(rows.indices[shines], pv.indices, 1.0)
    there_share = problem.sessions.plugged_h / problem.slot_h
    power, discharge = build.columns["power_kw"], build.columns["discharge_kw"]
    mode, when = power.keys
    build.add_entries(rows.first + when, power.indices, -there_share[problem.modes.session[mode], when])
    vehicle, when = discharge.keys
    build.add_entries(rows.first + when, discharge.indices, there_share[vehicle, when])
    if problem.battery is not None:
        build.add_entries(rows.indices, build.columns["battery_charge_kw"].indices, -1.0)
        build.add_entries(rows.indices, build.columns["battery_discharge_kw"].indices, 1.0)
    _setpoint(build, problem)


def _setpoint(build: ModelBuilder, problem: ChargingProblem) -> None:
    asked = np.flatnonzero(problem.supply.has_setpoint)
    if not len(asked):
        return
    over = build.add_columns("setpoint_over_kw", "t", (asked,), 0.0, np.inf)
    under = build.add_columns("setpoint_under_kw", "t", (asked,), 0.0, np.inf)
    wanted_kw = problem.supply.setpoint_kw[asked]
    rows = build.add_rows("setpoint", "t", (asked,), wanted_kw, wanted_kw)
    build.add_entries(rows.indices, build.columns["grid_import_kw"].indices[asked], 1.0)
    export = build.column_grid("grid_export_kw", problem.slot_count)[asked]
    build.add_entries(rows.indices[export >= 0], export[export >= 0], -1.0)
    build.add_entries(rows.indices, over.indices, -1.0)
    build.add_entries(rows.indices, under.indices, 1.0)


def demand_peak(build: ModelBuilder, problem: ChargingProblem, scope: ModelScope) -> None:
    """State that the billed peak is at least every metering interval's mean and the peak so far.

    Column ``peak_kw[d]`` from ``reached_kw[d]`` up; row ``demand_peak[i]``: ``peak_kw[charge of i]`` is at least
    ``metered_kw[i]`` plus the sum over t of ``slot_share[i,t] * grid_import_kw[t]``.
    """
    del scope
    demand = problem.demand
    if not demand.count:
        return
    peak = build.add_columns("peak_kw", "d", (np.arange(demand.count),), demand.reached_kw, np.inf)
    interval = np.arange(len(demand.charge))
    rows = build.add_rows("demand_peak", "i", (interval,), demand.metered_kw, np.inf)
    build.add_entries(rows.indices, peak.first + demand.charge, 1.0)
    row, slot = np.nonzero(demand.slot_share)
    build.add_entries(rows.first + row, build.columns["grid_import_kw"].first + slot, -demand.slot_share[row, slot])


def no_arbitrage(build: ModelBuilder, problem: ChargingProblem, scope: ModelScope) -> None:
    """State that import and export do not happen at once where export pays more than import costs.

    Column ``importing[t]``, binary, in the slots of the scope; rows ``import_way[t]``: ``grid_import_kw <= most import
    * importing`` and ``export_way[t]``: ``grid_export_kw <= most export * (1 - importing)``.
    """
    export = build.columns["grid_export_kw"]
    held = np.flatnonzero(scope.one_way_grid)
    if not len(held):
        return
    export_of = export.grid(problem.slot_count)
    held = held[export_of[held] >= 0]
    most_import, most_export = greatest_exchange_kw(problem)
    way = build.add_columns("importing", "t", (held,), 0.0, 1.0, integer=True)
    rows = build.add_rows("import_way", "t", (held,), -np.inf, 0.0)
    build.add_entries(rows.indices, build.columns["grid_import_kw"].indices[held], 1.0)
    build.add_entries(rows.indices, way.indices, -most_import[held])
    rows = build.add_rows("export_way", "t", (held,), -np.inf, most_export[held])
    build.add_entries(rows.indices, export_of[held], 1.0)
    build.add_entries(rows.indices, way.indices, most_export[held])
