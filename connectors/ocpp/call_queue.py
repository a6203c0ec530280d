"""Calls to one station: what waits, in which order, and how each ends."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from connectors.ocpp.frames import Json

CallKey = tuple[int, str]
"""EVSE number and purpose of a limit; of two calls with one key only the newer is worth sending."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The station answered with a result."""

    payload: Json
    """The result."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The station answered with an error."""

    code: str
    """Error code."""
    description: str
    """Its text."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer came, or the call was never sent."""

    why: str
    """For people."""


CallOutcome = Answered | Refused | Unanswered


@dataclass(eq=False, slots=True)
class PendingCall:
    """One call on its way."""

    action: str
    payload: Mapping[str, Any]
    key: CallKey | None = None
    """Set for limits, which go before everything else and replace one another."""
    outcome: asyncio.Future[CallOutcome] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def settle(self, outcome: CallOutcome) -> None:
        """Tell the caller how it ended; the first time counts."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class CallQueue:
    """Waiting calls of one station: limits first, in the order of asking; a newer limit takes the place of an older.

    Args:
        limit: Greatest number of calls that wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit: Final = limit
        self._limits: OrderedDict[CallKey, PendingCall] = OrderedDict()
        self._others: OrderedDict[int, PendingCall] = OrderedDict()
        self._tickets = count()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._limits) + len(self._others)

    def put(self, call: PendingCall) -> None:
        """Let ``call`` wait; what cannot wait is settled at once."""
        if call.key is not None:
            older = self._limits.get(call.key)
            if older is not None:
                older.settle(Unanswered("a newer limit took its place before it was sent"))
            # Limits are not counted against the bound: there is at most one per EVSE and purpose.
            self._limits[call.key] = call
        elif len(self._others) >= self._limit:
            call.settle(Unanswered(f"{self._limit} calls wait for this station already"))
            return
        else:
            self._others[next(self._tickets)] = call
        self._filled.set()

    def holds_newer(self, call: PendingCall) -> bool:
        """Whether a limit waits that makes ``call`` pointless."""
        return call.key is not None and call.key in self._limits

    async def next(self) -> PendingCall:
        """Wait for the next call that somebody still wants."""
        while True:
            while self._limits or self._others:
                waiting = self._limits or self._others
                _, call = waiting.popitem(last=False)
                if not call.outcome.done():
                    return call
            self._filled.clear()
            await self._filled.wait()

    def settle_all(self, why: str) -> None:
        """End every waiting call."""
        for call in (*self._limits.values(), *self._others.values()):
            call.settle(Unanswered(why))
        self._limits.clear()
        self._others.clear()
