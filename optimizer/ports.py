"""The Protocols through which the core meets the world. Adapters in `connectors` implement them.

Outgoing: `ChargerGateway`, `BillingSink`. Incoming: `StationEvents`. Asked: `Clock`, `PriceSource`, `ForecastSource`
and the stores. Every store call is atomic; what a call has returned from is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from optimizer.domain.charger import (
    Connector,
    ConnectorReported,
    ExternalLimit,
    LimitCommand,
    LimitPeriod,
    LimitState,
    Setpoint,
    StationBooted,
    TransactionBegun,
    TransactionFinished,
    TransactionOpened,
    VehicleNeeds,
)
from optimizer.domain.cost import EnergyCostRecord, RecordStatus, SiteBill
from optimizer.domain.event import GridEvent
from optimizer.domain.ids import (
    EvseId,
    GridEventId,
    RecordId,
    ReservationId,
    SessionId,
    SiteId,
    StationId,
    TokenId,
    TransactionId,
)
from optimizer.domain.metering import MeterSample, SiteMeterReading
from optimizer.domain.plan import Plan, PlanOutcome
from optimizer.domain.reservation import Reservation
from optimizer.domain.series import PowerSeries, PriceSeries
from optimizer.domain.session import Session
from optimizer.domain.snapshot import Occupancy, SeenStep
from optimizer.domain.tariff import Tariff


class Clock(Protocol):
    """Tells and waits for time; the only source of both."""

    def now(self) -> datetime:
        """Now [UTC]."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for ``seconds`` of this clock's time."""
        ...

    def wall_seconds(self, seconds: float) -> float:
        """How long ``seconds`` of this clock last on the wall, for timers of libraries [s]."""
        ...


@dataclass(frozen=True, slots=True)
class LimitReply:
    """A station's answer to a limit."""

    state: LimitState
    """ACCEPTED, REJECTED or UNANSWERED."""
    detail: str = ""
    """The station's reason, or the error."""
    holds: tuple[LimitPeriod, ...] = ()
    """What the station took in place of a limit of zero that it rejects; empty: nothing of the kind."""


class ChargerGateway(Protocol):
    """Sends limits to stations. Never raises for what a station does: the reply says it."""

    async def set_limit(self, command: LimitCommand) -> LimitReply:
        """Replace the limit of one EVSE by ``command``."""
        ...

    async def set_safe_default(self, station_id: StationId, evse_id: EvseId, limit_kw: float) -> LimitReply:
        """Install the limit that holds whenever no newer one does (OCPP TxDefaultProfile) [kW]."""
        ...

    async def clear_limit(self, station_id: StationId, evse_id: EvseId) -> LimitReply:
        """Remove what ``set_limit`` installed, so that the safe default holds."""
        ...

    async def stop_charging(self, station_id: StationId, transaction_id: TransactionId) -> LimitReply:
        """End a transaction: the last way to hold a vehicle whose station takes no limit of zero."""
        ...

    def is_online(self, station_id: StationId) -> bool:
        """Whether the station is connected now."""
        ...

    def limits_of_others(self) -> Mapping[EvseId, tuple[ExternalLimit, ...]]:
        """Limits that others have set at EVSEs, or at their stations; EVSEs without any are missing."""
        ...

    def switches_phases(self, evse_id: EvseId) -> bool:
        """Whether an EVSE that can change between one and three phases may be told to, as far as its station says."""
        ...


class BatteryGateway(Protocol):
    """Tells the stationary battery its power."""

    async def set_power(self, power_kw: float) -> None:
        """Have it charge with this power, discharge with a negative one. Raises BatteryUnreachable [kW]."""
        ...


class StationEvents(Protocol):
    """Takes what stations tell. Each call returns when the fact is durable; only then is the station answered."""

    async def station_booted(self, event: StationBooted) -> None:
        """A station announced itself, or connected anew."""
        ...

    async def station_known_better(self, event: StationBooted) -> None:
        """What is known of a station has changed; it did not boot, and holds the limits that it held."""
        ...

    async def station_disconnected(self, station_id: StationId, at: datetime) -> None:
        """A station's connection ended."""
        ...

    async def connector_reported(self, event: ConnectorReported) -> None:
        """A connector's state changed."""
        ...

    async def authorize(self, station_id: StationId, token_id: TokenId, at: datetime) -> bool:
        """Whether a token may charge."""
        ...

    async def transaction_begun(self, event: TransactionBegun) -> TransactionOpened:
        """A transaction started; the same event again gives the same answer."""
        ...

    async def meter_sampled(self, samples: Sequence[MeterSample]) -> None:
        """Meter samples arrived, in any order; a repeated sample changes nothing."""
        ...

    async def transaction_finished(self, event: TransactionFinished) -> None:
        """A transaction ended; unknown and repeated ones are taken without complaint."""
        ...

    async def limits_told(self, station_id: StationId) -> None:
        """Others set, changed or took back a limit at a station; `ChargerGateway.limits_of_others` tells which."""
        ...

    async def vehicle_needs(self, event: VehicleNeeds) -> bool:
        """A vehicle stated its needs; whether they are taken as its departure target."""
        ...


