"""Who bears which part of a site's bill: sessions, building, losses, unassigned. To the cent, line by line.

Source tracing: in each step of the grid, at most a quarter of an hour long, all energy used at the site is one mix.

    PV ----------+---------> export           used = import + (PV - export)
                 |
    grid ------> mix -----+----> sessions     each kWh of it:
                          +----> building         grid_share = import / used    at the price in force
                          +----> losses           1 - grid_share                from PV, at no cost
                          +----> unassigned

- A session's kWh are its meter's; so its cost depends on its own meter, the site meter and the tariff alone, never on
  what other submeters say.
- **Unassigned** is what stations counted on no session.
- **Losses** are what the site's meters counted beyond all submeters. Where the submeters count more (tolerance of the
  meters, PV or a stationary battery without a meter of its own), losses are negative and get the money back at the
  same mix; nobody else's share changes.
- Where the **building** has no meter it is the balance, and losses, which cannot be told apart, are zero.
- **Demand charge**: by peak-set weights. Every interval within 1 % of the peak counts equally, and within it everyone
  by the share of grid energy used then. After optimisation a peak is flat; which of its intervals is highest is chance.
- What a vehicle **gives back** (V2G) is no import of it: it is taken off its kWh in the step, at the same mix, for it
  spares the others just that. Where more goes to the grid than PV gives, that part brings the vehicle the export price.
  Lines tell both: ``quantity`` is what was taken less what was given back, ``returned_quantity`` the latter.
- **Export revenue** and the forgone revenue of used PV: export is the building's, which owns the PV; the forgone
  revenue is told on the lines of those who used the PV and charged to nobody.
- What the mix gives exactly is rounded by largest remainder, so that for each line the shares add up to the bill.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from typing import NamedTuple

from optimizer.costing.bill import (
    EXPORT_LABEL,
    PV_LABEL,
    QUANTITY_UNIT,
    DemandPeak,
    Ledger,
    LineKey,
    SiteStep,
    add_export,
    add_pv,
    demand_peaks,
    new_ledger,
    priced_steps,
)
from optimizer.costing.intervals import SiteInterval
from optimizer.costing.money import EXACT, apportioned, minor_unit, rounded
from optimizer.domain.cost import CostAllocation, CostComponent, CostLine, Payer, SiteBill
from optimizer.domain.ids import SessionId
from optimizer.domain.metering import MeteredInterval, SessionMetering
from optimizer.domain.moment import Interval
from optimizer.domain.tariff import Tariff
from optimizer.errors import InvalidInput

ZERO = Decimal(0)


class Party(NamedTuple):
    """Someone who bears a share; the order decides who gets a cent where remainders are equal."""

    rank: int
    """0 for sessions, by their id; then building, losses, unassigned."""
    name: str
    """The session's id, or the payer."""


def party_of(bearer: SessionId | Payer) -> Party:
    """The party of a session or another payer."""
    if isinstance(bearer, Payer):
        return Party(1 + list(Payer).index(bearer), bearer)
    return Party(0, bearer)


@dataclass(frozen=True, slots=True)
class _Mix:
    """What one kWh used in a step is made of and costs."""

    step: SiteStep
    grid_share: Decimal
    demand: tuple[tuple[str, Decimal, Decimal], ...]
    """For each demand charge whose peak set holds the step: label, and kW and money for each kWh from the grid."""


