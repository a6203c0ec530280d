"""The stations of the load: as little as a station can be, so that two processors show what the service costs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, TCPConnector, WSMsgType

SETTINGS = {
    "MeterValuesSampledData": "Energy.Active.Import.Register,Power.Active.Import,Current.Import,Voltage,SoC",
    "MeterValueSampleInterval": "60",
    "ChargingScheduleAllowedChargingRateUnit": "Current,Power",
    "ChargingScheduleMaxPeriods": "24",
}
GREATEST_A = 16.0
W_PER_A = 690.0
"""Three phases of 230 V [W/A]."""
QUICK_ROUNDS = 9
"""More meter values than are remembered of any meter."""
QUICKER = 6.0
"""How many times faster they are sent."""
PHASES = ("L1", "L2", "L3")


@dataclass
class Waits:
    """How long stations waited for answers."""

    by_action: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def note(self, action: str, wait_s: float) -> None:
        self.by_action.setdefault(action, []).append(wait_s)

    def all_s(self) -> list[float]:
        return sorted(wait_s for waits in self.by_action.values() for wait_s in waits) or [0.0]

    def clear(self) -> None:
        self.by_action.clear()


class LoadStation:
    """One station of OCPP 1.6 in a transaction that lasts over its connections."""

    def __init__(self, name: str, url: str, http: ClientSession, waits: Waits) -> None:
        self._url = f"{url}/{name}"
        self._http = http
        self._waits = waits
        self._transaction_id: int | None = None
        self._register_wh = 1_000_000.0
        self._metered_s = time.monotonic()
        self._current_a = GREATEST_A
        self._lowered: asyncio.TimerHandle | None = None
        self._numbers = 0
        self._answers: dict[str, asyncio.Future[Any]] = {}
        self._socket: ClientWebSocketResponse | None = None
        self.is_settled = False
        self.profiles = 0

    async def connect(self) -> None:
        """Connect and announce itself, as after a power cut; afterwards it is settled."""
        self._socket = await self._http.ws_connect(self._url, protocols=("ocpp1.6",), compress=0)
        self._reader = asyncio.create_task(self._read(self._socket))
        await self.ask("BootNotification", {"chargePointVendor": "Load", "chargePointModel": "1"})
        now = datetime.now(UTC).isoformat()
        status = {"connectorId": 1, "errorCode": "NoError", "status": "Charging", "timestamp": now}
        await self.ask("StatusNotification", status)
        if self._transaction_id is None:
            begun = {"connectorId": 1, "idTag": "LOAD", "meterStart": round(self._register_wh), "timestamp": now}
            self._metered_s = time.monotonic()
            self._transaction_id = (await self.ask("StartTransaction", begun))["transactionId"]
        self.is_settled = True

    async def disconnect(self) -> None:
        """Hang up."""
        self.is_settled = False
        if self._socket is not None:
            await self._socket.close()
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def live(self, interval_s: float, offset_s: float, quick_rounds: int) -> None:
        """Send meter values and a heartbeat in each interval, the heartbeat half an interval later.

        First come ``quick_rounds`` of meter values, so that what is remembered of each meter is full.
        """
        await asyncio.sleep(offset_s / QUICKER)
        for _ in range(quick_rounds):
            await self.ask("MeterValues", self._meter_values())
            await asyncio.sleep(interval_s / QUICKER)
        await asyncio.sleep(offset_s)
        while True:
            due_s = time.monotonic() + interval_s
            await self.ask("MeterValues", self._meter_values())
            await asyncio.sleep(max(0.0, due_s - interval_s / 2 - time.monotonic()))
            await self.ask("Heartbeat", {})
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    async def ask(self, action: str, payload: dict[str, Any]) -> Any:
        """Send a call and wait for its answer."""
        if self._socket is None:
            raise ConnectionError("not connected")
        self._numbers += 1
        message_id = str(self._numbers)
        answer = self._answers[message_id] = asyncio.get_running_loop().create_future()
        asked_s = time.monotonic()
        await self._socket.send_str(json.dumps([2, message_id, action, payload]))
        try:
            frame = await answer
        finally:
            self._answers.pop(message_id, None)
        self._waits.note(action, time.monotonic() - asked_s)
        if frame[0] != 3:
            raise ConnectionError(f"{action} was answered by {frame}")
        return frame[2]

    async def _read(self, socket: ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            frame = json.loads(message.data)
            if frame[0] == 2:
                await socket.send_str(json.dumps([3, frame[1], self._reply(frame[2], frame[3])]))
            elif (answer := self._answers.get(frame[1])) is not None and not answer.done():
                answer.set_result(frame)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionError(f"the service hung up, {socket.close_code}"))

    def _reply(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        if action == "GetConfiguration":
            known = [
                {"key": key, "readonly": False, "value": SETTINGS[key]} for key in payload["key"] if key in SETTINGS
            ]
            return {"configurationKey": known, "unknownKey": [key for key in payload["key"] if key not in SETTINGS]}
        if action == "SetChargingProfile":
            self.profiles += 1
            self._obey(payload["csChargingProfiles"])
        return {"status": "Accepted"}

    def _obey(self, profile: dict[str, Any]) -> None:
        """Draw what a plan permits now, and less when its next period begins; profiles of other layers permit it all."""
        if profile["chargingProfilePurpose"] != "TxProfile":
            return
        schedule = profile["chargingSchedule"]
        a_per_unit = 1.0 if schedule["chargingRateUnit"] == "A" else 1.0 / W_PER_A
        begun_at = datetime.fromisoformat(schedule.get("startSchedule") or datetime.now(UTC).isoformat())
        passed_s = (datetime.now(UTC) - begun_at).total_seconds()
        if self._lowered is not None:
            self._lowered.cancel()
            self._lowered = None
        limit_a = GREATEST_A
        for period in schedule["chargingSchedulePeriod"]:
            if period["startPeriod"] > passed_s:
                wait_s, later_a = period["startPeriod"] - passed_s, period["limit"] * a_per_unit
                self._lowered = asyncio.get_running_loop().call_later(wait_s, self._draw, later_a)
                break
            limit_a = period["limit"] * a_per_unit
        self._draw(limit_a)

    def _draw(self, limit_a: float) -> None:
        """Draw as much as a limit permits from now on."""
        self._meter()
        self._current_a = min(GREATEST_A, limit_a)

    def _meter(self) -> float:
        """The register now [Wh]."""
        now_s = time.monotonic()
        self._register_wh += self._current_a * W_PER_A * (now_s - self._metered_s) / 3600
        self._metered_s = now_s
        return self._register_wh

    def _meter_values(self) -> dict[str, Any]:
        """Twelve samples."""
        register_wh, current_a = self._meter(), f"{self._current_a:.1f}"
        power_w = self._current_a * W_PER_A
        values = [
            {"value": value, "measurand": measurand, "phase": phase, "unit": unit, "context": "Sample.Periodic"}
            for phase in PHASES
            for value, measurand, unit in (
                ("230.1", "Voltage", "V"), (current_a, "Current.Import", "A"),
                (f"{power_w / 3:.0f}", "Power.Active.Import", "W"),
            )
        ]  # fmt: skip
        values += [
            {"value": f"{power_w:.0f}", "measurand": "Power.Active.Import", "unit": "W"},
            {"value": f"{register_wh:.0f}", "measurand": "Energy.Active.Import.Register", "unit": "Wh"},
            {"value": current_a, "measurand": "Current.Offered", "unit": "A"},
        ]
        entry = {"timestamp": datetime.now(UTC).isoformat(), "sampledValue": values}
        return {"connectorId": 1, "transactionId": self._transaction_id, "meterValue": [entry]}


class LoadFleet:
    """All stations of the load, each with a task that keeps it alive."""

    def __init__(self, stations: list[LoadStation], waits: Waits, interval_s: float) -> None:
        self.stations = stations
        self.waits = waits
        self._interval_s = interval_s
        self._lives: dict[int, asyncio.Task[None]] = {}
        self._known: set[int] = set()

    @property
    def settled(self) -> int:
        return sum(station.is_settled for station in self.stations)

    async def connect_all(self) -> float:
        """All at once; how long until the last is settled, or has failed [s]."""
        begun_s = time.monotonic()
        for index in range(len(self.stations)):
            self._begin(index)
        while self.settled + len(self.waits.failures) < len(self.stations):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return time.monotonic() - begun_s

    async def disconnect_all(self) -> None:
        """All at once, like a switch that loses power."""
        await asyncio.gather(*(self._end(index) for index in range(len(self.stations))))

    async def churn(self, per_s: float, until: Callable[[], bool]) -> int:
        """Hang up and connect again, one station after the other; how many did."""
        number = 0
        while not until():
            index = number % len(self.stations)
            await self._end(index)
            self._begin(index)
            number += 1
            await asyncio.sleep(1.0 / per_s)
        return number

    def _begin(self, index: int) -> None:
        self._lives[index] = asyncio.create_task(self._live(index))

    async def _end(self, index: int) -> None:
        life = self._lives.pop(index, None)
        if life is not None:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
        await self.stations[index].disconnect()

    async def _live(self, index: int) -> None:
        try:
            await self.stations[index].connect()
            offset_s = self._interval_s * index / len(self.stations)
            is_new = index not in self._known
            self._known.add(index)
            await self.stations[index].live(self._interval_s, offset_s, QUICK_ROUNDS if is_new else 0)
        except (ClientError, OSError) as error:
            self.waits.failures.append(f"{index}: {error}")


@asynccontextmanager
async def fleet_of(count: int, url: str, interval_s: float) -> AsyncIterator[LoadFleet]:
    """Stations named ``L0``, ``L1``, ..., none connected yet."""
    waits = Waits()
    async with ClientSession(connector=TCPConnector(limit=0)) as http:
        fleet = LoadFleet([LoadStation(f"L{index}", url, http, waits) for index in range(count)], waits, interval_s)
        try:
            yield fleet
        finally:
            await fleet.disconnect_all()
