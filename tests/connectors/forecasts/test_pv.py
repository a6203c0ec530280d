"""PV forecast: physics that must hold, agreement with a measured plant, and the correction by recent clearness."""

from __future__ import annotations

import csv
import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from connectors.forecasts.pv import PvForecast
from connectors.forecasts.sky import ClearSky, SkyConditions, SunPath, WeatherSky
from connectors.forecasts.weather_files import read_weather
from optimizer.domain.series import PowerSeries
from optimizer.domain.site import PvArray
from optimizer.errors import InvalidDataFile, SourceUnavailable

RECORDED = Path(__file__).parent / "recorded"
SERF_EAST = PvArray("serf-east", peak_kw=6.0, inverter_kw=5.5, tilt_deg=45, azimuth_deg=158)
LATITUDE_DEG, LONGITUDE_DEG, ALTITUDE_M = 39.742, -105.1727, 1830.0
QUARTER = timedelta(minutes=15)


def measured(file: str) -> PowerSeries:
    """The plant's power, its draw at night taken as nothing."""
    with (RECORDED / file).open() as lines:
        rows = list(csv.DictReader(lines))
    starts = [datetime.fromisoformat(row["measured_on"]).astimezone(UTC) for row in rows]
    powers_kw = tuple(max(float(row["ac_power_w"]), 0.0) / 1000 for row in rows)
    return PowerSeries((*starts, starts[-1] + QUARTER), powers_kw)


def part(series: PowerSeries, start: datetime, end: datetime) -> PowerSeries:
    first, last = series.boundaries.index(start), series.boundaries.index(end)
    return PowerSeries(series.boundaries[first : last + 1], series.values_kw[first:last])


def clear_sky_forecast(long_term_clearness: float = 1.0) -> PvForecast:
    sky = ClearSky(altitude_m=ALTITUDE_M)
    return PvForecast([SERF_EAST], LATITUDE_DEG, LONGITUDE_DEG, sky, long_term_clearness=long_term_clearness)


def weather_forecast(file: str) -> PvForecast:
    return PvForecast(
        [SERF_EAST], LATITUDE_DEG, LONGITUDE_DEG, WeatherSky(read_weather(RECORDED / file)), long_term_clearness=1.0
    )


def energy_kwh(series: PowerSeries) -> float:
    return sum(
        power_kw * ((end - start) / timedelta(hours=1))
        for power_kw, (start, end) in zip(series.values_kw, pairwise(series.boundaries), strict=True)
    )


def deviation_kwh(forecast: PowerSeries, truth: PowerSeries) -> float:
    return sum(
        abs(forecast.mean_over_kw(start, end) - power_kw) / 4
        for power_kw, (start, end) in zip(truth.values_kw, pairwise(truth.boundaries), strict=True)
    )


class TestAgainstAMeasuredPlant:
    def test_a_clear_day_is_met_within_4_percent_of_energy_and_12_percent_of_deviation(self) -> None:
        truth = measured("serf_east_2016-08-20.csv")
        forecast = clear_sky_forecast().power(truth.span.start, truth.span.end, None)
        assert energy_kwh(forecast) == pytest.approx(energy_kwh(truth), rel=0.04)
        assert deviation_kwh(forecast, truth) < 0.12 * energy_kwh(truth)

    @pytest.mark.parametrize(
        ("file", "energy_share", "deviation_share"),
        [
            pytest.param("serf_east_2016-08-20.csv", 0.12, 0.13, id="clear day from satellite irradiance"),
            pytest.param(
                "serf_east_2016-08-23_2016-08-24.csv", 0.20, 0.50, id="overcast days from satellite irradiance"
            ),
        ],
    )
    def test_weather_gives_the_power_it_came_with(self, file: str, energy_share: float, deviation_share: float) -> None:
        truth = measured(file)
        forecast = weather_forecast(file).power(truth.span.start, truth.span.end, None)
        assert energy_kwh(forecast) == pytest.approx(energy_kwh(truth), rel=energy_share)
        assert deviation_kwh(forecast, truth) < deviation_share * energy_kwh(truth)

    def test_measuring_the_clearness_halves_the_error_on_overcast_days(self) -> None:
        truth = measured("serf_east_2016-08-23_2016-08-24.csv")
        blind, seeing = 0.0, 0.0
        for hour in range(15, 22):
            now = datetime(2016, 8, 24, hour, tzinfo=UTC)
            ahead = part(truth, now, now + timedelta(hours=3))
            past = part(truth, truth.span.start, now)
            blind += deviation_kwh(clear_sky_forecast().power(now, ahead.span.end, None), ahead)
            seeing += deviation_kwh(clear_sky_forecast().power(now, ahead.span.end, past), ahead)
        assert seeing < 0.5 * blind


