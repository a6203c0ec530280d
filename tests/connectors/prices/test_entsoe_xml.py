"""ENTSO-E's XML: exact, filled forward, one auction, one resolution a day; what is cut by hand is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from entsoe.parsers import parse_prices

from connectors.prices.entsoe_xml import parse_entsoe_answer, read_entsoe_answer
from optimizer.errors import InvalidDataFile

RECORDED = Path(__file__).parent / "recorded"
DAY = datetime(2024, 10, 5, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("file", "sequence", "count", "hours"),
    [
        pytest.param("BE_60M.xml", 1, 24, 24, id="one day in hours"),
        pytest.param("DE_60M_15M_overlap.xml", 1, 48, 48, id="the coupled auction of Germany, hours"),
        pytest.param("DE_60M_15M_overlap.xml", 2, 192, 48, id="the local auction of Germany, quarters"),
        pytest.param("BE_60M_15M_mix.xml", 1, 2 * 96 + 24, 72, id="two days in quarters, then one in hours"),
    ],
)
def test_true_answers_are_read_whole(file: str, sequence: int, count: int, hours: int) -> None:
    series = read_entsoe_answer(RECORDED / file, sequence)
    assert len(series.prices_per_kwh) == count
    assert series.span.duration_h == hours
    assert series.currency == "EUR"


@pytest.mark.filterwarnings("ignore::bs4.XMLParsedAsHTMLWarning")
@pytest.mark.parametrize(
    ("file", "sequence", "resolution"),
    [
        pytest.param("DE_60M_15M_overlap.xml", 1, "60min", id="hours"),
        pytest.param("DE_60M_15M_overlap.xml", 2, "15min", id="quarters"),
        pytest.param("BE_60M.xml", 1, "60min", id="Belgium"),
    ],
)
def test_the_reading_agrees_with_entsoe_py_where_that_is_right(file: str, sequence: int, resolution: str) -> None:
    ours = read_entsoe_answer(RECORDED / file, sequence)
    theirs = parse_prices((RECORDED / file).read_text())[resolution]  # type: ignore[no-untyped-call]
    assert [stamp.to_pydatetime() for stamp in theirs.index] == list(ours.boundaries[:-1])
    assert [Decimal(str(price)) / 1000 for price in theirs] == list(ours.prices_per_kwh)


def test_an_omitted_position_repeats_the_price_before() -> None:
    series = read_entsoe_answer(RECORDED / "DE_60M_15M_overlap.xml")
    assert "<position>15</position>" not in (RECORDED / "DE_60M_15M_overlap.xml").read_text().split("</Period>")[0]
    assert series.prices_per_kwh[13] == series.prices_per_kwh[14] == Decimal("-0.00001")


def test_quarters_that_carry_hourly_values_are_filled_within_the_hour() -> None:
    series = read_entsoe_answer(RECORDED / "BE_60M_15M_mix.xml")
    for hour in range(48):
        assert len(set(series.prices_per_kwh[4 * hour : 4 * hour + 4])) == 1


@pytest.mark.parametrize("file", ["BE_15M_avg.xml", "BE_15M_exact4.xml"])
def test_answers_cut_by_hand_are_refused_with_a_reason(file: str) -> None:
    with pytest.raises(InvalidDataFile, match=f"{file}: Period.timeInterval.start = .*whole delivery day"):
        read_entsoe_answer(RECORDED / file)


def point(position: int | str, amount: str) -> str:
    return f"<Point><position>{position}</position><price.amount>{amount}</price.amount></Point>"


FULL_DAY = "".join(point(position, f"{position}.5") for position in range(1, 25))


def period(points: str, resolution: str = "PT60M", *, start: datetime = DAY, hours: int = 24) -> str:
    end = start + timedelta(hours=hours)
    return (
        f"<Period><timeInterval><start>{start:%Y-%m-%dT%H:%MZ}</start><end>{end:%Y-%m-%dT%H:%MZ}</end></timeInterval>"
        f"<resolution>{resolution}</resolution>{points}</Period>"
    )


def time_series(
    periods: str, *, curve: str = "A03", sequence: int | None = None, unit: str = "MWH", currency: str = "EUR"
) -> str:
    tag = "classificationSequence_AttributeInstanceComponent.position"
    number = f"<{tag}>{sequence}</{tag}>" if sequence else ""
    return (
        f"<TimeSeries><in_Domain.mRID>10YXX</in_Domain.mRID><currency_Unit.name>{currency}</currency_Unit.name>"
        f"<price_Measure_Unit.name>{unit}</price_Measure_Unit.name>{number}<curveType>{curve}</curveType>{periods}</TimeSeries>"
    )


def answer(series: str) -> str:
    return f'<Publication_MarketDocument xmlns="urn:x:publicationdocument:7:3">{series}</Publication_MarketDocument>'


QUARTERS = "".join(point(position, "7") for position in range(1, 97))


def test_the_finest_resolution_of_a_day_is_taken_and_never_mixed() -> None:
    both = time_series(period(FULL_DAY)) + time_series(period(QUARTERS, "PT15M"))
    next_day = time_series(period(FULL_DAY, start=DAY + timedelta(days=1)))
    series = parse_entsoe_answer(answer(both + next_day), "answer")
    assert len(series.prices_per_kwh) == 96 + 24
    assert set(series.prices_per_kwh[:96]) == {Decimal("0.007")}


def test_the_same_day_given_twice_alike_counts_once() -> None:
    series = parse_entsoe_answer(answer(2 * time_series(period(FULL_DAY))), "answer")
    assert len(series.prices_per_kwh) == 24


def test_the_last_positions_may_be_omitted_too() -> None:
    series = parse_entsoe_answer(answer(time_series(period(point(1, "5") + point(3, "6")))), "answer")
    assert [str(price) for price in series.prices_per_kwh] == ["0.005", "0.005"] + ["0.006"] * 22


@pytest.mark.parametrize("hours", [23, 25])
def test_days_of_clock_changes_have_23_or_25_positions(hours: int) -> None:
    points = "".join(point(position, "1") for position in range(1, hours + 1))
    series = parse_entsoe_answer(answer(time_series(period(points, hours=hours), curve="A01")), "answer")
    assert len(series.prices_per_kwh) == hours


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        pytest.param("{}", "must be XML", id="no XML"),
        pytest.param("<html/>", "document = 'html'", id="a web page"),
        pytest.param(
            "<Acknowledgement_MarketDocument xmlns='a:b'><Reason><code>999</code><text>not valid</text></Reason></Acknowledgement_MarketDocument>",
            "Reason = 'not valid'",
            id="an acknowledgement",
        ),
        pytest.param(answer(""), r"TimeSeries = \[\]", id="no time series"),
        pytest.param(answer(time_series(period(FULL_DAY), sequence=2)), r"TimeSeries = \['2'\]: must hold the auction of sequence 1", id="another auction"),
        pytest.param(answer(time_series("")), "Period = None", id="no period"),
        pytest.param(answer(time_series(period(FULL_DAY), unit="KWH")), "must be MWH", id="another unit"),
        pytest.param(answer(time_series(period(FULL_DAY)) + time_series(period(FULL_DAY), currency="PLN")), "same in all", id="two currencies"),
        pytest.param(answer(time_series(period(FULL_DAY, "P1D"))), "Period.resolution = 'P1D'", id="unknown resolution"),
        pytest.param(answer(time_series(period(point(2, "5")))), "never the first", id="first position omitted"),
        pytest.param(answer(time_series(period(point(1, "5") + point(3, "5")), curve="A01")), "position 2 is missing", id="A01 with a hole"),
        pytest.param(answer(time_series(period(point(1, "5")), curve="A01")), "must have 24 positions", id="A01 cut short"),
        pytest.param(answer(time_series(period(point(1, "5") + point(5, "5") + point(2, "5")))), "must rise", id="out of order"),
        pytest.param(answer(time_series(period(point(1, "5") + point(1, "5")))), "must rise", id="position twice"),
        pytest.param(answer(time_series(period(point(1, "5") + point(25, "5")))), "has 24 positions only", id="beyond the end"),
        pytest.param(answer(time_series(period(point("one", "5")))), "Point.position = 'one'", id="position no number"),
        pytest.param(answer(time_series(period(point(1, "free")))), "price.amount = 'free'", id="price no number"),
        pytest.param(answer(time_series(period(point(1, "NaN")))), "finite", id="price not a number"),
        pytest.param(answer(time_series(period(FULL_DAY).replace("22:00Z", "22:00"))), "must be a UTC time", id="naive time"),
        pytest.param(answer(time_series(period(FULL_DAY).replace("<resolution>PT60M</resolution>", ""))), "resolution = None", id="no resolution"),
        pytest.param(
            answer(time_series(period(FULL_DAY) + period(FULL_DAY.replace("3.5", "9.9")))), "different prices", id="one day, two prices"
        ),
        pytest.param(
            answer(time_series(period(FULL_DAY) + period(FULL_DAY, start=DAY + timedelta(days=2)))), "must follow", id="a day missing between"
        ),
    ],
)  # fmt: skip
def test_a_malformed_answer_is_refused(xml: str, message: str) -> None:
    with pytest.raises(InvalidDataFile, match=message) as caught:
        parse_entsoe_answer(xml, "answer of today")
    assert str(caught.value).startswith("answer of today: ")
