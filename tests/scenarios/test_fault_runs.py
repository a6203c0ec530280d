"""Random faults in simulated time: a quick selection of the runs that `make faults` lives through by the thousand."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import datetime
from random import Random

import pytest
from aiohttp import ClientConnectionError, ClientError, WSMsgType

from connectors.ocpp.security import SecurityProfile, StationGate
from connectors.ocpp.server import OcppCentralSystem
from connectors.ocpp.settings import OcppSettings, Version
from optimizer.domain.charger import StationBooted
from optimizer.domain.ids import StationId
from scenarios.faults.campaign import summary_of
from scenarios.faults.draw import HIGHS_SHARE, START, DrawnRun, FaultKind, drawn_run
from scenarios.faults.network import ClientEnd, MemoryNetwork, ServerEnd
from scenarios.faults.run import run_faults
from scenarios.faults.sockets import SocketNetwork
from scenarios.faults.stores import ProcessStores
from scenarios.memory_stores import MemoryStores
from scenarios.station_settings import Misbehaviour
from scenarios.virtual_time import LoopClock, run_in_virtual_time

QUICK_SEEDS = range(5001, 5017)
QUICK_MINUTES = 0.4
HIGHS_AND_LATE = 5091
"""A run in which HiGHS plans, half of the time with no time left."""

FAILED_ONCE = {
    292: "a state stamped by a clock ahead of ours made the plug-out after it look older",
    21: "a cut from what a silent station might draw told it more than it had been told before",
    226: "after a kill, meter values that named no transaction were not taken for those of the stored one",
    259: "the same",
    265: "the same",
    61: "a limit was raised by a reading of the site meter 57 s old, and the building had been switched on since",
    125: "a limit was raised by a reading 9 s old: the audit blamed the raise for the building's step after it",
    94: "a repeated start was taken for another one, since more was known of its station's clock than at the first",
    870: "the same",
    154: "what was known of a slow clock was lost with the service, so that plug-outs looked older than their sessions",
    191: "the same",
    542: "the same",
    733: "the same",
    851: "the same",
    592: "registers in kWh called Wh were not found out within a short transaction",
    683: "the same, where no meter value with power was ever told: nobody can know",
    827: "the same",
    9: "a small register in true Wh at a start (1.6) hid that meter values told kWh as Wh",
    40: "the same",
    13: "an EVSE read its registers anew in the middle of a transaction, when its neighbour had shown their unit",
    847: "the same, at a transaction's first register",
    89: "the same",
    280: "a start stamped a minute late hid that meter values told kWh as Wh",
    50: "a start in true Wh was taken for what meter values had told before their unit was found out",
}
"""Seeds that failed once in runs of two minutes of faults, with what was wrong; `make faults` runs them all."""
FAILED_LATER = {
    91: "a rise of the register while no power was told hid its unit",
    123: "registers jumped between two sessions, where the unit was found out in the first: energy that never flowed",
    187: "a start stamped a tenth of a second before its plug-in was taken for one of an earlier vehicle",
}
"""The same of five minutes."""
SAMPLED = (61, 94, 542, 592, 9)
"""One of each kind, for the normal run."""
AS_THEN = (0.0,)
"""They failed before any EVSE changed its phases, and are the same runs only without."""
CHANGES_PHASES = 131
"""A run in which limits change the number of phases."""


@pytest.mark.parametrize("seed", QUICK_SEEDS)
def test_every_limit_holds_and_nothing_is_lost(seed: int) -> None:
    report = run_faults(seed, fault_minutes=QUICK_MINUTES, stations=(20, 40))
    assert report.failures == ()
    assert report.counts["transactions"] > 0
    assert report.counts["frames"] > 0


@pytest.mark.parametrize("seed", QUICK_SEEDS[:4])
def test_every_limit_holds_and_nothing_is_lost_over_real_sockets(seed: int) -> None:
    report = run_faults(seed, over_sockets=True, fault_minutes=QUICK_MINUTES, stations=(20, 25))
    assert report.failures == ()
    assert report.counts["transactions"] > 0
    assert report.counts["frames"] > 300


@pytest.mark.parametrize(
    "seed", [seed if seed in SAMPLED else pytest.param(seed, marks=pytest.mark.study) for seed in FAILED_ONCE]
)
def test_what_failed_once_holds(seed: int) -> None:
    assert run_faults(seed, fault_minutes=2.0, switching_shares=AS_THEN).failures == (), FAILED_ONCE[seed]


@pytest.mark.study
@pytest.mark.parametrize("seed", FAILED_LATER)
def test_what_failed_once_in_longer_runs_holds(seed: int) -> None:
    assert run_faults(seed, fault_minutes=5.0, switching_shares=AS_THEN).failures == (), FAILED_LATER[seed]


def test_the_same_seed_is_the_same_run() -> None:
    first, second = (run_faults(5001, fault_minutes=0.3, stations=(20, 20)) for _ in range(2))
    assert (first.counts, first.longest) == (second.counts, second.longest)


def test_the_draws_leave_nothing_out() -> None:
    drawn = [drawn_run(seed) for seed in range(200)]
    assert {fault.kind for run in drawn for fault in run.faults} == set(FaultKind)
    wrong = {kind for run in drawn for one in run.stations.values() for kind in one.misbehaviours}
    assert wrong == set(Misbehaviour)
    assert all(20 <= len(run.stations) <= 60 for run in drawn)
    assert any(len(evse.phases) == 1 for run in drawn for evse in run.site.evses.values())
    assert any(len(evse.phases) == 2 for run in drawn for evse in run.site.evses.values())
    switching = [run for run in drawn if any(evse.phase_switching for evse in run.site.evses.values())]
    assert 0.4 * len(drawn) < len(switching) < 0.7 * len(drawn)
    assert any(_says_more_than_it_can(run) for run in switching)
    assert any(run.solver_failing_share for run in drawn)
    assert any(run.solver_hanging_share for run in drawn)
    by_highs = [run for run in drawn if run.plans_with_highs]
    assert len(by_highs) == pytest.approx(HIGHS_SHARE * len(drawn), rel=0.3)
    assert any(run.solver_late_share for run in by_highs)


def _says_more_than_it_can(run: DrawnRun) -> bool:
    """Whether an EVSE changes phases by the site's book, and not in truth."""
    at_site = run.site.evses
    truly = (evse for one in run.stations.values() for evse in one.station.evses)
    return any(at_site[evse.id].phase_switching and not evse.phase_switching for evse in truly)


