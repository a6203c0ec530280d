"""Alerts with their reasons, and every order of the command line, from real stations to HTTP and terminal."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from station_garage import KEY, VERSIONS, Garage, garage_of
from typer.testing import CliRunner

from api.cli import make_cli
from optimizer.domain.ids import TokenId
from scenarios.station_settings import Misbehaviour
from scenarios.vehicle_model import VehicleModel

SPEED = 60.0
"""A second of the wall is a minute."""


async def commanded(garage: Garage, *arguments: str, code: int = 0) -> str:
    """What a command says that asks the running service."""
    env = {"COLUMNS": "200", "CHARGEHORIZON_SERVICE": garage.address, "CHARGEHORIZON_API_KEY": KEY}
    words = ["stations", *arguments]
    done = await asyncio.to_thread(CliRunner().invoke, make_cli(), words, env=env)
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


async def alerts_of(garage: Garage) -> dict[tuple[str, str], Any]:
    """All alerts by station and kind."""
    told = (await garage.ask("GET", "/v1/station-alerts"))[1]["alerts"]
    return {(one["station_id"], one["kind"]): one for one in told}


ORDERS = [
    (("availability", "--out-of-service"), "ChangeAvailability", "ChangeAvailability"),
    (("availability", "--in-service"), "ChangeAvailability", "ChangeAvailability"),
    (("unlock",), "UnlockConnector", "UnlockConnector"),
    (("trigger", "status"), "TriggerMessage", "TriggerMessage"),
    (("limits",), "GetCompositeSchedule", "GetCompositeSchedule"),
    (("log", "ftp://127.0.0.1/logs"), "GetDiagnostics", "GetLog"),
    (("firmware", "https://127.0.0.1/fw", "--at", "2030-01-01T00:00:00Z"), "UpdateFirmware", "UpdateFirmware"),
    (("local-list", "one", "two"), "SendLocalList", "SendLocalList"),
    (("clear-cache",), "ClearCache", "ClearCache"),
]


@pytest.mark.parametrize("station_id", VERSIONS)
async def test_every_order_of_the_command_line_is_heard_at_the_station(tmp_path: Path, station_id: str) -> None:
    async with garage_of(tmp_path) as garage:
        virtual = garage.stations[station_id]
        virtual.plug_in(1, VehicleModel(20.0), TokenId("driver"), garage.service.clock.now(), None)
        await garage.until(lambda: garage.session_at(station_id), lambda now: now and now["transaction_id"])
        assert f"{station_id} agreed" in await commanded(garage, "stop", station_id)
        assert garage.heard(station_id, "RemoteStopTransaction", "RequestStopTransaction") == 1
        await garage.until(lambda: garage.session_at(station_id), lambda now: not now["transaction_id"])
        for words, action_16, action_201 in ORDERS:
            action = action_16 if station_id == "V16" else action_201
            before = garage.heard(station_id, action)
            name, *others = words
            await commanded(garage, name, station_id, *others)
            assert garage.heard(station_id, action) == before + 1, words
        assert virtual.core.local_list == {"one": True, "two": True}
        assert f"{station_id} agreed" in await commanded(garage, "start", station_id, "driver")
        assert garage.heard(station_id, "RemoteStartTransaction", "RequestStartTransaction") == 1
        session = await garage.until(lambda: garage.session_at(station_id), lambda now: now["transaction_id"])
        assert session["token_id"] == "driver"
        assert "charges already" in str(await commanded_problem(garage, "start", station_id, "driver"))
        assert f"{station_id} agreed" in await commanded(garage, "reset", station_id, "--hard")
        assert garage.heard(station_id, "Reset") == 1


async def commanded_problem(garage: Garage, *arguments: str) -> BaseException | None:
    """The error with which a command ends."""
    env = {"CHARGEHORIZON_SERVICE": garage.address, "CHARGEHORIZON_API_KEY": KEY}
    done = await asyncio.to_thread(CliRunner().invoke, make_cli(), ["stations", *arguments], env=env)
    assert done.exit_code != 0
    return done.exception


async def test_a_fault_is_an_alert_until_it_clears(tmp_path: Path) -> None:
    async with garage_of(tmp_path) as garage:
        told = {"connectorId": 1}
        garage.tell("V16", "StatusNotification", told | {"status": "Faulted", "errorCode": "GroundFailure"})
        found = await garage.until(lambda: alerts_of(garage), lambda alerts: ("V16", "faulted") in alerts)
        alert = found["V16", "faulted"]
        assert (alert["severity"], alert["evse_id"]) == ("critical", "V16")
        assert "GroundFailure" in alert["reason"]
        assert alert["reason"] in await commanded(garage, "alerts")
        assert "GroundFailure" in await commanded(garage, "show", "V16")
        garage.tell("V16", "StatusNotification", told | {"status": "Available", "errorCode": "NoError"})
        await garage.until(lambda: alerts_of(garage), lambda alerts: not alerts)
        assert "Nothing to look at." in await commanded(garage, "alerts")


async def test_who_ignores_its_limit_is_told_with_the_reason(tmp_path: Path) -> None:
    async with garage_of(tmp_path, speed=SPEED, misbehaviours={"V16": Misbehaviour.IGNORES}) as garage:
        now = garage.service.clock.now()
        garage.stations["V16"].plug_in(1, VehicleModel(60.0), TokenId("driver"), now, None)
        event = {"start": now.isoformat(), "end": (now + timedelta(hours=5)).isoformat(), "value": 5.0}
        status, _ = await garage.ask("POST", "/v1/grid-events", event)
        assert status == 201
        found = await garage.until(
            lambda: alerts_of(garage), lambda alerts: "it ignores" in str(alerts.get(("V16", "above_limit")))
        )
        alert = found["V16", "above_limit"]
        assert alert["severity"] == "critical"
        assert alert["reason"] == "it ignores its limit: told 0.0 kW, metered 11.0 kW, counted at 11.0 kW"
        assert alert["reason"] in await commanded(garage, "alerts")


async def test_who_takes_no_limit_is_told_with_the_reason(tmp_path: Path) -> None:
    async with garage_of(tmp_path, speed=SPEED) as garage:
        core = garage.stations["V201"].core
        answer = core.answer
        refusing = {"status": "Rejected", "statusInfo": {"reasonCode": "NotEnabled"}}
        core.answer = lambda action, payload, now: (  # type: ignore[method-assign]
            refusing if action == "SetChargingProfile" else answer(action, payload, now)
        )
        now = garage.service.clock.now()
        garage.stations["V201"].plug_in(1, VehicleModel(60.0), TokenId("driver"), now, None)
        found = await garage.until(lambda: alerts_of(garage), lambda alerts: ("V201", "takes_no_limits") in alerts)
        assert found["V201", "takes_no_limits"]["severity"] == "critical"
        assert "V201" in await commanded(garage, "alerts")
