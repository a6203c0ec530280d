"""The offline optimum: one large linear problem that knows every car, price and load of the whole time beforehand.

minimise   energy cost - export revenue + demand charges + battery wear - weight of energy delivered
subject to every car      energy taken <= what it takes; power within EVSE and car, only while it is there
           who gives back content within what is lent and what fits, at every step
           every step     import - export = building - PV + battery + (1 + losses) * cars
           every month    billed peak >= mean import of every metering interval that counts
           every circuit  power, and current on each phase, within limits; grid events included
           the battery    content within its band; what it holds less at the end counts at the mean price

It is a bound: minimum currents, whole amperes, pauses, tapers and all that nobody can know are left out, so who keeps
to the same rules and delivers as much cannot be cheaper. Limits of circuits are added where a solution breaks them,
those of currents by lines that touch the circle from outside. Cars that stay beyond the end are followed to plug-out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

import numpy as np
from numpy.typing import NDArray

from optimizer.domain.event import GridEventKind
from optimizer.errors import PlanningFailed
from optimizer.planning.highs import SolverModel
from optimizer.planning.model import Block, LinearModel, ModelBuilder
from optimizer.planning.problem import FloatArray, IntArray
from optimizer.planning.slots import slot_means
from scenarios.limit_audit import balanced_currents_a_per_kw, unit_currents_a_per_kw
from scenarios.outcomes import Course, PlanningLog, StayOutcome, StepSeries
from scenarios.replay_bill import Pricing
from scenarios.scenario import Scenario, Stay
from scenarios.stopwatch import Spent, Stopwatch
from scenarios.strategies import OFFLINE_OPTIMUM

LONGEST_SOLVE_S = 600.0
"""A bound that takes longer is not worth waiting for [s]."""
DOMINANCE = 2.0
"""How much more a kWh delivered weighs than it could ever save."""
LEAST_WEIGHT = 1.0
"""Weight of a kWh delivered where all prices are zero."""
MOST_ROUNDS = 12
"""Rounds in which limits of circuits are added; each adds all that are broken."""
BROKEN_SHARE = 1e-6
"""Part of a limit by which it must be exceeded to be added."""
TOUCHING_DEG = (-60.0, -30.0, -15.0, 0.0, 15.0, 30.0, 60.0)
"""Angles to the phase's voltage at which lines touch the circle of permitted currents."""

ComplexArray = NDArray[np.complex128]


@dataclass(frozen=True, eq=False)
class _Draws:
    """The pairs of stay and step in which a car may draw power, and those in which it may give back: a column each."""

    stay: IntArray
    """Which stay of the scenario."""
    step: IntArray
    """Which step."""
    hours: FloatArray
    """Part of the step for which it is there [h]."""
    most_kw: FloatArray
    """Greatest power [kW]; 0 where it gives back."""
    least_kw: FloatArray
    """Least power [kW]; below zero where it gives back, else 0."""
    stored_share: FloatArray
    """Energy that enters or leaves its battery over what flows at the meter."""
    steps: int
    """Number of steps."""

    @property
    def gives_back(self) -> NDArray[np.bool_]:
        """Where cars give back, shape (draws,)."""
        return np.asarray(self.least_kw < 0)


def solve_offline(scenario: Scenario, most_kwh: Mapping[str, float] | None = None) -> Course:
    """The course that costs least with all the energy that can be delivered.

    Args:
        scenario: What happens.
        most_kwh: Energy of each stay that is enough [kWh], to hold a course against that delivered no more; ``None``:
            what the cars take.

    Raises:
        PlanningFailed: The problem is too large for the time allowed.
    """
    watch = Stopwatch()
    draws = _draws(scenario)
    pricing = Pricing(scenario, draws.steps)
    optimum = _OfflineProblem(scenario, draws, pricing, most_kwh or {})
    values = optimum.solve()
    return _course(scenario, draws, optimum, values, watch.spent)


