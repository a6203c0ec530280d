"""The periodic work beside control, on APScheduler: settlement, hand-over to billing, prices, spending.

Planning and guarding have a supervisor of their own (`optimizer.control.loop.ControlLoop.run`), which events wake
between its ticks. What stands here has none: a late run harms nobody, two runs at once might.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Any

import structlog
from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from api.metrics import ServiceMetrics
from api.pace import LEAST_JOB_WALL_S
from connectors.clock import wall_time
from optimizer.errors import ChargeHorizonError
from optimizer.ports import Clock

MISFIRE_GRACE_WALL_S = 3600
"""A run that comes late, for a busy processor or a machine that slept, is made up for once [s]."""

Work = Callable[[], Awaitable[None]]

log = structlog.get_logger(__name__)


class Jobs:
    """Periodic work in one event loop; jobs live in memory, their state in the stores.

    Args:
        clock: The service's clock; periods are its seconds, on the wall never shorter than half a second.
        metrics: Counts failures.
    """

    def __init__(self, clock: Clock, metrics: ServiceMetrics) -> None:
        self._clock = clock
        self._failures = metrics.job_failures
        self._running: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": MISFIRE_GRACE_WALL_S},
        )
        self._scheduler.add_listener(self._count_failure, EVENT_JOB_ERROR)

    def every(self, period_s: float, name: str, work: Work) -> None:
        """Do ``work`` now and then every ``period_s`` of the service's clock; failures are logged and counted.

        Args:
            period_s: Time from one run to the next [s].
            name: Name in log and metrics.
            work: What to do.
        """

        async def run() -> None:
            await self._run(name, work)

        wall_s = max(LEAST_JOB_WALL_S, self._clock.wall_seconds(period_s))
        self._scheduler.add_job(run, "interval", seconds=wall_s, id=name, name=name, next_run_time=wall_time())

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    async def stop(self, patience_s: float) -> None:
        """Begin nothing new, and give what is running a moment to end.

        Args:
            patience_s: How long, on the wall [s].
        """
        if not self._scheduler.running:
            return
        self._stopping = True
        self._scheduler.pause()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=patience_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late)
        self._scheduler.shutdown(wait=False)

    async def _run(self, name: str, work: Work) -> None:
        task = asyncio.current_task()
        if task is None or self._stopping:
            return
        self._running.add(task)
        try:
            await work()
        except ChargeHorizonError as error:
            self._failures.labels(name).inc()
            log.warning("job failed; going on with its next run", job=name, error=str(error))
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            log.info("job given up", job=name)
        finally:
            self._running.discard(task)

    def _count_failure(self, event: JobExecutionEvent) -> None:
        """Count a fault that is not one of ours; APScheduler has logged it, and the next run comes all the same."""
        self._failures.labels(event.job_id).inc()
