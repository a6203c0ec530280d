"""A running HTTP service over real stores, with a control loop that only notes what it is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from api.app import make_app, make_runner
from api.audit import StoredAuditTrail
from api.auth import ApiKey, KeyRing, Scope, hash_of
from api.metrics import ServiceMetrics
from api.readiness import Readiness
from api.service import Service
from connectors.ocpp.operations import StationOperations
from connectors.ocpp.security import SecurityProfile, StationGate
from connectors.ocpp.server import OcppCentralSystem
from connectors.ocpp.settings import OcppSettings
from connectors.storage.stores import DatabaseStores, open_stores
from optimizer.control.track import TrackedEvse
from optimizer.costing.balance import BalanceReport
from optimizer.domain.charger import ExternalLimit, LimitCommand, LimitState
from optimizer.domain.cost import SiteBill
from optimizer.domain.ids import CircuitId, EvseId, SessionId, SiteId, StationId, TariffId, TokenId, TransactionId
from optimizer.domain.moment import Interval
from optimizer.domain.plan import PlanOutcome
from optimizer.domain.session import DepartureTarget, Session
from optimizer.domain.site import Circuit, Evse, GridConnection, Site, Station
from optimizer.domain.tariff import EnergyBand, Tariff, TariffWindow
from optimizer.ports import LimitReply, Stores

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
KEYS = {scope: f"key-for-{scope}" for scope in Scope}


def garage() -> Site:
    """Two stations of 11 kW on a fuse of 63 A."""
    stations = tuple(
        Station(
            StationId(name),
            (Evse(EvseId(name), StationId(name), 1, CircuitId("main"), max_current_a=16.0),),
        )
        for name in ("A", "B")
    )
    return Site(
        id=SiteId("garage"),
        name="Garage",
        time_zone="Europe/Berlin",
        currency="EUR",
        circuits=(Circuit(CircuitId("main"), None, limit_a=63.0),),
        stations=stations,
        grid_connection=GridConnection(CircuitId("main"), import_limit_kw=40.0),
        tariff_id=TariffId("flat"),
        greatest_building_kw=15.0,
    )


FLAT = Tariff(
    id=TariffId("flat"),
    name="Flat",
    currency="EUR",
    time_zone="Europe/Berlin",
    energy_bands=(EnergyBand("all", TariffWindow(), Decimal("0.25")),),
)


class HandClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.instant = NOW

    def now(self) -> datetime:
        return self.instant

    async def sleep(self, seconds: float) -> None:
        self.instant += timedelta(seconds=seconds)

    def wall_seconds(self, seconds: float) -> float:
        return seconds


class FlatTariffs:
    """One tariff for all."""

    async def tariff(self, site_id: SiteId, start: datetime, end: datetime) -> Tariff:
        return FLAT


class OnlineGateway:
    """Stations of which A is connected."""

    async def set_limit(self, command: LimitCommand) -> LimitReply:
        return LimitReply(LimitState.ACCEPTED)

    async def set_safe_default(self, station_id: StationId, evse_id: EvseId, limit_kw: float) -> LimitReply:
        return LimitReply(LimitState.ACCEPTED)

    async def clear_limit(self, station_id: StationId, evse_id: EvseId) -> LimitReply:
        return LimitReply(LimitState.ACCEPTED)

    async def stop_charging(self, station_id: StationId, transaction_id: TransactionId) -> LimitReply:
        return LimitReply(LimitState.ACCEPTED)

    def is_online(self, station_id: StationId) -> bool:
        return station_id == "A"

    def limits_of_others(self) -> Mapping[EvseId, tuple[ExternalLimit, ...]]:
        return {}

    def switches_phases(self, evse_id: EvseId) -> bool:
        return False


@dataclass
class NotedControl:
    """Notes what it is asked, and gives the answers it was given."""

    asked: list[str] = field(default_factory=list)
    report: BalanceReport | None = None
    bill: SiteBill | None = None
    failure: Exception | None = None
    stores: Stores | None = None
    tracked: tuple[TrackedEvse, ...] = ()

    def guard_soon(self) -> None:
        self.asked.append("guard")

    def plan_soon(self, trigger: str) -> None:
        self.asked.append(f"plan: {trigger}")

    async def set_targets(self, session_id: SessionId, targets: Sequence[DepartureTarget]) -> Session:
        assert self.stores is not None
        session = replace(await self.stores.sessions.session(session_id), targets=tuple(targets))
        await self.stores.sessions.save_session(session)
        self.asked.append("targets")
        return session

    async def close_window(self, window: Interval) -> BalanceReport:
        if self.failure is not None:
            raise self.failure
        assert self.report is not None
        return self.report

    async def last_outcome(self) -> PlanOutcome | None:
        assert self.stores is not None
        return next(iter(await self.stores.plans.outcomes(SiteId("garage"), 1)), None)

    async def may_start(self, evse_id: EvseId, token_id: TokenId) -> bool:
        return token_id != "stranger"

    async def tracking(self) -> tuple[TrackedEvse, ...]:
        return self.tracked

    async def cost_so_far(self) -> SiteBill | None:
        if self.failure is not None:
            raise self.failure
        return self.bill


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: Any
    headers: Mapping[str, str]
    text: str


@dataclass
class Caller:
    """A client of the running service."""

    http: ClientSession
    address: str
    service: Service
    clock: HandClock
    control: NotedControl
    stores: DatabaseStores

    async def ask(
        self,
        method: str,
        path: str,
        *,
        scope: Scope | None = Scope.ADMIN,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Answer:
        sent = dict(headers or {})
        if scope is not None:
            sent.setdefault("Authorization", f"Bearer {KEYS[scope]}")
        async with self.http.request(method, self.address + path, headers=sent, **options) as response:
            text = await response.text()
            is_json = response.content_type.endswith("json") and text
            return Answer(response.status, await response.json(content_type=None) if is_json else None,
                          response.headers, text)  # fmt: skip


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """The app on a free port of loopback."""
    runner = make_runner(app, shutdown_timeout_s=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
def hand_clock() -> HandClock:
    return HandClock()


@pytest.fixture
def flat_tariffs() -> FlatTariffs:
    return FlatTariffs()


@pytest.fixture
def site() -> Site:
    return garage()


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    """The HTTP service on a real port over a real SQLite file."""
    clock, control, site = HandClock(), NotedControl(), garage()
    async with await open_stores(f"sqlite:///{tmp_path}/test.db", [site], wall_clock=clock) as stores:
        control.stores = stores
        # Nobody listens: no station is connected, whatever the gateway above says.
        central = OcppCentralSystem(site.stations, None, clock, OcppSettings(), StationGate(SecurityProfile.NONE))
        readiness = Readiness(site.id, stores, clock, greatest_guard_age_s=3, greatest_plan_age_s=900)
        service = Service(
            site=site,
            clock=clock,
            stores=stores,
            gateway=OnlineGateway(),
            operator=StationOperations(central.link),
            reporter=central.reports,
            tariffs=FlatTariffs(),
            control=control,
            keys=KeyRing([ApiKey(scope.value, hash_of(key), frozenset({scope})) for scope, key in KEYS.items()]),
            audit=StoredAuditTrail(stores.audit, clock),
            metrics=ServiceMetrics(),
            readiness=readiness,
        )
        async with served(make_app(service, body_limit_bytes=64 * 1024)) as address, ClientSession() as http:
            yield Caller(http, address, service, clock, control, stores)
