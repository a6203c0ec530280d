"""The family that speed is measured on, and that the measuring measures what it says."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from optimizer.planning.backends import plan_with
from optimizer.planning.verify import violations
from scenarios.bench import SETTINGS, SITE_SHARE, BenchCase, bench_problem, measured, memory_over_many_plans


@pytest.mark.parametrize("case", BenchCase)
def test_the_same_seed_gives_the_same_problem(case: BenchCase) -> None:
    one, other = bench_problem(case, 12, seed=4), bench_problem(case, 12, seed=4)
    assert np.array_equal(one.targets.need_kwh, other.targets.need_kwh)
    assert np.array_equal(one.supply.import_price_per_kwh, other.supply.import_price_per_kwh)
    assert not np.array_equal(one.targets.need_kwh, bench_problem(case, 12, seed=5).targets.need_kwh)


@pytest.mark.parametrize("case", BenchCase)
@pytest.mark.parametrize("connectors", [10, 60])
def test_every_problem_can_be_planned_and_keeps_every_law(case: BenchCase, connectors: int) -> None:
    problem = bench_problem(case, connectors, seed=1)
    settings = SETTINGS[case]
    plan = plan_with(problem, settings).plan
    laws = {str(violation).partition(":")[0] for violation in violations(problem, plan)}
    assert laws <= ({"minimum_current"} if case is BenchCase.LP else set())


def test_the_site_limit_binds_and_no_two_prices_are_alike() -> None:
    problem = bench_problem(BenchCase.LP, 60, seed=2)
    plan = plan_with(problem, SETTINGS[BenchCase.LP]).plan
    limit_kw = problem.circuits.limit_kw[0, 0]
    assert limit_kw == pytest.approx(SITE_SHARE * problem.modes.max_kw.max(axis=1).sum())
    assert max(plan.grid_import_kw) == pytest.approx(limit_kw)
    assert len(set(problem.supply.import_price_per_kwh.tolist())) == problem.slot_count == 96


def test_everything_is_on_where_it_says_so() -> None:
    problem = bench_problem(BenchCase.EVERYTHING, 60, seed=1)
    depth = problem.circuits.above.sum(axis=0).max()
    assert depth == 3
    assert problem.battery is not None
    assert problem.supply.pv_kw.any()
    assert problem.demand.count == 1
    assert np.isfinite(problem.sessions.knee_kwh).any()
    assert problem.sessions.has_previous.any()
    assert (problem.modes.step_kw > 0).all()
    assert set(problem.modes.on_phase.sum(axis=1).tolist()) == {1, 3}


def test_one_plug_in_adds_one_vehicle_and_changes_nothing_else() -> None:
    before = bench_problem(BenchCase.LP, 12, seed=1, present=11)
    after = bench_problem(BenchCase.LP, 12, seed=1)
    assert after.sessions.ids[:-1] == before.sessions.ids
    assert np.array_equal(before.circuits.limit_kw, after.circuits.limit_kw)
    assert np.array_equal(before.supply.import_price_per_kwh, after.supply.import_price_per_kwh)


def test_a_row_holds_what_was_measured() -> None:
    steps: list[int] = []
    rows = list(measured([BenchCase.LP], [3], runs=2, pyomo_up_to=3, on_step=lambda: steps.append(1)))
    rows += measured([BenchCase.MINIMUM_CURRENT, BenchCase.EVERYTHING], [3], runs=2, pyomo_up_to=2)
    assert [row.case for row in rows] == list(BenchCase)
    assert len(steps) == 2
    for row in rows:
        assert row.connectors == 3
        assert row.runs == 2
        assert row.fallbacks == 0
        assert 0.0 <= row.gap < 1.0
        assert 0.0 < row.total_s <= row.slowest_s
        assert (row.pyomo_s is not None) == (row.case is BenchCase.LP)
        assert min(row.alone_s, row.ratio, row.hot_ratio, row.memory_mb) > 0.0
    for smaller, larger in pairwise(rows):
        assert smaller.rows <= larger.rows


def test_memory_is_looked_at_after_a_tenth_and_after_all() -> None:
    report = memory_over_many_plans(12)
    assert report.plans == 12
    assert report.solves > report.plans
    assert report.early_mb > 0.0
    assert report.late_mb > 0.0
