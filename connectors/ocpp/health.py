"""What is counted of one station, for its operators and for alerts."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from optimizer.domain.operation import StationNotice

KEPT_NOTICES = 50
"""Newest notices kept of each station."""


@dataclass(eq=False, slots=True)
class StationHealth:
    """Counters of one station since the service started; they outlive its connections."""

    connected_at: datetime | None = None
    """When the present connection began [UTC]; ``None`` while offline."""
    disconnected_at: datetime | None = None
    """When the last connection ended [UTC]; ``None`` while online."""
    online_before: timedelta = timedelta(0)
    """Time connected, the present connection left out."""
    ocpp_version: str = ""
    """Version of the last connection."""
    last_frame_at: datetime | None = None
    """When the last frame came [UTC]."""
    connections: int = 0
    """Connections so far."""
    refused_logins: int = 0
    """Times that the station was not let in."""
    last_refusal: str = ""
    """Why it was not let in last."""
    frames: int = 0
    """Frames received."""
    unanswered_calls: int = 0
    """Calls of ours that the station never answered."""
    silent_in_a_row: int = 0
    """Unanswered calls since the last answer."""
    late_answers: int = 0
    """Answers that came after their call was given up."""
    failed_answers: int = 0
    """Messages of the station that we failed on, and answered with InternalError."""
    vendor_messages: int = 0
    """Messages in a maker's own language, accepted and ignored."""
    violations: Counter[str] = field(default_factory=Counter)
    """Breaches of the protocol by kind."""
    error_codes: dict[int, str] = field(default_factory=dict)
    """Last error code of each EVSE; absent where there is none."""
    notices: deque[StationNotice] = field(default_factory=lambda: deque(maxlen=KEPT_NOTICES))
    """Newest notices, oldest first."""

    def connected(self, at: datetime, ocpp_version: str) -> None:
        """A connection begins; one that it takes the place of ends."""
        self.disconnected(at)
        self.connected_at, self.disconnected_at = at, None
        self.connections += 1
        self.ocpp_version = ocpp_version

    def disconnected(self, at: datetime) -> None:
        """The present connection ends."""
        if self.connected_at is not None:
            self.online_before += max(timedelta(0), at - self.connected_at)
            self.connected_at, self.disconnected_at = None, at

    def refused(self, at: datetime, why: str) -> None:
        """The station was not let in."""
        self.refused_logins += 1
        self.last_refusal = why
        self.notice("not let in", at, why)

    def online_for(self, now: datetime) -> timedelta:
        """Time connected so far."""
        present = now - self.connected_at if self.connected_at is not None else timedelta(0)
        return self.online_before + max(timedelta(0), present)

    def violation(self, kind: str) -> bool:
        """Count one breach; whether it is worth a line in the log (the 1st, 10th, 100th, ...)."""
        self.violations[kind] += 1
        return _is_power_of_ten(self.violations[kind])

    def notice(self, kind: str, at: datetime, text: str) -> None:
        """Keep a notice."""
        self.notices.append(StationNotice(kind, at, text))


def _is_power_of_ten(number: int) -> bool:
    return int(number) == int("1" + "0" * (len(str(number)) - 1))
