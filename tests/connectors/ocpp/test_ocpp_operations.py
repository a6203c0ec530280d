"""What operators ask of stations, in 1.6, 2.0.1 and 2.1."""

from __future__ import annotations

import pytest
from aiohttp import WSServerHandshakeError, encode_basic_auth

from connectors.ocpp.operations import StationOperations
from connectors.ocpp.security import SecurityProfile, StationGate, hash_password, password_fits
from optimizer.domain.ids import StationId, TokenId, TransactionId
from optimizer.domain.operation import Trigger
from optimizer.errors import ChargerRefused, ChargerUnreachable, InvalidInput, NotFound

S16, S201 = StationId("S16"), StationId("S201")
TOKEN = TokenId("TAG-1")

ASKED = [
    pytest.param(lambda do, station, at: do.start(station, 1, TOKEN), "RemoteStartTransaction", "RequestStartTransaction", id="start"),
    pytest.param(lambda do, station, at: do.stop(station, TransactionId("17")), "RemoteStopTransaction", "RequestStopTransaction", id="stop"),
    pytest.param(lambda do, station, at: do.reset(station), "Reset", "Reset", id="reset"),
    pytest.param(lambda do, station, at: do.reset(station, hard=True), "Reset", "Reset", id="hard reset"),
    pytest.param(lambda do, station, at: do.set_availability(station, 0, operative=False), "ChangeAvailability", "ChangeAvailability", id="station out of service"),
    pytest.param(lambda do, station, at: do.set_availability(station, 1, operative=True), "ChangeAvailability", "ChangeAvailability", id="EVSE in service"),
    pytest.param(lambda do, station, at: do.unlock(station, 1), "UnlockConnector", "UnlockConnector", id="unlock"),
    pytest.param(lambda do, station, at: do.reserve(station, 5, 1, TOKEN, at), "ReserveNow", "ReserveNow", id="reserve"),
    pytest.param(lambda do, station, at: do.cancel_reservation(station, 5), "CancelReservation", "CancelReservation", id="cancel reservation"),
    pytest.param(lambda do, station, at: do.trigger(station, Trigger.STATUS, 1), "TriggerMessage", "TriggerMessage", id="trigger"),
    pytest.param(lambda do, station, at: do.trigger(station, Trigger.HEARTBEAT), "TriggerMessage", "TriggerMessage", id="trigger for the station"),
    pytest.param(lambda do, station, at: do.composite_schedule(station, 1, 3600), "GetCompositeSchedule", "GetCompositeSchedule", id="composite schedule"),
    pytest.param(lambda do, station, at: do.upload_log(station, "ftp://logs"), "GetDiagnostics", "GetLog", id="log"),
    pytest.param(lambda do, station, at: do.update_firmware(station, "https://firmware", at), "UpdateFirmware", "UpdateFirmware", id="firmware"),
    pytest.param(lambda do, station, at: do.send_local_list(station, 3, [TOKEN]), "SendLocalList", "SendLocalList", id="local list"),
    pytest.param(lambda do, station, at: do.clear_cache(station), "ClearCache", "ClearCache", id="clear cache"),
    pytest.param(lambda do, station, at: do.write_setting(station, "A.B", "1"), "ChangeConfiguration", "SetVariables", id="write a setting"),
]  # fmt: skip


@pytest.mark.parametrize(("ask", "action_16", "action_2x"), ASKED)
@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1", "ocpp2.1"])
async def test_every_operation_reaches_the_station(bench, version, ask, action_16, action_2x) -> None:
    station_id = S16 if version == "ocpp1.6" else S201
    station = await bench.booted(station_id, version)
    station.replies["SetVariables"] = {"setVariableResult": [{"attributeStatus": "Accepted"}]}
    reply = await ask(StationOperations(bench.system.link), station_id, bench.clock.at)
    assert reply.accepted
    assert [action for action, _ in station.calls] == [action_16 if version == "ocpp1.6" else action_2x]


