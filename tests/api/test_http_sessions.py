"""Sessions, sites, plans, bills, health over HTTP."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, cast

import pytest

from api.readiness import Readiness
from optimizer.costing.balance import balance_report
from optimizer.costing.registers import FindingKind, MeterFinding
from optimizer.domain.charger import (
    ConnectorReported,
    ConnectorStatus,
    LimitPeriod,
    LimitState,
    Setpoint,
    TransactionBegun,
)
from optimizer.domain.cost import (
    CostAllocation,
    CostComponent,
    CostLine,
    EnergyCostRecord,
    Payer,
    RecordStatus,
    SiteBill,
)
from optimizer.domain.ids import (
    CircuitId,
    EvseId,
    PlanId,
    RecordId,
    SessionId,
    SiteId,
    StationId,
    TariffId,
    TokenId,
    TransactionId,
)
from optimizer.domain.metering import CircuitReading, MeterSample
from optimizer.domain.moment import Interval
from optimizer.domain.plan import BindingKind, BindingReason, Fallback, Plan, ProvenOptimal, SessionPlan, SolveFigures
from optimizer.domain.session import DepartureTarget, Session, TargetSource, Vehicle
from optimizer.errors import Conflict, InvalidInput, StorageFailed
from optimizer.ports import Stores

GARAGE = SiteId("garage")


async def plug_in(caller: Any, number: int, **fields: Any) -> Session:
    session = Session(
        id=SessionId(f"s{number}"),
        site_id=GARAGE,
        evse_id=EvseId("A"),
        plugged_in_at=caller.clock.now() - timedelta(minutes=60 - number),
        token_id=TokenId(f"driver-{number % 2}"),
    )
    session = replace(session, **fields)
    event = TransactionBegun(
        StationId("A"), 1, session.plugged_in_at, session.token_id, TransactionId(f"t{number}"), Decimal(0)
    )
    await caller.stores.sessions.open_transaction(event, session)
    return session


async def test_sessions_come_page_by_page(caller: Any) -> None:
    for number in range(5):
        await plug_in(caller, number, unplugged_at=caller.clock.now() if number < 2 else None)
    seen, path = [], "/v1/sessions?limit=2"
    while path:
        page = await caller.ask("GET", path, scope="read")
        assert page.status == 200
        seen.append([session["id"] for session in page.body["sessions"]])
        cursor = page.body["next_cursor"]
        assert ("Link" in page.headers) == (cursor is not None)
        path = page.headers["Link"].split(">")[0].removeprefix("<") if cursor else ""
    assert seen == [["s0", "s1"], ["s2", "s3"], ["s4"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("active=true", ["s2", "s3", "s4"]),
        ("active=false", ["s0", "s1"]),
        ("token_id=driver-1", ["s1", "s3"]),
        ("token_id=driver-1&active=true", ["s3"]),
        ("evse_id=B", []),
        ("limit=500", ["s0", "s1", "s2", "s3", "s4"]),
    ],
)
async def test_sessions_are_filtered(caller: Any, query: str, expected: list[str]) -> None:
    for number in range(5):
        await plug_in(caller, number, unplugged_at=caller.clock.now() if number < 2 else None)
    page = await caller.ask("GET", f"/v1/sessions?{query}")
    assert [session["id"] for session in page.body["sessions"]] == expected
    assert page.body["next_cursor"] is None


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=many", "active=perhaps", "cursor=%20", "cursor=a"])
async def test_an_unusable_query_is_refused(caller: Any, query: str) -> None:
    answer = await caller.ask("GET", f"/v1/sessions?{query}")
    assert answer.status == 422
    assert answer.body["errors"]


async def test_a_departure_target_replaces_what_was_believed(caller: Any) -> None:
    told = DepartureTarget(caller.clock.now() + timedelta(hours=9), energy_kwh=5.0, source=TargetSource.LEARNT)
    await plug_in(caller, 1, targets=(told,))
    target = {"depart_at": "2026-03-02T17:00:00+01:00", "energy_kwh": 18.5}
    stated = await caller.ask("POST", "/v1/sessions/s1/departure-target", json=target, scope="reserve")
    assert stated.status == 200
    assert stated.body["targets"] == [
        {"depart_at": "2026-03-02T16:00:00Z", "energy_kwh": 18.5, "soc": None, "source": "api"}
    ]
    assert caller.control.asked == ["targets"]
    assert (await caller.stores.sessions.session(SessionId("s1"))).targets[0].energy_kwh == 18.5
    assert (await caller.ask("GET", "/v1/sessions/s1")).body == stated.body


UNUSABLE_TARGETS: dict[str, tuple[dict[str, Any], int]] = {
    "no need": ({}, 422),
    "two needs": ({"energy_kwh": 1, "soc": 0.5}, 422),
    "a departure that is over": ({"energy_kwh": 1, "depart_at": "2026-03-02T09:00:00Z"}, 422),
    "percent for a share": ({"soc": 80}, 422),
    "a share of an unknown battery": ({"soc": 0.8}, 422),
}


@pytest.mark.parametrize("case", UNUSABLE_TARGETS, ids=str)
async def test_an_unusable_departure_target_is_refused(caller: Any, case: str) -> None:
    await plug_in(caller, 1)
    body, status = UNUSABLE_TARGETS[case]
    answer = await caller.ask(
        "POST", "/v1/sessions/s1/departure-target", json={"depart_at": "2026-03-02T16:00:00Z"} | body
    )
    assert answer.status == status
    assert (await caller.stores.sessions.session(SessionId("s1"))).targets == ()


async def test_a_share_of_a_known_battery_is_a_target(caller: Any) -> None:
    await plug_in(caller, 1, vehicle=Vehicle(battery_kwh=60.0))
    target = {"depart_at": "2026-03-02T16:00:00Z", "soc": 0.8}
    assert (await caller.ask("POST", "/v1/sessions/s1/departure-target", json=target)).status == 200


async def test_an_ended_session_takes_no_target(caller: Any) -> None:
    await plug_in(caller, 1, unplugged_at=caller.clock.now())
    target = {"depart_at": "2026-03-02T16:00:00Z", "energy_kwh": 1}
    assert (await caller.ask("POST", "/v1/sessions/s1/departure-target", json=target)).status == 409
    assert (await caller.ask("POST", "/v1/sessions/s9/departure-target", json=target)).status == 404


async def test_a_site_shows_what_happens_now(caller: Any) -> None:
    now = caller.clock.now()
    session = await plug_in(caller, 1)
    await caller.stores.connectors.save_status(ConnectorReported(StationId("A"), 1, ConnectorStatus.CHARGING, now))
    await caller.stores.connectors.save_setpoint(
        Setpoint(EvseId("A"), (LimitPeriod(now, 7.4), LimitPeriod(now + timedelta(hours=1), 3.0)), LimitState.ACCEPTED,
                 now, reason="demand_peak")
    )  # fmt: skip
    await caller.stores.connectors.save_safe_default(EvseId("A"), 2.0)
    sample = MeterSample(StationId("A"), EvseId("A"), now, TransactionId("t1"), Decimal("1.5"), power_kw=7.2)
    await caller.stores.meters.add_samples([sample], [session.id])
    await push(caller, at="2026-03-02T09:00:00Z", grid_kw=21.0, building_kw=13.8)
    await caller.stores.plans.save_outcome(outcome(caller), "tick")
    bill_line = CostLine(CostComponent.GRID_ENERGY, "all", Decimal(12), Decimal("3.00"))
    caller.control.bill = SiteBill(GARAGE, Interval(now - timedelta(days=1), now), "EUR", (bill_line,), Decimal("21.5"))

    shown = (await caller.ask("GET", "/v1/sites/garage", scope="read")).body

    assert (shown["id"], shown["at"], shown["active_sessions"]) == ("garage", "2026-03-02T09:00:00Z", 1)
    assert (shown["load"]["grid_kw"], shown["load"]["building_kw"], shown["vehicles_kw"]) == (21.0, 13.8, 7.2)
    assert (shown["import_limit_now_kw"], shown["import_limit_source"]) == (40.0, "contract")
    assert (shown["import_price_per_kwh"], shown["peak_kw"]) == ("0.25", "21.5")
    assert shown["cost"] == {"amount": "3.00", "currency": "EUR"}
    assert (shown["last_plan"]["outcome"], shown["last_plan"]["solve_s"]) == ("proven_optimal", 0.2)
    connector = next(one for one in shown["connectors"] if one["evse_id"] == "A")
    assert connector == {
        "evse_id": "A",
        "station_id": "A",
        "online": True,
        "status": "charging",
        "session_id": "s1",
        "power_kw": 7.2,
        "metered_at": "2026-03-02T09:00:00Z",
        "metered_quality": "good",
        "limit_kw": 7.4,
        "limit_state": "accepted",
        "limit_reason": "demand_peak",
        "told_phases": None,
        "phases_seen_at": None,
        "safe_default_kw": 2.0,
    }
    empty = next(one for one in shown["connectors"] if one["evse_id"] == "B")
    assert (empty["online"], empty["limit_kw"], empty["power_kw"]) == (False, None, None)
    assert (await caller.ask("GET", "/v1/sites/other")).status == 404


async def push(caller: Any, **fields: Any) -> Any:
    reading = {"at": "2026-03-02T09:00:00Z", "import_register_kwh": "1234.567", "export_register_kwh": "0"} | fields
    return await caller.ask("POST", "/v1/sites/garage/meter-readings", json={"readings": [reading]}, scope="meter")


async def test_meter_readings_are_kept_exactly_and_once(caller: Any) -> None:
    for _ in range(2):
        assert (await push(caller)).body == {"stored": 1}
    now = caller.clock.now()
    readings = await caller.stores.meters.site_readings(GARAGE, now - timedelta(hours=1), now)
    assert [reading.import_register_kwh for reading in readings] == [Decimal("1234.567")]
    assert caller.control.asked == ["guard"] * 2, "the guard looks at each"


async def test_meters_of_circuits_come_with_the_site_meter(caller: Any) -> None:
    told = {"circuit_id": "main", "power_kw": 7.5, "current_a": [11.0, 10.9, 10.7]}
    assert (await push(caller, circuits=[told])).body == {"stored": 1}
    reading = await caller.stores.meters.latest_site_reading(GARAGE)
    assert reading.circuits == (CircuitReading(CircuitId("main"), 7.5, (11.0, 10.9, 10.7)),)


UNUSABLE_READINGS: dict[str, tuple[dict[str, Any], str]] = {
    "a float register": ({"import_register_kwh": 1234.567}, "#/readings/0/import_register_kwh"),
    "a register with an exponent": ({"import_register_kwh": "1e3"}, "#/readings/0/import_register_kwh"),
    "a negative register": ({"import_register_kwh": "-1"}, "#/readings/0"),
    "a time far ahead": ({"at": "2026-03-02T10:00:00Z"}, "#/readings/0/at"),
    "two phases": ({"current_a": [1, 2]}, "#/readings/0/current_a/2"),
    "a circuit that is not there": (
        {"circuits": [{"circuit_id": "main"}, {"circuit_id": "hall"}]},
        "#/readings/0/circuits/1/circuit_id",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE_READINGS, ids=str)
async def test_an_unusable_reading_is_refused(caller: Any, case: str) -> None:
    fields, pointer = UNUSABLE_READINGS[case]
    answer = await push(caller, **fields)
    assert answer.status == 422
    assert answer.body["errors"][0]["pointer"] == pointer
    assert await caller.stores.meters.latest_site_reading(GARAGE) is None


async def test_of_a_list_of_readings_all_are_kept_or_none(caller: Any) -> None:
    good = {"at": "2026-03-02T08:00:00Z", "import_register_kwh": "1"}
    late = {"at": "2026-03-03T08:00:00Z", "import_register_kwh": "2"}
    answer = await caller.ask("POST", "/v1/sites/garage/meter-readings", json={"readings": [good, late]})
    assert answer.status == 422
    assert await caller.stores.meters.latest_site_reading(GARAGE) is None
    assert (await caller.ask("POST", "/v1/sites/garage/meter-readings", json={"readings": []})).status == 422


def plan(caller: Any) -> Plan:
    now = caller.clock.now()
    session = SessionPlan(
        SessionId("s1"),
        EvseId("A"),
        (7.4, 0.0),
        (1.0, 2.85, 2.85),
        (BindingReason(BindingKind.CHARGER_LIMIT), BindingReason(BindingKind.PRICE)),
    )
    return Plan(
        id=PlanId("p1"),
        site_id=GARAGE,
        made_at=now,
        boundaries=tuple(now + timedelta(minutes=15 * step) for step in range(3)),
        sessions=(session,),
        grid_import_kw=(21.0, 13.0),
        grid_export_kw=(0.0, 0.0),
        battery_kw=(0.0, 0.0),
        pv_kw=(0.0, 0.0),
        building_kw=(13.6, 13.0),
        import_price_per_kwh=(0.25, 0.3),
        shortfalls=(),
        money=4.5,
    )


def outcome(caller: Any) -> ProvenOptimal:
    return ProvenOptimal(plan(caller), 4.5, 0.001, SolveFigures(0.1, 0.2, 0.35, 10, 20))


async def test_plans_are_shown_with_how_they_came_about(caller: Any) -> None:
    assert (await caller.ask("GET", "/v1/plans/latest")).status == 404
    await caller.stores.plans.save_outcome(outcome(caller), "tick")
    await caller.clock.sleep(60)
    fallback = Fallback(replace(plan(caller), id=PlanId("p2")), "equal_share", "time limit", outcome(caller).figures)
    await caller.stores.plans.save_outcome(fallback, "tick")
    listed = (await caller.ask("GET", "/v1/plans", scope="read")).body["plans"]
    assert [(one["plan_id"], one["outcome"], one["gap"], one["heuristic"], one["reason"]) for one in listed] == [
        ("p2", "fallback", None, "equal_share", "time limit"),
        ("p1", "proven_optimal", 0.001, None, None),
    ]
    assert len((await caller.ask("GET", "/v1/plans?limit=1")).body["plans"]) == 1
    latest = (await caller.ask("GET", "/v1/plans/latest")).body
    assert (latest["id"], latest["currency"]) == ("p2", "EUR")
    assert latest["sessions"][0]["power_kw"] == [7.4, 0.0]
    assert [reason["kind"] for reason in latest["sessions"][0]["reasons"]] == ["charger_limit", "price"]


def record(caller: Any, number: int, session: str, status: RecordStatus) -> EnergyCostRecord:
    start = caller.clock.now() - timedelta(hours=10 - number)
    return EnergyCostRecord(
        id=RecordId(f"r{number}"),
        site_id=GARAGE,
        session_id=SessionId(session),
        status=status,
        made_at=caller.clock.now() + timedelta(seconds=number),
        window=Interval(start, start + timedelta(hours=1)),
        currency="EUR",
        energy_kwh=Decimal("10.0"),
        lines=(CostLine(CostComponent.GRID_ENERGY, "all", Decimal("10.0"), Decimal("2.50")),),
        tariff_id=TariffId("flat"),
        tariff_version="1",
        method="proportional/1",
        input_hash="ab",
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["r0", "r1", "r2"]),
        ("?session_id=s1", ["r0", "r1"]),
        ("?status=final", ["r1"]),
        ("?start=2026-03-02T01:30:00Z", ["r1", "r2"][1:]),
        ("?end=2026-03-02T00:30:00Z", ["r0", "r1"]),
        ("?start=2026-03-02T00:00:00Z&end=2026-03-02T01:00:00Z", ["r1"]),
    ],
)
async def test_records_are_filtered_and_exact(caller: Any, query: str, expected: list[str]) -> None:
    for number, (session, status) in enumerate(
        [("s1", RecordStatus.PROVISIONAL), ("s1", RecordStatus.FINAL), ("s2", RecordStatus.PROVISIONAL)]
    ):
        await caller.stores.records.add_record(record(caller, number, session, status))
    answer = await caller.ask("GET", f"/v1/energy-cost-records{query}", scope="billing")
    records = answer.body["energy_cost_records"]
    assert sorted(one["id"] for one in records) == expected
    assert {(one["total"], one["energy_kwh"], one["currency"]) for one in records} <= {("2.50", "10.0", "EUR")}


async def test_records_come_a_page_at_a_time(caller: Any) -> None:
    for number in range(3):
        await caller.stores.records.add_record(record(caller, number, "s1", RecordStatus.PROVISIONAL))
    seen, path = [], "/v1/energy-cost-records?session_id=s1&limit=2"
    while path:
        answer = await caller.ask("GET", path, scope="billing")
        seen.append([one["id"] for one in answer.body["energy_cost_records"]])
        link = answer.headers.get("Link")
        path = link.partition(">")[0].removeprefix("<") if link else ""
        assert (answer.body["next_cursor"] is None) == (not link)
    assert [len(page) for page in seen] == [2, 1]
    assert sorted(name for page in seen for name in page) == ["r0", "r1", "r2"]


def allocation(caller: Any, missing: Decimal = Decimal(0)) -> CostAllocation:
    def line(amount: str) -> CostLine:
        return CostLine(CostComponent.GRID_ENERGY, "all", Decimal(4) * Decimal(amount), Decimal(amount))

    window = Interval(caller.clock.now() - timedelta(hours=2), caller.clock.now())
    bill = SiteBill(GARAGE, window, "EUR", (line("10.00"),), Decimal(20))
    unassigned = (line(str(Decimal("0.01") - missing)),)
    others = {Payer.BUILDING: (line("5.49"),), Payer.LOSSES: (line("0.50"),), Payer.UNASSIGNED: unassigned}
    return CostAllocation(bill, {SessionId("s1"): (line("3.00"),), SessionId("s2"): (line("1.00"),)}, others)


WINDOW = {"start": "2026-03-02T07:00:00Z", "end": "2026-03-02T09:00:00Z"}


async def test_closing_a_window_shows_who_bears_what(caller: Any) -> None:
    finding = MeterFinding(FindingKind.GAP, "grid import", caller.clock.now(), "2 h")
    caller.control.report = balance_report(allocation(caller), [finding])
    answer = await caller.ask("POST", "/v1/sites/garage/close-window", json=WINDOW, scope="billing")
    assert answer.status == 200
    assert answer.body["total"] == {
        "bill": "10.00",
        "sessions": "4.00",
        "building": "5.49",
        "losses": "0.50",
        "unassigned": "0.01",
        "difference": "0.00",
    }
    assert (answer.body["adds_up"], answer.body["session_count"]) == (True, 2)
    assert [(line["label"], line["amount"]["bill"]) for line in answer.body["lines"]] == [("all", "10.00")]
    assert [finding["kind"] for finding in answer.body["findings"]] == ["gap"]


async def test_a_bill_that_does_not_balance_is_told(caller: Any) -> None:
    caller.control.report = balance_report(allocation(caller, missing=Decimal("0.01")))
    answer = await caller.ask("POST", "/v1/sites/garage/close-window", json=WINDOW)
    assert (answer.body["total"]["difference"], answer.body["adds_up"]) == ("0.01", False)


async def test_a_window_that_cannot_be_closed_is_refused(caller: Any) -> None:
    caller.control.failure = InvalidInput("window", "07:00 to 09:00", "close a whole billing window")
    odd = await caller.ask("POST", "/v1/sites/garage/close-window", json=WINDOW)
    assert (odd.status, odd.body["errors"][0]["detail"]) == (422, "close a whole billing window")
    caller.control.failure = Conflict("a session has no end register yet")
    assert (await caller.ask("POST", "/v1/sites/garage/close-window", json=WINDOW)).status == 409
    assert (await caller.ask("POST", "/v1/sites/other/close-window", json=WINDOW)).status == 404


async def test_bills_are_listed(caller: Any) -> None:
    await caller.stores.records.save_bill(allocation(caller).bill)
    bills = (await caller.ask("GET", "/v1/bills", scope="billing")).body["bills"]
    assert [(bill["total"], bill["currency"], bill["peak_kw"]) for bill in bills] == [("10.00", "EUR", "20")]


async def test_the_service_is_ready_while_guard_and_plan_are_young(caller: Any) -> None:
    assert (await caller.ask("GET", "/healthz", scope=None)).body == {"status": "alive"}
    young = await caller.ask("GET", "/readyz", scope=None)
    assert young.status == 503
    assert [error["detail"] for error in young.body["errors"]] == [
        "there has been no guard step yet",
        "there has been no plan yet",
    ]
    readiness = caller.service.readiness
    readiness.guarded()
    readiness.planned()
    assert (await caller.ask("GET", "/readyz", scope=None)).body == {"status": "ready"}
    await caller.clock.sleep(4)
    assert "last guard step is 4 s old" in (await caller.ask("GET", "/readyz", scope=None)).body["detail"]
    readiness.guarded()
    readiness.stopping = True
    assert "stopping" in (await caller.ask("GET", "/readyz", scope=None)).body["detail"]


class DeadDatabase:
    """Stores that give no answer."""

    class _Sessions:
        async def sessions(self, *_: Any, **__: Any) -> None:
            raise StorageFailed("the disk is gone")

    sessions = _Sessions()


async def test_a_dead_database_is_told(hand_clock: Any) -> None:
    readiness = Readiness(
        GARAGE, cast(Stores, DeadDatabase()), hand_clock, greatest_guard_age_s=3, greatest_plan_age_s=900
    )
    readiness.guarded()
    readiness.planned()
    assert await readiness.shortcomings() == ("the database does not answer: the disk is gone",)


async def test_figures_are_exposed(caller: Any) -> None:
    caller.service.metrics.saw_outcome(outcome(caller))
    await caller.ask("GET", "/v1/sites")
    text = (await caller.ask("GET", "/metrics", scope=None)).text
    assert 'chargehorizon_solve_seconds_count{outcome="proven_optimal"} 1.0' in text
    assert 'chargehorizon_http_requests_total{method="GET",path="/v1/sites",status="200"} 1.0' in text
