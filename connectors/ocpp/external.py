"""Limits that others set at a station: its own energy manager, the grid operator, a switch on the wall (OCPP 2.x)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from connectors.ocpp.frames import Json
from connectors.ocpp.translate import float_number, instant, part, parts, whole_number
from optimizer.domain.charger import ExternalLimit, LimitPeriod
from optimizer.domain.site import Evse

FOREIGN_PURPOSE = "ChargingStationExternalConstraints"
"""Purpose of a profile that only the station's side may install."""


class ExternalLimits:
    """External limits of one station, by EVSE and source."""

    def __init__(self) -> None:
        self._limits: dict[tuple[int, str], ExternalLimit] = {}

    def put(self, ocpp_evse_id: int, limit: ExternalLimit) -> None:
        """Add or replace the limit of one source; EVSE 0 is the whole station."""
        self._limits[ocpp_evse_id, limit.source] = limit

    def clear(self, ocpp_evse_id: int, source: str) -> None:
        """Remove the limit of one source; EVSE 0 removes it everywhere."""
        for number, known in list(self._limits):
            if known == source and ocpp_evse_id in (0, number):
                del self._limits[number, known]

    @property
    def is_any(self) -> bool:
        """Whether there is one at all."""
        return bool(self._limits)

    def at(self, ocpp_evse_id: int) -> tuple[ExternalLimit, ...]:
        """All limits that hold at an EVSE, those of the whole station among them."""
        return tuple(limit for (number, _), limit in self._limits.items() if number in (0, ocpp_evse_id))


def limit_source(word: object) -> str:
    """A source of limits in OCPP's words; others are Other, so that no station invents them without end."""
    return word if isinstance(word, str) and word in _SOURCES else "Other"


_SOURCES = {"EMS", "Other", "SO", "CSO"}


def notified_limit(payload: Json, evse: Evse, now: datetime, skew: timedelta) -> ExternalLimit:
    """The limit of a NotifyChargingLimit.

    Args:
        payload: As received.
        evse: Turns A into kW.
        now: Start of a schedule that tells none [UTC].
        skew: By how much the station's clock is ahead of ours.
    """
    source = limit_source(part(payload, "chargingLimit").get("chargingLimitSource"))
    return ExternalLimit(source, limits_of_schedules(parts(payload, "chargingSchedule"), evse, now, skew))


def reported_limits(payload: Json, evse: Evse, now: datetime, skew: timedelta) -> list[ExternalLimit]:
    """The limits of others in a ReportChargingProfiles; our own profiles are left out."""
    source = limit_source(payload.get("chargingLimitSource"))
    return [
        ExternalLimit(source, limits_of_schedules(parts(profile, "chargingSchedule"), evse, now, skew))
        for profile in parts(payload, "chargingProfile")
        if isinstance(profile, dict) and profile.get("chargingProfilePurpose") == FOREIGN_PURPOSE
    ]


def limits_of_schedules(schedules: list[Any], evse: Evse, now: datetime, skew: timedelta) -> tuple[LimitPeriod, ...]:
    """The limits of charging schedules in the form of OCPP 2.x, in time order; what cannot be read is left out.

    Args:
        schedules: As received.
        evse: Turns A into kW.
        now: Start of a schedule that tells none [UTC].
        skew: By how much the station's clock is ahead of ours.
    """
    periods = []
    for schedule in schedules:
        if not isinstance(schedule, dict):
            continue
        told_start = instant(schedule.get("startSchedule"))
        start = now if told_start is None else told_start - skew
        for piece in parts(schedule, "chargingSchedulePeriod"):
            limit_kw = _limit_kw(piece, schedule.get("chargingRateUnit"), evse) if isinstance(piece, dict) else None
            if limit_kw is not None:
                after_s = max(0, whole_number(piece.get("startPeriod")) or 0)
                periods.append(LimitPeriod(start + timedelta(seconds=min(after_s, _LONGEST_S)), limit_kw))
    return tuple(sorted(periods, key=lambda period: period.start))


_LONGEST_S = 10 * 365 * 86_400
"""Stations tell spans of hundreds of thousands of years, which no date can hold [s]."""


def _limit_kw(piece: Json, unit: object, evse: Evse) -> float | None:
    told = [float_number(piece.get(name)) for name in ("limit", "limit_L2", "limit_L3")]
    amount = min((value for value in told if value is not None), default=None)
    if amount is None or amount < 0:
        return None
    if unit == "W":
        return amount / 1000.0
    phases = whole_number(piece.get("numberPhases"))
    paths = evse.current_paths if phases is None else max(1, min(phases, evse.current_paths))
    return amount * evse.voltage_v * paths / 1000.0
