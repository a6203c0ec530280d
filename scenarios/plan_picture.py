"""One picture of a plan: power per vehicle stacked against the limit, the price, and how full each vehicle gets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from optimizer.domain.ids import SessionId
from optimizer.domain.plan import Plan, SessionPlan
from optimizer.errors import ChargeHorizonError
from optimizer.planning.problem import ChargingProblem, FloatArray
from scenarios.problem_files import StatedProblem

SIZE_INCHES = (10.0, 7.6)
DOTS_PER_INCH = 110
Colours = dict[SessionId, Any]
MOST_SHOWN = 12
"""Vehicles with a colour of their own; the others are drawn as one."""
BUILDING_COLOUR = "#c9c9c9"
PRICE_COLOUR = "#3b5b92"


def draw_plan(stated: StatedProblem, plan: Plan, path: Path) -> None:
    """Draw a plan into an image file.

    Args:
        stated: The problem.
        plan: Its plan.
        path: Where to, as PNG, SVG or PDF by its ending.

    Raises:
        ChargeHorizonError: matplotlib is not installed, or cannot write such a file.
    """
    try:
        from matplotlib import colormaps, dates
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ChargeHorizonError("pictures need matplotlib: pip install 'chargehorizon[plots]'") from error
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    power, price, energy = figure.subplots(3, 1, sharex=True, height_ratios=(4, 1, 2))
    shown = _most_energetic(plan)
    palette = colormaps["tab20"]
    colours: Colours = {one.session_id: palette(place) for place, one in enumerate(shown)}
    _draw_power(power, stated.problem, plan, shown, colours)
    _draw_price(price, plan, stated.currency)
    _draw_energy(energy, stated.problem, plan, shown, colours)
    energy.xaxis.set_major_formatter(dates.DateFormatter("%H:%M", tz=ZoneInfo(stated.time_zone)))
    energy.set_xlim(plan.boundaries[0], plan.boundaries[-1])
    try:
        figure.savefig(path, dpi=DOTS_PER_INCH)
    except (OSError, ValueError) as error:
        raise ChargeHorizonError(f"cannot draw into {path}: {error}") from error


def _most_energetic(plan: Plan) -> list[SessionPlan]:
    """The vehicles with the most energy, in the plan's order."""
    gained = {one.session_id: one.energy_kwh[-1] - one.energy_kwh[0] for one in plan.sessions}
    chosen = set(sorted(gained, key=lambda name: gained[name], reverse=True)[:MOST_SHOWN])
    return [one for one in plan.sessions if one.session_id in chosen]


def _steps(values: Sequence[float] | FloatArray) -> list[float]:
    """The last value once more, for the last boundary."""
    return [*values, values[-1]]


def _draw_power(
    axes: Any, problem: ChargingProblem, plan: Plan, shown: Sequence[SessionPlan], colours: Colours
) -> None:
    base = np.maximum(0.0, problem.circuits.uncontrolled_kw[0])
    layers = [("building", BUILDING_COLOUR, base)] if base.any() else []
    layers += [(one.session_id, colours[one.session_id], np.maximum(0.0, one.power_kw)) for one in shown]
    others = [one.power_kw for one in plan.sessions if one.session_id not in colours]
    if others:
        layers.append((f"{len(others)} others", "#e3dcc8", np.maximum(0.0, np.sum(others, axis=0))))
    bottom = np.zeros(len(base))
    for label, colour, values in layers:
        axes.fill_between(
            plan.boundaries,
            _steps(bottom),
            _steps(bottom + values),
            step="post",
            color=colour,
            label=label,
            linewidth=0,
        )
        bottom = bottom + values
    _draw_lines(axes, problem, plan)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set_ylabel("kW")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")


def _draw_lines(axes: Any, problem: ChargingProblem, plan: Plan) -> None:
    """PV, battery and the limits of the site."""
    if any(plan.pv_kw):
        axes.step(plan.boundaries, _steps(plan.pv_kw), where="post", color="#d9a400", linewidth=1.6, label="PV")
    if problem.battery is not None:
        axes.step(
            plan.boundaries, _steps(plan.battery_kw), where="post", color="#7a3b92", linewidth=1.4, label="battery"
        )
    limits = {
        "site limit": (problem.circuits.limit_kw[0], "--"),
        "limit on vehicles and battery": (problem.circuits.controllable_limit_kw[0], ":"),
    }
    for label, (limit_kw, style) in limits.items():
        if np.isfinite(limit_kw).any():
            drawn = np.where(np.isfinite(limit_kw), limit_kw, np.nan)
            axes.step(
                plan.boundaries, _steps(drawn), where="post", color="black", linestyle=style, linewidth=1.3, label=label
            )


def _draw_price(axes: Any, plan: Plan, currency: str) -> None:
    axes.step(plan.boundaries, _steps(plan.import_price_per_kwh), where="post", color=PRICE_COLOUR, linewidth=1.6)
    axes.set_ylabel(f"{currency}/kWh")
    axes.set_ylim(bottom=min(0.0, *plan.import_price_per_kwh))


def _draw_energy(
    axes: Any, problem: ChargingProblem, plan: Plan, shown: Sequence[SessionPlan], colours: Colours
) -> None:
    """State of charge where it is known, else the share of the last target's energy."""
    place = {name: index for index, name in enumerate(problem.sessions.ids)}
    for one in shown:
        share, known = _fullness(problem, place[one.session_id], np.array(one.energy_kwh))
        axes.plot(plan.boundaries, 100.0 * share, color=colours[one.session_id], linestyle="-" if known else "--")
    for target, depart_at in enumerate(problem.targets.depart_at):
        name = problem.sessions.ids[problem.targets.session[target]]
        if name in colours and _is_inside(depart_at, plan):
            axes.axvline(depart_at, color=colours[name], linewidth=0.8, alpha=0.6)
    axes.set_ylim(0.0, 105.0)
    axes.set_ylabel("% soc (dashed: % of need)")


def _is_inside(instant: datetime, plan: Plan) -> bool:
    return plan.boundaries[0] < instant < plan.boundaries[-1]


def _fullness(problem: ChargingProblem, session: int, energy_kwh: FloatArray) -> tuple[FloatArray, bool]:
    """How full a vehicle is at each boundary, 0..1, and whether that is its state of charge."""
    sessions = problem.sessions
    gained = energy_kwh - energy_kwh[0]
    if sessions.capacity_kwh[session] > 0:
        stored = sessions.stored_kwh[session] + gained * sessions.charge_efficiency[session]
        return stored / sessions.capacity_kwh[session], True
    needed = problem.targets.need_kwh[problem.targets.session == session].max(initial=0.0)
    if needed <= 0:
        return np.ones(len(energy_kwh)), False
    return np.minimum(1.0, gained / needed), False
