"""What of a demand charge a plan sees: what counts as reached, what is still to come, and the price beyond."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from planning_cases import NOW, request, snapshot

from optimizer.domain.series import PowerSeries
from optimizer.domain.snapshot import DemandState
from optimizer.domain.tariff import DemandCharge, TariffWindow
from optimizer.planning.assemble import problem_from_snapshot
from optimizer.planning.demand_terms import demand_terms, pressing_kw
from optimizer.planning.requests import ChargingRequest, DemandTerm
from optimizer.planning.settings import PlanningSettings

CHARGE = DemandCharge("peak", Decimal(15))
STATE = DemandState(CHARGE, peak_so_far_kw=4.0, month_days_left=10.0, interval_energy_kwh=0.5)
HOUR = timedelta(hours=1)
BOUNDARIES = tuple(NOW + HOUR * hour for hour in range(7))
EMPTY = replace(snapshot([]), building=PowerSeries((NOW, NOW + 6 * HOUR), (0.0,)), demand=(STATE,))


def needing(energy_kwh: float, by_h: float) -> ChargingRequest:
    return request("car", energy_kwh, by_h)


@pytest.mark.parametrize(
    ("case", "requests", "needed_kw"),
    [
        ("nobody", [], 0.0),
        ("8 kWh in four hours", [needing(8.0, 4)], 2.0),
        ("who leaves first presses most", [needing(8.0, 4), needing(6.0, 2)], 3.5),
        ("one who is overdue presses no more", [needing(8.0, -1)], 0.0),
    ],
)
def test_what_present_vehicles_press_for(case: str, requests: list[ChargingRequest], needed_kw: float) -> None:
    assert pressing_kw(EMPTY, BOUNDARIES, requests) == pytest.approx(needed_kw), case


def test_the_building_presses_too() -> None:
    of = replace(EMPTY, building=PowerSeries((NOW, NOW + 2 * HOUR, NOW + 4 * HOUR), (10.0, 6.0)))
    assert pressing_kw(of, BOUNDARIES, [needing(8.0, 4)]) == pytest.approx(2.0 + 8.0)


@pytest.mark.parametrize(
    ("case", "changed", "settings", "reached_kw", "price_per_kw"),
    [
        ("nothing learnt: some room above what presses", {}, {}, 1.2 * 8.0, 15.0),
        ("learnt", {"learnt_peak_kw": 6.0}, {}, 6.0, 15.0),
        ("learnt below what is reached", {"learnt_peak_kw": 3.0}, {}, 4.0, 15.0),
        ("the operator's hint is greater", {"learnt_peak_kw": 6.0, "peak_hint_kw": 9.0}, {}, 9.0, 15.0),
        ("hints are not wanted", {"learnt_peak_kw": 6.0, "peak_hint_kw": 9.0}, {"use_peak_hint": False}, 6.0, 15.0),
        ("no room", {}, {"peak_headroom_factor": 0.0}, 4.0, 15.0),
        ("spread over the days left", {"learnt_peak_kw": 6.0}, {"spread_demand_price": True}, 6.0, 1.5),
    ],
)
def test_up_to_where_a_peak_costs_nothing_more(
    case: str, changed: dict[str, float], settings: dict[str, float], reached_kw: float, price_per_kw: float
) -> None:
    of = replace(EMPTY, demand=(replace(STATE, **changed),))  # type: ignore[arg-type]
    (term,) = demand_terms(of, PlanningSettings(**settings), BOUNDARIES, [needing(8.0, 1)])  # type: ignore[arg-type]
    assert (term.reached_kw, term.price_per_kw) == pytest.approx((reached_kw, price_per_kw)), case


def _terms(charge: DemandCharge, still_to_come: PowerSeries | None = None, **settings: float) -> list[DemandTerm]:
    of = replace(EMPTY, demand=(replace(STATE, charge=charge, still_to_come=still_to_come),))
    return demand_terms(of, PlanningSettings(**settings), BOUNDARIES)  # type: ignore[arg-type]


def test_intervals_outside_the_window_do_not_count() -> None:
    half_day = TariffWindow(start=(NOW + HOUR).time(), end=(NOW + 3 * HOUR).time())
    assert [len(term.intervals) for term in _terms(CHARGE)] == [24]
    assert [len(term.intervals) for term in _terms(replace(CHARGE, window=half_day))] == [8]


def test_who_is_still_to_come_counts_in_the_intervals_of_the_peak() -> None:
    series = PowerSeries((NOW + HOUR, NOW + 2 * HOUR, NOW + 3 * HOUR), (5.0, 7.0))
    _, together = _terms(CHARGE, series, near_slots=0)
    assert list(together.expected_kw) == [0.0] * 4 + [5.0] * 4 + [7.0] * 4 + [0.0] * 12
    of = replace(EMPTY, demand=(replace(STATE, still_to_come=series),))
    problem = problem_from_snapshot(of, PlanningSettings())
    # The running interval has its metered part, the later ones what is expected.
    assert problem.demand.metered_kw[0] == pytest.approx(0.5 / 0.25)
    assert problem.demand.metered_kw.max() == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("case", "share", "parts"),
    [
        ("a peak for those to come counts a little less", 0.8, [(3.0, 0.0), (12.0, 5.0)]),
        ("as much as any", 1.0, [(15.0, 5.0)]),
        ("not at all", 0.0, [(15.0, 0.0)]),
    ],
)
def test_what_those_to_come_add_counts_by_its_share(case: str, share: float, parts: list[tuple[float, float]]) -> None:
    series = PowerSeries((NOW + HOUR, NOW + 2 * HOUR), (5.0,))
    terms = _terms(CHARGE, series, expected_demand_share=share, near_slots=0)
    seen = [(term.price_per_kw, max(term.expected_kw, default=0.0)) for term in terms]
    assert seen == [pytest.approx(part) for part in parts], case
    assert sum(term.price_per_kw for term in terms) == pytest.approx(15.0)


def test_until_the_next_plan_the_room_is_that_of_the_present() -> None:
    series = PowerSeries((NOW, NOW + HOUR, NOW + 3 * HOUR), (5.0, 7.0))
    _, together = _terms(CHARGE, series, near_slots=1)
    assert list(together.expected_kw) == [0.0] * 4 + [7.0] * 8 + [0.0] * 12
    assert len(_terms(CHARGE, series, near_slots=6)) == 1


def test_a_higher_demand_price_puts_off_less() -> None:
    prices = [
        problem_from_snapshot(
            replace(EMPTY, demand=(replace(STATE, charge=replace(CHARGE, price_per_kw=Decimal(price))),)),
            PlanningSettings(),
        ).delay_price_per_kwh_h
        for price in (0, 15, 30)
    ]
    assert prices == pytest.approx([2e-5, 15 * 1.8e-4, 30 * 1.8e-4])
