"""Rows of CSV files, with every fault told by file and line."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from io import StringIO
from pathlib import Path

from optimizer.errors import InvalidDataFile


def read_rows(path: Path, columns: Collection[str], delimiter: str = ",") -> Iterator[tuple[int, dict[str, str]]]:
    """Each row below the header, with its line.

    Raises:
        InvalidDataFile: The file cannot be read, lacks one of ``columns``, or a row is not as long as the header.
    """
    reader = csv.reader(StringIO(read_text(path), newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        missing = sorted(set(columns) - set(header))
        if missing:
            fix = f"add {missing}, separated by {delimiter!r}"
            raise InvalidDataFile("columns", header, fix, where=f"{path}:1")
        for values in reader:
            if len(values) != len(header):
                fix = f"give {len(header)} columns, as the header"
                raise InvalidDataFile("columns", len(values), fix, where=f"{path}:{reader.line_num}")
            yield reader.line_num, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise InvalidDataFile("line", str(error), "give valid CSV", where=f"{path}:{reader.line_num}") from error


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
        InvalidDataFile: It cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidDataFile("path", str(path), f"give a readable file ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InvalidDataFile("(whole file)", str(error), "save the file as UTF-8", where=str(path)) from error
