"""Sites, their live state, and the readings of their own meter."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from api.auth import Scope
from api.cost_views import MoneyView
from api.operations import Call, Operation, Reply
from api.plan_views import OutcomeView
from api.schemas import SiteMeterReadingRequest, SiteMeterReadingsRequest
from api.service import Service
from api.site_views import ConnectorView, SiteListView, SiteLoadView, SiteStatusView, SiteView
from api.views import MeterReceiptView
from optimizer.domain.charger import Connector
from optimizer.domain.event import GridEvent, GridEventKind
from optimizer.domain.ids import CircuitId, SiteId
from optimizer.domain.metering import CircuitReading, SiteMeterReading
from optimizer.domain.site import LimitSource, Site
from optimizer.errors import InvalidRequest, NotFound, SourceUnavailable

# A reading from further ahead comes from a meter whose clock is wrong.
GREATEST_LEAD = timedelta(minutes=15)


async def sites(call: Call) -> Reply[SiteListView]:
    """List the sites of the service."""
    return Reply(SiteListView(sites=[SiteView.of(call.service.site)]))


async def site(call: Call) -> Reply[SiteStatusView]:
    """Show a site as it is now: power and limit of each connector, load, price, peak and cost so far."""
    _require_site(call)
    return Reply(await site_status(call.service))


async def push_readings(call: Call, body: SiteMeterReadingsRequest) -> Reply[MeterReceiptView]:
    """Take readings of the site meter; they are durable before the answer, and a repeated one changes nothing.

    The guard looks at once.
    """
    _require_site(call)
    latest = call.service.clock.now() + GREATEST_LEAD
    for index, reading in enumerate(body.readings):
        if reading.at > latest:
            raise InvalidRequest(
                f"readings.{index}.at", reading.at.isoformat(), f"must not be after {latest.isoformat()}"
            )
        for place, metered in enumerate(reading.circuits):
            if metered.circuit_id not in call.service.site.circuit_by_id:
                fix = f"name one of the circuits {sorted(call.service.site.circuit_by_id)}"
                raise InvalidRequest(f"readings.{index}.circuits.{place}.circuit_id", metered.circuit_id, fix)
    async with call.service.stores.together():
        for reading in body.readings:
            await call.service.stores.meters.add_site_reading(_reading(call.service.site.id, reading))
    call.service.control.guard_soon()
    return Reply(MeterReceiptView(stored=len(body.readings)))


async def site_status(service: Service) -> SiteStatusView:
    """The live state of the service's site."""
    now, stores, at_site = service.clock.now(), service.stores, service.site
    connectors = [
        replace(connector, online=service.gateway.is_online(connector.station_id))
        for connector in await stores.connectors.connectors(at_site.id)
    ]
    events = await stores.grid_events.events(at_site.id, now, now + timedelta(seconds=1))
    limit_kw, source = import_limit_now(at_site, events, now)
    reading = await stores.meters.latest_site_reading(at_site.id)
    outcome = await service.control.last_outcome()
    bill = await service.control.cost_so_far()
    return SiteStatusView(
        **SiteView.of(at_site).model_dump(),
        at=now,
        load=SiteLoadView.of(reading) if reading else None,
        vehicles_kw=sum(_power_kw(connector) for connector in connectors),
        import_limit_now_kw=limit_kw,
        import_limit_source=source,
        active_sessions=len(await stores.sessions.sessions(at_site.id, active_only=True)),
        import_price_per_kwh=await _price_now(service, now),
        peak_kw=bill.peak_kw if bill else None,
        cost=MoneyView.of(bill.total, bill.currency) if bill else None,
        last_plan=OutcomeView.of(outcome) if outcome else None,
        connectors=[ConnectorView.of(connector, now) for connector in connectors],
    )


def import_limit_now(at_site: Site, events: tuple[GridEvent, ...], now: datetime) -> tuple[float, LimitSource]:
    """The tightest limit on import at ``now`` and who set it [kW]."""
    root = at_site.circuit_by_id[at_site.grid_connection.circuit_id]
    limits = [(at_site.grid_connection.import_limit_kw, at_site.grid_connection.source)]
    if root.limit_kw is not None:
        limits.append((root.limit_kw, root.limit_source))
    for event in events:
        value_kw = event.value_at(now)
        on_connection = event.circuit_id in (None, root.id)
        if event.kind is GridEventKind.IMPORT_LIMIT and on_connection and value_kw is not None:
            limits.append((value_kw, LimitSource.GRID_EVENT))
    return min(limits, key=lambda limit: limit[0])


async def _price_now(service: Service, now: datetime) -> Decimal | None:
    try:
        tariff = await service.tariffs.tariff(service.site.id, now, now + timedelta(minutes=1))
    except SourceUnavailable:
        return None
    return tariff.import_price_per_kwh_at(now)


def _power_kw(connector: Connector) -> float:
    sample = connector.last_sample
    return sample.power_kw if sample is not None and sample.power_kw is not None else 0.0


def _reading(site_id: SiteId, pushed: SiteMeterReadingRequest) -> SiteMeterReading:
    circuits = tuple(CircuitReading(CircuitId(one.circuit_id), one.power_kw, one.current_a) for one in pushed.circuits)
    return SiteMeterReading(site_id=site_id, circuits=circuits, **pushed.model_dump(exclude={"circuits"}))


def _require_site(call: Call) -> None:
    if call.path["site_id"] != call.service.site.id:
        raise NotFound("site", call.path["site_id"])


OPERATIONS = (
    Operation("GET", "/v1/sites", sites, Scope.READ),
    Operation("GET", "/v1/sites/{site_id}", site, Scope.READ),
    Operation("POST", "/v1/sites/{site_id}/meter-readings", push_readings, Scope.METER),
)
