"""What the HTTP API gives of a site and its live state."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from api.cost_views import MoneyView
from api.plan_views import OutcomeView
from api.schemas import Exact
from api.views import AnswerModel
from optimizer.domain.charger import Connector, ConnectorStatus, LimitState
from optimizer.domain.metering import SampleQuality, SiteMeterReading
from optimizer.domain.site import LimitSource, Site


class ConnectorView(AnswerModel):
    """One EVSE as it is now."""

    evse_id: str
    """Which EVSE."""
    station_id: str
    """Which station."""
    online: bool
    """Whether the station is connected."""
    status: ConnectorStatus
    """Last reported state."""
    session_id: str | None
    """The session on it."""
    power_kw: float | None
    """Last metered power [kW]."""
    metered_at: datetime | None
    """When."""
    metered_quality: SampleQuality | None
    """How far that value may be trusted."""
    limit_kw: float | None
    """Limit in force [kW]; null: none was sent."""
    limit_state: LimitState | None
    """How far that limit has come."""
    limit_reason: str | None
    """Which limit, price or target binds."""
    told_phases: int | None
    """Phases that the station was told to charge on; null: nothing was said of them."""
    phases_seen_at: datetime | None
    """When the meter first showed it; null: not yet, so all phases count."""
    safe_default_kw: float | None
    """Limit that holds when nothing newer comes [kW]; null: not installed."""

    @classmethod
    def of(cls, connector: Connector, at: datetime) -> Self:
        """The view of a connector at ``at``."""
        setpoint, sample = connector.setpoint, connector.last_sample
        order = setpoint.phase_order if setpoint else None
        return cls(
            evse_id=connector.evse_id,
            station_id=connector.station_id,
            online=connector.online,
            status=connector.status,
            session_id=connector.session_id,
            power_kw=sample.power_kw if sample else None,
            metered_at=sample.at if sample else None,
            metered_quality=sample.quality if sample else None,
            limit_kw=setpoint.limit_at_kw(at) if setpoint else None,
            limit_state=setpoint.state if setpoint else None,
            limit_reason=setpoint.reason if setpoint else None,
            told_phases=order.phases if order is not None else None,
            phases_seen_at=order.seen_at if order is not None else None,
            safe_default_kw=connector.safe_default_kw,
        )


class SiteView(AnswerModel):
    """What stands at a site."""

    id: str
    """Name in the API."""
    name: str
    """What people call it."""
    time_zone: str
    """IANA zone of tariff windows and billing days."""
    currency: str
    """ISO 4217 code."""
    import_limit_kw: float
    """Greatest contracted import [kW]."""
    export_limit_kw: float
    """Greatest permitted export [kW]."""
    station_count: int
    """Charging stations."""
    evse_count: int
    """EVSEs."""
    tariff_id: str
    """The tariff that the site pays."""

    @classmethod
    def of(cls, site: Site) -> Self:
        """The view of a site."""
        return cls(
            id=site.id,
            name=site.name,
            time_zone=site.time_zone,
            currency=site.currency,
            import_limit_kw=site.grid_connection.import_limit_kw,
            export_limit_kw=site.grid_connection.export_limit_kw,
            station_count=len(site.stations),
            evse_count=len(site.evses),
            tariff_id=site.tariff_id,
        )


class SiteListView(AnswerModel):
    """The sites of the service."""

    sites: list[SiteView]
    """The sites."""


class SiteLoadView(AnswerModel):
    """The site's power by its own meter."""

    metered_at: datetime
    """When."""
    grid_kw: float | None
    """At the connection, import positive [kW]."""
    pv_kw: float | None
    """PV [kW]."""
    building_kw: float | None
    """Building [kW]."""
    current_a: tuple[float, float, float] | None
    """On L1, L2, L3 [A]."""
    battery_soc: float | None
    """State of charge of the stationary battery, 0..1."""

    @classmethod
    def of(cls, reading: SiteMeterReading) -> Self:
        """The view of a reading."""
        return cls(
            metered_at=reading.at,
            grid_kw=reading.grid_kw,
            pv_kw=reading.pv_kw,
            building_kw=reading.building_kw,
            current_a=reading.current_a,
            battery_soc=reading.battery_soc,
        )


class SiteStatusView(SiteView):
    """A site as it is now."""

    at: datetime
    """Now, by the service's clock."""
    load: SiteLoadView | None
    """The newest reading of the site meter; null: none yet."""
    vehicles_kw: float
    """Sum of the last metered power of all EVSEs [kW]."""
    import_limit_now_kw: float
    """Greatest import permitted now [kW]."""
    import_limit_source: LimitSource
    """Who set that limit."""
    active_sessions: int
    """Vehicles plugged in."""
    import_price_per_kwh: Exact | None
    """Price of import now [currency/kWh]; null: not known."""
    peak_kw: Exact | None
    """Greatest mean import of the running billing window [kW]; null: not metered."""
    cost: MoneyView | None
    """What the site owes for the running billing window so far; null: not metered."""
    last_plan: OutcomeView | None
    """How the plan in force came about; null: none yet."""
    connectors: list[ConnectorView]
    """Every EVSE."""
