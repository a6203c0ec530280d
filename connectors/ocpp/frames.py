"""OCPP-J frames: JSON arrays in websocket messages, read with tolerance, written by the book."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any, NoReturn

from connectors.ocpp.settings import Version

Json = dict[str, Any]
"""A JSON object."""

MessageId = str | int
"""Strings by the standard; some stations send numbers, which are echoed as they came."""

UNREADABLE_ID = "-1"
"""Message id of an error answer to a frame whose id cannot be read (OCPP 2.0.1 part 4, section 4.2.3)."""

LONGEST_ID = 255
"""Longest message id that is echoed; the standard permits 36 characters."""

_BROKEN_CALL = re.compile(r'\s*\[\s*2\s*,\s*"([^"\\]{1,255})"')
_BROKEN_ANSWER = re.compile(r"\s*\[\s*[345]\s*,")


class MessageType(int, Enum):
    """First element of a frame."""

    CALL = 2
    CALL_RESULT = 3
    CALL_ERROR = 4
    CALL_RESULT_ERROR = 5
    """2.1: the other side could not use our answer."""
    SEND = 6
    """2.1: a message that wants no answer."""


class ErrorCode(StrEnum):
    """Why a call is refused, in the words of OCPP 2.0.1."""

    FORMAT_VIOLATION = "FormatViolation"
    GENERIC = "GenericError"
    INTERNAL = "InternalError"
    MESSAGE_TYPE_NOT_SUPPORTED = "MessageTypeNotSupported"
    NOT_IMPLEMENTED = "NotImplemented"
    """The action is not known."""
    NOT_SUPPORTED = "NotSupported"
    """The action is known, and not served here."""
    OCCURRENCE_VIOLATION = "OccurrenceConstraintViolation"
    PROPERTY_VIOLATION = "PropertyConstraintViolation"
    PROTOCOL = "ProtocolError"
    RPC_FRAMEWORK = "RpcFrameworkError"
    SECURITY = "SecurityError"
    TYPE_VIOLATION = "TypeConstraintViolation"

    def spelt_for(self, version: Version) -> str:
        """The code as ``version`` spells it; 1.6 has fewer codes, and two with slips of the pen."""
        return _CODES_OF_16.get(self, self.value) if version is Version.V16 else self.value


_CODES_OF_16 = {
    ErrorCode.FORMAT_VIOLATION: "FormationViolation",
    ErrorCode.OCCURRENCE_VIOLATION: "OccurenceConstraintViolation",
    ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED: "ProtocolError",
    ErrorCode.RPC_FRAMEWORK: "ProtocolError",
}


@dataclass(frozen=True, slots=True)
class CallFrame:
    """A request; ``wants_answer`` is false for the SEND of OCPP 2.1."""

    message_id: MessageId
    """Repeated in the answer."""
    action: str
    """What is asked."""
    payload: Json
    """Arguments."""
    wants_answer: bool = True
    """Whether the sender waits."""
    slip: str = ""
    """What was wrong with the frame, though it could be read."""


@dataclass(frozen=True, slots=True)
class ResultFrame:
    """The answer to a call of ours."""

    message_id: MessageId
    """Which call."""
    payload: Json
    """What it says."""


@dataclass(frozen=True, slots=True)
class ErrorFrame:
    """A call of ours was refused."""

    message_id: MessageId
    """Which call."""
    code: str
    """Error code as received."""
    description: str
    """Text as received."""


@dataclass(frozen=True, slots=True)
class ResultErrorFrame:
    """The station could not use an answer of ours (OCPP 2.1)."""

    message_id: MessageId
    """Which call of the station."""
    code: str
    """Error code as received."""


Frame = CallFrame | ResultFrame | ErrorFrame | ResultErrorFrame


class MalformedFrame(Exception):
    """A frame cannot be read.

    Args:
        code: What to answer.
        description: What is wrong, for people.
        message_id: Whom to answer; ``None`` where no answer may be given.
    """

    def __init__(self, code: ErrorCode, description: str, message_id: MessageId | None) -> None:
        self.code = code
        self.description = description
        self.message_id = message_id
        super().__init__(description)


class CallRefused(Exception):
    """A call of a station cannot be served; it gets the protocol's error answer."""

    def __init__(self, code: ErrorCode, description: str) -> None:
        self.code = code
        self.description = description
        super().__init__(description)


