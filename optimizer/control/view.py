"""What the guard knows at one instant, and the limits and loads that follow from it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

from optimizer.control.ceilings import BaseLoad, Ceiling, CircuitLoad, Feeder, PowerCeiling, standing_ceilings
from optimizer.control.memory import ChangedEvses, GuardMemory
from optimizer.control.phases import phases_of
from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import Connector
from optimizer.domain.event import GridEvent, GridEventKind, GridEventStatus
from optimizer.domain.ids import CircuitId, EvseId
from optimizer.domain.metering import CircuitReading, MeterSample, SiteMeterReading
from optimizer.domain.session import Session, Vehicle
from optimizer.domain.site import ALL_PHASES, Circuit, LimitSource, Site

SAME_MOMENT_S = 5.0
"""A station's sample and a site reading this close belong to one moment [s]; meters do not tick together."""
UNEXPLAINED_SHARE = 0.02
"""Part of the counted load that may be missing between two meters of class 1 before it counts as a load of its own."""

_UNKNOWN = Vehicle()


@dataclass
class _Feeders:
    """Feeders as last seen; the same mapping while none has changed."""

    site: Site | None = None
    changed: ChangedEvses = field(default_factory=ChangedEvses)
    known: Mapping[EvseId, Feeder] = field(default_factory=dict)


@dataclass(frozen=True)
class GuardView:
    """Everything the guard needs, read from the stores at one instant."""

    at: datetime
    """Now [UTC]."""
    site: Site
    """What stands there."""
    connectors: Mapping[EvseId, Connector]
    """Every EVSE as last known, ``online`` filled in."""
    sessions: Mapping[EvseId, Session]
    """The vehicle plugged in at each EVSE that has one."""
    grid_events: tuple[GridEvent, ...]
    """Events in force or announced, not cancelled."""
    meter: SiteMeterReading | None
    """The newest reading of the site meter."""
    safe_kw: Mapping[EvseId, float]
    """The safe default that each EVSE is to hold [kW]."""
    overdraws: Mapping[EvseId, int]
    """Samples in a row in which an EVSE drew more than it was allowed; missing: none."""
    on_all_phases: frozenset[EvseId] = frozenset()
    """EVSEs that are about to be told to charge on three phases again; they count on all of them already."""
    memory: GuardMemory = field(default_factory=GuardMemory, repr=False, compare=False)
    """What was worked out at earlier looks; a view of what is only tried has one of its own."""

    @cached_property
    def feeders(self) -> Mapping[EvseId, Feeder]:
        """How each EVSE loads its circuits, with the phases that its vehicle is known to be on."""
        memo = self.memory.part(_Feeders)
        if memo.site is not self.site:
            memo.site, memo.changed, memo.known = self.site, ChangedEvses(), {}
        fresh = {}
        for evse_id in memo.changed.take(self.connectors, self.sessions):
            session, connector = self.sessions.get(evse_id), self.connectors[evse_id]
            vehicle = session.vehicle if session is not None else _UNKNOWN
            takes_zero = connector.setpoint is None or connector.setpoint.takes_zero
            phases = vehicle.phases_used if evse_id in self.on_all_phases else phases_of(session, connector)
            known = memo.known.get(evse_id)
            stands = (phases, vehicle.min_current_a, takes_zero)
            if known is None or stands != (known.phases_used, known.learnt_least_a, known.takes_zero):
                fresh[evse_id] = Feeder(self.site.evses[evse_id], *stands)
        if fresh:
            memo.known = {**memo.known, **fresh}
        return memo.known

    def fresh_meter(self, settings: ControlSettings) -> SiteMeterReading | None:
        """The site meter's reading, unless it is too old to be believed."""
        if self.meter is None or self.at - self.meter.at > timedelta(seconds=settings.meter_staleness_s):
            return None
        return self.meter


def fresh_sample(connector: Connector, at: datetime, settings: ControlSettings) -> MeterSample | None:
    """The connector's newest sample, unless it is too old to say anything of now."""
    sample = connector.last_sample
    if sample is None or at - sample.at > timedelta(seconds=settings.sample_staleness_s):
        return None
    return sample


