from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.costing.allocation import allocate
from optimizer.costing.balance import balance_report
from optimizer.costing.bill import site_bill
from optimizer.costing.intervals import SiteInterval
from optimizer.domain.cost import CostAllocation, CostComponent, CostLine, Payer
from optimizer.domain.ids import SessionId
from optimizer.domain.metering import MeteredInterval, SessionMetering
from optimizer.domain.moment import Interval
from optimizer.domain.series import PriceSeries
from optimizer.domain.tariff import Tariff
from optimizer.errors import InvalidInput

A, B = SessionId("A"), SessionId("B")


def shared(
    build: Any,
    tariff: Tariff,
    site: tuple[SiteInterval, ...],
    sessions: dict[str, dict[int, str]],
    unassigned: dict[int, str] | None = None,
) -> CostAllocation:
    window = Interval(site[0].interval.start, site[-1].interval.end)
    bill = site_bill(build.site_id, site, tariff, window)
    meterings = [build.metering(name, site, steps) for name, steps in sessions.items()]
    idle = build.metering("idle", site, unassigned or {}).intervals
    return allocate(bill, site, meterings, idle, tariff)


def told(lines: tuple[CostLine, ...]) -> dict[str, tuple[str, str]]:
    return {line.label: (str(line.quantity), str(line.amount)) for line in lines}


def shared_with(
    build: Any, tariff: Tariff, site: tuple[SiteInterval, ...], *sessions: SessionMetering
) -> CostAllocation:
    window = Interval(site[0].interval.start, site[-1].interval.end)
    return allocate(site_bill(build.site_id, site, tariff, window), site, sessions, (), tariff)


def kwh(lines: tuple[CostLine, ...]) -> Decimal:
    energy = (CostComponent.GRID_ENERGY, CostComponent.PV_ENERGY)
    return sum((line.quantity for line in lines if line.component in energy), Decimal(0))


class TestMix:
    def test_pv_and_grid_are_shared_in_proportion_to_use(self, build: Any) -> None:
        tariff = build.tariff(export="0.08")
        site = build.site(tariff, build.day(), {48: ("4", "0", "6", "5")})
        allocation = shared(build, tariff, site, {"A": {48: "4"}, "B": {48: "1"}})
        assert told(allocation.session_lines[A]) == {"energy": ("1.600", "0.48"), "pv": ("2.400", "0.00")}
        assert told(allocation.session_lines[B]) == {"energy": ("0.400", "0.12"), "pv": ("0.600", "0.00")}
        assert told(allocation.other_lines[Payer.BUILDING]) == {"energy": ("2.000", "0.60"), "pv": ("3.000", "0.00")}

    def test_forgone_export_is_told_and_not_charged(self, build: Any) -> None:
        tariff = build.tariff(export="0.08")
        site = build.site(tariff, build.day(), {48: ("0", "5", "10", "1")})
        (line,) = shared(build, tariff, site, {"A": {48: "4"}}).session_lines[A]
        assert (line.component, line.amount, line.opportunity_amount) == (CostComponent.PV_ENERGY, 0, Decimal("0.32"))

    def test_export_revenue_is_the_buildings(self, build: Any) -> None:
        tariff = build.tariff(export="0.08")
        site = build.site(tariff, build.day(), {48: ("0", "5", "9", "0")})
        allocation = shared(build, tariff, site, {"A": {48: "4"}})
        assert told(allocation.other_lines[Payer.BUILDING]) == {"export": ("5.000", "-0.40")}

    def test_each_pays_the_price_of_its_own_hours(self, build: Any) -> None:
        tariff = build.tariff(build.band("day", "0.30", start=time(6), end=time(22)), build.band("night", "0.10"))
        site = build.site(tariff, build.day(), {0: ("5",), 48: ("5",)})
        allocation = shared(build, tariff, site, {"A": {0: "5"}, "B": {48: "5"}})
        assert told(allocation.session_lines[A]) == {"night": ("5.000", "0.50")}
        assert told(allocation.session_lines[B]) == {"day": ("5.000", "1.50")}

    def test_at_a_negative_price_charging_earns(self, build: Any) -> None:
        tariff = build.tariff(build.band("energy", "-0.10"))
        allocation = shared(build, tariff, build.site(tariff, build.day(), {0: ("5",)}), {"A": {0: "5"}})
        assert told(allocation.session_lines[A]) == {"energy": ("5.000", "-0.50")}

    def test_session_without_energy_costs_nothing(self, build: Any) -> None:
        tariff = build.tariff(demand=[build.charge("demand", "30")])
        allocation = shared(build, tariff, build.site(tariff, build.day(), {0: ("5",)}), {"A": {0: "0"}, "B": {}})
        assert allocation.session_lines == {A: (), B: ()}


