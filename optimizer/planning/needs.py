"""What a vehicle needs by when, from what was stated, measured, learnt or, in the end, assumed."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import inf, isfinite

import numpy as np

from optimizer.domain.moment import hours_between
from optimizer.domain.session import DepartureTarget, Session, TargetSource
from optimizer.domain.site import Evse, Phase, Wiring
from optimizer.planning.problem import FloatArray
from optimizer.planning.requests import EnergyNeed, PhaseMode, VehicleBattery
from optimizer.planning.settings import PlanningSettings

_RANK = {source: rank for rank, source in enumerate(TargetSource)}


def believed_targets(session: Session) -> tuple[DepartureTarget, ...]:
    """The targets of the first source that speaks, soonest first."""
    best = min((_RANK[target.source] for target in session.targets), default=0)
    believed = [target for target in session.targets if _RANK[target.source] == best]
    return tuple(sorted(believed, key=lambda target: target.depart_at))


def needs_of(
    session: Session, now: datetime, settings: PlanningSettings, most_kw: float = inf
) -> tuple[EnergyNeed, ...]:
    """What the session still needs by when, at the meter.

    Args:
        session: What is known of it.
        now: The begin of the plan.
        settings: Defaults, and how long before its departure a vehicle is ready.
        most_kw: Power with which it could be ready early [kW].

    A session that states nothing gets the default energy by the default stay. A time that has passed while the vehicle
    is still there is moved to the assumed rest of its stay.
    """
    targets = believed_targets(session) or (
        DepartureTarget(
            depart_at=session.plugged_in_at + timedelta(hours=settings.default_stay_h),
            energy_kwh=settings.default_energy_kwh,
            source=TargetSource.DEFAULT,
        ),
    )
    overdue = now + timedelta(minutes=settings.overdue_stay_minutes)
    needs = []
    for target in targets:
        by = target.depart_at if target.depart_at > now else overdue
        needed_kwh = max(0.0, _still_needed_kwh(session, target, settings))
        early = by - timedelta(minutes=settings.ready_early_minutes)
        if early > now and needed_kwh <= most_kw * hours_between(now, early):
            by = early
        needs.append(EnergyNeed(by, needed_kwh))
    return tuple(sorted(needs, key=lambda need: need.by))


def _still_needed_kwh(session: Session, target: DepartureTarget, settings: PlanningSettings) -> float:
    if target.energy_kwh is not None:
        return target.energy_kwh - session.energy_kwh
    battery_kwh = session.vehicle.battery_kwh or settings.default_battery_kwh
    efficiency = session.vehicle.charge_efficiency
    soc = session.soc
    if soc is None:
        soc = settings.default_arrival_soc + session.energy_kwh * efficiency / battery_kwh
    return (float(target.soc or 0.0) - soc) * battery_kwh / efficiency


def modes_of(
    evse: Evse,
    session: Session,
    settings: PlanningSettings,
    external_kw: float = inf,
    open_phases: tuple[int, ...] | None = None,
) -> tuple[PhaseMode, ...]:
    """How a session can draw power: its phases, its least and greatest current, its step.

    Args:
        evse: Where it stands.
        session: What is known of it.
        settings: Margins.
        external_kw: What others permit at the EVSE, on all of its current paths [kW].
        open_phases: Numbers of phases that it may be on, the present one first; ``None``: all that it can.
    """
    most_kw = inf if session.vehicle.max_power_kw is None else session.vehicle.max_power_kw
    least_a = min(max(evse.min_current_a, session.vehicle.min_current_a or 0.0), evse.max_current_a)
    most_a = min(evse.max_current_a, evse.current_a(external_kw)) if external_kw < inf else evse.max_current_a
    if most_a < least_a:
        # Nothing flows at less than the least current; what is permitted is told as it is.
        most_a, most_kw = evse.max_current_a, min(most_kw, external_kw)
    used = _phases_used(evse, session)
    numbers: tuple[int, ...] = (len(used),)
    if evse.phase_switching and evse.wiring is Wiring.LINE_TO_NEUTRAL and len(used) > 1:
        numbers = tuple(min(count, len(used)) for count in open_phases or (len(used), 1))
    modes = [_mode(evse, used[:count], least_a, most_a, most_kw) for count in sorted(numbers, reverse=True)]
    if session.accepted_power_kw is None:
        return tuple(modes)
    accepted_kw = session.accepted_power_kw + settings.acceptance_margin_kw
    # What it was seen to take on one phase bounds each of three.
    return tuple(_accepting(mode, accepted_kw * max(1.0, len(mode.phases) / numbers[0])) for mode in modes)


def _mode(evse: Evse, phases: tuple[Phase, ...], least_a: float, most_a: float, most_kw: float) -> PhaseMode:
    return PhaseMode(
        max_current_a=most_a,
        phases=phases,
        wiring=evse.wiring,
        voltage_v=evse.voltage_v,
        min_current_a=least_a,
        current_step_a=evse.current_step_a,
        max_power_kw=most_kw,
    )


def _accepting(mode: PhaseMode, accepted_kw: float) -> PhaseMode:
    """The mode bounded by what the vehicle was seen to take; never below its minimum, so that it can resume."""
    bound_kw = max(accepted_kw, mode.min_current_a * mode.kw_per_a)
    return PhaseMode(
        mode.max_current_a,
        mode.phases,
        mode.wiring,
        mode.voltage_v,
        mode.min_current_a,
        mode.current_step_a,
        min(mode.max_power_kw, bound_kw),
    )


def _phases_used(evse: Evse, session: Session) -> tuple[Phase, ...]:
    """The supply phases the vehicle loads; one that takes less than three phases' minimum must be on one."""
    if evse.wiring is Wiring.LINE_TO_LINE or len(evse.phases) == 1:
        return evse.phases
    if session.vehicle.phases_used is not None:
        return evse.phases[: min(max(session.vehicle.phases_used, 1), len(evse.phases))]
    most_kw = session.vehicle.max_power_kw
    if most_kw is not None and most_kw < evse.min_power_kw:
        return evse.phases[:1]
    return evse.phases


