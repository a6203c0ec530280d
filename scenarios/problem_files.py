"""Charging problems from files that a person writes; the fields are those of `problem_sections`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import ceil, inf
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from connectors.documents import read_json
from connectors.sections import first_of, read_sections, section_errors
from optimizer.domain.ids import CircuitId, EvseId, SessionId, SiteId, StationId
from optimizer.domain.moment import Interval
from optimizer.domain.session import DepartureTarget, PriorityTier, Session, Vehicle
from optimizer.domain.site import Circuit, Evse, LimitSource
from optimizer.errors import InvalidDataFile, InvalidInput
from optimizer.planning.assemble import plan_prices
from optimizer.planning.needs import battery_of, modes_of, needs_of, stay_chances
from optimizer.planning.problem import BatteryState, ChargingProblem
from optimizer.planning.requests import (
    ChargingRequest,
    DemandTerm,
    LimitScope,
    PhaseMode,
    PowerLimit,
    SiteOutlook,
    UncontrolledLoad,
)
from optimizer.planning.settings import PlanningSettings, SlotRule
from optimizer.planning.slots import slot_boundaries, slot_means
from optimizer.planning.statement import charging_problem
from scenarios.problem_sections import (
    ChargedBatterySection,
    CourseSection,
    DemandChargeSection,
    PowerLimitSection,
    ProblemFile,
    VehicleSection,
)

ROOT = CircuitId("site")
"""Name of the root where the file describes no circuits."""


@dataclass(frozen=True, slots=True)
class StatedProblem:
    """A problem from a file, and how it is to be planned and shown."""

    problem: ChargingProblem
    """The problem."""
    settings: PlanningSettings
    """How to plan it."""
    currency: str
    """ISO 4217 code."""
    time_zone: str
    """IANA zone in which times are shown."""


def read_problem(path: Path) -> StatedProblem:
    """Read a problem from a JSON or YAML file.

    Raises:
        InvalidDataFile: The first thing that is wrong, with file, field, value and fix; whatever else is wrong is noted
            on it.
    """
    content = read_json(path) if path.suffix == ".json" else read_sections(path, InvalidDataFile, "start, vehicles")
    return stated_problem(content, str(path))


def stated_problem(content: Any, where: str = "(problem)") -> StatedProblem:
    """State a problem whose fields are those of a problem file.

    Args:
        content: The fields by name, as read from JSON.
        where: What errors name as the place.

    Raises:
        InvalidDataFile: As of `read_problem`.
    """
    try:
        document = ProblemFile.model_validate(content)
    except ValidationError as error:
        raise first_of(section_errors(error, where, InvalidDataFile)) from error
    except InvalidInput as error:
        # Checks of the planner's own settings, which name their section themselves.
        raise InvalidDataFile(error.field, error.value, error.fix, where=where) from error
    try:
        problem = _problem(document)
    except InvalidInput as error:
        raise InvalidDataFile(error.field, error.value, error.fix, where=where) from error
    return StatedProblem(problem, document.planning, document.currency, document.time_zone)


def _problem(document: ProblemFile) -> ChargingProblem:
    start = document.start.astimezone(UTC)
    minutes = ceil((document.until - document.start) / timedelta(minutes=1))
    boundaries = slot_boundaries(start, (SlotRule(document.slot_minutes, minutes),), _cuts(document))
    settings = document.planning
    circuits = _circuits(document)
    root = next((circuit.id for circuit in circuits if circuit.parent_id is None), ROOT)
    return charging_problem(
        SiteId(document.site_id),
        boundaries,
        [_request(place, vehicle, root, boundaries, settings) for place, vehicle in enumerate(document.vehicles)],
        circuits,
        _outlook(document, boundaries),
        limits=_limits(document, root, boundaries),
        loads=[
            UncontrolledLoad(
                CircuitId(load.circuit_id),
                tuple(_course(f"loads[{place}].power_kw", load.power_kw, boundaries)),
                PhaseMode(inf, load.phases, voltage_v=load.voltage_v),
            )
            for place, load in enumerate(document.loads)
        ],
        demand=[_demand(charge, boundaries) for charge in document.demand_charges],
        battery=_battery(document.battery) if document.battery else None,
        prices=plan_prices(settings),
    )


def _cuts(document: ProblemFile) -> list[datetime]:
    """Instants at which a slot must end: the edges of limits, and the end."""
    windows = [*document.limits, *(limit for vehicle in document.vehicles for limit in vehicle.power_limits)]
    edges = [edge for window in windows for edge in (window.start, window.end) if edge is not None]
    return [edge.astimezone(UTC) for edge in edges]


def _circuits(document: ProblemFile) -> list[Circuit]:
    if not document.circuits:
        return [Circuit(ROOT, None)]
    return [
        Circuit(
            CircuitId(section.id),
            CircuitId(section.parent_id) if section.parent_id else None,
            section.limit_a,
            section.limit_kw,
            section.limit_source,
            section.imbalance_limit_a,
        )
        for section in document.circuits
    ]


def _window(section: PowerLimitSection, boundaries: Sequence[datetime]) -> Interval:
    return Interval(section.start or boundaries[0], section.end or boundaries[-1])


def _limits(document: ProblemFile, root: CircuitId, boundaries: Sequence[datetime]) -> list[PowerLimit]:
    limits = []
    if document.import_limit_kw is not None:
        limits.append(PowerLimit(root, document.import_limit_kw, LimitSource.CONTRACT))
    if document.export_limit_kw is not None:
        limits.append(PowerLimit(root, document.export_limit_kw, LimitSource.CONTRACT, LimitScope.FEED))
    for section in document.limits:
        circuit = CircuitId(section.circuit_id) if section.circuit_id else root
        window = _window(section, boundaries)
        limits.append(PowerLimit(circuit, section.limit_kw, section.source, section.scope, window))
    return limits


def _course(field: str, course: CourseSection, boundaries: Sequence[datetime]) -> list[float]:
    """One number a slot; steps as means over the slot."""
    slots = len(boundaries) - 1
    numbers = [value for value in (*course.values, *(step.value for step in course.steps)) if value is not None]
    if len(numbers) < len(course.values) + len(course.steps):
        raise InvalidInput(field, None, "give a number; null has no meaning here")
    if course.steps:
        starts = [step.start.astimezone(UTC) for step in course.steps]
        end = max(boundaries[-1], starts[-1] + timedelta(days=1))
        return [float(mean) for mean in slot_means([*starts, end], numbers, boundaries)]
    if len(numbers) not in (1, slots):
        raise InvalidInput(field, f"{len(numbers)} numbers", f"give one number, {slots} numbers (one a slot), or steps")
    return numbers * slots if len(numbers) == 1 else numbers


def _holes(field: str, course: CourseSection, boundaries: Sequence[datetime]) -> tuple[float | None, ...]:
    """One number a slot, ``None`` where there is none; of steps the one in force when the slot begins."""
    slots = len(boundaries) - 1
    if course.steps:
        return tuple(
            next((step.value for step in reversed(course.steps) if step.start <= start), course.steps[0].value)
            for start in boundaries[:-1]
        )
    if len(course.values) not in (1, slots):
        fix = f"give one number, {slots} numbers or nulls (one a slot), or steps"
        raise InvalidInput(field, f"{len(course.values)} numbers", fix)
    return course.values * slots if len(course.values) == 1 else course.values


def _outlook(document: ProblemFile, boundaries: Sequence[datetime]) -> SiteOutlook:
    def course(name: str) -> list[float] | None:
        section: CourseSection | None = getattr(document, name)
        return None if section is None else _course(name, section, boundaries)

    setpoint = document.setpoint_kw
    return SiteOutlook(
        import_price_per_kwh=_course("import_price_per_kwh", document.import_price_per_kwh, boundaries),
        export_price_per_kwh=course("export_price_per_kwh"),
        building_kw=course("building_kw"),
        pv_kw=course("pv_kw"),
        carbon_kg_per_kwh=course("carbon_kg_per_kwh"),
        setpoint_kw=None if setpoint is None else _holes("setpoint_kw", setpoint, boundaries),
        pv_curtailable=document.pv_curtailable,
        pv_firm_share=document.pv_firm_share,
        building_phase_shares=document.planning.building_phase_shares,
    )


def _demand(section: DemandChargeSection, boundaries: Sequence[datetime]) -> DemandTerm:
    length = timedelta(minutes=section.interval_minutes)
    midnight = boundaries[0].replace(hour=0, minute=0, second=0, microsecond=0)
    start = boundaries[0] - (boundaries[0] - midnight) % length
    count = ceil((boundaries[-1] - start) / length)
    intervals = tuple(Interval(start + length * number, start + length * (number + 1)) for number in range(count))
    return DemandTerm(section.name, section.price_per_kw, section.reached_kw, intervals)


def _battery(section: ChargedBatterySection) -> BatteryState:
    return BatteryState(
        content_kwh=section.soc * section.capacity_kwh,
        capacity_kwh=section.capacity_kwh,
        min_kwh=section.min_soc * section.capacity_kwh,
        max_kwh=section.max_soc * section.capacity_kwh,
        max_charge_kw=section.max_charge_kw,
        max_discharge_kw=section.max_discharge_kw,
        charge_efficiency=section.charge_efficiency,
        discharge_efficiency=section.discharge_efficiency,
        wear_per_kwh=section.wear_price_per_kwh,
        end_price_per_kwh=section.end_price_per_kwh,
    )


def _request(
    place: int, section: VehicleSection, root: CircuitId, boundaries: tuple[datetime, ...], settings: PlanningSettings
) -> ChargingRequest:
    field = f"vehicles[{place}]"
    circuit = CircuitId(section.circuit_id) if section.circuit_id else root
    arrives = section.arrive_at.astimezone(UTC) if section.arrive_at else boundaries[0]
    session, evse = _session(field, section, arrives), _evse(field, section, circuit)
    needs = needs_of(session, max(arrives, boundaries[0]), settings)
    starts_left = settings.most_pauses + (0 if section.charging_now else 1)
    if not section.wakes_after_pause:
        starts_left = 0 if section.charging_now else 1
    promised_kwh = section.guaranteed_kwh
    if promised_kwh is None:
        promised_kwh = needs[-1].energy_kwh
    return ChargingRequest(
        session_id=session.id,
        evse_id=evse.id,
        circuit_id=circuit,
        modes=modes_of(evse, session, settings),
        needs=needs,
        arrive_at=session.plugged_in_at,
        tier=session.tier,
        delivered_kwh=section.delivered_kwh,
        battery=battery_of(session),
        guaranteed_kw=min(section.guaranteed_kw, evse.max_power_kw),
        guaranteed_kwh=promised_kwh,
        charging_now=section.charging_now,
        starts_left=starts_left,
        previous_kw=_holes(f"{field}.previous_kw", section.previous_kw, boundaries) if section.previous_kw else (),
        stay_chance=stay_chances(session, boundaries, settings),
        power_limits_kw=tuple((_window(limit, boundaries), limit.limit_kw) for limit in section.power_limits),
    )


def _evse(field: str, section: VehicleSection, circuit: CircuitId) -> Evse:
    try:
        return Evse(
            id=EvseId(section.id),
            station_id=StationId(section.id),
            ocpp_evse_id=1,
            circuit_id=circuit,
            max_current_a=section.max_current_a,
            phases=section.phases,
            wiring=section.wiring,
            voltage_v=section.voltage_v,
            min_current_a=section.min_current_a,
            current_step_a=section.current_step_a,
            phase_switching=section.phase_switching,
        )
    except InvalidInput as error:
        raise InvalidInput(f"{field}.{error.field.rpartition('.')[2]}", error.value, error.fix) from error


def _session(field: str, section: VehicleSection, arrives: datetime) -> Session:
    battery = section.battery
    if battery is None and any(target.soc is not None for target in section.targets):
        raise InvalidInput(f"{field}.battery", None, "give capacity_kwh and soc, since a target is a soc")
    vehicle = Vehicle(max_power_kw=section.max_power_kw, phases_used=section.phases_used)
    if battery is not None:
        vehicle = replace(
            vehicle,
            battery_kwh=battery.capacity_kwh,
            charge_efficiency=battery.charge_efficiency,
            knee_soc=battery.knee_soc,
            discharge_consent=battery.max_discharge_kw > 0,
            max_discharge_kw=battery.max_discharge_kw,
            discharge_floor_soc=battery.discharge_floor_soc,
        )
    targets = [
        DepartureTarget(target.depart_at.astimezone(UTC), target.energy_kwh, target.soc) for target in section.targets
    ]
    return Session(
        id=SessionId(section.id),
        site_id=SiteId(""),
        evse_id=EvseId(section.id),
        plugged_in_at=arrives,
        vehicle=vehicle,
        targets=tuple(sorted(targets, key=lambda target: target.depart_at)),
        tier=PriorityTier(section.priority),
        energy_kwh=section.delivered_kwh,
        soc=battery.soc if battery else None,
    )
