"""Messages to stations: built from the `ocpp` package's dataclasses, checked against its schemas before they leave."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

from jsonschema import Draft4Validator
from jsonschema.exceptions import ValidationError
from ocpp.charge_point import remove_nones, snake_to_camel_case
from ocpp.messages import MessageType, get_validator

from connectors.ocpp.call_queue import Answered, CallOutcome, Refused, Unanswered
from connectors.ocpp.frames import Json
from connectors.ocpp.settings import Version
from connectors.ocpp.translate import clean_text, part
from optimizer.domain.charger import LimitState
from optimizer.errors import InvalidInput
from optimizer.ports import LimitReply


class SettingName(Enum):
    """Settings of a station that the service itself reads or writes."""

    RATE_UNITS = "units of charging profiles"
    MAX_PERIODS = "greatest number of periods"
    MEASURANDS = "measurands sent during a transaction"
    METER_INTERVAL = "seconds between them"
    ALIGNED_INTERVAL = "seconds between values sent by the clock"
    PASSWORD = "password of the connection"
    STACK_LEVEL = "highest stack level"
    PHASE_SWITCHING = "whether it changes between one and three phases"
    OPERATION_MODES = "ways in which vehicles may be steered"


@dataclass(frozen=True, slots=True)
class Message:
    """A call ready to be sent."""

    action: str
    """OCPP action."""
    payload: Json
    """Its arguments, valid by the schema."""


def message_of(call: Any, version: Version) -> Message:
    """The message for a ``call`` dataclass of the `ocpp` package.

    Raises:
        InvalidInput: The schema does not permit it; the text names field and value.
    """
    action = type(call).__name__
    return checked(Message(action, snake_to_camel_case(remove_nones(asdict(call)))), version)


def checked(message: Message, version: Version) -> Message:
    """``message`` itself, once its schema permits it.

    Raises:
        InvalidInput: It does not.
    """
    # With Decimals throughout, 16.1 is a multiple of 0.1, which 1.6 demands of limits.
    validator: Draft4Validator = get_validator(MessageType.Call, message.action, version.number, parse_float=Decimal)
    try:
        validator.validate(json.loads(json.dumps(message.payload), parse_float=Decimal))
    except ValidationError as error:
        field = ".".join([message.action, *(str(step) for step in error.absolute_path)])
        raise InvalidInput(field, error.instance, f"OCPP {version.number}: {error.message[:200]}") from error
    return message


def limit_reply(outcome: CallOutcome) -> LimitReply:
    """What a station's answer to a limit means."""
    match outcome:
        case Answered(payload):
            state = LimitState.ACCEPTED if payload.get("status") == "Accepted" else LimitState.REJECTED
            return LimitReply(state, "" if state is LimitState.ACCEPTED else status_text(payload))
        case Refused(code, description):
            return LimitReply(LimitState.REJECTED, f"{clean_text(code)}: {clean_text(description)}")
        case Unanswered(why):
            return LimitReply(LimitState.UNANSWERED, why)


def status_text(payload: Json) -> str:
    """Status of an answer with its reason, for people."""
    reason = part(payload, "statusInfo")
    texts = (payload.get("status"), reason.get("reasonCode"), reason.get("additionalInfo"))
    return " ".join(text for text in map(clean_text, texts) if text) or "no status"
