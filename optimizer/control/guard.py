"""What may be sent now, whatever the plan says: cuts at once, increases only where there is room.

Two sums are made of what every EVSE counts at. Expected: reductions that are under way count as done for a short while;
cuts are decided by this one, so that nobody is cut twice. Pessimistic: every EVSE at all that it may draw; an increase
needs room in this one.

    limit  ------------------------------------------      pessimistic   A ######  B ####  C ##     no room for C
                                                           expected      A ###     B ####  C ##     no need to cut
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from optimizer.control.bounds import (
    Bound,
    BoundKind,
    bound_lasts_until,
    bound_of,
    fallback_limit_kw,
    was_not_taken,
)
from optimizer.control.ceilings import (
    AMPERE_SLACK,
    Ceiling,
    CurrentCeiling,
    Feeder,
    FloatArray,
    LoadPaths,
    LoadShares,
    LoadTally,
)
from optimizer.control.memory import ChangedEvses, GuardMemory
from optimizer.control.phases import told_phases
from optimizer.control.profile import SAME_KW, clipped, greatest_between_kw, is_for, period_at, says_the_same
from optimizer.control.settings import ControlSettings
from optimizer.control.stops import deaf_evses, last_stops, stops_needed
from optimizer.control.view import (
    GuardView,
    base_for_raises,
    base_load,
    ceilings_in_force,
    circuit_loads,
    metered_import_exceeds,
)
from optimizer.domain.charger import LimitCommand, LimitPeriod
from optimizer.domain.ids import CircuitId, EvseId
from optimizer.domain.site import Phase, Site


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


@dataclass
class _Counted:
    """What every EVSE counts at, kept from look to look; arrays are in the order of the site's EVSEs."""

    site: Site | None = None
    settings: ControlSettings | None = None
    safe_kw: Mapping[EvseId, float] = field(default_factory=dict)
    at: datetime | None = None
    overloaded: bool = False
    overdraws: Mapping[EvseId, int] = field(default_factory=dict)
    changed: ChangedEvses = field(default_factory=ChangedEvses)
    place: Mapping[EvseId, int] = field(default_factory=dict)
    bounds: Mapping[EvseId, Bound] = field(default_factory=dict)
    ends: dict[EvseId, datetime] = field(default_factory=dict)
    may_a: FloatArray = field(default_factory=lambda: np.zeros(0))
    expected_a: FloatArray = field(default_factory=lambda: np.zeros(0))
    starting_a: FloatArray = field(default_factory=lambda: np.zeros(0))
    counted_kw: FloatArray = field(default_factory=lambda: np.zeros(0))
    counted_before_kw: FloatArray = field(default_factory=lambda: np.zeros(0))
    sent_s: FloatArray = field(default_factory=lambda: np.zeros(0))
    starts_differ: bool = True

    def begin(self, view: GuardView, settings: ControlSettings) -> None:
        """Forget everything, for what stands there or is chosen is another."""
        self.site, self.settings, self.safe_kw = view.site, settings, view.safe_kw
        self.changed, self.ends, self.bounds = ChangedEvses(), {}, {}
        self.place = {evse_id: place for place, evse_id in enumerate(view.site.evses)}
        count = len(self.place)
        self.may_a, self.expected_a = np.zeros(count), np.zeros(count)
        self.starting_a, self.sent_s = np.zeros(count), np.zeros(count)
        self.counted_kw, self.counted_before_kw = np.zeros(count), np.zeros(count)

    def due(self, view: GuardView, *, overloaded: bool) -> Iterable[EvseId]:
        """The EVSEs that may count at something else than at the look before."""
        changed = self.changed.take(view.connectors, view.sessions)
        if not self.bounds or overloaded or self.overloaded or self.at is None or view.at < self.at:
            return view.site.evses
        due = dict.fromkeys(changed)
        due.update(dict.fromkeys(evse_id for evse_id, end in self.ends.items() if end <= view.at))
        if view.overdraws or self.overdraws:
            due.update(dict.fromkeys([*view.overdraws, *self.overdraws]))
        return due

    def counted_when_read_kw(self, view: GuardView) -> FloatArray:
        """What each counted at when the site meter was read; a raise since then explains nothing of it [kW].

        Returns:
            Power, shape (EVSEs,).
        """
        if view.meter is None:
            return self.counted_kw
        sent_since = self.sent_s > view.meter.at.timestamp()
        return np.where(sent_since, self.counted_before_kw, self.counted_kw)

    def note(self, view: GuardView, evse_id: EvseId, bound: Bound, settings: ControlSettings) -> None:
        """Enter what an EVSE counts at into the arrays; an idle one counts by the room that is kept for it."""
        place, evse, feeder = self.place[evse_id], view.site.evses[evse_id], view.feeders[evse_id]
        is_idle = bound.kind is BoundKind.IDLE and settings.concurrent_starts is not None
        starting_a = evse.current_a(bound.may_kw) if is_idle else 0.0
        if starting_a != self.starting_a[place]:
            self.starting_a[place] = starting_a
            self.starts_differ = True
        self.may_a[place] = 0.0 if is_idle else min(evse.current_a(bound.may_kw), evse.max_current_a)
        self.expected_a[place] = 0.0 if is_idle else min(evse.current_a(bound.expected_kw), evse.max_current_a)
        # Idle EVSEs draw nothing: what the site meter shows beyond all others is a load that nobody has told of.
        setpoint = view.connectors[evse_id].setpoint
        before_kw = bound.may_kw if setpoint is None else min(bound.may_kw, setpoint.bound_before_kw)
        self.sent_s[place] = 0.0 if setpoint is None else setpoint.sent_at.timestamp()
        self.counted_kw[place] = 0.0 if is_idle else feeder.permitted_kw(bound.may_kw)
        self.counted_before_kw[place] = 0.0 if is_idle else feeder.permitted_kw(before_kw)


