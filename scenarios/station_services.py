"""What a virtual station does for its operator: logs, firmware, the local list of tokens, reports.

Nothing is really uploaded or installed: the station tells the steps that a real one tells, at a real one's pace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from optimizer.domain.ids import TokenId
from scenarios.outbox import Payload
from scenarios.profiles import InstalledProfile, ProfilePurpose
from scenarios.station_any_version import Handler
from scenarios.station_core import StationCore
from scenarios.station_dialect import PURPOSES, CallRefused, StationTime
from scenarios.station_variables import StationVariable

LOG_STEPS = ((1, "Uploading"), (30, "Uploaded"))
"""Seconds after the request, and what is told then."""
FIRMWARE_STEPS = ((1, "Downloading"), (60, "Downloaded"), (61, "Installing"))
REBOOT_AFTER_S = 90
INSTALLED_AFTER_S = 180
NEWER = "+1"
"""What an update adds to the firmware's version."""


class StationServices:
    """Logs, firmware and local list of one station, in the words of both versions."""

    def __init__(self, core: StationCore) -> None:
        self._core = core
        self.list_version = 0

    def upload_log(self, action: str, about: Mapping[str, object], now: datetime) -> str:
        """Tell the steps of an upload under ``action``; returns the name of the file."""
        self._tell_steps(action, about, LOG_STEPS, now)
        return f"{self._core.settings.station.id}-{now:%Y%m%dT%H%M%S}.log"

    def update_firmware(self, about: Mapping[str, object], begin: datetime) -> None:
        """Tell the steps of an update from ``begin`` on, and boot with the new version."""
        self._tell_steps("FirmwareStatusNotification", about, FIRMWARE_STEPS, begin)
        self._core.plan(begin + timedelta(seconds=REBOOT_AFTER_S), self._reboot)
        self._tell_steps("FirmwareStatusNotification", about, ((INSTALLED_AFTER_S, "Installed"),), begin)

    def change_list(self, version: int, tokens: Mapping[TokenId, bool], *, full: bool) -> str:
        """Replace or complete the local list; returns OCPP's status."""
        if not full and version <= self.list_version:
            return "VersionMismatch"
        self._core.local_list = {**({} if full else self._core.local_list), **tokens}
        self.list_version = version
        return "Accepted"

    def _reboot(self, at: datetime) -> None:
        self._core.firmware += NEWER
        self._core.reset("Reboot", at)

    def _tell_steps(
        self, action: str, about: Mapping[str, object], steps: Iterable[tuple[int, str]], begin: datetime
    ) -> None:
        for seconds, status in steps:
            self._core.plan(
                begin + timedelta(seconds=seconds), partial(self._tell_step, action, {"status": status, **about})
            )

    def _tell_step(self, action: str, payload: Mapping[str, object], _at: datetime) -> None:
        self._core.tell((action, lambda: payload))


def services_of_16(core: StationCore, time: StationTime) -> dict[str, Handler]:
    """The calls of OCPP 1.6 and of its security extension that are about services."""
    services = StationServices(core)

    def get_diagnostics(_payload: Mapping[str, Any], now: datetime) -> Payload:
        return {"fileName": services.upload_log("DiagnosticsStatusNotification", {}, now)}

    def update_firmware(payload: Mapping[str, Any], now: datetime) -> Payload:
        services.update_firmware({}, max(now, _instant(time, payload["retrieveDate"])))
        return {}

    def send_local_list(payload: Mapping[str, Any], _now: datetime) -> Payload:
        entries = payload.get("localAuthorizationList") or ()
        tokens = {TokenId(entry["idTag"]): _is_accepted(entry.get("idTagInfo")) for entry in entries}
        return {"status": services.change_list(payload["listVersion"], tokens, full=payload["updateType"] == "Full")}

    return {
        "GetDiagnostics": get_diagnostics,
        "GetLocalListVersion": lambda _payload, _now: {"listVersion": services.list_version},
        "GetLog": partial(_get_log, services),
        "SendLocalList": send_local_list,
        "UpdateFirmware": update_firmware,
    }


