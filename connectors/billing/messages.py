"""The message that tells billing of one energy-cost record: names with units, money as decimal strings."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

from optimizer.domain.cost import CostLine, EnergyCostRecord


def event_type(record: EnergyCostRecord) -> str:
    """What happened, by which a receiver can filter."""
    return f"session.energy_cost.{record.status.value}"


def message_body(record: EnergyCostRecord) -> bytes:
    """The body, the same bytes at every attempt."""
    message = {"type": event_type(record), "timestamp": _time(record.made_at), "data": record_fields(record)}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def record_fields(record: EnergyCostRecord) -> dict[str, object]:
    """The record as JSON can carry it, named as in the HTTP API."""
    return {
        "id": record.id,
        "site_id": record.site_id,
        "session_id": record.session_id,
        "status": record.status.value,
        "made_at": _time(record.made_at),
        "start": _time(record.window.start),
        "end": _time(record.window.end),
        "currency": record.currency,
        "energy_kwh": _plain(record.energy_kwh),
        "returned_kwh": _plain(record.returned_kwh),
        "total": _plain(record.total),
        "lines": [_line_fields(line) for line in record.lines],
        "tariff_id": record.tariff_id,
        "tariff_version": record.tariff_version,
        "method": record.method,
        "input_hash": record.input_hash,
        "optimizer_pause_h": _plain(record.optimizer_pause_h),
        "corrects": record.corrects,
    }


def _line_fields(line: CostLine) -> dict[str, str]:
    return {
        "component": line.component.value,
        "label": line.label,
        "quantity": _plain(line.quantity),
        "amount": _plain(line.amount),
        "opportunity_amount": _plain(line.opportunity_amount),
        "returned_quantity": _plain(line.returned_quantity),
    }


def _plain(number: Decimal) -> str:
    """Every digit, without exponent."""
    return format(number, "f")


def _time(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
