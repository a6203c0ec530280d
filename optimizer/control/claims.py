"""Reservations at the moment a vehicle comes: which are waited for, and whose place an EVSE is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from optimizer.control.settings import ControlSettings
from optimizer.control.targets import reservation_target, with_targets
from optimizer.domain.ids import SiteId, TokenId
from optimizer.domain.reservation import Reservation, ReservationStatus
from optimizer.domain.session import Session
from optimizer.domain.site import Evse
from optimizer.ports import Stores


class Claims:
    """Reservations that nobody has claimed yet.

    Args:
        site_id: Where.
        stores: Where reservations are kept.
        settings: How early a vehicle may come.
    """

    def __init__(self, site_id: SiteId, stores: Stores, settings: ControlSettings) -> None:
        self._site_id = site_id
        self._stores = stores
        self._early = timedelta(minutes=settings.early_arrival_minutes)

    async def waiting_at(self, at: datetime) -> tuple[Reservation, ...]:
        """Those whose time to come is ``at``."""
        until = at + self._early + timedelta(microseconds=1)
        held = await self._stores.reservations.reservations(self._site_id, at, until)
        return tuple(
            one
            for one in held
            if one.status is ReservationStatus.RESERVED
            and at < one.window.start + timedelta(minutes=one.no_show_after_minutes)
        )

    async def fulfilled(self, session: Session, evse: Evse, claims: Sequence[Reservation]) -> Session:
        """The session with the reservation that its token holds, if it holds one for this EVSE or for any."""
        mine = [claim for claim in claims if claim.token_id == session.token_id and claim.evse_id in (None, evse.id)]
        if not mine or session.reservation_id is not None:
            return session
        claim = min(mine, key=lambda held: (held.evse_id is None, held.window.start))
        fulfilled = replace(claim, status=ReservationStatus.FULFILLED, version=claim.version + 1)
        await self._stores.reservations.save(fulfilled)
        session = replace(session, reservation_id=claim.id, tier=min(session.tier, claim.tier))
        target = reservation_target(claim)
        return with_targets(session, (target,)) if target is not None else session


def is_taken(evse: Evse, token_id: TokenId, claims: Sequence[Reservation]) -> bool:
    """Whether an EVSE waits for another token than this."""
    here = [claim for claim in claims if claim.evse_id == evse.id]
    return bool(here) and all(claim.token_id != token_id for claim in here)
