"""OCPP-J frames as text, and the published schemas that say whether a payload is right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from jsonschema.exceptions import best_match
from ocpp.messages import MessageType, get_validator

from scenarios.outbox import Payload
from scenarios.station_dialect import CallRefused

DECIMAL_PAYLOADS = {
    ("SetChargingProfile", MessageType.Call),
    ("RemoteStartTransaction", MessageType.Call),
    ("GetCompositeSchedule", MessageType.CallResult),
}
"""Payloads whose 1.6 schema demands multiples of 0.1, which binary floats are not."""

ERROR_CODE_16 = {"FormatViolation": "FormationViolation"}
"""1.6 has one code of another spelling."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the other side."""

    message_id: str
    """Chosen by the caller."""
    action: str
    """OCPP action."""
    payload: Mapping[str, object]
    """Its payload."""


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to a call."""

    message_id: str
    """The call's."""
    payload: Mapping[str, object]
    """Its payload."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The error answer to a call."""

    message_id: str
    """The call's."""
    code: str
    """OCPP error code."""
    description: str
    """What is wrong."""


class BrokenFrame(Exception):
    """A text is no OCPP-J frame."""


def read_frame(text: str) -> Call | Result | Failure:
    """Read one frame.

    Raises:
        BrokenFrame: It is none.
    """
    try:
        frame = json.loads(text, parse_float=Decimal)
    except ValueError as error:
        raise BrokenFrame(f"no JSON: {error}") from error
    if not isinstance(frame, list) or len(frame) < 3 or not isinstance(frame[1], str):
        raise BrokenFrame("a frame is a list of a type, an id and more")
    kind, message_id, *rest = frame
    if kind == MessageType.Call and len(rest) == 2 and isinstance(rest[0], str) and isinstance(rest[1], dict):
        return Call(message_id, rest[0], rest[1])
    if kind == MessageType.CallResult and isinstance(rest[0], dict):
        return Result(message_id, rest[0])
    if kind == MessageType.CallError:
        return Failure(message_id, str(rest[0]), str(rest[1]) if len(rest) > 1 else "")
    raise BrokenFrame(f"no frame of type {kind!r} looks like this")


def call_text(message_id: str, action: str, payload: Payload) -> str:
    """A call as text."""
    return json.dumps([MessageType.Call, message_id, action, payload], separators=(",", ":"))


def result_text(message_id: str, payload: Payload) -> str:
    """An answer as text."""
    return json.dumps([MessageType.CallResult, message_id, payload], separators=(",", ":"))


def failure_text(message_id: str, version: str, refusal: CallRefused) -> str:
    """An error answer as text."""
    code = ERROR_CODE_16.get(refusal.code, refusal.code) if version == "1.6" else refusal.code
    return json.dumps([MessageType.CallError, message_id, code, refusal.description[:255], {}], separators=(",", ":"))


def check_call(call: Call, version: str) -> None:
    """Compare a call with its schema.

    Raises:
        CallRefused: It breaks it, or its action does not exist.
    """
    problem = _problem(MessageType.Call, call.action, call.payload, version)
    if problem:
        raise CallRefused("FormatViolation", problem)


def result_problem(action: str, payload: Mapping[str, object], version: str) -> str:
    """What is wrong with the answer to ``action``; empty where nothing is."""
    return _problem(MessageType.CallResult, action, payload, version)


def _problem(kind: int, action: str, payload: Mapping[str, object], version: str) -> str:
    exact = version == "1.6" and (action, kind) in DECIMAL_PAYLOADS
    try:
        validator = get_validator(kind, action, version, parse_float=Decimal if exact else float)
    except OSError as error:
        raise CallRefused("NotImplemented", f"{action} is not an action of OCPP {version}") from error
    problem = best_match(validator.iter_errors(_with_numbers(payload, Decimal if exact else float)))
    return "" if problem is None else f"{problem.json_path}: {problem.message}"


def _with_numbers(value: object, kind: type[Decimal] | type[float]) -> object:
    """``value`` with every fraction in it as a decimal or as a binary one, as the schema reads its own."""
    if isinstance(value, Decimal | float):
        return kind(str(value))
    if isinstance(value, Mapping):
        return {key: _with_numbers(inner, kind) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_numbers(inner, kind) for inner in value]
    return value
