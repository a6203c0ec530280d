from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from optimizer.control.settlement import Settled, Settlement, Waiting
from optimizer.costing.billing_time import BillingCalendar, billing_days, billing_months, windows_from
from optimizer.costing.registers import FindingKind
from optimizer.domain.cost import CostComponent, EnergyCostRecord, RecordStatus
from optimizer.domain.ids import CircuitId, EvseId, SessionId, SiteId, StationId, TariffId
from optimizer.domain.metering import MeterSample, ReadingReason, SiteMeterReading
from optimizer.domain.moment import Interval
from optimizer.domain.session import Session
from optimizer.domain.site import Circuit, Evse, GridConnection, Site, Station
from optimizer.domain.tariff import WEEKDAYS, DemandCharge, EnergyBand, Tariff, TariffWindow
from optimizer.errors import Conflict, InvalidInput, SourceUnavailable
from scenarios.memory_stores import MemoryStores

SITE = SiteId("garage")
CATALOGUE = Path(__file__).parents[3] / "scenarios" / "catalogue" / "acn_caltech_2019_08_28"


def site_with(*evse_names: str) -> Site:
    root = CircuitId("main")
    stations = tuple(
        Station(StationId(name), (Evse(EvseId(name), StationId(name), 1, root, max_current_a=32.0),))
        for name in evse_names
    )
    return Site(
        SITE, "Garage", "UTC", "EUR", (Circuit(root, None),), stations, GridConnection(root, 100.0), TariffId("t")
    )


FLAT = Tariff(
    TariffId("t"),
    "flat",
    "EUR",
    "UTC",
    (EnergyBand("energy", TariffWindow(), Decimal("0.30")),),
    (DemandCharge("demand", Decimal(30)),),
    Decimal("0.08"),
)


class SetClock:
    """Shows what it is set to."""

    def __init__(self, now: datetime) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def wall_seconds(self, seconds: float) -> float:
        return seconds


@dataclass
class FixedTariff:
    """Gives one tariff, or none."""

    known: Tariff
    available: bool = True
    asked: list[Interval] = field(default_factory=list)

    async def tariff(self, site_id: SiteId, start: datetime, end: datetime) -> Tariff:
        self.asked.append(Interval(start, end))
        if not self.available:
            raise SourceUnavailable("no day-ahead prices yet")
        return self.known


def at(clock: str, day: int = 1) -> datetime:
    return datetime(2026, 6, day, *(int(part) for part in clock.split(":")), tzinfo=UTC)


MIDNIGHT = at("00:00")


def in_five_minutes(power_kw: Decimal) -> Decimal:
    """Energy as a register counts it [kWh]."""
    return (power_kw / 12).quantize(Decimal("0.000000001"))


