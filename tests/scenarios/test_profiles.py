from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.domain.ids import CircuitId, EvseId, StationId
from optimizer.domain.site import Evse, Phase, Wiring
from scenarios.profiles import (
    ChargingProfile,
    EvseProfiles,
    InstalledProfile,
    ProfileFilter,
    ProfileKind,
    ProfilePeriod,
    ProfilePurpose,
    ProfileRules,
    RateUnit,
    Recurrence,
    TransactionFacts,
    cleared,
    install,
    without_transaction,
)

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
THREE_PHASE = Evse(EvseId("e"), StationId("s"), 1, CircuitId("c"), max_current_a=32.0)
TRANSACTION = TransactionFacts("tx", NOON)


def _at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def _profile(
    *limits: float | tuple[int, float],
    purpose: ProfilePurpose = ProfilePurpose.TX_DEFAULT,
    kind: ProfileKind = ProfileKind.ABSOLUTE,
    start_at: datetime | None = NOON,
    level: int = 0,
    number: int = 1,
    unit: RateUnit = RateUnit.AMPERES,
    duration_s: int | None = None,
    **more: object,
) -> ChargingProfile:
    """A profile; a bare limit starts at 0, a pair starts after its minutes."""
    pairs = [limit if isinstance(limit, tuple) else (0, limit) for limit in limits]
    periods = tuple(ProfilePeriod(60 * minutes, limit) for minutes, limit in pairs)
    return ChargingProfile(
        number, level, purpose, kind, unit, periods, start_at=start_at, duration_s=duration_s, **more  # type: ignore[arg-type]
    )  # fmt: skip


def _held(*profiles: ChargingProfile | tuple[int, ChargingProfile], installed_at: datetime = NOON) -> EvseProfiles:
    pairs = [one if isinstance(one, tuple) else (1, one) for one in profiles]
    held = tuple(InstalledProfile(profile, number, installed_at) for number, profile in pairs)
    return EvseProfiles(THREE_PHASE, held, TRANSACTION)


RELATIVE = {"kind": ProfileKind.RELATIVE, "start_at": None}
DAILY = {"kind": ProfileKind.RECURRING, "recurrence": Recurrence.DAILY}
WEEKLY = {"kind": ProfileKind.RECURRING, "recurrence": Recurrence.WEEKLY}
TX = ProfilePurpose.TX
STATION_MAX = ProfilePurpose.STATION_MAX

