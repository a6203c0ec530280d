"""Measures the OCPP endpoint under many stations: ``python tests/connectors/ocpp/measure_load.py --stations 5000``.

One process serves, a second one plays the stations: each boots, sends MeterValues of 12 samples every minute and a
heartbeat every five, and waits for the answers. After the time stated all connections are cut, and the storm of
reconnects is timed. Printed are the server's processor time, the stations' waits and the server's memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import statistics
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, TCPConnector, WSMsgType, web

from connectors.clock import SystemClock
from connectors.ocpp.security import SecurityProfile, StationGate
from connectors.ocpp.server import OcppCentralSystem
from connectors.ocpp.settings import OcppSettings
from optimizer.domain.charger import TransactionOpened
from optimizer.domain.ids import CircuitId, EvseId, SessionId, StationId, TransactionId
from optimizer.domain.site import Evse, Station

METER_INTERVAL_S = 60.0
HEARTBEAT_INTERVAL_S = 300.0


class Swallowed:
    """Takes every event and keeps nothing."""

    async def station_booted(self, event: Any) -> None: ...

    async def station_disconnected(self, station_id: Any, at: Any) -> None: ...

    async def connector_reported(self, event: Any) -> None: ...

    async def meter_sampled(self, samples: Any) -> None: ...

    async def transaction_finished(self, event: Any) -> None: ...

    async def authorize(self, station_id: Any, token_id: Any, at: Any) -> bool:
        return True

    async def vehicle_needs(self, event: Any) -> bool:
        return True

    async def transaction_begun(self, event: Any) -> TransactionOpened:
        return TransactionOpened(event.transaction_id or TransactionId("1"), SessionId("s"), True)


def own_usage() -> tuple[float, float]:
    """Processor time [s] and memory [MiB] of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return used.ru_utime + used.ru_stime, pages * resource.getpagesize() / 2**20


def serve(number: int, pipe: Any) -> None:
    """The central system, in a process of its own."""
    stations = [
        Station(StationId(f"L{index}"), (Evse(EvseId(f"L{index}-1"), StationId(f"L{index}"), 1, CircuitId("m"), 32.0),))
        for index in range(number)
    ]

    async def run() -> None:
        settings = OcppSettings(contact_stations=False)
        system = OcppCentralSystem(stations, Swallowed(), SystemClock(), settings, StationGate(SecurityProfile.NONE))
        runner = web.AppRunner(system.application(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
        pipe.send(runner.addresses[0][1])
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, pipe.recv) == "usage":
            pipe.send(own_usage())
        await runner.cleanup()

    asyncio.run(run())


@dataclass
class Load:
    """All stations of the load, and how long they waited."""

    url: str
    http: ClientSession
    waits_s: list[float] = field(default_factory=list)
    connected: int = 0

    async def live(self, index: int, number: int, until: float) -> None:
        """One station: connect, boot, then send until the time is up."""
        async with self.http.ws_connect(f"{self.url}/L{index}", protocols=("ocpp1.6",), compress=0) as socket:
            await self.ask(socket, "BootNotification", {"chargePointVendor": "Load", "chargePointModel": "1"})
            self.connected += 1
            await asyncio.sleep(METER_INTERVAL_S * index / number)
            next_heartbeat = time.monotonic() + HEARTBEAT_INTERVAL_S * index / number
            while time.monotonic() < until:
                await self.ask(socket, "MeterValues", meter_values())
                if time.monotonic() >= next_heartbeat:
                    next_heartbeat += HEARTBEAT_INTERVAL_S
                    await self.ask(socket, "Heartbeat", {})
                await asyncio.sleep(max(0.0, min(METER_INTERVAL_S, until - time.monotonic())))

    async def ask(self, socket: Any, action: str, payload: dict[str, Any]) -> None:
        """Send a call and wait for its answer."""
        asked_at = time.monotonic()
        await socket.send_str(json.dumps([2, str(asked_at), action, payload]))
        while (message := await socket.receive()).type is WSMsgType.TEXT:
            if json.loads(message.data)[1] == str(asked_at):
                self.waits_s.append(time.monotonic() - asked_at)
                return
        raise ConnectionError(f"closed: {message}")


def meter_values() -> dict[str, Any]:
    """Twelve samples."""
    values = [
        {"value": value, "measurand": measurand, "phase": phase, "unit": unit, "context": "Sample.Periodic"}
        for phase in ("L1", "L2", "L3")
        for value, measurand, unit in (("230.1", "Voltage", "V"), ("16.0", "Current.Import", "A"), ("3680", "Power.Active.Import", "W"))
    ]  # fmt: skip
    values += [
        {"value": "11040", "measurand": "Power.Active.Import", "unit": "W"},
        {"value": "1234567", "measurand": "Energy.Active.Import.Register", "unit": "Wh"},
        {"value": "55", "measurand": "SoC", "unit": "Percent"},
    ]
    return {
        "connectorId": 1,
        "meterValue": [{"timestamp": datetime.now(UTC).isoformat(), "sampledValue": values}],
    }


async def load(number: int, seconds: float, port: int, pipe: Any) -> None:
    """Play the stations, twice: the second time they all come at once."""
    for title, lasting in (("first", seconds), ("storm", 5.0)):
        async with ClientSession(connector=TCPConnector(limit=0)) as http:
            stations = Load(f"ws://127.0.0.1:{port}/ocpp", http)
            began = time.monotonic()
            until = began + lasting + number / 200
            tasks = [asyncio.create_task(stations.live(index, number, until)) for index in range(number)]
            while stations.connected < number and not any(task.done() for task in tasks):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            settled_s = time.monotonic() - began
            used_s, _ = usage(pipe)
            counted, since = len(stations.waits_s), time.monotonic()
            await asyncio.sleep(max(0.0, until - time.monotonic() - 1.0))
            after_s, memory_mib = usage(pipe)
            waits_s = sorted(stations.waits_s[counted:]) or [0.0]
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            failed = sum(isinstance(result, Exception) for result in ended)
            print(
                f"{title}: {stations.connected} stations connected in {settled_s:.1f} s, {failed} failed; "
                f"{len(waits_s) / (time.monotonic() - since):.0f} messages/s, "
                f"{100 * (after_s - used_s) / (time.monotonic() - since):.0f} % of a core, "
                f"median {1000 * statistics.median(waits_s):.1f} ms, "
                f"p99 {1000 * waits_s[int(0.99 * (len(waits_s) - 1))]:.1f} ms, {memory_mib:.0f} MiB"
            )
        await asyncio.sleep(1.0)


def usage(pipe: Any) -> tuple[float, float]:
    """Processor time [s] and memory [MiB] of the server."""
    pipe.send("usage")
    told: tuple[float, float] = pipe.recv()
    return told


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stations", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=60.0)
    told = parser.parse_args()
    highest = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(told.stations, theirs))
    server.start()
    try:
        asyncio.run(load(told.stations, told.seconds, ours.recv(), ours))
        ours.send("stop")
        server.join(30)
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
