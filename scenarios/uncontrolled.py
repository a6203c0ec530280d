"""The same day without control: every car charges as fast as it can from the moment it arrives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from optimizer.domain.ids import EvseId
from optimizer.domain.moment import hours_between
from optimizer.domain.series import PowerSeries
from optimizer.domain.site import Site
from scenarios.arrivals import RecordedSession
from scenarios.plant import Plant, Surroundings
from scenarios.power_trace import PowerTrace
from scenarios.vehicle_kinds import vehicle_of
from scenarios.virtual_evse import VirtualEvse


@dataclass(frozen=True, slots=True)
class UncontrolledDay:
    """What flows when nobody controls."""

    charging: PowerSeries
    """All cars, mean of each quarter-hour."""
    grid_import: PowerSeries
    """Import of the site, mean of each quarter-hour."""
    grid_export: PowerSeries
    """Export of the site, mean of each quarter-hour."""
    peak_charging_kw: float
    """Greatest sum of all cars at any instant [kW]."""
    peak_import_kw: float
    """Greatest import at any instant [kW]."""
    delivered_kwh: Mapping[str, float]
    """Energy of each session by its id [kWh]."""


def uncontrolled_day(
    site: Site,
    surroundings: Surroundings,
    sessions: Sequence[RecordedSession],
    evse_of_post: Mapping[str, EvseId],
    start: datetime,
    end: datetime,
) -> UncontrolledDay:
    """Work out the day from ``start`` to ``end`` without any limit but the EVSEs' own."""
    evses = {evse_id: VirtualEvse(evse, start) for evse_id, evse in site.evses.items()}
    delivered_kwh: dict[str, float] = {}
    for session in sorted(sessions, key=lambda one: one.arrived_at):
        virtual = evses[evse_of_post[session.post]]
        virtual.advance(session.arrived_at)
        car = virtual.plug_in(vehicle_of(session, virtual.evse), session.departed_at)
        virtual.switch(on=True, at=session.arrived_at)
        virtual.unplug(min(session.departed_at, end))
        delivered_kwh[session.id] = car.taken_kwh
    plant = Plant(site, evses, surroundings, start)
    plant.settle(end)
    return UncontrolledDay(
        charging=quarter_hours(plant.charging, start, end),
        grid_import=quarter_hours(plant.grid_import, start, end),
        grid_export=quarter_hours(plant.grid_export, start, end),
        peak_charging_kw=plant.extremes.charging_kw,
        peak_import_kw=plant.extremes.import_kw,
        delivered_kwh=delivered_kwh,
    )


def quarter_hours(trace: PowerTrace, start: datetime, end: datetime) -> PowerSeries:
    """Mean power of each quarter-hour of ``[start, end)``, exactly; a last shorter piece may remain."""
    boundaries = [start]
    while boundaries[-1] < end:
        boundaries.append(min(end, boundaries[-1] + timedelta(minutes=15)))
    means = tuple(
        (trace.register_kwh(after) - trace.register_kwh(before)) / hours_between(before, after)
        for before, after in pairwise(boundaries)
    )
    return PowerSeries(tuple(boundaries), means)
