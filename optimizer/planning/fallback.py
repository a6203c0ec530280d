"""The plan where the solver gives none: what was found or planned before, within every limit, else a heuristic.

the linear optimum is known      -> it is followed: as cheap as it was, in whole steps and above the minimums
a plan is in force               -> it is followed for the vehicles it knows
neither                          -> least laxity
"""

from __future__ import annotations

import numpy as np

from optimizer.domain.plan import Fallback, Plan, SolveFigures
from optimizer.planning.heuristics import FALLBACK, HEURISTICS, Handout, finished, laxity_key, ordered, wires_of
from optimizer.planning.laws.vehicle import promised_power_kw
from optimizer.planning.problem import BoolArray, ChargingProblem, FloatArray

LINEAR_OPTIMUM = "linear_optimum"
"""Name of the plan that follows the linear optimum."""

PLAN_IN_FORCE = "plan_in_force"
"""Name of the plan that follows the one before."""


def fallback_of(
    problem: ChargingProblem, reason: str, figures: SolveFigures, linear_kw: FloatArray | None = None
) -> Fallback:
    """Return the best plan that needs no solver.

    Args:
        problem: What was to be planned.
        reason: Why there is no better one.
        figures: Time spent so far.
        linear_kw: Powers of the linear optimum, where it was found, shape (sessions, slots) [kW].
    """
    sessions = problem.sessions
    if linear_kw is not None:
        known = np.ones(linear_kw.shape, dtype=bool)
        return Fallback(followed(problem, linear_kw, known), LINEAR_OPTIMUM, reason, figures)
    if sessions.has_previous.any():
        plan = followed(problem, np.maximum(sessions.previous_kw, 0.0), sessions.has_previous)
        return Fallback(plan, PLAN_IN_FORCE, reason, figures)
    return Fallback(HEURISTICS[FALLBACK](problem), FALLBACK, reason, figures)


def followed(problem: ChargingProblem, wanted_kw: FloatArray, known: BoolArray) -> Plan:
    """Follow given powers within every limit; what cannot be given in a slot is owed in the next.

    Who has least laxity goes first. A vehicle of which nothing is known, or that has no time left to lose, is given
    what the wires carry.

    Args:
        problem: What is planned.
        wanted_kw: Powers to follow, shape (sessions, slots).
        known: Where they say something, shape (sessions, slots).
    """
    laxity_h, promised_kw = laxity_key(problem), promised_power_kw(problem)
    handout = Handout(problem, wires_of(problem))
    owed_kwh = np.zeros(problem.sessions.count)
    for slot in range(problem.slot_count):
        hours = problem.sessions.plugged_h[:, slot]
        owed_kwh += np.where(known[:, slot], wanted_kw[:, slot], 0.0) * hours
        for session in ordered(handout, handout.begin(slot), laxity_h):
            urgent = laxity_h(handout, session) < problem.slot_h[slot]
            bound_kw = np.inf
            if known[session, slot] and not urgent:
                bound_kw = max(owed_kwh[session] / hours[session], promised_kw[session, slot])
            handout.serve(session, float(bound_kw))
        handout.end()
        owed_kwh = np.maximum(owed_kwh - handout.energy_kwh(slot), 0.0)
    return finished(handout)