class TestAnswers:
    @pytest.mark.parametrize(
        ("told", "accepted", "status"),
        [
            ({"status": "Rejected"}, False, "Rejected"),
            ({"status": "Scheduled"}, True, "Scheduled"),
            ({"status": "Occupied"}, False, "Occupied"),
            ({"status": "Rejected", "statusInfo": {"reasonCode": "TxInProgress"}}, False, "Rejected TxInProgress"),
            ({}, True, ""),
        ],
    )
    async def test_status_is_told(self, bench, told, accepted, status) -> None:
        station = await bench.booted()
        station.replies["Reset"] = told
        reply = await StationOperations(bench.system.link).reset(S16)
        assert (reply.accepted, reply.status) == (accepted, status)

    async def test_error_answer_is_a_refusal(self, bench) -> None:
        station = await bench.booted()
        station.replies["Reset"] = "NotSupported"
        with pytest.raises(ChargerRefused, match="NotSupported"):
            await StationOperations(bench.system.link).reset(S16)

    async def test_silence_is_unreachable(self, bench) -> None:
        station = await bench.booted()
        station.replies["Reset"] = lambda _: None
        with pytest.raises(ChargerUnreachable, match="no answer"):
            await StationOperations(bench.system.link).reset(S16)

    async def test_offline_is_unreachable_and_a_stranger_not_found(self, bench) -> None:
        operations = StationOperations(bench.system.link)
        with pytest.raises(ChargerUnreachable, match="not connected"):
            await operations.reset(S16)
        with pytest.raises(NotFound):
            await operations.reset(StationId("STRANGER"))

    @pytest.mark.parametrize(
        "ask",
        [
            lambda do: do.start(S16, 1, TokenId("x" * 21)),
            lambda do: do.stop(S16, TransactionId("not-a-number")),
            lambda do: do.write_setting(S16, "k" * 51, "1"),
        ],
    )
    async def test_what_ocpp_forbids_never_leaves(self, bench, ask) -> None:
        station = await bench.booted()
        with pytest.raises(InvalidInput):
            await ask(StationOperations(bench.system.link))
        assert station.calls == []

    async def test_settings_are_read_by_name(self, bench) -> None:
        station = await bench.booted()
        station.replies["GetConfiguration"] = {
            "configurationKey": [{"key": "A", "readonly": True, "value": "1"}, {"key": "B", "readonly": False}],
            "unknownKey": ["C"],
        }
        operations = StationOperations(bench.system.link)
        assert await operations.read_settings(S16, ["A", "B", "C"]) == {"A": "1", "B": ""}

    async def test_setting_that_is_refused(self, bench) -> None:
        station = await bench.booted()
        station.replies["ChangeConfiguration"] = {"status": "NotSupported"}
        reply = await StationOperations(bench.system.link).write_setting(S16, "A", "1")
        assert (reply.accepted, reply.status) == (False, "NotSupported")


class KeptPasswords:
    def __init__(self) -> None:
        self.hashes = {S16: hash_password("the first password")}

    async def password_hash(self, station_id):
        return self.hashes.get(station_id)

    async def replace_password(self, station_id, password_hash) -> None:
        self.hashes[station_id] = password_hash


class TestKeyRotation:
    async def test_new_password_holds_when_the_station_takes_it(self, open_bench) -> None:
        passwords = KeptPasswords()
        gate = StationGate(SecurityProfile.BASIC, passwords)
        async with open_bench(gate=gate) as bench:
            station = await bench.station("S16", headers=_basic("the first password"))
            await station.boot()
            reply = await StationOperations(bench.system.link, passwords).rotate_password(S16)
            assert reply.accepted
            told = station.payloads("ChangeConfiguration")[0]
            assert told["key"] == "AuthorizationKey"
            assert password_fits(bytes.fromhex(told["value"]), passwords.hashes[S16])
            late = await bench.station("S16", headers=_basic("the first password"))
            assert (await late.boot())["status"] == "Accepted", "it may need a restart before it uses the new one"
            again = await bench.station("S16", headers=_basic(told["value"]))
            assert (await again.boot())["status"] == "Accepted"
            assert " " not in passwords.hashes[S16]
            with pytest.raises(WSServerHandshakeError, match="401"):
                await bench.station("S16", headers=_basic("the first password"))

    async def test_both_are_good_when_the_station_stays_silent(self, bench) -> None:
        passwords = KeptPasswords()
        station = await bench.booted()
        station.replies["ChangeConfiguration"] = lambda _: None
        with pytest.raises(ChargerUnreachable):
            await StationOperations(bench.system.link, passwords).rotate_password(S16)
        told = station.payloads("ChangeConfiguration")[0]["value"]
        assert password_fits(b"the first password", passwords.hashes[S16])
        assert password_fits(told.encode(), passwords.hashes[S16])
        assert not password_fits(b"any other password", passwords.hashes[S16])

    @pytest.mark.parametrize("answer", [{"status": "Rejected"}, "InternalError"])
    async def test_old_password_comes_back_when_it_does_not(self, bench, answer) -> None:
        passwords = KeptPasswords()
        before = passwords.hashes[S16]
        station = await bench.booted()
        station.replies["ChangeConfiguration"] = answer
        operations = StationOperations(bench.system.link, passwords)
        if isinstance(answer, dict):
            assert not (await operations.rotate_password(S16)).accepted
        else:
            with pytest.raises(ChargerRefused):
                await operations.rotate_password(S16)
        assert passwords.hashes[S16] == before


def _basic(password):
    return {"Authorization": encode_basic_auth("S16", password)}
