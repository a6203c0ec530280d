"""The study of a year's memory repeats what it says and looks when it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from scenarios.scenario import Scenario
from scenarios.scenario_files import catalogue_path, load_scenario
from scenarios.studies.year_memory import ROUND, SITE, STRATEGY, memory_over, repeated


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """The first two stays of the month, four weeks of it."""
    whole = load_scenario(catalogue_path(SITE))
    return replace(whole, stays=whole.stays[:2], end=whole.start + ROUND)


def test_stays_come_again_every_four_weeks(scenario: Scenario) -> None:
    twice = repeated(scenario, 2)
    first, _, again, _ = twice.stays
    assert twice.end - twice.start == 2 * ROUND
    assert again.session.arrived_at - first.session.arrived_at == timedelta(days=28)
    assert again.session.departed_at - first.session.departed_at == timedelta(days=28)
    assert again.told[0].targets[0].depart_at - first.told[0].targets[0].depart_at == timedelta(days=28)
    assert len({stay.id for stay in twice.stays}) == 4


def test_memory_is_looked_at_after_every_round(scenario: Scenario) -> None:
    rows = memory_over(scenario, STRATEGY, 2)
    assert [row.days for row in rows] == [28, 56]
    assert all(row.memory_mib > 10.0 for row in rows)
