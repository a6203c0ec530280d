"""A site on the bench: stations that behave or not, cars that want what they want, meters, and the control under test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from types import SimpleNamespace

from virtual_time import START, VirtualClock

from optimizer.control.ceilings import BaseLoad, Feeder, LoadPaths, LoadTally, standing_ceilings
from optimizer.control.controller import SiteController
from optimizer.control.profile import limit_at_kw
from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import (
    ConnectorReported,
    ConnectorStatus,
    ExternalLimit,
    LimitCommand,
    LimitPeriod,
    LimitState,
    StationBooted,
    TransactionBegun,
    TransactionFinished,
)
from optimizer.domain.ids import (
    CircuitId,
    EvseId,
    PlanId,
    SessionId,
    SiteId,
    StationId,
    TariffId,
    TokenId,
    TransactionId,
)
from optimizer.domain.metering import CircuitReading, MeterSample, SiteMeterReading
from optimizer.domain.plan import BindingKind, BindingReason, Fallback, Plan, SessionPlan, SolveFigures
from optimizer.domain.series import PowerSeries
from optimizer.domain.session import Session
from optimizer.domain.site import Circuit, Evse, GridConnection, Phase, Site, Station, Wiring
from optimizer.domain.snapshot import SiteSnapshot
from optimizer.domain.tariff import EnergyBand, Tariff, TariffWindow
from optimizer.ports import LimitReply, Measured, Quantity
from scenarios.memory_stores import MemoryStores

SITE = SiteId("garage")
ROOT = CircuitId("main")


class Habit(StrEnum):
    """What a station does with a limit."""

    FOLLOWS = "follows"
    SLOW = "slow"
    """Answers after six seconds and obeys then."""
    LATE = "late"
    """Answers at once, obeys twenty seconds later."""
    REJECTS = "rejects"
    IGNORES = "ignores"
    """Accepts and goes on with what it had."""
    MUTE = "mute"
    """Obeys, never answers."""
    DEAF = "deaf"
    """Neither obeys nor answers."""
    STUCK = "stuck"
    """Follows its limit and never changes its number of phases."""
    ROGUE = "rogue"
    """Accepts and lets the car draw what it wants."""


@dataclass
class SimStation:
    """One station with one EVSE, as it truly is."""

    evse: Evse
    habit: Habit = Habit.FOLLOWS
    online: bool = True
    default_kw: float | None = None
    profile: tuple[LimitPeriod, ...] | None = None
    phases: int = 3
    """Phases in use, where the EVSE can switch them."""
    tells_currents: bool = True
    car_kw: float | None = None
    """What the car would draw without a limit [kW]; none plugged in where missing."""
    transaction_id: str | None = None
    register_kwh: float = 100.0
    forgets_offline: bool = False
    """Whether a lost connection ends its profile."""
    received: list[LimitCommand] = field(default_factory=list)

    def limit_kw(self, at: datetime) -> float:
        """The limit truly in force."""
        if self.habit is Habit.ROGUE:
            return self.evse.max_power_kw
        if self.transaction_id is not None and self.profile is not None:
            return limit_at_kw(self.profile, at)
        return self.evse.max_power_kw if self.default_kw is None else self.default_kw

    def draw_kw(self, at: datetime) -> float:
        """What flows now."""
        if self.car_kw is None or self.transaction_id is None:
            return 0.0
        share = min(1.0, self.phases / self.evse.current_paths)
        drawn_kw = share * min(self.car_kw, self.limit_kw(at), self.evse.max_power_kw)
        return drawn_kw if drawn_kw >= share * self.evse.min_power_kw - 1e-9 else 0.0

    def draw_a(self, at: datetime) -> tuple[float, float, float] | None:
        """Current on the plug's L1, L2 and L3; ``None``: the station does not tell it."""
        if not (self.tells_currents and self.evse.phase_switching):
            return None
        each_a = self.draw_kw(at) * 1000.0 / (self.evse.voltage_v * self.phases)
        return (each_a, each_a if self.phases > 1 else 0.0, each_a if self.phases > 1 else 0.0)

    def take(self, command: LimitCommand) -> None:
        """Do as told."""
        self.profile = command.periods
        if self.habit is not Habit.STUCK:
            self.phases = command.phases or self.phases

    def forget(self) -> None:
        """No profile holds."""
        self.profile, self.phases = None, 3