class Garage:
    """A site whose meters are read every five minutes: sessions charge evenly, the building draws 2 kW."""

    def __init__(
        self,
        *evses: str,
        tariff: Tariff = FLAT,
        start: datetime = MIDNIGHT,
        calendar: BillingCalendar = billing_days,
    ) -> None:
        self.site = site_with(*(evses or ("E1", "E2")))
        self.stores = MemoryStores([self.site])
        self.clock = SetClock(start)
        self.tariffs = FixedTariff(tariff)
        self.calendar = calendar
        self.settlement = self.restarted()
        self.registers = dict.fromkeys(("import", "export", "building", "pv", *self.site.evses), Decimal(0))
        self.power_kw = dict.fromkeys(self.site.evses, Decimal(0))
        self.wanted_kwh = dict.fromkeys(self.site.evses, Decimal(1000))
        self.pv_kw: Decimal | None = None
        self.session_at: dict[str, Session] = {}
        self.offline: set[str] = set()

    def restarted(self) -> Settlement:
        """A new one on the same stores, as after a restart."""
        return Settlement(self.site, self.stores, self.tariffs, self.clock, calendar=self.calendar)

    async def until(self, end: datetime, *, readings: bool = True) -> None:
        """Let time pass."""
        while self.clock.time < end:
            if readings:
                await self._read()
            self.clock.time += timedelta(minutes=5)
            self._flow()
        if readings:
            await self._read()

    def _flow(self) -> None:
        flows_kwh = {"building": in_five_minutes(Decimal(2))}
        for evse, power_kw in self.power_kw.items():
            flows_kwh[evse] = min(in_five_minutes(power_kw), self.wanted_kwh[evse])
            self.wanted_kwh[evse] -= flows_kwh[evse]
        for meter, energy_kwh in flows_kwh.items():
            self.registers[meter] += energy_kwh
        pv_kwh = in_five_minutes(self.pv_kw or Decimal(0))
        self.registers["pv"] += pv_kwh
        balance_kwh = sum(flows_kwh.values(), Decimal(0)) - pv_kwh
        self.registers["import" if balance_kwh > 0 else "export"] += abs(balance_kwh)

    async def plug_in(self, evse: str, power_kw: float, name: str = "", wanted_kwh: str = "1000") -> Session:
        session = Session(SessionId(name or f"{evse}-{self.clock.time:%d-%H%M}"), SITE, EvseId(evse), self.clock.time)
        self.session_at[evse] = session
        self.power_kw[evse], self.wanted_kwh[evse] = Decimal(power_kw), Decimal(wanted_kwh)
        await self.stores.sessions.save_session(session)
        await self._sample(evse, ReadingReason.TRANSACTION_BEGIN)
        return session

    async def plug_out(self, evse: str, *, sample: bool = True, paused: tuple[Interval, ...] = ()) -> Session:
        session = replace(self.session_at[evse], unplugged_at=self.clock.time, paused=paused)
        if sample:
            await self._sample(evse, ReadingReason.TRANSACTION_END)
        del self.session_at[evse]
        self.power_kw[evse] = Decimal(0)
        await self.stores.sessions.save_session(session)
        return session

    async def short_stay(self, evse: str, *, ended: bool) -> Session:
        """A stay of under five minutes of which no register is ever told."""
        begun, end = self.clock.time, self.clock.time + timedelta(minutes=4.5)
        session = Session(SessionId("short"), SITE, EvseId(evse), begun, unplugged_at=end)
        await self.stores.sessions.save_session(session)
        if ended:
            last = MeterSample(StationId(evse), EvseId(evse), end, reason=ReadingReason.TRANSACTION_END)
            await self.stores.meters.add_samples([last], [session.id])
        return session

    async def records(self, *statuses: RecordStatus) -> tuple[EnergyCostRecord, ...]:
        every = await self.stores.records.records(SITE)
        return tuple(record for record in every if not statuses or record.status in statuses)

    async def _read(self) -> None:
        now = self.registers
        await self.stores.meters.add_site_reading(
            SiteMeterReading(
                SITE,
                self.clock.time,
                now["import"],
                now["export"],
                None if self.pv_kw is None else now["pv"],
                now["building"],
            )
        )
        for evse in self.session_at:
            if evse not in self.offline:
                await self._sample(evse, ReadingReason.PERIODIC)

    async def _sample(self, evse: str, reason: ReadingReason) -> None:
        sample = MeterSample(
            StationId(evse), EvseId(evse), self.clock.time, register_kwh=self.registers[evse], reason=reason
        )
        await self.stores.meters.add_samples([sample], [self.session_at[evse].id])


def lines(record: EnergyCostRecord) -> dict[str, tuple[Decimal, Decimal]]:
    return {line.label: (line.quantity, line.amount) for line in record.lines}


def total(records: Iterable[EnergyCostRecord]) -> Decimal:
    return sum((record.total for record in records), Decimal(0))


async def day_with_two_sessions(garage: Garage) -> tuple[Session, Session]:
    """E1 takes 12 kWh from 10:00 to 12:00, E2 4 kWh from 11:00 to 12:00; each is settled at plug-out."""
    await garage.until(at("10:00"))
    await garage.plug_in("E1", 6, "first")
    await garage.until(at("11:00"))
    await garage.plug_in("E2", 4, "second")
    await garage.until(at("12:00"))
    ended = (await garage.plug_out("E1"), await garage.plug_out("E2"))
    await garage.until(at("12:05"))
    for session in ended:
        assert isinstance(await garage.settlement.settle_session(session), Settled)
    return ended


