"""Limits that others set at a station, and questions about messages that never came."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from optimizer.domain.charger import Connector, ConnectorStatus
from optimizer.domain.ids import EvseId, StationId

EVSE = EvseId("S201-1")


def text(at) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def connector_of(bench) -> Connector:
    """The connector as control sees it."""
    limits = bench.system.limits_of_others().get(EVSE, ())
    return Connector(EVSE, StationId("S201"), online=True, status=ConnectorStatus.CHARGING, external_limits=limits)


def bound_kw_at(bench, at) -> float | None:
    """The tightest limit of others [kW]."""
    bound = connector_of(bench).external_bound(at)
    return None if bound is None else bound[0]


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


def by_phase(*limits_a: float) -> dict:
    told = notified()
    names = ("limit", "limit_L2", "limit_L3")
    period = {"startPeriod": 0, **dict(zip(names, limits_a, strict=True))}
    told["chargingSchedule"][0]["chargingSchedulePeriod"] = [period]
    return told


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
        pytest.param(by_phase(16.0, 10.0, 12.0), 0, 6.9, id="the least of three phases"),
        pytest.param(notified(periods=((8_600_000_000_000, 10),)), 0, None, id="endless seconds"),
        pytest.param(notified(periods=(("x", "y"), (0, -1))), 0, None, id="rubbish"),
    ],
)
async def test_notified_limit_is_a_bound(bench, told, minutes, bound_kw) -> None:
    station = await bench.booted("S201", "ocpp2.0.1")
    assert await station.call("NotifyChargingLimit", told) == {}
    at = bench.clock.at + timedelta(minutes=minutes)
    assert bound_kw_at(bench, at) == (None if bound_kw is None else pytest.approx(bound_kw))


async def test_tightest_of_several_holds_until_it_is_cleared(bench) -> None:
    station = await bench.booted("S201", "ocpp2.0.1")
    await station.call("NotifyChargingLimit", notified("EMS", unit="W", periods=((0, 9000),)))
    await station.call("NotifyChargingLimit", notified("SO", None, "W", ((0, 4000),)))
    assert bound_kw_at(bench, bench.clock.at) == 4.0
    at = bench.clock.at
    (ours, theirs) = bench.system.limits_of_others()[EVSE]
    assert {ours.source, theirs.source} == {"EMS", "SO"}
    assert connector_of(bench).external_bound(at) == (4.0, "SO"), "a bound has a source"
    assert bench.events.of("limits_told") == ["S201", "S201"], "plans are made anew"
    await station.call("ClearedChargingLimit", {"chargingLimitSource": "SO"})
    assert bound_kw_at(bench, bench.clock.at) == 9.0
    await station.call("ClearedChargingLimit", {"chargingLimitSource": "EMS", "evseId": 1})
    assert bound_kw_at(bench, bench.clock.at) is None


async def test_reported_profiles_of_others_count_and_ours_do_not(bench) -> None:
    station = await bench.booted("S201", "ocpp2.0.1")
    schedule = notified(unit="W", periods=((0, 3000),))["chargingSchedule"]
    profiles = [
        {"id": 1, "chargingProfilePurpose": "TxDefaultProfile", "chargingSchedule": schedule},
        {"id": 9, "chargingProfilePurpose": "ChargingStationExternalConstraints", "chargingSchedule": schedule},
    ]
    told = {"requestId": 1, "evseId": 1, "chargingLimitSource": "SO", "chargingProfile": profiles[:1]}
    await station.call("ReportChargingProfiles", told)
    assert bound_kw_at(bench, bench.clock.at) is None
    await station.call("ReportChargingProfiles", {**told, "chargingProfile": profiles})
    assert bound_kw_at(bench, bench.clock.at) == 3.0


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


async def test_limits_of_others_are_asked_for_at_contact_and_forgotten_with_a_boot(open_bench, quick_settings) -> None:
    async with open_bench(replace(quick_settings, contact_stations=True)) as bench:
        station = await bench.booted("S201", "ocpp2.0.1")
        asked = await station.received("GetChargingProfiles")
        assert asked["chargingProfile"] == {"chargingProfilePurpose": "ChargingStationExternalConstraints"}
        await station.call("NotifyChargingLimit", notified("EMS"))
        assert bound_kw_at(bench, bench.clock.at) == pytest.approx(6.9)
        await station.boot()
        assert bound_kw_at(bench, bench.clock.at) is None
        await station.received("GetChargingProfiles", 2)
