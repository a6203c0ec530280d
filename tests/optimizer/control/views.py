"""Guard views built by hand, for the tables of the pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from bench import SITE
from virtual_time import START

from optimizer.control.view import GuardView
from optimizer.domain.charger import Connector, ConnectorStatus, LimitPeriod, LimitState, Setpoint
from optimizer.domain.event import GridEvent, GridEventInterval, GridEventKind
from optimizer.domain.ids import CircuitId, EvseId, GridEventId, SessionId, TransactionId
from optimizer.domain.metering import MeterSample, SiteMeterReading
from optimizer.domain.moment import Interval
from optimizer.domain.session import DepartureTarget, PriorityTier, Session, Vehicle
from optimizer.domain.site import Site

NOW = START + timedelta(hours=1)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def periods_of(*pairs: tuple[float, float]) -> tuple[LimitPeriod, ...]:
    """Pieces as (seconds from now, kW)."""
    return tuple(LimitPeriod(NOW + seconds(offset_s), limit_kw) for offset_s, limit_kw in pairs)


def setpoint_of(
    evse: str,
    state: LimitState,
    *pairs: tuple[float, float],
    sent_s: float = -20.0,
    before_kw: float = 0.0,
    verified_s: float | None = None,
) -> Setpoint:
    answered = None if state is LimitState.SENT else NOW + seconds(sent_s + 1)
    if state is LimitState.VERIFIED and verified_s is None:
        verified_s = sent_s + 10
    return Setpoint(
        EvseId(evse),
        periods_of(*pairs),
        state,
        NOW + seconds(sent_s),
        answered,
        None if verified_s is None else NOW + seconds(verified_s),
        before_kw,
    )


def session_at(
    evse: str,
    *,
    depart_h: float | None = None,
    tier: PriorityTier = PriorityTier.REGULAR,
    transaction: str | None = "7",
    phases_used: int | None = None,
    plugged_s: float = -1800.0,
    **more: object,
) -> Session:
    targets = () if depart_h is None else (DepartureTarget(NOW + timedelta(hours=depart_h), energy_kwh=20.0),)
    return Session(
        SessionId(f"s-{evse}"),
        SITE,
        EvseId(evse),
        NOW + seconds(plugged_s),
        transaction_id=None if transaction is None else TransactionId(transaction),
        tier=tier,
        targets=targets,
        vehicle=Vehicle(phases_used=phases_used),
        **more,  # type: ignore[arg-type]
    )


def sample_of(site: Site, evse: str, power_kw: float, age_s: float = 2.0) -> MeterSample:
    return MeterSample(site.evses[EvseId(evse)].station_id, EvseId(evse), NOW - seconds(age_s), power_kw=power_kw)


def reading_of(
    grid_kw: float | None = None,
    building_kw: float | None = None,
    pv_kw: float | None = None,
    *,
    age_s: float = 1.0,
    current_a: tuple[float, float, float] | None = None,
) -> SiteMeterReading:
    return SiteMeterReading(
        SITE,
        NOW - seconds(age_s),
        Decimal(0),
        Decimal(0),
        grid_kw=grid_kw,
        building_kw=building_kw,
        pv_kw=pv_kw,
        current_a=current_a,
    )


def event_of(
    kind: GridEventKind,
    value: float,
    *,
    start_s: float = -10.0,
    end_s: float = 3600.0,
    circuit: str | None = None,
    name: str = "event",
    priority: int = 0,
    received_s: float = -10.0,
) -> GridEvent:
    interval = Interval(NOW + seconds(start_s), NOW + seconds(end_s))
    return GridEvent(
        GridEventId(name),
        SITE,
        kind,
        (GridEventInterval(interval, value),),
        NOW + seconds(received_s),
        None if circuit is None else CircuitId(circuit),
        priority=priority,
    )


def view_of(
    site: Site,
    *,
    sessions: tuple[Session, ...] = (),
    setpoints: tuple[Setpoint, ...] = (),
    samples: tuple[MeterSample, ...] = (),
    offline: tuple[str, ...] = (),
    status: Mapping[str, ConnectorStatus] | None = None,
    default_kw: float | None = 4.14,
    overdraws: Mapping[str, int] | None = None,
    meter: SiteMeterReading | None = None,
    events: tuple[GridEvent, ...] = (),
    at: datetime = NOW,
) -> GuardView:
    """A view in which every EVSE is online, charging where it has a session, and holds the same safe default."""
    session_of = {session.evse_id: session for session in sessions}
    setpoint_of_evse = {setpoint.evse_id: setpoint for setpoint in setpoints}
    sample_of_evse = {sample.evse_id: sample for sample in samples}
    told = status or {}
    connectors = {}
    for evse in site.evses.values():
        usual = ConnectorStatus.CHARGING if evse.id in session_of else ConnectorStatus.AVAILABLE
        connectors[evse.id] = Connector(
            evse.id,
            evse.station_id,
            online=evse.id not in offline,
            status=told.get(evse.id, usual),
            session_id=session_of[evse.id].id if evse.id in session_of else None,
            setpoint=setpoint_of_evse.get(evse.id),
            safe_default_kw=default_kw,
            last_sample=sample_of_evse.get(evse.id),
        )
    return GuardView(
        at=at,
        site=site,
        connectors=connectors,
        sessions=session_of,
        grid_events=events,
        meter=meter,
        safe_kw=dict.fromkeys(site.evses, default_kw if default_kw is not None else 4.14),
        overdraws={EvseId(evse): count for evse, count in (overdraws or {}).items()},
    )
