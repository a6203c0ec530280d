"""All stores in memory: the same Protocols as the database, without files, for replays and tests.

Writes inside `MemoryStores.together` are undone when the block fails, as a database would.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime
from functools import partial

from optimizer.domain.charger import (
    Connector,
    ConnectorReported,
    ConnectorStatus,
    Setpoint,
    StationBooted,
    TransactionBegun,
    TransactionOpened,
)
from optimizer.domain.cost import EnergyCostRecord, RecordStatus, SiteBill
from optimizer.domain.event import GridEvent
from optimizer.domain.evolving import Evolving
from optimizer.domain.ids import (
    EvseId,
    GridEventId,
    RecordId,
    ReservationId,
    SessionId,
    SiteId,
    StationId,
    TransactionId,
)
from optimizer.domain.metering import MeterSample, ReadingReason, SampleQuality, SiteMeterReading
from optimizer.domain.plan import Plan, PlanOutcome
from optimizer.domain.reservation import Reservation, ReservationStatus
from optimizer.domain.session import Session
from optimizer.domain.site import Evse, Site
from optimizer.domain.snapshot import Occupancy, SeenStep
from optimizer.errors import Conflict, NotFound
from scenarios.memory_journal import Journal, Value

_USABLE = (SampleQuality.GOOD, SampleQuality.DERIVED)


class MemorySessionStore:
    """Sessions and transactions."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._sessions: dict[SessionId, Session] = {}
        self._active: dict[SessionId, None] = {}
        self._of_transaction: dict[tuple[StationId, TransactionId], SessionId] = {}
        self._opened: dict[tuple[object, ...], TransactionOpened] = {}
        self._last_transaction = 0

    async def session(self, session_id: SessionId) -> Session:
        """One session."""
        if session_id not in self._sessions:
            raise NotFound("session", session_id)
        return self._sessions[session_id]

    async def sessions(
        self, site_id: SiteId, *, active_only: bool = False, after: SessionId | None = None, limit: int | None = None
    ) -> tuple[Session, ...]:
        """Sessions in the order of plug-in."""
        pool: Iterable[SessionId] = self._active if active_only else self._sessions
        found = [self._sessions[session_id] for session_id in pool]
        found = [session for session in found if session.site_id == site_id]
        found.sort(key=_plug_in_order)
        if after is not None:
            last = _plug_in_order(await self.session(after))
            found = [session for session in found if _plug_in_order(session) > last]
        return tuple(found[:limit])

    async def sessions_since(self, site_id: SiteId, start: datetime) -> tuple[Session, ...]:
        """Sessions that began at ``start`` or later, in the order of plug-in."""
        held = [one for one in self._sessions.values() if one.site_id == site_id and one.plugged_in_at >= start]
        return tuple(sorted(held, key=_plug_in_order))

    async def session_of_transaction(self, station_id: StationId, transaction_id: TransactionId) -> Session | None:
        """The session a transaction belongs to."""
        session_id = self._of_transaction.get((station_id, transaction_id))
        return None if session_id is None else self._sessions[session_id]

    async def active_session_at(self, evse_id: EvseId) -> Session | None:
        """The session that lasts at an EVSE, the newest where several do."""
        there = [self._sessions[session_id] for session_id in self._active]
        return max((one for one in there if one.evse_id == evse_id), key=_plug_in_order, default=None)

    async def open_transaction(self, event: TransactionBegun, session: Session) -> TransactionOpened:
        """Store ``session`` with its transaction; a repeat gives the first answer."""
        key = _begin_key(event)
        if key in self._opened:
            return self._opened[key]
        transaction_id = event.transaction_id
        if transaction_id is None:
            self._last_transaction += 1
            transaction_id = TransactionId(str(self._last_transaction))
        opened = TransactionOpened(transaction_id, session.id, accepted=True)
        self._journal.put(self._opened, key, opened)
        self._journal.put(self._of_transaction, (event.station_id, transaction_id), session.id)
        await self.save_session(replace(session, transaction_id=transaction_id))
        return opened

    def transactions(self) -> dict[tuple[StationId, TransactionId], SessionId]:
        """Every transaction, with the session that it is in."""
        return dict(self._of_transaction)

    async def save_session(self, session: Session) -> None:
        """Replace a session's row."""
        self._journal.put(self._sessions, session.id, session)
        was_active = session.id in self._active
        if session.is_active and not was_active:
            self._active[session.id] = None
            self._journal.undo_with(lambda: self._active.pop(session.id, None))
        elif was_active and not session.is_active:
            del self._active[session.id]
            self._journal.undo_with(lambda: self._active.__setitem__(session.id, None))

    def ended_before(self, instant: datetime) -> set[SessionId]:
        """The sessions that ended before ``instant``."""
        return {
            session_id
            for session_id, session in self._sessions.items()
            if session.unplugged_at is not None and session.unplugged_at < instant
        }

    def forget_before(self, instant: datetime) -> None:
        """Let go of the sessions that ended before ``instant``, and of their transactions."""
        gone = self.ended_before(instant)
        for session_id in gone:
            del self._sessions[session_id]
        self._of_transaction = {key: held for key, held in self._of_transaction.items() if held not in gone}
        self._opened = {key: opened for key, opened in self._opened.items() if opened.session_id not in gone}


