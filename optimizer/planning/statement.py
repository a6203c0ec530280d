"""From plain descriptions to the arrays of a charging problem."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.domain.ids import CircuitId, SiteId
from optimizer.domain.moment import Interval, hours_between, require_utc
from optimizer.domain.site import ALL_PHASES, Circuit, Wiring
from optimizer.errors import InvalidInput
from optimizer.planning.attainable import attainable_kwh, takes_any_kwh
from optimizer.planning.problem import (
    LATER_SHARE,
    LIMIT_SOURCES,
    NO_NEED_KWH,
    BatteryState,
    BoolArray,
    ChargingProblem,
    CircuitArrays,
    DemandArrays,
    FloatArray,
    IntArray,
    ModeArrays,
    SessionArrays,
    SupplyArrays,
    TargetArrays,
)
from optimizer.planning.requests import (
    ChargingRequest,
    DemandTerm,
    EnergyNeed,
    LimitScope,
    PhaseMode,
    PlanPrices,
    PowerLimit,
    SiteOutlook,
    UncontrolledLoad,
    VehicleBattery,
)
from optimizer.planning.slots import hours_from

PIECE_H = 0.25
"""A vehicle that runs in a longer slot runs at least this long at its minimum, so the mean may be lower [h]."""


@dataclass(frozen=True)
class _Grid:
    """The slots in hours from now, and the circuits by name."""

    boundaries: tuple[datetime, ...]
    edges_h: FloatArray
    circuit_index: Mapping[CircuitId, int] = field(default_factory=dict)

    @property
    def slot_count(self) -> int:
        return len(self.boundaries) - 1

    @cached_property
    def slot_h(self) -> FloatArray:
        return np.diff(self.edges_h)

    @cached_property
    def longest_slot_h(self) -> float:
        return float(self.slot_h.max())

    def hours(self, instant: datetime) -> float:
        return hours_between(self.boundaries[0], instant)

    def hours_of(self, instants: Iterable[datetime]) -> FloatArray:
        return hours_from(self.boundaries[0], instants)

    def overlap_h(self, start: datetime | None, end: datetime | None) -> FloatArray:
        """Hours of each slot in ``[start, end)``, shape (slots,)."""
        return np.asarray(self.overlaps_h([(start, end)])[0])

    def overlaps_h(self, spans: Sequence[tuple[datetime | None, datetime | None]]) -> FloatArray:
        """Hours of each slot in each of several ``[start, end)``, shape (spans, slots)."""
        low = np.array([0.0 if start is None else self.hours(start) for start, _ in spans])[:, np.newaxis]
        high = np.array([inf if end is None else self.hours(end) for _, end in spans])[:, np.newaxis]
        inside = np.minimum(self.edges_h[1:], high) - np.maximum(self.edges_h[:-1], low)
        return np.asarray(np.maximum(0.0, inside))

    def circuit(self, where: str, circuit_id: CircuitId) -> int:
        if circuit_id not in self.circuit_index:
            raise InvalidInput(where, circuit_id, f"name one of the circuits {sorted(self.circuit_index)}")
        return self.circuit_index[circuit_id]


NO_BATTERY = VehicleBattery(0.0, 0.0)
"""Of a vehicle whose battery is not modelled."""

NO_PRICES = PlanPrices()
"""Nothing but energy has a price."""


def charging_problem(
    site_id: SiteId,
    boundaries: Sequence[datetime],
    requests: Sequence[ChargingRequest],
    circuits: Sequence[Circuit],
    outlook: SiteOutlook,
    *,
    limits: Sequence[PowerLimit] = (),
    loads: Sequence[UncontrolledLoad] = (),
    demand: Sequence[DemandTerm] = (),
    battery: BatteryState | None = None,
    prices: PlanPrices = NO_PRICES,
) -> ChargingProblem:
    """Return the problem that these descriptions state.

    Args:
        site_id: Which site.
        boundaries: N+1 rising instants [UTC].
        requests: Vehicles present and to come.
        circuits: The tree of fuses.
        outlook: Building, PV and prices, one value a slot.
        limits: Further limits: contract, grid events.
        loads: Loads below circuits that the plan does not decide.
        demand: Demand charges.
        battery: Stationary battery.
        prices: Prices of things other than energy.

    Raises:
        InvalidInput: A value cannot be used; the text names field, value and fix.
    """
    grid = _grid_of(boundaries, circuits)
    modes = _modes(grid, requests)
    return ChargingProblem(
        site_id=site_id,
        boundaries=grid.boundaries,
        sessions=_with_attainable_energy(_sessions(grid, requests), modes),
        modes=modes,
        targets=_targets(grid, requests),
        circuits=_circuits(grid, circuits, limits, loads, outlook),
        supply=_supply(grid, outlook),
        demand=_demand(grid, demand),
        battery=battery,
        carbon_price_per_kg=prices.carbon_price_per_kg,
        setpoint_price_per_kwh=prices.setpoint_price_per_kwh,
        energy_worth_per_kwh=prices.energy_worth_per_kwh,
        delay_price_per_kwh_h=prices.delay_price_per_kwh_h,
        start_price=prices.start_price,
        min_run_h=prices.min_run_h,
    )


def _grid_of(boundaries: Sequence[datetime], circuits: Sequence[Circuit]) -> _Grid:
    utc = tuple(require_utc("boundaries", boundary) for boundary in boundaries)
    if len(utc) < 2:
        raise InvalidInput("boundaries", len(utc), "give two or more rising instants")
    edges_h = hours_from(utc[0], utc)
    return _Grid(utc, edges_h, {circuit.id: index for index, circuit in enumerate(_parents_first(circuits))})


def _parents_first(circuits: Sequence[Circuit]) -> list[Circuit]:
    """The circuits so that each stands after the one that feeds it."""
    children: dict[CircuitId | None, list[Circuit]] = {}
    for circuit in circuits:
        children.setdefault(circuit.parent_id, []).append(circuit)
    ordered = list(children.get(None, []))
    for circuit in ordered:
        ordered.extend(children.get(circuit.id, []))
    if len(children.get(None, [])) != 1 or len(ordered) != len(circuits):
        raise InvalidInput("circuits", [circuit.id for circuit in circuits], "give one tree with one root")
    return ordered


def _least_run_kwh(grid: _Grid, request: ChargingRequest) -> float:
    """Energy of one shortest run at the minimum, which a vehicle may get beyond its need [kWh]."""
    least_kw = min((mode.min_current_a * mode.kw_per_a for mode in request.modes), default=0.0)
    return least_kw * min(PIECE_H, grid.longest_slot_h)


def _sessions(grid: _Grid, requests: Sequence[ChargingRequest]) -> SessionArrays:
    slots = grid.slot_count
    batteries = [request.battery or NO_BATTERY for request in requests]
    previous = [request.previous_kw or (None,) * slots for request in requests]
    most = [
        request.most_kwh
        if request.most_kwh is not None
        else max((need.energy_kwh for need in request.needs), default=0.0) + _least_run_kwh(grid, request)
        for request in requests
    ]
    per_slot = (len(requests), slots)
    return SessionArrays(
        ids=tuple(request.session_id for request in requests),
        evse_ids=tuple(request.evse_id for request in requests),
        circuit=np.array(
            [grid.circuit(f"requests.{request.session_id}.circuit_id", request.circuit_id) for request in requests],
            dtype=np.int64,
        ),
        tier=np.array([int(request.tier) for request in requests], dtype=np.int64),
        arrive_h=np.array(
            [0.0 if request.arrive_at is None else grid.hours(request.arrive_at) for request in requests]
        ),
        plugged_h=grid.overlaps_h([(request.arrive_at, request.leaves_at) for request in requests]),
        most_kwh=np.array(most),
        delivered_kwh=np.array([request.delivered_kwh for request in requests]),
        stay_chance=_rows([request.stay_chance or (1.0,) * slots for request in requests], per_slot),
        guaranteed_kw=np.array([request.guaranteed_kw for request in requests]),
        guaranteed_kwh=np.array([request.guaranteed_kwh for request in requests]),
        stored_kwh=np.array([battery.stored_kwh for battery in batteries]),
        capacity_kwh=np.array([battery.capacity_kwh for battery in batteries]),
        charge_efficiency=np.array([battery.charge_efficiency for battery in batteries]),
        knee_kwh=np.array([_knee_kwh(battery) for battery in batteries]),
        knee_kw=np.array([_greatest_kw(request) for request in requests]),
        most_discharge_kw=np.array([battery.max_discharge_kw for battery in batteries]),
        discharge_efficiency=np.array([battery.discharge_efficiency for battery in batteries]),
        discharge_floor_kwh=np.array([battery.discharge_floor_soc * battery.capacity_kwh for battery in batteries]),
        discharge_wear_per_kwh=np.array([battery.discharge_wear_per_kwh for battery in batteries]),
        charging_now=np.array([request.charging_now for request in requests], dtype=bool),
        run_so_far_h=np.array([request.run_so_far_h for request in requests]),
        starts_left=np.array([request.starts_left for request in requests], dtype=np.int64),
        previous_kw=_rows([[kw or 0.0 for kw in row] for row in previous], per_slot),
        has_previous=_rows([[kw is not None for kw in row] for row in previous], per_slot),
    )


def _with_attainable_energy(sessions: SessionArrays, modes: ModeArrays) -> SessionArrays:
    """The sessions with no more to plan than minimum currents let them take.

    Of several modes, of discharging and of a taper nothing is known here; those sessions stay as they are.
    """
    most = np.array(sessions.most_kwh)
    alone = np.bincount(modes.session, minlength=sessions.count) == 1
    free = alone & ~np.isfinite(sessions.knee_kwh) & (sessions.most_discharge_kw == 0)
    hours = sessions.plugged_h[modes.session]
    least_kwh, greatest_kwh = modes.min_kw * hours, modes.max_kw * hours
    doubtful = free[modes.session] & ~takes_any_kwh(least_kwh, greatest_kwh, most[modes.session])
    for mode in np.flatnonzero(doubtful).tolist():
        session = modes.session[mode]
        most[session] = attainable_kwh(least_kwh[mode], greatest_kwh[mode], float(most[session]))
    return replace(sessions, most_kwh=most)


def _rows(rows: Sequence[NDArray[Any]] | Sequence[Sequence[float]], shape: tuple[int, int]) -> NDArray[Any]:
    return np.array(rows) if rows else np.zeros(shape)


def _knee_kwh(battery: VehicleBattery) -> float:
    return inf if battery.knee_soc is None else battery.knee_soc * battery.capacity_kwh


def _greatest_kw(request: ChargingRequest) -> float:
    """Power that the vehicle accepts below its knee [kW]."""
    return max((min(mode.max_current_a * mode.kw_per_a, mode.max_power_kw) for mode in request.modes), default=0.0)


def _modes(grid: _Grid, requests: Sequence[ChargingRequest]) -> ModeArrays:
    pairs = [(index, request, mode) for index, request in enumerate(requests) for mode in request.modes]
    shape = (len(pairs), grid.slot_count)
    mean_share = np.minimum(1.0, PIECE_H / grid.slot_h)
    min_kw = _rows([mode.min_current_a * mode.kw_per_a * mean_share for _, _, mode in pairs], shape)
    max_kw = _rows([_power_bound(grid, request, mode) for _, request, mode in pairs], shape)
    return ModeArrays(
        session=np.array([index for index, _, _ in pairs], dtype=np.int64),
        on_phase=np.array([[phase in mode.phases for phase in ALL_PHASES] for _, _, mode in pairs], dtype=bool).reshape(
            len(pairs), 3
        ),
        line_to_line=np.array([mode.wiring is Wiring.LINE_TO_LINE for _, _, mode in pairs], dtype=bool),
        amps_per_kw=np.array([1.0 / mode.kw_per_a for _, _, mode in pairs]),
        min_kw=min_kw,
        max_kw=np.where(max_kw + 1e-9 >= min_kw, max_kw, 0.0),
        step_kw=np.array([mode.current_step_a * mode.kw_per_a for _, _, mode in pairs]),
        vehicle_bound=_rows(
            [np.full(grid.slot_count, mode.max_power_kw < mode.max_current_a * mode.kw_per_a) for _, _, mode in pairs],
            shape,
        ),
    )


def _power_bound(grid: _Grid, request: ChargingRequest, mode: PhaseMode) -> FloatArray:
    """Greatest power of one mode in each slot [kW], shape (slots,)."""
    bound = np.full(grid.slot_count, min(mode.max_current_a * mode.kw_per_a, mode.max_power_kw))
    for window, limit_kw in request.power_limits_kw:
        touched = grid.overlap_h(window.start, window.end) > 0
        bound[touched] = np.minimum(bound[touched], limit_kw)
    return bound


def _targets(grid: _Grid, requests: Sequence[ChargingRequest]) -> TargetArrays:
    pairs = [(index, request, need) for index, request in enumerate(requests) for need in request.needs]
    counted = []
    for _, request, need in pairs:
        leaves_at = request.leaves_at
        until = need.by if leaves_at is None else min(need.by, leaves_at)
        counted.append((request.arrive_at, until))
    return TargetArrays(
        session=np.array([index for index, _, _ in pairs], dtype=np.int64),
        depart_at=tuple(need.by for _, _, need in pairs),
        need_kwh=np.array([need.energy_kwh if need.energy_kwh > NO_NEED_KWH else 0.0 for _, _, need in pairs]),
        later_kwh=np.array([_later_kwh(grid, request, need) for _, request, need in pairs]),
        counted_h=grid.overlaps_h(counted),
    )


def _later_kwh(grid: _Grid, request: ChargingRequest, need: EnergyNeed) -> float:
    """What a vehicle that stays longer than the horizon may be given after it [kWh]."""
    leaves_at = request.leaves_at
    until = need.by if leaves_at is None else min(need.by, leaves_at)
    from_then = max(grid.boundaries[-1], request.arrive_at or grid.boundaries[0])
    if until <= from_then:
        return 0.0
    return LATER_SHARE * _greatest_kw(request) * hours_between(from_then, until)


def _circuits(
    grid: _Grid,
    circuits: Sequence[Circuit],
    limits: Sequence[PowerLimit],
    loads: Sequence[UncontrolledLoad],
    outlook: SiteOutlook,
) -> CircuitArrays:
    ordered = _parents_first(circuits)
    shape = (len(ordered), grid.slot_count)
    bounds = {scope: np.full(shape, inf) for scope in LimitScope}
    sources = {scope: np.zeros(shape, dtype=np.int64) for scope in LimitScope}
    own = [
        PowerLimit(circuit.id, circuit.limit_kw, circuit.limit_source)
        for circuit in ordered
        if circuit.limit_kw is not None
    ]
    for limit in (*own, *limits):
        row = grid.circuit("limits.circuit_id", limit.circuit_id)
        window = limit.window
        touched = grid.overlap_h(window.start, window.end) > 0 if window else np.ones(grid.slot_count, dtype=bool)
        tighter = touched & (limit.limit_kw < bounds[limit.scope][row])
        bounds[limit.scope][row, tighter] = limit.limit_kw
        sources[limit.scope][row, tighter] = LIMIT_SOURCES.index(limit.source)
    uncontrolled_kw, uncontrolled_a = _uncontrolled(grid, ordered, loads, outlook)
    return CircuitArrays(
        ids=tuple(circuit.id for circuit in ordered),
        parent=np.array(
            [-1 if circuit.parent_id is None else grid.circuit_index[circuit.parent_id] for circuit in ordered]
        ),
        limit_a=np.array([inf if circuit.limit_a is None else circuit.limit_a for circuit in ordered]),
        imbalance_limit_a=np.array(
            [inf if circuit.imbalance_limit_a is None else circuit.imbalance_limit_a for circuit in ordered]
        ),
        limit_kw=bounds[LimitScope.LOAD],
        limit_source=sources[LimitScope.LOAD],
        controllable_limit_kw=bounds[LimitScope.CONTROLLABLE],
        controllable_source=sources[LimitScope.CONTROLLABLE],
        feed_limit_kw=bounds[LimitScope.FEED],
        feed_source=sources[LimitScope.FEED],
        uncontrolled_kw=uncontrolled_kw,
        uncontrolled_a=uncontrolled_a,
    )


def _uncontrolled(
    grid: _Grid, ordered: Sequence[Circuit], loads: Sequence[UncontrolledLoad], outlook: SiteOutlook
) -> tuple[FloatArray, FloatArray]:
    """Uncontrolled load on each circuit and below: power (circuits, slots), current (circuits, phases, slots)."""
    power = np.zeros((len(ordered), grid.slot_count))
    current = np.zeros((len(ordered), 3, grid.slot_count))
    building = np.array(outlook.building_kw if outlook.building_kw is not None else np.zeros(grid.slot_count))
    if building.shape != (grid.slot_count,):
        raise InvalidInput("outlook.building_kw", building.shape, f"give {grid.slot_count} values, one a slot")
    power[0] += building
    shares = np.array(outlook.building_phase_shares)
    current[0] += np.outer(shares, np.maximum(building, 0.0)) * 1000.0 / outlook.phase_voltage_v
    for load in loads:
        row: int = grid.circuit("loads.circuit_id", load.circuit_id)
        load_kw = np.array(load.power_kw)
        on_phase = np.array([phase in load.mode.phases for phase in ALL_PHASES], dtype=float)
        while row >= 0:
            power[row] += load_kw
            current[row] += np.outer(on_phase, np.maximum(load_kw, 0.0)) / load.mode.kw_per_a
            parent_id = ordered[row].parent_id
            row = -1 if parent_id is None else grid.circuit_index[parent_id]
    return power, current


def _supply(grid: _Grid, outlook: SiteOutlook) -> SupplyArrays:
    none = np.zeros(grid.slot_count)
    setpoints = outlook.setpoint_kw if outlook.setpoint_kw is not None else (None,) * grid.slot_count
    return SupplyArrays(
        building_kw=np.array(none if outlook.building_kw is None else outlook.building_kw),
        pv_kw=np.array(none if outlook.pv_kw is None else outlook.pv_kw),
        import_price_per_kwh=np.array(outlook.import_price_per_kwh),
        export_price_per_kwh=np.array(none if outlook.export_price_per_kwh is None else outlook.export_price_per_kwh),
        carbon_kg_per_kwh=np.array(none if outlook.carbon_kg_per_kwh is None else outlook.carbon_kg_per_kwh),
        setpoint_kw=np.array([kw or 0.0 for kw in setpoints]),
        has_setpoint=np.array([kw is not None for kw in setpoints], dtype=bool),
        pv_curtailable=outlook.pv_curtailable,
        pv_firm_share=outlook.pv_firm_share,
        phase_voltage_v=outlook.phase_voltage_v,
    )


@dataclass(frozen=True)
class _Metering:
    """Metering intervals against the slots; of those inside one slot, one speaks for all."""

    kept: IntArray
    """Places of the intervals that speak, shape (kept,)."""
    share: FloatArray
    """Part of each that a slot fills, shape (kept, slots)."""
    running_h: FloatArray
    """Length of the interval that runs now, endless for the others, shape (kept,) [h]."""

    @classmethod
    def of(cls, grid: _Grid, intervals: Sequence[Interval]) -> _Metering:
        """The intervals, or each slot by itself where there are none."""
        if intervals:
            starts_h = grid.hours_of([interval.start for interval in intervals])
            ends_h = grid.hours_of([interval.end for interval in intervals])
        else:
            starts_h, ends_h = grid.edges_h[:-1], grid.edges_h[1:]
        kept = np.flatnonzero(_apart(grid, starts_h, ends_h))
        first_h, last_h = starts_h[kept, np.newaxis], ends_h[kept, np.newaxis]
        inside_h = np.minimum(grid.edges_h[1:], last_h) - np.maximum(grid.edges_h[:-1], first_h)
        length_h = last_h - first_h
        runs_now = (first_h <= 0.0) & (last_h > 0.0)
        return cls(kept, np.maximum(0.0, inside_h) / length_h, np.where(runs_now, length_h, inf)[:, 0])

    def metered_kw(self, term: DemandTerm) -> FloatArray:
        """Part of each interval's mean that is metered, or expected of vehicles still to come [kW], shape (kept,)."""
        # Of intervals that one row speaks for, the one in which most is expected counts.
        expected_kw = np.maximum.reduceat(term.expected_kw, self.kept) if len(term.expected_kw) else 0.0
        return np.asarray(term.metered_kwh / self.running_h + expected_kw)