class TestOthers:
    def test_losses_are_what_the_site_counted_beyond_submeters(self, build: Any) -> None:
        tariff = build.tariff()
        site = build.site(tariff, build.day(), {0: ("10", "0", "0", "5")})
        allocation = shared(build, tariff, site, {"A": {0: "4"}}, {0: "0.4"})
        assert told(allocation.other_lines[Payer.LOSSES]) == {"energy": ("0.600", "0.18")}
        assert told(allocation.other_lines[Payer.UNASSIGNED]) == {"energy": ("0.400", "0.12")}

    def test_submeters_that_count_more_give_losses_a_credit_and_change_nobody_else(self, build: Any) -> None:
        tariff = build.tariff()
        exact = shared(build, tariff, build.site(tariff, build.day(), {0: ("10", "0", "0", "6")}), {"A": {0: "4"}})
        more = shared(build, tariff, build.site(tariff, build.day(), {0: ("10", "0", "0", "7")}), {"A": {0: "4"}})
        assert told(more.other_lines[Payer.LOSSES]) == {"energy": ("-1.000", "-0.30")}
        assert more.session_lines[A] == exact.session_lines[A]

    def test_without_a_building_meter_the_building_is_the_balance(self, build: Any) -> None:
        tariff = build.tariff()
        site = build.site(tariff, build.day(), {0: ("10",)}, building=False)
        allocation = shared(build, tariff, site, {"A": {0: "4"}})
        assert told(allocation.other_lines[Payer.BUILDING]) == {"energy": ("6.000", "1.80")}
        assert allocation.other_lines[Payer.LOSSES] == ()

    def test_energy_that_the_site_meter_did_not_see_costs_its_price_and_losses_balance(self, build: Any) -> None:
        tariff = build.tariff()
        site = build.site(tariff, build.day(), {1: ("10", "0", "0", "10")})
        allocation = shared(build, tariff, site, {"A": {0: "4"}})
        assert told(allocation.session_lines[A]) == {"energy": ("4.000", "1.20")}
        assert told(allocation.other_lines[Payer.LOSSES]) == {"energy": ("-4.000", "-1.20")}


class TestDemand:
    def test_is_borne_by_those_who_made_the_peak(self, build: Any) -> None:
        tariff = build.tariff(demand=[build.charge("demand", "30")])
        site = build.site(tariff, build.day(), {0: ("1",), 48: ("10", "0", "0", "2.5")})
        allocation = shared(build, tariff, site, {"A": {48: "7.5"}, "B": {0: "1"}})
        assert told(allocation.session_lines[A])["demand"] == ("30.000", "30.00")
        assert "demand" not in told(allocation.session_lines[B])
        assert told(allocation.other_lines[Payer.BUILDING])["demand"] == ("10.000", "10.00")

    def test_flat_peak_is_borne_by_all_who_were_there_at_any_of_it(self, build: Any) -> None:
        tariff = build.tariff(demand=[build.charge("demand", "30")])
        site = build.site(tariff, build.day(), {0: ("10",), 48: ("9.95",)})
        allocation = shared(build, tariff, site, {"A": {0: "10"}, "B": {48: "9.95"}})
        assert told(allocation.session_lines[A])["demand"] == ("20.000", "20.00")
        assert told(allocation.session_lines[B])["demand"] == ("20.000", "20.00")

    def test_pv_relieves_everyone_alike(self, build: Any) -> None:
        tariff = build.tariff(demand=[build.charge("demand", "30")])
        site = build.site(tariff, build.day(), {48: ("5", "0", "5", "5")})
        assert told(shared(build, tariff, site, {"A": {48: "5"}}).session_lines[A])["demand"] == ("10.000", "10.00")

    def test_interval_of_several_steps_is_shared_by_its_energy(self, build: Any) -> None:
        tariff = build.tariff(demand=[build.charge("demand", "30", 60)])
        site = build.site(tariff, build.day(), {48: ("6",), 49: ("2",)})
        allocation = shared(build, tariff, site, {"A": {48: "6"}, "B": {49: "2"}})
        assert told(allocation.session_lines[A])["demand"] == ("6.000", "6.00")
        assert told(allocation.session_lines[B])["demand"] == ("2.000", "2.00")


