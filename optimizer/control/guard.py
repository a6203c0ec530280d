"""What may be sent now, whatever the plan says: cuts at once, increases only where there is room.

Two sums are made of what every EVSE counts at. Expected: reductions that are under way count as done for a short while;
cuts are decided by this one, so that nobody is cut twice. Pessimistic: every EVSE at all that it may draw; an increase
needs room in this one.

    limit  ------------------------------------------      pessimistic   A ######  B ####  C ##     no room for C
                                                           expected      A ###     B ####  C ##     no need to cut
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from optimizer.control.bounds import Bound, BoundKind, bound_of, effective_state, fallback_limit_kw
from optimizer.control.ceilings import AMPERE_SLACK, Ceiling, LoadPaths, LoadTally
from optimizer.control.phases import told_phases
from optimizer.control.profile import SAME_KW, clipped, greatest_between_kw, is_for, period_at, says_the_same
from optimizer.control.settings import ControlSettings
from optimizer.control.view import (
    GuardView,
    base_for_raises,
    base_load,
    ceilings_in_force,
    metered_import_exceeds,
)
from optimizer.domain.charger import LimitCommand, LimitPeriod, LimitState
from optimizer.domain.ids import EvseId


@dataclass(frozen=True, slots=True)
class GuardDecision:
    """What may be sent now."""

    reductions: tuple[LimitCommand, ...]
    """Commands that add no load; they go first, all at once."""
    increases: tuple[LimitCommand, ...]
    """Commands for which there is room now."""
    bounds: Mapping[EvseId, Bound]
    """What every EVSE counted at."""
    exceeded: tuple[Ceiling, ...]
    """Limits that what was expected would have exceeded without the cuts."""
    stops: tuple[EvseId, ...] = ()
    """EVSEs whose transaction must end: their stations take no zero, and no limit that they take is low enough."""

    @property
    def commands(self) -> tuple[LimitCommand, ...]:
        """Reductions, then increases."""
        return self.reductions + self.increases


@dataclass(frozen=True)
class _Count:
    """What every EVSE counts at, and the limits that the sums must keep."""

    view: GuardView
    settings: ControlSettings
    bounds: Mapping[EvseId, Bound]
    paths: LoadPaths
    paths_for_raises: LoadPaths
    starting_a: Mapping[EvseId, float]

    def tally(self, levels_kw: Mapping[EvseId, float], paths: LoadPaths) -> LoadTally:
        """The sums at the given limits [kW]; idle EVSEs count by the room that is kept for them."""
        levels_a = {
            evse_id: 0.0 if evse_id in self.starting_a else self.amps(evse_id, level_kw)
            for evse_id, level_kw in levels_kw.items()
        }
        starts = self.settings.concurrent_starts or 0
        return LoadTally(paths, levels_a, self.starting_a, starts)

    def amps(self, evse_id: EvseId, limit_kw: float) -> float:
        """The current at the plug that a limit permits [A]."""
        evse = self.view.site.evses[evse_id]
        return min(evse.current_a(limit_kw), evse.max_current_a)

    def soon_kw(self, periods: Sequence[LimitPeriod]) -> float:
        """The greatest limit until the guard has looked ahead [kW]."""
        return greatest_between_kw(periods, self.view.at, self.view.at + timedelta(seconds=self.settings.lookahead_s))


def decide(view: GuardView, wishes: Sequence[LimitCommand], settings: ControlSettings) -> GuardDecision:
    """Clip what is wished to what is safe, and cut what has become unsafe.

    Args:
        view: What is known.
        wishes: The limits that the plan asks for; none for an EVSE that is to stay as it is.
        settings: Times and margins.
    """
    view, wishes = with_room_for_phases(view, wishes, settings)
    count = _count(view, settings)
    bounds = count.bounds
    order = priority_order(view, [evse_id for evse_id, bound in bounds.items() if bound.steerable])
    wished = {command.evse_id: command for command in wishes}
    wished_kw = {evse_id: count.soon_kw(wished[evse_id].periods) for evse_id in order if evse_id in wished}
    expected = count.tally(
        {
            evse_id: min(bound.expected_kw, wished_kw.get(evse_id, bound.expected_kw))
            for evse_id, bound in bounds.items()
        },
        count.paths,
    )
    exceeded = tuple(expected.exceeded())
    before_a = dict(expected.levels_a)
    cut(expected, [evse_id for evse_id in reversed(order) if not is_overdue(bounds[evse_id], settings)])
    # One that counts at more than it was told, for it did not answer, is told no more than before by being cut.
    cuts_a = {
        evse_id: min(expected.levels_a[evse_id], count.amps(evse_id, bounds[evse_id].told_kw))
        for evse_id in order
        if expected.levels_a[evse_id] < before_a[evse_id]
    }
    stops = stops_needed(view, expected, reversed(order), settings)
    granted_a = grant(
        count.tally({evse_id: bound.may_kw for evse_id, bound in bounds.items()}, count.paths_for_raises),
        order,
        {evse_id: count.amps(evse_id, wish_kw) for evse_id, wish_kw in wished_kw.items()},
        {evse_id: count.amps(evse_id, bounds[evse_id].told_kw) for evse_id in order},
        cuts_a,
        _kept_free_kw(view, settings),
    )
    reductions, increases = _commands(count, wished, granted_a, exceeded)
    releases = tuple(command for command in wishes if command.evse_id not in view.sessions)
    return GuardDecision((*releases, *reductions), increases, bounds, exceeded, stops)


def _count(view: GuardView, settings: ControlSettings) -> _Count:
    bounds = all_bounds(view, settings)
    starting_a = {
        evse_id: view.site.evses[evse_id].current_a(bound.may_kw)
        for evse_id, bound in bounds.items()
        if bound.kind is BoundKind.IDLE and settings.concurrent_starts is not None
    }
    # Idle EVSEs draw nothing: what the site meter shows beyond all others is a load that nobody has told of.
    counted_kw = sum(
        view.feeders[evse_id].permitted_kw(_counted_then_kw(view, bound, evse_id))
        for evse_id, bound in bounds.items()
        if evse_id not in starting_a
    )
    base = base_load(view, counted_kw, settings)
    paths = paths_for_raises = LoadPaths.of(view.site, ceilings_in_force(view, base, settings), view.feeders)
    base_raised = base_for_raises(view, base, settings)
    if base_raised is not base:
        ceilings = ceilings_in_force(view, base_raised, settings)
        paths_for_raises = LoadPaths.of(view.site, ceilings, view.feeders)
    return _Count(view, settings, bounds, paths, paths_for_raises, starting_a)


def _counted_then_kw(view: GuardView, bound: Bound, evse_id: EvseId) -> float:
    """What an EVSE counted at when the site meter was read: a raise since then explains nothing of the reading [kW]."""
    setpoint = view.connectors[evse_id].setpoint
    if view.meter is None or setpoint is None or setpoint.sent_at <= view.meter.at:
        return bound.may_kw
    return min(bound.may_kw, setpoint.bound_before_kw)


def with_room_for_phases(
    view: GuardView, wishes: Sequence[LimitCommand], settings: ControlSettings
) -> tuple[GuardView, tuple[LimitCommand, ...]]:
    """The view in which those that are to go back to three phases count on them, and the wishes there is room for.

    counted on one phase   wished on three     on L2 and L3: room for its current     from now on it counts on three
                                               none                                   it stays as it is
    """
    kept = []
    for command in wishes:
        feeder = view.feeders[command.evse_id]
        if command.phases is None or len(feeder.phases) >= command.phases or command.evse_id not in view.sessions:
            kept.append(command)
            continue
        trial = replace(view, on_all_phases=view.on_all_phases | {command.evse_id})
        count = _count(trial, settings)
        tally = count.tally({evse_id: bound.may_kw for evse_id, bound in count.bounds.items()}, count.paths_for_raises)
        level_a = max(tally.levels_a[command.evse_id], count.amps(command.evse_id, count.soon_kw(command.periods)))
        if tally.greatest_fit_a(command.evse_id, _kept_free_kw(view, settings)) >= level_a - AMPERE_SLACK:
            view = trial
            kept.append(command)
    return view, tuple(kept)


def all_bounds(view: GuardView, settings: ControlSettings) -> dict[EvseId, Bound]:
    """What every EVSE may draw at most."""
    overloaded = metered_import_exceeds(view, settings)
    return {evse_id: bound_of(view, evse_id, settings, overloaded=overloaded) for evse_id in view.site.evses}


def _kept_free_kw(view: GuardView, settings: ControlSettings) -> float:
    """Room that increases leave under the limits that building and PV share, which ripple [kW]."""
    ripples = view.site.greatest_building_kw > 0.0 or bool(view.site.pv_arrays)
    return settings.restore_margin_kw if ripples else 0.0


def is_overdue(bound: Bound, settings: ControlSettings) -> bool:
    """Whether a reduction should have been seen by now: to tell that EVSE less again would free nothing."""
    return bound.kind is BoundKind.UNDER_WAY and bound.expected_kw > bound.told_kw + settings.verification_tolerance_kw


def priority_order(view: GuardView, evse_ids: Iterable[EvseId]) -> list[EvseId]:
    """EVSEs by who is served first: tier, then the soonest departure."""

    def rank(evse_id: EvseId) -> tuple[int, float, EvseId]:
        session = view.sessions[evse_id]
        depart_at = session.depart_at
        return (int(session.tier), depart_at.timestamp() if depart_at else float("inf"), evse_id)

    return sorted(evse_ids, key=rank)


def cut(tally: LoadTally, order: Iterable[EvseId]) -> None:
    """Lower levels in ``order`` until every limit holds: first to the least current, then to zero where that is taken.

    A limit of 60 kW, three vehicles, the building takes 10 kW more (each ``*`` 5 kW):

        before     A ****  B ****  C ****          cut C, the least urgent, to its least current; then B
        after      A ****  B ***   C *
    """
    candidates = list(order)
    for to_zero in (False, True):
        for evse_id in candidates:
            exceeded = tally.exceeded()
            if not exceeded:
                return
            fits_a = [fit_a for ceiling in exceeded if (fit_a := tally.fit_under_a(evse_id, ceiling)) is not None]
            if not fits_a:
                continue
            feeder, level_a = tally.feeders[evse_id], tally.levels_a[evse_id]
            floor_a = min(level_a, feeder.floor_a if to_zero else feeder.least_a)
            tally.set_level(evse_id, max(floor_a, feeder.stepped_a(min(*fits_a, level_a))))


def stops_needed(
    view: GuardView, tally: LoadTally, order: Iterable[EvseId], settings: ControlSettings
) -> tuple[EvseId, ...]:
    """Whose transaction must end, after all cuts: only while the site meter shows that a limit is exceeded.

    limit   ------------
    left    A *   B *       both at the least current that their stations take: B, the less urgent, is stopped
    """
    if not metered_import_exceeds(view, settings):
        return ()
    stops = []
    for evse_id in order:
        exceeded = tally.exceeded()
        if not exceeded:
            break
        if tally.feeders[evse_id].takes_zero or tally.levels_a[evse_id] <= 0.0:
            continue
        if any(tally.fit_under_a(evse_id, ceiling) is not None for ceiling in exceeded):
            tally.set_level(evse_id, 0.0)
            stops.append(evse_id)
    return tuple(stops)


def grant(
    tally: LoadTally,
    order: Iterable[EvseId],
    wished_a: Mapping[EvseId, float],
    told_a: Mapping[EvseId, float],
    cuts_a: Mapping[EvseId, float],
    kept_free_kw: float,
) -> dict[EvseId, float]:
    """The level that each EVSE may be told [A]: what was cut stays cut, what rises fits beside what others may draw.

    An EVSE that still counts at more than it was told (a reduction not yet seen) gets no increase for free: what it
    counts at may itself be too much.
    """
    granted_a = dict(cuts_a)
    for evse_id in order:
        if evse_id in cuts_a or evse_id not in wished_a:
            continue
        wish_a = wished_a[evse_id]
        if wish_a > told_a[evse_id]:
            room_a = tally.feeders[evse_id].stepped_a(tally.greatest_fit_a(evse_id, kept_free_kw))
            wish_a = min(wish_a, max(room_a, told_a[evse_id]))
            tally.set_level(evse_id, max(tally.levels_a[evse_id], wish_a))
        granted_a[evse_id] = wish_a
    return granted_a


def _commands(
    count: _Count,
    wished: Mapping[EvseId, LimitCommand],
    granted_a: Mapping[EvseId, float],
    exceeded: Sequence[Ceiling],
) -> tuple[tuple[LimitCommand, ...], tuple[LimitCommand, ...]]:
    """Commands for the granted levels, split into those that add no load and those that do."""
    view, settings = count.view, count.settings
    reductions, increases = [], []
    for evse_id, level_a in granted_a.items():
        command = wished.get(evse_id) or _as_in_force(view, evse_id)
        limit_kw = view.site.evses[evse_id].power_kw(level_a)
        if limit_kw < count.soon_kw(command.periods):
            reason = f"held at {limit_kw:.1f} kW by {exceeded[0]}" if exceeded else command.reason
            periods = clipped(_with_tail(view, command, settings), limit_kw)
            command = replace(command, periods=periods, reason=reason)
            if evse_id in wished and _changes_nothing(view, command, settings):
                continue
        if limit_kw <= count.bounds[evse_id].told_kw + SAME_KW and evse_id not in view.on_all_phases:
            reductions.append(command)
        else:
            increases.append(command)
    return tuple(reductions), tuple(increases)


def _with_tail(view: GuardView, command: LimitCommand, settings: ControlSettings) -> tuple[LimitPeriod, ...]:
    """The command's periods with the safe value at their end, also where it was the same as the rest."""
    if len(command.periods) > 1:
        return command.periods
    span_end = view.at + timedelta(seconds=settings.profile_span_s)
    return (*command.periods, LimitPeriod(span_end, view.safe_kw[command.evse_id]))


