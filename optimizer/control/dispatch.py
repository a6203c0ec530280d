"""From a plan to what stations are told: few periods, whole amperes, a safe tail, and nothing that changes nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum

from optimizer.control.bounds import bound_of, may_be_sent_again, was_not_taken
from optimizer.control.ceilings import Feeder
from optimizer.control.memory import FOR_EVER, ChangedEvses, first_after
from optimizer.control.phases import ONE, THREE, next_phases, told_phases
from optimizer.control.profile import SAME_KW, clipped, falling, is_for, merged, period_at, says_the_same
from optimizer.control.samples import sleeps
from optimizer.control.settings import ControlSettings
from optimizer.control.view import GuardView
from optimizer.domain.charger import Connector, LimitCommand, LimitPeriod, LimitState, shortened
from optimizer.domain.ids import EvseId, SessionId
from optimizer.domain.plan import BindingKind, BindingReason, Plan, SessionPlan
from optimizer.domain.session import Session
from optimizer.domain.site import Site

HELD_KW = 0.7
"""A limit this little below one that others set is held by it: whole amperes of three phases are coarse [kW]."""

_TEXTS = {
    BindingKind.CHARGER_LIMIT: "at the charger's limit",
    BindingKind.VEHICLE_LIMIT: "at the vehicle's limit",
    BindingKind.SITE_LIMIT: "held by the site limit",
    BindingKind.CIRCUIT_LIMIT: "held by a circuit limit",
    BindingKind.PHASE_IMBALANCE: "held by the phase imbalance",
    BindingKind.PRICE: "waiting for a lower price",
    BindingKind.DEMAND_PEAK: "held by the demand charge",
    BindingKind.PRIORITY: "others go first",
    BindingKind.TAPER: "the battery accepts less",
    BindingKind.MINIMUM_CURRENT: "at the least current",
    BindingKind.WAITING_FOR_PV: "waiting for PV",
    BindingKind.DEPARTURE_REACHED: "the departure time has passed",
    BindingKind.TARGET_REACHED: "the target is reached",
    BindingKind.GRID_EVENT: "held by a grid event",
    BindingKind.NOT_YET_THERE: "the vehicle is still to come",
}


def dispatch(view: GuardView, plan: Plan | None, settings: ControlSettings) -> tuple[LimitCommand, ...]:
    """The limits that the plan asks for and that are not in force yet, in the order of the site's EVSEs.

    An EVSE whose vehicle has left is released: its limit is taken back so that the safe default holds for the next.
    A vehicle that the plan does not know, or that has no transaction yet, keeps its safe default.

    Args:
        view: What is known now.
        plan: The plan in force; ``None``: none was made yet.
        settings: Number of periods, dead-band, intervals.
    """
    memo = view.memory.part(_Quiet)
    memo.begin(view, plan, settings)
    commands = []
    for evse_id in memo.due(view):
        connector, session = view.connectors[evse_id], view.sessions.get(evse_id)
        command, lasts = None, True
        if connector.online and session is None:
            command = _release(view, connector)
        elif connector.online and session is not None:
            if memo.said_nothing_of_the_same(view, evse_id, session):
                continue
            session_plan = memo.session_plans.get(session.id)
            command, lasts = _planned(view, connector, session, plan, session_plan, settings)
        if command is not None:
            commands.append(command)
        if command is None and lasts:
            memo.note_nothing_said(view, evse_id, settings)
        else:
            memo.note_something_said(view, evse_id)
    return tuple(commands)


@dataclass
class _Quiet:
    """What was known of each EVSE of which nothing was asked, and until when that holds."""

    site: Site | None = None
    safe_kw: Mapping[EvseId, float] = field(default_factory=dict)
    plan: Plan | None = None
    settings: ControlSettings | None = None
    at: datetime | None = None
    plan_lasts_until: datetime = FOR_EVER
    session_plans: Mapping[SessionId, SessionPlan] = field(default_factory=dict)
    changed: ChangedEvses = field(default_factory=ChangedEvses)
    said: dict[EvseId, tuple[object, ...]] = field(default_factory=dict)
    ends: dict[EvseId, datetime] = field(default_factory=dict)

    def begin(self, view: GuardView, plan: Plan | None, settings: ControlSettings) -> None:
        """Forget everything where plan, site or choices are others, or time has gone back."""
        is_same = self.site is view.site and self.safe_kw is view.safe_kw and self.settings is settings
        if not is_same or self.plan is not plan or self.at is None or view.at < self.at:
            self.site, self.safe_kw, self.plan, self.settings = view.site, view.safe_kw, plan, settings
            self.session_plans = {one.session_id: one for one in plan.sessions} if plan is not None else {}
            self.said, self.ends, self.at = {}, {}, None
        if self.at is None or view.at >= self.plan_lasts_until:
            self.plan_lasts_until = first_after(view.at, _looks_at(plan.boundaries if plan else (), settings))
        self.at = view.at

    def due(self, view: GuardView) -> Iterable[EvseId]:
        """The EVSEs that may be asked for something, in the order of the site's."""
        changed = self.changed.take(view.connectors, view.sessions)
        if not self.ends:
            return view.connectors
        due = {*changed, *view.overdraws, *(evse_id for evse_id, end in self.ends.items() if end <= view.at)}
        return [evse_id for evse_id in view.connectors if evse_id in due] if due else ()

    def said_nothing_of_the_same(self, view: GuardView, evse_id: EvseId, session: Session) -> bool:
        """Whether nothing is asked of an EVSE, as before: all that changed is what was metered."""
        if view.at >= self.ends.get(evse_id, view.at) or evse_id in view.overdraws:
            return False
        return self.said.get(evse_id) == _said_of(view, evse_id, session)

    def note_something_said(self, view: GuardView, evse_id: EvseId) -> None:
        """An EVSE is asked for something, or may be at any time: it is looked at again."""
        self.ends[evse_id] = view.at
        self.said.pop(evse_id, None)

    def note_nothing_said(self, view: GuardView, evse_id: EvseId, settings: ControlSettings) -> None:
        """Nothing is asked of an EVSE, and nothing will be until some instant, unless what is known of it changes."""
        connector, session = view.connectors[evse_id], view.sessions.get(evse_id)
        if session is None or not connector.online:
            self.ends[evse_id] = FOR_EVER
            self.said.pop(evse_id, None)
            return
        setpoint = connector.setpoint
        instants = [self.plan_lasts_until]
        if setpoint is not None:
            instants += _looks_at([period.start for period in setpoint.periods], settings)
            since = setpoint.answered_at or setpoint.sent_at
            for wait_s in (settings.rejected_retry_s, settings.unanswered_retry_s):
                instants += [since + timedelta(seconds=wait_s), setpoint.sent_at + timedelta(seconds=wait_s)]
            instants += [setpoint.sent_at + timedelta(seconds=settings.answer_timeout_s)]
            instants += [setpoint.sent_at + timedelta(seconds=settings.least_interval_s)]
        self.ends[evse_id] = first_after(view.at, instants)
        self.said[evse_id] = _said_of(view, evse_id, session)


