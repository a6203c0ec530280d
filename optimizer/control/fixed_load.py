"""The load of EVSEs that a plan cannot count on steering, for the planner to leave room for."""

from __future__ import annotations

from optimizer.control.bounds import BoundKind
from optimizer.control.guard import all_bounds
from optimizer.control.settings import ControlSettings
from optimizer.control.view import GuardView
from optimizer.domain.ids import EvseId

_OUT_OF_HAND = (BoundKind.OFFLINE, BoundKind.IGNORING)


def fixed_load_kw(view: GuardView, settings: ControlSettings) -> dict[EvseId, float]:
    """Power at which each EVSE that is not steerable counts [kW].

    An idle EVSE draws nothing, and a vehicle whose transaction has not begun will be steerable in a moment: for both
    the guard keeps room, but no plan need count them as load.
    """
    fixed = {}
    for evse_id, bound in all_bounds(view, settings).items():
        session = view.sessions.get(evse_id)
        waits_for_start = session is not None and session.transaction_id is None and bound.kind not in _OUT_OF_HAND
        if bound.steerable or waits_for_start or bound.kind is BoundKind.IDLE:
            continue
        feeder = view.feeders[evse_id]
        fixed[evse_id] = feeder.evse.current_a(bound.may_kw) * feeder.kw_per_a
    return fixed
