"""Meter samples of EVSEs and readings of site meters."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Delete, Row, Table, delete, func, literal, select, tuple_

from connectors.storage.codec import CIRCUITS_JSON, SAMPLE_JSON
from connectors.storage.occupancy import MOST_NAMED
from connectors.storage.session_store import save_session
from connectors.storage.statements import fetched, insert_all_new, insert_new, upsert
from connectors.storage.tables import EVSE_STATE, METER_SAMPLE, SESSION, SITE_READING
from connectors.storage.topology import Topology
from connectors.storage.transactions import Transactions
from optimizer.domain.ids import EvseId, SessionId, SiteId, StationId, TransactionId
from optimizer.domain.metering import MeterSample, ReadingReason, SampleQuality, SiteMeterReading
from optimizer.domain.session import Session

_USABLE = (SampleQuality.GOOD, SampleQuality.DERIVED)

_PURGED_AT_ONCE = 5000
"""Rows in one deleting transaction, so that other writes do not wait long."""


class DatabaseMeterStore:
    """Keeps meter samples and site readings; repeats are ignored (port `MeterStore`)."""

    def __init__(self, transactions: Transactions, topology: Topology) -> None:
        self._transactions = transactions
        self._topology = topology

    async def add_samples(
        self,
        samples: Sequence[MeterSample],
        session_ids: Sequence[SessionId | None],
        changed: Sequence[Session] = (),
    ) -> None:
        """Add samples, each with the session it is on (``None``: unassigned), and save the sessions they changed.

        A sample repeats another where EVSE, time, transaction and reason agree.
        """
        rows = [self._sample_row(sample, session_id) for sample, session_id in zip(samples, session_ids, strict=True)]
        newest = _newest_usable(samples)
        about = [sample.evse_id for sample in samples] + [session.evse_id for session in changed]
        await self._transactions.write(partial(_add_samples, rows=rows, newest=newest, changed=changed), about)

    async def session_samples(self, session_id: SessionId) -> tuple[MeterSample, ...]:
        """All samples of one session by time."""
        query = select(METER_SAMPLE).where(METER_SAMPLE.c.session_id == session_id).order_by(*_BY_TIME)
        return await self._transactions.read(partial(fetched, query=query, convert=_sample))

    async def station_samples(
        self, site_id: SiteId, start: datetime, end: datetime, *, evse_ids: Collection[EvseId] | None = None
    ) -> tuple[tuple[MeterSample, SessionId | None], ...]:
        """All samples of a site's stations in ``[start, end]`` by time, or of some EVSEs, each with its session."""
        query = select(METER_SAMPLE).where(METER_SAMPLE.c.site_id == site_id, METER_SAMPLE.c.at.between(start, end))
        if evse_ids is not None and len(evse_ids) <= MOST_NAMED:
            query = query.where(METER_SAMPLE.c.evse_id.in_(evse_ids))
        found = await self._transactions.read(
            partial(fetched, query=query.order_by(*_BY_TIME), convert=lambda row: (_sample(row), row.session_id))
        )
        if evse_ids is None or len(evse_ids) <= MOST_NAMED:
            return found
        return tuple([pair for pair in found if pair[0].evse_id in evse_ids])

    async def add_site_reading(self, reading: SiteMeterReading) -> None:
        """Add a reading of the site meter; a repeat of site and time changes nothing."""
        await self._transactions.write(partial(insert_new, table=SITE_READING, row=_reading_row(reading)))

    async def site_readings(self, site_id: SiteId, start: datetime, end: datetime) -> tuple[SiteMeterReading, ...]:
        """Readings in ``[start, end]`` by time, with the nearest one before and after where they exist."""
        at = SITE_READING.c.at
        of_site = SITE_READING.c.site_id == site_id
        before = select(func.max(at)).where(of_site, at < start).scalar_subquery()
        after = select(func.min(at)).where(of_site, at > end).scalar_subquery()
        query = (
            select(SITE_READING)
            .where(of_site, at >= func.coalesce(before, literal(start, at.type)))
            .where(at <= func.coalesce(after, literal(end, at.type)))
            .order_by(at)
        )
        return await self._transactions.read(partial(fetched, query=query, convert=_reading))

    async def latest_site_reading(self, site_id: SiteId) -> SiteMeterReading | None:
        """The newest reading."""
        at = SITE_READING.c.at
        query = select(SITE_READING).where(SITE_READING.c.site_id == site_id).order_by(at.desc()).limit(1)
        newest = await self._transactions.read(partial(fetched, query=query, convert=_reading))
        return newest[0] if newest else None

    async def purge(self, before: datetime) -> int:
        """Delete samples and site readings older than ``before``; samples of sessions that still last stay.

        Costing reads metered values: purge only what lies before the oldest window that is still to be billed.

        Returns:
            How many rows were deleted.
        """
        active = select(SESSION.c.id).where(SESSION.c.unplugged_at.is_(None))
        session_id = METER_SAMPLE.c.session_id
        samples = (METER_SAMPLE.c.at < before) & (session_id.is_(None) | session_id.not_in(active))
        readings = SITE_READING.c.at < before
        return await self._purge(METER_SAMPLE, samples) + await self._purge(SITE_READING, readings)

    async def _purge(self, table: Table, old: ColumnElement[bool]) -> int:
        keys = table.primary_key.columns
        oldest = select(*keys).where(old).order_by(table.c.at).limit(_PURGED_AT_ONCE)
        statement = delete(table).where(tuple_(*keys).in_(oldest))
        total = 0
        while deleted := await self._transactions.write(partial(_rows_changed, statement=statement)):
            total += deleted
        return total

    def _sample_row(self, sample: MeterSample, session_id: SessionId | None) -> dict[str, object]:
        return {
            "evse_id": sample.evse_id,
            "at": sample.at,
            "transaction_id": sample.transaction_id or "",
            "reason": sample.reason,
            "station_id": sample.station_id,
            "site_id": self._topology.site_of(sample.station_id),
            "session_id": session_id,
            "register_kwh": sample.register_kwh,
            "power_kw": sample.power_kw,
            **_current_columns(sample.current_a),
            "voltage_v": sample.voltage_v,
            "soc": sample.soc,
            "quality": sample.quality,
            "signed_value": sample.signed_value,
            "export_register_kwh": sample.export_register_kwh,
        }


