"""The simulated site takes limits as stations do, the number of phases among them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from optimizer.domain.charger import LimitCommand, LimitPeriod, LimitState
from optimizer.domain.ids import EvseId
from optimizer.domain.site import Evse, Wiring
from scenarios.runner import VirtualClock
from scenarios.scenario import Scenario
from scenarios.scenario_files import catalogue_path, load_scenario
from scenarios.simulated_site import SimulatedSite


def depot(*, phase_switching: bool) -> Scenario:
    """The depot, with EVSEs that can switch phases or not."""
    scenario = load_scenario(catalogue_path("depot_constructed_2024_06"))
    stations = tuple(
        replace(station, evses=tuple(replace(evse, phase_switching=phase_switching) for evse in station.evses))
        for station in scenario.site.stations
    )
    return replace(scenario, site=replace(scenario.site, stations=stations))


async def told(simulated: SimulatedSite, evse: Evse, at: object, current_a: float, phases: int | None) -> None:
    period = LimitPeriod(at, evse.power_kw(current_a))  # type: ignore[arg-type]
    reply = await simulated.set_limit(LimitCommand(evse.station_id, evse.id, None, (period,), phases=phases))
    assert reply.state is LimitState.ACCEPTED


@pytest.mark.parametrize(("switches", "paths"), [(True, 1), (False, 3)], ids=["can switch", "cannot"])
async def test_one_phase_is_used_where_it_can_be(switches: bool, paths: int) -> None:
    scenario = depot(phase_switching=switches)
    stay = next(
        one
        for one in scenario.stays
        if scenario.site.evses[one.evse_id].wiring is Wiring.LINE_TO_NEUTRAL
        and len(scenario.site.evses[one.evse_id].phases) == 3
        and one.vehicle.phases_used == 3
    )
    evse = scenario.site.evses[EvseId(stay.evse_id)]
    clock = VirtualClock(scenario.start)
    simulated = SimulatedSite(scenario, clock)
    clock.move_to(stay.session.arrived_at)
    simulated.plug_in(stay)
    assert simulated.switches_phases(evse.id) is switches
    for minute, phases, expected in ((1, 1, paths), (2, None, 3), (3, 1, paths), (4, 3, 3)):
        clock.move_to(stay.session.arrived_at + timedelta(minutes=minute))
        await told(simulated, evse, clock.now(), 10.0, phases)
        simulated.plant.settle(clock.now())
        sample = simulated.sample(evse.id)
        assert sample.current_a is not None
        assert sum(current_a > 1.0 for current_a in sample.current_a) == expected
        assert sample.power_kw == pytest.approx(10.0 * evse.voltage_v * expected / 1000.0, rel=0.01)
