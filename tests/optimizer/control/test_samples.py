"""What a sample is worth, and what samples tell of a vehicle; registers and powers drawn as rows of numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from bench import SITE, evse_at
from virtual_time import START

from optimizer.control.samples import accepted_power_kw, in_possible_order, judged, phases_in_use, woken
from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import LimitPeriod, LimitState, Setpoint
from optimizer.domain.ids import EvseId, SessionId, StationId
from optimizer.domain.metering import MeterSample, ReadingReason, SampleQuality
from optimizer.domain.moment import Interval
from optimizer.domain.session import DepartureTarget, Session, Vehicle
from optimizer.domain.site import Evse, Phase, Wiring

MINUTE = timedelta(minutes=1)
EVSE = evse_at("a")
LETTERS = {SampleQuality.GOOD: "g", SampleQuality.SUSPECT: "s", SampleQuality.STALE: "o", SampleQuality.DERIVED: "d"}


def sample(minute: float, register: str | None = None, power_kw: float | None = None, **more: object) -> MeterSample:
    return MeterSample(
        StationId("station-a"),
        EvseId("a"),
        START + MINUTE * minute,
        register_kwh=None if register is None else Decimal(register),
        power_kw=power_kw,
        **more,  # type: ignore[arg-type]
    )


def judged_in_turn(samples: list[MeterSample]) -> tuple[str, Decimal]:
    """Qualities as letters, and the energy that was added."""
    newest = register = doubtful = None
    letters, total_kwh = "", Decimal(0)
    for one in samples:
        verdict = judged(one, newest, register, doubtful, EVSE)
        letters += LETTERS[verdict.sample.quality]
        total_kwh += verdict.added_kwh
        if verdict.sample.quality in (SampleQuality.GOOD, SampleQuality.DERIVED):
            newest = verdict.sample
            if one.register_kwh is not None:
                register, doubtful = verdict.sample, None
        elif verdict.sample.quality is SampleQuality.SUSPECT:
            doubtful = verdict.sample
    return letters, total_kwh


REGISTERS = [
    # case, (minute, register), qualities, energy
    ("a register that rises", [(0, "10.0"), (1, "10.2"), (2, "10.4")], "ggg", "0.4"),
    ("a register that stands", [(0, "10.0"), (1, "10.0")], "gg", "0"),
    ("a sample told twice", [(0, "10.0"), (1, "10.2"), (1, "10.2")], "ggg", "0.2"),
    ("an old sample after a newer one", [(0, "10.0"), (2, "10.4"), (1, "10.2")], "ggo", "0.4"),
    ("one value out of place", [(0, "10.0"), (1, "10.2"), (2, "99.0"), (3, "10.6")], "ggsg", "0.6"),
    ("a jump that no power gives", [(0, "10.0"), (1, "12.0")], "gs", "0"),
    ("kWh told as Wh once", [(0, "10.0"), (1, "0.0102"), (2, "10.4")], "gsg", "0.4"),
    ("a meter that starts again at zero", [(0, "10.0"), (1, "0.0"), (2, "0.3"), (3, "0.5")], "gsgg", "0.5"),
    ("a register in whole tenths", [(0, "10.0"), (0.1, "10.1")], "gg", "0.1"),
    ("no register at all", [(0, None), (1, None)], "gg", "0"),
]


@pytest.mark.parametrize(("case", "rows", "letters", "energy"), REGISTERS, ids=[case[0] for case in REGISTERS])
def test_registers(case: str, rows: list[tuple[float, str | None]], letters: str, energy: str) -> None:
    assert judged_in_turn([sample(minute, register) for minute, register in rows]) == (letters, Decimal(energy))


@pytest.mark.parametrize(
    ("case", "one", "quality"),
    [
        ("what the EVSE can give", sample(0, power_kw=22.0), SampleQuality.GOOD),
        ("more than it can give", sample(0, power_kw=40.0), SampleQuality.SUSPECT),
        ("discharging more than it can take", sample(0, power_kw=-40.0), SampleQuality.SUSPECT),
        ("derived stays derived", sample(0, power_kw=7.0, quality=SampleQuality.DERIVED), SampleQuality.DERIVED),
        (
            "what the adapter doubts stays doubted",
            sample(0, "1.0", quality=SampleQuality.SUSPECT),
            SampleQuality.SUSPECT,
        ),
    ],
)
def test_power_beyond_what_is_possible(case: str, one: MeterSample, quality: SampleQuality) -> None:
    assert judged(one, None, None, None, EVSE).sample.quality is quality, case


@pytest.mark.parametrize(
    ("case", "evse", "current_a", "power_kw", "phases"),
    [
        ("three", EVSE, (16.0, 16.1, 15.9), 11.0, 3),
        ("one", EVSE, (16.0, 0.1, 0.0), 3.6, 1),
        ("two", EVSE, (16.0, 16.0, 0.2), 7.4, 2),
        ("standby", EVSE, (0.4, 0.1, 0.0), 0.1, None),
        ("not told", EVSE, None, 11.0, None),
        ("no power to compare with", EVSE, (16.0, 0.0, 0.0), None, None),
        ("the sum of three told as one", EVSE, (48.0, 0.0, 0.0), 3.6, None),
        ("a phase left out", EVSE, (16.0, 0.0, 0.0), 11.0, None),
        ("an EVSE of one phase", evse_at("a", phases=(Phase.L2,)), (16.0, 0.0, 0.0), 3.6, None),
        ("between two lines", evse_at("a", phases=(Phase.L1, Phase.L2), wiring=Wiring.LINE_TO_LINE), (16.0, 16.0, 0.0), 3.3, None),
    ],
)  # fmt: skip
def test_phases_in_use(
    case: str,
    evse: Evse,
    current_a: tuple[float, float, float] | None,
    power_kw: float | None,
    phases: int | None,
) -> None:
    assert phases_in_use(sample(0, current_a=current_a, power_kw=power_kw), evse) == phases, case


SETTINGS = ControlSettings(accepted_samples=3, headroom_margin_kw=0.5, reaction_s=15.0, wake_patience_s=60.0)


def told(limit_kw: float, minute: float = -10.0, *later: tuple[float, float]) -> Setpoint:
    """A limit that was accepted at ``minute``, with further pieces as (minute, kW)."""
    at = START + MINUTE * minute
    pieces = (LimitPeriod(at, limit_kw), *(LimitPeriod(START + MINUTE * start, kw) for start, kw in later))
    return Setpoint(EvseId("a"), pieces, LimitState.VERIFIED, at, at, at)


def session(**more: object) -> Session:
    return Session(SessionId("s"), SITE, EvseId("a"), START - MINUTE * 30, **more)  # type: ignore[arg-type]


ACCEPTANCE = [
    # case, known before, setpoint, powers a minute, known after
    ("takes what it gets", None, told(7.0), [7.0, 7.0, 6.9], None),
    ("takes clearly less, often enough", None, told(7.0), [5.0, 5.1, 4.9], 5.1),
    ("takes less, not often enough", None, told(7.0), [7.0, 5.1, 4.9], None),
    ("takes nothing", None, told(7.0), [0.0, 0.05, 0.0], 0.0),
    ("takes all again", 5.0, told(7.0), [5.0, 5.0, 7.0], None),
    ("falls further", 5.0, told(7.0), [4.0, 3.9, 3.8], 4.0),
    ("too few samples", 5.0, told(7.0), [3.0, 3.0], 5.0),
    ("held at zero by us says nothing", 5.0, told(0.0), [0.0, 0.0, 0.0], 5.0),
    ("a limit far below what it accepts says nothing new", 5.0, told(4.2), [4.2, 4.2, 4.2], 5.0),
    ("held close to what it accepts, it may take more", 5.0, told(4.8), [4.8, 4.8, 4.8], None),
    ("ramps up after an increase", None, told(7.0, 1.9), [3.0, 4.0, 5.0], None),
    ("slept, and draws again under the same limit", 0.0, told(4.2), [0.0, 0.0, 4.0], None),
    ("the profile has just stepped up", None, told(0.0, -10, (1.9, 7.0)), [0.0, 0.0, 0.0], None),
    ("no limit of its own", 5.0, None, [3.0, 3.0, 3.0], 5.0),
]


@pytest.mark.parametrize(
    ("case", "before_kw", "setpoint", "powers_kw", "after_kw"), ACCEPTANCE, ids=[case[0] for case in ACCEPTANCE]
)
def test_accepted_power(
    case: str, before_kw: float | None, setpoint: Setpoint | None, powers_kw: list[float], after_kw: float | None
) -> None:
    recent = [sample(index, power_kw=power) for index, power in enumerate(powers_kw)]
    assert accepted_power_kw(session(accepted_power_kw=before_kw), setpoint, recent, 1.0, SETTINGS) == after_kw


def test_a_one_phase_vehicle_is_compared_with_its_share_of_the_limit() -> None:
    recent = [sample(index, power_kw=3.6) for index in range(3)]
    assert accepted_power_kw(session(), told(11.04), recent, 1.0 / 3.0, SETTINGS) is None
    assert accepted_power_kw(session(), told(11.04), recent, 1.0, SETTINGS) == 3.6


PAUSED = (Interval(START - MINUTE * 20, START - MINUTE * 5),)
NEEDS = (DepartureTarget(START + MINUTE * 300, energy_kwh=20.0),)

WAKING = [
    # case, least current known, setpoint, powers, least current after, wakes
    ("wakes", None, told(4.2, -5), [4.2, 4.2], None, True),
    ("sleeps, not long yet", None, told(4.2, 0.5), [0.0, 0.0], None, True),
    ("sleeps at 6 A: 8 A next", None, told(4.2, -5), [0.0, 0.0], 8.0, True),
    ("8 A are known but not offered yet", 8.0, told(4.2, -5), [0.0, 0.0], 8.0, True),
    ("sleeps at 8 A: 10 A next", 8.0, told(5.6, -5), [0.0, 0.0], 10.0, True),
    ("wakes at 8 A", 8.0, told(5.6, -5), [0.0, 5.5], 8.0, True),
    ("sleeps at 10 A: not paused again, and it was not the current", 10.0, told(7.0, -5), [0.0, 0.0], None, False),
    ("sleeps at its own 13 A", 13.0, told(9.0, -5), [0.0, 0.0], 13.0, False),
    ("held at zero", None, told(0.0, -5), [0.0, 0.0], None, True),
]


@pytest.mark.parametrize(
    ("case", "least_a", "setpoint", "powers_kw", "least_after_a", "wakes"), WAKING, ids=[case[0] for case in WAKING]
)
def test_waking_after_a_pause(
    case: str,
    least_a: float | None,
    setpoint: Setpoint,
    powers_kw: list[float],
    least_after_a: float | None,
    wakes: bool,
) -> None:
    before = session(paused=PAUSED, pauses=1, energy_kwh=5.0, targets=NEEDS, vehicle=Vehicle(min_current_a=least_a))
    recent = [sample(index, power_kw=power) for index, power in enumerate(powers_kw)]
    vehicle = woken(before, setpoint, recent, EVSE, SETTINGS).vehicle
    assert (vehicle.min_current_a, vehicle.wakes_after_pause) == (least_after_a, wakes)


@pytest.mark.parametrize(
    ("case", "change"),
    [
        ("never paused by us", {"pauses": 0, "paused": ()}),
        ("has what it asked for: it may well be full", {"energy_kwh": 19.5}),
        ("asked for nothing", {"targets": ()}),
    ],
)
def test_a_vehicle_that_has_no_reason_to_wake_is_left_alone(case: str, change: dict[str, object]) -> None:
    before = replace(session(paused=PAUSED, pauses=1, energy_kwh=5.0, targets=NEEDS), **change)  # type: ignore[arg-type]
    recent = [sample(index, power_kw=0.0) for index in range(3)]
    assert woken(before, told(4.2, -5), recent, EVSE, SETTINGS) == before, case


BEGIN = ReadingReason.TRANSACTION_BEGIN
NOW = 5.0
"""When the sample came [min]."""


@pytest.mark.parametrize(
    ("case", "stamped", "newest", "register", "expected"),
    [
        ("as it should be", sample(4, "10.4", 7.0), sample(3, "10.2"), sample(3, "10.2"), (4, 7.0)),
        ("ahead of us", sample(9, "10.4", 7.0), sample(3, "10.2"), sample(3, "10.2"), (5, 7.0)),
        ("behind, but it counted on", sample(1, "10.4", 7.0), sample(3, "10.2"), sample(3, "10.2"), (5, None)),
        ("behind and lower: an old one", sample(1, "10.1", 7.0), sample(3, "10.2"), sample(3, "10.2"), (1, 7.0)),
        ("behind and equal: a repeat", sample(1, "10.2", 7.0), sample(3, "10.2"), sample(3, "10.2"), (1, 7.0)),
        ("the next stay begins behind the last", sample(1, "10.2"), sample(3, "10.2"), None, (5, None)),
        ("... as its transaction tells", sample(1, "10.2", reason=BEGIN), sample(3), sample(3, "10.2"), (5, None)),
        ("no register says it", sample(1, None, 7.0), sample(3, "10.2"), sample(3, "10.2"), (1, 7.0)),
        ("the first of all", sample(1, "10.2", 7.0), None, None, (1, 7.0)),
    ],
)
def test_registers_only_rise_whatever_the_clock_of_a_station_says(
    case: str,
    stamped: MeterSample,
    newest: MeterSample | None,
    register: MeterSample | None,
    expected: tuple[float, float | None],
) -> None:
    taken = in_possible_order(stamped, newest, register, START + MINUTE * NOW)
    assert ((taken.at - START) / MINUTE, taken.power_kw) == expected, case
    assert taken.register_kwh == stamped.register_kwh, case