@dataclass
class _Paths:
    """Shares of the plugs in the ceilings, and room kept for starts, while feeders and circuits are the same."""

    feeders: Mapping[EvseId, Feeder] = field(default_factory=dict)
    places: tuple[tuple[CircuitId, Phase | None], ...] = ()
    shares: LoadShares | None = None
    reserves: FloatArray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class _Count:
    """What every EVSE counts at, and the limits that the sums must keep."""

    view: GuardView
    settings: ControlSettings
    counted: _Counted
    paths: LoadPaths
    paths_for_raises: LoadPaths
    reserves: FloatArray

    @property
    def bounds(self) -> Mapping[EvseId, Bound]:
        """What every EVSE may draw at most."""
        return self.counted.bounds

    def tally_for_cuts(self, expected_a: FloatArray) -> LoadTally:
        """The sums at what is expected [A]; idle EVSEs count by the room that is kept for them."""
        return LoadTally.counted(self.paths, expected_a, self.reserves)

    def tally_for_raises(self) -> LoadTally:
        """The sums at all that every EVSE may draw."""
        return LoadTally.counted(self.paths_for_raises, self.counted.may_a, self.reserves)

    def expected_a(self, wished_kw: Mapping[EvseId, float]) -> FloatArray:
        """What is expected at each plug where wishes below it are kept [A], shape (EVSEs,)."""
        levels_a = self.counted.expected_a.copy()
        for evse_id, wish_kw in wished_kw.items():
            place = self.counted.place[evse_id]
            levels_a[place] = min(levels_a[place], self.amps(evse_id, wish_kw))
        return levels_a

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
    wished = {command.evse_id: command for command in wishes if bounds[command.evse_id].steerable}
    wished_kw = {evse_id: count.soon_kw(command.periods) for evse_id, command in wished.items()}
    releases = tuple(command for command in wishes if command.evse_id not in view.sessions)
    expected_a = count.expected_a(wished_kw)
    exceeded = tuple(count.paths.exceeded_by(expected_a, count.reserves))
    if not exceeded and not wished:
        return GuardDecision(releases, (), bounds, ())
    concerned = [evse_id for evse_id, bound in bounds.items() if bound.steerable] if exceeded else wished
    order = priority_order(view, concerned)
    cuts_a, stops = _cuts(count, expected_a, order) if exceeded else ({}, ())
    granted_a = grant(
        count.tally_for_raises(),
        order,
        {evse_id: count.amps(evse_id, wish_kw) for evse_id, wish_kw in wished_kw.items()},
        {evse_id: count.amps(evse_id, bounds[evse_id].told_kw) for evse_id in order},
        cuts_a,
        _kept_free_kw(view, settings),
    )
    reductions, increases = _commands(count, wished, granted_a, exceeded)
    return GuardDecision((*releases, *reductions), increases, bounds, exceeded, stops)


