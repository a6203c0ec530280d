"""The last resort of the guard: transactions that must end, since no limit brings the site within its own. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from optimizer.control.bounds import Bound, BoundKind
from optimizer.control.ceilings import LoadTally
from optimizer.control.settings import ControlSettings
from optimizer.control.view import GuardView, metered_import_exceeds
from optimizer.domain.charger import LimitState
from optimizer.domain.ids import EvseId


def stops_needed(
    view: GuardView, tally: LoadTally, order: Iterable[EvseId], settings: ControlSettings
) -> tuple[EvseId, ...]:
    """Whose transaction must end, after all cuts: only while the site meter shows that a limit is exceeded.

    limit   ------------
    left    A *   B *       both at the least current that their stations take: B, the less urgent, is stopped
    """
    if not metered_import_exceeds(view, settings):
        return ()
    stubborn = (one for one in order if not tally.feeders[one].takes_zero and tally.levels_a[one] > 0.0)
    return _stopped(tally, stubborn)


def last_stops(
    view: GuardView,
    tally: LoadTally,
    bounds: Mapping[EvseId, Bound],
    order: Iterable[EvseId],
    settings: ControlSettings,
) -> tuple[EvseId, ...]:
    """Whose transaction must end because no limit holds it: only when all that obeys was cut, and was seen to be.

    limit    ------------------
    left     A ****   B *            A ignores its limits, or rejects them; B is at its least current: A is stopped

    Args:
        view: What is known.
        tally: What flows after all cuts.
        bounds: What every EVSE counts at.
        order: Those that no limit holds (`deaf_evses`), the least urgent first.
        settings: Tolerances.
    """
    if not metered_import_exceeds(view, settings):
        return ()
    if any(bound.expected_kw < bound.may_kw - settings.verification_tolerance_kw for bound in bounds.values()):
        return ()
    return _stopped(tally, order)


def _stopped(tally: LoadTally, order: Iterable[EvseId]) -> tuple[EvseId, ...]:
    """Those that are brought to nothing in ``order`` until every limit holds, if they are part of what exceeds it."""
    stops = []
    for evse_id in order:
        exceeded = tally.exceeded()
        if not exceeded:
            break
        if any(tally.fit_under_a(evse_id, ceiling) is not None for ceiling in exceeded):
            tally.set_level(evse_id, 0.0)
            stops.append(evse_id)
    return tuple(stops)


def deaf_evses(view: GuardView, bounds: Mapping[EvseId, Bound]) -> list[EvseId]:
    """EVSEs in contact with a transaction that take no limit, or keep none."""
    return [evse_id for evse_id, bound in bounds.items() if _is_deaf(view, evse_id, bound)]


def _is_deaf(view: GuardView, evse_id: EvseId, bound: Bound) -> bool:
    connector, session = view.connectors[evse_id], view.sessions.get(evse_id)
    if session is None or session.transaction_id is None or not connector.online:
        return False
    if bound.kind is BoundKind.NOT_TAKEN:
        return connector.setpoint is not None and connector.setpoint.state is LimitState.REJECTED
    return bound.kind is BoundKind.IGNORING
