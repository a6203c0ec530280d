"""Starting the linear problem at everyone's cheapest slots: a basis, the same optimum, and fewer steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from generated_problems import rich_problem
from planning_cases import problem, request

from optimizer.planning.greedy import greedy_basis
from optimizer.planning.highs import AT_UPPER, BASIC, SolverModel
from optimizer.planning.matrix import build_model
from optimizer.planning.model import LinearModel
from optimizer.planning.objectives import Weights, whole_objective
from optimizer.planning.problem import ChargingProblem, FloatArray
from scenarios.bench import BenchCase, bench_problem


def stated(of: ChargingProblem) -> tuple[LinearModel, FloatArray]:
    model = build_model(of)
    return model, whole_objective(of, model, Weights(of))


def status(of: ChargingProblem, name: str) -> list[int]:
    model, cost = stated(of)
    block = model.columns[name]
    return greedy_basis(of, model, cost).columns[block.span].tolist()


def test_the_cheapest_slots_are_full_and_the_next_one_is_between() -> None:
    """16 kWh at 7.36 kW: the two cheapest hours whole, and of the next one a part."""
    prices = [0.4, 0.1, 0.3, 0.2]
    whole = status(problem([request("car", 16.0, 4.0)], slots=4, prices=prices), "power_kw")
    assert [place for place, one in enumerate(whole) if one == AT_UPPER] == [1, 3]
    assert [place for place, one in enumerate(whole) if one == BASIC] == [2]


def test_what_cannot_be_had_is_unserved_from_the_first_part_on() -> None:
    """20 kWh in two hours at 7.36 kW: 5.28 kWh lack, of four parts of 5 kWh the first whole, the second in part."""
    of = problem([request("car", 20.0, 2.0)], slots=2, prices=[0.1, 0.2])
    assert status(of, "power_kw") == [AT_UPPER, AT_UPPER]
    assert status(of, "unserved_kwh")[0] == AT_UPPER
    assert status(of, "unserved_kwh")[1] == BASIC


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda seed: bench_problem(BenchCase.LP, 20, seed), id="vehicles alone"),
        pytest.param(lambda seed: bench_problem(BenchCase.EVERYTHING, 20, seed), id="everything on"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_it_is_a_basis_from_which_the_optimum_takes_fewer_steps(
    make: Callable[[int], ChargingProblem], seed: int
) -> None:
    of = make(seed)
    model, cost = stated(of)
    basis = greedy_basis(of, model, cost)
    assert int((basis.columns == BASIC).sum() + (basis.rows == BASIC).sum()) == model.row_count
    cold, begun = SolverModel(model, cost), SolverModel(model, cost)
    begun.start_at(basis, near=False)
    far, soon = cold.solve(time_limit_s=10.0), begun.solve(time_limit_s=10.0)
    assert soon.objective == pytest.approx(far.objective, rel=1e-9)
    assert begun.steps < 0.7 * cold.steps


@pytest.mark.parametrize("seed", range(40))
def test_whatever_the_problem_the_optimum_is_the_same(seed: int) -> None:
    of = rich_problem(np.random.default_rng(seed))
    model, cost = stated(of)
    begun = SolverModel(model, cost)
    begun.start_at(greedy_basis(of, model, cost), near=False)
    soon, far = begun.solve(time_limit_s=10.0), SolverModel(model, cost).solve(time_limit_s=10.0)
    assert soon.end is far.end
    assert soon.objective == pytest.approx(far.objective, rel=1e-7, abs=1e-6)
