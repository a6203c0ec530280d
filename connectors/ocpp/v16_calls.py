"""Messages to a charge point of OCPP 1.6J."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ocpp.v16 import call, datatypes, enums

from connectors.ocpp.frames import Json
from connectors.ocpp.outbound import Message, SettingName, message_of
from connectors.ocpp.security_calls import SecurityCalls16
from connectors.ocpp.settings import Version
from connectors.ocpp.translate import clean_text, instant_text, parts
from connectors.ocpp.translate_profile import ProfilePurpose, ProfileRequest
from optimizer.domain.ids import TokenId, TransactionId
from optimizer.domain.operation import Trigger
from optimizer.errors import InvalidInput

_PURPOSES: Final = {
    ProfilePurpose.PLAN: enums.ChargingProfilePurposeType.tx_profile,
    ProfilePurpose.SAFE_DEFAULT: enums.ChargingProfilePurposeType.tx_default_profile,
    ProfilePurpose.STATION_MAXIMUM: enums.ChargingProfilePurposeType.charge_point_max_profile,
}

_TRIGGERS: Final = {
    Trigger.BOOT: enums.MessageTrigger.boot_notification,
    Trigger.STATUS: enums.MessageTrigger.status_notification,
    Trigger.METER_VALUES: enums.MessageTrigger.meter_values,
    Trigger.HEARTBEAT: enums.MessageTrigger.heartbeat,
    Trigger.LOG_STATUS: enums.MessageTrigger.diagnostics_status_notification,
    Trigger.FIRMWARE_STATUS: enums.MessageTrigger.firmware_status_notification,
}


class Calls16(SecurityCalls16):
    """Builds the messages of OCPP 1.6J."""

    version = Version.V16

    setting_names: Mapping[SettingName, str] = {
        SettingName.RATE_UNITS: "ChargingScheduleAllowedChargingRateUnit",
        SettingName.MAX_PERIODS: "ChargingScheduleMaxPeriods",
        SettingName.MEASURANDS: "MeterValuesSampledData",
        SettingName.METER_INTERVAL: "MeterValueSampleInterval",
        SettingName.ALIGNED_INTERVAL: "ClockAlignedDataInterval",
        SettingName.PASSWORD: "AuthorizationKey",
        SettingName.STACK_LEVEL: "ChargeProfileMaxStackLevel",
        SettingName.PHASE_SWITCHING: "ConnectorSwitch3to1PhaseSupported",
    }

    def _message(self, content: Any) -> Message:
        return message_of(content, self.version)

    def set_profile(self, profile: ProfileRequest) -> Message:
        """SetChargingProfile.req."""
        transaction_id = profile.transaction_id
        schedule = datatypes.ChargingSchedule(
            charging_rate_unit=enums.ChargingRateUnitType(profile.rate_unit.value),
            charging_schedule_period=[
                datatypes.ChargingSchedulePeriod(period.start_s, period.limit_value, profile.number_phases)
                for period in profile.periods
            ],
            start_schedule=instant_text(profile.start_schedule) if profile.start_schedule is not None else None,
        )
        wanted = datatypes.ChargingProfile(
            charging_profile_id=profile.profile_id,
            stack_level=profile.stack_level,
            charging_profile_purpose=_PURPOSES[profile.purpose],
            charging_profile_kind=enums.ChargingProfileKindType.absolute
            if profile.start_schedule is not None
            else enums.ChargingProfileKindType.relative,
            charging_schedule=schedule,
            transaction_id=int(transaction_id) if transaction_id is not None and transaction_id.isdecimal() else None,
        )
        return self._message(call.SetChargingProfile(profile.ocpp_evse_id, wanted))

    def clear_profile(self, profile_id: int) -> Message:
        """ClearChargingProfile.req for one profile."""
        return self._message(call.ClearChargingProfile(id=profile_id))

    def clear_layer(self, ocpp_evse_id: int, purpose: ProfilePurpose) -> Message:
        """ClearChargingProfile.req for every profile of one purpose."""
        return self._message(
            call.ClearChargingProfile(connector_id=ocpp_evse_id, charging_profile_purpose=_PURPOSES[purpose])
        )

    def read_settings(self, names: Sequence[str]) -> Message:
        """GetConfiguration.req for named keys; asking for all breaks some stations."""
        return self._message(call.GetConfiguration(key=list(names)))

    def settings_read(self, payload: Json) -> dict[str, str]:
        """Values of GetConfiguration.conf by key."""
        entries = [entry for entry in parts(payload, "configurationKey") if isinstance(entry, dict)]
        return {clean_text(entry.get("key")): clean_text(entry.get("value"), 500) for entry in entries}

    def write_setting(self, name: str, value: str) -> Message:
        """ChangeConfiguration.req."""
        return self._message(call.ChangeConfiguration(key=name, value=value))

    def setting_taken(self, payload: Json) -> bool:
        """Whether ChangeConfiguration.conf says that the value holds, now or after a restart."""
        return payload.get("status") in ("Accepted", "RebootRequired")

    def trigger(self, what: Trigger, ocpp_evse_id: int | None) -> Message:
        """TriggerMessage.req."""
        return self._message(call.TriggerMessage(_TRIGGERS[what], ocpp_evse_id))

    def start(self, ocpp_evse_id: int, token_id: TokenId, _request_number: int) -> Message:
        """RemoteStartTransaction.req."""
        return self._message(call.RemoteStartTransaction(id_tag=token_id, connector_id=ocpp_evse_id))

    def stop(self, transaction_id: TransactionId) -> Message:
        """RemoteStopTransaction.req."""
        return self._message(call.RemoteStopTransaction(_number_of(transaction_id)))

    def reset(self, *, hard: bool) -> Message:
        """Reset.req."""
        return self._message(call.Reset(enums.ResetType.hard if hard else enums.ResetType.soft))

    def availability(self, ocpp_evse_id: int, *, operative: bool) -> Message:
        """ChangeAvailability.req; EVSE 0 is the whole charge point."""
        kind = enums.AvailabilityType.operative if operative else enums.AvailabilityType.inoperative
        return self._message(call.ChangeAvailability(ocpp_evse_id, kind))

    def unlock(self, ocpp_evse_id: int) -> Message:
        """UnlockConnector.req."""
        return self._message(call.UnlockConnector(ocpp_evse_id))

    def reserve(self, reservation_ref: int, ocpp_evse_id: int, token_id: TokenId, until: datetime) -> Message:
        """ReserveNow.req."""
        return self._message(call.ReserveNow(ocpp_evse_id, instant_text(until), token_id, reservation_ref))

    def cancel_reservation(self, reservation_ref: int) -> Message:
        """CancelReservation.req."""
        return self._message(call.CancelReservation(reservation_ref))

    def composite_schedule(self, ocpp_evse_id: int, duration_s: int) -> Message:
        """GetCompositeSchedule.req."""
        return self._message(call.GetCompositeSchedule(ocpp_evse_id, duration_s))

    def upload_log(self, url: str, _request_number: int) -> Message:
        """GetDiagnostics.req."""
        return self._message(call.GetDiagnostics(location=url))

    def update_firmware(self, url: str, at: datetime, _request_number: int) -> Message:
        """UpdateFirmware.req."""
        return self._message(call.UpdateFirmware(location=url, retrieve_date=instant_text(at)))

    def local_list(self, list_version: int, token_ids: Sequence[TokenId]) -> Message:
        """SendLocalList.req that replaces the whole list."""
        accepted = datatypes.IdTagInfo(enums.AuthorizationStatus.accepted)
        entries = [datatypes.AuthorizationData(token_id, accepted) for token_id in token_ids]
        return self._message(call.SendLocalList(list_version, enums.UpdateType.full, entries))

    def clear_cache(self) -> Message:
        """ClearCache.req."""
        return self._message(call.ClearCache())

    def external_profiles(self) -> Message | None:
        """1.6 knows no profiles of others."""
        return None

    def transaction_status(self, _transaction_id: TransactionId) -> Message | None:
        """1.6 has no such question."""
        return None


def _number_of(transaction_id: TransactionId) -> int:
    if not transaction_id.isdecimal():
        raise InvalidInput("transaction_id", transaction_id, "OCPP 1.6 knows whole numbers only")
    return int(transaction_id)
