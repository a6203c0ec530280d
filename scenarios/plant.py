"""The physical site of virtual stations: what really flows, and the meter at the grid connection.

    grid ══[site meter]══╦═ building
                         ╠═ PV (feeds in)
                         ╠═ battery
                         ╚═ wiring ─ EVSE meters ─ cars       wiring loses a stated share of what the cars draw

The power of everything is piecewise constant, so sums, registers and greatest values are exact at any instant, also
when the event loop is late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import chain

from optimizer.domain.ids import EvseId
from optimizer.domain.metering import SiteMeterReading
from optimizer.domain.moment import require_utc
from optimizer.domain.series import PowerSeries
from optimizer.domain.site import Site
from scenarios.battery_model import BatteryModel
from scenarios.limit_audit import BaseFlow, Draw, LimitAudit
from scenarios.power_trace import PowerTrace, trace_of
from scenarios.station_state import whole_register_kwh
from scenarios.virtual_evse import VirtualEvse

LIMIT_TOLERANCE_KW = 1e-6
"""A sum this little above a limit is the limit: binary fractions do not add up exactly."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is at the site beside the chargers."""

    building: PowerSeries
    """Load of the building; its first and last value hold outside."""
    pv: PowerSeries
    """PV power; likewise."""
    wiring_loss_share: float = 0.01
    """Lost between site meter and EVSE meters, as a share of what the EVSEs draw."""


@dataclass(frozen=True, slots=True)
class Excess:
    """A stretch in which the site drew more than it may."""

    start: datetime
    """First instant above the limit [UTC]."""
    end: datetime
    """First instant within it again [UTC]."""
    greatest_kw: float
    """Greatest import in it [kW]."""
    limit_kw: float
    """The limit then [kW]."""

    @property
    def duration_s(self) -> float:
        """How long it lasted [s]."""
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True, slots=True)
class Extremes:
    """The greatest values ever seen, exactly."""

    charging_kw: float = 0.0
    """Greatest sum of all cars [kW]."""
    charging_at: datetime | None = None
    """When it was reached [UTC]."""
    import_kw: float = 0.0
    """Greatest import of the site [kW]."""
    import_at: datetime | None = None
    """When it was reached [UTC]."""
    current_a: float = 0.0
    """Greatest sum of the cars' currents on any phase [A]."""


