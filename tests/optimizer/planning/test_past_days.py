"""What past days say: the worth of a kW of peak, the peak a month reaches anyway, and who is still to come."""

from __future__ import annotations

import numpy as np
import pytest

from optimizer.planning.past_days import SPAN_SLOTS, PastDay, PeakWorth, StillToCome, peak_worth, sure_peak_kw
from optimizer.planning.problem import FloatArray

ALWAYS = np.ones(SPAN_SLOTS, dtype=bool)
FLAT = np.full(SPAN_SLOTS, 0.1)
PRICE_PER_KW = 15.0


def day(*stays: tuple[float, float, float, float], base_kw: float = 0.0) -> PastDay:
    """Stays as (plug-in h, plug-out h, kWh, kW)."""
    columns = np.array(stays, dtype=np.float64).reshape(len(stays), 4).T
    return PastDay(columns[0], columns[1], columns[2], columns[3], np.full(SPAN_SLOTS, base_kw))


def needed_kw(worth: PeakWorth) -> float:
    """Up to where a kW is worth its whole price."""
    whole = worth.saved_per_kw >= PRICE_PER_KW - 1e-9
    return float(worth.levels_kw[np.flatnonzero(whole)[-1] + 1]) if whole.any() else 0.0


@pytest.mark.parametrize(
    ("case", "past", "least_kw"),
    [
        ("nobody", day(), 0.0),
        ("one who has four hours for 8 kWh needs 2 kW", day((8, 12, 8, 10)), 2.0),
        ("two together", day((8, 12, 8, 10), (8, 12, 8, 10)), 4.0),
        ("one after the other", day((8, 10, 4, 10), (10, 12, 4, 10)), 2.0),
        ("the building comes on top", day((8, 12, 8, 10), base_kw=5.0), 7.0),
        ("a building alone", day(base_kw=5.0), 5.0),
    ],
)
def test_a_kw_that_serves_is_worth_its_price_and_one_more_nothing(case: str, past: PastDay, least_kw: float) -> None:
    worth = peak_worth(past, FLAT, ALWAYS, PRICE_PER_KW)
    step_kw = worth.levels_kw[1]
    assert needed_kw(worth) == pytest.approx(least_kw, abs=step_kw + 1e-9), case
    assert worth.at(np.array([least_kw + 2 * step_kw]))[0] == pytest.approx(0.0, abs=1e-6), case


def test_a_kw_is_worth_the_energy_it_moves_to_cheap_hours() -> None:
    price = FLAT.copy()
    price[48:] = 0.4  # from noon on
    worth = peak_worth(day((8, 16, 24, 20)), price, ALWAYS, PRICE_PER_KW)
    # Above the 3 kW that serve, each kW moves four hours of energy from 0.4 to 0.1, until all 24 kWh fit before noon.
    assert worth.at(np.array([4.5]))[0] == pytest.approx(4 * 0.3, rel=1e-6)
    assert worth.at(np.array([6.6]))[0] == pytest.approx(0.0, abs=1e-6)


def test_hours_that_the_charge_does_not_count_cost_no_peak() -> None:
    counts = np.zeros(SPAN_SLOTS, dtype=bool)
    counts[:40] = True
    assert needed_kw(peak_worth(day((8, 12, 8, 10)), FLAT, counts, PRICE_PER_KW)) == 0.0


def step_at(peak_kw: float) -> PeakWorth:
    levels = np.linspace(0.0, 60.0, 61)
    return PeakWorth(levels, np.where(levels[1:] <= peak_kw, PRICE_PER_KW, 0.0))


def test_the_sure_peak_is_unknown_until_a_day_of_the_commonest_kind_is_known() -> None:
    assert sure_peak_kw(([], [step_at(10.0)]), (20, 8), PRICE_PER_KW) is None
    assert sure_peak_kw(([step_at(20.0)], []), (20, 8), PRICE_PER_KW) is not None


def test_the_more_days_are_to_come_the_higher_the_sure_peak() -> None:
    past = ([step_at(20.0), step_at(24.0), step_at(30.0), step_at(26.0)], [step_at(8.0)])
    sure = [sure_peak_kw(past, (days, 2), PRICE_PER_KW) for days in (1, 5, 20)]
    assert sure[0] is not None
    assert sure[1] is not None
    assert sure[2] is not None
    assert sure[0] < sure[1] < sure[2]
    assert 28.0 < sure[2] < 40.0


def test_who_is_still_to_come_is_spread_over_the_stay_and_averaged_over_days() -> None:
    to_come = StillToCome([day((8, 12, 8, 10), (14, 16, 2, 10)), day()])

    def at(now_h: float, hour: float) -> float:
        power: FloatArray = to_come.after_kw(now_h)
        return float(power[int(hour * 4)])

    assert at(6.0, 9.0) == pytest.approx(1.0)
    assert at(6.0, 13.0) == 0.0
    assert at(6.0, 15.0) == pytest.approx(0.5)
    assert at(9.0, 10.0) == 0.0
    assert at(9.0, 15.0) == pytest.approx(0.5)
    assert at(15.0, 15.5) == 0.0
