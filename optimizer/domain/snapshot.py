"""Everything one control step knows, frozen; the same type for the service and the simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from optimizer.domain.charger import Connector
from optimizer.domain.event import GridEvent
from optimizer.domain.evolving import Evolving
from optimizer.domain.ids import EvseId
from optimizer.domain.metering import SiteMeterReading
from optimizer.domain.plan import Plan
from optimizer.domain.reservation import Reservation
from optimizer.domain.series import PowerSeries, PriceSeries
from optimizer.domain.session import Session
from optimizer.domain.site import Site
from optimizer.domain.tariff import DemandCharge


@dataclass(frozen=True, slots=True)
class Occupancy:
    """The EVSEs of a site and the vehicles at them, of one moment; what has not changed is the same object."""

    sessions: tuple[Session, ...]
    """Vehicles that are plugged in, in the order of plug-in."""
    session_at: Evolving[EvseId, Session]
    """The vehicle at each EVSE that has one; where two sessions were left open, the one that came last."""
    connectors: Evolving[EvseId, Connector]
    """Every EVSE of the site as last known; ``online`` is left to be filled in."""


@dataclass(frozen=True, slots=True)
class DemandState:
    """How far a demand charge has come in the running billing month."""

    charge: DemandCharge
    """Which charge."""
    peak_so_far_kw: float
    """Greatest mean import so far this billing month [kW]."""
    month_days_left: float
    """Days left in the billing month, today included."""
    interval_energy_kwh: float = 0.0
    """Import so far in the meter interval that is running now [kWh]."""
    peak_hint_kw: float = 0.0
    """Peak that the operator thinks unavoidable this month [kW]; 0: no hint."""
    learnt_peak_kw: float | None = None
    """Peak that past days say this month will reach anyway [kW]; ``None``: no past day is known."""
    still_to_come: PowerSeries | None = None
    """Mean power that vehicles need who are not there yet, by past days; ``None``: not known."""


@dataclass(frozen=True)
class SiteSnapshot:
    """One control step's whole knowledge."""

    at: datetime
    """Now [UTC]."""
    site: Site
    """What stands there."""
    connectors: tuple[Connector, ...]
    """Every EVSE as last observed."""
    sessions: tuple[Session, ...]
    """Vehicles plugged in."""
    reservations: tuple[Reservation, ...]
    """Reservations that lie ahead and are not yet fulfilled."""
    grid_events: tuple[GridEvent, ...]
    """Events in force or announced."""
    import_prices: PriceSeries
    """Price of import over the horizon, without demand charges."""
    export_prices: PriceSeries
    """Price paid for export over the horizon."""
    building: PowerSeries
    """Expected building load."""
    pv: PowerSeries
    """Expected PV power."""
    demand: tuple[DemandState, ...]
    """Demand charges and the peaks so far."""
    meter: SiteMeterReading | None
    """The newest reading of the site meter."""
    previous_plan: Plan | None
    """The plan in force."""

    def connector(self, evse_id: EvseId) -> Connector:
        """The connector of an EVSE.

        Raises:
            KeyError: The site has no such EVSE.
        """
        for connector in self.connectors:
            if connector.evse_id == evse_id:
                return connector
        raise KeyError(evse_id)


@dataclass(frozen=True)
class SeenStep:
    """All that a plan follows from: the same gives the same plan again, unless a time limit cut the solver short."""

    snapshot: SiteSnapshot
    """What was known."""
    fixed_kw: Mapping[EvseId, float]
    """Load of EVSEs that could not be steered [kW]."""
    ground: str
    """Versions and settings of what planned, as text."""