def _release(view: GuardView, connector: Connector) -> LimitCommand | None:
    setpoint = connector.setpoint
    if setpoint is None:
        return None
    safe_kw = view.safe_kw[connector.evse_id]
    holds_safe = len(setpoint.periods) == 1 and abs(setpoint.periods[0].limit_kw - safe_kw) <= SAME_KW
    # Anything else than a refusal is taken as done: a station that has no vehicle may well have nothing to clear.
    if holds_safe and setpoint.state is not LimitState.UNANSWERED:
        return None
    period = LimitPeriod(view.at, safe_kw)
    return LimitCommand(connector.station_id, connector.evse_id, None, (period,), "no vehicle: the safe default holds")


def _said_of(view: GuardView, evse_id: EvseId, session: Session) -> tuple[object, ...]:
    """What a limit depends on but for time and plan: nothing that was metered is part of it."""
    return (
        view.connectors[evse_id].setpoint,
        view.feeders[evse_id],
        session.id,
        session.transaction_id,
        session.may_charge,
        session.accepted_power_kw,
        session.transaction_begun_at,
        session.vehicle.phases_used,
        view.connectors[evse_id].open_phases,
        sleeps(session),
    )


def _looks_at(edges: Iterable[datetime], settings: ControlSettings) -> list[datetime]:
    """When pieces that begin at ``edges`` begin, come near, or come within the span of a profile."""
    spans = [timedelta(seconds=span_s) for span_s in (0.0, settings.refresh_margin_s, settings.profile_span_s)]
    return [edge - span for edge in edges for span in spans]


