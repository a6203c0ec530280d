"""From a snapshot of the site to a charging problem."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from math import inf
from types import MappingProxyType

import numpy as np

from optimizer.domain.charger import Connector, ConnectorStatus, LimitState
from optimizer.domain.event import GridEvent, GridEventKind, GridEventStatus
from optimizer.domain.ids import EvseId, SessionId
from optimizer.domain.moment import Interval
from optimizer.domain.plan import Plan
from optimizer.domain.reservation import Reservation, ReservationStatus
from optimizer.domain.session import Session
from optimizer.domain.site import Evse, LimitSource
from optimizer.domain.snapshot import DemandState, SiteSnapshot
from optimizer.planning.demand_terms import demand_terms
from optimizer.planning.needs import battery_of, modes_of, most_energy_kwh, needs_of, stay_chances
from optimizer.planning.problem import BatteryState, ChargingProblem, FloatArray
from optimizer.planning.requests import (
    ChargingRequest,
    EnergyNeed,
    LimitScope,
    PhaseMode,
    PlanPrices,
    PowerLimit,
    SiteOutlook,
    UncontrolledLoad,
)
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.slots import slot_boundaries, slot_means
from optimizer.planning.statement import charging_problem

CHARGING_KW = 0.5
"""Metered power from which a vehicle counts as charging [kW]; standby and heating of the pack stay below."""

NOTHING_FIXED: Mapping[EvseId, float] = MappingProxyType({})


def problem_from_snapshot(
    snapshot: SiteSnapshot, settings: PlanningSettings, *, fixed_kw: Mapping[EvseId, float] = NOTHING_FIXED
) -> ChargingProblem:
    """Return the problem that a snapshot states.

    Args:
        snapshot: What one control step knows.
        settings: The operator's choices.
        fixed_kw: Connectors whose draw the plan may not change, with what they may draw [kW].

    What `fixed_kw` names, and a connector that is offline or out of order, counts as an uncontrolled load at the most
    it may draw; its session is not planned. Whether a station that did not take a limit may be told again is said by
    control, in `fixed_kw`.
    """
    events = [event for event in snapshot.grid_events if event.status is not GridEventStatus.CANCELLED]
    edges = [edge for event in events for part in event.intervals for edge in (part.interval.start, part.interval.end)]
    boundaries = slot_boundaries(snapshot.at, settings.slot_rules, edges)
    blind = blind_powers_kw(snapshot, fixed_kw)
    requests = _present(snapshot, settings, boundaries, blind) + _reserved(snapshot, boundaries, blind)
    return charging_problem(
        snapshot.site.id,
        boundaries,
        requests,
        snapshot.site.circuits,
        _outlook(snapshot, settings, boundaries, events),
        limits=_limits(snapshot, events),
        loads=_loads(snapshot, settings, boundaries, blind),
        demand=demand_terms(snapshot, settings, boundaries, requests),
        battery=_battery(snapshot, settings, boundaries),
        prices=plan_prices(settings, snapshot.demand),
    )


def plan_prices(settings: PlanningSettings, demand: Iterable[DemandState] = ()) -> PlanPrices:
    """Return the prices of things other than energy that an operator's choices and the demand charges state."""
    peak_price = max((float(state.charge.price_per_kw) for state in demand), default=0.0)
    return PlanPrices(
        carbon_price_per_kg=settings.carbon_price_per_kg,
        setpoint_price_per_kwh=settings.setpoint_price_per_kwh,
        energy_worth_per_kwh=settings.energy_worth_per_kwh if settings.departure_care > 0 else 0.0,
        delay_price_per_kwh_h=max(settings.front_load_per_kwh_h, settings.front_load_demand_share * peak_price),
        start_price=settings.start_price,
        min_run_h=settings.minimum_run_minutes / 60.0,
    )


def blind_powers_kw(snapshot: SiteSnapshot, fixed_kw: Mapping[EvseId, float]) -> dict[EvseId, float]:
    """Return the connectors that cannot be controlled now, each with the most it may draw [kW]."""
    blind = dict(fixed_kw)
    for connector in snapshot.connectors:
        evse = snapshot.site.evses.get(connector.evse_id)
        if evse is not None and connector.evse_id not in blind and not _follows(connector):
            blind[connector.evse_id] = _most_drawn_kw(connector, evse, snapshot.at)
    return blind


def _follows(connector: Connector) -> bool:
    """Whether the station is in contact and in order."""
    return connector.online and connector.status not in (ConnectorStatus.FAULTED, ConnectorStatus.UNAVAILABLE)


