"""What a central system may order of a virtual station."""

from __future__ import annotations

from typing import Any

import pytest
from station_wire import (
    NOON,
    TOKEN,
    V16,
    V21,
    V201,
    VERSIONS,
    Wire,
    at_minute,
    charging,
    limit_call,
)

from optimizer.domain.ids import TokenId
from scenarios.station_dialect import CallRefused
from scenarios.station_settings import OcppVersion
from scenarios.vehicle_model import VehicleModel


def _remote_start(version: OcppVersion, **more: Any) -> tuple[str, dict[str, Any]]:
    if version is V16:
        return "RemoteStartTransaction", {"connectorId": 1, "idTag": "REMOTE", **more}
    token = {"idToken": "REMOTE", "type": "Central"}
    return "RequestStartTransaction", {"evseId": 1, "remoteStartId": 77, "idToken": token, **more}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_remote_start_waits_for_a_car(version: OcppVersion) -> None:
    wire = Wire(version)
    wire.connect()
    assert wire.ask(*_remote_start(version), at=NOON)["status"] == "Accepted"
    visit = wire.core.plug_in(1, VehicleModel(50.0), TOKEN, at_minute(1), None)
    wire.flush()
    assert visit.token_id == "REMOTE"
    assert wire.of("Authorize") == []
    if version is not V16:
        started = wire.of("TransactionEvent")[0]
        assert (started["triggerReason"], started["transactionInfo"]["remoteStartId"]) == ("RemoteStart", 77)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_remote_stop_ends_the_energy_but_not_the_stay(version: OcppVersion) -> None:
    wire = charging(version)
    going = wire.core.evses[1].transaction
    assert going is not None
    assert going.id is not None
    action = "RemoteStopTransaction" if version is V16 else "RequestStopTransaction"
    transaction_id: Any = int(going.id) if version is V16 else going.id
    assert wire.ask(action, {"transactionId": transaction_id}, at=at_minute(5))["status"] == "Accepted"
    assert wire.ask(action, {"transactionId": transaction_id}, at=at_minute(6))["status"] == "Rejected"
    wire.pass_time(at_minute(30))
    assert wire.core.evses[1].physics.trace.register_kwh(at_minute(30)) == pytest.approx(22.08 / 12)
    assert wire.core.evses[1].visit is not None