class TestAtPlugOut:
    async def test_record_is_made_as_soon_as_the_meters_have_spoken(self) -> None:
        garage = Garage()
        await garage.until(at("10:00"))
        await garage.plug_in("E1", 6)
        await garage.until(at("11:05"))
        session = await garage.plug_out("E1")
        early = await garage.settlement.settle_session(session)
        assert early == Waiting(session.id, "the site meter's reading at 2026-06-01T11:15:00+00:00")
        await garage.until(at("11:15"))
        late = await garage.settlement.settle_session(session)
        assert isinstance(late, Settled)
        (record,) = late.records
        assert (record.status, record.energy_kwh, record.made_at) == (
            RecordStatus.PROVISIONAL,
            Decimal("6.5"),
            at("11:15"),
        )
        assert lines(record)["energy"] == (Decimal("6.500"), Decimal("1.95"))
        assert record.window == Interval(at("10:00"), at("11:05"))

    async def test_demand_is_accrued_on_the_peak_so_far(self) -> None:
        garage = Garage()
        await day_with_two_sessions(garage)
        first, second = await garage.records()
        # 12 kW from 11:00 on; half a day of thirty: 30 * 12 * 0.5 / 30 = 6.00, a half and a third of it.
        assert lines(first)["demand"] == (Decimal("6.000"), Decimal("3.00"))
        assert lines(second)["demand"] == (Decimal("4.000"), Decimal("2.00"))

    async def test_again_it_gives_nothing_new(self) -> None:
        garage = Garage()
        session, _ = await day_with_two_sessions(garage)
        before = await garage.records()
        assert await garage.settlement.settle_session(session) == Settled(session.id, ())
        assert await garage.restarted().settle_session(session) == Settled(session.id, ())
        assert await garage.records() == before
        assert len(await garage.stores.records.undelivered(at("00:00", 3), 10)) == 2

    async def test_vehicle_still_there_is_waited_for(self) -> None:
        garage = Garage()
        session = await garage.plug_in("E1", 6)
        assert await garage.settlement.settle_session(session) == Waiting(session.id, "it is still plugged in")

    async def test_station_that_has_not_sent_its_last_value_is_waited_for_an_hour(self) -> None:
        garage = Garage()
        await garage.until(at("10:00"))
        await garage.plug_in("E1", 6)
        await garage.until(at("11:00"))
        garage.offline.add("E1")
        await garage.until(at("11:30"))
        session = await garage.plug_out("E1", sample=False)
        await garage.until(at("12:25"))
        assert await garage.settlement.settle_session(session) == Waiting(session.id, "the station's last meter value")
        await garage.until(at("12:30"))
        outcome = await garage.settlement.settle_session(session)
        assert isinstance(outcome, Settled)
        assert outcome.records[0].energy_kwh == 6

    async def test_a_transaction_that_ended_without_any_register_is_not_waited_for(self) -> None:
        garage = Garage()
        await garage.until(at("10:00"))
        session = await garage.short_stay("E1", ended=True)
        await garage.until(at("10:15"))
        outcome = await garage.settlement.settle_session(session)
        assert isinstance(outcome, Settled)
        assert [record.energy_kwh for record in outcome.records] == [0]

    async def test_without_prices_it_waits(self) -> None:
        garage = Garage()
        await garage.until(at("10:00"))
        await garage.plug_in("E1", 6)
        await garage.until(at("11:00"))
        session = await garage.plug_out("E1")
        garage.tariffs.available = False
        assert await garage.settlement.settle_session(session) == Waiting(
            session.id, "no prices: no day-ahead prices yet"
        )
        garage.tariffs.available = True
        assert isinstance(await garage.settlement.settle_session(session), Settled)

    async def test_prices_are_asked_for_the_session_only(self) -> None:
        garage = Garage(calendar=billing_months)
        await day_with_two_sessions(garage)
        assert set(garage.tariffs.asked) == {Interval(at("10:00"), at("12:00")), Interval(at("11:00"), at("12:00"))}

    async def test_pauses_of_ours_are_told(self) -> None:
        garage = Garage()
        await garage.until(at("10:00"))
        await garage.plug_in("E1", 0)
        await garage.until(at("11:00"))
        session = await garage.plug_out("E1", paused=(Interval(at("10:00"), at("10:45")),))
        outcome = await garage.settlement.settle_session(session)
        assert isinstance(outcome, Settled)
        assert outcome.records[0].optimizer_pause_h == Decimal("0.75")

    async def test_session_of_no_length_and_no_energy_is_recorded(self) -> None:
        garage = Garage()
        await garage.until(at("10:00"))
        await garage.plug_in("E1", 0)
        session = await garage.plug_out("E1")
        await garage.until(at("10:15"))
        outcome = await garage.settlement.settle_session(session)
        assert isinstance(outcome, Settled)
        assert [(record.energy_kwh, record.lines) for record in outcome.records] == [(0, ())]

    async def test_days_remembered_change_nothing(self) -> None:
        garage = Garage(calendar=billing_months)
        for day in range(1, 5):
            await garage.until(at("10:00", day))
            await garage.plug_in("E1", 3 + day)
            await garage.until(at("11:00", day))
            session = await garage.plug_out("E1")
            fresh = garage.restarted()
            made = await garage.settlement.settle_session(session)
            assert isinstance(made, Settled)
            garage.stores.records = MemoryStores([garage.site]).records
            again = await fresh.settle_session(session)
            assert again == made
        assert lines(made.records[0])["demand"][0] == 7


