"""A station's present connection, as those see it who have something to ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from connectors.ocpp.call_queue import CallKey, CallOutcome
from connectors.ocpp.dialect import Calls
from connectors.ocpp.outbound import Message
from connectors.ocpp.transport import StationConnection
from optimizer.domain.ids import StationId


@dataclass(eq=False, slots=True)
class StationLink:
    """The connection of a station that counts now."""

    connection: StationConnection
    """Its websocket."""
    calls: Calls
    """Builds messages in the version agreed."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when nothing of the connection runs any more."""

    async def ask(self, message: Message, key: CallKey | None = None) -> CallOutcome:
        """Send a call when its turn comes, and wait for how it ends."""
        return await self.connection.request(message.action, message.payload, key)


LinkOf = Callable[[StationId], StationLink | None]
"""Finds the connection of a station; ``None`` while it is offline."""