def _most_drawn_kw(connector: Connector, evse: Evse, now: datetime) -> float:
    """The most that a connector out of control may draw: its limit in force, else its safe default, else its fuse."""
    if connector.status in (ConnectorStatus.FAULTED, ConnectorStatus.UNAVAILABLE) and connector.session_id is None:
        return 0.0
    setpoint = connector.setpoint
    default_kw = evse.max_power_kw if connector.safe_default_kw is None else connector.safe_default_kw
    if setpoint is None:
        return min(default_kw, evse.max_power_kw)
    known_kw = max(setpoint.limit_at_kw(now), setpoint.periods[-1].limit_kw)
    if setpoint.state in (LimitState.ACCEPTED, LimitState.VERIFIED):
        return min(max(known_kw, default_kw if connector.session_id is None else 0.0), evse.max_power_kw)
    return min(max(known_kw, setpoint.bound_before_kw), evse.max_power_kw)


def _present(
    snapshot: SiteSnapshot, settings: PlanningSettings, boundaries: tuple[datetime, ...], blind: Mapping[EvseId, float]
) -> list[ChargingRequest]:
    connectors = {connector.evse_id: connector for connector in snapshot.connectors}
    promises = {reservation.id: reservation for reservation in snapshot.reservations}
    previous = previous_powers_kw(snapshot.previous_plan, boundaries)
    requests = []
    for session in snapshot.sessions:
        evse = snapshot.site.evses.get(session.evse_id)
        if evse is None or not session.is_active or session.evse_id in blind:
            continue
        promise = promises.get(session.reservation_id) if session.reservation_id is not None else None
        connector, previous_kw = connectors.get(session.evse_id), previous.get(session.id, ())
        requests.append(_request(session, evse, connector, promise, snapshot, settings, boundaries, previous_kw))
    return requests


def _request(
    session: Session,
    evse: Evse,
    connector: Connector | None,
    promise: Reservation | None,
    snapshot: SiteSnapshot,
    settings: PlanningSettings,
    boundaries: tuple[datetime, ...],
    previous_kw: tuple[float | None, ...],
) -> ChargingRequest:
    bound = connector.external_bound(snapshot.at) if connector is not None else None
    open_phases = connector.open_phases if connector is not None else None
    modes = modes_of(evse, session, settings, inf if bound is None else bound[0], open_phases)
    most_kw = max(min(mode.max_power_kw, mode.max_current_a * mode.kw_per_a) for mode in modes)
    needs = needs_of(session, snapshot.at, settings, most_kw)
    charging = _is_charging(connector)
    if not session.may_charge:
        needs = tuple(EnergyNeed(need.by, 0.0) for need in needs)
    return ChargingRequest(
        session_id=session.id,
        evse_id=evse.id,
        circuit_id=evse.circuit_id,
        modes=modes,
        needs=needs,
        arrive_at=session.plugged_in_at,
        most_kwh=most_energy_kwh(session, needs, modes, snapshot.at, settings) if session.may_charge else 0.0,
        tier=session.tier,
        delivered_kwh=max(0.0, session.energy_kwh),
        battery=battery_of(session),
        guaranteed_kw=promise.guaranteed_power_kw if promise else 0.0,
        guaranteed_kwh=max(0.0, promise.energy_kwh - session.energy_kwh) if promise else 0.0,
        charging_now=charging,
        run_so_far_h=_run_so_far_h(session, snapshot.at) if charging else 0.0,
        starts_left=_starts_left(session, settings, charging=charging),
        previous_kw=previous_kw,
        stay_chance=stay_chances(session, boundaries, settings),
    )


def _is_charging(connector: Connector | None) -> bool:
    if connector is None or connector.last_sample is None or connector.last_sample.power_kw is None:
        return connector is not None and connector.status is ConnectorStatus.CHARGING
    return connector.last_sample.power_kw >= CHARGING_KW


def _run_so_far_h(session: Session, now: datetime) -> float:
    begun = max([session.transaction_begun_at or session.plugged_in_at, *(pause.end for pause in session.paused)])
    return max(0.0, (now - begun) / timedelta(hours=1))


def _starts_left(session: Session, settings: PlanningSettings, *, charging: bool) -> int:
    """Starts still permitted: each needs a pause before it, but for the first of a vehicle that does not charge yet."""
    first = 0 if charging else 1
    if not session.vehicle.wakes_after_pause:
        return first
    return max(0, settings.most_pauses - session.pauses) + first