class TestRefusals:
    def test_of_a_session_named_twice(self, build: Any) -> None:
        tariff = build.tariff()
        site = build.site(tariff, build.day(), {0: ("5",)})
        twice = [build.metering("A", site, {0: "1"}), build.metering("A", site, {0: "2"})]
        with pytest.raises(InvalidInput, match="each session once"):
            allocate(site_bill(build.site_id, site, tariff, build.day()), site, twice, (), tariff)

    @pytest.mark.parametrize("minutes", [-30, 5], ids=["outside the window", "over a cut"])
    def test_of_energy_not_cut_at_the_grid(self, build: Any, minutes: int) -> None:
        tariff = build.tariff()
        site = build.site(tariff, build.day(), {0: ("5",)})
        start = build.day().start + timedelta(minutes=minutes)
        uncut = SessionMetering(A, (MeteredInterval(Interval(start, start + timedelta(minutes=15)), Decimal(1)),))
        with pytest.raises(InvalidInput, match="costing grid"):
            allocate(site_bill(build.site_id, site, tariff, build.day()), site, [uncut], (), tariff)

    @pytest.mark.parametrize("other", ["less energy", "no demand line", "another band"])
    def test_of_a_bill_of_other_intervals(self, build: Any, other: str) -> None:
        tariff = build.tariff(demand=[build.charge("demand", "30")])
        site = build.site(tariff, build.day(), {0: ("5",)})
        bill = site_bill(build.site_id, site, tariff, build.day())
        energy, demand = bill.lines
        lines = {
            "less energy": (replace(energy, amount=Decimal("1.00")), demand),
            "no demand line": (energy,),
            "another band": (replace(energy, label="night"), demand),
        }[other]
        with pytest.raises(InvalidInput):
            allocate(replace(bill, lines=lines), site, [build.metering("A", site, {0: "5"})], (), tariff)


