"""The fields of a problem file: what one plan is made for, as a person writes it.

A problem is one JSON file (YAML will do as well). This is a whole one::

    {
      "start": "2026-03-02T18:00:00+01:00",
      "import_limit_kw": 11,
      "import_price_per_kwh": [{"start": "2026-03-02T18:00:00+01:00", "value": 0.34},
                               {"start": "2026-03-02T22:00:00+01:00", "value": 0.22}],
      "vehicles": [
        {"id": "van", "targets": [{"depart_at": "2026-03-03T06:00:00+01:00", "energy_kwh": 30}]},
        {"id": "car", "max_current_a": 32, "phases": ["L1"],
         "targets": [{"depart_at": "2026-03-03T08:00:00+01:00", "energy_kwh": 20}]}
      ]
    }

A *course* is a value over time: one number for always, a list of one number a slot, or a list of steps
``{"start": ..., "value": ...}``, each holding until the next one. Every field is described where it is defined below;
``chargehorizon plan --schema`` prints them all as a JSON schema.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from connectors.sections import Section, fields_of
from connectors.site_section import (
    BatterySection,
    CircuitSection,
    Currency,
    Identifier,
    NotNegative,
    Positive,
    Share,
    TimeZoneName,
)
from optimizer.domain.site import ALL_PHASES, LimitSource, Phase, Wiring
from optimizer.planning.requests import LimitScope
from optimizer.planning.settings import PlanningSettings

Part = Annotated[float, Field(gt=0, le=1)]
Planning = Annotated[PlanningSettings, BeforeValidator(fields_of(PlanningSettings))]


class StepSection(Section):
    """A value from an instant until the next step."""

    start: AwareDatetime
    """From when, with a UTC offset."""
    value: float | None
    """The value; null: none."""


class CourseSection(Section):
    """A value over time: one number, one a slot, or steps."""

    values: tuple[float | None, ...] = ()
    """One number, or one a slot."""
    steps: tuple[StepSection, ...] = ()
    """Steps, soonest first; the first one's value holds before it, too."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema of what a person may write: the short forms beside the long one."""
        long_form = handler(core)
        fields = handler.resolve_ref_schema(long_form)["properties"]
        short_forms = [{"type": "number"}, fields["values"] | {"minItems": 1}, fields["steps"] | {"minItems": 1}]
        plain = [
            {name: value for name, value in form.items() if name not in {"title", "default"}} for form in short_forms
        ]
        return {"anyOf": [*plain, long_form]}

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, given: Any) -> Any:
        if isinstance(given, dict):
            return given
        if isinstance(given, list | tuple):
            return {"steps": given} if given and isinstance(given[0], dict) else {"values": given}
        return {"values": [given]}

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.values) == bool(self.steps):
            raise ValueError("give one number, a list of one number a slot, or a list of steps")
        starts = [step.start for step in self.steps]
        if starts != sorted(set(starts)):
            raise ValueError("give every step a later start than the one before")
        return self


class TargetSection(Section):
    """What a vehicle needs by when; soft, what is missed is reported."""

    depart_at: AwareDatetime
    """By when."""
    energy_kwh: NotNegative | None = None
    """Energy to have been delivered since plug-in [kWh]; this or ``soc``."""
    soc: Share | None = None
    """State of charge to have reached, 0..1; this or ``energy_kwh``."""

    @model_validator(mode="after")
    def _one_need(self) -> Self:
        if (self.energy_kwh is None) == (self.soc is None):
            raise ValueError("give exactly one of energy_kwh and soc")
        return self


class VehicleBatterySection(Section):
    """A vehicle's battery, for targets in soc, taper and discharging."""

    capacity_kwh: Positive
    """Usable energy [kWh]."""
    soc: Share
    """State of charge at the start, or at arrival, 0..1."""
    charge_efficiency: Part = 1.0
    """Stored over metered energy."""
    knee_soc: Share | None = None
    """State of charge above which acceptance falls linearly to zero; left out: it does not."""
    max_discharge_kw: NotNegative = 0.0
    """Greatest discharging power that the driver consents to [kW]."""
    discharge_floor_soc: Share = 0.5
    """State of charge below which it is never discharged."""


class PowerLimitSection(Section):
    """A limit for a time."""

    limit_kw: NotNegative
    """Greatest power [kW]."""
    start: AwareDatetime | None = None
    """From when; left out: from now."""
    end: AwareDatetime | None = None
    """Until when; left out: to the end."""


class CircuitLimitSection(PowerLimitSection):
    """A further limit on a circuit: a grid event, a contract."""

    circuit_id: Identifier | None = None
    """Which circuit; left out: the root."""
    scope: LimitScope = LimitScope.LOAD
    """What it bounds: load (everything), controllable (vehicles and battery), feed (power out)."""
    source: LimitSource = LimitSource.GRID_EVENT
    """Who set it."""


