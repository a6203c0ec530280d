"""Files of power and of emissions: units by name, dates restored, forecasts seen only as they were issued."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connectors.forecasts.emissions import MarginalEmissions, read_marginal_emissions
from connectors.forecasts.series_files import RecordedForecast, read_citylearn_load, read_power, read_steel_load
from optimizer.domain.series import PowerSeries
from optimizer.errors import InvalidDataFile, InvalidInput, SourceUnavailable

RECORDED = Path(__file__).parent / "recorded"
START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "series.csv"
    file.write_text(text)
    return file


class TestPower:
    @pytest.mark.parametrize(
        ("column", "values", "expected"),
        [
            pytest.param("building_kw", (4.0, 8.0), (4.0, 8.0), id="kilowatts"),
            pytest.param("ac_power_w", (4000.0, 8000.0), (4.0, 8.0), id="watts"),
            pytest.param("Usage_kWh", (1.0, 2.0), (4.0, 8.0), id="energy of quarter hours"),
            pytest.param("energy_wh", (1000.0, 2000.0), (4.0, 8.0), id="the same in watt-hours"),
        ],
    )
    def test_the_unit_stands_in_the_name(
        self, tmp_path: Path, column: str, values: tuple[float, float], expected: tuple[float, float]
    ) -> None:
        text = f"start,{column}\n2026-03-01T00:00Z,{values[0]}\n2026-03-01T01:15+01:00,{values[1]}\n"
        series = read_power(written(tmp_path, text))
        assert series.values_kw == pytest.approx(expected)
        assert series.boundaries == tuple(START + index * HOUR / 4 for index in range(3))

    def test_measured_pv_reads_an_inverters_own_draw_as_nothing(self) -> None:
        path = RECORDED / "serf_east_2016-08-20.csv"
        raw = read_power(path)
        clean = read_power(path, negative_is_zero=True)
        assert -0.01 < min(raw.values_kw) < 0
        assert min(clean.values_kw) == 0.0
        assert max(clean.values_kw) == max(raw.values_kw) > 4.0
        assert clean.span.duration_h == 24

    @pytest.mark.parametrize(
        ("text", "column", "message"),
        [
            pytest.param("start,load\n2026-01-01T00:00Z,1\n", None, "must end in _kw, _w, _kwh or _wh", id="no unit"),
            pytest.param("start,a_kw,b_kw\n2026-01-01T00:00Z,1,2\n", None, r"choose one of \['a_kw', 'b_kw'\]", id="several"),
            pytest.param("start,a_kw\n2026-01-01T00:00Z,1\n", "b_kw", "column = 'b_kw'", id="another"),
            pytest.param("when,a_kw\n2026-01-01T00:00Z,1\n", None, "must have a column timestamp", id="no time"),
            pytest.param("start,a_kw\n2026-01-01T00:00Z,1\n2026-01-01T01:00Z,\n", None, "line 3, a_kw = ''", id="blank"),
            pytest.param("start,a_kw\n2026-01-01T00:00Z,1\n2026-01-01T00:00Z,1\n", None, "no row may lack or repeat", id="twice"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_used_is_refused(self, tmp_path: Path, text: str, column: str | None, message: str) -> None:
        with pytest.raises(InvalidDataFile, match=message):
            read_power(written(tmp_path, text), column)


class TestRecordedForecast:
    def forecast(self) -> RecordedForecast:
        series = PowerSeries(tuple(START + index * HOUR for index in range(5)), (1.0, 2.0, 3.0, 4.0))
        return RecordedForecast(series, "expected.csv")

    def test_it_tells_what_the_file_expects_whatever_was_measured(self) -> None:
        start, end = START + HOUR / 2, START + 2.5 * HOUR
        measured = PowerSeries((START, start), (99.0,))
        told = self.forecast().power(start, end, measured)
        assert told.boundaries == (start, START + HOUR, START + 2 * HOUR, end)
        assert told.values_kw == pytest.approx((1.0, 2.0, 3.0))

    @pytest.mark.parametrize(("start_h", "end_h"), [(-1, 2), (3, 5)])
    def test_time_beyond_the_file_has_no_answer(self, start_h: int, end_h: int) -> None:
        with pytest.raises(SourceUnavailable, match=r"expected\.csv goes from"):
            self.forecast().power(START + start_h * HOUR, START + end_h * HOUR, None)


class TestCityLearn:
    PATH = RECORDED / "citylearn_building_1_two_days.csv"

    def test_hours_without_date_start_where_they_are_said_to(self) -> None:
        first = datetime(2021, 8, 1, 6, tzinfo=UTC)
        series = read_citylearn_load(self.PATH, first)
        assert series.span.start == first
        assert series.span.duration_h == 49
        assert series.values_kw[:2] == (2.2758, 0.85117)

    def test_an_hour_missing_is_refused(self, tmp_path: Path) -> None:
        lines = self.PATH.read_text().splitlines()
        text = "\n".join(lines[:5] + lines[6:])
        with pytest.raises(InvalidDataFile, match="line 6, hour = '5': hour 4 must follow"):
            read_citylearn_load(written(tmp_path, text), START)

    def test_hour_zero_does_not_exist(self, tmp_path: Path) -> None:
        text = "month,hour,day_type,non_shiftable_load\n8,0,1,1.0\n"
        with pytest.raises(InvalidDataFile, match="from 1 to 24"):
            read_citylearn_load(written(tmp_path, text), START)


class TestSteel:
    def rows(self) -> list[str]:
        """Two days as the data set writes them: ends of quarter hours, midnight last with the date of its own day."""
        rows = []
        for day in (1, 2):
            for quarter in range(1, 97):
                minute = quarter * 15 % 1440
                rows.append(f"{day:02}/01/2018 {minute // 60}:{minute % 60:02},{day + quarter / 1000:.3f}")
        return rows

    def test_labels_are_ends_and_midnight_belongs_to_the_day_before(self, tmp_path: Path) -> None:
        series = read_steel_load(written(tmp_path, "date,Usage_kWh\n" + "\n".join(self.rows())))
        assert series.boundaries[0] == datetime(2017, 12, 31, 15, tzinfo=UTC)
        assert series.span.duration_h == 48
        assert series.values_kw[0] == pytest.approx(4 * 1.001)
        assert series.values_kw[95] == pytest.approx(4 * 1.096)
        assert series.values_kw[96] == pytest.approx(4 * 2.001)

    @pytest.mark.parametrize(
        ("row", "text", "message"),
        [
            pytest.param(95, "02/01/2018 0:00,1", r"line 97, date = '02/01/2018 0:00': 01/01/2018 0:00 must follow", id="midnight with the next date"),
            pytest.param(3, "01/01/2018 1:15,1", r"line 5.*01/01/2018 1:00 must follow", id="a quarter missing"),
            pytest.param(3, "2018-01-01 01:00,1", r"line 5.*DD/MM/YYYY", id="another form"),
        ],
    )  # fmt: skip
    def test_another_order_is_refused(self, tmp_path: Path, row: int, text: str, message: str) -> None:
        rows = self.rows()
        rows[row] = text
        with pytest.raises(InvalidDataFile, match=message):
            read_steel_load(written(tmp_path, "date,Usage_kWh\n" + "\n".join(rows)))


EARLY, LATE = RECORDED / "moer_2019-07-10_10-12.csv", RECORDED / "moer_2019-07-10_12-16.csv"
TEN = datetime(2019, 7, 10, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def emissions() -> MarginalEmissions:
    return read_marginal_emissions([LATE, EARLY])


def recorded_row(at: datetime) -> dict[str, float]:
    for path in (EARLY, LATE):
        with path.open() as lines:
            for row in csv.DictReader(lines):
                if datetime.fromisoformat(row["time"]) == at:
                    return {name: float(row[name]) for name in ("moer", "f1", "f12", "f36")}
    raise LookupError(at)


class TestEmissions:
    def test_files_that_overlap_are_one(self, emissions: MarginalEmissions) -> None:
        assert len(emissions.outcome) == 7 * 12
        assert emissions.leads_s.tolist() == [300, 3600, 10_800]
        assert emissions.forecasts.shape == (3, 84)

    def test_what_came_about_is_averaged_over_time(self, emissions: MarginalEmissions) -> None:
        first, second = (recorded_row(TEN + timedelta(minutes=minutes))["moer"] for minutes in (0, 5))
        boundaries = (TEN, TEN + timedelta(minutes=5), TEN + timedelta(minutes=10), TEN + timedelta(minutes=15))
        actual = emissions.actual(boundaries)
        assert actual[:2] == pytest.approx((first, second))
        assert emissions.actual((TEN, TEN + timedelta(minutes=10))) == pytest.approx(((first + second) / 2,))

    @pytest.mark.parametrize(
        ("ahead_minutes", "column"),
        [(5, "f1"), (60, "f12"), (180, "f36"), (24 * 60, "f36")],
        ids=["5 min", "1 h", "3 h", "beyond"],
    )
    def test_the_forecast_is_the_one_issued_then(
        self, emissions: MarginalEmissions, ahead_minutes: int, column: str
    ) -> None:
        at = TEN + timedelta(hours=1, minutes=35)
        middle = at + timedelta(minutes=ahead_minutes)
        boundaries = (middle - timedelta(minutes=2), middle + timedelta(minutes=2))
        assert emissions.expected(at, boundaries) == pytest.approx((recorded_row(at)[column],))

    def test_between_two_leads_it_is_interpolated(self, emissions: MarginalEmissions) -> None:
        row = recorded_row(TEN)
        middle = TEN + timedelta(hours=2)
        told = emissions.expected(TEN, (middle - timedelta(minutes=1), middle + timedelta(minutes=1)))
        assert told == pytest.approx(((row["f12"] + row["f36"]) / 2,))

    def test_within_five_minutes_nothing_newer_is_known(self, emissions: MarginalEmissions) -> None:
        ahead = (TEN + timedelta(minutes=30), TEN + timedelta(minutes=40))
        assert emissions.expected(TEN + timedelta(minutes=4, seconds=59), ahead) == emissions.expected(TEN, ahead)
        assert emissions.expected(TEN + timedelta(minutes=5), ahead) != emissions.expected(TEN, ahead)

    def test_time_beyond_the_files_has_no_answer(self, emissions: MarginalEmissions) -> None:
        with pytest.raises(SourceUnavailable, match="known from 2019-07-10T10:00Z to 2019-07-10T17:00Z"):
            emissions.actual((TEN + 6 * HOUR, TEN + 8 * HOUR))
        with pytest.raises(SourceUnavailable):
            emissions.expected(TEN - HOUR, (TEN, TEN + HOUR))

    def test_the_past_is_not_forecast(self, emissions: MarginalEmissions) -> None:
        with pytest.raises(InvalidInput, match="must not begin before"):
            emissions.expected(TEN + HOUR, (TEN, TEN + HOUR))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            pytest.param("time,moer\n2019-07-10 17:00:00+00:00,1\n", "forecast columns", id="no forecast"),
            pytest.param("time,moer,f1,f12,f36\n2019-07-10 18:00Z,1,1,1,1\n2019-07-10 18:05Z,1,1,1,1\n", "without hole", id="a hole"),
            pytest.param("time,moer,f1,f12,f36\n2019-07-10 16:55Z,9,1,1,1\n2019-07-10 17:00Z,1,1,1,1\n", "must agree", id="a contradiction"),
            pytest.param("time,moer,f1,f12\n2019-07-10 17:00Z,1,1,1\n2019-07-10 17:05Z,1,1,1\n", "columns of", id="other leads"),
            pytest.param("time,moer,f1,f12,f36\n2019-07-10 17:00Z,1,1,1,1\n2019-07-10 18:00Z,1,1,1,1\n", "every 5 minutes", id="hours"),
        ],
    )  # fmt: skip
    def test_files_that_do_not_fit_are_refused(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(InvalidDataFile, match=message):
            read_marginal_emissions([EARLY, LATE, written(tmp_path, text)])
