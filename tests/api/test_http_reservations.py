"""Reservations and grid events over HTTP: agreed once, never twice, changed only by those who have read them."""

from __future__ import annotations

from typing import Any

import pytest

from optimizer.domain.ids import ReservationId
from optimizer.domain.reservation import ReservationStatus

BOOKING = {
    "token_id": "driver-7",
    "start": "2026-03-02T11:00:00+01:00",
    "end": "2026-03-02T16:00:00Z",
    "evse_id": "A",
    "energy_kwh": 20,
    "guaranteed_power_kw": 7.4,
}
LIMIT = {"kind": "import_limit", "start": "2026-03-02T09:00:00Z", "end": "2026-03-02T10:00:00Z", "value": 12.5}


async def test_a_reservation_is_kept_shown_and_planned_for(caller: Any) -> None:
    made = await caller.ask("POST", "/v1/reservations", json=BOOKING)
    assert made.status == 201
    assert made.headers["ETag"] == '"1"'
    assert made.body["start"] == "2026-03-02T10:00:00Z"
    assert made.body["status"] == "RESERVED"
    assert caller.control.asked == ["plan: reservation"]
    shown = await caller.ask("GET", f"/v1/reservations/{made.body['id']}")
    assert shown.body == made.body
    listed = await caller.ask("GET", "/v1/reservations")
    assert listed.body == {"reservations": [made.body]}
    later = await caller.ask("GET", "/v1/reservations?start=2026-03-02T16:00:00Z")
    assert later.body == {"reservations": []}
    kept = await caller.stores.reservations.reservation(ReservationId(made.body["id"]))
    assert (kept.created_at, kept.status) == (caller.clock.now(), ReservationStatus.RESERVED)


