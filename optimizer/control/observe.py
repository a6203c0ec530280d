"""Reading the ports: the guard's view every second, the planner's snapshot every few minutes. Writes nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from optimizer.control.demand import DemandReader
from optimizer.control.expectation import flat_series, measured_series, with_measured_start
from optimizer.control.phases import can_switch, open_phases
from optimizer.control.settings import ControlSettings
from optimizer.control.view import GuardView
from optimizer.domain.charger import Connector, ConnectorStatus, LimitState
from optimizer.domain.event import GridEvent, GridEventStatus
from optimizer.domain.ids import EvseId
from optimizer.domain.metering import MeterSample, SiteMeterReading
from optimizer.domain.plan import Plan
from optimizer.domain.reservation import ReservationStatus
from optimizer.domain.series import PowerSeries, PriceSeries
from optimizer.domain.session import Session
from optimizer.domain.site import Site
from optimizer.domain.snapshot import DemandState, SiteSnapshot
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
) -> GuardView:
    """Read what the guard needs."""
    sessions = await stores.sessions.sessions(site.id, active_only=True)
    session_at = {session.evse_id: session for session in sessions}
    connectors = await _connectors(site, stores, gateway, session_at, at, settings)
    until = at + timedelta(seconds=settings.lookahead_s)
    events = await stores.grid_events.events(site.id, at, until + timedelta(microseconds=1))
    view = GuardView(
        at=at,
        site=site,
        connectors=connectors,
        sessions=session_at,
        grid_events=_not_cancelled(events),
        meter=await stores.meters.latest_site_reading(site.id),
        safe_kw=safe_kw,
        overdraws={},
    )
    return replace(view, overdraws=await _overdraws(view, stores, settings))


async def observe(
    site: Site,
    stores: Stores,
    gateway: ChargerGateway,
    sources: Sources,
    at: datetime,
    settings: ControlSettings,
) -> SiteSnapshot:
    """Read everything that one plan is made of.

    A source without an answer does not stop planning: prices are taken from the plan in force, forecasts from what is
    measured or, for the building, from the greatest load.
    """
    end = at + timedelta(hours=settings.horizon_h)
    sessions = await stores.sessions.sessions(site.id, active_only=True)
    session_at = {session.evse_id: session for session in sessions}
    connectors = await _connectors(site, stores, gateway, session_at, at, settings)
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
        connectors=tuple(connectors.values()),
        sessions=sessions,
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


async def _connectors(
    site: Site,
    stores: Stores,
    gateway: ChargerGateway,
    session_at: Mapping[EvseId, Session],
    at: datetime,
    settings: ControlSettings,
) -> dict[EvseId, Connector]:
    known = {connector.evse_id: connector for connector in await stores.connectors.connectors(site.id)}
    online = {station.id: gateway.is_online(station.id) for station in site.stations}
    connectors = {}
    for evse in site.evses.values():
        session, held = session_at.get(evse.id), known.get(evse.id)
        connector = Connector(
            evse.id,
            evse.station_id,
            online=online[evse.station_id],
            status=held.status if held else ConnectorStatus.UNKNOWN,
            session_id=session.id if session else None,
            setpoint=held.setpoint if held else None,
            safe_default_kw=held.safe_default_kw if held else None,
            last_sample=held.last_sample if held else None,
            external_limits=gateway.external_limits(evse.id),
        )
        if can_switch(evse):
            willing = gateway.switches_phases(evse.id)
            numbers = open_phases(evse, session, connector, at, settings, willing=willing)
            connector = replace(connector, open_phases=numbers)
        connectors[evse.id] = connector
    return connectors


def _not_cancelled(events: tuple[GridEvent, ...]) -> tuple[GridEvent, ...]:
    over = (GridEventStatus.CANCELLED, GridEventStatus.COMPLETED)
    return tuple(event for event in events if event.status not in over)


async def _overdraws(view: GuardView, stores: Stores, settings: ControlSettings) -> dict[EvseId, int]:
    """Samples in a row above the limit, only of EVSEs whose newest sample is above it; one look-up for all."""
    newest = [connector.last_sample for connector in view.connectors.values() if connector.last_sample is not None]
    suspects = {sample.evse_id for sample in newest if _is_overdrawn(view, sample, settings)}
    if not suspects:
        return {}
    start = view.at - timedelta(seconds=settings.tracking_window_s)
    counts = dict.fromkeys(suspects, 0)
    unbroken = set(suspects)
    for sample, _ in reversed(await stores.meters.station_samples(view.site.id, start, view.at)):
        if sample.evse_id not in unbroken or sample.power_kw is None:
            continue
        if _is_overdrawn(view, sample, settings):
            counts[sample.evse_id] += 1
        else:
            unbroken.discard(sample.evse_id)
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
    recent = measured_series(readings, quantity)
    measured_kw = None
    if fresh is not None:
        measured_kw = fresh.pv_kw if quantity is Quantity.PV else fresh.building_kw
    try:
        forecast = await sources.forecasts.forecast(quantity, at, end, recent)
    except SourceUnavailable as error:
        substitute_kw = measured_kw if measured_kw is not None else 0.0
        if quantity is Quantity.BUILDING and measured_kw is None:
            substitute_kw = site.greatest_building_kw
        _LOG.warning("site %s: no forecast of %s (%s); planning with %.1f kW", site.id, quantity, error, substitute_kw)
        forecast = flat_series(at, end, substitute_kw)
    if measured_kw is None:
        return forecast
    return with_measured_start(forecast, measured_kw, at, timedelta(seconds=settings.measured_hold_s))
