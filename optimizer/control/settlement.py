"""From meters to energy-cost records: at plug-out, and when a billing window is over.

    plug-out -----> settle_session --> provisional record       a session without one is found by
    every minute -> settle_unsettled --^                        settle_unsettled, after a restart too
    window over --> close_window ----> bill, final records, adjustments

A record waits until the meters have spoken: the site's readings must reach the end of the quarter-hour in which the
session ended, and its station must have sent the last register. Each is waited for `patience` long; then the record is
made from what is there, and closing the window brings the difference as an adjustment. What late readings change after
that comes with closing the window again, as further adjustments.

Records and bill of a window are stored together or not at all, and ids follow from what they are of: every call may be
repeated, and a crash between any two is harmless.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol, TypeVar

from optimizer.costing.allocation import allocate
from optimizer.costing.balance import BalanceReport, balance_report
from optimizer.costing.bill import site_bill
from optimizer.costing.billing_time import (
    SETTLEMENT_MINUTES,
    BillingCalendar,
    billing_months,
    costing_grid,
    local_days,
)
from optimizer.costing.intervals import SiteInterval, session_metering, site_intervals, unassigned_metering
from optimizer.costing.pauses import paused_h
from optimizer.costing.records import (
    SessionPart,
    adjustment_record,
    final_record,
    input_hash,
    provisional_record,
    record_id,
)
from optimizer.costing.registers import MeterFinding
from optimizer.domain.cost import CostAllocation, EnergyCostRecord, RecordStatus, SiteBill
from optimizer.domain.ids import RecordId, SessionId
from optimizer.domain.metering import MeteredInterval, MeterSample, ReadingReason
from optimizer.domain.moment import Interval
from optimizer.domain.session import Session
from optimizer.domain.site import Site
from optimizer.domain.tariff import Tariff
from optimizer.errors import Conflict, InvalidInput, SourceUnavailable
from optimizer.ports import Clock, Stores, TariffSource

PATIENCE = timedelta(hours=1)
"""Readings are waited for this long; stations that send their queue after an outage mostly do so within the hour."""

MARGIN = timedelta(days=1)
"""How far around a window idle stations' samples are read, for what they counted across its ends."""

PAGE = 500
"""Sessions read at once."""

REMEMBERED_DAYS = 32
"""Days of site intervals kept in memory: a billing month and the day that is running."""

_STEP = timedelta(minutes=SETTLEMENT_MINUTES)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

Result = TypeVar("Result")


class Offload(Protocol):
    """Runs a computation of up to a few seconds, so that others may go on meanwhile."""

    async def __call__(self, work: Callable[[], Result], /) -> Result:
        """The result of ``work``."""
        ...


async def at_once(work: Callable[[], Result], /) -> Result:
    """Compute where we are, for simulations and tests."""
    return work()


@dataclass(frozen=True, slots=True)
class Settled:
    """A session has its provisional record of every billing window it touched."""

    session_id: SessionId
    """Which session."""
    records: tuple[EnergyCostRecord, ...]
    """Those that are new; none where it had been settled before."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A session cannot be settled yet."""

    session_id: SessionId
    """Which session."""
    reason: str
    """What is waited for, for people."""


SessionOutcome = Settled | Waiting


class WindowSettlement(NamedTuple):
    """A window's bill and who bears which part of it."""

    bill: SiteBill
    """What the site owes."""
    allocation: CostAllocation
    """Who bears it."""
    report: BalanceReport
    """That it adds up, and what was wrong with the readings."""


@dataclass(frozen=True)
class _Evidence:
    """All that was metered in a window."""

    window: Interval
    tariff: Tariff
    site: tuple[SiteInterval, ...]
    parts: tuple[SessionPart, ...]
    unassigned: tuple[MeteredInterval, ...]
    findings: tuple[MeterFinding, ...]
    missing: tuple[str, ...]


