"""The service's control of a simulated site, driven step by step: book of sessions, plan, guard and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from optimizer.control.controller import SiteController
from optimizer.control.ledger import SessionLedger
from optimizer.domain.charger import (
    ConnectorReported,
    ConnectorStatus,
    StationBooted,
    TransactionBegun,
    TransactionFinished,
    VehicleNeeds,
)
from optimizer.domain.event import GridEvent
from optimizer.domain.ids import EvseId, SessionId, SiteId
from optimizer.domain.plan import Fallback, FeasibleAtLimit, Plan, PlanOutcome
from optimizer.domain.reservation import Reservation
from optimizer.domain.session import Session
from optimizer.domain.site import Evse
from optimizer.domain.snapshot import SiteSnapshot
from optimizer.planning.assemble import problem_from_snapshot
from optimizer.planning.departures import DepartureRecord
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.settings import PlanningSettings
from scenarios.foresight import carbon_outlook, forecasts_of, tariffs_of
from scenarios.memory_stores import MemoryStores
from scenarios.replay_state import PresentCar, ReplayState
from scenarios.scenario import Scenario, Stay, Told, UnstatedPolicy
from scenarios.stays import as_kept
from scenarios.strategies import MILP, Strategy


class SteppedControl:
    """Control of a replay's site; everything that must outlast it is in the replay's state.

    Args:
        scenario: What is replayed.
        strategy: What plans.
        state: The replay.
    """

    def __init__(self, scenario: Scenario, strategy: Strategy, state: ReplayState) -> None:
        self._scenario = scenario
        self._strategy = strategy
        self._state = state
        self._controller = SiteController(
            scenario.site,
            state.stores,
            state.site,
            state.clock,
            tariffs_of(_as_looked_at(scenario, strategy), state.clock),
            forecasts_of(scenario),
            self._assemble,
            self._plan,
            scenario.control if strategy.looks_at_money else replace(scenario.control, past_days=0),
        )

    async def begin(self) -> None:
        """All stations connect and get the limit that holds without the service; the past is in the book."""
        now = self._state.clock.now()
        for stay in self._scenario.earlier:
            await self._state.stores.sessions.save_session(_session_before(stay, self._scenario.site.id))
        for station in self._scenario.site.stations:
            await self._controller.ledger.station_booted(StationBooted(station.id, now, "2.0.1"))
            for evse in station.evses:
                await self._report(evse.id, ConnectorStatus.AVAILABLE)
        await self._controller.guard_step()

    # ------------------------------------------------------------------ what stations and drivers tell

    async def arrived(self, present: PresentCar) -> None:
        """A car was plugged in: a session begins, with its transaction and what is assumed of it."""
        stay, now = present.stay, self._state.clock.now()
        evse = self._scenario.site.evses[stay.evse_id]
        await self._report(evse.id, ConnectorStatus.PREPARING)
        register_kwh = self._state.site.sample(evse.id).register_kwh
        begun = TransactionBegun(evse.station_id, evse.ocpp_evse_id, now, stay.session.token_id, None, register_kwh)
        opened = await self._controller.ledger.transaction_begun(begun)
        present.session_id = opened.session_id
        self._state.site.note_transaction(evse.id, opened.transaction_id)
        await self._report(evse.id, ConnectorStatus.CHARGING)
        if stay.vehicle.gives_back:
            await tell_lending(self._controller.ledger, self._state.stores, stay, evse, opened.session_id, now)
        if stay.tier is not (session := await self._state.stores.sessions.session(opened.session_id)).tier:
            tier = min(stay.tier, session.tier)
            await self._state.stores.sessions.save_session(replace(session, tier=tier))
        learnt = self._state.learner.target(now)
        if self._scenario.information.unstated is UnstatedPolicy.LEARNT and learnt is not None:
            await self._controller.ledger.set_targets(opened.session_id, as_kept((learnt,), stay.vehicle))

    async def told(self, present: PresentCar, told: Told) -> None:
        """A driver says what is needed by when."""
        if present.session_id is not None:
            await self._controller.ledger.set_targets(present.session_id, told.targets)

    async def leaving(self, present: PresentCar) -> int:
        """A car leaves: its session ends; tells how often its charging was paused."""
        stay, now = present.stay, self._state.clock.now()
        evse = self._scenario.site.evses[stay.evse_id]
        sample = self._state.site.sample(evse.id)
        if sample.transaction_id is not None:
            finished = TransactionFinished(
                evse.station_id, sample.transaction_id, now, sample.register_kwh, "EVDisconnected"
            )
            await self._controller.ledger.transaction_finished(finished)
        await self._report(evse.id, ConnectorStatus.AVAILABLE)
        if present.session_id is None:
            return 0
        session = await self._state.stores.sessions.session(present.session_id)
        self._state.departures.note(session)
        return session.pauses

    async def pauses_of(self, present: PresentCar) -> int:
        """How often the charging of a car was paused."""
        if present.session_id is None:
            return 0
        return (await self._state.stores.sessions.session(present.session_id)).pauses

    async def reserved(self, reservation: Reservation) -> None:
        """A booking is made."""
        await self._state.stores.reservations.add(reservation)

    async def announced(self, event: GridEvent) -> None:
        """The grid operator announces something."""
        await self._state.stores.grid_events.save(event)

    async def meter(self, present: Mapping[int, PresentCar]) -> None:
        """All meters are read."""
        samples = [self._state.site.sample(one.stay.evse_id) for one in present.values()]
        if samples:
            await self._controller.ledger.meter_sampled(samples)
        await self._state.stores.meters.add_site_reading(self._state.site.reading())

    # ------------------------------------------------------------------ what control does

    async def act(self, trigger: str | None) -> bool:
        """One control step where there is a ``trigger``, else one look of the guard.

        Returns:
            Whether a vehicle waits for more power until a reduction of others is seen in the meter.
        """
        if trigger is not None:
            outcome = await self._controller.step(trigger)
            self._note(outcome)
            if self._state.site.battery is not None:
                # The battery follows the new plan at once: what the meter shows has changed.
                await self.meter(self._state.present)
            if self._scenario.grid_events or self._state.site.battery is not None:
                await self._controller.guard_step()
            plan: Plan | None = outcome.plan
        else:
            await self._controller.guard_step()
            plan = await self._state.stores.plans.latest_plan(self._scenario.site.id)
        return plan is not None and self._is_held_back(plan)

    def _is_held_back(self, plan: Plan) -> bool:
        now = self._state.clock.now()
        index = next((place for place, end in enumerate(plan.boundaries[1:]) if end > now), None)
        if index is None:
            return False
        for session_plan in plan.sessions:
            if session_plan.evse_id not in self._scenario.site.evses:
                continue
            evse = self._scenario.site.evses[session_plan.evse_id]
            planned_kw = session_plan.power_kw[index]
            permitted_kw = self._state.site.permitted_kw(evse.id)
            if planned_kw - permitted_kw > max(self._scenario.control.dead_band_kw, evse.power_kw(evse.current_step_a)):
                return True
        return False

    def _note(self, outcome: PlanOutcome) -> None:
        log = self._state.log
        figures = outcome.figures
        log.at.append(outcome.plan.made_at)
        log.solve_s.append(figures.total_s)
        log.fallbacks += isinstance(outcome, Fallback) and self._strategy.name == MILP
        log.time_limits += isinstance(outcome, FeasibleAtLimit)
        if self._state.site.battery is not None:
            self._state.site.battery.follow(outcome.plan.boundaries, outcome.plan.battery_kw)

    async def _assemble(self, snapshot: SiteSnapshot, fixed_kw: Mapping[EvseId, float]) -> ChargingProblem:
        return stated_problem(self._scenario, self._strategy.settings, self._state.departures, snapshot, fixed_kw)

    async def _plan(self, problem: ChargingProblem) -> PlanOutcome:
        return self._strategy.solve(problem)

    async def _report(self, evse_id: EvseId, status: ConnectorStatus) -> None:
        evse = self._scenario.site.evses[evse_id]
        now = self._state.clock.now()
        await self._controller.ledger.connector_reported(
            ConnectorReported(evse.station_id, evse.ocpp_evse_id, status, now)
        )


def _as_looked_at(scenario: Scenario, strategy: Strategy) -> Scenario:
    """The scenario without demand charges where the strategy does not look at them: no peak need be followed then."""
    if strategy.looks_at_money:
        return scenario
    return replace(scenario, tariff=replace(scenario.tariff, demand_charges=()))


def stated_problem(
    scenario: Scenario,
    settings: PlanningSettings,
    departures: DepartureRecord,
    snapshot: SiteSnapshot,
    fixed_kw: Mapping[EvseId, float],
) -> ChargingProblem:
    """The problem of a control step, with what was learnt of departures and what is expected of emissions."""
    if settings.departure_care > 0.0:
        settings = replace(settings, stay_curve=departures.curve())
    problem = problem_from_snapshot(snapshot, settings, fixed_kw=fixed_kw)
    if scenario.emissions is None:
        return problem
    foresight = scenario.information.carbon
    carbon = carbon_outlook(scenario.emissions, foresight, problem.now, problem.boundaries)
    return replace(problem, supply=replace(problem.supply, carbon_kg_per_kwh=carbon))


def _session_before(stay: Stay, site_id: SiteId) -> Session:
    """What the book of sessions holds of a stay that was over before the replay began."""
    session = stay.session
    return Session(
        id=SessionId(f"earlier-{session.id}"),
        site_id=site_id,
        evse_id=stay.evse_id,
        plugged_in_at=session.arrived_at,
        token_id=session.token_id,
        unplugged_at=session.departed_at,
        energy_kwh=stay.vehicle.takes_kwh,
    )


async def tell_lending(
    ledger: SessionLedger, stores: MemoryStores, stay: Stay, evse: Evse, session_id: SessionId, at: datetime
) -> None:
    """A vehicle says, as ISO 15118-20 has it, that it gives back; its driver has said how far down.

    Args:
        ledger: Who is told.
        stores: Where the session is kept.
        stay: Whose vehicle.
        evse: Where it stands.
        session_id: Its session.
        at: Now [UTC].
    """
    vehicle, paths = stay.vehicle, min(evse.current_paths, stay.vehicle.phases_used)
    most_kw = vehicle.gives_back_a * evse.voltage_v * paths / 1000.0
    needs = VehicleNeeds(
        evse.station_id,
        evse.ocpp_evse_id,
        at,
        soc=vehicle.arrival_soc,
        battery_kwh=vehicle.battery_kwh,
        max_discharge_kw=most_kw,
    )
    await ledger.vehicle_needs(needs)
    session = await stores.sessions.session(session_id)
    known = replace(session.vehicle, discharge_floor_soc=vehicle.discharge_floor_soc)
    await stores.sessions.save_session(replace(session, vehicle=known))
