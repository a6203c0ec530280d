"""The only place that names concrete classes: from a configuration to a running service.

configuration ──> site, tariff ──> stores, clock, prices, forecasts
                                        │
    HTTP routes ── Service ── SiteRuntime (ledger, guard, loop, settlement) ── OCPP central system
                                        │
                             jobs (settle, deliver, prices, spending)
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from aiohttp import web

from api.alert_watch import AlertWatch
from api.app import make_app, make_runner
from api.audit import StoredAuditTrail
from api.auth import KeyRing
from api.config import AcceleratedClockSection, Configuration, EndpointSection, EntsoePrices, OcppSection
from api.departures import DepartureLearner
from api.jobs import Jobs, Work
from api.listening import listening
from api.metrics import CountingGateway, ServiceMetrics
from api.pace import settings_at_pace
from api.planning_work import PlanningWork
from api.readiness import Readiness
from api.runtime import PlanningInputs, SiteRuntime
from api.service import Service
from api.spending import Spending
from api.upkeep import DailyBackup, purge_meters
from connectors.battery.modbus import ModbusBattery
from connectors.billing.delivery import deliver_due
from connectors.billing.webhook import WebhookBillingSink
from connectors.clock import AcceleratedClock, SystemClock
from connectors.forecasts.load import BuildingForecast
from connectors.forecasts.load_profiles import read_load_profile
from connectors.forecasts.pv import LONG_TERM_CLEARNESS, PvForecast
from connectors.forecasts.site_forecasts import NoPower, SiteForecasts
from connectors.forecasts.sky import ClearSky, WeatherSky
from connectors.forecasts.weather_files import read_weather
from connectors.ocpp.authority import StationAuthority
from connectors.ocpp.capability import CapabilityStore, FileCapabilities, MemoryCapabilities
from connectors.ocpp.operations import StationOperations
from connectors.ocpp.passwords import FilePasswords
from connectors.ocpp.security import PasswordStore, SecurityProfile, StaticCredentials, StationGate, server_tls
from connectors.ocpp.security_desk import SecurityDesk, SecurityJournal
from connectors.ocpp.server import OcppCentralSystem
from connectors.prices.book import TariffBook, TariffEntry
from connectors.prices.entsoe import EntsoePriceSource
from connectors.prices.price_files import FilePriceSource, read_prices
from connectors.prices.tariff_files import read_tariff
from connectors.storage.stores import DatabaseStores, open_stores
from optimizer.control.battery_desk import BatteryDesk
from optimizer.control.notices import ReservationNotices
from optimizer.control.safe_defaults import safe_defaults_kw
from optimizer.control.settings import ControlSettings
from optimizer.control.settlement import Settlement
from optimizer.control.sleepers import SleeperDesk
from optimizer.control.stop_pauses import StopPauseDesk
from optimizer.costing.billing_time import BillingCalendar, billing_months, days_beginning
from optimizer.domain.ids import StationId
from optimizer.domain.site import Site
from optimizer.domain.tariff import Tariff
from optimizer.errors import InvalidConfiguration
from optimizer.ports import ChargerGateway, Clock, ForecastSource, PriceSource, TariffSource

STOP_PATIENCE_WALL_S = 1.0
"""How long running requests and jobs are given at the end [s]."""

LOOK_S = 15.0
"""Between two looks whether a station is to be told of a reservation, or a vehicle to be woken [s]."""

GUARD_AGE_WALL_S = 2.0
"""A guard that rests less than this is never called late, however fast the clock runs [s]."""


@dataclass(frozen=True)
class RunningService:
    """A service that runs."""

    service: Service
    """What answers requests."""
    http_port: int
    """Where HTTP is answered."""
    ocpp_port: int
    """Where stations connect."""
    control: asyncio.Task[None]
    """Guards and plans; ends only when something is badly wrong."""
    further_ocpp_ports: tuple[int, ...] = ()
    """The other ports where stations connect."""


def planned_site(configuration: Configuration) -> Site:
    """The site as configured, with its tariff's name, checked as far as possible without starting anything.

    Raises:
        InvalidInput: A file that the configuration names cannot be used, or the site cannot be safe when every
            station is blind.
    """
    tariff = read_tariff(configuration.tariff.file)
    site = _site(configuration, tariff)
    safe_defaults_kw(site)
    _forecasts(configuration, site)
    _tariffs(configuration, site, tariff, _clock(configuration))
    _doors(configuration.ocpp, _passwords(configuration))
    _capabilities(configuration)
    _authority(configuration.ocpp)
    _billing_sink(configuration)
    return site


@asynccontextmanager
async def running(configuration: Configuration) -> AsyncIterator[RunningService]:
    """A running service; leaving it stops everything in good order.

    Raises:
        InvalidInput: Something in the configuration, or in a file that it names, cannot be used.
    """
    # Whatever may be wrong is found before anything is opened.
    clock = _clock(configuration)
    tariff = read_tariff(configuration.tariff.file)
    site = _site(configuration, tariff)
    tariffs = _tariffs(configuration, site, tariff, clock)
    forecasts = _forecasts(configuration, site)
    passwords = _passwords(configuration)
    doors = _doors(configuration.ocpp, passwords)
    capabilities = _capabilities(configuration)
    authority = _authority(configuration.ocpp)
    sink = _billing_sink(configuration)
    metrics = ServiceMetrics()
    settings = settings_at_pace(configuration.control, clock)
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(
            await open_stores(configuration.storage.url, [site], kept_plans=configuration.storage.kept_plans)
        )
        readiness = _readiness(configuration, settings, site, stores, clock)
        settlement, spending = _costing(configuration, site, stores, tariffs, clock)
        gateway = CountingGateway(metrics)
        departures = DepartureLearner(stores.sessions, site.id, configuration.planning)
        runtime = SiteRuntime(
            site,
            stores,
            clock,
            settings,
            gateway,
            _planning(tariffs, forecasts, departures),
            settlement,
            spending,
            metrics,
            readiness,
            meters_kept=_meters_kept(configuration),
        )
        stack.push_async_callback(runtime.close, STOP_PATIENCE_WALL_S)
        central = await _central(configuration, runtime, clock, doors[0].gate, stores, capabilities, authority)
        gateway.connect(central)
        operator = StationOperations(central.link, passwords)
        jobs = _jobs(configuration, clock, metrics, runtime, spending, tariffs, site)
        _keep_up(jobs, configuration, stores, site, clock, departures)
        _look_after_drivers(jobs, configuration, runtime, stores, gateway, operator, clock, settings)
        await stack.enter_async_context(_battery_told(configuration, jobs, runtime, stores, clock, settings))
        if sink is not None:
            await stack.enter_async_context(sink)
            jobs.every(configuration.jobs.deliver_s, "deliver", _delivery(stores, sink, clock, metrics))
        service = Service(
            site=site,
            clock=clock,
            stores=stores,
            gateway=gateway,
            operator=operator,
            reporter=central.reports,
            tariffs=tariffs,
            control=runtime,
            keys=KeyRing([key.to_key() for key in configuration.http.api_keys]),
            audit=StoredAuditTrail(stores.audit, clock),
            metrics=metrics,
            readiness=readiness,
        )
        async with _serving(configuration, service, central, doors, runtime, jobs) as started:
            yield started


async def _central(
    configuration: Configuration,
    runtime: SiteRuntime,
    clock: Clock,
    gate: StationGate,
    stores: DatabaseStores,
    capabilities: CapabilityStore,
    authority: StationAuthority | None,
) -> OcppCentralSystem:
    """The endpoint that stations connect to, with what they said of themselves before the service started."""
    behaviour = configuration.ocpp.behaviour
    central = OcppCentralSystem(
        runtime.site.stations,
        runtime.ledger,
        clock,
        behaviour,
        gate,
        stores.sessions,
        capabilities,
        _security_desk(configuration.ocpp, authority, StoredAuditTrail(stores.audit, clock)),
        stores.meters,
    )
    central.recall(await stores.connectors.station_boots())
    return central


@asynccontextmanager
async def _serving(
    configuration: Configuration,
    service: Service,
    central: OcppCentralSystem,
    doors: Sequence[_Door],
    runtime: SiteRuntime,
    jobs: Jobs,
) -> AsyncIterator[RunningService]:
    """Everything is made: control, listen; at the end the other way round, readiness first."""
    http = configuration.http
    app = make_app(service, body_limit_bytes=http.body_limit_bytes)
    http_runner = make_runner(app, shutdown_timeout_s=STOP_PATIENCE_WALL_S)
    control = asyncio.create_task(runtime.run(), name="control")
    jobs.every(configuration.jobs.alerts_s, "alerts", AlertWatch(service).look)
    try:
        async with AsyncExitStack() as stack:
            ports = [await stack.enter_async_context(_opened(door, central)) for door in doors]
            http_port = await stack.enter_async_context(listening("http", http_runner, http.host, http.port))
            jobs.start()
            try:
                yield RunningService(service, http_port, ports[0], control, tuple(ports[1:]))
            finally:
                service.readiness.stopping = True
    finally:
        await jobs.stop(STOP_PATIENCE_WALL_S)
        control.cancel()
        await asyncio.wait({control})


def _clock(configuration: Configuration) -> Clock:
    section = configuration.clock
    if isinstance(section, AcceleratedClockSection):
        return AcceleratedClock(section.simulated_start, section.wall_start, section.speed)
    return SystemClock()


def _site(configuration: Configuration, tariff: Tariff) -> Site:
    site = configuration.site.to_site(tariff.id)
    if tariff.currency != site.currency:
        fix = f"must be {site.currency}, the currency of the site"
        raise InvalidConfiguration("currency", tariff.currency, fix, where=str(configuration.tariff.file))
    return site


def _tariffs(configuration: Configuration, site: Site, tariff: Tariff, clock: Clock) -> TariffBook:
    section = configuration.market_prices
    entry = TariffEntry(tariff, _market(configuration), section.fallback_price_per_kwh if section else None)
    return TariffBook({site.id: entry}, clock, refresh_s=configuration.jobs.refresh_prices_s)


def _market(configuration: Configuration) -> PriceSource | None:
    section = configuration.market_prices
    if section is None:
        return None
    if isinstance(section, EntsoePrices):
        if section.api_key is None:
            fix = "set CHARGEHORIZON_ENTSOE_API_KEY to the key of your account at the Transparency Platform"
            raise InvalidConfiguration("market_prices.api_key", None, fix)
        return EntsoePriceSource(section.api_key.get_secret_value(), section.area)
    return FilePriceSource(read_prices(section.file, section.zone))


def _forecasts(configuration: Configuration, site: Site) -> ForecastSource:
    section = configuration.forecasts
    profile = read_load_profile(section.building_file) if section.building_file else None
    building = BuildingForecast(site.time_zone, profile)
    if not site.pv_arrays:
        return SiteForecasts(NoPower(), building)
    sky = WeatherSky(read_weather(section.weather_file)) if section.weather_file else ClearSky()
    # A weather file knows the clouds; a clear sky does not.
    usual = 1.0 if section.weather_file else LONG_TERM_CLEARNESS
    pv = PvForecast(
        site.pv_arrays,
        site.latitude_deg,
        site.longitude_deg,
        sky,
        long_term_clearness=section.long_term_clearness_share or usual,
    )
    return SiteForecasts(pv, building)


def _readiness(
    configuration: Configuration, settings: ControlSettings, site: Site, stores: DatabaseStores, clock: Clock
) -> Readiness:
    missed = configuration.jobs.ready_after_missed
    # Planning itself takes up to its time limit on the wall, on an accelerated clock a multiple of it.
    planning_s = configuration.planning.time_limit_s / clock.wall_seconds(1.0)
    return Readiness(
        site.id,
        stores,
        clock,
        greatest_guard_age_s=missed * max(settings.guard_period_s, GUARD_AGE_WALL_S / clock.wall_seconds(1.0)),
        greatest_plan_age_s=missed * (settings.replan_period_s + planning_s),
    )


def _passwords(configuration: Configuration) -> PasswordStore:
    """The stations' password hashes: those of the file that can be changed, then those of the configuration."""
    hashes = {StationId(one.station_id): one.password_hash for one in configuration.ocpp.passwords}
    file = configuration.passwords_file
    return StaticCredentials(hashes) if file is None else FilePasswords(file, hashes)


