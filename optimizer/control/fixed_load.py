"""The load of EVSEs that a plan cannot count on steering, for the planner to leave room for."""

from __future__ import annotations

from optimizer.control.guard import BoundKind, counted_bounds
from optimizer.control.settings import ControlSettings
from optimizer.control.view import GuardView
from optimizer.domain.ids import EvseId

_OUT_OF_HAND = (BoundKind.OFFLINE, BoundKind.IGNORING)


def fixed_load_kw(view: GuardView, settings: ControlSettings) -> dict[EvseId, float]:
    """Power at which each EVSE that is not steerable counts [kW]; those that count at nothing are left out.

    A vehicle whose transaction has not begun is planned for: it will be steerable in a moment.
    """
    fixed = {}
    for evse_id, bound in counted_bounds(view, settings).items():
        session = view.sessions.get(evse_id)
        waits_for_start = session is not None and session.transaction_id is None and bound.kind not in _OUT_OF_HAND
        if bound.steerable or bound.may_kw <= 0.0 or waits_for_start:
            continue
        feeder = view.feeder(evse_id)
        fixed[evse_id] = feeder.evse.current_a(bound.may_kw) * feeder.kw_per_a
    return fixed
