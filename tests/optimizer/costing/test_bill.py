from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest

from optimizer.costing.bill import demand_peaks, site_bill
from optimizer.domain.cost import CostComponent, SiteBill
from optimizer.domain.moment import Interval
from optimizer.domain.series import PriceSeries
from optimizer.domain.tariff import WEEKDAYS
from optimizer.errors import InvalidInput

BERLIN = "Europe/Berlin"


def told(bill: SiteBill) -> list[tuple[str, str, str]]:
    return [(line.label, str(line.quantity), str(line.amount)) for line in bill.lines]


class TestEnergy:
    def test_one_line_a_band(self, build: Any) -> None:
        tariff = build.tariff(build.band("day", "0.30", start=time(6), end=time(22)), build.band("night", "0.10"))
        site = build.site(tariff, build.day(), {0: ("10", "0"), 23: ("1", "0"), 24: ("5", "0"), 88: ("2", "0")})
        assert told(site_bill(build.site_id, site, tariff, build.day())) == [
            ("day", "5.000", "1.50"),
            ("night", "13.000", "1.30"),
        ]

    @pytest.mark.parametrize(
        ("day", "quarters", "night_kwh"),
        [("2026-03-29", 92, 28), ("2026-10-25", 100, 36), ("2026-06-01", 96, 32)],
        ids=["clocks forward", "clocks back", "ordinary"],
    )
    def test_night_has_its_true_length(self, build: Any, day: str, quarters: int, night_kwh: int) -> None:
        tariff = build.tariff(
            build.band("day", "0.30", start=time(6), end=time(22)), build.band("night", "0.10"), zone=BERLIN
        )
        window = build.day(day, BERLIN)
        site = build.site(tariff, window, dict.fromkeys(range(quarters), ("1", "0")))
        bill = site_bill(build.site_id, site, tariff, window)
        assert [line.quantity for line in bill.lines] == [64, night_kwh]
        assert bill.lines[1].amount == Decimal("0.10") * night_kwh

    def test_market_price_comes_on_top_and_may_be_negative(self, build: Any) -> None:
        hours = tuple(build.day().start + timedelta(hours=hour) for hour in range(25))
        market = PriceSeries(
            "EUR", hours, tuple(Decimal("-0.50") if hour == 1 else Decimal("0.05") for hour in range(24))
        )
        tariff = build.tariff(build.band("levies", "0.20"), market=market)
        site = build.site(tariff, build.day(), {0: ("4", "0"), 4: ("10", "0")})
        assert told(site_bill(build.site_id, site, tariff, build.day())) == [("levies", "14.000", "-2.00")]

    @pytest.mark.parametrize(("source", "label"), [("day-ahead DK1", "day-ahead DK1"), ("", "market")])
    def test_without_bands_the_line_bears_the_name_of_the_market(self, build: Any, source: str, label: str) -> None:
        market = PriceSeries("EUR", (build.day().start, build.day().end), (Decimal("0.05"),), source)
        tariff = build.tariff(market=market)
        bill = site_bill(build.site_id, build.site(tariff, build.day(), {0: ("4", "0")}), tariff, build.day())
        assert told(bill) == [(label, "4.000", "0.20")]

    def test_each_line_is_rounded_once_half_to_even(self, build: Any) -> None:
        tariff = build.tariff(build.band("energy", "0.005"))
        site = build.site(tariff, build.day(), {0: ("1", "0"), 1: ("1", "0"), 2: ("1", "0")})
        assert told(site_bill(build.site_id, site, tariff, build.day())) == [("energy", "3.000", "0.02")]

    @pytest.mark.parametrize(("currency", "amount"), [("JPY", "12"), ("EUR", "12.35"), ("KWD", "12.345")])
    def test_is_rounded_to_the_minor_unit_of_the_currency(self, build: Any, currency: str, amount: str) -> None:
        tariff = build.tariff(build.band("energy", "12.3451"), currency=currency)
        bill = site_bill(build.site_id, build.site(tariff, build.day(), {0: ("1", "0")}), tariff, build.day())
        assert str(bill.total) == amount

    def test_nothing_used_costs_nothing(self, build: Any) -> None:
        tariff = build.tariff(export="0.08")
        bill = site_bill(build.site_id, build.site(tariff, build.day()), tariff, build.day())
        assert told(bill) == [("energy", "0.000", "0.00")]
        assert (bill.total, bill.peak_kw) == (0, 0)


