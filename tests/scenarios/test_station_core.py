"""A station without a wire: what it tells, in which order and with which instants."""

from __future__ import annotations

from dataclasses import replace
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
    registers,
    virtual_evse,
)

from optimizer.domain.site import CurrentType, Evse
from scenarios.station_settings import OcppVersion
from scenarios.vehicle_model import StatedNeeds, VehicleModel


def test_a_16_stay_is_told_in_order() -> None:
    wire = charging(V16, leaves=31)
    wire.pass_time(at_minute(40))
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
    wire = charging(V201, leaves=31)
    wire.pass_time(at_minute(40))
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


@pytest.mark.parametrize("version", VERSIONS)
def test_aligned_readings_are_exact_however_late_they_are_taken(version: OcppVersion) -> None:
    wire = Wire(version, reads_when_idle=True)
    wire.connect()
    wire.core.plug_in(1, VehicleModel(50.0), TOKEN, NOON, at_minute(13))
    wire.flush()
    wire.pass_time(at_minute(17))
    wire.pass_time(at_minute(22))
    expected = {"12:05:00": 1840, "12:10:00": 3680, "12:15:00": 4784, "12:20:00": 4784}
    told = registers(wire)
    assert {stamp: told[stamp] for stamp in expected} == expected


def test_a_reading_tells_what_flows() -> None:
    wire = charging(V16)
    wire.ask(*limit_call(wire, 10.0), at=at_minute(2))
    wire.pass_time(at_minute(5))
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
    wire = charging(version, takes_kwh=6.9)
    assert wire.ask(*limit_call(wire, 10.0), at=NOON) == {"status": "Accepted"}
    wire.pass_time(at_minute(90))
    physics = wire.core.evses[1].physics
    assert [(step.at, step.power_kw) for step in physics.trace.steps if step.power_kw] == [(NOON, pytest.approx(6.9))]
    if version is V16:
        assert wire.of("StatusNotification")[-1]["status"] == "SuspendedEV"
        assert wire.of("StatusNotification")[-1]["timestamp"] == "2026-03-02T13:00:00.000Z"
    else:
        changed = [event for event in wire.of("TransactionEvent") if event["triggerReason"] == "ChargingStateChanged"]
        assert [event["transactionInfo"]["chargingState"] for event in changed] == ["Charging", "SuspendedEV"]


def test_a_pause_is_told_as_the_stations() -> None:
    wire = charging(V16)
    wire.ask(*limit_call(wire, 5.0), at=at_minute(1))
    assert wire.of("StatusNotification")[-1]["status"] == "SuspendedEVSE"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_profile_of_a_transaction_ends_with_it(version: OcppVersion) -> None:
    wire = charging(version, leaves=10)
    wire.ask(*limit_call(wire, 16.0, purpose="TxDefaultProfile", number=2), at=at_minute(1))
    wire.ask(*limit_call(wire, 10.0), at=at_minute(1))
    assert len(wire.core.held) == 2
    wire.pass_time(at_minute(11))
    assert [one.profile.id for one in wire.core.held] == [2]


