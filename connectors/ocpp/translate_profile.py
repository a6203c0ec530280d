"""Limits in kW -> charging profiles: layers, units, rounding, times.

Three layers lie on a station, each in the same form in every OCPP version:

    TxProfile          the plan; its last period is the safe value and never ends
    TxDefaultProfile   the safe value, in force whenever there is no plan
    station maximum    a bound on the whole station, rarely written

A profile never carries a duration: many stations go to full power when one runs out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil, floor

from connectors.ocpp.capability import PlanPurpose, RateUnit, StationCapability
from optimizer.domain.charger import LimitPeriod, shortened
from optimizer.domain.ids import TransactionId
from optimizer.domain.site import CurrentType, Evse

ROUNDING_SLACK = 1e-6
"""Share of a step by which a limit may lie below it and still count as it: kW to A and back is not exact in binary,
and 5.9999999 A must not become 5.9 A, at which a vehicle pauses."""


LEAST_VOLTAGE_SHARE = 0.85
"""Share of the nominal voltage below which a measured one is not believed: grids keep 0.9, cables take some more."""

LONG_AGO = timedelta(days=1)
"""How long ago a profile starts that is to hold always: a station whose clock is behind ours must not wait for it, and
until its clock has been compared with ours nobody knows that it is."""


class ProfilePurpose(StrEnum):
    """What a profile is for; 1.6 calls the last one ChargePointMaxProfile."""

    PLAN = "TxProfile"
    SAFE_DEFAULT = "TxDefaultProfile"
    STATION_MAXIMUM = "ChargingStationMaxProfile"


@dataclass(frozen=True, slots=True)
class ProfilePeriod:
    """One piece of a profile as it is written."""

    start_s: int
    """Seconds from the schedule's start [s]."""
    limit_value: float
    """Greatest current per phase [A] or power [W], by the profile's unit: a quantity in OCPP's form, not ours."""
    discharge_value: float = 0.0
    """Current per phase [A] or power [W] that the vehicle is to give back; OCPP 2.1 alone can say it."""


@dataclass(frozen=True, slots=True)
class ProfileRequest:
    """A charging profile before it is put into the words of one OCPP version."""

    profile_id: int
    """Small, fixed for each EVSE and layer, so that a new one replaces the old."""
    ocpp_evse_id: int
    """EVSE (1.6: connector); 0 is the whole station."""
    purpose: ProfilePurpose
    """Which layer."""
    stack_level: int
    """Order among profiles of one purpose."""
    rate_unit: RateUnit
    """A or W."""
    periods: tuple[ProfilePeriod, ...]
    """In time order, the first at 0 s."""
    number_phases: int
    """Phases that a limit in A counts on."""
    start_schedule: datetime | None
    """Start, by the station's clock [UTC]; ``None``: relative to the transaction or message."""
    transaction_id: TransactionId | None = None
    """The transaction of a TxProfile."""
    switches_phases: bool = False
    """Whether ``number_phases`` is an order to change between one and three phases."""
    phase_limits_a: tuple[float, float, float] | None = None
    """Greatest current on L1, L2 and L3, where they differ [A]; OCPP 2.1 alone can say it."""


def plan_profile(
    evse: Evse,
    periods: Sequence[LimitPeriod],
    capability: StationCapability,
    *,
    transaction_id: TransactionId | None,
    now: datetime,
    skew: timedelta,
    backdate: timedelta,
    phases: int | None = None,
    voltage_v: float | None = None,
    begun_at: datetime | None = None,
) -> ProfileRequest:
    """The profile that carries out ``periods`` from ``now`` on.

    Args:
        evse: Where it holds.
        periods: Limits in time order; the last one is the safe value.
        capability: How the station wants it.
        transaction_id: The transaction; ``None``: the profile lies on the EVSE above the safe default.
        now: Now [UTC].
        skew: By how much the station's clock is ahead of ours.
        backdate: How long ago the schedule starts, so that it holds at once in spite of small differences of clocks.
        phases: Phases to charge on, where the station can switch them; ``None``: all that the EVSE has.
        voltage_v: Voltage as measured there; ``None``: the nominal one [V].
        begun_at: When the transaction began: from there stations count the periods of a relative schedule; ``None``:
            not known, and they count from now [UTC].
    """
    paths = evse.current_paths if phases is None else min(phases, evse.current_paths)
    is_tx_profile = transaction_id is not None and capability.plan_purpose is PlanPurpose.TX_PROFILE
    start = now - backdate
    counted_from = start if capability.absolute else min(now, begun_at or now)
    kept = shortened(in_force_from(periods, now), capability.max_periods)
    pieces = [
        ProfilePeriod(
            0 if index == 0 else ceil((period.start - counted_from).total_seconds()),
            rounded_down(evse, as_measured_kw(evse, period.limit_kw, capability, voltage_v), capability, paths),
            _given_back(evse, period.discharge_kw, capability),
        )
        for index, period in enumerate(kept)
    ]
    return ProfileRequest(
        profile_id=2 * evse.ocpp_evse_id,
        ocpp_evse_id=evse.ocpp_evse_id,
        purpose=ProfilePurpose.PLAN if is_tx_profile else ProfilePurpose.SAFE_DEFAULT,
        stack_level=capability.plan_level if is_tx_profile else capability.plan_level_without_transaction,
        rate_unit=capability.unit_for(evse),
        periods=tuple(pieces),
        number_phases=paths,
        start_schedule=start + skew if capability.absolute else None,
        transaction_id=transaction_id if is_tx_profile else None,
        switches_phases=phases is not None,
    )