def _draws(scenario: Scenario) -> _Draws:
    step_h = scenario.step / timedelta(hours=1)
    horizon = scenario.followed_until
    steps = ceil((horizon - scenario.start) / scenario.step)
    parts: list[tuple[IntArray | FloatArray, ...]] = []
    for place, stay in enumerate(scenario.stays):
        first, last = _steps_between(scenario, stay.session.arrived_at, min(stay.session.departed_at, horizon))
        whole = np.arange(int(first), ceil(last))
        hours = (np.minimum(whole + 1, last) - np.maximum(whole, first)) * step_h
        for way in _ways(scenario, stay):
            same = (np.full(len(whole), value) for value in way)
            parts.append((np.full(len(whole), place), whole, hours, *same))
    if not parts:
        none = np.zeros(0)
        return _Draws(none.astype(np.int64), none.astype(np.int64), none, none, none, none, steps)
    columns: list[FloatArray] = [np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True)]
    stay_of, step_of, hours, most_kw, least_kw, stored_share = columns
    return _Draws(stay_of.astype(np.int64), step_of.astype(np.int64), hours, most_kw, least_kw, stored_share, steps)


def _ways(scenario: Scenario, stay: Stay) -> list[tuple[float, float, float]]:
    """Greatest and least power [kW] and stored share of each direction in which a car's power may flow."""
    charging = (_most_kw(scenario, stay), 0.0, 1.0)
    if not stay.vehicle.gives_back:
        return [charging]
    evse = scenario.site.evses[stay.evse_id]
    path_kw = evse.voltage_v * min(evse.current_paths, stay.vehicle.phases_used) / 1000.0
    return [charging, (0.0, -path_kw * stay.vehicle.gives_back_a, 1.0 / stay.vehicle.give_efficiency)]


def _steps_between(scenario: Scenario, start: datetime, end: datetime) -> tuple[float, float]:
    return (start - scenario.start) / scenario.step, (end - scenario.start) / scenario.step


def _most_kw(scenario: Scenario, stay: Stay) -> float:
    evse = scenario.site.evses[stay.evse_id]
    current_a = min(stay.vehicle.max_current_a, evse.max_current_a)
    return current_a * evse.voltage_v * min(evse.current_paths, stay.vehicle.phases_used) / 1000.0


