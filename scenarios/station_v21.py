"""OCPP 2.1 from the station's side: 2.0.1, and limits that are renewed by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from optimizer.domain.site import CurrentType
from scenarios.outbox import Payload
from scenarios.station_core import StationCore
from scenarios.station_dialect import Message, ProfileRefused, figures_of
from scenarios.station_state import EvseState
from scenarios.station_v201 import V201
from scenarios.vehicle_model import VehicleModel


class V21(V201):
    """What a 2.1 station says and hears."""

    def __init__(self, core: StationCore) -> None:
        super().__init__(core)
        self._handlers["UpdateDynamicSchedule"] = self._update_dynamic_schedule

    def _update_dynamic_schedule(self, payload: Mapping[str, Any], now: datetime) -> Payload:
        try:
            figures = figures_of(payload["scheduleUpdate"])
        except ProfileRefused as reason:
            return {"status": "Rejected", "statusInfo": {"reasonCode": str(reason)}}
        renewed = self._core.renew_profile(payload["chargingProfileId"], figures, now)
        return {"status": "Accepted" if renewed else "Rejected"}

    def charging_needs(self, state: EvseState, vehicle: VehicleModel) -> Message | None:
        """NotifyEVChargingNeeds, with what a car gives back where it does."""
        message = super().charging_needs(state, vehicle)
        if message is None or vehicle.gives_kwh <= 0.0 or not self._core.rules.discharges:
            return message
        action, write = message
        evse = state.physics.evse
        power_w = round(vehicle.gives_back_a * evse.voltage_v * state.physics.current_paths)
        told = write()
        needs: Mapping[str, Any] = told["chargingNeeds"]  # type: ignore[assignment]
        kind = "DC_BPT" if evse.current_type is CurrentType.DC else "AC_BPT"
        given = {"maxDischargePower": power_w, "evMinV2XEnergyRequest": -round(vehicle.gives_kwh * 1000)}
        both = {**needs, "requestedEnergyTransfer": kind, "v2xChargingParameters": given}
        return action, lambda: {**told, "chargingNeeds": both}
