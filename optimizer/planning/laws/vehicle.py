"""Laws of one vehicle: its power, its energy, its targets, its battery, what was promised to it."""

from __future__ import annotations

import numpy as np

from optimizer.planning.model import Block, ModelBuilder
from optimizer.planning.problem import WHOLE_SLOT_H, BoolArray, ChargingProblem, FloatArray, IntArray
from optimizer.planning.scope import ModelScope

FAIRNESS_STEPS = 4
"""Parts into which a target's unserved energy is cut; later parts weigh more, so that it is shared among equals."""


def power_limit(build: ModelBuilder, problem: ChargingProblem, scope: ModelScope) -> None:
    """State that charging and discharging stay within EVSE, cable, vehicle and time-varying limits.

    Columns ``power_kw[m,t]`` in ``[0, max_kw[m,t]]`` where the vehicle is plugged in, ``discharge_kw[s,t]`` in
    ``[0, most_discharge_kw[s]]`` where it may discharge.

    Rows, where a session has several modes, and it draws on one at a time:
    ``one_mode[s,t]``: sum over its modes of ``power_kw[m,t] / max_kw[m,t] <= 1``;
    where a vehicle may discharge and burning energy would pay:
    ``charge_way[s,t]``: ``power_kw[m,t] <= max_kw[m,t] * vehicle_charging[s,t]``,
    ``discharge_way[s,t]``: ``discharge_kw[s,t] <= most_discharge_kw[s] * (1 - vehicle_charging[s,t])``.
    """
    mode, slot = np.nonzero(problem.usable)
    power = build.add_columns("power_kw", "mt", (mode, slot), 0.0, problem.modes.max_kw[mode, slot])
    session = problem.modes.session[mode]
    shared = problem.mode_count_of[session] > 1
    if shared.any():
        pairs, place = np.unique(np.stack((session[shared], slot[shared])), axis=1, return_inverse=True)
        rows = build.add_rows("one_mode", "st", (pairs[0], pairs[1]), -np.inf, 1.0)
        build.add_entries(
            rows.first + place.ravel(), power.indices[shared], 1.0 / problem.modes.max_kw[mode, slot][shared]
        )
    vehicle, when = np.nonzero(may_discharge(problem))
    build.add_columns("discharge_kw", "st", (vehicle, when), 0.0, problem.sessions.most_discharge_kw[vehicle])
    if scope.one_way_vehicle.any():
        _one_way_vehicle(build, problem, scope)


def may_discharge(problem: ChargingProblem) -> BoolArray:
    """Where a vehicle may discharge, shape (sessions, slots).

    A vehicle that is below its floor at the start does not discharge in this plan: it could otherwise be charged and
    discharged again below the floor. Nor does one in a slot in which it is not plugged in all the time: while it is
    away others would draw what it is to give.
    """
    sessions = problem.sessions
    above_floor = sessions.stored_kwh >= sessions.discharge_floor_kwh
    willing = (sessions.most_discharge_kw > 0) & (sessions.capacity_kwh > 0) & above_floor
    return np.asarray(willing[:, None] & (sessions.plugged_h >= problem.slot_h - WHOLE_SLOT_H))


def _one_way_vehicle(build: ModelBuilder, problem: ChargingProblem, scope: ModelScope) -> None:
    shape = (problem.sessions.count, problem.slot_count)
    discharge = build.column_grid("discharge_kw", *shape)
    vehicle, slot = np.nonzero(scope.one_way_vehicle & (discharge >= 0))
    way = build.add_columns("vehicle_charging", "st", (vehicle, slot), 0.0, 1.0, integer=True)
    most = problem.sessions.most_discharge_kw[vehicle]
    rows = build.add_rows("discharge_way", "st", (vehicle, slot), -np.inf, most)
    build.add_entries(rows.indices, discharge[vehicle, slot], 1.0)
    build.add_entries(rows.indices, way.indices, most)
    way_of = way.grid(*shape)
    power = build.columns["power_kw"]
    mode, when = power.keys
    bound = way_of[problem.modes.session[mode], when]
    held = bound >= 0
    mode, when = mode[held], when[held]
    rows = build.add_rows("charge_way", "mt", (mode, when), -np.inf, 0.0)
    build.add_entries(rows.indices, power.indices[held], 1.0)
    build.add_entries(rows.indices, bound[held], -problem.modes.max_kw[mode, when])