def safe_default_profile(
    evse: Evse, limit_kw: float, capability: StationCapability, *, now: datetime, skew: timedelta
) -> ProfileRequest:
    """The profile that holds whenever there is no plan: one period without end."""
    return ProfileRequest(
        profile_id=2 * evse.ocpp_evse_id - 1,
        ocpp_evse_id=evse.ocpp_evse_id,
        purpose=ProfilePurpose.SAFE_DEFAULT,
        stack_level=capability.default_level,
        rate_unit=capability.unit_for(evse),
        periods=(ProfilePeriod(0, rounded_down(evse, limit_kw, capability)),),
        number_phases=evse.current_paths,
        start_schedule=now - LONG_AGO + skew if capability.absolute else None,
    )


def station_maximum_profile(
    evses: Sequence[Evse],
    limit_kw: float,
    capability: StationCapability,
    *,
    now: datetime,
    skew: timedelta,
    phase_limits_a: tuple[float, float, float] | None = None,
) -> ProfileRequest:
    """The bound on a whole station.

    Args:
        evses: All EVSEs of the station; in A the limit counts on each phase of the widest.
        limit_kw: Greatest power of the station [kW].
        capability: How the station wants it.
        now: Now [UTC].
        skew: By how much the station's clock is ahead of ours.
        phase_limits_a: Greatest current on L1, L2 and L3, where they differ; what cannot tell them apart gets the
            least of them [A].
    """
    widest = max(evses, key=lambda evse: evse.current_paths)
    if phase_limits_a is not None:
        limit_kw = min(limit_kw, widest.power_kw(min(phase_limits_a)))
    unit = capability.unit_for(widest)
    amount = limit_kw * 1000.0 if unit is RateUnit.W else widest.current_a(limit_kw)
    return ProfileRequest(
        profile_id=2 * max(evse.ocpp_evse_id for evse in evses) + 1,
        ocpp_evse_id=0,
        purpose=ProfilePurpose.STATION_MAXIMUM,
        stack_level=capability.stack_level,
        rate_unit=unit,
        periods=(ProfilePeriod(0, _stepped_down(max(0.0, amount), 1.0 if capability.whole_amperes else 0.1)),),
        number_phases=widest.current_paths,
        start_schedule=now - LONG_AGO + skew if capability.absolute else None,
        phase_limits_a=phase_limits_a if unit is RateUnit.A else None,
    )


def in_force_from(periods: Sequence[LimitPeriod], now: datetime) -> tuple[LimitPeriod, ...]:
    """The period that holds at ``now`` and all later ones; neighbours with one limit become one."""
    current = periods[0]
    for period in periods:
        if period.start <= now:
            current = period
    kept = [current]
    for period in periods:
        if period.start > max(now, current.start) and period.net_kw != kept[-1].net_kw:
            kept.append(period)
    return tuple(kept)


def rounded_down(evse: Evse, limit_kw: float, capability: StationCapability, paths: int | None = None) -> float:
    """A limit in the station's unit, never above ``limit_kw``: whole watts, 0.1 A, or 1 A where the station needs it.

    The one exception is a station that takes no zero: it is told its least current, and whoever sends must say so.

    Args:
        evse: Where it holds; it bounds the current.
        limit_kw: The limit, counted on all current paths of the EVSE, whichever of them a vehicle uses [kW].
        capability: Unit and step.
        paths: Current paths that the station is told to use; a limit in W is for these alone. ``None``: all.
    """
    kept_kw = min(max(0.0, limit_kw), evse.max_power_kw)
    if kept_kw == 0.0 and not capability.zero_allowed:
        kept_kw = evse.min_power_kw
    if capability.unit_for(evse) is RateUnit.W:
        used_share = 1.0 if paths is None else paths / evse.current_paths
        return _stepped_down(kept_kw * used_share * 1000.0, 1.0)
    return _stepped_down(evse.current_a(kept_kw), 1.0 if capability.whole_amperes else 0.1)


def as_measured_kw(evse: Evse, limit_kw: float, capability: StationCapability, voltage_v: float | None) -> float:
    """A limit as power at the measured voltage, where the station is told watts and the voltage is low.

    A limit means a current: at 215 V the watts of 16 A at 230 V would be 17 A. What is the least current remains it,
    since a station that reckons with the nominal voltage would pause below.
    """
    is_alternating = evse.current_type is CurrentType.AC
    if voltage_v is None or not is_alternating or capability.unit_for(evse) is RateUnit.A:
        return limit_kw
    share = max(LEAST_VOLTAGE_SHARE, min(1.0, voltage_v / evse.voltage_v))
    return min(limit_kw, max(limit_kw * share, evse.min_power_kw))


def _given_back(evse: Evse, discharge_kw: float, capability: StationCapability) -> float:
    """Power to give back in the station's unit, rounded down; 0 where the station cannot do it."""
    if not capability.discharges:
        return 0.0
    kept_kw = min(discharge_kw, evse.max_power_kw)
    if capability.unit_for(evse) is RateUnit.W:
        return _stepped_down(kept_kw * 1000.0, 1.0)
    return _stepped_down(evse.current_a(kept_kw), 0.1)


def _stepped_down(value: float, step: float) -> float:
    return round(floor(value / step + ROUNDING_SLACK) * step, 1)