NOON = datetime(2016, 8, 20, 19, tzinfo=UTC)


class TestPhysics:
    def test_no_power_at_night_and_never_below_zero(self) -> None:
        forecast = clear_sky_forecast().power(NOON, NOON + timedelta(hours=48), None)
        assert min(forecast.values_kw) == 0.0
        assert forecast.mean_over_kw(NOON + timedelta(hours=9), NOON + timedelta(hours=15)) == 0.0

    def test_the_inverter_limits_the_power(self) -> None:
        small = PvArray("small", peak_kw=6.0, inverter_kw=3.0, tilt_deg=45, azimuth_deg=158)
        sky = ClearSky(altitude_m=ALTITUDE_M)
        forecast = PvForecast([small], LATITUDE_DEG, LONGITUDE_DEG, sky, long_term_clearness=1.0)
        assert max(forecast.power(NOON, NOON + timedelta(hours=2), None).values_kw) == pytest.approx(3.0)

    def test_arrays_add_up(self) -> None:
        east = PvArray("east", 5.0, 5.0, 30, 90)
        west = PvArray("west", 7.0, 6.0, 30, 270)

        def power(*arrays: PvArray) -> np.ndarray:
            forecast = PvForecast(arrays, LATITUDE_DEG, LONGITUDE_DEG, ClearSky())
            return np.array(forecast.power(NOON, NOON + timedelta(hours=24), None).values_kw)

        assert power(east, west) == pytest.approx(power(east) + power(west))

    def test_an_eastern_array_peaks_before_a_western_one(self) -> None:
        def peak_at(azimuth_deg: float) -> datetime:
            array = PvArray("a", 5.0, 5.0, 30, azimuth_deg)
            series = PvForecast([array], LATITUDE_DEG, LONGITUDE_DEG, ClearSky()).power(
                NOON - timedelta(hours=12), NOON + timedelta(hours=12), None
            )
            return series.boundaries[int(np.argmax(series.values_kw))]

        assert peak_at(90) < peak_at(180) < peak_at(270)

    def test_haze_and_low_ground_take_power(self) -> None:
        def noon_kw(**settings: float) -> float:
            forecast = PvForecast([SERF_EAST], LATITUDE_DEG, LONGITUDE_DEG, ClearSky(**settings))
            return forecast.power(NOON, NOON + QUARTER, None).values_kw[0]

        assert noon_kw(linke_turbidity=5.0) < noon_kw(linke_turbidity=2.0)
        assert noon_kw(altitude_m=0.0) < noon_kw(altitude_m=2000.0)
        assert noon_kw(air_temperature_c=40.0) < noon_kw(air_temperature_c=0.0)

    def test_beyond_the_polar_circle_the_winter_is_dark(self) -> None:
        forecast = PvForecast([SERF_EAST], 70.0, 25.0, ClearSky())
        start = datetime(2026, 12, 21, tzinfo=UTC)
        assert set(forecast.power(start, start + timedelta(hours=24), None).values_kw) == {0.0}


class TestGrid:
    def test_the_series_covers_exactly_the_time_asked_for(self) -> None:
        start, end = NOON + timedelta(minutes=7, seconds=13), NOON + timedelta(minutes=52)
        forecast = clear_sky_forecast().power(start, end, None)
        assert forecast.boundaries == (start, *(NOON + minutes * timedelta(minutes=1) for minutes in (15, 30, 45)), end)

    def test_a_time_inside_one_quarter_hour_is_one_value(self) -> None:
        start = NOON + timedelta(minutes=2)
        assert len(clear_sky_forecast().power(start, start + timedelta(minutes=5), None).values_kw) == 1

    def test_means_do_not_depend_on_where_the_horizon_starts(self) -> None:
        whole = clear_sky_forecast().power(NOON, NOON + timedelta(hours=2), None)
        late = clear_sky_forecast().power(NOON + timedelta(minutes=37), NOON + timedelta(hours=2), None)
        assert late.mean_over_kw(NOON + timedelta(hours=1), NOON + timedelta(hours=2)) == pytest.approx(
            whole.mean_over_kw(NOON + timedelta(hours=1), NOON + timedelta(hours=2))
        )


