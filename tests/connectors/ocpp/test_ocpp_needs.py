"""What vehicles say they need, and what they mean to do with what they are given (OCPP 2.x)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from connectors.ocpp.needs import vehicle_needs
from connectors.ocpp.vehicle_schedule import deviation
from optimizer.domain.charger import LimitCommand, LimitPeriod, LimitState
from optimizer.domain.ids import EvseId, StationId, TransactionId

S201, EVSE = StationId("S201"), EvseId("S201-1")
AC = {"energyAmount": 20_000, "evMinCurrent": 6, "evMaxCurrent": 16, "evMaxVoltage": 230}
DC = {"evMaxCurrent": 200, "evMaxVoltage": 500, "evEnergyCapacity": 60_000, "stateOfCharge": 40}


def text(at) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("case", "told", "expected"),
    [
        ("AC tells energy and current", {"requestedEnergyTransfer": "AC_three_phase", "acChargingParameters": AC},
         {"energy_kwh": 20.0, "max_power_kw": 11.04, "soc": None}),
        ("of one phase", {"requestedEnergyTransfer": "AC_single_phase", "acChargingParameters": AC},
         {"max_power_kw": 3.68}),
        ("DC tells its soc: what fills it up", {"requestedEnergyTransfer": "DC", "dcChargingParameters": DC},
         {"energy_kwh": 36.0, "soc": 0.4, "battery_kwh": 60.0, "max_power_kw": 100.0}),
        ("or fills it as far as it wants",
         {"requestedEnergyTransfer": "DC", "dcChargingParameters": {**DC, "fullSoC": 80}}, {"energy_kwh": 24.0}),
        ("stated energy goes before soc",
         {"requestedEnergyTransfer": "DC", "dcChargingParameters": {**DC, "energyAmount": 9000}}, {"energy_kwh": 9.0}),
        ("both ways, of three phases",
         {"requestedEnergyTransfer": "AC_BPT", "v2xChargingParameters": {
             "maxDischargePower": 2000, "maxDischargePower_L2": 2000, "maxDischargePower_L3": 2000,
             "maxChargePower": 11000, "evTargetEnergyRequest": 15000}},
         {"max_discharge_kw": 6.0, "energy_kwh": 15.0, "max_power_kw": 11.0}),
        ("both ways by current", {"requestedEnergyTransfer": "DC_BPT", "v2xChargingParameters": {
            "maxDischargeCurrent": 25, "maxVoltage": 400}}, {"max_discharge_kw": 10.0}),
        ("parameters without the wish", {"requestedEnergyTransfer": "DC", "v2xChargingParameters": {
            "maxDischargePower": 2000}}, {"max_discharge_kw": None}),
        ("nothing", {}, {"energy_kwh": None, "soc": None, "max_power_kw": None, "depart_at": None}),
        ("nonsense", {"requestedEnergyTransfer": {}, "departureTime": 7, "dcChargingParameters": {
            "stateOfCharge": 400, "evEnergyCapacity": -1, "energyAmount": "x"}}, {"energy_kwh": None, "soc": None}),
    ],
)  # fmt: skip
def test_needs(case: str, told: dict, expected: dict, make_evse, bench_start) -> None:
    needs = vehicle_needs(told, make_evse("S201", 1), bench_start, timedelta(0), v2x=True)
    for name, value in expected.items():
        assert getattr(needs, name) == (value if value is None else pytest.approx(value)), (case, name)


@pytest.fixture
def bench_start(bench):
    return bench.clock.at


async def started(bench, version: str = "ocpp2.0.1"):
    station = await bench.booted("S201", version)
    await station.call(
        "TransactionEvent",
        {
            "eventType": "Started",
            "timestamp": text(bench.clock.at),
            "triggerReason": "Authorized",
            "seqNo": 0,
            "transactionInfo": {"transactionId": "tx-a"},
            "evse": {"id": 1},
        },
    )
    return station


@pytest.mark.parametrize("version", ["ocpp2.0.1", "ocpp2.1"])
@pytest.mark.parametrize(("departs", "status"), [(True, "Accepted"), (False, "Processing")])
async def test_needs_are_answered_by_whether_they_became_the_target(
    bench, version: str, departs: bool, status: str
) -> None:
    station = await started(bench, version)
    told = {"requestedEnergyTransfer": "AC_three_phase", "acChargingParameters": AC}
    if departs:
        told["departureTime"] = text(bench.clock.at + timedelta(hours=8))
    assert await station.call("NotifyEVChargingNeeds", {"evseId": 1, "chargingNeeds": told}) == {"status": status}
    unknown = await station.call("NotifyEVChargingNeeds", {"evseId": 7, "chargingNeeds": told})
    assert unknown == {"status": "Rejected"}


async def limited(bench, *limits_kw: float) -> None:
    periods = tuple(
        LimitPeriod(bench.clock.at + timedelta(hours=hour), limit_kw) for hour, limit_kw in enumerate(limits_kw)
    )
    reply = await bench.system.set_limit(LimitCommand(S201, EVSE, TransactionId("tx-a"), periods))
    assert reply.state is LimitState.ACCEPTED


async def test_a_plan_has_no_more_periods_than_the_vehicle_takes(bench) -> None:
    station = await started(bench)
    told = {"requestedEnergyTransfer": "AC_three_phase", "acChargingParameters": AC}
    await station.call("NotifyEVChargingNeeds", {"evseId": 1, "chargingNeeds": told, "maxScheduleTuples": 2})
    await limited(bench, 11.0, 9.0, 8.0, 4.14)
    profile = station.payloads("SetChargingProfile")[-1]["chargingProfile"]
    assert len(profile["chargingSchedule"][0]["chargingSchedulePeriod"]) == 2
    assert len(profile["chargingSchedule"]) == 1


def schedule(at, *powers_w: float, base: bool = True) -> dict:
    pieces = [{"startPeriod": 3600 * hour, "limit": power_w} for hour, power_w in enumerate(powers_w)]
    told = {"id": 1, "chargingRateUnit": "W", "chargingSchedulePeriod": pieces}
    return {"evseId": 1, "timeBase": text(at) if base else "soon", "chargingSchedule": told}


@pytest.mark.parametrize(
    ("case", "powers_w", "notice", "warned"),
    [
        ("as planned", (11_000, 7_000, 4_100), "as planned", False),
        ("it begins later", (0, 7_000, 4_100), "11.0 kWh less than the plan permits, from 08:00 UTC", False),
        ("it takes less at the end", (11_000, 4_000), "3.0 kWh less than the plan permits, from 09:00 UTC", False),
        ("it means to take more", (11_000, 9_000), "up to 2.0 kW above the plan from 09:00 UTC", True),
    ],
)
async def test_a_vehicles_schedule_is_held_against_its_plan(
    bench, case: str, powers_w: tuple[float, ...], notice: str, warned: bool
) -> None:
    station = await started(bench)
    await limited(bench, 11.0, 7.0, 4.14)
    answer = await station.call("NotifyEVChargingSchedule", schedule(bench.clock.at, *powers_w))
    assert answer == {"status": "Accepted"}
    health = bench.system.health(S201)
    assert health.notices[-1].text == f"EVSE 1: {notice}", case
    assert (health.violations["vehicle means to take more than it may"] == 1) is warned


@pytest.mark.parametrize(
    ("case", "change", "status"),
    [
        ("no plan was told", {}, "Accepted"),
        ("a time that cannot be read", {"timeBase": "soon"}, "Accepted"),
        ("an unknown EVSE", {"evseId": 9}, "Rejected"),
        (
            "no pieces",
            {"chargingSchedule": {"id": 1, "chargingRateUnit": "W", "chargingSchedulePeriod": []}},
            "Rejected",
        ),
        ("no schedule", {"chargingSchedule": 7}, "Rejected"),
    ],
)
async def test_schedules_that_cannot_be_compared(bench, case: str, change: dict, status: str) -> None:
    station = await started(bench)
    told = {**schedule(bench.clock.at, 7000), **change}
    assert await station.call("NotifyEVChargingSchedule", told) == {"status": status}, case


def test_nothing_is_compared_behind_the_plan(bench_start) -> None:
    at = bench_start
    plan = (LimitPeriod(at, 7.0),)
    vehicle = (LimitPeriod(at, 7.0), LimitPeriod(at + timedelta(hours=9), 11.0))
    assert deviation(plan, vehicle, at + timedelta(hours=1)).parts_at is None
