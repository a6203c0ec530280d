"""A vehicle that is paused by the end of its transaction, over real WebSockets."""

from __future__ import annotations

from dataclasses import replace
from datetime import time
from decimal import Decimal

import pytest
from governed import CONTROL, Governed, governed, minutes
from meeting import SETTINGS, STATION
from station_wire import V16, V201

from connectors.ocpp.operations import StationOperations
from connectors.ocpp.security import StaticCredentials
from optimizer.control.stop_pauses import StopPauseDesk
from optimizer.domain.session import DepartureTarget
from optimizer.domain.tariff import EnergyBand, TariffWindow
from scenarios.station_settings import OcppVersion

SERVED = replace(SETTINGS, stop_to_pause_stations=frozenset({STATION}))
DEAR_FROM_MIDDAY = (
    EnergyBand("dear", TariffWindow(start=time(12, 5), end=time(12, 35)), Decimal("3.00")),
    EnergyBand("cheap", TariffWindow(), Decimal("0.10")),
)
"""Prices from noon on, when the vehicle comes: cheap for five minutes, dear for half an hour, cheap again."""


def desk_of(service: Governed) -> StopPauseDesk:
    """As a service that has just started makes it."""
    operator = StationOperations(service.system.link, StaticCredentials({}))
    ledger = service.controller.ledger
    return StopPauseDesk(service.site, {STATION}, service.stores, ledger, operator, service.clock, CONTROL)


async def live(service: Governed, desk: StopPauseDesk, count: int) -> None:
    for _ in range(count):
        await service.pass_time(60, plan=True, step_s=20.0)
        await desk.look()
        await service.told()


def orders(service: Governed) -> tuple[int, int]:
    """Transactions that were ordered to stop, and to start."""
    stops = service.asked("RemoteStopTransaction") + service.asked("RequestStopTransaction")
    starts = service.asked("RemoteStartTransaction") + service.asked("RequestStartTransaction")
    return len(stops), len(starts)


@pytest.mark.parametrize("version", [V16, V201])
async def test_what_the_plan_pauses_is_stopped_and_started_again(version: OcppVersion) -> None:
    async with governed(version, served=SERVED) as service:
        service.world.bands = DEAR_FROM_MIDDAY
        await service.plug_in()
        arrived = await service.session()
        target = DepartureTarget(service.clock.now() + minutes(180), energy_kwh=12.0)
        await service.controller.ledger.set_targets(arrived.id, [target])
        desk = desk_of(service)
        await live(service, desk, 4)
        assert service.power_kw > 4.0
        await live(service, desk, 5)
        assert (service.power_kw, orders(service)) == (0.0, (1, 0))
        assert (await service.session()).transaction_id is None
        await live(service, desk_of(service), 20)
        assert (service.power_kw, orders(service)) == (0.0, (1, 0)), "one order is enough, also for a new service"
        desk = desk_of(service)
        await live(service, desk, 15)
        assert service.power_kw > 4.0
        assert orders(service) == (1, 1)
        resumed = await service.session()
        assert (resumed.id, resumed.pauses) == (arrived.id, 1), "it is the same stay, paused once"
        (pause,) = resumed.paused
        assert 20.0 <= (pause.end - pause.start) / minutes(1) <= 38.0
