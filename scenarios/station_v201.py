"""OCPP 2.0.1 from the station's side."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from optimizer.domain.charger import ConnectorStatus
from optimizer.domain.ids import TokenId
from optimizer.domain.site import CurrentType
from scenarios.outbox import Payload
from scenarios.profiles import ChargingProfile, ProfileFilter, RateUnit
from scenarios.station_any_version import AnyVersion
from scenarios.station_core import StationCore
from scenarios.station_dialect import (
    PURPOSES,
    CallRefused,
    Message,
    ProfileRefused,
    Sampled,
    StartAnswer,
    composite_periods,
    profile_of,
)
from scenarios.station_services import services_of_2x
from scenarios.station_settings import Misbehaviour
from scenarios.station_state import EvseReading, EvseState, HeldReservation, Transaction
from scenarios.station_variables import StationVariable, station_variables
from scenarios.vehicle_model import VehicleModel

CONNECTOR_STATUS = {
    ConnectorStatus.AVAILABLE: "Available",
    ConnectorStatus.RESERVED: "Reserved",
    ConnectorStatus.UNAVAILABLE: "Unavailable",
    ConnectorStatus.FAULTED: "Faulted",
}
"""Every other state is Occupied."""

CHARGING_STATE = {
    ConnectorStatus.CHARGING: "Charging",
    ConnectorStatus.SUSPENDED_BY_EVSE: "SuspendedEVSE",
    ConnectorStatus.SUSPENDED_BY_VEHICLE: "SuspendedEV",
}

TRIGGER_OF_CONTEXT = {
    "Sample.Clock": "MeterValueClock",
    "Sample.Periodic": "MeterValuePeriodic",
    "Trigger": "Trigger",
}

AC_TRANSFER = {1: "AC_single_phase", 2: "AC_two_phase", 3: "AC_three_phase"}

DC_VOLTAGE = 400
"""Voltage of a usual battery [V]."""

ENDED_BY = {
    "DeAuthorized": ("Deauthorized", "DeAuthorized"),
    "EVDisconnected": ("EVDeparted", "EVDisconnected"),
    "Remote": ("RemoteStop", "Remote"),
    "ImmediateReset": ("ResetCommand", "ImmediateReset"),
    "UnlockCommand": ("UnlockCommand", "Other"),
}
"""What triggered the end of a transaction, and the reason told."""


class V201(AnyVersion):
    """What a 2.0.1 station says and hears."""

    def __init__(self, core: StationCore) -> None:
        super().__init__(core)
        self._variables = {
            (variable.component, variable.variable): variable
            for variable in station_variables(core)
            if variable.component
        }
        self._handlers |= {
            "ChangeAvailability": self._change_availability,
            "ClearChargingProfile": self._clear_charging_profile,
            "GetCompositeSchedule": self._get_composite_schedule,
            "GetTransactionStatus": self._get_transaction_status,
            "GetVariables": self._get_variables,
            "RequestStartTransaction": self._request_start,
            "RequestStopTransaction": self._request_stop,
            "ReserveNow": self._reserve_now,
            "Reset": self._reset,
            "SetChargingProfile": self._set_charging_profile,
            "SetVariables": self._set_variables,
            "TriggerMessage": self._trigger,
            "UnlockConnector": self._unlock,
        }
        self._handlers |= services_of_2x(core, self._time, self._variables.values())

    # ------------------------------------------------------------------ says

    def boot(self, reason: str) -> Message:
        """BootNotification."""
        settings = self._settings
        payload = {
            "chargingStation": {
                "vendorName": settings.vendor,
                "model": settings.model,
                "firmwareVersion": self._core.firmware,
                "serialNumber": settings.station.id[:25],
            },
            "reason": reason,
        }
        return "BootNotification", lambda: payload

    def status(self, state: EvseState, status: ConnectorStatus, at: datetime) -> Message:
        """StatusNotification."""
        payload = {
            "timestamp": self._time.stamp(at),
            "connectorStatus": CONNECTOR_STATUS.get(status, "Occupied"),
            "evseId": state.number,
            "connectorId": 1,
        }
        return "StatusNotification", lambda: payload

    def authorize(self, token_id: TokenId) -> Message:
        """Authorize."""
        return "Authorize", lambda: {"idToken": _token(token_id)}

    def transaction_started(self, state: EvseState, begun: Transaction, reading: EvseReading) -> Message:
        """TransactionEvent Started; the station names the transaction."""
        begun.id = begun.id or self._core.new_id()
        state.charging_state = "EVConnected"
        remote = begun.remote_start_id is not None
        payload = self._event(
            "Started", "RemoteStart" if remote else "Authorized", begun, state.charging_state, reading.at
        )
        payload["evse"] = {"id": state.number, "connectorId": 1}
        payload["idToken"] = _token(begun.token_id)
        payload["meterValue"] = [self._meter_value(state, reading, "Transaction.Begin")]
        if begun.reservation_id is not None:
            payload["reservationId"] = begun.reservation_id
        return "TransactionEvent", lambda: payload

    def transaction_updated(self, state: EvseState, going: Transaction, at: datetime) -> Message | None:
        """TransactionEvent Updated with a new charging state."""
        charging_state = CHARGING_STATE[state.status_at(at)]
        if charging_state == state.charging_state:
            return None
        state.charging_state = charging_state
        payload = self._event("Updated", "ChargingStateChanged", going, charging_state, at)
        return "TransactionEvent", lambda: payload

    def charging_needs(self, state: EvseState, vehicle: VehicleModel) -> Message | None:
        """NotifyEVChargingNeeds."""
        needs, evse = vehicle.needs, state.physics.evse
        if needs is None:
            return None
        energy_wh = round(needs.energy_kwh * 1000)
        power_w = vehicle.max_current_a * evse.voltage_v * state.physics.current_paths
        about: dict[str, object] = {}
        if needs.depart_at is not None:
            about["departureTime"] = self._time.stamp(needs.depart_at)
        if evse.current_type is CurrentType.DC:
            about |= {"requestedEnergyTransfer": "DC", "dcChargingParameters": _dc_needs(state, energy_wh, power_w)}
        else:
            about["requestedEnergyTransfer"] = AC_TRANSFER[state.physics.current_paths]
            about["acChargingParameters"] = {
                "energyAmount": energy_wh,
                "evMinCurrent": round(vehicle.min_current_a),
                "evMaxCurrent": round(vehicle.max_current_a),
                "evMaxVoltage": round(evse.voltage_v),
            }
        return "NotifyEVChargingNeeds", lambda: {"evseId": state.number, "chargingNeeds": about}

    def meter_values(self, state: EvseState, going: Transaction | None, reading: EvseReading, context: str) -> Message:
        """TransactionEvent Updated, or MeterValues where there is no transaction."""
        values = [self._meter_value(state, reading, context)]
        if going is None or self._settings.has(Misbehaviour.TRANSACTION_MINUS_ONE):
            return "MeterValues", lambda: {"evseId": state.number, "meterValue": values}
        payload = self._event("Updated", TRIGGER_OF_CONTEXT[context], going, state.charging_state, reading.at)
        payload["meterValue"] = values
        return "TransactionEvent", lambda: payload

    def transaction_ended(self, state: EvseState, done: Transaction, reading: EvseReading, reason: str) -> Message:
        """TransactionEvent Ended."""
        trigger, stopped_reason = ENDED_BY.get(reason, ("AbnormalCondition", "Other"))
        charging_state = "Idle" if reason == "EVDisconnected" else "EVConnected"
        payload = self._event("Ended", trigger, done, charging_state, reading.at)
        payload["transactionInfo"] = {**_section(payload, "transactionInfo"), "stoppedReason": stopped_reason}
        payload["meterValue"] = [self._meter_value(state, reading, "Transaction.End")]
        state.charging_state = ""
        return "TransactionEvent", lambda: payload

    def _event(
        self, kind: str, trigger: str, about: Transaction, charging_state: str, at: datetime
    ) -> dict[str, object]:
        transaction: dict[str, object] = {"transactionId": about.id}
        if charging_state:
            transaction["chargingState"] = charging_state
        if about.remote_start_id is not None:
            transaction["remoteStartId"] = about.remote_start_id
        return {
            "eventType": kind,
            "timestamp": self._time.stamp(at),
            "triggerReason": trigger,
            "seqNo": about.next_sequence(),
            "offline": not self._core.is_online,
            "transactionInfo": transaction,
        }

    def _meter_value(self, state: EvseState, reading: EvseReading, context: str) -> dict[str, object]:
        values = [_sampled(value, context) for value in self._core.readings.values(state, reading, context)]
        return {"timestamp": self._time.stamp(reading.at), "sampledValue": values}

    # ------------------------------------------------------------------ hears answers

    def read_authorize(self, payload: Payload) -> bool:
        """Answer to Authorize."""
        return _section(payload, "idTokenInfo").get("status") == "Accepted"

    def read_start(self, payload: Payload) -> StartAnswer:
        """Answer to TransactionEvent Started; silence about the token is consent."""
        return StartAnswer(None, _section(payload, "idTokenInfo").get("status", "Accepted") == "Accepted")

    # ------------------------------------------------------------------ hears calls

    def _profile(self, written: Mapping[str, Any]) -> ChargingProfile:
        return profile_of(written, written["chargingSchedule"][0], int(written["id"]), self._time)

    def _set_charging_profile(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        try:
            refusal = self._core.set_profile(payload["evseId"], self._profile(payload["chargingProfile"]), now)
        except ProfileRefused as reason:
            refusal = str(reason)
        if refusal:
            return {"status": "Rejected", "statusInfo": {"reasonCode": refusal[:20]}}
        return {"status": "Accepted"}

    def _clear_charging_profile(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        criteria = payload.get("chargingProfileCriteria") or {}
        which = ProfileFilter(
            payload.get("chargingProfileId"),
            criteria.get("evseId"),
            PURPOSES.get(str(criteria.get("chargingProfilePurpose"))),
            criteria.get("stackLevel"),
        )
        return {"status": "Accepted" if self._core.clear_profiles(which, now) else "Unknown"}

    def _get_composite_schedule(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        number, unit = payload["evseId"], RateUnit(payload.get("chargingRateUnit", "A"))
        # 0 is the whole station: all of its EVSEs together.
        governed = [
            self._core.profiles_of(state, now) for state in self._core.evses.values() if number in (0, state.number)
        ]
        if not governed or unit not in self._core.rules.units:
            return {"status": "Rejected"}
        periods = composite_periods(governed, now, payload["duration"], unit)
        schedule = {
            "evseId": number,
            "duration": payload["duration"],
            "scheduleStart": self._time.stamp(now),
            "chargingRateUnit": unit.value,
            "chargingSchedulePeriod": list(periods),
        }
        return {"status": "Accepted", "schedule": schedule}

    def _request_start(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        profile = self._profile(payload["chargingProfile"]) if "chargingProfile" in payload else None
        token_id = TokenId(payload["idToken"]["idToken"])
        started = self._orders.remote_start(payload.get("evseId"), token_id, payload["remoteStartId"], profile, now)
        return {"status": "Accepted" if started else "Rejected"}

    def _request_stop(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        return {"status": "Accepted" if self._orders.remote_stop(payload["transactionId"], now) else "Rejected"}

    def _get_transaction_status(self, payload: Mapping[str, Any], _now: datetime) -> Payload:
        waiting = {"messagesInQueue": self._core.outbox.durable_calls > 0}
        asked = payload.get("transactionId")
        if asked is None:
            return waiting
        going = [state.transaction.id for state in self._core.evses.values() if state.transaction is not None]
        return {"ongoingIndicator": asked in going, **waiting}

    def _reset(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        if payload["type"] == "OnIdle" and any(state.transaction for state in self._core.evses.values()):
            self._core.reset_when_idle = True
            return {"status": "Scheduled"}
        self._core.reset("ImmediateReset", now)
        return {"status": "Accepted"}

    def _trigger(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        evse_number = (payload.get("evse") or {}).get("id")
        return self._told_to(payload["requestedMessage"], evse_number, now)

    def _get_variables(self, payload: Mapping[str, Any], _now: datetime) -> Payload:
        results = []
        for asked in payload["getVariableData"]:
            status, variable = self._found(asked)
            result = {"attributeStatus": status, "component": asked["component"], "variable": asked["variable"]}
            if variable is not None and variable.read is None:
                result["attributeStatus"] = "Rejected"
            elif variable is not None and variable.read is not None:
                result["attributeValue"] = variable.read()
            results.append(result)
        return {"getVariableResult": results}

    def _set_variables(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        results = []
        for asked in payload["setVariableData"]:
            status, variable = self._found(asked)
            if variable is not None and (variable.write is None or not variable.write(asked["attributeValue"], now)):
                status = "Rejected"
            results.append({"attributeStatus": status, "component": asked["component"], "variable": asked["variable"]})
        return {"setVariableResult": results}

    def _found(self, asked: Mapping[str, Any]) -> tuple[str, StationVariable | None]:
        component, name = asked["component"]["name"], asked["variable"]["name"]
        variable = self._variables.get((component, name))
        if variable is not None:
            return "Accepted", variable
        known = any(component == other for other, _ in self._variables)
        return ("UnknownVariable" if known else "UnknownComponent"), None

    def _reserve_now(self, payload: Mapping[str, Any], _now: datetime) -> Payload:
        expires_at = self._time.instant(payload["expiryDateTime"])
        if expires_at is None:
            raise CallRefused("PropertyConstraintViolation", "expiryDateTime is no time")
        reservation = HeldReservation(payload["id"], TokenId(payload["idToken"]["idToken"]), expires_at)
        return {"status": self._orders.reserve(payload.get("evseId", 0), reservation)}

    def _change_availability(self, payload: Mapping[str, Any], _now: datetime) -> Payload:
        operative = payload["operationalStatus"] == "Operative"
        evse_number = (payload.get("evse") or {}).get("id", 0)
        return {"status": self._orders.set_availability(evse_number, operative=operative)}

    def _unlock(self, payload: Mapping[str, Any], _now: datetime) -> Payload:
        state = self._core.evses.get(payload["evseId"])
        if state is None:
            return {"status": "UnknownConnector"}
        return {"status": "OngoingAuthorizedTransaction" if state.transaction else "Unlocked"}


def _dc_needs(state: EvseState, energy_wh: int, power_w: float) -> dict[str, int]:
    vehicle = state.physics.vehicle
    about = {
        "evMaxCurrent": round(power_w / DC_VOLTAGE),
        "evMaxVoltage": DC_VOLTAGE,
        "evMaxPower": round(power_w),
        "energyAmount": energy_wh,
    }
    soc = vehicle.soc_before() if vehicle else None
    if vehicle is not None and vehicle.model.battery_kwh is not None and soc is not None:
        about |= {"evEnergyCapacity": round(vehicle.model.battery_kwh * 1000), "stateOfCharge": round(100 * soc)}
    return about


def _token(token_id: TokenId) -> dict[str, str]:
    return {"idToken": token_id, "type": "ISO14443"}


def _section(payload: Mapping[str, object], name: str) -> Mapping[str, Any]:
    section = payload.get(name)
    return section if isinstance(section, Mapping) else {}


def _sampled(value: Sampled, context: str) -> dict[str, object]:
    written: dict[str, object] = {
        "value": float(value.value),
        "context": context,
        "measurand": value.measurand,
        "location": "EV" if value.measurand == "SoC" else "Outlet",
        "unitOfMeasure": {"unit": value.unit},
    }
    return {**written, "phase": value.phase} if value.phase else written
