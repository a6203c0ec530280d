"""What the HTTP API takes: bodies and queries, strict in types and time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from optimizer.domain.cost import RecordStatus
from optimizer.domain.event import GridEventKind
from optimizer.domain.moment import Interval
from optimizer.domain.session import PriorityTier

_RFC_3339 = re.compile(r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:\d\d)$")
_DECIMAL = re.compile(r"^-?\d{1,15}(\.\d{1,9})?$")
_YEARS = range(2000, 2200)
LONGEST_EVENT_INTERVALS = 2_000
LONGEST_READINGS = 5_000
LISTED_SPAN = timedelta(days=7)


def _instant(value: Any) -> datetime:
    """An RFC 3339 time with offset, in UTC; a number, a date or a local time is refused."""
    if isinstance(value, datetime):
        value = value.isoformat()
    if not isinstance(value, str) or not _RFC_3339.match(value):
        raise ValueError("give a time with UTC offset, for example 2026-03-01T08:00:00Z")
    try:
        instant = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("no such time; give one like 2026-03-01T08:00:00Z") from error
    if instant.year not in _YEARS:
        raise ValueError(f"give a year from {_YEARS.start} to {_YEARS.stop - 1}")
    return instant


def _exact(value: Any) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if not isinstance(value, str) or not _DECIMAL.match(value):
        raise ValueError('give a decimal number as a string, for example "1234.567"')
    return Decimal(value)


def plain(value: Decimal) -> str:
    """A decimal number without exponent."""
    return format(value, "f")


Instant = Annotated[AwareDatetime, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]
Exact = Annotated[
    Decimal,
    BeforeValidator(_exact),
    PlainSerializer(plain, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _DECIMAL.pattern, "examples": ["1234.567"]}),
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._~:+-]{1,80}$")]
Token = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,64}$")]
"""Token or pseudonym of a driver: printable, without spaces."""
PowerKw = Annotated[float, Field(ge=0, le=1_000_000)]
EnergyKwh = Annotated[float, Field(ge=0, le=1_000_000)]
Soc = Annotated[float, Field(ge=0, le=1)]
Cursor = Annotated[str, Field(pattern=r"^[A-Za-z0-9_=-]{1,200}$")]


class RequestModel(BaseModel):
    """What every body and query shares: no unknown field, no infinity, no change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Window(RequestModel):
    """A half-open stretch of time."""

    start: Instant
    """First instant inside."""
    end: Instant
    """First instant after."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end <= self.start:
            raise ValueError("end must be after start")
        return self


class ReservationRequest(Window):
    """A booked EVSE, or a booked amount of power, for a window."""

    token_id: Token
    """Token the driver will present."""
    evse_id: Name | None = None
    """The booked EVSE; left out: any."""
    energy_kwh: EnergyKwh = 0.0
    """Energy expected to be needed by the window's end [kWh]."""
    guaranteed_power_kw: PowerKw = 0.0
    """Power promised from plug-in until the energy is delivered [kW]."""
    tier: Annotated[int, Field(ge=min(PriorityTier), le=max(PriorityTier))] = PriorityTier.RESERVED.value
    """Priority: 0 reserved, 1 paid level, 2 fleet duty, 3 regular."""
    no_show_after_minutes: Annotated[int, Field(ge=1, le=1440)] = 30
    """Minutes after the start when an empty place is given up."""


class SpanFilter(RequestModel):
    """Which span of time to list."""

    start: Instant | None = None
    """What ends after this; left out: now."""
    end: Instant | None = None
    """What starts before this; left out: a week after ``start``."""

    def span(self, now: datetime) -> Interval:
        """The span asked for at ``now``.

        Raises:
            InvalidInput: It ends before it starts.
        """
        start = self.start or now
        return Interval(start, self.end or start + LISTED_SPAN)


class GridEventIntervalRequest(Window):
    """One value for one stretch of time."""

    value: Annotated[float, Field(ge=-1_000_000, le=1_000_000)]
    """[kW], or [currency/kWh] for a price."""


