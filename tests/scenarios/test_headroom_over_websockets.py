"""What one vehicle leaves of its share goes to another, over real WebSockets."""

from __future__ import annotations

import pytest
from governed import CONTROL, Governed, governed, minutes
from station_wire import V16, V201

from optimizer.control.track import Tracking, tracked
from optimizer.domain.ids import TokenId
from optimizer.domain.session import DepartureTarget
from scenarios.station_settings import OcppVersion
from scenarios.vehicle_model import VehicleModel

LIMIT_KW = 22.0
MODEST_KW = 4.83
"""Seven amperes on three phases: all that the first vehicle takes."""


async def both_in_a_hurry(service: Governed) -> None:
    for session in await service.stores.sessions.sessions(service.site.id, active_only=True):
        target = DepartureTarget(service.clock.now() + minutes(60), energy_kwh=40.0)
        await service.controller.ledger.set_targets(session.id, [target])


async def levels(service: Governed) -> dict[str, tuple[Tracking, float]]:
    """How each EVSE follows, and the limit that it is under [kW]."""
    return {
        one.evse_id: (one.tracking, round(one.limit_kw, 1))
        for one in tracked(await service.controller.sender.view(), CONTROL)
    }


@pytest.mark.parametrize("version", [V16, V201])
async def test_headroom_goes_to_who_can_use_it_after_a_few_samples_and_with_a_margin(version: OcppVersion) -> None:
    async with governed(version, evses=2, import_limit_kw=LIMIT_KW) as service:
        modest = VehicleModel(60.0, max_current_a=7.0)
        await service.plug_in(modest, number=1)
        await service.plug_in(VehicleModel(60.0, max_current_a=32.0), TokenId("OTHER"), number=2)
        await both_in_a_hurry(service)
        await service.pass_time(20, plan=True)
        shared = (await levels(service))["E2"][1]
        assert shared <= LIMIT_KW - 2 * MODEST_KW, "both were given about as much"
        await service.pass_time(180, plan=True)
        (modest_is, modest_kw), (_, other_kw) = (await levels(service)).values()
        assert modest_is is Tracking.LIMITED_BY_VEHICLE
        assert service.powers_kw[0] == pytest.approx(MODEST_KW)
        assert MODEST_KW + CONTROL.headroom_margin_kw <= modest_kw <= MODEST_KW + 3.0, "room to show that it takes more"
        assert other_kw > shared + 3.0
        assert sum(service.powers_kw) <= LIMIT_KW
        assert sum(service.powers_kw) > LIMIT_KW - 3.0, "hardly anything lies idle"
