"""What stations can do: declared, found by trial, proven or denied by the meter, kept."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from datetime import timedelta

import pytest

from connectors.ocpp.capability import (
    FileCapabilities,
    MemoryCapabilities,
    PlanPurpose,
    RateUnit,
    StationCapability,
    StationIdentity,
    as_declared,
    as_permitted,
    preset_for,
)
from connectors.ocpp.outbound import SettingName
from optimizer.domain.charger import LimitCommand, LimitPeriod, LimitState
from optimizer.domain.ids import EvseId, StationId, TransactionId
from optimizer.errors import InvalidDataFile

S16 = StationId("S16")
TX_DEFAULT = PlanPurpose.TX_DEFAULT_PROFILE
EVSE = EvseId("S16-1")


def text(at) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("told", "unit"),
    [
        pytest.param("Current", RateUnit.A, id="1.6"),
        pytest.param("Power", RateUnit.W, id="1.6 power"),
        pytest.param("Current,Power", None, id="both"),
        pytest.param("A", RateUnit.A, id="2.x word in 1.6"),
        pytest.param("W", RateUnit.W, id="2.x"),
        pytest.param("A, W", None, id="2.x both"),
        pytest.param("", None, id="nothing"),
        pytest.param("Horses", None, id="nonsense"),
    ],
)
def test_declared_unit(told, unit) -> None:
    assert as_declared(StationCapability(), {SettingName.RATE_UNITS: told}).rate_unit is unit


@pytest.mark.parametrize(("told", "periods"), [("3", 3), ("42", 10), ("0", 10), ("many", 10), (" 5 ", 5)])
def test_declared_periods(told, periods) -> None:
    assert as_declared(StationCapability(), {SettingName.MAX_PERIODS: told}).max_periods == periods


def test_what_the_meter_proved_is_not_undone_by_words() -> None:
    proven = StationCapability(rate_unit=RateUnit.W, proven=True)
    assert as_declared(proven, {SettingName.RATE_UNITS: "A"}) == proven


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (StationIdentity("Huawei", "FusionCharge"), StationCapability(rate_unit=RateUnit.W)),
        (
            StationIdentity("Wall Box Chargers", "Pulsar", "5.17.67"),
            StationCapability(absolute=False, greatest_stack_level=0),
        ),
        (StationIdentity("ABB", "TERRA AC W22"), StationCapability(greatest_stack_level=0)),
        (StationIdentity("Easee", "Home"), StationCapability(keeps_meter_interval=True)),
        (StationIdentity("EVBox", "BusinessLine Elvi"), StationCapability(keeps_meter_interval=True)),
        (StationIdentity("Wall Box Chargers", "Pulsar", "6.1"), StationCapability()),
        (StationIdentity("Unheard of", "X"), StationCapability()),
    ],
)
def test_presets(identity, expected) -> None:
    assert preset_for(identity) == expected


class TestLadder:
    def test_least_changes_come_first_and_none_twice(self, make_evse) -> None:
        rungs = StationCapability().ladder(make_evse("S", 1))
        assert rungs[0] == StationCapability()
        assert len(set(rungs)) == len(rungs) == 24
        assert StationCapability(rate_unit=RateUnit.W) in rungs[1:5]
        assert StationCapability(absolute=False) in rungs[1:5]
        assert StationCapability(plan_purpose=PlanPurpose.TX_DEFAULT_PROFILE) in rungs[1:6]
        assert StationCapability(stack_level=1) in rungs[1:6]

    @pytest.mark.parametrize(
        ("case", "capability", "default_level", "plan_level", "other_level"),
        [
            ("nothing known", StationCapability(), 0, 0, 1),
            ("the highest is known", StationCapability(greatest_stack_level=9), 0, 0, 9),
            ("only the highest is taken", StationCapability(stack_level=9, greatest_stack_level=9), 8, 9, 0),
            ("level 0 alone", StationCapability(greatest_stack_level=0), 0, 0, 0),
            ("plans as defaults lie above", StationCapability(plan_purpose=TX_DEFAULT), 0, 1, 1),
            ("and take the default's place where there is one level", StationCapability(plan_purpose=TX_DEFAULT, greatest_stack_level=0), 0, 0, 0),
        ],
    )  # fmt: skip
    def test_stack_levels(self, case, capability, default_level, plan_level, other_level) -> None:
        levels = capability.default_level, capability.plan_level, capability.other_stack_level
        assert levels == (default_level, plan_level, other_level), case


class TestKeepingThem:
    async def test_file_survives_a_restart(self, tmp_path) -> None:
        path = tmp_path / "abilities.json"
        identity, known = StationIdentity("Maker", "One", "1.0"), StationCapability(RateUnit.W, proven=True)
        await FileCapabilities(path).save(identity, known)
        await FileCapabilities(path).save(StationIdentity("Other"), StationCapability())
        again = FileCapabilities(path)
        assert await again.capability(identity) == known
        assert await again.capability(StationIdentity("Nobody")) is None

    async def test_a_disk_that_takes_nothing_holds_up_no_limit(self, tmp_path) -> None:
        path = tmp_path / "no such folder" / "abilities.json"
        identity = StationIdentity("Maker", "Model", "1.0")
        abilities = FileCapabilities(path)
        await abilities.save(identity, StationCapability(proven=True))
        assert await abilities.capability(identity) == StationCapability(proven=True)

    @pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"vendor":"x"}]', '[{"vendor":1,"model":1,"firmware":1,"rate_unit":"V","plan_purpose":"?"}]'])  # fmt: skip
    def test_damaged_file_is_named(self, tmp_path, content) -> None:
        path = tmp_path / "abilities.json"
        path.write_text(content)
        if content == "{}":
            assert FileCapabilities(path)
            return
        with pytest.raises(InvalidDataFile) as damaged:
            FileCapabilities(path)
        assert str(path) in str(damaged.value)


async def charging(bench, station) -> None:
    told = {"connectorId": 1, "idTag": "TAG-1", "meterStart": 0, "timestamp": text(bench.clock.at)}
    await station.call("StartTransaction", told)


async def meter(bench, station, current_a: float, minutes: float = 2) -> None:
    bench.clock.advance(minutes=minutes)
    values = [
        {"value": str(current_a), "measurand": "Current.Import", "unit": "A", "phase": phase}
        for phase in ("L1", "L2", "L3")
    ]
    entry = {"timestamp": text(bench.clock.at), "sampledValue": values}
    await station.call("MeterValues", {"connectorId": 1, "transactionId": 101, "meterValue": [entry]})


async def limited(bench, limit_kw: float) -> LimitState:
    periods = (LimitPeriod(bench.clock.at, limit_kw), LimitPeriod(bench.clock.at + timedelta(hours=4), 4.14))
    return (await bench.system.set_limit(LimitCommand(S16, EVSE, TransactionId("101"), periods))).state


def form(payload) -> tuple[str, str, str]:
    profile = payload["csChargingProfiles"]
    unit = profile["chargingSchedule"]["chargingRateUnit"]
    return profile["chargingProfilePurpose"], profile["chargingProfileKind"], unit


def takes_only(**wanted):
    """A station's answer to SetChargingProfile by purpose, kind and unit."""

    def reply(payload):
        purpose, kind, unit = form(payload)
        told = {"purpose": purpose, "kind": kind, "unit": unit}
        return {"status": "Accepted" if all(told[name] == value for name, value in wanted.items()) else "Rejected"}

    return reply


