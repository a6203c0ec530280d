"""A station without a wire: what it tells, in which order and with which instants."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from optimizer.domain.ids import CircuitId, EvseId, StationId, TokenId
from optimizer.domain.site import Evse, Station
from scenarios.ocpp_frames import Call, check_call, result_problem
from scenarios.outbox import Outbox, OutgoingCall
from scenarios.station_core import StationCore
from scenarios.station_dialect import CallRefused
from scenarios.station_settings import Misbehaviour, OcppVersion, StationSettings
from scenarios.station_state import StationWatchers, Visit
from scenarios.vehicle_model import VehicleModel
from scenarios.virtual_station import DIALECTS

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TOKEN = TokenId("TOKEN")
VERSIONS = tuple(OcppVersion)
V16, V201 = OcppVersion.V16, OcppVersion.V201


def _at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def _evse(number: int) -> Evse:
    return Evse(EvseId(f"e{number}"), StationId("s"), number, CircuitId("c"), max_current_a=32.0)


class Wire:
    """Answers a core's calls as a friendly central system does, and checks all it says against the schemas."""

    def __init__(self, version: OcppVersion, evses: int = 1, **settings: Any) -> None:
        station = Station(StationId("s"), tuple(_evse(number + 1) for number in range(evses)))
        numbers = count(1)
        self.opened: list[Visit] = []
        self.ended: list[Visit] = []
        watchers = StationWatchers(
            [lambda _, visit: self.opened.append(visit)], [lambda _, visit: self.ended.append(visit)]
        )
        self.version = version
        self.core = StationCore(
            StationSettings(station, version, **settings),
            NOON,
            DIALECTS[version],
            lambda: f"id-{next(numbers)}",
            watchers,
        )
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.token_status = "Accepted"
        self._transactions = count(501)

    def connect(self, at: datetime = NOON) -> None:
        self.core.connected(at)
        self.flush()

    def flush(self) -> None:
        """Everything that waits is sent and answered."""
        while (call := self.core.outbox.head) is not None:
            call.attempts += 1
            payload = dict(call.payload)
            check_call(Call(call.message_id, call.action, payload), self.version.value)
            self.told.append((call.action, payload))
            answer = self._answer(call.action)
            assert not result_problem(call.action, answer, self.version.value)
            self.core.outbox.acknowledge(call.message_id, answer)

    def pass_time(self, until: datetime) -> None:
        self.core.advance(until)
        self.flush()

    def ask(self, action: str, payload: dict[str, Any], at: datetime) -> dict[str, Any]:
        check_call(Call("x", action, payload), self.version.value)
        answer = dict(self.core.answer(action, payload, at))
        assert not result_problem(action, answer, self.version.value)
        self.flush()
        return answer

    def of(self, action: str) -> list[dict[str, Any]]:
        return [payload for told, payload in self.told if told == action]

    def _answer(self, action: str) -> dict[str, Any]:
        about = {"status": self.token_status}
        match action:
            case "BootNotification":
                return {"status": "Accepted", "currentTime": "2026-03-02T12:00:00Z", "interval": 86400}
            case "Heartbeat":
                return {"currentTime": "2026-03-02T12:00:00Z"}
            case "Authorize":
                return {"idTagInfo": about} if self.version is V16 else {"idTokenInfo": about}
            case "StartTransaction":
                return {"transactionId": next(self._transactions), "idTagInfo": about}
            case _:
                return {}


def _charging(version: OcppVersion, takes_kwh: float = 50.0, leaves: float | None = None, **settings: Any) -> Wire:
    wire = Wire(version, **settings)
    wire.connect()
    wire.core.plug_in(1, VehicleModel(takes_kwh), TOKEN, NOON, None if leaves is None else _at(leaves))
    wire.flush()
    return wire


def _limit(
    wire: Wire, limit: float, number: int = 1, unit: str = "A", purpose: str = "TxProfile"
) -> tuple[str, dict[str, Any]]:
    """SetChargingProfile with one limit from noon on."""
    schedule = {
        "startSchedule": "2026-03-02T12:00:00Z",
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit, "numberPhases": 3}],
    }
    profile: dict[str, Any] = {
        "stackLevel": 1, "chargingProfilePurpose": purpose, "chargingProfileKind": "Absolute",
    }  # fmt: skip
    if wire.version is V16:
        profile |= {"chargingProfileId": number, "chargingSchedule": schedule}
        return "SetChargingProfile", {"connectorId": 1, "csChargingProfiles": profile}
    profile |= {"id": number, "chargingSchedule": [{**schedule, "id": 1}]}
    going = wire.core.evses[1].transaction
    if purpose == "TxProfile":
        profile["transactionId"] = going.id if going else "none"
    return "SetChargingProfile", {"evseId": 1, "chargingProfile": profile}


