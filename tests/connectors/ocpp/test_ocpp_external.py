"""Limits that others set at a station, and questions about messages that never came."""

from __future__ import annotations

from datetime import timedelta

import pytest

from optimizer.domain.ids import EvseId, StationId

EVSE = EvseId("S201-1")


def text(at) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def notified(source="EMS", evse_id=1, unit="A", periods=((0, 10.0),), **schedule) -> dict:
    told = {
        "chargingLimit": {"chargingLimitSource": source},
        "chargingSchedule": [
            {
                "id": 1,
                "chargingRateUnit": unit,
                "chargingSchedulePeriod": [{"startPeriod": start, "limit": limit} for start, limit in periods],
                **schedule,
            }
        ],
    }
    return told if evse_id is None else {**told, "evseId": evse_id}


@pytest.mark.parametrize(
    ("told", "minutes", "bound_kw"),
    [
        pytest.param(notified(), 0, 6.9, id="amperes"),
        pytest.param(notified(unit="W", periods=((0, 5000),)), 0, 5.0, id="watts"),
        pytest.param(notified(evse_id=None), 0, 6.9, id="whole station"),
        pytest.param(notified(periods=((0, 10), (600, 6))), 11, 4.14, id="a later piece"),
        pytest.param(notified(startSchedule="2026-03-02T09:00:00Z"), 0, None, id="not yet"),
        pytest.param(notified(startSchedule="2026-03-02T09:00:00Z"), 61, 6.9, id="in force later"),
        pytest.param({"chargingLimit": {"chargingLimitSource": "SO"}}, 0, None, id="no figures"),
        pytest.param(notified(periods=((8_600_000_000_000, 10),)), 0, None, id="endless seconds"),
        pytest.param(notified(periods=(("x", "y"), (0, -1))), 0, None, id="rubbish"),
    ],
)
async def test_notified_limit_is_a_bound(bench, told, minutes, bound_kw) -> None:
    station = await bench.booted("S201", "ocpp2.0.1")
    assert await station.call("NotifyChargingLimit", told) == {}
    at = bench.clock.at + timedelta(minutes=minutes)
    assert bench.system.external_bound_kw(EVSE, at) == (None if bound_kw is None else pytest.approx(bound_kw))


async def test_tightest_of_several_holds_until_it_is_cleared(bench) -> None:
    station = await bench.booted("S201", "ocpp2.0.1")
    await station.call("NotifyChargingLimit", notified("EMS", unit="W", periods=((0, 9000),)))
    await station.call("NotifyChargingLimit", notified("SO", None, "W", ((0, 4000),)))
    assert bench.system.external_bound_kw(EVSE, bench.clock.at) == 4.0
    await station.call("ClearedChargingLimit", {"chargingLimitSource": "SO"})
    assert bench.system.external_bound_kw(EVSE, bench.clock.at) == 9.0
    await station.call("ClearedChargingLimit", {"chargingLimitSource": "EMS", "evseId": 1})
    assert bench.system.external_bound_kw(EVSE, bench.clock.at) is None


async def test_reported_profiles_of_others_count_and_ours_do_not(bench) -> None:
    station = await bench.booted("S201", "ocpp2.0.1")
    schedule = notified(unit="W", periods=((0, 3000),))["chargingSchedule"]
    profiles = [
        {"id": 1, "chargingProfilePurpose": "TxDefaultProfile", "chargingSchedule": schedule},
        {"id": 9, "chargingProfilePurpose": "ChargingStationExternalConstraints", "chargingSchedule": schedule},
    ]
    told = {"requestId": 1, "evseId": 1, "chargingLimitSource": "SO", "chargingProfile": profiles[:1]}
    await station.call("ReportChargingProfiles", told)
    assert bench.system.external_bound_kw(EVSE, bench.clock.at) is None
    await station.call("ReportChargingProfiles", {**told, "chargingProfile": profiles})
    assert bench.system.external_bound_kw(EVSE, bench.clock.at) == 3.0


async def test_missing_messages_of_a_transaction_are_asked_for_once(bench) -> None:
    station = await bench.booted("S201", "ocpp2.0.1")
    station.replies["GetTransactionStatus"] = {"messagesInQueue": True, "ongoingIndicator": True}
    for number in (0, 4, 5):
        told = {
            "eventType": "Updated",
            "timestamp": text(bench.clock.at),
            "triggerReason": "MeterValuePeriodic",
            "seqNo": number,
            "transactionInfo": {"transactionId": "tx-a"},
            "evse": {"id": 1},
        }
        await station.call("TransactionEvent", told)
    assert await station.received("GetTransactionStatus") == {"transactionId": "tx-a"}
    await station.call("Heartbeat")
    assert len(station.payloads("GetTransactionStatus")) == 1
    assert bench.system.health(StationId("S201")).violations["messages of a transaction missing"] == 1