def net_loss(problem: ChargingProblem) -> FloatArray:
    """Metered charging energy that one discharged kWh costs, shape (sessions,)."""
    sessions = problem.sessions
    return np.asarray(1.0 / (sessions.charge_efficiency * sessions.discharge_efficiency))


def energy_balance(build: ModelBuilder, problem: ChargingProblem, scope: ModelScope) -> None:
    """State that stored energy changes by what is charged and discharged, and stays within what is wanted.

    Row ``energy_balance[s]``: sum over t of ``plugged_h * power_kw`` less ``plugged_h * discharge_kw / (charge and
    discharge efficiency)`` is at most ``most_kwh[s]``.

    Where content matters, column ``stored_kwh[s,b]`` between floor and capacity at the boundaries of
    ``followed_boundaries``, and row ``stored_energy[s,b]``: ``stored_kwh[s,b]`` is the content at the followed boundary
    before, or now, plus what is charged between (times ``charge_efficiency``), less what is discharged (over
    ``discharge_efficiency``). A content outside its bounds now moves the bound there.
    """
    del scope
    sessions, power, discharge = problem.sessions, build.columns["power_kw"], build.columns["discharge_kw"]
    mode, slot = power.keys
    session = problem.modes.session[mode]
    rows = build.add_rows("energy_balance", "s", (np.arange(sessions.count),), -np.inf, sessions.most_kwh)
    energy_h = problem.energy_h[mode, slot]
    build.add_entries(rows.first + session, power.indices, energy_h)
    vehicle, when = discharge.keys
    drawn_h = sessions.plugged_h[vehicle, when]
    build.add_entries(rows.first + vehicle, discharge.indices, -drawn_h * net_loss(problem)[vehicle])
    followed = followed_boundaries(problem)
    if not followed.any():
        return
    row_of = _stored_energy(build, problem, followed)
    own = row_of[session, slot] >= 0
    gained = energy_h[own] * sessions.charge_efficiency[session[own]]
    build.add_entries(row_of[session[own], slot[own]], power.indices[own], -gained)
    own = row_of[vehicle, when] >= 0
    lost = drawn_h[own] / sessions.discharge_efficiency[vehicle[own]]
    build.add_entries(row_of[vehicle[own], when[own]], discharge.indices[own], lost)


def followed_boundaries(problem: ChargingProblem) -> BoolArray:
    """Boundaries at which a vehicle's content must be known, shape (sessions, boundaries).

    With discharging all of its stay; with taper alone the starts of slots in which it may be or come above its knee.
    """
    sessions = problem.sessions
    there = sessions.plugged_h > 0
    followed = np.zeros((sessions.count, problem.slot_count + 1), dtype=bool)
    followed[:, :-1] = may_taper(problem)
    out = may_discharge(problem).any(axis=1)
    followed[out, :-1] |= there[out]
    followed[out, 1:] |= there[out]
    return followed


def may_taper(problem: ChargingProblem) -> BoolArray:
    """Where a vehicle may pass its knee by the end of the slot, shape (sessions, slots)."""
    sessions = problem.sessions
    knees = sessions.has_state & np.isfinite(sessions.knee_kwh) & (sessions.knee_kwh < sessions.capacity_kwh)
    if not knees.any():
        return np.zeros((sessions.count, problem.slot_count), dtype=bool)
    most_kw = problem.over_modes(np.maximum, problem.modes.max_kw)
    gained = np.cumsum(most_kw * sessions.plugged_h, axis=1) * sessions.charge_efficiency[:, None]
    highest = sessions.stored_kwh[:, None] + gained
    return np.asarray(knees[:, None] & (sessions.plugged_h > 0) & (highest > sessions.knee_kwh[:, None]))


