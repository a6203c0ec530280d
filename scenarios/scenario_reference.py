"""The fields of a scenario file as a page, made from the very models that check such a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from scenarios.scenario_sections import RecordFile, ScenarioFile

Schema = Mapping[str, Any]

INTRODUCTION = """# Scenario files

A scenario is one YAML file. It says what stands at a site, what it pays, who comes and leaves, and what control is told
of it and when. Paths in it are relative to the file. `<<` takes fields over from another section, as YAML has it. A
file is checked as a whole: what is wrong is told with file, field, value and what would be right.

    chargehorizon scenario list               # the scenarios that are shipped; each may be copied and changed
    chargehorizon scenario check FILE         # read a scenario and say what it holds, rows set aside included
    chargehorizon scenario fields             # this page

Times carry their UTC offset (`2019-03-01T00:00:00-08:00`); units stand in the names. A field without a default is
required. This page is made from the program's own checks by `chargehorizon scenario fields --short`; without `--short`
it goes on with the settings of `control` and `planning`, which are those of the service.
"""

_RECORDS = """# A service's own past

`chargehorizon record export --config site.yaml OUT.yaml` writes what a service saw and decided at each step as a
scenario, the steps beside it in `OUT.jsonl.gz`. `chargehorizon replay OUT.yaml` makes each plan again from what was
seen then: with the same version the same to the last bit. What `strategy`, `planning`, `site` or `tariff` say
otherwise, there or as `--set NAME=VALUE`, gives other plans, and the replay tells by how much they differ.
"""

SETTINGS = ("control", "planning")
"""Sections that are those of the service's own configuration."""

RANGES = (
    ("minimum", "from {}"),
    ("exclusiveMinimum", "above {}"),
    ("maximum", "up to {}"),
    ("exclusiveMaximum", "below {}"),
)


def scenario_reference(*, with_settings: bool = True) -> str:
    """The page as Markdown, with or without the settings of control and planner."""
    schema = ScenarioFile.model_json_schema()
    tables = (
        _section(path, section, schema["$defs"])
        for path, section in _sections(schema, schema["$defs"], "")
        if with_settings or not path.startswith(SETTINGS)
    )
    return "\n".join([INTRODUCTION, *tables, _RECORDS, _record_table()])


def _record_table() -> str:
    schema = RecordFile.model_json_schema()
    return _section("", schema, schema["$defs"]).replace("## The file", "## The file beside the steps", 1)


def documented_fields() -> frozenset[str]:
    """Every field that a scenario file may have, by its place: ``site.circuits[].limit_a``."""
    schema = ScenarioFile.model_json_schema()
    sections = _sections(schema, schema["$defs"], "")
    return frozenset(_joined(path, field) for path, section in sections for field in section["properties"])


def _sections(section: Schema, definitions: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """A section and each one below it with its place, the outer before the inner."""
    yield path, section
    for field, form in section["properties"].items():
        found = _section_of(form, definitions)
        if found is not None:
            name, is_list = found
            yield from _sections(definitions[name], definitions, _joined(path, field) + ("[]" if is_list else ""))


def _section_of(form: Schema, definitions: Schema) -> tuple[str, bool] | None:
    """The section that a field holds, and whether it holds a list of them; ``None``: it holds plain values."""
    for one in form.get("anyOf", [form]):
        is_list = one.get("type") == "array"
        name = one.get("items", {} if is_list else one).get("$ref", "").rpartition("/")[2]
        if name and "properties" in definitions[name]:
            return name, is_list
        if not is_list and (name := one.get("$ref", "").rpartition("/")[2]) and "properties" in definitions[name]:
            return name, False
    return None


def _joined(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field


def _section(path: str, section: Schema, definitions: Schema) -> str:
    required = set(section.get("required", ()))
    title = f"## `{path}`" if path else "## The file"
    rows = []
    for field, form in section["properties"].items():
        cells = (f"`{field}`", _kind(form, definitions), _default(field, form, required), _meaning(form, definitions))
        rows.append(f"| {' | '.join(cells)} |")
    about = section.get("description", "").partition("\n\n")[0].replace("\n", " ")
    return "\n".join([title, "", about, "", "| field | values | default | meaning |", "|---|---|---|---|", *rows, ""])


def _kind(form: Schema, definitions: Schema) -> str:
    if "anyOf" in form:
        return " or ".join(_kind(one, definitions) for one in form["anyOf"] if one.get("type") != "null")
    if "$ref" in form:
        return _kind_of_definition(definitions[form["$ref"].rpartition("/")[2]])
    if "enum" in form or "const" in form:
        return ", ".join(f"`{value}`" for value in form.get("enum", [form.get("const")]))
    if form.get("type") == "array":
        inner = form.get("items") or (form.get("prefixItems") or [{}])[0]
        return f"list of {_kind(inner, definitions)}"
    names = {
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
        "string": "text",
        "object": "section",
    }
    formats = {"date-time": "instant", "file-path": "file", "path": "file"}
    kind = formats.get(form.get("format", ""), names.get(form.get("type", ""), "value"))
    ranges = [text.format(f"{form[key]:g}") for key, text in RANGES if key in form]
    return " ".join([kind, *ranges])


def _kind_of_definition(definition: Schema) -> str:
    if "enum" in definition:
        return ", ".join(f"`{value}`" for value in definition["enum"])
    return "section"


def _default(field: str, form: Schema, required: set[str]) -> str:
    if field in required:
        return "**required**"
    value = form.get("default")
    if value is None:
        return "left out"
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict) for one in value)):
        return "see below"
    return f"`{json.dumps(value)}`"


def _meaning(form: Schema, definitions: Schema) -> str:
    text = form.get("description")
    if text is None and "$ref" in form:
        text = definitions[form["$ref"].rpartition("/")[2]].get("description", "")
    return " ".join((text or "").split()).replace("|", "\\|")