def test_a_16_stay_is_told_in_order() -> None:
    wire = _charging(V16, leaves=31)
    wire.pass_time(_at(40))
    assert [action for action, _ in wire.told if action != "MeterValues"] == [
        "BootNotification", "StatusNotification", "StatusNotification", "Authorize", "StartTransaction",
        "StatusNotification", "StopTransaction", "StatusNotification",
    ]  # fmt: skip
    assert [status["status"] for status in wire.of("StatusNotification")] == [
        "Available", "Preparing", "Charging", "Available",
    ]  # fmt: skip
    (stop,) = wire.of("StopTransaction")
    assert stop == {
        "transactionId": 501, "idTag": "TOKEN", "meterStop": 11408, "timestamp": "2026-03-02T12:31:00.000Z",
        "reason": "EVDisconnected",
    }  # fmt: skip


def test_a_201_stay_is_told_in_order() -> None:
    wire = _charging(V201, leaves=31)
    wire.pass_time(_at(40))
    events = wire.of("TransactionEvent")
    assert [event["seqNo"] for event in events] == list(range(len(events)))
    assert len({event["transactionInfo"]["transactionId"] for event in events}) == 1
    assert (events[0]["eventType"], events[0]["triggerReason"]) == ("Started", "Authorized")
    assert (events[1]["triggerReason"], events[1]["transactionInfo"]["chargingState"]) == (
        "ChargingStateChanged", "Charging",
    )  # fmt: skip
    assert [event["triggerReason"] for event in events[2:-1]] == ["MeterValueClock"] * 6
    end = events[-1]
    assert (end["eventType"], end["triggerReason"], end["timestamp"]) == (
        "Ended", "EVDeparted", "2026-03-02T12:31:00.000Z",
    )  # fmt: skip
    assert end["transactionInfo"]["stoppedReason"] == "EVDisconnected"
    register = end["meterValue"][0]["sampledValue"][0]
    assert (register["value"], register["context"]) == (11408, "Transaction.End")


def _registers(wire: Wire) -> dict[str, float]:
    """Register by timestamp, of all readings told."""
    values = [entry for payload in wire.of("MeterValues") for entry in payload["meterValue"]]
    values += [entry for payload in wire.of("TransactionEvent") for entry in payload.get("meterValue", ())]
    return {entry["timestamp"][11:19]: float(entry["sampledValue"][0]["value"]) for entry in values}


@pytest.mark.parametrize("version", VERSIONS)
def test_aligned_readings_are_exact_however_late_they_are_taken(version: OcppVersion) -> None:
    wire = Wire(version)
    wire.connect()
    wire.core.plug_in(1, VehicleModel(50.0), TOKEN, NOON, _at(13))
    wire.flush()
    wire.pass_time(_at(22))
    expected = {"12:05:00": 1840, "12:10:00": 3680, "12:15:00": 4784, "12:20:00": 4784}
    told = _registers(wire)
    assert {stamp: told[stamp] for stamp in expected} == expected


