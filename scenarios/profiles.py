"""What a station does with installed charging profiles, as OCPP 1.6 (section 3.13) and 2.0.1 (part 2, K01) say.

    ChargePointMax / ChargingStationMax ──────────────┐
    TxProfile, where it says something now ─┐         ├─ the lesser is the limit
    else TxDefaultProfile ──────────────────┴─────────┘

Within one purpose the highest stack level that has an active period at the instant prevails; where a schedule has not
begun, has run out or is not valid, the next lower level speaks. Where nothing speaks, only the hardware limits.
Everything here is pure: profiles go in, limits come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from optimizer.domain.site import Evse, Wiring


class ProfilePurpose(StrEnum):
    """What a profile is for."""

    STATION_MAX = "station_max"
    """ChargePointMaxProfile, ChargingStationMaxProfile: bounds the station as a whole."""
    TX_DEFAULT = "tx_default"
    """Holds in every transaction that has no profile of its own."""
    TX = "tx"
    """Holds in one transaction."""


class ProfileKind(StrEnum):
    """From when the periods of a schedule count."""

    ABSOLUTE = "absolute"
    RECURRING = "recurring"
    RELATIVE = "relative"
    DYNAMIC = "dynamic"
    """OCPP 2.1: one period whose limit is renewed; it counts from the last renewal."""


class Recurrence(StrEnum):
    """How often a recurring schedule starts anew."""

    DAILY = "daily"
    WEEKLY = "weekly"


RECURRENCE_LENGTH = {Recurrence.DAILY: timedelta(days=1), Recurrence.WEEKLY: timedelta(days=7)}


class RateUnit(StrEnum):
    """Unit of limits."""

    AMPERES = "A"
    """Per phase."""
    WATTS = "W"
    """All phases together."""


@dataclass(frozen=True, slots=True)
class ProfilePeriod:
    """One piece of a schedule."""

    start_s: int
    """From when it counts, after the start of the schedule [s]."""
    limit_value: float
    """Greatest charging rate, in the unit of the schedule; below 0 the rate to give back (OCPP 2.1)."""
    number_phases: int | None = None
    """Phases that may be used; ``None``: not said."""


@dataclass(frozen=True, slots=True)
class ChargingProfile:
    """A charging profile as a central system sends it."""

    id: int
    """Name given by the central system."""
    stack_level: int
    """The higher one prevails within its purpose."""
    purpose: ProfilePurpose
    """What it is for."""
    kind: ProfileKind
    """From when its periods count."""
    unit: RateUnit
    """Unit of its limits."""
    periods: tuple[ProfilePeriod, ...]
    """Pieces in order of time; the first starts at 0."""
    start_at: datetime | None = None
    """Start of the schedule [UTC]; only absolute and recurring profiles have one."""
    duration_s: int | None = None
    """Length of the schedule [s]; ``None``: the last period goes on."""
    recurrence: Recurrence | None = None
    """How often a recurring one starts anew."""
    valid_from: datetime | None = None
    """From when it may be used [UTC]."""
    valid_to: datetime | None = None
    """Until when it may be used [UTC]."""
    transaction_id: str | None = None
    """The transaction that a TxProfile is for."""
    max_offline_s: int | None = None
    """OCPP 2.1: how long it holds without a connection [s]; ``None``: as long as with one."""
    invalid_after_offline: bool = False
    """OCPP 2.1: whether it is gone for good after that."""


@dataclass(frozen=True, slots=True)
class InstalledProfile:
    """A profile that a station holds."""

    profile: ChargingProfile
    """What was sent."""
    evse_number: int
    """EVSE it was sent for; 0: the whole station."""
    installed_at: datetime
    """When it was accepted [UTC]."""


@dataclass(frozen=True, slots=True)
class TransactionFacts:
    """What profiles ask of a running transaction."""

    id: str | None
    """Its id, once known."""
    started_at: datetime
    """When it began [UTC]; relative schedules count from here."""


@dataclass(frozen=True, slots=True)
class ProfileRules:
    """What a station takes."""

    max_stack_level: int = 9
    """Highest stack level."""
    max_periods: int = 24
    """Most periods in one schedule."""
    max_installed: int = 20
    """Most profiles held at once."""
    units: frozenset[RateUnit] = frozenset(RateUnit)
    """Units understood."""
    takes_zero: bool = True
    """Whether a limit of 0 is taken."""
    discharges: bool = False
    """Whether setpoints below 0 are taken (OCPP 2.1)."""
    kinds: frozenset[ProfileKind] = frozenset(ProfileKind)
    """Kinds taken."""
    purposes: frozenset[ProfilePurpose] = frozenset(ProfilePurpose)
    """Purposes taken."""
    least_stack_level: int = 0
    """Lowest stack level."""
    whole_amperes: bool = False
    """Whether only whole amperes are taken."""
    ignored: frozenset[ProfilePurpose | ProfileKind | RateUnit] = frozenset()
    """Purposes, kinds and units that are taken and not obeyed."""

    def obeys(self, profile: ChargingProfile) -> bool:
        """Whether a profile that was taken is obeyed."""
        return not self.ignored & {profile.purpose, profile.kind, profile.unit}


ORDINARY_RULES = ProfileRules()
"""What most stations take."""


def install(
    held: tuple[InstalledProfile, ...], new: InstalledProfile, rules: ProfileRules, transaction: TransactionFacts | None
) -> tuple[InstalledProfile, ...] | str:
    """What the station holds after it was sent ``new``, or the reason code with which it refuses.

    A profile replaces the one of the same id, and the one of the same purpose, stack level and EVSE.
    """
    refusal = _refusal(new, rules, transaction)
    if refusal:
        return refusal
    slot = (new.evse_number, new.profile.purpose, new.profile.stack_level)
    kept = tuple(
        one
        for one in held
        if one.profile.id != new.profile.id and (one.evse_number, one.profile.purpose, one.profile.stack_level) != slot
    )
    if len(kept) >= rules.max_installed:
        return "TooManyProfiles"
    return (*kept, new)


def _refusal(new: InstalledProfile, rules: ProfileRules, transaction: TransactionFacts | None) -> str:
    """Why the station does not take ``new``; empty where it does. Codes as in OCPP 2.0.1, appendix 5."""
    profile = new.profile
    if not rules.least_stack_level <= profile.stack_level <= rules.max_stack_level:
        return "InvalidStackLevel"
    if profile.unit not in rules.units:
        return "UnsupportedRateUnit"
    if not _takes_periods(profile, rules):
        return "InvalidSchedule"
    if profile.purpose not in rules.purposes or profile.kind not in rules.kinds or not _is_of_its_kind(profile):
        return "InvalidProfile"
    if profile.purpose is ProfilePurpose.STATION_MAX and new.evse_number != 0:
        return "InvalidProfile"
    return _transaction_refusal(new, transaction)


def _takes_periods(profile: ChargingProfile, rules: ProfileRules) -> bool:
    """Whether the pieces of a schedule are in order, and their limits such as the station takes."""
    starts = [period.start_s for period in profile.periods]
    limits = [period.limit_value for period in profile.periods]
    if not starts or starts[0] != 0 or starts != sorted(set(starts)) or len(starts) > rules.max_periods:
        return False
    if profile.kind is ProfileKind.DYNAMIC and len(starts) != 1:
        return False
    if rules.whole_amperes and profile.unit is RateUnit.AMPERES and any(limit % 1 for limit in limits):
        return False
    return (rules.discharges or min(limits) >= 0) and (rules.takes_zero or 0 not in limits)


def _is_of_its_kind(profile: ChargingProfile) -> bool:
    """Whether a profile says of its times what its kind asks for."""
    if profile.kind is ProfileKind.RELATIVE:
        return profile.start_at is None
    return profile.kind is not ProfileKind.RECURRING or None not in (profile.recurrence, profile.start_at)


def _transaction_refusal(new: InstalledProfile, transaction: TransactionFacts | None) -> str:
    profile = new.profile
    if profile.purpose is not ProfilePurpose.TX:
        return "" if profile.transaction_id is None else "InvalidProfile"
    if new.evse_number == 0:
        return "InvalidProfile"
    if transaction is None:
        return "TxNotFound"
    return "" if profile.transaction_id in (None, transaction.id) else "TxNotFound"


@dataclass(frozen=True, slots=True)
class ProfileFilter:
    """Which profiles to remove; ``None`` matches every one, as in ClearChargingProfile."""

    id: int | None = None
    """Id of the profile; where it is given nothing else counts."""
    evse_number: int | None = None
    """EVSE it was sent for."""
    purpose: ProfilePurpose | None = None
    """What it is for."""
    stack_level: int | None = None
    """Its stack level."""

    def matches(self, installed: InstalledProfile) -> bool:
        """Whether the filter names ``installed``."""
        if self.id is not None:
            return installed.profile.id == self.id
        return (
            self.evse_number in (None, installed.evse_number)
            and self.purpose in (None, installed.profile.purpose)
            and self.stack_level in (None, installed.profile.stack_level)
        )


def cleared(held: tuple[InstalledProfile, ...], which: ProfileFilter) -> tuple[InstalledProfile, ...]:
    """What the station holds after ClearChargingProfile."""
    return tuple(one for one in held if not which.matches(one))


def without_transaction(held: tuple[InstalledProfile, ...], evse_number: int) -> tuple[InstalledProfile, ...]:
    """What the station holds when the transaction at an EVSE has ended: its TxProfiles are gone."""
    return tuple(
        one for one in held if not (one.profile.purpose is ProfilePurpose.TX and one.evse_number == evse_number)
    )


def _first_start(installed: InstalledProfile, transaction: TransactionFacts | None) -> datetime:
    """When a profile's schedule begins for the first time."""
    profile = installed.profile
    if profile.kind is ProfileKind.DYNAMIC:
        return installed.installed_at
    if profile.start_at is not None:
        return profile.start_at
    if profile.purpose is ProfilePurpose.STATION_MAX or transaction is None:
        return installed.installed_at
    return transaction.started_at


