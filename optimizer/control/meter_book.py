"""What is remembered of the EVSEs' meters, and what their samples say of the vehicles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from optimizer.control.ceilings import Feeder
from optimizer.control.phases import ONE, order_of
from optimizer.control.samples import (
    USABLE,
    accepted_power_kw,
    in_possible_order,
    judged,
    phases_in_use,
    returned_since,
    woken,
)
from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import Connector
from optimizer.domain.ids import EvseId, SessionId
from optimizer.domain.metering import MeterSample
from optimizer.domain.session import Session
from optimizer.domain.site import Evse
from optimizer.ports import Stores

RECENT_SAMPLES = 8
"""Samples remembered of each EVSE, more than any rule looks at."""
WORTH_A_PLAN_KW = 0.5
"""Change of what a vehicle accepts that is worth a new plan [kW]."""


@dataclass
class _Meter:
    """What was last seen of one EVSE's meter; a memory that only spares reading it again."""

    session_id: SessionId | None = None
    newest: MeterSample | None = None
    register: MeterSample | None = None
    doubtful: MeterSample | None = None
    recent: list[MeterSample] = field(default_factory=list)

    def take(self, sample: MeterSample) -> None:
        """Remember a judged sample."""
        if sample.quality not in USABLE:
            if self.newest is None or sample.at >= self.newest.at:
                self.doubtful = sample
            return
        self.newest = sample
        if sample.register_kwh is not None:
            self.register, self.doubtful = sample, None
        if sample.power_kw is not None:
            self.recent = [*self.recent, sample][-RECENT_SAMPLES:]


