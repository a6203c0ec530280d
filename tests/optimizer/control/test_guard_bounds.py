"""What one EVSE counts at, case by case as drawn in the guard: 22 kW at most, 4.14 kW by default."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench import evse_at, site_with
from views import NOW, sample_of, seconds, session_at, setpoint_of, view_of

from optimizer.control.bounds import BoundKind, bound_of, verified
from optimizer.control.settings import ControlSettings
from optimizer.control.view import GuardView
from optimizer.domain.charger import ConnectorStatus, LimitState
from optimizer.domain.ids import EvseId

SITE = site_with([evse_at("a")])
EVSE = EvseId("a")
GREATEST_KW = 22.08
SETTINGS = ControlSettings(
    lookahead_s=60.0, verification_timeout_s=100.0, reaction_s=10.0, answer_timeout_s=60.0, settle_s=5.0
)
HERE = (session_at("a"),)

SENT, ACCEPTED, VERIFIED = LimitState.SENT, LimitState.ACCEPTED, LimitState.VERIFIED
REJECTED, UNANSWERED = LimitState.REJECTED, LimitState.UNANSWERED


def down(state: LimitState, **more: float) -> GuardView:
    """7 kW before, told 3 kW."""
    return view_of(SITE, sessions=HERE, setpoints=(setpoint_of("a", state, (-20, 3.0), before_kw=7.0, **more),))


def up(state: LimitState) -> GuardView:
    """3 kW before, told 7 kW."""
    return view_of(SITE, sessions=HERE, setpoints=(setpoint_of("a", state, (-20, 7.0), before_kw=3.0),))


def stepping(
    *pairs: tuple[float, float], state: LimitState = VERIFIED, seen_kw: float | None = None, offline: bool = False
) -> GuardView:
    """A profile of several pieces, verified at its start, with a sample two seconds old where one is given."""
    return view_of(
        SITE,
        sessions=HERE,
        setpoints=(setpoint_of("a", state, *pairs, sent_s=pairs[0][0]),),
        samples=() if seen_kw is None else (sample_of(SITE, "a", seen_kw),),
        offline=("a",) if offline else (),
    )


CASES = [
    # name, view, may, expected, kind
    ("no vehicle", view_of(SITE), 4.14, 4.14, BoundKind.IDLE),
    ("no vehicle, no default installed", view_of(SITE, default_kw=None), GREATEST_KW, GREATEST_KW, BoundKind.IDLE),
    ("no vehicle, yet it draws", view_of(SITE, samples=(sample_of(SITE, "a", 2.0),)), GREATEST_KW, GREATEST_KW, BoundKind.IGNORING),
    ("no vehicle, a draw of long ago", view_of(SITE, samples=(sample_of(SITE, "a", 2.0, age_s=999),)), 4.14, 4.14, BoundKind.IDLE),
    ("vehicle left, its profile not yet released", view_of(SITE, setpoints=(setpoint_of("a", VERIFIED, (-20, 9.0), (900, 4.14)),)), 9.0, 9.0, BoundKind.IDLE),
    ("vehicle left, the release not answered", view_of(SITE, setpoints=(setpoint_of("a", SENT, (-2, 4.14), before_kw=9.0),)), 9.0, 9.0, BoundKind.IDLE),
    ("vehicle left, released", view_of(SITE, setpoints=(setpoint_of("a", ACCEPTED, (-2, 4.14), before_kw=9.0),)), 4.14, 4.14, BoundKind.IDLE),
    ("plugged in, told nothing yet", view_of(SITE, sessions=HERE), 4.14, 4.14, BoundKind.SAFE_DEFAULT),
    ("plugged in, draws more than its default", view_of(SITE, sessions=HERE, samples=(sample_of(SITE, "a", 6.0),)), 6.0, 6.0, BoundKind.SAFE_DEFAULT),
    ("reduction sent", down(SENT), 7.0, 3.0, BoundKind.UNDER_WAY),
    ("reduction accepted, not seen", down(ACCEPTED), 7.0, 3.0, BoundKind.UNDER_WAY),
    ("reduction accepted, not seen for long", down(ACCEPTED, sent_s=-150.0), 7.0, 7.0, BoundKind.UNDER_WAY),
    ("reduction seen", down(VERIFIED), 3.0, 3.0, BoundKind.LIMIT),
    ("reduction rejected", down(REJECTED), 7.0, 7.0, BoundKind.NOT_TAKEN),
    ("reduction without an answer", down(UNANSWERED), 7.0, 7.0, BoundKind.NOT_TAKEN),
    ("sent by a service that died", down(SENT, sent_s=-90.0), 7.0, 7.0, BoundKind.NOT_TAKEN),
    ("increase sent", up(SENT), 7.0, 7.0, BoundKind.UNDER_WAY),
    ("increase without an answer", up(UNANSWERED), 7.0, 7.0, BoundKind.NOT_TAKEN),
    ("increase rejected", up(REJECTED), 3.0, 3.0, BoundKind.NOT_TAKEN),
    ("the safe value comes soon", stepping((-20, 1.0), (30, 4.14)), 4.14, 4.14, BoundKind.LIMIT),
    ("the safe value comes later", stepping((-20, 1.0), (90, 4.14)), 1.0, 1.0, BoundKind.LIMIT),
    ("stepped down by itself, not seen yet", stepping((-200, 7.0), (-4, 3.0)), 7.0, 7.0, BoundKind.LIMIT),
    ("stepped down by itself, still drawn", stepping((-200, 7.0), (-30, 3.0), seen_kw=6.9), 7.0, 7.0, BoundKind.LIMIT),
    ("stepped down by itself, seen", stepping((-200, 7.0), (-30, 3.0), seen_kw=2.9), 3.0, 3.0, BoundKind.LIMIT),
    ("draws a little above its limit", stepping((-200, 3.0), seen_kw=3.2), 3.2, 3.2, BoundKind.LIMIT),
    ("offline under its profile", stepping((-200, 7.0), (900, 4.14), offline=True), 7.0, 7.0, BoundKind.OFFLINE),
    ("offline, never below its default", stepping((-200, 1.0), (900, 4.14), offline=True), 4.14, 4.14, BoundKind.OFFLINE),
    ("offline, a reduction on its way", replace(down(SENT), connectors={EVSE: replace(down(SENT).connectors[EVSE], online=False)}), 7.0, 7.0, BoundKind.OFFLINE),
    ("draws above its limit again and again", view_of(SITE, sessions=HERE, setpoints=(setpoint_of("a", ACCEPTED, (-200, 3.0)),), overdraws={"a": 3}), GREATEST_KW, GREATEST_KW, BoundKind.IGNORING),
    ("draws above its limit, twice so far", view_of(SITE, sessions=HERE, setpoints=(setpoint_of("a", VERIFIED, (-200, 3.0)),), overdraws={"a": 2}), 3.0, 3.0, BoundKind.LIMIT),
    ("the limit was for an earlier vehicle", view_of(SITE, sessions=(session_at("a", plugged_s=-10),), setpoints=(setpoint_of("a", VERIFIED, (-200, 1.0)),)), 4.14, 4.14, BoundKind.LIMIT),
    ("the limit was for an earlier transaction", view_of(SITE, sessions=(session_at("a", transaction_begun_at=NOW - seconds(5)),), setpoints=(setpoint_of("a", VERIFIED, (-200, 9.0)),)), 9.0, 9.0, BoundKind.LIMIT),
]  # fmt: skip


@pytest.mark.parametrize(("case", "view", "may_kw", "expected_kw", "kind"), CASES, ids=[case[0] for case in CASES])
def test_bound(case: str, view: GuardView, may_kw: float, expected_kw: float, kind: BoundKind) -> None:
    bound = bound_of(view, EVSE, SETTINGS)
    assert (round(bound.may_kw, 3), round(bound.expected_kw, 3), bound.kind) == (may_kw, expected_kw, kind)


def test_an_offline_station_that_was_never_seen_counts_at_the_default_it_is_to_get() -> None:
    view = view_of(SITE, offline=("a",), status={"a": ConnectorStatus.UNKNOWN}, default_kw=None)
    assert bound_of(view, EVSE, SETTINGS).may_kw == pytest.approx(4.14)


def test_an_offline_station_that_was_seen_without_a_default_counts_at_its_greatest() -> None:
    view = view_of(SITE, offline=("a",), status={"a": ConnectorStatus.AVAILABLE}, default_kw=None)
    assert bound_of(view, EVSE, SETTINGS).may_kw == pytest.approx(GREATEST_KW)


def test_a_reduction_has_less_time_while_the_meter_shows_too_much() -> None:
    assert bound_of(down(ACCEPTED), EVSE, SETTINGS, overloaded=False).expected_kw == 3.0
    assert bound_of(down(ACCEPTED), EVSE, SETTINGS, overloaded=True).expected_kw == 7.0


def test_power_of_a_one_phase_vehicle_is_counted_as_the_limit_that_permits_it() -> None:
    one_phase = (session_at("a", phases_used=1),)
    view = view_of(SITE, sessions=one_phase, samples=(sample_of(SITE, "a", 3.68),))
    assert bound_of(view, EVSE, SETTINGS).may_kw == pytest.approx(11.04)


@pytest.mark.parametrize(
    ("case", "view", "steerable"),
    [
        ("accepted", down(ACCEPTED), True),
        ("told nothing yet", view_of(SITE, sessions=HERE), True),
        ("no vehicle", view_of(SITE), False),
        ("no transaction", view_of(SITE, sessions=(session_at("a", transaction=None),)), False),
        ("offline", view_of(SITE, sessions=HERE, offline=("a",)), False),
        ("rejected just now", down(REJECTED), False),
        ("rejected long ago", down(REJECTED, sent_s=-1000.0), True),
        ("no answer just now", down(UNANSWERED), False),
        ("no answer a while ago", down(UNANSWERED, sent_s=-70.0), True),
    ],
)
def test_steerable(case: str, view: GuardView, steerable: bool) -> None:
    assert bound_of(view, EVSE, SETTINGS).steerable is steerable, case


def accepted_with(
    power_kw: float | None, age_s: float = 2.0, *, sent_s: float = -20.0, drew_kw: float | None = 6.9, **more: object
) -> GuardView:
    """Told 3 kW, after 7 kW, answered a second later; a sample of some seconds ago."""
    samples = () if power_kw is None else (sample_of(SITE, "a", power_kw, age_s),)
    setpoint = setpoint_of("a", ACCEPTED, (sent_s, 3.0), before_kw=7.0, sent_s=sent_s)
    setpoint = replace(setpoint, drawn_before_kw=drew_kw)
    return view_of(SITE, sessions=HERE, setpoints=(setpoint,), samples=samples, **more)  # type: ignore[arg-type]


SUSPENDED = {"a": ConnectorStatus.SUSPENDED_BY_VEHICLE}

PROOFS = [
    ("within the limit", accepted_with(2.9), True),
    ("within the tolerance", accepted_with(3.25), True),
    ("above it", accepted_with(3.4), False),
    ("a sample from before the answer", accepted_with(0.0, age_s=20.0), False),
    ("a sample from right after the answer, the car still ramps", accepted_with(2.0, age_s=16.0), False),
    ("it drew less all along: too early to tell", accepted_with(2.0, drew_kw=2.0), False),
    ("what it drew is not known: too early to tell", accepted_with(2.0, drew_kw=None), False),
    (
        "it drew less all along, and the slowest station would have acted",
        accepted_with(2.0, drew_kw=2.0, sent_s=-40),
        True,
    ),
    ("no sample", accepted_with(None, sent_s=-40), False),
    ("no sample, but the station says that nothing flows", accepted_with(None, sent_s=-40, status=SUSPENDED), True),
    ("the same, too early", accepted_with(None, status=SUSPENDED), False),
    ("the meter is believed before the status", accepted_with(6.0, sent_s=-40, status=SUSPENDED), False),
    ("not answered yet", down(SENT), False),
    ("rejected", down(REJECTED), False),
    ("seen already", down(VERIFIED), False),
]


@pytest.mark.parametrize(("case", "view", "proven"), PROOFS, ids=[case[0] for case in PROOFS])
def test_proof(case: str, view: GuardView, proven: bool) -> None:
    setpoint = verified(view, EVSE, SETTINGS)
    assert (setpoint is not None and setpoint.state is VERIFIED) is proven


def test_a_one_phase_vehicle_must_stay_within_its_own_share_of_the_limit() -> None:
    sessions = (session_at("a", phases_used=1),)
    setpoint = replace(setpoint_of("a", ACCEPTED, (-20, 4.14), before_kw=22.08), drawn_before_kw=7.0)
    within = view_of(SITE, sessions=sessions, setpoints=(setpoint,), samples=(sample_of(SITE, "a", 1.4),))
    above = view_of(SITE, sessions=sessions, setpoints=(setpoint,), samples=(sample_of(SITE, "a", 3.7),))
    assert verified(within, EVSE, SETTINGS) is not None
    assert verified(above, EVSE, SETTINGS) is None
