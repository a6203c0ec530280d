"""Where nothing can be written is told before long work."""

import os
from pathlib import Path

import pytest

from optimizer.errors import InvalidInput
from scenarios.targets import check_target


def test_what_can_be_written_is_left_alone(tmp_path: Path) -> None:
    check_target("--json", None)
    check_target("--json", tmp_path / "new.json")
    (tmp_path / "old.json").write_text("old")
    check_target("--json", tmp_path / "old.json")
    assert (tmp_path / "old.json").read_text() == "old"
    assert not (tmp_path / "new.json").exists()


def test_what_cannot_be_written_is_named_with_its_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match=r"--json = .*make the folder"):
        check_target("--json", tmp_path / "none" / "out.json")
    with pytest.raises(InvalidInput, match=r"--csv = .*this is a folder"):
        check_target("--csv", tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InvalidInput, match=r"--report = .*name a file that may be written"):
        check_target("--report", tmp_path / "out.html")
