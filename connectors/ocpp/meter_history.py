"""Judges each reading of one EVSE by those before it, and fills in what can be reckoned from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from connectors.ocpp.flow_states import FlowState
from connectors.ocpp.translate_meter import PREFIX, PREFIX_TOLERANCE_FACTOR, MeterReading
from optimizer.domain.ids import TransactionId
from optimizer.domain.metering import MeterSample, ReadingReason, SampleQuality
from optimizer.domain.site import Evse

USABLE = (SampleQuality.GOOD, SampleQuality.DERIVED)

EXCESS_FACTOR = 1.25
"""Power above the EVSE's greatest by more than this is no measurement: volts rise by 10 %, meters err by a few."""

REGISTER_STEP_KWH = Decimal("0.1")
"""Coarsest register step seen; a rise by less than one step is always possible [kWh]."""

LEAST_LEVEL_KWH = Decimal("0.01")
"""Register from which another one, a thousand times smaller or greater, shows a wrong prefix and no new meter [kWh]."""

READINGS_TO_BELIEVE = 2
"""Readings in a row that agree among themselves but not with the register before: the meter was changed."""

READINGS_TO_KNOW = 100
"""Readings after which what a meter measures is known; there is no need to look at each one for ever."""

LEAST_SPAN_S = 20.0
"""Shortest time over which power is reckoned from registers, whose steps are coarse [s]."""

LEAST_ENERGY_KWH = 0.003
"""Energy by power from which the register's rise is compared with it [kWh]. However coarse a register is, the rise that
is compared is one step of it at least, so a right one would have to lag hundreds of steps behind to look wrong."""

LATE_START_SHARE = 0.1
"""Where nothing flowed at one reading and much at the next, it began before this last part of the time between them: a
register that is right and a vehicle that began a moment ago look the same as one that is a thousand times too small."""

CHARGING_KW = 0.5
"""Power below it is standby, which registers and power meters show differently: it says nothing of prefixes [kW]."""

