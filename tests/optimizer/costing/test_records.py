from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from optimizer.costing.allocation import allocate
from optimizer.costing.bill import site_bill
from optimizer.costing.intervals import SiteInterval
from optimizer.costing.records import (
    METHOD,
    SessionPart,
    adjustment_record,
    final_record,
    input_hash,
    provisional_record,
    record_id,
)
from optimizer.domain.cost import EnergyCostRecord, RecordStatus
from optimizer.domain.ids import SessionId
from optimizer.domain.metering import SessionMetering
from optimizer.domain.moment import Interval
from optimizer.domain.series import PriceSeries
from optimizer.domain.tariff import Tariff

A = SessionId("A")


@pytest.fixture
def tariff(build: Any) -> Tariff:
    return build.tariff(
        build.band("energy", "0.30"), demand=[build.charge("demand", "30")], export="0.08", version="2026"
    )


@pytest.fixture
def site(build: Any, tariff: Tariff) -> tuple[SiteInterval, ...]:
    """The peak so far at 10:00 is 16 kW; at 18:00 it rises to 32 kW."""
    return build.site(
        tariff, build.day(), {40: ("4", "0", "4", "2"), 41: ("2", "0", "0", "1"), 72: ("8", "0", "0", "8")}
    )


def part(build: Any, metering: SessionMetering, **more: Any) -> SessionPart:
    return SessionPart(metering.session_id, Interval(build.at("10:00"), build.at("10:30")), metering, **more)


def told(record: EnergyCostRecord) -> dict[str, tuple[str, str]]:
    return {line.label: (str(line.quantity), str(line.amount)) for line in record.lines}


def closed(
    build: Any, tariff: Tariff, site: Sequence[SiteInterval], own: SessionPart, follows: Any = None
) -> EnergyCostRecord:
    bill = site_bill(build.site_id, site, tariff, build.day())
    allocation = allocate(bill, site, [own.metering], (), tariff)
    digest = input_hash(tariff, site, [own.metering], ())
    return final_record(allocation, own, tariff, digest, build.at("00:30", "2026-06-02"), follows)


class TestIds:
    def test_follow_from_session_status_and_window(self, build: Any) -> None:
        window = build.day()
        made = {
            record_id(A, RecordStatus.FINAL, window),
            record_id(SessionId("B"), RecordStatus.FINAL, window),
            record_id(A, RecordStatus.PROVISIONAL, window),
            record_id(A, RecordStatus.FINAL, build.day("2026-06-02")),
            record_id(A, RecordStatus.FINAL, window, "corrected"),
        }
        assert len(made) == 5
        assert record_id(A, RecordStatus.FINAL, window) in made

    def test_stay_the_same_from_release_to_release(self, build: Any) -> None:
        assert record_id(A, RecordStatus.FINAL, build.day()) == "c7dbcf90-9483-5438-aa54-d56f6fc24dc8"


class TestProvisional:
    def test_energy_is_final_and_the_demand_charge_accrued(
        self, build: Any, tariff: Tariff, site: tuple[SiteInterval, ...]
    ) -> None:
        own = part(build, build.metering("A", site, {40: "6", 41: "1"}))
        record = provisional_record(build.site_id, own, site[:42], tariff, build.at("10:31"))
        # 10:00: 6 of 8 kWh used, half of them bought, so 3 of the 4 kWh bought in the peak quarter-hour.
        # Accrued: 30/kW * 16 kW * (10.5 of 24 hours) / 30 days = 7.00, three quarters of it.
        assert told(record) == {"energy": ("4.000", "1.20"), "pv": ("3.000", "0.00"), "demand": ("12.000", "5.25")}
        assert (record.status, record.energy_kwh, record.corrects) == (RecordStatus.PROVISIONAL, 7, None)
        assert (record.tariff_id, record.tariff_version, record.method) == (tariff.id, "2026", METHOD)

    def test_energy_lines_are_those_of_the_final_record(
        self, build: Any, tariff: Tariff, site: tuple[SiteInterval, ...]
    ) -> None:
        own = part(build, build.metering("A", site, {40: "6", 41: "1"}))
        early = told(provisional_record(build.site_id, own, site[:42], tariff, build.at("10:31")))
        late = told(closed(build, tariff, site, own))
        assert {label: early[label] for label in ("energy", "pv")} == late

    def test_session_without_energy_has_a_record_too(
        self, build: Any, tariff: Tariff, site: tuple[SiteInterval, ...]
    ) -> None:
        own = part(build, build.metering("A", site, {}))
        record = provisional_record(build.site_id, own, site[:42], tariff, build.at("10:31"))
        assert (record.lines, record.energy_kwh, record.total) == ((), 0, 0)

    def test_pause_is_told(self, build: Any, tariff: Tariff, site: tuple[SiteInterval, ...]) -> None:
        own = part(build, build.metering("A", site, {}), optimizer_pause_h=Decimal("0.25"))
        record = provisional_record(build.site_id, own, site[:42], tariff, build.at("10:31"))
        assert record.optimizer_pause_h == Decimal("0.25")

    def test_same_inputs_give_the_same_record(self, build: Any, tariff: Tariff, site: tuple[SiteInterval, ...]) -> None:
        own = part(build, build.metering("A", site, {40: "6"}))
        records = [provisional_record(build.site_id, own, site[:42], tariff, build.at("10:31")) for _ in range(2)]
        assert records[0] == records[1]