RESETS = {
    V16: ({"type": "Soft"}, "SoftReset"),
    V201: ({"type": "Immediate"}, "ImmediateReset"),
    V21: ({"type": "Immediate"}, "ImmediateReset"),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reset_ends_transactions_and_boots_again(version: OcppVersion) -> None:
    wire = charging(version)
    payload, reason = RESETS[version]
    assert wire.ask("Reset", payload, at=at_minute(5)) == {"status": "Accepted"}
    assert wire.core.reset_wanted
    if version is V16:
        assert wire.of("StopTransaction")[0]["reason"] == reason
    else:
        assert wire.of("TransactionEvent")[-1]["transactionInfo"]["stoppedReason"] == reason
    wire.core.disconnected(at_minute(5))
    wire.told.clear()
    wire.connect(at_minute(6))
    assert wire.told[0][0] == "BootNotification"


def test_a_reset_when_idle_waits_for_the_transaction() -> None:
    wire = charging(V201, leaves=10)
    assert wire.ask("Reset", {"type": "OnIdle"}, at=at_minute(5)) == {"status": "Scheduled"}
    assert not wire.core.reset_wanted
    wire.pass_time(at_minute(11))
    assert wire.core.reset_wanted


def _reserve(version: OcppVersion, number: int = 5, until: str = "2026-03-02T12:30:00Z") -> tuple[str, dict[str, Any]]:
    if version is V16:
        return "ReserveNow", {"connectorId": 1, "expiryDate": until, "idTag": "GUEST", "reservationId": number}
    token = {"idToken": "GUEST", "type": "Central"}
    return "ReserveNow", {"id": number, "expiryDateTime": until, "idToken": token, "evseId": 1}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reserved_evse_is_for_its_guest(version: OcppVersion) -> None:
    wire = Wire(version)
    wire.connect()
    assert wire.ask(*_reserve(version), at=NOON) == {"status": "Accepted"}
    stranger = wire.core.plug_in(1, VehicleModel(50.0), TOKEN, at_minute(1), None)
    assert stranger.refused
    wire.core.unplug(1, at_minute(2))
    guest = wire.core.plug_in(1, VehicleModel(50.0), TokenId("GUEST"), at_minute(3), None)
    wire.flush()
    assert guest.transaction is not None
    started = wire.of("StartTransaction" if version is V16 else "TransactionEvent")[0]
    assert started["reservationId"] == 5


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reservation_ends_by_itself_or_by_cancelling(version: OcppVersion) -> None:
    wire = Wire(version)
    wire.connect()
    wire.ask(*_reserve(version), at=NOON)
    wire.pass_time(at_minute(30))
    assert wire.core.evses[1].reservation is None
    wire.ask(*_reserve(version, until="2026-03-02T13:30:00Z"), at=at_minute(31))
    assert wire.ask("CancelReservation", {"reservationId": 5}, at=at_minute(32)) == {"status": "Accepted"}
    assert wire.ask("CancelReservation", {"reservationId": 5}, at=at_minute(33)) == {"status": "Rejected"}
    states = [status.get("status", status.get("connectorStatus")) for status in wire.of("StatusNotification")]
    assert states == ["Available", "Reserved", "Available", "Reserved", "Available"]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_occupied_evse_cannot_be_reserved(version: OcppVersion) -> None:
    assert charging(version).ask(*_reserve(version), at=at_minute(1)) == {"status": "Occupied"}


@pytest.mark.parametrize("version", VERSIONS)
def test_out_of_service_means_no_charging(version: OcppVersion) -> None:
    wire = Wire(version)
    wire.connect()
    payload = {"connectorId": 0, "type": "Inoperative"} if version is V16 else {"operationalStatus": "Inoperative"}
    assert wire.ask("ChangeAvailability", payload, at=NOON) == {"status": "Accepted"}
    assert wire.core.plug_in(1, VehicleModel(50.0), TOKEN, at_minute(1), None).refused


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_triggered_is_told(version: OcppVersion) -> None:
    wire = charging(version)
    for message in ("BootNotification", "Heartbeat", "StatusNotification", "MeterValues"):
        wire.told.clear()
        assert wire.ask("TriggerMessage", {"requestedMessage": message}, at=at_minute(1)) == {"status": "Accepted"}
        told = [action for action, _ in wire.told]
        assert ("TransactionEvent" if message == "MeterValues" and version is not V16 else message) in told
    unknown = wire.ask("TriggerMessage", {"requestedMessage": "FirmwareStatusNotification"}, at=at_minute(1))
    assert unknown == {"status": "NotImplemented"}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unknown_action_is_not_implemented(version: OcppVersion) -> None:
    wire = Wire(version)
    with pytest.raises(CallRefused) as caught:
        wire.core.answer("MakeCoffee", {}, NOON)
    assert caught.value.code == "NotImplemented"


def test_16_configuration_is_read_and_changed() -> None:
    wire = Wire(V16, reads_when_idle=True)
    wire.connect()
    answer = wire.ask("GetConfiguration", {"key": ["ClockAlignedDataInterval", "Colour"]}, at=NOON)
    assert answer["configurationKey"] == [{"key": "ClockAlignedDataInterval", "readonly": False, "value": "300"}]
    assert answer["unknownKey"] == ["Colour"]
    changes = {
        ("ClockAlignedDataInterval", "60"): "Accepted",
        ("ClockAlignedDataInterval", "often"): "Rejected",
        ("NumberOfConnectors", "4"): "Rejected",
        ("Colour", "red"): "NotSupported",
        ("AuthorizationKey", "short"): "Rejected",
        ("MeterValuesAlignedData", "Energy.Active.Import.Register"): "Accepted",
        ("MeterValuesAlignedData", "Taste"): "Rejected",
    }
    statuses = {
        change: wire.ask("ChangeConfiguration", {"key": change[0], "value": change[1]}, at=NOON)["status"]
        for change in changes
    }
    assert statuses == changes
    wire.told.clear()
    for minute in (1, 2, 3):
        wire.pass_time(at_minute(minute))
    readings = wire.of("MeterValues")
    assert len(readings) == 3
    assert [value["measurand"] for value in readings[0]["meterValue"][0]["sampledValue"]] == [
        "Energy.Active.Import.Register"
    ]
    secret = wire.ask("GetConfiguration", {"key": ["AuthorizationKey"]}, at=at_minute(4))
    assert secret["configurationKey"] == [{"key": "AuthorizationKey", "readonly": False}]


def _variable(component: str, name: str, **more: str) -> dict[str, Any]:
    return {"component": {"name": component}, "variable": {"name": name}, **more}


def test_201_variables_are_read_and_changed() -> None:
    wire = Wire(V201)
    wire.connect()
    asked = [
        _variable("AlignedDataCtrlr", "Interval"), _variable("AlignedDataCtrlr", "Colour"),
        _variable("Kitchen", "Colour"), _variable("SecurityCtrlr", "BasicAuthPassword"),
    ]  # fmt: skip
    answer = wire.ask("GetVariables", {"getVariableData": asked}, at=NOON)["getVariableResult"]
    assert [one["attributeStatus"] for one in answer] == [
        "Accepted", "UnknownVariable", "UnknownComponent", "Rejected",
    ]  # fmt: skip
    assert answer[0]["attributeValue"] == "300"
    changes = [
        _variable("AlignedDataCtrlr", "Interval", attributeValue="60"),
        _variable("AlignedDataCtrlr", "Interval", attributeValue="x"),
        _variable("SmartChargingCtrlr", "ProfileStackLevel", attributeValue="3"),
        _variable("SecurityCtrlr", "BasicAuthPassword", attributeValue="0123456789abcdef"),
    ]
    answer = wire.ask("SetVariables", {"setVariableData": changes}, at=NOON)["setVariableResult"]
    assert [one["attributeStatus"] for one in answer] == ["Accepted", "Rejected", "Rejected", "Accepted"]
    assert wire.core.readings.aligned_s == 60
    assert wire.core.new_password == "0123456789abcdef"


@pytest.mark.parametrize("version", VERSIONS)
def test_composite_schedule(version: OcppVersion) -> None:
    wire = charging(version)
    wire.ask(*limit_call(wire, 10.0), at=at_minute(1))
    number = {"connectorId": 1} if version is V16 else {"evseId": 1}
    amperes = wire.ask("GetCompositeSchedule", {**number, "duration": 600, "chargingRateUnit": "A"}, at=at_minute(2))
    watts = wire.ask("GetCompositeSchedule", {**number, "duration": 600, "chargingRateUnit": "W"}, at=at_minute(2))
    name = "chargingSchedule" if version is V16 else "schedule"
    assert [period["limit"] for period in amperes[name]["chargingSchedulePeriod"]] == [10.0]
    assert [period["limit"] for period in watts[name]["chargingSchedulePeriod"]] == [6900.0]


@pytest.mark.parametrize("version", VERSIONS)
def test_composite_schedule_of_the_whole_station(version: OcppVersion) -> None:
    wire = charging(version, evses=2)
    wire.ask(*limit_call(wire, 10.0), at=at_minute(1))
    name, key = ("chargingSchedule", "connectorId") if version is V16 else ("schedule", "evseId")
    answer = wire.ask("GetCompositeSchedule", {key: 0, "duration": 600, "chargingRateUnit": "A"}, at=at_minute(2))
    assert (answer if version is V16 else answer[name])[key] == 0
    # One EVSE is held at 10 A, the other may draw all that its hardware gives.
    assert [(one["startPeriod"], one["limit"]) for one in answer[name]["chargingSchedulePeriod"]] == [(0, 42.0)]
    unknown = wire.ask("GetCompositeSchedule", {key: 7, "duration": 600}, at=at_minute(2))
    assert unknown == {"status": "Rejected"}


@pytest.mark.parametrize("version", VERSIONS)
def test_profiles_are_cleared(version: OcppVersion) -> None:
    wire = charging(version)
    wire.ask(*limit_call(wire, 10.0), at=at_minute(1))
    criteria: dict[str, Any] = {"chargingProfilePurpose": "TxProfile", "stackLevel": 1}
    payload = (
        {"connectorId": 1, **criteria} if version is V16 else {"chargingProfileCriteria": {"evseId": 1, **criteria}}
    )
    assert wire.ask("ClearChargingProfile", payload, at=at_minute(2)) == {"status": "Accepted"}
    assert wire.ask("ClearChargingProfile", payload, at=at_minute(3)) == {"status": "Unknown"}
    assert wire.core.evses[1].physics.offered_a(at_minute(3)) == 32.0


def test_a_201_refusal_tells_its_reason() -> None:
    wire = Wire(V201)
    wire.connect()
    answer = wire.ask(*limit_call(wire, 10.0), at=at_minute(1))
    assert answer == {"status": "Rejected", "statusInfo": {"reasonCode": "TxNotFound"}}


def test_two_evses_of_one_station_are_told_apart() -> None:
    wire = Wire(V16, evses=2, reads_when_idle=True)
    wire.connect()
    wire.core.plug_in(2, VehicleModel(50.0), TOKEN, NOON, None)
    wire.flush()
    wire.pass_time(at_minute(5))
    assert wire.of("StartTransaction")[0]["connectorId"] == 2
    assert {payload["connectorId"] for payload in wire.of("MeterValues")} == {1, 2}


def test_heartbeats_come_when_nothing_else_was_said() -> None:
    wire = Wire(V16, reading_interval_s=0)
    wire.connect()
    wire.ask("ChangeConfiguration", {"key": "HeartbeatInterval", "value": "60"}, at=NOON)
    for minute in (1, 2, 3):
        wire.pass_time(at_minute(minute))
    assert len(wire.of("Heartbeat")) == 3


def test_samples_count_from_the_transactions_start() -> None:
    wire = Wire(V16, reading_interval_s=0, sample_interval_s=60)
    wire.connect()
    wire.core.plug_in(1, VehicleModel(50.0), TOKEN, at_minute(0.5), None)
    wire.flush()
    wire.pass_time(at_minute(3))
    stamps = [payload["meterValue"][0]["timestamp"][11:19] for payload in wire.of("MeterValues")]
    assert stamps == ["12:01:30", "12:02:30"]