class MeterBook:
    """Judges samples, keeps them, and takes what they say into the session.

    Args:
        stores: Where samples and sessions are kept.
        settings: Numbers of samples, margins.
    """

    def __init__(self, stores: Stores, settings: ControlSettings) -> None:
        self._stores = stores
        self._settings = settings
        self._meters: defaultdict[EvseId, _Meter] = defaultdict(_Meter)

    def forget(self, evse_id: EvseId) -> None:
        """Read what is needed of an EVSE from the store next time."""
        self._meters.pop(evse_id, None)

    async def take(
        self,
        samples: Sequence[MeterSample],
        stays: Sequence[Session | None],
        evse: Evse,
        connector: Connector,
        received_at: datetime,
    ) -> list[str]:
        """Keep samples of one EVSE in one write, each of a session or of none.

        Args:
            samples: The samples by time.
            stays: The session of each.
            evse: Whose meter it is.
            connector: The EVSE as it was before.
            received_at: Now [UTC].

        Returns:
            What planning should know, in words.
        """
        before = {stay.id: stay for stay in stays if stay is not None}
        after = dict(before)
        meters: dict[SessionId | None, _Meter] = {}
        kept: list[MeterSample] = []
        for sample, stay in zip(samples, stays, strict=True):
            session_id = stay.id if stay is not None else None
            if session_id not in meters:
                meters[session_id] = await self._meter_of(evse.id, stay, connector)
            meter = meters[session_id]
            told_when = in_possible_order(sample, meter.newest, meter.register, received_at)
            verdict = judged(told_when, meter.newest, meter.register, meter.doubtful, evse)
            returned_kwh = returned_since(meter.register, verdict.sample)
            meter.take(verdict.sample)
            kept.append(verdict.sample)
            if session_id is not None and verdict.sample.quality in USABLE:
                told, added_kwh = after[session_id], verdict.added_kwh - returned_kwh
                after[session_id] = self._updated(told, verdict.sample, added_kwh, evse, connector, meter)
        changed = [
            session
            for session_id, session in after.items()
            if session is not before[session_id] and session != before[session_id]
        ]
        session_ids = [stay.id if stay is not None else None for stay in stays]
        await self._stores.meters.add_samples(kept, session_ids, changed)
        return [news for session in changed for news in _news(evse, before[session.id], session)]

    def _updated(
        self,
        session: Session,
        sample: MeterSample,
        added_kwh: Decimal,
        evse: Evse,
        connector: Connector,
        meter: _Meter,
    ) -> Session:
        vehicle, order = session.vehicle, order_of(connector.setpoint, session)
        phases = phases_in_use(sample, evse)
        # Once phases are switched, only what shows more of them than known is the vehicle's own.
        is_own = order is None or (phases or 0) > max(ONE, vehicle.phases_used or 0)
        if phases is not None and is_own and phases != vehicle.phases_used:
            vehicle = replace(vehicle, phases_used=phases)
        soc, soc_at = carried_on_soc(session, float(added_kwh)), session.soc_at
        if sample.soc is not None:
            soc, soc_at = sample.soc, sample.at
        accepted_kw = session.accepted_power_kw
        tells_of_vehicle = (
            session.is_active and sample.power_kw is not None and (order is None or order.seen_at is not None)
        )
        if tells_of_vehicle:
            in_use = ONE if order is not None and order.phases == ONE else vehicle.phases_used
            share = 1.0 if in_use is None else Feeder(evse, in_use).kw_per_a / Feeder(evse).kw_per_a
            accepted_kw = accepted_power_kw(session, connector.setpoint, meter.recent, share, self._settings)
        energy_kwh = session.energy_kwh + float(added_kwh)
        updated = session
        known = (session.vehicle, session.energy_kwh, session.soc, session.soc_at, session.accepted_power_kw)
        # Most vehicles are full, or wait: their samples tell nothing new.
        if (vehicle, energy_kwh, soc, soc_at, accepted_kw) != known:
            updated = replace(
                session,
                vehicle=vehicle,
                energy_kwh=energy_kwh,
                soc=soc,
                soc_at=soc_at,
                accepted_power_kw=accepted_kw,
            )
        return woken(updated, connector.setpoint, meter.recent, evse, self._settings) if tells_of_vehicle else updated

    async def _meter_of(self, evse_id: EvseId, session: Session | None, connector: Connector) -> _Meter:
        """What is remembered of the EVSE's meter in this session, read from the store where it is not.

        Samples of a stay that is over are told late; they are compared with one another, not with what came after.
        """
        meter = self._meters[evse_id]
        if session is None or session.is_active:
            if meter.session_id != (session.id if session else None) or meter.newest is None:
                meter = self._meters[evse_id] = await self._remembered(session, connector.last_sample)
            return meter
        return meter if meter.session_id == session.id else await self._remembered(session, None)

    async def _remembered(self, session: Session | None, newest: MeterSample | None) -> _Meter:
        if session is None:
            return _Meter(newest=newest)
        kept = [sample for sample in await self._stores.meters.session_samples(session.id) if sample.quality in USABLE]
        registers = [sample for sample in kept if sample.register_kwh is not None]
        return _Meter(
            session.id,
            newest=newest or (kept[-1] if kept else None),
            register=registers[-1] if registers else None,
            recent=[sample for sample in kept if sample.power_kw is not None][-RECENT_SAMPLES:],
        )


def carried_on_soc(session: Session, added_kwh: float) -> float | None:
    """The state of charge after energy was metered; AC stations never tell it again after the vehicle stated it.

    Args:
        session: The session before, with the state of charge then.
        added_kwh: Energy since then; below zero it was given back [kWh].
    """
    vehicle = session.vehicle
    if session.soc is None or vehicle.battery_kwh is None or added_kwh == 0.0:
        return session.soc
    efficiency = vehicle.charge_efficiency
    stored_kwh = added_kwh * efficiency if added_kwh > 0.0 else added_kwh / efficiency
    return min(1.0, max(0.0, session.soc + stored_kwh / vehicle.battery_kwh))


def _news(evse: Evse, before: Session, after: Session) -> list[str]:
    news = []
    if _accepts_otherwise(before, after):
        news.append(f"vehicle at {evse.id} takes {_in_words(after.accepted_power_kw)}")
    if after.vehicle != before.vehicle:
        news.append(f"vehicle at {evse.id} known better")
    return news


def _accepts_otherwise(before: Session, after: Session) -> bool:
    was_kw, is_kw = before.accepted_power_kw, after.accepted_power_kw
    if was_kw is None or is_kw is None:
        return was_kw is not is_kw
    return abs(was_kw - is_kw) >= WORTH_A_PLAN_KW or (was_kw == 0.0) != (is_kw == 0.0)


def _in_words(accepted_kw: float | None) -> str:
    if accepted_kw is None:
        return "what it is given"
    return f"{accepted_kw:.1f} kW at most" if accepted_kw else "nothing"
