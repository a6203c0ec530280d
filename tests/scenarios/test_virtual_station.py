"""Virtual stations over real WebSockets, against a scripted central system, on a clock that tests move."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Any

import pytest
from aiohttp import ClientSession
from manual_clock import ManualClock
from ocpp.messages import MessageType
from scripted_central_system import Heard, ScriptedCentralSystem

from optimizer.domain.ids import CircuitId, EvseId, StationId, TokenId
from optimizer.domain.site import Evse, Station
from scenarios.station_settings import Misbehaviour, OcppVersion, StationSettings
from scenarios.station_state import StationWatchers, Visit
from scenarios.vehicle_model import VehicleModel
from scenarios.virtual_station import CentralSystem, LinkTimings, VirtualStation

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TOKEN = TokenId("TOKEN")
VERSIONS = tuple(OcppVersion)
V16, V201 = OcppVersion.V16, OcppVersion.V201
QUICK = LinkTimings(answer_within_s=30.0, retry_after_s=0.01, reconnect_first_s=0.01, reconnect_longest_s=0.05)


def _settings(version: OcppVersion, **more: Any) -> StationSettings:
    evse = Evse(EvseId("e1"), StationId("S1"), 1, CircuitId("c"), max_current_a=32.0)
    return StationSettings(Station(StationId("S1"), (evse,)), version, **more)


class Bench:
    """One station, its clock and its central system."""

    def __init__(self, station: VirtualStation, clock: ManualClock, system: ScriptedCentralSystem) -> None:
        self.station = station
        self.clock = clock
        self.system = system

    async def booted(self) -> None:
        await self.until(lambda: self.system.of("StatusNotification"))

    async def until(self, condition: Callable[[], object]) -> None:
        """Let messages travel until a condition on either side holds."""
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - it depends on two ends of a socket
                await asyncio.sleep(0.001)

    def plug_in(self, takes_kwh: float = 50.0) -> Visit:
        return self.station.plug_in(1, VehicleModel(takes_kwh), TOKEN, self.clock.now(), None)

    async def charging(self) -> Visit:
        visit = self.plug_in()
        await self.until(lambda: visit.transaction is not None and self.all_acknowledged)
        return visit

    @property
    def all_acknowledged(self) -> bool:
        return len(self.station.core.outbox) == 0

    async def pass_time(self, **amount: float) -> None:
        """Move the clock and wait until the station has told all that follows."""
        self.clock.advance(**amount)
        self.station.core.advance(self.clock.now())
        self.station._wake()
        await self.settled()

    async def settled(self) -> None:
        await self.until(lambda: self.all_acknowledged)


@asynccontextmanager
async def _bench(
    settings: StationSettings, system: ScriptedCentralSystem, password: str = "", timings: LinkTimings = QUICK
) -> AsyncIterator[Bench]:
    clock = ManualClock(NOON)
    async with ClientSession() as http:
        central = CentralSystem(system.url, password, timings=timings)
        station = VirtualStation(settings, central, clock, http, StationWatchers(), Random(1))
        living = asyncio.create_task(station.run())
        try:
            yield Bench(station, clock, system)
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)


@pytest.fixture
async def system() -> AsyncIterator[ScriptedCentralSystem]:
    async with ScriptedCentralSystem() as running:
        yield running
        assert running.schema_problems == []


def _limit(version: OcppVersion, limit: float, transaction_id: object) -> dict[str, Any]:
    schedule = {
        "startSchedule": "2026-03-02T11:59:00Z",
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit, "numberPhases": 3}],
    }
    profile: dict[str, Any] = {
        "stackLevel": 1, "chargingProfilePurpose": "TxProfile", "chargingProfileKind": "Absolute",
        "transactionId": transaction_id,
    }  # fmt: skip
    if version is V16:
        profile |= {"chargingProfileId": 1, "chargingSchedule": schedule}
        return {"connectorId": 1, "csChargingProfiles": profile}
    profile |= {"id": 1, "chargingSchedule": [{**schedule, "id": 1}]}
    return {"evseId": 1, "chargingProfile": profile}


def _transaction_id(version: OcppVersion, visit: Visit) -> object:
    assert visit.transaction is not None
    assert visit.transaction.id is not None
    return int(visit.transaction.id) if version is V16 else visit.transaction.id


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_limit_sent_over_the_wire_is_metered(version: OcppVersion, system: ScriptedCentralSystem) -> None:
    async with _bench(_settings(version), system) as bench:
        await bench.booted()
        visit = await bench.charging()
        payload = _limit(version, 10.0, _transaction_id(version, visit))
        assert await system.ask("S1", "SetChargingProfile", payload) == {"status": "Accepted"}
        await bench.pass_time(minutes=10)
        assert visit.vehicle.taken_kwh == pytest.approx(1.15)
        action = "MeterValues" if version is V16 else "TransactionEvent"
        readings = [call.payload for call in system.of(action) if "meterValue" in call.payload]
        values = readings[-1]["meterValue"][0]["sampledValue"]
        assert float(values[0]["value"]) == 1150
        assert float(values[1]["value"]) == 6900


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_lost_answer_is_asked_for_again_with_the_same_id(
    version: OcppVersion, system: ScriptedCentralSystem
) -> None:
    action = "StartTransaction" if version is V16 else "TransactionEvent"
    silent = True

    def answer(call: Heard) -> dict[str, Any] | None:
        if silent and call.payload.get("eventType", "Started") == "Started":
            return None
        return system._usual(call, version.value)

    system.answers[action] = answer
    async with _bench(_settings(version), system) as bench:
        await bench.booted()
        bench.plug_in()
        await bench.until(lambda: system.of(action))
        await system.drop("S1")
        await bench.until(lambda: len(system.of(action)) >= 2)
        silent = False
        await system.drop("S1")
        await bench.settled()
        starts = [call for call in system.of(action) if call.payload.get("eventType", "Started") == "Started"]
        assert len(starts) >= 3
        assert len({call.message_id for call in starts}) == 1
        assert all(call.payload == starts[0].payload for call in starts)
        heard = len(starts)
        await system.drop("S1")
        await bench.until(lambda: "S1" in system.sockets)
        await bench.pass_time(minutes=5)
        starts = [call for call in system.of(action) if call.payload.get("eventType", "Started") == "Started"]
        assert len(starts) == heard, "what was acknowledged is not sent again"


@pytest.mark.parametrize("version", VERSIONS)
async def test_readings_survive_an_outage_of_the_central_system(version: OcppVersion) -> None:
    system = ScriptedCentralSystem()
    await system.start()
    async with _bench(_settings(version), system) as bench:
        await bench.booted()
        visit = await bench.charging()
        await system.stop()
        for _ in range(6):
            bench.clock.advance(minutes=5)
            bench.station.core.advance(bench.clock.now())
        assert bench.station.core.outbox.durable_calls == 6
        await system.start()
        await bench.settled()
        action = "MeterValues" if version is V16 else "TransactionEvent"
        stamps = [
            call.payload["meterValue"][0]["timestamp"][11:16]
            for call in system.of(action)
            if "meterValue" in call.payload and call.payload.get("eventType", "Updated") == "Updated"
        ]
        assert stamps == ["12:05", "12:10", "12:15", "12:20", "12:25", "12:30"]
        assert visit.vehicle.taken_kwh == pytest.approx(11.04)
        assert len(system.of("BootNotification")) == 1
    await system.stop()


async def test_a_station_may_boot_after_every_loss(system: ScriptedCentralSystem) -> None:
    async with _bench(_settings(V16, boots_on_reconnect=True), system) as bench:
        await bench.booted()
        await system.drop("S1")
        await bench.until(lambda: len(system.of("BootNotification")) == 2)


_SIGNED_FIRMWARE = {
    "requestId": 1,
    "firmware": {
        "location": "ftp://x", "retrieveDateTime": "2026-03-02T12:00:00Z", "signingCertificate": "x", "signature": "x",
    },
}  # fmt: skip
REFUSED_CALLS = {
    "unknown in 1.6": (V16, "SignedUpdateFirmware", _SIGNED_FIRMWARE, "NotImplemented"),
    "no action of 1.6": (V16, "MakeCoffee", {}, "NotImplemented"),
    "unknown in 2.0.1": (V201, "ClearDisplayMessage", {"id": 1}, "NotImplemented"),
    "breaks the 1.6 schema": (V16, "Reset", {"type": "Gentle"}, "FormationViolation"),
    "breaks the 2.0.1 schema": (V201, "Reset", {"type": "Gentle"}, "FormatViolation"),
    "a limit that is no multiple of 0.1": (V16, "SetChargingProfile", _limit(V16, 10.05, 5), "FormationViolation"),
}  # fmt: skip


@pytest.mark.parametrize(("version", "action", "payload", "code"), REFUSED_CALLS.values(), ids=REFUSED_CALLS)
async def test_a_call_that_cannot_be_answered_gets_the_protocols_error(
    version: OcppVersion, action: str, payload: dict[str, Any], code: str, system: ScriptedCentralSystem
) -> None:
    async with _bench(_settings(version), system) as bench:
        await bench.booted()
        frame = await system.call("S1", action, payload)
        assert (frame[0], frame[2]) == (MessageType.CallError, code)
        assert len(bench.station.violations) == (1 if code.startswith("Form") else 0)


async def test_a_central_system_may_not_set_external_constraints(system: ScriptedCentralSystem) -> None:
    async with _bench(_settings(V201), system) as bench:
        await bench.booted()
        payload = _limit(V201, 10.0, "x")
        payload["chargingProfile"]["chargingProfilePurpose"] = "ChargingStationExternalConstraints"
        answer = await system.ask("S1", "SetChargingProfile", payload)
        assert answer == {"status": "Rejected", "statusInfo": {"reasonCode": "InvalidProfile"}}


async def test_a_broken_frame_is_noted_and_harms_nothing(system: ScriptedCentralSystem) -> None:
    async with _bench(_settings(V16), system) as bench:
        await bench.booted()
        for text in ("{", "[]", "[2]", '[2, "a"]', '[9, "a", {}]', '[2, "a", "Reset", []]', "[3, 5, {}]"):
            await system.sockets["S1"].send_str(text)
        assert await system.ask("S1", "ClearCache", {}) == {"status": "Accepted"}
        assert len(bench.station.violations) == 7
        assert bench.station.connections == 1


async def test_an_answer_that_breaks_the_schema_is_noted(system: ScriptedCentralSystem) -> None:
    system.answers["Authorize"] = lambda _: {"idTagInfo": {"status": "Perhaps"}}
    async with _bench(_settings(V16), system) as bench:
        await bench.booted()
        await bench.charging()
        assert "answer to Authorize" in bench.station.violations[0]


async def test_a_reset_connects_and_boots_again(system: ScriptedCentralSystem) -> None:
    async with _bench(_settings(V16), system) as bench:
        await bench.booted()
        assert await system.ask("S1", "Reset", {"type": "Hard"}) == {"status": "Accepted"}
        await bench.until(lambda: len(system.of("BootNotification")) == 2)
        assert bench.station.connections == 2


def _basic_auth(password: str) -> str:
    return "Basic " + b64encode(f"S1:{password}".encode()).decode()


async def test_the_password_is_presented_and_can_be_changed(system: ScriptedCentralSystem) -> None:
    system.credentials["S1"] = _basic_auth("the first password")
    async with _bench(_settings(V16), system, password="the first password") as bench:
        await bench.booted()
        change = {"key": "AuthorizationKey", "value": "the second password"}
        assert await system.ask("S1", "ChangeConfiguration", change) == {"status": "Accepted"}
        system.credentials["S1"] = _basic_auth("the second password")
        await system.drop("S1")
        await bench.until(lambda: "S1" in system.sockets)
        assert bench.station.connections == 2


async def test_a_wrong_password_is_tried_again_and_again(system: ScriptedCentralSystem) -> None:
    system.credentials["S1"] = _basic_auth("right")
    async with _bench(_settings(V16), system, password="wrong") as bench:
        await bench.until(lambda: system.refusals >= 3)
        assert bench.station.connections == 0
        system.credentials.clear()
        await bench.booted()


async def test_a_central_system_of_another_version_is_left(system: ScriptedCentralSystem) -> None:
    system.subprotocols = ("ocpp1.6",)
    async with _bench(_settings(V201), system) as bench:
        await bench.until(lambda: system.connections >= 2)
        assert bench.station.connections == 0
        assert system.heard == []


async def test_never_answers(system: ScriptedCentralSystem) -> None:
    settings = _settings(V16, misbehaviours=frozenset({Misbehaviour.NEVER_ANSWERS}))
    async with _bench(settings, system) as bench:
        await bench.booted()
        with pytest.raises(TimeoutError):
            await system.call("S1", "ClearCache", {}, within_s=0.1)
        await bench.charging()
        assert len(system.of("StartTransaction")) == 1


async def test_drops_at_random_and_comes_back(system: ScriptedCentralSystem) -> None:
    settings = _settings(V16, misbehaviours=frozenset({Misbehaviour.DROPS_AT_RANDOM}))
    async with _bench(settings, system) as bench:
        await bench.booted()
        await bench.charging()
        for connection in range(2, 5):
            bench.clock.advance(hours=24)
            await bench.until(lambda wanted=connection: system.connections >= wanted)
            await bench.settled()
        assert len(system.of("StartTransaction")) == 1
        registers = [call.payload["meterValue"][0]["timestamp"] for call in system.of("MeterValues")]
        assert len(set(registers)) == 3 * 288


async def test_two_sockets(system: ScriptedCentralSystem) -> None:
    settings = _settings(V16, misbehaviours=frozenset({Misbehaviour.TWO_SOCKETS}))
    async with _bench(settings, system) as bench:
        await bench.booted()
        first = system.sockets["S1"]
        bench.clock.advance(hours=1)
        await bench.until(lambda: system.connections == 2)
        await bench.charging()
        assert not first.closed
        assert {call.connection for call in system.of("StartTransaction")} == {2}
        bench.clock.advance(hours=1)
        await bench.until(lambda: system.connections == 3)
        await bench.until(lambda: first.closed)


async def test_a_boot_storm_over_the_wire(system: ScriptedCentralSystem) -> None:
    settings = _settings(V16, misbehaviours=frozenset({Misbehaviour.BOOT_STORM}), reading_interval_s=0)
    async with _bench(replace(settings, figures=replace(settings.figures, boots=5)), system) as bench:
        await bench.booted()
        for boots in count(2):
            await bench.pass_time(minutes=1)
            if boots > 8:
                break
        assert len(system.of("BootNotification")) == 6


async def test_what_is_not_answered_in_time_is_sent_again_unless_it_can_be_done_without(
    system: ScriptedCentralSystem,
) -> None:
    unanswered = {"Authorize": 1, "StartTransaction": 3}

    def answer(call: Heard) -> dict[str, Any] | None:
        unanswered[call.action] -= 1
        return None if unanswered[call.action] >= 0 else system._usual(call, "1.6")

    system.answers = dict.fromkeys(unanswered, answer)
    impatient = replace(QUICK, answer_within_s=0.05)
    async with _bench(_settings(V16), system, timings=impatient) as bench:
        await bench.booted()
        await bench.charging()
        assert len(system.of("Authorize")) == 1, "the car is charged without an answer"
        starts = system.of("StartTransaction")
        assert len(starts) >= 4
        assert len({call.message_id for call in starts}) == 1
