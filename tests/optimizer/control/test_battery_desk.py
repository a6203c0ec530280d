"""What the stationary battery is told, and that no limit relies on it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from bench import FIGURES, Bench, evse_at, plan_of, site_with
from views import reading_of, view_of
from virtual_time import START, run_virtual

from optimizer.control.battery_desk import BatteryDesk, permitted_battery_kw, planned_battery_kw
from optimizer.control.settings import ControlSettings
from optimizer.control.view import GuardView
from optimizer.domain.metering import SiteMeterReading
from optimizer.domain.plan import Fallback, Plan
from optimizer.domain.site import GridConnection, StationaryBattery
from optimizer.errors import BatteryUnreachable

BATTERY = StationaryBattery("b", 40.0, 20.0, 15.0, min_soc=0.1, max_soc=0.9)
SITE = replace(site_with([evse_at("a")], import_limit_kw=50.0), battery=BATTERY)
EXPORTING = replace(SITE, grid_connection=GridConnection(SITE.grid_connection.circuit_id, 50.0, export_limit_kw=5.0))
SETTINGS = ControlSettings()


def metered(grid_kw: float | None, soc: float | None = 0.5, age_s: float = 1.0) -> SiteMeterReading:
    return replace(reading_of(grid_kw, age_s=age_s), battery_soc=soc)


PERMITTED = [
    # case, planned, reading, told
    ("as planned", 12.0, metered(30.0), 12.0),
    ("never above what it can", 99.0, metered(10.0), 20.0),
    ("nor below", -99.0, metered(30.0), -15.0),
    ("import is above the limit: it charges no more", 12.0, metered(51.0), 0.0),
    ("but it may go on giving", -12.0, metered(51.0), -12.0),
    ("full", 12.0, metered(30.0, 0.9), 0.0),
    ("full, and gives", -12.0, metered(30.0, 0.9), -12.0),
    ("at its least", -12.0, metered(30.0, 0.1), 0.0),
    ("at its least, and charges", 12.0, metered(30.0, 0.1), 12.0),
    ("its content is not told", 12.0, metered(30.0, None), 12.0),
    ("it would give more than may be exported", -12.0, metered(-1.0), 0.0),
    ("no reading", 12.0, None, 0.0),
    ("an old one", 12.0, metered(30.0, age_s=999.0), 0.0),
    ("one without power", 12.0, metered(None), 0.0),
]


@pytest.mark.parametrize(("case", "planned_kw", "meter", "told_kw"), PERMITTED, ids=[case[0] for case in PERMITTED])
def test_what_is_permitted(case: str, planned_kw: float, meter: SiteMeterReading | None, told_kw: float) -> None:
    assert permitted_battery_kw(planned_kw, view_of(SITE, meter=meter), SETTINGS) == told_kw, case


def test_within_what_may_be_exported_it_gives() -> None:
    assert permitted_battery_kw(-12.0, view_of(EXPORTING, meter=metered(-4.0)), SETTINGS) == -12.0


def test_a_site_without_a_battery_tells_nothing() -> None:
    view = view_of(replace(SITE, battery=None), meter=metered(10.0))
    assert permitted_battery_kw(12.0, view, SETTINGS) == 0.0


def battery_plan(*powers_kw: float) -> Plan:
    plan = plan_of(START, SITE, {})
    boundaries = tuple(START + timedelta(minutes=15 * index) for index in range(len(powers_kw) + 1))
    return replace(plan, boundaries=boundaries, battery_kw=powers_kw)


@pytest.mark.parametrize(("minute", "planned_kw"), [(-1, 0.0), (0, 8.0), (14.9, 8.0), (15, -4.0), (30, 0.0)])
def test_the_plan_is_followed_slot_by_slot(minute: float, planned_kw: float) -> None:
    assert planned_battery_kw(battery_plan(8.0, -4.0), START + timedelta(minutes=minute)) == planned_kw
    assert planned_battery_kw(None, START) == 0.0


class Told:
    """A battery that may be out of reach."""

    def __init__(self) -> None:
        self.powers_kw: list[float] = []
        self.is_there = True

    async def set_power(self, power_kw: float) -> None:
        if not self.is_there:
            raise BatteryUnreachable("it is gone")
        self.powers_kw.append(power_kw)


def test_it_is_told_what_is_new_and_again_before_it_forgets(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        bench = Bench(SITE)
        await bench.stores.plans.save_outcome(Fallback(battery_plan(8.0, -4.0), "told", "bench", FIGURES), "", None)
        told, meter = Told(), [metered(10.0)]

        async def view() -> GuardView:
            now = bench.clock.now()
            return view_of(SITE, meter=replace(meter[0], at=now), at=now)

        desk = BatteryDesk(bench.stores, view, told, bench.clock, SETTINGS)
        for _ in range(8):
            await desk.look()
            await bench.clock.sleep(5.0)
        assert told.powers_kw == [8.0, 8.0], "at first, and after thirty seconds"
        meter[0] = metered(55.0)
        await desk.look()
        meter[0] = metered(45.0)
        for _ in range(11):
            await desk.look()
            await bench.clock.sleep(5.0)
        assert set(told.powers_kw[2:]) == {0.0}, "it rests for a while"
        await bench.clock.sleep(10.0)
        await desk.look()
        assert told.powers_kw[-1] == 8.0
        told.is_there = False
        for _ in range(10):
            await bench.clock.sleep(30.0)
            await desk.look()
        assert sum("does not follow" in record.message for record in caplog.records) == 1
        told.is_there = True
        await desk.look()
        await desk.rest()
        assert told.powers_kw[-1] == 0.0

    run_virtual(story())


def test_a_battery_that_does_not_follow_exceeds_no_limit() -> None:
    """The plan counts on 15 kW of it; it gives none, and then takes 15 instead."""

    async def story() -> None:
        bench = Bench(replace(SITE, grid_connection=GridConnection(SITE.grid_connection.circuit_id, 20.0)))
        bench.wishes = lambda _: (22.0,) * 8
        await bench.control.guard_step()
        await bench.plug_in("a", car_kw=22.0)
        await bench.loop.step("start")
        over_s = 0
        for second in range(180):
            if second == 90:
                bench.building_kw = 0.0
                bench.unmetered_kw = 15.0
            await bench.pass_time(1)
            over_s += bench.true_kw() + bench.unmetered_kw > 20.0 + 1e-6
        assert over_s <= 3, "within what the meter and the stations take to react"

    run_virtual(story())