class CountingSky(ClearSky):
    """A clear sky that counts how often it is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.computed = 0

    def conditions(self, sun: SunPath) -> SkyConditions:
        self.computed += 1
        return super().conditions(sun)


def test_each_day_is_computed_once_however_often_the_loop_asks() -> None:
    sky = CountingSky()
    forecast = PvForecast([SERF_EAST], LATITUDE_DEG, LONGITUDE_DEG, sky)
    for minutes in range(0, 24 * 60, 5):
        start = NOON + timedelta(minutes=minutes)
        forecast.power(start, start + timedelta(hours=24), PowerSeries((start - timedelta(hours=3), start), (1.0,)))
    assert sky.computed == 3


def test_days_long_past_are_forgotten_and_computed_anew() -> None:
    sky = CountingSky()
    forecast = PvForecast([SERF_EAST], LATITUDE_DEG, LONGITUDE_DEG, sky)
    for day in (*range(20), 0):
        forecast.power(NOON + timedelta(days=day), NOON + timedelta(days=day, minutes=15), None)
    assert sky.computed == 21


class TestClearness:
    def clear_kw(self, start: datetime, end: datetime) -> float:
        return clear_sky_forecast().power(start, end, None).mean_over_kw(start, end)

    def ratio_after(self, hours: float, recent: PowerSeries | None, long_term: float = 0.7) -> float:
        start = NOON + timedelta(hours=hours)
        forecast = clear_sky_forecast(long_term_clearness=long_term).power(NOON, start + timedelta(minutes=30), recent)
        return forecast.mean_over_kw(start, start + QUARTER) / self.clear_kw(start, start + QUARTER)

    def seen(self, clearness: float) -> PowerSeries:
        start = NOON - timedelta(hours=2)
        return PowerSeries((start, NOON), (clearness * self.clear_kw(start, NOON),))

    @pytest.mark.parametrize(
        ("clearness", "counted"),
        [
            pytest.param(0.2, 0.2, id="overcast now, brighter later"),
            pytest.param(1.0, 1.0, id="clear now, duller later"),
            pytest.param(0.7, 0.7, id="as in the long term"),
            pytest.param(0.0, 0.0, id="snow on the modules"),
            pytest.param(3.0, 1.2, id="a reading that cannot be is bounded"),
        ],
    )
    @pytest.mark.parametrize("hours", [0, 2, 4])
    def test_what_was_seen_fades_to_the_long_term(self, clearness: float, counted: float, hours: float) -> None:
        age_h = hours + 0.125  # the middle of the quarter hour looked at
        expected = 0.7 + (counted - 0.7) * math.exp(-age_h / 4)
        assert self.ratio_after(hours, self.seen(clearness)) == pytest.approx(expected, abs=1e-9)

    def test_without_measurement_the_long_term_holds(self) -> None:
        assert self.ratio_after(0, None) == pytest.approx(0.7)

    def test_an_old_measurement_says_nothing(self) -> None:
        old = PowerSeries((NOON - timedelta(hours=5), NOON - timedelta(hours=3)), (0.0,))
        assert self.ratio_after(0, old) == pytest.approx(0.7)

    def test_only_the_last_while_counts(self) -> None:
        past = self.seen(1.0)
        longer = PowerSeries((past.boundaries[0] - timedelta(hours=2), *past.boundaries), (0.0, *past.values_kw))
        assert self.ratio_after(0, longer) == pytest.approx(1.0, abs=0.02)

    def test_the_night_says_nothing_of_the_morning(self) -> None:
        midnight = datetime(2016, 8, 21, 7, tzinfo=UTC)
        recent = PowerSeries((midnight - timedelta(hours=2), midnight), (0.0,))
        morning = midnight + timedelta(hours=9)
        forecast = clear_sky_forecast(long_term_clearness=0.7).power(midnight, morning + QUARTER, recent)
        assert forecast.mean_over_kw(morning, morning + QUARTER) == pytest.approx(
            0.7 * self.clear_kw(morning, morning + QUARTER)
        )


class TestWeatherFiles:
    def test_diffuse_irradiance_and_wind_are_taken_where_told(self) -> None:
        weather = read_weather(RECORDED / "dwd_duesseldorf_2024-06-21_2024-06-22.csv")
        array = PvArray("roof", 100.0, 90.0, 30, 180)
        start = datetime(2024, 6, 21, tzinfo=UTC)
        forecast = PvForecast([array], 51.296, 6.7686, WeatherSky(weather), long_term_clearness=1.0)
        day_kwh = energy_kwh(forecast.power(start, start + timedelta(hours=24), None))
        clear = PvForecast([array], 51.296, 6.7686, ClearSky(), long_term_clearness=1.0)
        clear_kwh = energy_kwh(clear.power(start, start + timedelta(hours=24), None))
        assert 0 < day_kwh < clear_kwh
        assert weather.direct_w_per_m2 is None

    @pytest.mark.parametrize("hours", [-1, 47])
    def test_time_beyond_the_file_has_no_answer(self, hours: int) -> None:
        start = datetime(2024, 6, 21, tzinfo=UTC) + timedelta(hours=hours)
        sky = WeatherSky(read_weather(RECORDED / "dwd_duesseldorf_2024-06-21_2024-06-22.csv"))
        forecast = PvForecast([SERF_EAST], 51.296, 6.7686, sky)
        with pytest.raises(SourceUnavailable, match="from 2024-06-21T00:00Z to 2024-06-23T00:00Z, not from"):
            forecast.power(start, start + timedelta(hours=2), None)

    def test_all_three_irradiances_stated_are_used_as_they_are(self, tmp_path: Path) -> None:
        rows = ["timestamp,ghi_w_per_m2,dhi_w_per_m2,dni_w_per_m2,air_temperature_c"]
        rows += [f"2016-08-20T{hour:02}:00:00Z,500,100,{dni},20" for hour, dni in ((18, 0), (19, 600), (20, 600))]
        file = tmp_path / "weather.csv"
        file.write_text("\n".join(rows))
        forecast = PvForecast([SERF_EAST], LATITUDE_DEG, LONGITUDE_DEG, WeatherSky(read_weather(file)))
        start = datetime(2016, 8, 20, 18, tzinfo=UTC)
        without_sun, with_sun = (
            forecast.power(start + timedelta(hours=hour), start + timedelta(hours=hour + 1), None).values_kw[1]
            for hour in (0, 1)
        )
        assert 0 < without_sun < 0.3 * with_sun

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            pytest.param("a,b\n1,2\n", "timestamp and ghi_w_per_m2", id="unknown columns"),
            pytest.param("time,ghi,dni\n2016-01-01T00:00Z,1,1\n", "needs dhi_w_per_m2", id="direct without diffuse"),
            pytest.param("time,ghi\n2016-01-01T00:00Z,x\n2016-01-01T01:00Z,1\n", "line 2, ghi = 'x'", id="no number"),
            pytest.param("time,ghi\n2016-01-01T00:00Z,1\n2016-01-01T01:00Z,9e3\n", "line 3, ghi = '9e3': give W/m2", id="wrong unit"),
            pytest.param("time,ghi\n2016-01-01T00:00,1\n2016-01-01T01:00,1\n", "line 2, time = .*UTC offset", id="naive time"),
            pytest.param("time,ghi\n2016-01-01T00:00Z,1\n2016-01-01T01:00Z,1\n2016-01-01T03:00Z,1\n", "line 4.*no row may lack", id="an hour missing"),
        ],
    )  # fmt: skip
    def test_a_file_that_cannot_be_used_is_refused(self, tmp_path: Path, text: str, message: str) -> None:
        file = tmp_path / "weather.csv"
        file.write_text(text)
        with pytest.raises(InvalidDataFile, match=message):
            read_weather(file)
