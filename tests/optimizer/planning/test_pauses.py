"""When a plan pauses a vehicle: not for next to nothing, and not more often than it stands."""

from __future__ import annotations

from itertools import pairwise

import pytest
from planning_cases import ONE_PHASE, THREE_PHASE, problem, request

from optimizer.planning.problem import ChargingProblem
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.solve import plan_charging

LEAST_KW = 1.38
"""Six amperes on one phase."""


def powers_kw(stated: ChargingProblem) -> list[float]:
    (vehicle,) = plan_charging(stated, PlanningSettings()).plan.sessions
    return [round(power_kw, 2) for power_kw in vehicle.power_kw]


def starts(powers: list[float], *, charging: bool) -> int:
    before = [1.0 if charging else 0.0, *powers]
    return sum(was == 0.0 and now > 0.0 for was, now in pairwise(before))


PAUSES = [
    # case, price of the quarter-hour that begins now, whether it is charged in
    ("a tenth of a cent dearer", 0.301, True),
    ("no dearer", 0.300, True),
    ("one cent dearer", 0.310, True),
    ("five cents dearer", 0.350, False),
]


@pytest.mark.parametrize(("case", "price", "charges"), PAUSES, ids=[case[0] for case in PAUSES])
def test_the_least_current_is_preferred_to_a_pause_where_it_costs_little(
    case: str, price: float, charges: bool
) -> None:
    """A vehicle that charges by the plan before needs 4 kWh in an hour, for which three quarter-hours would do."""
    car = request("car", 4.0, 1, ONE_PHASE, charging_now=True, previous_kw=(7.36, 4.0, 4.0, 0.0))
    planned = powers_kw(problem([car], slots=4, minutes=15, prices=[price, 0.30, 0.30, 0.30]))
    assert (planned[0] >= LEAST_KW - 0.01) is charges, (case, planned)
    assert starts(planned, charging=True) == (0 if charges else 1)
    assert sum(planned) / 4 == pytest.approx(4.0, abs=0.05)


@pytest.mark.parametrize(
    ("case", "left", "charging"),
    [("may start once", 1, False), ("may start three times", 3, False), ("does not wake: never again", 0, True)],
)
def test_a_vehicle_is_not_started_more_often_than_it_stands(case: str, left: int, charging: bool) -> None:
    """Prices change each quarter-hour, and would have it charge in every other one."""
    car = request("car", 12.0, 4, THREE_PHASE, charging_now=charging, starts_left=left)
    planned = powers_kw(problem([car], slots=16, minutes=15, prices=[0.05, 0.95] * 8))
    assert starts(planned, charging=charging) <= left, (case, planned)
    assert sum(planned) / 4 == pytest.approx(12.0, abs=0.05), "what it needs is served all the same"
