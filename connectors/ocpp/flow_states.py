"""A state says whether power flows, and so does the meter: where the two part, the meter is right.

state    Charging        SuspendedEV
meter    7.0    7.0      (silent)                     nothing flows: many stations are silent then
state    Charging        SuspendedEV ...
meter    7.0    7.0      7.0    7.0    7.0            it charges, whatever it says; it is not believed again
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from optimizer.domain.charger import ConnectorStatus
from optimizer.domain.metering import MeterSample, SampleQuality

FLOWS_KW = 0.5
"""Power from which a vehicle charges; below it is standby [kW]."""

SETTLES_WITHIN = timedelta(seconds=30)
"""A current that ends with a change of state may still be metered for this long."""

_SUSPENDED: Final = frozenset(
    {ConnectorStatus.SUSPENDED_BY_EVSE, ConnectorStatus.SUSPENDED_BY_VEHICLE, ConnectorStatus.FINISHING}
)


class FlowState:
    """What the states of one EVSE are worth."""

    def __init__(self) -> None:
        self._suspended_at: datetime | None = None
        self._is_contradicted = False

    def borne_out(self, told: ConnectorStatus, at: datetime, power_kw: float | None) -> ConnectorStatus:
        """The state in which the EVSE is.

        Args:
            told: As the station says.
            at: Since when, or still [UTC].
            power_kw: Power of the newest sample; ``None``: not known [kW].
        """
        if told not in _SUSPENDED:
            self._suspended_at = None
            return told
        if self._is_contradicted and (power_kw or 0.0) > FLOWS_KW:
            return ConnectorStatus.CHARGING
        self._suspended_at = self._suspended_at or at
        return told

    def ends_power(self, state: ConnectorStatus) -> bool:
        """Whether nothing flows in a state as it was borne out, though no meter says so."""
        return state is ConnectorStatus.AVAILABLE or (state in _SUSPENDED and not self._is_contradicted)

    def contradicts(self, sample: MeterSample) -> bool:
        """Whether a sample shows that the EVSE charges though its station says otherwise; from then on that counts."""
        if self._suspended_at is None or sample.at < self._suspended_at + SETTLES_WITHIN:
            return False
        usable = sample.quality in (SampleQuality.GOOD, SampleQuality.DERIVED)
        if not usable or (sample.power_kw or 0.0) <= FLOWS_KW:
            return False
        self._is_contradicted, self._suspended_at = True, None
        return True