@dataclass(frozen=True)
class EnergyMix:
    """The mix of every step of a window: turns metered energy into exact lines."""

    starts: tuple[datetime, ...]
    """Start of each step [UTC]."""
    mixes: tuple[_Mix, ...]
    """One a step."""
    tariff: Tariff
    """Prices."""

    @classmethod
    def of(
        cls, steps: Sequence[SiteStep], peaks: Sequence[DemandPeak], tariff: Tariff, amounts: Mapping[str, Decimal]
    ) -> EnergyMix:
        """The mix of priced ``steps``.

        Args:
            steps: The priced steps of the window.
            peaks: The demand charges and their peak sets.
            tariff: Prices.
            amounts: What each demand charge comes to, by label [currency].
        """
        starts = tuple(step.site.interval.start for step in steps)
        demand: dict[int, list[tuple[str, Decimal, Decimal]]] = defaultdict(list)
        for peak in peaks:
            for interval, import_kwh in peak.peak_set:
                weight = EXACT.divide(Decimal(1), len(peak.peak_set) * import_kwh)
                entry = (peak.label, weight * peak.peak_kw, weight * amounts[peak.label])
                for index in range(bisect_left(starts, interval.start), bisect_left(starts, interval.end)):
                    demand[index].append(entry)
        mixes = tuple(_Mix(step, step.grid_share, tuple(demand.get(index, ()))) for index, step in enumerate(steps))
        return cls(starts, mixes, tariff)

    def step_of(self, interval: Interval) -> int:
        """Which step an interval lies in.

        Raises:
            InvalidInput: It lies in none, or in more than one.
        """
        index = bisect_right(self.starts, interval.start) - 1
        if index < 0 or interval.end > self.mixes[index].step.site.interval.end:
            raise InvalidInput("interval", interval, "cut metered energy at the costing grid of the window")
        return index

    def add(self, ledger: Ledger, index: int, energy_kwh: Decimal, returned_kwh: Decimal = ZERO) -> None:
        """Add what ``energy_kwh`` used in a step costs, less what ``returned_kwh`` spared the others there."""
        if not energy_kwh and not returned_kwh:
            return
        mix = self.mixes[index]
        net_kwh = energy_kwh - returned_kwh
        bought_kwh, credited_kwh = net_kwh * mix.grid_share, returned_kwh * mix.grid_share
        if bought_kwh or credited_kwh:
            line = ledger[CostComponent.GRID_ENERGY, mix.step.band]
            line.add(bought_kwh, bought_kwh * mix.step.price_per_kwh)
            line.returned_quantity += credited_kwh
        add_pv(ledger, net_kwh - bought_kwh, self.tariff)
        if returned_kwh != credited_kwh:
            ledger[CostComponent.PV_ENERGY, PV_LABEL].returned_quantity += returned_kwh - credited_kwh
        for label, kw_per_kwh, amount_per_kwh in mix.demand:
            ledger[CostComponent.DEMAND_CHARGE, label].add(bought_kwh * kw_per_kwh, bought_kwh * amount_per_kwh)

    def ledger_of(self, intervals: Sequence[MeteredInterval], exported_shares: Sequence[Decimal]) -> Ledger:
        """What the energy of one meter costs.

        Args:
            intervals: What it counted.
            exported_shares: Share of what vehicles gave back that went to the grid, one a step.
        """
        ledger = new_ledger()
        for metered in intervals:
            index = self.step_of(metered.interval)
            exported_kwh = metered.returned_kwh * exported_shares[index]
            self.add(ledger, index, metered.energy_kwh, metered.returned_kwh - exported_kwh)
            if exported_kwh:
                add_export(ledger, exported_kwh, self.tariff)
                ledger[CostComponent.EXPORT_REVENUE, EXPORT_LABEL].returned_quantity += exported_kwh
        return ledger

    def exported_shares(self, sessions: Sequence[Sequence[MeteredInterval]]) -> list[Decimal]:
        """Share of what vehicles gave back in each step that went to the grid: export that no PV explains."""
        returned_kwh = [ZERO] * len(self.mixes)
        for metered in (part for intervals in sessions for part in intervals if part.returned_kwh):
            returned_kwh[self.step_of(metered.interval)] += metered.returned_kwh
        shares = []
        for mix, given_kwh in zip(self.mixes, returned_kwh, strict=True):
            beyond_pv_kwh = max(ZERO, mix.step.site.export_kwh - (mix.step.site.pv_kwh or ZERO))
            shares.append(EXACT.divide(min(given_kwh, beyond_pv_kwh), given_kwh) if given_kwh else ZERO)
        return shares


def allocate(
    bill: SiteBill,
    site: Sequence[SiteInterval],
    sessions: Sequence[SessionMetering],
    unassigned: Sequence[MeteredInterval],
    tariff: Tariff,
) -> CostAllocation:
    """Share a bill among those who used the energy; the method stands at the top of this file.

    Args:
        bill: What the site owes for a window, made by `bill.site_bill` from the same intervals.
        site: The site's metered intervals, which fill the window; building and PV among them.
        sessions: The metered intervals of every session, cut at the same grid; their order does not matter.
        unassigned: Energy that stations counted on no session.
        tariff: What the site pays.

    Raises:
        InvalidInput: The intervals do not belong to the bill, are not cut at the grid, or name a session twice.
    """
    by_id = {metering.session_id: metering.intervals for metering in sessions}
    if len(by_id) != len(sessions):
        raise InvalidInput("sessions", len(sessions), f"name each session once; there are {len(by_id)} different ones")
    with localcontext(EXACT):
        steps = priced_steps(site, tariff, bill.window)
        peaks = demand_peaks(site, tariff, bill.window)
        mix = EnergyMix.of(steps, peaks, tariff, _demand_amounts(bill, peaks))
        exported = mix.exported_shares(list(by_id.values()))
        ledgers = {party_of(session_id): mix.ledger_of(by_id[session_id], exported) for session_id in sorted(by_id)}
        ledgers |= _other_ledgers(mix, list(by_id.values()), unassigned, exported)
        lines = _shared_lines(bill, ledgers)
    return CostAllocation(
        bill,
        {session_id: lines[party_of(session_id)] for session_id in sorted(by_id)},
        {payer: lines[party_of(payer)] for payer in Payer},
    )


