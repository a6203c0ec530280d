"""A ledger over memory, and short ways to tell it things."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal

from bench import SITE, evse_at, site_with
from virtual_time import START, VirtualClock, run_virtual

from optimizer.control.ledger import LedgerListeners, SessionLedger
from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import (
    ConnectorReported,
    ConnectorStatus,
    TransactionBegun,
    TransactionFinished,
    TransactionOpened,
)
from optimizer.domain.ids import EvseId, SessionId, StationId, TokenId, TransactionId
from optimizer.domain.metering import MeterSample
from optimizer.domain.session import Session
from scenarios.memory_stores import MemoryStores

STATION, EVSE = StationId("station-a"), EvseId("a")
MINUTE = timedelta(minutes=1)
GARAGE = site_with([evse_at("a"), evse_at("b")])
AVAILABLE, PREPARING, CHARGING = ConnectorStatus.AVAILABLE, ConnectorStatus.PREPARING, ConnectorStatus.CHARGING
FINISHING = ConnectorStatus.FINISHING


class Book:
    """A ledger over memory, with short ways to tell it things; times are minutes after the start."""

    def __init__(self, *, knows_token: Callable[[TokenId], bool] = lambda _: True) -> None:
        self.stores = MemoryStores([GARAGE])
        self.clock = VirtualClock()
        self.knows_token = knows_token
        self.changes: list[str] = []
        self.ended: list[Session] = []
        self.reconnected: list[str] = []
        self.open()

    def open(self) -> None:
        """The ledger as after a start of the service."""
        listeners = LedgerListeners(self.changes.append, lambda: None, self._note_end, self._note_reconnect)
        self.ledger = SessionLedger(GARAGE, self.stores, self.clock, ControlSettings(), listeners, self.knows_token)

    async def _note_end(self, session: Session) -> None:
        self.ended.append(session)

    async def _note_reconnect(self, station_id: StationId) -> None:
        self.reconnected.append(station_id)

    async def until(self, minute: float) -> None:
        """Let time pass up to ``minute``."""
        await self.clock.sleep(max(0.0, (START + MINUTE * minute - self.clock.now()).total_seconds()))

    async def status(self, minute: float, status: ConnectorStatus) -> None:
        await self.ledger.connector_reported(ConnectorReported(STATION, 1, status, START + MINUTE * minute))

    async def begin(
        self, minute: float, token: str | None = "anna", register: str | None = "100.0", transaction: str | None = None
    ) -> TransactionOpened:
        return await self.ledger.transaction_begun(
            TransactionBegun(
                STATION,
                1,
                START + MINUTE * minute,
                None if token is None else TokenId(token),
                None if transaction is None else TransactionId(transaction),
                None if register is None else Decimal(register),
            )
        )

    async def finish(self, minute: float, transaction: str, register: str | None = None, reason: str = "Local") -> None:
        await self.ledger.transaction_finished(
            TransactionFinished(
                STATION,
                TransactionId(transaction),
                START + MINUTE * minute,
                None if register is None else Decimal(register),
                reason,
            )
        )

    async def sample(
        self,
        minute: float,
        register: str | None = None,
        power_kw: float | None = None,
        transaction: str | None = None,
        **more: object,
    ) -> None:
        await self.ledger.meter_sampled(
            [
                MeterSample(
                    STATION,
                    EVSE,
                    START + MINUTE * minute,
                    None if transaction is None else TransactionId(transaction),
                    None if register is None else Decimal(register),
                    power_kw,
                    **more,  # type: ignore[arg-type]
                )
            ]
        )

    async def sessions(self) -> tuple[Session, ...]:
        return await self.stores.sessions.sessions(SITE)

    async def the_session(self) -> Session:
        (session,) = await self.sessions()
        return session

    async def samples(self) -> tuple[tuple[MeterSample, SessionId | None], ...]:
        return await self.stores.meters.station_samples(SITE, START - MINUTE, START + MINUTE * 9999)


def told(story: Callable[[Book], Awaitable[None]], **choices: object) -> Book:
    """A ledger that has been told a story."""

    async def work() -> Book:
        book = Book(**choices)  # type: ignore[arg-type]
        await story(book)
        return book

    return run_virtual(work())