class TestAdjustment:
    def test_provisional_and_adjustment_come_to_the_final_record(
        self, build: Any, tariff: Tariff, site: tuple[SiteInterval, ...]
    ) -> None:
        own = part(build, build.metering("A", site, {40: "6", 41: "1"}))
        early = provisional_record(build.site_id, own, site[:42], tariff, build.at("10:31"))
        late = closed(build, tariff, site, own, early.id)
        adjustment = adjustment_record(late, [early])
        assert adjustment is not None
        assert told(adjustment) == {"demand": ("-12.000", "-5.25")}
        assert early.total + adjustment.total == late.total
        assert (adjustment.status, adjustment.corrects, late.corrects) == (RecordStatus.ADJUSTMENT, early.id, early.id)
        assert (adjustment.energy_kwh, adjustment.optimizer_pause_h) == (0, 0)

    def test_where_nothing_changed_there_is_none(
        self, build: Any, tariff: Tariff, site: tuple[SiteInterval, ...]
    ) -> None:
        own = part(build, build.metering("A", site, {40: "6"}))
        late = closed(build, tariff, site, own)
        assert adjustment_record(late, [late]) is None

    def test_second_correction_says_only_what_the_first_did_not(
        self, build: Any, tariff: Tariff, site: tuple[SiteInterval, ...]
    ) -> None:
        held = closed(build, tariff, site, part(build, build.metering("A", site, {40: "6"})))
        more = closed(build, tariff, site, part(build, build.metering("A", site, {40: "6", 41: "1"})))
        most = closed(build, tariff, site, part(build, build.metering("A", site, {40: "6", 41: "2"})))
        first = adjustment_record(more, [held])
        assert first is not None
        second = adjustment_record(most, [held, first])
        assert second is not None
        assert first.id != second.id
        assert told(second) == {"energy": ("1.000", "0.30")}
        assert held.energy_kwh + first.energy_kwh + second.energy_kwh == most.energy_kwh
        assert adjustment_record(most, [held, first, second]) is None

    def test_line_that_is_no_longer_there_is_taken_back(
        self, build: Any, tariff: Tariff, site: tuple[SiteInterval, ...]
    ) -> None:
        held = closed(build, tariff, site, part(build, build.metering("A", site, {40: "6"})))
        gone = adjustment_record(replace(held, lines=(), energy_kwh=Decimal(0)), [held])
        assert gone is not None
        assert held.total + gone.total == 0


class TestHash:
    def test_changes_with_every_input(self, build: Any, tariff: Tariff, site: tuple[SiteInterval, ...]) -> None:
        metering = build.metering("A", site, {40: "6"})
        idle = build.metering("idle", site, {3: "1"}).intervals
        cheaper = replace(tariff, energy_bands=(build.band("energy", "0.29"),))
        inputs = [
            (tariff, site, [metering], ()),
            (tariff, site, [metering], idle),
            (tariff, site, [build.metering("B", site, {40: "6"})], ()),
            (tariff, site, [build.metering("A", site, {40: "5"})], ()),
            (tariff, site, [], ()),
            (tariff, (replace(site[0], building_kwh=Decimal(1)), *site[1:]), [metering], ()),
            (tariff, (replace(site[0], building_kwh=None), *site[1:]), [metering], ()),
            (cheaper, site, [metering], ()),
            (replace(tariff, demand_charges=(build.charge("demand", "30", 30),)), site, [metering], ()),
            (replace(tariff, export_price_per_kwh=Decimal(0)), site, [metering], ()),
        ]
        assert len({input_hash(*each) for each in inputs}) == len(inputs)

    def test_market_prices_of_other_days_do_not_matter(self, build: Any, site: tuple[SiteInterval, ...]) -> None:
        days = tuple(build.day().start + timedelta(days=day) for day in range(3))
        one, other = (
            build.tariff(market=PriceSeries("EUR", days, (Decimal("0.1"), Decimal(later)))) for later in ("0.2", "0.3")
        )
        first = build.tariff(market=PriceSeries("EUR", days, (Decimal("0.4"), Decimal("0.2"))))
        assert input_hash(one, site, [], ()) == input_hash(other, site, [], ())
        assert input_hash(one, site, [], ()) != input_hash(first, site, [], ())

    def test_is_the_same_however_numbers_are_written_and_sessions_ordered(
        self, build: Any, tariff: Tariff, site: tuple[SiteInterval, ...]
    ) -> None:
        a, b, long_a = (
            build.metering(name, site, {40: value}) for name, value in (("A", "6"), ("B", "1"), ("A", "6.000"))
        )
        assert input_hash(tariff, site, [a, b], ()) == input_hash(tariff, site, [b, long_a], ())