def _stored_energy(build: ModelBuilder, problem: ChargingProblem, followed: BoolArray) -> IntArray:
    """Add the content columns and their rows; returns the row that each slot's energy enters, (sessions, slots)."""
    sessions = problem.sessions
    vehicle, boundary = np.nonzero(followed)
    lowest, highest = content_band(problem)
    now = boundary == 0
    lower = np.where(now, sessions.stored_kwh[vehicle], lowest[vehicle])
    upper = np.where(now, sessions.stored_kwh[vehicle], highest[vehicle])
    stored = build.add_columns("stored_kwh", "sb", (vehicle, boundary), lower, upper)
    later = ~now
    vehicle, boundary, column = vehicle[later], boundary[later], stored.indices[later]
    follows = np.zeros(len(vehicle), dtype=bool)
    follows[1:] = vehicle[1:] == vehicle[:-1]
    from_now = followed[vehicle, 0]
    known = np.where(follows | from_now, 0.0, sessions.stored_kwh[vehicle])
    rows = build.add_rows("stored_energy", "sb", (vehicle, boundary), known, known)
    build.add_entries(rows.indices, column, 1.0)
    build.add_entries(rows.indices[follows], column[np.flatnonzero(follows) - 1], -1.0)
    first = ~follows & from_now
    build.add_entries(rows.indices[first], stored.grid(*followed.shape)[vehicle[first], 0], -1.0)
    row_of = np.full(followed.shape, -1, dtype=np.int64)
    row_of[vehicle, boundary] = rows.indices
    for index in range(followed.shape[1] - 2, -1, -1):
        open_row = row_of[:, index] < 0
        row_of[open_row, index] = row_of[open_row, index + 1]
    return row_of[:, 1:]


def content_band(problem: ChargingProblem) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest content of each vehicle's battery [kWh], shapes (sessions,)."""
    sessions = problem.sessions
    floor = np.where(may_discharge(problem).any(axis=1), sessions.discharge_floor_kwh, 0.0)
    return np.minimum(floor, sessions.stored_kwh), np.maximum(sessions.capacity_kwh, sessions.stored_kwh)


def departure_target(build: ModelBuilder, problem: ChargingProblem, scope: ModelScope) -> None:
    """State that energy is delivered by a time; what cannot be is ``unserved_kwh``.

    Columns ``unserved_kwh[k,q]`` in ``[0, part_kwh[k,q]]``, one for each fairness step q, see `fairness_parts_kwh`.
    Row ``departure_target[k]``: sum over t of ``counted_h * power_kw`` less discharged energy with its losses, plus the
    sum over q of ``unserved_kwh[k,q]``, is at least ``due_kwh[k]``.
    """
    del scope
    targets = problem.targets
    wanted = np.flatnonzero(targets.due_kwh > 0)
    if not len(wanted):
        return
    target = np.repeat(wanted, FAIRNESS_STEPS)
    step = np.tile(np.arange(FAIRNESS_STEPS), len(wanted))
    unserved = build.add_columns("unserved_kwh", "kq", (target, step), 0.0, fairness_parts_kwh(problem)[wanted].ravel())
    rows = build.add_rows("departure_target", "k", (wanted,), targets.due_kwh[wanted], np.inf)
    build.add_entries(np.repeat(rows.indices, FAIRNESS_STEPS), unserved.indices, 1.0)
    for place in _rounds(targets.session[wanted]):
        row_of = np.full(problem.sessions.count, -1, dtype=np.int64)
        target_of = np.zeros(problem.sessions.count, dtype=np.int64)
        row_of[targets.session[wanted[place]]] = rows.indices[place]
        target_of[targets.session[wanted[place]]] = wanted[place]
        _target_entries(build, problem, row_of, target_of)


