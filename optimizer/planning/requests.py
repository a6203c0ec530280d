"""Plain descriptions of a charging problem: what a notebook, a JSON file and the assembler all speak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import inf

from optimizer.domain.ids import CircuitId, EvseId, SessionId
from optimizer.domain.moment import Interval
from optimizer.domain.session import PriorityTier
from optimizer.domain.site import ALL_PHASES, LimitSource, Phase, Wiring


class LimitScope(StrEnum):
    """What a power limit bounds."""

    LOAD = "load"
    """Power into the circuit, uncontrolled load included."""
    CONTROLLABLE = "controllable"
    """Sum of vehicles and battery."""
    FEED = "feed"
    """Power out of the circuit."""


@dataclass(frozen=True, slots=True)
class PhaseMode:
    """One way in which a vehicle can draw power at its EVSE."""

    max_current_a: float
    """Greatest current per phase [A]."""
    phases: tuple[Phase, ...] = ALL_PHASES
    """Supply phases it loads."""
    wiring: Wiring = Wiring.LINE_TO_NEUTRAL
    """Between which conductors."""
    voltage_v: float = 230.0
    """Voltage across one current path [V]."""
    min_current_a: float = 6.0
    """Least current that is not zero [A]; 0: any."""
    current_step_a: float = 0.0
    """Granularity of the limit [A]; 0: continuous."""
    max_power_kw: float = inf
    """Greatest power the vehicle takes [kW]."""

    @property
    def kw_per_a(self) -> float:
        """Power per ampere [kW/A]."""
        paths = 1 if self.wiring is Wiring.LINE_TO_LINE else len(self.phases)
        return paths * self.voltage_v / 1000.0


@dataclass(frozen=True, slots=True)
class EnergyNeed:
    """Energy needed by a time."""

    by: datetime
    """By when [UTC]."""
    energy_kwh: float
    """From now on, at the meter [kWh]."""


@dataclass(frozen=True, slots=True)
class VehicleBattery:
    """A vehicle's battery, where taper or discharging is to be modelled."""

    stored_kwh: float
    """Energy in it at the first boundary, or at arrival [kWh]."""
    capacity_kwh: float
    """Usable energy [kWh]."""
    charge_efficiency: float = 1.0
    """Stored over metered energy."""
    knee_soc: float | None = None
    """State of charge above which acceptance falls linearly to zero; ``None``: no taper."""
    max_discharge_kw: float = 0.0
    """Greatest discharging power with consent [kW]."""
    discharge_efficiency: float = 0.95
    """Metered over drawn energy when discharging."""
    discharge_floor_soc: float = 0.5
    """State of charge below which it is never discharged."""
    discharge_wear_per_kwh: float = 0.05
    """Price of wear for each kWh discharged [currency/kWh]."""


@dataclass(frozen=True, slots=True)
class ChargingRequest:
    """One vehicle, present or to come, and what it needs."""

    session_id: SessionId
    """Unique in the problem."""
    evse_id: EvseId
    """At which EVSE."""
    circuit_id: CircuitId
    """Which circuit feeds it."""
    modes: tuple[PhaseMode, ...]
    """How it can draw power; more than one where phases are switchable."""
    needs: tuple[EnergyNeed, ...] = ()
    """What it needs by when."""
    arrive_at: datetime | None = None
    """When it came or comes [UTC]; ``None``: it is there."""
    depart_at: datetime | None = None
    """When it leaves [UTC]; ``None``: at the last need, else after the horizon."""
    most_kwh: float | None = None
    """Greatest energy to plan; ``None``: the greatest need and one shortest run at the minimum [kWh]."""
    tier: PriorityTier = PriorityTier.REGULAR
    """Who is served first."""
    delivered_kwh: float = 0.0
    """Metered energy since plug-in [kWh]."""
    battery: VehicleBattery | None = None
    """Its battery, where modelled."""
    guaranteed_kw: float = 0.0
    """Power promised until ``guaranteed_kwh`` are delivered [kW]."""
    guaranteed_kwh: float = 0.0
    """Energy for which power is promised, from now on [kWh]."""
    charging_now: bool = False
    """Whether it is charging at this instant."""
    run_so_far_h: float = 0.0
    """How long without a pause [h]."""
    starts_left: int = 1000
    """Starts still permitted."""
    previous_kw: tuple[float | None, ...] = ()
    """Plan in force, one a slot, ``None`` where it says nothing; empty: none [kW]."""
    stay_chance: tuple[float, ...] = ()
    """Chance that it is still there, one a slot; empty: certain."""
    power_limits_kw: tuple[tuple[Interval, float], ...] = ()
    """Further limits for a time [kW]."""

    @property
    def leaves_at(self) -> datetime | None:
        """When it is taken to leave [UTC]; ``None``: after the horizon."""
        return self.depart_at or max((need.by for need in self.needs), default=None)