def _planned(
    view: GuardView,
    connector: Connector,
    session: Session,
    plan: Plan | None,
    session_plan: SessionPlan | None,
    settings: ControlSettings,
) -> tuple[LimitCommand | None, bool]:
    """What is asked of an EVSE with a vehicle, and whether that lasts until an edge of plan or limit, or a retry."""
    if session.transaction_id is None:
        return None, True
    rest = _rest_of(view, connector, session, settings)
    if rest is Rest.FROM_ALL:
        return None, True
    lasts = True
    told = phases = told_phases(session, connector)
    follows: SessionPlan | None = None
    if not session.may_charge:
        periods: tuple[LimitPeriod, ...] = (LimitPeriod(view.at, 0.0),)
        reason = "the token may not charge here"
    elif plan is None or session_plan is None or session_plan.evse_id != connector.evse_id:
        periods = _told_again(view, connector, session, settings)
        reason = "the limit in force, which the station has not confirmed"
    else:
        periods, phases, lasts = _as_planned(view, connector, session, plan, session_plan, settings)
        follows, reason = session_plan, ""
    if not periods or not (phases != told or _is_due(view, connector, session, periods, settings)):
        return None, lasts
    if rest is Rest.FROM_RAISES and (phases != told or not _lowers(view, connector, periods, settings)):
        return None, lasts
    if plan is not None and follows is not None:
        reason = _held_by_others(connector, periods, view.at) or reason_text(_reason_at(plan, follows, view.at))
    if phases == ONE:
        reason = f"{reason}, on one phase" if reason else "on one phase"
    transaction_id = session.transaction_id
    return LimitCommand(connector.station_id, connector.evse_id, transaction_id, periods, reason, phases), lasts


def _as_planned(
    view: GuardView,
    connector: Connector,
    session: Session,
    plan: Plan,
    session_plan: SessionPlan,
    settings: ControlSettings,
) -> tuple[tuple[LimitPeriod, ...], int | None, bool]:
    """What the plan asks for, on how many phases, and whether that lasts until an edge of the plan.

    Of phases ``None``: nothing is said of them. A write that changes their number does not raise the current, and one
    that would add phases waits until the current is as low as it is to be on them.
    """
    evse_id, evse = connector.evse_id, view.site.evses[connector.evse_id]
    held = told_phases(session, connector)
    feeder, phases = view.feeders[evse_id], held
    if connector.open_phases is not None:
        wanted = _wanted_phases(connector, plan, session_plan, view.at, evse.min_power_kw)
        phases = held if wanted == THREE and held is None else wanted
        own = session.vehicle.phases_used
        if wanted is not None:
            feeder = replace(feeder, phases_used=wanted if own is None else min(own, wanted))
    safe_kw = view.safe_kw[evse_id]
    periods, lasts = profile_of(plan, session_plan, feeder, view.at, safe_kw, settings, session.accepted_power_kw)
    lasts = lasts and phases == held
    if sleeps(session) and session.vehicle.wakes_after_pause:
        # Held at zero it could not wake. One that nothing has woken may as well be full: it keeps no room from others.
        periods = (_at_least(periods[0], evse.power_kw(feeder.least_a)), *periods[1:])
    if phases == held:
        return periods, held, lasts
    told_kw = bound_of(view, evse_id, settings).told_kw
    if phases == THREE and told_kw > periods[0].limit_kw + SAME_KW:
        return periods, held, lasts
    return clipped(periods, max(told_kw, evse.power_kw(feeder.least_a))), phases, lasts


