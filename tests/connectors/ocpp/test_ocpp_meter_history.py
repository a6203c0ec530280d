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
            [(0, 100), (10, 5), (20, 6), (30, 7), (40, 8)], [GOOD, SUSPECT, GOOD, GOOD, GOOD], id="a new meter"
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


class TestPrefix:
    """A register in kWh that is called Wh: a thousand times too small."""

    def test_level_of_the_transactions_start_shows_it(self, history) -> None:
        history.begin(TX, Decimal(1000), START)
        samples = [says(history, minute, f"{1 + minute / 10000:.6f}", 6.0) for minute in (10, 20, 30)]
        assert [sample.register_kwh for sample in samples] == [Decimal(1001), Decimal(1002), Decimal(1003)]
        assert {sample.quality for sample in samples} == {DERIVED}
        assert says(history, 40, 1004, 0.0, in_true_wh=True).register_kwh == Decimal(1004)

    def test_start_of_the_next_transaction_is_told_in_either_unit(self, history) -> None:
        history.begin(TX, Decimal(1000), START)
        for minute in (10, 20, 30):
            says(history, minute, f"{1 + minute / 10000:.6f}", 6.0)
        assert history.start_register(Decimal(1003), in_true_wh=True) == Decimal(1003)
        assert history.start_register(Decimal("1.003"), in_true_wh=False) == Decimal(1003)
        assert history.start_register(None, in_true_wh=False) is None

    @pytest.mark.parametrize(
        ("told", "in_true_wh"), [pytest.param("1003", True, id="1.6"), pytest.param("1.003", False, id="2.x")]
    )
    def test_what_the_service_knew_before_it_started_holds_for_the_first_register(
        self, history, told, in_true_wh
    ) -> None:
        history.expect_kwh_as_wh()
        assert history.start_register(Decimal(told), in_true_wh=in_true_wh) == Decimal(1003)

    def test_registers_go_on_after_the_transaction_in_which_it_was_found_out(self, history) -> None:
        history.begin(TX, Decimal(5), START)
        says(history, 0, "5", 0.0)
        assert says(history, 2, "5.0002", 6.0).register_kwh == Decimal("5.2")
        assert history.start_register(Decimal("5.0002"), in_true_wh=False) == Decimal("5.2"), (
            "a jump would be energy that never flowed"
        )

    def test_another_evse_of_the_station_goes_on_from_what_it_told_before(self, history) -> None:
        says(history, 0, "5.0", 0.0)
        history.expect_kwh_as_wh()
        assert says(history, 5, "5.001", 6.0).register_kwh == Decimal("6.0")

    def test_a_start_in_true_wh_says_nothing_of_what_meter_values_told_before(self, history) -> None:
        history.begin(TX, Decimal("0.05"), START)
        history.judge(MeterReading(None, ReadingReason.TRANSACTION_BEGIN, Decimal("0.05"), in_true_wh=True), START, TX)
        history.expect_kwh_as_wh()
        assert says(history, 0.5, "0.000057", 1.4).register_kwh == Decimal("0.057")
        assert says(history, 1, "0.1", 0.0, in_true_wh=True).register_kwh == Decimal("0.1")

    def test_a_start_that_is_mended_already_decides_nothing(self, history) -> None:
        """In 2.x, when another EVSE of the station had shown the prefix before anything was told here."""
        history.expect_kwh_as_wh()
        start_kwh = history.start_register(Decimal("0.00005"), in_true_wh=False)
        history.begin(TX, start_kwh, START)
        history.judge(MeterReading(None, ReadingReason.TRANSACTION_BEGIN, start_kwh, in_true_wh=True), START, TX)
        assert says(history, 0.5, "0.000053", 1.4).register_kwh == Decimal("0.053")

    def test_level_of_a_start_in_true_wh_shows_it_for_a_new_meter_too(self, history) -> None:
        history.begin(TX, Decimal("0.05"), START)
        samples = [says(history, minute, told, 4.1) for minute, told in ((0.5, "0.000082"), (1, "0.000116"))]
        assert [sample.register_kwh for sample in samples] == [Decimal("0.082"), Decimal("0.116")]
        assert says(history, 1.1, "0.12", 0.0, in_true_wh=True).register_kwh == Decimal("0.12")

    def test_few_watt_hours_show_it(self, history) -> None:
        history.begin(TX, Decimal(0), START)
        says(history, 0, "0", 0.0)
        sample = says(history, 0.5, "0.000030", 6.0)
        assert (sample.register_kwh, sample.quality) == (Decimal("0.03"), DERIVED)
        assert history.tells_kwh_as_wh

    @pytest.mark.parametrize(
        ("first", "stored", "told", "meant"),
        [
            pytest.param("5", "5.2", "5.0004", "5.4", id="mended from the transaction's start on"),
            pytest.param("5000", "5000.2", "5.0004", "5000.4", id="mended in full"),
        ],
    )
    def test_a_transaction_goes_on_after_a_restart_of_the_service(
        self, history, make_evse, first, stored, told, meant
    ) -> None:
        # What the store holds of it, by another process.
        history.begin(TX, Decimal(first), START)
        kept = [says(history, 0, first, 0.0), says(history, 2, "5.0002", 6.0)]
        assert kept[-1].register_kwh == Decimal(stored)
        after = MeterHistory(make_evse("S", 1))
        after.expect_kwh_as_wh(history.register_offset_kwh)
        after.resume(TX, kept)
        assert says(after, 4, told, 6.0).register_kwh == Decimal(meant)

    @pytest.mark.parametrize(
        ("kept", "told", "meant"),
        [
            pytest.param(["5", "5"], "5.0001", "5.1", id="told in the wrong prefix"),
            pytest.param(["5000", "5000"], "5.0001", "5000.1", id="told in true Wh"),
        ],
    )
    def test_a_transaction_goes_on_after_a_restart_where_another_evse_shows_the_prefix(
        self, history, make_evse, kept, told, meant
    ) -> None:
        history.begin(TX, Decimal(kept[0]), START)
        stored = [says(history, minute, register, 0.0) for minute, register in enumerate(kept)]
        after = MeterHistory(make_evse("S", 1))
        after.expect_kwh_as_wh()
        after.resume(TX, stored)
        assert says(after, 4, told, 6.0).register_kwh == Decimal(meant)

    def test_what_was_summed_before_a_restart_of_the_service_counts(self, history, make_evse) -> None:
        history.begin(TX, Decimal(5), START)
        kept = [says(history, 0, "5", 0.0), says(history, 0.01, "5.000001", 6.0)]
        assert not history.tells_kwh_as_wh
        after = MeterHistory(make_evse("S", 1))
        after.resume(TX, kept)
        assert says(after, 2, "5.0002", 6.0).register_kwh == Decimal("5.2")

    def test_a_register_that_shows_the_prefix_to_be_right_is_believed(self, history) -> None:
        history.expect_kwh_as_wh()
        history.begin(TX, Decimal(5000), START)
        says(history, 0, "5.0", 6.0)
        samples = [says(history, minute, 5000 + minute / 10, 6.0) for minute in (2, 4, 6)]
        assert samples[-1].register_kwh == Decimal("5000.6")
        assert not history.tells_kwh_as_wh

    def test_too_great_a_prefix_is_shown_too(self, history) -> None:
        history.begin(TX, Decimal(1000), START)
        sample = says(history, 10, 1_001_000, 6.0)
        assert (sample.register_kwh, sample.quality) == (Decimal(1001), DERIVED)

    def test_energy_by_power_shows_it_where_every_register_is_wrong(self, history) -> None:
        samples = [says(history, minute, f"{5 + minute / 10000:.6f}", 6.0) for minute in range(0, 40, 2)]
        assert samples[0].register_kwh == Decimal(5)
        assert samples[-1].register_kwh == Decimal("8.8")
        assert {sample.quality for sample in samples[4:]} == {DERIVED}

    def test_what_was_found_holds_for_the_next_transaction(self, history) -> None:
        for minute in range(0, 10, 2):
            says(history, minute, f"{5 + minute / 10000:.6f}", 6.0)
        history.begin(TransactionId("2"), None, START + timedelta(minutes=60))
        assert says(history, 61, "6.5", 6.0, TransactionId("2")).register_kwh == Decimal(1505)

    def test_honest_meter_stays_as_it_is(self, history) -> None:
        samples = [says(history, minute, f"{5 + minute / 10:.6f}", 6.0) for minute in range(0, 40, 2)]
        assert {sample.quality for sample in samples} == {GOOD}
        assert samples[-1].register_kwh == Decimal("8.8")

    @pytest.mark.parametrize(
        ("told", "is_wrong"),
        [
            pytest.param("0.000090", True, id="a thousandth, charging all the time"),
            pytest.param("0.000030", True, id="a thousandth, charging for a third of it"),
            pytest.param("0.000004", False, id="a thousandth of hardly anything: it may have begun just now"),
            pytest.param("0.001", False, id="a first watt-hour"),
            pytest.param("0.09", False, id="what the power makes"),
            pytest.param("0", False, id="stands"),
        ],
    )
    def test_what_the_first_value_with_power_shows(self, history, told, is_wrong) -> None:
        history.begin(TX, Decimal(0), START)
        history.judge(MeterReading(None, ReadingReason.TRANSACTION_BEGIN, Decimal(0)), START, TX)
        says(history, 0.5, told, 11.0)
        assert history.tells_kwh_as_wh is is_wrong

    @pytest.mark.parametrize(
        ("told", "is_wrong"),
        [
            pytest.param(("26.197280", "26.197291"), True, id="a thousandth"),
            pytest.param(("26.222", "26.233"), False, id="what the power makes"),
        ],
    )
    def test_two_values_with_power_show_it_though_the_start_is_stamped_a_minute_late(
        self, history, told, is_wrong
    ) -> None:
        begun = Decimal("26.197255") if is_wrong else Decimal("26.197")
        history.begin(TX, begun, START)
        history.judge(MeterReading(None, ReadingReason.TRANSACTION_BEGIN, begun, 0.0), START, TX)
        for minute, register_kwh in zip((0.06, 0.55), told, strict=True):
            says(history, minute, register_kwh, 1.38)
        assert history.tells_kwh_as_wh is is_wrong

    def test_standby_that_only_the_power_shows_is_no_prefix(self, history) -> None:
        samples = [says(history, minute, 5 + (minute > 600) / 1000, 0.06) for minute in range(0, 900, 20)]
        assert samples[-1].register_kwh == Decimal("5.001")
        assert not history.tells_kwh_as_wh

    def test_standing_register_is_no_prefix(self, history) -> None:
        samples = [says(history, minute, 5, 6.0) for minute in range(0, 40, 2)]
        assert {sample.register_kwh for sample in samples} == {Decimal(5)}