class TestAfterARestart:
    async def test_sessions_that_ended_meanwhile_are_settled(self) -> None:
        garage = Garage()
        await garage.until(at("10:00"))
        await garage.plug_in("E1", 6, "gone")
        await garage.plug_in("E2", 4, "still here")
        await garage.until(at("11:00"))
        await garage.plug_out("E1")
        await garage.until(at("11:30"))
        settlement = garage.restarted()
        (outcome,) = await settlement.settle_unsettled()
        assert isinstance(outcome, Settled)
        assert [record.session_id for record in outcome.records] == ["gone"]
        assert await settlement.settle_unsettled() == ()
        await garage.plug_out("E2")
        (later,) = await settlement.settle_unsettled()
        assert isinstance(later, Settled)
        assert [record.session_id for record in later.records] == ["still here"]
        assert await garage.restarted().settle_unsettled() == ()

    async def test_those_that_must_wait_are_told_each_time(self) -> None:
        garage = Garage()
        await garage.until(at("10:00"))
        await garage.plug_in("E1", 6, "a")
        await garage.until(at("10:05"))
        await garage.plug_in("E2", 6, "b")
        garage.offline.add("E1")
        await garage.until(at("10:20"))
        await garage.plug_out("E1", sample=False)
        await garage.until(at("10:40"), readings=False)
        await garage.plug_out("E2")
        settlement = garage.restarted()
        for _ in range(2):
            assert await settlement.settle_unsettled() == (
                Waiting(SessionId("a"), "the station's last meter value"),
                Waiting(SessionId("b"), "the site meter's reading at 2026-06-01T10:45:00+00:00"),
            )
        await garage.until(at("10:45"))
        a, b = await settlement.settle_unsettled()
        assert (type(a), type(b)) == (Waiting, Settled)
        await garage.until(at("11:20"))
        (a,) = await settlement.settle_unsettled()
        assert a.session_id == "a"
        assert type(a) is Settled
        assert await settlement.settle_unsettled() == ()


