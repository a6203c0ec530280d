"""Laws of on and off: the minimum current, whole steps, starts and pauses."""

from __future__ import annotations

import numpy as np

from optimizer.planning.model import Block, ModelBuilder
from optimizer.planning.problem import BoolArray, ChargingProblem, FloatArray, IntArray
from optimizer.planning.scope import ModelScope


def minimum_current(build: ModelBuilder, problem: ChargingProblem, scope: ModelScope) -> None:
    """State that a vehicle draws nothing or at least its minimum, and near slots in whole steps.

    Column ``on[m,t]``, binary, for switched pairs; rows ``least_power[m,t]``: ``power_kw >= least_kw * on`` and
    ``most_power[m,t]``: ``power_kw <= max_kw * on``, where ``least_kw`` is ``min_kw``, or 0 for a vehicle that may
    taper and thus draw less by itself, but for stepped pairs: what is sent is never below the minimum.
    Where a session has several modes, ``one_mode_on[s,t]``: at most one of them is on. Column ``steps[m,t]``, whole,
    for stepped pairs; row ``whole_steps[m,t]``: ``power_kw = step_kw * steps``. A vehicle that may discharge does not
    while it is on: ``discharge_while_on[s,t]``: ``discharge_kw <= most_discharge_kw * (1 - on)``, summed over modes.
    """
    if not scope.switched.any():
        return
    power = build.columns["power_kw"]
    mode, slot = power.keys
    switched = scope.switched[mode, slot]
    column, mode, slot = power.indices[switched], mode[switched], slot[switched]
    on = build.add_columns("on", "mt", (mode, slot), 0.0, 1.0, integer=True)
    least = build.add_rows("least_power", "mt", (mode, slot), 0.0, np.inf)
    build.add_entries(least.indices, column, 1.0)
    build.add_entries(least.indices, on.indices, -least_power_kw(problem, scope.stepped)[mode, slot])
    most = build.add_rows("most_power", "mt", (mode, slot), -np.inf, 0.0)
    build.add_entries(most.indices, column, 1.0)
    build.add_entries(most.indices, on.indices, -problem.modes.max_kw[mode, slot])
    shared = problem.mode_count_of[problem.modes.session[mode]] > 1
    if shared.any():
        session = problem.modes.session[mode[shared]]
        pairs, place = np.unique(np.stack((session, slot[shared])), axis=1, return_inverse=True)
        rows = build.add_rows("one_mode_on", "st", (pairs[0], pairs[1]), -np.inf, 1.0)
        build.add_entries(rows.first + place.ravel(), on.indices[shared], 1.0)
    _whole_steps(build, problem, scope, (mode, slot), column)
    _discharge_while_on(build, problem, on)


def _discharge_while_on(build: ModelBuilder, problem: ChargingProblem, on: Block) -> None:
    shape = (problem.sessions.count, problem.slot_count)
    discharge = build.columns["discharge_kw"].grid(*shape)
    session, slot = problem.modes.session[on.keys[0]], on.keys[1]
    bound = np.zeros(shape, dtype=bool)
    bound[session, slot] = True
    vehicle, when = np.nonzero(bound & (discharge >= 0))
    if not len(vehicle):
        return
    most_kw = problem.sessions.most_discharge_kw
    rows = build.add_rows("discharge_while_on", "st", (vehicle, when), -np.inf, most_kw[vehicle])
    build.add_entries(rows.indices, discharge[vehicle, when], 1.0)
    row_of = rows.grid(*shape)[session, slot]
    held = row_of >= 0
    build.add_entries(row_of[held], on.indices[held], most_kw[session[held]])


def least_power_kw(problem: ChargingProblem, stepped: BoolArray) -> FloatArray:
    """Least power of a pair that is on [kW], shape (modes, slots)."""
    tapers = problem.sessions.has_state & np.isfinite(problem.sessions.knee_kwh)
    return np.where(tapers[problem.modes.session][:, None] & ~stepped, 0.0, problem.modes.min_kw)


def _whole_steps(
    build: ModelBuilder, problem: ChargingProblem, scope: ModelScope, pairs: tuple[IntArray, IntArray], column: IntArray
) -> None:
    mode, slot = pairs
    stepped = scope.stepped[mode, slot] & (problem.modes.step_kw[mode] > 0)
    if not stepped.any():
        return
    mode, slot = mode[stepped], slot[stepped]
    step_kw = problem.modes.step_kw[mode]
    most = np.floor(problem.modes.max_kw[mode, slot] / step_kw + 1e-6)
    steps = build.add_columns("steps", "mt", (mode, slot), 0.0, most, integer=True)
    rows = build.add_rows("whole_steps", "mt", (mode, slot), 0.0, 0.0)
    build.add_entries(rows.indices, column[stepped], 1.0)
    build.add_entries(rows.indices, steps.indices, -step_kw)


