"""OCPP meter values -> one reading in kW, kWh, A and V, whatever unit, phase and measurand the station chose."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from math import sqrt
from typing import Final

from connectors.ocpp.frames import Json
from connectors.ocpp.translate import decimal_number, float_number, instant, part, parts
from optimizer.domain.metering import ReadingReason
from optimizer.domain.site import CurrentType, Evse, Wiring

PhaseCurrents = tuple[float, float, float]

_REGISTER = "Energy.Active.Import.Register"
_DEFAULT_REASON = "Sample.Periodic"

_PHASES: Final = {"L1": 0, "L2": 1, "L3": 2, "L1-N": 0, "L2-N": 1, "L3-N": 2}
_LINE_PAIRS: Final = {"L1-L2", "L2-L3", "L3-L1"}

# Energy written in W or kW and power written in Wh or kWh are slips of the field; the number means what its name says.
_ENERGY_EXPONENT: Final = {"": -3, "wh": -3, "w": -3, "kwh": 0, "kw": 0, "mwh": 3}
_POWER_EXPONENT: Final = {"": -3, "w": -3, "wh": -3, "va": -3, "kw": 0, "kwh": 0, "kva": 0}
_CURRENT_EXPONENT: Final = {"": 0, "a": 0, "ma": -3}
_VOLTAGE_EXPONENT: Final = {"": 0, "v": 0, "mv": -3, "kv": 3}

_REASONS: Final = {
    "Transaction.Begin": ReadingReason.TRANSACTION_BEGIN,
    "Transaction.End": ReadingReason.TRANSACTION_END,
    "Sample.Clock": ReadingReason.CLOCK,
    "Sample.Periodic": ReadingReason.PERIODIC,
    "Interruption.Begin": ReadingReason.INTERRUPTION,
    "Interruption.End": ReadingReason.INTERRUPTION,
    "Trigger": ReadingReason.TRIGGER,
}

PREFIX = 1000
"""A prefix left out or added: kW for W."""

PREFIX_TOLERANCE_FACTOR = 2.0
"""How far from exactly 1000 a ratio of two measures of the same may be and still show a wrong prefix; power factor,
rounding and the time between samples move it by tens of percent, never by two."""

PATHS_SEEN = 2.0
"""More current paths than this, reckoned from power, show that one current stands for all three phases."""

CURRENT_SEEN_A = 0.5
"""Below it a phase counts as not in use [A]."""


@dataclass(frozen=True, slots=True)
class MeterReading:
    """What one meter value said, in units of the domain, before it is judged against earlier ones."""

    at: datetime | None
    """Time stamp as sent [UTC]."""
    reason: ReadingReason
    """Why it was taken."""
    register_kwh: Decimal | None = None
    """Import register [kWh]."""
    interval_kwh: Decimal | None = None
    """Energy since the value before, where the station sends that in place of a register [kWh]."""
    power_kw: float | None = None
    """Active power, import positive [kW]."""
    current_a: PhaseCurrents | None = None
    """Current on the plug's L1, L2, L3 [A]."""
    voltage_v: float | None = None
    """Mean voltage as the EVSE is wired [V]."""
    soc: float | None = None
    """State of charge, 0..1."""
    signed_value: str | None = None
    """Signed value as received; several are kept one a line."""
    export_register_kwh: Decimal | None = None
    """Export register [kWh]."""
    derived: bool = False
    """Whether power was computed from other measurands, or its prefix mended."""
    in_true_wh: bool = False
    """Whether the register came in Wh by definition, as at begin and end of a transaction of 1.6, whatever meter values
    say."""
    slips: tuple[str, ...] = ()
    """Values that could not be used."""

    @property
    def measurands(self) -> frozenset[str]:
        """What was measured of what stations are asked for; power that was reckoned is none of it."""
        told = {
            _REGISTER: self.register_kwh,
            "Energy.Active.Export.Register": self.export_register_kwh,
            "Power.Active.Import": None if self.derived else self.power_kw,
            "Current.Import": self.current_a,
            "Voltage": self.voltage_v,
            "SoC": self.soc,
        }
        return frozenset(name for name, value in told.items() if value is not None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing in it can be used."""
        measured = (
            self.register_kwh,
            self.export_register_kwh,
            self.interval_kwh,
            self.power_kw,
            self.current_a,
            self.voltage_v,
            self.soc,
        )
        return self.signed_value is None and all(value is None for value in measured)


@dataclass(eq=False, slots=True)
class _Phased:
    """A quantity as a total, or by phase, or both."""

    total_value: float | None = None
    phase_values: dict[int, float] = field(default_factory=dict)

    def put(self, value: Json, number: float | None) -> bool:
        """Keep ``number`` under the phase that ``value`` names; whether there was a number."""
        if number is None:
            return False
        phase = value.get("phase")
        if isinstance(phase, str) and phase in _PHASES:
            self.phase_values[_PHASES[phase]] = number
        elif phase != "N":
            self.total_value = number
        return True

    def whole(self) -> float | None:
        """The total, else the sum of the phases."""
        if self.total_value is None and self.phase_values:
            return sum(self.phase_values.values())
        return self.total_value


@dataclass(eq=False, slots=True)
class _Gathered:
    """Values of one time stamp, gathered before they are combined."""

    register_kwh: Decimal | None = None
    register_by_phase_kwh: dict[str, Decimal] = field(default_factory=dict)
    interval_kwh: Decimal | None = None
    imported_kw: _Phased = field(default_factory=_Phased)
    exported_kw: _Phased = field(default_factory=_Phased)
    imported_a: _Phased = field(default_factory=_Phased)
    exported_a: _Phased = field(default_factory=_Phased)
    to_neutral_v: list[float] = field(default_factory=list)
    between_lines_v: list[float] = field(default_factory=list)
    soc: float | None = None
    export_register_kwh: Decimal | None = None
    slips: list[str] = field(default_factory=list)

    @property
    def flow_a(self) -> _Phased:
        """The current: stations that report export alone mean import by it."""
        imported = self.imported_a
        return imported if imported.phase_values or imported.total_value is not None else self.exported_a


def read_meter_value(entry: Json, evse: Evse) -> MeterReading:
    """Read one element of ``meterValue`` (1.6 and 2.x).

    Args:
        entry: The element: a time stamp and its sampled values.
        evse: Where it was measured: its wiring says what a value without a phase means.
    """
    values = [value for value in parts(entry, "sampledValue") if isinstance(value, dict)]
    # The grid side of a DC station ("Inlet") repeats the power with the station's own losses.
    context = _leading_context(values)
    gathered = _Gathered()
    for value in values:
        if value.get("context", _DEFAULT_REASON) == context and value.get("location") != "Inlet":
            _gather(value, gathered)
    voltage_v = _voltage(gathered, evse)
    power_kw, derived = _power(gathered, evse, voltage_v)
    register_kwh = gathered.register_kwh
    if register_kwh is None and gathered.register_by_phase_kwh:
        register_kwh = sum(gathered.register_by_phase_kwh.values(), Decimal(0))
    return MeterReading(
        at=instant(entry.get("timestamp")),
        reason=_REASONS.get(context, ReadingReason.OTHER),
        register_kwh=register_kwh,
        interval_kwh=gathered.interval_kwh,
        power_kw=power_kw,
        current_a=_currents(gathered, evse, power_kw, voltage_v),
        voltage_v=voltage_v,
        soc=gathered.soc,
        signed_value="\n".join(dict.fromkeys(filter(None, map(_signed_value, values)))) or None,
        export_register_kwh=gathered.export_register_kwh,
        derived=derived,
        slips=tuple(gathered.slips),
    )


def _leading_context(values: list[Json]) -> str:
    """The context that most values have: some stations repeat the start register in every later meter value."""
    counts: dict[str, int] = {}
    for value in values:
        context = value.get("context", _DEFAULT_REASON)
        if isinstance(context, str):
            counts[context] = counts.get(context, 0) + 1
    return max(counts, key=counts.__getitem__, default=_DEFAULT_REASON)


def _gather(value: Json, gathered: _Gathered) -> None:
    """Sort one sampled value into ``gathered``."""
    if value.get("format") == "SignedData":
        return
    measurand = value.get("measurand") or _REGISTER
    reader = _READERS.get(measurand) if isinstance(measurand, str) else None
    if reader is not None and not reader(value, gathered):
        gathered.slips.append(f"{measurand} {value.get('value')!r} {value.get('unit', '')!r}"[:80])


def _signed_value(value: Json) -> str | None:
    """A signed value with every character of its signature, whatever the context it was taken in (1.6 and 2.x)."""
    signed = part(value, "signedMeterValue")
    if signed:
        return json.dumps(signed, separators=(",", ":"), ensure_ascii=False, default=str)
    is_signed = value.get("format") == "SignedData" and isinstance(value.get("value"), str)
    return str(value["value"]) if is_signed else None


def _unit(value: Json) -> tuple[str, int]:
    """Unit in small letters and the power of ten of its multiplier."""
    unit = value.get("unit")
    if unit is None:
        measure = part(value, "unitOfMeasure")
        unit = measure.get("unit", "")
        multiplier = measure.get("multiplier", 0)
        if isinstance(multiplier, int) and abs(multiplier) <= 9:
            return (unit.strip().lower() if isinstance(unit, str) else "", multiplier)
        return ("?", 0)
    return (unit.strip().lower() if isinstance(unit, str) else "?", 0)


def _energy_kwh(value: Json) -> Decimal | None:
    unit, multiplier = _unit(value)
    exponent = _ENERGY_EXPONENT.get(unit)
    number = decimal_number(value.get("value"))
    return None if exponent is None or number is None else number.scaleb(exponent + multiplier)


def _scaled(value: Json, exponents: dict[str, int]) -> float | None:
    unit, multiplier = _unit(value)
    exponent = exponents.get(unit)
    number = float_number(value.get("value"))
    return None if exponent is None or number is None else _shifted(number, exponent + multiplier)


def _shifted(number: float, exponent: int) -> float:
    """``number`` times a power of ten; negative powers divide, which keeps 1634 W at 1.634 kW."""
    return number * 10.0**exponent if exponent >= 0 else number / 10.0**-exponent


def _read_register(value: Json, gathered: _Gathered) -> bool:
    energy_kwh = _energy_kwh(value)
    if energy_kwh is None or energy_kwh < 0:
        return False
    phase = value.get("phase")
    if isinstance(phase, str) and phase in _PHASES:
        gathered.register_by_phase_kwh[phase] = energy_kwh
    else:
        gathered.register_kwh = energy_kwh
    return True


def _read_export_register(value: Json, gathered: _Gathered) -> bool:
    if isinstance(value.get("phase"), str):
        return True
    energy_kwh = _energy_kwh(value)
    gathered.export_register_kwh = energy_kwh if energy_kwh is not None and energy_kwh >= 0 else None
    return gathered.export_register_kwh is not None


def _read_interval(value: Json, gathered: _Gathered) -> bool:
    gathered.interval_kwh = _energy_kwh(value)
    return gathered.interval_kwh is not None


def _read_voltage(value: Json, gathered: _Gathered) -> bool:
    voltage_v = _scaled(value, _VOLTAGE_EXPONENT)
    if voltage_v is None or voltage_v < 0:
        return False
    between_lines = value.get("phase") in _LINE_PAIRS
    (gathered.between_lines_v if between_lines else gathered.to_neutral_v).append(voltage_v)
    return True


def _read_soc(value: Json, gathered: _Gathered) -> bool:
    percent = float_number(value.get("value"))
    if percent is None or not 0 <= percent <= 100:
        return False
    gathered.soc = percent / 100.0
    return True


_READERS: Final[dict[str, Callable[[Json, _Gathered], bool]]] = {
    _REGISTER: _read_register,
    "Energy.Active.Export.Register": _read_export_register,
    "Energy.Active.Import.Interval": _read_interval,
    "Power.Active.Import": lambda value, gathered: gathered.imported_kw.put(value, _scaled(value, _POWER_EXPONENT)),
    "Power.Active.Export": lambda value, gathered: gathered.exported_kw.put(value, _scaled(value, _POWER_EXPONENT)),
    "Current.Import": lambda value, gathered: gathered.imported_a.put(value, _scaled(value, _CURRENT_EXPONENT)),
    "Current.Export": lambda value, gathered: gathered.exported_a.put(value, _scaled(value, _CURRENT_EXPONENT)),
    "Voltage": _read_voltage,
    "SoC": _read_soc,
}
"""Measurands that are used; all others pass without complaint."""


def _voltage(gathered: _Gathered, evse: Evse) -> float | None:
    """Mean voltage across a current path of the EVSE; phases that carry none do not count."""
    to_neutral = [value for value in gathered.to_neutral_v if value > 0]
    between_lines = [value for value in gathered.between_lines_v if value > 0]
    if evse.wiring is Wiring.LINE_TO_LINE:
        chosen, factor = (between_lines, 1.0) if between_lines else (to_neutral, 1.0)
    else:
        chosen, factor = (to_neutral, 1.0) if to_neutral else (between_lines, 1 / sqrt(3))
    return factor * sum(chosen) / len(chosen) if chosen else None


def _power(gathered: _Gathered, evse: Evse, voltage_v: float | None) -> tuple[float | None, bool]:
    """Power import less export, and whether it is derived: total, else sum of phases, else volts times amperes."""
    apparent_kw = _apparent_kw(gathered, evse, voltage_v)
    imported, exported_kw = gathered.imported_kw, gathered.exported_kw.whole()
    power_kw, derived = imported.whole(), imported.total_value is None and len(imported.phase_values) > 1
    if power_kw is None:
        if exported_kw is None:
            return apparent_kw, apparent_kw is not None
        return -exported_kw, True
    if apparent_kw is not None:
        carrying = {phase for phase, current_a in gathered.flow_a.phase_values.items() if current_a > CURRENT_SEEN_A}
        if imported.total_value is None and carrying - imported.phase_values.keys():
            power_kw, derived = apparent_kw, True
        power_kw, mended = _with_right_prefix(power_kw, apparent_kw)
        derived = derived or mended
    return (power_kw - exported_kw, True) if exported_kw else (power_kw, derived)


def _apparent_kw(gathered: _Gathered, evse: Evse, voltage_v: float | None) -> float | None:
    """Volts times amperes; a current without a phase counts on every path, the most that it can mean [kVA]."""
    flow_a = gathered.flow_a
    if evse.current_type is CurrentType.DC:
        # Volts and amperes of the plug have nothing to do with those of the supply.
        if flow_a.total_value is None or voltage_v is None:
            return None
        return flow_a.total_value * voltage_v / 1000.0
    across_v = voltage_v if voltage_v is not None else evse.voltage_v
    if flow_a.phase_values:
        currents_a = flow_a.phase_values.values()
        total_a = max(currents_a) if evse.wiring is Wiring.LINE_TO_LINE else sum(currents_a)
        return total_a * across_v / 1000.0
    return None if flow_a.total_value is None else flow_a.total_value * across_v * evse.current_paths / 1000.0


def _with_right_prefix(power_kw: float, apparent_kw: float) -> tuple[float, bool]:
    """Power with its prefix mended where volts times amperes show that it is a thousand times off."""
    if power_kw <= 0 or apparent_kw <= 0.1:
        return power_kw, False
    if shows_prefix(apparent_kw / power_kw):
        return power_kw * PREFIX, True
    if shows_prefix(power_kw / apparent_kw):
        return power_kw / PREFIX, True
    return power_kw, False


def shows_prefix(ratio: float) -> bool:
    """Whether two measures of the same differ by a prefix left out, not by tolerances."""
    return PREFIX / PREFIX_TOLERANCE_FACTOR <= ratio <= PREFIX * PREFIX_TOLERANCE_FACTOR


def _currents(gathered: _Gathered, evse: Evse, power_kw: float | None, voltage_v: float | None) -> PhaseCurrents | None:
    """Current per phase of the plug; ``None`` for DC, and where a total cannot be told from a phase."""
    if evse.current_type is CurrentType.DC:
        return None
    by_phase = gathered.flow_a.phase_values
    as_told = (by_phase.get(0, 0.0), by_phase.get(1, 0.0), by_phase.get(2, 0.0)) if by_phase else None
    if len(by_phase) > 1:
        return as_told
    alone_a = next(iter(by_phase.values()), gathered.flow_a.total_value)
    if alone_a is None:
        return None
    if evse.wiring is Wiring.LINE_TO_LINE:
        return alone_a, alone_a, 0.0
    if evse.current_paths == 1 or alone_a <= CURRENT_SEEN_A:
        return alone_a, 0.0, 0.0
    across_v = voltage_v if voltage_v is not None else evse.voltage_v
    paths_in_use = 0.0 if power_kw is None else power_kw * 1000.0 / (across_v * alone_a)
    return (alone_a, alone_a, alone_a) if paths_in_use > PATHS_SEEN else as_told
