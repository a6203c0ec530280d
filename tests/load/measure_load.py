"""How much one process carries: ``python tests/load/measure_load.py --stations 5000`` (``make load``).

One process serves stations with everything that a message of theirs passes: websocket, OCPP, ledger and SQLite on disk.
A second one plays the stations, each in a transaction: MeterValues of 12 samples and a heartbeat every minute.

    settle    all connect at once, as after a power cut; then meter values come quickly until memories are full
    steady    they send; processor time of the service, waits of the stations, memory
    churn     some hang up and come back all the time; memory again
    storm     all are cut off at once and come back

Printed are figures against what must hold; the exit code is 1 where one does not.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import json
import multiprocessing
import pstats
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web
from load_stations import QUICK_ROUNDS, QUICKER, LoadFleet, fleet_of

from api.composition import running
from api.config import load_configuration
from api.logs import configure_logging
from api.serve import settle_interpreter
from connectors.clock import SystemClock
from connectors.ocpp.security import SecurityProfile, StationGate
from connectors.ocpp.server import OcppCentralSystem
from connectors.ocpp.settings import OcppSettings
from connectors.storage.stores import open_stores
from optimizer.control.ledger import LedgerListeners, SessionLedger
from optimizer.control.settings import ControlSettings
from optimizer.domain.ids import CircuitId, EvseId, SiteId, StationId, TariffId
from optimizer.domain.site import Circuit, Evse, GridConnection, Site, Station

GREATEST_PROCESSOR_SHARE = 0.60
GREATEST_P99_S = 0.250
GREATEST_SETTLING_S = 120.0
GREATEST_GROWTH_SHARE = 0.05
"""Memory that grows less than this over the churn is flat."""
PLANNED_WITHIN_S = 40.0
"""A plan takes hundreds of megabytes while it is made, and is made within this time with what it gives back [s]."""


def site_of(number: int) -> Site:
    """A site of so many stations on a connection that carries them all."""
    main = CircuitId("main")
    stations = tuple(
        Station(StationId(f"L{index}"), (Evse(EvseId(f"L{index}"), StationId(f"L{index}"), 1, main, 16.0),))
        for index in range(number)
    )
    return Site(
        id=SiteId("load"), name="Load", time_zone="UTC", currency="EUR",
        circuits=(Circuit(main, None, limit_kw=12.0 * number),), stations=stations,
        grid_connection=GridConnection(main, import_limit_kw=12.0 * number), tariff_id=TariffId("none"),
    )  # fmt: skip


async def nobody(_: Any) -> None:
    """Nobody is told."""


def usage() -> tuple[float, float]:
    """Processor time of all threads [s] and memory [MiB] of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return used.ru_utime + used.ru_stime, pages * resource.getpagesize() / 2**20


def serve(number: int, pipe: Connection, profile_to: str, with_control: bool) -> None:
    """The service, in a process of its own."""
    allow_many_files()
    configure_logging("warning", "console")
    profile = cProfile.Profile() if profile_to else None
    if profile is not None:
        profile.enable()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(
            serve_all(number, pipe, Path(folder)) if with_control else serve_inbound(number, pipe, Path(folder))
        )
    if profile is not None:
        profile.disable()
        with Path(profile_to).open("w") as file:
            pstats.Stats(profile, stream=file).sort_stats("tottime").print_stats(60)


async def tell_usage(pipe: Connection) -> None:
    """Answer until told to stop."""
    while (wanted := await asyncio.to_thread(pipe.recv)) != "stop":
        pipe.send(usage() if wanted == "usage" else await usage_at_rest())


async def usage_at_rest() -> tuple[float, float]:
    """Processor time [s], and the least memory over a while [MiB]: garbage collected, and no plan being made."""
    least_mib, until_s = usage()[1], time.monotonic() + PLANNED_WITHIN_S
    while time.monotonic() < until_s:
        gc.collect()
        least_mib = min(least_mib, usage()[1])
        await asyncio.sleep(PLANNED_WITHIN_S / 16)
    return usage()[0], least_mib