class TestGivenBack:
    """A vehicle that gives energy back is not billed for it as import, and its lines tell both."""

    def test_it_is_credited_at_what_the_others_paid_for_it_then(self, build: Any) -> None:
        """The site needs 6 kWh, 4 of them from the grid and 2 from A: bought are 4."""
        tariff = build.tariff()
        site = build.site(tariff, build.day(), {48: ("4", "0", "0", "5")})
        allocation = shared_with(
            build, tariff, site, build.giving("A", site, {48: ("0", "2")}), build.giving("B", site, {48: ("1", "0")})
        )
        (line,) = allocation.session_lines[A]
        assert (line.quantity, line.returned_quantity, line.amount) == (Decimal(-2), Decimal(2), Decimal("-0.60"))
        assert told(allocation.session_lines[B]) == {"energy": ("1.000", "0.30")}
        assert told(allocation.other_lines[Payer.BUILDING]) == {"energy": ("5.000", "1.50")}
        assert balance_report(allocation).total.difference == 0

    def test_what_is_taken_and_given_in_one_step_stands_on_one_line(self, build: Any) -> None:
        tariff = build.tariff()
        site = build.site(tariff, build.day(), {48: ("4", "0", "0", "1")})
        (line,) = shared_with(build, tariff, site, build.giving("A", site, {48: ("5", "2")})).session_lines[A]
        assert (line.quantity, line.returned_quantity, line.amount) == (Decimal(3), Decimal(2), Decimal("0.90"))

    def test_in_the_sun_it_is_credited_at_the_mix(self, build: Any) -> None:
        tariff = build.tariff(export="0.08")
        site = build.site(tariff, build.day(), {48: ("2", "0", "2", "6")})
        lines = shared_with(build, tariff, site, build.giving("A", site, {48: ("0", "2")})).session_lines[A]
        assert told(lines) == {"energy": ("-1.000", "-0.30"), "pv": ("-1.000", "0.00")}
        assert [line.returned_quantity for line in lines] == [Decimal(1), Decimal(1)]

    def test_what_goes_to_the_grid_brings_the_export_price(self, build: Any) -> None:
        """The building takes 1 of 6 kWh, PV gives 2: 7 go out, 5 of them from A."""
        tariff = build.tariff(export="0.08")
        site = build.site(tariff, build.day(), {48: ("0", "7", "2", "1")})
        allocation = shared_with(build, tariff, site, build.giving("A", site, {48: ("0", "6")}))
        assert told(allocation.session_lines[A]) == {"energy": ("-1.000", "-0.30"), "export": ("5.000", "-0.40")}
        assert told(allocation.other_lines[Payer.BUILDING]) == {
            "energy": ("1.000", "0.30"),
            "export": ("2.000", "-0.16"),
        }
        assert allocation.other_lines[Payer.LOSSES] == ()
        assert balance_report(allocation).adds_up

    def test_at_the_peak_it_spares_its_share_of_the_demand_charge(self, build: Any) -> None:
        tariff = build.tariff(demand=[build.charge("demand", "30")])
        site = build.site(tariff, build.day(), {48: ("4", "0", "0", "6")})
        allocation = shared_with(build, tariff, site, build.giving("A", site, {48: ("0", "2")}))
        assert told(allocation.session_lines[A])["demand"] == ("-8.000", "-8.00")
        assert told(allocation.other_lines[Payer.BUILDING])["demand"] == ("24.000", "24.00")


@dataclass(frozen=True)
class Case:
    """A day of a site, its tariff and what was metered."""

    tariff: Tariff
    site: tuple[SiteInterval, ...]
    sessions: list[SessionMetering]
    unassigned: tuple[MeteredInterval, ...]


KWH = st.decimals(0, 12, places=6)
DAYS = st.sampled_from(["2026-03-29", "2026-06-01", "2026-10-25"])


@st.composite
def tariffs(draw: st.DrawFn, build: Any, window: Interval, zone: str) -> Tariff:
    """One plain tariff, and many with bands, market, demand charges and prices below zero."""
    if draw(st.booleans()):
        return build.tariff(zone=zone)
    price = st.decimals(-1, 1, places=5)
    hours = tuple(window.start + timedelta(hours=hour) for hour in range(int(window.duration_h) + 1))
    currency = draw(st.sampled_from(["EUR", "JPY", "KWD"]))
    market = tuple(draw(st.lists(price, min_size=len(hours) - 1, max_size=len(hours) - 1)))
    return build.tariff(
        build.band("day", str(draw(price)), start=time(6), end=time(22)),
        build.band("night", str(draw(price))),
        zone=zone,
        demand=[
            build.charge("any", "15.51", draw(st.sampled_from([15, 30, 60]))),
            build.charge("noon", "9", start=time(12), end=time(13)),
        ],
        export=str(draw(price)),
        currency=currency,
        market=draw(st.sampled_from([None, PriceSeries(currency, hours, market)])),
    )


@st.composite
def cases(draw: st.DrawFn, build: Any) -> Case:
    """Days of 92, 96 and 100 quarters, with and without sessions, PV and building meter."""
    zone = "Europe/Berlin"
    window = build.day(draw(DAYS), zone)
    tariff = draw(tariffs(build, window, zone))
    steps = draw(st.lists(st.integers(0, 91), max_size=5, unique=True))
    metered = {step: tuple(str(draw(KWH)) for _ in range(4)) for step in steps}
    site = build.site(tariff, window, metered, pv=draw(st.booleans()), building=draw(st.booleans()))
    profile = st.dictionaries(st.integers(0, 91), KWH.map(str), max_size=4)
    names = draw(st.lists(st.sampled_from("abcdefgh"), max_size=5, unique=True))
    back = st.dictionaries(st.integers(0, 91), st.tuples(KWH.map(str), KWH.map(str)), max_size=4)
    sessions = [
        build.giving(name, site, draw(back)) if draw(st.booleans()) else build.metering(name, site, draw(profile))
        for name in names
    ]
    return Case(tariff, site, sessions, build.metering("idle", site, draw(profile)).intervals)