class TestTrial:
    @pytest.mark.parametrize(
        "wanted",
        [
            pytest.param({"unit": "W"}, id="power only"),
            pytest.param({"kind": "Relative"}, id="relative only"),
            pytest.param({"purpose": "TxDefaultProfile"}, id="default profiles only"),
            pytest.param({"unit": "W", "kind": "Relative"}, id="power and relative only"),
            pytest.param({"unit": "W", "kind": "Relative", "purpose": "TxDefaultProfile"}, id="all three"),
        ],
    )
    async def test_form_that_the_station_takes_is_found_and_used_from_then_on(self, bench, wanted) -> None:
        station = await bench.booted()
        await charging(bench, station)
        station.replies["SetChargingProfile"] = takes_only(**wanted)
        assert await limited(bench, 5.0) is LimitState.ACCEPTED
        station.calls.clear()
        assert await limited(bench, 6.0) is LimitState.ACCEPTED
        assert len(station.calls) == 1

    async def test_station_that_takes_none_is_not_hammered(self, bench) -> None:
        station = await bench.booted()
        await charging(bench, station)
        station.replies["SetChargingProfile"] = {"status": "Rejected"}
        assert await limited(bench, 5.0) is LimitState.REJECTED
        assert len(station.calls) == 26, "24 forms, then room is made for the first"
        assert await limited(bench, 6.0) is LimitState.REJECTED
        assert len(station.calls) == 27

    async def test_after_a_restart_of_the_station_all_is_tried_again(self, bench) -> None:
        station = await bench.booted()
        await charging(bench, station)
        station.replies["SetChargingProfile"] = {"status": "Rejected"}
        await limited(bench, 5.0)
        await station.boot()
        station.replies["SetChargingProfile"] = takes_only(unit="W")
        assert await limited(bench, 5.0) is LimitState.ACCEPTED

    async def test_limit_for_a_transaction_that_is_over_teaches_nothing(self, bench) -> None:
        station = await bench.booted()
        station.replies["SetChargingProfile"] = {"status": "Rejected"}
        assert await limited(bench, 5.0) is LimitState.REJECTED
        assert len(station.calls) == 1

    async def test_station_whose_store_of_profiles_is_full_takes_one_when_room_is_made(self, bench) -> None:
        station = await bench.booted()
        await charging(bench, station)
        await limited(bench, 5.0)
        full = [True]

        def cleared(_payload):
            full[0] = False
            return {"status": "Accepted"}

        station.replies["ClearChargingProfile"] = cleared
        station.replies["SetChargingProfile"] = lambda _: {"status": "Rejected" if full[0] else "Accepted"}
        assert await limited(bench, 6.0) is LimitState.ACCEPTED
        assert station.payloads("ClearChargingProfile") == [{"id": 2}]

    async def test_station_that_takes_few_periods_is_found(self, bench) -> None:
        station = await bench.booted()
        await charging(bench, station)

        def reply(payload):
            periods = payload["csChargingProfiles"]["chargingSchedule"]["chargingSchedulePeriod"]
            return {"status": "Rejected" if len(periods) > 2 else "Accepted"}

        station.replies["SetChargingProfile"] = reply
        at = bench.clock.at
        pieces = [LimitPeriod(at + timedelta(hours=hour), limit_kw) for hour, limit_kw in enumerate((9.66, 8.28, 4.14))]
        told = LimitCommand(S16, EVSE, TransactionId("101"), tuple(pieces))
        assert (await bench.system.set_limit(told)).state is LimitState.ACCEPTED
        last = station.payloads("SetChargingProfile")[-1]["csChargingProfiles"]["chargingSchedule"]
        assert [period["limit"] for period in last["chargingSchedulePeriod"]] == [12.0, 6.0]
        station.calls.clear()
        assert (await bench.system.set_limit(told)).state is LimitState.ACCEPTED
        assert len(station.calls) == 1

    async def test_station_that_takes_the_lowest_stack_level_alone(self, bench) -> None:
        """A plan that is a default profile then takes the safe default's place, which comes back with the end."""
        station = await bench.booted()
        bench.system._records[S16].start_capability(StationCapability(greatest_stack_level=0))
        await bench.system.set_safe_default(S16, EVSE, 4.14)
        await charging(bench, station)
        station.replies["SetChargingProfile"] = takes_only(purpose="TxDefaultProfile")
        assert await limited(bench, 9.66) is LimitState.ACCEPTED
        assert {payload["csChargingProfiles"]["stackLevel"] for payload in station.payloads("SetChargingProfile")} == {
            0
        }
        station.calls.clear()
        assert (await bench.system.clear_limit(S16, EVSE)).state is LimitState.ACCEPTED
        (safe,) = station.payloads("SetChargingProfile")
        assert safe["csChargingProfiles"]["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"] == 6.0

    async def test_newer_limit_ends_the_trial_of_an_older(self, bench) -> None:
        station = await bench.booted()
        await charging(bench, station)
        asked = []

        def reply(payload):
            if not asked:
                asked.append(asyncio.ensure_future(limited(bench, 4.14)))
            limit = payload["csChargingProfiles"]["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"]
            return {"status": "Accepted" if limit == 6.0 else "Rejected"}

        station.replies["SetChargingProfile"] = reply
        assert await limited(bench, 11.04) is LimitState.UNANSWERED
        assert await asked[0] is LimitState.ACCEPTED
        limits = [payload["csChargingProfiles"]["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"] for payload in station.payloads("SetChargingProfile")]  # fmt: skip
        assert limits[-1] == 6.0

    async def test_station_that_takes_no_zero_gets_the_least_current_and_nobody_is_deceived(self, bench) -> None:
        station = await bench.booted()
        await charging(bench, station)

        def reply(payload):
            periods = payload["csChargingProfiles"]["chargingSchedule"]["chargingSchedulePeriod"]
            return {"status": "Rejected" if any(period["limit"] == 0 for period in periods) else "Accepted"}

        station.replies["SetChargingProfile"] = reply
        assert await limited(bench, 0.0) is LimitState.REJECTED
        last = station.payloads("SetChargingProfile")[-1]["csChargingProfiles"]
        assert last["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"] == 6.0
        assert len(station.calls) == 2
        assert await limited(bench, 0.0) is LimitState.REJECTED
        assert len(station.calls) == 3
        assert await limited(bench, 5.0) is LimitState.ACCEPTED
        assert len(station.calls) == 4

    async def test_safe_default_is_tried_too(self, bench) -> None:
        station = await bench.booted()
        station.replies["SetChargingProfile"] = takes_only(unit="W")
        assert (await bench.system.set_safe_default(S16, EVSE, 4.14)).state is LimitState.ACCEPTED