@dataclass(frozen=True, slots=True)
class PowerLimit:
    """A limit on a circuit with its source, for a time or always."""

    circuit_id: CircuitId
    """Which circuit."""
    limit_kw: float
    """Greatest power [kW]."""
    source: LimitSource
    """Who set it."""
    scope: LimitScope = LimitScope.LOAD
    """What it bounds."""
    window: Interval | None = None
    """When; ``None``: always."""


@dataclass(frozen=True, slots=True)
class UncontrolledLoad:
    """A load below a circuit that the plan does not decide, other than the building."""

    circuit_id: CircuitId
    """Which circuit feeds it."""
    power_kw: tuple[float, ...]
    """One a slot [kW]."""
    mode: PhaseMode
    """How it draws its power."""


@dataclass(frozen=True, slots=True)
class DemandTerm:
    """A demand charge over the horizon."""

    name: str
    """Name on the bill."""
    price_per_kw: float
    """What a further kW costs the plan [currency/kW]."""
    reached_kw: float = 0.0
    """Peak that costs nothing more [kW]."""
    intervals: tuple[Interval, ...] = ()
    """Metering intervals that count and touch the horizon; empty: each slot by itself."""
    metered_kwh: float = 0.0
    """Import already metered in the first interval, where it runs now [kWh]."""
    expected_kw: Sequence[float] = ()
    """Mean import of vehicles still to come in each of ``intervals`` [kW]; empty: none."""


@dataclass(frozen=True)
class SiteOutlook:
    """What the site expects over the horizon, one value a slot."""

    import_price_per_kwh: Sequence[float]
    """Price of import [currency/kWh]."""
    export_price_per_kwh: Sequence[float] | None = None
    """Paid for export [currency/kWh]; ``None``: nothing."""
    building_kw: Sequence[float] | None = None
    """Building load [kW]; ``None``: none."""
    pv_kw: Sequence[float] | None = None
    """PV power [kW]; ``None``: none."""
    carbon_kg_per_kwh: Sequence[float] | None = None
    """Marginal emissions [kg/kWh]; ``None``: none."""
    setpoint_kw: Sequence[float | None] | None = None
    """Net import to keep [kW]; ``None``: none."""
    pv_curtailable: bool = False
    """Whether PV may be reduced."""
    pv_firm_share: float = 0.0
    """Share of PV that may relieve limits."""
    building_phase_shares: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    """Parts of the building load on L1, L2, L3."""
    phase_voltage_v: float = 230.0
    """Voltage to neutral at the connection [V]."""


@dataclass(frozen=True, slots=True)
class PlanPrices:
    """Prices of things other than energy."""

    carbon_price_per_kg: float = 0.0
    """[currency/kg]."""
    setpoint_price_per_kwh: float = 1.0
    """[currency/kWh]."""
    energy_worth_per_kwh: float = 0.0
    """[currency/kWh]."""
    delay_price_per_kwh_h: float = 0.0
    """[currency/kWh/h]."""
    start_price: float = 0.0
    """[currency]."""
    min_run_h: float = 0.0
    """Least run once started [h]."""