class SimGateway:
    """The gateway port over simulated stations."""

    def __init__(self, clock: VirtualClock, stations: Mapping[EvseId, SimStation]) -> None:
        self._clock = clock
        self._stations = stations
        self.before_send: Callable[[LimitCommand], None] = lambda _: None
        self.stopped: list[TransactionId] = []
        self.external: dict[EvseId, tuple[ExternalLimit, ...]] = {}

    def is_online(self, station_id: StationId) -> bool:
        return any(one.online for one in self._stations.values() if one.evse.station_id == station_id)

    async def stop_charging(self, station_id: StationId, transaction_id: TransactionId) -> LimitReply:
        self.stopped.append(transaction_id)
        return LimitReply(LimitState.ACCEPTED)

    def limits_of_others(self) -> Mapping[EvseId, tuple[ExternalLimit, ...]]:
        return self.external

    def switches_phases(self, evse_id: EvseId) -> bool:
        return self._stations[evse_id].online

    async def set_limit(self, command: LimitCommand) -> LimitReply:
        station = self._stations[command.evse_id]
        self.before_send(command)
        station.received.append(command)
        if not station.online:
            return LimitReply(LimitState.UNANSWERED, "offline")
        if station.transaction_id is None:
            return LimitReply(LimitState.REJECTED, "no transaction")
        return await self._answer(station, lambda: station.take(command))

    async def clear_limit(self, station_id: StationId, evse_id: EvseId) -> LimitReply:
        station = self._stations[evse_id]
        if not station.online:
            return LimitReply(LimitState.UNANSWERED, "offline")
        return await self._answer(station, station.forget)

    async def set_safe_default(self, station_id: StationId, evse_id: EvseId, limit_kw: float) -> LimitReply:
        station = self._stations[evse_id]
        if not station.online:
            return LimitReply(LimitState.UNANSWERED, "offline")
        station.default_kw = limit_kw
        return LimitReply(LimitState.ACCEPTED)

    async def _answer(self, station: SimStation, obey: Callable[[], None]) -> LimitReply:
        match station.habit:
            case Habit.REJECTS:
                return LimitReply(LimitState.REJECTED, "not supported")
            case Habit.IGNORES | Habit.ROGUE:
                return LimitReply(LimitState.ACCEPTED)
            case Habit.DEAF | Habit.MUTE:
                if station.habit is Habit.MUTE:
                    obey()
                await self._clock.sleep(30.0)
                return LimitReply(LimitState.UNANSWERED, "no answer within 30 s")
            case Habit.SLOW:
                asyncio.get_running_loop().call_later(6.0, obey)
                await self._clock.sleep(6.5)
                return LimitReply(LimitState.ACCEPTED)
            case Habit.LATE:
                asyncio.get_running_loop().call_later(20.0, obey)
                return LimitReply(LimitState.ACCEPTED)
            case Habit.FOLLOWS | Habit.STUCK:
                pass
        obey()
        return LimitReply(LimitState.ACCEPTED)


class FlatTariffs:
    """One price all day."""

    async def tariff(self, site_id: SiteId, start: datetime, end: datetime) -> Tariff:
        return Tariff(TariffId("flat"), "flat", "EUR", "UTC", (EnergyBand("all day", TariffWindow(), Decimal("0.25")),))


class FlatForecasts:
    """One power all day."""

    async def forecast(self, quantity: Quantity, start: datetime, end: datetime, recent: Measured) -> PowerSeries:
        return PowerSeries((start, end), (0.0,))


def evse_at(
    name: str, circuit: str = "main", *, phases: tuple[Phase, ...] = (Phase.L1, Phase.L2, Phase.L3), **more: object
) -> Evse:
    """An EVSE of 32 A, its station named after it."""
    given = {"max_current_a": 32.0, **more}
    if given.get("wiring") is Wiring.LINE_TO_LINE:
        given.setdefault("voltage_v", 208.0)
    return Evse(EvseId(name), StationId(f"station-{name}"), 1, CircuitId(circuit), phases=phases, **given)  # type: ignore[arg-type]


def site_with(
    evses: Iterable[Evse],
    *,
    import_limit_kw: float = 1000.0,
    circuits: Iterable[Circuit] = (),
    building_kw: float = 0.0,
    pv_firm_share: float = 0.0,
) -> Site:
    """A site whose root has the limits of the grid connection only, unless ``circuits`` says otherwise."""
    listed = tuple(circuits) or (Circuit(ROOT, None),)
    return Site(
        SITE,
        "garage",
        "UTC",
        "EUR",
        listed,
        tuple(Station(evse.station_id, (evse,)) for evse in evses),
        GridConnection(ROOT, import_limit_kw),
        TariffId("flat"),
        greatest_building_kw=building_kw,
        pv_firm_share=pv_firm_share,
    )


