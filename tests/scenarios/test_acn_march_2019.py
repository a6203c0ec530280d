"""The month on which figures are published: the Caltech garage in March 2019, 954 sessions."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scenarios.metrics import figures_of
from scenarios.replay import Bounds, bounds_of
from scenarios.runner import run_course
from scenarios.scenario_files import catalogue_path, load_scenario
from scenarios.strategies import MILP


@pytest.fixture(scope="module")
def bounds() -> Bounds:
    return bounds_of(load_scenario(catalogue_path("acn_caltech_2019_03")))


def test_uncontrolled_is_as_published(bounds: Bounds) -> None:
    figures = bounds.baselines.uncontrolled
    assert figures.sessions == 954
    assert figures.delivered_share == pytest.approx(0.99884, abs=2e-4)
    assert float(figures.bill.total_cost) == pytest.approx(2195.4, abs=2.0)


def test_the_offline_optimum_is_as_published(bounds: Bounds) -> None:
    figures = bounds.baselines.offline_optimum
    assert figures.delivered_share == pytest.approx(0.99884, abs=2e-4)
    assert float(figures.bill.total_cost) == pytest.approx(1175.9, abs=2.0)


def test_a_busy_monday_is_lived_through_at_little_more_than_the_peak_it_needs() -> None:
    """The first Monday needs 30 kW with perfect foresight; one working day and a weekend are all that is known."""
    month = load_scenario(catalogue_path("acn_caltech_2019_03"))
    monday = month.start + timedelta(days=3)
    day = month.between(monday, monday + timedelta(days=1))
    assert len(day.earlier) > 50
    course = run_course(day, MILP)
    figures = figures_of(course, day)
    assert float(course.series.import_kwh.max()) * 12 < 36.5
    assert figures.delivered_share > 0.998
    assert figures.limit_violations == 0


@pytest.mark.study
def test_the_month_comes_within_four_and_a_half_percent_of_the_optimum(bounds: Bounds) -> None:
    month = load_scenario(catalogue_path("acn_caltech_2019_03"))
    figures = figures_of(run_course(month, MILP), month)
    optimum = float(bounds.baselines.offline_optimum.bill.total_cost)
    assert float(figures.bill.total_cost) <= 1.044 * optimum
    assert figures.delivered_share >= 0.9985
    assert figures.limit_violations == 0
