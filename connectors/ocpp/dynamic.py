"""Plans as dynamic profiles (OCPP 2.1, K28): installed once for each transaction, then only their figures are renewed.

    first limit of a transaction     SetChargingProfile (kind Dynamic, one period)
    every later one                  UpdateDynamicSchedule
    a later piece of the plan        UpdateDynamicSchedule when its time has come

A dynamic profile holds no later, safe value of its own. What makes it safe is its ``maxOfflineDuration``: a station
that has lost us for that long goes back to its safe default.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from connectors.ocpp.link import StationLink
from connectors.ocpp.outbound import Message, limit_reply
from connectors.ocpp.translate_profile import ProfilePeriod, ProfilePurpose, ProfileRequest
from connectors.ocpp.v21_calls import Calls21
from optimizer.domain.charger import LimitPeriod, LimitState
from optimizer.ports import Clock, LimitReply


@dataclass(eq=False, slots=True)
class DynamicPlan:
    """The dynamic profile of one EVSE."""

    profile: ProfileRequest
    """What it says, with all its periods."""
    counted_from: datetime
    """Instant, by our clock, from which its periods count [UTC]."""
    renewal: asyncio.Task[None] | None = None
    """Tells its later periods when their time has come."""

    def period_at(self, at: datetime) -> ProfilePeriod:
        """The period in force at ``at``."""
        elapsed_s = (at - self.counted_from).total_seconds()
        begun = [period for period in self.profile.periods if period.start_s <= elapsed_s]
        return begun[-1] if begun else self.profile.periods[0]

    def end(self) -> None:
        """Tell nothing more of it."""
        if self.renewal is not None:
            self.renewal.cancel()


@dataclass(eq=False, slots=True)
class ToldPlan:
    """What the running transaction of one EVSE was told, and how much of it can be told."""

    periods: tuple[LimitPeriod, ...] = ()
    """The plan in force, as the service meant it; none: none was accepted."""
    phases: int | None = None
    """Phases that it was last told to use; ``None``: nothing was said of them."""
    most_periods: int | None = None
    """Most periods that the vehicle takes (ISO 15118 maxScheduleTuples); ``None``: it says nothing of it."""
    dynamic: DynamicPlan | None = None
    """The dynamic profile that the station holds."""

    def end_dynamic(self) -> None:
        """There is no dynamic profile any more."""
        if self.dynamic is not None:
            self.dynamic.end()
            self.dynamic = None


class DynamicPlans:
    """Tells plans as dynamic profiles.

    Args:
        clock: Our time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock: Final = clock

    async def tell(
        self,
        link: StationLink,
        calls: Calls21,
        told: ToldPlan,
        profile: ProfileRequest,
        counted_from: datetime,
    ) -> LimitReply:
        """Install or renew the plan of one EVSE; a renewal that is refused is told as a new profile.

        Args:
            link: The station's connection.
            calls: Writes 2.1.
            told: What the transaction was told so far.
            profile: The whole plan, for a transaction.
            counted_from: Instant, by our clock, from which its periods count [UTC].
        """
        number = profile.ocpp_evse_id
        plan, before = DynamicPlan(profile, counted_from), told.dynamic
        if before is not None:
            # Its next piece must not take the place of what is told now.
            before.end()
        reply = None
        if before is not None and _is_renewable(before.profile, profile):
            reply = await self._ask(link, number, calls.renew_dynamic_profile(profile, profile.periods[0]))
        if reply is None or reply.state is LimitState.REJECTED:
            reply = await self._ask(link, number, calls.set_dynamic_profile(profile))
        if reply.state is LimitState.ACCEPTED:
            told.dynamic = plan
        if told.dynamic is not None:
            told.dynamic.renewal = link.connection.start(self._renew(link, calls, told.dynamic))
        return reply

    async def _renew(self, link: StationLink, calls: Calls21, plan: DynamicPlan) -> None:
        """Tell each later period when its time has come."""
        for period in plan.profile.periods[1:]:
            due_at = plan.counted_from + timedelta(seconds=period.start_s)
            left_s = (due_at - self._clock.now()).total_seconds()
            if left_s > 0.0:
                await self._clock.sleep(left_s)
                await self._ask(link, plan.profile.ocpp_evse_id, calls.renew_dynamic_profile(plan.profile, period))

    async def _ask(self, link: StationLink, number: int, message: Message) -> LimitReply:
        return limit_reply(await link.ask(message, (number, ProfilePurpose.PLAN.value)))


def _is_renewable(before: ProfileRequest, after: ProfileRequest) -> bool:
    """Whether only the figures differ."""
    return (before.transaction_id, before.rate_unit, before.number_phases, before.stack_level) == (
        after.transaction_id,
        after.rate_unit,
        after.number_phases,
        after.stack_level,
    ) and bool(before.periods[0].discharge_value) == bool(after.periods[0].discharge_value)
