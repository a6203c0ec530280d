"""OCPP words, numbers and times <-> domain. Inbound nothing here raises: what cannot be read is ``None``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any

from connectors.ocpp.frames import Json
from optimizer.domain.charger import ConnectorStatus
from optimizer.domain.ids import TokenId

EARLIEST = datetime(2015, 1, 1, tzinfo=UTC)
"""Before OCPP 1.6: a station showing such a time has never set its clock."""

LATEST = datetime(2200, 1, 1, tzinfo=UTC)
"""A time beyond it is a slip, and would overflow when it is corrected."""

GREATEST_NUMBER = 1e12
"""No reading in any unit of OCPP is greater; it keeps Decimals from exploding."""

_STATUSES = {
    "available": ConnectorStatus.AVAILABLE,
    "preparing": ConnectorStatus.PREPARING,
    "occupied": ConnectorStatus.PREPARING,
    "charging": ConnectorStatus.CHARGING,
    "suspendedevse": ConnectorStatus.SUSPENDED_BY_EVSE,
    "suspendedev": ConnectorStatus.SUSPENDED_BY_VEHICLE,
    "finishing": ConnectorStatus.FINISHING,
    "reserved": ConnectorStatus.RESERVED,
    "unavailable": ConnectorStatus.UNAVAILABLE,
    "faulted": ConnectorStatus.FAULTED,
    "evconnected": ConnectorStatus.PREPARING,
    "idle": ConnectorStatus.AVAILABLE,
}

_NO_ERROR_WORDS = {"", "noerror", "none", "no error"}


def connector_status(word: object) -> ConnectorStatus:
    """The state for a status of 1.6 or 2.x, or a charging state of 2.x."""
    return _STATUSES.get(word.strip().lower(), ConnectorStatus.UNKNOWN) if isinstance(word, str) else _UNKNOWN


_UNKNOWN = ConnectorStatus.UNKNOWN


def error_text_of(payload: Json) -> str:
    """Error code, vendor's code and remark of a StatusNotification of 1.6; empty where there is no error."""
    code = clean_text(payload.get("errorCode"))
    if code.lower() in _NO_ERROR_WORDS:
        return ""
    remarks = (clean_text(payload.get(name)) for name in ("vendorErrorCode", "info"))
    return " ".join([code, *(remark for remark in remarks if remark.lower() not in _NO_ERROR_WORDS)])


def clean_text(value: object, longest: int = 255) -> str:
    """Text fit for a database and a log: no control characters or lone surrogates, cut to ``longest``."""
    if not isinstance(value, str):
        return ""
    if value.isascii() and value.isprintable():
        return value[:longest].strip()
    printable = "".join(letter for letter in value[: 2 * longest] if letter.isprintable() or letter == " ")
    return printable[:longest].strip()


def whole_number(value: object) -> int | None:
    """An integer, also where it is written as text or with a zero fraction."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < 2**63 else None
    number = decimal_number(value)
    return int(number) if number is not None and number == number.to_integral_value() else None


def decimal_number(value: object) -> Decimal | None:
    """A finite number of sane size, from JSON number or text with blanks or a decimal comma."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        value = text.replace(",", ".") if "." not in text else text
    elif not isinstance(value, int | float | Decimal):
        return None
    try:
        number = Decimal(value)
    except (InvalidOperation, ValueError):
        return None
    return number if number.is_finite() and abs(number) < GREATEST_NUMBER else None


def float_number(value: object) -> float | None:
    """The same as a float."""
    if isinstance(value, str):
        text = value.strip()
        value = text.replace(",", ".") if "." not in text else text
    elif isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) and abs(number) < GREATEST_NUMBER else None


def instant(value: object) -> datetime | None:
    """A time stamp [UTC]; one without an offset is taken as UTC, an impossible one as absent."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value.strip())
        parsed = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return parsed if EARLIEST <= parsed < LATEST else None


def instant_text(at: datetime) -> str:
    """A time as every station reads it: UTC, ``Z``, whole seconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def later(at: datetime, seconds: float) -> datetime:
    """``at`` shifted by ``seconds``."""
    return at + timedelta(seconds=seconds)


def token_of(value: object) -> TokenId | None:
    """A token from an idTag (1.6) or an idToken (2.x); ``None`` where none was presented."""
    if isinstance(value, dict):
        value = value.get("idToken")
    text = clean_text(value)
    return TokenId(text) if text else None


def part(payload: Json, name: str) -> Json:
    """A nested object; empty where it is absent or something else."""
    found = payload.get(name)
    return found if isinstance(found, dict) else {}


def parts(payload: Json, name: str) -> list[Any]:
    """A nested list; a lone object counts as a list of one, as some stations send it."""
    found = payload.get(name)
    if isinstance(found, list):
        return found
    return [found] if isinstance(found, dict) else []