@dataclass(frozen=True)
class _Door:
    """A port for stations, checked and not yet open."""

    section: str
    """What the configuration calls it."""
    place: EndpointSection
    """Where it is."""
    gate: StationGate
    """Who is let in."""
    tls: ssl.SSLContext | None
    """How it is encrypted."""


def _doors(section: OcppSection, passwords: PasswordStore) -> tuple[_Door, ...]:
    """Every port for stations, the main one first."""
    named = [("ocpp", section), *((f"ocpp.further.{index}", one) for index, one in enumerate(section.further))]
    return tuple(_Door(name, place, _gate(place, section, passwords), _tls(place)) for name, place in named)


def _opened(door: _Door, central: OcppCentralSystem) -> AbstractAsyncContextManager[int]:
    application = central.application(door.gate)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=STOP_PATIENCE_WALL_S)
    return listening(door.section, runner, door.place.host, door.place.port, door.tls)


def _gate(place: EndpointSection, section: OcppSection, passwords: PasswordStore) -> StationGate:
    profile = SecurityProfile(place.security_profile)
    return StationGate(profile, passwords, section.behaviour.failed_logins_per_minute)


def _tls(section: EndpointSection) -> ssl.SSLContext | None:
    if section.tls is None or section.security_profile < SecurityProfile.TLS_BASIC:
        return None
    return server_tls(
        SecurityProfile(section.security_profile), section.tls.certificate, section.tls.key, section.tls.client_ca
    )


