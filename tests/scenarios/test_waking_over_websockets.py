"""A vehicle that sleeps on after a pause, from the first raised limit to the last resort, over real WebSockets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from governed import CONTROL, Governed, governed, minutes
from station_wire import V16, V201

from connectors.ocpp.operations import StationOperations
from connectors.ocpp.security import StaticCredentials
from optimizer.control.settings import ControlSettings
from optimizer.control.sleepers import SleeperDesk
from optimizer.control.track import TrackedEvse, Tracking, tracked
from optimizer.domain.session import DepartureTarget
from scenarios.station_settings import OcppVersion
from scenarios.vehicle_model import VehicleModel, WakeBehaviour

BOTH = pytest.mark.parametrize("version", [V16, V201])
RESTARTS = replace(CONTROL, restart_sleepers=True)


async def paused(service: Governed, vehicle: VehicleModel) -> SleeperDesk:
    """The vehicle has charged, and was held at zero for a while by an exceeded limit."""
    await service.plug_in(vehicle)
    session = await service.session()
    target = DepartureTarget(service.clock.now() + minutes(90), energy_kwh=16.0)
    await service.controller.ledger.set_targets(session.id, [target])
    await service.pass_time(120, plan=True)
    assert service.power_kw > 4.0
    service.world.building_kw = 99.0
    await service.pass_time(60, plan=True)
    assert service.power_kw == 0.0
    service.world.building_kw = 0.0
    operator = StationOperations(service.system.link, StaticCredentials({}))
    settings = service.controller.sender._settings

    async def tracking() -> tuple[TrackedEvse, ...]:
        return tracked(await service.controller.sender.view(), settings)

    return SleeperDesk(service.site, service.stores, tracking, operator, service.clock, settings)


async def wait(service: Governed, desk: SleeperDesk, count: int) -> None:
    for _ in range(count):
        await service.pass_time(60, plan=True)
        await desk.look()
        await service.told()


def stops(service: Governed) -> int:
    return len(service.asked("RemoteStopTransaction") + service.asked("RequestStopTransaction"))


def starts(service: Governed) -> int:
    return len(service.asked("RemoteStartTransaction") + service.asked("RequestStartTransaction"))


@BOTH
async def test_one_that_wakes_by_itself_is_left_alone(version: OcppVersion) -> None:
    async with governed(version) as service:
        desk = await paused(service, VehicleModel(60.0))
        await wait(service, desk, 5)
        assert service.power_kw > 4.0
        session = await service.session()
        assert (session.vehicle.min_current_a, session.vehicle.wakes_after_pause) == (None, True)
        assert service.asked("TriggerMessage") == []


@pytest.mark.parametrize(
    ("case", "control", "restarts"),
    [("where nobody permits more", CONTROL, 0), ("where transactions may be restarted", RESTARTS, 1)],
)
@BOTH
async def test_one_that_sleeps_climbs_the_ladder(
    version: OcppVersion, case: str, control: ControlSettings, restarts: int
) -> None:
    sleeper = VehicleModel(60.0, wake=WakeBehaviour.SLEEPS)
    async with governed(version, control=control) as service:
        desk = await paused(service, sleeper)
        told = []
        for _ in range(10):
            await service.pass_time(30, plan=True)
            told.append(tracked(await service.controller.sender.view(), control)[0].tracking)
        assert Tracking.NOT_WAKING in told[:5], "the operator is told on the way"
        assert told[-1] is Tracking.NOT_WAKING, "and at the end"
        await wait(service, desk, 8)
        session = await service.session()
        assert not session.vehicle.wakes_after_pause, "it is not paused again"
        assert session.vehicle.min_current_a is None, "more current did not help, so none is kept free"
        assert len(service.asked("TriggerMessage")) == 1
        assert (stops(service), starts(service)) == (restarts, restarts), case
        await wait(service, desk, 6)
        assert (stops(service), starts(service)) == (restarts, restarts), "once is enough"
        assert (service.power_kw > 4.0) is bool(restarts)
        assert session.id == (await service.session()).id, "it is the same stay"