def previous_powers_kw(
    plan: Plan | None, boundaries: tuple[datetime, ...]
) -> dict[SessionId, tuple[float | None, ...]]:
    """What the plan in force says for its sessions, one value a slot [kW]; empty where it says nothing.

    In the first slot it is the command in force where the vehicle charges, even where the plan meant to change it now:
    that is weighed anew, or a plan's uneven course would be followed for its own sake. Of a vehicle that is to start
    now it says nothing, so that nothing speaks against the start.
    """
    if plan is None or not plan.sessions:
        return {}
    means = slot_means(plan.boundaries, [session.power_kw for session in plan.sessions], boundaries)
    known = sum(end <= plan.boundaries[-1] for end in boundaries[1:])
    unknown: list[float | None] = [None] * (len(boundaries) - 1 - known)
    rows: list[list[float | None]] = [[*row[:known].tolist(), *unknown] for row in means]
    begun = sum(start < boundaries[0] for start in plan.boundaries[:-1])
    for session, says in zip(plan.sessions, rows, strict=True):
        if begun and says[0] is not None:
            in_force_kw = session.power_kw[begun - 1]
            starts_now = in_force_kw <= 0.0 < says[0]
            says[0] = None if starts_now else in_force_kw
    return {session.session_id: tuple(says) for session, says in zip(plan.sessions, rows, strict=True)}


def _reserved(
    snapshot: SiteSnapshot, boundaries: tuple[datetime, ...], blind: Mapping[EvseId, float]
) -> list[ChargingRequest]:
    """Requests of the vehicles that reservations announce, each at its booked EVSE or the one that fits best."""
    present = {session.reservation_id for session in snapshot.sessions}
    taken: dict[EvseId, list[Interval]] = {}
    for session in snapshot.sessions:
        if session.is_active:
            leaves = max(session.depart_at or snapshot.at, snapshot.at) + timedelta(minutes=1)
            taken.setdefault(session.evse_id, []).append(Interval(snapshot.at, leaves))
    requests = []
    for reservation in sorted(snapshot.reservations, key=lambda item: item.window.start):
        window = reservation.window
        over = window.end <= snapshot.at or window.start >= boundaries[-1]
        if reservation.status is not ReservationStatus.RESERVED or over or reservation.id in present:
            continue
        evse = _place_for(snapshot, reservation, taken, blind)
        if evse is not None:
            taken.setdefault(evse.id, []).append(window)
            requests.append(_reserved_request(reservation, evse, snapshot.at))
    return requests


def _place_for(
    snapshot: SiteSnapshot,
    reservation: Reservation,
    taken: Mapping[EvseId, list[Interval]],
    blind: Mapping[EvseId, float],
) -> Evse | None:
    evses = snapshot.site.evses
    if reservation.evse_id is not None:
        return evses.get(reservation.evse_id)

    def clash_h(evse: Evse) -> float:
        return sum(window.overlap_h(reservation.window) for window in taken.get(evse.id, []))

    open_places = [evse for evse in evses.values() if evse.id not in blind]
    return min(open_places, key=lambda evse: (clash_h(evse), -evse.max_power_kw, evse.id), default=None)


def _reserved_request(reservation: Reservation, evse: Evse, now: datetime) -> ChargingRequest:
    window = reservation.window
    promised_kwh = reservation.energy_kwh
    if promised_kwh <= 0:
        promised_kwh = reservation.guaranteed_power_kw * window.duration_h
    return ChargingRequest(
        session_id=SessionId(reservation.id),
        evse_id=evse.id,
        circuit_id=evse.circuit_id,
        modes=(
            PhaseMode(
                max_current_a=evse.max_current_a,
                phases=evse.phases,
                wiring=evse.wiring,
                voltage_v=evse.voltage_v,
                min_current_a=evse.min_current_a,
                current_step_a=evse.current_step_a,
            ),
        ),
        needs=(EnergyNeed(window.end, promised_kwh),),
        arrive_at=max(window.start, now),
        depart_at=window.end,
        tier=reservation.tier,
        guaranteed_kw=min(reservation.guaranteed_power_kw, evse.max_power_kw),
        guaranteed_kwh=promised_kwh,
    )


def _outlook(
    snapshot: SiteSnapshot, settings: PlanningSettings, boundaries: tuple[datetime, ...], events: Iterable[GridEvent]
) -> SiteOutlook:
    slots = len(boundaries) - 1
    events = list(events)
    prices = snapshot.import_prices
    import_price = slot_means(prices.boundaries, [float(price) for price in prices.prices_per_kwh], boundaries)
    for event in events:
        if event.kind is GridEventKind.PRICE:
            import_price = import_price + _event_means(event, boundaries)
    exports = snapshot.export_prices
    site = snapshot.site
    pv_kw = np.maximum(0.0, slot_means(snapshot.pv.boundaries, snapshot.pv.values_kw, boundaries))
    return SiteOutlook(
        import_price_per_kwh=import_price.tolist(),
        export_price_per_kwh=slot_means(
            exports.boundaries, [float(price) for price in exports.prices_per_kwh], boundaries
        ).tolist(),
        building_kw=slot_means(snapshot.building.boundaries, snapshot.building.values_kw, boundaries).tolist(),
        pv_kw=pv_kw.tolist(),
        carbon_kg_per_kwh=(settings.carbon_kg_per_kwh,) * slots,
        setpoint_kw=_setpoints(snapshot, events, boundaries),
        pv_curtailable=bool(site.pv_arrays) and all(array.curtailable for array in site.pv_arrays),
        pv_firm_share=site.pv_firm_share,
        building_phase_shares=settings.building_phase_shares,
        phase_voltage_v=site.phase_voltage_v,
    )


