"""What a site's operator may choose about planning; everything else is computed from the problem."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from optimizer.errors import InvalidConfiguration

ACN_STAY_CURVE = ((0.0, 1.0), (0.25, 0.97), (0.5, 0.91), (0.75, 0.82), (0.9, 0.72), (1.0, 0.62))
"""Share of drivers still there after a share of their stated stay (ACN Caltech and JPL, claimed sessions of 2019)."""


@dataclass(frozen=True, slots=True)
class SlotRule:
    """Slots of one length, from where the rule before ends until a distance from now."""

    length_minutes: int
    """Length of a slot [min]; must divide a day."""
    until_minutes: int
    """Distance from now at which the next rule takes over [min]."""


DEFAULT_SLOT_RULES = (SlotRule(5, 60), SlotRule(15, 24 * 60), SlotRule(60, 36 * 60))


@dataclass(frozen=True, slots=True)
class PlanningSettings:
    """Choices of the operator; the defaults suit a workplace or depot."""

    slot_rules: tuple[SlotRule, ...] = DEFAULT_SLOT_RULES
    """Slot lengths from now outward; the last rule's end is the horizon."""
    relative_gap: float = 1e-3
    """Proven relative gap at which solving stops."""
    time_limit_s: float = 10.0
    """Wall clock for one plan; the best plan found by then is returned [s]."""
    proof_time_s: float = 1.0
    """Wall clock, within the limit, for closing a gap that the fast way leaves above ``relative_gap`` [s]."""
    reopen_time_s: float = 5.0
    """Wall clock, within the limit, for deciding the few vehicles anew that lose energy or start or run wrongly [s].

    Work ends that search long before; the clock, which would make a plan depend on what else a machine does, is there
    for the worst case."""
    near_slots: int = 2
    """First slots with exact ampere steps, start costs and shortest runs; 0: none."""
    minimum_current: bool = True
    """Whether the minimum current holds on the whole horizon; off for a plain LP."""
    start_price: float = 0.005
    """What one start of a vehicle costs the plan [currency]; breaks ties between many short runs and few long ones."""
    minimum_run_minutes: float = 15.0
    """Least time a vehicle charges once it has started, unless a limit forbids it [min]."""
    most_pauses: int = 6
    """Pauses after which a vehicle is no longer paused; some give up after a few."""
    departure_care: float = 0.0
    """0 trusts stated departures, 1 weighs every kWh with the whole learnt chance of an early departure."""
    stay_curve: tuple[tuple[float, float], ...] = ACN_STAY_CURVE
    """Share of the stated stay passed, and the share of drivers still there then; rising share, falling chance.

    The first guess: the more stays have ended, the more the site's own drivers count."""
    energy_worth_per_kwh: float = 0.5
    """What a kWh is worth to a driver who leaves early [currency/kWh]; used with ``departure_care``."""
    front_load_per_kwh_h: float = 2e-5
    """What an hour's delay of a kWh costs the plan, which keeps later hours free for arrivals [currency/kWh/h].

    Never quite zero: it also orders plans that cost the same, sooner first."""
    front_load_demand_share: float = 1.8e-4
    """What an hour's delay of a kWh costs at least, as a share of the demand charge's price of a kW [1/h²].

    Energy put off meets vehicles that are not there yet; what they need together may raise the peak."""
    spread_demand_price: bool = False
    """Whether a demand charge's price is divided by the days left in the month for the plan."""
    peak_headroom_factor: float = 1.2
    """Where no past day is known: how many times the power that present vehicles need counts as reached already."""
    expected_demand_share: float = 0.95
    """Share of a demand charge's price at which what vehicles still to come may add to a peak counts; the rest is paid
    for what the present ones reach by themselves."""
    use_peak_hint: bool = True
    """Whether a demand charge's peak hint counts as already reached."""
    carbon_price_per_kg: float = 0.0
    """Price of emitted carbon dioxide beside money [currency/kg]."""
    carbon_kg_per_kwh: float = 0.0
    """Marginal emissions of import, where no series is given [kg/kWh]."""
    setpoint_price_per_kwh: float = 1.0
    """Price of each kWh by which a grid event's setpoint is missed [currency/kWh]."""
    battery_end_price_per_kwh: float | None = None
    """Worth of energy left in the battery; ``None``: mean import price less losses [currency/kWh]."""
    default_energy_kwh: float = 15.0
    """Energy planned for a session that states nothing [kWh]."""
    default_stay_h: float = 6.0
    """Stay planned for a session that states nothing [h]."""
    default_battery_kwh: float = 60.0
    """Battery assumed where a target is a soc and the battery is unknown [kWh]."""
    default_arrival_soc: float = 0.4
    """State of charge at plug-in assumed where a target is a soc and none was reported."""
    ready_early_minutes: float = 0.0
    """How long before its departure a vehicle is ready where that can be: what is left out by delays and rounding is
    made up for in that time [min]."""
    overdue_stay_minutes: float = 60.0
    """Stay assumed from now for a vehicle that is still there after its departure [min]."""
    acceptance_margin_kw: float = 0.3
    """Planned above the power at which a vehicle was last seen to stop, to notice when it takes more [kW]."""
    building_phase_shares: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    """Parts of the building load on L1, L2 and L3."""
    blind_stay_h: float = 4.0
    """Time for which a connector without contact is counted when it holds no session with a departure [h]."""
    prefer_previous: float = 2.0
    """Weight of staying near the previous plan in the preference stage."""
    prefer_steady: float = 2.0
    """Weight of few changes of power in the preference stage."""
    preference_hours: float = 2.0
    """How far ahead the preference stage looks; beyond it, only what an hour's delay costs orders equal plans [h]."""
    preference_cost_share: float = 5e-4
    """Extra cost that preferences may cause, as a share of the plan's cost."""
    preference_cost_floor: float = 0.01
    """Extra cost that preferences may cause in any case [currency]."""
    preferences: bool = True
    """Whether the preference stage runs."""

    def __post_init__(self) -> None:
        _check_slot_rules(self.slot_rules)
        for name in (
            "relative_gap",
            "proof_time_s",
            "reopen_time_s",
            "start_price",
            "minimum_run_minutes",
            "front_load_per_kwh_h",
            "front_load_demand_share",
            "peak_headroom_factor",
            "carbon_price_per_kg",
            "setpoint_price_per_kwh",
            "default_energy_kwh",
            "overdue_stay_minutes",
            "ready_early_minutes",
            "acceptance_margin_kw",
            "blind_stay_h",
            "prefer_previous",
            "prefer_steady",
            "preference_hours",
            "preference_cost_share",
            "preference_cost_floor",
            "energy_worth_per_kwh",
        ):
            _require(name, getattr(self, name), at_least=0.0)
        for name in ("time_limit_s", "default_stay_h", "default_battery_kwh"):
            _require(name, getattr(self, name), above=0.0)
        for name in ("departure_care", "default_arrival_soc", "expected_demand_share"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise InvalidConfiguration(f"planning.{name}", value, "give a number from 0 to 1")
        if self.near_slots < 0:
            raise InvalidConfiguration("planning.near_slots", self.near_slots, "give a whole number from 0 up")
        if self.most_pauses < 0:
            raise InvalidConfiguration("planning.most_pauses", self.most_pauses, "give a whole number from 0 up")
        if min(self.building_phase_shares) < 0 or abs(sum(self.building_phase_shares) - 1.0) > 1e-6:
            raise InvalidConfiguration(
                "planning.building_phase_shares", self.building_phase_shares, "give three parts that add up to 1"
            )
        _check_stay_curve(self.stay_curve)


def _require(name: str, value: float, *, at_least: float | None = None, above: float | None = None) -> None:
    if not isfinite(value) or (at_least is not None and value < at_least) or (above is not None and value <= above):
        bound = f"from {at_least:g} up" if at_least is not None else f"above {above:g}"
        raise InvalidConfiguration(f"planning.{name}", value, f"give a finite number {bound}")


def _check_slot_rules(rules: tuple[SlotRule, ...]) -> None:
    if not rules:
        raise InvalidConfiguration("planning.slot_rules", rules, "give at least one rule")
    reached = 0
    for index, rule in enumerate(rules):
        if rule.length_minutes < 1 or 24 * 60 % rule.length_minutes:
            raise InvalidConfiguration(
                f"planning.slot_rules[{index}].length_minutes", rule.length_minutes, "give minutes that divide a day"
            )
        if rule.until_minutes <= reached:
            raise InvalidConfiguration(
                f"planning.slot_rules[{index}].until_minutes", rule.until_minutes, f"must be above {reached}"
            )
        reached = rule.until_minutes


def _check_stay_curve(curve: tuple[tuple[float, float], ...]) -> None:
    passed = [point[0] for point in curve]
    chances = [point[1] for point in curve]
    if len(curve) < 2 or passed != sorted(passed) or chances != sorted(chances, reverse=True):
        raise InvalidConfiguration("planning.stay_curve", curve, "give points of rising share and falling chance")
    if passed[0] < 0 or chances[0] > 1 or chances[-1] <= 0:
        raise InvalidConfiguration("planning.stay_curve", curve, "give shares from 0 up and chances in (0, 1]")
