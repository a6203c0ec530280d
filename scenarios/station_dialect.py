"""How a version of OCPP says and hears what stations do, and what the versions have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from optimizer.domain.charger import ConnectorStatus
from optimizer.domain.ids import TokenId
from optimizer.domain.site import CurrentType
from scenarios.outbox import Payload
from scenarios.profiles import (
    ChargingProfile,
    EvseProfiles,
    ProfileKind,
    ProfilePeriod,
    ProfilePurpose,
    RateUnit,
    Recurrence,
)
from scenarios.station_settings import Misbehaviour, StationSettings
from scenarios.station_state import EvseReading, EvseState, Transaction
from scenarios.vehicle_model import VehicleModel

Message = tuple[str, Callable[[], Payload]]
"""An action, and what writes its payload when it is sent."""

ALL_MEASURANDS = (
    "Energy.Active.Import.Register", "Energy.Active.Export.Register", "Power.Active.Import", "Power.Active.Export",
    "Current.Import", "Current.Offered", "Voltage", "SoC",
)  # fmt: skip
"""What a station can tell."""

PURPOSES = {
    "ChargePointMaxProfile": ProfilePurpose.STATION_MAX,
    "ChargingStationMaxProfile": ProfilePurpose.STATION_MAX,
    "TxDefaultProfile": ProfilePurpose.TX_DEFAULT,
    "TxProfile": ProfilePurpose.TX,
}


@dataclass(frozen=True, slots=True)
class BootAnswer:
    """What the central system answers to an announcement."""

    accepted: bool
    """Whether the station may go on."""
    interval_s: int
    """Heartbeat interval, or the wait until the next attempt [s]."""


@dataclass(frozen=True, slots=True)
class StartAnswer:
    """What the central system answers to a transaction's start."""

    transaction_id: str | None
    """The id it gave (1.6)."""
    accepted: bool
    """Whether the token may charge."""


class ProfileRefused(Exception):
    """A charging profile is rejected before it is looked at more closely; the text is OCPP's reason code."""


class CallRefused(Exception):
    """A call is answered with an error: its code and why."""

    def __init__(self, code: str, description: str = "") -> None:
        self.code = code
        self.description = description
        super().__init__(f"{code}: {description}")


class Dialect(Protocol):
    """One version of OCPP, from the station's side."""

    def boot(self, reason: str) -> Message:
        """Announce the station."""
        ...

    def heartbeat(self) -> Message:
        """Say that it lives."""
        ...

    def status(self, state: EvseState, status: ConnectorStatus, at: datetime) -> Message:
        """Tell an EVSE's state."""
        ...

    def authorize(self, token_id: TokenId) -> Message:
        """Ask whether a token may charge."""
        ...

    def transaction_started(self, state: EvseState, begun: Transaction, reading: EvseReading) -> Message:
        """Tell that a transaction began."""
        ...

    def transaction_updated(self, state: EvseState, going: Transaction, at: datetime) -> Message | None:
        """Tell a new charging state; ``None`` where it is the old one, or the version tells none."""
        ...

    def charging_needs(self, state: EvseState, vehicle: VehicleModel) -> Message | None:
        """Tell what a car asks for; ``None`` where it, or the version, says nothing of it."""
        ...

    def meter_values(self, state: EvseState, going: Transaction | None, reading: EvseReading, context: str) -> Message:
        """Tell what a meter shows."""
        ...

    def transaction_ended(self, state: EvseState, done: Transaction, reading: EvseReading, reason: str) -> Message:
        """Tell that a transaction ended."""
        ...

    def read_boot(self, payload: Payload) -> BootAnswer:
        """Read the answer to `boot`."""
        ...

    def read_authorize(self, payload: Payload) -> bool:
        """Read the answer to `authorize`."""
        ...

    def read_start(self, payload: Payload) -> StartAnswer:
        """Read the answer to `transaction_started`."""
        ...

    def answer(self, action: str, payload: Payload, now: datetime) -> Payload:
        """Do what the central system asks and answer; raises `CallRefused` where the answer is an error."""
        ...


class StationTime:
    """The station's own clock: right, or wrong by a constant."""

    def __init__(self, settings: StationSettings) -> None:
        skewed = settings.has(Misbehaviour.SKEWED_CLOCK)
        self._skew = timedelta(seconds=settings.figures.skew_s) if skewed else timedelta(0)

    def stamp(self, at: datetime) -> str:
        """A true instant as the station writes it."""
        return (at + self._skew).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def instant(self, written: object) -> datetime | None:
        """The true instant at which the station's clock shows what is written [UTC]; ``None`` for nothing.

        Raises:
            CallRefused: It is no time.
        """
        if written is None:
            return None
        try:
            value = datetime.fromisoformat(str(written))
        except ValueError as error:
            raise CallRefused("PropertyConstraintViolation", f"{written!r} is no time") from error
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC) - self._skew


@dataclass(frozen=True, slots=True)
class Sampled:
    """One value of a reading."""

    measurand: str
    """OCPP name of what is measured."""
    value: Decimal
    """Its value."""
    unit: str
    """OCPP unit."""
    phase: str | None = None
    """Phase, where it is of one."""


