"""Files as people and programs write them: quoted, with semicolons, with a byte-order mark; refused by line where not."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import BaseModel

from connectors.documents import checked, csv_header, read_csv, read_json, read_text, read_yaml
from optimizer.errors import InvalidDataFile


def written(tmp_path: Path, content: str | bytes) -> Path:
    file = tmp_path / "figures.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


class TestCsv:
    @pytest.mark.parametrize(
        ("text", "cells"),
        [
            pytest.param("a,b\n1,2.5\n", {"a": "1", "b": "2.5"}, id="commas"),
            pytest.param("a;b\n1;2,5\n", {"a": "1", "b": "2.5"}, id="semicolons and decimal commas"),
            pytest.param('"a","b"\n"1","2.5"\n', {"a": "1", "b": "2.5"}, id="quoted, the header too"),
            pytest.param('a,b\n1,"two, or so"\n', {"a": "1", "b": "two, or so"}, id="a separator in quotes"),
            pytest.param(
                "\ufeffa , b\r\n1 , 2.5 \r\n\r\n", {"a": "1", "b": "2.5"}, id="spaces, byte-order mark, blank line"
            ),
        ],
    )
    def test_one_row_reads_alike_however_it_is_written(self, tmp_path: Path, text: str, cells: dict[str, str]) -> None:
        (row,) = read_csv(written(tmp_path, text), ("a", "b"))
        assert row.cells == cells
        assert row.line == 2

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            pytest.param("", "must have a column a", id="empty"),
            pytest.param("a,b\n", "at least one row", id="header alone"),
            pytest.param("a,c\n1,2\n", "header = 'a,c': must have a column b", id="column missing"),
            pytest.param("a,b\n1,2\n\n3\n", r"line 4 = '3': give 2 cells", id="short row after a blank one"),
            pytest.param('a,b\n"1"x,2\n', "must be CSV", id="text after a closing quote"),
            pytest.param(b"a,b\n\xff\xfe,2\n", "save it as UTF-8", id="another encoding"),
        ],
    )
    def test_what_cannot_be_read_is_refused(self, tmp_path: Path, content: str | bytes, message: str) -> None:
        with pytest.raises(InvalidDataFile, match=message) as caught:
            read_csv(written(tmp_path, content), ("a", "b"))
        assert "figures.txt" in str(caught.value)

    def test_a_header_is_needed(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidDataFile, match="give a header line"):
            csv_header(written(tmp_path, ""))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataFile, match="give a readable file"):
        read_text(tmp_path)


def test_json_keeps_every_digit(tmp_path: Path) -> None:
    assert read_json(written(tmp_path, '{"price": 0.10000000000000000001}')) == {
        "price": Decimal("0.10000000000000000001")
    }


def test_yaml_keeps_what_looks_like_a_time_a_day_or_a_country(tmp_path: Path) -> None:
    text = "at: 12:00\nday: 06-01\ncountry: NO\nprice: 0.10\n"
    assert read_yaml(written(tmp_path, text)) == {"at": "12:00", "day": "06-01", "country": "NO", "price": "0.10"}


@pytest.mark.parametrize("text", ["a: [1", "a: 1\n\tb: 2", "a: \x07"])
def test_what_is_no_yaml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidDataFile, match="must be YAML"):
        read_yaml(written(tmp_path, text))


class Inner(BaseModel):
    """A part."""

    count: int


class Outer(BaseModel):
    """A whole."""

    parts: list[Inner]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param({"parts": [{"count": "3"}, {"count": "many"}]}, r"parts\.1\.count = 'many'", id="deep inside"),
        pytest.param({"parts": [{}]}, r"parts\.0\.count = 'nothing': Field required", id="missing"),
        pytest.param([], "file = ", id="another kind of document"),
    ],
)
def test_the_first_field_that_does_not_fit_is_named(content: object, message: str) -> None:
    with pytest.raises(InvalidDataFile, match=message):
        checked(Outer, content, Path("figures.yaml"))
