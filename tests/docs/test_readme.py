"""What the documents say is what runs: their commands, their code, the files and targets they name."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "ARCHITECTURE.md")
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")

# Commands that run for minutes or for ever; each is run for real by the test named, or checked in another way below.
RUN_ELSEWHERE = {
    "chargehorizon demo": "tests/end_to_end/test_garage_day.py",
    "chargehorizon serve": "tests/end_to_end/test_garage_day.py",
    "chargehorizon record": "tests/api/test_cli_record.py",
    "chargehorizon bench": "tests/scenarios",
    "chargehorizon replay": "tests/api/test_cli_replay.py",
    "chargehorizon compare": "tests/api/test_cli_replay.py",
    "curl": "tests/api",
    "chargehorizon stations": "tests/docs/test_station_commands.py",
    "openssl": "tests/docs/test_station_commands.py",
}


def _blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for document in DOCUMENTS:
        for number, match in enumerate(FENCE.finditer((ROOT / document).read_text(encoding="utf-8"))):
            if match.group(1) == language:
                found.append((f"{document}-{number}", match.group(2)))
    return found


def _commands() -> list[str]:
    lines = []
    for _, block in _blocks("sh"):
        joined = block.replace("\\\n", " ")
        lines += [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return lines


@pytest.mark.parametrize("command", sorted(set(_commands())))
def test_every_command_of_the_documents_works(command: str, tmp_path: Path) -> None:
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, check=True, capture_output=True)
        return
    for start, where in RUN_ELSEWHERE.items():
        if command.startswith(start):
            assert (ROOT / where).exists()
            if start.startswith("chargehorizon"):
                _has_help(start)
            return
    if words[0] in ("git", "cd", "export"):
        return
    assert words[0] == "chargehorizon", f"unknown command in a document: {command}"
    for name in ("api", "scenarios"):
        (tmp_path / name).symlink_to(ROOT / name)
    _chargehorizon(words[1:], tmp_path)


def _exported() -> dict[str, str]:
    """What the documents tell people to export."""
    exports = [shlex.split(command, comments=True)[1] for command in _commands() if command.startswith("export ")]
    return dict(export.split("=", 1) for export in exports)


@cache
def _has_help(command: str) -> None:
    _chargehorizon([*command.split()[1:], "--help"], ROOT)


def _chargehorizon(arguments: list[str], folder: Path) -> None:
    environment = {**os.environ, **_exported(), "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    subprocess.run(
        [sys.executable, "-m", "api", *arguments], cwd=folder, check=True, capture_output=True, env=environment
    )


@pytest.mark.parametrize(("place", "code"), _blocks("python"), ids=lambda value: value if "\n" not in value else "")
def test_every_code_block_runs(place: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(code, place, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_linked_file_exists(document: str) -> None:
    missing = [target for target in LINK.findall((ROOT / document).read_text()) if not (ROOT / target).exists()]
    assert not missing


def test_yaml_blocks_of_the_readme_are_accepted(tmp_path: Path) -> None:
    blocks = [block for place, block in _blocks("yaml") if place.startswith("README")]
    assert blocks, "the README shows a configuration"
    for number, block in enumerate(blocks):
        path = tmp_path / f"site{number}.yaml"
        path.write_text(block)
        shutil.copy(ROOT / "api/example_tariff.yaml", tmp_path / "tariff.yaml")
        _chargehorizon(["config", "check", str(path)], tmp_path)