class TestClosingAWindow:
    async def test_shares_are_the_bill_and_adjustments_lead_to_them(self) -> None:
        garage = Garage()
        await day_with_two_sessions(garage)
        await garage.until(at("00:05", 2))
        settled = await garage.settlement.close_window(Interval(at("00:00"), at("00:00", 2)))
        finals = await garage.records(RecordStatus.FINAL)
        early = await garage.records(RecordStatus.PROVISIONAL)
        adjustments = await garage.records(RecordStatus.ADJUSTMENT)
        assert settled.report.adds_up
        assert settled.report.total.sessions == total(finals)
        # 64 kWh at 0.30 and one day of thirty of 12 kW at 30.
        assert settled.bill.total == Decimal("31.20")
        assert [lines(record)["demand"] for record in finals] == [(6, Decimal("6.00")), (4, Decimal("4.00"))]
        assert total(early) + total(adjustments) == total(finals)
        assert [record.corrects for record in adjustments] == [record.corrects for record in finals]
        assert [record.corrects for record in finals] == [record.id for record in early]
        assert await garage.stores.records.bills(SITE) == (settled.bill,)
        assert settled.report.findings == ()

    async def test_again_it_changes_nothing(self) -> None:
        garage = Garage()
        await day_with_two_sessions(garage)
        await garage.until(at("00:05", 2))
        window = Interval(at("00:00"), at("00:00", 2))
        first = await garage.settlement.close_window(window)
        before = await garage.records()
        await garage.until(at("01:05", 2))
        assert await garage.restarted().close_window(window) == first
        assert await garage.records() == before

    async def test_late_readings_are_brought_by_closing_again(self) -> None:
        garage = Garage()
        await garage.until(at("10:00"))
        await garage.plug_in("E1", 6)
        await garage.until(at("11:00"))
        garage.offline.add("E1")
        await garage.until(at("12:00"))
        session = await garage.plug_out("E1", sample=False)
        held_back = garage.registers["E1"]
        await garage.until(at("01:05", 2))
        window = Interval(at("00:00"), at("00:00", 2))
        first = await garage.settlement.close_window(window)
        assert first.report.energy_kwh.sessions == 6
        late = MeterSample(
            StationId("E1"), EvseId("E1"), at("12:00"), register_kwh=held_back, reason=ReadingReason.TRANSACTION_END
        )
        await garage.stores.meters.add_samples([late], [session.id])
        for _ in range(2):
            second = await garage.settlement.close_window(window)
            assert second.report.adds_up
            (final,) = await garage.records(RecordStatus.FINAL)
            (adjustment,) = await garage.records(RecordStatus.ADJUSTMENT)
            assert adjustment.corrects == final.id
            assert final.energy_kwh + adjustment.energy_kwh == 12
            assert final.total + adjustment.total == second.report.total.sessions

    @pytest.mark.parametrize(
        ("now", "window", "error", "why"),
        [
            (at("23:55"), Interval(at("00:00"), at("00:00", 2)), Conflict, "the window ends at 2026-06-02T00:00"),
            (at("00:05", 2), Interval(at("00:00"), at("12:00")), InvalidInput, "here 2026-06-01T00:00"),
        ],
        ids=["not over", "half a window"],
    )
    async def test_is_refused(self, now: datetime, window: Interval, error: type[Exception], why: str) -> None:
        garage = Garage()
        await garage.until(now)
        with pytest.raises(error, match=why):
            await garage.settlement.close_window(window)
        assert await garage.records() == ()
        assert await garage.stores.records.bills(SITE) == ()

    @pytest.mark.parametrize(
        ("plugged_in", "ended", "waits"),
        [
            pytest.param("23:50", True, False, id="just now, its transaction has ended"),
            pytest.param("23:50", False, True, id="just now, its values may still come"),
            pytest.param("20:00", False, False, id="long ago"),
        ],
    )
    async def test_a_short_stay_without_meter_values_holds_nothing_up(
        self, plugged_in: str, ended: bool, waits: bool
    ) -> None:
        garage = Garage()
        await garage.until(at(plugged_in))
        await garage.short_stay("E1", ended=ended)
        await garage.until(at("00:05", 2))
        window = Interval(at("00:00"), at("00:00", 2))
        if waits:
            with pytest.raises(Conflict, match="the last meter values of session"):
                await garage.settlement.close_window(window)
        else:
            assert (await garage.settlement.close_window(window)).report.adds_up

    async def test_missing_readings_are_waited_for_and_then_told(self) -> None:
        garage = Garage()
        await garage.until(at("10:00"))
        await garage.plug_in("E1", 6)
        await garage.until(at("23:30"))
        await garage.until(at("00:30", 2), readings=False)
        window = Interval(at("00:00"), at("00:00", 2))
        with pytest.raises(
            Conflict, match="site meter's reading at the end of the window; the last meter values of session"
        ):
            await garage.settlement.close_window(window)
        await garage.until(at("01:00", 2), readings=False)
        settled = await garage.settlement.close_window(window)
        assert settled.report.adds_up
        assert [(found.kind, found.at) for found in settled.report.findings] == [(FindingKind.UNCOVERED, at("23:30"))]

    async def test_crash_in_the_middle_stores_nothing_and_the_next_try_all(self) -> None:
        garage = Garage()
        await day_with_two_sessions(garage)
        await garage.until(at("00:05", 2))
        window = Interval(at("00:00"), at("00:00", 2))
        before = await garage.records()
        add_record, calls = garage.stores.records.add_record, 0

        async def fails_at_the_third(record: EnergyCostRecord) -> bool:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise OSError("disk full")
            return await add_record(record)

        garage.stores.records.add_record = fails_at_the_third
        with pytest.raises(OSError, match="disk full"):
            await garage.settlement.close_window(window)
        assert (await garage.records(), await garage.stores.records.bills(SITE)) == (before, ())
        garage.stores.records.add_record = add_record
        settled = await garage.settlement.close_window(window)
        assert settled.report.total.sessions == total(await garage.records(RecordStatus.FINAL))

    async def test_session_over_two_windows_pays_its_part_in_each(self) -> None:
        garage = Garage()
        await garage.until(at("22:00"))
        await garage.plug_in("E1", 6)
        await garage.until(at("00:05", 2))
        first = await garage.settlement.close_window(Interval(at("00:00"), at("00:00", 2)))
        await garage.until(at("03:00", 2))
        session = await garage.plug_out("E1")
        outcome = await garage.settlement.settle_session(session)
        assert isinstance(outcome, Settled)
        assert [record.window for record in outcome.records] == [Interval(at("00:00", 2), at("03:00", 2))]
        await garage.until(at("00:05", 3))
        second = await garage.settlement.close_window(Interval(at("00:00", 2), at("00:00", 3)))
        finals = await garage.records(RecordStatus.FINAL)
        assert [record.energy_kwh for record in finals] == [12, 18]
        assert [total([record]) for record in finals] == [first.report.total.sessions, second.report.total.sessions]

    async def test_session_never_settled_gets_its_final_record_alone(self) -> None:
        garage = Garage()
        await garage.until(at("10:00"))
        await garage.plug_in("E1", 6)
        await garage.until(at("11:00"))
        await garage.plug_out("E1")
        await garage.until(at("00:05", 2))
        await garage.settlement.close_window(Interval(at("00:00"), at("00:00", 2)))
        (record,) = await garage.records()
        assert (record.status, record.corrects) == (RecordStatus.FINAL, None)
        assert await garage.settlement.settle_unsettled() == ()

    async def test_site_without_sessions_is_billed_to_the_building(self) -> None:
        garage = Garage()
        await garage.until(at("00:05", 2))
        settled = await garage.settlement.close_window(Interval(at("00:00"), at("00:00", 2)))
        assert settled.report.total.building == settled.bill.total == Decimal("16.40")
        assert await garage.records() == ()