def _as_in_force(view: GuardView, evse_id: EvseId) -> LimitCommand:
    """The limit in force as a command, for an EVSE of which the plan asks nothing new."""
    connector, session = view.connectors[evse_id], view.sessions[evse_id]
    safe_kw = view.safe_kw[evse_id]
    setpoint = connector.setpoint
    if setpoint is None or not is_for(setpoint, session):
        now_kw = fallback_limit_kw(connector, view.site.evses[evse_id], safe_kw)
        periods: tuple[LimitPeriod, ...] = (LimitPeriod(view.at, now_kw),)
    else:
        ahead = tuple(period for period in setpoint.periods if period.start > view.at)
        periods = (replace(period_at(setpoint.periods, view.at), start=view.at), *ahead)
    phases = told_phases(session, connector)
    return LimitCommand(connector.station_id, evse_id, session.transaction_id, periods, phases=phases)


def _changes_nothing(view: GuardView, command: LimitCommand, settings: ControlSettings) -> bool:
    connector, session = view.connectors[command.evse_id], view.sessions[command.evse_id]
    setpoint = connector.setpoint
    if setpoint is None or not is_for(setpoint, session) or command.phases != told_phases(session, connector):
        return False
    if effective_state(setpoint, view.at, settings) in (LimitState.REJECTED, LimitState.UNANSWERED):
        return False
    return says_the_same(setpoint.periods, command.periods, view.at, settings)
