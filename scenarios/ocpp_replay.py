"""Replays a scenario over real websockets: virtual stations, the service's own central system, and time that runs fast.

    timeline ──> virtual stations ══ OCPP over websockets ══> central system ──> ledger, control loop, guard
                        ^                                                              │
                        └═════════════════ charging profiles ══════════════════════════┘

Everything but the clock is as in the service: frames are sent and answered, limits are confirmed before others rise,
and a plan takes the time that it takes. So a course differs from one run to the next, and a little from the replay in
lock-step; what it shows is that the figures survive the wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from aiohttp import ClientSession, web

from connectors.clock import AcceleratedClock, wall_time
from connectors.ocpp.security import SecurityProfile, StationGate
from connectors.ocpp.server import OcppCentralSystem
from connectors.ocpp.settings import OcppSettings, Version
from optimizer.control.controller import SiteController
from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import ExternalLimit, LimitCommand
from optimizer.domain.ids import EvseId, StationId, TransactionId
from optimizer.domain.plan import Fallback, FeasibleAtLimit, PlanOutcome
from optimizer.domain.series import PowerSeries
from optimizer.domain.session import Session
from optimizer.domain.site import Station
from optimizer.domain.snapshot import SiteSnapshot
from optimizer.errors import ChargerUnreachable, InvalidInput
from optimizer.planning.departures import DepartureRecord
from optimizer.planning.problem import ChargingProblem
from optimizer.ports import ChargerGateway, LimitReply
from scenarios.battery_model import BatteryModel
from scenarios.foresight import forecasts_of, tariffs_of
from scenarios.learnt_defaults import DefaultLearner
from scenarios.living import living
from scenarios.memory_stores import MemoryStores
from scenarios.outcomes import Course, StayOutcome
from scenarios.plant import Surroundings
from scenarios.profiles import ProfileRules
from scenarios.replay_state import PresentCar, RunningLog, StepRecorder
from scenarios.runner import Progress, never, not_told, outcome_of
from scenarios.scenario import Scenario, Stay, UnstatedPolicy
from scenarios.station_settings import OcppVersion, StationSettings
from scenarios.station_state import Visit
from scenarios.stays import as_kept
from scenarios.stepped_control import stated_problem, tell_lending
from scenarios.stopwatch import Spent, Stopwatch
from scenarios.strategies import MILP, UNCONTROLLED, Strategy, strategy_of
from scenarios.timeline import Happening, HappeningKind, timeline_of
from scenarios.virtual_site import VirtualSite, alternating_settings
from scenarios.virtual_station import CentralSystem, LinkTimings

DEFAULT_SPEED = 300.0
"""Seconds of the scenario in one second of the wall: a day in five minutes."""
FASTEST = 1200.0
"""Beyond this a frame's way alone lasts longer than what control may wait for."""
CONNECT_WALL_S = 3.0
"""For stations to connect and be told their safe defaults, before the scenario begins [s on the wall]."""
CONNECT_WALL_S_EACH = 0.05
"""The same, for each station more [s on the wall]."""
LOOK_WALL_S = 0.1
"""The guard looks this often at least, and whenever something is metered [s on the wall]."""
DRAIN_WALL_S = 10.0
"""For what stations still have to tell, after the end [s on the wall]."""
POLL_WALL_S = 0.02
"""Between two looks whether something has come about [s on the wall]."""


