"""Whose energy is it: transactions begun, repeated, unknown, misnamed, replayed and lost."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from optimizer.domain.charger import ConnectorStatus
from optimizer.domain.ids import EvseId, SessionId, SiteId, StationId, TransactionId
from optimizer.domain.metering import ReadingReason, SampleQuality
from optimizer.domain.session import Session


def text(at) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def start_16(bench, connector=1, meter=1000, **more) -> dict:
    return {"connectorId": connector, "idTag": "TAG-1", "meterStart": meter, "timestamp": text(bench.clock.at), **more}


def values_16(bench, register_wh, connector=1, transaction_id=None, at=None, **more) -> dict:
    told = {
        "connectorId": connector,
        "meterValue": [
            {"timestamp": text(at or bench.clock.at), "sampledValue": [{"value": str(register_wh), **more}]}
        ],
    }
    return told if transaction_id is None else {**told, "transactionId": transaction_id}


def event_201(
    bench, kind="Updated", number=0, transaction_id="tx-a", register_wh=None, state="Charging", **more
) -> dict:
    told = {
        "eventType": kind,
        "timestamp": text(bench.clock.at),
        "triggerReason": "MeterValuePeriodic",
        "seqNo": number,
        "transactionInfo": {"transactionId": transaction_id, "chargingState": state},
        **more,
    }
    if register_wh is not None:
        told["meterValue"] = [{"timestamp": text(bench.clock.at), "sampledValue": [{"value": register_wh}]}]
    return told


EVSE_1 = {"evse": {"id": 1, "connectorId": 1}}


class StoredSessions:
    """What a store knows from before the service started."""

    def __init__(self, **places: str) -> None:
        self.places = places
        self.asked: list[str] = []

    async def active_session_at(self, evse_id):
        self.asked.append(evse_id)
        told = next((told for told, place in self.places.items() if place == evse_id), None)
        return None if told is None else self._session(evse_id, told.removeprefix("t"))

    async def session_of_transaction(self, station_id, transaction_id):
        self.asked.append(transaction_id)
        evse_id = self.places.get(f"t{transaction_id}")
        return None if evse_id is None else self._session(evse_id, transaction_id)

    @staticmethod
    def _session(evse_id, transaction_id):
        return Session(
            SessionId("stored"),
            SiteId("site"),
            EvseId(evse_id),
            plugged_in_at=None,
            transaction_id=transaction_id,
        )


class TestStart16:
    async def test_repeat_gets_the_first_answer(self, bench) -> None:
        station = await bench.booted()
        first = await station.call("StartTransaction", start_16(bench))
        again = await station.call("StartTransaction", start_16(bench))
        assert first == again == {"transactionId": 101, "idTagInfo": {"status": "Accepted"}}
        assert len(bench.events.of("transaction_begun")) == 1

    async def test_repeat_over_a_new_connection_gets_the_first_answer(self, bench) -> None:
        told = start_16(bench)
        first = await (await bench.booted()).call("StartTransaction", told)
        assert await (await bench.booted()).call("StartTransaction", told) == first

    async def test_unknown_token_is_told_so(self, bench) -> None:
        station = await bench.booted()
        answer = await station.call("StartTransaction", start_16(bench, idTag="STRANGER"))
        assert answer["idTagInfo"]["status"] == "Invalid"

    async def test_connector_that_does_not_exist(self, bench) -> None:
        station = await bench.booted("D16")
        answer = await station.call("StartTransaction", start_16(bench, connector=7))
        assert answer == {"transactionId": 0, "idTagInfo": {"status": "Invalid"}}
        assert bench.events.of("transaction_begun") == []

    async def test_start_without_a_connector_on_the_only_one(self, bench) -> None:
        station = await bench.booted()
        told = start_16(bench)
        del told["connectorId"], told["meterStart"], told["timestamp"]
        await station.call("StartTransaction", told)
        begun = bench.events.of("transaction_begun")[0]
        assert (begun.ocpp_evse_id, begun.register_kwh, begun.at) == (1, None, bench.clock.at)

    async def test_reservation_is_named(self, bench) -> None:
        station = await bench.booted()
        await station.call("StartTransaction", start_16(bench, reservationId=9))
        assert bench.events.of("transaction_begun")[0].reservation_ref == 9

    async def test_failing_store_is_answered_with_an_error_and_the_repeat_works(self, bench) -> None:
        station = await bench.booted()
        bench.events.failures["transaction_begun"] = RuntimeError("disk full")
        assert (await station.frame("StartTransaction", start_16(bench)))[2] == "InternalError"
        del bench.events.failures["transaction_begun"]
        assert (await station.call("StartTransaction", start_16(bench)))["transactionId"] == 101


class TestMeterValues16:
    @pytest.mark.parametrize("told", [None, -1, 0, "-1"], ids=["none", "-1", "0", "as text"])
    async def test_missing_id_is_matched_by_connector(self, bench, told) -> None:
        station = await bench.booted("D16")
        await station.call("StartTransaction", start_16(bench, connector=2))
        await station.call("MeterValues", values_16(bench, 1500, 2, told))
        sample = bench.events.samples[-1]
        assert (sample.evse_id, sample.transaction_id) == ("D16-2", "101")

    async def test_wrong_id_goes_to_the_running_transaction(self, bench) -> None:
        station = await bench.booted()
        await station.call("StartTransaction", start_16(bench))
        await station.call("MeterValues", values_16(bench, 1500, 1, 999))
        assert bench.events.samples[-1].transaction_id == "101"
        assert bench.system.health(StationId("S16")).violations["meter values of an unknown transaction"] == 1

    @pytest.mark.parametrize("status", [None, "Charging", "SuspendedEV", "SuspendedEVSE"])
    async def test_unknown_id_on_a_busy_connector_is_adopted(self, bench, status) -> None:
        station = await bench.booted()
        if status is not None:
            await station.call("StatusNotification", {"connectorId": 1, "status": status, "errorCode": "NoError"})
        await station.call("MeterValues", values_16(bench, 1500, 1, 777))
        assert bench.events.of("transaction_begun")[0].transaction_id == "777"
        assert bench.events.samples[-1].transaction_id == "777"
        await station.call(
            "StopTransaction", {"transactionId": 777, "meterStop": 1600, "timestamp": text(bench.clock.at)}
        )
        assert bench.events.of("transaction_finished")[0].transaction_id == "777"

    async def test_unknown_id_on_an_idle_connector_is_not(self, bench) -> None:
        station = await bench.booted()
        await station.call("StatusNotification", {"connectorId": 1, "status": "Available", "errorCode": "NoError"})
        await station.call("MeterValues", values_16(bench, 1500, 1, 777))
        assert bench.events.of("transaction_begun") == []
        assert bench.events.samples[-1].transaction_id is None

    async def test_values_after_the_stop_do_not_revive_the_transaction(self, bench) -> None:
        station = await bench.booted()
        await station.call("StartTransaction", start_16(bench))
        bench.clock.advance(minutes=10)
        await station.call(
            "StopTransaction", {"transactionId": 101, "meterStop": 2000, "timestamp": text(bench.clock.at)}
        )
        await station.call("MeterValues", values_16(bench, 2000, 1, 101))
        assert len(bench.events.of("transaction_begun")) == 1
        assert bench.events.samples[-1].transaction_id == "101"

    async def test_stored_values_replayed_between_live_ones_are_stale_and_kept(self, bench) -> None:
        station = await bench.booted()
        await station.call("StartTransaction", start_16(bench))
        bench.clock.advance(minutes=10)
        now = bench.clock.at
        for age_s, register_wh in ((0, 2000), (60, 1900), (45, 1950), (0, 2001)):
            told = values_16(bench, register_wh, 1, 101, now - timedelta(seconds=age_s))
            await station.call("MeterValues", told)
        qualities = [sample.quality for sample in bench.events.samples[1:]]
        good, stale = SampleQuality.DERIVED, SampleQuality.STALE
        assert qualities[:3] == [good, stale, stale]
        assert [sample.register_kwh for sample in bench.events.samples[2:4]] == [Decimal("1.9"), Decimal("1.95")]

    async def test_station_meter_is_no_evses(self, bench) -> None:
        station = await bench.booted()
        await station.call("MeterValues", values_16(bench, 999_999, 0))
        assert bench.events.samples == []

    async def test_one_bad_value_does_not_cost_the_others(self, bench) -> None:
        station = await bench.booted()
        told = values_16(bench, 1500)
        told["meterValue"] = [
            "rubbish",
            {"timestamp": "yesterday", "sampledValue": [{"value": "oops"}]},
            {
                "timestamp": text(bench.clock.at),
                "sampledValue": [{"value": "21.5", "measurand": "Temperature", "unit": "Celcius"}, {"value": "1500"}],
            },
        ]
        await station.call("MeterValues", told)
        assert [sample.register_kwh for sample in bench.events.samples] == [Decimal("1.5")]

    async def test_future_time_stamp_becomes_now(self, bench) -> None:
        station = await bench.booted()
        await station.call("MeterValues", values_16(bench, 1500, at=bench.clock.at + timedelta(days=400)))
        assert bench.events.samples[0].at == bench.clock.at

    async def test_several_time_stamps_in_one_message(self, bench) -> None:
        station = await bench.booted()
        told = values_16(bench, 1000)
        bench.clock.advance(minutes=1)
        told["meterValue"] += values_16(bench, 1100)["meterValue"]
        await station.call("MeterValues", told)
        assert len(bench.events.of("meter_sampled")) == 1
        assert [sample.register_kwh for sample in bench.events.samples] == [Decimal("1.0"), Decimal("1.1")]


class TestStop16:
    async def test_unknown_transaction_is_taken(self, bench) -> None:
        station = await bench.booted("D16")
        told = {"transactionId": 4711, "meterStop": 10, "timestamp": text(bench.clock.at), "idTag": "TAG-1"}
        assert await station.call("StopTransaction", told) == {"idTagInfo": {"status": "Accepted"}}
        assert bench.events.of("transaction_finished")[0].transaction_id == "4711"
        assert bench.events.samples == []

    async def test_missing_id_is_the_only_running_one(self, bench) -> None:
        station = await bench.booted("D16")
        await station.call("StartTransaction", start_16(bench, connector=2))
        await station.call(
            "StopTransaction", {"transactionId": -1, "meterStop": 1200, "timestamp": text(bench.clock.at)}
        )
        assert bench.events.of("transaction_finished")[0].transaction_id == "101"

    async def test_end_of_a_refused_start_ends_no_other_transaction(self, bench) -> None:
        station = await bench.booted("D16")
        await station.call("StartTransaction", start_16(bench, connector=1))
        refused = await station.call("StartTransaction", start_16(bench, connector=7))
        told = {"transactionId": refused["transactionId"], "meterStop": 0, "timestamp": text(bench.clock.at)}
        assert await station.call("StopTransaction", told) == {}
        assert bench.events.of("transaction_finished") == []

    async def test_missing_id_with_two_running_is_answered_and_told(self, bench) -> None:
        station = await bench.booted("D16")
        await station.call("StartTransaction", start_16(bench, connector=1))
        await station.call("StartTransaction", start_16(bench, connector=2))
        assert await station.call("StopTransaction", {"meterStop": 1200, "timestamp": text(bench.clock.at)}) == {}
        assert bench.events.of("transaction_finished") == []

    async def test_transaction_values_come_before_the_end(self, bench) -> None:
        station = await bench.booted()
        await station.call("StartTransaction", start_16(bench))
        bench.clock.advance(minutes=30)
        signed = {"value": "OCMF|{}|{}", "format": "SignedData", "context": "Transaction.End"}
        told = {
            "transactionId": 101,
            "meterStop": 3000,
            "timestamp": text(bench.clock.at),
            "reason": "Remote",
            "transactionData": [{"timestamp": text(bench.clock.at), "sampledValue": [signed]}],
        }
        await station.call("StopTransaction", told)
        assert [kind for kind, _ in bench.events.happened][-3:] == [
            "meter_sampled",
            "meter_sampled",
            "transaction_finished",
        ]
        signed_sample, last = bench.events.samples[-2:]
        assert (signed_sample.signed_value, signed_sample.reason) == ("OCMF|{}|{}", ReadingReason.TRANSACTION_END)
        assert (last.register_kwh, last.power_kw, last.reason) == (Decimal(3), 0.0, ReadingReason.TRANSACTION_END)


class TestAfterARestartOfTheService:
    async def test_running_transaction_is_found_in_the_store(self, open_bench) -> None:
        stored = StoredSessions(t55="D16-2")
        async with open_bench(sessions=stored) as bench:
            station = await bench.station("D16")
            await station.call("MeterValues", values_16(bench, 1500, 2, 55))
            await station.call("MeterValues", values_16(bench, 1600, 2, 55))
            assert [sample.evse_id for sample in bench.events.samples] == ["D16-2", "D16-2"]
            assert bench.events.of("transaction_begun") == []
            assert stored.asked == ["55"]

    @pytest.mark.parametrize("told", [0, -1])
    async def test_values_of_no_named_transaction_are_those_of_the_stored_one(self, open_bench, told) -> None:
        stored = StoredSessions(t55="D16-2")
        async with open_bench(sessions=stored) as bench:
            station = await bench.station("D16")
            for register_wh in (1500, 1600):
                await station.call("MeterValues", values_16(bench, register_wh, 2, told))
                await station.call("MeterValues", values_16(bench, register_wh, 1, told))
            assert [sample.transaction_id for sample in bench.events.samples] == ["55", None, "55", None]
            assert stored.asked == ["D16-2", "55", "D16-1"], "each EVSE is looked up once"

    async def test_stop_finds_the_evse_for_its_last_register(self, open_bench) -> None:
        async with open_bench(sessions=StoredSessions(t55="D16-2")) as bench:
            station = await bench.station("D16")
            await station.call(
                "StopTransaction", {"transactionId": 55, "meterStop": 9000, "timestamp": text(bench.clock.at)}
            )
            assert [(sample.evse_id, sample.register_kwh) for sample in bench.events.samples] == [("D16-2", Decimal(9))]

    async def test_2x_update_without_an_evse_is_placed_by_the_store(self, open_bench) -> None:
        async with open_bench(sessions=StoredSessions(**{"ttx-a": "S201-1"})) as bench:
            station = await bench.station("S201", "ocpp2.0.1")
            assert await station.call("TransactionEvent", event_201(bench, "Updated", 7, register_wh=500)) == {}
            assert bench.events.of("transaction_begun") == []
            assert bench.events.samples[-1].evse_id == "S201-1"


class TestTransactionEvents:
    async def test_update_of_an_unknown_transaction_opens_it(self, bench) -> None:
        station = await bench.booted("S201", "ocpp2.0.1")
        await station.call("TransactionEvent", event_201(bench, "Updated", 5, register_wh=500, **EVSE_1))
        begun = bench.events.of("transaction_begun")[0]
        assert (begun.transaction_id, begun.register_kwh) == ("tx-a", Decimal("0.5"))

    async def test_end_of_an_unknown_transaction_is_taken(self, bench) -> None:
        station = await bench.booted("S201", "ocpp2.0.1")
        assert await station.call("TransactionEvent", event_201(bench, "Ended", 5, register_wh=500, **EVSE_1)) == {}
        assert bench.events.of("transaction_finished")[0].register_kwh == Decimal("0.5")

    async def test_evse_that_does_not_exist_is_answered(self, bench) -> None:
        station = await bench.booted("S201", "ocpp2.0.1")
        token = {"idToken": {"idToken": "TAG-1", "type": "ISO14443"}}
        told = event_201(bench, "Started", 0, **{**token, "evse": {"id": 9}})
        assert await station.call("TransactionEvent", told) == {"idTokenInfo": {"status": "Invalid"}}
        assert bench.events.of("transaction_begun") == []

    async def test_token_may_come_later(self, bench) -> None:
        station = await bench.booted("S201", "ocpp2.0.1")
        assert (
            await station.call("TransactionEvent", event_201(bench, "Started", 0, state="EVConnected", **EVSE_1)) == {}
        )
        token = {"idToken": {"idToken": "TAG-2", "type": "ISO14443"}}
        answer = await station.call("TransactionEvent", event_201(bench, "Updated", 1, **EVSE_1, **token))
        assert answer == {"idTokenInfo": {"status": "Accepted"}}
        assert [event.token_id for event in bench.events.of("transaction_begun")] == [None, "TAG-2"]

    async def test_missing_messages_are_noticed(self, bench) -> None:
        station = await bench.booted("S201", "ocpp2.0.1")
        for number in (0, 1, 1, 4, 3, 5):
            await station.call("TransactionEvent", event_201(bench, "Updated", number, **EVSE_1))
        assert bench.system.health(StationId("S201")).violations["messages of a transaction missing"] == 1

    @pytest.mark.parametrize(("first", "missing"), [(0, 0), (3, 1)])
    async def test_a_start_that_never_came_is_noticed(self, bench, first: int, missing: int) -> None:
        station = await bench.booted("S201", "ocpp2.0.1")
        await station.call("TransactionEvent", event_201(bench, "Updated", first, **EVSE_1))
        assert bench.system.health(StationId("S201")).violations["messages of a transaction missing"] == missing
        assert len(bench.events.of("transaction_begun")) == 1, "it is taken over all the same"

    async def test_charging_states_are_handed_on_when_they_change(self, bench) -> None:
        station = await bench.booted("S201", "ocpp2.0.1")
        await station.call(
            "StatusNotification",
            {"evseId": 1, "connectorId": 1, "connectorStatus": "Occupied", "timestamp": text(bench.clock.at)},
        )
        for number, state in enumerate(["EVConnected", "Charging", "Charging", "SuspendedEV", "SuspendedEVSE"]):
            await station.call("TransactionEvent", event_201(bench, "Updated", number, state=state, **EVSE_1))
        await station.call("TransactionEvent", event_201(bench, "Ended", 5, state="EVConnected", **EVSE_1))
        assert [report.status for report in bench.events.of("connector_reported")] == [
            ConnectorStatus.PREPARING,
            ConnectorStatus.CHARGING,
            ConnectorStatus.SUSPENDED_BY_VEHICLE,
            ConnectorStatus.SUSPENDED_BY_EVSE,
            ConnectorStatus.FINISHING,
        ]

    async def test_occupied_again_does_not_hide_that_it_charges(self, bench) -> None:
        station = await bench.booted("S201", "ocpp2.0.1")
        await station.call("TransactionEvent", event_201(bench, "Started", 0, **EVSE_1))
        await station.call(
            "StatusNotification",
            {"evseId": 1, "connectorId": 1, "connectorStatus": "Occupied", "timestamp": text(bench.clock.at)},
        )
        assert bench.events.of("connector_reported")[-1].status is ConnectorStatus.CHARGING

    async def test_second_plug_of_an_evse_does_not_hide_the_first(self, bench) -> None:
        station = await bench.booted("S201", "ocpp2.0.1")
        for connector, status in ((1, "Occupied"), (2, "Available")):
            await station.call(
                "StatusNotification",
                {"evseId": 1, "connectorId": connector, "connectorStatus": status, "timestamp": text(bench.clock.at)},
            )
        assert bench.events.of("connector_reported")[-1].status is ConnectorStatus.PREPARING


async def charging_by_16(bench):
    """A car charges at 7 kW, and the station says so."""
    station = await bench.booted()
    await station.call("StartTransaction", start_16(bench))
    await state_16(bench, station, "Charging")
    await station.call("MeterValues", values_16(bench, 7000, 1, 101, measurand="Power.Active.Import"))
    bench.clock.advance(seconds=10)
    return station


async def state_16(bench, station, word: str) -> None:
    told = {"connectorId": 1, "status": word, "errorCode": "NoError", "timestamp": text(bench.clock.at)}
    await station.call("StatusNotification", told)


def suspended_201(bench, number: int, power_w: float) -> dict:
    """An event that tells the state and a power that does not go with it."""
    value = {"value": power_w, "measurand": "Power.Active.Import", "unitOfMeasure": {"unit": "W"}}
    return {
        "eventType": "Updated" if number else "Started",
        "timestamp": text(bench.clock.at),
        "triggerReason": "MeterValuePeriodic",
        "seqNo": number,
        "transactionInfo": {"transactionId": "tx-a", "chargingState": "SuspendedEV"},
        "evse": {"id": 1},
        "meterValue": [{"timestamp": text(bench.clock.at), "sampledValue": [value]}],
    }


class TestStatus:
    async def test_every_state_of_16(self, bench) -> None:
        station = await bench.booted()
        words = ["Available", "Preparing", "Charging", "SuspendedEV", "SuspendedEVSE", "Finishing", "Reserved", "Unavailable", "Faulted", "Sleeping"]  # fmt: skip
        for word in words:
            await station.call("StatusNotification", {"connectorId": 1, "status": word, "errorCode": "NoError"})
        assert [report.status for report in bench.events.of("connector_reported")] == [
            ConnectorStatus.AVAILABLE,
            ConnectorStatus.PREPARING,
            ConnectorStatus.CHARGING,
            ConnectorStatus.SUSPENDED_BY_VEHICLE,
            ConnectorStatus.SUSPENDED_BY_EVSE,
            ConnectorStatus.FINISHING,
            ConnectorStatus.RESERVED,
            ConnectorStatus.UNAVAILABLE,
            ConnectorStatus.FAULTED,
            ConnectorStatus.UNKNOWN,
        ]

    async def test_error_codes_are_kept_until_they_clear(self, bench) -> None:
        station = await bench.booted()
        faulted = {"connectorId": 1, "status": "Faulted", "errorCode": "GroundFailure", "vendorErrorCode": "E7"}
        await station.call("StatusNotification", faulted)
        health = bench.system.health(StationId("S16"))
        assert health.error_codes == {1: "GroundFailure E7"}
        assert bench.events.of("connector_reported")[0].error_code == "GroundFailure E7"
        await station.call("StatusNotification", {"connectorId": 1, "status": "Available", "errorCode": "NoError"})
        assert health.error_codes == {}
        assert [notice.text for notice in health.notices] == ["EVSE 1: GroundFailure E7"]

    async def test_old_report_is_handed_on_with_its_time_and_changes_no_memory(self, bench) -> None:
        station = await bench.booted()
        told = {"connectorId": 1, "errorCode": "NoError"}
        await station.call("StatusNotification", {**told, "status": "Available", "timestamp": text(bench.clock.at)})
        old = bench.clock.at - timedelta(days=2)
        await station.call("StatusNotification", {**told, "status": "Charging", "timestamp": text(old)})
        assert bench.events.of("connector_reported")[-1].at == old
        await station.call("MeterValues", values_16(bench, 1500, 1, 777))
        assert bench.events.of("transaction_begun") == []

    async def test_power_left_standing_is_zeroed_when_the_plug_is_out(self, bench) -> None:
        station = await bench.booted()
        told = values_16(bench, 7000, measurand="Power.Active.Import")
        await station.call("MeterValues", told)
        bench.clock.advance(minutes=1)
        for _ in range(2):
            await station.call(
                "StatusNotification",
                {"connectorId": 1, "status": "Available", "errorCode": "NoError", "timestamp": text(bench.clock.at)},
            )
        assert [sample.power_kw for sample in bench.events.samples] == [7.0, 0.0]

    @pytest.mark.parametrize("word", ["SuspendedEV", "SuspendedEVSE", "Finishing"])
    async def test_power_left_standing_is_zeroed_when_the_station_says_that_nothing_flows(self, bench, word) -> None:
        station = await charging_by_16(bench)
        await state_16(bench, station, word)
        assert [sample.power_kw for sample in bench.events.samples][-2:] == [7.0, 0.0]
        assert bench.events.samples[-1].transaction_id == "101"

    async def test_a_meter_that_goes_on_is_believed_more_than_the_state(self, bench) -> None:
        station = await charging_by_16(bench)
        await state_16(bench, station, "SuspendedEV")
        await station.call("MeterValues", values_16(bench, 6900, 1, 101, measurand="Power.Active.Import"))
        assert bench.events.of("connector_reported")[-1].status is ConnectorStatus.SUSPENDED_BY_VEHICLE, "it may lag"
        bench.clock.advance(minutes=1)
        await station.call("MeterValues", values_16(bench, 7000, 1, 101, measurand="Power.Active.Import"))
        assert bench.events.of("connector_reported")[-1].status is ConnectorStatus.CHARGING
        await state_16(bench, station, "SuspendedEV")
        assert bench.events.of("connector_reported")[-1].status is ConnectorStatus.CHARGING, "it was caught once"
        assert bench.events.samples[-1].power_kw == 7.0
        bench.clock.advance(minutes=1)
        await station.call("MeterValues", values_16(bench, 0, 1, 101, measurand="Power.Active.Import"))
        await state_16(bench, station, "SuspendedEV")
        assert bench.events.of("connector_reported")[-1].status is ConnectorStatus.SUSPENDED_BY_VEHICLE

    async def test_a_state_told_with_every_sample_of_2x_changes_nothing_where_the_meter_goes_on(self, bench) -> None:
        station = await bench.booted("S201", "ocpp2.0.1")
        reported = []
        for number in range(6):
            await station.call("TransactionEvent", suspended_201(bench, number, power_w=7000))
            reported = [event.status for event in bench.events.of("connector_reported")]
            bench.clock.advance(minutes=1)
        assert reported == [ConnectorStatus.SUSPENDED_BY_VEHICLE, ConnectorStatus.CHARGING]
        assert bench.events.samples[-1].power_kw == 7.0

    async def test_transaction_lost_in_a_restart_of_the_station_takes_no_later_values(self, bench) -> None:
        station = await bench.booted()
        await station.call("StartTransaction", start_16(bench))
        await station.boot()
        await station.call("StatusNotification", {"connectorId": 1, "status": "Available", "errorCode": "NoError"})
        await station.call("MeterValues", values_16(bench, 1500, 1, -1))
        assert bench.events.samples[-1].transaction_id is None
        await station.call(
            "StopTransaction", {"transactionId": 101, "meterStop": 1500, "timestamp": text(bench.clock.at)}
        )
        assert bench.events.of("transaction_finished")[0].transaction_id == TransactionId("101")


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        pytest.param(
            {"requestedEnergyTransfer": "AC_three_phase", "departureTime": "2026-03-02T18:00:00Z", "acChargingParameters": {"energyAmount": 30000, "evMinCurrent": 6, "evMaxCurrent": 16, "evMaxVoltage": 230}},
            (30.0, None, 11.04, "Accepted"),
            id="AC",
        ),
        pytest.param(
            {"requestedEnergyTransfer": "AC_three_phase", "acChargingParameters": {"energyAmount": 9000, "evMinCurrent": 6, "evMaxCurrent": 16, "evMaxVoltage": 400}},
            (9.0, None, 11.085, "Processing"),
            id="AC, voltage between lines, no departure",
        ),
        pytest.param(
            {"requestedEnergyTransfer": "DC", "departureTime": "2026-03-02T18:00:00Z", "dcChargingParameters": {"evMaxCurrent": 200, "evMaxVoltage": 400, "energyAmount": 40000, "stateOfCharge": 35}},
            (40.0, 0.35, 80.0, "Accepted"),
            id="DC with soc",
        ),
        pytest.param({}, (None, None, None, "Processing"), id="nothing"),
    ],
)  # fmt: skip
async def test_vehicle_needs(bench, needs, expected) -> None:
    station = await bench.booted("S201", "ocpp2.0.1")
    answer = await station.call("NotifyEVChargingNeeds", {"evseId": 1, "chargingNeeds": needs})
    told = bench.events.of("vehicle_needs")[0]
    energy_kwh, soc, max_power_kw, status = expected
    assert (told.energy_kwh, told.soc, answer["status"]) == (energy_kwh, soc, status)
    assert told.max_power_kw == (None if max_power_kw is None else pytest.approx(max_power_kw, abs=0.001))


@pytest.mark.parametrize(
    ("version", "station_id", "action", "payload"),
    [
        ("ocpp1.6", "S16", "DataTransfer", {"vendorId": "EV-BOX", "data": "1"}),
        ("ocpp1.6", "S16", "DiagnosticsStatusNotification", {"status": "Uploaded"}),
        ("ocpp1.6", "S16", "FirmwareStatusNotification", {"status": "Installed"}),
        ("ocpp1.6", "S16", "LogStatusNotification", {"status": "Uploaded"}),
        ("ocpp1.6", "S16", "SignedFirmwareStatusNotification", {"status": "Installed"}),
        (
            "ocpp1.6",
            "S16",
            "SecurityEventNotification",
            {"type": "InvalidMessages", "timestamp": "2026-03-02T08:00:00Z"},
        ),
        ("ocpp2.0.1", "S201", "DataTransfer", {"vendorId": "X"}),
        ("ocpp2.0.1", "S201", "NotifyReport", {"requestId": 1, "seqNo": 0, "generatedAt": "2026-03-02T08:00:00Z"}),
        ("ocpp2.0.1", "S201", "NotifyEvent", {"eventData": [], "seqNo": 0}),
        ("ocpp2.0.1", "S201", "NotifyMonitoringReport", {"requestId": 1, "seqNo": 0}),
        ("ocpp2.0.1", "S201", "NotifyChargingLimit", {"chargingLimit": {"chargingLimitSource": "EMS"}}),
        ("ocpp2.0.1", "S201", "ClearedChargingLimit", {"chargingLimitSource": "EMS"}),
        ("ocpp2.0.1", "S201", "ReportChargingProfiles", {"requestId": 1, "evseId": 1}),
        ("ocpp2.0.1", "S201", "NotifyEVChargingSchedule", {"evseId": 1}),
        ("ocpp2.0.1", "S201", "NotifyDisplayMessages", {"requestId": 1}),
        ("ocpp2.0.1", "S201", "NotifyCustomerInformation", {"data": "", "seqNo": 0, "requestId": 1}),
        ("ocpp2.0.1", "S201", "FirmwareStatusNotification", {"status": "Installed"}),
        ("ocpp2.0.1", "S201", "PublishFirmwareStatusNotification", {"status": "Published"}),
        ("ocpp2.0.1", "S201", "LogStatusNotification", {"status": "Uploaded"}),
        ("ocpp2.0.1", "S201", "SecurityEventNotification", {"type": "InvalidMessages"}),
        ("ocpp2.0.1", "S201", "ReservationStatusUpdate", {"reservationId": 1, "reservationUpdateStatus": "Expired"}),
    ],
)
async def test_every_other_message_is_answered(bench, version, station_id, action, payload) -> None:
    station = await bench.booted(station_id, version)
    assert isinstance(await station.call(action, payload), dict)
