"""A night of plans, five minutes apart: what a vehicle is told changes hardly ever where nothing has changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from planning_cases import NOW, evse_of, hours, session_of, snapshot

from optimizer.domain.charger import ConnectorStatus
from optimizer.domain.plan import Plan
from optimizer.domain.series import PriceSeries
from optimizer.domain.session import DepartureTarget, Session
from optimizer.planning.assemble import problem_from_snapshot
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.solve import plan_charging

SOLVES = 21
MOST_CHANGES = 3
STEP = timedelta(minutes=5)
SAME_KW = 0.05


class Night:
    """A garage whose vehicles draw what they are told, times how exactly they keep to it."""

    def __init__(self, count: int, *, seed: int, kept: float = 1.0, **site: Any) -> None:
        rng = np.random.default_rng(seed)
        self._evses = [evse_of(f"e{index}") for index in range(count)]
        self._sessions = [self._session(rng, index) for index in range(count)]
        self._charging = [False] * count
        self._kept, self._site = kept, site
        self._plan: Plan | None = None
        self.told_kw: list[list[float]] = [[] for _ in range(count)]

    @staticmethod
    def _session(rng: np.random.Generator, index: int) -> Session:
        leaves = hours(float(rng.uniform(8, 11)))
        target = DepartureTarget(leaves, energy_kwh=float(rng.uniform(8, 35)))
        return session_of(f"car{index}", f"e{index}", targets=(target,))

    def live(self, solves: int = SOLVES) -> None:
        for number in range(solves):
            self._step(NOW + number * STEP)

    def _step(self, at: Any) -> None:
        of = snapshot(self._sessions, evses=self._evses, at=at, previous_plan=self._plan, **self._site)
        connectors = tuple(
            replace(one, status=ConnectorStatus.CHARGING if charging else ConnectorStatus.SUSPENDED_BY_EVSE)
            for one, charging in zip(of.connectors, self._charging, strict=True)
        )
        problem = problem_from_snapshot(replace(of, connectors=connectors), PlanningSettings())
        self._plan = plan_charging(problem).plan
        for index, session in enumerate(self._sessions):
            planned = self._plan.session_plan(session.id)
            power_kw = planned.power_kw[0] if planned is not None else 0.0
            self.told_kw[index].append(power_kw)
            self._charging[index] = power_kw > 0
            gained_kwh = power_kw * self._kept * (STEP / timedelta(hours=1))
            self._sessions[index] = replace(session, energy_kwh=session.energy_kwh + gained_kwh)

    @property
    def changes(self) -> list[int]:
        """How often the command of each vehicle changed."""
        return [int((np.abs(np.diff(told)) > SAME_KW).sum()) for told in self.told_kw]


def falling_price(in_hours: float) -> PriceSeries:
    boundaries = (NOW - timedelta(hours=1), hours(in_hours), NOW + timedelta(days=2))
    return PriceSeries("EUR", boundaries, (Decimal("0.30"), Decimal("0.22")))


TWO_PRICES, CHEAPER_IN_AN_HOUR = falling_price(3.0), falling_price(1.0)


@pytest.mark.parametrize(
    ("count", "kept", "seed", "site"),
    [
        pytest.param(1, 1.0, 3, {}, id="one vehicle"),
        pytest.param(4, 1.0, 2, {}, id="four vehicles, room for all"),
        pytest.param(8, 1.0, 2, {"import_limit_kw": 25.0}, id="eight vehicles on 20 kW"),
        pytest.param(8, 1.0, 1, {"import_limit_kw": 40.0}, id="eight vehicles on 35 kW"),
        pytest.param(8, 0.97, 3, {"import_limit_kw": 25.0}, id="eight vehicles that draw a little less than told"),
        pytest.param(
            6, 1.0, 2, {"import_prices": TWO_PRICES, "import_limit_kw": 40.0}, id="a cheaper price in three hours"
        ),
    ],
)
def test_commands_stay_as_they_are_through_a_flat_night(
    count: int, kept: float, seed: int, site: dict[str, Any]
) -> None:
    night = Night(count, seed=seed, kept=kept, **site)
    night.live()
    assert max(night.changes) <= MOST_CHANGES, night.told_kw


def test_a_command_changes_where_the_price_does() -> None:
    night = Night(1, seed=3, import_prices=CHEAPER_IN_AN_HOUR)
    night.live()
    assert night.told_kw[0][:11] == [0.0] * 11
    assert night.told_kw[0][13] > 0.0


@pytest.mark.study
@pytest.mark.parametrize(("count", "limit_kw"), [(1, 50.0), (4, 50.0), (8, 25.0), (8, 40.0), (12, 40.0)])
def test_commands_stay_as_they_are_through_many_flat_nights(count: int, limit_kw: float) -> None:
    for seed in range(1, 7):
        night = Night(count, seed=seed, import_limit_kw=limit_kw)
        night.live()
        assert max(night.changes) <= MOST_CHANGES, (seed, night.told_kw)
