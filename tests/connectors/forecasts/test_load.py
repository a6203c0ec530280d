"""Building forecast: yesterday's shape at today's level, the profile before anything is measured, local days kept."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from connectors.forecasts.load import BuildingForecast
from connectors.forecasts.load_profiles import LoadProfile, read_load_profile
from connectors.forecasts.site_forecasts import NoPower, SiteForecasts
from optimizer.domain.series import PowerSeries
from optimizer.errors import InvalidDataFile, SourceUnavailable
from optimizer.ports import ForecastSource, Quantity

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = timedelta(hours=1)


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


def office_kw(instant: datetime) -> float:
    """The true load: 40 kW on workdays from 8 to 18, 10 kW otherwise."""
    at = instant.astimezone(BERLIN)
    return 40.0 if at.weekday() < 5 and 8 <= at.hour < 18 else 10.0


def measured(start: datetime, end: datetime, *, minutes: int = 15, extra_kw: float = 0.0) -> PowerSeries:
    boundaries = [start]
    while boundaries[-1] < end:
        boundaries.append(boundaries[-1] + timedelta(minutes=minutes))
    return PowerSeries(tuple(boundaries), tuple(office_kw(boundary) + extra_kw for boundary in boundaries[:-1]))


PROFILE_CSV = "local_time,workday_kw,saturday_kw,sunday_kw\n00:00,9,8,7\n08:00,39,8,7\n18:00,9,8,7\n"


@pytest.fixture
def profile(tmp_path: Path) -> LoadProfile:
    file = tmp_path / "profile.csv"
    file.write_text(PROFILE_CSV)
    return read_load_profile(file)


def at(series: PowerSeries, text: str) -> float:
    return series.mean_over_kw(local(text), local(text) + timedelta(minutes=15))


MONDAY, TUESDAY, FRIDAY, SATURDAY, SUNDAY = "2026-03-02", "2026-03-03", "2026-03-06", "2026-03-07", "2026-03-08"


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        pytest.param(
            (f"{MONDAY}T12:00", f"{TUESDAY}T12:00"),
            {f"{TUESDAY}T12:00": 40, f"{TUESDAY}T17:45": 40, f"{TUESDAY}T18:00": 10},
            id="a workday after a workday",
        ),
        pytest.param(
            ("2026-02-23T00:00", f"{MONDAY}T00:00"),
            {f"{MONDAY}T07:45": 10, f"{MONDAY}T08:00": 40},
            id="Monday after a measured week",
        ),
        pytest.param(
            (f"{MONDAY}T00:00", f"{SATURDAY}T00:00"),
            {f"{SATURDAY}T12:00": 40, f"{SATURDAY}T20:00": 10},
            id="Saturday, of which only workdays are known",
        ),
        pytest.param(
            (f"{TUESDAY}T08:00", f"{TUESDAY}T12:00"),
            {f"{TUESDAY}T20:00": 40},
            id="an hour never measured is as the others on the whole",
        ),
    ],
)
def test_without_profile_the_measured_past_speaks(past: tuple[str, str], expected: dict[str, float]) -> None:
    now = local(past[1])
    forecast = BuildingForecast("Europe/Berlin").power(now, now + 24 * HOUR, measured(local(past[0]), now))
    for moment, power_kw in expected.items():
        assert at(forecast, moment) == pytest.approx(power_kw, abs=0.01), moment


def test_before_anything_is_measured_the_profile_speaks(profile: LoadProfile) -> None:
    forecast = BuildingForecast("Europe/Berlin", profile).power(
        local(f"{FRIDAY}T00:00"), local("2026-03-09T00:00"), None
    )
    assert [at(forecast, f"{day}T12:00") for day in (FRIDAY, SATURDAY, SUNDAY)] == [39, 8, 7]
    assert at(forecast, f"{FRIDAY}T07:45") == 9
    assert at(forecast, f"{FRIDAY}T18:00") == 9


def test_measured_days_of_the_same_kind_replace_the_profile_and_other_kinds_do_not(profile: LoadProfile) -> None:
    recent = measured(local(f"{FRIDAY}T00:00"), local(f"{SATURDAY}T00:00"))
    forecast = BuildingForecast("Europe/Berlin", profile).power(
        local(f"{SATURDAY}T00:00"), local("2026-03-10T00:00"), recent
    )
    assert at(forecast, f"{SATURDAY}T20:00") == pytest.approx(8, abs=0.01)
    assert at(forecast, "2026-03-09T12:00") == pytest.approx(40, abs=0.01)


@pytest.mark.parametrize("extra_kw", [6.0, -6.0])
def test_a_deviation_from_the_usual_fades(profile: LoadProfile, extra_kw: float) -> None:
    now = local(f"{TUESDAY}T12:00")
    usual = measured(now - 48 * HOUR, now - 2 * HOUR)
    unusual = measured(now - 2 * HOUR, now, extra_kw=extra_kw)
    recent = PowerSeries((*usual.boundaries, *unusual.boundaries[1:]), (*usual.values_kw, *unusual.values_kw))
    forecast = BuildingForecast("Europe/Berlin", profile).power(now, now + 6 * HOUR, recent)
    # Monday's 10 to 12 o'clock was usual, so the last two hours are off by the whole extra_kw; the level learnt for
    # tomorrow's 10 to 12 o'clock is the mean of both days.
    for hours in (0, 3, 5):
        expected = 40 + extra_kw * math.exp(-(hours + 0.125) / 3)
        assert at(forecast, f"{TUESDAY}T{12 + hours}:00") == pytest.approx(expected, abs=1e-6)


def test_a_deviation_without_anything_usual_to_compare_with_counts_for_nothing() -> None:
    now = local(f"{TUESDAY}T10:00")
    forecast = BuildingForecast("Europe/Berlin").power(now, now + HOUR, measured(now - HOUR, now))
    assert set(forecast.values_kw) == {40.0}


def test_a_load_never_falls_below_zero(profile: LoadProfile) -> None:
    now = local(f"{SUNDAY}T12:00")
    recent = PowerSeries((now - HOUR, now), (0.0,))
    low = LoadProfile("low", profile.power_kw * 0 + 1)
    low.power_kw[:, 48:] = 0.5
    low.power_kw[:, 44:48] = 30
    forecast = BuildingForecast("Europe/Berlin", low).power(now, now + HOUR, recent)
    assert set(forecast.values_kw) == {0.0}


def test_readings_at_odd_times_are_averaged_over_quarter_hours() -> None:
    now = local(f"{TUESDAY}T12:04")
    recent = measured(now - 26 * HOUR, now, minutes=1)
    forecast = BuildingForecast("Europe/Berlin").power(now, now + 24 * HOUR, recent)
    assert at(forecast, f"{TUESDAY}T17:45") == pytest.approx(40)
    assert at(forecast, f"{TUESDAY}T18:00") == pytest.approx(10)


def test_a_past_shorter_than_a_quarter_hour_is_no_past(profile: LoadProfile) -> None:
    now = local(f"{TUESDAY}T12:00")
    recent = PowerSeries((now - timedelta(minutes=10), now), (99.0,))
    with pytest.raises(SourceUnavailable, match="nothing was measured yet and no load profile"):
        BuildingForecast("Europe/Berlin").power(now, now + HOUR, recent)
    assert set(BuildingForecast("Europe/Berlin", profile).power(now, now + HOUR, recent).values_kw) == {39.0}


@pytest.mark.parametrize(
    ("day", "hours"),
    [pytest.param("2026-03-30", 23, id="after the 23 h day"), pytest.param("2026-10-26", 25, id="after the 25 h day")],
)
def test_local_hours_are_kept_over_the_days_when_clocks_change(profile: LoadProfile, day: str, hours: int) -> None:
    start = local(f"{day}T00:00") - hours * HOUR
    forecast = BuildingForecast("Europe/Berlin", profile).power(start, start + 48 * HOUR, None)
    assert [at(forecast, f"{day}T{clock}") for clock in ("07:45", "08:00", "17:45", "18:00")] == [9, 39, 39, 9]


async def test_one_source_serves_both_quantities(profile: LoadProfile) -> None:
    source: ForecastSource = SiteForecasts(pv=NoPower(), building=BuildingForecast("Europe/Berlin", profile))
    start, end = local(f"{FRIDAY}T12:00"), local(f"{FRIDAY}T13:00")
    assert (await source.forecast(Quantity.PV, start, end, lambda: None)).values_kw == (0.0,)
    assert (await source.forecast(Quantity.BUILDING, start, end, lambda: None)).values_kw == (39.0,) * 4


class TestProfileFiles:
    def read(self, tmp_path: Path, text: str, ending: str = "csv") -> LoadProfile:
        file = tmp_path / f"profile.{ending}"
        file.write_text(text)
        return read_load_profile(file)

    @pytest.mark.parametrize(
        ("text", "ending", "at_nine"),
        [
            pytest.param(PROFILE_CSV, "csv", [39, 8, 7], id="three columns"),
            pytest.param("local_time,workday_kw\n00:00,5\n09:00,20\n", "csv", [20, 20, 20], id="workdays only"),
            pytest.param("local_time,workday_kw,saturday_kw\n00:00,5,4\n", "csv", [5, 4, 4], id="Sunday like Saturday"),
            pytest.param(
                'workday_kw: {"00:00": 5, 09:00: 20.5}\nsunday_kw: {"00:00": 3}', "yaml", [20.5, 20.5, 3], id="YAML"
            ),
            pytest.param(
                'workday_kw: {"00:00": 5}\nsaturday_kw: {"00:00": 4}', "yml", [5, 4, 4], id="YAML without Sunday"
            ),
        ],
    )
    def test_both_forms(self, tmp_path: Path, text: str, ending: str, at_nine: list[float]) -> None:
        assert self.read(tmp_path, text, ending).power_kw[:, 36].tolist() == at_nine

    @pytest.mark.parametrize(
        ("text", "ending", "message"),
        [
            pytest.param("time,kw\n00:00,1\n", "csv", "must have a column local_time", id="columns"),
            pytest.param("local_time,workday_kw\nnoon,1\n", "csv", "line 2, local_time = 'noon'", id="no time"),
            pytest.param("local_time,workday_kw\n00:00,much\n", "csv", "line 2, workday_kw = 'much'", id="no number"),
            pytest.param("local_time,workday_kw\n00:00,-1\n", "csv", "workday_kw.00:00 = -1.0: give a power from 0", id="negative"),
            pytest.param("local_time,workday_kw\n06:00,1\n", "csv", "workday_kw = '06:00': let the first time be 00:00", id="begins late"),
            pytest.param("local_time,workday_kw\n00:00,1\n00:10,1\n", "csv", "give a quarter hour", id="ten past"),
            pytest.param('workday_kw: {"25:00": 1}', "yaml", "workday_kw.25:00", id="YAML hour 25"),
            pytest.param("weekday: {}", "yaml", "workday_kw = 'nothing'", id="YAML misspelt"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_used_is_refused(self, tmp_path: Path, text: str, ending: str, message: str) -> None:
        with pytest.raises(InvalidDataFile, match=message):
            self.read(tmp_path, text, ending)
