"""What all versions of OCPP say and hear alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from scenarios.outbox import Payload
from scenarios.station_core import StationCore
from scenarios.station_dialect import BootAnswer, CallRefused, Message, StationTime
from scenarios.station_orders import StationOrders
from scenarios.station_security import SIGNING_WORDS, StationSecurity

Handler = Callable[[Mapping[str, Any], datetime], Payload]


class AnyVersion:
    """The base of every dialect: it knows its station and finds who answers a call."""

    def __init__(self, core: StationCore, *, names_kind: bool = True) -> None:
        self._core = core
        self.security = StationSecurity(core, names_kind=names_kind)
        self._orders = StationOrders(core)
        self._settings = core.settings
        self._time = StationTime(core.settings)
        self._handlers: dict[str, Handler] = {
            "CancelReservation": self._cancel_reservation,
            "ClearCache": lambda _payload, _now: {"status": "Accepted"},
            "DataTransfer": lambda _payload, _now: {"status": "UnknownVendorId"},
            **self.security.handlers,
        }

    def heartbeat(self) -> Message:
        """Heartbeat."""
        return "Heartbeat", dict

    def read_boot(self, payload: Payload) -> BootAnswer:
        """Answer to BootNotification."""
        return BootAnswer(payload.get("status") == "Accepted", int(str(payload.get("interval", 0))))

    def answer(self, action: str, payload: Payload, now: datetime) -> Payload:
        """Answer a call."""
        handler = self._handlers.get(action)
        if handler is None:
            raise CallRefused("NotImplemented", f"{action} is not implemented")
        return handler(payload, now)

    def _told_to(self, message: str, evse_number: int | None, now: datetime) -> Payload:
        """Answer to a request for a message."""
        if message in SIGNING_WORDS:
            self.security.ask_for_certificate()
            return {"status": "Accepted"}
        return {"status": "Accepted" if self._orders.trigger(message, evse_number, now) else "NotImplemented"}

    def _cancel_reservation(self, payload: Mapping[str, Any], _now: datetime) -> Payload:
        return {"status": "Accepted" if self._orders.cancel_reservation(payload["reservationId"]) else "Rejected"}