def test_phases_are_drawn_beside_all_else() -> None:
    with_phases, without = drawn_run(CHANGES_PHASES), drawn_run(CHANGES_PHASES, switching_shares=AS_THEN)
    assert with_phases.site != without.site
    assert (with_phases.visits, with_phases.faults) == (without.visits, without.faults)
    fixed = tuple(
        replace(one, evses=tuple(replace(evse, phase_switching=False) for evse in one.evses))
        for one in with_phases.site.stations
    )
    assert replace(with_phases.site, stations=fixed) == without.site


def test_limits_hold_while_phases_change() -> None:
    report = run_faults(CHANGES_PHASES, fault_minutes=1.0, stations=(20, 25))
    assert report.failures == ()
    assert report.counts["limits that change phases"] > 0


def test_highs_plans_in_time_and_too_late() -> None:
    counts = run_faults(HIGHS_AND_LATE, fault_minutes=1.0, stations=(20, 20)).counts
    assert counts["plans by HiGHS"] > 0
    assert counts["fallback plans"] > 0


def test_a_summary_names_the_worst_run() -> None:
    reports = [run_faults(seed, fault_minutes=0.2, stations=(20, 20)) for seed in (1, 2)]
    reports[1].book_faults = ("a kWh is lost",)
    summary = summary_of(reports)
    assert (summary.runs, [one.seed for one in summary.failed]) == (2, [2])
    assert summary.counts["stations"] == 40


# ---------------------------------------------------------------------- what the runs stand on


