"""The demo's service in a process of its own, and the garage day played against it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from api.cli_demo import free_ports, serving, until_ready
from api.config import AcceleratedClockSection, load_configuration
from api.demo_configuration import DemoFolder, write_demo
from connectors.clock import AcceleratedClock, wall_time
from connectors.prices.tariff_files import read_tariff
from optimizer.domain.site import Site
from optimizer.domain.tariff import Tariff
from scenarios.garage import GarageDay, garage_day
from scenarios.service_client import ServiceClient


@dataclass(frozen=True)
class Garage:
    """What a test needs of a running demo."""

    written: DemoFolder
    day: GarageDay
    site: Site
    tariff: Tariff
    clock: AcceleratedClock
    client: ServiceClient
    process: asyncio.subprocess.Process


@asynccontextmanager
async def running_garage(folder: Path, speed: float) -> AsyncIterator[Garage]:
    day = garage_day()
    written = write_demo(folder, day, speed=speed, wall_start=wall_time() + timedelta(seconds=5), ports=free_ports())
    configuration = load_configuration(written.configuration)
    section = configuration.clock
    assert isinstance(section, AcceleratedClockSection)
    clock = AcceleratedClock(section.simulated_start, section.wall_start, section.speed)
    tariff = read_tariff(configuration.tariff.file)
    site = configuration.site.to_site(tariff.id)
    async with serving(written) as process, ServiceClient(written.http_url, written.api_key) as client:
        await until_ready(client, process, written)
        yield Garage(written, day, site, tariff, clock, client, process)