def _plug_in_order(session: Session) -> tuple[datetime, SessionId]:
    return (session.plugged_in_at, session.id)


def _begin_key(event: TransactionBegun) -> tuple[object, ...]:
    if event.transaction_id is not None:
        return (event.station_id, event.transaction_id)
    return (event.station_id, event.ocpp_evse_id, event.stamped_at or event.at, event.token_id, event.register_kwh)


class MemoryConnectorStore:
    """Last known state of stations and EVSEs."""

    def __init__(self, journal: Journal, sites: Sequence[Site], sessions: MemorySessionStore) -> None:
        self._journal = journal
        self._sites = {site.id: site for site in sites}
        self._sessions = sessions
        self._occupancy = dict.fromkeys(self._sites, Occupancy((), Evolving(), Evolving()))
        self._boots: dict[StationId, StationBooted] = {}
        self._reports: dict[tuple[StationId, int], ConnectorReported] = {}
        self._setpoints: dict[EvseId, Setpoint] = {}
        self._safe_defaults: dict[EvseId, float | None] = {}
        self.last_samples: dict[EvseId, MeterSample] = {}
        self._evse_ids = {
            (evse.station_id, evse.ocpp_evse_id): evse.id for site in sites for evse in site.evses.values()
        }
        self._made: dict[EvseId, Connector] = {}
        self._all: dict[SiteId, tuple[Connector, ...]] = {}

    async def save_boot(self, event: StationBooted) -> None:
        """Keep what a station said of itself."""
        self._journal.put(self._boots, event.station_id, event)

    async def station_boots(self) -> dict[StationId, StationBooted]:
        """What each station last said of itself."""
        return dict(self._boots)

    async def save_status(self, event: ConnectorReported) -> None:
        """Keep a connector's state, unless a newer one is held."""
        key = (event.station_id, event.ocpp_evse_id)
        held = self._reports.get(key)
        if held is None or held.at <= event.at:
            self._journal.put(self._reports, key, event)
            self._changed(self._evse_ids.get(key))

    async def save_setpoint(self, setpoint: Setpoint) -> None:
        """Replace the setpoint of an EVSE."""
        self._journal.put(self._setpoints, setpoint.evse_id, setpoint)
        self._changed(setpoint.evse_id)

    async def save_setpoints(self, setpoints: Sequence[Setpoint]) -> None:
        """Replace the setpoints of several EVSEs."""
        for setpoint in setpoints:
            await self.save_setpoint(setpoint)

    async def save_safe_default(self, evse_id: EvseId, limit_kw: float | None) -> None:
        """Keep which safe default is known to be installed."""
        self._journal.put(self._safe_defaults, evse_id, limit_kw)
        self._changed(evse_id)

    async def occupancy(self, site_id: SiteId) -> Occupancy:
        """Every EVSE of the site as last known and the vehicles at them."""
        stored, sessions = await self.connectors(site_id), await self._sessions.sessions(site_id, active_only=True)
        held = self._occupancy[site_id]
        session_at = held.session_at.becoming({session.evse_id: session for session in sessions})
        connectors = held.connectors.becoming({connector.evse_id: connector for connector in stored})
        self._occupancy[site_id] = Occupancy(sessions, session_at, connectors)
        return self._occupancy[site_id]

    async def connectors(self, site_id: SiteId) -> tuple[Connector, ...]:
        """Every EVSE of the site as last known."""
        if site_id not in self._all:
            self._all[site_id] = tuple([self._connector(evse) for evse in self._site(site_id).evses.values()])
        return self._all[site_id]

    async def connector(self, site_id: SiteId, evse_id: EvseId) -> Connector:
        """One EVSE of the site as last known."""
        evse = self._site(site_id).evses.get(evse_id)
        if evse is None:
            raise NotFound("EVSE", evse_id)
        return self._connector(evse)

    def _site(self, site_id: SiteId) -> Site:
        if site_id not in self._sites:
            raise NotFound("site", site_id)
        return self._sites[site_id]

    def _changed(self, evse_id: EvseId | None) -> None:
        """An EVSE is to be put together anew when it is read next, also when the change is undone."""
        if evse_id is None:
            return

        def forget() -> None:
            self._made.pop(evse_id, None)
            self._all.clear()

        forget()
        self._journal.undo_with(forget)

    def _connector(self, evse: Evse) -> Connector:
        made = self._made.get(evse.id)
        if made is None:
            made = self._made[evse.id] = Connector(
                evse.id,
                evse.station_id,
                online=False,
                status=self._status(evse.station_id, evse.ocpp_evse_id),
                setpoint=self._setpoints.get(evse.id),
                safe_default_kw=self._safe_defaults.get(evse.id),
                last_sample=self.last_samples.get(evse.id),
            )
        return made

    def keep_sample(self, sample: MeterSample) -> None:
        """Remember the newest usable sample of an EVSE."""
        held = self.last_samples.get(sample.evse_id)
        if sample.quality in _USABLE and (held is None or held.at <= sample.at):
            self._journal.put(self.last_samples, sample.evse_id, sample)
            self._changed(sample.evse_id)

    def _status(self, station_id: StationId, ocpp_evse_id: int) -> ConnectorStatus:
        report = self._reports.get((station_id, ocpp_evse_id))
        return report.status if report else ConnectorStatus.UNKNOWN