class TestMeterJudges:
    async def test_limits_that_are_followed_are_proven_and_kept(self, open_bench) -> None:
        kept = MemoryCapabilities()
        async with open_bench(capabilities=kept) as bench:
            station = await bench.booted()
            await charging(bench, station)
            for limit_kw, current_a in ((11.04, 15.8), (5.52, 7.9), (11.04, 15.8)):
                await limited(bench, limit_kw)
                await meter(bench, station, current_a)
            await limited(bench, 6.9)
            known = await kept.capability(StationIdentity("Maker", "One", "1.0"))
            assert known is not None
            assert known.proven

    async def test_what_was_seen_beside_it_is_kept_too(self, open_bench) -> None:
        kept = MemoryCapabilities()
        async with open_bench(capabilities=kept) as bench:
            station = await bench.booted()
            await charging(bench, station)
            for limit_kw, current_a, minutes in (
                (11.04, 15.8, 2.0), (5.52, 15.8, 0.5), (5.52, 7.9, 1.0), (11.04, 15.8, 2.0), (4.14, 5.9, 2.0),
            ):  # fmt: skip
                if (limit_kw, current_a) != (5.52, 7.9):
                    await limited(bench, limit_kw)
                await meter(bench, station, current_a, minutes=minutes)
            await limited(bench, 6.9)
            known = await kept.capability(StationIdentity("Maker", "One", "1.0"))
            assert known is not None
            assert known.least_current_a == pytest.approx(6.0), "the least limit under which energy flowed"
            assert known.reaction_s == 120.0, "the longest time from a reduction to the sample that shows it"

    async def test_a_station_known_to_be_slow_is_given_its_time(self, open_bench) -> None:
        async with open_bench() as bench:
            station = await bench.booted()
            bench.system._records[S16].start_capability(StationCapability(reaction_s=600.0))
            await charging(bench, station)
            await limited(bench, 5.52)
            for _ in range(4):
                await meter(bench, station, 16.0)
            assert not bench.system._records[S16].witnesses[1].is_ignored

    async def test_one_limit_proves_nothing(self, open_bench) -> None:
        kept = MemoryCapabilities()
        async with open_bench(capabilities=kept) as bench:
            station = await bench.booted()
            await charging(bench, station)
            for _ in range(5):
                await limited(bench, 11.04)
                await meter(bench, station, 15.8)
            assert await kept.capability(StationIdentity("Maker", "One", "1.0")) is None

    async def test_accepted_and_ignored_is_told_in_another_way(self, bench) -> None:
        station = await bench.booted()
        await charging(bench, station)
        await limited(bench, 5.52)
        first = form(station.payloads("SetChargingProfile")[-1])
        for _ in range(3):
            await meter(bench, station, 16.0)
        await limited(bench, 5.52)
        assert form(station.payloads("SetChargingProfile")[-1]) != first

    async def test_every_way_comes_up_once(self, bench) -> None:
        station = await bench.booted()
        await charging(bench, station)
        seen = []
        for _ in range(24):
            await limited(bench, 5.52)
            seen.append(repr(bench.system._records[S16].capability))
            for _ in range(3):
                await meter(bench, station, 16.0)
        assert len(set(seen)) == 24

    async def test_where_none_is_kept_the_whole_station_is_bounded_once(self, bench) -> None:
        station = await bench.booted()
        await bench.system.set_safe_default(S16, EVSE, 4.14)
        await charging(bench, station)
        for _ in range(30):
            await limited(bench, 5.52)
            for _ in range(3):
                await meter(bench, station, 16.0)
        told = [payload["csChargingProfiles"] for payload in station.payloads("SetChargingProfile")]
        (maximum,) = [profile for profile in told if profile["chargingProfilePurpose"] == "ChargePointMaxProfile"]
        assert maximum["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"] == 6.0

    async def test_vehicle_that_takes_less_is_no_ignoring(self, bench) -> None:
        station = await bench.booted()
        await charging(bench, station)
        await limited(bench, 11.04)
        for _ in range(5):
            await meter(bench, station, 8.0)
        await limited(bench, 11.04)
        assert len({form(payload) for payload in station.payloads("SetChargingProfile")}) == 1

    async def test_another_transaction_is_no_witness(self, bench) -> None:
        station = await bench.booted()
        await charging(bench, station)
        await limited(bench, 5.52)
        told = {"transactionId": 101, "meterStop": 0, "timestamp": text(bench.clock.at)}
        await station.call("StopTransaction", told)
        bench.clock.advance(minutes=1)
        await charging(bench, station)
        for _ in range(5):
            bench.clock.advance(minutes=2)
            entry = {"timestamp": text(bench.clock.at), "sampledValue": [{"value": "11000", "measurand": "Power.Active.Import"}]}  # fmt: skip
            await station.call("MeterValues", {"connectorId": 1, "transactionId": 102, "meterValue": [entry]})
        assert not bench.system._records[S16].witnesses[1].is_ignored

    async def test_rejected_limit_is_none_to_be_kept(self, bench) -> None:
        station = await bench.booted()
        await charging(bench, station)
        await limited(bench, 5.52)
        station.replies["SetChargingProfile"] = {"status": "Rejected"}
        await limited(bench, 11.04)
        for _ in range(5):
            await meter(bench, station, 16.0)
        assert not bench.system._records[S16].witnesses[1].is_ignored

    async def test_meter_is_not_heard_before_the_limit_can_show(self, bench) -> None:
        station = await bench.booted()
        await charging(bench, station)
        await limited(bench, 5.52)
        for _ in range(5):
            await meter(bench, station, 16.0, minutes=0.1)
        await limited(bench, 5.52)
        assert len({form(payload) for payload in station.payloads("SetChargingProfile")}) == 1


