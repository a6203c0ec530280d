"""What an operator should look at, each with its reason. Pure: reports go in, alerts come out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from optimizer.control.track import TrackedEvse, Tracking
from optimizer.domain.charger import Connector, ConnectorStatus, LimitState
from optimizer.domain.ids import EvseId
from optimizer.domain.operation import StationReport
from optimizer.domain.site import Station

OFFLINE_AFTER = timedelta(minutes=5)
"""A connection that is gone for less is a hiccup of the network."""

SILENT_CALLS = 3
"""Unanswered calls in a row after which a station counts as mute."""

CONNECTIONS_PER_HOUR = 6.0
"""Connections an hour above which a link is unsteady; a healthy one lasts for days."""

SETTLED_AFTER = timedelta(minutes=10)
"""Counters younger than this say nothing about a rate."""

VIOLATIONS = 10
"""Breaches of the protocol of one kind that are worth a look; a few come with every reconnect."""


class Severity(StrEnum):
    """How urgent an alert is."""

    CRITICAL = "critical"
    """Cars are not served, or limits are not kept."""
    WARNING = "warning"
    """It works for now."""


class AlertKind(StrEnum):
    """Kinds of trouble that a station can be in."""

    OFFLINE = "offline"
    NOT_LET_IN = "not_let_in"
    FAULTED = "faulted"
    ERROR_CODE = "error_code"
    MUTE = "mute"
    UNSTEADY_LINK = "unsteady_link"
    TAKES_NO_LIMITS = "takes_no_limits"
    LIMIT_NOT_TAKEN = "limit_not_taken"
    ABOVE_LIMIT = "above_limit"
    NOT_WAKING = "not_waking"
    NOT_METERED = "not_metered"
    PROTOCOL = "protocol"
    CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class StationAlert:
    """Something that an operator should look at."""

    kind: AlertKind
    """What is wrong."""
    severity: Severity
    """How urgent it is."""
    station_id: str
    """Which station."""
    evse_id: EvseId | None
    """Which EVSE; ``None``: the station as a whole."""
    reason: str
    """What was seen, and what it means."""
    since: datetime | None = None
    """Since when [UTC]; ``None``: not known."""


def station_alerts(
    station: Station,
    report: StationReport,
    connectors: Mapping[EvseId, Connector],
    tracking: Mapping[EvseId, TrackedEvse],
    now: datetime,
    patience: timedelta = OFFLINE_AFTER,
) -> tuple[StationAlert, ...]:
    """Everything about one station that an operator should look at, the urgent first.

    Args:
        station: What stands there.
        report: How it fares.
        connectors: Its EVSEs as last known.
        tracking: How they follow their limits.
        now: Now [UTC].
        patience: How long a station may be away before that is an alert.
    """
    alerts = [*_of_the_link(station, report, now, patience), *_of_the_protocol(station, report)]
    for evse in station.evses:
        connector, followed = connectors.get(evse.id), tracking.get(evse.id)
        if connector is not None:
            alerts += _of_the_state(station, connector, report.error_codes.get(evse.ocpp_evse_id, ""))
        if connector is not None and followed is not None:
            alerts += _of_the_limit(station, connector, followed)
    return tuple(sorted(alerts, key=lambda alert: list(Severity).index(alert.severity)))


def _of_the_link(station: Station, report: StationReport, now: datetime, patience: timedelta) -> Iterator[StationAlert]:
    critical, warning = Severity.CRITICAL, Severity.WARNING
    if report.online_since is None and now - (report.offline_since or report.since) >= patience:
        seen = "has never connected" if report.last_seen_at is None else "is not connected"
        reason = f"the station {seen}; it charges by its safe default"
        if report.refused_logins:
            reason += f"; it tried and was not let in: {report.last_refusal}"
        yield StationAlert(AlertKind.OFFLINE, critical, station.id, None, reason, report.offline_since or report.since)
    elif report.online_since is None and report.refused_logins:
        reason = f"not let in {report.refused_logins} times, last {report.last_refusal}"
        yield StationAlert(AlertKind.NOT_LET_IN, critical, station.id, None, reason)
    if report.silent_in_a_row >= SILENT_CALLS:
        reason = f"the last {report.silent_in_a_row} calls were not answered; limits do not reach it"
        yield StationAlert(AlertKind.MUTE, critical, station.id, None, reason)
    watched = now - report.since
    per_hour = report.connections / (watched / timedelta(hours=1)) if watched >= SETTLED_AFTER else 0.0
    if report.connections > 1 and per_hour > CONNECTIONS_PER_HOUR:
        reason = f"{report.connections} connections, {per_hour:.0f} an hour; look at its network, or for a namesake"
        yield StationAlert(AlertKind.UNSTEADY_LINK, warning, station.id, None, reason)


def _of_the_protocol(station: Station, report: StationReport) -> Iterator[StationAlert]:
    if 0 in report.error_codes:
        reason = f"the station reports {report.error_codes[0]}"
        yield StationAlert(AlertKind.ERROR_CODE, Severity.WARNING, station.id, None, reason)
    if report.takes_no_limits:
        reason = "it rejected limits in every form; its EVSEs count at their full power and the others get less"
        yield StationAlert(AlertKind.TAKES_NO_LIMITS, Severity.CRITICAL, station.id, None, reason)
    for kind, times in report.violations.items():
        if times >= VIOLATIONS:
            reason = f"{kind}, {times} times"
            yield StationAlert(AlertKind.PROTOCOL, Severity.WARNING, station.id, None, reason)
    if report.clock_skew_s:
        direction = "ahead of" if report.clock_skew_s > 0 else "behind"
        reason = f"its clock is {abs(report.clock_skew_s):.0f} s {direction} ours; times are corrected"
        yield StationAlert(AlertKind.CLOCK, Severity.WARNING, station.id, None, reason)


def _of_the_state(station: Station, connector: Connector, error_code: str) -> Iterator[StationAlert]:
    if connector.status is ConnectorStatus.FAULTED:
        reason = f"the EVSE reports a fault: {error_code}" if error_code else "the EVSE reports a fault, without a code"
        yield StationAlert(AlertKind.FAULTED, Severity.CRITICAL, station.id, connector.evse_id, reason)
    elif error_code:
        reason = f"the EVSE reports {error_code}"
        yield StationAlert(AlertKind.ERROR_CODE, Severity.WARNING, station.id, connector.evse_id, reason)


def _of_the_limit(station: Station, connector: Connector, followed: TrackedEvse) -> Iterator[StationAlert]:
    setpoint = connector.setpoint
    drawn = "nothing fresh" if followed.drawn_kw is None else f"{followed.drawn_kw:.1f} kW"
    told = f"told {followed.limit_kw:.1f} kW, metered {drawn}, counted at {followed.counted_kw:.1f} kW"
    found = {
        Tracking.IGNORING: (AlertKind.ABOVE_LIMIT, Severity.CRITICAL, f"it ignores its limit: {told}"),
        Tracking.ABOVE_LIMIT: (AlertKind.ABOVE_LIMIT, Severity.WARNING, f"it is above its limit: {told}"),
        Tracking.NOT_WAKING: (
            AlertKind.NOT_WAKING,
            Severity.WARNING,
            f"the vehicle does not wake after a pause: {told}; unplugging and plugging in again helps",
        ),
        Tracking.NOT_SWITCHING: (
            AlertKind.LIMIT_NOT_TAKEN,
            Severity.WARNING,
            f"it was told to charge on one phase and is not seen to, so it stays on all of them: {told}",
        ),
        Tracking.STALE: (AlertKind.NOT_METERED, Severity.WARNING, f"its meter has been silent for too long: {told}"),
    }.get(followed.tracking)
    if followed.tracking is Tracking.NOT_TAKEN and setpoint is not None:
        answer = "did not answer" if setpoint.state is LimitState.UNANSWERED else "rejected it"
        found = (AlertKind.LIMIT_NOT_TAKEN, Severity.CRITICAL, f"a limit was sent and the station {answer}: {told}")
    if found is not None:
        kind, severity, reason = found
        since = setpoint.sent_at if setpoint is not None else None
        yield StationAlert(kind, severity, station.id, connector.evse_id, reason, since)
