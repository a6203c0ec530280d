"""Energy costs as OCPI 2.2.1 CDRs: sealed and credited, pauses of ours never parking, ids short and stable."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from connectors.billing.ocpi import CdrContext, CdrParty, CdrPlace, CdrToken, charge_detail_records
from optimizer.domain.cost import CostComponent, CostLine, EnergyCostRecord, RecordStatus
from optimizer.domain.ids import RecordId, SessionId, SiteId, TariffId
from optimizer.domain.moment import Interval
from optimizer.errors import InvalidInput

START = datetime(2026, 3, 2, 7, 30, tzinfo=UTC)
END = START + timedelta(hours=8)
OWNER = CdrParty("DE", "CHH")
CONTEXT = CdrContext(
    party=OWNER,
    token=CdrToken("pseudonym-7", "RFID", "DE-ABC-C123456-7", CdrParty("DE", "ABC")),
    place=CdrPlace(
        location_id="garage",
        address="Hafenstraße 1",
        city="Bremen",
        country="DEU",
        latitude_deg=53.0793,
        longitude_deg=8.8017,
        evse_uid="garage-07",
        evse_id="DE*CHH*E07",
        connector_id="1",
        connector_standard="IEC_62196_T2",
        connector_format="SOCKET",
        power_type="AC_3_PHASE",
    ),
    parking_h=Decimal("2.5"),
)


def record(status: RecordStatus, peak_amount: str = "1.23456", number: int = 1) -> EnergyCostRecord:
    return EnergyCostRecord(
        id=RecordId(f"record-{number}"),
        site_id=SiteId("garage"),
        session_id=SessionId("session-1"),
        status=status,
        made_at=END + timedelta(hours=number),
        window=Interval(START, END),
        currency="EUR",
        energy_kwh=Decimal("21.43256"),
        lines=(
            CostLine(CostComponent.GRID_ENERGY, "peak", Decimal("21.43256"), Decimal("6.429768")),
            CostLine(CostComponent.DEMAND_CHARGE, "monthly peak", Decimal("3.2"), Decimal(peak_amount)),
        ),
        tariff_id=TariffId("depot"),
        tariff_version="2026-01",
        method="peak-set/1",
        input_hash="0" * 64,
        optimizer_pause_h=Decimal("1.50"),
    )


def the_dimensions(cdr: dict[str, object]) -> dict[str, float]:
    (period,) = json.loads(json.dumps(cdr))["charging_periods"]
    assert period["start_date_time"] == "2026-03-02T07:30:00Z"
    return {dimension["type"]: dimension["volume"] for dimension in period["dimensions"]}


def test_the_first_record_is_one_cdr() -> None:
    (cdr,) = charge_detail_records(record(RecordStatus.PROVISIONAL), CONTEXT)
    assert (cdr["country_code"], cdr["party_id"], cdr["id"], cdr["session_id"]) == (
        "DE",
        "CHH",
        "record-1",
        "session-1",
    )
    assert (cdr["start_date_time"], cdr["end_date_time"]) == ("2026-03-02T07:30:00Z", "2026-03-02T15:30:00Z")
    assert cdr["total_cost"] == cdr["total_energy_cost"] == {"excl_vat": 7.6643}
    assert (cdr["total_energy"], cdr["total_time"], cdr["total_parking_time"]) == (21.4326, 8.0, 2.5)
    assert cdr["last_updated"] == "2026-03-02T16:30:00Z"
    assert "credit" not in cdr


def test_every_field_that_ocpi_requires_is_there() -> None:
    (cdr,) = charge_detail_records(record(RecordStatus.FINAL), CONTEXT)
    required = {
        "country_code", "party_id", "id", "start_date_time", "end_date_time", "cdr_token", "auth_method", "cdr_location",
        "currency", "charging_periods", "total_cost", "total_energy", "total_time", "last_updated",
    }  # fmt: skip
    assert required <= set(cdr)
    assert cdr["cdr_token"] == {
        "country_code": "DE",
        "party_id": "ABC",
        "uid": "pseudonym-7",
        "type": "RFID",
        "contract_id": "DE-ABC-C123456-7",
    }
    location = json.loads(json.dumps(cdr["cdr_location"]))
    assert location["coordinates"] == {"latitude": "53.079300", "longitude": "8.801700"}
    assert location["connector_power_type"] == "AC_3_PHASE"


def test_pauses_of_the_service_are_time_and_never_parking() -> None:
    (cdr,) = charge_detail_records(record(RecordStatus.PROVISIONAL), replace(CONTEXT, parking_h=Decimal(0)))
    assert the_dimensions(cdr) == {"ENERGY": 21.4326, "TIME": 8.0}
    assert cdr["total_parking_time"] == 0
    assert "paused by energy management for 1.5 h" in str(cdr["remark"])


def test_time_in_which_the_vehicle_asked_for_nothing_is_parking() -> None:
    (cdr,) = charge_detail_records(record(RecordStatus.PROVISIONAL), CONTEXT)
    assert the_dimensions(cdr) == {"ENERGY": 21.4326, "TIME": 5.5, "PARKING_TIME": 2.5}


def test_a_final_record_takes_the_provisional_one_back_and_stands_by_itself() -> None:
    provisional = record(RecordStatus.PROVISIONAL)
    final = record(RecordStatus.FINAL, peak_amount="2.00000", number=2)
    credit, cdr = charge_detail_records(final, CONTEXT, replaced=provisional)
    assert (credit["id"], credit["credit"], credit["credit_reference_id"]) == ("record-1-C", True, "record-1")
    assert credit["total_cost"] == {"excl_vat": -7.6643}
    assert credit["last_updated"] == cdr["last_updated"] == "2026-03-02T17:30:00Z"
    assert (cdr["id"], cdr["total_cost"]) == ("record-2", {"excl_vat": 8.4298})
    assert "credit" not in cdr


def test_ids_too_long_for_ocpi_are_replaced_by_short_ones_that_stay_the_same() -> None:
    long = replace(record(RecordStatus.PROVISIONAL), id=RecordId("session-" + "x" * 60), session_id=SessionId("s" * 50))
    (first,), (again,) = charge_detail_records(long, CONTEXT), charge_detail_records(long, CONTEXT)
    assert first["id"] == again["id"] != first["session_id"]
    assert len(str(first["id"])) == len(str(first["session_id"])) == 36
    credit, _ = charge_detail_records(replace(long, id=RecordId("new")), CONTEXT, replaced=long)
    assert len(str(credit["id"])) <= 39


@pytest.mark.parametrize(
    ("given", "replaced", "context", "field"),
    [
        pytest.param(record(RecordStatus.ADJUSTMENT), None, CONTEXT, r"record\.status = 'adjustment'", id="an adjustment"),
        pytest.param(
            record(RecordStatus.FINAL),
            replace(record(RecordStatus.PROVISIONAL), session_id=SessionId("session-2")),
            CONTEXT,
            "replaced = 'record-1'",
            id="a record of another session",
        ),
        pytest.param(
            record(RecordStatus.FINAL), None, replace(CONTEXT, parking_h=Decimal(9)), r"context\.parking_h = 9", id="more parked than stayed"
        ),
    ],
)  # fmt: skip
def test_what_makes_no_cdr_is_refused(
    given: EnergyCostRecord, replaced: EnergyCostRecord | None, context: CdrContext, field: str
) -> None:
    with pytest.raises(InvalidInput, match=field):
        charge_detail_records(given, context, replaced)