class MemoryMeterStore:
    """Meter samples and site readings, sorted by time."""

    def __init__(
        self,
        journal: Journal,
        sites: Sequence[Site],
        connectors: MemoryConnectorStore,
        sessions: MemorySessionStore,
    ) -> None:
        self._journal = journal
        self._connectors = connectors
        self._sessions = sessions
        self._site_of = {station.id: site.id for site in sites for station in site.stations}
        self._seen: dict[tuple[EvseId, datetime, TransactionId | None, ReadingReason], None] = {}
        self._of_session: defaultdict[SessionId, list[MeterSample]] = defaultdict(list)
        self._of_site: defaultdict[SiteId, list[tuple[MeterSample, SessionId | None]]] = defaultdict(list)
        self._readings: defaultdict[SiteId, list[SiteMeterReading]] = defaultdict(list)

    async def add_samples(
        self,
        samples: Sequence[MeterSample],
        session_ids: Sequence[SessionId | None],
        changed: Sequence[Session] = (),
    ) -> None:
        """Add samples, each with the session it is on, and the sessions they changed; repeats are ignored."""
        for session in changed:
            await self._sessions.save_session(session)
        for sample, session_id in zip(samples, session_ids, strict=True):
            key = (sample.evse_id, sample.at, sample.transaction_id, sample.reason)
            if key in self._seen:
                continue
            self._journal.put(self._seen, key, None)
            self._connectors.keep_sample(sample)
            site_id = self._site_of.get(sample.station_id)
            if site_id is not None:
                self._insert(self._of_site[site_id], (sample, session_id), _pair_instant)
            if session_id is not None:
                self._insert(self._of_session[session_id], sample, _instant)

    def _insert(self, kept: list[Value], value: Value, instant: Callable[[Value], datetime]) -> None:
        if kept and instant(value) < instant(kept[-1]):
            insort(kept, value, key=instant)
        else:
            kept.append(value)
        self._journal.undo_with(lambda: kept.remove(value))

    async def session_samples(self, session_id: SessionId) -> tuple[MeterSample, ...]:
        """All samples of one session by time."""
        return tuple(self._of_session.get(session_id, ()))

    async def station_samples(
        self, site_id: SiteId, start: datetime, end: datetime, *, evse_ids: Collection[EvseId] | None = None
    ) -> tuple[tuple[MeterSample, SessionId | None], ...]:
        """All samples of a site's stations in ``[start, end]`` by time, or of some EVSEs."""
        kept = self._of_site.get(site_id, [])
        first = bisect_left(kept, start, key=_pair_instant)
        found = kept[first : bisect_right(kept, end, key=_pair_instant)]
        return tuple(found if evse_ids is None else [pair for pair in found if pair[0].evse_id in evse_ids])

    async def add_site_reading(self, reading: SiteMeterReading) -> None:
        """Add a reading of the site meter; a repeat changes nothing."""
        kept = self._readings[reading.site_id]
        place = bisect_left(kept, reading.at, key=_instant)
        if place < len(kept) and kept[place].at == reading.at:
            return
        kept.insert(place, reading)
        self._journal.undo_with(lambda: kept.remove(reading))

    async def site_readings(self, site_id: SiteId, start: datetime, end: datetime) -> tuple[SiteMeterReading, ...]:
        """Readings in ``[start, end]`` by time, with the nearest one before and after."""
        kept = self._readings.get(site_id, [])
        first = bisect_left(kept, start, key=_instant)
        after = bisect_right(kept, end, key=_instant)
        return tuple(kept[max(0, first - 1) : after + 1])

    async def latest_site_reading(self, site_id: SiteId) -> SiteMeterReading | None:
        """The newest reading."""
        kept = self._readings.get(site_id)
        return kept[-1] if kept else None

    def forget_before(self, instant: datetime, readings_before: datetime, gone: set[SessionId]) -> None:
        """Let go of samples before ``instant``, of those of ``gone`` sessions, and of older site readings."""
        self._seen = {key: None for key in self._seen if key[1] >= instant}
        for session_id in gone:
            self._of_session.pop(session_id, None)
        for samples in self._of_site.values():
            del samples[: bisect_left(samples, instant, key=_pair_instant)]
        for readings in self._readings.values():
            # The last one before stays: registers are interpolated from it.
            del readings[: max(0, bisect_left(readings, readings_before, key=_instant) - 1)]


