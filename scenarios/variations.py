"""What a sweep varies: fields of a scenario file by dotted name, or by a short name that means several fields.

    site.limit_kw=60,80,100       import limit; the root circuit grows with it where it would be smaller
    battery.capacity_kwh=0,100    the stationary battery, its power in proportion; 0: none
    battery.power_kw=25,50        its power in both directions
    pv.peak_kw=0,30,60            all arrays, in proportion; 0: none
    planning.near_slots=1,2       any field of the file, list entries by number: site.circuits.0.limit_a

Values are written as in YAML. The models that check scenario files check them, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from connectors.sections import read_sections
from optimizer.errors import InvalidDataFile, InvalidInput
from scenarios.scenario_reference import documented_fields

USUAL_BATTERY_H = 2.0
"""Capacity over power of a battery of which the file says nothing [h]; most that stand in the field have 1 to 4."""

Changes = dict[str, Any]
"""New values of fields of a scenario file, by dotted name."""
Content = Mapping[str, Any]
"""A scenario file as read, not checked yet."""
Point = dict[str, Any]
"""One value for each name that is varied, as the user wrote it."""


@dataclass(frozen=True, slots=True)
class Variation:
    """One name and the values that it takes, one after the other."""

    name: str
    """A dotted field of the scenario file, or one of the short names."""
    values: tuple[Any, ...]
    """What it takes; never empty."""


def read_variation(text: str) -> Variation:
    """Read ``name=value,value,...``.

    Raises:
        InvalidInput: It has another form, or no scenario has a field of this name; the nearest ones are named.
    """
    name, values = _named_values(text, "--vary", "[{}]", "write NAME=VALUE,VALUE, for example site.limit_kw=60,80,100")
    if not values:
        raise InvalidInput("--vary", text, "give at least one value")
    if len({repr(value) for value in values}) < len(values):
        raise InvalidInput("--vary", text, "give each value once")
    return Variation(name, tuple(values))


def read_changes(texts: Sequence[str]) -> Point:
    """Read ``name=value``, each the new value of one field.

    Raises:
        InvalidInput: One has another form, names no field, or names one again.
    """
    point: Point = {}
    for text in texts:
        name, value = _named_values(text, "--set", "{}", "write NAME=VALUE, for example site.limit_kw=60")
        if name in point:
            raise InvalidInput("--set", text, "give each name once")
        point[name] = value
    return point


def _named_values(text: str, option: str, form: str, fix: str) -> tuple[str, Any]:
    """Name and value of ``name=value``, the value read as YAML once it is put into ``form``."""
    name, sign, given = text.partition("=")
    name = re.sub(r"\[(\d+)\]", r".\1", name.strip())
    if not sign or not name:
        raise InvalidInput(option, text, fix)
    try:
        return checked_name(name, option), yaml.safe_load(form.format(given))
    except yaml.YAMLError as error:
        raise InvalidInput(option, text, "write values as in YAML, and separate several by commas") from error


def checked_name(name: str, field: str) -> str:
    """``name``, if a scenario file has such a field or it is a short name.

    Raises:
        InvalidInput: There is none; the nearest ones are named.
    """
    plain = re.sub(r"(?<=\.)\d+(?=\.|$)", "#", name)
    if name in SHORT_NAMES or plain in known_fields():
        return name
    known = [*SHORT_NAMES, *(one.replace("#", "0") for one in known_fields())]
    same_end = [one for one in known if one.rpartition(".")[2] == name.rpartition(".")[2]]
    nearest = list(dict.fromkeys([*get_close_matches(name, known, n=3), *same_end]))[:4]
    hint = f"nearest are {', '.join(nearest)}" if nearest else "see the fields of scenario files"
    raise InvalidInput(field, name, f"scenarios have no such field; {hint}")


def points_of(variations: Sequence[Variation]) -> list[Point]:
    """Every combination of the values, the last name changing fastest.

    Raises:
        InvalidInput: A name stands twice.
    """
    names = [variation.name for variation in variations]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput("--vary", name, "give all values of one name together, separated by commas")
    return [dict(zip(names, values, strict=True)) for values in product(*(one.values for one in variations))]


def changes_of(path: Path, point: Mapping[str, Any]) -> Changes:
    """The fields of a scenario file that a point changes.

    Args:
        path: The scenario file.
        point: The values; a field named in full goes before what a short name makes of it.

    Raises:
        InvalidInput: The file has nothing that a short name could change in proportion.
    """
    return changes_in(read_sections(path, InvalidDataFile, "start, end, site, tariff, sessions"), point)


def changes_in(content: Content, point: Mapping[str, Any]) -> Changes:
    """The fields of a file's content that a point changes; see `changes_of`."""
    changes: Changes = {}
    for name, means in SHORT_NAMES.items():
        if name in point:
            changes |= means(content, point[name])
    changes |= {name: value for name, value in point.items() if name not in SHORT_NAMES}
    removed = [f"{name}." for name, value in changes.items() if value is None or value == []]
    # Without a battery, its power means nothing.
    return {name: value for name, value in changes.items() if not name.startswith(tuple(removed))}