LIMITS = {
    "no profile: the hardware": (_held(), {0: 32}),
    "one default": (_held(_profile(10)), {0: 10, 10_000: 10}),
    "above the hardware: the hardware": (_held(_profile(63)), {0: 32}),
    "periods follow one another": (_held(_profile(10, (5, 16), (20, 0))), {0: 10, 4.99: 10, 5: 16, 19.9: 16, 20: 0, 999: 0}),
    "not yet begun": (_held(_profile(10, start_at=_at(5))), {4.99: 32, 5: 10}),
    "run out: the hardware again": (_held(_profile(10, duration_s=600)), {9.99: 10, 10: 32}),
    "run out: the level below": (
        _held(_profile(10, level=3, duration_s=600), _profile(7, level=1, number=2)),
        {9.99: 10, 10: 7},
    ),
    "higher level prevails even if higher": (_held(_profile(10, level=1), _profile(20, level=2, number=2)), {0: 20}),
    "TxProfile overrules TxDefault": (_held(_profile(10, level=5), _profile(20, purpose=TX, number=2)), {0: 20}),
    "TxProfile run out: TxDefault": (
        _held(_profile(10), _profile(20, purpose=TX, number=2, duration_s=60)),
        {0: 20, 1: 10},
    ),
    "station maximum bounds TxProfile": (
        _held((0, _profile(13, purpose=STATION_MAX)), _profile(20, purpose=TX, number=2)),
        {0: 13},
    ),
    "station maximum above: the other": (
        _held((0, _profile(25, purpose=STATION_MAX)), _profile(20, purpose=TX, number=2)),
        {0: 20},
    ),
    "default of the whole station": (_held((0, _profile(9))), {0: 9}),
    "an EVSE's own default goes before the station's": (_held((0, _profile(9)), _profile(11, number=2)), {0: 11}),
    "a higher level of the station goes before the EVSE's own": (
        _held((0, _profile(9, level=2)), _profile(11, level=1, number=2)),
        {0: 9},
    ),
    "another EVSE's default is not ours": (_held((2, _profile(9))), {0: 32}),
    "another transaction's profile is not ours": (_held(_profile(9, purpose=TX, transaction_id="old")), {0: 32}),
    "our transaction's profile": (_held(_profile(9, purpose=TX, transaction_id="tx")), {0: 9}),
    "relative counts from the transaction": (_held(_profile(10, (5, 16), **RELATIVE)), {0: 10, 5: 16}),
    "relative of the station counts from installing": (
        _held((0, _profile(10, (5, 16), purpose=STATION_MAX, **RELATIVE)), installed_at=_at(2)),
        {2: 10, 6.99: 10, 7: 16},
    ),
    "daily begins anew": (
        _held(_profile(10, (60, 16), duration_s=7200, start_at=_at(-14400 - 30), **DAILY)),
        {0: 10, 30: 16, 90: 32, 1409: 32, 1410: 10, 1470: 16},
    ),
    "weekly begins anew": (
        _held(_profile(10, duration_s=3600, start_at=_at(-7 * 1440), **WEEKLY)),
        {0: 10, 60: 32, 7 * 1440 - 1: 32, 7 * 1440: 10},
    ),
    "recurring has not begun": (_held(_profile(10, start_at=_at(60), **DAILY)), {0: 32, 60: 10, 1500: 10}),
    "not yet valid": (_held(_profile(10, valid_from=_at(5))), {4: 32, 5: 10}),
    "no longer valid": (_held(_profile(10, valid_to=_at(5))), {4: 10, 5: 32}),
    "watts over three phases": (_held(_profile(6900, unit=RateUnit.WATTS)), {0: 10}),
    "a pause": (_held(_profile(0)), {0: 0}),
}  # fmt: skip


@pytest.mark.parametrize(("profiles", "expected"), LIMITS.values(), ids=LIMITS)
def test_limit_over_time(profiles: EvseProfiles, expected: dict[float, float]) -> None:
    assert {minute: profiles.limit_a(_at(minute)) for minute in expected} == pytest.approx(expected)


@pytest.mark.parametrize(("profiles", "expected"), LIMITS.values(), ids=LIMITS)
def test_next_change_misses_no_change(profiles: EvseProfiles, expected: dict[float, float]) -> None:
    """Between two instants that are announced, the limit is the one at the first of them."""
    instant: datetime | None = NOON
    limits: dict[datetime, float] = {}
    while instant is not None and instant < _at(3000):
        limits[instant] = profiles.limit_a(instant)
        instant = profiles.next_change(instant)
    for minute in range(3000):
        before = max(known for known in limits if known <= _at(minute))
        assert profiles.limit_a(_at(minute)) == limits[before], minute


def test_without_a_transaction_only_the_station_maximum_holds() -> None:
    held = _held((0, _profile(13, purpose=STATION_MAX)), _profile(9), _profile(7, purpose=TX, number=3))
    assert replace(held, transaction=None).limit_a(NOON) == 13


def test_a_limit_of_the_station_is_divided_among_its_transactions() -> None:
    held = _held((0, _profile(30, purpose=STATION_MAX)))
    assert replace(held, station_sharers=2).limit_a(NOON) == 15


def test_watts_between_two_phases_make_one_current() -> None:
    pair = Evse(EvseId("e"), StationId("s"), 1, CircuitId("c"), 32.0, (Phase.L1, Phase.L2), Wiring.LINE_TO_LINE, 208.0)
    held = replace(_held(_profile(2080, unit=RateUnit.WATTS)), evse=pair)
    assert held.limit_a(NOON) == pytest.approx(10.0)


PHASE_CASES = {"cannot switch: all three": (False, 5.0), "can switch: the one permitted": (True, 15.0)}


