"""From recorded sessions to the stays of a scenario: where each car stands, what it is like, what is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from optimizer.domain.ids import EvseId
from optimizer.domain.session import DepartureTarget, TargetSource
from optimizer.domain.site import Site
from optimizer.errors import InvalidInput
from scenarios.arrivals import RecordedSession, SetAside
from scenarios.scenario import Stay, TargetPolicy, Told
from scenarios.vehicle_kinds import VehicleKind, drawn_kind, vehicle_of
from scenarios.vehicle_model import VehicleModel


@dataclass(frozen=True, slots=True)
class Placed:
    """Sessions with the EVSE of each, and those for which there was none."""

    sessions: tuple[tuple[RecordedSession, EvseId], ...]
    """Session and EVSE, by plug-in."""
    set_aside: tuple[SetAside, ...] = ()
    """Sessions for which no EVSE was free."""


def placed_by_name(sessions: Sequence[RecordedSession], site: Site) -> Placed:
    """Each session at the EVSE that has the name of its post.

    Raises:
        InvalidInput: There is no such EVSE.
    """
    for session in sessions:
        if EvseId(session.post) not in site.evses:
            fix = (
                f"name an EVSE of the site so, or choose places: in_order or any_free; the site has {list(site.evses)}"
            )
            raise InvalidInput("sessions.places", session.post, fix)
    return Placed(tuple((session, EvseId(session.post)) for session in sessions))


def placed_in_order(sessions: Sequence[RecordedSession], site: Site) -> Placed:
    """The first post by name at the first EVSE of the site, the second at the second.

    Raises:
        InvalidInput: There are more posts than EVSEs.
    """
    posts = sorted({session.post for session in sessions})
    if len(posts) > len(site.evses):
        fix = f"give the site {len(posts)} EVSEs, one for each post of the recording"
        raise InvalidInput("site.stations", f"{len(site.evses)} EVSEs", fix)
    evse_of: Mapping[str, EvseId] = dict(zip(posts, site.evses, strict=False))
    return Placed(tuple((session, evse_of[session.post]) for session in sessions))


def placed_where_free(sessions: Iterable[RecordedSession], site: Site) -> Placed:
    """Each car at the first EVSE that is free when it comes; who finds none is set aside."""
    free_from: dict[EvseId, datetime | None] = dict.fromkeys(site.evses)
    placed, turned_away = [], []
    for session in sessions:
        free = [evse_id for evse_id, when in free_from.items() if when is None or when <= session.arrived_at]
        if not free:
            turned_away.append(SetAside("sessions", session.id, f"all {len(site.evses)} EVSEs are taken"))
            continue
        free_from[free[0]] = session.departed_at
        placed.append((session, free[0]))
    return Placed(tuple(placed), tuple(turned_away))


def stays_of(
    placed: Placed,
    site: Site,
    kinds: Sequence[VehicleKind],
    seed: int,
    policy: TargetPolicy,
    bidirectional: frozenset[EvseId] = frozenset(),
) -> tuple[Stay, ...]:
    """The stays of placed sessions.

    Args:
        placed: Sessions and where they stand.
        site: The site.
        kinds: Kinds of vehicles.
        seed: For each session's kind.
        policy: What drivers tell.
        bidirectional: EVSEs at which power can be given back.
    """
    stays = []
    for session, evse_id in placed.sessions:
        kind = drawn_kind(kinds, seed, session.id)
        vehicle = vehicle_of(session, site.evses[evse_id], kind, takes_back=evse_id in bidirectional)
        told = tuple(Told(one.at, as_kept(one.targets, vehicle)) for one in told_of(session, policy))
        stays.append(Stay(session, evse_id, vehicle, told, kind.tier))
    return tuple(stays)


def as_kept(targets: tuple[DepartureTarget, ...], vehicle: VehicleModel) -> tuple[DepartureTarget, ...]:
    """Targets as they are kept of a vehicle: of one that gives back, as state of charge.

    A meter that only rises says nothing of what was given back: who was promised 10 kWh, and lent 5 of them, would
    count as served with 5.
    """
    if not vehicle.gives_back:
        return targets
    socs = (vehicle.soc_with(target.energy_kwh or 0.0) for target in targets)
    return tuple(
        replace(target, energy_kwh=None, soc=soc) if soc is not None and target.energy_kwh is not None else target
        for target, soc in zip(targets, socs, strict=True)
    )


def told_of(session: RecordedSession, policy: TargetPolicy) -> tuple[Told, ...]:
    """What is told of a session, and when; what lies in the past when it is told is left out."""
    match policy:
        case TargetPolicy.NONE:
            return ()
        case TargetPolicy.RECORDED:
            target = DepartureTarget(session.departed_at, energy_kwh=session.delivered_kwh, source=TargetSource.API)
            return (Told(session.arrived_at, (target,)),)
        case TargetPolicy.STATED:
            return tuple(
                Told(
                    statement.stated_at,
                    (DepartureTarget(statement.depart_at, energy_kwh=statement.energy_kwh, source=TargetSource.API),),
                )
                for statement in session.statements
                if statement.stated_at < min(session.departed_at, statement.depart_at)
            )