class Quantity(StrEnum):
    """What a forecast is of."""

    PV = "pv"
    BUILDING = "building"


class PriceSource(Protocol):
    """Gives market prices."""

    async def prices(self, start: datetime, end: datetime) -> PriceSeries:
        """Prices covering ``[start, end)`` as far as they are published.

        Raises:
            SourceUnavailable: There is no answer, or none that covers ``start``.
        """
        ...


class TariffSource(Protocol):
    """Gives the tariff of a site, market prices included."""

    async def tariff(self, site_id: SiteId, start: datetime, end: datetime) -> Tariff:
        """The tariff with all prices of ``[start, end)`` filled in.

        Raises:
            SourceUnavailable: A part of the time has no price, not even a stated substitute.
        """
        ...


Measured = Callable[[], PowerSeries | None]
"""Puts together what was measured of a power lately; ``None``: it was not metered."""


class ForecastSource(Protocol):
    """Gives the expected power of PV or building."""

    async def forecast(self, quantity: Quantity, start: datetime, end: datetime, recent: Measured) -> PowerSeries:
        """Expected mean power over ``[start, end)``, given what was ``recent``ly measured, if that matters."""
        ...


class SessionStore(Protocol):
    """Keeps sessions and the transactions inside them."""

    async def session(self, session_id: SessionId) -> Session:
        """One session. Raises NotFound."""
        ...

    async def sessions(
        self, site_id: SiteId, *, active_only: bool = False, after: SessionId | None = None, limit: int | None = None
    ) -> tuple[Session, ...]:
        """Sessions in the order of plug-in; a page after the session ``after``. Raises NotFound for an unknown one."""
        ...

    async def sessions_since(self, site_id: SiteId, start: datetime) -> tuple[Session, ...]:
        """Sessions that began at ``start`` or later, in the order of plug-in."""
        ...

    async def session_of_transaction(self, station_id: StationId, transaction_id: TransactionId) -> Session | None:
        """The session a transaction belongs to."""
        ...

    async def active_session_at(self, evse_id: EvseId) -> Session | None:
        """The session that lasts at an EVSE, the newest where several do."""
        ...

    async def open_transaction(self, event: TransactionBegun, session: Session) -> TransactionOpened:
        """Store ``session`` with its transaction; a repeat of ``event`` returns the first answer.

        Gives the transaction its id where the station did not: whole digits, never used before.
        """
        ...

    async def save_session(self, session: Session) -> None:
        """Replace a session's row, or add it."""
        ...


class MeterStore(Protocol):
    """Keeps meter samples and site readings; repeats are ignored, and what came first stays."""

    async def add_samples(
        self,
        samples: Sequence[MeterSample],
        session_ids: Sequence[SessionId | None],
        changed: Sequence[Session] = (),
    ) -> None:
        """Add samples, each with the session it is on (``None``: unassigned), and save the sessions they changed."""
        ...

    async def session_samples(self, session_id: SessionId) -> tuple[MeterSample, ...]:
        """All samples of one session by time."""
        ...

    async def station_samples(
        self, site_id: SiteId, start: datetime, end: datetime, *, evse_ids: Collection[EvseId] | None = None
    ) -> tuple[tuple[MeterSample, SessionId | None], ...]:
        """All samples of a site's stations in ``[start, end]`` by time, or of some EVSEs, each with its session."""
        ...

    async def add_site_reading(self, reading: SiteMeterReading) -> None:
        """Add a reading of the site meter."""
        ...

    async def site_readings(self, site_id: SiteId, start: datetime, end: datetime) -> tuple[SiteMeterReading, ...]:
        """Readings in ``[start, end]`` by time, with the nearest one before and after where they exist."""
        ...

    async def latest_site_reading(self, site_id: SiteId) -> SiteMeterReading | None:
        """The newest reading."""
        ...


