"""Laws of the whole site: what flows through the connection, the battery, the peak."""

from __future__ import annotations

from typing import Any

from pyomo.environ import Binary, Constraint, NonNegativeReals, Var

from optimizer.planning.reference.given import Given, GivenScope
from optimizer.planning.reference.terms import charging, discharging, of_slot, total


def battery(model: Any, given: Given, scope: GivenScope) -> None:
    """State the stationary battery's dynamics and limits."""
    state = given.battery
    if state is None:
        return
    lowest, highest = min(state.min_kwh, state.content_kwh), max(state.max_kwh, state.content_kwh)
    model.battery_charge_kw = Var(given.slots, bounds=(0.0, state.max_charge_kw))
    model.battery_discharge_kw = Var(given.slots, bounds=(0.0, state.max_discharge_kw))
    model.battery_kwh = Var(given.boundaries, bounds=(lowest, highest))
    model.battery_kwh[0].setlb(state.content_kwh)
    model.battery_kwh[0].setub(state.content_kwh)

    def change(model: Any, t: int) -> Any:
        hours = given.slot_h[t]
        return (
            total(
                [model.battery_kwh[t + 1], -1.0 * model.battery_kwh[t]],
                [-hours * state.charge_efficiency * model.battery_charge_kw[t]],
                [hours / state.discharge_efficiency * model.battery_discharge_kw[t]],
            )
            == 0.0
        )

    model.battery = Constraint(given.slots, rule=change)

    one_way = list(scope.one_way_battery)
    model.battery_charging = Var(one_way, domain=Binary)

    def charge_way(model: Any, t: int) -> Any:
        return total([model.battery_charge_kw[t], -state.max_charge_kw * model.battery_charging[t]]) <= 0.0

    def discharge_way(model: Any, t: int) -> Any:
        most = state.max_discharge_kw
        return total([model.battery_discharge_kw[t], most * model.battery_charging[t]]) <= most

    model.battery_charge_way = Constraint(one_way, rule=charge_way)
    model.battery_discharge_way = Constraint(one_way, rule=discharge_way)


def greatest_exchange_kw(given: Given, t: int) -> tuple[float, float]:
    """Greatest import and export that any plan could cause in a slot [kW]."""
    sessions, supply = given.sessions, given.supply
    vehicles_kw = given.greatest_vehicles_kw[given.root, t]
    discharge_kw = sum(sessions.most_discharge_kw[s] for s in sessions if sessions.plugged_h[s, t] > 0)
    battery_in_kw = given.battery.max_charge_kw if given.battery else 0.0
    battery_out_kw = given.battery.max_discharge_kw if given.battery else 0.0
    fixed_pv_kw = 0.0 if supply.pv_curtailable else supply.pv_kw[t]
    load_kw = given.circuits.uncontrolled_kw[given.root, t]
    return (
        max(0.0, load_kw + vehicles_kw + battery_in_kw - fixed_pv_kw),
        max(0.0, supply.pv_kw[t] + discharge_kw + battery_out_kw - load_kw),
    )


def site_balance(model: Any, given: Given, scope: GivenScope) -> None:
    """State that import - export = uncontrolled load + vehicles + battery - PV, as means over the slot."""
    del scope
    supply, sessions = given.supply, given.sessions
    most = {t: greatest_exchange_kw(given, t) for t in given.slots}
    model.grid_import_kw = Var(given.slots, bounds=lambda _, t: (0.0, most[t][0]))
    exports = [t for t in given.slots if most[t][1] > 0]
    model.grid_export_kw = Var(exports, bounds=lambda _, t: (0.0, most[t][1]))
    shines = [t for t in given.slots if supply.pv_curtailable and supply.pv_kw[t] > 0]
    model.pv_kw = Var(shines, bounds=lambda _, t: (0.0, supply.pv_kw[t]))

    def balance(model: Any, t: int) -> Any:
        flows = [model.grid_import_kw[t], *of_slot(model.grid_export_kw, t, -1.0), *of_slot(model.pv_kw, t)]
        for s in sessions:
            share = sessions.plugged_h[s, t] / given.slot_h[t]
            flows += charging(model, given, s, {t: -share}) + discharging(model, s, {t: share})
        if given.battery is not None:
            flows += [-1.0 * model.battery_charge_kw[t], model.battery_discharge_kw[t]]
        fixed_pv_kw = 0.0 if supply.pv_curtailable else supply.pv_kw[t]
        return total(flows) == given.circuits.uncontrolled_kw[given.root, t] - fixed_pv_kw

    model.site_balance = Constraint(given.slots, rule=balance)

    asked = [t for t in given.slots if supply.has_setpoint[t]]
    model.setpoint_over_kw = Var(asked, domain=NonNegativeReals)
    model.setpoint_under_kw = Var(asked, domain=NonNegativeReals)

    def setpoint(model: Any, t: int) -> Any:
        net = [model.grid_import_kw[t], *of_slot(model.grid_export_kw, t, -1.0)]
        missed = [-1.0 * model.setpoint_over_kw[t], model.setpoint_under_kw[t]]
        return total(net, missed) == supply.setpoint_kw[t]

    model.setpoint = Constraint(asked, rule=setpoint)


def demand_peak(model: Any, given: Given, scope: GivenScope) -> None:
    """State that the billed peak is at least every metering interval's mean and the peak so far."""
    del scope
    demand, names = given.demand, list(given.demand)
    model.peak_kw = Var(names, bounds=lambda _, d: (demand.reached_kw[d], None))

    def covers(model: Any, i: int) -> Any:
        share = demand.slot_share
        mean = [-share[i, t] * model.grid_import_kw[t] for t in given.slots if share[i, t] > 0]
        return total([model.peak_kw[names[demand.charge[i]]]], mean) >= demand.metered_kw[i]

    model.demand_peak = Constraint(given.intervals, rule=covers)


def no_arbitrage(model: Any, given: Given, scope: GivenScope) -> None:
    """State that import and export do not happen at once where export pays more than import costs."""
    held = [t for t in scope.one_way_grid if t in model.grid_export_kw]
    most = {t: greatest_exchange_kw(given, t) for t in held}
    model.importing = Var(held, domain=Binary)

    def import_way(model: Any, t: int) -> Any:
        return total([model.grid_import_kw[t], -most[t][0] * model.importing[t]]) <= 0.0

    def export_way(model: Any, t: int) -> Any:
        return total([model.grid_export_kw[t], most[t][1] * model.importing[t]]) <= most[t][1]

    model.import_way = Constraint(held, rule=import_way)
    model.export_way = Constraint(held, rule=export_way)