def services_of_2x(core: StationCore, time: StationTime, variables: Iterable[StationVariable]) -> dict[str, Handler]:
    """The calls of OCPP 2.x that are about services and reports."""
    services = StationServices(core)
    known = tuple(variables)

    def update_firmware(payload: Mapping[str, Any], now: datetime) -> Payload:
        begin = max(now, _instant(time, payload["firmware"]["retrieveDateTime"]))
        services.update_firmware({"requestId": payload["requestId"]}, begin)
        return {"status": "Accepted"}

    def send_local_list(payload: Mapping[str, Any], _now: datetime) -> Payload:
        entries = payload.get("localAuthorizationList") or ()
        tokens = {TokenId(entry["idToken"]["idToken"]): _is_accepted(entry.get("idTokenInfo")) for entry in entries}
        return {"status": services.change_list(payload["versionNumber"], tokens, full=payload["updateType"] == "Full")}

    def get_base_report(payload: Mapping[str, Any], now: datetime) -> Payload:
        report: dict[str, object] = {"requestId": payload["requestId"], "generatedAt": time.stamp(now), "seqNo": 0}
        report["reportData"] = [_report_entry(variable) for variable in known]
        core.tell(("NotifyReport", lambda: report))
        return {"status": "Accepted"}

    def get_charging_profiles(payload: Mapping[str, Any], _now: datetime) -> Payload:
        found = [one for one in core.held if _is_asked_for(one, payload)]
        numbers = sorted({one.evse_number for one in found})
        for number in numbers:
            report = {
                "requestId": payload["requestId"],
                "chargingLimitSource": "CSO",
                "evseId": number,
                "chargingProfile": [written_profile(one, time) for one in found if one.evse_number == number],
                "tbc": number != numbers[-1],
            }
            core.tell(("ReportChargingProfiles", partial(dict, report)))
        return {"status": "Accepted" if found else "NoProfiles"}

    return {
        "GetBaseReport": get_base_report,
        "GetChargingProfiles": get_charging_profiles,
        "GetLocalListVersion": lambda _payload, _now: {"versionNumber": services.list_version},
        "GetLog": partial(_get_log, services),
        "SendLocalList": send_local_list,
        "UpdateFirmware": update_firmware,
    }


def written_profile(one: InstalledProfile, time: StationTime) -> dict[str, object]:
    """An installed profile in the JSON form of OCPP 2.x."""
    profile = one.profile
    schedule: dict[str, object] = {
        "id": 1,
        "chargingRateUnit": profile.unit.value,
        "chargingSchedulePeriod": [
            {"startPeriod": period.start_s, "limit": period.limit_value}
            | ({} if period.number_phases is None else {"numberPhases": period.number_phases})
            for period in profile.periods
        ],
    }
    if profile.start_at is not None:
        schedule["startSchedule"] = time.stamp(profile.start_at)
    if profile.duration_s is not None:
        schedule["duration"] = profile.duration_s
    written: dict[str, object] = {
        "id": profile.id,
        "stackLevel": profile.stack_level,
        "chargingProfilePurpose": PURPOSE_NAMES[profile.purpose],
        "chargingProfileKind": profile.kind.value.capitalize(),
        "chargingSchedule": [schedule],
    }
    if profile.recurrence is not None:
        written["recurrencyKind"] = profile.recurrence.value.capitalize()
    if profile.transaction_id is not None:
        written["transactionId"] = profile.transaction_id
    return written


PURPOSE_NAMES = {purpose: name for name, purpose in PURPOSES.items()}
"""Names in OCPP 2.x; they come after those of 1.6 in `PURPOSES`."""


def _get_log(services: StationServices, payload: Mapping[str, Any], now: datetime) -> Payload:
    about = {"requestId": payload["requestId"]}
    return {"status": "Accepted", "filename": services.upload_log("LogStatusNotification", about, now)}


def _instant(time: StationTime, written: object) -> datetime:
    value = time.instant(written)
    if value is None:
        raise CallRefused("PropertyConstraintViolation", "a time is missing")
    return value


def _is_accepted(about: object) -> bool:
    return isinstance(about, Mapping) and about.get("status") == "Accepted"


def _is_asked_for(one: InstalledProfile, payload: Mapping[str, Any]) -> bool:
    which = payload["chargingProfile"]
    purpose: ProfilePurpose | None = PURPOSES.get(str(which.get("chargingProfilePurpose")))
    return (
        payload.get("evseId") in (None, one.evse_number)
        and purpose in (None, one.profile.purpose)
        and which.get("stackLevel") in (None, one.profile.stack_level)
        and ("chargingProfileId" not in which or one.profile.id in which["chargingProfileId"])
        and ("chargingLimitSource" not in which or "CSO" in which["chargingLimitSource"])
    )


def _report_entry(variable: StationVariable) -> dict[str, object]:
    attribute: dict[str, str] = {"mutability": "ReadOnly" if variable.write is None else "ReadWrite"}
    if variable.read is None:
        attribute["mutability"] = "WriteOnly"
    else:
        attribute["value"] = variable.read()
    return {
        "component": {"name": variable.component},
        "variable": {"name": variable.variable},
        "variableAttribute": [attribute],
    }
