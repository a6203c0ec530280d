"""What operators see of stations and ask of them: the whole service over real sockets, stations of 1.6 and 2.0.1."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from station_garage import VERSIONS, garage_of

from optimizer.domain.ids import TokenId
from scenarios.vehicle_model import VehicleModel


@pytest.mark.parametrize("station_id", VERSIONS)
async def test_a_transaction_is_started_and_stopped_from_afar(tmp_path: Path, station_id: str) -> None:
    async with garage_of(tmp_path) as garage:
        virtual = garage.stations[station_id]
        assert (await garage.order(station_id, "start", {"token_id": "driver"}))["accepted"]
        virtual.plug_in(1, VehicleModel(20.0), TokenId("other"), garage.service.clock.now(), None)
        session = await garage.until(
            lambda: garage.session_at(station_id), lambda now: now and now["transaction_id"] and now["token_id"]
        )
        assert session["token_id"] == "driver"
        status, problem = await garage.ask("POST", f"/v1/stations/{station_id}/start", {"token_id": "driver"})
        assert (status, "charges already" in problem["detail"]) == (409, True)
        assert (await garage.order(station_id, "stop", {}))["accepted"]
        ended = await garage.until(lambda: garage.session_at(station_id), lambda now: not now["transaction_id"])
        assert ended["unplugged_at"] is None
        status, problem = await garage.ask("POST", f"/v1/stations/{station_id}/stop", {})
        assert (status, "no transaction runs" in problem["detail"]) == (409, True)


@pytest.mark.parametrize("station_id", VERSIONS)
async def test_a_reserved_evse_is_started_for_its_token_only(tmp_path: Path, station_id: str) -> None:
    async with garage_of(tmp_path) as garage:
        now = garage.service.clock.now()
        booked = {"start": now.isoformat(), "end": (now + timedelta(hours=2)).isoformat(), "token_id": "booker"}
        status, _ = await garage.ask("POST", "/v1/reservations", booked | {"evse_id": station_id})
        assert status == 201
        status, problem = await garage.ask("POST", f"/v1/stations/{station_id}/start", {"token_id": "driver"})
        assert (status, "kept for another token" in problem["detail"]) == (409, True)
        starts = ("RemoteStartTransaction", "RequestStartTransaction")
        assert garage.heard(station_id, *starts) == 0, "what is refused never leaves"
        assert (await garage.order(station_id, "start", {"token_id": "booker"}))["accepted"]
        assert garage.heard(station_id, *starts) == 1


@pytest.mark.parametrize("station_id", VERSIONS)
async def test_orders_have_their_effect_at_the_station(tmp_path: Path, station_id: str) -> None:
    async with garage_of(tmp_path) as garage:
        core = garage.stations[station_id].core
        await garage.order(station_id, "availability", {"operative": False})
        assert not core.evses[1].is_operative
        await garage.until(
            lambda: garage.station(station_id), lambda seen: seen["connectors"][0]["status"] == "unavailable"
        )
        await garage.order(station_id, "availability", {"operative": True, "evse_id": station_id})
        assert core.evses[1].is_operative
        assert (await garage.order(station_id, "unlock", {}))["status"] == "Unlocked"
        await garage.order(station_id, "local-list", {"token_ids": ["one", "two"]})
        assert core.local_list == {"one": True, "two": True}
        await garage.order(station_id, "local-list", {"token_ids": []})
        assert core.local_list == {}
        assert (await garage.order(station_id, "clear-cache"))["accepted"]
        assert (await garage.order(station_id, "trigger", {"message": "meter_values", "evse_id": station_id}))[
            "accepted"
        ]
        status, told = await garage.ask("GET", f"/v1/stations/{station_id}/composite-schedule?duration_s=600")
        assert (status, told["accepted"]) == (200, True)
        before = garage.stations[station_id].connections
        await garage.order(station_id, "reset", {"hard": True})
        await garage.until(lambda: garage.station(station_id), lambda seen: seen["connections"] > before)


@pytest.mark.parametrize(
    ("station_id", "name", "unknown"),
    [("V16", "MeterValueSampleInterval", "NoSuchKey"), ("V201", "SampledDataCtrlr.TxUpdatedInterval", "No.Such")],
)
async def test_settings_are_read_and_written(tmp_path: Path, station_id: str, name: str, unknown: str) -> None:
    async with garage_of(tmp_path) as garage:
        assert (await garage.order(station_id, "configuration", {"name": name, "value": "17"}))["accepted"]
        place = f"/v1/stations/{station_id}/configuration"
        _, told = await garage.ask("GET", f"{place}?names={name},{unknown}")
        assert told["settings"] == {name: "17"}
        assert told["unknown"] == [unknown]
        assert not (await garage.order(station_id, "configuration", {"name": unknown, "value": "1"}))["accepted"]
        status, problem = await garage.ask("GET", place)
        assert (status, "name at least one setting" in problem["detail"]) == (422, True)


@pytest.mark.parametrize("station_id", VERSIONS)
async def test_log_and_firmware_tell_how_far_they_are(tmp_path: Path, station_id: str) -> None:
    async with garage_of(tmp_path) as garage:
        log = await garage.order(station_id, "log", {"url": "ftp://127.0.0.1/logs"})
        assert log["answer"].get("fileName") or log["answer"]["filename"]
        assert (await garage.order(station_id, "firmware", {"url": "https://127.0.0.1/fw"}))["accepted"]
        kinds = lambda seen: {notice["kind"] for notice in seen["notices"]}  # noqa: E731
        seen = await garage.until(
            lambda: garage.station(station_id), lambda now: {"FirmwareStatusNotification"} <= kinds(now)
        )
        assert kinds(seen) & {"DiagnosticsStatusNotification", "LogStatusNotification"}


@pytest.mark.parametrize("station_id", VERSIONS)
async def test_a_password_is_rotated_and_the_station_comes_back_with_it(tmp_path: Path, station_id: str) -> None:
    async with garage_of(tmp_path, profile=1) as garage:
        virtual = garage.stations[station_id]
        answer = await garage.order(station_id, "rotate-password")
        assert answer["accepted"]
        new = virtual.core.new_password
        assert new
        assert new not in json.dumps(answer)
        kept = json.loads((tmp_path / "chargehorizon.db.passwords.json").read_text())
        assert set(kept) == {station_id}
        assert new not in str(kept)
        assert (tmp_path / "chargehorizon.db.passwords.json").stat().st_mode & 0o777 == 0o600
        before = virtual.connections
        await garage.order(station_id, "reset", {"hard": True})
        await garage.until(lambda: garage.station(station_id), lambda seen: seen["connections"] > before)
        assert (await garage.station(station_id))["refused_logins"] == 0


async def test_who_may_not_come_in_is_told(tmp_path: Path) -> None:
    async with garage_of(tmp_path, profile=1) as garage:
        central = garage.stations["V16"]._central_system
        for name, status in (("V16", 401), ("stranger", 404)):
            async with garage.http.get(f"{central.url.replace('ws', 'http')}/{name}") as answer:
                assert answer.status == status
        seen = await garage.station("V16")
        assert seen["refused_logins"] == 1
        assert "401 wrong user name or password" in seen["last_refusal"]
        _, listed = await garage.ask("GET", "/v1/stations?limit=1")
        assert [one["id"] for one in listed["stations"]] == ["V16"]
        assert [(one["station_id"], one["times"]) for one in listed["strangers"]] == [("stranger", 1)]
        _, rest = await garage.ask("GET", f"/v1/stations?limit=1&cursor={listed['next_cursor']}")
        assert [one["id"] for one in rest["stations"]] == ["V201"]
        assert rest["next_cursor"] is None


async def test_health_is_told_and_what_cannot_be_done(tmp_path: Path) -> None:
    async with garage_of(tmp_path) as garage:
        seen = await garage.station("V201")
        assert (seen["online"], seen["ocpp_version"], seen["vendor"]) == (True, "2.0.1", "chargehorizon")
        assert 0 < seen["uptime_share"] <= 1
        assert seen["last_seen_at"] >= seen["online_since"] >= seen["since"]
        status, problem = await garage.ask("POST", "/v1/stations/V16/unlock", {"evse_id": "V201"})
        assert (status, problem["detail"]) == (422, "evse_id: this station has V16")
        status, problem = await garage.ask("POST", "/v1/stations/V16/start", {"token_id": "x" * 21})
        assert (status, "idTag" in problem["detail"]) == (422, True)
        garage.stations["V16"].core.set_password("0123456789abcdef", garage.service.clock.now())
        status, _ = await garage.ask("POST", "/v1/stations/nobody/reset", {})
        assert status == 404


async def test_an_offline_station_is_a_bad_gateway(caller: Any) -> None:
    answer = await caller.ask("POST", "/v1/stations/A/reset", json={})
    assert answer.status == 502
    assert "not connected" in answer.body["detail"]


async def test_each_order_is_in_the_audit_trail(tmp_path: Path) -> None:
    async with garage_of(tmp_path) as garage:
        await garage.order("V16", "unlock", {})
        entries = await garage.service.stores.audit.entries(subject="V16")
        assert [(one.entry.actor, one.entry.action) for one in entries] == [
            ("test", "POST /v1/stations/{station_id}/unlock")
        ]
