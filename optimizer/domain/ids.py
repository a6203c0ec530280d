"""Identifiers, one type an idea, so that mypy tells them apart."""

from __future__ import annotations

from typing import NewType

SiteId = NewType("SiteId", str)
CircuitId = NewType("CircuitId", str)
StationId = NewType("StationId", str)
EvseId = NewType("EvseId", str)
SessionId = NewType("SessionId", str)
TransactionId = NewType("TransactionId", str)
ReservationId = NewType("ReservationId", str)
GridEventId = NewType("GridEventId", str)
VehicleId = NewType("VehicleId", str)
TokenId = NewType("TokenId", str)
PlanId = NewType("PlanId", str)
RecordId = NewType("RecordId", str)
MeterId = NewType("MeterId", str)
TariffId = NewType("TariffId", str)