def allocated(build: Any, case: Case, sessions: list[SessionMetering] | None = None) -> CostAllocation:
    window = Interval(case.site[0].interval.start, case.site[-1].interval.end)
    bill = site_bill(build.site_id, case.site, case.tariff, window)
    return allocate(bill, case.site, case.sessions if sessions is None else sessions, case.unassigned, case.tariff)


class TestWhateverWasMetered:
    @given(st.data())
    @settings(deadline=None, max_examples=60)
    def test_it_adds_up_line_by_line(self, build: Any, data: st.DataObject) -> None:
        allocation = allocated(build, data.draw(cases(build)))
        report = balance_report(allocation)
        assert report.adds_up
        assert report.total.bill == allocation.bill.total
        assert report.total.difference == report.energy_kwh.difference == 0
        every = [*allocation.session_lines.values(), *allocation.other_lines.values()]
        for line in allocation.bill.lines:
            forgone = [each.opportunity_amount for lines in every for each in lines if each.label == line.label]
            assert sum(forgone) == line.opportunity_amount

    @given(st.data(), st.randoms())
    @settings(deadline=None, max_examples=30)
    def test_order_of_sessions_does_not_matter(self, build: Any, data: st.DataObject, random: Any) -> None:
        case = data.draw(cases(build))
        shuffled = list(case.sessions)
        random.shuffle(shuffled)
        assert allocated(build, case, shuffled) == allocated(build, case)

    @given(st.data())
    @settings(deadline=None, max_examples=30)
    def test_sessions_pay_for_their_own_kwh(self, build: Any, data: st.DataObject) -> None:
        case = data.draw(cases(build))
        allocation = allocated(build, case)
        for metering in case.sessions:
            lines = allocation.session_lines[metering.session_id]
            metered = sum((part.energy_kwh - part.returned_kwh for part in metering.intervals), Decimal(0))
            exported = sum(line.quantity for line in lines if line.component is CostComponent.EXPORT_REVENUE)
            possible_lines = 4  # two bands, PV and what went to the grid, each less than a watt-hour off
            assert abs(kwh(lines) - exported - metered) < Decimal("0.001") * possible_lines

    @given(st.data())
    @settings(deadline=None, max_examples=30)
    def test_equal_profiles_cost_the_same_but_for_one_unit(self, build: Any, data: st.DataObject) -> None:
        case = data.draw(cases(build))
        profile = data.draw(st.dictionaries(st.integers(0, 91), KWH.map(str), max_size=4))
        twins = [build.metering(name, case.site, profile) for name in ("x1", "x2")]
        allocation = allocated(build, case, [*case.sessions, *twins])
        unit = {"JPY": Decimal(1), "KWD": Decimal("0.001")}.get(case.tariff.currency, Decimal("0.01"))
        one, other = (
            {(line.component, line.label): line.amount for line in allocation.session_lines[SessionId(name)]}
            for name in ("x1", "x2")
        )
        assert all(
            abs(one.get(key, Decimal(0)) - other.get(key, Decimal(0))) <= unit for key in one.keys() | other.keys()
        )

    @given(st.data())
    @settings(deadline=None, max_examples=30)
    def test_other_sessions_change_a_session_by_rounding_only(self, build: Any, data: st.DataObject) -> None:
        case = data.draw(cases(build))
        if not case.sessions:
            return
        kept = case.sessions[0]
        alone = {line.label: line.amount for line in allocated(build, case, [kept]).session_lines[kept.session_id]}
        among = {line.label: line.amount for line in allocated(build, case).session_lines[kept.session_id]}
        unit = {"JPY": Decimal(1), "KWD": Decimal("0.001")}.get(case.tariff.currency, Decimal("0.01"))
        for label in alone.keys() | among.keys():
            assert abs(alone.get(label, Decimal(0)) - among.get(label, Decimal(0))) <= unit
