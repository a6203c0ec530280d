"""How much a vehicle can take in whole slots."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from optimizer.planning.attainable import attainable_kwh


def by_trial(least: list[float], greatest: list[float], most: float) -> float:
    """The same by trying every choice of slots."""
    best = 0.0
    for on in product((0, 1), repeat=len(least)):
        low, high = float(np.dot(on, least)), float(np.dot(on, greatest))
        if low <= most + 1e-9:
            best = max(best, min(high, most))
    return best


@pytest.mark.parametrize(
    ("least", "greatest", "most", "expected"),
    [
        pytest.param([0.2] * 6, [0.2] * 6, 0.9, 0.8, id="a nearly full car takes whole slots only"),
        pytest.param([0.2] * 6, [0.2] * 6, 0.8, 0.8, id="a multiple stays what it is, rounding and all"),
        pytest.param([0.2] * 3, [0.2] * 3, 0.9, 0.9, id="a bound that no slots reach is left alone"),
        pytest.param([0.13, 0.2, 0.2], [0.13, 0.2, 0.2], 0.35, 0.33, id="the rest of the running slot helps"),
        pytest.param([0.2] * 6, [0.22] * 6, 0.35, 0.22, id="a little more than the minimum"),
        pytest.param([0.2] * 6, [0.3] * 6, 0.35, 0.3, id="a gap between one slot and two"),
        pytest.param([0.2] * 6, [0.3] * 6, 0.45, 0.45, id="two slots meet it"),
        pytest.param([0.2] * 6, [0.9] * 6, 0.35, 0.35, id="a car with room between minimum and maximum"),
        pytest.param([0.2] * 6, [0.9] * 6, 0.1, 0.0, id="less than one minimum"),
        pytest.param([0.2, 0.0], [0.2, 0.0], 0.1, 0.0, id="a slot in which it is not there"),
        pytest.param([], [], 0.5, 0.5, id="no slots"),
    ],
)
def test_what_slots_add_up_to(least: list[float], greatest: list[float], most: float, expected: float) -> None:
    assert attainable_kwh(np.array(least), np.array(greatest), most) == pytest.approx(expected, abs=1e-12)


def test_every_choice_of_slots_was_thought_of() -> None:
    rng = np.random.default_rng(7)
    for _ in range(200):
        least = rng.choice([0.1, 0.3, 0.35, 1.2], size=int(rng.integers(1, 9)))
        greatest = least * rng.choice([1.0, 1.1, 1.5, 2.0, 3.0])
        most = float(rng.uniform(0.0, 1.2 * greatest.sum()))
        found = attainable_kwh(least, greatest, most)
        if most < greatest.sum():
            assert found == pytest.approx(by_trial(least.tolist(), greatest.tolist(), most), abs=1e-7)
        else:
            assert found == most
