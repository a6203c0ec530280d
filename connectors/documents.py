"""Files of figures, read so that every refusal names file, field, value and fix.

Numbers stay what their author wrote: JSON numbers and YAML scalars become `Decimal` without passing through a float.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from io import StringIO
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from optimizer.domain.moment import require_utc
from optimizer.errors import InvalidDataFile, InvalidInput

Model = TypeVar("Model", bound=BaseModel)


def read_text(path: Path) -> str:
    """Return a file's text.

    Raises:
        InvalidDataFile: It is missing, unreadable or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidDataFile("file", str(path), f"give a readable file ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InvalidDataFile("file", str(path), "save it as UTF-8") from error


def read_json(path: Path) -> object:
    """Return a JSON file's content, its numbers with a fraction as `Decimal`.

    Raises:
        InvalidDataFile: It cannot be read, or is no JSON.
    """
    try:
        return json.loads(read_text(path), parse_float=Decimal)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}"
        raise InvalidDataFile(
            place, error.doc[error.pos :][:40], f"must be JSON ({error.msg})", where=str(path)
        ) from error


def read_yaml(path: Path) -> object:
    """Return a YAML file's content with every scalar as text: 12:00, 06-01 and 0.05623 stay what they look like.

    Raises:
        InvalidDataFile: It cannot be read, or is no YAML.
    """
    try:
        return yaml.load(read_text(path), Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidDataFile(f"line {line}", error.problem, "must be YAML", where=str(path)) from error
    except yaml.YAMLError as error:
        raise InvalidDataFile("file", str(error), "must be YAML", where=str(path)) from error


def checked(model: type[Model], content: object, path: Path) -> Model:
    """Return ``content`` as a ``model``.

    Raises:
        InvalidDataFile: It does not fit; the message names the first field that does not.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "file"
        value = "nothing" if first["type"] == "missing" else first["input"]
        raise InvalidDataFile(field, value, first["msg"], where=str(path)) from error


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One line of a CSV file under its header."""

    path: Path
    """The file."""
    line: int
    """Line number, the header being 1."""
    cells: dict[str, str]
    """Text by column."""

    def refused(self, column: str, fix: str) -> InvalidDataFile:
        """The error that says what is wrong with a cell of this row."""
        return InvalidDataFile(f"line {self.line}, {column}", self.cells.get(column), fix, where=str(self.path))

    def exact(self, column: str) -> Decimal:
        """A cell as a finite exact number.

        Raises:
            InvalidDataFile: It is not one.
        """
        try:
            number = Decimal(self.cells[column].strip())
        except InvalidOperation as error:
            raise self.refused(column, "give a number with a decimal point") from error
        if not number.is_finite():
            raise self.refused(column, "give a finite number")
        return number

    def number(self, column: str) -> float:
        """A cell as a finite float.

        Raises:
            InvalidDataFile: It is not one.
        """
        try:
            number = float(self.cells[column])
        except ValueError as error:
            raise self.refused(column, "give a number with a decimal point") from error
        if not isfinite(number):
            raise self.refused(column, "give a finite number")
        return number

    def instant(self, column: str) -> datetime:
        """A cell as an instant [UTC].

        Raises:
            InvalidDataFile: It is no ISO 8601 time with a UTC offset.
        """
        fix = "give ISO 8601 with a UTC offset, for example 2026-03-01T08:00:00Z"
        try:
            return require_utc(column, datetime.fromisoformat(self.cells[column].strip()))
        except (ValueError, InvalidInput) as error:
            raise self.refused(column, fix) from error


def read_csv(path: Path, columns: Iterable[str], separator: str | None = None) -> list[CsvRow]:
    """Return the rows of a CSV file whose header holds ``columns``.

    Args:
        path: The file.
        columns: What the header must hold.
        separator: What stands between cells, which are then left as they are. ``None``: commas or semicolons, whichever
            the header has; with semicolons a comma is the decimal sign, as in Danish and German exports.

    Raises:
        InvalidDataFile: The file cannot be read, has no rows, lacks a column, or a row has too few or too many cells.
    """
    text = read_text(path)
    found = _separator(text) if separator is None else separator
    lines = _csv_lines(path, text, found)
    header = lines[0][1] if lines else []
    for column in columns:
        if column not in header:
            raise InvalidDataFile("header", found.join(header), f"must have a column {column}", where=str(path))
    has_decimal_commas = separator is None and found == ";"
    rows = []
    for line, cells in lines[1:]:
        if not cells:
            continue
        if len(cells) != len(header):
            raise InvalidDataFile(f"line {line}", found.join(cells), f"give {len(header)} cells", where=str(path))
        plain = [cell.replace(",", ".") for cell in cells] if has_decimal_commas else cells
        rows.append(CsvRow(path, line, dict(zip(header, plain, strict=True))))
    if not rows:
        raise InvalidDataFile("file", str(path), "give at least one row under the header")
    return rows


def checked_step(starts: Sequence[datetime], rows: Sequence[CsvRow]) -> timedelta:
    """Return the common distance of ``starts``, which are those of ``rows``.

    Raises:
        InvalidDataFile: There is one row only, or one is out of order, missing or there twice.
    """
    if len(starts) < 2:
        fix = "give at least two, so that their length is known"
        raise InvalidDataFile("rows", len(starts), fix, where=str(rows[0].path))
    step = starts[1] - starts[0]
    for (earlier, later), row in zip(pairwise(starts), rows[1:], strict=True):
        if later - earlier != step or step <= timedelta(0):
            expected = earlier + max(step, timedelta(0))
            fix = f"{expected:%Y-%m-%dT%H:%MZ} must follow {earlier:%Y-%m-%dT%H:%MZ}; no row may lack or repeat"
            raise InvalidDataFile(f"line {row.line}", later.isoformat(), fix, where=str(row.path))
    return step


def csv_header(path: Path) -> list[str]:
    """Return the column names of a CSV file.

    Raises:
        InvalidDataFile: The file cannot be read or is empty.
    """
    text = read_text(path)
    lines = _csv_lines(path, text, _separator(text))
    if not lines or not lines[0][1]:
        raise InvalidDataFile("file", str(path), "give a header line and rows")
    return lines[0][1]


def _csv_lines(path: Path, text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Cells of each record, with the line on which it ends."""
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        return [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise InvalidDataFile("file", str(path), f"must be CSV ({error})") from error


def _separator(text: str) -> str:
    return ";" if ";" in text.partition("\n")[0] else ","