class Plant:
    """The site as it truly is, settled up to some instant.

    Args:
        site: What stands there.
        evses: The physics of every EVSE.
        surroundings: Building, PV and losses.
        start: When the meters begin at zero [UTC].
        battery: The stationary battery, where there is one.
    """

    def __init__(
        self,
        site: Site,
        evses: Mapping[EvseId, VirtualEvse],
        surroundings: Surroundings,
        start: datetime,
        battery: BatteryModel | None = None,
    ) -> None:
        self.site = site
        self.evses = evses
        self.battery = battery
        self.audit = LimitAudit(site)
        self.settled_at = require_utc("start", start)
        self.extremes = Extremes()
        self.charging = PowerTrace(start)
        self.grid_import = PowerTrace(start)
        self.grid_export = PowerTrace(start)
        self._surroundings = surroundings
        self._building = trace_of(surroundings.building)
        self._pv = trace_of(surroundings.pv)
        self._start = start
        self._limits: list[tuple[datetime, float]] = [(start, site.grid_connection.import_limit_kw)]
        self._draws: dict[EvseId, Draw] = {}
        self._excesses: list[Excess] = []
        self._open_excess: Excess | None = None

    # ------------------------------------------------------------------ limits

    def set_import_limit(self, limit_kw: float, from_when: datetime) -> None:
        """From an instant on, not before anything settled, the site may import ``limit_kw``."""
        from_when = max(require_utc("from_when", from_when), self.settled_at)
        self._limits = [(when, limit) for when, limit in self._limits if when < from_when]
        self._limits.append((from_when, limit_kw))

    def import_limit_kw(self, at: datetime) -> float:
        """What the site may import at ``at`` [kW]."""
        return [limit for when, limit in self._limits if when <= max(at, self._start)][-1]

    @property
    def excesses(self) -> tuple[Excess, ...]:
        """Every stretch above the limit so far, the one that lasts included."""
        return (*self._excesses, self._open_excess) if self._open_excess else tuple(self._excesses)

    # ------------------------------------------------------------------ what flows

    def settle(self, until: datetime) -> None:
        """Work out everything that flowed until ``until``."""
        if until <= self.settled_at:
            return
        for evse in self.evses.values():
            evse.advance(until)
        if self.battery is not None:
            self.battery.advance(until)
        changes = self._changes(until)
        instants = sorted({self.settled_at, *changes})
        for at, after in zip(instants, [*instants[1:], until], strict=True):
            for evse_id, draw in changes.get(at, ()):
                if draw.power_kw:
                    self._draws[evse_id] = draw
                else:
                    self._draws.pop(evse_id, None)
            self._note(at, after)
        self.settled_at = until

    def _changes(self, until: datetime) -> dict[datetime, list[tuple[EvseId, Draw]]]:
        """What changes in ``[settled_at, until)``, and what merely needs a look, by instant."""
        changes: dict[datetime, list[tuple[EvseId, Draw]]] = {}
        for evse_id, evse in self.evses.items():
            if evse.trace.newest_at < self.settled_at:
                continue
            for step in evse.trace.steps_between(self.settled_at, until):
                changes.setdefault(step.at, []).append((evse_id, Draw(step.power_kw, step.current_paths)))
        looks = chain(self._series_instants(until), (when for when, _ in self._limits))
        for at in looks:
            if self.settled_at < at < until:
                changes.setdefault(at, [])
        return changes

    def _series_instants(self, until: datetime) -> Iterator[datetime]:
        traces = [self._building, self._pv] + ([self.battery.trace] if self.battery else [])
        for trace in traces:
            for step in trace.steps_between(self.settled_at, until):
                yield step.at

    def _note(self, at: datetime, after: datetime) -> None:
        """Everything is constant in ``[at, after)``: write it down."""
        charging_kw = sum(draw.power_kw for draw in self._draws.values())
        # Of what is given back, too, a share is lost on the way.
        loss_share = self._surroundings.wiring_loss_share
        lost_kw = loss_share * sum(abs(draw.power_kw) for draw in self._draws.values()) if loss_share else 0.0
        base = BaseFlow(
            self._building.power_kw(at),
            self._pv.power_kw(at),
            self.battery.trace.power_kw(at) if self.battery else 0.0,
            loss_share,
        )
        net_kw = base.net_kw + charging_kw + lost_kw
        self.charging.add(at, charging_kw)
        self.grid_import.add(at, max(0.0, net_kw))
        self.grid_export.add(at, max(0.0, -net_kw))
        if after > at:
            self.audit.note(at, after, self._draws, base)
            self._note_extremes(at, charging_kw, net_kw)
            self._note_excess(at, after, net_kw)

    def _note_extremes(self, at: datetime, charging_kw: float, net_kw: float) -> None:
        old, current_a = self.extremes, self.audit.greatest_current_a
        if charging_kw <= old.charging_kw and net_kw <= old.import_kw and current_a <= old.current_a:
            return
        charging_at, import_at = old.charging_at, old.import_at
        if charging_kw > old.charging_kw:
            charging_at = at
        if net_kw > old.import_kw:
            import_at = at
        self.extremes = Extremes(
            max(old.charging_kw, charging_kw), charging_at, max(old.import_kw, net_kw), import_at, current_a
        )

    def _note_excess(self, at: datetime, after: datetime, net_kw: float) -> None:
        limit_kw = self.import_limit_kw(at)
        running = self._open_excess
        if net_kw > limit_kw + LIMIT_TOLERANCE_KW:
            start, greatest_kw = (running.start, running.greatest_kw) if running else (at, net_kw)
            self._open_excess = Excess(start, after, max(greatest_kw, net_kw), limit_kw)
        elif running is not None:
            self._excesses.append(running)
            self._open_excess = None

    # ------------------------------------------------------------------ meters

    def reading_at(self, at: datetime) -> SiteMeterReading:
        """What the site's meters show at ``at``, exactly; settles the plant as far as that."""
        self.settle(at)
        building_kwh = self._building.register_kwh(at) - self._building.register_kwh(self._start)
        pv_kwh = self._pv.register_kwh(at) - self._pv.register_kwh(self._start)
        return SiteMeterReading(
            site_id=self.site.id,
            at=at,
            import_register_kwh=whole_register_kwh(self.grid_import.register_kwh(at)),
            export_register_kwh=whole_register_kwh(self.grid_export.register_kwh(at)),
            pv_register_kwh=whole_register_kwh(pv_kwh),
            building_register_kwh=whole_register_kwh(building_kwh),
            grid_kw=self.grid_kw(at),
            pv_kw=self._pv.power_kw(at),
            building_kw=self._building.power_kw(at),
            battery_soc=self.battery.soc if self.battery else None,
        )

    def grid_kw(self, at: datetime) -> float:
        """Power at the connection just before ``at``, import positive [kW]."""
        return self.grid_import.power_kw(at) - self.grid_export.power_kw(at)

    def charging_kw(self, at: datetime) -> float:
        """Sum of all cars [kW]."""
        return self.charging.power_kw(at)

    def forget_before(self, instant: datetime) -> None:
        """Let go of what flowed before ``instant``; registers go on, but cannot be read there any more."""
        traces = [self.charging, self.grid_import, self.grid_export, *(evse.trace for evse in self.evses.values())]
        for trace in traces + ([self.battery.trace] if self.battery else []):
            trace.forget_before(instant)

    def charged_kwh(self) -> Decimal:
        """Sum of all EVSE registers now [kWh]."""
        registers = (whole_register_kwh(evse.import_register_kwh(self.settled_at)) for evse in self.evses.values())
        return sum(registers, Decimal(0))
