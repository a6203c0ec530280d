"""Connections as the field has them: odd handshakes, doubles, the silent, the flapping, the returning."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from aiohttp import WSServerHandshakeError

from connectors.clock import SystemClock
from connectors.ocpp.outbound import Message
from connectors.ocpp.security import SecurityProfile, StationGate
from connectors.ocpp.server import OcppCentralSystem
from connectors.ocpp.settings import OcppSettings, Version
from optimizer.domain.charger import LimitCommand, LimitPeriod, LimitState, StationBooted, StationHabits
from optimizer.domain.ids import EvseId, StationId
from optimizer.domain.site import Station
from optimizer.errors import InvalidConfiguration

S16 = StationId("S16")


def limit(bench, limit_kw: float, number: int = 1, station: str = "S16") -> LimitCommand:
    periods = (LimitPeriod(bench.clock.at, limit_kw),)
    return LimitCommand(StationId(station), EvseId(f"{station}-{number}"), None, periods)


def amperes(payload) -> float:
    return payload["csChargingProfiles"]["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"]


class TestHandshake:
    @pytest.mark.parametrize(
        ("offered", "agreed"),
        [
            pytest.param("ocpp1.6", "ocpp1.6", id="1.6 alone"),
            pytest.param("ocpp2.1,ocpp2.0.1", "ocpp2.1", id="the station's first choice that we serve"),
            pytest.param("ocpp1.2,ocpp2.0.1,ocpp1.6", "ocpp2.0.1", id="unknown ones are passed over"),
        ],
    )
    async def test_version_is_agreed(self, bench, offered, agreed) -> None:
        station = await bench.station("S16", offered)
        assert station.socket.protocol == agreed

    @pytest.mark.parametrize("offered", ["soap", None], ids=["only unknown ones", "no header"])
    async def test_no_common_version_closes_with_1002(self, bench, offered) -> None:
        station = await bench.station("S16", offered)
        assert station.socket.protocol is None
        assert await station.gone() == 1002
        assert not bench.system.is_online(S16)
        assert bench.events.happened == []

    async def test_missing_header_is_taken_where_the_settings_say_so(self, open_bench, quick_settings) -> None:
        settings = replace(quick_settings, assumed_versions={S16: Version.V16})
        async with open_bench(settings) as bench:
            station = await bench.station("S16", None)
            assert (await station.boot())["status"] == "Accepted"

    async def test_unserved_version_is_not_agreed(self, open_bench, quick_settings) -> None:
        async with open_bench(replace(quick_settings, versions=(Version.V201, Version.V16))) as bench:
            station = await bench.station("S16", "ocpp2.1,ocpp2.0.1")
            assert station.socket.protocol == "ocpp2.0.1"

    async def test_unknown_station_is_refused(self, bench) -> None:
        with pytest.raises(WSServerHandshakeError) as refused:
            await bench.station("STRANGER")
        assert refused.value.status == 404

    async def test_flapping_station_is_refused_for_a_while(self, open_bench, quick_settings) -> None:
        async with open_bench(replace(quick_settings, connects_per_minute=3)) as bench:
            for _ in range(3):
                await (await bench.station()).close()
            with pytest.raises(WSServerHandshakeError) as refused:
                await bench.station()
            assert refused.value.status == 429
            assert (await bench.station("S201", "ocpp2.0.1")).socket.protocol == "ocpp2.0.1"


class TestBoot:
    async def test_answer_tells_time_and_interval(self, bench) -> None:
        station = await bench.station()
        answer = await station.boot()
        assert answer["status"] == "Accepted"
        assert answer["currentTime"] == "2026-03-02T08:00:00Z"
        assert 270 <= answer["interval"] <= 330

    async def test_stations_get_different_intervals(self, bench) -> None:
        intervals = {(await (await bench.station(name)).boot())["interval"] for name in ("S16", "D16", "DC")}
        assert len(intervals) > 1

    async def test_failing_store_refuses_the_boot_and_keeps_the_connection(self, bench) -> None:
        station = await bench.station()
        bench.events.failures["station_booted"] = RuntimeError("database is gone")
        answer = await station.frame("BootNotification", {"chargePointVendor": "Maker", "chargePointModel": "One"})
        assert answer[:3] == [4, "m1", "InternalError"]
        del bench.events.failures["station_booted"]
        assert (await station.boot())["status"] == "Accepted"
        assert bench.system.health(S16).failed_answers == 1

    async def test_failing_store_at_a_silent_return_costs_no_limits(self, bench) -> None:
        bench.events.failures["station_booted"] = RuntimeError("database is gone")
        station = await bench.station()
        assert (await bench.system.set_limit(limit(bench, 5.0))).state is LimitState.ACCEPTED
        del bench.events.failures["station_booted"]
        await station.call("Heartbeat")
        assert len(bench.events.of("station_booted")) == 1

    async def test_failing_store_at_the_end_leaves_the_station_offline(self, bench) -> None:
        station = await bench.booted()
        bench.events.failures["station_disconnected"] = RuntimeError("database is gone")
        await station.close()
        await bench.eventually(lambda: not bench.system.is_online(S16))
        del bench.events.failures["station_disconnected"]
        assert (await (await bench.station()).boot())["status"] == "Accepted"

    async def test_calls_wait_for_the_boots_answer(self, open_bench, quick_settings) -> None:
        async with open_bench(replace(quick_settings, settle_s=30.0)) as bench:
            station = await bench.station()
            asking = asyncio.create_task(bench.system.set_limit(limit(bench, 5.0)))
            await station.call("Heartbeat")
            assert station.calls == []
            await station.boot()
            assert (await asking).state is LimitState.ACCEPTED

    async def test_station_that_returns_without_booting_is_announced_with_its_first_message(self, bench) -> None:
        first = await bench.booted()
        await first.close()
        second = await bench.station()
        await second.call("Heartbeat")
        boots = bench.events.of("station_booted")
        assert [(boot.vendor, boot.firmware) for boot in boots] == [("Maker", "1.0"), ("Maker", "1.0")]
        assert (await bench.system.set_limit(limit(bench, 5.0))).state is LimitState.ACCEPTED

    async def test_silent_station_is_announced_after_the_settle_time(self, bench) -> None:
        await bench.station()
        await bench.eventually(lambda: len(bench.events.of("station_booted")) == 1)
        assert (await bench.system.set_limit(limit(bench, 5.0))).state is LimitState.ACCEPTED

    async def test_identity_of_an_earlier_run_is_recalled(self, bench) -> None:
        bench.system.recall({S16: StationBooted(S16, bench.clock.at, "1.6", "Maker", "One", "0.9")})
        station = await bench.station()
        await station.call("Heartbeat")
        assert bench.events.of("station_booted")[0].firmware == "0.9"


class TestTwoSocketsForOneId:
    async def test_newest_wins_and_the_station_stays_online(self, bench) -> None:
        old = await bench.booted()
        new = await bench.booted()
        assert await old.gone() == 1008
        assert bench.system.is_online(S16)
        assert bench.events.of("station_disconnected") == []
        assert (await bench.system.set_limit(limit(bench, 5.0))).state is LimitState.ACCEPTED
        assert new.payloads("SetChargingProfile")
        await new.close()
        await bench.eventually(lambda: not bench.system.is_online(S16))
        assert bench.events.of("station_disconnected") == [S16]

    async def test_what_the_old_one_asked_is_finished_before_the_new_one_is_heard(self, bench) -> None:
        old = await bench.booted()
        bench.events.delays_s["connector_reported"] = 0.1
        waiting = asyncio.create_task(
            old.frame("StatusNotification", {"connectorId": 1, "status": "Charging", "errorCode": "NoError"})
        )
        await asyncio.sleep(0.02)
        new = await bench.station()
        await new.call("Heartbeat")
        kinds = [kind for kind, _ in bench.events.happened]
        assert kinds == ["station_booted", "connector_reported", "station_booted"]
        await asyncio.wait([waiting])
        waiting.exception()

    async def test_version_belongs_to_the_connection(self, bench) -> None:
        await bench.booted("S16", "ocpp1.6")
        new = await bench.booted("S16", "ocpp2.0.1")
        await bench.system.set_limit(limit(bench, 5.0))
        assert new.payloads("SetChargingProfile")[0]["evseId"] == 1

    async def test_many_at_once_leave_one(self, bench) -> None:
        opened = await asyncio.gather(*(bench.station() for _ in range(12)))
        await bench.eventually(lambda: sum(not station.socket.closed for station in opened) == 1)
        await bench.eventually(lambda: len(bench.events.of("station_booted")) >= 1)
        assert bench.system.is_online(S16)
        assert bench.events.of("station_disconnected") == []


class TestDeadPeers:
    async def test_no_pong_ends_the_connection(self, open_bench, quick_settings) -> None:
        async with open_bench(replace(quick_settings, ping_interval_s=0.1)) as bench:
            await bench.station("S16", autoping=False)
            await bench.eventually(lambda: bench.events.of("station_disconnected") == [S16])

    async def test_pings_keep_the_living(self, open_bench, quick_settings) -> None:
        async with open_bench(replace(quick_settings, ping_interval_s=0.05)) as bench:
            station = await bench.booted()
            await asyncio.sleep(0.3)
            assert (await station.call("Heartbeat"))["currentTime"]

    async def test_station_without_pongs_is_ended_by_silence_alone(self, open_bench, quick_settings) -> None:
        settings = replace(quick_settings, ping_interval_s=0.05, no_ping_stations=frozenset({S16}), silence_limit_s=0.3)
        async with open_bench(settings) as bench:
            station = await bench.station("S16", autoping=False)
            for _ in range(4):
                await asyncio.sleep(0.1)
                await station.call("Heartbeat")
            await bench.eventually(lambda: bench.events.of("station_disconnected") == [S16])


class TestCallsToAStation:
    async def test_one_call_at_a_time(self, bench) -> None:
        station = await bench.station("D16")
        await station.boot()
        outstanding, most = 0, 0

        def slowly(_payload):
            nonlocal outstanding, most
            outstanding += 1
            most = max(most, outstanding)
            outstanding -= 1
            return {"status": "Accepted"}

        station.replies["SetChargingProfile"] = slowly
        replies = await asyncio.gather(
            bench.system.set_limit(limit(bench, 5.0, 1, "D16")),
            bench.system.set_limit(limit(bench, 6.0, 2, "D16")),
            bench.system.set_safe_default(StationId("D16"), EvseId("D16-1"), 4.2),
        )
        assert {reply.state for reply in replies} == {LimitState.ACCEPTED}
        assert most == 1

    async def test_newest_limit_wins_while_the_station_is_busy(self, bench) -> None:
        station = await bench.booted()
        station.replies["Reset"] = lambda _: None
        busy = asyncio.create_task(bench.system.link(S16).ask(Message("Reset", {"type": "Soft"})))
        await station.received("Reset")
        asked = [asyncio.create_task(bench.system.set_limit(limit(bench, limit_kw))) for limit_kw in (6.9, 9.0, 4.83)]
        replies = await asyncio.gather(*asked)
        assert [reply.state for reply in replies] == [
            LimitState.UNANSWERED,
            LimitState.UNANSWERED,
            LimitState.ACCEPTED,
        ]
        assert [amperes(payload) for payload in station.payloads("SetChargingProfile")] == [7.0]
        await busy

    async def test_limits_overtake_other_calls(self, bench) -> None:
        station = await bench.booted()
        station.replies["Reset"] = lambda _: None
        others = [
            asyncio.create_task(bench.system.link(S16).ask(Message(action, {})))
            for action in ("Reset", "ClearCache", "ClearCache")
        ]
        await station.received("Reset")
        await bench.system.set_limit(limit(bench, 5.0))
        assert [action for action, _ in station.calls] == ["Reset", "Reset", "SetChargingProfile"]
        await asyncio.gather(*others)

    async def test_silence_is_retried_and_a_late_answer_counts(self, bench) -> None:
        station = await bench.booted()
        station.replies["SetChargingProfile"] = lambda _: None
        asking = asyncio.create_task(bench.system.set_limit(limit(bench, 5.0)))
        await station.received("SetChargingProfile", 2)
        await station.say(f'[3,"{station.call_ids[0]}",{{"status":"Accepted"}}]')
        assert (await asking).state is LimitState.ACCEPTED

    async def test_answers_to_both_attempts_that_come_together_are_no_violation(self, bench) -> None:
        station = await bench.booted()
        station.replies["SetChargingProfile"] = lambda _: None
        asking = asyncio.create_task(bench.system.set_limit(limit(bench, 5.0)))
        await station.received("SetChargingProfile", 2)
        answers = [f'[3,"{call_id}",{{"status":"Accepted"}}]' for call_id in station.call_ids]
        await asyncio.gather(*(station.say(answer) for answer in answers))
        await station.call("Heartbeat")
        health = bench.system.health(S16)
        assert (await asking).state is LimitState.ACCEPTED
        assert (health.late_answers, health.violations["answer to nothing asked"]) == (1, 0)

    async def test_answer_after_the_call_was_given_up_is_only_counted(self, bench) -> None:
        station = await bench.booted()
        station.replies["SetChargingProfile"] = lambda _: None
        assert (await bench.system.set_limit(limit(bench, 5.0))).state is LimitState.UNANSWERED
        await station.say(f'[3,"{station.call_ids[0]}",{{"status":"Accepted"}}]')
        await station.say('[3,"never-asked",{"status":"Accepted"}]')
        await station.call("Heartbeat")
        health = bench.system.health(S16)
        assert health.late_answers == 1
        assert health.violations["answer to nothing asked"] == 1
        assert health.unanswered_calls == 1

    async def test_mute_station_is_tried_once_only(self, bench) -> None:
        station = await bench.booted()
        station.replies["SetChargingProfile"] = lambda _: None
        for _ in range(4):
            await bench.system.set_limit(limit(bench, 5.0))
        assert len(station.calls) == 2 + 2 + 2 + 1

    async def test_queue_is_bounded_but_not_for_limits(self, open_bench, quick_settings) -> None:
        async with open_bench(replace(quick_settings, queue_limit=2)) as bench:
            station = await bench.booted()
            station.replies["Reset"] = lambda _: None
            calls = [
                asyncio.create_task(bench.system.link(S16).ask(Message(action, {})))
                for action in ["Reset", *3 * ["ClearCache"]]
            ]
            await station.received("Reset")
            assert (await bench.system.set_limit(limit(bench, 5.0))).state is LimitState.ACCEPTED
            outcomes = await asyncio.gather(*calls)
            assert "calls wait" in outcomes[3].why

    async def test_lost_connection_settles_what_waits(self, bench) -> None:
        station = await bench.booted()
        station.replies["SetChargingProfile"] = lambda _: None
        asking = asyncio.create_task(bench.system.set_limit(limit(bench, 5.0)))
        await station.received("SetChargingProfile")
        await station.close()
        reply = await asking
        assert (reply.state, reply.detail) == (LimitState.UNANSWERED, "the connection ended")

    async def test_inbound_is_answered_while_a_call_is_out(self, bench) -> None:
        station = await bench.booted()
        station.replies["SetChargingProfile"] = lambda _: None
        asking = asyncio.create_task(bench.system.set_limit(limit(bench, 5.0)))
        await station.received("SetChargingProfile")
        assert (await station.call("Heartbeat"))["currentTime"]
        assert not asking.done()
        await asking


class TestShutdown:
    async def test_every_connection_is_closed_and_nothing_runs_on(self, open_bench) -> None:
        async with open_bench() as bench:
            stations = [await bench.booted("S16"), await bench.booted("S201", "ocpp2.0.1")]
            stations[0].replies["SetChargingProfile"] = lambda _: None
            asking = asyncio.create_task(bench.system.set_limit(limit(bench, 5.0)))
            await stations[0].received("SetChargingProfile")
            await bench.system.close()
            assert (await asking).state is LimitState.UNANSWERED
            assert [await station.gone() for station in stations] == [1001, 1001]
            assert sorted(bench.events.of("station_disconnected")) == ["S16", "S201"]
            with pytest.raises(WSServerHandshakeError) as refused:
                await bench.station()
            assert refused.value.status == 503
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert left == []


async def test_message_is_answered_only_after_it_is_durable(bench) -> None:
    station = await bench.booted()
    bench.events.delays_s["transaction_begun"] = 0.05
    told = {"connectorId": 1, "idTag": "TAG-1", "meterStart": 0, "timestamp": "2026-03-02T08:00:00Z"}
    asking = asyncio.create_task(station.call("StartTransaction", told))
    await asyncio.sleep(0.02)
    assert not asking.done()
    assert bench.events.of("transaction_begun") == []
    assert (await asking)["transactionId"] == 101


async def test_slow_or_failing_station_does_not_hold_another(bench) -> None:
    slow, other = await bench.booted("S16"), await bench.booted("D16")
    bench.events.delays_s["meter_sampled"] = 0.2
    value = {"timestamp": "2026-03-02T08:00:00Z", "sampledValue": [{"value": "1"}]}
    asking = asyncio.create_task(slow.call("MeterValues", {"connectorId": 1, "meterValue": [value]}))
    for _ in range(5):
        await other.call("Heartbeat")
    assert not asking.done()
    assert await asking == {}


async def test_profile_start_follows_a_skewed_clock(bench) -> None:
    station = await bench.booted()
    for minute in range(3):
        bench.clock.advance(minutes=1)
        at = bench.clock.at + timedelta(hours=1)
        value = {"timestamp": at.isoformat(), "sampledValue": [{"value": str(100 + minute)}]}
        await station.call("MeterValues", {"connectorId": 1, "meterValue": [value]})
    assert bench.events.samples[-1].at == bench.clock.at
    await bench.system.set_limit(limit(bench, 5.0))
    schedule = station.payloads("SetChargingProfile")[0]["csChargingProfiles"]["chargingSchedule"]
    assert schedule["startSchedule"] == "2026-03-02T09:02:00Z"


async def tell_fresh_values(bench, station, behind: timedelta) -> None:
    """Three meter values, sent as they are taken, by a clock that is ``behind``."""
    for minute in range(3):
        bench.clock.advance(minutes=1)
        at = bench.clock.at - behind
        value = {"timestamp": at.isoformat(), "sampledValue": [{"value": str(100 + minute)}]}
        await station.call("MeterValues", {"connectorId": 1, "meterValue": [value]})


async def test_a_slow_clock_is_made_known_before_anything_is_judged_by_it(bench) -> None:
    station = await bench.booted()
    await tell_fresh_values(bench, station, timedelta(seconds=95))
    (known,) = bench.events.of("station_known_better")
    assert (known.station_id, known.vendor) == (S16, "Maker")
    assert known.habits.clock_ahead_s == pytest.approx(-95.0)
    kinds = [kind for kind, _ in bench.events.happened]
    assert kinds.index("station_known_better") < len(kinds) - 1 - kinds[::-1].index("meter_sampled")


async def test_a_clock_that_is_right_is_not_worth_a_write(bench) -> None:
    await tell_fresh_values(bench, await bench.booted(), timedelta(0))
    assert bench.events.of("station_known_better") == []


async def test_a_slow_clock_is_known_after_a_restart_of_the_service(bench) -> None:
    habits = StationHabits(clock_ahead_s=-95.0)
    bench.system.recall({S16: StationBooted(S16, bench.clock.at, "1.6", "Maker", "One", "0.9", habits)})
    station = await bench.station()
    behind = (bench.clock.at - timedelta(seconds=95)).isoformat()
    told = {"connectorId": 1, "status": "Available", "errorCode": "NoError", "timestamp": behind}
    await station.call("StatusNotification", told)
    assert bench.events.of("connector_reported")[-1].at == bench.clock.at
    assert bench.events.of("station_booted")[-1].habits == habits
    await tell_fresh_values(bench, station, timedelta(0))
    assert bench.events.of("station_known_better")[-1].habits.clock_ahead_s == 0.0, "it was set right since"


async def test_a_start_is_told_with_the_stamp_that_was_sent_too(bench) -> None:
    habits = StationHabits(clock_ahead_s=-95.0)
    bench.system.recall({S16: StationBooted(S16, bench.clock.at, "1.6", habits=habits)})
    stamp = bench.clock.at - timedelta(seconds=95)
    start = {"connectorId": 1, "idTag": "TAG-1", "meterStart": 1500, "timestamp": stamp.isoformat()}
    await (await bench.booted()).call("StartTransaction", start)
    (begun,) = bench.events.of("transaction_begun")
    assert (begun.at, begun.stamped_at) == (bench.clock.at, stamp)


@pytest.mark.parametrize(
    ("numbers", "ids"),
    [
        pytest.param([], [], id="no EVSE"),
        pytest.param([1, 1], ["a", "b"], id="one number twice"),
        pytest.param([1, 2], ["a", "a"], id="one id twice"),
    ],
)
async def test_stations_that_cannot_be_told_apart_are_refused(make_evse, numbers, ids) -> None:
    evses = tuple(replace(make_evse("S", number), id=EvseId(name)) for number, name in zip(numbers, ids, strict=True))
    with pytest.raises(InvalidConfiguration):
        OcppCentralSystem(
            [Station(StationId("S"), evses)],
            None,
            SystemClock(),
            OcppSettings(),
            StationGate(SecurityProfile.NONE),
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"versions": ()},
        {"call_timeout_s": 0},
        {"call_attempts": 0},
        {"heartbeat_spread_share": 1.0},
        {"message_limit_bytes": 10},
        {"queue_patience_s": float("inf")},
    ],
)
def test_settings_that_cannot_work_are_refused(changes) -> None:
    with pytest.raises(InvalidConfiguration) as refused:
        OcppSettings(**changes)
    assert next(iter(changes)) in str(refused.value)