async def serve_all(number: int, pipe: Connection, folder: Path) -> None:
    """The whole service: control of all stations as one site, HTTP and jobs besides."""
    tariff = {
        "id": "flat", "name": "Flat", "currency": "EUR", "time_zone": "UTC",
        "energy_bands": [{"name": "all", "price_per_kwh": "0.25"}],
    }  # fmt: skip
    many = {"id_pattern": "L{number}", "first_number": 0, "count": number, "circuit_id": "main", "max_current_a": 16}
    content = {
        "site": {
            "id": "load", "time_zone": "UTC", "currency": "EUR", "station_groups": [many],
            "grid_connection": {"circuit_id": "main", "import_limit_kw": 12.0 * number},
            "circuits": [{"id": "main", "limit_kw": 12.0 * number}],
        },
        "tariff": {"file": "tariff.yaml"},
        "ocpp": {"host": "127.0.0.1", "port": 0, "security_profile": 0},
        "http": {"port": 0, "api_keys": [{"name": "nobody", "sha256": "0" * 64, "scopes": ["read"]}]},
    }  # fmt: skip
    (folder / "tariff.yaml").write_text(yaml.safe_dump(tariff))
    (folder / "site.yaml").write_text(yaml.safe_dump(content))
    async with running(load_configuration(folder / "site.yaml")) as started:
        settle_interpreter()
        pipe.send(started.ocpp_port)
        await tell_usage(pipe)
        print(
            "\n".join(
                line
                for line in started.service.metrics.exposition().decode().splitlines()
                if "_seconds_" in line and ("_sum" in line or "_count" in line)
            )
        )


