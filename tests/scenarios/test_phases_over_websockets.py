"""One and three phases from the planner's choice to what flows, over real WebSockets."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from governed import EVSE, Governed, governed, minutes
from station_wire import V16, V21, V201

from optimizer.domain.event import GridEvent, GridEventInterval, GridEventKind, GridEventStatus
from optimizer.domain.ids import GridEventId
from optimizer.domain.moment import Interval
from optimizer.domain.session import DepartureTarget
from scenarios.station_settings import OcppVersion

SWITCHING = {"phase_switching": True}


def told_phases(service: Governed) -> list[int]:
    """Phases of the plans that the station was sent, repeats left out."""
    numbers: list[int] = []
    for payload in service.asked("SetChargingProfile"):
        profile = payload.get("chargingProfile") or payload["csChargingProfiles"]
        if profile["chargingProfilePurpose"] == "TxProfile":
            schedule = profile["chargingSchedule"]
            schedule = schedule[0] if isinstance(schedule, list) else schedule
            number = schedule["chargingSchedulePeriod"][0]["numberPhases"]
            numbers += [number] if not numbers or numbers[-1] != number else []
    return numbers


async def in_a_hurry(service: Governed, hours: float) -> None:
    """The driver wants 18 kWh since plug-in by then."""
    session = await service.session()
    target = DepartureTarget(service.clock.now() + minutes(60 * hours), energy_kwh=18.0)
    await service.controller.ledger.set_targets(session.id, [target])


async def grid_event(service: Governed, limit_kw: float) -> None:
    """The newest takes the place of the one before."""
    now = service.clock.now()
    for event in await service.stores.grid_events.events(service.site.id, now, now + minutes(1)):
        gone = replace(event, status=GridEventStatus.CANCELLED, version=event.version + 1)
        await service.stores.grid_events.save(gone)
    interval = GridEventInterval(Interval(now, now + minutes(120)), limit_kw)
    name, kind = GridEventId(f"{limit_kw}"), GridEventKind.IMPORT_LIMIT
    await service.stores.grid_events.save(GridEvent(name, service.site.id, kind, (interval,), now))


async def little_sun(service: Governed) -> None:
    """Grid energy is dear and nobody is in a hurry: what the sun gives is charged, and no more."""
    service.world.price, service.world.pv_kw = Decimal("9.00"), 2.6


@pytest.mark.parametrize("version", [V16, V201, V21])
async def test_what_the_sun_leaves_for_one_phase_and_then_for_three(version: OcppVersion) -> None:
    async with governed(version, evse=SWITCHING) as service:
        await service.plug_in()
        await service.pass_time(60, plan=True)
        assert (service.phases, service.power_kw) == (3, pytest.approx(22.08))
        await little_sun(service)
        await service.pass_time(180, plan=True)
        assert (service.phases, service.power_kw) == (1, pytest.approx(2.53)), "11 A on one phase"
        service.world.pv_kw = 9.0
        await in_a_hurry(service, hours=2.2)
        await service.pass_time(60, plan=True)
        assert service.phases == 1, "the last change is not long ago"
        await service.pass_time(400, plan=True)
        assert (service.phases, service.power_kw) == (3, pytest.approx(8.97)), "13 A on three phases"
        assert told_phases(service) in ([3, 1, 3], [1, 3])
        assert (await service.session()).phase_switches == 2


async def test_at_a_station_that_says_it_cannot_nothing_is_switched() -> None:
    async with governed(V201, evse=SWITCHING) as service:
        record = service.system._records[service.site.stations[0].id]
        record.capability = record.first_capability.__class__(switches_phases=False)
        await service.plug_in()
        await little_sun(service)
        await service.pass_time(120, plan=True)
        assert service.system.switches_phases(EVSE) is False
        assert set(told_phases(service)) <= {3}


async def test_a_tight_limit_is_kept_before_while_and_after_the_switch() -> None:
    """Seen on one phase in the sun; then the grid operator leaves 3 kW, which three phases cannot use, then 12 kW."""
    async with governed(V201, evse=SWITCHING) as service:
        await service.plug_in()
        await little_sun(service)
        await service.pass_time(180, plan=True)
        assert service.phases == 1
        await in_a_hurry(service, hours=1.3)
        await service.pass_time(420, plan=True)
        assert service.phases == 3, "in a hurry"
        service.world.pv_kw = 0.0
        for limit_kw, phases, power_kw in ((3.0, 1, 2.99), (12.0, 3, 11.73)):
            await grid_event(service, limit_kw)
            await service.pass_time(20, plan=True)
            service.greatest_a = [0.0, 0.0, 0.0]
            await service.pass_time(420, plan=True)
            assert sum(service.greatest_a) * 0.23 <= limit_kw + 1e-6
            assert (service.phases, service.power_kw) == (phases, pytest.approx(power_kw))
        assert (await service.session()).phase_switches == 4
