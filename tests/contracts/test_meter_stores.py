"""What every implementation of the meter store must do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from store_cases import (
    DEPOT,
    EVSE,
    FULL_READING,
    FULL_SAMPLE,
    HUGE_REGISTER,
    OFFICE,
    OTHER_EVSE,
    at,
    fields_left_at_default,
    reading_at,
    sample_at,
)

from optimizer.domain.ids import (
    EvseId,
    SessionId,
)
from optimizer.domain.metering import MeterSample, ReadingReason
from optimizer.domain.session import Session
from optimizer.ports import Stores


class TestMeterSamples:
    @pytest.mark.parametrize(
        "sample", [sample_at(8, transaction_id=None), FULL_SAMPLE], ids=["bare", "every field filled"]
    )
    async def test_a_sample_reads_back_equal_in_every_digit(self, stores: Stores, sample: MeterSample) -> None:
        await stores.meters.add_samples([sample], [SessionId("one")])
        (stored,) = await stores.meters.session_samples(SessionId("one"))
        assert stored == sample
        assert str(stored.register_kwh) == str(sample.register_kwh)
        assert stored.at.utcoffset() == timedelta(0)

    def test_the_full_sample_is_full(self) -> None:
        assert fields_left_at_default(FULL_SAMPLE) == []

    async def test_sessions_that_samples_changed_are_saved_with_them(self, stores: Stores) -> None:
        before = Session(SessionId("one"), DEPOT, EvseId("depot-1/1"), at(7))
        await stores.sessions.save_session(before)
        after, other = replace(before, energy_kwh=1.5), replace(before, id=SessionId("two"), plugged_in_at=at(8))
        await stores.meters.add_samples([sample_at(8)], [before.id], [after, other])
        assert await stores.sessions.sessions(DEPOT) == (after, other)
        assert len(await stores.meters.session_samples(before.id)) == 1

    async def test_samples_come_by_time_whatever_the_order_of_arrival(self, stores: Stores) -> None:
        hours = [10.0, 8.0, 9.0, 8.5]
        for hour in hours[:2]:
            await stores.meters.add_samples([sample_at(hour)], [SessionId("one")])
        await stores.meters.add_samples([sample_at(hour) for hour in hours[2:]], [SessionId("one")] * 2)
        found = await stores.meters.session_samples(SessionId("one"))
        assert [sample.at for sample in found] == [at(hour) for hour in sorted(hours)]

    async def test_a_repeat_changes_nothing(self, stores: Stores) -> None:
        first = sample_at(8, register_kwh=Decimal("1.0"))
        await stores.meters.add_samples([first, first], [SessionId("one")] * 2)
        await stores.meters.add_samples([replace(first, register_kwh=Decimal("9.0"))], [None])
        no_transaction = sample_at(9, transaction_id=None)
        for _ in range(2):
            await stores.meters.add_samples([no_transaction], [None])
        found = await stores.meters.station_samples(DEPOT, at(0), at(24))
        assert found == ((first, SessionId("one")), (no_transaction, None))

    @pytest.mark.parametrize(
        "another",
        [
            sample_at(8 + 1e-9),
            sample_at(8, transaction_id="18"),
            sample_at(8, transaction_id=None),
            sample_at(8, reason=ReadingReason.CLOCK),
            sample_at(8, evse_id=OTHER_EVSE),
        ],
        ids=["a few microseconds later", "another transaction", "no transaction", "another reason", "another EVSE"],
    )
    async def test_what_differs_is_another_sample(self, stores: Stores, another: MeterSample) -> None:
        await stores.meters.add_samples([sample_at(8), another], [None, None])
        assert len(await stores.meters.station_samples(DEPOT, at(0), at(24))) == 2

    async def test_a_window_has_both_its_ends_and_no_other_site(self, stores: Stores) -> None:
        inside = [sample_at(8), sample_at(9, evse_id=OTHER_EVSE), sample_at(10)]
        outside = [sample_at(7.999), sample_at(10.001), sample_at(9, evse_id=EvseId("office-1/1"))]
        assigned = [SessionId("one"), None, SessionId("two")]
        await stores.meters.add_samples([*inside, *outside], [*assigned, None, None, None])
        found = await stores.meters.station_samples(DEPOT, at(8), at(10))
        assert found == tuple(zip(inside, assigned, strict=True))

    @pytest.mark.parametrize("most_named", [500, 0], ids=["few are named", "of many all are read"])
    async def test_samples_of_some_evses_are_told_apart(
        self, stores: Stores, most_named: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("connectors.storage.meter_store.MOST_NAMED", most_named)
        await stores.meters.add_samples([sample_at(8), sample_at(9, evse_id=OTHER_EVSE), sample_at(10)], [None] * 3)
        found = await stores.meters.station_samples(DEPOT, at(0), at(24), evse_ids={EVSE})
        assert [sample for sample, _ in found] == [sample_at(8), sample_at(10)]
        assert await stores.meters.station_samples(DEPOT, at(0), at(24), evse_ids=set()) == ()

    async def test_each_sample_needs_its_session_or_none(self, stores: Stores) -> None:
        with pytest.raises(ValueError, match="zip"):
            await stores.meters.add_samples([sample_at(8), sample_at(9)], [None])


class TestSiteReadings:
    async def test_a_reading_reads_back_equal_in_every_digit(self, stores: Stores) -> None:
        assert fields_left_at_default(FULL_READING) == []
        await stores.meters.add_site_reading(FULL_READING)
        stored = await stores.meters.latest_site_reading(DEPOT)
        assert stored == FULL_READING
        assert str(stored.import_register_kwh) == str(HUGE_REGISTER)

    async def test_a_repeat_changes_nothing_and_the_newest_is_known(self, stores: Stores) -> None:
        assert await stores.meters.latest_site_reading(DEPOT) is None
        for hour in (9, 8):
            await stores.meters.add_site_reading(reading_at(hour))
        await stores.meters.add_site_reading(replace(reading_at(9), import_register_kwh=Decimal(99)))
        await stores.meters.add_site_reading(reading_at(10, OFFICE))
        assert await stores.meters.latest_site_reading(DEPOT) == reading_at(9)

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            (8.5, 9.5, [8, 9, 10]),
            (8.0, 9.0, [7, 8, 9, 10]),
            (8.2, 8.8, [8, 9]),
            (5.0, 6.0, [7]),
            (5.0, 7.0, [7, 8]),
            (11.0, 12.0, [10]),
            (0.0, 24.0, [7, 8, 9, 10]),
        ],
        ids=[
            "  7   8 [ 9 ] 10  a neighbour each side",
            "  7  [8   9]  10  ends inside, and the neighbours",
            "  7   8 [] 9  10  nothing inside",
            "[] 7   8   9  10  only a later one",
            "[  7]  8   9  10  first one on the end",
            "  7   8   9  10 []  only an earlier one",
            "[ 7   8   9  10 ]  all",
        ],
    )
    async def test_a_window_brings_its_nearest_neighbours(
        self, stores: Stores, start: float, end: float, expected: list[int]
    ) -> None:
        for hour in (7, 8, 9, 10):
            await stores.meters.add_site_reading(reading_at(hour))
            await stores.meters.add_site_reading(reading_at(hour + 0.5, OFFICE))
        found = await stores.meters.site_readings(DEPOT, at(start), at(end))
        assert found == tuple(reading_at(hour) for hour in expected)

    async def test_without_readings_a_window_is_empty(self, stores: Stores) -> None:
        assert await stores.meters.site_readings(DEPOT, at(8), at(9)) == ()
