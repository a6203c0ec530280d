"""Whether the service's books hold what the stations truly did: every transaction once, every kWh on one session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from optimizer.costing.intervals import session_metering, unassigned_metering
from optimizer.domain.ids import EvseId, SessionId, StationId, TransactionId
from optimizer.domain.metering import MeterSample
from optimizer.domain.site import Site
from scenarios.memory_stores import MemoryStores
from scenarios.station_state import Transaction

SHOWING_KW = 1.0
"""Two meter values with this power in a row show in which unit the register is [kW]."""
REGISTER_STEP_KWH = Decimal("0.001")
"""Registers count whole watt-hours, and a session's energy is a difference of two [kWh]."""


@dataclass(frozen=True, slots=True)
class TrueTransaction:
    """A transaction as it happened at its station."""

    station_id: StationId
    """Where."""
    evse_id: EvseId
    """At which EVSE."""
    transaction: Transaction
    """What the station knows of it."""
    misbehaves: str
    """What its station does wrong, for people."""
    tells_kwh_as_wh: bool = False
    """Whether its station tells all registers in kWh and calls them Wh (2.x; in 1.6 those of its ends are right)."""
    hides_its_unit: bool = False
    """Whether nobody can know of that yet: two meter values with power in one transaction show it, none were told."""

    @property
    def energy_kwh(self) -> Decimal:
        """What its meter counted [kWh]."""
        done = self.transaction
        return (done.end_register_kwh or done.start_register_kwh) - done.start_register_kwh

    @property
    def ended_at(self) -> datetime:
        """When it ended; every car has left when the books are looked at [UTC]."""
        return self.transaction.ended_at or self.transaction.started_at


async def with_hidden_units(
    site: Site, stores: MemoryStores, happened: Sequence[TrueTransaction], begin: datetime, end: datetime
) -> list[TrueTransaction]:
    """The transactions, those marked whose energy nobody could have known.

    power  - - - | - 11 - | - 11 11 11 | -        told by one station, transaction by transaction
    unit   hidden  hidden   found out    known
    """
    showing: defaultdict[StationId, set[TransactionId]] = defaultdict(set)
    last: dict[EvseId, MeterSample] = {}
    for sample, _ in await stores.meters.station_samples(site.id, begin, end):
        before, last[sample.evse_id] = last.get(sample.evse_id), sample
        if sample.transaction_id is None or before is None or before.transaction_id != sample.transaction_id:
            continue
        if min(before.power_kw or 0.0, sample.power_kw or 0.0) >= SHOWING_KW:
            showing[sample.station_id].add(sample.transaction_id)
    shown_at = {
        (one.station_id, one.evse_id, one.transaction.started_at): one.ended_at
        for one in happened
        if one.transaction.id in showing[one.station_id]
    }

    def is_hidden(one: TrueTransaction) -> bool:
        earlier = [ended_at for (station_id, *_), ended_at in shown_at.items() if station_id == one.station_id]
        return one.tells_kwh_as_wh and not any(ended_at <= one.ended_at for ended_at in earlier)

    return [replace(one, hides_its_unit=is_hidden(one)) for one in happened]


async def faults_in_books(
    site: Site, stores: MemoryStores, happened: list[TrueTransaction], begin: datetime, end: datetime
) -> list[str]:
    """What is lost or doubled, in words; empty where nothing is.

    Args:
        site: What stands there.
        stores: The books.
        happened: Every transaction that truly was.
        begin: Before anything happened, by whatever clock [UTC].
        end: After it [UTC].
    """
    kept = stores.sessions.transactions()
    found = [*_wrong_transactions(kept, happened)]
    booked_kwh: dict[SessionId, Decimal] = {}
    grid = (begin, end)
    for session in await stores.sessions.sessions(site.id):
        if session.is_active:
            found.append(f"session {session.id} never ends")
        samples = await stores.meters.session_samples(session.id)
        metering, _ = session_metering(session.id, samples, grid, site.evses[session.evse_id].max_power_kw)
        booked_kwh[session.id] = sum((part.energy_kwh for part in metering.intervals), Decimal(0))
    true_kwh: dict[SessionId, Decimal] = defaultdict(Decimal)
    causes: dict[SessionId, str] = {}
    hidden: set[SessionId] = set()
    for one in happened:
        session_id = kept.get((one.station_id, TransactionId(one.transaction.id or "")))
        if session_id is not None:
            true_kwh[session_id] += one.energy_kwh
            causes[session_id] = one.misbehaves
            if one.hides_its_unit:
                hidden.add(session_id)
    for session_id, kwh in booked_kwh.items():
        if session_id in hidden:
            continue
        if abs(kwh - true_kwh[session_id]) > REGISTER_STEP_KWH:
            cause = causes.get(session_id, "")
            found.append(f"session {session_id} holds {kwh} kWh, metered were {true_kwh[session_id]} ({cause})")
    unclear = {one.evse_id for one in happened if one.hides_its_unit}
    told = await stores.meters.station_samples(site.id, begin, end)
    samples_of_all = [pair for pair in told if pair[0].evse_id not in unclear]
    greatest_kw = {evse.id: evse.max_power_kw for evse in site.evses.values()}
    unassigned, _ = unassigned_metering(samples_of_all, grid, greatest_kw)
    left_kwh = sum((part.energy_kwh for part in unassigned), Decimal(0))
    if left_kwh > REGISTER_STEP_KWH:
        found.append(f"{left_kwh} kWh are on no session")
    return found


def _wrong_transactions(
    kept: Mapping[tuple[StationId, TransactionId], SessionId], happened: list[TrueTransaction]
) -> Iterator[str]:
    known = set()
    for one in happened:
        place = f"transaction {one.transaction.id} at {one.evse_id} ({one.misbehaves})"
        if not one.transaction.is_acknowledged:
            yield f"{place} was never acknowledged"
            continue
        key = (one.station_id, TransactionId(one.transaction.id or ""))
        if key not in kept:
            yield f"{place} is lost"
        if key in known:
            yield f"{place} stands for two"
        known.add(key)
    for station_id, transaction_id in kept.keys() - known:
        yield f"transaction {transaction_id} of {station_id} never happened"
