"""Reading the ports: the guard's view every second, the planner's snapshot every few minutes. Writes nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

from optimizer.control.demand import DemandReader
from optimizer.control.expectation import flat_series, measured_series, with_measured_start
from optimizer.control.memory import FOR_EVER, ChangedEvses, GuardMemory, KeptEvses
from optimizer.control.phases import can_switch, open_phases
from optimizer.control.settings import ControlSettings
from optimizer.control.view import GuardView
from optimizer.domain.charger import Connector, ExternalLimit, LimitState
from optimizer.domain.event import GridEvent, GridEventStatus
from optimizer.domain.evolving import Evolving
from optimizer.domain.ids import EvseId, SessionId, StationId
from optimizer.domain.metering import MeterSample, SiteMeterReading
from optimizer.domain.plan import Plan
from optimizer.domain.reservation import ReservationStatus
from optimizer.domain.series import PowerSeries, PriceSeries
from optimizer.domain.site import Site
from optimizer.domain.snapshot import DemandState, Occupancy, SiteSnapshot
from optimizer.errors import SourceUnavailable
from optimizer.ports import ChargerGateway, ForecastSource, Quantity, Stores, TariffSource

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sources:
    """What is asked once a plan, not once a second."""

    tariffs: TariffSource
    """What energy costs."""
    forecasts: ForecastSource
    """What building and PV are expected to do."""
    demand: DemandReader
    """Peaks of the billing month."""


async def observe_guard(
    site: Site,
    stores: Stores,
    gateway: ChargerGateway,
    at: datetime,
    safe_kw: Mapping[EvseId, float],
    settings: ControlSettings,
    memory: GuardMemory | None = None,
) -> GuardView:
    """Read what the guard needs; with a ``memory`` of earlier looks only what has changed is worked out anew."""
    memory = memory or GuardMemory()
    seen = await _occupancy(site, stores, gateway, at, settings, memory)
    until = at + timedelta(seconds=settings.lookahead_s)
    events = await stores.grid_events.events(site.id, at, until + timedelta(microseconds=1))
    view = GuardView(
        at=at,
        site=site,
        connectors=seen.connectors,
        sessions=seen.session_at,
        grid_events=_not_cancelled(events),
        meter=await stores.meters.latest_site_reading(site.id),
        safe_kw=safe_kw,
        overdraws={},
        memory=memory,
    )
    overdraws = await _overdraws(view, stores, settings)
    return replace(view, overdraws=overdraws) if overdraws else view


async def observe(
    site: Site,
    stores: Stores,
    gateway: ChargerGateway,
    sources: Sources,
    at: datetime,
    settings: ControlSettings,
    memory: GuardMemory | None = None,
) -> SiteSnapshot:
    """Read everything that one plan is made of.

    A source without an answer does not stop planning: prices are taken from the plan in force, forecasts from what is
    measured or, for the building, from the greatest load.
    """
    end = at + timedelta(hours=settings.horizon_h)
    memory = memory or GuardMemory()
    seen = await _occupancy(site, stores, gateway, at, settings, memory)
    previous = await stores.plans.latest_plan(site.id)
    import_prices, export_prices, demand = await _prices(site, stores, sources, previous, at, end)
    meter = await stores.meters.latest_site_reading(site.id)
    recent_start = at - timedelta(hours=settings.recent_span_h)
    readings = await stores.meters.site_readings(site.id, recent_start, at)
    fresh = meter if meter and at - meter.at <= timedelta(seconds=settings.meter_staleness_s) else None
    reservations = await stores.reservations.reservations(site.id, at, end)
    return SiteSnapshot(
        at=at,
        site=site,
        connectors=tuple(seen.connectors.values()),
        sessions=seen.sessions,
        reservations=tuple(held for held in reservations if held.status is ReservationStatus.RESERVED),
        grid_events=_not_cancelled(await stores.grid_events.events(site.id, at, end)),
        import_prices=import_prices,
        export_prices=export_prices,
        building=await _expected(Quantity.BUILDING, site, sources, readings, fresh, at, end, settings),
        pv=await _expected(Quantity.PV, site, sources, readings, fresh, at, end, settings),
        demand=demand,
        meter=meter,
        previous_plan=previous,
    )


_Stands = tuple[SessionId | None, bool, tuple[ExternalLimit, ...], tuple[int, ...] | None]
"""How it stands with a connector beside what is stored: the session on it, online or not, limits of others, phases."""


@dataclass
class _Seen:
    """What was last read of the stations, and what it came to; the same mapping while nothing has changed."""

    site: Site | None = None
    switching: tuple[EvseId, ...] = ()
    evses_of: Mapping[StationId, Sequence[EvseId]] = field(default_factory=dict)
    changed: ChangedEvses = field(default_factory=ChangedEvses)
    online: frozenset[StationId] = frozenset()
    others: Mapping[EvseId, tuple[ExternalLimit, ...]] = field(default_factory=dict)
    rows: dict[EvseId, tuple[Connector, _Stands]] = field(default_factory=dict)
    connectors: Evolving[EvseId, Connector] = field(default_factory=Evolving)

    def begin(self, site: Site) -> None:
        """Forget everything, for another site stands there."""
        self.site, self.changed, self.rows, self.connectors = site, ChangedEvses(), {}, Evolving()
        self.switching = tuple(evse_id for evse_id, evse in site.evses.items() if can_switch(evse))
        self.evses_of = {station.id: [evse.id for evse in station.evses] for station in site.stations}

    def due(
        self,
        stored: Occupancy,
        online: frozenset[StationId],
        others: Mapping[EvseId, tuple[ExternalLimit, ...]],
    ) -> Iterable[EvseId]:
        """The EVSEs that may have changed; the phases that are open to a vehicle change by time, too."""
        due = dict.fromkeys(self.changed.take(stored.connectors, stored.session_at))
        for station_id in sorted(online ^ self.online):
            due.update(dict.fromkeys(self.evses_of[station_id]))
        due.update(dict.fromkeys((*others, *self.others, *self.switching)))
        self.online, self.others = online, others
        return due


async def _occupancy(
    site: Site,
    stores: Stores,
    gateway: ChargerGateway,
    at: datetime,
    settings: ControlSettings,
    memory: GuardMemory,
) -> Occupancy:
    """The vehicles, and every EVSE as last known, with all that the stations' connections tell filled in."""
    stored, memo = await stores.connectors.occupancy(site.id), memory.part(_Seen)
    if memo.site is not site:
        memo.begin(site)
    online = frozenset(station.id for station in site.stations if gateway.is_online(station.id))
    others = gateway.limits_of_others()
    fresh = {}
    for evse_id in memo.due(stored, online, others):
        evse, held, session = site.evses[evse_id], stored.connectors[evse_id], stored.session_at.get(evse_id)
        phases = None
        if can_switch(evse):
            willing = gateway.switches_phases(evse_id)
            phases = open_phases(evse, session, held, at, settings, willing=willing)
        session_id = session.id if session is not None else None
        stands = (session_id, evse.station_id in online, others.get(evse_id, ()), phases)
        before = memo.rows.get(evse_id)
        if before is None or held is not before[0] or stands != before[1]:
            memo.rows[evse_id] = (held, stands)
            fresh[evse_id] = _seen_connector(held, *stands)
    memo.connectors = memo.connectors.evolved(fresh)
    return replace(stored, connectors=memo.connectors)