class Settlement:
    """Settles sessions and billing windows of one site.

    Args:
        site: Whose energy.
        stores: Where meters, sessions and records are kept.
        tariffs: Gives the tariff with its prices.
        clock: Tells the time records are made at.
        calendar: Which billing windows follow one another.
        patience: How long missing readings are waited for.
        offload: Runs the longer computations.
    """

    def __init__(
        self,
        site: Site,
        stores: Stores,
        tariffs: TariffSource,
        clock: Clock,
        *,
        calendar: BillingCalendar = billing_months,
        patience: timedelta = PATIENCE,
        offload: Offload = at_once,
    ) -> None:
        self._site = site
        self._stores = stores
        self._tariffs = tariffs
        self._clock = clock
        self._calendar = calendar
        self._patience = patience
        self._offload = offload
        self._greatest_kw = {evse.id: evse.max_power_kw for evse in site.evses.values()}
        # These only spare work; after a restart they are filled again.
        self._past_days: dict[tuple[datetime, ...], tuple[SiteInterval, ...]] = {}
        self._settled: set[SessionId] = set()
        self._settled_through: SessionId | None = None

    async def settle_session(self, session: Session) -> SessionOutcome:
        """Make the provisional records of a session that has ended, unless it has them.

        Returns:
            The new records, or what is waited for; then `settle_unsettled` makes them later.
        """
        if session.unplugged_at is None:
            return Waiting(session.id, "it is still plugged in")
        stay = _stay(session, session.unplugged_at)
        held = await self._stores.records.records(self._site.id, session_id=session.id)
        stated = [record.window for record in held if record.status is not RecordStatus.ADJUSTMENT]
        if _fill(stated, stay):
            return Settled(session.id, ())
        steps = _whole_steps(stay)
        try:
            tariff = await self._tariffs.tariff(self._site.id, steps.start, steps.end)
        except SourceUnavailable as error:
            return Waiting(session.id, f"no prices: {error}")
        open_parts = [(window, part) for window, part in self._parts(stay, tariff) if part not in stated]
        samples = await self._stores.meters.session_samples(session.id)
        if self._clock.now() < session.unplugged_at + self._patience:
            missing = await self._missing(session, samples, steps.end)
            if missing:
                return Waiting(session.id, missing)
        records = [await self._provisional(session, samples, tariff, *each) for each in open_parts]
        return Settled(session.id, await self._added(records))

    async def settle_unsettled(self) -> tuple[SessionOutcome, ...]:
        """Settle every session that has ended and has no record yet, those that ended while we were down included.

        Returns:
            One outcome for each session that got records or has to wait.
        """
        outcomes: list[SessionOutcome] = []
        all_settled = True
        async for session in self._sessions(self._settled_through):
            settled = session.id in self._settled
            if not settled and not session.is_active:
                outcome = await self.settle_session(session)
                settled = isinstance(outcome, Settled)
                if isinstance(outcome, Waiting) or outcome.records:
                    outcomes.append(outcome)
            all_settled = all_settled and settled
            if all_settled:
                self._settled_through = session.id
                self._settled.discard(session.id)
            elif settled:
                self._settled.add(session.id)
        return tuple(outcomes)

    async def close_window(self, window: Interval) -> WindowSettlement:
        """Bill a window that is over, share the bill, and store bill, final records and adjustments.

        Closing it again changes nothing, unless readings came late: then the bill is replaced, and sessions whose share
        changed get adjustments of their final records.

        Raises:
            InvalidInput: ``window`` is not one of the billing windows.
            Conflict: It is not over, or readings are missing that may still come.
            SourceUnavailable: A part of it has no price.
        """
        now = self._clock.now()
        if now < window.end:
            raise Conflict(f"the window ends at {window.end.isoformat()}; it can be closed from then on")
        evidence = await self._evidence(window)
        proper = self._calendar(evidence.tariff, window.start)
        if window != proper:
            fix = f"close a whole billing window, here {proper.start.isoformat()} to {proper.end.isoformat()}"
            raise InvalidInput("window", f"{window.start.isoformat()} to {window.end.isoformat()}", fix)
        if evidence.missing and now < window.end + self._patience:
            raise Conflict(f"waiting for {'; '.join(evidence.missing)}")
        settlement = await self._offload(lambda: self._settlement(evidence))
        records = await self._closing_records(evidence, settlement.allocation)
        async with self._stores.together():
            await self._stores.records.save_bill(settlement.bill)
            for record in records:
                await self._stores.records.add_record(record)
        return settlement

    async def close_finished_windows(self) -> tuple[WindowSettlement, ...]:
        """Close every billing window that is over and has no bill, from the first session on.

        Stops at the first window whose readings may still come.

        Raises:
            SourceUnavailable: A part of a window has no price.
        """
        start = await self._first_unbilled()
        closed: list[WindowSettlement] = []
        while start is not None and start < self._clock.now():
            step = _step_start(start)
            tariff = await self._tariffs.tariff(self._site.id, step, step + _STEP)
            window = self._calendar(tariff, start)
            try:
                closed.append(await self.close_window(window))
            except Conflict:
                break
            start = window.end
        return tuple(closed)

    async def preview(self, window: Interval) -> WindowSettlement:
        """Bill and shares of any window as far as the site's meter has come; nothing is stored.

        Raises:
            Conflict: The meter has not reached the first step of the window.
            SourceUnavailable: A part of it has no price.
        """
        newest = await self._stores.meters.latest_site_reading(self._site.id)
        reached = window.start if newest is None else min(_step_start(newest.at), window.end)
        if reached <= window.start:
            raise Conflict(f"no reading of the site meter after {window.start.isoformat()} yet")
        evidence = await self._evidence(Interval(window.start, reached))
        return await self._offload(lambda: self._settlement(evidence))

    def _settlement(self, evidence: _Evidence) -> WindowSettlement:
        bill = site_bill(self._site.id, evidence.site, evidence.tariff, evidence.window)
        meterings = [part.metering for part in evidence.parts]
        allocation = allocate(bill, evidence.site, meterings, evidence.unassigned, evidence.tariff)
        return WindowSettlement(bill, allocation, balance_report(allocation, evidence.findings))

    async def _provisional(
        self, session: Session, samples: Sequence[MeterSample], tariff: Tariff, window: Interval, part: Interval
    ) -> EnergyCostRecord:
        so_far = Interval(window.start, min(_whole_steps(part).end, window.end))
        site, _ = await self._site_intervals(tariff, so_far)
        metering, _ = session_metering(session.id, samples, _boundaries(site), self._greatest_kw.get(session.evse_id))
        cost_part = SessionPart(session.id, part, metering, paused_h(session.paused, part))
        made_at = self._clock.now()
        return await self._offload(lambda: provisional_record(self._site.id, cost_part, site, tariff, made_at))

    async def _closing_records(self, evidence: _Evidence, allocation: CostAllocation) -> list[EnergyCostRecord]:
        """The records that closing a window adds, given those that are there."""
        meterings = [part.metering for part in evidence.parts]
        digest = await self._offload(lambda: input_hash(evidence.tariff, evidence.site, meterings, evidence.unassigned))
        made_at = self._clock.now()
        new: list[EnergyCostRecord] = []
        for part in evidence.parts:
            held = await self._stores.records.records(self._site.id, session_id=part.session_id)
            by_id = {record.id: record for record in held}
            provisional = by_id.get(record_id(part.session_id, RecordStatus.PROVISIONAL, part.window))
            final = by_id.get(record_id(part.session_id, RecordStatus.FINAL, part.window))
            follows = provisional.id if provisional else None
            share = final_record(allocation, part, evidence.tariff, digest, made_at, follows)
            if final is None:
                new.append(share)
            stated = final or provisional
            if stated is not None:
                corrections = [record for record in held if _is_adjustment_of(record, stated.id)]
                adjustment = adjustment_record(share, [stated, *corrections])
                new += [adjustment] if adjustment else []
        return new

    async def _evidence(self, window: Interval) -> _Evidence:
        """Read all meters of a window."""
        tariff = await self._tariffs.tariff(self._site.id, window.start, window.end)
        site, findings = await self._site_intervals(tariff, window, remembered=False)
        grid = _boundaries(site)
        around = await self._stores.meters.station_samples(self._site.id, window.start - MARGIN, window.end + MARGIN)
        samples_of: dict[SessionId, list[MeterSample]] = defaultdict(list)
        for sample, session_id in around:
            if session_id is not None:
                samples_of[session_id].append(sample)
        newest = await self._stores.meters.latest_site_reading(self._site.id)
        missing = [] if newest and newest.at >= window.end else ["the site meter's reading at the end of the window"]
        parts = []
        async for session, stay in self._sessions_in(window):
            part = Interval(max(stay.start, window.start), min(stay.end, window.end))
            samples: Sequence[MeterSample] = samples_of[session.id]
            if stay != part:
                samples = await self._stores.meters.session_samples(session.id)
            metering, own_findings = session_metering(session.id, samples, grid, self._greatest_kw.get(session.evse_id))
            findings += own_findings
            parts.append(SessionPart(session.id, part, metering, paused_h(session.paused, part)))
            if not _reaches(samples, part.end) and self._clock.now() < part.end + self._patience:
                missing.append(f"the last meter values of session {session.id}")
        unassigned, idle_findings = unassigned_metering(around, grid, self._greatest_kw)
        findings += idle_findings
        return _Evidence(window, tariff, site, tuple(parts), unassigned, findings, tuple(missing))

    async def _missing(self, session: Session, samples: Sequence[MeterSample], until: datetime) -> str:
        """What the record of an ended session has to wait for; empty where nothing is missing."""
        if session.unplugged_at is not None and not _reaches(samples, session.unplugged_at):
            return "the station's last meter value"
        newest = await self._stores.meters.latest_site_reading(self._site.id)
        return "" if newest and newest.at >= until else f"the site meter's reading at {until.isoformat()}"

    async def _added(self, records: Iterable[EnergyCostRecord]) -> tuple[EnergyCostRecord, ...]:
        """Store records together; those that are new."""
        async with self._stores.together():
            return tuple([record for record in records if await self._stores.records.add_record(record)])

    def _parts(self, stay: Interval, tariff: Tariff) -> list[tuple[Interval, Interval]]:
        """The billing windows that a stay touches, each with the part of the stay inside."""
        window = self._calendar(tariff, stay.start)
        parts = []
        while window.start < stay.end:
            parts.append((window, Interval(max(stay.start, window.start), min(stay.end, window.end))))
            window = self._calendar(tariff, window.end)
        return parts

    async def _sessions(self, after: SessionId | None = None) -> AsyncIterator[Session]:
        """All sessions in the order of plug-in."""
        while page := await self._stores.sessions.sessions(self._site.id, after=after, limit=PAGE):
            for session in page:
                yield session
            after = page[-1].id

    async def _sessions_in(self, window: Interval) -> AsyncIterator[tuple[Session, Interval]]:
        """The sessions with a part in ``window``, each with its stay until the window's end at the longest."""
        async for session in self._sessions():
            if session.plugged_in_at >= window.end:
                return
            stay = _stay(session, session.unplugged_at or window.end)
            if stay.end > window.start:
                yield session, stay

    async def _first_unbilled(self) -> datetime | None:
        """The first instant that no bill covers, from the first session on; ``None`` before any session."""
        bills = await self._stores.records.bills(self._site.id)
        if bills:
            return max(bill.window.end for bill in bills)
        first = await self._stores.sessions.sessions(self._site.id, limit=1)
        return first[0].plugged_in_at if first else None

    async def _site_intervals(
        self, tariff: Tariff, span: Interval, *, remembered: bool = True
    ) -> tuple[tuple[SiteInterval, ...], tuple[MeterFinding, ...]]:
        """The site's metered intervals of ``span``, read day by day.

        Days that lie back further than readings are waited for may be ``remembered``: a month is not read at each
        plug-out.
        """
        intervals: list[SiteInterval] = []
        findings: list[MeterFinding] = []
        for whole_day in local_days(span, tariff.zone):
            day = Interval(max(whole_day.start, span.start), min(whole_day.end, span.end))
            grid = costing_grid(tariff, day)
            known = self._past_days.get(grid) if remembered else None
            if known is None:
                readings = await self._stores.meters.site_readings(self._site.id, day.start, day.end)
                known, of_day = site_intervals(readings, grid)
                findings += of_day
                if remembered and day == whole_day and day.end + self._patience < self._clock.now():
                    self._remember(grid, known)
            intervals += known
        return tuple(intervals), tuple(findings)

    def _remember(self, grid: tuple[datetime, ...], day: tuple[SiteInterval, ...]) -> None:
        while len(self._past_days) >= REMEMBERED_DAYS:
            del self._past_days[next(iter(self._past_days))]
        self._past_days[grid] = day