def read_frame(text: str) -> Frame:
    """Read one frame; numbers with a fraction become Decimal, so that registers stay exact.

    Raises:
        MalformedFrame: It is no frame of OCPP-J.
    """
    try:
        parts = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise MalformedFrame(ErrorCode.RPC_FRAMEWORK, f"not JSON: {error}"[:255], _id_in_broken(text)) from error
    if not isinstance(parts, list) or not parts:
        raise MalformedFrame(ErrorCode.RPC_FRAMEWORK, "a frame is a JSON array", UNREADABLE_ID)
    kind = parts[0]
    if kind == MessageType.CALL:
        return _read_call(parts, wants_answer=True)
    if kind in (MessageType.CALL_RESULT, MessageType.CALL_ERROR, MessageType.CALL_RESULT_ERROR):
        return _read_answer(parts)
    if kind == MessageType.SEND:
        return _read_call(parts, wants_answer=False)
    raise MalformedFrame(
        ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED,
        f"message type {kind!r} is not one of 2 to 6"[:255],
        _message_id(parts) or UNREADABLE_ID,
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _id_in_broken(text: str) -> MessageId | None:
    """Id for the answer to unreadable JSON; ``None`` where it looks like an answer, which is never answered."""
    if _BROKEN_ANSWER.match(text):
        return None
    found = _BROKEN_CALL.match(text)
    return found.group(1) if found else UNREADABLE_ID


def _message_id(parts: list[Any]) -> MessageId | None:
    found = parts[1] if len(parts) > 1 else None
    if isinstance(found, str) and 0 < len(found) <= LONGEST_ID:
        return found
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 2**63:
        return found
    return None


def _read_call(parts: list[Any], *, wants_answer: bool) -> CallFrame:
    message_id = _message_id(parts)
    answer_to = (message_id if message_id is not None else UNREADABLE_ID) if wants_answer else None
    if message_id is None:
        raise MalformedFrame(ErrorCode.RPC_FRAMEWORK, "the message id is no string of 1 to 36 characters", answer_to)
    if len(parts) < 3 or not isinstance(parts[2], str):
        raise MalformedFrame(ErrorCode.RPC_FRAMEWORK, "the action is missing", answer_to)
    slip = "" if len(parts) == 4 and isinstance(message_id, str) else "frame is not [2, id, action, payload]"
    payload = parts[3] if len(parts) > 3 else None
    if not payload and not isinstance(payload, dict):
        # An absent, null or empty-array payload stands for an empty object in many stations' Heartbeat.
        payload, slip = {}, "payload is not an object"
    if not isinstance(payload, dict):
        raise MalformedFrame(ErrorCode.TYPE_VIOLATION, "the payload is no JSON object", answer_to)
    return CallFrame(message_id, parts[2], payload, wants_answer, slip)


def _read_answer(parts: list[Any]) -> ResultFrame | ErrorFrame | ResultErrorFrame:
    message_id = _message_id(parts)
    if message_id is None:
        raise MalformedFrame(ErrorCode.RPC_FRAMEWORK, "an answer without a message id", None)
    if parts[0] == MessageType.CALL_RESULT:
        payload = parts[2] if len(parts) > 2 else None
        return ResultFrame(message_id, payload if isinstance(payload, dict) else {})
    code = parts[2] if len(parts) > 2 and isinstance(parts[2], str) else ErrorCode.GENERIC.value
    if parts[0] == MessageType.CALL_RESULT_ERROR:
        return ResultErrorFrame(message_id, code)
    description = parts[3] if len(parts) > 3 and isinstance(parts[3], str) else ""
    return ErrorFrame(message_id, code, description)


def call_text(message_id: str, action: str, payload: Mapping[str, Any]) -> str:
    """A CALL as it goes out."""
    return json.dumps([MessageType.CALL.value, message_id, action, payload], separators=(",", ":"))


def result_text(message_id: MessageId, payload: Mapping[str, Any]) -> str:
    """A CALLRESULT as it goes out."""
    return json.dumps([MessageType.CALL_RESULT.value, message_id, payload], separators=(",", ":"))


def error_text(message_id: MessageId, code: str, description: str) -> str:
    """A CALLERROR as it goes out; the description is cut to the 255 characters of the standard."""
    return json.dumps([MessageType.CALL_ERROR.value, message_id, code, description[:255], {}], separators=(",", ":"))