async def serve_inbound(number: int, pipe: Connection, folder: Path) -> None:
    """All that a message of a station passes, without control."""
    url = f"sqlite:///{folder}/load.db"
    site, clock = site_of(number), SystemClock()
    async with await open_stores(url, [site]) as stores:
        listeners = LedgerListeners(lambda _: None, lambda: None, nobody, nobody)
        ledger = SessionLedger(site, stores, clock, ControlSettings(), listeners)
        gate, settings = StationGate(SecurityProfile.NONE), OcppSettings()
        system = OcppCentralSystem(site.stations, ledger, clock, settings, gate, stores.sessions, samples=stores.meters)
        runner = web.AppRunner(system.application(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
        settle_interpreter()
        pipe.send(runner.addresses[0][1])
        await tell_usage(pipe)
        await runner.cleanup()


@dataclass
class Figures:
    """What one run came to."""

    stations: int
    settle_s: float = 0.0
    steady_messages_per_s: float = 0.0
    steady_processor_share: float = 0.0
    steady_median_ms: float = 0.0
    steady_p99_ms: float = 0.0
    memory_steady_mib: float = 0.0
    churn_per_s: float = 0.0
    churn_processor_share: float = 0.0
    memory_churn_begin_mib: float = 0.0
    memory_churn_end_mib: float = 0.0
    storm_s: float = 0.0
    storm_p99_ms: float = 0.0
    failures: int = 0

    def misses(self) -> list[str]:
        """What does not hold."""
        growth_share = self.memory_churn_end_mib / max(1.0, self.memory_churn_begin_mib) - 1.0
        bounds = {
            "processor share": (self.steady_processor_share, GREATEST_PROCESSOR_SHARE),
            "p99 [s]": (self.steady_p99_ms / 1000.0, GREATEST_P99_S),
            "growth of memory": (growth_share, GREATEST_GROWTH_SHARE),
            "storm [s]": (self.storm_s, GREATEST_SETTLING_S),
            "failures": (self.failures, 0),
        }
        return [f"{name}: {value:.3f}, at most {bound}" for name, (value, bound) in bounds.items() if value > bound]


class Server:
    """The service's process as the load sees it."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    async def usage(self) -> tuple[float, float]:
        """Processor time [s] and memory [MiB] now."""
        return await self._asked("usage")

    async def usage_at_rest(self) -> tuple[float, float]:
        """Processor time [s], and the least memory over a while [MiB]."""
        return await self._asked("usage at rest")

    async def _asked(self, wanted: str) -> tuple[float, float]:
        self._pipe.send(wanted)
        told: tuple[float, float] = await asyncio.to_thread(self._pipe.recv)
        return told


async def measure(number: int, seconds: float, interval_s: float, port: int, server: Server) -> Figures:
    figures = Figures(number)
    async with fleet_of(number, f"ws://127.0.0.1:{port}/ocpp", interval_s) as fleet:
        figures.settle_s = await fleet.connect_all()
        # Everybody has been contacted, what is remembered of the meters is full, and all send in turn.
        await asyncio.sleep((QUICK_ROUNDS + 1) * interval_s / QUICKER + interval_s)
        await steady(figures, fleet, seconds, server)
        await churned(figures, fleet, seconds, server)
        await fleet.disconnect_all()
        fleet.waits.clear()
        figures.storm_s = await fleet.connect_all()
        figures.storm_p99_ms = 1000 * quantile(fleet.waits.all_s(), 0.99)
        figures.failures = len(fleet.waits.failures)
        for failure in fleet.waits.failures[:5]:
            print("failed:", failure)
    return figures


async def steady(figures: Figures, fleet: LoadFleet, seconds: float, server: Server) -> None:
    fleet.waits.clear()
    before_s, _ = await server.usage()
    begun_s = time.monotonic()
    await asyncio.sleep(seconds)
    after_s, figures.memory_steady_mib = await server.usage()
    lasted_s, waits_s = time.monotonic() - begun_s, fleet.waits.all_s()
    figures.steady_messages_per_s = len(waits_s) / lasted_s
    figures.steady_processor_share = (after_s - before_s) / lasted_s
    figures.steady_median_ms = 1000 * statistics.median(waits_s)
    figures.steady_p99_ms = 1000 * quantile(waits_s, 0.99)
    for action, waits in fleet.waits.by_action.items():
        print(
            f"  {action}: {len(waits)}, median {1000 * statistics.median(waits):.1f} ms, longest {1000 * max(waits):.0f} ms"
        )


async def churned(figures: Figures, fleet: LoadFleet, seconds: float, server: Server) -> None:
    """Every station comes back once at least before memory is looked at first, and as often again until it is last."""
    per_s = len(fleet.stations) / seconds
    await fleet.churn(per_s, _after(seconds))
    before_s, figures.memory_churn_begin_mib = await server.usage_at_rest()
    begun_s = time.monotonic()
    number = await fleet.churn(per_s, _after(seconds))
    after_s, _ = await server.usage()
    lasted_s = time.monotonic() - begun_s
    figures.churn_per_s = number / lasted_s
    figures.churn_processor_share = (after_s - before_s) / lasted_s
    _, figures.memory_churn_end_mib = await server.usage_at_rest()


def _after(seconds: float) -> Any:
    until_s = time.monotonic() + seconds
    return lambda: time.monotonic() > until_s


def quantile(ordered: list[float], share: float) -> float:
    return ordered[int(share * (len(ordered) - 1))]


def allow_many_files() -> None:
    highest = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))


def report(figures: Figures) -> str:
    return (
        f"{figures.stations} stations settled in {figures.settle_s:.1f} s\n"
        f"steady: {figures.steady_messages_per_s:.0f} messages/s, {100 * figures.steady_processor_share:.0f} % of a core, "
        f"median {figures.steady_median_ms:.1f} ms, p99 {figures.steady_p99_ms:.0f} ms, {figures.memory_steady_mib:.0f} MiB\n"
        f"churn:  {figures.churn_per_s:.0f} reconnects/s, {100 * figures.churn_processor_share:.0f} % of a core, memory "
        f"{figures.memory_churn_begin_mib:.0f} MiB, then {figures.memory_churn_end_mib:.0f} MiB\n"
        f"storm:  all back in {figures.storm_s:.1f} s, p99 {figures.storm_p99_ms:.0f} ms, {figures.failures} failures"
    )


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stations", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=120.0, help="length of each phase")
    parser.add_argument("--interval", type=float, default=60.0, help="seconds between meter values of one station")
    parser.add_argument("--control", action="store_true", help="control all stations as one site, too")
    parser.add_argument("--profile", default="", help="write the profile of the service's event loop to this file")
    parser.add_argument("--json", default="", help="write the figures to this file")
    told = parser.parse_args()
    allow_many_files()
    ours, theirs = multiprocessing.Pipe()
    service = multiprocessing.get_context("spawn").Process(
        target=serve, args=(told.stations, theirs, told.profile, told.control)
    )
    service.start()
    try:
        figures = asyncio.run(measure(told.stations, told.seconds, told.interval, ours.recv(), Server(ours)))
        ours.send("stop")
        service.join(60)
    finally:
        service.terminate()
    print(report(figures))
    if told.json:
        Path(told.json).write_text(json.dumps(asdict(figures), indent=1) + "\n")
    for miss in figures.misses():
        print("MISSED", miss)
    sys.exit(1 if figures.misses() else 0)


if __name__ == "__main__":
    main()
