"""Many replays of one scenario with other values, at once: on the cores of this machine, or on a Dask cluster.

    variations ──> points ──> tasks, each a scenario already read and checked ──> workers ──> one row a task

A task that fails is tried again; one that keeps failing becomes a row that says why, and the others go on. What is done
is kept when the sweep is interrupted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from optimizer.errors import ChargeHorizonError, InvalidDataFile, InvalidInput
from scenarios.replay import bounds_of, judged, replay
from scenarios.runner import never
from scenarios.scenario import Scenario
from scenarios.scenario_files import NOTHING_CHANGED, load_scenario
from scenarios.strategies import OFFLINE_OPTIMUM, checked_strategy
from scenarios.variations import Point, Variation, changes_of, points_of

TRIES = 3
"""How often a task is tried before it counts as failed."""
LOOK_S = 0.5
"""How often a sweep looks whether it is interrupted [s]."""

Asked = Callable[[], bool]
"""Whether somebody has interrupted."""


@dataclass(frozen=True)
class SweepTask:
    """One replay of a sweep."""

    number: int
    """Its place in the sweep."""
    point: Point
    """What is varied, and its value here."""
    scenario: Scenario
    """What is replayed."""
    strategy: str
    """What plans."""

    @property
    def key(self) -> str:
        """Equal for tasks with the same result."""
        scenario = self.scenario
        parts = (scenario.fingerprint, scenario.name, scenario.start, scenario.end, scenario.seed, self.strategy)
        return sha256(repr(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class SweepRow:
    """What became of one task."""

    number: int
    """Its place in the sweep."""
    point: Point
    """What was varied, and its value here."""
    key: str
    """Of the task."""
    figures: Mapping[str, Any]
    """The figures of its replay by name; empty where it failed."""
    tries: int
    """How often it was tried."""
    error: str = ""
    """Why it failed; empty where it did not."""

    @property
    def is_done(self) -> bool:
        """Whether it has figures."""
        return not self.error

    def as_json(self) -> dict[str, Any]:
        """The row as it stands in a table: what was varied, then the figures."""
        figures = {name: value for name, value in self.figures.items() if name not in self.point}
        return {**self.point, **figures, "tries": self.tries, "error": self.error}


class Workers(Protocol):
    """Where tasks are done."""

    @property
    def width(self) -> int:
        """How many tasks are done at once."""
        ...

    @property
    def is_interrupted(self) -> Asked:
        """What a task asks at every step; goes to the workers with it."""
        ...

    def open(self) -> Executor:
        """A pool of workers; asked for again when one of them has died."""
        ...

    def interrupt(self) -> None:
        """Let tasks that are going on end soon."""
        ...


def tasks_of(
    path: Path,
    variations: Sequence[Variation],
    *,
    strategy: str | None = None,
    changes: Mapping[str, Any] = NOTHING_CHANGED,
    window: Callable[[Scenario], tuple[datetime, datetime]] | None = None,
) -> tuple[SweepTask, ...]:
    """Read and check the scenario of every combination, before the first one is replayed.

    Args:
        path: The scenario file.
        variations: What is varied.
        strategy: What plans, or ``offline_optimum``; ``None``: what the file, or a variation, names.
        changes: Values that hold for all, by dotted name.
        window: Gives first and last instant of a part of a scenario; ``None``: all of it.

    Raises:
        InvalidInput: A combination makes no valid scenario; it is named.
    """
    if strategy is not None and strategy != OFFLINE_OPTIMUM:
        checked_strategy(strategy, "strategy")
    if strategy is not None and any(variation.name == "strategy" for variation in variations):
        raise InvalidInput("strategy", strategy, "leave it out where strategy is varied")
    tasks = []
    for number, point in enumerate(points_of(variations)):
        try:
            scenario = load_scenario(path, {**changes, **changes_of(path, point)})
            if window is not None:
                scenario = scenario.between(*window(scenario))
        except InvalidInput as error:
            error.add_note(f"of the combination {point_text(point)}")
            raise
        tasks.append(SweepTask(number, point, scenario, strategy or scenario.strategy))
    return tuple(tasks)


def point_text(point: Mapping[str, Any]) -> str:
    """A combination for people: ``site.limit_kw=60, battery.capacity_kwh=0``."""
    return ", ".join(f"{name}={value}" for name, value in point.items()) or "(nothing varied)"


def run_task(task: SweepTask, is_interrupted: Asked = never) -> dict[str, Any]:
    """Replay one task and return its figures; runs in the workers.

    Raises:
        CancelledError: It was interrupted: half a replay is no figure.
    """
    if task.strategy == OFFLINE_OPTIMUM:
        bounds = bounds_of(task.scenario)
        return judged(task.scenario, bounds.optimum, bounds).as_json()
    if is_interrupted():
        raise CancelledError
    result = replay(task.scenario, task.strategy, is_interrupted=is_interrupted)
    if not result.course.is_complete:
        raise CancelledError
    return result.as_json()


def sweep(
    tasks: Sequence[SweepTask],
    workers: Workers,
    *,
    tries: int = TRIES,
    is_interrupted: Asked = never,
    work: Callable[[SweepTask, Asked], dict[str, Any]] = run_task,
) -> Iterator[SweepRow]:
    """Do all tasks and give a row for each as it ends, in the order in which they end.

    Args:
        tasks: What is to be done.
        workers: Where.
        tries: How often a task is tried before it counts as failed; bad input is not tried again.
        is_interrupted: Asked now and then; when true no row comes any more.
        work: Does one task.
    """
    return _Sweep(tasks, workers, tries, work).rows(is_interrupted)


@dataclass(frozen=True)
class _Attempt:
    task: SweepTask
    tries: int = 0
    """Those that failed before."""
    is_suspect: bool = False
    """Whether a worker died while this one and others were running."""


class _Sweep:
    """A sweep that is going on."""

    def __init__(
        self,
        tasks: Sequence[SweepTask],
        workers: Workers,
        tries: int,
        work: Callable[[SweepTask, Asked], dict[str, Any]],
    ) -> None:
        self._workers = workers
        self._tries = tries
        self._work = work
        self._waiting = deque(_Attempt(task) for task in tasks)
        # One of them has killed a worker; alone, each shows whether it was the one.
        self._suspects: deque[_Attempt] = deque()
        self._running: dict[Future[dict[str, Any]], _Attempt] = {}
        self._executor: Executor | None = None

    def rows(self, is_interrupted: Asked) -> Iterator[SweepRow]:
        """Every row as it ends."""
        try:
            while self._waiting or self._suspects or self._running:
                if is_interrupted():
                    return
                self._submit()
                ended, _ = wait(self._running, timeout=LOOK_S, return_when=FIRST_COMPLETED)
                yield from self._ended(ended)
        finally:
            self._close()

    def _submit(self) -> None:
        """Keep all workers busy; while there are suspects, one of them alone."""
        while (source := self._suspects or self._waiting) and len(self._running) < self._room():
            attempt = source.popleft()
            if self._executor is None:
                self._executor = self._workers.open()
            try:
                future = self._executor.submit(self._work, attempt.task, self._workers.is_interrupted)
            except BrokenExecutor:
                # A worker has just died; those that were running tell of it when they are asked.
                source.appendleft(attempt)
                if self._running:
                    return
                self._executor = None
                continue
            self._running[future] = attempt

    def _room(self) -> int:
        """How many may run at once."""
        is_investigating = bool(self._suspects) or any(attempt.is_suspect for attempt in self._running.values())
        return 1 if is_investigating else self._workers.width

    def _ended(self, ended: set[Future[dict[str, Any]]]) -> Iterator[SweepRow]:
        broken = [future for future in ended if isinstance(_error_of(future), BrokenExecutor)]
        for future in ended.difference(broken):
            attempt, error = self._running.pop(future), _error_of(future)
            if error is None:
                yield _row(attempt, future.result())
            else:
                yield from self._failed(attempt, error)
        if broken:
            yield from self._worker_died(_error_of(broken[0]))

    def _worker_died(self, error: BaseException | None) -> Iterator[SweepRow]:
        """A dead worker takes the whole pool along; who was alone in it is to blame."""
        attempts = list(self._running.values())
        self._running.clear()
        self._close()
        if len(attempts) == 1 and error is not None:
            yield from self._failed(attempts[0], error)
        else:
            self._suspects.extend(replace(attempt, is_suspect=True) for attempt in attempts)

    def _failed(self, attempt: _Attempt, error: BaseException) -> Iterator[SweepRow]:
        tried = replace(attempt, tries=attempt.tries + 1)
        if tried.tries >= self._tries or isinstance(error, InvalidInput):
            yield SweepRow(tried.task.number, tried.task.point, tried.task.key, {}, tried.tries, error_text(error))
        elif isinstance(error, BrokenExecutor):
            self._suspects.append(tried)
        else:
            self._waiting.append(tried)

    def _close(self) -> None:
        if self._executor is None:
            return
        if self._running:
            self._workers.interrupt()
        for future in self._running:
            future.cancel()
        self._executor.shutdown(wait=not self._running)
        self._executor = None
        self._running.clear()


def _error_of(future: Future[dict[str, Any]]) -> BaseException | None:
    return CancelledError("given up by its workers") if future.cancelled() else future.exception()


def _row(attempt: _Attempt, figures: Mapping[str, Any]) -> SweepRow:
    task = attempt.task
    return SweepRow(task.number, task.point, task.key, figures, attempt.tries + 1)


def error_text(error: BaseException) -> str:
    """One line on why a task failed."""
    if isinstance(error, BrokenExecutor):
        return "its worker process died, perhaps for want of memory"
    text = " ".join(str(error).split())
    return text if isinstance(error, ChargeHorizonError) else f"{type(error).__name__}: {text}".rstrip(": ")


def check_same_units(tasks: Sequence[SweepTask]) -> str:
    """The currency of all tasks.

    Raises:
        InvalidDataFile: There are several: their costs do not belong into one table.
    """
    currencies = sorted({task.scenario.site.currency for task in tasks})
    if len(currencies) > 1:
        raise InvalidDataFile("site.currency", currencies, "vary tariffs of one currency only")
    return currencies[0]
