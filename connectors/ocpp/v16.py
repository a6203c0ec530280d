"""OCPP 1.6J: the calls of a charge point."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from ocpp.v16.enums import Action

from connectors.ocpp.answers import SharedAnswers, token_answer
from connectors.ocpp.frames import Json
from connectors.ocpp.intake import NO_TRANSACTION, StationIntake
from connectors.ocpp.settings import Version
from connectors.ocpp.translate import (
    clean_text,
    connector_status,
    decimal_number,
    error_text_of,
    instant,
    parts,
    token_of,
    whole_number,
)
from optimizer.domain.ids import TransactionId

KNOWN_ACTIONS = frozenset(action.value for action in Action)

REFUSED_TRANSACTION_ID = 0
"""Transaction id of a start at a connector that does not exist; ids given by the service begin at 1."""


class Answers16(SharedAnswers):
    """Serves the calls of one charge point.

    Args:
        intake: Takes what it tells.
        heartbeat_interval_s: Interval to tell it [s].
    """

    def __init__(self, intake: StationIntake, heartbeat_interval_s: int) -> None:
        super().__init__(intake, heartbeat_interval_s, Version.V16, KNOWN_ACTIONS)
        self._handlers |= {
            "BootNotification": self._boot_16,
            "StatusNotification": self._status,
            "Authorize": self._authorize,
            "StartTransaction": self._start,
            "StopTransaction": self._stop,
            "MeterValues": self._meter_values,
            "DiagnosticsStatusNotification": self._answered_with({}, "DiagnosticsStatusNotification", "status"),
            "FirmwareStatusNotification": self._answered_with({}, "FirmwareStatusNotification", "status"),
            "LogStatusNotification": self._answered_with({}, "LogStatusNotification", "status"),
            "SignedFirmwareStatusNotification": self._answered_with({}, "SignedFirmwareStatusNotification", "status"),
        }

    async def _boot_16(self, payload: Json) -> Json:
        names = ("chargePointVendor", "chargePointModel", "firmwareVersion")
        return await self._boot(*(payload.get(name) for name in names))

    async def _status(self, payload: Json) -> Json:
        number = whole_number(payload.get("connectorId"))
        if number != 0:
            number = self._intake.evse_number(number)
        if number is not None:
            stamp = instant(payload.get("timestamp")) if "timestamp" in payload else self._intake.now
            status = connector_status(payload.get("status"))
            await self._intake.report_connector(number, 1, status, stamp, error_text_of(payload))
        return {}

    async def _authorize(self, payload: Json) -> Json:
        accepted = await self._intake.authorize(token_of(payload.get("idTag")))
        return {"idTagInfo": token_answer(accepted)}

    async def _start(self, payload: Json) -> Json:
        number = self._intake.evse_number(whole_number(payload.get("connectorId")))
        if number is None:
            self._intake.record.refused_starts += 1
            return {"transactionId": REFUSED_TRANSACTION_ID, "idTagInfo": token_answer(False)}
        told = [payload.get(name) for name in ("connectorId", "idTag", "meterStart", "timestamp")]
        content = repr(told)
        opened = self._intake.record.opened.get(content)
        if opened is None:
            stamped_at = _stamp(payload)
            opened = await self._intake.begin(
                number,
                await self._intake.time_of(stamped_at),
                token_of(payload.get("idTag")),
                None,
                _watt_hours(payload.get("meterStart")),
                whole_number(payload.get("reservationId")),
                stamped_at,
                in_true_wh=True,
            )
            self._intake.record.opened.put(content, opened)
        return {"transactionId": int(opened.transaction_id), "idTagInfo": token_answer(opened.accepted)}

    async def _stop(self, payload: Json) -> Json:
        answer: Json = {"idTagInfo": token_answer(True)} if "idTag" in payload else {}
        transaction_id, record = _transaction_id(payload), self._intake.record
        if transaction_id == str(REFUSED_TRANSACTION_ID) and record.refused_starts > 0:
            # The end of what was refused is none of the transactions that run.
            record.refused_starts -= 1
            return answer
        if transaction_id is None or transaction_id in NO_TRANSACTION:
            self._intake.violation("stop of no transaction", transaction_id)
            transaction_id = record.only_active()
        if transaction_id is None:
            return answer
        entries = parts(payload, "transactionData")
        if entries:
            await self._intake.take_meter_values(None, transaction_id, entries, adopt=False)
        at = await self._intake.time_of(_stamp(payload))
        register_kwh = _watt_hours(payload.get("meterStop"))
        reason = clean_text(payload.get("reason"))
        await self._intake.finish(transaction_id, at, register_kwh, reason, in_true_wh=True)
        return answer

    async def _meter_values(self, payload: Json) -> Json:
        await self._intake.take_meter_values(
            whole_number(payload.get("connectorId")), _transaction_id(payload), parts(payload, "meterValue")
        )
        return {}


def _stamp(payload: Json) -> datetime | None:
    return instant(payload.get("timestamp"))


def _transaction_id(payload: Json) -> TransactionId | None:
    number = whole_number(payload.get("transactionId"))
    return None if number is None else TransactionId(str(number))


def _watt_hours(value: object) -> Decimal | None:
    """A register of StartTransaction or StopTransaction, always in Wh [kWh]."""
    number = decimal_number(value)
    return number.scaleb(-3) if number is not None and number >= 0 else None
