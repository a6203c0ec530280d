"""The service's control, planner and central system with one virtual station, over a real WebSocket.

Nothing stands in for anything but the clock, which the test moves, and what comes from outside the site: price,
forecast, and the readings of the site's meters.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from manual_clock import ManualClock
from meeting import SETTINGS, STATION, Visited, station_at
from station_wire import NOON, TOKEN

from api.metrics import CountingGateway, ServiceMetrics
from connectors.ocpp.security import SecurityProfile, StationGate
from connectors.ocpp.server import OcppCentralSystem
from connectors.ocpp.settings import OcppSettings
from optimizer.control.controller import SiteController
from optimizer.control.settings import ControlSettings
from optimizer.domain.ids import CircuitId, EvseId, SiteId, TariffId, TokenId
from optimizer.domain.metering import SiteMeterReading
from optimizer.domain.plan import PlanOutcome
from optimizer.domain.series import PowerSeries
from optimizer.domain.session import Session
from optimizer.domain.site import Circuit, Evse, GridConnection, PvArray, Site, Station
from optimizer.domain.snapshot import SiteSnapshot
from optimizer.domain.tariff import EnergyBand, Tariff, TariffWindow
from optimizer.planning.assemble import problem_from_snapshot
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.solve import plan_charging
from optimizer.ports import Measured, Quantity
from scenarios.memory_stores import MemoryStores
from scenarios.station_settings import OcppVersion, StationSettings
from scenarios.station_state import Visit
from scenarios.vehicle_model import VehicleModel
from scenarios.virtual_station import VirtualStation

EVSE, GARAGE = EvseId("E1"), SiteId("garage")
CONTROL = ControlSettings(
    least_interval_s=10.0, restore_margin_kw=0.0, concurrent_starts=None, phase_dwell_s=300.0, default_energy_kwh=18.0
)
STEP_S = 10.0


class World:
    """What comes from outside the site."""

    def __init__(self) -> None:
        self.pv_kw = 0.0
        self.building_kw = 0.0
        self.price = Decimal("0.30")
        self.bands: tuple[EnergyBand, ...] = ()
        """Prices by time of day, where they are not the same all day."""

    async def tariff(self, site_id: SiteId, start: datetime, end: datetime) -> Tariff:
        band = EnergyBand("all day", TariffWindow(), self.price)
        return Tariff(TariffId("flat"), "flat", "EUR", "UTC", self.bands or (band,))

    async def forecast(self, quantity: Quantity, start: datetime, end: datetime, recent: Measured) -> PowerSeries:
        return PowerSeries((start, end), (self.pv_kw if quantity is Quantity.PV else self.building_kw,))


class Governed(Visited):
    """One station under control."""

    def __init__(
        self, controller: SiteController, system: OcppCentralSystem, station: VirtualStation, world: World,
        clock: ManualClock, stores: MemoryStores, site: Site,
    ) -> None:  # fmt: skip
        super().__init__(system, station, clock)
        self.controller, self.world, self.stores, self.site = controller, world, stores, site
        self.greatest_a = [0.0, 0.0, 0.0]
        """Greatest current that truly flowed on each phase since it was last set [A]."""

    async def connected(self) -> None:
        """The station has announced itself, and its abilities are known."""
        await self.until(lambda: self.system._records[STATION].learnt_for is not None)
        await self.told()

    async def restart_station(self) -> None:
        """Its power fails; it comes back with an empty memory and announces itself."""
        await self.cut_off()
        self.station.core.lose_power(self.clock.now(), profiles_kept=False)
        self.living = asyncio.ensure_future(self.station.run())
        await self.until(lambda: self.system.is_online(STATION))
        await self.told()

    async def plug_in(self, vehicle: VehicleModel | None = None, token_id: TokenId = TOKEN, number: int = 1) -> Visit:
        visit = self.station.plug_in(number, vehicle or VehicleModel(60.0), token_id, self.clock.now(), None)
        await self.until(lambda: visit.transaction is not None and visit.transaction.is_acknowledged)
        await self.told()
        return visit

    async def pass_time(self, seconds: float, *, plan: bool = False, step_s: float = STEP_S) -> None:
        """Step by step: the car draws, meters report, the guard looks; and plans, once a minute."""
        for number in range(round(seconds / step_s)):
            self.clock.advance(seconds=step_s)
            self.station.core.advance(self.clock.now())
            self.station._wake()
            await self.told()
            self._note_currents()
            await self._read_meter()
            if plan and number * step_s % 60 == 0:
                await self.controller.step("minute")
            await self.controller.guard_step()

    def _note_currents(self) -> None:
        physics = self.station.core.evses[1].physics
        step = physics.trace.step_at(self.clock.now())
        for path in range(step.current_paths):
            each_a = step.power_kw * 1000.0 / (physics.evse.voltage_v * step.current_paths)
            self.greatest_a[path] = max(self.greatest_a[path], each_a)

    async def _read_meter(self) -> None:
        world, grid_kw = self.world, self.world.building_kw - self.world.pv_kw + sum(self.powers_kw)
        none = Decimal(0)
        reading = SiteMeterReading(
            self.site.id, self.clock.now(), none, none,
            grid_kw=grid_kw, pv_kw=world.pv_kw, building_kw=world.building_kw,
        )  # fmt: skip
        await self.stores.meters.add_site_reading(reading)

    @property
    def powers_kw(self) -> list[float]:
        """What flows at each EVSE."""
        now = self.clock.now()
        return [state.physics.trace.power_kw(now) for state in self.station.core.evses.values()]

    @property
    def phases(self) -> int:
        return self.station.core.evses[1].physics.trace.step_at(self.clock.now()).current_paths

    async def session(self) -> Session:
        (session,) = await self.stores.sessions.sessions(self.site.id, active_only=True)
        return session


@asynccontextmanager
async def governed(
    version: OcppVersion,
    *,
    evse: dict[str, Any] | None = None,
    evses: int = 1,
    import_limit_kw: float = 100.0,
    control: ControlSettings = CONTROL,
    served: OcppSettings = SETTINGS,
    **settings: Any,
) -> AsyncIterator[Governed]:
    """A station that has reached a service of its own."""
    clock, world = ManualClock(NOON), World()
    made = [
        Evse(EvseId(f"E{number}"), STATION, number, CircuitId("c"), **{"max_current_a": 32.0, **(evse or {})})
        for number in range(1, evses + 1)
    ]
    station = Station(STATION, tuple(made))
    site = Site(
        GARAGE, "garage", "UTC", "EUR", (Circuit(CircuitId("c"), None),), (station,),
        GridConnection(CircuitId("c"), import_limit_kw), TariffId("flat"),
        pv_arrays=(PvArray("roof", 20.0, 20.0, 30.0, 180.0),),
    )  # fmt: skip
    stores, way = MemoryStores([site]), CountingGateway(ServiceMetrics())
    planning = PlanningSettings()

    async def assemble(snapshot: SiteSnapshot, fixed_kw: Mapping[EvseId, float]) -> ChargingProblem:
        return problem_from_snapshot(snapshot, planning, fixed_kw=fixed_kw)

    async def plan(problem: ChargingProblem) -> PlanOutcome:
        return plan_charging(problem, planning)

    controller = SiteController(
        site, stores, way, clock, world, world,
        assemble, plan, control,
    )  # fmt: skip
    system = OcppCentralSystem([station], controller.ledger, clock, served, StationGate(SecurityProfile.NONE))
    way.connect(system)
    traits = StationSettings(station, version, sample_interval_s=round(STEP_S), **settings)
    async with station_at(system, traits, clock) as virtual:
        service = Governed(controller, system, virtual, world, clock, stores, site)
        try:
            await service.connected()
            await controller.guard_step()
            yield service
        finally:
            service.living.cancel()
            await asyncio.gather(service.living, return_exceptions=True)
            await controller.sender.close()


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)