def most_energy_kwh(
    session: Session,
    needs: tuple[EnergyNeed, ...],
    modes: tuple[PhaseMode, ...],
    now: datetime,
    settings: PlanningSettings,
) -> float | None:
    """Greatest energy to plan for a vehicle that was seen to take less than its limit [kWh]; ``None``: any."""
    if session.accepted_power_kw is None or not needs:
        return None
    hours = max(0.0, (needs[-1].by - now) / timedelta(hours=1))
    taken_kwh = (session.accepted_power_kw + settings.acceptance_margin_kw) * hours
    least_run_kwh = min(mode.min_current_a * mode.kw_per_a for mode in modes) * 0.25
    return min(max(need.energy_kwh for need in needs), taken_kwh) + least_run_kwh


def battery_of(session: Session) -> VehicleBattery | None:
    """The vehicle's battery, where its size and state are known and taper or discharging need them."""
    vehicle = session.vehicle
    discharges = vehicle.discharge_consent and vehicle.max_discharge_kw > 0
    if vehicle.battery_kwh is None or session.soc is None or not (vehicle.knee_soc is not None or discharges):
        return None
    return VehicleBattery(
        stored_kwh=session.soc * vehicle.battery_kwh,
        capacity_kwh=vehicle.battery_kwh,
        charge_efficiency=vehicle.charge_efficiency,
        knee_soc=vehicle.knee_soc,
        max_discharge_kw=vehicle.max_discharge_kw if discharges else 0.0,
        discharge_floor_soc=vehicle.discharge_floor_soc,
    )


def stay_chances(session: Session, boundaries: tuple[datetime, ...], settings: PlanningSettings) -> tuple[float, ...]:
    """Chance that the vehicle is still there in each slot, given that it is there now; empty: certain.

    The learnt curve says which share of drivers is still there after a share of the stated stay;
    ``departure_care`` says how far it is believed.
    """
    depart_at = session.depart_at
    if settings.departure_care == 0.0 or depart_at is None or depart_at <= session.plugged_in_at:
        return ()
    stated = depart_at - session.plugged_in_at
    passed: FloatArray = np.array([(start - session.plugged_in_at) / stated for start in boundaries[:-1]])
    shares, chances = zip(*settings.stay_curve, strict=True)
    chance = np.interp(passed, shares, chances)
    given = chance / max(float(chance[0]), 1e-9)
    believed = 1.0 - settings.departure_care * (1.0 - given)
    return tuple(float(value) for value in believed if isfinite(value))
