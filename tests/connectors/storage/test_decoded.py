"""Rows that have not changed are not decoded again."""

from __future__ import annotations

from connectors.storage.decoded import DecodedRows


def test_a_row_is_decoded_once_until_it_changes() -> None:
    decoded: list[str] = []

    def decode(content: str) -> str:
        decoded.append(content)
        return content.upper()

    rows: DecodedRows[str, str, str] = DecodedRows()
    first = rows.value("a", "one", decode)
    assert rows.value("a", "one", decode) is first
    assert rows.value("b", "one", decode) == "ONE"
    assert rows.value("a", "two", decode) == "TWO"
    assert rows.value("a", "one", decode) == "ONE", "what it held before is not taken for what it holds now"
    assert decoded == ["one", "one", "two", "one"]


def test_rows_that_are_gone_are_forgotten() -> None:
    rows: DecodedRows[str, str, str] = DecodedRows()
    for key in "abc":
        rows.value(key, key, str.upper)
    rows.keep_only(["b"])
    decoded: list[str] = []
    rows.value("b", "b", lambda content: decoded.append(content) or content)
    rows.value("a", "a", lambda content: decoded.append(content) or content)
    assert decoded == ["a"]
