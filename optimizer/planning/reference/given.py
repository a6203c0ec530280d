"""A charging problem by name: the arrays of `ChargingProblem` as mappings from names to numbers.

``given.modes.max_kw["car1", 3]`` is what ``problem.modes.max_kw[0, 3]`` is, so that a law reads like its equation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.planning.model import Labels, axis_labels
from optimizer.planning.problem import WHOLE_SLOT_H, BatteryState, ChargingProblem
from optimizer.planning.scope import ModelScope

Table = dict[Any, Any]
"""Values by name; the key is one name, or a tuple of names where there are several axes."""

PHASES = ("L1", "L2", "L3")

COUNTED_AXES = "tbiq"
"""Axes whose members have a number instead of a name: slots, boundaries, metering intervals, fairness steps."""


def keys_of(axes: str, labels: Labels) -> list[Any]:
    """The keys of a table over ``axes``, in the order of the array's entries."""
    members: list[list[Any]] = [
        list(range(len(labels[axis]))) if axis in COUNTED_AXES else list(labels[axis]) for axis in axes
    ]
    return members[0] if len(members) == 1 else list(product(*members))


def table(values: NDArray[Any], axes: str, labels: Labels) -> Table:
    """An array by name."""
    return dict(zip(keys_of(axes, labels), np.asarray(values).ravel().tolist(), strict=True))


class Named:
    """One part of a problem by name; iterating gives the names of its members.

    Args:
        part: Sessions, modes, targets, circuits, supply or demand of a problem.
        labels: Names of the members of each axis.
        axis: The part's own axis.
    """

    def __init__(self, part: object, labels: Labels, axis: str) -> None:
        self._part, self._labels = part, labels
        self._axes = {item.name: item.metadata.get("axes") for item in fields(part)}  # type: ignore[arg-type]
        self._members = keys_of(axis, labels)
        self._tables: dict[str, Table] = {}

    def __iter__(self) -> Iterator[Any]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        axes = self._axes.get(name)
        if axes is None:
            return getattr(self._part, name)
        if name not in self._tables:
            self._tables[name] = table(getattr(self._part, name), axes, self._labels)
        return self._tables[name]


