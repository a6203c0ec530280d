"""Readings judged by those before them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from connectors.ocpp.meter_history import MeterHistory
from connectors.ocpp.translate_meter import MeterReading
from optimizer.domain.ids import TransactionId
from optimizer.domain.metering import ReadingReason, SampleQuality

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
TX = TransactionId("1")
GOOD, DERIVED, SUSPECT, STALE = SampleQuality


@pytest.fixture
def history(make_evse):
    """Of an EVSE of 32 A on three phases: 22.08 kW."""
    return MeterHistory(make_evse("S", 1))


def says(history, minute, register=None, power_kw=None, transaction_id=TX, **more):
    register_kwh = None if register is None else Decimal(str(register))
    reading = MeterReading(None, ReadingReason.PERIODIC, register_kwh, power_kw=power_kw, **more)
    return history.judge(reading, START + timedelta(minutes=minute), transaction_id)


@pytest.mark.parametrize(
    ("told", "qualities"),
    [
        pytest.param([(0, 100), (10, 101), (20, 102)], [GOOD, GOOD, GOOD], id="rises"),
        pytest.param([(0, 100), (10, 100), (20, 100)], [GOOD, GOOD, GOOD], id="stands"),
        pytest.param([(0, 100), (10, 0), (20, 102)], [GOOD, SUSPECT, GOOD], id="drops to zero once"),
        pytest.param([(0, 100), (10, 99.9), (20, 101)], [GOOD, SUSPECT, GOOD], id="slips back"),
        pytest.param([(0, 100), (10, 110), (20, 102)], [GOOD, SUSPECT, GOOD], id="jumps beyond the EVSE's power"),
        pytest.param([(0, 100), (10, 104.5)], [GOOD, GOOD], id="rises by what the EVSE can at most give"),
        pytest.param(
            [(0, 100), (10, 5), (20, 6), (30, 7), (40, 8)], [GOOD, SUSPECT, SUSPECT, GOOD, GOOD], id="a new meter"
        ),
        pytest.param(
            [(0, 100), (10, 5), (20, 900), (30, 4), (40, 101)],
            [GOOD, SUSPECT, SUSPECT, SUSPECT, GOOD],
            id="nonsense never agrees with itself",
        ),
        pytest.param([(0, 100), (10, 101), (5, 100.5), (20, 102)], [GOOD, GOOD, STALE, GOOD], id="an old one between"),
        pytest.param([(0, 100), (10, 101), (10, 101)], [GOOD, GOOD, GOOD], id="a repeat"),
    ],
)
def test_register_course(history, told, qualities) -> None:
    assert [says(history, minute, register, 5.0).quality for minute, register in told] == qualities


def test_stale_sample_keeps_its_values(history) -> None:
    says(history, 10, 101, 5.0)
    sample = says(history, 5, 100.5, 4.0)
    assert (sample.register_kwh, sample.power_kw, sample.at) == (Decimal("100.5"), 4.0, START + timedelta(minutes=5))


def test_register_may_start_anew_with_a_transaction(history) -> None:
    says(history, 0, 100, 5.0)
    history.begin(TransactionId("2"), Decimal(0), START + timedelta(minutes=1))
    assert says(history, 11, 1, 5.0, TransactionId("2")).quality is GOOD


class TestPower:
    def test_is_reckoned_from_registers_where_none_is_told(self, history) -> None:
        assert says(history, 0, 100).power_kw is None
        sample = says(history, 10, 101)
        assert (sample.power_kw, sample.quality) == (pytest.approx(6.0), DERIVED)

    def test_is_not_reckoned_over_seconds(self, history) -> None:
        says(history, 0, 100)
        assert says(history, 0.1, 100.01).power_kw is None

    def test_beyond_the_evse_is_dropped_and_reckoned(self, history) -> None:
        says(history, 0, 100, 5.0)
        sample = says(history, 10, 101, 60.0)
        assert (sample.power_kw, sample.quality) == (pytest.approx(6.0), DERIVED)

    def test_beyond_the_evse_without_a_register_is_suspect(self, history) -> None:
        sample = says(history, 0, None, 60.0)
        assert (sample.power_kw, sample.quality) == (None, SUSPECT)

    def test_currents_beyond_the_evse_are_dropped(self, history) -> None:
        assert says(history, 0, 100, 5.0, current_a=(320.0, 0.0, 0.0)).current_a is None


class TestIntervalEnergy:
    def test_makes_a_register_from_the_transactions_start(self, history) -> None:
        history.begin(TX, Decimal(10), START)
        samples = [says(history, minute, interval_kwh=Decimal("0.5")) for minute in (15, 30)]
        assert [sample.register_kwh for sample in samples] == [Decimal("10.5"), Decimal("11.0")]
        assert samples[-1].quality is DERIVED
        assert samples[-1].power_kw == pytest.approx(2.0)

    def test_repeat_adds_nothing(self, history) -> None:
        history.begin(TX, Decimal(10), START)
        says(history, 15, interval_kwh=Decimal("0.5"))
        assert says(history, 15, interval_kwh=Decimal("0.5")).register_kwh == Decimal("10.5")

    def test_without_a_start_there_is_no_register(self, history) -> None:
        assert says(history, 15, interval_kwh=Decimal("0.5")).register_kwh is None
