"""Limits on their way to stations: layers of profiles, told in the way each station obeys.

command ──> rung of the ladder ──> profile ──> call ──> Accepted ──> witness watches the meter
                  ^                              │
                  └────── Rejected: next rung ───┘        ignored in the meter: next rung at the next command
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Final

import structlog

from connectors.ocpp.capability import CapabilityStore, StationCapability
from connectors.ocpp.dynamic import DynamicPlans
from connectors.ocpp.link import LinkOf, StationLink
from connectors.ocpp.outbound import limit_reply
from connectors.ocpp.settings import OcppSettings
from connectors.ocpp.station import StationRecord
from connectors.ocpp.translate_profile import (
    ProfilePurpose,
    ProfileRequest,
    plan_profile,
    safe_default_profile,
    station_maximum_profile,
)
from connectors.ocpp.v21_calls import Calls21
from optimizer.domain.charger import LimitCommand, LimitPeriod, LimitState
from optimizer.domain.ids import EvseId, StationId, TransactionId
from optimizer.domain.site import Evse
from optimizer.errors import NotFound
from optimizer.ports import Clock, LimitReply

REJECTIONS_TO_DOUBT = 3
"""Rejections in a row after which a way that was proven is doubted: the station may have been set up anew."""

FEWEST_PERIODS = 2
"""Periods with which a plan can still be told: what holds now, and the safe value."""

OFFLINE = LimitReply(LimitState.UNANSWERED, "the station is not connected")

Place = tuple[StationRecord, Evse]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a limit asks of a station beyond taking it."""

    may_climb: bool = True
    """Whether it is told in other ways where it is rejected."""
    pauses: bool = False
    """Whether it has a limit of zero."""
    discharges: bool = False
    """Whether it asks for power back."""
    periods: int = 1
    """Its periods."""

    @classmethod
    def of(cls, command: LimitCommand, *, may_climb: bool) -> _Wish:
        """What ``command`` asks."""
        return cls(
            may_climb,
            pauses=any(period.limit_kw <= 0 for period in command.periods),
            discharges=any(period.discharge_kw > 0 for period in command.periods),
            periods=len(command.periods),
        )

    def special_rungs(self, current: StationCapability) -> tuple[StationCapability, ...]:
        """What may be the matter with this very limit, whatever its form: each to be tried before the form is."""
        rungs = []
        if current.dynamic:
            rungs.append(replace(current, dynamic=False))
        if self.discharges and current.discharges:
            rungs.append(replace(current, discharges=False))
        if self.pauses and current.zero_allowed:
            rungs.append(replace(current, zero_allowed=False))
        return tuple(rungs)

    def last_rungs(self, current: StationCapability) -> tuple[StationCapability, ...]:
        """What remains when no form was taken: the fewest periods, what holds now and the safe value."""
        fewest = replace(current, max_periods=FEWEST_PERIODS)
        return (fewest,) if min(self.periods, current.max_periods) > FEWEST_PERIODS else ()


Telling = Callable[[StationCapability], Awaitable[LimitReply]]