def with_changes(content: Content, changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Content with changed values, each named by its place; a section that is left out is made.

    Args:
        content: What a file holds.
        changes: Values by dotted name; entries of lists by number.
        where: The file, for faults.

    Raises:
        InvalidDataFile: A name leads through something that has no fields.
    """
    changed = deepcopy(dict(content))
    for name, value in changes.items():
        *sections, last = name.split(".")
        place: Any = changed
        for section in sections:
            if isinstance(place, list) and section.isdecimal() and int(section) < len(place):
                place = place[int(section)]
                continue
            if not isinstance(place, dict):
                raise InvalidDataFile(name, value, f"{section} is not a section with fields", where=where)
            if place.get(section) is None:
                place[section] = {}
            place = place[section]
        if isinstance(place, list) and last.isdecimal() and int(last) < len(place):
            place[int(last)] = value
        elif isinstance(place, dict):
            place[last] = value
        else:
            raise InvalidDataFile(name, value, f"{last} is not a field of a section", where=where)
    return changed


# ---------------------------------------------------------------------- short names


def _limit_changes(content: Content, value: Any) -> Changes:
    """A connection of another size; a fuse is raised in proportion where it would be the smaller limit."""
    limit_kw = _number("site.limit_kw", value)
    changes: Changes = {"site.grid_connection.import_limit_kw": limit_kw}
    site = _section(content, "site")
    before_kw = _section(site, "grid_connection").get("import_limit_kw")
    root = _section(site, "grid_connection").get("circuit_id")
    growth = limit_kw / before_kw if isinstance(before_kw, int | float) and before_kw > 0 else 1.0
    for place, circuit in enumerate(site.get("circuits") or ()):
        if isinstance(circuit, dict) and circuit.get("id") == root and growth > 1:
            for field in ("limit_kw", "limit_a"):
                if isinstance(circuit.get(field), int | float):
                    changes[f"site.circuits.{place}.{field}"] = circuit[field] * growth
    return changes


def _capacity_changes(content: Content, value: Any) -> Changes:
    capacity_kwh = _number("battery.capacity_kwh", value)
    if capacity_kwh == 0:
        return {"site.battery": None}
    battery = _section(_section(content, "site"), "battery")
    usual_kw = capacity_kwh / USUAL_BATTERY_H
    factor = capacity_kwh / battery["capacity_kwh"] if battery.get("capacity_kwh") else 0.0
    return {
        "site.battery.capacity_kwh": capacity_kwh,
        "site.battery.max_charge_kw": battery.get("max_charge_kw", 0.0) * factor or usual_kw,
        "site.battery.max_discharge_kw": battery.get("max_discharge_kw", 0.0) * factor or usual_kw,
    }


def _power_changes(_content: Content, value: Any) -> Changes:
    power_kw = _number("battery.power_kw", value)
    return {"site.battery.max_charge_kw": power_kw, "site.battery.max_discharge_kw": power_kw}


def _pv_changes(content: Content, value: Any) -> Changes:
    """All arrays in proportion; measured power is scaled with them, computed power follows from them."""
    peak_kw = _number("pv.peak_kw", value)
    if peak_kw == 0:
        return {"pv": None, "site.pv_arrays": []}
    arrays = _section(content, "site").get("pv_arrays") or []
    pv = _section(content, "pv")
    before_kw = sum(array.get("peak_kw", 0.0) for array in arrays if isinstance(array, dict))
    if not pv or not before_kw:
        raise InvalidInput("pv.peak_kw", value, "the scenario must have pv and site.pv_arrays to scale")
    growth = peak_kw / before_kw
    changes: Changes = {
        f"site.pv_arrays.{place}.{field}": array[field] * growth
        for place, array in enumerate(arrays)
        for field in ("peak_kw", "inverter_kw")
        if field in array
    }
    if "constant_kw" in pv:
        changes["pv.constant_kw"] = pv["constant_kw"] * growth
    elif "weather_file" not in pv:
        changes["pv.factor"] = pv.get("factor", 1.0) * growth
    return changes


SHORT_NAMES: Mapping[str, Callable[[Content, Any], Changes]] = {
    "site.limit_kw": _limit_changes,
    "battery.capacity_kwh": _capacity_changes,
    "battery.power_kw": _power_changes,
    "pv.peak_kw": _pv_changes,
}
"""Names that stand for several fields, and what they change."""


def _section(content: Content, name: str) -> Content:
    section = content.get(name)
    return section if isinstance(section, dict) else {}


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(name, value, "give a number from 0 up") from error
    if not 0 <= number < float("inf"):
        raise InvalidInput(name, value, "give a number from 0 up")
    return number


# ---------------------------------------------------------------------- every field that a file may have


@cache
def known_fields() -> tuple[str, ...]:
    """Every field of scenario files by dotted name; ``#`` stands for the number of a list's entry."""
    return tuple(sorted(field.replace("[]", ".#") for field in documented_fields()))
