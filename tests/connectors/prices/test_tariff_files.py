"""Tariff files of four forms: the right price at telling moments, the right peaks billed, refusals that name the field."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from connectors.prices.tariff_acn import read_acn_tariff
from connectors.prices.tariff_files import read_tariff
from connectors.prices.tariff_german import GermanPriceSheetTerms, read_german_price_sheet
from connectors.prices.tariff_urdb import read_urdb_tariff
from connectors.prices.tariff_windows import seasons_of
from optimizer.domain.ids import TariffId
from optimizer.domain.tariff import EVERY_DAY, WEEKDAYS, Tariff
from optimizer.errors import InvalidDataFile, InvalidInput

RECORDED = Path(__file__).parent / "recorded"
PACIFIC = "America/Los_Angeles"


def price_at(tariff: Tariff, local: str) -> str:
    instant = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(tariff.time_zone)).astimezone(UTC)
    return str(tariff.import_price_per_kwh_at(instant))


class TestAcn:
    @pytest.mark.parametrize(
        ("local", "price"),
        [
            pytest.param("2019-03-04T12:00", "0.0869", id="winter on-peak begins"),
            pytest.param("2019-03-04T17:59", "0.0869", id="winter on-peak ends"),
            pytest.param("2019-03-04T18:00", "0.07492", id="winter mid-peak"),
            pytest.param("2019-03-04T23:00", "0.06087", id="winter off-peak at night"),
            pytest.param("2019-03-09T12:00", "0.06087", id="winter Saturday"),
            pytest.param("2019-05-31T12:00", "0.0869", id="last winter day"),
            pytest.param("2019-06-03T12:00", "0.26668", id="summer on-peak"),
            pytest.param("2019-09-30T12:00", "0.26668", id="last summer day"),
            pytest.param("2019-10-01T12:00", "0.0869", id="first winter day"),
            pytest.param("2019-03-10T03:00", "0.06087", id="hour after the clocks went forward"),
        ],
    )
    def test_sce_tou_ev_4(self, local: str, price: str) -> None:
        tariff = read_acn_tariff(RECORDED / "sce_tou_ev_4_march_2019.json", TariffId("ev4"), PACIFIC)
        assert price_at(tariff, local) == price

    def test_one_demand_charge_a_year_where_all_seasons_ask_the_same(self) -> None:
        tariff = read_acn_tariff(RECORDED / "sce_tou_ev_4_march_2019.json", TariffId("ev4"), PACIFIC)
        (charge,) = tariff.demand_charges
        assert (charge.price_per_kw, charge.interval_minutes) == (Decimal("15.51"), 15)
        assert charge.window.weekdays == EVERY_DAY
        assert (tariff.name, tariff.version, tariff.currency) == ("SCE TOU-EV-4", "2019-3-1", "USD")

    def test_no_demand_charge_where_it_is_zero(self) -> None:
        tariff = read_acn_tariff(RECORDED / "sce_tou_ev_8_june_2019.json", TariffId("ev8"), PACIFIC)
        assert tariff.demand_charges == ()
        assert price_at(tariff, "2019-12-01T10:00") == "0.07724"

    def test_a_file_that_prices_a_moment_twice_is_refused(self) -> None:
        with pytest.raises(InvalidDataFile, match=r"pge_a10.*'Winter-Weekend 0.13064 USD/kWh': it applies at the same"):
            read_acn_tariff(RECORDED / "pge_a10_tou_aug_2019.json", TariffId("a10"), PACIFIC)

    def test_half_hours_and_a_charge_a_season(self, tmp_path: Path) -> None:
        document = json.loads((RECORDED / "pge_a10_tou_aug_2019.json").read_text())
        document["schedule"][2]["dow_mask"] = "WEEKDAYS"
        document["schedule"][3]["dow_mask"] = "WEEKENDS"
        tariff = read_acn_tariff(written(tmp_path, document), TariffId("a10"), PACIFIC)
        assert price_at(tariff, "2019-07-01T08:29") == "0.14903"
        assert price_at(tariff, "2019-07-01T08:30") == "0.1771"
        charges = {charge.name: (charge.price_per_kw, charge.window.first_day) for charge in tariff.demand_charges}
        assert charges == {
            "monthly peak 05-01 to 10-31": (Decimal("19.99"), (5, 1)),
            "monthly peak 11-01 to 04-30": (Decimal("11.66"), (11, 1)),
        }

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            pytest.param({"times": [0, 8]}, "schedule.0.tariffs = .*as many tariffs as times", id="a price missing"),
            pytest.param({"times": [0, 8, 8, 18, 23]}, "schedule.0.times", id="hours not rising"),
            pytest.param({"times": [1, 8, 12, 18, 23]}, "schedule.0.times", id="midnight missing"),
            pytest.param({"times": [0, 8, 12, 18, 24]}, "schedule.0.times = .*below 24", id="hour 24"),
            pytest.param({"times": [0, 8, 12, 18.01, 23]}, "whole minutes", id="half a minute"),
            pytest.param({"effective_start": "13-01"}, "schedule.0.effective_start", id="month 13"),
            pytest.param({"effective_start": "02-30"}, "schedule.0.effective_start", id="30 February"),
            pytest.param(
                {"effective_end": "09-29"}, "Monday 09-30 00:00.: give a band that covers", id="a day without price"
            ),
            pytest.param({"dow_mask": "FRIDAYS"}, "schedule.0.dow_mask = 'FRIDAYS'", id="unknown days"),
            pytest.param({"demand_charge": -1}, "schedule.0.demand_charge", id="negative demand charge"),
            pytest.param(
                {"demand_charge": 9},
                "schedule.1.demand_charge = 15.51: give all kinds of day",
                id="weekend asks another",
            ),
            pytest.param({"tariffs": ["x", 1, 2, 3, 4]}, "schedule.0.tariffs.0 = 'x'", id="price no number"),
        ],
    )
    def test_a_field_that_cannot_be_used_is_named(
        self, tmp_path: Path, change: dict[str, object], message: str
    ) -> None:
        document = json.loads((RECORDED / "sce_tou_ev_4_march_2019.json").read_text())
        document["schedule"][0] |= change
        with pytest.raises(InvalidDataFile, match=message):
            read_acn_tariff(written(tmp_path, document), TariffId("ev4"), PACIFIC)

    def test_a_demand_charge_that_changes_within_a_month_is_refused(self, tmp_path: Path) -> None:
        document = json.loads((RECORDED / "sce_tou_ev_8_june_2019.json").read_text())
        for summer in document["schedule"][:2]:
            summer |= {"effective_start": "06-15", "demand_charge": 5}
        document["schedule"][2] |= {"effective_end": "06-14"}
        with pytest.raises(
            InvalidDataFile, match=r"schedule.0.effective_start = '06-15': let the season start with a month"
        ):
            read_acn_tariff(written(tmp_path, document), TariffId("ev8"), PACIFIC)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            pytest.param("{", "line 1", id="no JSON"),
            pytest.param("[]", "file = ", id="a list"),
            pytest.param(
                '{"name": "x", "effective": "2019"}', "schedule = 'nothing': Field required", id="no schedule"
            ),
        ],
    )
    def test_what_is_no_tariff_is_refused(self, tmp_path: Path, text: str, message: str) -> None:
        file = tmp_path / "tariff.json"
        file.write_text(text)
        with pytest.raises(InvalidDataFile, match=message):
            read_acn_tariff(file, TariffId("x"), PACIFIC)


def written(tmp_path: Path, document: object) -> Path:
    file = tmp_path / "tariff.json"
    file.write_text(json.dumps(document))
    return file


class TestUrdb:
    @pytest.mark.parametrize(
        ("local", "price"),
        [
            pytest.param("2025-07-07T16:00", "0.15186", id="summer weekday evening"),
            pytest.param("2025-07-06T16:00", "0.14199", id="summer Sunday evening"),
            pytest.param("2025-07-07T21:00", "0.11343", id="summer weekday night"),
            pytest.param("2025-02-28T09:00", "0.08973", id="winter morning"),
            pytest.param("2024-02-29T16:00", "0.12428", id="leap day evening"),
            pytest.param("2025-12-31T23:00", "0.12331", id="last hour of the year"),
        ],
    )
    def test_energy_of_sce_tou_8(self, local: str, price: str) -> None:
        tariff = read_urdb_tariff(RECORDED / "urdb_sce_tou_8_option_d.json", TariffId("tou8"), PACIFIC)
        assert price_at(tariff, local) == price

    def test_flat_and_time_of_use_demand_stand_side_by_side(self) -> None:
        tariff = read_urdb_tariff(RECORDED / "urdb_sce_tou_8_option_d.json", TariffId("tou8"), PACIFIC)
        flat, summer, winter = tariff.demand_charges
        assert (flat.price_per_kw, flat.window.start, flat.window.end) == (Decimal("25.36"), time(0), time(0))
        assert (summer.price_per_kw, summer.window.weekdays, summer.window.first_day) == (
            Decimal("29.54"),
            WEEKDAYS,
            (6, 1),
        )
        assert (winter.price_per_kw, winter.window.weekdays, winter.window.last_day) == (
            Decimal("8.83"),
            EVERY_DAY,
            (5, 31),
        )
        assert (summer.window.start, summer.window.end) == (time(16), time(21))
        assert tariff.version == "2024-10-01"

    def test_adjustments_count(self) -> None:
        tariff = read_urdb_tariff(RECORDED / "urdb_aps_saver_choice_plus.json", TariffId("aps"), "America/Phoenix")
        assert price_at(tariff, "2019-06-03T15:00") == "0.137341"
        assert {charge.price_per_kw for charge in tariff.demand_charges} == {Decimal("9.238")}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            pytest.param({"energyratestructure": [[{"rate": 1, "max": 9}, {"rate": 2}]]}, "energyratestructure.0 = '2 tiers'", id="tiers"),
            pytest.param({"energyratestructure": [[{"rate": 1, "unit": "kWh/hp"}]] * 6}, "unit = 'kWh/hp'", id="unit"),
            pytest.param({"energyweekdayschedule": [[0] * 24] * 11}, "12 months of 24 hours", id="a month missing"),
            pytest.param({"energyweekdayschedule": [[7] * 24] * 12}, "energyweekdayschedule.0.0 = 7", id="unknown period"),
            pytest.param({"energytoulabels": ["one"]}, "energytoulabels", id="names missing"),
            pytest.param({"demandrateunit": "kVA"}, "demandrateunit = 'kVA'", id="apparent power"),
            pytest.param({"demandratchetpercentage": [0.5] * 12}, "ratchet", id="ratchet"),
            pytest.param({"coincidentratestructure": [[{"rate": 3}]]}, "coincident", id="coincident peak"),
            pytest.param({"demandwindow": 7}, "demandwindow = 7", id="demand interval"),
            pytest.param({"flatdemandmonths": [0] * 11 + [4]}, "flatdemandmonths", id="unknown flat period"),
            pytest.param(
                {"demandweekdayschedule": [[1] * 3 + [0] * 13 + [1] * 8] * 12}, "one daily window", id="two windows a day"
            ),
            pytest.param(
                {"energyratestructure": [[{"rate": 1, "sell": period}] for period in range(6)]}, "one sell rate", id="sell rates differ"
            ),
        ],
    )  # fmt: skip
    def test_what_cannot_be_stated_is_refused(self, tmp_path: Path, change: dict[str, object], message: str) -> None:
        document = json.loads((RECORDED / "urdb_sce_tou_8_option_d.json").read_text())
        document["items"][0] |= change
        with pytest.raises(InvalidDataFile, match=message):
            read_urdb_tariff(written(tmp_path, document), TariffId("tou8"), PACIFIC)

    def test_one_of_several_rates_must_be_chosen(self, tmp_path: Path) -> None:
        first = json.loads((RECORDED / "urdb_sce_tou_8_option_d.json").read_text())["items"][0]
        second = json.loads((RECORDED / "urdb_aps_saver_choice_plus.json").read_text())["items"][0]
        file = written(tmp_path, {"items": [first, second]})
        with pytest.raises(InvalidDataFile, match="rate_label = None: choose one of"):
            read_urdb_tariff(file, TariffId("x"), PACIFIC)
        assert read_urdb_tariff(file, TariffId("x"), PACIFIC, rate_label=second["label"]).name.startswith("Residential")

    def test_a_rate_alone_one_sell_rate_and_flat_demand_by_season(self, tmp_path: Path) -> None:
        rate = json.loads((RECORDED / "urdb_sce_tou_8_option_d.json").read_text())["items"][0]
        for tiers in rate["energyratestructure"]:
            tiers[0]["sell"] = 0.04
        rate |= {"flatdemandstructure": [[{"rate": 3}], [{"rate": 0}]], "flatdemandmonths": [0] * 5 + [1] * 4 + [0] * 3}
        tariff = read_urdb_tariff(written(tmp_path, rate), TariffId("x"), PACIFIC)
        assert tariff.export_price_per_kwh == Decimal("0.04")
        flat = tariff.demand_charges[0]
        assert (flat.price_per_kw, flat.window.first_day, flat.window.last_day) == (Decimal(3), (10, 1), (5, 31))


class TestGermanPriceSheet:
    SHEET = RECORDED / "german_price_sheet.json"

    @pytest.mark.parametrize(
        ("terms", "energy", "capacity"),
        [
            pytest.param({"voltage_level": "MV", "utilisation_h": 1000}, "0.15797", "3.421667", id="few hours: 3.49 + 12.307 ct"),
            pytest.param({"voltage_level": "MV", "utilisation_h": 2500}, "0.14627", "5.845000", id="many hours: 2.32 + 12.307 ct"),
            pytest.param({"voltage_level": "LV", "utilisation_h": 4000, "market_priced": True}, "0.08637", "5.360833", id="no procurement"),
            pytest.param({}, "0.19787", None, id="customer without load metering: 7.48 + 12.307 ct"),
            pytest.param(
                {"voltage_level": "MV", "utilisation_h": 1000, "with_value_added_tax": True}, "0.1879843", "4.071783", id="with 19 % VAT"
            ),
        ],
    )  # fmt: skip
    def test_prices_follow_level_and_hours_of_use(
        self, terms: dict[str, object], energy: str, capacity: str | None
    ) -> None:
        tariff = read_german_price_sheet(self.SHEET, TariffId("de"), GermanPriceSheetTerms.model_validate(terms))
        assert tariff.energy_bands[0].price_per_kwh == Decimal(energy)
        charged = [str(charge.price_per_kw) for charge in tariff.demand_charges]
        assert charged == ([capacity] if capacity else [])
        assert tariff.market_priced is bool(terms.get("market_priced"))

    @pytest.mark.parametrize(("pv_peak_kw", "paid"), [(0, "0"), (10, "0.0624"), (25, "0.0606"), (100, "0.0474")])
    def test_feed_in_is_paid_by_size(self, pv_peak_kw: int, paid: str) -> None:
        terms = GermanPriceSheetTerms(pv_peak_kw=Decimal(pv_peak_kw))
        assert read_german_price_sheet(self.SHEET, TariffId("de"), terms).export_price_per_kwh == Decimal(paid)

    @pytest.mark.parametrize(
        ("terms", "message"),
        [
            pytest.param({"pv_peak_kw": 101}, "pv_peak_kw = .*up to 100 kW", id="plant too large"),
            pytest.param(
                {"grid_operator": "Stadtwerke"}, "grid_operator = 'Stadtwerke': choose one of", id="unknown operator"
            ),
        ],
    )
    def test_what_the_sheet_does_not_say_is_refused(self, terms: dict[str, object], message: str) -> None:
        with pytest.raises(InvalidDataFile, match=message):
            read_german_price_sheet(self.SHEET, TariffId("de"), GermanPriceSheetTerms.model_validate(terms))


OWN = """
id: depot
name: Depot tariff
currency: EUR
time_zone: Europe/Berlin
version: "2026-01"
export_price_per_kwh: 0.0786
energy_bands:
  - name: winter evening
    price_per_kwh: 0.412345678901234567
    first_day: 11-01
    last_day: 02-29
    days: [mon, tue, wed, thu, fri]
    start: 17:00
    end: 24:00
  - name: weekend
    price_per_kwh: 0.20
    days: weekend
  - name: other hours
    price_per_kwh: 0.30
