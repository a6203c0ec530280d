"""Limits on their way to the stations: what was sent, answered and seen is in the store before anything else happens.

One round: observe, verify, dispatch, guard, send. Between observing and storing what is sent nothing else may send,
so the guard always counts what is under way; the answers are awaited outside that stretch, and a slow station holds
nobody up. A service that is killed anywhere leaves setpoints that count at the greater of old and new.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from optimizer.control.bounds import bound_of, fallback_limit_kw, verified
from optimizer.control.dispatch import dispatch
from optimizer.control.guard import GuardDecision, decide
from optimizer.control.memory import GuardMemory, KeptEvses
from optimizer.control.observe import observe_guard
from optimizer.control.pauses import zero_stretches
from optimizer.control.phases import doubted_order, order_of, ordered, watched_phases, without_refused
from optimizer.control.safe_defaults import safe_defaults_kw
from optimizer.control.settings import ControlSettings
from optimizer.control.view import GuardView, fresh_sample
from optimizer.domain.charger import Connector, LimitCommand, LimitState, Setpoint
from optimizer.domain.evolving import with_changes
from optimizer.domain.ids import EvseId, SessionId, StationId, TransactionId
from optimizer.domain.moment import Interval
from optimizer.domain.plan import Plan
from optimizer.domain.site import Site
from optimizer.ports import ChargerGateway, Clock, LimitReply, Stores

_LOG = logging.getLogger(__name__)

ROUNDS = 2
"""The first sends reductions; the second, when they are answered, what they made room for."""


class LimitSender:
    """Sends limits to the stations of one site; loop and watch share it.

    Args:
        site: Whose stations.
        stores: Where setpoints are kept.
        gateway: The way to the stations.
        clock: Time.
        settings: Times and margins.
        on_pauses: Told when a session was held at zero by us.
        on_phases_switched: Told when a session is to charge on another number of phases.

    Raises:
        InvalidConfiguration: The site cannot be safe when every station is blind.
    """

    def __init__(
        self,
        site: Site,
        stores: Stores,
        gateway: ChargerGateway,
        clock: Clock,
        settings: ControlSettings,
        on_pauses: Callable[[SessionId, Sequence[Interval]], Awaitable[None]],
        on_phases_switched: Callable[[SessionId, datetime], Awaitable[None]],
    ) -> None:
        self._site = site
        self._evse_ids = {station.id: [evse.id for evse in station.evses] for station in site.stations}
        self._stores = stores
        self._gateway = gateway
        self._clock = clock
        self._settings = settings
        self._on_pauses = on_pauses
        self._on_phases_switched = on_phases_switched
        self.memory = GuardMemory()
        self._unproven = KeptEvses()
        self.safe_kw: Mapping[EvseId, float] = safe_defaults_kw(site, deal_all=settings.deal_all_when_blind)
        self._turn = asyncio.Lock()
        self._newest: dict[EvseId, Setpoint] = {}
        self._replies: list[tuple[Setpoint, LimitReply]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._plan: Plan | None = None
        self._default_retry_at: dict[EvseId, datetime] = {}
        self._defaults_confirmed: dict[EvseId, float] = {}
        self._contacts: defaultdict[StationId, int] = defaultdict(int)
        self._doubtful: set[StationId] = set()
        self._stopped: dict[EvseId, TransactionId] = {}

    def follow(self, plan: Plan) -> None:
        """Take ``plan`` as the one in force; it must be in the store already."""
        self._plan = plan

    async def view(self) -> GuardView:
        """What the guard knows now."""
        now = self._clock.now()
        return await observe_guard(
            self._site, self._stores, self._gateway, now, self.safe_kw, self._settings, self.memory
        )

    async def keep_limits(self) -> tuple[GuardView, GuardDecision]:
        """Bring the stations towards the plan as far as is safe now, and cut what is not."""
        for _ in range(ROUNDS):
            async with self._turn:
                view = await self._verify(await self.view())
                decision = decide(view, dispatch(view, await self._plan_in_force(), self._settings), self._settings)
                first_reductions = decision.reductions if decision.increases else ()
                commands = first_reductions or decision.commands
                tasks = await self._start(commands, view, decision)
                tasks += self._stop(decision.stops, view)
            await self._wait_for(tasks)
            if not first_reductions:
                break
        return view, decision

    async def install_safe_defaults(self, view: GuardView) -> None:
        """Install the safe default at every online EVSE that is not known to hold it; lower ones first.

        What the store says of it may have been lost meanwhile, so each station confirms it once after every contact,
        and after every start of the service.
        """
        due = [
            evse_id
            for evse_id, connector in view.connectors.items()
            if connector.online
            and (
                evse_id not in self._defaults_confirmed
                or connector.safe_default_kw != self._defaults_confirmed[evse_id]
            )
            and view.at >= self._default_retry_at.get(evse_id, view.at)
        ]
        lower = [evse_id for evse_id in due if self._lowers(view, evse_id)]
        await self._wait_for([self._spawn(self._install_default(view, evse_id)) for evse_id in lower or due])

    def _lowers(self, view: GuardView, evse_id: EvseId) -> bool:
        held_kw = view.connectors[evse_id].safe_default_kw
        return held_kw is None or held_kw > self.safe_kw[evse_id]

    async def _install_default(self, view: GuardView, evse_id: EvseId) -> None:
        # Set before the answer: a station that never answers is not asked again at every tick.
        self._default_retry_at[evse_id] = view.at + timedelta(seconds=self._settings.unanswered_retry_s)
        limit_kw, station_id = self.safe_kw[evse_id], view.connectors[evse_id].station_id
        contact = self._contacts[station_id]
        reply = await self._gateway.set_safe_default(station_id, evse_id, limit_kw)
        if reply.state is LimitState.ACCEPTED or reply.holds:
            held_kw = reply.holds[-1].limit_kw if reply.holds else limit_kw
            await self._stores.connectors.save_safe_default(evse_id, held_kw)
            self._default_retry_at.pop(evse_id, None)
            if contact == self._contacts[station_id]:
                self._defaults_confirmed[evse_id] = held_kw
        elif reply.state is LimitState.REJECTED:
            await self._stores.connectors.save_safe_default(evse_id, None)
            retry = timedelta(seconds=self._settings.rejected_retry_s)
            self._default_retry_at[evse_id] = view.at + retry
            _LOG.warning("EVSE %s refuses its safe default of %.1f kW: %s", evse_id, limit_kw, reply.detail)

    async def distrust(self, station_id: StationId) -> None:
        """A station booted or connected anew: its limits may be gone, until they are sent again and seen.

        What an EVSE may draw meanwhile is the greatest of its last profile and of the default that then holds.
        """
        self._contacts[station_id] += 1
        for evse_id in self._evse_ids.get(station_id, ()):
            self._defaults_confirmed.pop(evse_id, None)
            self._default_retry_at.pop(evse_id, None)
        self._doubtful.add(station_id)
        async with self._turn:
            if station_id not in self._doubtful:
                # Whoever had the turn before has done it for all that waited: thousands may come back at once.
                return
            stations, self._doubtful = self._doubtful, set()
            done = False
            try:
                await self._doubt(stations)
                done = True
            finally:
                if not done:
                    self._doubtful |= stations

    async def _doubt(self, stations: set[StationId]) -> None:
        view = await self.view()
        doubted = []
        for evse_id, connector in view.connectors.items():
            setpoint = connector.setpoint
            if connector.station_id not in stations or setpoint is None or evse_id not in view.sessions:
                continue
            fallback_kw = fallback_limit_kw(connector, self._site.evses[evse_id], self.safe_kw[evse_id])
            lasting_kw = max(bound_of(view, evse_id, self._settings).lasting_kw, fallback_kw)
            self._newest.pop(evse_id, None)
            doubted.append(
                replace(
                    setpoint,
                    state=LimitState.UNANSWERED,
                    answered_at=None,
                    verified_at=None,
                    bound_before_kw=lasting_kw,
                    phase_order=doubted_order(setpoint, view.at),
                )
            )
        await self._keep(doubted)

    async def close(self) -> None:
        """Give up what is under way; the store holds it as sent."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _plan_in_force(self) -> Plan | None:
        if self._plan is None:
            self._plan = await self._stores.plans.latest_plan(self._site.id)
        return self._plan

    async def _verify(self, view: GuardView) -> GuardView:
        """Keep the proof for every setpoint that the meter now shows to be kept, its number of phases included."""
        proofs, shown_now = {}, []
        for evse_id in self._unproven.those(view.connectors, view.sessions, lambda one: _is_unproven(view, one)):
            connector = view.connectors[evse_id]
            setpoint = connector.setpoint
            if setpoint is None:
                continue
            shown = verified(view, evse_id, self._settings) or setpoint
            if evse_id in view.sessions and shown.phase_order is not None:
                sample = fresh_sample(connector, view.at, self._settings)
                evse = self._site.evses[evse_id]
                shown = watched_phases(shown, connector, evse, sample, view.at, self._settings)
                if shown.obeys_phases is False and setpoint.obeys_phases is not False:
                    _LOG.warning("EVSE %s was told to charge on one phase and is not seen to: it stays on all", evse_id)
            if shown is not setpoint:
                shown_now.append(shown)
                proofs[evse_id] = replace(connector, setpoint=shown)
        await self._keep(shown_now)
        return replace(view, connectors=with_changes(view.connectors, proofs)) if proofs else view

    async def _start(
        self, commands: Sequence[LimitCommand], view: GuardView, decision: GuardDecision
    ) -> list[asyncio.Task[None]]:
        """Store every command as sent, then send them all at once."""
        pairs = []
        for command in commands:
            connector, session = view.connectors[command.evse_id], view.sessions.get(command.evse_id)
            sample = fresh_sample(connector, view.at, self._settings)
            held = order_of(connector.setpoint, session)
            setpoint = Setpoint(
                command.evse_id,
                command.periods,
                LimitState.SENT,
                sent_at=view.at,
                bound_before_kw=decision.bounds[command.evse_id].lasting_kw,
                reason=command.reason,
                drawn_before_kw=sample.power_kw if sample else None,
                takes_zero=view.feeders[command.evse_id].takes_zero,
                phase_order=ordered(command.phases, held, view.at) if command.phases is not None else None,
                obeys_phases=connector.setpoint.obeys_phases if connector.setpoint is not None else None,
            )
            await self._tell_pauses(view, command.evse_id)
            if session is not None and setpoint.phase_order not in (None, held):
                await self._on_phases_switched(session.id, view.at)
            pairs.append((command, setpoint))
        await self._keep([setpoint for _, setpoint in pairs])
        self._newest.update({setpoint.evse_id: setpoint for _, setpoint in pairs})
        occupied = view.sessions.keys()
        return [self._spawn(self._deliver(command, setpoint, occupied)) for command, setpoint in pairs]

    def _stop(self, evse_ids: Iterable[EvseId], view: GuardView) -> list[asyncio.Task[None]]:
        """End transactions that no limit can hold low enough, each once."""
        tasks = []
        for evse_id in evse_ids:
            transaction_id = view.sessions[evse_id].transaction_id
            if transaction_id is not None and self._stopped.get(evse_id) != transaction_id:
                self._stopped[evse_id] = transaction_id
                tasks.append(self._spawn(self._stop_one(view.connectors[evse_id], transaction_id)))
        return tasks

    async def _stop_one(self, connector: Connector, transaction_id: TransactionId) -> None:
        _LOG.warning("EVSE %s: no limit holds it low enough; ending transaction %s", connector.evse_id, transaction_id)
        reply = await self._gateway.stop_charging(connector.station_id, transaction_id)
        if reply.state is LimitState.UNANSWERED:
            self._stopped.pop(connector.evse_id, None)

    async def _tell_pauses(self, view: GuardView, evse_id: EvseId) -> None:
        """Tell when the limit that is now replaced held its vehicle at zero."""
        session = view.sessions.get(evse_id)
        pauses = zero_stretches(view.connectors[evse_id].setpoint, session, view.at) if session else ()
        if session and pauses:
            await self._on_pauses(session.id, pauses)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("site %s: a limit was lost on its way", self._site.id, exc_info=error)

    async def _deliver(self, command: LimitCommand, setpoint: Setpoint, occupied: Iterable[EvseId]) -> None:
        if command.evse_id in occupied:
            reply = await self._gateway.set_limit(command)
        else:
            reply = await self._gateway.clear_limit(command.station_id, command.evse_id)
        await self._record(setpoint, reply)

    async def _record(self, setpoint: Setpoint, reply: LimitReply) -> None:
        """Keep the answer, unless a newer limit has been sent meanwhile."""
        self._replies.append((setpoint, reply))
        async with self._turn:
            # Whoever has the turn first keeps all that have come: thousands may answer at once.
            replies, self._replies = self._replies, []
            kept = False
            try:
                counting = [pair for pair in replies if self._newest.get(pair[0].evse_id) is pair[0]]
                await self._keep([self._answered(*pair) for pair in counting])
                kept = True
            finally:
                if not kept:
                    self._replies = replies + self._replies
        for told, said in counting:
            if said.state is not LimitState.ACCEPTED:
                _LOG.warning("EVSE %s: limit %s: %s", told.evse_id, said.state, said.detail)

    def _answered(self, setpoint: Setpoint, reply: LimitReply) -> Setpoint:
        answered = replace(setpoint, state=reply.state, answered_at=self._clock.now())
        if reply.holds:
            return replace(answered, state=LimitState.ACCEPTED, periods=reply.holds, takes_zero=False)
        return without_refused(answered) if reply.state is LimitState.REJECTED else answered

    async def _keep(self, setpoints: Sequence[Setpoint]) -> None:
        """Keep setpoints in one write, of which the disk has to know before anything else happens."""
        if setpoints:
            await self._stores.connectors.save_setpoints(setpoints)

    async def _wait_for(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Wait for answers, but not for a station that takes its time."""
        if tasks:
            await asyncio.wait(tasks, timeout=self._clock.wall_seconds(self._settings.reply_patience_s))


def _is_unproven(view: GuardView, evse_id: EvseId) -> bool:
    """Whether the meter has still to show that a limit is kept, or is watched for its number of phases."""
    setpoint = view.connectors[evse_id].setpoint
    if setpoint is None:
        return False
    return setpoint.state is LimitState.ACCEPTED or setpoint.phase_order is not None