@pytest.mark.parametrize(("switching", "expected_a"), PHASE_CASES.values(), ids=PHASE_CASES)
def test_watts_with_fewer_phases_permitted(switching: bool, expected_a: float) -> None:
    profile = replace(_profile(3450, unit=RateUnit.WATTS), periods=(ProfilePeriod(0, 3450, 1),))
    held = replace(_held(profile), evse=replace(THREE_PHASE, phase_switching=switching))
    assert held.limit_a(NOON) == pytest.approx(expected_a)


def test_composite_schedule_merges_what_is_equal() -> None:
    held = _held(_profile(10, (5, 10), (10, 16), duration_s=1200), (0, _profile(14, purpose=STATION_MAX, number=2)))
    assert held.composite(NOON, 3600) == ((0, 10.0), (600, 14.0))
    assert held.composite(NOON, 600) == ((0, 10.0),)
    assert _held(_profile(10, duration_s=600)).composite(NOON, 3600) == ((0, 10.0), (600, 32.0))


# ---------------------------------------------------------------------- installing

REFUSED = {
    "stack level above the greatest": (_profile(10, level=10), 1, "InvalidStackLevel"),
    "negative stack level": (_profile(10, level=-1), 1, "InvalidStackLevel"),
    "no period": (_profile(), 1, "InvalidSchedule"),
    "first period does not start at 0": (_profile((1, 10)), 1, "InvalidSchedule"),
    "periods out of order": (_profile(10, (5, 9), (3, 8)), 1, "InvalidSchedule"),
    "two periods at once": (_profile(10, (5, 9), (5, 8)), 1, "InvalidSchedule"),
    "too many periods": (_profile(10, *[(n, 10) for n in range(1, 30)]), 1, "InvalidSchedule"),
    "negative limit": (_profile(-1), 1, "InvalidSchedule"),
    "relative with a start": (_profile(10, kind=ProfileKind.RELATIVE), 1, "InvalidProfile"),
    "recurring without a recurrence": (_profile(10, kind=ProfileKind.RECURRING), 1, "InvalidProfile"),
    "station maximum for one EVSE": (_profile(10, purpose=STATION_MAX), 1, "InvalidProfile"),
    "default with a transaction": (_profile(10, transaction_id="tx"), 1, "InvalidProfile"),
    "transaction profile for the whole station": (_profile(10, purpose=TX), 0, "InvalidProfile"),
    "transaction profile for another transaction": (_profile(10, purpose=TX, transaction_id="old"), 1, "TxNotFound"),
}


@pytest.mark.parametrize(("profile", "evse_number", "code"), REFUSED.values(), ids=REFUSED)
def test_refused(profile: ChargingProfile, evse_number: int, code: str) -> None:
    outcome = install((), InstalledProfile(profile, evse_number, NOON), ProfileRules(), TRANSACTION)
    assert outcome == code


def test_a_transaction_profile_needs_a_transaction() -> None:
    assert install((), InstalledProfile(_profile(9, purpose=TX), 1, NOON), ProfileRules(), None) == "TxNotFound"


RULE_CASES = {
    "amperes not understood": (_profile(10), ProfileRules(units=frozenset({RateUnit.WATTS})), "UnsupportedRateUnit"),
    "zero not taken": (_profile(10, (5, 0)), ProfileRules(takes_zero=False), "InvalidSchedule"),
    "no room": (_profile(10), ProfileRules(max_installed=0), "TooManyProfiles"),
}


@pytest.mark.parametrize(("profile", "rules", "code"), RULE_CASES.values(), ids=RULE_CASES)
def test_a_station_with_rules_of_its_own_refuses(profile: ChargingProfile, rules: ProfileRules, code: str) -> None:
    assert install((), InstalledProfile(profile, 1, NOON), rules, TRANSACTION) == code


def _install_all(*profiles: tuple[int, ChargingProfile]) -> tuple[InstalledProfile, ...]:
    held: tuple[InstalledProfile, ...] = ()
    for number, profile in profiles:
        outcome = install(held, InstalledProfile(profile, number, NOON), ProfileRules(), TRANSACTION)
        assert not isinstance(outcome, str), outcome
        held = outcome
    return held


