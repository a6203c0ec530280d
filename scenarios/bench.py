"""How fast planning is: one family of problems by size, the same work by HiGHS alone and by Pyomo beside it.

One family, three cases. N connectors with one vehicle each over 96 quarter-hours; 7.4, 11 and 22 kW; the site limit is
40 % of what all of them together could draw, so it binds; no two prices are alike.

- ``lp``: the linear problem of that.
- ``minimum_current``: and every vehicle draws nothing or its minimum, on all slots.
- ``everything``: and a tree of fuses three levels deep with phases, building, PV, battery, demand charge, taper, whole
  amperes on near slots, and a plan in force to stay near.
"""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from typing import TypeVar

import highspy
import numpy as np

from optimizer.domain.ids import CircuitId, EvseId, SessionId, SiteId
from optimizer.domain.plan import Fallback, PlanOutcome
from optimizer.domain.site import ALL_PHASES, Circuit, LimitSource
from optimizer.planning.backends import plan_with
from optimizer.planning.highs import PRESOLVE_FROM_ROWS, SolverModel, pass_model
from optimizer.planning.matrix import build_model
from optimizer.planning.model import LinearModel
from optimizer.planning.objectives import Weights, whole_objective
from optimizer.planning.problem import BatteryState, ChargingProblem, FloatArray
from optimizer.planning.requests import (
    ChargingRequest,
    DemandTerm,
    EnergyNeed,
    LimitScope,
    PhaseMode,
    PlanPrices,
    PowerLimit,
    SiteOutlook,
    VehicleBattery,
)
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.statement import charging_problem
from optimizer.planning.warm import WarmStart, carried_basis

Result = TypeVar("Result")

SLOTS = 96
SLOT = timedelta(minutes=15)
BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
SIZES = (10, 30, 100, 200, 300, 1000)
SITE_SHARE = 0.4
"""Site limit over the sum of what all vehicles could draw."""
BOARD_SIZE, ROW_SIZE = 50, 10
"""Vehicles below a board, and below one of its rows."""
FUSE_SHARE = 0.7
"""A fuse's current over the sum of what its vehicles could draw."""
PYOMO_UP_TO = 100
"""Largest site that Pyomo is asked to plan."""
PYOMO_TIME_LIMIT_S = 20.0
"""When Pyomo's solver is stopped: it has binaries on all slots, and the proof may take hours [s]."""

SHORT_PROOF_S = 0.02
"""Time for proofs where only memory is watched [s]."""

WATCHED_CONNECTORS = 5
"""Size of the site for which memory is watched."""

ENOUGH_S = 0.05
"""A call that takes less is repeated until so much processor time is spent: once says little of a millisecond [s]."""

MOST_REPEATS = 9
"""But not more often than this."""


class BenchCase(StrEnum):
    """What of the problem is on."""

    LP = "lp"
    MINIMUM_CURRENT = "minimum_current"
    EVERYTHING = "everything"


SETTINGS = {
    BenchCase.LP: PlanningSettings(minimum_current=False, preferences=False, time_limit_s=60.0),
    BenchCase.MINIMUM_CURRENT: PlanningSettings(near_slots=0, preferences=False, time_limit_s=60.0),
    BenchCase.EVERYTHING: PlanningSettings(time_limit_s=60.0),
}
"""How each case is planned; the time limit is one that a proof never meets."""


@dataclass(frozen=True, slots=True)
class BenchRow:
    """What one case at one size took: medians over the runs of one process.

    Times are processor time, which is the time on the clock where the machine has nothing else to do.
    """

    case: BenchCase
    """What is on."""
    connectors: int
    """Size of the site."""
    runs: int
    """How often it was planned."""
    rows: int
    """Rows of the largest model."""
    columns: int
    """Columns of the largest model."""
    build_s: float
    """Building the linear model [s]."""
    solve_s: float
    """Of the total, inside the solver [s]."""
    total_s: float
    """From problem to plan, reasons included [s]."""
    slowest_s: float
    """The slowest run, from problem to plan [s]."""
    alone_s: float
    """HiGHS alone: the linear problem's matrix in, its optimum out [s]."""
    ratio: float
    """Processor time of the plan over that of HiGHS alone, median of the problems: other work on the machine does not
    count."""
    hot_ratio: float
    """Processor time of the linear solve after one plug-in, on from the basis before it, over one from nothing."""
    gap: float
    """Greatest proven relative gap of any run."""
    fallbacks: int
    """Runs that ended in a heuristic."""
    pyomo_s: float | None
    """The same by the Pyomo reference, once, its solver stopped after 20 s [s]; ``None``: too large."""
    memory_mb: float
    """Greatest memory of the process so far [MB]."""


