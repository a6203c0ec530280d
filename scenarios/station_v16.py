"""OCPP 1.6J from the station's side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from optimizer.domain.charger import ConnectorStatus
from optimizer.domain.ids import TokenId
from scenarios.outbox import Payload
from scenarios.profiles import ChargingProfile, ProfileFilter, RateUnit
from scenarios.station_any_version import AnyVersion
from scenarios.station_core import StationCore
from scenarios.station_dialect import (
    PURPOSES,
    CallRefused,
    Message,
    Sampled,
    StartAnswer,
    composite_periods,
    profile_of,
)
from scenarios.station_services import services_of_16
from scenarios.station_settings import Misbehaviour
from scenarios.station_state import EvseReading, EvseState, HeldReservation, Transaction
from scenarios.station_variables import StationVariable, station_variables
from scenarios.vehicle_model import VehicleModel

STATUS = {
    ConnectorStatus.AVAILABLE: "Available",
    ConnectorStatus.PREPARING: "Preparing",
    ConnectorStatus.CHARGING: "Charging",
    ConnectorStatus.SUSPENDED_BY_EVSE: "SuspendedEVSE",
    ConnectorStatus.SUSPENDED_BY_VEHICLE: "SuspendedEV",
    ConnectorStatus.FINISHING: "Finishing",
    ConnectorStatus.RESERVED: "Reserved",
    ConnectorStatus.UNAVAILABLE: "Unavailable",
    ConnectorStatus.FAULTED: "Faulted",
}

STOP_REASONS = frozenset(
    {"DeAuthorized", "EVDisconnected", "HardReset", "Local", "Other", "Reboot", "Remote", "SoftReset", "UnlockCommand"}
)


class V16(AnyVersion):
    """What a 1.6 station says and hears."""

    def __init__(self, core: StationCore) -> None:
        super().__init__(core, names_kind=False)
        self._variables = {variable.key: variable for variable in station_variables(core) if variable.key}
        self._handlers |= {
            "ChangeAvailability": self._change_availability,
            "ChangeConfiguration": self._change_configuration,
            "ClearChargingProfile": self._clear_charging_profile,
            "GetCompositeSchedule": self._get_composite_schedule,
            "GetConfiguration": self._get_configuration,
            "RemoteStartTransaction": self._remote_start,
            "RemoteStopTransaction": self._remote_stop,
            "ReserveNow": self._reserve_now,
            "Reset": self._reset,
            "SetChargingProfile": self._set_charging_profile,
            "TriggerMessage": self._trigger,
            "ExtendedTriggerMessage": self._trigger,
            "UnlockConnector": self._unlock,
        }
        self._handlers |= services_of_16(core, self._time)

    # ------------------------------------------------------------------ says

    def boot(self, reason: str) -> Message:  # noqa: ARG002 - 1.6 tells no reason
        """BootNotification."""
        settings = self._settings
        payload = {
            "chargePointVendor": settings.vendor,
            "chargePointModel": settings.model,
            "firmwareVersion": self._core.firmware,
            "chargePointSerialNumber": settings.station.id[:25],
        }
        return "BootNotification", lambda: payload

    def status(self, state: EvseState, status: ConnectorStatus, at: datetime) -> Message:
        """StatusNotification."""
        payload = {
            "connectorId": state.number,
            "errorCode": "NoError",
            "status": STATUS[status],
            "timestamp": self._time.stamp(at),
        }
        return "StatusNotification", lambda: payload

    def authorize(self, token_id: TokenId) -> Message:
        """Authorize."""
        return "Authorize", lambda: {"idTag": token_id}

    def transaction_started(self, state: EvseState, begun: Transaction, reading: EvseReading) -> Message:
        """StartTransaction."""
        payload: dict[str, object] = {
            "connectorId": state.number,
            "idTag": begun.token_id,
            "meterStart": int(reading.register_kwh * 1000),
            "timestamp": self._time.stamp(begun.started_at),
        }
        if begun.reservation_id is not None:
            payload["reservationId"] = begun.reservation_id
        return "StartTransaction", lambda: payload

    def transaction_updated(self, state: EvseState, going: Transaction, at: datetime) -> None:
        """1.6 tells charging states by StatusNotification alone."""

    def charging_needs(self, state: EvseState, vehicle: VehicleModel) -> None:
        """1.6 has no word for what cars ask for."""

    def meter_values(self, state: EvseState, going: Transaction | None, reading: EvseReading, context: str) -> Message:
        """MeterValues; the transaction's id is put in when the message leaves, for it may come late."""
        values = [_sampled(value, context) for value in self._core.readings.values(state, reading, context)]
        entry = {"timestamp": self._time.stamp(reading.at), "sampledValue": values}

        def write() -> Payload:
            payload: dict[str, object] = {"connectorId": state.number, "meterValue": [entry]}
            if going is not None:
                payload["transactionId"] = self._told_id(going)
            return payload

        return "MeterValues", write

    def transaction_ended(self, state: EvseState, done: Transaction, reading: EvseReading, reason: str) -> Message:  # noqa: ARG002 - 1.6 names no connector
        """StopTransaction."""

        def write() -> Payload:
            return {
                "transactionId": int(done.id or -1),
                "idTag": done.token_id,
                "meterStop": int(reading.register_kwh * 1000),
                "timestamp": self._time.stamp(reading.at),
                "reason": reason if reason in STOP_REASONS else "Other",
            }

        return "StopTransaction", write

    def _told_id(self, going: Transaction) -> int:
        if self._settings.has(Misbehaviour.TRANSACTION_MINUS_ONE):
            return -1
        return int(going.id or -1)

    # ------------------------------------------------------------------ hears answers

    def read_authorize(self, payload: Payload) -> bool:
        """Answer to Authorize."""
        return _token_accepted(payload)

    def read_start(self, payload: Payload) -> StartAnswer:
        """Answer to StartTransaction."""
        return StartAnswer(str(payload["transactionId"]), _token_accepted(payload))

    # ------------------------------------------------------------------ hears calls

    def _profile(self, written: Mapping[str, Any]) -> ChargingProfile:
        return profile_of(written, written["chargingSchedule"], int(written["chargingProfileId"]), self._time)

    def _set_charging_profile(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        refusal = self._core.set_profile(payload["connectorId"], self._profile(payload["csChargingProfiles"]), now)
        return {"status": "Rejected" if refusal else "Accepted"}

    def _clear_charging_profile(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        purpose = payload.get("chargingProfilePurpose")
        which = ProfileFilter(
            payload.get("id"), payload.get("connectorId"), PURPOSES.get(str(purpose)), payload.get("stackLevel")
        )
        return {"status": "Accepted" if self._core.clear_profiles(which, now) else "Unknown"}

    def _get_composite_schedule(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        number, unit = payload["connectorId"], RateUnit(payload.get("chargingRateUnit", "A"))
        # 0 is the whole station: all of its EVSEs together.
        governed = [
            self._core.profiles_of(state, now) for state in self._core.evses.values() if number in (0, state.number)
        ]
        if not governed or unit not in self._core.rules.units:
            return {"status": "Rejected"}
        periods = composite_periods(governed, now, payload["duration"], unit)
        return {
            "status": "Accepted",
            "connectorId": number,
            "scheduleStart": self._time.stamp(now),
            "chargingSchedule": {
                "duration": payload["duration"],
                "startSchedule": self._time.stamp(now),
                "chargingRateUnit": unit.value,
                "chargingSchedulePeriod": list(periods),
            },
        }

    def _remote_start(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        profile = self._profile(payload["chargingProfile"]) if "chargingProfile" in payload else None
        token_id = TokenId(payload["idTag"])
        started = self._orders.remote_start(payload.get("connectorId"), token_id, None, profile, now)
        return {"status": "Accepted" if started else "Rejected"}

    def _remote_stop(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        stopped = self._orders.remote_stop(str(payload["transactionId"]), now)
        return {"status": "Accepted" if stopped else "Rejected"}

    def _reset(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        self._core.reset("HardReset" if payload["type"] == "Hard" else "SoftReset", now)
        return {"status": "Accepted"}

    def _trigger(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        return self._told_to(payload["requestedMessage"], payload.get("connectorId"), now)

    def _change_configuration(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        variable = self._variables.get(payload["key"])
        if variable is None:
            return {"status": "NotSupported"}
        taken = variable.write is not None and variable.write(payload["value"], now)
        return {"status": "Accepted" if taken else "Rejected"}

    def _get_configuration(self, payload: Mapping[str, Any], _now: datetime) -> Payload:
        asked: Sequence[str] = payload.get("key") or list(self._variables)
        known = [self._variables[key] for key in asked if key in self._variables]
        return {
            "configurationKey": [_configuration_key(variable) for variable in known],
            "unknownKey": [key for key in asked if key not in self._variables],
        }

    def _reserve_now(self, payload: Mapping[str, Any], _now: datetime) -> Payload:
        expires_at = self._time.instant(payload["expiryDate"])
        if expires_at is None:
            raise CallRefused("PropertyConstraintViolation", "expiryDate is no time")
        reservation = HeldReservation(payload["reservationId"], TokenId(payload["idTag"]), expires_at)
        return {"status": self._orders.reserve(payload["connectorId"], reservation)}

    def _change_availability(self, payload: Mapping[str, Any], _now: datetime) -> Payload:
        operative = payload["type"] == "Operative"
        return {"status": self._orders.set_availability(payload["connectorId"], operative=operative)}

    def _unlock(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        state = self._core.evses.get(payload["connectorId"])
        if state is None:
            return {"status": "NotSupported"}
        self._core.end_transaction(state, now, "UnlockCommand")
        return {"status": "Unlocked"}


def _token_accepted(payload: Payload) -> bool:
    about = payload.get("idTagInfo")
    return isinstance(about, Mapping) and about.get("status") == "Accepted"


def _sampled(value: Sampled, context: str) -> dict[str, str]:
    written = {
        "value": str(value.value),
        "context": context,
        "format": "Raw",
        "measurand": value.measurand,
        "location": "EV" if value.measurand == "SoC" else "Outlet",
        "unit": value.unit,
    }
    return {**written, "phase": value.phase} if value.phase else written


def _configuration_key(variable: StationVariable) -> dict[str, object]:
    about: dict[str, object] = {"key": variable.key, "readonly": variable.write is None}
    return {**about, "value": variable.read()} if variable.read is not None else about