class VehicleSection(Section):
    """One vehicle, present or to come, and where it charges."""

    id: Identifier
    """Name, unique in the file."""
    targets: tuple[TargetSection, ...] = ()
    """What it needs by when; left out: what ``planning`` assumes for a session that states nothing."""
    arrive_at: AwareDatetime | None = None
    """When it comes; left out: it is there."""
    circuit_id: Identifier | None = None
    """The circuit that feeds its EVSE; left out: the root."""
    max_current_a: Positive = 16.0
    """Greatest current per phase of EVSE and cable [A]."""
    phases: tuple[Phase, ...] = ALL_PHASES
    """The phases behind the plug's L1, L2, L3, in this order."""
    wiring: Wiring = Wiring.LINE_TO_NEUTRAL
    """line_to_neutral, or line_to_line between two phases."""
    voltage_v: Positive = 230.0
    """Voltage across one current path [V]."""
    min_current_a: Positive = 6.0
    """Least current that is not zero [A]."""
    current_step_a: Positive = 1.0
    """Granularity of the limits that the station obeys [A]."""
    phase_switching: bool = False
    """Whether the station can change between one and three phases in a session."""
    phases_used: Annotated[int, Field(ge=1, le=3)] | None = None
    """Phases that the vehicle draws on; left out: all of the EVSE's."""
    max_power_kw: Positive | None = None
    """Greatest power that the vehicle takes [kW]; left out: whatever the EVSE gives."""
    battery: VehicleBatterySection | None = None
    """Its battery, where it matters."""
    priority: Annotated[int, Field(ge=0, le=3)] = 3
    """Who is served first where not everybody can be: 0 reserved, 1 paid level, 2 fleet duty, 3 the rest."""
    delivered_kwh: NotNegative = 0.0
    """Metered energy since plug-in [kWh]."""
    charging_now: bool = False
    """Whether it is charging at the start."""
    wakes_after_pause: bool = True
    """Whether it resumes after a pause at zero current."""
    guaranteed_kw: NotNegative = 0.0
    """Power promised by a reservation [kW]."""
    guaranteed_kwh: NotNegative | None = None
    """Energy for which it is promised [kWh]; left out: that of the last target."""
    power_limits: tuple[PowerLimitSection, ...] = ()
    """Further limits of this EVSE for a time."""
    previous_kw: CourseSection | None = None
    """Power of the plan in force [kW], which the new plan stays near."""


class LoadSection(Section):
    """A load on a circuit that the plan does not decide, other than the building."""

    circuit_id: Identifier
    """Which circuit feeds it."""
    power_kw: CourseSection
    """Its power [kW]."""
    phases: tuple[Phase, ...] = ALL_PHASES
    """The phases it loads equally."""
    voltage_v: Positive = 230.0
    """Voltage to neutral [V]."""


class DemandChargeSection(Section):
    """A charge on the greatest mean import of any metering interval in the horizon."""

    name: str = "demand"
    """Name on the bill."""
    price_per_kw: NotNegative
    """What a further kW costs the plan [currency/kW]."""
    reached_kw: NotNegative = 0.0
    """Peak so far; up to here nothing more is to pay [kW]."""
    interval_minutes: Annotated[int, Field(ge=1, le=1440)] = 15
    """Length of the metering interval [min]."""


class ChargedBatterySection(BatterySection):
    """A stationary battery and what is in it."""

    soc: Share
    """State of charge at the start, 0..1."""
    end_price_per_kwh: float = 0.0
    """Worth of energy left in it at the end [currency/kWh]."""


class ProblemFile(Section):
    """A whole problem: fuses, vehicles, what energy costs, and for how long to plan."""

    start: AwareDatetime
    """From when to plan, with a UTC offset."""
    end: AwareDatetime | None = None
    """Until when; left out: until the last target, without any for a day."""
    slot_minutes: Annotated[int, Field(ge=1, le=1440)] = 15
    """Length of a slot [min]; must divide a day."""
    site_id: Identifier = "site"
    """Name of the site."""
    currency: Currency = "EUR"
    """ISO 4217 code."""
    time_zone: TimeZoneName = "UTC"
    """IANA zone in which times are shown."""
    import_limit_kw: NotNegative | None = None
    """Greatest import [kW]; left out: only the circuits limit."""
    export_limit_kw: NotNegative | None = None
    """Greatest export [kW]; left out: not limited."""
    circuits: tuple[CircuitSection, ...] = ()
    """The tree of fuses; left out: one root without a fuse."""
    limits: tuple[CircuitLimitSection, ...] = ()
    """Further limits on circuits."""
    vehicles: tuple[VehicleSection, ...] = ()
    """The vehicles."""
    import_price_per_kwh: CourseSection
    """Price of import [currency/kWh]."""
    export_price_per_kwh: CourseSection | None = None
    """Paid for export [currency/kWh]; left out: nothing."""
    building_kw: CourseSection | None = None
    """Building load [kW]; left out: none."""
    pv_kw: CourseSection | None = None
    """PV power [kW]; left out: none."""
    pv_curtailable: bool = False
    """Whether PV may be reduced."""
    pv_firm_share: Share = 0.0
    """Share of the PV that may relieve limits."""
    carbon_kg_per_kwh: CourseSection | None = None
    """Marginal emissions of import [kg/kWh]; left out: none."""
    setpoint_kw: CourseSection | None = None
    """Net import to keep [kW], null where none is asked for; left out: none."""
    loads: tuple[LoadSection, ...] = ()
    """Loads on circuits that the plan does not decide."""
    demand_charges: tuple[DemandChargeSection, ...] = ()
    """Charges on the peak."""
    battery: ChargedBatterySection | None = None
    """Stationary battery, where there is one."""
    planning: Planning = PlanningSettings()
    """How to plan, as in the configuration of the service; ``slot_rules`` does not count here."""

    @model_validator(mode="after")
    def _slots_fit(self) -> Self:
        if (24 * 60) % self.slot_minutes:
            raise ValueError("slot_minutes must divide a day, for example 5, 15 or 60")
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"end must be after start {self.start.isoformat()}")
        return self

    @property
    def until(self) -> datetime:
        """Until when to plan."""
        if self.end is not None:
            return self.end
        due = [target.depart_at for vehicle in self.vehicles for target in vehicle.targets]
        last = max(due, default=self.start)
        return last if last > self.start else self.start + timedelta(days=1)
