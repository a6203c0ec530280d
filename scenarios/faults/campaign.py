"""Many runs, spread over the cores of the machine, and what came of them together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

from scenarios.faults.run import RunReport, run_faults
from scenarios.limit_audit import Violation

SEEDS_AT_A_TIME = 2
"""Runs handed to a process at once: a few seconds of work."""


@dataclass(frozen=True, slots=True)
class CampaignSummary:
    """What came of many runs."""

    runs: int
    """How many."""
    failed: tuple[RunReport, ...]
    """Those in which something is not as it must be."""
    longest: Violation | None
    """The longest excess in which something could have been cut."""
    longest_seed: int | None
    """In which run."""
    longest_allowed_s: float | None
    """The stated reaction time of that run [s]."""
    wrong_increases: int
    """Increases that led above a limit by themselves."""
    book_faults: int
    """What the books have lost or doubled."""
    counts: dict[str, int]
    """How much of everything there was."""
    spent_s: float
    """Processor time [s]."""


def runs_of(
    seeds: Iterable[int],
    *,
    fault_minutes: float,
    stations: tuple[int, int] = (20, 60),
    processes: int = 1,
    over_sockets: bool = False,
) -> Iterator[RunReport]:
    """Live through the run of every seed, in the order of the seeds.

    Args:
        seeds: Which runs.
        fault_minutes: How long things go wrong in each [min].
        stations: Least and greatest number of stations.
        processes: How many at a time.
        over_sockets: Whether stations and service talk over real WebSockets; else in memory.
    """
    one = partial(run_faults, fault_minutes=fault_minutes, stations=stations, over_sockets=over_sockets)
    if processes == 1:
        yield from map(one, seeds)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(one, seeds, chunksize=SEEDS_AT_A_TIME)


def summary_of(reports: Iterable[RunReport]) -> CampaignSummary:
    """Put the reports of many runs together."""
    kept = list(reports)
    counts: dict[str, int] = {}
    for report in kept:
        for name, number in report.counts.items():
            counts[str(name)] = counts.get(str(name), 0) + number
    with_excess = [report for report in kept if report.longest is not None]
    worst = max(with_excess, key=lambda one: one.longest.duration_s if one.longest else 0.0, default=None)
    return CampaignSummary(
        len(kept),
        tuple(report for report in kept if report.failures),
        worst.longest if worst else None,
        worst.seed if worst else None,
        worst.allowed_s if worst else None,
        sum(len(report.wrong_increases) for report in kept),
        sum(len(report.book_faults) for report in kept),
        counts,
        sum(report.spent_s for report in kept),
    )