LONGEST_GAP = timedelta(minutes=30)
"""Two powers further apart say nothing of the energy between them."""


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
        self._prefix = _PrefixCheck()
        self._readings_seen = 0
        self.flow = FlowState()
        """What the EVSE's states are worth beside it."""
        self.measurands: frozenset[str] = frozenset()
        """What it was seen to measure."""
        self.begun_at: datetime | None = None
        """When the newest transaction began [UTC]; ``None``: not known."""
        self.power_kw: float | None = None
        """Power of the newest sample [kW]."""
        self.voltage_v: float | None = None
        """Voltage last measured across a current path [V]."""

    @property
    def tells_kwh_as_wh(self) -> bool:
        """Whether its registers are a thousand times what they say."""
        return self._prefix.is_wrong

    @property
    def register_offset_kwh(self) -> Decimal:
        """What its registers are read lower by than they mean, once their prefix has been found out [kWh]."""
        return self._prefix.offset_kwh

    def expect_kwh_as_wh(self, offset_kwh: Decimal | None = None) -> None:
        """Its registers are a thousand times what they say, as was found before or at another EVSE of its station.

        Args:
            offset_kwh: What they are read lower by, as was found before; ``None``: by what makes them go on [kWh].
        """
        self._prefix.learn_of_it(offset_kwh)

    def start_register(self, register_kwh: Decimal | None, *, in_true_wh: bool) -> Decimal | None:
        """The register at a transaction's start in the prefix that the meter means.

        Args:
            register_kwh: As told.
            in_true_wh: Whether it is in Wh by definition, as in 1.6; 2.x tells it in the same unit as all else.
        """
        if register_kwh is None or not self._prefix.is_wrong:
            return register_kwh
        before_kwh = self._register_kwh
        if not in_true_wh:
            self._prefix.decide(register_kwh, before_kwh)
        mended_kwh = self._prefix.mended(register_kwh)
        if before_kwh is None:
            return register_kwh if in_true_wh else mended_kwh
        return min((register_kwh, mended_kwh), key=lambda candidate_kwh: abs(candidate_kwh - before_kwh))

    def resume(self, transaction_id: TransactionId, samples: Sequence[MeterSample]) -> None:
        """Go on with a transaction that began before the service started.

        Args:
            transaction_id: Which transaction.
            samples: What the store holds of it by time.
        """
        usable = [sample for sample in samples if sample.quality in USABLE and sample.transaction_id == transaction_id]
        self._register_of, self._register_kwh, self._register_at = transaction_id, None, None
        self._prefix.start_anew()
        for sample in usable:
            self._newest_at = sample.at if self._newest_at is None else max(sample.at, self._newest_at)
            if sample.register_kwh is not None:
                self._prefix.observe(sample)
                self._register_kwh, self._register_at = sample.register_kwh, sample.at

    def begin(self, transaction_id: TransactionId, register_kwh: Decimal | None, at: datetime) -> None:
        """A transaction begins: a register that starts anew with each one is as good as one that never does."""
        self._register_of, self._register_kwh, self._register_at = transaction_id, register_kwh, at
        self.begun_at = at
        self._newest_at = at if self._newest_at is None else max(at, self._newest_at)
        self._doubted.clear()
        self._prefix.start_anew()

    def judge(
        self,
        reading: MeterReading,
        at: datetime,
        transaction_id: TransactionId | None,
        received_at: datetime | None = None,
    ) -> MeterSample:
        """The sample that ``reading`` makes, with its quality; power and register completed where they can be.

        One that is stamped before the newest is old, and stale, unless its register is above the newest: registers only
        rise, so it is the stamp that is wrong.

        Args:
            reading: What was said.
            at: When, by our clock [UTC].
            transaction_id: The transaction it belongs to.
            received_at: When it came; ``None``: at once [UTC].
        """
        if self._readings_seen < READINGS_TO_KNOW:
            self._readings_seen += 1
            self.measurands |= reading.measurands
        sample = MeterSample(
            station_id=self._evse.station_id,
            evse_id=self._evse.id,
            at=at,
            transaction_id=transaction_id,
            register_kwh=reading.register_kwh,
            power_kw=reading.power_kw,
            current_a=reading.current_a,
            voltage_v=reading.voltage_v,
            soc=reading.soc,
            reason=reading.reason,
            quality=SampleQuality.DERIVED if reading.derived else SampleQuality.GOOD,
            signed_value=reading.signed_value,
            export_register_kwh=reading.export_register_kwh,
        )
        if self._newest_at is not None and at < self._newest_at:
            mended_kwh = self._mended(sample, in_true_wh=reading.in_true_wh)
            if received_at is None or not self._has_risen(sample, mended_kwh):
                return replace(sample, register_kwh=mended_kwh, quality=SampleQuality.STALE)
            at = max(received_at, self._newest_at)
            sample = replace(sample, at=at, power_kw=None, current_a=None)
        sample = self._with_register(sample, reading)
        sample = self._with_possible_values(sample)
        self._newest_at, self.power_kw = at, sample.power_kw
        self.voltage_v = sample.voltage_v or self.voltage_v
        if sample.register_kwh is not None and sample.quality is not SampleQuality.SUSPECT:
            self._register_kwh, self._register_at, self._register_of = sample.register_kwh, at, transaction_id
        return sample

    def _mended(self, sample: MeterSample, *, in_true_wh: bool) -> Decimal | None:
        """The register in the prefix that the meter means."""
        if sample.register_kwh is None or in_true_wh:
            return sample.register_kwh
        self._prefix.decide(sample.register_kwh, self._register_kwh)
        return self._prefix.mended(sample.register_kwh)

    def _has_risen(self, sample: MeterSample, mended_kwh: Decimal | None) -> bool:
        """Whether the register is above the newest one of the same transaction."""
        if mended_kwh is None or self._register_kwh is None or sample.transaction_id != self._register_of:
            return False
        if sample.reason is ReadingReason.TRANSACTION_BEGIN:
            return mended_kwh >= self._register_kwh
        return mended_kwh > self._register_kwh

    def _with_register(self, sample: MeterSample, reading: MeterReading) -> MeterSample:
        """The register in its right prefix, or the sum of interval energies where the station sends only those."""
        interval_kwh = reading.interval_kwh
        if sample.register_kwh is not None:
            # Nought is nought in every unit; any other register in true Wh says nothing of those in meter values.
            if not reading.in_true_wh or sample.register_kwh == 0:
                self._prefix.observe(sample)
            mended_kwh = self._mended(sample, in_true_wh=reading.in_true_wh)
            right_as_told = reading.in_true_wh or self._is_right_as_told(sample, mended_kwh)
            if mended_kwh != sample.register_kwh and not right_as_told:
                return replace(sample, register_kwh=mended_kwh, quality=SampleQuality.DERIVED)
            return sample
        if interval_kwh is None or self._register_kwh is None:
            return sample
        # A repeat of the newest sample adds nothing.
        added_kwh = Decimal(0) if sample.at == self._newest_at else interval_kwh
        return replace(sample, register_kwh=self._register_kwh + added_kwh, quality=SampleQuality.DERIVED)

    def _is_right_as_told(self, sample: MeterSample, mended_kwh: Decimal | None) -> bool:
        """Whether a register follows the one before as it stands, and would not follow mended: its prefix is right."""
        if not self._prefix.is_wrong:
            return True
        if sample.register_kwh is None or mended_kwh is None or self._register_kwh is None:
            return False
        greatest_kwh = self._greatest_rise_kwh(sample.at)
        if not self._follows(self._register_kwh, sample.register_kwh, greatest_kwh):
            return False
        if sample.transaction_id != self._register_of or self._follows(self._register_kwh, mended_kwh, greatest_kwh):
            return False
        self._prefix.disbelieve()
        return True

    def _with_possible_values(self, sample: MeterSample) -> MeterSample:
        """The sample without what cannot be, power reckoned from the register where it is not told."""
        if sample.current_a is not None and max(sample.current_a) > EXCESS_FACTOR * self._evse.max_current_a:
            sample = replace(sample, current_a=None)
        if sample.power_kw is not None and abs(sample.power_kw) > EXCESS_FACTOR * self._evse.max_power_kw:
            quality = SampleQuality.SUSPECT if sample.register_kwh is None else sample.quality
            sample = replace(sample, power_kw=None, quality=quality)
        if sample.register_kwh is not None and not self._is_possible(sample.register_kwh, sample):
            mended_kwh = self._in_another_prefix(sample.register_kwh, sample)
            if mended_kwh is None:
                return replace(sample, quality=SampleQuality.SUSPECT)
            if mended_kwh > sample.register_kwh:
                self._prefix.believe()
            sample = replace(sample, register_kwh=mended_kwh, quality=SampleQuality.DERIVED)
        if sample.power_kw is None and sample.quality is not SampleQuality.SUSPECT:
            power_kw = self._power_from_register(sample)
            if power_kw is not None:
                return replace(sample, power_kw=power_kw, quality=SampleQuality.DERIVED)
        return sample

    def _follows(self, before_kwh: Decimal, register_kwh: Decimal, greatest_kwh: Decimal) -> bool:
        return 0 <= register_kwh - before_kwh <= greatest_kwh

    def _greatest_rise_kwh(self, at: datetime) -> Decimal:
        """The most that can have flowed since the register held [kWh]."""
        hours = 0.0 if self._register_at is None else max(0.0, (at - self._register_at) / timedelta(hours=1))
        return Decimal(EXCESS_FACTOR * self._evse.max_power_kw * hours) + REGISTER_STEP_KWH

    def _is_possible(self, register_kwh: Decimal, sample: MeterSample) -> bool:
        """Whether the register can have come here from where it was, or else shows a second time that it has."""
        before_kwh = self._register_kwh
        greatest_kwh = self._greatest_rise_kwh(sample.at)
        if (
            before_kwh is None
            or sample.transaction_id != self._register_of
            or self._follows(before_kwh, register_kwh, greatest_kwh)
        ):
            self._doubted.clear()
            return True
        if self._doubted and not self._follows(self._doubted[-1], register_kwh, greatest_kwh):
            self._doubted.clear()
        self._doubted.append(register_kwh)
        if len(self._doubted) < READINGS_TO_BELIEVE or self._in_another_prefix(register_kwh, sample) is not None:
            return False
        self._doubted.clear()
        return True

    def _in_another_prefix(self, register_kwh: Decimal, sample: MeterSample) -> Decimal | None:
        """The register a thousand times greater or smaller, where that is possible; ``None``: neither is."""
        before_kwh, greatest_kwh = self._register_kwh, self._greatest_rise_kwh(sample.at)
        if before_kwh is None or before_kwh < LEAST_LEVEL_KWH:
            return None
        for candidate_kwh in (register_kwh * PREFIX, register_kwh / PREFIX):
            if self._follows(before_kwh, candidate_kwh, greatest_kwh):
                return candidate_kwh
        return None

    def _power_from_register(self, sample: MeterSample) -> float | None:
        if sample.register_kwh is None or self._register_kwh is None or self._register_at is None:
            return None
        span = sample.at - self._register_at
        if sample.transaction_id != self._register_of or span < timedelta(seconds=LEAST_SPAN_S):
            return None
        mean_kw = float(sample.register_kwh - self._register_kwh) / (span / timedelta(hours=1))
        return min(mean_kw, self._evse.max_power_kw) if mean_kw >= 0 else None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What readings in a row say of a register's rise and of the energy by power."""

    rise_kwh: float
    """Rise of the register as told [kWh]."""
    least_kwh: float
    """Energy by the lesser of the powers at both ends [kWh]."""
    most_kwh: float
    """Energy by the greater of them [kWh]."""

    def and_then(self, later: _Seen) -> _Seen:
        """The same up to later readings."""
        return _Seen(self.rise_kwh + later.rise_kwh, self.least_kwh + later.least_kwh, self.most_kwh + later.most_kwh)

    @property
    def shows_prefix(self) -> bool:
        """Whether the register's rise is the energy by power, but for the prefix."""
        meant_kwh, tolerance = self.rise_kwh * PREFIX, PREFIX_TOLERANCE_FACTOR
        least_kwh = max(self.least_kwh / tolerance, self.most_kwh * LATE_START_SHARE)
        return self.most_kwh >= LEAST_ENERGY_KWH and least_kwh <= meant_kwh <= self.most_kwh * tolerance