REPLACED = {
    "same id": ([(1, _profile(10, number=4)), (1, _profile(12, number=4, level=3))], [12]),
    "same id, other EVSE": ([(1, _profile(10, number=4)), (2, _profile(12, number=4))], [12]),
    "same purpose, level and EVSE": ([(1, _profile(10, number=4)), (1, _profile(12, number=5))], [12]),
    "another level stays": ([(1, _profile(10, number=4)), (1, _profile(12, number=5, level=1))], [10, 12]),
    "another EVSE stays": ([(1, _profile(10, number=4)), (2, _profile(12, number=5))], [10, 12]),
    "another purpose stays": ([(1, _profile(10, number=4)), (1, _profile(12, number=5, purpose=TX))], [10, 12]),
}


@pytest.mark.parametrize(("profiles", "kept"), REPLACED.values(), ids=REPLACED)
def test_replacing(profiles: list[tuple[int, ChargingProfile]], kept: list[float]) -> None:
    held = _install_all(*profiles)
    assert [one.profile.periods[0].limit_value for one in held] == kept


def test_the_end_of_a_transaction_takes_its_profiles_along() -> None:
    held = _install_all(
        (1, _profile(10, number=1)), (1, _profile(11, number=2, purpose=TX)), (0, _profile(9, number=3))
    )
    assert [one.profile.id for one in without_transaction(held, 1)] == [1, 3]
    assert without_transaction(held, 2) == held


CLEARED = {
    "everything": (ProfileFilter(), []),
    "by id, whatever else is said": (ProfileFilter(id=2, stack_level=7), [1, 3]),
    "by purpose": (ProfileFilter(purpose=ProfilePurpose.TX_DEFAULT), [2]),
    "by EVSE": (ProfileFilter(evse_number=0), [1, 2]),
    "by level and purpose": (ProfileFilter(purpose=ProfilePurpose.TX_DEFAULT, stack_level=5), [1, 2]),
    "nothing matches": (ProfileFilter(id=99), [1, 2, 3]),
}


@pytest.mark.parametrize(("which", "left"), CLEARED.values(), ids=CLEARED)
def test_clearing(which: ProfileFilter, left: list[int]) -> None:
    held = _install_all(
        (1, _profile(10, number=1)), (1, _profile(11, number=2, purpose=TX)), (0, _profile(9, number=3, level=5))
    )
    assert [one.profile.id for one in cleared(held, which)] == left


@given(
    st.lists(
        st.tuples(
            st.sampled_from([ProfilePurpose.TX_DEFAULT, ProfilePurpose.TX, ProfilePurpose.STATION_MAX]),
            st.integers(0, 3),
            st.integers(-100, 100),
            st.one_of(st.none(), st.integers(1, 7200)),
            st.lists(st.floats(0, 40), min_size=1, max_size=4),
        ),
        max_size=6,
    ),
    st.integers(0, 200),
)
def test_the_limit_never_exceeds_hardware_or_station_maximum(
    drawn: list[tuple[ProfilePurpose, int, int, int | None, list[float]]], minute: int
) -> None:
    held: tuple[InstalledProfile, ...] = ()
    for number, (purpose, level, start, duration_s, limits) in enumerate(drawn):
        profile = _profile(
            *[(7 * index, limit) for index, limit in enumerate(limits)],
            purpose=purpose, level=level, number=number, start_at=_at(start), duration_s=duration_s,
        )  # fmt: skip
        evse_number = 0 if purpose is STATION_MAX else 1
        outcome = install(held, InstalledProfile(profile, evse_number, NOON), ProfileRules(), TRANSACTION)
        assert not isinstance(outcome, str)
        held = outcome
    together = EvseProfiles(THREE_PHASE, held, TRANSACTION)
    only_maxima = tuple(one for one in held if one.profile.purpose is STATION_MAX)
    limit_a = together.limit_a(_at(minute))
    assert 0 <= limit_a <= THREE_PHASE.max_current_a
    assert limit_a <= EvseProfiles(THREE_PHASE, only_maxima, TRANSACTION).limit_a(_at(minute))
    following = together.next_change(_at(minute))
    assert following is None or following > _at(minute)
