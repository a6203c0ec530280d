"""The stationary battery is told what the plan wants of it, as far as the site's meters show that it may.

    planned       charge 20 kW                              discharge 15 kW
    told 0 if     import is above a limit                   more is exported than may be
                  it is full                                it is at its least content
                  there is no plan, or no fresh reading     the same

The guard counts what the meters show, never what the battery was told: what it takes beyond the plan counts with all
else at the connection, and what it does not give is not relied on. So a battery that does not follow costs money, and
never a fuse.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from optimizer.control.settings import ControlSettings
from optimizer.control.view import GuardView, metered_import_exceeds
from optimizer.domain.plan import Plan
from optimizer.errors import BatteryUnreachable
from optimizer.ports import BatteryGateway, Clock, Stores

_LOG = logging.getLogger(__name__)

REFRESH = timedelta(seconds=30)
"""The power is told again at least this often: many devices go back to their own control when they hear nothing."""
REST = timedelta(seconds=60)
"""Time for which a battery rests after a limit was exceeded, so that it does not come and go with each reading."""
SAME_POWER_KW = 0.1
"""Powers closer than this are not worth a write [kW]."""


def planned_battery_kw(plan: Plan | None, at: datetime) -> float:
    """What the plan wants of the battery at ``at``, discharge negative; 0 where it says nothing [kW]."""
    slot = plan.slot_at(at) if plan is not None else None
    return plan.battery_kw[slot] if plan is not None and slot is not None else 0.0


def permitted_battery_kw(planned_kw: float, view: GuardView, settings: ControlSettings) -> float:
    """The planned power as far as the battery and the site's meters permit it [kW]."""
    battery, reading = view.site.battery, view.fresh_meter(settings)
    if battery is None or reading is None or reading.grid_kw is None:
        return 0.0
    power_kw = max(-battery.max_discharge_kw, min(battery.max_charge_kw, planned_kw))
    soc = reading.battery_soc
    if power_kw > 0.0 and (metered_import_exceeds(view, settings) or (soc is not None and soc >= battery.max_soc)):
        return 0.0
    exported_kw = -reading.grid_kw
    too_much = exported_kw > view.site.grid_connection.export_limit_kw + settings.verification_tolerance_kw
    if power_kw < 0.0 and (too_much or (soc is not None and soc <= battery.min_soc)):
        return 0.0
    return power_kw


class BatteryDesk:
    """Tells one battery its power, again and again.

    Args:
        stores: Where plans are kept.
        view: What the guard knows.
        gateway: The battery.
        clock: Time.
        settings: Ages and tolerances.
    """

    def __init__(
        self,
        stores: Stores,
        view: Callable[[], Awaitable[GuardView]],
        gateway: BatteryGateway,
        clock: Clock,
        settings: ControlSettings,
    ) -> None:
        self._stores = stores
        self._view = view
        self._gateway = gateway
        self._clock = clock
        self._settings = settings
        self._told: tuple[float, datetime] | None = None
        self._rests_until: datetime | None = None
        self._is_reachable = True

    async def look(self) -> None:
        """Tell the battery what holds now, if that is new or was told long ago."""
        now, view = self._clock.now(), await self._view()
        planned_kw = planned_battery_kw(await self._stores.plans.latest_plan(view.site.id), now)
        power_kw = permitted_battery_kw(planned_kw, view, self._settings)
        if planned_kw and not power_kw and self._told is not None and self._told[0]:
            self._rests_until = now + REST
        if self._rests_until is not None and now < self._rests_until:
            power_kw = 0.0
        if self._told is None or abs(self._told[0] - power_kw) >= SAME_POWER_KW or now - self._told[1] >= REFRESH:
            await self._tell(power_kw, now)

    async def rest(self) -> None:
        """Tell the battery to do nothing, at the end of the service."""
        await self._tell(0.0, self._clock.now())

    async def _tell(self, power_kw: float, now: datetime) -> None:
        try:
            await self._gateway.set_power(power_kw)
        except BatteryUnreachable as error:
            self._told = None
            if self._is_reachable:
                _LOG.warning("the stationary battery does not follow the plan: %s", error)
            self._is_reachable = False
            return
        if not self._is_reachable:
            _LOG.info("the stationary battery follows the plan again")
        self._told, self._is_reachable = (power_kw, now), True
