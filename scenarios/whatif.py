"""The way in for notebooks and scripts: scenarios, problems, plans and sweeps, with tables out.

from scenarios.whatif import load, replay, steps_frame
garage = load("acn_caltech_2019_03", start="2019-03-04", days=1)
result = replay(garage, "milp")
steps_frame(result)["charging_kw"].plot()

Everything named in ``__all__`` is kept from version to version; the modules behind it may change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from optimizer.domain.plan import Fallback, Plan, PlanOutcome, SolveFigures
from optimizer.errors import ChargeHorizonError, InvalidInput
from optimizer.planning.heuristics import HEURISTICS
from optimizer.planning.reference import reference_model, solve_reference
from optimizer.planning.solve import plan_charging
from scenarios.growth import with_more_chargers
from scenarios.outcomes import Course
from scenarios.problem_files import StatedProblem, stated_problem
from scenarios.replay import ReplayResult, bounds_of, compare, replay
from scenarios.scenario import Scenario
from scenarios.scenario_files import NOTHING_CHANGED, catalogue_path, load_scenario
from scenarios.sweep import sweep, tasks_of
from scenarios.sweep_tables import table_of
from scenarios.sweep_workers import process_workers
from scenarios.variations import Variation, changes_of, checked_name

__all__ = [
    "bounds_of",
    "cars_present",
    "catalogue_file",
    "compare",
    "import_prices",
    "load",
    "make_plan",
    "plan_frame",
    "reference_model",
    "replay",
    "solve_reference",
    "state_problem",
    "stays_frame",
    "steps_frame",
    "sweep_frame",
    "with_more_chargers",
]


# ---------------------------------------------------------------------- scenarios


def load(
    name: str | Path,
    changes: Mapping[str, Any] = NOTHING_CHANGED,
    *,
    start: str | None = None,
    days: int | None = None,
) -> Scenario:
    """Read a scenario, or some days of it.

    Args:
        name: A scenario of the catalogue, or a file.
        changes: Values that replace those of the file, as a sweep names them: ``{"battery.capacity_kwh": 100}``.
        start: First local day, ``2019-03-04``; left out: the scenario's first.
        days: How many days; left out: until the scenario's end.

    Raises:
        InvalidInput: The file, a change or the days cannot be used.
    """
    path = _path(name)
    for changed in changes:
        checked_name(changed, "changes")
    scenario = load_scenario(path, changes_of(path, changes))
    return scenario.between(*_window(scenario, start, days)) if start or days else scenario


def catalogue_file(name: str) -> Path:
    """A file of the catalogue by its name, to be named in changes: ``tariffs/day_ahead.yaml``.

    Raises:
        InvalidInput: There is none.
    """
    path = Path(__file__).parent / "catalogue" / name
    if not path.is_file():
        raise InvalidInput("name", name, f"name a file below {Path(__file__).parent / 'catalogue'}")
    return path


def _path(name: str | Path) -> Path:
    path = Path(name)
    return catalogue_path(str(name)) if not path.exists() and path.suffix == "" else path


def _window(scenario: Scenario, start: str | None, days: int | None) -> tuple[datetime, datetime]:
    zone = ZoneInfo(scenario.site.time_zone)
    first = scenario.start
    if start is not None:
        first = datetime.fromisoformat(start).replace(tzinfo=zone).astimezone(UTC)
    last = scenario.end
    if days is not None:
        # Local days: one of them may have 23 or 25 hours.
        last = (first.astimezone(zone) + timedelta(days=days)).astimezone(UTC)
    if not scenario.start <= first < last <= scenario.end:
        fix = (
            f"give days between {scenario.start.astimezone(zone):%Y-%m-%d} and {scenario.end.astimezone(zone):%Y-%m-%d}"
        )
        raise InvalidInput("start, days", (start, days), fix)
    return first, last


def sweep_frame(
    name: str | Path,
    vary: Mapping[str, Sequence[Any]],
    strategy: str | None = None,
    *,
    changes: Mapping[str, Any] = NOTHING_CHANGED,
    start: str | None = None,
    days: int | None = None,
    workers: int | None = None,
) -> pd.DataFrame:
    """Replay a scenario with every combination of some values, on all cores.

    Args:
        name: A scenario of the catalogue, or a file.
        vary: Values by name: ``{"battery.capacity_kwh": [0, 100]}``.
        strategy: What plans, or ``offline_optimum``; left out: what the file names.
        changes: Values that hold for all, as of `load`.
        start: First local day.
        days: How many days.
        workers: How many processes; left out: one a core.

    Returns:
        One row a combination: what was varied, then the figures of its replay.

    Raises:
        InvalidInput: A name or value cannot be used.
        ChargeHorizonError: A combination could not be replayed.
    """
    path = _path(name)
    variations = [Variation(checked_name(varied, "vary"), tuple(values)) for varied, values in vary.items()]
    tasks = tasks_of(
        path,
        variations,
        strategy=strategy,
        changes=changes_of(path, changes),
        window=lambda scenario: _window(scenario, start, days),
    )
    with process_workers(workers) as processes:
        rows = list(sweep(tasks, processes))
    for row in rows:
        if not row.is_done:
            raise ChargeHorizonError(f"{row.point} could not be replayed: {row.error}")
    return table_of(rows)


# ---------------------------------------------------------------------- problems and plans


def cars_present(scenario: Scenario, at: str | datetime) -> list[dict[str, Any]]:
    """The cars that stand at a site at one instant, as the vehicles of a problem: what they truly need by when.

    Args:
        scenario: What happens.
        at: When, with a UTC offset.
    """
    now = _instant(at)
    sections = []
    for stay in scenario.stays:
        if not stay.session.arrived_at <= now < stay.session.departed_at:
            continue
        evse = scenario.site.evses[stay.evse_id]
        path_kw = evse.voltage_v * evse.current_paths / 1000.0
        sections.append(
            {
                "id": str(stay.evse_id),
                "phases": list(evse.phases),
                "wiring": evse.wiring.value,
                "voltage_v": evse.voltage_v,
                "min_current_a": max(evse.min_current_a, stay.vehicle.min_current_a),
                "max_current_a": evse.max_current_a,
                "current_step_a": evse.current_step_a,
                "max_power_kw": min(evse.max_power_kw, path_kw * stay.vehicle.max_current_a),
                "targets": [{"depart_at": stay.session.departed_at.isoformat(), "energy_kwh": stay.vehicle.takes_kwh}],
            }
        )
    return sections


def import_prices(scenario: Scenario, start: str | datetime, end: str | datetime) -> list[dict[str, Any]]:
    """What a site pays per kWh over a time, as a course of a problem; without demand charges.

    Args:
        scenario: Whose tariff.
        start: From when, with a UTC offset.
        end: Until when.
    """
    series = scenario.tariff.import_prices(_instant(start), _instant(end))
    steps = zip(series.boundaries, series.prices_per_kwh, strict=False)
    return [{"start": begun.isoformat(), "value": float(price)} for begun, price in steps]


def state_problem(content: Mapping[str, Any]) -> StatedProblem:
    """State a problem whose fields are those of a problem file (``chargehorizon plan --schema`` lists them).

    Raises:
        InvalidInput: A field cannot be used; it is named, with value and fix.
    """
    return stated_problem(dict(content))


def make_plan(stated: StatedProblem, strategy: str = "milp") -> PlanOutcome:
    """Plan a problem.

    Args:
        stated: The problem.
        strategy: ``milp``, or one of the heuristics.

    Raises:
        InvalidInput: There is no such strategy.
    """
    if strategy == "milp":
        return plan_charging(stated.problem, stated.settings)
    if strategy not in HEURISTICS:
        raise InvalidInput("strategy", strategy, f"name one of milp, {', '.join(HEURISTICS)}")
    plan = HEURISTICS[strategy](stated.problem)
    return Fallback(plan, strategy, "it was asked for", SolveFigures(0.0, 0.0, 0.0, 0, 0))


def _instant(given: str | datetime) -> datetime:
    instant = datetime.fromisoformat(given) if isinstance(given, str) else given
    if instant.tzinfo is None:
        raise InvalidInput("at", given, "give a UTC offset, for example 2019-03-04T10:00-08:00")
    return instant.astimezone(UTC)


# ---------------------------------------------------------------------- tables


def plan_frame(stated: StatedProblem, plan: Plan) -> pd.DataFrame:
    """A plan as a table, one row a slot by local time: price and powers of the site [kW], then each vehicle's [kW]."""
    columns: dict[str, Sequence[float]] = {
        "import_price_per_kwh": plan.import_price_per_kwh,
        "grid_import_kw": plan.grid_import_kw,
        "grid_export_kw": plan.grid_export_kw,
        "building_kw": plan.building_kw,
        "pv_kw": plan.pv_kw,
        "battery_kw": plan.battery_kw,
    }
    columns |= {str(one.session_id): one.power_kw for one in plan.sessions}
    return pd.DataFrame(columns, index=_local(plan.boundaries[:-1], stated.time_zone))


