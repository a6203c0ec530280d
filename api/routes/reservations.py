"""Reservations: booked EVSEs and booked power."""

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
from api.schemas import ReservationRequest, SpanFilter
from api.views import ReservationListView, ReservationView
from optimizer.domain.ids import EvseId, ReservationId, TokenId
from optimizer.domain.moment import Interval
from optimizer.domain.reservation import Reservation, ReservationStatus
from optimizer.domain.session import PriorityTier
from optimizer.errors import Conflict, InvalidRequest


async def book(call: Call, body: ReservationRequest) -> Reply[ReservationView]:
    """Book an EVSE, or an amount of power, for a window.

    The power promised to all reservations that overlap, with the greatest building load, must fit the connection.
    """
    wanted = _reservation(call, body, ReservationId(identifier_for(call, "reservation")))
    store = call.service.stores.reservations
    async with call.service.stores.together():
        kept = await made_before(store.reservation(wanted.id), wanted, _asked)
        if kept is not None:
            return _reply(kept)
        require_ahead("end", wanted.window.end, call.service.clock.now())
        await _require_place(call, wanted)
        await store.add(wanted)
    call.service.control.plan_soon("reservation")
    return _reply(wanted)


async def reservations(call: Call, query: SpanFilter) -> Reply[ReservationListView]:
    """List the reservations whose window overlaps a span of time."""
    span = query.span(call.service.clock.now())
    found = await call.service.stores.reservations.reservations(call.service.site.id, span.start, span.end)
    return Reply(ReservationListView(reservations=[ReservationView.of(one) for one in found]))


async def reservation(call: Call) -> Reply[ReservationView]:
    """Show one reservation."""
    return _reply(await call.service.stores.reservations.reservation(ReservationId(call.path["reservation_id"])))


async def cancel(call: Call) -> Reply[ReservationView]:
    """Cancel a reservation; cancelling it again changes nothing."""
    store = call.service.stores.reservations
    async with call.service.stores.together():
        kept = await store.reservation(ReservationId(call.path["reservation_id"]))
        require_match(call, kept.version)
        if kept.status is ReservationStatus.CANCELED:
            return _reply(kept)
        if kept.status is not ReservationStatus.RESERVED:
            raise Conflict(f"reservation {kept.id!r} is {kept.status} and can no longer be cancelled")
        canceled = _canceled(kept)
        await store.save(canceled)
    call.service.control.plan_soon("reservation")
    return _reply(canceled)


def promised_peak_kw(held: tuple[Reservation, ...], wanted: Reservation) -> float:
    """Greatest power promised at once within the window of ``wanted``, itself included [kW]."""
    running = [one for one in (*held, wanted) if one.id == wanted.id or one.status is ReservationStatus.RESERVED]
    starts = [one.window.start for one in running if wanted.window.contains(one.window.start)] + [wanted.window.start]
    return max(sum(one.guaranteed_power_kw for one in running if one.window.contains(instant)) for instant in starts)


async def _require_place(call: Call, wanted: Reservation) -> None:
    site = call.service.site
    if not wanted.guaranteed_power_kw:
        return
    held = await call.service.stores.reservations.reservations(site.id, wanted.window.start, wanted.window.end)
    promised_kw = promised_peak_kw(held, wanted)
    free_kw = max(0.0, site.grid_connection.import_limit_kw - site.greatest_building_kw)
    if promised_kw > free_kw:
        raise Conflict(f"{promised_kw:g} kW would be guaranteed at once, and the connection leaves {free_kw:g} kW")


def _reservation(call: Call, body: ReservationRequest, identifier: ReservationId) -> Reservation:
    now, site = call.service.clock.now(), call.service.site
    if body.evse_id is not None:
        evse = site.evses.get(EvseId(body.evse_id))
        if evse is None:
            raise InvalidRequest("evse_id", body.evse_id, f"site {site.id!r} has no such EVSE")
        if body.guaranteed_power_kw > evse.max_power_kw:
            raise InvalidRequest(
                "guaranteed_power_kw", body.guaranteed_power_kw, f"this EVSE gives at most {evse.max_power_kw:g} kW"
            )
    return Reservation(
        id=identifier,
        site_id=site.id,
        window=Interval(body.start, body.end),
        token_id=TokenId(body.token_id),
        evse_id=EvseId(body.evse_id) if body.evse_id is not None else None,
        energy_kwh=body.energy_kwh,
        guaranteed_power_kw=body.guaranteed_power_kw,
        tier=PriorityTier(body.tier),
        no_show_after_minutes=body.no_show_after_minutes,
        created_at=now,
    )


def _asked(one: Reservation) -> tuple[object, ...]:
    return (
        one.window,
        one.token_id,
        one.evse_id,
        one.energy_kwh,
        one.guaranteed_power_kw,
        one.tier,
        one.no_show_after_minutes,
    )


def _canceled(kept: Reservation) -> Reservation:
    return replace(kept, status=ReservationStatus.CANCELED, version=kept.version + 1)


def _reply(one: Reservation) -> Reply[ReservationView]:
    return Reply(ReservationView.of(one), {"ETag": etag_of(one.version)})


OPERATIONS = (
    Operation(
        "POST",
        "/v1/reservations",
        book,
        Scope.RESERVE,
        HTTPStatus.CREATED,
        request_headers=(IDEMPOTENCY_KEY,),
        conflicts=True,
    ),
    Operation("GET", "/v1/reservations", reservations, Scope.READ),
    Operation("GET", "/v1/reservations/{reservation_id}", reservation, Scope.READ),
    Operation(
        "DELETE",
        "/v1/reservations/{reservation_id}",
        cancel,
        Scope.RESERVE,
        request_headers=(IF_MATCH,),
        conflicts=True,
    ),
)
