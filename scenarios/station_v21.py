"""OCPP 2.1 from the station's side: 2.0.1, and limits that are renewed by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from scenarios.outbox import Payload
from scenarios.station_core import StationCore
from scenarios.station_dialect import ProfileRefused, least_limit
from scenarios.station_v201 import V201


class V21(V201):
    """What a 2.1 station says and hears; it charges only, and discharges nothing."""

    def __init__(self, core: StationCore) -> None:
        super().__init__(core)
        self._handlers["UpdateDynamicSchedule"] = self._update_dynamic_schedule

    def _update_dynamic_schedule(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        try:
            limit = least_limit(payload["scheduleUpdate"])
        except ProfileRefused as reason:
            return {"status": "Rejected", "statusInfo": {"reasonCode": str(reason)}}
        renewed = self._core.renew_profile(payload["chargingProfileId"], limit, now)
        return {"status": "Accepted" if renewed else "Rejected"}
