"""Carries the basis of an earlier solve over to a problem a little later: a vehicle more, a slot less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from optimizer.planning.highs import AT_LOWER, BASIC, Basis
from optimizer.planning.laws.vehicle import FAIRNESS_STEPS
from optimizer.planning.model import Block, LinearModel
from optimizer.planning.problem import ChargingProblem, IntArray

Places = dict[str, IntArray]
"""For each axis, the earlier index of each present member, -1 where it is new."""


@dataclass(frozen=True, eq=False)
class WarmStart:
    """Where a linear solve ended."""

    problem: ChargingProblem
    """What was planned."""
    model: LinearModel
    """Its model."""
    basis: Basis
    """The basis that its optimum was found at."""


class PlanMemory:
    """What one plan of a site leaves for the next one: where the linear problem ended.

    It only spares time. Without it, after a restart, the same problem costs the same; of plans that cost the same
    another one may be found.
    """

    def __init__(self) -> None:
        self._earlier: WarmStart | None = None

    def basis_for(self, problem: ChargingProblem, model: LinearModel) -> Basis | None:
        """Where to start the linear problem; ``None`` where nothing is remembered."""
        return carried_basis(self._earlier, problem, model) if self._earlier is not None else None

    def remember(self, problem: ChargingProblem, model: LinearModel, basis: Basis) -> None:
        """Keep where the linear problem ended."""
        self._earlier = WarmStart(problem, model, basis)


def carried_basis(earlier: WarmStart, problem: ChargingProblem, model: LinearModel) -> Basis:
    """Return the earlier basis for a model of a later problem; what is new stays at its bound.

    Columns and rows are known again by vehicle, circuit, charge and instant. The result need not be a basis in the
    strict sense; the solver completes it.
    """
    places = _places(earlier.problem, problem)
    sizes = _sizes(earlier.problem)
    columns = np.full(model.column_count, AT_LOWER, dtype=np.int64)
    rows = np.full(model.row_count, BASIC, dtype=np.int64)
    for blocks, before, status, known in (
        (model.columns, earlier.model.columns, columns, earlier.basis.columns),
        (model.rows, earlier.model.rows, rows, earlier.basis.rows),
    ):
        for name, block in blocks.items():
            if name in before and before[name].count and block.count:
                _carry(block, before[name], places, sizes, status, known)
    return Basis(columns, rows)


def _carry(
    block: Block, before: Block, places: Places, sizes: dict[str, int], status: IntArray, known: IntArray
) -> None:
    """Copy the statuses of the members of a block that stood in it before."""
    keys = [places[axis][key] for axis, key in zip(block.axes, block.keys, strict=True)]
    there = np.logical_and.reduce([key >= 0 for key in keys])
    index = before.grid(*(sizes[axis] for axis in before.axes))
    found = np.where(there, index[tuple(np.maximum(key, 0) for key in keys)], -1)
    status[block.span] = np.where(found >= 0, known[np.maximum(found, 0)], status[block.span])


def _places(before: ChargingProblem, after: ChargingProblem) -> Places:
    places = {axis: _known_again(old, new) for axis, (old, new) in _members(before, after).items()}
    places |= {axis: np.arange(count) for axis, count in (("p", 3), ("f", 2), ("q", FAIRNESS_STEPS), ("o", 1))}
    instants = np.array([boundary.timestamp() for boundary in before.boundaries])
    now = np.array([boundary.timestamp() for boundary in after.boundaries])
    boundary = np.searchsorted(instants, now, side="right") - 1
    places["b"] = np.where((boundary >= 0) & (now <= instants[-1]), boundary, -1)
    places["t"] = np.where(now[:-1] < instants[-1], boundary[:-1], -1)
    # A metering interval is known again by its last slot.
    last = _last_slots(before)
    of_charge = {(int(charge), int(slot)): place for place, (charge, slot) in enumerate(last)}
    places["i"] = np.array(
        [of_charge.get((int(places["d"][charge]), int(places["t"][slot])), -1) for charge, slot in _last_slots(after)],
        dtype=np.int64,
    )
    return places


def _members(before: ChargingProblem, after: ChargingProblem) -> dict[str, tuple[list[Any], list[Any]]]:
    """By what the members of each axis are known again, before and after."""
    found: list[dict[str, list[Any]]] = []
    for problem in (before, after):
        ids = problem.sessions.ids
        owner = problem.modes.session
        number = np.arange(len(owner)) - np.searchsorted(owner, owner)
        targets = problem.targets
        found.append(
            {
                "s": list(ids),
                "m": [(ids[session], turn) for session, turn in zip(owner.tolist(), number.tolist(), strict=True)],
                "k": [(ids[one], by) for one, by in zip(targets.session.tolist(), targets.depart_at, strict=True)],
                "c": list(problem.circuits.ids),
                "d": list(problem.demand.names),
            }
        )
    return {axis: (found[0][axis], found[1][axis]) for axis in found[0]}


def _last_slots(problem: ChargingProblem) -> list[tuple[int, int]]:
    """Charge and last slot of each metering interval."""
    share = problem.demand.slot_share > 0
    last = problem.slot_count - 1 - share[:, ::-1].argmax(axis=1) if share.size else np.zeros(0, dtype=np.int64)
    return list(zip(problem.demand.charge.tolist(), last.tolist(), strict=True))


def _known_again(old: list[Any], new: list[Any]) -> IntArray:
    place = {member: index for index, member in enumerate(old)}
    return np.array([place.get(member, -1) for member in new], dtype=np.int64)


def _sizes(problem: ChargingProblem) -> dict[str, int]:
    """Number of members of each axis."""
    return {
        "s": problem.sessions.count,
        "m": problem.modes.count,
        "k": problem.targets.count,
        "c": problem.circuits.count,
        "d": problem.demand.count,
        "i": len(problem.demand.charge),
        "t": problem.slot_count,
        "b": problem.slot_count + 1,
        "p": 3,
        "f": 2,
        "q": FAIRNESS_STEPS,
        "o": 1,
    }
