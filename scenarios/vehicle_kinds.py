"""Which car stands behind a recorded session: what was recorded of it, and what has to be assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from optimizer.domain.session import PriorityTier
from optimizer.domain.site import Evse, Wiring
from scenarios.arrivals import RecordedSession
from scenarios.vehicle_model import VehicleModel, WakeBehaviour

TAPER_SHARE = 0.15
"""Share of its energy over which a car that became full is taken to slow down; lithium cells do so above 80 to 90 %."""
GIVE_EFFICIENCY = 0.95
"""Metered energy given back over what leaves the battery, as planning assumes of vehicles that say nothing of it."""
TAPER_SLOWNESS = 1.2
"""Hours lost in the taper per hour of it at full power: from 31 A down to 6 A the mean of 1/current is 2.15/32 A."""


@dataclass(frozen=True, slots=True)
class VehicleKind:
    """What is assumed of cars, since recordings do not tell it."""

    share: float = 1.0
    """How frequent, relative to other kinds."""
    max_power_kw: float | None = None
    """Greatest power [kW]; ``None``: as recorded, else what the EVSE gives."""
    min_current_a: float | None = None
    """Least current at which it charges [A]; ``None``: the EVSE's."""
    phases_used: int = 3
    """Phases it draws on where there are as many."""
    taper_share: float = TAPER_SHARE
    """Share of its energy over which it slows down before it is full."""
    wake: WakeBehaviour = WakeBehaviour.WAKES
    """What it does after a pause."""
    wake_delay_s: float = 0.0
    """From an offer after a pause until it draws again [s]."""
    tier: PriorityTier = PriorityTier.REGULAR
    """Who is served first."""
    battery_kwh: float | None = None
    """Battery where none was recorded [kWh]; ``None``: unknown."""
    gives_back_kw: float = 0.0
    """Power that its driver agrees to give back at an EVSE that takes it [kW]; 0: none."""
    discharge_floor_soc: float = 0.5
    """State of charge below which its driver lends nothing."""


ANY_CAR = VehicleKind()
"""Takes what the EVSE gives and slows down before it is full."""


def drawn_kind(kinds: Sequence[VehicleKind], seed: int, session_id: str) -> VehicleKind:
    """The kind of one session's car: by chance, but the same for the same seed, whatever other sessions there are."""
    if len(kinds) == 1:
        return kinds[0]
    return Random(f"{seed} {session_id}").choices(kinds, [kind.share for kind in kinds])[0]


def vehicle_of(
    session: RecordedSession, evse: Evse, kind: VehicleKind = ANY_CAR, *, takes_back: bool = False
) -> VehicleModel:
    """The car of a recorded session: it takes what was delivered, then it is full.

    How fast the real car could charge is rarely recorded; where it is not and nothing is assumed, it uses what the EVSE
    gives. It slows down before it is full, except where its recorded stay would then be too short for its recorded
    energy: that car left before.

    Args:
        session: What was recorded.
        evse: Where it stands.
        kind: What is assumed.
        takes_back: Whether power can be given back there.
    """
    paths = 1 if evse.wiring is Wiring.LINE_TO_LINE else min(evse.current_paths, kind.phases_used)
    most_kw = kind.max_power_kw if kind.max_power_kw is not None else session.max_power_kw
    max_current_a = evse.max_current_a
    if most_kw is not None:
        max_current_a = min(max_current_a, most_kw * 1000.0 / (evse.voltage_v * paths))
    min_current_a = min(kind.min_current_a or evse.min_current_a, max_current_a)
    full_power_h = session.delivered_kwh * 1000.0 / (max_current_a * evse.voltage_v * paths)
    slowed_h = kind.taper_share * full_power_h * TAPER_SLOWNESS
    tapers = full_power_h + slowed_h <= session.stay_h
    battery_kwh, arrival_soc = _battery_of(session, kind)
    lends = takes_back and kind.gives_back_kw > 0 and battery_kwh is not None and arrival_soc is not None
    return VehicleModel(
        takes_kwh=session.delivered_kwh,
        max_current_a=max_current_a,
        phases_used=paths,
        min_current_a=min_current_a,
        taper_kwh=kind.taper_share * session.delivered_kwh if tapers else 0.0,
        battery_kwh=battery_kwh,
        arrival_soc=arrival_soc,
        wake=kind.wake,
        wake_delay_s=kind.wake_delay_s,
        gives_kwh=max(0.0, (arrival_soc or 0.0) - kind.discharge_floor_soc) * (battery_kwh or 0.0) if lends else 0.0,
        gives_back_a=min(evse.max_current_a, kind.gives_back_kw * 1000.0 / (evse.voltage_v * paths)),
        give_efficiency=GIVE_EFFICIENCY,
        discharge_floor_soc=kind.discharge_floor_soc,
    )


def _battery_of(session: RecordedSession, kind: VehicleKind) -> tuple[float | None, float | None]:
    """Battery [kWh] and state of charge at plug-in; where neither was recorded, what it took is taken to fill it."""
    if kind.battery_kwh is None or session.battery_kwh is not None:
        return session.battery_kwh, session.arrival_soc
    battery_kwh = max(kind.battery_kwh, session.delivered_kwh)
    if session.arrival_soc is not None:
        return battery_kwh, session.arrival_soc
    return battery_kwh, 1.0 - session.delivered_kwh / battery_kwh