class TestFinishedWindows:
    async def test_are_closed_one_after_another_and_once(self) -> None:
        garage = Garage()
        for day in (1, 2):
            await garage.until(at("10:00", day))
            await garage.plug_in("E1", 6)
            await garage.until(at("11:00", day))
            await garage.plug_out("E1")
        await garage.until(at("00:05", 4))
        closed = await garage.settlement.close_finished_windows()
        assert [settled.bill.window.start for settled in closed] == [at("00:00", day) for day in (1, 2, 3)]
        assert await garage.settlement.close_finished_windows() == ()

    async def test_wait_for_readings(self) -> None:
        garage = Garage()
        await garage.until(at("10:00"))
        await garage.plug_in("E1", 6)
        await garage.plug_out("E1")
        await garage.until(at("23:30"))
        await garage.until(at("00:30", 2), readings=False)
        assert await garage.settlement.close_finished_windows() == ()
        await garage.until(at("00:35", 2))
        assert len(await garage.settlement.close_finished_windows()) == 1

    async def test_need_a_session_to_begin_with(self) -> None:
        garage = Garage()
        await garage.until(at("12:00", 2))
        assert await garage.settlement.close_finished_windows() == ()


class TestLongComputations:
    async def test_run_where_they_are_told_to(self) -> None:
        garage = Garage()
        offloaded: list[object] = []

        async def elsewhere(work: Callable[[], object]) -> object:
            offloaded.append(work())
            return offloaded[-1]

        garage.settlement = Settlement(
            garage.site, garage.stores, garage.tariffs, garage.clock, calendar=billing_days, offload=elsewhere
        )
        await day_with_two_sessions(garage)
        assert offloaded == list(await garage.records())
        await garage.until(at("00:05", 2))
        settled = await garage.settlement.close_window(Interval(at("00:00"), at("00:00", 2)))
        assert settled in offloaded