def _stay(session: Session, until: datetime) -> Interval:
    """From plug-in until plug-out; at least an instant long, so that the shortest session is recorded too."""
    return Interval(session.plugged_in_at, max(until, session.plugged_in_at + timedelta.resolution))


def _reaches(samples: Sequence[MeterSample], end: datetime) -> bool:
    """Whether samples tell all energy until ``end``: one was taken at or after it, or closed the transaction.

    The end of a transaction counts without a register too: a very short one may have none, and none follows.
    """
    telling = [sample for sample in samples if sample.register_kwh is not None or _ends_transaction(sample)]
    last = max(telling, key=_by_time, default=None)
    return last is not None and (last.at >= end or _ends_transaction(last))


def _ends_transaction(sample: MeterSample) -> bool:
    return sample.reason is ReadingReason.TRANSACTION_END


def _by_time(sample: MeterSample) -> tuple[datetime, bool]:
    return sample.at, _ends_transaction(sample)


def _whole_steps(span: Interval) -> Interval:
    """``span`` widened to whole settlement steps."""
    return Interval(_step_start(span.start), -(-(span.end - _EPOCH) // _STEP) * _STEP + _EPOCH)


def _step_start(instant: datetime) -> datetime:
    """Start of the settlement step of ``instant``; quarter-hours are the same in every zone."""
    return (instant - _EPOCH) // _STEP * _STEP + _EPOCH


def _boundaries(site: Sequence[SiteInterval]) -> tuple[datetime, ...]:
    return (*(step.interval.start for step in site), site[-1].interval.end)


def _fill(parts: Iterable[Interval], whole: Interval) -> bool:
    """Whether parts cover the whole without a gap."""
    reached = whole.start
    for part in sorted(parts, key=lambda each: each.start):
        if part.start <= reached:
            reached = max(reached, part.end)
    return reached >= whole.end


def _is_adjustment_of(record: EnergyCostRecord, stated: RecordId) -> bool:
    return record.status is RecordStatus.ADJUSTMENT and record.corrects == stated
