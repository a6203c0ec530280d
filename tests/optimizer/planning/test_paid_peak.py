"""Under a paid peak the near slots take all the room that there is, and not a step more."""

from __future__ import annotations

import numpy as np
import pytest
from planning_cases import problem, request
from test_reopen import crowded_garage

from optimizer.domain.site import Phase
from optimizer.planning import stages
from optimizer.planning.heuristics import Wires, wires_of
from optimizer.planning.near import settled
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.reopen import plan_cost
from optimizer.planning.requests import DemandTerm, PhaseMode
from optimizer.planning.rounding import power_of
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.solve import plan_charging
from optimizer.planning.solving import Found, Held, Solving

WHOLE_AMPERES = PhaseMode(32.0, (Phase.L1,), current_step_a=1.0)
"""One phase at 230 V: steps of 0.23 kW."""


def two_cars(*, price_per_kw: float) -> ChargingProblem:
    """One that leaves after the first of four hours, one that stays for all of them."""
    cars = [request("leaves", 3.5, 1, WHOLE_AMPERES), request("stays", 8.0, 4, WHOLE_AMPERES)]
    return problem(cars, slots=4, demand=[DemandTerm("peak", price_per_kw, 7.0)] if price_per_kw else [])


@pytest.mark.parametrize(
    ("case", "price_per_kw", "sent_a"),
    [
        ("who leaves is rounded up, who stays gives way", 15.0, [16.0, 14.0]),
        ("nobody gives way where no peak is paid for", 0.0, [16.0, 15.0]),
    ],
)
def test_rounding_up_adds_nothing_to_a_paid_peak(case: str, price_per_kw: float, sent_a: list[float]) -> None:
    garage = two_cars(price_per_kw=price_per_kw)
    wanted_kw = np.zeros((2, 4))
    wanted_kw[:, 0] = 3.5
    wanted_kw[1, 1:] = 1.5
    given_kw = settled(garage, wanted_kw, wanted_kw > 0, wires_of(garage), near_slots=1)
    assert (given_kw[:, 0] / 0.23).tolist() == pytest.approx(sent_a), case


def test_room_that_decided_vehicles_leave_is_used_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    refilled = stages._refilled
    used: list[tuple[float, float]] = []

    def watched(solving: Solving, linear: Held, found: Found, wires: Wires) -> Found:
        other = refilled(solving, linear, found, wires)
        near = slice(0, solving.settings.near_slots)
        more_kw = [power_of(solving.problem, one.model, one.values)[:, near].sum() for one in (found, other)]
        used.append((plan_cost(solving, found) - plan_cost(solving, other), more_kw[1] - more_kw[0]))
        return other

    monkeypatch.setattr(stages, "_refilled", watched)
    for seed in range(12):
        plan_charging(crowded_garage(seed), PlanningSettings(proof_time_s=0.0, preferences=False))
    assert min(spared for spared, _ in used) >= 0.0
    assert any(more_kw > 0.1 for _, more_kw in used)