def run_over_ocpp(
    scenario: Scenario,
    strategy: str,
    *,
    speed: float = DEFAULT_SPEED,
    on_progress: Progress = not_told,
    is_interrupted: Callable[[], bool] = never,
    kept_in: Path | None = None,  # noqa: ARG001 - a living site cannot be kept in a file
    resume: bool = False,
) -> Course:
    """Live through a scenario over websockets and tell what happened.

    Args:
        scenario: What happens.
        strategy: What plans.
        speed: Seconds of the scenario in one second of the wall.
        on_progress: Is told which share of the time is replayed.
        is_interrupted: Asked now and then; when true the replay ends with what it has.
        kept_in: Not used.
        resume: Must be false: connections cannot be taken up again.

    Raises:
        InvalidInput: The scenario or a wish cannot be met over OCPP.
    """
    if resume:
        raise InvalidInput("--resume", True, "replay without --over ocpp: connections cannot be taken up again")
    if strategy == UNCONTROLLED:
        raise InvalidInput("--strategy", strategy, "name one that plans; without control nothing is sent over OCPP")
    if not scenario.replan.at_events:
        fix = "set it true, or replay without --over ocpp: over the wire the service plans whenever something happens"
        raise InvalidInput("replan.at_events", False, fix)
    if not 1.0 <= speed <= FASTEST:
        raise InvalidInput("--speed", speed, f"give a number from 1 to {FASTEST:g}")
    return asyncio.run(_live(scenario, strategy, speed, on_progress, is_interrupted))


async def _live(
    scenario: Scenario, strategy: str, speed: float, on_progress: Progress, is_interrupted: Callable[[], bool]
) -> Course:
    watch = Stopwatch()
    ahead_s = CONNECT_WALL_S + CONNECT_WALL_S_EACH * len(scenario.site.stations)
    clock = AcceleratedClock(scenario.start, wall_time() + timedelta(seconds=ahead_s), speed)
    control = _WiredControl(scenario, strategy_of(strategy, scenario.planning, _step_minutes(scenario)), clock)
    async with control.listening() as url, ClientSession() as http:
        virtual = VirtualSite(
            scenario.site,
            _stations_of(scenario),
            CentralSystem(url, timings=LinkTimings(10.0, 0.2, 0.1, 1.0)),
            clock,
            _from_earlier(scenario.surroundings, clock.now()),
            http,
            scenario.seed,
            meters_begin=control.battery.settled_at if control.battery is not None else None,
            battery=control.battery,
        )
        replay = _WiredReplay(scenario, virtual, control, clock)
        async with virtual.running(), living([control.run()]):
            is_complete = await replay.play(on_progress, is_interrupted)
        return replay.course(strategy, watch.spent, is_complete=is_complete)


def _step_minutes(scenario: Scenario) -> int:
    return scenario.step // timedelta(minutes=1)


def _stations_of(scenario: Scenario) -> dict[StationId, StationSettings]:
    """Every other station speaks 1.6 or 2.0.1; where vehicles give back it is 2.1, which alone can say so."""
    interval_s = round(scenario.step.total_seconds())
    both_ways = _both_ways(scenario)

    def settings(station: Station, version: OcppVersion) -> StationSettings:
        if station.id not in both_ways:
            return StationSettings(station, version, reading_interval_s=interval_s)
        rules = ProfileRules(discharges=True)
        return StationSettings(station, OcppVersion.V21, reading_interval_s=interval_s, profile_rules=rules)

    return alternating_settings(scenario.site, settings)


def _both_ways(scenario: Scenario) -> frozenset[StationId]:
    """The stations at which a vehicle gives back."""
    evses = scenario.site.evses
    return frozenset(evses[stay.evse_id].station_id for stay in scenario.stays if stay.vehicle.gives_back)


def _from_earlier(surroundings: Surroundings, start: datetime) -> Surroundings:
    """The same, known from ``start`` on: stations connect before the scenario begins."""

    def extended(series: PowerSeries) -> PowerSeries:
        if series.boundaries[0] <= start:
            return series
        return PowerSeries((start, *series.boundaries), (series.values_kw[0], *series.values_kw))

    return replace(surroundings, building=extended(surroundings.building), pv=extended(surroundings.pv))


