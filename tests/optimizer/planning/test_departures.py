"""What stated departures are worth: learnt from stays that ended, believed as far as the operator wants."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from planning_cases import NOW, hours, problem, request, session_of, snapshot

from optimizer.domain.session import DepartureTarget, Session, TargetSource
from optimizer.planning.assemble import problem_from_snapshot
from optimizer.planning.departures import FIRST_GUESS_STAYS, REMEMBERED_STAYS, DepartureRecord
from optimizer.planning.problem import ChargingProblem
from optimizer.planning.settings import ACN_STAY_CURVE, PlanningSettings
from optimizer.planning.solve import plan_charging

CAREFUL = PlanningSettings(departure_care=1.0, preferences=False)


def stay(share: float | None, *, source: TargetSource = TargetSource.API) -> Session:
    """A stay of four stated hours of which a share was stayed; ``None``: it lasts."""
    ended = None if share is None else NOW + timedelta(hours=4 * share)
    targets = (DepartureTarget(hours(4), energy_kwh=10.0, source=source),)
    return session_of("past", "e0", plugged_in_at=NOW, unplugged_at=ended, targets=targets)


def learnt_from(*stays: Session) -> DepartureRecord:
    record = DepartureRecord(ACN_STAY_CURVE)
    for one in stays:
        record.note(one)
    return record


@pytest.mark.parametrize(
    "says_nothing",
    [
        pytest.param(stay(None), id="it lasts"),
        pytest.param(stay(0.5, source=TargetSource.DEFAULT), id="its departure was assumed"),
        pytest.param(stay(0.5, source=TargetSource.LEARNT), id="its departure was learnt"),
        pytest.param(replace(stay(0.5), targets=()), id="no departure at all"),
        pytest.param(replace(stay(0.5), plugged_in_at=hours(5)), id="it came after it was to leave"),
    ],
)
def test_a_stay_that_tells_nothing_is_not_counted(says_nothing: Session) -> None:
    record = learnt_from(says_nothing)
    assert record.count == 0
    assert record.curve() == ACN_STAY_CURVE


def test_who_always_stays_is_trusted_more_and_more() -> None:
    chances = [dict(learnt_from(*[stay(1.1)] * count).curve())[1.0] for count in (0, 5, 50, 500)]
    assert chances == sorted(chances)
    assert chances[0] == pytest.approx(0.62)
    assert chances[-1] > 0.98


def test_as_many_stays_as_the_first_guess_counts_for_move_the_curve_half_way() -> None:
    curve = dict(learnt_from(*[stay(0.6)] * int(FIRST_GUESS_STAYS)).curve())
    assert curve[0.5] == pytest.approx((1.0 + 0.91) / 2)
    assert curve[0.75] == pytest.approx((0.0 + 0.82) / 2)
    assert curve[1.0] == pytest.approx((0.0 + 0.62) / 2)


def test_only_the_latest_stays_count() -> None:
    record = learnt_from(*[stay(0.1)] * 50, *[stay(1.2)] * REMEMBERED_STAYS)
    assert record.count == REMEMBERED_STAYS
    assert dict(record.curve())[0.25] > 0.99


def test_a_learnt_curve_is_one_that_settings_take() -> None:
    rng = np.random.default_rng(5)
    record = learnt_from(*[stay(float(share)) for share in rng.uniform(0.0, 1.3, 40)])
    assert PlanningSettings(stay_curve=record.curve()).stay_curve == record.curve()


def test_trust_weighs_nothing_and_care_weighs_the_chance_of_the_curve() -> None:
    session = session_of("car", "e0", plugged_in_at=NOW, targets=(DepartureTarget(hours(4), energy_kwh=10.0),))
    trusting = problem_from_snapshot(snapshot([session]), PlanningSettings())
    careful = problem_from_snapshot(snapshot([session]), CAREFUL)
    half = problem_from_snapshot(snapshot([session]), replace(CAREFUL, departure_care=0.5))
    last = int(np.flatnonzero(careful.slot_start_h < 4.0)[-1])
    expected = float(np.interp(careful.slot_start_h[last] / 4.0, *zip(*ACN_STAY_CURVE, strict=True)))
    assert (trusting.sessions.stay_chance == 1.0).all()
    assert careful.sessions.stay_chance[0, last] == pytest.approx(expected)
    assert half.sessions.stay_chance[0, last] == pytest.approx((1.0 + expected) / 2)


def test_who_is_still_there_has_not_left() -> None:
    session = session_of("car", "e0", plugged_in_at=hours(-2), targets=(DepartureTarget(hours(2), energy_kwh=10.0),))
    careful = problem_from_snapshot(snapshot([session]), CAREFUL)
    assert careful.sessions.stay_chance[0, 0] == 1.0


def four_hours_cheaper_at_the_end(chance: tuple[float, ...]) -> ChargingProblem:
    car = request("car", 7.0, 4, stay_chance=chance)
    return replace(problem([car], prices=[0.30, 0.30, 0.30, 0.25]), energy_worth_per_kwh=0.5)


@pytest.mark.parametrize(
    ("last_chance", "charges_in"),
    [
        pytest.param(1.0, 3, id="sure to stay: the cheap last hour"),
        pytest.param(0.95, 3, id="nearly sure: a saving of 0.05 is worth a risk of 0.025"),
        pytest.param(0.6, 0, id="may well leave: charged while it is surely there"),
    ],
)
def test_a_cheap_late_hour_is_weighed_against_the_chance_that_the_driver_has_left(
    last_chance: float, charges_in: int
) -> None:
    of = four_hours_cheaper_at_the_end((1.0, 0.999, 0.998, last_chance))
    power_kw = plan_charging(of, PlanningSettings(preferences=False)).plan.sessions[0].power_kw
    assert int(np.argmax(power_kw)) == charges_in
