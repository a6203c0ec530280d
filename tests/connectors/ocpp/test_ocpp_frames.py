"""Frames as stations write them, whole and broken: read, answered by the book, harmless to others."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.ocpp.frames import (
    CallFrame,
    ErrorCode,
    ErrorFrame,
    MalformedFrame,
    ResultErrorFrame,
    ResultFrame,
    read_frame,
)
from optimizer.domain.ids import StationId

S16 = StationId("S16")


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        pytest.param('[2,"1","Heartbeat",{}]', CallFrame("1", "Heartbeat", {}), id="call"),
        pytest.param(' [ 2 , "1" ,"Heartbeat" , { } ] ', CallFrame("1", "Heartbeat", {}), id="blanks"),
        pytest.param('[3,"1",{"status":"Accepted"}]', ResultFrame("1", {"status": "Accepted"}), id="result"),
        pytest.param('[3,"1"]', ResultFrame("1", {}), id="result without a payload"),
        pytest.param('[4,"1","NotSupported","no",{}]', ErrorFrame("1", "NotSupported", "no"), id="error"),
        pytest.param('[4,"1"]', ErrorFrame("1", "GenericError", ""), id="error without a code"),
        pytest.param('[5,"1","InternalError","",{}]', ResultErrorFrame("1", "InternalError"), id="type 5"),
        pytest.param('[6,"1","Notify",{}]', CallFrame("1", "Notify", {}, wants_answer=False), id="type 6"),
    ],
)
def test_frames_by_the_book(text, frame) -> None:
    assert read_frame(text) == frame


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('[2,17,"Heartbeat",{}]', id="number for an id"),
        pytest.param('[2,"17","Heartbeat"]', id="no payload"),
        pytest.param('[2,"17","Heartbeat",null]', id="null payload"),
        pytest.param('[2,"17","Heartbeat",[]]', id="empty list for a payload"),
        pytest.param('[2,"17","Heartbeat",{},"more"]', id="one element too many"),
    ],
)
def test_frames_out_of_form_are_read_and_noted(text) -> None:
    frame = read_frame(text)
    assert isinstance(frame, CallFrame)
    assert (frame.action, frame.payload) == ("Heartbeat", {})
    assert frame.slip


@pytest.mark.parametrize(
    ("text", "code", "answer_to"),
    [
        pytest.param("", ErrorCode.RPC_FRAMEWORK, "-1", id="nothing"),
        pytest.param("hello", ErrorCode.RPC_FRAMEWORK, "-1", id="no JSON"),
        pytest.param('[2,"abc","MeterValues",{"a":', ErrorCode.RPC_FRAMEWORK, "abc", id="cut off"),
        pytest.param('[2,"abc","X",{"a":NaN}]', ErrorCode.RPC_FRAMEWORK, "abc", id="NaN"),
        pytest.param('[2,"abc","X",' + "[" * 100_000, ErrorCode.RPC_FRAMEWORK, "abc", id="deep"),
        pytest.param('[2,"abc","X",{"a":' + "9" * 5000 + "}]", ErrorCode.RPC_FRAMEWORK, "abc", id="endless number"),
        pytest.param('[3,"abc",{"a":', ErrorCode.RPC_FRAMEWORK, None, id="an answer cut off is not answered"),
        pytest.param('{"a":1}', ErrorCode.RPC_FRAMEWORK, "-1", id="an object"),
        pytest.param("[]", ErrorCode.RPC_FRAMEWORK, "-1", id="empty array"),
        pytest.param('[7,"abc",{}]', ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED, "abc", id="unknown type"),
        pytest.param('["2","abc","X",{}]', ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED, "abc", id="type as text"),
        pytest.param('[2,"","X",{}]', ErrorCode.RPC_FRAMEWORK, "-1", id="empty id"),
        pytest.param('[2,{},"X",{}]', ErrorCode.RPC_FRAMEWORK, "-1", id="object for an id"),
        pytest.param('[2,"' + "i" * 300 + '","X",{}]', ErrorCode.RPC_FRAMEWORK, "-1", id="endless id"),
        pytest.param('[2,"abc"]', ErrorCode.RPC_FRAMEWORK, "abc", id="no action"),
        pytest.param('[2,"abc",5,{}]', ErrorCode.RPC_FRAMEWORK, "abc", id="number for an action"),
        pytest.param('[2,"abc","X","payload"]', ErrorCode.TYPE_VIOLATION, "abc", id="text for a payload"),
        pytest.param('[6,"abc","X","payload"]', ErrorCode.TYPE_VIOLATION, None, id="SEND is never answered"),
        pytest.param("[3]", ErrorCode.RPC_FRAMEWORK, None, id="result without an id"),
    ],
)
def test_broken_frames(text, code, answer_to) -> None:
    with pytest.raises(MalformedFrame) as malformed:
        read_frame(text)
    assert (malformed.value.code, malformed.value.message_id) == (code, answer_to)


class TestAnswersToBrokenFrames:
    @pytest.mark.parametrize(
        ("version", "station_id", "said", "code"),
        [
            pytest.param("ocpp1.6", "S16", '[2,"x1","Heartbeat",{]', "ProtocolError", id="1.6: no JSON"),
            pytest.param("ocpp2.0.1", "S201", '[2,"x1","Heartbeat",{]', "RpcFrameworkError", id="2.0.1: no JSON"),
            pytest.param("ocpp1.6", "S16", '[2,"x1","Heartbeat",7]', "TypeConstraintViolation", id="1.6: payload"),
            pytest.param("ocpp2.0.1", "S201", '[9,"x1"]', "MessageTypeNotSupported", id="2.0.1: type"),
            pytest.param("ocpp1.6", "S16", '[2,"x1","Fly",{}]', "NotImplemented", id="1.6: unknown action"),
            pytest.param("ocpp1.6", "S16", '[2,"x1","Reset",{}]', "NotSupported", id="1.6: not a station's action"),
            pytest.param("ocpp2.0.1", "S201", '[2,"x1","Fly",{}]', "NotImplemented", id="2.0.1: unknown action"),
            pytest.param("ocpp2.1", "S201", '[2,"x1","Fly",{}]', "NotImplemented", id="2.1: unknown action"),
            pytest.param("ocpp2.1", "S201", '[2,"x1","NotifySettlement",{}]', "NotSupported", id="2.1: not served"),
            pytest.param(
                "ocpp2.0.1",
                "S201",
                '[2,"x1","TransactionEvent",{}]',
                "OccurrenceConstraintViolation",
                id="2.0.1: no id",
            ),
        ],
    )
    async def test_error_answer(self, bench, version, station_id, said, code) -> None:
        station = await bench.booted(station_id, version)
        await station.say(said)
        async with asyncio.timeout(5):
            answer = await station.raw.get()
        assert answer[:3] == [4, "x1", code]
        assert isinstance(answer[3], str)
        assert answer[4] == {}
        assert (await station.call("Heartbeat"))["currentTime"]

    async def test_id_is_echoed_as_it_came(self, bench) -> None:
        station = await bench.booted()
        assert (await station.frame("Heartbeat", {}, 17))[1] == 17

    async def test_send_is_not_answered(self, bench) -> None:
        station = await bench.booted("S201", "ocpp2.1")
        await station.say('[6,"x1","NotifyPeriodicEventStream",{}]')
        await station.say('[5,"x1","InternalError","",{}]')
        await station.call("Heartbeat")
        assert station.raw.empty()

    async def test_oversized_frame_ends_this_connection_only(self, bench) -> None:
        big, other = await bench.booted("S16"), await bench.booted("D16")
        await big.say('[2,"x","DataTransfer",{"data":"' + "x" * 300_000 + '"}]')
        assert await big.gone() == 1009
        assert (await other.call("Heartbeat"))["currentTime"]
        assert bench.system.health(S16).violations["websocket error"] == 1

    async def test_binary_json_is_taken(self, bench) -> None:
        station = await bench.booted()
        await station.socket.send_bytes(b'[2,"b1","Heartbeat",{}]')
        async with asyncio.timeout(5):
            assert (await station.raw.get())[:2] == [3, "b1"]
        assert bench.system.health(S16).violations["binary frame"] == 1

    async def test_text_that_is_no_utf8_ends_this_connection_only(self, bench) -> None:
        wrong, other = await bench.booted("S16"), await bench.booted("D16")
        await wrong.socket._writer.send_frame(b"\xff\xfe", 1)
        assert await wrong.gone() == 1007
        assert (await other.call("Heartbeat"))["currentTime"]


async def test_station_that_floods_waits_its_turn_and_the_others_do_not(open_bench, quick_settings) -> None:
    async with open_bench(replace(quick_settings, frames_burst=20, frames_per_s=50.0)) as bench:
        flooding, other = await bench.booted("S16"), await bench.booted("D16")
        for number in range(60):
            await flooding.say(f'[2,"h{number}","Heartbeat",{{}}]')
        assert (await other.call("Heartbeat"))["currentTime"]
        assert flooding.raw.qsize() < 60
        await bench.eventually(lambda: flooding.raw.qsize() == 60)


def recorded_frames() -> list[dict]:
    """Frames of real stations, where the machine has them; they are not ours to ship."""
    here = Path(__file__).resolve()
    told = os.environ.get("CHARGEHORIZON_LOCAL_DATA")
    roots = [Path(told)] if told else [parent / "shared" / "data" for parent in here.parents]
    for root in roots:
        for path in (
            root / "local_tests_only" / "ocpp16_recorded" / "messages.jsonl",
            root / "ocpp16_recorded" / "messages.jsonl",
        ):
            if path.is_file():
                return [json.loads(line) for line in path.read_text().splitlines()]
    return []


class TestRecordedFrames:
    @pytest.fixture
    def frames(self) -> list[dict]:
        frames = recorded_frames()
        if not frames:
            pytest.skip("recorded frames are not on this machine; name their folder in CHARGEHORIZON_LOCAL_DATA")
        return frames

    def test_all_can_be_read(self, frames) -> None:
        for frame in frames:
            read_frame(frame["raw"])

    async def test_every_call_of_a_real_station_gets_a_result(self, bench, frames) -> None:
        station = await bench.booted("D16")
        said = [frame["raw"] for frame in frames if frame["direction"] == "cp_to_csms"]
        calls = [text for text in said if json.loads(text)[0] == 2]
        for text in said:
            await station.say(text)
        await station.call("Heartbeat")
        answers = [station.raw.get_nowait() for _ in range(station.raw.qsize())]
        assert len(answers) == len(calls) >= 10
        assert {answer[0] for answer in answers} == {3}

    async def test_values_of_real_meters_are_read(self, bench, frames) -> None:
        station = await bench.booted("D16")
        for frame in frames:
            if '"MeterValues"' in frame["raw"] and '"connectorId": 1' in frame["raw"].replace('d":1', 'd": 1'):
                await station.say(frame["raw"])
        await station.call("Heartbeat")
        told = [(sample.power_kw, sample.current_a, sample.register_kwh) for sample in bench.events.samples]
        assert (1.634, (7.12, 0.0, 0.0)) in [sample[:2] for sample in told]
        assert (0.362, (2.22, 0.0, 0.0)) in [sample[:2] for sample in told]
