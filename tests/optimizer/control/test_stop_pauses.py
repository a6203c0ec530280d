"""Whose pause it is that a transaction ended, and which pauses are worth one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from bench import evse_at, plan_of, site_with

from optimizer.control.stop_pauses import is_long_pause, is_to_charge, was_stopped_by_us
from optimizer.domain.ids import EvseId, SessionId, SiteId, StationId, TransactionId
from optimizer.domain.metering import MeterSample
from optimizer.domain.moment import Interval
from optimizer.domain.plan import Plan
from optimizer.domain.session import Session

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
STAY = SessionId("s")


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def drew(after_min: float, power_kw: float) -> MeterSample:
    return MeterSample(StationId("A"), EvseId("E1"), NOON + minutes(after_min), power_kw=power_kw)


@pytest.mark.parametrize(
    ("case", "paused_min", "samples", "changed", "ours"),
    [
        ("stopped for a pause", (10, 20), [drew(9, 7.0), drew(10, 0.0)], {}, True),
        ("its meter goes on telling nothing", (10, 20), [drew(9, 7.0), drew(25, 0.0)], {}, True),
        ("the driver ended it, never paused", None, [drew(9, 7.0)], {}, False),
        ("the driver ended it after a pause", (10, 20), [drew(25, 7.0), drew(30, 0.0)], {}, False),
        ("it is in a transaction", (10, 20), [], {"transaction_id": TransactionId("7")}, False),
        ("its token was refused meanwhile", (10, 20), [], {"may_charge": False}, False),
    ],
)
def test_whose_pause_it_is(
    case: str, paused_min: tuple[int, int] | None, samples: list[MeterSample], changed: dict[str, object], ours: bool
) -> None:
    paused = () if paused_min is None else (Interval(NOON + minutes(paused_min[0]), NOON + minutes(paused_min[1])),)
    session = Session(STAY, SiteId("x"), EvseId("E1"), plugged_in_at=NOON, paused=paused, **changed)  # type: ignore[arg-type]
    assert was_stopped_by_us(session, samples) is ours, case


def plan(*powers_kw: float) -> Plan:
    """Slots of a quarter of an hour from noon on."""
    return plan_of(NOON, site_with([evse_at("E1")]), {STAY: (EvseId("E1"), powers_kw)})


@pytest.mark.parametrize(
    ("case", "made", "after_min", "long_pause", "to_charge"),
    [
        ("charges now", plan(7.0, 0.0, 0.0, 7.0), 0, False, True),
        ("a pause of a quarter of an hour", plan(0.0, 7.0), 0, True, False),
        ("it is shorter than that from now on", plan(0.0, 7.0), 1, False, False),
        ("nothing follows: it is done", plan(0.0, 0.0), 0, False, False),
        ("the plan has run out", plan(0.0, 7.0), 31, False, False),
    ],
)
def test_which_pauses_end_a_transaction(
    case: str, made: Plan, after_min: float, long_pause: bool, to_charge: bool
) -> None:
    now = NOON + minutes(after_min)
    assert (is_long_pause(made, STAY, now), is_to_charge(made, STAY, now)) == (long_pause, to_charge), case


def test_a_vehicle_that_no_plan_knows_is_left_alone() -> None:
    assert not is_long_pause(plan(0.0, 7.0), SessionId("other"), NOON)
    assert not is_to_charge(plan(7.0), SessionId("other"), NOON)
