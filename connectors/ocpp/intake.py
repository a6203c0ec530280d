"""The steps that every OCPP version shares on the way from a station's message to the service's events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import structlog

from connectors.ocpp.capability import StationIdentity
from connectors.ocpp.security_desk import SecurityDesk
from connectors.ocpp.station import SigningRequest, StationRecord, is_news
from connectors.ocpp.translate_meter import MeterReading, read_meter_value
from optimizer.domain.charger import (
    ConnectorReported,
    ConnectorStatus,
    ExternalLimit,
    StationBooted,
    StationHabits,
    TransactionBegun,
    TransactionFinished,
    TransactionOpened,
    VehicleNeeds,
)
from optimizer.domain.ids import EvseId, SessionId, StationId, TokenId, TransactionId
from optimizer.domain.metering import MeterSample, ReadingReason, SampleQuality
from optimizer.domain.session import Session
from optimizer.ports import Clock, StationEvents

NO_TRANSACTION = {"", "0", "-1"}
"""Transaction ids by which stations say that they know none."""

ADOPTABLE = {
    ConnectorStatus.CHARGING,
    ConnectorStatus.SUSPENDED_BY_EVSE,
    ConnectorStatus.SUSPENDED_BY_VEHICLE,
    ConnectorStatus.UNKNOWN,
}
"""States in which an unknown transaction id may be a running one; UNKNOWN is what we know after our own restart."""

FRESH_REASONS = {ReadingReason.PERIODIC, ReadingReason.CLOCK, ReadingReason.TRIGGER}


class TransactionLookup(Protocol):
    """Finds the session of a transaction; the session store does."""

    async def session_of_transaction(self, station_id: StationId, transaction_id: TransactionId) -> Session | None:
        """The session a transaction belongs to."""
        ...

    async def active_session_at(self, evse_id: EvseId) -> Session | None:
        """The session that lasts at an EVSE."""
        ...


class SampleLookup(Protocol):
    """Finds what was metered of a session; the meter store does."""

    async def session_samples(self, session_id: SessionId) -> tuple[MeterSample, ...]:
        """All samples of one session by time."""
        ...


class StationIntake:
    """Turns what one station says into events, with times corrected and EVSEs and transactions found.

    Args:
        record: What is remembered of the station.
        events: Takes the facts; a fact is durable when the call returns.
        clock: Our time.
        sessions: Finds transactions that began before the service started; ``None``: none did.
        samples: Finds what was metered of them.
        desk: Takes what concerns security.
    """

    def __init__(
        self,
        record: StationRecord,
        events: StationEvents,
        clock: Clock,
        sessions: TransactionLookup | None,
        samples: SampleLookup | None,
        desk: SecurityDesk,
    ) -> None:
        self.record = record
        self._desk = desk
        self._events = events
        self._clock = clock
        self._sessions = sessions
        self._samples = samples
        self._looked_at: set[int] = set()
        self._station_id = record.station.id
        self._log = structlog.get_logger(__name__).bind(station_id=self._station_id)

    @property
    def now(self) -> datetime:
        """Now [UTC]."""
        return self._clock.now()

    def violation(self, kind: str, detail: object) -> None:
        """Count a breach of the protocol."""
        if self.record.health.violation(kind):
            self._log.warning("protocol violated", kind=kind, detail=str(detail)[:200])

    def notice(self, kind: str, text: str) -> None:
        """Keep what changes no session."""
        self.record.health.notice(kind, self.now, text)
        self._log.info("station notice", kind=kind, text=text)

    async def security_event(self, kind: str, text: str) -> None:
        """The station tells of something that concerns security; durable when this returns."""
        self.notice("SecurityEventNotification", f"{kind} {text}".strip())
        await self._desk.event(
            self._station_id, "station.security_event", f"{kind}: {text}", kind=f"{self._station_id} {kind}"
        )

    async def certificate_wanted(self, request_pem: str, kind: str, number: int | None) -> bool:
        """Whether a certificate will be signed as the station asks."""
        return await self._desk.take_request(self.record, SigningRequest(request_pem, number), kind)

    async def time_of(self, stamp: datetime | None, *, fresh: bool = False) -> datetime:
        """The time on our clock of what a station stamped [UTC].

        What is learnt of its clock on the way is durable before anything is judged by it: a service that forgot it
        would take what such a station tells for older than it is.
        """
        received_at = self.now
        if stamp is None:
            self.violation("time stamp missing or unreadable", "")
        else:
            self.record.skew.observe(stamp, received_at, fresh=fresh)
            await self._keep_habits()
        return self.record.skew.corrected(stamp, received_at)

    async def _keep_habits(self) -> None:
        """Make durable what has been learnt of the station's clock and meters since it was last kept."""
        if self.record.habits.tells_kwh_as_wh and not self.record.kept_habits.tells_kwh_as_wh:
            self.record.expect_kwh_as_wh()
        known = self.record.habits
        if is_news(known, self.record.kept_habits):
            await self._events.station_known_better(self._about(self.record.health.ocpp_version, known))
            self.record.kept_habits = known

    def _about(self, ocpp_version: str, habits: StationHabits) -> StationBooted:
        """What is known of the station."""
        told = self.record.identity or StationIdentity()
        return StationBooted(self._station_id, self.now, ocpp_version, told.vendor, told.model, told.firmware, habits)

    def evse_number(self, told: int | None) -> int | None:
        """The EVSE number meant; ``None``, and a violation, where the station has no such EVSE."""
        number = self.record.evse_number(told)
        if number is None:
            self.violation("unknown EVSE", told)
        return number

    async def announce(self, ocpp_version: str, identity: StationIdentity | None) -> None:
        """The station booted, or is back without saying so."""
        if identity is not None:
            self.record.identity = identity
        habits = self.record.habits
        await self._events.station_booted(self._about(ocpp_version, habits))
        self.record.kept_habits = habits

    async def authorize(self, token_id: TokenId | None) -> bool:
        """Whether a token may charge."""
        return token_id is not None and await self._events.authorize(self._station_id, token_id, self.now)

    async def report_connector(
        self, number: int, connector: int, status: ConnectorStatus, stamp: datetime | None, error: str = ""
    ) -> None:
        """A connector told its state."""
        self._keep_error(number, error)
        if number == 0:
            return
        at = await self.time_of(stamp)
        state = self.record.connector_state(number, connector, status, at)
        if state is None:
            await self._events.connector_reported(ConnectorReported(self._station_id, number, status, at, error))
            return
        await self._report(number, state, at, error)
        if state is ConnectorStatus.AVAILABLE:
            # A transaction that a restart of the station swallowed must not take the next one's meter values.
            self.record.active.pop(number, None)

    async def report_charging_state(self, number: int, status: ConnectorStatus, at: datetime) -> None:
        """A transaction told what its vehicle does; only changes are handed on."""
        self.record.charging_state(number, status)
        meter = self.record.meters[number]
        status = meter.flow.borne_out(status, at, meter.power_kw)
        if self.record.reported.get(number) is not status:
            await self._report(number, status, at, "")

    async def _report(self, number: int, state: ConnectorStatus, at: datetime, error: str) -> None:
        meter = self.record.meters[number]
        state = meter.flow.borne_out(state, at, meter.power_kw)
        await self._events.connector_reported(ConnectorReported(self._station_id, number, state, at, error))
        self.record.reported[number] = state
        if meter.flow.ends_power(state) and meter.power_kw:
            # Nothing flows, but many stations leave their last value standing.
            transaction_id = None if state is ConnectorStatus.AVAILABLE else self.record.active.get(number)
            await self._hand_on([meter.judge(_no_power(ReadingReason.OTHER), at, transaction_id)])

    def _keep_error(self, number: int, error: str) -> None:
        if error:
            if self.record.health.error_codes.get(number) != error:
                self.notice("error", f"EVSE {number}: {error}")
            self.record.health.error_codes[number] = error
        else:
            self.record.health.error_codes.pop(number, None)

    async def begin(
        self,
        number: int,
        at: datetime,
        token_id: TokenId | None,
        transaction_id: TransactionId | None,
        register_kwh: Decimal | None,
        reservation_ref: int | None,
        stamped_at: datetime | None = None,
        *,
        in_true_wh: bool = False,
    ) -> TransactionOpened:
        """A transaction began; durable, with its first register, when this returns."""
        meter = self.record.meters[number]
        register_kwh = meter.start_register(register_kwh, in_true_wh=in_true_wh)
        opened = await self._events.transaction_begun(
            TransactionBegun(
                self._station_id, number, at, token_id, transaction_id, register_kwh, reservation_ref, stamped_at
            )
        )
        self.record.begin(number, opened.transaction_id)
        meter.begin(opened.transaction_id, register_kwh, at)
        if register_kwh is not None:
            first = MeterReading(None, ReadingReason.TRANSACTION_BEGIN, register_kwh, in_true_wh=True)
            await self._hand_on([meter.judge(first, at, opened.transaction_id, self.now)])
        return opened

    async def finish(
        self,
        transaction_id: TransactionId,
        at: datetime,
        register_kwh: Decimal | None,
        reason: str,
        *,
        in_true_wh: bool = False,
    ) -> None:
        """A transaction ended; its last register goes before it, so that the session is complete."""
        number = await self.known_place(transaction_id)
        self.record.finish(transaction_id)
        if number is not None:
            end = ReadingReason.TRANSACTION_END
            told = MeterReading(None, end, register_kwh, power_kw=0.0, derived=True, in_true_wh=in_true_wh)
            last = self.record.meters[number].judge(told, at, transaction_id, self.now)
            await self._hand_on([last])
            register_kwh = last.register_kwh
        await self._events.transaction_finished(
            TransactionFinished(self._station_id, transaction_id, at, register_kwh, reason)
        )

    async def present_token(self, number: int, at: datetime, token_id: TokenId, transaction_id: TransactionId) -> bool:
        """A token was presented after its transaction began; whether it may charge."""
        accepted = await self.authorize(token_id)
        await self._events.transaction_begun(TransactionBegun(self._station_id, number, at, token_id, transaction_id))
        return accepted

    async def limit_others(self, number: int, limits: Sequence[ExternalLimit]) -> None:
        """Others set limits at an EVSE, or with 0 at the whole station."""
        for limit in limits:
            self.record.external_limits.put(number, limit)
        await self._events.limits_told(self._station_id)

    async def free_from_others(self, number: int, source: str) -> None:
        """The limits of one source are taken back."""
        self.record.external_limits.clear(number, source)
        await self._events.limits_told(self._station_id)

    async def state_needs(self, needs: VehicleNeeds) -> bool:
        """A vehicle stated its needs; whether they became its departure target."""
        return await self._events.vehicle_needs(needs)

    async def take_meter_values(
        self,
        told_number: int | None,
        told_transaction: TransactionId | None,
        entries: Sequence[Any],
        *,
        adopt: bool = True,
    ) -> None:
        """Meter values arrived; every one that can be read is handed on.

        Args:
            told_number: EVSE number as told.
            told_transaction: Transaction as told.
            entries: Elements of ``meterValue``.
            adopt: Whether an unknown transaction is taken over as a running one.
        """
        if told_number == 0 and told_transaction is None:
            # The meter of the whole station: its register is none of an EVSE's.
            return
        number, transaction_id = await self.place_of(told_number, told_transaction, adopt=adopt)
        if number is None:
            self.violation("meter values of no EVSE", told_number)
            return
        evse, meter = self.record.evses[number], self.record.meters[number]
        samples = []
        for entry in entries:
            if not isinstance(entry, dict):
                self.violation("meter value unreadable", type(entry).__name__)
                continue
            reading = read_meter_value(entry, evse)
            for slip in reading.slips:
                self.violation("sampled value unreadable", slip)
            if not reading.is_empty:
                at = await self.time_of(reading.at, fresh=reading.reason in FRESH_REASONS)
                samples.append(meter.judge(reading, at, transaction_id, self.now))
        await self._keep_habits()
        await self._hand_on(samples)
        for sample in samples:
            self.record.witnesses[number].observe(sample)
            if meter.flow.contradicts(sample):
                self.violation("charges while it says that it does not", sample.evse_id)
                await self._report(number, ConnectorStatus.CHARGING, sample.at, "")

    async def _hand_on(self, samples: Sequence[MeterSample]) -> None:
        for sample in samples:
            if sample.quality is SampleQuality.SUSPECT:
                self.violation("impossible meter value", f"{sample.evse_id} {sample.register_kwh} kWh")
        if samples:
            await self._events.meter_sampled(samples)

    async def place_of(
        self, told_number: int | None, told_transaction: TransactionId | None, *, adopt: bool
    ) -> tuple[int | None, TransactionId | None]:
        """EVSE number and transaction of meter values, of which stations tell one, the other, both or wrong ones."""
        number = self.record.evse_number(told_number or None)
        if told_transaction is None or told_transaction in NO_TRANSACTION:
            return number, await self._running_at(number) if number is not None else None
        known = await self.known_place(told_transaction)
        if known is not None:
            return known, told_transaction
        if number is None or not adopt:
            return number, told_transaction
        running = self.record.active.get(number)
        if running is not None:
            self.violation("meter values of an unknown transaction", told_transaction)
            return number, running
        return number, await self._adopt(number, told_transaction)

    async def _running_at(self, number: int) -> TransactionId | None:
        """The transaction that runs at an EVSE; one of before the service started is looked up once."""
        if number not in self.record.active and number not in self._looked_at and self._sessions is not None:
            self._looked_at.add(number)
            session = await self._sessions.active_session_at(self.record.evses[number].id)
            if session is not None and session.transaction_id is not None:
                await self.known_place(session.transaction_id)
        return self.record.active.get(number)

    async def known_place(self, transaction_id: TransactionId) -> int | None:
        """EVSE number of a transaction that we or the store know."""
        number = self.record.places.get(transaction_id)
        if number is not None or self._sessions is None:
            return number
        session = await self._sessions.session_of_transaction(self._station_id, transaction_id)
        if session is None:
            return None
        number = next((number for number, evse in self.record.evses.items() if evse.id == session.evse_id), None)
        if number is None:
            return None
        if number not in self.record.active and self._samples is not None:
            kept = await self._samples.session_samples(session.id)
            self.record.meters[number].resume(transaction_id, kept)
        if session.is_active and session.transaction_id == transaction_id:
            self.record.begin(number, transaction_id)
            self.record.meters[number].begun_at = session.transaction_begun_at
        else:
            self.record.places.put(transaction_id, number)
        return number

    async def _adopt(self, number: int, transaction_id: TransactionId) -> TransactionId | None:
        """Take over a transaction that nobody told us of; ``None`` where the EVSE is known to be idle."""
        if self.record.reported.get(number, ConnectorStatus.UNKNOWN) not in ADOPTABLE:
            return None
        self._log.info("transaction adopted", transaction_id=transaction_id, ocpp_evse_id=number)
        opened = await self.begin(number, self.now, None, transaction_id, None, None)
        return opened.transaction_id


def _no_power(reason: ReadingReason) -> MeterReading:
    return MeterReading(None, reason, power_kw=0.0, derived=True)