@pytest.mark.parametrize("version", VERSIONS)
def test_profiles_survive_a_lost_connection(version: OcppVersion) -> None:
    wire = charging(version)
    wire.ask(*limit_call(wire, 10.0), at=at_minute(1))
    wire.core.disconnected(at_minute(2))
    wire.core.advance(at_minute(20))
    assert wire.core.evses[1].physics.trace.power_kw(at_minute(20)) == pytest.approx(6.9)
    wire.told.clear()
    wire.connect(at_minute(21))
    wire.pass_time(at_minute(25))
    assert "BootNotification" not in [action for action, _ in wire.told]
    readings = registers(wire)
    assert list(readings) == ["12:05:00", "12:10:00", "12:15:00", "12:20:00", "12:25:00"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_stay_while_offline_is_told_afterwards(version: OcppVersion) -> None:
    wire = Wire(version)
    wire.connect()
    wire.core.disconnected(at_minute(1))
    wire.core.plug_in(1, VehicleModel(50.0), TOKEN, at_minute(2), at_minute(12))
    wire.core.advance(at_minute(30))
    wire.told.clear()
    assert wire.ended[0].vehicle.taken_kwh == pytest.approx(22.08 / 6)
    wire.connect(at_minute(31))
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
    wire.core.advance(at_minute(5))
    assert visit.refused
    assert wire.core.evses[1].physics.trace.register_kwh(at_minute(5)) == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_a_token_refused_gets_no_energy(version: OcppVersion) -> None:
    wire = Wire(version)
    wire.token_status = "Invalid"
    wire.connect()
    visit = wire.core.plug_in(1, VehicleModel(50.0), TOKEN, NOON, None)
    wire.flush()
    wire.pass_time(at_minute(30))
    assert visit.refused
    assert visit.transaction is None
    assert wire.core.evses[1].physics.trace.register_kwh(at_minute(30)) == 0


def test_a_token_refused_only_at_the_start_stops_the_transaction() -> None:
    wire = Wire(V16)
    wire.core.plug_in(1, VehicleModel(50.0), TOKEN, NOON, None)
    wire.token_status = "Blocked"
    wire.connect(at_minute(2))
    assert wire.of("StopTransaction")[0]["reason"] == "DeAuthorized"
    wire.pass_time(at_minute(30))
    assert wire.core.evses[1].physics.trace.register_kwh(at_minute(30)) == pytest.approx(22.08 / 30)


def test_nothing_but_boots_until_one_is_accepted() -> None:
    wire = Wire(V16)
    wire.core.connected(NOON)
    boot = wire.core.outbox.head
    assert boot is not None
    boot.attempts += 1
    pending = {"status": "Pending", "currentTime": "2026-03-02T12:00:00Z", "interval": 30}
    wire.core.outbox.acknowledge(boot.message_id, pending)
    assert not wire.core.is_booted
    wire.pass_time(at_minute(0.4))
    assert wire.told == []
    wire.pass_time(at_minute(0.5))
    assert wire.told[0][0] == "BootNotification"
    assert wire.core.is_booted


NEEDS = {
    "AC": (
        virtual_evse(1), {"phases_used": 1, "max_current_a": 16.0},
        {"requestedEnergyTransfer": "AC_single_phase", "departureTime": "2026-03-02T16:00:00.000Z",
         "acChargingParameters": {"energyAmount": 20500, "evMinCurrent": 6, "evMaxCurrent": 16, "evMaxVoltage": 230}},
    ),
    "DC": (
        replace(virtual_evse(1), current_type=CurrentType.DC, max_current_a=200.0),
        {"max_current_a": 200.0, "battery_kwh": 60.0, "arrival_soc": 0.25},
        {"requestedEnergyTransfer": "DC", "departureTime": "2026-03-02T16:00:00.000Z",
         "dcChargingParameters": {"evMaxCurrent": 345, "evMaxVoltage": 400, "evMaxPower": 138000,
                                  "energyAmount": 20500, "evEnergyCapacity": 60000, "stateOfCharge": 25}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("version", [V201, V21])
@pytest.mark.parametrize(("evse", "vehicle", "expected"), NEEDS.values(), ids=NEEDS)
def test_a_cars_needs_are_told(
    evse: Evse, vehicle: dict[str, Any], expected: dict[str, Any], version: OcppVersion
) -> None:
    wire = Wire(version, evse=evse)
    wire.connect()
    needs = StatedNeeds(20.5, at_minute(240))
    wire.core.plug_in(1, VehicleModel(30.0, needs=needs, **vehicle), TOKEN, NOON, None)
    wire.flush()
    assert wire.of("NotifyEVChargingNeeds") == [{"evseId": 1, "chargingNeeds": expected}]
    assert [action for action, _ in wire.told].index("NotifyEVChargingNeeds") == 5


def test_a_dc_car_tells_its_state_of_charge() -> None:
    wire = Wire(V16, evse=replace(virtual_evse(1), current_type=CurrentType.DC))
    wire.connect()
    wire.core.plug_in(1, VehicleModel(30.0, battery_kwh=55.2, arrival_soc=0.25), TOKEN, NOON, None)
    wire.flush()
    wire.pass_time(at_minute(5))
    soc = wire.of("MeterValues")[-1]["meterValue"][0]["sampledValue"][-1]
    assert (soc["measurand"], soc["value"], soc["unit"], soc["location"]) == ("SoC", "28.3", "Percent", "EV")


def test_a_station_may_tell_each_phase() -> None:
    wire = charging(V16, tells_each_phase=True)
    wire.ask(*limit_call(wire, 10.0), at=NOON)
    wire.pass_time(at_minute(5))
    values = wire.of("MeterValues")[-1]["meterValue"][0]["sampledValue"]
    assert len(values) == 12
    assert sum(float(v["value"]) for v in values if v["measurand"] == "Power.Active.Import" and "phase" in v) == 6900
    assert values[-1]["measurand"] == "Current.Offered"


def _dynamic(wire: Wire, limit: float, **more: Any) -> tuple[str, dict[str, Any]]:
    action, payload = limit_call(wire, limit, number=9)
    profile = payload["chargingProfile"]
    profile["chargingProfileKind"] = "Dynamic"
    del profile["chargingSchedule"][0]["startSchedule"]
    profile["chargingSchedule"][0].update(more)
    return action, payload


def test_a_dynamic_limit_is_renewed_and_runs_out() -> None:
    wire = charging(V21)
    assert wire.ask(*_dynamic(wire, 10.0, duration=600), at=NOON) == {"status": "Accepted"}
    update = {"chargingProfileId": 9, "scheduleUpdate": {"limit": 20.0, "limit_L2": 16.0, "limit_L3": 18.0}}
    assert wire.ask("UpdateDynamicSchedule", update, at=at_minute(8)) == {"status": "Accepted"}
    wire.pass_time(at_minute(30))
    steps = [(step.at, round(step.power_kw / 0.69)) for step in wire.core.evses[1].physics.trace.steps]
    assert steps == [(NOON, 10), (at_minute(8), 16), (at_minute(18), 32)]
    unknown = {"chargingProfileId": 8, "scheduleUpdate": {"limit": 20.0}}
    assert wire.ask("UpdateDynamicSchedule", unknown, at=at_minute(31)) == {"status": "Rejected"}
    without = {"chargingProfileId": 9, "scheduleUpdate": {"setpoint": 20.0}}
    assert wire.ask("UpdateDynamicSchedule", without, at=at_minute(31))["statusInfo"] == {
        "reasonCode": "UnsupportedParam"
    }


OFFLINE = {"holds again afterwards": (False, 10), "gone for good": (True, 32)}


@pytest.mark.parametrize(("for_good", "afterwards_a"), OFFLINE.values(), ids=OFFLINE)
def test_a_limit_may_hold_for_a_while_only_without_a_connection(for_good: bool, afterwards_a: int) -> None:
    wire = charging(V21)
    action, payload = limit_call(wire, 10.0)
    payload["chargingProfile"] |= {"maxOfflineDuration": 300, "invalidAfterOfflineDuration": for_good}
    wire.ask(action, payload, at=NOON)
    wire.core.disconnected(at_minute(10))
    wire.core.advance(at_minute(20))
    wire.connect(at_minute(21))
    wire.pass_time(at_minute(22))
    steps = [(step.at, round(step.power_kw / 0.69)) for step in wire.core.evses[1].physics.trace.steps]
    assert steps[:2] == [(NOON, 10), (at_minute(15), 32)]
    assert round(wire.core.evses[1].physics.trace.power_kw(at_minute(22)) / 0.69) == afterwards_a
