"""Sessions and their departure targets."""

from __future__ import annotations

from api.auth import Scope
from api.operations import Call, Operation, Reply
from api.schemas import DepartureTargetRequest, SessionFilter
from api.views import SessionListView, SessionView, cursor_of, cursor_value, next_page
from optimizer.domain.ids import SessionId
from optimizer.domain.session import DepartureTarget, Session, TargetSource
from optimizer.errors import Conflict, InvalidRequest

# Rows read at once while filtering.
_ROWS_AT_ONCE = 500


async def sessions(call: Call, query: SessionFilter) -> Reply[SessionListView]:
    """List sessions in the order of plug-in, a page at a time."""
    found: list[Session] = []
    before = cursor_value(query.cursor)
    after = SessionId(before) if before is not None else None
    while len(found) <= query.limit:
        rows = await call.service.stores.sessions.sessions(
            call.service.site.id, active_only=query.active is True, after=after, limit=_ROWS_AT_ONCE
        )
        found += [session for session in rows if _matches(session, query)]
        if len(rows) < _ROWS_AT_ONCE:
            break
        after = rows[-1].id
    page = found[: query.limit]
    next_cursor = cursor_of(page[-1].id) if len(found) > query.limit else None
    return Reply(
        SessionListView(sessions=[SessionView.of(session) for session in page], next_cursor=next_cursor),
        next_page("/v1/sessions", query, next_cursor),
    )


async def session(call: Call) -> Reply[SessionView]:
    """Show one session."""
    return Reply(SessionView.of(await call.service.stores.sessions.session(SessionId(call.path["session_id"]))))


async def state_target(call: Call, body: DepartureTargetRequest) -> Reply[SessionView]:
    """State what a session needs by when; it replaces what was believed before, whoever said it."""
    now = call.service.clock.now()
    if body.depart_at <= now:
        raise InvalidRequest("depart_at", body.depart_at.isoformat(), f"must be after now, {now.isoformat()}")
    kept = await call.service.stores.sessions.session(SessionId(call.path["session_id"]))
    if not kept.is_active:
        raise Conflict(f"session {kept.id!r} has ended")
    if body.soc is not None and kept.vehicle.battery_kwh is None:
        raise InvalidRequest("soc", body.soc, "this vehicle's battery is not known; give energy_kwh")
    target = DepartureTarget(body.depart_at, body.energy_kwh, body.soc, TargetSource.API)
    return Reply(SessionView.of(await call.service.control.set_targets(kept.id, [target])))


def _matches(session: Session, query: SessionFilter) -> bool:
    return (
        (query.active is None or session.is_active == query.active)
        and (query.token_id is None or session.token_id == query.token_id)
        and (query.evse_id is None or session.evse_id == query.evse_id)
    )


OPERATIONS = (
    Operation("GET", "/v1/sessions", sessions, Scope.READ),
    Operation("GET", "/v1/sessions/{session_id}", session, Scope.READ),
    Operation("POST", "/v1/sessions/{session_id}/departure-target", state_target, Scope.RESERVE, conflicts=True),
)