_BY_TIME = (METER_SAMPLE.c.at, METER_SAMPLE.c.evse_id, METER_SAMPLE.c.transaction_id, METER_SAMPLE.c.reason)


def _newest_usable(samples: Sequence[MeterSample]) -> list[MeterSample]:
    newest: dict[EvseId, MeterSample] = {}
    for sample in samples:
        if sample.quality in _USABLE and (sample.evse_id not in newest or sample.at >= newest[sample.evse_id].at):
            newest[sample.evse_id] = sample
    return list(newest.values())


def _add_samples(
    connection: Connection,
    rows: Sequence[Mapping[str, object]],
    newest: Sequence[MeterSample],
    changed: Sequence[Session],
) -> None:
    insert_all_new(connection, METER_SAMPLE, rows)
    state = [
        {"evse_id": sample.evse_id, "sampled_at": sample.at, "last_sample": SAMPLE_JSON.text(sample)}
        for sample in newest
    ]
    upsert(connection, EVSE_STATE, state, unless_newer=EVSE_STATE.c.sampled_at)
    for session in changed:
        save_session(connection, session)


def _rows_changed(connection: Connection, statement: Delete) -> int:
    return connection.execute(statement).rowcount


def _sample(row: Row[Any]) -> MeterSample:
    return MeterSample(
        station_id=StationId(row.station_id),
        evse_id=EvseId(row.evse_id),
        at=row.at,
        transaction_id=TransactionId(row.transaction_id) if row.transaction_id else None,
        register_kwh=row.register_kwh,
        power_kw=row.power_kw,
        current_a=_currents(row),
        voltage_v=row.voltage_v,
        soc=row.soc,
        reason=ReadingReason(row.reason),
        quality=SampleQuality(row.quality),
        signed_value=row.signed_value,
        export_register_kwh=row.export_register_kwh,
    )


def _reading_row(reading: SiteMeterReading) -> dict[str, object]:
    return {
        "site_id": reading.site_id,
        "at": reading.at,
        "import_register_kwh": reading.import_register_kwh,
        "export_register_kwh": reading.export_register_kwh,
        "pv_register_kwh": reading.pv_register_kwh,
        "building_register_kwh": reading.building_register_kwh,
        "grid_kw": reading.grid_kw,
        "pv_kw": reading.pv_kw,
        "building_kw": reading.building_kw,
        **_current_columns(reading.current_a),
        "battery_soc": reading.battery_soc,
        "circuits": CIRCUITS_JSON.text(reading.circuits) if reading.circuits else None,
    }


def _reading(row: Row[Any]) -> SiteMeterReading:
    return SiteMeterReading(
        site_id=SiteId(row.site_id),
        at=row.at,
        import_register_kwh=row.import_register_kwh,
        export_register_kwh=row.export_register_kwh,
        pv_register_kwh=row.pv_register_kwh,
        building_register_kwh=row.building_register_kwh,
        grid_kw=row.grid_kw,
        pv_kw=row.pv_kw,
        building_kw=row.building_kw,
        current_a=_currents(row),
        battery_soc=row.battery_soc,
        circuits=CIRCUITS_JSON.value(row.circuits) if row.circuits else (),
    )


def _current_columns(current_a: tuple[float, float, float] | None) -> dict[str, float | None]:
    l1_a, l2_a, l3_a = current_a or (None, None, None)
    return {"current_l1_a": l1_a, "current_l2_a": l2_a, "current_l3_a": l3_a}


def _currents(row: Row[Any]) -> tuple[float, float, float] | None:
    if row.current_l1_a is None:
        return None
    return (row.current_l1_a, row.current_l2_a, row.current_l3_a)