def _schedule_start(
    installed: InstalledProfile, instant: datetime, transaction: TransactionFacts | None
) -> datetime | None:
    """When the schedule that counts at ``instant`` began; ``None`` where none has."""
    profile = installed.profile
    start = _first_start(installed, transaction)
    if start > instant:
        return None
    if profile.kind is ProfileKind.RECURRING and profile.recurrence is not None:
        length = RECURRENCE_LENGTH[profile.recurrence]
        start += length * ((instant - start) // length)
    return start


def _is_valid(profile: ChargingProfile, instant: datetime, offline_since: datetime | None) -> bool:
    forgotten_at = _forgotten_at(profile, offline_since)
    return (
        (profile.valid_from is None or profile.valid_from <= instant)
        and (profile.valid_to is None or instant < profile.valid_to)
        and (forgotten_at is None or instant < forgotten_at)
    )


def _forgotten_at(profile: ChargingProfile, offline_since: datetime | None) -> datetime | None:
    """When a profile no longer holds because the connection has been gone for too long."""
    if profile.max_offline_s is None or offline_since is None:
        return None
    return offline_since + timedelta(seconds=profile.max_offline_s)


def renewed(
    held: tuple[InstalledProfile, ...], profile_id: int, figures: ProfilePeriod, now: datetime
) -> tuple[InstalledProfile, ...]:
    """What the station holds after UpdateDynamicSchedule; the same where it holds no dynamic profile of that id."""
    return tuple(
        replace(one, profile=replace(one.profile, periods=(_renewed(one, figures),)), installed_at=now)
        if one.profile.id == profile_id and one.profile.kind is ProfileKind.DYNAMIC
        else one
        for one in held
    )


def _renewed(one: InstalledProfile, figures: ProfilePeriod) -> ProfilePeriod:
    phases = figures.number_phases or one.profile.periods[0].number_phases
    return replace(figures, number_phases=phases)


def after_outage(
    held: tuple[InstalledProfile, ...], offline_since: datetime, now: datetime
) -> tuple[InstalledProfile, ...]:
    """What the station holds when it is connected again: what the outage made invalid for good is gone."""
    return tuple(
        one
        for one in held
        if not one.profile.invalid_after_offline
        or (gone_at := _forgotten_at(one.profile, offline_since)) is None
        or now < gone_at
    )


def period_at(
    installed: InstalledProfile,
    instant: datetime,
    transaction: TransactionFacts | None,
    offline_since: datetime | None = None,
) -> ProfilePeriod | None:
    """The period of one profile that is active at ``instant``."""
    profile = installed.profile
    start = _schedule_start(installed, instant, transaction)
    if start is None or not _is_valid(profile, instant, offline_since):
        return None
    elapsed = instant - start
    if profile.duration_s is not None and elapsed >= timedelta(seconds=profile.duration_s):
        return None
    active = [period for period in profile.periods if timedelta(seconds=period.start_s) <= elapsed]
    return active[-1] if active else None


def _changes_after(
    installed: InstalledProfile,
    instant: datetime,
    transaction: TransactionFacts | None,
    offline_since: datetime | None,
) -> Iterator[datetime]:
    """Instants after ``instant`` at which one profile may change what it says; at least the next is among them."""
    profile = installed.profile
    edges = (profile.valid_from, profile.valid_to, _forgotten_at(profile, offline_since))
    for edge in (*edges, _first_start(installed, transaction)):
        if edge is not None:
            yield edge
    start = _schedule_start(installed, instant, transaction)
    if start is None:
        return
    for period in profile.periods:
        yield start + timedelta(seconds=period.start_s)
    if profile.duration_s is not None:
        yield start + timedelta(seconds=profile.duration_s)
    if profile.kind is ProfileKind.RECURRING and profile.recurrence is not None:
        yield start + RECURRENCE_LENGTH[profile.recurrence]


@dataclass(frozen=True, slots=True)
class EvseProfiles:
    """What governs one EVSE: a frozen view of everything its station holds.

    Limits are in amperes per phase of the EVSE; watts are converted with its nominal voltage and its current paths, or
    with the fewer phases that a period permits where the station can switch phases.
    """

    evse: Evse
    """The EVSE."""
    held: tuple[InstalledProfile, ...]
    """All profiles of its station."""
    transaction: TransactionFacts | None
    """The transaction at the EVSE."""
    station_sharers: int = 1
    """EVSEs with a transaction among which a limit of the whole station is divided equally."""
    offline_since: datetime | None = None
    """Since when there is no connection [UTC]; ``None``: there is one."""

    def limit_a(self, instant: datetime) -> float:
        """Greatest current per phase at ``instant`` [A]; the hardware's where no profile speaks."""
        limits = [self.evse.max_current_a]
        own = self._prevailing(ProfilePurpose.TX, instant)
        if own is None:
            own = self._prevailing(ProfilePurpose.TX_DEFAULT, instant)
        if own is not None:
            limits.append(self._in_amperes(*own))
        whole = self._prevailing(ProfilePurpose.STATION_MAX, instant)
        if whole is not None:
            limits.append(self._in_amperes(*whole) / max(1, self.station_sharers))
        return min(limits)

    def phases(self, instant: datetime) -> int | None:
        """Phases that are to be used at ``instant``, where the station can switch them; ``None``: all there are."""
        if not self.evse.phase_switching:
            return None
        own = self._prevailing(ProfilePurpose.TX, instant) or self._prevailing(ProfilePurpose.TX_DEFAULT, instant)
        return None if own is None else own[1].number_phases

    def next_change(self, instant: datetime) -> datetime | None:
        """The next instant at which the limit may change, if all stays as it is."""
        edges = (edge for one in self._relevant() for edge in self._changes_of(one, instant))
        return min((edge for edge in edges if edge > instant), default=None)

    def _changes_of(self, one: InstalledProfile, instant: datetime) -> Iterator[datetime]:
        return _changes_after(one, instant, self.transaction, self.offline_since)

    def composite(self, start: datetime, duration_s: int) -> tuple[tuple[int, float], ...]:
        """The limits to come: seconds after ``start`` and amperes per phase; equal neighbours are merged."""
        pieces: list[tuple[int, float]] = []
        instant: datetime | None = start
        end = start + timedelta(seconds=duration_s)
        while instant is not None and instant < end:
            limit = self.limit_a(instant)
            if not pieces or pieces[-1][1] != limit:
                pieces.append((round((instant - start).total_seconds()), limit))
            instant = self.next_change(instant)
        return tuple(pieces)

    def _relevant(self) -> Iterable[InstalledProfile]:
        numbers = (0, self.evse.ocpp_evse_id)
        return (one for one in self.held if one.evse_number in numbers and self._is_for_transaction(one))

    def _is_for_transaction(self, one: InstalledProfile) -> bool:
        if one.profile.purpose is ProfilePurpose.STATION_MAX:
            return True
        if self.transaction is None:
            return False
        if one.profile.purpose is ProfilePurpose.TX_DEFAULT:
            return True
        return one.profile.transaction_id in (None, self.transaction.id)

    def _prevailing(self, purpose: ProfilePurpose, instant: datetime) -> tuple[RateUnit, ProfilePeriod] | None:
        """The period that counts for ``purpose``: highest stack level first, the EVSE's own before the station's."""
        candidates = [one for one in self._relevant() if one.profile.purpose is purpose]
        candidates.sort(key=lambda one: (one.profile.stack_level, one.evse_number != 0), reverse=True)
        for one in candidates:
            period = period_at(one, instant, self.transaction, self.offline_since)
            if period is not None:
                return one.profile.unit, period
        return None

    def _in_amperes(self, unit: RateUnit, period: ProfilePeriod) -> float:
        if unit is RateUnit.AMPERES:
            return period.limit_value
        paths = self.evse.current_paths
        if period.number_phases is not None and self.evse.phase_switching and self._is_to_neutral:
            paths = min(paths, period.number_phases)
        return period.limit_value / (self.evse.voltage_v * paths)

    @property
    def _is_to_neutral(self) -> bool:
        return self.evse.wiring is Wiring.LINE_TO_NEUTRAL