class TestPvAndExport:
    def test_used_pv_costs_nothing_and_tells_the_revenue_it_forgoes(self, build: Any) -> None:
        tariff = build.tariff(export="0.08")
        site = build.site(tariff, build.day(), {48: ("0", "1", "5", "4")})
        _, pv, export = site_bill(build.site_id, site, tariff, build.day()).lines
        assert (pv.component, pv.quantity, pv.amount, pv.opportunity_amount) == (
            CostComponent.PV_ENERGY,
            4,
            0,
            Decimal("0.32"),
        )
        assert (export.component, export.quantity, export.amount) == (CostComponent.EXPORT_REVENUE, 1, Decimal("-0.08"))

    def test_export_at_a_negative_price_is_a_cost(self, build: Any) -> None:
        tariff = build.tariff(export="-0.02")
        bill = site_bill(
            build.site_id, build.site(tariff, build.day(), {48: ("0", "5", "5", "0")}), tariff, build.day()
        )
        assert told(bill)[1:] == [("export", "5.000", "0.10")]

    @pytest.mark.parametrize("pv", [None, "3"], ids=["no PV meter", "less PV than export"])
    def test_more_export_than_pv_leaves_no_pv_used(self, build: Any, pv: str | None) -> None:
        tariff = build.tariff()
        site = build.site(tariff, build.day(), {48: ("1", "4", pv, "0")}, pv=pv is not None)
        assert [line.label for line in site_bill(build.site_id, site, tariff, build.day()).lines] == [
            "energy",
            "export",
        ]