def measured(
    cases: Sequence[BenchCase],
    sizes: Sequence[int],
    *,
    runs: int,
    pyomo_up_to: int = PYOMO_UP_TO,
    on_step: Callable[[], None] = lambda: None,
) -> Iterator[BenchRow]:
    """Measure every case at every size, one row each.

    Args:
        cases: Which cases.
        sizes: Numbers of connectors.
        runs: How often each is planned; every run plans a problem of its own.
        pyomo_up_to: Largest size that the Pyomo reference plans, too.
        on_step: Called after each run.
    """
    for case in cases:
        for connectors in sizes:
            yield _measured(case, connectors, runs, with_pyomo=connectors <= pyomo_up_to, on_step=on_step)


def _measured(
    case: BenchCase, connectors: int, runs: int, *, with_pyomo: bool, on_step: Callable[[], None]
) -> BenchRow:
    settings = SETTINGS[case]
    # The first plan of a process pays for what is loaded with it; it counts nowhere.
    plan_with(bench_problem(case, connectors, seed=0), settings)
    outcomes, plans, alone, built, hot = [], [], [], [], []
    for seed in range(1, runs + 1):
        problem = bench_problem(case, connectors, seed)
        spent_s, stated = _typical(partial(_linear, problem))
        built.append(spent_s)
        alone.append(_typical(partial(_solve_alone, *stated))[0])
        hot.append(_hot_ratio(case, connectors, seed))
        spent_s, outcome = _typical(partial(plan_with, problem, settings))
        plans.append(spent_s)
        outcomes.append(outcome)
        on_step()
    pyomo_s = None
    if with_pyomo:
        stopped = replace(settings, time_limit_s=PYOMO_TIME_LIMIT_S)
        by_pyomo = partial(plan_with, bench_problem(case, connectors, seed=1), stopped, "pyomo:appsi_highs")
        pyomo_s = _spent(by_pyomo)[0]
    figures = [outcome.figures for outcome in outcomes]
    return BenchRow(
        case=case,
        connectors=connectors,
        runs=runs,
        rows=max(one.rows for one in figures),
        columns=max(one.columns for one in figures),
        build_s=median(built),
        solve_s=median(one.solve_s / one.total_s * spent_s for one, spent_s in zip(figures, plans, strict=True)),
        total_s=median(plans),
        slowest_s=max(plans),
        alone_s=median(alone),
        ratio=median(one / other for one, other in zip(plans, alone, strict=True)),
        hot_ratio=median(hot),
        gap=max(_gap_of(outcome) for outcome in outcomes),
        fallbacks=sum(isinstance(outcome, Fallback) for outcome in outcomes),
        pyomo_s=pyomo_s,
        memory_mb=greatest_memory_mb(),
    )


def _gap_of(outcome: PlanOutcome) -> float:
    return 1.0 if isinstance(outcome, Fallback) else outcome.gap


def greatest_memory_mb() -> float:
    """Greatest memory that this process has held so far [MB]."""
    greatest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in kibibytes, macOS in bytes.
    return greatest / 1024.0 if sys.platform.startswith("linux") else greatest / 1024.0**2


def _spent(call: Callable[[], Result]) -> tuple[float, Result]:
    """Processor time of a call without the garbage collector, which would count what others left [s]."""
    collects = gc.isenabled()
    gc.disable()
    try:
        begun_s = process_time()
        result = call()
        return process_time() - begun_s, result
    finally:
        if collects:
            gc.enable()


def _typical(call: Callable[[], Result]) -> tuple[float, Result]:
    """Processor time of a call, for a short one the median of several, and the last result [s]."""
    spent_s, result = _spent(call)
    every = [spent_s]
    while sum(every) < ENOUGH_S and len(every) < MOST_REPEATS:
        spent_s, result = _spent(call)
        every.append(spent_s)
    return median(every), result


def _linear(problem: ChargingProblem) -> tuple[LinearModel, FloatArray]:
    """The matrix of the linear problem, and its objective."""
    model = build_model(problem)
    return model, whole_objective(problem, model, Weights(problem))