class _Wire:
    """The way from control to the stations (port `ChargerGateway`), which counts the limits that were sent.

    Made in two steps, since control talks to stations and stations talk to control: first this, then ``connect``.
    """

    _inner: ChargerGateway

    def __init__(self) -> None:
        self.limits_sent = 0

    def connect(self, inner: ChargerGateway) -> None:
        self._inner = inner

    async def set_limit(self, command: LimitCommand) -> LimitReply:
        self.limits_sent += 1
        return await self._inner.set_limit(command)

    async def set_safe_default(self, station_id: StationId, evse_id: EvseId, limit_kw: float) -> LimitReply:
        return await self._inner.set_safe_default(station_id, evse_id, limit_kw)

    async def clear_limit(self, station_id: StationId, evse_id: EvseId) -> LimitReply:
        return await self._inner.clear_limit(station_id, evse_id)

    async def stop_charging(self, station_id: StationId, transaction_id: TransactionId) -> LimitReply:
        return await self._inner.stop_charging(station_id, transaction_id)

    def is_online(self, station_id: StationId) -> bool:
        return self._inner.is_online(station_id)

    def limits_of_others(self) -> Mapping[EvseId, tuple[ExternalLimit, ...]]:
        return self._inner.limits_of_others()

    def switches_phases(self, evse_id: EvseId) -> bool:
        return self._inner.switches_phases(evse_id)


class _WiredControl:
    """The service's control and its central system, with stores in memory."""

    def __init__(self, scenario: Scenario, strategy: Strategy, clock: AcceleratedClock) -> None:
        self._scenario = scenario
        self._strategy = strategy
        self.stores = MemoryStores([scenario.site], kept_outcomes=2)
        self.log = RunningLog()
        self.departures = DepartureRecord(scenario.planning.stay_curve)
        battery = scenario.site.battery
        self.battery = BatteryModel(battery, clock.now(), scenario.battery_soc) if battery else None
        self.wire = _Wire()
        self.controller = SiteController(
            scenario.site,
            self.stores,
            self.wire,
            clock,
            tariffs_of(scenario, clock),
            forecasts_of(scenario),
            self._assemble,
            self._plan,
            _patient(scenario, clock),
            on_session_ended=self._session_ended,
        )
        self.central = OcppCentralSystem(
            scenario.site.stations,
            self.controller.ledger,
            clock,
            _ocpp_settings(scenario),
            StationGate(SecurityProfile.NONE),
            self.stores.sessions,
            samples=self.stores.meters,
        )
        self.wire.connect(self.central)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listen at a port of this machine that is free; gives the address that stations put their id behind."""
        runner = web.AppRunner(self.central.application(), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"ws://127.0.0.1:{runner.addresses[0][1]}/ocpp"
        finally:
            await runner.cleanup()

    async def run(self) -> None:
        """Plan and guard until cancelled."""
        await self.controller.run()

    async def _session_ended(self, session: Session) -> None:
        self.departures.note(session)

    async def _assemble(self, snapshot: SiteSnapshot, fixed_kw: Mapping[EvseId, float]) -> ChargingProblem:
        return stated_problem(self._scenario, self._strategy.settings, self.departures, snapshot, fixed_kw)

    async def _plan(self, problem: ChargingProblem) -> PlanOutcome:
        # In a thread: frames are answered while the solver works.
        outcome = await asyncio.to_thread(self._strategy.solve, problem)
        self.log.at.append(outcome.plan.made_at)
        self.log.solve_s.append(outcome.figures.total_s)
        self.log.fallbacks += isinstance(outcome, Fallback) and self._strategy.name == MILP
        self.log.time_limits += isinstance(outcome, FeasibleAtLimit)
        if self.battery is not None:
            # No station: it follows the plan at once, as its own controller would.
            self.battery.follow(outcome.plan.boundaries, outcome.plan.battery_kw)
        return outcome


def _ocpp_settings(scenario: Scenario) -> OcppSettings:
    interval_s = round(scenario.step.total_seconds())
    settings = OcppSettings(meter_interval_s=interval_s, slowest_meter_interval_s=max(300, interval_s))
    if not _both_ways(scenario):
        return settings
    return replace(settings, versions=(Version.V21, *settings.versions), v2x=True)


def _patient(scenario: Scenario, clock: AcceleratedClock) -> ControlSettings:
    """Control's settings where meters are read once a step, and seconds of the wall are minutes here."""
    step_s, control = scenario.step.total_seconds(), scenario.control
    return replace(
        control,
        guard_period_s=max(control.guard_period_s, LOOK_WALL_S * clock.speed),
        meter_staleness_s=max(control.meter_staleness_s, 2.0 * step_s),
        raise_reading_age_s=max(control.raise_reading_age_s, 2.0 * step_s),
        sample_staleness_s=max(control.sample_staleness_s, 3.0 * step_s),
    )