class TestPreview:
    async def test_tells_the_cost_so_far_and_stores_nothing(self) -> None:
        garage = Garage()
        await day_with_two_sessions(garage)
        before = await garage.records()
        so_far = await garage.settlement.preview(Interval(at("00:00"), at("00:00", 2)))
        assert so_far.bill.window == Interval(at("00:00"), at("12:00"))
        assert so_far.report.adds_up
        assert so_far.report.energy_kwh.sessions == 16
        assert (await garage.records(), await garage.stores.records.bills(SITE)) == (before, ())

    async def test_before_the_first_reading_there_is_nothing_to_tell(self) -> None:
        with pytest.raises(Conflict, match="no reading of the site meter"):
            await Garage().settlement.preview(Interval(at("00:00"), at("00:00", 2)))


SCE = Tariff(
    TariffId("sce"),
    "SCE TOU-EV-4",
    "USD",
    "America/Los_Angeles",
    (
        EnergyBand("summer on-peak", TariffWindow((6, 1), (9, 30), WEEKDAYS, time(12), time(18)), Decimal("0.26668")),
        EnergyBand("summer mid-peak", TariffWindow((6, 1), (9, 30), WEEKDAYS, time(8), time(23)), Decimal("0.09250")),
        EnergyBand("summer off-peak", TariffWindow((6, 1), (9, 30)), Decimal("0.05623")),
    ),
    (DemandCharge("facilities", Decimal("15.51")),),
    Decimal("0.03"),
)


async def test_a_real_day_of_the_caltech_garage_adds_up() -> None:
    """44 recorded sessions at 36 posts charge at once, as fast as they can, beside a PV array."""
    start = datetime(2019, 8, 28, 14, tzinfo=UTC)
    with (CATALOGUE / "sessions.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["arrival"])
    posts = sorted({row["station_id"] for row in rows})
    window_of = windows_from(start, timedelta(days=1))
    garage = Garage(*posts, tariff=SCE, start=start, calendar=window_of)
    leaving: list[tuple[datetime, str]] = []
    made = 0
    while garage.clock.time < start + timedelta(days=1):
        now = garage.clock.time
        garage.pv_kw = Decimal(40) if 17 <= now.hour < 23 else Decimal(0)
        for departure, post in sorted(leave for leave in leaving if leave[0] <= now):
            await garage.plug_out(post)
            leaving.remove((departure, post))
        while rows and datetime.fromisoformat(rows[0]["arrival"]) <= now:
            row = rows.pop(0)
            await garage.plug_in(row["station_id"], 6.6, row["session_id"], row["delivered_energy (kWh)"])
            leaving.append((datetime.fromisoformat(row["departure"]), row["station_id"]))
        made += sum(isinstance(outcome, Settled) for outcome in await garage.settlement.settle_unsettled())
        await garage.until(now + timedelta(minutes=5))
    settled = await garage.settlement.close_window(window_of(SCE, start))
    finals = await garage.records(RecordStatus.FINAL)
    assert len(finals) == len(settled.allocation.session_lines) == 44
    assert made == len(await garage.records(RecordStatus.PROVISIONAL)) > 40
    assert settled.report.adds_up
    assert settled.report.total.sessions == total(finals)
    assert sum(record.energy_kwh for record in finals) == sum(garage.registers[post] for post in posts)
    stated = await garage.records(RecordStatus.PROVISIONAL, RecordStatus.ADJUSTMENT)
    early = {record.session_id for record in await garage.records(RecordStatus.PROVISIONAL)}
    assert total(stated) == total(record for record in finals if record.session_id in early)
    assert {line.component for line in settled.bill.lines} == set(CostComponent)
    assert settled.report.findings == ()
