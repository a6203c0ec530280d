"""The month on which figures are published: the Caltech garage in March 2019, 954 sessions."""

from __future__ import annotations

import pytest

from scenarios.replay import Bounds, bounds_of
from scenarios.scenario_files import catalogue_path, load_scenario


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
