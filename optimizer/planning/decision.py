"""What a planner decides, as arrays, and the plan that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.domain.ids import PlanId
from optimizer.domain.plan import BindingReason, Plan, SessionPlan, Shortfall
from optimizer.domain.session import PriorityTier
from optimizer.planning.problem import LATER_SHARE, ChargingProblem, FloatArray

NEGLIGIBLE_KWH = 1e-3
"""Energy below which a target counts as met: a thousandth of a kWh is below what a meter shows."""


@dataclass(frozen=True, eq=False)
class Decision:
    """Power of everything that can be decided."""

    power_kw: FloatArray
    """Charging power, shape (modes, slots) [kW]."""
    discharge_kw: FloatArray
    """Discharging power of vehicles, shape (sessions, slots) [kW]."""
    battery_kw: FloatArray
    """Battery charging less discharging, shape (slots,) [kW]."""
    pv_kw: FloatArray
    """PV not curtailed, shape (slots,) [kW]."""


def session_power_kw(problem: ChargingProblem, decision: Decision) -> FloatArray:
    """Charging power of each session over its modes [kW], shape (sessions, slots)."""
    return problem.over_modes(np.add, decision.power_kw)


def net_import_kw(problem: ChargingProblem, decision: Decision) -> FloatArray:
    """Mean import less export of each slot [kW], shape (slots,)."""
    share = problem.sessions.plugged_h / problem.slot_h
    vehicles = (share * (session_power_kw(problem, decision) - decision.discharge_kw)).sum(axis=0)
    return np.asarray(problem.circuits.uncontrolled_kw[0] + vehicles + decision.battery_kw - decision.pv_kw)


def delivered_kwh(problem: ChargingProblem, decision: Decision) -> FloatArray:
    """Metered energy from now to each boundary, discharge with its losses subtracted [kWh], (sessions, boundaries)."""
    sessions = problem.sessions
    loss = 1.0 / (sessions.charge_efficiency * sessions.discharge_efficiency)
    net_kw = session_power_kw(problem, decision) - decision.discharge_kw * loss[:, None]
    delivered = np.zeros((sessions.count, problem.slot_count + 1))
    np.cumsum(net_kw * sessions.plugged_h, axis=1, out=delivered[:, 1:])
    return delivered


def unserved_kwh(problem: ChargingProblem, decision: Decision) -> FloatArray:
    """Energy that each target misses [kWh], shape (targets,)."""
    targets, sessions = problem.targets, problem.sessions
    loss = 1.0 / (sessions.charge_efficiency * sessions.discharge_efficiency)
    net_kw = session_power_kw(problem, decision) - decision.discharge_kw * loss[:, None]
    delivered = (targets.counted_h * net_kw[targets.session]).sum(axis=1)
    return np.asarray(np.maximum(0.0, targets.due_kwh - delivered))


def peaks_kw(problem: ChargingProblem, grid_import_kw: FloatArray) -> FloatArray:
    """Peak that each demand charge bills, at least what is reached [kW], shape (charges,)."""
    demand = problem.demand
    peaks = np.array(demand.reached_kw)
    if len(demand.charge):
        np.maximum.at(peaks, demand.charge, demand.slot_share @ grid_import_kw + demand.metered_kw)
    return peaks


def money_of(problem: ChargingProblem, decision: Decision) -> float:
    """What the plan costs over the horizon: energy, export, further demand, wear, carbon, events [currency]."""
    supply, slot_h = problem.supply, problem.slot_h
    net = net_import_kw(problem, decision)
    grid_import, grid_export = np.maximum(net, 0.0), np.maximum(-net, 0.0)
    paid = supply.import_price_per_kwh + problem.carbon_price_per_kg * supply.carbon_kg_per_kwh
    total = float(slot_h @ (paid * grid_import - supply.export_price_per_kwh * grid_export))
    rise = peaks_kw(problem, grid_import) - problem.demand.reached_kw
    total += float(problem.demand.price_per_kw @ rise)
    discharged_kwh = (decision.discharge_kw * problem.sessions.plugged_h).sum(axis=1)
    total += float(problem.sessions.discharge_wear_per_kwh @ discharged_kwh)
    missed = np.where(supply.has_setpoint, np.abs(net - supply.setpoint_kw), 0.0)
    total += problem.setpoint_price_per_kwh * float(slot_h @ missed)
    if problem.battery is not None:
        discharged = float(slot_h @ np.maximum(-decision.battery_kw, 0.0))
        gained = battery_content_kwh(problem, decision)[-1] - problem.battery.content_kwh
        total += problem.battery.wear_per_kwh * discharged - problem.battery.end_price_per_kwh * float(gained)
    return total


def battery_content_kwh(problem: ChargingProblem, decision: Decision) -> FloatArray:
    """Content of the stationary battery at each boundary [kWh], shape (boundaries,); zeros without one."""
    content = np.zeros(problem.slot_count + 1)
    battery = problem.battery
    if battery is None:
        return content
    charged = np.maximum(decision.battery_kw, 0.0) * battery.charge_efficiency
    drawn = np.maximum(-decision.battery_kw, 0.0) / battery.discharge_efficiency
    content[0] = battery.content_kwh
    content[1:] = battery.content_kwh + np.cumsum(problem.slot_h * (charged - drawn))
    return content


def shortfalls(problem: ChargingProblem, decision: Decision) -> tuple[Shortfall, ...]:
    """Targets that are missed, with the part that no plan could have delivered."""
    missing = unserved_kwh(problem, decision)
    targets, found = problem.targets, []
    for index in np.flatnonzero(missing > NEGLIGIBLE_KWH).tolist():
        session = int(targets.session[index])
        reachable, full_kw = _reach(problem, index, session)
        need = float(targets.need_kwh[index])
        reachable += float(targets.later_kwh[index]) / LATER_SHARE
        out_of_reach = max(0.0, min(need - reachable, float(missing[index])))
        since = None
        if out_of_reach > NEGLIGIBLE_KWH and full_kw > 0:
            since = targets.depart_at[index] - timedelta(hours=need / full_kw)
        elif out_of_reach > NEGLIGIBLE_KWH:
            since = problem.now
        found.append(
            Shortfall(
                session_id=problem.sessions.ids[session],
                depart_at=targets.depart_at[index],
                tier=PriorityTier(int(problem.sessions.tier[session])),
                unserved_kwh=float(missing[index]),
                unavoidable_kwh=out_of_reach if out_of_reach > NEGLIGIBLE_KWH else 0.0,
                unavoidable_since=since,
            )
        )
    return tuple(found)


def _reach(problem: ChargingProblem, target: int, session: int) -> tuple[float, float]:
    """Energy that the vehicle alone could have by the target at full power [kWh], and its greatest power [kW]."""
    own = problem.modes.session == session
    most_kw = problem.modes.max_kw[own].max(axis=0)
    counted_h = problem.targets.counted_h[target]
    reachable = min(float(most_kw @ counted_h), float(problem.sessions.most_kwh[session]))
    return reachable, float(most_kw.max(initial=0.0))


def plan_of(
    problem: ChargingProblem,
    decision: Decision,
    reasons: tuple[tuple[BindingReason, ...], ...],
    marginal_price_per_kwh: FloatArray | None = None,
) -> Plan:
    """Return the plan that follows from a decision, with the reasons of each session and slot."""
    net = net_import_kw(problem, decision)
    power = session_power_kw(problem, decision) - decision.discharge_kw
    energy = problem.sessions.delivered_kwh[:, None] + delivered_kwh(problem, decision)
    phases = _phases_used(problem, decision)
    plans = tuple(
        SessionPlan(session_id, evse_id, powers, energies, why, phases.get(index, ()))
        for index, (session_id, evse_id, powers, energies, why) in enumerate(
            zip(problem.sessions.ids, problem.sessions.evse_ids, rows_of(power), rows_of(energy), reasons, strict=True)
        )
    )
    digest = blake2b(decision.power_kw.tobytes() + decision.battery_kw.tobytes(), digest_size=6).hexdigest()
    return Plan(
        id=PlanId(f"{problem.site_id}-{problem.now:%Y%m%dT%H%M%SZ}-{digest}"),
        site_id=problem.site_id,
        made_at=problem.now,
        boundaries=problem.boundaries,
        sessions=plans,
        grid_import_kw=tuple(np.maximum(net, 0.0).tolist()),
        grid_export_kw=tuple(np.maximum(-net, 0.0).tolist()),
        battery_kw=tuple(decision.battery_kw.tolist()),
        pv_kw=tuple(decision.pv_kw.tolist()),
        building_kw=tuple(problem.supply.building_kw.tolist()),
        import_price_per_kwh=tuple(problem.supply.import_price_per_kwh.tolist()),
        shortfalls=shortfalls(problem, decision),
        marginal_price_per_kwh=() if marginal_price_per_kwh is None else tuple(marginal_price_per_kwh.tolist()),
        money=money_of(problem, decision),
    )


def rows_of(values: NDArray[Any]) -> list[tuple[Any, ...]]:
    """The rows of an array as tuples of plain numbers or objects, without a list between."""
    every = iter(values.ravel().tolist())
    return list(zip(*[every] * values.shape[1], strict=True))


def _phases_used(problem: ChargingProblem, decision: Decision) -> dict[int, tuple[int, ...]]:
    """Phases in use of sessions with several modes, one a slot; 0 while it does not charge."""
    used = {}
    count = problem.modes.on_phase.sum(axis=1)
    for session in np.flatnonzero(problem.mode_count_of > 1).tolist():
        own = np.flatnonzero(problem.modes.session == session)
        running = decision.power_kw[own] > 0
        used[session] = tuple((running * count[own][:, None]).max(axis=0).tolist())
    return used
