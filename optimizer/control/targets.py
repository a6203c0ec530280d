"""Which of the stated departure targets counts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import VehicleNeeds
from optimizer.domain.reservation import Reservation
from optimizer.domain.session import DepartureTarget, Session, TargetSource, Vehicle

_BELIEF = (
    TargetSource.API,
    TargetSource.RESERVATION,
    TargetSource.VEHICLE,
    TargetSource.LEARNT,
    TargetSource.DEFAULT,
)


def with_targets(session: Session, targets: Sequence[DepartureTarget]) -> Session:
    """The session with new targets of one source, unless a source that is believed more has spoken already."""
    if not targets:
        return session
    offered = _BELIEF.index(targets[0].source)
    held = min((_BELIEF.index(target.source) for target in session.targets), default=len(_BELIEF))
    if held < offered:
        return session
    return replace(session, targets=tuple(sorted(targets, key=lambda target: target.depart_at)))


def default_target(session: Session, settings: ControlSettings) -> DepartureTarget | None:
    """What is assumed of a vehicle of which nothing is known; ``None`` where nothing is to be assumed."""
    if settings.default_energy_kwh <= 0.0:
        return None
    depart_at = session.plugged_in_at + timedelta(hours=settings.default_stay_h)
    return DepartureTarget(depart_at, energy_kwh=settings.default_energy_kwh, source=TargetSource.DEFAULT)


def reservation_target(reservation: Reservation) -> DepartureTarget | None:
    """What a reservation promises; ``None`` where it books a place only."""
    if reservation.energy_kwh <= 0.0:
        return None
    return DepartureTarget(reservation.window.end, energy_kwh=reservation.energy_kwh, source=TargetSource.RESERVATION)


def vehicle_as_stated(vehicle: Vehicle, needs: VehicleNeeds) -> Vehicle:
    """What is known of a vehicle after it stated its needs; to agree to give power back is its driver's consent."""
    if needs.max_power_kw is not None:
        vehicle = replace(vehicle, max_power_kw=needs.max_power_kw)
    if needs.battery_kwh is not None:
        vehicle = replace(vehicle, battery_kwh=needs.battery_kwh)
    if needs.max_discharge_kw is not None:
        vehicle = replace(vehicle, max_discharge_kw=needs.max_discharge_kw, discharge_consent=True)
    return vehicle


def vehicle_target(session: Session, needs: VehicleNeeds, settings: ControlSettings) -> DepartureTarget | None:
    """What a vehicle says it needs, counted from plug-in; ``None`` where it names no energy."""
    if needs.energy_kwh is None:
        return None
    depart_at = needs.depart_at
    if depart_at is None:
        depart_at = session.depart_at or session.plugged_in_at + timedelta(hours=settings.default_stay_h)
    energy_kwh = session.energy_kwh + max(0.0, needs.energy_kwh)
    return DepartureTarget(depart_at, energy_kwh=energy_kwh, source=TargetSource.VEHICLE)
