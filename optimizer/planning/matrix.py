"""Writes the laws as sparse blocks of numpy arrays: the model that HiGHS gets."""

from __future__ import annotations

from optimizer.planning.laws import LAWS
from optimizer.planning.model import LinearModel, ModelBuilder
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.scope import ModelScope, linear_scope


def build_model(problem: ChargingProblem, scope: ModelScope | None = None) -> LinearModel:
    """Return the model of ``problem``, with the whole numbers that ``scope`` asks for; without one, none."""
    chosen = scope if scope is not None else linear_scope(problem)
    build = ModelBuilder()
    for law in LAWS.values():
        law(build, problem, chosen)
    return build.finish()
