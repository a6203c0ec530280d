"""Which alert is raised by what, and the reason that it gives."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from api.alert_watch import AlertWatch
from api.station_alerts import AlertKind, Severity, station_alerts
from optimizer.control.track import TrackedEvse, Tracking
from optimizer.domain.charger import Connector, ConnectorStatus, LimitPeriod, LimitState, Setpoint
from optimizer.domain.ids import CircuitId, EvseId, StationId
from optimizer.domain.operation import StationReport
from optimizer.domain.site import Evse, Station

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
S, E = StationId("S"), EvseId("E")
STATION = Station(S, (Evse(E, S, 1, CircuitId("c"), 32.0),))
HEALTHY = StationReport(
    station_id=S, since=NOW - timedelta(hours=2), online_since=NOW - timedelta(hours=2), offline_since=None,
    last_seen_at=NOW, uptime_share=1.0, ocpp_version="1.6", vendor="V", model="M", firmware="1", clock_skew_s=0.0,
    connections=1, refused_logins=0, last_refusal="", frames=100, unanswered_calls=0, silent_in_a_row=0, late_answers=0,
    failed_answers=0, takes_no_limits=False, violations=Counter(), error_codes={}, notices=(),
)  # fmt: skip
TOLD = Setpoint(E, (LimitPeriod(NOW, 4.0),), LimitState.VERIFIED, NOW)
CHARGING = Connector(E, S, online=True, status=ConnectorStatus.CHARGING, setpoint=TOLD)
FOLLOWING = TrackedEvse(E, Tracking.FOLLOWING, 4.0, 4.0, 3.9)
GONE = {"online_since": None, "offline_since": NOW - timedelta(minutes=6)}

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], Tracking, tuple[AlertKind, Severity, str] | None]] = {
    "all is well": ({}, {}, Tracking.FOLLOWING, None),
    "gone for six minutes": (GONE, {}, Tracking.OFFLINE, (AlertKind.OFFLINE, Severity.CRITICAL, "is not connected")),
    "gone for a moment": (GONE | {"offline_since": NOW}, {}, Tracking.OFFLINE, None),
    "never seen": ({"online_since": None, "last_seen_at": None}, {}, Tracking.OFFLINE,
                   (AlertKind.OFFLINE, Severity.CRITICAL, "has never connected")),
    "never let in": ({"online_since": None, "last_seen_at": None, "refused_logins": 3, "last_refusal": "401 wrong"}, {},
                     Tracking.OFFLINE, (AlertKind.OFFLINE, Severity.CRITICAL, "was not let in: 401 wrong")),
    "just not let in": ({"online_since": None, "since": NOW, "refused_logins": 2, "last_refusal": "401 wrong"}, {},
                        Tracking.OFFLINE, (AlertKind.NOT_LET_IN, Severity.CRITICAL, "2 times, last 401 wrong")),
    "answers nothing": ({"silent_in_a_row": 3}, {}, Tracking.FOLLOWING,
                        (AlertKind.MUTE, Severity.CRITICAL, "last 3 calls")),
    "comes and goes": ({"connections": 30}, {}, Tracking.FOLLOWING,
                       (AlertKind.UNSTEADY_LINK, Severity.WARNING, "30 connections, 15 an hour")),
    "came back once after our start": ({"connections": 3, "since": NOW - timedelta(minutes=1)}, {}, Tracking.FOLLOWING, None),
    "takes no limits": ({"takes_no_limits": True}, {}, Tracking.FOLLOWING,
                        (AlertKind.TAKES_NO_LIMITS, Severity.CRITICAL, "full power")),
    "breaks the protocol": ({"violations": Counter({"malformed frame": 12, "binary frame": 1})}, {}, Tracking.FOLLOWING,
                            (AlertKind.PROTOCOL, Severity.WARNING, "malformed frame, 12 times")),
    "a wrong clock": ({"clock_skew_s": -95.0}, {}, Tracking.FOLLOWING,
                      (AlertKind.CLOCK, Severity.WARNING, "95 s behind ours")),
    "an error of the station": ({"error_codes": {0: "PowerMeterFailure"}}, {}, Tracking.FOLLOWING,
                                (AlertKind.ERROR_CODE, Severity.WARNING, "PowerMeterFailure")),
    "an error of an EVSE": ({"error_codes": {1: "HighTemperature"}}, {}, Tracking.FOLLOWING,
                            (AlertKind.ERROR_CODE, Severity.WARNING, "HighTemperature")),
    "a fault": ({"error_codes": {1: "GroundFailure"}}, {"status": ConnectorStatus.FAULTED}, Tracking.IDLE,
                (AlertKind.FAULTED, Severity.CRITICAL, "GroundFailure")),
    "ignores its limit": ({}, {}, Tracking.IGNORING, (AlertKind.ABOVE_LIMIT, Severity.CRITICAL, "told 4.0 kW")),
    "above its limit once": ({}, {}, Tracking.ABOVE_LIMIT, (AlertKind.ABOVE_LIMIT, Severity.WARNING, "above its limit")),
    "rejects a limit": ({}, {"setpoint": replace(TOLD, state=LimitState.REJECTED)}, Tracking.NOT_TAKEN,
                        (AlertKind.LIMIT_NOT_TAKEN, Severity.CRITICAL, "the station rejected it")),
    "silent on a limit": ({}, {"setpoint": replace(TOLD, state=LimitState.UNANSWERED)}, Tracking.NOT_TAKEN,
                          (AlertKind.LIMIT_NOT_TAKEN, Severity.CRITICAL, "did not answer")),
    "does not wake": ({}, {}, Tracking.NOT_WAKING, (AlertKind.NOT_WAKING, Severity.WARNING, "does not wake")),
    "a silent meter": ({}, {}, Tracking.STALE, (AlertKind.NOT_METERED, Severity.WARNING, "silent for too long")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_trouble_has_its_alert(case: str) -> None:
    reported, state, tracking, expected = CASES[case]
    report, connector = replace(HEALTHY, **reported), replace(CHARGING, **state)
    alerts = station_alerts(STATION, report, {E: connector}, {E: replace(FOLLOWING, tracking=tracking)}, NOW)
    if expected is None:
        assert alerts == ()
        return
    (alert,) = alerts
    assert (alert.kind, alert.severity) == expected[:2]
    assert expected[2] in alert.reason


async def test_alerts_are_told_when_they_come_and_when_they_go(caller: Any) -> None:
    watch, clock = AlertWatch(caller.service), caller.clock
    with capture_logs() as told:
        await watch.look()
        clock.instant += timedelta(minutes=10)
        await watch.look()
        await watch.look()
        caller.service.reporter._records["A"].health.connected(clock.now(), "1.6")
        await watch.look()
    assert [(one["event"], one["station_id"], one["kind"]) for one in told] == [
        ("station alert", "A", "offline"),
        ("station alert", "B", "offline"),
        ("station alert is over", "A", "offline"),
    ]
    text = (await caller.ask("GET", "/metrics", scope=None)).text
    assert 'chargehorizon_station_alerts{severity="critical"} 1.0' in text
    assert "chargehorizon_stations_connected 1.0" in text
    listed = await caller.ask("GET", "/v1/station-alerts")
    assert [alert["station_id"] for alert in listed.body["alerts"]] == ["B"]


def test_the_urgent_come_first() -> None:
    report = replace(HEALTHY, clock_skew_s=95.0, silent_in_a_row=5)
    alerts = station_alerts(STATION, report, {E: CHARGING}, {E: FOLLOWING}, NOW)
    assert [alert.severity for alert in alerts] == [Severity.CRITICAL, Severity.WARNING]