def _hot_ratio(case: BenchCase, connectors: int, seed: int) -> float:
    """Processor time of a linear solve after one plug-in, on from the basis before it, over one from nothing."""
    before = bench_problem(case, connectors, seed, present=connectors - 1)
    after = bench_problem(case, connectors, seed)
    model, cost = _linear(before)
    earlier = SolverModel(model, cost)
    earlier.solve(time_limit_s=np.inf)
    start = WarmStart(before, model, earlier.basis())
    model, cost = _linear(after)

    def from_nothing() -> None:
        SolverModel(model, cost).solve(time_limit_s=np.inf)

    def from_basis() -> None:
        solver = SolverModel(model, cost)
        solver.start_at(carried_basis(start, after, model))
        solver.solve(time_limit_s=np.inf)

    return _typical(from_basis)[0] / _typical(from_nothing)[0]


def _solve_alone(model: LinearModel, cost: FloatArray) -> FloatArray:
    """Hand the matrix to a fresh HiGHS, with the choice of presolve that suits these models; returns the optimum."""
    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    highs.setOptionValue("random_seed", 1)
    if model.row_count < PRESOLVE_FROM_ROWS:
        highs.setOptionValue("presolve", "off")
    pass_model(highs, model, cost)
    highs.run()
    return np.array(highs.getSolution().col_value)


@dataclass(frozen=True, slots=True)
class LeakReport:
    """Memory before and after very many plans."""

    plans: int
    """How many plans."""
    solves: int
    """Solver calls that they made."""
    early_mb: float
    """Memory in use after a tenth of them [MB]."""
    late_mb: float
    """Memory in use after all of them [MB]."""


def memory_over_many_plans(plans: int, *, on_step: Callable[[], None] = lambda: None) -> LeakReport:
    """Plan a small site very often, and tell whether memory grows after the first tenth."""
    problems = [bench_problem(case, WATCHED_CONNECTORS, seed) for case in BenchCase for seed in range(4)]
    usual = [SETTINGS[case] for case in BenchCase for _ in range(4)]
    settings = [replace(one, proof_time_s=SHORT_PROOF_S, reopen_time_s=SHORT_PROOF_S) for one in usual]
    early_mb, solves = 0.0, 0
    for number in range(plans):
        place = number % len(problems)
        solves += plan_with(problems[place], settings[place]).figures.solves
        if number == plans // 10:
            early_mb = memory_now_mb()
        on_step()
    return LeakReport(plans, solves, early_mb, memory_now_mb())


