"""What a vehicle says it needs (OCPP 2.x NotifyEVChargingNeeds) -> one form in kWh, kW and shares."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import sqrt
from typing import Final

from connectors.ocpp.frames import Json
from connectors.ocpp.translate import clean_text, float_number, instant, part
from optimizer.domain.charger import VehicleNeeds
from optimizer.domain.site import Evse

LINE_VOLTAGE_FROM_V = 300.0
"""A vehicle's greatest AC voltage from here up is between lines, below it to neutral [V]."""

_TRANSFER_PHASES: Final = {"AC_single_phase": 1, "AC_two_phase": 2, "AC_three_phase": 3}
_BOTH_WAYS: Final = {"AC_BPT", "AC_BPT_DER", "DC_BPT", "DC_ACDP_BPT"}


def vehicle_needs(told: Json, evse: Evse, at: datetime, skew: timedelta, *, v2x: bool) -> VehicleNeeds:
    """Departure, energy, soc, battery and power of ``chargingNeeds``.

    Args:
        told: The object as received.
        evse: Where the vehicle stands; a vehicle that names no phases may use all of its.
        at: Now [UTC].
        skew: By how much the station's clock is ahead of ours.
        v2x: Whether an agreement to give power back is heard.
    """
    alternating, direct = part(told, "acChargingParameters"), part(told, "dcChargingParameters")
    both_ways = part(told, "v2xChargingParameters")
    departure, transfer = instant(told.get("departureTime")), clean_text(told.get("requestedEnergyTransfer"))
    capacity_wh = float_number(direct.get("evEnergyCapacity"))
    return VehicleNeeds(
        station_id=evse.station_id,
        ocpp_evse_id=evse.ocpp_evse_id,
        at=at,
        depart_at=None if departure is None else departure - skew,
        energy_kwh=_energy_kwh(alternating, direct, both_ways),
        soc=_share(direct.get("stateOfCharge")),
        max_power_kw=_greatest_power_kw(alternating, direct, both_ways, transfer, evse),
        battery_kwh=capacity_wh / 1000.0 if capacity_wh is not None and capacity_wh > 0 else None,
        max_discharge_kw=_given_back_kw(both_ways, transfer) if v2x else None,
    )


def _share(percent: object) -> float | None:
    number = float_number(percent)
    return number / 100.0 if number is not None and 0 <= number <= 100 else None


def _energy_kwh(alternating: Json, direct: Json, both_ways: Json) -> float | None:
    """Energy asked for: as stated, else what fills the battery from its soc to the soc that is wanted [kWh]."""
    for stated in (alternating.get("energyAmount"), direct.get("energyAmount"), both_ways.get("evTargetEnergyRequest")):
        energy_wh = float_number(stated)
        if energy_wh is not None and energy_wh >= 0:
            return energy_wh / 1000.0
    capacity_wh, soc = float_number(direct.get("evEnergyCapacity")), _share(direct.get("stateOfCharge"))
    if capacity_wh is None or soc is None or capacity_wh <= 0:
        return None
    wanted = next((share for share in map(_share, (both_ways.get("targetSoC"), direct.get("fullSoC"))) if share), 1.0)
    return max(0.0, wanted - soc) * capacity_wh / 1000.0


def _greatest_power_kw(alternating: Json, direct: Json, both_ways: Json, transfer: str, evse: Evse) -> float | None:
    """Greatest power that a vehicle states, from power or from amperes and volts [kW]."""
    power_w = float_number(direct.get("evMaxPower"))
    if power_w is None:
        power_w = _sum_of_phases(both_ways, "maxChargePower")
    if power_w is None:
        used = alternating or direct
        current_a, voltage_v = float_number(used.get("evMaxCurrent")), float_number(used.get("evMaxVoltage"))
        if current_a is None or voltage_v is None:
            return None
        phases = 1
        if alternating:
            phases = evse.current_paths if transfer in _BOTH_WAYS else _TRANSFER_PHASES.get(transfer, 1)
        if phases > 1 and voltage_v >= LINE_VOLTAGE_FROM_V:
            voltage_v /= sqrt(3)
        power_w = current_a * voltage_v * phases
    return power_w / 1000.0 if power_w > 0 else None


def _given_back_kw(both_ways: Json, transfer: str) -> float | None:
    """Power that a vehicle agrees to give back; it agrees by asking for a transfer in both directions [kW]."""
    if transfer not in _BOTH_WAYS:
        return None
    power_w = _sum_of_phases(both_ways, "maxDischargePower")
    if power_w is None:
        current_a, voltage_v = (float_number(both_ways.get(name)) for name in ("maxDischargeCurrent", "maxVoltage"))
        power_w = None if current_a is None or voltage_v is None else current_a * voltage_v
    return None if power_w is None else abs(power_w) / 1000.0


def _sum_of_phases(parameters: Json, name: str) -> float | None:
    told = [float_number(parameters.get(name + suffix)) for suffix in ("", "_L2", "_L3")]
    values = [value for value in told if value is not None]
    return sum(values) if values else None