REFUSED_BOOKINGS = {
    "a local time": ({"start": "2026-03-02T11:00:00"}, 422, "#/start", "UTC offset"),
    "a number for a time": ({"start": 1772445600}, 422, "#/start", "UTC offset"),
    "a date": ({"start": "2026-03-02"}, 422, "#/start", "UTC offset"),
    "no such day": ({"start": "2026-02-30T00:00:00Z"}, 422, "#/start", "no such time"),
    "a time before the first of days": ({"start": "0001-01-01T00:00:00+23:00"}, 422, "#/start", "no such time"),
    "a year far away": ({"end": "9998-01-01T00:00:00Z"}, 422, "#/end", "year"),
    "an end before the start": ({"end": "2026-03-02T09:59:00Z"}, 422, "#", "after start"),
    "a window that is over": (
        {"start": "2026-03-02T07:00:00Z", "end": "2026-03-02T09:00:00Z"}, 422, "#/end", "after now"),
    "an unknown EVSE": ({"evse_id": "C"}, 422, "#/evse_id", "no such EVSE"),
    "more power than the EVSE gives": ({"guaranteed_power_kw": 11.5}, 422, "#/guaranteed_power_kw", "11.04 kW"),
    "negative power": ({"guaranteed_power_kw": -1}, 422, "#/guaranteed_power_kw", "greater than or equal"),
    "a number as text": ({"energy_kwh": "20"}, 422, "#/energy_kwh", "valid number"),
    "yes for a number": ({"energy_kwh": True}, 422, "#/energy_kwh", "valid number"),
    "a token with a space": ({"token_id": "driver 7"}, 422, "#/token_id", "pattern"),
    "a token with a zero byte": ({"token_id": "a\u0000"}, 422, "#/token_id", "pattern"),
    "an unknown field": ({"energy_kWh": 5}, 422, "#/energy_kWh", "no such field"),
    "no such tier": ({"tier": 4}, 422, "#/tier", "less than or equal"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_BOOKINGS, ids=str)
async def test_an_unusable_reservation_is_refused(caller: Any, case: str) -> None:
    change, status, pointer, fix = REFUSED_BOOKINGS[case]
    answer = await caller.ask("POST", "/v1/reservations", json=BOOKING | change)
    assert answer.status == status
    assert [error["pointer"] for error in answer.body["errors"]] == [pointer]
    assert fix in answer.body["errors"][0]["detail"]
    assert (await caller.ask("GET", "/v1/reservations")).body == {"reservations": []}


async def test_an_evse_is_booked_once(caller: Any) -> None:
    await caller.ask("POST", "/v1/reservations", json=BOOKING)
    second = await caller.ask("POST", "/v1/reservations", json=BOOKING | {"start": "2026-03-02T15:59:00Z"})
    assert second.status == 409
    assert (await caller.ask("POST", "/v1/reservations", json=BOOKING | {"evse_id": "B"})).status == 201


async def test_no_more_power_is_promised_than_the_connection_leaves(caller: Any) -> None:
    # 40 kW of connection less 15 kW of building leave 25 kW.
    power = {"evse_id": None, "guaranteed_power_kw": 20.0}
    assert (await caller.ask("POST", "/v1/reservations", json=BOOKING | power)).status == 201
    too_much = await caller.ask("POST", "/v1/reservations", json=BOOKING | {"guaranteed_power_kw": 5.1})
    assert too_much.status == 409
    assert "25.1 kW would be guaranteed at once" in too_much.body["detail"]
    assert (await caller.ask("POST", "/v1/reservations", json=BOOKING | {"guaranteed_power_kw": 5.0})).status == 201
    after = {"start": "2026-03-02T16:00:00Z", "end": "2026-03-02T17:00:00Z", "guaranteed_power_kw": 10.0}
    assert (await caller.ask("POST", "/v1/reservations", json=BOOKING | after)).status == 201


async def test_a_repeated_request_books_once(caller: Any) -> None:
    key = {"Idempotency-Key": "order-1"}
    first = await caller.ask("POST", "/v1/reservations", json=BOOKING, headers=key)
    again = await caller.ask("POST", "/v1/reservations", json=BOOKING, headers=key)
    assert (again.status, again.body) == (201, first.body)
    other_body = await caller.ask("POST", "/v1/reservations", json=BOOKING | {"energy_kwh": 21}, headers=key)
    assert other_body.status == 422
    assert other_body.body["type"].endswith("idempotency-key-reused")
    other_caller = await caller.ask(
        "POST", "/v1/reservations", json=BOOKING | {"evse_id": "B"}, headers=key, scope="reserve"
    )
    assert other_caller.status == 201
    assert len((await caller.ask("GET", "/v1/reservations")).body["reservations"]) == 2
    assert caller.control.asked == ["plan: reservation"] * 2
    unusable = await caller.ask("POST", "/v1/reservations", json=BOOKING, headers={"Idempotency-Key": "ä" * 3})
    assert unusable.status == 400


async def test_a_reservation_is_cancelled_once_by_who_has_read_it(caller: Any) -> None:
    made = (await caller.ask("POST", "/v1/reservations", json=BOOKING)).body
    path = f"/v1/reservations/{made['id']}"
    stale = await caller.ask("DELETE", path, headers={"If-Match": '"0"'})
    assert stale.status == 412
    canceled = await caller.ask("DELETE", path, headers={"If-Match": '"1"'})
    assert (canceled.status, canceled.body["status"], canceled.headers["ETag"]) == (200, "CANCELED", '"2"')
    again = await caller.ask("DELETE", path)
    assert (again.status, again.body) == (200, canceled.body)
    assert caller.control.asked == ["plan: reservation"] * 2
    assert (await caller.ask("POST", "/v1/reservations", json=BOOKING)).status == 201, "the place is free again"
    assert (await caller.ask("DELETE", "/v1/reservations/unknown")).status == 404


async def test_a_grid_event_wakes_the_guard_before_the_planner(caller: Any) -> None:
    made = await caller.ask("POST", "/v1/grid-events", json=LIMIT, scope="grid")
    assert made.status == 201
    assert caller.control.asked == ["guard", "plan: grid_event"]
    assert made.body["received_at"] == "2026-03-02T09:00:00Z"
    assert (made.body["applied_at"], made.body["confirmed_at"]) == (None, None)
    assert made.body["intervals"] == [{"start": "2026-03-02T09:00:00Z", "end": "2026-03-02T10:00:00Z", "value": 12.5}]
    assert (await caller.ask("GET", "/v1/grid-events")).body == {"grid_events": [made.body]}
    assert (await caller.ask("GET", f"/v1/grid-events/{made.body['id']}")).body == made.body
    status = (await caller.ask("GET", "/v1/sites/garage")).body
    assert (status["import_limit_now_kw"], status["import_limit_source"]) == (12.5, "grid_event")


async def test_a_cancelled_grid_event_no_longer_limits(caller: Any) -> None:
    made = (await caller.ask("POST", "/v1/grid-events", json=LIMIT)).body
    path = f"/v1/grid-events/{made['id']}"
    assert (await caller.ask("DELETE", path, headers={"If-Match": '"7"'})).status == 412
    cancelled = await caller.ask("DELETE", path, headers={"If-Match": made_etag(made)})
    assert (cancelled.status, cancelled.body["status"]) == (200, "cancelled")
    assert caller.control.asked == ["guard", "plan: grid_event"] * 2
    status = (await caller.ask("GET", "/v1/sites/garage")).body
    assert (status["import_limit_now_kw"], status["import_limit_source"]) == (40.0, "contract")
    assert (await caller.ask("DELETE", path)).body == cancelled.body
    over = (await caller.ask("POST", "/v1/grid-events", json=LIMIT)).body
    await caller.clock.sleep(3600)
    assert (await caller.ask("DELETE", f"/v1/grid-events/{over['id']}")).status == 409


def made_etag(view: dict[str, Any]) -> str:
    return f'"{view["version"]}"'


async def test_a_repeated_grid_event_is_one_event(caller: Any) -> None:
    key = {"Idempotency-Key": "dispatch-9"}
    first = await caller.ask("POST", "/v1/grid-events", json=LIMIT, headers=key)
    await caller.clock.sleep(1)
    again = await caller.ask("POST", "/v1/grid-events", json=LIMIT, headers=key)
    assert (again.status, again.body) == (201, first.body)
    assert (await caller.ask("POST", "/v1/grid-events", json=LIMIT | {"value": 1}, headers=key)).status == 422
    await caller.clock.sleep(7200)
    late = await caller.ask("POST", "/v1/grid-events", json=LIMIT, headers=key)
    assert (late.status, late.body) == (201, first.body), "a repeat after its end changes nothing either"


FIRST = {"start": "2026-03-02T09:00:00Z", "end": "2026-03-02T10:00:00Z", "value": 5}
SECOND = {"start": "2026-03-02T10:00:00Z", "end": "2026-03-02T11:00:00Z", "value": 6}


async def test_a_grid_event_may_have_several_values(caller: Any) -> None:
    made = await caller.ask("POST", "/v1/grid-events", json={"intervals": [FIRST, SECOND], "circuit_id": "main"})
    assert made.status == 201
    assert [part["value"] for part in made.body["intervals"]] == [5, 6]


REFUSED_EVENTS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "intervals, or start, end and value"),
    "a window without a value": ({"start": FIRST["start"], "end": FIRST["end"]}, "intervals, or start, end and value"),
    "both forms": (LIMIT | {"intervals": [FIRST]}, "intervals, or start, end and value"),
    "values that overlap": ({"intervals": [FIRST, FIRST]}, "overlap or are out of order"),
    "values out of order": ({"intervals": [SECOND, FIRST]}, "overlap or are out of order"),
    "a negative limit": (LIMIT | {"value": -1}, "0 kW or more"),
    "an infinite limit": (LIMIT | {"value": 1e300}, "less than or equal"),
    "an unknown circuit": (LIMIT | {"circuit_id": "roof"}, "has the circuits main"),
    "a time that is over": (
        {"start": "2026-03-02T07:00:00Z", "end": "2026-03-02T09:00:00Z", "value": 1}, "after now"),
    "an unknown kind": (LIMIT | {"kind": "wish"}, "'import_limit'"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_EVENTS, ids=str)
async def test_an_unusable_grid_event_is_refused(caller: Any, case: str) -> None:
    body, fix = REFUSED_EVENTS[case]
    answer = await caller.ask("POST", "/v1/grid-events", json=body)
    assert answer.status == 422
    assert fix in answer.body["detail"]
    assert caller.control.asked == []


async def test_every_change_is_in_the_audit_log(caller: Any) -> None:
    made = (await caller.ask("POST", "/v1/grid-events", json=LIMIT, scope="grid")).body
    await caller.ask("DELETE", f"/v1/grid-events/{made['id']}", scope="admin")
    await caller.ask("GET", "/v1/grid-events")
    entries = [chained.entry for chained in await caller.stores.audit.entries()]
    assert [(entry.actor, entry.action, entry.subject) for entry in entries] == [
        ("grid", "POST /v1/grid-events", made["id"]),
        ("admin", "DELETE /v1/grid-events/{grid_event_id}", made["id"]),
    ]
