"""Limits in kW -> charging profiles."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.ocpp.capability import PlanPurpose, RateUnit, StationCapability
from connectors.ocpp.settings import Version
from connectors.ocpp.translate_profile import (
    ProfilePurpose,
    in_force_from,
    plan_profile,
    rounded_down,
    safe_default_profile,
)
from connectors.ocpp.v16_calls import Calls16
from connectors.ocpp.v201_calls import Calls201
from optimizer.domain.charger import LimitPeriod, shortened
from optimizer.domain.ids import CircuitId, EvseId, StationId, TransactionId
from optimizer.domain.site import CurrentType, Evse, Phase, Wiring

NOW = datetime(2026, 3, 2, 8, 0, 30, 500_000, tzinfo=UTC)
PLAIN = StationCapability()
TX = TransactionId("17")


def evse(**changes) -> Evse:
    plain = Evse(EvseId("e"), StationId("s"), 3, CircuitId("main"), max_current_a=32.0)
    return replace(plain, **changes)


ONE_PHASE = evse(phases=(Phase.L1,))
LINE_TO_LINE = evse(wiring=Wiring.LINE_TO_LINE, phases=(Phase.L2, Phase.L3), voltage_v=208.0)
DIRECT = evse(current_type=CurrentType.DC, max_current_a=250.0)


def at(minute: float, limit_kw: float) -> LimitPeriod:
    return LimitPeriod(NOW + timedelta(minutes=minute), limit_kw)


def profile(place=None, periods=None, capability=PLAIN, skew=timedelta(0), transaction_id=TX, begun_at=None):
    return plan_profile(
        place or evse(),
        periods or (at(0, 11.04),),
        capability,
        transaction_id=transaction_id,
        now=NOW,
        skew=skew,
        backdate=timedelta(seconds=60),
        begun_at=begun_at,
    )


def limits(made) -> list[float]:
    return [period.limit_value for period in made.periods]


@pytest.mark.parametrize(
    ("place", "capability", "limit_kw", "expected"),
    [
        pytest.param(evse(), PLAIN, 11.04, 16.0, id="three phases"),
        pytest.param(evse(), PLAIN, 4.14, 6.0, id="6 A survive the way through kW"),
        pytest.param(evse(), PLAIN, 11.1, 16.0, id="down to a tenth"),
        pytest.param(evse(), PLAIN, 11.2, 16.2, id="down to a tenth, not to the nearest"),
        pytest.param(ONE_PHASE, PLAIN, 3.68, 16.0, id="one phase"),
        pytest.param(LINE_TO_LINE, PLAIN, 6.656, 32.0, id="line to line: one path"),
        pytest.param(evse(), PLAIN, 99.0, 32.0, id="never above the EVSE"),
        pytest.param(evse(), PLAIN, 0.0, 0.0, id="pause"),
        pytest.param(evse(), PLAIN, -3.0, 0.0, id="less than nothing is nothing"),
        pytest.param(evse(), StationCapability(whole_amperes=True), 11.5, 16.0, id="whole amperes"),
        pytest.param(evse(), StationCapability(whole_amperes=True), 4.14, 6.0, id="whole amperes keep 6 A"),
        pytest.param(evse(), StationCapability(rate_unit=RateUnit.W), 11.0407, 11040.0, id="W"),
        pytest.param(DIRECT, PLAIN, 50.0, 50000.0, id="DC is told in W"),
        pytest.param(DIRECT, StationCapability(rate_unit=RateUnit.A), 69.0, 100.0, id="DC that takes A"),
    ],
)
def test_limit_in_the_stations_unit(place, capability, limit_kw, expected) -> None:
    assert rounded_down(place, limit_kw, capability) == expected


@given(st.floats(0, 40), st.sampled_from([evse(), ONE_PHASE, LINE_TO_LINE]), st.booleans())
def test_limit_is_never_rounded_up(limit_kw, place, whole) -> None:
    told_a = rounded_down(place, limit_kw, StationCapability(whole_amperes=whole))
    assert place.power_kw(told_a) <= limit_kw + 1e-6 * place.power_kw(1.0)
    assert round(told_a * 10) == pytest.approx(told_a * 10, abs=1e-9)


@given(st.integers(60, 320))
def test_tenths_of_an_ampere_survive_the_way_through_kw(tenths) -> None:
    for place in (evse(), ONE_PHASE, LINE_TO_LINE):
        assert rounded_down(place, place.power_kw(tenths / 10), PLAIN) == tenths / 10


@pytest.mark.parametrize(
    ("case", "unit", "limit_kw", "voltage_v", "expected"),
    [
        ("watts at the nominal voltage", RateUnit.W, 11.04, 230.0, 11040.0),
        ("watts at a low one: the same current", RateUnit.W, 11.04, 218.5, 10488.0),
        ("watts at a high one: no more than nominal", RateUnit.W, 11.04, 245.0, 11040.0),
        ("watts where nothing was measured", RateUnit.W, 11.04, None, 11040.0),
        ("a voltage that cannot be", RateUnit.W, 11.04, 23.0, 9384.0),
        ("the least current stays", RateUnit.W, 4.14, 218.5, 4140.0),
        ("and so does a pause", RateUnit.W, 0.0, 218.5, 0.0),
        ("amperes are amperes", RateUnit.A, 11.04, 218.5, 16.0),
    ],
)
def test_watts_follow_the_measured_voltage(case, unit, limit_kw, voltage_v, expected) -> None:
    capability = StationCapability(rate_unit=unit)
    told = plan_profile(
        evse(), (LimitPeriod(NOW, limit_kw),), capability,
        transaction_id=TX, now=NOW, skew=timedelta(0), backdate=timedelta(0), voltage_v=voltage_v,
    )  # fmt: skip
    assert told.periods[0].limit_value == expected, case


def test_the_night_in_which_clocks_change_is_as_long_as_it_is() -> None:
    """In Berlin the clocks go back at 01:00 UTC on 25 October 2026; schedules count seconds and know nothing of it."""
    evening = datetime(2026, 10, 24, 22, tzinfo=UTC)
    pieces = tuple(LimitPeriod(evening + timedelta(hours=hour), 4.14 + hour) for hour in range(6))
    told = plan_profile(
        evse(), pieces, PLAIN, transaction_id=TX, now=evening, skew=timedelta(0), backdate=timedelta(0)
    )  # fmt: skip
    assert [period.start_s for period in told.periods] == [3600 * hour for hour in range(6)]
    message = Calls201().set_profile(told)
    assert message.payload["chargingProfile"]["chargingSchedule"][0]["startSchedule"] == "2026-10-24T22:00:00Z"


class TestPeriods:
    def test_schedule_starts_in_the_past_and_later_periods_keep_their_time(self) -> None:
        made = profile(periods=(at(0, 11.04), at(15, 0.0), at(60, 4.14)))
        assert made.start_schedule == NOW - timedelta(seconds=60)
        assert [period.start_s for period in made.periods] == [0, 960, 3660]
        assert limits(made) == [16.0, 0.0, 6.0]

    def test_what_is_past_is_left_out(self) -> None:
        assert limits(profile(periods=(at(-30, 22.08), at(-10, 11.04), at(20, 4.14)))) == [16.0, 6.0]

    def test_first_limit_holds_at_once_even_if_it_begins_later(self) -> None:
        made = profile(periods=(at(5, 11.04), at(20, 4.14)))
        assert [(period.start_s, period.limit_value) for period in made.periods] == [(0, 16.0), (1260, 6.0)]

    def test_neighbours_with_one_limit_become_one(self) -> None:
        periods = (at(0, 11.04), at(15, 11.04), at(30, 4.14), at(45, 4.14))
        assert [period.start for period in in_force_from(periods, NOW)] == [NOW, NOW + timedelta(minutes=30)]

    def test_skewed_station_gets_its_own_time(self) -> None:
        assert profile(skew=timedelta(hours=1)).start_schedule == NOW + timedelta(minutes=59)

    @pytest.mark.parametrize(
        ("begun_at", "second_s"),
        [(None, 900), (NOW - timedelta(hours=2), 900 + 7200), (NOW + timedelta(seconds=3), 900)],
        ids=["a begin that is not known", "two hours in", "a clock ahead of ours"],
    )
    def test_relative_schedule_counts_from_the_begin_of_the_transaction(self, begun_at, second_s) -> None:
        pieces = (at(0, 11.04), at(15, 4.14))
        made = profile(periods=pieces, capability=StationCapability(absolute=False), begun_at=begun_at)
        assert made.start_schedule is None
        assert [period.start_s for period in made.periods] == [0, second_s]

    def test_absolute_schedule_does_not(self) -> None:
        made = profile(periods=(at(0, 11.04), at(15, 4.14)), begun_at=NOW - timedelta(hours=2))
        assert [period.start_s for period in made.periods] == [0, 960]

    def test_few_periods_join_where_least_is_lost(self) -> None:
        periods = (at(0, 10.0), at(15, 8.0), at(30, 7.9), at(45, 3.0), at(60, 4.14))
        kept = shortened(periods, 4)
        assert [period.limit_kw for period in kept] == [10.0, 7.9, 3.0, 4.14]

    def test_only_one_period_is_the_least_of_what_holds_now_and_the_safe_value(self) -> None:
        assert [period.limit_kw for period in shortened((at(0, 10.0), at(15, 2.0), at(30, 4.14)), 1)] == [2.0]

    @given(
        st.lists(st.tuples(st.integers(1, 90), st.floats(0, 22)), min_size=1, max_size=40),
        st.integers(1, 12),
    )
    def test_fewer_periods_never_permit_more(self, pieces, greatest_number) -> None:
        minute, periods = 0, []
        for length, limit_kw in pieces:
            periods.append(at(minute, limit_kw))
            minute += length
        kept = shortened(periods, greatest_number)
        assert len(kept) <= greatest_number
        assert kept[0].start == periods[0].start
        assert all(before.start < after.start for before, after in pairwise(kept))
        for probe in range(minute + 60):
            instant = NOW + timedelta(minutes=probe)
            assert in_force(kept, instant) <= in_force(periods, instant)
        if greatest_number >= 3 or len(periods) <= greatest_number:
            assert kept[-1] == periods[-1]


def in_force(periods, instant) -> float:
    return [period.limit_kw for period in periods if period.start <= instant][-1]


class TestLayers:
    def test_plan_is_a_tx_profile_of_its_transaction(self) -> None:
        made = profile()
        assert (made.purpose, made.transaction_id, made.profile_id) == (ProfilePurpose.PLAN, TX, 6)

    def test_without_a_transaction_the_plan_lies_above_the_safe_default(self) -> None:
        made = profile(transaction_id=None)
        assert (made.purpose, made.transaction_id) == (ProfilePurpose.SAFE_DEFAULT, None)
        safe = safe_default_profile(evse(), 4.14, PLAIN, now=NOW, skew=timedelta(0))
        assert made.stack_level > safe.stack_level
        assert made.profile_id != safe.profile_id

    def test_station_that_ignores_tx_profiles_gets_the_plan_as_a_default(self) -> None:
        made = profile(capability=StationCapability(plan_purpose=PlanPurpose.TX_DEFAULT_PROFILE))
        assert (made.purpose, made.transaction_id) == (ProfilePurpose.SAFE_DEFAULT, None)

    def test_safe_default_has_one_period_without_end(self) -> None:
        safe = safe_default_profile(evse(), 4.14, PLAIN, now=NOW, skew=timedelta(0))
        assert [(period.start_s, period.limit_value) for period in safe.periods] == [(0, 6.0)]

    def test_safe_default_holds_by_a_clock_that_is_hours_behind(self) -> None:
        safe = safe_default_profile(evse(), 4.14, PLAIN, now=NOW, skew=timedelta(0))
        assert safe.start_schedule is not None
        assert safe.start_schedule <= NOW - timedelta(hours=12)

    def test_ids_of_all_evses_differ(self) -> None:
        made = [
            layer.profile_id
            for number in range(1, 20)
            for layer in (
                profile(evse(ocpp_evse_id=number)),
                safe_default_profile(evse(ocpp_evse_id=number), 1.0, PLAIN, now=NOW, skew=timedelta(0)),
            )
        ]
        assert len(set(made)) == len(made)


@pytest.mark.parametrize("place", [evse(), ONE_PHASE, LINE_TO_LINE, DIRECT], ids=["3 phases", "1 phase", "US", "DC"])
@pytest.mark.parametrize(
    "calls",
    [Calls16(), Calls201(), Calls201(Version.V21)],
    ids=["1.6", "2.0.1", "2.1"],
)
@given(limit_kw=st.floats(0, 100), absolute=st.booleans(), with_transaction=st.booleans())
def test_every_profile_is_valid_by_its_schema(calls, place, limit_kw, absolute, with_transaction) -> None:
    made = profile(
        place,
        (at(0, limit_kw), at(15, limit_kw / 3), at(60, 4.14)),
        StationCapability(absolute=absolute),
        transaction_id=TX if with_transaction else None,
    )
    message = calls.set_profile(made)
    assert "duration" not in str(message.payload)
    assert str(message.payload).count("'numberPhases': " + str(place.current_paths)) == len(made.periods)