def plan_of(
    snapshot_at: datetime,
    site: Site,
    powers_kw: Mapping[SessionId, tuple[EvseId, tuple[float, ...]]],
    slot_minutes: int = 15,
) -> Plan:
    """A plan that says what it is told to say, in slots of equal length."""
    count = max((len(powers) for _, powers in powers_kw.values()), default=1)
    boundaries = tuple(snapshot_at + timedelta(minutes=slot_minutes * index) for index in range(count + 1))
    zeros = (0.0,) * count
    sessions = tuple(
        SessionPlan(session_id, evse_id, powers, (0.0,) * (count + 1), (BindingReason(BindingKind.PRICE),) * count)
        for session_id, (evse_id, powers) in powers_kw.items()
    )
    return Plan(
        PlanId(f"plan-{snapshot_at.isoformat()}"),
        site.id,
        snapshot_at,
        boundaries,
        sessions,
        zeros,
        zeros,
        zeros,
        zeros,
        zeros,
        zeros,
        (),
    )


FIGURES = SolveFigures(0.0, 0.0, 0.0, 0, 0)


class Bench:
    """Site, stations, meters and the control under test, on one virtual clock."""

    def __init__(
        self,
        site: Site,
        settings: ControlSettings | None = None,
        *,
        wishes: Callable[[Session], tuple[float, ...]] = lambda _: (22.0,) * 8,
        sample_period_s: float = 10.0,
        slot_minutes: int = 15,
    ) -> None:
        self.site = site
        self.settings = settings or ControlSettings(
            least_interval_s=10.0, restore_margin_kw=0.0, concurrent_starts=None
        )
        self.clock = VirtualClock()
        self.stations = {evse.id: SimStation(evse) for evse in site.evses.values()}
        self.gateway = SimGateway(self.clock, self.stations)
        self.stores = MemoryStores([site])
        self.wishes = wishes
        self.sample_period_s = sample_period_s
        self.slot_minutes = slot_minutes
        self.phases: Callable[[Session], tuple[int, ...]] = lambda _: ()
        """Phases that the plan puts a vehicle on, one a slot."""
        self.building_kw = 0.0
        self.circuits: Callable[[], tuple[CircuitReading, ...]] = tuple
        """What the meters of circuits inside the site show."""
        self.unmetered_kw = 0.0
        """Load at the connection that the building's meter does not tell."""
        self.meter_works = True
        self.tasks: set[asyncio.Task[object]] = set()
        self.ended: list[Session] = []
        self.start_control()

    async def _assemble(self, snapshot: SiteSnapshot, fixed_kw: Mapping[EvseId, float]) -> SimpleNamespace:
        return SimpleNamespace(snapshot=snapshot, fixed_kw=fixed_kw)

    def start_control(self) -> None:
        """The control with no memory of its own, as after a start of the service."""
        self.control = SiteController(
            self.site,
            self.stores,
            self.gateway,
            self.clock,
            FlatTariffs(),
            FlatForecasts(),
            self._assemble,  # type: ignore[arg-type]
            self._plan,
            self.settings,
            on_session_ended=self._keep_ended,
        )
        self.ledger, self.loop, self.watch = self.control.ledger, self.control.loop, self.control.watch

    async def _keep_ended(self, session: Session) -> None:
        self.ended.append(session)

    async def _plan(self, problem: object) -> Fallback:
        snapshot: SiteSnapshot = problem.snapshot  # type: ignore[attr-defined]
        powers = {session.id: (session.evse_id, self.wishes(session)) for session in snapshot.sessions}
        plan = plan_of(snapshot.at, self.site, powers, self.slot_minutes)
        phases = {session.id: self.phases(session) for session in snapshot.sessions}
        on_phases = tuple(replace(one, phases_used=phases[one.session_id]) for one in plan.sessions)
        return Fallback(replace(plan, sessions=on_phases), "told", "bench", FIGURES)

    # --- what happens at the site ------------------------------------------------------------------------------------

    async def plug_in(self, evse_id: str, car_kw: float = 22.0, token: str = "driver") -> Session:
        station = self.stations[EvseId(evse_id)]
        station.car_kw = car_kw
        await self._report(station, ConnectorStatus.PREPARING)
        opened = await self.ledger.transaction_begun(
            TransactionBegun(
                station.evse.station_id,
                1,
                self.clock.now(),
                TokenId(token),
                None,
                Decimal(f"{station.register_kwh:.3f}"),
            )
        )
        station.transaction_id = opened.transaction_id
        await self._report(station, ConnectorStatus.CHARGING)
        return await self.stores.sessions.session(opened.session_id)

    async def plug_out(self, evse_id: str) -> None:
        station = self.stations[EvseId(evse_id)]
        transaction_id, station.transaction_id = station.transaction_id, None
        station.car_kw = None
        station.forget()
        if transaction_id is not None:
            await self.ledger.transaction_finished(
                TransactionFinished(
                    station.evse.station_id, transaction_id, self.clock.now(), Decimal(f"{station.register_kwh:.3f}")
                )  # type: ignore[arg-type]
            )
        await self._report(station, ConnectorStatus.AVAILABLE)

    async def _report(self, station: SimStation, status: ConnectorStatus) -> None:
        await self.ledger.connector_reported(ConnectorReported(station.evse.station_id, 1, status, self.clock.now()))

    async def go_offline(self, evse_id: str) -> None:
        station = self.stations[EvseId(evse_id)]
        station.online = False
        if station.forgets_offline:
            station.forget()
        await self.ledger.station_disconnected(station.evse.station_id, self.clock.now())

    async def restart_control(self, work: Coroutine[object, object, object], turns: int) -> None:
        """Kill the service ``turns`` of the event loop into ``work``, and start it again."""
        task = asyncio.create_task(work)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self.control.sender.close()
        self.start_control()

    async def come_online(self, evse_id: str) -> None:
        station = self.stations[EvseId(evse_id)]
        station.online = True
        await self.ledger.station_booted(StationBooted(station.evse.station_id, self.clock.now(), "1.6"))

    # --- meters ------------------------------------------------------------------------------------------------------

    def true_kw(self) -> float:
        """Sum of what truly flows into vehicles."""
        now = self.clock.now()
        return sum(station.draw_kw(now) for station in self.stations.values())

    async def sample_stations(self) -> None:
        now = self.clock.now()
        samples = [
            MeterSample(
                station.evse.station_id,
                station.evse.id,
                now,
                station.transaction_id,  # type: ignore[arg-type]
                register_kwh=Decimal(f"{station.register_kwh:.4f}"),
                power_kw=station.draw_kw(now),
                current_a=station.draw_a(now),
            )
            for station in self.stations.values()
            if station.online and station.transaction_id is not None
        ]
        await self.ledger.meter_sampled(samples)

    async def read_site_meter(self) -> None:
        if not self.meter_works:
            return
        grid_kw = self.building_kw + self.unmetered_kw + self.true_kw()
        await self.stores.meters.add_site_reading(
            SiteMeterReading(
                SITE, self.clock.now(), Decimal(0), Decimal(0), grid_kw=grid_kw, building_kw=self.building_kw,
                circuits=self.circuits(),
            )
        )  # fmt: skip

    # --- time --------------------------------------------------------------------------------------------------------

    async def pass_time(self, seconds: float, *, plan: bool = False, each: Callable[[], None] = lambda: None) -> None:
        """Let time pass second by second: cars draw, meters report, the guard looks."""
        for _ in range(round(seconds)):
            for station in self.stations.values():
                station.register_kwh += station.draw_kw(self.clock.now()) / 3600.0
            await self.clock.sleep(1.0)
            elapsed_s = (self.clock.now() - START).total_seconds()
            if elapsed_s % self.sample_period_s == 0:
                await self.sample_stations()
            await self.read_site_meter()
            if plan and elapsed_s % 60 == 0:
                await self.loop.step("minute")
            await self.watch.guard_step()
            each()

    # --- truth -------------------------------------------------------------------------------------------------------

    def exceeded(self, levels_kw: Mapping[EvseId, float] | None = None) -> list[str]:
        """Limits that the true draws, or the given levels, exceed now."""
        now = self.clock.now()
        levels = levels_kw or {evse_id: station.draw_kw(now) for evse_id, station in self.stations.items()}
        per_phase_a = self.building_kw * 1000.0 / (3.0 * self.site.phase_voltage_v)
        base = BaseLoad(self.building_kw, self.building_kw, (per_phase_a,) * 3)
        feeders = {evse_id: Feeder(evse) for evse_id, evse in self.site.evses.items()}
        amps = {evse_id: self.site.evses[evse_id].current_a(level) for evse_id, level in levels.items()}
        tally = LoadTally(LoadPaths.of(self.site, standing_ceilings(self.site, base), feeders), amps)
        return [str(ceiling) for ceiling in tally.exceeded() if tally.total_of(ceiling) > _limit_of(ceiling) + 1e-4]

    def limits_kw(self) -> dict[str, float]:
        """The limit truly in force at each EVSE with a vehicle."""
        now = self.clock.now()
        return {
            evse_id: round(one.limit_kw(now), 2) for evse_id, one in self.stations.items() if one.car_kw is not None
        }


def _limit_of(ceiling: object) -> float:
    return float(getattr(ceiling, "limit_kw", None) or getattr(ceiling, "limit_a", 0.0))


__all__ = ["Bench", "Habit", "SimStation", "evse_at", "plan_of", "replace", "site_with"]
