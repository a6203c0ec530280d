"""What an operator may choose about control; checked once, never changed while the service runs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite

from optimizer.errors import InvalidConfiguration

_MAY_BE_ZERO = frozenset(
    {
        "dead_band_kw",
        "least_interval_s",
        "restore_margin_kw",
        "default_energy_kwh",
        "early_arrival_minutes",
        "peak_hint_kw",
        "past_days",
        "measured_hold_s",
        "settle_s",
        "slowest_action_s",
        "concurrent_starts",
        "phase_dwell_s",
        "most_phase_switches",
    }
)


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """Choices about loop, guard and dispatch; the defaults suit a car park with a site meter.

    Raises:
        InvalidConfiguration: A value is out of its range.
    """

    replan_period_s: float = 300.0
    """Time between plans when nothing happens [s]."""
    replan_gather_s: float = 1.0
    """Time for which events are gathered before they lead to one plan [s]."""
    guard_period_s: float = 1.0
    """Time between two looks of the guard [s]."""
    horizon_h: float = 36.0
    """How far ahead prices, forecasts, reservations and grid events are read [h]."""
    dead_band_kw: float = 0.3
    """Change of a limit that is too small to be worth a write [kW]."""
    least_interval_s: float = 60.0
    """Least time between two writes to one EVSE, unless the second lowers its limit [s]."""
    greatest_periods: int = 10
    """Most periods of one charging profile."""
    profile_span_s: float = 3600.0
    """How far a profile follows the plan; after it the safe value holds [s]."""
    refresh_margin_s: float = 600.0
    """A profile is written again when it says something else within this time [s]."""
    lookahead_s: float = 60.0
    """The guard counts each EVSE at the greatest its profile permits within this time [s]."""
    verification_tolerance_kw: float = 0.3
    """Metered power may be this much above a limit and still be within it [kW]."""
    settle_s: float = 5.0
    """Samples taken less than this after an answer say nothing of the new limit [s]."""
    slowest_action_s: float = 30.0
    """Stations may act this long after their answer; only a draw that has fallen proves a reduction sooner [s]."""
    verification_timeout_s: float = 150.0
    """Time for a reduction to be seen in the meter before others are cut in its place [s]."""
    reaction_s: float = 15.0
    """The same while the site meter shows a limit exceeded [s]."""
    answer_timeout_s: float = 60.0
    """A limit sent this long ago without an answer counts as unanswered [s]."""
    reply_patience_s: float = 3.0
    """How long a step waits for answers before it goes on without them [s]."""
    unanswered_retry_s: float = 60.0
    """Time before a limit without an answer is sent again [s]."""
    rejected_retry_s: float = 900.0
    """Time before a rejected limit is sent again, unless another value is wanted [s]."""
    ignoring_samples: int = 3
    """Samples above its limit in a row after which a station counts at its physical maximum."""
    tracking_window_s: float = 900.0
    """How far back samples are looked at to see whether a station follows [s]."""
    sample_staleness_s: float = 180.0
    """Age at which a station's sample says nothing of now [s]."""
    meter_staleness_s: float = 60.0
    """Age at which the site meter is not believed; the greatest building load counts instead [s]."""
    raise_reading_age_s: float = 15.0
    """Age of the site meter's reading up to which limits are raised by it alone; with an older one a raise must fit
    beside the greatest building load, too [s]."""
    restore_margin_kw: float = 0.5
    """Kept free of every limit that the building shares, so that its ripple does not cause writes [kW]."""
    deal_all_when_blind: bool = False
    """Whether safe defaults use up the limits; else they are the least currents."""
    concurrent_starts: int | None = 1
    """Idle EVSEs of one circuit and phase that room is kept for; ``None``: all of them.

    A vehicle counts from plug-in, seconds before energy flows, and the guard makes room at once. So only those that
    start in the same moment need room kept; keeping it for all would leave a busy site half unused."""
    accepted_samples: int = 3
    """Samples in a row that must show a vehicle below its limit before that counts as its own limit."""
    headroom_margin_kw: float = 0.5
    """A vehicle is its own limit when it draws this much less than permitted [kW]."""
    wake_patience_s: float = 60.0
    """Time a vehicle has to draw again after a pause before more is offered to wake it [s]."""
    wake_steps_a: tuple[float, ...] = (8.0, 10.0)
    """Currents offered one after the other to a vehicle that does not wake [A]."""
    restart_sleepers: bool = False
    """Whether a vehicle that nothing else wakes after a pause has its transaction stopped and started again, once."""
    phase_dwell_s: float = 600.0
    """Least time between two changes between one and three phases of one vehicle [s]."""
    most_phase_switches: int = 10
    """Most such changes in one session; contactors wear. 0: none."""
    measured_hold_s: float = 900.0
    """How long the measured building load and PV power are expected to last [s]."""
    recent_span_h: float = 24.0
    """Length of the measured past that forecasts are given [h]."""
    peak_hint_kw: float = 0.0
    """Peak thought unavoidable in every billing month [kW]; 0: no hint."""
    past_days: int = 35
    """Days that are looked back on to learn a month's peak and the arrivals of a day; 0: nothing is learnt."""
    default_stay_h: float = 8.0
    """Stay assumed of a vehicle of which nothing is known [h]."""
    default_energy_kwh: float = 15.0
    """Energy assumed for a vehicle of which nothing is known [kWh]; 0: none is assumed."""
    early_arrival_minutes: float = 30.0
    """How long before its window a reservation already claims its EVSE [min]."""

    def longest_reaction_s(self, meter_gap_s: float) -> float:
        """How long a limit may be exceeded while there is still an EVSE that could be told to draw less [s].

            limit exceeded ──► seen ──► first cut ──► not followed ──► others cut ──► obeyed
              meter gap, at most     guard     reaction        guard       answer, slowest
              until it is stale     period      time          period          action

        Args:
            meter_gap_s: Longest time between two readings of the site meter; one that is silent for longer is not
                believed any more, and the greatest building load counts instead [s].
        """
        seen_s = min(meter_gap_s, self.meter_staleness_s) + self.guard_period_s
        cut_s = self.reaction_s + self.guard_period_s
        return seen_s + cut_s + self.reply_patience_s + self.slowest_action_s

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or isinstance(value, tuple):
                continue
            lowest_allowed = field.name in _MAY_BE_ZERO or isinstance(value, bool)
            if not isfinite(value) or value < 0 or (value == 0 and not lowest_allowed):
                bound = "from 0 up" if lowest_allowed else "above 0"
                raise InvalidConfiguration(f"control.{field.name}", value, f"give a finite number {bound}")
        if list(self.wake_steps_a) != sorted(set(self.wake_steps_a)) or min(self.wake_steps_a, default=1.0) <= 0.0:
            raise InvalidConfiguration("control.wake_steps_a", self.wake_steps_a, "give rising currents above 0")
        if self.greatest_periods < 2:
            raise InvalidConfiguration(
                "control.greatest_periods", self.greatest_periods, "give at least 2: one for now and the safe value"
            )
        if self.profile_span_s <= self.refresh_margin_s:
            raise InvalidConfiguration(
                "control.profile_span_s", self.profile_span_s, f"must be above refresh_margin_s {self.refresh_margin_s}"
            )
