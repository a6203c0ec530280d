"""What is left where a station keeps no limit: told in every form, counted in full, and stopped in a real breach."""

from __future__ import annotations

from decimal import Decimal

import pytest
from governed import CONTROL, governed
from station_wire import V16, V201

from optimizer.control.track import Tracking, tracked
from scenarios.station_settings import Misbehaviour, OcppVersion


@pytest.mark.parametrize("version", [V16, V201])
async def test_a_station_that_keeps_no_limit_is_stopped_in_a_real_breach_and_not_before(version: OcppVersion) -> None:
    async with governed(version, import_limit_kw=30.0, misbehaviours=frozenset({Misbehaviour.IGNORES})) as service:
        await service.plug_in()
        # Grid energy is dear, so it is told to take what the sun gives.
        service.world.price, service.world.pv_kw = Decimal("9.00"), 5.0
        await service.pass_time(300, plan=True)
        (told,) = tracked(await service.controller.sender.view(), CONTROL)
        assert (told.tracking, told.counted_kw) == (Tracking.IGNORING, pytest.approx(22.08))
        assert service.power_kw == pytest.approx(22.08), "within the limit it may go on"
        service.world.building_kw = 15.0
        await service.pass_time(60, plan=True)
        assert service.power_kw == 0.0
        assert len(service.asked("RemoteStopTransaction") + service.asked("RequestStopTransaction")) == 1
        assert (await service.session()).transaction_id is None
