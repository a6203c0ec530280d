"""The settings of a virtual station that a central system may read and change, by their names in both versions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from optimizer.domain.site import Evse
from scenarios.station_core import StationCore
from scenarios.station_readings import ALIGNED, SAMPLED

FEATURE_PROFILES = "Core,FirmwareManagement,LocalAuthListManagement,Reservation,SmartCharging,RemoteTrigger"


@dataclass(frozen=True, slots=True)
class StationVariable:
    """One setting."""

    key: str
    """Name in OCPP 1.6; empty where it has none."""
    component: str
    """Component in OCPP 2.0.1; empty where it has none."""
    variable: str
    """Variable of the component."""
    read: Callable[[], str] | None
    """Gives the value; ``None``: it is secret."""
    write: Callable[[str, datetime], bool] | None = None
    """Takes a value and says whether it can be; ``None``: read only."""


def station_variables(core: StationCore) -> tuple[StationVariable, ...]:
    """All settings of a station."""
    settings, rules = core.settings, core.rules
    units = sorted(unit.value for unit in rules.units)
    return (
        StationVariable("ClockAlignedDataInterval", "AlignedDataCtrlr", "Interval",
                        lambda: str(core.readings.aligned_s), _seconds(core.readings.set_aligned)),
        StationVariable("MeterValueSampleInterval", "SampledDataCtrlr", "TxUpdatedInterval",
                        lambda: str(core.readings.sampled_s), _seconds(core.set_sample_interval)),
        StationVariable("HeartbeatInterval", "OCPPCommCtrlr", "HeartbeatInterval",
                        lambda: str(core.heartbeat_interval_s), _seconds(core.set_heartbeat_interval)),
        StationVariable("MeterValuesAlignedData", "AlignedDataCtrlr", "Measurands",
                        *_measurands(core, ALIGNED)),
        StationVariable("MeterValuesSampledData", "SampledDataCtrlr", "TxUpdatedMeasurands",
                        *_measurands(core, SAMPLED)),
        StationVariable("ChargeProfileMaxStackLevel", "SmartChargingCtrlr", "ProfileStackLevel",
                        lambda: str(rules.max_stack_level)),
        StationVariable("ChargingScheduleMaxPeriods", "SmartChargingCtrlr", "PeriodsPerSchedule",
                        lambda: str(rules.max_periods)),
        StationVariable("MaxChargingProfilesInstalled", "SmartChargingCtrlr", "Entries",
                        lambda: str(rules.max_installed)),
        StationVariable("ChargingScheduleAllowedChargingRateUnit", "", "",
                        lambda: ",".join("Current" if unit == "A" else "Power" for unit in units)),
        StationVariable("", "SmartChargingCtrlr", "RateUnit", lambda: ",".join(units)),
        StationVariable("ConnectorSwitch3to1PhaseSupported", "SmartChargingCtrlr", "ACPhaseSwitchingSupported",
                        lambda: str(any(state.physics.evse.phase_switching for state in core.evses.values())).lower()),
        StationVariable("", "V2XChargingCtrlr", "SupportedOperationModes",
                        lambda: "ChargingOnly,CentralSetpoint" if rules.discharges else "ChargingOnly"),
        StationVariable("NumberOfConnectors", "", "", lambda: str(len(core.evses))),
        StationVariable("SupportedFeatureProfiles", "", "", lambda: FEATURE_PROFILES),
        StationVariable("", "ChargingStation", "VendorName", lambda: settings.vendor),
        StationVariable("", "ChargingStation", "Model", lambda: settings.model),
        StationVariable("", "ChargingStation", "SupplyPhases", lambda: str(_greatest_paths(core))),
        StationVariable("AuthorizationKey", "SecurityCtrlr", "BasicAuthPassword", None, core.set_password),
    )  # fmt: skip


def _measurands(core: StationCore, context: str) -> tuple[Callable[[], str], Callable[[str, datetime], bool]]:
    readings = core.readings
    return (lambda: ",".join(readings.measurands[context])), (lambda value, _now: readings.choose(context, value))


def _seconds(apply: Callable[[int, datetime], None]) -> Callable[[str, datetime], bool]:
    def write(value: str, now: datetime) -> bool:
        if not value.isdigit():
            return False
        apply(int(value), now)
        return True

    return write


def _greatest_paths(core: StationCore) -> int:
    evses: list[Evse] = [state.physics.evse for state in core.evses.values()]
    return max((evse.current_paths for evse in evses), default=1)
