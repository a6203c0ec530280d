"""The book of sessions: takes what stations tell, keeps it before they are answered, and never counts it twice."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from optimizer.control.bounds import STANDBY_KW
from optimizer.control.claims import Claims, is_taken
from optimizer.control.habits import no_habit
from optimizer.control.meter_book import MeterBook
from optimizer.control.pauses import with_pauses, zero_stretches
from optimizer.control.presence import Presence
from optimizer.control.settings import ControlSettings
from optimizer.control.stay_rules import (
    NO_TRANSACTION,
    OCCUPIED,
    UNPLUGGED_REASONS,
    VACANT,
    as_its_state_says,
    is_earlier_stay,
    is_other_stay,
    register_sample,
)
from optimizer.control.targets import (
    default_target,
    vehicle_as_stated,
    vehicle_target,
    with_targets,
)
from optimizer.domain.charger import (
    Connector,
    ConnectorReported,
    ConnectorStatus,
    StationBooted,
    TransactionBegun,
    TransactionFinished,
    TransactionOpened,
    VehicleNeeds,
)
from optimizer.domain.ids import EvseId, SessionId, StationId, TokenId, TransactionId
from optimizer.domain.metering import MeterSample, ReadingReason
from optimizer.domain.moment import Interval
from optimizer.domain.reservation import Reservation
from optimizer.domain.session import DepartureTarget, Session
from optimizer.domain.site import Evse, Site
from optimizer.errors import NotFound
from optimizer.ports import Clock, Stores

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LedgerListeners:
    """Who is told of what; each is called when the fact is durable."""

    on_change: Callable[[str], None]
    """Something that planning should know, in words."""
    on_sample: Callable[[], None]
    """Meter samples have arrived."""
    on_session_ended: Callable[[Session], Awaitable[None]]
    """A vehicle has left, or a transaction of one that left was reported late."""
    on_reconnected: Callable[[StationId], Awaitable[None]]
    """A station booted or connected anew; its limits may be gone."""


@dataclass(frozen=True, slots=True)
class _Beginning:
    """A sample tells of something unknown to us, which begins with it."""

    active: Session | None
    """The session in which a transaction begins; ``None``: a session begins."""
    transaction_id: TransactionId | None
    """The transaction; ``None``: none is told."""


class SessionLedger:
    """Sessions of one site, from what its stations tell (port `StationEvents`).

    Args:
        site: Which site.
        stores: Where everything is kept.
        clock: Time.
        settings: Assumptions about vehicles, numbers of samples.
        listeners: Who is told.
        knows_token: Whether a token may charge at all.
        habit: What is to be expected of a driver who says nothing, by earlier stays.
    """

    def __init__(
        self,
        site: Site,
        stores: Stores,
        clock: Clock,
        settings: ControlSettings,
        listeners: LedgerListeners,
        knows_token: Callable[[TokenId], bool] = lambda _: True,
        habit: Callable[[Session], DepartureTarget | None] = no_habit,
    ) -> None:
        self._site = site
        self._stores = stores
        self._clock = clock
        self._settings = settings
        self._listeners = listeners
        self._knows_token = knows_token
        self._habit = habit
        self._evse_of = {(evse.station_id, evse.ocpp_evse_id): evse for evse in site.evses.values()}
        self._turns: defaultdict[EvseId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._presence = Presence(site.id, stores)
        self._meters = MeterBook(stores, settings)
        self._claims = Claims(site.id, stores, settings)

    @asynccontextmanager
    async def _change_at(self, evse_id: EvseId) -> AsyncIterator[None]:
        """One change at a time at an EVSE, durable as a whole or not at all."""
        async with self._turn_at(evse_id), self._stores.together():
            yield

    @asynccontextmanager
    async def _turn_at(self, evse_id: EvseId) -> AsyncIterator[None]:
        """One change at a time at an EVSE; where it fails, what is remembered of it is read anew."""
        kept = False
        async with self._turns[evse_id]:
            try:
                yield
                kept = True
            finally:
                if not kept:
                    self._presence.doubt(evse_id)
                    self._meters.forget(evse_id)

    # --- stations ---------------------------------------------------------------------------------------------------

    async def station_booted(self, event: StationBooted) -> None:
        """Keep what the station said of itself; its limits are no longer taken for granted."""
        await self._stores.connectors.save_boot(event)
        await self._listeners.on_reconnected(event.station_id)
        self._listeners.on_change(f"station {event.station_id} online")

    async def station_known_better(self, event: StationBooted) -> None:
        """Keep what has been learnt of the station."""
        await self._stores.connectors.save_boot(event)

    async def station_disconnected(self, station_id: StationId, at: datetime) -> None:
        """Its sessions go on; the guard now counts what its last profiles permit."""
        _LOG.info("station %s offline since %s", station_id, at.isoformat())
        self._listeners.on_change(f"station {station_id} offline")

    async def connector_reported(self, event: ConnectorReported) -> None:
        """A plug-in begins a session, a plug-out ends it; a report older than the newest one changes nothing."""
        # A report from ahead of us would make every later one look older.
        event = replace(event, at=self._not_ahead(event.at))
        evse = self._evse_of.get((event.station_id, event.ocpp_evse_id))
        if evse is None:
            await self._stores.connectors.save_status(event)
            return
        async with self._turn_at(evse.id):
            if await self._changes_no_stay(event, evse):
                # One write needs no block, and shares its commit with others: thousands may report at once.
                await self._stores.connectors.save_status(event)
                return
            async with self._stores.together():
                news, ended = await self._take_report(event, evse)
        if news:
            self._listeners.on_change(news)
        if ended is not None:
            await self._tell_ended(ended)

    async def _changes_no_stay(self, event: ConnectorReported, evse: Evse) -> bool:
        """Whether a report says nothing of any vehicle that is not known."""
        session = await self._presence.active(evse.id)
        if session is None:
            return event.status not in OCCUPIED
        if event.status in VACANT:
            return False
        connector = await self._connector(evse.id)
        return as_its_state_says(session, connector, evse, event, self._settings) == session

    async def _take_report(self, event: ConnectorReported, evse: Evse) -> tuple[str, Session | None]:
        """Keep a report and what it says of the vehicle: what planning should know, and the stay that it ends."""
        await self._stores.connectors.save_status(event)
        connector = await self._connector(evse.id)
        session = await self._presence.active(evse.id)
        is_newest = connector.status is event.status
        if event.status in OCCUPIED and session is None and is_newest:
            session = self._new_session(evse, self._not_ahead(event.at), None)
            return f"plug-in at {evse.id}" if await self._begin(session) else "", None
        if event.status in VACANT and session is not None:
            return "", await self._plug_out(session, event.at, connector)
        if session is not None and is_newest:
            told = as_its_state_says(session, connector, evse, event, self._settings)
            if told != session:
                await self._stores.sessions.save_session(told)
                return f"vehicle at {evse.id} is {event.status.replace('_', ' ')}", None
        return "", None

    async def authorize(self, station_id: StationId, token_id: TokenId, at: datetime) -> bool:
        """Whether a token may charge at one EVSE of the station at least."""
        if not self._knows_token(token_id):
            return False
        claims = await self._claims.waiting_at(at)
        evses = [evse for evse in self._site.evses.values() if evse.station_id == station_id]
        return any(not is_taken(evse, token_id, claims) for evse in evses)

    async def may_start(self, evse_id: EvseId, token_id: TokenId) -> bool:
        """Whether a token may begin to charge at an EVSE now."""
        if not self._knows_token(token_id):
            return False
        return not is_taken(self._site.evses[evse_id], token_id, await self._claims.waiting_at(self._clock.now()))

    # --- transactions -----------------------------------------------------------------------------------------------

    async def transaction_begun(self, event: TransactionBegun) -> TransactionOpened:
        """Open a transaction inside the session of its vehicle; begin the session where there is none.

        Raises:
            NotFound: The site has no such EVSE.
        """
        evse = self._evse_of.get((event.station_id, event.ocpp_evse_id))
        if evse is None:
            raise NotFound("EVSE", f"{event.station_id}/{event.ocpp_evse_id}")
        ended = None
        async with self._change_at(evse.id):
            active = await self._presence.active(evse.id)
            if active is not None and is_other_stay(active, event):
                ended = await self._end(active, max(event.at, active.plugged_in_at))
                active = None
            session, opened = await self._open(event, evse, active, await self._claims.waiting_at(event.at))
        if ended is not None:
            await self._tell_ended(ended)
        self._listeners.on_change(f"transaction at {evse.id}")
        return replace(opened, accepted=session.may_charge)

    async def _open(
        self, event: TransactionBegun, evse: Evse, active: Session | None, claims: Sequence[Reservation]
    ) -> tuple[Session, TransactionOpened]:
        """Store the transaction with its session; a repeat finds both as they are."""
        known = await self._known_transaction(event)
        if known is not None:
            opened = await self._stores.sessions.open_transaction(event, known)
            if event.token_id is None or known.token_id is not None or not known.is_active:
                return known, opened
            # The token was presented after the transaction had begun.
            known = await self._with_token(known, evse, event.token_id, claims)
            await self._stores.sessions.save_session(known)
            return known, opened
        begun_at = self._not_ahead(event.at)
        past = active is not None and is_earlier_stay(active, event)
        if active is not None and not past:
            session = active
        else:
            session = self._new_session(evse, begun_at, event.token_id)
            if past and active is not None:
                session = replace(session, unplugged_at=active.plugged_in_at)
        session = replace(session, transaction_begun_at=begun_at, may_charge=True)
        session = await self._with_token(session, evse, event.token_id, claims)
        opened = await self._stores.sessions.open_transaction(event, session)
        if opened.session_id == session.id and session.is_active:
            self._presence.note(evse.id, session.id)
        if event.register_kwh is not None:
            sample = register_sample(event.station_id, evse, event.at, opened.transaction_id, event.register_kwh)
            await self._take_sample(replace(sample, reason=ReadingReason.TRANSACTION_BEGIN), evse)
        return await self._stores.sessions.session(opened.session_id), opened

    async def _with_token(
        self, session: Session, evse: Evse, token_id: TokenId | None, claims: Sequence[Reservation]
    ) -> Session:
        """The session with who it belongs to: what that driver usually needs, has booked, and may do here."""
        session = replace(session, token_id=token_id or session.token_id)
        habit = self._habit(session)
        if habit is not None:
            session = with_targets(session, (habit,))
        session = await self._claims.fulfilled(session, evse, claims)
        if token_id is not None:
            allowed = self._knows_token(token_id) and not is_taken(evse, token_id, claims)
            session = replace(session, may_charge=allowed)
        return session

    async def _known_transaction(self, event: TransactionBegun) -> Session | None:
        if event.transaction_id is None:
            return None
        return await self._stores.sessions.session_of_transaction(event.station_id, event.transaction_id)

    async def transaction_finished(self, event: TransactionFinished) -> None:
        """Close the transaction; its session lasts until the vehicle is unplugged."""
        session = await self._stores.sessions.session_of_transaction(event.station_id, event.transaction_id)
        if session is None:
            _LOG.warning("station %s ended transaction %s, which is unknown", event.station_id, event.transaction_id)
            return
        event = replace(event, at=self._not_ahead(event.at))
        evse = self._site.evses[session.evse_id]
        ended = None
        async with self._change_at(evse.id):
            # Kept without a register too: it says that no more meter values follow.
            sample = register_sample(event.station_id, evse, event.at, event.transaction_id, event.register_kwh)
            await self._take_sample(replace(sample, reason=ReadingReason.TRANSACTION_END), evse)
            session = await self._stores.sessions.session(session.id)
            was_active = session.is_active
            if session.transaction_id == event.transaction_id:
                session = replace(session, transaction_id=None)
                await self._stores.sessions.save_session(session)
            connector = await self._connector(evse.id)
            unplugged = connector.status in VACANT or event.reason in UNPLUGGED_REASONS
            if was_active and unplugged:
                session = await self._end(session, max(event.at, session.plugged_in_at))
            if not session.is_active:
                ended = session
        if ended is not None:
            await self._tell_ended(ended)
        self._listeners.on_change(f"transaction ended at {evse.id}")

    # --- meters -----------------------------------------------------------------------------------------------------

    async def meter_sampled(self, samples: Sequence[MeterSample]) -> None:
        """Judge, assign and keep samples; what they say of the vehicle goes into its session."""
        by_evse: defaultdict[EvseId, list[MeterSample]] = defaultdict(list)
        for sample in samples:
            by_evse[sample.evse_id].append(sample)
        news: list[str] = []
        for evse_id, group in by_evse.items():
            evse = self._site.evses.get(evse_id)
            if evse is None:
                await self._stores.meters.add_samples(group, [None] * len(group))
                continue
            async with self._turn_at(evse_id):
                news += await self._take_samples(sorted(group, key=lambda one: one.at), evse)
        for reason in news:
            self._listeners.on_change(reason)
        self._listeners.on_sample()

    async def _take_samples(self, samples: Sequence[MeterSample], evse: Evse) -> list[str]:
        """Keep the samples of one message; what planning should know of them, in words.

        All is read before, and written at once, so that others write meanwhile. Only where a sample tells of a vehicle
        or transaction unknown to us is more than one write needed, and the writer held.
        """
        connector = await self._connector(evse.id)
        found: dict[TransactionId | None, Session | None] = {}
        stays = [await self._stay_of(sample, evse, connector, found) for sample in samples]
        known = [stay for stay in stays if not isinstance(stay, _Beginning)]
        if len(known) == len(stays):
            return await self._meters.take(samples, known, evse, connector, self._clock.now())
        async with self._stores.together():
            return [news for sample in samples for news in await self._take_sample(sample, evse)]

    async def _take_sample(self, sample: MeterSample, evse: Evse) -> list[str]:
        """Keep one sample, and begin what it tells of; what planning should know of it, in words."""
        connector = await self._connector(evse.id)
        stay = await self._stay_of(sample, evse, connector, {})
        if not isinstance(stay, _Beginning):
            return await self._meters.take([sample], [stay], evse, connector, self._clock.now())
        if stay.transaction_id is not None:
            session = await self._adopt(sample, stay.transaction_id, evse, stay.active)
        else:
            session = self._new_session(evse, self._not_ahead(sample.at), None)
            await self._begin(session)
        what = "plug-in" if stay.active is None else "transaction"
        news = await self._meters.take([sample], [session], evse, connector, self._clock.now())
        return [f"{what} at {evse.id}", *news]

    async def _stay_of(
        self,
        sample: MeterSample,
        evse: Evse,
        connector: Connector,
        found: dict[TransactionId | None, Session | None],
    ) -> Session | _Beginning | None:
        """The session that a sample is on, or what begins where a vehicle is evidently charging unknown to us.

        Args:
            sample: Which sample.
            evse: Where it was taken.
            connector: The EVSE as last known.
            found: Sessions by transaction, the active one under ``None``, as far as they were looked up before.
        """
        told = sample.transaction_id if sample.transaction_id not in NO_TRANSACTION else None
        if told is not None:
            if told not in found:
                found[told] = await self._stores.sessions.session_of_transaction(sample.station_id, told)
            if found[told] is not None:
                return found[told]
        if None not in found:
            found[None] = await self._presence.active(evse.id)
        active = found[None]
        if active is not None:
            if sample.at < active.plugged_in_at:
                return None
            return _Beginning(active, told) if told is not None and active.transaction_id is None else active
        if sample.reason is ReadingReason.TRANSACTION_END:
            return None
        draws = sample.power_kw is not None and sample.power_kw > STANDBY_KW
        occupied = connector.status in OCCUPIED and connector.status is not ConnectorStatus.FINISHING
        return _Beginning(None, told) if draws or (told is not None and occupied) else None

    async def _adopt(
        self, sample: MeterSample, transaction_id: TransactionId, evse: Evse, active: Session | None
    ) -> Session:
        """Take over a transaction that began without our knowing."""
        at = self._not_ahead(sample.at)
        event = TransactionBegun(sample.station_id, evse.ocpp_evse_id, at, None, transaction_id)
        session = active or self._new_session(evse, at, None)
        session = replace(session, transaction_begun_at=at)
        opened = await self._stores.sessions.open_transaction(event, session)
        self._presence.note(evse.id, opened.session_id)
        _LOG.warning("EVSE %s: taking over transaction %s, whose start was not seen", evse.id, transaction_id)
        return await self._stores.sessions.session(opened.session_id)

    # --- needs ------------------------------------------------------------------------------------------------------

    async def limits_told(self, station_id: StationId) -> None:
        """Others set, changed or took back a limit at a station: plans are to be made anew."""
        self._listeners.on_change(f"limits that others set at {station_id}")

    async def vehicle_needs(self, event: VehicleNeeds) -> bool:
        """Take what a vehicle says it needs as its target, unless somebody who is believed more has spoken."""
        evse = self._evse_of.get((event.station_id, event.ocpp_evse_id))
        if evse is None:
            return False
        async with self._turns[evse.id]:
            session = await self._presence.active(evse.id)
            if session is None:
                return False
            updated = session
            if event.soc is not None:
                updated = replace(updated, soc=event.soc, soc_at=event.at)
            updated = replace(updated, vehicle=vehicle_as_stated(updated.vehicle, event))
            target = vehicle_target(session, event, self._settings)
            if target is not None:
                updated = with_targets(updated, (target,))
            if updated != session:
                await self._stores.sessions.save_session(updated)
        if updated != session:
            self._listeners.on_change(f"needs of the vehicle at {evse.id}")
        return target is not None and target in updated.targets

    async def set_targets(self, session_id: SessionId, targets: Sequence[DepartureTarget]) -> Session:
        """Give a session the targets that somebody asked for.

        Raises:
            NotFound: There is no such session.
        """
        session = await self._stores.sessions.session(session_id)
        async with self._turns[session.evse_id]:
            session = with_targets(await self._stores.sessions.session(session_id), targets)
            await self._stores.sessions.save_session(session)
        self._listeners.on_change(f"target of session {session_id}")
        return session

    async def note_pauses(self, session_id: SessionId, pauses: Sequence[Interval]) -> None:
        """Keep when a session was held at zero by us, and count the pauses that interrupted its charging."""
        session = await self._stores.sessions.session(session_id)
        async with self._change_at(session.evse_id):
            session = with_pauses(await self._stores.sessions.session(session_id), pauses)
            await self._stores.sessions.save_session(session)

    async def note_phases_switched(self, session_id: SessionId, at: datetime) -> None:
        """Count a change between one and three phases; what the vehicle was seen to take before says nothing now."""
        session = await self._stores.sessions.session(session_id)
        async with self._change_at(session.evse_id):
            session = await self._stores.sessions.session(session_id)
            switches = session.phase_switches + 1
            session = replace(session, phase_switches=switches, phases_switched_at=at, accepted_power_kw=None)
            await self._stores.sessions.save_session(session)

    # --- sessions ---------------------------------------------------------------------------------------------------

    def _new_session(self, evse: Evse, at: datetime, token_id: TokenId | None) -> Session:
        """A session whose id follows from place and time, so that a repeated event makes the same one."""
        session_id = SessionId(f"{self._site.id}-{evse.id}-{at:%Y%m%dT%H%M%S.%f}")
        session = Session(session_id, self._site.id, evse.id, plugged_in_at=at, token_id=token_id)
        target = default_target(session, self._settings)
        return with_targets(session, (target,)) if target is not None else session

    async def _begin(self, session: Session) -> bool:
        try:
            await self._stores.sessions.session(session.id)
        except NotFound:
            await self._stores.sessions.save_session(session)
            self._presence.note(session.evse_id, session.id)
            return True
        return False

    async def _plug_out(self, session: Session, at: datetime, connector: Connector) -> Session | None:
        """End a session, unless the report is older than it or the meter has shown it charging since."""
        sample = connector.last_sample
        charges = sample is not None and sample.at > at and (sample.power_kw or 0.0) > STANDBY_KW
        if at < session.plugged_in_at or charges or connector.status not in VACANT:
            return None
        return await self._end(session, at)

    async def _end(self, session: Session, at: datetime) -> Session:
        connector = await self._connector(session.evse_id)
        ended = with_pauses(session, zero_stretches(connector.setpoint, session, at))
        ended = replace(ended, unplugged_at=at, transaction_id=None)
        await self._stores.sessions.save_session(ended)
        self._presence.left(session.evse_id)
        return ended

    async def _tell_ended(self, session: Session) -> None:
        await self._listeners.on_session_ended(session)
        self._listeners.on_change(f"plug-out at {session.evse_id}")

    async def _connector(self, evse_id: EvseId) -> Connector:
        return await self._stores.connectors.connector(self._site.id, evse_id)

    def _not_ahead(self, at: datetime) -> datetime:
        """A station's time, unless its clock is ahead of ours [UTC]."""
        return min(at, self._clock.now())