def run_pattern(build: ModelBuilder, problem: ChargingProblem, scope: ModelScope) -> None:
    """State how often and for how long a vehicle runs.

    Columns ``start[s,t]`` in [0, 1] where a session is switched in ``t`` and in the slot before (or ``t`` is its
    first), ``short_run[s]`` in [0, 1] and ``extra_starts[s]``; both are soft, so that no limit can contradict them.
    Rows ``started[s,t]``: ``start >= on[s,t] - on[s,t-1]``, before the first slot whether it charges now;
    ``shortest_run[s,t,u]``: ``on[s,u] + short_run[s] >= start[s,t]`` for slots u that begin within ``min_run_h`` of the
    start of t, and ``on[s,u] + short_run[s] >= 1`` while a run that goes on is shorter than that;
    ``most_starts[s]``: sum over t of ``start`` less ``extra_starts[s]`` is at most ``starts_left[s]``.
    """
    on = build.columns.get("on")
    if on is None or not scope.patterned.any():
        return
    on_mode, on_slot = on.keys
    on_session = problem.modes.session[on_mode]
    counted = np.zeros((problem.sessions.count, problem.slot_count), dtype=bool)
    counted[on_session, on_slot] = True
    there = problem.sessions.plugged_h > 0
    first = np.where(there.any(axis=1), there.argmax(axis=1), -1)
    follows = np.zeros_like(counted)
    follows[:, 1:] = counted[:, :-1]
    follows[first >= 0, first[first >= 0]] = True
    session, slot = np.nonzero(counted & follows & scope.patterned[:, None])
    if not len(session):
        return
    start = build.add_columns("start", "st", (session, slot), 0.0, 1.0)
    before_now = np.where((slot == 0) & problem.sessions.charging_now[session], 1.0, 0.0)
    rows = build.add_rows("started", "st", (session, slot), -before_now, np.inf)
    build.add_entries(rows.indices, start.indices, 1.0)
    row_of = rows.grid(problem.sessions.count, problem.slot_count)
    _on_entries(build, on, on_session, row_of, 0, -1.0)
    _on_entries(build, on, on_session, row_of, 1, 1.0)
    _most_starts(build, problem, start)
    if problem.min_run_h > 0:
        _shortest_run(build, problem, start, counted)


def _on_entries(
    build: ModelBuilder, on: Block, on_session: IntArray, row_of: IntArray, later: int, value: float
) -> None:
    """Put ``value`` of each ``on`` into the row of its session and the slot ``later`` slots after its own."""
    slot = on.keys[1] + later
    inside = slot < row_of.shape[1]
    row = np.where(inside, row_of[on_session, np.where(inside, slot, 0)], -1)
    build.add_entries(row[row >= 0], on.indices[row >= 0], value)


def _most_starts(build: ModelBuilder, problem: ChargingProblem, start: Block) -> None:
    sessions, place = np.unique(start.keys[0], return_inverse=True)
    counts = np.bincount(place)
    bounded = counts > problem.sessions.starts_left[sessions]
    if not bounded.any():
        return
    kept = sessions[bounded]
    extra = build.add_columns("extra_starts", "s", (kept,), 0.0, np.inf)
    rows = build.add_rows("most_starts", "s", (kept,), -np.inf, problem.sessions.starts_left[kept])
    row_of = rows.grid(problem.sessions.count)[start.keys[0]]
    build.add_entries(row_of[row_of >= 0], start.indices[row_of >= 0], 1.0)
    build.add_entries(rows.indices, extra.indices, -1.0)


def _shortest_run(build: ModelBuilder, problem: ChargingProblem, start: Block, counted: np.ndarray) -> None:
    """Rows that keep a run at its shortest length; see ``run_pattern``."""
    session, slot = start.keys
    begins = problem.slot_start_h
    keys: list[tuple[int, int, int]] = []
    starts: list[int] = []
    for place, (vehicle, when) in enumerate(zip(session.tolist(), slot.tolist(), strict=True)):
        later = np.flatnonzero(
            (begins > begins[when]) & (begins < begins[when] + problem.min_run_h - 1e-9) & counted[vehicle]
        )
        keys.extend((vehicle, when, int(until)) for until in later)
        starts.extend([start.first + place] * len(later))
    running = problem.sessions.charging_now & (problem.sessions.run_so_far_h < problem.min_run_h)
    for vehicle in np.flatnonzero(running).tolist():
        rest_h = problem.min_run_h - problem.sessions.run_so_far_h[vehicle]
        later = np.flatnonzero((begins < rest_h - 1e-9) & counted[vehicle])
        keys.extend((vehicle, int(until), int(until)) for until in later)
        starts.extend([-1] * len(later))
    if not keys:
        return
    key = np.array(keys, dtype=np.int64).T
    start_column = np.array(starts, dtype=np.int64)
    short = build.add_columns("short_run", "s", (np.unique(key[0]),), 0.0, 1.0).grid(problem.sessions.count)
    rows = build.add_rows("shortest_run", "stt", (key[0], key[1], key[2]), np.where(start_column < 0, 1.0, 0.0), np.inf)
    build.add_entries(rows.indices, short[key[0]], 1.0)
    build.add_entries(rows.indices[start_column >= 0], start_column[start_column >= 0], -1.0)
    on = build.columns["on"]
    on_of = on.grid(problem.modes.count, problem.slot_count)
    for mode in range(problem.modes.count):
        own = problem.modes.session[mode] == key[0]
        column = on_of[mode, key[2]]
        held = own & (column >= 0)
        build.add_entries(rows.indices[held], column[held], 1.0)