class TestDemand:
    def test_whole_month_pays_the_whole_price(self, build: Any) -> None:
        tariff = build.tariff(demand=[build.charge("demand", "15.51")], zone=BERLIN)
        window = build.day("2026-03-01", BERLIN, days=31)
        bill = site_bill(build.site_id, build.site(tariff, window, {100: ("5", "0")}), tariff, window)
        assert told(bill)[1] == ("demand", "20.000", "310.20")
        assert bill.peak_kw == 20

    @pytest.mark.parametrize(
        ("day", "quarters"), [("2026-03-29", 92), ("2026-03-30", 96)], ids=["clocks forward", "ordinary"]
    )
    def test_each_day_of_a_month_pays_its_share(self, build: Any, day: str, quarters: int) -> None:
        tariff = build.tariff(demand=[build.charge("demand", "31")], zone=BERLIN)
        window = build.day(day, BERLIN)
        site = build.site(tariff, window, {quarters - 1: ("5", "0")})
        assert told(site_bill(build.site_id, site, tariff, window))[1] == ("demand", "20.000", "20.00")

    def test_day_from_seven_to_seven_counts_one_day(self, build: Any) -> None:
        tariff = build.tariff(demand=[build.charge("demand", "30")])
        window = Interval(build.at("07:00"), build.at("07:00", "2026-06-02"))
        bill = site_bill(build.site_id, build.site(tariff, window, {0: ("1", "0")}), tariff, window)
        assert told(bill)[1] == ("demand", "4.000", "4.00")

    def test_window_over_two_months_pays_each_by_its_own_peak(self, build: Any) -> None:
        tariff = build.tariff(demand=[build.charge("demand", "30")])
        window = build.day("2026-06-30", days=2)
        bill = site_bill(build.site_id, build.site(tariff, window, {0: ("1", "0"), 96: ("2", "0")}), tariff, window)
        assert told(bill)[1:] == [("demand 2026-06", "4.000", "4.00"), ("demand 2026-07", "8.000", "7.74")]

    @pytest.mark.parametrize(("minutes", "peak_kw"), [(15, "20.000"), (30, "12.000"), (60, "6.500")], ids=str)
    def test_mean_is_over_the_charges_own_interval(self, build: Any, minutes: int, peak_kw: str) -> None:
        tariff = build.tariff(demand=[build.charge("demand", "1", minutes)])
        site = build.site(tariff, build.day(), {40: ("1", "0"), 41: ("5", "0"), 42: ("0.5", "0")})
        bill = site_bill(build.site_id, site, tariff, build.day())
        assert told(bill)[1][1] == peak_kw
        assert str(bill.peak_kw) == peak_kw

    def test_only_intervals_of_its_window_count(self, build: Any) -> None:
        peak = build.charge("on-peak", "30", weekdays=WEEKDAYS, start=time(12), end=time(18))
        tariff = build.tariff(demand=[build.charge("any time", "30"), peak])
        site = build.site(tariff, build.day(), {47: ("5", "0"), 48: ("3", "0"), 72: ("4", "0")})
        assert told(site_bill(build.site_id, site, tariff, build.day()))[1:] == [
            ("any time", "20.000", "20.00"),
            ("on-peak", "12.000", "12.00"),
        ]

    def test_charge_whose_window_never_comes_has_no_line(self, build: Any) -> None:
        winter = build.charge("winter", "30", first_day=(10, 1), last_day=(5, 31))
        tariff = build.tariff(demand=[winter])
        bill = site_bill(build.site_id, build.site(tariff, build.day(), {0: ("1", "0")}), tariff, build.day())
        assert [line.label for line in bill.lines] == ["energy"]

    def test_interval_that_the_window_cuts_does_not_count(self, build: Any) -> None:
        tariff = build.tariff(demand=[build.charge("demand", "30")])
        window = Interval(build.at("10:07"), build.at("11:00"))
        bill = site_bill(build.site_id, build.site(tariff, window, {0: ("4", "0"), 1: ("1", "0")}), tariff, window)
        assert told(bill)[1][1] == "4.000"

    def test_every_interval_within_one_percent_makes_the_peak(self, build: Any) -> None:
        tariff = build.tariff(demand=[build.charge("demand", "30")])
        site = build.site(tariff, build.day(), {1: ("5", "0"), 5: ("4.95", "0"), 9: ("4.94", "0")})
        (peak,) = demand_peaks(site, tariff, build.day())
        assert [import_kwh for _, import_kwh in peak.peak_set] == [5, Decimal("4.95")]

    def test_without_import_there_is_no_peak_set(self, build: Any) -> None:
        tariff = build.tariff(demand=[build.charge("demand", "30")])
        (peak,) = demand_peaks(build.site(tariff, build.day()), tariff, build.day())
        assert (peak.peak_kw, peak.amount, peak.peak_set) == (0, 0, ())


class TestRefusals:
    def test_intervals_that_leave_a_gap(self, build: Any) -> None:
        site = build.site(build.tariff(), build.day())
        with pytest.raises(InvalidInput, match="without gaps"):
            site_bill(build.site_id, (*site[:10], *site[11:]), build.tariff(), build.day())

    def test_intervals_of_another_window(self, build: Any) -> None:
        site = build.site(build.tariff(), build.day())
        with pytest.raises(InvalidInput, match="fill 2026-06-02"):
            site_bill(build.site_id, site, build.tariff(), build.day("2026-06-02"))

    def test_no_intervals(self, build: Any) -> None:
        with pytest.raises(InvalidInput, match="0 intervals"):
            site_bill(build.site_id, (), build.tariff(), build.day())

    def test_intervals_not_cut_where_a_price_changes(self, build: Any) -> None:
        tariff = build.tariff()
        site = build.site(tariff, build.day())
        joined = replace(site[0], interval=Interval(site[0].interval.start, site[1].interval.end))
        with pytest.raises(InvalidInput, match="also here"):
            site_bill(build.site_id, (joined, *site[2:]), tariff, build.day())

    def test_time_without_a_price(self, build: Any) -> None:
        market = PriceSeries(
            "EUR", (datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 6, 1, 12, tzinfo=UTC)), (Decimal(1),)
        )
        tariff = build.tariff(market=market)
        with pytest.raises(InvalidInput, match="prices are known for"):
            site_bill(build.site_id, build.site(tariff, build.day()), tariff, build.day())