@pytest.fixture
def with_contact(quick_settings):
    return replace(quick_settings, contact_stations=True, measurands=("Energy.Active.Import.Register", "Voltage"))


def configuration(**values):
    return {"configurationKey": [{"key": key, "readonly": False, "value": value} for key, value in values.items()]}


class TestFirstContact:
    async def test_station_16_is_asked_and_told(self, open_bench, with_contact) -> None:
        async with open_bench(with_contact) as bench:
            station = await bench.station()
            station.replies["GetConfiguration"] = configuration(
                ChargingScheduleAllowedChargingRateUnit="Power", ChargingScheduleMaxPeriods="2"
            )
            await station.boot()
            await station.received("ChangeConfiguration", 2)
            assert station.payloads("ChangeConfiguration") == [
                {"key": "MeterValuesSampledData", "value": "Energy.Active.Import.Register,Voltage"},
                {"key": "MeterValueSampleInterval", "value": "60"},
            ]
            await charging(bench, station)
            await limited(bench, 5.0)
            assert form(station.payloads("SetChargingProfile")[0])[2] == "W"

    async def test_station_201_is_asked_and_told(self, open_bench, with_contact) -> None:
        async with open_bench(with_contact) as bench:
            station = await bench.station("S201", "ocpp2.0.1")
            station.replies["GetVariables"] = lambda payload: {
                "getVariableResult": [
                    {**wanted, "attributeStatus": "Accepted", "attributeValue": value}
                    for wanted, value in zip(
                        payload["getVariableData"], ("W", "4", "8", "false", "Voltage", "60", "0"), strict=True
                    )
                ]
            }
            station.replies["SetVariables"] = lambda payload: {
                "setVariableResult": [
                    {**wanted, "attributeStatus": "Accepted"} for wanted in payload["setVariableData"]
                ]
            }
            await station.boot()
            told = await station.received("SetVariables")
            assert told["setVariableData"][0]["variable"] == {"name": "TxUpdatedMeasurands"}
            capability = bench.system._records[StationId("S201")].capability
            assert (capability.rate_unit, capability.max_periods) == (RateUnit.W, 4)
            await bench.system.set_safe_default(StationId("S201"), EvseId("S201-1"), 4.14)
            assert len(station.payloads("SetVariables")) == 1

    async def test_keys_are_asked_one_by_one_where_all_are_too_many(self, open_bench, with_contact) -> None:
        async with open_bench(with_contact) as bench:
            station = await bench.station()

            def reply(payload):
                return "InternalError" if len(payload["key"]) > 1 else configuration(**{payload["key"][0]: "Power"})

            station.replies["GetConfiguration"] = reply
            await station.boot()
            await station.received("ChangeConfiguration")
            assert len(station.payloads("GetConfiguration")) == 8
            assert bench.system._records[S16].capability.rate_unit is RateUnit.W

    async def test_measurands_are_added_one_by_one(self, open_bench, with_contact) -> None:
        async with open_bench(with_contact) as bench:
            station = await bench.station()
            station.replies["GetConfiguration"] = configuration()
            station.replies["ChangeConfiguration"] = lambda payload: {
                "status": "Rejected" if "Voltage" in payload["value"] else "Accepted"
            }
            await station.boot()
            await station.received("ChangeConfiguration", 4)
            assert [payload["value"] for payload in station.payloads("ChangeConfiguration")] == [
                "Energy.Active.Import.Register,Voltage",
                "Energy.Active.Import.Register",
                "Energy.Active.Import.Register,Voltage",
                "60",
            ]

    @pytest.mark.parametrize(
        "intervals",
        [{"MeterValueSampleInterval": "30"}, {"MeterValueSampleInterval": "0", "ClockAlignedDataInterval": "300"}],
        ids=["samples often enough", "values by the clock"],
    )
    async def test_what_is_right_already_is_not_written(self, open_bench, with_contact, intervals) -> None:
        async with open_bench(with_contact) as bench:
            station = await bench.station()
            station.replies["GetConfiguration"] = configuration(
                MeterValuesSampledData="Voltage,Energy.Active.Import.Register,SoC", **intervals
            )
            await station.boot()
            await station.received("GetConfiguration")
            await bench.system.set_safe_default(S16, EVSE, 4.14)
            assert station.payloads("ChangeConfiguration") == []

    async def test_returning_station_is_asked_for_its_states_and_for_its_name_once(
        self, open_bench, with_contact
    ) -> None:
        async with open_bench(with_contact) as bench:
            station = await bench.station("D16")
            await station.received("TriggerMessage", 3)
            asked = [payload.get("requestedMessage") for payload in station.payloads("TriggerMessage")]
            assert asked == ["BootNotification", "StatusNotification", "StatusNotification"]
            await station.close()
            again = await bench.station("D16")
            await again.received("TriggerMessage", 2)
            assert {payload["requestedMessage"] for payload in again.payloads("TriggerMessage")} == {
                "StatusNotification"
            }

    async def test_mute_station_is_left_alone(self, open_bench, with_contact) -> None:
        async with open_bench(with_contact) as bench:
            station = await bench.station()
            station.replies = {action: (lambda _: None) for action in ("TriggerMessage", "GetConfiguration")}
            await station.received("TriggerMessage", 2)
            assert (await station.call("Heartbeat"))["currentTime"]
            await bench.eventually(lambda: bench.system.health(S16).unanswered_calls == 1)
            assert station.payloads("ChangeConfiguration") == []

    async def test_safe_default_is_installed_again_after_a_restart_of_the_station(
        self, open_bench, with_contact
    ) -> None:
        async with open_bench(with_contact) as bench:
            station = await bench.booted()
            await bench.system.set_safe_default(S16, EVSE, 4.14)
            await station.boot()
            payload = await station.received("SetChargingProfile", 2)
            assert payload["csChargingProfiles"]["chargingProfilePurpose"] == "TxDefaultProfile"
            await bench.eventually(lambda: bench.system._records[S16].safe_defaults_kw == {1: 4.14})
            assert (await bench.system.set_safe_default(S16, EVSE, 4.14)).detail == "unchanged"