def _authority(section: OcppSection) -> StationAuthority | None:
    """The authority that signs stations' certificates; they are judged by real time, whatever the service's clock."""
    given = section.authority
    if given is None:
        return None
    return StationAuthority(given.certificate, given.key, SystemClock(), valid_days=given.valid_days)


def _security_desk(section: OcppSection, authority: StationAuthority | None, journal: SecurityJournal) -> SecurityDesk:
    if section.authority is None:
        return SecurityDesk(SystemClock(), journal)
    renew_before = timedelta(days=section.authority.renew_before_days)
    return SecurityDesk(SystemClock(), journal, authority, renew_before)


def _capabilities(configuration: Configuration) -> CapabilityStore:
    """What the meter proved of each kind of station; kept beside a SQLite database unless a file is named."""
    file = configuration.ocpp.proven_forms_file or configuration.beside_the_database("stations.json")
    return MemoryCapabilities() if file is None else FileCapabilities(file)


def _billing_sink(configuration: Configuration) -> WebhookBillingSink | None:
    section = configuration.billing_webhook
    if section is None:
        return None
    if section.secret is None:
        fix = "set CHARGEHORIZON_WEBHOOK_SECRET to the signing secret that the billing system knows, whsec_..."
        raise InvalidConfiguration("billing_webhook.secret", None, fix)
    return WebhookBillingSink(
        section.url,
        [section.secret.get_secret_value()],
        # Receivers compare the signature's time with their own, which is real whatever the service's clock shows.
        SystemClock(),
        timeout_s=section.timeout_s,
        allow_private_address=section.allow_private_address,
    )