class LimitLayers:
    """Installs, replaces and removes the layers of limits at every EVSE.

    Args:
        places: Record and EVSE by EVSE id.
        link_of: Finds the connection of a station.
        clock: Our time.
        settings: Times.
        capabilities: Keeps what the meter proved.
    """

    def __init__(
        self,
        places: Mapping[EvseId, Place],
        link_of: LinkOf,
        clock: Clock,
        settings: OcppSettings,
        capabilities: CapabilityStore,
    ) -> None:
        self._places: Final = places
        self._link_of: Final = link_of
        self._clock: Final = clock
        self._capabilities: Final = capabilities
        self._backdate: Final = timedelta(seconds=settings.backdate_s)
        self._never_zero: Final = settings.never_zero_stations
        self._dynamic: Final = DynamicPlans(clock)
        self._newest: dict[tuple[EvseId, ProfilePurpose], int] = {}
        self._orders = count(1)
        self._default_turns: dict[EvseId, asyncio.Lock] = {}
        self._cleared: set[EvseId] = set()
        self._log = structlog.get_logger(__name__)

    async def set_limit(self, command: LimitCommand) -> LimitReply:
        """Replace the limit of one EVSE by ``command``, as one charging profile.

        Raises:
            NotFound: There is no such EVSE.
        """
        record, evse = self._place(command.evse_id)
        link = self._link_of(record.station.id)
        if link is None:
            return OFFLINE
        number = evse.ocpp_evse_id
        transaction_id = command.transaction_id or record.active.get(number)
        phases = command.phases or record.told[number].phases
        if phases is not None and phases != evse.current_paths and record.capability.switches_phases is False:
            return LimitReply(LimitState.REJECTED, "the station says that it cannot change its number of phases")

        async def tell(capability: StationCapability) -> LimitReply:
            now = self._clock.now()
            most = min(capability.max_periods, record.told[number].most_periods or capability.max_periods)
            profile = plan_profile(
                evse,
                command.periods,
                replace(capability, max_periods=most),
                transaction_id=transaction_id,
                now=now,
                skew=record.skew.skew,
                backdate=self._backdate,
                phases=phases,
                voltage_v=record.meters[number].voltage_v,
                begun_at=record.meters[number].begun_at if number in record.active else None,
            )
            return await self._tell_plan(link, record, profile, capability, now)

        await self._keep_what_is_proven(record)
        wish = _Wish.of(command, may_climb=transaction_id is not None and record.active.get(number) == transaction_id)

        async def make_room() -> None:
            # Meanwhile the safe default holds.
            await link.ask(link.calls.clear_profile(2 * number), (number, "make room"))

        reply = await self._climb(record, evse, ProfilePurpose.PLAN, tell, wish, make_room)
        if record.is_deaf and record.told_maximum_kw is None and record.wanted_defaults_kw:
            # It accepts limits in every form and keeps none: what is left is the bound on the whole station, once.
            await self.set_station_maximum(record, sum(record.wanted_defaults_kw.values()))
        return self._witnessed(record, evse, command, transaction_id, reply)

    def _witnessed(
        self,
        record: StationRecord,
        evse: Evse,
        command: LimitCommand,
        transaction_id: TransactionId | None,
        reply: LimitReply,
    ) -> LimitReply:
        """The reply as it is, or as a rejection where something else holds than was asked for."""
        pauses = any(period.limit_kw <= 0 for period in command.periods)
        if reply.state is LimitState.ACCEPTED:
            told = record.told[evse.ocpp_evse_id]
            told.periods, told.phases = command.periods, command.phases or told.phases
        witness = record.witnesses[evse.ocpp_evse_id]
        if reply.state is not LimitState.ACCEPTED:
            witness.look_away()
            return reply
        if pauses and not record.capability.zero_allowed:
            witness.look_away()
            return _least_current_holds(evse, command.periods)
        witness.accepted(command.periods, self._clock.now(), transaction_id)
        return reply

    async def _tell_plan(
        self,
        link: StationLink,
        record: StationRecord,
        profile: ProfileRequest,
        capability: StationCapability,
        now: datetime,
    ) -> LimitReply:
        calls, number = link.calls, profile.ocpp_evse_id
        if capability.dynamic and isinstance(calls, Calls21) and profile.purpose is ProfilePurpose.PLAN:
            counted_from = now - self._backdate if profile.start_schedule is not None else now
            return await self._dynamic.tell(link, calls, record.told[number], profile, counted_from)
        reply = limit_reply(await link.ask(calls.set_profile(profile), (number, ProfilePurpose.PLAN.value)))
        if reply.state is LimitState.ACCEPTED:
            record.told[number].end_dynamic()
        return reply

    async def set_safe_default(self, station_id: StationId, evse_id: EvseId, limit_kw: float) -> LimitReply:
        """Install the limit that holds whenever no newer one does; one that is known to be there is not written again.

        Raises:
            NotFound: The station has no such EVSE.
        """
        record, evse = self._place(evse_id, station_id)
        record.wanted_defaults_kw[evse.ocpp_evse_id] = limit_kw
        link = self._link_of(station_id)
        if link is None:
            return OFFLINE
        async with self._default_turns.setdefault(evse_id, asyncio.Lock()):
            held_kw = record.safe_defaults_kw.get(evse.ocpp_evse_id)
            if held_kw == limit_kw:
                return self._default_as_held(record, evse, limit_kw, LimitReply(LimitState.ACCEPTED, "unchanged"))
            if evse_id not in self._cleared and record.is_vacant(evse.ocpp_evse_id):
                await self._clear_foreign_defaults(link, evse)
            reply = await self._install_default(link, record, evse, limit_kw)
            return self._default_as_held(record, evse, limit_kw, reply)

    def _default_as_held(self, record: StationRecord, evse: Evse, limit_kw: float, reply: LimitReply) -> LimitReply:
        if reply.state is LimitState.ACCEPTED and limit_kw <= 0 and not record.capability.zero_allowed:
            return _least_current_holds(evse, (LimitPeriod(self._clock.now(), limit_kw),))
        return reply

    async def _clear_foreign_defaults(self, link: StationLink, evse: Evse) -> None:
        """A default profile of an earlier owner may lie above ours; it outlives restarts.

        Only where no vehicle is plugged in: until ours is installed nothing limits the EVSE but its hardware.
        """
        message = link.calls.clear_layer(evse.ocpp_evse_id, ProfilePurpose.SAFE_DEFAULT)
        await link.ask(message, (evse.ocpp_evse_id, "foreign"))
        self._cleared.add(evse.id)

    async def _install_default(
        self, link: StationLink, record: StationRecord, evse: Evse, limit_kw: float
    ) -> LimitReply:
        async def tell(capability: StationCapability) -> LimitReply:
            profile = safe_default_profile(
                evse,
                limit_kw,
                capability,
                now=self._clock.now(),
                skew=record.skew.skew,
            )
            key = (evse.ocpp_evse_id, ProfilePurpose.SAFE_DEFAULT.value)
            return limit_reply(await link.ask(link.calls.set_profile(profile), key))

        pauses = limit_kw <= 0
        reply = await self._climb(record, evse, ProfilePurpose.SAFE_DEFAULT, tell, _Wish(pauses=pauses))
        if reply.state is LimitState.ACCEPTED:
            record.safe_defaults_kw[evse.ocpp_evse_id] = limit_kw
        return reply

    async def renew_defaults(self, record: StationRecord) -> None:
        """After a restart of the station: install again what it held."""
        for number, limit_kw in tuple(record.wanted_defaults_kw.items()):
            await self.set_safe_default(record.station.id, record.evses[number].id, limit_kw)

    async def clear_foreign(self, record: StationRecord) -> None:
        """Remove default profiles of others where that was left undone because a vehicle was there."""
        for number, limit_kw in tuple(record.wanted_defaults_kw.items()):
            evse_id = record.evses[number].id
            if evse_id not in self._cleared and record.is_vacant(number):
                record.safe_defaults_kw.pop(number, None)
                await self.set_safe_default(record.station.id, evse_id, limit_kw)

    async def set_station_maximum(
        self, record: StationRecord, limit_kw: float, phase_limits_a: tuple[float, float, float] | None = None
    ) -> LimitReply:
        """Bound a whole station; written once and rarely, since it goes to flash, and many stations know no such layer.

        Args:
            record: Which station.
            limit_kw: Its share of the fuse [kW].
            phase_limits_a: Greatest current on L1, L2 and L3, where they differ [A].
        """
        link = self._link_of(record.station.id)
        if link is None:
            return OFFLINE
        profile = station_maximum_profile(
            tuple(record.evses.values()),
            limit_kw,
            record.capability,
            now=self._clock.now(),
            skew=record.skew.skew,
            phase_limits_a=phase_limits_a,
        )
        reply = limit_reply(await link.ask(link.calls.set_profile(profile), (0, profile.purpose.value)))
        if reply.state is LimitState.ACCEPTED:
            record.told_maximum_kw = limit_kw
        return reply

    async def clear_limit(self, station_id: StationId, evse_id: EvseId) -> LimitReply:
        """Remove what ``set_limit`` installed, so that the safe default holds.

        Raises:
            NotFound: The station has no such EVSE.
        """
        record, evse = self._place(evse_id, station_id)
        link = self._link_of(station_id)
        if link is None:
            return OFFLINE
        number = evse.ocpp_evse_id
        self._newest[evse_id, ProfilePurpose.PLAN] = next(self._orders)
        record.witnesses[number].look_away()
        record.forget_plan(number)
        await self.clear_foreign(record)
        if record.capability.plan_replaces_default and number in record.wanted_defaults_kw:
            # The plan took the place of the safe default, which now takes the plan's.
            record.safe_defaults_kw.pop(number, None)
            return await self.set_safe_default(station_id, evse_id, record.wanted_defaults_kw[number])
        reply = limit_reply(await link.ask(link.calls.clear_profile(2 * number), (number, ProfilePurpose.PLAN.value)))
        # "Unknown": there was no such profile, so there is none now.
        return LimitReply(LimitState.ACCEPTED, "none was there") if reply.detail.startswith("Unknown") else reply

    async def _climb(
        self,
        record: StationRecord,
        evse: Evse,
        purpose: ProfilePurpose,
        tell: Telling,
        wish: _Wish,
        make_room: Callable[[], Awaitable[object]] | None = None,
    ) -> LimitReply:
        """Tell a limit in the way that is thought to work, and where that is rejected in every other way, once.

        Where nothing helps, ``make_room`` removes what the limit is to take the place of: some stations count both.
        """
        order = self._newest[evse.id, purpose] = next(self._orders)
        ladder = self._ladder(record, evse)
        first = next(ladder)
        reply = await tell(first)
        if reply.state is not LimitState.REJECTED:
            self._settle_on(record, first, reply)
            return reply
        record.rejections += 1
        if not wish.may_climb or record.is_exhausted or _says_nothing_of_the_form(reply):
            return reply
        rungs = list(ladder)
        if record.capability.proven and record.rejections < REJECTIONS_TO_DOUBT:
            rungs = []
        last = wish.last_rungs(first) if rungs else ()
        rungs = [*wish.special_rungs(first), *rungs, *last]
        for rung in rungs:
            if self._newest[evse.id, purpose] != order:
                return LimitReply(LimitState.UNANSWERED, "a newer limit took its place")
            another = await tell(rung)
            if another.state is not LimitState.REJECTED:
                self._settle_on(record, rung, another)
                return another
        if not rungs:
            return reply
        if make_room is not None:
            await make_room()
            again = await tell(first)
            if again.state is not LimitState.REJECTED:
                self._settle_on(record, first, again)
                return again
        record.is_exhausted = True
        self._log.warning("station rejects limits in every form", station_id=record.station.id, reason=reply.detail)
        return reply

    def _ladder(self, record: StationRecord, evse: Evse) -> Iterator[StationCapability]:
        """Ways to tell a limit, beginning with the one in use; one that is ignored comes last.

        The others are worked out when they are asked for: nearly every limit is taken in the way in use.
        """
        if record.capability.zero_allowed and record.station.id in self._never_zero:
            record.capability = replace(record.capability, zero_allowed=False)
        current = record.capability
        witness = record.witnesses[evse.ocpp_evse_id]
        if not witness.is_ignored:
            yield current
            yield from _other_rungs(record, evse, current)
            return
        witness.start_anew()
        record.ignored.add(replace(current, proven=False))
        others = _other_rungs(record, evse, current)
        untried = [rung for rung in others if replace(rung, proven=False) not in record.ignored]
        self._log.warning("accepted limits are ignored", station_id=record.station.id, evse_id=evse.id)
        record.is_deaf = record.is_deaf or not untried
        yield from (*untried, current)

    def _settle_on(self, record: StationRecord, rung: StationCapability, reply: LimitReply) -> None:
        if reply.state is not LimitState.ACCEPTED:
            return
        record.rejections = 0
        if rung != record.capability:
            record.capability = rung.with_what_is_no_form(record.capability)
            for witness in record.witnesses.values():
                witness.start_anew()
            self._log.info("limits are told in another way", station_id=record.station.id, capability=rung)

    async def _keep_what_is_proven(self, record: StationRecord) -> None:
        """Keep what the meters have shown since: that limits are held, from which current on, and how soon."""
        before = record.capability
        record.note_what_was_seen()
        after = record.capability
        if after.proven and record.identity is not None and asdict(after) != asdict(before):
            await self._capabilities.save(record.identity, after)

    def _place(self, evse_id: EvseId, station_id: StationId | None = None) -> Place:
        place = self._places.get(evse_id)
        if place is None or station_id not in (None, place[0].station.id):
            raise NotFound("EVSE", evse_id)
        return place


def _other_rungs(record: StationRecord, evse: Evse, current: StationCapability) -> list[StationCapability]:
    """Every way to tell a limit but the one in use."""
    rungs = record.first_capability.ladder(evse)
    return [rung for rung in rungs if replace(rung, proven=current.proven) != current]


def _least_current_holds(evse: Evse, periods: Sequence[LimitPeriod]) -> LimitReply:
    """A limit of zero was rejected, and the least current told in its place: nobody may count on the zero."""
    holds = tuple(replace(period, limit_kw=period.limit_kw or evse.min_power_kw) for period in periods)
    detail = f"takes no limit of zero; {evse.min_power_kw:.2f} kW holds instead"
    return LimitReply(LimitState.REJECTED, detail, holds)


def _says_nothing_of_the_form(reply: LimitReply) -> bool:
    """Whether a station rejected the transaction, or failed by itself: another form would fare no better."""
    reason = reply.detail.lower()
    return any(word in reason for word in ("tx", "transaction", "internalerror", "securityerror"))
