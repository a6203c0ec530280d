from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.domain.ids import TariffId
from optimizer.domain.series import PriceSeries
from optimizer.domain.tariff import EVERY_DAY, WEEKDAYS, WEEKEND, DemandCharge, EnergyBand, Tariff, TariffWindow
from optimizer.errors import InvalidInput

BERLIN = ZoneInfo("Europe/Berlin")


def tariff(*bands: EnergyBand, zone: str = "Europe/Berlin", market: PriceSeries | None = None) -> Tariff:
    return Tariff(TariffId("t"), "test", "EUR", zone, bands, market=market)


def band(name: str, price: str, **window: object) -> EnergyBand:
    return EnergyBand(name, TariffWindow(**window), Decimal(price))


ALWAYS = band("always", "0.20")
DAY_AND_NIGHT = tariff(band("day", "0.30", start=time(6), end=time(22)), band("night", "0.10"))


def local(*parts: int, fold: int = 0) -> datetime:
    return datetime(*parts, tzinfo=BERLIN, fold=fold)


class TestWindow:
    @pytest.mark.parametrize(
        ("day", "inside"),
        [
            (date(2026, 9, 30), False),
            (date(2026, 10, 1), True),
            (date(2026, 12, 31), True),
            (date(2027, 1, 1), True),
            (date(2028, 2, 29), True),
            (date(2027, 5, 31), True),
            (date(2027, 6, 1), False),
        ],
        ids=str,
    )
    def test_winter_wraps_over_new_year(self, day: date, inside: bool) -> None:
        assert TariffWindow((10, 1), (5, 31)).applies_on(day) is inside

    @pytest.mark.parametrize("day", [date(2026, 6, 1) + timedelta(days=offset) for offset in range(7)], ids=str)
    def test_weekdays_and_weekend_share_the_week(self, day: date) -> None:
        assert TariffWindow(weekdays=WEEKDAYS).applies_on(day) is not TariffWindow(weekdays=WEEKEND).applies_on(day)
        assert TariffWindow(weekdays=EVERY_DAY).applies_on(day)

    @pytest.mark.parametrize(
        ("clock", "inside"),
        [(time(17, 59, 59), False), (time(18), True), (time(23, 59, 59), True), (time(0), False)],
        ids=str,
    )
    def test_midnight_as_end_is_the_end_of_the_day(self, clock: time, inside: bool) -> None:
        window = TariffWindow(start=time(18))
        assert window.applies_at(datetime.combine(date(2026, 6, 1), clock)) is inside

    @pytest.mark.parametrize(
        ("start", "end"), [(time(22), time(6)), (time(9), time(9))], ids=["over midnight", "empty"]
    )
    def test_hours_that_would_never_apply_are_refused(self, start: time, end: time) -> None:
        with pytest.raises(InvalidInput, match="split at midnight"):
            TariffWindow(start=start, end=end)


class TestBands:
    def test_first_that_applies_counts(self) -> None:
        assert DAY_AND_NIGHT.band_at(local(2026, 6, 1, 12)).name == "day"
        assert DAY_AND_NIGHT.band_at(local(2026, 6, 1, 22)).name == "night"

    def test_time_without_a_band_is_refused_in_local_words(self) -> None:
        gappy = tariff(band("day", "0.30", start=time(6), end=time(22)))
        with pytest.raises(InvalidInput, match="2026-06-01T23:00"):
            gappy.band_at(local(2026, 6, 1, 23))

    def test_needs_a_band_or_a_market(self) -> None:
        with pytest.raises(InvalidInput, match="give at least one band"):
            tariff()

    def test_market_must_speak_the_same_currency(self) -> None:
        market = PriceSeries("SEK", (local(2026, 6, 1), local(2026, 6, 2)), (Decimal(1),))
        with pytest.raises(InvalidInput, match="must be EUR"):
            tariff(ALWAYS, market=market)

    def test_hours_follow_the_local_clock_in_summer_and_winter(self) -> None:
        assert DAY_AND_NIGHT.import_price_per_kwh_at(datetime(2026, 1, 15, 5, tzinfo=UTC)) == Decimal("0.30")
        assert DAY_AND_NIGHT.import_price_per_kwh_at(datetime(2026, 7, 15, 4, tzinfo=UTC)) == Decimal("0.30")
        assert DAY_AND_NIGHT.import_price_per_kwh_at(datetime(2026, 1, 15, 4, tzinfo=UTC)) == Decimal("0.10")


