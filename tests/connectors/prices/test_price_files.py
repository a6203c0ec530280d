"""Price files: exact, in UTC, complete over the days when clocks change, refused where they are not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from connectors.prices.entsoe_xml import read_entsoe_answer
from connectors.prices.price_files import FilePriceSource, cut, moved_to_cover, read_prices
from optimizer.domain.series import PriceSeries
from optimizer.errors import InvalidDataFile, InvalidInput, SourceUnavailable

RECORDED = Path(__file__).parent / "recorded"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def steps(series: PriceSeries) -> set[timedelta]:
    return {later - earlier for earlier, later in pairwise(series.boundaries)}


@pytest.mark.parametrize(
    ("file", "zone", "start", "count", "step_minutes", "first", "currency"),
    [
        pytest.param(
            "energinet_hours_2024-03-31.csv",
            "DE",
            "2024-03-30T23:00",
            23,
            60,
            "0.0757",
            "EUR",
            id="23 h day in Germany",
        ),
        pytest.param(
            "energinet_hours_2024-03-31.csv",
            "DK1",
            "2024-03-30T23:00",
            23,
            60,
            "0.0757",
            "EUR",
            id="23 h day in Denmark",
        ),
        pytest.param(
            "energinet_quarters_2026-03-01.csv", None, "2026-02-28T23:00", 96, 15, "0.04974", "EUR", id="96 quarters"
        ),
        pytest.param(
            "ercot_spring_2022.csv", None, "2022-03-13T06:00", 23, 60, "0.03091", "USD", id="23 h day in Texas"
        ),
        pytest.param(
            "ercot_autumn_2022.csv", "LZ_HOUSTON", "2022-11-06T05:00", 25, 60, "0.01036", "USD", id="25 h day in Texas"
        ),
    ],
)
def test_recorded_files_cover_their_day_without_hole(
    file: str, zone: str | None, start: str, count: int, step_minutes: int, first: str, currency: str
) -> None:
    series = read_prices(RECORDED / file, zone)
    assert series.boundaries[0] == utc(start)
    assert len(series.prices_per_kwh) == count
    assert steps(series) == {timedelta(minutes=step_minutes)}
    assert series.prices_per_kwh[0] == Decimal(first)
    assert series.currency == currency


def test_the_repeated_hour_of_texas_stands_between_the_hours_around_it() -> None:
    series = read_prices(RECORDED / "ercot_autumn_2022.csv")
    rows = (RECORDED / "ercot_autumn_2022.csv").read_text().splitlines()[1:]
    flagged = next(row.split(",") for row in rows if ",Y," in row)
    assert flagged[1] == "02:00"
    assert series.price_per_kwh_at(utc("2022-11-06T07:00")) == Decimal(flagged[4]) / 1000


def test_energinet_and_entsoe_agree_to_the_cent_over_48_german_hours() -> None:
    energinet = read_prices(RECORDED / "energinet_de_2024-10-06_2024-10-07.csv")
    entsoe = read_entsoe_answer(RECORDED / "DE_60M_15M_overlap.xml")
    assert len(energinet.prices_per_kwh) == 48
    assert energinet.boundaries == entsoe.boundaries
    assert energinet.prices_per_kwh == entsoe.prices_per_kwh
    assert min(energinet.prices_per_kwh) == Decimal("-0.00001")


PLAIN = "timestamp,price_eur_per_mwh\n2026-03-01T00:00:00Z,49.74\n2026-03-01T01:15:00+01:00,-48.885\n"


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "prices.csv"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("text", "prices", "currency"),
    [
        pytest.param(PLAIN, ["0.04974", "-0.048885"], "EUR", id="per MWh, offsets mixed"),
        pytest.param(PLAIN.replace("eur_per_mwh", "usd_per_kwh"), ["49.74", "-48.885"], "USD", id="per kWh"),
        pytest.param(
            PLAIN.replace(",", ";").replace(".74", ",74"),
            ["0.04974", "-0.048885"],
            "EUR",
            id="semicolons and decimal comma",
        ),
    ],
)
def test_the_plain_form_is_exact(tmp_path: Path, text: str, prices: list[str], currency: str) -> None:
    series = read_prices(written(tmp_path, text))
    assert series.boundaries == tuple(utc(f"2026-03-01T00:{minute:02}") for minute in (0, 15, 30))
    assert list(series.prices_per_kwh) == [Decimal(price) for price in prices]
    assert series.currency == currency


ERCOT_HEADER = "Delivery Date,Hour Ending,Repeated Hour Flag,Settlement Point,Settlement Point Price\n"
ENERGINET_HEADER = "HourUTC,HourDK,PriceArea,SpotPriceEUR\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "file = .*header line", id="empty file"),
        pytest.param("when,price\n1,2\n", "header = 'when,price': start with HourUTC", id="unknown header"),
        pytest.param("timestamp,price\n2026-01-01T00:00Z,1\n", "unit", id="no unit"),
        pytest.param(
            PLAIN.replace("00:00:00Z", "00:00:00"),
            "line 2, timestamp = '2026-03-01T00:00:00'.*UTC offset",
            id="naive time",
        ),
        pytest.param(PLAIN.replace("49.74", "49,74"), "line 2.*give 2 cells", id="decimal comma between commas"),
        pytest.param(
            PLAIN.replace("49.74", "cheap"), "line 2, price_eur_per_mwh = 'cheap': give a number", id="no number"
        ),
        pytest.param(PLAIN.replace("49.74", "NaN"), "finite", id="not a number"),
        pytest.param(PLAIN.splitlines()[0] + "\n", "at least one row", id="header alone"),
        pytest.param("\n".join(PLAIN.splitlines()[:2]), "at least two", id="one row"),
        pytest.param(
            PLAIN + "2026-03-01T00:45:00Z,50\n", "line 4.*2026-03-01T00:30Z must follow", id="a missing quarter"
        ),
        pytest.param(PLAIN + "2026-03-01T00:15:00Z,50\n", "line 4.*no row may lack or repeat", id="a repeated quarter"),
        pytest.param(ENERGINET_HEADER + "x,2024-01-01,DE,1\n", "line 2, HourUTC = 'x'", id="energinet time"),
        pytest.param(
            ENERGINET_HEADER.replace("SpotPriceEUR", "SpotPriceDKK") + "x,y,DE,1\n",
            "SpotPriceEUR",
            id="energinet without EUR",
        ),
        pytest.param(ERCOT_HEADER + "13/01/2022,01:00,N,HB,1\n", "Delivery Date", id="ercot date"),
        pytest.param(ERCOT_HEADER + "03/01/2022,25:00,N,HB,1\n", "01:00 to 24:00", id="ercot hour 25"),
        pytest.param(ERCOT_HEADER + "03/01/2022,01:00,?,HB,1\n", "Repeated Hour Flag", id="ercot flag"),
        pytest.param(ERCOT_HEADER + "03/13/2022,03:00,N,HB,1\n", "clocks skip it", id="ercot hour that does not exist"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidDataFile, match=message) as caught:
        read_prices(written(tmp_path, text))
    assert "prices.csv" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataFile, match=r"absent\.csv"):
        read_prices(tmp_path / "absent.csv")


@pytest.mark.parametrize("zone", [None, "SE4"])
def test_one_of_several_zones_must_be_chosen(zone: str | None) -> None:
    with pytest.raises(InvalidDataFile, match=r"choose one of \['DE', 'DK1'\]"):
        read_prices(RECORDED / "energinet_hours_2024-03-31.csv", zone)


def test_a_cut_keeps_whole_intervals() -> None:
    series = read_prices(RECORDED / "energinet_quarters_2026-03-01.csv")
    part = cut(series, utc("2026-03-01T10:20"), utc("2026-03-01T11:00"))
    assert part.boundaries == tuple(utc(f"2026-03-01T{clock}") for clock in ("10:15", "10:30", "10:45", "11:00"))
    assert part.price_per_kwh_at(utc("2026-03-01T10:20")) == series.price_per_kwh_at(utc("2026-03-01T10:20"))


async def test_a_file_as_source_gives_what_it_has_and_refuses_what_it_lacks() -> None:
    source = FilePriceSource(read_prices(RECORDED / "energinet_quarters_2026-03-01.csv"))
    answer = await source.prices(utc("2026-03-01T20:00"), utc("2026-03-03T00:00"))
    assert answer.span.end == utc("2026-03-01T23:00")
    with pytest.raises(SourceUnavailable, match="2026-03-01T23:00"):
        await source.prices(utc("2026-03-01T23:00"), utc("2026-03-02T00:00"))


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        pytest.param("2025-03-30", "2024-03-31", id="a Sunday of the same season"),
        pytest.param("2019-08-28", "2024-03-31", id="any day where there is no Wednesday"),
    ],
)
def test_prices_of_another_year_keep_their_local_hours(wanted: str, taken: str) -> None:
    series = read_prices(RECORDED / "energinet_hours_2024-03-31.csv", "DE")
    start = utc(f"{wanted}T15:00")
    moved = moved_to_cover(series, start, start + timedelta(hours=5), "America/Los_Angeles", "Europe/Berlin")
    # 15:00 UTC is 08:00 in Los Angeles; 08:00 in Berlin on that summer-time Sunday is 06:00 UTC
    assert moved.price_per_kwh_at(start) == series.price_per_kwh_at(utc(f"{taken}T06:00"))
    assert f"{taken} taken for {wanted}" in moved.source


def test_a_series_too_short_to_be_moved_is_refused() -> None:
    series = read_prices(RECORDED / "energinet_hours_2024-03-31.csv", "DE")
    start = utc("2019-08-28T15:00")
    with pytest.raises(InvalidInput, match="the prices last from"):
        moved_to_cover(series, start, start + timedelta(days=3), "Europe/Berlin")