def _demand_amounts(bill: SiteBill, peaks: Sequence[DemandPeak]) -> dict[str, Decimal]:
    amounts = {line.label: line.amount for line in bill.lines if line.component is CostComponent.DEMAND_CHARGE}
    for peak in peaks:
        if peak.label not in amounts:
            raise InvalidInput("bill", sorted(amounts), f"give the bill of these intervals: no line {peak.label!r}")
    return amounts


def _other_ledgers(
    mix: EnergyMix,
    sessions: Sequence[Sequence[MeteredInterval]],
    unassigned: Sequence[MeteredInterval],
    exported_shares: Sequence[Decimal],
) -> dict[Party, Ledger]:
    """What building, losses and unassigned energy cost."""
    parts = [part for intervals in sessions for part in intervals]
    submetered_kwh, given_to_grid_kwh = _energy_by_step(mix, parts), [ZERO] * len(mix.starts)
    for part in parts:
        if part.returned_kwh:
            index = mix.step_of(part.interval)
            exported_kwh = part.returned_kwh * exported_shares[index]
            submetered_kwh[index] -= part.returned_kwh - exported_kwh
            given_to_grid_kwh[index] += exported_kwh
    unassigned_kwh = _energy_by_step(mix, unassigned)
    ledgers = {payer: new_ledger() for payer in Payer}
    for index, each in enumerate(mix.mixes):
        balance_kwh = each.step.used_kwh - submetered_kwh[index] - unassigned_kwh[index]
        building_kwh = each.step.site.building_kwh
        if building_kwh is None:
            building_kwh = balance_kwh
        mix.add(ledgers[Payer.BUILDING], index, building_kwh)
        mix.add(ledgers[Payer.LOSSES], index, balance_kwh - building_kwh)
        mix.add(ledgers[Payer.UNASSIGNED], index, unassigned_kwh[index])
        add_export(ledgers[Payer.BUILDING], each.step.site.export_kwh - given_to_grid_kwh[index], mix.tariff)
    return {party_of(payer): ledger for payer, ledger in ledgers.items()}


def _energy_by_step(mix: EnergyMix, intervals: Sequence[MeteredInterval]) -> list[Decimal]:
    energy_kwh = [ZERO] * len(mix.starts)
    for metered in intervals:
        if metered.energy_kwh:
            energy_kwh[mix.step_of(metered.interval)] += metered.energy_kwh
    return energy_kwh


def _shared_lines(bill: SiteBill, ledgers: Mapping[Party, Ledger]) -> dict[Party, tuple[CostLine, ...]]:
    """Round every line of the bill among those who have a share in it."""
    unit = minor_unit(bill.currency)
    lines: dict[Party, list[CostLine]] = {party: [] for party in ledgers}
    known: set[LineKey] = {(line.component, line.label) for line in bill.lines}
    unknown = {key for ledger in ledgers.values() for key in ledger} - known
    if unknown:
        raise InvalidInput("bill", sorted(known), f"give the bill of these intervals: no lines {sorted(unknown)}")
    for line in bill.lines:
        key = (line.component, line.label)
        shares = {party: ledger[key] for party, ledger in ledgers.items() if key in ledger}
        quantities = apportioned(
            line.quantity, {party: share.quantity for party, share in shares.items()}, QUANTITY_UNIT
        )
        amounts = apportioned(line.amount, {party: share.amount for party, share in shares.items()}, unit)
        opportunities = apportioned(
            line.opportunity_amount, {party: share.opportunity_amount for party, share in shares.items()}, unit
        )
        for party, share in shares.items():
            parts = (quantities[party], amounts[party], opportunities[party])
            returned = rounded(share.returned_quantity, QUANTITY_UNIT)
            if any(parts) or returned:
                lines[party].append(CostLine(line.component, line.label, *parts, returned_quantity=returned))
    return {party: tuple(own) for party, own in lines.items()}
