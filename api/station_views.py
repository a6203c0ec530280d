"""What the HTTP API takes and gives of stations: orders, answers, how they fare, alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field

from api.schemas import Cursor, Instant, Name, RequestModel, Token
from api.site_views import ConnectorView
from api.station_alerts import AlertKind, Severity, StationAlert
from api.views import AnswerModel
from optimizer.domain.operation import RootKind, StationNotice, StationReply, StationReport, Stranger, Trigger
from optimizer.domain.site import Station

SettingKey = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,120}$")]
Address = Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*://[^\s]{1,500}$")]
LONGEST_LOCAL_LIST = 5_000


class StationFilter(RequestModel):
    """Which stations to list."""

    cursor: Cursor | None = None
    """``next_cursor`` of the page before."""
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    """Greatest number of stations in the answer."""


class EvseRequest(RequestModel):
    """What concerns one EVSE of a station."""

    evse_id: Name | None = None
    """Which EVSE; left out where the station has one only."""


class StartRequest(EvseRequest):
    """A transaction to start."""

    token_id: Token
    """Token to charge with; OCPP 1.6 takes 20 characters at most."""


class StopRequest(EvseRequest):
    """A transaction to stop."""

    transaction_id: Name | None = None
    """Which transaction; left out: the one that runs at the EVSE."""


class ResetRequest(RequestModel):
    """A restart."""

    hard: bool = False
    """At once, even where cars charge; else when nothing charges."""


class AvailabilityRequest(RequestModel):
    """In or out of service."""

    evse_id: Name | None = None
    """Which EVSE; left out: the whole station."""
    operative: bool
    """Whether it may be used."""


class TriggerRequest(RequestModel):
    """A message to ask for."""

    message: Trigger
    """Which message."""
    evse_id: Name | None = None
    """Of which EVSE; left out: the station."""


class UploadRequest(RequestModel):
    """Where to put a log."""

    url: Address
    """Where the station uploads it, for example ftp://HOST/FOLDER or https://HOST/PATH."""


class FirmwareRequest(RequestModel):
    """Firmware to install."""

    url: Address
    """Where the station fetches it."""
    fetch_at: Instant | None = None
    """When it fetches it; left out: now."""


class LocalListRequest(RequestModel):
    """Tokens that may charge while the station is offline."""

    token_ids: Annotated[tuple[Token, ...], Field(max_length=LONGEST_LOCAL_LIST)]
    """All of them; none empties the list."""
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Number of this list; left out: the time, which only rises."""


class SettingRequest(RequestModel):
    """A setting to change."""

    name: SettingKey
    """The station's own name: a key of OCPP 1.6, Component.Variable of 2.x."""
    value: Annotated[str, Field(max_length=1000)]
    """Its new value."""


class CertificateRequest(RequestModel):
    """An authority that a station is to trust."""

    kind: RootKind = RootKind.CENTRAL_SYSTEM
    """Whose certificates it signs: the endpoint's, or the maker's of the firmware."""
    certificate_pem: Annotated[str, Field(min_length=1, max_length=5500)]
    """Its certificate in PEM; OCPP takes 5500 characters at most."""


class CertificateFilter(RequestModel):
    """Which authorities to list."""

    kind: RootKind = RootKind.CENTRAL_SYSTEM
    """Whose certificates they sign."""


class CertificateNameRequest(RequestModel):
    """An authority that a station is to trust no more, as the list of installed ones names it."""

    hash_algorithm: Annotated[str, Field(pattern=r"^SHA(256|384|512)$")]
    """SHA256, SHA384 or SHA512."""
    issuer_name_hash: Annotated[str, Field(min_length=1, max_length=128)]
    """Hash of the issuer's name."""
    issuer_key_hash: Annotated[str, Field(min_length=1, max_length=128)]
    """Hash of the issuer's key."""
    serial_number: Annotated[str, Field(min_length=1, max_length=40)]
    """Serial number in hexadecimal."""


class SettingFilter(RequestModel):
    """Which settings to read."""

    names: Annotated[str, Field(max_length=2000)] = ""
    """The station's own names, with commas between."""


class ScheduleFilter(RequestModel):
    """Which limits to ask for."""

    evse_id: Name | None = None
    """Which EVSE; left out where the station has one only."""
    duration_s: Annotated[int, Field(ge=1, le=86400)] = 3600
    """How far ahead [s]."""


class StationAnswerView(AnswerModel):
    """What a station answered."""

    station_id: str
    """Which station."""
    accepted: bool
    """Whether it agreed."""
    status: str
    """Its word, with its reason where it gave one."""
    answer: dict[str, Any]
    """The whole answer, as OCPP has it."""

    @classmethod
    def of(cls, station_id: str, reply: StationReply) -> Self:
        """The view of an answer."""
        return cls(station_id=station_id, accepted=reply.accepted, status=reply.status, answer=reply.payload)


class SettingsView(AnswerModel):
    """Settings of a station."""

    station_id: str
    """Which station."""
    settings: dict[str, str]
    """Values by the station's own names; a password has none."""
    unknown: list[str]
    """Names that were asked for and that it does not have."""


class CertificateNameView(AnswerModel):
    """How OCPP names a certificate without showing it."""

    hash_algorithm: str
    """SHA256, SHA384 or SHA512."""
    issuer_name_hash: str
    """Hash of the issuer's name."""
    issuer_key_hash: str
    """Hash of the issuer's key."""
    serial_number: str
    """Serial number in hexadecimal."""