demand_charges:
  - name: peak on workdays
    price_per_kw: 9.50
    days: weekdays
    start: 08:00
    end: 20:00
    interval_minutes: 30
"""


def own(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "tariff.yaml"
    file.write_text(text, encoding="utf-8")
    return file


class TestOwnForm:
    @pytest.mark.parametrize(
        ("local", "price"),
        [
            pytest.param("2026-01-05T17:00", "0.412345678901234567", id="winter Monday evening, every digit kept"),
            pytest.param("2024-02-29T23:59", "0.412345678901234567", id="leap day"),
            pytest.param("2026-03-02T17:00", "0.30", id="no winter any more"),
            pytest.param("2026-01-04T17:00", "0.20", id="Sunday"),
            pytest.param("2026-03-29T03:00", "0.20", id="after the clocks went forward"),
        ],
    )
    def test_the_first_band_that_applies_counts(self, tmp_path: Path, local: str, price: str) -> None:
        assert price_at(read_tariff(own(tmp_path, OWN)), local) == price

    def test_everything_else_arrives_as_written(self, tmp_path: Path) -> None:
        tariff = read_tariff(own(tmp_path, OWN))
        (charge,) = tariff.demand_charges
        assert (charge.price_per_kw, charge.interval_minutes) == (Decimal("9.50"), 30)
        assert (charge.window.start, charge.window.end, charge.window.weekdays) == (time(8), time(20), WEEKDAYS)
        assert (tariff.id, tariff.version, tariff.export_price_per_kwh) == ("depot", "2026-01", Decimal("0.0786"))

    def test_a_tariff_on_day_ahead_prices_alone_tells_none_without_them(self, tmp_path: Path) -> None:
        text = "{id: spot, name: Spot, currency: EUR, time_zone: Europe/Berlin, market_priced: true}"
        with pytest.raises(InvalidInput, match="day-ahead prices"):
            price_at(read_tariff(own(tmp_path, text)), "2026-01-01T00:00")

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            pytest.param("price_per_kw: 9.50", "price_per_kw: dear", "demand_charges.0.price_per_kw = 'dear'", id="price no number"),
            pytest.param("price_per_kwh: 0.30", "price_per_kwh: nan", "energy_bands.2.price_per_kwh", id="price not a number"),
            pytest.param("interval_minutes: 30", "interval_minutes: 7", "interval_minutes = '7'", id="demand interval"),
            pytest.param("start: 17:00", "start: 25:00", "energy_bands.0.start = '25:00'", id="hour 25"),
            pytest.param("end: 20:00", "end: 06:00", "demand_charges.0.end = '06:00'.*over midnight as two", id="over midnight"),
            pytest.param("last_day: 02-29", "last_day: 02-30", "energy_bands.0.last_day = '02-30'", id="30 February"),
            pytest.param("days: weekend", "days: holidays", "energy_bands.1.days", id="unknown days"),
            pytest.param("Europe/Berlin", "Europe/Bonn", "time_zone = 'Europe/Bonn'", id="unknown zone"),
            pytest.param("currency: EUR", "currency: euro", "currency = 'euro'", id="currency code"),
            pytest.param("name: Depot tariff", "label: Depot tariff", "name = 'nothing'|label", id="misspelt field"),
            pytest.param("  - name: other hours\n    price_per_kwh: 0.30\n", "", "energy bands = .*covers this local time", id="hours without price"),
            pytest.param("energy_bands:", "energy_bands: [", "line ", id="no YAML"),
        ],
    )  # fmt: skip
    def test_a_field_that_cannot_be_used_is_named(self, tmp_path: Path, old: str, new: str, message: str) -> None:
        assert old in OWN
        with pytest.raises(InvalidDataFile, match=message) as caught:
            read_tariff(own(tmp_path, OWN.replace(old, new)))
        assert "tariff.yaml" in str(caught.value)

    def test_no_price_at_all_is_refused(self, tmp_path: Path) -> None:
        text = "{id: x, name: X, currency: EUR, time_zone: Europe/Berlin}"
        with pytest.raises(InvalidDataFile, match=r"energy_bands = .*at least one band, or market_priced"):
            read_tariff(own(tmp_path, text))


class TestAdoptedForm:
    @pytest.mark.parametrize(
        ("text", "name", "currency"),
        [
            pytest.param(f"{{id: a, format: acn, file: sce_tou_ev_4_march_2019.json, time_zone: {PACIFIC}}}", "SCE TOU-EV-4", "USD", id="acn"),
            pytest.param(f"{{id: a, format: urdb, file: urdb_sce_tou_8_option_d.json, time_zone: {PACIFIC}}}", "Time-Of-Use", "USD", id="urdb"),
            pytest.param(
                "{id: a, format: german_price_sheet, file: german_price_sheet.json, terms: {voltage_level: MV/LV, utilisation_h: 3000}}",
                "default_grid_operator MV/LV",
                "EUR",
                id="german price sheet",
            ),
        ],
    )  # fmt: skip
    def test_files_of_others_are_found_beside_the_yaml(
        self, tmp_path: Path, text: str, name: str, currency: str
    ) -> None:
        for file in RECORDED.glob("*.json"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
        tariff = read_tariff(own(tmp_path, text))
        assert tariff.id == "a"
        assert tariff.name.startswith(name)
        assert tariff.currency == currency

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            pytest.param("{id: a, format: acn, file: x.json}", "time_zone = None", id="no zone"),
            pytest.param(f"{{id: a, format: acn, file: absent.json, time_zone: {PACIFIC}}}", "absent.json", id="no file"),
            pytest.param("{id: a, format: pdf, file: x.pdf}", "format = 'pdf'", id="unknown form"),
            pytest.param(
                "{id: a, format: german_price_sheet, file: x.json, terms: {voltage_level: XXL}}", "terms.voltage_level = 'XXL'", id="unknown level"
            ),
        ],
    )  # fmt: skip
    def test_what_lacks_is_named(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(InvalidDataFile, match=message):
            read_tariff(own(tmp_path, text))


@pytest.mark.parametrize(
    ("months", "expected"),
    [
        pytest.param("aaaaaaaaaaaa", [((1, 1), (12, 31), "a")], id="all year"),
        pytest.param("wwwwwsssswww", [((6, 1), (9, 30), "s"), ((10, 1), (5, 31), "w")], id="winter over New Year"),
        pytest.param("abbbbbbbbbbb", [((1, 1), (1, 31), "a"), ((2, 1), (12, 31), "b")], id="January alone"),
        pytest.param("bbbbbbbbbbba", [((1, 1), (11, 30), "b"), ((12, 1), (12, 31), "a")], id="December alone"),
        pytest.param(
            "aabbbbbbbbbb", [((1, 1), (2, 29), "a"), ((3, 1), (12, 31), "b")], id="February ends with its leap day"
        ),
    ],
)
def test_equal_months_are_joined(months: str, expected: list[tuple[tuple[int, int], tuple[int, int], str]]) -> None:
    assert [(season.first_day, season.last_day, season.value) for season in seasons_of(months)] == expected
