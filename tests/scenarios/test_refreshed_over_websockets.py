"""What a station has lost is told it again, over real WebSockets: limits lost with the connection, or in a restart."""

from __future__ import annotations

import asyncio

import pytest
from governed import Governed, governed
from meeting import STATION
from station_wire import V16, V201

from scenarios.profiles import ProfilePurpose
from scenarios.station_settings import OcppVersion

BOTH = pytest.mark.parametrize("version", [V16, V201])
LIMIT_KW = 12.0


async def charging_under_a_limit(service: Governed) -> None:
    await service.plug_in()
    await service.pass_time(120, plan=True)
    assert 8.0 < service.power_kw <= LIMIT_KW
    assert purposes(service) == {ProfilePurpose.TX, ProfilePurpose.TX_DEFAULT}


def purposes(service: Governed) -> set[ProfilePurpose]:
    return {one.profile.purpose for one in service.station.core.held}


async def reconnected(service: Governed) -> None:
    """The connection was lost for ten minutes; the station comes back without a word of where it stands."""
    await service.cut_off()
    service.clock.advance(minutes=10)
    service.station.core.advance(service.clock.now())
    service.living = asyncio.ensure_future(service.station.run())
    await service.until(lambda: service.system.is_online(STATION))
    await service.told()


@BOTH
async def test_a_plan_lost_with_the_connection_is_told_again(version: OcppVersion) -> None:
    async with governed(version, import_limit_kw=LIMIT_KW) as service:
        await charging_under_a_limit(service)
        core = service.station.core
        core.held = tuple(one for one in core.held if one.profile.purpose is not ProfilePurpose.TX)
        before = len(service.asked("SetChargingProfile"))
        await reconnected(service)
        assert service.power_kw == pytest.approx(4.14), "meanwhile the safe default held"
        await service.pass_time(60, plan=True)
        assert ProfilePurpose.TX in purposes(service)
        assert 8.0 < service.power_kw <= LIMIT_KW
        assert len(service.asked("SetChargingProfile")) > before
        assert service.asked("BootNotification") == []


@BOTH
async def test_a_plan_that_the_station_kept_is_proven_anew_and_never_exceeded(version: OcppVersion) -> None:
    async with governed(version, import_limit_kw=LIMIT_KW) as service:
        await charging_under_a_limit(service)
        await reconnected(service)
        service.greatest_a = [0.0, 0.0, 0.0]
        await service.pass_time(120, plan=True)
        assert 8.0 < service.power_kw <= LIMIT_KW
        assert sum(service.greatest_a) * 0.23 <= LIMIT_KW + 1e-6


@BOTH
async def test_both_layers_are_told_again_after_a_restart_without_memory(version: OcppVersion) -> None:
    async with governed(version, import_limit_kw=LIMIT_KW) as service:
        await charging_under_a_limit(service)
        await service.restart_station()
        await service.pass_time(60, plan=True)
        assert ProfilePurpose.TX_DEFAULT in purposes(service)
        assert service.power_kw <= LIMIT_KW


@BOTH
async def test_a_plan_never_runs_out_to_full_power_and_is_renewed_before_its_tail(version: OcppVersion) -> None:
    """Left alone, a plan falls to the safe value and stays there; while we are there it is renewed before that."""
    async with governed(version, import_limit_kw=LIMIT_KW) as service:
        await charging_under_a_limit(service)
        settings = service.controller.sender._settings
        sent = len(service.asked("SetChargingProfile"))
        await service.pass_time(settings.profile_span_s, plan=True, step_s=60.0)
        assert len(service.asked("SetChargingProfile")) > sent
        assert service.power_kw > 4.14
        await service.cut_off()
        for _ in range(8):
            service.clock.advance(hours=1)
            service.station.core.advance(service.clock.now())
            assert service.power_kw <= LIMIT_KW
        assert service.power_kw in (0.0, pytest.approx(4.14))


@BOTH
async def test_nothing_is_written_where_nothing_changes(version: OcppVersion) -> None:
    """Every write wears the station's memory: a building that ripples, and the same plan made again, cause none."""
    async with governed(version, import_limit_kw=LIMIT_KW + 8.0) as service:
        service.world.building_kw = 8.0
        await service.plug_in()
        await service.pass_time(180, plan=True)
        assert 8.0 < service.power_kw <= LIMIT_KW
        written = len(service.asked("SetChargingProfile"))
        for number in range(20):
            service.world.building_kw = 8.0 - 0.2 * (number % 2)
            await service.pass_time(60, plan=True)
        assert len(service.asked("SetChargingProfile")) == written
