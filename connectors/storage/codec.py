"""Nested domain objects as JSON text, written and read by pydantic from the dataclasses' own annotations."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from optimizer.domain.charger import Setpoint, StationBooted
from optimizer.domain.cost import EnergyCostRecord, SiteBill
from optimizer.domain.event import GridEvent
from optimizer.domain.ids import EvseId, PlanId
from optimizer.domain.metering import CircuitReading, MeterSample
from optimizer.domain.plan import Fallback, FeasibleAtLimit, Plan, PlanOutcome, ProvenOptimal
from optimizer.domain.reservation import Reservation
from optimizer.domain.session import Session
from optimizer.domain.site import Site
from optimizer.domain.snapshot import SeenStep, SiteSnapshot
from optimizer.errors import StorageFailed

Domain = TypeVar("Domain")


class JsonCodec(Generic[Domain]):
    """Writes one domain type as JSON and reads it back, equal in every digit.

    Decimals become strings, floats the shortest text that reads back the same, instants ISO 8601 in UTC. A field that
    is missing in an old text takes the dataclass's default, so an added field needs no migration.

    Args:
        domain_type: The dataclass.
    """

    def __init__(self, domain_type: type[Domain]) -> None:
        self._domain_type = domain_type
        # In a tuple, because pydantic takes no config beside a dataclass; infinite numbers (a bound that no solver
        # gave) would be written as null and refused on reading.
        self._adapter: TypeAdapter[tuple[Domain]] = TypeAdapter(
            tuple[domain_type],  # type: ignore[valid-type, arg-type]
            config=ConfigDict(ser_json_inf_nan="strings"),
        )

    def text(self, value: Domain) -> str:
        """Write ``value``.

        Raises:
            StorageFailed: It holds something that JSON cannot, such as half a character.
        """
        try:
            return self._adapter.dump_json((value,)).decode()
        except PydanticSerializationError as error:
            raise StorageFailed(f"a {self._domain_type.__name__} cannot be written: {error}") from error

    def value(self, text: str) -> Domain:
        """Read what `text` wrote.

        Raises:
            StorageFailed: The text is not of this type.
        """
        try:
            return self._adapter.validate_json(text)[0]
        except ValidationError as error:
            raise StorageFailed(f"a stored {self._domain_type.__name__} cannot be read: {error}") from error


SESSION_JSON = JsonCodec(Session)
SETPOINT_JSON = JsonCodec(Setpoint)
BOOT_JSON = JsonCodec(StationBooted)
SAMPLE_JSON = JsonCodec(MeterSample)
CIRCUITS_JSON = JsonCodec(tuple[CircuitReading, ...])
RESERVATION_JSON = JsonCodec(Reservation)
GRID_EVENT_JSON = JsonCodec(GridEvent)
RECORD_JSON = JsonCodec(EnergyCostRecord)
BILL_JSON = JsonCodec(SiteBill)

_PROVEN_OPTIMAL = JsonCodec(ProvenOptimal)
_FEASIBLE_AT_LIMIT = JsonCodec(FeasibleAtLimit)
_FALLBACK = JsonCodec(Fallback)


def outcome_text(outcome: PlanOutcome) -> tuple[str, str]:
    """The kind of an outcome and its JSON text."""
    match outcome:
        case ProvenOptimal():
            return "proven_optimal", _PROVEN_OPTIMAL.text(outcome)
        case FeasibleAtLimit():
            return "feasible_at_limit", _FEASIBLE_AT_LIMIT.text(outcome)
        case Fallback():
            return "fallback", _FALLBACK.text(outcome)


def outcome_value(kind: str, text: str) -> PlanOutcome:
    """Read what `outcome_text` wrote.

    Raises:
        StorageFailed: The kind is unknown or the text is not of it.
    """
    match kind:
        case "proven_optimal":
            return _PROVEN_OPTIMAL.value(text)
        case "feasible_at_limit":
            return _FEASIBLE_AT_LIMIT.value(text)
        case "fallback":
            return _FALLBACK.value(text)
        case _:
            raise StorageFailed(f"a stored plan is of the unknown kind {kind!r}")


# ---------------------------------------------------------------------- what a plan followed from


@dataclass(frozen=True)
class StoredStep:
    """A seen step as it is stored: without what many steps share, the site, the settings and the plan before."""

    previous_plan_id: PlanId | None
    """The plan that was in force."""
    fixed_kw: dict[EvseId, float]
    """Load of EVSEs that could not be steered [kW]."""
    snapshot: dict[str, Any]
    """The rest of the snapshot by name, as read from JSON."""

    @classmethod
    def of(cls, text: str) -> StoredStep:
        """Read what `step_text` wrote.

        Raises:
            StorageFailed: The text is something else.
        """
        try:
            entry = json.loads(text)
            return cls(entry["previous_plan_id"], entry["fixed_kw"], entry["snapshot"])
        except (ValueError, KeyError, TypeError) as error:
            raise StorageFailed(f"a stored step cannot be read: {error}") from error

    def seen(self, ground: StepGround, previous_plan: Plan | None) -> SeenStep:
        """Put back what is shared.

        Raises:
            StorageFailed: A field of the snapshot cannot be read.
        """
        try:
            shared = {"site": ground.site, "previous_plan": previous_plan}
            (snapshot,) = _SNAPSHOT.validate_python(({**self.snapshot, **shared},))
        except ValidationError as error:
            raise StorageFailed(f"a stored snapshot cannot be read: {error}") from error
        return SeenStep(snapshot, self.fixed_kw, ground.ground)


def step_text(seen: SeenStep) -> str:
    """A seen step as JSON, without what many steps share."""
    previous = seen.snapshot.previous_plan
    listed = _SNAPSHOT.dump_json((seen.snapshot,), exclude={0: {"site", "previous_plan"}}).decode()
    parts = {
        "previous_plan_id": json.dumps(previous.id if previous is not None else None),
        "fixed_kw": json.dumps(dict(seen.fixed_kw)),
        # Put in as it is: of thousands of vehicles it is megabytes, and written as a list of one.
        "snapshot": listed.removeprefix("[").removesuffix("]"),
    }
    return "{" + ", ".join(f'"{name}": {text}' for name, text in parts.items()) + "}"


@dataclass(frozen=True)
class StepGround:
    """What many steps share."""

    site: Site
    """What stands there."""
    ground: str
    """Versions and settings of what planned."""

    @classmethod
    def of(cls, seen: SeenStep) -> StepGround:
        """The part that many steps share; without what a site remembers of its own fields."""
        return cls(replace(seen.snapshot.site), seen.ground)


GROUND_JSON = JsonCodec(StepGround)
_SNAPSHOT: TypeAdapter[tuple[SiteSnapshot]] = TypeAdapter(
    tuple[SiteSnapshot], config=ConfigDict(ser_json_inf_nan="strings")
)
