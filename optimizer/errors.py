"""Every error that chargehorizon raises on purpose.

ChargeHorizonError
├── InvalidInput            a value from outside: names field, value and fix
│   ├── InvalidConfiguration   ... in the configuration of the service
│   ├── InvalidDataFile        ... in a file: tariff, prices, sessions, weather
│   └── InvalidRequest         ... in a call of the HTTP API
├── NotFound                something named does not exist
├── Conflict                a request contradicts what is already agreed
├── SourceUnavailable       a price, forecast or meter source gave no answer
│   └── DeliveryFailed         the billing system did not take a record
│       ├── ReceiverUnreachable   ... nobody answers there
│       └── ReceiverGone          ... and asked never to be sent one again
├── ChargerUnreachable      a station is offline or did not answer in time
├── ChargerRefused          a station answered, and the answer is no
├── BatteryUnreachable      the controller of the stationary battery took no power
├── StorageFailed           the database did not take, or not give, what was asked of it
└── PlanningFailed          neither the solver nor a heuristic gave a plan
"""

from __future__ import annotations

from decimal import Decimal


class ChargeHorizonError(Exception):
    """The root: catch this to catch everything that is raised on purpose."""


class InvalidInput(ChargeHorizonError):
    """A value from outside cannot be used.

    Args:
        field: Dotted name of the field, as its author wrote it.
        value: The value received.
        fix: What would be accepted, as a sentence without a full stop.
        where: File, request or object that the field stands in.
    """

    def __init__(self, field: str, value: object, fix: str, *, where: str = "") -> None:
        self.field = field
        self.value = value
        self.fix = fix
        self.where = where
        place = f"{where}: " if where else ""
        super().__init__(f"{place}{field} = {_shortened(value)}: {fix}")


class InvalidConfiguration(InvalidInput):
    """A setting of the service cannot be used."""


class InvalidDataFile(InvalidInput):
    """A line or field of a data file cannot be used."""


class InvalidRequest(InvalidInput):
    """A field of an HTTP request cannot be used."""


class NotFound(ChargeHorizonError):
    """Something that was named does not exist."""

    def __init__(self, kind: str, identifier: object) -> None:
        self.kind = kind
        self.identifier = identifier
        super().__init__(f"no {kind} {identifier!r}")


class Conflict(ChargeHorizonError):
    """A request contradicts what is already agreed."""


class SourceUnavailable(ChargeHorizonError):
    """A price, forecast or meter source gave no usable answer."""


class DeliveryFailed(SourceUnavailable):
    """The billing system did not take a record.

    Args:
        message: What it answered.
        retry_after_s: How long it asked to be left alone [s]; ``None``: it did not.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class ReceiverUnreachable(DeliveryFailed):
    """Nobody answers there in time: other records need not be tried now."""


class ReceiverGone(DeliveryFailed):
    """The billing system asked never to be sent a record again."""


class ChargerUnreachable(ChargeHorizonError):
    """A station is offline or did not answer in time."""


class ChargerRefused(ChargeHorizonError):
    """A station answered, and the answer is no."""


class BatteryUnreachable(ChargeHorizonError):
    """The controller of the stationary battery is not there, did not answer in time, or refused."""


class StorageFailed(ChargeHorizonError):
    """The database did not take, or not give, what was asked of it; what the call wrote may be lost."""


class PlanningFailed(ChargeHorizonError):
    """Neither the solver nor a heuristic gave a plan."""


def _shortened(value: object, longest: int = 120) -> str:
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"
