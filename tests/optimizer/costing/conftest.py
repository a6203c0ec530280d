"""Small builders of meters and tariffs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from optimizer.costing.billing_time import costing_grid
from optimizer.costing.intervals import SiteInterval
from optimizer.domain.ids import EvseId, SessionId, SiteId, StationId, TariffId
from optimizer.domain.metering import MeteredInterval, MeterSample, SessionMetering, SiteMeterReading
from optimizer.domain.moment import Interval
from optimizer.domain.tariff import DemandCharge, EnergyBand, Tariff, TariffWindow


class Build:
    """Makes what costing takes; amounts may be written as numbers or text."""

    site_id = SiteId("garage")

    def tariff(
        self,
        *bands: EnergyBand,
        zone: str = "UTC",
        demand: Sequence[DemandCharge] = (),
        export: str = "0",
        currency: str = "EUR",
        **more: object,
    ) -> Tariff:
        chosen = bands or (() if "market" in more else (self.band("energy", "0.30"),))
        return Tariff(TariffId("t1"), "test", currency, zone, chosen, tuple(demand), Decimal(export), **more)

    def band(self, name: str, price: str, **window: object) -> EnergyBand:
        return EnergyBand(name, TariffWindow(**window), Decimal(price))

    def charge(self, name: str, price: str, minutes: int = 15, **window: object) -> DemandCharge:
        return DemandCharge(name, Decimal(price), TariffWindow(**window), minutes)

    def day(self, on: str = "2026-06-01", zone: str = "UTC", days: int = 1) -> Interval:
        start = datetime.combine(date.fromisoformat(on), datetime.min.time(), ZoneInfo(zone))
        return Interval(start, start + timedelta(days=days))

    def site(
        self,
        tariff: Tariff,
        window: Interval,
        steps: dict[int, tuple[str | None, ...]] | None = None,
        pv: bool = True,
        building: bool = True,
    ) -> tuple[SiteInterval, ...]:
        """Intervals of a window; ``steps`` gives (import, export, PV, building) by index, what is left out is zero."""
        grid = costing_grid(tariff, window)
        made = []
        for index, (start, end) in enumerate(pairwise(grid)):
            given = [Decimal(value or 0) for value in (steps or {}).get(index, ())]
            values = given + [Decimal(0)] * (4 - len(given))
            made.append(
                SiteInterval(
                    Interval(start, end),
                    values[0],
                    values[1],
                    values[2] if pv else None,
                    values[3] if building else None,
                )
            )
        return tuple(made)

    def metering(self, name: str, site: Sequence[SiteInterval], steps: dict[int, str]) -> SessionMetering:
        """A session that takes ``steps``' energy, by index."""
        parts = tuple(MeteredInterval(site[index].interval, Decimal(steps[index])) for index in sorted(steps))
        return SessionMetering(SessionId(name), parts)

    def giving(self, name: str, site: Sequence[SiteInterval], steps: dict[int, tuple[str, str]]) -> SessionMetering:
        """A session that takes and gives back energy, by index."""
        parts = tuple(
            MeteredInterval(site[index].interval, Decimal(taken), returned_kwh=Decimal(given))
            for index, (taken, given) in sorted(steps.items())
        )
        return SessionMetering(SessionId(name), parts)

    def sample(self, at: datetime, register: str | None, evse: str = "E1", **more: object) -> MeterSample:
        kwh = None if register is None else Decimal(register)
        return MeterSample(StationId(f"station of {evse}"), EvseId(evse), at, register_kwh=kwh, **more)

    def reading(self, at: datetime, *registers: str | None) -> SiteMeterReading:
        return SiteMeterReading(self.site_id, at, *(None if value is None else Decimal(value) for value in registers))

    def at(self, clock: str, on: str = "2026-06-01") -> datetime:
        return datetime.fromisoformat(f"{on}T{clock}").replace(tzinfo=UTC)


@pytest.fixture(scope="session")
def build() -> Build:
    return Build()