def _cuts(
    count: _Count, expected_a: FloatArray, order: Sequence[EvseId]
) -> tuple[dict[EvseId, float], tuple[EvseId, ...]]:
    """The level that each EVSE is cut to [A], and whose transaction must end."""
    bounds, settings = count.bounds, count.settings
    expected = count.tally_for_cuts(expected_a)
    before_a = dict(expected.levels_a)
    cut(expected, [evse_id for evse_id in reversed(order) if not is_overdue(bounds[evse_id], settings)])
    # One that counts at more than it was told, for it did not answer, is told no more than before by being cut.
    cuts_a = {
        evse_id: min(expected.levels_a[evse_id], count.amps(evse_id, bounds[evse_id].told_kw))
        for evse_id in order
        if expected.levels_a[evse_id] < before_a[evse_id]
    }
    stops = stops_needed(count.view, expected, reversed(order), settings)
    if not stops and not cuts_a:
        deaf = priority_order(count.view, deaf_evses(count.view, bounds))
        stops = last_stops(count.view, expected, bounds, reversed(deaf), settings)
    return cuts_a, stops


def _count(view: GuardView, settings: ControlSettings) -> _Count:
    counted = _counted(view, settings)
    read_kw = counted.counted_when_read_kw(view)
    base = base_load(view, float(read_kw.sum()), settings)
    if view.meter is not None and view.meter.circuits:
        of_evse_kw = dict(zip(view.site.evses, read_kw.tolist(), strict=True))
        base = replace(base, circuits=circuit_loads(view, of_evse_kw, settings))
    ceilings = ceilings_in_force(view, base, settings)
    memo = view.memory.part(_Paths)
    places = tuple((one.circuit_id, one.phase if isinstance(one, CurrentCeiling) else None) for one in ceilings)
    if memo.shares is None or memo.feeders is not view.feeders or memo.places != places:
        memo.feeders, memo.places = view.feeders, places
        memo.shares = LoadShares.of(view.site, ceilings, view.feeders)
        counted.starts_differ = True
    if counted.starts_differ:
        starts = settings.concurrent_starts or 0
        memo.reserves = memo.shares.reserves(counted.starting_a, starts, len(ceilings))
        counted.starts_differ = False
    paths = paths_for_raises = LoadPaths(ceilings, view.feeders, memo.shares)
    base_raised = base_for_raises(view, base, settings)
    if base_raised is not base:
        paths_for_raises = replace(paths, ceilings=ceilings_in_force(view, base_raised, settings))
    return _Count(view, settings, counted, paths, paths_for_raises, memo.reserves)


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
        tried = view.on_all_phases | {command.evse_id}
        trial = replace(view, on_all_phases=tried, memory=GuardMemory())
        count = _count(trial, settings)
        tally = count.tally_for_raises()
        level_a = max(tally.levels_a[command.evse_id], count.amps(command.evse_id, count.soon_kw(command.periods)))
        if tally.greatest_fit_a(command.evse_id, _kept_free_kw(view, settings)) >= level_a - AMPERE_SLACK:
            view = trial
            kept.append(command)
    return view, tuple(kept)


def all_bounds(view: GuardView, settings: ControlSettings) -> Mapping[EvseId, Bound]:
    """What every EVSE may draw at most."""
    return _counted(view, settings).bounds


def _counted(view: GuardView, settings: ControlSettings) -> _Counted:
    """What every EVSE counts at now; only those are worked out anew of which something has changed."""
    counted = view.memory.part(_Counted)
    if counted.site is not view.site or counted.settings is not settings or counted.safe_kw is not view.safe_kw:
        counted.begin(view, settings)
    overloaded = metered_import_exceeds(view, settings)
    fresh = {}
    for evse_id in counted.due(view, overloaded=overloaded):
        bound = bound_of(view, evse_id, settings, overloaded=overloaded)
        counted.ends[evse_id] = bound_lasts_until(view, evse_id, settings)
        if counted.bounds.get(evse_id) != bound:
            fresh[evse_id] = bound
        counted.note(view, evse_id, bound, settings)
    if fresh:
        counted.bounds = {**counted.bounds, **fresh}
    counted.at, counted.overloaded, counted.overdraws = view.at, overloaded, view.overdraws
    return counted


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
    if was_not_taken(setpoint, view.at, settings):
        return False
    return says_the_same(setpoint.periods, command.periods, view.at, settings)