_NOTHING_SEEN = _Seen(0.0, 0.0, 0.0)


class _PrefixCheck:
    """Compares the register's rise in a transaction with the energy by power, to find kWh that are called Wh.

    power    0     11     11     11   kW, 30 s apart
    energy   0   0..92 92..183 183..275 Wh        between the lesser and the greater power at both ends
    told     0.000  0.031  0.123  0.214 "Wh"      a thousandth of that
    """

    def __init__(self) -> None:
        self._factor = 1
        self.offset_kwh = Decimal(0)
        """What registers are read lower by than they mean, so that they go on from those told before it was found out,
        which are in the book already: a jump between two sessions would be energy that never flowed [kWh]."""
        self._is_undecided = False
        self._first_kwh: Decimal | None = None
        self._told_kwh: Decimal | None = None
        self._last: MeterSample | None = None
        self._seen = _NOTHING_SEEN

    @property
    def is_wrong(self) -> bool:
        """Whether registers are a thousand times too small."""
        return self._factor != 1

    def believe(self) -> None:
        """Another register, in its right prefix, shows this one's to be wrong."""
        self._factor = PREFIX

    def disbelieve(self) -> None:
        """A register shows the prefix to be right: the station was mended, or was never wrong."""
        self._factor, self.offset_kwh = 1, Decimal(0)
        self.start_anew()

    def learn_of_it(self, offset_kwh: Decimal | None) -> None:
        """The prefix is known to be wrong from elsewhere; a transaction that is told by it counts in full from here on.

        Args:
            offset_kwh: As it was found before; ``None``: registers go on from what was told before [kWh].
        """
        if self.is_wrong:
            return
        before_kwh = self._told_kwh if self._first_kwh is None else self._first_kwh
        self._factor = PREFIX
        self.offset_kwh = (before_kwh or Decimal(0)) * (PREFIX - 1) if offset_kwh is None else offset_kwh
        self._is_undecided = before_kwh is None and offset_kwh is None

    def decide(self, told_kwh: Decimal, before_kwh: Decimal | None) -> None:
        """Find what registers are to be read lower by where nothing had been told when the prefix was found out.

        book         5.00      told now 5.01       as told then: they go on from there
                  5000.00               5.01       in full

        Args:
            told_kwh: A register as told now.
            before_kwh: The one before, as the book holds it [kWh].
        """
        if not self._is_undecided or before_kwh is None:
            return
        self._is_undecided = False
        start_kwh = before_kwh if self._first_kwh is None else self._first_kwh
        in_full_kwh, offset_kwh = told_kwh * PREFIX, start_kwh * (PREFIX - 1)
        if abs(in_full_kwh - offset_kwh - before_kwh) < abs(in_full_kwh - before_kwh):
            self.offset_kwh = offset_kwh

    def start_anew(self) -> None:
        """Another transaction: what was found stays, what was summed does not."""
        self._first_kwh, self._last, self._seen = None, None, _NOTHING_SEEN

    def observe(self, sample: MeterSample) -> None:
        """Take note of one sample as it was told; at a transaction's begin nothing flows."""
        told_kwh = sample.register_kwh
        if told_kwh is None:
            return
        if self._first_kwh is None or told_kwh < self._first_kwh:
            self.start_anew()
            self._first_kwh = told_kwh
        self._told_kwh = told_kwh
        if sample.power_kw is None and sample.reason is ReadingReason.TRANSACTION_BEGIN:
            sample = replace(sample, power_kw=0.0)
        last, self._last = self._last, sample
        if not self.is_wrong and last is not None:
            self._compare(last, sample)
        if sample.reason is ReadingReason.TRANSACTION_END:
            self.start_anew()

    def _compare(self, last: MeterSample, sample: MeterSample) -> None:
        """Add what two readings in a row say of rise and energy, and decide."""
        if sample.register_kwh is None or last.register_kwh is None:
            return
        if last.power_kw is None or sample.power_kw is None or sample.at - last.at > LONGEST_GAP:
            return
        if max(last.power_kw, sample.power_kw) < CHARGING_KW:
            return
        hours = (sample.at - last.at) / timedelta(hours=1)
        between = _Seen(
            float(sample.register_kwh - last.register_kwh),
            min(last.power_kw, sample.power_kw) * hours,
            max(last.power_kw, sample.power_kw) * hours,
        )
        self._seen = self._seen.and_then(between)
        # Two readings that both show a vehicle charging are enough: the time stamp of a transaction's begin may be off.
        if self._seen.shows_prefix or (between.least_kwh >= LEAST_ENERGY_KWH and between.shows_prefix):
            # From here on the rise since the transaction's first register counts in full.
            self.learn_of_it(None)

    def mended(self, told_kwh: Decimal) -> Decimal:
        """The register in kWh that the meter means, going on from what was told before."""
        return told_kwh * self._factor - self.offset_kwh