def test_a_commit_that_nobody_was_told_of_is_kept_and_one_that_was_not_made_is_not() -> None:
    async def story(dies_at: int) -> int:
        kept, writes = MemoryStores([drawn_run(1).site]), 0

        def on_write() -> None:
            nonlocal writes
            writes += 1
            stores.is_dead = stores.is_dead or writes == dies_at

        stores = ProcessStores(kept, Random(1), on_write)
        work = asyncio.create_task(
            stores.call(kept.connectors.save_safe_default, next(iter(drawn_run(1).site.evses)), 4.14)
        )
        await asyncio.sleep(1.0)
        assert not work.done(), "a dead process gets no answer"
        work.cancel()
        return sum(one.safe_default_kw is not None for one in await kept.connectors.connectors(drawn_run(1).site.id))

    assert run_in_virtual_time(story(dies_at=1)) == 0
    assert run_in_virtual_time(story(dies_at=2)) == 1


def test_a_cut_on_real_sockets_is_seen_by_the_station_at_once_and_by_the_service_later() -> None:
    told: list[tuple[str, datetime]] = []

    async def story() -> None:
        clock, network = LoopClock(START), SocketNetwork(Random(3))
        station = drawn_run(1).site.stations[0]
        name = station.id

        class Events:
            async def station_disconnected(self, station_id: StationId, at: datetime) -> None:
                told.append((station_id, at))

            async def station_booted(self, event: StationBooted) -> None:
                told.append(("booted", event.at))

        gate, tasks = StationGate(SecurityProfile.NONE), set[asyncio.Task[None]]()
        system = OcppCentralSystem([station], Events(), clock, OcppSettings(), gate)  # type: ignore[arg-type]
        url = await network.begin()
        with pytest.raises(ClientError):
            await network.http.ws_connect(f"{url}/{name}", protocols=("ocpp1.6",))
        await network.open(system, tasks)
        socket = await network.http.ws_connect(f"{url}/{name}", protocols=("ocpp1.6",))
        assert network.is_connected(name)
        before = clock.now()
        boot = {"chargePointVendor": "v", "chargePointModel": "m"}
        await socket.send_str(json.dumps([2, "1", "BootNotification", boot]))
        assert json.loads((await socket.receive()).data)[:2] == [3, "1"]
        assert 0.04 <= (clock.now() - before).total_seconds() <= 0.8, "there and back, each with the link's delay"
        network.cut(name, unseen_s=20.0)
        cut_at = clock.now()
        assert (await socket.receive()).type in (WSMsgType.CLOSED, WSMsgType.CLOSE, WSMsgType.ERROR)
        assert (clock.now() - cut_at).total_seconds() < 1.0
        assert not network.is_connected(name)
        await asyncio.sleep(19.0)
        assert system.is_online(name), "it believes in a station that is gone"
        await asyncio.sleep(2.0)
        assert not system.is_online(name)
        await network.end()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run_in_virtual_time(story(), with_sockets=True)
    assert [what for what, _ in told] == ["booted", drawn_run(1).site.stations[0].id]


def test_texts_arrive_in_order_until_the_link_is_lost() -> None:
    async def story() -> None:
        ends: list[ServerEnd] = []
        network = MemoryNetwork(Random(2), 2.0)
        with pytest.raises(ClientConnectionError):
            await network.ws_connect("ws://memory/S1", protocols=("ocpp1.6",))
        network.listen(lambda _station, version, end, _abort: ends.append(end) if version is Version.V16 else None)
        client = await network.ws_connect("ws://memory/S1", protocols=("ocpp1.6",))
        assert isinstance(client, ClientEnd)
        for text in "abc":
            await client.send_str(text)
        assert [(await ends[0].receive(1.0)).data for _ in range(3)] == ["a", "b", "c"]
        with pytest.raises(TimeoutError):
            await ends[0].receive(1.0)
        network.cut(StationId("S1"), unseen_s=30.0)
        with pytest.raises(ConnectionResetError):
            await client.send_str("lost")
        await ends[0].send_str("into the void")
        assert not network.is_connected(StationId("S1"))
        assert [message async for message in client] == []
        clock = LoopClock(START)
        before = clock.now()
        await ends[0].receive(60.0)
        assert 29.0 < (clock.now() - before).total_seconds() < 31.0

    run_in_virtual_time(story())