class TestWhatIsDeclared:
    @pytest.mark.parametrize(
        ("case", "told", "name", "value"),
        [
            ("the highest stack level", {SettingName.STACK_LEVEL: "8"}, "greatest_stack_level", 8),
            ("no sensible one", {SettingName.STACK_LEVEL: "-1"}, "greatest_stack_level", None),
            ("phases are switched", {SettingName.PHASE_SWITCHING: " True "}, "switches_phases", True),
            ("phases are not switched", {SettingName.PHASE_SWITCHING: "false"}, "switches_phases", False),
            ("nothing of phases", {}, "switches_phases", None),
        ],
    )
    def test_settings_are_believed(self, case, told, name, value) -> None:
        assert getattr(as_declared(StationCapability(), told), name) == value, case

    def test_a_preset_goes_before_what_a_station_declares_of_its_stack_levels(self) -> None:
        level = as_declared(StationCapability(greatest_stack_level=0), {SettingName.STACK_LEVEL: "9"})
        assert level.greatest_stack_level == 0

    @pytest.mark.parametrize(
        ("modes", "permitted", "discharges"),
        [
            ("ChargingOnly,CentralSetpoint", True, True),
            ("ChargingOnly, CentralSetpoint", False, False),
            ("ChargingOnly", True, False),
            ("", True, False),
        ],
    )
    def test_power_is_given_back_where_both_agree(self, modes, permitted, discharges) -> None:
        told = {SettingName.OPERATION_MODES: modes}
        assert as_permitted(StationCapability(), told, v2x=permitted, dynamic=False).discharges is discharges

    async def test_measurands_agreed_before_are_asked_for_at_once(self, open_bench, with_contact) -> None:
        kept = MemoryCapabilities()
        known = StationCapability(proven=True, measurands=("Voltage",))
        await kept.save(StationIdentity("Maker", "One", "1.0"), known)
        async with open_bench(with_contact, capabilities=kept) as bench:
            station = await bench.station()
            station.replies["GetConfiguration"] = configuration()
            await station.boot()
            await station.received("ChangeConfiguration", 2)
            assert station.payloads("ChangeConfiguration")[0] == {"key": "MeterValuesSampledData", "value": "Voltage"}

    async def test_an_interval_of_its_own_is_never_written(self, open_bench, with_contact) -> None:
        kept = MemoryCapabilities()
        await kept.save(StationIdentity("Maker", "One", "1.0"), StationCapability(keeps_meter_interval=True))
        async with open_bench(with_contact, capabilities=kept) as bench:
            station = await bench.station()
            station.replies["GetConfiguration"] = configuration()
            await station.boot()
            await station.received("ChangeConfiguration")
            await station.call("Heartbeat")
            assert [told["key"] for told in station.payloads("ChangeConfiguration")] == ["MeterValuesSampledData"]

    async def test_every_field_survives_the_file(self, tmp_path) -> None:
        path, identity = tmp_path / "abilities.json", StationIdentity("Maker", "One", "1.0")
        known = StationCapability(
            RateUnit.W, TX_DEFAULT, 3, 8, absolute=False, max_periods=4, whole_amperes=True, zero_allowed=False,
            discharges=True, dynamic=True, switches_phases=True, keeps_meter_interval=True, proven=True,
            least_current_a=7.0, reaction_s=40.0, measurands=("Voltage", "SoC"),
            seen_measurands=("Voltage",),
        )  # fmt: skip
        await FileCapabilities(path).save(identity, known)
        again = await FileCapabilities(path).capability(identity)
        assert again is not None
        assert asdict(again) == asdict(known)