def base_load(view: GuardView, counted_kw: float, settings: ControlSettings) -> BaseLoad:
    """What flows at the connection besides the EVSEs.

        meter fresh, building metered      building - PV, plus what the connection shows beyond all that is counted
        meter fresh, connection only       connection + PV - EVSEs metered at the same moment, at most the greatest
        meter stale or none                greatest building load, no PV

    Args:
        view: What is known.
        counted_kw: Power of all EVSEs as the guard counted them when the meter was read [kW].
        settings: Ages and tolerances.
    """
    reading = view.fresh_meter(settings)
    if reading is None or (reading.building_kw is None and reading.grid_kw is None):
        return _balanced_base(view.site, view.site.greatest_building_kw, view.site.greatest_building_kw)
    pv_kw = max(0.0, reading.pv_kw or 0.0)
    building_kw = reading.building_kw if reading.building_kw is not None else _estimated_building_kw(view, reading)
    firm_kw = pv_kw * view.site.pv_firm_share
    extra_kw = 0.0
    if reading.grid_kw is not None:
        extra_kw = reading.grid_kw - (building_kw - pv_kw) - counted_kw
        noise_kw = max(settings.verification_tolerance_kw, UNEXPLAINED_SHARE * counted_kw)
        extra_kw = extra_kw if extra_kw > noise_kw else 0.0
    base = _balanced_base(view.site, building_kw - pv_kw + extra_kw, building_kw - firm_kw + extra_kw)
    return _with_metered_phases(view.site, base, reading, counted_kw)


def base_for_raises(view: GuardView, base: BaseLoad, settings: ControlSettings) -> BaseLoad:
    """What flows besides the EVSEs as far as raises go: the building may have been switched on since the reading.

        reading    v           v                       v
        age        0 ... 15 s  0 ... 15 s   60 s       0
        raises     |--- by it -|--- by it --|- the greater of it and of the greatest building load
        cuts       |--- by it -|--- by it ---- by it --|--- by it

    Args:
        view: What is known.
        base: As `base_load` tells it.
        settings: The age.
    """
    reading = view.fresh_meter(settings)
    if reading is None or view.at - reading.at <= timedelta(seconds=settings.raise_reading_age_s):
        return base
    worst = _balanced_base(view.site, view.site.greatest_building_kw, view.site.greatest_building_kw)
    first, second, third = map(max, base.phase_a, worst.phase_a)
    return replace(
        base,
        import_kw=max(base.import_kw, worst.import_kw),
        fuse_kw=max(base.fuse_kw, worst.fuse_kw),
        phase_a=(first, second, third),
    )


def circuit_loads(
    view: GuardView, counted_kw: Mapping[EvseId, float], settings: ControlSettings
) -> dict[CircuitId, CircuitLoad]:
    """What flows through circuits inside the site besides their EVSEs, where a meter of their own tells it.

    It is what the meter shows beyond all that the EVSEs below count at, and never below zero: a circuit whose meter
    shows less than they may draw is as free as their limits leave it. Without a fresh reading nothing is known of it.

    Args:
        view: What is known.
        counted_kw: Power of each EVSE as the guard counted it when the meter was read [kW].
        settings: Ages and tolerances.
    """
    reading = view.fresh_meter(settings)
    loads = {}
    for metered in reading.circuits if reading is not None else ():
        if metered.circuit_id not in view.site.circuit_by_id:
            continue
        below = [view.feeders[evse_id] for evse_id in view.site.evses_below[metered.circuit_id]]
        explained_kw = sum(counted_kw.get(feeder.evse.id, 0.0) for feeder in below)
        noise_kw = max(settings.verification_tolerance_kw, UNEXPLAINED_SHARE * explained_kw)
        extra_kw = (metered.power_kw or 0.0) - explained_kw
        noise_a = noise_kw * 1000.0 / view.site.phase_voltage_v
        extra_a = [0.0, 0.0, 0.0]
        for index, phase in enumerate(ALL_PHASES):
            loading = [feeder for feeder in below if phase in feeder.phases]
            explained_a = sum(counted_kw.get(feeder.evse.id, 0.0) / feeder.kw_per_a for feeder in loading)
            beyond_a = metered.current_a[index] - explained_a if metered.current_a is not None else 0.0
            extra_a[index] = beyond_a if beyond_a > noise_a else 0.0
        first_a, second_a, third_a = extra_a
        loads[metered.circuit_id] = CircuitLoad(extra_kw if extra_kw > noise_kw else 0.0, (first_a, second_a, third_a))
    return loads


def _balanced_base(site: Site, import_kw: float, fuse_kw: float) -> BaseLoad:
    per_phase_a = max(0.0, fuse_kw * 1000.0 / (3.0 * site.phase_voltage_v))
    return BaseLoad(import_kw, fuse_kw, (per_phase_a, per_phase_a, per_phase_a))


def _with_metered_phases(site: Site, base: BaseLoad, reading: SiteMeterReading, counted_kw: float) -> BaseLoad:
    """Raise the current of a phase that the connection's meter shows to carry more than is explained."""
    if reading.current_a is None:
        return base
    ev_a = counted_kw * 1000.0 / site.phase_voltage_v  # as if every EVSE were on this one phase: never too little
    raised = tuple(
        max(base_a, metered_a - ev_a) for base_a, metered_a in zip(base.phase_a, reading.current_a, strict=True)
    )
    return BaseLoad(base.import_kw, base.fuse_kw, (raised[0], raised[1], raised[2]))


