"""The guard at work: every second, or on every sample, without solver and without plan if need be."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

from optimizer.control.guard import GuardDecision
from optimizer.control.send import LimitSender
from optimizer.control.settings import ControlSettings
from optimizer.control.view import GuardView, fresh_sample
from optimizer.domain.event import GridEvent, GridEventKind, GridEventStatus
from optimizer.domain.ids import CircuitId, EvseId, GridEventId
from optimizer.domain.site import Site
from optimizer.ports import Clock, Stores


class SiteWatch:
    """Looks at one site again and again.

    Args:
        site: Which site.
        stores: Where grid events are kept.
        clock: Time.
        sender: Shared with the control loop.
        settings: Times and tolerances.
    """

    def __init__(
        self, site: Site, stores: Stores, clock: Clock, sender: LimitSender, settings: ControlSettings
    ) -> None:
        self._site = site
        self._stores = stores
        self._clock = clock
        self._sender = sender
        self._settings = settings
        self._poked = asyncio.Event()

    def look_soon(self) -> None:
        """Look now instead of at the next tick."""
        self._poked.set()

    async def guard_step(self) -> GuardDecision:
        """Verify what was sent, cut what is unsafe, grant what has become free, mark what grid events got."""
        view, decision = await self._sender.keep_limits()
        await self._sender.install_safe_defaults(view)
        await self._mark_grid_events(view)
        return decision

    async def next_tick(self) -> None:
        """Wait for the guard's period, or until somebody asks for a look."""
        await first_of(self._poked, self._clock, self._settings.guard_period_s)
        self._poked.clear()

    async def _mark_grid_events(self, view: GuardView) -> None:
        # A day back, so that events which ended while the service was down are completed too.
        earlier = view.at - timedelta(days=1)
        for event in await self._stores.grid_events.events(self._site.id, earlier, view.at + timedelta(seconds=1)):
            if marked_event(event, view, self._settings) is not event:
                await self._mark(event.id, view)

    async def _mark(self, event_id: GridEventId, view: GuardView) -> None:
        """Mark what has become true of an event, as it stands now: it may just have been cancelled."""
        async with self._stores.together():
            event = await self._stores.grid_events.event(event_id)
            marked = marked_event(event, view, self._settings)
            if marked is not event:
                await self._stores.grid_events.save(marked)


def marked_event(event: GridEvent, view: GuardView, settings: ControlSettings) -> GridEvent:
    """The event with what has become true of it; the same object where nothing has.

    Active from its start, applied when the first limits that keep it are sent (the step that reads it sends them),
    confirmed when meters newer than its start are first seen within it, completed at its end.
    """
    if event.status in (GridEventStatus.CANCELLED, GridEventStatus.COMPLETED):
        return event
    changed = event
    if changed.status is GridEventStatus.RECEIVED and view.at >= event.span.start:
        changed = replace(changed, status=GridEventStatus.ACTIVE)
    if changed.applied_at is None and view.at >= event.span.start:
        changed = replace(changed, applied_at=view.at)
    value_kw = event.value_at(view.at)
    if changed.confirmed_at is None and value_kw is not None and _is_within(event, value_kw, view, settings):
        changed = replace(changed, confirmed_at=view.at)
    if view.at >= event.span.end:
        changed = replace(changed, status=GridEventStatus.COMPLETED)
    return changed if changed is event else replace(changed, version=event.version + 1)


def _is_within(event: GridEvent, value_kw: float, view: GuardView, settings: ControlSettings) -> bool:
    """Whether meters read since the event began, or came in, show its limit kept."""
    since = max(event.span.start, event.received_at)
    tolerance_kw = settings.verification_tolerance_kw
    if event.kind is GridEventKind.IMPORT_LIMIT and event.circuit_id in (None, _root(view.site)):
        reading = view.fresh_meter(settings)
        if reading is None or reading.grid_kw is None or reading.at < since:
            return False
        return reading.grid_kw <= value_kw + tolerance_kw
    if event.kind in (GridEventKind.IMPORT_LIMIT, GridEventKind.CONTROLLABLE_LIMIT):
        drawn_kw = _metered_below_kw(view, event.circuit_id or _root(view.site), since, settings)
        return drawn_kw is not None and drawn_kw <= value_kw + tolerance_kw
    # Prices and set-points bind the planner only; a plan made since is all the response there is.
    return event.kind is GridEventKind.PRICE


def _root(site: Site) -> CircuitId:
    return site.grid_connection.circuit_id


def _metered_below_kw(
    view: GuardView, circuit_id: CircuitId, since: datetime, settings: ControlSettings
) -> float | None:
    """Power of all EVSEs below a circuit; ``None`` while one with a vehicle has not been metered since [kW]."""
    total_kw = 0.0
    for evse_id in view.site.evses_below[circuit_id]:
        power_kw = _power_since_kw(view, evse_id, since, settings)
        if power_kw is None:
            return None
        total_kw += power_kw
    return total_kw


def _power_since_kw(view: GuardView, evse_id: EvseId, since: datetime, settings: ControlSettings) -> float | None:
    if evse_id not in view.sessions:
        return 0.0
    sample = fresh_sample(view.connectors[evse_id], view.at, settings)
    return sample.power_kw if sample is not None and sample.at >= since else None


async def first_of(event: asyncio.Event, clock: Clock, seconds: float) -> bool:
    """Wait until ``event`` is set or ``seconds`` of the clock have passed; whether it was set."""
    waiter = asyncio.create_task(event.wait())
    sleeper = asyncio.create_task(clock.sleep(seconds))
    try:
        await asyncio.wait({waiter, sleeper}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (waiter, sleeper):
            task.cancel()
        await asyncio.gather(waiter, sleeper, return_exceptions=True)
    return event.is_set()