def _seen_connector(
    held: Connector,
    session_id: SessionId | None,
    online: bool,
    external_limits: tuple[ExternalLimit, ...],
    phases: tuple[int, ...] | None,
) -> Connector:
    return replace(held, online=online, session_id=session_id, external_limits=external_limits, open_phases=phases)


def _not_cancelled(events: tuple[GridEvent, ...]) -> tuple[GridEvent, ...]:
    over = (GridEventStatus.CANCELLED, GridEventStatus.COMPLETED)
    return tuple(event for event in events if event.status not in over)


@dataclass
class _Suspects:
    """EVSEs whose newest sample is above their limit, and how many in a row are, until one of them is too old."""

    settings: ControlSettings | None = None
    kept: KeptEvses = field(default_factory=KeptEvses)
    changed: ChangedEvses = field(default_factory=ChangedEvses)
    counts: dict[EvseId, tuple[int, datetime]] = field(default_factory=dict)

    def begin(self, settings: ControlSettings) -> None:
        """Forget everything, for something else was chosen."""
        self.settings, self.kept, self.changed, self.counts = settings, KeptEvses(), ChangedEvses(), {}

    def to_count(self, view: GuardView, suspects: Iterable[EvseId]) -> set[EvseId]:
        """The EVSEs whose samples are to be counted anew."""
        for evse_id in self.changed.take(view.connectors, view.sessions):
            self.counts.pop(evse_id, None)
        return {one for one in suspects if one not in self.counts or view.at > self.counts[one][1]}


