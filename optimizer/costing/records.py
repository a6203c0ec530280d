"""Energy-cost records: what a session's energy cost the site, for billing. They are only ever added.

    plug-out                 window closes                     readings came late, closed again
       |                          |                                   |
    provisional ----------> final = share of the bill                 |
                            adjustment = final - provisional    adjustment = new share - old share

A record covers the part of a session that lies in one billing window. Its id follows from session, status and that
part, so making it again gives the same record, and billing that knows its id takes it once.

Provisional: energy is shared by the same rule and from the same intervals as later on, so its energy lines are final to
the minor unit that rounding by largest remainder may move. The demand charge is accrued: the peak of the window so far,
priced for the days covered so far, shared by the session's part in that peak.

`input_hash` is the SHA-256 over every metered interval and price that went in; with `METHOD` it says what a record was
computed from, and lets anybody compute it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, localcontext
from hashlib import sha256
from itertools import pairwise
from uuid import UUID, uuid5

from optimizer.costing.allocation import EnergyMix
from optimizer.costing.bill import LineKey, demand_peaks, line_order, priced_steps, rounded_lines
from optimizer.costing.intervals import SiteInterval
from optimizer.costing.money import EXACT
from optimizer.domain.cost import CostAllocation, CostLine, EnergyCostRecord, RecordStatus
from optimizer.domain.ids import RecordId, SessionId, SiteId
from optimizer.domain.metering import MeteredInterval, SessionMetering
from optimizer.domain.moment import Interval
from optimizer.domain.tariff import Tariff, TariffWindow

METHOD = "source-tracing/2"
"""Name and version of the method of `allocation`; a change of any amount it gives is a new version."""

_NAMESPACE = UUID("6f0c5d0e-4a52-5b1c-9a53-0d3c1f6f3b7e")


@dataclass(frozen=True, slots=True)
class SessionPart:
    """The part of a session that lies in one billing window."""

    session_id: SessionId
    """Which session."""
    window: Interval
    """The part of its stay."""
    metering: SessionMetering
    """Its metered intervals inside the billing window."""
    optimizer_pause_h: Decimal = Decimal(0)
    """Time at a limit of zero that we caused [h]."""

    @property
    def energy_kwh(self) -> Decimal:
        """Metered energy [kWh]."""
        return sum((metered.energy_kwh for metered in self.metering.intervals), Decimal(0))

    @property
    def returned_kwh(self) -> Decimal:
        """Metered energy given back [kWh]."""
        return sum((metered.returned_kwh for metered in self.metering.intervals), Decimal(0))


def record_id(session_id: SessionId, status: RecordStatus, window: Interval, distinction: str = "") -> RecordId:
    """The id of a record, the same for the same session, status and window.

    Args:
        session_id: Whose record.
        status: Where it stands.
        window: The part of the session.
        distinction: Tells corrections of one record apart.
    """
    name = "|".join((session_id, status, window.start.isoformat(), window.end.isoformat(), distinction))
    return RecordId(str(uuid5(_NAMESPACE, name)))


def provisional_record(
    site_id: SiteId, part: SessionPart, site: Sequence[SiteInterval], tariff: Tariff, made_at: datetime
) -> EnergyCostRecord:
    """The record of a session at its end.

    Args:
        site_id: Which site.
        part: The session.
        site: The site's metered intervals from the start of the billing window to the end of the step that the session
            ended in; all that the method knows of the window so far.
        tariff: What the site pays, with the prices of that time.
        made_at: Now [UTC].

    Raises:
        InvalidInput: The intervals do not reach over the session's, or are not cut at the costing grid.
    """
    with localcontext(EXACT):
        lines = _accrued_lines(part.metering.intervals, site, tariff)
    digest = input_hash(tariff, site, [part.metering], ())
    return _record(site_id, part, RecordStatus.PROVISIONAL, lines, tariff, digest, made_at)


def final_record(
    allocation: CostAllocation,
    part: SessionPart,
    tariff: Tariff,
    digest: str,
    made_at: datetime,
    follows: RecordId | None = None,
) -> EnergyCostRecord:
    """The record of a session's share of a bill.

    Args:
        allocation: The bill and its shares.
        part: The session's part in the bill's window.
        tariff: What the site pays.
        digest: `input_hash` of all that was allocated.
        made_at: Now [UTC].
        follows: The provisional record, where there is one.
    """
    lines = allocation.session_lines[part.session_id]
    record = _record(allocation.bill.site_id, part, RecordStatus.FINAL, lines, tariff, digest, made_at)
    return replace(record, corrects=follows)


def adjustment_record(record: EnergyCostRecord, earlier: Sequence[EnergyCostRecord]) -> EnergyCostRecord | None:
    """What ``record`` says more than the records before it; ``None`` where it says nothing new.

    Args:
        record: The newest statement of a session's whole cost in a window.
        earlier: The statement that billing holds, and the adjustments of it, in the order they were made.
    """
    held = earlier[0]
    lines = _line_differences(record.lines, [line for each in earlier for line in each.lines])
    energy_kwh = record.energy_kwh - sum((each.energy_kwh for each in earlier), Decimal(0))
    returned_kwh = record.returned_kwh - sum((each.returned_kwh for each in earlier), Decimal(0))
    pause_h = record.optimizer_pause_h - sum((each.optimizer_pause_h for each in earlier), Decimal(0))
    if not lines and not energy_kwh and not returned_kwh and not pause_h:
        return None
    distinction = "|".join(sorted({each.id for each in earlier})) + record.input_hash
    return replace(
        record,
        id=record_id(record.session_id, RecordStatus.ADJUSTMENT, record.window, distinction),
        status=RecordStatus.ADJUSTMENT,
        energy_kwh=energy_kwh,
        returned_kwh=returned_kwh,
        lines=lines,
        optimizer_pause_h=pause_h,
        corrects=held.id,
    )


def input_hash(
    tariff: Tariff,
    site: Sequence[SiteInterval],
    sessions: Iterable[SessionMetering],
    unassigned: Iterable[MeteredInterval],
) -> str:
    """SHA-256 over the metered intervals and the tariff that a cost is computed from, in hexadecimal digits.

    Equal numbers give equal digits, however they are written; the order of the sessions does not matter.
    """
    digest = sha256(METHOD.encode())
    span = Interval(site[0].interval.start, site[-1].interval.end)
    for text in _tariff_terms(tariff, span):
        digest.update(f"{text}\n".encode())
    for step in site:
        values = (step.import_kwh, step.export_kwh, step.pv_kwh, step.building_kwh)
        digest.update(f"site {step.interval.start.isoformat()} {' '.join(map(_digits, values))}\n".encode())
    for metering in sorted(sessions, key=lambda each: each.session_id):
        digest.update(f"session {metering.session_id}\n{_metered_digits(metering.intervals)}".encode())
    digest.update(f"unassigned\n{_metered_digits(unassigned)}".encode())
    return digest.hexdigest()


def _record(
    site_id: SiteId,
    part: SessionPart,
    status: RecordStatus,
    lines: tuple[CostLine, ...],
    tariff: Tariff,
    digest: str,
    made_at: datetime,
) -> EnergyCostRecord:
    return EnergyCostRecord(
        id=record_id(part.session_id, status, part.window),
        site_id=site_id,
        session_id=part.session_id,
        status=status,
        made_at=made_at,
        window=part.window,
        currency=tariff.currency,
        energy_kwh=part.energy_kwh,
        lines=lines,
        tariff_id=tariff.id,
        tariff_version=tariff.version,
        method=METHOD,
        input_hash=digest,
        optimizer_pause_h=part.optimizer_pause_h,
        returned_kwh=part.returned_kwh,
    )


def _accrued_lines(
    intervals: Sequence[MeteredInterval], site: Sequence[SiteInterval], tariff: Tariff
) -> tuple[CostLine, ...]:
    """What metered energy costs, with the demand charge as far as it has come."""
    if not intervals:
        return ()
    peaks = demand_peaks(site, tariff, Interval(site[0].interval.start, site[-1].interval.end))
    start, end = intervals[0].interval.start, intervals[-1].interval.end
    during = [step for step in site if step.interval.start < end and start < step.interval.end]
    steps = priced_steps(during, tariff, Interval(during[0].interval.start, during[-1].interval.end))
    mix = EnergyMix.of(steps, peaks, tariff, {peak.label: peak.amount for peak in peaks})
    lines = rounded_lines(mix.ledger_of(intervals, mix.exported_shares([intervals])), tariff.currency)
    return tuple(line for line in lines if any(_figures(line)))


def _figures(line: CostLine) -> tuple[Decimal, ...]:
    return (line.quantity, line.amount, line.opportunity_amount, line.returned_quantity)


def _line_differences(newer: Iterable[CostLine], older: Iterable[CostLine]) -> tuple[CostLine, ...]:
    """Newer less older, line by line, without lines that are equal."""
    sums: dict[LineKey, list[Decimal]] = {}
    for sign, lines in ((1, newer), (-1, older)):
        for line in lines:
            values = _figures(line)
            held = sums.setdefault((line.component, line.label), [Decimal(0)] * len(values))
            sums[line.component, line.label] = [
                so_far + sign * value for so_far, value in zip(held, values, strict=True)
            ]
    return tuple(CostLine(*key, *sums[key]) for key in sorted(sums, key=line_order) if any(sums[key]))


def _tariff_terms(tariff: Tariff, span: Interval) -> Iterable[str]:
    """Everything in a tariff that has a say in ``span``."""
    yield f"{tariff.currency} {tariff.time_zone} export {_digits(tariff.export_price_per_kwh)}"
    for band in tariff.energy_bands:
        yield f"band {band.name} {_digits(band.price_per_kwh)} {_window_terms(band.window)}"
    for charge in tariff.demand_charges:
        price = _digits(charge.price_per_kw)
        yield f"demand {charge.name} {price} {charge.interval_minutes} {_window_terms(charge.window)}"
    if tariff.market is not None:
        for (start, end), price_per_kwh in zip(
            pairwise(tariff.market.boundaries), tariff.market.prices_per_kwh, strict=True
        ):
            if start < span.end and span.start < end:
                yield f"market {start.isoformat()} {_digits(price_per_kwh)}"


def _window_terms(window: TariffWindow) -> str:
    days = "".join(map(str, sorted(window.weekdays)))
    return f"{window.first_day} {window.last_day} {days} {window.start} {window.end}"


def _metered_digits(intervals: Iterable[MeteredInterval]) -> str:
    return "".join(
        f"{metered.interval.start.isoformat()} {metered.interval.end.isoformat()} {_digits(metered.energy_kwh)}"
        f"{' back ' + _digits(metered.returned_kwh) if metered.returned_kwh else ''}\n"
        for metered in intervals
    )


def _digits(value: Decimal | None) -> str:
    """A number in one way of writing it."""
    return "-" if value is None else f"{EXACT.normalize(value):f}"
