"""Stations put into a configuration and taken out of it, by the line: whatever people wrote stays as it stands."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import yaml

from api.configuration_edits import one_line, with_item, without_item
from optimizer.errors import InvalidConfiguration

STATIONS = ("site", "stations")
NEW = "{id: new}"

ADDED = {
    "after the last item": ("site:\n  stations:\n    - id: a\n      evses: [{x: 1}]\n    # after\nother: 1\n",
                            "site:\n  stations:\n    - id: a\n      evses: [{x: 1}]\n    - {id: new}\n    # after\nother: 1\n"),
    "not indented": ("site:\n  stations:\n  - {id: a}   # first\n\nother: 1\n",
                     "site:\n  stations:\n  - {id: a}   # first\n  - {id: new}\n\nother: 1\n"),
    "at the file's end": ("site:\n  stations:\n    - id: a", "site:\n  stations:\n    - id: a\n    - {id: new}\n"),
    "in one line": ("site:\n  stations: [{id: a}]  # few\n", "site:\n  stations: [{id: a}, {id: new}]  # few\n"),
    "in an empty list": ("site:\n  stations: []\n", "site:\n  stations: [{id: new}]\n"),
    "a list that was missing": ("site:\n  id: s\n  groups:\n    - {a: 1}\n# end\n",
                                "site:\n  id: s\n  groups:\n    - {a: 1}\n  stations:\n    - {id: new}\n# end\n"),
    "a section in one line": ("site: {id: s}\n", "site: {id: s, stations: [{id: new}]}\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", ADDED, ids=str)
def test_an_item_is_added(case: str) -> None:
    before, after = ADDED[case]
    assert with_item(before, STATIONS, NEW) == after
    assert yaml.safe_load(after)["site"]["stations"][-1] == {"id": "new"}


REMOVED: dict[str, tuple[str, str | None]] = {
    "one of two": ("site:\n  stations:\n    # north\n    - {id: a}\n    - id: b\n      evses:\n        - {x: 1}\n    # end\n",
                   "site:\n  stations:\n    # north\n    - {id: a}\n    # end\n"),
    "the first": ("site:\n  stations:\n    - id: b\n      evses: [{x: 1}]\n    - {id: a}\n",
                  "site:\n  stations:\n    - {id: a}\n"),
    "the only one": ("site:\n  stations:  # all\n    # north\n    - {id: b}\nother: 1\n",
                     "site:\n  stations: []  # all\n    # north\nother: 1\n"),
    "one that is not there": ("site:\n  stations:\n    - {id: a}\n", None),
    "no list": ("site: {id: s}\n", None),
    "no section": ("other: 1\n", None),
}  # fmt: skip


@pytest.mark.parametrize("case", REMOVED, ids=str)
def test_an_item_is_taken_out(case: str) -> None:
    before, after = REMOVED[case]
    assert without_item(before, STATIONS, "id", "b") == after
    if after is not None:
        assert all(one["id"] != "b" for one in yaml.safe_load(after)["site"]["stations"])


WRONG: dict[str, tuple[str, Sequence[str]]] = {
    "no section on the way": ("other: 1\n", STATIONS),
    "a word for a list": ("site: {stations: many}\n", STATIONS),
    "a word for a section": ("site: here\n", STATIONS),
}


@pytest.mark.parametrize("case", WRONG, ids=str)
def test_what_cannot_be_changed_is_told(case: str) -> None:
    text, path = WRONG[case]
    with pytest.raises(InvalidConfiguration):
        with_item(text, path, NEW)


def test_an_item_of_a_list_in_one_line_is_taken_out_by_hand() -> None:
    with pytest.raises(InvalidConfiguration, match="by hand"):
        without_item("site:\n  stations: [{id: b}]\n", STATIONS, "id", "b")


@pytest.mark.parametrize(
    "value", ["main", "a: b", "on", "007", "1.5", "#1", "", 32.0, True, {"a": [1, "x,y"]}], ids=repr
)
def test_a_value_in_one_line_reads_as_itself(value: object) -> None:
    assert yaml.safe_load(one_line({"field": value})) == {"field": value}