def _instant(value: MeterSample | SiteMeterReading) -> datetime:
    return value.at


def _pair_instant(pair: tuple[MeterSample, SessionId | None]) -> datetime:
    return pair[0].at


class MemoryPlanStore:
    """Plans and how they came about; only the newest are kept."""

    def __init__(self, journal: Journal, kept_outcomes: int) -> None:
        self._journal = journal
        self._outcomes: defaultdict[SiteId, deque[tuple[PlanOutcome, str]]] = defaultdict(
            partial(deque, maxlen=kept_outcomes)
        )

    async def save_outcome(
        self,
        outcome: PlanOutcome,
        trigger: str,
        seen: SeenStep | None = None,  # noqa: ARG002 - nobody asks memory for a record
    ) -> None:
        """Keep a plan with its outcome and what triggered it."""
        kept = self._outcomes[outcome.plan.site_id]
        kept.append((outcome, trigger))
        self._journal.undo_with(lambda: kept.remove((outcome, trigger)))

    async def latest_plan(self, site_id: SiteId) -> Plan | None:
        """The newest plan."""
        kept = self._outcomes.get(site_id)
        return kept[-1][0].plan if kept else None

    async def outcomes(self, site_id: SiteId, limit: int) -> tuple[PlanOutcome, ...]:
        """The newest outcomes, newest first."""
        kept = self._outcomes.get(site_id, deque())
        return tuple(outcome for outcome, _ in reversed(kept))[:limit]


