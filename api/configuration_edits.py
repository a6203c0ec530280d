"""Changes to a configuration file that leave all that people wrote into it as it stands: lines, order and comments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from api.config import load_configuration
from optimizer.errors import InvalidConfiguration, StorageFailed

Plain = str | int | float | bool


def with_item(text: str, path: Sequence[str], item: str) -> str:
    """``text`` with one more item at the end of the list at ``path``, which is made where it is missing.

    Args:
        text: The file's content.
        path: Names of the sections that lead to the list; the last is the list's own.
        item: The item as one line of YAML.

    Raises:
        InvalidConfiguration: A section on the way is missing, or there is something else than a list.
    """
    section = _section(text, path[:-1])
    found = _member(section, path[-1])
    lines = text.splitlines(keepends=True)
    if found is None:
        if section.flow_style:
            return _before_its_end(lines, section, f"{path[-1]}: [{item}]")
        place = _last_line(section) + 1
        margin = " " * section.value[0][0].start_mark.column
        return _with_lines(lines, place, [f"{margin}{path[-1]}:\n", f"{margin}  - {item}\n"])
    if not isinstance(found, yaml.SequenceNode):
        raise InvalidConfiguration(".".join(path), found.value, "this must be a list")
    if found.flow_style:
        return _before_its_end(lines, found, item)
    return _with_lines(lines, _last_line(found) + 1, [f"{' ' * found.start_mark.column}- {item}\n"])


def without_item(text: str, path: Sequence[str], key: str, value: str) -> str | None:
    """``text`` without the item of the list at ``path`` whose ``key`` is ``value``; ``None``: there is no such item.

    Args:
        text: The file's content.
        path: Names of the sections that lead to the list.
        key: Field of the items.
        value: What it must be.

    Raises:
        InvalidConfiguration: The list stands in one line, where an item cannot be taken out safely.
    """
    try:
        section = _section(text, path[:-1])
    except InvalidConfiguration:
        return None
    found = _member(section, path[-1])
    if not isinstance(found, yaml.SequenceNode):
        return None
    for item in found.value:
        name = _member(item, key) if isinstance(item, yaml.MappingNode) else None
        if name is None or name.value != value:
            continue
        if found.flow_style:
            fix = f"take {value!r} out of this list by hand: it stands in one line"
            raise InvalidConfiguration(".".join(path), value, fix)
        lines = text.splitlines(keepends=True)
        del lines[item.start_mark.line : _last_line(item) + 1]
        if len(found.value) == 1:
            # Without an item the list would read as nothing at all.
            head = next(name for name, value in section.value if value is found).end_mark
            lines[head.line] = f"{lines[head.line][: head.column]}: []{lines[head.line][head.column + 1 :]}"
        return "".join(lines)
    return None


def one_line(fields: Mapping[str, object]) -> str:
    """A section in one line of YAML."""
    return "{" + ", ".join(f"{name}: {_scalar(value)}" for name, value in fields.items()) + "}"


def write_configuration(path: Path, text: str) -> None:
    """Replace a configuration file by ``text``, once the whole of it is known to be good.

    Raises:
        InvalidConfiguration: It would not be; the file is as it was.
        StorageFailed: It cannot be written.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.write_text(text, encoding="utf-8")
        try:
            load_configuration(fresh)
        except InvalidConfiguration as error:
            fresh.unlink()
            raise InvalidConfiguration(error.field, error.value, error.fix, where=str(path)) from error
        fresh.chmod(path.stat().st_mode & 0o777)
        fresh.replace(path)
    except OSError as error:
        raise StorageFailed(f"{path} could not be written: {error}") from error


def _section(text: str, path: Sequence[str]) -> yaml.MappingNode:
    node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    for number, name in enumerate(path):
        node = _member(node, name) if isinstance(node, yaml.MappingNode) else None
        if node is None:
            raise InvalidConfiguration(".".join(path[: number + 1]), None, "this section is missing")
    if not isinstance(node, yaml.MappingNode):
        raise InvalidConfiguration(".".join(path) or "(file)", None, "this must be a section with fields of its own")
    return node


def _member(section: yaml.MappingNode, name: str) -> yaml.Node | None:
    return next((value for key, value in section.value if key.value == name), None)


def _last_line(node: yaml.Node) -> int:
    """Number of the last line on which something of a node stands; the mark of a block's end lies behind comments."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    end: int = node.end_mark.line
    return end - 1 if node.end_mark.column == 0 and end > node.start_mark.line else end


def _with_lines(lines: list[str], place: int, more: list[str]) -> str:
    if place > 0 and not lines[place - 1].endswith("\n"):
        lines[place - 1] += "\n"
    return "".join(lines[:place] + more + lines[place:])


def _before_its_end(lines: list[str], node: yaml.CollectionNode, item: str) -> str:
    line, column = node.end_mark.line, node.end_mark.column - 1
    gap = ", " if node.value else ""
    lines[line] = lines[line][:column] + gap + item + lines[line][column:]
    return "".join(lines)


def _scalar(value: object) -> str:
    if isinstance(value, str) and yaml.safe_load(value) == value and not set(value) & set(",[]{}#:"):
        return value
    if isinstance(value, Mapping):
        return one_line(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_scalar(one) for one in value) + "]"
    return json.dumps(value)