def steps_frame(result: ReplayResult, course: Course | None = None) -> pd.DataFrame:
    """What truly flowed in a replay: one row a step by local time, mean powers [kW].

    Args:
        result: The replay.
        course: Another course of it, ``result.optimum`` or ``result.uncontrolled``; left out: the replay's own.
    """
    series = (course or result.course).series
    energies = {
        "charging_kw": series.charging_kwh,
        "grid_import_kw": series.import_kwh,
        "grid_export_kw": series.export_kwh,
        "battery_kw": series.battery_kwh,
        "building_kw": series.building_kwh,
        "pv_kw": series.pv_kwh,
    }
    index = _local(series.boundaries()[:-1], result.scenario.site.time_zone)
    return pd.DataFrame({name: kwh / series.step_h for name, kwh in energies.items()}, index=index)


def stays_frame(result: ReplayResult, course: Course | None = None) -> pd.DataFrame:
    """What became of each stay: one row a stay.

    Args:
        result: The replay.
        course: Another course of the same scenario, as of `steps_frame`.
    """
    stays = (course or result.course).stays
    return pd.DataFrame(
        {
            "evse_id": [stay.evse_id for stay in stays],
            "arrived_at": _local([stay.arrived_at for stay in stays], result.scenario.site.time_zone),
            "departed_at": _local([stay.departed_at for stay in stays], result.scenario.site.time_zone),
            "requested_kwh": [stay.wanted_kwh for stay in stays],
            "delivered_kwh": [stay.delivered_kwh for stay in stays],
            "unserved_kwh": [stay.unserved_kwh for stay in stays],
            "pauses": [stay.pauses for stay in stays],
        },
        index=pd.Index([stay.id for stay in stays], name="session_id"),
    )


def _local(instants: Sequence[datetime], zone: str) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(pd.to_datetime(list(instants), utc=True)).tz_convert(zone)
