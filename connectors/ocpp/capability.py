"""What a kind of station can do and how it wants to be told: presets, what it says of itself, what the meter proved."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import Final, Protocol

import structlog

from connectors.ocpp.outbound import SettingName
from connectors.ocpp.translate import whole_number
from optimizer.domain.site import CurrentType, Evse
from optimizer.errors import InvalidDataFile

_LOG = structlog.get_logger(__name__)

MOST_PERIODS = 10
"""Periods in a profile, even where a station takes more: small firmware runs out of memory before it says so."""


class RateUnit(StrEnum):
    """Unit of a charging profile."""

    A = "A"
    W = "W"


class PlanPurpose(StrEnum):
    """Purpose under which a station obeys a plan."""

    TX_PROFILE = "TxProfile"
    TX_DEFAULT_PROFILE = "TxDefaultProfile"


@dataclass(frozen=True, slots=True)
class StationIdentity:
    """What a station says of itself; stations that say the same behave the same."""

    vendor: str = ""
    """Maker."""
    model: str = ""
    """Model."""
    firmware: str = ""
    """Firmware version."""

    @property
    def is_known(self) -> bool:
        """Whether it says anything."""
        return bool(self.vendor or self.model)


@dataclass(frozen=True, slots=True)
class StationCapability:
    """How one kind of station takes charging profiles; the defaults suit most."""

    rate_unit: RateUnit | None = None
    """Unit it takes; ``None``: either, so A for AC and W for DC."""
    plan_purpose: PlanPurpose = PlanPurpose.TX_PROFILE
    """Purpose under which it obeys a plan."""
    stack_level: int = 0
    """Stack level of the lowest layer; a plan that lies above another profile of its purpose is one higher."""
    greatest_stack_level: int | None = None
    """Highest stack level it takes; ``None``: unknown. Where it is 0, a plan takes the place of the safe default."""
    absolute: bool = True
    """Whether schedules start at a stated time; else they are relative."""
    max_periods: int = MOST_PERIODS
    """Greatest number of periods in a profile."""
    whole_amperes: bool = False
    """Whether it takes whole amperes only."""
    zero_allowed: bool = True
    """Whether it takes a limit of zero; else the least current is told in its place."""
    discharges: bool = False
    """Whether it is told to have vehicles give power back (OCPP 2.1); else they pause."""
    dynamic: bool = False
    """Whether a plan is one dynamic profile whose limit is renewed (OCPP 2.1); else a profile of several periods."""
    switches_phases: bool | None = None
    """Whether it can change between one and three phases, as far as it says so; ``None``: it says nothing."""
    keeps_meter_interval: bool = False
    """Whether its interval of meter values is its own and never written."""
    proven: bool = False
    """Whether limits told in this way were seen in the meter."""
    least_current_a: float | None = field(default=None, compare=False)
    """Least limit at which a vehicle was seen to charge; no way of telling, so not compared [A]."""
    reaction_s: float | None = field(default=None, compare=False)
    """Longest time seen between an accepted reduction and the meter that shows it [s]."""
    measurands: tuple[str, ...] = field(default=(), compare=False)
    """Measurands that it agreed to send."""
    seen_measurands: tuple[str, ...] = field(default=(), compare=False)
    """Measurands that it was seen to send."""

    @property
    def default_level(self) -> int:
        """Stack level of the safe default: below a plan of the same purpose where there is room."""
        return self.stack_level if self.greatest_stack_level is None else min(self.stack_level, self._second_level)

    @property
    def plan_level(self) -> int:
        """Stack level of a plan."""
        level = self.stack_level + (self.plan_purpose is PlanPurpose.TX_DEFAULT_PROFILE)
        return level if self.greatest_stack_level is None else min(level, self.greatest_stack_level)

    @property
    def plan_level_without_transaction(self) -> int:
        """Stack level of a plan that lies above the safe default because no transaction runs."""
        return replace(self, plan_purpose=PlanPurpose.TX_DEFAULT_PROFILE).plan_level

    @property
    def plan_replaces_default(self) -> bool:
        """Whether a plan and the safe default are one and the same place in the station."""
        return self.plan_purpose is PlanPurpose.TX_DEFAULT_PROFILE and self.plan_level == self.default_level

    @property
    def _second_level(self) -> int:
        return max(0, (self.greatest_stack_level or 0) - 1)

    @property
    def other_stack_level(self) -> int:
        """The stack level to try where this one is rejected: the highest, or the lowest again."""
        if self.stack_level > 0:
            return 0
        return 1 if self.greatest_stack_level is None else self.greatest_stack_level

    def with_what_is_no_form(self, known: StationCapability) -> StationCapability:
        """This way to tell limits, with what is known besides."""
        return replace(
            self,
            least_current_a=known.least_current_a,
            reaction_s=known.reaction_s,
            measurands=known.measurands,
            seen_measurands=known.seen_measurands,
        )

    def unit_for(self, evse: Evse) -> RateUnit:
        """Unit for the limits of one EVSE."""
        if self.rate_unit is not None:
            return self.rate_unit
        return RateUnit.W if evse.current_type is CurrentType.DC else RateUnit.A

    def ladder(self, evse: Evse) -> tuple[StationCapability, ...]:
        """This one, then every other way to tell a limit, those first that differ least.

        Args:
            evse: Its kind of current says which unit is meant where none is stated.
        """
        unit = self.unit_for(evse)
        other_unit = RateUnit.W if unit is RateUnit.A else RateUnit.A
        other_purpose = next(purpose for purpose in PlanPurpose if purpose is not self.plan_purpose)
        rungs = [self]
        for level_changes, purpose_changes, amperes_change, kind_changes, unit_changes in _CHANGES:
            rung = replace(
                self,
                proven=False,
                stack_level=self.other_stack_level if level_changes else self.stack_level,
                rate_unit=other_unit if unit_changes else self.rate_unit,
                absolute=self.absolute is not kind_changes,
                plan_purpose=other_purpose if purpose_changes else self.plan_purpose,
                whole_amperes=self.whole_amperes or amperes_change,
            )
            # Whole amperes make no difference to watts.
            if rung not in rungs and not (amperes_change and rung.unit_for(evse) is RateUnit.W):
                rungs.append(rung)
        return tuple(rungs)


_CHANGES: Final = sorted((changes for changes in product((False, True), repeat=5) if any(changes)), key=sum)
"""Of stack level, purpose, whole amperes, kind and unit, which are changed."""

PRESETS: Final[tuple[tuple[str, str, str, StationCapability], ...]] = (
    ("huawei", "", "", StationCapability(rate_unit=RateUnit.W)),
    ("wall ?box", "", r"5\.", StationCapability(absolute=False, greatest_stack_level=0)),
    ("micro-?ocpp", "", "", StationCapability(rate_unit=RateUnit.W)),
    ("abb", r"terra ?ac|tac", "", StationCapability(greatest_stack_level=0)),
    ("easee", "", "", StationCapability(keeps_meter_interval=True)),
    ("ev-?box", r".*elvi", "", StationCapability(keeps_meter_interval=True)),
    ("mennekes", r".*acu", "", StationCapability(keeps_meter_interval=True)),
)
"""Vendor, model and firmware as patterns, and the habits known of them in public."""

CENTRAL_SETPOINT = "CentralSetpoint"
"""Operation mode of OCPP 2.1 in which a vehicle follows a stated power, in either direction."""


def preset_for(identity: StationIdentity) -> StationCapability:
    """What is known in advance of a kind of station."""
    for vendor, model, firmware, capability in PRESETS:
        if (
            re.match(vendor, identity.vendor, re.IGNORECASE)
            and re.match(model, identity.model, re.IGNORECASE)
            and re.match(firmware, identity.firmware, re.IGNORECASE)
        ):
            return capability
    return StationCapability()


def as_declared(capability: StationCapability, told: Mapping[SettingName, str]) -> StationCapability:
    """``capability`` narrowed to what a station declares of itself; what the meter proved stays.

    Args:
        capability: What is known so far.
        told: Settings read from the station, in whatever words it chose.
    """
    if capability.proven:
        return capability
    periods = whole_number(told.get(SettingName.MAX_PERIODS))
    if periods is not None and periods > 0:
        capability = replace(capability, max_periods=min(periods, MOST_PERIODS))
    level = whole_number(told.get(SettingName.STACK_LEVEL))
    if level is not None and level >= 0 and capability.greatest_stack_level is None:
        capability = replace(capability, greatest_stack_level=level)
    switching = told.get(SettingName.PHASE_SWITCHING, "").strip().lower()
    if switching in ("true", "false"):
        capability = replace(capability, switches_phases=switching == "true")
    units = _units_in(told.get(SettingName.RATE_UNITS, ""))
    return replace(capability, rate_unit=next(iter(units))) if len(units) == 1 else capability


def as_permitted(
    capability: StationCapability, told: Mapping[SettingName, str], *, v2x: bool, dynamic: bool
) -> StationCapability:
    """``capability`` with what OCPP 2.1 adds, where the operator permits it.

    Args:
        capability: What is known so far.
        told: Settings read from the station; it must name the operation mode to give power back.
        v2x: Whether vehicles may be told to give power back.
        dynamic: Whether plans are told as dynamic profiles.
    """
    modes = re.split(r"[,;|\s]+", told.get(SettingName.OPERATION_MODES, ""))
    return replace(capability, discharges=v2x and CENTRAL_SETPOINT in modes, dynamic=dynamic)


def _units_in(text: str) -> set[RateUnit]:
    """Units named in words of 1.6 (Current, Power), of 2.x (A, W), or of neither."""
    words = {word.strip().lower() for word in re.split(r"[,;|\s]+", text)}
    found = set()
    if words & {"a", "current", "amp", "ampere", "amperes"}:
        found.add(RateUnit.A)
    if words & {"w", "power", "watt", "watts", "kw"}:
        found.add(RateUnit.W)
    return found


class CapabilityStore(Protocol):
    """Keeps what the meter proved of each kind of station."""

    async def capability(self, identity: StationIdentity) -> StationCapability | None:
        """What was proven of a kind of station."""
        ...

    async def save(self, identity: StationIdentity, capability: StationCapability) -> None:
        """Keep what was proven of it."""
        ...


class MemoryCapabilities:
    """Keeps capabilities while the service runs."""

    def __init__(self) -> None:
        self._known: dict[StationIdentity, StationCapability] = {}

    async def capability(self, identity: StationIdentity) -> StationCapability | None:
        """What was proven of a kind of station."""
        return self._known.get(identity)

    async def save(self, identity: StationIdentity, capability: StationCapability) -> None:
        """Keep what was proven of it."""
        self._known[identity] = capability


class FileCapabilities(MemoryCapabilities):
    """Keeps capabilities in a JSON file, one object for each kind of station.

    Args:
        path: The file; it need not exist yet.

    Raises:
        InvalidDataFile: The file is there and holds something else.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._turn = asyncio.Lock()
        if path.exists():
            self._known = _read_capabilities(path)

    async def save(self, identity: StationIdentity, capability: StationCapability) -> None:
        """Keep what was proven of it, on disk when this returns; a full disk holds up no limit."""
        await super().save(identity, capability)
        async with self._turn:
            entries = [{**asdict(kind), **asdict(known)} for kind, known in self._known.items()]
            try:
                await asyncio.to_thread(self._write, json.dumps(entries, indent=1))
            except OSError as error:
                _LOG.warning("proven forms are kept until the end of the service only", reason=str(error))

    def _write(self, text: str) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self._path)


def _read_capabilities(path: Path) -> dict[StationIdentity, StationCapability]:
    known = {}
    try:
        for entry in json.loads(path.read_text(encoding="utf-8")):
            identity = StationIdentity(entry.pop("vendor"), entry.pop("model"), entry.pop("firmware"))
            unit, purpose = entry.pop("rate_unit"), entry.pop("plan_purpose")
            known[identity] = StationCapability(
                rate_unit=None if unit is None else RateUnit(unit),
                plan_purpose=PlanPurpose(purpose),
                measurands=tuple(entry.pop("measurands", ())),
                seen_measurands=tuple(entry.pop("seen_measurands", ())),
                **entry,
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidDataFile(
            "(file)", str(error), "give what the service itself wrote, or remove the file", where=str(path)
        ) from error
    return known
