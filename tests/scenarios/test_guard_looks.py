"""The study of the guard's looks measures looks at which nothing is asked for."""

from __future__ import annotations

import pytest

from optimizer.control.guard import decide
from scenarios.studies.guard_looks import LIMIT_KW, SETTINGS, looks_ms, site_of, view_of


def test_every_vehicle_counts_at_its_limit() -> None:
    bounds = decide(view_of(site_of(3)), (), SETTINGS).bounds
    assert [bound.may_kw for bound in bounds.values()] == pytest.approx([LIMIT_KW] * 3)
    assert all(bound.steerable for bound in bounds.values())


def test_looks_are_measured() -> None:
    first_ms, next_ms = looks_ms(20, 3)
    assert first_ms > 0.0
    assert next_ms > 0.0
