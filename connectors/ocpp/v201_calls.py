"""Messages to a charging station of OCPP 2.0.1, most of which 2.1 has too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ocpp.v201 import call, datatypes, enums

from connectors.ocpp.frames import Json
from connectors.ocpp.outbound import Message, SettingName, message_of
from connectors.ocpp.security_calls import SecurityCalls2x
from connectors.ocpp.settings import Version
from connectors.ocpp.translate import clean_text, instant_text, part, parts
from connectors.ocpp.translate_profile import ProfilePurpose, ProfileRequest
from optimizer.domain.ids import TokenId, TransactionId
from optimizer.domain.operation import Trigger
from optimizer.errors import InvalidInput

_PURPOSES: Final = {
    ProfilePurpose.PLAN: enums.ChargingProfilePurposeEnumType.tx_profile,
    ProfilePurpose.SAFE_DEFAULT: enums.ChargingProfilePurposeEnumType.tx_default_profile,
    ProfilePurpose.STATION_MAXIMUM: enums.ChargingProfilePurposeEnumType.charging_station_max_profile,
}

_TRIGGERS: Final = {
    Trigger.BOOT: enums.MessageTriggerEnumType.boot_notification,
    Trigger.STATUS: enums.MessageTriggerEnumType.status_notification,
    Trigger.METER_VALUES: enums.MessageTriggerEnumType.meter_values,
    Trigger.HEARTBEAT: enums.MessageTriggerEnumType.heartbeat,
    Trigger.LOG_STATUS: enums.MessageTriggerEnumType.log_status_notification,
    Trigger.FIRMWARE_STATUS: enums.MessageTriggerEnumType.firmware_status_notification,
}


EXTERNAL_PROFILES: Final = 1
"""Number of the one request for profiles that is ever made."""


class Calls201(SecurityCalls2x):
    """Builds the messages of OCPP 2.0.1 and 2.1.

    Args:
        version: Which of the two.
    """

    setting_names: Mapping[SettingName, str] = {
        SettingName.RATE_UNITS: "SmartChargingCtrlr.RateUnit",
        SettingName.MAX_PERIODS: "SmartChargingCtrlr.PeriodsPerSchedule",
        SettingName.MEASURANDS: "SampledDataCtrlr.TxUpdatedMeasurands",
        SettingName.METER_INTERVAL: "SampledDataCtrlr.TxUpdatedInterval",
        SettingName.ALIGNED_INTERVAL: "AlignedDataCtrlr.Interval",
        SettingName.PASSWORD: "SecurityCtrlr.BasicAuthPassword",
        SettingName.STACK_LEVEL: "SmartChargingCtrlr.ProfileStackLevel",
        SettingName.PHASE_SWITCHING: "SmartChargingCtrlr.ACPhaseSwitchingSupported",
    }

    def __init__(self, version: Version = Version.V201) -> None:
        self.version = version

    def _message(self, content: Any) -> Message:
        return message_of(content, self.version)

    def set_profile(self, profile: ProfileRequest) -> Message:
        """SetChargingProfileRequest."""
        schedule = datatypes.ChargingScheduleType(
            id=profile.profile_id,
            charging_rate_unit=enums.ChargingRateUnitEnumType(profile.rate_unit.value),
            charging_schedule_period=[
                datatypes.ChargingSchedulePeriodType(
                    period.start_s,
                    period.limit_value,
                    profile.number_phases,
                    phase_to_use=1 if profile.switches_phases and profile.number_phases == 1 else None,
                )
                for period in profile.periods
            ],
            start_schedule=instant_text(profile.start_schedule) if profile.start_schedule is not None else None,
        )
        wanted = datatypes.ChargingProfileType(
            id=profile.profile_id,
            stack_level=profile.stack_level,
            charging_profile_purpose=_PURPOSES[profile.purpose],
            charging_profile_kind=enums.ChargingProfileKindEnumType.absolute
            if profile.start_schedule is not None
            else enums.ChargingProfileKindEnumType.relative,
            charging_schedule=[schedule],
            transaction_id=profile.transaction_id,
        )
        return self._message(call.SetChargingProfile(profile.ocpp_evse_id, wanted))

    def clear_profile(self, profile_id: int) -> Message:
        """ClearChargingProfileRequest for one profile."""
        return self._message(call.ClearChargingProfile(charging_profile_id=profile_id))

    def clear_layer(self, ocpp_evse_id: int, purpose: ProfilePurpose) -> Message:
        """ClearChargingProfileRequest for every profile of one purpose."""
        criteria = datatypes.ClearChargingProfileType(evse_id=ocpp_evse_id, charging_profile_purpose=_PURPOSES[purpose])
        return self._message(call.ClearChargingProfile(charging_profile_criteria=criteria))

    def read_settings(self, names: Sequence[str]) -> Message:
        """GetVariablesRequest for names of the form Component.Variable."""
        wanted = [datatypes.GetVariableDataType(*_component_variable(name)) for name in names]
        return self._message(call.GetVariables(wanted))

    def settings_read(self, payload: Json) -> dict[str, str]:
        """Values of GetVariablesResponse by Component.Variable."""
        found = {}
        for entry in parts(payload, "getVariableResult"):
            if isinstance(entry, dict) and entry.get("attributeStatus") == "Accepted":
                component = clean_text(part(entry, "component").get("name"))
                variable = clean_text(part(entry, "variable").get("name"))
                found[f"{component}.{variable}"] = clean_text(entry.get("attributeValue"), 2500)
        return found

    def write_setting(self, name: str, value: str) -> Message:
        """SetVariablesRequest for one Component.Variable."""
        return self._message(call.SetVariables([datatypes.SetVariableDataType(value, *_component_variable(name))]))

    def setting_taken(self, payload: Json) -> bool:
        """Whether SetVariablesResponse says that the value holds, now or after a restart."""
        results = [entry for entry in parts(payload, "setVariableResult") if isinstance(entry, dict)]
        return bool(results) and all(
            entry.get("attributeStatus") in ("Accepted", "RebootRequired") for entry in results
        )

    def trigger(self, what: Trigger, ocpp_evse_id: int | None) -> Message:
        """TriggerMessageRequest."""
        evse = None if ocpp_evse_id is None else datatypes.EVSEType(ocpp_evse_id)
        if evse is not None and what is Trigger.STATUS:
            evse = datatypes.EVSEType(evse.id, connector_id=1)
        return self._message(call.TriggerMessage(_TRIGGERS[what], evse))

    def start(self, ocpp_evse_id: int, token_id: TokenId, request_number: int) -> Message:
        """RequestStartTransactionRequest."""
        return self._message(call.RequestStartTransaction(_token(token_id), request_number, ocpp_evse_id))

    def stop(self, transaction_id: TransactionId) -> Message:
        """RequestStopTransactionRequest."""
        return self._message(call.RequestStopTransaction(transaction_id))

    def reset(self, *, hard: bool) -> Message:
        """ResetRequest: at once, or when no transaction runs."""
        return self._message(call.Reset(enums.ResetEnumType.immediate if hard else enums.ResetEnumType.on_idle))

    def availability(self, ocpp_evse_id: int, *, operative: bool) -> Message:
        """ChangeAvailabilityRequest; EVSE 0 is the whole station."""
        kind = enums.OperationalStatusEnumType.operative if operative else enums.OperationalStatusEnumType.inoperative
        evse = datatypes.EVSEType(ocpp_evse_id) if ocpp_evse_id else None
        return self._message(call.ChangeAvailability(kind, evse))

    def unlock(self, ocpp_evse_id: int) -> Message:
        """UnlockConnectorRequest for the first connector."""
        return self._message(call.UnlockConnector(ocpp_evse_id, 1))

    def reserve(self, reservation_ref: int, ocpp_evse_id: int, token_id: TokenId, until: datetime) -> Message:
        """ReserveNowRequest."""
        wanted = call.ReserveNow(reservation_ref, instant_text(until), _token(token_id), evse_id=ocpp_evse_id or None)
        return self._message(wanted)

    def cancel_reservation(self, reservation_ref: int) -> Message:
        """CancelReservationRequest."""
        return self._message(call.CancelReservation(reservation_ref))

    def composite_schedule(self, ocpp_evse_id: int, duration_s: int) -> Message:
        """GetCompositeScheduleRequest."""
        return self._message(call.GetCompositeSchedule(duration_s, ocpp_evse_id))

    def upload_log(self, url: str, request_number: int) -> Message:
        """GetLogRequest for diagnostics."""
        where = datatypes.LogParametersType(remote_location=url)
        return self._message(call.GetLog(where, enums.LogEnumType.diagnostics_log, request_number))

    def update_firmware(self, url: str, at: datetime, request_number: int) -> Message:
        """UpdateFirmwareRequest."""
        firmware = datatypes.FirmwareType(location=url, retrieve_date_time=instant_text(at))
        return self._message(call.UpdateFirmware(request_number, firmware))

    def local_list(self, list_version: int, token_ids: Sequence[TokenId]) -> Message:
        """SendLocalListRequest that replaces the whole list."""
        accepted = datatypes.IdTokenInfoType(enums.AuthorizationStatusEnumType.accepted)
        entries = [datatypes.AuthorizationData(_token(token_id), accepted) for token_id in token_ids]
        return self._message(call.SendLocalList(list_version, enums.UpdateEnumType.full, entries or None))

    def clear_cache(self) -> Message:
        """ClearCacheRequest."""
        return self._message(call.ClearCache())

    def external_profiles(self) -> Message | None:
        """GetChargingProfilesRequest for external constraints; the station answers by ReportChargingProfiles."""
        purpose = enums.ChargingProfilePurposeEnumType.charging_station_external_constraints
        wanted = datatypes.ChargingProfileCriterionType(charging_profile_purpose=purpose)
        return self._message(call.GetChargingProfiles(EXTERNAL_PROFILES, wanted))

    def transaction_status(self, transaction_id: TransactionId) -> Message | None:
        """GetTransactionStatusRequest."""
        return self._message(call.GetTransactionStatus(transaction_id))


def _token(token_id: TokenId) -> Any:
    """A token presented by the central system itself."""
    return datatypes.IdTokenType(token_id, enums.IdTokenEnumType.central)


def _component_variable(name: str) -> tuple[Any, Any]:
    component, separator, variable = name.partition(".")
    if not (component and separator and variable):
        raise InvalidInput("setting", name, "name it Component.Variable")
    return datatypes.ComponentType(component), datatypes.VariableType(variable)
