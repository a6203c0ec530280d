"""What stations are told of a plan: few pieces, whole amperes, a safe tail, and no write that changes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from bench import evse_at, plan_of, site_with
from hypothesis import given
from hypothesis import strategies as some
from views import NOW, seconds, session_at, setpoint_of, view_of

from optimizer.control.ceilings import Feeder
from optimizer.control.dispatch import dispatch, profile_of, reason_text
from optimizer.control.settings import ControlSettings
from optimizer.control.view import GuardView
from optimizer.domain.charger import ExternalLimit, LimitCommand, LimitPeriod, LimitState
from optimizer.domain.ids import CircuitId, EvseId, SessionId
from optimizer.domain.plan import BindingKind, BindingReason, Plan
from optimizer.domain.site import LimitSource, Phase, Wiring

SITE = site_with([evse_at("a")])
EVSE, SESSION = EvseId("a"), SessionId("s-a")
SETTINGS = ControlSettings(profile_span_s=3600.0, refresh_margin_s=600.0)
VERIFIED, ACCEPTED = LimitState.VERIFIED, LimitState.ACCEPTED


def plan(*powers_kw: float, start_s: float = 0.0) -> Plan:
    """Slots of 15 minutes from ``start_s`` on."""
    return plan_of(NOW + seconds(start_s), SITE, {SESSION: (EVSE, powers_kw)})


def amperes(periods: tuple[LimitPeriod, ...], evse_name: str = "a") -> list[tuple[int, float]]:
    """Pieces as (minute, ampere on three phases)."""
    evse = evse_at(evse_name)
    return [
        (int((period.start - NOW) / timedelta(minutes=1)), round(evse.current_a(period.limit_kw), 3))
        for period in periods
    ]


PROFILES = [
    # case, plan, expected pieces (minute, ampere); the safe value is 6 A
    ("whole amperes, rounded down", plan(7.0, 7.0, 7.0, 7.0), [(0, 10.0), (60, 6.0)]),
    ("equal neighbours joined, falls kept", plan(11.04, 11.04, 5.0, 5.0), [(0, 16.0), (30, 7.0), (60, 6.0)]),
    ("no rise ahead of its time", plan(5.0, 11.04, 11.04, 11.04), [(0, 7.0), (60, 6.0)]),
    ("a pause", plan(0.0, 11.04), [(0, 0.0), (30, 6.0)]),
    ("below the least current is a pause", plan(3.0, 3.0, 3.0, 3.0), [(0, 0.0), (60, 6.0)]),
    ("a hair below it is rounding", plan(4.1399999999, 0.0, 0.0, 0.0), [(0, 6.0), (15, 0.0), (60, 6.0)]),
    ("never above the EVSE's greatest", plan(50.0, 50.0, 50.0, 50.0), [(0, 32.0), (60, 6.0)]),
    ("no charging while it gives back", plan(-5.0, -5.0, 11.04, 11.04), [(0, 0.0), (30, 0.0), (60, 6.0)]),
    ("a short plan ends early in the safe value", plan(7.0), [(0, 10.0), (15, 6.0)]),
    ("a long plan is followed for an hour", plan(*[7.0] * 40), [(0, 10.0), (60, 6.0)]),
    ("a plan of some minutes ago", plan(11.04, 7.0, 7.0, 7.0, 7.0, start_s=-600), [(0, 16.0), (5, 10.0), (60, 6.0)]),
    ("a plan that has run out", plan(11.04, start_s=-6000), [(0, 6.0)]),
    ("what is the safe value anyway needs no piece of its own", plan(4.14, 4.14, 4.14, 4.14), [(0, 6.0)]),
]


@pytest.mark.parametrize(("case", "plan_made", "expected"), PROFILES, ids=[case[0] for case in PROFILES])
def test_profile(case: str, plan_made: Plan, expected: list[tuple[int, float]]) -> None:
    session_plan = plan_made.session_plan(SESSION)
    assert session_plan is not None
    periods, _ = profile_of(plan_made, session_plan, Feeder(evse_at("a")), NOW, 4.14, SETTINGS)
    assert amperes(periods) == expected


@pytest.mark.parametrize(
    ("case", "plan_made", "expected"),
    [
        ("as planned", plan(-5.0, -5.0, -3.0, 0.0), [(0, 5.0), (30, 3.0), (45, 0.0), (60, 0.0)]),
        ("no rise ahead of its time", plan(-3.0, -5.0, -5.0, -5.0), [(0, 3.0), (60, 0.0)]),
        ("none behind a charging slot", plan(7.0, -5.0, -5.0, -5.0), [(0, 0.0), (15, 0.0), (60, 0.0)]),
        ("none behind a pause", plan(0.0, -5.0, -5.0, -5.0), [(0, 0.0), (60, 0.0)]),
    ],
)
def test_power_given_back(case: str, plan_made: Plan, expected: list[tuple[int, float]]) -> None:
    session_plan = plan_made.session_plan(SESSION)
    assert session_plan is not None
    told, _ = profile_of(plan_made, session_plan, Feeder(evse_at("a")), NOW, 4.14, SETTINGS)
    minutes = [(int((period.start - NOW) / timedelta(minutes=1)), period.discharge_kw) for period in told]
    assert minutes == expected, case
    assert all(period.limit_kw == 0.0 for period in told if period.discharge_kw)


def test_a_one_phase_vehicle_gets_the_current_that_its_power_needs_on_one_phase() -> None:
    made = plan(3.7, 3.7, 3.7, 3.7)
    periods, _ = profile_of(made, made.sessions[0], Feeder(evse_at("a"), phases_used=1), NOW, 4.14, SETTINGS)
    assert amperes(periods) == [(0, 16.0), (60, 6.0)]


@pytest.mark.parametrize(
    ("case", "planned_kw", "accepted_kw", "expected_a"),
    [
        ("all that it takes is planned: a margin on top", 5.3, 5.0, 8.0),
        ("less is planned", 4.2, 5.0, 6.0),
        ("nothing is planned", 0.0, 5.0, 0.0),
        ("it takes nothing: as planned, so that it can resume", 4.14, 0.0, 6.0),
    ],
)
def test_a_vehicle_that_takes_less_than_it_may(
    case: str, planned_kw: float, accepted_kw: float, expected_a: float
) -> None:
    made = plan(*[planned_kw] * 4)
    periods, _ = profile_of(made, made.sessions[0], Feeder(evse_at("a")), NOW, 4.14, SETTINGS, accepted_kw)
    assert amperes(periods)[0][1] == expected_a, case


def test_a_vehicle_that_starts_at_8_a_only_is_not_offered_less() -> None:
    made = plan(5.0, 5.0, 5.0, 5.0)
    periods, _ = profile_of(made, made.sessions[0], Feeder(evse_at("a"), learnt_least_a=8.0), NOW, 4.14, SETTINGS)
    assert amperes(periods) == [(0, 0.0), (60, 6.0)]


kinds = some.sampled_from(
    [
        {},
        {"phases": (Phase.L2,)},
        {"phases": (Phase.L1, Phase.L2), "wiring": Wiring.LINE_TO_LINE},
        {"current_step_a": 0.1},
    ]
)


@given(
    kind=kinds,
    powers=some.lists(some.floats(-10.0, 40.0), min_size=1, max_size=60),
    count=some.integers(2, 12),
    age_s=some.integers(0, 4000),
    slot=some.sampled_from([1, 5, 15, 60]),
)
def test_every_profile_is_short_falls_and_ends_safe(
    kind: dict[str, object], powers: list[float], count: int, age_s: int, slot: int
) -> None:
    evse = evse_at("a", **kind)
    settings = ControlSettings(greatest_periods=count)
    made = plan_of(NOW - seconds(age_s), SITE, {SESSION: (EVSE, tuple(powers))}, slot)
    safe_kw = evse.power_kw(7.0)
    periods, _ = profile_of(made, made.sessions[0], Feeder(evse), NOW, safe_kw, settings)
    assert 1 <= len(periods) <= count
    assert periods[-1].limit_kw == pytest.approx(safe_kw)
    assert all(earlier.start < later.start for earlier, later in pairwise(periods))
    body = [period.limit_kw for period in periods[:-1]]
    assert body == sorted(body, reverse=True)
    for limit_kw in body:
        amps = evse.current_a(limit_kw)
        assert amps == 0.0 or evse.min_current_a - 1e-6 <= amps <= evse.max_current_a + 1e-6
        assert abs(amps / evse.current_step_a - round(amps / evse.current_step_a)) < 1e-6
    now_kw = next(
        (kw for index, kw in enumerate(powers) if made.boundaries[index] <= NOW < made.boundaries[index + 1]), None
    )
    if now_kw is not None and len(periods) > 1:
        assert periods[0].limit_kw <= max(0.0, now_kw) + 1e-3


def view(
    *pairs: tuple[float, float], state: LimitState = VERIFIED, sent_s: float = -300.0, **more: object
) -> GuardView:
    """One vehicle under the given profile."""
    setpoints = (setpoint_of("a", state, *pairs, sent_s=sent_s, before_kw=9.0),) if pairs else ()
    session = session_at(
        "a", **{key: more.pop(key) for key in ("transaction", "may_charge", "plugged_s") if key in more}
    )  # type: ignore[arg-type]
    return view_of(SITE, sessions=(session,), setpoints=setpoints, **more)  # type: ignore[arg-type]


STEADY = plan(*[6.9] * 8)

WRITES = [
    # case, view, plan, written
    ("the first limit of a session", view(), STEADY, True),
    ("no plan yet", view(), None, False),
    ("a plan that does not know the vehicle", view(), plan_of(NOW, SITE, {}), False),
    ("no transaction to attach it to", view(transaction=None), STEADY, False),
    ("offline", view(offline=("a",)), STEADY, False),
    ("what holds already", view((-300, 6.9), (3300, 4.14)), STEADY, False),
    ("within the dead-band", view((-300, 6.7), (3300, 4.14)), STEADY, False),
    ("another value", view((-300, 5.52), (3300, 4.14)), STEADY, True),
    ("another value, but the last write was just now", view((-30, 5.52), (3300, 4.14), sent_s=-30), STEADY, False),
    ("less, though the last write was just now", view((-30, 8.28), (3300, 4.14), sent_s=-30), STEADY, True),
    ("a little less, the last write was just now", view((-30, 7.1), (3300, 4.14), sent_s=-30), STEADY, False),
    (
        "less, but that was refused just now",
        view((-30, 8.28), (3300, 4.14), state=LimitState.REJECTED, sent_s=-30),
        STEADY,
        False,
    ),
    ("the safe value comes within ten minutes", view((-300, 6.9), (590, 4.14)), STEADY, True),
    ("the safe value comes in eleven", view((-300, 6.9), (660, 4.14)), STEADY, False),
    (
        "a fall that the station knows of",
        view((-300, 6.9), (300, 0.0), (3300, 4.14)),
        plan(6.9, 0.0, 0.0, 0.0, start_s=-600),
        False,
    ),
    ("rejected just now", view((-300, 5.52), state=LimitState.REJECTED), STEADY, False),
    ("rejected long ago", view((-1000, 5.52), state=LimitState.REJECTED, sent_s=-1000), STEADY, True),
    ("no answer just now", view((-30, 6.9), state=LimitState.UNANSWERED, sent_s=-30), STEADY, False),
    ("no answer a minute ago: the same again", view((-70, 6.9), state=LimitState.UNANSWERED, sent_s=-70), STEADY, True),
    ("sent by a service that died: the same again", view((-90, 6.9), state=LimitState.SENT, sent_s=-90), STEADY, True),
    (
        "accepted long ago and never seen to be kept",
        view((-1000, 6.9), (3300, 4.14), state=ACCEPTED, sent_s=-1000),
        STEADY,
        True,
    ),
    (
        "seen long ago, now drawing more",
        view((-1000, 6.9), (3300, 4.14), sent_s=-1000, overdraws={"a": 1}),
        STEADY,
        True,
    ),
    ("sent for an earlier vehicle", view((-300, 6.9), (3300, 4.14), plugged_s=-10), STEADY, True),
]


@pytest.mark.parametrize(("case", "seen", "made", "written"), WRITES, ids=[case[0] for case in WRITES])
def test_writes(case: str, seen: GuardView, made: Plan | None, written: bool) -> None:
    assert bool(dispatch(seen, made, SETTINGS)) is written


def test_a_command_names_its_transaction_and_the_reason() -> None:
    (command,) = dispatch(view(), STEADY, SETTINGS)
    assert (command.transaction_id, command.reason) == ("7", "waiting for a lower price")
    assert command.first_kw == pytest.approx(6.9)


@pytest.mark.parametrize(
    ("others_kw", "reason"),
    [
        (6.9, "held at 6.9 kW by a limit that others set at the station (EMS)"),
        (7.3, "held at 7.3 kW by a limit that others set at the station (EMS)"),
        (11.0, "waiting for a lower price"),
    ],
    ids=["just that", "less than an ampere below it", "far below it"],
)
def test_a_limit_that_others_set_is_told_with_its_source(others_kw: float, reason: str) -> None:
    seen = view()
    limited = replace(
        seen.connectors[EVSE], external_limits=(ExternalLimit("EMS", (LimitPeriod(NOW - seconds(60), others_kw),)),)
    )
    (command,) = dispatch(replace(seen, connectors={**seen.connectors, EVSE: limited}), STEADY, SETTINGS)
    assert command.reason == reason


def test_a_token_that_may_not_charge_gets_nothing() -> None:
    (command,) = dispatch(view(may_charge=False), STEADY, SETTINGS)
    assert command.periods == (LimitPeriod(NOW, 0.0),)


@pytest.mark.parametrize(
    ("case", "state", "pairs", "released"),
    [
        ("a profile is left", VERIFIED, ((-300, 6.9), (3300, 4.14)), True),
        ("released", ACCEPTED, ((-300, 4.14),), False),
        ("the release was not answered", LimitState.UNANSWERED, ((-300, 4.14),), True),
        ("the station had nothing to release", LimitState.REJECTED, ((-300, 4.14),), False),
    ],
)
def test_release_when_the_vehicle_has_left(
    case: str, state: LimitState, pairs: tuple[tuple[float, float], ...], released: bool
) -> None:
    seen = view_of(SITE, setpoints=(setpoint_of("a", state, *pairs, sent_s=-300),))
    commands = dispatch(seen, STEADY, SETTINGS)
    expected = (
        LimitCommand(
            SITE.evses[EVSE].station_id, EVSE, None, (LimitPeriod(NOW, 4.14),), "no vehicle: the safe default holds"
        ),
    )
    assert commands == (expected if released else ()), case


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (None, ""),
        (BindingReason(BindingKind.PRICE), "waiting for a lower price"),
        (
            BindingReason(BindingKind.CIRCUIT_LIMIT, CircuitId("east"), Phase.L2, LimitSource.FUSE),
            "held by a circuit limit at east on L2 (fuse)",
        ),
    ],
)
def test_reasons_in_words(reason: BindingReason | None, text: str) -> None:
    assert reason_text(reason) == text


def test_every_kind_of_reason_has_words() -> None:
    assert all(reason_text(BindingReason(kind)) for kind in BindingKind)


NOT_TAKEN = [
    # case, state, age of the limit [s], whether it is told again
    ("no answer, as after a reconnect", LimitState.UNANSWERED, 5.0, True),
    ("rejected just now", LimitState.REJECTED, 5.0, False),
    ("rejected long ago", LimitState.REJECTED, 1000.0, True),
    ("seen to be kept", VERIFIED, 1000.0, False),
]


@pytest.mark.parametrize(("case", "state", "age_s", "told"), NOT_TAKEN, ids=[case[0] for case in NOT_TAKEN])
def test_a_limit_that_was_not_taken_is_told_again_though_the_plan_leaves_its_station_out(
    case: str, state: LimitState, age_s: float, told: bool
) -> None:
    held = setpoint_of("a", state, (-age_s, 6.9), sent_s=-age_s)
    if state is LimitState.UNANSWERED:
        held = replace(held, answered_at=None)
    view = view_of(SITE, sessions=(session_at("a"),), setpoints=(held,))
    without = plan_of(NOW, SITE, {})
    commands = dispatch(view, without, SETTINGS)
    assert [amperes(command.periods) for command in commands] == ([[(0, 10.0), (60, 6.0)]] if told else [])


def test_a_station_that_comes_back_is_asked_for_what_waited() -> None:
    online = view_of(SITE, sessions=(session_at("a"),))
    away = replace(online, connectors={EVSE: replace(online.connectors[EVSE], online=False)})
    asked = plan(7.0, 7.0, 7.0, 7.0)
    assert dispatch(away, asked, SETTINGS) == ()
    assert dispatch(replace(away, at=NOW + seconds(1)), asked, SETTINGS) == ()
    (command,) = dispatch(replace(online, at=NOW + seconds(2), memory=away.memory), asked, SETTINGS)
    assert command.evse_id == EVSE
