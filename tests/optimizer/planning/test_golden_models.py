"""One golden model a law: what a law states for a tiny problem is read here, and compared for ever after.

Where a law is changed on purpose, write the files again by ``make golden`` (it runs ``golden_models.py`` of this
folder) and read the difference before you commit it.
"""

from __future__ import annotations

import highspy
import pytest
from golden_models import FOLDER, Golden, goldens, lp_text

from optimizer.planning.highs import SolverModel
from optimizer.planning.laws import LAWS
from optimizer.planning.matrix import build_model
from optimizer.planning.model import ModelBuilder
from optimizer.planning.objectives import Weights, whole_objective
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.scope import ModelScope

GOLDENS = goldens()


def stated_by_each_law(problem: ChargingProblem, scope: ModelScope) -> dict[str, tuple[set[str], set[str]]]:
    """Names of the columns and of the rows that each law adds."""
    build, stated = ModelBuilder(), {}
    for name, law in LAWS.items():
        columns, rows = set(build.columns), set(build.rows)
        law(build, problem, scope)
        stated[name] = (
            {column for column, block in build.columns.items() if column not in columns and block.count},
            {row for row, block in build.rows.items() if row not in rows and block.count},
        )
    return stated


@pytest.mark.parametrize("name", GOLDENS)
def test_a_law_states_what_it_stated(name: str) -> None:
    assert lp_text(name, GOLDENS[name]) == (FOLDER / f"{name}.lp").read_text(encoding="utf-8")


def test_every_law_has_a_golden_model_and_every_file_a_law() -> None:
    assert {golden.law for golden in GOLDENS.values()} == set(LAWS)
    assert {path.stem for path in FOLDER.glob("*.lp")} == set(GOLDENS)


@pytest.mark.parametrize("name", GOLDENS)
def test_a_golden_model_is_about_its_law_and_small(name: str) -> None:
    golden = GOLDENS[name]
    columns, rows = stated_by_each_law(golden.problem, golden.scope(golden.problem))[golden.law]
    assert columns | rows
    assert golden.problem.slot_count <= 3


@pytest.mark.parametrize("name", GOLDENS)
def test_a_golden_file_has_the_optimum_of_the_matrix(name: str) -> None:
    golden = GOLDENS[name]
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    assert solver.readModel(str(FOLDER / f"{name}.lp")) == highspy.HighsStatus.kOk
    solver.run()
    assert solver.getObjectiveValue() == pytest.approx(_optimum(golden), rel=1e-6, abs=1e-6)


def _optimum(golden: Golden) -> float:
    model = build_model(golden.problem, golden.scope(golden.problem))
    cost = whole_objective(golden.problem, model, Weights(golden.problem))
    return SolverModel(model, cost).solve(time_limit_s=10.0).objective
