"""What every section of the configuration file shares: strictness, and errors in one form."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from optimizer.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

_FIXES = {
    "missing": "this field is required",
    "extra_forbidden": "no such field",
    "model_type": "give a section with fields of its own",
    "dict_type": "give a section with fields of its own",
    "timezone_aware": "give a UTC offset, for example 2026-03-01T08:00:00Z",
}


class Section(BaseModel):
    """One section of the configuration file: frozen, and no field passes unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_fields(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        known = sorted(cls.model_fields)
        for name in given:
            if name not in cls.model_fields:
                nearest = get_close_matches(str(name), known, n=1)
                hint = f"did you mean {nearest[0]}?" if nearest else f"known here are {', '.join(known)}"
                raise PydanticCustomError("unknown_field", "no such field; {hint}", {"name": str(name), "hint": hint})
        return given


def configuration_errors(
    error: ValidationError, where: str, sections_of_kinds: frozenset[str]
) -> tuple[InvalidConfiguration, ...]:
    """All that is wrong in a file, each with field, value and fix.

    Args:
        error: What pydantic found.
        where: The file.
        sections_of_kinds: Sections that come in several kinds; pydantic puts the kind into the place of an error.
    """
    return tuple(_configuration_error(found, where, sections_of_kinds) for found in error.errors(include_url=False))


def first_of(errors: tuple[InvalidConfiguration, ...]) -> InvalidConfiguration:
    """The first error, with every further one as a note on it."""
    first, *others = errors
    for other in others:
        first.add_note(str(other))
    return first


def dotted(location: Iterable[int | str]) -> str:
    """A place in nested sections, as its author would write it: ``site.circuits[0].limit_a``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _configuration_error(found: ErrorDetails, where: str, sections_of_kinds: frozenset[str]) -> InvalidConfiguration:
    kind, location, value = found["type"], list(found["loc"]), found["input"]
    if location and location[0] in sections_of_kinds:
        del location[1:2]
    if kind == "unknown_field":
        name = found["ctx"]["name"]
        value = value.get(name) if isinstance(value, dict) else value
        location.append(name)
    if kind == "missing":
        value = None
    return InvalidConfiguration(dotted(location) or "(file)", value, fix_of(found), where=where)


def fix_of(found: ErrorDetails) -> str:
    """What would be accepted, as a sentence without a full stop."""
    known = _FIXES.get(found["type"])
    if known is not None:
        return known
    text = found["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return text[:1].lower() + text[1:]
