"""OCPP 2.1: the calls that 2.0.1 does not have."""

from __future__ import annotations

from connectors.ocpp.frames import Json
from connectors.ocpp.intake import StationIntake
from connectors.ocpp.settings import Version
from connectors.ocpp.translate import whole_number
from connectors.ocpp.v21_calls import Calls21
from connectors.ocpp.v201 import Answers201


class Answers21(Answers201):
    """Serves the calls of one charging station of OCPP 2.1.

    Args:
        intake: Takes what it tells.
        heartbeat_interval_s: Interval to tell it [s].
        calls: Writes the figures of dynamic profiles.
        v2x: Whether a vehicle's agreement to give power back is heard.
    """

    def __init__(self, intake: StationIntake, heartbeat_interval_s: int, calls: Calls21, *, v2x: bool = False) -> None:
        super().__init__(intake, heartbeat_interval_s, Version.V21, v2x=v2x)
        self._calls = calls
        self._handlers |= {
            "PullDynamicScheduleUpdate": self._schedule_pulled,
            "NotifyPriorityCharging": self._answered_with({}, "NotifyPriorityCharging", "transactionId"),
        }

    async def _schedule_pulled(self, payload: Json) -> Json:
        profile_id = whole_number(payload.get("chargingProfileId"))
        for told in self._intake.record.told.values():
            dynamic = told.dynamic
            if dynamic is not None and dynamic.profile.profile_id == profile_id:
                period = dynamic.period_at(self._intake.now)
                return {"status": "Accepted", "scheduleUpdate": self._calls.schedule_update(dynamic.profile, period)}
        return {"status": "Rejected", "statusInfo": {"reasonCode": "UnknownProfile"}}
