"""What an operator is told of each EVSE: whether it does what it is told, and if not, why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from optimizer.control.bounds import Bound, BoundKind, bound_of, fallback_limit_kw, is_told_again
from optimizer.control.profile import limit_at_kw
from optimizer.control.samples import NO_DRAW_KW, sleeps
from optimizer.control.settings import ControlSettings
from optimizer.control.view import GuardView, fresh_sample
from optimizer.domain.charger import LimitState
from optimizer.domain.ids import EvseId
from optimizer.domain.session import Session, TargetSource


class Tracking(StrEnum):
    """How an EVSE follows its limit."""

    IDLE = "idle"
    """No vehicle."""
    FOLLOWING = "following"
    """Within its limit, and at it where the vehicle takes all it may."""
    UNDER_WAY = "under_way"
    """A limit was sent and is not seen in the meter yet, or is sent again because the station connected anew."""
    LIMITED_BY_VEHICLE = "limited_by_vehicle"
    """The vehicle takes less than it may."""
    NOT_WAKING = "not_waking"
    """The vehicle draws nothing after a pause of ours, though it may and needs to."""
    ABOVE_LIMIT = "above_limit"
    """More was metered than permitted; it counts at what it draws."""
    IGNORING = "ignoring"
    """More was metered again and again; it counts at its physical maximum and others get less."""
    NOT_TAKEN = "not_taken"
    """It rejects limits, or does not answer; it counts at what it had before."""
    OFFLINE = "offline"
    """No contact; it counts at what its last profile permits."""
    NOT_SWITCHING = "not_switching"
    """It was told to charge on one phase and is not seen to; it counts on all of them, within its limit."""
    STALE = "stale"
    """In contact, but its meter has been silent for too long."""


@dataclass(frozen=True, slots=True)
class TrackedEvse:
    """One EVSE as an operator sees it."""

    evse_id: EvseId
    """Which EVSE."""
    tracking: Tracking
    """How it follows."""
    counted_kw: float
    """What the guard counts it at [kW]."""
    limit_kw: float
    """The limit it was last told [kW]."""
    drawn_kw: float | None
    """What it was last metered at [kW]; ``None``: nothing fresh."""


def tracked(view: GuardView, settings: ControlSettings) -> tuple[TrackedEvse, ...]:
    """How every EVSE of the site follows its limit."""
    found = []
    for evse_id in view.site.evses:
        bound = bound_of(view, evse_id, settings)
        sample = fresh_sample(view.connectors[evse_id], view.at, settings)
        drawn_kw = sample.power_kw if sample is not None else None
        tracking = _tracking(view, evse_id, bound, drawn_kw, settings)
        found.append(TrackedEvse(evse_id, tracking, bound.may_kw, _told_kw(view, evse_id, bound), drawn_kw))
    return tuple(found)


def _told_kw(view: GuardView, evse_id: EvseId, bound: Bound) -> float:
    """The limit that an EVSE was last told; one that ignores limits counts as if it had been told its maximum [kW]."""
    if bound.kind is not BoundKind.IGNORING:
        return bound.told_kw
    connector = view.connectors[evse_id]
    if connector.setpoint is None or evse_id not in view.sessions:
        return fallback_limit_kw(connector, view.site.evses[evse_id], view.safe_kw[evse_id])
    return limit_at_kw(connector.setpoint.periods, view.at)


_OF_BOUND = {
    BoundKind.IDLE: Tracking.IDLE,
    BoundKind.OFFLINE: Tracking.OFFLINE,
    BoundKind.IGNORING: Tracking.IGNORING,
    BoundKind.NOT_TAKEN: Tracking.NOT_TAKEN,
}


def _tracking(
    view: GuardView, evse_id: EvseId, bound: Bound, drawn_kw: float | None, settings: ControlSettings
) -> Tracking:
    setpoint = view.connectors[evse_id].setpoint
    if bound.kind is BoundKind.NOT_TAKEN and setpoint is not None and is_told_again(setpoint, view.at, settings):
        return Tracking.UNDER_WAY
    if bound.kind in _OF_BOUND:
        return _OF_BOUND[bound.kind]
    if view.overdraws.get(evse_id, 0):
        return Tracking.ABOVE_LIMIT
    session = view.sessions[evse_id]
    if bound.kind is BoundKind.UNDER_WAY:
        return Tracking.UNDER_WAY
    if drawn_kw is None:
        return Tracking.STALE if setpoint is not None and setpoint.state is LimitState.VERIFIED else Tracking.UNDER_WAY
    if _was_given_up(session):
        return Tracking.NOT_WAKING
    asleep = bound.told_kw > 0.0 and drawn_kw < NO_DRAW_KW and session.pauses > 0
    if asleep and session.paused and view.at - session.paused[-1].end > timedelta(seconds=settings.wake_patience_s):
        return Tracking.NOT_WAKING
    if setpoint is not None and setpoint.obeys_phases is False:
        return Tracking.NOT_SWITCHING
    takes_less = session.accepted_power_kw is not None and session.accepted_power_kw < bound.told_kw
    return Tracking.LIMITED_BY_VEHICLE if takes_less else Tracking.FOLLOWING


def _was_given_up(session: Session) -> bool:
    """Whether nothing has woken a vehicle whose need was stated; of one that said nothing it may be that it is full."""
    stated = any(target.source not in (TargetSource.DEFAULT, TargetSource.LEARNT) for target in session.targets)
    return stated and not session.vehicle.wakes_after_pause and sleeps(session)
