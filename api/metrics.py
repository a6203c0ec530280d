"""What Prometheus can read of the service, in a registry of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from api.plan_views import outcome_name
from optimizer.domain.charger import ExternalLimit, LimitCommand
from optimizer.domain.event import GridEvent
from optimizer.domain.ids import EvseId, StationId, TransactionId
from optimizer.domain.plan import Fallback, PlanOutcome
from optimizer.ports import ChargerGateway, LimitReply

_SOLVE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STEP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_RESPONSE_BUCKETS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class ServiceMetrics:
    """Counters and histograms of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.solve_s = Histogram(
            "chargehorizon_solve_seconds",
            "Planning, from problem to plan [s].",
            ["outcome"],
            registry=self.registry,
            buckets=_SOLVE_BUCKETS,
        )
        self.plan_gap = Gauge(
            "chargehorizon_plan_gap", "Relative gap of the last solver's plan.", registry=self.registry
        )
        self.plan_unserved_kwh = Gauge(
            "chargehorizon_plan_unserved_kwh", "Target energy that the last plan misses [kWh].", registry=self.registry
        )
        self.plan_made_at = Gauge(
            "chargehorizon_plan_made_timestamp_seconds",
            "When the last plan was made, in the service's clock.",
            registry=self.registry,
        )
        self.limits = Counter(
            "chargehorizon_limits", "Limits sent to stations, by their answer.", ["state"], registry=self.registry
        )
        self.guard_s = Histogram(
            "chargehorizon_guard_step_seconds", "One guard step [s].", registry=self.registry, buckets=_STEP_BUCKETS
        )
        self.guard_cuts = Counter(
            "chargehorizon_guard_cuts", "Limits that the guard cut below the plan.", registry=self.registry
        )
        self.grid_event_response_s = Histogram(
            "chargehorizon_grid_event_response_seconds",
            "From receipt of a grid event, or its start, to the first limits that keep it [s of the service's clock].",
            registry=self.registry,
            buckets=_RESPONSE_BUCKETS,
        )
        self.records_delivered = Counter(
            "chargehorizon_records_delivered",
            "Energy-cost records handed to billing, by result.",
            ["result"],
            registry=self.registry,
        )
        self.stations_connected = Gauge(
            "chargehorizon_stations_connected", "Stations that are connected.", registry=self.registry
        )
        self.station_alerts = Gauge(
            "chargehorizon_station_alerts", "Alerts of stations, by severity.", ["severity"], registry=self.registry
        )
        self.job_failures = Counter(
            "chargehorizon_job_failures", "Runs of a periodic job that failed.", ["job"], registry=self.registry
        )
        self.requests = Counter(
            "chargehorizon_http_requests", "Requests answered.", ["method", "path", "status"], registry=self.registry
        )

    def saw_outcome(self, outcome: PlanOutcome) -> None:
        """Count one planning."""
        self.solve_s.labels(outcome_name(outcome)).observe(outcome.figures.total_s)
        self.plan_made_at.set(outcome.plan.made_at.timestamp())
        self.plan_unserved_kwh.set(sum(short.unserved_kwh for short in outcome.plan.shortfalls))
        if not isinstance(outcome, Fallback):
            self.plan_gap.set(outcome.gap)

    def saw_response(self, event: GridEvent, applied_at: datetime) -> None:
        """Count how fast a grid event came into force."""
        due_at = max(event.received_at, event.span.start)
        self.grid_event_response_s.observe(max(0.0, (applied_at - due_at).total_seconds()))

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


class CountingGateway:
    """A charger gateway that counts the answers of the one inside it.

    Made in two steps, since control talks to stations and stations talk to control: first this, then `connect`.

    Args:
        metrics: Counts.
    """

    _inner: ChargerGateway

    def __init__(self, metrics: ServiceMetrics) -> None:
        self._limits = metrics.limits

    def connect(self, inner: ChargerGateway) -> None:
        """Take what talks to the stations; nothing may be sent before."""
        self._inner = inner

    async def set_limit(self, command: LimitCommand) -> LimitReply:
        """Replace the limit of one EVSE."""
        return self._counted(await self._inner.set_limit(command))

    async def set_safe_default(self, station_id: StationId, evse_id: EvseId, limit_kw: float) -> LimitReply:
        """Install the limit that holds whenever no newer one does [kW]."""
        return self._counted(await self._inner.set_safe_default(station_id, evse_id, limit_kw))

    async def clear_limit(self, station_id: StationId, evse_id: EvseId) -> LimitReply:
        """Remove what ``set_limit`` installed."""
        return self._counted(await self._inner.clear_limit(station_id, evse_id))

    async def stop_charging(self, station_id: StationId, transaction_id: TransactionId) -> LimitReply:
        """End a transaction."""
        return self._counted(await self._inner.stop_charging(station_id, transaction_id))

    def is_online(self, station_id: StationId) -> bool:
        """Whether the station is connected now."""
        return self._inner.is_online(station_id)

    def limits_of_others(self) -> Mapping[EvseId, tuple[ExternalLimit, ...]]:
        """Limits that others have set, of EVSEs that have any."""
        return self._inner.limits_of_others()

    def switches_phases(self, evse_id: EvseId) -> bool:
        """Whether an EVSE may be told to change its number of phases."""
        return self._inner.switches_phases(evse_id)

    def _counted(self, reply: LimitReply) -> LimitReply:
        self._limits.labels(reply.state.value).inc()
        return reply
