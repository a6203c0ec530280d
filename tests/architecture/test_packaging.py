"""What is installed holds everything that the program reads: no package and no file beside one is left behind."""

import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTENT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
TOP = ("optimizer", "connectors", "scenarios", "api")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", *TOP], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("no repository: nothing tells which files belong to the project")
    return [Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def shipped_beside_code() -> set[Path]:
    patterns = CONTENT["package-data"]
    found: set[Path] = set()
    for package in CONTENT["packages"]:
        folder = ROOT / package.replace(".", "/")
        for pattern in (*patterns.get("*", ()), *patterns.get(package, ())):
            found |= {path.relative_to(ROOT) for path in folder.glob(pattern) if path.is_file()}
    return found


def test_every_package_is_shipped() -> None:
    """Folders that hold only files to read are named, too: setuptools doubts them at every installation otherwise."""
    folders = {str(path.parent).replace("/", ".") for path in tracked()}
    assert set(CONTENT["packages"]) == folders


def test_every_file_beside_code_is_shipped() -> None:
    beside = {path for path in tracked() if path.suffix != ".py"}
    assert beside - shipped_beside_code() == set()