class CertificateListView(AnswerModel):
    """Authorities that a station trusts."""

    station_id: str
    """Which station."""
    certificates: list[CertificateNameView]
    """The authorities."""


class NoticeView(AnswerModel):
    """Something that a station told."""

    kind: str
    """OCPP action, or what it is about."""
    at: datetime
    """When."""
    text: str
    """What it said."""

    @classmethod
    def of(cls, notice: StationNotice) -> Self:
        """The view of a notice."""
        return cls(kind=notice.kind, at=notice.at, text=notice.text)


class AlertView(AnswerModel):
    """Something that an operator should look at."""

    kind: AlertKind
    """What is wrong."""
    severity: Severity
    """critical: cars are not served, or limits are not kept; warning: it works for now."""
    station_id: str
    """Which station."""
    evse_id: str | None
    """Which EVSE; null: the station as a whole."""
    reason: str
    """What was seen, and what it means."""
    since: datetime | None
    """Since when; null: not known."""

    @classmethod
    def of(cls, alert: StationAlert) -> Self:
        """The view of an alert."""
        return cls(
            kind=alert.kind,
            severity=alert.severity,
            station_id=alert.station_id,
            evse_id=alert.evse_id,
            reason=alert.reason,
            since=alert.since,
        )


class AlertListView(AnswerModel):
    """Alerts of all stations, the urgent first."""

    alerts: list[AlertView]
    """The alerts."""


class StationSummaryView(AnswerModel):
    """One station in a list."""

    id: str
    """Identity in the OCPP connection URL."""
    online: bool
    """Whether it is connected."""
    last_seen_at: datetime | None
    """When its last message came; null: none has since the service started."""
    uptime_share: float
    """Share of the time since the service started in which it was connected."""
    ocpp_version: str
    """1.6, 2.0.1 or 2.1; empty: it has not connected."""
    vendor: str
    """Maker, as it said."""
    model: str
    """Model, as it said."""
    firmware: str
    """Firmware, as it said."""
    error_codes: dict[str, str]
    """Error codes by EVSE; the station's own under an empty name."""
    violation_count: int
    """Breaches of the protocol."""
    alerts: list[AlertView]
    """What an operator should look at."""

    @classmethod
    def of(cls, station: Station, report: StationReport, alerts: Sequence[StationAlert]) -> Self:
        """The view of a station."""
        names = {evse.ocpp_evse_id: evse.id for evse in station.evses}
        return cls(
            id=station.id,
            online=report.online_since is not None,
            last_seen_at=report.last_seen_at,
            uptime_share=round(report.uptime_share, 4),
            ocpp_version=report.ocpp_version,
            vendor=report.vendor,
            model=report.model,
            firmware=report.firmware,
            error_codes={names.get(number, ""): code for number, code in report.error_codes.items()},
            violation_count=sum(report.violations.values()),
            alerts=[AlertView.of(alert) for alert in alerts],
        )


class StrangerView(AnswerModel):
    """Somebody who tried to connect under a name that the site does not know."""

    station_id: str
    """The name."""
    remote: str
    """From which address."""
    at: datetime
    """When last."""
    times: int
    """How often."""

    @classmethod
    def of(cls, stranger: Stranger) -> Self:
        """The view of a stranger."""
        return cls(station_id=stranger.station_id, remote=stranger.remote, at=stranger.at, times=stranger.times)


class StationListView(AnswerModel):
    """Stations in the order of the configuration."""

    stations: list[StationSummaryView]
    """The stations."""
    next_cursor: str | None
    """Where the next page begins; null: this is the last one."""
    strangers: list[StrangerView]
    """Who tried to connect under a name that the site does not know, newest first."""


class StationHealthView(StationSummaryView):
    """One station with all that is known of how it fares."""

    since: datetime
    """When counting began: the service's start."""
    online_since: datetime | None
    """When the present connection began; null: it is offline."""
    offline_since: datetime | None
    """When the last connection ended; null: it is online, or has never been."""
    clock_skew_s: float
    """Its clock less ours, as far as it is corrected [s]."""
    connections: int
    """Connections so far."""
    refused_logins: int
    """Times it was not let in."""
    last_refusal: str
    """Why it was not let in last."""
    messages: int
    """Messages received."""
    unanswered_calls: int
    """Calls of ours that it never answered."""
    late_answers: int
    """Answers that came too late."""
    failed_answers: int
    """Its messages that the service failed on."""
    violations: dict[str, int]
    """Breaches of the protocol by kind."""
    notices: list[NoticeView]
    """What it told of firmware, logs, security and errors; oldest first."""
    connectors: list[ConnectorView]
    """Its EVSEs."""

    @classmethod
    def whole(
        cls,
        station: Station,
        report: StationReport,
        alerts: Sequence[StationAlert],
        connectors: Sequence[ConnectorView],
    ) -> Self:
        """The view of a station with everything."""
        summary: Mapping[str, Any] = StationSummaryView.of(station, report, alerts).model_dump()
        return cls(
            **summary,
            since=report.since,
            online_since=report.online_since,
            offline_since=report.offline_since,
            clock_skew_s=report.clock_skew_s,
            connections=report.connections,
            refused_logins=report.refused_logins,
            last_refusal=report.last_refusal,
            messages=report.frames,
            unanswered_calls=report.unanswered_calls,
            late_answers=report.late_answers,
            failed_answers=report.failed_answers,
            violations=dict(report.violations),
            notices=[NoticeView.of(notice) for notice in report.notices],
            connectors=list(connectors),
        )
