"""What each EVSE may draw at most, whatever it was told. Pure.

From left to right in time (``=`` limit in force, ``#`` what counts, ``v`` seen in the meter):

    reduction sent, not yet seen          reduction seen             increase sent
    7 kW ====|#######                     7 kW ====|####|            7 kW      |#######
    3 kW     |======                      3 kW     |====v####        3 kW =====|
             sent                                  sent                        sent

    rejected, or no answer                offline                    draws above its limit again and again
    7 kW ====x#######                     7 kW =====|  |#####        max       |########
    3 kW     |                            3 kW      |==|             3 kW =====|=======
             sent                         its last profile goes on, never     counts at what its hardware permits
                                          below the safe default

    no vehicle: counts at its safe default, the limit under which one could start
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from optimizer.control.ceilings import Feeder
from optimizer.control.memory import first_after
from optimizer.control.profile import greatest_between_kw, is_for, limit_at_kw
from optimizer.control.settings import ControlSettings
from optimizer.control.view import GuardView, fresh_sample
from optimizer.domain.charger import Connector, ConnectorStatus, LimitPeriod, LimitState, Setpoint
from optimizer.domain.ids import EvseId
from optimizer.domain.session import Session
from optimizer.domain.site import Evse

STANDBY_KW = 0.5
"""Power below which an EVSE is not charging: electronics, ventilation, a meter's offset [kW]."""

NOTHING_FLOWS = frozenset(
    {
        ConnectorStatus.AVAILABLE,
        ConnectorStatus.PREPARING,
        ConnectorStatus.SUSPENDED_BY_EVSE,
        ConnectorStatus.SUSPENDED_BY_VEHICLE,
        ConnectorStatus.FINISHING,
    }
)
"""States in which no energy flows, as far as a status can tell."""

FAR_AHEAD = timedelta(days=30)
"""Longer than any profile lasts."""


class BoundKind(StrEnum):
    """Why an EVSE counts at what it counts."""

    IDLE = "idle"
    """No vehicle: it could start at its safe default."""
    SAFE_DEFAULT = "safe_default"
    """A vehicle, but no limit of its own yet."""
    LIMIT = "limit"
    """Its limit, accepted and seen."""
    UNDER_WAY = "under_way"
    """A limit was sent and is not yet seen in the meter."""
    NOT_TAKEN = "not_taken"
    """A limit was rejected, or not answered."""
    OFFLINE = "offline"
    """No contact: what its last profile lets it draw."""
    IGNORING = "ignoring"
    """It draws more than it may: its physical maximum."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What one EVSE may draw at most, as power at the permitted current on all of its current paths."""

    may_kw: float
    """Whatever happens, until the guard has looked ahead [kW]."""
    expected_kw: float
    """When reductions that are under way arrive [kW]."""
    lasting_kw: float
    """Whatever happens, at any time without a new limit [kW]."""
    told_kw: float
    """The limit that it was last told and that holds now [kW]; more than this is an increase."""
    steerable: bool
    """Whether a new limit may be expected to be obeyed."""
    kind: BoundKind
    """Why."""


def bound_lasts_until(view: GuardView, evse_id: EvseId, settings: ControlSettings) -> datetime:
    """The first instant at which `bound_of` may come to another result by time alone.

    Args:
        view: What is known.
        evse_id: Which EVSE.
        settings: Times and tolerances.
    """
    connector, at = view.connectors[evse_id], view.at
    setpoint, sample = connector.setpoint, connector.last_sample
    instants = []
    if sample is not None:
        instants += [sample.at, sample.at + timedelta(seconds=settings.sample_staleness_s)]
    if setpoint is not None:
        since, lookahead = setpoint.answered_at or setpoint.sent_at, timedelta(seconds=settings.lookahead_s)
        for waited_s in (settings.answer_timeout_s, settings.reaction_s, settings.verification_timeout_s):
            instants.append(setpoint.sent_at + timedelta(seconds=waited_s))
        for waited_s in (settings.rejected_retry_s, settings.unanswered_retry_s):
            instants.append(since + timedelta(seconds=waited_s))
        for period in setpoint.periods:
            if period.start >= at:
                instants += [period.start, period.start - lookahead, period.start - FAR_AHEAD]
    return first_after(at, instants)