def memory_now_mb() -> float:
    """Memory that this process holds now [MB]; the greatest so far where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return greatest_memory_mb()
    return pages * resource.getpagesize() / 1024.0**2


def bench_problem(case: BenchCase, connectors: int, seed: int, present: int | None = None) -> ChargingProblem:
    """A problem of the family.

    Args:
        case: What of it is on.
        connectors: Size of the site.
        seed: Which one.
        present: How many of the vehicles are there; ``None``: all.
    """
    rng = np.random.default_rng([connectors, seed])
    boundaries = [BEGIN + SLOT * number for number in range(SLOTS + 1)]
    full = case is BenchCase.EVERYTHING
    circuits = _tree(connectors) if full else [Circuit(CircuitId("root"), None)]
    requests = [_request(rng, number, boundaries, full=full) for number in range(connectors)]
    most_kw = sum(mode.max_current_a * mode.kw_per_a for one in requests for mode in one.modes)
    requests = requests[:present]
    prices = _prices(rng)
    outlook = SiteOutlook(import_price_per_kwh=prices.tolist())
    limits = [PowerLimit(circuits[0].id, SITE_SHARE * most_kw, LimitSource.CONTRACT)]
    if not full:
        return charging_problem(SiteId("bench"), boundaries, requests, circuits, outlook, limits=limits)
    hour = np.arange(SLOTS) / 4.0
    outlook = replace(
        outlook,
        export_price_per_kwh=(0.4 * prices).tolist(),
        building_kw=(connectors * (0.25 + 0.35 * np.exp(-(((hour - 12.0) / 4.0) ** 2)))).tolist(),
        pv_kw=(connectors * np.maximum(0.0, np.sin((hour - 6.0) / 12.0 * np.pi))).tolist(),
        pv_curtailable=True,
    )
    limits.append(PowerLimit(circuits[0].id, float(connectors), LimitSource.CONTRACT, LimitScope.FEED))
    problem = charging_problem(
        SiteId("bench"),
        boundaries,
        requests,
        circuits,
        outlook,
        limits=limits,
        demand=[DemandTerm("peak", 0.5, 0.05 * most_kw)],
        battery=_battery(connectors),
        prices=PlanPrices(start_price=0.005, min_run_h=0.25),
    )
    return _with_plan_in_force(problem, rng)


def _prices(rng: np.random.Generator) -> FloatArray:
    """Prices of a day with two humps, no two alike [currency/kWh]."""
    hour = np.arange(SLOTS) / 4.0
    humps = 0.08 * np.exp(-(((hour - 8.0) / 2.5) ** 2)) + 0.12 * np.exp(-(((hour - 19.0) / 2.5) ** 2))
    return np.asarray(0.16 + humps + rng.normal(0.0, 0.01, SLOTS))


def _request(rng: np.random.Generator, number: int, boundaries: Sequence[datetime], *, full: bool) -> ChargingRequest:
    """A vehicle that comes in the morning, stays for 4 to 11 hours and needs 10 to 50 % of what it could take."""
    kind = int(rng.integers(0, 3))
    first = number % 3
    phases = (ALL_PHASES[first:] + ALL_PHASES[:first])[: 1 if kind == 0 else 3]
    step_a = 1.0 if full else 0.0
    mode = PhaseMode(16.0 if kind == 1 else 32.0, phases, current_step_a=step_a)
    most_kw = mode.max_current_a * mode.kw_per_a
    arrive = int(np.clip(rng.normal(34.0, 7.0), 0, 80))
    depart = min(arrive + int(rng.integers(16, 44)), SLOTS)
    energy_kwh = float(min(rng.uniform(0.1, 0.5) * (depart - arrive) / 4.0 * most_kw, 60.0))
    battery = None
    if full and number % 3 == 0:
        capacity = energy_kwh / 0.7
        battery = VehicleBattery(0.25 * capacity, capacity, charge_efficiency=0.92, knee_soc=0.8)
        energy_kwh *= 0.92
    start, end = boundaries[arrive], boundaries[depart]
    return ChargingRequest(
        SessionId(f"car{number}"),
        EvseId(f"evse{number}"),
        CircuitId(f"row{number // ROW_SIZE}") if full else CircuitId("root"),
        (mode,),
        (EnergyNeed(end, energy_kwh),),
        arrive_at=start,
        battery=battery,
        starts_left=7,
    )


def _tree(connectors: int) -> list[Circuit]:
    """Root, boards and rows; a fuse carries part of what hangs below it."""
    mean_a = 80.0 / 3.0
    root = CircuitId("root")
    circuits = [Circuit(root, None, limit_a=FUSE_SHARE * mean_a * connectors)]
    boards = range((connectors + BOARD_SIZE - 1) // BOARD_SIZE)
    circuits += [
        Circuit(CircuitId(f"board{board}"), root, limit_a=FUSE_SHARE * mean_a * min(BOARD_SIZE, connectors))
        for board in boards
    ]
    per_board = BOARD_SIZE // ROW_SIZE
    circuits += [
        Circuit(CircuitId(f"row{row}"), CircuitId(f"board{row // per_board}"), limit_a=FUSE_SHARE * mean_a * ROW_SIZE)
        for row in range((connectors + ROW_SIZE - 1) // ROW_SIZE)
    ]
    return circuits


def _battery(connectors: int) -> BatteryState:
    size_kwh = 0.5 * connectors
    return BatteryState(
        content_kwh=0.5 * size_kwh,
        capacity_kwh=size_kwh,
        min_kwh=0.05 * size_kwh,
        max_kwh=size_kwh,
        max_charge_kw=0.5 * size_kwh,
        max_discharge_kw=0.5 * size_kwh,
        wear_per_kwh=0.02,
        end_price_per_kwh=0.15,
    )


def _with_plan_in_force(problem: ChargingProblem, rng: np.random.Generator) -> ChargingProblem:
    """The problem with the plan that was made for other prices five minutes ago."""
    moved = problem.supply.import_price_per_kwh * rng.normal(1.0, 0.01, SLOTS)
    earlier = replace(problem, supply=replace(problem.supply, import_price_per_kwh=moved))
    plan = plan_with(earlier, SETTINGS[BenchCase.MINIMUM_CURRENT]).plan
    powers = np.array([one.power_kw for one in plan.sessions])
    sessions = replace(problem.sessions, previous_kw=powers, has_previous=np.ones(powers.shape, dtype=bool))
    return replace(problem, sessions=sessions)