class TestMarket:
    hours = tuple(local(2026, 6, 1, 10) + timedelta(hours=hour) for hour in range(3))
    market = PriceSeries("EUR", hours, (Decimal("0.05"), Decimal("-0.12")))

    def test_comes_on_top_of_the_band(self) -> None:
        with_levy = tariff(ALWAYS, market=self.market)
        assert with_levy.import_price_per_kwh_at(self.hours[0]) == Decimal("0.25")
        assert with_levy.import_price_per_kwh_at(self.hours[1]) == Decimal("0.08")

    def test_alone_it_may_be_negative(self) -> None:
        assert tariff(market=self.market).import_price_per_kwh_at(self.hours[1]) == Decimal("-0.12")

    def test_its_changes_are_boundaries(self) -> None:
        prices = tariff(ALWAYS, market=self.market).import_prices(self.hours[0], self.hours[2])
        assert prices.boundaries == tuple(hour.astimezone(UTC) for hour in self.hours)
        assert prices.prices_per_kwh == (Decimal("0.25"), Decimal("0.08"))

    def test_missing_price_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="prices are known for"):
            tariff(ALWAYS, market=self.market).import_prices(self.hours[0], self.hours[2] + timedelta(hours=1))


class TestDaysOnWhichClocksAreSet:
    @pytest.mark.parametrize(
        ("day", "day_hours", "night_hours"),
        [((2026, 3, 29), 16, 7), ((2026, 10, 25), 16, 9), ((2026, 6, 1), 16, 8)],
        ids=["92 quarters: the night is short", "100 quarters: the night is long", "96 quarters"],
    )
    def test_hours_of_each_price(self, day: tuple[int, int, int], day_hours: int, night_hours: int) -> None:
        start, end = local(*day).astimezone(UTC), (local(*day) + timedelta(days=1)).astimezone(UTC)
        prices = DAY_AND_NIGHT.import_prices(start, end)
        hours_at = {Decimal("0.30"): 0.0, Decimal("0.10"): 0.0}
        for (begin, until), price in zip(pairwise(prices.boundaries), prices.prices_per_kwh, strict=True):
            hours_at[price] += (until - begin) / timedelta(hours=1)
        assert hours_at == {Decimal("0.30"): day_hours, Decimal("0.10"): night_hours}

    def test_band_that_begins_in_the_hour_that_comes_twice_begins_twice(self) -> None:
        late = tariff(band("late", "0.30", start=time(2, 30)), band("early", "0.10"))
        prices = late.import_prices(local(2026, 10, 25).astimezone(UTC), local(2026, 10, 25, 4).astimezone(UTC))
        # 02:00 A   02:30 A   03:00 A = 02:00 B   02:30 B
        #   early     late      early               late
        assert prices.price_per_kwh_at(datetime(2026, 10, 25, 0, 29, tzinfo=UTC)) == Decimal("0.10")
        assert prices.price_per_kwh_at(datetime(2026, 10, 25, 0, 30, tzinfo=UTC)) == Decimal("0.30")
        assert prices.price_per_kwh_at(datetime(2026, 10, 25, 1, 0, tzinfo=UTC)) == Decimal("0.10")
        assert prices.price_per_kwh_at(datetime(2026, 10, 25, 1, 30, tzinfo=UTC)) == Decimal("0.30")

    def test_band_that_begins_in_the_hour_left_out_begins_when_clocks_are_set(self) -> None:
        late = tariff(band("late", "0.30", start=time(2, 30)), band("early", "0.10"))
        prices = late.import_prices(local(2026, 3, 29).astimezone(UTC), local(2026, 3, 29, 6).astimezone(UTC))
        assert prices.boundaries[1] == datetime(2026, 3, 29, 1, tzinfo=UTC)
        assert prices.prices_per_kwh == (Decimal("0.10"), Decimal("0.30"))

    @given(
        st.sampled_from(
            ["Europe/Berlin", "America/Los_Angeles", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kathmandu"]
        ),
        st.dates(date(2024, 1, 1), date(2027, 12, 31)),
        st.lists(st.times(), min_size=2, max_size=3, unique=True),
    )
    @settings(deadline=None, max_examples=60)
    def test_between_two_boundaries_nothing_changes(self, zone: str, day: date, clocks: list[time]) -> None:
        start, end = sorted(clock.replace(second=0, microsecond=0, tzinfo=None) for clock in clocks)[:2]
        if start == end:
            return
        made = tariff(band("inner", "0.30", start=start, end=end), band("rest", "0.10"), zone=zone)
        begin = datetime.combine(day, time(0), ZoneInfo(zone)).astimezone(UTC)
        prices = made.import_prices(begin, begin + timedelta(hours=26))
        for minute in range(26 * 60):
            instant = begin + timedelta(minutes=minute)
            assert prices.price_per_kwh_at(instant) == made.import_price_per_kwh_at(instant), instant


class TestBillingMonth:
    @pytest.mark.parametrize(
        ("instant", "start", "hours"),
        [
            ((2026, 3, 31, 23, 30), (2026, 3, 1), 31 * 24 - 1),
            ((2026, 10, 1), (2026, 10, 1), 31 * 24 + 1),
            ((2026, 12, 31, 23, 59), (2026, 12, 1), 31 * 24),
            ((2028, 2, 29, 12), (2028, 2, 1), 29 * 24),
        ],
        ids=["March loses an hour", "October gains one", "December ends at New Year", "leap year"],
    )
    def test_is_the_local_calendar_month(
        self, instant: tuple[int, ...], start: tuple[int, int, int], hours: int
    ) -> None:
        month = DAY_AND_NIGHT.billing_month(local(*instant).astimezone(UTC))
        assert month.start == local(*start)
        assert month.duration_h == hours

    def test_last_local_evening_belongs_to_the_old_month_though_utc_is_in_the_new_one(self) -> None:
        pasadena = tariff(ALWAYS, zone="America/Los_Angeles")
        month = pasadena.billing_month(datetime(2026, 9, 1, 6, 59, tzinfo=UTC))
        assert month.end == datetime(2026, 9, 1, 7, tzinfo=UTC)

    @given(st.integers(0, 10 * 365 * 24 * 60), st.sampled_from(["Europe/Berlin", "UTC", "Asia/Tokyo"]))
    @settings(deadline=None)
    def test_holds_its_instant_and_months_follow_one_another(self, minute: int, zone: str) -> None:
        instant = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
        made = tariff(ALWAYS, zone=zone)
        month = made.billing_month(instant)
        assert month.contains(instant)
        assert made.billing_month(month.end).start == month.end
        assert 28 * 24 <= month.duration_h <= 31 * 24 + 1


def test_demand_windows_are_boundaries_too() -> None:
    charge = DemandCharge("on-peak", Decimal(9), TariffWindow(start=time(12), end=time(18)))
    made = Tariff(TariffId("t"), "test", "EUR", "Europe/Berlin", (ALWAYS,), (charge,))
    noon = local(2026, 6, 1, 12).astimezone(UTC)
    assert noon in made.boundaries_between(local(2026, 6, 1).astimezone(UTC), local(2026, 6, 2).astimezone(UTC))