class GridEventRequest(RequestModel):
    """A limit, setpoint or price for a time: one window with ``value``, or a list of intervals."""

    kind: GridEventKind = GridEventKind.IMPORT_LIMIT
    """What the values mean."""
    start: Instant | None = None
    """First instant, with ``end`` and ``value``."""
    end: Instant | None = None
    """First instant after."""
    value: Annotated[float, Field(ge=-1_000_000, le=1_000_000)] | None = None
    """[kW], or [currency/kWh] for a price."""
    intervals: Annotated[tuple[GridEventIntervalRequest, ...], Field(max_length=LONGEST_EVENT_INTERVALS)] = ()
    """Values in time order, not overlapping; instead of start, end and value."""
    circuit_id: Name | None = None
    """The circuit it limits; left out: the grid connection."""
    source: Annotated[str, Field(pattern=r"^[a-z0-9._-]{1,32}$")] = "api"
    """Who asks: api, oadr3, relay and the like."""
    priority: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Smaller goes first; equal and in conflict: the tighter limit holds."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        window = (self.start, self.end, self.value)
        if bool(self.intervals) == any(part is not None for part in window) or (not self.intervals and None in window):
            raise ValueError("give intervals, or start, end and value together")
        parts = self.parts()
        for earlier, later in pairwise(parts):
            if later.start < earlier.end:
                raise ValueError(f"intervals overlap or are out of order at {later.start.isoformat()}")
        if self.kind not in (GridEventKind.PRICE, GridEventKind.SETPOINT) and any(part.value < 0 for part in parts):
            raise ValueError(f"values of {self.kind} are 0 kW or more")
        return self

    def parts(self) -> tuple[GridEventIntervalRequest, ...]:
        """The intervals, however they were given."""
        if self.start is None or self.end is None or self.value is None:
            return self.intervals
        return (GridEventIntervalRequest(start=self.start, end=self.end, value=self.value),)


class DepartureTargetRequest(RequestModel):
    """Energy or state of charge needed by a time."""

    depart_at: Instant
    """When it is needed."""
    energy_kwh: EnergyKwh | None = None
    """Energy to have delivered since plug-in [kWh]; this or ``soc``."""
    soc: Soc | None = None
    """State of charge to have reached, 0..1; this or ``energy_kwh``."""

    @model_validator(mode="after")
    def _one_need(self) -> Self:
        if (self.energy_kwh is None) == (self.soc is None):
            raise ValueError("give exactly one of energy_kwh and soc")
        return self


class SessionFilter(RequestModel):
    """Which sessions to list."""

    active: bool | None = None
    """Only those that last (true) or have ended (false)."""
    token_id: Token | None = None
    """Only this driver's."""
    evse_id: Name | None = None
    """Only those at this EVSE."""
    cursor: Cursor | None = None
    """``next_cursor`` of the page before."""
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    """Greatest number of sessions in the answer."""


class CircuitReadingRequest(RequestModel):
    """What the meter of a circuit inside the site said."""

    circuit_id: Name
    """Which circuit."""
    power_kw: Annotated[float, Field(ge=-1_000_000, le=1_000_000)] | None = None
    """Power through it [kW]."""
    current_a: tuple[float, float, float] | None = None
    """Current through it on L1, L2, L3 [A]."""


class SiteMeterReadingRequest(RequestModel):
    """What the site's own meters said at one instant."""

    at: Instant
    """The meter's time stamp."""
    import_register_kwh: Exact
    """Energy taken from the grid, as a decimal string [kWh]."""
    export_register_kwh: Exact = Decimal(0)
    """Energy given to the grid, as a decimal string [kWh]."""
    pv_register_kwh: Exact | None = None
    """Energy produced by PV, as a decimal string [kWh]."""
    building_register_kwh: Exact | None = None
    """Energy used by the building, as a decimal string [kWh]."""
    grid_kw: Annotated[float, Field(ge=-1_000_000, le=1_000_000)] | None = None
    """Power at the connection, import positive [kW]."""
    pv_kw: PowerKw | None = None
    """PV power [kW]."""
    building_kw: PowerKw | None = None
    """Building load [kW]."""
    current_a: tuple[float, float, float] | None = None
    """Current at the connection on L1, L2, L3 [A]."""
    battery_soc: Soc | None = None
    """State of charge of the stationary battery, 0..1."""
    circuits: Annotated[tuple[CircuitReadingRequest, ...], Field(max_length=1000)] = ()
    """What the meters of circuits inside the site said at the same time."""

    @model_validator(mode="after")
    def _registers_not_negative(self) -> Self:
        registers = (
            self.import_register_kwh,
            self.export_register_kwh,
            self.pv_register_kwh,
            self.building_register_kwh,
        )
        if any(register is not None and register < 0 for register in registers):
            raise ValueError("a register is 0 kWh or more")
        return self


class SiteMeterReadingsRequest(RequestModel):
    """Readings of the site meter, in any order; a repeated one changes nothing."""

    readings: Annotated[tuple[SiteMeterReadingRequest, ...], Field(min_length=1, max_length=LONGEST_READINGS)]
    """At least one."""


class PlanFilter(RequestModel):
    """Which plans to list."""

    limit: Annotated[int, Field(ge=1, le=200)] = 20
    """Greatest number of plans, newest first."""


class RecordFilter(RequestModel):
    """Which energy-cost records to list."""

    session_id: Name | None = None
    """Only this session's."""
    status: RecordStatus | None = None
    """Only provisional ones, final ones or adjustments."""
    start: Instant | None = None
    """Only those whose metered time ends after this."""
    end: Instant | None = None
    """Only those whose metered time starts before this."""
    cursor: Cursor | None = None
    """``next_cursor`` of the page before."""
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    """Greatest number of records in the answer."""


class CloseWindowRequest(Window):
    """The whole billing window to settle, for example a local calendar month."""