def _demand(grid: _Grid, terms: Sequence[DemandTerm]) -> DemandArrays:
    metering: list[_Metering] = []
    for before, term in zip((None, *terms), terms, strict=False):
        # The parts of one charge have the very same intervals.
        is_same = before is not None and before.intervals is term.intervals
        metering.append(metering[-1] if is_same else _Metering.of(grid, term.intervals))
    metered_kw = [one.metered_kw(term) for one, term in zip(metering, terms, strict=True)]
    none = np.zeros((0, grid.slot_count))
    return DemandArrays(
        names=tuple(term.name for term in terms),
        price_per_kw=np.array([term.price_per_kw for term in terms]),
        reached_kw=np.array([term.reached_kw for term in terms]),
        charge=np.repeat(np.arange(len(terms)), np.array([len(one.kept) for one in metering], dtype=np.int64)),
        slot_share=np.concatenate([none, *(one.share for one in metering)]),
        metered_kw=np.concatenate([none[:, 0], *metered_kw]),
    )


def _apart(grid: _Grid, starts_h: FloatArray, ends_h: FloatArray) -> BoolArray:
    """Which metering intervals differ: of those inside one slot each has that slot's mean, so one says it for all."""
    first = np.searchsorted(grid.edges_h, starts_h, side="right")
    last = np.searchsorted(grid.edges_h, ends_h, side="left")
    within = first == last
    repeats = within[1:] & within[:-1] & (first[1:] == first[:-1]) & (starts_h[:-1] > 0.0)
    return np.concatenate(([True], ~repeats))
