"""Generated problems in which everything occurs that a problem can state, for comparing builders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from planning_cases import random_problem

from optimizer.planning.problem import ChargingProblem, DemandArrays
from optimizer.planning.scope import ModelScope, linear_scope, near_scope, whole_scope


def rich_problem(rng: np.random.Generator) -> ChargingProblem:
    """A random problem with a plan in force, departure risk, carbon, several demand charges and limits below the root."""
    problem = random_problem(rng)
    sessions, circuits, supply = problem.sessions, problem.circuits, problem.supply
    per_session = (sessions.count, problem.slot_count)
    previous = np.zeros(per_session)
    if sessions.count and problem.modes.count:
        np.maximum.at(previous, problem.modes.session, problem.modes.max_kw)
    feed = np.array(circuits.feed_limit_kw)
    feed[1:] = np.where(rng.random(feed[1:].shape) < 0.3, 2.0, feed[1:])
    rich = replace(
        problem,
        sessions=replace(
            sessions,
            previous_kw=previous * rng.choice([0.0, 0.4, 1.0], per_session),
            has_previous=rng.random(per_session) < 0.7,
            stay_chance=np.sort(rng.random(per_session), axis=1)[:, ::-1],
        ),
        circuits=replace(circuits, feed_limit_kw=feed),
        supply=replace(supply, carbon_kg_per_kwh=rng.uniform(0, 0.6, problem.slot_count)),
        demand=_random_demand(rng, problem),
        carbon_price_per_kg=float(rng.choice([0.0, 0.1])),
        energy_worth_per_kwh=float(rng.choice([0.0, 0.5])),
    )
    delivered_kwh = np.where(rng.random(sessions.count) < 0.5, rng.uniform(0, 30, sessions.count), 0.0)
    return replace(rich, sessions=replace(rich.sessions, delivered_kwh=delivered_kwh))


def _random_demand(rng: np.random.Generator, problem: ChargingProblem) -> DemandArrays:
    charges, intervals = int(rng.integers(0, 3)), int(rng.integers(1, 5))
    share = rng.random((charges * intervals, problem.slot_count))
    return DemandArrays(
        names=("peak",) * charges,
        price_per_kw=rng.uniform(0, 10, charges),
        reached_kw=rng.uniform(0, 20, charges),
        charge=np.repeat(np.arange(charges), intervals),
        slot_share=np.where(share < 0.5, 0.0, share),
        metered_kw=rng.uniform(0, 5, charges * intervals),
    )


@st.composite
def scoped_problems(draw: st.DrawFn) -> tuple[ChargingProblem, ModelScope]:
    """A problem and what of it is decided in whole numbers: nothing, all, or the near slots and some vehicles."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    problem = rich_problem(rng)
    some = rng.random(problem.sessions.count) < 0.5
    scopes = {
        "linear": linear_scope(problem),
        "whole": whole_scope(problem),
        "near": near_scope(problem, int(rng.integers(0, 4)), some),
    }
    return problem, scopes[draw(st.sampled_from(sorted(scopes)))]
