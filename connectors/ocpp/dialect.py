"""What a version of OCPP must offer: answers to a station's calls, and the messages that carry limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from connectors.ocpp.frames import CallRefused, ErrorCode, Json
from connectors.ocpp.outbound import Message
from connectors.ocpp.settings import Version
from connectors.ocpp.translate_profile import ProfilePurpose, ProfileRequest

Handler = Callable[[Json], Awaitable[Json]]
"""Takes the payload of a call and gives the payload of its answer."""


class Dialect(Protocol):
    """One version of OCPP at one station."""

    @property
    def version(self) -> Version:
        """Which version."""
        ...

    async def answer(self, action: str, payload: Json) -> Json:
        """Serve a call of the station.

        Raises:
            CallRefused: The station gets an error answer.
        """
        ...

    def set_profile(self, profile: ProfileRequest) -> Message:
        """The call that installs a charging profile."""
        ...

    def clear_profile(self, profile_id: int) -> Message:
        """The call that removes one profile."""
        ...

    def clear_layer(self, ocpp_evse_id: int, purpose: ProfilePurpose) -> Message:
        """The call that removes every profile of one purpose at one EVSE."""
        ...


async def serve(action: str, payload: Json, handlers: dict[str, Handler], known: frozenset[str]) -> Json:
    """Serve a call by its handler; one without a handler is refused as the standard says.

    Raises:
        CallRefused: There is no handler, or it cannot use the payload.
    """
    handler = handlers.get(action)
    if handler is not None:
        return await handler(payload)
    if action in known:
        raise CallRefused(ErrorCode.NOT_SUPPORTED, "this action is not served here")
    raise CallRefused(ErrorCode.NOT_IMPLEMENTED, "this action is not known")
