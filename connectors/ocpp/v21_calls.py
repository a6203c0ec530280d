"""Messages to a charging station of OCPP 2.1: those of 2.0.1, and what only 2.1 can say of a plan.

What 2.1 adds is written as it stands in JSON, since the `ocpp` package turns ``limit_L2`` into a name that the schema
refuses. Without a setting that permits more, a 2.1 station is sent the very profiles of 2.0.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.ocpp.capability import CENTRAL_SETPOINT
from connectors.ocpp.frames import Json
from connectors.ocpp.outbound import Message, SettingName, checked
from connectors.ocpp.settings import Version
from connectors.ocpp.translate_profile import ProfilePeriod, ProfilePurpose, ProfileRequest
from connectors.ocpp.v201_calls import Calls201


class Calls21(Calls201):
    """Builds the messages of OCPP 2.1.

    Args:
        plan_lasts_offline_s: Time that a plan stays valid offline [s]; ``None``: without end.
        phase_limits: Whether the limit of each phase is told by itself.
    """

    setting_names: Mapping[SettingName, str] = {
        **Calls201.setting_names,
        SettingName.OPERATION_MODES: "V2XChargingCtrlr.SupportedOperationModes",
    }

    def __init__(self, plan_lasts_offline_s: int | None = None, *, phase_limits: bool = False) -> None:
        super().__init__(Version.V21)
        self._plan_lasts_offline_s = plan_lasts_offline_s
        self._phase_limits = phase_limits

    def set_profile(self, profile: ProfileRequest) -> Message:
        """SetChargingProfileRequest of 2.1."""
        message = super().set_profile(profile)
        wanted = {**message.payload["chargingProfile"], **self._offline_end(profile)}
        schedule = wanted["chargingSchedule"][0]
        periods = [
            written | self._figures(profile, period)
            for written, period in zip(schedule["chargingSchedulePeriod"], profile.periods, strict=True)
        ]
        wanted["chargingSchedule"] = [{**schedule, "chargingSchedulePeriod": periods}]
        return checked(Message(message.action, {**message.payload, "chargingProfile": wanted}), self.version)

    def set_dynamic_profile(self, profile: ProfileRequest) -> Message:
        """SetChargingProfileRequest for a profile of one period whose figures are renewed (K28)."""
        message = self.set_profile(profile)
        wanted = message.payload["chargingProfile"]
        schedule = {name: value for name, value in wanted["chargingSchedule"][0].items() if name != "startSchedule"}
        schedule["chargingSchedulePeriod"] = schedule["chargingSchedulePeriod"][:1]
        wanted = {**wanted, "chargingProfileKind": "Dynamic", "chargingSchedule": [schedule]}
        return checked(Message(message.action, {**message.payload, "chargingProfile": wanted}), self.version)

    def renew_dynamic_profile(self, profile: ProfileRequest, period: ProfilePeriod) -> Message:
        """UpdateDynamicScheduleRequest: the figures of one period, and nothing else."""
        payload = {"chargingProfileId": profile.profile_id, "scheduleUpdate": self.schedule_update(profile, period)}
        return checked(Message("UpdateDynamicSchedule", payload), self.version)

    def schedule_update(self, profile: ProfileRequest, period: ProfilePeriod) -> Json:
        """The figures of one period as a dynamic profile takes them."""
        figures: Json = {"limit": period.limit_value, **self._figures(profile, period)}
        return {name: value for name, value in figures.items() if name != "operationMode"}

    def _offline_end(self, profile: ProfileRequest) -> Json:
        if self._plan_lasts_offline_s is None or profile.purpose is not ProfilePurpose.PLAN:
            return {}
        return {"maxOfflineDuration": self._plan_lasts_offline_s, "invalidAfterOfflineDuration": True}

    def _figures(self, profile: ProfileRequest, period: ProfilePeriod) -> dict[str, Any]:
        """What 2.1 alone can say of one period."""
        figures: dict[str, Any] = {}
        if self._phase_limits and profile.phase_limits_a is not None:
            figures |= dict(zip(("limit", "limit_L2", "limit_L3"), profile.phase_limits_a, strict=True))
        elif self._phase_limits and profile.switches_phases:
            others = period.limit_value if profile.number_phases > 1 else 0.0
            figures |= {"limit_L2": others, "limit_L3": others}
        if period.discharge_value > 0.0:
            given_back = -period.discharge_value
            figures |= {"operationMode": CENTRAL_SETPOINT, "setpoint": given_back, "dischargeLimit": given_back}
        return figures
