"""What a station does for its operator."""

from __future__ import annotations

from typing import Any

import pytest
from station_wire import NOON, TOKEN, V16, V21, V201, VERSIONS, Wire, at_minute, charging, limit_call

from scenarios.station_settings import OcppVersion
from scenarios.vehicle_model import VehicleModel

LATER = "2026-03-02T12:10:00Z"


def _firmware(version: OcppVersion) -> dict[str, Any]:
    if version is V16:
        return {"location": "https://example.org/fw", "retrieveDate": LATER}
    return {"requestId": 7, "firmware": {"location": "https://example.org/fw", "retrieveDateTime": LATER}}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_update_is_told_step_by_step_and_changes_the_version(version: OcppVersion) -> None:
    wire = Wire(version, firmware="4.2")
    wire.connect()
    assert wire.ask("UpdateFirmware", _firmware(version), at=NOON) == ({} if version is V16 else {"status": "Accepted"})
    wire.pass_time(at_minute(9))
    assert wire.of("FirmwareStatusNotification") == []
    wire.pass_time(at_minute(11.6))
    assert wire.core.reset_wanted
    wire.core.disconnected(at_minute(11.7))
    wire.connect(at_minute(11.8))
    wire.pass_time(at_minute(14))
    told = wire.of("FirmwareStatusNotification")
    assert [step["status"] for step in told] == ["Downloading", "Downloaded", "Installing", "Installed"]
    assert {step.get("requestId") for step in told} == {None if version is V16 else 7}
    boot = wire.of("BootNotification")[-1]
    assert (boot if version is V16 else boot["chargingStation"])["firmwareVersion"] == "4.2+1"


LOGS = {
    "1.6 diagnostics": (V16, "GetDiagnostics", {"location": "ftp://example.org"}, "DiagnosticsStatusNotification"),
    "1.6 log": (V16, "GetLog", {"logType": "SecurityLog", "requestId": 3, "log": {"remoteLocation": "ftp://x"}}, "LogStatusNotification"),
    "2.0.1 log": (V201, "GetLog", {"logType": "DiagnosticsLog", "requestId": 3, "log": {"remoteLocation": "ftp://x"}}, "LogStatusNotification"),
    "2.1 log": (V21, "GetLog", {"logType": "DiagnosticsLog", "requestId": 3, "log": {"remoteLocation": "ftp://x"}}, "LogStatusNotification"),
}  # fmt: skip


@pytest.mark.parametrize(("version", "action", "payload", "told"), LOGS.values(), ids=LOGS)
def test_a_log_is_uploaded(version: OcppVersion, action: str, payload: dict[str, Any], told: str) -> None:
    wire = Wire(version)
    wire.connect()
    answer = wire.ask(action, payload, at=NOON)
    assert answer.get("fileName", answer.get("filename")) == "s-20260302T120000.log"
    wire.pass_time(at_minute(1))
    assert [step["status"] for step in wire.of(told)] == ["Uploading", "Uploaded"]


def _list(version: OcppVersion, number: int, kind: str, **tokens: str) -> dict[str, Any]:
    if version is V16:
        entries = [{"idTag": token, "idTagInfo": {"status": status}} for token, status in tokens.items()]
        return {"listVersion": number, "updateType": kind, "localAuthorizationList": entries}
    entries = [
        {"idToken": {"idToken": token, "type": "ISO14443"}, "idTokenInfo": {"status": status}}
        for token, status in tokens.items()
    ]
    return {"versionNumber": number, "updateType": kind, "localAuthorizationList": entries}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_local_list_decides_while_there_is_no_connection(version: OcppVersion) -> None:
    wire = Wire(version, starts_offline=False, evses=2)
    wire.connect()
    assert wire.ask("SendLocalList", _list(version, 2, "Full", TOKEN="Accepted"), at=NOON) == {"status": "Accepted"}
    changes = _list(version, 3, "Differential", OTHER="Blocked")
    assert wire.ask("SendLocalList", changes, at=NOON) == {"status": "Accepted"}
    assert wire.ask("SendLocalList", changes, at=NOON) == {"status": "VersionMismatch"}
    answer = wire.ask("GetLocalListVersion", {}, at=NOON)
    assert answer.get("listVersion", answer.get("versionNumber")) == 3
    wire.core.disconnected(at_minute(1))
    known = wire.core.plug_in(1, VehicleModel(5.0), TOKEN, at_minute(2), None)
    assert not known.refused
    assert wire.core.plug_in(2, VehicleModel(5.0), type(TOKEN)("OTHER"), at_minute(2), None).refused


@pytest.mark.parametrize("version", [V201, V21])
def test_profiles_are_reported_as_they_are_held(version: OcppVersion) -> None:
    wire = charging(version)
    action, sent = limit_call(wire, 10.0)
    wire.ask(action, sent, at=at_minute(1))
    wire.ask(*limit_call(wire, 7.0, number=2, purpose="TxDefaultProfile"), at=at_minute(1))
    every: dict[str, Any] = {"requestId": 4, "chargingProfile": {}}
    assert wire.ask("GetChargingProfiles", every, at=at_minute(2)) == {"status": "Accepted"}
    (report,) = wire.of("ReportChargingProfiles")
    assert (report["evseId"], report["tbc"], len(report["chargingProfile"])) == (1, False, 2)
    told = report["chargingProfile"][0]
    told["chargingSchedule"][0]["startSchedule"] = "2026-03-02T12:00:00Z"
    assert told == sent["chargingProfile"]
    none = {"requestId": 5, "chargingProfile": {"chargingProfilePurpose": "ChargingStationMaxProfile"}}
    assert wire.ask("GetChargingProfiles", none, at=at_minute(3)) == {"status": "NoProfiles"}


@pytest.mark.parametrize("version", [V201, V21])
def test_all_variables_are_reported_but_no_secret(version: OcppVersion) -> None:
    wire = Wire(version)
    wire.connect()
    request = {"requestId": 4, "reportBase": "FullInventory"}
    assert wire.ask("GetBaseReport", request, at=NOON) == {"status": "Accepted"}
    (report,) = wire.of("NotifyReport")
    values = {
        (entry["component"]["name"], entry["variable"]["name"]): entry["variableAttribute"][0].get("value")
        for entry in report["reportData"]
    }
    assert values["AlignedDataCtrlr", "Interval"] == "300"
    assert values["SecurityCtrlr", "BasicAuthPassword"] is None
