"""Physics that every planner keeps, on generated problems with everything on at once."""

from __future__ import annotations

import numpy as np
import pytest
from generated_problems import rich_problem
from hypothesis import HealthCheck, given, settings
from planning_cases import problems, random_problem

from optimizer.domain.plan import Fallback, Plan, ProvenOptimal
from optimizer.planning.heuristics import HEURISTICS
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.solve import plan_charging
from optimizer.planning.verify import violations

GENERATED = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
QUICK = PlanningSettings(proof_time_s=0.2)


class PhysicsOfEveryPlanner:
    """Inherit it and say how a plan is made."""

    def plan(self, problem: ChargingProblem) -> Plan:
        raise NotImplementedError

    @GENERATED
    @given(problem=problems())
    def test_every_law_is_kept(self, problem: ChargingProblem) -> None:
        assert [str(violation) for violation in violations(problem, self.plan(problem))] == []

    @GENERATED
    @given(problem=problems())
    def test_nothing_flows_while_unplugged(self, problem: ChargingProblem) -> None:
        plan = self.plan(problem)
        for session, there in zip(plan.sessions, problem.sessions.plugged_h > 0, strict=True):
            assert not np.array(session.power_kw)[~there].any()

    @GENERATED
    @given(problem=problems())
    def test_rate_and_energy_stay_within_what_is_wanted(self, problem: ChargingProblem) -> None:
        plan = self.plan(problem)
        most_kw = np.zeros((problem.sessions.count, problem.slot_count))
        np.maximum.at(most_kw, problem.modes.session, problem.modes.max_kw)
        for index, session in enumerate(plan.sessions):
            assert (np.array(session.power_kw) <= most_kw[index] + 1e-6).all()
            gained_kwh = session.energy_kwh[-1] - session.energy_kwh[0]
            assert gained_kwh <= problem.sessions.most_kwh[index] + 1e-5

    @GENERATED
    @given(problem=problems())
    def test_a_plan_has_one_value_a_slot_and_one_energy_a_boundary(self, problem: ChargingProblem) -> None:
        plan = self.plan(problem)
        slots = problem.slot_count
        series = (plan.grid_import_kw, plan.grid_export_kw, plan.battery_kw, plan.pv_kw, plan.building_kw)
        assert {len(values) for values in series} == {slots}
        for session in plan.sessions:
            assert len(session.power_kw) == len(session.reasons) == slots
            assert len(session.energy_kwh) == slots + 1


class TestOptimiser(PhysicsOfEveryPlanner):
    def plan(self, problem: ChargingProblem) -> Plan:
        outcome = plan_charging(problem, QUICK)
        assert not isinstance(outcome, type(None))
        return outcome.plan


class TestEqualShare(PhysicsOfEveryPlanner):
    def plan(self, problem: ChargingProblem) -> Plan:
        return HEURISTICS["equal_share"](problem)


class TestRoundRobin(PhysicsOfEveryPlanner):
    def plan(self, problem: ChargingProblem) -> Plan:
        return HEURISTICS["round_robin"](problem)


class TestFirstCome(PhysicsOfEveryPlanner):
    def plan(self, problem: ChargingProblem) -> Plan:
        return HEURISTICS["first_come"](problem)


class TestEarliestDeparture(PhysicsOfEveryPlanner):
    def plan(self, problem: ChargingProblem) -> Plan:
        return HEURISTICS["earliest_departure"](problem)


class TestLeastLaxity(PhysicsOfEveryPlanner):
    def plan(self, problem: ChargingProblem) -> Plan:
        return HEURISTICS["least_laxity"](problem)


@pytest.mark.parametrize("block", range(3))
def test_the_optimum_is_proven_on_small_problems(block: int) -> None:
    for seed in range(block * 10, block * 10 + 10):
        problem = random_problem(np.random.default_rng(seed))
        assert isinstance(plan_charging(problem, PlanningSettings(proof_time_s=5.0)), ProvenOptimal), seed


@pytest.mark.study
@pytest.mark.parametrize("block", range(20))
def test_every_planner_keeps_every_law_on_two_thousand_problems(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        problem = random_problem(np.random.default_rng(10_000 + seed))
        plans = {"optimiser": plan_charging(problem, QUICK).plan}
        plans |= {name: make(problem) for name, make in HEURISTICS.items() if name != "uncontrolled"}
        for name, plan in plans.items():
            assert [str(violation) for violation in violations(problem, plan)] == [], (seed, name)


@pytest.mark.study
@pytest.mark.parametrize("block", range(20))
def test_every_law_is_kept_whatever_the_operator_chooses(block: int) -> None:
    """Problems with everything that can be stated, under several lengths of the near slots, with care and without."""
    for seed in range(block * 50, block * 50 + 50):
        problem = rich_problem(np.random.default_rng(30_000 + seed))
        chosen = PlanningSettings(
            proof_time_s=0.2,
            near_slots=(0, 1, 2, 4, 8)[seed % 5],
            preferences=seed % 3 > 0,
            departure_care=seed % 2 / 2,
        )
        outcome = plan_charging(problem, chosen)
        assert not isinstance(outcome, Fallback), (seed, outcome.reason)
        assert [str(violation) for violation in violations(problem, outcome.plan)] == [], seed
