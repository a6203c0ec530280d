"""What a new meter sample is worth, and what it says of the vehicle. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import Setpoint
from optimizer.domain.metering import MeterSample, SampleQuality
from optimizer.domain.moment import hours_between
from optimizer.domain.session import Session
from optimizer.domain.site import Evse, Wiring

PLAUSIBLE_EXCESS = 1.2
"""Meters and clocks are this far off at most: more than 1.2 times the rating is an error."""
REGISTER_GRAIN_KWH = 0.1
"""Registers may step in whole 0.1 kWh, so a step this far above what power allows is still one of them [kWh]."""
PHASE_IN_USE_A = 1.0
"""Current above which a phase is in use; below it is standby and noise [A]."""
NO_DRAW_KW = 0.1
"""Power below which a vehicle takes nothing [kW]."""

USABLE = (SampleQuality.GOOD, SampleQuality.DERIVED)


@dataclass(frozen=True, slots=True)
class JudgedSample:
    """A sample with its quality, and the energy that it adds to the session."""

    sample: MeterSample
    """The sample, its quality set."""
    added_kwh: Decimal
    """Energy since the register value before it [kWh]."""


def judged(
    sample: MeterSample,
    newest: MeterSample | None,
    register: MeterSample | None,
    doubtful: MeterSample | None,
    evse: Evse,
) -> JudgedSample:
    """Set a sample's quality against what is held of its EVSE.

        register   10.0   10.2   ---   0.0    0.2    0.4         a meter that starts again at zero:
        quality    good   good         susp.  good   good        one value is doubted, the next one bears it out

    Args:
        sample: The new sample.
        newest: The newest usable sample held.
        register: The newest usable sample that holds a register.
        doubtful: A later sample whose register was doubted.
        evse: Whose meter it is.
    """
    none = Decimal(0)
    if newest is not None and sample.at < newest.at:
        return JudgedSample(replace(sample, quality=SampleQuality.STALE), none)
    if sample.quality not in USABLE:
        return JudgedSample(sample, none)
    suspect = JudgedSample(replace(sample, quality=SampleQuality.SUSPECT), none)
    if sample.power_kw is not None and abs(sample.power_kw) > PLAUSIBLE_EXCESS * evse.max_power_kw + NO_DRAW_KW:
        return suspect
    if sample.register_kwh is None or register is None or register.register_kwh is None:
        return JudgedSample(sample, none)
    if _follows(register, sample, evse):
        return JudgedSample(sample, sample.register_kwh - register.register_kwh)
    if doubtful is not None and doubtful.register_kwh is not None and _follows(doubtful, sample, evse):
        return JudgedSample(sample, sample.register_kwh - doubtful.register_kwh)
    return suspect


def _follows(earlier: MeterSample, later: MeterSample, evse: Evse) -> bool:
    """Whether a register can have gone from one sample to the other."""
    if earlier.register_kwh is None or later.register_kwh is None or later.at < earlier.at:
        return False
    step_kwh = float(later.register_kwh - earlier.register_kwh)
    greatest_kwh = PLAUSIBLE_EXCESS * evse.max_power_kw * hours_between(earlier.at, later.at) + REGISTER_GRAIN_KWH
    return 0.0 <= step_kwh <= greatest_kwh


def phases_in_use(sample: MeterSample, evse: Evse) -> int | None:
    """Phases that the vehicle is seen to draw on; ``None`` where the sample does not tell."""
    if evse.wiring is Wiring.LINE_TO_LINE or sample.current_a is None or len(evse.phases) < 2:
        return None
    in_use = [current_a > PHASE_IN_USE_A for current_a in sample.current_a]
    if not in_use[0]:
        return None
    return sum(in_use)


def accepted_power_kw(
    session: Session,
    setpoint: Setpoint | None,
    recent: Sequence[MeterSample],
    kw_per_limit_kw: float,
    settings: ControlSettings,
) -> float | None:
    """The power that the vehicle itself stops at, as far as the last samples show.

        limit      ------------------------
        drawn      ~~~~~~~                        takes what it gets: no limit of its own known
                          ~~~~~~~~~~~             clearly below, several samples long: this is its own limit
        none                           ____       zero: it is full, or waits on its own account

    Args:
        session: The session, with what was found before.
        setpoint: The limit in force.
        recent: The newest usable samples with a power, in time order.
        kw_per_limit_kw: Power that the vehicle can draw per kW of limit; below 1 where it uses fewer phases.
        settings: Number of samples and margin.

    Returns:
        Its own limit [kW], 0 when it takes nothing, ``None`` where none is known.
    """
    needed = settings.accepted_samples
    if setpoint is None or len(recent) < needed:
        return session.accepted_power_kw
    settle = timedelta(seconds=max(settings.settle_s, settings.reaction_s))
    since = (setpoint.answered_at or setpoint.sent_at) + settle
    below = []
    for sample in recent[-needed:]:
        if sample.power_kw is None or sample.at < since:
            return _known_still(session, recent[-1], settings)
        allowed_kw = kw_per_limit_kw * min(setpoint.limit_at_kw(sample.at), setpoint.limit_at_kw(sample.at - settle))
        if allowed_kw <= settings.headroom_margin_kw:
            return _known_still(session, recent[-1], settings)
        below.append(sample.power_kw < allowed_kw - settings.headroom_margin_kw)
    if not below[-1]:
        return None
    if not all(below):
        return session.accepted_power_kw
    drawn_kw = max(sample.power_kw or 0.0 for sample in recent[-needed:])
    return drawn_kw if drawn_kw > NO_DRAW_KW else 0.0


def _known_still(session: Session, newest: MeterSample, settings: ControlSettings) -> float | None:
    """What was found before, unless the vehicle now draws more than that."""
    held_kw = session.accepted_power_kw
    drawn_kw = newest.power_kw or 0.0
    if held_kw is not None and drawn_kw > held_kw + settings.headroom_margin_kw / 2:
        return None
    return held_kw