def fairness_parts_kwh(problem: ChargingProblem) -> FloatArray:
    """What is left of each equal part of a target, delivered energy included [kWh], shape (targets, steps).

    The later a part, the more it weighs, and what is delivered already took the heaviest: who has got little is served
    before who has got much, from plan to plan.
    """
    targets = problem.targets
    whole_kwh = problem.sessions.delivered_kwh[targets.session] + targets.due_kwh
    part_kwh = whole_kwh[:, None] / FAIRNESS_STEPS
    left_kwh = targets.due_kwh[:, None] - np.arange(FAIRNESS_STEPS) * part_kwh
    return np.asarray(np.clip(left_kwh, 0.0, part_kwh))


def _rounds(sessions: IntArray) -> list[IntArray]:
    """Places of the array in groups that name each session at most once."""
    left, groups = np.arange(len(sessions)), []
    while len(left):
        _, first = np.unique(sessions[left], return_index=True)
        groups.append(left[np.sort(first)])
        left = np.delete(left, first)
    return groups


def _target_entries(build: ModelBuilder, problem: ChargingProblem, row_of: np.ndarray, target_of: np.ndarray) -> None:
    counted_h = problem.targets.counted_h
    power, discharge = build.columns["power_kw"], build.columns["discharge_kw"]
    mode, slot = power.keys
    session = problem.modes.session[mode]
    held = row_of[session] >= 0
    build.add_entries(row_of[session[held]], power.indices[held], counted_h[target_of[session[held]], slot[held]])
    vehicle, when = discharge.keys
    held = row_of[vehicle] >= 0
    loss = net_loss(problem)[vehicle[held]]
    build.add_entries(
        row_of[vehicle[held]], discharge.indices[held], -counted_h[target_of[vehicle[held]], when[held]] * loss
    )


def taper(build: ModelBuilder, problem: ChargingProblem, scope: ModelScope) -> None:
    """State that above the knee a vehicle's acceptance falls linearly with its stored energy.

    Row ``taper[s,t]``: ``power_kw[s,t] <= slope * mean_share * (capacity_kwh - stored_kwh[s,t])`` with ``slope =
    knee_kw / (capacity_kwh - knee_kwh)`` and ``mean_share = (1 - exp(-x)) / x``, ``x = slope * charge_efficiency *
    plugged_h``: the exact mean over the slot of a vehicle that follows its acceptance line.

    On stepped slots the power is what is sent, which is never below the minimum even where the vehicle takes less: with
    ``at_least[m,t]``, binary, ``min_kw * at_least`` is added to the right, row ``taper_least[m,t]``: ``power_kw <=
    max_kw * on - (max_kw - min_kw) * at_least``, and row ``taper_room[s,t]``: what is charged fits into the battery.
    """
    sessions, power = problem.sessions, build.columns["power_kw"]
    vehicle, slot = np.nonzero(may_taper(problem))
    if not len(vehicle):
        return
    slope = sessions.knee_kw[vehicle] / (sessions.capacity_kwh - sessions.knee_kwh)[vehicle]
    reach = slope * sessions.charge_efficiency[vehicle] * sessions.plugged_h[vehicle, slot]
    mean_slope = slope * -np.expm1(-reach) / np.maximum(reach, 1e-12)
    capacity = np.maximum(sessions.capacity_kwh, sessions.stored_kwh)
    rows = build.add_rows("taper", "st", (vehicle, slot), -np.inf, mean_slope * capacity[vehicle])
    stored = build.columns["stored_kwh"].grid(sessions.count, problem.slot_count + 1)
    build.add_entries(rows.indices, stored[vehicle, slot], mean_slope)
    row_of = rows.grid(sessions.count, problem.slot_count)
    mode, when = power.keys
    bound = row_of[problem.modes.session[mode], when]
    build.add_entries(bound[bound >= 0], power.indices[bound >= 0], 1.0)
    sent = (bound >= 0) & scope.stepped[mode, when]
    if sent.any():
        build.add_entries(
            bound[sent],
            _sent_at_least(build, problem, stored, sent).indices,
            -problem.modes.min_kw[mode[sent], when[sent]],
        )