def bound_of(view: GuardView, evse_id: EvseId, settings: ControlSettings, *, overloaded: bool = False) -> Bound:
    """What one EVSE may draw at most; see the drawings above.

    Args:
        view: What is known.
        evse_id: Which EVSE.
        settings: Times and tolerances.
        overloaded: Whether the site meter shows a limit exceeded; reductions then have less time to be seen.
    """
    evse, connector = view.site.evses[evse_id], view.connectors[evse_id]
    session, setpoint, feeder = view.sessions.get(evse_id), connector.setpoint, view.feeders[evse_id]
    sample = fresh_sample(connector, view.at, settings)
    drawn_kw = feeder.limit_for_kw(sample.power_kw) if sample and sample.power_kw else 0.0
    fallback_kw = fallback_limit_kw(connector, evse, view.safe_kw[evse_id])
    if view.overdraws.get(evse_id, 0) >= settings.ignoring_samples:
        return _constant(evse.max_power_kw, BoundKind.IGNORING)
    if session is None and connector.online:
        if drawn_kw > STANDBY_KW:
            return _constant(evse.max_power_kw, BoundKind.IGNORING)
        return _constant(max(fallback_kw, _unreleased_kw(setpoint)), BoundKind.IDLE)
    steerable = is_steerable(connector, session, view.at, settings)
    if setpoint is None:
        kind = BoundKind.SAFE_DEFAULT if connector.online else BoundKind.OFFLINE
        return _constant(max(fallback_kw, drawn_kw), kind, steerable=steerable)
    alone = connector.online and session is not None and is_for(setpoint, session)
    least_kw = drawn_kw if alone else max(drawn_kw, fallback_kw)
    patience_s = settings.reaction_s if overloaded else settings.verification_timeout_s
    return _bound_by_setpoint(view, connector, setpoint, least_kw, patience_s, settings, steerable=steerable)


def _constant(limit_kw: float, kind: BoundKind, *, steerable: bool = False) -> Bound:
    return Bound(limit_kw, limit_kw, limit_kw, limit_kw, steerable, kind)


def _bound_by_setpoint(
    view: GuardView,
    connector: Connector,
    setpoint: Setpoint,
    least_kw: float,
    patience_s: float,
    settings: ControlSettings,
    *,
    steerable: bool,
) -> Bound:
    """What a limit on its way, or in force, lets an EVSE draw; ``patience_s`` is its time to be seen [s]."""
    at, state = view.at, effective_state(setpoint, view.at, settings)
    seen_at = seen_within_at(setpoint, connector, view.feeders[connector.evse_id], at, settings)
    new_kw = greatest_between_kw(setpoint.periods, min(at, seen_at), at + timedelta(seconds=settings.lookahead_s))
    ever_kw = greatest_between_kw(setpoint.periods, min(at, seen_at), at + FAR_AHEAD)
    before_kw = 0.0 if state is LimitState.VERIFIED else setpoint.bound_before_kw
    if state is LimitState.REJECTED:
        new_kw = ever_kw = 0.0
    may_kw = max(new_kw, before_kw, least_kw)
    under_way = (
        connector.online
        and state in (LimitState.SENT, LimitState.ACCEPTED)
        and at - setpoint.sent_at <= timedelta(seconds=patience_s)
    )
    expected_kw = min(may_kw, new_kw) if under_way else may_kw
    told_kw = min(may_kw, limit_at_kw(setpoint.periods, at))
    kind = _kind_of(state, online=connector.online)
    return Bound(may_kw, expected_kw, max(may_kw, ever_kw), told_kw, steerable, kind)


def _kind_of(state: LimitState, *, online: bool) -> BoundKind:
    if not online:
        return BoundKind.OFFLINE
    if state is LimitState.VERIFIED:
        return BoundKind.LIMIT
    return BoundKind.UNDER_WAY if state in (LimitState.SENT, LimitState.ACCEPTED) else BoundKind.NOT_TAKEN


def _unreleased_kw(setpoint: Setpoint | None) -> float:
    """What a profile left over from an earlier vehicle would permit the next one [kW]."""
    if setpoint is None:
        return 0.0
    if setpoint.state in (LimitState.ACCEPTED, LimitState.VERIFIED):
        return setpoint.periods[-1].limit_kw if len(setpoint.periods) == 1 else _greatest_kw(setpoint.periods)
    return max(setpoint.bound_before_kw, _greatest_kw(setpoint.periods))


def _greatest_kw(periods: Sequence[LimitPeriod]) -> float:
    return max(period.limit_kw for period in periods)


def fallback_limit_kw(connector: Connector, evse: Evse, safe_kw: float) -> float:
    """What holds at an EVSE that has no limit of its own [kW].

    The default profile known to be installed; the physical maximum where there is none. A station that has never been
    in contact counts at the safe default that its commissioning installs.
    """
    if connector.safe_default_kw is not None:
        return connector.safe_default_kw
    never_seen = (
        not connector.online
        and connector.status is ConnectorStatus.UNKNOWN
        and connector.setpoint is None
        and connector.last_sample is None
    )
    return safe_kw if never_seen else evse.max_power_kw


