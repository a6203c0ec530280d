"""The names that notebooks and scripts may use: scenarios, problems, plans and tables."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
import pytest

from optimizer.errors import ChargeHorizonError, InvalidInput
from scenarios import whatif
from scenarios.whatif import (
    cars_present,
    catalogue_file,
    import_prices,
    load,
    make_plan,
    plan_frame,
    replay,
    state_problem,
    stays_frame,
    steps_frame,
    sweep_frame,
)

MORNING, EVENING = "2019-03-04T10:00-08:00", "2019-03-04T18:00-08:00"
MARCH = "acn_caltech_2019_03"


def test_every_public_name_is_there_and_documented() -> None:
    for name in whatif.__all__:
        assert getattr(whatif, name).__doc__, name


class TestLoad:
    def test_local_days(self) -> None:
        # 10 March has 23 hours.
        day = load(MARCH, start="2019-03-10", days=1)
        assert day.end - day.start == timedelta(hours=23)

    def test_changes_are_those_of_a_sweep(self) -> None:
        site = load(MARCH, {"battery.capacity_kwh": 80, "site.limit_kw": 60}).site
        assert site.battery is not None
        assert (site.battery.max_charge_kw, site.grid_connection.import_limit_kw) == (40, 60)

    @pytest.mark.parametrize(
        ("changes", "start", "days", "fix"),
        [
            ({"site.limt_kw": 60}, None, None, "nearest are site.limit_kw"),
            ({}, "2019-04-05", 1, "2019-03-01 and 2019-04-01"),
            ({}, "2019-03-31", 2, "2019-03-01 and 2019-04-01"),
        ],
        ids=["a misspelt change", "after the end", "beyond the end"],
    )
    def test_mistakes_are_named(self, changes: dict[str, object], start: str, days: int, fix: str) -> None:
        with pytest.raises(InvalidInput, match=fix):
            load(MARCH, changes, start=start, days=days)

    def test_a_file_of_the_catalogue(self) -> None:
        assert catalogue_file("tariffs/day_ahead.yaml").is_file()
        with pytest.raises(InvalidInput, match="name a file below"):
            catalogue_file("tariffs/none.yaml")


class TestPlan:
    def problem(self, **fields: object) -> whatif.StatedProblem:
        garage = load(MARCH)
        prices = import_prices(garage, MORNING, EVENING)
        cars = cars_present(garage, MORNING)
        zone = "America/Los_Angeles"
        content = {
            "start": MORNING,
            "end": EVENING,
            "time_zone": zone,
            "import_price_per_kwh": prices,
            "vehicles": cars,
        }
        return state_problem({**content, **fields})

    def test_cars_are_those_that_stand_there(self) -> None:
        garage = load(MARCH)
        cars = cars_present(garage, MORNING)
        at = pd.Timestamp(MORNING)
        there = [stay for stay in garage.stays if stay.session.arrived_at <= at < stay.session.departed_at]
        assert [car["id"] for car in cars] == [stay.evse_id for stay in there]
        assert all(car["max_power_kw"] == pytest.approx(6.6) for car in cars)

    def test_prices_are_the_tariffs(self) -> None:
        steps = import_prices(load(MARCH), MORNING, EVENING)
        assert [step["value"] for step in steps] == [0.07492, 0.0869]
        assert pd.Timestamp(steps[1]["start"]) == pd.Timestamp("2019-03-04T12:00-08:00")

    def test_a_plan_is_a_table_of_local_time(self) -> None:
        problem = self.problem()
        plan = make_plan(problem).plan
        frame = plan_frame(problem, plan)
        assert frame.index[0] == pd.Timestamp(MORNING)
        assert str(frame.index.tz) == "America/Los_Angeles"
        first = plan.sessions[0]
        assert frame[first.session_id].tolist() == list(first.power_kw)
        assert frame["import_price_per_kwh"].tolist() == list(plan.import_price_per_kwh)

    def test_a_heuristic_plans_too(self) -> None:
        problem = self.problem()
        assert make_plan(problem, "equal_share").plan.money > make_plan(problem).plan.money - 1e-9
        with pytest.raises(InvalidInput, match="name one of milp"):
            make_plan(problem, "magic")

    def test_a_mistake_in_a_problem_is_named(self) -> None:
        with pytest.raises(InvalidInput, match="import_limit_kw = -1"):
            self.problem(import_limit_kw=-1)

    def test_an_instant_has_an_offset(self) -> None:
        with pytest.raises(InvalidInput, match="UTC offset"):
            cars_present(load(MARCH), "2019-03-04T10:00")


def test_a_replay_is_two_tables() -> None:
    result = replay(load(MARCH, start="2019-03-16", days=1), "equal_share")
    steps, stays = steps_frame(result), stays_frame(result)
    step_h = result.course.series.step_h
    assert steps["charging_kw"].sum() * step_h == pytest.approx(stays["delivered_kwh"].sum(), abs=1e-6)
    assert stays["requested_kwh"].sum() == pytest.approx(result.figures.requested_kwh)
    free = steps_frame(result, result.uncontrolled)
    assert free["grid_import_kw"].max() == pytest.approx(result.baselines.uncontrolled.bill.peak_kw)


def test_a_sweep_is_a_table() -> None:
    table = sweep_frame(
        MARCH, {"battery.capacity_kwh": [0, 40]}, "offline_optimum", start="2019-03-16", days=1, workers=1
    )
    assert table["battery.capacity_kwh"].tolist() == [0, 40]
    assert table["total_cost"].is_monotonic_decreasing


def test_a_sweep_with_a_failure_is_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    from scenarios.sweep import SweepRow, SweepTask

    def fails(tasks: tuple[SweepTask, ...], _workers: object) -> list[SweepRow]:
        return [SweepRow(0, tasks[0].point, tasks[0].key, {}, 3, "no luck")]

    monkeypatch.setattr("scenarios.whatif.sweep", fails)
    with pytest.raises(ChargeHorizonError, match=r"battery.*could not be replayed: no luck"):
        sweep_frame(MARCH, {"battery.capacity_kwh": [0]}, "offline_optimum", start="2019-03-16", days=1, workers=1)
