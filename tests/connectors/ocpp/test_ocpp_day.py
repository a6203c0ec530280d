"""The thin line of one charging session over a real websocket, in 1.6 and in 2.0.1."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from optimizer.domain.charger import ConnectorStatus, LimitCommand, LimitPeriod, LimitState
from optimizer.domain.ids import EvseId, StationId, TransactionId


def text(at) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


async def session_16(bench):
    station = await bench.booted("S16", "ocpp1.6")
    await station.call(
        "StatusNotification",
        {"connectorId": 1, "status": "Preparing", "errorCode": "NoError", "timestamp": text(bench.clock.at)},
    )
    assert (await station.call("Authorize", {"idTag": "TAG-1"}))["idTagInfo"]["status"] == "Accepted"
    started = await station.call(
        "StartTransaction",
        {"connectorId": 1, "idTag": "TAG-1", "meterStart": 1000, "timestamp": text(bench.clock.at)},
    )
    assert started == {"transactionId": 101, "idTagInfo": {"status": "Accepted"}}
    bench.clock.advance(minutes=10)
    await station.call(
        "MeterValues",
        {
            "connectorId": 1,
            "transactionId": 101,
            "meterValue": [
                {
                    "timestamp": text(bench.clock.at),
                    "sampledValue": [
                        {"value": "2000", "unit": "Wh", "measurand": "Energy.Active.Import.Register"},
                        {"value": "6.0", "unit": "kW", "measurand": "Power.Active.Import"},
                    ],
                }
            ],
        },
    )
    return station, TransactionId("101")


async def end_16(bench, station):
    bench.clock.advance(minutes=10)
    told = {"transactionId": 101, "meterStop": 3000, "timestamp": text(bench.clock.at), "reason": "EVDisconnected"}
    assert await station.call("StopTransaction", told) == {}


async def session_201(bench):
    station = await bench.booted("S201", "ocpp2.0.1")
    at = text(bench.clock.at)
    await station.call(
        "StatusNotification", {"evseId": 1, "connectorId": 1, "connectorStatus": "Occupied", "timestamp": at}
    )
    token = {"idToken": "TAG-1", "type": "ISO14443"}
    assert (await station.call("Authorize", {"idToken": token}))["idTokenInfo"]["status"] == "Accepted"
    started = await station.call("TransactionEvent", event_201("Started", 0, at, 1000, "Charging", idToken=token))
    assert started == {"idTokenInfo": {"status": "Accepted"}}
    bench.clock.advance(minutes=10)
    event = event_201("Updated", 1, text(bench.clock.at), 2000, "Charging")
    power = {"value": 6.0, "measurand": "Power.Active.Import", "unitOfMeasure": {"unit": "kW"}}
    event["meterValue"][0]["sampledValue"].append(power)
    assert await station.call("TransactionEvent", event) == {}
    return station, TransactionId("tx-a")


def event_201(kind, number, at, register_wh, state, **more):
    return {
        "eventType": kind,
        "timestamp": at,
        "triggerReason": "MeterValuePeriodic",
        "seqNo": number,
        "evse": {"id": 1, "connectorId": 1},
        "transactionInfo": {
            "transactionId": "tx-a",
            "chargingState": state,
            **({"stoppedReason": "EVDisconnected"} if kind == "Ended" else {}),
        },
        "meterValue": [{"timestamp": at, "sampledValue": [{"value": register_wh}]}],
        **more,
    }


async def end_201(bench, station):
    bench.clock.advance(minutes=10)
    event = event_201("Ended", 2, text(bench.clock.at), 3000, "Idle")
    assert await station.call("TransactionEvent", event) == {}


@pytest.mark.parametrize(
    ("begin", "end", "station_id"),
    [pytest.param(session_16, end_16, "S16", id="1.6"), pytest.param(session_201, end_201, "S201", id="2.0.1")],
)
class TestOneSession:
    async def test_what_the_service_is_told(self, bench, begin, end, station_id) -> None:
        station, transaction_id = await begin(bench)
        await end(bench, station)
        booted = bench.events.of("station_booted")
        assert [(event.station_id, event.vendor) for event in booted] == [(station_id, "Maker")]
        begun = bench.events.of("transaction_begun")[0]
        assert (begun.token_id, begun.register_kwh, begun.ocpp_evse_id) == ("TAG-1", Decimal("1.000"), 1)
        registers = [sample.register_kwh for sample in bench.events.samples if sample.register_kwh is not None]
        assert sorted(set(registers)) == [Decimal(1), Decimal(2), Decimal(3)]
        assert 6.0 in [sample.power_kw for sample in bench.events.samples]
        assert {sample.transaction_id for sample in bench.events.samples} == {transaction_id}
        finished = bench.events.of("transaction_finished")[0]
        assert (finished.transaction_id, finished.register_kwh, finished.reason) == (
            transaction_id,
            Decimal(3),
            "EVDisconnected",
        )
        assert bench.events.samples[-1].power_kw == 0.0

    async def test_first_state_is_occupied(self, bench, begin, end, station_id) -> None:
        await begin(bench)
        assert bench.events.of("connector_reported")[0].status is ConnectorStatus.PREPARING

    async def test_limit_goes_out_as_a_profile_and_the_answer_comes_back(self, bench, begin, end, station_id) -> None:
        station, transaction_id = await begin(bench)
        now = bench.clock.at
        command = LimitCommand(
            StationId(station_id),
            EvseId(f"{station_id}-1"),
            transaction_id,
            (
                LimitPeriod(now, 11.04),
                LimitPeriod(now + timedelta(minutes=15), 0.0),
                LimitPeriod(now + timedelta(minutes=30), 4.14),
            ),
        )
        reply = await bench.system.set_limit(command)
        assert reply.state is LimitState.ACCEPTED
        payload = await station.received("SetChargingProfile")
        profile = payload.get("csChargingProfiles") or payload["chargingProfile"]
        schedule = profile["chargingSchedule"]
        schedule = schedule[0] if isinstance(schedule, list) else schedule
        assert profile["chargingProfilePurpose"] == "TxProfile"
        assert str(profile["transactionId"]) == transaction_id
        assert schedule["startSchedule"] == text(now - timedelta(seconds=60))
        assert "duration" not in schedule
        assert schedule["chargingSchedulePeriod"] == [
            {"startPeriod": 0, "limit": 16.0, "numberPhases": 3},
            {"startPeriod": 960, "limit": 0.0, "numberPhases": 3},
            {"startPeriod": 1860, "limit": 6.0, "numberPhases": 3},
        ]

    async def test_safe_default_and_clearing(self, bench, begin, end, station_id) -> None:
        station, _ = await begin(bench)
        place = (StationId(station_id), EvseId(f"{station_id}-1"))
        assert (await bench.system.set_safe_default(*place, 4.14)).state is LimitState.ACCEPTED
        # Where a vehicle charges, nothing is removed: until the new default is there, nothing would limit it.
        assert [action for action, _ in station.calls] == ["SetChargingProfile"]
        assert (await bench.system.set_safe_default(*place, 4.14)).detail == "unchanged"
        await end(bench, station)
        told = {"timestamp": text(bench.clock.at), "connectorId": 1}
        available = {"evseId": 1, "connectorStatus": "Available"}
        if station_id == "S16":
            available = {"errorCode": "NoError", "status": "Available"}
        await station.call("StatusNotification", {**told, **available})
        station.replies["ClearChargingProfile"] = {"status": "Unknown"}
        assert (await bench.system.clear_limit(*place)).state is LimitState.ACCEPTED
        removed_and_installed = ["ClearChargingProfile", "SetChargingProfile"]
        assert [action for action, _ in station.calls][1:] == [*removed_and_installed, "ClearChargingProfile"]

    async def test_station_maximum(self, bench, begin, end, station_id) -> None:
        station, _ = await begin(bench)
        assert (await bench.system.set_station_maximum(StationId(station_id), 13.8)).state is LimitState.ACCEPTED
        payload = station.payloads("SetChargingProfile")[0]
        assert payload.get("connectorId", payload.get("evseId")) == 0
        profile = payload.get("csChargingProfiles") or payload["chargingProfile"]
        assert profile["chargingProfilePurpose"] in ("ChargePointMaxProfile", "ChargingStationMaxProfile")
        assert "'limit': 20.0, 'numberPhases': 3" in str(profile)

    async def test_refusal_and_silence_are_told_apart(self, bench, begin, end, station_id) -> None:
        station, transaction_id = await begin(bench)
        command = LimitCommand(
            StationId(station_id),
            EvseId(f"{station_id}-1"),
            transaction_id,
            (LimitPeriod(bench.clock.at, 5.0),),
        )
        station.replies["SetChargingProfile"] = {"status": "Rejected"}
        assert await states_of(bench, command) is LimitState.REJECTED
        station.calls.clear()
        station.replies["SetChargingProfile"] = "InternalError"
        assert await states_of(bench, command) is LimitState.REJECTED
        assert len(station.calls) == 1
        station.replies["SetChargingProfile"] = lambda _: None
        assert await states_of(bench, command) is LimitState.UNANSWERED
        assert len(station.calls) == 3
        await station.close()
        await bench.eventually(lambda: not bench.system.is_online(StationId(station_id)))
        assert await states_of(bench, command) is LimitState.UNANSWERED
        assert bench.events.of("station_disconnected") == [station_id]


@pytest.mark.parametrize(("version", "ends"), [("ocpp2.1", True), ("ocpp2.0.1", False)])
async def test_plan_of_21_ends_offline_where_the_settings_say_so(open_bench, quick_settings, version, ends) -> None:
    async with open_bench(replace(quick_settings, plan_lasts_offline_s=900)) as bench:
        station = await bench.booted("S201", version)
        limit = (LimitPeriod(bench.clock.at, 5.0),)
        command = LimitCommand(StationId("S201"), EvseId("S201-1"), TransactionId("tx-a"), limit)
        await bench.system.set_safe_default(StationId("S201"), EvseId("S201-1"), 4.14)
        await bench.system.set_limit(command)
        safe, plan = (payload["chargingProfile"] for payload in station.payloads("SetChargingProfile"))
        assert "maxOfflineDuration" not in safe
        assert (plan.get("maxOfflineDuration"), plan.get("invalidAfterOfflineDuration")) == (
            (900, True) if ends else (None, None)
        )


async def states_of(bench, command):
    return (await bench.system.set_limit(command)).state
