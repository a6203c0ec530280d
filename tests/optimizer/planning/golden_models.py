"""One small problem a law, and the model that states it as an LP file.

Run this file to write the files again, and read the difference before you commit it::

    python tests/optimizer/planning/golden_models.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import numpy as np
from planning_cases import NOW, ONE_PHASE, ROOT, THREE_PHASE, hours, problem, request
from stated_models import StatedModel, StatedRow, stated_by_matrix

from optimizer.domain.ids import CircuitId
from optimizer.domain.moment import Interval
from optimizer.domain.site import Circuit, LimitSource, Phase, Wiring
from optimizer.planning.matrix import build_model
from optimizer.planning.objectives import Weights, whole_objective
from optimizer.planning.problem import BatteryState, ChargingProblem
from optimizer.planning.requests import (
    DemandTerm,
    EnergyNeed,
    LimitScope,
    PhaseMode,
    PowerLimit,
    UncontrolledLoad,
    VehicleBattery,
)
from optimizer.planning.scope import ModelScope, linear_scope, near_scope, whole_scope

FOLDER = Path(__file__).parent / "golden"
ROW = CircuitId("row")
BETWEEN_LINES = PhaseMode(32, (Phase.L1, Phase.L2), Wiring.LINE_TO_LINE, 208.0)
DISCHARGING = VehicleBattery(30.0, 60.0, charge_efficiency=0.9, max_discharge_kw=5.0, discharge_floor_soc=0.4)
STORE = BatteryState(
    content_kwh=1.0,
    capacity_kwh=10.0,
    min_kwh=2.0,
    max_kwh=9.0,
    max_charge_kw=5.0,
    max_discharge_kw=4.0,
    wear_per_kwh=0.02,
    end_price_per_kwh=0.2,
)


@dataclass(frozen=True)
class Golden:
    """A problem that needs a law, and what of it is decided in whole numbers."""

    law: str
    """Which law it is about."""
    says: str
    """What can be seen in the file."""
    problem: ChargingProblem
    """The problem."""
    scope: Callable[[ChargingProblem], ModelScope] = linear_scope
    """What is whole."""


def near_first_slot(of: ChargingProblem) -> ModelScope:
    return near_scope(of, 1, np.zeros(of.sessions.count, dtype=bool))


def goldens() -> dict[str, Golden]:
    """The golden models by the name of their file."""
    return {
        **_of_vehicles(),
        **_of_full_vehicles(),
        **_of_patterns(),
        **_of_the_site(),
        **_of_the_connection(),
        **_of_circuits(),
        **_of_phases(),
    }


def _of_vehicles() -> dict[str, Golden]:
    switchable = (THREE_PHASE, PhaseMode(16, (Phase.L1,)))
    event = (Interval(hours(1), hours(2)), 4.2)
    return {
        "power_limit": Golden(
            "power_limit",
            "a car on three phases or one, limited to 4.2 kW in the second slot",
            problem([request("car", 8.0, 2, modes=switchable, power_limits_kw=(event,))], slots=2),
        ),
        "power_limit_both_ways": Golden(
            "power_limit",
            "a vehicle that may discharge, at a negative price, and without a minimum: one way at a time",
            problem(
                [request("car", 5.0, 2, PhaseMode(16, min_current_a=0.0), battery=DISCHARGING)],
                slots=2,
                prices=[-0.1, 0.3],
            ),
            whole_scope,
        ),
        "energy_balance": Golden(
            "energy_balance",
            "what a discharging vehicle stores at the boundaries of its stay, between its floor and its capacity",
            problem([request("car", 5.0, 2, THREE_PHASE, battery=DISCHARGING)], slots=3, prices=[0.2, 0.4, 0.1]),
        ),
        "departure_target": Golden(
            "departure_target",
            "two targets of one vehicle, each with its unserved energy in four parts that weigh more and more",
            problem(
                [request("car", 0, 0, needs=(EnergyNeed(hours(1), 4.0), EnergyNeed(hours(1.5), 9.0)))],
                slots=2,
            ),
        ),
        "reservation_floor": Golden(
            "reservation_floor",
            "3 kW promised for an hour and a half to a vehicle that comes in half an hour",
            problem(
                [request("booked", 8.0, 3, arrive_at=hours(0.5), guaranteed_kw=3.0, guaranteed_kwh=4.5)],
                slots=3,
            ),
        ),
    }


def _of_full_vehicles() -> dict[str, Golden]:
    return {
        "taper": Golden(
            "taper",
            "a vehicle that passes its knee in the second slot",
            problem(
                [request("car", 30.0, 3, THREE_PHASE, battery=VehicleBattery(30.0, 50.0, knee_soc=0.8))],
                slots=3,
            ),
        ),
        "taper_of_what_is_sent": Golden(
            "taper",
            "a vehicle nearly full: whole amperes are sent in the first slot, never below the minimum",
            problem(
                [
                    request(
                        "car",
                        2.0,
                        0.5,
                        PhaseMode(16, current_step_a=1.0),
                        battery=VehicleBattery(48.0, 50.0, knee_soc=0.8),
                    )
                ],
                slots=2,
                minutes=15,
            ),
            near_first_slot,
        ),
    }


def _of_patterns() -> dict[str, Golden]:
    stepped = PhaseMode(16, (Phase.L1,), current_step_a=1.0)
    switchable = (PhaseMode(16, current_step_a=1.0), stepped)
    return {
        "minimum_current": Golden(
            "minimum_current",
            "whole amperes and on or off in the first slot, by two modes; the second slot is linear",
            problem([request("car", 6.0, 2, modes=switchable, battery=DISCHARGING)], slots=2),
            near_first_slot,
        ),
        "run_pattern": Golden(
            "run_pattern",
            "a vehicle that charges for five minutes now, may start no more than once and runs for half an hour",
            replace(
                problem(
                    [request("car", 2.0, 0.75, charging_now=True, run_so_far_h=1 / 12, starts_left=1)],
                    slots=3,
                    minutes=15,
                ),
                start_price=0.01,
                min_run_h=0.5,
            ),
            whole_scope,
        ),
    }


def _of_the_site() -> dict[str, Golden]:
    return {
        "battery": Golden(
            "battery",
            "a battery below its band, and a price that would pay for burning energy in its losses",
            problem([], slots=2, prices=[-0.1, 0.3], battery=STORE),
            whole_scope,
        ),
        "site_balance": Golden(
            "site_balance",
            "building, PV that may be curtailed, export, and a setpoint in the second slot",
            problem(
                [request("car", 6.0, 1.5)],
                slots=2,
                building_kw=[3.0, 2.0],
                pv_kw=[5.0, 1.0],
                pv_curtailable=True,
                export_price_per_kwh=[0.08, 0.08],
                setpoint_kw=[None, 4.0],
            ),
        ),
        "demand_peak": Golden(
            "demand_peak",
            "a demand charge over half hours, one kWh of the first metered already, and one over each slot",
            problem(
                [request("car", 3.0, 0.75)],
                slots=3,
                minutes=15,
                demand=[
                    DemandTerm(
                        "all day",
                        2.0,
                        8.0,
                        (Interval(hours(-0.25), hours(0.25)), Interval(hours(0.25), hours(0.75))),
                        metered_kwh=1.0,
                    ),
                    DemandTerm("on peak", 5.0),
                ],
            ),
        ),
        "no_arbitrage": Golden(
            "no_arbitrage",
            "export pays more than import costs in the second slot",
            problem(
                [request("car", 4.0, 2)],
                slots=2,
                prices=[0.3, 0.1],
                export_price_per_kwh=[0.08, 0.2],
                pv_kw=[4.0, 6.0],
            ),
            whole_scope,
        ),
    }


def _of_the_connection() -> dict[str, Golden]:
    first_hour = Interval(NOW, hours(1))
    return {
        "grid_limit": Golden(
            "grid_limit",
            "building above the limit in the second slot, export limit below PV, a grid event on what is controllable",
            problem(
                [request("car", 9.0, 2)],
                slots=2,
                limit_kw=10.0,
                building_kw=[4.0, 12.0],
                pv_kw=[9.0, 0.0],
                pv_firm_share=0.5,
                limits=[
                    PowerLimit(ROOT, 4.2, LimitSource.GRID_EVENT, LimitScope.CONTROLLABLE, first_hour),
                    PowerLimit(ROOT, 3.0, LimitSource.CONTRACT, LimitScope.FEED),
                ],
            ),
        ),
    }


def _of_circuits() -> dict[str, Golden]:
    first_hour = Interval(NOW, hours(1))
    tree = [Circuit(ROOT, None), Circuit(ROW, ROOT, limit_a=20.0, limit_kw=9.0, limit_source=LimitSource.CONTRACT)]
    two_way = {"battery": DISCHARGING}
    return {
        "circuit_limit": Golden(
            "circuit_limit",
            "two vehicles on one fuse of 20 A, one on one phase; 9 kW, 4.2 kW controllable and 2 kW outward",
            problem(
                [
                    request("one", 7.0, 2, circuit_id=ROW),
                    request("three", 9.0, 2, THREE_PHASE, circuit_id=ROW, **two_way),
                ],
                slots=2,
                circuits=tree,
                limits=[
                    PowerLimit(ROW, 4.2, LimitSource.GRID_EVENT, LimitScope.CONTROLLABLE, first_hour),
                    PowerLimit(ROW, 2.0, LimitSource.CONTRACT, LimitScope.FEED),
                ],
            ),
        ),
        "circuit_limit_exceeded": Golden(
            "circuit_limit",
            "the building alone is above the fuse of the site; below, a load above 0 kW and a feed above 2 kW",
            problem(
                [request("car", 4.0, 2, circuit_id=ROW, **two_way)],
                slots=2,
                circuits=[Circuit(ROOT, None, limit_a=25.0), Circuit(ROW, ROOT)],
                building_kw=[21.0, 6.0],
                loads=[UncontrolledLoad(ROW, (5.0, -4.0), ONE_PHASE)],
                limits=[
                    PowerLimit(ROW, 0.0, LimitSource.OPERATOR, window=first_hour),
                    PowerLimit(ROW, 2.0, LimitSource.CONTRACT, LimitScope.FEED),
                ],
            ),
        ),
    }


def _of_phases() -> dict[str, Golden]:
    return {
        "circuit_limit_between_lines": Golden(
            "circuit_limit",
            "loads between two lines lead on one phase and lag on the next: two facets a phase",
            problem(
                [
                    request("here", 12.0, 2, BETWEEN_LINES),
                    request(
                        "there",
                        12.0,
                        2,
                        PhaseMode(32, (Phase.L2, Phase.L3), Wiring.LINE_TO_LINE, 208.0),
                        battery=DISCHARGING,
                    ),
                ],
                slots=2,
                circuits=[Circuit(ROOT, None, limit_a=60.0)],
                building_kw=[3.0, 3.0],
                phase_voltage_v=120.0,
            ),
        ),
        "phase_imbalance": Golden(
            "phase_imbalance",
            "vehicles on L1 and on L2 whose currents differ by no more than 20 A; the building alone by 26 A at first",
            problem(
                [request("one", 6.0, 2, ONE_PHASE), request("two", 6.0, 2, PhaseMode(32, (Phase.L2,)))],
                slots=2,
                circuits=[Circuit(ROOT, None, imbalance_limit_a=20.0)],
                building_kw=[6.0, 3.0],
                building_phase_shares=(1.0, 0.0, 0.0),
            ),
        ),
    }


def stated(golden: Golden) -> StatedModel:
    """The model that the matrix states."""
    model = build_model(golden.problem, golden.scope(golden.problem))
    return stated_by_matrix(golden.problem, model, whole_objective(golden.problem, model, Weights(golden.problem)))


def lp_text(name: str, golden: Golden) -> str:
    """The model in the LP format, in the order in which the laws state it."""
    model = stated(golden)
    costs = {column: of.cost for column, of in model.columns.items() if of.cost}
    lines = [f"\\ {name}: {golden.says}", "Minimize", f" all: {_sum(costs)}", "Subject To"]
    for row, of in model.rows.items():
        lines += _row(row, of)
    lines.append("Bounds")
    for column, bounds in model.columns.items():
        lines.append(f" {_number(bounds.lower)} <= {_name(column)} <= {_number(bounds.upper)}")
    whole = [column for column, of in model.columns.items() if of.integer]
    if whole:
        lines += ["General", *(f" {_name(column)}" for column in whole)]
    return "\n".join([*lines, "End", ""])


def _row(name: str, row: StatedRow) -> Iterable[str]:
    if not row.entries:
        yield f"\\ {_name(name)}: nothing, from {_number(row.lower)} to {_number(row.upper)}"
    elif row.lower == row.upper:
        yield f" {_name(name)}: {_sum(row.entries)} = {_number(row.lower)}"
    elif row.lower == -inf:
        yield f" {_name(name)}: {_sum(row.entries)} <= {_number(row.upper)}"
    elif row.upper == inf:
        yield f" {_name(name)}: {_sum(row.entries)} >= {_number(row.lower)}"
    else:
        yield f" {_name(name)}_from: {_sum(row.entries)} >= {_number(row.lower)}"
        yield f" {_name(name)}_to: {_sum(row.entries)} <= {_number(row.upper)}"


def _sum(entries: dict[str, float]) -> str:
    terms = [f"{'-' if value < 0 else '+'} {_number(abs(value))} {_name(column)}" for column, value in entries.items()]
    return " ".join(terms)


def _number(value: float) -> str:
    """Ten digits: enough to see every change, few enough to be the same on every machine."""
    return f"{value + 0.0:.10g}".replace("inf", "infinity")


def _name(name: str) -> str:
    """A name that the LP format permits."""
    return name.translate(str.maketrans({"[": "(", "]": ")", ":": "", "-": "", " ": "_"}))


def write_all() -> None:
    FOLDER.mkdir(exist_ok=True)
    wanted = {FOLDER / f"{name}.lp": lp_text(name, golden) for name, golden in goldens().items()}
    for stale in set(FOLDER.glob("*.lp")) - set(wanted):
        stale.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_all()
