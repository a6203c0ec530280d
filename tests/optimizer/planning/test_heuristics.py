"""Who is asked first and how much is given at a time, rule by rule, on one garage of three vehicles."""

from __future__ import annotations

import pytest
from planning_cases import ONE_PHASE, ROOT, THREE_PHASE, hours, problem, request

from optimizer.domain.plan import Plan
from optimizer.domain.session import PriorityTier
from optimizer.domain.site import Circuit, Phase
from optimizer.planning.heuristics import FALLBACK, HEURISTICS
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.requests import PhaseMode
from optimizer.planning.verify import violations


def garage(limit_kw: float = 7.36) -> ChargingProblem:
    """Three vehicles on 7.36 kW: the first came last, the second leaves first, the third has least time for its need."""
    cars = [
        request("last_come", 8.0, 4, arrive_at=hours(-1)),
        request("first_gone", 5.0, 2, arrive_at=hours(-2)),
        request("most_needy", 21.0, 3, arrive_at=hours(-3)),
    ]
    return problem(cars, limit_kw=limit_kw)


def first_slot_kw(plan: Plan) -> dict[str, float]:
    return {str(session.session_id): round(session.power_kw[0], 2) for session in plan.sessions}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("uncontrolled", {"last_come": 7.36, "first_gone": 5.0, "most_needy": 7.36}, id="all at once"),
        pytest.param("first_come", {"last_come": 0.0, "first_gone": 0.0, "most_needy": 7.36}, id="by arrival"),
        pytest.param(
            "earliest_departure", {"last_come": 0.0, "first_gone": 5.0, "most_needy": 2.36}, id="by departure"
        ),
        pytest.param("least_laxity", {"last_come": 0.0, "first_gone": 0.0, "most_needy": 7.36}, id="by laxity"),
        pytest.param("equal_share", {"last_come": 2.45, "first_gone": 2.45, "most_needy": 2.45}, id="alike"),
    ],
)
def test_who_gets_how_much_in_the_first_slot(name: str, expected: dict[str, float]) -> None:
    assert first_slot_kw(HEURISTICS[name](garage())) == expected


def test_in_turn_everyone_gets_steps_until_the_wire_is_full() -> None:
    given = first_slot_kw(HEURISTICS["round_robin"](garage()))
    assert sum(given.values()) == pytest.approx(7.36, abs=0.24)
    assert max(given.values()) - min(given.values()) <= 0.24


@pytest.mark.parametrize("name", ["first_come", "earliest_departure", "least_laxity"])
def test_a_higher_tier_goes_first_whatever_the_rule(name: str) -> None:
    cars = [
        request("plain", 20.0, 3, arrive_at=hours(-3)),
        request("reserved", 7.0, 4, arrive_at=hours(-1), tier=PriorityTier.RESERVED),
    ]
    assert first_slot_kw(HEURISTICS[name](problem(cars, limit_kw=7.36)))["reserved"] >= 7.0


@pytest.mark.parametrize("name", [name for name in HEURISTICS if name != "uncontrolled"])
def test_powers_are_whole_steps_at_least_the_minimum(name: str) -> None:
    stepped = PhaseMode(16, current_step_a=1.0)
    cars = [request(f"car{number}", 20.0, 4, stepped) for number in range(3)]
    plan = HEURISTICS[name](problem(cars, limit_kw=13.0))
    steps = [power_kw / stepped.kw_per_a for session in plan.sessions for power_kw in session.power_kw if power_kw > 0]
    assert steps
    assert all(step == pytest.approx(round(step), abs=1e-6) and step >= 1.5 for step in steps)


@pytest.mark.parametrize("name", [name for name in HEURISTICS if name != "uncontrolled"])
def test_whole_steps_do_not_unbalance_the_phases(name: str) -> None:
    """Shares that are even and balanced are not any more once each is rounded down to its own station's step."""
    modes = [PhaseMode(32, (phase,), current_step_a=step) for phase, step in zip(Phase, (0.0, 5.0, 7.0), strict=True)]
    cars = [request(f"car{number}", 12.0, 4, mode) for number, mode in enumerate(modes)]
    of = problem(cars, circuits=[Circuit(ROOT, None, limit_a=16.0, imbalance_limit_a=3.0)], minutes=15)
    assert violations(of, HEURISTICS[name](of)) == ()


def test_uncontrolled_is_the_one_that_breaks_limits_and_no_fallback() -> None:
    of = garage()
    broken = {violation.law for violation in violations(of, HEURISTICS["uncontrolled"](of))}
    assert broken == {"grid_limit"}
    assert FALLBACK == list(HEURISTICS)[-1] != "uncontrolled"


def test_the_three_phase_car_runs_on_one_phase_where_only_that_fits() -> None:
    switchable = (THREE_PHASE, PhaseMode(16, ONE_PHASE.phases))
    car = request("car", 6.0, 4, modes=switchable)
    plan = HEURISTICS["least_laxity"](problem([car], minutes=15, limit_kw=2.0))
    assert plan.sessions[0].phases_used[0] == 1
    assert plan.sessions[0].power_kw[0] == pytest.approx(2.0)