class _OfflineProblem:
    """The linear problem, and the limits that it has been found to need.

    Args:
        scenario: What happens.
        draws: Where cars may draw power.
        pricing: What energy and peaks cost.
        most_kwh: Energy of a stay that is enough [kWh]; where none is told, what the car takes.
    """

    def __init__(self, scenario: Scenario, draws: _Draws, pricing: Pricing, most_kwh: Mapping[str, float]) -> None:
        self._scenario = scenario
        self._most_kwh = most_kwh
        self._draws = draws
        self._pricing = pricing
        self._step_h = scenario.step / timedelta(hours=1)
        self.building_kw = self._means(
            scenario.surroundings.building.boundaries, scenario.surroundings.building.values_kw
        )
        self.pv_kw = self._means(scenario.surroundings.pv.boundaries, scenario.surroundings.pv.values_kw)
        self._cuts: list[tuple[FloatArray, IntArray, float]] = []
        self.model = self._build()

    def _means(self, boundaries: tuple[datetime, ...], values_kw: tuple[float, ...]) -> FloatArray:
        return slot_means(boundaries, values_kw, self._pricing.boundaries)

    # ------------------------------------------------------------------ the model

    def _build(self) -> LinearModel:
        build, draws, scenario = ModelBuilder(), self._draws, self._scenario
        steps = np.arange(draws.steps)
        # The third index tells the directions apart.
        ways = (draws.stay, draws.step, draws.gives_back.astype(np.int64))
        power = build.add_columns("power_kw", "stw", ways, draws.least_kw, draws.most_kw)
        connection = scenario.site.grid_connection
        bought = build.add_columns("grid_import_kw", "t", (steps,), 0.0, self._import_limits_kw())
        sold = build.add_columns("grid_export_kw", "t", (steps,), 0.0, connection.export_limit_kw)
        wants_kwh = np.array([self._most_kwh.get(stay.id, stay.vehicle.takes_kwh) for stay in scenario.stays])
        least_kwh = np.array([-stay.vehicle.gives_kwh for stay in scenario.stays])
        energy = build.add_rows("energy", "s", (np.arange(len(wants_kwh)),), least_kwh, wants_kwh)
        build.add_entries(energy.first + draws.stay, power.indices, draws.hours * draws.stored_share)
        self._add_contents(build, power)
        # What cannot be exported is curtailed: a balance may fall short of the PV.
        balance = build.add_rows("site_balance", "t", (steps,), self.building_kw - self.pv_kw, np.inf)
        build.add_entries(balance.indices, bought.indices, 1.0)
        build.add_entries(balance.indices, sold.indices, -1.0)
        build.add_entries(balance.first + draws.step, power.indices, -draws.hours / self._step_h * self._with_losses())
        self._add_peaks(build, bought)
        self._add_battery(build, balance)
        return build.finish()

    def _with_losses(self) -> FloatArray:
        """What flows at the connection for each kW at an EVSE: more where a car draws, less where it gives back."""
        lost = self._scenario.surroundings.wiring_loss_share
        return np.where(self._draws.gives_back, 1.0 - lost, 1.0 + lost)

    def _add_contents(self, build: ModelBuilder, power: Block) -> None:
        """Follow what each car that gives back holds more than at plug-in, from step to step."""
        draws = self._draws
        for place, stay in enumerate(self._scenario.stays):
            if not stay.vehicle.gives_back:
                continue
            own = np.flatnonzero(draws.stay == place)
            first, count = int(draws.step[own].min()), len(np.unique(draws.step[own]))
            lower, upper = np.full(count + 1, -stay.vehicle.gives_kwh), np.full(count + 1, stay.vehicle.takes_kwh)
            lower[0] = upper[0] = 0.0
            content = build.add_columns(f"content_kwh_{place}", "b", (np.arange(count + 1),), lower, upper)
            rows = build.add_rows(f"content_{place}", "t", (np.arange(count),), 0.0, 0.0)
            build.add_entries(rows.indices, content.indices[1:], 1.0)
            build.add_entries(rows.indices, content.indices[:-1], -1.0)
            stored = draws.hours[own] * draws.stored_share[own]
            build.add_entries(rows.first + draws.step[own] - first, power.indices[own], -stored)

    def _import_limits_kw(self) -> FloatArray:
        connection = self._scenario.site.grid_connection
        limits_kw = np.full(self._draws.steps, connection.import_limit_kw)
        for event in self._scenario.grid_events:
            if event.kind is GridEventKind.IMPORT_LIMIT and event.circuit_id in (None, connection.circuit_id):
                for index, start in enumerate(self._pricing.boundaries[:-1]):
                    value_kw = event.value_at(start)
                    if value_kw is not None:
                        limits_kw[index] = min(limits_kw[index], max(0.0, value_kw))
        # The building alone may exceed a limit; nobody can do anything about that.
        return np.asarray(np.maximum(limits_kw, self.building_kw - self.pv_kw))

    def _add_peaks(self, build: ModelBuilder, bought: Block) -> None:
        months = self._pricing.months
        peaks = build.add_columns("peak_kw", "d", (np.arange(len(months)),), 0.0, np.inf)
        for index, month in enumerate(months):
            counted = np.flatnonzero(month.interval_of >= 0)
            intervals, place = np.unique(month.interval_of[counted], return_inverse=True)
            rows = build.add_rows(f"demand_peak_{index}", "i", (np.arange(len(intervals)),), 0.0, np.inf)
            build.add_entries(rows.indices, np.full(len(intervals), peaks.first + index), 1.0)
            build.add_entries(rows.first + place, bought.first + counted, -self._step_h / month.interval_h)

    def _add_battery(self, build: ModelBuilder, balance: Block) -> None:
        battery = self._scenario.site.battery
        if battery is None:
            return
        steps = np.arange(self._draws.steps)
        charge = build.add_columns("battery_charge_kw", "t", (steps,), 0.0, battery.max_charge_kw)
        discharge = build.add_columns("battery_discharge_kw", "t", (steps,), 0.0, battery.max_discharge_kw)
        low_kwh, high_kwh = battery.min_soc * battery.capacity_kwh, battery.max_soc * battery.capacity_kwh
        begin_kwh = min(max(self._scenario.battery_soc * battery.capacity_kwh, low_kwh), high_kwh)
        lower, upper = np.full(len(steps) + 1, low_kwh), np.full(len(steps) + 1, high_kwh)
        lower[0] = upper[0] = begin_kwh
        content = build.add_columns("battery_kwh", "b", (np.arange(len(steps) + 1),), lower, upper)
        rows = build.add_rows("battery", "t", (steps,), 0.0, 0.0)
        build.add_entries(rows.indices, content.indices[1:], 1.0)
        build.add_entries(rows.indices, content.indices[:-1], -1.0)
        build.add_entries(rows.indices, charge.indices, -self._step_h * battery.charge_efficiency)
        build.add_entries(rows.indices, discharge.indices, self._step_h / battery.discharge_efficiency)
        build.add_entries(balance.indices, charge.indices, -1.0)
        build.add_entries(balance.indices, discharge.indices, 1.0)

    def _cost(self) -> FloatArray:
        model, pricing, step_h = self.model, self._pricing, self._step_h
        cost = np.zeros(model.column_count)
        price = pricing.import_price_per_kwh
        cost[model.columns["grid_import_kw"].span] = price * step_h
        cost[model.columns["grid_export_kw"].span] = -pricing.export_price_per_kwh * step_h
        weights = np.array([month.weight_per_kw for month in pricing.months])
        cost[model.columns["peak_kw"].span] = weights
        battery = self._scenario.site.battery
        wear = battery.wear_price_per_kwh if battery else 0.0
        if battery is not None:
            cost[model.columns["battery_discharge_kw"].span] = wear * step_h
            cost[model.columns["battery_kwh"].indices[-1]] = -pricing.stored_worth_per_kwh
        saved = float(np.abs(price).max(initial=0.0)) + abs(pricing.export_price_per_kwh) + wear
        saved += sum(month.weight_per_kw / month.interval_h for month in pricing.months)
        losses = 1.0 + self._scenario.surroundings.wiring_loss_share
        weight = DOMINANCE * max(saved * losses, LEAST_WEIGHT)
        cost[model.columns["power_kw"].span] = -weight * self._draws.hours * self._draws.stored_share
        return cost

    # ------------------------------------------------------------------ solving

    def solve(self) -> FloatArray:
        """Value of each column at the optimum."""
        cost = self._cost()
        for _ in range(MOST_ROUNDS):
            answer = SolverModel(self.model, cost).solve(time_limit_s=LONGEST_SOLVE_S)
            if not answer.has_values:
                raise PlanningFailed(f"the offline optimum was not found ({answer.end})")
            if not self._add_broken(answer.values):
                return answer.values
        raise PlanningFailed(f"the offline optimum still breaks limits of circuits after {MOST_ROUNDS} rounds")

    def _add_broken(self, values: FloatArray) -> bool:
        """Add the limits of circuits that a solution breaks, at all steps that could break them; whether any were.

        Adding them only where they are broken would drive the same load from step to step, round after round.
        """
        build = ModelBuilder.extending(self.model)
        broken = False
        columns, draws = self.model.columns["power_kw"], self._draws
        for name, weights, offset, limit in self._limits():
            share = weights * draws.hours / self._step_h
            above = limit + BROKEN_SHARE * np.maximum(1.0, limit)
            sums = np.bincount(draws.step, share * values[columns.span], minlength=draws.steps) + offset
            if not np.any((sums > above) & (offset < limit)):
                continue
            broken = True
            most_kw = np.maximum(share * draws.most_kw, share * draws.least_kw)
            greatest = np.bincount(draws.step, most_kw, minlength=draws.steps) + offset
            steps = np.flatnonzero((greatest > above) & (offset < limit))
            rows = build.add_rows(f"{name} {len(build.rows)}", "t", (steps,), -np.inf, (limit - offset)[steps])
            place = np.full(draws.steps, -1, dtype=np.int64)
            place[steps] = rows.indices
            held = place[draws.step] >= 0
            build.add_entries(place[draws.step[held]], columns.indices[held], share[held])
        if broken:
            self.model = build.finish()
        return broken

    def _limits(self) -> list[tuple[str, FloatArray, FloatArray, FloatArray]]:
        """Every limit of a circuit: name, weight of each draw, what flows besides, limit by step."""
        scenario, site = self._scenario, self._scenario.site
        root = site.grid_connection.circuit_id
        base_kw = self.building_kw - self.pv_kw
        nothing = np.zeros(self._draws.steps)
        losses = self._with_losses()
        limits = []
        for circuit in site.circuits:
            below = np.array(
                [circuit in site.circuits_above(site.evses[stay.evse_id].circuit_id) for stay in scenario.stays]
            )
            inside = below[self._draws.stay] if len(below) else np.zeros(0, dtype=bool)
            flows_kw = base_kw if circuit.id == root else nothing
            for limit_kw in self._power_limits_kw(circuit.id, circuit.limit_kw):
                weights = inside * (losses if circuit.id == root else 1.0)
                limits.append((f"{circuit.id} power", weights, flows_kw, limit_kw))
            if circuit.limit_a is not None:
                limits += self._current_limits(circuit.id, circuit.limit_a, inside, flows_kw)
        return limits

    def _power_limits_kw(self, circuit_id: str, limit_kw: float | None) -> list[FloatArray]:
        found = [] if limit_kw is None else [np.full(self._draws.steps, limit_kw)]
        root = self._scenario.site.grid_connection.circuit_id
        for event in self._scenario.grid_events:
            limits_power = event.kind in (GridEventKind.IMPORT_LIMIT, GridEventKind.CONTROLLABLE_LIMIT)
            at_root = event.circuit_id in (None, root)
            if not limits_power or circuit_id != (root if at_root else event.circuit_id):
                continue
            if at_root and event.kind is GridEventKind.IMPORT_LIMIT:
                continue
            values = [event.value_at(start) for start in self._pricing.boundaries[:-1]]
            found.append(np.array([np.inf if value is None else max(0.0, value) for value in values]))
        return found

    def _current_limits(
        self, circuit_id: str, limit_a: float, inside: NDArray[np.bool_], flows_kw: FloatArray
    ) -> list[tuple[str, FloatArray, FloatArray, FloatArray]]:
        """For each phase the lines that touch the circle of permitted currents."""
        scenario, site = self._scenario, self._scenario.site
        base = balanced_currents_a_per_kw(site)
        units = [
            unit_currents_a_per_kw(
                site.evses[stay.evse_id], min(site.evses[stay.evse_id].current_paths, stay.vehicle.phases_used)
            )
            for stay in scenario.stays
        ]
        unit: ComplexArray = np.array(units, dtype=np.complex128).reshape(-1, 3)[self._draws.stay]
        limit = np.full(self._draws.steps, limit_a)
        found = []
        for phase in range(3):
            for touching_deg in TOUCHING_DEG:
                turn = np.conj(base[phase]) / abs(base[phase]) * np.exp(-1j * np.deg2rad(touching_deg))
                weights = np.real(unit[:, phase] * turn) * inside
                offset = np.real(base[phase] * turn) * flows_kw
                found.append((f"{circuit_id} L{phase + 1}", weights, offset, limit))
        return found


