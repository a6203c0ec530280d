"""The notebooks run, tell their conclusions in computed numbers, are stored without output, and use public names only."""

from __future__ import annotations

import ast
import importlib
import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
OURS = ("api", "connectors", "optimizer", "scenarios")

SHORTENED = {
    "1_first_plan": "",
    "2_battery_and_pv": (
        "days, batteries_kwh, arrays_kw = 2, [0, 50], [0, 30]\nchecked_from, checked_days = '2019-08-04', 1"
    ),
    "3_more_chargers": "start, days, groups, strategies = '2019-03-16', 1, [1, 2], ['least_laxity']",
    "4_tariffs": "start, days, strategy = '2019-08-04', 1, 'equal_share'",
    "5_v2g_and_a_grid_event": (
        "shares = [0.0, 0.1, 1.0]\n"
        "depot_changes = {'replan.every_minutes': 60, 'replan.at_events': False, 'planning.proof_time_s': 0}"
    ),
    "6_a_law_of_ones_own": "shares = [0.0, 0.5]",
}
"""What goes behind a notebook's parameters, so that it takes seconds."""


def _book(name: str) -> Any:
    return nbformat.read(NOTEBOOKS[name], as_version=4)


def _code(name: str) -> list[str]:
    return [cell.source for cell in _book(name).cells if cell.cell_type == "code"]


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def test_every_notebook_has_a_short_form() -> None:
    assert set(SHORTENED) == set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
class TestEveryNotebook:
    def test_it_runs_draws_and_concludes(self, name: str) -> None:
        book = _book(name)
        place = next(i for i, cell in enumerate(book.cells) if "parameters" in cell.metadata.get("tags", []))
        book.cells.insert(place + 1, nbformat.v4.new_code_cell(SHORTENED[name]))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::DeprecationWarning:__main__"}
        NotebookClient(book, timeout=300, kernel_name="python3").execute(env=environment)
        outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
        assert any("image/png" in output.get("data", {}) for output in outputs)
        conclusion = book.cells[-1].outputs[-1].data["text/markdown"]
        assert "**" in conclusion
        assert "nan" not in conclusion

    def test_it_is_stored_without_output(self, name: str) -> None:
        for cell in _book(name).cells:
            if cell.cell_type == "code":
                assert cell.outputs == []
                assert cell.execution_count is None

    def test_it_uses_public_names_only(self, name: str) -> None:
        for node in (node for code in _code(name) for node in ast.walk(ast.parse(code))):
            if isinstance(node, ast.Import):
                assert not any(alias.name.split(".")[0] in OURS for alias in node.names), "import names, not modules"
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OURS:
                public = importlib.import_module(node.module).__all__
                assert {alias.name for alias in node.names} <= set(public)

    def test_its_conclusion_is_computed(self, name: str) -> None:
        """Every number in it stands in braces or is a format; none is typed."""
        last = _code(name)[-1]
        call = next(
            node for node in ast.walk(ast.parse(last)) if isinstance(node, ast.Call) and _name(node.func) == "Markdown"
        )
        formats = {id(node.format_spec) for node in ast.walk(call) if isinstance(node, ast.FormattedValue)}
        texts = [
            piece.value
            for part in ast.walk(call)
            if isinstance(part, ast.JoinedStr) and id(part) not in formats
            for piece in part.values
            if isinstance(piece, ast.Constant)
        ]
        assert texts
        assert not any(character.isdigit() for text in texts for character in text)
