"""What a central system answers alike in every version of OCPP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from connectors.ocpp.capability import StationIdentity
from connectors.ocpp.frames import CallRefused, ErrorCode, Json
from connectors.ocpp.intake import StationIntake
from connectors.ocpp.security_desk import STATION_CERTIFICATE
from connectors.ocpp.settings import Version
from connectors.ocpp.translate import clean_text, instant_text, whole_number

Handler = Callable[[Json], Awaitable[Json]]
"""Takes the payload of a call and gives the payload of its answer."""


class SharedAnswers:
    """Serves the calls of one station; a version adds its handlers.

    Args:
        intake: Takes what the station tells.
        heartbeat_interval_s: Interval to tell it [s].
        version: Version agreed.
        known: Every action of that version; one without a handler is refused as not supported.
    """

    def __init__(
        self, intake: StationIntake, heartbeat_interval_s: int, version: Version, known: frozenset[str]
    ) -> None:
        self.version = version
        self._intake = intake
        self._heartbeat_interval_s = heartbeat_interval_s
        self._known = known
        self._handlers: dict[str, Handler] = {
            "Heartbeat": self._heartbeat,
            "DataTransfer": self._vendor_message,
            "SignCertificate": self._sign_certificate,
            "SecurityEventNotification": self._security_event,
        }

    async def answer(self, action: str, payload: Json) -> Json:
        """Serve a call of the station.

        Raises:
            CallRefused: There is no handler, or it cannot use the payload.
        """
        handler = self._handlers.get(action)
        if handler is not None:
            return await handler(payload)
        if action in self._known:
            raise CallRefused(ErrorCode.NOT_SUPPORTED, "this action is not served here")
        raise CallRefused(ErrorCode.NOT_IMPLEMENTED, "this action is not known")

    async def _boot(self, vendor: object, model: object, firmware: object) -> Json:
        identity = StationIdentity(clean_text(vendor), clean_text(model), clean_text(firmware))
        await self._intake.announce(self.version.number, identity)
        return {
            "status": "Accepted",
            "currentTime": instant_text(self._intake.now),
            "interval": self._heartbeat_interval_s,
        }

    async def _heartbeat(self, _payload: Json) -> Json:
        return {"currentTime": instant_text(self._intake.now)}

    async def _vendor_message(self, _payload: Json) -> Json:
        # Some stations stop working until their maker's own message is accepted.
        self._intake.record.health.vendor_messages += 1
        return {"status": "Accepted"}

    async def _sign_certificate(self, payload: Json) -> Json:
        request, kind = payload.get("csr"), clean_text(payload.get("certificateType")) or STATION_CERTIFICATE
        number = whole_number(payload.get("requestId"))
        taken = await self._intake.certificate_wanted(request if isinstance(request, str) else "", kind, number)
        return {"status": "Accepted" if taken else "Rejected"}

    async def _security_event(self, payload: Json) -> Json:
        await self._intake.security_event(
            clean_text(payload.get("type"), 50) or "unnamed", clean_text(payload.get("techInfo"), 255)
        )
        return {}

    def _answered_with(self, answer: Json, kind: str, *fields: str) -> Handler:
        """A handler that keeps a notice of the named fields and gives always the same answer."""

        async def keep(payload: Json) -> Json:
            self._intake.notice(kind, " ".join(clean_text(payload.get(name)) for name in fields).strip())
            return answer

        return keep


def token_answer(accepted: bool) -> Json:
    """Whether a token may charge, as idTagInfo or idTokenInfo."""
    return {"status": "Accepted" if accepted else "Invalid"}