class MemoryReservationStore:
    """Reservations."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._kept: dict[ReservationId, Reservation] = {}

    async def add(self, reservation: Reservation) -> None:
        """Add one; raises Conflict where an overlapping one holds the same EVSE."""
        if reservation.id in self._kept:
            raise Conflict(f"reservation {reservation.id} exists already")
        for held in self._kept.values():
            if (
                reservation.evse_id is not None
                and held.evse_id == reservation.evse_id
                and held.status is ReservationStatus.RESERVED
                and held.window.overlap_h(reservation.window) > 0
            ):
                raise Conflict(f"EVSE {held.evse_id} is reserved by {held.id} in {held.window}")
        self._journal.put(self._kept, reservation.id, reservation)

    async def save(self, reservation: Reservation) -> None:
        """Replace one; raises Conflict where the stored version is not one less."""
        held = await self.reservation(reservation.id)
        if held.version != reservation.version - 1:
            raise Conflict(f"reservation {reservation.id} is at version {held.version}, not {reservation.version - 1}")
        self._journal.put(self._kept, reservation.id, reservation)

    async def reservation(self, reservation_id: ReservationId) -> Reservation:
        """One reservation."""
        if reservation_id not in self._kept:
            raise NotFound("reservation", reservation_id)
        return self._kept[reservation_id]

    async def reservations(self, site_id: SiteId, start: datetime, end: datetime) -> tuple[Reservation, ...]:
        """Those whose window overlaps ``[start, end)``, by start."""
        found = [
            held
            for held in self._kept.values()
            if held.site_id == site_id and held.window.start < end and held.window.end > start
        ]
        return tuple(sorted(found, key=lambda held: (held.window.start, held.id)))


class MemoryGridEventStore:
    """Grid events."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._kept: dict[GridEventId, GridEvent] = {}

    async def save(self, event: GridEvent) -> None:
        """Add or replace one."""
        self._journal.put(self._kept, event.id, event)

    async def event(self, event_id: GridEventId) -> GridEvent:
        """One event."""
        if event_id not in self._kept:
            raise NotFound("grid event", event_id)
        return self._kept[event_id]

    async def events(self, site_id: SiteId, start: datetime, end: datetime) -> tuple[GridEvent, ...]:
        """Those whose span overlaps ``[start, end)``, by start."""
        found = [
            held
            for held in self._kept.values()
            if held.site_id == site_id and held.span.start < end and held.span.end > start
        ]
        return tuple(sorted(found, key=lambda held: (held.span.start, held.id)))