def sampled_values(settings: StationSettings, state: EvseState, reading: EvseReading) -> Iterator[Sampled]:
    """All that a station can tell of a reading."""
    register_wh, vehicle = (reading.register_kwh * 1000).quantize(Decimal(1)), state.physics.vehicle
    shown = reading.register_kwh if settings.has(Misbehaviour.KWH_AS_WH) else register_wh
    yield Sampled("Energy.Active.Import.Register", shown, "Wh")
    yield Sampled("Power.Active.Import", _rounded(max(0.0, reading.power_kw) * 1000.0), "W")
    if settings.profile_rules.discharges and reading.export_register_kwh is not None:
        yield Sampled("Energy.Active.Export.Register", (reading.export_register_kwh * 1000).quantize(Decimal(1)), "Wh")
    if reading.power_kw < 0:
        yield Sampled("Power.Active.Export", _rounded(-reading.power_kw * 1000.0), "W")
    paths = state.physics.evse.current_paths
    for index in range(paths):
        current_a = max(0.0, reading.current_a) if index < reading.current_paths else 0.0
        yield Sampled("Current.Import", _rounded(current_a), "A", f"L{index + 1}")
        if settings.tells_each_phase:
            yield Sampled("Voltage", _rounded(reading.voltage_v), "V", f"L{index + 1}")
            yield Sampled("Power.Active.Import", _rounded(reading.voltage_v * current_a), "W", f"L{index + 1}")
    if settings.tells_each_phase:
        yield Sampled("Current.Offered", _rounded(state.physics.offered_a(reading.at)), "A")
    else:
        yield Sampled("Voltage", _rounded(reading.voltage_v), "V")
    # On AC a vehicle tells it only where it talks of giving back (ISO 15118-20, DisplayParameters).
    lends = settings.profile_rules.discharges and vehicle is not None and vehicle.model.gives_back
    if reading.soc is not None and (lends or state.physics.evse.current_type is CurrentType.DC):
        yield Sampled("SoC", _rounded(100.0 * reading.soc), "Percent")


def _rounded(value: float) -> Decimal:
    return Decimal(f"{value:.1f}")


def profile_of(
    written: Mapping[str, Any], schedule: Mapping[str, Any], profile_id: int, time: StationTime
) -> ChargingProfile:
    """A profile from its JSON form, of which the two versions share all but the place of id and schedule.

    Raises:
        ProfileRefused: Its purpose is none that a central system may send, or a period has no limit.
    """
    purpose = PURPOSES.get(str(written["chargingProfilePurpose"]))
    if purpose is None:
        raise ProfileRefused("InvalidProfile")
    recurrence = written.get("recurrencyKind")
    transaction_id = written.get("transactionId")
    return ChargingProfile(
        id=profile_id,
        stack_level=int(written["stackLevel"]),
        purpose=purpose,
        kind=ProfileKind(str(written["chargingProfileKind"]).lower()),
        unit=RateUnit(schedule["chargingRateUnit"]),
        periods=tuple(
            replace(figures_of(period), start_s=int(period["startPeriod"]))
            for period in schedule["chargingSchedulePeriod"]
        ),
        start_at=time.instant(schedule.get("startSchedule")),
        duration_s=schedule.get("duration"),
        recurrence=Recurrence(recurrence.lower()) if recurrence else None,
        valid_from=time.instant(written.get("validFrom")),
        valid_to=time.instant(written.get("validTo")),
        transaction_id=None if transaction_id is None else str(transaction_id),
        max_offline_s=written.get("maxOfflineDuration"),
        invalid_after_offline=bool(written.get("invalidAfterOfflineDuration", False)),
    )


def figures_of(period: Mapping[str, Any]) -> ProfilePeriod:
    """What a period, or its renewal, says of now.

    Of a limit for each phase (OCPP 2.1) the least counts, for a car draws alike from all; but zeros on L2 and L3 mean
    that it is to draw from L1 alone. A setpoint below zero is a rate to give back.

    Raises:
        ProfileRefused: It has no limit and no such setpoint.
    """
    phases = period.get("numberPhases")
    setpoint = float(period.get("setpoint", 0.0))
    if setpoint < 0.0:
        return ProfilePeriod(0, setpoint, phases)
    limits = [float(period[name]) for name in ("limit", "limit_L2", "limit_L3") if name in period]
    if not limits:
        raise ProfileRefused("UnsupportedParam")
    if limits[1:] == [0.0, 0.0]:
        return ProfilePeriod(0, limits[0], 1)
    return ProfilePeriod(0, min(limits), phases)


def composite_periods(
    governed: Sequence[EvseProfiles], now: datetime, duration_s: int, unit: RateUnit
) -> Sequence[Payload]:
    """The limits to come in JSON form: of one EVSE, or of several together, as the grid connection sees them."""
    told: list[dict[str, object]] = []
    limits = [dict(profiles.composite(now, duration_s)) for profiles in governed]
    for start_s in sorted({start_s for pieces in limits for start_s in pieces}):
        limit = 0.0
        for profiles, pieces in zip(governed, limits, strict=True):
            limit_a = pieces[max(begun_s for begun_s in pieces if begun_s <= start_s)]
            limit += limit_a if unit is RateUnit.AMPERES else profiles.evse.power_kw(limit_a) * 1000.0
        if not told or told[-1]["limit"] != round(limit, 1):
            paths = max(profiles.evse.current_paths for profiles in governed)
            told.append({"startPeriod": start_s, "limit": round(limit, 1), "numberPhases": paths})
    return told
