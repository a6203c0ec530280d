"""A charging station without its wire: what it does with cars, time and the calls of a central system.

It is driven by three things and reads no clock: `advance` lets time pass and acts on everything that became due, in
order and at its exact instant; `answer` takes a call of the central system; `outbox` holds what it wants to tell.

    cars ──► plug_in ─┐                        ┌─► outbox ──► wire
    time ──► advance ─┼─► EVSEs, transactions ─┤
    wire ──► answer ──┘                        └─► physics (true power, registers)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from optimizer.domain.ids import TokenId
from scenarios.outbox import Outbox, OutgoingCall, Payload
from scenarios.profiles import (
    ChargingProfile,
    EvseProfiles,
    InstalledProfile,
    ProfileFilter,
    ProfilePeriod,
    ProfileRules,
    RateUnit,
    TransactionFacts,
    after_outage,
    cleared,
    install,
    renewed,
    without_transaction,
)
from scenarios.station_dialect import Dialect, Message
from scenarios.station_keys import StationKeys
from scenarios.station_readings import ALIGNED, SAMPLED, ReadingPlan
from scenarios.station_settings import Misbehaviour, StationSettings
from scenarios.station_state import EvseState, StationWatchers, Transaction, Visit
from scenarios.vehicle_model import VehicleModel, WakeBehaviour
from scenarios.virtual_evse import VirtualEvse

OFFLINE = "offline"
LEAST_PASSWORD = 16
"""OCPP 2.0.1 A00.FR.205 asks for 16 characters at least."""


class StationCore:
    """One station.

    Args:
        settings: What it is.
        start: When it comes to life [UTC].
        make_dialect: Gives it its version of the protocol.
        new_id: Gives ids never used before: of messages, and of transactions in 2.x.
        watchers: Who is told of its visits.
    """

    def __init__(
        self,
        settings: StationSettings,
        start: datetime,
        make_dialect: Callable[[StationCore], Dialect],
        new_id: Callable[[], str],
        watchers: StationWatchers,
    ) -> None:
        self.settings = settings
        self.new_id = new_id
        self.evses = {
            evse.ocpp_evse_id: EvseState(VirtualEvse(evse, start), first_register_kwh=settings.first_register_kwh)
            for evse in settings.station.evses
        }
        self.outbox = Outbox()
        self.keys = StationKeys(settings.station.id)
        self.held: tuple[InstalledProfile, ...] = ()
        self.rules = _rules(settings)
        self.readings = ReadingPlan(settings, start)
        self.heartbeat_interval_s = 300
        self.is_online = False
        self._offline_since: datetime | None = None
        self._agenda: list[tuple[datetime, Callable[[datetime], None]]] = []
        self.is_booted = False
        self.reset_wanted = False
        self.reset_when_idle = False
        self.new_password: str | None = None
        self.firmware = settings.firmware
        self.local_list: dict[TokenId, bool] = {}
        self._watchers = watchers
        self._now = start
        self._boot_reason = "PowerUp"
        self._boot_again_at: datetime | None = None
        self._storm_boots_left = settings.figures.boots if settings.has(Misbehaviour.BOOT_STORM) else 0
        self._last_told_at = start
        self.dialect = make_dialect(self)

    # ------------------------------------------------------------------ the wire

    def connected(self, now: datetime) -> None:
        """The connection stands."""
        self.advance(now)
        self.is_online = True
        if self._offline_since is not None:
            self.held = after_outage(self.held, self._offline_since, now)
            self._offline_since = None
            self._relimit(now)
        if not self.is_booted or self.settings.boots_on_reconnect:
            self.is_booted = False
            self.boot()
        else:
            self._note_states(now)

    def disconnected(self, now: datetime) -> None:
        """The connection is gone: what is not durable is lost, transactions go on."""
        self.advance(now)
        self.is_online = False
        self._offline_since = now
        if any(one.profile.max_offline_s is not None for one in self.held):
            self._relimit(now)
        self.outbox.drop_volatile(OFFLINE)

    def answer(self, action: str, payload: Payload, now: datetime) -> Payload:
        """Answer a call of the central system.

        Raises:
            CallRefused: The answer is an error.
        """
        self.advance(now)
        result = self.dialect.answer(action, payload, now)
        self.advance(now)
        return result

    # ------------------------------------------------------------------ time

    def advance(self, now: datetime) -> None:
        """Do everything that became due until ``now``, in order, each at its instant."""
        while (due := self._next_due())[0] <= now:
            at, act = due
            self._now = max(self._now, at)
            self._settle(at)
            act(at)
            self._note_states(at)
        self._now = max(self._now, now)
        self._settle(self._now)
        self._note_states(self._now)

    def next_due_at(self) -> datetime:
        """When `advance` has something to do next, if nothing else happens [UTC]."""
        return self._next_due()[0]

    def _next_due(self) -> tuple[datetime, Callable[[datetime], None]]:
        return min(self._all_due(), key=lambda due: due[0])

    def _all_due(self) -> Iterator[tuple[datetime, Callable[[datetime], None]]]:
        """What is due next of each kind; of two at the same instant the one given first goes first."""
        for state in self.evses.values():
            # A car that leaves draws no more; that is not to be told as a pause before it is told that it left.
            if state.visit is not None and state.physics.departs_at is not None:
                yield state.physics.departs_at, partial(self._unplug, state)
        for state in self.evses.values():
            if state.reservation is not None:
                yield state.reservation.expires_at, partial(self._expire, state)
            if state.transaction is not None and state.transaction.next_sample_at is not None:
                yield state.transaction.next_sample_at, partial(self._sample, state)
            change = state.physics.next_change()
            if change is not None:
                yield change, _look
        for when, act in self._agenda:
            yield when, partial(self._do_planned, when, act)
        if self.readings.aligned_s:
            yield self.readings.next_at, self._read_all
        if self._boot_again_at is not None:
            yield self._boot_again_at, self._boot_again
        yield self._last_told_at + timedelta(seconds=self.heartbeat_interval_s), self.heartbeat

    def plan(self, when: datetime, act: Callable[[datetime], None]) -> None:
        """Do something at ``when``."""
        self._agenda.append((when, act))

    def _do_planned(self, when: datetime, act: Callable[[datetime], None], at: datetime) -> None:
        self._agenda.remove((when, act))
        act(at)

    def _settle(self, at: datetime) -> None:
        for state in self.evses.values():
            state.physics.advance(at)

    def set_sample_interval(self, seconds: int, now: datetime) -> None:
        """Change the interval of samples counted from a transaction's start [s]."""
        self.readings.sampled_s = seconds
        for state in self.evses.values():
            if state.transaction is not None:
                state.transaction.next_sample_at = self.readings.next_sample_after(now)

    def set_heartbeat_interval(self, seconds: int, _now: datetime) -> None:
        """Change the interval of heartbeats [s]."""
        self.heartbeat_interval_s = max(1, seconds)

    def set_password(self, password: str, _now: datetime) -> bool:
        """Take a new password for the next connection; it needs at least 16 characters."""
        if len(password) < LEAST_PASSWORD:
            return False
        self.new_password = password
        return True

    # ------------------------------------------------------------------ cars

    def plug_in(
        self, evse_number: int, vehicle: VehicleModel, token_id: TokenId, at: datetime, departs_at: datetime | None
    ) -> Visit:
        """A car is plugged in and its driver presents a token; nobody is told ``departs_at`` before it comes."""
        self.advance(at)
        state = self.evses[evse_number]
        if state.visit is not None:
            self._unplug(state, at)
        if self.settings.has(Misbehaviour.NO_WAKE):
            vehicle = replace(vehicle, wake=WakeBehaviour.SLEEPS)
        plugged = state.physics.plug_in(vehicle, departs_at)
        visit = state.visit = Visit(evse_number, state.token_waiting or token_id, at, plugged)
        self._note_states(at)
        reserved_for = state.reservation.token_id if state.reservation else None
        if (reserved_for is not None and reserved_for != visit.token_id) or not state.is_operative:
            visit.refused = True
        elif state.token_waiting is not None:
            self.begin(state, visit.token_id, at)
        else:
            self._ask_for(state, visit)
        return visit

    def unplug(self, evse_number: int, at: datetime) -> None:
        """The car leaves."""
        self.advance(at)
        if self.evses[evse_number].visit is not None:
            self._unplug(self.evses[evse_number], at)

    def _ask_for(self, state: EvseState, visit: Visit) -> None:
        if not self.is_online:
            self._without_answer(state, visit)
            return

        def answered(payload: Payload) -> None:
            if state.visit is not visit or state.transaction is not None:
                return
            if self.dialect.read_authorize(payload):
                self.begin(state, visit.token_id, self._now)
            else:
                visit.refused = True

        message = self.dialect.authorize(visit.token_id)
        self.tell(message, answered=answered, failed=lambda _: self._without_answer(state, visit))

    def _without_answer(self, state: EvseState, visit: Visit) -> None:
        if state.visit is not visit or state.transaction is not None:
            return
        if self.local_list.get(visit.token_id, self.settings.starts_offline):
            self.begin(state, visit.token_id, self._now)
        else:
            visit.refused = True

    def begin(self, state: EvseState, token_id: TokenId, at: datetime) -> None:
        """Begin a transaction at an EVSE."""
        at = max(at, state.physics.settled_at)
        state.physics.advance(at)
        reading = state.reading_at(at)
        begun = Transaction(
            id=None, token_id=token_id, started_at=at, start_register_kwh=reading.register_kwh,
            remote_start_id=state.remote_start_id,
        )  # fmt: skip
        if state.reservation is not None:
            begun.reservation_id = state.reservation.id
        begun.next_sample_at = self.readings.next_sample_after(at)
        state.transaction, state.reservation, state.token_waiting, state.remote_start_id = begun, None, None, None
        state.finished = False
        if state.visit is not None and state.visit.transaction is None:
            state.visit.transaction = begun
        for watcher in self._watchers.begun:
            watcher(self.settings.station.id, state.number, begun)
        message = self.dialect.transaction_started(state, begun, reading)
        self.tell(message, durable=True, answered=lambda payload: self._start_answered(state, begun, payload))
        needs = self.dialect.charging_needs(state, state.visit.vehicle.model) if state.visit else None
        if needs is not None:
            self.tell(needs)
        profile, state.profile_waiting = state.profile_waiting, None
        if profile is not None:
            self.set_profile(state.number, profile, at)
        state.physics.switch(on=True, at=at)
        self._relimit(at)
        self._note_states(at)

    def _start_answered(self, state: EvseState, begun: Transaction, payload: Payload) -> None:
        answer = self.dialect.read_start(payload)
        if answer.transaction_id is not None:
            begun.id = answer.transaction_id
        begun.is_acknowledged = True
        if state.transaction is begun:
            self._relimit(self._now)
            if not answer.accepted:
                if state.visit is not None:
                    state.visit.refused = True
                self.end_transaction(state, self._now, "DeAuthorized")
        visit = state.visit
        if visit is not None and visit.transaction is begun:
            for watcher in self._watchers.opened:
                watcher(self.settings.station.id, visit)

    def end_transaction(self, state: EvseState, at: datetime, reason: str) -> None:
        """End the transaction at an EVSE; the car stays."""
        done = state.transaction
        if done is None:
            return
        state.physics.switch(on=False, at=at)
        reading = state.reading_at(at)
        done.ended_at, done.end_register_kwh = at, reading.register_kwh
        state.transaction, state.finished = None, True
        self.tell(self.dialect.transaction_ended(state, done, reading, reason), durable=True)
        self.held = without_transaction(self.held, state.number)
        self._relimit(at)
        if self.reset_when_idle and not any(one.transaction for one in self.evses.values()):
            self.reset("ImmediateReset", at)

    def reset(self, reason: str, now: datetime) -> None:
        """End all transactions, lose the connection and announce itself again."""
        self.reset_when_idle = False
        for state in self.evses.values():
            self.end_transaction(state, now, reason)
        self.is_booted = False
        self.reset_wanted = True
        self._boot_reason = "RemoteReset"

    def lose_power(self, now: datetime, *, profiles_kept: bool) -> None:
        """It restarts by itself: transactions end, and with poor firmware what was installed is gone."""
        if not profiles_kept:
            self.held = ()
        self.reset("PowerLoss", now)
        self._relimit(now)
        self._boot_reason = "PowerUp"

    def _unplug(self, state: EvseState, at: datetime) -> None:
        self.end_transaction(state, at, "EVDisconnected")
        state.physics.unplug(at)
        visit, state.visit, state.finished = state.visit, None, False
        self._note_states(at)
        if visit is not None:
            visit.unplugged_at = at
            for watcher in self._watchers.ended:
                watcher(self.settings.station.id, visit)

    # ------------------------------------------------------------------ profiles

    def set_profile(self, evse_number: int, profile: ChargingProfile, now: datetime) -> str:
        """Install a profile; returns an empty text, or the reason why not."""
        if evse_number != 0 and evse_number not in self.evses:
            return "UnknownEvse"
        going = self.evses[evse_number].transaction if evse_number else None
        new = InstalledProfile(profile, evse_number, now)
        outcome = install(self.held, new, self.rules, going.facts if going else None)
        if isinstance(outcome, str):
            return outcome
        self.held = outcome
        self._relimit(now)
        return ""

    def clear_profiles(self, which: ProfileFilter, now: datetime) -> bool:
        """Remove profiles; returns whether there was one."""
        before = len(self.held)
        self.held = cleared(self.held, which)
        self._relimit(now)
        return len(self.held) < before

    def renew_profile(self, profile_id: int, figures: ProfilePeriod, now: datetime) -> bool:
        """Give a dynamic profile another limit; returns whether there is one that takes it."""
        if figures.limit_value < 0.0 and not self.rules.discharges:
            return False
        before = self.held
        self.held = renewed(self.held, profile_id, figures, now)
        self._relimit(now)
        return any(new is not old for new, old in zip(self.held, before, strict=True))

    def profiles_of(self, state: EvseState, now: datetime) -> EvseProfiles:
        """What governs an EVSE: in its transaction, or in one that would begin now."""
        facts = state.transaction.facts if state.transaction else TransactionFacts(None, now)
        sharers = sum(one.transaction is not None for one in self.evses.values())
        obeyed = tuple(one for one in self.held if self.rules.obeys(one.profile))
        return EvseProfiles(state.physics.evse, obeyed, facts, sharers, self._offline_since)

    def _relimit(self, now: datetime) -> None:
        """Make the EVSEs obey what is installed, after the time that the station takes for it."""
        if self.settings.has(Misbehaviour.IGNORES):
            return
        reaction_s = self.settings.reaction_s
        if self.settings.has(Misbehaviour.SLOW):
            reaction_s = max(reaction_s, self.settings.figures.reaction_s)
        for state in self.evses.values():
            beginning = state.transaction is not None and state.transaction.started_at == now
            delay = timedelta(0) if beginning else timedelta(seconds=reaction_s)
            state.physics.obey(self.profiles_of(state, now), max(now, state.physics.settled_at) + delay)

    # ------------------------------------------------------------------ what it tells

    def tell(
        self,
        message: Message,
        *,
        durable: bool = False,
        first: bool = False,
        topic: str = "",
        answered: Callable[[Payload], None] = lambda _: None,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Queue a message; without a connection only a durable one."""
        action, write = message
        if not durable and not self.is_online:
            return
        self._last_told_at = self._now
        self.outbox.add(OutgoingCall(self.new_id(), action, write, durable, answered, failed, topic), first=first)

    def boot(self) -> None:
        """Announce the station."""
        self._boot_again_at = None
        message = self.dialect.boot(self._boot_reason)
        # Nothing else may be sent before the first announcement is answered.
        self.tell(message, first=not self.is_booted, answered=self._boot_answered, failed=self._boot_failed)

    def _boot_answered(self, payload: Payload) -> None:
        answer = self.dialect.read_boot(payload)
        if not answer.accepted:
            self._boot_again_at = self._now + timedelta(seconds=max(1, answer.interval_s))
            return
        self.is_booted = True
        if answer.interval_s > 0:
            self.heartbeat_interval_s = answer.interval_s
        self.report_states(self._now)
        if self._storm_boots_left > 0:
            self._storm_boots_left -= 1
            self._boot_again_at = self._now + timedelta(seconds=self.settings.figures.boot_every_s)

    def _boot_failed(self, _error: str) -> None:
        if self.is_online:
            self._boot_again_at = self._now + timedelta(seconds=60)

    def _boot_again(self, _at: datetime) -> None:
        self._boot_again_at = None
        if self.is_online:
            self.boot()

    def heartbeat(self, at: datetime) -> None:
        """Say that it lives."""
        self._last_told_at = at
        if self.is_booted:
            self.tell(self.dialect.heartbeat(), topic="heartbeat")

    def report_states(self, at: datetime, states: Iterable[EvseState] | None = None) -> None:
        """Tell the states of EVSEs anew, of all where none are named."""
        for state in states if states is not None else self.evses.values():
            state.reported = None
        self._note_states(at)

    def _note_states(self, at: datetime) -> None:
        """Tell the states that changed."""
        for state in self.evses.values():
            status = state.status_at(at)
            if state.transaction is not None:
                changed = self.dialect.transaction_updated(state, state.transaction, at)
                if changed is not None:
                    self.tell(changed, durable=True)
            if status is not state.reported and self.is_online and self.is_booted:
                state.reported = status
                self.tell(self.dialect.status(state, status, at), failed=partial(_forget_report, state))

    def _read_all(self, at: datetime) -> None:
        self.readings.align(at)
        for state in self.evses.values():
            if state.transaction is not None or (self.settings.reads_when_idle and self.is_booted):
                self.tell_reading(state, at, ALIGNED)

    def _sample(self, state: EvseState, at: datetime) -> None:
        if state.transaction is not None:
            state.transaction.next_sample_at = self.readings.next_sample_after(at)
            self.tell_reading(state, at, SAMPLED)

    def tell_reading(self, state: EvseState, at: datetime, context: str) -> None:
        """Tell what the meter of an EVSE shows at ``at``."""
        going = state.transaction
        message = self.dialect.meter_values(state, going, state.reading_at(at), context)
        self.tell(message, durable=going is not None, topic="" if going else f"idle {state.number}")
        if going is not None and self.settings.has(Misbehaviour.REPLAYS_OLD_SAMPLES):
            past = at - timedelta(seconds=self.settings.figures.replay_age_s)
            if past > going.started_at:
                self.tell(self.dialect.meter_values(state, going, state.reading_at(past), context), durable=True)

    def _expire(self, state: EvseState, _at: datetime) -> None:
        state.reservation = None


def _rules(settings: StationSettings) -> ProfileRules:
    rules = settings.profile_rules
    if settings.has(Misbehaviour.REJECTS_AMPERES):
        rules = replace(rules, units=frozenset({RateUnit.WATTS}))
    if settings.has(Misbehaviour.REJECTS_ZERO):
        rules = replace(rules, takes_zero=False)
    return rules


def _look(_at: datetime) -> None:
    """Nothing to do but to note what changed."""


def _forget_report(state: EvseState, error: str) -> None:
    """A state that was lost with the connection is told again."""
    if error == OFFLINE:
        state.reported = None
