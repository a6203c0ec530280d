"""What a vehicle needs and what others permit, from the station's message to what flows, over real WebSockets."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from governed import EVSE, Governed, governed
from meeting import STATION
from station_wire import V21, V201, at_minute

from optimizer.domain.session import DepartureTarget, TargetSource
from optimizer.domain.site import CurrentType
from scenarios.station_settings import OcppVersion
from scenarios.vehicle_model import StatedNeeds, VehicleModel

OF_2X = pytest.mark.parametrize("version", [V201, V21])
DIRECT = {"current_type": CurrentType.DC, "max_current_a": 120.0, "voltage_v": 400.0}


def text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def needs(energy_wh: int, depart_at: datetime) -> dict[str, Any]:
    parameters = {"energyAmount": energy_wh, "evMinCurrent": 6, "evMaxCurrent": 32, "evMaxVoltage": 230}
    told = {"requestedEnergyTransfer": "AC_three_phase", "acChargingParameters": parameters}
    return {"evseId": 1, "chargingNeeds": told | {"departureTime": text(depart_at)}}


async def target_of(service: Governed) -> DepartureTarget:
    (target,) = (await service.session()).targets
    return target


class TestNeeds:
    @OF_2X
    async def test_what_a_car_asks_for_is_its_target_and_is_there_in_time(self, version: OcppVersion) -> None:
        async with governed(version) as service:
            # Dear energy, so that nothing but the need is a reason to charge.
            service.world.price = Decimal("9.00")
            await service.plug_in(VehicleModel(60.0, needs=StatedNeeds(9.2, at_minute(120))))
            target = await target_of(service)
            assert (target.source, target.energy_kwh, target.depart_at) == (TargetSource.VEHICLE, 9.2, at_minute(120))
            await service.pass_time(120 * 60, plan=True, step_s=60)
            assert (await service.session()).energy_kwh == pytest.approx(9.2, abs=0.3)

    @OF_2X
    async def test_the_answer_says_whether_it_became_the_target(self, version: OcppVersion) -> None:
        async with governed(version) as service:
            await service.plug_in()
            assert await service.say("NotifyEVChargingNeeds", needs(8000, at_minute(90))) == {"status": "Accepted"}
            assert (await target_of(service)).source is TargetSource.VEHICLE
            session = await service.session()
            asked = DepartureTarget(at_minute(60), energy_kwh=5.0)
            await service.controller.ledger.set_targets(session.id, [asked])
            assert await service.say("NotifyEVChargingNeeds", needs(8000, at_minute(90))) == {"status": "Processing"}
            assert (await target_of(service)) == asked, "what a person asks for goes first"

    async def test_a_dc_car_is_filled_from_its_soc_and_the_meter_tells_how_far_it_is(self) -> None:
        async with governed(V201, evse=DIRECT) as service:
            car = VehicleModel(
                30.0, max_current_a=100.0, battery_kwh=60.0, arrival_soc=0.4, needs=StatedNeeds(24.0, at_minute(60))
            )
            await service.plug_in(car)
            session = await service.session()
            assert (session.soc, session.vehicle.battery_kwh) == (0.4, 60.0)
            await service.pass_time(60 * 60, plan=True, step_s=60)
            session = await service.session()
            assert session.energy_kwh >= 24.0 - 0.5
            assert session.soc == pytest.approx(0.4 + session.energy_kwh / 60.0, abs=0.01)


class TestLimitsOfOthers:
    @OF_2X
    async def test_a_limit_that_others_set_bounds_the_plan_until_it_is_cleared(self, version: OcppVersion) -> None:
        async with governed(version) as service:
            await service.plug_in()
            await service.pass_time(60, plan=True)
            assert service.power_kw == pytest.approx(22.08)
            schedule = {
                "id": 1,
                "chargingRateUnit": "A",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10.0}],
            }
            told = {"chargingLimit": {"chargingLimitSource": "EMS"}, "evseId": 1, "chargingSchedule": [schedule]}
            assert await service.say("NotifyChargingLimit", told) == {}
            await service.pass_time(120, plan=True)
            assert service.power_kw == pytest.approx(6.9)
            connector = await service.stores.connectors.connector(service.site.id, EVSE)
            assert connector.setpoint is not None
            assert connector.setpoint.reason == "held at 6.9 kW by a limit that others set at the station (EMS)"
            session = await service.session()
            hurried = DepartureTarget(at_minute(60), energy_kwh=16.0)
            await service.controller.ledger.set_targets(session.id, [hurried])
            await service.pass_time(120, plan=True)
            assert service.power_kw == pytest.approx(6.9), "whatever is needed"
            await service.say("ClearedChargingLimit", {"chargingLimitSource": "EMS", "evseId": 1})
            await service.pass_time(55 * 60, plan=True, step_s=60)
            assert (await service.session()).energy_kwh > 15.5, "no more than 7 kWh came within the bound"

    @OF_2X
    async def test_a_cars_own_schedule_is_held_against_the_plan_in_force(self, version: OcppVersion) -> None:
        async with governed(version, import_limit_kw=12.0) as service:
            await service.plug_in()
            await service.pass_time(60, plan=True)
            schedule = {
                "id": 1,
                "chargingRateUnit": "W",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 20000.0}],
            }
            told = {"evseId": 1, "timeBase": text(service.clock.now()), "chargingSchedule": schedule}
            assert await service.say("NotifyEVChargingSchedule", told) == {"status": "Accepted"}
            notice = service.system.health(STATION).notices[-1]
            assert notice.kind == "NotifyEVChargingSchedule"
            assert "kW above the plan from 12:01 UTC" in notice.text