def _wanted_phases(
    connector: Connector, plan: Plan, session_plan: SessionPlan, at: datetime, least_on_three_kw: float
) -> int | None:
    index = plan.slot_at(at)
    planned = session_plan.phases_used[index] if session_plan.phases_used and index is not None else 0
    power_kw = session_plan.power_kw[index] if index is not None else 0.0
    return next_phases(connector.open_phases, planned, power_kw, least_on_three_kw)


def _at_least(period: LimitPeriod, limit_kw: float) -> LimitPeriod:
    """The piece with no lower limit, unless power is given back in it."""
    return period if period.discharge_kw else replace(period, limit_kw=max(period.limit_kw, limit_kw))


def _told_again(
    view: GuardView, connector: Connector, session: Session, settings: ControlSettings
) -> tuple[LimitPeriod, ...]:
    """The limit in force of a session that the plan leaves out, where the station did not take it; else nothing.

    A plan counts such a station at what it may draw and asks nothing of it, so it would never be asked again.
    """
    setpoint = connector.setpoint
    if setpoint is None or not is_for(setpoint, session):
        return ()
    if not was_not_taken(setpoint, view.at, settings):
        return ()
    span_end = view.at + timedelta(seconds=settings.profile_span_s)
    in_force = replace(period_at(setpoint.periods, view.at), start=view.at)
    return (in_force, LimitPeriod(span_end, view.safe_kw[connector.evse_id]))


def profile_of(
    plan: Plan,
    session_plan: SessionPlan,
    feeder: Feeder,
    at: datetime,
    safe_kw: float,
    settings: ControlSettings,
    accepted_kw: float | None = None,
) -> tuple[tuple[LimitPeriod, ...], bool]:
    """One session's plan as limits from ``at`` on: what it permits now, its later falls, and the safe value at the end.

    Limits are the power that the permitted current would give on all of the EVSE's current paths: a vehicle that uses
    one of three phases and is planned at 3.7 kW gets 16 A, which is a limit of 11 kW. A vehicle that takes less than it
    may, and is to get all that it takes, gets a margin on top: it shows when it takes more again. Power that the
    vehicle gives back is told as it is planned.

    Returns:
        The limits, and whether they stay the same until the next edge: which pieces of too many are joined depends on
        how long each still lasts.
    """
    pieces = _pieces_of(plan, session_plan, feeder, at, safe_kw, settings, accepted_kw)
    return merged(shortened(pieces, settings.greatest_periods)), len(pieces) <= settings.greatest_periods


def _pieces_of(
    plan: Plan,
    session_plan: SessionPlan,
    feeder: Feeder,
    at: datetime,
    safe_kw: float,
    settings: ControlSettings,
    accepted_kw: float | None,
) -> tuple[LimitPeriod, ...]:
    """What `profile_of` tells, in as many pieces as there are."""
    span_end = min(at + timedelta(seconds=settings.profile_span_s), plan.boundaries[-1])
    first = bisect_right(plan.boundaries, at, hi=len(session_plan.power_kw)) - 1
    kw_per_a = feeder.kw_per_a
    periods = []
    told_kw = None
    for index in range(max(0, first), len(session_plan.power_kw)):
        power_kw, start = session_plan.power_kw[index], plan.boundaries[index]
        if plan.boundaries[index + 1] <= at or power_kw == told_kw:
            continue
        if start >= span_end:
            break
        told_kw = power_kw
        if power_kw < -SAME_KW:
            periods.append(LimitPeriod(max(start, at), 0.0, -power_kw))
            continue
        wanted_a = max(0.0, power_kw) / kw_per_a
        if accepted_kw and wanted_a > 0.0:
            own_a, step_a = accepted_kw / kw_per_a, feeder.evse.current_step_a
            if wanted_a > own_a - step_a:
                wanted_a = max(wanted_a, own_a + settings.headroom_margin_kw / kw_per_a + step_a)
        limit_kw = feeder.evse.power_kw(feeder.stepped_a(wanted_a))
        periods.append(LimitPeriod(max(start, at), limit_kw))
        if limit_kw == 0.0:
            # Limits only fall from here on.
            break
    return (*falling(periods), LimitPeriod(max(span_end, at), safe_kw))


