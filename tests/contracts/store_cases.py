"""What the contract tests of the stores keep and look for."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from optimizer.domain.charger import (
    LimitPeriod,
    LimitState,
    Setpoint,
)
from optimizer.domain.cost import CostComponent, CostLine, EnergyCostRecord, RecordStatus
from optimizer.domain.event import GridEvent, GridEventInterval, GridEventKind
from optimizer.domain.ids import (
    CircuitId,
    EvseId,
    GridEventId,
    PlanId,
    RecordId,
    ReservationId,
    SessionId,
    SiteId,
    StationId,
    TariffId,
    TokenId,
    TransactionId,
    VehicleId,
)
from optimizer.domain.metering import CircuitReading, MeterSample, ReadingReason, SampleQuality, SiteMeterReading
from optimizer.domain.moment import Interval
from optimizer.domain.plan import (
    BindingKind,
    BindingReason,
    Plan,
    SessionPlan,
    Shortfall,
    SolveFigures,
)
from optimizer.domain.reservation import Reservation, ReservationStatus
from optimizer.domain.session import DepartureTarget, PriorityTier, Session, TargetSource, Vehicle
from optimizer.domain.site import LimitSource, Phase

DEPOT = SiteId("depot")
OFFICE = SiteId("office")
STATION = StationId("depot-1")
EVSE = EvseId("depot-1/1")
OTHER_EVSE = EvseId("depot-2/1")
DAY = datetime(2026, 3, 1, tzinfo=UTC)
HUGE_REGISTER = Decimal("123456789.012345678901234567")


def at(hour: float) -> datetime:
    """``hour`` of the day, to the microsecond."""
    return DAY + timedelta(hours=hour)


def session_of(name: str, *, plugged_in: float = 8.0, evse_id: EvseId = EVSE, site_id: SiteId = DEPOT) -> Session:
    return Session(SessionId(name), site_id, evse_id, at(plugged_in))


FULL_SESSION = Session(
    SessionId("full"),
    DEPOT,
    EVSE,
    at(8.123456789),
    token_id=TokenId("token"),
    transaction_id=TransactionId("17"),
    reservation_id=ReservationId("booked"),
    unplugged_at=at(17),
    vehicle=Vehicle(VehicleId("van"), 62.5, 22.0, 3, 6.5, 0.93, 0.8, False, True, 10.0, 0.3),
    targets=(
        DepartureTarget(at(12), energy_kwh=0.1 + 0.2, source=TargetSource.VEHICLE),
        DepartureTarget(at(17), soc=0.9, source=TargetSource.RESERVATION),
    ),
    tier=PriorityTier.FLEET_DUTY,
    energy_kwh=1 / 3,
    soc=0.55,
    soc_at=at(9),
    accepted_power_kw=0.0,
    pauses=2,
    paused=(Interval(at(9), at(9.25)), Interval(at(10), at(10.5))),
    transaction_begun_at=at(8.2),
    may_charge=False,
    phase_switches=2,
    phases_switched_at=at(11),
)


def fields_left_at_default(value: object) -> list[str]:
    """Fields that a round trip says nothing of; one that is added to a domain type shows up here."""
    return [field.name for field in fields(value) if getattr(value, field.name) == field.default]  # type: ignore[arg-type]


def sample_at(
    hour: float, *, evse_id: EvseId = EVSE, transaction_id: str | None = "17", **fields: object
) -> MeterSample:
    station_id = StationId(evse_id.split("/")[0])
    given = None if transaction_id is None else TransactionId(transaction_id)
    return replace(MeterSample(station_id, evse_id, at(hour), given), **fields)


FULL_SAMPLE = MeterSample(
    STATION,
    EVSE,
    at(8.000000123),
    TransactionId("17"),
    HUGE_REGISTER,
    7.2 / 3,
    (10.1, 0.0, 9.9),
    229.95,
    0.512,
    ReadingReason.TRANSACTION_END,
    SampleQuality.DERIVED,
    "OCMF|{…}|žsigned",
    Decimal("0.250"),
)
FULL_READING = SiteMeterReading(
    DEPOT,
    at(8),
    HUGE_REGISTER,
    Decimal("0.00"),
    Decimal("5"),
    Decimal("7E+2"),
    -1.5,
    30.1,
    5.5,
    (1.0, -2.0, 3.0),
    0.4,
    (CircuitReading(CircuitId("hall"), 7.5, (1.0, 0.1 + 0.2, 3.0)), CircuitReading(CircuitId("yard"))),
)


def reading_at(hour: float, site_id: SiteId = DEPOT) -> SiteMeterReading:
    return SiteMeterReading(site_id, at(hour), Decimal(str(hour)), Decimal("0.10"))


SETPOINT = Setpoint(
    EVSE,
    (LimitPeriod(at(8), 11.0), LimitPeriod(at(9.000000123), 4.14)),
    LimitState.VERIFIED,
    at(8),
    at(8.001),
    at(8.1),
    bound_before_kw=22.08,
    reason="site limit",
)


FIGURES = SolveFigures(0.01, 0.2, 0.25, 1200, 3400, solves=2)


def plan_of(name: str, hour: float, site_id: SiteId = DEPOT) -> Plan:
    return Plan(
        PlanId(name),
        site_id,
        at(hour),
        (at(hour), at(hour + 0.25), at(hour + 1)),
        (
            SessionPlan(
                SessionId("one"),
                EVSE,
                (11.04, 0.0),
                (0.0, 2.76, 2.76),
                (
                    BindingReason(BindingKind.CIRCUIT_LIMIT, CircuitId("main"), Phase.L2, LimitSource.FUSE),
                    BindingReason(BindingKind.PRICE),
                ),
                (3, 1),
            ),
        ),
        (12.0, 0.1 + 0.2),
        (0.0, 1.5),
        (0.0, -2.0),
        (0.0, 3.0),
        (1.0, 1.0),
        (0.31, -0.02),
        (Shortfall(SessionId("one"), at(17), PriorityTier.RESERVED, 1.25, 0.5, at(8)),),
        (0.3, 0.1),
        money=-1e-17,
    )


def booked(
    name: str, start: float, end: float, *, evse_id: EvseId | None = EVSE, status: str = "RESERVED", version: int = 1
) -> Reservation:
    return Reservation(
        ReservationId(name),
        DEPOT,
        Interval(at(start), at(end)),
        TokenId("token"),
        evse_id,
        energy_kwh=20.5,
        guaranteed_power_kw=4.14,
        status=ReservationStatus(status),
        created_at=at(1),
        version=version,
    )


HELD = booked("held", 9, 11)


def asked(name: str, *hours: tuple[float, float]) -> GridEvent:
    intervals = tuple(GridEventInterval(Interval(at(start), at(end)), 40.5) for start, end in hours)
    return GridEvent(GridEventId(name), DEPOT, GridEventKind.IMPORT_LIMIT, intervals, at(1))


def record_of(name: str, hour: float = 17, **fields: object) -> EnergyCostRecord:
    record = EnergyCostRecord(
        RecordId(name),
        DEPOT,
        SessionId("one"),
        RecordStatus.PROVISIONAL,
        at(hour),
        Interval(at(8), at(17)),
        "EUR",
        Decimal("12.3450"),
        (
            CostLine(CostComponent.GRID_ENERGY, "summer on-peak", Decimal("10.0000001"), Decimal("3.10")),
            CostLine(CostComponent.PV_ENERGY, "sun", Decimal("2.3449999"), Decimal("0.00"), Decimal("-0.19")),
        ),
        TariffId("flat"),
        "2026-01",
        "per interval 1",
        "0" * 64,
    )
    return replace(record, **fields)