def _delivery(stores: DatabaseStores, sink: WebhookBillingSink, clock: Clock, metrics: ServiceMetrics) -> Work:
    randomness = Random()

    async def deliver() -> None:
        done = await deliver_due(stores.records, sink, clock, randomness)
        metrics.records_delivered.labels("taken").inc(done.delivered)
        metrics.records_delivered.labels("failed").inc(done.failed)

    return deliver


def _costing(
    configuration: Configuration, site: Site, stores: DatabaseStores, tariffs: TariffSource, clock: Clock
) -> tuple[Settlement, Spending]:
    """What makes records and bills, and what tells the cost so far, on one calendar."""
    calendar = _calendar(configuration)
    settlement = Settlement(
        site,
        stores,
        tariffs,
        clock,
        calendar=calendar,
        patience=timedelta(minutes=configuration.billing.patience_minutes),
        offload=asyncio.to_thread,
    )
    return settlement, Spending(site, stores, tariffs, clock, calendar)


def _calendar(configuration: Configuration) -> BillingCalendar:
    billing = configuration.billing
    return days_beginning(billing.day_begins) if billing.window == "day" else billing_months


def _planning(tariffs: TariffSource, forecasts: ForecastSource, departures: DepartureLearner) -> PlanningInputs:
    work = PlanningWork(lambda: departures.settings)
    return PlanningInputs(tariffs, forecasts, work.assemble, work.plan, work.seen, departures.habits.target)