class MemoryRecordStore:
    """Energy-cost records, bills and the queue for billing."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._records: dict[RecordId, EnergyCostRecord] = {}
        self._queue: dict[RecordId, tuple[datetime, int]] = {}
        self._bills: dict[tuple[SiteId, datetime, datetime], SiteBill] = {}

    async def add_record(self, record: EnergyCostRecord) -> bool:
        """Add one and queue it for billing; a repeat of its id changes nothing."""
        if record.id in self._records:
            return False
        self._journal.put(self._records, record.id, record)
        self._journal.put(self._queue, record.id, (record.made_at, 0))
        return True

    async def records(
        self,
        site_id: SiteId,
        *,
        session_id: SessionId | None = None,
        status: RecordStatus | None = None,
        after: RecordId | None = None,
        limit: int | None = None,
    ) -> tuple[EnergyCostRecord, ...]:
        """Records by time made; a page after the record ``after``."""
        found = [
            record
            for record in self._records.values()
            if record.site_id == site_id and session_id in (None, record.session_id) and status in (None, record.status)
        ]
        found.sort(key=lambda record: record.made_at)
        if after is not None:
            if after not in self._records:
                raise NotFound("energy-cost record", after)
            ids = [record.id for record in sorted(self._records.values(), key=lambda record: record.made_at)]
            found = [record for record in found if ids.index(record.id) > ids.index(after)]
        return tuple(found[:limit])

    async def undelivered(self, at: datetime, limit: int) -> tuple[tuple[EnergyCostRecord, int], ...]:
        """Queued records due for delivery at ``at``, each with the number of attempts so far."""
        due = [
            (self._records[record_id], attempts)
            for record_id, (next_attempt_at, attempts) in self._queue.items()
            if next_attempt_at <= at
        ]
        return tuple(due[:limit])

    async def mark_delivered(self, record_id: RecordId, at: datetime) -> None:  # noqa: ARG002
        """The billing system has taken it."""
        held = self._queue.pop(record_id, None)
        if held is not None:
            self._journal.undo_with(lambda: self._queue.__setitem__(record_id, held))

    async def mark_failed(self, record_id: RecordId, next_attempt_at: datetime, error: str) -> None:  # noqa: ARG002
        """Delivery failed; try again later."""
        _, attempts = self._queue[record_id]
        self._journal.put(self._queue, record_id, (next_attempt_at, attempts + 1))

    async def save_bill(self, bill: SiteBill) -> None:
        """Keep a site's bill of a window; a repeat replaces it."""
        self._journal.put(self._bills, (bill.site_id, bill.window.start, bill.window.end), bill)

    async def bills(self, site_id: SiteId) -> tuple[SiteBill, ...]:
        """Bills by window."""
        found = [bill for (owner, _, _), bill in self._bills.items() if owner == site_id]
        return tuple(sorted(found, key=lambda bill: bill.window.start))


class MemoryStores:
    """All stores of one simulated or tested service.

    Args:
        sites: The sites, so that every EVSE is known before it reports.
        kept_outcomes: How many plans a site keeps.
    """

    def __init__(self, sites: Sequence[Site], *, kept_outcomes: int = 500) -> None:
        self._journal = Journal()
        self.sessions = MemorySessionStore(self._journal)
        self.connectors = MemoryConnectorStore(self._journal, sites, self.sessions)
        self.meters = MemoryMeterStore(self._journal, sites, self.connectors, self.sessions)
        self.plans = MemoryPlanStore(self._journal, kept_outcomes)
        self.reservations = MemoryReservationStore(self._journal)
        self.grid_events = MemoryGridEventStore(self._journal)
        self.records = MemoryRecordStore(self._journal)

    def together(self) -> AbstractAsyncContextManager[None]:
        """Within it all calls of this task commit together, or not at all."""
        return self._journal.block()

    def forget_before(self, instant: datetime, past_before: datetime) -> None:
        """Let go of what no decision looks at any more, so that a replay of a year needs no more than one of a day.

        Args:
            instant: The samples of sessions that ended before it go [UTC].
            past_before: Sessions that ended before it go, and readings of the site meter; a demand charge looks back a
                month, and control on the days before [UTC].
        """
        self.meters.forget_before(instant, past_before, self.sessions.ended_before(instant))
        self.sessions.forget_before(past_before)