def _course(scenario: Scenario, draws: _Draws, optimum: _OfflineProblem, values: FloatArray, spent: Spent) -> Course:
    model, step_h = optimum.model, scenario.step / timedelta(hours=1)
    energy_kwh = values[model.columns["power_kw"].span] * draws.hours
    delivered_kwh = np.bincount(draws.stay, energy_kwh * draws.stored_share, minlength=len(scenario.stays))
    given_back_kwh = np.bincount(draws.stay, np.maximum(0.0, -energy_kwh), minlength=len(scenario.stays))
    battery_kwh = np.zeros(draws.steps)
    if "battery_charge_kw" in model.columns:
        charge, discharge = model.columns["battery_charge_kw"], model.columns["battery_discharge_kw"]
        battery_kwh = (values[charge.span] - values[discharge.span]) * step_h
    drained_kwh = 0.0
    if "battery_kwh" in model.columns:
        content_kwh = values[model.columns["battery_kwh"].span]
        drained_kwh = float(content_kwh[0] - content_kwh[-1])
    series = StepSeries(
        start=scenario.start,
        step=scenario.step,
        charging_kwh=np.bincount(draws.step, energy_kwh, minlength=draws.steps).astype(np.float64),
        import_kwh=values[model.columns["grid_import_kw"].span] * step_h,
        export_kwh=values[model.columns["grid_export_kw"].span] * step_h,
        battery_kwh=battery_kwh,
        building_kwh=optimum.building_kw * step_h,
        pv_kwh=optimum.pv_kw * step_h,
    )
    return Course(
        strategy=OFFLINE_OPTIMUM,
        stays=tuple(
            _outcome(stay, float(delivered), float(given_back))
            for stay, delivered, given_back in zip(scenario.stays, delivered_kwh, given_back_kwh, strict=True)
        ),
        series=series,
        violations=(),
        planning=PlanningLog((scenario.start,), (spent.wall_s,)),
        setpoint_changes=0,
        spent=spent,
        until=scenario.start + draws.steps * scenario.step,
        is_complete=True,
        battery_drained_kwh=drained_kwh,
    )


def _outcome(stay: Stay, delivered_kwh: float, given_back_kwh: float) -> StayOutcome:
    session = stay.session
    said = session.statements[-1] if session.statements else None
    return StayOutcome(
        session.id,
        stay.evse_id,
        session.arrived_at,
        session.departed_at,
        session.delivered_kwh,
        delivered_kwh,
        said.energy_kwh if said else None,
        said.depart_at if said else None,
        pauses=0,
        given_back_kwh=given_back_kwh,
    )