def effective_state(setpoint: Setpoint, at: datetime, settings: ControlSettings) -> LimitState:
    """The setpoint's state; one that was sent long ago, or by a service that died, counts as unanswered."""
    waiting = at - setpoint.sent_at
    if setpoint.state is LimitState.SENT and waiting > timedelta(seconds=settings.answer_timeout_s):
        return LimitState.UNANSWERED
    return setpoint.state


def seen_within_at(
    setpoint: Setpoint, connector: Connector, feeder: Feeder, at: datetime, settings: ControlSettings
) -> datetime:
    """Until when the profile is known to have been kept: what it permitted before that no longer counts.

    7 kW ====|                 the profile itself steps down at t; without a newer sample the old piece counts
    3 kW     |=====
         v   t                 v: last sample within the limit of its time
    """
    known = setpoint.verified_at or setpoint.sent_at
    sample = connector.last_sample
    if sample is not None and sample.power_kw is not None and known < sample.at <= at:
        settled = sample.at - timedelta(seconds=settings.settle_s)
        allowed_kw = feeder.permitted_kw(greatest_between_kw(setpoint.periods, settled, sample.at))
        if sample.power_kw <= allowed_kw + settings.verification_tolerance_kw:
            known = max(known, settled)
    return known


def is_steerable(connector: Connector, session: Session | None, at: datetime, settings: ControlSettings) -> bool:
    """Whether a limit sent now may be expected to be obeyed."""
    if not connector.online or session is None or session.transaction_id is None:
        return False
    setpoint = connector.setpoint
    if setpoint is None or not is_for(setpoint, session):
        return True
    return may_be_sent_again(setpoint, at, settings)


def was_not_taken(setpoint: Setpoint, at: datetime, settings: ControlSettings) -> bool:
    """Whether the station refused a limit or did not answer."""
    return effective_state(setpoint, at, settings) in (LimitState.REJECTED, LimitState.UNANSWERED)


def is_told_again(setpoint: Setpoint, at: datetime, settings: ControlSettings) -> bool:
    """Whether a limit has no answer because the service died, or the station connected anew: nobody refused it."""
    return setpoint.answered_at is None and effective_state(setpoint, at, settings) is LimitState.UNANSWERED


def may_be_sent_again(setpoint: Setpoint, at: datetime, settings: ControlSettings) -> bool:
    """Whether it is time to try again where a limit was not taken; a refusal is not argued with.

    One that has no answer because the service died, or the station connected anew, is tried again at once.
    """
    since = at - (setpoint.answered_at or setpoint.sent_at)
    match effective_state(setpoint, at, settings):
        case LimitState.REJECTED:
            return since >= timedelta(seconds=settings.rejected_retry_s)
        case LimitState.UNANSWERED:
            told_again = is_told_again(setpoint, at, settings)
            return told_again or since >= timedelta(seconds=settings.unanswered_retry_s)
        case _:
            return True


def verified(view: GuardView, evse_id: EvseId, settings: ControlSettings) -> Setpoint | None:
    """The setpoint of an EVSE with the proof that it is kept; ``None`` where there is no new proof.

    The proof is a meter sample newer than the answer and within the limit, where before more was drawn than the limit
    permits now. A vehicle that drew less all along proves nothing until the slowest station would have acted; then a
    station that meters nothing while nothing flows gives the proof by its status.

        drawn 7 kW ~~~~~~~              drawn
        told  3 kW        |  ~v~~~      told  3 kW    |
                                        drawn 2 kW ~~~|~~~~~~~~~~~v~~
                          answer                      answer      + slowest action
    """
    connector = view.connectors[evse_id]
    setpoint, sample = connector.setpoint, connector.last_sample
    if setpoint is None or setpoint.state is not LimitState.ACCEPTED or setpoint.answered_at is None:
        return None
    acted_at = setpoint.answered_at + timedelta(seconds=settings.slowest_action_s)
    settled_at = setpoint.answered_at + timedelta(seconds=settings.settle_s)
    if sample is not None and sample.power_kw is not None and sample.at >= settled_at:
        limit_kw = setpoint.limit_at_kw(sample.at)
        allowed_kw = view.feeders[evse_id].permitted_kw(limit_kw) + settings.verification_tolerance_kw
        has_fallen = setpoint.drawn_before_kw is not None and setpoint.drawn_before_kw > allowed_kw
        frees_nothing = setpoint.bound_before_kw <= limit_kw
        if sample.power_kw <= allowed_kw and (has_fallen or frees_nothing or sample.at >= acted_at):
            return replace(setpoint, state=LimitState.VERIFIED, verified_at=sample.at)
        return None
    if connector.online and connector.status in NOTHING_FLOWS and view.at >= acted_at:
        return replace(setpoint, state=LimitState.VERIFIED, verified_at=view.at)
    return None