def _sent_at_least(build: ModelBuilder, problem: ChargingProblem, stored: IntArray, sent: BoolArray) -> Block:
    """Columns and rows of the powers that are sent at the minimum; ``sent`` marks their columns of power."""
    sessions, modes, power = problem.sessions, problem.modes, build.columns["power_kw"]
    mode, slot = power.keys[0][sent], power.keys[1][sent]
    column, on = power.indices[sent], build.columns["on"].grid(modes.count, problem.slot_count)[mode, slot]
    at_least = build.add_columns("at_least", "mt", (mode, slot), 0.0, 1.0, integer=True)
    most_kw = modes.max_kw[mode, slot]
    rows = build.add_rows("taper_least", "mt", (mode, slot), -np.inf, 0.0)
    build.add_entries(rows.indices, column, 1.0)
    build.add_entries(rows.indices, on, -most_kw)
    build.add_entries(rows.indices, at_least.indices, most_kw - modes.min_kw[mode, slot])
    session = modes.session[mode]
    capacity = np.maximum(sessions.capacity_kwh, sessions.stored_kwh)[session]
    rows = build.add_rows("taper_room", "mt", (mode, slot), -np.inf, capacity)
    build.add_entries(rows.indices, column, sessions.charge_efficiency[session] * sessions.plugged_h[session, slot])
    build.add_entries(rows.indices, stored[session, slot], 1.0)
    return at_least


def reservation_floor(build: ModelBuilder, problem: ChargingProblem, scope: ModelScope) -> None:
    """State that a reservation's guaranteed power is given from plug-in until the promised energy is delivered.

    Column ``floor_gap_kw[s,t]``, row ``reservation_floor[s,t]``: ``power_kw[s,t] + floor_gap_kw[s,t] >= promised_kw``
    for the first ``guaranteed_kwh / guaranteed_kw`` hours of the stay.
    """
    del scope
    if not problem.sessions.guaranteed_kw.any():
        return
    promised_kw = promised_power_kw(problem)
    session, slot = np.nonzero(promised_kw > 0)
    if not len(session):
        return
    gap = build.add_columns("floor_gap_kw", "st", (session, slot), 0.0, promised_kw[session, slot])
    rows = build.add_rows("reservation_floor", "st", (session, slot), promised_kw[session, slot], np.inf)
    build.add_entries(rows.indices, gap.indices, 1.0)
    power = build.columns["power_kw"]
    mode, when = power.keys
    bound = rows.grid(problem.sessions.count, problem.slot_count)[problem.modes.session[mode], when]
    build.add_entries(bound[bound >= 0], power.indices[bound >= 0], 1.0)


def promised_power_kw(problem: ChargingProblem) -> FloatArray:
    """Power promised in each slot, as the mean over the time there [kW], shape (sessions, slots)."""
    sessions = problem.sessions
    with np.errstate(divide="ignore", invalid="ignore"):
        lasts_h = np.where(sessions.guaranteed_kw > 0, sessions.guaranteed_kwh / sessions.guaranteed_kw, 0.0)
        passed_h = np.cumsum(sessions.plugged_h, axis=1) - sessions.plugged_h
        held_h = np.clip(lasts_h[:, None] - passed_h, 0.0, sessions.plugged_h)
        share = np.where(sessions.plugged_h > 0, held_h / sessions.plugged_h, 0.0)
    return np.asarray(share * sessions.guaranteed_kw[:, None])
