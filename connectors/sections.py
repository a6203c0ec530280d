"""Files of sections, as the configuration of a service and the description of a scenario are.

They are YAML, checked field by field; no field passes unknown or stands twice, paths are relative to the file, and all
that is wrong is told in one form.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from optimizer.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

Wrong = TypeVar("Wrong", bound=InvalidInput)
"""Kind of error that a file's faults are told as."""

FOLDER = "folder"
"""Key of the validation context under which the file's folder stands."""

_FIXES = {
    "missing": "this field is required",
    "extra_forbidden": "no such field",
    "model_type": "give a section with fields of its own",
    "dict_type": "give a section with fields of its own",
    "frozen_set_type": "give a list, for example [a, b]",
    "tuple_type": "give a list, for example [a, b]",
    "timezone_aware": "give a UTC offset, for example 2026-03-01T08:00:00Z",
}


class Section(BaseModel):
    """One section of a file: frozen, and no field passes unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_fields(cls, given: Any) -> Any:
        return _known_only(given, sorted(cls.model_fields))


def fields_of(kind: type[Any]) -> Callable[[Any], Any]:
    """Refuses a field that the settings ``kind`` does not have, naming the nearest one that it has."""
    known = sorted(one.name for one in fields(kind))
    return lambda given: _known_only(given, known)


def _known_only(given: Any, known: list[str]) -> Any:
    for name in given if isinstance(given, dict) else ():
        if name not in known:
            nearest = get_close_matches(str(name), known, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"known here are {', '.join(known)}"
            raise PydanticCustomError("unknown_field", "no such field; {hint}", {"name": str(name), "hint": hint})
    return given


def _beside_the_file(path: Path, validation: ValidationInfo) -> Path:
    found = Path((validation.context or {}).get(FOLDER, ".")) / path.expanduser()
    if not found.is_file():
        raise ValueError(f"no such file; looked for {found}")
    return found


ExistingFile = Annotated[Path, AfterValidator(_beside_the_file)]
"""A file, its path relative to the one that names it."""


_MERGED = "tag:yaml.org,2002:merge"
"""Tag of ``<<``: fields taken over from another section, which those beside it may replace."""


class _StrictLoader(yaml.SafeLoader):
    """YAML in which no field may stand twice: the last one would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGED:
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_sections(path: Path, kind: type[Wrong], sections: str) -> dict[str, Any]:
    """The content of a file of sections, not checked yet.

    Args:
        path: The file.
        kind: What faults are told as.
        sections: What the file should hold, for people.

    Raises:
        InvalidInput: The file cannot be read, or holds no sections.
    """
    try:
        # SafeLoader underneath: nothing in the file is executed.
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except OSError as error:
        raise kind("(file)", str(path), f"give a file that can be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise kind("(file)", error.reason, "save the file as UTF-8", where=str(path)) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise kind(f"(line {line})", error.problem, "must be YAML", where=str(path)) from error
    except yaml.YAMLError as error:
        raise kind("(file)", str(error), "must be YAML", where=str(path)) from error
    if not isinstance(content, dict):
        raise kind("(file)", content, f"give sections: {sections}", where=str(path))
    return content


def section_errors(
    error: ValidationError, where: str, kind: type[Wrong], sections_of_kinds: frozenset[str] = frozenset()
) -> tuple[Wrong, ...]:
    """All that is wrong in a file, each with field, value and fix.

    Args:
        error: What pydantic found.
        where: The file.
        kind: What it is told as.
        sections_of_kinds: Sections that come in several kinds; pydantic puts the kind into the place of an error.
    """
    return tuple(_section_error(found, where, kind, sections_of_kinds) for found in error.errors(include_url=False))


def first_of(errors: tuple[Wrong, ...]) -> Wrong:
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


def _section_error(found: ErrorDetails, where: str, kind: type[Wrong], sections_of_kinds: frozenset[str]) -> Wrong:
    fault, location, value = found["type"], list(found["loc"]), found["input"]
    if location and location[0] in sections_of_kinds:
        del location[1:2]
    if fault == "unknown_field":
        name = found["ctx"]["name"]
        value = value.get(name) if isinstance(value, dict) else value
        location.append(name)
    if fault == "missing":
        value = None
    return kind(dotted(location) or "(file)", value, fix_of(found), where=where)


def fix_of(found: ErrorDetails) -> str:
    """What would be accepted, as a sentence without a full stop."""
    known = _FIXES.get(found["type"])
    if known is not None:
        return known
    text = found["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return text[:1].lower() + text[1:]
