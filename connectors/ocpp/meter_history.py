"""Judges each reading of one EVSE by those before it, and fills in what can be reckoned from them."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from connectors.ocpp.translate_meter import MeterReading
from optimizer.domain.ids import TransactionId
from optimizer.domain.metering import MeterSample, SampleQuality
from optimizer.domain.site import Evse

EXCESS_FACTOR = 1.25
"""Power above the EVSE's greatest by more than this is no measurement: volts rise by 10 %, meters err by a few."""

REGISTER_STEP_KWH = Decimal("0.1")
"""Coarsest register step seen; a rise by less than one step is always possible [kWh]."""

READINGS_TO_BELIEVE = 3
"""Readings in a row that agree among themselves but not with the register before: the meter was changed."""

LEAST_SPAN_S = 20.0
"""Shortest time over which power is reckoned from registers, whose steps are coarse [s]."""


class MeterHistory:
    """What the meter of one EVSE last said.

    Args:
        evse: Whose meter; its greatest power bounds what is possible.
    """

    def __init__(self, evse: Evse) -> None:
        self._evse = evse
        self._newest_at: datetime | None = None
        self._register_kwh: Decimal | None = None
        self._register_at: datetime | None = None
        self._register_of: TransactionId | None = None
        self._doubted: list[Decimal] = []
        self.power_kw: float | None = None
        """Power of the newest sample [kW]."""

    def begin(self, transaction_id: TransactionId, register_kwh: Decimal | None, at: datetime) -> None:
        """A transaction begins: a register that starts anew with each one is as good as one that never does."""
        self._register_of, self._register_kwh, self._register_at = transaction_id, register_kwh, at
        self._newest_at = at if self._newest_at is None else max(at, self._newest_at)
        self._doubted.clear()

    def judge(self, reading: MeterReading, at: datetime, transaction_id: TransactionId | None) -> MeterSample:
        """The sample that ``reading`` makes, with its quality; power and register completed where they can be.

        Args:
            reading: What was said.
            at: When, by our clock [UTC].
            transaction_id: The transaction it belongs to.
        """
        stale = self._newest_at is not None and at < self._newest_at
        register_kwh = reading.register_kwh if reading.register_kwh is not None else self._summed(reading, at)
        suspect = not stale and register_kwh is not None and not self._possible(register_kwh, at, transaction_id)
        power_kw, current_a, derived = reading.power_kw, reading.current_a, reading.derived
        greatest_kw = EXCESS_FACTOR * self._evse.max_power_kw
        if power_kw is not None and abs(power_kw) > greatest_kw:
            power_kw, suspect = None, suspect or register_kwh is None
        if current_a is not None and max(current_a) > EXCESS_FACTOR * self._evse.max_current_a:
            current_a = None
        if power_kw is None and not stale and not suspect:
            power_kw = self._power_from_register(register_kwh, at, transaction_id)
            derived = power_kw is not None
        if not stale:
            self._newest_at, self.power_kw = at, power_kw
            if register_kwh is not None and not suspect:
                self._register_kwh, self._register_at, self._register_of = register_kwh, at, transaction_id
        derived = derived or (reading.register_kwh is None and register_kwh is not None)
        return MeterSample(
            station_id=self._evse.station_id,
            evse_id=self._evse.id,
            at=at,
            transaction_id=transaction_id,
            register_kwh=register_kwh,
            power_kw=power_kw,
            current_a=current_a,
            voltage_v=reading.voltage_v,
            soc=reading.soc,
            reason=reading.reason,
            quality=_quality(suspect=suspect, stale=stale, derived=derived),
            signed_value=reading.signed_value,
        )

    def _summed(self, reading: MeterReading, at: datetime) -> Decimal | None:
        """A register made of interval energies, for stations that send nothing else; repeats add nothing."""
        if reading.interval_kwh is None or self._register_kwh is None or self._newest_at is None:
            return None
        if at < self._newest_at:
            return None
        return self._register_kwh if at == self._newest_at else self._register_kwh + reading.interval_kwh

    def _possible(self, register_kwh: Decimal, at: datetime, transaction_id: TransactionId | None) -> bool:
        """Whether the register can have come here from where it was."""
        before_kwh, before_at = self._register_kwh, self._register_at
        if before_kwh is None or before_at is None or transaction_id != self._register_of:
            self._doubted.clear()
            return True
        rise_kwh = register_kwh - before_kwh
        hours = (at - before_at) / timedelta(hours=1)
        greatest_kwh = Decimal(EXCESS_FACTOR * self._evse.max_power_kw * max(0.0, hours)) + REGISTER_STEP_KWH
        if 0 <= rise_kwh <= greatest_kwh:
            self._doubted.clear()
            return True
        if self._doubted and not 0 <= register_kwh - self._doubted[-1] <= greatest_kwh:
            self._doubted.clear()
        self._doubted.append(register_kwh)
        if len(self._doubted) < READINGS_TO_BELIEVE:
            return False
        self._doubted.clear()
        return True

    def _power_from_register(
        self, register_kwh: Decimal | None, at: datetime, transaction_id: TransactionId | None
    ) -> float | None:
        if register_kwh is None or self._register_kwh is None or self._register_at is None:
            return None
        span = at - self._register_at
        if transaction_id != self._register_of or span < timedelta(seconds=LEAST_SPAN_S):
            return None
        mean_kw = float(register_kwh - self._register_kwh) / (span / timedelta(hours=1))
        return min(mean_kw, self._evse.max_power_kw) if mean_kw >= 0 else None


def _quality(*, suspect: bool, stale: bool, derived: bool) -> SampleQuality:
    if suspect:
        return SampleQuality.SUSPECT
    if stale:
        return SampleQuality.STALE
    return SampleQuality.DERIVED if derived else SampleQuality.GOOD
