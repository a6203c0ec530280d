"""Changing between one and three phases where a station can: when it is ordered, and how many phases count. Pure.

On three phases a vehicle draws nothing or at least 3 x 6 A. Where its share is less, one phase may still carry it:

    share    11 kW        2.5 kW                                     8 kW
    told     3 x 16 A     1 x 6 A           1 x 10 A      1 x 6 A    3 x 6 A          3 x 11 A
    counts   3 x 16 A     3 x 6 A           1 x 10 A      1 x 6 A    3 x 6 A          3 x 11 A
             -------------|-----------------|-------------|----------|----------------|---------
                          ordered           seen          lowered    ordered          raised

The number of phases and the current never rise in one write, and a number that falls counts only when the meter has
shown it. So at no moment flows more than what is counted, whichever of the two a station changes first.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from optimizer.control.profile import SAME_KW, is_for
from optimizer.control.samples import NO_DRAW_KW, phases_in_use
from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import Connector, ConnectorStatus, LimitState, PhaseOrder, Setpoint
from optimizer.domain.metering import MeterSample
from optimizer.domain.session import Session
from optimizer.domain.site import Evse, Wiring

ONE, THREE = 1, 3

_ASLEEP = (ConnectorStatus.SUSPENDED_BY_EVSE, ConnectorStatus.SUSPENDED_BY_VEHICLE)


def can_switch(evse: Evse) -> bool:
    """Whether an EVSE was set up as one that changes between one and three phases."""
    return evse.phase_switching and evse.wiring is Wiring.LINE_TO_NEUTRAL and len(evse.phases) == THREE


def order_of(setpoint: Setpoint | None, session: Session | None) -> PhaseOrder | None:
    """The order in force for the vehicle that is there; a station forgets it with the transaction."""
    if setpoint is None or session is None or not is_for(setpoint, session):
        return None
    return setpoint.phase_order


def phases_of(session: Session | None, connector: Connector) -> int | None:
    """Phases on which a vehicle counts; ``None``: all that the EVSE has.

    One phase counts only while it was seen, and the station is in contact: one that is not may have started anew.
    """
    vehicle_phases = session.vehicle.phases_used if session is not None else None
    order = order_of(connector.setpoint, session)
    if order is None or order.phases != ONE or order.seen_at is None or not connector.online:
        return vehicle_phases
    return ONE


def told_phases(session: Session | None, connector: Connector) -> int | None:
    """What is to be said of phases in any further limit, so that nothing changes; ``None``: nothing."""
    order = order_of(connector.setpoint, session)
    return order.phases if order is not None else None


def open_phases(
    evse: Evse, session: Session | None, connector: Connector, at: datetime, settings: ControlSettings, *, willing: bool
) -> tuple[int, ...] | None:
    """On how many phases a vehicle may be planned from now on, the present number first.

    Args:
        evse: Where it stands.
        session: The vehicle.
        connector: The EVSE as last known.
        at: Now [UTC].
        settings: Least time between two changes, and how many a session may have.
        willing: Whether the station is in contact and does not deny that it can.

    Returns:
        One number while no change may be ordered, else both; ``None`` where the EVSE never changes.
    """
    if session is None or not can_switch(evse):
        return None
    now = told_phases(session, connector) or THREE
    if connector.setpoint is not None and connector.setpoint.obeys_phases is False:
        return (THREE,)
    # To go to one phase there must be a change left for the way back.
    needed = 2 if now == THREE else 1
    rested = session.phases_switched_at is None or at - session.phases_switched_at >= timedelta(
        seconds=settings.phase_dwell_s
    )
    if not willing or not rested or session.phase_switches + needed > settings.most_phase_switches:
        return (now,)
    return (now, ONE if now == THREE else THREE)


def next_phases(open_to: tuple[int, ...] | None, planned: int, power_kw: float, least_on_three_kw: float) -> int | None:
    """On how many phases a vehicle is to charge now; ``None``: nothing is said of them.

    Args:
        open_to: Permitted numbers, the present one first.
        planned: What the plan says; 0: it pauses, or says nothing.
        power_kw: What it plans [kW].
        least_on_three_kw: Least power on three phases that is not zero [kW].
    """
    if open_to is None:
        return None
    now = open_to[0]
    if planned == 0 or len(open_to) == 1:
        return now
    # One phase only where three would be too much: what both can carry is no reason for a change.
    if now == THREE and power_kw >= least_on_three_kw - SAME_KW:
        return THREE
    return ONE if planned == ONE else THREE


def ordered(phases: int, held: PhaseOrder | None, at: datetime) -> PhaseOrder:
    """The order that a limit with ``phases`` carries: the one in force, or a new one."""
    if held is not None and held.phases == phases:
        return held
    return PhaseOrder(phases, at, before=held.phases if held is not None else None)


def watched_phases(
    setpoint: Setpoint,
    connector: Connector,
    evse: Evse,
    sample: MeterSample | None,
    at: datetime,
    settings: ControlSettings,
) -> Setpoint:
    """The setpoint with what the meter now shows of its order; the same object where that is nothing new.

        told 1    sample L1 6 A, L2 0 A, L3 0 A        seen
                  sample L1 6 A, L2 6 A, L3 6 A        not, or no more; after a while the station does not obey
                  no current told for each phase       the same: what cannot be seen cannot be counted on
                  nothing flows                        believed of an EVSE that was seen to obey before

    Args:
        setpoint: The limit in force, with its order.
        connector: The EVSE as last known.
        evse: Which EVSE.
        sample: Its newest sample; ``None``: nothing fresh.
        at: Now [UTC].
        settings: Times.
    """
    order = setpoint.phase_order
    if order is None or setpoint.state not in (LimitState.ACCEPTED, LimitState.VERIFIED) or not connector.online:
        return setpoint
    settled_at = order.ordered_at + timedelta(seconds=settings.settle_s)
    acted_at = order.ordered_at + timedelta(seconds=settings.slowest_action_s)
    given_up_at = order.ordered_at + timedelta(seconds=settings.verification_timeout_s)
    drawn_kw = sample.power_kw if sample is not None and sample.at >= settled_at else None
    if sample is None or drawn_kw is None or drawn_kw < NO_DRAW_KW:
        flows_not = drawn_kw is not None or connector.status in _ASLEEP
        if order.seen_at is None and flows_not and setpoint.obeys_phases and at >= acted_at:
            return _seen(setpoint, order, at)
        return setpoint
    used = phases_in_use(sample, evse)
    if used is not None and (used == ONE) == (order.phases == ONE):
        return setpoint if order.seen_at is not None else _seen(setpoint, order, sample.at)
    doubted = order if used is None or order.seen_at is None else replace(order, seen_at=None)
    if doubted.seen_at is None and sample.at >= given_up_at and order.phases == ONE:
        if doubted is order and setpoint.obeys_phases is False:
            return setpoint
        return replace(setpoint, phase_order=doubted, obeys_phases=False)
    return setpoint if doubted is order else replace(setpoint, phase_order=doubted)


def _seen(setpoint: Setpoint, order: PhaseOrder, at: datetime) -> Setpoint:
    obeys = setpoint.obeys_phases or order.phases == ONE
    return replace(setpoint, phase_order=replace(order, seen_at=at), obeys_phases=obeys or None)


def without_refused(setpoint: Setpoint) -> Setpoint:
    """A setpoint that was refused: where it changed the number of phases, the one before goes on."""
    order = setpoint.phase_order
    if order is None or order.ordered_at != setpoint.sent_at:
        return setpoint
    kept = PhaseOrder(order.before, order.ordered_at) if order.before is not None else None
    return replace(setpoint, phase_order=kept)


def doubted_order(setpoint: Setpoint, at: datetime) -> PhaseOrder | None:
    """The order of a setpoint whose station connected anew: it may charge on all phases until it is seen again."""
    order = setpoint.phase_order
    return replace(order, ordered_at=at, seen_at=None) if order is not None else None