def _event_means(event: GridEvent, boundaries: tuple[datetime, ...]) -> FloatArray:
    """Mean of an event's value over each slot, zero outside its intervals."""
    means = np.zeros(len(boundaries) - 1)
    for part in event.intervals:
        for slot, (start, end) in enumerate(pairwise(boundaries)):
            if start < part.interval.end and end > part.interval.start:
                means[slot] += (
                    part.value * part.interval.overlap_h(Interval(start, end)) / Interval(start, end).duration_h
                )
    return means


def _setpoints(
    snapshot: SiteSnapshot, events: Iterable[GridEvent], boundaries: tuple[datetime, ...]
) -> list[float | None] | None:
    """Net import to keep, one a slot; the event that goes first counts."""
    root = snapshot.site.grid_connection.circuit_id
    asked = [event for event in events if event.kind is GridEventKind.SETPOINT and event.circuit_id in (None, root)]
    if not asked:
        return None
    setpoints: list[float | None] = [None] * (len(boundaries) - 1)
    for event in sorted(asked, key=lambda event: -event.priority):
        for slot, start in enumerate(boundaries[:-1]):
            value = event.value_at(start)
            setpoints[slot] = value if value is not None else setpoints[slot]
    return setpoints


_SCOPES = {
    GridEventKind.IMPORT_LIMIT: LimitScope.LOAD,
    GridEventKind.EXPORT_LIMIT: LimitScope.FEED,
    GridEventKind.CONTROLLABLE_LIMIT: LimitScope.CONTROLLABLE,
}


def _limits(snapshot: SiteSnapshot, events: Iterable[GridEvent]) -> list[PowerLimit]:
    connection = snapshot.site.grid_connection
    limits = [
        PowerLimit(connection.circuit_id, connection.import_limit_kw, connection.source),
        PowerLimit(connection.circuit_id, connection.export_limit_kw, connection.source, LimitScope.FEED),
    ]
    known = snapshot.site.circuit_by_id
    for event in events:
        circuit_id = event.circuit_id if event.circuit_id in known else connection.circuit_id
        if event.kind not in _SCOPES or circuit_id is None:
            continue
        limits += [
            PowerLimit(circuit_id, max(0.0, part.value), LimitSource.GRID_EVENT, _SCOPES[event.kind], part.interval)
            for part in event.intervals
        ]
    return limits


def _loads(
    snapshot: SiteSnapshot, settings: PlanningSettings, boundaries: tuple[datetime, ...], blind: Mapping[EvseId, float]
) -> list[UncontrolledLoad]:
    """What connectors out of control may draw, for as long as their vehicle stays."""
    leaves = {session.evse_id: session.depart_at for session in snapshot.sessions if session.is_active}
    loads = []
    for evse_id, bound_kw in blind.items():
        evse = snapshot.site.evses[evse_id]
        stays_until = max(leaves.get(evse_id) or snapshot.at, snapshot.at + timedelta(hours=settings.blind_stay_h))
        power = tuple(bound_kw if start < stays_until else 0.0 for start in boundaries[:-1])
        mode = PhaseMode(evse.max_current_a, evse.phases, evse.wiring, evse.voltage_v)
        loads.append(UncontrolledLoad(evse.circuit_id, power, mode))
    return loads


def _battery(
    snapshot: SiteSnapshot, settings: PlanningSettings, boundaries: tuple[datetime, ...]
) -> BatteryState | None:
    """The stationary battery; left alone where its state of charge is not known."""
    battery = snapshot.site.battery
    soc = snapshot.meter.battery_soc if snapshot.meter is not None else None
    if battery is None or soc is None:
        return None
    prices = [float(price) for price in snapshot.import_prices.prices_per_kwh]
    mean_price = float(slot_means(snapshot.import_prices.boundaries, prices, (boundaries[0], boundaries[-1]))[0])
    worth = settings.battery_end_price_per_kwh
    if worth is None:
        worth = max(0.0, mean_price * battery.discharge_efficiency - battery.wear_price_per_kwh)
    return BatteryState(
        content_kwh=soc * battery.capacity_kwh,
        capacity_kwh=battery.capacity_kwh,
        min_kwh=battery.min_soc * battery.capacity_kwh,
        max_kwh=battery.max_soc * battery.capacity_kwh,
        max_charge_kw=battery.max_charge_kw,
        max_discharge_kw=battery.max_discharge_kw,
        charge_efficiency=battery.charge_efficiency,
        discharge_efficiency=battery.discharge_efficiency,
        wear_per_kwh=battery.wear_price_per_kwh,
        end_price_per_kwh=worth,
    )