def test_a_reading_tells_what_flows() -> None:
    wire = _charging(V16)
    wire.ask(*_limit(wire, 10.0), at=_at(2))
    wire.pass_time(_at(5))
    values = {
        (value["measurand"], value.get("phase")): (value["value"], value["unit"])
        for value in wire.of("MeterValues")[-1]["meterValue"][0]["sampledValue"]
    }
    assert values == {
        ("Energy.Active.Import.Register", None): ("1081", "Wh"),
        ("Power.Active.Import", None): ("6900.0", "W"),
        ("Current.Import", "L1"): ("10.0", "A"),
        ("Current.Import", "L2"): ("10.0", "A"),
        ("Current.Import", "L3"): ("10.0", "A"),
        ("Voltage", None): ("230.0", "V"),
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_a_limit_is_obeyed_at_once_and_a_full_car_is_told(version: OcppVersion) -> None:
    wire = _charging(version, takes_kwh=6.9)
    assert wire.ask(*_limit(wire, 10.0), at=NOON) == {"status": "Accepted"}
    wire.pass_time(_at(90))
    physics = wire.core.evses[1].physics
    assert [(step.at, step.power_kw) for step in physics.trace.steps if step.power_kw] == [(NOON, pytest.approx(6.9))]
    if version is V16:
        assert wire.of("StatusNotification")[-1]["status"] == "SuspendedEV"
        assert wire.of("StatusNotification")[-1]["timestamp"] == "2026-03-02T13:00:00.000Z"
    else:
        changed = [event for event in wire.of("TransactionEvent") if event["triggerReason"] == "ChargingStateChanged"]
        assert [event["transactionInfo"]["chargingState"] for event in changed] == ["Charging", "SuspendedEV"]


def test_a_pause_is_told_as_the_stations() -> None:
    wire = _charging(V16)
    wire.ask(*_limit(wire, 5.0), at=_at(1))
    assert wire.of("StatusNotification")[-1]["status"] == "SuspendedEVSE"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_profile_of_a_transaction_ends_with_it(version: OcppVersion) -> None:
    wire = _charging(version, leaves=10)
    wire.ask(*_limit(wire, 16.0, purpose="TxDefaultProfile", number=2), at=_at(1))
    wire.ask(*_limit(wire, 10.0), at=_at(1))
    assert len(wire.core.held) == 2
    wire.pass_time(_at(11))
    assert [one.profile.id for one in wire.core.held] == [2]


@pytest.mark.parametrize("version", VERSIONS)
def test_profiles_survive_a_lost_connection(version: OcppVersion) -> None:
    wire = _charging(version)
    wire.ask(*_limit(wire, 10.0), at=_at(1))
    wire.core.disconnected(_at(2))
    wire.core.advance(_at(20))
    assert wire.core.evses[1].physics.trace.power_kw(_at(20)) == pytest.approx(6.9)
    wire.told.clear()
    wire.connect(_at(21))
    wire.pass_time(_at(25))
    assert "BootNotification" not in [action for action, _ in wire.told]
    readings = _registers(wire)
    assert list(readings) == ["12:05:00", "12:10:00", "12:15:00", "12:20:00", "12:25:00"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_stay_while_offline_is_told_afterwards(version: OcppVersion) -> None:
    wire = Wire(version)
    wire.connect()
    wire.core.disconnected(_at(1))
    wire.core.plug_in(1, VehicleModel(50.0), TOKEN, _at(2), _at(12))
    wire.core.advance(_at(30))
    wire.told.clear()
    assert wire.ended[0].vehicle.taken_kwh == pytest.approx(22.08 / 6)
    wire.connect(_at(31))
    about = [(action, payload) for action, payload in wire.told if action not in ("StatusNotification",)]
    if version is V16:
        assert [action for action, _ in about] == ["StartTransaction", "MeterValues", "MeterValues", "StopTransaction"]
        assert [payload.get("transactionId") for _, payload in about] == [None, 501, 501, 501]
        assert about[0][1]["timestamp"] == "2026-03-02T12:02:00.000Z"
    else:
        assert [payload["eventType"] for _, payload in about] == ["Started", *["Updated"] * 3, "Ended"]
        assert all(payload["offline"] for _, payload in about)


def test_a_station_that_may_not_start_offline_does_not() -> None:
    wire = Wire(V16, starts_offline=False)
    visit = wire.core.plug_in(1, VehicleModel(50.0), TOKEN, NOON, None)
    wire.core.advance(_at(5))
    assert visit.refused
    assert wire.core.evses[1].physics.trace.register_kwh(_at(5)) == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_a_token_refused_gets_no_energy(version: OcppVersion) -> None:
    wire = Wire(version)
    wire.token_status = "Invalid"
    wire.connect()
    visit = wire.core.plug_in(1, VehicleModel(50.0), TOKEN, NOON, None)
    wire.flush()
    wire.pass_time(_at(30))
    assert visit.refused
    assert visit.transaction is None
    assert wire.core.evses[1].physics.trace.register_kwh(_at(30)) == 0


def test_a_token_refused_only_at_the_start_stops_the_transaction() -> None:
    wire = Wire(V16)
    wire.core.plug_in(1, VehicleModel(50.0), TOKEN, NOON, None)
    wire.token_status = "Blocked"
    wire.connect(_at(2))
    assert wire.of("StopTransaction")[0]["reason"] == "DeAuthorized"
    wire.pass_time(_at(30))
    assert wire.core.evses[1].physics.trace.register_kwh(_at(30)) == pytest.approx(22.08 / 30)


# ---------------------------------------------------------------------- what a central system asks


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
    visit = wire.core.plug_in(1, VehicleModel(50.0), TOKEN, _at(1), None)
    wire.flush()
    assert visit.token_id == "REMOTE"
    assert wire.of("Authorize") == []
    if version is V201:
        started = wire.of("TransactionEvent")[0]
        assert (started["triggerReason"], started["transactionInfo"]["remoteStartId"]) == ("RemoteStart", 77)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_remote_stop_ends_the_energy_but_not_the_stay(version: OcppVersion) -> None:
    wire = _charging(version)
    going = wire.core.evses[1].transaction
    assert going is not None
    assert going.id is not None
    action = "RemoteStopTransaction" if version is V16 else "RequestStopTransaction"
    transaction_id: Any = int(going.id) if version is V16 else going.id
    assert wire.ask(action, {"transactionId": transaction_id}, at=_at(5))["status"] == "Accepted"
    assert wire.ask(action, {"transactionId": transaction_id}, at=_at(6))["status"] == "Rejected"
    wire.pass_time(_at(30))
    assert wire.core.evses[1].physics.trace.register_kwh(_at(30)) == pytest.approx(22.08 / 12)
    assert wire.core.evses[1].visit is not None


RESETS = {V16: ({"type": "Soft"}, "SoftReset"), V201: ({"type": "Immediate"}, "ImmediateReset")}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reset_ends_transactions_and_boots_again(version: OcppVersion) -> None:
    wire = _charging(version)
    payload, reason = RESETS[version]
    assert wire.ask("Reset", payload, at=_at(5)) == {"status": "Accepted"}
    assert wire.core.reset_wanted
    if version is V16:
        assert wire.of("StopTransaction")[0]["reason"] == reason
    else:
        assert wire.of("TransactionEvent")[-1]["transactionInfo"]["stoppedReason"] == reason
    wire.core.disconnected(_at(5))
    wire.told.clear()
    wire.connect(_at(6))
    assert wire.told[0][0] == "BootNotification"


def test_a_reset_when_idle_waits_for_the_transaction() -> None:
    wire = _charging(V201, leaves=10)
    assert wire.ask("Reset", {"type": "OnIdle"}, at=_at(5)) == {"status": "Scheduled"}
    assert not wire.core.reset_wanted
    wire.pass_time(_at(11))
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
    stranger = wire.core.plug_in(1, VehicleModel(50.0), TOKEN, _at(1), None)
    assert stranger.refused
    wire.core.unplug(1, _at(2))
    guest = wire.core.plug_in(1, VehicleModel(50.0), TokenId("GUEST"), _at(3), None)
    wire.flush()
    assert guest.transaction is not None
    started = wire.of("StartTransaction" if version is V16 else "TransactionEvent")[0]
    assert started["reservationId"] == 5


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reservation_ends_by_itself_or_by_cancelling(version: OcppVersion) -> None:
    wire = Wire(version)
    wire.connect()
    wire.ask(*_reserve(version), at=NOON)
    wire.pass_time(_at(30))
    assert wire.core.evses[1].reservation is None
    wire.ask(*_reserve(version, until="2026-03-02T13:30:00Z"), at=_at(31))
    assert wire.ask("CancelReservation", {"reservationId": 5}, at=_at(32)) == {"status": "Accepted"}
    assert wire.ask("CancelReservation", {"reservationId": 5}, at=_at(33)) == {"status": "Rejected"}
    states = [status.get("status", status.get("connectorStatus")) for status in wire.of("StatusNotification")]
    assert states == ["Available", "Reserved", "Available", "Reserved", "Available"]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_occupied_evse_cannot_be_reserved(version: OcppVersion) -> None:
    assert _charging(version).ask(*_reserve(version), at=_at(1)) == {"status": "Occupied"}


@pytest.mark.parametrize("version", VERSIONS)
def test_out_of_service_means_no_charging(version: OcppVersion) -> None:
    wire = Wire(version)
    wire.connect()
    payload = {"connectorId": 0, "type": "Inoperative"} if version is V16 else {"operationalStatus": "Inoperative"}
    assert wire.ask("ChangeAvailability", payload, at=NOON) == {"status": "Accepted"}
    assert wire.core.plug_in(1, VehicleModel(50.0), TOKEN, _at(1), None).refused


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_triggered_is_told(version: OcppVersion) -> None:
    wire = _charging(version)
    for message in ("BootNotification", "Heartbeat", "StatusNotification", "MeterValues"):
        wire.told.clear()
        assert wire.ask("TriggerMessage", {"requestedMessage": message}, at=_at(1)) == {"status": "Accepted"}
        told = [action for action, _ in wire.told]
        assert ("TransactionEvent" if message == "MeterValues" and version is V201 else message) in told
    unknown = wire.ask("TriggerMessage", {"requestedMessage": "FirmwareStatusNotification"}, at=_at(1))
    assert unknown == {"status": "NotImplemented"}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unknown_action_is_not_implemented(version: OcppVersion) -> None:
    wire = Wire(version)
    with pytest.raises(CallRefused) as caught:
        wire.core.answer("MakeCoffee", {}, NOON)
    assert caught.value.code == "NotImplemented"


def test_16_configuration_is_read_and_changed() -> None:
    wire = Wire(V16)
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
    wire.pass_time(_at(3))
    readings = wire.of("MeterValues")
    assert len(readings) == 3
    assert [value["measurand"] for value in readings[0]["meterValue"][0]["sampledValue"]] == [
        "Energy.Active.Import.Register"
    ]
    secret = wire.ask("GetConfiguration", {"key": ["AuthorizationKey"]}, at=_at(4))
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
    assert wire.core.reading_interval_s == 60
    assert wire.core.new_password == "0123456789abcdef"


@pytest.mark.parametrize("version", VERSIONS)
def test_composite_schedule(version: OcppVersion) -> None:
    wire = _charging(version)
    wire.ask(*_limit(wire, 10.0), at=_at(1))
    number = {"connectorId": 1} if version is V16 else {"evseId": 1}
    amperes = wire.ask("GetCompositeSchedule", {**number, "duration": 600, "chargingRateUnit": "A"}, at=_at(2))
    watts = wire.ask("GetCompositeSchedule", {**number, "duration": 600, "chargingRateUnit": "W"}, at=_at(2))
    name = "chargingSchedule" if version is V16 else "schedule"
    assert [period["limit"] for period in amperes[name]["chargingSchedulePeriod"]] == [10.0]
    assert [period["limit"] for period in watts[name]["chargingSchedulePeriod"]] == [6900.0]


@pytest.mark.parametrize("version", VERSIONS)
def test_profiles_are_cleared(version: OcppVersion) -> None:
    wire = _charging(version)
    wire.ask(*_limit(wire, 10.0), at=_at(1))
    criteria: dict[str, Any] = {"chargingProfilePurpose": "TxProfile", "stackLevel": 1}
    payload = (
        {"connectorId": 1, **criteria} if version is V16 else {"chargingProfileCriteria": {"evseId": 1, **criteria}}
    )
    assert wire.ask("ClearChargingProfile", payload, at=_at(2)) == {"status": "Accepted"}
    assert wire.ask("ClearChargingProfile", payload, at=_at(3)) == {"status": "Unknown"}
    assert wire.core.evses[1].physics.offered_a(_at(3)) == 32.0


def test_a_201_refusal_tells_its_reason() -> None:
    wire = Wire(V201)
    wire.connect()
    answer = wire.ask(*_limit(wire, 10.0), at=_at(1))
    assert answer == {"status": "Rejected", "statusInfo": {"reasonCode": "TxNotFound"}}


def test_two_evses_of_one_station_are_told_apart() -> None:
    wire = Wire(V16, evses=2)
    wire.connect()
    wire.core.plug_in(2, VehicleModel(50.0), TOKEN, NOON, None)
    wire.flush()
    wire.pass_time(_at(5))
    assert wire.of("StartTransaction")[0]["connectorId"] == 2
    assert {payload["connectorId"] for payload in wire.of("MeterValues")} == {1, 2}


def test_heartbeats_come_when_nothing_else_was_said() -> None:
    wire = Wire(V16, reading_interval_s=0)
    wire.connect()
    wire.ask("ChangeConfiguration", {"key": "HeartbeatInterval", "value": "60"}, at=NOON)
    wire.pass_time(_at(3))
    assert len(wire.of("Heartbeat")) == 3


def test_samples_count_from_the_transactions_start() -> None:
    wire = Wire(V16, reading_interval_s=0, sample_interval_s=60)
    wire.connect()
    wire.core.plug_in(1, VehicleModel(50.0), TOKEN, _at(0.5), None)
    wire.flush()
    wire.pass_time(_at(3))
    stamps = [payload["meterValue"][0]["timestamp"][11:19] for payload in wire.of("MeterValues")]
    assert stamps == ["12:01:30", "12:02:30"]


# ---------------------------------------------------------------------- misbehaviour


def test_slow_obeys_late() -> None:
    wire = _charging(V16, misbehaviours=frozenset({Misbehaviour.SLOW}))
    wire.ask(*_limit(wire, 10.0), at=_at(1))
    wire.pass_time(_at(2))
    changes = [(step.at, round(step.power_kw, 2)) for step in wire.core.evses[1].physics.trace.steps]
    assert changes == [(NOON, 22.08), (_at(1) + timedelta(seconds=20), 6.9)]


REFUSING = {
    "rejects amperes": (Misbehaviour.REJECTS_AMPERES, (10.0, "A"), "Rejected"),
    "rejects amperes, takes watts": (Misbehaviour.REJECTS_AMPERES, (6900.0, "W"), "Accepted"),
    "rejects zero": (Misbehaviour.REJECTS_ZERO, (0.0, "A"), "Rejected"),
    "rejects zero, takes more": (Misbehaviour.REJECTS_ZERO, (6.0, "A"), "Accepted"),
}


@pytest.mark.parametrize(("misbehaviour", "limit", "status"), REFUSING.values(), ids=REFUSING)
def test_refusing(misbehaviour: Misbehaviour, limit: tuple[float, str], status: str) -> None:
    wire = _charging(V16, misbehaviours=frozenset({misbehaviour}))
    assert wire.ask(*_limit(wire, limit[0], unit=limit[1]), at=_at(1)) == {"status": status}


def test_ignores_accepts_and_does_not_obey() -> None:
    wire = _charging(V16, misbehaviours=frozenset({Misbehaviour.IGNORES}))
    assert wire.ask(*_limit(wire, 10.0), at=_at(1)) == {"status": "Accepted"}
    wire.pass_time(_at(10))
    assert wire.core.evses[1].physics.trace.power_kw(_at(10)) == pytest.approx(22.08)


@pytest.mark.parametrize("version", VERSIONS)
def test_kwh_as_wh(version: OcppVersion) -> None:
    wire = _charging(version, misbehaviours=frozenset({Misbehaviour.KWH_AS_WH}))
    wire.pass_time(_at(5))
    assert _registers(wire)["12:05:00"] == 1.84


@pytest.mark.parametrize("version", VERSIONS)
def test_transaction_minus_one(version: OcppVersion) -> None:
    wire = _charging(version, misbehaviours=frozenset({Misbehaviour.TRANSACTION_MINUS_ONE}))
    wire.pass_time(_at(5))
    (values,) = wire.of("MeterValues")
    assert values.get("transactionId") == (-1 if version is V16 else None)


@pytest.mark.parametrize("version", VERSIONS)
def test_old_samples_come_again_between_new_ones(version: OcppVersion) -> None:
    wire = _charging(version, misbehaviours=frozenset({Misbehaviour.REPLAYS_OLD_SAMPLES}))
    wire.pass_time(_at(25))
    payloads = wire.of("MeterValues") or [
        p for p in wire.of("TransactionEvent") if p["triggerReason"] == "MeterValueClock"
    ]
    stamps = [payload["meterValue"][0]["timestamp"][14:16] for payload in payloads]
    assert stamps == ["05", "10", "15", "20", "05", "25", "10"]
    registers = [p["meterValue"][0]["sampledValue"][0]["value"] for p in payloads]
    assert registers[4] == registers[0]


def test_no_wake() -> None:
    wire = _charging(V16, misbehaviours=frozenset({Misbehaviour.NO_WAKE}))
    wire.ask(*_limit(wire, 0.0), at=_at(1))
    wire.ask(*_limit(wire, 16.0), at=_at(2))
    wire.pass_time(_at(10))
    assert wire.core.evses[1].physics.trace.power_kw(_at(10)) == 0.0
    assert wire.of("StatusNotification")[-1]["status"] == "SuspendedEV"


def test_a_boot_storm_ends() -> None:
    wire = Wire(V16, misbehaviours=frozenset({Misbehaviour.BOOT_STORM}))
    wire.connect()
    for minute in range(60):
        wire.pass_time(_at(minute))
    assert len(wire.of("BootNotification")) == 21


def test_a_skewed_clock_writes_and_reads_its_own_time() -> None:
    wire = _charging(V16, misbehaviours=frozenset({Misbehaviour.SKEWED_CLOCK}))
    assert wire.of("StartTransaction")[0]["timestamp"] == "2026-03-02T11:58:25.000Z"
    wire.ask(*_limit(wire, 10.0), at=_at(1))
    wire.pass_time(_at(5))
    changes = [step.at for step in wire.core.evses[1].physics.trace.steps]
    assert changes == [NOON, NOON + timedelta(seconds=95)]


# ---------------------------------------------------------------------- booting


def test_nothing_but_boots_until_one_is_accepted() -> None:
    wire = Wire(V16)
    wire.core.connected(NOON)
    boot = wire.core.outbox.head
    assert boot is not None
    boot.attempts += 1
    pending = {"status": "Pending", "currentTime": "2026-03-02T12:00:00Z", "interval": 30}
    wire.core.outbox.acknowledge(boot.message_id, pending)
    assert not wire.core.is_booted
    wire.pass_time(_at(0.4))
    assert wire.told == []
    wire.pass_time(_at(0.5))
    assert wire.told[0][0] == "BootNotification"
    assert wire.core.is_booted


# ---------------------------------------------------------------------- the outbox


@pytest.fixture
def calls() -> Callable[..., OutgoingCall]:
    numbers = count()

    def make(*, durable: bool, **more: Any) -> OutgoingCall:
        nothing: Any = lambda _: None  # noqa: E731
        return OutgoingCall(
            f"m{next(numbers)}", "Action", dict, durable, more.get("answered", nothing), more.get("failed", nothing)
        )

    return make


def test_the_outbox_keeps_what_is_durable(calls: Callable[..., OutgoingCall]) -> None:
    outbox, failures = Outbox(), []
    kept, lost = calls(durable=True), calls(durable=False, failed=failures.append)
    outbox.add(lost)
    outbox.add(kept)
    assert outbox.head is lost
    outbox.drop_volatile("offline")
    assert failures == ["offline"]
    assert outbox.head is kept


def test_a_late_answer_counts_and_a_second_one_does_not(calls: Callable[..., OutgoingCall]) -> None:
    outbox, answers = Outbox(), []
    call = calls(durable=True, answered=answers.append)
    outbox.add(call)
    assert not outbox.acknowledge(call.message_id, {}), "it was never sent"
    call.attempts = 2
    outbox.expire(call.message_id)
    assert outbox.head is call
    assert outbox.acknowledge(call.message_id, {"a": 1})
    assert not outbox.acknowledge(call.message_id, {"a": 1})
    assert (answers, len(outbox)) == ([{"a": 1}], 0)


def test_what_is_refused_again_and_again_is_given_up_and_kept_aside(calls: Callable[..., OutgoingCall]) -> None:
    outbox, failures = Outbox(refusals_until_dropped=3), []
    call = calls(durable=True, failed=failures.append)
    call.attempts = 1
    outbox.add(call)
    for _ in range(3):
        assert outbox.head is call
        outbox.refuse(call.message_id, "InternalError")
    assert outbox.dropped == [call]
    assert failures == ["InternalError"]


def test_the_payload_is_written_once(calls: Callable[..., OutgoingCall]) -> None:
    numbers = count()
    call = OutgoingCall("m", "Action", lambda: {"n": next(numbers)}, True, lambda _: None, lambda _: None)
    assert call.payload == call.payload == {"n": 0}
