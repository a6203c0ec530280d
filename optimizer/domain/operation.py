"""What operators ask of stations, what stations answer, and what is known of how a station fares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from optimizer.domain.ids import StationId


class Trigger(StrEnum):
    """Messages that a station can be asked for."""

    BOOT = "boot"
    STATUS = "status"
    METER_VALUES = "meter_values"
    HEARTBEAT = "heartbeat"
    LOG_STATUS = "log_status"
    FIRMWARE_STATUS = "firmware_status"


class RootKind(StrEnum):
    """Authorities that a station trusts."""

    CENTRAL_SYSTEM = "central_system"
    """Signs the certificate of the central system's endpoint."""
    MANUFACTURER = "manufacturer"
    """Signs the station's firmware."""


@dataclass(frozen=True, slots=True)
class CertificateName:
    """How OCPP names a certificate without showing it."""

    hash_algorithm: str
    """SHA256, SHA384 or SHA512."""
    issuer_name_hash: str
    """Hash of the issuer's name."""
    issuer_key_hash: str
    """Hash of the issuer's key."""
    serial_number: str
    """Serial number in hexadecimal."""


@dataclass(frozen=True, slots=True)
class StationReply:
    """A station's answer to an operator."""

    accepted: bool
    """Whether it agreed."""
    status: str
    """Its word, with its reason where it gave one."""
    payload: dict[str, Any]
    """The whole answer, as OCPP has it."""


@dataclass(frozen=True, slots=True)
class StationNotice:
    """Something that a station told and that changes no session: firmware, diagnostics, security, errors."""

    kind: str
    """OCPP action, or the error code's origin."""
    at: datetime
    """When [UTC]."""
    text: str
    """What it said."""


@dataclass(frozen=True, slots=True)
class StationReport:
    """How one station fares; counters run since the service started."""

    station_id: StationId
    """Which station."""
    since: datetime
    """When counting began [UTC]."""
    online_since: datetime | None
    """When the present connection began [UTC]; ``None``: it is offline."""
    offline_since: datetime | None
    """When the last connection ended [UTC]; ``None``: it is online, or has never been."""
    last_seen_at: datetime | None
    """When its last message came [UTC]; ``None``: none has."""
    uptime_share: float
    """Share of the time since ``since`` in which it was connected."""
    ocpp_version: str
    """Version of the last connection; empty: it has not connected."""
    vendor: str
    """Maker, as it said."""
    model: str
    """Model, as it said."""
    firmware: str
    """Firmware, as it said."""
    clock_skew_s: float
    """Its clock less ours, as far as it is corrected [s]."""
    connections: int
    """Connections so far."""
    refused_logins: int
    """Times it was not let in: wrong password or certificate, or no encryption."""
    last_refusal: str
    """Why it was not let in last; empty: it always was."""
    frames: int
    """Messages received."""
    unanswered_calls: int
    """Calls of ours that it never answered."""
    silent_in_a_row: int
    """Unanswered calls since its last answer."""
    late_answers: int
    """Answers that came after their call was given up."""
    failed_answers: int
    """Its messages that we failed on."""
    takes_no_limits: bool
    """Whether it rejected limits in every form."""
    violations: Mapping[str, int]
    """Breaches of the protocol by kind."""
    error_codes: Mapping[int, str]
    """Error code of each EVSE number that tells one; 0: the station."""
    notices: tuple[StationNotice, ...]
    """Newest notices, oldest first."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody who tried to connect under a name that the site does not know."""

    station_id: str
    """The name."""
    remote: str
    """From which address."""
    at: datetime
    """When last [UTC]."""
    times: int
    """How often."""
