"""Grid events: limits, setpoints and prices that come from outside, in force within one guard step."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

from api.auth import Scope
from api.idempotency import (
    IDEMPOTENCY_KEY,
    IF_MATCH,
    etag_of,
    identifier_for,
    made_before,
    require_ahead,
    require_match,
)
from api.operations import Call, Operation, Reply
from api.schemas import GridEventRequest, SpanFilter
from api.views import GridEventListView, GridEventView
from optimizer.domain.event import GridEvent, GridEventInterval, GridEventStatus
from optimizer.domain.ids import CircuitId, GridEventId
from optimizer.domain.moment import Interval
from optimizer.errors import Conflict, InvalidRequest


async def receive(call: Call, body: GridEventRequest) -> Reply[GridEventView]:
    """Take a limit, setpoint or price for a time.

    The guard acts at once, then the plan is made anew. ``applied_at`` and ``confirmed_at`` of the event prove it.
    """
    wanted = _event(call, body, GridEventId(identifier_for(call, "grid-event")))
    store = call.service.stores.grid_events
    async with call.service.stores.together():
        kept = await made_before(store.event(wanted.id), wanted, _asked)
        if kept is not None:
            return _reply(kept)
        require_ahead("end", wanted.span.end, wanted.received_at)
        await store.save(wanted)
    _act(call)
    return _reply(wanted)


async def events(call: Call, query: SpanFilter) -> Reply[GridEventListView]:
    """List the grid events that overlap a span of time."""
    span = query.span(call.service.clock.now())
    found = await call.service.stores.grid_events.events(call.service.site.id, span.start, span.end)
    return Reply(GridEventListView(grid_events=[GridEventView.of(one) for one in found]))


async def event(call: Call) -> Reply[GridEventView]:
    """Show one grid event with the proof of response."""
    return _reply(await call.service.stores.grid_events.event(GridEventId(call.path["grid_event_id"])))


async def cancel(call: Call) -> Reply[GridEventView]:
    """Cancel a grid event; cancelling it again changes nothing."""
    store = call.service.stores.grid_events
    # Read and written as one: the guard marks events meanwhile.
    async with call.service.stores.together():
        kept = await store.event(GridEventId(call.path["grid_event_id"]))
        require_match(call, kept.version)
        if kept.status is GridEventStatus.CANCELLED:
            return _reply(kept)
        if kept.status is GridEventStatus.COMPLETED or kept.span.end <= call.service.clock.now():
            raise Conflict(f"grid event {kept.id!r} is over and can no longer be cancelled")
        cancelled = replace(kept, status=GridEventStatus.CANCELLED, version=kept.version + 1)
        await store.save(cancelled)
    _act(call)
    return _reply(cancelled)


def _act(call: Call) -> None:
    call.service.control.guard_soon()
    call.service.control.plan_soon("grid_event")


def _event(call: Call, body: GridEventRequest, identifier: GridEventId) -> GridEvent:
    now, site = call.service.clock.now(), call.service.site
    if body.circuit_id is not None and CircuitId(body.circuit_id) not in site.circuit_by_id:
        known = ", ".join(sorted(site.circuit_by_id))
        raise InvalidRequest("circuit_id", body.circuit_id, f"site {site.id!r} has the circuits {known}")
    parts = tuple(GridEventInterval(Interval(part.start, part.end), part.value) for part in body.parts())
    return GridEvent(
        id=identifier,
        site_id=site.id,
        kind=body.kind,
        intervals=parts,
        received_at=now,
        circuit_id=CircuitId(body.circuit_id) if body.circuit_id is not None else None,
        source=body.source,
        priority=body.priority,
    )


def _asked(one: GridEvent) -> tuple[object, ...]:
    return (one.kind, one.intervals, one.circuit_id, one.source, one.priority)


def _reply(one: GridEvent) -> Reply[GridEventView]:
    return Reply(GridEventView.of(one), {"ETag": etag_of(one.version)})


OPERATIONS = (
    Operation(
        "POST",
        "/v1/grid-events",
        receive,
        Scope.GRID,
        HTTPStatus.CREATED,
        request_headers=(IDEMPOTENCY_KEY,),
    ),
    Operation("GET", "/v1/grid-events", events, Scope.READ),
    Operation("GET", "/v1/grid-events/{grid_event_id}", event, Scope.READ),
    Operation(
        "DELETE", "/v1/grid-events/{grid_event_id}", cancel, Scope.GRID, request_headers=(IF_MATCH,), conflicts=True
    ),
)
