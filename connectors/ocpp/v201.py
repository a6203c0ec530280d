"""OCPP 2.0.1, and 2.1 in the form of 2.0.1: the calls of a charging station."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from ocpp.v21.enums import Action as Action21
from ocpp.v201.enums import Action

from connectors.ocpp.answers import SharedAnswers, token_answer
from connectors.ocpp.external import limit_source, notified_limit, reported_limits
from connectors.ocpp.frames import CallRefused, ErrorCode, Json
from connectors.ocpp.intake import StationIntake
from connectors.ocpp.needs import vehicle_needs
from connectors.ocpp.settings import Version
from connectors.ocpp.translate import (
    clean_text,
    connector_status,
    instant,
    part,
    parts,
    token_of,
    whole_number,
)
from connectors.ocpp.translate_meter import read_meter_value
from connectors.ocpp.vehicle_schedule import NOTABLE_KW, deviation, vehicle_schedule
from optimizer.domain.charger import ConnectorStatus
from optimizer.domain.ids import TransactionId
from optimizer.domain.site import Evse

KNOWN_ACTIONS: Final = {
    Version.V201: frozenset(action.value for action in Action),
    Version.V21: frozenset(action.value for action in Action21),
}

MOST_CONNECTORS = 8
"""Connectors of one EVSE that are told apart; no EVSE has as many."""


class Answers201(SharedAnswers):
    """Serves the calls of one charging station of OCPP 2.0.1 or 2.1.

    Args:
        intake: Takes what it tells.
        heartbeat_interval_s: Interval to tell it [s].
        version: 2.0.1 or 2.1.
        v2x: Whether a vehicle's agreement to give power back is heard.
    """

    def __init__(
        self, intake: StationIntake, heartbeat_interval_s: int, version: Version = Version.V201, *, v2x: bool = False
    ) -> None:
        super().__init__(intake, heartbeat_interval_s, version, KNOWN_ACTIONS[version])
        self._v2x = v2x
        self._handlers |= {
            "BootNotification": self._boot_2x,
            "StatusNotification": self._status,
            "Authorize": self._authorize,
            "TransactionEvent": self._transaction_event,
            "MeterValues": self._meter_values,
            "NotifyEVChargingNeeds": self._needs,
            "NotifyEVChargingSchedule": self._vehicle_scheduled,
            "NotifyReport": self._answered_with({}, "NotifyReport"),
            "NotifyMonitoringReport": self._answered_with({}, "NotifyMonitoringReport"),
            "NotifyEvent": self._answered_with({}, "NotifyEvent"),
            "NotifyChargingLimit": self._limit_notified,
            "ClearedChargingLimit": self._limit_cleared,
            "ReportChargingProfiles": self._profiles_reported,
            "NotifyDisplayMessages": self._answered_with({}, "NotifyDisplayMessages"),
            "NotifyCustomerInformation": self._answered_with({}, "NotifyCustomerInformation"),
            "FirmwareStatusNotification": self._answered_with({}, "FirmwareStatusNotification", "status"),
            "PublishFirmwareStatusNotification": self._answered_with({}, "PublishFirmwareStatusNotification", "status"),
            "LogStatusNotification": self._answered_with({}, "LogStatusNotification", "status"),
            "ReservationStatusUpdate": self._answered_with({}, "ReservationStatusUpdate", "reservationUpdateStatus"),
        }

    async def _boot_2x(self, payload: Json) -> Json:
        station = part(payload, "chargingStation")
        return await self._boot(*(station.get(name) for name in ("vendorName", "model", "firmwareVersion")))

    async def _status(self, payload: Json) -> Json:
        number = self._intake.evse_number(whole_number(payload.get("evseId")))
        if number is not None:
            connector = min(max(whole_number(payload.get("connectorId")) or 1, 1), MOST_CONNECTORS)
            status = connector_status(payload.get("connectorStatus"))
            await self._intake.report_connector(number, connector, status, _stamp(payload))
        return {}

    async def _authorize(self, payload: Json) -> Json:
        return {"idTokenInfo": token_answer(await self._intake.authorize(token_of(payload.get("idToken"))))}

    async def _transaction_event(self, payload: Json) -> Json:
        transaction = part(payload, "transactionInfo")
        transaction_id = TransactionId(clean_text(transaction.get("transactionId"), 36))
        if not transaction_id:
            raise CallRefused(ErrorCode.OCCURRENCE_VIOLATION, "transactionInfo.transactionId is missing")
        is_new = await self._intake.known_place(transaction_id) is None
        self._watch_sequence(transaction_id, whole_number(payload.get("seqNo")), is_new=is_new)
        kind = payload.get("eventType")
        entries = parts(payload, "meterValue")
        at = await self._intake.time_of(_stamp(payload))
        number, answer = await self._ensure_begun(payload, transaction_id, at, entries)
        if number is None:
            return answer
        if entries:
            await self._intake.take_meter_values(number, transaction_id, entries, adopt=False)
        state = connector_status(transaction.get("chargingState"))
        if kind == "Ended":
            reason = clean_text(transaction.get("stoppedReason")) or clean_text(payload.get("triggerReason"))
            register_kwh = self._register(number, entries[-1]) if entries else None
            await self._intake.finish(transaction_id, at, register_kwh, reason)
            if state is ConnectorStatus.PREPARING:
                # The vehicle is still plugged in after its transaction.
                state = ConnectorStatus.FINISHING
        if state is not ConnectorStatus.UNKNOWN:
            await self._intake.report_charging_state(number, state, at)
        return answer

    async def _ensure_begun(
        self, payload: Json, transaction_id: TransactionId, at: datetime, entries: list[Any]
    ) -> tuple[int | None, Json]:
        """Open the transaction where it is new, whatever event tells of it; its EVSE number and the answer so far."""
        token_id = token_of(payload.get("idToken"))
        number, accepted = await self._intake.known_place(transaction_id), True
        if number is None:
            number = self._intake.evse_number(whole_number(part(payload, "evse").get("id")))
            if number is None:
                accepted = False
            else:
                register_kwh = self._register(number, entries[0]) if entries else None
                reservation_ref = whole_number(payload.get("reservationId"))
                opened = await self._intake.begin(number, at, token_id, transaction_id, register_kwh, reservation_ref)
                accepted = opened.accepted
        elif token_id is not None and payload.get("eventType") != "Ended":
            accepted = await self._intake.present_token(number, at, token_id, transaction_id)
        return number, {"idTokenInfo": token_answer(accepted)} if token_id is not None else {}

    def _watch_sequence(self, transaction_id: TransactionId, number: int | None, *, is_new: bool) -> None:
        """Notice messages of a transaction that never came, its start among them where nobody knows of it."""
        sequence = self._intake.record.sequence
        last = sequence.get(transaction_id)
        if number is None:
            return
        if last is None and is_new:
            last = -1
        if last is not None and number > last + 1:
            self._intake.violation("messages of a transaction missing", f"{transaction_id}: {last} then {number}")
            self._intake.record.gaps.append(transaction_id)
        sequence.put(transaction_id, number if last is None else max(last, number))

    def _register(self, number: int, entry: Any) -> Decimal | None:
        if not isinstance(entry, dict):
            return None
        return read_meter_value(entry, self._intake.record.evses[number]).register_kwh

    async def _meter_values(self, payload: Json) -> Json:
        await self._intake.take_meter_values(whole_number(payload.get("evseId")), None, parts(payload, "meterValue"))
        return {}

    async def _needs(self, payload: Json) -> Json:
        number = self._intake.evse_number(whole_number(payload.get("evseId")))
        if number is None:
            return {"status": "Rejected"}
        record = self._intake.record
        told, evse = part(payload, "chargingNeeds"), record.evses[number]
        tuples = whole_number(payload.get("maxScheduleTuples"))
        if tuples is not None and tuples > 0:
            record.told[number].most_periods = tuples
        needs = vehicle_needs(told, evse, self._intake.now, record.skew.skew, v2x=self._v2x)
        taken = await self._intake.state_needs(needs)
        # "Processing" still promises a schedule: the plan comes all the same, by another target than the vehicle's.
        return {"status": "Accepted" if taken else "Processing"}

    async def _vehicle_scheduled(self, payload: Json) -> Json:
        number = self._intake.evse_number(whole_number(payload.get("evseId")))
        if number is None:
            return {"status": "Rejected"}
        record = self._intake.record
        plan = record.told[number].periods
        vehicle = vehicle_schedule(payload, record.evses[number], self._intake.now, record.skew.skew)
        if not vehicle:
            self._intake.violation("schedule of a vehicle unreadable", number)
            return {"status": "Rejected"}
        parted = deviation(plan, vehicle, max(plan[-1].start, vehicle[-1].start)) if plan else None
        self._intake.notice("NotifyEVChargingSchedule", f"EVSE {number}: {parted or 'no plan was told'}")
        if parted is not None and parted.above_kw > NOTABLE_KW:
            self._intake.violation("vehicle means to take more than it may", parted)
        return {"status": "Accepted"}

    async def _limit_notified(self, payload: Json) -> Json:
        number, evse = self._evse_or_station(payload)
        limit = notified_limit(payload, evse, self._intake.now, self._intake.record.skew.skew)
        await self._intake.limit_others(number, [limit])
        self._intake.notice("NotifyChargingLimit", f"EVSE {number}: {limit.source}")
        return {}

    async def _limit_cleared(self, payload: Json) -> Json:
        number, _ = self._evse_or_station(payload)
        source = limit_source(payload.get("chargingLimitSource"))
        await self._intake.free_from_others(number, source)
        self._intake.notice("ClearedChargingLimit", f"EVSE {number}: {source}")
        return {}

    async def _profiles_reported(self, payload: Json) -> Json:
        number, evse = self._evse_or_station(payload)
        skew = self._intake.record.skew.skew
        limits = reported_limits(payload, evse, self._intake.now, skew)
        if limits:
            await self._intake.limit_others(number, limits)
        for limit in limits:
            self._intake.notice("ReportChargingProfiles", f"EVSE {number}: {limit.source}")
        return {}

    def _evse_or_station(self, payload: Json) -> tuple[int, Evse]:
        """The EVSE that is named; else 0, which is the whole station, with the first EVSE to stand for it."""
        evses = self._intake.record.evses
        number = whole_number(payload.get("evseId")) or 0
        return (number, evses[number]) if number in evses else (0, next(iter(evses.values())))


def _stamp(payload: Json) -> datetime | None:
    return instant(payload.get("timestamp"))