class ConnectorStore(Protocol):
    """Keeps the last known state of stations, connectors and setpoints."""

    async def save_boot(self, event: StationBooted) -> None:
        """Keep what a station said of itself."""
        ...

    async def station_boots(self) -> dict[StationId, StationBooted]:
        """What each station last said of itself."""
        ...

    async def save_status(self, event: ConnectorReported) -> None:
        """Keep a connector's state, unless a newer one is held; of two at one instant the later told counts."""
        ...

    async def save_setpoint(self, setpoint: Setpoint) -> None:
        """Replace the setpoint of an EVSE."""
        ...

    async def save_setpoints(self, setpoints: Sequence[Setpoint]) -> None:
        """Replace the setpoints of several EVSEs in one write."""
        ...

    async def save_safe_default(self, evse_id: EvseId, limit_kw: float | None) -> None:
        """Keep which safe default is known to be installed [kW]; ``None``: none is."""
        ...

    async def occupancy(self, site_id: SiteId) -> Occupancy:
        """Every EVSE of the site and the vehicles at them, of one moment, ``online`` as below. Raises NotFound."""
        ...

    async def connectors(self, site_id: SiteId) -> tuple[Connector, ...]:
        """Every EVSE of the site as last known; ``online`` is filled in by the caller. Raises NotFound."""
        ...

    async def connector(self, site_id: SiteId, evse_id: EvseId) -> Connector:
        """One EVSE of the site as last known, ``online`` as above. Raises NotFound."""
        ...


class PlanStore(Protocol):
    """Keeps plans and how they came about."""

    async def save_outcome(self, outcome: PlanOutcome, trigger: str, seen: SeenStep | None = None) -> None:
        """Keep a plan with its outcome, what triggered it, and what it follows from where that is to be recorded."""
        ...

    async def latest_plan(self, site_id: SiteId) -> Plan | None:
        """The newest plan."""
        ...

    async def outcomes(self, site_id: SiteId, limit: int) -> tuple[PlanOutcome, ...]:
        """The newest outcomes, newest first."""
        ...


class ReservationStore(Protocol):
    """Keeps reservations."""

    async def add(self, reservation: Reservation) -> None:
        """Add one; raises Conflict where an overlapping one holds the same EVSE."""
        ...

    async def save(self, reservation: Reservation) -> None:
        """Replace one; raises Conflict where the stored version is not one less, NotFound where there is none."""
        ...

    async def reservation(self, reservation_id: ReservationId) -> Reservation:
        """One reservation. Raises NotFound."""
        ...

    async def reservations(self, site_id: SiteId, start: datetime, end: datetime) -> tuple[Reservation, ...]:
        """Those whose window overlaps ``[start, end)``, by start."""
        ...


class GridEventStore(Protocol):
    """Keeps grid events and the proof of response."""

    async def save(self, event: GridEvent) -> None:
        """Add or replace one."""
        ...

    async def event(self, event_id: GridEventId) -> GridEvent:
        """One event. Raises NotFound."""
        ...

    async def events(self, site_id: SiteId, start: datetime, end: datetime) -> tuple[GridEvent, ...]:
        """Those whose span overlaps ``[start, end)``, by start."""
        ...


class RecordStore(Protocol):
    """Keeps energy-cost records, append-only, and queues each for billing in the same transaction."""

    async def add_record(self, record: EnergyCostRecord) -> bool:
        """Add one and queue it for billing; a repeat of its id changes nothing and returns False."""
        ...

    async def records(
        self,
        site_id: SiteId,
        *,
        session_id: SessionId | None = None,
        status: RecordStatus | None = None,
        after: RecordId | None = None,
        limit: int | None = None,
    ) -> tuple[EnergyCostRecord, ...]:
        """Records by time made; a page after the record ``after``. Raises NotFound for an unknown one."""
        ...

    async def undelivered(self, at: datetime, limit: int) -> tuple[tuple[EnergyCostRecord, int], ...]:
        """Queued records due for delivery at ``at``, each with the number of attempts so far."""
        ...

    async def mark_delivered(self, record_id: RecordId, at: datetime) -> None:
        """The billing system has taken it."""
        ...

    async def mark_failed(self, record_id: RecordId, next_attempt_at: datetime, error: str) -> None:
        """Delivery failed; try again later."""
        ...

    async def save_bill(self, bill: SiteBill) -> None:
        """Keep a site's bill of a window; a repeat replaces it."""
        ...

    async def bills(self, site_id: SiteId) -> tuple[SiteBill, ...]:
        """Bills by window."""
        ...


class Stores(Protocol):
    """All stores of one database."""

    @property
    def sessions(self) -> SessionStore: ...

    @property
    def meters(self) -> MeterStore: ...

    @property
    def connectors(self) -> ConnectorStore: ...

    @property
    def plans(self) -> PlanStore: ...

    @property
    def reservations(self) -> ReservationStore: ...

    @property
    def grid_events(self) -> GridEventStore: ...

    @property
    def records(self) -> RecordStore: ...

    def together(self) -> AbstractAsyncContextManager[None]:
        """Within it all calls of this task commit together, or not at all.

        Other tasks' writes wait meanwhile: nothing but store calls belongs inside, and no waiting for another task.
        """
        ...


class BillingSink(Protocol):
    """Takes energy-cost records."""

    async def deliver(self, record: EnergyCostRecord) -> None:
        """Hand over one record.

        Raises:
            SourceUnavailable: Not taken; try again later.
        """
        ...