class Given:
    """All that a problem states, by name."""

    def __init__(self, problem: ChargingProblem) -> None:
        self.problem = problem
        self.labels = axis_labels(problem)
        self.sessions = Named(problem.sessions, self.labels, "s")
        self.modes = Named(problem.modes, self.labels, "m")
        self.targets = Named(problem.targets, self.labels, "k")
        self.circuits = Named(problem.circuits, self.labels, "c")
        self.supply = Named(problem.supply, self.labels, "t")
        self.demand = Named(problem.demand, self.labels, "d")
        self.slots = range(problem.slot_count)
        self.boundaries = range(problem.slot_count + 1)
        self.intervals = range(len(problem.demand.charge))
        self.slot_h: list[float] = problem.slot_h.tolist()
        self.slot_start_h: list[float] = problem.slot_start_h.tolist()
        self.root: str = self.labels["c"][0]

    @property
    def battery(self) -> BatteryState | None:
        """The stationary battery."""
        return self.problem.battery

    @cached_property
    def due_kwh(self) -> dict[str, float]:
        """What the plan is to deliver of each target [kWh]."""
        return table(self.problem.targets.due_kwh, "k", self.labels)

    @cached_property
    def session_of(self) -> dict[str, str]:
        """The session of each mode."""
        names = self.labels["s"]
        return {m: names[session] for m, session in self.modes.session.items()}

    @cached_property
    def modes_of(self) -> dict[str, list[str]]:
        """The modes of each session."""
        modes: dict[str, list[str]] = {s: [] for s in self.sessions}
        for m, s in self.session_of.items():
            modes[s].append(m)
        return modes

    @cached_property
    def target_session(self) -> dict[str, str]:
        """The session of each target."""
        return {k: self.labels["s"][session] for k, session in self.targets.session.items()}

    @cached_property
    def circuit_of(self) -> dict[str, str]:
        """The circuit that feeds each session's EVSE."""
        return {s: self.labels["c"][circuit] for s, circuit in self.sessions.circuit.items()}

    @cached_property
    def above(self) -> dict[str, list[str]]:
        """Each circuit and those that feed it, up to the root."""
        names = self.labels["c"]
        chain: dict[str, list[str]] = {}
        for c, parent in self.circuits.parent.items():
            chain[c] = [c, *(chain[names[parent]] if parent >= 0 else ())]
        return chain

    @cached_property
    def sessions_below(self) -> dict[str, list[str]]:
        """The sessions that hang below each circuit, directly or through others."""
        below: dict[str, list[str]] = {c: [] for c in self.circuits}
        for s, feeder in self.circuit_of.items():
            for c in self.above[feeder]:
                below[c].append(s)
        return below

    @cached_property
    def modes_below(self) -> dict[str, list[str]]:
        """The modes that load each circuit."""
        return {c: [m for s in self.sessions_below[c] for m in self.modes_of[s]] for c in self.circuits}

    @cached_property
    def usable(self) -> dict[tuple[str, int], float]:
        """Where a mode can run at all, with the hours that its vehicle is there [h]."""
        plugged_h, max_kw, session_of = self.sessions.plugged_h, self.modes.max_kw, self.session_of
        return {
            (m, t): plugged_h[session_of[m], t]
            for m, t in product(self.modes, self.slots)
            if max_kw[m, t] > 0 and plugged_h[session_of[m], t] > 0
        }

    @cached_property
    def runs(self) -> dict[str, list[tuple[str, int]]]:
        """The usable pairs of mode and slot of each session."""
        pairs: dict[str, list[tuple[str, int]]] = {s: [] for s in self.sessions}
        for m, t in self.usable:
            pairs[self.session_of[m]].append((m, t))
        return pairs

    @cached_property
    def may_discharge(self) -> list[tuple[str, int]]:
        """Where a vehicle may discharge: with consent, a known battery, above its floor, there for all of the slot."""
        sessions = self.sessions
        willing = [
            s
            for s in sessions
            if sessions.most_discharge_kw[s] > 0
            and sessions.capacity_kwh[s] > 0
            and sessions.stored_kwh[s] >= sessions.discharge_floor_kwh[s]
        ]
        there_all_slot = {t: self.slot_h[t] - WHOLE_SLOT_H for t in self.slots}
        return [(s, t) for s, t in product(willing, self.slots) if sessions.plugged_h[s, t] >= there_all_slot[t]]

    @cached_property
    def discharging(self) -> frozenset[str]:
        """The sessions that may discharge at any time."""
        return frozenset(s for s, _ in self.may_discharge)

    @cached_property
    def net_loss(self) -> dict[str, float]:
        """Metered charging energy that one discharged kWh of each session costs."""
        sessions = self.sessions
        return {s: 1.0 / (sessions.charge_efficiency[s] * sessions.discharge_efficiency[s]) for s in sessions}

    @cached_property
    def greatest_vehicles_kw(self) -> Table:
        """Sum of the greatest powers of all modes below each circuit by circuit and slot [kW]."""
        most = dict.fromkeys(product(self.circuits, self.slots), 0.0)
        for c in self.circuits:
            for m in self.modes_below[c]:
                for t in self.slots:
                    if (m, t) in self.usable:
                        most[c, t] += self.modes.max_kw[m, t]
        return most


class GivenScope:
    """A model's scope by name: which pairs of names are decided in whole numbers."""

    def __init__(self, given: Given, scope: ModelScope) -> None:
        self.switched = _chosen(scope.switched, "mt", given.labels)
        self.stepped = _chosen(scope.stepped, "mt", given.labels)
        self.patterned = _chosen(scope.patterned, "s", given.labels)
        self.one_way_grid = _chosen(scope.one_way_grid, "t", given.labels)
        self.one_way_battery = _chosen(scope.one_way_battery, "t", given.labels)
        self.one_way_vehicle = _chosen(scope.one_way_vehicle, "st", given.labels)


def _chosen(where: NDArray[np.bool_], axes: str, labels: Labels) -> dict[Any, None]:
    """The names where something holds, in order."""
    return dict.fromkeys(key for key, holds in table(where, axes, labels).items() if holds)
