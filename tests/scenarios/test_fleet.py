"""Many stations with cars that come and go by chance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import ClientSession
from manual_clock import ManualClock
from scripted_central_system import ScriptedCentralSystem
from station_wire import NOON, V16, V201

from optimizer.errors import InvalidInput
from scenarios.fleet import Fleet, FleetPlan, fleet_settings
from scenarios.garage import garage_day
from scenarios.station_settings import Misbehaviour
from scenarios.virtual_station import CentralSystem


def test_versions_and_misbehaviours_are_dealt_out_in_turn() -> None:
    plan = FleetPlan(10, misbehaviours=(Misbehaviour.SLOW, Misbehaviour.IGNORES), misbehaving_share=0.4)
    settings = fleet_settings(plan)
    assert [one.version for one in settings[:3]] == [V16, V201, V16]
    wrongs = [next(iter(one.misbehaviours)) for one in settings if one.misbehaviours]
    assert wrongs == [Misbehaviour.SLOW, Misbehaviour.IGNORES] * 2
    assert len({one.station.id for one in settings}) == 10


IMPOSSIBLE = {
    "none": {"count": 0},
    "no version": {"count": 1, "versions": ()},
    "more than all misbehave": {"count": 1, "misbehaving_share": 1.1},
    "some misbehave, but how": {"count": 1, "misbehaving_share": 0.1},
    "no gap": {"count": 1, "gap_h": 0.0},
}


@pytest.mark.parametrize("plan", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_impossible_plans_are_refused(plan: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        FleetPlan(**plan)  # type: ignore[arg-type]


async def _until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - it depends on two ends of a socket
        await asyncio.sleep(0.001)


async def test_a_fleet_charges_its_cars() -> None:
    async with ScriptedCentralSystem() as system, ClientSession() as http:
        clock = ManualClock(NOON)
        fleet = Fleet(
            FleetPlan(6, gap_h=0.5, reading_interval_s=600),
            garage_day().sessions,
            CentralSystem(system.url),
            clock,
            http,
        )
        async with fleet.running(), asyncio.timeout(60):
            await _until(lambda: fleet.counts().connected == 6)
            for _ in range(12 * 12):
                clock.advance(minutes=5)
                await asyncio.sleep(0.002)
                await _until(lambda: not fleet.counts().unacknowledged)
        counts = fleet.counts()
        assert system.schema_problems == []
        assert counts.violations == {}
        assert counts.refused == 0
        assert counts.visits >= 6
        assert counts.delivered_kwh > 6.0
        started = len(system.of("StartTransaction"))
        started += sum(call.payload["eventType"] == "Started" for call in system.of("TransactionEvent"))
        assert started == counts.visits
        values = [call.payload["meterValue"][0]["sampledValue"] for call in system.of("MeterValues")]
        assert {len(one) for one in values} == {12}


async def test_a_station_may_have_a_password_of_its_own() -> None:
    async with ScriptedCentralSystem() as system, ClientSession() as http:
        plan = FleetPlan(2)
        first, second = (settings.station.id for settings in fleet_settings(plan))
        system.credentials = {first: "Basic U0lNLTAwMDE6b25l", second: "Basic U0lNLTAwMDI6dHdv"}
        central = CentralSystem(system.url, "one")
        fleet = Fleet(plan, garage_day().sessions, central, ManualClock(NOON), http, passwords={second: "two"})
        async with fleet.running(), asyncio.timeout(30):
            await _until(lambda: fleet.counts().connected == 2)
        assert system.refusals == 0


async def test_why_stations_do_not_get_in_is_told() -> None:
    async with ScriptedCentralSystem() as system, ClientSession() as http:
        plan = FleetPlan(2)
        system.credentials = {settings.station.id: "Basic nobody" for settings in fleet_settings(plan)}
        fleet = Fleet(plan, garage_day().sessions, CentralSystem(system.url, "one"), ManualClock(NOON), http)
        async with fleet.running(), asyncio.timeout(30):
            await _until(lambda: fleet.counts().connection_problem)
        assert fleet.counts().connected == 0
        assert "401" in fleet.counts().connection_problem
