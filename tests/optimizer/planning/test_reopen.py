"""Vehicles that lose by the support are decided anew, at no one's cost and within every limit."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from planning_cases import NOW, ROOT, hours

from optimizer.domain.ids import EvseId, SessionId, SiteId
from optimizer.domain.site import Circuit
from optimizer.planning import stages
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.reopen import plan_cost, reopened
from optimizer.planning.requests import ChargingRequest, DemandTerm, EnergyNeed, PhaseMode, PlanPrices, SiteOutlook
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.solve import plan_charging
from optimizer.planning.solving import Found, Solving
from optimizer.planning.statement import charging_problem
from optimizer.planning.verify import violations


def crowded_garage(seed: int) -> ChargingProblem:
    """Nearly full cars that take a minimum or nothing and may start once, among others that need most of the wires."""
    rng = np.random.default_rng(seed)
    cars = []
    for number in range(10):
        nearly_full = number % 2 == 0
        mode = PhaseMode(32.0, current_step_a=1.0, max_power_kw=4.5 if nearly_full else np.inf)
        need = EnergyNeed(hours(float(rng.uniform(0.8, 2.0))), float(rng.uniform(3.0, 20.0)))
        cars.append(
            ChargingRequest(
                SessionId(f"car{number}"),
                EvseId(f"evse{number}"),
                ROOT,
                (mode,),
                (need,),
                most_kwh=1.5 if nearly_full else None,
                starts_left=1 if nearly_full else 5,
                charging_now=bool(rng.random() < 0.3),
                run_so_far_h=0.1,
            )
        )
    boundaries = [NOW + timedelta(minutes=5 * count) for count in range(31)]
    return charging_problem(
        SiteId("garage"),
        boundaries,
        cars,
        [Circuit(ROOT, None, limit_a=120.0)],
        SiteOutlook(rng.uniform(0.1, 0.3, 30).tolist()),
        demand=[DemandTerm("peak", 4.0, 20.0)],
        prices=PlanPrices(start_price=0.005, min_run_h=0.25),
    )


def test_who_loses_energy_or_runs_wrongly_is_decided_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    spared: list[float] = []

    def watched(solving: Solving, linear: Found, found: Found) -> Found:
        other = reopened(solving, linear, found)
        spared.append(plan_cost(solving, found) - plan_cost(solving, other))
        return other

    monkeypatch.setattr(stages, "reopened", watched)
    for seed in range(6):
        problem = crowded_garage(seed)
        plan = plan_charging(problem, PlanningSettings(proof_time_s=0.0)).plan
        assert not violations(problem, plan)
    assert min(spared) >= 0.0
    assert sum(saved > 1.0 for saved in spared) >= 2


def test_a_plan_in_which_nobody_loses_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    same: list[bool] = []

    def watched(solving: Solving, linear: Found, found: Found) -> Found:
        other = reopened(solving, linear, found)
        same.append(other is found)
        return other

    monkeypatch.setattr(stages, "reopened", watched)
    car = ChargingRequest(
        SessionId("car"), EvseId("evse"), ROOT, (PhaseMode(16.0),), (EnergyNeed(hours(3.0), 8.0),)
    )  # fmt: skip
    boundaries = [NOW + timedelta(hours=count) for count in range(5)]
    outlook = SiteOutlook([0.3, 0.1, 0.2, 0.4])
    plan_charging(charging_problem(SiteId("garage"), boundaries, [car], [Circuit(ROOT, None)], outlook))
    assert same == [True]