def _meters_kept(configuration: Configuration) -> timedelta | None:
    days = configuration.storage.meters_kept_days
    return None if days is None else timedelta(days=days)


@asynccontextmanager
async def _battery_told(
    configuration: Configuration,
    jobs: Jobs,
    runtime: SiteRuntime,
    stores: DatabaseStores,
    clock: Clock,
    settings: ControlSettings,
) -> AsyncIterator[None]:
    """The stationary battery follows the plan while the block runs, where it can be told; then it rests."""
    section = configuration.battery_control
    if section is None:
        yield
        return
    battery = ModbusBattery(section.to_settings())
    desk = BatteryDesk(stores, runtime.guard_view, battery, clock, settings)
    jobs.every(section.period_s, "battery", desk.look)
    try:
        yield
    finally:
        await desk.rest()
        battery.close()


def _look_after_drivers(
    jobs: Jobs,
    configuration: Configuration,
    runtime: SiteRuntime,
    stores: DatabaseStores,
    gateway: ChargerGateway,
    operator: StationOperations,
    clock: Clock,
    settings: ControlSettings,
) -> None:
    """Add the jobs that tell stations of reservations, wake vehicles, and pause those that no limit pauses."""
    notices = ReservationNotices(runtime.site, stores, gateway, operator, clock, settings)
    desk = SleeperDesk(runtime.site, stores, runtime.tracking, operator, clock, settings)
    jobs.every(LOOK_S, "reservations", notices.tell)
    jobs.every(LOOK_S, "sleepers", desk.look)
    stations = configuration.ocpp.behaviour.stop_to_pause_stations
    if stations:
        pauses = StopPauseDesk(runtime.site, stations, stores, runtime.ledger, operator, clock, settings)
        jobs.every(LOOK_S, "stop pauses", pauses.look)


def _keep_up(
    jobs: Jobs,
    configuration: Configuration,
    stores: DatabaseStores,
    site: Site,
    clock: Clock,
    departures: DepartureLearner,
) -> None:
    """Add the jobs that keep the database in order, and learn from the past sessions in it."""
    jobs.every(configuration.jobs.upkeep_s, "departures", departures.learn)
    storage, kept = configuration.storage, _meters_kept(configuration)
    if kept is not None:

        async def purge() -> None:
            await purge_meters(stores, site.id, clock, kept)

        jobs.every(configuration.jobs.upkeep_s, "purge", purge)
    if storage.backup_folder is not None and storage.sqlite_file is not None:
        name = storage.sqlite_file.stem
        backup = DailyBackup(stores, clock, storage.backup_folder, name, storage.kept_backups)
        jobs.every(configuration.jobs.upkeep_s, "backup", backup.run)


def _jobs(
    configuration: Configuration,
    clock: Clock,
    metrics: ServiceMetrics,
    runtime: SiteRuntime,
    spending: Spending,
    tariffs: TariffSource,
    site: Site,
) -> Jobs:
    sections = configuration.jobs
    horizon = timedelta(hours=configuration.control.horizon_h)

    async def refresh_prices() -> None:
        now = clock.now()
        await tariffs.tariff(site.id, now, now + horizon)

    jobs = Jobs(clock, metrics)
    jobs.every(sections.settle_s, "settle", runtime.settle)
    jobs.every(sections.settle_s, "spending", spending.refresh)
    jobs.every(sections.settle_s, "grid event responses", runtime.count_responses)
    jobs.every(sections.settle_s, "memory", runtime.give_back_memory)
    if configuration.market_prices is not None:
        jobs.every(sections.refresh_prices_s, "prices", refresh_prices)
    return jobs
