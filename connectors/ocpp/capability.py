"""What a kind of station can do and how it wants to be told: presets, what it says of itself, what the meter proved."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
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
    absolute: bool = True
    """Whether schedules start at a stated time; else they are relative."""
    max_periods: int = MOST_PERIODS
    """Greatest number of periods in a profile."""
    whole_amperes: bool = False
    """Whether it takes whole amperes only."""
    zero_allowed: bool = True
    """Whether it takes a limit of zero; else the least current is told in its place."""
    proven: bool = False
    """Whether limits told in this way were seen in the meter."""

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
        for purpose_changes, amperes_change, kind_changes, unit_changes in _CHANGES:
            rung = replace(
                self,
                proven=False,
                rate_unit=other_unit if unit_changes else self.rate_unit,
                absolute=self.absolute is not kind_changes,
                plan_purpose=other_purpose if purpose_changes else self.plan_purpose,
                whole_amperes=self.whole_amperes or amperes_change,
            )
            # Whole amperes make no difference to watts.
            if rung not in rungs and not (amperes_change and rung.unit_for(evse) is RateUnit.W):
                rungs.append(rung)
        return tuple(rungs)


_CHANGES: Final = sorted((changes for changes in product((False, True), repeat=4) if any(changes)), key=sum)
"""Of purpose, whole amperes, kind and unit, which are changed."""

PRESETS: Final[tuple[tuple[str, str, str, StationCapability], ...]] = (
    ("huawei", "", "", StationCapability(rate_unit=RateUnit.W)),
    ("wall ?box", "", r"5\.", StationCapability(absolute=False)),
    ("micro-?ocpp", "", "", StationCapability(rate_unit=RateUnit.W)),
)
"""Vendor, model and firmware as patterns, and the habits known of them in public."""


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
    units = _units_in(told.get(SettingName.RATE_UNITS, ""))
    return replace(capability, rate_unit=next(iter(units))) if len(units) == 1 else capability


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
                rate_unit=None if unit is None else RateUnit(unit), plan_purpose=PlanPurpose(purpose), **entry
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidDataFile(
            "(file)", str(error), "give what the service itself wrote, or remove the file", where=str(path)
        ) from error
    return known