@dataclass
class _Guest:
    """A car at a virtual station."""

    place: int
    """Which stay of the scenario."""
    stay: Stay
    """The stay."""
    visit: Visit
    """As its station knows it."""


class _WiredReplay:
    """A replay over websockets that is going on."""

    def __init__(
        self, scenario: Scenario, virtual: VirtualSite, control: _WiredControl, clock: AcceleratedClock
    ) -> None:
        self._scenario = scenario
        self._virtual = virtual
        self._control = control
        self._clock = clock
        self._recorder = StepRecorder(scenario.start, scenario.step)
        self._learner = DefaultLearner(scenario.control.default_energy_kwh)
        self._guests: dict[int, _Guest] = {}
        self._outcomes: dict[int, StayOutcome] = {}
        self._until = scenario.start

    async def play(self, on_progress: Progress, is_interrupted: Callable[[], bool]) -> bool:
        """Let everything happen in its time; whether it came to the end."""
        scenario = self._scenario
        await self._all_connected()
        last = scenario.followed_until
        steps = -(-(last - scenario.start) // scenario.step)
        ticks = [Happening(scenario.start + number * scenario.step, HappeningKind.LOOK) for number in range(steps + 1)]
        course = [one for one in timeline_of(scenario) if one.kind is not HappeningKind.LOOK and one.at <= last]
        async with asyncio.TaskGroup() as telling:
            for happening in sorted([*course, *ticks]):
                if not await self._wait_until(happening.at, is_interrupted):
                    break
                await self._let_happen(happening, telling)
                on_progress(min(1.0, (happening.at - scenario.start) / (last - scenario.start)))
        is_complete = self._until >= last
        if is_complete:
            await self._virtual.drained(DRAIN_WALL_S)
            on_progress(1.0)
        for place in [*self._guests]:
            await self._leave(place)
        return is_complete

    async def _all_connected(self) -> None:
        while not all(self._control.central.is_online(station) for station in self._virtual.stations):
            if self._clock.now() >= self._scenario.start:
                missing = [one for one in self._virtual.stations if not self._control.central.is_online(one)]
                raise ChargerUnreachable(f"{len(missing)} stations did not connect in time; replay at a lower speed")
            await asyncio.sleep(POLL_WALL_S)

    async def _wait_until(self, instant: datetime, is_interrupted: Callable[[], bool]) -> bool:
        """Wait for an instant of the scenario; false when interrupted before."""
        while (left_s := (instant - self._clock.now()).total_seconds()) > 0:
            if is_interrupted():
                return False
            await self._clock.sleep(min(left_s, LOOK_WALL_S * self._clock.speed))
        self._until = instant
        return not is_interrupted()

    async def _let_happen(self, happening: Happening, telling: asyncio.TaskGroup) -> None:
        scenario, control = self._scenario, self._control
        match happening.kind:
            case HappeningKind.LOOK:
                await self._meter(happening.at)
            case HappeningKind.ARRIVAL:
                telling.create_task(self._arrive(happening.place))
            case HappeningKind.DEPARTURE:
                await self._leave(happening.place)
            case HappeningKind.RESERVATION:
                await control.stores.reservations.add(scenario.reservations[happening.place].reservation)
                control.controller.plan_soon("reservation")
            case HappeningKind.GRID_EVENT:
                event = scenario.grid_events[happening.place]
                self._virtual.plant.audit.watch_event(event)
                await control.stores.grid_events.save(event)
                control.controller.plan_soon("grid event announced")
            case HappeningKind.STATEMENT if happening.number > 0:
                telling.create_task(self._state(happening.place, happening.number))
            case _:
                pass

    async def _meter(self, at: datetime) -> None:
        """The site meter is read, and told."""
        plant = self._virtual.plant
        await self._control.stores.meters.add_site_reading(plant.reading_at(at))
        self._recorder.take(plant, at)
        self._control.controller.guard_soon()

    async def _arrive(self, place: int) -> None:
        """A car is plugged in; once its transaction is known its driver says what is to be said at plug-in."""
        stay = self._scenario.stays[place]
        evse = self._scenario.site.evses[stay.evse_id]
        session = stay.session
        visit = self._virtual.stations[evse.station_id].plug_in(
            evse.ocpp_evse_id, stay.vehicle, session.token_id, session.arrived_at, session.departed_at
        )
        self._guests[place] = _Guest(place, stay, visit)
        opened = await self._session_of(place)
        if opened is None:
            return
        if stay.tier < opened.tier:
            await self._control.stores.sessions.save_session(replace(opened, tier=stay.tier))
        if stay.vehicle.gives_back:
            await tell_lending(
                self._control.controller.ledger, self._control.stores, stay, evse, opened.id, self._clock.now()
            )
        learnt = self._learner.target(session.arrived_at)
        ledger = self._control.controller.ledger
        if self._scenario.information.unstated is UnstatedPolicy.LEARNT and learnt is not None:
            await ledger.set_targets(opened.id, as_kept((learnt,), stay.vehicle))
        if stay.told:
            await ledger.set_targets(opened.id, stay.told[0].targets)

    async def _state(self, place: int, number: int) -> None:
        """A driver changes what was said at plug-in."""
        opened = await self._session_of(place)
        if opened is not None:
            targets = self._scenario.stays[place].told[number].targets
            await self._control.controller.ledger.set_targets(opened.id, targets)

    async def _session_of(self, place: int) -> Session | None:
        """The session that control made of a stay, once it did; ``None`` where the car left before."""
        guest = self._guests.get(place)
        while guest is not None and place in self._guests:
            transaction = guest.visit.transaction
            if transaction is not None and transaction.id is not None:
                station_id = self._scenario.site.evses[guest.stay.evse_id].station_id
                lookup = self._control.stores.sessions.session_of_transaction
                session = await lookup(station_id, TransactionId(transaction.id))
                if session is not None:
                    return session
            await asyncio.sleep(POLL_WALL_S)
        return None

    async def _leave(self, place: int) -> None:
        """The station unplugs the car by itself; here it is written down."""
        guest = self._guests.get(place)
        if guest is None:
            return
        session = await self._session_of(place) if guest.visit.transaction is not None else None
        del self._guests[place]
        evse = self._scenario.site.evses[guest.stay.evse_id]
        self._virtual.stations[evse.station_id].core.advance(self._clock.now())
        present = PresentCar(guest.stay, guest.visit.vehicle)
        self._outcomes[place] = outcome_of(present, session.pauses if session is not None else 0)
        self._learner.note(
            guest.stay.session.stay_h, guest.visit.vehicle.taken_kwh, was_full=guest.visit.vehicle.is_full
        )

    def course(self, strategy: str, spent: Spent, *, is_complete: bool) -> Course:
        """What happened."""
        plant, surroundings = self._virtual.plant, self._scenario.surroundings
        return Course(
            strategy=strategy,
            stays=tuple(sorted(self._outcomes.values(), key=lambda one: (one.arrived_at, one.id))),
            series=self._recorder.series(surroundings.building, surroundings.pv),
            violations=plant.audit.violations,
            planning=self._control.log.closed(),
            setpoint_changes=self._control.wire.limits_sent,
            spent=spent,
            until=self._until,
            is_complete=is_complete,
            battery_drained_kwh=self._control.battery.drained_kwh if self._control.battery is not None else 0.0,
        )
