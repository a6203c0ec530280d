"""What a new meter sample is worth, and what it says of the vehicle. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import Setpoint
from optimizer.domain.metering import MeterSample, ReadingReason, SampleQuality
from optimizer.domain.moment import hours_between
from optimizer.domain.session import Session
from optimizer.domain.site import Evse, Wiring

PLAUSIBLE_EXCESS = 1.2
"""Meters and clocks are this far off at most: more than 1.2 times the rating is an error."""
REGISTER_GRAIN_KWH = 0.1
"""Registers may step in whole 0.1 kWh, so a step this far above what power allows is still one of them [kWh]."""
PHASE_IN_USE_A = 1.0
"""Current above which a phase is in use; below it is standby and noise [A]."""
PHASE_CURRENT_ERROR_SHARE = 0.3
"""Power and the product of voltage and currents differ by this part at most: voltage, power factor, two instants."""
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
    if sample.power_kw is not None and abs(sample.power_kw) > PLAUSIBLE_EXCESS * evse.max_power_kw + NO_DRAW_KW:
        return _doubted(sample)
    if sample.register_kwh is None or register is None or register.register_kwh is None:
        return JudgedSample(sample, none)
    if _follows(register, sample, evse):
        return JudgedSample(sample, sample.register_kwh - register.register_kwh)
    if doubtful is not None and doubtful.register_kwh is not None and _follows(doubtful, sample, evse):
        return JudgedSample(sample, sample.register_kwh - doubtful.register_kwh)
    return _doubted(sample)


def _doubted(sample: MeterSample) -> JudgedSample:
    return JudgedSample(replace(sample, quality=SampleQuality.SUSPECT), Decimal(0))


def returned_since(register: MeterSample | None, sample: MeterSample) -> Decimal:
    """Energy given back since the last sample that holds a register, none where either is unknown [kWh]."""
    before_kwh = register.export_register_kwh if register is not None else None
    if before_kwh is None or sample.export_register_kwh is None:
        return Decimal(0)
    return max(Decimal(0), sample.export_register_kwh - before_kwh)


def in_possible_order(
    sample: MeterSample, newest: MeterSample | None, register: MeterSample | None, received_at: datetime
) -> MeterSample:
    """The sample at a time at which it can have been taken: not ahead of now, and not before a lower register.

        register     10.0   10.2   10.4          registers only rise, whatever a station's clock says: its energy
        stamp        12:01  12:02  12:01         counts from when it came; of the power then, it tells nothing
        taken        12:01  12:02  now

    Args:
        sample: The sample as stamped.
        newest: The newest usable sample held of its meter.
        register: The newest usable sample that holds a register.
        received_at: Now [UTC].
    """
    if sample.at > received_at:
        return replace(sample, at=received_at)
    if newest is None or sample.at >= newest.at or sample.register_kwh is None or sample.quality not in USABLE:
        return sample
    # Where this stay has no register yet, that of the stay before it is what came before.
    before_kwh = (register or newest).register_kwh
    begins = register is None or sample.reason is ReadingReason.TRANSACTION_BEGIN
    if before_kwh is None or sample.register_kwh < before_kwh or (sample.register_kwh == before_kwh and not begins):
        return sample
    return replace(sample, at=max(received_at, newest.at), power_kw=None, current_a=None)


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
    if sample.power_kw is None or not _agrees(sample.power_kw, sum(sample.current_a) * evse.voltage_v / 1000.0):
        return None
    in_use = [current_a > PHASE_IN_USE_A for current_a in sample.current_a]
    if not in_use[0]:
        return None
    return sum(in_use)


def _agrees(power_kw: float, product_kw: float) -> bool:
    """Whether currents are those of the phases: some stations tell the sum of three as if it were one."""
    return abs(power_kw - product_kw) <= PHASE_CURRENT_ERROR_SHARE * max(power_kw, product_kw)


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
    below: list[bool] = []
    allowed_kw = 0.0
    for sample in recent[-needed:]:
        if sample.power_kw is None or sample.at < since:
            return _known_still(session, recent[-1], settings)
        allowed_kw = kw_per_limit_kw * min(setpoint.limit_at_kw(sample.at), setpoint.limit_at_kw(sample.at - settle))
        if allowed_kw <= settings.headroom_margin_kw:
            return _known_still(session, recent[-1], settings)
        below.append(sample.power_kw < allowed_kw - settings.headroom_margin_kw)
    if not below[-1]:
        held_kw = session.accepted_power_kw
        # At a limit far below what it was seen to take it tells nothing new.
        return held_kw if held_kw is not None and allowed_kw < held_kw - settings.headroom_margin_kw else None
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


def woken(
    session: Session, setpoint: Setpoint | None, recent: Sequence[MeterSample], evse: Evse, settings: ControlSettings
) -> Session:
    """The session with what is learnt of how its vehicle wakes after a pause of ours.

    offered   0 0 0 6 6 6 8 8 8 10 10 10 ...      each step is held for a while
    drawn     0 0 0 0 0 0 8                       it wakes at 8 A: its least current from now on
    drawn     0 0 0 0 0 0 0 0 0  0  0  0          it does not wake at all: it is not paused again, and as more did
                                                  not help, only its least current is kept free for it
    """
    if not session.vehicle.wakes_after_pause:
        return session
    if setpoint is None or setpoint.answered_at is None or not session.pauses or not session.paused or not recent:
        return session
    newest, patience = recent[-1], timedelta(seconds=settings.wake_patience_s)
    resumed_at = max(setpoint.answered_at, session.paused[-1].end)
    least_a = max(evse.min_current_a, session.vehicle.min_current_a or 0.0)
    offered_a = min(
        evse.current_a(setpoint.limit_at_kw(newest.at)), evse.current_a(setpoint.limit_at_kw(newest.at - patience))
    )
    since = [sample.power_kw or 0.0 for sample in recent if sample.at >= resumed_at]
    sleeps = newest.at - resumed_at >= patience and since and max(since) < NO_DRAW_KW
    if not sleeps or offered_a < least_a - 1e-6 or not needs_more(session):
        return session
    more_a = next((step_a for step_a in settings.wake_steps_a if least_a < step_a <= evse.max_current_a), None)
    if more_a is None:
        own_a = session.vehicle.min_current_a
        kept_a = None if own_a in settings.wake_steps_a else own_a
        return replace(session, vehicle=replace(session.vehicle, wakes_after_pause=False, min_current_a=kept_a))
    return replace(session, vehicle=replace(session.vehicle, min_current_a=more_a))


def sleeps(session: Session) -> bool:
    """Whether a vehicle has taken nothing since a pause of ours, though it needs to."""
    return session.pauses > 0 and session.accepted_power_kw == 0.0 and needs_more(session)


def needs_more(session: Session) -> bool:
    """Whether a target is known not to be reached; a vehicle that has what it asked for may well be full."""
    wanted_kwh = [target.energy_kwh for target in session.targets if target.energy_kwh is not None]
    return bool(wanted_kwh) and session.energy_kwh < max(wanted_kwh) - 1.0