class Rest(Enum):
    """What an EVSE is not asked for yet, so soon after the last write."""

    FROM_NOTHING = "nothing"
    FROM_RAISES = "raises"
    """What others gain rests on reductions, so they wait for nothing; all else does, for each write wears the flash."""
    FROM_ALL = "all"


def _rest_of(view: GuardView, connector: Connector, session: Session, settings: ControlSettings) -> Rest:
    setpoint = connector.setpoint
    if setpoint is None or not is_for(setpoint, session):
        return Rest.FROM_NOTHING
    if was_not_taken(setpoint, view.at, settings):
        return Rest.FROM_NOTHING if may_be_sent_again(setpoint, view.at, settings) else Rest.FROM_ALL
    rested = view.at - setpoint.sent_at >= timedelta(seconds=settings.least_interval_s)
    return Rest.FROM_NOTHING if rested else Rest.FROM_RAISES


def _lowers(view: GuardView, connector: Connector, periods: tuple[LimitPeriod, ...], settings: ControlSettings) -> bool:
    """Whether the limit that is in force now would fall by more than the dead-band."""
    setpoint = connector.setpoint
    if setpoint is None:
        return False
    return periods[0].limit_kw < period_at(setpoint.periods, view.at).limit_kw - settings.dead_band_kw


def _is_due(
    view: GuardView,
    connector: Connector,
    session: Session,
    periods: tuple[LimitPeriod, ...],
    settings: ControlSettings,
) -> bool:
    """Whether a write that may be made now is worth it: something changes."""
    setpoint = connector.setpoint
    if setpoint is None or not is_for(setpoint, session):
        return True
    if was_not_taken(setpoint, view.at, settings):
        return True
    since = view.at - setpoint.sent_at
    not_kept = setpoint.state is LimitState.ACCEPTED or view.overdraws.get(connector.evse_id, 0) > 0
    if not_kept and since >= timedelta(seconds=settings.rejected_retry_s):
        # Accepted and not seen to be kept: it may have been lost.
        return True
    return not says_the_same(setpoint.periods, periods, view.at, settings)


def _reason_at(plan: Plan, session_plan: SessionPlan, at: datetime) -> BindingReason | None:
    index = plan.slot_at(at)
    return session_plan.reasons[index] if index is not None and index < len(session_plan.reasons) else None


def _held_by_others(connector: Connector, periods: Sequence[LimitPeriod], at: datetime) -> str:
    """Who set a limit at the station that leaves no more than is asked for; empty where nobody did."""
    bound = connector.external_bound(at)
    if bound is None or periods[0].limit_kw < bound[0] - HELD_KW:
        return ""
    return f"held at {bound[0]:.1f} kW by a limit that others set at the station ({bound[1]})"


def reason_text(reason: BindingReason | None) -> str:
    """A binding reason in words."""
    if reason is None:
        return ""
    place = f" at {reason.circuit_id}" if reason.circuit_id else ""
    phase = f" on {reason.phase}" if reason.phase else ""
    source = f" ({reason.source})" if reason.source else ""
    return f"{_TEXTS[reason.kind]}{place}{phase}{source}"