async def _overdraws(view: GuardView, stores: Stores, settings: ControlSettings) -> dict[EvseId, int]:
    """Samples in a row above the limit, only of EVSEs whose newest sample is above it; one look-up for all."""
    memo = view.memory.part(_Suspects)
    if memo.settings is not settings:
        memo.begin(settings)

    def is_suspect(evse_id: EvseId) -> bool:
        sample = view.connectors[evse_id].last_sample
        return sample is not None and _is_overdrawn(view, sample, settings)

    suspects = memo.kept.those(view.connectors, view.sessions, is_suspect)
    if unbroken := memo.to_count(view, suspects):
        window = timedelta(seconds=settings.tracking_window_s)
        found = await stores.meters.station_samples(view.site.id, view.at - window, view.at, evse_ids=unbroken)
        memo.counts.update(dict.fromkeys(unbroken, (0, FOR_EVER)))
        for sample, _ in reversed(found):
            if sample.evse_id not in unbroken or sample.power_kw is None:
                continue
            if _is_overdrawn(view, sample, settings):
                memo.counts[sample.evse_id] = (memo.counts[sample.evse_id][0] + 1, sample.at + window)
            else:
                unbroken.discard(sample.evse_id)
    counts = {evse_id: memo.counts[evse_id][0] for evse_id in suspects}
    return {evse_id: count for evse_id, count in counts.items() if count}


def _is_overdrawn(view: GuardView, sample: MeterSample, settings: ControlSettings) -> bool:
    """Whether a sample, taken when the limit had settled, shows more than was permitted."""
    connector = view.connectors.get(sample.evse_id)
    if connector is None or connector.setpoint is None or sample.power_kw is None:
        return False
    setpoint, settle = connector.setpoint, timedelta(seconds=settings.settle_s)
    if sample.at < (setpoint.answered_at or setpoint.sent_at) + settle:
        return False
    allowed_kw = max(setpoint.limit_at_kw(sample.at), setpoint.limit_at_kw(sample.at - settle))
    if setpoint.state not in (LimitState.ACCEPTED, LimitState.VERIFIED):
        allowed_kw = max(allowed_kw, setpoint.bound_before_kw)
    return sample.power_kw > view.feeders[sample.evse_id].permitted_kw(allowed_kw) + settings.verification_tolerance_kw


async def _prices(
    site: Site, stores: Stores, sources: Sources, previous: Plan | None, at: datetime, end: datetime
) -> tuple[PriceSeries, PriceSeries, tuple[DemandState, ...]]:
    try:
        tariff = await sources.tariffs.tariff(site.id, at, end)
    except SourceUnavailable as error:
        substitute = _prices_of(previous, site.currency, at, end)
        _LOG.warning("site %s: no prices (%s); planning with %s", site.id, error, substitute.source)
        return substitute, PriceSeries(site.currency, (at, end), (Decimal(0),), substitute.source), ()
    export = PriceSeries(tariff.currency, (at, end), (tariff.export_price_per_kwh,), tariff.name)
    return tariff.import_prices(at, end), export, await sources.demand.states(site, stores, tariff, at)


def _prices_of(plan: Plan | None, currency: str, at: datetime, end: datetime) -> PriceSeries:
    """The prices of the plan before where it reaches into the horizon, else a flat zero: charge at once."""
    if plan is None or plan.boundaries[-1] <= at:
        return PriceSeries(currency, (at, end), (Decimal(0),), "a flat price")
    ahead = [
        (max(at, start), Decimal(str(price)))
        for start, until, price in zip(plan.boundaries, plan.boundaries[1:], plan.import_price_per_kwh, strict=False)
        if until > at and max(at, start) < end
    ]
    boundaries = (*(start for start, _ in ahead), end)
    return PriceSeries(currency, boundaries, tuple(price for _, price in ahead), "the prices of the plan before")


async def _expected(
    quantity: Quantity,
    site: Site,
    sources: Sources,
    readings: tuple[SiteMeterReading, ...],
    fresh: SiteMeterReading | None,
    at: datetime,
    end: datetime,
    settings: ControlSettings,
) -> PowerSeries:
    """Forecast power, its first part replaced by what is measured now."""
    if quantity is Quantity.PV and not site.pv_arrays:
        return flat_series(at, end, 0.0)
    measured_kw = None
    if fresh is not None:
        measured_kw = fresh.pv_kw if quantity is Quantity.PV else fresh.building_kw
    try:
        forecast = await sources.forecasts.forecast(quantity, at, end, partial(measured_series, readings, quantity))
    except SourceUnavailable as error:
        substitute_kw = measured_kw if measured_kw is not None else 0.0
        if quantity is Quantity.BUILDING and measured_kw is None:
            substitute_kw = site.greatest_building_kw
        _LOG.warning("site %s: no forecast of %s (%s); planning with %.1f kW", site.id, quantity, error, substitute_kw)
        forecast = flat_series(at, end, substitute_kw)
    if measured_kw is None:
        return forecast
    return with_measured_start(forecast, measured_kw, at, timedelta(seconds=settings.measured_hold_s))