def _estimated_building_kw(view: GuardView, reading: SiteMeterReading) -> float:
    """Building load from the connection's power; EVSEs not metered at that moment count as building [kW]."""
    nearby = timedelta(seconds=SAME_MOMENT_S)
    samples = [connector.last_sample for connector in view.connectors.values()]
    drawn_kw = sum(
        sample.power_kw
        for sample in samples
        if sample is not None and sample.power_kw is not None and abs(sample.at - reading.at) <= nearby
    )
    estimate_kw = (reading.grid_kw or 0.0) + (reading.pv_kw or 0.0) - drawn_kw
    greatest_kw = view.site.greatest_building_kw
    return max(0.0, min(estimate_kw, greatest_kw) if greatest_kw > 0 else estimate_kw)


def ceilings_in_force(view: GuardView, base: BaseLoad, settings: ControlSettings) -> tuple[Ceiling, ...]:
    """All limits that must hold from now until the guard has looked ahead, grid events included."""
    ceilings = list(standing_ceilings(view.site, base))
    until = view.at + timedelta(seconds=settings.lookahead_s)
    for (kind, circuit_id), limit_kw in tightest_event_limits(view.grid_events, view.site, view.at, until).items():
        at_root = circuit_id == view.site.grid_connection.circuit_id
        with_building = at_root and kind is GridEventKind.IMPORT_LIMIT
        base_kw = base.import_kw if with_building else 0.0
        ceilings.append(PowerCeiling(circuit_id, LimitSource.GRID_EVENT, limit_kw, base_kw, with_building))
    return tuple(ceilings)


def tightest_event_limits(
    events: tuple[GridEvent, ...], site: Site, start: datetime, end: datetime
) -> dict[tuple[GridEventKind, CircuitId], float]:
    """The least power that grid events permit at any instant of ``[start, end]``, by kind and circuit [kW].

    Of events in conflict the one with the smaller priority number holds; of equal ones the tighter.
    """
    limiting = [event for event in events if event.kind in _LIMITING and event.status not in _OVER]
    instants = {start} | {
        part.interval.start for event in limiting for part in event.intervals if start < part.interval.start <= end
    }
    tightest: dict[tuple[GridEventKind, CircuitId], float] = {}
    for instant in instants:
        for key, limit_kw in _limits_at(limiting, site, instant).items():
            tightest[key] = min(limit_kw, tightest.get(key, limit_kw))
    return tightest


_LIMITING = (GridEventKind.IMPORT_LIMIT, GridEventKind.CONTROLLABLE_LIMIT)
_OVER = (GridEventStatus.CANCELLED, GridEventStatus.COMPLETED)


def _limits_at(events: list[GridEvent], site: Site, instant: datetime) -> dict[tuple[GridEventKind, CircuitId], float]:
    held: dict[tuple[GridEventKind, CircuitId], tuple[int, float]] = {}
    for event in events:
        value_kw = event.value_at(instant)
        if value_kw is None:
            continue
        circuit_id = event.circuit_id if event.circuit_id in site.circuit_by_id else None
        key = (event.kind, circuit_id or site.grid_connection.circuit_id)
        offered = (event.priority, max(0.0, value_kw))
        held[key] = min(offered, held.get(key, offered))
    return {key: limit_kw for key, (_, limit_kw) in held.items()}


def metered_import_exceeds(view: GuardView, settings: ControlSettings) -> bool:
    """Whether the site's meters show more than a limit on import, or of a circuit or its phases, permits now."""
    reading = view.fresh_meter(settings)
    if reading is None:
        return False
    if any(_exceeds(view.site.circuit_by_id.get(metered.circuit_id), metered) for metered in reading.circuits):
        return True
    root = view.site.circuit_by_id[view.site.grid_connection.circuit_id]
    if reading.current_a is not None and root.limit_a is not None and max(reading.current_a) > root.limit_a:
        return True
    if reading.grid_kw is None:
        return False
    limits_kw = [view.site.grid_connection.import_limit_kw]
    events_kw = tightest_event_limits(view.grid_events, view.site, view.at, view.at)
    event_kw = events_kw.get((GridEventKind.IMPORT_LIMIT, root.id))
    limits_kw += [limit_kw for limit_kw in (root.limit_kw, event_kw) if limit_kw is not None]
    return reading.grid_kw > min(limits_kw)


def _exceeds(circuit: Circuit | None, metered: CircuitReading) -> bool:
    if circuit is None:
        return False
    power_kw, current_a = metered.power_kw or 0.0, max(metered.current_a or (0.0,))
    too_much_kw = circuit.limit_kw is not None and power_kw > circuit.limit_kw
    return too_much_kw or (circuit.limit_a is not None and current_a > circuit.limit_a)
