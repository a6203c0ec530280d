"""What a station has to send: in order, transactions kept until they are acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Payload = Mapping[str, object]


@dataclass(slots=True, eq=False)
class OutgoingCall:
    """One call to the central system."""

    message_id: str
    """The same at every attempt."""
    action: str
    """OCPP action."""
    write: Callable[[], Payload]
    """Writes the payload at the first attempt, when all that came before is acknowledged."""
    is_durable: bool
    """Whether it is kept and sent again until it is acknowledged."""
    answered: Callable[[Payload], None]
    """Takes the result."""
    failed: Callable[[str], None]
    """Is told why there is no result and will be none."""
    topic: str = ""
    """Of calls that are not durable and not sent yet only the newest of a topic is kept; empty: all are."""
    attempts: int = 0
    """Times it was sent."""
    refusals: int = 0
    """Times it was answered with an error."""
    _written: Payload | None = field(default=None)

    @property
    def payload(self) -> Payload:
        """What to send, the same at every attempt."""
        if self._written is None:
            self._written = self.write()
        return self._written


class Outbox:
    """Calls in the order in which they must leave.

    Args:
        refusals_until_dropped: A durable call answered with an error this often is given up and kept in ``dropped``.
    """

    def __init__(self, refusals_until_dropped: int = 5) -> None:
        self._calls: deque[OutgoingCall] = deque()
        self._refusals_until_dropped = refusals_until_dropped
        self.dropped: list[OutgoingCall] = []
        self.acknowledged = 0

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def head(self) -> OutgoingCall | None:
        """The call that is sent next, or is being sent."""
        return self._calls[0] if self._calls else None

    @property
    def durable_calls(self) -> int:
        """Durable calls not yet acknowledged."""
        return sum(call.is_durable for call in self._calls)

    def add(self, call: OutgoingCall, *, first: bool = False) -> None:
        """Queue ``call``: last, or before everything else."""
        if call.topic:
            self._calls = deque(one for one in self._calls if one.topic != call.topic or one.attempts or one.is_durable)
        if first:
            self._calls.appendleft(call)
        else:
            self._calls.append(call)

    def acknowledge(self, message_id: str, result: Payload) -> bool:
        """A call was answered, in time or late; returns False for an answer to nothing that waits."""
        call = self._sent(message_id)
        if call is None:
            return False
        self._calls.remove(call)
        self.acknowledged += 1
        call.answered(result)
        return True

    def refuse(self, message_id: str, error: str) -> None:
        """A call was answered with an error: a durable one stays until that happened too often."""
        call = self._sent(message_id)
        if call is None:
            return
        call.refusals += 1
        if call.is_durable and call.refusals < self._refusals_until_dropped:
            return
        self._calls.remove(call)
        if call.is_durable:
            self.dropped.append(call)
        call.failed(error)

    def expire(self, message_id: str) -> None:
        """A call was not answered in time: a durable one stays, any other is given up."""
        call = self._sent(message_id)
        if call is not None and not call.is_durable:
            self._calls.remove(call)
            call.failed("no answer")

    def _sent(self, message_id: str) -> OutgoingCall | None:
        return next((call for call in self._calls if call.attempts and call.message_id == message_id), None)

    def drop_volatile(self, error: str) -> None:
        """The connection is gone: only durable calls are kept."""
        volatile = [call for call in self._calls if not call.is_durable]
        self._calls = deque(call for call in self._calls if call.is_durable)
        for call in volatile:
            call.failed(error)
