"""Sizes, names and habits of STYLE that a machine can check."""

from __future__ import annotations

import ast
import re
import tomllib

import pytest
from source_tree import ROOT, FunctionNode, SourceFile, source_files

LONGEST_BODY = 60
LONGEST_FILE = 700

BROAD_EXCEPT_PLACES = {
    "optimizer/control/loop.py": "the supervisor of the control loop",
    "api/app.py": "the HTTP error middleware",
    "connectors/ocpp/transport.py": "the message handler of one station",
}

UNIT_SUFFIXES = (
    "_kw", "_kwh", "_a", "_v", "_w", "_wh", "_va", "_hz", "_h", "_s", "_ms", "_minutes", "_hours", "_days", "days_left",
    "_per_kwh", "_per_kw", "_per_kwh_at", "_a_per_kw", "_kw_per_kwh", "_deg", "_c", "_w_per_m2", "_m_per_s", "_hpa", "_kg", "_mb", "_mib",
    "_s_p50", "_s_p99", "_per_year", "_per_month", "_per_s", "_per_minute",
)  # fmt: skip
DIMENSIONLESS = re.compile(
    r"^prefer_|^(permitted|greatest|limit)$|(^|_)(soc|efficiency|weight|share|gap|ratio|probability|factor|speed|tolerance|turbidity|albedo|exponent"
    r"|worth|money|cost|chance|curve|care|objective|bound|value|amount|price|coefficient|fraction|quantile|caution|rate|jitter|dual|budget)s?($|_)"
)
FORBIDDEN_NAMES = {"data", "info", "manager", "utils", "helper", "common", "helpers"}


def _body_lines(function: FunctionNode) -> int:
    body = function.body
    first = body[1] if len(body) > 1 and ast.get_docstring(function) else body[0]
    assert function.end_lineno is not None
    return function.end_lineno - first.lineno + 1


@pytest.mark.parametrize("source", source_files(), ids=lambda source: source.name)
class TestEveryModule:
    def test_functions_fit_a_screen(self, source: SourceFile) -> None:
        too_long = {node.name: _body_lines(node) for node in source.functions() if _body_lines(node) > LONGEST_BODY}
        assert not too_long, f"bodies longer than {LONGEST_BODY} lines: {too_long}"

    def test_file_is_not_too_long(self, source: SourceFile) -> None:
        assert source.text.count("\n") <= LONGEST_FILE

    def test_broad_excepts_stand_in_three_places_only(self, source: SourceFile) -> None:
        broad = [
            node.lineno
            for node in ast.walk(source.tree)
            if isinstance(node, ast.ExceptHandler)
            and (
                node.type is None
                or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"})
            )
        ]
        allowed = 1 if source.name in BROAD_EXCEPT_PLACES else 0
        assert len(broad) <= allowed, f"broad except at lines {broad}"

    def test_float_fields_name_their_unit(self, source: SourceFile) -> None:
        if source.name == "scenarios/svg_charts.py":
            pytest.skip("places in a picture are of no unit")
        nameless = [
            f"{owner.name}.{field.target.id}"
            for owner in ast.walk(source.tree)
            if isinstance(owner, ast.ClassDef)
            for field in owner.body
            if isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and "float" in ast.unparse(field.annotation)
            and not field.target.id.endswith(UNIT_SUFFIXES)
            and not DIMENSIONLESS.search(field.target.id)
        ]
        assert not nameless, f"give a unit suffix, or a word known to be without unit: {nameless}"

    def test_names_say_something(self, source: SourceFile) -> None:
        assert source.path.stem not in FORBIDDEN_NAMES
        defined = {node.name for node in ast.walk(source.tree) if isinstance(node, FunctionNode | ast.ClassDef)}
        assert not defined & FORBIDDEN_NAMES

    def test_no_clock_is_read_outside_the_clocks(self, source: SourceFile) -> None:
        if source.name in {"connectors/clock.py", "scenarios/runner.py"}:
            return
        reads = re.findall(r"\bdatetime\.(?:now|utcnow|today)\(|\btime\.time\(\)|\bdate\.today\(\)", source.text)
        assert not reads, "take the time from the injected Clock"

    def test_dataclass_fields_are_documented(self, source: SourceFile) -> None:
        undocumented = [
            f"{owner.name}.{ast.unparse(field.target)}"
            for owner in ast.walk(source.tree)
            if isinstance(owner, ast.ClassDef) and _is_frozen_dataclass(owner) and not owner.name.startswith("_")
            for field, after in zip(owner.body, [*owner.body[1:], None], strict=True)
            if isinstance(field, ast.AnnAssign)
            and not ast.unparse(field.target).startswith("_")
            and not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant))
        ]
        assert not undocumented, f"put a one-line docstring under each field: {undocumented}"


def _is_frozen_dataclass(owner: ast.ClassDef) -> bool:
    return any(
        "dataclass" in ast.unparse(decorator) and "frozen=True" in ast.unparse(decorator)
        for decorator in owner.decorator_list
    )


def test_no_index_address_stands_in_a_file_that_installs() -> None:
    for name in ("pyproject.toml", "constraints.txt", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text()
        assert "index-url" not in text, name
        assert "simple/" not in text, name
        assert not re.search(r"(?<!-)\bpypi\.org", text), name


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    for extra in project["project"]["optional-dependencies"].values():
        wanted = wanted + extra
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    names = {re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-") for requirement in wanted}
    assert names <= pinned, names - pinned
